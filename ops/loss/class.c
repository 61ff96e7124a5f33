/* SPDX-License-Identifier: Apache-2.0 */
/* cross_entropy, accuracy: rows of logits against the number of a class. */
#include "loss/loss.h"
#include "common/extent.h"
#include "common/gradient.h"

#include <math.h>
#include <string.h>

static const struct flow_port inputs[] = {
    {"logits", "classes along the last axis", "... C", FLOW_TYPES_FLOAT, 0},
    {"target", "the class of each row", "...", FLOW_TYPE(I64), FLOW_OWN_TYPE | FLOW_NO_GRAD},
};
static const struct flow_port accuracy_inputs[] = {
    {"logits", "classes along the last axis", "... C", FLOW_TYPES_FLOAT, FLOW_NO_GRAD},
    {"target", "the class of each row", "...", FLOW_TYPE(I64), FLOW_OWN_TYPE | FLOW_NO_GRAD},
};
static const struct flow_port outputs[] = {{"y", "a scalar; reduction none: a loss for each row", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port accuracy_outputs[] = {{"y", "a scalar", NULL, FLOW_TYPES_FLOAT, FLOW_NO_GRAD}};

#define ATTR_IGNORE(type) FLOW_ATTR(type, ignore, "rows of this target do not count", "-100", FLOW_NO_MIN, FLOW_NO_MAX)
static const struct flow_attr attributes[] = {
    FLOW_ATTR_CHOICES(struct class_attrs, reduction, "over all rows that count", "mean", REDUCTION_WORDS),
    ATTR_IGNORE(struct class_attrs),
    FLOW_ATTR(struct class_attrs, smoothing, "share of the target's probability that all classes get alike", "0", 0, 1),
    FLOW_ATTR(struct class_attrs, weight, "of each class; the mean is then a weighted one", FLOW_ABSENT, 0, FLOW_NO_MAX),
};
static const struct flow_attr accuracy_attributes[] = {ATTR_IGNORE(struct accuracy_attrs)};

/* Workspace: for each row its loss, and what it counts. Saved: for each row the logarithm of its sum, then what the mean divides by. */
static int infer(struct flow_infer *infer) {
    const struct class_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int64_t classes = x->shape[x->rank - 1], rows = shape_span(x, 0, x->rank - 1);
    if (attrs->weight.rank >= 0 && attrs->weight.count != classes)
        return infer->host->fail_at(infer->owner, "weight", FLOW_ERROR_SHAPE, "%lld weights for %lld classes",
                                    (long long)attrs->weight.count, (long long)classes);
    if (__builtin_mul_overflow(rows, 2 * (int64_t)sizeof(double), &infer->workspace))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "logits are too large");
    if (infer->differentiated) {
        infer->backward_reads_out = 0;
        infer->saved = infer->workspace / 2 + (int64_t)sizeof(double);
    }
    infer->flops = 20.0 * (double)shape_count(x);
    infer->bytes = (double)shape_type_bytes(x->dtype) * (double)shape_count(x);
    return loss_output(infer, attrs->reduction, 1);
}

static double value_at(const struct flow_tensor *x, int64_t i) {
    return x->dtype == FLOW_F64 ? ((const double *)x->data)[i] : (double)((const float *)x->data)[i];
}

/* One row: (1 - s) w[t] (-log p[t]) + s / C sum w[c] (-log p[c]), and w[t]. */
static void row_loss(const struct class_attrs *attrs, const struct loss_table *table, const struct flow_tensor *x, int64_t row,
                     int64_t target, double *loss, double *counts, double *saved) {
    int64_t classes = x->shape[x->rank - 1], at = row * classes;
    const double *weight = attrs->weight.rank >= 0 ? attrs->weight.at : NULL;
    double log_sum = x->dtype == FLOW_F64 ? table->log_sum_f64((const double *)x->data + at, classes)
                                          : table->log_sum_f32((const float *)x->data + at, classes);
    double w = weight ? weight[target] : 1;
    if (saved) *saved = log_sum;
    *counts = w;
    *loss = w * (1 - attrs->smoothing) * (log_sum - value_at(x, at + target));
    if (attrs->smoothing == 0) return;
    double all = 0;
    if (weight)
        for (int64_t c = 0; c < classes; ++c) all += weight[c] * (log_sum - value_at(x, at + c));
    else if (x->dtype == FLOW_F64) all = (double)classes * log_sum - table->total_f64((const double *)x->data + at, classes);
    else all = (double)classes * log_sum - table->total_f32((const float *)x->data + at, classes);
    *loss += attrs->smoothing / (double)classes * all;
}

static void body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct class_attrs *attrs = call->attrs;
    const struct loss_table *table = ISA_PICK(loss_table, call->host->isa);
    const int64_t *target = call->in[1].data;
    int64_t rows = shape_count(&call->in[1]);
    double *loss = call->workspace, *counts = loss + rows, *saved = call->saved;
    for (int64_t row = begin; row < end; ++row) {
        loss[row] = counts[row] = 0;
        if (target[row] != attrs->ignore)
            row_loss(attrs, table, &call->in[0], row, target[row], &loss[row], &counts[row], saved ? &saved[row] : NULL);
    }
}

