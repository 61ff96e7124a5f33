/* SPDX-License-Identifier: Apache-2.0 */
/* reshape: the same elements in the same order under another shape. */
#include "common/shape.h"

struct reshape_attrs {
    struct flow_ints shape;
};

static const struct flow_attr reshape_attrs[] = {
    FLOW_ATTR_SHAPE(struct reshape_attrs, shape, "the shape of y; 0 keeps the axis, -1 takes what the others leave", FLOW_REQUIRED)};
static const struct flow_port reshape_in[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, 0}};
static const struct flow_port reshape_out[] = {{"y", "a view of x", NULL, FLOW_TYPES_ANY, 0}};

/* A product in which factors of 0 are counted apart, so that an empty tensor still tells what -1 stands for. */
struct product {
    int64_t rest;
    int32_t zeros;
};

static bool multiply(struct product *p, int64_t factor) {
    if (factor == 0) return p->zeros++, true;
    return !__builtin_mul_overflow(p->rest, factor, &p->rest);
}

/* Fills in the shape. */
static int resolve(const struct flow_infer *infer, const struct flow_ints *shape, struct flow_tensor *y, int32_t *open) {
    const struct flow_tensor *x = &infer->in[0];
    struct product have = {1, 0}, want = {1, 0}; /* want: of the extents given; none of them is 0 */
    uint32_t kept = 0;
    bool fits = true;
    char text[SHAPE_TEXT];
    *open = -1;
    y->rank = (int32_t)shape->count;
    for (int32_t i = 0; i < y->rank; i++) {
        int64_t extent = shape->at[i];
        if (extent < -1)
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_RANGE, "%lld for axis %d: extents are at least -1",
                                        (long long)extent, i);
        if (extent == -1 && *open >= 0)
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_RANGE,
                                        "-1 stands twice: one axis can take what the others leave");
        if (extent == 0 && i >= x->rank && shape_count(x) > 0)
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_RANGE, "0 for axis %d keeps an axis that x %s does not have", i,
                                        shape_text(x, text));
        if (extent == -1) *open = i;
        bool keeps = extent == 0 && i < x->rank;
        if (keeps) kept |= 1u << i;
        y->shape[i] = keeps ? x->shape[i] : extent;
        if (extent > 0) fits = multiply(&want, extent) && fits;
    }
    for (int32_t i = 0; i < x->rank; i++)
        if (!(kept >> i & 1u)) fits = multiply(&have, x->shape[i]) && fits;
    if (*open >= 0) {
        bool whole = fits && (have.zeros > 0 || have.rest % want.rest == 0);
        if (whole) y->shape[*open] = have.zeros ? 0 : have.rest / want.rest;
        else
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_SHAPE,
                                        "x is %s: the %lld elements to share out are no multiple of the %lld that the other axes take",
                                        shape_text(x, text), (long long)have.rest, (long long)want.rest);
    } else if (!fits || (shape_count(x) ? have.rest != want.rest : shape_count(y) != 0)) {
        /* In an empty tensor a 0 may be a symbol's value. */
        for (int32_t i = 0; i < y->rank; i++) y->shape[i] = shape->at[i];
        if (fits && shape_count(x) == 0 && shape_count(y) == 0) return FLOW_OK;
        char other[SHAPE_TEXT];
        return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_SHAPE, "x is %s, which has not as many elements as %s",
                                    shape_text(x, text), shape_text(y, other));
    }
    return FLOW_OK;
}

/*
 * Which axis of y the stream runs along. Let the axis of x that is cut have n elements, A rows before it and C elements behind each of
 * them; an axis of y has m elements, P rows before it and Q elements behind each. A = P: with other rows before it, pieces that follow
 * each other would not be the whole. It can be the one if it is the same (C = Q, m = n), if it has taken in axes behind it (Q divides C,
 * m = n C/Q), or if these were taken out (C divides Q, n = m Q/C). Of several the one is meant that is kept by 0, then the one given as -1.
 */
static bool stream_fits(const struct flow_tensor *x, const struct flow_tensor *y, int32_t s, int32_t j) {
    int64_t a = shape_span(x, 0, s), c = shape_span(x, s + 1, x->rank), n = x->shape[s];
    int64_t p = shape_span(y, 0, j), q = shape_span(y, j + 1, y->rank), m = y->shape[j];
    if (a != p) return false;
    if (a == 0 || c == 0 || q == 0) return c == q && m == n;
    return c % q == 0 ? m == n * (c / q) : q % c == 0 && m * (q / c) == n;
}

static int stream_axis(struct flow_infer *infer, const struct flow_ints *shape, const struct flow_tensor *y, int32_t open) {
    const struct flow_tensor *x = &infer->in[0];
    int32_t s = infer->in_axis[0], best = -1, best_rank = 0;
    for (int32_t j = 0; j < y->rank; j++) {
        if (!stream_fits(x, y, s, j)) continue;
        int32_t rank = (j == s && shape->at[j] == 0 ? 8 : 0) + (j == open ? 4 : 0) + (shape->at[j] > 0 ? 1 : 0) + 1;
        if (rank > best_rank) best = j, best_rank = rank;
    }
    if (best < 0) {
        char a[SHAPE_TEXT], b[SHAPE_TEXT];
        return infer->host->fail(
            infer->owner, FLOW_ERROR_UNSUPPORTED,
            "a piece of shape %s, cut along axis %d, becomes %s, in which no axis grows with it, the axes before it being as they were "
            "(0 keeps an axis, -1 takes what the others leave)",
            shape_text(x, a), s, shape_text(y, b));
    }
    infer->out_axis[0] = best;
    return FLOW_OK;
}

static int reshape_infer(struct flow_infer *infer) {
    const struct reshape_attrs *a = infer->attrs;
    int32_t open;
    if (a->shape.count > FLOW_RANK_MAX)
        return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_RANGE, "%u axes: at most %d", a->shape.count, FLOW_RANK_MAX);
    struct flow_tensor *y = shape_view(infer, 0, 0);
    int status = resolve(infer, &a->shape, y, &open);
    if (status < 0) return status;
    shape_dense(y);
    return infer->streaming ? stream_axis(infer, &a->shape, y, open) : FLOW_OK;
}

const struct flow_operator reshape_operator = {
    .size = sizeof(struct flow_operator),
    .name = "reshape",
    .summary = "the same elements under another shape",
    .equation = "y has x's elements in row-major order; an extent of 0 keeps x's at that place, -1 is what the axes not kept leave",
    .reference = "ONNX Reshape (allowzero 0)",
    .example = "y: {op: reshape, in: x, with: {shape: [0, -1, 8]}}",
    .inputs = FLOW_TABLE(reshape_in),
    .outputs = FLOW_TABLE(reshape_out),
    .attrs = FLOW_TABLE(reshape_attrs),
    .attrs_size = sizeof(struct reshape_attrs),
    .infer = reshape_infer,
};
