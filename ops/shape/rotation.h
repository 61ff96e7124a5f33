/* SPDX-License-Identifier: Apache-2.0 */
/* Angles t w_i with w_i = base^(-2i/D): what sinusoid and rope share. */
#ifndef OPS_SHAPE_ROTATION_H
#define OPS_SHAPE_ROTATION_H

#include "common/simd.h"

enum { ROTATION_BLOCK = 256 }; /* pairs at a time: their sines and cosines stay on the stack */

struct rotation_table {
    /* sin and cos of t w[i], i < n. */
    void (*angles_f32)(double t, const double *w, int64_t n, float *sine, float *cosine);
    void (*angles_f64)(double t, const double *w, int64_t n, double *sine, double *cosine);
    /* Turns n pairs: (x[i * step], x[i * step + apart]) by their angles, into y (which may be x). */
    void (*turn_f32)(const float *x, float *y, int64_t n, int64_t step, int64_t apart, const float *sine, const float *cosine);
    void (*turn_f64)(const double *x, double *y, int64_t n, int64_t step, int64_t apart, const double *sine, const double *cosine);
    /* Turns them back: what turn_* does to gradients. add: y += instead of y =. x and y are different memory. */
    void (*back_f32)(const float *x, float *y, int64_t n, int64_t step, int64_t apart, const float *sine, const float *cosine, bool add);
    void (*back_f64)(const double *x, double *y, int64_t n, int64_t step, int64_t apart, const double *sine, const double *cosine,
                     bool add);
};
ISA_DECLARE(struct rotation_table, rotation_table);

#endif
