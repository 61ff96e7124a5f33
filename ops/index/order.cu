/* SPDX-License-Identifier: Apache-2.0 */
/*
 * argmax, argmin, topk, argsort: elements of an axis compared by keys, unsigned integers in the elements' order. -0 and 0 are equal, a NaN
 * is greater than all numbers. Of equal keys the lower place comes first, so that every order is strict and the result one alone.
 */
#include "common/cuda.h"

#include "common/cuda_map.h"

#include "index/index.h"
#include "index/kernels_cuda.h"

#include <string.h>

static __device__ inline uint64_t key_of(float x) {
    uint32_t u;
    x += 0.0f; /* -0 becomes 0 */
    memcpy(&u, &x, sizeof u);
    return x != x ? UINT32_MAX : u >> 31 ? ~u : u | 0x80000000u;
}
static __device__ inline uint64_t key_of(double x) {
    uint64_t u;
    x += 0.0;
    memcpy(&u, &x, sizeof u);
    return x != x ? UINT64_MAX : u >> 63 ? ~u : u | 0x8000000000000000u;
}
static __device__ inline uint64_t key_of(int32_t x) { return static_cast<uint64_t>(static_cast<int64_t>(x)) ^ 0x8000000000000000u; }
static __device__ inline uint64_t key_of(int64_t x) { return static_cast<uint64_t>(x) ^ 0x8000000000000000u; }
static __device__ inline uint64_t key_of(uint8_t x) { return x; }

/* The key by which the greatest is the least, or argmin's, where a NaN stays ahead of all. */
static __device__ inline bool is_nan(float x) { return x != x; }
static __device__ inline bool is_nan(double x) { return x != x; }
template <typename T> static __device__ inline bool is_nan(T) { return false; }

/* Rows of n elements `inner` apart. */
struct axis_rows {
    int64_t rows, n, inner;
    __device__ int64_t first(int64_t row, int64_t length) const { return row / inner * length * inner + row % inner; }
};

struct ranked {
    uint64_t key;
    int64_t place;
};
static __device__ inline ranked none() { return {0, INT64_MAX}; }
static __device__ inline bool ahead(const ranked &a, const ranked &b) { return a.key > b.key || (a.key == b.key && a.place < b.place); }

/* The best of 2^shift lanes (up to a warp), or of the block of 256 (shift 8), to all of them. `room`: 8 of each, shared. */
static __device__ inline ranked best_of(ranked mine, int shift, CUDA_SHARED_AT(uint64_t) key, CUDA_SHARED_AT(int64_t) place) {
    for (int step = (shift < 5 ? 1 << shift : CUDA_WARP) / 2; step > 0; step /= 2) {
        const ranked other = {__shfl_xor_sync(CUDA_WHOLE_WARP, mine.key, step), __shfl_xor_sync(CUDA_WHOLE_WARP, mine.place, step)};
        if (ahead(other, mine)) mine = other;
    }
    if (shift <= 5) return mine;
    if (threadIdx.x % CUDA_WARP == 0) key[threadIdx.x / CUDA_WARP] = mine.key, place[threadIdx.x / CUDA_WARP] = mine.place;
    __syncthreads();
    mine = none();
    for (int w = 0; w < 8; w++) {
        const ranked other = {key[w], place[w]};
        if (ahead(other, mine)) mine = other;
    }
    __syncthreads();
    return mine;
}

/* ---- argmax, argmin ------------------------------------------------------------------------------------------------ */

template <typename T> static __device__ inline ranked ranked_of(T x, int64_t place, uint64_t flip) {
    return {is_nan(x) ? UINT64_MAX : key_of(x) ^ flip, place};
}

