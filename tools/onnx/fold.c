/* SPDX-License-Identifier: Apache-2.0 */
/* What is known while the model is read: shapes, arithmetic on them and on weights, weights moved about. Whole numbers may hold symbols. */
#include "onnx/internal.h"

#include <math.h>

/* ---- Values made of elements of others ---- */

static bool small(const struct value *v) { return v->count <= (v->ints ? INTS_MOST : FOLD_MOST); }

/* Room for the elements of v; false: too many, or extents are symbols. */
static bool room_for(struct import *m, struct value *v, bool symbolic) {
    if (!value_count(v, &v->count) || v->count > (symbolic ? INTS_MOST : FOLD_MOST)) return false;
    size_t count = v->count ? (size_t)v->count : 1;
    if (symbolic) v->ints = store_take(&m->store, count, sizeof *v->ints);
    else v->data = store_take(&m->store, count, (size_t)flow_type_bytes(v->dtype));
    return true;
}

static void copy_element(struct value *to, int64_t i, const struct value *from, int64_t k) {
    if (to->ints) {
        to->ints[i] = value_extent(from, k);
    } else {
        size_t size = (size_t)flow_type_bytes(to->dtype);
        memcpy((char *)(uintptr_t)to->data + (size_t)i * size, (const char *)from->data + (size_t)k * size, size);
    }
}

/* Whole numbers that hold no symbol after all become plain ones. */
static struct value *settled(struct import *m, struct value *v) {
    int64_t number;
    if (!v->ints) return v;
    for (int64_t i = 0; i < v->count; i++)
        if (!extent_number(&v->ints[i], &number)) return v;
    const struct extent *ints = v->ints;
    v->ints = NULL;
    void *data = store_take(&m->store, v->count ? (size_t)v->count : 1, 8);
    for (int64_t i = 0; i < v->count; i++) value_store(v->dtype, data, i, (double)ints[i].plus, ints[i].plus);
    v->data = data;
    return v;
}

static void strides_of(const struct value *v, int64_t *strides) {
    int64_t step = 1;
    for (int32_t i = v->rank - 1; i >= 0; i--) strides[i] = step, step *= v->shape[i].plus;
}

/* y[i] = x[start + sum of index * step], over y's shape, which is known. */
static bool gathered(struct import *m, struct value *y, const struct value *x, int64_t start, const int64_t *step) {
    int64_t at[RANK] = {0}, source = start;
    if (!room_for(m, y, x->ints != NULL)) return false;
    for (int64_t i = 0; i < y->count; i++) {
        copy_element(y, i, x, source);
        for (int32_t axis = y->rank - 1; axis >= 0; axis--) {
            source += step[axis];
            if (++at[axis] < y->shape[axis].plus) break;
            source -= step[axis] * y->shape[axis].plus, at[axis] = 0;
        }
    }
    return true;
}

/* The same elements under another shape. */
static struct value *reshaped(struct import *m, const struct value *x, int32_t rank, const struct extent *shape) {
    struct value *y = value_new(m, x->dtype, rank, shape);
    int64_t count;
    if (!value_count(y, &count) || count != x->count) return NULL;
    y->data = x->data, y->ints = x->ints, y->count = x->count, y->tensor_name = x->tensor_name;
    return y;
}

/* ---- Shapes ---- */

static struct value *fold_shape(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    int64_t start = attr_int(n, "start", 0), end = attr_int(n, "end", x->rank);
    start = start < 0 ? start + x->rank : start, end = end < 0 ? end + x->rank : end;
    if (start < 0) start = 0;
    if (end > x->rank) end = x->rank;
    struct extent length = extent_of(end > start ? end - start : 0);
    struct value *y = value_new(m, FLOW_I64, 1, &length);
    if (!room_for(m, y, true)) return NULL;
    for (int64_t i = 0; i < y->count; i++) y->ints[i] = x->shape[start + i];
    return settled(m, y);
}

