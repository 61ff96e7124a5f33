/* SPDX-License-Identifier: Apache-2.0 */
/* Pools on CUDA: a thread a place forward, a thread an element backward. All are limited by memory. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/extent.h"
#include "conv/conv_cuda.h"
#include "conv/kernels_cuda.h"
#include "conv/pool.h"

struct pool_axis {
    int32_t in, out, kernel, stride, before;
};
struct pool_shape {
    pool_axis h, w;
    bool mean;
    tiles_divider by_places, by_width; /* of places forward, of elements of x backward */
};

static pool_axis axis_of(const struct window &w) {
    return {static_cast<int32_t>(w.in), static_cast<int32_t>(w.out), static_cast<int32_t>(w.kernel), static_cast<int32_t>(w.stride),
            static_cast<int32_t>(w.before)};
}
static pool_shape shape_of(const struct pool_plan *plan, bool places) {
    pool_shape s = {axis_of(plan->axis[0]), axis_of(plan->axis[1]), plan->mean, {}, {}};
    s.by_places = tiles_divider::of(places ? s.h.out * s.w.out : s.h.in * s.w.in);
    s.by_width = tiles_divider::of(places ? s.w.out : s.w.in);
    return s;
}

/* The elements [low, high) that a place sees, and the first of them before padding is cut away. */
struct pool_span {
    int32_t low, high;
};
static __device__ inline pool_span span_of(const pool_axis &axis, int32_t place) {
    const int32_t first = place * axis.stride - axis.before, last = first + axis.kernel;
    return {first < 0 ? 0 : first, last < axis.in ? last : axis.in};
}
/* The places [low, high) that see an element. */
static __device__ inline pool_span seen_by(const pool_axis &axis, int32_t at) {
    const int32_t p = at + axis.before, low = p < axis.kernel ? 0 : (p - axis.kernel) / axis.stride + 1, high = p / axis.stride + 1;
    return {low, high < axis.out ? high : axis.out};
}

/* Bytes: x once (windows that overlap meet in the caches), y once. A NaN is the largest. */
template <typename T> static __global__ void pool_kernel(const T *x, T *y, const pool_shape s, const int64_t count) {
    const T scale = static_cast<T>(1 / (static_cast<double>(s.h.kernel) * s.w.kernel));
    CUDA_EACH(index, count) {
        const int32_t channel = s.by_places.quotient(static_cast<int32_t>(index)),
                      p = static_cast<int32_t>(index) - channel * s.h.out * s.w.out, i = s.by_width.quotient(p);
        const pool_span rows = span_of(s.h, i), columns = span_of(s.w, p - i * s.w.out);
        const T *from = x + static_cast<int64_t>(channel) * s.h.in * s.w.in;
        T result = s.mean ? T(0) : -static_cast<T>(INFINITY);
        for (int32_t k = rows.low; k < rows.high; k++)
            for (int32_t l = columns.low; l < columns.high; l++) {
                const T value = from[k * s.w.in + l];
                result = s.mean ? result + value : cuda_join_max()(result, value);
            }
        y[index] = s.mean ? result * scale : result;
    }
}

/* Which element of its window, counted along rows, is the place's largest: the first of equals; none: -1. */
template <typename T>
static __device__ inline int32_t largest_at(const T *from, const pool_axis &w, const pool_span &rows, const pool_span &columns, T y) {
    for (int32_t k = rows.low; k < rows.high; k++)
        for (int32_t l = columns.low; l < columns.high; l++)
            if (from[k * w.in + l] == y) return k * w.in + l;
    return -1;
}

/* For windows that overlap: finds once where each place's gradient goes. Bytes: x and y once, 4 a place. */
template <typename T>
static __global__ void pool_find_kernel(const T *x, const T *y, int32_t *found, const pool_shape s, const int64_t count) {
    CUDA_EACH(index, count) {
        const int32_t channel = s.by_places.quotient(static_cast<int32_t>(index)),
                      p = static_cast<int32_t>(index) - channel * s.h.out * s.w.out, i = s.by_width.quotient(p);
        found[index] =
            largest_at(x + static_cast<int64_t>(channel) * s.h.in * s.w.in, s.w, span_of(s.h, i), span_of(s.w, p - i * s.w.out), y[index]);
    }
}

/* dx[at] = sum over the places that see it of what they give it. found NULL: windows do not overlap, each is searched here. Bytes: dy
 * (and x, y or found) once, dx once. */
