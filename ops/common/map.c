/* SPDX-License-Identifier: Apache-2.0 */
#include "common/map.h"

#include "common/shape.h"

#include <stdatomic.h>
#include <string.h>

enum {
    BLOCK = 512,    /* elements of a staged block: a few KiB a buffer */
    PERIOD = 256,   /* a pattern of up to so many elements that repeats is gathered once */
    ROW_LEAST = 32, /* shorter rows are staged: a call a row would cost more than the copy */
    PIECE = 16384   /* elements a piece of parallel_for: 64 KiB of f32 */
};

/* Joins axes that all inputs cross in one stride, drops those of extent 1. */
static void join(struct map *map, const struct flow_tensor *out, const struct flow_tensor *const *in) {
    map->rank = 0;
    for (int32_t axis = 0; axis < out->rank; axis++) {
        int64_t extent = out->shape[axis], stride[MAP_INPUTS] = {0};
        if (extent == 1) continue;
        bool joins = map->rank > 0;
        for (int32_t i = 0; i < map->inputs; i++) {
            int32_t own = axis - (out->rank - in[i]->rank);
            stride[i] = own >= 0 && in[i]->shape[own] != 1 ? in[i]->strides[own] : 0;
            if (joins && map->stride[i][map->rank - 1] != stride[i] * extent) joins = false;
        }
        if (!joins) map->extent[map->rank++] = 1;
        map->extent[map->rank - 1] *= extent;
        for (int32_t i = 0; i < map->inputs; i++) map->stride[i][map->rank - 1] = stride[i];
    }
    if (map->rank == 0) {
        map->rank = 1;
        map->extent[0] = 1;
        for (int32_t i = 0; i < map->inputs; i++) map->stride[i][0] = 1;
    }
}

void map_plan(struct map *map, const struct flow_tensor *out, const struct flow_tensor *const *in, int32_t inputs, double cost) {
    memset(map, 0, sizeof *map);
    map->inputs = inputs;
    map->count = shape_count(out);
    map->out_bytes = shape_type_bytes(out->dtype);
    for (int32_t i = 0; i < inputs; i++) map->bytes[i] = shape_type_bytes(in[i]->dtype);
    join(map, out, in);
    bool plain = true, all_single = true;
    for (int32_t i = 0; i < inputs; i++) {
        int64_t stride = map->stride[i][map->rank - 1];
        if (stride != 0 && stride != 1) plain = false;
        if (stride == 0) map->single |= 1u << i;
        if (stride != 0) all_single = false;
    }
    if (!plain || all_single) map->mode = MAP_STAGED;
    else if (map->rank == 1) map->mode = MAP_FLAT;
    else map->mode = map->extent[map->rank - 1] >= ROW_LEAST ? MAP_ROWS : MAP_STAGED;
    if (map->mode == MAP_STAGED) cost += 0.5;
    int64_t worth = (int64_t)(30e3 / cost); /* elements that take 30 us */
    if (worth < 2 * PIECE) worth = 2 * PIECE;
    map->grain = map->count <= worth ? map->count : PIECE;
    map->serial = map->mode == MAP_FLAT && map->count > 0 ? worth : -1;
}

/* The kernel's wrong element, least over all pieces. */
struct work {
    const struct map *map;
    map_kernel kernel;
    const void *context;
    const void *const *in;
    void *out;
    _Atomic int64_t wrong;
};

static void report(struct work *w, int64_t index) {
    int64_t known = atomic_load(&w->wrong);
    while ((known < 0 || index < known) && !atomic_compare_exchange_weak(&w->wrong, &known, index)) {}
}

static const void *at(const struct work *w, int32_t input, int64_t element) {
    return (const char *)w->in[input] + element * w->map->bytes[input];
}

static void run_flat(struct work *w, int64_t begin, int64_t end) {
    const struct map *m = w->map;
    const void *in[MAP_INPUTS];
    for (int32_t i = 0; i < m->inputs; i++) in[i] = at(w, i, begin * m->stride[i][0]);
    int64_t wrong = w->kernel(w->context, in, (char *)w->out + begin * m->out_bytes, end - begin, m->single);
    if (wrong >= 0) report(w, begin + wrong);
}

static void run_rows(struct work *w, int64_t begin, int64_t end) {
    const struct map *m = w->map;
    int32_t last = m->rank - 1;
    int64_t width = m->extent[last], index[FLOW_RANK_MAX] = {0}, offset[MAP_INPUTS] = {0}, column = begin % width;
    for (int64_t rest = begin / width, axis = last - 1; axis >= 0; axis--) {
        index[axis] = rest % m->extent[axis], rest /= m->extent[axis];
        for (int32_t i = 0; i < m->inputs; i++) offset[i] += index[axis] * m->stride[i][axis];
    }
    for (int64_t done = begin; done < end;) {
        int64_t n = width - column < end - done ? width - column : end - done;
        const void *in[MAP_INPUTS];
        for (int32_t i = 0; i < m->inputs; i++) in[i] = at(w, i, offset[i] + column * m->stride[i][last]);
        int64_t wrong = w->kernel(w->context, in, (char *)w->out + done * m->out_bytes, n, m->single);
        if (wrong >= 0) {
            report(w, done + wrong);
            return;
        }
        done += n, column = 0;
        for (int32_t axis = last - 1; axis >= 0; axis--) {
            for (int32_t i = 0; i < m->inputs; i++) offset[i] += m->stride[i][axis];
            if (++index[axis] < m->extent[axis]) break;
            index[axis] = 0;
            for (int32_t i = 0; i < m->inputs; i++) offset[i] -= m->stride[i][axis] * m->extent[axis];
        }
    }
}

