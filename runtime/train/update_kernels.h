/* SPDX-License-Identifier: Apache-2.0 */
/* What update.c knows of update_simd.c: loops over gradients, for each instruction set; [0] f32, [1] f64. */
#ifndef FLOW_TRAIN_UPDATE_KERNELS_H
#define FLOW_TRAIN_UPDATE_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* Where in the stream of normal numbers a span of a gradient lies. */
struct update_draw {
    uint64_t key, step;
    uint64_t block; /* index of the span's first element / 32 */
    float factor;   /* -2 times the variance */
};

struct update_kernels {
    double (*noise[2])(int64_t count, void *gradient, double scale, const struct update_draw *draw); /* g = g scale + noise; sum g^2 */
    double (*scale[2])(int64_t count, void *gradient, double scale);                                 /* g = g scale; sum g^2 */
    void (*centre[2])(int64_t rows, int64_t width, void *gradient);                                  /* rows less their means */
    bool (*finite)(int64_t count, const void *gradient);                                             /* f64 */
};

#endif
