/* SPDX-License-Identifier: Apache-2.0 */
/* Operators, optimisers and sources by name, three name spaces: those linked in (a generated table) and those of plugin files, which are
 * found, opened and checked when a graph first needs them. Belongs to one runtime; thread-safe. */
#ifndef FLOW_PLUGIN_REGISTRY_H
#define FLOW_PLUGIN_REGISTRY_H

#include "base/log.h"
#include "base/report.h"
#include "base/text.h"

struct registry;

struct registry_options {
    const char *path;      /* folders or plugin files, ':' between them, searched before FLOW_PLUGIN_PATH's; NULL */
    const char *installed; /* the last folder searched; NULL: the one beside the library or program */
    const char *index;     /* the index file; NULL: plugins.index in the user's cache folder; "": none */
    bool trust;            /* also from folders that others may write to */
    bool only; /* nothing but `path` is searched: neither the environment's folders, nor installed ones, nor those beside graphs */
    const struct logger *log; /* told of plugin files that cannot be used, and of an index that was behind; NULL */
};

int must_use registry_new(const struct allocator *from, const struct registry_options *options, struct registry **out);
void registry_free(struct registry *registry);
/* Adds the folder `plugins` beside a graph file to the search, after the folders given. Nothing happens when there is none. */
int must_use registry_beside(struct registry *registry, const char *graph_path);

/* An operator, optimiser or source (one of the three, the others NULL) as the runtime sees it: the plugin's tables copied row by row into
 * rows of this host's size, so that at[i] is right whatever the plugin's age. Lives as long as the registry. */
struct registry_entry {
    const struct flow_operator *op;
    const char *plugin;                /* its plugin's name */
    const char *file;                  /* NULL: built in */
    const struct flow_kernel *kernels; /* all that are known for an operator, those of other plugins too */
    uint32_t kernel_count;
    const struct flow_optimizer *optimizer;
    const struct flow_source *source;
};

/* Finds `name`, or `plugin/name`; opens a file when needed. NULL when there is none: `why` then says what there is to say, ready to be
 * appended to a message: the nearest name, files that offered it and failed with the loader's own text, two files that both offer it.
 * why->failed: memory ran out. */
const struct registry_entry *registry_find(struct registry *registry, const char *name, struct text *why);
/* The same for an optimiser (entry->optimizer) and for a source (entry->source). */
const struct registry_entry *registry_optimizer(struct registry *registry, const char *name, struct text *why);
const struct registry_entry *registry_source(struct registry *registry, const char *name, struct text *why);
/* Opens device/NAME.so in the plugin folders: its kernels are known from then on (so before any operator is looked for). *out: its
 * extension of that name. Negative with the reason in `why`. */
int must_use registry_device(struct registry *registry, const char *name, const char *extension, const void **out, struct text *why);
/* All operators, by name (opens every plugin; those that fail are described in `failures`, a line each). */
int must_use registry_all(struct registry *registry, const struct registry_entry ***out, size_t *count, struct text *failures);
int must_use registry_optimizers(struct registry *registry, const struct registry_entry ***out, size_t *count, struct text *failures);
int must_use registry_sources(struct registry *registry, const struct registry_entry ***out, size_t *count, struct text *failures);
/* Where plugins were looked for and what was found, after one of the three lists above; false after the last. Texts stay until the next
 * list. */
struct registry_file {
    const char *path, *plugin; /* plugin NULL: it could not be used */
    const char *why;           /* then: the reason */
    uint32_t operators, optimizers, sources, kernels;
};
bool registry_folder_at(struct registry *registry, size_t index, const char **path, const char **refused);
bool registry_file_at(struct registry *registry, size_t index, struct registry_file *out);
const char *registry_index_path(const struct registry *registry); /* NULL: there is none */
/* The best kernel for a planned node: device, type (f32 stands in for f16, bf16), instruction set, supports; NULL when none. The
 * second: that has a backward, too. */
const struct flow_kernel *registry_kernel(const struct registry_entry *entry, int32_t device, int32_t dtype, int32_t isa,
                                          const struct flow_infer *infer);
const struct flow_kernel *registry_kernel_backward(const struct registry_entry *entry, int32_t device, int32_t dtype, int32_t isa,
                                                   const struct flow_infer *infer);

#endif
