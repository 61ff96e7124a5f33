/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin's file says before it is opened: what it exports, what it needs, what it would run. */
#ifndef FLOWRUN_PLUGIN_FILE_H
#define FLOWRUN_PLUGIN_FILE_H

#include <stdbool.h>
#include <stddef.h>

struct plugin_file {
    char exports[512];   /* beside flow_plugin_entry, ", " between them */
    char forbidden[512]; /* functions it calls that operators may not: abort, printf .. */
    bool has_entry;
    int constructors; /* functions run when it is opened, beside the compiler's own */
    bool sanitized;
};

/* false with the reason in why: it is no shared object for this machine. */
bool plugin_file_read(const char *path, struct plugin_file *out, char *why, size_t size);

#endif
