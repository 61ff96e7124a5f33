/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products of f64, compiled once for each instruction set. */
#include "base/half.h"
#include "device/cpu/cpu.h"
#include "device/cpu/gemm.h"

#define T double
#define BITS int64_t
#define GEMM_F64 1
#define GEMM_DTYPE FLOW_F64
#include "device/cpu/gemm_tmpl.h"

extern const struct gemm_kernels ISA(gemm_f64);
const struct gemm_kernels ISA(gemm_f64) = {.rows = ROWS, .panel = PANEL, .tile = tile, .few_rows = few_rows, .dots = dots, .pack = pack};
