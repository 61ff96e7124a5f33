/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move elements along one axis: pad, repeat_interleave, roll, shift. x is seen as [outer, n, inner]. */
#include "common/adjoint.h"
#include "common/fold.h"
#include "common/half.h"
#include "shape/shape.h"

#include <math.h>
#include <string.h>

static const struct flow_port move_x[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, FLOW_STRIDED}};
static const struct flow_port move_y[] = {{"y", "x's type", NULL, FLOW_TYPES_ANY, 0}};

/* `count` places of y along the axis from `to` on, from those of x from `from` on with the given step. */
static void copy_places(const struct flow_call *call, const struct flow_tensor *x, const struct flow_tensor *y, int32_t axis, int64_t from,
                        int64_t step, int64_t to, int64_t count) {
    int64_t shape[FLOW_RANK_MAX], strides[FLOW_RANK_MAX], bytes = shape_type_bytes(y->dtype);
    if (count <= 0 || shape_count(x) == 0) return;
    memcpy(shape, x->shape, sizeof shape);
    memcpy(strides, x->strides, sizeof strides);
    shape[axis] = count, strides[axis] *= step;
    shape_copy(call, x->rank, shape, bytes, (const char *)x->data + from * x->strides[axis] * bytes, strides,
               (char *)y->data + to * y->strides[axis] * bytes, y->strides);
}

/* The same with one element everywhere. */
static void fill_places(const struct flow_call *call, const struct flow_tensor *y, int32_t axis, const void *value, int64_t to,
                        int64_t count) {
    static const int64_t still[FLOW_RANK_MAX] = {0};
    int64_t shape[FLOW_RANK_MAX], bytes = shape_type_bytes(y->dtype);
    if (count <= 0) return;
    memcpy(shape, y->shape, sizeof shape);
    shape[axis] = count;
    shape_copy(call, y->rank, shape, bytes, value, still, (char *)y->data + to * y->strides[axis] * bytes, y->strides);
}

/* copy_places backwards: places of x from `from` on, with the given step, get those of y from `to` on. A step of 0: one place gets all. */
static void give_back(const struct flow_call *call, const struct flow_tensor *x, const struct flow_tensor *y, int32_t axis, int64_t from,
                      int64_t step, int64_t to, int64_t count, bool add) {
    int64_t shape[FLOW_RANK_MAX], strides[FLOW_RANK_MAX], bytes = shape_type_bytes(y->dtype), many = step == 0 ? count : 1;
    if (count <= 0 || shape_count(x) == 0) return;
    memcpy(shape, x->shape, sizeof shape);
    memcpy(strides, x->strides, sizeof strides);
    shape[axis] = step == 0 ? 1 : count, strides[axis] *= step;
    for (int64_t k = 0; k < many; k++)
        adjoint_move(call, x->rank, shape, x->dtype, (const char *)y->data + (to + k) * y->strides[axis] * bytes, y->strides,
                     (char *)x->data + from * x->strides[axis] * bytes, strides, add || k > 0);
}

/* No gradient arrives, or none is wanted: then there is nothing more to do. */
static bool no_gradient(const struct flow_call *call) {
    if (call->grad_out[0].rank < 0) adjoint_zero(call, &call->grad_in[0], FLOW_ACCUMULATES(call->accumulate_in, 0));
    return call->grad_out[0].rank < 0 || call->grad_in[0].rank < 0;
}

static int move_infer(struct flow_infer *infer, int64_t axis, const char *why) {
    struct move *m = infer->priv;
    struct flow_tensor *y = &infer->out[0];
    int status = shape_axis(infer, "axis", axis, infer->in[0].rank, &m->axis);
    if (status == FLOW_OK) status = shape_stream_past(infer, why ? m->axis : -1, why);
    if (status < 0) return status;
    shape_like(y, &infer->in[0]);
    y->dtype = infer->in[0].dtype;
    infer->backward_reads_in = infer->backward_reads_out = 0;
    return FLOW_OK;
}

/* ---- pad --------------------------------------------------------------------------------------------------------- */

