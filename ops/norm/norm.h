/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this family share: the kernels, and parameters whose shape an attribute decides. */
#ifndef OPS_NORM_NORM_H
#define OPS_NORM_NORM_H

#include "common/simd.h"

enum { NORM_TILE = 256 }; /* most columns of one call */

/* How a row's scale comes from the sum of its squares. */
enum norm_kind {
    NORM_RMS,   /* 1 / sqrt(sum / n + eps) */
    NORM_SCALE, /* 1 / max(sqrt(sum / n), eps) */
    NORM_L2     /* 1 / max(sqrt(sum), eps) */
};

/* weight and bias are NULL where there are none; y may be x. Statistics are double. */
struct norm_table {
    /* [rows, n], each row less its mean, over its deviation */
    void (*layer_f32)(float *y, const float *x, int64_t rows, int64_t n, double eps, const float *weight, const float *bias);
    void (*layer_f64)(double *y, const double *x, int64_t rows, int64_t n, double eps, const double *weight, const double *bias);
    /* [rows, n], each row times a scale from its squares; weight [n], or [1] for NORM_SCALE */
    void (*rows_f32)(float *y, const float *x, int64_t rows, int64_t n, double eps, const float *weight, enum norm_kind kind);
    void (*rows_f64)(double *y, const double *x, int64_t rows, int64_t n, double eps, const double *weight, enum norm_kind kind);
    /* NORM_L2 over n of [n, inner], `width` <= NORM_TILE columns */
    void (*columns_f32)(float *y, const float *x, int64_t n, int64_t inner, int64_t width, double eps);
    void (*columns_f64)(double *y, const double *x, int64_t n, int64_t inner, int64_t width, double eps);
    /* mean and sum of squared deviations of adjacent elements */
    void (*moments_f32)(const float *x, int64_t n, double *mean, double *squares);
    void (*moments_f64)(const double *x, int64_t n, double *mean, double *squares);
    /* the same of `width` <= NORM_TILE columns of [rows, stride] */
    void (*moment_columns_f32)(const float *x, int64_t rows, int64_t stride, int64_t width, double *mean, double *squares);
    void (*moment_columns_f64)(const double *x, int64_t rows, int64_t stride, int64_t width, double *mean, double *squares);
    /* y = (x - mean) scale + shift: one set of numbers for n elements, and one for each */
    void (*affine_f32)(float *y, const float *x, int64_t n, double mean, double scale, double shift);
    void (*affine_f64)(double *y, const double *x, int64_t n, double mean, double scale, double shift);
    void (*affine_each_f32)(float *y, const float *x, int64_t n, const double *mean, const double *scale, const double *shift);
    void (*affine_each_f64)(double *y, const double *x, int64_t n, const double *mean, const double *scale, const double *shift);
};
ISA_DECLARE(struct norm_table, norm_table);

/* Means and squared deviations of two sets of elements joined (Chan, Golub, LeVeque 1979). `n` is the count of the first. */
static inline void norm_join(double *n, double *mean, double *squares, double n2, double mean2, double squares2) {
    double total = *n + n2, distance = mean2 - *mean;
    if (n2 == 0) return;
    *mean += distance * (n2 / total);
    *squares += squares2 + distance * distance * (*n * n2 / total);
    *n = total;
}

#endif
