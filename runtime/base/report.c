/* SPDX-License-Identifier: Apache-2.0 */
#include "base/report.h"

#include <stdio.h>
#include <string.h>

void report_init(struct report *report, const struct allocator *from) {
    *report = (struct report){0};
    arena_init(&report->arena, from);
}

void report_free(struct report *report) {
    arena_free(&report->arena);
    report->first = report->last = NULL;
    report->count = 0;
}

int report_vadd(struct report *report, int code, struct position at, const char *format, va_list arguments) {
    report->count++;
    if (report->count > REPORT_MOST) return code;
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    struct report_message *message = arena_new(&report->arena, sizeof *message);
    char *text = message && length >= 0 ? arena_new(&report->arena, (size_t)length + 1) : NULL;
    if (!text) {
        report->incomplete = true;
        return code;
    }
    vsnprintf(text, (size_t)length + 1, format, arguments);
    const char *file = arena_text(&report->arena, at.file);
    *message = (struct report_message){NULL, {file, at.line, at.column}, code, text};
    if (report->last) report->last->next = message;
    else report->first = message;
    report->last = message;
    return code;
}

int report_add(struct report *report, int code, struct position at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report_vadd(report, code, at, format, arguments);
    va_end(arguments);
    return code;
}

int report_memory(struct report *report) {
    report->count++, report->incomplete = true;
    return FLOW_ERROR_MEMORY;
}

int report_code(const struct report *report) {
    if (report->first) return report->first->code;
    return report->incomplete ? FLOW_ERROR_MEMORY : FLOW_OK;
}

const char *status_text(int code) {
#define ENTRY(name, value, text) \
    if (code == (value)) return text;
    FLOW_STATUS_MAP(ENTRY)
#undef ENTRY
    return "unknown status";
}

const char *dtype_name(int32_t dtype) {
#define ENTRY(name, value, text, bytes) \
    if (dtype == (value)) return text;
    FLOW_TYPE_MAP(ENTRY)
#undef ENTRY
    return "?";
}

int64_t dtype_bytes(int32_t dtype) {
#define ENTRY(name, value, text, bytes) \
    if (dtype == (value)) return bytes;
    FLOW_TYPE_MAP(ENTRY)
#undef ENTRY
    return 0;
}

int32_t dtype_parse(const char *name) {
#define ENTRY(type, value, text, bytes) \
    if (strcmp(name, text) == 0) return value;
    FLOW_TYPE_MAP(ENTRY)
#undef ENTRY
    return -1;
}

bool dtype_float(int32_t dtype) { return dtype >= 0 && dtype < FLOW_TYPE_COUNT && (FLOW_TYPES_FLOAT >> dtype & 1u); }
