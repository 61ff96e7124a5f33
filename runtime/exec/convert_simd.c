/* SPDX-License-Identifier: Apache-2.0 */
#include "base/half.h"
#include "exec/convert.h"

#include <common/simd.h>

const struct convert_table ISA(convert_table) = {half_widen_f16, half_widen_bf16, half_narrow_f16, half_narrow_bf16};
