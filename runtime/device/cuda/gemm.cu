/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products of any strides, f32 and f64, with the whole epilogue in the same pass:
 *   C[M, N] = act(A[M, K] B[K, N] + bias + beta C) + residual, `batch` times.
 *   tile     blocks of 128 x 128 or 64 x 64 of C, registers 8 x 8 or 4 x 4 a thread, K in steps through shared memory, two buffers
 *   dots     N <= 4, A's rows contiguous: a warp a row
 *   columns  N <= 4, A's columns contiguous: a thread a row
 * Products with few rows are the last two transposed. Where C has too few tiles for a device, K is cut into parts whose sums go through the
 * workspace and are added in order by a second launch: the same bits every time.
 */
#include "common/cuda.h"
#include "common/cuda_math.h"

#include "device/cuda/gemm.h"

static const int NARROW = 4; /* columns that dots and columns take */

/* All that a kernel needs. With `flip` C is the transpose of the caller's: bias runs along rows. */
template <typename T> struct product {
    int64_t m, n, k;
    const T *a, *b;
    int64_t a_row, a_col, a_batch, b_row, b_col, b_batch;
    T *c;
    const T *residual, *bias;
    int64_t c_row, c_col, c_batch;
    bool beta, flip;
    int activation;
    T *parts; /* [part, batch, M, N] sums of a part of K; NULL: K is whole */
    int64_t batch, part_count, part_k;
    int64_t first; /* block of the whole that this launch begins with */
    bool a_vector, b_vector, c_vector;
};

template <typename T> static __device__ inline T activate(T x, int activation) {
    switch (activation) {
    case FLOW_ACTIVATION_RELU: return math_relu(x);
    case FLOW_ACTIVATION_SIGMOID: return math_sigmoid(x);
    case FLOW_ACTIVATION_TANH: return math_tanh(x);
    case FLOW_ACTIVATION_SILU: return math_silu(x);
    case FLOW_ACTIVATION_GELU: return math_gelu(x);
    default: return x;
    }
}

/* The sum of element (row, column), on its way to C. */
template <typename T> static __device__ inline void finish(const product<T> &p, int64_t batch, int64_t row, int64_t column, T sum) {
    const int64_t at = batch * p.c_batch + row * p.c_row + column * p.c_col;
    if (p.bias) sum += p.bias[p.flip ? row : column];
    if (p.beta) sum += p.c[at];
    sum = activate(sum, p.activation);
    if (p.residual) sum += p.residual[at];
    p.c[at] = sum;
}

template <typename T>
static __device__ inline void put(const product<T> &p, int64_t part, int64_t batch, int64_t row, int64_t column, T sum) {
    if (p.parts) p.parts[((part * p.batch + batch) * p.m + row) * p.n + column] = sum;
    else finish(p, batch, row, column, sum);
}

/* 16 bytes. */
template <typename T> struct vector_of;
template <> struct vector_of<float> {
    using type = float4;
    static const int count = 4;
    static __device__ inline void split(const float4 &v, float *x) { x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w; }
    static __device__ inline float4 join(const float *x) { return make_float4(x[0], x[1], x[2], x[3]); }
};
template <> struct vector_of<double> {
    using type = double2;
    static const int count = 2;
    static __device__ inline void split(const double2 &v, double *x) { x[0] = v.x, x[1] = v.y; }
    static __device__ inline double2 join(const double *x) { return make_double2(x[0], x[1]); }
};

/* One operand's way from global to shared memory: `length` (of M or N) x `depth` (of K), stored [depth][length + pad]. Each of 256 threads
 * takes 16 bytes, along whichever axis is the closer one. */
