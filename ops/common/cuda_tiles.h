/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A product c[m, n] = sum over k of a[m, k] b[k, n] whose operands are found, not stored: convolutions without columns in memory, tensors
 * of any strides. A class says where elements are (struct P below); the kernel moves tiles of both operands through shared memory, two of
 * each so that loads of the next overlap the sums of this one, and each thread sums up ROWS x COLS results in registers.
 *
 * Per step of K a thread reads (ROWS + COLS) / 4 vectors of shared memory for ROWS * COLS multiplications: with 8 x 8 the multipliers are
 * the limit. Blocks that are too few for the device share the sum: `splits` of them each sum a part of K, their results go to the
 * workspace, and a second kernel adds those up in order. How the work is cut depends on the shapes alone, so the same bits come out every
 * time.
 *
 * struct P {
 *     typedef float real;
 *     static const bool a_deep, b_deep;      are a's (b's) neighbours in memory neighbours along k (else along m, n)?
 *     struct place { int32_t m, n, k; ... }; extents and offsets of one of several problems
 *     struct row, column, a_depth, b_depth;  what is known of an m, an n, a k
 *     place open(int32_t problem) const;
 *     row row_of(place, m), column column_of(place, n), a_depth a_depth_of(place, k), b_depth b_depth_of(place, k) const;
 *     real a(place, row, a_depth), b(place, column, b_depth) const;
 *     void put(place, m, n, count, const real value[4]) const;    results n .. n + count - 1, count <= 4
 * };
 */
#ifndef OPS_COMMON_CUDA_TILES_H
#define OPS_COMMON_CUDA_TILES_H

#include "common/cuda.h"

/* Division of 0 <= n < 2^31 by a number known before: a multiplication and a shift. */
struct tiles_divider {
    uint32_t by, shift, factor;
    static __host__ __device__ tiles_divider of(int32_t divisor) {
        tiles_divider made = {static_cast<uint32_t>(divisor < 1 ? 1 : divisor), 0, 0};
        while ((1u << made.shift) < made.by) made.shift++;
        made.factor = static_cast<uint32_t>((uint64_t{1} << (made.shift + 31)) / made.by + 1); /* < 2^32: by > 2^(shift - 1) */
        return made;
    }
    __device__ int32_t quotient(int32_t n) const { return static_cast<int32_t>(__umulhi(static_cast<uint32_t>(n) << 1, factor) >> shift); }
};

template <int M, int N, int K, int ROWS, int COLS> struct tiles_shape {
    static const int m = M, n = N, k = K, rows = ROWS, cols = COLS;
    static const int threads = M / ROWS * (N / COLS);
    static const int a_row = M + 4, b_row = N + 4; /* of shared memory: 4 more, so that neighbours along k lie in other banks */
    static const int a_tile = K * a_row, b_tile = K * b_row;
    static const int shared = 2 * (a_tile + b_tile);
};
typedef tiles_shape<128, 128, 8, 8, 8> tiles_wide;
typedef tiles_shape<64, 64, 16, 4, 4> tiles_middle;
typedef tiles_shape<32, 128, 8, 4, 4> tiles_low;

/* How a product is cut: tiles along m and n, parts of k of `depth`, and the extents of a problem's partial results. */
struct tiles_cut {
    int32_t kind; /* 0: wide, 1: middle, 2: low */
    int32_t m, n, splits, depth, rows, cols;
    int32_t problems;
};

static inline int32_t tiles_up(int64_t n, int64_t by) { return static_cast<int32_t>((n + by - 1) / by); }

static const int64_t TILES_ROOM = int64_t{1} << 28; /* bytes of partial results, at most */

