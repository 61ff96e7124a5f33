/* SPDX-License-Identifier: Apache-2.0 */
/* What is worth knowing though nothing failed: lines for whoever asked for them. Needs no memory. */
#ifndef FLOW_BASE_LOG_H
#define FLOW_BASE_LOG_H

#include "base/memory.h"

/* The levels of flow.h. */
enum { LOG_INFO = 1, LOG_WARNING = 2 };
enum { LOG_LINE = 1024 }; /* longer lines are cut */

struct logger {
    void *context;
    void (*write)(void *context, int32_t level, const char *text); /* NULL: nobody listens */
};
/* `to` NULL is legal. */
void log_line(const struct logger *to, int32_t level, const char *format, ...) printf_like(3, 4);
void log_vline(const struct logger *to, int32_t level, const char *before, const char *format, va_list arguments);

#endif
