/* SPDX-License-Identifier: Apache-2.0 */
/* What group_norm, instance_norm and batch_norm share on CUDA. Moments are taken of units (a piece of a group; a channel's places in one
 * sample; 128 rows of channels side by side), joined in order by a warp for each group or channel, and applied in a pass over all elements.
 */
#ifndef OPS_NORM_MOMENTS_CUDA_H
#define OPS_NORM_MOMENTS_CUDA_H

#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/shape.h"
#include "norm/norm.h"

enum { MOMENTS_THREADS = 256 };

static inline unsigned moments_grid(int64_t blocks) {
    return static_cast<unsigned>(blocks < 1 ? 1 : blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF);
}

/* ---- Moments of units ---- */

/* Of adjacent elements: `pieces` of each row, at most `piece` long. A unit is LANES threads' work: its elements are read twice, the second
 * time from the cache; the squares are taken around the rounded mean, and the sum of deviations takes out what that moved. */
template <typename T> struct moments_of {
    group_moments *to;
    const T *x;
    int64_t rows, row, pieces, piece;
};
template <typename T, int LANES> static __global__ void __launch_bounds__(MOMENTS_THREADS, 2) moments_rows(moments_of<T> of) {
    CUDA_SHARED(cuda_two<double>, kept, 32);
    constexpr int GROUPS = MOMENTS_THREADS / LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) / LANES;
    const cuda_two<double> none = {0, 0};
    CUDA_EACH_ROWS(first, of.rows * of.pieces, GROUPS) {
        const int64_t unit = first + group, start = unit % of.pieces * of.piece;
        const bool inside = unit < of.rows * of.pieces;
        const int64_t left = of.row - start, n = !inside ? 0 : left < of.piece ? left : of.piece;
        const T *x = of.x + (unit / of.pieces * of.row + start);
        const double count = static_cast<double>(n);
        cuda_two<double> sums = none;
        for (int64_t i = lane; i < n; i += 8 * LANES) {
            T part = 0;
#pragma unroll
            for (int u = 0; u < 8; u++) part += i + u * LANES < n ? x[i + u * LANES] : T(0);
            sums.a += static_cast<double>(part);
        }
        const T mean = static_cast<T>(cuda_lanes<LANES>(sums, none, cuda_join_sum(), kept).a / count);
        sums = none;
        for (int64_t i = lane; i < n; i += 8 * LANES) {
            T a = 0, b = 0;
#pragma unroll
            for (int u = 0; u < 8; u++) {
                const T d = i + u * LANES < n ? x[i + u * LANES] - mean : T(0);
                a += d, b += d * d;
            }
            sums.a += static_cast<double>(a), sums.b += static_cast<double>(b);
        }
        sums = cuda_lanes<LANES>(sums, none, cuda_join_sum(), kept);
        const double off = sums.a / count, around = sums.b - sums.a * off;
        if (inside && lane == 0) of.to[unit] = {static_cast<double>(mean) + off, around > 0 || around != around ? around : 0};
    }
}

/* Of channels side by side: x [rows, channels], a unit is NORM_BLOCK rows of a channel; 32 channels by 8 rows a block. */
template <typename T>
static __global__ void __launch_bounds__(256, 2) moments_columns(group_moments *to, const T *x, int64_t rows, int64_t channels) {
    CUDA_SHARED(cuda_moments, kept, 256);
    const int thread = static_cast<int>(threadIdx.x), column = thread % 32, high = thread / 32;
    const int64_t tiles = (channels + 31) / 32, units = (rows + NORM_BLOCK - 1) / NORM_BLOCK;
    CUDA_EACH_ROWS(block, tiles * units, 1) {
        const int64_t c = block % tiles * 32 + column, unit = block / tiles, begin = unit * NORM_BLOCK;
        const int64_t end = begin + NORM_BLOCK < rows ? begin + NORM_BLOCK : rows;
        cuda_moments of = {0, 0, 0};
        if (c < channels) {
            for (int64_t r = begin + high; r < end; r += 8) of.n += 1, of.mean += static_cast<double>(x[r * channels + c]);
            if (of.n > 0) of.mean /= of.n;
            for (int64_t r = begin + high; r < end; r += 8) {
                const double d = static_cast<double>(x[r * channels + c]) - of.mean;
                of.squares += d * d;
            }
        }
        __syncthreads();
        kept[thread] = of;
        __syncthreads();
        if (high > 0 || c >= channels) continue;
        for (int k = 1; k < 8; k++) {
            const cuda_moments more = kept[k * 32 + column];
            of = cuda_join_moments()(of, more);
        }
        to[unit * channels + c] = {of.mean, of.squares};
    }
}

