/* SPDX-License-Identifier: Apache-2.0 */
/* istft: the inverse of the short-time Fourier transform by weighted overlap-add. */
#include "stft.h"

#include <string.h>

static const struct flow_port inputs[] = {
    {"re", "real part [B, size/2 + 1, T]", "B F T", FLOW_TYPES_FLOAT, 0},
    {"im", "imaginary part; that of bin 0 and, for an even size, of bin size/2 is not read", "B F T", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_port outputs[] = {
    {"y", "waves [B, S]; when streaming, size - hop samples late", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_state states[] = {
    {"tail", "sums of frames that more frames will reach, [B, N]", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
    {"envelope", "the same of squared windows, [N]", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
    {"phase", "extent: twice the samples still to be dropped, and one before the first frame", NULL, "zeros", FLOW_TYPE(U8), 0, 0, 0},
};
static const struct flow_attr attrs[] = {
    STFT_ATTRS,
    FLOW_ATTR(struct stft_attrs, samples, "samples of the result, cut or filled up with zeros; 0: as many as there are", "0", 0, 0x1p53),
};

int64_t istft_scratch(const struct stft_sizes *sizes) {
    return stft_scratch(sizes) + speech_align(2 * (istft_round(sizes) + sizes->size) * shape_type_bytes(sizes->dtype));
}

static int check(struct flow_infer *ctx, const struct stft_attrs *a, int32_t axis, int32_t axis_im) {
    const struct flow_tensor *re = &ctx->in[0];
    if (axis != axis_im)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED, "re streams along axis %d, im along axis %d: they must be alike", axis,
                               axis_im);
    if (axis == 1)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED, "streams along time, axis 2, not along the bins: a transform needs all");
    if (re->shape[1] != a->size / 2 + 1)
        return ctx->host->fail_at(ctx->owner, "re", FLOW_ERROR_SHAPE, "re has %lld bins, size %lld has size/2 + 1 = %lld",
                                  (long long)re->shape[1], (long long)a->size, (long long)(a->size / 2 + 1));
    if (axis == 2 && a->samples > 0)
        return ctx->host->fail_at(ctx->owner, "samples", FLOW_ERROR_UNSUPPORTED,
                                  "samples cuts the whole sequence to a length; a stream has none: leave it out");
    return FLOW_OK;
}

static int infer(struct flow_infer *ctx) {
    const struct stft_attrs *a = ctx->attrs;
    struct istft_priv *priv = ctx->priv;
    const struct flow_tensor *re = &ctx->in[0];
    int64_t batch = re->shape[0], frames = re->shape[2], edge = a->center ? a->size / 2 : 0, phase = overlap_phase(edge);
    int32_t axis = speech_axis(ctx, 0), dtype = speech_real(re->dtype);
    int status = check(ctx, a, axis, speech_axis(ctx, 1));
    if (status == FLOW_OK) status = stft_prepare_sizes(ctx, &priv->sizes, dtype);
    if (status < 0) return status;
    priv->functions = ISA_PICK(stft_functions, ctx->host->isa);
    priv->streams = axis == 2, priv->held = 0;
    if (axis == 0) (void)speech_pass(ctx, 0, 1);
    const int64_t first[3] = {batch, 0, phase};
    if (priv->streams && !ctx->first) priv->held = ctx->state[1].shape[0], phase = ctx->state[2].shape[0];
    if (!overlap_piece(a->size, a->hop, edge, frames, priv->held, phase, !priv->streams || ctx->flush, &priv->overlap))
        return speech_too_large(ctx);
    const struct overlap *o = &priv->overlap;
    if (priv->streams) {
        ctx->out_axis[0] = 1, ctx->delay = 0;
        if (!speech_state(ctx, 0, re->dtype, 2, first, 1, o->held) || !speech_state(ctx, 1, re->dtype, 1, first + 1, 0, o->held) ||
            !speech_state(ctx, 2, FLOW_U8, 1, first + 2, 0, o->phase))
            return speech_too_large(ctx);
    }
    const int64_t shape[2] = {batch, a->samples > 0 ? a->samples : o->final - o->drop};
    if (!speech_shape(&ctx->out[0], re->dtype, 2, shape)) return speech_too_large(ctx);
    priv->parts = speech_parts(ctx->host, frames, 4 * STFT_BLOCK), priv->scratch = istft_scratch(&priv->sizes);
    ctx->workspace = priv->parts * priv->scratch + ctx->packed;
    ctx->backward_reads_in = ctx->backward_reads_out = 0;
    priv->line = speech_align(o->total * shape_type_bytes(dtype));
    ctx->workspace_backward = ctx->packed + 2 * priv->line + priv->parts * stft_scratch(&priv->sizes);
    double log2 = 0;
    for (int64_t n = a->size; n > 1; n /= 2) log2++;
    ctx->flops = (double)batch * (double)frames * (double)a->size * (2.5 * log2 + 4);
    ctx->bytes = (double)shape_type_bytes(dtype) * (double)batch * ((double)shape[1] + 2.0 * (double)priv->sizes.bins * (double)frames);
    return FLOW_OK;
}

static int prepare(const struct flow_call *call) {
    const struct istft_priv *priv = call->priv;
    stft_fill(call, &priv->sizes, call->packed);
    return FLOW_OK;
}

struct job {
    const struct flow_call *call;
    struct stft_sum sum; /* of the sequence in hand */
};

static void run(void *context, int64_t begin, int64_t end) {
    const struct job *job = context;
    const struct istft_priv *priv = job->call->priv;
    struct stft_sum sum = job->sum;
    int64_t each = (sum.total + priv->parts - 1) / priv->parts;
    for (int64_t part = begin; part < end; part++) {
        sum.scratch = (char *)job->sum.scratch + part * priv->scratch;
        int64_t from = part * each, to = speech_least(from + each, sum.total);
        if (from < to) (job->call->in[0].dtype == FLOW_F64 ? priv->functions->sum_f64 : priv->functions->sum_f32)(&sum, from, to);
    }
}

static int forward(const struct flow_call *call) {
    const struct istft_priv *priv = call->priv;
    const struct overlap *o = &priv->overlap;
    const struct flow_tensor *re = &call->in[0], *y = &call->out[0];
    int64_t bytes = shape_type_bytes(re->dtype), frames = re->shape[2], samples = y->shape[1];
    char *packed = call->packed;
    if (!packed) {
        packed = (char *)call->workspace + priv->parts * priv->scratch;
        stft_fill(call, &priv->sizes, packed);
    }
    struct job job = {call,
                      {.sizes = &priv->sizes,
                       .table = packed,
                       .window = packed + priv->sizes.table,
                       .frames = frames,
                       .held = priv->held,
                       .offset = o->offset,
                       .total = o->total,
                       .final = o->final,
                       .drop = o->drop,
                       .scratch = call->workspace}};
    /* with `samples` the end is not dropped */
    const struct stft_attrs *a = call->attrs;
    job.sum.emitted = speech_least(samples, (a->samples > 0 ? o->total : o->final) - o->drop);
    if (job.sum.emitted < 0) job.sum.emitted = 0;
    for (int64_t b = 0; b < re->shape[0]; b++) {
        int64_t row = b * priv->sizes.bins * frames * bytes;
        job.sum.re = (const char *)re->data + row, job.sum.im = (const char *)call->in[1].data + row;
        job.sum.y = (char *)y->data + b * samples * bytes;
        if (priv->held) {
            job.sum.tail = (const char *)call->state_in[0].data + b * priv->held * bytes;
            job.sum.envelope = call->state_in[1].data;
        }
        if (priv->streams && o->held) {
            job.sum.tail_out = (char *)call->state_out[0].data + b * o->held * bytes;
            job.sum.envelope_out = call->state_out[1].data;
        }
        if (o->total > 0) speech_parallel(call, priv->parts, run, &job);
        int64_t zeros = samples - job.sum.emitted;
        if (zeros > 0) memset((char *)job.sum.y + job.sum.emitted * bytes, 0, (size_t)(zeros * bytes));
    }
    if (priv->streams && o->phase) memset(call->state_out[2].data, 0, (size_t)o->phase);
    return FLOW_OK;
}

/* ---- Backward: y's gradient, divided by the envelope, cut into frames and transformed ---- */

struct back {
    const struct flow_call *call;
    struct stft_cut cut; /* of the sequence in hand */
};

static void back_run(void *context, int64_t begin, int64_t end) {
    const struct back *back = context;
    const struct istft_priv *priv = back->call->priv;
    struct stft_cut cut = back->cut;
    int64_t blocks = (cut.frames + STFT_BLOCK - 1) / STFT_BLOCK, each = (blocks + priv->parts - 1) / priv->parts * STFT_BLOCK;
    for (int64_t part = begin; part < end; part++) {
        cut.scratch = (char *)back->cut.scratch + part * stft_scratch(&priv->sizes);
        int64_t from = part * each, to = speech_least(from + each, cut.frames);
        if (from < to) (priv->sizes.dtype == FLOW_F64 ? priv->functions->spread_f64 : priv->functions->spread_f32)(&cut, from, to);
    }
}

/* 1 / (the sum of squared windows + 1e-8) */
static void envelope_fill(const struct istft_priv *priv, int64_t hop, int64_t frames, const void *window, void *envelope) {
    int64_t size = priv->sizes.size;
    memset(envelope, 0, (size_t)priv->line);
    if (priv->sizes.dtype == FLOW_F64) {
        const double *w = window;
        double *to = envelope;
        for (int64_t t = 0; t < frames; t++)
            for (int64_t n = 0; n < size; n++) to[t * hop + n] += w[n] * w[n];
        for (int64_t i = 0; i < priv->overlap.total; i++) to[i] = 1 / (to[i] + 1e-8);
    } else {
        const float *w = window;
        float *to = envelope;
        for (int64_t t = 0; t < frames; t++)
            for (int64_t n = 0; n < size; n++) to[t * hop + n] += w[n] * w[n];
        for (int64_t i = 0; i < priv->overlap.total; i++) to[i] = 1 / (to[i] + 1e-8f);
    }
}

/* Gradients of the sums, of which [drop, drop + emitted) went to y. */
static void sums_fill(const struct istft_priv *priv, int64_t emitted, const void *dy, const void *envelope, void *sums) {
    memset(sums, 0, (size_t)priv->line);
    if (priv->sizes.dtype == FLOW_F64) {
        const double *from = dy, *by = (const double *)envelope + priv->overlap.drop;
        double *to = (double *)sums + priv->overlap.drop;
        for (int64_t i = 0; i < emitted; i++) to[i] = from[i] * by[i];
    } else {
        const float *from = dy, *by = (const float *)envelope + priv->overlap.drop;
        float *to = (float *)sums + priv->overlap.drop;
        for (int64_t i = 0; i < emitted; i++) to[i] = from[i] * by[i];
    }
}

static int backward(const struct flow_call *call) {
    const struct stft_attrs *a = call->attrs;
    const struct istft_priv *priv = call->priv;
    const struct overlap *o = &priv->overlap;
    const struct flow_tensor *dy = &call->grad_out[0];
    struct flow_tensor *dre = &call->grad_in[0], *dim = &call->grad_in[1], *one = shape_exists(dre) ? dre : dim;
    bool add_re = FLOW_ACCUMULATES(call->accumulate_in, 0), add_im = FLOW_ACCUMULATES(call->accumulate_in, 1);
    if (!shape_exists(one)) return FLOW_OK;
    if (!shape_exists(dy) || shape_count(dy) == 0 || o->total == 0) {
        speech_zero(dre, add_re), speech_zero(dim, add_im);
        return FLOW_OK;
    }
    int64_t bytes = shape_type_bytes(dy->dtype), frames = one->shape[2], samples = dy->shape[1];
    int64_t emitted = speech_most(0, speech_least(samples, (a->samples > 0 ? o->total : o->final) - o->drop));
    char *packed = call->workspace, *envelope = packed + stft_packed_bytes(&priv->sizes), *sums = envelope + priv->line;
    stft_fill(call, &priv->sizes, packed);
    envelope_fill(priv, a->hop, frames, packed + priv->sizes.table, envelope);
    struct back back = {call,
                        {.sizes = &priv->sizes,
                         .table = packed,
                         .window = packed + priv->sizes.table,
                         .x = sums,
                         .samples = o->total,
                         .frames = frames,
                         .scratch = sums + priv->line,
                         .add_re = add_re,
                         .add_im = add_im}};
    for (int64_t b = 0; b < one->shape[0]; b++) {
        int64_t row = b * priv->sizes.bins * frames * bytes;
        sums_fill(priv, emitted, (const char *)dy->data + b * samples * bytes, envelope, sums);
        back.cut.re = shape_exists(dre) ? (char *)dre->data + row : NULL;
        back.cut.im = shape_exists(dim) ? (char *)dim->data + row : NULL;
        speech_parallel(call, priv->parts, back_run, &back);
    }
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward},
};

const struct flow_operator istft_operator = {
    .size = sizeof(struct flow_operator),
    .name = "istft",
    .summary = "waves from a short-time Fourier transform",
    .equation =
        "y[n] = sum_t w[n - t*hop] irfft(X_t)[n - t*hop] / (sum_t w[n - t*hop]^2 + 1e-8); center drops size/2 at the start and end\n"
        "(with `samples`: keeps that many from size/2 on)",
    .reference = "Griffin and Lim, Signal estimation from modified short-time Fourier transform (1984), equation 6",
    .example = "y: {op: istft, in: {re: re, im: im}, with: {size: 16, hop: 8}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct stft_attrs),
    .priv_size = sizeof(struct istft_priv),
    .infer = infer,
    .prepare = prepare,
};
