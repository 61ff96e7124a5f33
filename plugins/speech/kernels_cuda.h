/* SPDX-License-Identifier: Apache-2.0 */
/* The speech operators on CUDA. vad_segments stays on the CPU: its result is a short list. */
#ifndef SPEECH_KERNELS_CUDA_H
#define SPEECH_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_fsmn_plan(struct flow_infer *infer);
int cuda_fsmn_forward(const struct flow_call *call);
int cuda_fsmn_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_KERNELS_SPEECH          \
    {.op = "fsmn",                   \
     .device = FLOW_DEVICE_CUDA,     \
     .types = FLOW_TYPES_REAL,       \
     .forward = cuda_fsmn_forward,   \
     .backward = cuda_fsmn_backward, \
     .plan = cuda_fsmn_plan},

#endif
