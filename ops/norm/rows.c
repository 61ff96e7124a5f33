/* SPDX-License-Identifier: Apache-2.0 */
/* layer_norm, rms_norm, scale_norm, l2_normalize: what one row needs is in that row. */
#include "norm/norm.h"
#include "common/columns.h"
#include "common/extent.h"
#include "common/gradient.h"

static const struct flow_port inputs[] = {{"x", "features", "... D", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs[] = {{"y", "of the shape of x", "... D", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_port any_inputs[] = {{"x", "features", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port any_outputs[] = {{"y", "of the shape of x", NULL, FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};

static void plan_rows(struct flow_infer *infer, int32_t from, int32_t to) {
    const struct flow_tensor *x = &infer->in[0];
    struct rows_plan *plan = infer->priv;
    plan->outer = shape_span(x, 0, from);
    plan->n = shape_span(x, from, to);
    plan->inner = shape_span(x, to, x->rank);
    (void)extent_output(infer, 0, x->dtype, x->rank, x->shape); /* fits, as x does */
    infer->backward_reads_out = 0;
    infer->flops = 7.0 * (double)shape_count(x);
    infer->bytes = 2.0 * (double)shape_type_bytes(x->dtype) * (double)shape_count(x);
}

static int64_t blocks_of(const struct rows_plan *plan) { return (plan->outer + NORM_BLOCK - 1) / NORM_BLOCK; }

/* For backward: `each` numbers of a row are kept; `params` rows of n numbers are what a block of rows adds to the parameters' gradients,
 * where there are any. */
static int plan_saved(struct flow_infer *infer, int64_t each, int64_t params) {
    const struct rows_plan *plan = infer->priv;
    int64_t size = shape_type_bytes(extent_wide(infer->in[0].dtype)), block, partial;
    if (!infer->differentiated) return FLOW_OK;
    if (__builtin_mul_overflow(plan->outer * plan->inner, each * size, &infer->saved) ||
        __builtin_mul_overflow(plan->n, params * size, &block) || __builtin_mul_overflow(blocks_of(plan), block, &partial) ||
        __builtin_add_overflow(partial, 64, &partial) ||
        __builtin_add_overflow(partial, params > 0 ? columns_workspace(blocks_of(plan), plan->n) : 0, &infer->workspace_backward))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large");
    return FLOW_OK;
}

/* Rows pass; along the axes that are normalised nothing is known before the end. */
static int stream(struct flow_infer *infer, int32_t from, int32_t to, const char *what) {
    int32_t axis = infer->streaming ? infer->in_axis[0] : -1;
    if (axis < 0) return FLOW_OK;
    if (axis >= from && axis < to)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the %s over axis %d needs the whole sequence", what, axis);
    infer->out_axis[0] = axis;
    return FLOW_OK;
}

/* ---- layer_norm ---- */

static const struct flow_param layer_params[] = {
    {"weight", "scale of each element, of the last `axes` extents", NULL, "affine", "ones", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bias", "shift of each element", NULL, "affine", "zeros", FLOW_TYPES_FLOAT, FLOW_DECLARED},
};
static const struct flow_attr layer_attributes[] = {
    FLOW_ATTR(struct layer_attrs, axes, "number of last axes that are normalised together", "1", 1, FLOW_RANK_MAX),
    FLOW_ATTR(struct layer_attrs, eps, "added to the variance", "1e-5", 0, FLOW_NO_MAX),
    FLOW_ATTR_PLAIN(struct layer_attrs, affine, "with weight and bias", "true"),
};

static int layer_infer(struct flow_infer *infer) {
    const struct layer_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct rows_plan *plan = infer->priv;
    if (attrs->axes > x->rank)
        return infer->host->fail_at(infer->owner, "axes", FLOW_ERROR_SHAPE, "the last %lld axes of a tensor with %d axes",
                                    (long long)attrs->axes, x->rank);
    int32_t from = x->rank - (int32_t)attrs->axes;
    plan_rows(infer, from, x->rank);
    if (attrs->affine) {
        int32_t rank = (int32_t)attrs->axes;
        int status = infer->host->param(infer, "weight", x->dtype, rank, x->shape + from, "ones", 0, &plan->weight);
        if (status >= 0) status = infer->host->param(infer, "bias", x->dtype, rank, x->shape + from, "zeros", 0, &plan->bias);
        if (status < 0) return status;
    }
    int status = plan_saved(infer, 2, attrs->affine ? 2 : 0);
    return status < 0 ? status : stream(infer, from, x->rank, "mean");
}

static void layer_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct layer_attrs *attrs = call->attrs;
    const struct rows_plan *plan = call->priv;
    const struct norm_table *table = ISA_PICK(norm_table, call->host->isa);
    const void *weight = attrs->affine ? call->param[plan->weight].data : NULL, *bias = attrs->affine ? call->param[plan->bias].data : NULL;
    int64_t n = plan->n, at = begin * n;
    if (call->in[0].dtype == FLOW_F64)
        table->layer_f64((double *)call->out[0].data + at, (const double *)call->in[0].data + at, end - begin, n, attrs->eps, weight, bias,
                         call->saved ? (double *)call->saved + 2 * begin : NULL);
    else
        table->layer_f32((float *)call->out[0].data + at, (const float *)call->in[0].data + at, end - begin, n, attrs->eps, weight, bias,
                         call->saved ? (float *)call->saved + 2 * begin : NULL);
}

static int layer_forward(const struct flow_call *call) {
    const struct rows_plan *plan = call->priv;
    struct flow_call copy = *call;
    if (plan->n > 0) call->host->parallel_for(call, plan->outer, extent_grain(plan->n, 1 << 16), layer_body, &copy);
    return FLOW_OK;
}

/* Units: blocks of NORM_BLOCK rows. Workspace: what each adds to the gradients of weight and bias, [blocks, 2, n]. */
static void layer_back_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct layer_attrs *attrs = call->attrs;
    const struct rows_plan *plan = call->priv;
    const struct norm_back_table *table = ISA_PICK(norm_back_table, call->host->isa);
    const void *weight = attrs->affine ? call->param[plan->weight].data : NULL;
    bool params = attrs->affine && (shape_exists(&call->grad_param[plan->weight]) || shape_exists(&call->grad_param[plan->bias]));
    bool wanted = shape_exists(&call->grad_in[0]), adds = gradient_adds_in(call, 0), wide = call->grad_out[0].dtype == FLOW_F64;
    int64_t n = plan->n;
    for (int64_t block = begin; block < end; ++block) {
        int64_t row = block * NORM_BLOCK, rows = plan->outer - row < NORM_BLOCK ? plan->outer - row : NORM_BLOCK, at = row * n;
        if (wide) {
            double *dw = params ? (double *)call->workspace + block * 2 * n : NULL;
            table->layer_back_f64(wanted ? (double *)call->grad_in[0].data + at : NULL, (const double *)call->grad_out[0].data + at,
                                  (const double *)call->in[0].data + at, (const double *)call->saved + 2 * row, rows, n, weight, dw,
                                  params ? dw + n : NULL, adds);
        } else {
            float *dw = params ? (float *)call->workspace + block * 2 * n : NULL;
            table->layer_back_f32(wanted ? (float *)call->grad_in[0].data + at : NULL, (const float *)call->grad_out[0].data + at,
                                  (const float *)call->in[0].data + at, (const float *)call->saved + 2 * row, rows, n, weight, dw,
                                  params ? dw + n : NULL, adds);
        }
    }
}

/* The gradient of parameter `index` from what the blocks add, the `which`-th of `params` rows of each. */
static void param_sum(const struct flow_call *call, uint32_t index, int64_t which, int64_t params) {
    const struct rows_plan *plan = call->priv;
    const struct flow_tensor *to = &call->grad_param[index];
    int64_t size = shape_type_bytes(call->grad_out[0].dtype), blocks = blocks_of(plan);
    int64_t partial = (blocks * params * plan->n * size + 63) / 64 * 64;
    if (!shape_exists(to)) return;
    columns_sum(call, to->dtype, to->data, (const char *)call->workspace + which * plan->n * size, blocks, params * plan->n, plan->n,
                gradient_adds_param(call, index), (char *)call->workspace + partial);
}

static int layer_backward(const struct flow_call *call) {
    const struct layer_attrs *attrs = call->attrs;
    const struct rows_plan *plan = call->priv;
    struct flow_call copy = *call;
    if (!shape_exists(&call->grad_out[0])) return gradient_none(call);
    if (plan->n == 0) return FLOW_OK;
    call->host->parallel_for(call, blocks_of(plan), extent_grain(NORM_BLOCK * plan->n, 1 << 16), layer_back_body, &copy);
    if (!attrs->affine) return FLOW_OK;
    param_sum(call, plan->weight, 0, 2);
    param_sum(call, plan->bias, 1, 2);
    return FLOW_OK;
}

/* ---- rms_norm, scale_norm, l2_normalize ---- */

static const struct flow_param rms_params[] = {
    {"weight", "scale of each element", "D", "affine", "ones", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_param scale_params[] = {
    {"weight", "the one scale", "1", NULL, "ones", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_attr rms_attributes[] = {
    FLOW_ATTR(struct rows_attrs, eps, "added to the mean square", "1e-6", 0, FLOW_NO_MAX),
    FLOW_ATTR_PLAIN(struct rows_attrs, affine, "with a weight", "true"),
};
static const struct flow_attr scale_attributes[] = {
    FLOW_ATTR(struct rows_attrs, eps, "least root mean square that is divided by", "1e-5", 0, FLOW_NO_MAX),
};
static const struct flow_attr l2_attributes[] = {
    FLOW_ATTR(struct l2_attrs, axis, "axis whose norm becomes 1", "-1", FLOW_NO_MIN, FLOW_NO_MAX),
    FLOW_ATTR(struct l2_attrs, eps, "least norm that is divided by", "1e-12", 0, FLOW_NO_MAX),
};

static int last_infer(struct flow_infer *infer) {
    int32_t rank = infer->in[0].rank;
    plan_rows(infer, rank - 1, rank);
    int status = plan_saved(infer, 1, 2);
    return status < 0 ? status : stream(infer, rank - 1, rank, "mean square");
}

static int l2_infer(struct flow_infer *infer) {
    const struct l2_attrs *attrs = infer->attrs;
    int32_t axis;
    int status = shape_axis(infer, "axis", attrs->axis, infer->in[0].rank, &axis);
    if (status < 0) return status;
    plan_rows(infer, axis, axis + 1);
    infer->backward_reads_in = 0;
    infer->backward_reads_out = 1;
    status = plan_saved(infer, 1, 0);
    return status < 0 ? status : stream(infer, axis, axis + 1, "norm");
}

struct rows_work {
    const struct flow_call *call;
    const struct norm_table *table;
    enum norm_kind kind;
    double eps;
    const void *weight;
};

static void rows_body(void *context, int64_t begin, int64_t end) {
    const struct rows_work *work = context;
    const struct rows_plan *plan = work->call->priv;
    bool wide = work->call->in[0].dtype == FLOW_F64;
    const float *x = work->call->in[0].data;
    float *y = work->call->out[0].data;
    const double *x64 = work->call->in[0].data;
    double *y64 = work->call->out[0].data;
    float *saved = work->call->saved;
    double *saved64 = work->call->saved;
    int64_t n = plan->n, inner = plan->inner;
    if (inner == 1) {
        if (wide)
            work->table->rows_f64(y64 + begin * n, x64 + begin * n, end - begin, n, work->eps, work->weight, work->kind,
                                  saved64 ? saved64 + begin : NULL);
        else
            work->table->rows_f32(y + begin * n, x + begin * n, end - begin, n, work->eps, work->weight, work->kind,
                                  saved ? saved + begin : NULL);
        return;
    }
    int64_t tiles = (inner + NORM_TILE - 1) / NORM_TILE;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t column = unit % tiles * NORM_TILE, at = unit / tiles * n * inner + column;
        int64_t width = inner - column < NORM_TILE ? inner - column : NORM_TILE;
        int64_t kept = unit / tiles * inner + column;
        if (wide) work->table->columns_f64(y64 + at, x64 + at, n, inner, width, work->eps, saved64 ? saved64 + kept : NULL);
        else work->table->columns_f32(y + at, x + at, n, inner, width, work->eps, saved ? saved + kept : NULL);
    }
}

static int rows_run(const struct flow_call *call, enum norm_kind kind, double eps, bool weighted) {
    const struct rows_plan *plan = call->priv;
    struct rows_work work = {call, ISA_PICK(norm_table, call->host->isa), kind, eps, weighted ? call->param[0].data : NULL};
    if (plan->n == 0 || plan->inner == 0) return FLOW_OK;
    int64_t tiles = (plan->inner + NORM_TILE - 1) / NORM_TILE, width = plan->inner < NORM_TILE ? plan->inner : NORM_TILE;
    call->host->parallel_for(call, plan->outer * tiles, extent_grain(plan->n * width, 1 << 16), rows_body, &work);
    return FLOW_OK;
}

static int rms_forward(const struct flow_call *call) {
    const struct rows_attrs *attrs = call->attrs;
    return rows_run(call, NORM_RMS, attrs->eps, attrs->affine);
}
static int scale_forward(const struct flow_call *call) {
    const struct rows_attrs *attrs = call->attrs;
    return rows_run(call, NORM_SCALE, attrs->eps, true);
}
static int l2_forward(const struct flow_call *call) {
    const struct l2_attrs *attrs = call->attrs;
    return rows_run(call, NORM_L2, attrs->eps, false);
}

struct rows_back_work {
    const struct flow_call *call;
    const struct norm_back_table *table;
    enum norm_kind kind;
    const void *weight;
    const void *x; /* y of NORM_L2 */
    bool params;
};

/* Units: blocks of NORM_BLOCK rows. Workspace: [blocks, 2, n], what a block adds to the weight's gradient and scratch; of scale_norm a
 * number for each block. */
static void rows_back_body(void *context, int64_t begin, int64_t end) {
    const struct rows_back_work *work = context;
    const struct flow_call *call = work->call;
    const struct rows_plan *plan = call->priv;
    bool wanted = shape_exists(&call->grad_in[0]), adds = gradient_adds_in(call, 0), wide = call->grad_out[0].dtype == FLOW_F64;
    int64_t n = plan->n;
    for (int64_t block = begin; block < end; ++block) {
        int64_t row = block * NORM_BLOCK, rows = plan->outer - row < NORM_BLOCK ? plan->outer - row : NORM_BLOCK, at = row * n;
        bool each = work->params && work->kind == NORM_RMS;
        double *one = work->params && work->kind == NORM_SCALE ? (double *)call->workspace + block : NULL;
        if (wide) {
            double *dw = each ? (double *)call->workspace + block * 2 * n : NULL;
            work->table->rows_back_f64(wanted ? (double *)call->grad_in[0].data + at : NULL, (const double *)call->grad_out[0].data + at,
                                       (const double *)work->x + at, (const double *)call->saved + row, rows, n, work->weight, dw,
                                       each ? dw + n : NULL, one, work->kind, adds);
        } else {
            float *dw = each ? (float *)call->workspace + block * 2 * n : NULL;
            work->table->rows_back_f32(wanted ? (float *)call->grad_in[0].data + at : NULL, (const float *)call->grad_out[0].data + at,
                                       (const float *)work->x + at, (const float *)call->saved + row, rows, n, work->weight, dw,
                                       each ? dw + n : NULL, one, work->kind, adds);
        }
    }
}

static void columns_back_body(void *context, int64_t begin, int64_t end) {
    const struct rows_back_work *work = context;
    const struct flow_call *call = work->call;
    const struct rows_plan *plan = call->priv;
    bool adds = gradient_adds_in(call, 0), wide = call->grad_out[0].dtype == FLOW_F64;
    int64_t n = plan->n, inner = plan->inner, tiles = (inner + NORM_TILE - 1) / NORM_TILE;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t column = unit % tiles * NORM_TILE, at = unit / tiles * n * inner + column, kept = unit / tiles * inner + column;
        int64_t width = inner - column < NORM_TILE ? inner - column : NORM_TILE;
        if (wide)
            work->table->columns_back_f64((double *)call->grad_in[0].data + at, (const double *)call->grad_out[0].data + at,
                                          (const double *)work->x + at, (const double *)call->saved + kept, n, inner, width, adds);
        else
            work->table->columns_back_f32((float *)call->grad_in[0].data + at, (const float *)call->grad_out[0].data + at,
                                          (const float *)work->x + at, (const float *)call->saved + kept, n, inner, width, adds);
    }
}

static int rows_back(const struct flow_call *call, enum norm_kind kind, bool weighted) {
    const struct rows_plan *plan = call->priv;
    struct rows_back_work work = {.call = call,
                                  .table = ISA_PICK(norm_back_table, call->host->isa),
                                  .kind = kind,
                                  .weight = weighted ? call->param[0].data : NULL,
                                  .x = kind == NORM_L2 ? call->out[0].data : call->in[0].data,
                                  .params = weighted && shape_exists(&call->grad_param[0])};
    if (!shape_exists(&call->grad_out[0]) || shape_count(&call->grad_out[0]) == 0) return gradient_none(call);
    if (plan->inner > 1) {
        int64_t tiles = (plan->inner + NORM_TILE - 1) / NORM_TILE, width = plan->inner < NORM_TILE ? plan->inner : NORM_TILE;
        if (shape_exists(&call->grad_in[0]))
            call->host->parallel_for(call, plan->outer * tiles, extent_grain(plan->n * width, 1 << 16), columns_back_body, &work);
        return FLOW_OK;
    }
    call->host->parallel_for(call, blocks_of(plan), extent_grain(NORM_BLOCK * plan->n, 1 << 16), rows_back_body, &work);
    if (!work.params) return FLOW_OK;
    if (kind == NORM_RMS) {
        param_sum(call, 0, 0, 2);
        return FLOW_OK;
    }
    double sum = 0;
    for (int64_t i = 0; i < blocks_of(plan); ++i) sum += ((const double *)call->workspace)[i];
    gradient_put(&call->grad_param[0], 0, sum, gradient_adds_param(call, 0));
    return FLOW_OK;
}

static int rms_backward(const struct flow_call *call) {
    return rows_back(call, NORM_RMS, ((const struct rows_attrs *)call->attrs)->affine);
}
static int scale_backward(const struct flow_call *call) { return rows_back(call, NORM_SCALE, true); }
static int l2_backward(const struct flow_call *call) { return rows_back(call, NORM_L2, false); }

static const struct flow_kernel layer_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = layer_forward, .backward = layer_backward}};
static const struct flow_kernel rms_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = rms_forward, .backward = rms_backward}};
static const struct flow_kernel scale_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = scale_forward, .backward = scale_backward}};
static const struct flow_kernel l2_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = l2_forward, .backward = l2_backward}};

