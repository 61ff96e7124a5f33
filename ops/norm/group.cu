/* SPDX-License-Identifier: Apache-2.0 */
/* group_norm, instance_norm: x is read for its moments (twice, then from the cache) and once more to be changed. */
#include "common/cuda.h"
#include "norm/kernels_cuda.h"
#include "norm/moments_cuda.h"

/* Numbers of a row: a channel of one sample. */
template <typename T> struct group_numbers {
    const group_moments *moments; /* [sets], or of the pieces: `pieces` for each */
    const group_sums *sums;       /* [sets], weighted; NULL in forward */
    const T *weight, *bias;       /* or NULL */
    int64_t channels, all;        /* of a set; of a sample */
    double by_each;               /* 1 / elements of a set */
    T eps;
    __device__ slope_numbers<T> of(int64_t row) const {
        const int64_t set = cuda_quotient(row, channels), channel = row - cuda_quotient(row, all) * all;
        const group_moments m = moments[set];
        const T w = weight ? weight[channel] : T(1), scale = 1 / cuda_root(static_cast<T>(m.squares * by_each) + eps);
        if (!sums) return {static_cast<T>(m.mean), scale * w, T(0), bias ? bias[channel] : T(0)};
        const group_sums s = sums[set];
        return {static_cast<T>(m.mean), -scale * scale * static_cast<T>(s.along * by_each), w * scale,
                -scale * static_cast<T>(s.dy * by_each)};
    }
};

/* A warp for each set: its pieces joined, in `to` and in `saved` (or NULL). */
static __global__ void __launch_bounds__(256, 2)
    group_join(group_moments *to, group_moments *saved, const group_moments *pieces, struct group_plan plan) {
    const int64_t row = plan.channels * plan.places, last = row - (plan.pieces - 1) * GROUP_PIECE;
    const int lane = static_cast<int>(threadIdx.x) % 32, group = static_cast<int>(threadIdx.x) / 32;
    CUDA_EACH_ROWS(first, plan.sets, 8) {
        const int64_t set = first + group;
        const cuda_moments m = moments_join(pieces, set * plan.pieces, 1, set < plan.sets ? plan.pieces : 0, GROUP_PIECE, last);
        if (set >= plan.sets || lane > 0) continue;
        to[set] = {m.mean, m.squares};
        if (saved) saved[set] = {m.mean, m.squares};
    }
}

/* Workspace: the moments of pieces, then those of sets. */
extern "C" int cuda_group_norm_plan(struct flow_infer *infer) {
    const struct group_plan *plan = static_cast<const struct group_plan *>(infer->priv);
    infer->workspace += plan->sets * static_cast<int64_t>(sizeof(group_moments));
    return FLOW_OK;
}

static double eps_of(const struct flow_call *call) { return static_cast<const struct group_attrs *>(call->attrs)->eps; }
static bool affine_of(const struct flow_call *call) { return static_cast<const struct group_attrs *>(call->attrs)->affine; }

template <typename T> static group_numbers<T> group_numbers_of(const struct flow_call *call, const group_moments *moments, bool bias) {
    const struct group_plan *plan = static_cast<const struct group_plan *>(call->priv);
    const bool affine = affine_of(call);
    return {moments,
            NULL,
            affine ? static_cast<const T *>(call->param[plan->weight].data) : NULL,
            affine && bias ? static_cast<const T *>(call->param[plan->bias].data) : NULL,
            plan->channels,
            plan->channels * plan->groups,
            1 / (static_cast<double>(plan->channels) * static_cast<double>(plan->places)),
            static_cast<T>(eps_of(call))};
}

template <typename T> static int group_run(const struct flow_call *call) {
    const struct group_plan *plan = static_cast<const struct group_plan *>(call->priv);
    cudaStream_t stream = cuda_stream(call);
    group_moments *pieces = static_cast<group_moments *>(call->workspace), *sets = pieces + plan->sets * plan->pieces;
    const T *x = static_cast<const T *>(call->in[0].data);
    const int64_t row = plan->channels * plan->places;
    int error = moments_launch<T>(stream, {pieces, x, plan->sets, row, plan->pieces, GROUP_PIECE});
    if (error == 0)
        error = CUDA_LAUNCH((group_join), moments_grid((plan->sets + 7) / 8), 256, 0, stream, sets,
                            static_cast<group_moments *>(call->saved), pieces, *plan);
    if (error != 0) return error;
    return slope_launch<T>(stream, static_cast<T *>(call->out[0].data), x, NULL, plan->sets * row, plan->places,
                           group_numbers_of<T>(call, sets, true), false);
}
extern "C" int cuda_group_norm_forward(const struct flow_call *call) {
    if (shape_count(&call->in[0]) == 0) return FLOW_OK;
    return cuda_status(call, call->in[0].dtype == FLOW_F64 ? group_run<double>(call) : group_run<float>(call));
}

