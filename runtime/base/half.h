/* SPDX-License-Identifier: Apache-2.0 */
/* f16 (IEEE binary16) and bf16 (the upper half of an f32): conversions, rounding to nearest even. Everything is branch-free integer and
 * float arithmetic, so that a loop over the scalar functions becomes vector code; it does not depend on the processor's handling of
 * subnormals. NaN stays NaN (quiet, the upper bits of its payload kept), overflow gives infinity. */
#ifndef FLOW_BASE_HALF_H
#define FLOW_BASE_HALF_H

#include <flow/plugin.h>

#include <stdint.h>
#include <string.h>

#ifdef __F16C__
#include <immintrin.h>
#endif

static inline uint32_t half_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float half_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float half_bf16_to_f32(uint16_t h) { return half_float((uint32_t)h << 16); }

static inline uint16_t half_f32_to_bf16(float x) {
    uint32_t bits = half_bits(x);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t nan = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

/* Normal: exponent rebiased by 127-15. Subnormal: mantissa units of 2^-24. */
static inline float half_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    uint32_t normal = (magnitude << 13) + (112u << 23);
    uint32_t special = normal + (112u << 23);
    uint32_t small = half_bits((float)(int32_t)magnitude * 0x1p-24f);
    uint32_t bits = magnitude < 0x400u ? small : magnitude >= 0x7c00u ? special : normal;
    bits |= magnitude > 0x7c00u ? 0x400000u : 0u;
    return half_float(bits | sign);
}

/* Below 2^-14 the sum with 0.5 has a last place of 2^-24, the f16 subnormal's unit: the adder does the rounding. */
static inline uint16_t half_f32_to_f16(float x) {
    uint32_t bits = half_bits(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
    uint32_t small = half_bits(half_float(magnitude < 0x38800000u ? magnitude : 0u) + 0.5f) - 0x3f000000u;
    uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    uint32_t h = magnitude < 0x38800000u ? small : magnitude >= 0x47800000u ? 0x7c00u : normal;
    return (uint16_t)(sign | (magnitude > 0x7f800000u ? nan : h));
}

/* f64 goes through an f32 rounded to odd (truncated, its last bit set when anything was cut off), so that nothing is rounded twice. */
static inline float half_f64_to_odd(double x) {
    float near = (float)x;
    uint32_t bits = half_bits(near);
    double back = (double)near;
    if (back == x || back != back) return near;
    bool over = (back < 0 ? -back : back) > (x < 0 ? -x : x);
    if (over) bits--; /* towards zero; from infinity to the largest number */
    return half_float(bits | 1u);
}
static inline uint16_t half_f64_to_f16(double x) { return half_f32_to_f16(half_f64_to_odd(x)); }
static inline uint16_t half_f64_to_bf16(double x) { return half_f32_to_bf16(half_f64_to_odd(x)); }

/* ---- Arrays: adjacent elements, no overlap. Fast where compiled with vector flags (*_simd.c) ---- */

static inline void half_widen_bf16(const uint16_t *restrict from, float *restrict to, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = half_bf16_to_f32(from[i]);
}

static inline void half_narrow_bf16(const float *restrict from, uint16_t *restrict to, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = half_f32_to_bf16(from[i]);
}

static inline void half_widen_f16(const uint16_t *restrict from, float *restrict to, int64_t count) {
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= count; i += 8) {
        __m128i h;
        memcpy(&h, from + i, sizeof h);
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(h));
    }
#endif
    for (int64_t j = i; j < count; j++) to[j] = half_f16_to_f32(from[j]);
}

static inline void half_narrow_f16(const float *restrict from, uint16_t *restrict to, int64_t count) {
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= count; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        memcpy(to + i, &h, sizeof h);
    }
#endif
    for (int64_t j = i; j < count; j++) to[j] = half_f32_to_f16(from[j]);
}

/* One element of a floating type, by its FLOW_* number. For set-up code, not for inner loops. */
static inline double half_read(const void *data, int32_t dtype, int64_t index) {
    if (dtype == FLOW_F64) return ((const double *)data)[index];
    if (dtype == FLOW_F32) return (double)((const float *)data)[index];
    uint16_t h = ((const uint16_t *)data)[index];
    return (double)(dtype == FLOW_F16 ? half_f16_to_f32(h) : half_bf16_to_f32(h));
}

static inline void half_write(void *data, int32_t dtype, int64_t index, double value) {
    if (dtype == FLOW_F64) ((double *)data)[index] = value;
    else if (dtype == FLOW_F32) ((float *)data)[index] = (float)value;
    else ((uint16_t *)data)[index] = dtype == FLOW_F16 ? half_f64_to_f16(value) : half_f64_to_bf16(value);
}

#endif
