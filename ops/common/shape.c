/* SPDX-License-Identifier: Apache-2.0 */
#include "common/shape.h"

#include <stdio.h>
#include <string.h>

const char *shape_type_name(int32_t dtype) {
#define ROW(name, value, text, bytes) text,
    static const char *const table[FLOW_TYPE_COUNT] = {FLOW_TYPE_MAP(ROW)};
#undef ROW
    return dtype >= 0 && dtype < FLOW_TYPE_COUNT ? table[dtype] : "no type";
}

const char *shape_text(const struct flow_tensor *t, char text[SHAPE_TEXT]) {
    size_t at = 0;
    text[at++] = '[';
    for (int32_t i = 0; i < t->rank; i++) {
        int n = snprintf(text + at, SHAPE_TEXT - at, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
        if (n > 0) at += (size_t)n;
    }
    text[at++] = ']';
    text[at] = 0;
    return text;
}

int shape_sound(const struct flow_infer *infer, const struct flow_tensor *t) {
    char text[SHAPE_TEXT];
    int64_t bytes = shape_type_bytes(t->dtype);
    bool empty = false;
    for (int32_t i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0)
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the result would be %s: extents are at least 0", shape_text(t, text));
        if (t->shape[i] == 0) empty = true;
        if (t->shape[i] > 0 && __builtin_mul_overflow(bytes, t->shape[i], &bytes))
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the result would be %s: too large", shape_text(t, text));
    }
    (void)empty;
    return FLOW_OK;
}

int shape_axis(const struct flow_infer *infer, const char *name, int64_t axis, int32_t rank, int32_t *out) {
    if (axis < -rank || axis >= rank)
        return infer->host->fail_at(infer->owner, name, FLOW_ERROR_RANGE, "axis %lld: the input has %d axes", (long long)axis, rank);
    *out = (int32_t)(axis < 0 ? axis + rank : axis);
    return FLOW_OK;
}

int shape_broadcast(const struct flow_infer *infer, uint32_t first, uint32_t last, struct flow_tensor *out) {
    int32_t rank = 0;
    for (uint32_t i = first; i <= last && i < infer->in_count; i++)
        if (infer->in[i].rank > rank) rank = infer->in[i].rank;
    int64_t shape[FLOW_RANK_MAX];
    for (int32_t axis = 0; axis < rank; axis++) shape[axis] = 1;
    for (uint32_t i = first; i <= last && i < infer->in_count; i++) {
        const struct flow_tensor *t = &infer->in[i];
        for (int32_t axis = 0; axis < t->rank; axis++) {
            int64_t *to = &shape[rank - t->rank + axis];
            if (t->shape[axis] == *to || t->shape[axis] == 1) continue;
            if (*to == 1) {
                *to = t->shape[axis];
                continue;
            }
            char a[SHAPE_TEXT], b[SHAPE_TEXT];
            struct flow_tensor before = {.rank = rank};
            memcpy(before.shape, shape, sizeof shape);
            return infer->host->fail(
                infer->owner, FLOW_ERROR_SHAPE, "%s and %s do not broadcast: extents %lld and %lld differ and neither is 1",
                shape_text(i == first + 1 ? &infer->in[first] : &before, a), shape_text(t, b), (long long)*to, (long long)t->shape[axis]);
        }
    }
    out->rank = rank;
    memcpy(out->shape, shape, sizeof(int64_t) * (size_t)rank);
    shape_dense(out);
    return shape_sound(infer, out);
}

int shape_stream_past(struct flow_infer *infer, int32_t busy, const char *why) {
    if (!infer->streaming) return FLOW_OK;
    int32_t axis = infer->in_axis[0];
    if (axis >= 0 && axis == busy) return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "%s", why);
    infer->out_axis[0] = axis;
    return FLOW_OK;
}

/* ---- Copies ----------------------------------------------------------------------------------------------------- */

/* A copy after axes were put in the order of the target's strides, and joined where both sides allow it. */
struct copy {
    const char *from;
    char *to;
    int64_t bytes;
    int32_t rank;
    int64_t extent[FLOW_RANK_MAX], source[FLOW_RANK_MAX], target[FLOW_RANK_MAX]; /* strides in elements */
};

