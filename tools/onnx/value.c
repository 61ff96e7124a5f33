/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of the model while it is read: elements of any type as numbers, shapes joined, weights in another order. */
#include "onnx/internal.h"

#include <math.h>

bool value_is_float(int32_t dtype) { return dtype == FLOW_F32 || dtype == FLOW_F64 || dtype == FLOW_F16 || dtype == FLOW_BF16; }

struct value *value_new(struct import *m, int32_t dtype, int32_t rank, const struct extent *shape) {
    struct value *v = store_take(&m->store, 1, sizeof *v);
    v->dtype = dtype, v->rank = rank;
    for (int32_t i = 0; i < rank && shape; i++) v->shape[i] = shape[i];
    return v;
}

struct value *value_scalar(struct import *m, int32_t dtype, double number) {
    struct value *v = value_new(m, dtype, 0, NULL);
    void *data = store_take(&m->store, 1, 8);
    value_store(dtype, data, 0, number, (int64_t)number);
    v->data = data, v->count = 1;
    return v;
}

struct value *value_ints(struct import *m, size_t count, const int64_t *at) {
    struct extent shape = extent_of((int64_t)count);
    struct value *v = value_new(m, FLOW_I64, 1, &shape);
    int64_t *data = store_take(&m->store, count ? count : 1, sizeof *data);
    if (count) memcpy(data, at, count * sizeof *data);
    v->data = data, v->count = (int64_t)count;
    return v;
}

bool value_known(const struct value *v) { return v->data || v->ints; }

/* Larger extents, or sums of them, are no tensor's; below, arithmetic on a few of them cannot overflow. */
bool shape_possible(const struct value *v) {
    for (int32_t i = 0; i < v->rank; i++) {
        int64_t extent;
        if (extent_number(&v->shape[i], &extent) && (extent < 0 || extent > EXTENT_MOST)) return false;
    }
    return true;
}

bool value_count(const struct value *v, int64_t *count) {
    int64_t rest = 1; /* of the extents that are not 0: strides of an empty tensor must fit, too */
    bool empty = false;
    for (int32_t i = 0; i < v->rank; i++) {
        int64_t extent;
        if (!extent_number(&v->shape[i], &extent) || extent < 0 || __builtin_mul_overflow(rest, extent ? extent : 1, &rest)) return false;
        empty |= extent == 0;
    }
    *count = empty ? 0 : rest;
    return rest <= INT64_MAX / 16;
}

double value_real(const struct value *v, int64_t i) {
    const struct flow_tensor flat = {.data = (void *)(uintptr_t)v->data, .dtype = v->dtype, .rank = 1, .shape = {v->count}, .strides = {1}};
    return flow_tensor_real(&flat, i);
}

int64_t value_int(const struct value *v, int64_t i) {
    int64_t whole;
    int32_t narrow;
    switch (v->dtype) {
    case FLOW_I64: memcpy(&whole, (const char *)v->data + 8 * i, 8); return whole;
    case FLOW_I32: memcpy(&narrow, (const char *)v->data + 4 * i, 4); return narrow;
    case FLOW_U8: return ((const uint8_t *)v->data)[i];
    case FLOW_BOOL: return ((const uint8_t *)v->data)[i] != 0;
    default: break;
    }
    double real = value_real(v, i);
    return !(real > -9.2e18) ? (isnan(real) ? 0 : INT64_MIN) : real > 9.2e18 ? INT64_MAX : (int64_t)real;
}

struct extent value_extent(const struct value *v, int64_t i) {
    return v->ints ? v->ints[i] : extent_of(value_int(v, i));
}

