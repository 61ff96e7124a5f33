/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention on CUDA, the launchers: planning and forward. Projections are products of the host's, turns a launch each for queries and keys;
 * between them one launch (attention_tiles.cu), or two where a few queries see many keys (attention_few.cu).
 */
#include "common/cuda.h"

#include <math.h>

#include "attention_cuda.h"
#include "common/cuda_adjoint.h"
#include "kernels_cuda.h"

/* ---- Planning ------------------------------------------------------------------------------------------------------- */

bool cuda_attention_supports(const struct flow_infer *infer) {
    const attention_priv *p = static_cast<const attention_priv *>(infer->priv);
    return p->width <= ATTENTION_CUDA_WIDEST && p->value_width <= ATTENTION_CUDA_WIDEST && p->heads * p->width <= INT32_MAX / 4;
}

static int64_t end_of(int64_t end, int64_t at, int64_t rows, int64_t width, const attention_priv *p) {
    const int64_t stop = at + (p->batch * rows * width * p->size + 63) / 64 * 64;
    return at < 0 || stop < end ? end : stop;
}
/* The CPU's offsets hold here, too; behind them, in place of what only the CPU needs (cosines, keys transposed), come: parts of splits, */
static int64_t part_at(const attention_priv *p) {
    int64_t end = end_of(0, p->at_q, p->queries, p->heads * p->width, p);
    end = end_of(end, p->at_k, p->keys, p->kv_heads * p->width, p), end = end_of(end, p->at_v, p->keys, p->kv_heads * p->value_width, p);
    return end_of(end, p->at_mixed, p->queries, p->heads * p->value_width, p);
}
/* and, backward, of sums. */
static int64_t sums_at(const attention_priv *p) { return end_of(0, p->at_delta, p->queries, p->heads, p); }

static bool may_split(const attention_priv *p) { return p->queries <= 32; }

int cuda_attention_plan(struct flow_infer *infer) {
    const attention_priv *p = static_cast<const attention_priv *>(infer->priv);
    const attention_attrs *a = static_cast<const attention_attrs *>(infer->attrs);
    infer->packed = 0;
    if (infer->workspace < 0 || infer->saved < 0 || infer->workspace_backward < 0) return FLOW_OK; /* refused by the host as it is */
    infer->workspace = part_at(p) + (may_split(p) ? (cuda_attention_split_bytes(p) + 63) / 64 * 64 : 0);
    if (!infer->differentiated) return FLOW_OK;
    int64_t most = 0;
    const struct projection *all[] = {&p->q, &p->k, &p->v, &p->o};
    for (int i = 0; a->projections && i < 4; i++) {
        struct flow_tensor like, to;
        cuda_attention_sum_shapes(i == 1 || i == 2 ? p->batch * p->keys : p->batch * p->queries, all[i]->out, p->size, &like, &to);
        const int64_t bytes = (cuda_fold_workspace(&like, &to) + 63) / 64 * 64;
        most = bytes > most ? bytes : most;
    }
    infer->workspace_backward = sums_at(p) + most;
    return FLOW_OK;
}
int64_t cuda_attention_sums_at(const attention_priv *p) { return sums_at(p); }

/* ---- Forward -------------------------------------------------------------------------------------------------------- */

template <typename T> attention_job<T> cuda_attention_job(const struct flow_call *call) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    const attention_attrs *a = static_cast<const attention_attrs *>(call->attrs);
    attention_job<T> job = {};
    job.batch = p->batch, job.queries = p->queries, job.keys = p->keys, job.position = p->keys - p->queries;
    job.heads = static_cast<int32_t>(p->heads), job.shared = static_cast<int32_t>(p->heads / p->kv_heads);
    job.width = static_cast<int32_t>(p->width), job.value_width = static_cast<int32_t>(p->value_width);
    job.reach.causal = a->causal, job.reach.window = a->window, job.reach.chunk = a->chunk, job.reach.overlap = a->chunk_overlap;
    job.scale = static_cast<T>(isnan(a->scale) ? 1 / sqrt(static_cast<double>(p->width)) : a->scale);
    job.softcap = static_cast<T>(a->softcap);
    const struct flow_tensor *mask = cuda_attention_given(call, MASK), *bias = cuda_attention_given(call, BIAS);
    if (mask) job.mask = cuda_attention_scores<const uint8_t>(mask);
    if (bias) job.bias = cuda_attention_scores<const T>(bias);
    if (p->drops) {
        job.key = call->seed, job.below = static_cast<uint64_t>(a->dropout * 4294967296.0), job.run = cuda_run(call);
        job.kept = static_cast<T>(1 / (1 - a->dropout));
    }
    job.plain = !(a->softcap > 0) && !mask && !bias;
    return job;
}

