/* SPDX-License-Identifier: Apache-2.0 */
/* The products of matmul, on every device: batches of any strides as few calls of the host's product. */
#ifndef OPS_PRODUCT_MATMUL_H
#define OPS_PRODUCT_MATMUL_H

#include "common/gemm.h"
#include "common/shape.h"

struct matmul_attrs {
    bool transpose_a;
    bool transpose_b;
};

/* Which axes of a and b are rows, columns and the summed one. */
struct matmul_axes {
    int32_t m, ka, kb, n;
};

static inline struct matmul_axes matmul_axes_of(const struct matmul_attrs *attrs, const struct flow_tensor *a,
                                                const struct flow_tensor *b) {
    struct matmul_axes axes;
    axes.m = a->rank - (attrs->transpose_a ? 1 : 2), axes.ka = a->rank - (attrs->transpose_a ? 2 : 1);
    axes.kb = b->rank - (attrs->transpose_b ? 1 : 2), axes.n = b->rank - (attrs->transpose_b ? 2 : 1);
    return axes;
}

/* One factor of a product, or its result: matrices of any strides, and how they follow each other along the batch axes of y; a stride of
 * 0 repeats a factor, and sums into a result. */
struct matmul_side {
    char *data;
    int64_t row, col;
    int64_t batch[FLOW_RANK_MAX];
};

/* c[m, n] = sum over k of a[m, k] b[k, n], for every place of the batch axes. */
struct matmul_product {
    int64_t m, n, k;
    int32_t rank; /* batch axes */
    int64_t extent[FLOW_RANK_MAX];
    struct matmul_side a, b, c; /* c.col is 1 */
    int32_t dtype;
    bool adds; /* to what c holds */
};

/* The matrices of `t` as seen from y's batch axes; `turned` exchanges rows and columns. */
static inline struct matmul_side matmul_side_of(const struct flow_tensor *t, const struct flow_tensor *y, bool turned) {
    int32_t lead = y->rank - t->rank;
    struct matmul_side side;
    memset(&side, 0, sizeof side);
    side.data = (char *)t->data;
    side.row = t->strides[t->rank - (turned ? 1 : 2)], side.col = t->strides[t->rank - (turned ? 2 : 1)];
    for (int32_t i = 0; i < y->rank - 2; ++i) side.batch[i] = i >= lead && t->shape[i - lead] != 1 ? t->strides[i - lead] : 0;
    return side;
}

static inline void matmul_axis_remove(struct matmul_product *p, int32_t axis) {
    for (int32_t i = axis; i + 1 < p->rank; ++i) {
        p->extent[i] = p->extent[i + 1];
        p->a.batch[i] = p->a.batch[i + 1], p->b.batch[i] = p->b.batch[i + 1], p->c.batch[i] = p->c.batch[i + 1];
    }
    --p->rank;
}

/* Fewer, larger products: axes of extent 1 go, axes whose strides continue each other are one, and the innermost becomes more rows where
 * all share b, or a longer sum where c does not have it. */
static inline void matmul_simplify(struct matmul_product *p) {
    for (int32_t i = p->rank - 1; i >= 0; --i)
        if (p->extent[i] == 1) matmul_axis_remove(p, i);
    for (int32_t i = p->rank - 2; i >= 0; --i) {
        int64_t e = p->extent[i + 1];
        if (p->a.batch[i] != p->a.batch[i + 1] * e || p->b.batch[i] != p->b.batch[i + 1] * e || p->c.batch[i] != p->c.batch[i + 1] * e)
            continue;
        p->extent[i + 1] *= p->extent[i];
        matmul_axis_remove(p, i);
    }
    while (p->rank > 0) {
        int32_t last = p->rank - 1;
        int64_t a = p->a.batch[last], b = p->b.batch[last], c = p->c.batch[last];
        if (b == 0 && c != 0 && (p->m == 1 || (a == p->a.row * p->m && c == p->c.row * p->m))) {
            if (p->m == 1) p->a.row = a, p->c.row = c;
            p->m *= p->extent[last];
        } else if (c == 0 && (p->k == 1 || (a == p->a.col * p->k && b == p->b.row * p->k))) {
            if (p->k == 1) p->a.col = a, p->b.row = b;
            p->k *= p->extent[last];
        } else {
            return;
        }
        --p->rank;
    }
}

