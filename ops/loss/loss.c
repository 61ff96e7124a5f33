/* SPDX-License-Identifier: Apache-2.0 */
/* Losses element by element: binary_cross_entropy, mse, l1, huber; and kl_div, whose rows are distributions. */
#include "loss/loss.h"
#include "common/extent.h"
#include "common/gradient.h"

static const struct flow_port logit_inputs[] = {
    {"logits", "logarithms of odds", "...", FLOW_TYPES_FLOAT, 0},
    {"target", "probabilities, of the same shape", "...", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_port inputs[] = {
    {"x", "predictions", "...", FLOW_TYPES_FLOAT, 0},
    {"target", "of the same shape", "...", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_port kl_inputs[] = {
    {"log_p", "logarithms of probabilities, rows along the last axis", "... C", FLOW_TYPES_FLOAT, 0},
    {"target", "probabilities, of the same shape", "... C", FLOW_TYPES_FLOAT, FLOW_NO_GRAD},
};
static const struct flow_port outputs[] = {{"y", "a scalar; reduction none: a loss for each element", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port kl_outputs[] = {{"y", "a scalar; reduction none: a loss for each row", NULL, FLOW_TYPES_FLOAT, 0}};

#define ATTR_REDUCTION FLOW_ATTR_CHOICES(struct loss_attrs, reduction, "over all losses", "mean", REDUCTION_WORDS)
static const struct flow_attr attributes[] = {ATTR_REDUCTION};
static const struct flow_attr huber_attributes[] = {
    ATTR_REDUCTION,
    FLOW_ATTR(struct loss_attrs, delta, "difference from which on the loss is linear", "1", 0, FLOW_NO_MAX),
};

int loss_output(struct flow_infer *infer, int32_t reduction, int32_t inside) {
    const struct flow_tensor *x = &infer->in[0];
    int32_t rank = reduction == REDUCTION_NONE ? x->rank - inside : 0;
    int status = extent_output(infer, 0, x->dtype, rank, x->shape);
    if (status < 0 || !infer->streaming) return status;
    for (uint32_t i = 0; i < infer->in_count; ++i) {
        int32_t axis = infer->in_axis[i];
        if (axis < 0) continue;
        if (axis >= rank)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the %s over axis %d needs the whole sequence",
                                     reduction == REDUCTION_MEAN ? "mean" : "sum", axis);
        infer->out_axis[0] = axis;
    }
    return FLOW_OK;
}

void loss_write(const struct flow_tensor *y, double value) {
    if (y->dtype == FLOW_F64) *(double *)y->data = value;
    else *(float *)y->data = (float)value;
}

double loss_sum(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += values[i];
    return sum;
}

static int infer_kind(struct flow_infer *infer, enum loss_kind kind) {
    const struct loss_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct loss_plan *plan = infer->priv;
    int64_t count = shape_count(x);
    bool rows = kind == LOSS_KL;
    plan->kind = kind;
    plan->rows = rows ? shape_span(x, 0, x->rank - 1) : count;
    plan->piece = rows && attrs->reduction == REDUCTION_NONE ? x->shape[x->rank - 1] : LOSS_PIECE;
    plan->pieces = rows && attrs->reduction == REDUCTION_NONE ? plan->rows : (count + LOSS_PIECE - 1) / LOSS_PIECE;
    infer->workspace = attrs->reduction == REDUCTION_NONE ? 0 : plan->pieces * (int64_t)sizeof(double);
    if (infer->differentiated) {
        if (kind == LOSS_KL) infer->backward_reads_in = 2;
        infer->backward_reads_out = 0;
    }
    infer->flops = 4.0 * (double)count;
    infer->bytes = 2.0 * (double)shape_type_bytes(x->dtype) * (double)count;
    return loss_output(infer, attrs->reduction, rows ? 1 : 0);
}

static int binary_infer(struct flow_infer *infer) { return infer_kind(infer, LOSS_BINARY); }
static int mse_infer(struct flow_infer *infer) { return infer_kind(infer, LOSS_SQUARED); }
static int l1_infer(struct flow_infer *infer) { return infer_kind(infer, LOSS_ABSOLUTE); }
static int huber_infer(struct flow_infer *infer) { return infer_kind(infer, LOSS_HUBER); }
static int kl_infer(struct flow_infer *infer) { return infer_kind(infer, LOSS_KL); }

static void body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct loss_attrs *attrs = call->attrs;
    const struct loss_plan *plan = call->priv;
    const struct loss_table *table = ISA_PICK(loss_table, call->host->isa);
    bool wide = call->in[0].dtype == FLOW_F64, each = attrs->reduction == REDUCTION_NONE && plan->kind != LOSS_KL;
    int64_t count = shape_count(&call->in[0]);
    double delta = plan->kind == LOSS_HUBER ? attrs->delta : 0;
    for (int64_t i = begin; i < end; ++i) {
        int64_t at = i * plan->piece, n = count - at < plan->piece ? count - at : plan->piece;
        const float *x = (const float *)call->in[0].data + (wide ? 0 : at), *t = (const float *)call->in[1].data + (wide ? 0 : at);
        const double *x64 = (const double *)call->in[0].data + (wide ? at : 0), *t64 = (const double *)call->in[1].data + (wide ? at : 0);
        if (each) {
            if (wide) table->each_f64(plan->kind, (double *)call->out[0].data + at, x64, t64, n, delta);
            else table->each_f32(plan->kind, (float *)call->out[0].data + at, x, t, n, delta);
            continue;
        }
        double sum = wide ? table->sum_f64(plan->kind, x64, t64, n, delta) : table->sum_f32(plan->kind, x, t, n, delta);
        if (attrs->reduction != REDUCTION_NONE) ((double *)call->workspace)[i] = sum;
        else if (wide) ((double *)call->out[0].data)[i] = sum;
        else ((float *)call->out[0].data)[i] = (float)sum;
    }
}

static int forward(const struct flow_call *call) {
    const struct loss_attrs *attrs = call->attrs;
    const struct loss_plan *plan = call->priv;
    struct flow_call copy = *call;
    call->host->parallel_for(call, plan->pieces, extent_grain(plan->piece, LOSS_PIECE), body, &copy);
    if (attrs->reduction == REDUCTION_NONE) return FLOW_OK;
    double sum = loss_sum(call->workspace, plan->pieces);
    loss_write(&call->out[0], attrs->reduction == REDUCTION_MEAN && plan->rows > 0 ? sum / (double)plan->rows : sum);
    return FLOW_OK;
}

static void body_back(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct loss_attrs *attrs = call->attrs;
    const struct loss_plan *plan = call->priv;
    const struct loss_table *table = ISA_PICK(loss_table, call->host->isa);
    const struct flow_tensor *dy = &call->grad_out[0];
    bool wide = dy->dtype == FLOW_F64, none = attrs->reduction == REDUCTION_NONE, each = none && plan->kind != LOSS_KL;
    int64_t count = shape_count(&call->in[0]);
    double delta = plan->kind == LOSS_HUBER ? attrs->delta : 0;
    for (int64_t i = begin; i < end; ++i) {
        int64_t at = i * plan->piece, n = count - at < plan->piece ? count - at : plan->piece;
        double scale = each ? 1 : gradient_value(dy, none ? i : 0);
        if (attrs->reduction == REDUCTION_MEAN) scale /= (double)plan->rows;
        for (uint32_t k = 0; k < 2; ++k) {
            void *to = call->grad_in[k].data;
            const void *x = call->in[0].data, *t = call->in[1].data;
            bool adds = gradient_adds_in(call, k);
            if (!shape_exists(&call->grad_in[k])) continue;
            if (wide)
                table->slopes_f64(plan->kind, k == 1, (double *)to + at, x ? (const double *)x + at : NULL, (const double *)t + at, n,
                                  each ? (const double *)dy->data + at : NULL, scale, delta, adds);
            else
                table->slopes_f32(plan->kind, k == 1, (float *)to + at, x ? (const float *)x + at : NULL, (const float *)t + at, n,
                                  each ? (const float *)dy->data + at : NULL, scale, delta, adds);
        }
    }
}

static int backward(const struct flow_call *call) {
    const struct loss_plan *plan = call->priv;
    struct flow_call copy = *call;
    if (!shape_exists(&call->grad_out[0])) return gradient_none(call);
    if (shape_count(&call->in[0]) > 0)
        call->host->parallel_for(call, plan->pieces, extent_grain(plan->piece, LOSS_PIECE), body_back, &copy);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward}};

#define LOSS_TABLES(in, out, rows)                                                                                         \
    .size = sizeof(struct flow_operator), .inputs = FLOW_TABLE(in), .outputs = FLOW_TABLE(out), .attrs = FLOW_TABLE(rows), \
    .kernels = FLOW_TABLE(kernels), .attrs_size = sizeof(struct loss_attrs), .priv_size = sizeof(struct loss_plan)

extern const struct flow_operator loss_binary, loss_mse, loss_l1, loss_huber, loss_kl;
const struct flow_operator loss_binary = {
    LOSS_TABLES(logit_inputs, outputs, attributes),
    .name = "binary_cross_entropy",
    .summary = "Cross entropy of yes-or-no probabilities given as logits",
    .equation = "max(x, 0) - x t + log1p(exp(-|x|))",
    .reference = "Bishop, Pattern Recognition and Machine Learning, 2006, equation 4.90",
    .example = "y: {op: binary_cross_entropy, in: {logits: x, target: t}}",
    .infer = binary_infer,
};
const struct flow_operator loss_mse = {
    LOSS_TABLES(inputs, outputs, attributes),
    .name = "mse",
    .summary = "Squared difference",
    .equation = "(x - t)^2",
    .reference = "Bishop, Pattern Recognition and Machine Learning, 2006, equation 1.2",
    .example = "y: {op: mse, in: {x: x, target: t}}",
    .infer = mse_infer,
};
const struct flow_operator loss_l1 = {
    LOSS_TABLES(inputs, outputs, attributes),
    .name = "l1",
    .summary = "Absolute difference",
    .equation = "|x - t|; its gradient is 0 where x is t",
    .reference = "Boyd, Vandenberghe, Convex Optimization, 2004, section 6.1",
    .example = "y: {op: l1, in: {x: x, target: t}}",
    .infer = l1_infer,
};
const struct flow_operator loss_huber = {
    LOSS_TABLES(inputs, outputs, huber_attributes),
    .name = "huber",
    .summary = "Squared difference near 0, linear further out",
    .equation = "|d| <= delta: d^2 / 2, else delta (|d| - delta / 2); d = x - t",
    .reference = "Huber, Robust Estimation of a Location Parameter, 1964",
    .example = "y: {op: huber, in: {x: x, target: t}}",
    .infer = huber_infer,
};
const struct flow_operator loss_kl = {
    LOSS_TABLES(kl_inputs, kl_outputs, attributes),
    .name = "kl_div",
    .summary = "Kullback-Leibler divergence of rows; the mean is over rows",
    .equation = "sum over the last axis of t (log t - log_p); a target of 0 adds 0",
    .reference = "Kullback, Leibler, On Information and Sufficiency, 1951, equation 2.4",
    .example = "y: {op: kl_div, in: {log_p: x, target: t}}",
    .infer = kl_infer,
};
