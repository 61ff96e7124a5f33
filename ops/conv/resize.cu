/* SPDX-License-Identifier: Apache-2.0 */
/* global_avg_pool, upsample on CUDA. All are limited by memory. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/cuda_tiles.h"
#include "common/shape.h"
#include "conv/kernels_cuda.h"
#include "conv/resize.h"

/* ---- global_avg_pool ---- */

/* A row of THREADS to a channel, a warp or a block: x once. Threads' sums are added up in double. */
template <typename T, int THREADS> static __global__ void mean_kernel(const T *x, T *y, int64_t places, int64_t channels) {
    CUDA_SHARED(double, kept, 32);
    const int rows = CUDA_BLOCK / THREADS, row = static_cast<int>(threadIdx.x) / THREADS, lane = static_cast<int>(threadIdx.x) % THREADS;
    for (int64_t first = static_cast<int64_t>(blockIdx.x) * rows; first < channels; first += static_cast<int64_t>(gridDim.x) * rows) {
        const int64_t c = first + row;
        T sum = 0;
        if (c < channels)
            for (int64_t i = lane; i < places; i += THREADS) sum += x[c * places + i];
        const double all = cuda_lanes<THREADS>(static_cast<double>(sum), 0.0, cuda_join_sum(), kept);
        if (lane == 0 && c < channels) y[c] = static_cast<T>(all / static_cast<double>(places));
    }
}

template <typename T> static int mean_run(const struct flow_call *call, int64_t channels, int64_t places) {
    const T *x = static_cast<const T *>(call->in[0].data);
    T *y = static_cast<T *>(call->out[0].data);
    if (places >= 1024)
        return cuda_status(call, CUDA_LAUNCH((mean_kernel<T, CUDA_BLOCK>), cuda_blocks(channels, 1), CUDA_BLOCK, 0, cuda_stream(call), x, y,
                                             places, channels));
    return cuda_status(call, CUDA_LAUNCH((mean_kernel<T, CUDA_WARP>), cuda_blocks(channels, CUDA_BLOCK / CUDA_WARP), CUDA_BLOCK, 0,
                                         cuda_stream(call), x, y, places, channels));
}

int cuda_global_pool_forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0];
    const int64_t channels = shape_span(x, 0, 2), places = shape_span(x, 2, x->rank);
    if (channels == 0) return FLOW_OK;
    return x->dtype == FLOW_F64 ? mean_run<double>(call, channels, places) : mean_run<float>(call, channels, places);
}

/* dx once. */
template <typename T>
static __global__ void mean_back_kernel(const T *dy, T *dx, tiles_divider by_places, int32_t places, bool add, int64_t count) {
    CUDA_EACH(i, count) {
        const T share = dy[by_places.quotient(static_cast<int32_t>(i))] / static_cast<T>(places);
        dx[i] = share + (add ? dx[i] : T(0));
    }
}

