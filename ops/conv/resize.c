/* SPDX-License-Identifier: Apache-2.0 */
/* global_avg_pool, upsample. */
#include "conv/resize.h"
#include "common/extent.h"
#include "conv/conv.h"

#include <string.h>

/* ---- global_avg_pool ---- */

static const struct flow_port global_inputs[] = {{"x", "[B, C, ...]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port global_outputs[] = {{"y", "[B, C]", NULL, FLOW_TYPES_FLOAT, 0}};

static int global_infer(struct flow_infer *infer) {
    const struct flow_tensor *x = &infer->in[0];
    if (x->rank < 3)
        return infer->host->fail_at(infer->owner, "x", FLOW_ERROR_SHAPE,
                                    "x has %d axes, [B, C, ...] with places to average needs at least 3", x->rank);
    for (int32_t i = 2; i < x->rank; ++i)
        if (x->shape[i] == 0)
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "axis %d of x is empty: there is no mean of nothing", i);
    int status = extent_output(infer, 0, x->dtype, 2, x->shape);
    infer->backward_reads_in = infer->backward_reads_out = 0;
    infer->flops = (double)shape_count(x);
    infer->bytes = (double)shape_type_bytes(x->dtype) * (double)shape_count(x);
    if (status < 0 || !infer->streaming || infer->in_axis[0] < 0) return status;
    if (infer->in_axis[0] >= 2)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the mean over axis %d needs the whole sequence", infer->in_axis[0]);
    infer->out_axis[0] = infer->in_axis[0];
    return FLOW_OK;
}

static void global_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct flow_tensor *x = &call->in[0];
    const struct conv_table *table = ISA_PICK(conv_table, call->host->isa);
    int64_t places = shape_span(x, 2, x->rank);
    for (int64_t c = begin; c < end; ++c)
        if (x->dtype == FLOW_F64)
            ((double *)call->out[0].data)[c] = table->total_f64((const double *)x->data + c * places, places) / (double)places;
        else ((float *)call->out[0].data)[c] = (float)(table->total_f32((const float *)x->data + c * places, places) / (double)places);
}

static int global_forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0];
    struct flow_call copy = *call;
    call->host->parallel_for(call, shape_span(x, 0, 2), extent_grain(shape_span(x, 2, x->rank), 1 << 17), global_body, &copy);
    return FLOW_OK;
}

static void global_back_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct flow_tensor *dx = &call->grad_in[0];
    int64_t places = shape_span(dx, 2, dx->rank);
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0), any = shape_exists(&call->grad_out[0]);
    for (int64_t c = begin; c < end; ++c)
        if (dx->dtype == FLOW_F64) {
            double *to = (double *)dx->data + c * places, share = any ? ((const double *)call->grad_out[0].data)[c] / (double)places : 0;
            for (int64_t i = 0; i < places; ++i) to[i] = (add ? to[i] : 0) + share;
        } else {
            float *to = (float *)dx->data + c * places, share = any ? ((const float *)call->grad_out[0].data)[c] / (float)places : 0;
            for (int64_t i = 0; i < places; ++i) to[i] = (add ? to[i] : 0) + share;
        }
}

static int global_backward(const struct flow_call *call) {
    const struct flow_tensor *dx = &call->grad_in[0];
    struct flow_call copy = *call;
    if (shape_exists(dx))
        call->host->parallel_for(call, shape_span(dx, 0, 2), extent_grain(shape_span(dx, 2, dx->rank), 1 << 17), global_back_body, &copy);
    return FLOW_OK;
}

/* ---- upsample ---- */

