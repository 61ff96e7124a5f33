/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CUDA kernels of attention share: what they work on, which keys a query sees, and the two products of tiles in shared memory.
 *
 * A block is 16 x 16 threads; thread (tx, ty) has rows ty + 16 i of a tile's product and, in a product of rows with rows (scores), columns
 * W tx + j (W columns a thread), so that a thread's columns lie side by side. For that the tile whose rows become columns is stored with
 * row W a + j in slot 16 j + a: threads of a quarter of a warp then read slots side by side, and a row's length of D + 4 keeps them in
 * banks of their own. Rows ty + 16 i of anything belong to one half of a warp, which writes and reads them without a barrier of the block.
 */
#ifndef PLUGINS_ATTENTION_CUDA_H
#define PLUGINS_ATTENTION_CUDA_H

#include "common/cuda.h"

#include <flow/random.h>

#include "attention_node.h"

/* Rows [batch][row] somewhere; distances in elements. */
template <typename T> struct attention_rows {
    T *data;
    int64_t batch, row;
};
/* What broadcasts to the scores. */
template <typename T> struct attention_scores {
    T *data; /* NULL: none */
    int64_t batch, head, row, column;
};

template <typename T> struct attention_job {
    attention_rows<const T> q, k, v;
    attention_rows<const T> k_ring, v_ring; /* keys before the first of k, position p in row p % ring */
    int64_t ring;
    attention_rows<T> out;
    T *log_sum;                 /* [B, heads, Tq], +infinity where there is nothing to attend; NULL */
    const int64_t *position_at; /* of the first query and of row 0 of k, where only the device knows it; NULL: `position` and 0 */
    int64_t position;           /* of the first query */
    int64_t batch, queries, keys;
    int32_t heads, shared, width, value_width; /* shared: heads on one head of keys */
    attention_reach reach;
    T scale, softcap;
    attention_scores<const uint8_t> mask;
    attention_scores<const T> bias;
    uint64_t key, below; /* dropout: words below `below` drop their weight; 0: none */
    cuda_run_number run;
    T kept;       /* what weights that stay are multiplied by */
    bool aligned; /* rows of q, k, v (and out, for backward) can be read 16 bytes at a time */
    bool plain;   /* no softcap, mask, bias */
};

template <typename T> struct alignas(16) attention_quad { T x[4]; };

static __device__ inline float attention_exp2(float x) { return exp2f(x); }
static __device__ inline double attention_exp2(double x) { return exp2(x); }
static __device__ inline float attention_log(float x) { return logf(x); }
static __device__ inline double attention_log(double x) { return log(x); }
static __device__ inline float attention_tanh(float x) { return tanhf(x); }
static __device__ inline double attention_tanh(double x) { return tanh(x); }
template <typename T> static __device__ inline T attention_infinity();
template <> __device__ inline float attention_infinity<float>() { return INFINITY; }
template <> __device__ inline double attention_infinity<double>() { return static_cast<double>(INFINITY); }
static const double ATTENTION_LOG2_E = 1.4426950408889634;

/* Keys [low, high) that the query at `position` sees, as on the CPU (attention_tiles.h). */
static __device__ inline void attention_sees(const attention_reach &reach, int64_t position, int64_t *low, int64_t *high) {
    *low = 0, *high = reach.causal ? position + 1 : INT64_MAX / 2;
    if (reach.window > 0 && position - reach.window + 1 > *low) *low = position - reach.window + 1;
    if (reach.chunk > 0) {
        const int64_t chunk = position >= 0 ? position / reach.chunk : -1, start = chunk * reach.chunk;
        const int64_t from = reach.overlap ? start - reach.chunk : start;
        if (from > *low) *low = from;
        if (start + reach.chunk < *high) *high = start + reach.chunk;
    }
    if (*high < *low) *high = *low;
}

/* The same as places of a stretch of keys [begin, end). */
static __device__ inline void attention_sees_of(const attention_reach &reach, int64_t position, int64_t begin, int64_t end, int32_t *low,
                                                int32_t *high) {
    int64_t from, to;
    attention_sees(reach, position, &from, &to);
    from = from < begin ? begin : from > end ? end : from, to = to < from ? from : to > end ? end : to;
    *low = static_cast<int32_t>(from - begin), *high = static_cast<int32_t>(to - begin);
}

