/* SPDX-License-Identifier: Apache-2.0 */
/* node_graph: a graph with features and labels of its nodes, from a folder of three csv files: edges.csv (source, target), nodes.csv (node,
 * label, split) and features.csv (node, feature and, where it is not 1, value). The one batch is the whole graph. */
#include "data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NORMALIZE_NONE, NORMALIZE_ROWS, SPLIT_TRAIN = 0, SPLIT_VALID, SPLIT_TEST, SPLITS, IGNORED = -100 };

struct node_graph_attrs {
    int32_t normalize;
    int64_t classes;
    bool virtual_nodes;
};

struct node_graph {
    int64_t nodes, features, edges, labelled, rows; /* rows of x: virtual ones, too */
    float *x;
    int64_t *ends;         /* [2, edges] */
    int64_t *label;        /* [nodes] */
    int64_t *part[SPLITS]; /* [nodes]: the label, or IGNORED */
    int64_t *training;     /* [labelled]: nodes */
};

static const struct flow_port outputs[] = {
    {"x", "features of the nodes; with `virtual_nodes` a drawn row for each class behind them", "N D", FLOW_TYPE(F32), 0},
    {"edges", "row 0 the sources, row 1 the targets", "2 E", FLOW_TYPE(I64), 0},
    {"label", "class of each node", "N", FLOW_TYPE(I64), 0},
    {"train_label", "class where the node is in the training part, else -100", "N", FLOW_TYPE(I64), 0},
    {"valid_label", "class where the node is in the validation part, else -100", "N", FLOW_TYPE(I64), 0},
    {"test_label", "class where the node is in the test part, else -100", "N", FLOW_TYPE(I64), 0},
    {"labelled", "nodes of the training part", "K", FLOW_TYPE(I64), 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_CHOICES(struct node_graph_attrs, normalize, "rows: each node's features are divided by their sum", "none", "none|rows"),
    FLOW_ATTR(struct node_graph_attrs, classes, "labels are 0 .. classes-1, another one is an error; absent: as many as there are",
              FLOW_ABSENT, 1, 1 << 20),
    FLOW_ATTR_PLAIN(struct node_graph_attrs, virtual_nodes,
                    "a node more for each class, joined in both directions with the class's training nodes", "false"),
};

static int read_table(struct flow_source_open *open, const char *name, struct data_table *table) {
    const size_t folder = strlen(open->path), length = strlen(name);
    char *path = open->host->memory(open->owner, folder + length + 2);
    if (!path) return FLOW_ERROR_MEMORY;
    memcpy(path, open->path, folder);
    path[folder] = '/';
    memcpy(path + folder + 1, name, length + 1);
    return data_table_read(open, path, table);
}

static int read_index(struct flow_source_open *open, const struct data_table *table, int64_t row, int64_t column, const char *what,
                      int64_t count, int64_t *value) {
    int status = data_table_integer(open, table, row, column, value);
    if (status == FLOW_OK && (*value < 0 || *value >= count))
        status = data_wrong(open, FLOW_ERROR_RANGE, "%s:%d: %s %lld, expected 0 to %lld", table->path, table->lines[row], what,
                            (long long)*value, (long long)count - 1);
    return status;
}

static int read_nodes(struct flow_source_open *open, struct node_graph *graph, int64_t *classes) {
    static const char *const splits[SPLITS][2] = {{"train", "train"}, {"valid", "val"}, {"test", "test"}};
    const struct node_graph_attrs *a = open->attrs;
    struct data_table table;
    int64_t node, label, split, at, value;
    int status = read_table(open, "nodes.csv", &table);
    if (status < 0) return status;
    graph->nodes = table.rows;
    graph->label = data_memory(open, table.rows, sizeof *graph->label);
    graph->training = data_memory(open, table.rows, sizeof *graph->training);
    for (int s = 0; s < SPLITS; s++) graph->part[s] = data_memory(open, table.rows, sizeof *graph->part[s]);
    if (!graph->label || !graph->training || !graph->part[SPLIT_TEST]) status = FLOW_ERROR_MEMORY;
    if (status == FLOW_OK) status = data_table_column(open, &table, "node", &node);
    if (status == FLOW_OK) status = data_table_column(open, &table, "label", &label);
    if (status == FLOW_OK) status = data_table_column(open, &table, "split", &split);
    for (int64_t i = 0; status == FLOW_OK && i < table.rows; i++) graph->label[i] = -1;
    const int64_t most = a->classes == FLOW_INT_ABSENT ? 1 << 20 : a->classes;
    for (int64_t row = 0; status == FLOW_OK && row < table.rows; row++) {
        status = read_index(open, &table, row, node, "node", table.rows, &at);
        if (status == FLOW_OK) status = read_index(open, &table, row, label, "label", most, &value);
        if (status == FLOW_OK && graph->label[at] >= 0)
            status =
                data_wrong(open, FLOW_ERROR_FORMAT, "%s:%d: node %lld stands there twice", table.path, table.lines[row], (long long)at);
        if (status < 0) break;
        graph->label[at] = value;
        if (value >= *classes) *classes = value + 1;
        const char *word = table.fields[row * table.columns + split];
        for (int s = 0; s < SPLITS; s++) {
            const bool in = strcmp(word, splits[s][0]) == 0 || strcmp(word, splits[s][1]) == 0;
            graph->part[s][at] = in ? value : IGNORED;
        }
    }
    for (int64_t i = 0; status == FLOW_OK && i < table.rows; i++)
        if (graph->part[SPLIT_TRAIN][i] >= 0) graph->training[graph->labelled++] = i;
    data_table_free(&table);
    return status;
}

/* Sparse rows to whole ones. */
static int read_features(struct flow_source_open *open, struct node_graph *graph) {
    struct data_table table;
    int64_t node, feature, at, place = 0;
    int status = read_table(open, "features.csv", &table);
    if (status < 0) return status;
    const int64_t value = data_table_find(&table, "value");
    status = data_table_column(open, &table, "node", &node);
    if (status == FLOW_OK) status = data_table_column(open, &table, "feature", &feature);
    for (int64_t row = 0; status == FLOW_OK && row < table.rows; row++) {
        status = read_index(open, &table, row, feature, "feature", 1LL << 32, &place);
        if (place >= graph->features) graph->features = place + 1;
    }
    if (status == FLOW_OK) {
        graph->x = data_memory(open, graph->rows, (size_t)graph->features * sizeof *graph->x);
        if (!graph->x) status = FLOW_ERROR_MEMORY;
    }
    for (int64_t row = 0; status == FLOW_OK && row < table.rows; row++) {
        double real = 1;
        status = read_index(open, &table, row, node, "node", graph->nodes, &at);
        if (status == FLOW_OK) status = data_table_integer(open, &table, row, feature, &place);
        if (status == FLOW_OK && value >= 0) status = data_table_real(open, &table, row, value, &real);
        if (status == FLOW_OK) graph->x[at * graph->features + place] = (float)real;
    }
    data_table_free(&table);
    return status;
}

static int read_edges(struct flow_source_open *open, struct node_graph *graph, bool with_classes) {
    struct data_table table;
    int64_t source, target;
    int status = read_table(open, "edges.csv", &table);
    if (status < 0) return status;
    graph->edges = table.rows + (with_classes ? 2 * graph->labelled : 0);
    graph->ends = data_memory(open, 2 * graph->edges, sizeof *graph->ends);
    if (!graph->ends) status = FLOW_ERROR_MEMORY;
    if (status == FLOW_OK) status = data_table_column(open, &table, "source", &source);
    if (status == FLOW_OK) status = data_table_column(open, &table, "target", &target);
    for (int64_t row = 0; status == FLOW_OK && row < table.rows; row++) {
        status = read_index(open, &table, row, source, "node", graph->nodes, &graph->ends[row]);
        if (status == FLOW_OK) status = read_index(open, &table, row, target, "node", graph->nodes, &graph->ends[graph->edges + row]);
    }
    for (int64_t k = 0, at = table.rows; status == FLOW_OK && with_classes && k < graph->labelled; k++) {
        const int64_t node = graph->training[k], class = graph->nodes + graph->label[node];
        graph->ends[at] = node, graph->ends[graph->edges + at++] = class;
        graph->ends[at] = class, graph->ends[graph->edges + at++] = node;
    }
    data_table_free(&table);
    return status;
}

static void normalize_rows(struct node_graph *graph) {
    for (int64_t i = 0; i < graph->nodes; i++) {
        float *x = graph->x + i * graph->features;
        double sum = 0;
        for (int64_t k = 0; k < graph->features; k++) sum += (double)x[k];
        for (int64_t k = 0; sum != 0 && k < graph->features; k++) x[k] = (float)((double)x[k] / sum);
    }
}

/* Standard normal numbers for the rows of the classes (Box and Muller 1958). */
static void draw_classes(struct node_graph *graph, uint64_t seed) {
    for (int64_t i = graph->nodes; i < graph->rows; i++)
        for (int64_t k = 0; k < graph->features; k++) {
            const double u = 1 - data_uniform(seed, i, 2 * (uint64_t)k), v = data_uniform(seed, i, 2 * (uint64_t)k + 1);
            graph->x[i * graph->features + k] = (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
        }
}

static int declare(struct flow_source_open *open, const struct node_graph *graph) {
    static const char *const names[SPLITS] = {"train_label", "valid_label", "test_label"};
    const struct flow_source_host *host = open->host;
    int status = host->output(open->owner, "x", FLOW_F32, 2, (const int64_t[]){graph->rows, graph->features}, true);
    if (status == FLOW_OK) status = host->output(open->owner, "edges", FLOW_I64, 2, (const int64_t[]){2, graph->edges}, true);
    if (status == FLOW_OK) status = host->output(open->owner, "label", FLOW_I64, 1, &graph->nodes, true);
    for (int s = 0; status == FLOW_OK && s < SPLITS; s++) status = host->output(open->owner, names[s], FLOW_I64, 1, &graph->nodes, true);
    return status < 0 ? status : host->output(open->owner, "labelled", FLOW_I64, 1, &graph->labelled, true);
}

static int open_source(struct flow_source_open *open) {
    const struct node_graph_attrs *a = open->attrs;
    struct node_graph *graph = data_memory(open, 1, sizeof *graph);
    int64_t classes = 0;
    if (!graph) return FLOW_ERROR_MEMORY;
    open->state = graph;
    if (!open->path) return data_wrong(open, FLOW_ERROR_USAGE, "the path of a folder is needed, and none is given");
    int status = read_nodes(open, graph, &classes);
    if (a->classes != FLOW_INT_ABSENT) classes = a->classes;
    graph->rows = graph->nodes + (a->virtual_nodes ? classes : 0);
    if (status == FLOW_OK) status = read_features(open, graph);
    if (status == FLOW_OK) status = read_edges(open, graph, a->virtual_nodes);
    if (status < 0) return status;
    if (a->normalize == NORMALIZE_ROWS) normalize_rows(graph);
    if (a->virtual_nodes) draw_classes(graph, open->seed);
    open->rows = 1;
    return declare(open, graph);
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct node_graph *graph = fill->state;
    const size_t column = (size_t)graph->nodes * sizeof(int64_t);
    memcpy(fill->out[0].data, graph->x, (size_t)(graph->rows * graph->features) * sizeof *graph->x);
    memcpy(fill->out[1].data, graph->ends, (size_t)(2 * graph->edges) * sizeof *graph->ends);
    memcpy(fill->out[2].data, graph->label, column);
    for (int s = 0; s < SPLITS; s++) memcpy(fill->out[3 + s].data, graph->part[s], column);
    memcpy(fill->out[3 + SPLITS].data, graph->training, (size_t)graph->labelled * sizeof *graph->training);
    return FLOW_OK;
}

const struct flow_source data_node_graph = {
    .size = sizeof data_node_graph,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "node_graph",
    .summary = "a graph whose nodes have features and labels, whole in each batch",
    .reference = "Yang, Cohen, Salakhutdinov, Revisiting semi-supervised learning with graph embeddings (ICML 2016): the public splits",
    .example =
        "cora: {source: node_graph, path: cora, with: {normalize: rows, classes: 7}, feeds: {x: x, edges: edges, label: train_label}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct node_graph_attrs),
    .open = open_source,
    .fill = fill_source,
};
