/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a graph that stands in a test as text, mostly of one node, through the whole runtime: any instruction set that the machine has, any
 * number of threads, single or double precision, whole or in pieces. */
#ifndef FLOW_TESTS_ONE_H
#define FLOW_TESTS_ONE_H

#include "embed/embed.h"

#include <flow/flow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct one {
    flow_runtime *runtime;
    flow_graph *graph;
    flow_session *session;
    flow_errors *errors;
    char message[2048]; /* all errors, a line each */
};

struct one_options {
    int32_t isa;     /* at most; 0 is the base set, so -1 for the best there is */
    int32_t threads; /* 0: one */
    int32_t precision;
    const char *stream;
};
static const struct one_options one_best = {.isa = -1};

static inline void one_close(struct one *one) {
    flow_errors_free(one->errors);
    flow_session_free(one->session);
    flow_graph_free(one->graph);
    flow_runtime_free(one->runtime);
    one->errors = NULL, one->session = NULL, one->graph = NULL, one->runtime = NULL;
}

/* Keeps what went wrong in `message`. */
static inline int one_note(struct one *one, int status) {
    size_t at = 0;
    if (status >= 0) return status;
    one->message[0] = 0;
    for (int32_t i = 0; i < flow_errors_count(one->errors) && at < sizeof one->message; i++) {
        int n = snprintf(one->message + at, sizeof one->message - at, "%s\n", flow_errors_get(one->errors, i).text);
        if (n > 0) at += (size_t)n;
    }
    flow_errors_free(one->errors);
    one->errors = NULL;
    return status;
}

/* A graph from text, ready to be fed. */
static inline int one_open(struct one *one, const char *text, struct one_options options) {
    struct flow_runtime_options runtime = {.size = sizeof runtime, .threads = options.threads ? options.threads : 1};
    struct flow_graph_options graph = {.size = sizeof graph, .precision = options.precision};
    struct flow_session_options session = {.size = sizeof session, .stream = options.stream};
    memset(one, 0, sizeof *one);
    int status = flow_runtime_new(&runtime, &one->errors, &one->runtime);
    if (status == 0) status = flow_graph_parse(one->runtime, "test.yaml", text, strlen(text), &graph, &one->errors, &one->graph);
    if (status == 0 && options.isa >= 0 && options.isa < one->graph->host.isa) one->graph->host.isa = options.isa;
    if (status == 0) status = flow_session_new(one->graph, &session, &one->errors, &one->session);
    return one_note(one, status);
}

static inline int one_input(struct one *one, const char *name, void *data, int32_t dtype, int32_t rank, const int64_t *shape) {
    struct flow_tensor tensor = flow_tensor_of(data, dtype, rank, shape);
    return one_note(one, flow_session_input(one->session, name, &tensor, &one->errors));
}

static inline int one_run(struct one *one) { return one_note(one, flow_session_run(one->session, &one->errors)); }
static inline int one_finish(struct one *one) { return one_note(one, flow_session_finish(one->session, &one->errors)); }
static inline const struct flow_tensor *one_output(const struct one *one, const char *name) {
    return flow_session_output(one->session, name);
}

/* Deterministic numbers for tests. */
static inline uint64_t one_random(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u, z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
/* In [low, high). */
static inline double one_uniform(uint64_t *state, double low, double high) {
    return low + (high - low) * ((double)(one_random(state) >> 11) * 0x1p-53);
}
static inline int64_t one_below(uint64_t *state, int64_t count) { return (int64_t)(one_random(state) % (uint64_t)count); }

#endif
