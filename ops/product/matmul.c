/* SPDX-License-Identifier: Apache-2.0 */
#include "common/extent.h"

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
    int64_t batch = shape_span(&infer->out[0], 0, rank - 2);
    double m = (double)shape[rank - 2], n = (double)shape[rank - 1], k = (double)a->shape[axes.ka];
    infer->flops = 2 * m * n * k * (double)batch;
    infer->bytes = (double)shape_type_bytes(a->dtype) * (double)batch * (m * k + k * n + m * n);
    return FLOW_OK;
}

/* Batch axes with what they mean in a, b and c; neighbours whose strides continue each other are one. */
struct matmul_batch {
    int32_t rank;
    int64_t extent[FLOW_RANK_MAX], a[FLOW_RANK_MAX], b[FLOW_RANK_MAX], c[FLOW_RANK_MAX];
};

static void batch_of(const struct flow_tensor *a, const struct flow_tensor *b, const struct flow_tensor *c, struct matmul_batch *batch) {
    batch->rank = 0;
    for (int32_t i = 0; i < c->rank - 2; ++i) {
        int32_t ia = i - (c->rank - a->rank), ib = i - (c->rank - b->rank);
        int64_t extent = c->shape[i];
        if (extent == 1) continue;
        int64_t sa = ia >= 0 && a->shape[ia] != 1 ? a->strides[ia] : 0, sb = ib >= 0 && b->shape[ib] != 1 ? b->strides[ib] : 0;
        int32_t last = batch->rank - 1;
        if (last >= 0 && batch->a[last] == sa * extent && batch->b[last] == sb * extent && batch->c[last] == c->strides[i] * extent) {
            batch->extent[last] *= extent;
        } else {
            last = batch->rank++;
            batch->extent[last] = extent;
        }
        batch->a[last] = sa;
        batch->b[last] = sb;
        batch->c[last] = c->strides[i];
    }
}

static int forward(const struct flow_call *call) {
    const struct matmul_attrs *attrs = call->attrs;
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
    struct matmul_axes axes = axes_of(attrs, a, b);
    int64_t size = shape_type_bytes(c->dtype);
    if (shape_count(c) == 0) return FLOW_OK;
    struct matmul_batch batch;
    batch_of(a, b, c, &batch);
    struct flow_gemm product = {
        .m = c->shape[c->rank - 2],
        .n = c->shape[c->rank - 1],
        .k = a->shape[axes.ka],
        .a_row = a->strides[axes.m],
        .a_col = a->strides[axes.ka],
        .b_row = b->strides[axes.kb],
        .b_col = b->strides[axes.n],
        .c_row = c->shape[c->rank - 1],
        .dtype = c->dtype,
    };
    /* One b for all: the batch of a is more rows. */
    int32_t last = batch.rank - 1;
    if (last >= 0 && batch.b[last] == 0 && (product.m == 1 || batch.a[last] == product.a_row * product.m)) {
        if (product.m == 1) product.a_row = batch.a[last];
        product.m *= batch.extent[last];
        batch.rank = last--;
    }
    if (last >= 0) {
        product.batch = batch.extent[last];
        product.a_batch = batch.a[last];
        product.b_batch = batch.b[last];
        product.c_batch = batch.c[last];
        batch.rank = last;
    }
    int64_t index[FLOW_RANK_MAX] = {0}, oa = 0, ob = 0, oc = 0;
    for (;;) {
        product.a = (const char *)a->data + oa * size;
        product.b = (const char *)b->data + ob * size;
        product.c = (char *)c->data + oc * size;
        int status = call->host->gemm(call, &product);
        if (status < 0) return status;
        int32_t i = batch.rank - 1;
        for (; i >= 0; --i) {
            oa += batch.a[i], ob += batch.b[i], oc += batch.c[i];
            if (++index[i] < batch.extent[i]) break;
            oa -= batch.a[i] * batch.extent[i], ob -= batch.b[i] * batch.extent[i], oc -= batch.c[i] * batch.extent[i];
            index[i] = 0;
        }
        if (i < 0) return FLOW_OK;
    }
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward},
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
