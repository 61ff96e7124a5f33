/* SPDX-License-Identifier: Apache-2.0 */
#include "product/matmul.h"
#include "common/extent.h"
#include "common/gradient.h"

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
    struct matmul_axes axes = matmul_axes_of(attrs, a, b);
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

static int forward(const struct flow_call *call) { return matmul_forward(call, matmul_run); }

static int backward(const struct flow_call *call) {
    const struct flow_tensor *dy = &call->grad_out[0];
    return !shape_exists(dy) || shape_count(dy) == 0 ? gradient_none(call) : matmul_gradients(call, matmul_run);
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
