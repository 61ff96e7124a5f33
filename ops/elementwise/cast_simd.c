/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between element types. A float outside an integer type's range gives the nearest end of it, NaN gives 0; an integer is cut
 * to the narrower type's low bits; anything but 0 is true. */
#include "elementwise/cast.h"

#include "common/half.h"

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

static inline int32_t i32_from_f32(float x) {
    float t = x < -0x1p31f ? -0x1p31f : x;
    t = t >= 0x1p31f || t != t ? 0.0f : t;
    return x >= 0x1p31f ? INT32_MAX : (int32_t)t;
}
static inline int32_t i32_from_f64(double x) {
    double t = x < -0x1p31 ? -0x1p31 : x;
    t = t >= 0x1p31 || t != t ? 0.0 : t;
    return x >= 0x1p31 ? INT32_MAX : (int32_t)t;
}
static inline int64_t i64_from_f64(double x) {
    double t = x < -0x1p63 ? -0x1p63 : x;
    t = t >= 0x1p63 || t != t ? 0.0 : t;
    return x >= 0x1p63 ? INT64_MAX : (int64_t)t;
}
static inline uint8_t u8_from_f32(float x) {
    float t = x > 0.0f ? x : 0.0f;
    return (uint8_t)(int32_t)(t > 255.0f ? 255.0f : t);
}
static inline uint8_t u8_from_f64(double x) {
    double t = x > 0.0 ? x : 0.0;
    return (uint8_t)(int32_t)(t > 255.0 ? 255.0 : t);
}

/* Every target of one source: an expression of p = x[i] for each. */
#define TARGETS(name, TYPE, to_f32, to_f64, to_i32, to_i64, to_u8, to_bool)   \
    static void name(const void *from, void *to, int64_t n, int32_t target) { \
        const TYPE *x = from;                                                 \
        switch (target) {                                                     \
            ONE(FLOW_F32, TYPE, float, to_f32)                                \
            ONE(FLOW_F64, TYPE, double, to_f64)                               \
            ONE(FLOW_I32, TYPE, int32_t, to_i32)                              \
            ONE(FLOW_I64, TYPE, int64_t, to_i64)                              \
            ONE(FLOW_U8, TYPE, uint8_t, to_u8)                                \
            ONE(FLOW_BOOL, TYPE, uint8_t, to_bool)                            \
        default: break;                                                       \
        }                                                                     \
    }
#define ONE(number, TYPE, TARGET, value) \
    case number: {                       \
        TARGET *y = to;                  \
        LOOP {                           \
            const TYPE p = x[i];         \
            y[i] = (TARGET)(value);      \
        }                                \
        break;                           \
    }

TARGETS(cast_from_f32, float, p, p, i32_from_f32(p), i64_from_f64((double)p), u8_from_f32(p), p != 0)
TARGETS(cast_from_f64, double, p, p, i32_from_f64(p), i64_from_f64(p), u8_from_f64(p), p != 0)
TARGETS(cast_from_i32, int32_t, p, p, p, p, p, p != 0)
TARGETS(cast_from_i64, int64_t, p, p, (uint32_t)(uint64_t)p, p, p, p != 0)
TARGETS(cast_from_u8, uint8_t, p, p, p, p, p, p != 0)
TARGETS(cast_from_bool, uint8_t, p != 0, p != 0, p != 0, p != 0, p != 0, p != 0)

/* To f32 as an intermediate step on the way to f16 or bf16. */
static void to_f32_odd(int32_t source, const void *from, float *y, int64_t n) {
    switch (source) {
    case FLOW_F64: {
        const double *x = from;
        LOOP y[i] = f32_odd_from_f64(x[i]);
        break;
    }
    case FLOW_I32: {
        const int32_t *x = from;
        LOOP y[i] = f32_odd_from_f64((double)x[i]);
        break;
    }
    case FLOW_I64: {
        const int64_t *x = from;
        for (int64_t i = 0; i < n; i++) {
            /* Beyond 2^53 the low bits are gathered in one, which is again rounding to odd. */
            int64_t p = x[i], coarse = p & ~(int64_t)0x7FF;
            bool far = p > INT64_C(0x1FFFFFFFFFFFFF) || p < -INT64_C(0x1FFFFFFFFFFFFF);
            y[i] = f32_odd_from_f64((double)(far && coarse != p ? (coarse | 0x800) : p));
        }
        break;
    }
    case FLOW_U8: cast_from_u8(from, y, n, FLOW_F32); break;
    case FLOW_BOOL: cast_from_bool(from, y, n, FLOW_F32); break;
    default: break;
    }
}

static void from_half(int32_t source, const uint16_t *x, float *y, int64_t n) {
    if (source == FLOW_F16) LOOP y[i] = f32_from_f16(x[i]);
    else LOOP y[i] = f32_from_bf16(x[i]);
}
static void to_half(int32_t target, const float *x, uint16_t *y, int64_t n) {
    if (target == FLOW_F16) LOOP y[i] = f16_from_f32(x[i]);
    else LOOP y[i] = bf16_from_f32(x[i]);
}

static bool is_half(int32_t type) { return type == FLOW_F16 || type == FLOW_BF16; }

static void convert(int32_t source, int32_t target, const void *from, void *to, int64_t n) {
    switch (source) {
    case FLOW_F32: cast_from_f32(from, to, n, target); break;
    case FLOW_F64: cast_from_f64(from, to, n, target); break;
    case FLOW_I32: cast_from_i32(from, to, n, target); break;
    case FLOW_I64: cast_from_i64(from, to, n, target); break;
    case FLOW_U8: cast_from_u8(from, to, n, target); break;
    case FLOW_BOOL: cast_from_bool(from, to, n, target); break;
    default: break;
    }
}

static int64_t cast_any(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct cast *c = context;
    enum { BLOCK = 256 };
    (void)single;
    if (!is_half(c->from) && !is_half(c->to)) {
        convert(c->from, c->to, in[0], out, n);
        return -1;
    }
    float middle[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t count = n - i < BLOCK ? n - i : BLOCK;
        const char *x = (const char *)in[0] + i * c->map.bytes[0];
        char *y = (char *)out + i * c->map.out_bytes;
        const float *values = middle;
        if (is_half(c->from)) from_half(c->from, (const uint16_t *)(const void *)x, middle, count);
        else if (c->from == FLOW_F32) values = (const float *)(const void *)x;
        else to_f32_odd(c->from, x, middle, count);
        if (is_half(c->to)) to_half(c->to, values, (uint16_t *)(void *)y, count);
        else convert(FLOW_F32, c->to, values, y, count);
    }
    return -1;
}

extern const struct cast_table ISA(cast_table);
const struct cast_table ISA(cast_table) = {cast_any};
