/* SPDX-License-Identifier: Apache-2.0 */
/* csv: columns of a table as outputs. `outputs` is a list of NAME = COLUMN or NAME = [COLUMN, COLUMN, ...] with ';' between them; a name
 * may say a type, NAME:i64. Numbers are parsed once, when the file is opened, and held. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

struct csv_attrs {
    const char *outputs;
};

struct group {
    int32_t dtype;
    bool vector;
    int64_t count; /* of columns */
    int64_t *columns;
    int64_t bytes; /* of a row */
    void *values;  /* [rows, count] */
};

struct csv {
    int64_t count;
    struct group *groups;
};

static const struct flow_port outputs[] = {
    {"column", "one column (a scalar a row) or several (a vector), as `outputs` says", "B ...",
     FLOW_TYPE(F32) | FLOW_TYPE(F64) | FLOW_TYPE(I64), FLOW_VARIADIC},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_PLAIN(
        struct csv_attrs, outputs,
        "\"x = [HUFL, HULL]; y = OT; label:i64 = class\": names, types (f32, f64, i64) and columns, by name or as #0, #1; absent: "
        "each column by its name",
        FLOW_ABSENT),
};

static int add_group(struct flow_source_open *open, const struct data_table *table, struct csv *csv, const char *name, int32_t dtype,
                     bool vector, int64_t *columns, int64_t count) {
    struct group *group = &csv->groups[csv->count++];
    *group = (struct group){dtype, vector, count, columns, count * (dtype == FLOW_F32 ? 4 : 8), NULL};
    int64_t elements;
    if (__builtin_mul_overflow(table->rows, count, &elements)) return data_wrong(open, FLOW_ERROR_RANGE, "%s is too large", table->path);
    group->values = data_memory(open, elements, dtype == FLOW_F32 ? 4 : 8);
    if (!group->values) return FLOW_ERROR_MEMORY;
    int status = FLOW_OK;
    for (int64_t row = 0, at = 0; status == FLOW_OK && row < table->rows; row++)
        for (int64_t c = 0; status == FLOW_OK && c < count; c++, at++) {
            double real = 0;
            if (dtype == FLOW_I64) status = data_table_integer(open, table, row, columns[c], (int64_t *)group->values + at);
            else status = data_table_real(open, table, row, columns[c], &real);
            if (dtype == FLOW_F32) ((float *)group->values)[at] = (float)real;
            if (dtype == FLOW_F64) ((double *)group->values)[at] = real;
        }
    return status < 0 ? status : data_output(open, name, dtype, vector, &count);
}

/* Spaces at both ends of at[0 .. length) taken off; a copy. */
static char *trimmed(const struct flow_source_open *open, const char *at, size_t length) {
    while (length && *at == ' ') at++, length--;
    while (length && at[length - 1] == ' ') length--;
    return data_copy(open, at, length);
}

/* "a, b": the columns of a group. */
static int group_columns(struct flow_source_open *open, const struct data_table *table, const char *at, size_t length, int64_t **columns,
                         int64_t *count) {
    int64_t most = 1;
    for (size_t i = 0; i < length; i++) most += at[i] == ',';
    *columns = data_memory(open, most, sizeof **columns), *count = 0;
    if (!*columns) return FLOW_ERROR_MEMORY;
    for (const char *end = at + length; at <= end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        if (!comma) comma = end;
        char *name = trimmed(open, at, (size_t)(comma - at));
        if (!name) return FLOW_ERROR_MEMORY;
        int status = data_table_column(open, table, name, *columns + (*count)++);
        if (status < 0) return status;
        at = comma + 1;
    }
    return FLOW_OK;
}

