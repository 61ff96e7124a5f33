/* SPDX-License-Identifier: Apache-2.0 */
/* A flow_gemm written down in C and in C++ alike. */
#ifndef OPS_COMMON_GEMM_H
#define OPS_COMMON_GEMM_H

#include <flow/plugin.h>

#include <string.h>

/* C[m, n] = A[m, k] B[k, n]; the operands are still to be named. */
static inline struct flow_gemm gemm_of(int32_t dtype, int64_t m, int64_t n, int64_t k) {
    struct flow_gemm gemm;
    memset(&gemm, 0, sizeof gemm);
    gemm.size = (uint32_t)sizeof gemm;
    gemm.dtype = dtype;
    gemm.m = m, gemm.n = n, gemm.k = k;
    return gemm;
}
static inline void gemm_a(struct flow_gemm *gemm, const void *data, int64_t row, int64_t col) {
    gemm->a = data, gemm->a_row = row, gemm->a_col = col;
}
static inline void gemm_b(struct flow_gemm *gemm, const void *data, int64_t row, int64_t col) {
    gemm->b = data, gemm->b_row = row, gemm->b_col = col;
}
/* `adds`: to what C holds. */
static inline void gemm_c(struct flow_gemm *gemm, void *data, int64_t row, bool adds) {
    gemm->c = data, gemm->c_row = row, gemm->beta = adds ? 1 : 0;
}
static inline void gemm_batch(struct flow_gemm *gemm, int64_t count, int64_t a, int64_t b, int64_t c) {
    gemm->batch = count, gemm->a_batch = a, gemm->b_batch = b, gemm->c_batch = c;
}

#endif
