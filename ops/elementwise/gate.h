/* SPDX-License-Identifier: Apache-2.0 */
/* prelu and glu: what kernels of every device know of them. */
#ifndef OPS_ELEMENTWISE_GATE_H
#define OPS_ELEMENTWISE_GATE_H

#include <flow/plugin.h>

struct prelu_attrs {
    int64_t axis;
    int64_t count;
};

/* The slopes as a tensor that broadcasts with x. */
static inline struct flow_tensor prelu_weight(const struct flow_tensor *x, int32_t dtype, int64_t count, int32_t axis) {
    struct flow_tensor w = *x;
    w.data = NULL, w.dtype = dtype, w.rank = count == 1 ? 0 : x->rank - axis;
    for (int32_t i = 1; i < w.rank; i++) w.shape[i] = 1, w.strides[i] = 1;
    if (w.rank > 0) w.shape[0] = count, w.strides[0] = 1;
    return w;
}

struct glu_attrs {
    int64_t axis;
    int32_t activation; /* GLU_* */
};
enum { GLU_SIGMOID, GLU_SILU, GLU_GELU, GLU_RELU, GLU_TANH, GLU_NONE };

#endif
