/* SPDX-License-Identifier: Apache-2.0 */
/* softmax and log_softmax. A row is read once, held in registers and written once; longer rows are read twice, the second time from the
 * cache; along another axis than the last a block holds a tile of columns. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "reduce/kernels_cuda.h"
#include "reduce/reduce.h"

/* What multiplies the exponentials, or is taken from the logarithms: a row of -inf gives 0 or -inf. */
template <typename T> static __device__ inline T softmax_scale(T sum, bool log_) {
    return sum == 0 ? T(0) : log_ ? cuda_log(sum) : 1 / sum;
}
template <typename T> static __device__ inline T softmax_centre(T largest) { return largest == -static_cast<T>(INFINITY) ? T(0) : largest; }
/* One element of the result. */
template <typename T> static __device__ inline T softmax_one(T x, T centre, T scale, bool log_) {
    return log_ ? (x - centre) - scale : cuda_exp(x - centre) * scale;
}
template <typename T> static __device__ inline T softmax_slope(T dy, T y, T sum, bool log_) {
    return log_ ? dy - cuda_exp(y) * sum : y * (dy - sum);
}

/* ---- Adjacent elements ---- */

/* 2 n values move, about 15 n operations, one exponential an element. Bound by memory: a part of a warp, a warp or a block a row, 16-byte
 * loads all in flight before the first is used. */
template <typename T, typename S>
static __global__ void __launch_bounds__(S::THREADS, S::BLOCKS) softmax_rows(T *y, const T *x, int64_t rows, int n, bool log_) {
    CUDA_SHARED(T, kept, 32);
    const int lane = static_cast<int>(threadIdx.x) % S::LANES, group = static_cast<int>(threadIdx.x) / S::LANES;
    const T least = -static_cast<T>(INFINITY);
    CUDA_EACH_ROWS(first, rows, S::ROWS) {
        const int64_t r = first + group;
        const int count = r < rows ? n : 0;
        typename S::template row<T> row;
        row.load(x + r * n, count, lane, least);
        T largest = least;
#pragma unroll
        for (int i = 0; i < row.count; i++) largest = cuda_larger(largest, row.at[i]);
        const T centre = softmax_centre(cuda_lanes<S::LANES>(largest, least, cuda_join_larger(), kept));
        T sum = 0;
#pragma unroll
        for (int i = 0; i < row.count; i++) {
            const T e = cuda_exp(row.at[i] - centre);
            sum += e;
            row.at[i] = log_ ? row.at[i] - centre : e;
        }
        const T scale = softmax_scale(cuda_lanes<S::LANES>(sum, T(0), cuda_join_sum(), kept), log_);
#pragma unroll
        for (int i = 0; i < row.count; i++) row.at[i] = log_ ? row.at[i] - scale : row.at[i] * scale;
        row.store(y + r * n, count, lane);
    }
}

/* Rows that no block holds: 3 n values move, the largest and the sum in one reading. */
template <typename T, int V>
static __global__ void __launch_bounds__(512, 1) softmax_long(T *y, const T *x, int64_t rows, int64_t n, bool log_) {
    CUDA_SHARED(cuda_log_sum<T>, kept, 32);
    using pack = cuda_pack<T, V>;
    const int64_t packs = n / V;
    CUDA_EACH_ROWS(r, rows, 1) {
        const pack *from = reinterpret_cast<const pack *>(x + r * n);
        pack *to = reinterpret_cast<pack *>(y + r * n);
        cuda_log_sum<T> state = cuda_log_sum_start<T>();
        for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
            const pack p = from[i];
#pragma unroll
            for (int j = 0; j < V; j++) state.add(p.at[j]);
        }
        state = cuda_block(state, cuda_log_sum_start<T>(), cuda_join_log_sum(), kept);
        const T centre = softmax_centre(state.largest), scale = softmax_scale(state.total(), log_);
        for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
            pack p = from[i];
#pragma unroll
            for (int j = 0; j < V; j++) p.at[j] = softmax_one(p.at[j], centre, scale, log_);
            to[i] = p;
        }
    }
}

/* dx from dy and y: 3 n values move (4 where it is added). */
template <typename T, typename S, bool LOG>
static __global__ void __launch_bounds__(S::THREADS, S::BLOCKS)
    softmax_rows_back(T *dx, const T *dy, const T *y, int64_t rows, int n, bool adds) {
    CUDA_SHARED(T, kept, 32);
    const int lane = static_cast<int>(threadIdx.x) % S::LANES, group = static_cast<int>(threadIdx.x) / S::LANES;
    CUDA_EACH_ROWS(first, rows, S::ROWS) {
        const int64_t r = first + group;
        const int count = r < rows ? n : 0;
        typename S::template row<T> g, h;
        g.load(dy + r * n, count, lane, T(0));
        h.load(y + r * n, count, lane, T(0));
        T sum = 0;
#pragma unroll
        for (int i = 0; i < g.count; i++) sum += LOG ? g.at[i] : g.at[i] * h.at[i];
        sum = cuda_lanes<S::LANES>(sum, T(0), cuda_join_sum(), kept);
#pragma unroll
        for (int i = 0; i < g.count; i++) g.at[i] = softmax_slope(g.at[i], h.at[i], sum, LOG);
        g.put(dx + r * n, count, lane, adds);
    }
}