static struct value *fold_size(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    struct value *y = value_new(m, FLOW_I64, 0, NULL);
    if (!room_for(m, y, true)) return NULL;
    y->ints[0] = extent_of(1);
    for (int32_t i = 0; i < x->rank; i++) y->ints[0] = extent_times(&m->store, &y->ints[0], &x->shape[i]);
    return settled(m, y);
}

static struct value *fold_constant(struct import *m, struct node *n) {
    const Onnx__Attribute *a;
    struct value *v = value_new(m, FLOW_F32, 0, NULL);
    const char *why = "";
    if ((a = attr_find(n, "value")) && a->t) {
        if (!model_tensor(m, a->t, v, &why)) return refuse(m, n, "%s", why), NULL;
        return v;
    }
    if ((a = attr_find(n, "value_float"))) return value_scalar(m, FLOW_F32, (double)a->f);
    if ((a = attr_find(n, "value_int"))) {
        v = value_ints(m, 1, &a->i);
        v->rank = 0;
        return v;
    }
    if ((a = attr_find(n, "value_ints"))) return value_ints(m, a->n_ints, a->ints);
    if ((a = attr_find(n, "value_floats"))) {
        v->rank = 1, v->shape[0] = extent_of((int64_t)a->n_floats), v->count = (int64_t)a->n_floats;
        float *data = store_take(&m->store, a->n_floats + 1, sizeof *data);
        if (a->n_floats) memcpy(data, a->floats, a->n_floats * sizeof *data);
        v->data = data;
        return v;
    }
    return refuse(m, n, "its value is of a kind that is not read"), NULL;
}

static struct value *fold_constant_of_shape(struct import *m, struct node *n) {
    int64_t extents[RANK], count;
    const char *why = "";
    if (!value_list(n->in[0], extents, RANK, &count)) return NULL;
    const Onnx__Attribute *a = attr_find(n, "value");
    struct value *one = value_scalar(m, FLOW_F32, 0);
    if (a && a->t && (!model_tensor(m, a->t, one, &why) || one->count != 1)) return NULL;
    struct extent shape[RANK];
    for (int64_t i = 0; i < count; i++) shape[i] = extent_of(extents[i]);
    struct value *y = value_new(m, one->dtype, (int32_t)count, shape);
    return gathered(m, y, one, 0, (int64_t[RANK]){0}) ? y : NULL;
}

static struct value *fold_range(struct import *m, struct node *n) {
    int64_t at[3], one;
    for (int i = 0; i < 3; i++)
        if (!value_list(n->in[i], &at[i], 1, &one)) return NULL;
    for (int i = 0; i < 3; i++)
        if (at[i] > EXTENT_MOST || at[i] < -EXTENT_MOST) return NULL;
    if (at[2] == 0) return NULL;
    int64_t count = (at[1] - at[0] + at[2] + (at[2] > 0 ? -1 : 1)) / at[2];
    if (count < 0) count = 0;
    if (count > FOLD_MOST) return NULL;
    struct extent length = extent_of(count);
    struct value *y = value_new(m, n->in[0]->dtype, 1, &length);
    if (!room_for(m, y, false)) return NULL;
    for (int64_t i = 0; i < y->count; i++) value_store(y->dtype, (void *)(uintptr_t)y->data, i, 0, at[0] + i * at[2]);
    return y;
}

/* ---- Movement ---- */

static struct value *fold_reshape(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    struct extent shape[RANK];
    int64_t to[RANK], rank, rest = 1, open = -1;
    if (!value_list(n->in[1], to, RANK, &rank)) return NULL;
    for (int64_t i = 0; i < rank; i++) {
        if (to[i] == 0 && !attr_int(n, "allowzero", 0) && i < x->rank) to[i] = x->shape[i].plus;
        if (to[i] == -1) open = i;
        else if (__builtin_mul_overflow(rest, to[i], &rest)) return NULL;
        shape[i] = extent_of(to[i]);
    }
    if (open >= 0) {
        if (rest <= 0 || x->count % rest != 0) return NULL;
        shape[open] = extent_of(x->count / rest);
    }
    return reshaped(m, x, (int32_t)rank, shape);
}

