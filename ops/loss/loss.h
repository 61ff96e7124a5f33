/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this family share: the ways to reduce, and the kernels. */
#ifndef OPS_LOSS_LOSS_H
#define OPS_LOSS_LOSS_H

#include "common/simd.h"

#include <string.h>

enum { REDUCTION_MEAN, REDUCTION_SUM, REDUCTION_NONE };
#define REDUCTION_WORDS "mean|sum|none"

enum loss_kind { LOSS_BINARY, LOSS_SQUARED, LOSS_ABSOLUTE, LOSS_HUBER, LOSS_KL };

/* ---- Attributes and plans ---- */

struct loss_attrs {
    int32_t reduction;
    double delta;
};

struct loss_plan {
    enum loss_kind kind;
    int64_t piece; /* elements whose sum is taken at once */
    int64_t pieces;
    int64_t rows; /* of kl_div: what its mean divides by; else the elements */
};
enum { LOSS_PIECE = 1 << 15 };

struct class_attrs {
    int32_t reduction;
    int64_t ignore;
    double smoothing;
    struct flow_values weight;
};

struct accuracy_attrs {
    int64_t ignore;
};

struct cosine_attrs {
    int64_t axis;
};

/* Axes of the result with the strides that each operand has along them; 0 where it is broadcast. */
struct cosine_plan {
    int32_t rank;
    int64_t n, step[2]; /* the axis that is summed */
    int64_t extent[FLOW_RANK_MAX], stride[2][FLOW_RANK_MAX];
};

static inline void cosine_plan_make(struct cosine_plan *plan, const struct flow_tensor *in, const struct flow_tensor *both, int32_t axis) {
    memset(plan, 0, sizeof *plan);
    plan->n = both->shape[axis];
    for (int32_t i = 0; i < both->rank; ++i) {
        for (int j = 0; j < 2; ++j) {
            int32_t at = i - (both->rank - in[j].rank);
            int64_t stride = at >= 0 && in[j].shape[at] != 1 ? in[j].strides[at] : 0;
            if (i == axis) plan->step[j] = stride;
            else plan->stride[j][plan->rank] = stride;
        }
        if (i != axis) plan->extent[plan->rank++] = both->shape[i];
    }
}

/* The shape that both have after broadcasting; returns the axis of the vectors. */
static inline int32_t cosine_both(const struct flow_call *call, struct flow_tensor *both) {
    const struct cosine_attrs *attrs = (const struct cosine_attrs *)call->attrs;
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1];
    memset(both, 0, sizeof *both);
    both->rank = a->rank > b->rank ? a->rank : b->rank;
    for (int32_t i = 0; i < both->rank; ++i) {
        int32_t ia = i - (both->rank - a->rank), ib = i - (both->rank - b->rank);
        both->shape[i] = ia >= 0 && a->shape[ia] != 1 ? a->shape[ia] : ib >= 0 ? b->shape[ib] : 1;
    }
    return (int32_t)(attrs->axis < 0 ? attrs->axis + both->rank : attrs->axis);
}

/* ---- Kernels ---- */

struct loss_table {
    /* Sum of n losses; each of them. delta: of LOSS_HUBER. */
    double (*sum_f32)(enum loss_kind kind, const float *x, const float *target, int64_t n, double delta);
    double (*sum_f64)(enum loss_kind kind, const double *x, const double *target, int64_t n, double delta);
    void (*each_f32)(enum loss_kind kind, float *y, const float *x, const float *target, int64_t n, double delta);
    void (*each_f64)(enum loss_kind kind, double *y, const double *x, const double *target, int64_t n, double delta);
    /* log of the sum of exponentials */
    double (*log_sum_f32)(const float *x, int64_t n);
    double (*log_sum_f64)(const double *x, int64_t n);
    /* the first of the largest */
    int64_t (*argmax_f32)(const float *x, int64_t n);
    int64_t (*argmax_f64)(const double *x, int64_t n);
    /* products[0 .. 2]: a b, a a, b b */
    void (*products_f32)(const float *a, int64_t a_step, const float *b, int64_t b_step, int64_t n, double products[3]);
    void (*products_f64)(const double *a, int64_t a_step, const double *b, int64_t b_step, int64_t n, double products[3]);
    /* to[i] (+)= scale g[i] times the derivative of the i-th loss by x, or by the target; g NULL: ones */
    void (*slopes_f32)(enum loss_kind kind, bool target, float *to, const float *x, const float *t, int64_t n, const float *g, double scale,
                       double delta, bool adds);
    void (*slopes_f64)(enum loss_kind kind, bool target, double *to, const double *x, const double *t, int64_t n, const double *g,
                       double scale, double delta, bool adds);
    /* dx[i] (+)= scale exp(x[i] - log_sum) - shift */
    void (*probabilities_f32)(float *dx, const float *x, int64_t n, double log_sum, double scale, double shift, bool adds);
    void (*probabilities_f64)(double *dx, const double *x, int64_t n, double log_sum, double scale, double shift, bool adds);
    /* sum */
    double (*total_f32)(const float *x, int64_t n);
    double (*total_f64)(const double *x, int64_t n);
    /* to[i] (+)= by_a a[i] + by_b b[i] */
    void (*blend_f32)(float *to, int64_t step, const float *a, int64_t a_step, const float *b, int64_t b_step, int64_t n, double by_a,
                      double by_b, bool adds);
    void (*blend_f64)(double *to, int64_t step, const double *a, int64_t a_step, const double *b, int64_t b_step, int64_t n, double by_a,
                      double by_b, bool adds);
};
ISA_DECLARE(struct loss_table, loss_table);

/* The result of a loss over `rows`: a scalar, or what x has of shape in front of its last `inside` axes. Streams only where it is not
 * reduced and rows stream. */
int loss_output(struct flow_infer *infer, int32_t reduction, int32_t inside);
/* Writes a scalar result. */
void loss_write(const struct flow_tensor *y, double value);
/* Sum in a fixed order. */
double loss_sum(const double *values, int64_t count);

#endif
