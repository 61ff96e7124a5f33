/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this family share: the ways to reduce, and the kernels. */
#ifndef OPS_LOSS_LOSS_H
#define OPS_LOSS_LOSS_H

#include "common/simd.h"

enum { REDUCTION_MEAN, REDUCTION_SUM, REDUCTION_NONE };
#define REDUCTION_WORDS "mean|sum|none"

enum loss_kind { LOSS_BINARY, LOSS_SQUARED, LOSS_ABSOLUTE, LOSS_HUBER, LOSS_KL };

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