/* A group of 2^shift lanes or a block for a row; one read of every element. */
template <typename T>
static __global__ void __launch_bounds__(256) best_rows_kernel(struct axis_rows r, int shift, uint64_t flip, const T *x, int64_t *y) {
    CUDA_SHARED(uint64_t, key, 8);
    CUDA_SHARED(int64_t, place, 8);
    const int group = 1 << shift, lane = static_cast<int>(threadIdx.x) & (group - 1);
    const int64_t a_block = 256 >> shift, rounds = (r.rows + a_block - 1) / a_block;
    for (int64_t round = blockIdx.x; round < rounds; round += gridDim.x) {
        const int64_t row = round * a_block + (static_cast<int>(threadIdx.x) >> shift);
        ranked best = none();
        if (row < r.rows)
            for (int64_t i = lane; i < r.n; i += group) {
                const ranked one = ranked_of(x[row * r.n + i], i, flip);
                if (ahead(one, best)) best = one;
            }
        best = best_of(best, shift, key, place);
        if (row < r.rows && lane == 0) y[row] = best.place;
    }
}

/* 32 rows side by side, 8 threads along each. */
template <typename T>
static __global__ void __launch_bounds__(256) best_columns_kernel(struct axis_rows r, uint64_t flip, const T *x, int64_t *y) {
    CUDA_SHARED(uint64_t, key, 256);
    CUDA_SHARED(int64_t, place, 256);
    const int column = static_cast<int>(threadIdx.x) % 32, part = static_cast<int>(threadIdx.x) / 32;
    for (int64_t first = static_cast<int64_t>(blockIdx.x) * 32; first < r.rows; first += static_cast<int64_t>(gridDim.x) * 32) {
        const int64_t row = first + column;
        ranked best = none();
        if (row < r.rows) {
            const int64_t base = r.first(row, r.n);
            for (int64_t i = part; i < r.n; i += 8) {
                const ranked one = ranked_of(x[base + i * r.inner], i, flip);
                if (ahead(one, best)) best = one;
            }
        }
        key[threadIdx.x] = best.key, place[threadIdx.x] = best.place;
        __syncthreads();
        if (part == 0 && row < r.rows) {
            for (int p = 1; p < 8; p++) {
                const ranked other = {key[p * 32 + column], place[p * 32 + column]};
                if (ahead(other, best)) best = other;
            }
            y[row] = best.place;
        }
        __syncthreads();
    }
}

static struct axis_rows rows_of(const struct order *o) { return {o->outer * o->inner, o->n, o->inner}; }

template <typename T> static int best_run(const struct flow_call *call, uint64_t flip) {
    const struct axis_rows r = rows_of(static_cast<const struct order *>(call->priv));
    const T *x = static_cast<const T *>(call->in[0].data);
    int64_t *y = static_cast<int64_t *>(call->out[0].data);
    if (r.rows == 0) return FLOW_OK;
    if (r.inner > 1)
        return cuda_status(call,
                           CUDA_LAUNCH((best_columns_kernel<T>), cuda_blocks(r.rows, 32), CUDA_BLOCK, 0, cuda_stream(call), r, flip, x, y));
    int shift = 0;
    while (shift < 5 && (INT64_C(4) << shift) <= r.n) shift++;
    if (r.n >= 1024) shift = 8;
    return cuda_status(call, CUDA_LAUNCH((best_rows_kernel<T>), cuda_blocks(r.rows, 256 >> shift), CUDA_BLOCK, 0, cuda_stream(call), r,
                                         shift, flip, x, y));
}

static int best_any(const struct flow_call *call, bool least) {
    const uint64_t all = least ? UINT64_MAX : 0;
    switch (call->in[0].dtype) {
    case FLOW_F64: return best_run<double>(call, all);
    case FLOW_I32: return best_run<int32_t>(call, all);
    case FLOW_I64: return best_run<int64_t>(call, all);
    case FLOW_U8: return best_run<uint8_t>(call, all);
    default: return best_run<float>(call, least ? UINT32_MAX : 0);
    }
}

int cuda_argmax_forward(const struct flow_call *call) { return best_any(call, false); }
int cuda_argmin_forward(const struct flow_call *call) { return best_any(call, true); }

/* ---- Sorting ------------------------------------------------------------------------------------------------------- */

