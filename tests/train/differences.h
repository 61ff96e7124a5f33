/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of a graph by its inputs and parameters in f64, and central differences to compare them with. */
#ifndef FLOW_TESTS_DIFFERENCES_H
#define FLOW_TESTS_DIFFERENCES_H

#include "train/trainer_test.h"

enum { INPUTS_MOST = 4, PARAMS_MOST = 16, VALUES_MOST = 512 };

struct slot {
    const char *name;
    int32_t rank;
    int64_t shape[4];
    double values[64], gradient[64];
};

struct point {
    struct slot inputs[INPUTS_MOST], params[PARAMS_MOST];
    size_t input_count, param_count;
    char names[PARAMS_MOST][64];
};

static inline int64_t slot_count(const struct slot *slot) {
    int64_t count = 1;
    for (int32_t a = 0; a < slot->rank; a++) count *= slot->shape[a];
    return count;
}

static inline const char *said(flow_errors *errors) {
    static char text[2048];
    int at = 0;
    text[0] = 0;
    for (int32_t i = 0; i < flow_errors_count(errors) && at < 1800; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%.400s\n", flow_errors_get(errors, i).text);
    return text;
}

/* The sum of the graph's outputs at the point (their gradient too, when wanted). */
static inline double value_at(flow_runtime *runtime, const char *text, struct point *point, bool first, bool gradients) {
    flow_errors *errors = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    struct flow_graph_options options = {.size = sizeof options, .precision = FLOW_F64, .weights = ""};
    struct flow_session_options about = {.size = sizeof about, .gradients = gradients};
    int status = flow_graph_parse(runtime, in_folder("test.yaml"), text, strlen(text), &options, &errors, &graph);
    cr_assert_eq(status, 0, "%s", said(errors));
    for (size_t p = 0; p < point->param_count && !first; p++) {
        struct slot *slot = &point->params[p];
        struct flow_tensor tensor = flow_tensor_of(slot->values, FLOW_F64, slot->rank, slot->shape);
        cr_assert_eq(flow_graph_set(graph, slot->name, &tensor, &errors), 0, "%s", said(errors));
    }
    status = flow_session_new(graph, &about, &errors, &session);
    cr_assert_eq(status, 0, "%s", said(errors));
    for (size_t i = 0; i < point->input_count; i++) {
        struct slot *slot = &point->inputs[i];
        struct flow_tensor tensor = flow_tensor_of(slot->values, FLOW_F64, slot->rank, slot->shape);
        cr_assert_eq(flow_session_input(session, slot->name, &tensor, &errors), 0, "%s", said(errors));
    }
    status = flow_session_run(session, &errors);
    cr_assert_eq(status, 0, "%s", said(errors));
    double sum = 0;
    for (size_t o = 0; o < flow_graph_outputs(graph); o++) {
        const struct flow_tensor *out = flow_session_output_at(session, o);
        cr_assert_eq(flow_tensor_count(out), 1, "outputs are losses here");
        sum += flow_tensor_real(out, 0);
    }
    const char *name;
    const struct flow_tensor *found;
    size_t seen = 0;
    for (size_t g = 0; gradients && flow_session_gradient(session, g, &name, &found); g++, seen++) {
        struct slot *slot = NULL;
        for (size_t i = 0; i < point->input_count; i++)
            if (strncmp(name, "in.", 3) == 0 && strcmp(name + 3, point->inputs[i].name) == 0) slot = &point->inputs[i];
        for (size_t p = 0; p < point->param_count; p++)
            if (strncmp(name, "param.", 6) == 0 && strcmp(name + 6, point->params[p].name) == 0) slot = &point->params[p];
        if (!slot) { /* a parameter met for the first time */
            cr_assert(first && strncmp(name, "param.", 6) == 0 && point->param_count < PARAMS_MOST && flow_tensor_count(found) <= 64, "%s",
                      name);
            slot = &point->params[point->param_count];
            snprintf(point->names[point->param_count], sizeof point->names[0], "%s", name + 6);
            slot->name = point->names[point->param_count++];
            slot->rank = found->rank;
            memcpy(slot->shape, found->shape, sizeof slot->shape);
            for (int64_t k = 0; k < flow_tensor_count(found); k++)
                slot->values[k] = 0.6 * number_of((uint64_t)(1000 * point->param_count) + (uint64_t)k);
        }
        cr_assert_eq(flow_tensor_count(found), slot_count(slot), "%s", name);
        for (int64_t k = 0; k < flow_tensor_count(found); k++) slot->gradient[k] = flow_tensor_real(found, k);
    }
    flow_session_free(session);
    flow_graph_free(graph);
    return sum;
}

static inline void look_at(flow_runtime *runtime, const char *text, struct point *point, struct slot *slot, double tolerance) {
    const double h = 1e-5;
    for (int64_t k = 0; k < slot_count(slot); k++) {
        double kept = slot->values[k], around[2];
        for (int side = 0; side < 2; side++) {
            slot->values[k] = kept + (side ? h : -h);
            around[side] = value_at(runtime, text, point, false, false);
        }
        slot->values[k] = kept;
        double expected = (around[1] - around[0]) / (2 * h);
        cr_assert_float_eq(slot->gradient[k], expected, tolerance * (1 + fabs(expected)), "'%s'[%lld]: %.10g, differences give %.10g",
                           slot->name, (long long)k, slot->gradient[k], expected);
    }
}

/* Every input and parameter, once with other values than the initial ones. Returns the sum of |gradients|. */
static inline double differences(const char *text, struct point *point) {
    flow_runtime *runtime;
    flow_errors *errors = NULL;
    struct flow_runtime_options options = {.size = sizeof options, .threads = 1, .plugin_path = BUILD_DIR "/plugins"};
    cr_assert_eq(flow_runtime_new(&options, &errors, &runtime), 0);
    for (size_t i = 0; i < point->input_count; i++)
        for (int64_t k = 0; k < slot_count(&point->inputs[i]); k++) point->inputs[i].values[k] = 0.8 * number_of(77 * i + (uint64_t)k + 5);
    value_at(runtime, text, point, true, true);
    value_at(runtime, text, point, false, true);
    double sum = 0;
    for (size_t i = 0; i < point->input_count; i++) look_at(runtime, text, point, &point->inputs[i], 1e-7);
    for (size_t p = 0; p < point->param_count; p++) look_at(runtime, text, point, &point->params[p], 1e-7);
    for (size_t i = 0; i < point->input_count; i++)
        for (int64_t k = 0; k < slot_count(&point->inputs[i]); k++) sum += fabs(point->inputs[i].gradient[k]);
    for (size_t p = 0; p < point->param_count; p++)
        for (int64_t k = 0; k < slot_count(&point->params[p]); k++) sum += fabs(point->params[p].gradient[k]);
    flow_runtime_free(runtime);
    return sum;
}

static inline struct point one_input(int32_t rank, const int64_t *shape) {
    struct point point = {.input_count = 1};
    point.inputs[0] = (struct slot){.name = "x", .rank = rank};
    memcpy(point.inputs[0].shape, shape, (size_t)rank * sizeof *shape);
    return point;
}
#define SHAPE(...) \
    (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }

#endif
