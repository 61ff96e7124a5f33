/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reductions over a warp and over a block, packs of 16 bytes, and rows held in registers: what norms, softmax, sums and losses are made
 * of. Their order depends on shapes alone: the same bits in every run.
 */
#ifndef OPS_COMMON_CUDA_REDUCE_H
#define OPS_COMMON_CUDA_REDUCE_H

#include "common/cuda.h"

#include <math.h>

/* ---- Elementary functions of both types ---- */

static __device__ inline float cuda_exp(float x) { return expf(x); }
static __device__ inline double cuda_exp(double x) { return exp(x); }
static __device__ inline float cuda_log(float x) { return logf(x); }
static __device__ inline double cuda_log(double x) { return log(x); }
static __device__ inline float cuda_log1p(float x) { return log1pf(x); }
static __device__ inline double cuda_log1p(double x) { return log1p(x); }
static __device__ inline float cuda_root(float x) { return sqrtf(x); }
static __device__ inline double cuda_root(double x) { return sqrt(x); }
static __device__ inline float cuda_magnitude(float x) { return fabsf(x); }
static __device__ inline double cuda_magnitude(double x) { return fabs(x); }

/* The larger; where one is a NaN the other. */
static __device__ inline float cuda_larger(float a, float b) { return fmaxf(a, b); }
static __device__ inline double cuda_larger(double a, double b) { return fmax(a, b); }

/* Is it a NaN? Of integers never. */
template <typename T> static __device__ inline bool cuda_odd(T) { return false; }
static __device__ inline bool cuda_odd(float x) { return x != x; }
static __device__ inline bool cuda_odd(double x) { return x != x; }

/* ---- Packs: adjacent elements that travel together ---- */

template <typename T, int N> struct alignas(sizeof(T) * N) cuda_pack { T at[N]; };
/* Elements of a full pack, 16 bytes. */
template <typename T> constexpr int cuda_pack_size = static_cast<int>(16 / sizeof(T));

/* ---- Joining values of lanes and warps ---- */

struct cuda_join_sum {
    template <typename T> __device__ T operator()(T a, T b) const { return a + b; }
};
struct cuda_join_larger { /* a NaN gives way */
    template <typename T> __device__ T operator()(T a, T b) const { return cuda_larger(a, b); }
};
struct cuda_join_max { /* a NaN wins */
    template <typename T> __device__ T operator()(T a, T b) const { return a > b || cuda_odd(a) ? a : b; }
};
struct cuda_join_min {
    template <typename T> __device__ T operator()(T a, T b) const { return a < b || cuda_odd(a) ? a : b; }
};

/* Two numbers that are reduced at once. */
template <typename T> struct cuda_two { T a, b; };
template <typename T> static __device__ inline cuda_two<T> operator+(const cuda_two<T> &x, const cuda_two<T> &y) {
    return {x.a + y.a, x.b + y.b};
}

/* The place of the largest, the first of equals; a NaN is the largest. */
template <typename T> struct cuda_place {
    T value;
    int64_t at;
};
struct cuda_join_place {
    template <typename T> __device__ cuda_place<T> operator()(const cuda_place<T> &a, const cuda_place<T> &b) const {
        const bool odd_a = cuda_odd(a.value), odd_b = cuda_odd(b.value), equal = a.value == b.value || (odd_a && odd_b);
        if (equal) return a.at < b.at ? a : b;
        return odd_a || (a.value > b.value && !odd_b) ? a : b;
    }
};

/* Mean and sum of squared deviations of n elements, as they are joined (Chan, Golub, LeVeque 1979). */
struct cuda_moments {
    double n, mean, squares;
};
struct cuda_join_moments {
    __device__ cuda_moments operator()(const cuda_moments &a, const cuda_moments &b) const {
        const double total = a.n + b.n, distance = b.mean - a.mean;
        if (b.n == 0) return a;
        if (a.n == 0) return b;
        return {total, a.mean + distance * (b.n / total), a.squares + b.squares + distance * distance * (a.n * b.n / total)};
    }
};

/* The logarithm of a sum of exponentials as it grows: sum exp(x) = sum exp(largest). A largest that is infinite or a NaN is the result. */
template <typename T> struct cuda_log_sum {
    T largest, sum;
    __device__ void add(T x) {
        const T e = x == largest ? T(1) : cuda_exp(-cuda_magnitude(x - largest));
        if (x > largest || cuda_odd(x)) sum = sum * e + 1, largest = x;
        else sum += e;
    }
    /* Of exponentials of x - largest: 0 where all are -inf, NaN where one is inf, as that difference says. */
    __device__ T total() const {
        if (largest == -static_cast<T>(INFINITY)) return 0;
        return largest - largest != 0 ? largest - largest : sum;
    }
};
struct cuda_join_log_sum {
    template <typename T> __device__ cuda_log_sum<T> operator()(const cuda_log_sum<T> &a, const cuda_log_sum<T> &b) const {
        const T m = cuda_join_max()(a.largest, b.largest);
        const T ea = a.largest == m ? T(1) : cuda_exp(a.largest - m), eb = b.largest == m ? T(1) : cuda_exp(b.largest - m);
        return {m, a.sum * ea + b.sum * eb};
    }
};
template <typename T> static __device__ inline cuda_log_sum<T> cuda_log_sum_start() { return {-static_cast<T>(INFINITY), T(0)}; }

