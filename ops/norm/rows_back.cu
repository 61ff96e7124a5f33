/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of layer_norm, rms_norm, scale_norm, l2_normalize. Where registers hold a row, one reading of dy and x gives dx and what the
 * row adds to the parameters' gradients: each block keeps those of its rows in registers, and a second kernel adds up the blocks. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/extent.h"
#include "norm/kernels_cuda.h"
#include "norm/norm.h"

/* x is y for NORM_L2. saved: [rows, 2] mean and scale of a centred row, else [rows] scale, negative where eps bounds it. partial: [blocks,
 * 2 or 1, n], or NULL; along: [rows], what each adds to NORM_SCALE's gradient, or NULL. */
template <typename T> struct norm_back {
    T *dx;
    const T *dy, *x, *saved, *weight, *one;
    T *partial;
    double *along;
    int64_t rows, n;
    enum norm_kind kind;
    bool adds;
};

/* What a row's slope is made of, with h = (x - mean) scale and g = dy weight: dx = by (g - centre - h along). */
template <typename T> struct norm_numbers {
    T mean, scale, by;
    bool bounded;
};
template <typename T, bool CENTRED> static __device__ inline norm_numbers<T> norm_numbers_of(const norm_back<T> &of, int64_t r) {
    if (CENTRED) return {of.saved[2 * r], of.saved[2 * r + 1], of.saved[2 * r + 1], false};
    const T s = of.saved[r], size = s < 0 ? -s : s;
    return {T(0), of.kind == NORM_L2 ? T(1) : size, of.one ? size * of.one[0] : size, s < 0};
}
/* Turns the sums of g and of g h into centre and along. */
template <typename T, bool CENTRED>
static __device__ inline cuda_two<T> norm_shares(const norm_back<T> &of, const norm_numbers<T> &row, T sum, T along) {
    const T each = static_cast<T>(of.n);
    return {CENTRED ? sum / each : T(0), row.bounded ? T(0) : of.kind == NORM_L2 && !CENTRED ? along : along / each};
}

/* ---- Rows in registers ---- */

/* Moves 3 n values a row and, of parameters, 2 n a block; about 12 n operations. Eight values of a row, their gradients and two running
 * sums each make 40 registers. */
template <typename T, typename S, bool CENTRED>
static __global__ void __launch_bounds__(S::THREADS, S::BLOCKS) norm_rows_back(norm_back<T> of) {
    constexpr int V = S::V, LANES = S::LANES, COUNT = S::PACKS * V, WIDTH = LANES * COUNT;
    CUDA_SHARED(cuda_two<T>, kept, 32);
    CUDA_SHARED(T, parts, S::THREADS * COUNT);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % LANES, group = thread / LANES, n = static_cast<int>(of.n);
    typename S::template row<T> weight, dw, db;
#pragma unroll
    for (int i = 0; i < COUNT; i++) weight.at[i] = 1, dw.at[i] = db.at[i] = 0;
    if (of.weight) weight.load(of.weight, n, lane, T(0));
    CUDA_EACH_ROWS(first, of.rows, S::ROWS) {
        const int64_t r = first + group;
        const int count = r < of.rows ? n : 0;
        norm_numbers<T> row = {0, 0, 0, false};
        if (count > 0) row = norm_numbers_of<T, CENTRED>(of, r);
        typename S::template row<T> g, h;
        g.load(of.dy + r * n, count, lane, T(0));
        h.load(of.x + r * n, count, lane, row.mean);
        cuda_two<T> sums = {0, 0};
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            h.at[i] = (h.at[i] - row.mean) * row.scale;
            dw.at[i] += g.at[i] * h.at[i];
            if (CENTRED) db.at[i] += g.at[i];
            g.at[i] *= weight.at[i];
            sums.a += g.at[i], sums.b += g.at[i] * h.at[i];
        }
        sums = cuda_lanes<LANES>(sums, cuda_two<T>{0, 0}, cuda_join_sum(), kept);
        if (of.along && lane == 0 && count > 0) of.along[r] = static_cast<double>(sums.b);
        if (!of.dx) continue;
        sums = norm_shares<T, CENTRED>(of, row, sums.a, sums.b);
#pragma unroll
        for (int i = 0; i < COUNT; i++) g.at[i] = row.by * (g.at[i] - sums.a - h.at[i] * sums.b);
        g.put(of.dx + r * n, count, lane, of.adds);
    }
    if (!of.partial) return;
    T *to = of.partial + static_cast<int64_t>(blockIdx.x) * (CENTRED ? 2 : 1) * n;
    for (int which = 0; which < (CENTRED ? 2 : 1); which++, to += n) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < COUNT; i++) parts[group * WIDTH + dw.place(i, lane)] = which == 0 ? dw.at[i] : db.at[i];
        __syncthreads();
        for (int j = thread; j < n; j += S::THREADS) {
            T sum = 0;
#pragma unroll
            for (int k = 0; k < S::ROWS; k++) sum += parts[k * WIDTH + j];
            to[j] = sum;
        }
    }
}