static struct value *fold_flatten(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    int64_t axis = attr_int(n, "axis", 1);
    axis = axis < 0 ? axis + x->rank : axis;
    struct extent shape[2] = {extent_of(1), extent_of(1)};
    for (int32_t i = 0; i < x->rank; i++) shape[i >= axis] = extent_times(&m->store, &shape[i >= axis], &x->shape[i]);
    return reshaped(m, x, 2, shape);
}

static struct value *fold_squeeze(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    int64_t axes[RANK], count = 0;
    bool gone[RANK] = {false};
    if (n->in_count > 1 && n->in[1] && !value_list(n->in[1], axes, RANK, &count)) return NULL;
    for (int64_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        if (axis < 0 || axis >= x->rank) return NULL;
        gone[axis] = true;
    }
    struct extent shape[RANK];
    int32_t rank = 0;
    for (int32_t i = 0; i < x->rank; i++)
        if (count ? !gone[i] : !extent_is(&x->shape[i], 1)) shape[rank++] = x->shape[i];
    return reshaped(m, x, rank, shape);
}

static struct value *fold_unsqueeze(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    int64_t axes[RANK], count = 0;
    bool added[RANK] = {false};
    if (!value_list(n->in[1], axes, RANK, &count) || x->rank + count > RANK) return NULL;
    for (int64_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank + count : axes[i];
        if (axis < 0 || axis >= x->rank + count || added[axis]) return NULL;
        added[axis] = true;
    }
    struct extent shape[RANK];
    for (int32_t i = 0, from = 0; i < x->rank + (int32_t)count; i++) shape[i] = added[i] ? extent_of(1) : x->shape[from++];
    return reshaped(m, x, x->rank + (int32_t)count, shape);
}

static struct value *fold_transpose(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    const int64_t *perm = NULL;
    size_t count = 0;
    int64_t strides[RANK], step[RANK] = {0};
    bool given = attr_ints(n, "perm", &perm, &count);
    if (given && count != (size_t)x->rank) return NULL;
    struct extent shape[RANK];
    uint32_t seen = 0;
    strides_of(x, strides);
    for (int32_t i = 0; i < x->rank; i++) {
        int64_t axis = given ? perm[i] : x->rank - 1 - i;
        if (axis < 0 || axis >= x->rank || seen >> axis & 1) return NULL;
        seen |= 1u << axis, shape[i] = x->shape[axis], step[i] = strides[axis];
    }
    struct value *y = value_new(m, x->dtype, x->rank, shape);
    y->tensor_name = x->tensor_name;
    return gathered(m, y, x, 0, step) ? y : NULL;
}

static struct value *fold_expand(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    int64_t to[RANK], rank, strides[RANK], step[RANK] = {0};
    if (!value_list(n->in[1], to, RANK, &rank)) return NULL;
    struct value wanted = {.rank = (int32_t)rank};
    struct extent shape[RANK];
    int32_t most = x->rank;
    for (int64_t i = 0; i < rank; i++) wanted.shape[i] = extent_of(to[i]);
    for (int32_t i = 0; i < most; i++) shape[i] = x->shape[i];
    if (!shape_join(shape, &most, &wanted)) return NULL;
    strides_of(x, strides);
    for (int32_t i = 0; i < x->rank; i++)
        if (!extent_is(&x->shape[i], 1)) step[most - x->rank + i] = strides[i];
    struct value *y = value_new(m, x->dtype, most, shape);
    return gathered(m, y, x, 0, step) ? y : NULL;
}

