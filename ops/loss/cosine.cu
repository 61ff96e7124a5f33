/* SPDX-License-Identifier: Apache-2.0 */
/* cosine_similarity of any strides. Where the vectors' elements are adjacent a warp has a pair, its lanes side by side; else a thread has
 * one, and its neighbours have the pairs beside it. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/shape.h"
#include "loss/kernels_cuda.h"
#include "loss/loss.h"

enum { COSINE_THREADS = 256 };

/* Products of two vectors: a b, a a, b b. */
struct cosine_products {
    double ab, aa, bb;
};
template <typename T, int LANES>
static __device__ inline cosine_products products_of(const T *a, int64_t a_step, const T *b, int64_t b_step, int64_t n, int lane) {
    cuda_two<double> first = {0, 0};
    double bb = 0;
    for (int64_t i = lane; i < n; i += 4 * LANES) {
        T ab = 0, aa = 0, part = 0;
#pragma unroll
        for (int u = 0; u < 4; u++) {
            const int64_t j = i + u * LANES;
            if (j >= n) continue;
            const T v = a[j * a_step], w = b[j * b_step];
            ab += v * w, aa += v * v, part += w * w;
        }
        first.a += static_cast<double>(ab), first.b += static_cast<double>(aa), bb += static_cast<double>(part);
    }
    first = cuda_warp<LANES>(first, cuda_join_sum());
    return {first.a, first.b, cuda_warp<LANES>(bb, cuda_join_sum())};
}

/* Reads 2 n values for a result. */
template <typename T, int LANES>
static __global__ void __launch_bounds__(COSINE_THREADS, 2)
    cosine_pairs(T *y, const T *a, const T *b, struct cosine_plan plan, int64_t count) {
    constexpr int GROUPS = COSINE_THREADS / LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) / LANES;
    CUDA_EACH_ROWS(first, count, GROUPS) {
        const int64_t i = first + group;
        int64_t at_a = 0, at_b = 0, rest = i;
        for (int32_t j = plan.rank - 1; j >= 0; j--) {
            const int64_t next = cuda_quotient(rest, plan.extent[j]), index = rest - next * plan.extent[j];
            at_a += index * plan.stride[0][j], at_b += index * plan.stride[1][j], rest = next;
        }
        const cosine_products p = products_of<T, LANES>(a + at_a, plan.step[0], b + at_b, plan.step[1], i < count ? plan.n : 0, lane);
        const double norms = sqrt(p.aa) * sqrt(p.bb);
        if (i < count && lane == 0) y[i] = static_cast<T>(p.ab / (norms > 1e-8 || norms != norms ? norms : 1e-8));
    }
}

/* The gradient of one input: places of its own along the axes that it has, and for each the places that it was repeated over. Strides: of
 * this input, of the other, of the gradient, of the result. */
struct cosine_axes {
    int32_t rank;
    int64_t extent[FLOW_RANK_MAX], stride[FLOW_RANK_MAX][4];
};
template <typename T> struct cosine_back {
    T *to;
    const T *mine, *other, *dy;
    int64_t n, step[3]; /* of this input, of the other, of the gradient */
    int64_t count, repeats;
    cosine_axes own, repeated;
    bool adds;
};
struct cosine_place {
    int64_t mine, other, to, result;
};
static __device__ inline cosine_place cosine_move(const cosine_axes &axes, int64_t index, cosine_place from) {
    for (int32_t i = 0; i < axes.rank; i++) {
        const int64_t next = cuda_quotient(index, axes.extent[i]), along = index - next * axes.extent[i];
        from.mine += along * axes.stride[i][0], from.other += along * axes.stride[i][1];
        from.to += along * axes.stride[i][2], from.result += along * axes.stride[i][3];
        index = next;
    }
    return from;
}

/* dx = sum over what it met of g (other / (|a| |b|) - y own / |own|^2); where the norms are too small g other / 1e-8. Each place is one
 * group's, which adds up what it was repeated over in order. */
template <typename T, int LANES> static __global__ void __launch_bounds__(COSINE_THREADS, 2) cosine_slopes(cosine_back<T> back) {
    constexpr int GROUPS = COSINE_THREADS / LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES, group = static_cast<int>(threadIdx.x) / LANES;
    CUDA_EACH_ROWS(first, back.count, GROUPS) {
        const int64_t i = first + group, n = i < back.count ? back.n : 0;
        const cosine_place start = cosine_move(back.own, i < back.count ? i : 0, cosine_place{0, 0, 0, 0});
        for (int64_t r = 0; r < back.repeats; r++) {
            const cosine_place at = cosine_move(back.repeated, r, start);
            const T *mine = back.mine + at.mine, *other = back.other + at.other;
            T *to = back.to + at.to;
            const cosine_products p = products_of<T, LANES>(mine, back.step[0], other, back.step[1], n, lane);
            const double g = static_cast<double>(back.dy[at.result]), norms = sqrt(p.aa) * sqrt(p.bb);
            double by_other = g / 1e-8, by_mine = 0;
            if (norms > 1e-8 || norms != norms) by_other = g / norms, by_mine = -g * p.ab / norms / p.aa;
            const bool adds = back.adds || r > 0;
            if (back.step[2] == 0 && back.n != 1) { /* one element of it meets all of the other's */
                double sum = 0;
                for (int64_t j = lane; j < n; j += LANES)
                    sum += by_mine * static_cast<double>(mine[0]) + by_other * static_cast<double>(other[j * back.step[1]]);
                sum = cuda_warp<LANES>(sum, cuda_join_sum());
                if (i < back.count && lane == 0) *to = static_cast<T>(sum + (adds ? static_cast<double>(*to) : 0));
                continue;
            }
            const T s = static_cast<T>(by_mine), q = static_cast<T>(by_other);
            for (int64_t j = lane; j < n; j += LANES) {
                const T v = s * mine[j * back.step[0]] + q * other[j * back.step[1]];
                to[j * back.step[2]] = adds ? to[j * back.step[2]] + v : v;
            }
        }
    }
}

