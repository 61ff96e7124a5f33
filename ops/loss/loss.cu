/* SPDX-License-Identifier: Apache-2.0 */
/* Losses element by element: binary_cross_entropy, mse, l1, huber, kl_div. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/shape.h"
#include "loss/kernels_cuda.h"
#include "loss/loss.h"

enum { LOSS_THREADS = 256 };

template <typename T> static __device__ inline T loss_term(enum loss_kind kind, T x, T t, T delta) {
    const T d = x - t, size = cuda_magnitude(d);
    switch (kind) {
    case LOSS_BINARY: return (x < 0 ? T(0) : x) - x * t + cuda_log1p(cuda_exp(-cuda_magnitude(x)));
    case LOSS_SQUARED: return d * d;
    case LOSS_ABSOLUTE: return size;
    case LOSS_HUBER: return size <= delta ? d * d / 2 : delta * (size - delta / 2);
    default: return t == 0 ? T(0) : t * (cuda_log(t) - x); /* LOSS_KL */
    }
}
/* Derivative of a term by x. */
template <typename T> static __device__ inline T loss_slope(enum loss_kind kind, T x, T t, T delta) {
    const T d = x - t, one = d > 0 ? T(1) : d < 0 ? T(-1) : d; /* 0 at 0 */
    switch (kind) {
    case LOSS_BINARY: return 1 / (1 + cuda_exp(-x)) - t;
    case LOSS_SQUARED: return 2 * d;
    case LOSS_ABSOLUTE: return one;
    case LOSS_HUBER: return cuda_magnitude(d) <= delta ? d : one * delta;
    default: return -t; /* LOSS_KL */
    }
}

template <typename T> struct loss_of {
    enum loss_kind kind;
    const T *x, *t;
    int64_t count;
    T delta;
};

/* Sums of parts: adjacent packs, four of x and of t in flight, up to 16 terms in T and these sums in double. Reads 2 values an element. */
template <typename T, int V> static __global__ void __launch_bounds__(LOSS_THREADS, 2) loss_sums(double *to, loss_of<T> of, int64_t parts) {
    CUDA_SHARED(double, kept, 32);
    using pack = cuda_pack<T, V>;
    const int64_t packs = of.count / V, each = (packs + parts - 1) / parts;
    CUDA_EACH_ROWS(part, parts, 1) {
        const int64_t begin = part * each, end = begin + each < packs ? begin + each : packs;
        double all = 0;
        for (int64_t i = begin + threadIdx.x; i < end; i += 4 * LOSS_THREADS) {
            pack x[4] = {}, t[4] = {};
            T sum = 0;
#pragma unroll
            for (int u = 0; u < 4; u++) {
                const int64_t j = i + u * LOSS_THREADS;
                if (j >= end) continue;
                x[u] = *reinterpret_cast<const pack *>(of.x + j * V);
                t[u] = *reinterpret_cast<const pack *>(of.t + j * V);
            }
#pragma unroll
            for (int u = 0; u < 4; u++) {
                if (i + u * LOSS_THREADS >= end) continue;
#pragma unroll
                for (int k = 0; k < V; k++) sum += loss_term(of.kind, x[u].at[k], t[u].at[k], of.delta);
            }
            all += static_cast<double>(sum);
        }
        all = cuda_block(all, 0, cuda_join_sum(), kept);
        if (threadIdx.x == 0) to[part] = all;
    }
}
/* One block: all parts, over `by`. */
template <typename T>
static __global__ void __launch_bounds__(LOSS_THREADS, 2) loss_finish(T *y, const double *sums, int64_t parts, double by) {
    CUDA_SHARED(double, kept, 32);
    double all = 0;
    for (int64_t i = threadIdx.x; i < parts; i += LOSS_THREADS) all += sums[i];
    all = cuda_block(all, 0, cuda_join_sum(), kept);
    if (threadIdx.x == 0) *y = static_cast<T>(all / by);
}

