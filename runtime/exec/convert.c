/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of strided tensors and conversions between types. */
#include "exec/convert.h"
#include "base/half.h"
#include "exec/context.h"

#include <common/simd.h>

#include <string.h>

ISA_DECLARE(struct convert_table, convert_table);

/* A loop nest: axes of one element are gone, neighbours that lie like one axis are joined. */
struct nest {
    int32_t rank;
    int64_t count[FLOW_RANK_MAX], from[FLOW_RANK_MAX], to[FLOW_RANK_MAX]; /* strides in elements */
};

/* False: no elements. */
static bool nest_of(const struct flow_tensor *from, const struct flow_tensor *to, struct nest *nest) {
    nest->rank = 0;
    for (int32_t a = 0; a < from->rank; a++) {
        if (from->shape[a] == 0) return false;
        if (from->shape[a] == 1) continue;
        int32_t last = nest->rank - 1;
        bool joins =
            last >= 0 && nest->from[last] == from->strides[a] * from->shape[a] && nest->to[last] == to->strides[a] * from->shape[a];
        int32_t at = joins ? last : nest->rank++;
        nest->count[at] = joins ? nest->count[at] * from->shape[a] : from->shape[a];
        nest->from[at] = from->strides[a], nest->to[at] = to->strides[a];
    }
    if (nest->rank == 0) nest->rank = 1, nest->count[0] = 1, nest->from[0] = nest->to[0] = 1;
    return true;
}

#define STRIDED_LOOP(name, type)                                                                                            \
    static void name(type *restrict to, const type *restrict from, int64_t count, int64_t to_stride, int64_t from_stride) { \
        for (int64_t i = 0; i < count; i++) to[i * to_stride] = from[i * from_stride];                                      \
    }
STRIDED_LOOP(copy_1, uint8_t)
STRIDED_LOOP(copy_2, uint16_t)
STRIDED_LOOP(copy_4, uint32_t)
STRIDED_LOOP(copy_8, uint64_t)

static void copy_row(char *to, const char *from, int64_t count, int64_t to_stride, int64_t from_stride, int64_t size) {
    if (to_stride == 1 && from_stride == 1) {
        memcpy(to, from, (size_t)(count * size));
        return;
    }
    switch (size) {
    case 1: copy_1((uint8_t *)to, (const uint8_t *)from, count, to_stride, from_stride); break;
    case 2: copy_2((uint16_t *)(void *)to, (const uint16_t *)(const void *)from, count, to_stride, from_stride); break;
    case 4: copy_4((uint32_t *)(void *)to, (const uint32_t *)(const void *)from, count, to_stride, from_stride); break;
    default: copy_8((uint64_t *)(void *)to, (const uint64_t *)(const void *)from, count, to_stride, from_stride); break;
    }
}

/* The two innermost axes of a transposition: squares that stay in the first cache. */
static void copy_plane(char *to, const char *from, const struct nest *nest, int32_t outer, int32_t inner, int64_t size) {
    enum { TILE = 16 };
    for (int64_t i = 0; i < nest->count[outer]; i += TILE)
        for (int64_t j = 0; j < nest->count[inner]; j += TILE) {
            int64_t rows = nest->count[outer] - i < TILE ? nest->count[outer] - i : TILE;
            int64_t columns = nest->count[inner] - j < TILE ? nest->count[inner] - j : TILE;
            for (int64_t r = i; r < i + rows; r++)
                copy_row(to + (r * nest->to[outer] + j * nest->to[inner]) * size,
                         from + (r * nest->from[outer] + j * nest->from[inner]) * size, columns, nest->to[inner], nest->from[inner], size);
        }
}

static void copy_nest(char *to, const char *from, const struct nest *nest, int64_t size) {
    int32_t inner = nest->rank - 1, second = -1;
    /* Where the source runs along another axis, that one is paired with the innermost. */
    for (int32_t a = 0; a < inner; a++)
        if (nest->from[inner] != 1 && nest->from[a] == 1) second = a;
    int64_t index[FLOW_RANK_MAX] = {0};
    for (;;) {
        if (second >= 0) copy_plane(to, from, nest, second, inner, size);
        else copy_row(to, from, nest->count[inner], nest->to[inner], nest->from[inner], size);
        int32_t a = inner - 1;
        for (; a >= 0; a--) {
            if (a == second) continue;
            to += nest->to[a] * size, from += nest->from[a] * size;
            if (++index[a] < nest->count[a]) break;
            to -= nest->to[a] * nest->count[a] * size, from -= nest->from[a] * nest->count[a] * size;
            index[a] = 0;
        }
        if (a < 0) return;
    }
}