/* ---- Longer rows ---- */

/* A block a row, read twice. */
template <typename T, int V, bool CENTRED> static __global__ void __launch_bounds__(512, 1) norm_long_back(norm_back<T> of) {
    CUDA_SHARED(cuda_two<double>, kept, 32);
    using pack = cuda_pack<T, V>;
    const int64_t n = of.n, packs = n / V;
    CUDA_EACH_ROWS(r, of.rows, 1) {
        const norm_numbers<T> row = norm_numbers_of<T, CENTRED>(of, r);
        const pack *dy = reinterpret_cast<const pack *>(of.dy + r * n), *x = reinterpret_cast<const pack *>(of.x + r * n);
        cuda_two<double> sums = {0, 0};
        for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
            const pack d = dy[i], p = x[i];
            cuda_two<T> part = {0, 0};
#pragma unroll
            for (int j = 0; j < V; j++) {
                const T g = of.weight ? d.at[j] * of.weight[i * V + j] : d.at[j];
                part.a += g, part.b += g * ((p.at[j] - row.mean) * row.scale);
            }
            sums.a += static_cast<double>(part.a), sums.b += static_cast<double>(part.b);
        }
        sums = cuda_block(sums, cuda_two<double>{0, 0}, cuda_join_sum(), kept);
        if (of.along && threadIdx.x == 0) of.along[r] = sums.b;
        if (!of.dx) continue;
        const cuda_two<T> share = norm_shares<T, CENTRED>(of, row, static_cast<T>(sums.a), static_cast<T>(sums.b));
        pack *to = reinterpret_cast<pack *>(of.dx + r * n);
        for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
            const pack d = dy[i], p = x[i];
            pack v;
            if (of.adds) v = to[i];
#pragma unroll
            for (int j = 0; j < V; j++) {
                const T g = of.weight ? d.at[j] * of.weight[i * V + j] : d.at[j];
                const T slope = row.by * (g - share.a - (p.at[j] - row.mean) * row.scale * share.b);
                v.at[j] = of.adds ? v.at[j] + slope : slope;
            }
            to[i] = v;
        }
    }
}

/* What rows [part] add to the parameters' gradients: threads side by side along the columns, eight rows at a time. Reads dy and x. */
template <typename T, bool CENTRED> static __global__ void __launch_bounds__(256, 2) norm_long_params(norm_back<T> of, int64_t parts) {
    CUDA_SHARED(cuda_two<T>, kept, 256);
    const int thread = static_cast<int>(threadIdx.x), column = thread % 32, high = thread / 32;
    const int64_t tiles = (of.n + 31) / 32, each = (of.rows + parts - 1) / parts;
    CUDA_EACH_ROWS(unit, tiles * parts, 1) {
        const int64_t j = unit % tiles * 32 + column, part = unit / tiles, begin = part * each;
        const int64_t end = begin + each < of.rows ? begin + each : of.rows;
        cuda_two<T> sums = {0, 0};
        for (int64_t r = begin + high; j < of.n && r < end; r += 8) {
            const norm_numbers<T> row = norm_numbers_of<T, CENTRED>(of, r);
            const T d = of.dy[r * of.n + j];
            sums.a += d, sums.b += d * ((of.x[r * of.n + j] - row.mean) * row.scale);
        }
        __syncthreads();
        kept[thread] = sums;
        __syncthreads();
        if (high > 0 || j >= of.n) continue;
        for (int k = 1; k < 8; k++) sums = sums + kept[k * 32 + column];
        of.partial[part * (CENTRED ? 2 : 1) * of.n + j] = sums.b;
        if (CENTRED) of.partial[(part * 2 + 1) * of.n + j] = sums.a;
    }
}