static int targets_check(const struct flow_call *call, int64_t ignore) {
    const int64_t *target = call->in[1].data;
    int64_t rows = shape_count(&call->in[1]), classes = call->in[0].shape[call->in[0].rank - 1];
    for (int64_t row = 0; row < rows; ++row)
        if ((target[row] < 0 || target[row] >= classes) && target[row] != ignore)
            return call->host->fail(call->owner, FLOW_ERROR_RANGE, "target %lld of row %lld: there are %lld classes",
                                    (long long)target[row], (long long)row, (long long)classes);
    return FLOW_OK;
}

static int forward(const struct flow_call *call) {
    const struct class_attrs *attrs = call->attrs;
    const struct flow_tensor *y = &call->out[0];
    int64_t rows = shape_count(&call->in[1]), classes = call->in[0].shape[call->in[0].rank - 1];
    int status = targets_check(call, attrs->ignore);
    if (status < 0) return status;
    struct flow_call copy = *call;
    call->host->parallel_for(call, rows, extent_grain(classes, 1 << 15), body, &copy);
    const double *loss = call->workspace;
    if (attrs->reduction == REDUCTION_NONE) {
        for (int64_t i = 0; i < rows; ++i)
            if (y->dtype == FLOW_F64) ((double *)y->data)[i] = loss[i];
            else ((float *)y->data)[i] = (float)loss[i];
        return FLOW_OK;
    }
    double sum = loss_sum(loss, rows), counts = loss_sum(loss + rows, rows);
    if (call->saved) ((double *)call->saved)[rows] = counts;
    loss_write(y, attrs->reduction == REDUCTION_SUM ? sum : counts > 0 ? sum / counts : 0);
    return FLOW_OK;
}

/* One row: d/dx[j] = p[j] ((1 - s) w[t] + s / C sum w) - (1 - s) w[t] [j = t] - s / C w[j], times `scale`. */
static void row_back(const struct flow_call *call, const struct loss_table *table, int64_t row, double scale, double weights) {
    const struct class_attrs *attrs = call->attrs;
    const struct flow_tensor *x = &call->in[0], *dx = &call->grad_in[0];
    int64_t classes = x->shape[x->rank - 1], at = row * classes, target = ((const int64_t *)call->in[1].data)[row];
    const double *weight = attrs->weight.rank >= 0 ? attrs->weight.at : NULL;
    bool adds = gradient_adds_in(call, 0), wide = x->dtype == FLOW_F64;
    if (target == attrs->ignore || scale == 0) {
        if (!adds) memset((char *)dx->data + at * shape_type_bytes(dx->dtype), 0, (size_t)(classes * shape_type_bytes(dx->dtype)));
        return;
    }
    double own = (1 - attrs->smoothing) * (weight ? weight[target] : 1), share = attrs->smoothing / (double)classes;
    double log_sum = ((const double *)call->saved)[row], all = scale * (own + share * weights), shift = weight ? 0 : scale * share;
    if (wide) table->probabilities_f64((double *)dx->data + at, (const double *)x->data + at, classes, log_sum, all, shift, adds);
    else table->probabilities_f32((float *)dx->data + at, (const float *)x->data + at, classes, log_sum, all, shift, adds);
    gradient_put(dx, at + target, -scale * own, true);
    for (int64_t c = 0; weight && share > 0 && c < classes; ++c) gradient_put(dx, at + c, -scale * share * weight[c], true);
}

static void body_back(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct class_attrs *attrs = call->attrs;
    const struct loss_table *table = ISA_PICK(loss_table, call->host->isa);
    int64_t rows = shape_count(&call->in[1]), classes = call->in[0].shape[call->in[0].rank - 1];
    double counts = ((const double *)call->saved)[rows], weights = (double)classes;
    if (attrs->weight.rank >= 0) weights = loss_sum(attrs->weight.at, classes);
    for (int64_t row = begin; row < end; ++row) {
        double scale = gradient_value(&call->grad_out[0], attrs->reduction == REDUCTION_NONE ? row : 0);
        if (attrs->reduction == REDUCTION_MEAN) scale = counts > 0 ? scale / counts : 0;
        row_back(call, table, row, scale, weights);
    }
}