/* Each loss: reads 2 values, writes one. */
template <typename T, int V> static __global__ void __launch_bounds__(LOSS_THREADS, 2) loss_each(T *y, loss_of<T> of) {
    using pack = cuda_pack<T, V>;
    CUDA_EACH(i, of.count / V) {
        const pack x = *reinterpret_cast<const pack *>(of.x + i * V), t = *reinterpret_cast<const pack *>(of.t + i * V);
        pack v;
#pragma unroll
        for (int k = 0; k < V; k++) v.at[k] = loss_term(of.kind, x.at[k], t.at[k], of.delta);
        *reinterpret_cast<pack *>(y + i * V) = v;
    }
}
/* Sums of rows of n, LANES threads a row. */
template <typename T, int LANES> static __global__ void __launch_bounds__(LOSS_THREADS, 2) loss_rows(T *y, loss_of<T> of, int64_t n) {
    CUDA_SHARED(double, kept, 32);
    constexpr int GROUPS = LOSS_THREADS / LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) / LANES;
    const int64_t rows = of.count / n;
    CUDA_EACH_ROWS(first, rows, GROUPS) {
        const int64_t r = first + group;
        double all = 0;
        for (int64_t i = lane; r < rows && i < n; i += LANES)
            all += static_cast<double>(loss_term(of.kind, of.x[r * n + i], of.t[r * n + i], of.delta));
        all = cuda_lanes<LANES>(all, 0, cuda_join_sum(), kept);
        if (r < rows && lane == 0) y[r] = static_cast<T>(all);
    }
}

/* Gradients of x and of the target, what is wanted of them, in one reading. dy: of each loss (row 1), of rows of `row` elements, or of all
 * (row = count). */
template <typename T> struct loss_back {
    loss_of<T> of;
    T *dx, *dt;
    const T *dy;
    int64_t row;
    T scale;
    bool adds_dx, adds_dt;
};
template <typename T, int V> static __global__ void __launch_bounds__(LOSS_THREADS, 2) loss_slopes(loss_back<T> back) {
    using pack = cuda_pack<T, V>;
    const enum loss_kind kind = back.of.kind;
    CUDA_EACH(i, back.of.count / V) {
        const int64_t at = i * V;
        pack x = {}, g, v, w;
        if (kind != LOSS_KL) x = *reinterpret_cast<const pack *>(back.of.x + at);
        const pack t = *reinterpret_cast<const pack *>(back.of.t + at);
        if (back.row == 1) {
            g = *reinterpret_cast<const pack *>(back.dy + at);
        } else {
            const T one = back.dy[back.row == back.of.count ? 0 : cuda_quotient(at, back.row)];
#pragma unroll
            for (int k = 0; k < V; k++) g.at[k] = one;
        }
        if (back.dx && back.adds_dx) v = *reinterpret_cast<const pack *>(back.dx + at);
        if (back.dt && back.adds_dt) w = *reinterpret_cast<const pack *>(back.dt + at);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const T q = back.scale * g.at[k], slope = q * loss_slope(kind, x.at[k], t.at[k], back.of.delta);
            const T other = kind == LOSS_BINARY ? q * -x.at[k] : -slope;
            v.at[k] = back.adds_dx ? v.at[k] + slope : slope;
            w.at[k] = back.adds_dt ? w.at[k] + other : other;
        }
        if (back.dx) *reinterpret_cast<pack *>(back.dx + at) = v;
        if (back.dt) *reinterpret_cast<pack *>(back.dt + at) = w;
    }
}

/* ---- Launchers ---- */

static inline unsigned grid_of(int64_t blocks) { return static_cast<unsigned>(blocks < 1 ? 1 : blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF); }

/* Parts of a sum over all: eight blocks a multiprocessor of an H100 at most, none with less than 8192 elements. */
static int64_t parts_of(int64_t count) {
    const int64_t parts = count / 8192;
    return parts < 1 ? 1 : parts < 1056 ? parts : 1056;
}

extern "C" int cuda_loss_plan(struct flow_infer *infer) {
    const struct loss_attrs *attrs = static_cast<const struct loss_attrs *>(infer->attrs);
    infer->workspace = attrs->reduction == REDUCTION_NONE ? 0 : parts_of(shape_count(&infer->in[0])) * static_cast<int64_t>(sizeof(double));
    return FLOW_OK;
}

template <typename T> static loss_of<T> loss_of_call(const struct flow_call *call) {
    const struct loss_plan *plan = static_cast<const struct loss_plan *>(call->priv);
    const double delta = plan->kind == LOSS_HUBER ? static_cast<const struct loss_attrs *>(call->attrs)->delta : 0;
    return {plan->kind, static_cast<const T *>(call->in[0].data), static_cast<const T *>(call->in[1].data), shape_count(&call->in[0]),
            static_cast<T>(delta)};
}

