/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elementary functions for f32 and f64 without a branch, so that a loop under `#pragma omp simd` that calls them becomes vector code.
 * For *_simd.c files: they rely on -fno-math-errno -fno-trapping-math, and on nothing like -ffast-math: infinities, NaN, denormals
 * and the sign of zero come out as in libm. Largest errors seen, in units of the last place: exp log log1p 1; expm1 sin cos 2 (and 2.3
 * in f64); tanh sigmoid softplus 2.5; silu erf 3 (erf 4.2 in f64); mish 4; gelu 6 above 0, below it an absolute error of 2e-7 |x|.
 * sin and cos hold for |x| <= SIN_LIMIT_F32, SIN_LIMIT_F64: beyond these a caller turns to libm.
 *
 * Polynomials are minimax fits made for this file (Remez exchange in 50 digits); the intervals stand beside them. x = n*c + r with a
 * whole n is found by adding 1.5 * 2^(mantissa bits), which leaves n in the low bits; c is split into parts with so few bits that n times
 * the leading ones is exact without FMA, too (Cody and Waite, "Software Manual for the Elementary Functions", 1980).
 */
#ifndef OPS_COMMON_MATH_SIMD_H
#define OPS_COMMON_MATH_SIMD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t bits_f32(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline uint64_t bits_f64(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float from_bits_f32(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline double from_bits_f64(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline float copy_sign_f32(float x, float sign) {
    return from_bits_f32((bits_f32(x) & 0x7FFFFFFFu) | (bits_f32(sign) & 0x80000000u));
}
static inline double copy_sign_f64(double x, double sign) {
    return from_bits_f64((bits_f64(x) & 0x7FFFFFFFFFFFFFFFu) | (bits_f64(sign) & 0x8000000000000000u));
}

/* The larger (smaller); NaN if either is NaN. */
static inline float max_f32(float a, float b) { return a > b || a != a ? a : b; }
static inline float min_f32(float a, float b) { return a < b || a != a ? a : b; }
static inline double max_f64(double a, double b) { return a > b || a != a ? a : b; }
static inline double min_f64(double a, double b) { return a < b || a != a ? a : b; }

/* ---- Exponentials ----------------------------------------------------------------------------------------------- */

/* exp(r) - 1 on |r| <= ln(2)/2. */
static inline float expm1_part_f32(float r) {
    return r + r * r * (0x1p-1f + r * (0x1.555486p-3f + r * (0x1.555454p-5f + r * (0x1.124146p-7f + r * 0x1.6dbc5cp-10f))));
}
static inline double expm1_part_f64(double r) {
    return r +
           r * r *
               (0x1.000000000000cp-1 +
                r * (0x1.5555555555561p-3 +
                     r * (0x1.555555554ffa7p-5 +
                          r * (0x1.111111110d5fep-7 +
                               r * (0x1.6c16c185c756dp-10 +
                                    r * (0x1.a01a01baf21d2p-13 +
                                         r * (0x1.a0199637acb51p-16 +
                                              r * (0x1.71dddfaf0df41p-19 + r * (0x1.28b0a27d78f56p-22 + r * 0x1.af85afd17352p-26)))))))));
}

/* x = n ln(2) + r: returns r, and n + 256 (f64: n + 2048). */
static inline float exp_reduce_f32(float x, uint32_t *n) {
    float t = x * 0x1.715476p0f + 0x1.8p23f, whole = t - 0x1.8p23f;
    *n = bits_f32(t) - 0x4B400000u + 256u;
    return (x - whole * 0x1.62e4p-1f) - whole * 0x1.7f7d1cp-20f;
}
static inline double exp_reduce_f64(double x, uint64_t *n) {
    double t = x * 0x1.71547652b82fep0 + 0x1.8p52, whole = t - 0x1.8p52;
    *n = bits_f64(t) - 0x4338000000000000u + 2048u;
    return (x - whole * 0x1.62e42fefp-1) - whole * 0x1.473de6af278edp-34;
}

