/* SPDX-License-Identifier: Apache-2.0 */
/* concat, and what moves elements along one axis: pad, roll, shift, repeat_interleave. Bound by memory: every element is written once. */
#include "common/cuda.h"

#include "common/cuda_adjoint.h"
#include "common/cuda_map.h"

#include "shape/kernels_cuda.h"
#include "shape/shape.h"

#include <string.h>

/* ---- concat -------------------------------------------------------------------------------------------------------- */

static char *place_of(const struct flow_tensor *t, int32_t axis, int64_t place) {
    return static_cast<char *>(t->data) + place * t->strides[axis] * cuda_type_bytes(t->dtype);
}

int cuda_concat_forward(const struct flow_call *call) {
    const struct concat *c = static_cast<const struct concat *>(call->priv);
    const struct flow_tensor *y = &call->out[0];
    int64_t place = 0;
    int error = 0;
    if (cuda_count(y) == 0) return FLOW_OK;
    for (uint32_t i = 0; i < call->in_count && error == 0; i++) {
        const struct flow_tensor *x = &call->in[i];
        if (cuda_count(x) > 0)
            error = cuda_copy(cuda_stream(call), x->rank, x->shape, cuda_type_bytes(y->dtype), x->data, x->strides,
                              place_of(y, c->axis, place), y->strides);
        place += x->shape[c->axis];
    }
    return cuda_status(call, error);
}

/* Each input's gradient is a stretch of y's. */
int cuda_concat_backward(const struct flow_call *call) {
    const struct concat *c = static_cast<const struct concat *>(call->priv);
    const struct flow_tensor *g = &call->grad_out[0];
    int64_t place = 0;
    int error = 0;
    for (uint32_t i = 0; i < call->in_count && error == 0; i++) {
        const struct flow_tensor *to = &call->grad_in[i];
        const bool add = FLOW_ACCUMULATES(call->accumulate_in, i) != 0;
        if (g->rank < 0) error = cuda_zero(cuda_stream(call), to, add);
        else if (cuda_count(to) > 0)
            error = cuda_move(cuda_stream(call), to->rank, to->shape, to->dtype, place_of(g, c->axis, place), g->strides, to->data,
                              to->strides, add);
        place += call->in[i].shape[c->axis];
    }
    return cuda_status(call, error);
}

/* ---- From which place of x a place of y is taken ------------------------------------------------------------------- */

enum { TAKE_VALUE, TAKE_REFLECT, TAKE_REPLICATE, TAKE_CIRCULAR, TAKE_REPEAT };
struct taking {
    int32_t mode;
    int64_t before, n; /* places in front of x's, and x's; REPEAT: before times each */

    /* -1: none, the value stands there. */
    __device__ int64_t from(int64_t place) const {
        if (mode == TAKE_REPEAT) return place / before;
        const int64_t s = place - before;
        if (s >= 0 && s < n) return s;
        switch (mode) {
        case TAKE_REFLECT: return s < 0 ? -s : 2 * (n - 1) - s;
        case TAKE_REPLICATE: return s < 0 ? 0 : n - 1;
        case TAKE_CIRCULAR: return s < 0 ? s + n : s - n;
        default: return -1;
        }
    }
};

struct alignas(16) sixteen {
    uint64_t at[2];
};

/* What runs along the axis is left out of x's nest. 2 * sizeof(U) bytes an element; U is as wide as a row behind the axis allows. */
template <typename U>
static __global__ void __launch_bounds__(256, 2)
    take_places_kernel(cuda_nest<1> nest, struct taking t, int64_t inner, int64_t extent, int64_t stride, U value, const U *x, U *y) {
    CUDA_EACH(i, nest.count) {
        int64_t at[1];
        const int64_t place = i / inner % extent, s = t.from(place);
        nest.at(i, at);
        y[i] = s < 0 ? value : x[at[0] + s * stride];
    }
}

