/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products by kernels of our own, for what cuBLAS does not take. */
#ifndef FLOW_DEVICE_CUDA_GEMM_H
#define FLOW_DEVICE_CUDA_GEMM_H

#include "device/cuda/api.h"

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The whole of flow_gemm but packed_b: f32 or f64, m, n, batch at least 1, all members set. 0 or a cudaError_t. */
int cuda_gemm_own(const struct flow_gemm *g, cudaStream_t stream, void *workspace, int64_t workspace_bytes);

/* What another's product leaves to do: C = act(C + bias) + residual. */
int cuda_gemm_finish(const struct flow_gemm *g, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
