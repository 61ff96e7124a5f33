/* SPDX-License-Identifier: Apache-2.0 */
/* What backward kernels of operators that move values share: gradients filled with zeros, moved, added. f32 and f64. */
#ifndef OPS_COMMON_ADJOINT_H
#define OPS_COMMON_ADJOINT_H

#include "common/shape.h"
#include "common/simd.h"

struct adjoint_table {
    /* to[i] += from[i] */
    void (*add_f32)(const float *from, float *to, int64_t n);
    void (*add_f64)(const double *from, double *to, int64_t n);
};
ISA_DECLARE(struct adjoint_table, adjoint_table);

/* A gradient of zero: nothing where it is added. rank -1: nothing. */
void adjoint_zero(const struct flow_call *call, const struct flow_tensor *to, bool add);

/* shape_copy of elements of `dtype` (f32, f64), or the same added. No two elements of `to` may share a place. */
void adjoint_move(const struct flow_call *call, int32_t rank, const int64_t *shape, int32_t dtype, const void *from,
                  const int64_t *from_strides, void *to, const int64_t *to_strides, bool add);

/* One whole tensor onto another of its shape: no more to do where they are the same memory and nothing is added. */
void adjoint_pass(const struct flow_call *call, const struct flow_tensor *from, const struct flow_tensor *to, bool add);

/* to[i] += from[i], n adjacent ones of `bytes` (4: f32, 8: f64). */
static inline void adjoint_add(const struct adjoint_table *table, int64_t bytes, const void *from, void *to, int64_t n) {
    if (bytes == 8) table->add_f64(from, to, n);
    else table->add_f32(from, to, n);
}

#endif
