/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that look at the same elements in another way: transpose, split, slice, expand, squeeze, unsqueeze, flip. All give views. */
#include "common/shape.h"

static const struct flow_port any_x[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, FLOW_STRIDED}};
static const struct flow_port view_y[] = {{"y", "a view of x", NULL, FLOW_TYPES_ANY, 0}};

/* ---- transpose --------------------------------------------------------------------------------------------------- */

struct transpose_attrs {
    struct flow_ints perm;
};

static const struct flow_attr transpose_attrs[] = {FLOW_ATTR(struct transpose_attrs, perm,
                                                             "axis i of y is axis perm[i] of x; default: the last two change places",
                                                             FLOW_ABSENT, -FLOW_RANK_MAX, FLOW_RANK_MAX - 1)};

static int transpose_infer(struct flow_infer *infer) {
    const struct transpose_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t perm[FLOW_RANK_MAX], rank = x->rank;
    uint32_t seen = 0;
    for (int32_t i = 0; i < rank; i++) perm[i] = i;
    if (!a->perm.given) {
        if (rank < 2) return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x has %d axes: without perm two are needed", rank);
        perm[rank - 1] = rank - 2, perm[rank - 2] = rank - 1;
    } else if (a->perm.count != (uint32_t)rank) {
        return infer->host->fail_at(infer->owner, "perm", FLOW_ERROR_SHAPE, "%u axes are named, x has %d", a->perm.count, rank);
    }
    for (uint32_t i = 0; i < a->perm.count; i++) {
        int status = shape_axis(infer, "perm", a->perm.at[i], rank, &perm[i]);
        if (status < 0) return status;
        if (seen >> perm[i] & 1u) return infer->host->fail_at(infer->owner, "perm", FLOW_ERROR_RANGE, "axis %d is named twice", perm[i]);
        seen |= 1u << perm[i];
    }
    struct flow_tensor *y = shape_view(infer, 0, 0);
    for (int32_t i = 0; i < rank; i++) {
        y->shape[i] = x->shape[perm[i]], y->strides[i] = x->strides[perm[i]];
        if (infer->streaming && perm[i] == infer->in_axis[0]) infer->out_axis[0] = i;
    }
    return FLOW_OK;
}

const struct flow_operator transpose_operator = {
    .size = sizeof(struct flow_operator),
    .name = "transpose",
    .summary = "axes in another order",
    .equation = "y[i_0, i_1, ...] = x[...] with axis k of y being axis perm[k] of x",
    .reference = "NumPy's transpose; swapaxes(-1, -2) without perm",
    .example = "y: {op: transpose, in: x, with: {perm: [0, 2, 1]}}",
    .inputs = FLOW_TABLE(any_x),
    .outputs = FLOW_TABLE(view_y),
    .attrs = FLOW_TABLE(transpose_attrs),
    .attrs_size = sizeof(struct transpose_attrs),
    .infer = transpose_infer,
};

/* ---- split ------------------------------------------------------------------------------------------------------- */

struct split_attrs {
    int64_t axis;
    int64_t parts;
    struct flow_ints sizes;
};

static const struct flow_attr split_attrs[] = {
    FLOW_ATTR(struct split_attrs, axis, "the axis that is cut", "-1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR(struct split_attrs, parts, "number of equal parts", FLOW_ABSENT, 1, FLOW_NO_MAX),
    FLOW_ATTR(struct split_attrs, sizes, "extents of the parts; they add up to the axis", FLOW_ABSENT, 0, FLOW_NO_MAX)};

static const struct flow_port split_out[] = {
    {"y", "y0 y1 ...: the parts in order, views", NULL, FLOW_TYPES_ANY, FLOW_OPTIONAL | FLOW_VARIADIC}};

static int split_infer(struct flow_infer *infer) {
    const struct split_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t axis;
    int status = shape_axis(infer, "axis", a->axis, x->rank, &axis);
    if (status < 0) return status;
    if (infer->streaming && infer->in_axis[0] == axis)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "cutting the streaming axis into parts needs the whole sequence");
    bool equal = a->parts != FLOW_INT_ABSENT;
    if (equal == a->sizes.given) return infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "one of parts and sizes is needed");
    int64_t extent = x->shape[axis], sum = 0, offset = 0;
    if (equal && extent % a->parts)
        return infer->host->fail_at(infer->owner, "parts", FLOW_ERROR_SHAPE, "axis %d has %lld elements: they do not make %lld equal parts",
                                    axis, (long long)extent, (long long)a->parts);
    for (uint32_t i = 0; i < a->sizes.count; i++)
        if (__builtin_add_overflow(sum, a->sizes.at[i], &sum)) sum = -1, i = a->sizes.count;
    if (!equal && sum != extent)
        return infer->host->fail_at(infer->owner, "sizes", FLOW_ERROR_SHAPE, "the sizes add up to %lld, axis %d has %lld elements",
                                    (long long)sum, axis, (long long)extent);
    int64_t parts = equal ? a->parts : a->sizes.count;
    for (uint32_t i = 0; i < infer->out_count && i < parts; i++) {
        struct flow_tensor *y = shape_view(infer, i, 0);
        y->shape[axis] = equal ? extent / a->parts : a->sizes.at[i];
        infer->view_offset[i] = y->shape[axis] > 0 ? offset * x->strides[axis] : 0;
        offset += y->shape[axis];
        if (infer->streaming) infer->out_axis[i] = infer->in_axis[0];
    }
    return FLOW_OK;
}

