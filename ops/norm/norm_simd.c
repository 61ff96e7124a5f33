/* SPDX-License-Identifier: Apache-2.0 */
/* Means, deviations and scales of rows and columns. */
#include "norm/norm.h"
#include "common/lanes_simd.h"

#include <math.h>

#define REAL float
#define lanes_squares lanes_squares_f32
#define lanes_total lanes_total_f32
#define squares_of squares_of_f32
#define moments moments_f32
#define affine affine_f32
#define affine_each affine_each_f32
#define layer layer_f32
#define scale_of scale_of_f32
#define rows rows_f32
#define columns columns_f32
#define moment_columns moment_columns_f32
#include "norm/norm_tmpl.h"
#undef REAL
#undef lanes_squares
#undef lanes_total
#undef squares_of
#undef moments
#undef affine
#undef affine_each
#undef layer
#undef scale_of
#undef rows
#undef columns
#undef moment_columns

#define REAL double
#define lanes_squares lanes_squares_f64
#define lanes_total lanes_total_f64
#define squares_of squares_of_f64
#define moments moments_f64
#define affine affine_f64
#define affine_each affine_each_f64
#define layer layer_f64
#define scale_of scale_of_f64
#define rows rows_f64
#define columns columns_f64
#define moment_columns moment_columns_f64
#include "norm/norm_tmpl.h"
#undef REAL
#undef lanes_squares
#undef lanes_total
#undef squares_of
#undef moments
#undef affine
#undef affine_each
#undef layer
#undef scale_of
#undef rows
#undef columns
#undef moment_columns

extern const struct norm_table ISA(norm_table);
const struct norm_table ISA(norm_table) = {
    .layer_f32 = layer_f32,
    .layer_f64 = layer_f64,
    .rows_f32 = rows_f32,
    .rows_f64 = rows_f64,
    .columns_f32 = columns_f32,
    .columns_f64 = columns_f64,
    .moments_f32 = moments_f32,
    .moments_f64 = moments_f64,
    .moment_columns_f32 = moment_columns_f32,
    .moment_columns_f64 = moment_columns_f64,
    .affine_f32 = affine_f32,
    .affine_f64 = affine_f64,
    .affine_each_f32 = affine_each_f32,
    .affine_each_f64 = affine_each_f64,
};
