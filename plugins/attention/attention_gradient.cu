/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention backward: weights are made again from the saved log-sum-exp, tile by tile (FlashAttention, Dao et al., 2022, algorithm 4). Each
 * gradient has blocks of its own that add up in one order: d_q a tile of queries, d_k and d_v a tile of keys, d_bias a tile of it. So
 * scores are made twice (7 products in place of 5), and nothing is added by atomics.
 */
#include "common/cuda.h"

#include "attention_cuda.h"
#include "kernels_cuda.h"

/* delta = sum_c d_out out: a warp a row of [B, heads, Tq]; reads 2*value_width numbers. */
template <typename T> static __global__ void __launch_bounds__(256) delta_rows(attention_back_job<T> a) {
    const int64_t rows = a.of.batch * a.of.heads * a.of.queries, step = static_cast<int64_t>(gridDim.x) * (blockDim.x / CUDA_WARP);
    const int32_t lane = static_cast<int32_t>(threadIdx.x) % CUDA_WARP;
    for (int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / CUDA_WARP) + threadIdx.x / CUDA_WARP; row < rows; row += step) {
        const int64_t query = row % a.of.queries, h = row / a.of.queries % a.of.heads, b = row / a.of.queries / a.of.heads;
        const T *x = a.of.out.data + b * a.of.out.batch + query * a.of.out.row + h * a.of.value_width;
        const T *y = a.d_out.data + b * a.d_out.batch + query * a.d_out.row + h * a.of.value_width;
        T sum = 0;
        for (int32_t c = lane; c < a.of.value_width; c += CUDA_WARP) sum += x[c] * y[c];
#pragma unroll
        for (int m = CUDA_WARP / 2; m > 0; m /= 2) sum += __shfl_xor_sync(CUDA_WHOLE_WARP, sum, m);
        if (lane == 0) a.delta[row] = sum;
    }
}

/* One score's product s to its weight p, and x = d_out v to the gradient of what the softmax sees; `keep`: what dropout multiplies by. */
template <typename T> static __device__ inline void weight_of(T &s, T &x, T log_sum, T delta, T keep) {
    const T p = s == -attention_infinity<T>() ? T(0) : attention_exp2(s * T(ATTENTION_LOG2_E) - log_sum * T(ATTENTION_LOG2_E));
    x = p * (x * keep - delta);
    s = p * keep;
}

/* Rows of a tile, from row `first` of `count`. */
template <typename T> struct tile_rows {
    const T *data;
    int64_t row, first, count;
    __device__ const T *operator()(int r) const { return first + r < count ? data + (first + r) * row : nullptr; }
};

template <typename T, int H, int D>
static __device__ inline void put_rows(const attention_rows<T> &to, int64_t b, int64_t first, int64_t count, int64_t column, int32_t width,
                                       bool add, const T (&acc)[H][D / 16]) {
#pragma unroll
    for (int i = 0; i < H; i++) {
        const int64_t row = first + static_cast<int>(threadIdx.x) / 16 + 16 * i;
        if (row >= count) continue;
        T *at = to.data + b * to.batch + row * to.row + column;
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            const int d = attention_columns<D>::at(c);
            if (d < width) at[d] = acc[i][c] + (add ? at[d] : T(0));
        }
    }
}

/*
 * d_q of a tile of BQ queries of one head: over the keys that they see, s = q k^T, x = d_out v^T, then d_q += x k. 6*width flops a score; k
 * and v are read once for each tile of queries, from L2 for all but the first.
 */
