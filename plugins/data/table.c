/* SPDX-License-Identifier: Apache-2.0 */
/* csv files (RFC 4180) as text: every row has as many fields as the first; a first row that is not all numbers names the columns. The file
 * is cut up in place, each field ended by a zero. */
#include "data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct cutting {
    const struct flow_source_open *open;
    struct data_table *table;
    char *at, *end;
    int32_t line;
    size_t room;        /* fields */
    size_t count;       /* fields so far */
    int64_t lines_room; /* rows */
};

/* Takes the end of a line; false where there is none. */
static bool take_line_end(struct cutting *c) {
    if (c->at == c->end) return true;
    if (*c->at != '\n' && *c->at != '\r') return false;
    if (*c->at == '\r' && c->at + 1 < c->end && c->at[1] == '\n') *c->at++ = 0;
    *c->at++ = 0;
    c->line++;
    return true;
}

/* The field at hand, quotes taken off and doubled ones made single; `*last` of its row. */
static int take_field(struct cutting *c, const char **field, bool *last) {
    char *to = c->at;
    *field = c->at;
    if (c->at < c->end && *c->at == '"') {
        const int32_t line = c->line;
        for (c->at++;; c->at++) {
            if (c->at == c->end) return data_wrong(c->open, FLOW_ERROR_FORMAT, "%s:%d: a quoted field does not end", c->table->path, line);
            if (*c->at == '"' && !(c->at + 1 < c->end && c->at[1] == '"')) break;
            if (*c->at == '"') c->at++;
            if (*c->at == '\n') c->line++;
            *to++ = *c->at;
        }
        c->at++;
        if (c->at < c->end && *c->at != ',' && *c->at != '\n' && *c->at != '\r')
            return data_wrong(c->open, FLOW_ERROR_FORMAT, "%s:%d: something follows the closing quote of a field", c->table->path, c->line);
    } else {
        while (c->at < c->end && *c->at != ',' && *c->at != '\n' && *c->at != '\r') c->at++;
        to = c->at;
    }
    const bool comma = c->at < c->end && *c->at == ',';
    *last = !comma;
    if (comma) c->at++;
    else take_line_end(c);
    *to = 0; /* the buffer has a zero behind its end */
    return FLOW_OK;
}

static int keep_field(struct cutting *c, const char *field) {
    if (c->count == c->room) {
        const size_t room = c->room ? 2 * c->room : 1024;
        const char **grown = realloc(c->table->fields, room * sizeof *grown);
        if (!grown) return data_wrong(c->open, FLOW_ERROR_MEMORY, "out of memory");
        c->table->fields = grown, c->room = room;
    }
    c->table->fields[c->count++] = field;
    return FLOW_OK;
}

static int keep_line(struct cutting *c, int32_t line) {
    if (c->table->rows == c->lines_room) {
        const int64_t room = c->lines_room ? 2 * c->lines_room : 1024;
        int32_t *grown = realloc(c->table->lines, (size_t)room * sizeof *grown);
        if (!grown) return data_wrong(c->open, FLOW_ERROR_MEMORY, "out of memory");
        c->table->lines = grown, c->lines_room = room;
    }
    c->table->lines[c->table->rows++] = line;
    return FLOW_OK;
}

static bool number_good(const struct data_table *table, const char *text) {
    char *end;
    strtod_l(text, &end, table->plain);
    return end != text && !*end;
}

static int take_row(struct cutting *c) {
    const int32_t line = c->line;
    int64_t count = 0;
    for (bool last = false; !last; count++) {
        const char *field;
        int status = take_field(c, &field, &last);
        if (status == FLOW_OK) status = keep_field(c, field);
        if (status < 0) return status;
    }
    if (c->table->columns == 0) c->table->columns = count;
    if (count != c->table->columns)
        return data_wrong(c->open, FLOW_ERROR_FORMAT, "%s:%d: the row has %lld fields, the first one has %lld", c->table->path, line,
                          (long long)count, (long long)c->table->columns);
    return keep_line(c, line);
}

/* The first row, where it is not all numbers, becomes the names. */
static int take_names(struct cutting *c) {
    struct data_table *table = c->table;
    bool numbers = true;
    for (int64_t i = 0; i < table->columns; i++) numbers = numbers && number_good(table, table->fields[i]);
    if (numbers) return FLOW_OK;
    table->names = malloc((size_t)table->columns * sizeof *table->names);
    if (!table->names) return data_wrong(c->open, FLOW_ERROR_MEMORY, "out of memory");
    memcpy(table->names, table->fields, (size_t)table->columns * sizeof *table->names);
    c->count = 0, table->rows = 0;
    return FLOW_OK;
}

