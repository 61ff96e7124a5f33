/* SPDX-License-Identifier: Apache-2.0 */
/* token_encode: text to tokens by byte pair encoding. The text is a list of nodes, a character each at first; a heap holds the neighbours
 * that make a piece together, the best first. Joining two makes at most two new pairs, so the work is O(n log n). */
#include "text.h"

#include <string.h>

struct encode_attrs {
    int64_t count, width, open, bytes, unknown;
    bool space;
};

struct node {
    int32_t token, at, length; /* in the text; length 0: joined to the node before it */
    int32_t before, after;     /* neighbours, -1: none */
};

/* A pair that was a piece when it was put in: it still is while both nodes are neighbours and `length` bytes together. */
struct pair {
    float score;
    int32_t left, right, length, token;
};

static const struct flow_port inputs[] = {
    {"text", "bytes of the text [N]", "N", FLOW_TYPE(U8), FLOW_NO_GRAD},
};
static const struct flow_port outputs[] = {
    {"y", "tokens [T]", NULL, FLOW_TYPE(I64), FLOW_DYNAMIC | FLOW_NO_GRAD},
};
static const struct flow_param params[] = {
    {"pieces", "bytes of each token's piece, filled up with zeros", "count width", NULL, "zeros", FLOW_TYPE(U8),
     FLOW_NO_GRAD | FLOW_RUNNING},
    {"lengths", "bytes that each piece has", "count", NULL, "zeros", FLOW_TYPE(I32), FLOW_NO_GRAD | FLOW_RUNNING},
    {"scores", "which pair is joined first: the one whose piece has the highest", "count", NULL, "zeros", FLOW_TYPE(F32),
     FLOW_NO_GRAD | FLOW_RUNNING},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct encode_attrs, count, "tokens in the vocabulary", FLOW_REQUIRED, 1, 1 << 30),
    FLOW_ATTR(struct encode_attrs, width, "bytes of the longest piece", FLOW_REQUIRED, 1, 1 << 20),
    FLOW_ATTR(struct encode_attrs, open, "token that opens the text; -1: none", "1", -1, 1 << 30),
    FLOW_ATTR_PLAIN(struct encode_attrs, space, "put a space in front of a text that is not empty", "true"),
    FLOW_ATTR(struct encode_attrs, bytes, "first of 256 tokens for single bytes, for characters without a token; -1: there are none", "3",
              -1, 1 << 30),
    FLOW_ATTR(struct encode_attrs, unknown, "token of such a character where there are none", "0", 0, 1 << 30),
};

enum { TEXT_MOST = 1 << 30 };

static int64_t align_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static int infer(struct flow_infer *ctx) {
    const struct encode_attrs *a = ctx->attrs;
    int64_t n = ctx->in[0].shape[0];
    if (ctx->streaming)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED,
                               "which characters are joined depends on all that follow: needs the whole text");
    if (n > TEXT_MOST)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "text has %lld bytes, at most %d are possible", (long long)n, TEXT_MOST);
    const struct {
        const char *name;
        int64_t first, count;
    } tokens[] = {{"open", a->open, 1}, {"bytes", a->bytes, 256}, {"unknown", a->unknown, 1}};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        if (tokens[i].first >= 0 && tokens[i].first + tokens[i].count > a->count)
            return ctx->host->fail_at(ctx->owner, tokens[i].name, FLOW_ERROR_RANGE, "%s takes tokens %lld to %lld, count is %lld",
                                      tokens[i].name, (long long)tokens[i].first, (long long)(tokens[i].first + tokens[i].count - 1),
                                      (long long)a->count);
    ctx->out[0].dtype = FLOW_I64, ctx->out[0].rank = 1, ctx->out[0].shape[0] = n + 2;
    shape_dense(&ctx->out[0]);
    ctx->packed = align_up(vocabulary_slots(a->count) * 4);
    ctx->packed_key = (uint64_t)a->count * 0x9E3779B97F4A7C15u ^ (uint64_t)a->width << 40 ^ (uint64_t)(a->bytes + 2);
    ctx->workspace = align_up(n + 1) + align_up((n + 1) * (int64_t)sizeof(struct node)) +
                     align_up(3 * (n + 1) * (int64_t)sizeof(struct pair)) + ctx->packed;
    ctx->bytes = (double)ctx->workspace;
    return FLOW_OK;
}

static int fill(const struct flow_call *call, int32_t *slot) {
    const struct encode_attrs *a = call->attrs;
    struct vocabulary v = vocabulary_of(&call->param[0], &call->param[1]);
    int status = vocabulary_check(call, &v);
    if (status == FLOW_OK) vocabulary_index(&v, a->bytes, slot, vocabulary_slots(a->count));
    return status;
}

static int prepare(const struct flow_call *call) { return fill(call, call->packed); }

/* ---- The heap of pairs: the highest score first, of equal scores the one further left ---------------------------- */

struct text {
    const struct encode_attrs *a;
    struct vocabulary v;
    const int32_t *slot;
    const struct flow_tensor *scores;
    const uint8_t *bytes;
    struct node *node;
    struct pair *heap;
    int64_t count;
};