/* Where queries and keys lie on the axis of positions. */
struct attention_place {
    int64_t position, first, begin, end; /* of the first query, of row 0 of k; keys there are */
};
template <typename T> static __device__ inline attention_place attention_place_of(const attention_job<T> &a) {
    attention_place place;
    place.position = a.position_at ? *a.position_at : a.position;
    place.first = a.position_at ? place.position : 0;
    place.begin = place.first - (place.first < a.ring ? place.first : a.ring);
    place.end = place.first + a.keys;
    return place;
}
template <typename T>
static __device__ inline const T *attention_key(const attention_rows<const T> &rows, const attention_rows<const T> &ring, int64_t ring_rows,
                                                int64_t first, int64_t b, int64_t key) {
    return key >= first ? rows.data + b * rows.batch + (key - first) * rows.row : ring.data + b * ring.batch + key % ring_rows * ring.row;
}

/* ---- Scores to what the softmax sees -------------------------------------------------------------------------------- */

/* W scores of adjacent keys from `key` on of one query; those whose place, `at` on, is outside [low, high) become minus infinity. slope:
 * their derivative by the product. PLAIN: no softcap, mask, bias. */
template <typename T, int W, bool PLAIN>
static __device__ inline void attention_shape(const attention_job<T> &a, int64_t b, int32_t h, int64_t query, int64_t key, int32_t at,
                                              int32_t low, int32_t high, T (&s)[W], T (*slope)[W]) {
#pragma unroll
    for (int j = 0; j < W; j++) {
        T x = s[j] * a.scale, by = a.scale;
        const bool seen = at + j >= low && at + j < high;
        if (!PLAIN) {
            if (a.softcap > 0) {
                const T t = attention_tanh(x / a.softcap);
                x = a.softcap * t, by *= T(1) - t * t;
            }
            if (a.bias.data && seen) x += a.bias.data[b * a.bias.batch + h * a.bias.head + query * a.bias.row + (key + j) * a.bias.column];
            if (a.mask.data && seen && !a.mask.data[b * a.mask.batch + h * a.mask.head + query * a.mask.row + (key + j) * a.mask.column])
                x = -attention_infinity<T>();
        }
        s[j] = seen ? x : -attention_infinity<T>();
        if (slope) (*slope)[j] = by;
    }
}

/* What the weights of W adjacent keys, the first a multiple of W, are multiplied by. Row r of the scores [B, heads, Tq] takes the words of
 * the node's blocks from r * (Tk / 4, rounded up) on: as on the CPU. */
template <typename T, int W>
static __device__ inline void attention_drop(const attention_job<T> &a, uint64_t run, int64_t b, int32_t h, int64_t query, int64_t key,
                                             T (&keep)[W]) {
    const int64_t row = (b * a.heads + h) * a.queries + query;
    uint32_t words[4];
    flow_philox(a.key, run, static_cast<uint64_t>(row * ((a.keys + 3) / 4) + key / 4), words);
#pragma unroll
    for (int j = 0; j < W; j++) {
        const int at = static_cast<int>(key % 4) + j;
        const uint32_t word = at == 0 ? words[0] : at == 1 ? words[1] : at == 2 ? words[2] : words[3];
        keep[j] = word < a.below ? T(0) : a.kept;
    }
}

/* ---- Tiles in shared memory ----------------------------------------------------------------------------------------- */

/* COUNT rows of `width` elements, rows[r] given by row(r) (NULL: zeros), to shared memory D + 4 apart, zeros up to D. W 0: row r in slot r;
 * else as columns of a product of scores. All threads. */
template <typename T, int COUNT, int D, int W, typename F>
static __device__ inline void attention_load(CUDA_SHARED_AT(T) to, int32_t width, bool aligned, F row) {
    constexpr int EACH = COUNT * D / 4;
#pragma unroll 4 /* loads on their way at a time */
    for (int i = static_cast<int>(threadIdx.x); i < EACH; i += 256) {
        const int r = i / (D / 4), d = i % (D / 4) * 4;
        const int slot = W == 0 ? r : r % (W == 0 ? 1 : W) * 16 + r / (W == 0 ? 1 : W);
        const T *from = row(r);
        attention_quad<T> x = {{T(0), T(0), T(0), T(0)}};
        if (from && d < width) {
            if (aligned) x = *reinterpret_cast<const attention_quad<T> *>(from + d);
            else
                for (int e = 0; e < 4; e++)
                    if (d + e < width) x.x[e] = from[d + e];
        }
        const int at = 4 * (slot * (D / 4 + 1) + d / 4);
#pragma unroll
        for (int e = 0; e < 4; e++) to[at + e] = x.x[e];
    }
}

