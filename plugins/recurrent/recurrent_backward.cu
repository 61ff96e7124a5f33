/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backward of rnn, lstm and gru on CUDA, the launchers: through time in one launch a direction (or a kernel and a product a step), then one
 * product each over all positions: dW_hh = d_v^T h, dW_ih = d_u^T x, d_x = d_u W_ih, and sums of rows for biases and peepholes.
 */
#include "common/cuda.h"

#include "kernels_cuda.h"
#include "recurrent_cuda.h"

template <typename T> static T *at(void *block, int64_t offset) { return reinterpret_cast<T *>(static_cast<char *>(block) + offset); }

template <typename T> static T *grad_param(const struct flow_call *call, int32_t place) {
    return place >= 0 && call->grad_param[place].rank >= 0 ? static_cast<T *>(call->grad_param[place].data) : nullptr;
}
static bool adds_param(const struct flow_call *call, int32_t place) { return FLOW_ACCUMULATES(call->accumulate_param, place); }

/* dW[gates*units, in/heads] = d^T x + beta dW, block by block. */
template <typename T>
static int weight_back(const struct flow_call *call, const T *d, const T *x, int64_t x_row, int64_t rows, int64_t heads, T *d_w, bool add) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const int64_t gates = p->gates * p->units, units = heads == 1 ? gates : p->units / heads, width = x_row / heads;
    for (int64_t g = 0; g < (heads == 1 ? 1 : p->gates); g++) {
        struct flow_gemm product = {};
        product.size = sizeof product;
        product.m = units, product.n = width, product.k = rows, product.batch = heads;
        product.a = d + g * p->units, product.a_row = 1, product.a_col = gates, product.a_batch = units;
        product.b = x, product.b_row = x_row, product.b_col = 1, product.b_batch = width;
        product.c = d_w + g * p->units * width, product.c_row = width, product.c_batch = units * width;
        product.beta = add ? 1 : 0, product.dtype = sizeof(T) == 8 ? FLOW_F64 : FLOW_F32;
        int rc = call->host->gemm(call, &product);
        if (rc < 0) return rc;
    }
    return 0;
}

/* C[rows, heads*width] = d blockdiag(W) + beta C. */
template <typename T>
static int product_back(const struct flow_call *call, const T *d, int64_t rows, const struct flow_tensor *w, int64_t heads, T *c,
                        bool add) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const int64_t gates = p->gates * p->units, units = heads == 1 ? gates : p->units / heads, width = w->shape[1];
    for (int64_t g = 0; rows > 0 && g < (heads == 1 ? 1 : p->gates); g++) {
        struct flow_gemm product = {};
        product.size = sizeof product;
        product.m = rows, product.n = width, product.k = units, product.batch = heads;
        product.a = d + g * p->units, product.a_row = gates, product.a_col = 1, product.a_batch = units;
        product.b = static_cast<const T *>(w->data) + g * p->units * w->strides[0], product.b_row = w->strides[0],
        product.b_col = w->strides[1];
        product.b_batch = units * w->strides[0];
        product.c = c, product.c_row = heads * width, product.c_batch = width;
        product.beta = add || g > 0 ? 1 : 0, product.dtype = sizeof(T) == 8 ? FLOW_F64 : FLOW_F32;
        int rc = call->host->gemm(call, &product);
        if (rc < 0) return rc;
    }
    return 0;
}

/* One layer and direction under way. */
template <typename T> struct direction_back {
    const struct flow_call *call;
    const recurrent_layout *l;
    const struct direction *d;
    int64_t layer, index, input;
    const T *x, *d_y; /* [B, T, input]; this direction's columns, NULL: 0 */
    T *d_x;           /* NULL: not wanted */
    bool add_x;
};

template <typename T> static int steps_back(const direction_back<T> &b, const recurrent_scan_back<T> &scan) {
    const struct flow_call *call = b.call;
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    cudaStream_t stream = cuda_stream(call);
    T *d_h = at<T>(call->workspace, b.l->at_d_h), *d_c = at<T>(call->workspace, b.l->at_d_c);
    T *d_v = at<T>(call->workspace, b.l->at_step_d_v);
    int rc = 0;
    for (int64_t s = p->steps - 1; rc == 0 && s >= 0; s--) {
        rc = cuda_status(call, cuda_recurrent_step_back<T>(scan, b.l->kind, s, d_h, d_c, d_v, stream));
        if (rc == 0) rc = product_back<T>(call, d_v, p->batch, &call->param[b.d->weight_hh], a->heads, d_h, p->cell == CELL_GRU);
    }
    return rc < 0 ? rc : cuda_status(call, cuda_recurrent_step_back<T>(scan, b.l->kind, -1, d_h, d_c, d_v, stream));
}

