/* SPDX-License-Identifier: Apache-2.0 */
/* windows: pieces of one long time series, from columns of a csv file: what is known and what is to be foretold. Lines first .. end-1 are
 * cut into pieces; means and deviations come from lines that the training may see. */
#include "data.h"

#include <math.h>
#include <string.h>

struct windows_attrs {
    const char *columns;
    int64_t context, horizon, stride, first, end;
    bool standardize;
    int64_t fit_first, fit_end;
};

struct windows {
    int64_t columns, first;
    float *values; /* [lines, columns] */
};

static const struct flow_port outputs[] = {
    {"context", "lines that are known", "B context C", FLOW_TYPE(F32), 0},
    {"target", "lines that follow", "B horizon C", FLOW_TYPE(F32), 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_PLAIN(struct windows_attrs, columns, "names of the columns, apart by spaces; #0 is the first", FLOW_REQUIRED),
    FLOW_ATTR(struct windows_attrs, context, "lines that are known", FLOW_REQUIRED, 1, 1 << 24),
    FLOW_ATTR(struct windows_attrs, horizon, "lines that are to be foretold", FLOW_REQUIRED, 1, 1 << 24),
    FLOW_ATTR(struct windows_attrs, stride, "lines from one piece's beginning to the next", "1", 1, 1 << 24),
    FLOW_ATTR(struct windows_attrs, first, "first line, from 0, without the head", "0", 0, 1LL << 40),
    FLOW_ATTR(struct windows_attrs, end, "line behind the last; absent: all", FLOW_ABSENT, 1, 1LL << 40),
    FLOW_ATTR_PLAIN(struct windows_attrs, standardize, "mean 0 and deviation 1 of each column over lines fit_first .. fit_end-1", "true"),
    FLOW_ATTR(struct windows_attrs, fit_first, "first line that means and deviations come from", "0", 0, 1LL << 40),
    FLOW_ATTR(struct windows_attrs, fit_end, "line behind the last of them; absent: as `end`", FLOW_ABSENT, 1, 1LL << 40),
};

static int read_columns(struct flow_source_open *open, const struct data_table *table, struct windows *windows) {
    const struct windows_attrs *a = open->attrs;
    const char *list = a->columns, *word;
    size_t length;
    int64_t most = 1;
    for (const char *c = list; *c; c++) most += *c == ' ' || *c == ',';
    int64_t *columns = data_memory(open, most, sizeof *columns);
    if (!columns) return FLOW_ERROR_MEMORY;
    while ((word = data_word(&list, &length))) {
        char *name = data_copy(open, word, length);
        if (!name) return FLOW_ERROR_MEMORY;
        int status = data_table_column(open, table, name, &columns[windows->columns++]);
        if (status < 0) return status;
    }
    if (!windows->columns) return data_wrong(open, FLOW_ERROR_USAGE, "columns: the list is empty");
    windows->values = data_memory(open, table->rows, (size_t)windows->columns * sizeof *windows->values);
    int status = windows->values ? FLOW_OK : FLOW_ERROR_MEMORY;
    for (int64_t row = 0, at = 0; status == FLOW_OK && row < table->rows; row++)
        for (int64_t c = 0; status == FLOW_OK && c < windows->columns; c++) {
            double value;
            status = data_table_real(open, table, row, columns[c], &value);
            windows->values[at++] = (float)value;
        }
    return status;
}

static void standardize(struct windows *windows, int64_t lines, int64_t first, int64_t end) {
    for (int64_t c = 0; c < windows->columns; c++) {
        float *x = windows->values + c;
        const int64_t step = windows->columns;
        double mean = 0, square = 0;
        for (int64_t i = first; i < end; i++) mean += (double)x[i * step] / (double)(end - first);
        for (int64_t i = first; i < end; i++) square += pow((double)x[i * step] - mean, 2) / (double)(end - first);
        const double deviation = square > 0 ? sqrt(square) : 1;
        for (int64_t i = 0; i < lines; i++) x[i * step] = (float)(((double)x[i * step] - mean) / deviation);
    }
}

static int open_source(struct flow_source_open *open) {
    const struct windows_attrs *a = open->attrs;
    struct data_table table;
    struct windows *windows = data_memory(open, 1, sizeof *windows);
    if (!windows) return FLOW_ERROR_MEMORY;
    open->state = windows;
    int status = data_table_read(open, open->path, &table);
    if (status < 0) return status;
    status = read_columns(open, &table, windows);
    const int64_t lines = table.rows, end = a->end == FLOW_INT_ABSENT ? lines : a->end,
                  fit_end = a->fit_end == FLOW_INT_ABSENT ? end : a->fit_end;
    data_table_free(&table);
    if (status < 0) return status;
    if (a->first >= end || end > lines || a->fit_first >= fit_end || fit_end > lines)
        return data_wrong(open, FLOW_ERROR_RANGE, "%s has %lld lines: pieces from %lld to %lld, means from %lld to %lld", open->path,
                          (long long)lines, (long long)a->first, (long long)end, (long long)a->fit_first, (long long)fit_end);
    if (end - a->first < a->context + a->horizon)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s: %lld lines are fewer than a piece's %lld", open->path, (long long)(end - a->first),
                          (long long)(a->context + a->horizon));
    if (a->standardize) standardize(windows, lines, a->fit_first, fit_end);
    windows->first = a->first;
    open->rows = (end - a->first - a->context - a->horizon) / a->stride + 1;
    status = data_output(open, "context", FLOW_F32, 2, (const int64_t[]){a->context, windows->columns});
    return status < 0 ? status : data_output(open, "target", FLOW_F32, 2, (const int64_t[]){a->horizon, windows->columns});
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct windows_attrs *a = fill->attrs;
    const struct windows *windows = fill->state;
    const int64_t context = a->context * windows->columns, horizon = a->horizon * windows->columns;
    for (int64_t i = 0; i < fill->count; i++) {
        const float *from = windows->values + (windows->first + fill->rows[i] * a->stride) * windows->columns;
        memcpy((float *)fill->out[0].data + i * context, from, (size_t)context * sizeof *from);
        memcpy((float *)fill->out[1].data + i * horizon, from + context, (size_t)horizon * sizeof *from);
    }
    return FLOW_OK;
}

const struct flow_source data_windows = {
    .size = sizeof data_windows,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "windows",
    .summary = "pieces of a long time series: what is known, and what follows",
    .reference = "Zhou et al., Informer (AAAI 2021), section 5.1: the splits of ETT",
    .example = "train: {source: windows, path: ETTh1.csv, with: {columns: HUFL HULL OT, context: 96, horizon: 24, end: 8640, batch: 32, "
               "shuffle: true}, feeds: {x: context, y: target}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct windows_attrs),
    .open = open_source,
    .fill = fill_source,
};
