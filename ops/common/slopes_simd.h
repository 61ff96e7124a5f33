/* SPDX-License-Identifier: Apache-2.0 */
/* Derivatives of the functions of math_simd.h, under the same rules: no branch, for loops under `#pragma omp simd`. */
#ifndef OPS_COMMON_SLOPES_SIMD_H
#define OPS_COMMON_SLOPES_SIMD_H

#include "common/math_simd.h"

/* x sigmoid(x): s (1 + x (1 - s)), with 1 - s from the exponential itself. */
static inline float silu_slope_f32(float x) {
    float e = exp_negative_f32(-fabsf(x)), r = 1.0f / (1.0f + e), er = e * r;
    float s = x < 0.0f ? er : r, t = x < 0.0f ? r : er;
    return s * (1.0f + x * t);
}
static inline double silu_slope_f64(double x) {
    double e = exp_negative_f64(-fabs(x)), r = 1.0 / (1.0 + e), er = e * r;
    double s = x < 0.0 ? er : r, t = x < 0.0 ? r : er;
    return s * (1.0 + x * t);
}

static inline float sigmoid_slope_f32(float x) {
    float e = exp_negative_f32(-fabsf(x)), r = 1.0f / (1.0f + e);
    return e * r * r;
}
static inline double sigmoid_slope_f64(double x) {
    double e = exp_negative_f64(-fabs(x)), r = 1.0 / (1.0 + e);
    return e * r * r;
}

/* x tanh(ln(1 + exp(x))) = x u / (u + c): t + x sigmoid(x) (1 - t^2), t = u / (u + c), 1 - t^2 = c (2u + c) / (u + c)^2. */
static inline float mish_slope_f32(float x) {
    float e = exp_negative_f32(-fabsf(x)), u = x < 0.0f ? e * (e + 2.0f) : 1.0f + 2.0f * e, c = x < 0.0f ? 2.0f : 2.0f * e * e;
    float r = 1.0f / (u + c), s = (x < 0.0f ? e : 1.0f) / (1.0f + e);
    return u * r + x * s * (c * r) * ((2.0f * u + c) * r);
}
static inline double mish_slope_f64(double x) {
    double e = exp_negative_f64(-fabs(x)), u = x < 0.0 ? e * (e + 2.0) : 1.0 + 2.0 * e, c = x < 0.0 ? 2.0 : 2.0 * e * e;
    double r = 1.0 / (u + c), s = (x < 0.0 ? e : 1.0) / (1.0 + e);
    return u * r + x * s * (c * r) * ((2.0 * u + c) * r);
}

/* 2 / sqrt(pi) exp(-x^2) */
static inline float erf_slope_f32(float x) { return 0x1.20dd76p0f * exp_negative_f32(-x * x); }
static inline double erf_slope_f64(double x) { return 0x1.20dd750429b6dp0 * exp_negative_f64(-x * x); }

/* x Phi(x): Phi(x) + x phi(x), phi(x) = exp(-x^2 / 2) / sqrt(2 pi). */
static inline float gelu_slope_f32(float x) {
    float density = 0x1.988454p-2f * exp_negative_f32(-0.5f * x * x);
    float tail = density == 0.0f ? 0.0f : x * density;
    return 0.5f + 0.5f * erf_fast_f32(x * 0x1.6a09e6p-1f) + tail;
}
static inline double gelu_slope_f64(double x) {
    double t = x * 0x1.6a09e667f3bcdp-1, a = fabs(t), far = a < 1.0 ? 1.0 : a;
    double h = 0.5 * exp_f64(-log_erfc_f64(far)), near = 0.5 + 0.5 * erf_part_f64(a < 1.0 ? t : 1.0);
    double density = 0x1.9884533d43651p-2 * exp_negative_f64(-0.5 * x * x), tail = density == 0.0 ? 0.0 : x * density;
    return (a < 1.0 ? near : x < 0.0 ? h : 1.0 - h) + tail;
}

/* x sigmoid(z), z = x (p + q x^2): s + x s (1 - s) (p + 3 q x^2). */
static inline float gelu_tanh_slope_f32(float x) {
    float square = x * x, z = x * (0x1.988454p0f + 0x1.2444f2p-4f * square), slope = 0x1.988454p0f + 3.0f * 0x1.2444f2p-4f * square;
    float e = exp_negative_f32(-fabsf(z)), r = 1.0f / (1.0f + e), er = e * r;
    float s = z < 0.0f ? er : r, st = r * er;
    return s + (st == 0.0f ? 0.0f : x * slope * st);
}
static inline double gelu_tanh_slope_f64(double x) {
    double square = x * x, z = x * (0x1.9884533d43651p0 + 0x1.2444f2a4d8b4bp-4 * square);
    double slope = 0x1.9884533d43651p0 + 3.0 * 0x1.2444f2a4d8b4bp-4 * square;
    double e = exp_negative_f64(-fabs(z)), r = 1.0 / (1.0 + e), er = e * r;
    double s = z < 0.0 ? er : r, st = r * er;
    return s + (st == 0.0 ? 0.0 : x * slope * st);
}

#endif