/* What becomes of the sorted: the first k places of a row, and their values. */
struct sorted_out {
    int64_t *places;
    void *values; /* NULL: places alone */
    int64_t k;
};
struct sort_buffers {
    uint64_t *key[2];
    int32_t *place[2];
};
enum { SORT_TILE = 1024 };

template <typename T>
static __device__ inline void sorted_put(const struct axis_rows &r, const struct sorted_out &out, int64_t row, int64_t at, int32_t place,
                                         const T *x) {
    if (at >= out.k) return;
    const int64_t to = r.first(row, out.k) + at * r.inner;
    out.places[to] = place;
    if (out.values != nullptr) static_cast<T *>(out.values)[to] = x[r.first(row, r.n) + place * r.inner];
}

/* Rows, or stretches of 1024 of them, each by a block in shared memory: a bitonic network over pairs of key and place (which are all
 * different, so that its order does not matter). `size`: a power of two; `flip`: turns the order round. Two reads of x, 12 bytes a pair. */
template <typename T>
static __global__ void __launch_bounds__(512)
    sort_tiles_kernel(struct axis_rows r, int size, uint64_t flip, const T *x, struct sort_buffers b, bool last, struct sorted_out out) {
    CUDA_SHARED(uint64_t, key, SORT_TILE);
    CUDA_SHARED(int32_t, place, SORT_TILE);
    const int64_t tiles = (r.n + size - 1) / size;
    const int threads = static_cast<int>(blockDim.x);
    for (int64_t unit = blockIdx.x; unit < r.rows * tiles; unit += gridDim.x) {
        const int64_t row = unit / tiles, begin = (unit - row * tiles) * size, base = r.first(row, r.n);
        for (int i = static_cast<int>(threadIdx.x); i < size; i += threads) {
            const bool there = begin + i < r.n;
            key[i] = there ? key_of(x[base + (begin + i) * r.inner]) ^ flip : UINT64_MAX;
            place[i] = there ? static_cast<int32_t>(begin + i) : INT32_MAX;
        }
        for (int length = 2; length <= size; length *= 2)
            for (int step = length / 2; step > 0; step /= 2) {
                __syncthreads();
                for (int t = static_cast<int>(threadIdx.x); t < size / 2; t += threads) {
                    const int i = 2 * t - (t & (step - 1)), j = i + step;
                    const uint64_t a = key[i], c = key[j];
                    const int32_t p = place[i], q = place[j];
                    const bool over = a > c || (a == c && p > q), falling = (i & length) != 0;
                    if (over != falling) key[i] = c, key[j] = a, place[i] = q, place[j] = p;
                }
            }
        __syncthreads();
        for (int i = static_cast<int>(threadIdx.x); i < size && begin + i < r.n; i += threads) {
            if (last) sorted_put(r, out, row, begin + i, place[i], x);
            else b.key[0][row * r.n + begin + i] = key[i], b.place[0][row * r.n + begin + i] = place[i];
        }
        __syncthreads();
    }
}

/* Sorted stretches of `width` are merged in pairs: every element finds how many of the other stretch stand before it, by halving. 24 bytes
 * an element and pass, and log2(width) reads that mostly hit the cache. */
template <typename T>
static __global__ void __launch_bounds__(256)
    merge_kernel(struct axis_rows r, int64_t width, const T *x, const uint64_t *key, const int32_t *place, uint64_t *key_to,
                 int32_t *place_to, bool last, struct sorted_out out) {
    CUDA_EACH(i, r.rows * r.n) {
        const int64_t row = i / r.n, at = i - row * r.n, base = row * r.n, run = at / width, pair = run / 2 * 2 * width;
        const int64_t other = run % 2 == 0 ? pair + width : pair;
        int64_t low = other < r.n ? other : r.n, high = other + width < r.n ? other + width : r.n;
        const int64_t begin = low;
        const uint64_t mine = key[i];
        const int32_t here = place[i];
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            const uint64_t theirs = key[base + middle];
            if (theirs < mine || (theirs == mine && place[base + middle] < here)) low = middle + 1;
            else high = middle;
        }
        const int64_t to = pair + (at - run * width) + (low - begin);
        if (last) sorted_put(r, out, row, to, here, x);
        else key_to[base + to] = mine, place_to[base + to] = here;
    }
}

