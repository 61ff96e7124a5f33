/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime's own steps on the device: as exec_copy, exec_widen, ... of runtime/exec (convert.c, gradient.c), queued on call->stream. */
#ifndef FLOW_DEVICE_CUDA_STEPS_H
#define FLOW_DEVICE_CUDA_STEPS_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_step_copy(const struct flow_call *call);   /* out[0] = in[0], of any strides */
int cuda_step_widen(const struct flow_call *call);  /* out[0] = in[0] as another floating type, of any strides */
int cuda_step_narrow(const struct flow_call *call); /* the same */
int cuda_step_gather(const struct flow_call *call); /* out[0] = all inputs side by side, each contiguous */
int cuda_step_fill(const struct flow_call *call);   /* out[0] = *(const double *)attrs; contiguous */
int cuda_step_pass(const struct flow_call *call);   /* out[0] = in[0], which it may lie upon */
int cuda_step_add(const struct flow_call *call);    /* out[0] += in[0]; in[0] contiguous, out[0] of any strides, upon itself too */
/* to += from as in cuda_step_add; `from`: contiguous, of to's shape. */
int cuda_tensor_add(const struct flow_call *call, const struct flow_tensor *to, const void *from);

#ifdef __cplusplus
}
#endif

#endif
