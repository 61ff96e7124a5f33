/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this folder share: a graph given as text, with extents for its symbols, and what became of it. */
#ifndef FLOW_TESTS_INSTANCE_TEST_H
#define FLOW_TESTS_INSTANCE_TEST_H

#include "graph/extents.h"
#include "graph/instance.h"
#include "harness/failing.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { INPUTS_MOST = 16 };

struct graph {
    struct registry *registry;
    struct network *network;
    struct report report;
    struct flow_tensor inputs[INPUTS_MOST];
    struct instance_options options;
    struct instance *made;
    int status;
};

/* Reads a graph; `extents` as "B=2 T=5", other symbols are 3. */
static void graph_read(struct graph *graph, const char *text, const char *extents) {
    const struct registry_options none = {.path = NULL, .index = ""};
    const struct network_options plain = {0};
    char words[256];
    const char *list[8];
    size_t count = 0;
    *graph = (struct graph){.options = {.precision = FLOW_F32}};
    graph->options.inputs = graph->inputs;
    report_init(&graph->report, &memory_default);
    cr_assert_eq(registry_new(&memory_default, &none, &graph->registry), 0);
    graph->status = network_read(&memory_default, graph->registry, "g.yaml", text, strlen(text), &plain, &graph->report, &graph->network);
    if (graph->report.first) printf("%s\n", graph->report.first->text);
    cr_assert_not_null(graph->network);
    cr_assert_leq(graph->network->input_count, INPUTS_MOST);
    snprintf(words, sizeof words, "%s", extents);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) list[count++] = word;
    cr_assert_eq(instance_inputs(graph->network, list, count, 3, graph->options.precision, &graph->report, graph->inputs), 0);
}

static void graph_infer(struct graph *graph) {
    graph->status = instance_new(&memory_default, graph->network, &graph->options, &graph->report, &graph->made);
}

static void graph_free(struct graph *graph) {
    instance_free(graph->made);
    network_free(graph->network);
    registry_free(graph->registry);
    report_free(&graph->report);
}

/* The graph is inferred without an error. */
static inline void graph_make(struct graph *graph, const char *text, const char *extents) {
    graph_read(graph, text, extents);
    graph_infer(graph);
    for (struct report_message *m = graph->report.first; m; m = m->next) printf("%d:%d: %s\n", m->at.line, m->at.column, m->text);
    cr_assert_eq(graph->status, 0);
    cr_assert_not_null(graph->made);
}

static inline int32_t graph_value(const struct instance *made, const char *name) {
    for (size_t i = 0; i < made->value_count; i++)
        if (strcmp(made->values[i].name, name) == 0) return (int32_t)i;
    cr_assert_fail("there is no value '%s'", name);
    return -1;
}

static inline struct instance_node *graph_node(const struct instance *made, const char *path) {
    for (size_t i = 0; i < made->node_count; i++)
        if (strcmp(made->nodes[i].source->path, path) == 0) return &made->nodes[i];
    cr_assert_fail("there is no node '%s'", path);
    return NULL;
}

/* A value's type, "f32 [2, 3]". */
static inline void graph_expect(const struct instance *made, const char *name, const char *type) {
    char text[EXTENTS_TEXT];
    const struct flow_tensor *found = &made->values[graph_value(made, name)].type;
    cr_expect_str_eq(extents_text(text, found->dtype, found), type, "%s is %s, expected %s", name, text, type);
}

/* The n-th message stands at line:column and holds all words. */
static inline void graph_message(const struct report *report, int n, int line, int column, const char *words) {
    const struct report_message *m = report->first;
    while (m && n-- > 0) m = m->next;
    cr_assert_not_null(m, "no message holding '%s'", words);
    cr_expect(m->at.line == line && m->at.column == column, "%d:%d: %s: expected at %d:%d", m->at.line, m->at.column, m->text, line,
              column);
    char copy[512];
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok(copy, "|"); word; word = strtok(NULL, "|"))
        cr_expect_not_null(strstr(m->text, word), "'%s' does not hold '%s'", m->text, word);
}

/* The graph does not infer; its first message is as given. */
static inline void graph_wrong(const char *text, const char *extents, int count, int line, int column, const char *words) {
    struct graph graph;
    graph_read(&graph, text, extents);
    graph_infer(&graph);
    cr_expect_lt(graph.status, 0);
    cr_expect_null(graph.made);
    cr_expect_eq(graph.report.count, count, "%d messages, expected %d", graph.report.count, count);
    graph_message(&graph.report, 0, line, column, words);
    graph_free(&graph);
}

/* Puts an operator of the test's own in place of a node's. */
static inline void graph_swap(struct graph *graph, const char *path, const struct registry_entry *entry) {
    for (size_t i = 0; i < graph->network->node_count; i++)
        if (strcmp(graph->network->nodes[i].path, path) == 0) {
            graph->network->nodes[i].entry = entry;
            return;
        }
    cr_assert_fail("there is no node '%s'", path);
}

#endif
