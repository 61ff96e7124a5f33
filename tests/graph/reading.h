/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs from text, for the tests of networks. */
#ifndef FLOW_TESTS_READING_H
#define FLOW_TESTS_READING_H

#include "graph/network.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct reading {
    struct registry *registry;
    struct report report;
    struct network *network;
    int rc;
};

static inline struct registry *open_registry(void) {
    struct registry_options options = {.path = BUILD_DIR "/plugins", .index = "", .trust = true};
    struct registry *registry;
    cr_assert(registry_new(&memory_default, &options, &registry) == 0);
    return registry;
}

static inline struct reading read_with(const char *text, const struct network_options *options) {
    struct reading r = {.registry = open_registry()};
    report_init(&r.report, &memory_default);
    r.rc = network_read(&memory_default, r.registry, "g.yaml", text, strlen(text), options, &r.report, &r.network);
    return r;
}

static inline struct reading read_graph(const char *text) { return read_with(text, NULL); }

static inline void reading_done(struct reading *r) {
    network_free(r->network);
    report_free(&r->report);
    registry_free(r->registry);
}

static inline void reading_show(const struct reading *r) {
    for (const struct report_message *m = r->report.first; m; m = m->next)
        fprintf(stderr, "%s:%d:%d: %s\n", m->at.file, m->at.line, m->at.column, m->text);
}

static inline struct reading read_right(const char *text) {
    struct reading r = read_graph(text);
    if (r.rc) reading_show(&r);
    cr_assert(r.rc == 0 && r.network && r.report.count == 0);
    return r;
}

static inline const struct network_node *node_of(const struct network *network, const char *path) {
    for (size_t i = 0; i < network->node_count; i++)
        if (strcmp(network->nodes[i].path, path) == 0) return &network->nodes[i];
    cr_assert(false, "no node %s", path);
    return NULL;
}

/* "path.output" of what an edge reads; an input's is its name. */
static inline const char *source_of(const struct network *network, struct network_ref ref, char text[300]) {
    if (ref.node == NETWORK_INPUT) snprintf(text, 300, "%s", network->inputs[ref.output].name);
    else if (ref.node < 0) snprintf(text, 300, "nothing");
    else snprintf(text, 300, "%s:%d", network->nodes[ref.node].path, ref.output);
    return text;
}

static inline void reads(const struct network *network, const char *path, size_t edge, int32_t port, const char *source) {
    char text[300];
    const struct network_node *node = node_of(network, path);
    cr_assert_lt(edge, node->in_count);
    cr_assert_eq(node->in[edge].port, port, "%s: port %d", path, node->in[edge].port);
    cr_assert_str_eq(source_of(network, node->in[edge].from, text), source, "%s reads %s, not %s", path, text, source);
}

/* Every node follows those it reads. */
static inline void in_order(const struct network *network) {
    for (size_t i = 0; i < network->node_count; i++) {
        const struct network_node *node = &network->nodes[i];
        for (size_t k = 0; k < node->in_count; k++) cr_assert(node->in[k].delayed || node->in[k].from.node < (int32_t)i);
        for (size_t k = 0; k < node->tie_count; k++) cr_assert(node->ties[k].target || node->ties[k].value.node < (int32_t)i);
        for (size_t k = 0; k < node->after_count; k++) cr_assert(node->after[k] < (int32_t)i);
        if (node->body) in_order(node->body);
    }
}

#endif