static const struct flow_port upsample_inputs[] = {{"x", "[B, C, T] or [B, C, H, W]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port upsample_outputs[] = {
    {"y", "every axis but the first two `factor` times as long", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_attr upsample_attributes[] = {
    FLOW_ATTR(struct upsample_attrs, factor, "how many elements become of one; an integer, or one for each axis", FLOW_REQUIRED, 1, 1e6),
    FLOW_ATTR_CHOICES(struct upsample_attrs, mode, "nearest repeats; linear interpolates between the centres, ends clamped", "nearest",
                      "nearest|linear"),
};

static int upsample_infer(struct flow_infer *infer) {
    const struct upsample_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct upsample_plan *plan = infer->priv;
    int64_t factor[2], shape[4];
    if (x->rank != 3 && x->rank != 4)
        return infer->host->fail_at(infer->owner, "x", FLOW_ERROR_SHAPE, "x has %d axes: expected [B, C, T] or [B, C, H, W]", x->rank);
    int32_t axes = x->rank - 2;
    int status = window_integers(infer, "factor", &attrs->factor, axes, NULL, factor);
    if (status < 0) return status;
    for (int32_t i = 0; i < x->rank; ++i)
        if (__builtin_mul_overflow(x->shape[i], i < 2 ? 1 : factor[i - 2], &shape[i]))
            return infer->host->fail_at(infer->owner, "factor", FLOW_ERROR_SHAPE, "the result is too large");
    status = extent_output(infer, 0, x->dtype, x->rank, shape);
    if (status < 0) return status;
    *plan = (struct upsample_plan){
        .h = axes == 2 ? x->shape[2] : 1,
        .w = x->shape[x->rank - 1],
        .factor_h = axes == 2 ? factor[0] : 1,
        .factor_w = factor[axes - 1],
        .channels = x->shape[0] * x->shape[1],
    };
    infer->backward_reads_in = infer->backward_reads_out = 0;
    infer->bytes = (double)shape_type_bytes(x->dtype) * ((double)shape_count(x) + (double)shape_count(&infer->out[0]));
    if (!infer->streaming || infer->in_axis[0] < 0) return FLOW_OK;
    if (infer->in_axis[0] >= 2 && attrs->mode == UPSAMPLE_LINEAR)
        return infer->host->fail_at(infer->owner, "mode", FLOW_ERROR_UNSUPPORTED,
                                    "linear interpolation along the streamed axis looks at the next step: it needs the whole sequence");
    infer->out_axis[0] = infer->in_axis[0];
    return FLOW_OK;
}

/* The two elements an output element lies between, and how far it is from the first. */
struct between {
    int64_t low, high;
    double share;
};

static struct between between_of(int64_t i, int64_t factor, int64_t in, bool linear) {
    int64_t at = i / factor;
    if (!linear || factor == 1) return (struct between){at, at, 0};
    double off = ((double)(i % factor) + 0.5) / (double)factor - 0.5; /* from the centre of element `at` */
    int64_t low = off < 0 ? at - 1 : at, high = low + 1;
    return (struct between){low < 0 ? 0 : low, high < in ? high : in - 1, off < 0 ? off + 1 : off};
}

/* Rows of the result. */
static void upsample_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct upsample_attrs *attrs = call->attrs;
    const struct upsample_plan *plan = call->priv;
    const struct conv_table *table = ISA_PICK(conv_table, call->host->isa);
    bool wide = call->in[0].dtype == FLOW_F64, linear = attrs->mode == UPSAMPLE_LINEAR;
    int64_t width = plan->w * plan->factor_w, height = plan->h * plan->factor_h, size = wide ? 8 : 4;
    for (int64_t row = begin; row < end; ++row) {
        struct between v = between_of(row % height, plan->factor_h, plan->h, linear);
        const char *x = (const char *)call->in[0].data + row / height * plan->h * plan->w * size;
        const char *upper = x + v.low * plan->w * size, *lower = x + v.high * plan->w * size;
        char *y = (char *)call->out[0].data + row * width * size;
        if (!linear && row > begin && row % plan->factor_h != 0) { /* the row above once more */
            memcpy(y, y - width * size, (size_t)(width * size));
            continue;
        }
        for (int64_t phase = 0; phase < plan->factor_w; ++phase) {
            /* Element q of the phase lies between q + step and q + step + 1, the same way for all q; those at the ends are clamped. */
            struct between u = between_of(plan->factor_w + phase, plan->factor_w, 3, linear);
            struct conv_blend blend = {
                .n = plan->w, .step = plan->factor_w, .low = u.low - 1, .high = u.high - 1, .across = u.share, .down = v.share};
            if (wide)
                table->blend_f64((double *)(void *)y + phase, (const double *)(const void *)upper, (const double *)(const void *)lower,
                                 &blend);
            else
                table->blend_f32((float *)(void *)y + phase, (const float *)(const void *)upper, (const float *)(const void *)lower,
                                 &blend);
        }
    }
}

static int upsample_forward(const struct flow_call *call) {
    const struct upsample_plan *plan = call->priv;
    int64_t width = plan->w * plan->factor_w;
    struct flow_call copy = *call;
    if (width > 0)
        call->host->parallel_for(call, plan->channels * plan->h * plan->factor_h, extent_grain(width, 1 << 15), upsample_body, &copy);
    return FLOW_OK;
}

/* Elements of one phase of a row of y, times `weight`, to elements q + shift of a row of x, clamped to it. */
static void phase_back(const struct flow_call *call, char *x, const char *y, int64_t shift, double weight) {
    const struct upsample_plan *plan = call->priv;
    const struct conv_table *table = ISA_PICK(conv_table, call->host->isa);
    int64_t n = plan->w, step = plan->factor_w, begin = shift < 0 ? 1 : 0, end = shift > 0 ? n - 1 : n; /* shift is -1, 0 or 1 */
    if (weight == 0) return;
    if (call->grad_in[0].dtype == FLOW_F64) {
        double *to = (double *)(void *)x;
        const double *from = (const double *)(const void *)y;
        if (begin > 0) to[0] += weight * from[0];
        if (end > begin) table->collect_f64(to + begin + shift, from + begin * step, step, weight, end - begin);
        if (end < n) to[n - 1] += weight * from[(n - 1) * step];
    } else {
        float *to = (float *)(void *)x;
        const float *from = (const float *)(const void *)y;
        if (begin > 0) to[0] += (float)weight * from[0];
        if (end > begin) table->collect_f32(to + begin + shift, from + begin * step, step, weight, end - begin);
        if (end < n) to[n - 1] += (float)weight * from[(n - 1) * step];
    }
}

/* Channels: the transpose of upsample_body. */
static void upsample_back_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct upsample_attrs *attrs = call->attrs;
    const struct upsample_plan *plan = call->priv;
    bool linear = attrs->mode == UPSAMPLE_LINEAR, any = shape_exists(&call->grad_out[0]);
    int64_t width = plan->w * plan->factor_w, height = plan->h * plan->factor_h, size = shape_type_bytes(call->grad_in[0].dtype);
    for (int64_t c = begin; c < end; ++c) {
        char *x = (char *)call->grad_in[0].data + c * plan->h * plan->w * size;
        if (!FLOW_ACCUMULATES(call->accumulate_in, 0)) memset(x, 0, (size_t)(plan->h * plan->w * size));
        for (int64_t i = 0; any && i < height; ++i) {
            struct between v = between_of(i, plan->factor_h, plan->h, linear);
            const char *y = (const char *)call->grad_out[0].data + (c * height + i) * width * size;
            char *upper = x + v.low * plan->w * size, *lower = x + v.high * plan->w * size;
            for (int64_t phase = 0; phase < plan->factor_w; ++phase, y += size) {
                struct between u = between_of(plan->factor_w + phase, plan->factor_w, 3, linear);
                phase_back(call, upper, y, u.low - 1, (1 - v.share) * (1 - u.share));
                phase_back(call, upper, y, u.high - 1, (1 - v.share) * u.share);
                phase_back(call, lower, y, u.low - 1, v.share * (1 - u.share));
                phase_back(call, lower, y, u.high - 1, v.share * u.share);
            }
        }
    }
}

static int upsample_backward(const struct flow_call *call) {
    const struct upsample_plan *plan = call->priv;
    struct flow_call copy = *call;
    if (shape_exists(&call->grad_in[0]) && plan->w > 0)
        call->host->parallel_for(call, plan->channels, extent_grain(plan->h * plan->factor_h * plan->w * plan->factor_w, 1 << 15),
                                 upsample_back_body, &copy);
    return FLOW_OK;
}

static const struct flow_kernel global_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = global_forward, .backward = global_backward}};
static const struct flow_kernel upsample_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = upsample_forward, .backward = upsample_backward}};

