/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of what was broadcast, in kernels: values that are functions of N tensors, summed onto a smaller one.
 *   to[j] (+)= sum over all places i of `like` that j was broadcast to, of f(in ...)[i]
 * Sums are taken in f64 (f32: runs of 16 in f32), in an order that the shapes alone fix: every sum is one thread's, one group's or one
 * block's, or is cut into chunks whose sums another kernel adds up in order. One pass over the inputs; no atomics.
 *
 * Axes of `like` are kept (`to` moves along them) or summed. Each kind is a nest of its own, so that mostly neither needs a division.
 *   rows      the last axis is summed: a group of 2^n lanes, or a block, for a sum, its lanes side by side along the axis
 *   columns   the last axis is kept: threads side by side along it, 32 by 8 of a block on 32 sums
 */
#ifndef OPS_COMMON_CUDA_ADJOINT_H
#define OPS_COMMON_CUDA_ADJOINT_H

#include "common/cuda_map.h"

enum {
    CUDA_FOLD_RUN = 16,     /* values added up in f32 */
    CUDA_FOLD_UNITS = 1056, /* blocks that fill an H100: 8 a multiprocessor */
    CUDA_FOLD_LEAST = 1024, /* rows: values a block is worth */
    CUDA_FOLD_COLUMN = 64,  /* columns: rows a block is worth */
    CUDA_FOLD_COLUMNS = 32, /* of a block */
    CUDA_FOLD_GROUPS = 8    /* of rows in a block */
};

struct cuda_fold {
    bool rows;
    int64_t sums, each, chunk, chunks;
};

/* Does `to` move along this axis of `like`? */
static inline bool cuda_fold_keeps(const struct flow_tensor *to, const struct flow_tensor *like, int32_t axis) {
    const int32_t own = axis - (like->rank - to->rank);
    return own >= 0 && to->shape[own] != 1;
}

/* How sums are cut: by the shapes alone. */
static inline struct cuda_fold cuda_fold_of(const struct flow_tensor *like, const struct flow_tensor *to) {
    struct cuda_fold f = {true, cuda_count(to), 0, 1, 1};
    const int64_t total = cuda_count(like);
    if (f.sums == 0 || total == 0) return f;
    f.each = total / f.sums;
    for (int32_t axis = like->rank - 1; axis >= 0; axis--) {
        if (like->shape[axis] == 1) continue;
        f.rows = !cuda_fold_keeps(to, like, axis);
        break;
    }
    const int64_t blocks = f.rows ? f.sums : (f.sums + CUDA_FOLD_COLUMNS - 1) / CUDA_FOLD_COLUMNS;
    const int64_t least = f.rows ? CUDA_FOLD_LEAST : CUDA_FOLD_COLUMN;
    int64_t chunks = CUDA_FOLD_UNITS / blocks, most = f.each / least;
    if (chunks > most) chunks = most;
    if (chunks < 1) chunks = 1;
    f.chunk = (f.each + chunks - 1) / chunks;
    f.chunks = (f.each + f.chunk - 1) / f.chunk;
    return f;
}

/* Bytes of workspace that cuda_fold_run wants. */
static inline int64_t cuda_fold_workspace(const struct flow_tensor *like, const struct flow_tensor *to) {
    const struct cuda_fold f = cuda_fold_of(like, to);
    return f.chunks > 1 ? (f.chunks * f.sums * static_cast<int64_t>(sizeof(double)) + 63) / 64 * 64 : 0;
}

template <typename T> static __device__ inline void cuda_fold_put(T *to, int64_t at, double sum, bool add) {
    to[at] = static_cast<T>(add ? sum + static_cast<double>(to[at]) : sum);
}

