/* SPDX-License-Identifier: Apache-2.0 */
/* events: a stream of timed edges from a csv file, in order of time. The last batch is filled up with events that are not valid, so that
 * batches keep their shape. */
#include "data.h"

#include <math.h>
#include <string.h>

struct events_attrs {
    const char *source, *target, *time, *features;
    double tick;
    int64_t nodes;
    bool pad;
};

struct events {
    int64_t count, features;
    int64_t *sources, *targets, *times;
    float *feature; /* [count, features] */
};

static const struct flow_port outputs[] = {
    {"source", "node that acts", "B", FLOW_TYPE(I64), 0},
    {"target", "node that it acts on", "B", FLOW_TYPE(I64), 0},
    {"time", "ticks since the first event", "B", FLOW_TYPE(I64), 0},
    {"valid", "false for what fills up the last batch", "B", FLOW_TYPE(BOOL), 0},
    {"feature", "the columns that `features` names", "B F", FLOW_TYPE(F32), FLOW_OPTIONAL},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_PLAIN(struct events_attrs, source, "column; #0 is the first one", "source"),
    FLOW_ATTR_PLAIN(struct events_attrs, target, "column", "target"),
    FLOW_ATTR_PLAIN(struct events_attrs, time, "column, in units of the file's", "time"),
    FLOW_ATTR_PLAIN(struct events_attrs, features, "columns of numbers, apart by spaces", FLOW_ABSENT),
    FLOW_ATTR(struct events_attrs, tick, "length of a tick, in the file's units of time", "1", 1e-300, FLOW_NO_MAX),
    FLOW_ATTR(struct events_attrs, nodes, "nodes are 0 .. nodes-1, another one is an error; 0: not checked", "0", 0, 1LL << 40),
    FLOW_ATTR_PLAIN(struct events_attrs, pad, "fill up the last batch", "true"),
};

struct columns {
    int64_t source, target, time;
    int64_t *features;
};

static int find_columns(struct flow_source_open *open, const struct data_table *table, struct events *events, struct columns *columns) {
    const struct events_attrs *a = open->attrs;
    int status = data_table_column(open, table, a->source, &columns->source);
    if (status == FLOW_OK) status = data_table_column(open, table, a->target, &columns->target);
    if (status == FLOW_OK) status = data_table_column(open, table, a->time, &columns->time);
    columns->features = status == FLOW_OK ? data_memory(open, table->columns + 1, sizeof *columns->features) : NULL;
    if (status == FLOW_OK && !columns->features) status = FLOW_ERROR_MEMORY;
    const char *list = a->features, *word;
    size_t length;
    while (status == FLOW_OK && list && (word = data_word(&list, &length))) {
        char *name = data_copy(open, word, length);
        if (!name) return FLOW_ERROR_MEMORY;
        if (events->features > table->columns) return data_wrong(open, FLOW_ERROR_USAGE, "features: more than the file has columns");
        status = data_table_column(open, table, name, &columns->features[events->features++]);
    }
    return status;
}

static int read_node(struct flow_source_open *open, const struct data_table *table, int64_t row, int64_t column, int64_t *node) {
    const struct events_attrs *a = open->attrs;
    int status = data_table_integer(open, table, row, column, node);
    if (status == FLOW_OK && (*node < 0 || (a->nodes && *node >= a->nodes)))
        status = data_wrong(open, FLOW_ERROR_RANGE, "%s:%d: node %lld, expected 0 to %lld", table->path, table->lines[row],
                            (long long)*node, (long long)(a->nodes ? a->nodes - 1 : INT64_MAX));
    return status;
}

/* Ticks since the first event: whole numbers, since single precision holds no date. */
static int read_time(struct flow_source_open *open, const struct data_table *table, const struct columns *columns, int64_t row,
                     double first, struct events *events) {
    const struct events_attrs *a = open->attrs;
    double time;
    int status = data_table_real(open, table, row, columns->time, &time);
    if (status < 0) return status;
    const double ticks = floor((time - first) / a->tick);
    if (!(ticks >= 0 && ticks < 0x1p62) || (row && (int64_t)ticks < events->times[row - 1]))
        return data_wrong(open, FLOW_ERROR_RANGE, "%s:%d: time %.17g comes before that of an earlier line: events must be in order of time",
                          table->path, table->lines[row], time);
    events->times[row] = (int64_t)ticks;
    return FLOW_OK;
}

