/* SPDX-License-Identifier: Apache-2.0 */
/* Attention forward: a block for a tile of queries of one head, over the keys that they see. */
#include "common/cuda.h"

#include "attention_cuda.h"
#include "kernels_cuda.h"

/*
 * Online softmax (Milakov, Gimelshein, 2018; tiles as in FlashAttention, Dao et al., 2022): queries, keys, values and weights of a tile in
 * shared memory, results and the rows' largest score and sum in registers; nothing of size Tq x Tk in memory. A block reads each key that
 * it sees once: with BQ queries 2*BQ flops by element of k or v, so f32 products, not memory, are the limit (width 64, T 4096: 4.3 GFLOP a
 * head, 0.12 ms at 35 TFLOP/s, causal half of that; shared memory is read 12 times for 64 products of a warp, 16 cycles of a
 * multiprocessor's either way). Two barriers a tile. Blocks of one head of keys are neighbours, so that the second one finds them in L2;
 * those with most keys come first.
 */
template <typename T, int BQ, int BK, int D, bool PLAIN>
static __global__ void __launch_bounds__(256, PLAIN && sizeof(T) == 4 ? 2 : 1) tiles_forward(attention_job<T> a) {
    constexpr int H = BQ / 16, W = BK / 16, C = D / 16, PITCH = D + 4;
    CUDA_DYNAMIC_SHARED(T, memory, (BQ + 2 * BK) * PITCH + BQ * (BK + 4));
    CUDA_SHARED(int32_t, sees, 2 * BQ); /* places of the keys that a row sees: from, to */
    CUDA_SHARED_AT(T) q = memory;
    CUDA_SHARED_AT(T) k = memory + BQ * PITCH;
    CUDA_SHARED_AT(T) v = memory + (BQ + BK) * PITCH;
    CUDA_SHARED_AT(T) p = memory + (BQ + 2 * BK) * PITCH;
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    const int64_t blocks = (a.queries + BQ - 1) / BQ, rest = static_cast<int64_t>(blockIdx.x) / a.heads, b = rest / blocks;
    const int32_t h = static_cast<int32_t>(static_cast<int64_t>(blockIdx.x) % a.heads), kv = h / a.shared;
    const int64_t query = (blocks - 1 - rest % blocks) * BQ;
    const attention_place place = attention_place_of(a);
    const int quads = (a.width + 3) / 4;
    const uint64_t run = !PLAIN && a.below ? a.run.number() : 0;

    const T *q_rows = a.q.data + b * a.q.batch + static_cast<int64_t>(h) * a.width;
    attention_load<T, BQ, D, 0>(q, a.width, a.aligned, [&](int r) {
        return query + r < a.queries ? q_rows + (query + r) * a.q.row : static_cast<const T *>(nullptr);
    });
    int64_t begin, end, unused;
    const int64_t last = query + BQ < a.queries ? query + BQ - 1 : a.queries - 1;
    attention_sees(a.reach, place.position + query, &begin, &unused);
    attention_sees(a.reach, place.position + last, &unused, &end);
    begin = (begin > place.begin ? begin : place.begin) / BK * BK, end = end < place.end ? end : place.end;
    const int32_t before = static_cast<int32_t>(place.begin > begin ? place.begin - begin : 0); /* places without a key */

    T acc[H][C], most[H], sum[H];
#pragma unroll
    for (int i = 0; i < H; i++) {
        most[i] = -attention_infinity<T>(), sum[i] = 0;
#pragma unroll
        for (int c = 0; c < C; c++) acc[i][c] = 0;
    }
    for (int r = static_cast<int>(threadIdx.x); r < BQ; r += 256) {
        int32_t low = 0, high = 0;
        if (begin < end && query + r < a.queries) attention_sees_of(a.reach, place.position + query + r, begin, end, &low, &high);
        sees[r] = low > before ? low : before, sees[BQ + r] = high;
    }
    const int32_t places = begin < end ? static_cast<int32_t>(end - begin) : 0;
    for (int32_t first = 0; first < places; first += BK) {
        __syncthreads(); /* the tile before is no longer read */
        attention_load<T, BK, D, W>(k, a.width, a.aligned, [&](int r) {
            const int64_t key = begin + first + r;
            return first + r < before || first + r >= places
                       ? static_cast<const T *>(nullptr)
                       : attention_key(a.k, a.k_ring, a.ring, place.first, b, key) + static_cast<int64_t>(kv) * a.width;
        });
        attention_load<T, BK, D, 0>(v, a.value_width, a.aligned, [&](int r) {
            const int64_t key = begin + first + r;
            return first + r < before || first + r >= places
                       ? static_cast<const T *>(nullptr)
                       : attention_key(a.v, a.v_ring, a.ring, place.first, b, key) + static_cast<int64_t>(kv) * a.value_width;
        });
        __syncthreads();
        T s[H][W];
        attention_products<T, H, W, D>(q, k, quads, s);
#pragma unroll
        for (int i = 0; i < H; i++) {
            const int64_t row = query + ty + 16 * i, key = begin + first + W * tx;
            attention_shape<T, W, PLAIN>(a, b, h, row, key, first + W * tx, sees[ty + 16 * i], sees[BQ + ty + 16 * i], s[i], nullptr);
            T top = most[i];
#pragma unroll
            for (int j = 0; j < W; j++) top = s[i][j] > top ? s[i][j] : top;
            top = attention_row_most(top);
            const T from = top == -attention_infinity<T>() ? T(0) : top * T(ATTENTION_LOG2_E); /* nothing seen so far: all are 0 */
            const T shrink = attention_exp2(most[i] * T(ATTENTION_LOG2_E) - from);
            most[i] = top, sum[i] *= shrink;
#pragma unroll
            for (int j = 0; j < W; j++) {
                s[i][j] = attention_exp2(s[i][j] * T(ATTENTION_LOG2_E) - from);
                sum[i] += s[i][j]; /* of this thread's columns; put together at the end */
            }
#pragma unroll
            for (int c = 0; c < C; c++) acc[i][c] *= shrink;
            if (!PLAIN && a.below && row < a.queries) { /* dropped weights are missing in the mean, not in the sum */
                T keep[W];
                attention_drop<T, W>(a, run, b, h, row, key, keep);
#pragma unroll
                for (int j = 0; j < W; j++) s[i][j] *= keep[j];
            }
#pragma unroll
            for (int j = 0; j < W; j++) p[W * ((ty + 16 * i) * (BK + 4) / W + tx) + j] = s[i][j];
        }
        __syncwarp();
        attention_values<T, H, 0, BK, D>(p, v, acc);
    }
#pragma unroll
    for (int i = 0; i < H; i++) {
        const int64_t row = query + ty + 16 * i;
        const T all = attention_row_sum(sum[i]), by = all > 0 ? T(1) / all : T(0);
        if (row >= a.queries) continue;
        T *to = a.out.data + b * a.out.batch + row * a.out.row + static_cast<int64_t>(h) * a.value_width;
#pragma unroll
        for (int c = 0; c < C; c++)
            if (attention_columns<D>::at(c) < a.value_width) to[attention_columns<D>::at(c)] = acc[i][c] * by;
        if (a.log_sum && tx == 0)
            a.log_sum[(b * a.heads + h) * a.queries + row] = all > 0 ? most[i] + attention_log(all) : attention_infinity<T>();
    }
}

