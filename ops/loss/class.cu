/* SPDX-License-Identifier: Apache-2.0 */
/* cross_entropy and accuracy. Of logits each row is read once: its largest, the sum of its exponentials and, where smoothing asks for it,
 * its sum. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/shape.h"
#include "loss/kernels_cuda.h"
#include "loss/loss.h"

enum { CLASS_THREADS = 256 };

/* Loss and count of each row go to [rows] of double each; with `y` the loss alone, there. saved: each row's logarithm, then the count of
 * all. weight: of each class, or NULL. */
template <typename T> struct class_of {
    const T *x;
    const int64_t *target;
    const double *weight;
    double *loss, *counts, *saved;
    T *y;
    int64_t rows, classes, ignore;
    double smoothing;
    cuda_fault_place fault;
};

/* The class of a row; -1: it does not count. An index that is no class is told. */
template <typename T> static __device__ inline int64_t class_target(const class_of<T> &of, int64_t r, bool tells) {
    const int64_t t = of.target[r];
    if (t == of.ignore) return -1;
    if (t >= 0 && t < of.classes) return t;
    if (tells) cuda_tell(of.fault, FLOW_FAULT_INDEX, t, of.classes);
    return -1;
}

/* One thread of a row: (1 - s) w[t] (-log p[t]) + s / C sum w[c] (-log p[c]); total: sum of w[c] x[c], weights: of w. */
template <typename T>
static __device__ inline void class_row(const class_of<T> &of, int64_t r, T centre, double sum, double total, double weights) {
    const int64_t t = class_target(of, r, true);
    double loss = 0, count = 0;
    if (t >= 0) {
        const double log_sum = static_cast<double>(centre) + log(sum);
        count = of.weight ? of.weight[t] : 1;
        loss = count * (1 - of.smoothing) * (log_sum - static_cast<double>(of.x[r * of.classes + t]));
        if (of.smoothing != 0) loss += of.smoothing / static_cast<double>(of.classes) * (weights * log_sum - total);
        if (of.saved) of.saved[r] = log_sum;
    }
    if (of.y) of.y[r] = static_cast<T>(loss);
    else of.loss[r] = loss, of.counts[r] = count;
}
/* A thread's share of a row's weighted sum. */
template <typename T> static __device__ inline void class_total(const class_of<T> &of, int64_t c, T x, cuda_two<double> &sums) {
    const double w = of.weight ? of.weight[c] : 1;
    sums.a += w * static_cast<double>(x), sums.b += w;
}

/* Reads n values a row, writes 2; about 12 n operations, one exponential an element. */
template <typename T, typename S> static __global__ void __launch_bounds__(S::THREADS, S::BLOCKS) class_rows(class_of<T> of) {
    CUDA_SHARED(T, kept, 32);
    CUDA_SHARED(cuda_two<double>, kept_total, 32);
    constexpr int LANES = S::LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) / LANES, n = static_cast<int>(of.classes);
    const T least = -static_cast<T>(INFINITY);
    CUDA_EACH_ROWS(first, of.rows, S::ROWS) {
        const int64_t r = first + group;
        const int count = r < of.rows ? n : 0;
        typename S::template row<T> row;
        row.load(of.x + r * n, count, lane, least);
        T largest = least, sum = 0;
#pragma unroll
        for (int i = 0; i < row.count; i++) largest = cuda_larger(largest, row.at[i]);
        largest = cuda_lanes<LANES>(largest, least, cuda_join_larger(), kept);
        const T centre = largest == least ? T(0) : largest;
#pragma unroll
        for (int i = 0; i < row.count; i++) sum += cuda_exp(row.at[i] - centre);
        sum = cuda_lanes<LANES>(sum, T(0), cuda_join_sum(), kept);
        cuda_two<double> totals = {0, 0};
        if (of.smoothing != 0) {
#pragma unroll
            for (int i = 0; i < row.count; i++)
                if (row.place(i, lane) < count) class_total(of, row.place(i, lane), row.at[i], totals);
            totals = cuda_lanes<LANES>(totals, cuda_two<double>{0, 0}, cuda_join_sum(), kept_total);
        }
        if (lane == 0 && count > 0) class_row(of, r, centre, static_cast<double>(sum), totals.a, totals.b);
    }
}
/* Rows that no block holds, and rows of no classes. */
template <typename T> static __global__ void __launch_bounds__(512, 1) class_long(class_of<T> of) {
    CUDA_SHARED(cuda_log_sum<T>, kept, 32);
    CUDA_SHARED(cuda_two<double>, kept_total, 32);
    CUDA_EACH_ROWS(r, of.rows, 1) {
        const T *x = of.x + r * of.classes;
        cuda_log_sum<T> state = cuda_log_sum_start<T>();
        cuda_two<double> totals = {0, 0};
        for (int64_t i = threadIdx.x; i < of.classes; i += 4 * 512) {
            T v[4];
#pragma unroll
            for (int u = 0; u < 4; u++) v[u] = i + u * 512 < of.classes ? x[i + u * 512] : T(0);
#pragma unroll
            for (int u = 0; u < 4; u++) {
                if (i + u * 512 >= of.classes) continue;
                state.add(v[u]);
                if (of.smoothing != 0) class_total(of, i + u * 512, v[u], totals);
            }
        }
        state = cuda_block(state, cuda_log_sum_start<T>(), cuda_join_log_sum(), kept);
        if (of.smoothing != 0) totals = cuda_block(totals, cuda_two<double>{0, 0}, cuda_join_sum(), kept_total);
        const T centre = state.largest == -static_cast<T>(INFINITY) ? T(0) : state.largest;
        if (threadIdx.x == 0) class_row(of, r, centre, static_cast<double>(state.total()), totals.a, totals.b);
    }
}

