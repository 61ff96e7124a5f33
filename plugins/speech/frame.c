/* SPDX-License-Identifier: Apache-2.0 */
/* frame: a long signal in overlapping segments. */
#include "frame.h"

#include <string.h>

static const struct flow_port inputs[] = {
    {"x", "signals [B, S, ...]", NULL, FLOW_TYPES_ANY, 0},
};
static const struct flow_port outputs[] = {
    {"y", "segments [B, n, size, ...]", NULL, FLOW_TYPES_ANY, 0},
};
static const struct flow_state states[] = {
    {"rest", "steps from the next segment's start on, [B, R, ...]", NULL, "zeros", FLOW_TYPES_ANY, 0, 0, 0},
    {"fresh", "extent: 1 before the first segment, 0 after", NULL, "zeros", FLOW_TYPE(U8), 0, 0, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct frame_attrs, size, "steps of a segment", FLOW_REQUIRED, 1, 0x1p40),
    FLOW_ATTR(struct frame_attrs, hop, "steps between segments' starts", FLOW_REQUIRED, 1, 0x1p40),
    FLOW_ATTR_CHOICES(struct frame_attrs, tail, "zero: the last segment is filled up with zeros; drop: whole segments only", "zero",
                      "zero|drop"),
    FLOW_ATTR(struct frame_attrs, before, "zeros put in front of the signal, steps", "0", 0, 0x1p40),
};

/* n = ceil(max(S - size, 0)/hop) + 1 of the whole; `steps` from the next frame on, of which the first `frames` of a stream are gone. */
static int64_t frames_with_tail(int64_t steps, int64_t size, int64_t hop, bool fresh) {
    if (fresh) steps = speech_most(steps, size);
    int64_t beyond = steps - size; /* of a stream that has begun: at least -hop */
    return beyond <= 0 ? (beyond > -hop ? 1 : 0) : (beyond + hop - 1) / hop + 1;
}

static int infer_stream(struct flow_infer *ctx) {
    const struct frame_attrs *a = ctx->attrs;
    struct frame_priv *priv = ctx->priv;
    const struct flow_tensor *x = &ctx->in[0];
    int64_t lead = cut_lead(a->size, a->hop), shape[FLOW_RANK_MAX], one = 1;
    memcpy(shape, x->shape, sizeof shape);
    shape[1] = lead + a->before;
    if (ctx->first && (!speech_shape(&ctx->state[0], x->dtype, x->rank, shape) || !speech_shape(&ctx->state[1], FLOW_U8, 1, &one)))
        return speech_too_large(ctx);
    priv->streams = true, priv->held = ctx->state[0].shape[1], priv->origin = lead, priv->fresh = ctx->state[1].shape[0] > 0;
    int64_t steps = priv->held + x->shape[1] - lead;
    priv->frames =
        ctx->flush && a->tail == TAIL_ZERO ? frames_with_tail(steps, a->size, a->hop, priv->fresh) : cut_frames(steps, a->size, a->hop);
    priv->after = ctx->flush ? 0 : priv->held + x->shape[1] - priv->frames * a->hop;
    priv->fresh = priv->fresh && priv->frames == 0;
    ctx->out_axis[0] = 1;
    return speech_state(ctx, 0, x->dtype, x->rank, shape, 1, priv->after) && speech_state(ctx, 1, FLOW_U8, 1, &one, 0, priv->fresh)
               ? FLOW_OK
               : speech_too_large(ctx);
}

static int infer(struct flow_infer *ctx) {
    const struct frame_attrs *a = ctx->attrs;
    struct frame_priv *priv = ctx->priv;
    const struct flow_tensor *x = &ctx->in[0];
    if (x->rank < 2 || x->rank >= FLOW_RANK_MAX)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "x has %d axes, expected 2 to %d: [B, S, ...]", x->rank, FLOW_RANK_MAX - 1);
    int32_t axis = speech_axis(ctx, 0);
    *priv = (struct frame_priv){.inner = 1, .origin = -a->before};
    for (int32_t i = 2; i < x->rank; i++) priv->inner *= x->shape[i];
    int64_t steps = x->shape[1] + a->before;
    if (axis == 1) {
        int status = infer_stream(ctx);
        if (status < 0) return status;
    } else {
        if (axis >= 0) (void)speech_pass(ctx, axis > 1 ? axis + 1 : axis, 1);
        priv->frames = a->tail == TAIL_ZERO ? frames_with_tail(steps, a->size, a->hop, true) : cut_frames(steps, a->size, a->hop);
    }
    int64_t shape[FLOW_RANK_MAX] = {x->shape[0], priv->frames, a->size};
    for (int32_t i = 2; i < x->rank; i++) shape[i + 1] = x->shape[i];
    if (!speech_shape(&ctx->out[0], x->dtype, x->rank + 1, shape)) return speech_too_large(ctx);
    ctx->backward_reads_in = ctx->backward_reads_out = 0;
    ctx->bytes = 2.0 * (double)shape_type_bytes(x->dtype) * (double)shape[0] * (double)shape[1] * (double)shape[2] * (double)priv->inner;
    return FLOW_OK;
}

struct job {
    const struct flow_call *call;
    int64_t bytes; /* of a step */
};

