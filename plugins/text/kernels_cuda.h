/* SPDX-License-Identifier: Apache-2.0 */
/* The text operators on CUDA. Those on tokens and words work on bytes, one after the other: they stay on the CPU. */
#ifndef TEXT_KERNELS_CUDA_H
#define TEXT_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_sample_plan(struct flow_infer *infer);
int cuda_sample_forward(const struct flow_call *call);
int cuda_last_forward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_KERNELS_TEXT                                                                                                             \
    {.op = "sample", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_sample_forward, .plan = cuda_sample_plan}, \
        {.op = "last", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_last_forward},

#endif