static const struct flow_attr pad_attrs[] = {
    FLOW_ATTR(struct pad_attrs, axis, "the axis", FLOW_REQUIRED, -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR(struct pad_attrs, before, "new places in front", "0", 0, FLOW_NO_MAX),
    FLOW_ATTR(struct pad_attrs, after, "new places behind", "0", 0, FLOW_NO_MAX),
    FLOW_ATTR_CHOICES(struct pad_attrs, mode, "what they hold: value, a mirror without the edge itself, the edge, or the other end", "zero",
                      "zero|reflect|replicate|circular"),
    FLOW_ATTR(struct pad_attrs, value, "of mode zero", "0", FLOW_NO_MIN, FLOW_NO_MAX)};

static int pad_value(struct flow_infer *infer, double value, int32_t dtype, uint8_t to[8]) {
    bool whole = value == floor(value);
    float f = (float)value;
    uint16_t half;
    bool fits;
    switch (dtype) {
    case FLOW_F32: memcpy(to, &f, sizeof f); return FLOW_OK;
    case FLOW_F64: memcpy(to, &value, sizeof value); return FLOW_OK;
    case FLOW_F16:
        half = f16_from_f32(f);
        memcpy(to, &half, sizeof half);
        return FLOW_OK;
    case FLOW_BF16:
        half = bf16_from_f32(f);
        memcpy(to, &half, sizeof half);
        return FLOW_OK;
    case FLOW_I32: fits = whole && value >= -0x1p31 && value < 0x1p31; break;
    case FLOW_I64: fits = whole && value >= -0x1p63 && value < 0x1p63; break;
    case FLOW_U8: fits = whole && value >= 0 && value < 256; break;
    default: fits = value == 0 || value == 1; break;
    }
    if (!fits)
        return infer->host->fail_at(infer->owner, "value", FLOW_ERROR_RANGE, "%g: x is %s, which has no such value", value,
                                    shape_type_name(dtype));
    int64_t i = (int64_t)value;
    int32_t narrow = (int32_t)i;
    uint8_t byte = (uint8_t)i;
    if (dtype == FLOW_I64) memcpy(to, &i, sizeof i);
    else if (dtype == FLOW_I32) memcpy(to, &narrow, sizeof narrow);
    else if (dtype == FLOW_U8 || dtype == FLOW_BOOL) to[0] = byte;
    return FLOW_OK;
}

static int pad_infer(struct flow_infer *infer) {
    const struct pad_attrs *a = infer->attrs;
    struct move *m = infer->priv;
    struct flow_tensor *y = &infer->out[0];
    int status = move_infer(infer, a->axis, "padding the streaming axis needs the whole sequence");
    if (status < 0) return status;
    int64_t n = y->shape[m->axis], most = a->before > a->after ? a->before : a->after;
    /* Places that the modes read from: none may lie outside x. */
    int64_t least = a->mode == PAD_REFLECT ? most + (most > 0) : a->mode == PAD_REPLICATE ? most > 0 : a->mode == PAD_CIRCULAR ? most : 0;
    if (n < least)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "axis %d has %lld elements: this padding needs %lld", m->axis,
                                 (long long)n, (long long)least);
    if (__builtin_add_overflow(a->before, a->after, &most) || __builtin_add_overflow(n, most, &y->shape[m->axis]))
        y->shape[m->axis] = INT64_MAX;
    status = shape_sound(infer, y);
    if (status < 0) return status;
    shape_dense(y);
    infer->bytes = 2.0 * (double)(shape_count(y) * shape_type_bytes(y->dtype));
    return a->mode == PAD_ZERO ? pad_value(infer, a->value, y->dtype, (uint8_t *)&m->value) : FLOW_OK;
}

static int pad_forward(const struct flow_call *call) {
    const struct pad_attrs *a = call->attrs;
    const struct move *m = call->priv;
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    int64_t n = x->shape[m->axis], behind = a->before + n;
    copy_places(call, x, y, m->axis, 0, 1, a->before, n);
    switch (a->mode) {
    case PAD_REFLECT:
        copy_places(call, x, y, m->axis, a->before, -1, 0, a->before);
        copy_places(call, x, y, m->axis, n - 2, -1, behind, a->after);
        break;
    case PAD_REPLICATE:
        copy_places(call, x, y, m->axis, 0, 0, 0, a->before);
        copy_places(call, x, y, m->axis, n - 1, 0, behind, a->after);
        break;
    case PAD_CIRCULAR:
        copy_places(call, x, y, m->axis, n - a->before, 1, 0, a->before);
        copy_places(call, x, y, m->axis, 0, 1, behind, a->after);
        break;
    default:
        fill_places(call, y, m->axis, &m->value, 0, a->before);
        fill_places(call, y, m->axis, &m->value, behind, a->after);
        break;
    }
    return FLOW_OK;
}