static bool sooner(const struct pair *a, const struct pair *b) {
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void push(struct text *t, struct pair pair) {
    int64_t i = t->count++;
    for (; i > 0 && sooner(&pair, &t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = pair;
}

static struct pair pop(struct text *t) {
    struct pair first = t->heap[0], moved = t->heap[--t->count];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < t->count; i = child) {
        if (child + 1 < t->count && sooner(&t->heap[child + 1], &t->heap[child])) child++;
        if (!sooner(&t->heap[child], &moved)) break;
        t->heap[i] = t->heap[child];
    }
    if (t->count > 0) t->heap[i] = moved;
    return first;
}

static bool is_byte(const struct text *t, int32_t token) { return t->a->bytes >= 0 && token >= t->a->bytes && token < t->a->bytes + 256; }

/* Puts the pair (left, the node after it) into the heap if it is a piece. Bytes that stand for themselves are never joined. */
static void offer(struct text *t, int32_t left) {
    int32_t right = left < 0 ? -1 : t->node[left].after;
    if (right < 0 || is_byte(t, t->node[left].token) || is_byte(t, t->node[right].token)) return;
    int32_t length = t->node[left].length + t->node[right].length;
    int32_t token = vocabulary_find(&t->v, t->slot, vocabulary_slots(t->v.count), t->bytes + t->node[left].at, length);
    if (token < 0) return;
    float score = t->scores->dtype == FLOW_F64 ? (float)((const double *)t->scores->data)[token] : ((const float *)t->scores->data)[token];
    push(t, (struct pair){score, left, right, length, token});
}

/* Bytes of the UTF-8 character that begins with `lead`; what is no lead byte stands alone. */
static int32_t character(uint8_t lead) { return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 1; }

/* One node a character, or a byte where the character has no token or is cut short. Returns how many. */
static int32_t split(struct text *t, int32_t n) {
    int32_t nodes = 0;
    for (int32_t at = 0; at < n;) {
        int32_t whole = character(t->bytes[at]), length = 1;
        while (length < whole && at + length < n && (t->bytes[at + length] & 0xC0) == 0x80) length++;
        int32_t token = vocabulary_find(&t->v, t->slot, vocabulary_slots(t->v.count), t->bytes + at, length);
        if (token < 0 && t->a->bytes >= 0) length = 1, token = (int32_t)t->a->bytes + t->bytes[at];
        else if (token < 0) token = (int32_t)t->a->unknown;
        t->node[nodes] = (struct node){token, at, length, nodes - 1, nodes + 1};
        nodes++, at += length;
    }
    if (nodes > 0) t->node[nodes - 1].after = -1;
    return nodes;
}

static void join(struct text *t) {
    while (t->count > 0) {
        struct pair pair = pop(t);
        struct node *left = &t->node[pair.left], *right = &t->node[pair.right];
        if (left->length == 0 || right->length == 0 || left->after != pair.right || left->length + right->length != pair.length) continue;
        left->token = pair.token, left->length = pair.length, left->after = right->after;
        right->length = 0;
        if (left->after >= 0) t->node[left->after].before = pair.left;
        offer(t, left->before);
        offer(t, pair.left);
    }
}

static int forward(const struct flow_call *call) {
    const struct encode_attrs *a = call->attrs;
    int64_t given = call->in[0].shape[0];
    char *at = call->workspace;
    uint8_t *bytes = (uint8_t *)at;
    struct text t = {.a = a, .v = vocabulary_of(&call->param[0], &call->param[1]), .scores = &call->param[2], .bytes = bytes};
    at += align_up(given + 1), t.node = (struct node *)(void *)at;
    at += align_up((given + 1) * (int64_t)sizeof(struct node)), t.heap = (struct pair *)(void *)at;
    at += align_up(3 * (given + 1) * (int64_t)sizeof(struct pair));
    t.slot = call->packed;
    if (!t.slot) {
        int status = fill(call, (int32_t *)(void *)at);
        if (status < 0) return status;
        t.slot = (const int32_t *)(void *)at;
    }
    int32_t n = 0;
    if (a->space && given > 0) bytes[n++] = ' ';
    if (given > 0) memcpy(bytes + n, call->in[0].data, (size_t)given);
    n += (int32_t)given;
    int32_t nodes = split(&t, n);
    for (int32_t i = 0; i < nodes; i++) offer(&t, i);
    join(&t);
    int64_t *y = call->out[0].data, count = 0;
    if (a->open >= 0) y[count++] = a->open;
    for (int32_t i = nodes > 0 ? 0 : -1; i >= 0; i = t.node[i].after) y[count++] = t.node[i].token;
    call->out[0].shape[0] = count;
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(U8) | FLOW_TYPES_REAL, .forward = forward},
};

const struct flow_operator token_encode_operator = {
    .size = sizeof(struct flow_operator),
    .name = "token_encode",
    .summary = "text to tokens, by byte pair encoding with scored pieces",
    .equation = "y = open, a space, a token for each character (its bytes where it has none); then, until there is none left,\n"
                "the neighbours whose union is the piece of highest score (the first of equals) become that piece",
    .reference = "Sennrich et al., Neural machine translation of rare words with subword units (2016), algorithm 1; Kudo and Richardson,\n"
                 "SentencePiece (2018), section 3.1",
    .example = "y: {op: token_encode, in: x, with: {count: 512, width: 7}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE_EMPTY,
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct encode_attrs),
    .infer = infer,
    .prepare = prepare,
};