/* One thread's share: elements begin, begin + step, ... before stop. Four are on their way at a time, to hide the memory's latency. */
template <typename T, int N, typename F>
static __device__ inline double cuda_fold_stretch(const cuda_nest<N> &summed, const int64_t (&base)[N], int64_t begin, int64_t stop,
                                                  int64_t step, const F &f) {
    double sum = 0;
    int64_t i = begin, at[N];
    while (i < stop) {
        T run = 0;
        for (int turn = 0; turn < CUDA_FOLD_RUN / 4 && i + 3 * step < stop; turn++, i += 4 * step) {
            T value[4];
            for (int u = 0; u < 4; u++) {
                summed.at(i + u * step, at);
                for (int k = 0; k < N; k++) at[k] += base[k];
                value[u] = f.value(at);
            }
            run += (value[0] + value[1]) + (value[2] + value[3]);
        }
        if (i + 3 * step >= stop)
            for (; i < stop; i += step) {
                summed.at(i, at);
                for (int k = 0; k < N; k++) at[k] += base[k];
                run += f.value(at);
            }
        sum += static_cast<double>(run);
    }
    return sum;
}

/* 2^shift lanes (up to 32) or, `shift` 8, a block of 256 for a sum or a chunk of one. */
template <typename T, int N, typename F>
static __global__ void __launch_bounds__(256, 2)
    cuda_fold_rows(cuda_nest<N> kept, cuda_nest<N> summed, struct cuda_fold fold, int shift, T *to, double *partial, bool add, F f) {
    CUDA_SHARED(double, warps, 8);
    const int group = 1 << shift, lane = static_cast<int>(threadIdx.x) & (group - 1);
    const int64_t a_block = 256 >> shift, units = fold.sums * fold.chunks, rounds = (units + a_block - 1) / a_block;
    for (int64_t round = blockIdx.x; round < rounds; round += gridDim.x) {
        const int64_t unit = round * a_block + (static_cast<int>(threadIdx.x) >> shift);
        double sum = 0;
        int64_t number = 0, chunk = 0;
        if (unit < units) {
            number = unit, chunk = 0;
            if (fold.chunks > 1) number = unit / fold.chunks, chunk = unit - number * fold.chunks;
            const int64_t begin = chunk * fold.chunk, stop = begin + fold.chunk < fold.each ? begin + fold.chunk : fold.each;
            int64_t base[N];
            kept.at(number, base);
            sum = cuda_fold_stretch<T>(summed, base, begin + lane, stop, group, f);
        }
        for (int step = (group < CUDA_WARP ? group : CUDA_WARP) / 2; step > 0; step /= 2)
            sum += __shfl_xor_sync(CUDA_WHOLE_WARP, sum, step);
        if (group > CUDA_WARP) {
            if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
            __syncthreads();
            if (threadIdx.x == 0) {
                sum = 0;
                for (int w = 0; w < 8; w++) sum += warps[w];
            }
            __syncthreads();
        }
        if (unit < units && lane == 0) {
            if (fold.chunks > 1) partial[chunk * fold.sums + number] = sum;
            else cuda_fold_put(to, number, sum, add);
        }
    }
}

/* 32 sums and a chunk of their values in a block, threads (x, y): rows y, y + 8, ... */
template <typename T, int N, typename F>
static __global__ void __launch_bounds__(256, 2)
    cuda_fold_columns(cuda_nest<N> kept, cuda_nest<N> summed, struct cuda_fold fold, T *to, double *partial, bool add, F f) {
    CUDA_SHARED(double, tile, CUDA_FOLD_GROUPS *CUDA_FOLD_COLUMNS);
    const int x = static_cast<int>(threadIdx.x) % CUDA_FOLD_COLUMNS, y = static_cast<int>(threadIdx.x) / CUDA_FOLD_COLUMNS;
    const int64_t blocks = (fold.sums + CUDA_FOLD_COLUMNS - 1) / CUDA_FOLD_COLUMNS;
    for (int64_t unit = blockIdx.x; unit < blocks * fold.chunks; unit += gridDim.x) {
        const int64_t chunk = unit / blocks, number = (unit - chunk * blocks) * CUDA_FOLD_COLUMNS + x;
        const int64_t begin = chunk * fold.chunk, stop = begin + fold.chunk < fold.each ? begin + fold.chunk : fold.each;
        double sum = 0;
        if (number < fold.sums) {
            int64_t base[N];
            kept.at(number, base);
            sum = cuda_fold_stretch<T>(summed, base, begin + y, stop, CUDA_FOLD_GROUPS, f);
        }
        tile[y * CUDA_FOLD_COLUMNS + x] = sum;
        __syncthreads();
        if (y == 0 && number < fold.sums) {
            for (int k = 1; k < CUDA_FOLD_GROUPS; k++) sum += tile[k * CUDA_FOLD_COLUMNS + x];
            if (fold.chunks > 1) partial[chunk * fold.sums + number] = sum;
            else cuda_fold_put(to, number, sum, add);
        }
        __syncthreads();
    }
}

