/* SPDX-License-Identifier: Apache-2.0 */
/* Exponentials over their sum, along rows and along columns. */
#include "reduce/reduce.h"
#include "common/lanes_simd.h"
#include "common/math_simd.h"

#include <math.h>

#define REAL float
#define exp_of exp_negative_f32
#define max_of max_f32
#define lanes_sum lanes_sum_f32
#define lanes_max lanes_max_f32
#define rows rows_f32
#define columns columns_f32
#include "reduce/softmax_tmpl.h"
#undef REAL
#undef exp_of
#undef max_of
#undef lanes_sum
#undef lanes_max
#undef rows
#undef columns

#define REAL double
#define exp_of exp_negative_f64
#define max_of max_f64
#define lanes_sum lanes_sum_f64
#define lanes_max lanes_max_f64
#define rows rows_f64
#define columns columns_f64
#include "reduce/softmax_tmpl.h"
#undef REAL
#undef exp_of
#undef max_of
#undef lanes_sum
#undef lanes_max
#undef rows
#undef columns

extern const struct softmax_table ISA(softmax_table);
const struct softmax_table ISA(softmax_table) = {
    .rows_f32 = rows_f32,
    .rows_f64 = rows_f64,
    .columns_f32 = columns_f32,
    .columns_f64 = columns_f64,
};
