/* SPDX-License-Identifier: Apache-2.0 */
/* What the speech operators share: shapes, keys of prepared blocks, and the arithmetic of sequences that are cut into frames or added up
 * from frames while they arrive in pieces. Where a stream stands is told by the extents of its states alone. */
#ifndef SPEECH_SPEECH_H
#define SPEECH_SPEECH_H

#include <flow/plugin.h>

#include "common/shape.h"
#include "common/simd.h"

/* Makes `tensor` contiguous with these extents; false when its bytes overflow. [plan] */
bool speech_shape(struct flow_tensor *tensor, int32_t dtype, int32_t rank, const int64_t *shape);
/* The same for a state: what goes out is set alike, and changed by the caller where it differs. What comes in is set in the first piece. */
bool speech_state(struct flow_infer *ctx, uint32_t state, int32_t dtype, int32_t rank, const int64_t *first, int64_t axis, int64_t out);
int speech_too_large(struct flow_infer *ctx); /* fails: the shape overflows */

static inline int64_t speech_align(int64_t bytes) { return (bytes + 63) / 64 * 64; }
static inline int32_t speech_real(int32_t dtype) { return dtype == FLOW_F64 ? FLOW_F64 : FLOW_F32; } /* that kernels compute in */
static inline int64_t speech_least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t speech_most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline uint64_t speech_mix(uint64_t key, int64_t value) {
    key = (key ^ (uint64_t)value) * 0x9E3779B97F4A7C15u;
    return key ^ (key >> 29);
}

/* The axis of input `i` that arrives in pieces, or -1. */
static inline int32_t speech_axis(const struct flow_infer *ctx, uint32_t i) { return ctx->streaming ? ctx->in_axis[i] : -1; }
/* Passes on an axis that the operator treats row by row; states are empty then. */
int speech_pass(struct flow_infer *ctx, int32_t axis, uint32_t outputs);

/* How many parts to cut work of `units` into, each at least `least` units: scratch is planned for each. */
static inline int64_t speech_parts(const struct flow_host *host, int64_t units, int64_t least) {
    int64_t most = host->threads > 1 ? 2 * (int64_t)host->threads : 1;
    return speech_most(1, speech_least(most, units / speech_most(least, 1)));
}
void speech_parallel(const struct flow_call *call, int64_t parts, void (*body)(void *context, int64_t begin, int64_t end), void *context);

/* Backward: zeros where nothing arrives, unless it is added to; rank -1: nothing. [run] */
void speech_zero(struct flow_tensor *grad, bool add);

/* to[i] += from[i], f32 or f64. [run] */
void speech_add(int32_t dtype, void *to, const void *from, int64_t count);

/* Backward of what was cut from a sequence of `samples` and its mirror images: from[i] is added to the sample that stood at first + i.
 * Mirrored about the last sample (-1 is 1), or beyond it (-1 is 0), as often as it takes. [run] */
enum { MIRROR_SAMPLE, MIRROR_EDGE };
void speech_fold(int32_t dtype, void *to, int64_t samples, const void *from, int64_t first, int64_t count, int32_t mirror);

/* The last `after` of [held | given] steps of `step` bytes each. [run] */
void speech_keep(const void *state, int64_t held, const void *given, int64_t count, int64_t step, void *to, int64_t after);

/* Frames of `size` every `hop`, cut from a sequence. What is held begins cut_lead steps before the next frame: so there is never less than
 * nothing to hold, also where frames lie apart (hop > size). */
static inline int64_t cut_lead(int64_t size, int64_t hop) { return hop > size ? hop - size : 0; }
static inline int64_t cut_frames(int64_t steps, int64_t size, int64_t hop) { return steps < size ? 0 : 1 + (steps - size) / hop; }

/* Frames of `size` every `hop`, added up to a sequence that loses `edge` steps at either end. `held` sums wait for more frames; the state
 * `phase` has the extent 2 * (steps still to be dropped at the start) + (1 before the first frame). */
struct overlap {
    int64_t offset;      /* of this piece's first frame from the first sum held */
    int64_t total;       /* sums in hand: those held and those that the frames reach */
    int64_t final;       /* of them complete */
    int64_t drop;        /* of those, not part of the sequence */
    int64_t held, phase; /* extents of the states that go out */
};
int64_t overlap_phase(int64_t edge); /* extent of `phase` at the start */
/* false on overflow. Without streaming: held 0, phase overlap_phase(edge), flush true. */
bool overlap_piece(int64_t size, int64_t hop, int64_t edge, int64_t frames, int64_t held, int64_t phase, bool flush, struct overlap *out);

/* Windows over n = 0 .. length - 1. Periodic ones have the period `length`, the others end as they begin. */
enum { WINDOW_HANN, WINDOW_SQRT_HANN, WINDOW_HAMMING, WINDOW_RECT, WINDOW_POVEY };
double window_value(int32_t kind, int64_t n, int64_t length, bool periodic);

extern const struct flow_operator fsmn_operator, stft_operator, istft_operator, fbank_operator, frame_stack_operator, frame_operator,
    overlap_add_operator, vad_segments_operator;

#endif