/* ---- Parameters: what all blocks add ---- */

/* dw and db (NULL: not wanted) from [blocks, 2 or 1, n]: 32 columns a block, read side by side, its 32 warps share the rows. */
template <typename T> struct norm_params {
    T *to[2];
    bool adds[2];
    const T *partial;
    int64_t blocks, n, columns;
};
template <typename T> static __global__ void __launch_bounds__(1024, 1) norm_params_sum(norm_params<T> of) {
    CUDA_SHARED(double, kept, 1024 + 32);
    const int thread = static_cast<int>(threadIdx.x), column = thread % 32, high = thread / 32;
    const int64_t j = static_cast<int64_t>(blockIdx.x) * 32 + column;
    double sum = 0;
    for (int64_t b = high; j < of.columns && b < of.blocks; b += 32) sum += static_cast<double>(of.partial[b * of.columns + j]);
    kept[column * 33 + high] = sum;
    __syncthreads();
    /* a warp for each column now */
    sum = cuda_warp(static_cast<double>(kept[high * 33 + column]), cuda_join_sum());
    const int64_t mine = static_cast<int64_t>(blockIdx.x) * 32 + high;
    if (column > 0 || mine >= of.columns) return;
    const bool second = mine >= of.n, adds = second ? of.adds[1] : of.adds[0];
    T *const to = second ? of.to[1] : of.to[0];
    const int64_t at = second ? mine - of.n : mine;
    if (to) to[at] = static_cast<T>(sum + (adds ? static_cast<double>(to[at]) : 0));
}

/* NORM_SCALE's one weight. */
template <typename T> static __global__ void __launch_bounds__(1024, 1) norm_one_sum(T *to, const double *along, int64_t rows, bool adds) {
    CUDA_SHARED(double, kept, 32);
    double sum = 0;
    for (int64_t r = threadIdx.x; r < rows; r += blockDim.x) sum += along[r];
    sum = cuda_block(sum, 0, cuda_join_sum(), kept);
    if (threadIdx.x == 0) *to = static_cast<T>(sum + (adds ? static_cast<double>(*to) : 0));
}

/* ---- l2_normalize along another axis than the last ---- */

template <typename T>
static __global__ void __launch_bounds__(256, 2) norm_columns_back(norm_back<T> of, int64_t inner, int64_t tiles, int wide) {
    CUDA_SHARED(double, kept, 256);
    const int width = 1 << wide, high = 256 >> wide, thread = static_cast<int>(threadIdx.x);
    const int column = thread & (width - 1), row = thread >> wide;
    CUDA_EACH_ROWS(unit, of.rows * tiles, 1) {
        const int64_t j = unit % tiles * width + column, outer = unit / tiles, at = outer * of.n * inner + j;
        double sum = 0;
        for (int64_t i = row; j < inner && i < of.n; i += high)
            sum += static_cast<double>(of.dy[at + i * inner]) * static_cast<double>(of.x[at + i * inner]);
        __syncthreads();
        kept[thread] = sum;
        for (int half = high / 2; half > 0; half /= 2) {
            __syncthreads();
            if (row < half) kept[thread] += kept[thread + half * width];
        }
        __syncthreads();
        if (j >= inner) continue;
        const T s = of.saved[outer * inner + j], along = s < 0 ? T(0) : static_cast<T>(kept[column]), scale = s < 0 ? -s : s;
        for (int64_t i = row; i < of.n; i += high) {
            const int64_t to = at + i * inner;
            const T v = scale * (of.dy[to] - of.x[to] * along);
            of.dx[to] = of.adds ? of.dx[to] + v : v;
        }
    }
}

/* ---- Launchers ---- */

static inline unsigned grid_of(int64_t blocks) { return static_cast<unsigned>(blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF); }

