/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the registry: where operators come from. A source is one plugin: linked in, or a file. A file is in one of these states:
 *   INDEXED  its names are known from the index, it was not opened; once opened, its tables decide
 *   OPEN     opened and checked; its tables are copied into rows of this host's size
 *   FAILED   could not be opened, or is wrong: `failure` says why; tried again when a name is looked for in vain
 */
#ifndef FLOW_PLUGIN_SOURCE_H
#define FLOW_PLUGIN_SOURCE_H

#include "plugin/registry.h"

#include <flow/plugin.h>

enum { ROW_BYTES_MOST = 4096, ROWS_MOST = 4096, NAME_MOST = 64, STRUCT_BYTES_MOST = 1 << 20 };

/* What identifies a version of a file. */
struct file_key {
    int64_t size;
    int64_t modified; /* nanoseconds since 1970 */
    uint64_t device, inode;
};

/* What a plugin offers, by name, each kind a name space of its own; and the operators of others that it brings kernels for, which may
 * repeat. XX(NAME, the kind in an index and in messages, the table) */
#define OFFER_MAP(XX)                        \
    XX(OPERATOR, "operator", "operators")    \
    XX(OPTIMIZER, "optimizer", "optimizers") \
    XX(SOURCE, "source", "sources")          \
    XX(KERNEL, "kernels", "kernels")
#define OFFER_ENTRY(name, word, table) OFFER_##name,
enum offer_kind { OFFER_MAP(OFFER_ENTRY) OFFER_LISTS, OFFER_KINDS = OFFER_KERNEL };
#undef OFFER_ENTRY
extern const char *const plugin_offer_words[OFFER_LISTS];

struct offer {
    const char *plugin;
    struct offer_list {
        const char **at;
        uint32_t count;
    } of[OFFER_LISTS];
};

enum source_state { SOURCE_BUILTIN, SOURCE_INDEXED, SOURCE_OPEN, SOURCE_FAILED };

struct source {
    enum source_state state;
    struct arena arena; /* offer, tables, failure: all that changes with the state */
    const char *path;   /* NULL: built in */
    struct file_key key;
    struct offer offer;
    void *handle;
    const struct flow_plugin *plugin;                   /* BUILTIN, OPEN; the file's own */
    const void **tables[OFFER_KINDS];                   /* by offer.of; OPEN: all; BUILTIN: filled in when first asked for */
    const struct registry_entry **entries[OFFER_KINDS]; /* the same order; filled in when first asked for */
    struct flow_kernels kernels;                        /* for others' operators; rows of this host's size */
    const char *failure;
    uint64_t told; /* the failure that was logged: a file that stays wrong is logged once */
    bool seen;     /* in the latest listing of the folders */
    bool device;   /* kernels of a device: in no listing and in no index, opened when the device is asked for */
};

/* ---- check.c: tables that may lie ---- */

/* Checks the head of a plugin's table and lists what it offers. FLOW_ERROR_PLUGIN with the reason in `why`, or FLOW_ERROR_MEMORY. */
int must_use plugin_check_head(struct arena *arena, const struct flow_plugin *plugin, struct offer *offer, struct text *why);
/* Checks one operator, optimiser or source and copies its tables into rows of this host's size: a struct flow_operator, flow_optimizer or
 * flow_source. */
int must_use plugin_check_item(struct arena *arena, const struct flow_plugin *plugin, enum offer_kind kind, uint32_t index,
                               const void **out, struct text *why);
/* The same for the kernels that a plugin brings for others' operators. */
int must_use plugin_check_kernels(struct arena *arena, const struct flow_plugin *plugin, struct flow_kernels *out, struct text *why);

/* ---- library.c: opening a file ---- */

/* Offer and kernels of `source->plugin`, and room for the tables of what it offers. */
int must_use plugin_source_tables(struct source *source, struct text *why);

/* INDEXED or FAILED to OPEN or, with `failure` set, FAILED. Negative only when memory ran out; the source is then FAILED without words. */
int must_use plugin_source_open(struct source *source);
void plugin_source_close(struct source *source);
/* Back to nothing but the path, so that it can be filled in anew. */
void plugin_source_reset(struct source *source);

/* ---- folder.c: which files there are ---- */

struct folder {
    const char *path;
    const char *refused; /* why its files are not taken; NULL */
    bool named;          /* somebody asked for it: that it does not exist is worth telling */
    uint64_t told;       /* the reason that was logged */
};
struct folder_file {
    const char *path;
    const char *refused;
    struct file_key key;
};
/* The regular files ending in .so, by name; `refused` of the folder is set where others may write to it, and it then is empty, as is
 * one that does not exist. Everything lives in `arena`. */
int must_use plugin_folder_list(struct arena *arena, struct folder *folder, bool trust, struct folder_file **files, size_t *count);
/* The folder searched last: of the installed tree that this library or program is part of, else the one that the build was told of. */
char *plugin_folder_installed(struct arena *arena);
/* The file where the index is kept, NULL when there is no place for it. */
char *plugin_folder_index(struct arena *arena);

/* ---- index.c: what files offered when they were last opened ---- */

struct index_row {
    const char *path;
    int64_t size, modified;
    struct offer offer;
};
struct index {
    struct index_row *rows;
    size_t count, capacity; /* capacity counts elements from the allocator */
    const struct allocator *from;
};
/* Reads an index; a missing, stale or damaged one is empty. Text lives in `arena`. Negative only when memory ran out. */
int must_use plugin_index_read(struct arena *arena, const char *path, struct index *index);
const struct index_row *plugin_index_find(const struct index *index, const char *path, const struct file_key *key);
/* Adds or replaces. Strings are not copied. */
int must_use plugin_index_set(struct index *index, const char *path, const struct file_key *key, const struct offer *offer);
/* Writes beside and renames; rows of files that are gone are left out. Failing is not worth a word: the next start tries again. */
void plugin_index_write(const struct index *index, const char *path);
void plugin_index_free(struct index *index);

#endif
