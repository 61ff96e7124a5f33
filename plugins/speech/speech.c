/* SPDX-License-Identifier: Apache-2.0 */
#include "speech.h"

#include <math.h>
#include <string.h>

bool speech_shape(struct flow_tensor *tensor, int32_t dtype, int32_t rank, const int64_t *shape) {
    int64_t bytes = shape_type_bytes(dtype), stride = 1;
    tensor->dtype = dtype, tensor->rank = rank;
    for (int32_t i = rank - 1; i >= 0; i--) {
        tensor->shape[i] = shape[i], tensor->strides[i] = stride;
        int64_t extent = shape[i] > 1 ? shape[i] : 1;
        if (shape[i] < 0 || __builtin_mul_overflow(stride, extent, &stride) || __builtin_mul_overflow(bytes, extent, &bytes)) return false;
    }
    return true;
}

bool speech_state(struct flow_infer *ctx, uint32_t state, int32_t dtype, int32_t rank, const int64_t *first, int64_t axis, int64_t out) {
    int64_t shape[FLOW_RANK_MAX];
    if (ctx->first && !speech_shape(&ctx->state[state], dtype, rank, first)) return false;
    for (int32_t i = 0; i < rank; i++) shape[i] = i == axis ? out : ctx->state[state].shape[i];
    return speech_shape(&ctx->state_out[state], dtype, rank, shape);
}

int speech_too_large(struct flow_infer *ctx) {
    return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "the result has more bytes than 64 bits can count");
}

int speech_pass(struct flow_infer *ctx, int32_t axis, uint32_t outputs) {
    static const int64_t none[1] = {0};
    for (uint32_t i = 0; i < outputs; i++) ctx->out_axis[i] = axis;
    for (uint32_t i = 0; i < ctx->state_count; i++) (void)speech_state(ctx, i, ctx->state[i].dtype, 1, none, 0, 0);
    return FLOW_OK;
}

void speech_parallel(const struct flow_call *call, int64_t parts, void (*body)(void *context, int64_t begin, int64_t end), void *context) {
    if (parts > 1) call->host->parallel_for(call, parts, 1, body, context);
    else body(context, 0, 1);
}

void speech_zero(struct flow_tensor *grad, bool add) {
    int64_t count = shape_exists(grad) && !add ? shape_count(grad) : 0;
    if (count > 0) memset(grad->data, 0, (size_t)(count * shape_type_bytes(grad->dtype)));
}

void speech_add(int32_t dtype, void *to, const void *from, int64_t count) {
    if (dtype == FLOW_F64) {
        double *restrict a = to;
        const double *restrict b = from;
        for (int64_t i = 0; i < count; i++) a[i] += b[i];
    } else {
        float *restrict a = to;
        const float *restrict b = from;
        for (int64_t i = 0; i < count; i++) a[i] += b[i];
    }
}

void speech_fold(int32_t dtype, void *to, int64_t samples, const void *from, int64_t first, int64_t count, int32_t mirror) {
    int64_t begin = speech_least(speech_most(-first, 0), count), end = speech_most(begin, speech_least(count, samples - first));
    int64_t bytes = shape_type_bytes(dtype);
    if (end > begin) speech_add(dtype, (char *)to + (first + begin) * bytes, (const char *)from + begin * bytes, end - begin);
    int64_t off = mirror == MIRROR_EDGE ? 1 : 0, period = 2 * samples - 2 + 2 * off;
    for (int64_t i = 0; i < count; i++) {
        if (i == begin) i = end;
        if (i >= count) break;
        int64_t at = period > 0 ? (first + i) % period : 0;
        if (at < 0) at += period;
        if (at >= samples) at = period - off - at;
        if (dtype == FLOW_F64) ((double *)to)[at] += ((const double *)from)[i];
        else ((float *)to)[at] += ((const float *)from)[i];
    }
}

void speech_keep(const void *state, int64_t held, const void *given, int64_t count, int64_t step, void *to, int64_t after) {
    int64_t new = speech_least(after, count), old = after - new;
    if (old > 0) memcpy(to, (const char *)state + (held - old) * step, (size_t)(old * step));
    if (new > 0) memcpy((char *)to + old * step, (const char *)given + (count - new) * step, (size_t)(new *step));
}

int64_t overlap_phase(int64_t edge) { return 2 * edge + 1; }

bool overlap_piece(int64_t size, int64_t hop, int64_t edge, int64_t frames, int64_t held, int64_t phase, bool flush, struct overlap *out) {
    bool fresh = phase & 1;
    int64_t drop = phase / 2, hold = speech_most(size > hop ? size - hop : 0, edge), reach;
    *out = (struct overlap){.total = held, .held = held, .phase = phase};
    if (frames > 0) {
        if (__builtin_mul_overflow(frames - 1, hop, &reach) || __builtin_add_overflow(reach, size, &reach)) return false;
        out->offset = fresh ? 0 : held + hop - size;
        if (__builtin_add_overflow(reach, out->offset, &out->total)) return false;
    }
    if (fresh && frames == 0) return true;
    /* once there was a frame, `hold` sums stay: they overlap with the next frame, or may yet be the end that is dropped */
    out->final = speech_most(out->total - (flush ? edge : hold), 0);
    out->drop = speech_least(drop, out->final);
    out->held = out->total - out->final;
    out->phase = 2 * (drop - out->drop);
    return true;
}

double window_value(int32_t kind, int64_t n, int64_t length, bool periodic) {
    int64_t period = periodic ? length : length - 1;
    if (period < 1) return 1; /* one sample */
    double c = cos(2.0 * 3.14159265358979323846 * (double)n / (double)period), hann = 0.5 - 0.5 * c;
    switch (kind) {
    case WINDOW_HANN: return hann;
    case WINDOW_SQRT_HANN: return sqrt(hann);
    case WINDOW_HAMMING: return 0.54 - 0.46 * c;
    case WINDOW_POVEY: return pow(hann, 0.85);
    default: return 1;
    }
}
