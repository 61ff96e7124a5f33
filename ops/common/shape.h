/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes, strides, axes and broadcasting, for infer functions and kernels. Strides and offsets count elements. */
#ifndef OPS_COMMON_SHAPE_H
#define OPS_COMMON_SHAPE_H

#include <flow/plugin.h>

enum { SHAPE_TEXT = 192 }; /* bytes that hold any shape as text */

static inline int64_t shape_type_bytes(int32_t dtype) {
#define ROW(name, value, text, bytes) bytes,
    static const uint8_t table[FLOW_TYPE_COUNT] = {FLOW_TYPE_MAP(ROW)};
#undef ROW
    return table[dtype];
}
const char *shape_type_name(int32_t dtype);

static inline bool shape_exists(const struct flow_tensor *t) { return t->rank >= 0; }

/* The number of elements of [begin, end) axes; the shape is known to be sound (shape_sound). */
static inline int64_t shape_span(const struct flow_tensor *t, int32_t begin, int32_t end) {
    int64_t n = 1;
    for (int32_t i = begin; i < end; i++) n *= t->shape[i];
    return n;
}
static inline int64_t shape_count(const struct flow_tensor *t) { return shape_span(t, 0, t->rank); }

/* Row-major strides for the shape there is; of a shape that is too large (the host then refuses it) they mean nothing. */
static inline void shape_dense(struct flow_tensor *t) {
    int64_t step = 1;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        t->strides[i] = step;
        if (__builtin_mul_overflow(step, t->shape[i] > 0 ? t->shape[i] : 1, &step)) step = 0;
    }
}
/* Are the elements in row-major order without gaps? Strides of axes of extent 1 do not matter; an empty tensor always is. */
static inline bool shape_is_dense(const struct flow_tensor *t) {
    int64_t step = 1;
    bool dense = true;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] == 0) return true;
        if (t->shape[i] != 1 && t->strides[i] != step) dense = false;
        step *= t->shape[i];
    }
    return dense;
}
static inline bool shape_same(const struct flow_tensor *a, const struct flow_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

/* "[2, 3, 4]" */
const char *shape_text(const struct flow_tensor *t, char text[SHAPE_TEXT]);

/* Fails unless 0 <= extents and their product in bytes fits: for shapes that infer computes. */
int shape_sound(const struct flow_infer *infer, const struct flow_tensor *t);

/* `axis` counted from the end when negative -> [0, rank); the message points at the attribute `name`. */
int shape_axis(const struct flow_infer *infer, const char *name, int64_t axis, int32_t rank, int32_t *out);

/* NumPy's rule over inputs `first` .. `last` (those that exist): writes rank, shape and dense strides of `out`. Its type stays. */
int shape_broadcast(const struct flow_infer *infer, uint32_t first, uint32_t last, struct flow_tensor *out);

/* `out` takes rank, shape and dense strides from `in`; its type stays. */
static inline void shape_like(struct flow_tensor *out, const struct flow_tensor *in) {
    out->rank = in->rank;
    for (int32_t i = 0; i < in->rank; i++) out->shape[i] = in->shape[i];
    shape_dense(out);
}

/* Output `out` is a view of input `in`, all of it so far: shape, strides and type are taken over; the caller changes what differs. */
static inline struct flow_tensor *shape_view(struct flow_infer *infer, uint32_t out, uint32_t in) {
    struct flow_tensor *y = &infer->out[out];
    *y = infer->in[in];
    y->data = NULL;
    infer->view_of[out] = (int32_t)in;
    infer->view_offset[out] = 0;
    return y;
}

/* The streaming axis of input 0 is output 0's, too, if the operator works along another axis than `busy`; else fails: "NAME along the
 * streaming axis needs ...". busy -1: along none. */
int shape_stream_past(struct flow_infer *infer, int32_t busy, const char *why);

/* Elements from `from` (any strides) to `to` (any strides), both of rank and shape `shape`, `bytes` each; spread over the threads. */
void shape_copy(const struct flow_call *call, int32_t rank, const int64_t *shape, int64_t bytes, const void *from,
                const int64_t *from_strides, void *to, const int64_t *to_strides);

#endif
