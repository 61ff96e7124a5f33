/* SPDX-License-Identifier: Apache-2.0 */
/* attention's backward on CUDA, the launcher: through wo, then the heads (attention_gradient.cu), then turns back and through wq, wk, wv.
 */
#include "common/cuda.h"

#include "attention_cuda.h"
#include "common/cuda_adjoint.h"
#include "kernels_cuda.h"

static int64_t bytes_of(const struct flow_tensor *t, int64_t size) {
    for (int32_t i = 0; i < t->rank; i++) size *= t->shape[i];
    return size;
}

/* C = A B + beta C; A's element (i, j) at a[i*a_row + j*a_col]; C is dense. */
static int multiply(const struct flow_call *call, int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row, int64_t a_col,
                    const void *b, int64_t b_row, int64_t b_col, void *c, bool add) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    struct flow_gemm product = {};
    product.size = sizeof product;
    product.m = m, product.n = n, product.k = k;
    product.a = a, product.a_row = a_row, product.a_col = a_col;
    product.b = b, product.b_row = b_row, product.b_col = b_col;
    product.c = c, product.c_row = n, product.beta = add ? 1 : 0;
    product.dtype = p->size == 8 ? FLOW_F64 : FLOW_F32;
    return m * n == 0 ? 0 : call->host->gemm(call, &product);
}

/* Gradients of y = x W^T + b of `rows` rows: of W and b, and into d_x (NULL: not wanted). */
static int project_back(const struct flow_call *call, const struct projection *projection, int64_t rows, const void *x, const void *d_y,
                        void *d_x, bool add) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    const struct flow_tensor *w = &call->param[projection->weight], *d_w = &call->grad_param[projection->weight];
    const int64_t in = projection->in, out = projection->out;
    int rc = 0;
    if (d_w->rank >= 0)
        rc = multiply(call, out, in, rows, d_y, 1, out, x, in, 1, d_w->data, FLOW_ACCUMULATES(call->accumulate_param, projection->weight));
    if (rc == 0 && projection->bias != UINT32_MAX && call->grad_param[projection->bias].rank >= 0) {
        struct flow_tensor like, to;
        cuda_attention_sum_shapes(rows, out, p->size, &like, &to);
        like.data = const_cast<void *>(d_y), to.data = call->grad_param[projection->bias].data;
        rc = cuda_status(call, cuda_fold_sum(cuda_stream(call), &like, &to, FLOW_ACCUMULATES(call->accumulate_param, projection->bias),
                                             static_cast<char *>(call->workspace) + cuda_attention_sums_at(p)));
    }
    if (rc == 0 && d_x) rc = multiply(call, rows, in, out, d_y, out, 1, w->data, w->strides[0], w->strides[1], d_x, add);
    return rc;
}

static bool wants_param(const struct flow_call *call, const struct projection *projection) {
    return call->grad_param[projection->weight].rank >= 0 ||
           (projection->bias != UINT32_MAX && call->grad_param[projection->bias].rank >= 0);
}

/* No gradient arrives, or nothing is there to have one: all are 0. */
static int nothing_back(const struct flow_call *call) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < call->in_count + call->param_count; i++) {
        const bool param = i >= call->in_count;
        const uint32_t at = param ? i - call->in_count : i;
        const struct flow_tensor *t = param ? &call->grad_param[at] : &call->grad_in[at];
        const int64_t bytes = t->rank < 0 ? 0 : bytes_of(t, p->size);
        if (bytes > 0 && !FLOW_ACCUMULATES(param ? call->accumulate_param : call->accumulate_in, at))
            rc = cudaMemsetAsync(t->data, 0, static_cast<size_t>(bytes), cuda_stream(call));
    }
    return cuda_status(call, rc);
}

template <typename T>
static attention_rows<const T> kept_rows(const struct flow_call *call, int64_t keep, int64_t rows, int64_t width,
                                         const struct flow_tensor *t) {
    if (keep < 0) return {static_cast<const T *>(t->data), t->strides[0], t->strides[1]};
    return {reinterpret_cast<const T *>(static_cast<const char *>(call->saved) + keep), rows * width, width};
}
/* Where the gradient of what the heads read goes: the workspace where it is turned or projected yet, else the input's own. */
template <typename T>
static attention_rows<T> gradient_rows(const struct flow_call *call, uint32_t port, int64_t at, int64_t rows, int64_t width, bool wanted,
                                       bool *add) {
    const struct flow_tensor *to = &call->grad_in[port];
    *add = at < 0 && FLOW_ACCUMULATES(call->accumulate_in, port);
    if (!wanted) return {nullptr, 0, 0};
    return {at >= 0 ? reinterpret_cast<T *>(static_cast<char *>(call->workspace) + at) : static_cast<T *>(to->data), rows * width, width};
}
template <typename T> static bool aligned(const attention_rows<const T> &rows) {
    const int64_t each = 16 / static_cast<int64_t>(sizeof(T));
    return (reinterpret_cast<uintptr_t>(rows.data) & 15u) == 0 && rows.batch % each == 0 && rows.row % each == 0;
}

/* The gradient of queries or keys turned back: in the workspace where projections follow, else into the input's. */
template <typename T>
static int turn_back(const struct flow_call *call, uint32_t port, const attention_rows<T> &from, int64_t first, int64_t count,
                     int64_t heads) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    const attention_attrs *a = static_cast<const attention_attrs *>(call->attrs);
    const struct flow_tensor *to = &call->grad_in[port];
    if (!from.data) return 0;
    attention_turn_job<T> turn = {};
    turn.batch = p->batch, turn.count = count, turn.first = first, turn.heads = static_cast<int32_t>(heads),
    turn.width = static_cast<int32_t>(p->width);
    turn.base = a->rope_base, turn.interleaved = a->rope_style == 1, turn.back = true;
    turn.x = {from.data, from.batch, from.row}, turn.y = from;
    if (!a->projections) turn.y.data = static_cast<T *>(to->data), turn.add = FLOW_ACCUMULATES(call->accumulate_in, port);
    return cuda_status(call, cuda_attention_turn<T>(turn, cuda_stream(call)));
}

