/* SPDX-License-Identifier: Apache-2.0 */
/* What the vector code of forward and backward shares: sizes of tiles, reach of a query, random words of dropout. For *_simd.c files. */
#ifndef PLUGINS_ATTENTION_TILES_H
#define PLUGINS_ATTENTION_TILES_H

#include "attention.h"
#include "common/math_simd.h"

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, ROWS = 6, COLUMNS = 4 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, ROWS = 6, COLUMNS = 2 };
#else
enum { VECTOR_BYTES = 16, ROWS = 4, COLUMNS = 2 };
#endif

enum { KEYS = ATTENTION_KEYS, WIDEST = ATTENTION_WIDEST };

static inline void reach_of(const struct attention_reach *reach, int64_t position, int64_t *low, int64_t *high) {
    *low = 0, *high = reach->causal ? position + 1 : INT64_MAX / 2;
    if (reach->window > 0 && position - reach->window + 1 > *low) *low = position - reach->window + 1;
    if (reach->chunk > 0) {
        int64_t chunk = position >= 0 ? position / reach->chunk : -1, start = chunk * reach->chunk;
        int64_t from = reach->overlap ? start - reach->chunk : start;
        if (from > *low) *low = from;
        if (start + reach->chunk < *high) *high = start + reach->chunk;
    }
    if (*high < *low) *high = *low;
}

/* 2^x for weights: x <= 127, 0 from -127 down (minus infinity too), 2^0 = 1 exactly. 2^x = 2^n 2^r with |r| <= 1/2, where 2^n comes from
 * the low bits of x + 1.5*2^23 + 127. The polynomial is a minimax fit (relative error 1e-7, with its rounding 1.6e-7). */
static inline float weight_f32(float x) {
    float bounded = -127.0f > x ? -127.0f : x, t = bounded + 0x1.8000fep23f, r = bounded - (t - 0x1.8000fep23f);
    float part = 0x1.ebf9bcp-3f + r * (0x1.c6b752p-5f + r * (0x1.3cea88p-7f + r * 0x1.5bba14p-10f));
    return (1.0f + r * (0x1.62e42ap-1f + r * part)) * from_bits_f32(bits_f32(t) << 23);
}
static inline double weight_f64(double x) { return exp_negative_f64(x * 0x1.62e42fefa39efp-1); }
/* To the base 2. */
#define LOG2_E 1.4426950408889634

/* The words of KEYS weights, from block `counter` of the node's stream on: as flow_philox gives them, KEYS/4 blocks side by side. */
static inline void drop_words(const struct attention_dropout *dropout, int64_t counter, uint32_t *words) {
    enum { BLOCKS = KEYS / 4 };
    uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS], k0 = (uint32_t)dropout->key, k1 = (uint32_t)(dropout->key >> 32);
    for (int i = 0; i < BLOCKS; i++) {
        uint64_t c = (uint64_t)counter + (uint64_t)i;
        c0[i] = (uint32_t)c, c1[i] = (uint32_t)(c >> 32), c2[i] = (uint32_t)dropout->run, c3[i] = (uint32_t)(dropout->run >> 32);
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
#pragma omp simd
        for (int i = 0; i < BLOCKS; i++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * c0[i], p1 = (uint64_t)0xCD9E8D57u * c2[i];
            uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c1[i] = (uint32_t)p1, c3[i] = (uint32_t)p0, c0[i] = n0, c2[i] = n2;
        }
    for (int i = 0; i < BLOCKS; i++) words[4 * i] = c0[i], words[4 * i + 1] = c1[i], words[4 * i + 2] = c2[i], words[4 * i + 3] = c3[i];
}

#endif