template <typename T, int BQ, int BK, int D> static __global__ void __launch_bounds__(256, 1) back_queries(attention_back_job<T> a) {
    constexpr int H = BQ / 16, W = BK / 16, PITCH = D + 4;
    CUDA_DYNAMIC_SHARED(T, memory, 2 * (BQ + BK) * PITCH + BQ * (BK + 4));
    CUDA_SHARED_AT(T) q = memory;
    CUDA_SHARED_AT(T) d_out = memory + BQ * PITCH;
    CUDA_SHARED_AT(T) k = memory + 2 * BQ * PITCH;
    CUDA_SHARED_AT(T) v = memory + (2 * BQ + BK) * PITCH;
    CUDA_SHARED_AT(T) p = memory + 2 * (BQ + BK) * PITCH;
    const attention_job<T> &job = a.of;
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    const int64_t blocks = (job.queries + BQ - 1) / BQ, rest = static_cast<int64_t>(blockIdx.x) / job.heads, b = rest / blocks;
    const int32_t h = static_cast<int32_t>(static_cast<int64_t>(blockIdx.x) % job.heads), kv = h / job.shared;
    const int64_t query = (blocks - 1 - rest % blocks) * BQ, width = job.width, value_width = job.value_width;
    const uint64_t run = job.below ? job.run.number() : 0;

    attention_load<T, BQ, D, 0>(q, job.width, job.aligned,
                                tile_rows<T>{job.q.data + b * job.q.batch + h * width, job.q.row, query, job.queries});
    attention_load<T, BQ, D, 0>(d_out, job.value_width, job.aligned,
                                tile_rows<T>{a.d_out.data + b * a.d_out.batch + h * value_width, a.d_out.row, query, job.queries});
    int64_t begin, end, unused;
    attention_sees(job.reach, job.position + query, &begin, &unused);
    attention_sees(job.reach, job.position + (query + BQ < job.queries ? query + BQ : job.queries) - 1, &unused, &end);
    begin = begin / BK * BK, end = end < job.keys ? end : job.keys;

    T acc[H][D / 16], log_sum[H], delta[H];
    int32_t low[H], high[H];
#pragma unroll
    for (int i = 0; i < H; i++) {
        const int64_t row = query + ty + 16 * i, at = (b * job.heads + h) * job.queries + row;
        const bool there = row < job.queries;
        log_sum[i] = there ? a.log_sum[at] : attention_infinity<T>(), delta[i] = there ? a.delta[at] : T(0);
        low[i] = high[i] = 0;
        if (there && begin < end) attention_sees_of(job.reach, job.position + row, begin, end, &low[i], &high[i]);
#pragma unroll
        for (int c = 0; c < D / 16; c++) acc[i][c] = 0;
    }
    for (int64_t first = begin; first < end; first += BK) {
        __syncthreads();
        attention_load<T, BK, D, W>(k, job.width, job.aligned,
                                    tile_rows<T>{job.k.data + b * job.k.batch + kv * width, job.k.row, first, end});
        attention_load<T, BK, D, W>(v, job.value_width, job.aligned,
                                    tile_rows<T>{job.v.data + b * job.v.batch + kv * value_width, job.v.row, first, end});
        __syncthreads();
        T s[H][W], x[H][W];
        attention_products<T, H, W, D>(q, k, (job.width + 3) / 4, s);
        attention_products<T, H, W, D>(d_out, v, (job.value_width + 3) / 4, x);
#pragma unroll
        for (int i = 0; i < H; i++) {
            const int64_t row = query + ty + 16 * i, key = first + W * tx;
            T slope[W], keep[W];
#pragma unroll
            for (int j = 0; j < W; j++) keep[j] = 1;
            attention_shape<T, W, false>(job, b, h, row, key, static_cast<int32_t>(key - begin), low[i], high[i], s[i], &slope);
            if (job.below && row < job.queries) attention_drop<T, W>(job, run, b, h, row, key, keep);
#pragma unroll
            for (int j = 0; j < W; j++) {
                weight_of(s[i][j], x[i][j], log_sum[i], delta[i], keep[j]);
                p[W * ((ty + 16 * i) * (BK + 4) / W + tx) + j] = x[i][j] * slope[j];
            }
        }
        __syncwarp();
        attention_values<T, H, W, BK, D>(p, k, acc);
    }
    put_rows<T, H, D>(a.d_q, b, query, job.queries, h * width, job.width, a.add_q, acc);
}

