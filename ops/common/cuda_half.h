/* SPDX-License-Identifier: Apache-2.0 */
/* f16 (IEEE 754 binary16) and bf16 to f32 and back in kernels, to the nearest, ties to even: the same bits as common/half.h. */
#ifndef OPS_COMMON_CUDA_HALF_H
#define OPS_COMMON_CUDA_HALF_H

#include "common/cuda.h"

#include <string.h>

struct cuda_f16 {
    uint16_t bits;
};
struct cuda_bf16 {
    uint16_t bits;
};

static __device__ inline uint32_t cuda_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static __device__ inline float cuda_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static __device__ inline float cuda_widen(cuda_f16 h) {
    const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16, magnitude = h.bits & 0x7FFFu;
    /* The exponent's bias differs by 112; the product also makes normal numbers of denormal ones. */
    const uint32_t finite = cuda_bits(cuda_from_bits(magnitude << 13) * 0x1p112f);
    return cuda_from_bits(sign | (magnitude >= 0x7C00u ? 0x7F800000u | (magnitude << 13) : finite));
}
static __device__ inline float cuda_widen(cuda_bf16 h) { return cuda_from_bits(static_cast<uint32_t>(h.bits) << 16); }

static __device__ inline void cuda_narrow(float x, cuda_f16 &to) {
    const uint32_t bits = cuda_bits(x), sign = (bits >> 16) & 0x8000u, a = bits & 0x7FFFFFFFu;
    const uint32_t normal = (a - 0x38000000u + 0x0FFFu + ((a >> 13) & 1u)) >> 13;
    const uint32_t denormal = cuda_bits(cuda_from_bits(a) + 0.5f) - 0x3F000000u; /* 0.5's last place is the least f16 */
    uint32_t y = a < 0x38800000u ? denormal : normal;
    y = a >= 0x47800000u ? 0x7C00u : y;
    to.bits = static_cast<uint16_t>(sign | (a > 0x7F800000u ? 0x7E00u : y));
}
static __device__ inline void cuda_narrow(float x, cuda_bf16 &to) {
    const uint32_t bits = cuda_bits(x), y = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    to.bits = static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits >> 16) | 0x40u : y);
}

/* To f32 by rounding to odd: a second rounding, to f16 or bf16, then gives what one would have given. */
static __device__ inline float cuda_to_odd(double x) {
    const float y = static_cast<float>(x);
    const double back = static_cast<double>(y);
    uint32_t bits = cuda_bits(y);
    const uint32_t inexact = back != x && x == x, beyond = fabs(back) > fabs(x);
    bits -= inexact & beyond;
    return cuda_from_bits(bits | inexact);
}

/* Between the floating types. */
template <typename To, typename From> struct cuda_float_cast {
    static __device__ inline To of(From x) { return static_cast<To>(x); }
};
#define CUDA_FLOAT_CAST_HALF(H)                                                        \
    template <typename To> struct cuda_float_cast<To, H> {                             \
        static __device__ inline To of(H x) { return static_cast<To>(cuda_widen(x)); } \
    };                                                                                 \
    template <> struct cuda_float_cast<H, float> {                                     \
        static __device__ inline H of(float x) {                                       \
            H y;                                                                       \
            cuda_narrow(x, y);                                                         \
            return y;                                                                  \
        }                                                                              \
    };                                                                                 \
    template <> struct cuda_float_cast<H, double> {                                    \
        static __device__ inline H of(double x) {                                      \
            H y;                                                                       \
            cuda_narrow(cuda_to_odd(x), y);                                            \
            return y;                                                                  \
        }                                                                              \
    };
CUDA_FLOAT_CAST_HALF(cuda_f16)
CUDA_FLOAT_CAST_HALF(cuda_bf16)
#undef CUDA_FLOAT_CAST_HALF
template <> struct cuda_float_cast<cuda_f16, cuda_f16> {
    static __device__ inline cuda_f16 of(cuda_f16 x) { return x; }
};
template <> struct cuda_float_cast<cuda_bf16, cuda_bf16> {
    static __device__ inline cuda_bf16 of(cuda_bf16 x) { return x; }
};
template <> struct cuda_float_cast<cuda_bf16, cuda_f16> {
    static __device__ inline cuda_bf16 of(cuda_f16 x) { return cuda_float_cast<cuda_bf16, float>::of(cuda_widen(x)); }
};
template <> struct cuda_float_cast<cuda_f16, cuda_bf16> {
    static __device__ inline cuda_f16 of(cuda_bf16 x) { return cuda_float_cast<cuda_f16, float>::of(cuda_widen(x)); }
};

#endif
