/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of gradients of elementwise functions. */
#include "elementwise/backward.h"

#include "common/slopes_simd.h"
#include "elementwise/circle.h"

enum { BACK_BLOCK = 512 };

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

#define REAL float
#define BACK_ONE one_f32
#define BACK_RUN back_f32
#define CIRCLE circle_f32
#define FLOOR floorf
#define SQRT sqrtf
#define POW pow_f32
#define LOG log_f32
#define EXP exp_f32
#define EXPM1 expm1_f32
#define SIGMOID sigmoid_f32
#define SIGMOID_SLOPE sigmoid_slope_f32
#define SILU silu_f32
#define SILU_SLOPE silu_slope_f32
#define GELU gelu_f32
#define GELU_SLOPE gelu_slope_f32
#define GELU_TANH_SLOPE gelu_tanh_slope_f32
#define TANH tanh_f32
#define MISH_SLOPE mish_slope_f32
#define ERF_SLOPE erf_slope_f32
#include "elementwise/backward_tmpl.h"
#undef REAL
#undef BACK_ONE
#undef BACK_RUN
#undef CIRCLE
#undef FLOOR
#undef SQRT
#undef POW
#undef LOG
#undef EXP
#undef EXPM1
#undef SIGMOID
#undef SIGMOID_SLOPE
#undef SILU
#undef SILU_SLOPE
#undef GELU
#undef GELU_SLOPE
#undef GELU_TANH_SLOPE
#undef TANH
#undef MISH_SLOPE
#undef ERF_SLOPE

#define REAL double
#define BACK_ONE one_f64
#define BACK_RUN back_f64
#define CIRCLE circle_f64
#define FLOOR floor
#define SQRT sqrt
#define POW pow
#define LOG log_f64
#define EXP exp_f64
#define EXPM1 expm1_f64
#define SIGMOID sigmoid_f64
#define SIGMOID_SLOPE sigmoid_slope_f64
#define SILU silu_f64
#define SILU_SLOPE silu_slope_f64
#define GELU gelu_f64
#define GELU_SLOPE gelu_slope_f64
#define GELU_TANH_SLOPE gelu_tanh_slope_f64
#define TANH tanh_f64
#define MISH_SLOPE mish_slope_f64
#define ERF_SLOPE erf_slope_f64
#include "elementwise/backward_tmpl.h"

extern const struct back_table ISA(back_table);
const struct back_table ISA(back_table) = {{[FLOW_F32] = back_f32, [FLOW_F64] = back_f64}};
