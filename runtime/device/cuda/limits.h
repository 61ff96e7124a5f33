/* SPDX-License-Identifier: Apache-2.0 */
/* What the GPU gives at this moment: fused multiply-adds of f32 without tensor cores, and reads of areas that fit the second-level cache
 * and that do not. Waits for the device. */
#ifndef FLOW_DEVICE_CUDA_LIMITS_H
#define FLOW_DEVICE_CUDA_LIMITS_H

#include <stdint.h>

enum { CUDA_LEVELS = 4, CUDA_LIMITS_AREA = 512 << 20 };
struct cuda_limits {
    int32_t processors;
    double flops;                                 /* a second; a multiply-add counts two */
    double reach[CUDA_LEVELS], rate[CUDA_LEVELS]; /* bytes; bytes a second */
};

#ifdef __cplusplus
extern "C" {
#endif
/* `area`: CUDA_LIMITS_AREA bytes of the device. 0, or -1. */
int cuda_limits_measure(void *area, struct cuda_limits *out);
#ifdef __cplusplus
}
#endif

#endif