/*
 * d_k and d_v of a tile of BK keys of one head of keys: over the heads that share it and the queries that see it, with rows and columns
 * changed places: s = k q^T, x = v d_out^T, d_v += p d_out, d_k += x q. 8*width flops a score.
 */
template <typename T, int BK, int BQ, int D> static __global__ void __launch_bounds__(256, 1) back_keys(attention_back_job<T> a) {
    constexpr int H = BK / 16, W = BQ / 16, PITCH = D + 4;
    CUDA_DYNAMIC_SHARED(T, memory, 2 * (BQ + BK) * PITCH + BK * (BQ + 4) + 2 * BQ);
    CUDA_SHARED_AT(T) k = memory;
    CUDA_SHARED_AT(T) v = memory + BK * PITCH;
    CUDA_SHARED_AT(T) q = memory + 2 * BK * PITCH;
    CUDA_SHARED_AT(T) d_out = memory + (2 * BK + BQ) * PITCH;
    CUDA_SHARED_AT(T) p = memory + 2 * (BQ + BK) * PITCH;
    CUDA_SHARED_AT(T) sums = memory + 2 * (BQ + BK) * PITCH + BK * (BQ + 4);
    const attention_job<T> &job = a.of;
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    const int32_t kv_heads = job.heads / job.shared, kv = static_cast<int32_t>(static_cast<int64_t>(blockIdx.x) % kv_heads);
    const int64_t blocks = (job.keys + BK - 1) / BK, rest = static_cast<int64_t>(blockIdx.x) / kv_heads, b = rest / blocks;
    const int64_t first = rest % blocks * BK, width = job.width, value_width = job.value_width;
    const uint64_t run = job.below ? job.run.number() : 0;

    attention_load<T, BK, D, 0>(k, job.width, job.aligned,
                                tile_rows<T>{job.k.data + b * job.k.batch + kv * width, job.k.row, first, job.keys});
    attention_load<T, BK, D, 0>(v, job.value_width, job.aligned,
                                tile_rows<T>{job.v.data + b * job.v.batch + kv * value_width, job.v.row, first, job.keys});
    T d_k[H][D / 16], d_v[H][D / 16];
#pragma unroll
    for (int i = 0; i < H; i++)
#pragma unroll
        for (int c = 0; c < D / 16; c++) d_k[i][c] = d_v[i][c] = 0;
    for (int32_t h = kv * job.shared; h < (kv + 1) * job.shared; h++)
        for (int64_t query = 0; query < job.queries; query += BQ) {
            const int64_t stop = query + BQ < job.queries ? query + BQ : job.queries;
            int64_t begin, end, unused;
            attention_sees(job.reach, job.position + query, &begin, &unused);
            attention_sees(job.reach, job.position + stop - 1, &unused, &end);
            if (begin >= first + BK || end <= first) continue; /* the same for all threads */
            __syncthreads();
            attention_load<T, BQ, D, W>(q, job.width, job.aligned,
                                        tile_rows<T>{job.q.data + b * job.q.batch + h * width, job.q.row, query, stop});
            attention_load<T, BQ, D, W>(d_out, job.value_width, job.aligned,
                                        tile_rows<T>{a.d_out.data + b * a.d_out.batch + h * value_width, a.d_out.row, query, stop});
            for (int r = static_cast<int>(threadIdx.x); r < BQ; r += 256) {
                const int64_t at = (b * job.heads + h) * job.queries + query + r;
                sums[r] = query + r < stop ? a.log_sum[at] : attention_infinity<T>();
                sums[BQ + r] = query + r < stop ? a.delta[at] : T(0);
            }
            __syncthreads();
            T s[H][W], x[H][W];
            attention_products<T, H, W, D>(k, q, (job.width + 3) / 4, s);
            attention_products<T, H, W, D>(v, d_out, (job.value_width + 3) / 4, x);
#pragma unroll
            for (int j = 0; j < W; j++) {
                const int64_t row = query + W * tx + j;
                const T log_sum = sums[W * tx + j], delta = sums[BQ + W * tx + j];
                int32_t low = 0, high = 0;
                if (row < stop)
                    attention_sees_of(job.reach, job.position + row, first, first + BK < job.keys ? first + BK : job.keys, &low, &high);
#pragma unroll
                for (int i = 0; i < H; i++) {
                    const int32_t at = ty + 16 * i;
                    T one[1] = {s[i][j]}, slope[1], keep[1] = {T(1)};
                    attention_shape<T, 1, false>(job, b, h, row, first + at, at, low, high, one, &slope);
                    if (job.below && at >= low && at < high) attention_drop<T, 1>(job, run, b, h, row, first + at, keep);
                    weight_of(one[0], x[i][j], log_sum, delta, keep[0]);
                    s[i][j] = one[0], x[i][j] *= slope[0];
                }
            }
#pragma unroll
            for (int i = 0; i < H; i++)
#pragma unroll
                for (int j = 0; j < W; j++) p[W * ((ty + 16 * i) * (BQ + 4) / W + tx) + j] = s[i][j];
            __syncwarp();
            if (a.d_v.data) attention_values<T, H, W, BQ, D>(p, d_out, d_v);
            __syncwarp();
#pragma unroll
            for (int i = 0; i < H; i++)
#pragma unroll
                for (int j = 0; j < W; j++) p[W * ((ty + 16 * i) * (BQ + 4) / W + tx) + j] = x[i][j];
            __syncwarp();
            if (a.d_k.data) attention_values<T, H, W, BQ, D>(p, q, d_k);
        }
    if (a.d_k.data) put_rows<T, H, D>(a.d_k, b, first, job.keys, kv * width, job.width, a.add_k, d_k);
    if (a.d_v.data) put_rows<T, H, D>(a.d_v, b, first, job.keys, kv * value_width, job.value_width, a.add_v, d_v);
}