static int64_t sort_room(const struct axis_rows &r) { return r.n <= SORT_TILE ? 0 : (r.rows * r.n * 24 + 63) / 64 * 64; }

template <typename T> static int sort_run(const struct flow_call *call, uint64_t flip, const struct sorted_out &out) {
    const struct axis_rows r = rows_of(static_cast<const struct order *>(call->priv));
    const T *x = static_cast<const T *>(call->in[0].data);
    const int64_t total = r.rows * r.n;
    struct sort_buffers b;
    b.key[0] = static_cast<uint64_t *>(call->workspace), b.key[1] = b.key[0] + total;
    b.place[0] = reinterpret_cast<int32_t *>(b.key[1] + total), b.place[1] = b.place[0] + total;
    if (total == 0 || out.k == 0) return FLOW_OK;
    int size = 2;
    while (size < SORT_TILE && size < r.n) size *= 2;
    const int64_t tiles = (r.n + size - 1) / size;
    const int threads = size / 2 < CUDA_WARP ? CUDA_WARP : size / 2;
    int error = CUDA_LAUNCH((sort_tiles_kernel<T>), cuda_blocks(r.rows * tiles, 1), threads, 0, cuda_stream(call), r, size, flip, x, b,
                            tiles == 1, out);
    int from = 0;
    for (int64_t width = size; width < r.n && error == 0; width *= 2, from = 1 - from)
        error = CUDA_LAUNCH((merge_kernel<T>), cuda_blocks(total, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), r, width, x, b.key[from],
                            b.place[from], b.key[1 - from], b.place[1 - from], 2 * width >= r.n, out);
    return cuda_status(call, error);
}

static int sort_any(const struct flow_call *call, bool falling, const struct sorted_out &out) {
    const uint64_t flip = falling ? UINT64_MAX : 0;
    switch (call->in[0].dtype) {
    case FLOW_F64: return sort_run<double>(call, flip, out);
    case FLOW_I32: return sort_run<int32_t>(call, flip, out);
    case FLOW_I64: return sort_run<int64_t>(call, flip, out);
    case FLOW_U8: return sort_run<uint8_t>(call, flip, out);
    default: return sort_run<float>(call, flip, out);
    }
}

int cuda_argsort_forward(const struct flow_call *call) {
    const struct order *o = static_cast<const struct order *>(call->priv);
    return sort_any(call, false, {static_cast<int64_t *>(call->out[0].data), nullptr, o->n});
}

int cuda_argsort_plan(struct flow_infer *infer) {
    infer->workspace = sort_room(rows_of(static_cast<const struct order *>(infer->priv)));
    return FLOW_OK;
}

/* ---- topk ---------------------------------------------------------------------------------------------------------- */

enum { PASSES = 32 }; /* up to so many are chosen one after the other, more by sorting */

/* The j-th is the best of those behind the one before: k reads of a row, all but the first from the cache. A warp or a block for a row. */
template <typename T>
static __global__ void __launch_bounds__(256)
    topk_kernel(struct axis_rows r, int shift, uint64_t flip, int64_t k, const T *x, T *values, int64_t *places) {
    CUDA_SHARED(uint64_t, key, 8);
    CUDA_SHARED(int64_t, place, 8);
    const int group = 1 << shift, lane = static_cast<int>(threadIdx.x) & (group - 1);
    const int64_t a_block = 256 >> shift, rounds = (r.rows + a_block - 1) / a_block;
    for (int64_t round = blockIdx.x; round < rounds; round += gridDim.x) {
        const int64_t row = round * a_block + (static_cast<int>(threadIdx.x) >> shift);
        const bool there = row < r.rows;
        const int64_t base = there ? r.first(row, r.n) : 0, to = there ? r.first(row, k) : 0;
        ranked before = {UINT64_MAX, -1};
        for (int64_t j = 0; j < k; j++) {
            ranked best = none();
            if (there)
                for (int64_t i = lane; i < r.n; i += group) {
                    const ranked one = {key_of(x[base + i * r.inner]) ^ flip, i};
                    if (ahead(before, one) && ahead(one, best)) best = one;
                }
            before = best_of(best, shift, key, place);
            if (there && lane == 0) places[to + j * r.inner] = before.place, values[to + j * r.inner] = x[base + before.place * r.inner];
        }
    }
}