static struct value *fold_gather(struct import *m, struct node *n) {
    const struct value *x = n->in[0], *index = n->in[1];
    int64_t axis = attr_int(n, "axis", 0), inner = 1, outer = 1;
    axis = axis < 0 ? axis + x->rank : axis;
    if (axis < 0 || axis >= x->rank || x->rank + index->rank - 1 > RANK || !index->data || !small(index)) return NULL;
    struct extent shape[RANK];
    int32_t rank = 0;
    for (int32_t i = 0; i < axis; i++) shape[rank++] = x->shape[i], outer *= x->shape[i].plus;
    for (int32_t i = 0; i < index->rank; i++) shape[rank++] = index->shape[i];
    for (int32_t i = (int32_t)axis + 1; i < x->rank; i++) shape[rank++] = x->shape[i], inner *= x->shape[i].plus;
    struct value *y = value_new(m, x->dtype, rank, shape);
    if (!room_for(m, y, x->ints != NULL)) return NULL;
    int64_t extent = x->shape[axis].plus, to = 0;
    for (int64_t o = 0; o < outer && y->count; o++)
        for (int64_t i = 0; i < index->count; i++) {
            int64_t place = value_int(index, i);
            place = place < 0 ? place + extent : place;
            if (place < 0 || place >= extent) return NULL;
            for (int64_t k = 0; k < inner; k++) copy_element(y, to++, x, (o * extent + place) * inner + k);
        }
    return settled(m, y);
}

static struct value *fold_slice(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    int64_t starts[RANK], ends[RANK], axes[RANK], steps[RANK], count, k, strides[RANK], step[RANK], start = 0;
    if (!value_list(n->in[1], starts, RANK, &count) || !value_list(n->in[2], ends, RANK, &k) || k != count) return NULL;
    for (int64_t i = 0; i < count; i++) axes[i] = i, steps[i] = 1;
    if (n->in_count > 3 && n->in[3] && (!value_list(n->in[3], axes, RANK, &k) || k != count)) return NULL;
    if (n->in_count > 4 && n->in[4] && (!value_list(n->in[4], steps, RANK, &k) || k != count)) return NULL;
    struct extent shape[RANK];
    strides_of(x, strides);
    for (int32_t i = 0; i < x->rank; i++) shape[i] = x->shape[i], step[i] = strides[i];
    for (int64_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i], by = steps[i];
        if (axis < 0 || axis >= x->rank || by == 0) return NULL;
        by = by > EXTENT_MOST ? EXTENT_MOST : by < -EXTENT_MOST ? -EXTENT_MOST : by;
        int64_t extent = x->shape[axis].plus, low = by > 0 ? 0 : -1, high = by > 0 ? extent : extent - 1;
        int64_t from = starts[i] < 0 ? starts[i] + extent : starts[i], to = ends[i] < 0 ? ends[i] + extent : ends[i];
        from = from < (by > 0 ? 0 : low) ? low : from > high ? high : from, to = to < low ? low : to > high ? high : to;
        int64_t length = by > 0 ? (to - from + by - 1) / by : (from - to + -by - 1) / -by;
        if (by > 0 ? to <= from : to >= from) length = 0;
        shape[axis] = extent_of(length);
        if (length) start += from * strides[axis];
        step[axis] = length > 1 ? by * strides[axis] : strides[axis];
    }
    struct value *y = value_new(m, x->dtype, x->rank, shape);
    return gathered(m, y, x, start, step) ? settled(m, y) : NULL;
}