/*
 * A tile of the gradient of the bias, over all rows of the batch, heads, queries and keys that share it, in their order. Where queries or
 * keys share an element the block goes over all their tiles and adds them up in the end, so such a gradient has few blocks.
 */
template <typename T, int B, int D> static __global__ void __launch_bounds__(256, 1) back_bias(attention_back_job<T> a) {
    constexpr int H = B / 16, W = B / 16, PITCH = D + 4;
    CUDA_DYNAMIC_SHARED(T, memory, 4 * B * PITCH + B * (B + 4));
    CUDA_SHARED_AT(T) q = memory;
    CUDA_SHARED_AT(T) d_out = memory + B * PITCH;
    CUDA_SHARED_AT(T) k = memory + 2 * B * PITCH;
    CUDA_SHARED_AT(T) v = memory + 3 * B * PITCH;
    CUDA_SHARED_AT(T) p = memory + 4 * B * PITCH;
    const attention_job<T> &job = a.of;
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    const int64_t across = (a.bias_columns + B - 1) / B, down = (a.bias_rows + B - 1) / B, block = blockIdx.x;
    const int64_t column = block % across * B, row0 = block / across % down * B, head = block / across / down % a.bias_heads;
    const int64_t batch = block / across / down / a.bias_heads, width = job.width, value_width = job.value_width;
    const bool all_rows = a.d_bias.row == 0, all_columns = a.d_bias.column == 0;
    const uint64_t run = job.below ? job.run.number() : 0;
    T acc[H][W];
#pragma unroll
    for (int i = 0; i < H; i++)
#pragma unroll
        for (int j = 0; j < W; j++) acc[i][j] = 0;
    for (int64_t b = a.d_bias.batch == 0 ? 0 : batch; b < (a.d_bias.batch == 0 ? job.batch : batch + 1); b++)
        for (int32_t h = a.d_bias.head == 0 ? 0 : static_cast<int32_t>(head); h < (a.d_bias.head == 0 ? job.heads : head + 1); h++)
            for (int64_t query = all_rows ? 0 : row0; query < (all_rows ? job.queries : row0 + 1); query += B)
                for (int64_t first = all_columns ? 0 : column; first < (all_columns ? job.keys : column + 1); first += B) {
                    const int32_t kv = h / job.shared;
                    __syncthreads();
                    attention_load<T, B, D, 0>(q, job.width, job.aligned,
                                               tile_rows<T>{job.q.data + b * job.q.batch + h * width, job.q.row, query, job.queries});
                    attention_load<T, B, D, 0>(
                        d_out, job.value_width, job.aligned,
                        tile_rows<T>{a.d_out.data + b * a.d_out.batch + h * value_width, a.d_out.row, query, job.queries});
                    attention_load<T, B, D, W>(k, job.width, job.aligned,
                                               tile_rows<T>{job.k.data + b * job.k.batch + kv * width, job.k.row, first, job.keys});
                    attention_load<T, B, D, W>(v, job.value_width, job.aligned,
                                               tile_rows<T>{job.v.data + b * job.v.batch + kv * value_width, job.v.row, first, job.keys});
                    __syncthreads();
                    T s[H][W], x[H][W];
                    attention_products<T, H, W, D>(q, k, (job.width + 3) / 4, s);
                    attention_products<T, H, W, D>(d_out, v, (job.value_width + 3) / 4, x);
#pragma unroll
                    for (int i = 0; i < H; i++) {
                        const int64_t row = query + ty + 16 * i, at = (b * job.heads + h) * job.queries + row, key = first + W * tx;
                        if (row >= job.queries) continue;
                        int32_t low, high;
                        T keep[W];
#pragma unroll
                        for (int j = 0; j < W; j++) keep[j] = 1;
                        attention_sees_of(job.reach, job.position + row, first, first + B < job.keys ? first + B : job.keys, &low, &high);
                        attention_shape<T, W, false>(job, b, h, row, key, W * tx, low, high, s[i], nullptr);
                        if (job.below) attention_drop<T, W>(job, run, b, h, row, key, keep);
#pragma unroll
                        for (int j = 0; j < W; j++) {
                            weight_of(s[i][j], x[i][j], a.log_sum[at], a.delta[at], keep[j]);
                            acc[i][j] += x[i][j];
                        }
                    }
                }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < H; i++)