/* Longest row that registers hold here, and how: eight f32 or four f64 a thread. */
static inline int64_t back_most(int64_t size) { return size == 8 ? 2048 : 4096; }
template <typename T, int V, typename F> static int back_shape(int64_t n, F use) {
    constexpr int EACH = sizeof(T) == 8 ? 4 : 8;
    if (n <= 32) return use(cuda_row_shape<V, 8, 4 / V>());
    if (n <= 256) return use(cuda_row_shape<V, 32, 8 / V>());
    if (n <= 128 * EACH) return use(cuda_row_shape<V, 128, EACH / V>());
    return use(cuda_row_shape<V, 512, EACH / V>());
}
/* Blocks whose sums for the parameters are kept apart: from the shape and the element's bytes alone, at most four a multiprocessor. */
static int64_t back_blocks(int64_t rows, int64_t n, int64_t size) {
    const int64_t each = n > back_most(size) ? 64 : n <= 32 ? 64 : n <= 256 ? 16 : 4, most = n > back_most(size) ? 64 : 528;
    const int64_t blocks = (rows + each - 1) / each;
    return blocks < 1 ? 1 : blocks < most ? blocks : most;
}

template <typename T, bool CENTRED> static int rows_back_launch(const struct flow_call *call, const norm_back<T> &of) {
    cudaStream_t stream = cuda_stream(call);
    const int64_t parts = back_blocks(of.rows, of.n, sizeof(T));
    const bool whole = cuda_whole<T>(of.n, of.dx, of.dy, of.x, of.weight);
    if (of.n <= back_most(sizeof(T))) {
        const auto launch = [&](auto shape) {
            using S = decltype(shape);
            const unsigned blocks = of.partial ? static_cast<unsigned>(parts) : S::blocks(of.rows);
            return CUDA_LAUNCH((norm_rows_back<T, S, CENTRED>), blocks, S::THREADS, 0, stream, of);
        };
        if (whole) return back_shape<T, cuda_pack_size<T>>(of.n, launch);
        return back_shape<T, 1>(of.n, launch);
    }
    int error = 0;
    if (of.dx || of.along) {
        if (whole) error = CUDA_LAUNCH((norm_long_back<T, cuda_pack_size<T>, CENTRED>), grid_of(of.rows), 512, 0, stream, of);
        else error = CUDA_LAUNCH((norm_long_back<T, 1, CENTRED>), grid_of(of.rows), 512, 0, stream, of);
    }
    if (error == 0 && of.partial)
        error = CUDA_LAUNCH((norm_long_params<T, CENTRED>), grid_of((of.n + 31) / 32 * parts), 256, 0, stream, of, parts);
    return error;
}

template <typename T> static int params_launch(const struct flow_call *call, const norm_back<T> &of, const uint32_t *index, int count) {
    norm_params<T> sum = {{NULL, NULL}, {false, false}, of.partial, back_blocks(of.rows, of.n, sizeof(T)), of.n, count * of.n};
    for (int i = 0; i < count; i++) {
        const struct flow_tensor *to = &call->grad_param[index[i]];
        if (to->rank < 0) continue;
        sum.to[i] = static_cast<T *>(to->data);
        sum.adds[i] = FLOW_ACCUMULATES(call->accumulate_param, index[i]) != 0;
    }
    return CUDA_LAUNCH((norm_params_sum<T>), grid_of((sum.columns + 31) / 32), 1024, 0, cuda_stream(call), sum);
}

template <typename T>
static norm_back<T> norm_back_of(const struct flow_call *call, enum norm_kind kind, const struct flow_tensor *x, const void *weight) {
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(call->priv);
    const bool one = kind == NORM_SCALE;
    return {call->grad_in[0].rank < 0 ? NULL : static_cast<T *>(call->grad_in[0].data),
            static_cast<const T *>(call->grad_out[0].data),
            static_cast<const T *>(x->data),
            static_cast<const T *>(call->saved),
            one ? NULL : static_cast<const T *>(weight),
            one ? static_cast<const T *>(weight) : NULL,
            NULL,
            NULL,
            plan->outer,
            plan->n,
            kind,
            FLOW_ACCUMULATES(call->accumulate_in, 0) != 0};
}

static bool nothing(const struct flow_call *call) {
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(call->priv);
    return call->grad_out[0].rank < 0 || plan->n == 0 || plan->outer == 0 || plan->inner == 0;
}

