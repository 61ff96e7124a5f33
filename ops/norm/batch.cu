/* SPDX-License-Identifier: Apache-2.0 */
/* batch_norm: in training x is read for its moments (twice, then from the cache) and once more to be changed, else once. */
#include "common/cuda.h"
#include "norm/kernels_cuda.h"
#include "norm/moments_cuda.h"

/* Numbers of channel row % channels. */
template <typename T> struct batch_numbers {
    const double *mean, *by_x, *by_dy, *shift;
    int64_t channels;
    __device__ slope_numbers<T> of(int64_t row) const {
        const int64_t c = row - cuda_quotient(row, channels) * channels;
        return {static_cast<T>(mean[c]), static_cast<T>(by_x[c]), by_dy ? static_cast<T>(by_dy[c]) : T(0), static_cast<T>(shift[c])};
    }
};

template <typename T> struct batch_set {
    double *mean, *scale, *shift;
    double *saved; /* [2, channels], or NULL */
    const group_moments *units;
    T *running_mean, *running_var;
    const T *weight, *bias;
    int64_t channels, count, each, last; /* units of a channel and their elements */
    double eps, momentum;
    bool batch, moves; /* statistics of the batch; the running ones follow */
};
/* A warp for each channel: mean, scale and shift; in training the running statistics move. */
template <typename T> static __global__ void __launch_bounds__(256, 2) batch_channels(batch_set<T> of) {
    const int lane = static_cast<int>(threadIdx.x) % 32, group = static_cast<int>(threadIdx.x) / 32;
    CUDA_EACH_ROWS(first, of.channels, 8) {
        const int64_t c = first + group;
        const cuda_moments m = moments_join(of.units, c, of.channels, of.batch && c < of.channels ? of.count : 0, of.each, of.last);
        if (c >= of.channels || lane > 0) continue;
        double mean = m.mean, var = m.squares / m.n;
        if (of.moves) {
            const double kept = 1 - of.momentum, unbiased = m.squares / (m.n > 1 ? m.n - 1 : 1);
            of.running_mean[c] = static_cast<T>(kept * static_cast<double>(of.running_mean[c]) + of.momentum * mean);
            of.running_var[c] = static_cast<T>(kept * static_cast<double>(of.running_var[c]) + of.momentum * unbiased);
        }
        if (!of.batch) mean = static_cast<double>(of.running_mean[c]), var = static_cast<double>(of.running_var[c]);
        const double scale = 1 / sqrt(var + of.eps);
        if (of.batch && of.saved) of.saved[c] = mean, of.saved[of.channels + c] = scale;
        of.mean[c] = mean;
        of.scale[c] = of.weight ? scale * static_cast<double>(of.weight[c]) : scale;
        of.shift[c] = of.bias ? static_cast<double>(of.bias[c]) : 0;
    }
}

static int64_t batch_count(const struct batch_plan *plan) {
    return plan->places == 1 ? (plan->samples + NORM_BLOCK - 1) / NORM_BLOCK : plan->samples;
}
static bool batch_affine(const struct flow_call *call) { return static_cast<const struct batch_attrs *>(call->attrs)->affine; }

/* Workspace: mean, scale and shift of each channel, then the moments of units, [units, channels]. */
extern "C" int cuda_batch_norm_plan(struct flow_infer *infer) {
    const struct batch_plan *plan = static_cast<const struct batch_plan *>(infer->priv);
    int64_t units;
    if (infer->phase != FLOW_PHASE_TRAINING) return FLOW_OK;
    if (__builtin_mul_overflow(batch_count(plan) * static_cast<int64_t>(sizeof(group_moments)), plan->channels, &units) ||
        __builtin_add_overflow(infer->workspace, units, &infer->workspace))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large");
    return FLOW_OK;
}

template <typename T> static int batch_run(const struct flow_call *call) {
    const struct batch_attrs *attrs = static_cast<const struct batch_attrs *>(call->attrs);
    const struct batch_plan *plan = static_cast<const struct batch_plan *>(call->priv);
    cudaStream_t stream = cuda_stream(call);
    const bool batch = call->phase == FLOW_PHASE_TRAINING, affine = attrs->affine;
    const T *x = static_cast<const T *>(call->in[0].data);
    double *mean = static_cast<double *>(call->workspace), *scale = mean + plan->channels, *shift = scale + plan->channels;
    group_moments *units = reinterpret_cast<group_moments *>(shift + plan->channels);
    const int64_t count = batch_count(plan), rows = plan->samples * plan->channels;
    int error = 0;
    if (batch && plan->places == 1)
        error = CUDA_LAUNCH((moments_columns<T>), moments_grid((plan->channels + 31) / 32 * count), 256, 0, stream, units, x, plan->samples,
                            plan->channels);
    else if (batch) error = moments_launch<T>(stream, {units, x, rows, plan->places, 1, plan->places});
    if (error != 0) return error;
    const int64_t each = plan->places == 1 ? int64_t{NORM_BLOCK} : plan->places;
    const batch_set<T> set = {mean,
                              scale,
                              shift,
                              static_cast<double *>(call->saved),
                              units,
                              static_cast<T *>(call->param[plan->running_mean].data),
                              static_cast<T *>(call->param[plan->running_var].data),
                              affine ? static_cast<const T *>(call->param[plan->weight].data) : NULL,
                              affine ? static_cast<const T *>(call->param[plan->bias].data) : NULL,
                              plan->channels,
                              count,
                              each,
                              plan->places == 1 ? plan->samples - (count - 1) * each : each,
                              attrs->eps,
                              attrs->momentum,
                              batch,
                              batch && !call->again};
    error = CUDA_LAUNCH((batch_channels<T>), moments_grid((plan->channels + 7) / 8), 256, 0, stream, set);
    if (error != 0) return error;
    const batch_numbers<T> numbers = {mean, scale, NULL, shift, plan->channels};
    return slope_launch<T>(stream, static_cast<T *>(call->out[0].data), x, NULL, rows * plan->places, plan->places, numbers, false);
}
extern "C" int cuda_batch_norm_forward(const struct flow_call *call) {
    if (shape_count(&call->in[0]) == 0) return FLOW_OK;
    return cuda_status(call, call->in[0].dtype == FLOW_F64 ? batch_run<double>(call) : batch_run<float>(call));
}

