/* SPDX-License-Identifier: Apache-2.0 */
/* word_pieces: text to tokens as BERT's tokenizers do it. Characters are cleaned and made plain (lower case without accents), words are cut
 * at spaces and around punctuation, and each word becomes the longest pieces that the vocabulary has, from the left. */
#include "text.h"
#include "unicode_tables.h"

#include <string.h>

struct pieces_attrs {
    int64_t count, width, open, close, unknown, pad, length, longest;
    bool lower;
};

static const struct flow_port inputs[] = {
    {"text", "bytes of the text [N]", "N", FLOW_TYPE(U8), FLOW_NO_GRAD},
};
static const struct flow_port outputs[] = {
    {"y", "tokens [length]", NULL, FLOW_TYPE(I64), FLOW_NO_GRAD},
    {"mask", "true where there is a token, false where it is filled up [length]", NULL, FLOW_TYPE(BOOL), FLOW_NO_GRAD},
};
static const struct flow_param params[] = {
    {"pieces", "bytes of each token's piece, filled up with zeros; ## in front of one that goes on with a word", "count width", NULL,
     "zeros", FLOW_TYPE(U8), FLOW_NO_GRAD | FLOW_RUNNING},
    {"lengths", "bytes that each piece has", "count", NULL, "zeros", FLOW_TYPE(I32), FLOW_NO_GRAD | FLOW_RUNNING},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct pieces_attrs, count, "tokens in the vocabulary", FLOW_REQUIRED, 1, 1 << 30),
    FLOW_ATTR(struct pieces_attrs, width, "bytes of the longest piece", FLOW_REQUIRED, 1, 1 << 12),
    FLOW_ATTR(struct pieces_attrs, length, "tokens that come out: more are cut off, the closing one kept", FLOW_REQUIRED, 2, 1 << 24),
    FLOW_ATTR(struct pieces_attrs, pad, "token that fills up", "0", 0, 1 << 30),
    FLOW_ATTR_PLAIN(struct pieces_attrs, lower, "lower case without accents, as uncased models have it", "true"),
    FLOW_ATTR(struct pieces_attrs, open, "token that opens the text ([CLS]); -1: none", "101", -1, 1 << 30),
    FLOW_ATTR(struct pieces_attrs, close, "token that closes it ([SEP]); -1: none", "102", -1, 1 << 30),
    FLOW_ATTR(struct pieces_attrs, unknown, "token of a word that no pieces make ([UNK])", "100", 0, 1 << 30),
    FLOW_ATTR(struct pieces_attrs, longest, "characters of the longest word that is looked up", "100", 1, 1 << 10),
};

/* A character is at most 4 bytes and becomes at most 4 characters: 8 bytes for each of the text's are enough, and a token for each. */
enum { TEXT_MOST = 1 << 27, GROWTH = 8, CHARACTERS = 4 };

static int64_t align_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static int infer(struct flow_infer *ctx) {
    const struct pieces_attrs *a = ctx->attrs;
    int64_t n = ctx->in[0].shape[0];
    if (ctx->streaming)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED, "the last word ends where the text does: needs the whole text");
    if (n > TEXT_MOST)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "text has %lld bytes, at most %d are possible", (long long)n, TEXT_MOST);
    const struct {
        const char *name;
        int64_t token;
    } tokens[] = {{"open", a->open}, {"close", a->close}, {"unknown", a->unknown}, {"pad", a->pad}};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        if (tokens[i].token >= a->count)
            return ctx->host->fail_at(ctx->owner, tokens[i].name, FLOW_ERROR_RANGE, "token %lld, count is %lld", (long long)tokens[i].token,
                                      (long long)a->count);
    for (uint32_t i = 0; i < ctx->out_count; i++) {
        ctx->out[i].dtype = i == 0 ? FLOW_I64 : FLOW_BOOL, ctx->out[i].rank = 1, ctx->out[i].shape[0] = a->length;
        shape_dense(&ctx->out[i]);
    }
    ctx->packed = align_up(vocabulary_slots(a->count) * 4);
    ctx->packed_key = (uint64_t)a->count * 0x9E3779B97F4A7C15u ^ (uint64_t)a->width << 40 ^ 1;
    ctx->workspace = align_up(GROWTH * (n + 2)) + align_up(a->width) + ctx->packed;
    ctx->bytes = (double)ctx->workspace;
    return FLOW_OK;
}

