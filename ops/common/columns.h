/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of columns of a tall matrix: gradients of what was added to every row. One reading of the matrix, spread over the threads by blocks
 * of rows whose sums are added in order. */
#ifndef OPS_COMMON_COLUMNS_H
#define OPS_COMMON_COLUMNS_H

#include "common/simd.h"

struct columns_table {
    /* sum[j] = sum of x[i * stride + j], j < width, i < rows; 64 rows at a time in the element type, these sums in double */
    void (*sum_f32)(double *sum, const float *x, int64_t rows, int64_t stride, int64_t width);
    void (*sum_f64)(double *sum, const double *x, int64_t rows, int64_t stride, int64_t width);
};
ISA_DECLARE(struct columns_table, columns_table);

/* Bytes of workspace; INT64_MAX: too many. */
int64_t columns_workspace(int64_t rows, int64_t width);
/* y[j] = sum of column j, or is added to; dtype f32 or f64, of x and y both. No rows: 0. */
void columns_sum(const struct flow_call *call, int32_t dtype, void *y, const void *x, int64_t rows, int64_t stride, int64_t width,
                 bool adds, void *workspace);

#endif