/* A warp joins units `first`, first + step .. of one group or channel: `units` of them, each of `each` elements but the last of `last`. */
static __device__ inline cuda_moments moments_join(const group_moments *of, int64_t first, int64_t step, int64_t units, int64_t each,
                                                   int64_t last) {
    cuda_moments all = {0, 0, 0};
    for (int64_t u = static_cast<int64_t>(threadIdx.x) % 32; u < units; u += 32) {
        const group_moments m = of[first + u * step];
        all = cuda_join_moments()(all, cuda_moments{static_cast<double>(u + 1 < units ? each : last), m.mean, m.squares});
    }
    return cuda_warp(all, cuda_join_moments());
}

template <typename T> static int moments_launch(cudaStream_t stream, const moments_of<T> &of) {
    const int64_t units = of.rows * of.pieces;
    if (of.row <= 1024) return CUDA_LAUNCH((moments_rows<T, 32>), moments_grid((units + 7) / 8), MOMENTS_THREADS, 0, stream, of);
    return CUDA_LAUNCH((moments_rows<T, MOMENTS_THREADS>), moments_grid(units), MOMENTS_THREADS, 0, stream, of);
}

/* ---- Sums of a unit for backward: of dy, and of dy xh with xh = (x - mean) scale ---- */

/* Mean and scale of a row: from its group's moments (channels rows have one), or from a channel's numbers. */
struct channel_numbers {
    const group_moments *moments; /* or NULL */
    const double *mean, *scale;   /* of channel row % channels */
    int64_t channels;
    double each, eps;
    __device__ cuda_two<double> of(int64_t row) const {
        if (!moments) return {mean[row % channels], scale[row % channels]};
        const group_moments m = moments[row / channels];
        return {m.mean, 1 / sqrt(m.squares / each + eps)};
    }
};

template <typename T> struct sums_of {
    group_sums *to;
    const T *dy, *x;
    int64_t rows, row;
    channel_numbers numbers;
};
template <typename T, int LANES> static __global__ void __launch_bounds__(MOMENTS_THREADS, 2) sums_rows(sums_of<T> of) {
    CUDA_SHARED(cuda_two<double>, kept, 32);
    constexpr int GROUPS = MOMENTS_THREADS / LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) / LANES;
    CUDA_EACH_ROWS(first, of.rows, GROUPS) {
        const int64_t r = first + group, n = r < of.rows ? of.row : 0;
        const T *dy = of.dy + r * of.row, *x = of.x + r * of.row;
        T mean = 0, scale = 0;
        if (r < of.rows) {
            const cuda_two<double> both = of.numbers.of(r);
            mean = static_cast<T>(both.a), scale = static_cast<T>(both.b);
        }
        cuda_two<double> sums = {0, 0};
        for (int64_t i = lane; i < n; i += 4 * LANES) {
            T a = 0, b = 0;
#pragma unroll
            for (int u = 0; u < 4; u++) {
                const int64_t j = i + u * LANES;
                if (j >= n) continue;
                const T d = dy[j];
                a += d, b += d * ((x[j] - mean) * scale);
            }
            sums.a += static_cast<double>(a), sums.b += static_cast<double>(b);
        }
        sums = cuda_lanes<LANES>(sums, cuda_two<double>{0, 0}, cuda_join_sum(), kept);
        if (r < of.rows && lane == 0) of.to[r] = {sums.a, sums.b};
    }
}
/* Channels side by side: of NORM_BLOCK rows of a channel. */
template <typename T> static __global__ void __launch_bounds__(256, 2) sums_columns(sums_of<T> of) {
    CUDA_SHARED(cuda_two<double>, kept, 256);
    const int thread = static_cast<int>(threadIdx.x), column = thread % 32, high = thread / 32;
    const int64_t channels = of.row, tiles = (channels + 31) / 32, units = (of.rows + NORM_BLOCK - 1) / NORM_BLOCK;
    CUDA_EACH_ROWS(block, tiles * units, 1) {
        const int64_t c = block % tiles * 32 + column, unit = block / tiles, begin = unit * NORM_BLOCK;
        const int64_t end = begin + NORM_BLOCK < of.rows ? begin + NORM_BLOCK : of.rows;
        cuda_two<double> sums = {0, 0};
        if (c < channels) {
            const cuda_two<double> both = of.numbers.of(c);
            for (int64_t r = begin + high; r < end; r += 8) {
                const double d = static_cast<double>(of.dy[r * channels + c]);
                sums.a += d, sums.b += d * ((static_cast<double>(of.x[r * channels + c]) - both.a) * both.b);
            }
        }
        __syncthreads();
        kept[thread] = sums;
        __syncthreads();
        if (high > 0 || c >= channels) continue;
        for (int k = 1; k < 8; k++) {
            const cuda_two<double> more = kept[k * 32 + column];
            sums = sums + more;
        }
        of.to[unit * channels + c] = {sums.a, sums.b};
    }
}
template <typename T> static int sums_launch(cudaStream_t stream, const sums_of<T> &of) {
    if (of.row <= 1024) return CUDA_LAUNCH((sums_rows<T, 32>), moments_grid((of.rows + 7) / 8), MOMENTS_THREADS, 0, stream, of);
    return CUDA_LAUNCH((sums_rows<T, MOMENTS_THREADS>), moments_grid(of.rows), MOMENTS_THREADS, 0, stream, of);
}

