/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of sums, extremes and products over axes. */
#include "reduce/reduce.h"
#include "common/math_simd.h"

#include <math.h>

/* The kind is a constant of each call: inlining makes a loop of its own of each. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define REAL float
#define magnitude_of fabsf
#define exp_of exp_negative_f32
#define power_of pow_f32
#define spread_term spread_term_f32
#define spread_run spread_run_f32
#define spread_row spread_row_f32
#define spread spread_f32
#define spread_each spread_each_f32
#define same same_f32
#define find find_f32
#define find_each find_each_f32
#define factors factors_f32
#define factors_each factors_each_f32
#define others others_f32
#define cofactors cofactors_f32
#define cofactors_each cofactors_each_f32
#include "reduce/reduce_back_tmpl.h"
#undef REAL
#undef magnitude_of
#undef exp_of
#undef power_of
#undef spread_term
#undef spread_run
#undef spread_row
#undef spread
#undef spread_each
#undef same
#undef find
#undef find_each
#undef factors
#undef factors_each
#undef others
#undef cofactors
#undef cofactors_each

#define REAL double
#define magnitude_of fabs
#define exp_of exp_negative_f64
#define power_of pow
#define spread_term spread_term_f64
#define spread_run spread_run_f64
#define spread_row spread_row_f64
#define spread spread_f64
#define spread_each spread_each_f64
#define same same_f64
#define find find_f64
#define find_each find_each_f64
#define factors factors_f64
#define factors_each factors_each_f64
#define others others_f64
#define cofactors cofactors_f64
#define cofactors_each cofactors_each_f64
#include "reduce/reduce_back_tmpl.h"
#undef REAL
#undef magnitude_of
#undef exp_of
#undef power_of
#undef spread_term
#undef spread_run
#undef spread_row
#undef spread
#undef spread_each
#undef same
#undef find
#undef find_each
#undef factors
#undef factors_each
#undef others
#undef cofactors
#undef cofactors_each

extern const struct reduce_back_table ISA(reduce_back_table);
const struct reduce_back_table ISA(reduce_back_table) = {
    .spread_f32 = spread_f32,
    .spread_f64 = spread_f64,
    .spread_each_f32 = spread_each_f32,
    .spread_each_f64 = spread_each_f64,
    .find_f32 = find_f32,
    .find_f64 = find_f64,
    .find_each_f32 = find_each_f32,
    .find_each_f64 = find_each_f64,
    .factors_f32 = factors_f32,
    .factors_f64 = factors_f64,
    .factors_each_f32 = factors_each_f32,
    .factors_each_f64 = factors_each_f64,
    .cofactors_f32 = cofactors_f32,
    .cofactors_f64 = cofactors_f64,
    .cofactors_each_f32 = cofactors_each_f32,
    .cofactors_each_f64 = cofactors_each_f64,
};
