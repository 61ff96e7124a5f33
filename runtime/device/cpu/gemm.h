/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products: what gemm.c (which path, which tiles, which threads) knows of gemm_*_simd.c (the arithmetic, one copy an instruction
 * set).
 *
 * Packed B, by the number of columns N:
 *   N <= GEMM_DOT_COLUMNS   [N, K]: each column contiguous, read as dot products
 *   else                    panels of `panel` columns, each [K, panel]; the last is half as wide when half is enough; absent columns are 0
 *
 * Order of summation. Except in dot products, every element of C is one chain of multiply-adds over k = 0, 1, 2..., however the product
 * is cut into tiles and blocks: later blocks of k begin with what is in C. So an element's bytes do not depend on the number of rows,
 * tiles or threads. A dot product sums lane by lane, then the lanes in a fixed tree: the same for any number of rows too.
 */
#ifndef FLOW_DEVICE_CPU_GEMM_H
#define FLOW_DEVICE_CPU_GEMM_H

#include <flow/plugin.h>

#define ISA_JOIN_(name, suffix) name##suffix
#define ISA_JOIN(name, suffix) ISA_JOIN_(name, suffix)
#define ISA(name) ISA_JOIN(name, FLOW_ISA_SUFFIX)

enum {
    GEMM_DOT_COLUMNS = 4, /* products this narrow are dot products of rows of A with columns of B */
    GEMM_FEW_ROWS = 4     /* products this low read B once, without packing A */
};

/* One product (the batch already resolved: a, b, c point at its element [0, 0]) is computed over rows [m0, m1), columns [n0, n1); n0 is
 * a multiple of `panel`. With packed_b set, b is NULL. */
struct gemm_kernels {
    int32_t rows;  /* of the micro-kernel */
    int32_t panel; /* its columns */
    /* Any shape and strides. scratch: CPU_SCRATCH bytes. */
    void (*tile)(const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch);
    /* M <= GEMM_FEW_ROWS; packed panels or b_col = 1. */
    void (*few_rows)(const struct flow_gemm *g, int64_t n0, int64_t n1);
    /* a_col = 1; columns of B contiguous (b_row = 1, or packed with N <= GEMM_DOT_COLUMNS). Any n0. */
    void (*dots)(const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1);
    void (*pack)(int64_t k, int64_t n, const void *b, int32_t b_dtype, int64_t b_row, int64_t b_col, void *packed);
};

#endif
