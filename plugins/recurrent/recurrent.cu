/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rnn, lstm and gru on CUDA, the launchers: planning and forward. For each layer and direction one product gives the inputs of all gates at
 * all positions; then one launch runs all steps (recurrent_scan.cu; diagonal recurrences: recurrent_steps.cu), or, where a head is too wide
 * for a block, a product and a kernel each step. So a direction costs three launches, or two a step.
 */
#include "common/cuda.h"

#include "kernels_cuda.h"
#include "recurrent_cuda.h"

/* ---- Planning ------------------------------------------------------------------------------------------------------- */

/* Threads of a block for one unit, and what fits: weights up to 1.25 MiB a head, since reading from L2 what neither registers nor shared
 * memory hold then takes less time a step (some 7 us at 100 GB/s a multiprocessor) than the launches of a product and a kernel. */
recurrent_shape cuda_recurrent_shape_of(const recurrent_priv *p, const recurrent_attrs *a) {
    const int64_t width = p->units / a->heads, most = 256;
    recurrent_shape shape = {};
    shape.slices = p->size == 8 ? 1 : width <= 128 ? 4 : 2;
    const int64_t quads = ((width + 3) / 4 + shape.slices - 1) / shape.slices;
    shape.fits = width <= most && p->gates * width * quads * shape.slices * 4 * p->size <= 1280 << 10 && p->steps < INT32_MAX &&
                 p->units <= INT32_MAX / 64;
    shape.rows = p->size == 4 && p->batch * a->heads > 132 ? 4 : 1;
    if (!shape.fits) return shape;
    shape.quads = static_cast<int32_t>(quads), shape.threads = static_cast<int32_t>((width * shape.slices + 31) / 32 * 32);
    return shape;
}

static int64_t shared_most() {
#ifdef FLOW_CUDA_EMULATION
    return 40 << 10; /* so that small cases have weights everywhere */
#else
    int device = 0, bytes = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
        return 48 << 10;
    return bytes;
#endif
}

int32_t cuda_recurrent_shared_quads(const recurrent_shape &shape, int32_t held, int64_t bytes, int64_t other, int64_t *total) {
    int64_t left = shape.quads - held, room = (shared_most() - other) / bytes, count = left < room ? left : room;
    count = count < 0 ? 0 : count;
    *total = other + count * bytes;
    return static_cast<int32_t>(count);
}