template <typename T> static int loss_run(const struct flow_call *call) {
    const struct loss_attrs *attrs = static_cast<const struct loss_attrs *>(call->attrs);
    const struct loss_plan *plan = static_cast<const struct loss_plan *>(call->priv);
    const loss_of<T> of = loss_of_call<T>(call);
    cudaStream_t stream = cuda_stream(call);
    T *y = static_cast<T *>(call->out[0].data);
    const bool whole = cuda_whole<T>(of.count, of.x, of.t);
    if (attrs->reduction == REDUCTION_NONE && plan->kind == LOSS_KL) {
        const int64_t n = call->in[0].shape[call->in[0].rank - 1];
        if (plan->rows == 0) return 0;
        if (n == 0) return static_cast<int>(cudaMemsetAsync(y, 0, static_cast<size_t>(plan->rows) * sizeof(T), stream));
        if (n <= 1024) return CUDA_LAUNCH((loss_rows<T, 32>), grid_of((plan->rows + 7) / 8), LOSS_THREADS, 0, stream, y, of, n);
        return CUDA_LAUNCH((loss_rows<T, LOSS_THREADS>), grid_of(plan->rows), LOSS_THREADS, 0, stream, y, of, n);
    }
    if (attrs->reduction == REDUCTION_NONE) {
        if (of.count == 0) return 0;
        if (whole && cuda_whole<T>(of.count, y))
            return CUDA_LAUNCH((loss_each<T, cuda_pack_size<T>>), cuda_blocks(of.count / cuda_pack_size<T>, LOSS_THREADS), LOSS_THREADS, 0,
                               stream, y, of);
        return CUDA_LAUNCH((loss_each<T, 1>), cuda_blocks(of.count, LOSS_THREADS), LOSS_THREADS, 0, stream, y, of);
    }
    double *sums = static_cast<double *>(call->workspace);
    const int64_t parts = parts_of(of.count);
    const int error = whole ? CUDA_LAUNCH((loss_sums<T, cuda_pack_size<T>>), grid_of(parts), LOSS_THREADS, 0, stream, sums, of, parts)
                            : CUDA_LAUNCH((loss_sums<T, 1>), grid_of(parts), LOSS_THREADS, 0, stream, sums, of, parts);
    const double by = attrs->reduction == REDUCTION_MEAN && plan->rows > 0 ? static_cast<double>(plan->rows) : 1;
    return error != 0 ? error : CUDA_LAUNCH((loss_finish<T>), 1, LOSS_THREADS, 0, stream, y, sums, parts, by);
}
extern "C" int cuda_loss_forward(const struct flow_call *call) {
    return cuda_status(call, call->in[0].dtype == FLOW_F64 ? loss_run<double>(call) : loss_run<float>(call));
}

template <typename T> static int loss_run_back(const struct flow_call *call) {
    const struct loss_attrs *attrs = static_cast<const struct loss_attrs *>(call->attrs);
    const struct loss_plan *plan = static_cast<const struct loss_plan *>(call->priv);
    loss_back<T> back = {};
    back.of = loss_of_call<T>(call);
    const int64_t count = back.of.count;
    back.dx = call->grad_in[0].rank < 0 ? NULL : static_cast<T *>(call->grad_in[0].data);
    back.dt = call->grad_in[1].rank < 0 ? NULL : static_cast<T *>(call->grad_in[1].data);
    back.dy = static_cast<const T *>(call->grad_out[0].data);
    back.row = attrs->reduction != REDUCTION_NONE ? count : plan->kind == LOSS_KL ? call->in[0].shape[call->in[0].rank - 1] : 1;
    back.scale = attrs->reduction == REDUCTION_MEAN ? static_cast<T>(1 / static_cast<double>(plan->rows)) : T(1);
    back.adds_dx = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0, back.adds_dt = FLOW_ACCUMULATES(call->accumulate_in, 1) != 0;
    if (!back.dx && !back.dt) return 0;
    const bool rows = back.row == 1 || back.row == count || back.row % cuda_pack_size<T> == 0;
    if (rows && cuda_whole<T>(count, back.of.x, back.of.t, back.dx, back.dt, back.row == 1 ? back.dy : NULL))
        return CUDA_LAUNCH((loss_slopes<T, cuda_pack_size<T>>), cuda_blocks(count / cuda_pack_size<T>, LOSS_THREADS), LOSS_THREADS, 0,
                           cuda_stream(call), back);
    return CUDA_LAUNCH((loss_slopes<T, 1>), cuda_blocks(count, LOSS_THREADS), LOSS_THREADS, 0, cuda_stream(call), back);
}
extern "C" int cuda_loss_backward(const struct flow_call *call) {
    if (call->grad_out[0].rank < 0) return cuda_zero_all(call);
    if (shape_count(&call->in[0]) == 0) return FLOW_OK;
    return cuda_status(call, call->grad_out[0].dtype == FLOW_F64 ? loss_run_back<double>(call) : loss_run_back<float>(call));
}
