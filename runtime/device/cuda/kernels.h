/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of all operators for CUDA: generated from the kernels_cuda.h of every folder (tools/cmake/cuda.cmake). */
#ifndef FLOW_DEVICE_CUDA_KERNELS_H
#define FLOW_DEVICE_CUDA_KERNELS_H

#include <flow/plugin.h>

extern const struct flow_kernel cuda_kernels[];
extern const uint32_t cuda_kernel_count;
extern const struct flow_optimizer_kernel cuda_optimizer_kernels[];
extern const uint32_t cuda_optimizer_kernel_count;

#endif