/* s[i][j] = sum_d a[ty + 16 i][d] b[slot tx + 16 j][d] over 4 * quads. */
template <typename T, int H, int W, int D>
static __device__ inline void attention_products(CUDA_SHARED_AT(T) a, CUDA_SHARED_AT(T) b, int quads, T (&s)[H][W]) {
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
    for (int i = 0; i < H; i++)
#pragma unroll
        for (int j = 0; j < W; j++) s[i][j] = 0;
#pragma unroll 1 /* two would spill on one of the architectures, and 16 warps hide what one leaves */
    for (int d = 0; d < quads; d++) {
        T x[H][4];
#pragma unroll
        for (int i = 0; i < H; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) x[i][e] = a[4 * ((ty + 16 * i) * (D / 4 + 1) + d) + e];
#pragma unroll
        for (int j = 0; j < W; j++) {
            T y[4];
#pragma unroll
            for (int e = 0; e < 4; e++) y[e] = b[4 * ((tx + 16 * j) * (D / 4 + 1) + d) + e];
#pragma unroll
            for (int i = 0; i < H; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[i][j] += x[i][e] * y[e];
        }
    }
}

/* Columns of a thread in a tile's row of D: groups of `few` neighbours, 16 * few apart. */
template <int D> struct attention_columns {
    static const int count = D / 16, few = count < 4 ? count : 4, groups = count / few;
    static __device__ int at(int c) { return few * (static_cast<int>(threadIdx.x) % 16) + 16 * few * (c / few) + c % few; }
};

/* acc[i][c] += sum_k p[ty + 16 i][k] v[k][column c]; rows of p are COUNT + 4 apart. W: how v is stored. */
template <typename T, int H, int W, int COUNT, int D>
static __device__ inline void attention_values(CUDA_SHARED_AT(T) p, CUDA_SHARED_AT(T) v, T (&acc)[H][D / 16]) {
    constexpr int C = D / 16, FEW = attention_columns<D>::few;
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll 1
    for (int k = 0; k < COUNT; k += 4) {
        T w[H][4];
#pragma unroll
        for (int i = 0; i < H; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) w[i][e] = p[4 * ((ty + 16 * i) * (COUNT / 4 + 1) + k / 4) + e];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int slot = W == 0 ? k + e : (k + e) % (W == 0 ? 1 : W) * 16 + (k + e) / (W == 0 ? 1 : W);
#pragma unroll
            for (int g = 0; g < C / FEW; g++) {
                T x[FEW];
#pragma unroll
                for (int f = 0; f < FEW; f++) x[f] = v[4 * slot * (D / 4 + 1) + FEW * (tx + 16 * g) + f];
#pragma unroll
                for (int i = 0; i < H; i++)
#pragma unroll
                    for (int f = 0; f < FEW; f++) acc[i][g * FEW + f] += w[i][e] * x[f];
            }
        }
    }
}

/* The same over all 16 threads of a row. */
template <typename T> static __device__ inline T attention_row_sum(T x) {
#pragma unroll
    for (int m = 8; m > 0; m /= 2) x += __shfl_xor_sync(CUDA_WHOLE_WARP, x, m);
    return x;
}
template <typename T> static __device__ inline T attention_row_most(T x) {
#pragma unroll
    for (int m = 8; m > 0; m /= 2) {
        const T y = __shfl_xor_sync(CUDA_WHOLE_WARP, x, m);
        x = y > x ? y : x;
    }
    return x;
}

/* ---- Launches: 0, or a cudaError_t ---------------------------------------------------------------------------------- */

/* Heads wider than this have no kernel here. */
enum { ATTENTION_CUDA_WIDEST = 256 };

template <typename T> int cuda_attention_tiles(const attention_job<T> &job, cudaStream_t stream);