/* The longest axis that is not summed is the product's own batch; the others are looped over. */
static inline int matmul_run(const struct flow_call *call, struct matmul_product *p) {
    matmul_simplify(p);
    struct flow_gemm product = gemm_of(p->dtype, p->m, p->n, p->k);
    gemm_a(&product, NULL, p->a.row, p->a.col);
    gemm_b(&product, NULL, p->b.row, p->b.col);
    gemm_c(&product, NULL, p->c.row, false);
    int32_t batch = -1;
    for (int32_t i = 0; i < p->rank; ++i)
        if (p->c.batch[i] != 0 && (batch < 0 || p->extent[i] > p->extent[batch])) batch = i;
    if (batch >= 0) {
        gemm_batch(&product, p->extent[batch], p->a.batch[batch], p->b.batch[batch], p->c.batch[batch]);
        matmul_axis_remove(p, batch);
    }
    int64_t index[FLOW_RANK_MAX] = {0}, oa = 0, ob = 0, oc = 0, size = shape_type_bytes(p->dtype);
    for (;;) {
        bool later = false; /* not the first of the terms of a sum over the batch */
        for (int32_t i = 0; i < p->rank; ++i) later = later || (p->c.batch[i] == 0 && index[i] > 0);
        product.a = p->a.data + oa * size;
        product.b = p->b.data + ob * size;
        product.c = p->c.data + oc * size;
        product.beta = p->adds || later ? 1 : 0;
        int status = call->host->gemm(call, &product);
        if (status < 0) return status;
        int32_t i = p->rank - 1;
        for (; i >= 0; --i) {
            oa += p->a.batch[i], ob += p->b.batch[i], oc += p->c.batch[i];
            if (++index[i] < p->extent[i]) break;
            oa -= p->a.batch[i] * p->extent[i], ob -= p->b.batch[i] * p->extent[i], oc -= p->c.batch[i] * p->extent[i];
            index[i] = 0;
        }
        if (i < 0) return FLOW_OK;
    }
}

static inline struct matmul_product matmul_over(const struct flow_tensor *y, int64_t m, int64_t n, int64_t k) {
    struct matmul_product p;
    memset(&p, 0, sizeof p);
    p.m = m, p.n = n, p.k = k, p.rank = y->rank - 2, p.dtype = y->dtype;
    for (int32_t i = 0; i < p.rank; ++i) p.extent[i] = y->shape[i];
    return p;
}

/* One matrix by another, without the batch's bookkeeping, which for small ones would cost more than the product. */
static inline int matmul_forward_single(const struct flow_call *call, const struct matmul_axes *axes) {
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    struct flow_gemm product = gemm_of(y->dtype, y->shape[0], y->shape[1], a->shape[axes->ka]);
    gemm_a(&product, a->data, a->strides[axes->m], a->strides[axes->ka]);
    gemm_b(&product, b->data, b->strides[axes->kb], b->strides[axes->n]);
    gemm_c(&product, y->data, y->strides[0], false);
    return call->host->gemm(call, &product);
}

/* Runs one of them on a device: matmul_run, or what knows better. */
typedef int (*matmul_runner)(const struct flow_call *call, struct matmul_product *product);

static inline int matmul_forward(const struct flow_call *call, matmul_runner run) {
    const struct matmul_attrs *attrs = (const struct matmul_attrs *)call->attrs;
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    struct matmul_axes axes = matmul_axes_of(attrs, a, b);
    if (shape_count(y) == 0) return FLOW_OK;
    if (y->rank == 2) return matmul_forward_single(call, &axes);
    struct matmul_product p = matmul_over(y, a->shape[axes.m], b->shape[axes.n], a->shape[axes.ka]);
    p.a = matmul_side_of(a, y, attrs->transpose_a);
    p.b = matmul_side_of(b, y, attrs->transpose_b);
    p.c = matmul_side_of(y, y, false);
    return run(call, &p);
}

/* da = dy b^T, or where a is transposed da^T = b dy^T; db = a^T dy, or db^T = dy^T a. Summed over the batch axes that broadcast. A
 * gradient arrives, and not an empty one. */
static inline int matmul_gradients(const struct flow_call *call, matmul_runner run) {
    const struct matmul_attrs *attrs = (const struct matmul_attrs *)call->attrs;
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1], *dy = &call->grad_out[0];
    struct matmul_axes axes = matmul_axes_of(attrs, a, b);
    int64_t m = a->shape[axes.m], n = b->shape[axes.n], k = a->shape[axes.ka];
    bool ta = attrs->transpose_a, tb = attrs->transpose_b;
    int status = FLOW_OK;
    if (shape_exists(&call->grad_in[0]) && k > 0) {
        struct matmul_product p = ta ? matmul_over(dy, k, m, n) : matmul_over(dy, m, k, n);
        p.a = ta ? matmul_side_of(b, dy, tb) : matmul_side_of(dy, dy, false);
        p.b = ta ? matmul_side_of(dy, dy, true) : matmul_side_of(b, dy, !tb);
        p.c = matmul_side_of(&call->grad_in[0], dy, false);
        p.adds = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
        status = run(call, &p);
    }
    if (status >= 0 && shape_exists(&call->grad_in[1]) && k > 0) {
        struct matmul_product p = tb ? matmul_over(dy, n, k, m) : matmul_over(dy, k, n, m);
        p.a = tb ? matmul_side_of(dy, dy, true) : matmul_side_of(a, dy, !ta);
        p.b = tb ? matmul_side_of(a, dy, ta) : matmul_side_of(dy, dy, false);
        p.c = matmul_side_of(&call->grad_in[1], dy, false);
        p.adds = FLOW_ACCUMULATES(call->accumulate_in, 1) != 0;
        status = run(call, &p);
    }
    return status;
}

#endif
