/* SPDX-License-Identifier: Apache-2.0 */
/* One operator by itself, without a graph: infer and forward are called with tensors of the test's own. For what a graph cannot reach (a
 * phase, a seed, a piece order). Pieces of parallel_for run one after the other, the last first: a kernel must not depend on their order.
 */
#ifndef FLOW_TESTS_FAKE_HOST_H
#define FLOW_TESTS_FAKE_HOST_H

#include <flow/plugin.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_PORTS = 8 };

struct fake {
    const struct flow_operator *op;
    const void *attrs;
    int32_t phase, isa, threads;
    uint64_t seed, run;
    uint32_t in_count, param_count;
    struct flow_tensor in[FAKE_PORTS], out[FAKE_PORTS], param[FAKE_PORTS];
    int32_t view_of[FAKE_PORTS];
    int64_t view_offset[FAKE_PORTS];
    char message[512]; /* what fail was told */
    /* The node as it was planned. */
    struct flow_host host;
    struct flow_infer infer;
    void *priv;
};

static inline int fake_say(void *owner, int code, const char *format, va_list arguments) {
    struct fake *fake = owner;
    if (!fake->message[0]) vsnprintf(fake->message, sizeof fake->message, format, arguments);
    return code;
}
static int fake_fail(void *owner, int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fake_say(owner, code, format, arguments);
    va_end(arguments);
    return code;
}
static int fake_fail_at(void *owner, const char *name, int code, const char *format, ...) {
    va_list arguments;
    (void)name;
    va_start(arguments, format);
    fake_say(owner, code, format, arguments);
    va_end(arguments);
    return code;
}
static void fake_parallel_for(const struct flow_call *call, int64_t count, int64_t grain,
                              void (*body)(void *context, int64_t begin, int64_t end), void *context) {
    (void)call;
    for (int64_t piece = (count + grain - 1) / grain - 1; piece >= 0; piece--)
        body(context, piece * grain, (piece + 1) * grain < count ? (piece + 1) * grain : count);
}

/* The tensors in `in` and `param` are given; fills in `out` without data. Zero outputs that are views: view_of. */
static inline int fake_infer(struct fake *fake) {
    static const int32_t none[FAKE_PORTS] = {-1, -1, -1, -1, -1, -1, -1, -1};
    fake->message[0] = 0;
    fake->host = (struct flow_host){.size = sizeof(struct flow_host),
                                    .isa = fake->isa,
                                    .threads = fake->threads ? fake->threads : 1,
                                    .fail = fake_fail,
                                    .fail_at = fake_fail_at,
                                    .parallel_for = fake_parallel_for};
    free(fake->priv);
    fake->priv = calloc(1, fake->op->priv_size + 1u);
    if (!fake->priv) return FLOW_ERROR_MEMORY;
    for (uint32_t i = fake->in_count; i < FAKE_PORTS; i++) fake->in[i].rank = -1;
    for (int i = 0; i < FAKE_PORTS; i++) {
        fake->out[i] = (struct flow_tensor){.rank = -1, .dtype = fake->in_count ? fake->in[0].dtype : FLOW_F32};
        fake->view_of[i] = -1, fake->view_offset[i] = 0;
    }
    fake->infer = (struct flow_infer){.size = sizeof(struct flow_infer),
                                      .phase = fake->phase,
                                      .host = &fake->host,
                                      .owner = fake,
                                      .attrs = fake->attrs,
                                      .priv = fake->priv,
                                      .in_count = fake->in_count,
                                      .out_count = fake->op->outputs.count,
                                      .param_count = fake->param_count,
                                      .in = fake->in,
                                      .out = fake->out,
                                      .param = fake->param,
                                      .in_axis = none,
                                      .view_of = fake->view_of,
                                      .view_offset = fake->view_offset};
    return fake->op->infer(&fake->infer);
}

/* out[i].data are given. */
static inline int fake_forward(struct fake *fake) {
    struct flow_call call = {.size = sizeof call,
                             .phase = fake->phase,
                             .host = &fake->host,
                             .owner = fake,
                             .attrs = fake->attrs,
                             .priv = fake->priv,
                             .in = fake->in,
                             .out = fake->out,
                             .param = fake->param,
                             .in_count = fake->in_count,
                             .out_count = fake->op->outputs.count,
                             .param_count = fake->param_count,
                             .seed = fake->seed,
                             .run = fake->run};
    call.workspace = fake->infer.workspace > 0 ? malloc((size_t)fake->infer.workspace) : NULL;
    call.packed = fake->infer.packed > 0 ? malloc((size_t)fake->infer.packed) : NULL;
    int status = call.packed && fake->op->prepare ? fake->op->prepare(&call) : 0;
    if (status == 0) status = fake->op->kernels.at[0].forward(&call);
    free(call.workspace), free(call.packed);
    return status;
}

static inline void fake_end(struct fake *fake) {
    free(fake->priv);
    fake->priv = NULL;
}

/* A row-major tensor. */
static inline struct flow_tensor fake_tensor(void *data, int32_t dtype, int32_t rank, const int64_t *shape) {
    struct flow_tensor t = {.data = data, .dtype = dtype, .rank = rank};
    int64_t step = 1;
    for (int32_t i = rank - 1; i >= 0; i--) t.shape[i] = shape[i], t.strides[i] = step, step *= shape[i];
    return t;
}

#endif
