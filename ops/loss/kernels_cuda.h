/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of this family's kernels for CUDA. */
#ifndef OPS_LOSS_KERNELS_CUDA_H
#define OPS_LOSS_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_loss_plan(struct flow_infer *infer);
int cuda_loss_forward(const struct flow_call *call);
int cuda_loss_backward(const struct flow_call *call);
int cuda_cross_entropy_plan(struct flow_infer *infer);
int cuda_cross_entropy_forward(const struct flow_call *call);
int cuda_cross_entropy_backward(const struct flow_call *call);
int cuda_accuracy_forward(const struct flow_call *call);
int cuda_cosine_similarity_forward(const struct flow_call *call);
int cuda_cosine_similarity_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_LOSS(name)              \
    {.op = name,                     \
     .device = FLOW_DEVICE_CUDA,     \
     .types = FLOW_TYPES_REAL,       \
     .forward = cuda_loss_forward,   \
     .backward = cuda_loss_backward, \
     .plan = cuda_loss_plan},

#define CUDA_KERNELS_LOSS                                                                                           \
    CUDA_LOSS("binary_cross_entropy")                                                                               \
    CUDA_LOSS("mse")                                                                                                \
    CUDA_LOSS("l1")                                                                                                 \
    CUDA_LOSS("huber")                                                                                              \
    CUDA_LOSS("kl_div"){.op = "cross_entropy",                                                                      \
                        .device = FLOW_DEVICE_CUDA,                                                                 \
                        .types = FLOW_TYPES_REAL,                                                                   \
                        .forward = cuda_cross_entropy_forward,                                                      \
                        .backward = cuda_cross_entropy_backward,                                                    \
                        .plan = cuda_cross_entropy_plan},                                                           \
        {.op = "accuracy", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_accuracy_forward}, \
        {.op = "cosine_similarity",                                                                                 \
         .device = FLOW_DEVICE_CUDA,                                                                                \
         .types = FLOW_TYPES_REAL,                                                                                  \
         .forward = cuda_cosine_similarity_forward,                                                                 \
         .backward = cuda_cosine_similarity_backward},

#endif