extern const struct flow_operator pool_global_avg, resize_upsample;
const struct flow_operator pool_global_avg = {
    .size = sizeof(struct flow_operator),
    .name = "global_avg_pool",
    .summary = "The mean of each channel over all places",
    .equation = "y[b, c] = mean x[b, c, ...]",
    .reference = "Lin, Chen, Yan, Network In Network, 2013, section 3.2",
    .example = "y: {op: global_avg_pool, in: x}",
    .inputs = FLOW_TABLE(global_inputs),
    .outputs = FLOW_TABLE(global_outputs),
    .kernels = FLOW_TABLE(global_kernels),
    .infer = global_infer,
};
const struct flow_operator resize_upsample = {
    .size = sizeof(struct flow_operator),
    .name = "upsample",
    .summary = "More elements along time, or along height and width",
    .equation = "nearest: y[i] = x[floor(i / factor)]\nlinear: x at (i + 0.5) / factor - 0.5, clamped to its ends, between its neighbours",
    .reference = "Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, section 2",
    .example = "y: {op: upsample, in: x, with: {factor: 2}}",
    .inputs = FLOW_TABLE(upsample_inputs),
    .outputs = FLOW_TABLE(upsample_outputs),
    .attrs = FLOW_TABLE(upsample_attributes),
    .kernels = FLOW_TABLE(upsample_kernels),
    .attrs_size = sizeof(struct upsample_attrs),
    .priv_size = sizeof(struct upsample_plan),
    .infer = upsample_infer,
};