/* Of problems of at most m x n x k; `size`: bytes of an element. */
static inline tiles_cut tiles_cut_of(int64_t size, int64_t m, int64_t n, int64_t k, int64_t problems, int64_t most_bytes = TILES_ROOM) {
    static const int tile_m[3] = {128, 64, 32}, tile_n[3] = {128, 64, 128}, tile_k[3] = {8, 16, 8};
    const int64_t target = 2 * 132, shares = k / 512 > 1 ? k / 512 : 1;
    tiles_cut cut = {1, 0, 0, 1, 0, static_cast<int32_t>(m), static_cast<int32_t>(n), static_cast<int32_t>(problems)};
    if (m <= 32) cut.kind = 2;
    else if (size == 4 && m > 64 && n > 64 && tiles_up(m, 128) * static_cast<int64_t>(tiles_up(n, 128)) * problems * shares >= 132)
        cut.kind = 0;
    cut.m = tiles_up(m, tile_m[cut.kind]), cut.n = tiles_up(n, tile_n[cut.kind]);
    int64_t step = tile_k[cut.kind], blocks = static_cast<int64_t>(cut.m) * cut.n * problems;
    int64_t splits = blocks > 0 && blocks < 132 ? target / blocks : 1, most = k / (16 * step);
    int64_t room = most_bytes / (m * n * problems * size + 1);
    splits = splits > most ? most : splits;
    splits = splits > room ? room : splits;
    splits = splits < 1 ? 1 : splits;
    cut.depth = static_cast<int32_t>((tiles_up(k, splits) + step - 1) / step * step);
    cut.splits = k > 0 ? tiles_up(k, cut.depth) : 1;
    return cut;
}

/* Bytes of workspace. */
static inline int64_t tiles_bytes(int64_t size, int64_t m, int64_t n, int64_t k, int64_t problems) {
    tiles_cut cut = tiles_cut_of(size, m, n, k, problems);
    return cut.splits == 1 ? 0 : (static_cast<int64_t>(cut.splits) * problems * m * n * size + 63) / 64 * 64;
}

/* Four neighbours; in shared memory at a multiple of four, in global memory aligned. */
template <typename T> static __device__ inline void tiles_take(CUDA_SHARED_AT(T) from, int at, T *to) {
#ifdef FLOW_CUDA_EMULATION
    for (int i = 0; i < 4; i++) to[i] = from[at + i];
#else
    struct __align__(16) vector {
        T of[16 / sizeof(T)];
    };
#pragma unroll
    for (int i = 0; i < 4; i += 16 / sizeof(T)) {
        const vector v = *reinterpret_cast<const vector *>(from + at + i);
#pragma unroll
        for (int j = 0; j < static_cast<int>(16 / sizeof(T)); j++) to[i + j] = v.of[j];
    }
#endif
}
static __device__ inline void tiles_store(float *to, const float *v) {
    *reinterpret_cast<float4 *>(to) = make_float4(v[0], v[1], v[2], v[3]);
}
static __device__ inline void tiles_store(double *to, const double *v) {
    reinterpret_cast<double2 *>(to)[0] = make_double2(v[0], v[1]);
    reinterpret_cast<double2 *>(to)[1] = make_double2(v[2], v[3]);
}

/* Which elements of a tile [OUTER, K] a thread loads: neighbouring threads neighbours in memory. */
template <bool DEEP, int OUTER, int K, int THREADS> struct tiles_share {
    static const int count = OUTER * K / THREADS, outers = DEEP ? count : 1;
    static __device__ int outer(int thread, int i) { return DEEP ? thread / K + i * (THREADS / K) : thread % OUTER; }
    static __device__ int depth(int thread, int i) { return DEEP ? thread % K : thread / OUTER + i * (THREADS / OUTER); }
};

