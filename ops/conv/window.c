/* SPDX-License-Identifier: Apache-2.0 */
/* Windows along axes: their attributes, their places, what they keep between the pieces of a stream. */
#include "conv/conv.h"
#include "common/extent.h"

#include <string.h>

int window_integers(const struct flow_infer *infer, const char *name, const struct flow_ints *from, int32_t axes, const int64_t *otherwise,
                    int64_t *to) {
    if (from->count == 0 && otherwise) {
        memcpy(to, otherwise, sizeof *to * (size_t)axes);
        return FLOW_OK;
    }
    if (from->count != 1 && from->count != (uint32_t)axes)
        return infer->host->fail_at(infer->owner, name, FLOW_ERROR_USAGE, "%s has %u numbers: expected one, or %d", name, from->count,
                                    axes);
    for (int32_t i = 0; i < axes; ++i) to[i] = from->at[from->count == 1 ? 0 : i];
    return FLOW_OK;
}

static int padding_word(const struct flow_infer *infer, int32_t word, int32_t axes, struct window *windows) {
    for (int32_t i = 0; i < axes; ++i) {
        struct window *w = &windows[i];
        int64_t total = window_reach(w) - 1;
        if (word == PADDING_SAME && w->stride != 1)
            return infer->host->fail_at(infer->owner, "padding", FLOW_ERROR_USAGE, "padding same needs stride 1, the stride is %lld",
                                        (long long)w->stride);
        if (word == PADDING_CAUSAL && axes != 1)
            return infer->host->fail_at(infer->owner, "padding", FLOW_ERROR_USAGE, "padding causal is for one axis, here there are %d",
                                        axes);
        w->before = word == PADDING_SAME ? total / 2 : total;
        w->after = total - w->before;
    }
    return FLOW_OK;
}

int window_padding(const struct flow_infer *infer, const struct flow_ints *padding, int32_t axes, struct window *windows) {
    if (padding->word >= 0) return padding_word(infer, padding->word, axes, windows);
    int64_t numbers[2];
    int status = window_integers(infer, "padding", padding, 2, NULL, numbers); /* 1d: before, after; 2d: of height, of width */
    if (status < 0) return status;
    for (int32_t i = 0; i < 2; ++i)
        if (numbers[i] < 0 || (double)numbers[i] > CONV_MOST)
            return infer->host->fail_at(infer->owner, "padding", FLOW_ERROR_RANGE, "padding %lld: expected 0 to %.0f",
                                        (long long)numbers[i], CONV_MOST);
    for (int32_t i = 0; i < axes; ++i) {
        windows[i].before = numbers[axes == 1 ? 0 : i];
        windows[i].after = numbers[axes == 1 ? 1 : i];
    }
    return FLOW_OK;
}

int window_fit(const struct flow_infer *infer, int32_t first, int32_t axes, struct window *windows) {
    for (int32_t i = 0; i < axes; ++i) {
        struct window *w = &windows[i];
        w->out = window_places(w);
        if (w->out > 0 || w->in == 0) continue;
        return infer->host->fail(
            infer->owner, FLOW_ERROR_SHAPE,
            "a kernel of %lld (dilation %lld: it spans %lld) does not fit into axis %d of x: %lld + %lld before + %lld after",
            (long long)w->kernel, (long long)w->dilation, (long long)window_reach(w), first + i, (long long)w->in, (long long)w->before,
            (long long)w->after);
    }
    return FLOW_OK;
}

int64_t window_source(int64_t i, int64_t in, int32_t mode) {
    if (i >= 0 && i < in) return i;
    switch (mode) {
    case MODE_REFLECT: return i < 0 ? -i : 2 * (in - 1) - i; /* infer has checked that padding < in */
    case MODE_REPLICATE: return i < 0 ? 0 : in - 1;
    case MODE_CIRCULAR: return i < 0 ? i + in : i - in; /* padding <= in */
    default: return -1;
    }
}

int window_stream(struct flow_infer *infer, int32_t axis, struct window *window, bool zero, struct window_stream *stream) {
    const struct flow_tensor *x = &infer->in[0];
    struct flow_tensor *state = &infer->state[0], *next = &infer->state_out[0];
    if (!zero && (window->before > 0 || window->after > 0))
        return infer->host->fail_at(infer->owner, "padding_mode", FLOW_ERROR_UNSUPPORTED,
                                    "padding with elements of the sequence needs the whole sequence");
    if (infer->first) {
        *state = *x;
        state->shape[axis] = window->before;
        shape_dense(state);
    }
    stream->axis = axis;
    stream->kept = state->shape[axis];
    stream->fresh = x->shape[axis];
    int64_t reach = window_reach(window), delay = reach - 1 - window->before;
    window->in = stream->kept + stream->fresh;
    window->before = 0;
    window->after = infer->flush ? window->after : 0;
    /* Before the end a place waits until the next one's first element is here, too: what is left is never less than nothing. */
    int64_t span = !infer->flush && window->stride > reach ? window->stride : reach, total = window->in + window->after;
    window->out = total < span ? 0 : (total - span) / window->stride + 1;
    stream->left = infer->flush ? 0 : total - window->out * window->stride;
    *next = *x;
    next->shape[axis] = stream->left;
    shape_dense(next);
    infer->out_axis[0] = axis;
    infer->delay = delay > 0 ? delay : 0;
    return FLOW_OK;
}

int64_t window_stream_bytes(const struct flow_tensor *x, const struct window_stream *stream, int64_t element) {
    if (stream->axis < 0 || stream->kept == 0) return 0;
    int64_t bytes = element;
    for (int32_t i = 0; i < x->rank; ++i)
        if (__builtin_mul_overflow(bytes, i == stream->axis ? stream->kept + stream->fresh : x->shape[i], &bytes)) return -1;
    return bytes > INT64_MAX / 2 ? -1 : (bytes + 63) / 64 * 64;
}

const void *window_stream_join(const struct flow_call *call, const struct window_stream *stream, void *joined) {
    const struct flow_tensor *x = &call->in[0];
    if (stream->axis < 0) return x->data;
    int64_t outer = shape_span(x, 0, stream->axis), inner = shape_span(x, stream->axis + 1, x->rank) * shape_type_bytes(x->dtype);
    size_t kept = (size_t)(stream->kept * inner), fresh = (size_t)(stream->fresh * inner), left = (size_t)(stream->left * inner);
    const char *from = x->data;
    if (kept > 0) {
        const char *history = call->state_in[0].data;
        char *to = joined;
        for (int64_t i = 0; i < outer; ++i) {
            memcpy(to + (size_t)i * (kept + fresh), history + (size_t)i * kept, kept);
            if (fresh > 0) memcpy(to + (size_t)i * (kept + fresh) + kept, from + (size_t)i * fresh, fresh);
        }
        from = to;
    }
    char *state = call->state_out[0].data;
    for (int64_t i = 0; left > 0 && i < outer; ++i) memcpy(state + (size_t)i * left, from + (size_t)(i + 1) * (kept + fresh) - left, left);
    return from;
}