static void skip_empty_lines(struct cutting *c) {
    while (c->at < c->end && (*c->at == '\n' || *c->at == '\r')) take_line_end(c);
}

static int cut(struct cutting *c) {
    if (c->end - c->at >= 3 && memcmp(c->at, "\xEF\xBB\xBF", 3) == 0) c->at += 3; /* byte order mark */
    skip_empty_lines(c);
    if (c->at == c->end) return data_wrong(c->open, FLOW_ERROR_FORMAT, "%s has no rows: an empty data set", c->table->path);
    if (memchr(c->at, 0, (size_t)(c->end - c->at)))
        return data_wrong(c->open, FLOW_ERROR_FORMAT, "%s holds a zero byte: it is not a csv file", c->table->path);
    int status = take_row(c);
    if (status == FLOW_OK) status = take_names(c);
    for (skip_empty_lines(c); status == FLOW_OK && c->at < c->end; skip_empty_lines(c)) status = take_row(c);
    return status;
}

int data_table_read(const struct flow_source_open *open, const char *path, struct data_table *table) {
    int64_t size;
    *table = (struct data_table){.path = path};
    int status = data_read_whole(open, path, &table->text, &size);
    if (status < 0) return status;
    table->plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    struct cutting c = {.open = open, .table = table, .at = table->text, .end = table->text + size, .line = 1};
    status = table->plain == (locale_t)0 ? data_wrong(open, FLOW_ERROR_MEMORY, "out of memory") : cut(&c);
    if (status < 0) data_table_free(table);
    return status;
}

void data_table_free(struct data_table *table) {
    if (table->plain != (locale_t)0) freelocale(table->plain);
    free(table->text), free(table->fields), free(table->lines), free(table->names);
    *table = (struct data_table){0};
}

int64_t data_table_find(const struct data_table *table, const char *name) {
    for (int64_t i = 0; table->names && i < table->columns; i++)
        if (strcmp(table->names[i], name) == 0) return i;
    if (*name == '#') {
        char *end;
        errno = 0;
        const long long number = strtoll(name + 1, &end, 10);
        if (end != name + 1 && !*end && !errno && number >= 0 && number < table->columns) return number;
    }
    return -1;
}

int data_table_column(const struct flow_source_open *open, const struct data_table *table, const char *name, int64_t *column) {
    char names[512] = "";
    size_t used = 0;
    *column = data_table_find(table, name);
    if (*column >= 0) return FLOW_OK;
    for (int64_t i = 0; table->names && i < table->columns && used + 64 < sizeof names; i++) {
        const size_t length = strlen(table->names[i]);
        if (length > 40) continue;
        if (used) memcpy(names + used, ", ", 2), used += 2;
        memcpy(names + used, table->names[i], length), used += length;
    }
    names[used] = 0;
    if (!table->names)
        return data_wrong(open, FLOW_ERROR_USAGE, "%s names no columns: write '#0' to '#%lld' in place of '%s'", table->path,
                          (long long)table->columns - 1, name);
    return data_wrong(open, FLOW_ERROR_USAGE, "%s has no column '%s': there are %s", table->path, name, names);
}

int data_table_real(const struct flow_source_open *open, const struct data_table *table, int64_t row, int64_t column, double *value) {
    const char *text = table->fields[row * table->columns + column];
    char *end;
    *value = strtod_l(text, &end, table->plain);
    while (*end == ' ') end++;
    if (end != text && !*end) return FLOW_OK;
    return data_wrong(open, FLOW_ERROR_FORMAT, "%s:%d: field %lld is '%.40s': expected a number", table->path, table->lines[row],
                      (long long)column + 1, text);
}

int data_table_integer(const struct flow_source_open *open, const struct data_table *table, int64_t row, int64_t column, int64_t *value) {
    const char *text = table->fields[row * table->columns + column];
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    while (*end == ' ') end++;
    if (end != text && !*end && !errno) return FLOW_OK;
    return data_wrong(open, FLOW_ERROR_FORMAT, "%s:%d: field %lld is '%.40s': expected an integer", table->path, table->lines[row],
                      (long long)column + 1, text);
}
