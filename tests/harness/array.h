/* SPDX-License-Identifier: Apache-2.0 */
/* One operator on given numbers: whole or in pieces, in any precision, on any instruction set. Numbers are doubles here; they are fed in
 * the type that an array names (f32 becomes f64 with `precision`). */
#ifndef TESTS_HARNESS_ARRAY_H
#define TESTS_HARNESS_ARRAY_H

#include "harness/one.h"

#include <criterion/criterion.h>
#include <math.h>

struct array {
    int32_t dtype, rank;
    int64_t shape[FLOW_RANK_MAX];
    double *at; /* row-major */
};

enum { TRIAL_MOST = 5 };
struct trial {
    char node[400]; /* what stands after "y: " */
    int inputs, params;
    const char *input_names[TRIAL_MOST], *param_names[TRIAL_MOST];
    struct array input[TRIAL_MOST], param[TRIAL_MOST];
};

static inline int64_t array_count(const struct array *a) {
    int64_t n = 1;
    for (int32_t i = 0; i < a->rank; i++) n *= a->shape[i];
    return n;
}
static inline struct array array_new(int32_t dtype, int32_t rank, const int64_t *shape) {
    struct array a = {.dtype = dtype, .rank = rank};
    for (int32_t i = 0; i < rank; i++) a.shape[i] = shape[i];
    a.at = calloc((size_t)array_count(&a) + 1, sizeof(double));
    cr_assert(a.at != NULL);
    return a;
}
/* Drawn from [-1, 1), rounded to f32 so that every precision sees the same numbers. */
static inline struct array array_random(uint64_t *state, int32_t rank, const int64_t *shape) {
    struct array a = array_new(FLOW_F32, rank, shape);
    for (int64_t i = 0; i < array_count(&a); i++) a.at[i] = (double)(float)one_uniform(state, -1, 1);
    return a;
}
static inline void array_free(struct array *a) {
    free(a->at);
    a->at = NULL;
}
static inline void trial_free(struct trial *t) {
    for (int i = 0; i < t->inputs; i++) array_free(&t->input[i]);
    for (int i = 0; i < t->params; i++) array_free(&t->param[i]);
}

static inline int32_t trial_type(const struct array *a, struct one_options options) {
    return a->dtype == FLOW_F32 && options.precision == FLOW_F64 ? FLOW_F64 : a->dtype;
}

/* Steps [begin, begin + n) along `axis` (-1: everything) as elements of their type; the caller frees. */
static inline void *trial_bytes(const struct array *a, int32_t dtype, int32_t axis, int64_t begin, int64_t n,
                                int64_t shape[FLOW_RANK_MAX]) {
    memcpy(shape, a->shape, sizeof a->shape);
    if (axis >= 0) shape[axis] = n;
    int64_t count = 1, inner = 1;
    for (int32_t i = 0; i < a->rank; i++) count *= shape[i];
    for (int32_t i = axis < 0 ? a->rank : axis + 1; i < a->rank; i++) inner *= shape[i];
    char *bytes = malloc((size_t)(count * 8) + 8);
    cr_assert(bytes != NULL);
    for (int64_t i = 0; i < count; i++) {
        int64_t from = axis < 0 ? i : (i / inner / n * a->shape[axis] + begin + i / inner % n) * inner + i % inner;
        double v = a->at[from];
        switch (dtype) {
        case FLOW_F64: memcpy(bytes + 8 * i, &v, 8); break;
        case FLOW_I64: memcpy(bytes + 8 * i, &(int64_t){(int64_t)v}, 8); break;
        case FLOW_I32: memcpy(bytes + 4 * i, &(int32_t){(int32_t)v}, 4); break;
        case FLOW_BOOL: bytes[i] = v != 0; break;
        default: memcpy(bytes + 4 * i, &(float){(float)v}, 4); break;
        }
    }
    return bytes;
}

static inline void trial_text(const struct trial *t, const int32_t *axes, char text[2000]) {
    size_t at = (size_t)snprintf(text, 2000, "flow: 1\ninputs:\n");
    for (int i = 0; i < t->inputs; i++) {
        at += (size_t)snprintf(text + at, 2000 - at, "  %s: {dtype: %s, shape: [", t->input_names[i], flow_type_name(t->input[i].dtype));
        for (int32_t j = 0; j < t->input[i].rank; j++)
            if (axes && axes[i] == j) at += (size_t)snprintf(text + at, 2000 - at, "%sT", j ? ", " : "");
            else at += (size_t)snprintf(text + at, 2000 - at, "%s%lld", j ? ", " : "", (long long)t->input[i].shape[j]);
        at += (size_t)snprintf(text + at, 2000 - at, "]}\n");
    }
    snprintf(text + at, 2000 - at, "nodes:\n  y: %s\noutputs: {y: y}\n", t->node);
}

