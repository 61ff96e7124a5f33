/* SPDX-License-Identifier: Apache-2.0 */
/* stft: the short-time Fourier transform, and what it shares with its inverse. */
#include "stft.h"

#include <stdio.h>
#include <string.h>

static const struct flow_port inputs[] = {
    {"x", "waves", "B S", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_port outputs[] = {
    {"re", "real part [B, size/2 + 1, T]", NULL, FLOW_TYPES_FLOAT, 0},
    {"im", "imaginary part", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_state states[] = {
    {"tail", "samples from the next frame's start on, [B, less than size + hop]", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
};
static const struct flow_attr attrs[] = {STFT_ATTRS};

int stft_prepare_sizes(struct flow_infer *ctx, struct stft_sizes *sizes, int32_t dtype) {
    const struct stft_attrs *a = ctx->attrs;
    int64_t length = a->length == FLOW_INT_ABSENT ? a->size : a->length, bytes = shape_type_bytes(dtype);
    if (length > a->size)
        return ctx->host->fail_at(ctx->owner, "length", FLOW_ERROR_RANGE, "length is %lld, size is %lld: a window must fit into the frame",
                                  (long long)length, (long long)a->size);
    *sizes = (struct stft_sizes){
        .dtype = dtype, .fft = ISA_PICK(fft_functions, ctx->host->isa), .size = a->size, .hop = a->hop, .bins = a->size / 2 + 1};
    sizes->table = fft_table_bytes(a->size, dtype), sizes->work = fft_work_bytes(a->size, dtype);
    sizes->frame = speech_align(a->size * bytes), sizes->spectra = speech_align(STFT_BLOCK * sizes->bins * bytes);
    ctx->packed = stft_packed_bytes(sizes);
    uint64_t key = speech_mix(speech_mix(speech_mix(0x73746674, a->size), length), a->window);
    ctx->packed_key = speech_mix(speech_mix(key, a->periodic), bytes);
    return FLOW_OK;
}

void stft_fill(const struct flow_call *call, const struct stft_sizes *sizes, void *packed) {
    const struct stft_attrs *a = call->attrs;
    int64_t length = a->length == FLOW_INT_ABSENT ? a->size : a->length, before = (a->size - length) / 2;
    fft_table_fill(a->size, sizes->dtype, packed);
    char *window = (char *)packed + sizes->table;
    for (int64_t n = 0; n < a->size; n++) {
        double value = n < before || n >= before + length ? 0 : window_value(a->window, n - before, length, a->periodic);
        if (sizes->dtype == FLOW_F64) ((double *)(void *)window)[n] = value;
        else ((float *)(void *)window)[n] = (float)value;
    }
}

static int infer(struct flow_infer *ctx) {
    const struct stft_attrs *a = ctx->attrs;
    struct stft_priv *priv = ctx->priv;
    const struct flow_tensor *x = &ctx->in[0];
    int64_t batch = x->shape[0], samples = x->shape[1], pad = a->center ? a->size / 2 : 0, all = samples + 2 * pad;
    int32_t axis = speech_axis(ctx, 0), dtype = speech_real(x->dtype);
    int status = stft_prepare_sizes(ctx, &priv->sizes, dtype);
    if (status < 0) return status;
    priv->functions = ISA_PICK(stft_functions, ctx->host->isa);
    priv->held = priv->lead = priv->after = 0, priv->tail = false;
    if (axis == 0) (void)speech_pass(ctx, 0, 2);
    if (axis == 1 && a->center)
        return ctx->host->fail_at(ctx->owner, "center", FLOW_ERROR_UNSUPPORTED,
                                  "center: true mirrors the ends and needs the whole sequence; center: false streams");
    if (axis == 1) {
        priv->lead = cut_lead(a->size, a->hop), priv->tail = true;
        const int64_t first[2] = {batch, priv->lead};
        if (ctx->first && !speech_shape(&ctx->state[0], x->dtype, 2, first)) return speech_too_large(ctx);
        priv->held = ctx->state[0].shape[1], all = priv->held + samples - priv->lead;
        ctx->out_axis[0] = ctx->out_axis[1] = 2;
        priv->after = ctx->flush ? 0 : priv->held + samples - cut_frames(all, a->size, a->hop) * a->hop;
        if (!speech_state(ctx, 0, x->dtype, 2, first, 1, priv->after)) return speech_too_large(ctx);
    } else if (a->center && samples <= pad)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE,
                               "x has %lld samples, center: true mirrors size/2 = %lld at either end: more than that are needed",
                               (long long)samples, (long long)pad);
    int64_t frames = cut_frames(all, a->size, a->hop);
    const int64_t shape[3] = {batch, priv->sizes.bins, frames};
    if (!speech_shape(&ctx->out[0], x->dtype, 3, shape) || !speech_shape(&ctx->out[1], x->dtype, 3, shape)) return speech_too_large(ctx);
    priv->parts = speech_parts(ctx->host, frames, 4 * STFT_BLOCK), priv->scratch = stft_scratch(&priv->sizes);
    ctx->workspace = priv->parts * priv->scratch + ctx->packed;
    priv->back = istft_scratch(&priv->sizes), priv->reach = frames > 0 ? (frames - 1) * a->hop + a->size : 0;
    ctx->backward_reads_in = ctx->backward_reads_out = 0;
    ctx->workspace_backward = ctx->packed + priv->parts * priv->back + speech_align(priv->reach * shape_type_bytes(dtype));
    double log2 = 0;
    for (int64_t n = a->size; n > 1; n /= 2) log2++;
    ctx->flops = (double)batch * (double)frames * (double)a->size * (2.5 * log2 + 1);
    ctx->bytes = (double)shape_type_bytes(dtype) * (double)batch * ((double)samples + 2.0 * (double)priv->sizes.bins * (double)frames);
    return FLOW_OK;
}

static int prepare(const struct flow_call *call) {
    const struct stft_priv *priv = call->priv;
    stft_fill(call, &priv->sizes, call->packed);
    return FLOW_OK;
}

struct job {
    const struct flow_call *call;
    struct stft_cut cut; /* of the sequence in hand */
};

static void run(void *context, int64_t begin, int64_t end) {
    const struct job *job = context;
    const struct stft_priv *priv = job->call->priv;
    struct stft_cut cut = job->cut;
    /* parts end on blocks */
    int64_t blocks = (cut.frames + STFT_BLOCK - 1) / STFT_BLOCK, each = (blocks + priv->parts - 1) / priv->parts * STFT_BLOCK;
    for (int64_t part = begin; part < end; part++) {
        cut.scratch = (char *)job->cut.scratch + part * priv->scratch;
        int64_t from = part * each, to = speech_least(from + each, cut.frames);
        if (from < to) (job->call->in[0].dtype == FLOW_F64 ? priv->functions->cut_f64 : priv->functions->cut_f32)(&cut, from, to);
    }
}

static int forward(const struct flow_call *call) {
    const struct stft_attrs *a = call->attrs;
    const struct stft_priv *priv = call->priv;
    const struct flow_tensor *x = &call->in[0];
    int64_t bytes = shape_type_bytes(x->dtype), frames = call->out[0].shape[2];
    char *packed = call->packed;
    if (!packed) {
        packed = (char *)call->workspace + priv->parts * priv->scratch;
        stft_fill(call, &priv->sizes, packed);
    }
    struct job job = {call,
                      {.sizes = &priv->sizes,
                       .table = packed,
                       .window = packed + priv->sizes.table,
                       .held = priv->held,
                       .samples = x->shape[1],
                       .frames = frames,
                       .scratch = call->workspace}};
    job.cut.origin = priv->tail ? priv->lead : a->center ? -(a->size / 2) : 0;
    for (int64_t b = 0; b < x->shape[0]; b++) {
        int64_t row = b * priv->sizes.bins * frames * bytes;
        job.cut.x = (const char *)x->data + b * x->shape[1] * bytes;
        job.cut.tail = priv->held ? (const char *)call->state_in[0].data + b * priv->held * bytes : NULL;
        job.cut.re = (char *)call->out[0].data + row, job.cut.im = (char *)call->out[1].data + row;
        if (frames > 0) speech_parallel(call, priv->parts, run, &job);
        if (priv->after > 0)
            speech_keep(job.cut.tail, priv->held, job.cut.x, x->shape[1], bytes, (char *)call->state_out[0].data + b * priv->after * bytes,
                        priv->after);
    }
    return FLOW_OK;
}

/* ---- Backward: the transposed transform of each frame, times the window, added up; what was mirrored is folded back ---- */

struct back {
    const struct flow_call *call;
    struct stft_sum sum; /* of the sequence in hand */
};

static void back_run(void *context, int64_t begin, int64_t end) {
    const struct back *back = context;
    const struct stft_priv *priv = back->call->priv;
    struct stft_sum sum = back->sum;
    int64_t each = (sum.total + priv->parts - 1) / priv->parts;
    for (int64_t part = begin; part < end; part++) {
        sum.scratch = (char *)back->sum.scratch + part * priv->back;
        int64_t from = part * each, to = speech_least(from + each, sum.total);
        if (from < to) (priv->sizes.dtype == FLOW_F64 ? priv->functions->sum_f64 : priv->functions->sum_f32)(&sum, from, to);
    }
}

static int backward(const struct flow_call *call) {
    const struct stft_attrs *a = call->attrs;
    const struct stft_priv *priv = call->priv;
    const struct flow_tensor *re = &call->grad_out[0], *im = &call->grad_out[1];
    struct flow_tensor *dx = &call->grad_in[0];
    if (!shape_exists(dx)) return FLOW_OK;
    speech_zero(dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
    if (priv->reach == 0 || (!shape_exists(re) && !shape_exists(im))) return FLOW_OK;
    int64_t bytes = shape_type_bytes(dx->dtype), samples = dx->shape[1], bins = priv->sizes.bins, pad = a->center ? a->size / 2 : 0;
    int64_t frames = (priv->reach - a->size) / a->hop + 1;
    char *packed = call->workspace, *scratch = packed + stft_packed_bytes(&priv->sizes), *reached = scratch + priv->parts * priv->back;
    stft_fill(call, &priv->sizes, packed);
    struct back back = {call,
                        {.sizes = &priv->sizes,
                         .table = packed,
                         .window = packed + priv->sizes.table,
                         .frames = frames,
                         .total = priv->reach,
                         .final = priv->reach,
                         .emitted = priv->reach,
                         .y = reached,
                         .scratch = scratch,
                         .gradient = true}};
    for (int64_t b = 0; b < dx->shape[0]; b++) {
        back.sum.re = shape_exists(re) ? (const char *)re->data + b * bins * frames * bytes : NULL;
        back.sum.im = shape_exists(im) ? (const char *)im->data + b * bins * frames * bytes : NULL;
        speech_parallel(call, priv->parts, back_run, &back);
        speech_fold(dx->dtype, (char *)dx->data + b * samples * bytes, samples, reached, -pad, priv->reach, MIRROR_SAMPLE);
    }
    return FLOW_OK;
}

static int describe(const struct flow_infer *ctx, char *text, size_t size) {
    const struct stft_priv *priv = ctx->priv;
    return snprintf(text, size, "%lld bins, %lld parts", (long long)priv->sizes.bins, (long long)priv->parts);
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward},
};

const struct flow_operator stft_operator = {
    .size = sizeof(struct flow_operator),
    .name = "stft",
    .summary = "short-time Fourier transform of waves, as two real tensors",
    .equation =
        "X[f, t] = sum_{n < size} w[n] x[t*hop + n] exp(-2 pi i f n / size), T = 1 + floor((S' - size)/hop), S' the padded length;\n"
        "S' < size gives T = 0",
    .reference = "Allen and Rabiner, A unified approach to short-time Fourier analysis and synthesis (1977), equation 1",
    .example = "y: {op: stft, in: x, with: {size: 16, hop: 8}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct stft_attrs),
    .priv_size = sizeof(struct stft_priv),
    .infer = infer,
    .prepare = prepare,
    .describe = describe,
};
