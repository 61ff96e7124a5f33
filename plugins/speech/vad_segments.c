/* SPDX-License-Identifier: Apache-2.0 */
/* vad_segments: from the probability of silence, frame by frame, to segments of speech. */
#include "speech.h"

#include <string.h>

struct segment_attrs {
    double threshold;
    int64_t window, on, off, lookback, end_silence, lookahead, longest, frame_ms;
};

/* Where the detector stands, as it is kept in the state `counters`. */
enum { FRAME, SUM, ON, SILENT, START, FLOOR, RING, COUNTERS }; /* START: 1 + the first frame of the open segment, 0 outside one */

static const struct flow_port inputs[] = {
    {"x", "probability of silence, a frame each", "T", FLOW_TYPES_FLOAT, FLOW_NO_GRAD},
};
static const struct flow_port outputs[] = {
    {"y", "first and last moment of each segment [N, 2], ms; when streaming, those that end in the piece, in the time of the whole", NULL,
     FLOW_TYPE(I64), FLOW_DYNAMIC | FLOW_NO_GRAD},
};
static const struct flow_state states[] = {
    {"ring", "decisions of the last `window` frames", "window", "zeros", FLOW_TYPE(U8), 0, 0, 0},
    {"counters", "frame, sum of the ring, on, silent, start + 1, floor, place in the ring", "7", "zeros", FLOW_TYPE(I64), 0, 0, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct segment_attrs, threshold, "speech where 1 - x >= x + threshold", "0.6", FLOW_NO_MIN, FLOW_NO_MAX),
    FLOW_ATTR(struct segment_attrs, window, "frames over which decisions are counted", "20", 1, 1 << 20),
    FLOW_ATTR(struct segment_attrs, on, "frames of speech in the window that turn on", "15", 1, 1 << 20),
    FLOW_ATTR(struct segment_attrs, off, "frames of speech in the window, or fewer, that turn off", "15", 0, 1 << 20),
    FLOW_ATTR(struct segment_attrs, lookback, "frames before the window at which a segment may begin", "20", 0, 1 << 30),
    FLOW_ATTR(struct segment_attrs, end_silence, "frames of silence that end a segment", "65", 1, 1 << 30),
    FLOW_ATTR(struct segment_attrs, lookahead, "frames of that silence left in the segment", "10", 0, 1 << 30),
    FLOW_ATTR(struct segment_attrs, longest, "frames of the longest segment", "6000", 1, 1 << 30),
    FLOW_ATTR(struct segment_attrs, frame_ms, "ms between frames", "10", 1, 1 << 20),
};

static int infer(struct flow_infer *ctx) {
    const struct segment_attrs *a = ctx->attrs;
    int64_t frames = ctx->in[0].shape[0], window = a->window, counters = COUNTERS;
    if (speech_axis(ctx, 0) == 0) {
        ctx->out_axis[0] = 0;
        if (!speech_state(ctx, 0, FLOW_U8, 1, &window, -1, 0) || !speech_state(ctx, 1, FLOW_I64, 1, &counters, -1, 0))
            return speech_too_large(ctx);
    }
    /* to end a segment the ring must have filled again, `on` frames at least; one may be open, or the ring full, at the start */
    const int64_t shape[2] = {frames / a->on + 2, 2};
    if (!speech_shape(&ctx->out[0], FLOW_I64, 2, shape)) return speech_too_large(ctx);
    ctx->workspace = speech_align(window);
    ctx->bytes = (double)shape_type_bytes(ctx->in[0].dtype) * (double)frames;
    return FLOW_OK;
}

struct detector {
    const struct segment_attrs *a;
    uint8_t *ring;
    int64_t c[COUNTERS];
    int64_t (*segments)[2];
    int64_t count;
};

static void end_segment(struct detector *d, int64_t e) {
    d->segments[d->count][0] = d->a->frame_ms * (d->c[START] - 1), d->segments[d->count][1] = d->a->frame_ms * (e + 1);
    d->count++;
    d->c[FLOOR] = e + 1, d->c[SUM] = d->c[ON] = d->c[SILENT] = d->c[START] = 0;
    memset(d->ring, 0, (size_t)d->a->window);
}

/* One frame. That it is the last of all is dealt with by the caller: an open segment then ends with it, whatever happened in the frame. */
static void step(struct detector *d, double silence) {
    const struct segment_attrs *a = d->a;
    int64_t *c = d->c, t = c[FRAME]++, earliest = t - (a->window + a->lookback);
    uint8_t speech = 1.0 - silence >= silence + a->threshold;
    c[SUM] += speech - d->ring[c[RING]];
    d->ring[c[RING]] = speech;
    c[RING] = c[RING] + 1 == a->window ? 0 : c[RING] + 1;
    bool change = c[ON] ? c[SUM] <= a->off : c[SUM] >= a->on;
    if (change) c[ON] = !c[ON];
    bool too_long = c[START] && t - (c[START] - 1) + 1 > a->longest;
    if (!change && !c[ON]) {
        c[SILENT]++;
        if (c[START] && c[SILENT] >= a->end_silence) end_segment(d, t - speech_most(a->end_silence - a->lookahead - 1, 0));
        else if (too_long) end_segment(d, t);
        else if (!c[START]) c[FLOOR] = speech_most(c[FLOOR], earliest);
        return;
    }
    c[SILENT] = 0;
    if (!c[START] && change && c[ON]) c[START] = 1 + speech_most(c[FLOOR], earliest);
    else if (too_long) end_segment(d, t);
}

static int forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0];
    struct detector d = {.a = call->attrs, .ring = call->workspace, .segments = call->out[0].data};
    bool streams = call->streaming && call->state_count == 2;
    if (streams) {
        memcpy(d.ring, call->state_in[0].data, (size_t)d.a->window);
        memcpy(d.c, call->state_in[1].data, sizeof d.c);
    } else memset(d.ring, 0, (size_t)d.a->window);
    for (int64_t t = 0; t < x->shape[0]; t++)
        step(&d, x->dtype == FLOW_F64 ? ((const double *)x->data)[t] : (double)((const float *)x->data)[t]);
    if ((!streams || call->flush) && d.c[START]) end_segment(&d, d.c[FRAME] - 1);
    if (streams) {
        memcpy(call->state_out[0].data, d.ring, (size_t)d.a->window);
        memcpy(call->state_out[1].data, d.c, sizeof d.c);
    }
    call->out[0].shape[0] = d.count;
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward},
};

const struct flow_operator vad_segments_operator = {
    .size = sizeof(struct flow_operator),
    .name = "vad_segments",
    .summary = "segments of speech from the probability of silence, frame by frame",
    .equation =
        "a frame is speech when 1 - x >= x + threshold; s counts it over the last `window` frames (0 at the start);\n"
        "off and s >= on: turn on; on and s <= off: turn off\n"
        "a segment starts when it turns on, at max(floor, t - window - lookback); floor: that, in silence outside, or the end before + 1\n"
        "it ends after end_silence frames that stay off, at t - max(end_silence - lookahead - 1, 0); at `longest` frames; at the end",
    .reference = "FunASR, models/fsmn_vad_streaming (the end-point detector of FSMN-VAD)",
    .example = "y: {op: vad_segments, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct segment_attrs),
    .priv_size = 0,
    .infer = infer,
};