template <typename T, int V>
static __global__ void __launch_bounds__(512, 1)
    softmax_long_back(T *dx, const T *dy, const T *y, int64_t rows, int64_t n, bool log_, bool adds) {
    CUDA_SHARED(double, kept, 32);
    using pack = cuda_pack<T, V>;
    const int64_t packs = n / V;
    CUDA_EACH_ROWS(r, rows, 1) {
        const pack *g = reinterpret_cast<const pack *>(dy + r * n), *h = reinterpret_cast<const pack *>(y + r * n);
        pack *to = reinterpret_cast<pack *>(dx + r * n);
        double total = 0;
        for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
            const pack a = g[i], b = h[i];
            T part = 0;
#pragma unroll
            for (int j = 0; j < V; j++) part += log_ ? a.at[j] : a.at[j] * b.at[j];
            total += static_cast<double>(part);
        }
        const T sum = static_cast<T>(cuda_block(total, 0, cuda_join_sum(), kept));
        for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
            const pack a = g[i], b = h[i];
            pack d;
            if (adds) d = to[i];
#pragma unroll
            for (int j = 0; j < V; j++) {
                const T v = softmax_slope(a.at[j], b.at[j], sum, log_);
                d.at[j] = adds ? d.at[j] + v : v;
            }
            to[i] = d;
        }
    }
}

/* ---- Columns of [n, inner] ---- */

/* A block: a tile of 2^wide adjacent columns, the other threads share the n elements of each. */
struct softmax_tile {
    int wide;
    int64_t tiles, units;
};
static inline softmax_tile tile_of(const struct softmax_plan *plan) {
    int wide = 0;
    while (wide < 5 && (int64_t{1} << wide) < plan->inner) wide++;
    while (wide < 8 && (int64_t{256} >> wide) > plan->n && (int64_t{1} << wide) < plan->inner) wide++;
    const int64_t tiles = (plan->inner + (int64_t{1} << wide) - 1) >> wide;
    return {wide, tiles, plan->outer * tiles};
}

/* 3 values an element move, the second reading from the cache; loads of a warp lie side by side. */
template <typename T>
static __global__ void __launch_bounds__(256, 1) softmax_columns(T *y, const T *x, int64_t n, int64_t inner, softmax_tile tile, bool log_) {
    CUDA_SHARED(cuda_log_sum<T>, kept, 256);
    const int width = 1 << tile.wide, high = 256 >> tile.wide, thread = static_cast<int>(threadIdx.x);
    const int column = thread & (width - 1), row = thread >> tile.wide;
    CUDA_EACH_ROWS(unit, tile.units, 1) {
        const int64_t j = unit % tile.tiles * width + column, at = unit / tile.tiles * n * inner + j;
        cuda_log_sum<T> state = cuda_log_sum_start<T>();
        for (int64_t i = row; j < inner && i < n; i += high) state.add(x[at + i * inner]);
        __syncthreads();
        kept[thread] = state;
        for (int half = high / 2; half > 0; half /= 2) {
            __syncthreads();
            if (row < half) {
                const cuda_log_sum<T> mine = kept[thread], other = kept[thread + half * width];
                kept[thread] = cuda_join_log_sum()(mine, other);
            }
        }
        __syncthreads();
        state = kept[column];
        const T centre = softmax_centre(state.largest), scale = softmax_scale(state.total(), log_);
        for (int64_t i = row; j < inner && i < n; i += high) y[at + i * inner] = softmax_one(x[at + i * inner], centre, scale, log_);
    }
}

template <typename T>
static __global__ void __launch_bounds__(256, 1)
    softmax_columns_back(T *dx, const T *dy, const T *y, int64_t n, int64_t inner, softmax_tile tile, bool log_, bool adds) {
    CUDA_SHARED(T, kept, 256);
    const int width = 1 << tile.wide, high = 256 >> tile.wide, thread = static_cast<int>(threadIdx.x);
    const int column = thread & (width - 1), row = thread >> tile.wide;
    CUDA_EACH_ROWS(unit, tile.units, 1) {
        const int64_t j = unit % tile.tiles * width + column, at = unit / tile.tiles * n * inner + j;
        T sum = 0;
        for (int64_t i = row; j < inner && i < n; i += high) {
            const T g = dy[at + i * inner];
            sum += log_ ? g : g * y[at + i * inner];
        }
        __syncthreads();
        kept[thread] = sum;
        for (int half = high / 2; half > 0; half /= 2) {
            __syncthreads();
            if (row < half) kept[thread] += kept[thread + half * width];
        }
        __syncthreads();
        sum = kept[column];
        for (int64_t i = row; j < inner && i < n; i += high) {
            const int64_t to = at + i * inner;
            const T v = softmax_slope(dy[to], y[to], sum, log_);
            dx[to] = adds ? dx[to] + v : v;
        }
    }
}

