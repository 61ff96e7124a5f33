/* SPDX-License-Identifier: Apache-2.0 */
/* Integers and truth values. Sums and products wrap. */
#include "reduce/reduce.h"

#include <limits.h>

#define INTEGER int32_t
#define UNSIGNED uint32_t
#define LEAST INT32_MIN
#define MOST INT32_MAX
#define fold fold_i32
#define results results_i32
#include "reduce/reduce_integer_tmpl.h"
#undef INTEGER
#undef UNSIGNED
#undef LEAST
#undef MOST
#undef fold
#undef results

#define INTEGER int64_t
#define UNSIGNED uint64_t
#define LEAST INT64_MIN
#define MOST INT64_MAX
#define fold fold_i64
#define results results_i64
#include "reduce/reduce_integer_tmpl.h"
#undef INTEGER
#undef UNSIGNED
#undef LEAST
#undef MOST
#undef fold
#undef results

/* any, all: also the extremes of u8, and its sum and product modulo 256. */
#define INTEGER uint8_t
#define UNSIGNED uint8_t
#define LEAST 0
#define MOST UINT8_MAX
#define fold fold_u8
#define results results_u8
#include "reduce/reduce_integer_tmpl.h"
#undef INTEGER
#undef UNSIGNED
#undef LEAST
#undef MOST
#undef fold
#undef results

void reduce_integer(void *y, const void *x, int32_t dtype, const struct reduce_plan *plan, const struct reduce_walk *walk, int64_t width) {
    switch (dtype) {
    case FLOW_I32: results_i32(y, x, plan->op, plan->last, walk, width); break;
    case FLOW_I64: results_i64(y, x, plan->op, plan->last, walk, width); break;
    default: results_u8(y, x, plan->op, plan->last, walk, width); break;
    }
}