template <typename U>
static int take_units(cudaStream_t stream, const struct flow_tensor *x, const struct flow_tensor *y, int32_t axis, const struct taking &t,
                      U value, int64_t width) {
    cuda_nest<1> nest = cuda_nest_begin<1>();
    int64_t inner = 1;
    for (int32_t a = 0; a < y->rank; a++) {
        /* In units: the last axis is shorter, the strides of the others are. */
        const int64_t extent = a == y->rank - 1 && a != axis ? y->shape[a] / width : y->shape[a];
        const int64_t stride[1] = {a == axis ? 0 : a == y->rank - 1 ? x->strides[a] : x->strides[a] / width};
        cuda_nest_axis(nest, extent, stride);
        if (a > axis) inner *= extent;
    }
    cuda_nest_end(nest);
    if (nest.count == 0) return 0;
    return CUDA_LAUNCH((take_places_kernel<U>), cuda_blocks(nest.count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, nest, t, inner, y->shape[axis],
                       x->strides[axis] / width, value, static_cast<const U *>(x->data), static_cast<U *>(y->data));
}

/* `value`: the bytes of one element. */
static int take_places(const struct flow_call *call, const struct flow_tensor *x, const struct flow_tensor *y, int32_t axis,
                       const struct taking &t, uint64_t value) {
    const int64_t bytes = cuda_type_bytes(y->dtype);
    const int32_t last = y->rank - 1;
    uint64_t spread = value;
    if (cuda_count(y) == 0) return FLOW_OK;
    for (int64_t k = bytes; k < 8; k *= 2) spread |= spread << (8 * k);
    int64_t unit = 16;
    while (unit > bytes) {
        const int64_t width = unit / bytes;
        bool fits = axis != last && x->strides[last] == 1 && y->shape[last] % width == 0 && cuda_aligned(x->data, unit) &&
                    cuda_aligned(y->data, unit);
        for (int32_t a = 0; a < last && fits; a++) fits = x->strides[a] % width == 0;
        if (fits) break;
        unit /= 2;
    }
    cudaStream_t stream = cuda_stream(call);
    int error;
    switch (unit) {
    case 16: error = take_units<sixteen>(stream, x, y, axis, t, sixteen{{spread, spread}}, 16 / bytes); break;
    case 8: error = take_units<uint64_t>(stream, x, y, axis, t, spread, 8 / bytes); break;
    case 4: error = take_units<uint32_t>(stream, x, y, axis, t, static_cast<uint32_t>(spread), 4 / bytes); break;
    case 2: error = take_units<uint16_t>(stream, x, y, axis, t, static_cast<uint16_t>(spread), 2 / bytes); break;
    default: error = take_units<uint8_t>(stream, x, y, axis, t, static_cast<uint8_t>(spread), 1); break;
    }
    return cuda_status(call, error);
}

/* ---- Back: a place of x gets all that were taken from it ----------------------------------------------------------- */

/* x, y as [outer, n or extent, inner]. In the CPU's order: the place itself, those in front, those behind. 2 * sizeof(T) bytes an element.
 */
template <typename T>
static __global__ void __launch_bounds__(256, 2)
    give_back_kernel(struct taking t, int64_t outer, int64_t extent, int64_t inner, bool add, const T *g, T *to) {
    const int64_t after = extent - t.before - t.n;
    CUDA_EACH(i, outer * t.n * inner) {
        const int64_t row = i / inner, column = i - row * inner, o = row / t.n, s = row - o * t.n;
        const T *from = g + o * extent * inner + column;
        T sum = add ? to[i] : T(0);
        if (t.before + s < extent) sum += from[(t.before + s) * inner];
        switch (t.mode) {
        case TAKE_REFLECT:
            if (s >= 1 && s <= t.before) sum += from[(t.before - s) * inner];
            if (s <= t.n - 2 && t.n - 2 - s < after) sum += from[(t.before + t.n + t.n - 2 - s) * inner];
            break;
        case TAKE_REPLICATE:
            if (s == 0)
                for (int64_t k = 0; k < t.before; k++) sum += from[k * inner];
            if (s == t.n - 1)
                for (int64_t k = 0; k < after; k++) sum += from[(t.before + t.n + k) * inner];
            break;
        case TAKE_CIRCULAR:
            if (s >= t.n - t.before) sum += from[(s - (t.n - t.before)) * inner];
            if (s < after) sum += from[(t.before + t.n + s) * inner];
            break;
        default: break;
        }
        to[i] = sum;
    }
}

static int give_back(const struct flow_call *call, int32_t axis, const struct taking &t) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    int64_t outer = 1, inner = 1;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    if (cuda_count(to) == 0) return FLOW_OK;
    for (int32_t a = 0; a < to->rank; a++) {
        if (a < axis) outer *= to->shape[a];
        if (a > axis) inner *= to->shape[a];
    }
    const unsigned grid = cuda_blocks(outer * t.n * inner, CUDA_BLOCK);
    if (to->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((give_back_kernel<double>), grid, CUDA_BLOCK, 0, cuda_stream(call), t, outer, g->shape[axis],
                                             inner, add, static_cast<const double *>(g->data), static_cast<double *>(to->data)));
    return cuda_status(call, CUDA_LAUNCH((give_back_kernel<float>), grid, CUDA_BLOCK, 0, cuda_stream(call), t, outer, g->shape[axis], inner,
                                         add, static_cast<const float *>(g->data), static_cast<float *>(to->data)));
}

