/* SPDX-License-Identifier: Apache-2.0 */
#include "base/half.h"
#include "exec/convert.h"

#include <common/simd.h>

#define ADD(name, type)                                                             \
    static void name(type *restrict to, const type *restrict from, int64_t count) { \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) to[i] += from[i];   \
    }
ADD(add_f32, float)
ADD(add_f64, double)

const struct convert_table ISA(convert_table) = {half_widen_f16, half_widen_bf16, half_narrow_f16, half_narrow_bf16, add_f32, add_f64};
