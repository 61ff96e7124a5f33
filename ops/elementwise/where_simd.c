/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of where: elements are moved, so that only their size counts. */
#include "elementwise/elementwise.h"

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

#define TYPE uint8_t
#define WHERE where_1
#include "elementwise/where_tmpl.h"
#undef TYPE
#undef WHERE
#define TYPE uint16_t
#define WHERE where_2
#include "elementwise/where_tmpl.h"
#undef TYPE
#undef WHERE
#define TYPE uint32_t
#define WHERE where_4
#include "elementwise/where_tmpl.h"
#undef TYPE
#undef WHERE
#define TYPE uint64_t
#define WHERE where_8
#include "elementwise/where_tmpl.h"

extern const struct elementwise_table ISA(where_table);
const struct elementwise_table ISA(where_table) = {{[FLOW_F32] = where_4,
                                                    [FLOW_F16] = where_2,
                                                    [FLOW_BF16] = where_2,
                                                    [FLOW_F64] = where_8,
                                                    [FLOW_I32] = where_4,
                                                    [FLOW_I64] = where_8,
                                                    [FLOW_U8] = where_1,
                                                    [FLOW_BOOL] = where_1}};