/* The value of the lane whose number differs in the bits of `step`. */
template <typename T> static __device__ inline T cuda_exchange(const T &value, int step) {
    return __shfl_xor_sync(CUDA_WHOLE_WARP, value, step);
}
template <typename T> static __device__ inline cuda_two<T> cuda_exchange(const cuda_two<T> &v, int step) {
    return {cuda_exchange(v.a, step), cuda_exchange(v.b, step)};
}
template <typename T> static __device__ inline cuda_place<T> cuda_exchange(const cuda_place<T> &v, int step) {
    return {cuda_exchange(v.value, step), cuda_exchange(v.at, step)};
}
template <typename T> static __device__ inline cuda_log_sum<T> cuda_exchange(const cuda_log_sum<T> &v, int step) {
    return {cuda_exchange(v.largest, step), cuda_exchange(v.sum, step)};
}
static __device__ inline cuda_moments cuda_exchange(const cuda_moments &v, int step) {
    return {cuda_exchange(v.n, step), cuda_exchange(v.mean, step), cuda_exchange(v.squares, step)};
}

/* Of each LANES adjacent lanes (a power of 2, at most 32) all get what theirs join to. The whole warp must be here. */
template <int LANES = 32, typename T, typename F> static __device__ inline T cuda_warp(T value, F join) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) value = join(value, cuda_exchange(value, step));
    return value;
}
/* The same for a number of lanes known when it runs. */
template <typename T, typename F> static __device__ inline T cuda_warp_part(T value, F join, int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) value = join(value, cuda_exchange(value, step));
    return value;
}

template <typename T> struct cuda_same { using type = T; };

/* Of a block of 32, 64 .. 1024 threads in one dimension: all get what theirs join to. `kept`: shared, 32 of them. Ends without a barrier:
 * the next call begins with one. */
template <typename T, typename F>
static __device__ inline T cuda_block(T value, typename cuda_same<T>::type start, F join,
                                      CUDA_SHARED_AT(typename cuda_same<T>::type) kept) {
    const int warp = static_cast<int>(threadIdx.x) / CUDA_WARP, lane = static_cast<int>(threadIdx.x) % CUDA_WARP;
    value = cuda_warp(value, join);
    __syncthreads();
    if (lane == 0) kept[warp] = value;
    __syncthreads();
    value = lane < static_cast<int>(blockDim.x) / CUDA_WARP ? static_cast<T>(kept[lane]) : start;
    return cuda_warp(value, join);
}

/* LANES threads: a part of a warp, or more than a warp, which then are the whole block. */
template <int LANES, typename T, typename F>
static __device__ inline T cuda_lanes(T value, typename cuda_same<T>::type start, F join,
                                      CUDA_SHARED_AT(typename cuda_same<T>::type) kept) {
    if constexpr (LANES <= CUDA_WARP) return cuda_warp<LANES>(value, join);
    else return cuda_block(value, start, join, kept);
}

/* ---- Rows in registers ---- */

/* A row of up to LANES * PACKS * V elements in the registers of LANES threads: of pack k of `lane` the first is element
 * (k * LANES + lane) * V. V divides the row's length, and rows begin at multiples of V. */
template <typename T, int V, int LANES, int PACKS> struct cuda_row {
    static constexpr int count = PACKS * V;
    T at[PACKS * V];
    static __device__ int place(int i, int lane) { return (i / V * LANES + lane) * V + i % V; }
    /* n elements; `rest` where there are none */
    __device__ void load(const T *row, int n, int lane, T rest) {
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            const int first = (k * LANES + lane) * V;
            if (first < n) {
                const cuda_pack<T, V> pack = *reinterpret_cast<const cuda_pack<T, V> *>(row + first);
#pragma unroll
                for (int j = 0; j < V; j++) at[k * V + j] = pack.at[j];
            } else {
#pragma unroll
                for (int j = 0; j < V; j++) at[k * V + j] = rest;
            }
        }
    }
    __device__ void store(T *row, int n, int lane) const {
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            const int first = (k * LANES + lane) * V;
            if (first >= n) continue;
            cuda_pack<T, V> pack;
#pragma unroll
            for (int j = 0; j < V; j++) pack.at[j] = at[k * V + j];
            *reinterpret_cast<cuda_pack<T, V> *>(row + first) = pack;
        }
    }
    /* store, or add to what is there */
    __device__ void put(T *row, int n, int lane, bool adds) const {
        if (!adds) {
            store(row, n, lane);
            return;
        }
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            const int first = (k * LANES + lane) * V;
            if (first >= n) continue;
            cuda_pack<T, V> pack = *reinterpret_cast<const cuda_pack<T, V> *>(row + first);
#pragma unroll
            for (int j = 0; j < V; j++) pack.at[j] += at[k * V + j];
            *reinterpret_cast<cuda_pack<T, V> *>(row + first) = pack;
        }
    }
    __device__ T sum() const {
        T parts[V];
#pragma unroll
        for (int j = 0; j < V; j++) parts[j] = 0;
#pragma unroll
        for (int i = 0; i < PACKS * V; i++) parts[i % V] += at[i];
        T all = parts[0];
#pragma unroll
        for (int j = 1; j < V; j++) all += parts[j];
        return all;
    }
};

