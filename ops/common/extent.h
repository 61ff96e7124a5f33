/* SPDX-License-Identifier: Apache-2.0 */
/* Small matters of operators that sum, slide or normalise: declaring an output, the type that is computed in, pieces for threads. */
#ifndef OPS_COMMON_EXTENT_H
#define OPS_COMMON_EXTENT_H

#include "common/shape.h"

/* Output `o` gets this shape, contiguous; fails where its bytes do not fit. */
static inline int extent_output(struct flow_infer *infer, uint32_t o, int32_t dtype, int32_t rank, const int64_t *shape) {
    struct flow_tensor *t = &infer->out[o];
    t->dtype = dtype;
    t->rank = rank;
    for (int32_t i = 0; i < rank; i++) t->shape[i] = shape[i];
    int status = shape_sound(infer, t);
    if (status >= 0) shape_dense(t);
    return status;
}

/* Half precision is widened to f32 around a kernel. */
static inline int32_t extent_wide(int32_t dtype) { return dtype == FLOW_F16 || dtype == FLOW_BF16 ? FLOW_F32 : dtype; }

/* Rows a piece for parallel_for, so that a piece is `work` elements or more. */
static inline int64_t extent_grain(int64_t row, int64_t work) {
    int64_t grain = work / (row > 0 ? row : 1);
    return grain > 0 ? grain : 1;
}

#endif
