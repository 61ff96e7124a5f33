/* SPDX-License-Identifier: Apache-2.0 */
/* group_norm, instance_norm: statistics over some channels and all places. */
#include "norm/norm.h"
#include "common/extent.h"
#include "common/gradient.h"

#include <math.h>

static const struct flow_port inputs[] = {{"x", "[B, C, ...]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs[] = {{"y", "[B, C, ...]", NULL, FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_param params[] = {
    {"weight", "scale of each channel, [C]", NULL, "affine", "ones", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bias", "shift of each channel, [C]", NULL, "affine", "zeros", FLOW_TYPES_FLOAT, FLOW_DECLARED},
};
#define ATTR_EPS FLOW_ATTR(struct group_attrs, eps, "added to the variance", "1e-5", 0, FLOW_NO_MAX)
#define ATTR_AFFINE FLOW_ATTR_PLAIN(struct group_attrs, affine, "with weight and bias", "true")
static const struct flow_attr group_attributes[] = {
    FLOW_ATTR(struct group_attrs, groups, "sets of channels that share statistics; 1: all channels", FLOW_REQUIRED, 1, FLOW_NO_MAX),
    ATTR_EPS,
    ATTR_AFFINE,
};
static const struct flow_attr instance_attributes[] = {ATTR_EPS, ATTR_AFFINE};

static int infer_groups(struct flow_infer *infer, int64_t groups) {
    const struct group_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct group_plan *plan = infer->priv;
    int64_t channels = x->shape[1];
    plan->groups = groups;
    plan->channels = groups > 0 ? channels / groups : 0;
    plan->sets = x->shape[0] * groups;
    plan->places = shape_span(x, 2, x->rank);
    int64_t row = plan->channels * plan->places;
    plan->pieces = (row + GROUP_PIECE - 1) / GROUP_PIECE;
    if (plan->pieces == 0) plan->pieces = 1;
    if (__builtin_mul_overflow(plan->sets * plan->pieces, (int64_t)sizeof(struct group_moments), &infer->workspace))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large");
    int status = extent_output(infer, 0, x->dtype, x->rank, x->shape);
    if (status < 0) return status;
    if (infer->differentiated) {
        infer->backward_reads_out = 0;
        infer->saved = plan->sets * (int64_t)sizeof(struct group_moments);
        if (__builtin_mul_overflow(plan->sets * plan->channels + plan->sets, (int64_t)sizeof(struct group_sums),
                                   &infer->workspace_backward))
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large");
    }
    infer->flops = 7.0 * (double)shape_count(x);
    infer->bytes = 3.0 * (double)shape_type_bytes(x->dtype) * (double)shape_count(x);
    if (attrs->affine) {
        status = infer->host->param(infer, "weight", x->dtype, 1, &channels, "ones", 0, &plan->weight);
        if (status >= 0) status = infer->host->param(infer, "bias", x->dtype, 1, &channels, "zeros", 0, &plan->bias);
        if (status < 0) return status;
    }
    if (!infer->streaming || infer->in_axis[0] < 0) return FLOW_OK;
    if (infer->in_axis[0] > 0)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the mean over axis %d needs the whole sequence", infer->in_axis[0]);
    infer->out_axis[0] = 0;
    return FLOW_OK;
}

static int rank_check(const struct flow_infer *infer) {
    if (infer->in[0].rank >= 2) return FLOW_OK;
    return infer->host->fail_at(infer->owner, "x", FLOW_ERROR_SHAPE, "x has %d axes, [B, C, ...] needs at least 2", infer->in[0].rank);
}

static int group_infer(struct flow_infer *infer) {
    const struct group_attrs *attrs = infer->attrs;
    int status = rank_check(infer);
    if (status < 0) return status;
    if (infer->in[0].shape[1] % attrs->groups != 0)
        return infer->host->fail_at(infer->owner, "groups", FLOW_ERROR_SHAPE, "x has %lld channels, they do not divide into %lld groups",
                                    (long long)infer->in[0].shape[1], (long long)attrs->groups);
    return infer_groups(infer, attrs->groups);
}

static int instance_infer(struct flow_infer *infer) {
    int status = rank_check(infer);
    return status < 0 ? status : infer_groups(infer, infer->in[0].shape[1]);
}

static void moments_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct group_plan *plan = call->priv;
    const struct norm_table *table = ISA_PICK(norm_table, call->host->isa);
    struct group_moments *moments = call->workspace;
    int64_t row = plan->channels * plan->places;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t start = unit % plan->pieces * GROUP_PIECE, at = unit / plan->pieces * row + start;
        int64_t count = row - start < GROUP_PIECE ? row - start : GROUP_PIECE;
        if (call->in[0].dtype == FLOW_F64)
            table->moments_f64((const double *)call->in[0].data + at, count, &moments[unit].mean, &moments[unit].squares);
        else table->moments_f32((const float *)call->in[0].data + at, count, &moments[unit].mean, &moments[unit].squares);
    }
}

