/* SPDX-License-Identifier: Apache-2.0 */
/* Exponentials over their sum, along rows and along columns. */
#include "reduce/reduce.h"
#include "common/lanes_simd.h"
#include "common/math_simd.h"

#include <math.h>

/* What differs is a constant of each call: inlining makes a loop of its own of each. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define REAL float
#define exp_of exp_negative_f32
#define max_of max_f32
#define lanes_sum lanes_sum_f32
#define lanes_max lanes_max_f32
#define rows rows_f32
#define columns columns_f32
#define lanes_dot lanes_dot_f32
#define row_back row_back_f32
#define rows_back rows_back_f32
#define tile_back tile_back_f32
#define columns_back columns_back_f32
#include "reduce/softmax_tmpl.h"
#undef REAL
#undef exp_of
#undef max_of
#undef lanes_sum
#undef lanes_max
#undef rows
#undef columns
#undef lanes_dot
#undef row_back
#undef rows_back
#undef tile_back
#undef columns_back

#define REAL double
#define exp_of exp_negative_f64
#define max_of max_f64
#define lanes_sum lanes_sum_f64
#define lanes_max lanes_max_f64
#define rows rows_f64
#define columns columns_f64
#define lanes_dot lanes_dot_f64
#define row_back row_back_f64
#define rows_back rows_back_f64
#define tile_back tile_back_f64
#define columns_back columns_back_f64
#include "reduce/softmax_tmpl.h"
#undef REAL
#undef exp_of
#undef max_of
#undef lanes_sum
#undef lanes_max
#undef rows
#undef columns
#undef lanes_dot
#undef row_back
#undef rows_back
#undef tile_back
#undef columns_back

extern const struct softmax_table ISA(softmax_table);
const struct softmax_table ISA(softmax_table) = {
    .rows_f32 = rows_f32,
    .rows_f64 = rows_f64,
    .columns_f32 = columns_f32,
    .rows_back_f32 = rows_back_f32,
    .columns_back_f32 = columns_back_f32,
    .columns_f64 = columns_f64,
    .rows_back_f64 = rows_back_f64,
    .columns_back_f64 = columns_back_f64,
};