/* ---- Launchers ---- */

static inline unsigned grid_of(int64_t blocks) { return static_cast<unsigned>(blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF); }

template <typename T> static int softmax_run(const struct flow_call *call) {
    const struct softmax_plan *plan = static_cast<const struct softmax_plan *>(call->priv);
    const T *x = static_cast<const T *>(call->in[0].data);
    T *y = static_cast<T *>(call->out[0].data);
    const bool log_ = plan->log, whole = cuda_whole<T>(plan->n, x, y);
    cudaStream_t stream = cuda_stream(call);
    if (plan->inner > 1) {
        const softmax_tile tile = tile_of(plan);
        return CUDA_LAUNCH((softmax_columns<T>), grid_of(tile.units), 256, 0, stream, y, x, plan->n, plan->inner, tile, log_);
    }
    if (cuda_row_fits<T>(plan->n, whole))
        return cuda_with_row<T>(plan->n, whole, [&](auto shape) {
            using S = decltype(shape);
            return CUDA_LAUNCH((softmax_rows<T, S>), S::blocks(plan->outer), S::THREADS, 0, stream, y, x, plan->outer,
                               static_cast<int>(plan->n), log_);
        });
    if (whole)
        return CUDA_LAUNCH((softmax_long<T, cuda_pack_size<T>>), grid_of(plan->outer), 512, 0, stream, y, x, plan->outer, plan->n, log_);
    return CUDA_LAUNCH((softmax_long<T, 1>), grid_of(plan->outer), 512, 0, stream, y, x, plan->outer, plan->n, log_);
}

extern "C" int cuda_softmax_forward(const struct flow_call *call) {
    const struct softmax_plan *plan = static_cast<const struct softmax_plan *>(call->priv);
    if (plan->outer == 0 || plan->inner == 0) return FLOW_OK;
    return cuda_status(call, call->in[0].dtype == FLOW_F64 ? softmax_run<double>(call) : softmax_run<float>(call));
}

template <typename T> static int softmax_run_back(const struct flow_call *call) {
    const struct softmax_plan *plan = static_cast<const struct softmax_plan *>(call->priv);
    const T *dy = static_cast<const T *>(call->grad_out[0].data), *y = static_cast<const T *>(call->out[0].data);
    T *dx = static_cast<T *>(call->grad_in[0].data);
    const bool log_ = plan->log, adds = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0, whole = cuda_whole<T>(plan->n, dx, dy, y);
    cudaStream_t stream = cuda_stream(call);
    if (plan->inner > 1) {
        const softmax_tile tile = tile_of(plan);
        return CUDA_LAUNCH((softmax_columns_back<T>), grid_of(tile.units), 256, 0, stream, dx, dy, y, plan->n, plan->inner, tile, log_,
                           adds);
    }
    if (cuda_row_fits<T>(plan->n, whole))
        return cuda_with_row<T>(plan->n, whole, [&](auto shape) {
            using S = decltype(shape);
            const int n = static_cast<int>(plan->n);
            if (log_)
                return CUDA_LAUNCH((softmax_rows_back<T, S, true>), S::blocks(plan->outer), S::THREADS, 0, stream, dx, dy, y, plan->outer,
                                   n, adds);
            return CUDA_LAUNCH((softmax_rows_back<T, S, false>), S::blocks(plan->outer), S::THREADS, 0, stream, dx, dy, y, plan->outer, n,
                               adds);
        });
    if (whole)
        return CUDA_LAUNCH((softmax_long_back<T, cuda_pack_size<T>>), grid_of(plan->outer), 512, 0, stream, dx, dy, y, plan->outer, plan->n,
                           log_, adds);
    return CUDA_LAUNCH((softmax_long_back<T, 1>), grid_of(plan->outer), 512, 0, stream, dx, dy, y, plan->outer, plan->n, log_, adds);
}

extern "C" int cuda_softmax_backward(const struct flow_call *call) {
    const struct softmax_plan *plan = static_cast<const struct softmax_plan *>(call->priv);
    if (call->grad_out[0].rank < 0) return cuda_zero_all(call);
    if (call->grad_in[0].rank < 0 || plan->outer == 0 || plan->inner == 0) return FLOW_OK;
    return cuda_status(call, call->grad_out[0].dtype == FLOW_F64 ? softmax_run_back<double>(call) : softmax_run_back<float>(call));
}
