/* SPDX-License-Identifier: Apache-2.0 */
/* layer_norm, rms_norm, scale_norm, l2_normalize: rows that registers hold are read once; longer ones again from the cache. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "norm/kernels_cuda.h"
#include "norm/norm.h"

/* What is done to each row. weight [n] and bias [n], or NULL; one: all that there is of NORM_SCALE's weight. saved: [rows, 2] of a centred
 * row, [rows] of others, or NULL. */
template <typename T> struct norm_row {
    T *y;
    const T *x, *weight, *bias, *one;
    T *saved;
    int64_t rows, n;
    T eps;
    enum norm_kind kind;
};

/* A row's scale from the sum of its squares; bounded: by eps. */
template <typename T> static __device__ inline T norm_scale(const norm_row<T> &of, T squares, bool *bounded) {
    *bounded = false;
    if (of.kind == NORM_RMS) return 1 / cuda_root(squares / static_cast<T>(of.n) + of.eps);
    const T norm = cuda_root(of.kind == NORM_SCALE ? squares / static_cast<T>(of.n) : squares);
    *bounded = !(norm > of.eps || norm != norm);
    return 1 / (*bounded ? of.eps : norm);
}
template <typename T> static __device__ inline T norm_scale_keep(const norm_row<T> &of, int64_t r, T squares, bool first) {
    bool bounded;
    const T s = norm_scale(of, squares, &bounded);
    if (of.saved && first) of.saved[r] = bounded ? -s : s;
    return of.one ? s * of.one[0] : s;
}
/* The centred row's: squares around a mean that is `off` too small, all over n. */
template <typename T> static __device__ inline T norm_scale_centred(const norm_row<T> &of, T squares, T off) {
    const T around = squares - off * off, var = around > 0 || cuda_odd(around) ? around : T(0);
    return 1 / cuda_root(var + of.eps);
}

/* 2 n values move (and weight and bias, from the cache), about 8 n operations. The squares are taken around the mean in a second pass over
 * the registers; the sum of the deviations takes out again what rounding the mean moved. */
template <typename T, typename S, bool CENTRED> static __global__ void __launch_bounds__(S::THREADS, S::BLOCKS) norm_rows(norm_row<T> of) {
    CUDA_SHARED(cuda_two<T>, kept, 32);
    constexpr int V = S::V, LANES = S::LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) / LANES, n = static_cast<int>(of.n);
    const T each = static_cast<T>(n);
    CUDA_EACH_ROWS(first, of.rows, S::ROWS) {
        const int64_t r = first + group;
        const int count = r < of.rows ? n : 0;
        const bool keeps = lane == 0 && count > 0;
        typename S::template row<T> row;
        row.load(of.x + r * n, count, lane, T(0));
        T mean = 0, off = 0;
        if (CENTRED) mean = cuda_lanes<LANES>(cuda_two<T>{row.sum(), 0}, cuda_two<T>{0, 0}, cuda_join_sum(), kept).a / each;
        cuda_two<T> sums = {0, 0};
#pragma unroll
        for (int i = 0; i < row.count; i++) {
            const T d = CENTRED ? (row.place(i, lane) < count ? row.at[i] - mean : T(0)) : row.at[i];
            sums.a += d, sums.b += d * d;
            row.at[i] = d;
        }
        sums = cuda_lanes<LANES>(sums, cuda_two<T>{0, 0}, cuda_join_sum(), kept);
        T scale;
        if (CENTRED) {
            off = sums.a / each;
            scale = norm_scale_centred(of, sums.b / each, off);
            if (of.saved && keeps) of.saved[2 * r] = mean + off, of.saved[2 * r + 1] = scale;
        } else {
            scale = norm_scale_keep(of, r, sums.b, keeps);
        }
#pragma unroll
        for (int k = 0; k < S::PACKS; k++) {
            const int at = (k * LANES + lane) * V;
            if (at >= count) continue;
            cuda_pack<T, V> y, weight = {}, bias = {};
            if (of.weight) weight = *reinterpret_cast<const cuda_pack<T, V> *>(of.weight + at);
            if (CENTRED && of.bias) bias = *reinterpret_cast<const cuda_pack<T, V> *>(of.bias + at);
#pragma unroll
            for (int j = 0; j < V; j++) {
                T v = (row.at[k * V + j] - off) * scale;
                if (of.weight) v *= weight.at[j];
                if (CENTRED && of.bias) v += bias.at[j];
                y.at[j] = v;
            }
            *reinterpret_cast<cuda_pack<T, V> *>(of.y + r * n + at) = y;
        }
    }
}