/* "label:i64 = [a, b]" */
static int parse_group(struct flow_source_open *open, const struct data_table *table, struct csv *csv, const char *at, size_t length) {
    static const struct {
        const char *name;
        int32_t dtype;
    } types[] = {{"f32", FLOW_F32}, {"f64", FLOW_F64}, {"i64", FLOW_I64}};
    const char *equals = memchr(at, '=', length);
    if (!equals) return data_wrong(open, FLOW_ERROR_USAGE, "outputs: '%.*s' is not NAME = COLUMN or NAME = [COLUMN, ...]", (int)length, at);
    char *name = trimmed(open, at, (size_t)(equals - at)), *value = trimmed(open, equals + 1, length - (size_t)(equals + 1 - at));
    if (!name || !value) return FLOW_ERROR_MEMORY;
    int32_t dtype = FLOW_F32;
    char *colon = strchr(name, ':');
    if (colon) {
        *colon = 0, dtype = -1;
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
            if (strcmp(colon + 1, types[i].name) == 0) dtype = types[i].dtype;
        if (dtype < 0)
            return data_wrong(open, FLOW_ERROR_USAGE, "outputs: '%s' is of type '%s': f32, f64 and i64 are known", name, colon + 1);
    }
    size_t end = strlen(value);
    const bool vector = *value == '[';
    if (vector && value[end - 1] != ']') return data_wrong(open, FLOW_ERROR_USAGE, "outputs: the list of '%s' lacks its ']'", name);
    int64_t *columns, count;
    int status = group_columns(open, table, value + vector, end - 2 * (size_t)vector, &columns, &count);
    if (status == FLOW_OK && !vector && count != 1)
        status = data_wrong(open, FLOW_ERROR_USAGE, "outputs: '%s' has several columns: write [%s]", name, value);
    return status < 0 ? status : add_group(open, table, csv, name, dtype, vector, columns, count);
}

static int every_column(struct flow_source_open *open, const struct data_table *table, struct csv *csv) {
    if (!table->names) return data_wrong(open, FLOW_ERROR_USAGE, "%s names no columns: `outputs` must say which are wanted", table->path);
    csv->groups = data_memory(open, table->columns, sizeof *csv->groups);
    if (!csv->groups) return FLOW_ERROR_MEMORY;
    int status = FLOW_OK;
    for (int64_t i = 0; status == FLOW_OK && i < table->columns; i++) {
        int64_t *column = data_memory(open, 1, sizeof *column);
        if (!column) return FLOW_ERROR_MEMORY;
        *column = i;
        status = add_group(open, table, csv, table->names[i], FLOW_F32, false, column, 1);
    }
    return status;
}

static int parse_groups(struct flow_source_open *open, const struct data_table *table, struct csv *csv, const char *list) {
    int64_t most = 1;
    for (const char *c = list; *c; c++) most += *c == ';';
    csv->groups = data_memory(open, most, sizeof *csv->groups);
    if (!csv->groups) return FLOW_ERROR_MEMORY;
    int status = FLOW_OK;
    for (const char *at = list; status == FLOW_OK; at++) {
        const size_t length = strcspn(at, ";");
        if (strspn(at, " ") < length) status = parse_group(open, table, csv, at, length);
        at += length;
        if (!*at) break;
    }
    if (status == FLOW_OK && csv->count == 0) status = data_wrong(open, FLOW_ERROR_USAGE, "outputs: the list is empty");
    return status;
}

static int open_source(struct flow_source_open *open) {
    const struct csv_attrs *a = open->attrs;
    struct data_table table;
    struct csv *csv = data_memory(open, 1, sizeof *csv);
    if (!csv) return FLOW_ERROR_MEMORY;
    open->state = csv;
    int status = data_table_read(open, open->path, &table);
    if (status < 0) return status;
    status = a->outputs ? parse_groups(open, &table, csv, a->outputs) : every_column(open, &table, csv);
    open->rows = table.rows;
    data_table_free(&table);
    return status;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct csv *csv = fill->state;
    for (int64_t i = 0, n; i < fill->count; i += n) {
        n = data_run(fill->rows, i, fill->count);
        for (int64_t g = 0; g < csv->count; g++) {
            const int64_t bytes = csv->groups[g].bytes;
            memcpy((char *)fill->out[g].data + i * bytes, (const char *)csv->groups[g].values + fill->rows[i] * bytes, (size_t)(n * bytes));
        }
    }
    return FLOW_OK;
}

const struct flow_source data_csv = {
    .size = sizeof data_csv,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "csv",
    .summary = "columns of a csv file, by name, alone or together",
    .reference = "RFC 4180",
    .example = "train: {source: csv, path: ETTh1.csv, with: {outputs: \"x = [HUFL, HULL, MUFL]; y = OT\", batch: 32}, feeds: {x: x, y: y}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct csv_attrs),
    .open = open_source,
    .fill = fill_source,
};