/* Joins a group's pieces into its first. */
static void moments_join(const struct group_plan *plan, struct group_moments *moments) {
    int64_t row = plan->channels * plan->places;
    for (int64_t set = 0; set < plan->sets; ++set) {
        struct group_moments *of = moments + set * plan->pieces;
        double n = (double)(row < GROUP_PIECE ? row : GROUP_PIECE);
        for (int64_t i = 1; i < plan->pieces; ++i) {
            int64_t left = row - i * GROUP_PIECE;
            norm_join(&n, &of->mean, &of->squares, (double)(left < GROUP_PIECE ? left : GROUP_PIECE), of[i].mean, of[i].squares);
        }
    }
}

/* Units: channels of all samples. */
static void affine_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct group_attrs *attrs = call->attrs;
    const struct group_plan *plan = call->priv;
    const struct norm_table *table = ISA_PICK(norm_table, call->host->isa);
    const struct group_moments *moments = call->workspace;
    bool wide = call->in[0].dtype == FLOW_F64;
    const void *weight = attrs->affine ? call->param[plan->weight].data : NULL, *bias = attrs->affine ? call->param[plan->bias].data : NULL;
    double row = (double)plan->channels * (double)plan->places;
    for (int64_t unit = begin; unit < end; ++unit) {
        const struct group_moments *of = moments + unit / plan->channels * plan->pieces;
        int64_t channel = unit % (plan->channels * plan->groups), at = unit * plan->places;
        double scale = 1 / sqrt(of->squares / row + attrs->eps), shift = 0;
        if (wide) {
            if (weight) scale *= ((const double *)weight)[channel], shift = ((const double *)bias)[channel];
            table->affine_f64((double *)call->out[0].data + at, (const double *)call->in[0].data + at, plan->places, of->mean, scale,
                              shift);
        } else {
            if (weight) scale *= (double)((const float *)weight)[channel], shift = (double)((const float *)bias)[channel];
            table->affine_f32((float *)call->out[0].data + at, (const float *)call->in[0].data + at, plan->places, of->mean, scale, shift);
        }
    }
}

static int forward(const struct flow_call *call) {
    const struct group_plan *plan = call->priv;
    int64_t row = plan->channels * plan->places;
    if (plan->sets == 0 || row == 0) return FLOW_OK;
    struct flow_call copy = *call;
    call->host->parallel_for(call, plan->sets * plan->pieces, extent_grain(row < GROUP_PIECE ? row : GROUP_PIECE, 1 << 16), moments_body,
                             &copy);
    moments_join(plan, call->workspace);
    for (int64_t set = 0; call->saved && set < plan->sets; ++set)
        ((struct group_moments *)call->saved)[set] = ((const struct group_moments *)call->workspace)[set * plan->pieces];
    call->host->parallel_for(call, plan->sets * plan->channels, extent_grain(plan->places, 1 << 16), affine_body, &copy);
    return FLOW_OK;
}

/* ---- Gradients ----
 * With xh = (x - mean) scale, sums over a channel of one sample s = sum dy, a = sum dy xh, over a group of N elements S = sum w s and
 * A = sum w a: db = sum s and dw = sum a over the samples, dx = scale (w dy - S / N - xh A / N). */

static double scale_of(const struct flow_call *call, int64_t set) {
    const struct group_attrs *attrs = call->attrs;
    const struct group_plan *plan = call->priv;
    return 1 /
           sqrt(((const struct group_moments *)call->saved)[set].squares / ((double)plan->channels * (double)plan->places) + attrs->eps);
}

/* Units: channels of all samples. */
static void sums_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct group_plan *plan = call->priv;
    const struct norm_back_table *table = ISA_PICK(norm_back_table, call->host->isa);
    struct group_sums *sums = call->workspace;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t set = unit / plan->channels, at = unit * plan->places;
        double mean = ((const struct group_moments *)call->saved)[set].mean, scale = scale_of(call, set), both[2];
        if (call->in[0].dtype == FLOW_F64)
            table->channel_sums_f64((const double *)call->grad_out[0].data + at, (const double *)call->in[0].data + at, plan->places, mean,
                                    scale, both);
        else
            table->channel_sums_f32((const float *)call->grad_out[0].data + at, (const float *)call->in[0].data + at, plan->places, mean,
                                    scale, both);
        sums[unit] = (struct group_sums){both[0], both[1]};
    }
}