/* float to half of either kind, to the nearest, ties to even. */
static uint16_t bf16_of(float real) {
    uint32_t bits;
    memcpy(&bits, &real, 4);
    if (isnan(real)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t f16_of(float real) {
    uint32_t bits;
    memcpy(&bits, &real, 4);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    float size = fabsf(real);
    if (isnan(real)) return (uint16_t)(sign | 0x7e00);
    if (size >= 65520) return (uint16_t)(sign | 0x7c00);
    if (size < 6.103515625e-05f) return (uint16_t)(sign | (uint16_t)lrintf(size * 16777216.0f)); /* subnormal: units of 2^-24 */
    bits &= 0x7fffffff;
    return (uint16_t)(sign | (uint16_t)((bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13));
}

void value_store(int32_t dtype, void *data, int64_t i, double real, int64_t whole) {
    switch (dtype) {
    case FLOW_F32: ((float *)data)[i] = (float)real; break;
    case FLOW_F64: ((double *)data)[i] = real; break;
    case FLOW_F16: ((uint16_t *)data)[i] = f16_of((float)real); break;
    case FLOW_BF16: ((uint16_t *)data)[i] = bf16_of((float)real); break;
    case FLOW_I64: ((int64_t *)data)[i] = whole; break;
    case FLOW_I32: ((int32_t *)data)[i] = (int32_t)(uint32_t)(uint64_t)whole; break;
    case FLOW_U8: ((uint8_t *)data)[i] = (uint8_t)(uint64_t)whole; break;
    default: ((uint8_t *)data)[i] = whole != 0; break;
    }
}

bool value_list(const struct value *v, int64_t *at, int64_t most, int64_t *count) {
    if (!v || !value_known(v) || v->count > most || value_is_float(v->dtype)) return false;
    for (int64_t i = 0; i < v->count; i++) {
        struct extent extent = value_extent(v, i);
        if (!extent_number(&extent, &at[i])) return false;
    }
    *count = v->count;
    return true;
}

bool value_one(const struct value *v, double *number) {
    if (!v || !v->data || v->count != 1) return false;
    *number = value_real(v, 0);
    return true;
}

bool shape_join(struct extent *shape, int32_t *rank, const struct value *b) {
    int32_t most = *rank > b->rank ? *rank : b->rank;
    struct extent joined[RANK], one = extent_of(1);
    for (int32_t i = 1; i <= most; i++) { /* from the last axis on */
        struct extent x = i <= *rank ? shape[*rank - i] : one, y = i <= b->rank ? b->shape[b->rank - i] : one;
        int64_t n, k;
        bool x_plain = extent_number(&x, &n), y_plain = extent_number(&y, &k);
        if (extent_same(&x, &y) || extent_is(&y, 1)) joined[most - i] = x;
        else if (extent_is(&x, 1)) joined[most - i] = y;
        else if (x_plain && y_plain) return false;
        else joined[most - i] = x_plain ? x : y_plain ? y : extent_unknown;
    }
    if (most) memcpy(shape, joined, (size_t)most * sizeof *shape);
    *rank = most;
    return true;
}

struct flow_tensor tensor_of(struct import *m, const struct value *v) {
    (void)m;
    int64_t shape[RANK] = {0};
    for (int32_t i = 0; i < v->rank; i++) shape[i] = v->shape[i].plus;
    return flow_tensor_of((void *)(uintptr_t)v->data, v->dtype, v->rank, shape);
}

struct flow_tensor tensor_zeros(struct import *m, int32_t dtype, int32_t rank, const int64_t *shape) {
    size_t count = 1;
    for (int32_t i = 0; i < rank; i++)
        if (__builtin_mul_overflow(count, (size_t)shape[i], &count)) longjmp(m->store.full, 1);
    return flow_tensor_of(store_take(&m->store, count ? count : 1, (size_t)flow_type_bytes(dtype)), dtype, rank, shape);
}

struct value *value_transposed(struct import *m, const struct value *v, const int64_t *perm) {
    struct extent shape[RANK];
    int64_t from[RANK], stride[RANK] = {0}, extent[RANK] = {0}, at[RANK] = {0}, step = 1;
    for (int32_t i = v->rank - 1; i >= 0; i--) from[i] = step, step *= v->shape[i].plus;
    for (int32_t i = 0; i < v->rank; i++) shape[i] = v->shape[perm[i]], extent[i] = shape[i].plus, stride[i] = from[perm[i]];
    struct value *made = value_new(m, v->dtype, v->rank, shape);
    size_t size = (size_t)flow_type_bytes(v->dtype);
    char *data = store_take(&m->store, v->count ? (size_t)v->count : 1, size);
    int64_t source = 0;
    for (int64_t i = 0; i < v->count; i++) {
        memcpy(data + (size_t)i * size, (const char *)v->data + (size_t)source * size, size);
        for (int32_t axis = v->rank - 1; axis >= 0; axis--) {
            source += stride[axis];
            if (++at[axis] < extent[axis]) break;
            source -= stride[axis] * extent[axis], at[axis] = 0;
        }
    }
    made->data = data, made->count = v->count, made->tensor_name = v->tensor_name;
    return made;
}
