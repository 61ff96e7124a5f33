/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of the functions of one input. x and y may be the same memory. */
#include "elementwise/elementwise.h"

#include "common/math_simd.h"
#include "elementwise/circle.h"

#define EACH _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

#define REAL float
#define UNARY unary_f32
#define CIRCLE circle_f32
#define ABS fabsf
#define SQRT sqrtf
#define FLOOR floorf
#define RINT rintf
#define EXP exp_f32
#define LOG log_f32
#define EXPM1 expm1_f32
#define ERF erf_f32
#define GELU gelu_f32
#define GELU_TANH gelu_tanh_f32
#define SILU silu_f32
#define SIGMOID sigmoid_f32
#define TANH tanh_f32
#define SOFTPLUS softplus_f32
#define MISH mish_f32
#include "elementwise/unary_tmpl.h"
#undef REAL
#undef UNARY
#undef CIRCLE
#undef ABS
#undef SQRT
#undef FLOOR
#undef RINT
#undef EXP
#undef LOG
#undef EXPM1
#undef ERF
#undef GELU
#undef GELU_TANH
#undef SILU
#undef SIGMOID
#undef TANH
#undef SOFTPLUS
#undef MISH

#define REAL double
#define UNARY unary_f64
#define CIRCLE circle_f64
#define ABS fabs
#define SQRT sqrt
#define FLOOR floor
#define RINT rint
#define EXP exp_f64
#define LOG log_f64
#define EXPM1 expm1_f64
#define ERF erf_f64
#define GELU gelu_f64
#define GELU_TANH gelu_tanh_f64
#define SILU silu_f64
#define SIGMOID sigmoid_f64
#define TANH tanh_f64
#define SOFTPLUS softplus_f64
#define MISH mish_f64
#include "elementwise/unary_tmpl.h"

/* Integers: arithmetic modulo 2^bits. */
static int64_t unary_i32(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const int32_t *x = in[0], low = (int32_t)e->k[0], high = (int32_t)e->k[1];
    int32_t *y = out;
    (void)single;
    switch (e->op) {
    case UNARY_NEG: EACH y[i] = (int32_t)(0u - (uint32_t)x[i]); break;
    case UNARY_ABS: EACH y[i] = x[i] < 0 ? (int32_t)(0u - (uint32_t)x[i]) : x[i]; break;
    case UNARY_SIGN: EACH y[i] = (x[i] > 0) - (x[i] < 0); break;
    case UNARY_SQUARE: EACH y[i] = (int32_t)((uint32_t)x[i] * (uint32_t)x[i]); break;
    case UNARY_RELU: EACH y[i] = x[i] < 0 ? 0 : x[i]; break;
    case UNARY_CLAMP:
        EACH {
            int32_t t = x[i] < low ? low : x[i];
            y[i] = t > high ? high : t;
        }
        break;
    default: break;
    }
    return -1;
}
static int64_t unary_i64(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    /* The largest double below 2^63 is far from it: a bound beyond means none. */
    const int64_t low = e->k[0] <= -0x1p63 ? INT64_MIN : (int64_t)e->k[0], high = e->k[1] >= 0x1p63 ? INT64_MAX : (int64_t)e->k[1];
    const int64_t *x = in[0];
    int64_t *y = out;
    (void)single;
    switch (e->op) {
    case UNARY_NEG: EACH y[i] = (int64_t)(0u - (uint64_t)x[i]); break;
    case UNARY_ABS: EACH y[i] = x[i] < 0 ? (int64_t)(0u - (uint64_t)x[i]) : x[i]; break;
    case UNARY_SIGN: EACH y[i] = (x[i] > 0) - (x[i] < 0); break;
    case UNARY_SQUARE: EACH y[i] = (int64_t)((uint64_t)x[i] * (uint64_t)x[i]); break;
    case UNARY_RELU: EACH y[i] = x[i] < 0 ? 0 : x[i]; break;
    case UNARY_CLAMP:
        EACH {
            int64_t t = x[i] < low ? low : x[i];
            y[i] = t > high ? high : t;
        }
        break;
    default: break;
    }
    return -1;
}
static int64_t unary_u8(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const uint8_t *x = in[0], low = (uint8_t)e->k[0], high = (uint8_t)e->k[1];
    uint8_t *y = out;
    (void)single;
    switch (e->op) {
    case UNARY_NEG: EACH y[i] = (uint8_t)(0u - x[i]); break;
    case UNARY_SIGN: EACH y[i] = x[i] != 0; break;
    case UNARY_SQUARE: EACH y[i] = (uint8_t)((uint32_t)x[i] * x[i]); break;
    case UNARY_CLAMP:
        EACH {
            uint8_t t = x[i] < low ? low : x[i];
            y[i] = t > high ? high : t;
        }
        break;
    default: EACH y[i] = x[i]; break; /* abs, relu */
    }
    return -1;
}

extern const struct elementwise_table ISA(unary_table);
const struct elementwise_table ISA(unary_table) = {
    {[FLOW_F32] = unary_f32, [FLOW_F64] = unary_f64, [FLOW_I32] = unary_i32, [FLOW_I64] = unary_i64, [FLOW_U8] = unary_u8}};