template <typename T> static int through_time(const direction_back<T> &b, bool reversed) {
    const struct flow_call *call = b.call;
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const recurrent_layout &l = *b.l;
    const bool lstm = p->cell == CELL_LSTM;
    const int64_t offset = b.index * p->batch * p->units;
    const struct flow_tensor *w = &call->param[b.d->weight_hh];
    cudaStream_t stream = cuda_stream(call);
    recurrent_scan_back<T> scan = {};
    scan.order = cuda_recurrent_steps_of(call, reversed);
    scan.weights = static_cast<const T *>(w->data);
    scan.peephole = b.d->peephole >= 0 ? static_cast<const T *>(call->param[b.d->peephole].data) : nullptr;
    scan.keep = at<T>(call->saved, l.keep + b.index * l.keep_each), scan.keep_h = at<T>(call->saved, l.keep_h + b.index * l.keep_h_each);
    scan.keep_c = lstm ? at<T>(call->saved, l.keep_c + b.index * l.keep_h_each) : nullptr;
    scan.d_y = b.d_y, scan.y_row = l.wide;
    const struct flow_tensor *d_h = &call->grad_out[p->out_h], *d_c = lstm ? &call->grad_out[p->out_c] : nullptr;
    if (d_h->rank >= 0) scan.d_h_last = static_cast<const T *>(d_h->data) + offset;
    if (d_c && d_c->rank >= 0) scan.d_c_last = static_cast<const T *>(d_c->data) + offset;
    scan.d_u = at<T>(call->workspace, l.at_d_u), scan.d_v = at<T>(call->workspace, l.at_d_v);
    if (call->grad_in[p->port_h].rank >= 0) {
        scan.d_h_first = static_cast<T *>(call->grad_in[p->port_h].data) + offset;
        scan.add_h = FLOW_ACCUMULATES(call->accumulate_in, p->port_h);
    }
    if (lstm && call->grad_in[p->port_c].rank >= 0) {
        scan.d_c_first = static_cast<T *>(call->grad_in[p->port_c].data) + offset;
        scan.add_c = FLOW_ACCUMULATES(call->accumulate_in, p->port_c);
    }
    scan.units = static_cast<int32_t>(p->units), scan.heads = static_cast<int32_t>(a->heads),
    scan.width = static_cast<int32_t>(p->units / a->heads);
    scan.relu = p->cell == CELL_RNN && a->activation == 1;
    if (p->batch == 0) return 0;
    if (l.diagonal) return cuda_status(call, cuda_recurrent_diagonal_back<T>(scan, l.kind, stream));
    if (!l.shape.fits) return steps_back<T>(b, scan);
    T *turned = at<T>(call->workspace, l.at_back_weights);
    int rc = cuda_recurrent_turn<T>(scan.weights, w->strides[0], w->strides[1], p, l.shape, a->heads, true, turned, stream);
    scan.weights = turned;
    if (rc == 0) rc = cuda_recurrent_scan_backward(scan, l.kind, l.shape, stream);
    return cuda_status(call, rc);
}

/* What sees h: weight_hh, its bias, peepholes. */
template <typename T> static int recurrent_params_back(const direction_back<T> &b) {
    const struct flow_call *call = b.call;
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const recurrent_layout &l = *b.l;
    const int64_t units = p->units;
    cudaStream_t stream = cuda_stream(call);
    T *d_u = at<T>(call->workspace, l.at_d_u), *d_v = p->cell == CELL_GRU ? at<T>(call->workspace, l.at_d_v) : d_u;
    T *part = at<T>(call->workspace, l.at_sums);
    const T *h = at<T>(call->saved, l.keep_h + b.index * l.keep_h_each);
    T *d_w = grad_param<T>(call, b.d->weight_hh), *d_bias = grad_param<T>(call, b.d->bias_v), *d_p = grad_param<T>(call, b.d->peephole);
    int rc = 0;
    if (d_bias)
        rc = cuda_recurrent_sum_rows<T>(d_v, l.gates, nullptr, 0, l.rows, l.gates, part, d_bias, adds_param(call, b.d->bias_v), stream);
    if (rc == 0 && d_p) {
        const bool add = adds_param(call, b.d->peephole);
        const T *c = at<T>(call->saved, l.keep_c + b.index * l.keep_h_each), *keep = at<T>(call->saved, l.keep + b.index * l.keep_each);
        T *next = at<T>(call->workspace, l.at_next_c);
        const int64_t output = a->coupled ? 1 : 2; /* place of p_o, behind those of the gates that see the c before */
        rc = cuda_recurrent_next_c<T>(keep, c, l.rows, units, a->coupled, next, stream);
        for (int64_t k = 0; rc == 0 && k < output; k++)
            rc = cuda_recurrent_sum_rows<T>(d_u + k * units, l.gates, c, units, l.rows, units, part, d_p + k * units, add, stream);
        if (rc == 0)
            rc = cuda_recurrent_sum_rows<T>(d_u + (output + 1) * units, l.gates, next, units, l.rows, units, part, d_p + output * units,
                                            add, stream);
    }
    rc = cuda_status(call, rc);
    if (rc < 0 || !d_w) return rc;
    const bool add = adds_param(call, b.d->weight_hh);
    if (!l.diagonal) return weight_back<T>(call, d_v, h, units, l.rows, a->heads, d_w, add);
    for (int64_t g = 0; rc == 0 && g < p->gates; g++)
        rc = cuda_recurrent_sum_rows<T>(d_v + g * units, l.gates, h, units, l.rows, units, part, d_w + g * units, add, stream);
    return cuda_status(call, rc);
}