template <typename T, int BQ, int BK, int D, bool PLAIN> static int launch_as(const attention_job<T> &job, cudaStream_t stream) {
    const size_t bytes = ((BQ + 2 * BK) * (D + 4) + BQ * (BK + 4)) * sizeof(T);
    const int64_t blocks = (job.queries + BQ - 1) / BQ * job.heads * job.batch;
    int rc = cuda_attention_allow_shared(&tiles_forward<T, BQ, BK, D, PLAIN>, bytes);
    if (rc != 0) return rc;
    return CUDA_LAUNCH((tiles_forward<T, BQ, BK, D, PLAIN>), static_cast<unsigned>(blocks), 256, bytes, stream, job);
}
template <typename T, int BQ, int BK, int D> static int launch(const attention_job<T> &job, cudaStream_t stream) {
    const bool plain = job.plain && job.below == 0;
    return plain ? launch_as<T, BQ, BK, D, true>(job, stream) : launch_as<T, BQ, BK, D, false>(job, stream);
}

template <> int cuda_attention_tiles<float>(const attention_job<float> &job, cudaStream_t stream) {
    const int32_t widest = job.width > job.value_width ? job.width : job.value_width;
    if (widest <= 32) return launch<float, 64, 64, 32>(job, stream);
    if (widest <= 64) return launch<float, 64, 64, 64>(job, stream);
    if (widest <= 128) return launch<float, 64, 32, 128>(job, stream);
    return launch<float, 32, 32, 256>(job, stream);
}
template <> int cuda_attention_tiles<double>(const attention_job<double> &job, cudaStream_t stream) {
    const int32_t widest = job.width > job.value_width ? job.width : job.value_width;
    return widest <= 64 ? launch<double, 32, 32, 64>(job, stream) : launch<double, 16, 16, 256>(job, stream);
}