template <typename T> static int topk_run(const struct flow_call *call, const struct topk_attrs *a) {
    const struct axis_rows r = rows_of(static_cast<const struct order *>(call->priv));
    const int shift = r.n >= 1024 ? 8 : 5;
    if (r.rows == 0) return FLOW_OK;
    return cuda_status(call, CUDA_LAUNCH((topk_kernel<T>), cuda_blocks(r.rows, 256 >> shift), CUDA_BLOCK, 0, cuda_stream(call), r, shift,
                                         a->largest ? 0 : UINT64_MAX, a->k, static_cast<const T *>(call->in[0].data),
                                         static_cast<T *>(call->out[0].data), static_cast<int64_t *>(call->out[1].data)));
}

int cuda_topk_forward(const struct flow_call *call) {
    const struct topk_attrs *a = static_cast<const struct topk_attrs *>(call->attrs);
    if (a->k == 0) return FLOW_OK;
    if (a->k > PASSES) return sort_any(call, a->largest, {static_cast<int64_t *>(call->out[1].data), call->out[0].data, a->k});
    switch (call->in[0].dtype) {
    case FLOW_F64: return topk_run<double>(call, a);
    case FLOW_I32: return topk_run<int32_t>(call, a);
    case FLOW_I64: return topk_run<int64_t>(call, a);
    case FLOW_U8: return topk_run<uint8_t>(call, a);
    default: return topk_run<float>(call, a);
    }
}

int cuda_topk_plan(struct flow_infer *infer) {
    const struct topk_attrs *a = static_cast<const struct topk_attrs *>(infer->attrs);
    infer->workspace = a->k > PASSES ? sort_room(rows_of(static_cast<const struct order *>(infer->priv))) : 0;
    return FLOW_OK;
}

/* Back to where they came from; of a row each place was chosen once at most. */
template <typename T>
static __global__ void __launch_bounds__(256) topk_back_kernel(struct axis_rows r, int64_t k, const int64_t *places, const T *g, T *to) {
    CUDA_EACH(i, r.rows * k) {
        const int64_t outer = i / (k * r.inner), column = i % r.inner;
        to[outer * r.n * r.inner + places[i] * r.inner + column] += g[i];
    }
}

int cuda_topk_backward(const struct flow_call *call) {
    const struct topk_attrs *a = static_cast<const struct topk_attrs *>(call->attrs);
    const struct axis_rows r = rows_of(static_cast<const struct order *>(call->priv));
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    int error = cuda_zero(cuda_stream(call), to, FLOW_ACCUMULATES(call->accumulate_in, 0) != 0);
    if (error != 0 || to->rank < 0 || g->rank < 0 || r.rows * a->k == 0) return cuda_status(call, error);
    const int64_t *places = static_cast<const int64_t *>(call->out[1].data);
    const unsigned grid = cuda_blocks(r.rows * a->k, CUDA_BLOCK);
    if (g->dtype == FLOW_F64)
        error = CUDA_LAUNCH((topk_back_kernel<double>), grid, CUDA_BLOCK, 0, cuda_stream(call), r, a->k, places,
                            static_cast<const double *>(g->data), static_cast<double *>(to->data));
    else
        error = CUDA_LAUNCH((topk_back_kernel<float>), grid, CUDA_BLOCK, 0, cuda_stream(call), r, a->k, places,
                            static_cast<const float *>(g->data), static_cast<float *>(to->data));
    return cuda_status(call, error);
}