/* Loss and count of adjacent rows; then, by one block, of all: y, and the count behind the logarithms in `saved`. */
static __global__ void __launch_bounds__(CLASS_THREADS, 2)
    class_parts(double *to, const double *loss, const double *counts, int64_t rows, int64_t parts) {
    CUDA_SHARED(cuda_two<double>, kept, 32);
    const int64_t each = (rows + parts - 1) / parts;
    CUDA_EACH_ROWS(part, parts, 1) {
        const int64_t begin = part * each, end = begin + each < rows ? begin + each : rows;
        cuda_two<double> sums = {0, 0};
        for (int64_t r = begin + threadIdx.x; r < end; r += CLASS_THREADS) sums.a += loss[r], sums.b += counts[r];
        sums = cuda_block(sums, cuda_two<double>{0, 0}, cuda_join_sum(), kept);
        if (threadIdx.x == 0) to[part] = sums.a, to[parts + part] = sums.b;
    }
}
template <typename T>
static __global__ void __launch_bounds__(CLASS_THREADS, 2)
    class_finish(T *y, double *count, const double *loss, const double *counts, int64_t parts, bool mean) {
    CUDA_SHARED(cuda_two<double>, kept, 32);
    cuda_two<double> sums = {0, 0};
    for (int64_t i = threadIdx.x; i < parts; i += CLASS_THREADS) sums.a += loss[i], sums.b += counts[i];
    sums = cuda_block(sums, cuda_two<double>{0, 0}, cuda_join_sum(), kept);
    if (threadIdx.x > 0) return;
    if (count) *count = sums.b;
    *y = static_cast<T>(!mean ? sums.a : sums.b > 0 ? sums.a / sums.b : 0);
}

/* ---- Weights of classes: attributes, numbers of the host ---- */

/* They travel in kernels' arguments, so that nothing of the host's is read later. */
enum { CLASS_CHUNK = 256 };
struct class_chunk {
    double at[CLASS_CHUNK];
};
static __global__ void __launch_bounds__(CLASS_CHUNK, 2) class_weights(double *to, class_chunk from, int count) {
    const int i = static_cast<int>(threadIdx.x);
    if (i < count) to[i] = from.at[i];
}
static int weights_launch(cudaStream_t stream, double *to, const struct flow_values &weight) {
    int error = 0;
    for (int64_t begin = 0; begin < weight.count && error == 0; begin += CLASS_CHUNK) {
        class_chunk chunk = {};
        const int64_t left = weight.count - begin;
        const int count = static_cast<int>(left < CLASS_CHUNK ? left : int64_t{CLASS_CHUNK});
        for (int i = 0; i < count; i++) chunk.at[i] = weight.at[begin + i];
        error = CUDA_LAUNCH((class_weights), 1, CLASS_CHUNK, 0, stream, to + begin, chunk, count);
    }
    return error;
}

