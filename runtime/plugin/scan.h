/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the registry: its struct, and the search for plugins (scan.c). */
#ifndef FLOW_PLUGIN_SCAN_H
#define FLOW_PLUGIN_SCAN_H

#include "plugin/source.h"

#include <pthread.h>

struct registry {
    const struct allocator *from;
    struct arena arena; /* entries, folders: until registry_free */
    struct arena scan;  /* reasons of the latest listing */
    pthread_mutex_t lock;
    struct source **sources; /* built-in ones, then files in order of search */
    size_t source_count, source_room;
    struct folder *folders;
    size_t folder_count, folder_room;
    size_t installed;           /* folders from here on are searched last */
    const char *index;          /* NULL: none */
    const struct logger *log;   /* NULL: none */
    bool trust, scanned, dirty; /* dirty: the index lacks something */
    bool only;                  /* the folders are those of the options, and stay so */
    struct {
        struct map found; /* name -> entry */
        const struct registry_entry **all;
        size_t all_count;
    } kinds[OFFER_KINDS];
};

/* The folders to search, as the options and the environment say. */
int must_use registry_folders_init(struct registry *registry, const struct registry_options *options);
/* What was found may be another plugin's by now. */
void registry_forget(struct registry *registry);
int must_use registry_builtin_add(struct registry *registry, flow_entry_function entry);
/* Opens a file; what the registry knew of names may be wrong afterwards. */
int must_use registry_file_open(struct registry *registry, struct source *source);
/* Lists the folders. Files that the index does not know are opened, and with `deep` all. */
int must_use registry_scan(struct registry *registry, bool deep);
/* Brings the index up to date with the files that are open. Failing costs time at the next start, nothing else. */
void registry_index_update(struct registry *registry);

#endif
