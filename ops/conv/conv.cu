/* SPDX-License-Identifier: Apache-2.0 */
/* conv1d, conv2d on CUDA: geometry, streaming, and which sums make forward and backward (conv_cuda.h). */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/extent.h"
#include "common/gemm.h"
#include "conv/conv_cuda.h"
#include "conv/kernels_cuda.h"

/* ---- Geometry ---- */

static bool axis_set(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t dilation, int64_t before, int64_t after,
                     conv_axis *axis) {
    const int64_t most = int64_t{1} << 30, reach = dilation * (kernel - 1) + 1;
    if (in + before + after > most || in > most || reach > most || out * stride > most || before > most || -before > most) return false;
    int64_t a = stride, b = dilation;
    while (b != 0) {
        const int64_t rest = a % b;
        a = b, b = rest;
    }
    *axis = {static_cast<int32_t>(in),     static_cast<int32_t>(out),        static_cast<int32_t>(kernel),
             static_cast<int32_t>(stride), static_cast<int32_t>(dilation),   static_cast<int32_t>(before),
             static_cast<int32_t>(after),  static_cast<int32_t>(stride / a), static_cast<int32_t>(dilation / a)};
    return true;
}

/* Every element has a number of 31 bits. */
static bool fits(const conv_geometry &g) {
    const double most = 2147483647.0, samples = static_cast<double>(g.batch) * g.groups;
    const double kernel = static_cast<double>(g.h.kernel) * g.w.kernel;
    const double image = (static_cast<double>(g.h.in) + g.h.before + g.h.after) * (static_cast<double>(g.w.in) + g.w.before + g.w.after);
    const double own = static_cast<double>(g.h.in) * g.w.in, places = static_cast<double>(g.h.out) * g.w.out;
    return samples * g.channels * (own > image ? own : image) < most && samples * g.units * places < most &&
           static_cast<double>(g.groups) * g.units * g.channels * kernel < most && kernel < most / 2 &&
           static_cast<double>(g.units) * kernel < most;
}

bool cuda_conv_geometry(const struct conv_plan *plan, struct conv_geometry *g) {
    const struct window *h = &plan->axis[0], *w = &plan->axis[1];
    const int64_t most = 0x7FFFFFFF;
    if (plan->batch > most || plan->channels > most || plan->units > most || plan->taps > most) return false;
    g->batch = static_cast<int32_t>(plan->batch), g->groups = static_cast<int32_t>(plan->groups);
    g->channels = static_cast<int32_t>(plan->channels / plan->groups), g->units = static_cast<int32_t>(plan->units / plan->groups);
    g->mode = plan->mode;
    return axis_set(h->in, h->out, h->kernel, h->stride, h->dilation, h->before, h->after, &g->h) &&
           axis_set(w->in, w->out, w->kernel, w->stride, w->dilation, w->before, w->after, &g->w) && fits(*g);
}

bool cuda_conv_transpose_geometry(const struct transpose_plan *plan, struct conv_geometry *g) {
    const struct spread *h = &plan->axis[0], *w = &plan->axis[1];
    const int64_t most = 0x7FFFFFFF;
    if (plan->batch > most || plan->channels > most || plan->units > most || plan->taps > most) return false;
    g->batch = static_cast<int32_t>(plan->batch), g->groups = static_cast<int32_t>(plan->groups);
    g->channels = static_cast<int32_t>(plan->units / plan->groups), g->units = static_cast<int32_t>(plan->channels / plan->groups);
    g->mode = MODE_ZERO;
    return axis_set(h->out, h->in, h->kernel, h->stride, h->dilation, -h->shift, 0, &g->h) &&
           axis_set(w->out, w->in, w->kernel, w->stride, w->dilation, -w->shift, 0, &g->w) && fits(*g);
}

/* ---- Streaming ---- */

/* Elements [from, kept + fresh) of each line: into `joined` if there is one, and from `left` before the end on into the state. Bytes:
 * each once in, once or twice out. */