static struct value *fold_concat(struct import *m, struct node *n) {
    const struct value *first = n->in[0];
    int64_t axis = attr_int(n, "axis", 0), total = 0, outer = 1, inner = 1;
    axis = axis < 0 ? axis + first->rank : axis;
    if (axis < 0 || axis >= first->rank) return NULL;
    bool symbolic = false;
    struct extent shape[RANK];
    for (int32_t i = 0; i < first->rank; i++) shape[i] = first->shape[i];
    for (size_t i = 0; i < n->in_count; i++) {
        const struct value *x = n->in[i];
        if (!x || x->rank != first->rank || x->dtype != first->dtype || !small(x)) return NULL;
        for (int32_t k = 0; k < x->rank; k++)
            if (k != axis && !extent_same(&x->shape[k], &shape[k])) return NULL;
        symbolic |= x->ints != NULL;
        if (__builtin_add_overflow(total, x->shape[axis].plus, &total)) return NULL;
    }
    for (int32_t i = 0; i < first->rank; i++) *(i < axis ? &outer : &inner) *= i == axis ? 1 : shape[i].plus;
    shape[axis] = extent_of(total);
    struct value *y = value_new(m, first->dtype, first->rank, shape);
    if (!room_for(m, y, symbolic)) return NULL;
    int64_t to = 0;
    for (int64_t o = 0; o < outer && y->count; o++)
        for (size_t i = 0; i < n->in_count; i++) {
            int64_t part = n->in[i]->shape[axis].plus * inner;
            for (int64_t k = 0; k < part; k++) copy_element(y, to++, n->in[i], o * part + k);
        }
    return settled(m, y);
}

static struct value *fold_identity(struct import *m, struct node *n) {
    (void)m;
    return n->in[0];
}

static struct value *fold_cast(struct import *m, struct node *n) {
    const struct value *x = n->in[0];
    int32_t to = model_type((int32_t)attr_int(n, "to", 0));
    if (to < 0) return NULL;
    struct value *y = value_new(m, to, x->rank, x->shape);
    y->tensor_name = x->tensor_name;
    if (x->ints && (to == FLOW_I64 || to == FLOW_I32)) {
        y->ints = x->ints, y->count = x->count;
        return y;
    }
    if (x->ints || !room_for(m, y, false)) return NULL;
    for (int64_t i = 0; i < y->count; i++) {
        double real = value_real(x, i);
        value_store(to, (void *)(uintptr_t)y->data, i, real, to == FLOW_BOOL ? real != 0 : value_int(x, i));
    }
    return y;
}

/* ---- Arithmetic ---- */

enum what {
    ADD = 1,
    SUB,
    MUL,
    DIV,
    MOD,
    POW,
    MIN,
    MAX,
    EQUAL,
    LESS,
    GREATER,
    LESS_EQUAL,
    GREATER_EQUAL,
    AND,
    OR,
    NOT,
    NEG,
    ABS,
    SQRT,
    FLOOR,
    CEIL,
    RECIPROCAL,
    EXP,
    LOG
};

static double real_of(enum what what, double a, double b) {
    switch (what) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case DIV: return a / b;
    case POW: return pow(a, b);
    case MIN: return a < b || isnan(a) ? a : b;
    case MAX: return a > b || isnan(a) ? a : b;
    case NEG: return -a;
    case ABS: return fabs(a);
    case SQRT: return sqrt(a);
    case FLOOR: return floor(a);
    case CEIL: return ceil(a);
    case RECIPROCAL: return 1 / a;
    case EXP: return exp(a);
    case LOG: return log(a);
    default: return 0;
    }
}

/* false: not defined. ONNX divides toward zero; the rest of mod has the divisor's sign. */
static bool whole_of(enum what what, int64_t a, int64_t b, int64_t *y) {
    switch (what) {
    case ADD: return !__builtin_add_overflow(a, b, y);
    case SUB: return !__builtin_sub_overflow(a, b, y);
    case MUL: return !__builtin_mul_overflow(a, b, y);
    case DIV: return b != 0 && (a != INT64_MIN || b != -1) && (*y = a / b, true);
    case MOD: return b != 0 && b != -1 && (*y = a % b + ((a % b != 0 && (a % b < 0) != (b < 0)) ? b : 0), true);
    case MIN: *y = a < b ? a : b; return true;
    case MAX: *y = a > b ? a : b; return true;
    case NEG: return !__builtin_sub_overflow(0, a, y);
    case ABS: return a != INT64_MIN && (*y = a < 0 ? -a : a, true);
    case AND: *y = a && b; return true;
    case OR: *y = a || b; return true;
    case NOT: *y = !a; return true;
    default: return false;
    }
}