static void copy_strided(const struct flow_tensor *to, const struct flow_tensor *from) {
    struct nest nest;
    if (nest_of(from, to, &nest)) copy_nest(to->data, from->data, &nest, dtype_bytes(from->dtype));
}

void tensor_copy(void *to, const struct flow_tensor *from) {
    struct flow_tensor packed = plan_packed_type(from);
    packed.data = to;
    copy_strided(&packed, from);
}

void tensor_convert(void *to, int32_t to_dtype, const void *from, int32_t from_dtype, int64_t count, int32_t isa) {
    const struct convert_table *table = ISA_PICK(convert_table, isa);
    if (to_dtype == from_dtype) {
        if (count) memcpy(to, from, (size_t)(count * dtype_bytes(to_dtype)));
    } else if (to_dtype == FLOW_F32 && from_dtype == FLOW_F16) table->widen_f16(from, to, count);
    else if (to_dtype == FLOW_F32 && from_dtype == FLOW_BF16) table->widen_bf16(from, to, count);
    else if (to_dtype == FLOW_F16 && from_dtype == FLOW_F32) table->narrow_f16(from, to, count);
    else if (to_dtype == FLOW_BF16 && from_dtype == FLOW_F32) table->narrow_bf16(from, to, count);
    else
        for (int64_t i = 0; i < count; i++) half_write(to, to_dtype, i, half_read(from, from_dtype, i));
}

static int64_t elements(const struct flow_tensor *t) {
    int64_t count = 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}

/* A large copy is spread over the threads along its outermost axis, in parts of about this many bytes: a wake-up costs as much as 1 MB. */
enum { COPY_PART = 1 << 20 };

struct copy_work {
    const struct nest *nest;
    char *to;
    const char *from;
    int64_t size;
};

static void copy_part(void *context, int64_t begin, int64_t end) {
    const struct copy_work *work = context;
    struct nest part = *work->nest;
    part.count[0] = end - begin;
    copy_nest(work->to + begin * part.to[0] * work->size, work->from + begin * part.from[0] * work->size, &part, work->size);
}

int exec_copy(const struct flow_call *call) {
    const struct flow_tensor *to = &call->out[0], *from = &call->in[0];
    struct nest nest;
    if (!nest_of(from, to, &nest)) return 0;
    int64_t size = dtype_bytes(from->dtype), row = size;
    for (int32_t a = 1; a < nest.rank; a++) row *= nest.count[a];
    struct copy_work work = {&nest, to->data, from->data, size};
    if (!call->host || nest.count[0] * row < 2 * COPY_PART) copy_part(&work, 0, nest.count[0]);
    else call->host->parallel_for(call, nest.count[0], row < COPY_PART ? COPY_PART / row : 1, copy_part, &work);
    return 0;
}

/* One row of a strided conversion at a time. */
static void convert_strided(const struct flow_tensor *to, const struct flow_tensor *from, int32_t isa) {
    struct nest nest;
    if (!nest_of(from, to, &nest)) return;
    int64_t index[FLOW_RANK_MAX] = {0}, to_at = 0, from_at = 0, to_size = dtype_bytes(to->dtype), from_size = dtype_bytes(from->dtype);
    int32_t inner = nest.rank - 1;
    for (;;) {
        char *row = (char *)to->data + to_at * to_size;
        const char *source = (const char *)from->data + from_at * from_size;
        if (nest.to[inner] == 1 && nest.from[inner] == 1) tensor_convert(row, to->dtype, source, from->dtype, nest.count[inner], isa);
        else
            for (int64_t i = 0; i < nest.count[inner]; i++)
                half_write(row, to->dtype, i * nest.to[inner], half_read(source, from->dtype, i * nest.from[inner]));
        int32_t a = inner - 1;
        for (; a >= 0; a--) {
            to_at += nest.to[a], from_at += nest.from[a];
            if (++index[a] < nest.count[a]) break;
            to_at -= nest.to[a] * nest.count[a], from_at -= nest.from[a] * nest.count[a];
            index[a] = 0;
        }
        if (a < 0) return;
    }
}

int exec_widen(const struct flow_call *call) {
    convert_strided(&call->out[0], &call->in[0], call->host->isa);
    return 0;
}

int exec_narrow(const struct flow_call *call) {
    convert_strided(&call->out[0], &call->in[0], call->host->isa);
    return 0;
}

int exec_gather(const struct flow_call *call) {
    char *to = call->out[0].data;
    for (uint32_t i = 0; i < call->in_count; i++) {
        const struct flow_tensor *from = &call->in[i];
        int64_t count = from->rank < 0 ? 0 : elements(from);
        if (!count) continue;
        tensor_convert(to, call->out[0].dtype, from->data, from->dtype, count, call->host->isa);
        to += count * dtype_bytes(call->out[0].dtype);
    }
    return 0;
}