/* The sums of chunks: 2^shift sums side by side in a block, 256 >> shift threads for each. (cuda_move.cu) */
int cuda_fold_join(cudaStream_t stream, const struct cuda_fold *fold, const double *partial, void *to, bool wide, bool add);

/* As the CPU's fold_run. in[k] broadcast to `like`; `to` is row-major, of type T, and broadcasts to `like`. F: a struct of plain values
 * with
 *   __device__ T value(const int64_t (&at)[N]) const
 * the value of the element that lies at at[k] in tensor k. workspace NULL: in one kernel, whatever that takes. 0 or a cudaError_t. */
template <typename T, int N, typename F>
static inline int cuda_fold_run(cudaStream_t stream, const struct flow_tensor *like, const struct flow_tensor *to,
                                const struct flow_tensor *const (&in)[N], bool add, void *workspace, const F &f) {
    struct cuda_fold fold = cuda_fold_of(like, to);
    if (workspace == nullptr) fold.chunk = fold.each, fold.chunks = 1;
    if (fold.sums == 0) return 0;
    if (fold.each == 0) return cuda_zero(stream, to, add);
    cuda_nest<N> kept = cuda_nest_begin<N>(), summed = cuda_nest_begin<N>();
    for (int32_t axis = 0; axis < like->rank; axis++) {
        int64_t stride[N];
        for (int k = 0; k < N; k++) stride[k] = cuda_stride_of(in[k], like, axis);
        cuda_nest_axis(cuda_fold_keeps(to, like, axis) ? kept : summed, like->shape[axis], stride);
    }
    cuda_nest_end(kept), cuda_nest_end(summed);
    double *partial = static_cast<double *>(workspace);
    T *target = static_cast<T *>(to->data);
    int error;
    if (fold.rows) {
        int shift = 0;
        while (shift < 5 && (INT64_C(4) << shift) <= fold.chunk) shift++;
        if (fold.chunk >= CUDA_FOLD_LEAST / 2) shift = 8;
        const int64_t a_block = 256 >> shift, blocks = (fold.sums * fold.chunks + a_block - 1) / a_block;
        error = CUDA_LAUNCH((cuda_fold_rows<T, N, F>), cuda_blocks(blocks, 1), 256, 0, stream, kept, summed, fold, shift, target, partial,
                            add, f);
    } else {
        const int64_t blocks = (fold.sums + CUDA_FOLD_COLUMNS - 1) / CUDA_FOLD_COLUMNS * fold.chunks;
        error =
            CUDA_LAUNCH((cuda_fold_columns<T, N, F>), cuda_blocks(blocks, 1), 256, 0, stream, kept, summed, fold, target, partial, add, f);
    }
    if (error != 0 || fold.chunks == 1) return error;
    return cuda_fold_join(stream, &fold, partial, to->data, sizeof(T) == sizeof(double), add);
}

/* The values of one tensor as they are. */
template <typename T> struct cuda_fold_same {
    const T *from;
    __device__ T value(const int64_t (&at)[1]) const { return from[at[0]]; }
};
/* f32 or f64, `from` of like's shape summed onto `to`; workspace as above. 0 or a cudaError_t. */
int cuda_fold_sum(cudaStream_t stream, const struct flow_tensor *from, const struct flow_tensor *to, bool add, void *workspace);

#endif