static bool compared(enum what what, int order) {
    switch (what) {
    case EQUAL: return order == 0;
    case LESS: return order == -1;
    case GREATER: return order == 1;
    case LESS_EQUAL: return order == 0 || order == -1;
    default: return order == 0 || order == 1;
    }
}

/* Symbols are extents, at least 0: a sum of positive multiples and a positive number is above 0, of negative ones below. */
static bool one_sided(const struct extent *a, int64_t *sign) {
    if (a->unknown || a->plus == 0) return false;
    for (int32_t i = 0; i < a->terms; i++)
        if ((a->at[i].times > 0) != (a->plus > 0) || strchr(a->at[i].of, '(')) return false;
    *sign = a->plus;
    return true;
}

/* Of expressions: false where they do not say. Two extents that differ by a constant compare like it; an extent is at least 0. */
static bool extents_of(struct import *m, enum what what, const struct extent *a, const struct extent *b, struct extent *y) {
    int64_t n, k;
    if (what >= EQUAL && what <= GREATER_EQUAL) {
        struct extent less = extent_add(a, b, -1);
        if (!extent_number(&less, &n) && !one_sided(&less, &n)) return false;
        *y = extent_of(compared(what, n < 0 ? -1 : n > 0));
        return true;
    }
    if (extent_number(a, &n) && extent_number(b, &k)) return whole_of(what, n, k, &n) && (*y = extent_of(n), true);
    switch (what) {
    case ADD: *y = extent_add(a, b, 1); break;
    case SUB: *y = extent_add(a, b, -1); break;
    case MUL: *y = extent_times(&m->store, a, b); break;
    case DIV: *y = extent_over(&m->store, a, b); break;
    case MOD: *y = extent_rest(&m->store, a, b); break;
    default: return false;
    }
    return !y->unknown;
}

static struct value *fold_binary(struct import *m, struct node *n, enum what what) {
    const struct value *a = n->in[0], *b = n->in_count > 1 && n->in[1] ? n->in[1] : n->in[0];
    bool compares = what >= EQUAL && what <= GREATER_EQUAL, symbolic = a->ints || b->ints, floating = value_is_float(a->dtype);
    if ((value_is_float(b->dtype) != floating && what != POW) || (what == MOD && attr_int(n, "fmod", 0)) || !small(a) || !small(b))
        return NULL;
    struct extent shape[RANK];
    int32_t rank = a->rank;
    for (int32_t i = 0; i < rank; i++) shape[i] = a->shape[i];
    if (!shape_join(shape, &rank, b)) return NULL;
    struct value *y = value_new(m, compares ? FLOW_BOOL : a->dtype, rank, shape);
    if (!room_for(m, y, symbolic && !compares)) return NULL;
    int64_t step_a[RANK] = {0}, step_b[RANK] = {0}, strides[RANK], at[RANK] = {0}, i = 0, k = 0;
    strides_of(a, strides);
    for (int32_t axis = 0; axis < a->rank; axis++)
        if (!extent_is(&a->shape[axis], 1)) step_a[rank - a->rank + axis] = strides[axis];
    strides_of(b, strides);
    for (int32_t axis = 0; axis < b->rank; axis++)
        if (!extent_is(&b->shape[axis], 1)) step_b[rank - b->rank + axis] = strides[axis];
    void *data = (void *)(uintptr_t)y->data;
    for (int64_t to = 0; to < y->count; to++) {
        int64_t whole = 0;
        double real = 0;
        if (symbolic) {
            struct extent x = value_extent(a, i), z = value_extent(b, k), made;
            if (!extents_of(m, what, &x, &z, &made)) return NULL;
            if (y->ints) y->ints[to] = made;
            else value_store(FLOW_BOOL, data, to, 0, made.plus);
        } else if (compares && floating) {
            double x = value_real(a, i), z = value_real(b, k);
            value_store(FLOW_BOOL, data, to, 0, !(isnan(x) || isnan(z)) && compared(what, x < z ? -1 : x > z));
        } else if (compares) {
            int64_t x = value_int(a, i), z = value_int(b, k);
            value_store(FLOW_BOOL, data, to, 0, compared(what, x < z ? -1 : x > z));
        } else if (floating) {
            if (what == MOD || what == AND || what == OR || what == NOT) return NULL;
            real = real_of(what, value_real(a, i), value_real(b, k));
            value_store(y->dtype, data, to, real, 0);
        } else {
            if (!whole_of(what, value_int(a, i), value_int(b, k), &whole)) return NULL;
            value_store(y->dtype, data, to, 0, whole);
        }
        for (int32_t axis = rank - 1; axis >= 0; axis--) {
            i += step_a[axis], k += step_b[axis];
            if (++at[axis] < y->shape[axis].plus) break;
            i -= step_a[axis] * y->shape[axis].plus, k -= step_b[axis] * y->shape[axis].plus, at[axis] = 0;
        }
    }
    return settled(m, y);
}

