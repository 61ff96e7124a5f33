/* SPDX-License-Identifier: Apache-2.0 */
/* Strided products too small or too oddly laid out for a blocked matrix product. */
#include "product/product.h"
#include "common/lanes_simd.h"

/* The pattern is a constant of each call: inlining makes a loop of its own of each. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* How the two operands lie along the vector loop: both adjacent; a adjacent, b one number; anything else. */
enum pattern { ADJACENT, REPEATED, STRIDED };

#define REAL float
#define loop_sum loop_sum_f32
#define row_add row_add_f32
#define loop_add loop_add_f32
#define loop loop_f32
#define lanes_dot lanes_dot_f32
#define lanes_sum lanes_sum_f32
#include "product/product_tmpl.h"
#undef REAL
#undef loop_sum
#undef row_add
#undef loop_add
#undef loop
#undef lanes_dot
#undef lanes_sum

#define REAL double
#define loop_sum loop_sum_f64
#define row_add row_add_f64
#define loop_add loop_add_f64
#define loop loop_f64
#define lanes_dot lanes_dot_f64
#define lanes_sum lanes_sum_f64
#include "product/product_tmpl.h"
#undef REAL
#undef loop_sum
#undef row_add
#undef loop_add
#undef loop
#undef lanes_dot
#undef lanes_sum

extern const struct product_table ISA(product_table);
const struct product_table ISA(product_table) = {.loop_f32 = loop_f32, .loop_f64 = loop_f64};
