/* SPDX-License-Identifier: Apache-2.0 */
#include "common/extent.h"
#include "common/gradient.h"

struct matmul_attrs {
    bool transpose_a;
    bool transpose_b;
};

static const struct flow_port inputs[] = {
    {"a", "matrices [..., M, K]", NULL, FLOW_TYPES_FLOAT, FLOW_STRIDED},
    {"b", "matrices [..., K, N]", NULL, FLOW_TYPES_FLOAT, FLOW_STRIDED},
};
static const struct flow_port outputs[] = {
    {"y", "products [..., M, N]", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_attr attributes[] = {
    FLOW_ATTR_PLAIN(struct matmul_attrs, transpose_a, "a is [..., K, M]", "false"),
    FLOW_ATTR_PLAIN(struct matmul_attrs, transpose_b, "b is [..., N, K]", "false"),
};

/* Which axes of a and b are rows, columns and the summed one. */
struct matmul_axes {
    int32_t m, ka, kb, n;
};

static struct matmul_axes axes_of(const struct matmul_attrs *attrs, const struct flow_tensor *a, const struct flow_tensor *b) {
    return (struct matmul_axes){
        .m = a->rank - (attrs->transpose_a ? 1 : 2),
        .ka = a->rank - (attrs->transpose_a ? 2 : 1),
        .kb = b->rank - (attrs->transpose_b ? 1 : 2),
        .n = b->rank - (attrs->transpose_b ? 2 : 1),
    };
}

/* Where axis `axis` of an operand is found in the result of `rank` axes; -1: it is summed. */
static int32_t result_axis(int32_t axis, int32_t summed, int32_t kept, int32_t kept_at, int32_t own_rank, int32_t rank) {
    if (axis == summed) return -1;
    return axis == kept ? kept_at : rank - own_rank + axis;
}

static int stream(struct flow_infer *infer, const struct matmul_axes *axes) {
    const struct flow_tensor *a = &infer->in[0], *b = &infer->in[1];
    int32_t rank = infer->out[0].rank, found = -1;
    for (uint32_t i = 0; i < 2; ++i) {
        if (infer->in_axis[i] < 0) continue;
        int32_t at = i == 0 ? result_axis(infer->in_axis[0], axes->ka, axes->m, rank - 2, a->rank, rank)
                            : result_axis(infer->in_axis[1], axes->kb, axes->n, rank - 1, b->rank, rank);
        if (at < 0)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the sum over the streamed axis needs the whole sequence");
        if (found >= 0 && found != at)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED,
                                     "the product of every step of a with every step of b needs the whole sequence");
        found = at;
        const struct flow_tensor *other = i == 0 ? b : a;
        int32_t same = at - (rank - other->rank); /* a batch axis that the other has whole */
        if (at < rank - 2 && infer->in_axis[1 - i] < 0 && same >= 0 && other->shape[same] != 1)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED,
                                     "%s has the streamed axis, but not in pieces: it needs the whole sequence", i == 0 ? "b" : "a");
    }
    infer->out_axis[0] = found;
    return FLOW_OK;
}

