/* SPDX-License-Identifier: Apache-2.0 */
/* stop_gradient, scale_gradient, inject_gradient, parameter: copies, and gradients scaled or replaced. */
#include "common/cuda.h"

#include "common/cuda_map.h"

#include "control/control.h"
#include "control/kernels_cuda.h"

int cuda_same_forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    if (x->data == y->data) return FLOW_OK;
    return cuda_status(
        call, cuda_copy(cuda_stream(call), y->rank, y->shape, cuda_type_bytes(y->dtype), x->data, x->strides, y->data, y->strides));
}

/* 2 or 3 * sizeof(T) bytes an element. to may be g's memory. */
template <typename T> struct scale_map {
    const T *g;
    T *to;
    T factor;
    bool add;
    template <int V> __device__ void run(int64_t out, const int64_t (&in)[1], uint32_t) const {
        const cuda_few<T, V> from = cuda_load<V>(g, in[0]);
        cuda_few<T, V> y = {};
        if (add) y = cuda_load<V>(to, out);
        for (int j = 0; j < V; j++) y.at[j] += factor * from.at[j];
        cuda_store<V>(to, out, y);
    }
};

template <typename T> static int scale_run(const struct flow_call *call, double factor, bool add) {
    const struct flow_tensor *g = &call->grad_out[0], *const in[1] = {g};
    const void *const to[1] = {call->grad_in[0].data};
    const scale_map<T> map = {static_cast<const T *>(g->data), static_cast<T *>(call->grad_in[0].data), static_cast<T>(factor), add};
    return cuda_map_run<16 / sizeof(T), 1>(cuda_stream(call), g, in, to, 1, sizeof(T), map);
}

int cuda_scale_gradient_backward(const struct flow_call *call) {
    const struct scale_attrs *a = static_cast<const struct scale_attrs *>(call->attrs);
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    if (to->rank < 0) return FLOW_OK;
    return cuda_status(call, g->dtype == FLOW_F64 ? scale_run<double>(call, a->factor, add) : scale_run<float>(call, a->factor, add));
}

/* What arrives is not read. */
int cuda_inject_gradient_backward(const struct flow_call *call) {
    return cuda_status(call, cuda_pass(cuda_stream(call), &call->in[1], &call->grad_in[0], FLOW_ACCUMULATES(call->accumulate_in, 0) != 0));
}

int cuda_parameter_forward(const struct flow_call *call) {
    const struct flow_tensor *weight = &call->param[0], *y = &call->out[0];
    return cuda_status(call, cuda_copy(cuda_stream(call), y->rank, y->shape, cuda_type_bytes(y->dtype), weight->data, weight->strides,
                                       y->data, y->strides));
}

int cuda_parameter_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_param[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_param, 0) != 0;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    return cuda_status(call, cuda_pass(cuda_stream(call), g, to, add));
}
