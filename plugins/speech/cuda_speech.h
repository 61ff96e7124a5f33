/* SPDX-License-Identifier: Apache-2.0 */
/* What the speech operators' kernels share. All is queued on the call's stream. */
#ifndef SPEECH_CUDA_SPEECH_H
#define SPEECH_CUDA_SPEECH_H

#include "common/cuda.h"

/* speech_keep for `batch` sequences: the last `after` of [held | given] steps of `step` bytes each, to `to`. */
struct cuda_keep {
    const void *state, *given;
    void *to;
    int64_t batch, held, count, after, step;
};
int cuda_speech_keep(const struct flow_call *call, const struct cuda_keep *keep);

/* Zeros a state that is only an extent; a gradient where nothing arrives, unless it is added to (rank -1: nothing). */
int cuda_speech_clear(const struct flow_call *call, void *at, int64_t bytes);
int cuda_speech_zero(const struct flow_call *call, const struct flow_tensor *grad, bool add);

static inline int64_t cuda_speech_count(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}
static inline int64_t cuda_speech_bytes(int32_t dtype) { /* of an element */
#define CUDA_SPEECH_ROW(name, value, text, bytes) bytes,
    static const int64_t table[FLOW_TYPE_COUNT] = {FLOW_TYPE_MAP(CUDA_SPEECH_ROW)};
#undef CUDA_SPEECH_ROW
    return table[dtype];
}

#endif