static int pad_backward(const struct flow_call *call) {
    const struct pad_attrs *a = call->attrs;
    const struct move *m = call->priv;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    if (no_gradient(call)) return FLOW_OK;
    int64_t n = to->shape[m->axis], behind = a->before + n;
    give_back(call, to, g, m->axis, 0, 1, a->before, n, FLOW_ACCUMULATES(call->accumulate_in, 0));
    switch (a->mode) {
    case PAD_REFLECT:
        give_back(call, to, g, m->axis, a->before, -1, 0, a->before, true);
        give_back(call, to, g, m->axis, n - 2, -1, behind, a->after, true);
        break;
    case PAD_REPLICATE:
        give_back(call, to, g, m->axis, 0, 0, 0, a->before, true);
        give_back(call, to, g, m->axis, n - 1, 0, behind, a->after, true);
        break;
    case PAD_CIRCULAR:
        give_back(call, to, g, m->axis, n - a->before, 1, 0, a->before, true);
        give_back(call, to, g, m->axis, 0, 1, behind, a->after, true);
        break;
    default: break;
    }
    return FLOW_OK;
}

static const struct flow_kernel pad_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = pad_forward, .backward = pad_backward}};

const struct flow_operator pad_operator = {
    .size = sizeof(struct flow_operator),
    .name = "pad",
    .summary = "new places at both ends of an axis",
    .equation =
        "y[i] = x[i - before] inside; outside: value (zero), x mirrored at the edge element (reflect), the edge element (replicate), "
        "x from the other end (circular)",
    .reference = "NumPy's pad: constant, reflect, edge, wrap",
    .example = "y: {op: pad, in: x, with: {axis: 1, before: 2, mode: reflect}}",
    .inputs = FLOW_TABLE(move_x),
    .outputs = FLOW_TABLE(move_y),
    .attrs = FLOW_TABLE(pad_attrs),
    .attrs_size = sizeof(struct pad_attrs),
    .kernels = FLOW_TABLE(pad_kernels),
    .priv_size = sizeof(struct move),
    .infer = pad_infer,
};

/* ---- repeat_interleave ------------------------------------------------------------------------------------------- */

static const struct flow_attr repeat_attrs[] = {
    FLOW_ATTR(struct repeat_attrs, axis, "the axis", FLOW_REQUIRED, -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR(struct repeat_attrs, count, "times that each element comes, side by side", FLOW_REQUIRED, 0, FLOW_NO_MAX)};

/* y as [outer * n, count, inner], and x as [outer * n, 1, inner]. */
static void repeat_seen(const struct flow_tensor *x, int32_t axis, int64_t count, struct flow_tensor *y_seen, struct flow_tensor *x_seen) {
    *x_seen =
        (struct flow_tensor){.dtype = x->dtype, .rank = 3, .shape = {shape_span(x, 0, axis + 1), 1, shape_span(x, axis + 1, x->rank)}};
    *y_seen = *x_seen;
    y_seen->shape[1] = count;
    shape_dense(x_seen);
    shape_dense(y_seen);
}

static int repeat_infer(struct flow_infer *infer) {
    const struct repeat_attrs *a = infer->attrs;
    struct move *m = infer->priv;
    struct flow_tensor *y = &infer->out[0];
    int status = move_infer(infer, a->axis, NULL); /* along the streaming axis, too: each step by itself */
    if (status < 0) return status;
    if (__builtin_mul_overflow(y->shape[m->axis], a->count, &y->shape[m->axis])) y->shape[m->axis] = INT64_MAX;
    status = shape_sound(infer, y);
    shape_dense(y);
    infer->bytes = status < 0 ? 0 : 2.0 * (double)(shape_count(y) * shape_type_bytes(y->dtype));
    if (status == FLOW_OK && infer->differentiated) {
        struct flow_tensor y_seen, x_seen;
        repeat_seen(&infer->in[0], m->axis, a->count, &y_seen, &x_seen);
        infer->workspace_backward = fold_workspace(&y_seen, &x_seen);
    }
    return status;
}

static int repeat_forward(const struct flow_call *call) {
    const struct repeat_attrs *a = call->attrs;
    const struct move *m = call->priv;
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    int64_t bytes = shape_type_bytes(y->dtype);
    struct flow_tensor every = *y; /* the k-th copies of all elements */
    memcpy(every.shape, x->shape, sizeof every.shape);
    every.strides[m->axis] *= a->count;
    if (shape_count(y) == 0) return FLOW_OK;
    for (int64_t k = 0; k < a->count; k++)
        shape_copy(call, x->rank, x->shape, bytes, x->data, x->strides, (char *)y->data + k * y->strides[m->axis] * bytes, every.strides);
    return FLOW_OK;
}

static int repeat_backward(const struct flow_call *call) {
    const struct repeat_attrs *a = call->attrs;
    const struct move *m = call->priv;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    if (no_gradient(call)) return FLOW_OK;
    struct flow_tensor from, x;
    repeat_seen(to, m->axis, a->count, &from, &x);
    from.data = g->data, x.data = to->data, from.dtype = g->dtype, x.dtype = to->dtype;
    const struct flow_tensor *in[1] = {&from};
    fold_run(call, &from, &x, in, 1, NULL, NULL, FLOW_ACCUMULATES(call->accumulate_in, 0), call->workspace);
    return FLOW_OK;
}

static const struct flow_kernel repeat_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = repeat_forward, .backward = repeat_backward}};