template <typename T> static attention_rows<T> rows_of(const struct flow_tensor *t) {
    return {static_cast<T *>(t->data), t->strides[0], t->strides[1]};
}
template <typename T> static attention_rows<T> rows_at(void *block, int64_t offset, int64_t rows, int64_t width) {
    return {reinterpret_cast<T *>(static_cast<char *>(block) + offset), rows * width, width};
}
template <typename T> static attention_rows<const T> reading(const attention_rows<T> &rows) { return {rows.data, rows.batch, rows.row}; }

/* What is neither projected nor turned is read where it lies; the rest goes to what backward reads, or to the workspace. */
template <typename T>
static attention_rows<T> own_rows(const struct flow_call *call, int64_t at, int64_t keep, int64_t rows, int64_t width,
                                  const struct flow_tensor *t) {
    if (at < 0) return rows_of<T>(t);
    return call->saved ? rows_at<T>(call->saved, keep, rows, width) : rows_at<T>(call->workspace, at, rows, width);
}
/* Where this piece's keys and values go: into the cache behind those that are there, or as own_rows. */
template <typename T>
static attention_rows<T> key_rows(const struct flow_call *call, uint32_t port, uint32_t cache, int64_t at, int64_t keep, int64_t width) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    if (!p->rows || p->ring) return own_rows<T>(call, at, keep, p->keys, width, &call->in[port]);
    attention_rows<T> rows = rows_of<T>(&call->state_out[cache]);
    rows.data += call->state_in[cache].shape[1] * rows.row;
    return rows;
}

/* y = x W^T + b (+ residual) for all rows of the batch. */
template <typename T>
static int project(const struct flow_call *call, const struct projection *projection, const attention_rows<T> &x,
                   const attention_rows<T> &y, int64_t count, const void *residual) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    const struct flow_tensor *w = &call->param[projection->weight];
    struct flow_gemm product = {};
    product.size = sizeof product;
    product.m = count, product.n = projection->out, product.k = projection->in, product.batch = p->batch;
    product.a = x.data, product.a_row = x.row, product.a_col = 1, product.a_batch = x.batch;
    product.b = w->data, product.b_row = w->strides[1], product.b_col = w->strides[0];
    product.c = y.data, product.c_row = y.row, product.c_batch = y.batch;
    product.bias = projection->bias == UINT32_MAX ? nullptr : call->param[projection->bias].data;
    product.dtype = sizeof(T) == 8 ? FLOW_F64 : FLOW_F32;
    product.residual = residual;
    if (x.batch == count * x.row && y.batch == count * y.row) product.m = count * p->batch, product.batch = 1;
    return product.m * product.batch == 0 ? 0 : call->host->gemm(call, &product);
}

template <typename T>
static int copy_rows(const attention_rows<T> &from, const attention_rows<T> &to, int64_t batch, int64_t count, int64_t width,
                     cudaStream_t stream) {
    if (from.data == to.data || batch * count * width == 0) return 0;
    const size_t bytes = static_cast<size_t>(count * width) * sizeof(T); /* rows lie side by side in both */
    return cudaMemcpy2DAsync(to.data, static_cast<size_t>(to.batch) * sizeof(T), from.data, static_cast<size_t>(from.batch) * sizeof(T),
                             bytes, static_cast<size_t>(batch), cudaMemcpyDeviceToDevice, stream);
}

/* Projected, turned or as they are: queries, keys and values where the heads read them. */
template <typename T>
static int fill_inputs(const struct flow_call *call, const attention_rows<T> &q, const attention_rows<T> &k, const attention_rows<T> &v,
                       int64_t position, const int64_t *position_at) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    const attention_attrs *a = static_cast<const attention_attrs *>(call->attrs);
    const attention_rows<T> in[] = {rows_of<T>(&call->in[Q]), rows_of<T>(&call->in[K]), rows_of<T>(&call->in[V])};
    const int64_t q_width = p->heads * p->width, k_width = p->kv_heads * p->width, v_width = p->kv_heads * p->value_width;
    cudaStream_t stream = cuda_stream(call);
    int rc = 0;
    if (a->projections) {
        rc = project<T>(call, &p->q, in[Q], q, p->queries, nullptr);
        if (rc == 0) rc = project<T>(call, &p->k, in[K], k, p->keys, nullptr);
        if (rc == 0) rc = project<T>(call, &p->v, in[V], v, p->keys, nullptr);
        if (rc < 0) return rc;
    } else {
        if (!a->rope) rc = copy_rows(in[Q], q, p->batch, p->queries, q_width, stream);
        if (rc == 0 && !a->rope) rc = copy_rows(in[K], k, p->batch, p->keys, k_width, stream);
        if (rc == 0) rc = copy_rows(in[V], v, p->batch, p->keys, v_width, stream);
    }
    if (rc == 0 && a->rope) {
        attention_turn_job<T> turn = {};
        turn.batch = p->batch, turn.width = static_cast<int32_t>(p->width), turn.base = a->rope_base, turn.interleaved = a->rope_style == 1;
        turn.position_at = position_at;
        turn.x = reading(a->projections ? q : in[Q]), turn.y = q, turn.count = p->queries, turn.heads = static_cast<int32_t>(p->heads);
        turn.first = position > 0 ? position : 0;
        rc = cuda_attention_turn<T>(turn, stream);
        turn.x = reading(a->projections ? k : in[K]), turn.y = k, turn.count = p->keys, turn.heads = static_cast<int32_t>(p->kv_heads);
        turn.first = p->rows ? position : 0;
        if (rc == 0) rc = cuda_attention_turn<T>(turn, stream);
    }
    return cuda_status(call, rc);
}