/* n elements of input `i` in the output's order, from flat output index `begin` on. */
static void gather(const struct work *w, int32_t i, int64_t begin, int64_t n, char *to) {
    const struct map *m = w->map;
    const int64_t *stride = m->stride[i], bytes = m->bytes[i];
    int32_t last = m->rank - 1;
    int64_t index[FLOW_RANK_MAX] = {0}, offset = 0;
    for (int64_t rest = begin, axis = last; axis >= 0; axis--) {
        index[axis] = rest % m->extent[axis], rest /= m->extent[axis];
        offset += index[axis] * stride[axis];
    }
    while (n > 0) {
        int64_t run = m->extent[last] - index[last];
        if (run > n) run = n;
        const char *from = at(w, i, offset);
        switch (bytes) {
#define CASE(size, type)                                              \
    case size: {                                                      \
        const type *s = (const type *)(const void *)from;             \
        type *t = (type *)(void *)to;                                 \
        for (int64_t k = 0; k < run; k++) t[k] = s[k * stride[last]]; \
        break;                                                        \
    }
            CASE(1, uint8_t)
            CASE(2, uint16_t)
            CASE(4, uint32_t)
            CASE(8, uint64_t)
#undef CASE
        }
        to += run * bytes, n -= run;
        offset += run * stride[last], index[last] += run;
        for (int32_t axis = last; axis >= 0 && index[axis] == m->extent[axis]; axis--) {
            offset -= index[axis] * stride[axis], index[axis] = 0;
            if (axis > 0) offset += stride[axis - 1], index[axis - 1]++;
        }
    }
}

/* How an input is read by blocks. */
enum { READ_DIRECT, READ_SINGLE, READ_HELD, READ_GATHERED };

static int32_t reading(const struct map *m, int32_t i, int64_t *period) {
    bool dense = true;
    int64_t step = 1;
    int32_t moving = m->rank; /* the outermost axis along which it moves */
    for (int32_t axis = m->rank - 1; axis >= 0; axis--) {
        if (m->stride[i][axis] != step) dense = false;
        step *= m->extent[axis];
        if (m->stride[i][axis] != 0) moving = axis;
    }
    if (dense) return READ_DIRECT;
    if (moving == m->rank) return READ_SINGLE;
    *period = 1;
    for (int32_t axis = moving; axis < m->rank; axis++) *period *= m->extent[axis];
    return *period <= PERIOD && moving > 0 ? READ_HELD : READ_GATHERED;
}

static void run_staged(struct work *w, int64_t begin, int64_t end) {
    const struct map *m = w->map;
    _Alignas(64) char buffer[MAP_INPUTS][(BLOCK + PERIOD) * 8];
    int32_t how[MAP_INPUTS] = {0};
    int64_t period[MAP_INPUTS] = {0};
    uint32_t single = 0;
    for (int32_t i = 0; i < m->inputs; i++) {
        how[i] = reading(m, i, &period[i]);
        if (how[i] == READ_SINGLE) single |= 1u << i;
    }
    if (single == (1u << m->inputs) - 1u) single &= ~1u, how[0] = READ_GATHERED;
    for (int32_t i = 0; i < m->inputs; i++)
        if (how[i] == READ_HELD) gather(w, i, 0, BLOCK + period[i] < m->count ? BLOCK + period[i] : m->count, buffer[i]);
    for (int64_t done = begin; done < end;) {
        int64_t n = end - done < BLOCK ? end - done : BLOCK;
        const void *in[MAP_INPUTS];
        for (int32_t i = 0; i < m->inputs; i++) {
            in[i] = how[i] == READ_DIRECT   ? at(w, i, done)
                    : how[i] == READ_SINGLE ? w->in[i]
                    : how[i] == READ_HELD   ? buffer[i] + done % period[i] * m->bytes[i]
                                            : buffer[i];
            if (how[i] == READ_GATHERED) gather(w, i, done, n, buffer[i]);
        }
        int64_t wrong = w->kernel(w->context, in, (char *)w->out + done * m->out_bytes, n, single);
        if (wrong >= 0) {
            report(w, done + wrong);
            return;
        }
        done += n;
    }
}

static void run_piece(void *context, int64_t begin, int64_t end) {
    struct work *w = context;
    if (w->map->mode == MAP_FLAT) run_flat(w, begin, end);
    else if (w->map->mode == MAP_ROWS) run_rows(w, begin, end);
    else run_staged(w, begin, end);
}

int64_t map_run_any(const struct map *map, const struct flow_call *call, map_kernel kernel, const void *context, const void *const *in,
                    void *out) {
    struct work w = {map, kernel, context, in, out, -1};
    if (map->count == 0) return -1;
    if (map->count <= map->grain || call->host->threads < 2) run_piece(&w, 0, map->count);
    else call->host->parallel_for(call, map->count, map->grain, run_piece, &w);
    return w.wrong;
}