template <typename T, int LENGTH, int DEPTH> struct loader {
    static const int V = vector_of<T>::count, PITCH = LENGTH + V;
    static_assert(LENGTH * DEPTH == 256 * V, "16 bytes a thread");
    const T *at;
    int64_t length_stride, depth_stride;
    int64_t length_left; /* of this tile's, from its first element */
    int length, depth;   /* this thread's first element in the tile */
    bool along_depth, vector;
    T held[V];

    __device__ inline void init(const T *from, int64_t along_length, int64_t along_k, int64_t left, bool aligned) {
        const int t = static_cast<int>(threadIdx.x);
        length_stride = along_length, depth_stride = along_k, length_left = left, vector = aligned;
        along_depth = along_k < along_length;
        length = along_depth ? t / (DEPTH / V) : t % (LENGTH / V) * V;
        depth = along_depth ? t % (DEPTH / V) * V : t / (LENGTH / V);
        at = from + length * along_length + depth * along_k;
    }
    /* The elements of the next DEPTH steps of K, of which k_left exist. */
    __device__ inline void fetch(int64_t k_left) {
        const bool whole = along_depth ? length < length_left && depth + V <= k_left : length + V <= length_left && depth < k_left;
        if (vector && whole) vector_of<T>::split(__ldg(reinterpret_cast<const typename vector_of<T>::type *>(at)), held);
        else {
            const int64_t step = along_depth ? depth_stride : length_stride;
#pragma unroll
            for (int i = 0; i < V; i++) {
                const bool inside = along_depth ? length < length_left && depth + i < k_left : length + i < length_left && depth < k_left;
                held[i] = inside ? __ldg(at + i * step) : T(0);
            }
        }
        at += DEPTH * depth_stride;
    }
    __device__ inline void store(CUDA_SHARED_AT(T) tile) const {
        if (along_depth) {
#pragma unroll
            for (int i = 0; i < V; i++) tile[(depth + i) * PITCH + length] = held[i];
        } else CUDA_SHARED_AS(typename vector_of<T>::type, tile)[(depth * PITCH + length) / V] = vector_of<T>::join(held);
    }
};

/* A tile of 16 R x 16 R. 256 threads as 16 x 16; a thread has R / V groups of V rows, 16 V apart, and columns likewise: reads of shared
 * memory are 16 bytes wide and without bank conflicts. R = 8 in f32: 64 multiply-adds for 4 such reads a step of K, 128 x 128 x 2 x 4 bytes
 * of global memory for every 128 x 128 of C: bound by arithmetic from K = 64 on. */
template <typename T, int R, int DEPTH> static __global__ void __launch_bounds__(256, R == 8 || sizeof(T) == 8 ? 2 : 3) gemm_tile(const product<T> p) {
    using vec = vector_of<T>;
    static const int V = vec::count, SIDE = 16 * R, PITCH = SIDE + V, BUFFER = 2 * DEPTH * PITCH;
    CUDA_DYNAMIC_SHARED(T, tiles, 2 * BUFFER);
    const int64_t across = (p.n + SIDE - 1) / SIDE, down = (p.m + SIDE - 1) / SIDE, block = p.first + blockIdx.x;
    const int64_t column0 = block % across * SIDE, row0 = block / across % down * SIDE;
    const int64_t batch = block / (across * down) % p.batch, part = block / (across * down) / p.batch;
    const int64_t k0 = part * p.part_k, k1 = k0 + p.part_k < p.k ? k0 + p.part_k : p.k;
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;

    loader<T, SIDE, DEPTH> from_a, from_b;
    from_a.init(p.a + batch * p.a_batch + row0 * p.a_row + k0 * p.a_col, p.a_row, p.a_col, p.m - row0, p.a_vector);
    from_b.init(p.b + batch * p.b_batch + column0 * p.b_col + k0 * p.b_row, p.b_col, p.b_row, p.n - column0, p.b_vector);
    T sum[R][R] = {};
    int buffer = 0;
    if (k0 < k1) {
        from_a.fetch(k1 - k0), from_b.fetch(k1 - k0);
        from_a.store(tiles), from_b.store(tiles + DEPTH * PITCH);
        __syncthreads();
    }
    for (int64_t k = k0; k < k1; k += DEPTH) {
        const bool more = k + DEPTH < k1;
        if (more) from_a.fetch(k1 - k - DEPTH), from_b.fetch(k1 - k - DEPTH);
        const CUDA_SHARED_AT(typename vec::type) a = CUDA_SHARED_AS(typename vec::type, tiles + buffer * BUFFER);
        const CUDA_SHARED_AT(typename vec::type) b = a + DEPTH * PITCH / V;
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            T x[R], y[R];
#pragma unroll
            for (int h = 0; h < R / V; h++) vec::split(a[i * (PITCH / V) + h * 16 + ty], x + h * V);
#pragma unroll
            for (int h = 0; h < R / V; h++) vec::split(b[i * (PITCH / V) + h * 16 + tx], y + h * V);
#pragma unroll
            for (int r = 0; r < R; r++)
#pragma unroll
                for (int c = 0; c < R; c++) sum[r][c] += x[r] * y[c];
        }
        if (more) {
            buffer ^= 1;
            from_a.store(tiles + buffer * BUFFER), from_b.store(tiles + buffer * BUFFER + DEPTH * PITCH);
            __syncthreads();
        }
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int64_t row = row0 + r / V * (16 * V) + ty * V + r % V;
        if (row >= p.m) continue;
#pragma unroll
        for (int c = 0; c < R; c++) {
            const int64_t column = column0 + c / V * (16 * V) + tx * V + c % V;
            if (column < p.n) put(p, part, batch, row, column, sum[r][c]);
        }
    }
}

