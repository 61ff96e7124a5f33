/* SPDX-License-Identifier: Apache-2.0 */
/* concat: tensors one behind the other along an axis. */
#include "common/adjoint.h"
#include "shape/shape.h"

#include <string.h>

static const struct flow_attr concat_attrs[] = {FLOW_ATTR(struct concat_attrs, axis, "the axis", "-1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1)};
static const struct flow_port concat_in[] = {
    {"x", "any number, of equal extents but along the axis", NULL, FLOW_TYPES_ANY, FLOW_VARIADIC | FLOW_STRIDED}};
static const struct flow_port concat_out[] = {{"y", "all of them in order", NULL, FLOW_TYPES_ANY, 0}};

static int concat_stream(struct flow_infer *infer, int32_t axis) {
    for (uint32_t i = 0; i < infer->in_count; i++) {
        if (infer->in_axis[i] == axis)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "joining along the streaming axis needs the whole sequences");
        if (infer->in_axis[i] < 0)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "input %u comes whole, the others in pieces", i);
        if (infer->in_axis[i] != infer->in_axis[0])
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "its inputs are cut into pieces along different axes");
    }
    infer->out_axis[0] = infer->in_axis[0];
    return FLOW_OK;
}

static int concat_infer(struct flow_infer *infer) {
    const struct concat_attrs *a = infer->attrs;
    struct concat *c = infer->priv;
    const struct flow_tensor *x = infer->in;
    struct flow_tensor *y = &infer->out[0];
    if (infer->in_count == 0) return infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "there is nothing to join");
    int status = shape_axis(infer, "axis", a->axis, x->rank, &c->axis);
    if (status == FLOW_OK && infer->streaming) status = concat_stream(infer, c->axis);
    if (status < 0) return status;
    shape_like(y, x);
    y->dtype = x->dtype;
    c->rows = shape_is_dense(x);
    for (uint32_t i = 1; i < infer->in_count; i++) {
        const struct flow_tensor *t = &infer->in[i];
        char first[SHAPE_TEXT], other[SHAPE_TEXT];
        bool fits = t->rank == x->rank;
        if (t->dtype != x->dtype)
            return infer->host->fail(infer->owner, FLOW_ERROR_TYPE, "input 0 is %s, input %u is %s: they must be of one type",
                                     shape_type_name(x->dtype), i, shape_type_name(t->dtype));
        for (int32_t k = 0; fits && k < x->rank; k++) fits = k == c->axis || t->shape[k] == x->shape[k];
        if (!fits)
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "input 0 is %s, input %u is %s: they may differ along axis %d only",
                                     shape_text(x, first), i, shape_text(t, other), c->axis);
        if (__builtin_add_overflow(y->shape[c->axis], t->shape[c->axis], &y->shape[c->axis])) y->shape[c->axis] = INT64_MAX;
        c->rows = c->rows && shape_is_dense(t);
    }
    status = shape_sound(infer, y);
    if (status < 0) return status;
    if (infer->in_count == 1) {
        shape_view(infer, 0, 0);
        return FLOW_OK;
    }
    shape_dense(y);
    c->bytes = shape_type_bytes(y->dtype);
    c->outer = shape_span(y, 0, c->axis);
    c->stretch = shape_span(y, c->axis, y->rank) * c->bytes;
    infer->bytes = 2.0 * (double)(c->outer * c->stretch);
    infer->backward_reads_in = infer->backward_reads_out = 0;
    return FLOW_OK;
}

/* Rows of y one after the other: both sides run forward through memory. */
static void concat_rows(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct concat *c = call->priv;
    char *to = (char *)call->out[0].data + begin * c->stretch;
    for (int64_t row = begin; row < end; row++)
        for (uint32_t i = 0; i < call->in_count; i++) {
            const struct flow_tensor *x = &call->in[i];
            int64_t bytes = shape_span(x, c->axis, x->rank) * c->bytes;
            if (bytes > 0) memcpy(to, (const char *)x->data + row * bytes, (size_t)bytes);
            to += bytes;
        }
}

static int concat_forward(const struct flow_call *call) {
    const struct concat *c = call->priv;
    const struct flow_tensor *y = &call->out[0];
    enum { PIECE = 64 * 1024, LEAST = 512 * 1024 };
    if (c->outer * c->stretch == 0) return FLOW_OK;
    if (c->rows) {
        if (c->outer * c->stretch < LEAST || call->host->threads < 2 || c->outer < 2) concat_rows((void *)(uintptr_t)call, 0, c->outer);
        else call->host->parallel_for(call, c->outer, (PIECE + c->stretch - 1) / c->stretch, concat_rows, (void *)(uintptr_t)call);
        return FLOW_OK;
    }
    char *to = y->data;
    for (uint32_t i = 0; i < call->in_count; i++) {
        const struct flow_tensor *x = &call->in[i];
        shape_copy(call, x->rank, x->shape, c->bytes, x->data, x->strides, to, y->strides);
        to += x->shape[c->axis] * y->strides[c->axis] * c->bytes;
    }
    return FLOW_OK;
}

/* Each input's gradient is a stretch of y's. */
static int concat_backward(const struct flow_call *call) {
    const struct concat *c = call->priv;
    const struct flow_tensor *g = &call->grad_out[0];
    int64_t place = 0;
    for (uint32_t i = 0; i < call->in_count; i++) {
        const struct flow_tensor *to = &call->grad_in[i];
        bool add = FLOW_ACCUMULATES(call->accumulate_in, i);
        if (g->rank < 0) adjoint_zero(call, to, add);
        else if (to->rank >= 0 && shape_count(to) > 0)
            adjoint_move(call, to->rank, to->shape, to->dtype,
                         (const char *)g->data + place * g->strides[c->axis] * shape_type_bytes(g->dtype), g->strides, to->data,
                         to->strides, add);
        place += call->in[i].shape[c->axis];
    }
    return FLOW_OK;
}

static const struct flow_kernel concat_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = concat_forward, .backward = concat_backward}};

const struct flow_operator concat_operator = {
    .size = sizeof(struct flow_operator),
    .name = "concat",
    .summary = "tensors one behind the other along an axis",
    .equation = "y[..., o_k + i, ...] = x_k[..., i, ...], o_k the sum of the extents before x_k",
    .reference = "NumPy's concatenate",
    .example = "y: {op: concat, in: [a, b], with: {axis: 1}}",
    .inputs = FLOW_TABLE(concat_in),
    .outputs = FLOW_TABLE(concat_out),
    .attrs = FLOW_TABLE(concat_attrs),
    .attrs_size = sizeof(struct concat_attrs),
    .kernels = FLOW_TABLE(concat_kernels),
    .priv_size = sizeof(struct concat),
    .infer = concat_infer,
};
