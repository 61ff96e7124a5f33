/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of the functions of two inputs, one of which may be one value. y may be the memory of either. */
#include "elementwise/elementwise.h"

#include "common/math_simd.h"

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

/* y[i] = value, an expression of p = a[i] and q = b[i]; a value that serves the whole stretch is read once. */
#define EACH(value)                        \
    if (single & 2u) {                     \
        const REAL q = b[0];               \
        LOOP {                             \
            const REAL p = a[i];           \
            y[i] = value;                  \
        }                                  \
    } else if (single & 1u) {              \
        const REAL p = a[0];               \
        LOOP {                             \
            const REAL q = b[i];           \
            y[i] = value;                  \
        }                                  \
    } else LOOP {                          \
            const REAL p = a[i], q = b[i]; \
            y[i] = value;                  \
        }

/* The remainder with the divisor's sign; NaN for a divisor of 0. */
static float mod_one_f32(float p, float q) {
    float r = fmodf(p, q);
    return r == 0.0f ? copysignf(0.0f, q) : (r < 0.0f) != (q < 0.0f) ? r + q : r;
}
static double mod_one_f64(double p, double q) {
    double r = fmod(p, q);
    return r == 0.0 ? copysign(0.0, q) : (r < 0.0) != (q < 0.0) ? r + q : r;
}
static void mod_f32(const float *a, const float *b, float *y, int64_t n, uint32_t single) {
    const float first_a = a[0], first_b = b[0];
    for (int64_t i = 0; i < n; i++) y[i] = mod_one_f32(single & 1u ? first_a : a[i], single & 2u ? first_b : b[i]);
}
static void mod_f64(const double *a, const double *b, double *y, int64_t n, uint32_t single) {
    const double first_a = a[0], first_b = b[0];
    for (int64_t i = 0; i < n; i++) y[i] = mod_one_f64(single & 1u ? first_a : a[i], single & 2u ? first_b : b[i]);
}
static void power_f32(const float *a, const float *b, float *y, int64_t n, uint32_t single) {
#define REAL float
    EACH(pow_f32(p, q))
#undef REAL
}
static void power_f64(const double *a, const double *b, double *y, int64_t n, uint32_t single) {
    const double first_a = a[0], first_b = b[0];
    for (int64_t i = 0; i < n; i++) y[i] = pow(single & 1u ? first_a : a[i], single & 2u ? first_b : b[i]);
}

#define REAL float
#define BINARY binary_f32
#define MIN min_f32
#define MAX max_f32
#define MOD mod_f32
#define POW power_f32
#define SQRT sqrtf
#define SIGMOID sigmoid_f32
#define SILU silu_f32
#define GELU gelu_f32
#define TANH tanh_f32
#include "elementwise/binary_tmpl.h"
#undef REAL
#undef BINARY
#undef MIN
#undef MAX
#undef MOD
#undef POW
#undef SQRT
#undef SIGMOID
#undef SILU
#undef GELU
#undef TANH

#define REAL double
#define BINARY binary_f64
#define MIN min_f64
#define MAX max_f64
#define MOD mod_f64
#define POW power_f64
#define SQRT sqrt
#define SIGMOID sigmoid_f64
#define SILU silu_f64
#define GELU gelu_f64
#define TANH tanh_f64
#include "elementwise/binary_tmpl.h"
#undef REAL

/* ---- Integers: arithmetic modulo 2^bits, division rounds down ---------------------------------------------------- */

static int64_t divide_down(int64_t p, int64_t q) {
    if (q == -1) return (int64_t)(0u - (uint64_t)p);
    int64_t quotient = p / q;
    return p % q != 0 && (p < 0) != (q < 0) ? quotient - 1 : quotient;
}
static int64_t modulo(int64_t p, int64_t q) {
    if (q == -1) return 0;
    int64_t r = p % q;
    return r != 0 && (r < 0) != (q < 0) ? r + q : r;
}
static uint64_t power(uint64_t p, uint64_t q) {
    uint64_t y = 1;
    for (; q; q >>= 1, p *= p)
        if (q & 1) y *= p;
    return y;
}

static int64_t binary_i32(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const int32_t *a = in[0], *b = in[1];
    int32_t *y = out;
#define REAL int32_t
    switch (e->op) {
    case BINARY_ADD: EACH((int32_t)((uint32_t)p + (uint32_t)q)) break;
    case BINARY_SUB: EACH((int32_t)((uint32_t)p - (uint32_t)q)) break;
    case BINARY_MUL: EACH((int32_t)((uint32_t)p * (uint32_t)q)) break;
    case BINARY_MINIMUM: EACH(p < q ? p : q) break;
    case BINARY_MAXIMUM: EACH(p > q ? p : q) break;
    default:
        for (int64_t i = 0; i < n; i++) {
            int32_t p = a[single & 1u ? 0 : i], q = b[single & 2u ? 0 : i];
            if (e->op == BINARY_POW ? q < 0 : q == 0) return i;
            y[i] = (int32_t)(e->op == BINARY_DIV   ? divide_down(p, q)
                             : e->op == BINARY_MOD ? modulo(p, q)
                                                   : (int64_t)power((uint64_t)(int64_t)p, (uint64_t)q));
        }
    }
#undef REAL
    return -1;
}

static int64_t binary_i64(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const int64_t *a = in[0], *b = in[1];
    int64_t *y = out;
#define REAL int64_t
    switch (e->op) {
    case BINARY_ADD: EACH((int64_t)((uint64_t)p + (uint64_t)q)) break;
    case BINARY_SUB: EACH((int64_t)((uint64_t)p - (uint64_t)q)) break;
    case BINARY_MUL: EACH((int64_t)((uint64_t)p * (uint64_t)q)) break;
    case BINARY_MINIMUM: EACH(p < q ? p : q) break;
    case BINARY_MAXIMUM: EACH(p > q ? p : q) break;
    default:
        for (int64_t i = 0; i < n; i++) {
            int64_t p = a[single & 1u ? 0 : i], q = b[single & 2u ? 0 : i];
            if (e->op == BINARY_POW ? q < 0 : q == 0) return i;
            y[i] = e->op == BINARY_DIV ? divide_down(p, q) : e->op == BINARY_MOD ? modulo(p, q) : (int64_t)power((uint64_t)p, (uint64_t)q);
        }
    }
#undef REAL
    return -1;
}

static int64_t binary_u8(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const uint8_t *a = in[0], *b = in[1];
    uint8_t *y = out;
#define REAL uint8_t
    switch (e->op) {
    case BINARY_ADD: EACH((uint8_t)(p + q)) break;
    case BINARY_SUB: EACH((uint8_t)(p - q)) break;
    case BINARY_MUL: EACH((uint8_t)(p * q)) break;
    case BINARY_MINIMUM: EACH(p < q ? p : q) break;
    case BINARY_MAXIMUM: EACH(p > q ? p : q) break;
    default:
        for (int64_t i = 0; i < n; i++) {
            uint64_t p = a[single & 1u ? 0 : i], q = b[single & 2u ? 0 : i];
            if (e->op != BINARY_POW && q == 0) return i;
            y[i] = (uint8_t)(e->op == BINARY_DIV ? p / q : e->op == BINARY_MOD ? p % q : power(p, q));
        }
    }
#undef REAL
    return -1;
}

extern const struct elementwise_table ISA(binary_table);
const struct elementwise_table ISA(binary_table) = {
    {[FLOW_F32] = binary_f32, [FLOW_F64] = binary_f64, [FLOW_I32] = binary_i32, [FLOW_I64] = binary_i64, [FLOW_U8] = binary_u8}};
