/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/blas.h"
#include "device/cuda/gemm.h"

#include "base/memory.h"

#include <string.h>

struct cuda_blas {
    const struct allocator *from;
};

int cuda_blas_new(const struct allocator *from, struct cuda_blas **out) {
    struct cuda_blas *blas = from->resize(from->context, NULL, 0, sizeof *blas);
    *out = blas;
    if (!blas) return FLOW_ERROR_MEMORY;
    *blas = (struct cuda_blas){.from = from};
    return FLOW_OK;
}

void cuda_blas_free(struct cuda_blas *blas) {
    if (blas) blas->from->resize(blas->from->context, blas, sizeof *blas, 0);
}

const char *cuda_blas_name(struct cuda_blas *blas) { return (void)blas, "own kernels"; }

/* What a plugin of an older header left out is zero; what does not matter has one form. */
static struct flow_gemm as_known(const struct flow_gemm *product) {
    struct flow_gemm g = {0};
    const size_t least = offsetof(struct flow_gemm, residual), size = product->size < least ? least : product->size;
    memcpy(&g, product, size < sizeof g ? size : sizeof g);
    g.size = sizeof g;
    if (g.batch <= 1) g.batch = 1, g.a_batch = g.b_batch = g.c_batch = 0;
    return g;
}

int cuda_gemm(struct cuda_blas *blas, const struct flow_gemm *product, cudaStream_t stream, void *workspace, int64_t workspace_bytes,
              int *cuda_error) {
    const struct flow_gemm g = as_known(product);
    (void)blas;
    *cuda_error = 0;
    if (g.packed_b || (g.dtype != FLOW_F32 && g.dtype != FLOW_F64)) return FLOW_ERROR_UNSUPPORTED;
    if (g.m <= 0 || g.n <= 0 || g.batch <= 0) return FLOW_OK;
    *cuda_error = cuda_gemm_own(&g, stream, workspace, workspace_bytes);
    if (*cuda_error == 0) return FLOW_OK;
    return *cuda_error == cudaErrorMemoryAllocation ? FLOW_ERROR_MEMORY : FLOW_ERROR_INTERNAL;
}