/* ---- Launchers ---- */

static inline unsigned grid_of(int64_t blocks) { return static_cast<unsigned>(blocks < 1 ? 1 : blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF); }

/* Does a warp do best with these vectors? Also where pairs are too few for a thread each. */
static bool warps_of(const struct cosine_plan &plan, int64_t count) {
    return plan.n >= 8 && (plan.step[0] == 1 || plan.step[1] == 1 || count < 16384);
}

template <typename T> static int cosine_run(const struct flow_call *call) {
    struct flow_tensor both;
    struct cosine_plan plan;
    cosine_plan_make(&plan, call->in, &both, cosine_both(call, &both));
    const int64_t count = shape_count(&call->out[0]);
    const T *a = static_cast<const T *>(call->in[0].data), *b = static_cast<const T *>(call->in[1].data);
    T *y = static_cast<T *>(call->out[0].data);
    if (count == 0) return 0;
    if (warps_of(plan, count))
        return CUDA_LAUNCH((cosine_pairs<T, 32>), grid_of((count + 7) / 8), COSINE_THREADS, 0, cuda_stream(call), y, a, b, plan, count);
    return CUDA_LAUNCH((cosine_pairs<T, 1>), grid_of((count + 255) / 256), COSINE_THREADS, 0, cuda_stream(call), y, a, b, plan, count);
}
extern "C" int cuda_cosine_similarity_forward(const struct flow_call *call) {
    return cuda_status(call, call->in[0].dtype == FLOW_F64 ? cosine_run<double>(call) : cosine_run<float>(call));
}

template <typename T>
static cosine_back<T> back_of(const struct flow_call *call, uint32_t k, const struct cosine_plan &plan,
                              const struct cosine_plan &gradient) {
    cosine_back<T> back = {};
    int64_t result = 1;
    back.to = static_cast<T *>(call->grad_in[k].data);
    back.mine = static_cast<const T *>(call->in[k].data), back.other = static_cast<const T *>(call->in[1 - k].data);
    back.dy = static_cast<const T *>(call->grad_out[0].data);
    back.adds = FLOW_ACCUMULATES(call->accumulate_in, k) != 0;
    back.n = plan.n, back.count = back.repeats = 1;
    back.step[0] = plan.step[k], back.step[1] = plan.step[1 - k], back.step[2] = gradient.step[k];
    for (int32_t i = plan.rank - 1; i >= 0; i--) {
        const bool repeats = gradient.stride[k][i] == 0;
        cosine_axes &axes = repeats ? back.repeated : back.own;
        const int64_t stride[4] = {plan.stride[k][i], plan.stride[1 - k][i], gradient.stride[k][i], result};
        axes.extent[axes.rank] = plan.extent[i];
        for (int j = 0; j < 4; j++) axes.stride[axes.rank][j] = stride[j];
        axes.rank++;
        (repeats ? back.repeats : back.count) *= plan.extent[i];
        result *= plan.extent[i];
    }
    return back;
}

template <typename T> static int cosine_run_back(const struct flow_call *call) {
    struct flow_tensor both;
    struct cosine_plan plan, gradient;
    const int32_t axis = cosine_both(call, &both);
    cosine_plan_make(&plan, call->in, &both, axis);
    for (uint32_t k = 0; k < 2; k++) {
        if (call->grad_in[k].rank < 0) continue;
        struct flow_tensor dense[2] = {call->in[0], call->in[1]};
        shape_dense(&dense[k]);
        cosine_plan_make(&gradient, dense, &both, axis);
        const cosine_back<T> back = back_of<T>(call, k, plan, gradient);
        const int error =
            warps_of(plan, back.count)
                ? CUDA_LAUNCH((cosine_slopes<T, 32>), grid_of((back.count + 7) / 8), COSINE_THREADS, 0, cuda_stream(call), back)
                : CUDA_LAUNCH((cosine_slopes<T, 1>), grid_of((back.count + 255) / 256), COSINE_THREADS, 0, cuda_stream(call), back);
        if (error != 0) return error;
    }
    return 0;
}
extern "C" int cuda_cosine_similarity_backward(const struct flow_call *call) {
    const struct flow_tensor *dy = &call->grad_out[0];
    if (dy->rank < 0 || shape_count(dy) == 0) return cuda_zero_all(call);
    return cuda_status(call, dy->dtype == FLOW_F64 ? cosine_run_back<double>(call) : cosine_run_back<float>(call));
}
