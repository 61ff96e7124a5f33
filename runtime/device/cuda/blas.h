/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products on a stream: by cuBLASLt where the machine has it and it takes the strides, else by a kernel of our own (gemm.cu). */
#ifndef FLOW_DEVICE_CUDA_BLAS_H
#define FLOW_DEVICE_CUDA_BLAS_H

#include "device/cuda/api.h"

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cuBLASLt is opened at the first product, not here. `from` outlives it. Thread-safe. */
struct allocator;
struct cuda_blas;
int cuda_blas_new(const struct allocator *from, struct cuda_blas **out);
void cuda_blas_free(struct cuda_blas *blas);        /* NULL is legal; no product is under way */
const char *cuda_blas_name(struct cuda_blas *blas); /* what multiplies: "cuBLASLt 13.1.0" or "own kernels" */

/* Everything of flow_gemm but packed_b, queued on the stream: 0, FLOW_ERROR_UNSUPPORTED (packed_b, another type), or
 * FLOW_ERROR_MEMORY, FLOW_ERROR_INTERNAL with CUDA's error in *cuda_error. The workspace is device memory that nothing else uses until
 * the product is done; it may be NULL, with 0 bytes, at the cost of speed. The same product gives the same bits every time. */
int cuda_gemm(struct cuda_blas *blas, const struct flow_gemm *g, cudaStream_t stream, void *workspace, int64_t workspace_bytes,
              int *cuda_error);

#ifdef __cplusplus
}
#endif

#endif
