/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA kernels of convolutions, pools and resizing. */
#ifndef OPS_CONV_KERNELS_CUDA_H
#define OPS_CONV_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

bool cuda_conv_supports(const struct flow_infer *infer);
int cuda_conv_plan(struct flow_infer *infer);
int cuda_conv_forward(const struct flow_call *call);
int cuda_conv_backward(const struct flow_call *call);
bool cuda_conv_transpose_supports(const struct flow_infer *infer);
int cuda_conv_transpose_plan(struct flow_infer *infer);
int cuda_conv_transpose_forward(const struct flow_call *call);
int cuda_conv_transpose_backward(const struct flow_call *call);
bool cuda_pool_supports(const struct flow_infer *infer);
int cuda_pool_plan(struct flow_infer *infer);
int cuda_pool_forward(const struct flow_call *call);
int cuda_pool_backward(const struct flow_call *call);
bool cuda_global_pool_supports(const struct flow_infer *infer);
int cuda_global_pool_forward(const struct flow_call *call);
int cuda_global_pool_backward(const struct flow_call *call);
bool cuda_upsample_supports(const struct flow_infer *infer);
int cuda_upsample_forward(const struct flow_call *call);
int cuda_upsample_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_CONV_ROW(name, family, planned) \
    {.op = name,                             \
     .device = FLOW_DEVICE_CUDA,             \
     .types = FLOW_TYPES_REAL,               \
     .supports = family##_supports,          \
     .forward = family##_forward,            \
     .backward = family##_backward,          \
     .plan = planned},
#define CUDA_KERNELS_CONV                                                            \
    CUDA_CONV_ROW("conv1d", cuda_conv, cuda_conv_plan)                               \
    CUDA_CONV_ROW("conv2d", cuda_conv, cuda_conv_plan)                               \
    CUDA_CONV_ROW("conv_transpose1d", cuda_conv_transpose, cuda_conv_transpose_plan) \
    CUDA_CONV_ROW("conv_transpose2d", cuda_conv_transpose, cuda_conv_transpose_plan) \
    CUDA_CONV_ROW("max_pool1d", cuda_pool, cuda_pool_plan)                           \
    CUDA_CONV_ROW("max_pool2d", cuda_pool, cuda_pool_plan)                           \
    CUDA_CONV_ROW("avg_pool1d", cuda_pool, cuda_pool_plan)                           \
    CUDA_CONV_ROW("avg_pool2d", cuda_pool, cuda_pool_plan)                           \
    CUDA_CONV_ROW("global_avg_pool", cuda_global_pool, NULL)                         \
    CUDA_CONV_ROW("upsample", cuda_upsample, NULL)

#endif
