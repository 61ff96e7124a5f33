/* SPDX-License-Identifier: Apache-2.0 */
/* cuBLASLt, found at run time: the functions of it that products need. */
#ifndef FLOW_DEVICE_CUDA_BLAS_LT_H
#define FLOW_DEVICE_CUDA_BLAS_LT_H

#ifdef FLOW_CUDA_EMULATION
#include "cuda_emulation/cublas.h"
#else
#include <cublasLt.h>
#endif

#include <stdbool.h>

#define BLAS_LT_MAP(XX)                       \
    XX(cublasLtGetVersion)                    \
    XX(cublasLtCreate)                        \
    XX(cublasLtDestroy)                       \
    XX(cublasLtMatmulDescInit_internal)       \
    XX(cublasLtMatmulDescSetAttribute)        \
    XX(cublasLtMatrixLayoutInit_internal)     \
    XX(cublasLtMatrixLayoutSetAttribute)      \
    XX(cublasLtMatmulPreferenceInit_internal) \
    XX(cublasLtMatmulPreferenceSetAttribute)  \
    XX(cublasLtMatmulAlgoGetHeuristic)        \
    XX(cublasLtMatmul)

struct blas_lt {
    void *library;
    cublasLtHandle_t handle;
#define BLAS_LT_ENTRY(name) __typeof__(&name) name;
    BLAS_LT_MAP(BLAS_LT_ENTRY)
#undef BLAS_LT_ENTRY
};

/* False: the machine has none, or one that lacks something; *lt is then all zero. */
bool blas_lt_open(struct blas_lt *lt);
void blas_lt_close(struct blas_lt *lt);

#endif