extern const struct flow_operator norm_layer, norm_rms, norm_scale, norm_l2;
const struct flow_operator norm_layer = {
    .size = sizeof(struct flow_operator),
    .name = "layer_norm",
    .summary = "The last axes less their mean, over their deviation",
    .equation = "y = (x - mean) / sqrt(var + eps) weight + bias; var is biased, in two passes",
    .reference = "Ba, Kiros, Hinton, Layer Normalization, 2016, equation 4",
    .example = "y: {op: layer_norm, in: x}",
    .inputs = FLOW_TABLE(any_inputs),
    .outputs = FLOW_TABLE(any_outputs),
    .params = FLOW_TABLE(layer_params),
    .attrs = FLOW_TABLE(layer_attributes),
    .kernels = FLOW_TABLE(layer_kernels),
    .attrs_size = sizeof(struct layer_attrs),
    .priv_size = sizeof(struct rows_plan),
    .infer = layer_infer,
};
const struct flow_operator norm_rms = {
    .size = sizeof(struct flow_operator),
    .name = "rms_norm",
    .summary = "The last axis over its root mean square",
    .equation = "y = x / sqrt(mean(x^2) + eps) weight",
    .reference = "Zhang, Sennrich, Root Mean Square Layer Normalization, 2019, equation 4",
    .example = "y: {op: rms_norm, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(rms_params),
    .attrs = FLOW_TABLE(rms_attributes),
    .kernels = FLOW_TABLE(rms_kernels),
    .attrs_size = sizeof(struct rows_attrs),
    .priv_size = sizeof(struct rows_plan),
    .infer = last_infer,
};
const struct flow_operator norm_scale = {
    .size = sizeof(struct flow_operator),
    .name = "scale_norm",
    .summary = "The last axis over its root mean square, times one learnt number",
    .equation = "y = weight x / max(norm2(x) / sqrt(D), eps)",
    .reference = "Nguyen, Salazar, Transformers without Tears, 2019, equation 5",
    .example = "y: {op: scale_norm, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(scale_params),
    .attrs = FLOW_TABLE(scale_attributes),
    .kernels = FLOW_TABLE(scale_kernels),
    .attrs_size = sizeof(struct rows_attrs),
    .priv_size = sizeof(struct rows_plan),
    .infer = last_infer,
};
const struct flow_operator norm_l2 = {
    .size = sizeof(struct flow_operator),
    .name = "l2_normalize",
    .summary = "One axis over its Euclidean norm",
    .equation = "y = x / max(norm2(x), eps)",
    .reference = "Wang et al., NormFace, 2017, equation 2",
    .example = "y: {op: l2_normalize, in: x}",
    .inputs = FLOW_TABLE(any_inputs),
    .outputs = FLOW_TABLE(any_outputs),
    .attrs = FLOW_TABLE(l2_attributes),
    .kernels = FLOW_TABLE(l2_kernels),
    .attrs_size = sizeof(struct l2_attrs),
    .priv_size = sizeof(struct rows_plan),
    .infer = l2_infer,
};
