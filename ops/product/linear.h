/* SPDX-License-Identifier: Apache-2.0 */
/* The products of linear, on every device. */
#ifndef OPS_PRODUCT_LINEAR_H
#define OPS_PRODUCT_LINEAR_H

#include "common/gemm.h"
#include "common/shape.h"

struct linear_attrs {
    int64_t units;
    bool bias;
};

static inline int64_t linear_rows(const struct flow_tensor *x) { return shape_span(x, 0, x->rank - 1); }

/* y = act(x W^T + b) + residual; the weight as it is. */
static inline struct flow_gemm linear_product(const struct flow_call *call) {
    const struct linear_attrs *attrs = (const struct linear_attrs *)call->attrs;
    const struct flow_tensor *x = &call->in[0], *w = &call->param[0];
    int64_t width = x->shape[x->rank - 1];
    struct flow_gemm product = gemm_of(x->dtype, linear_rows(x), attrs->units, width);
    gemm_a(&product, x->data, width, 1);
    gemm_b(&product, w->data, w->strides[1], w->strides[0]);
    gemm_c(&product, call->out[0].data, attrs->units, false);
    product.bias = attrs->bias ? call->param[1].data : NULL;
    product.activation = call->activation, product.residual = call->residual;
    return product;
}

/* dx = dy W, dW = dy^T x; db is for the caller. A gradient arrives. */
static inline int linear_gradients(const struct flow_call *call) {
    const struct linear_attrs *attrs = (const struct linear_attrs *)call->attrs;
    const struct flow_tensor *x = &call->in[0], *w = &call->param[0], *dy = &call->grad_out[0];
    const struct flow_tensor *dx = &call->grad_in[0], *dw = &call->grad_param[0];
    int64_t width = x->shape[x->rank - 1], rows = linear_rows(x), units = attrs->units;
    int status = FLOW_OK;
    if (shape_exists(dx) && rows > 0) {
        struct flow_gemm product = gemm_of(dy->dtype, rows, width, units);
        gemm_a(&product, dy->data, units, 1);
        gemm_b(&product, w->data, w->strides[0], w->strides[1]);
        gemm_c(&product, dx->data, width, FLOW_ACCUMULATES(call->accumulate_in, 0) != 0);
        status = call->host->gemm(call, &product);
    }
    if (status >= 0 && shape_exists(dw)) {
        struct flow_gemm product = gemm_of(dy->dtype, units, width, rows);
        gemm_a(&product, dy->data, 1, units);
        gemm_b(&product, x->data, width, 1);
        gemm_c(&product, dw->data, width, FLOW_ACCUMULATES(call->accumulate_param, 0) != 0);
        status = call->host->gemm(call, &product);
    }
    return status;
}

#endif
