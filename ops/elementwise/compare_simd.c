/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of comparisons and of logic. */
#include "elementwise/elementwise.h"

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

/* y[i] = p RELATION q with p = a[i], q = b[i]; a value that serves the whole stretch is read once. */
#define EACH(relation)               \
    if (single & 2u) {               \
        const TYPE q = b[0];         \
        LOOP y[i] = a[i] relation q; \
    } else if (single & 1u) {        \
        const TYPE p = a[0];         \
        LOOP y[i] = p relation b[i]; \
    } else LOOP y[i] = a[i] relation b[i];

#define TYPE float
#define COMPARE compare_f32
#include "elementwise/compare_tmpl.h"
#undef TYPE
#undef COMPARE
#define TYPE double
#define COMPARE compare_f64
#include "elementwise/compare_tmpl.h"
#undef TYPE
#undef COMPARE
#define TYPE int32_t
#define COMPARE compare_i32
#include "elementwise/compare_tmpl.h"
#undef TYPE
#undef COMPARE
#define TYPE int64_t
#define COMPARE compare_i64
#include "elementwise/compare_tmpl.h"
#undef TYPE
#undef COMPARE
#define TYPE uint8_t
#define COMPARE compare_u8
#include "elementwise/compare_tmpl.h"
#undef COMPARE

/* bool: any byte but 0 is true. */
static int64_t compare_bool(const void *context, const void *const *in, void *out, int64_t n, uint32_t single) {
    const struct elementwise *e = context;
    const uint8_t *a = in[0], *b = in[1];
    const int64_t step_a = single & 1u ? 0 : 1, step_b = single & 2u ? 0 : 1;
    uint8_t *y = out;
    switch (e->op) {
    case LOGIC_NOT: LOOP y[i] = a[i] == 0; break;
    case LOGIC_AND: LOOP y[i] = (uint8_t)((a[i * step_a] != 0) & (b[i * step_b] != 0)); break;
    case LOGIC_OR: LOOP y[i] = (uint8_t)((a[i * step_a] != 0) | (b[i * step_b] != 0)); break;
    case COMPARE_EQ: LOOP y[i] = (a[i * step_a] != 0) == (b[i * step_b] != 0); break;
    case COMPARE_NE: LOOP y[i] = (a[i * step_a] != 0) != (b[i * step_b] != 0); break;
    default: break;
    }
    return -1;
}

extern const struct elementwise_table ISA(compare_table);
const struct elementwise_table ISA(compare_table) = {{[FLOW_F32] = compare_f32,
                                                      [FLOW_F64] = compare_f64,
                                                      [FLOW_I32] = compare_i32,
                                                      [FLOW_I64] = compare_i64,
                                                      [FLOW_U8] = compare_u8,
                                                      [FLOW_BOOL] = compare_bool}};
