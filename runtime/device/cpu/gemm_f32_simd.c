/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products of f32, compiled once for each instruction set. */
#include "base/half.h"
#include "device/cpu/cpu.h"
#include "device/cpu/gemm.h"

#define T float
#define BITS int32_t
#define GEMM_F64 0
#define GEMM_DTYPE FLOW_F32
#include "device/cpu/gemm_tmpl.h"

extern const struct gemm_kernels ISA(gemm_f32);
const struct gemm_kernels ISA(gemm_f32) = {.rows = ROWS, .panel = PANEL, .tile = tile, .few_rows = few_rows, .dots = dots, .pack = pack};
