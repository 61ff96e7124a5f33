/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of products of tensors of any strides on CUDA: what the host's product does not take, or only in many calls. */
#ifndef OPS_PRODUCT_STRIDED_CUDA_H
#define OPS_PRODUCT_STRIDED_CUDA_H

#include "common/cuda.h"

/* An axis that some of a, b, c have; steps in elements. */
struct strided_axis {
    int64_t extent, a, b, c;
    bool in_a, in_b, in_c;
};

static const int STRIDED_AXES = 64;                      /* at most */
static const int64_t STRIDED_SCRATCH = int64_t{1} << 20; /* bytes that a sum may use */

/* c (+)= sum over the axes that c lacks of a b, of f32 or f64; b NULL: 1. What is summed is not empty. */
int cuda_strided_sum(const struct flow_call *call, int32_t dtype, const struct strided_axis *axes, int32_t count, const void *a,
                     const void *b, void *c, bool adds, void *scratch);

#endif
