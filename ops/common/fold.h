/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of what was broadcast: a map's results summed onto a smaller tensor.
 *   to[j] (+)= sum over all places i of `like` that j was broadcast to, of kernel(in ...)[i]
 * Sums are taken in f64 (f32: of up to 32 at a time in f32), in an order that depends on the shapes alone.
 */
#ifndef OPS_COMMON_FOLD_H
#define OPS_COMMON_FOLD_H

#include "common/map.h"
#include "common/simd.h"

enum { FOLD_BLOCK = 512 };

struct fold_table {
    /* The sum of n adjacent elements. */
    double (*total_f32)(const float *x, int64_t n);
    double (*total_f64)(const double *x, int64_t n);
    /* sum[i] += row[0][i] + ... of 1 to 4 rows */
    void (*rows_f32)(float *sum, const float *const *row, int32_t rows, int64_t n);
    void (*rows_f64)(double *sum, const double *const *row, int32_t rows, int64_t n);
    /* sum[i] += part[i], part[i] = 0 */
    void (*flush)(double *sum, float *part, int64_t n);
    /* to[i] (+)= sum[i] */
    void (*finish_f32)(const double *sum, float *to, int64_t n, bool add);
    void (*finish_f64)(const double *sum, double *to, int64_t n, bool add);
};
ISA_DECLARE(struct fold_table, fold_table);

/* Bytes that fold_run wants as workspace: `like` is the shape that is summed, `to` what remains. */
int64_t fold_workspace(const struct flow_tensor *like, const struct flow_tensor *to);

/* in[0 .. inputs) broadcast to `like`; in[0] has its shape and is row-major. kernel NULL: the values are in[0]'s. `to` is row-major, of
 * in[0]'s type (f32 or f64), and broadcasts to `like`. */
void fold_run(const struct flow_call *call, const struct flow_tensor *like, const struct flow_tensor *to,
              const struct flow_tensor *const *in, int32_t inputs, map_kernel kernel, const void *context, bool add, void *workspace);

#endif
