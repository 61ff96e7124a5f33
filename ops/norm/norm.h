/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this family share: attributes, plans, and the kernels. */
#ifndef OPS_NORM_NORM_H
#define OPS_NORM_NORM_H

#include "common/simd.h"

enum {
    NORM_TILE = 256, /* most columns of one call */
    NORM_BLOCK = 128 /* rows whose sums for a parameter's gradient are taken at once */
};

/* ---- Attributes and plans ---- */

struct layer_attrs {
    int64_t axes;
    double eps;
    bool affine;
};
struct rows_attrs {
    double eps;
    bool affine;
};
struct l2_attrs {
    int64_t axis;
    double eps;
};

/* x seen as [outer, n, inner] */
struct rows_plan {
    int64_t outer, n, inner;
    uint32_t weight, bias; /* of layer_norm, places among the parameters */
};

struct group_attrs {
    int64_t groups;
    double eps;
    bool affine;
};

/* x seen as [groups of all samples, channels of a group, places]. A group's elements are adjacent; its moments are taken in pieces of
 * GROUP_PIECE, so that a long group is work for several threads, and joined in order. */
struct group_plan {
    int64_t sets, groups, channels, places, pieces;
    uint32_t weight, bias;
};
enum { GROUP_PIECE = 1 << 15 };

struct group_moments {
    double mean, squares;
};

/* Of backward, over a channel of one sample: of dy, and of dy times the normalised x. */
struct group_sums {
    double dy, along;
};

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

/* Of backward: numbers of a channel (mean, scale, by_dy, by_x, shift), and what its sums are first taken over: blocks of samples where a
 * channel has one place, else the places of one sample. */
enum { BATCH_NUMBERS = 5 };
static inline int64_t batch_units(const struct batch_plan *plan) {
    return plan->places == 1 ? (plan->samples + NORM_BLOCK - 1) / NORM_BLOCK : plan->samples * plan->channels;
}

/* ---- Kernels ---- */

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
