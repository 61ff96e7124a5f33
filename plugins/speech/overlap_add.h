/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEECH_OVERLAP_ADD_H
#define SPEECH_OVERLAP_ADD_H

#include "speech.h"

enum { OVERLAP_RECT, OVERLAP_TRIANGLE, OVERLAP_HANN };

/* One sequence of segments x [frames, size, inner] and what is held of the sums of earlier ones. */
struct overlap_sum {
    const void *x, *window, *tail, *weights; /* window [size]; tail [held, inner], weights [held] */
    int64_t frames, size, hop, inner, held, offset, final, drop, emitted;
    bool normalize;
    void *y, *tail_out, *weights_out;
};

struct overlap_functions {
    void (*sum_f32)(const struct overlap_sum *sum, int64_t begin, int64_t end); /* sums [begin, end) */
    void (*sum_f64)(const struct overlap_sum *sum, int64_t begin, int64_t end);
};
ISA_DECLARE(struct overlap_functions, overlap_functions);

#endif