template <typename T> static int mean_back_run(const struct flow_call *call, int64_t places) {
    const struct flow_tensor *dx = &call->grad_in[0];
    const int64_t count = shape_count(dx);
    return cuda_status(call, CUDA_LAUNCH((mean_back_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(call->grad_out[0].data), static_cast<T *>(dx->data),
                                         tiles_divider::of(static_cast<int32_t>(places)), static_cast<int32_t>(places),
                                         FLOW_ACCUMULATES(call->accumulate_in, 0) != 0, count));
}

int cuda_global_pool_backward(const struct flow_call *call) {
    const struct flow_tensor *dx = &call->grad_in[0];
    if (!shape_exists(dx) || shape_count(dx) == 0) return FLOW_OK;
    if (!shape_exists(&call->grad_out[0])) return cuda_zero_all(call);
    const int64_t places = shape_span(dx, 2, dx->rank);
    return dx->dtype == FLOW_F64 ? mean_back_run<double>(call, places) : mean_back_run<float>(call, places);
}

bool cuda_global_pool_supports(const struct flow_infer *infer) { return shape_count(&infer->in[0]) < 0x7FFFFFFF; }

/* ---- upsample ---- */

struct upsample_shape {
    int32_t h, w, factor_h, factor_w; /* extents of x */
    bool linear;
    tiles_divider by_count, by_width, by_factor_h, by_factor_w; /* of one channel of what threads run over */
};

/* The two elements that an element of the result lies between, and how far it is from the first. */
struct upsample_between {
    int32_t low, high;
    double share;
};
static __device__ inline upsample_between between_of(int32_t i, int32_t factor, const tiles_divider &by, int32_t in, bool linear) {
    const int32_t at = by.quotient(i);
    if (!linear || factor == 1) return {at, at, 0};
    const double off = (static_cast<double>(i - at * factor) + 0.5) / factor - 0.5; /* from the centre of element `at` */
    const int32_t low = off < 0 ? at - 1 : at, high = low + 1;
    return {low < 0 ? 0 : low, high < in ? high : in - 1, off < 0 ? off + 1 : off};
}

/* A thread an element of the result: y once, x from the caches. */
template <typename T> static __global__ void upsample_kernel(const T *x, T *y, const upsample_shape s, const int64_t count) {
    const int32_t height = s.h * s.factor_h, width = s.w * s.factor_w;
    CUDA_EACH(index, count) {
        const int32_t channel = s.by_count.quotient(static_cast<int32_t>(index)),
                      at = static_cast<int32_t>(index) - channel * height * width, i = s.by_width.quotient(at);
        const upsample_between v = between_of(i, s.factor_h, s.by_factor_h, s.h, s.linear),
                               u = between_of(at - i * width, s.factor_w, s.by_factor_w, s.w, s.linear);
        const T *upper = x + (static_cast<int64_t>(channel) * s.h + v.low) * s.w,
                *lower = x + (static_cast<int64_t>(channel) * s.h + v.high) * s.w;
        const T across = static_cast<T>(u.share), down = static_cast<T>(v.share);
        if (across == 0 && down == 0) {
            y[index] = upper[u.low];
            continue;
        }
        const T above = upper[u.low] + (upper[u.high] - upper[u.low]) * across,
                below = lower[u.low] + (lower[u.high] - lower[u.low]) * across;
        y[index] = above + (below - above) * down;
    }
}

/* How much of element i of the result an element `at` of x makes up. */
static __device__ inline double weight_of(const upsample_between &b, int32_t at) {
    return (b.low == at ? 1 - b.share : 0) + (b.high == at ? b.share : 0);
}

/* A thread an element of x: it gathers from the elements of the result that it is part of, those of itself and, where they are blended,
 * of its neighbours. dy from the caches, dx once. */
template <typename T>
static __global__ void upsample_back_kernel(const T *dy, T *dx, const upsample_shape s, const bool add, const int64_t count) {
    const int32_t height = s.h * s.factor_h, width = s.w * s.factor_w;
    CUDA_EACH(index, count) {
        const int32_t channel = s.by_count.quotient(static_cast<int32_t>(index)), at = static_cast<int32_t>(index) - channel * s.h * s.w,
                      i = s.by_width.quotient(at), j = at - i * s.w;
        const int32_t reach_h = s.linear ? s.factor_h / 2 : 0, reach_w = s.linear ? s.factor_w / 2 : 0;
        int32_t top = i * s.factor_h - reach_h, bottom = (i + 1) * s.factor_h + reach_h, left = j * s.factor_w - reach_w,
                right = (j + 1) * s.factor_w + reach_w;
        top = top < 0 ? 0 : top, left = left < 0 ? 0 : left;
        bottom = bottom < height ? bottom : height, right = right < width ? right : width;
        const T *from = dy + static_cast<int64_t>(channel) * height * width;
        T sum = 0;
        for (int32_t k = top; k < bottom; k++) {
            const double down = weight_of(between_of(k, s.factor_h, s.by_factor_h, s.h, s.linear), i);
            for (int32_t l = left; l < right; l++) {
                const double weight = down * weight_of(between_of(l, s.factor_w, s.by_factor_w, s.w, s.linear), j);
                if (weight != 0) sum += static_cast<T>(weight) * from[k * width + l];
            }
        }
        dx[index] = sum + (add ? dx[index] : T(0));
    }
}

static upsample_shape shape_of(const struct flow_call *call, bool result) {
    const struct upsample_plan *plan = static_cast<const struct upsample_plan *>(call->priv);
    const struct upsample_attrs *attrs = static_cast<const struct upsample_attrs *>(call->attrs);
    upsample_shape s = {static_cast<int32_t>(plan->h),
                        static_cast<int32_t>(plan->w),
                        static_cast<int32_t>(plan->factor_h),
                        static_cast<int32_t>(plan->factor_w),
                        attrs->mode == UPSAMPLE_LINEAR,
                        {},
                        {},
                        tiles_divider::of(static_cast<int32_t>(plan->factor_h)),
                        tiles_divider::of(static_cast<int32_t>(plan->factor_w))};
    s.by_count = tiles_divider::of(result ? s.h * s.factor_h * s.w * s.factor_w : s.h * s.w);
    s.by_width = tiles_divider::of(result ? s.w * s.factor_w : s.w);
    return s;
}

template <typename T> static int upsample_run(const struct flow_call *call, int64_t count) {
    return cuda_status(call, CUDA_LAUNCH((upsample_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(call->in[0].data), static_cast<T *>(call->out[0].data),
                                         shape_of(call, true), count));
}

int cuda_upsample_forward(const struct flow_call *call) {
    const int64_t count = shape_count(&call->out[0]);
    if (count == 0) return FLOW_OK;
    return call->in[0].dtype == FLOW_F64 ? upsample_run<double>(call, count) : upsample_run<float>(call, count);
}

template <typename T> static int upsample_back_run(const struct flow_call *call, int64_t count) {
    return cuda_status(call, CUDA_LAUNCH((upsample_back_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(call->grad_out[0].data), static_cast<T *>(call->grad_in[0].data),
                                         shape_of(call, false), FLOW_ACCUMULATES(call->accumulate_in, 0) != 0, count));
}

int cuda_upsample_backward(const struct flow_call *call) {
    const struct flow_tensor *dx = &call->grad_in[0];
    if (!shape_exists(dx) || shape_count(dx) == 0) return FLOW_OK;
    if (!shape_exists(&call->grad_out[0])) return cuda_zero_all(call);
    return dx->dtype == FLOW_F64 ? upsample_back_run<double>(call, shape_count(dx)) : upsample_back_run<float>(call, shape_count(dx));
}

bool cuda_upsample_supports(const struct flow_infer *infer) { return shape_count(&infer->out[0]) < 0x7FFFFFFF; }