/* What sees x: weight_ih, its bias, and x itself. */
template <typename T> static int input_back(const direction_back<T> &b) {
    const struct flow_call *call = b.call;
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const recurrent_layout &l = *b.l;
    cudaStream_t stream = cuda_stream(call);
    T *d_u = at<T>(call->workspace, l.at_d_u), *part = at<T>(call->workspace, l.at_sums);
    if (b.d->weight_ih < 0) {
        if (!b.d_x || l.rows == 0) return 0;
        if (b.add_x) return cuda_status(call, cuda_recurrent_add<T>(d_u, b.d_x, l.rows * l.gates, stream));
        return cuda_status(
            call, cudaMemcpyAsync(b.d_x, d_u, static_cast<size_t>(l.rows * l.gates) * sizeof(T), cudaMemcpyDeviceToDevice, stream));
    }
    T *d_w = grad_param<T>(call, b.d->weight_ih), *d_bias = grad_param<T>(call, b.d->bias_u);
    int rc = 0;
    if (d_bias)
        rc = cuda_recurrent_sum_rows<T>(d_u, l.gates, nullptr, 0, l.rows, l.gates, part, d_bias, adds_param(call, b.d->bias_u), stream);
    const T *x = b.x;
    if (rc == 0 && d_w && b.layer == 0 && call->in[p->port_lengths].rank >= 0) { /* padding may hold anything, infinities too */
        T *clean = at<T>(call->workspace, l.at_x);
        rc = cuda_recurrent_without_padding<T>(cuda_recurrent_steps_of(call, false), x, b.input, clean, stream);
        x = clean;
    }
    rc = cuda_status(call, rc);
    if (rc == 0 && d_w) rc = weight_back<T>(call, d_u, x, b.input, l.rows, a->input_heads, d_w, adds_param(call, b.d->weight_ih));
    if (rc == 0 && b.d_x) rc = product_back<T>(call, d_u, l.rows, &call->param[b.d->weight_ih], a->input_heads, b.d_x, b.add_x);
    return rc;
}

/* Does anything in the layers up to this one want a gradient? */
static bool wants_params(const struct flow_call *call, int64_t layer) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    for (int64_t i = 0; i < p->directions * (layer + 1); i++) {
        const struct direction *d = &p->at[i];
        const int32_t places[] = {d->weight_ih, d->weight_hh, d->bias_u, d->bias_v, d->peephole};
        for (int k = 0; k < 5; k++)
            if (places[k] >= 0 && call->grad_param[places[k]].rank >= 0) return true;
    }
    return false;
}

template <typename T>
static int layer_back(const struct flow_call *call, const recurrent_layout &l, int64_t layer, const T *d_y, T *d_x, bool add_x) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    int rc = 0;
    for (int64_t direction = 0; rc == 0 && direction < p->directions; direction++) {
        direction_back<T> b = {};
        b.call = call, b.l = &l, b.layer = layer, b.index = layer * p->directions + direction, b.d = &p->at[b.index];
        b.input = layer ? l.wide : p->input;
        b.x = layer ? at<const T>(call->saved, l.keep_y + (layer - 1) * l.keep_y_each) : static_cast<const T *>(call->in[0].data);
        b.d_y = d_y ? d_y + direction * p->units : nullptr;
        b.d_x = d_x, b.add_x = add_x || direction > 0;
        rc = through_time<T>(b, a->reverse || direction == 1);
        if (rc == 0) rc = recurrent_params_back<T>(b);
        if (rc == 0) rc = input_back<T>(b);
    }
    return rc;
}

template <typename T> static int backward(const struct flow_call *call) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const recurrent_layout l = cuda_recurrent_layout_of(a, p, call->in[p->port_lengths].rank >= 0);
    cudaStream_t stream = cuda_stream(call);
    const bool states = call->grad_in[p->port_h].rank >= 0 || (p->port_c >= 0 && call->grad_in[p->port_c].rank >= 0);
    const T *d_y = call->grad_out[0].rank >= 0 ? static_cast<const T *>(call->grad_out[0].data) : nullptr;
    int rc = 0;
    for (int64_t layer = p->layers; rc == 0 && layer-- > 0;) {
        T *d_x = layer                        ? at<T>(call->workspace, l.at_d_y[layer % 2])
                 : call->grad_in[0].rank >= 0 ? static_cast<T *>(call->grad_in[0].data)
                                              : nullptr;
        if (layer && call->grad_in[0].rank < 0 && !states && !wants_params(call, layer - 1)) d_x = nullptr;
        rc = layer_back<T>(call, l, layer, d_y, d_x, layer == 0 && FLOW_ACCUMULATES(call->accumulate_in, 0));
        if (rc == 0 && layer && d_x && p->drops) rc = cuda_status(call, cuda_recurrent_mask<T>(call, layer - 1, d_x, stream));
        d_y = d_x;
        if (layer && !d_x) break;
    }
    return rc;
}

int cuda_recurrent_backward(const struct flow_call *call) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    return p->size == 8 ? backward<double>(call) : backward<float>(call);
}
