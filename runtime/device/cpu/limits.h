/* SPDX-License-Identifier: Apache-2.0 */
/* What limits.c (how much, how often, on which threads) knows of limits_simd.c (the loops, one copy an instruction set). */
#ifndef FLOW_DEVICE_CPU_LIMITS_H
#define FLOW_DEVICE_CPU_LIMITS_H

#include <stdint.h>

struct limits_kernels {
    double (*multiply_add)(int64_t rounds, int64_t *operations);    /* f32; what it gives back only has to be kept */
    double (*read)(const void *area, int64_t bytes, int64_t times); /* bytes: a multiple of 1024; 64-byte aligned */
};

#endif
