/* SPDX-License-Identifier: Apache-2.0 */
/* token_decode: the text that tokens stand for. */
#include "text.h"

#include <string.h>

struct decode_attrs {
    int64_t count, width, open;
};

static const struct flow_port inputs[] = {
    {"tokens", "tokens [..., T], read in row-major order", NULL, FLOW_TYPE(I64), FLOW_NO_GRAD},
    {"before",
     "its last element is the token before the first of `tokens`; left out: there is none, or, when streaming, the piece before has it",
     NULL, FLOW_TYPE(I64), FLOW_OPTIONAL | FLOW_NO_GRAD},
};
static const struct flow_port outputs[] = {
    {"y", "bytes of the text [N]", NULL, FLOW_TYPE(U8), FLOW_DYNAMIC | FLOW_NO_GRAD},
};
static const struct flow_param params[] = {
    {"pieces", "bytes of each token's piece, filled up with zeros", "count width", NULL, "zeros", FLOW_TYPE(U8),
     FLOW_NO_GRAD | FLOW_RUNNING},
    {"lengths", "bytes that each piece has", "count", NULL, "zeros", FLOW_TYPE(I32), FLOW_NO_GRAD | FLOW_RUNNING},
};
static const struct flow_state states[] = {
    {"last", "the token before the next piece, -1: none", "1", "constant(-1)", FLOW_TYPE(I64), 0, 0, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct decode_attrs, count, "tokens in the vocabulary", FLOW_REQUIRED, 1, 1 << 30),
    FLOW_ATTR(struct decode_attrs, width, "bytes of the longest piece", FLOW_REQUIRED, 1, 1 << 20),
    FLOW_ATTR(struct decode_attrs, open, "token that opens a text: after it one leading space is dropped; -1: none", "1", -1, 1 << 30),
};

static int infer(struct flow_infer *ctx) {
    const struct decode_attrs *a = ctx->attrs;
    const struct flow_tensor *tokens = &ctx->in[0];
    int64_t count = shape_count(tokens), bytes;
    if (ctx->streaming) {
        int32_t axis = ctx->in_axis[0];
        if (axis >= 0 && (axis != tokens->rank - 1 || shape_span(tokens, 0, axis) > 1))
            return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED,
                                   "streams one text along the last axis; of %lld rows together the text needs the whole sequence",
                                   (long long)shape_span(tokens, 0, axis));
        ctx->out_axis[0] = 0;
    }
    if (__builtin_mul_overflow(count, a->width, &bytes))
        return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "%lld tokens of up to %lld bytes are too many", (long long)count,
                               (long long)a->width);
    ctx->out[0].dtype = FLOW_U8, ctx->out[0].rank = 1, ctx->out[0].shape[0] = bytes;
    shape_dense(&ctx->out[0]);
    ctx->bytes = 8.0 * (double)count + 2.0 * (double)bytes;
    return FLOW_OK;
}

static int forward(const struct flow_call *call) {
    const struct decode_attrs *a = call->attrs;
    const struct flow_tensor *tokens = &call->in[0];
    struct vocabulary v = vocabulary_of(&call->param[0], &call->param[1]);
    bool streams = call->streaming && call->state_count == 1;
    int64_t last = streams ? *(const int64_t *)call->state_in[0].data : -1, n = 0, count = shape_count(tokens);
    if (call->in_count > 1 && call->in[1].rank >= 0 && shape_count(&call->in[1]) > 0)
        last = ((const int64_t *)call->in[1].data)[shape_count(&call->in[1]) - 1];
    const int64_t *token = tokens->data;
    uint8_t *y = call->out[0].data;
    for (int64_t i = 0; i < count; last = token[i++]) {
        if (token[i] < 0 || token[i] >= v.count)
            return call->host->fail(call->owner, FLOW_ERROR_RANGE, "tokens holds %lld at position %lld, expected 0 to %lld",
                                    (long long)token[i], (long long)i, (long long)v.count - 1);
        const uint8_t *piece = v.pieces + token[i] * v.width;
        int64_t length = v.lengths[token[i]];
        if (length < 0 || length > v.width)
            return call->host->fail(call->owner, FLOW_ERROR_RANGE, "lengths[%lld] is %lld, expected 0 to %lld: pieces are that wide",
                                    (long long)token[i], (long long)length, (long long)v.width);
        if (a->open >= 0 && last == a->open && length > 0 && piece[0] == ' ') piece++, length--;
        memcpy(y + n, piece, (size_t)length);
        n += length;
    }
    if (streams) *(int64_t *)call->state_out[0].data = last;
    call->out[0].shape[0] = n;
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(I64), .forward = forward},
};

const struct flow_operator token_decode_operator = {
    .size = sizeof(struct flow_operator),
    .name = "token_decode",
    .summary = "the text that tokens stand for",
    .equation = "y = pieces[tokens_0, :lengths[tokens_0]] pieces[tokens_1, :lengths[tokens_1]] ..., one leading space dropped after `open`",
    .reference = "Kudo and Richardson, SentencePiece (2018), section 3.2 (lossless tokenization)",
    .example = "y: {op: token_decode, in: x, with: {count: 512, width: 7}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct decode_attrs),
    .infer = infer,
};
