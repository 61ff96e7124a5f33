/* SPDX-License-Identifier: Apache-2.0 */
/* What is told to the person: every message says where (file:line:column), what was found and what was expected. A stage
 * collects all the errors it can find before it gives up. */
#ifndef FLOW_BASE_REPORT_H
#define FLOW_BASE_REPORT_H

#include "base/memory.h"

#include <flow/plugin.h>

/* A place in a file; line and column count from 1, 0: unknown. The file's name is not owned. */
struct position {
    const char *file;
    int32_t line, column;
};

struct report_message {
    struct report_message *next;
    struct position at;
    int32_t code; /* FLOW_ERROR_* */
    const char *text;
};

enum { REPORT_MOST = 200 }; /* further messages are counted, not kept: a hostile file must not cost memory */

struct report {
    struct arena arena;
    struct report_message *first, *last;
    int32_t count;   /* errors reported */
    bool incomplete; /* memory ran out while reporting */
    void *outside;   /* of who called: embed/errors.c */
};
void report_init(struct report *report, const struct allocator *from);
void report_free(struct report *report);
/* Adds an error and returns `code`. The position's file name is copied. */
int report_add(struct report *report, int code, struct position at, const char *format, ...) printf_like(4, 5);
int report_vadd(struct report *report, int code, struct position at, const char *format, va_list arguments);
int report_memory(struct report *report);     /* "out of memory", without needing any */
int report_code(const struct report *report); /* of the first message, else FLOW_OK */

const char *status_text(int code);
const char *dtype_name(int32_t dtype); /* "f32", "?" */
int64_t dtype_bytes(int32_t dtype);
int32_t dtype_parse(const char *name); /* -1 */
bool dtype_float(int32_t dtype);

#endif
