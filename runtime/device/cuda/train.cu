/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients between backward and an optimiser's step: update.c's passes for the device. All gradients of a group go in one launch
 * (cuda_many); each block leaves its sum of squares and whether it met a number that is not finite, and one more block adds these up in
 * order: the same bits in every run. Memory is the limit: f32 moves 4 bytes an element for the norm alone, 8 where it is scaled.
 */
#include "common/cuda.h"

#include "device/cuda/train.h"

#include "common/cuda_half.h"
#include "common/cuda_many.h"

#include <flow/random.h>
#include <math.h>

static const int64_t CHUNK = 8192; /* elements a block: whole blocks of noise */
static const int NOISE_BLOCK = 32, SUM_THREADS = 1024;

struct piece {
    double square;
    int64_t broken; /* number of the gradient, or -1 */
};

static __device__ inline bool is_finite(double x) { return x - x == 0; }

/* What a thread found, added up over the block. Every thread of the block comes here. */
static __device__ struct piece block_piece(double square, int64_t broken) {
    CUDA_SHARED(double, squares, SUM_THREADS / CUDA_WARP);
    CUDA_SHARED(int64_t, firsts, SUM_THREADS / CUDA_WARP);
    for (int step = CUDA_WARP / 2; step; step /= 2) {
        square += __shfl_xor_sync(CUDA_WHOLE_WARP, square, step);
        const int64_t other = __shfl_xor_sync(CUDA_WHOLE_WARP, broken, step);
        if (other >= 0 && (broken < 0 || other < broken)) broken = other;
    }
    const unsigned warp = threadIdx.x / CUDA_WARP, warps = blockDim.x / CUDA_WARP;
    if (threadIdx.x % CUDA_WARP == 0) squares[warp] = square, firsts[warp] = broken;
    __syncthreads();
    struct piece all = {0, -1};
    for (unsigned i = 0; i < warps; i++) {
        all.square += squares[i];
        if (firsts[i] >= 0 && (all.broken < 0 || firsts[i] < all.broken)) all.broken = firsts[i];
    }
    return all;
}

static __global__ void sum_kernel(int64_t count, const struct piece *pieces, struct update_sum *sum) {
    double square = 0;
    int64_t broken = -1;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        const struct piece piece = pieces[i];
        square += piece.square;
        if (piece.broken >= 0 && (broken < 0 || piece.broken < broken)) broken = piece.broken;
    }
    const struct piece all = block_piece(square, broken);
    if (threadIdx.x == 0) sum->square = all.square, sum->broken = all.broken;
}

/* ---- Scaling and the norm ---- */

namespace {
/* What one element comes to, and what it adds: squares of f32 cannot overflow in f64, so that of them only the sum is looked at. */
template <typename T> struct tally {
    double square;
    bool broken;
    __device__ void take(T x) {
        const double wide = static_cast<double>(x);
        square += wide * wide;
        if (sizeof(T) == 8 && !is_finite(wide)) broken = true;
    }
    __device__ void leave(uint32_t which, struct piece *to) const { /* every thread of the block */
        const bool bad = sizeof(T) == 8 ? broken : !is_finite(square);
        const struct piece all = block_piece(square, bad ? static_cast<int64_t>(which) : -1);
        if (threadIdx.x == 0) *to = all;
    }
};
} // namespace

/* g *= scale; sum of g^2. With scale 1 nothing is written. 16 bytes at a time where the gradient lies so. */
template <typename T> static __global__ void scale_kernel(const cuda_many<1> many, T scale, struct piece *pieces) {
    const int WIDE = 16 / sizeof(T);
    typedef cuda_sixteen<T> vector;
    const struct cuda_span span = many.span(blockIdx.x, CHUNK);
    T *const g = static_cast<T *>(many.at[0][span.member]);
    struct tally<T> tally = {
        0, false
    };
    const bool writes = scale != T(1);
    int64_t rest = span.from;
    if (cuda_aligned(g)) {
        rest = span.to - (span.to - span.from) % WIDE;
        for (int64_t i = span.from + threadIdx.x * WIDE; i < rest; i += blockDim.x * WIDE) {
            vector x = *reinterpret_cast<const vector *>(g + i);
#pragma unroll
            for (int j = 0; j < WIDE; j++) x.at[j] *= scale, tally.take(x.at[j]);
            if (writes) *reinterpret_cast<vector *>(g + i) = x;
        }
    }
    for (int64_t i = rest + threadIdx.x; i < span.to; i += blockDim.x) {
        const T x = g[i] * scale;
        if (writes) g[i] = x;
        tally.take(x);
    }
    tally.leave(many.which[span.member], &pieces[blockIdx.x]);
}

