/* SPDX-License-Identifier: Apache-2.0 */
/* The shape family's kernels for CUDA; its views need none. */
#ifndef OPS_SHAPE_KERNELS_CUDA_H
#define OPS_SHAPE_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_concat_forward(const struct flow_call *call);
int cuda_concat_backward(const struct flow_call *call);
int cuda_pad_forward(const struct flow_call *call);
int cuda_pad_backward(const struct flow_call *call);
int cuda_roll_forward(const struct flow_call *call);
int cuda_roll_backward(const struct flow_call *call);
int cuda_shift_forward(const struct flow_call *call);
int cuda_shift_backward(const struct flow_call *call);
int cuda_repeat_forward(const struct flow_call *call);
int cuda_repeat_backward(const struct flow_call *call);
int cuda_repeat_plan(struct flow_infer *infer);
int cuda_sinusoid_forward(const struct flow_call *call);
int cuda_rope_forward(const struct flow_call *call);
int cuda_rope_backward(const struct flow_call *call);
int cuda_position_plan(struct flow_infer *infer);
int cuda_shape_of_forward(const struct flow_call *call);
int cuda_arange_forward(const struct flow_call *call);
int cuda_constant_forward(const struct flow_call *call);
bool cuda_constant_supports(const struct flow_infer *infer);
int cuda_random_uniform_forward(const struct flow_call *call);
int cuda_random_normal_forward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

/* clang-format off */
#define CUDA_SHAPE_MOVE(name, function) \
    {.op = name, .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = function##_forward, .backward = function##_backward},

#define CUDA_KERNELS_SHAPE \
    CUDA_SHAPE_MOVE("concat", cuda_concat) CUDA_SHAPE_MOVE("pad", cuda_pad) CUDA_SHAPE_MOVE("roll", cuda_roll) \
    CUDA_SHAPE_MOVE("shift", cuda_shift) \
    {.op = "repeat_interleave", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_repeat_forward, \
     .backward = cuda_repeat_backward, .plan = cuda_repeat_plan}, \
    {.op = "sinusoid", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_sinusoid_forward, \
     .plan = cuda_position_plan}, \
    {.op = "rope", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_rope_forward, .backward = cuda_rope_backward, \
     .plan = cuda_position_plan}, \
    {.op = "shape_of", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_shape_of_forward}, \
    {.op = "arange", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_arange_forward}, \
    {.op = "constant", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .supports = cuda_constant_supports, \
     .forward = cuda_constant_forward}, \
    {.op = "random_uniform", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_random_uniform_forward}, \
    {.op = "random_normal", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_random_normal_forward},
/* clang-format on */

#endif