static int read_events(struct flow_source_open *open, const struct data_table *table, struct events *events) {
    struct columns columns;
    double first = 0;
    int status = find_columns(open, table, events, &columns);
    if (status < 0) return status;
    events->count = table->rows;
    events->sources = data_memory(open, table->rows, sizeof *events->sources);
    events->targets = data_memory(open, table->rows, sizeof *events->targets);
    events->times = data_memory(open, table->rows, sizeof *events->times);
    events->feature = data_memory(open, table->rows, (size_t)events->features * sizeof *events->feature);
    if (!events->sources || !events->targets || !events->times || !events->feature) return FLOW_ERROR_MEMORY;
    if (table->rows) status = data_table_real(open, table, 0, columns.time, &first);
    for (int64_t row = 0; status == FLOW_OK && row < table->rows; row++) {
        status = read_node(open, table, row, columns.source, &events->sources[row]);
        if (status == FLOW_OK) status = read_node(open, table, row, columns.target, &events->targets[row]);
        if (status == FLOW_OK) status = read_time(open, table, &columns, row, first, events);
        for (int64_t f = 0; status == FLOW_OK && f < events->features; f++) {
            double value;
            status = data_table_real(open, table, row, columns.features[f], &value);
            events->feature[row * events->features + f] = (float)value;
        }
    }
    return status;
}

static int open_source(struct flow_source_open *open) {
    const struct events_attrs *a = open->attrs;
    struct data_table table;
    struct events *events = data_memory(open, 1, sizeof *events);
    if (!events) return FLOW_ERROR_MEMORY;
    open->state = events;
    int status = data_table_read(open, open->path, &table);
    if (status < 0) return status;
    status = read_events(open, &table, events);
    data_table_free(&table);
    static const char *const names[] = {"source", "target", "time"};
    for (int i = 0; status == FLOW_OK && i < 3; i++) status = data_output(open, names[i], FLOW_I64, 0, NULL);
    if (status == FLOW_OK) status = data_output(open, "valid", FLOW_BOOL, 0, NULL);
    if (status == FLOW_OK && events->features) status = data_output(open, "feature", FLOW_F32, 1, &events->features);
    open->rows = events->count;
    if (a->pad && open->batch > 1 && open->rows % open->batch) open->rows += open->batch - open->rows % open->batch;
    return status;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct events *events = fill->state;
    int64_t *source = fill->out[0].data, *target = fill->out[1].data, *time = fill->out[2].data;
    uint8_t *valid = fill->out[3].data;
    for (int64_t i = 0; i < fill->count; i++) {
        const int64_t row = fill->rows[i], last = events->count - 1;
        valid[i] = row <= last;
        source[i] = valid[i] ? events->sources[row] : 0, target[i] = valid[i] ? events->targets[row] : 0;
        time[i] = events->times[valid[i] ? row : last];
        if (!events->features) continue;
        const size_t bytes = (size_t)events->features * sizeof *events->feature;
        float *to = (float *)fill->out[4].data + i * events->features;
        if (valid[i]) memcpy(to, events->feature + row * events->features, bytes);
        else memset(to, 0, bytes);
    }
    return FLOW_OK;
}

const struct flow_source data_events = {
    .size = sizeof data_events,
    .flags = FLOW_SOURCE_ORDERED | FLOW_SOURCE_CONSTANT,
    .name = "events",
    .summary = "timed edges from a csv file, in batches that follow each other",
    .example =
        "stream: {source: events, path: college-msg/events.csv, with: {batch: 100}, feeds: {source: source, target: target, time: time, "
        "valid: valid}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct events_attrs),
    .open = open_source,
    .fill = fill_source,
};
