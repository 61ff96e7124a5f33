/* SPDX-License-Identifier: Apache-2.0 */
/* conv_transpose1d, conv_transpose2d on CUDA: x are the places, the result is the image (conv_cuda.h). */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/extent.h"
#include "conv/conv_cuda.h"
#include "conv/kernels_cuda.h"

/* ---- Streaming ---- */

/* What a piece adds to the line, [outer, extent, inner], and what the piece before left of it: elements [drop, emit) go out with their
 * bias, those from `emit` on wait. Bytes: the line and the tail once in, results once out. */
struct line_shape {
    int64_t extent, inner, kept, emit, drop, left;
    int64_t of_unit, units; /* lines of one unit; units */
};
template <typename T>
static __global__ void line_kernel(const T *line, const T *tail, const T *bias, T *y, T *next, const line_shape s, int64_t count) {
    const int64_t all = s.extent * s.inner;
    CUDA_EACH(i, count) {
        const int64_t row = i / all, at = i - row * all;
        T value = line[i];
        if (at < s.kept * s.inner) value += tail[row * s.kept * s.inner + at];
        if (at >= s.emit * s.inner) {
            if (at < (s.emit + s.left) * s.inner) next[row * s.left * s.inner + at - s.emit * s.inner] = value;
        } else if (at >= s.drop * s.inner) {
            y[row * (s.emit - s.drop) * s.inner + at - s.drop * s.inner] = value + (bias ? bias[row / s.of_unit % s.units] : T(0));
        }
    }
}

template <typename T>
static int line_end(const struct flow_call *call, const struct transpose_plan *plan, const void *line, const void *bias) {
    const bool height = plan->axes == 2 && plan->stream.axis == 2;
    const struct spread *along = &plan->axis[plan->stream.axis - plan->axes];
    const struct flow_tensor *crop = &call->state_out[1];
    const line_shape s = {along->out,        height ? plan->axis[1].out : 1, plan->stream.kept, plan->stream.emit, plan->stream.drop,
                          plan->stream.left, height ? 1 : plan->axis[0].out, plan->units};
    const int64_t count = plan->batch * plan->units * plan->axis[0].out * plan->axis[1].out;
    int status = FLOW_OK;
    if (count > 0)
        status = cuda_status(call, CUDA_LAUNCH((line_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                               static_cast<const T *>(line), static_cast<const T *>(call->state_in[0].data),
                                               static_cast<const T *>(bias), static_cast<T *>(call->out[0].data),
                                               static_cast<T *>(call->state_out[0].data), s, count));
    return status < 0 ? status : cuda_zero(call, crop, false);
}

/* ---- Operators ---- */

bool cuda_conv_transpose_supports(const struct flow_infer *infer) {
    conv_geometry g;
    return cuda_conv_transpose_geometry(static_cast<const struct transpose_plan *>(infer->priv), &g);
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

int cuda_conv_transpose_plan(struct flow_infer *infer) {
    const struct transpose_plan *plan = static_cast<const struct transpose_plan *>(infer->priv);
    const int64_t size = shape_type_bytes(extent_wide(infer->in[0].dtype));
    conv_geometry g;
    infer->workspace_backward = 0;
    if (!cuda_conv_transpose_geometry(plan, &g)) return FLOW_OK;
    infer->workspace = plan->line + cuda_conv_image_bytes(&g, size);
    if (infer->differentiated)
        infer->workspace_backward = larger(larger(cuda_conv_places_bytes(&g, size), cuda_conv_weights_bytes(&g, size)),
                                           cuda_conv_bias_bytes(g.batch, plan->units, static_cast<int64_t>(g.h.in) * g.w.in, size));
    return FLOW_OK;
}

int cuda_conv_transpose_forward(const struct flow_call *call) {
    const struct conv_attrs *attrs = static_cast<const struct conv_attrs *>(call->attrs);
    const struct transpose_plan *plan = static_cast<const struct transpose_plan *>(call->priv);
    const int32_t dtype = call->in[0].dtype;
    const void *weight = call->param[plan->weight].data, *bias = attrs->bias ? call->param[plan->bias].data : nullptr;
    const bool streams = plan->stream.axis >= 0;
    char *rest = static_cast<char *>(call->workspace) + plan->line;
    conv_geometry g;
    if (!cuda_conv_transpose_geometry(plan, &g)) return FLOW_ERROR_INTERNAL;
    if (!streams) return cuda_conv_image(call, &g, dtype, call->in[0].data, weight, bias, call->out[0].data, false, rest);
    const int status = cuda_conv_image(call, &g, dtype, call->in[0].data, weight, nullptr, call->workspace, false, rest);
    if (status < 0) return status;
    return dtype == FLOW_F64 ? line_end<double>(call, plan, call->workspace, bias) : line_end<float>(call, plan, call->workspace, bias);
}

int cuda_conv_transpose_backward(const struct flow_call *call) {
    const struct conv_attrs *attrs = static_cast<const struct conv_attrs *>(call->attrs);
    const struct transpose_plan *plan = static_cast<const struct transpose_plan *>(call->priv);
    const struct flow_tensor *dy = &call->grad_out[0], *dx = &call->grad_in[0], *dw = &call->grad_param[plan->weight];
    const void *x = call->in[0].data, *weight = call->param[plan->weight].data;
    const bool add_x = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0, add_w = FLOW_ACCUMULATES(call->accumulate_param, plan->weight) != 0;
    conv_geometry g;
    if (!shape_exists(dy) || plan->batch == 0 || shape_count(dy) == 0) return cuda_zero_all(call);
    if (!cuda_conv_transpose_geometry(plan, &g)) return FLOW_ERROR_INTERNAL;
    int status = FLOW_OK;
    if (shape_exists(dx)) status = cuda_conv_places(call, &g, dy->dtype, dy->data, weight, nullptr, dx->data, add_x, call->workspace);
    if (status >= 0 && shape_exists(dw)) status = cuda_conv_weights(call, &g, dy->dtype, dy->data, x, dw->data, add_w, call->workspace);
    if (status >= 0 && attrs->bias && shape_exists(&call->grad_param[plan->bias]))
        status =
            cuda_conv_bias(call, plan->batch, plan->units, static_cast<int64_t>(g.h.in) * g.w.in, dy->dtype, dy->data,
                           call->grad_param[plan->bias].data, FLOW_ACCUMULATES(call->accumulate_param, plan->bias) != 0, call->workspace);
    return status;
}