/* Lowers the instruction set of the planning host and of the device's, which kernels ask. */
static inline void trial_isa(struct one *one, int32_t isa) {
    struct flow_host *device = (struct flow_host *)(uintptr_t)one->runtime->device->host;
    if (isa < one->graph->host.isa) one->graph->host.isa = isa;
    if (isa < device->isa) device->isa = isa;
}

/* axes NULL: whole; else the axis of each input that is cut into pieces (-1: none). */
static inline int trial_open(const struct trial *t, struct one_options options, const int32_t *axes, struct one *one) {
    struct flow_runtime_options runtime = {.size = sizeof runtime, .threads = options.threads ? options.threads : 1};
    struct flow_graph_options graph = {.size = sizeof graph, .precision = options.precision};
    struct flow_session_options session = {.size = sizeof session, .stream = axes ? "T" : NULL};
    char text[2000];
    trial_text(t, axes, text);
    memset(one, 0, sizeof *one);
    int status = flow_runtime_new(&runtime, &one->errors, &one->runtime);
    if (status == 0) status = flow_graph_parse(one->runtime, "test.yaml", text, strlen(text), &graph, &one->errors, &one->graph);
    if (status == 0 && options.isa >= 0) trial_isa(one, options.isa);
    for (int i = 0; status == 0 && i < t->params; i++) {
        int64_t shape[FLOW_RANK_MAX];
        char name[64];
        int32_t dtype = trial_type(&t->param[i], options);
        void *bytes = trial_bytes(&t->param[i], dtype, -1, 0, 0, shape);
        struct flow_tensor value = flow_tensor_of(bytes, dtype, t->param[i].rank, shape);
        snprintf(name, sizeof name, "y.%s", t->param_names[i]);
        status = flow_graph_set(one->graph, name, &value, &one->errors);
        free(bytes);
    }
    if (status == 0) status = flow_session_new(one->graph, &session, &one->errors, &one->session);
    return one_note(one, status);
}

/* Feeds steps [begin, begin + n) and runs; `last`: and finishes. */
static inline int trial_piece(const struct trial *t, struct one_options options, const int32_t *axes, int64_t begin, int64_t n, bool last,
                              struct one *one) {
    void *bytes[TRIAL_MOST] = {NULL};
    int status = 0;
    for (int i = 0; status == 0 && i < t->inputs; i++) {
        int64_t shape[FLOW_RANK_MAX];
        int32_t dtype = trial_type(&t->input[i], options);
        bytes[i] = trial_bytes(&t->input[i], dtype, axes ? axes[i] : -1, begin, n, shape);
        status = one_input(one, t->input_names[i], bytes[i], dtype, t->input[i].rank, shape);
    }
    if (status == 0) status = last ? one_finish(one) : one_run(one);
    for (int i = 0; i < t->inputs; i++) free(bytes[i]);
    return status;
}

/* 0, and the result in *y (the caller frees); or negative, and why in message. */
static inline int trial_run(const struct trial *t, struct one_options options, struct array *y, char message[2048]) {
    struct one one;
    *y = (struct array){.at = NULL};
    int status = trial_open(t, options, NULL, &one);
    if (status == 0) status = trial_piece(t, options, NULL, 0, 0, false, &one);
    if (status == 0) {
        const struct flow_tensor *result = one_output(&one, "y");
        *y = array_new(result->dtype, result->rank, result->shape);
        for (int64_t i = 0; i < array_count(y); i++) y->at[i] = flow_tensor_real(result, i);
    }
    memcpy(message, one.message, 2048);
    one_close(&one);
    return status;
}