/* A warp a row, all of N <= 4 columns: A is read once, 16 bytes a lane; B's few columns come from the caches. Bound by A's bytes. */
template <typename T> static __global__ void __launch_bounds__(256) gemm_dots(const product<T> p) {
    static const int V = vector_of<T>::count;
    const int lane = static_cast<int>(threadIdx.x) % CUDA_WARP;
    const int64_t place = (p.first + blockIdx.x) * 8 + threadIdx.x / 32;
    const int64_t row = place % p.m, batch = place / p.m % p.batch, part = place / p.m / p.batch;
    if (part >= p.part_count) return; /* the whole warp */
    const int64_t k0 = part * p.part_k, k1 = k0 + p.part_k < p.k ? k0 + p.part_k : p.k;
    const T *a = p.a + batch * p.a_batch + row * p.a_row, *b = p.b + batch * p.b_batch;
    T sum[NARROW] = {};
    for (int64_t k = k0 + lane * V; k < k1; k += CUDA_WARP * V) {
        T x[V];
        if (p.a_vector && k + V <= k1) vector_of<T>::split(__ldg(reinterpret_cast<const typename vector_of<T>::type *>(a + k)), x);
        else
            for (int i = 0; i < V; i++) x[i] = k + i < k1 ? a[k + i] : T(0);
#pragma unroll
        for (int n = 0; n < NARROW; n++) {
            if (n >= p.n) break;
#pragma unroll
            for (int i = 0; i < V; i++)
                if (k + i < k1) sum[n] += x[i] * __ldg(b + (k + i) * p.b_row + n * p.b_col);
        }
    }
#pragma unroll
    for (int n = 0; n < NARROW; n++) {
        if (n >= p.n) break;
        for (int d = CUDA_WARP / 2; d > 0; d /= 2) sum[n] += __shfl_xor_sync(CUDA_WHOLE_WARP, sum[n], d);
        if (lane == 0) put(p, part, batch, row, static_cast<int64_t>(n), sum[n]);
    }
}

/* A's columns contiguous: a thread a row, neighbours read neighbours; a step of K reads N numbers of B, the same for all. Any strides are
 * right here, if not fast. */
template <typename T> static __global__ void __launch_bounds__(256) gemm_columns(const product<T> p) {
    const int64_t blocks = (p.m + 255) / 256, block = p.first + blockIdx.x, row = block % blocks * 256 + threadIdx.x;
    const int64_t batch = block / blocks % p.batch, part = block / blocks / p.batch;
    if (row >= p.m) return;
    const int64_t k0 = part * p.part_k, k1 = k0 + p.part_k < p.k ? k0 + p.part_k : p.k;
    const T *a = p.a + batch * p.a_batch + row * p.a_row, *b = p.b + batch * p.b_batch;
    T sum[NARROW] = {};
#pragma unroll 4
    for (int64_t k = k0; k < k1; k++) {
        const T x = __ldg(a + k * p.a_col);
#pragma unroll
        for (int n = 0; n < NARROW; n++)
            if (n < p.n) sum[n] += x * __ldg(b + k * p.b_row + n * p.b_col);
    }
#pragma unroll
    for (int n = 0; n < NARROW; n++)
        if (n < p.n) put(p, part, batch, row, static_cast<int64_t>(n), sum[n]);
}

