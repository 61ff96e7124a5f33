/* SPDX-License-Identifier: Apache-2.0 */
/* What infer of frame and frame_stack tells their kernels. */
#ifndef SPEECH_FRAME_H
#define SPEECH_FRAME_H

#include "speech.h"

struct frame_attrs {
    int64_t size, hop, before;
    int32_t tail;
};
enum { TAIL_ZERO, TAIL_DROP };

struct frame_priv {
    int64_t inner;  /* elements of one step */
    int64_t held;   /* steps the state holds */
    int64_t origin; /* of frame 0 in [held | x]; negative: zeros in front */
    int64_t after, frames;
    bool streams, fresh;
};

struct stack_attrs {
    int64_t count, stride;
};

/* The sequence with (count-1)/2 copies of its first row in front is cut like any other. What a stream holds begins `lead` rows before the
 * next output's first; lead is at least 1, so that a stream that holds nothing has not begun. */
struct stack_priv {
    int64_t lead, front; /* rows of nothing, copies of the first row; both in front of the held rows in this piece */
    int64_t held, after, steps;
};

#endif
