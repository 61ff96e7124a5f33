/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA kernels of products. */
#ifndef OPS_PRODUCT_KERNELS_CUDA_H
#define OPS_PRODUCT_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_linear_plan(struct flow_infer *infer);
int cuda_linear_forward(const struct flow_call *call);
int cuda_linear_backward(const struct flow_call *call);
int cuda_matmul_plan(struct flow_infer *infer);
int cuda_matmul_forward(const struct flow_call *call);
int cuda_matmul_backward(const struct flow_call *call);
int cuda_einsum_plan(struct flow_infer *infer);
int cuda_einsum_forward(const struct flow_call *call);
int cuda_einsum_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_PRODUCT_ROW(name, family, what) \
    {.op = name,                             \
     .device = FLOW_DEVICE_CUDA,             \
     .types = FLOW_TYPES_REAL,               \
     .forward = family##_forward,            \
     .backward = family##_backward,          \
     .plan = family##_plan,                  \
     .epilogues = what},
#define CUDA_KERNELS_PRODUCT                                                                   \
    CUDA_PRODUCT_ROW("linear", cuda_linear, FLOW_EPILOGUE_ACTIVATION | FLOW_EPILOGUE_RESIDUAL) \
    CUDA_PRODUCT_ROW("matmul", cuda_matmul, 0)                                                 \
    CUDA_PRODUCT_ROW("einsum", cuda_einsum, 0)

#endif
