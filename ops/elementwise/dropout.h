/* SPDX-License-Identifier: Apache-2.0 */
/* Vector kernels of dropout. */
#ifndef OPS_ELEMENTWISE_DROPOUT_H
#define OPS_ELEMENTWISE_DROPOUT_H

#include "common/simd.h"

struct dropout_attrs {
    double p;
};

struct dropout_mask {
    uint64_t key, run; /* the node's stream: element i takes word i % 4 of block i / 4 */
    uint64_t least;    /* a word below it drops its element */
    double scale;      /* of the others */
    bool add;          /* y += instead of y = */
};

struct dropout_table {
    /* y[i] (+)= x[i] dropped or scaled, as element begin + i; begin is a multiple of 4; x and y may be the same memory. */
    void (*drop_f32)(const struct dropout_mask *mask, const float *x, float *y, int64_t begin, int64_t n);
    void (*drop_f64)(const struct dropout_mask *mask, const double *x, double *y, int64_t begin, int64_t n);
};
ISA_DECLARE(struct dropout_table, dropout_table);

#endif
