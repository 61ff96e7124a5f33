/* SPDX-License-Identifier: Apache-2.0 */
/* The operator softsign: a whole plugin in one file. README.md says how to build and try it; <flow/plugin.h> explains every field. */
#include <flow/plugin.h>

#include <math.h>

struct softsign_attrs {
    double scale;
};

/* f16 and bf16 arrive as f32. A plugin in a hurry writes a loop for each type. */
static double get(const struct flow_tensor *t, int64_t i) {
    return t->dtype == FLOW_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}
static void put(struct flow_tensor *t, int64_t i, double value) {
    if (t->dtype == FLOW_F64) ((double *)t->data)[i] = value;
    else ((float *)t->data)[i] = (float)value;
}
/* The port is not FLOW_STRIDED, so the elements lie in a row. */
static int64_t count(const struct flow_tensor *t) {
    int64_t n = 1;
    for (int32_t i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

static int softsign_forward(const struct flow_call *call) {
    const struct softsign_attrs *a = call->attrs;
    const struct flow_tensor *x = &call->in[0];
    for (int64_t i = 0, n = count(x); i < n; i++) put(&call->out[0], i, a->scale * get(x, i) / (1 + fabs(get(x, i))));
    return FLOW_OK;
}

/* dx = dy * scale / (1 + abs(x))^2. Gradients lie in a row, too; rank -1: dx is not wanted, or dy is zero. dx may lie where dy lies. */
static int softsign_backward(const struct flow_call *call) {
    const struct softsign_attrs *a = call->attrs;
    const struct flow_tensor *x = &call->in[0], *dy = &call->grad_out[0];
    struct flow_tensor *dx = &call->grad_in[0];
    for (int64_t i = 0, n = dx->rank < 0 ? 0 : count(dx); i < n; i++) {
        double slope = 1 + fabs(get(x, i)), gradient = dy->rank < 0 ? 0 : get(dy, i) * a->scale / (slope * slope);
        put(dx, i, FLOW_ACCUMULATES(call->accumulate_in, 0) ? get(dx, i) + gradient : gradient);
    }
    return FLOW_OK;
}

#ifdef WITH_CUDA
int softsign_launch(const void *x, void *y, int64_t count, double scale, void *stream); /* softsign.cu */

static int softsign_forward_cuda(const struct flow_call *call) {
    const struct softsign_attrs *a = call->attrs;
    int failed = softsign_launch(call->in[0].data, call->out[0].data, count(&call->in[0]), a->scale, call->stream);
    return failed ? call->host->fail(call->owner, FLOW_ERROR_INTERNAL, "CUDA error %d", failed) : FLOW_OK;
}
#endif

/* The patterns say all about shapes. Of backward: it reads x, not y, which then need not be kept. */
static int softsign_infer(struct flow_infer *infer) {
    infer->backward_reads_in = 1, infer->backward_reads_out = 0;
    return FLOW_OK;
}

static const struct flow_port inputs[] = {{"x", "any shape", "...", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs[] = {{"y", "as x", "...", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_attr attrs[] = {FLOW_ATTR_PLAIN(struct softsign_attrs, scale, "largest absolute value", "1")};
static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = softsign_forward, .backward = softsign_backward},
#ifdef WITH_CUDA
    {.device = FLOW_DEVICE_CUDA, .types = FLOW_TYPE(F32), .forward = softsign_forward_cuda},
#endif
};

static const struct flow_operator softsign = {
    .size = sizeof softsign,
    .flags = FLOW_OP_POINTWISE,
    .name = "softsign",
    .summary = "a squashing function with polynomial tails",
    .equation = "y = scale * x / (1 + abs(x))",
    .reference = "Turian, Bergstra, Bengio, Quadratic features and deep architectures for chunking, 2009",
    .example = "y: {op: softsign, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct softsign_attrs),
    .infer = softsign_infer,
};

static const struct flow_operator *const operators[] = {&softsign};
static const struct flow_plugin plugin = {
    .size = sizeof plugin,
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "template",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "the operator softsign",
    .operators = {1, sizeof operators[0], operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