/* ---- Noise ---- */

struct pair {
    float first, second;
};

/* Box and Muller's pair from two words, as update_simd.c makes it: the polynomials are the same, so are the numbers but for rounding. */
static __device__ inline struct pair normals(uint32_t radius, uint32_t angle, float factor) {
    const float u = static_cast<float>(static_cast<int32_t>(radius >> 1)) + 0.5f;
    const uint32_t shifted = cuda_bits(u) - 0x3F3504F3u;
    const float k = static_cast<float>(static_cast<int32_t>(shifted) >> 23) - 31.0f;
    const float f = cuda_from_bits((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    float series = 0.19884235f + f * (-0.17212426f + f * (0.16338146f + f * -0.10378716f));
    series = 0.99999992f + f * (-0.50000344f + f * (0.33335608f + f * (-0.2497156f + f * series)));
    const float size = sqrtf((k * 0.69314718f + f * series) * factor);
    const float a = static_cast<float>(static_cast<int32_t>(angle)) * 7.3145906e-10f, z = a * a; /* pi/2 * 2^-31 */
    float sine = 8.31325871e-3f + z * -1.85243573e-4f, cosine = -1.38537043e-3f + z * 2.31539316e-5f;
    sine = 0.999999246f + z * (-0.166656827f + z * sine);
    cosine = -0.499999053f + z * (4.16635847e-2f + z * cosine);
    cosine = cuda_from_bits(cuda_bits(0.999999953f + z * cosine) ^ angle << 31);
    return {size * cosine, size * (a * sine)};
}

struct noise_keys {
    uint64_t run;
    uint64_t key[cuda_many<1, 8>::MOST];
};

/* g = g scale + noise; sum of g^2. A thread takes one Philox counter: of its block of 32 elements those at 2c, 2c + 1 and 16 + 2c, 17 + 2c,
 * c the counter's number in the block. Eight threads cover a block, a warp four: whole lines are read and written. About 130 operations
 * for 4 elements: on an H100 a little below what its memory takes. */
template <typename T>
static __global__ void noise_kernel(const cuda_many<1, 8> many, const struct noise_keys keys, T scale, float factor, struct piece *pieces) {
    const struct cuda_span span = many.span(blockIdx.x, CHUNK);
    T *const g = static_cast<T *>(many.at[0][span.member]);
    const uint64_t key = keys.key[span.member];
    struct tally<T> tally = {
        0, false
    };
    const int64_t counters = (span.to - span.from + NOISE_BLOCK - 1) / NOISE_BLOCK * 8;
    for (int64_t n = threadIdx.x; n < counters; n += blockDim.x) {
        uint32_t word[4];
        flow_philox(key, keys.run, static_cast<uint64_t>(span.from / NOISE_BLOCK * 8 + n), word);
        const int64_t at = span.from + n / 8 * NOISE_BLOCK + n % 8 * 2;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const struct pair noise = normals(word[h], word[2 + h], factor);
            const int64_t i = at + h, j = i + NOISE_BLOCK / 2;
            if (i < span.to) {
                const T x = g[i] * scale + static_cast<T>(noise.first);
                g[i] = x, tally.take(x);
            }
            if (j < span.to) {
                const T x = g[j] * scale + static_cast<T>(noise.second);
                g[j] = x, tally.take(x);
            }
        }
    }
    tally.leave(many.which[span.member], &pieces[blockIdx.x]);
}

/* ---- The passes ---- */

static bool is_of(const struct flow_tensor *t, bool wide) { return t->rank >= 0 && (t->dtype == FLOW_F64) == wide; }

int64_t cuda_train_workspace(uint32_t count, const struct flow_tensor *grad) {
    int64_t pieces = 0;
    for (uint32_t i = 0; i < count; i++) pieces += (cuda_elements(&grad[i]) + CHUNK - 1) / CHUNK;
    return (pieces * static_cast<int64_t>(sizeof(struct piece)) + 63) / 64 * 64;
}

/* The gradients of type T; *used pieces are taken. */
template <typename T>
static int scale_type(cudaStream_t stream, uint32_t count, const struct flow_tensor *grad, double scale, struct piece *pieces,
                      int64_t *used) {
    cuda_many<1> many;
    int error = 0;
    many.count = 0;
    for (uint32_t i = 0; i <= count && error == 0; i++) {
        void *at[] = {i < count ? grad[i].data : NULL};
        const bool full = i < count && is_of(&grad[i], sizeof(T) == 8) && many.add(at, cuda_elements(&grad[i]), i, CHUNK);
        if (!full && (i < count || many.count == 0)) continue;
        error = CUDA_LAUNCH((scale_kernel<T>), many.blocks(), CUDA_BLOCK, 0, stream, many, static_cast<T>(scale), pieces + *used);
        *used += many.blocks(), many.count = 0;
    }
    return error;
}

template <typename T>
static int noise_type(cudaStream_t stream, uint32_t count, const struct flow_tensor *grad, double scale, const struct update_noise *noise,
                      struct piece *pieces, int64_t *used) {
    cuda_many<1, 8> many;
    struct noise_keys keys;
    int error = 0;
    many.count = 0, keys.run = static_cast<uint64_t>(noise->step);
    for (uint32_t i = 0; i <= count && error == 0; i++) {
        void *at[] = {i < count ? grad[i].data : NULL};
        const bool there = i < count && is_of(&grad[i], sizeof(T) == 8);
        if (there) keys.key[many.count] = noise->key[i];
        const bool full = there && many.add(at, cuda_elements(&grad[i]), i, CHUNK);
        if (!full && (i < count || many.count == 0)) continue;
        error = CUDA_LAUNCH((noise_kernel<T>), many.blocks(), CUDA_BLOCK, 0, stream, many, keys, static_cast<T>(scale),
                            static_cast<float>(-2 * noise->variance), pieces + *used);
        *used += many.blocks(), many.count = 0;
    }
    return error;
}

int cuda_train_scale(void *stream, uint32_t count, const struct flow_tensor *grad, double scale, void *workspace, struct update_sum *sum) {
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    struct piece *pieces = static_cast<struct piece *>(workspace);
    int64_t used = 0;
    int error = scale_type<float>(on, count, grad, scale, pieces, &used);
    if (error == 0) error = scale_type<double>(on, count, grad, scale, pieces, &used);
    return error ? error : CUDA_LAUNCH((sum_kernel), 1, SUM_THREADS, 0, on, used, pieces, sum);
}

int cuda_train_noise(void *stream, uint32_t count, const struct flow_tensor *grad, double scale, const struct update_noise *noise,
                     void *workspace, struct update_sum *sum) {
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    struct piece *pieces = static_cast<struct piece *>(workspace);
    int64_t used = 0;
    int error = noise_type<float>(on, count, grad, scale, noise, pieces, &used);
    if (error == 0) error = noise_type<double>(on, count, grad, scale, noise, pieces, &used);
    return error ? error : CUDA_LAUNCH((sum_kernel), 1, SUM_THREADS, 0, on, used, pieces, sum);
}

int cuda_train_prepare(void *stream, const struct update_pass *pass, struct update_sum *sum) {
    const struct update_noise *noise = pass->noise;
    const int error = pass->centralize ? cuda_train_centre(stream, pass->count, pass->grad) : 0;
    if (error) return error;
    if (noise && noise->variance > 0) return cuda_train_noise(stream, pass->count, pass->grad, pass->scale, noise, pass->workspace, sum);
    return cuda_train_scale(stream, pass->count, pass->grad, pass->scale, pass->workspace, sum);
}

/* ---- Rows less their means ---- */

static const int64_t NARROW = 2048; /* rows of up to so many elements are a warp's, longer ones a block's */

struct widths {
    int64_t of[cuda_many<1, 8>::MOST];
};

/* A row for LANES threads; members' elements are rows. Read twice, the second time from the cache. */
template <typename T, int LANES> static __global__ void centre_kernel(const cuda_many<1, 8> many, const struct widths widths) {
    const int ROWS = CUDA_BLOCK / LANES;
    CUDA_SHARED(double, sums, CUDA_BLOCK / CUDA_WARP);
    const struct cuda_span span = many.span(blockIdx.x, ROWS);
    const int64_t width = widths.of[span.member], row = span.from + threadIdx.x / LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES;
    T *const g = static_cast<T *>(many.at[0][span.member]) + row * width;
    double sum = 0;
    if (row < span.to)
        for (int64_t i = lane; i < width; i += LANES) sum += static_cast<double>(g[i]);
    for (int step = CUDA_WARP / 2; step; step /= 2) sum += __shfl_xor_sync(CUDA_WHOLE_WARP, sum, step);
    if (LANES > CUDA_WARP) {
        if (threadIdx.x % CUDA_WARP == 0) sums[threadIdx.x / CUDA_WARP] = sum;
        __syncthreads();
        sum = 0;
        for (int i = 0; i < CUDA_BLOCK / CUDA_WARP; i++) sum += sums[i];
    }
    const T mean = static_cast<T>(sum / static_cast<double>(width));
    if (row < span.to)
        for (int64_t i = lane; i < width; i += LANES) g[i] -= mean;
}

/* Gradients of type T whose rows are narrow (LANES a warp), or are not. */
template <typename T, int LANES> static int centre_type(cudaStream_t stream, uint32_t count, const struct flow_tensor *grad) {
    cuda_many<1, 8> many;
    struct widths widths;
    int error = 0;
    many.count = 0;
    for (uint32_t i = 0; i <= count && error == 0; i++) {
        void *at[] = {i < count ? grad[i].data : NULL};
        bool full = false;
        if (i < count && grad[i].rank >= 2 && is_of(&grad[i], sizeof(T) == 8) && cuda_elements(&grad[i]) > 0) {
            const int64_t width = cuda_elements(&grad[i]) / grad[i].shape[0];
            if ((width <= NARROW) != (LANES == CUDA_WARP)) continue;
            widths.of[many.count] = width;
            full = many.add(at, grad[i].shape[0], i, CUDA_BLOCK / LANES);
        }
        if (!full && (i < count || many.count == 0)) continue;
        error = CUDA_LAUNCH((centre_kernel<T, LANES>), many.blocks(), CUDA_BLOCK, 0, stream, many, widths);
        many.count = 0;
    }
    return error;
}

int cuda_train_centre(void *stream, uint32_t count, const struct flow_tensor *grad) {
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    int error = centre_type<float, CUDA_WARP>(on, count, grad);
    if (error == 0) error = centre_type<float, CUDA_BLOCK>(on, count, grad);
    if (error == 0) error = centre_type<double, CUDA_WARP>(on, count, grad);
    if (error == 0) error = centre_type<double, CUDA_BLOCK>(on, count, grad);
    return error;
}

/* ---- Micro-batches ---- */

/* 12 bytes an element in f32. */
template <typename T> static __global__ void add_kernel(const cuda_many<2> many) {
    const int WIDE = 16 / sizeof(T);
    typedef cuda_sixteen<T> vector;
    const struct cuda_span span = many.span(blockIdx.x, CHUNK);
    T *const to = static_cast<T *>(many.at[0][span.member]);
    const T *const from = static_cast<const T *>(many.at[1][span.member]);
    int64_t rest = span.from;
    if (cuda_aligned(to) && cuda_aligned(from)) {
        rest = span.to - (span.to - span.from) % WIDE;
        for (int64_t i = span.from + threadIdx.x * WIDE; i < rest; i += blockDim.x * WIDE) {
            vector a = *reinterpret_cast<const vector *>(to + i);
            const vector b = *reinterpret_cast<const vector *>(from + i);
#pragma unroll
            for (int j = 0; j < WIDE; j++) a.at[j] += b.at[j];
            *reinterpret_cast<vector *>(to + i) = a;
        }
    }
    for (int64_t i = rest + threadIdx.x; i < span.to; i += blockDim.x) to[i] += from[i];
}

template <typename T>
static int add_type(cudaStream_t stream, uint32_t count, const struct flow_tensor *sum, const struct flow_tensor *grad) {
    cuda_many<2> many;
    int error = 0;
    many.count = 0;
    for (uint32_t i = 0; i <= count && error == 0; i++) {
        void *at[] = {i < count ? sum[i].data : NULL, i < count ? grad[i].data : NULL};
        const bool full =
            i < count && is_of(&sum[i], sizeof(T) == 8) && grad[i].rank >= 0 && many.add(at, cuda_elements(&sum[i]), i, CHUNK);
        if (!full && (i < count || many.count == 0)) continue;
        error = CUDA_LAUNCH((add_kernel<T>), many.blocks(), CUDA_BLOCK, 0, stream, many);
        many.count = 0;
    }
    return error;
}

int cuda_train_add(void *stream, uint32_t count, const struct flow_tensor *sum, const struct flow_tensor *grad) {
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    const int error = add_type<float>(on, count, sum, grad);
    return error ? error : add_type<double>(on, count, sum, grad);
}
