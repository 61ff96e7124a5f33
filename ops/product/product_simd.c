/* SPDX-License-Identifier: Apache-2.0 */
/* Strided products too small or too oddly laid out for a blocked matrix product. */
#include "product/product.h"

#define REAL float
#define row_dot row_dot_f32
#define row_add row_add_f32
#define rows_add rows_add_f32
#define loop loop_f32
#include "product_tmpl.h"
#undef REAL
#undef row_dot
#undef row_add
#undef rows_add
#undef loop

#define REAL double
#define row_dot row_dot_f64
#define row_add row_add_f64
#define rows_add rows_add_f64
#define loop loop_f64
#include "product_tmpl.h"
#undef REAL
#undef row_dot
#undef row_add
#undef rows_add
#undef loop

extern const struct product_table ISA(product_table);
const struct product_table ISA(product_table) = {.loop_f32 = loop_f32, .loop_f64 = loop_f64};
