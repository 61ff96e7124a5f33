/* SPDX-License-Identifier: Apache-2.0 */
#include "reduce/reduce.h"
#include "common/extent.h"
#include "common/gradient.h"

struct softmax_attrs {
    int64_t axis;
};

static const struct flow_port inputs[] = {{"x", "logits, of any shape", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs[] = {{"y", "of the shape of x", NULL, FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_attr attributes[] = {
    FLOW_ATTR(struct softmax_attrs, axis, "axis that is summed over", "-1", FLOW_NO_MIN, FLOW_NO_MAX),
};

static int infer_either(struct flow_infer *infer, bool log) {
    const struct softmax_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t axis;
    int status = shape_axis(infer, "axis", attrs->axis, x->rank, &axis);
    if (status < 0) return status;
    if (x->shape[axis] == 0)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "axis %d of x is empty: there is no softmax of nothing", axis);
    if ((status = extent_output(infer, 0, x->dtype, x->rank, x->shape)) < 0) return status;
    if (infer->streaming && infer->in_axis[0] >= 0) {
        if (infer->in_axis[0] == axis)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the softmax over axis %d needs the whole sequence", axis);
        infer->out_axis[0] = infer->in_axis[0];
    }
    struct softmax_plan *plan = infer->priv;
    plan->outer = shape_span(x, 0, axis);
    plan->n = x->shape[axis];
    plan->inner = shape_span(x, axis + 1, x->rank);
    plan->log = log;
    if (infer->differentiated) infer->backward_reads_in = 0;
    infer->flops = 20.0 * (double)shape_count(x);
    infer->bytes = 2.0 * (double)shape_type_bytes(x->dtype) * (double)shape_count(x);
    return FLOW_OK;
}

static int softmax_infer(struct flow_infer *infer) { return infer_either(infer, false); }
static int log_softmax_infer(struct flow_infer *infer) { return infer_either(infer, true); }

static void body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct softmax_plan *plan = call->priv;
    const struct softmax_table *table = ISA_PICK(softmax_table, call->host->isa);
    bool wide = call->in[0].dtype == FLOW_F64;
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    const double *x64 = call->in[0].data;
    double *y64 = call->out[0].data;
    if (plan->inner == 1) {
        if (wide) table->rows_f64(y64 + begin * plan->n, x64 + begin * plan->n, end - begin, plan->n, plan->log);
        else table->rows_f32(y + begin * plan->n, x + begin * plan->n, end - begin, plan->n, plan->log);
        return;
    }
    int64_t tiles = (plan->inner + REDUCE_TILE - 1) / REDUCE_TILE;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t column = unit % tiles * REDUCE_TILE, start = unit / tiles * plan->n * plan->inner + column;
        int64_t width = plan->inner - column < REDUCE_TILE ? plan->inner - column : REDUCE_TILE;
        if (wide) table->columns_f64(y64 + start, x64 + start, plan->n, plan->inner, width, plan->log);
        else table->columns_f32(y + start, x + start, plan->n, plan->inner, width, plan->log);
    }
}

static int forward(const struct flow_call *call) {
    const struct softmax_plan *plan = call->priv;
    if (plan->outer == 0 || plan->inner == 0) return FLOW_OK;
    int64_t tiles = plan->inner == 1 ? 1 : (plan->inner + REDUCE_TILE - 1) / REDUCE_TILE;
    int64_t each = plan->n * (plan->inner < REDUCE_TILE ? plan->inner : REDUCE_TILE);
    struct flow_call copy = *call;
    call->host->parallel_for(call, plan->outer * tiles, extent_grain(each, 1 << 15), body, &copy);
    return FLOW_OK;
}

static void body_back(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct softmax_plan *plan = call->priv;
    const struct softmax_table *table = ISA_PICK(softmax_table, call->host->isa);
    bool wide = call->grad_out[0].dtype == FLOW_F64, adds = gradient_adds_in(call, 0), log = plan->log;
    const float *dy = call->grad_out[0].data, *y = call->out[0].data;
    const double *dy64 = call->grad_out[0].data, *y64 = call->out[0].data;
    float *dx = call->grad_in[0].data;
    double *dx64 = call->grad_in[0].data;
    int64_t n = plan->n, inner = plan->inner;
    if (inner == 1) {
        int64_t at = begin * n, rows = end - begin;
        if (wide) table->rows_back_f64(dx64 + at, dy64 + at, y64 + at, rows, n, log, adds);
        else table->rows_back_f32(dx + at, dy + at, y + at, rows, n, log, adds);
        return;
    }
    int64_t tiles = (inner + REDUCE_TILE - 1) / REDUCE_TILE;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t column = unit % tiles * REDUCE_TILE, at = unit / tiles * n * inner + column;
        int64_t width = inner - column < REDUCE_TILE ? inner - column : REDUCE_TILE;
        if (wide) table->columns_back_f64(dx64 + at, dy64 + at, y64 + at, n, inner, width, log, adds);
        else table->columns_back_f32(dx + at, dy + at, y + at, n, inner, width, log, adds);
    }
}

static int backward(const struct flow_call *call) {
    const struct softmax_plan *plan = call->priv;
    if (!shape_exists(&call->grad_out[0])) return gradient_none(call);
    if (!shape_exists(&call->grad_in[0]) || plan->outer == 0 || plan->inner == 0) return FLOW_OK;
    int64_t tiles = plan->inner == 1 ? 1 : (plan->inner + REDUCE_TILE - 1) / REDUCE_TILE;
    int64_t each = plan->n * (plan->inner < REDUCE_TILE ? plan->inner : REDUCE_TILE);
    struct flow_call copy = *call;
    call->host->parallel_for(call, plan->outer * tiles, extent_grain(each, 1 << 16), body_back, &copy);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward},
};

extern const struct flow_operator reduce_softmax, reduce_log_softmax;
const struct flow_operator reduce_softmax = {
    .size = sizeof(struct flow_operator),
    .name = "softmax",
    .summary = "Exponentials over their sum along one axis; a row of -inf gives 0",
    .equation = "y = exp(x - m) / sum exp(x - m), m = max x",
    .reference = "Blanchard, Higham, Higham, Accurately Computing the Log-Sum-Exp and Softmax Functions, 2021, equation 1.4",
    .example = "y: {op: softmax, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct softmax_attrs),
    .priv_size = sizeof(struct softmax_plan),
    .infer = softmax_infer,
};
const struct flow_operator reduce_log_softmax = {
    .size = sizeof(struct flow_operator),
    .name = "log_softmax",
    .summary = "The logarithm of softmax along one axis; a row of -inf gives -inf",
    .equation = "y = x - m - log sum exp(x - m), m = max x",
    .reference = "Blanchard, Higham, Higham, Accurately Computing the Log-Sum-Exp and Softmax Functions, 2021, section 1",
    .example = "y: {op: log_softmax, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct softmax_attrs),
    .priv_size = sizeof(struct softmax_plan),
    .infer = log_softmax_infer,
};