static struct value *fold_where(struct import *m, struct node *n) {
    const struct value *c = n->in[0], *a = n->in[1], *b = n->in[2];
    if (!c->data || a->dtype != b->dtype || !small(a) || !small(b) || !small(c)) return NULL;
    struct extent shape[RANK];
    int32_t rank = c->rank;
    for (int32_t i = 0; i < rank; i++) shape[i] = c->shape[i];
    if (!shape_join(shape, &rank, a) || !shape_join(shape, &rank, b)) return NULL;
    struct value *y = value_new(m, a->dtype, rank, shape);
    const struct value *each[3] = {c, a, b};
    int64_t step[3][RANK] = {{0}}, strides[RANK], at[RANK] = {0}, place[3] = {0};
    if (!room_for(m, y, a->ints || b->ints)) return NULL;
    for (int e = 0; e < 3; e++) {
        strides_of(each[e], strides);
        for (int32_t axis = 0; axis < each[e]->rank; axis++)
            if (!extent_is(&each[e]->shape[axis], 1)) step[e][rank - each[e]->rank + axis] = strides[axis];
    }
    for (int64_t to = 0; to < y->count; to++) {
        int from = value_int(c, place[0]) ? 1 : 2;
        copy_element(y, to, each[from], place[from]);
        for (int32_t axis = rank - 1; axis >= 0; axis--) {
            for (int e = 0; e < 3; e++) place[e] += step[e][axis];
            if (++at[axis] < y->shape[axis].plus) break;
            for (int e = 0; e < 3; e++) place[e] -= step[e][axis] * y->shape[axis].plus;
            at[axis] = 0;
        }
    }
    return settled(m, y);
}

/* Of whole numbers of one axis, as shapes are: to a scalar or one element. */
static struct value *fold_reduced(struct import *m, struct node *n, enum what what) {
    const struct value *x = n->in[0];
    if (x->rank != 1 || value_is_float(x->dtype) || x->count == 0 || x->count > INTS_MOST) return NULL;
    struct extent one = extent_of(1);
    struct value *y = value_new(m, x->dtype, attr_int(n, "keepdims", 1) ? 1 : 0, &one);
    if (!room_for(m, y, true)) return NULL;
    y->ints[0] = value_extent(x, 0);
    for (int64_t i = 1; i < x->count; i++) {
        struct extent next = value_extent(x, i);
        if (!extents_of(m, what, &y->ints[0], &next, &y->ints[0])) return NULL;
    }
    return settled(m, y);
}

