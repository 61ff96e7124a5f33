/* SPDX-License-Identifier: Apache-2.0 */
/* batch_norm: statistics of a channel over all samples and places; in training those of the batch, else those that training kept. */
#include "norm/norm.h"
#include "common/extent.h"
#include "common/gradient.h"

#include <math.h>

static const struct flow_port inputs[] = {{"x", "[B, C, ...]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs[] = {{"y", "[B, C, ...]", NULL, FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_param params[] = {
    {"weight", "scale of each channel, [C]", NULL, "affine", "ones", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bias", "shift of each channel, [C]", NULL, "affine", "zeros", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"running_mean", "mean of each channel, kept by training, [C]", NULL, NULL, "zeros", FLOW_TYPES_FLOAT,
     FLOW_DECLARED | FLOW_RUNNING | FLOW_NO_GRAD},
    {"running_var", "unbiased variance of each channel, kept by training, [C]", NULL, NULL, "ones", FLOW_TYPES_FLOAT,
     FLOW_DECLARED | FLOW_RUNNING | FLOW_NO_GRAD},
};
static const struct flow_attr attributes[] = {
    FLOW_ATTR(struct batch_attrs, eps, "added to the variance", "1e-5", 0, FLOW_NO_MAX),
    FLOW_ATTR(struct batch_attrs, momentum, "share of the new batch in the running statistics", "0.1", 0, 1),
    FLOW_ATTR_PLAIN(struct batch_attrs, affine, "with weight and bias", "true"),
};

static int declare(struct flow_infer *infer, const char *name, const char *init, uint32_t flags, uint32_t *index) {
    return infer->host->param(infer, name, infer->in[0].dtype, 1, &infer->in[0].shape[1], init, flags, index);
}

static int infer(struct flow_infer *infer) {
    const struct batch_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct batch_plan *plan = infer->priv;
    if (x->rank < 2)
        return infer->host->fail_at(infer->owner, "x", FLOW_ERROR_SHAPE, "x has %d axes, [B, C, ...] needs at least 2", x->rank);
    plan->samples = x->shape[0];
    plan->channels = x->shape[1];
    plan->places = shape_span(x, 2, x->rank);
    int status = FLOW_OK;
    if (attrs->affine) {
        status = declare(infer, "weight", "ones", 0, &plan->weight);
        if (status >= 0) status = declare(infer, "bias", "zeros", 0, &plan->bias);
    }
    if (status >= 0) status = declare(infer, "running_mean", "zeros", FLOW_RUNNING | FLOW_NO_GRAD, &plan->running_mean);
    if (status >= 0) status = declare(infer, "running_var", "ones", FLOW_RUNNING | FLOW_NO_GRAD, &plan->running_var);
    if (status < 0) return status;
    if (__builtin_mul_overflow(plan->channels, 3 * (int64_t)sizeof(double), &infer->workspace))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large");
    if ((status = extent_output(infer, 0, x->dtype, x->rank, x->shape)) < 0) return status;
    if (infer->differentiated) {
        int64_t units = batch_units(plan), each = 2 * (plan->places == 1 ? plan->channels : 1);
        infer->backward_reads_out = 0;
        if (infer->phase == FLOW_PHASE_TRAINING) infer->saved = 2 * plan->channels * (int64_t)sizeof(double);
        if (__builtin_mul_overflow(units, each, &infer->workspace_backward) ||
            __builtin_add_overflow(infer->workspace_backward, BATCH_NUMBERS * plan->channels, &infer->workspace_backward) ||
            __builtin_mul_overflow(infer->workspace_backward, (int64_t)sizeof(double), &infer->workspace_backward))
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large");
    }
    infer->flops = 2.0 * (double)shape_count(x);
    infer->bytes = 2.0 * (double)shape_type_bytes(x->dtype) * (double)shape_count(x);
    if (!infer->streaming || infer->in_axis[0] < 0) return FLOW_OK;
    if (infer->phase == FLOW_PHASE_TRAINING || infer->in_axis[0] == 1)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the mean over axis %d needs the whole sequence", infer->in_axis[0]);
    infer->out_axis[0] = infer->in_axis[0];
    return FLOW_OK;
}

struct batch_work {
    const struct flow_call *call;
    const struct batch_plan *plan;
    const struct norm_table *table;
    double *mean, *scale, *shift; /* [channels]; scale holds the sum of squared deviations at first */
};

static double value(const struct flow_tensor *t, int64_t i) {
    return t->dtype == FLOW_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}
static void blend(const struct flow_tensor *t, int64_t i, double momentum, double fresh) {
    double kept = (1 - momentum) * value(t, i) + momentum * fresh;
    if (t->dtype == FLOW_F64) ((double *)t->data)[i] = kept;
    else ((float *)t->data)[i] = (float)kept;
}

/* Moments of channels [begin, end) over the batch. */
static void moments_body(void *context, int64_t begin, int64_t end) {
    const struct batch_work *work = context;
    const struct batch_plan *plan = work->plan;
    bool wide = work->call->in[0].dtype == FLOW_F64;
    const float *x = work->call->in[0].data;
    const double *x64 = work->call->in[0].data;
    if (plan->places == 1) {
        for (int64_t c = begin; c < end; c += NORM_TILE) {
            int64_t width = end - c < NORM_TILE ? end - c : NORM_TILE;
            if (wide) work->table->moment_columns_f64(x64 + c, plan->samples, plan->channels, width, work->mean + c, work->scale + c);
            else work->table->moment_columns_f32(x + c, plan->samples, plan->channels, width, work->mean + c, work->scale + c);
        }
        return;
    }
    for (int64_t c = begin; c < end; ++c) {
        double n = 0, mean = 0, squares = 0;
        for (int64_t b = 0; b < plan->samples; ++b) {
            double one, one_squares;
            int64_t at = (b * plan->channels + c) * plan->places;
            if (wide) work->table->moments_f64(x64 + at, plan->places, &one, &one_squares);
            else work->table->moments_f32(x + at, plan->places, &one, &one_squares);
            norm_join(&n, &mean, &squares, (double)plan->places, one, one_squares);
        }
        work->mean[c] = mean;
        work->scale[c] = squares;
    }
}

/* mean, scale and shift of every channel; in training the running statistics move. */
static void channels_set(struct batch_work *work) {
    const struct flow_call *call = work->call;
    const struct batch_attrs *attrs = call->attrs;
    const struct batch_plan *plan = work->plan;
    const struct flow_tensor *running_mean = &call->param[plan->running_mean], *running_var = &call->param[plan->running_var];
    double n = (double)plan->samples * (double)plan->places;
    bool batch = call->phase == FLOW_PHASE_TRAINING;
    if (batch) call->host->parallel_for(call, plan->channels, extent_grain((int64_t)n, 1 << 16), moments_body, work);
    for (int64_t c = 0; c < plan->channels; ++c) {
        double var = batch ? work->scale[c] / n : value(running_var, c);
        if (batch && !call->again) {
            blend(running_mean, c, attrs->momentum, work->mean[c]);
            blend(running_var, c, attrs->momentum, work->scale[c] / (n > 1 ? n - 1 : 1));
        }
        if (!batch) work->mean[c] = value(running_mean, c);
        work->scale[c] = 1 / sqrt(var + attrs->eps);
        if (batch && call->saved) {
            ((double *)call->saved)[c] = work->mean[c];
            ((double *)call->saved)[plan->channels + c] = work->scale[c];
        }
        work->shift[c] = 0;
        if (attrs->affine) {
            work->scale[c] *= value(&call->param[plan->weight], c);
            work->shift[c] = value(&call->param[plan->bias], c);
        }
    }
}

/* Units: rows of channels where a channel has one place, else channels of all samples. */
static void affine_body(void *context, int64_t begin, int64_t end) {
    const struct batch_work *work = context;
    const struct batch_plan *plan = work->plan;
    bool wide = work->call->in[0].dtype == FLOW_F64, each = plan->places == 1;
    const float *x = work->call->in[0].data;
    float *y = work->call->out[0].data;
    const double *x64 = work->call->in[0].data;
    double *y64 = work->call->out[0].data;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t n = each ? plan->channels : plan->places, at = unit * n, c = unit % plan->channels;
        if (each && wide) work->table->affine_each_f64(y64 + at, x64 + at, n, work->mean, work->scale, work->shift);
        else if (each) work->table->affine_each_f32(y + at, x + at, n, work->mean, work->scale, work->shift);
        else if (wide) work->table->affine_f64(y64 + at, x64 + at, n, work->mean[c], work->scale[c], work->shift[c]);
        else work->table->affine_f32(y + at, x + at, n, work->mean[c], work->scale[c], work->shift[c]);
    }
}