int cuda_recurrent_allow_shared(const void *kernel, int64_t bytes) {
    if (bytes <= 48 << 10) return 0;
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

/* Room for count * size bytes in `total`, which becomes -1 once it is more than can be counted. */
static int64_t take(int64_t *total, int64_t count, int64_t size) {
    int64_t at = *total, bytes;
    if (at < 0 || count < 0 || __builtin_mul_overflow(count, size, &bytes) || bytes > INT64_MAX - 63 ||
        __builtin_add_overflow(at, (bytes + 63) / 64 * 64, total))
        *total = -1;
    return at;
}

recurrent_layout cuda_recurrent_layout_of(const recurrent_attrs *a, const recurrent_priv *p, bool has_lengths) {
    recurrent_layout l = {};
    const int64_t many = p->layers * p->directions, size = p->size;
    l.kind = p->cell == CELL_RNN ? KIND_RNN : p->cell == CELL_GRU ? KIND_GRU : p->gates == 3 ? KIND_COUPLED : KIND_LSTM;
    l.gates = p->gates * p->units, l.kept = p->cell == CELL_GRU ? 4 : p->gates, l.wide = p->units * p->directions;
    l.rows = p->batch * p->steps;
    l.diagonal = a->heads == p->units;
    l.shape = cuda_recurrent_shape_of(p, a);
    const bool scans = l.shape.fits && !l.diagonal, steps = !l.shape.fits && !l.diagonal, lstm = p->cell == CELL_LSTM;
    const int64_t positions = l.rows, state = p->batch * p->units;
    const int64_t weights = scans ? cuda_recurrent_turned(p, l.shape) : 0;

    int64_t *work = &l.workspace;
    l.at_u = take(work, a->projection || p->layers > 1 ? positions * l.gates : 0, size);
    l.at_weights = take(work, weights, size);
    for (int i = 0; i < 2; i++) l.at_y[i] = take(work, p->layers > 1 ? positions * l.wide : 0, size);
    l.at_h = take(work, steps ? state : 0, size), l.at_c = take(work, steps && lstm ? state : 0, size);
    l.at_v = take(work, steps ? p->batch * l.gates : 0, size);

    l.keep_each = positions * l.kept * p->units * size, l.keep_h_each = positions * p->units * size;
    l.keep_y_each = positions * l.wide * size;
    l.keep = take(&l.saved, many, l.keep_each), l.keep_h = take(&l.saved, many, l.keep_h_each);
    l.keep_c = take(&l.saved, lstm ? many : 0, l.keep_h_each), l.keep_y = take(&l.saved, p->layers - 1, l.keep_y_each);

    int64_t *back = &l.back;
    l.at_d_u = take(back, positions * l.gates, size), l.at_d_v = take(back, p->cell == CELL_GRU ? positions * l.gates : 0, size);
    l.at_back_weights = take(back, weights, size);
    l.at_sums = take(back, cuda_recurrent_sums_room(l.gates), size);
    l.at_x = take(back, has_lengths ? positions * p->input : 0, size);
    l.at_next_c = take(back, a->peephole ? positions * p->units : 0, size);
    for (int i = 0; i < 2; i++) l.at_d_y[i] = take(back, p->layers > 1 ? positions * l.wide : 0, size);
    l.at_d_h = take(back, steps ? state : 0, size), l.at_d_c = take(back, steps && lstm ? state : 0, size);
    l.at_step_d_v = take(back, steps ? p->batch * l.gates : 0, size);
    return l;
}

int cuda_recurrent_plan(struct flow_infer *infer) {
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(infer->attrs);
    const recurrent_priv *p = static_cast<const recurrent_priv *>(infer->priv);
    if (infer->workspace < 0 || infer->saved < 0 || infer->workspace_backward < 0) return FLOW_OK; /* refused by the host as it is */
    const recurrent_layout l = cuda_recurrent_layout_of(a, p, infer->in[p->port_lengths].rank >= 0);
    infer->workspace = l.workspace, infer->packed = 0;
    if (infer->differentiated) infer->saved = l.saved, infer->workspace_backward = l.back;
    return FLOW_OK;
}

/* ---- Forward -------------------------------------------------------------------------------------------------------- */

recurrent_order_of_steps cuda_recurrent_steps_of(const struct flow_call *call, bool reversed) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const struct flow_tensor *lengths = &call->in[p->port_lengths], *reset = &call->in[p->port_reset];
    return {lengths->rank >= 0 ? static_cast<const int64_t *>(lengths->data) : nullptr,
            reset->rank >= 0 ? static_cast<const uint8_t *>(reset->data) : nullptr, p->batch, p->steps, reversed};
}

template <typename T> static const T *param_at(const struct flow_call *call, int32_t place) {
    return place < 0 ? nullptr : static_cast<const T *>(call->param[place].data);
}
template <typename T> static T *at(void *block, int64_t offset) { return reinterpret_cast<T *>(static_cast<char *>(block) + offset); }

/* u[rows, gates*units] = x blockdiag(W_ih)^T + bias. */
template <typename T>
static int input_products(const struct flow_call *call, const struct direction *d, const T *x, int64_t input, int64_t rows, T *u) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const struct flow_tensor *w = &call->param[d->weight_ih];
    const int64_t heads = a->input_heads, width = input / heads, units = heads == 1 ? p->gates * p->units : p->units / heads;
    const T *bias = param_at<T>(call, d->bias_u);
    for (int64_t i = 0; rows > 0 && i < (heads == 1 ? 1 : p->gates * heads); i++) {
        const int64_t row = i * units; /* gate by gate, in each head by head */
        struct flow_gemm product = {};
        product.size = sizeof product;
        product.m = rows, product.n = units, product.k = width;
        product.a = x + i % heads * width, product.a_row = input, product.a_col = 1;
        product.b = static_cast<const T *>(w->data) + row * w->strides[0], product.b_row = w->strides[1], product.b_col = w->strides[0];
        product.c = u + row, product.c_row = p->gates * p->units;
        product.bias = bias ? bias + row : nullptr;
        product.dtype = sizeof(T) == 8 ? FLOW_F64 : FLOW_F32;
        int rc = call->host->gemm(call, &product);
        if (rc < 0) return rc;
    }
    return 0;
}

