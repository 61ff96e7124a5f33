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

bool cuda_fbank_supports(const struct flow_infer *infer);
int cuda_fbank_plan(struct flow_infer *infer);
int cuda_fbank_forward(const struct flow_call *call);
int cuda_fbank_backward(const struct flow_call *call);

bool cuda_stft_supports(const struct flow_infer *infer);
int cuda_stft_plan(struct flow_infer *infer);
int cuda_stft_forward(const struct flow_call *call);
int cuda_stft_backward(const struct flow_call *call);

bool cuda_istft_supports(const struct flow_infer *infer);
int cuda_istft_plan(struct flow_infer *infer);
int cuda_istft_forward(const struct flow_call *call);
int cuda_istft_backward(const struct flow_call *call);

int cuda_frame_forward(const struct flow_call *call);
int cuda_frame_backward(const struct flow_call *call);

int cuda_frame_stack_forward(const struct flow_call *call);
int cuda_frame_stack_backward(const struct flow_call *call);

int cuda_overlap_add_forward(const struct flow_call *call);
int cuda_overlap_add_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_KERNELS_SPEECH                      \
    {.op = "fsmn",                               \
     .device = FLOW_DEVICE_CUDA,                 \
     .types = FLOW_TYPES_REAL,                   \
     .forward = cuda_fsmn_forward,               \
     .backward = cuda_fsmn_backward,             \
     .plan = cuda_fsmn_plan},                    \
        {.op = "fbank",                          \
         .device = FLOW_DEVICE_CUDA,             \
         .types = FLOW_TYPES_REAL,               \
         .supports = cuda_fbank_supports,        \
         .forward = cuda_fbank_forward,          \
         .backward = cuda_fbank_backward,        \
         .plan = cuda_fbank_plan},               \
        {.op = "stft",                           \
         .device = FLOW_DEVICE_CUDA,             \
         .types = FLOW_TYPES_REAL,               \
         .supports = cuda_stft_supports,         \
         .forward = cuda_stft_forward,           \
         .backward = cuda_stft_backward,         \
         .plan = cuda_stft_plan},                \
        {.op = "istft",                          \
         .device = FLOW_DEVICE_CUDA,             \
         .types = FLOW_TYPES_REAL,               \
         .supports = cuda_istft_supports,        \
         .forward = cuda_istft_forward,          \
         .backward = cuda_istft_backward,        \
         .plan = cuda_istft_plan},               \
        {.op = "frame",                          \
         .device = FLOW_DEVICE_CUDA,             \
         .types = FLOW_TYPES_ANY,                \
         .forward = cuda_frame_forward,          \
         .backward = cuda_frame_backward},       \
        {.op = "frame_stack",                    \
         .device = FLOW_DEVICE_CUDA,             \
         .types = FLOW_TYPES_ANY,                \
         .forward = cuda_frame_stack_forward,    \
         .backward = cuda_frame_stack_backward}, \
        {.op = "overlap_add",                    \
         .device = FLOW_DEVICE_CUDA,             \
         .types = FLOW_TYPES_REAL,               \
         .forward = cuda_overlap_add_forward,    \
         .backward = cuda_overlap_add_backward},

#endif