/* A few queries on many keys: stretches of keys are worked on by blocks of their own, then put together. How the keys are cut depends on
 * the extents of queries alone, so that room is planned without knowing the keys. */
struct attention_split {
    int32_t rows, groups, splits; /* pairs of head and query that a block has; how many times those of a head of keys; stretches */
};
attention_split cuda_attention_split_of(const attention_priv *p);
int64_t cuda_attention_split_bytes(const attention_priv *p);
template <typename T> int cuda_attention_few(const attention_job<T> &job, const attention_split &split, void *part, cudaStream_t stream);

/* y = x turned by position * base^(-2 i / width), pairs of each head; rows `first` (or *position_at + first) on. x and y may be the same.
 */
template <typename T> struct attention_turn_job {
    attention_rows<const T> x;
    attention_rows<T> y;
    int64_t batch, count, first;
    const int64_t *position_at;
    int32_t heads, width;
    double base;
    bool interleaved, back, add; /* add: to what y holds */
};
template <typename T> int cuda_attention_turn(const attention_turn_job<T> &job, cudaStream_t stream);

/* The last rows of a piece into the ring; then the position goes on by `count`. */
template <typename T>
int cuda_attention_fill_ring(attention_rows<const T> x, attention_rows<T> ring, int64_t ring_rows, const int64_t *position, int64_t batch,
                             int64_t count, int64_t width, cudaStream_t stream);
int cuda_attention_advance(const int64_t *from, int64_t *to, int64_t by, cudaStream_t stream);

/* Backward. Gradients with data NULL are not made. */
template <typename T> struct attention_back_job {
    attention_job<T> of;
    attention_rows<const T> d_out;
    attention_rows<T> d_q, d_k, d_v;
    bool add_q, add_k, add_v, add_bias;
    const T *log_sum;
    T *delta; /* [B, heads, Tq] */
    attention_scores<T> d_bias;
    int64_t bias_batch, bias_heads, bias_rows, bias_columns; /* its extents, 1 where it broadcasts */
};
template <typename T> int cuda_attention_delta(const attention_back_job<T> &job, cudaStream_t stream);
template <typename T> int cuda_attention_back_queries(const attention_back_job<T> &job, cudaStream_t stream);
template <typename T> int cuda_attention_back_keys(const attention_back_job<T> &job, cudaStream_t stream);
template <typename T> int cuda_attention_back_bias(const attention_back_job<T> &job, cudaStream_t stream);

template <typename K> static inline int cuda_attention_allow_shared(K kernel, size_t bytes) {
    return bytes <= 48 << 10
               ? 0
               : static_cast<int>(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

/* The job of a call, without rows, and what its mask and bias are. (attention.cu) */
template <typename T> attention_job<T> cuda_attention_job(const struct flow_call *call);
int64_t cuda_attention_sums_at(const attention_priv *p); /* in backward's workspace: room of the sums of rows */
/* Shapes of sums over rows: [rows, columns] and [columns]. */
static inline void cuda_attention_sum_shapes(int64_t rows, int64_t columns, int64_t size, struct flow_tensor *like,
                                             struct flow_tensor *to) {
    *like = {}, *to = {};
    like->dtype = to->dtype = size == 8 ? FLOW_F64 : FLOW_F32, like->rank = 2, to->rank = 1;
    like->shape[0] = rows, like->shape[1] = columns, like->strides[0] = columns, like->strides[1] = 1;
    to->shape[0] = columns, to->strides[0] = 1;
}
static inline int64_t cuda_attention_stride(const struct flow_tensor *t, int32_t axis) {
    const int32_t own = t->rank - 4 + axis;
    return own < 0 || t->shape[own] == 1 ? 0 : t->strides[own];
}
static inline const struct flow_tensor *cuda_attention_given(const struct flow_call *call, uint32_t port) {
    return call->in_count > port && call->in[port].rank >= 0 ? &call->in[port] : nullptr;
}
template <typename T> static inline attention_scores<T> cuda_attention_scores(const struct flow_tensor *t) {
    return {static_cast<T *>(t->data), cuda_attention_stride(t, 0), cuda_attention_stride(t, 1), cuda_attention_stride(t, 2),
            cuda_attention_stride(t, 3)};
}

#endif