/* 2^n is made of two factors: n reaches from the denormals to infinity. */
static inline float exp_f32(float x) {
    uint32_t n;
    x = 89.0f < x ? 89.0f : x;
    x = -104.0f > x ? -104.0f : x;
    float r = exp_reduce_f32(x, &n);
    uint32_t half = n >> 1;
    return (1.0f + expm1_part_f32(r)) * from_bits_f32((half - 1u) << 23) * from_bits_f32((n - half - 1u) << 23);
}
static inline double exp_f64(double x) {
    uint64_t n;
    x = 710.0 < x ? 710.0 : x;
    x = -746.0 > x ? -746.0 : x;
    double r = exp_reduce_f64(x, &n);
    uint64_t half = n >> 1;
    return (1.0 + expm1_part_f64(r)) * from_bits_f64((half - 1u) << 52) * from_bits_f64((n - half - 1u) << 52);
}

/* exp(x) of x <= 0 that may become 0 where it is below 2^-126 (2^-1022): one factor, for softmax and gates. */
static inline float exp_negative_f32(float x) {
    uint32_t n;
    float bounded = -87.0f > x ? -87.0f : x;
    float r = exp_reduce_f32(bounded, &n);
    float y = (1.0f + expm1_part_f32(r)) * from_bits_f32((n - 129u) << 23);
    return x < -87.0f ? 0.0f : y;
}
static inline double exp_negative_f64(double x) {
    uint64_t n;
    double bounded = -708.0 > x ? -708.0 : x;
    double r = exp_reduce_f64(bounded, &n);
    double y = (1.0 + expm1_part_f64(r)) * from_bits_f64((n - 1025u) << 52);
    return x < -708.0 ? 0.0 : y;
}

/* exp(x) - 1 = 2^n (p + 1) - 1 with p = exp(r) - 1, as 2 (2^(n-1) p + (2^(n-1) - 1/2)). */
static inline float expm1_f32(float x) {
    uint32_t n;
    float bounded = 89.0f < x ? 89.0f : x;
    bounded = -20.0f > bounded ? -20.0f : bounded;
    float p = expm1_part_f32(exp_reduce_f32(bounded, &n));
    float half = from_bits_f32((n - 130u) << 23);
    float y = 2.0f * (half * p + (half - 0.5f));
    return fabsf(x) < 0x1p-25f ? x : y;
}
static inline double expm1_f64(double x) {
    uint64_t n;
    double bounded = 710.0 < x ? 710.0 : x;
    bounded = -40.0 > bounded ? -40.0 : bounded;
    double p = expm1_part_f64(exp_reduce_f64(bounded, &n));
    double half = from_bits_f64((n - 1026u) << 52);
    double y = 2.0 * (half * p + (half - 0.5));
    return fabs(x) < 0x1p-54 ? x : y;
}

/* ---- Logarithms ------------------------------------------------------------------------------------------------- */

