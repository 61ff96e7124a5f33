/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of this family's kernels for CUDA. */
#ifndef OPS_NORM_KERNELS_CUDA_H
#define OPS_NORM_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_layer_norm_plan(struct flow_infer *infer);
int cuda_layer_norm_forward(const struct flow_call *call);
int cuda_layer_norm_backward(const struct flow_call *call);
int cuda_rms_norm_plan(struct flow_infer *infer);
int cuda_rms_norm_forward(const struct flow_call *call);
int cuda_rms_norm_backward(const struct flow_call *call);
int cuda_scale_norm_plan(struct flow_infer *infer);
int cuda_scale_norm_forward(const struct flow_call *call);
int cuda_scale_norm_backward(const struct flow_call *call);
int cuda_l2_normalize_forward(const struct flow_call *call);
int cuda_l2_normalize_backward(const struct flow_call *call);
int cuda_group_norm_plan(struct flow_infer *infer);
int cuda_group_norm_forward(const struct flow_call *call);
int cuda_group_norm_backward(const struct flow_call *call);
int cuda_batch_norm_plan(struct flow_infer *infer);
int cuda_batch_norm_forward(const struct flow_call *call);
int cuda_batch_norm_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_KERNELS_NORM                         \
    {.op = "layer_norm",                          \
     .device = FLOW_DEVICE_CUDA,                  \
     .types = FLOW_TYPES_REAL,                    \
     .forward = cuda_layer_norm_forward,          \
     .backward = cuda_layer_norm_backward,        \
     .plan = cuda_layer_norm_plan},               \
        {.op = "rms_norm",                        \
         .device = FLOW_DEVICE_CUDA,              \
         .types = FLOW_TYPES_REAL,                \
         .forward = cuda_rms_norm_forward,        \
         .backward = cuda_rms_norm_backward,      \
         .plan = cuda_rms_norm_plan},             \
        {.op = "scale_norm",                      \
         .device = FLOW_DEVICE_CUDA,              \
         .types = FLOW_TYPES_REAL,                \
         .forward = cuda_scale_norm_forward,      \
         .backward = cuda_scale_norm_backward,    \
         .plan = cuda_scale_norm_plan},           \
        {.op = "l2_normalize",                    \
         .device = FLOW_DEVICE_CUDA,              \
         .types = FLOW_TYPES_REAL,                \
         .forward = cuda_l2_normalize_forward,    \
         .backward = cuda_l2_normalize_backward}, \
        {.op = "group_norm",                      \
         .device = FLOW_DEVICE_CUDA,              \
         .types = FLOW_TYPES_REAL,                \
         .forward = cuda_group_norm_forward,      \
         .backward = cuda_group_norm_backward,    \
         .plan = cuda_group_norm_plan},           \
        {.op = "instance_norm",                   \
         .device = FLOW_DEVICE_CUDA,              \
         .types = FLOW_TYPES_REAL,                \
         .forward = cuda_group_norm_forward,      \
         .backward = cuda_group_norm_backward,    \
         .plan = cuda_group_norm_plan},           \
        {.op = "batch_norm",                      \
         .device = FLOW_DEVICE_CUDA,              \
         .types = FLOW_TYPES_REAL,                \
         .forward = cuda_batch_norm_forward,      \
         .backward = cuda_batch_norm_backward,    \
         .plan = cuda_batch_norm_plan},

#endif
