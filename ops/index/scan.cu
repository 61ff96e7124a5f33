/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cumsum: running sums along an axis, floats in f64, integers modulo 2^64. Rows (the axis is the last one) are a block's, 1024 elements at
 * a time; columns a thread's, side by side. Where there are too few of them for the device the axis is cut into chunks of a fixed length:
 * their sums first, then what stands before each, then the running sums: three launches, the input read twice, and an order of additions
 * that depends on the shape alone (a scan that looks back at whatever its neighbours have ready would not be the same in every run).
 */
#include "common/cuda.h"

#include "common/cuda_map.h"

#include "index/index.h"
#include "index/kernels_cuda.h"

enum { SCAN_EACH = 4, SCAN_TILE = 256 * SCAN_EACH, SCAN_CHUNK = 4 * SCAN_TILE, COLUMN_CHUNK = 64, SCAN_UNITS = 1056 };

struct scan {
    int64_t outer, n, inner;
    int64_t chunk, chunks; /* of the axis */
    bool exclusive, reverse, add;
    /* Where the element of step t stands in its row. */
    __device__ int64_t at(int64_t t) const { return (reverse ? n - 1 - t : t) * inner; }
};

/* `carry` [chunks, outer * inner]; NULL: none, the sum starts at `before` (NULL: 0) and ends in `after`. */
template <typename S> struct scan_ends {
    S *carry;
    const S *before;
    S *after;
};

static inline struct scan scan_of(int64_t outer, int64_t n, int64_t inner) {
    struct scan s = {outer, n, inner, n, 1, false, false, false};
    const int64_t units = inner == 1 ? outer : (outer * inner + 255) / 256, least = inner == 1 ? SCAN_CHUNK : COLUMN_CHUNK;
    if (units == 0 || n == 0 || units >= SCAN_UNITS / 2) return s;
    int64_t chunks = SCAN_UNITS / units, most = n / least;
    if (chunks > most) chunks = most;
    if (chunks < 2) return s;
    s.chunk = (n + chunks - 1) / chunks;
    if (inner == 1) s.chunk = (s.chunk + SCAN_TILE - 1) / SCAN_TILE * SCAN_TILE;
    s.chunks = (n + s.chunk - 1) / s.chunk;
    return s;
}
static inline int64_t scan_room(const struct scan &s) { return s.chunks > 1 ? (s.chunks * s.outer * s.inner * 8 + 63) / 64 * 64 : 0; }

/* What goes before this thread's value among the block's 256, and the block's sum. */
template <typename S> static __device__ inline S block_before(S mine, S &total, CUDA_SHARED_AT(S) warps) {
    const int lane = static_cast<int>(threadIdx.x) % CUDA_WARP, warp = static_cast<int>(threadIdx.x) / CUDA_WARP;
    S sum = mine;
    for (int step = 1; step < CUDA_WARP; step *= 2) {
        const S other = __shfl_up_sync(CUDA_WHOLE_WARP, sum, static_cast<unsigned>(step));
        if (lane >= step) sum += other;
    }
    if (lane == CUDA_WARP - 1) warps[warp] = sum;
    __syncthreads();
    S before = 0;
    total = 0;
    for (int w = 0; w < 8; w++) {
        if (w < warp) before += warps[w];
        total += warps[w];
    }
    __syncthreads();
    return before + (sum - mine);
}

/* A block for a chunk of a row. SUMS: only its sum, to `carry`. 2 or 3 * sizeof(T) bytes an element. y may be x. */
template <typename T, typename S, bool SUMS>
static __global__ void __launch_bounds__(256) scan_rows_kernel(struct scan s, const T *x, T *y, struct scan_ends<S> ends) {
    CUDA_SHARED(S, warps, 8);
    for (int64_t unit = blockIdx.x; unit < s.outer * s.chunks; unit += gridDim.x) {
        const int64_t row = unit / s.chunks, chunk = unit - row * s.chunks;
        const int64_t begin = chunk * s.chunk, stop = begin + s.chunk < s.n ? begin + s.chunk : s.n;
        S run = 0;
        if (!SUMS && ends.carry != nullptr) run = ends.carry[chunk * s.outer + row];
        else if (!SUMS && ends.before != nullptr) run = ends.before[row];
        for (int64_t tile = begin; tile < stop; tile += SCAN_TILE) {
            const int64_t first = tile + static_cast<int64_t>(threadIdx.x) * SCAN_EACH;
            S value[SCAN_EACH], mine = 0, total;
            for (int j = 0; j < SCAN_EACH; j++) {
                value[j] = first + j < stop ? static_cast<S>(x[row * s.n + s.at(first + j)]) : S(0);
                mine += value[j];
            }
            S sum = run + block_before<S>(mine, total, warps);
            run += total;
            if constexpr (!SUMS)
                for (int j = 0; j < SCAN_EACH && first + j < stop; j++) {
                    const S before = sum;
                    sum = before + value[j];
                    const T made = static_cast<T>(s.exclusive ? before : sum);
                    T *to = y + row * s.n + s.at(first + j);
                    *to = s.add ? static_cast<T>(*to + made) : made;
                }
        }
        if (SUMS && threadIdx.x == 0) ends.carry[chunk * s.outer + row] = run;
        if (!SUMS && ends.carry == nullptr && ends.after != nullptr && threadIdx.x == 0) ends.after[row] = run;
    }
}