template <class S, class P>
static __global__ void __launch_bounds__(S::threads, 2) tiles_kernel(const P product, const tiles_cut cut, typename P::real *partial) {
    typedef typename P::real T;
    typedef tiles_share<P::a_deep, S::m, S::k, S::threads> share_a;
    typedef tiles_share<P::b_deep, S::n, S::k, S::threads> share_b;
    CUDA_DYNAMIC_SHARED(T, tile, S::shared);
    const int thread = static_cast<int>(threadIdx.x);
    int32_t block = static_cast<int32_t>(blockIdx.x);
    const int32_t m0 = block % cut.m * S::m;
    block /= cut.m;
    const int32_t n0 = block % cut.n * S::n;
    block /= cut.n;
    const int32_t split = block % cut.splits, problem = block / cut.splits;
    const typename P::place place = product.open(problem);
    if (m0 >= place.m || n0 >= place.n) return;
    const int32_t begin = split * cut.depth, end = place.k - begin < cut.depth ? place.k : begin + cut.depth;

    typename P::row row[share_a::outers];
    typename P::column column[share_b::outers];
#pragma unroll
    for (int i = 0; i < share_a::outers; i++) {
        const int32_t m = m0 + share_a::outer(thread, i);
        row[i] = product.row_of(place, m < place.m ? m : 0);
    }
#pragma unroll
    for (int i = 0; i < share_b::outers; i++) {
        const int32_t n = n0 + share_b::outer(thread, i);
        column[i] = product.column_of(place, n < place.n ? n : 0);
    }

    T a[share_a::count], b[share_b::count], sum[S::rows][S::cols];
#pragma unroll
    for (int i = 0; i < S::rows; i++)
#pragma unroll
        for (int j = 0; j < S::cols; j++) sum[i][j] = 0;
    const int down = thread / (S::n / S::cols) * 4, across = thread % (S::n / S::cols) * 4;

    int half = 0;
    for (int32_t k0 = begin; k0 < end + S::k; k0 += S::k) { /* loads one step ahead of the sums */
        const bool loads = k0<end, sums = k0> begin;
        if (loads) {
            typename P::a_depth depth_a = product.a_depth_of(place, k0 + share_a::depth(thread, 0));
            typename P::b_depth depth_b = product.b_depth_of(place, k0 + share_b::depth(thread, 0));
#pragma unroll
            for (int i = 0; i < share_a::count; i++) {
                const int32_t k = k0 + share_a::depth(thread, i);
                if (!P::a_deep && i > 0) depth_a = product.a_depth_of(place, k);
                a[i] = k < end && m0 + share_a::outer(thread, i) < place.m ? product.a(place, row[P::a_deep ? i : 0], depth_a) : T(0);
            }
#pragma unroll
            for (int i = 0; i < share_b::count; i++) {
                const int32_t k = k0 + share_b::depth(thread, i);
                if (!P::b_deep && i > 0) depth_b = product.b_depth_of(place, k);
                b[i] = k < end && n0 + share_b::outer(thread, i) < place.n ? product.b(place, column[P::b_deep ? i : 0], depth_b) : T(0);
            }
        }
        if (sums) {
            const int at_a = half * S::a_tile, at_b = 2 * S::a_tile + half * S::b_tile;
#pragma unroll
            for (int k = 0; k < S::k; k++) {
                T left[S::rows], right[S::cols];
#pragma unroll
                for (int i = 0; i < S::rows; i += 4)
                    tiles_take<T>(tile, at_a + k * S::a_row + i / 4 * (S::m * 4 / S::rows) + down, left + i);
#pragma unroll
                for (int j = 0; j < S::cols; j += 4)
                    tiles_take<T>(tile, at_b + k * S::b_row + j / 4 * (S::n * 4 / S::cols) + across, right + j);
#pragma unroll
                for (int i = 0; i < S::rows; i++)
#pragma unroll
                    for (int j = 0; j < S::cols; j++) sum[i][j] += left[i] * right[j];
            }
            half ^= 1;
        }
        if (loads) {
            const int at_a = half * S::a_tile, at_b = 2 * S::a_tile + half * S::b_tile;
#pragma unroll
            for (int i = 0; i < share_a::count; i++) tile[at_a + share_a::depth(thread, i) * S::a_row + share_a::outer(thread, i)] = a[i];
#pragma unroll
            for (int i = 0; i < share_b::count; i++) tile[at_b + share_b::depth(thread, i) * S::b_row + share_b::outer(thread, i)] = b[i];
        }
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < S::rows; i++) {
        const int32_t m = m0 + i / 4 * (S::m * 4 / S::rows) + down + i % 4;
        if (m >= place.m) continue;
#pragma unroll
        for (int j = 0; j < S::cols; j += 4) {
            const int32_t n = n0 + j / 4 * (S::n * 4 / S::cols) + across, count = place.n - n < 4 ? place.n - n : 4;
            if (count <= 0) continue;
            if (cut.splits == 1) {
                product.put(place, m, n, count, &sum[i][j]);
            } else {
                T *to = partial + ((static_cast<int64_t>(problem) * cut.splits + split) * cut.rows + m) * cut.cols + n;
#pragma unroll
                for (int l = 0; l < 4; l++)
                    if (l < count) to[l] = sum[i][j + l];
            }
        }
    }
}

