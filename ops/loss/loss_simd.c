/* SPDX-License-Identifier: Apache-2.0 */
/* Losses element by element, and what losses of rows need. */
#include "loss/loss.h"
#include "common/lanes_simd.h"
#include "common/math_simd.h"

/* The kind is a constant of each call: inlining makes a loop of its own of each. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define REAL float
#define magnitude_of fabsf
#define exp_of exp_f32
#define exp_negative_of exp_negative_f32
#define log_of log_f32
#define log1p_of log1p_f32
#define term term_f32
#define sum_kind sum_kind_f32
#define each_kind each_kind_f32
#define sum sum_f32
#define each each_f32
#define lanes_sum lanes_sum_f32
#define lanes_max lanes_max_f32
#define lanes_dot lanes_dot_f32
#define argmax argmax_f32
#define log_sum log_sum_f32
#define products products_f32
#define lanes_total lanes_total_f32
#define slope slope_f32
#define slopes_kind slopes_kind_f32
#define slopes slopes_f32
#define probabilities probabilities_f32
#define total total_f32
#define blend blend_f32
#define sigmoid_of sigmoid_f32
#include "loss/loss_tmpl.h"
#undef REAL
#undef magnitude_of
#undef exp_of
#undef exp_negative_of
#undef log_of
#undef log1p_of
#undef term
#undef sum_kind
#undef each_kind
#undef sum
#undef each
#undef lanes_sum
#undef lanes_max
#undef lanes_dot
#undef argmax
#undef log_sum
#undef products
#undef lanes_total
#undef slope
#undef slopes_kind
#undef slopes
#undef probabilities
#undef total
#undef blend
#undef sigmoid_of

#define REAL double
#define magnitude_of fabs
#define exp_of exp_f64
#define exp_negative_of exp_negative_f64
#define log_of log_f64
#define log1p_of log1p_f64
#define term term_f64
#define sum_kind sum_kind_f64
#define each_kind each_kind_f64
#define sum sum_f64
#define each each_f64
#define lanes_sum lanes_sum_f64
#define lanes_max lanes_max_f64
#define lanes_dot lanes_dot_f64
#define argmax argmax_f64
#define log_sum log_sum_f64
#define products products_f64
#define lanes_total lanes_total_f64
#define slope slope_f64
#define slopes_kind slopes_kind_f64
#define slopes slopes_f64
#define probabilities probabilities_f64
#define total total_f64
#define blend blend_f64
#define sigmoid_of sigmoid_f64
#include "loss/loss_tmpl.h"
#undef REAL
#undef magnitude_of
#undef exp_of
#undef exp_negative_of
#undef log_of
#undef log1p_of
#undef term
#undef sum_kind
#undef each_kind
#undef sum
#undef each
#undef lanes_sum
#undef lanes_max
#undef lanes_dot
#undef argmax
#undef log_sum
#undef products
#undef lanes_total
#undef slope
#undef slopes_kind
#undef slopes
#undef probabilities
#undef total
#undef blend
#undef sigmoid_of

extern const struct loss_table ISA(loss_table);
const struct loss_table ISA(loss_table) = {
    .sum_f32 = sum_f32,
    .sum_f64 = sum_f64,
    .each_f32 = each_f32,
    .each_f64 = each_f64,
    .log_sum_f32 = log_sum_f32,
    .argmax_f32 = argmax_f32,
    .log_sum_f64 = log_sum_f64,
    .argmax_f64 = argmax_f64,
    .products_f32 = products_f32,
    .slopes_f32 = slopes_f32,
    .probabilities_f32 = probabilities_f32,
    .total_f32 = total_f32,
    .blend_f32 = blend_f32,
    .products_f64 = products_f64,
    .slopes_f64 = slopes_f64,
    .probabilities_f64 = probabilities_f64,
    .total_f64 = total_f64,
    .blend_f64 = blend_f64,
};