/* Mean and scale for backward, from what forward saved or from the running statistics. */
template <typename T>
static __global__ void __launch_bounds__(256, 2) batch_recall(double *mean, double *scale, const double *saved, const T *running_mean,
                                                              const T *running_var, int64_t channels, double eps) {
    CUDA_EACH(c, channels) {
        mean[c] = saved ? saved[c] : static_cast<double>(running_mean[c]);
        scale[c] = saved ? saved[channels + c] : 1 / sqrt(static_cast<double>(running_var[c]) + eps);
    }
}
/* A warp for each channel: the parameters' gradients, and numbers of dx = by_dy dy + by_x (x - mean) + shift. */
template <typename T> struct batch_back {
    channel_params<T> params;
    const group_sums *sums;
    const double *scale;
    double *by_dy, *by_x, *shift;
    const T *weight;
    int64_t channels, units;
    double n;
    bool training;
};
template <typename T> static __global__ void __launch_bounds__(256, 2) batch_back_channels(batch_back<T> of) {
    const int lane = static_cast<int>(threadIdx.x) % 32, group = static_cast<int>(threadIdx.x) / 32;
    CUDA_EACH_ROWS(first, of.channels, 8) {
        const int64_t c = first + group;
        const cuda_two<double> sum = channel_total(of.sums, of.units, of.channels, c);
        if (c >= of.channels || lane > 0) continue;
        of.params.put(c, sum);
        const double by = of.weight ? of.scale[c] * static_cast<double>(of.weight[c]) : of.scale[c];
        of.by_dy[c] = by;
        of.by_x[c] = of.training ? -by * of.scale[c] * sum.b / of.n : 0;
        of.shift[c] = of.training ? -by * sum.a / of.n : 0;
    }
}

template <typename T> static int batch_run_back(const struct flow_call *call) {
    const struct batch_attrs *attrs = static_cast<const struct batch_attrs *>(call->attrs);
    const struct batch_plan *plan = static_cast<const struct batch_plan *>(call->priv);
    cudaStream_t stream = cuda_stream(call);
    const bool batch = call->phase == FLOW_PHASE_TRAINING;
    const int64_t channels = plan->channels, rows = plan->samples * channels, count = batch_count(plan);
    double *mean = static_cast<double *>(call->workspace), *scale = mean + channels, *by_dy = scale + channels, *by_x = by_dy + channels,
           *shift = by_x + channels;
    group_sums *sums = reinterpret_cast<group_sums *>(shift + channels);
    const T *x = static_cast<const T *>(call->in[0].data), *dy = static_cast<const T *>(call->grad_out[0].data);
    int error =
        CUDA_LAUNCH((batch_recall<T>), cuda_blocks(channels, 256), 256, 0, stream, mean, scale,
                    batch ? static_cast<const double *>(call->saved) : NULL, static_cast<const T *>(call->param[plan->running_mean].data),
                    static_cast<const T *>(call->param[plan->running_var].data), channels, attrs->eps);
    if (error != 0) return error;
    const channel_numbers numbers = {NULL, mean, scale, channels, 0, 0};
    if (plan->places == 1) {
        const sums_of<T> of = {sums, dy, x, plan->samples, channels, numbers};
        error = CUDA_LAUNCH((sums_columns<T>), moments_grid((channels + 31) / 32 * count), 256, 0, stream, of);
    } else {
        error = sums_launch<T>(stream, {sums, dy, x, rows, plan->places, numbers});
    }
    if (error != 0) return error;
    const batch_back<T> of = {channel_params_of<T>(call, batch_affine(call), plan->weight, plan->bias),
                              sums,
                              scale,
                              by_dy,
                              by_x,
                              shift,
                              attrs->affine ? static_cast<const T *>(call->param[plan->weight].data) : NULL,
                              channels,
                              count,
                              static_cast<double>(plan->samples) * static_cast<double>(plan->places),
                              batch};
    error = CUDA_LAUNCH((batch_back_channels<T>), moments_grid((channels + 7) / 8), 256, 0, stream, of);
    if (error != 0 || call->grad_in[0].rank < 0) return error;
    const batch_numbers<T> slope = {mean, by_x, by_dy, shift, channels};
    return slope_launch<T>(stream, static_cast<T *>(call->grad_in[0].data), x, dy, rows * plan->places, plan->places, slope,
                           FLOW_ACCUMULATES(call->accumulate_in, 0) != 0);
}
extern "C" int cuda_batch_norm_backward(const struct flow_call *call) {
    if (call->grad_out[0].rank < 0 || shape_count(&call->grad_out[0]) == 0) return cuda_zero_all(call);
    return cuda_status(call, call->grad_out[0].dtype == FLOW_F64 ? batch_run_back<double>(call) : batch_run_back<float>(call));
}