template <typename T> static int heads_back(const struct flow_call *call, attention_back_job<T> &job) {
    cudaStream_t stream = cuda_stream(call);
    const struct flow_tensor *d_bias = cuda_attention_given(call, BIAS) ? &call->grad_in[BIAS] : nullptr;
    int rc = 0;
    if (job.of.batch * job.of.queries > 0) rc = cuda_attention_delta<T>(job, stream);
    if (rc == 0 && d_bias && d_bias->rank >= 0) {
        int64_t extent[4] = {1, 1, 1, 1}, count = 1;
        for (int32_t i = 0; i < d_bias->rank; i++) count *= extent[4 - d_bias->rank + i] = d_bias->shape[i];
        job.d_bias = cuda_attention_scores<T>(d_bias), job.add_bias = FLOW_ACCUMULATES(call->accumulate_in, BIAS);
        job.bias_batch = extent[0], job.bias_heads = extent[1], job.bias_rows = extent[2], job.bias_columns = extent[3];
        if (count > 0) rc = cuda_attention_back_bias<T>(job, stream);
    }
    if (rc == 0 && job.d_q.data && job.of.batch * job.of.queries > 0) rc = cuda_attention_back_queries<T>(job, stream);
    if (rc == 0 && (job.d_k.data || job.d_v.data) && job.of.batch * job.of.keys > 0) rc = cuda_attention_back_keys<T>(job, stream);
    return cuda_status(call, rc);
}

template <typename T> static int backward(const struct flow_call *call) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    const attention_attrs *a = static_cast<const attention_attrs *>(call->attrs);
    if (call->grad_out[0].rank < 0 || p->batch == 0 || (p->queries == 0 && p->keys == 0)) return nothing_back(call);
    const int64_t q_width = p->heads * p->width, k_width = p->kv_heads * p->width, v_width = p->kv_heads * p->value_width;
    const int64_t mixed = p->heads * p->value_width;
    const struct projection *all[] = {&p->q, &p->k, &p->v};
    char *workspace = static_cast<char *>(call->workspace);
    bool wants[3];
    for (uint32_t port = Q; port <= V; port++)
        wants[port] = call->grad_in[port].rank >= 0 || (a->projections && wants_param(call, all[port]));
    attention_back_job<T> job = {};
    job.of = cuda_attention_job<T>(call);
    job.of.q = kept_rows<T>(call, p->keep_q, p->queries, q_width, &call->in[Q]),
    job.of.k = kept_rows<T>(call, p->keep_k, p->keys, k_width, &call->in[K]);
    job.of.v = kept_rows<T>(call, p->keep_v, p->keys, v_width, &call->in[V]);
    const attention_rows<const T> out = kept_rows<T>(call, p->keep_mixed, p->queries, mixed, &call->out[0]);
    job.of.out = {const_cast<T *>(out.data), out.batch, out.row}; /* read here */
    job.d_q = gradient_rows<T>(call, Q, p->at_d_q, p->queries, q_width, wants[Q], &job.add_q);
    job.d_k = gradient_rows<T>(call, K, p->at_d_k, p->keys, k_width, wants[K], &job.add_k);
    job.d_v = gradient_rows<T>(call, V, p->at_d_v, p->keys, v_width, wants[V], &job.add_v);
    job.d_out = {static_cast<const T *>(call->grad_out[0].data), p->queries * mixed, mixed};
    job.log_sum = reinterpret_cast<const T *>(static_cast<const char *>(call->saved) + p->keep_log_sum);
    job.delta = reinterpret_cast<T *>(workspace + p->at_delta);
    const bool biased = cuda_attention_given(call, BIAS) && call->grad_in[BIAS].rank >= 0;
    const bool between = wants[Q] || wants[K] || wants[V] || biased;
    int rc = 0;
    if (a->projections) {
        void *d_mixed = workspace + p->at_d_mixed;
        rc = project_back(call, &p->o, p->batch * p->queries, out.data, call->grad_out[0].data, between ? d_mixed : nullptr, false);
        job.d_out.data = static_cast<const T *>(d_mixed);
    }
    if (rc < 0 || !between) return rc;
    job.of.aligned =
        p->width % 4 == 0 && p->value_width % 4 == 0 && aligned(job.of.q) && aligned(job.of.k) && aligned(job.of.v) && aligned(job.d_out);
    rc = heads_back<T>(call, job);
    if (rc == 0 && a->rope) {
        rc = turn_back<T>(call, Q, job.d_q, p->keys > p->queries ? p->keys - p->queries : 0, p->queries, p->heads);
        if (rc == 0) rc = turn_back<T>(call, K, job.d_k, 0, p->keys, p->kv_heads);
    }
    const T *from[] = {job.d_q.data, job.d_k.data, job.d_v.data};
    for (uint32_t port = Q; rc == 0 && a->projections && port <= V; port++) {
        const struct flow_tensor *to = &call->grad_in[port];
        if (from[port])
            rc = project_back(call, all[port], p->batch * (port == Q ? p->queries : p->keys), call->in[port].data, from[port],
                              to->rank >= 0 ? to->data : nullptr, FLOW_ACCUMULATES(call->accumulate_in, port));
    }
    return rc;
}

int cuda_attention_backward(const struct flow_call *call) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    return p->size == 8 ? backward<double>(call) : backward<float>(call);
}
