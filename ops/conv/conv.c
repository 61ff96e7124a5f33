/* SPDX-License-Identifier: Apache-2.0 */
/* conv1d, conv2d. How they are computed: conv_plan.c, conv_columns.c, conv_direct.c. */
#include "conv/conv.h"
#include "common/extent.h"

#include <math.h>
#include <stdio.h>

static const struct flow_port inputs_1d[] = {{"x", "channels along time", "B C T", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port inputs_2d[] = {{"x", "images", "B C H W", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs_1d[] = {{"y", "[B, units, places of the kernel]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs_2d[] = {
    {"y", "[B, units, places of the kernel along height, along width]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_param params[] = {
    {"weight", "[units, C / groups, kernel...]", NULL, NULL, "kaiming_uniform(sqrt(5))", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bias", "[units], as the weight uniform in +-1/sqrt(C / groups * kernel)", NULL, "bias", "uniform(-1/sqrt(K), 1/sqrt(K))",
     FLOW_TYPES_FLOAT, FLOW_DECLARED},
};
static const struct flow_state states[] = {
    {"history", "elements that windows have yet to see: x with another extent along the streamed axis", NULL, "zeros", FLOW_TYPES_FLOAT, 0,
     0, 0},
};

#define ATTR_NUMBERS(field, help, fallback) FLOW_ATTR(struct conv_attrs, field, help, fallback, 1, CONV_MOST)
#define ATTR_PADDING(help) \
    { "padding", help, FLOW_ATTR_INTS, 0, (uint32_t)offsetof(struct conv_attrs, padding), 0, "0", 0, CONV_MOST, "same|causal" }
#define ATTR_COMMON(padding_help)                                                                              \
    FLOW_ATTR(struct conv_attrs, units, "channels of the result", FLOW_REQUIRED, 1, CONV_MOST),                \
        ATTR_NUMBERS(kernel, "extent of the kernel; 2d: an integer or [height, width]", FLOW_REQUIRED),        \
        ATTR_NUMBERS(stride, "steps from place to place", "1"), ATTR_PADDING(padding_help),                    \
        ATTR_NUMBERS(dilation, "steps from tap to tap", "1"),                                                  \
        FLOW_ATTR(struct conv_attrs, groups, "sets of channels that see each other alone", "1", 1, CONV_MOST), \
        FLOW_ATTR_PLAIN(struct conv_attrs, bias, "add a number to each channel", "true"),                      \
        FLOW_ATTR_CHOICES(struct conv_attrs, padding_mode, "what stands in the padding", "zero", "zero|reflect|replicate|circular")

static const struct flow_attr attributes_1d[] = {
    ATTR_COMMON("an integer, [before, after], same (as many places as steps, the odd one after), causal (all before)")};
static const struct flow_attr attributes_2d[] = {ATTR_COMMON("an integer or [height, width], on both sides, or same")};

/* Windows of height and width; conv1d has a height of 1. */
static int windows_read(struct flow_infer *infer, int32_t axes, struct conv_plan *plan) {
    const struct conv_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int64_t kernel[2], stride[2], dilation[2];
    int status = window_integers(infer, "kernel", &attrs->kernel, axes, NULL, kernel);
    if (status >= 0) status = window_integers(infer, "stride", &attrs->stride, axes, NULL, stride);
    if (status >= 0) status = window_integers(infer, "dilation", &attrs->dilation, axes, NULL, dilation);
    if (status < 0) return status;
    struct window *windows = plan->axis + (2 - axes);
    plan->axis[0] = (struct window){.in = 1, .out = 1, .kernel = 1, .stride = 1, .dilation = 1};
    for (int32_t i = 0; i < axes; ++i)
        windows[i] = (struct window){.in = x->shape[2 + i], .kernel = kernel[i], .stride = stride[i], .dilation = dilation[i]};
    return window_padding(infer, &attrs->padding, axes, windows);
}

/* Padding with elements of x needs that many of them. */
static int mode_check(const struct flow_infer *infer, int32_t axes, const struct conv_plan *plan) {
    static const char *const names[] = {"zero", "reflect", "replicate", "circular"};
    for (int32_t i = 2 - axes; i < 2; ++i) {
        const struct window *w = &plan->axis[i];
        int64_t most = w->before > w->after ? w->before : w->after;
        int64_t limit = plan->mode == MODE_REFLECT ? w->in - 1 : plan->mode == MODE_CIRCULAR ? w->in : w->in > 0 ? INT64_MAX : 0;
        if (plan->mode != MODE_ZERO && most > 0 && most > limit)
            return infer->host->fail_at(infer->owner, "padding", FLOW_ERROR_SHAPE,
                                        "padding of %lld in mode %s: axis %d of x has %lld elements", (long long)most, names[plan->mode],
                                        i + axes, (long long)w->in);
    }
    return FLOW_OK;
}

static int stream(struct flow_infer *infer, int32_t axes, struct conv_plan *plan) {
    plan->stream.axis = -1;
    if (!infer->streaming || infer->in_axis[0] < 0) return FLOW_OK;
    int32_t axis = infer->in_axis[0];
    if (axis == 1)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the sum over channels (axis 1) needs the whole sequence");
    if (axis >= 2) return window_stream(infer, axis, &plan->axis[axis - axes], plan->mode == MODE_ZERO, &plan->stream);
    infer->out_axis[0] = 0;
    struct flow_tensor *both[2] = {&infer->state[0], &infer->state_out[0]};
    for (int i = 0; i < 2; ++i) both[i]->rank = 1, both[i]->shape[0] = 0, both[i]->strides[0] = 1, both[i]->dtype = infer->in[0].dtype;
    return FLOW_OK;
}

static int declare(struct flow_infer *infer, int32_t axes, struct conv_plan *plan) {
    const struct conv_attrs *attrs = infer->attrs;
    int64_t shape[4] = {plan->units, plan->channels / plan->groups};
    for (int32_t i = 0; i < axes; ++i) shape[2 + i] = plan->axis[2 - axes + i].kernel;
    char init[96];
    double bound = plan->taps > 0 ? 1 / sqrt((double)plan->taps) : 0;
    snprintf(init, sizeof init, "uniform(%.17g, %.17g)", -bound, bound);
    int32_t dtype = infer->in[0].dtype;
    int status = infer->host->param(infer, "weight", dtype, 2 + axes, shape, "kaiming_uniform(sqrt(5))", 0, &plan->weight);
    if (status >= 0 && attrs->bias) status = infer->host->param(infer, "bias", dtype, 1, &plan->units, init, 0, &plan->bias);
    return status;
}

static int infer_axes(struct flow_infer *infer, int32_t axes) {
    const struct conv_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct conv_plan *plan = infer->priv;
    *plan = (struct conv_plan){.axes = axes,
                               .mode = attrs->padding_mode,
                               .batch = x->shape[0],
                               .channels = x->shape[1],
                               .units = attrs->units,
                               .groups = attrs->groups};
    if (plan->channels % plan->groups != 0 || plan->units % plan->groups != 0)
        return infer->host->fail_at(infer->owner, "groups", FLOW_ERROR_SHAPE,
                                    "%lld channels and %lld units do not both divide into %lld groups", (long long)plan->channels,
                                    (long long)plan->units, (long long)plan->groups);
    int status = windows_read(infer, axes, plan);
    if (status >= 0) status = mode_check(infer, axes, plan);
    if (status >= 0) status = stream(infer, axes, plan);
    if (status < 0) return status;
    struct window *windows = plan->axis + (2 - axes);
    if (plan->stream.axis >= 0) {
        int32_t other = 1 - (plan->stream.axis - axes);
        if (axes == 2) status = window_fit(infer, 2 + other, 1, &plan->axis[other]);
    } else {
        status = window_fit(infer, 2, axes, windows);
    }
    if (status < 0) return status;
    int64_t shape[4] = {plan->batch, plan->units, windows[0].out, windows[axes - 1].out};
    status = extent_output(infer, 0, x->dtype, 2 + axes, shape);
    if (status >= 0 && (__builtin_mul_overflow(plan->channels / plan->groups, plan->axis[0].kernel, &plan->taps) ||
                        __builtin_mul_overflow(plan->taps, plan->axis[1].kernel, &plan->taps) || plan->taps > INT64_MAX / 64))
        status = infer->host->fail_at(infer->owner, "kernel", FLOW_ERROR_SHAPE, "the kernel is too large");
    if (status >= 0) status = declare(infer, axes, plan);
    if (status < 0) return status;
    plan->places = plan->axis[0].out * plan->axis[1].out;
    infer->flops = 2.0 * (double)plan->batch * (double)plan->units * (double)plan->places * (double)plan->taps;
    infer->bytes = (double)shape_type_bytes(x->dtype) *
                   ((double)shape_count(x) + (double)shape_count(&infer->out[0]) + (double)plan->units * (double)plan->taps);
    status = conv_gradient_plan(infer, plan);
    return status < 0 ? status : conv_plan_make(infer, plan);
}

static int infer_1d(struct flow_infer *infer) { return infer_axes(infer, 1); }
static int infer_2d(struct flow_infer *infer) { return infer_axes(infer, 2); }

/* Only ROWS asks for it: for each group the weights [K, units of the group]. */
static int prepare(const struct flow_call *call) {
    const struct conv_plan *plan = call->priv;
    const struct flow_tensor *weight = &call->param[plan->weight];
    int64_t n = plan->units / plan->groups, k = plan->taps;
    int64_t bytes = call->host->gemm_packed_bytes(call->host, extent_wide(weight->dtype), k, n);
    for (int64_t g = 0; g < plan->groups; ++g)
        call->host->gemm_pack(call->host, extent_wide(weight->dtype), k, n,
                              (const char *)weight->data + g * n * k * shape_type_bytes(weight->dtype), weight->dtype, 1, k,
                              (char *)call->packed + g * bytes);
    return FLOW_OK;
}

static int forward(const struct flow_call *call) {
    const struct conv_attrs *attrs = call->attrs;
    const struct conv_plan *plan = call->priv;
    char *workspace = call->workspace;
    struct conv_work work = {
        .call = call,
        .plan = plan,
        .x = window_stream_join(call, &plan->stream, workspace),
        .weight = call->param[plan->weight].data,
        .bias = attrs->bias ? call->param[plan->bias].data : NULL,
        .y = call->out[0].data,
        .dtype = call->in[0].dtype,
        .size = shape_type_bytes(call->in[0].dtype),
    };
    if (plan->batch == 0 || plan->places == 0) return FLOW_OK;
    if (workspace) {
        work.table = workspace + plan->joined;
        work.scratch = workspace + plan->joined + plan->table;
    }
    return plan->path == CONV_DIRECT ? conv_direct_run(&work) : conv_columns_run(&work);
}

static int describe(const struct flow_infer *infer, char *text, size_t size) {
    static const char *const names[] = {"taps", "columns", "packed rows"};
    const struct conv_plan *plan = infer->priv;
    return snprintf(text, size, "%s%s, %lld taps, %lld places", names[plan->path], plan->bare ? " in place" : "", (long long)plan->taps,
                    (long long)plan->places);
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = conv_gradient}};

#define REFERENCE "Dumoulin, Visin, A guide to convolution arithmetic for deep learning, 2016, section 2"

extern const struct flow_operator conv_1d, conv_2d;
const struct flow_operator conv_1d = {
    .size = sizeof(struct flow_operator),
    .name = "conv1d",
    .summary = "Correlation with a kernel along time",
    .equation = "y[b, u, t] = bias[u] + sum over c, k of weight[u, c, k] x[b, c of u's group, t stride + k dilation - before]",
    .reference = REFERENCE,
    .example = "y: {op: conv1d, in: x, with: {units: 8, kernel: 3, padding: causal}}",
    .inputs = FLOW_TABLE(inputs_1d),
    .outputs = FLOW_TABLE(outputs_1d),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attributes_1d),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct conv_attrs),
    .priv_size = sizeof(struct conv_plan),
    .infer = infer_1d,
    .prepare = prepare,
    .describe = describe,
};
const struct flow_operator conv_2d = {
    .size = sizeof(struct flow_operator),
    .name = "conv2d",
    .summary = "Correlation with a kernel over images",
    .equation =
        "y[b, u, i, j] = bias[u] + sum over c, k, l of weight[u, c, k, l] x[b, c of u's group, i stride + k dilation - before, j ...]",
    .reference = REFERENCE,
    .example = "y: {op: conv2d, in: x, with: {units: 8, kernel: 3, padding: 1}}",
    .inputs = FLOW_TABLE(inputs_2d),
    .outputs = FLOW_TABLE(outputs_2d),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attributes_2d),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct conv_attrs),
    .priv_size = sizeof(struct conv_plan),
    .infer = infer_2d,
    .prepare = prepare,
    .describe = describe,
};
