/* SPDX-License-Identifier: Apache-2.0 */
/* A graph's text run through all stages: network, instance, plan, context. */
#ifndef FLOW_TESTS_EXEC_CHAIN_H
#define FLOW_TESTS_EXEC_CHAIN_H

#include "exec/exec.h"
#include "graph/network.h"
#include "plugin/registry.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { CHAIN_PIECES = 64 };

struct chain {
    const struct allocator *from;
    struct registry *registry;
    struct network *network;
    struct device *device;
    struct model *model;
    struct context *context;
    struct report report;
    int streams;
    int32_t precision;
    const char *stream;
    struct instance *instances[CHAIN_PIECES];
    struct plan *plans[CHAIN_PIECES];
    size_t pieces, current; /* plans made; the one that runs */
};

static inline void chain_show(const struct chain *c) {
    for (const struct report_message *m = c->report.first; m; m = m->next)
        fprintf(stderr, "%s:%d:%d: %s\n", m->at.file ? m->at.file : "", (int)m->at.line, (int)m->at.column, m->text);
}

static inline int chain_open(struct chain *c, const struct allocator *from, const char *text, int threads) {
    memset(c, 0, sizeof *c);
    c->from = from, c->streams = 1, c->precision = FLOW_F32;
    report_init(&c->report, from);
    struct registry_options options = {.path = BUILD_DIR "/plugins", .installed = "", .index = "", .trust = true};
    struct device_cpu_options cpu = {.threads = threads, .isa = -1};
    int code = registry_new(from, &options, &c->registry);
    if (code == 0) code = device_cpu_new(from, &cpu, &c->device);
    if (code == 0) code = model_new(from, c->device, &c->model);
    if (code == 0) code = context_new(from, c->model, &c->context);
    if (code == 0) code = network_read(from, c->registry, "test.yaml", text, strlen(text), NULL, &c->report, &c->network);
    return code;
}

/* An instance for these inputs; streaming goes on from the last piece, with a plan made before where one fits. */
static inline int chain_infer(struct chain *c, const struct flow_tensor *inputs, bool flush) {
    cr_assert_lt(c->pieces, (size_t)CHAIN_PIECES);
    struct instance *before = c->stream && c->pieces ? c->instances[c->current] : NULL;
    struct instance_options how = {.host = c->device->host,
                                   .phase = FLOW_PHASE_INFERENCE,
                                   .precision = c->precision,
                                   .inputs = inputs,
                                   .stream = c->stream,
                                   .first = c->stream && !before,
                                   .flush = flush,
                                   .before = before};
    for (size_t p = 0; c->stream && p < c->pieces; p++)
        if (instance_fits(c->instances[p], &how)) {
            c->current = p;
            return 0;
        }
    int code = instance_new(c->from, c->network, &how, &c->report, &c->instances[c->pieces]);
    if (code == 0) c->current = c->pieces++;
    return code;
}

static inline int chain_plan_last(struct chain *c) {
    struct plan_options options = {.streams = c->streams, .device = FLOW_DEVICE_CPU, .host = c->device->host};
    if (c->plans[c->current]) return 0;
    return plan_new(c->from, c->instances[c->current], &options, &c->report, &c->plans[c->current]);
}

static inline int chain_plan(struct chain *c, const struct flow_tensor *inputs, bool flush) {
    int code = chain_infer(c, inputs, flush);
    return code == 0 ? chain_plan_last(c) : code;
}

static inline int chain_run(struct chain *c, const struct flow_tensor *inputs, const struct flow_tensor **outputs) {
    *outputs = NULL;
    int code = context_bind(c->context, c->plans[c->current], &c->report);
    return code == 0 ? context_run(c->context, inputs, &c->report, outputs) : code;
}

static inline void chain_close(struct chain *c) {
    for (size_t p = 0; p < c->pieces; p++) {
        if (c->context && c->plans[p]) context_forget(c->context, c->plans[p]);
        plan_free(c->plans[p]);
    }
    for (size_t p = 0; p < c->pieces; p++) instance_free(c->instances[p]);
    context_free(c->context);
    model_free(c->model);
    if (c->device) c->device->api->free(c->device);
    network_free(c->network);
    registry_free(c->registry);
    report_free(&c->report);
}

static inline struct flow_tensor chain_tensor(void *data, int32_t dtype, int32_t rank, int64_t a, int64_t b, int64_t c) {
    struct flow_tensor t = {.data = data, .dtype = dtype, .rank = rank, .shape = {a, b, c}};
    int64_t stride = 1;
    for (int32_t i = rank - 1; i >= 0; i--) t.strides[i] = stride, stride *= t.shape[i];
    return t;
}

#define CHAIN_OK(c, call)                    \
    do {                                     \
        int chain_code_ = (call);            \
        if (chain_code_ != 0) chain_show(c); \
        cr_assert_eq(chain_code_, 0);        \
    } while (0)

static inline void chain_floats(const struct flow_tensor *t, const float *expected, int64_t count) {
    int64_t n = 1;
    for (int32_t a = 0; a < t->rank; a++) n *= t->shape[a];
    cr_assert_eq(n, count, "%d elements", (int)n);
    for (int64_t i = 0; i < n; i++)
        cr_assert_float_eq(((const float *)t->data)[i], expected[i], 1e-5f * (1 + (expected[i] < 0 ? -expected[i] : expected[i])),
                           "[%d]: %g, not %g", (int)i, ((const float *)t->data)[i], expected[i]);
}

#endif