/* ---- Which can be known ---- */

struct fold {
    const char *op;
    struct value *(*run)(struct import *m, struct node *n);
    enum what what; /* of fold_binary, or of fold_reduced */
    int32_t inputs;
};
static const struct fold folds[] = {
    {"Constant", fold_constant, 0, 0},
    {"ConstantOfShape", fold_constant_of_shape, 0, 1},
    {"Range", fold_range, 0, 3},
    {"Reshape", fold_reshape, 0, 2},
    {"Flatten", fold_flatten, 0, 1},
    {"Squeeze", fold_squeeze, 0, 1},
    {"Unsqueeze", fold_unsqueeze, 0, 2},
    {"Transpose", fold_transpose, 0, 1},
    {"Expand", fold_expand, 0, 2},
    {"Gather", fold_gather, 0, 2},
    {"Slice", fold_slice, 0, 3},
    {"Concat", fold_concat, 0, 1},
    {"Identity", fold_identity, 0, 1},
    {"Cast", fold_cast, 0, 1},
    {"Where", fold_where, 0, 3},
    {"Add", NULL, ADD, 2},
    {"Sub", NULL, SUB, 2},
    {"Mul", NULL, MUL, 2},
    {"Div", NULL, DIV, 2},
    {"Mod", NULL, MOD, 2},
    {"Pow", NULL, POW, 2},
    {"Min", NULL, MIN, 2},
    {"Max", NULL, MAX, 2},
    {"Equal", NULL, EQUAL, 2},
    {"Less", NULL, LESS, 2},
    {"Greater", NULL, GREATER, 2},
    {"LessOrEqual", NULL, LESS_EQUAL, 2},
    {"GreaterOrEqual", NULL, GREATER_EQUAL, 2},
    {"And", NULL, AND, 2},
    {"Or", NULL, OR, 2},
    {"Not", NULL, NOT, 1},
    {"Neg", NULL, NEG, 1},
    {"Abs", NULL, ABS, 1},
    {"Sqrt", NULL, SQRT, 1},
    {"Floor", NULL, FLOOR, 1},
    {"Ceil", NULL, CEIL, 1},
    {"Reciprocal", NULL, RECIPROCAL, 1},
    {"Exp", NULL, EXP, 1},
    {"Log", NULL, LOG, 1},
    {"ReduceProd", NULL, MUL, 1},
    {"ReduceSum", NULL, ADD, 1},
    {"ReduceMax", NULL, MAX, 1},
    {"ReduceMin", NULL, MIN, 1},
};

bool fold_node(struct import *m, struct node *n) {
    struct value *y = NULL;
    bool needs = strcmp(n->op, "Shape") == 0 || strcmp(n->op, "Size") == 0;
    if (needs) {
        if (n->in_count < 1 || !n->in[0] || n->in[0]->rank < 0) return false;
        y = n->op[1] == 'h' ? fold_shape(m, n) : fold_size(m, n);
        if (y) give(n, 0, y);
        return y != NULL;
    }
    for (size_t i = 0; i < n->in_count; i++)
        if (n->in[i] && (!value_known(n->in[i]) || n->in[i]->rank < 0)) return false;
    for (size_t f = 0; f < sizeof folds / sizeof *folds; f++) {
        const struct fold *fold = &folds[f];
        if (strcmp(fold->op, n->op) != 0) continue;
        if ((int32_t)n->in_count < fold->inputs || (fold->what && n->in_count > 2)) return false;
        for (int32_t i = 0; i < fold->inputs; i++)
            if (!n->in[i]) return false;
        bool reduces = strncmp(n->op, "Reduce", 6) == 0;
        y = fold->run ? fold->run(m, n) : reduces ? fold_reduced(m, n, fold->what) : fold_binary(m, n, fold->what);
        if (!y) return false;
        give(n, 0, y);
        return true;
    }
    return false;
}
