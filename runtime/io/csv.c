/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of numbers with commas (RFC 4180): every row has as many fields as the first. A first row that is not all numbers names the
 * columns: metadata "0", "1", ... then hold the names. Fields may stand in quotes; empty lines count for nothing. Numbers are read and
 * written the same in every locale.
 */
#include "io/internal.h"

#include "base/half.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MOST = 63, COLUMNS_MOST = 1 << 24 };

struct reading {
    struct tensor_file *file;
    struct report *report;
    const char *at, *end;
    int32_t line; /* of the field in hand */
    float *values;
    size_t count, capacity;
    int64_t columns, rows;
    locale_t plain;
};

/* One field: its characters (quotes taken off; doubled ones inside are still doubled) and what follows it. */
struct field {
    const char *text;
    size_t length;
    int32_t line;
    bool quoted, last; /* of its row */
};

static int printf_like(3, 4) fail(struct reading *r, int32_t line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int status = report_vadd(r->report, FLOW_ERROR_FORMAT, (struct position){r->file->path, line, 0}, format, arguments);
    va_end(arguments);
    return status;
}

/* The end of a line, "\n", "\r\n" or "\r". */
static bool take_line_end(struct reading *r) {
    if (r->at == r->end) return true;
    if (*r->at != '\n' && *r->at != '\r') return false;
    if (*r->at == '\r' && r->at + 1 < r->end && r->at[1] == '\n') r->at++;
    r->at++;
    if (r->line < INT32_MAX) r->line++;
    return true;
}

static int take_quoted(struct reading *r, struct field *field) {
    field->quoted = true;
    field->text = ++r->at;
    for (; r->at < r->end; r->at++) {
        if (*r->at == '\n' && r->line < INT32_MAX) r->line++;
        if (*r->at != '"') continue;
        if (r->at + 1 < r->end && r->at[1] == '"') r->at++;
        else break;
    }
    if (r->at == r->end) return fail(r, field->line, "a quoted field does not end");
    field->length = (size_t)(r->at++ - field->text);
    if (r->at < r->end && *r->at != ',' && *r->at != '\n' && *r->at != '\r')
        return fail(r, r->line, "something follows the closing quote of a field");
    return FLOW_OK;
}

static int take_field(struct reading *r, struct field *field) {
    *field = (struct field){.text = r->at, .line = r->line};
    if (r->at < r->end && *r->at == '"') {
        int status = take_quoted(r, field);
        if (status < 0) return status;
    } else {
        while (r->at < r->end && *r->at != ',' && *r->at != '\n' && *r->at != '\r') r->at++;
        field->length = (size_t)(r->at - field->text);
    }
    if (r->at < r->end && *r->at == ',') r->at++;
    else field->last = take_line_end(r);
    return FLOW_OK;
}

/* A decimal number, "nan", "inf", with spaces around; false when it is none, or too large for f32. */
static bool number_of(const struct reading *r, const struct field *field, float *value) {
    char text[NUMBER_MOST + 1], *end;
    const char *at = field->text;
    size_t length = field->length;
    while (length && (*at == ' ' || *at == '\t')) at++, length--;
    while (length && (at[length - 1] == ' ' || at[length - 1] == '\t')) length--;
    if (length == 0 || length > NUMBER_MOST) return false;
    memcpy(text, at, length);
    text[length] = 0;
    const char *word = text + (*text == '-' || *text == '+');
    const bool special = strcmp(word, "nan") == 0 || strcmp(word, "inf") == 0;
    if (!special && strspn(text, "0123456789+-.eE") != length) return false;
    *value = strtof_l(text, &end, r->plain);
    return !*end && end != text && (special || !isinf(*value));
}

static int value_add(struct reading *r, float value) {
    if (memory_grow(r->file->arena.from, (void **)&r->values, &r->capacity, r->count + 1, sizeof value) < 0) return FLOW_ERROR_MEMORY;
    r->values[r->count++] = value;
    return FLOW_OK;
}

static int read_row(struct reading *r) {
    const int32_t line = r->line;
    struct field field = {0};
    int64_t count = 0;
    while (!field.last) {
        float value;
        int status = take_field(r, &field);
        if (status < 0) return status;
        if (count < r->columns && !number_of(r, &field, &value))
            return fail(r, field.line, "field %" PRId64 " is '%.*s': expected a number", count + 1,
                        field.length > 40 ? 40 : (int)field.length, field.text);
        if (count++ < r->columns && value_add(r, value) < 0) return FLOW_ERROR_MEMORY;
    }
    if (count != r->columns) return fail(r, line, "the row has %" PRId64 " fields, the first one has %" PRId64, count, r->columns);
    r->rows++;
    return FLOW_OK;
}

