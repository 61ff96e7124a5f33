/* SPDX-License-Identifier: Apache-2.0 */
/* For tests through flow.h: numbers drawn by a seed, an allocator with a limit, inputs made to a graph's measure. */
#ifndef FLOW_TESTS_TRIAL_H
#define FLOW_TESTS_TRIAL_H

#include <flow/flow.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct draw {
    uint64_t state;
};

static inline uint64_t draw_next(struct draw *draw) {
    uint64_t z = draw->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline size_t draw_below(struct draw *draw, size_t count) { return count ? (size_t)(draw_next(draw) % count) : 0; }
static inline double draw_real(struct draw *draw) { return (double)(draw_next(draw) >> 11) * 0x1p-53; }

/* Counts what is outstanding, refuses what would exceed `limit`, and notices blocks that are freed by a wrong size. */
struct limited {
    pthread_mutex_t lock;
    size_t limit, bytes, most;
    long blocks;
    bool wrong_size;
};
#define LIMITED_INIT(limit_) \
    { .lock = PTHREAD_MUTEX_INITIALIZER, .limit = (limit_) }

static inline void *limited_resize(void *context, void *block, size_t old_size, size_t new_size) {
    struct limited *l = context;
    char *base = block ? (char *)block - 16 : NULL, *result = NULL;
    pthread_mutex_lock(&l->lock);
    if (base) {
        size_t true_size;
        memcpy(&true_size, base, sizeof true_size);
        if (true_size != old_size) l->wrong_size = true;
        old_size = true_size;
    } else {
        old_size = 0;
    }
    if (new_size == 0) {
        if (base) l->blocks--, l->bytes -= old_size;
        free(base);
    } else if (new_size <= l->limit && l->bytes - old_size <= l->limit - new_size) {
        result = realloc(base, new_size + 16);
        if (result) {
            memcpy(result, &new_size, sizeof new_size);
            l->bytes += new_size - old_size;
            if (l->bytes > l->most) l->most = l->bytes;
            if (!base) l->blocks++;
            result += 16;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return result;
}

static inline void trial_show(const flow_errors *errors) {
    for (int32_t i = 0; i < flow_errors_count(errors); i++) {
        struct flow_error error = flow_errors_get(errors, i);
        fprintf(stderr, "  %s:%d:%d: %s\n", error.file ? error.file : "", error.line, error.column, error.text);
    }
}

/* One element: of whatever the caller wants to see survived. */
static inline void trial_put(struct flow_tensor *t, int64_t i, double real, int64_t integer) {
    switch (t->dtype) {
    case FLOW_F32: ((float *)t->data)[i] = (float)real; break;
    case FLOW_F64: ((double *)t->data)[i] = real; break;
    case FLOW_F16:
    case FLOW_BF16: ((uint16_t *)t->data)[i] = (uint16_t)(isfinite(real) ? (uint64_t)integer & 0x3bff : 0x7f80); break;
    case FLOW_I32: ((int32_t *)t->data)[i] = (int32_t)(uint32_t)(uint64_t)integer; break;
    case FLOW_I64: ((int64_t *)t->data)[i] = integer; break;
    case FLOW_U8: ((uint8_t *)t->data)[i] = (uint8_t)(uint64_t)integer; break;
    default: ((uint8_t *)t->data)[i] = integer & 1; break;
    }
}

/* A tensor with room of its own (free t.data), zeroed; more than 2^22 elements: data NULL. */
static inline struct flow_tensor trial_tensor(int32_t dtype, int32_t rank, const int64_t *shape) {
    struct flow_tensor t = flow_tensor_of(NULL, dtype, rank, shape);
    int64_t count = 1;
    for (int32_t i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(count, shape[i], &count) || count > 1 << 22) return t;
    t.data = calloc((size_t)count + 1, (size_t)flow_type_bytes(dtype));
    return t;
}

/* Numbers that bring out what small ones hide. */
static inline double trial_wild_real(struct draw *draw) {
    static const double wild[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1e30, -1e30, 3.4e38, 1e-40, 1e300, 2147483648.0, -9.3e18, 0.5, -1};
    return wild[draw_below(draw, sizeof wild / sizeof *wild)];
}
static inline int64_t trial_wild_integer(struct draw *draw) {
    static const int64_t wild[] = {0, -1, 1, INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN, 255, 1 << 20, -2, (int64_t)1 << 62, 3};
    return wild[draw_below(draw, sizeof wild / sizeof *wild)];
}

#endif