const struct flow_operator split_operator = {
    .size = sizeof(struct flow_operator),
    .name = "split",
    .summary = "parts of an axis",
    .equation = "concat(y0, y1, ...) along axis = x",
    .reference = "NumPy's split",
    .example = "y: {op: split, in: x, with: {parts: 3}}",
    .inputs = FLOW_TABLE(any_x),
    .outputs = FLOW_TABLE(split_out),
    .attrs = FLOW_TABLE(split_attrs),
    .attrs_size = sizeof(struct split_attrs),
    .infer = split_infer,
};

/* ---- slice ------------------------------------------------------------------------------------------------------- */

struct slice_attrs {
    int64_t axis, start, stop, step;
};

static const struct flow_attr slice_attrs[] = {
    FLOW_ATTR(struct slice_attrs, axis, "the axis", FLOW_REQUIRED, -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR(struct slice_attrs, start, "first element, from the end when negative; default the first in the step's direction",
              FLOW_ABSENT, FLOW_NO_MIN, FLOW_NO_MAX),
    FLOW_ATTR(struct slice_attrs, stop, "the element before which it ends, from the end when negative; default all", FLOW_ABSENT,
              FLOW_NO_MIN, FLOW_NO_MAX),
    FLOW_ATTR(struct slice_attrs, step, "every step-th; negative: backwards", "1", FLOW_NO_MIN, FLOW_NO_MAX)};

/* Python's rule: counted from the end when negative, then held within [least, most]. */
static int64_t bound(int64_t index, int64_t extent, int64_t least, int64_t most, int64_t absent) {
    if (index == FLOW_INT_ABSENT) return absent;
    if (index < 0) index = index < -extent ? least : index + extent;
    return index < least ? least : index > most ? most : index;
}

static int slice_infer(struct flow_infer *infer) {
    const struct slice_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t axis;
    int status = shape_axis(infer, "axis", a->axis, x->rank, &axis);
    if (status < 0) return status;
    if (a->step == 0) return infer->host->fail_at(infer->owner, "step", FLOW_ERROR_RANGE, "the step is 0");
    int64_t n = x->shape[axis], start, count;
    if (a->step > 0) {
        start = bound(a->start, n, 0, n, 0);
        int64_t stop = bound(a->stop, n, 0, n, n);
        count = stop > start ? (stop - start - 1) / a->step + 1 : 0;
    } else {
        start = bound(a->start, n, -1, n - 1, n - 1);
        int64_t stop = bound(a->stop, n, -1, n - 1, -1);
        count = start > stop ? -((start - stop - 1) / (a->step == INT64_MIN ? INT64_MAX : a->step)) + 1 : 0;
        if (a->step == INT64_MIN && count > 1) count = 1;
        if (count < 0) count = 0;
    }
    if (infer->streaming) {
        bool whole = a->step == 1 && (a->start == FLOW_INT_ABSENT || a->start == 0) && a->stop == FLOW_INT_ABSENT;
        if (infer->in_axis[0] == axis && !whole)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "a slice of the streaming axis needs the whole sequence");
        infer->out_axis[0] = infer->in_axis[0];
    }
    struct flow_tensor *y = shape_view(infer, 0, 0);
    y->shape[axis] = count;
    infer->view_offset[0] = count > 0 ? start * x->strides[axis] : 0;
    /* Of one element or none the step does not matter: a large one must not overflow. */
    if (count > 1) y->strides[axis] = x->strides[axis] * a->step;
    return FLOW_OK;
}

