/* SPDX-License-Identifier: Apache-2.0 */
/* fbank: log mel filter bank energies as Kaldi computes them. */
#include "fbank.h"

#include <math.h>
#include <stdio.h>

static const struct flow_port inputs[] = {
    {"x", "waves, in [-1, 1]", "B S", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_port outputs[] = {
    {"y", "log energies [B, T, mels], T = 1 + floor((S - L)/H)", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_state states[] = {
    {"tail", "samples from the next frame's start on, [B, less than L + H]", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct fbank_attrs, rate, "samples a second, Hz", "16000", 1, 1 << 24),
    FLOW_ATTR(struct fbank_attrs, window_ms, "length L of a frame, ms, rounded down to samples", "25", 0, 1e6),
    FLOW_ATTR(struct fbank_attrs, hop_ms, "step H between frames, ms, rounded down to samples", "10", 0, 1e6),
    FLOW_ATTR(struct fbank_attrs, mels, "filters", "80", 1, 1 << 16),
    FLOW_ATTR_CHOICES(struct fbank_attrs, window, "symmetric window; povey is hann^0.85", "povey", "hann|hamming|rect|povey"),
    FLOW_ATTR(struct fbank_attrs, low, "lowest frequency, Hz", "20", 0, FLOW_NO_MAX),
    FLOW_ATTR_PLAIN(struct fbank_attrs, high, "highest frequency, Hz; up to 0: counted from half the rate", "0"),
    FLOW_ATTR_PLAIN(struct fbank_attrs, preemphasis, "share of the sample before that is taken away", "0.97"),
    FLOW_ATTR_PLAIN(struct fbank_attrs, remove_dc, "take the frame's mean away", "true"),
    FLOW_ATTR_PLAIN(struct fbank_attrs, snip_edges, "only frames that fit; else one a hop, the ends mirrored", "true"),
    FLOW_ATTR_PLAIN(struct fbank_attrs, power, "of the power spectrum; else of its square root", "true"),
    FLOW_ATTR_PLAIN(struct fbank_attrs, log, "natural logarithm, of at least 2^-23", "true"),
    FLOW_ATTR_PLAIN(struct fbank_attrs, scale, "multiplies the wave first", "32768"),
};
enum { CHOICE_HANN, CHOICE_HAMMING, CHOICE_RECT, CHOICE_POVEY };

int64_t fbank_scratch(const struct fbank_sizes *sizes) { return sizes->work + 6 * sizes->part; }
int64_t fbank_back_scratch(const struct fbank_sizes *sizes) {
    return sizes->work + 7 * sizes->part + speech_align(sizes->mels * shape_type_bytes(sizes->dtype));
}

/* ---- Filters ---------------------------------------------------------------------------------------------------- */

static double mel(double hertz) { return 1127.0 * log(1.0 + hertz / 700.0); }

struct scale {
    double low, step; /* of the mels + 2 points */
    double bin;       /* Hz */
    int64_t bins;
};

static struct scale scale_of(const struct fbank_attrs *a, int64_t size) {
    double high = a->high > 0 ? a->high : a->high + 0.5 * (double)a->rate, low = mel(a->low);
    return (struct scale){low, (mel(high) - low) / (double)(a->mels + 1), (double)a->rate / (double)size, size / 2};
}

static double filter_at(const struct scale *s, int64_t m, int64_t bin) {
    double v = mel((double)bin * s->bin), left = s->low + (double)m * s->step;
    double up = (v - left) / s->step, down = (left + 2 * s->step - v) / s->step;
    return up < down ? up : down;
}

/* Bins in which filter m is above 0, as [first, first + count); their list is short, so that it is searched from the frequency of its edge.
 */
static void filter_bins(const struct scale *s, int64_t m, int64_t *first, int64_t *count) {
    double hertz = 700.0 * (exp((s->low + (double)m * s->step) / 1127.0) - 1.0);
    double guess = floor(hertz / s->bin) - 1;
    int64_t k = guess < 0 ? 0 : guess > (double)s->bins ? s->bins : (int64_t)guess;
    while (k < s->bins && filter_at(s, m, k) <= 0 && (double)k * s->bin <= hertz + 2 * s->bin) k++;
    *first = k, *count = 0;
    while (k < s->bins && filter_at(s, m, k) > 0) k++, ++*count;
}

static int64_t padded(int64_t count) { return (count + FBANK_STEP - 1) / FBANK_STEP * FBANK_STEP; }

/* ---- Planning --------------------------------------------------------------------------------------------------- */

static int sizes_of(struct flow_infer *ctx, struct fbank_sizes *s) {
    const struct fbank_attrs *a = ctx->attrs;
    const struct flow_host *host = ctx->host;
    s->dtype = speech_real(ctx->in[0].dtype), s->fft = ISA_PICK(fft_functions, host->isa);
    int64_t bytes = shape_type_bytes(s->dtype);
    double length = floor((double)a->rate * a->window_ms / 1000.0), hop = floor((double)a->rate * a->hop_ms / 1000.0);
    if (!(length >= 1 && length <= FFT_SIZE_MOST / 2))
        return host->fail_at(ctx->owner, "window_ms", FLOW_ERROR_RANGE, "a frame of %g ms is %g samples: 1 to %d are possible",
                             a->window_ms, length, FFT_SIZE_MOST / 2);
    if (!(hop >= 1 && hop <= FFT_SIZE_MOST))
        return host->fail_at(ctx->owner, "hop_ms", FLOW_ERROR_RANGE, "a step of %g ms is %g samples: 1 to %d are possible", a->hop_ms, hop,
                             FFT_SIZE_MOST);
    s->length = (int64_t)length, s->hop = (int64_t)hop, s->mels = a->mels;
    for (s->size = 2; s->size < s->length;) s->size *= 2;
    struct scale scale = scale_of(a, s->size);
    if (!(a->high <= 0.5 * (double)a->rate))
        return host->fail_at(ctx->owner, "high", FLOW_ERROR_RANGE,
                             "the highest frequency is %g Hz, half the rate is %g Hz: expected at most that", a->high,
                             0.5 * (double)a->rate);
    if (!(scale.step > 0))
        return host->fail_at(ctx->owner, "high", FLOW_ERROR_RANGE,
                             "the filters span %g to %g Hz: the highest frequency must be above the lowest", a->low,
                             a->high > 0 ? a->high : a->high + 0.5 * (double)a->rate);
    int64_t weights = 0;
    for (int64_t m = 0; m < a->mels; m++) {
        int64_t first, count;
        filter_bins(&scale, m, &first, &count);
        weights += padded(count);
    }
    s->table = fft_table_bytes(s->size, s->dtype), s->window = speech_align(s->length * bytes);
    s->filters = speech_align(a->mels * (int64_t)sizeof(struct fbank_filter)), s->weights = speech_align(weights * bytes);
    s->work = fft_work_bytes(s->size, s->dtype), s->part = speech_align((s->size / 2 + 1 + FBANK_STEP) * bytes);
    ctx->packed = s->table + s->window + s->filters + s->weights;
    uint64_t key = speech_mix(speech_mix(speech_mix(0x6662616E6B, s->length), s->size), a->rate);
    key = speech_mix(speech_mix(speech_mix(key, a->window), a->mels), bytes);
    int64_t low, high;
    __builtin_memcpy(&low, &a->low, sizeof low), __builtin_memcpy(&high, &a->high, sizeof high);
    ctx->packed_key = speech_mix(speech_mix(key, low), high);
    return FLOW_OK;
}

static int infer(struct flow_infer *ctx) {
    const struct fbank_attrs *a = ctx->attrs;
    struct fbank_priv *priv = ctx->priv;
    struct fbank_sizes *s = &priv->sizes;
    const struct flow_tensor *x = &ctx->in[0];
    int64_t batch = x->shape[0], samples = x->shape[1], frames;
    int32_t axis = speech_axis(ctx, 0);
    int status = sizes_of(ctx, s);
    if (status < 0) return status;
    priv->functions = ISA_PICK(fbank_functions, ctx->host->isa);
    priv->held = priv->after = priv->origin = 0;
    if (axis == 0) (void)speech_pass(ctx, 0, 1);
    if (axis == 1 && !a->snip_edges)
        return ctx->host->fail_at(ctx->owner, "snip_edges", FLOW_ERROR_UNSUPPORTED,
                                  "snip_edges: false mirrors the ends and needs the whole sequence; snip_edges: true streams");
    if (axis == 1) {
        priv->origin = cut_lead(s->length, s->hop);
        const int64_t first[2] = {batch, priv->origin};
        if (ctx->first && !speech_shape(&ctx->state[0], x->dtype, 2, first)) return speech_too_large(ctx);
        priv->held = ctx->state[0].shape[1];
        frames = cut_frames(priv->held + samples - priv->origin, s->length, s->hop);
        priv->after = ctx->flush ? 0 : priv->held + samples - frames * s->hop;
        ctx->out_axis[0] = 1;
        if (!speech_state(ctx, 0, x->dtype, 2, first, 1, priv->after)) return speech_too_large(ctx);
    } else if (a->snip_edges) frames = cut_frames(samples, s->length, s->hop);
    else frames = (samples + s->hop / 2) / s->hop, priv->origin = s->hop / 2 - s->length / 2;
    if (samples == 0 && priv->held == 0) frames = 0;
    const int64_t shape[3] = {batch, frames, s->mels};
    if (!speech_shape(&ctx->out[0], x->dtype, 3, shape)) return speech_too_large(ctx);
    priv->parts = speech_parts(ctx->host, frames, 32), priv->scratch = fbank_scratch(s);
    ctx->workspace = priv->parts * priv->scratch + ctx->packed;
    ctx->backward_reads_in = 1, ctx->backward_reads_out = 0;
    priv->back = fbank_back_scratch(s), priv->reach = frames > 0 ? (frames - 1) * s->hop + s->length : 0;
    ctx->workspace_backward = ctx->packed + priv->parts * priv->back + speech_align(priv->reach * shape_type_bytes(s->dtype));
    double log2 = 0;
    for (int64_t n = s->size; n > 1; n /= 2) log2++;
    ctx->flops = (double)batch * (double)frames * ((double)s->size * (2.5 * log2 + 3) + 5 * (double)s->length + 20 * (double)s->mels);
    ctx->bytes = (double)shape_type_bytes(s->dtype) * (double)batch * ((double)samples + (double)s->mels * (double)frames);
    return FLOW_OK;
}

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static void put(void *at, int32_t dtype, int64_t i, double value) {
    if (dtype == FLOW_F64) ((double *)at)[i] = value;
    else ((float *)at)[i] = (float)value;
}

static void fill(const struct fbank_attrs *a, const struct fbank_sizes *s, char *packed) {
    static const int32_t windows[] = {WINDOW_HANN, WINDOW_HAMMING, WINDOW_RECT, WINDOW_POVEY};
    fft_table_fill(s->size, s->dtype, packed);
    char *at = packed + s->table;
    for (int64_t n = 0; n < s->length; n++) put(at, s->dtype, n, window_value(windows[a->window], n, s->length, false));
    at += s->window;
    struct fbank_filter *filters = (struct fbank_filter *)(void *)at;
    at += s->filters;
    struct scale scale = scale_of(a, s->size);
    int64_t weights = 0;
    for (int64_t m = 0; m < s->mels; m++) {
        int64_t first, count, all;
        filter_bins(&scale, m, &first, &count);
        all = padded(count);
        filters[m] = (struct fbank_filter){(int32_t)first, (int32_t)all, weights};
        for (int64_t k = 0; k < all; k++) put(at, s->dtype, weights + k, k < count ? filter_at(&scale, m, first + k) : 0);
        weights += all;
    }
}

static int prepare(const struct flow_call *call) {
    const struct fbank_priv *priv = call->priv;
    fill(call->attrs, &priv->sizes, call->packed);
    return FLOW_OK;
}

struct job {
    const struct fbank_priv *priv;
    struct fbank_cut cut; /* of the sequence in hand */
    int64_t frames;
};

static void run(void *context, int64_t begin, int64_t end) {
    const struct job *job = context;
    const struct fbank_priv *priv = job->priv;
    struct fbank_cut cut = job->cut;
    int64_t each = (job->frames + priv->parts - 1) / priv->parts;
    for (int64_t part = begin; part < end; part++) {
        cut.scratch = (char *)job->cut.scratch + part * priv->scratch;
        int64_t from = part * each, to = speech_least(from + each, job->frames);
        if (from < to) (priv->sizes.dtype == FLOW_F64 ? priv->functions->frames_f64 : priv->functions->frames_f32)(&cut, from, to);
    }
}

static int forward(const struct flow_call *call) {
    const struct fbank_priv *priv = call->priv;
    const struct flow_tensor *x = &call->in[0];
    int64_t bytes = shape_type_bytes(x->dtype), frames = call->out[0].shape[1];
    char *packed = call->packed;
    if (!packed) {
        packed = (char *)call->workspace + priv->parts * priv->scratch;
        fill(call->attrs, &priv->sizes, packed);
    }
    struct job job = {priv,
                      {.attrs = call->attrs,
                       .sizes = &priv->sizes,
                       .packed = packed,
                       .held = priv->held,
                       .samples = x->shape[1],
                       .origin = priv->origin,
                       .scratch = call->workspace},
                      frames};
    for (int64_t b = 0; b < x->shape[0]; b++) {
        job.cut.x = (const char *)x->data + b * x->shape[1] * bytes;
        job.cut.tail = priv->held ? (const char *)call->state_in[0].data + b * priv->held * bytes : NULL;
        job.cut.y = (char *)call->out[0].data + b * frames * priv->sizes.mels * bytes;
        if (frames > 0) speech_parallel(call, priv->parts, run, &job);
        if (priv->after > 0)
            speech_keep(job.cut.tail, priv->held, job.cut.x, x->shape[1], bytes, (char *)call->state_out[0].data + b * priv->after * bytes,
                        priv->after);
    }
    return FLOW_OK;
}

/* ---- Backward: every frame once more, then the way back; frames are added up, mirrored samples folded back ---- */

struct back {
    const struct fbank_priv *priv;
    struct fbank_cut cut; /* of the sequence in hand */
    int64_t frames;
};

static void back_run(void *context, int64_t begin, int64_t end) {
    const struct back *back = context;
    const struct fbank_priv *priv = back->priv;
    struct fbank_cut cut = back->cut;
    int64_t each = (priv->reach + priv->parts - 1) / priv->parts;
    for (int64_t part = begin; part < end; part++) {
        cut.scratch = (char *)back->cut.scratch + part * priv->back;
        int64_t from = part * each, to = speech_least(from + each, priv->reach);
        if (from < to)
            (priv->sizes.dtype == FLOW_F64 ? priv->functions->back_f64 : priv->functions->back_f32)(&cut, back->frames, from, to);
    }
}

static int backward(const struct flow_call *call) {
    const struct fbank_priv *priv = call->priv;
    const struct flow_tensor *dy = &call->grad_out[0], *x = &call->in[0];
    struct flow_tensor *dx = &call->grad_in[0];
    if (!shape_exists(dx)) return FLOW_OK;
    speech_zero(dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
    if (!shape_exists(dy) || shape_count(dy) == 0) return FLOW_OK;
    int64_t bytes = shape_type_bytes(dx->dtype), samples = dx->shape[1], frames = dy->shape[1];
    const struct fbank_sizes *s = &priv->sizes;
    char *packed = call->workspace, *scratch = packed + s->table + s->window + s->filters + s->weights;
    fill(call->attrs, s, packed);
    struct back back = {priv,
                        {.attrs = call->attrs,
                         .sizes = s,
                         .packed = packed,
                         .samples = samples,
                         .origin = priv->origin,
                         .scratch = scratch,
                         .reached = scratch + priv->parts * priv->back},
                        frames};
    for (int64_t b = 0; b < dx->shape[0]; b++) {
        back.cut.x = (const char *)x->data + b * samples * bytes;
        back.cut.dy = (const char *)dy->data + b * frames * s->mels * bytes;
        speech_parallel(call, priv->parts, back_run, &back);
        speech_fold(dx->dtype, (char *)dx->data + b * samples * bytes, samples, back.cut.reached, priv->origin, priv->reach, MIRROR_EDGE);
    }
    return FLOW_OK;
}

static int describe(const struct flow_infer *ctx, char *text, size_t size) {
    const struct fbank_priv *priv = ctx->priv;
    return snprintf(text, size, "frames of %lld every %lld samples, transform of %lld, %lld kB of filters", (long long)priv->sizes.length,
                    (long long)priv->sizes.hop, (long long)priv->sizes.size,
                    (long long)((priv->sizes.weights + priv->sizes.filters) / 1000));
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward},
};

const struct flow_operator fbank_operator = {
    .size = sizeof(struct flow_operator),
    .name = "fbank",
    .summary = "log mel filter bank energies of waves, as Kaldi computes them",
    .equation = "frame: L samples of scale*x, less their mean, f[n] -= preemphasis*f[n-1] (f[-1] = f[0]), times the window; p = |rfft|^2 "
                "of N >= L samples\n"
                "y[t, m] = log(max(sum_k p[k] max(0, min((mel(k rate/N) - c_m)/d, (c_{m+2} - mel(k rate/N))/d)), 2^-23)), k < N/2,\n"
                "mel(v) = 1127 ln(1 + v/700), c_0 .. c_{mels+1} at equal steps d from mel(low) to mel(high)\n"
                "snip_edges: false: T = floor((S + H/2)/H), frame t starts at t*H + H/2 - L/2, indices mirror as -1-i and 2S-1-i\n"
                "gradient: none below the floor of the logarithm, 0 through a root of 0",
    .reference = "Kaldi, feat/feature-fbank.cc and mel-computations.cc; Young et al., The HTK Book, section 5.4",
    .example = "y: {op: fbank, in: x, with: {window: hamming}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct fbank_attrs),
    .priv_size = sizeof(struct fbank_priv),
    .infer = infer,
    .prepare = prepare,
    .describe = describe,
};