/* Writes the parameters' gradients; the weighted sums of every set stand behind those of the channels. */
static void sums_join(const struct flow_call *call) {
    const struct group_attrs *attrs = call->attrs;
    const struct group_plan *plan = call->priv;
    const struct group_sums *sums = call->workspace;
    struct group_sums *of = (struct group_sums *)call->workspace + plan->sets * plan->channels;
    int64_t channels = plan->groups * plan->channels, samples = plan->groups > 0 ? plan->sets / plan->groups : 0;
    for (int64_t set = 0; set < plan->sets; ++set) {
        of[set] = (struct group_sums){0, 0};
        for (int64_t i = 0; i < plan->channels; ++i) {
            int64_t unit = set * plan->channels + i;
            double w = attrs->affine ? gradient_value(&call->param[plan->weight], unit % channels) : 1;
            of[set].dy += w * sums[unit].dy, of[set].along += w * sums[unit].along;
        }
    }
    for (int64_t c = 0; attrs->affine && c < channels; ++c) {
        double dw = 0, db = 0;
        for (int64_t b = 0; b < samples; ++b) dw += sums[b * channels + c].along, db += sums[b * channels + c].dy;
        if (shape_exists(&call->grad_param[plan->weight]))
            gradient_put(&call->grad_param[plan->weight], c, dw, gradient_adds_param(call, plan->weight));
        if (shape_exists(&call->grad_param[plan->bias]))
            gradient_put(&call->grad_param[plan->bias], c, db, gradient_adds_param(call, plan->bias));
    }
}

static void slope_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct group_attrs *attrs = call->attrs;
    const struct group_plan *plan = call->priv;
    const struct norm_back_table *table = ISA_PICK(norm_back_table, call->host->isa);
    const struct group_sums *of = (const struct group_sums *)call->workspace + plan->sets * plan->channels;
    double n = (double)plan->channels * (double)plan->places;
    bool adds = gradient_adds_in(call, 0);
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t set = unit / plan->channels, at = unit * plan->places;
        double mean = ((const struct group_moments *)call->saved)[set].mean, scale = scale_of(call, set);
        double w = attrs->affine ? gradient_value(&call->param[plan->weight], unit % (plan->groups * plan->channels)) : 1;
        double by_x = -scale * scale * of[set].along / n, shift = -scale * of[set].dy / n;
        if (call->in[0].dtype == FLOW_F64)
            table->channel_slope_f64((double *)call->grad_in[0].data + at, (const double *)call->grad_out[0].data + at,
                                     (const double *)call->in[0].data + at, plan->places, mean, w * scale, by_x, shift, adds);
        else
            table->channel_slope_f32((float *)call->grad_in[0].data + at, (const float *)call->grad_out[0].data + at,
                                     (const float *)call->in[0].data + at, plan->places, mean, w * scale, by_x, shift, adds);
    }
}

static int backward(const struct flow_call *call) {
    const struct group_plan *plan = call->priv;
    struct flow_call copy = *call;
    if (!shape_exists(&call->grad_out[0]) || shape_count(&call->grad_out[0]) == 0) return gradient_none(call);
    int64_t units = plan->sets * plan->channels, grain = extent_grain(plan->places, 1 << 16);
    call->host->parallel_for(call, units, grain, sums_body, &copy);
    sums_join(call);
    if (shape_exists(&call->grad_in[0])) call->host->parallel_for(call, units, grain, slope_body, &copy);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward}};

extern const struct flow_operator norm_group, norm_instance;
const struct flow_operator norm_group = {
    .size = sizeof(struct flow_operator),
    .name = "group_norm",
    .summary = "Groups of channels less their mean, over their deviation; one group is the global layer norm of speech separation",
    .equation = "y = (x - mean) / sqrt(var + eps) weight[c] + bias[c], mean and var over the group's channels and all places",
    .reference = "Wu, He, Group Normalization, 2018, equations 1 to 3",
    .example = "y: {op: group_norm, in: x, with: {groups: 1}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .attrs = FLOW_TABLE(group_attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct group_attrs),
    .priv_size = sizeof(struct group_plan),
    .infer = group_infer,
};
const struct flow_operator norm_instance = {
    .size = sizeof(struct flow_operator),
    .name = "instance_norm",
    .summary = "Each channel of each sample less its mean, over its deviation",
    .equation = "y = (x - mean) / sqrt(var + eps) weight[c] + bias[c], mean and var over all places of a channel",
    .reference = "Ulyanov, Vedaldi, Lempitsky, Instance Normalization, 2016, equation 4",
    .example = "y: {op: instance_norm, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .attrs = FLOW_TABLE(instance_attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct group_attrs),
    .priv_size = sizeof(struct group_plan),
    .infer = instance_infer,
};
