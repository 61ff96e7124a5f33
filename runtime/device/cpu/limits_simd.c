/* SPDX-License-Identifier: Apache-2.0 */
/* The loops whose speed is the machine's: multiply-adds that do not wait for each other, and reads. Compiled once for each instruction set.
 */
#include "device/cpu/limits.h"

#include "device/cpu/gemm.h"

#if defined(__AVX512F__)
enum { BYTES = 64, CHAINS = 16 };
#elif defined(__AVX2__)
enum { BYTES = 32, CHAINS = 12 };
#else
enum { BYTES = 16, CHAINS = 12 };
#endif
typedef float vector __attribute__((vector_size(BYTES)));
enum { LANES = BYTES / (int)sizeof(float), STEP = 8 };

static double multiply_add(int64_t rounds, int64_t *operations) {
    vector sum[CHAINS], x, y;
    for (int i = 0; i < LANES; i++) x[i] = 0.999F, y[i] = 0.001F;
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) sum[i] = x * (float)i;
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * x + y;
    }
    *operations = 2 * LANES * CHAINS * rounds;
    double kept = 0;
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) kept += (double)sum[i][0];
    return kept;
}

static double read_area(const void *area, int64_t bytes, int64_t times) {
    vector sum[STEP] = {{0}};
    for (int64_t t = 0; t < times; t++) {
        const char *at = area, *end = at + bytes;
        __asm__ volatile("" : "+r"(at));
        for (; at < end; at += STEP * BYTES)
#pragma GCC unroll 8
            for (int k = 0; k < STEP; k++) sum[k] += *(const vector *)(const void *)(at + k * BYTES);
    }
    double kept = 0;
    for (int k = 0; k < STEP; k++) kept += (double)sum[k][0];
    return kept;
}

extern const struct limits_kernels ISA(limits);
const struct limits_kernels ISA(limits) = {multiply_add, read_area};