const struct flow_operator slice_operator = {
    .size = sizeof(struct flow_operator),
    .name = "slice",
    .summary = "a stretch of an axis, or every step-th element of it",
    .equation = "y = x[..., start:stop:step, ...]",
    .reference = "Python's slices",
    .example = "y: {op: slice, in: x, with: {axis: 1, start: 1, stop: -1}}",
    .inputs = FLOW_TABLE(any_x),
    .outputs = FLOW_TABLE(view_y),
    .attrs = FLOW_TABLE(slice_attrs),
    .attrs_size = sizeof(struct slice_attrs),
    .infer = slice_infer,
};

/* ---- flip -------------------------------------------------------------------------------------------------------- */

struct axis_attrs {
    int64_t axis;
};

static const struct flow_attr flip_attrs[] = {
    FLOW_ATTR(struct axis_attrs, axis, "the axis", FLOW_REQUIRED, -FLOW_RANK_MAX, FLOW_RANK_MAX - 1)};

static int flip_infer(struct flow_infer *infer) {
    const struct axis_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t axis;
    int status = shape_axis(infer, "axis", a->axis, x->rank, &axis);
    if (status == FLOW_OK) status = shape_stream_past(infer, axis, "flipping the streaming axis needs the whole sequence");
    if (status < 0) return status;
    struct flow_tensor *y = shape_view(infer, 0, 0);
    if (x->shape[axis] > 1 && shape_count(x) > 0) {
        y->strides[axis] = -x->strides[axis];
        infer->view_offset[0] = (x->shape[axis] - 1) * x->strides[axis];
    }
    return FLOW_OK;
}

const struct flow_operator flip_operator = {
    .size = sizeof(struct flow_operator),
    .name = "flip",
    .summary = "an axis backwards",
    .equation = "y[..., i, ...] = x[..., n - 1 - i, ...]",
    .reference = "NumPy's flip",
    .example = "y: {op: flip, in: x, with: {axis: 1}}",
    .inputs = FLOW_TABLE(any_x),
    .outputs = FLOW_TABLE(view_y),
    .attrs = FLOW_TABLE(flip_attrs),
    .attrs_size = sizeof(struct axis_attrs),
    .infer = flip_infer,
};

/* ---- squeeze, unsqueeze ------------------------------------------------------------------------------------------ */

static const struct flow_attr squeeze_attrs[] = {
    FLOW_ATTR(struct axis_attrs, axis, "an axis of extent 1", FLOW_REQUIRED, -FLOW_RANK_MAX, FLOW_RANK_MAX - 1)};
static const struct flow_attr unsqueeze_attrs[] = {
    FLOW_ATTR(struct axis_attrs, axis, "where the new axis stands in y", FLOW_REQUIRED, -FLOW_RANK_MAX, FLOW_RANK_MAX - 1)};

static int squeeze_infer(struct flow_infer *infer) {
    const struct axis_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t axis;
    int status = shape_axis(infer, "axis", a->axis, x->rank, &axis);
    if (status < 0) return status;
    if (infer->streaming) {
        if (infer->in_axis[0] == axis) return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "it takes the streaming axis away");
        infer->out_axis[0] = infer->in_axis[0] - (infer->in_axis[0] > axis);
    }
    if (x->shape[axis] != 1)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "axis %d has %lld elements: only an axis of 1 can be taken away", axis,
                                 (long long)x->shape[axis]);
    struct flow_tensor *y = shape_view(infer, 0, 0);
    y->rank--;
    for (int32_t i = axis; i < y->rank; i++) y->shape[i] = x->shape[i + 1], y->strides[i] = x->strides[i + 1];
    return FLOW_OK;
}

