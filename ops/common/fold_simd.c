/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of fold.c. */
#include "common/fold.h"

#include "common/lanes_simd.h"

#define LOOP _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

static double total_f32(const float *x, int64_t n) { return lanes_total_f32(x, n); }
static double total_f64(const double *x, int64_t n) { return lanes_sum_f64(x, n); }

#define REAL float
#define ROWS rows_f32
#define FINISH finish_f32
#include "common/fold_tmpl.h"
#undef REAL
#undef ROWS
#undef FINISH
#define REAL double
#define ROWS rows_f64
#define FINISH finish_f64
#include "common/fold_tmpl.h"

static void flush(double *sum, float *part, int64_t n) {
    LOOP {
        sum[i] += (double)part[i];
        part[i] = 0;
    }
}

extern const struct fold_table ISA(fold_table);
const struct fold_table ISA(fold_table) = {total_f32, total_f64, rows_f32, rows_f64, flush, finish_f32, finish_f64};