template <typename T> static bool aligned(const attention_rows<const T> &rows) {
    const int64_t each = 16 / static_cast<int64_t>(sizeof(T));
    return (reinterpret_cast<uintptr_t>(rows.data) & 15u) == 0 && rows.batch % each == 0 && rows.row % each == 0;
}

template <typename T> static int forward(const struct flow_call *call) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    const attention_attrs *a = static_cast<const attention_attrs *>(call->attrs);
    const int64_t k_width = p->kv_heads * p->width, v_width = p->kv_heads * p->value_width, mixed = p->heads * p->value_width;
    cudaStream_t stream = cuda_stream(call);
    attention_job<T> job = cuda_attention_job<T>(call);
    const bool ring = p->rows && p->ring, cache = p->rows && !p->ring;
    const attention_rows<T> q = own_rows<T>(call, p->at_q, p->keep_q, p->queries, p->heads * p->width, &call->in[Q]);
    const attention_rows<T> k = key_rows<T>(call, K, K_CACHE, p->at_k, p->keep_k, k_width),
                            v = key_rows<T>(call, V, V_CACHE, p->at_v, p->keep_v, v_width);
    if (ring) job.position = 0, job.position_at = static_cast<const int64_t *>(call->state_in[POSITION].data);
    if (cache) job.position = call->state_in[K_CACHE].shape[1];
    int rc = fill_inputs<T>(call, q, k, v, job.position, job.position_at);
    if (rc < 0) return rc;
    job.q = reading(q), job.k = reading(k), job.v = reading(v);
    job.out = own_rows<T>(call, p->at_mixed, p->keep_mixed, p->queries, mixed, &call->out[0]);
    job.aligned = aligned(job.q) && p->width % 4 == 0 && p->value_width % 4 == 0;
    if (ring) {
        job.ring = p->ring, job.k_ring = rows_of<const T>(&call->state_in[K_RING]), job.v_ring = rows_of<const T>(&call->state_in[V_RING]);
        job.aligned = job.aligned && aligned(job.k_ring) && aligned(job.v_ring);
    } else if (cache) {
        job.k = rows_of<const T>(&call->state_out[K_CACHE]), job.v = rows_of<const T>(&call->state_out[V_CACHE]);
        job.keys = job.position + p->keys;
    }
    job.aligned = job.aligned && aligned(job.k) && aligned(job.v);
    if (call->saved) job.log_sum = reinterpret_cast<T *>(static_cast<char *>(call->saved) + p->keep_log_sum);
    if (p->batch * p->queries > 0) {
        const bool few = p->queries <= 4 || (may_split(p) && p->batch * p->heads < 132 && job.keys + job.ring >= 1024);
        rc = few ? cuda_attention_few<T>(job, cuda_attention_split_of(p), static_cast<char *>(call->workspace) + part_at(p), stream)
                 : cuda_attention_tiles<T>(job, stream);
    }
    if (rc == 0 && ring) {
        rc = cuda_attention_fill_ring<T>(job.k, rows_of<T>(&call->state_out[K_RING]), p->ring, job.position_at, p->batch, p->keys, k_width,
                                         stream);
        if (rc == 0)
            rc = cuda_attention_fill_ring<T>(job.v, rows_of<T>(&call->state_out[V_RING]), p->ring, job.position_at, p->batch, p->keys,
                                             v_width, stream);
        if (rc == 0) rc = cuda_attention_advance(job.position_at, static_cast<int64_t *>(call->state_out[POSITION].data), p->keys, stream);
    }
    rc = cuda_status(call, rc);
    return rc < 0 || !a->projections ? rc : project<T>(call, &p->o, job.out, rows_of<T>(&call->out[0]), p->queries, call->residual);
}

int cuda_attention_forward(const struct flow_call *call) {
    const attention_priv *p = static_cast<const attention_priv *>(call->priv);
    return p->size == 8 ? forward<double>(call) : forward<float>(call);
}

template attention_job<float> cuda_attention_job<float>(const struct flow_call *);
template attention_job<double> cuda_attention_job<double>(const struct flow_call *);