/* Rows that no block holds: up to 4 n values move, those after the first reading mostly from the cache. */
template <typename T, int V, bool CENTRED> static __global__ void __launch_bounds__(512, 1) norm_long(norm_row<T> of) {
    CUDA_SHARED(cuda_two<double>, kept, 32);
    using pack = cuda_pack<T, V>;
    const int64_t n = of.n, packs = n / V;
    const cuda_two<double> none = {0, 0};
    CUDA_EACH_ROWS(r, of.rows, 1) {
        const pack *from = reinterpret_cast<const pack *>(of.x + r * n);
        pack *to = reinterpret_cast<pack *>(of.y + r * n);
        T mean = 0, off = 0, scale;
        cuda_two<double> sums = none;
        if (CENTRED) {
            for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
                const pack p = from[i];
                T part = 0;
#pragma unroll
                for (int j = 0; j < V; j++) part += p.at[j];
                sums.a += static_cast<double>(part);
            }
            mean = static_cast<T>(cuda_block(sums, none, cuda_join_sum(), kept).a / static_cast<double>(n));
            sums = none;
        }
        for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
            const pack p = from[i];
            cuda_two<T> part = {0, 0};
#pragma unroll
            for (int j = 0; j < V; j++) {
                const T d = CENTRED ? p.at[j] - mean : p.at[j];
                part.a += d, part.b += d * d;
            }
            sums.a += static_cast<double>(part.a), sums.b += static_cast<double>(part.b);
        }
        sums = cuda_block(sums, none, cuda_join_sum(), kept);
        if (CENTRED) {
            off = static_cast<T>(sums.a / static_cast<double>(n));
            scale = norm_scale_centred(of, static_cast<T>(sums.b / static_cast<double>(n)), off);
            if (of.saved && threadIdx.x == 0) of.saved[2 * r] = mean + off, of.saved[2 * r + 1] = scale;
        } else {
            scale = norm_scale_keep(of, r, static_cast<T>(sums.b), threadIdx.x == 0);
        }
        for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
            pack p = from[i];
#pragma unroll
            for (int j = 0; j < V; j++) {
                T v = CENTRED ? ((p.at[j] - mean) - off) * scale : p.at[j] * scale;
                if (of.weight) v *= of.weight[i * V + j];
                if (CENTRED && of.bias) v += of.bias[i * V + j];
                p.at[j] = v;
            }
            to[i] = p;
        }
    }
}

/* l2_normalize over n of [outer, n, inner]: a block holds a tile of 2^wide columns, its other threads share their elements. 3 values an
 * element move, the second reading from the cache. */
template <typename T>
static __global__ void __launch_bounds__(256, 2) norm_columns(norm_row<T> of, int64_t inner, int64_t tiles, int wide) {
    CUDA_SHARED(double, kept, 256);
    const int width = 1 << wide, high = 256 >> wide, thread = static_cast<int>(threadIdx.x);
    const int column = thread & (width - 1), row = thread >> wide;
    CUDA_EACH_ROWS(unit, of.rows * tiles, 1) {
        const int64_t j = unit % tiles * width + column, outer = unit / tiles, at = outer * of.n * inner + j;
        double sum = 0;
        for (int64_t i = row; j < inner && i < of.n; i += high) {
            const double v = static_cast<double>(of.x[at + i * inner]);
            sum += v * v;
        }
        __syncthreads();
        kept[thread] = sum;
        for (int half = high / 2; half > 0; half /= 2) {
            __syncthreads();
            if (row < half) kept[thread] += kept[thread + half * width];
        }
        __syncthreads();
        const double norm = sqrt(kept[column]), eps = static_cast<double>(of.eps);
        const bool bounded = !(norm > eps || norm != norm);
        const T scale = static_cast<T>(1 / (bounded ? eps : norm));
        if (of.saved && row == 0 && j < inner) of.saved[outer * inner + j] = bounded ? -scale : scale;
        for (int64_t i = row; j < inner && i < of.n; i += high) of.y[at + i * inner] = of.x[at + i * inner] * scale;
    }
}

/* ---- Launchers ---- */