static int forward(const struct flow_call *call) {
    const struct batch_plan *plan = call->priv;
    if (shape_count(&call->in[0]) == 0) return FLOW_OK;
    double *numbers = call->workspace;
    struct batch_work work = {
        call, plan, ISA_PICK(norm_table, call->host->isa), numbers, numbers + plan->channels, numbers + 2 * plan->channels};
    channels_set(&work);
    int64_t units = plan->places == 1 ? plan->samples : plan->samples * plan->channels;
    call->host->parallel_for(call, units, extent_grain(plan->places == 1 ? plan->channels : plan->places, 1 << 16), affine_body, &work);
    return FLOW_OK;
}

/* ---- Gradients ----
 * With xh = (x - mean) scale and sums over a channel's N elements, S = sum dy, A = sum dy xh: db = S, dw = A, and in training
 * dx = w scale (dy - S / N - xh A / N), else, where mean and scale are constants, dx = w scale dy. */

struct batch_back {
    const struct flow_call *call;
    const struct batch_plan *plan;
    const struct norm_back_table *table;
    double *sums;                                /* [units, 2, channels or 1] */
    double *mean, *scale, *by_dy, *by_x, *shift; /* [channels] */
};

static void sums_body(void *context, int64_t begin, int64_t end) {
    const struct batch_back *back = context;
    const struct batch_plan *plan = back->plan;
    bool wide = back->call->in[0].dtype == FLOW_F64;
    const float *x = back->call->in[0].data, *dy = back->call->grad_out[0].data;
    const double *x64 = back->call->in[0].data, *dy64 = back->call->grad_out[0].data;
    int64_t channels = plan->channels;
    for (int64_t unit = begin; unit < end; ++unit) {
        if (plan->places > 1) {
            int64_t at = unit * plan->places, c = unit % channels;
            if (wide)
                back->table->channel_sums_f64(dy64 + at, x64 + at, plan->places, back->mean[c], back->scale[c], back->sums + 2 * unit);
            else back->table->channel_sums_f32(dy + at, x + at, plan->places, back->mean[c], back->scale[c], back->sums + 2 * unit);
            continue;
        }
        int64_t row = unit * NORM_BLOCK, rows = plan->samples - row < NORM_BLOCK ? plan->samples - row : NORM_BLOCK;
        double *sum = back->sums + unit * 2 * channels, *along = sum + channels;
        for (int64_t c = 0; c < channels; c += NORM_TILE) {
            int64_t width = channels - c < NORM_TILE ? channels - c : NORM_TILE, at = row * channels + c;
            if (wide)
                back->table->channel_columns_f64(dy64 + at, x64 + at, rows, channels, width, back->mean + c, back->scale + c, sum + c,
                                                 along + c);
            else
                back->table->channel_columns_f32(dy + at, x + at, rows, channels, width, back->mean + c, back->scale + c, sum + c,
                                                 along + c);
        }
    }
}