#pragma unroll
        for (int j = 0; j < W; j++) p[W * ((ty + 16 * i) * (B + 4) / W + tx) + j] = acc[i][j];
    __syncthreads();
    T *to = a.d_bias.data + batch * a.d_bias.batch + head * a.d_bias.head;
    const int rows = all_rows ? 1 : B, columns = all_columns ? 1 : B;
    for (int i = static_cast<int>(threadIdx.x); i < rows * columns; i += 256) {
        const int r = i / columns, c = i % columns;
        if (row0 + r >= a.bias_rows || column + c >= a.bias_columns) continue;
        T sum = 0;
        for (int y = 0; y < (all_rows ? B : 1); y++)
            for (int z = 0; z < (all_columns ? B : 1); z++) sum += p[(r + y) * (B + 4) + c + z];
        T *at = to + (row0 + r) * a.d_bias.row + (column + c) * a.d_bias.column;
        *at = sum + (a.add_bias ? *at : T(0));
    }
}

/* ---- Launches ------------------------------------------------------------------------------------------------------- */

template <typename T> int cuda_attention_delta(const attention_back_job<T> &job, cudaStream_t stream) {
    return CUDA_LAUNCH((delta_rows<T>), cuda_blocks(job.of.batch * job.of.heads * job.of.queries, 256 / CUDA_WARP), 256, 0, stream, job);
}