/* In pieces of size[0], size[1] ... (again from the front), the last one empty. *y: what came out, joined along the streamed axis. */
static inline int trial_stream(const struct trial *t, struct one_options options, const int32_t *axes, const int64_t *size, int sizes,
                               const struct array *whole, struct array *y, char message[2048]) {
    struct one one;
    int64_t steps = 0, made = 0, inner = 1;
    int32_t axis = -1;
    for (int i = 0; i < t->inputs; i++)
        if (axes[i] >= 0) steps = t->input[i].shape[axes[i]];
    *y = array_new(whole->dtype, whole->rank, whole->shape);
    int status = trial_open(t, options, axes, &one);
    int64_t at = 0;
    for (int p = 0; status == 0; p++) {
        int64_t n = size[p % sizes] < steps - at ? size[p % sizes] : steps - at;
        bool last = at == steps;
        status = trial_piece(t, options, axes, at, n, last, &one);
        at += n;
        if (status < 0) break;
        const struct flow_tensor *piece = one_output(&one, "y");
        axis = flow_session_output_axis(one.session, 0);
        cr_assert(axis >= 0 && piece->rank == whole->rank, "%s: axis %d", t->node, axis);
        inner = 1;
        for (int32_t i = axis + 1; i < piece->rank; i++) inner *= piece->shape[i];
        int64_t extent = piece->shape[axis], room = whole->shape[axis];
        cr_assert(made + extent <= room, "%s: %lld steps and more, the whole gives %lld", t->node, (long long)(made + extent),
                  (long long)room);
        for (int64_t i = 0; i < flow_tensor_count(piece); i++)
            y->at[(i / inner / extent * room + made + i / inner % extent) * inner + i % inner] = flow_tensor_real(piece, i);
        made += extent;
        if (last) break;
    }
    if (status == 0)
        cr_assert(made == whole->shape[axis], "%s: %lld steps, the whole gives %lld", t->node, (long long)made,
                  (long long)whole->shape[axis]);
    memcpy(message, one.message, 2048);
    one_close(&one);
    return status;
}

/* |found - expected| <= tolerance (1 + max |expected|), everywhere; NaN and infinities are the same. */
static inline void array_near(const struct array *found, const struct array *expected, double tolerance, const char *what) {
    double most = 0;
    cr_assert(found->rank == expected->rank, "%s: %d axes, expected %d", what, found->rank, expected->rank);
    for (int32_t i = 0; i < found->rank; i++)
        cr_assert(found->shape[i] == expected->shape[i], "%s: axis %d has extent %lld, expected %lld", what, i, (long long)found->shape[i],
                  (long long)expected->shape[i]);
    for (int64_t i = 0; i < array_count(expected); i++)
        if (isfinite(expected->at[i]) && fabs(expected->at[i]) > most) most = fabs(expected->at[i]);
    for (int64_t i = 0; i < array_count(expected); i++) {
        double a = found->at[i], b = expected->at[i];
        bool same = isfinite(b) ? fabs(a - b) <= tolerance * (1 + most) : isnan(b) ? isnan(a) : a == b;
        cr_assert(same, "%s: element %lld is %.9g, expected %.9g", what, (long long)i, a, b);
    }
}

/* Every instruction set and precision, and two threads, which give the bytes of one. `tolerance`: of f32; f64 has 1e-8 of it. */
static inline void trial_expect(const struct trial *t, const struct array *expected, double tolerance) {
    char message[2048];
    struct array y, again;
    for (int32_t isa = 0; isa <= 2; isa++)
        for (int precise = 0; precise < 2; precise++) {
            struct one_options options = {.isa = isa, .precision = precise ? FLOW_F64 : FLOW_F32};
            cr_assert(trial_run(t, options, &y, message) == 0, "%s: %s", t->node, message);
            array_near(&y, expected, precise ? tolerance * 1e-8 : tolerance, t->node);
            options.threads = 2;
            cr_assert(trial_run(t, options, &again, message) == 0, "%s: %s", t->node, message);
            array_near(&again, &y, 0, t->node);
            array_free(&y);
            array_free(&again);
        }
}

/* Pieces of 1, 3, 7 and of mixed sizes, some empty, give the whole. */
static inline void trial_expect_pieces(const struct trial *t, const int32_t *axes, const struct array *expected, double tolerance) {
    static const int64_t size[][4] = {{1}, {3}, {7}, {1, 4, 0, 2}};
    static const int sizes[] = {1, 1, 1, 4};
    for (int k = 0; k < 4; k++) {
        char message[2048];
        struct array y;
        cr_assert(trial_stream(t, one_best, axes, size[k], sizes[k], expected, &y, message) == 0, "%s: %s", t->node, message);
        array_near(&y, expected, tolerance, t->node);
        array_free(&y);
    }
}

/* It fails, and says `words`. axes as for trial_open. */
static inline void trial_refused(const struct trial *t, const int32_t *axes, const char *words) {
    struct one one;
    int64_t steps = 0;
    for (int i = 0; axes && i < t->inputs; i++)
        if (axes[i] >= 0) steps = t->input[i].shape[axes[i]];
    int status = trial_open(t, one_best, axes, &one);
    if (status == 0) status = trial_piece(t, one_best, axes, 0, steps, axes != NULL, &one);
    cr_assert(status < 0, "%s is accepted", t->node);
    cr_assert(strstr(one.message, words), "%s: %s", t->node, one.message);
    one_close(&one);
}

#endif
