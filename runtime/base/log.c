/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdio.h>
#include <string.h>

/* The line is `before`, then what the format gives. */
void log_vline(const struct logger *to, int32_t level, const char *before, const char *format, va_list arguments) {
    char text[LOG_LINE];
    if (!to || !to->write) return;
    int used = snprintf(text, sizeof text, "%s", before);
    if (used >= 0 && used < LOG_LINE) vsnprintf(text + used, sizeof text - (size_t)used, format, arguments);
    to->write(to->context, level, text);
}

void log_line(const struct logger *to, int32_t level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_vline(to, level, "", format, arguments);
    va_end(arguments);
}
