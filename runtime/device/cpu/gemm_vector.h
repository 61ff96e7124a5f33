/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of one element type and instruction set: included by gemm_f32_simd.c and gemm_f64_simd.c, which define T (element), BITS (integer
 * of its size) and GEMM_F64 (0 or 1). */
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

/* ROWS by 2 vectors of accumulators, two vectors of B and one broadcast element of A fill the registers. */
#if defined(__AVX512F__)
#define GEMM_ROWS 14
enum { VECTOR = 64, CHUNKS = 1 };
#elif defined(__AVX2__)
#define GEMM_ROWS 6
enum { VECTOR = 32, CHUNKS = 16 };
#elif defined(__aarch64__)
#define GEMM_ROWS 12
enum { VECTOR = 16, CHUNKS = 8 };
#else
#define GEMM_ROWS 4
enum { VECTOR = 16, CHUNKS = 16 };
#endif
enum { ROWS = GEMM_ROWS, LANES = VECTOR / (int)sizeof(T), PANEL = 2 * LANES, LINE = 64 / (int)sizeof(T) };

typedef T vec __attribute__((vector_size(VECTOR)));
typedef BITS ivec __attribute__((vector_size(VECTOR)));
typedef T loose __attribute__((vector_size(VECTOR), aligned(sizeof(T)), may_alias));

INLINE vec load(const T *at) { return *(const loose *)at; }
INLINE void store(T *at, vec x) { *(loose *)at = x; }
INLINE void fetch(const T *at) { __builtin_prefetch(at, 1); }
INLINE vec splat(T x) { return x - (vec){0}; }
INLINE vec choose(ivec where, vec yes, vec no) { return (vec)((where & (ivec)yes) | (~where & (ivec)no)); }
/* Lanes of a, and behind them of b, by number. */
INLINE vec lanes_of(vec a, vec b, ivec which) {
#if defined(__clang__)
    vec x = {0};
    for (int l = 0; l < LANES; l++) x[l] = which[l] < LANES ? a[which[l]] : b[which[l] - LANES];
    return x;
#else
    return __builtin_shuffle(a, b, which);
#endif
}
INLINE vec absolute(vec x) { return (vec)((ivec)x & (BITS)(((uint64_t)1 << (8 * sizeof(T) - 1)) - 1)); }

/* The first `count` lanes, 0 < count <= LANES; the others are 0. */
INLINE vec load_part(const T *at, int64_t count) {
#if defined(__AVX512F__) && GEMM_F64
    return (vec)_mm512_maskz_loadu_pd((__mmask8)(0xffu >> (LANES - count)), at);
#elif defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (LANES - count)), at);
#elif defined(__AVX2__) && GEMM_F64
    return (vec)_mm256_maskload_pd(at, _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3)));
#elif defined(__AVX2__)
    return (vec)_mm256_maskload_ps(at, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
#else
    vec x = {0};
    for (int i = 0; i < LANES; i++)
        if (i < count) x[i] = at[i];
    return x;
#endif
}

INLINE void store_part(T *at, vec x, int64_t count) {
#if defined(__AVX512F__) && GEMM_F64
    _mm512_mask_storeu_pd(at, (__mmask8)(0xffu >> (LANES - count)), (__m512d)x);
#elif defined(__AVX512F__)
    _mm512_mask_storeu_ps(at, (__mmask16)(0xffffu >> (LANES - count)), (__m512)x);
#else
    for (int i = 0; i < LANES; i++)
        if (i < count) at[i] = x[i];
#endif
}
