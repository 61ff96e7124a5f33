/* SPDX-License-Identifier: Apache-2.0 */
/* Small kernels for the tests of the emulation. */
#ifndef TESTS_CUDA_KERNELS_H
#define TESTS_CUDA_KERNELS_H

#include "cuda_emulation/api.h"
#include "cuda_emulation/hooks.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A kernel with one fault, or with none; launched with `out` of 4096 floats. */
struct kernel_case {
    const char *name;
    int (*launch)(float *out, cudaStream_t stream);
    const char *told;   /* in the fault's text; NULL: it is right */
    bool check;         /* found only when races are looked for */
    float first, other; /* out[0], out[1] of those that are right */
};
extern const struct kernel_case kernel_cases[];
extern const int kernel_case_count;

/* out[0] = sum of what shared memory holds that nobody has written. */
int kernel_unwritten(float *out, cudaStream_t stream);

/* y[i] = x[i] + add; y may be x. */
int kernel_add(const float *x, float *y, int count, float add, cudaStream_t stream);
/* y[i] = 10 y[i] + x[i]: the order of such steps shows. */
int kernel_append(const float *x, float *y, int count, cudaStream_t stream);
/* order[i] = place in time of block i. */
int kernel_order(int *order, int *counter, int blocks, cudaStream_t stream);
/* A launch with this configuration. */
int kernel_shaped(unsigned grid, unsigned block, unsigned shared, cudaStream_t stream);
void kernel_allow_shared(int bytes); /* of that kernel */

#ifdef __cplusplus
}
#endif

#endif
