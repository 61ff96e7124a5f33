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

/* Backward, one segment: dx[i] (+)= share[i] dy[i], steps of `inner` elements. */
struct overlap_segment {
    const void *dy, *window, *divisor; /* divisor: one over the summed windows, of the segment's steps; NULL: 1 */
    void *dx;
    int64_t count, inner;
    bool add;
};

struct overlap_functions {
    void (*sum_f32)(const struct overlap_sum *sum, int64_t begin, int64_t end); /* sums [begin, end) */
    void (*sum_f64)(const struct overlap_sum *sum, int64_t begin, int64_t end);
    void (*segment_f32)(const struct overlap_segment *segment);
    void (*segment_f64)(const struct overlap_segment *segment);
};
ISA_DECLARE(struct overlap_functions, overlap_functions);

struct overlap_attrs {
    int64_t hop, samples;
    int32_t window;
    bool normalize;
};

struct overlap_priv {
    const struct overlap_functions *functions;
    struct overlap overlap;
    int64_t inner, held, grain;
    bool streams;
};

#endif