/* Sums of the parts, in their order, and the epilogue. */
template <typename T> static __global__ void __launch_bounds__(256) gemm_join(const product<T> p) {
    const int64_t count = p.batch * p.m * p.n;
    CUDA_EACH(i, count) {
        T sum = p.parts[i];
        for (int64_t s = 1; s < p.part_count; s++) sum += p.parts[s * count + i];
        finish(p, i / (p.m * p.n), i / p.n % p.m, i % p.n, sum);
    }
}

/* The epilogue alone, of sums that lie in C. */
template <typename T> static __global__ void __launch_bounds__(256) gemm_epilogue(const product<T> p) {
    const int64_t count = p.batch * p.m * p.n;
    CUDA_EACH(i, count) {
        const int64_t batch = i / (p.m * p.n), row = i / p.n % p.m, column = i % p.n, at = batch * p.c_batch + row * p.c_row + column;
        T sum = p.c[at];
        if (p.bias) sum += p.bias[column];
        sum = activate(sum, p.activation);
        if (p.residual) sum += p.residual[at];
        p.c[at] = sum;
    }
}

/* ---- Which kernel, how many parts ---- */

template <typename T> static product<T> product_of(const struct flow_gemm *g) {
    product<T> p = {};
    p.m = g->m, p.n = g->n, p.k = g->k, p.batch = g->batch;
    p.a = static_cast<const T *>(g->a), p.a_row = g->a_row, p.a_col = g->a_col, p.a_batch = g->a_batch;
    p.b = static_cast<const T *>(g->b), p.b_row = g->b_row, p.b_col = g->b_col, p.b_batch = g->b_batch;
    p.c = static_cast<T *>(g->c), p.c_row = g->c_row, p.c_col = 1, p.c_batch = g->c_batch;
    p.residual = static_cast<const T *>(g->residual), p.bias = static_cast<const T *>(g->bias);
    p.beta = g->beta != 0, p.activation = g->activation;
    p.part_count = 1, p.part_k = g->k;
    return p;
}

/* C' = B' A'. */
template <typename T> static product<T> flipped(const product<T> &from) {
    product<T> p = from;
    p.m = from.n, p.n = from.m;
    p.a = from.b, p.a_row = from.b_col, p.a_col = from.b_row, p.a_batch = from.b_batch;
    p.b = from.a, p.b_row = from.a_col, p.b_col = from.a_row, p.b_batch = from.a_batch;
    p.c_row = from.c_col, p.c_col = from.c_row, p.flip = !from.flip;
    return p;
}

/* 16-byte reads: one stride is 1, all others are whole vectors. */
template <typename T> static bool vectors(const T *at, int64_t row, int64_t col, int64_t batch) {
    const int64_t v = vector_of<T>::count;
    return reinterpret_cast<uintptr_t>(at) % 16 == 0 && batch % v == 0 &&
           ((row == 1 && col % v == 0 && col > 1) || (col == 1 && row % v == 0 && row > 1));
}

/* K is cut until about two blocks a multiprocessor run, each with at least `least` of K, as far as the workspace goes. */
template <typename T> static void cut(product<T> *p, int64_t blocks, int64_t least, int64_t unit, void *workspace, int64_t bytes) {
    static const int64_t WANTED = 264;
    const int64_t sums = p->batch * p->m * p->n * static_cast<int64_t>(sizeof(T));
    int64_t parts = blocks >= WANTED / 2 ? 1 : (WANTED + blocks - 1) / blocks;
    if (parts > p->k / least) parts = p->k / least;
    if (parts > 64) parts = 64;
    if (parts > bytes / sums) parts = bytes / sums;
    if (parts < 2 || !workspace) return;
    p->part_k = ((p->k + parts - 1) / parts + unit - 1) / unit * unit;
    p->part_count = (p->k + p->part_k - 1) / p->part_k;
    if (p->part_count > 1) p->parts = static_cast<T *>(workspace);
    else p->part_k = p->k;
}

static const int64_t GRID_MOST = INT64_C(0x7FFFFFFF);