/* Steps [first, first + count) of [held | x], zeros outside. */
static void copy(const struct frame_priv *priv, const char *held, const char *x, int64_t steps, int64_t bytes, int64_t first, int64_t count,
                 char *to) {
    int64_t end = first + count, all = priv->held + steps;
    int64_t zeros = speech_least(speech_most(-first, 0), count);
    if (zeros) memset(to, 0, (size_t)(zeros * bytes));
    int64_t at = first + zeros, until = speech_least(end, priv->held);
    if (at < until) memcpy(to + (at - first) * bytes, held + at * bytes, (size_t)((until - at) * bytes)), at = until;
    until = speech_least(end, all);
    if (at < until) memcpy(to + (at - first) * bytes, x + (at - priv->held) * bytes, (size_t)((until - at) * bytes)), at = until;
    if (at < end) memset(to + (at - first) * bytes, 0, (size_t)((end - at) * bytes));
}

static void run(void *context, int64_t begin, int64_t end) {
    const struct job *job = context;
    const struct flow_call *call = job->call;
    const struct frame_attrs *a = call->attrs;
    const struct frame_priv *priv = call->priv;
    int64_t steps = call->in[0].shape[1];
    for (int64_t i = begin; i < end; i++) {
        int64_t b = i / priv->frames, t = i % priv->frames;
        const char *held = priv->held ? (const char *)call->state_in[0].data + b * priv->held * job->bytes : NULL;
        copy(priv, held, (const char *)call->in[0].data + b * steps * job->bytes, steps, job->bytes, priv->origin + t * a->hop, a->size,
             (char *)call->out[0].data + i * a->size * job->bytes);
    }
}

static int forward(const struct flow_call *call) {
    const struct frame_attrs *a = call->attrs;
    const struct frame_priv *priv = call->priv;
    const struct flow_tensor *x = &call->in[0];
    struct job job = {call, priv->inner * shape_type_bytes(x->dtype)};
    int64_t count = x->shape[0] * priv->frames, grain = (int64_t)(1 << 19) / speech_most(1, a->size * job.bytes) + 1;
    if (job.bytes > 0 && count > grain) call->host->parallel_for(call, count, grain, run, &job);
    else if (job.bytes > 0 && count > 0) run(&job, 0, count);
    for (int64_t b = 0; b < x->shape[0] && priv->after * job.bytes > 0; b++)
        speech_keep(priv->held ? (const char *)call->state_in[0].data + b * priv->held * job.bytes : NULL, priv->held,
                    (const char *)x->data + b * x->shape[1] * job.bytes, x->shape[1], job.bytes,
                    (char *)call->state_out[0].data + b * priv->after * job.bytes, priv->after);
    if (priv->streams && priv->fresh) *(uint8_t *)call->state_out[1].data = 0;
    return FLOW_OK;
}

/* ---- Backward: segments are added up. Blocks of FRAME_BLOCK steps, each from all segments that hold them, in order ---- */

enum { FRAME_BLOCK = 1 << 14 };

static void back_run(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct frame_attrs *a = call->attrs;
    const struct frame_priv *priv = call->priv;
    const struct flow_tensor *dy = &call->grad_out[0], *dx = &call->grad_in[0];
    int64_t steps = dx->shape[1], row = priv->inner * shape_type_bytes(dx->dtype), blocks = (steps + FRAME_BLOCK - 1) / FRAME_BLOCK;
    for (int64_t i = begin; i < end; i++) {
        int64_t b = i / blocks, from = i % blocks * FRAME_BLOCK, to = speech_least(from + FRAME_BLOCK, steps);
        int64_t padded = from + a->before, t = padded < a->size ? 0 : (padded - a->size) / a->hop + 1; /* the first that reaches so far */
        for (; t < priv->frames && t * a->hop - a->before < to; t++) {
            int64_t start = t * a->hop - a->before, low = speech_most(start, from), high = speech_least(start + a->size, to);
            if (low < high)
                speech_add(dx->dtype, (char *)dx->data + (b * steps + low) * row,
                           (const char *)dy->data + ((b * priv->frames + t) * a->size + low - start) * row, (high - low) * priv->inner);
        }
    }
}

static int backward(const struct flow_call *call) {
    const struct frame_attrs *a = call->attrs;
    const struct frame_priv *priv = call->priv;
    struct flow_tensor *dx = &call->grad_in[0];
    if (!shape_exists(dx)) return FLOW_OK;
    speech_zero(dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
    if (!shape_exists(&call->grad_out[0]) || shape_count(dx) == 0) return FLOW_OK;
    struct flow_call copy = *call;
    int64_t blocks = dx->shape[0] * ((dx->shape[1] + FRAME_BLOCK - 1) / FRAME_BLOCK);
    double each = (double)FRAME_BLOCK * (double)priv->inner * ((double)a->size / (double)a->hop + 1);
    int64_t grain = (int64_t)(1e5 / each) + 1;
    if (blocks > grain) call->host->parallel_for(call, blocks, grain, back_run, &copy);
    else back_run(&copy, 0, blocks);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = forward, .backward = backward},
};

const struct flow_operator frame_operator = {
    .size = sizeof(struct flow_operator),
    .name = "frame",
    .summary = "a long signal in overlapping segments",
    .equation = "y[b, t, i] = x[b, t*hop + i - before], x outside [0, S) is 0; with S' = S + before:\n"
                "tail zero: n = ceil(max(S' - size, 0)/hop) + 1; drop: n = floor((S' - size)/hop) + 1, 0 where S' < size",
    .reference = "Luo et al., Dual-path RNN (2020), section 2.1 (segmentation)",
    .example = "y: {op: frame, in: x, with: {size: 10, hop: 5}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct frame_attrs),
    .priv_size = sizeof(struct frame_priv),
    .infer = infer,
};