static inline unsigned grid_of(int64_t blocks) { return static_cast<unsigned>(blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF); }

template <typename T, bool CENTRED> static int norm_launch(const struct flow_call *call, const norm_row<T> &of) {
    cudaStream_t stream = cuda_stream(call);
    const bool whole = cuda_whole<T>(of.n, of.y, of.x, of.weight, of.bias);
    if (cuda_row_fits<T>(of.n, whole))
        return cuda_with_row<T>(of.n, whole, [&](auto shape) {
            using S = decltype(shape);
            return CUDA_LAUNCH((norm_rows<T, S, CENTRED>), S::blocks(of.rows), S::THREADS, 0, stream, of);
        });
    if (whole) return CUDA_LAUNCH((norm_long<T, cuda_pack_size<T>, CENTRED>), grid_of(of.rows), 512, 0, stream, of);
    return CUDA_LAUNCH((norm_long<T, 1, CENTRED>), grid_of(of.rows), 512, 0, stream, of);
}

template <typename T>
static norm_row<T> norm_row_of(const struct flow_call *call, double eps, enum norm_kind kind, const void *weight, const void *bias) {
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(call->priv);
    const bool one = kind == NORM_SCALE;
    return {static_cast<T *>(call->out[0].data),
            static_cast<const T *>(call->in[0].data),
            one ? NULL : static_cast<const T *>(weight),
            static_cast<const T *>(bias),
            one ? static_cast<const T *>(weight) : NULL,
            static_cast<T *>(call->saved),
            plan->outer,
            plan->n,
            static_cast<T>(eps),
            kind};
}

extern "C" int cuda_layer_norm_forward(const struct flow_call *call) {
    const struct layer_attrs *attrs = static_cast<const struct layer_attrs *>(call->attrs);
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(call->priv);
    const void *weight = attrs->affine ? call->param[plan->weight].data : NULL, *bias = attrs->affine ? call->param[plan->bias].data : NULL;
    if (plan->n == 0 || plan->outer == 0) return FLOW_OK;
    if (call->in[0].dtype == FLOW_F64)
        return cuda_status(call, norm_launch<double, true>(call, norm_row_of<double>(call, attrs->eps, NORM_RMS, weight, bias)));
    return cuda_status(call, norm_launch<float, true>(call, norm_row_of<float>(call, attrs->eps, NORM_RMS, weight, bias)));
}

template <typename T> static int scaled_launch(const struct flow_call *call, double eps, enum norm_kind kind, bool weighted) {
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(call->priv);
    const norm_row<T> of = norm_row_of<T>(call, eps, kind, weighted ? call->param[0].data : NULL, NULL);
    if (plan->inner == 1) return norm_launch<T, false>(call, of);
    int wide = 0;
    while (wide < 5 && (int64_t{1} << wide) < plan->inner) wide++;
    while (wide < 8 && (int64_t{256} >> wide) > plan->n && (int64_t{1} << wide) < plan->inner) wide++;
    const int64_t tiles = (plan->inner + (int64_t{1} << wide) - 1) >> wide;
    return CUDA_LAUNCH((norm_columns<T>), grid_of(plan->outer * tiles), 256, 0, cuda_stream(call), of, plan->inner, tiles, wide);
}
static int scaled_run(const struct flow_call *call, double eps, enum norm_kind kind, bool weighted) {
    const struct rows_plan *plan = static_cast<const struct rows_plan *>(call->priv);
    if (plan->n == 0 || plan->inner == 0 || plan->outer == 0) return FLOW_OK;
    return cuda_status(call, call->in[0].dtype == FLOW_F64 ? scaled_launch<double>(call, eps, kind, weighted)
                                                           : scaled_launch<float>(call, eps, kind, weighted));
}

extern "C" int cuda_rms_norm_forward(const struct flow_call *call) {
    const struct rows_attrs *attrs = static_cast<const struct rows_attrs *>(call->attrs);
    return scaled_run(call, attrs->eps, NORM_RMS, attrs->affine);
}
extern "C" int cuda_scale_norm_forward(const struct flow_call *call) {
    return scaled_run(call, static_cast<const struct rows_attrs *>(call->attrs)->eps, NORM_SCALE, true);
}
extern "C" int cuda_l2_normalize_forward(const struct flow_call *call) {
    return scaled_run(call, static_cast<const struct l2_attrs *>(call->attrs)->eps, NORM_L2, false);
}