/* A warp for each set: its channels' sums, weighted. */
template <typename T>
static __global__ void __launch_bounds__(256, 2)
    group_weigh(group_sums *to, const group_sums *sums, const T *weight, int64_t sets, int64_t channels, int64_t all) {
    const int lane = static_cast<int>(threadIdx.x) % 32, group = static_cast<int>(threadIdx.x) / 32;
    CUDA_EACH_ROWS(first, sets, 8) {
        const int64_t set = first + group;
        cuda_two<double> sum = {0, 0};
        for (int64_t i = lane; set < sets && i < channels; i += 32) {
            const group_sums s = sums[set * channels + i];
            const double w = weight ? static_cast<double>(weight[(set * channels + i) % all]) : 1;
            sum.a += w * s.dy, sum.b += w * s.along;
        }
        sum = cuda_warp(sum, cuda_join_sum());
        if (set < sets && lane == 0) to[set] = {sum.a, sum.b};
    }
}

template <typename T>
static __global__ void __launch_bounds__(256, 2)
    group_params(channel_params<T> to, const group_sums *sums, int64_t samples, int64_t channels) {
    const int lane = static_cast<int>(threadIdx.x) % 32, group = static_cast<int>(threadIdx.x) / 32;
    CUDA_EACH_ROWS(first, channels, 8) {
        const int64_t c = first + group;
        const cuda_two<double> sum = channel_total(sums, samples, channels, c);
        if (c < channels && lane == 0) to.put(c, sum);
    }
}

template <typename T> static int group_run_back(const struct flow_call *call) {
    const struct group_plan *plan = static_cast<const struct group_plan *>(call->priv);
    cudaStream_t stream = cuda_stream(call);
    const group_moments *moments = static_cast<const group_moments *>(call->saved);
    group_numbers<T> numbers = group_numbers_of<T>(call, moments, false);
    const int64_t units = plan->sets * plan->channels, samples = plan->sets / plan->groups;
    group_sums *sums = static_cast<group_sums *>(call->workspace), *weighted = sums + units;
    const T *x = static_cast<const T *>(call->in[0].data), *dy = static_cast<const T *>(call->grad_out[0].data);
    int error =
        sums_launch<T>(stream, {sums,
                                dy,
                                x,
                                units,
                                plan->places,
                                {moments, NULL, NULL, plan->channels, static_cast<double>(plan->channels * plan->places), eps_of(call)}});
    const channel_params<T> params = channel_params_of<T>(call, affine_of(call), plan->weight, plan->bias);
    if (error == 0 && (params.dw || params.db))
        error = CUDA_LAUNCH((group_params<T>), moments_grid((numbers.all + 7) / 8), 256, 0, stream, params, sums, samples, numbers.all);
    if (error != 0 || call->grad_in[0].rank < 0) return error;
    error = CUDA_LAUNCH((group_weigh<T>), moments_grid((plan->sets + 7) / 8), 256, 0, stream, weighted, sums, numbers.weight, plan->sets,
                        plan->channels, numbers.all);
    if (error != 0) return error;
    numbers.sums = weighted;
    return slope_launch<T>(stream, static_cast<T *>(call->grad_in[0].data), x, dy, units * plan->places, plan->places, numbers,
                           FLOW_ACCUMULATES(call->accumulate_in, 0) != 0);
}
extern "C" int cuda_group_norm_backward(const struct flow_call *call) {
    if (call->grad_out[0].rank < 0 || shape_count(&call->grad_out[0]) == 0) return cuda_zero_all(call);
    return cuda_status(call, call->grad_out[0].dtype == FLOW_F64 ? group_run_back<double>(call) : group_run_back<float>(call));
}