static int fill(const struct flow_call *call, int32_t *slot) {
    struct vocabulary v = vocabulary_of(&call->param[0], &call->param[1]);
    int status = vocabulary_check(call, &v);
    if (status == FLOW_OK) vocabulary_index(&v, -1, slot, vocabulary_slots(v.count));
    return status;
}

static int prepare(const struct flow_call *call) { return fill(call, call->packed); }

/* ---- Characters ---------------------------------------------------------------------------------------------------- */

/* The next character; U+FFFD, which is left out, for what is no UTF-8. */
static int32_t decode(const uint8_t *bytes, int64_t n, int64_t *at) {
    static const int32_t least[] = {0, 0x80, 0x800, 0x10000};
    uint8_t lead = bytes[(*at)++];
    int more = lead < 0x80 ? 0 : lead >= 0xC2 && lead < 0xE0 ? 1 : lead >= 0xE0 && lead < 0xF0 ? 2 : lead >= 0xF0 && lead < 0xF5 ? 3 : -1;
    if (more < 0) return 0xFFFD;
    int32_t code = more == 0 ? lead : lead & (0x3F >> more);
    for (int i = 0; i < more; i++) {
        if (*at == n || (bytes[*at] & 0xC0) != 0x80) return 0xFFFD;
        code = code << 6 | (bytes[(*at)++] & 0x3F);
    }
    return code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) ? 0xFFFD : code;
}

static int encode(int32_t code, uint8_t *to) {
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
    for (int i = more; i > 0; i--, code >>= 6) to[i] = (uint8_t)(0x80 | (code & 0x3F));
    to[0] = (uint8_t)(lead[more] | code);
    return more + 1;
}

/* The last row of a table that begins at or before the character; the tables are in order. */
#define FIND(table, field, code)                               \
    size_t low = 0, high = sizeof(table) / sizeof *(table);    \
    while (low < high) {                                       \
        size_t middle = (low + high) / 2;                      \
        if ((table)[middle].field <= (code)) low = middle + 1; \
        else high = middle;                                    \
    }

static bool dropped(int32_t code) {
    FIND(unicode_dropped, first, code)
    return low > 0 && code <= unicode_dropped[low - 1].last;
}

static bool is_mark(int32_t code) {
    FIND(unicode_marks, first, code)
    return low > 0 && code <= unicode_marks[low - 1].last;
}

static bool is_space(int32_t code) {
    return code == ' ' || (code >= '\t' && code <= '\r' && code != 0x0B && code != 0x0C) || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x202F || code == 0x205F || code == 0x3000;
}

/* Ideographs stand alone. */
static bool is_ideograph(int32_t code) {
    return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) || (code >= 0x20000 && code <= 0x2A6DF) ||
           (code >= 0x2A700 && code <= 0x2CEAF) || (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x2F800 && code <= 0x2FA1F);
}

/* Lower case without accents: canonical decomposition less its marks. Hangul syllables become their letters by arithmetic. */
static int plain(int32_t code, int32_t *to) {
    if (code >= 0xAC00 && code < 0xD7A4) {
        int32_t s = code - 0xAC00, tail = s % 28;
        to[0] = 0x1100 + s / 588, to[1] = 0x1161 + s % 588 / 28, to[2] = 0x11A7 + tail;
        return tail ? 3 : 2;
    }
    {
        FIND(unicode_several, from, code)
        if (low > 0 && unicode_several[low - 1].from == code) {
            int count = 0;
            while (count < CHARACTERS && unicode_several[low - 1].to[count]) to[count] = unicode_several[low - 1].to[count], count++;
            return count;
        }
    }
    to[0] = code;
    FIND(unicode_runs, first, code)
    /* runs of every second character may lie within each other */
    for (size_t i = low; i > 0 && i + 2 > low; i--) {
        int32_t first = unicode_runs[i - 1].first;
        if (code <= unicode_runs[i - 1].last && (code - first) % unicode_runs[i - 1].step == 0) {
            to[0] = code + unicode_runs[i - 1].plus;
            break;
        }
    }
    return 1;
}

/* ---- Words --------------------------------------------------------------------------------------------------------- */

struct words {
    const struct pieces_attrs *a;
    struct vocabulary v;
    const int32_t *slot;
    uint8_t *word, *piece;
    int64_t length, characters; /* of the word so far */
    int64_t *y, count, most;    /* tokens; those beyond `most` are only counted */
};