template <typename T> static int layer_back(const struct flow_call *call) {
    const struct layer_attrs *attrs = static_cast<const struct layer_attrs *>(call->attrs);
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(call->priv);
    norm_back<T> of = norm_back_of<T>(call, NORM_RMS, &call->in[0], attrs->affine ? call->param[plan->weight].data : NULL);
    const uint32_t index[2] = {plan->weight, plan->bias};
    if (attrs->affine && (call->grad_param[plan->weight].rank >= 0 || call->grad_param[plan->bias].rank >= 0))
        of.partial = static_cast<T *>(call->workspace);
    const int error = rows_back_launch<T, true>(call, of);
    return error == 0 && of.partial ? params_launch<T>(call, of, index, 2) : error;
}
extern "C" int cuda_layer_norm_backward(const struct flow_call *call) {
    if (nothing(call)) return cuda_zero_all(call);
    return cuda_status(call, call->grad_out[0].dtype == FLOW_F64 ? layer_back<double>(call) : layer_back<float>(call));
}

template <typename T> static int scaled_back(const struct flow_call *call, enum norm_kind kind, bool weighted) {
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(call->priv);
    norm_back<T> of = norm_back_of<T>(call, kind, kind == NORM_L2 ? &call->out[0] : &call->in[0], weighted ? call->param[0].data : NULL);
    const bool wanted = weighted && call->grad_param[0].rank >= 0;
    const uint32_t index = 0;
    if (plan->inner > 1) {
        int wide = 0;
        while (wide < 5 && (int64_t{1} << wide) < plan->inner) wide++;
        while (wide < 8 && (int64_t{256} >> wide) > plan->n && (int64_t{1} << wide) < plan->inner) wide++;
        const int64_t tiles = (plan->inner + (int64_t{1} << wide) - 1) >> wide;
        if (!of.dx) return 0;
        return CUDA_LAUNCH((norm_columns_back<T>), grid_of(plan->outer * tiles), 256, 0, cuda_stream(call), of, plan->inner, tiles, wide);
    }
    if (wanted && kind == NORM_RMS) of.partial = static_cast<T *>(call->workspace);
    if (wanted && kind == NORM_SCALE) of.along = static_cast<double *>(call->workspace);
    const int error = rows_back_launch<T, false>(call, of);
    if (error == 0 && of.partial) return params_launch<T>(call, of, &index, 1);
    if (error == 0 && of.along)
        return CUDA_LAUNCH((norm_one_sum<T>), 1, 1024, 0, cuda_stream(call), static_cast<T *>(call->grad_param[0].data), of.along, of.rows,
                           FLOW_ACCUMULATES(call->accumulate_param, 0) != 0);
    return error;
}
static int scaled_back_run(const struct flow_call *call, enum norm_kind kind, bool weighted) {
    if (nothing(call)) return cuda_zero_all(call);
    return cuda_status(call, call->grad_out[0].dtype == FLOW_F64 ? scaled_back<double>(call, kind, weighted)
                                                                 : scaled_back<float>(call, kind, weighted));
}
extern "C" int cuda_rms_norm_backward(const struct flow_call *call) {
    return scaled_back_run(call, NORM_RMS, static_cast<const struct rows_attrs *>(call->attrs)->affine);
}
extern "C" int cuda_scale_norm_backward(const struct flow_call *call) { return scaled_back_run(call, NORM_SCALE, true); }
extern "C" int cuda_l2_normalize_backward(const struct flow_call *call) { return scaled_back_run(call, NORM_L2, false); }

/* ---- Workspace ---- */

static int plan_params(struct flow_infer *infer, int64_t count) {
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(infer->priv);
    const int64_t size = shape_type_bytes(extent_wide(infer->in[0].dtype));
    if (!infer->differentiated || plan->n == 0) return FLOW_OK;
    if (__builtin_mul_overflow(back_blocks(plan->outer, plan->n, size) * count * size, plan->n, &infer->workspace_backward))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large");
    return FLOW_OK;
}
extern "C" int cuda_layer_norm_plan(struct flow_infer *infer) {
    return plan_params(infer, static_cast<const struct layer_attrs *>(infer->attrs)->affine ? 2 : 0);
}
extern "C" int cuda_rms_norm_plan(struct flow_infer *infer) {
    return plan_params(infer, static_cast<const struct rows_attrs *>(infer->attrs)->affine ? 1 : 0);
}
extern "C" int cuda_scale_norm_plan(struct flow_infer *infer) {
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(infer->priv);
    if (infer->differentiated) infer->workspace_backward = plan->outer * static_cast<int64_t>(sizeof(double));
    return FLOW_OK;
}
