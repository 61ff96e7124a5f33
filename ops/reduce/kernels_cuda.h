/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of this family's kernels for CUDA. */
#ifndef OPS_REDUCE_KERNELS_CUDA_H
#define OPS_REDUCE_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_softmax_forward(const struct flow_call *call);
int cuda_softmax_backward(const struct flow_call *call);
/* All operators with `axes` and `keep`. */
int cuda_reduce_plan(struct flow_infer *infer);
int cuda_reduce_forward(const struct flow_call *call);
int cuda_reduce_backward(const struct flow_call *call);
int cuda_reduce_whole(const struct flow_call *call); /* of integers and truth values; a cudaError_t */

#ifdef __cplusplus
}
#endif

#define CUDA_SOFTMAX(name) \
    {.op = name, .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_softmax_forward, .backward = cuda_softmax_backward},
#define CUDA_REDUCE(name, kinds, back) \
    {.op = name, .device = FLOW_DEVICE_CUDA, .types = kinds, .forward = cuda_reduce_forward, .backward = back, .plan = cuda_reduce_plan},
#define CUDA_REDUCE_NUMBERS (FLOW_TYPES_REAL | FLOW_TYPE(I32) | FLOW_TYPE(I64))

#define CUDA_KERNELS_REDUCE                                         \
    CUDA_SOFTMAX("softmax")                                         \
    CUDA_SOFTMAX("log_softmax")                                     \
    CUDA_REDUCE("sum", CUDA_REDUCE_NUMBERS, cuda_reduce_backward)   \
    CUDA_REDUCE("mean", FLOW_TYPES_REAL, cuda_reduce_backward)      \
    CUDA_REDUCE("amax", CUDA_REDUCE_NUMBERS, cuda_reduce_backward)  \
    CUDA_REDUCE("amin", CUDA_REDUCE_NUMBERS, cuda_reduce_backward)  \
    CUDA_REDUCE("prod", CUDA_REDUCE_NUMBERS, cuda_reduce_backward)  \
    CUDA_REDUCE("logsumexp", FLOW_TYPES_REAL, cuda_reduce_backward) \
    CUDA_REDUCE("norm", FLOW_TYPES_REAL, cuda_reduce_backward)      \
    CUDA_REDUCE("var", FLOW_TYPES_REAL, cuda_reduce_backward)       \
    CUDA_REDUCE("any", FLOW_TYPE(BOOL), NULL)                       \
    CUDA_REDUCE("all", FLOW_TYPE(BOOL), NULL)

#endif
