/* SPDX-License-Identifier: Apache-2.0 */
/* overlap_add: the signal that overlapping segments make together; the transpose of frame (rect, not normalised). */
#include "overlap_add.h"

#include <string.h>

static const struct flow_port inputs[] = {
    {"x", "segments [B, n, L, ...]", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_port outputs[] = {
    {"y", "signals [B, (n - 1)*hop + L, ...]; when streaming, L - hop steps late", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_state states[] = {
    {"tail", "sums that more segments will reach, [B, N, ...]", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
    {"weights", "the same of windows, [N]", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
    {"phase", "extent: 1 before the first segment, 0 after", NULL, "zeros", FLOW_TYPE(U8), 0, 0, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct overlap_attrs, hop, "steps between segments' starts", FLOW_REQUIRED, 1, 0x1p40),
    FLOW_ATTR_CHOICES(struct overlap_attrs, window, "weight of step i of a segment: 1; min(i + 1, L - i); hann of period L", "rect",
                      "rect|triangle|hann"),
    FLOW_ATTR_PLAIN(struct overlap_attrs, normalize, "divide by the summed window, at least 1e-8", "true"),
    FLOW_ATTR(struct overlap_attrs, samples, "steps of the result, cut or filled up with zeros; 0: as many as there are", "0", 0, 0x1p53),
};

static int infer(struct flow_infer *ctx) {
    const struct overlap_attrs *a = ctx->attrs;
    struct overlap_priv *priv = ctx->priv;
    const struct flow_tensor *x = &ctx->in[0];
    if (x->rank < 3) return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "x has %d axes, expected at least 3: [B, n, L, ...]", x->rank);
    int64_t size = x->shape[2], frames = x->shape[1];
    int32_t axis = speech_axis(ctx, 0);
    if (size < 1) return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "segments have %lld steps, expected at least 1", (long long)size);
    if (axis == 2)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED,
                               "streams along the segments, axis 1, not along the steps of a segment, axis 2");
    if (axis == 1 && a->samples > 0)
        return ctx->host->fail_at(ctx->owner, "samples", FLOW_ERROR_UNSUPPORTED,
                                  "samples cuts the whole sequence to a length; a stream has none: leave it out");
    *priv = (struct overlap_priv){.functions = ISA_PICK(overlap_functions, ctx->host->isa), .inner = 1, .streams = axis == 1};
    for (int32_t i = 3; i < x->rank; i++) priv->inner *= x->shape[i];
    if (axis == 0 || axis > 2) (void)speech_pass(ctx, axis > 2 ? axis - 1 : 0, 1);
    int64_t phase = overlap_phase(0), fresh = phase, tail[FLOW_RANK_MAX] = {x->shape[0], 0}, none = 0;
    for (int32_t i = 3; i < x->rank; i++) tail[i - 1] = x->shape[i];
    if (priv->streams && !ctx->first) priv->held = ctx->state[1].shape[0], phase = ctx->state[2].shape[0];
    if (!overlap_piece(size, a->hop, 0, frames, priv->held, phase, !priv->streams || ctx->flush, &priv->overlap))
        return speech_too_large(ctx);
    const struct overlap *o = &priv->overlap;
    if (priv->streams) {
        ctx->out_axis[0] = 1;
        if (!speech_state(ctx, 0, x->dtype, x->rank - 1, tail, 1, o->held) || !speech_state(ctx, 1, x->dtype, 1, &none, 0, o->held) ||
            !speech_state(ctx, 2, FLOW_U8, 1, &fresh, 0, o->phase))
            return speech_too_large(ctx);
    }
    tail[1] = a->samples > 0 ? a->samples : o->final;
    if (!speech_shape(&ctx->out[0], x->dtype, x->rank - 1, tail)) return speech_too_large(ctx);
    ctx->workspace = speech_align(size * shape_type_bytes(speech_real(x->dtype)));
    ctx->backward_reads_in = ctx->backward_reads_out = 0;
    ctx->workspace_backward = ctx->workspace + (a->normalize ? speech_align(o->total * shape_type_bytes(speech_real(x->dtype))) : 0);
    double each = (double)size / (double)a->hop * (double)(priv->inner > 0 ? priv->inner : 1);
    priv->grain = (int64_t)(2e5 / (each + 1)) + 1024;
    ctx->flops = 2.0 * (double)x->shape[0] * (double)frames * (double)size * (double)priv->inner;
    ctx->bytes =
        (double)shape_type_bytes(x->dtype) * (double)x->shape[0] * (double)priv->inner * ((double)frames * (double)size + (double)tail[1]);
    return FLOW_OK;
}

struct job {
    const struct flow_call *call;
    struct overlap_sum sum; /* of the sequence in hand */
};

static void run(void *context, int64_t begin, int64_t end) {
    const struct job *job = context;
    const struct overlap_priv *priv = job->call->priv;
    (job->call->in[0].dtype == FLOW_F64 ? priv->functions->sum_f64 : priv->functions->sum_f32)(&job->sum, begin, end);
}

static void fill_window(const struct overlap_attrs *a, int32_t dtype, int64_t size, void *window) {
    for (int64_t i = 0; i < size; i++) {
        double value = a->window == OVERLAP_TRIANGLE ? (double)speech_least(i + 1, size - i)
                       : a->window == OVERLAP_HANN   ? window_value(WINDOW_HANN, i, size, true)
                                                     : 1;
        if (dtype == FLOW_F64) ((double *)window)[i] = value;
        else ((float *)window)[i] = (float)value;
    }
}

static int forward(const struct flow_call *call) {
    const struct overlap_attrs *a = call->attrs;
    const struct overlap_priv *priv = call->priv;
    const struct overlap *o = &priv->overlap;
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    int64_t bytes = shape_type_bytes(x->dtype), samples = y->shape[1], size = x->shape[2], row = priv->inner * bytes;
    fill_window(a, x->dtype, size, call->workspace);
    struct job job = {call,
                      {.window = call->workspace,
                       .frames = x->shape[1],
                       .size = size,
                       .hop = a->hop,
                       .inner = priv->inner,
                       .held = priv->held,
                       .offset = o->offset,
                       .final = o->final,
                       .drop = o->drop,
                       .normalize = a->normalize}};
    job.sum.emitted = speech_least(samples, o->final - o->drop);
    for (int64_t b = 0; b < x->shape[0] && row > 0; b++) {
        job.sum.x = (const char *)x->data + b * x->shape[1] * size * row;
        job.sum.y = (char *)y->data + b * samples * row;
        if (priv->held)
            job.sum.tail = (const char *)call->state_in[0].data + b * priv->held * row, job.sum.weights = call->state_in[1].data;
        if (priv->streams && o->held)
            job.sum.tail_out = (char *)call->state_out[0].data + b * o->held * row, job.sum.weights_out = call->state_out[1].data;
        if (o->total > priv->grain) call->host->parallel_for(call, o->total, priv->grain, run, &job);
        else if (o->total > 0) run(&job, 0, o->total);
        int64_t zeros = samples - job.sum.emitted;
        if (zeros > 0) memset((char *)job.sum.y + job.sum.emitted * row, 0, (size_t)(zeros * row));
    }
    if (priv->streams && o->phase) memset(call->state_out[2].data, 0, (size_t)o->phase);
    return FLOW_OK;
}

/* ---- Backward: each segment takes its share of the steps it reaches ---- */

struct back {
    const struct flow_call *call;
    const void *window, *divisor;
    int64_t emitted; /* steps of the result that are sums */
};

static void back_run(void *context, int64_t begin, int64_t end) {
    const struct back *back = context;
    const struct flow_call *call = back->call;
    const struct overlap_attrs *a = call->attrs;
    const struct overlap_priv *priv = call->priv;
    const struct flow_tensor *dy = &call->grad_out[0], *dx = &call->grad_in[0];
    int64_t frames = dx->shape[1], size = dx->shape[2], bytes = shape_type_bytes(dx->dtype), row = priv->inner * bytes;
    for (int64_t i = begin; i < end; i++) {
        int64_t b = i / frames, start = i % frames * a->hop, count = speech_most(0, speech_least(size, back->emitted - start));
        struct overlap_segment segment = {.dy = (const char *)dy->data + (b * dy->shape[1] + start) * row,
                                          .window = back->window,
                                          .divisor = back->divisor ? (const char *)back->divisor + start * bytes : NULL,
                                          .dx = (char *)dx->data + i * size * row,
                                          .count = count,
                                          .inner = priv->inner,
                                          .add = FLOW_ACCUMULATES(call->accumulate_in, 0)};
        if (count > 0) (dx->dtype == FLOW_F64 ? priv->functions->segment_f64 : priv->functions->segment_f32)(&segment);
        if (!segment.add && count < size) memset((char *)segment.dx + count * row, 0, (size_t)((size - count) * row));
    }
}

/* 1 / max(summed windows, 1e-8) of every step. */
static void divisor_fill(int32_t dtype, int64_t hop, int64_t frames, int64_t size, int64_t total, const void *window, void *divisor) {
    memset(divisor, 0, (size_t)(total * shape_type_bytes(dtype)));
    for (int64_t t = 0; t < frames; t++) speech_add(dtype, (char *)divisor + t * hop * shape_type_bytes(dtype), window, size);
    for (int64_t i = 0; i < total; i++)
        if (dtype == FLOW_F64) ((double *)divisor)[i] = 1 / (((double *)divisor)[i] > 1e-8 ? ((double *)divisor)[i] : 1e-8);
        else ((float *)divisor)[i] = 1 / (((float *)divisor)[i] > 1e-8f ? ((float *)divisor)[i] : 1e-8f);
}

static int backward(const struct flow_call *call) {
    const struct overlap_attrs *a = call->attrs;
    const struct overlap_priv *priv = call->priv;
    const struct flow_tensor *dy = &call->grad_out[0];
    struct flow_tensor *dx = &call->grad_in[0];
    if (!shape_exists(dx) || shape_count(dx) == 0) return FLOW_OK;
    if (!shape_exists(dy) || shape_count(dy) == 0) {
        speech_zero(dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
        return FLOW_OK;
    }
    int64_t size = dx->shape[2], frames = dx->shape[1], bytes = shape_type_bytes(dx->dtype);
    struct back back = {.call = call, .window = call->workspace, .emitted = speech_least(dy->shape[1], priv->overlap.final)};
    fill_window(a, dx->dtype, size, call->workspace);
    if (a->normalize) {
        char *divisor = (char *)call->workspace + speech_align(size * bytes);
        divisor_fill(dx->dtype, a->hop, frames, size, priv->overlap.total, call->workspace, divisor);
        back.divisor = divisor;
    }
    int64_t count = dx->shape[0] * frames, grain = (1 << 16) / speech_most(1, size * priv->inner) + 1;
    if (count > grain) call->host->parallel_for(call, count, grain, back_run, &back);
    else back_run(&back, 0, count);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward},
};

const struct flow_operator overlap_add_operator = {
    .size = sizeof(struct flow_operator),
    .name = "overlap_add",
    .summary = "the signal that overlapping segments make together",
    .equation = "y[b, s] = sum_t w[s - t*hop] x[b, t, s - t*hop], divided by max(sum_t w[s - t*hop], 1e-8) where `normalize`",
    .reference = "Luo et al., Dual-path RNN (2020), section 2.3 (overlap-add)",
    .example = "y: {op: overlap_add, in: x, with: {hop: 2}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct overlap_attrs),
    .priv_size = sizeof(struct overlap_priv),
    .infer = infer,
};
