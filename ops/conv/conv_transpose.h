/* SPDX-License-Identifier: Apache-2.0 */
/* What conv_transpose.c and its gradients share. */
#ifndef OPS_CONV_CONV_TRANSPOSE_H
#define OPS_CONV_CONV_TRANSPOSE_H

#include "conv/conv.h"

/* One axis: element i of x starts at i * stride + shift of a line of `out` elements. */
struct spread {
    int64_t in, out, kernel, stride, dilation, shift;
    int64_t before, after, extra; /* cropped at the ends; output_padding */
};

/* Streaming: `line` holds what has not gone out yet, `kept` elements from the piece before, then the new ones; `drop` of those that go out
 * are cropped. */
struct spread_stream {
    int32_t axis; /* of x; -1: none */
    int64_t kept, emit, drop, left;
};

struct transpose_plan {
    int32_t axes;
    struct spread axis[2];
    struct spread_stream stream;
    int64_t batch, channels, units, groups;
    int64_t taps;   /* rows of the product: units of a group * kernel */
    int64_t places; /* of x, in one channel */
    int64_t tile, slot, slots;
    int64_t line; /* bytes of the workspace before the slots: the result with what has not gone out yet */
    uint32_t weight, bias;
    struct {
        int64_t slots, tile;      /* shares of the samples' groups; places of x whose columns stand at a time */
        int64_t slot, sums, bias; /* bytes of each: columns, gradient of the weights, of the bias in f64 */
    } back;
};

int transpose_gradient_plan(struct flow_infer *infer, struct transpose_plan *plan); /* what backward needs */
int transpose_gradient(const struct flow_call *call);                               /* backward */

#endif