/* Writes the parameters' gradients and the numbers of every channel. */
static void back_set(struct batch_back *back) {
    const struct flow_call *call = back->call;
    const struct batch_attrs *attrs = call->attrs;
    const struct batch_plan *plan = back->plan;
    bool training = call->phase == FLOW_PHASE_TRAINING;
    double n = (double)plan->samples * (double)plan->places;
    int64_t units = plan->places == 1 ? batch_units(plan) : plan->samples, step = 2 * plan->channels;
    for (int64_t c = 0; c < plan->channels; ++c) {
        double sum = 0, along = 0;
        for (int64_t u = 0; u < units; ++u) {
            const double *of = back->sums + u * step + (plan->places == 1 ? c : 2 * c);
            sum += of[0], along += of[plan->places == 1 ? plan->channels : 1];
        }
        back->by_dy[c] = back->scale[c];
        if (attrs->affine) {
            const struct flow_tensor *dw = &call->grad_param[plan->weight], *db = &call->grad_param[plan->bias];
            if (shape_exists(dw)) gradient_put(dw, c, along, gradient_adds_param(call, plan->weight));
            if (shape_exists(db)) gradient_put(db, c, sum, gradient_adds_param(call, plan->bias));
            back->by_dy[c] *= value(&call->param[plan->weight], c);
        }
        back->by_x[c] = training ? -back->by_dy[c] * back->scale[c] * along / n : 0;
        back->shift[c] = training ? -back->by_dy[c] * sum / n : 0;
    }
}

