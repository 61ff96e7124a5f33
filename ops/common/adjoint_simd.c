/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of adjoint.c. */
#include "common/adjoint.h"

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

static void add_f32(const float *from, float *to, int64_t n) { LOOP to[i] += from[i]; }
static void add_f64(const double *from, double *to, int64_t n) { LOOP to[i] += from[i]; }

extern const struct adjoint_table ISA(adjoint_table);
const struct adjoint_table ISA(adjoint_table) = {add_f32, add_f64};
