/* SPDX-License-Identifier: Apache-2.0 */
/* edges: a graph's edges from a csv file, all of them in every batch. */
#include "data.h"

#include <string.h>

struct edges_attrs {
    const char *source, *target, *weight;
    int64_t nodes;
    bool both;
};

struct edges {
    int64_t count;
    int64_t *ends; /* [2, count] */
    float *weights;
};

static const struct flow_port outputs[] = {
    {"edges", "row 0 the sources, row 1 the targets", "2 E", FLOW_TYPE(I64), 0},
    {"weight", "of each edge, where `weight` names a column", "E", FLOW_TYPE(F32), FLOW_OPTIONAL},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_PLAIN(struct edges_attrs, source, "column of the node where an edge begins; #0 is the first column", "source"),
    FLOW_ATTR_PLAIN(struct edges_attrs, target, "column of the node where it ends", "target"),
    FLOW_ATTR_PLAIN(struct edges_attrs, weight, "column of its weight", FLOW_ABSENT),
    FLOW_ATTR(struct edges_attrs, nodes, "nodes are 0 .. nodes-1, another one is an error; 0: not checked", "0", 0, 1LL << 40),
    FLOW_ATTR_PLAIN(struct edges_attrs, both, "put in each edge's other direction, too, behind all of the file's", "false"),
};

static int read_end(struct flow_source_open *open, const struct data_table *table, int64_t row, int64_t column, int64_t *node) {
    const struct edges_attrs *a = open->attrs;
    int status = data_table_integer(open, table, row, column, node);
    if (status == FLOW_OK && (*node < 0 || (a->nodes && *node >= a->nodes)))
        status = data_wrong(open, FLOW_ERROR_RANGE, "%s:%d: node %lld, expected 0 to %lld", table->path, table->lines[row],
                            (long long)*node, (long long)(a->nodes ? a->nodes - 1 : INT64_MAX));
    return status;
}

static int read_edges(struct flow_source_open *open, const struct data_table *table, struct edges *edges) {
    const struct edges_attrs *a = open->attrs;
    int64_t source, target, weight = -1;
    int status = data_table_column(open, table, a->source, &source);
    if (status == FLOW_OK) status = data_table_column(open, table, a->target, &target);
    if (status == FLOW_OK && a->weight) status = data_table_column(open, table, a->weight, &weight);
    if (status < 0) return status;
    edges->count = table->rows * (a->both ? 2 : 1);
    edges->ends = data_memory(open, 2 * edges->count, sizeof *edges->ends);
    edges->weights = weight >= 0 ? data_memory(open, edges->count, sizeof *edges->weights) : NULL;
    if (!edges->ends || (weight >= 0 && !edges->weights)) return FLOW_ERROR_MEMORY;
    int64_t *from = edges->ends, *to = edges->ends + edges->count;
    for (int64_t row = 0; status == FLOW_OK && row < table->rows; row++) {
        double value = 0;
        status = read_end(open, table, row, source, &from[row]);
        if (status == FLOW_OK) status = read_end(open, table, row, target, &to[row]);
        if (status == FLOW_OK && weight >= 0) status = data_table_real(open, table, row, weight, &value);
        if (weight >= 0) edges->weights[row] = (float)value;
        if (!a->both) continue;
        from[table->rows + row] = to[row], to[table->rows + row] = from[row];
        if (weight >= 0) edges->weights[table->rows + row] = (float)value;
    }
    return status;
}

static int open_source(struct flow_source_open *open) {
    struct data_table table;
    struct edges *edges = data_memory(open, 1, sizeof *edges);
    if (!edges) return FLOW_ERROR_MEMORY;
    open->state = edges;
    int status = data_table_read(open, open->path, &table);
    if (status < 0) return status;
    status = read_edges(open, &table, edges);
    data_table_free(&table);
    const int64_t shape[] = {2, edges->count};
    open->rows = 1;
    if (status == FLOW_OK) status = open->host->output(open->owner, "edges", FLOW_I64, 2, shape, true);
    if (status == FLOW_OK && edges->weights) status = open->host->output(open->owner, "weight", FLOW_F32, 1, shape + 1, true);
    return status;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct edges *edges = fill->state;
    memcpy(fill->out[0].data, edges->ends, (size_t)(2 * edges->count) * sizeof *edges->ends);
    if (edges->weights) memcpy(fill->out[1].data, edges->weights, (size_t)edges->count * sizeof *edges->weights);
    return FLOW_OK;
}

const struct flow_source data_edges = {
    .size = sizeof data_edges,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "edges",
    .summary = "a graph's edges from a csv file",
    .example = "graph: {source: edges, path: cora/edges.csv, with: {nodes: 2708}, feeds: {edges: edges}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct edges_attrs),
    .open = open_source,
    .fill = fill_source,
};