const struct flow_operator repeat_interleave_operator = {
    .size = sizeof(struct flow_operator),
    .name = "repeat_interleave",
    .summary = "each element of an axis several times in a row",
    .equation = "y[..., i, ...] = x[..., floor(i / count), ...]",
    .reference = "NumPy's repeat",
    .example = "y: {op: repeat_interleave, in: x, with: {axis: 1, count: 2}}",
    .inputs = FLOW_TABLE(move_x),
    .outputs = FLOW_TABLE(move_y),
    .attrs = FLOW_TABLE(repeat_attrs),
    .attrs_size = sizeof(struct repeat_attrs),
    .kernels = FLOW_TABLE(repeat_kernels),
    .priv_size = sizeof(struct move),
    .infer = repeat_infer,
};

/* ---- roll -------------------------------------------------------------------------------------------------------- */

static const struct flow_attr roll_attrs[] = {
    FLOW_ATTR(struct roll_attrs, axis, "the axis", FLOW_REQUIRED, -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR(struct roll_attrs, shift, "places towards higher indices; what leaves at one end enters at the other", "1", FLOW_NO_MIN,
              FLOW_NO_MAX)};

static int roll_infer(struct flow_infer *infer) {
    const struct roll_attrs *a = infer->attrs;
    infer->bytes = 2.0 * (double)(shape_count(&infer->in[0]) * shape_type_bytes(infer->in[0].dtype));
    return move_infer(infer, a->axis, "rolling the streaming axis needs the whole sequence");
}

static int roll_forward(const struct flow_call *call) {
    const struct roll_attrs *a = call->attrs;
    const struct move *m = call->priv;
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    int64_t n = x->shape[m->axis], by = n > 0 ? a->shift % n : 0;
    if (by < 0) by += n;
    copy_places(call, x, y, m->axis, 0, 1, by, n - by);
    copy_places(call, x, y, m->axis, n - by, 1, 0, by);
    return FLOW_OK;
}

static int roll_backward(const struct flow_call *call) {
    const struct roll_attrs *a = call->attrs;
    const struct move *m = call->priv;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (no_gradient(call)) return FLOW_OK;
    int64_t n = to->shape[m->axis], by = n > 0 ? a->shift % n : 0;
    if (by < 0) by += n;
    give_back(call, to, g, m->axis, 0, 1, by, n - by, add);
    give_back(call, to, g, m->axis, n - by, 1, 0, by, add);
    return FLOW_OK;
}

static const struct flow_kernel roll_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = roll_forward, .backward = roll_backward}};

