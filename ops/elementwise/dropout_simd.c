/* SPDX-License-Identifier: Apache-2.0 */
/* dropout: many blocks of random words side by side, then the elements. */
#include "elementwise/dropout.h"

#include <flow/random.h>

#include <string.h>

enum { BLOCKS = 128 }; /* of four words */

/*
 * The words of blocks [first, first + BLOCKS): flow_philox, each block in a 64-bit lane. What stands in the upper half of a lane does not
 * matter: a product reads the lower halves alone, and its upper half is shifted down.
 */
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#if defined(__AVX512F__)
typedef __m512i lanes;
#define OP(name) _mm512_##name
#define XOR(a, b) _mm512_xor_si512(a, b)
#define COUNTERS _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0)
#define SPREAD(x) _mm512_set1_epi64((long long)(x))
/* a0 b0 a1 b1 ... */
static void store_pairs(lanes a, lanes b, uint32_t *to) {
    const lanes first = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), second = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi64(a, first, b));
    _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi64(a, second, b));
}
/* The lower half of each lane of a, that of b above it. */
static lanes join(lanes a, lanes b) { return _mm512_mask_blend_epi32(0xAAAA, a, _mm512_slli_epi64(b, 32)); }
#else
typedef __m256i lanes;
#define OP(name) _mm256_##name
#define XOR(a, b) _mm256_xor_si256(a, b)
#define COUNTERS _mm256_set_epi64x(3, 2, 1, 0)
#define SPREAD(x) _mm256_set1_epi64x((long long)(x))
static void store_pairs(lanes a, lanes b, uint32_t *to) {
    lanes even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(to + 8), _mm256_permute2x128_si256(even, odd, 0x31));
}
static lanes join(lanes a, lanes b) { return _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xAA); }
#endif

/* Several vectors at a time: the rounds of one wait for each other. */
static void draw(const struct dropout_mask *mask, uint64_t first, uint32_t *word) {
    enum { LANES = sizeof(lanes) / 8, SIDE = sizeof(lanes) / 16 }; /* as many as registers hold */
    const lanes m0 = SPREAD(0xD2511F53u), m1 = SPREAD(0xCD9E8D57u);
    for (int at = 0; at < BLOCKS; at += SIDE * LANES) {
        lanes c0[SIDE], c1[SIDE], c2[SIDE], c3[SIDE];
        uint32_t k0 = (uint32_t)mask->key, k1 = (uint32_t)(mask->key >> 32);
#pragma GCC unroll 4
        for (int s = 0; s < SIDE; s++) {
            c0[s] = OP(add_epi64)(SPREAD(first + (uint64_t)(at + s * LANES)), COUNTERS), c1[s] = OP(srli_epi64)(c0[s], 32);
            c2[s] = SPREAD((uint32_t)mask->run), c3[s] = SPREAD(mask->run >> 32);
        }
        for (int round = 0; round < 10; round++) {
#pragma GCC unroll 4
            for (int s = 0; s < SIDE; s++) {
                lanes p0 = OP(mul_epu32)(c0[s], m0), p1 = OP(mul_epu32)(c2[s], m1);
                c0[s] = XOR(XOR(OP(srli_epi64)(p1, 32), c1[s]), SPREAD(k0));
                c2[s] = XOR(XOR(OP(srli_epi64)(p0, 32), c3[s]), SPREAD(k1));
                c1[s] = p1, c3[s] = p0;
            }
            k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
        }
#pragma GCC unroll 4
        for (int s = 0; s < SIDE; s++) store_pairs(join(c0[s], c1[s]), join(c2[s], c3[s]), word + 4 * (at + s * LANES));
    }
}
#else
static void draw(const struct dropout_mask *mask, uint64_t first, uint32_t *word) {
    for (int i = 0; i < BLOCKS; i++) flow_philox(mask->key, mask->run, first + (uint64_t)i, word + 4 * i);
}
#endif

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

#define REAL float
#define DROP drop_f32
#include "elementwise/dropout_tmpl.h"
#undef REAL
#undef DROP
#define REAL double
#define DROP drop_f64
#include "elementwise/dropout_tmpl.h"

extern const struct dropout_table ISA(dropout_table);
const struct dropout_table ISA(dropout_table) = {drop_f32, drop_f64};