/* ---- Over all elements ---- */

/* (x - mean) by_x + shift, and in backward + by_dy dy; numbers of row i / places. */
template <typename T> struct slope_numbers { T mean, by_x, by_dy, shift; };
template <typename T, int V, typename Numbers>
static __global__ void __launch_bounds__(256, 2)
    slope_all(T *y, const T *x, const T *dy, int64_t count, int64_t places, Numbers numbers, bool adds) {
    using pack = cuda_pack<T, V>;
    CUDA_EACH(k, count / V) {
        const int64_t at = k * V, row = cuda_quotient(at, places);
        const pack from = *reinterpret_cast<const pack *>(x + at);
        pack g = {}, to = {};
        if (dy) g = *reinterpret_cast<const pack *>(dy + at);
        if (adds) to = *reinterpret_cast<const pack *>(y + at);
        slope_numbers<T> n = numbers.of(row);
#pragma unroll
        for (int j = 0; j < V; j++) {
            if (V > 1 && places == 1 && j > 0) n = numbers.of(row + j);
            T v = (from.at[j] - n.mean) * n.by_x + n.shift;
            if (dy) v += n.by_dy * g.at[j];
            to.at[j] += v;
        }
        *reinterpret_cast<pack *>(y + at) = to;
    }
}
template <typename T, typename Numbers>
static int slope_launch(cudaStream_t stream, T *y, const T *x, const T *dy, int64_t count, int64_t places, const Numbers &numbers,
                        bool adds) {
    if (cuda_whole<T>(places == 1 ? count : places, y, x, dy))
        return CUDA_LAUNCH((slope_all<T, cuda_pack_size<T>, Numbers>), cuda_blocks(count / cuda_pack_size<T>, 256), 256, 0, stream, y, x,
                           dy, count, places, numbers, adds);
    return CUDA_LAUNCH((slope_all<T, 1, Numbers>), cuda_blocks(count, 256), 256, 0, stream, y, x, dy, count, places, numbers, adds);
}

/* ---- Channels ---- */

/* A warp for each channel: sums over units, [units, channels]. */
static __device__ inline cuda_two<double> channel_total(const group_sums *sums, int64_t units, int64_t channels, int64_t c) {
    cuda_two<double> sum = {0, 0};
    for (int64_t u = static_cast<int64_t>(threadIdx.x) % 32; c < channels && u < units; u += 32) {
        const group_sums s = sums[u * channels + c];
        sum.a += s.dy, sum.b += s.along;
    }
    return cuda_warp(sum, cuda_join_sum());
}
/* The parameters' gradients, or NULL where nobody wants them. */
template <typename T> struct channel_params {
    T *dw, *db;
    bool adds_dw, adds_db;
    __device__ void put(int64_t c, const cuda_two<double> &sum) const {
        if (dw) dw[c] = static_cast<T>(sum.b + (adds_dw ? static_cast<double>(dw[c]) : 0));
        if (db) db[c] = static_cast<T>(sum.a + (adds_db ? static_cast<double>(db[c]) : 0));
    }
};
template <typename T>
static channel_params<T> channel_params_of(const struct flow_call *call, bool affine, uint32_t weight, uint32_t bias) {
    if (!affine) return {NULL, NULL, false, false};
    const struct flow_tensor *dw = &call->grad_param[weight], *db = &call->grad_param[bias];
    return {dw->rank < 0 ? NULL : static_cast<T *>(dw->data), db->rank < 0 ? NULL : static_cast<T *>(db->data),
            FLOW_ACCUMULATES(call->accumulate_param, weight) != 0, FLOW_ACCUMULATES(call->accumulate_param, bias) != 0};
}

#endif