static int compare_keys(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The name of a column, doubled quotes made single. */
static char *name_of(struct arena *arena, const struct field *field) {
    char *name = arena_text_n(arena, field->text, field->length), *to = name;
    for (size_t i = 0; name && i < field->length; i++) {
        if (field->text[i] == 0) continue;
        *to++ = field->text[i];
        if (field->quoted && field->text[i] == '"') i++;
    }
    if (name) *to = 0;
    return name;
}

/* The first row: counts the columns and, when it is not all numbers, takes it as their names. */
static int read_first(struct reading *r) {
    struct tensor_file *file = r->file;
    const struct reading start = *r;
    struct field field = {0};
    bool numbers = true;
    float value;
    while (!field.last) {
        int status = take_field(r, &field);
        if (status < 0) return status;
        if (++r->columns > COLUMNS_MOST) return fail(r, r->line, "more than %d columns", COLUMNS_MOST);
        if (!number_of(r, &field, &value)) numbers = false;
    }
    const int64_t columns = r->columns;
    if (!numbers) file->metadata = arena_array(&file->arena, (size_t)columns, sizeof *file->metadata);
    if (!numbers && !file->metadata) return FLOW_ERROR_MEMORY;
    *r = start;
    r->columns = columns;
    for (int64_t i = 0; !numbers && i < columns; i++) {
        int status = take_field(r, &field);
        if (status < 0) return status;
        file->metadata[i].key = arena_format(&file->arena, "%" PRId64, i);
        file->metadata[i].value = name_of(&file->arena, &field);
        if (!file->metadata[i].key || !file->metadata[i].value) return FLOW_ERROR_MEMORY;
        file->metadata_count++;
    }
    if (file->metadata_count) qsort(file->metadata, file->metadata_count, sizeof *file->metadata, compare_keys);
    return FLOW_OK;
}

static void skip_empty_lines(struct reading *r) {
    while (r->at < r->end && (*r->at == '\n' || *r->at == '\r') && take_line_end(r)) {}
}

static int read_rows(struct reading *r) {
    if (r->end - r->at >= 3 && memcmp(r->at, "\xEF\xBB\xBF", 3) == 0) r->at += 3; /* byte order mark */
    skip_empty_lines(r);
    if (r->at == r->end) return fail(r, 0, "the file has no rows");
    int status = read_first(r);
    for (skip_empty_lines(r); status == FLOW_OK && r->at < r->end; skip_empty_lines(r)) status = read_row(r);
    return status;
}

int io_csv_read(struct tensor_file *file, struct report *report) {
    struct reading r = {.file = file, .report = report, .at = file->mapping, .line = 1};
    r.end = r.at + file->mapping_size;
    r.plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (r.plain == (locale_t)0) return FLOW_ERROR_MEMORY;
    int status = read_rows(&r);
    if (status == FLOW_OK) status = io_single(file, FLOW_F32, 2, (const int64_t[]){r.rows, r.columns});
    if (status == FLOW_OK) {
        file->entries[0].tensor.data = arena_copy(&file->arena, r.values, r.count * sizeof *r.values);
        if (!file->entries[0].tensor.data) status = FLOW_ERROR_MEMORY;
    }
    memory_free(file->arena.from, r.values, r.capacity * sizeof *r.values);
    freelocale(r.plain);
    return status;
}

/* ---- Writing ---- */

static void put_number(struct out *out, const void *at, int32_t dtype) {
    union {
        float f32;
        double f64;
        int32_t i32;
        int64_t i64;
        uint16_t u16;
        uint8_t u8;
    } value;
    memcpy(&value, at, (size_t)dtype_bytes(dtype));
    switch (dtype) {
    case FLOW_F32: io_out_format(out, "%.9g", (double)value.f32); break;
    case FLOW_F16: io_out_format(out, "%.9g", (double)half_f16_to_f32(value.u16)); break;
    case FLOW_BF16: io_out_format(out, "%.9g", (double)half_bf16_to_f32(value.u16)); break;
    case FLOW_F64: io_out_format(out, "%.17g", value.f64); break;
    case FLOW_I32: io_out_format(out, "%" PRId32, value.i32); break;
    case FLOW_I64: io_out_format(out, "%" PRId64, value.i64); break;
    default: io_out_format(out, "%u", value.u8); break;
    }
}

int io_csv_write(struct out *out, const struct flow_tensor *tensor, struct report *report) {
    struct walk walk;
    if (tensor->rank != 1 && tensor->rank != 2)
        return io_fail(report, FLOW_ERROR_SHAPE, out->path, "a csv file takes a tensor of rank 1 or 2, not %d", tensor->rank);
    if (!io_walk_init(&walk, tensor))
        return io_fail(report, FLOW_ERROR_RANGE, out->path, "the tensor has more elements than can be counted");
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0) return report_memory(report);
    const locale_t before = uselocale(plain);
    const int64_t columns = tensor->rank == 2 ? tensor->shape[1] : 1;
    int64_t column = 0;
    for (const void *at; !out->error && (at = io_walk_next(&walk));) { /* rank 1: one column */
        put_number(out, at, tensor->dtype);
        column = (column + 1) % columns;
        io_out_put(out, column ? "," : "\n", 1);
    }
    uselocale(before);
    freelocale(plain);
    return FLOW_OK;
}
