/* SPDX-License-Identifier: Apache-2.0 */
/* Elementary and activation functions and their derivatives in kernels, for f32 and f64: the forms of math_simd.h and slopes_simd.h, with
 * the same values at infinities and NaN. */
#ifndef OPS_COMMON_CUDA_MATH_H
#define OPS_COMMON_CUDA_MATH_H

#include "common/cuda.h"

#include <math.h>

#define MATH_BOTH(name, single, wide)                                         \
    static __device__ inline float math_##name(float x) { return single(x); } \
    static __device__ inline double math_##name(double x) { return wide(x); }
MATH_BOTH(abs, fabsf, fabs)
MATH_BOTH(sqrt, sqrtf, sqrt)
MATH_BOTH(floor, floorf, floor)
MATH_BOTH(rint, rintf, rint)
MATH_BOTH(exp, expf, exp)
MATH_BOTH(expm1, expm1f, expm1)
MATH_BOTH(log, logf, log)
MATH_BOTH(log1p, log1pf, log1p)
MATH_BOTH(sin, sinf, sin)
MATH_BOTH(cos, cosf, cos)
MATH_BOTH(tanh, tanhf, tanh)
MATH_BOTH(erf, erff, erf)
#undef MATH_BOTH
static __device__ inline float math_pow(float x, float y) { return powf(x, y); }
static __device__ inline double math_pow(double x, double y) { return pow(x, y); }
static __device__ inline float math_fmod(float x, float y) { return fmodf(x, y); }
static __device__ inline double math_fmod(double x, double y) { return fmod(x, y); }
static __device__ inline float math_copysign(float x, float y) { return copysignf(x, y); }
static __device__ inline double math_copysign(double x, double y) { return copysign(x, y); }

/* NaN where either is. */
template <typename T> static __device__ inline T math_min(T a, T b) { return a < b || a != a ? a : b; }
template <typename T> static __device__ inline T math_max(T a, T b) { return a > b || a != a ? a : b; }

template <typename T> static __device__ inline T math_sigmoid(T x) {
    const T e = math_exp(-math_abs(x));
    return (x < 0 ? e : T(1)) / (1 + e);
}
template <typename T> static __device__ inline T math_silu(T x) { return x * math_sigmoid(x); }
template <typename T> static __device__ inline T math_softplus(T x) { return (x < 0 ? T(0) : x) + math_log1p(math_exp(-math_abs(x))); }
/* x tanh(ln(1 + exp(x))); with e = exp(-|x|) the tangent is a quotient of polynomials in e. */
template <typename T> static __device__ inline T math_mish(T x) {
    const T e = math_exp(-math_abs(x)), up = x < 0 ? e * (e + 2) : 1 + 2 * e;
    return x * (up / (up + (x < 0 ? T(2) : 2 * e * e)));
}
static __device__ inline float math_gelu(float x) { return x * (0.5f + 0.5f * erff(x * 0x1.6a09e6p-1f)); }
static __device__ inline double math_gelu(double x) { return x * (0.5 * erfc(-x * 0x1.6a09e667f3bcdp-1)); }
/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
template <typename T> static __device__ inline T math_gelu_tanh(T x) {
    return x * math_sigmoid(x * (T(0x1.9884533d43651p0) + T(0x1.2444f2a4d8b4bp-4) * x * x));
}
/* x where it is above 0, NaN where it is NaN. */
template <typename T> static __device__ inline T math_relu(T x) { return x < 0 ? T(0) : x; }

/* ---- Derivatives --------------------------------------------------------------------------------------------------- */

template <typename T> static __device__ inline T math_sigmoid_slope(T x) {
    const T e = math_exp(-math_abs(x)), r = 1 / (1 + e);
    return e * r * r;
}
/* s (1 + x (1 - s)), with 1 - s from the exponential itself. */
template <typename T> static __device__ inline T math_silu_slope(T x) {
    const T e = math_exp(-math_abs(x)), r = 1 / (1 + e), er = e * r;
    const T s = x < 0 ? er : r, t = x < 0 ? r : er;
    return s * (1 + x * t);
}
/* x u / (u + c): t + x sigmoid(x) (1 - t^2), t = u / (u + c), 1 - t^2 = c (2u + c) / (u + c)^2. */
template <typename T> static __device__ inline T math_mish_slope(T x) {
    const T e = math_exp(-math_abs(x)), u = x < 0 ? e * (e + 2) : 1 + 2 * e, c = x < 0 ? T(2) : 2 * e * e;
    const T r = 1 / (u + c), s = (x < 0 ? e : T(1)) / (1 + e);
    return u * r + x * s * (c * r) * ((2 * u + c) * r);
}
/* 2 / sqrt(pi) exp(-x^2) */
template <typename T> static __device__ inline T math_erf_slope(T x) { return T(0x1.20dd750429b6dp0) * math_exp(-x * x); }
/* x Phi(x): Phi(x) + x phi(x), phi(x) = exp(-x^2 / 2) / sqrt(2 pi). */
static __device__ inline float math_gelu_slope(float x) {
    const float density = 0x1.988454p-2f * expf(-0.5f * x * x), tail = density == 0 ? 0.0f : x * density;
    return 0.5f + 0.5f * erff(x * 0x1.6a09e6p-1f) + tail;
}
static __device__ inline double math_gelu_slope(double x) {
    const double density = 0x1.9884533d43651p-2 * exp(-0.5 * x * x), tail = density == 0 ? 0.0 : x * density;
    return 0.5 * erfc(-x * 0x1.6a09e667f3bcdp-1) + tail;
}
/* x sigmoid(z), z = x (p + q x^2): s + x s (1 - s) (p + 3 q x^2). */
template <typename T> static __device__ inline T math_gelu_tanh_slope(T x) {
    const T p = T(0x1.9884533d43651p0), q = T(0x1.2444f2a4d8b4bp-4), square = x * x, z = x * (p + q * square), slope = p + 3 * q * square;
    const T e = math_exp(-math_abs(z)), r = 1 / (1 + e), er = e * r;
    const T s = z < 0 ? er : r, st = r * er;
    return s + (st == 0 ? T(0) : x * slope * st);
}

#endif
