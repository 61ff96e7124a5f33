/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of running sums and extremes. Floats are summed in f64, integers modulo 2^64. */
#include "index/lines.h"

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

#define TYPE float
#define SUM double
#define COLUMNS columns_f32
#define ROWS rows_f32
#define BEST best_f32
#include "index/lines_tmpl.h"
#undef TYPE
#undef SUM
#undef COLUMNS
#undef ROWS
#undef BEST

#define TYPE double
#define SUM double
#define COLUMNS columns_f64
#define ROWS rows_f64
#define BEST best_f64
#include "index/lines_tmpl.h"
#undef TYPE
#undef SUM
#undef COLUMNS
#undef ROWS
#undef BEST

#define TYPE int32_t
#define SUM uint64_t
#define COLUMNS columns_i32
#define ROWS rows_i32
#define BEST best_i32
#include "index/lines_tmpl.h"
#undef TYPE
#undef SUM
#undef COLUMNS
#undef ROWS
#undef BEST

#define TYPE int64_t
#define SUM uint64_t
#define COLUMNS columns_i64
#define ROWS rows_i64
#define BEST best_i64
#include "index/lines_tmpl.h"
#undef TYPE
#undef SUM
#undef COLUMNS
#undef ROWS
#undef BEST

#define TYPE uint8_t
#define SUM uint64_t
#define COLUMNS columns_u8
#define ROWS rows_u8
#define BEST best_u8
#include "index/lines_tmpl.h"

extern const struct line_table ISA(line_table);
const struct line_table ISA(line_table) = {
    {[FLOW_F32] = columns_f32, [FLOW_F64] = columns_f64, [FLOW_I32] = columns_i32, [FLOW_I64] = columns_i64, [FLOW_U8] = columns_u8},
    {[FLOW_F32] = rows_f32, [FLOW_F64] = rows_f64, [FLOW_I32] = rows_i32, [FLOW_I64] = rows_i64, [FLOW_U8] = rows_u8},
    {[FLOW_F32] = best_f32, [FLOW_F64] = best_f64, [FLOW_I32] = best_i32, [FLOW_I64] = best_i64, [FLOW_U8] = best_u8}};
