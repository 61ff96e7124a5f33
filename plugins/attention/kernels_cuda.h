/* SPDX-License-Identifier: Apache-2.0 */
/* attention on CUDA. */
#ifndef PLUGINS_ATTENTION_KERNELS_CUDA_H
#define PLUGINS_ATTENTION_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_attention_plan(struct flow_infer *infer);
bool cuda_attention_supports(const struct flow_infer *infer);
int cuda_attention_forward(const struct flow_call *call);
int cuda_attention_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_KERNELS_ATTENTION            \
    {.op = "attention",                   \
     .device = FLOW_DEVICE_CUDA,          \
     .types = FLOW_TYPES_REAL,            \
     .supports = cuda_attention_supports, \
     .forward = cuda_attention_forward,   \
     .backward = cuda_attention_backward, \
     .epilogues = FLOW_EPILOGUE_RESIDUAL, \
     .plan = cuda_attention_plan},

#endif
