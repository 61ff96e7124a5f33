/* SPDX-License-Identifier: Apache-2.0 */
/* What the sources of this plugin share. */
#ifndef DATA_DATA_H
#define DATA_DATA_H

#include <flow/plugin.h>
#include <flow/random.h>

#include <locale.h>

#define DATA_PRINTF(text, first) __attribute__((format(__printf__, text, first)))

/* return data_wrong(open, FLOW_ERROR_..., "..."): `open` may also be a fill. */
#define data_wrong(call, code, ...) ((call)->host->fail((call)->owner, (code), __VA_ARGS__))

enum { DATA_NAME_MOST = 256, DATA_WHOLE_MOST = 1 << 30 };

/* ---- common.c ---- */

/* `count` elements of `size` bytes of the host's, zeroed until written; NULL (and the host has been told) when there is none. */
void *data_memory(const struct flow_source_open *open, int64_t count, size_t size);
char *data_copy(const struct flow_source_open *open, const char *text, size_t length);
/* The whole file, and a zero behind it; malloc's. A compressed one is an error. */
int data_read_whole(const struct flow_source_open *open, const char *path, char **bytes, int64_t *size);
/* Says so where the file's beginning is that of a compressed one. */
int data_check_packed(const struct flow_source_open *open, const char *path, const uint8_t *start, int64_t size);
/* `*` stands for any text; several patterns with '|' between them. NULL or "": `otherwise`. */
bool data_matches(const char *patterns, const char *text, bool otherwise);
const char *data_base_name(const char *path);
/* How many of rows[i ..] follow each other. */
int64_t data_run(const int64_t *rows, int64_t i, int64_t count);
/* Number `draw` of a row, uniform on [0, 1). */
double data_uniform(uint64_t seed, int64_t row, uint64_t draw);
/* The next word of `*list`, separated by spaces and commas; NULL at its end. *length. */
const char *data_word(const char **list, size_t *length);
int data_output(const struct flow_source_open *open, const char *name, int32_t dtype, int32_t rank, const int64_t *shape);

/* Different texts, numbered in sorted order. */
struct data_labels {
    const char **at;
    int64_t count;
};
int data_labels_of(const struct flow_source_open *open, const char *const *texts, int64_t count, struct data_labels *labels,
                   int64_t *numbers);

/* ---- table.c: csv files ---- */

/* Fields as text, row by row; `names` NULL where the first row is one of numbers. All of it malloc's. */
struct data_table {
    const char *path;
    char *text;
    const char **fields; /* [rows, columns] */
    int32_t *lines;      /* where each row begins */
    const char **names;
    int64_t rows, columns;
    locale_t plain;
};
int data_table_read(const struct flow_source_open *open, const char *path, struct data_table *table);
void data_table_free(struct data_table *table);
/* The column of a name, or of a number written "#3" from 0; an error, with the nearest name, when there is none. */
int data_table_column(const struct flow_source_open *open, const struct data_table *table, const char *name, int64_t *column);
/* The same, but FLOW_OK and -1. */
int64_t data_table_find(const struct data_table *table, const char *name);
int data_table_real(const struct flow_source_open *open, const struct data_table *table, int64_t row, int64_t column, double *value);
int data_table_integer(const struct flow_source_open *open, const struct data_table *table, int64_t row, int64_t column, int64_t *value);

#endif