static void put(struct words *w, int64_t token) {
    if (w->count < w->most) w->y[w->count] = token;
    w->count++;
}

/* The longest piece that stands at `from`: its token and end. -1: none. */
static int32_t longest(struct words *w, int64_t from, int64_t *end) {
    int64_t head = from ? 2 : 0, length = w->length - from;
    if (length > w->v.width - head) length = w->v.width - head;
    if (length <= 0) return -1;
    memcpy(w->piece, "##", 2 * (head > 0));
    memcpy(w->piece + head, w->word + from, (size_t)length);
    for (; length > 0; length--) {
        if (from + length < w->length && (w->word[from + length] & 0xC0) == 0x80) continue; /* within a character */
        int32_t token = vocabulary_find(&w->v, w->slot, vocabulary_slots(w->v.count), w->piece, head + length);
        if (token < 0) continue;
        *end = from + length;
        return token;
    }
    return -1;
}

static void end_word(struct words *w) {
    int64_t before = w->count, at = 0;
    bool known = w->characters <= w->a->longest;
    while (known && at < w->length) {
        int32_t token = longest(w, at, &at);
        known = token >= 0;
        if (known) put(w, token);
    }
    if (!known) w->count = before, put(w, w->a->unknown);
    w->length = 0, w->characters = 0;
}

static void take(struct words *w, int32_t code) {
    bool mark = is_mark(code);
    if (mark && w->length) end_word(w);
    w->length += encode(code, w->word + w->length), w->characters++;
    if (mark) end_word(w);
}

static void read_text(struct words *w, const uint8_t *bytes, int64_t n) {
    for (int64_t at = 0; at < n && w->count < w->most;) {
        int32_t code = decode(bytes, n, &at), made[CHARACTERS];
        if (is_space(code)) {
            if (w->length) end_word(w);
            continue;
        }
        if (code == 0 || dropped(code)) continue;
        bool alone = is_ideograph(code);
        if (alone && w->length) end_word(w);
        int count = 1;
        made[0] = code;
        if (w->a->lower) count = plain(code, made);
        for (int i = 0; i < count; i++) take(w, made[i]);
        if (alone && w->length) end_word(w);
    }
    if (w->length) end_word(w);
}

static int forward(const struct flow_call *call) {
    const struct pieces_attrs *a = call->attrs;
    int64_t n = call->in[0].shape[0];
    char *at = call->workspace;
    struct words w = {.a = a, .v = vocabulary_of(&call->param[0], &call->param[1]), .y = call->out[0].data};
    w.most = a->length - (a->close >= 0), w.slot = call->packed;
    w.word = (uint8_t *)at, at += align_up(GROWTH * (n + 2));
    w.piece = (uint8_t *)at, at += align_up(a->width);
    if (!w.slot) {
        int status = fill(call, (int32_t *)(void *)at);
        if (status < 0) return status;
        w.slot = (const int32_t *)(void *)at;
    }
    if (a->open >= 0) put(&w, a->open);
    read_text(&w, call->in[0].data, n);
    int64_t count = w.count < w.most ? w.count : w.most;
    if (a->close >= 0) w.y[count++] = a->close;
    for (int64_t i = count; i < a->length; i++) w.y[i] = a->pad;
    if (call->out_count > 1 && call->out[1].data)
        for (int64_t i = 0; i < a->length; i++) ((uint8_t *)call->out[1].data)[i] = i < count;
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(U8), .forward = forward},
};

const struct flow_operator word_pieces_operator = {
    .size = sizeof(struct flow_operator),
    .name = "word_pieces",
    .summary = "text to tokens of BERT's kind: words, each in the longest pieces there are",
    .equation =
        "y = open, the pieces of each word, close, pad ..; a word: the longest piece that it begins with, then the longest with ## in\n"
        "front that what is left begins with, and so on; unknown where there is none",
    .reference = "Devlin et al., BERT (2018); Wu et al., Google's neural machine translation system (2016), section 4.1; the Unicode\n"
                 "Character Database for lower case, accents and punctuation",
    .example = "y: {op: word_pieces, in: x, with: {count: 512, width: 7, length: 16}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE_EMPTY,
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct pieces_attrs),
    .infer = infer,
    .prepare = prepare,
};