static void copy_line(const char *from, int64_t source, char *to, int64_t target, int64_t n, int64_t bytes) {
    if (source == 1 && target == 1) {
        memcpy(to, from, (size_t)(n * bytes));
        return;
    }
    switch (bytes) {
#define CASE(size, type)                                               \
    case size: {                                                       \
        const type *s = (const type *)(const void *)from;              \
        type *t = (type *)(void *)to;                                  \
        for (int64_t i = 0; i < n; i++) t[i * target] = s[i * source]; \
        break;                                                         \
    }
        CASE(1, uint8_t)
        CASE(2, uint16_t)
        CASE(4, uint32_t)
        CASE(8, uint64_t)
#undef CASE
    }
}

/* A plane whose sides run against each other (a transpose): square tiles, so that both sides stay in the cache. */
static void copy_plane(const struct copy *c, const char *from, char *to, int64_t begin, int64_t end) {
    enum { TILE = 16 };
    int32_t outer = c->rank - 2, inner = c->rank - 1;
    int64_t width = c->extent[inner];
    for (int64_t i = begin; i < end; i += TILE)
        for (int64_t j = 0; j < width; j += TILE) {
            int64_t rows = end - i < TILE ? end - i : TILE, columns = width - j < TILE ? width - j : TILE;
            for (int64_t k = 0; k < rows; k++)
                copy_line(from + ((i + k) * c->source[outer] + j * c->source[inner]) * c->bytes, c->source[inner],
                          to + ((i + k) * c->target[outer] + j * c->target[inner]) * c->bytes, c->target[inner], columns, c->bytes);
        }
}

/* Rows [begin, end): all axes but the last, counted together. */
static void copy_rows(void *context, int64_t begin, int64_t end) {
    const struct copy *c = context;
    int32_t inner = c->rank - 1, outer = c->rank - 2;
    if (outer < 0) {
        copy_line(c->from + begin * c->source[0] * c->bytes, c->source[0], c->to + begin * c->target[0] * c->bytes, c->target[0],
                  end - begin, c->bytes);
        return;
    }
    bool crossed = c->source[inner] != 1 && c->extent[inner] > 4;
    int64_t height = c->extent[outer];
    for (int64_t row = begin; row < end;) {
        int64_t first = row % height, count = height - first < end - row ? height - first : end - row, rest = row / height;
        int64_t source = 0, target = 0;
        for (int32_t axis = outer - 1; axis >= 0; axis--) {
            int64_t index = rest % c->extent[axis];
            rest /= c->extent[axis];
            source += index * c->source[axis], target += index * c->target[axis];
        }
        const char *from = c->from + source * c->bytes;
        char *to = c->to + target * c->bytes;
        if (crossed) copy_plane(c, from, to, first, first + count);
        else
            for (int64_t i = first; i < first + count; i++)
                copy_line(from + i * c->source[outer] * c->bytes, c->source[inner], to + i * c->target[outer] * c->bytes, c->target[inner],
                          c->extent[inner], c->bytes);
        row += count;
    }
}

void shape_copy(const struct flow_call *call, int32_t rank, const int64_t *shape, int64_t bytes, const void *from,
                const int64_t *from_strides, void *to, const int64_t *to_strides) {
    struct copy c = {.from = from, .to = to, .bytes = bytes};
    for (int32_t axis = 0; axis < rank; axis++) {
        if (shape[axis] == 0) return;
        if (shape[axis] == 1) continue;
        int32_t last = c.rank - 1;
        if (last >= 0 && c.source[last] == from_strides[axis] * shape[axis] && c.target[last] == to_strides[axis] * shape[axis]) {
            c.extent[last] *= shape[axis], c.source[last] = from_strides[axis], c.target[last] = to_strides[axis];
            continue;
        }
        c.extent[c.rank] = shape[axis], c.source[c.rank] = from_strides[axis], c.target[c.rank] = to_strides[axis], c.rank++;
    }
    if (c.rank == 0) c.rank = 1, c.extent[0] = 1, c.source[0] = c.target[0] = 1;
    int64_t rows = 1, width = c.extent[c.rank - 1];
    for (int32_t axis = 0; axis < c.rank - 1; axis++) rows *= c.extent[axis];
    if (c.rank == 1) rows = width, width = 1;
    int64_t size = width * bytes, total = rows * size;
    enum { PIECE = 64 * 1024, LEAST = 512 * 1024 }; /* bytes: 30 us are worth about half a megabyte */
    if (total < LEAST || call->host->threads < 2) {
        copy_rows(&c, 0, rows);
        return;
    }
    call->host->parallel_for(call, rows, (PIECE + size - 1) / size, copy_rows, &c);
}