/* v[B, gates*units] = h blockdiag(W_hh)^T, biases apart. */
template <typename T> static int step_product(const struct flow_call *call, const struct direction *d, const T *h, T *v) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const struct flow_tensor *w = &call->param[d->weight_hh];
    const int64_t heads = a->heads, width = p->units / heads, units = heads == 1 ? p->gates * p->units : width;
    for (int64_t g = 0; g < (heads == 1 ? 1 : p->gates); g++) {
        struct flow_gemm product = {};
        product.size = sizeof product;
        product.m = p->batch, product.n = units, product.k = width, product.batch = heads;
        product.a = h, product.a_row = p->units, product.a_col = 1, product.a_batch = width;
        product.b = static_cast<const T *>(w->data) + g * p->units * w->strides[0], product.b_row = w->strides[1],
        product.b_col = w->strides[0];
        product.b_batch = width * w->strides[0];
        product.c = v + g * p->units, product.c_row = p->gates * p->units, product.c_batch = width;
        product.dtype = sizeof(T) == 8 ? FLOW_F64 : FLOW_F32;
        int rc = call->host->gemm(call, &product);
        if (rc < 0) return rc;
    }
    return 0;
}

template <typename T>
static int run_steps(const struct flow_call *call, const recurrent_layout &l, const struct direction *d, const recurrent_scan<T> &scan) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    cudaStream_t stream = cuda_stream(call);
    T *h = at<T>(call->workspace, l.at_h), *c = p->cell == CELL_LSTM ? at<T>(call->workspace, l.at_c) : nullptr;
    T *v = at<T>(call->workspace, l.at_v);
    int rc = cuda_status(call, cuda_recurrent_step_begin<T>(scan, h, c, stream));
    for (int64_t s = 0; rc == 0 && s < p->steps; s++) {
        rc = step_product<T>(call, d, h, v);
        if (rc == 0) rc = cuda_status(call, cuda_recurrent_step_one<T>(scan, l.kind, s, v, h, c, stream));
    }
    return rc < 0 ? rc : cuda_status(call, cuda_recurrent_step_end<T>(scan, l.kind, h, c, stream));
}

/* State `state`, port `port`, of a direction before its first step; NULL: 0. */
template <typename T> static const T *first_state(const struct flow_call *call, int64_t index, int32_t port, int32_t state) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const int64_t offset = index * p->batch * p->units;
    if (port < 0) return nullptr;
    if (p->keeps && !call->first) return static_cast<const T *>(call->state_in[state].data) + offset;
    return call->in[port].rank >= 0 ? static_cast<const T *>(call->in[port].data) + offset : nullptr;
}
template <typename T> static T *last_state(const struct flow_call *call, int64_t index, int32_t out) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    if (out < 0 || call->out[out].rank < 0 || !call->out[out].data) return nullptr;
    return static_cast<T *>(call->out[out].data) + index * p->batch * p->units;
}