/* The parts of each result, added up in order. blocks: of one problem. */
template <class P>
static __global__ void tiles_sum_kernel(const P product, const tiles_cut cut, const typename P::real *partial, int32_t blocks) {
    typedef typename P::real T;
    const int32_t problem = static_cast<int32_t>(blockIdx.x) / blocks, block = static_cast<int32_t>(blockIdx.x) % blocks;
    const typename P::place place = product.open(problem);
    const int64_t count = static_cast<int64_t>(cut.rows) * cut.cols;
    partial += static_cast<int64_t>(problem) * cut.splits * count;
    for (int64_t i = static_cast<int64_t>(block) * blockDim.x + threadIdx.x; i < count; i += static_cast<int64_t>(blocks) * blockDim.x) {
        const int32_t m = static_cast<int32_t>(i / cut.cols), n = static_cast<int32_t>(i - static_cast<int64_t>(m) * cut.cols);
        if (m >= place.m || n >= place.n) continue;
        T value[4] = {0, 0, 0, 0};
        for (int32_t s = 0; s < cut.splits; s++)
            if (s == 0 || s * cut.depth < place.k) value[0] += partial[s * count + i];
        product.put(place, m, n, 1, value);
    }
}

template <class S, class P>
static int tiles_launch(const struct flow_call *call, const P &product, const tiles_cut &cut, typename P::real *partial) {
    unsigned blocks = static_cast<unsigned>(cut.m) * static_cast<unsigned>(cut.n) * static_cast<unsigned>(cut.splits) *
                      static_cast<unsigned>(cut.problems);
    return CUDA_LAUNCH((tiles_kernel<S, P>), blocks, S::threads, S::shared * sizeof(typename P::real), cuda_stream(call), product, cut,
                       partial);
}

/* Problems of at most m x n x k, workspace of tiles_bytes, or of most_bytes. */
template <class P>
static int tiles_run(const struct flow_call *call, const P &product, int64_t m, int64_t n, int64_t k, int64_t problems, void *workspace,
                     int64_t most_bytes = TILES_ROOM) {
    typedef typename P::real T;
    if (m == 0 || n == 0 || problems == 0) return FLOW_OK;
    const tiles_cut cut = tiles_cut_of(sizeof(T), m, n, k, problems, most_bytes);
    T *partial = static_cast<T *>(workspace);
    int error;
    if (cut.kind == 2) {
        error = tiles_launch<tiles_low, P>(call, product, cut, partial);
    } else if (cut.kind == 1) {
        error = tiles_launch<tiles_middle, P>(call, product, cut, partial);
    } else {
        if constexpr (sizeof(T) == 4) error = tiles_launch<tiles_wide, P>(call, product, cut, partial);
        else error = cudaErrorInvalidValue;
    }
    if (error == 0 && cut.splits > 1) {
        const int32_t blocks = static_cast<int32_t>(cuda_blocks(m * n, CUDA_BLOCK));
        error = CUDA_LAUNCH((tiles_sum_kernel<P>), static_cast<unsigned>(blocks * problems), CUDA_BLOCK, 0, cuda_stream(call), product, cut,
                            partial, blocks);
    }
    return cuda_status(call, error);
}

#endif