#define LAUNCH_ALL(kernel, blocks, shared)                                                                                 \
    for (p.first = 0; p.first < (blocks) && error == 0; p.first += GRID_MOST) {                                            \
        const int64_t left = (blocks)-p.first;                                                                             \
        error = CUDA_LAUNCH((kernel), static_cast<unsigned>(left < GRID_MOST ? left : GRID_MOST), 256, shared, stream, p); \
    }

template <typename T, int R, int DEPTH> static int run_tiles(product<T> p, cudaStream_t stream, void *workspace, int64_t bytes) {
    static const int64_t SIDE = 16 * R, SHARED = 4 * DEPTH * (SIDE + vector_of<T>::count) * static_cast<int64_t>(sizeof(T));
    const int64_t blocks = (p.m + SIDE - 1) / SIDE * ((p.n + SIDE - 1) / SIDE) * p.batch;
    cut(&p, blocks, 256, DEPTH, workspace, bytes);
    p.a_vector = vectors(p.a, p.a_row, p.a_col, p.a_batch), p.b_vector = vectors(p.b, p.b_row, p.b_col, p.b_batch);
    int error = 0;
    LAUNCH_ALL((gemm_tile<T, R, DEPTH>), blocks * p.part_count, static_cast<unsigned>(SHARED))
    if (p.parts && error == 0) error = CUDA_LAUNCH((gemm_join<T>), cuda_blocks(p.batch * p.m * p.n, 256), 256, 0, stream, p);
    return error;
}

template <typename T> static int run_narrow(product<T> p, cudaStream_t stream, void *workspace, int64_t bytes) {
    const bool rows = p.a_col == 1 || p.k <= 1;
    const int64_t rows_all = p.m * p.batch, blocks = rows ? (rows_all + 7) / 8 : (p.m + 255) / 256 * p.batch;
    cut(&p, blocks, rows ? 2048 : 64, rows ? vector_of<T>::count : 1, workspace, bytes);
    p.a_vector = rows && vectors(p.a, p.a_row > 1 ? p.a_row : vector_of<T>::count, p.a_col, p.a_batch);
    if (p.m > 1 && p.a_row % vector_of<T>::count != 0) p.a_vector = false;
    int error = 0;
    if (rows) {
        const int64_t all = (rows_all * p.part_count + 7) / 8;
        LAUNCH_ALL((gemm_dots<T>), all, 0)
    } else LAUNCH_ALL((gemm_columns<T>), blocks * p.part_count, 0)
    if (p.parts && error == 0) error = CUDA_LAUNCH((gemm_join<T>), cuda_blocks(p.batch * p.m * p.n, 256), 256, 0, stream, p);
    return error;
}

template <typename T> static int run(const struct flow_gemm *g, cudaStream_t stream, void *workspace, int64_t bytes) {
    const product<T> p = product_of<T>(g);
    if (p.n <= NARROW) return run_narrow(p, stream, workspace, bytes);
    if (p.m <= NARROW) return run_narrow(flipped(p), stream, workspace, bytes);
    if constexpr (sizeof(T) == 4) {
        /* Large tiles where they fill the device: a third less traffic through shared memory. */
        if ((p.m + 127) / 128 * ((p.n + 127) / 128) * p.batch >= 132) return run_tiles<T, 8, 8>(p, stream, workspace, bytes);
        return run_tiles<T, 4, 16>(p, stream, workspace, bytes);
    } else return run_tiles<T, 4, 8>(p, stream, workspace, bytes);
}

int cuda_gemm_own(const struct flow_gemm *g, cudaStream_t stream, void *workspace, int64_t workspace_bytes) {
    return g->dtype == FLOW_F64 ? run<double>(g, stream, workspace, workspace_bytes) : run<float>(g, stream, workspace, workspace_bytes);
}

int cuda_gemm_finish(const struct flow_gemm *g, cudaStream_t stream) {
    const unsigned blocks = cuda_blocks(g->batch * g->m * g->n, 256);
    if (g->dtype == FLOW_F64) return CUDA_LAUNCH((gemm_epilogue<double>), blocks, 256, 0, stream, product_of<double>(g));
    return CUDA_LAUNCH((gemm_epilogue<float>), blocks, 256, 0, stream, product_of<float>(g));
}