const struct flow_operator roll_operator = {
    .size = sizeof(struct flow_operator),
    .name = "roll",
    .summary = "an axis turned in a circle",
    .equation = "y[..., i, ...] = x[..., (i - shift) mod n, ...]",
    .reference = "NumPy's roll",
    .example = "y: {op: roll, in: x, with: {axis: 1, shift: 1}}",
    .inputs = FLOW_TABLE(move_x),
    .outputs = FLOW_TABLE(move_y),
    .attrs = FLOW_TABLE(roll_attrs),
    .attrs_size = sizeof(struct roll_attrs),
    .kernels = FLOW_TABLE(roll_kernels),
    .priv_size = sizeof(struct move),
    .infer = roll_infer,
};

/* ---- shift ------------------------------------------------------------------------------------------------------- */

static const struct flow_attr shift_attrs[] = {
    FLOW_ATTR(struct shift_attrs, axis, "the axis (time)", "1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR(struct shift_attrs, by, "places later", "1", 0, FLOW_NO_MAX)};
static const struct flow_state shift_states[] = {{"held", "the last `by` steps", NULL, "zeros", FLOW_TYPES_ANY, 0, 0, 0}};

static int shift_infer(struct flow_infer *infer) {
    const struct shift_attrs *a = infer->attrs;
    struct move *m = infer->priv;
    int status = move_infer(infer, a->axis, NULL);
    if (status < 0 || !infer->streaming) return status;
    struct flow_tensor *held = &infer->state[0];
    if (infer->in_axis[0] != m->axis) {
        held->rank = infer->state_out[0].rank = -1;
        return FLOW_OK;
    }
    if (infer->first) {
        *held = infer->out[0];
        held->shape[m->axis] = a->by;
        status = shape_sound(infer, held);
        shape_dense(held);
    }
    infer->state_out[0] = *held;
    return status;
}

static int shift_forward(const struct flow_call *call) {
    static const _Alignas(8) uint8_t zero[8] = {0};
    const struct shift_attrs *a = call->attrs;
    const struct move *m = call->priv;
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    int64_t n = x->shape[m->axis], enters = a->by < n ? a->by : n;
    copy_places(call, x, y, m->axis, 0, 1, enters, n - enters);
    if (call->state_count == 0 || call->state_in[0].rank < 0) {
        fill_places(call, y, m->axis, zero, 0, enters);
        return FLOW_OK;
    }
    /* held, x: the first n steps of both together leave, the last `by` stay. */
    copy_places(call, &call->state_in[0], y, m->axis, 0, 1, 0, enters);
    copy_places(call, &call->state_in[0], &call->state_out[0], m->axis, enters, 1, 0, a->by - enters);
    copy_places(call, x, &call->state_out[0], m->axis, n - enters, 1, a->by - enters, enters);
    return FLOW_OK;
}

/* The last `by` places went nowhere. */
static int shift_backward(const struct flow_call *call) {
    static const _Alignas(8) uint8_t zero[8] = {0};
    const struct shift_attrs *a = call->attrs;
    const struct move *m = call->priv;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (no_gradient(call)) return FLOW_OK;
    int64_t n = to->shape[m->axis], left = a->by < n ? a->by : n;
    give_back(call, to, g, m->axis, 0, 1, left, n - left, add);
    if (!add) fill_places(call, to, m->axis, zero, n - left, left);
    return FLOW_OK;
}

static const struct flow_kernel shift_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = shift_forward, .backward = shift_backward}};

const struct flow_operator shift_operator = {
    .size = sizeof(struct flow_operator),
    .name = "shift",
    .summary = "an axis moved to later places; zeros enter",
    .equation = "y[..., t, ...] = x[..., t - by, ...], 0 for t < by",
    .reference = "Peng et al., \"RWKV\", arXiv:2305.13048, section 3 (token shift)",
    .example = "y: {op: shift, in: x, with: {axis: 1, by: 1}}",
    .inputs = FLOW_TABLE(move_x),
    .outputs = FLOW_TABLE(move_y),
    .states = FLOW_TABLE(shift_states),
    .attrs = FLOW_TABLE(shift_attrs),
    .attrs_size = sizeof(struct shift_attrs),
    .kernels = FLOW_TABLE(shift_kernels),
    .priv_size = sizeof(struct move),
    .infer = shift_infer,
};