/* How rows of a length are held: a template argument for kernels (which say __launch_bounds__(Shape::THREADS, Shape::BLOCKS)), and what a
 * launch needs.
 */
template <int V_, int LANES_, int PACKS_> struct cuda_row_shape {
    static constexpr int V = V_, LANES = LANES_, PACKS = PACKS_ > 0 ? PACKS_ : 1;
    static constexpr int THREADS = LANES < 128 ? 128 : LANES;
    static constexpr int ROWS = THREADS / LANES; /* of a block */
    static constexpr int BLOCKS = 512 / THREADS; /* at once on a multiprocessor: up to 128 registers a thread */
    template <typename T> using row = cuda_row<T, V, LANES, PACKS>;
    /* blocks for so many rows; a kernel strides by gridDim.x * ROWS */
    static unsigned blocks(int64_t rows) {
        const int64_t all = (rows + ROWS - 1) / ROWS;
        return static_cast<unsigned>(all < 1 ? 1 : all < 0x7FFFFFFF ? all : 0x7FFFFFFF);
    }
};

/* May rows of n be read in packs of 16 bytes: whole ones, from aligned places? A view may begin anywhere. NULL is aligned. */
template <typename T, typename... Pointers> static inline bool cuda_whole(int64_t n, Pointers... rows) {
    uintptr_t bits = 0;
    ((bits |= reinterpret_cast<uintptr_t>(rows)), ...);
    return n % cuda_pack_size<T> == 0 && bits % 16 == 0;
}
/* Does cuda_with_row hold rows of n? Those of whole packs up to four times as long. */
template <typename T> static inline bool cuda_row_fits(int64_t n, bool whole) {
    return n <= (sizeof(T) == 8 ? 1024 : 4096) * (whole ? 4 : 1);
}

/* use(cuda_row_shape<...>()) with the shape for rows of n, which are whole packs of V: 8 lanes, a warp, or a block. A thread holds at most
 * 32 registers of a row, so that a kernel with two rows does not spill. */
template <typename T, int V, typename F> static inline int cuda_with_row_of(int64_t n, F use) {
    constexpr int D = sizeof(T) == 8 ? 4 : 1;
    if (n <= 32) return use(cuda_row_shape<V, 8, 4 / V>());
    if (n <= 256) return use(cuda_row_shape<V, 32, 8 / V>());
    if constexpr (D == 1)
        if (n <= 1024) return use(cuda_row_shape<V, 32, 32 / V>());
    if constexpr (V > 1)
        if (n > 4096 / D) return use(cuda_row_shape<V, 512, 32 / D / V>());
    return use(cuda_row_shape<V, 256, 16 / D / V>());
}
template <typename T, typename F> static inline int cuda_with_row(int64_t n, bool whole, F use) {
    if (whole) return cuda_with_row_of<T, cuda_pack_size<T>>(n, use);
    return cuda_with_row_of<T, 1>(n, use);
}

/* ---- Small matters ---- */

/* a / b of numbers >= 0 that mostly fit 32 bits, where that is several times faster. */
static __device__ inline int64_t cuda_quotient(int64_t a, int64_t b) {
    if (((a | b) >> 32) == 0) return static_cast<int64_t>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b));
    return a / b;
}

/* What a row's threads look for: rows of a block one after another, the grid striding. All lanes of a warp stay in step. */
#define CUDA_EACH_ROWS(first, rows, each) \
    for (int64_t first = static_cast<int64_t>(blockIdx.x) * (each); first < (rows); first += static_cast<int64_t>(gridDim.x) * (each))

/* A gradient of zero: nothing where it is added, or where nobody wants it. */
static inline int cuda_zero(const struct flow_call *call, const struct flow_tensor *to, bool adds) {
    int64_t bytes = to->dtype == FLOW_F64 ? 8 : 4;
    for (int32_t a = 0; a < to->rank; a++) bytes *= to->shape[a];
    if (to->rank < 0 || adds || bytes == 0) return FLOW_OK;
    return cuda_status(call, static_cast<int>(cudaMemsetAsync(to->data, 0, static_cast<size_t>(bytes), cuda_stream(call))));
}
/* All gradients are zero: none arrives. */
static inline int cuda_zero_all(const struct flow_call *call) {
    int status = FLOW_OK;
    for (uint32_t i = 0; i < call->in_count && status >= 0; ++i)
        status = cuda_zero(call, &call->grad_in[i], FLOW_ACCUMULATES(call->accumulate_in, i));
    for (uint32_t i = 0; i < call->param_count && status >= 0; ++i)
        status = cuda_zero(call, &call->grad_param[i], FLOW_ACCUMULATES(call->accumulate_param, i));
    return status;
}

#endif
