/* SPDX-License-Identifier: Apache-2.0 */
/* The control family's kernels for CUDA. */
#ifndef OPS_CONTROL_KERNELS_CUDA_H
#define OPS_CONTROL_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_same_forward(const struct flow_call *call);
int cuda_scale_gradient_backward(const struct flow_call *call);
int cuda_inject_gradient_backward(const struct flow_call *call);
int cuda_parameter_forward(const struct flow_call *call);
int cuda_parameter_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_CONTROL_TYPES (FLOW_TYPES_REAL | FLOW_TYPES_INTEGER | FLOW_TYPE(BOOL))

/* clang-format off */
#define CUDA_KERNELS_CONTROL \
    {.op = "stop_gradient", .device = FLOW_DEVICE_CUDA, .types = CUDA_CONTROL_TYPES, .forward = cuda_same_forward}, \
    {.op = "scale_gradient", .device = FLOW_DEVICE_CUDA, .types = CUDA_CONTROL_TYPES, .forward = cuda_same_forward, \
     .backward = cuda_scale_gradient_backward}, \
    {.op = "inject_gradient", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_same_forward, \
     .backward = cuda_inject_gradient_backward}, \
    {.op = "parameter", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_parameter_forward, \
     .backward = cuda_parameter_backward},
/* clang-format on */

#endif