/* ---- Gradients ---- */

/* dx[c] = scale (p[c] (own + share weights) - own [c = t] - share w[c]) with own = (1 - s) w[t], share = s / C; scale: dy, over the count
 * for a mean. A warp or a block a row; reads and writes n values. */
template <typename T> struct class_back {
    class_of<T> of;
    T *dx;
    const T *dy;
    double weights;
    bool each, mean, adds;
};
template <typename T, int V, int LANES> static __global__ void __launch_bounds__(CLASS_THREADS, 2) class_slopes(class_back<T> back) {
    using pack = cuda_pack<T, V>;
    constexpr int GROUPS = CLASS_THREADS / LANES;
    const class_of<T> &of = back.of;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) / LANES;
    const double share = of.smoothing / static_cast<double>(of.classes), counts = of.saved[of.rows];
    for (int64_t r = static_cast<int64_t>(blockIdx.x) * GROUPS + group; r < of.rows; r += static_cast<int64_t>(gridDim.x) * GROUPS) {
        const int64_t t = class_target(of, r, false);
        double scale = static_cast<double>(back.dy[back.each ? r : 0]);
        if (back.mean) scale = counts > 0 ? scale / counts : 0;
        const bool nothing = t < 0 || scale == 0;
        if (nothing && back.adds) continue;
        const double own = nothing ? 0 : (1 - of.smoothing) * (of.weight ? of.weight[t] : 1), log_sum = nothing ? 0 : of.saved[r];
        const T centre = static_cast<T>(log_sum), rest = static_cast<T>(static_cast<double>(centre) - log_sum);
        const T all = static_cast<T>(scale * (own + share * back.weights)), shift = static_cast<T>(scale * share);
        const T hit = static_cast<T>(scale * own);
        for (int64_t i = lane; i < of.classes / V; i += LANES) {
            const int64_t at = r * of.classes + i * V;
            const pack x = *reinterpret_cast<const pack *>(of.x + at);
            pack v = {};
            if (back.adds) v = *reinterpret_cast<const pack *>(back.dx + at);
            if (!nothing) {
#pragma unroll
                for (int k = 0; k < V; k++) {
                    const int64_t c = i * V + k;
                    T slope = all * cuda_exp((x.at[k] - centre) + rest) - (of.weight ? shift * static_cast<T>(of.weight[c]) : shift);
                    if (c == t) slope -= hit;
                    v.at[k] += slope;
                }
            }
            *reinterpret_cast<pack *>(back.dx + at) = v;
        }
    }
}

/* ---- Launchers ---- */

static inline unsigned grid_of(int64_t blocks) { return static_cast<unsigned>(blocks < 1 ? 1 : blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF); }

/* Of the sums over rows: one block where they are few. */
static int64_t parts_of(int64_t rows) {
    const int64_t parts = rows / 4096;
    return parts < 2 ? 1 : parts < 132 ? parts : 132;
}
static int64_t weights_bytes(const struct class_attrs *attrs) {
    return attrs->weight.rank >= 0 ? attrs->weight.count * static_cast<int64_t>(sizeof(double)) : 0;
}

/* Workspace: for each row its loss, and what it counts; the same of parts; weights. Backward: weights. */
extern "C" int cuda_cross_entropy_plan(struct flow_infer *infer) {
    const struct class_attrs *attrs = static_cast<const struct class_attrs *>(infer->attrs);
    const int64_t rows = shape_count(&infer->in[1]);
    infer->workspace += parts_of(rows) * 2 * static_cast<int64_t>(sizeof(double)) + weights_bytes(attrs);
    if (infer->differentiated) infer->workspace_backward = weights_bytes(attrs);
    return FLOW_OK;
}