static int backward(const struct flow_call *call) {
    struct flow_call copy = *call;
    int64_t rows = shape_count(&call->in[1]), classes = call->in[0].shape[call->in[0].rank - 1];
    if (!shape_exists(&call->grad_out[0])) return gradient_none(call);
    if (!shape_exists(&call->grad_in[0]) || rows == 0 || classes == 0) return FLOW_OK;
    call->host->parallel_for(call, rows, extent_grain(classes, 1 << 15), body_back, &copy);
    return FLOW_OK;
}

/* ---- accuracy ---- */

/* Workspace: for each piece of rows how many count, how many are right. */
enum { ACCURACY_PIECE = 256 };

static int accuracy_infer(struct flow_infer *infer) {
    const struct flow_tensor *x = &infer->in[0];
    int64_t rows = shape_span(x, 0, x->rank - 1);
    infer->workspace = (rows / ACCURACY_PIECE + 1) * 2 * (int64_t)sizeof(int64_t);
    return loss_output(infer, REDUCTION_MEAN, 1);
}

static void accuracy_body(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct accuracy_attrs *attrs = call->attrs;
    const struct loss_table *table = ISA_PICK(loss_table, call->host->isa);
    const struct flow_tensor *x = &call->in[0];
    const int64_t *target = call->in[1].data;
    int64_t classes = x->shape[x->rank - 1], counted = 0, right = 0, *found = (int64_t *)call->workspace + begin / ACCURACY_PIECE * 2;
    for (int64_t row = begin; row < end; ++row) {
        if (target[row] == attrs->ignore) continue;
        ++counted;
        if (classes > 0)
            right += target[row] == (x->dtype == FLOW_F64 ? table->argmax_f64((const double *)x->data + row * classes, classes)
                                                          : table->argmax_f32((const float *)x->data + row * classes, classes));
    }
    found[0] = counted, found[1] = right;
}

static int accuracy_forward(const struct flow_call *call) {
    int64_t rows = shape_count(&call->in[1]), counted = 0, right = 0;
    struct flow_call copy = *call;
    call->host->parallel_for(call, rows, ACCURACY_PIECE, accuracy_body, &copy);
    for (int64_t i = 0; i < (rows + ACCURACY_PIECE - 1) / ACCURACY_PIECE; ++i) {
        counted += ((const int64_t *)call->workspace)[2 * i];
        right += ((const int64_t *)call->workspace)[2 * i + 1];
    }
    loss_write(&call->out[0], counted > 0 ? (double)right / (double)counted : 0);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward}};
static const struct flow_kernel accuracy_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = accuracy_forward}};

extern const struct flow_operator loss_cross_entropy, loss_accuracy;
const struct flow_operator loss_cross_entropy = {
    .size = sizeof(struct flow_operator),
    .name = "cross_entropy",
    .summary = "Cross entropy of rows of logits against classes",
    .equation = "(1 - smoothing) w[t] (-log p[t]) + smoothing / C sum over c of w[c] (-log p[c]), log p = x - log sum exp x\n"
                "mean: over rows that count, weighted by w[t]; 0 if none does",
    .reference = "Szegedy et al., Rethinking the Inception Architecture, 2015, section 7 (smoothing)",
    .example = "y: {op: cross_entropy, in: {logits: x, target: t}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct class_attrs),
    .infer = infer,
};
const struct flow_operator loss_accuracy = {
    .size = sizeof(struct flow_operator),
    .name = "accuracy",
    .summary = "Share of rows whose largest logit is the target's; the first of equals",
    .equation = "y = mean [argmax x = t] over rows that count; 0 if none does",
    .reference = "Sokolova, Lapalme, A Systematic Analysis of Performance Measures for Classification Tasks, 2009, table 2",
    .example = "y: {op: accuracy, in: {logits: x, target: t}}",
    .inputs = FLOW_TABLE(accuracy_inputs),
    .outputs = FLOW_TABLE(accuracy_outputs),
    .attrs = FLOW_TABLE(accuracy_attributes),
    .kernels = FLOW_TABLE(accuracy_kernels),
    .attrs_size = sizeof(struct accuracy_attrs),
    .infer = accuracy_infer,
};
