/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of normalisations, by rows, columns and channels. */
#include "norm/norm.h"
#include "common/lanes_simd.h"

#include <stddef.h>

/* What differs is a constant of each call: inlining makes a loop of its own of each. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define REAL float
#define row_sums row_sums_f32
#define row_slope row_slope_f32
#define layer_back layer_back_f32
#define rows_back rows_back_f32
#define columns_back columns_back_f32
#define channel_sums channel_sums_f32
#define channel_columns channel_columns_f32
#define channel_slope channel_slope_f32
#define channel_slope_each channel_slope_each_f32
#define lanes lanes_f32
#define lanes_tree lanes_tree_f32
#include "norm/norm_back_tmpl.h"
#undef REAL
#undef row_sums
#undef row_slope
#undef layer_back
#undef rows_back
#undef columns_back
#undef channel_sums
#undef channel_columns
#undef channel_slope
#undef channel_slope_each
#undef lanes
#undef lanes_tree

#define REAL double
#define row_sums row_sums_f64
#define row_slope row_slope_f64
#define layer_back layer_back_f64
#define rows_back rows_back_f64
#define columns_back columns_back_f64
#define channel_sums channel_sums_f64
#define channel_columns channel_columns_f64
#define channel_slope channel_slope_f64
#define channel_slope_each channel_slope_each_f64
#define lanes lanes_f64
#define lanes_tree lanes_tree_f64
#include "norm/norm_back_tmpl.h"
#undef REAL
#undef row_sums
#undef row_slope
#undef layer_back
#undef rows_back
#undef columns_back
#undef channel_sums
#undef channel_columns
#undef channel_slope
#undef channel_slope_each
#undef lanes
#undef lanes_tree

extern const struct norm_back_table ISA(norm_back_table);
const struct norm_back_table ISA(norm_back_table) = {
    .layer_back_f32 = layer_back_f32,
    .layer_back_f64 = layer_back_f64,
    .rows_back_f32 = rows_back_f32,
    .rows_back_f64 = rows_back_f64,
    .columns_back_f32 = columns_back_f32,
    .columns_back_f64 = columns_back_f64,
    .channel_sums_f32 = channel_sums_f32,
    .channel_sums_f64 = channel_sums_f64,
    .channel_columns_f32 = channel_columns_f32,
    .channel_columns_f64 = channel_columns_f64,
    .channel_slope_f32 = channel_slope_f32,
    .channel_slope_f64 = channel_slope_f64,
    .channel_slope_each_f32 = channel_slope_each_f32,
    .channel_slope_each_f64 = channel_slope_each_f64,
};
