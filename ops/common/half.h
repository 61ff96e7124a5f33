/* SPDX-License-Identifier: Apache-2.0 */
/* f16 (IEEE 754 binary16) and bf16 to f32 and back, to the nearest, ties to even; branch-free, so that loops become vector code. */
#ifndef OPS_COMMON_HALF_H
#define OPS_COMMON_HALF_H

#include "common/math_simd.h"

static inline float f32_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7FFFu;
    /* The exponent's bias differs by 112; the product also makes normal numbers of denormal ones. */
    uint32_t finite = bits_f32(from_bits_f32(magnitude << 13) * 0x1p112f);
    return from_bits_f32(sign | (magnitude >= 0x7C00u ? 0x7F800000u | (magnitude << 13) : finite));
}

static inline uint16_t f16_from_f32(float x) {
    uint32_t bits = bits_f32(x), sign = (bits >> 16) & 0x8000u, a = bits & 0x7FFFFFFFu;
    uint32_t normal = (a - 0x38000000u + 0x0FFFu + ((a >> 13) & 1u)) >> 13;
    uint32_t denormal = bits_f32(from_bits_f32(a) + 0.5f) - 0x3F000000u; /* 0.5's last place is the least f16 */
    uint32_t y = a < 0x38800000u ? denormal : normal;
    y = a >= 0x47800000u ? 0x7C00u : y;
    return (uint16_t)(sign | (a > 0x7F800000u ? 0x7E00u : y));
}

static inline float f32_from_bf16(uint16_t h) { return from_bits_f32((uint32_t)h << 16); }

static inline uint16_t bf16_from_f32(float x) {
    uint32_t bits = bits_f32(x);
    uint32_t y = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits >> 16) | 0x40u : y);
}

/* To f32 by rounding to odd: a second rounding, to f16 or bf16, then gives what one would have given. */
static inline float f32_odd_from_f64(double x) {
    float y = (float)x;
    double back = (double)y;
    uint32_t bits = bits_f32(y), inexact = back != x && x == x;
    /* Where the nearest lies beyond x, one step back is the one towards 0; its last bit is then set. */
    bits -= inexact & (fabs(back) > fabs(x));
    return from_bits_f32(bits | inexact);
}

#endif
