/* SPDX-License-Identifier: Apache-2.0 */
/* tokens: windows of a file that holds nothing but numbers of one type, little-endian, such as a tokeniser writes. */
#include "data.h"

#include <string.h>

enum { KIND_U8, KIND_U16, KIND_I32, KIND_I64 };

struct tokens_attrs {
    int64_t window, stride;
    int32_t type;
    int64_t vocabulary;
};

struct tokens {
    void *file;
    int64_t stride;
};

static const struct flow_port outputs[] = {
    {"tokens", "numbers in the window", "B window", FLOW_TYPE(I64), 0},
    {"next", "the same, one further on", "B window", FLOW_TYPE(I64), 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct tokens_attrs, window, "numbers in a row", FLOW_REQUIRED, 1, 1 << 24),
    FLOW_ATTR(struct tokens_attrs, stride, "numbers from one row's beginning to the next; absent: the window", FLOW_ABSENT, 1, 1 << 24),
    FLOW_ATTR_CHOICES(struct tokens_attrs, type, "of the file's numbers", "u16", "u8|u16|i32|i64"),
    FLOW_ATTR(struct tokens_attrs, vocabulary, "numbers are 0 .. vocabulary-1, another one is an error; absent: not negative", FLOW_ABSENT,
              1, 1LL << 40),
};

static const int64_t widths[] = {[KIND_U8] = 1, [KIND_U16] = 2, [KIND_I32] = 4, [KIND_I64] = 8};

static int open_source(struct flow_source_open *open) {
    const struct tokens_attrs *a = open->attrs;
    struct tokens *tokens = data_memory(open, 1, sizeof *tokens);
    int64_t bytes;
    if (!tokens) return FLOW_ERROR_MEMORY;
    open->state = tokens;
    int status = open->host->file_open(open->owner, open->path, &tokens->file, &bytes);
    if (status < 0) return status;
    const int64_t width = widths[a->type], count = bytes / width;
    if (bytes % width)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %lld bytes: not a multiple of %lld", open->path, (long long)bytes,
                          (long long)width);
    if (count <= a->window)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %lld numbers: a window of %lld needs %lld, one more for `next`", open->path,
                          (long long)count, (long long)a->window, (long long)a->window + 1);
    tokens->stride = a->stride == FLOW_INT_ABSENT ? a->window : a->stride;
    open->rows = (count - a->window - 1) / tokens->stride + 1;
    status = data_output(open, "tokens", FLOW_I64, 1, &a->window);
    return status < 0 ? status : data_output(open, "next", FLOW_I64, 1, &a->window);
}

static int64_t number_at(int32_t type, const uint8_t *at) {
    uint64_t value = 0;
    for (int64_t i = widths[type]; i > 0; i--) value = value << 8 | at[i - 1];
    return type == KIND_I32 ? (int64_t)(int32_t)(uint32_t)value : (int64_t)value;
}

/* Numbers are read into the end of the row's room and widened from its beginning: none is written over before it was read. */
static int read_row(const struct flow_source_fill *fill, const struct tokens *tokens, int64_t first, int64_t *to) {
    const struct tokens_attrs *a = fill->attrs;
    const int64_t width = widths[a->type], most = a->vocabulary == FLOW_INT_ABSENT ? INT64_MAX : a->vocabulary - 1;
    uint8_t *bytes = (uint8_t *)(to + a->window) - a->window * width;
    int status = fill->host->file_read(fill->owner, tokens->file, first * width, a->window * width, bytes);
    for (int64_t i = 0; status == FLOW_OK && i < a->window; i++) {
        const int64_t number = number_at(a->type, bytes + i * width);
        if (number < 0 || number > most)
            return data_wrong(fill, FLOW_ERROR_RANGE, "number %lld of the file is %lld, expected 0 to %lld", (long long)(first + i),
                              (long long)number, (long long)most);
        to[i] = number;
    }
    return status;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct tokens_attrs *a = fill->attrs;
    const struct tokens *tokens = fill->state;
    int status = FLOW_OK;
    for (int64_t i = 0; status == FLOW_OK && i < fill->count; i++) {
        const int64_t first = fill->rows[i] * tokens->stride;
        status = read_row(fill, tokens, first, (int64_t *)fill->out[0].data + i * a->window);
        if (status == FLOW_OK) status = read_row(fill, tokens, first + 1, (int64_t *)fill->out[1].data + i * a->window);
    }
    return status;
}

const struct flow_source data_tokens = {
    .size = sizeof data_tokens,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "tokens",
    .summary = "windows of a file of numbers",
    .example = "train: {source: tokens, path: train.bin, with: {window: 1024, type: u16, vocabulary: 50257, batch: 8, shuffle: true}, "
               "feeds: {tokens: tokens, target: next}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct tokens_attrs),
    .open = open_source,
    .fill = fill_source,
};
