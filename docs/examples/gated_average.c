/* SPDX-License-Identifier: Apache-2.0 */
/* The operator gated_average: an exponential average whose forgetting is learned. A plugin with a parameter, a state and gradients;
 * docs/plugins.md says how to build it. */
#include <flow/plugin.h>

#include <math.h>

/* f16 and bf16 arrive as f32. */
static double get(const struct flow_tensor *t, int64_t i) {
    return t->dtype == FLOW_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}
static void put(const struct flow_tensor *t, int64_t i, double value) {
    if (t->dtype == FLOW_F64) ((double *)t->data)[i] = value;
    else ((float *)t->data)[i] = (float)value;
}
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* x, y [B, T, D], gate [D], state h [B, D]. Where nothing is streamed there is no state: it starts from 0. */
static int gated_average_forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0], *before = &call->state_in[0], *after = &call->state_out[0];
    const int64_t rows = x->shape[0], steps = x->shape[1], width = x->shape[2];
    for (int64_t b = 0; b < rows; b++)
        for (int64_t d = 0; d < width; d++) {
            const double g = sigmoid(get(&call->param[0], d));
            double h = call->state_count ? get(before, b * width + d) : 0;
            for (int64_t t = 0, i = b * steps * width + d; t < steps; t++, i += width) {
                h = g * h + (1 - g) * get(x, i);
                put(&call->out[0], i, h);
            }
            if (call->state_count) put(after, b * width + d, h);
        }
    return FLOW_OK;
}

/* From the last step to the first: dh[t] = dy[t] + g dh[t+1], dx[t] = (1 - g) dh[t], dg = sum of dh[t] (h[t-1] - x[t]). */
static int gated_average_backward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0], *dy = &call->grad_out[0];
    const struct flow_tensor *dx = &call->grad_in[0], *dgate = &call->grad_param[0];
    const int64_t rows = x->shape[0], steps = x->shape[1], width = x->shape[2];
    for (int64_t d = 0; d < width; d++) {
        const double g = sigmoid(get(&call->param[0], d));
        double dg = 0;
        for (int64_t b = 0; b < rows; b++) {
            double dh = 0;
            for (int64_t t = steps - 1, i = (b * steps + t) * width + d; t >= 0; t--, i -= width) {
                dh = (dy->rank < 0 ? 0 : get(dy, i)) + g * dh;
                dg += dh * ((t > 0 ? get(y, i - width) : 0) - get(x, i));
                if (dx->rank < 0) continue;
                put(dx, i, (1 - g) * dh + (FLOW_ACCUMULATES(call->accumulate_in, 0) ? get(dx, i) : 0));
            }
        }
        if (dgate->rank < 0) continue;
        put(dgate, d, dg * g * (1 - g) + (FLOW_ACCUMULATES(call->accumulate_param, 0) ? get(dgate, d) : 0));
    }
    return FLOW_OK;
}

static int gated_average_infer(struct flow_infer *infer) {
    if (infer->streaming && infer->in_axis[0] != 1)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "it streams along T alone");
    if (infer->streaming) infer->out_axis[0] = 1;
    return FLOW_OK;
}

static const struct flow_port inputs[] = {{"x", "a sequence", "B T D", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs[] = {{"y", "its average so far", "B T D", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_param params[] = {
    {"gate", "how much of the past stays, before the sigmoid", "D", NULL, "zeros", FLOW_TYPES_FLOAT, 0}};
static const struct flow_state states[] = {
    {.name = "h", .summary = "the average so far", .shape = "B D", .init = "zeros", .types = FLOW_TYPES_FLOAT}};
static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = gated_average_forward, .backward = gated_average_backward}};

static const struct flow_operator gated_average = {
    .size = sizeof gated_average,
    .name = "gated_average",
    .summary = "an exponential average whose forgetting is learned",
    .equation = "h[t] = g h[t-1] + (1 - g) x[t], g = sigmoid(gate); y = h",
    .reference = "exponential smoothing: Brown, Smoothing, Forecasting and Prediction, 1963",
    .example = "y: {op: gated_average, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE(states),
    .kernels = FLOW_TABLE(kernels),
    .infer = gated_average_infer,
};

static const struct flow_operator *const operators[] = {&gated_average};
static const struct flow_plugin plugin = {
    .size = sizeof plugin,
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "gated_average",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "the operator gated_average",
    .operators = {1, sizeof operators[0], operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