static int infer(struct flow_infer *infer) {
    const struct flow_tensor *a = &infer->in[0], *b = &infer->in[1];
    const struct flow_host *host = infer->host;
    const struct matmul_attrs *attrs = infer->attrs;
    for (uint32_t i = 0; i < 2; ++i)
        if (infer->in[i].rank < 2)
            return host->fail_at(infer->owner, i == 0 ? "a" : "b", FLOW_ERROR_SHAPE, "%s has %d axes, a matrix product needs at least 2",
                                 i == 0 ? "a" : "b", infer->in[i].rank);
    struct matmul_axes axes = axes_of(attrs, a, b);
    if (a->shape[axes.ka] != b->shape[axes.kb])
        return host->fail(infer->owner, FLOW_ERROR_SHAPE, "a has %lld %s, b has %lld %s: the product sums over both",
                          (long long)a->shape[axes.ka], attrs->transpose_a ? "rows (it is transposed)" : "columns",
                          (long long)b->shape[axes.kb], attrs->transpose_b ? "columns (it is transposed)" : "rows");
    int32_t rank = a->rank > b->rank ? a->rank : b->rank;
    int64_t shape[FLOW_RANK_MAX];
    for (int32_t i = 0; i < rank - 2; ++i) {
        int32_t ia = i - (rank - a->rank), ib = i - (rank - b->rank);
        int64_t ea = ia >= 0 ? a->shape[ia] : 1, eb = ib >= 0 ? b->shape[ib] : 1;
        if (ea != eb && ea != 1 && eb != 1)
            return host->fail(infer->owner, FLOW_ERROR_SHAPE,
                              "axis %d of a has extent %lld, axis %d of b %lld: batch axes must agree or be 1", ia, (long long)ea, ib,
                              (long long)eb);
        shape[i] = ea == 1 ? eb : ea;
    }
    shape[rank - 2] = a->shape[axes.m];
    shape[rank - 1] = b->shape[axes.n];
    int status = extent_output(infer, 0, a->dtype, rank, shape);
    if (status >= 0 && infer->streaming) status = stream(infer, &axes);
    if (status < 0) return status;
    if (infer->differentiated) infer->backward_reads_out = 0;
    int64_t batch = shape_span(&infer->out[0], 0, rank - 2);
    double m = (double)shape[rank - 2], n = (double)shape[rank - 1], k = (double)a->shape[axes.ka];
    infer->flops = 2 * m * n * k * (double)batch;
    infer->bytes = (double)shape_type_bytes(a->dtype) * (double)batch * (m * k + k * n + m * n);
    return FLOW_OK;
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
static struct matmul_side side_of(const struct flow_tensor *t, const struct flow_tensor *y, bool turned) {
    int32_t lead = y->rank - t->rank;
    struct matmul_side side = {
        .data = t->data, .row = t->strides[t->rank - (turned ? 1 : 2)], .col = t->strides[t->rank - (turned ? 2 : 1)]};
    for (int32_t i = 0; i < y->rank - 2; ++i) side.batch[i] = i >= lead && t->shape[i - lead] != 1 ? t->strides[i - lead] : 0;
    return side;
}

static void axis_remove(struct matmul_product *p, int32_t axis) {
    for (int32_t i = axis; i + 1 < p->rank; ++i) {
        p->extent[i] = p->extent[i + 1];
        p->a.batch[i] = p->a.batch[i + 1], p->b.batch[i] = p->b.batch[i + 1], p->c.batch[i] = p->c.batch[i + 1];
    }
    --p->rank;
}

/* Fewer, larger products: axes of extent 1 go, axes whose strides continue each other are one, and the innermost becomes more rows where
 * all share b, or a longer sum where c does not have it. */
static void simplify(struct matmul_product *p) {
    for (int32_t i = p->rank - 1; i >= 0; --i)
        if (p->extent[i] == 1) axis_remove(p, i);
    for (int32_t i = p->rank - 2; i >= 0; --i) {
        int64_t e = p->extent[i + 1];
        if (p->a.batch[i] != p->a.batch[i + 1] * e || p->b.batch[i] != p->b.batch[i + 1] * e || p->c.batch[i] != p->c.batch[i + 1] * e)
            continue;
        p->extent[i + 1] *= p->extent[i];
        axis_remove(p, i);
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
static int product_run(const struct flow_call *call, struct matmul_product *p) {
    simplify(p);
    struct flow_gemm product = {.size = sizeof(struct flow_gemm),
                                .m = p->m,
                                .n = p->n,
                                .k = p->k,
                                .a_row = p->a.row,
                                .a_col = p->a.col,
                                .b_row = p->b.row,
                                .b_col = p->b.col,
                                .c_row = p->c.row,
                                .dtype = p->dtype};
    int32_t batch = -1;
    for (int32_t i = 0; i < p->rank; ++i)
        if (p->c.batch[i] != 0 && (batch < 0 || p->extent[i] > p->extent[batch])) batch = i;
    if (batch >= 0) {
        product.batch = p->extent[batch];
        product.a_batch = p->a.batch[batch], product.b_batch = p->b.batch[batch], product.c_batch = p->c.batch[batch];
        axis_remove(p, batch);
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

static struct matmul_product product_over(const struct flow_tensor *y, int64_t m, int64_t n, int64_t k) {
    struct matmul_product p = {.m = m, .n = n, .k = k, .rank = y->rank - 2, .dtype = y->dtype};
    for (int32_t i = 0; i < p.rank; ++i) p.extent[i] = y->shape[i];
    return p;
}

/* One matrix by another, without the batch's bookkeeping, which for small ones would cost more than the product. */
static int forward_single(const struct flow_call *call, const struct matmul_axes *axes) {
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    const struct flow_gemm product = {.size = sizeof(struct flow_gemm),
                                      .m = y->shape[0],
                                      .n = y->shape[1],
                                      .k = a->shape[axes->ka],
                                      .a = a->data,
                                      .a_row = a->strides[axes->m],
                                      .a_col = a->strides[axes->ka],
                                      .b = b->data,
                                      .b_row = b->strides[axes->kb],
                                      .b_col = b->strides[axes->n],
                                      .c = y->data,
                                      .c_row = y->strides[0],
                                      .dtype = y->dtype};
    return call->host->gemm(call, &product);
}

static int forward(const struct flow_call *call) {
    const struct matmul_attrs *attrs = call->attrs;
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    struct matmul_axes axes = axes_of(attrs, a, b);
    if (shape_count(y) == 0) return FLOW_OK;
    if (y->rank == 2) return forward_single(call, &axes);
    struct matmul_product p = product_over(y, a->shape[axes.m], b->shape[axes.n], a->shape[axes.ka]);
    p.a = side_of(a, y, attrs->transpose_a);
    p.b = side_of(b, y, attrs->transpose_b);
    p.c = side_of(y, y, false);
    return product_run(call, &p);
}

/* da = dy b^T, or where a is transposed da^T = b dy^T; db = a^T dy, or db^T = dy^T a. Summed over the batch axes that broadcast. */
static int backward(const struct flow_call *call) {
    const struct matmul_attrs *attrs = call->attrs;
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1], *dy = &call->grad_out[0];
    struct matmul_axes axes = axes_of(attrs, a, b);
    if (!shape_exists(dy) || shape_count(dy) == 0) return gradient_none(call);
    int64_t m = a->shape[axes.m], n = b->shape[axes.n], k = a->shape[axes.ka];
    bool ta = attrs->transpose_a, tb = attrs->transpose_b;
    int status = FLOW_OK;
    if (shape_exists(&call->grad_in[0]) && k > 0) {
        struct matmul_product p = ta ? product_over(dy, k, m, n) : product_over(dy, m, k, n);
        p.a = ta ? side_of(b, dy, tb) : side_of(dy, dy, false);
        p.b = ta ? side_of(dy, dy, true) : side_of(b, dy, !tb);
        p.c = side_of(&call->grad_in[0], dy, false);
        p.adds = gradient_adds_in(call, 0);
        status = product_run(call, &p);
    }
    if (status >= 0 && shape_exists(&call->grad_in[1]) && k > 0) {
        struct matmul_product p = tb ? product_over(dy, n, k, m) : product_over(dy, k, n, m);
        p.a = tb ? side_of(dy, dy, true) : side_of(a, dy, !ta);
        p.b = tb ? side_of(a, dy, ta) : side_of(dy, dy, false);
        p.c = side_of(&call->grad_in[1], dy, false);
        p.adds = gradient_adds_in(call, 1);
        status = product_run(call, &p);
    }
    return status;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward},
};

extern const struct flow_operator product_matmul;
const struct flow_operator product_matmul = {
    .size = sizeof(struct flow_operator),
    .name = "matmul",
    .summary = "Products of matrices; batch axes broadcast",
    .equation = "y[.., m, n] = sum_k a[.., m, k] b[.., k, n]",
    .reference = "Golub, Van Loan, Matrix Computations, 4th edition, section 1.1",
    .example = "y: {op: matmul, in: {a: a, b: b}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct matmul_attrs),
    .infer = infer,
};