template <typename T> static class_of<T> class_of_call(const struct flow_call *call, const double *weight) {
    const struct class_attrs *attrs = static_cast<const struct class_attrs *>(call->attrs);
    const int64_t rows = shape_count(&call->in[1]);
    double *loss = static_cast<double *>(call->workspace);
    return {static_cast<const T *>(call->in[0].data),
            static_cast<const int64_t *>(call->in[1].data),
            weight,
            loss,
            loss + rows,
            static_cast<double *>(call->saved),
            NULL,
            rows,
            call->in[0].shape[call->in[0].rank - 1],
            attrs->ignore,
            attrs->smoothing,
            cuda_fault(call)};
}

template <typename T> static int class_run(const struct flow_call *call) {
    const struct class_attrs *attrs = static_cast<const struct class_attrs *>(call->attrs);
    class_of<T> of = class_of_call<T>(call, NULL);
    cudaStream_t stream = cuda_stream(call);
    const int64_t parts = parts_of(of.rows);
    double *partial = of.counts + of.rows, *weights = partial + 2 * parts;
    int error = 0;
    const bool none = attrs->reduction == REDUCTION_NONE;
    if (none) of.y = static_cast<T *>(call->out[0].data);
    if (attrs->weight.rank >= 0 && of.rows > 0) {
        of.weight = weights;
        error = weights_launch(stream, weights, attrs->weight);
    }
    const bool whole = cuda_whole<T>(of.classes, of.x);
    if (error == 0 && of.rows > 0) {
        if (of.classes > 0 && cuda_row_fits<T>(of.classes, whole))
            error = cuda_with_row<T>(of.classes, whole, [&](auto shape) {
                using S = decltype(shape);
                return CUDA_LAUNCH((class_rows<T, S>), S::blocks(of.rows), S::THREADS, 0, stream, of);
            });
        else error = CUDA_LAUNCH((class_long<T>), grid_of(of.rows), 512, 0, stream, of);
    }
    if (error != 0 || none) return error;
    T *y = static_cast<T *>(call->out[0].data);
    double *count = of.saved ? of.saved + of.rows : NULL;
    const bool mean = attrs->reduction == REDUCTION_MEAN;
    if (parts == 1) return CUDA_LAUNCH((class_finish<T>), 1, CLASS_THREADS, 0, stream, y, count, of.loss, of.counts, of.rows, mean);
    error = CUDA_LAUNCH((class_parts), grid_of(parts), CLASS_THREADS, 0, stream, partial, of.loss, of.counts, of.rows, parts);
    if (error != 0) return error;
    return CUDA_LAUNCH((class_finish<T>), 1, CLASS_THREADS, 0, stream, y, count, partial, partial + parts, parts, mean);
}
extern "C" int cuda_cross_entropy_forward(const struct flow_call *call) {
    return cuda_status(call, call->in[0].dtype == FLOW_F64 ? class_run<double>(call) : class_run<float>(call));
}

template <typename T, int V> static int slopes_launch(cudaStream_t stream, const class_back<T> &back) {
    const int64_t groups = CLASS_THREADS / 32;
    if (back.of.classes <= 1024 * V)
        return CUDA_LAUNCH((class_slopes<T, V, 32>), grid_of((back.of.rows + groups - 1) / groups), CLASS_THREADS, 0, stream, back);
    return CUDA_LAUNCH((class_slopes<T, V, CLASS_THREADS>), grid_of(back.of.rows), CLASS_THREADS, 0, stream, back);
}
template <typename T> static int class_run_back(const struct flow_call *call) {
    const struct class_attrs *attrs = static_cast<const struct class_attrs *>(call->attrs);
    double *weights = attrs->weight.rank >= 0 ? static_cast<double *>(call->workspace) : NULL;
    class_back<T> back = {
        class_of_call<T>(call, weights),    static_cast<T *>(call->grad_in[0].data), static_cast<const T *>(call->grad_out[0].data), 0,
        attrs->reduction == REDUCTION_NONE, attrs->reduction == REDUCTION_MEAN,      FLOW_ACCUMULATES(call->accumulate_in, 0) != 0};
    back.weights = static_cast<double>(back.of.classes);
    if (weights) {
        const int error = weights_launch(cuda_stream(call), weights, attrs->weight);
        if (error != 0) return error;
        back.weights = 0;
        for (int64_t c = 0; c < attrs->weight.count; c++) back.weights += attrs->weight.at[c];
    }
    if (cuda_whole<T>(back.of.classes, back.of.x, back.dx)) return slopes_launch<T, cuda_pack_size<T>>(cuda_stream(call), back);
    return slopes_launch<T, 1>(cuda_stream(call), back);
}
extern "C" int cuda_cross_entropy_backward(const struct flow_call *call) {
    if (call->grad_out[0].rank < 0) return cuda_zero_all(call);
    if (call->grad_in[0].rank < 0 || shape_count(&call->in[0]) == 0) return FLOW_OK;
    return cuda_status(call, call->grad_out[0].dtype == FLOW_F64 ? class_run_back<double>(call) : class_run_back<float>(call));
}

