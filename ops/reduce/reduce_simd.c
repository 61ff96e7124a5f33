/* SPDX-License-Identifier: Apache-2.0 */
/* Sums, extremes and products over axes. */
#include "reduce/reduce.h"
#include "common/lanes_simd.h"
#include "common/math_simd.h"

#include <math.h>

/* The operation is a constant of each call: inlining makes a loop of its own of each. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum term_op { TERM_SELF, TERM_ABS, TERM_SQUARE, TERM_SQUARE_SCALED, TERM_DEVIATION, TERM_EXP };
enum largest_op { LARGEST, LARGEST_NEGATED, LARGEST_MAGNITUDE };

#define REAL float
#define SQUARE_LEAST 1e-30 /* sums of squares between these bounds lost nothing to under- or overflow */
#define SQUARE_MOST 1e38
#define magnitude_of fabsf
#define exp_of exp_negative_f32
#define max_of max_f32
#define term term_f32
#define lanes_total lanes_total_f32
#define lanes_squares lanes_squares_f32
#define lanes_sum lanes_sum_f32
#define lanes_max lanes_max_f32
#define lanes_odd lanes_odd_f32
#define largest_run largest_run_f32
#define sum_run sum_run_f32
#define sum_of sum_of_f32
#define largest_of largest_of_f32
#define norm_euclidean norm_euclidean_f32
#define norm_general norm_general_f32
#define product_of product_of_f32
#define log_sum_exp log_sum_exp_f32
#define last last_f32
#define sum_columns sum_columns_f32
#define largest_columns largest_columns_f32
#define norm_euclidean_columns norm_euclidean_columns_f32
#define norm_columns norm_columns_f32
#define product_columns product_columns_f32
#define log_sum_exp_columns log_sum_exp_columns_f32
#define first first_f32
#include "reduce/reduce_tmpl.h"
#undef REAL
#undef SQUARE_LEAST
#undef SQUARE_MOST
#undef magnitude_of
#undef exp_of
#undef max_of
#undef term
#undef lanes_total
#undef lanes_squares
#undef lanes_sum
#undef lanes_max
#undef lanes_odd
#undef largest_run
#undef sum_run
#undef sum_of
#undef largest_of
#undef norm_euclidean
#undef norm_general
#undef product_of
#undef log_sum_exp
#undef last
#undef sum_columns
#undef largest_columns
#undef norm_euclidean_columns
#undef norm_columns
#undef product_columns
#undef log_sum_exp_columns
#undef first

#define REAL double
#define SQUARE_LEAST 1e-290
#define SQUARE_MOST 1e307
#define magnitude_of fabs
#define exp_of exp_negative_f64
#define max_of max_f64
#define term term_f64
#define lanes_total lanes_total_f64
#define lanes_squares lanes_squares_f64
#define lanes_sum lanes_sum_f64
#define lanes_max lanes_max_f64
#define lanes_odd lanes_odd_f64
#define largest_run largest_run_f64
#define sum_run sum_run_f64
#define sum_of sum_of_f64
#define largest_of largest_of_f64
#define norm_euclidean norm_euclidean_f64
#define norm_general norm_general_f64
#define product_of product_of_f64
#define log_sum_exp log_sum_exp_f64
#define last last_f64
#define sum_columns sum_columns_f64
#define largest_columns largest_columns_f64
#define norm_euclidean_columns norm_euclidean_columns_f64
#define norm_columns norm_columns_f64
#define product_columns product_columns_f64
#define log_sum_exp_columns log_sum_exp_columns_f64
#define first first_f64
#include "reduce/reduce_tmpl.h"

extern const struct reduce_table ISA(reduce_table);
const struct reduce_table ISA(reduce_table) = {
    .last_f32 = last_f32,
    .last_f64 = last_f64,
    .first_f32 = first_f32,
    .first_f64 = first_f64,
};
