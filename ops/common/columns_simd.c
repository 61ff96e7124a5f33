/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of columns. */
#include "common/columns.h"

#define REAL float
#define sum sum_f32
#include "common/columns_tmpl.h"
#undef REAL
#undef sum

#define REAL double
#define sum sum_f64
#include "common/columns_tmpl.h"
#undef REAL
#undef sum

extern const struct columns_table ISA(columns_table);
const struct columns_table ISA(columns_table) = {.sum_f32 = sum_f32, .sum_f64 = sum_f64};
