/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow/random.h: counter-based random numbers. A number is a function of (key, counter) alone, so the same whatever
 * the thread count, the device or the order of work.
 * Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3.
 */
#ifndef FLOW_RANDOM_H
#define FLOW_RANDOM_H

#include <stdint.h>

#ifdef __CUDACC__
#define FLOW_RANDOM_FUNCTION static inline __host__ __device__
#else
#define FLOW_RANDOM_FUNCTION static inline
#endif

/* Four 32-bit words of block `counter` of stream (key, run). */
FLOW_RANDOM_FUNCTION void flow_philox(uint64_t key, uint64_t run, uint64_t counter, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = (uint32_t)run, c3 = (uint32_t)(run >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* Uniform on [0, 1) with 24 bits (exact in f32). */
FLOW_RANDOM_FUNCTION float flow_uniform_f32(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }
/* Uniform on [0, 1) with 53 bits. */
FLOW_RANDOM_FUNCTION double flow_uniform_f64(uint32_t high, uint32_t low) {
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

/* 64-bit mixing of a seed and a name: FNV-1a over the bytes, then the finaliser of SplitMix64. */
static inline uint64_t flow_key(uint64_t seed, const char *name) {
    uint64_t h = 0xCBF29CE484222325u ^ seed;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    h ^= h >> 30, h *= 0xBF58476D1CE4E5B9u, h ^= h >> 27, h *= 0x94D049BB133111EBu;
    return h ^ (h >> 31);
}

/* Place `index` of a permutation of 0 .. count-1 that `key` names: a Feistel network over the next even power of two, walked until it lands
 * inside (at most four steps on average), so that no table is needed. Black, Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA
 * 2002), section 4 and 5. index < count. */
FLOW_RANDOM_FUNCTION uint64_t flow_permute(uint64_t key, uint64_t index, uint64_t count) {
    unsigned half = 1;
    while (half < 32 && (count - 1) >> (2 * half)) half++;
    const uint64_t mask = (UINT64_C(1) << half) - 1;
    if (count < 2) return 0;
    do {
        uint64_t left = index >> half, right = index & mask;
        for (uint64_t round = 1; round <= 6; round++) {
            uint64_t mixed = (right ^ key) + round * 0x9E3779B97F4A7C15u;
            mixed ^= mixed >> 30, mixed *= 0xBF58476D1CE4E5B9u, mixed ^= mixed >> 27, mixed *= 0x94D049BB133111EBu;
            const uint64_t next = left ^ ((mixed ^ mixed >> 31) & mask);
            left = right, right = next;
        }
        index = left << half | right;
    } while (index >= count);
    return index;
}

#endif
