/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEECH_FSMN_H
#define SPEECH_FSMN_H

#include "speech.h"

/* One sequence [before + rows, D]: `before` rows of history (NULL: zeros), then `rows` rows of x, then zeros.
 * y[t] = skip * row(t + left*dilation) + sum_k w[k] * row(t + k*dilation), t in [begin, end). */
struct fsmn_rows {
    const void *history, *x, *weight; /* weight: packed as fsmn_functions says */
    void *y;
    int64_t before, rows, units, taps, left, dilation;
    bool skip;
};

enum { FSMN_BLOCK = 256 }; /* rows whose products are summed before they join the others */

/* Gradient of the weights from rows [begin, end), at most FSMN_BLOCK of one sequence: sums [groups][taps][width] are added to. */
struct fsmn_products {
    const void *x, *dy; /* [rows, D] */
    void *sums;
    int64_t rows, units, taps, left, dilation;
};

struct fsmn_functions {
    int64_t width_f32, width_f64; /* elements of a vector */
    int64_t tile;                 /* rows that a tile computes together */
    void (*rows_f32)(const struct fsmn_rows *rows, int64_t begin, int64_t end);
    void (*rows_f64)(const struct fsmn_rows *rows, int64_t begin, int64_t end);
    void (*products_f32)(const struct fsmn_products *products, int64_t begin, int64_t end);
    void (*products_f64)(const struct fsmn_products *products, int64_t begin, int64_t end);
    void (*add_f32)(float *to, const float *from, int64_t count);
    void (*add_f64)(double *to, const double *from, int64_t count);
};
ISA_DECLARE(struct fsmn_functions, fsmn_functions);

struct fsmn_attrs {
    int64_t left, right, dilation;
    bool skip;
};

struct fsmn_priv {
    const struct fsmn_functions *functions;
    int64_t before; /* rows in front of x: of the history, or zeros */
    int64_t after;  /* rows of them and of x that stay for the next piece */
    int64_t grain;  /* rows a task */
    int64_t tasks;  /* a sequence */
    bool history;
    int64_t parts, slots;  /* backward: shares of the input's gradient, of the weights' */
    int64_t sums, scratch; /* bytes of a slot's, of a share's rows */
};

/* Packed weights are [groups][taps][width]: group g holds the units from fsmn_unit(g) on, the last one overlapping the one before it so
 * that all vectors are whole; below one vector of units the rest is 0. */
static inline int64_t fsmn_groups(int64_t units, int64_t width) { return (units + width - 1) / width; }
static inline int64_t fsmn_unit(int64_t group, int64_t units, int64_t width) {
    return units < width ? 0 : speech_least(group * width, units - width);
}

#endif
