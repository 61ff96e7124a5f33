/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of taps, overlap-add, pools. The sums of taps are written in vectors, so that eight of them stay in registers over all taps. */
#include "conv/conv.h"
#include "common/math_simd.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define REAL float
#define LANES ((int64_t)(VECTOR_BYTES / sizeof(REAL)))
#define max_of max_f32
#define taps_block taps_block_f32
#define taps taps_f32
#define add add_f32
#define most most_f32
#define sum sum_f32
#define total total_f32
#define vector vector_f32
typedef REAL vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
#include "conv/conv_tmpl.h"
#undef REAL
#undef LANES
#undef max_of
#undef taps_block
#undef taps
#undef add
#undef most
#undef sum
#undef total
#undef vector

#define REAL double
#define LANES ((int64_t)(VECTOR_BYTES / sizeof(REAL)))
#define max_of max_f64
#define taps_block taps_block_f64
#define taps taps_f64
#define add add_f64
#define most most_f64
#define sum sum_f64
#define total total_f64
#define vector vector_f64
typedef REAL vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
#include "conv/conv_tmpl.h"
#undef REAL
#undef LANES
#undef max_of
#undef taps_block
#undef taps
#undef add
#undef most
#undef sum
#undef total
#undef vector

extern const struct conv_table ISA(conv_table);
const struct conv_table ISA(conv_table) = {
    .taps_f32 = taps_f32,
    .taps_f64 = taps_f64,
    .add_f32 = add_f32,
    .add_f64 = add_f64,
    .most_f32 = most_f32,
    .most_f64 = most_f64,
    .sum_f32 = sum_f32,
    .sum_f64 = sum_f64,
    .total_f32 = total_f32,
    .total_f64 = total_f64,
};