/* ---- pad ----------------------------------------------------------------------------------------------------------- */

static struct taking pad_taking(const struct flow_call *call, const struct flow_tensor *x) {
    const struct pad_attrs *a = static_cast<const struct pad_attrs *>(call->attrs);
    const struct move *m = static_cast<const struct move *>(call->priv);
    static const int32_t modes[] = {TAKE_VALUE, TAKE_REFLECT, TAKE_REPLICATE, TAKE_CIRCULAR};
    return {modes[a->mode], a->before, x->shape[m->axis]};
}

int cuda_pad_forward(const struct flow_call *call) {
    const struct move *m = static_cast<const struct move *>(call->priv);
    return take_places(call, &call->in[0], &call->out[0], m->axis, pad_taking(call, &call->in[0]), m->value);
}

int cuda_pad_backward(const struct flow_call *call) {
    const struct move *m = static_cast<const struct move *>(call->priv);
    if (call->grad_in[0].rank < 0) return FLOW_OK;
    return give_back(call, m->axis, pad_taking(call, &call->grad_in[0]));
}

/* ---- roll ---------------------------------------------------------------------------------------------------------- */

static struct taking roll_taking(const struct flow_call *call, const struct flow_tensor *x) {
    const struct roll_attrs *a = static_cast<const struct roll_attrs *>(call->attrs);
    const struct move *m = static_cast<const struct move *>(call->priv);
    const int64_t n = x->shape[m->axis];
    int64_t by = n > 0 ? a->shift % n : 0;
    if (by < 0) by += n;
    return {TAKE_CIRCULAR, by, n};
}

int cuda_roll_forward(const struct flow_call *call) {
    const struct move *m = static_cast<const struct move *>(call->priv);
    return take_places(call, &call->in[0], &call->out[0], m->axis, roll_taking(call, &call->in[0]), 0);
}

int cuda_roll_backward(const struct flow_call *call) {
    const struct move *m = static_cast<const struct move *>(call->priv);
    if (call->grad_in[0].rank < 0) return FLOW_OK;
    return give_back(call, m->axis, roll_taking(call, &call->grad_in[0]));
}

/* ---- shift --------------------------------------------------------------------------------------------------------- */

/* `count` places of y along the axis from `to` on, from those of x from `from` on. */
static int copy_places(const struct flow_call *call, const struct flow_tensor *x, const struct flow_tensor *y, int32_t axis, int64_t from,
                       int64_t to, int64_t count) {
    int64_t shape[FLOW_RANK_MAX];
    if (count <= 0 || cuda_count(x) == 0) return 0;
    for (int32_t a = 0; a < x->rank; a++) shape[a] = a == axis ? count : x->shape[a];
    return cuda_copy(cuda_stream(call), x->rank, shape, cuda_type_bytes(y->dtype), place_of(x, axis, from), x->strides,
                     place_of(y, axis, to), y->strides);
}

