/* SPDX-License-Identifier: Apache-2.0 */
/* istft: the inverse of the short-time Fourier transform by weighted overlap-add. */
#include "stft.h"

#include <string.h>

struct istft_priv {
    struct stft_sizes sizes;
    const struct stft_functions *functions;
    struct overlap overlap;
    int64_t held, parts, scratch;
    bool streams;
};

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

static const struct flow_kernel kernels[] = {
    {NULL, FLOW_DEVICE_CPU, FLOW_TYPES_REAL, FLOW_ISA_BASE, 0, NULL, forward, NULL},
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