static int unsqueeze_infer(struct flow_infer *infer) {
    const struct axis_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t axis;
    if (x->rank == FLOW_RANK_MAX) return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x has %d axes: there can be no more", x->rank);
    int status = shape_axis(infer, "axis", a->axis, x->rank + 1, &axis);
    if (status < 0) return status;
    struct flow_tensor *y = shape_view(infer, 0, 0);
    y->rank++;
    for (int32_t i = y->rank - 1; i > axis; i--) y->shape[i] = x->shape[i - 1], y->strides[i] = x->strides[i - 1];
    y->shape[axis] = 1;
    y->strides[axis] = axis + 1 < y->rank ? y->strides[axis + 1] * y->shape[axis + 1] : 1;
    if (infer->streaming) infer->out_axis[0] = infer->in_axis[0] + (infer->in_axis[0] >= axis);
    return FLOW_OK;
}

const struct flow_operator squeeze_operator = {
    .size = sizeof(struct flow_operator),
    .name = "squeeze",
    .summary = "an axis of extent 1 taken away",
    .equation = "y[i, j] = x[i, 0, j]",
    .reference = "NumPy's squeeze",
    .example = "y: {op: squeeze, in: x, with: {axis: 1}}",
    .inputs = FLOW_TABLE(any_x),
    .outputs = FLOW_TABLE(view_y),
    .attrs = FLOW_TABLE(squeeze_attrs),
    .attrs_size = sizeof(struct axis_attrs),
    .infer = squeeze_infer,
};

const struct flow_operator unsqueeze_operator = {
    .size = sizeof(struct flow_operator),
    .name = "unsqueeze",
    .summary = "a new axis of extent 1",
    .equation = "y[i, 0, j] = x[i, j]",
    .reference = "NumPy's expand_dims",
    .example = "y: {op: unsqueeze, in: x, with: {axis: 1}}",
    .inputs = FLOW_TABLE(any_x),
    .outputs = FLOW_TABLE(view_y),
    .attrs = FLOW_TABLE(unsqueeze_attrs),
    .attrs_size = sizeof(struct axis_attrs),
    .infer = unsqueeze_infer,
};

/* ---- expand ------------------------------------------------------------------------------------------------------ */

struct expand_attrs {
    struct flow_ints shape;
};

static const struct flow_attr expand_attrs[] = {FLOW_ATTR_SHAPE(struct expand_attrs, shape, "the shape of y; -1: as in x", FLOW_REQUIRED)};

static int expand_infer(struct flow_infer *infer) {
    const struct expand_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t rank = (int32_t)a->shape.count, shift = rank - x->rank;
    char text[SHAPE_TEXT];
    if (a->shape.count > FLOW_RANK_MAX)
        return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_RANGE, "%u axes: at most %d", a->shape.count, FLOW_RANK_MAX);
    if (shift < 0)
        return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_SHAPE, "%d axes, x is %s: expanding keeps or adds axes", rank,
                                    shape_text(x, text));
    struct flow_tensor *y = shape_view(infer, 0, 0);
    y->rank = rank;
    for (int32_t i = 0; i < rank; i++) {
        int64_t want = a->shape.at[i], have = i < shift ? 1 : x->shape[i - shift];
        bool streams = infer->streaming && i >= shift && infer->in_axis[0] == i - shift;
        if (streams) infer->out_axis[0] = i;
        if (want == -1 && i >= shift) want = have;
        if (streams && want != have)
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_UNSUPPORTED,
                                        "%lld along the streaming axis, where a piece has %lld: -1 keeps it", (long long)want,
                                        (long long)have);
        if (want < 0 || (have != want && have != 1))
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_SHAPE,
                                        "%lld for axis %d, x is %s: an axis of 1 can become longer", (long long)want, i,
                                        shape_text(x, text));
        y->shape[i] = want;
        y->strides[i] = i < shift || have != want ? 0 : x->strides[i - shift];
    }
    return shape_sound(infer, y);
}

const struct flow_operator expand_operator = {
    .size = sizeof(struct flow_operator),
    .name = "expand",
    .summary = "axes of extent 1 repeated, without copies",
    .equation = "y[i, j] = x[0, j] where x has extent 1; new axes come in front",
    .reference = "NumPy's broadcast_to",
    .example = "y: {op: expand, in: x, with: {shape: [B, 4]}}",
    .inputs = FLOW_TABLE(any_x),
    .outputs = FLOW_TABLE(view_y),
    .attrs = FLOW_TABLE(expand_attrs),
    .attrs_size = sizeof(struct expand_attrs),
    .infer = expand_infer,
};
