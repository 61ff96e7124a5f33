/* SPDX-License-Identifier: Apache-2.0 */
/* batch_norm: statistics of a channel over all samples and places; in training those of the batch, else those that training kept. */
#include "norm/norm.h"
#include "common/extent.h"

#include <math.h>

struct batch_attrs {
    double eps;
    double momentum;
    bool affine;
};

/* x seen as [samples, channels, places] */
struct batch_plan {
    int64_t samples, channels, places;
    uint32_t weight, bias, running_mean, running_var;
};

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
        if (batch) {
            blend(running_mean, c, attrs->momentum, work->mean[c]);
            blend(running_var, c, attrs->momentum, work->scale[c] / (n > 1 ? n - 1 : 1));
        } else {
            work->mean[c] = value(running_mean, c);
        }
        work->scale[c] = 1 / sqrt(var + attrs->eps);
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

static const struct flow_kernel kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward}};

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
