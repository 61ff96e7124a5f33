/* SPDX-License-Identifier: Apache-2.0 */
/* rnn, lstm and gru on CUDA. */
#ifndef PLUGINS_RECURRENT_KERNELS_CUDA_H
#define PLUGINS_RECURRENT_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_recurrent_plan(struct flow_infer *infer);
int cuda_recurrent_forward(const struct flow_call *call);
int cuda_recurrent_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_RECURRENT_ROW(name)          \
    {.op = name,                          \
     .device = FLOW_DEVICE_CUDA,          \
     .types = FLOW_TYPES_REAL,            \
     .forward = cuda_recurrent_forward,   \
     .backward = cuda_recurrent_backward, \
     .plan = cuda_recurrent_plan},
#define CUDA_KERNELS_RECURRENT CUDA_RECURRENT_ROW("rnn") CUDA_RECURRENT_ROW("lstm") CUDA_RECURRENT_ROW("gru")

#endif