int cuda_shift_forward(const struct flow_call *call) {
    const struct shift_attrs *a = static_cast<const struct shift_attrs *>(call->attrs);
    const struct move *m = static_cast<const struct move *>(call->priv);
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    const int64_t n = x->shape[m->axis], enters = a->by < n ? a->by : n;
    if (call->state_count == 0 || call->state_in[0].rank < 0) return take_places(call, x, y, m->axis, {TAKE_VALUE, a->by, n}, 0);
    /* held, x: the first n steps of both together leave, the last `by` stay. */
    const struct flow_tensor *held = &call->state_in[0], *next = &call->state_out[0];
    int error = copy_places(call, x, y, m->axis, 0, enters, n - enters);
    if (error == 0) error = copy_places(call, held, y, m->axis, 0, 0, enters);
    if (error == 0) error = copy_places(call, held, next, m->axis, enters, 0, a->by - enters);
    if (error == 0) error = copy_places(call, x, next, m->axis, n - enters, a->by - enters, enters);
    return cuda_status(call, error);
}

/* The last `by` places went nowhere. */
int cuda_shift_backward(const struct flow_call *call) {
    const struct shift_attrs *a = static_cast<const struct shift_attrs *>(call->attrs);
    const struct move *m = static_cast<const struct move *>(call->priv);
    if (call->grad_in[0].rank < 0) return FLOW_OK;
    const int64_t n = call->grad_in[0].shape[m->axis];
    return give_back(call, m->axis, {TAKE_VALUE, a->by < n ? a->by : n, n});
}

/* ---- repeat_interleave --------------------------------------------------------------------------------------------- */

/* y as [outer * n, count, inner], and x as [outer * n, 1, inner]. */
static void repeat_seen(const struct flow_tensor *x, int32_t axis, int64_t count, struct flow_tensor *y_seen, struct flow_tensor *x_seen) {
    *x_seen = *x;
    x_seen->rank = 3, x_seen->shape[0] = x_seen->shape[1] = x_seen->shape[2] = 1;
    for (int32_t a = 0; a < x->rank; a++) x_seen->shape[a <= axis ? 0 : 2] *= x->shape[a];
    *y_seen = *x_seen;
    y_seen->shape[1] = count;
    x_seen->strides[2] = y_seen->strides[2] = 1;
    x_seen->strides[1] = y_seen->strides[1] = x_seen->shape[2];
    x_seen->strides[0] = x_seen->shape[2], y_seen->strides[0] = count * x_seen->shape[2];
}

int cuda_repeat_forward(const struct flow_call *call) {
    const struct repeat_attrs *a = static_cast<const struct repeat_attrs *>(call->attrs);
    const struct move *m = static_cast<const struct move *>(call->priv);
    const struct flow_tensor *x = &call->in[0];
    return take_places(call, x, &call->out[0], m->axis, {TAKE_REPEAT, a->count, x->shape[m->axis]}, 0);
}

int cuda_repeat_backward(const struct flow_call *call) {
    const struct repeat_attrs *a = static_cast<const struct repeat_attrs *>(call->attrs);
    const struct move *m = static_cast<const struct move *>(call->priv);
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0) != 0;
    if (g->rank < 0) return cuda_status(call, cuda_zero(cuda_stream(call), to, add));
    if (to->rank < 0) return FLOW_OK;
    struct flow_tensor from, x;
    repeat_seen(to, m->axis, a->count, &from, &x);
    from.data = g->data;
    return cuda_status(call, cuda_fold_sum(cuda_stream(call), &from, &x, add, call->workspace));
}

int cuda_repeat_plan(struct flow_infer *infer) {
    const struct repeat_attrs *a = static_cast<const struct repeat_attrs *>(infer->attrs);
    const struct move *m = static_cast<const struct move *>(infer->priv);
    struct flow_tensor y_seen, x_seen;
    repeat_seen(&infer->in[0], m->axis, a->count, &y_seen, &x_seen);
    infer->workspace_backward = infer->differentiated ? cuda_fold_workspace(&y_seen, &x_seen) : 0;
    return FLOW_OK;
}
