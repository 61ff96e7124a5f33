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

#ifdef __cplusplus
}
#endif

#define CUDA_KERNELS_REDUCE               \
    {.op = "softmax",                     \
     .device = FLOW_DEVICE_CUDA,          \
     .types = FLOW_TYPES_REAL,            \
     .forward = cuda_softmax_forward,     \
     .backward = cuda_softmax_backward},  \
        {.op = "log_softmax",             \
         .device = FLOW_DEVICE_CUDA,      \
         .types = FLOW_TYPES_REAL,        \
         .forward = cuda_softmax_forward, \
         .backward = cuda_softmax_backward},

#endif