/* ln(x) + low for a positive normal x: x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2); ln(1 + f) = 2 atanh(s), s = f / (2 + f). */
static inline float log_part_f32(float x, float low, float shift) {
    uint32_t u = bits_f32(x) + (0x3F800000u - 0x3F3504F3u);
    float k = (float)((int32_t)(u >> 23) - 127) - shift;
    float f = from_bits_f32((u & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    float s = f / (2.0f + f), z = s * s, half = 0.5f * f * f;
    float series = z * (0x1.555554p-1f + z * (0x1.999a7cp-2f + z * (0x1.2438aap-2f + z * 0x1.e2fddap-3f)));
    return k * 0x1.62e4p-1f - ((half - (s * (half + series) + (k * 0x1.7f7d1cp-20f + low))) - f);
}
static inline double log_part_f64(double x, double low, double shift) {
    uint64_t u = bits_f64(x) + (0x3FF0000000000000u - 0x3FE6A09E667F3BCDu);
    double k = from_bits_f64((u >> 52) | 0x4330000000000000u) - (0x1p52 + 1023.0) - shift;
    double f = from_bits_f64((u & 0x000FFFFFFFFFFFFFu) + 0x3FE6A09E667F3BCDu) - 1.0;
    double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
    double series =
        z * (0x1.5555555555593p-1 +
             z * (0x1.999999997fc0bp-2 +
                  z * (0x1.249249420c3e8p-2 +
                       z * (0x1.c71c51f07ce2cp-3 + z * (0x1.74664498a0bc8p-3 + z * (0x1.39a119414e20ap-3 + z * 0x1.2f0c4c70ace3ep-3))))));
    return k * 0x1.62e42fefp-1 - ((half - (s * (half + series) + (k * 0x1.473de6af278edp-34 + low))) - f);
}

static inline float log_f32(float x) {
    bool small = x < 0x1p-126f;
    float y = log_part_f32(small ? x * 0x1p24f : x, 0.0f, small ? 24.0f : 0.0f);
    y = x > 0.0f ? y : x == 0.0f ? -INFINITY : NAN;
    return x == INFINITY ? x : y;
}
static inline double log_f64(double x) {
    bool small = x < 0x1p-1022;
    double y = log_part_f64(small ? x * 0x1p54 : x, 0.0, small ? 54.0 : 0.0);
    y = x > 0.0 ? y : x == 0.0 ? -(double)INFINITY : (double)NAN;
    return x == (double)INFINITY ? x : y;
}

/* ln(1 + x): u = fl(1 + x), what the addition lost comes back as a first-order correction. */
static inline float log1p_f32(float x) {
    float u = 1.0f + x;
    float lost = x > 1.0f ? 1.0f - (u - x) : x - (u - 1.0f);
    float y = log_part_f32(u, lost / u, 0.0f);
    y = x > -1.0f ? y : x == -1.0f ? -INFINITY : NAN;
    return fabsf(x) < 0x1p-25f || x == INFINITY ? x : y;
}
static inline double log1p_f64(double x) {
    double u = 1.0 + x;
    double lost = x > 1.0 ? 1.0 - (u - x) : x - (u - 1.0);
    double y = log_part_f64(u, lost / u, 0.0);
    y = x > -1.0 ? y : x == -1.0 ? -(double)INFINITY : (double)NAN;
    return fabs(x) < 0x1p-54 || x == (double)INFINITY ? x : y;
}

/* ln(1 + e) for 0 <= e <= 1, as 2 atanh(s), s = e / (2 + e) <= 1/3. */
static inline float log1p_unit_f32(float e) {
    float s = e / (2.0f + e), z = s * s;
    return 2.0f * s + s * z * (0x1.555558p-1f + z * (0x1.9996a8p-2f + z * (0x1.25096cp-2f + z * (0x1.b6d718p-3f + z * 0x1.f1ada8p-3f))));
}
static inline double log1p_unit_f64(double e) {
    double s = e / (2.0 + e), z = s * s;
    return 2.0 * s +
           s * z *
               (0x1.5555555555535p-1 +
                z * (0x1.99999999a0841p-2 +
                     z * (0x1.249249208570cp-2 +
                          z * (0x1.c71c741f8f5e8p-3 +
                               z * (0x1.745cb39afa402p-3 +
                                    z * (0x1.3b1de32e0f54ap-3 +
                                         z * (0x1.10676811518d5p-3 +
                                              z * (0x1.efdd8be8c6d4dp-4 + z * (0x1.559c28df38c85p-4 + z * 0x1.5c8a7be81528ap-3)))))))));
}

/* ---- Sine and cosine -------------------------------------------------------------------------------------------- */

#define SIN_LIMIT_F32 1e5f
#define SIN_LIMIT_F64 0x1p20

/* x = n pi/2 + r, |r| <= pi/4: returns r, and n modulo 4 in the low bits. */
static inline float quadrant_f32(float x, uint32_t *n) {
    float t = x * 0x1.45f306p-1f + 0x1.8p23f, whole = t - 0x1.8p23f;
    *n = bits_f32(t);
#ifdef __FMA__
    float r = fmaf(-whole, 0x1.921fb6p0f, x);
    r = fmaf(whole, 0x1.777a5cp-25f, r);
    return fmaf(whole, 0x1.ee59dap-50f, r);
#else
    double wide = (double)whole;
    return (float)(((double)x - wide * 0x1.921fb544p0) - wide * 0x1.0b4611a626331p-34);
#endif
}
static inline double quadrant_f64(double x, uint64_t *n) {
    double t = x * 0x1.45f306dc9c883p-1 + 0x1.8p52, whole = t - 0x1.8p52;
    *n = bits_f64(t);
    return ((x - whole * 0x1.921fb544p0) - whole * 0x1.0b4611a6p-34) - whole * 0x1.3198a2e037073p-69;
}

static inline float sin_part_f32(float r) {
    float z = r * r;
    return r + r * z * (-0x1.555546p-3f + z * (0x1.11075cp-7f + z * -0x1.994cf8p-13f));
}
static inline float cos_part_f32(float r) {
    float z = r * r;
    return 1.0f - (0.5f * z - z * z * (0x1.55554ap-5f + z * (-0x1.6c0c88p-10f + z * 0x1.9a00fap-16f)));
}
static inline double sin_part_f64(double r) {
    double z = r * r;
    return r +
           r * z *
               (-0x1.5555555555549p-3 +
                z * (0x1.111111110f869p-7 +
                     z * (-0x1.a01a019c0f0ap-13 + z * (0x1.71de3575383a3p-19 + z * (-0x1.ae5e64164bed5p-26 + z * 0x1.5d9255c5a3374p-33)))));
}
static inline double cos_part_f64(double r) {
    double z = r * r, half = 0.5 * z, w = 1.0 - half;
    return w +
           (((1.0 - w) - half) + z * z *
                                     (0x1.555555555554cp-5 +
                                      z * (-0x1.6c16c16c15165p-10 +
                                           z * (0x1.a01a019caf1f6p-16 +
                                                z * (-0x1.27e4f807eeebcp-22 + z * (0x1.1ee9ea7a00802p-29 + z * -0x1.8fadd5d99ae54p-37))))));
}

static inline float sin_f32(float x) {
    uint32_t n;
    float r = quadrant_f32(x, &n), s = sin_part_f32(r), c = cos_part_f32(r);
    float y = from_bits_f32(bits_f32(n & 1u ? c : s) ^ ((n & 2u) << 30));
    return x == 0.0f ? x : y;
}
static inline float cos_f32(float x) {
    uint32_t n;
    float r = quadrant_f32(x, &n), s = sin_part_f32(r), c = cos_part_f32(r);
    return from_bits_f32(bits_f32(n & 1u ? s : c) ^ (((n + 1u) & 2u) << 30));
}
static inline double sin_f64(double x) {
    uint64_t n;
    double r = quadrant_f64(x, &n), s = sin_part_f64(r), c = cos_part_f64(r);
    double y = from_bits_f64(bits_f64(n & 1u ? c : s) ^ ((n & 2u) << 62));
    return x == 0.0 ? x : y;
}
static inline double cos_f64(double x) {
    uint64_t n;
    double r = quadrant_f64(x, &n), s = sin_part_f64(r), c = cos_part_f64(r);
    return from_bits_f64(bits_f64(n & 1u ? s : c) ^ (((n + 1u) & 2u) << 62));
}

/* ---- Gates ------------------------------------------------------------------------------------------------------ */

/* 1 / (1 + exp(-x)), split by sign: no overflow at any x. Here and below exp(-|x|) is 0 where it would be denormal. */
static inline float sigmoid_f32(float x) {
    float e = exp_negative_f32(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}
static inline double sigmoid_f64(double x) {
    double e = exp_negative_f64(-fabs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

/* tanh|x| = t / (t + 2), t = exp(2|x|) - 1. */
static inline float tanh_f32(float x) {
    uint32_t n;
    float a = fabsf(x);
    a = 10.0f < a ? 10.0f : a;
    float p = expm1_part_f32(exp_reduce_f32(2.0f * a, &n)), scale = from_bits_f32((n - 129u) << 23);
    float t = scale * p + (scale - 1.0f);
    return copy_sign_f32(t / (t + 2.0f), x);
}
static inline double tanh_f64(double x) {
    uint64_t n;
    double a = fabs(x);
    a = 22.0 < a ? 22.0 : a;
    double p = expm1_part_f64(exp_reduce_f64(2.0 * a, &n)), scale = from_bits_f64((n - 1025u) << 52);
    double t = scale * p + (scale - 1.0);
    return copy_sign_f64(t / (t + 2.0), x);
}

static inline float silu_f32(float x) { return x * sigmoid_f32(x); }
static inline double silu_f64(double x) { return x * sigmoid_f64(x); }

/* ln(1 + exp(x)) */
static inline float softplus_f32(float x) { return (x < 0.0f ? 0.0f : x) + log1p_unit_f32(exp_negative_f32(-fabsf(x))); }
static inline double softplus_f64(double x) { return (x < 0.0 ? 0.0 : x) + log1p_unit_f64(exp_negative_f64(-fabs(x))); }

/* x tanh(ln(1 + exp(x))); with e = exp(-|x|) the tangent is a quotient of polynomials in e. */
static inline float mish_f32(float x) {
    float e = exp_negative_f32(-fabsf(x)), up = x < 0.0f ? e * (e + 2.0f) : 1.0f + 2.0f * e;
    return x * (up / (up + (x < 0.0f ? 2.0f : 2.0f * e * e)));
}
static inline double mish_f64(double x) {
    double e = exp_negative_f64(-fabs(x)), up = x < 0.0 ? e * (e + 2.0) : 1.0 + 2.0 * e;
    return x * (up / (up + (x < 0.0 ? 2.0 : 2.0 * e * e)));
}

/* ---- Error function --------------------------------------------------------------------------------------------- */

/* erf(x) / x on |x| <= 3.92 as a quotient of polynomials in x^2 (relative error 2e-8; 6 ulp in all); beyond, 1 is nearest. Half the work
 * of erf_f32. */
static inline float erf_fast_f32(float x) {
    float z = x * x;
    float up =
        0x1.20dd74p0f + z * (0x1.85f434p-3f + z * (0x1.b01e4cp-5f + z * (0x1.ed9232p-9f + z * (0x1.2ab8dap-12f + z * 0x1.132858p-19f))));
    float down = 1.0f + z * (0x1.011032p-1f + z * (0x1.d36464p-4f + z * (0x1.ea836cp-7f + z * (0x1.30c0f8p-10f + z * 0x1.3f895ap-15f))));
    return fabsf(x) > 3.92f ? copy_sign_f32(1.0f, x) : x * up / down;
}
/* -ln(erfc(a)) for a >= 0; relative error at 0 as small as elsewhere. For a <= 4. */
static inline float log_erfc_f32(float a) {
    return a * (0x1.20dd76p0f +
                a * (0x1.45f2fep-1f +
                     a * (0x1.a4f5c4p-4f +
                          a * (-0x1.394418p-6f +
                               a * (-0x1.127e74p-12f +
                                    a * (0x1.df2138p-10f +
                                         a * (-0x1.96699p-11f +
                                              a * (0x1.8d447ap-13f +
                                                   a * (-0x1.e7920cp-16f + a * (0x1.5ce7bap-19f + a * -0x1.bce4cap-24f))))))))));
}
/* -ln(erfc(a)) for a >= 1; beyond 6 continued by the leading term a^2. */
static inline double log_erfc_f64(double a) {
    double m = 6.0 < a ? 6.0 : a, t = (m - 3.5) * 0.4;
    double q =
        0x1.c3991652a25bp3 +
        t * (0x1.22a4dc1adc4d6p4 +
             t * (0x1.82b383473a5ebp2 +
                  t * (0x1.4e712f2ed4dacp-4 +
                       t * (-0x1.1794772df709ep-5 +
                            t * (0x1.d75a5651926d7p-7 +
                                 t * (-0x1.862e964ef7c7dp-8 +
                                      t * (0x1.372a219abc4e9p-9 +
                                           t * (-0x1.d47dbad80c636p-11 +
                                                t * (0x1.42c5a0986c54p-12 +
                                                     t * (-0x1.7d4835df03a91p-14 +
                                                          t * (0x1.35f7a8370e463p-16 +
                                                               t * (0x1.905f3a148155ep-20 +
                                                                    t * (-0x1.329d89be079efp-18 +
                                                                         t * (0x1.c6cb343cdf535p-19 +
                                                                              t * (-0x1.009986f58f96ep-19 +
                                                                                   t * (0x1.03a43f2dfd41dp-20 +
                                                                                        t * (-0x1.a5d2bef525ef3p-22 +
                                                                                             t * (0x1.4a38cbec14055p-24 +
                                                                                                  t * (-0x1.387dc456f8525p-26 +
                                                                                                       t * (0x1.419ec447a088bp-25 +
                                                                                                            t * (-0x1.5579beefcfaddp-28 +
                                                                                                                 t * (-0x1.34f9ac574d95ap-26 +
                                                                                                                      t * 0x1.f49cc38fbc5f3p-28))))))))))))))))))))));
    return q + (a - m) * (a + m);
}
/* erf(x) for |x| <= 1. */
static inline double erf_part_f64(double x) {
    double z = x * x;
    return x * (0x1.20dd750429b6dp0 +
                z * (-0x1.812746b0379c2p-2 +
                     z * (0x1.ce2f21a041018p-4 +
                          z * (-0x1.b82ce312062bcp-6 +
                               z * (0x1.565bccfa9a825p-8 +
                                    z * (-0x1.c02db072f3fd9p-11 +
                                         z * (0x1.f9a2bf73f0bebp-14 +
                                              z * (-0x1.f4ca94990c61fp-17 +
                                                   z * (0x1.b9827b1883af7p-20 +
                                                        z * (-0x1.5c16e30fa8122p-23 +
                                                             z * (0x1.d7849365faf91p-27 + z * -0x1.acdff90b84bd7p-31)))))))))));
}

static inline float erf_f32(float x) {
    float a = fabsf(x);
    a = 4.0f < a ? 4.0f : a;
    return copy_sign_f32(-expm1_f32(-log_erfc_f32(a)), x);
}
static inline double erf_f64(double x) {
    double a = fabs(x), far = a < 1.0 ? 1.0 : a;
    double y = 1.0 - exp_f64(-log_erfc_f64(far));
    return a < 1.0 ? erf_part_f64(x) : copy_sign_f64(y, x);
}

/* x Phi(x), Phi the normal distribution function. */
static inline float gelu_f32(float x) { return x * (0.5f + 0.5f * erf_fast_f32(x * 0x1.6a09e6p-1f)); }
static inline double gelu_f64(double x) {
    double t = x * 0x1.6a09e667f3bcdp-1, a = fabs(t), far = a < 1.0 ? 1.0 : a;
    double h = 0.5 * exp_f64(-log_erfc_f64(far)), near = 0.5 + 0.5 * erf_part_f64(a < 1.0 ? t : 1.0);
    return x * (a < 1.0 ? near : x < 0.0 ? h : 1.0 - h);
}

/* The approximation 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
static inline float gelu_tanh_f32(float x) { return x * sigmoid_f32(x * (0x1.988454p0f + 0x1.2444f2p-4f * x * x)); }
static inline double gelu_tanh_f64(double x) { return x * sigmoid_f64(x * (0x1.9884533d43651p0 + 0x1.2444f2a4d8b4bp-4 * x * x)); }

/* |x|^y in f64 is exact enough for f32; the rules for signs and special values are those of C's pow (C11 F.10.4.4). */
static inline float pow_f32(float x, float y) {
    double a = fabs((double)x);
    double m = exp_f64((double)y * log_f64(a));
    float half = 0.5f * y;
    bool whole = rintf(y) == y, odd = whole && rintf(half) != half;
    m = a == 1.0 && y == y ? 1.0 : m;
    float r = (float)m;
    r = odd ? copy_sign_f32(r, x) : r;
    r = x < 0.0f && x > -INFINITY && !whole ? NAN : r;
    return y == 0.0f || x == 1.0f ? 1.0f : r;
}

#endif