template <typename T>
static __global__ void pool_back_kernel(const T *x, const T *y, const int32_t *found, const T *dy, T *dx, const pool_shape s,
                                        const bool add, const int64_t count) {
    const T scale = static_cast<T>(1 / (static_cast<double>(s.h.kernel) * s.w.kernel));
    CUDA_EACH(index, count) {
        const int32_t channel = s.by_places.quotient(static_cast<int32_t>(index)),
                      at = static_cast<int32_t>(index) - channel * s.h.in * s.w.in, i = s.by_width.quotient(at);
        const pool_span down = seen_by(s.h, i), across = seen_by(s.w, at - i * s.w.in);
        const int64_t place = static_cast<int64_t>(channel) * s.h.out * s.w.out;
        T sum = 0;
        for (int32_t k = down.low; k < down.high; k++)
            for (int32_t l = across.low; l < across.high; l++) {
                const int64_t p = place + k * s.w.out + l;
                if (s.mean) {
                    sum += dy[p] * scale;
                    continue;
                }
                const int32_t to =
                    found ? found[p]
                          : largest_at(x + static_cast<int64_t>(channel) * s.h.in * s.w.in, s.w, span_of(s.h, k), span_of(s.w, l), y[p]);
                if (to == at) sum += dy[p];
            }
        dx[index] = sum + (add ? dx[index] : T(0));
    }
}

static bool overlaps(const struct pool_plan *plan) {
    return plan->axis[0].kernel > plan->axis[0].stride || plan->axis[1].kernel > plan->axis[1].stride;
}

bool cuda_pool_supports(const struct flow_infer *infer) {
    const struct pool_plan *plan = static_cast<const struct pool_plan *>(infer->priv);
    double in = static_cast<double>(plan->channels), out = in;
    for (int i = 0; i < 2; i++) {
        const struct window *w = &plan->axis[i];
        in *= static_cast<double>(w->in), out *= static_cast<double>(w->out);
        if (w->in + w->before + w->after + w->kernel + w->stride > (int64_t{1} << 30)) return false;
    }
    return in < 2147483647.0 && out < 2147483647.0;
}

int cuda_pool_plan(struct flow_infer *infer) {
    const struct pool_plan *plan = static_cast<const struct pool_plan *>(infer->priv);
    infer->workspace_backward = 0;
    if (infer->differentiated && !plan->mean && overlaps(plan))
        infer->workspace_backward = (shape_count(&infer->out[0]) * static_cast<int64_t>(sizeof(int32_t)) + 63) / 64 * 64;
    return FLOW_OK;
}

template <typename T> static int forward_run(const struct flow_call *call, const void *x) {
    const int64_t count = shape_count(&call->out[0]);
    return cuda_status(call, CUDA_LAUNCH((pool_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(x), static_cast<T *>(call->out[0].data),
                                         shape_of(static_cast<const struct pool_plan *>(call->priv), true), count));
}

int cuda_pool_forward(const struct flow_call *call) {
    const struct pool_plan *plan = static_cast<const struct pool_plan *>(call->priv);
    int status;
    const void *x = cuda_window_join(call, &plan->stream, call->workspace, &status);
    if (status < 0 || shape_count(&call->out[0]) == 0) return status;
    return call->in[0].dtype == FLOW_F64 ? forward_run<double>(call, x) : forward_run<float>(call, x);
}

template <typename T> static int backward_run(const struct flow_call *call) {
    const struct pool_plan *plan = static_cast<const struct pool_plan *>(call->priv);
    const T *x = static_cast<const T *>(call->in[0].data), *y = static_cast<const T *>(call->out[0].data);
    const int64_t count = shape_count(&call->grad_in[0]), places = plan->channels * plan->axis[0].out * plan->axis[1].out;
    int32_t *found = nullptr;
    int status = FLOW_OK;
    if (!plan->mean && overlaps(plan)) {
        found = static_cast<int32_t *>(call->workspace);
        status = cuda_status(call, CUDA_LAUNCH((pool_find_kernel<T>), cuda_blocks(places, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), x,
                                               y, found, shape_of(plan, true), places));
    }
    if (status < 0) return status;
    return cuda_status(call, CUDA_LAUNCH((pool_back_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), x, y,
                                         found, static_cast<const T *>(call->grad_out[0].data), static_cast<T *>(call->grad_in[0].data),
                                         shape_of(plan, false), FLOW_ACCUMULATES(call->accumulate_in, 0) != 0, count));
}

int cuda_pool_backward(const struct flow_call *call) {
    const struct pool_plan *plan = static_cast<const struct pool_plan *>(call->priv);
    const struct flow_tensor *dx = &call->grad_in[0];
    if (!shape_exists(dx) || shape_count(dx) == 0) return FLOW_OK;
    if (plan->axis[0].out * plan->axis[1].out == 0 || !shape_exists(&call->grad_out[0])) return cuda_zero_all(call);
    return dx->dtype == FLOW_F64 ? backward_run<double>(call) : backward_run<float>(call);
}
