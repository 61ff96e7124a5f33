/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this family share: the kernels, and parameters whose shape an attribute decides. */
#ifndef OPS_NORM_NORM_H
#define OPS_NORM_NORM_H

#include "common/simd.h"

enum {
    NORM_TILE = 256, /* most columns of one call */
    NORM_BLOCK = 128 /* rows whose sums for a parameter's gradient are taken at once */
};

/* How a row's scale comes from the sum of its squares. */
enum norm_kind {
    NORM_RMS,   /* 1 / sqrt(sum / n + eps) */
    NORM_SCALE, /* 1 / max(sqrt(sum / n), eps) */
    NORM_L2     /* 1 / max(sqrt(sum), eps) */
};

/* weight and bias are NULL where there are none; y may be x. Statistics are double. saved: what backward needs, or NULL (see below). */
struct norm_table {
    /* [rows, n], each row less its mean, over its deviation */
    void (*layer_f32)(float *y, const float *x, int64_t rows, int64_t n, double eps, const float *weight, const float *bias, float *saved);
    void (*layer_f64)(double *y, const double *x, int64_t rows, int64_t n, double eps, const double *weight, const double *bias,
                      double *saved);
    /* [rows, n], each row times a scale from its squares; weight [n], or [1] for NORM_SCALE */
    void (*rows_f32)(float *y, const float *x, int64_t rows, int64_t n, double eps, const float *weight, enum norm_kind kind, float *saved);
    void (*rows_f64)(double *y, const double *x, int64_t rows, int64_t n, double eps, const double *weight, enum norm_kind kind,
                     double *saved);
    /* NORM_L2 over n of [n, inner], `width` <= NORM_TILE columns */
    void (*columns_f32)(float *y, const float *x, int64_t n, int64_t inner, int64_t width, double eps, float *saved);
    void (*columns_f64)(double *y, const double *x, int64_t n, int64_t inner, int64_t width, double eps, double *saved);
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

/* Gradients. dx NULL: not wanted; adds: to what dx holds. dw and db [n] NULL: not wanted, else set to the sums over the rows given. */
struct norm_back_table {
    /* saved: a row's mean and scale */
    void (*layer_back_f32)(float *dx, const float *dy, const float *x, const float *saved, int64_t rows, int64_t n, const float *weight,
                           float *dw, float *db, bool adds);
    void (*layer_back_f64)(double *dx, const double *dy, const double *x, const double *saved, int64_t rows, int64_t n,
                           const double *weight, double *dw, double *db, bool adds);
    /* saved: a row's scale, negative where it is bounded by eps. NORM_L2 reads y in place of x. dw [n] of NORM_RMS (with `unused` [n] for
     * scratch), dw_one of NORM_SCALE. */
    void (*rows_back_f32)(float *dx, const float *dy, const float *x, const float *saved, int64_t rows, int64_t n, const float *weight,
                          float *dw, float *unused, double *dw_one, enum norm_kind kind, bool adds);
    void (*rows_back_f64)(double *dx, const double *dy, const double *x, const double *saved, int64_t rows, int64_t n, const double *weight,
                          double *dw, double *unused, double *dw_one, enum norm_kind kind, bool adds);
    /* NORM_L2 over n of [n, inner] */
    void (*columns_back_f32)(float *dx, const float *dy, const float *y, const float *saved, int64_t n, int64_t inner, int64_t width,
                             bool adds);
    void (*columns_back_f64)(double *dx, const double *dy, const double *y, const double *saved, int64_t n, int64_t inner, int64_t width,
                             bool adds);
    /* sums of dy and of dy (x - mean) scale: of adjacent elements, and of columns */
    void (*channel_sums_f32)(const float *dy, const float *x, int64_t n, double mean, double scale, double sums[2]);
    void (*channel_sums_f64)(const double *dy, const double *x, int64_t n, double mean, double scale, double sums[2]);
    void (*channel_columns_f32)(const float *dy, const float *x, int64_t rows, int64_t stride, int64_t width, const double *mean,
                                const double *scale, double *sum, double *along);
    void (*channel_columns_f64)(const double *dy, const double *x, int64_t rows, int64_t stride, int64_t width, const double *mean,
                                const double *scale, double *sum, double *along);
    /* dx = by_dy dy + by_x (x - mean) + shift: one set of numbers for n elements, and one for each */
    void (*channel_slope_f32)(float *dx, const float *dy, const float *x, int64_t n, double mean, double by_dy, double by_x, double shift,
                              bool adds);
    void (*channel_slope_f64)(double *dx, const double *dy, const double *x, int64_t n, double mean, double by_dy, double by_x,
                              double shift, bool adds);
    void (*channel_slope_each_f32)(float *dx, const float *dy, const float *x, int64_t n, const double *mean, const double *by_dy,
                                   const double *by_x, const double *shift, bool adds);
    void (*channel_slope_each_f64)(double *dx, const double *dy, const double *x, int64_t n, const double *mean, const double *by_dy,
                                   const double *by_x, const double *shift, bool adds);
};
ISA_DECLARE(struct norm_back_table, norm_back_table);

/* Means and squared deviations of two sets of elements joined (Chan, Golub, LeVeque 1979). `n` is the count of the first. */
static inline void norm_join(double *n, double *mean, double *squares, double n2, double mean2, double squares2) {
    double total = *n + n2, distance = mean2 - *mean;
    if (n2 == 0) return;
    *mean += distance * (n2 / total);
    *squares += squares2 + distance * distance * (*n * n2 / total);
    *n = total;
}

#endif