/* Units as those of affine_body. */
static void slope_body(void *context, int64_t begin, int64_t end) {
    const struct batch_back *back = context;
    const struct batch_plan *plan = back->plan;
    bool wide = back->call->in[0].dtype == FLOW_F64, each = plan->places == 1, adds = gradient_adds_in(back->call, 0);
    const float *x = back->call->in[0].data, *dy = back->call->grad_out[0].data;
    const double *x64 = back->call->in[0].data, *dy64 = back->call->grad_out[0].data;
    float *dx = back->call->grad_in[0].data;
    double *dx64 = back->call->grad_in[0].data;
    const double *mean = back->mean, *by_dy = back->by_dy, *by_x = back->by_x, *shift = back->shift;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t n = each ? plan->channels : plan->places, at = unit * n, c = unit % plan->channels;
        if (each && wide) back->table->channel_slope_each_f64(dx64 + at, dy64 + at, x64 + at, n, mean, by_dy, by_x, shift, adds);
        else if (each) back->table->channel_slope_each_f32(dx + at, dy + at, x + at, n, mean, by_dy, by_x, shift, adds);
        else if (wide) back->table->channel_slope_f64(dx64 + at, dy64 + at, x64 + at, n, mean[c], by_dy[c], by_x[c], shift[c], adds);
        else back->table->channel_slope_f32(dx + at, dy + at, x + at, n, mean[c], by_dy[c], by_x[c], shift[c], adds);
    }
}

static int backward(const struct flow_call *call) {
    const struct batch_attrs *attrs = call->attrs;
    const struct batch_plan *plan = call->priv;
    if (!shape_exists(&call->grad_out[0]) || shape_count(&call->grad_out[0]) == 0) return gradient_none(call);
    int64_t channels = plan->channels, units = batch_units(plan), each = plan->places == 1 ? channels : plan->places;
    double *numbers = call->workspace;
    struct batch_back back = {.call = call,
                              .plan = plan,
                              .table = ISA_PICK(norm_back_table, call->host->isa),
                              .mean = numbers,
                              .scale = numbers + channels,
                              .by_dy = numbers + 2 * channels,
                              .by_x = numbers + 3 * channels,
                              .shift = numbers + 4 * channels,
                              .sums = numbers + BATCH_NUMBERS * channels};
    for (int64_t c = 0; c < channels; ++c) {
        bool batch = call->phase == FLOW_PHASE_TRAINING;
        const double *saved = call->saved;
        back.mean[c] = batch ? saved[c] : value(&call->param[plan->running_mean], c);
        back.scale[c] = batch ? saved[channels + c] : 1 / sqrt(value(&call->param[plan->running_var], c) + attrs->eps);
    }
    call->host->parallel_for(call, units, extent_grain(plan->places == 1 ? NORM_BLOCK * channels : plan->places, 1 << 16), sums_body,
                             &back);
    back_set(&back);
    if (shape_exists(&call->grad_in[0]))
        call->host->parallel_for(call, plan->places == 1 ? plan->samples : units, extent_grain(each, 1 << 16), slope_body, &back);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward}};

extern const struct flow_operator norm_batch;
const struct flow_operator norm_batch = {
    .size = sizeof(struct flow_operator),
    .name = "batch_norm",
    .summary = "Each channel less its mean, over its deviation; in training of the batch, else the running ones",
    .equation = "y = (x - mean) / sqrt(var + eps) weight[c] + bias[c]\n"
                "training: mean, var over the batch (var biased); running = (1 - momentum) running + momentum (mean, unbiased var)",
    .reference = "Ioffe, Szegedy, Batch Normalization, 2015, algorithms 1 and 2",
    .example = "y: {op: batch_norm, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .attrs = FLOW_TABLE(attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct batch_attrs),
    .priv_size = sizeof(struct batch_plan),
    .infer = infer,
};