template <typename T>
static int run_direction(const struct flow_call *call, const recurrent_layout &l, int64_t layer, int64_t direction, const T *x, T *y) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const int64_t index = layer * p->directions + direction, offset = index * p->batch * p->units;
    const struct direction *d = &p->at[index];
    const bool lstm = p->cell == CELL_LSTM, scans = l.shape.fits && !l.diagonal;
    cudaStream_t stream = cuda_stream(call);
    recurrent_scan<T> scan = {};
    scan.order = cuda_recurrent_steps_of(call, a->reverse || direction == 1);
    scan.u = x;
    if (d->weight_ih >= 0) {
        T *u = at<T>(call->workspace, l.at_u);
        int rc = input_products<T>(call, d, x, layer ? l.wide : p->input, l.rows, u);
        if (rc < 0) return rc;
        scan.u = u;
    }
    const struct flow_tensor *w = &call->param[d->weight_hh];
    scan.weights = static_cast<const T *>(w->data);
    if (scans) {
        T *turned = at<T>(call->workspace, l.at_weights);
        int rc = cuda_status(
            call, cuda_recurrent_turn<T>(scan.weights, w->strides[0], w->strides[1], p, l.shape, a->heads, false, turned, stream));
        if (rc < 0) return rc;
        scan.weights = turned;
    }
    scan.bias = param_at<T>(call, d->bias_v), scan.peephole = param_at<T>(call, d->peephole);
    scan.h_first = first_state<T>(call, index, p->port_h, 0), scan.c_first = first_state<T>(call, index, p->port_c, 1);
    scan.y = y + direction * p->units, scan.y_row = l.wide;
    if (call->saved) {
        scan.keep = at<T>(call->saved, l.keep + index * l.keep_each), scan.keep_h = at<T>(call->saved, l.keep_h + index * l.keep_h_each);
        scan.keep_c = lstm ? at<T>(call->saved, l.keep_c + index * l.keep_h_each) : nullptr;
    }
    scan.h_last = last_state<T>(call, index, p->out_h), scan.c_last = last_state<T>(call, index, p->out_c);
    if (p->keeps) {
        scan.h_state = static_cast<T *>(call->state_out[0].data) + offset;
        scan.c_state = lstm ? static_cast<T *>(call->state_out[1].data) + offset : nullptr;
    }
    scan.units = static_cast<int32_t>(p->units), scan.heads = static_cast<int32_t>(a->heads),
    scan.width = static_cast<int32_t>(p->units / a->heads);
    scan.relu = p->cell == CELL_RNN && a->activation == 1;
    if (l.diagonal) return cuda_status(call, cuda_recurrent_diagonal<T>(scan, l.kind, stream));
    return scans ? cuda_status(call, cuda_recurrent_scan_forward(scan, l.kind, l.shape, stream)) : run_steps<T>(call, l, d, scan);
}

template <typename T> static int forward(const struct flow_call *call) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    const recurrent_attrs *a = static_cast<const recurrent_attrs *>(call->attrs);
    const struct flow_tensor *lengths = &call->in[p->port_lengths], *iterations = &call->out[p->out_iterations];
    const recurrent_layout l = cuda_recurrent_layout_of(a, p, lengths->rank >= 0);
    int rc = 0;
    if (iterations->rank >= 0 && iterations->data)
        rc = cuda_status(call, cudaMemsetAsync(iterations->data, 0, sizeof(int64_t), cuda_stream(call)));
    if (rc < 0 || p->batch == 0) return rc;
    if (lengths->rank >= 0)
        rc = cuda_status(call, cuda_recurrent_check_lengths(call, static_cast<const int64_t *>(lengths->data), p->batch, p->steps));
    const T *x = static_cast<const T *>(call->in[0].data);
    for (int64_t layer = 0; rc == 0 && layer < p->layers; layer++) {
        const bool last = layer + 1 == p->layers;
        T *y = last          ? static_cast<T *>(call->out[0].data)
               : call->saved ? at<T>(call->saved, l.keep_y + layer * l.keep_y_each)
                             : at<T>(call->workspace, l.at_y[layer % 2]);
        for (int64_t direction = 0; rc == 0 && direction < p->directions; direction++)
            rc = run_direction<T>(call, l, layer, direction, x, y);
        if (rc == 0 && !last && p->drops) rc = cuda_status(call, cuda_recurrent_mask<T>(call, layer, y, cuda_stream(call)));
        x = y;
    }
    return rc;
}

int cuda_recurrent_forward(const struct flow_call *call) {
    const recurrent_priv *p = static_cast<const recurrent_priv *>(call->priv);
    return p->size == 8 ? forward<double>(call) : forward<float>(call);
}
