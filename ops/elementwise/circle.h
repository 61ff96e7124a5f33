/* SPDX-License-Identifier: Apache-2.0 */
/* Sine or cosine of adjacent elements, for *_simd.c files: the vector form where its range reduction is exact, libm beyond, decided block
 * by block. x and y may be the same memory. */
#ifndef OPS_ELEMENTWISE_CIRCLE_H
#define OPS_ELEMENTWISE_CIRCLE_H

#include "common/math_simd.h"

static inline void circle_f32(const float *x, float *y, int64_t count, bool cosine) {
    for (int64_t begin = 0; begin < count; begin += 256, x += 256, y += 256) {
        int64_t n = count - begin < 256 ? count - begin : 256;
        int far = 0;
#pragma omp simd reduction(| : far)
        for (int64_t i = 0; i < n; i++) far |= !(fabsf(x[i]) <= SIN_LIMIT_F32);
        if (far) {
            for (int64_t i = 0; i < n; i++) y[i] = cosine ? cosf(x[i]) : sinf(x[i]);
        } else if (cosine) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) y[i] = cos_f32(x[i]);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) y[i] = sin_f32(x[i]);
        }
    }
}
static inline void circle_f64(const double *x, double *y, int64_t count, bool cosine) {
    for (int64_t begin = 0; begin < count; begin += 256, x += 256, y += 256) {
        int64_t n = count - begin < 256 ? count - begin : 256;
        int far = 0;
#pragma omp simd reduction(| : far)
        for (int64_t i = 0; i < n; i++) far |= !(fabs(x[i]) <= SIN_LIMIT_F64);
        if (far) {
            for (int64_t i = 0; i < n; i++) y[i] = cosine ? cos(x[i]) : sin(x[i]);
        } else if (cosine) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) y[i] = cos_f64(x[i]);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) y[i] = sin_f64(x[i]);
        }
    }
}

#endif