template <typename T, int BQ, int BK, int D> static int launch_queries(const attention_back_job<T> &job, cudaStream_t stream) {
    const size_t bytes = (2 * (BQ + BK) * (D + 4) + BQ * (BK + 4)) * sizeof(T);
    const int64_t blocks = (job.of.queries + BQ - 1) / BQ * job.of.heads * job.of.batch;
    int rc = cuda_attention_allow_shared(&back_queries<T, BQ, BK, D>, bytes);
    return rc != 0 ? rc : CUDA_LAUNCH((back_queries<T, BQ, BK, D>), static_cast<unsigned>(blocks), 256, bytes, stream, job);
}
template <typename T, int BK, int BQ, int D> static int launch_keys(const attention_back_job<T> &job, cudaStream_t stream) {
    const size_t bytes = (2 * (BQ + BK) * (D + 4) + BK * (BQ + 4) + 2 * BQ) * sizeof(T);
    const int64_t blocks = (job.of.keys + BK - 1) / BK * (job.of.heads / job.of.shared) * job.of.batch;
    int rc = cuda_attention_allow_shared(&back_keys<T, BK, BQ, D>, bytes);
    return rc != 0 ? rc : CUDA_LAUNCH((back_keys<T, BK, BQ, D>), static_cast<unsigned>(blocks), 256, bytes, stream, job);
}
template <typename T, int B, int D> static int launch_bias(const attention_back_job<T> &job, cudaStream_t stream) {
    const size_t bytes = (4 * B * (D + 4) + B * (B + 4)) * sizeof(T);
    const int64_t blocks = (job.bias_rows + B - 1) / B * ((job.bias_columns + B - 1) / B) * job.bias_heads * job.bias_batch;
    int rc = cuda_attention_allow_shared(&back_bias<T, B, D>, bytes);
    return rc != 0 ? rc : CUDA_LAUNCH((back_bias<T, B, D>), static_cast<unsigned>(blocks), 256, bytes, stream, job);
}

template <typename T> static int32_t widest_of(const attention_back_job<T> &job) {
    return job.of.width > job.of.value_width ? job.of.width : job.of.value_width;
}
#define LAUNCH_WIDTHS(what)                                                                                          \
    template <> int cuda_attention_back_##what<float>(const attention_back_job<float> &job, cudaStream_t stream) {   \
        const int32_t widest = widest_of(job);                                                                       \
        if (widest <= 32) return launch_##what<float, 64, 64, 32>(job, stream);                                      \
        if (widest <= 64) return launch_##what<float, 64, 64, 64>(job, stream);                                      \
        if (widest <= 128) return launch_##what<float, 32, 32, 128>(job, stream);                                    \
        return launch_##what<float, 32, 32, 256>(job, stream);                                                       \
    }                                                                                                                \
    template <> int cuda_attention_back_##what<double>(const attention_back_job<double> &job, cudaStream_t stream) { \
        if (widest_of(job) <= 64) return launch_##what<double, 32, 32, 64>(job, stream);                             \
        return launch_##what<double, 16, 16, 256>(job, stream);                                                      \
    }
LAUNCH_WIDTHS(queries)
LAUNCH_WIDTHS(keys)
template <> int cuda_attention_back_bias<float>(const attention_back_job<float> &job, cudaStream_t stream) {
    return widest_of(job) <= 64 ? launch_bias<float, 32, 64>(job, stream) : launch_bias<float, 32, 256>(job, stream);
}
template <> int cuda_attention_back_bias<double>(const attention_back_job<double> &job, cudaStream_t stream) {
    return widest_of(job) <= 64 ? launch_bias<double, 32, 64>(job, stream) : launch_bias<double, 16, 256>(job, stream);
}
template int cuda_attention_delta<float>(const attention_back_job<float> &, cudaStream_t);
template int cuda_attention_delta<double>(const attention_back_job<double> &, cudaStream_t);