/* ---- accuracy ---- */

/* Of 256 rows a block, a warp for each: how many count, how many are right. Reads the logits once. */
template <typename T>
static __global__ void __launch_bounds__(CLASS_THREADS, 2)
    accuracy_rows(int64_t *to, const T *x, const int64_t *target, int64_t rows, int64_t classes, int64_t ignore) {
    CUDA_SHARED(cuda_two<int64_t>, kept, 32);
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    CUDA_EACH_ROWS(first, rows, CLASS_THREADS) {
        cuda_two<int64_t> found = {0, 0};
        for (int64_t r = first + warp; r < first + CLASS_THREADS && r < rows; r += CLASS_THREADS / 32) {
            cuda_place<T> best = {-static_cast<T>(INFINITY), INT64_MAX};
            for (int64_t c = lane; c < classes; c += 32) {
                const T v = x[r * classes + c];
                if (v > best.value) best = {v, c};
            }
            best = cuda_warp(best, cuda_join_place());
            if (lane > 0 || target[r] == ignore) continue;
            found.a += 1;
            found.b += classes > 0 && target[r] == (best.at < classes ? best.at : 0); /* none is larger than -inf: the first */
        }
        found = cuda_block(found, cuda_two<int64_t>{0, 0}, cuda_join_sum(), kept);
        if (threadIdx.x == 0) to[first / CLASS_THREADS * 2] = found.a, to[first / CLASS_THREADS * 2 + 1] = found.b;
    }
}
template <typename T>
static __global__ void __launch_bounds__(CLASS_THREADS, 2) accuracy_finish(T *y, const int64_t *found, int64_t blocks) {
    CUDA_SHARED(cuda_two<int64_t>, kept, 32);
    cuda_two<int64_t> all = {0, 0};
    for (int64_t i = threadIdx.x; i < blocks; i += CLASS_THREADS) all.a += found[2 * i], all.b += found[2 * i + 1];
    all = cuda_block(all, cuda_two<int64_t>{0, 0}, cuda_join_sum(), kept);
    if (threadIdx.x == 0) *y = static_cast<T>(all.a > 0 ? static_cast<double>(all.b) / static_cast<double>(all.a) : 0);
}

template <typename T> static int accuracy_run(const struct flow_call *call) {
    const int64_t rows = shape_count(&call->in[1]), blocks = (rows + CLASS_THREADS - 1) / CLASS_THREADS;
    int64_t *found = static_cast<int64_t *>(call->workspace);
    cudaStream_t stream = cuda_stream(call);
    if (rows > 0) {
        const int error =
            CUDA_LAUNCH((accuracy_rows<T>), grid_of(blocks), CLASS_THREADS, 0, stream, found, static_cast<const T *>(call->in[0].data),
                        static_cast<const int64_t *>(call->in[1].data), rows, call->in[0].shape[call->in[0].rank - 1],
                        static_cast<const struct accuracy_attrs *>(call->attrs)->ignore);
        if (error != 0) return error;
    }
    return CUDA_LAUNCH((accuracy_finish<T>), 1, CLASS_THREADS, 0, stream, static_cast<T *>(call->out[0].data),
                       static_cast<const int64_t *>(found), blocks);
}
extern "C" int cuda_accuracy_forward(const struct flow_call *call) {
    return cuda_status(call, call->in[0].dtype == FLOW_F64 ? accuracy_run<double>(call) : accuracy_run<float>(call));
}