template <typename T>
static __global__ void join_kernel(const T *history, const T *x, T *joined, T *state, int64_t kept, int64_t fresh, int64_t left,
                                   int64_t from, int64_t inner, int64_t count) {
    const int64_t all = kept + fresh, some = (all - from) * inner;
    CUDA_EACH(i, count) {
        const int64_t line = i / some, at = i - line * some + from * inner, rest = at - (all - left) * inner;
        const T value = at < kept * inner ? history[line * kept * inner + at] : x[line * fresh * inner + at - kept * inner];
        if (joined) joined[line * all * inner + at] = value;
        if (rest >= 0) state[line * left * inner + rest] = value;
    }
}

template <typename T> static int join_run(const struct flow_call *call, const struct window_stream *stream, void *joined) {
    const struct flow_tensor *x = &call->in[0];
    const int64_t outer = shape_span(x, 0, stream->axis), inner = shape_span(x, stream->axis + 1, x->rank);
    const int64_t all = stream->kept + stream->fresh, from = joined ? 0 : all - stream->left, count = outer * (all - from) * inner;
    if (count == 0) return FLOW_OK;
    return cuda_status(call, CUDA_LAUNCH((join_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(call->state_in[0].data), static_cast<const T *>(x->data),
                                         static_cast<T *>(joined), static_cast<T *>(call->state_out[0].data), stream->kept, stream->fresh,
                                         stream->left, from, inner, count));
}

const void *cuda_window_join(const struct flow_call *call, const struct window_stream *stream, void *joined, int *status) {
    *status = FLOW_OK;
    if (stream->axis < 0) return call->in[0].data;
    void *to = stream->kept > 0 ? joined : nullptr;
    *status = call->in[0].dtype == FLOW_F64 ? join_run<double>(call, stream, to) : join_run<float>(call, stream, to);
    return to ? to : call->in[0].data;
}

/* ---- Kernels of one element ---- */

/* Large ones are the host's product, a batch of samples, faster than tiles of ours. */
static bool is_bare(const conv_geometry &g) {
    const conv_axis *axes[2] = {&g.h, &g.w};
    for (const conv_axis *axis : axes)
        if (axis->kernel != 1 || axis->stride != 1 || axis->before != 0 || axis->after != 0) return false;
    return g.groups == 1 && g.units >= 64 && g.channels >= 64 && static_cast<int64_t>(g.h.out) * g.w.out >= 128;
}

/* y[sample, unit, ...] = bias[unit] */
template <typename T>
static __global__ void bias_fill_kernel(const T *bias, T *y, int32_t units, tiles_divider by_places, tiles_divider by_units,
                                        int64_t count) {
    CUDA_EACH(i, count) {
        const int32_t line = by_places.quotient(static_cast<int32_t>(i));
        y[i] = bias[line - by_units.quotient(line) * units];
    }
}

template <typename T> static int bias_fill(const struct flow_call *call, const conv_geometry &g, const void *bias, void *y) {
    const int32_t places = g.h.out * g.w.out;
    const int64_t count = static_cast<int64_t>(g.batch) * g.units * places;
    return cuda_status(call, CUDA_LAUNCH((bias_fill_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(bias), static_cast<T *>(y), g.units, tiles_divider::of(places),
                                         tiles_divider::of(g.units), count));
}

static int bare_forward(const struct flow_call *call, const conv_geometry &g, const void *x, const void *weight, const void *bias,
                        void *y) {
    const int32_t dtype = call->in[0].dtype;
    const int64_t places = static_cast<int64_t>(g.h.out) * g.w.out;
    int status = !bias ? FLOW_OK : dtype == FLOW_F64 ? bias_fill<double>(call, g, bias, y) : bias_fill<float>(call, g, bias, y);
    if (status < 0) return status;
    struct flow_gemm product = gemm_of(dtype, g.units, places, g.channels);
    gemm_a(&product, weight, g.channels, 1);
    gemm_b(&product, x, places, 1);
    gemm_c(&product, y, places, bias != nullptr);
    gemm_batch(&product, g.batch, 0, g.channels * places, g.units * places);
    return call->host->gemm(call, &product);
}

static int bare_image(const struct flow_call *call, const conv_geometry &g, int32_t dtype, const void *dy, const void *weight, void *dx,
                      bool add) {
    const int64_t places = static_cast<int64_t>(g.h.out) * g.w.out;
    struct flow_gemm product = gemm_of(dtype, g.channels, places, g.units);
    gemm_a(&product, weight, 1, g.channels);
    gemm_b(&product, dy, places, 1);
    gemm_c(&product, dx, places, add);
    gemm_batch(&product, g.batch, 0, g.units * places, g.channels * places);
    return call->host->gemm(call, &product);
}

/* ---- Operators ---- */

bool cuda_conv_supports(const struct flow_infer *infer) {
    conv_geometry g;
    return cuda_conv_geometry(static_cast<const struct conv_plan *>(infer->priv), &g);
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

int cuda_conv_plan(struct flow_infer *infer) {
    const struct conv_plan *plan = static_cast<const struct conv_plan *>(infer->priv);
    const int64_t size = shape_type_bytes(extent_wide(infer->in[0].dtype));
    conv_geometry g;
    infer->packed = 0, infer->workspace_backward = 0;
    if (!cuda_conv_geometry(plan, &g)) return FLOW_OK;
    infer->workspace = plan->joined + (is_bare(g) ? 0 : cuda_conv_places_bytes(&g, size));
    if (infer->differentiated)
        infer->workspace_backward = larger(larger(cuda_conv_image_bytes(&g, size), cuda_conv_weights_bytes(&g, size)),
                                           cuda_conv_bias_bytes(g.batch, plan->units, static_cast<int64_t>(g.h.out) * g.w.out, size));
    return FLOW_OK;
}

int cuda_conv_forward(const struct flow_call *call) {
    const struct conv_attrs *attrs = static_cast<const struct conv_attrs *>(call->attrs);
    const struct conv_plan *plan = static_cast<const struct conv_plan *>(call->priv);
    conv_geometry g;
    int status;
    const void *x = cuda_window_join(call, &plan->stream, call->workspace, &status);
    if (status < 0 || plan->batch == 0 || plan->places == 0) return status;
    if (!cuda_conv_geometry(plan, &g)) return FLOW_ERROR_INTERNAL;
    const void *weight = call->param[plan->weight].data, *bias = attrs->bias ? call->param[plan->bias].data : nullptr;
    if (is_bare(g)) return bare_forward(call, g, x, weight, bias, call->out[0].data);
    return cuda_conv_places(call, &g, call->in[0].dtype, x, weight, bias, call->out[0].data, false,
                            static_cast<char *>(call->workspace) + plan->joined);
}

int cuda_conv_backward(const struct flow_call *call) {
    const struct conv_attrs *attrs = static_cast<const struct conv_attrs *>(call->attrs);
    const struct conv_plan *plan = static_cast<const struct conv_plan *>(call->priv);
    const struct flow_tensor *dy = &call->grad_out[0], *dx = &call->grad_in[0], *dw = &call->grad_param[plan->weight];
    const void *x = call->in[0].data, *weight = call->param[plan->weight].data;
    const bool add_x = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0, add_w = FLOW_ACCUMULATES(call->accumulate_param, plan->weight) != 0;
    conv_geometry g;
    if (dy->rank < 0 || plan->batch == 0 || plan->places == 0) return cuda_zero_all(call);
    if (!cuda_conv_geometry(plan, &g)) return FLOW_ERROR_INTERNAL;
    int status = FLOW_OK;
    if (shape_exists(dx))
        status = is_bare(g) ? bare_image(call, g, dy->dtype, dy->data, weight, dx->data, add_x)
                            : cuda_conv_image(call, &g, dy->dtype, dy->data, weight, nullptr, dx->data, add_x, call->workspace);
    if (status >= 0 && shape_exists(dw)) status = cuda_conv_weights(call, &g, dy->dtype, x, dy->data, dw->data, add_w, call->workspace);
    if (status >= 0 && attrs->bias && shape_exists(&call->grad_param[plan->bias]))
        status = cuda_conv_bias(call, plan->batch, plan->units, plan->places, dy->dtype, dy->data, call->grad_param[plan->bias].data,
                                FLOW_ACCUMULATES(call->accumulate_param, plan->bias) != 0, call->workspace);
    return status;
}