/* A thread for a chunk of a column, neighbours side by side. */
template <typename T, typename S, bool SUMS>
static __global__ void __launch_bounds__(256) scan_columns_kernel(struct scan s, const T *x, T *y, struct scan_ends<S> ends) {
    const int64_t columns = s.outer * s.inner;
    CUDA_EACH(unit, columns * s.chunks) {
        const int64_t chunk = unit / columns, column = unit - chunk * columns, outer = column / s.inner;
        const int64_t base = outer * s.n * s.inner + column - outer * s.inner;
        const int64_t begin = chunk * s.chunk, stop = begin + s.chunk < s.n ? begin + s.chunk : s.n;
        S sum = 0;
        if (!SUMS && ends.carry != nullptr) sum = ends.carry[unit];
        else if (!SUMS && ends.before != nullptr) sum = ends.before[column];
        for (int64_t t = begin; t < stop; t++) {
            const int64_t at = base + s.at(t);
            const S before = sum;
            sum = before + static_cast<S>(x[at]);
            if (SUMS) continue;
            const T made = static_cast<T>(s.exclusive ? before : sum);
            y[at] = s.add ? static_cast<T>(y[at] + made) : made;
        }
        if (SUMS) ends.carry[unit] = sum;
        else if (ends.carry == nullptr && ends.after != nullptr) ends.after[column] = sum;
    }
}

/* Sums of chunks to what stands before each, in place: a thread a column, up to some thousand chunks. */
template <typename S> static __global__ void __launch_bounds__(256) scan_carry_kernel(struct scan s, struct scan_ends<S> ends) {
    const int64_t columns = s.outer * s.inner;
    CUDA_EACH(column, columns) {
        S sum = ends.before != nullptr ? ends.before[column] : S(0);
        for (int64_t chunk = 0; chunk < s.chunks; chunk++) {
            const S mine = ends.carry[chunk * columns + column];
            ends.carry[chunk * columns + column] = sum;
            sum += mine;
        }
        if (ends.after != nullptr) ends.after[column] = sum;
    }
}

template <typename T, typename S, bool SUMS>
static int scan_launch(const struct flow_call *call, const struct scan &s, const T *x, T *y, const struct scan_ends<S> &ends) {
    if (s.inner == 1)
        return CUDA_LAUNCH((scan_rows_kernel<T, S, SUMS>), cuda_blocks(s.outer * s.chunks, 1), CUDA_BLOCK, 0, cuda_stream(call), s, x, y,
                           ends);
    return CUDA_LAUNCH((scan_columns_kernel<T, S, SUMS>), cuda_blocks(s.outer * s.inner * s.chunks, CUDA_BLOCK), CUDA_BLOCK, 0,
                       cuda_stream(call), s, x, y, ends);
}

template <typename T, typename S>
static int scan_run(const struct flow_call *call, struct scan s, const void *x, void *y, const void *before, void *after) {
    struct scan_ends<S> ends = {
        nullptr, static_cast<const S *>(before), static_cast<S *>(after)
    };
    const T *from = static_cast<const T *>(x);
    T *to = static_cast<T *>(y);
    if (s.outer * s.inner == 0) return FLOW_OK;
    if (s.chunks == 1) return cuda_status(call, (scan_launch<T, S, false>(call, s, from, to, ends)));
    ends.carry = static_cast<S *>(call->workspace);
    int error = scan_launch<T, S, true>(call, s, from, to, ends);
    if (error == 0)
        error = CUDA_LAUNCH((scan_carry_kernel<S>), cuda_blocks(s.outer * s.inner, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), s, ends);
    if (error == 0) error = scan_launch<T, S, false>(call, s, from, to, ends);
    return cuda_status(call, error);
}

int cuda_cumsum_forward(const struct flow_call *call) {
    const struct cumsum_attrs *a = static_cast<const struct cumsum_attrs *>(call->attrs);
    const struct cumsum *c = static_cast<const struct cumsum *>(call->priv);
    const bool carried = call->state_count > 0 && call->state_in[0].rank >= 0;
    const void *x = call->in[0].data, *before = carried ? call->state_in[0].data : nullptr;
    void *y = call->out[0].data, *after = carried ? call->state_out[0].data : nullptr;
    struct scan s = scan_of(c->outer, c->n, c->inner);
    s.exclusive = a->exclusive, s.reverse = a->reverse;
    switch (call->in[0].dtype) {
    case FLOW_F64: return scan_run<double, double>(call, s, x, y, before, after);
    case FLOW_I32: return scan_run<int32_t, uint64_t>(call, s, x, y, before, after);
    case FLOW_I64: return scan_run<int64_t, uint64_t>(call, s, x, y, before, after);
    case FLOW_U8: return scan_run<uint8_t, uint64_t>(call, s, x, y, before, after);
    default: return scan_run<float, double>(call, s, x, y, before, after);
    }
}

/* An element is in all sums behind it: the running sum from the other end. */
int cuda_cumsum_backward(const struct flow_call *call) {
    const struct cumsum_attrs *a = static_cast<const struct cumsum_attrs *>(call->attrs);
    const struct cumsum *c = static_cast<const struct cumsum *>(call->priv);
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    if (to->rank < 0) return FLOW_OK;
    struct scan s = scan_of(c->outer, c->n, c->inner);
    s.exclusive = a->exclusive, s.reverse = !a->reverse, s.add = add;
    if (g->dtype == FLOW_F64) return scan_run<double, double>(call, s, g->data, to->data, nullptr, nullptr);
    return scan_run<float, double>(call, s, g->data, to->data, nullptr, nullptr);
}

int cuda_cumsum_plan(struct flow_infer *infer) {
    const struct cumsum *c = static_cast<const struct cumsum *>(infer->priv);
    infer->workspace = scan_room(scan_of(c->outer, c->n, c->inner));
    infer->workspace_backward = infer->differentiated ? infer->workspace : 0;
    return FLOW_OK;
}
