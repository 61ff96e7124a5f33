/* SPDX-License-Identifier: Apache-2.0 */
/* Broadcasting, strides and extents of 0, 1 and more, drawn at random, against element by element indexing. */
#include "harness/one.h"

#include <criterion/criterion.h>
#include <math.h>

enum { MOST = 20000 };

struct drawn {
    int32_t rank;
    int64_t shape[4];
    int32_t perm[4]; /* the graph's input has axes in this order; a transpose puts them right, so that the operator reads strides */
    bool turned;
};

static int64_t offset_of(const struct drawn *d, int32_t rank, const int64_t *index) {
    int64_t strides[4], step = 1, offset = 0;
    for (int32_t i = d->rank - 1; i >= 0; i--) strides[d->perm[i]] = step, step *= d->shape[d->perm[i]];
    for (int32_t i = 0; i < d->rank; i++) offset += (d->shape[i] == 1 ? 0 : index[rank - d->rank + i]) * strides[i];
    return offset;
}

static struct drawn draw(uint64_t *state, int32_t rank, const int64_t *shape) {
    struct drawn d = {.rank = (int32_t)one_below(state, rank + 1)};
    for (int32_t i = 0; i < d.rank; i++) {
        d.shape[i] = one_below(state, 3) == 0 ? 1 : shape[rank - d.rank + i];
        d.perm[i] = i;
    }
    d.turned = d.rank > 1 && one_below(state, 2);
    for (int32_t i = d.rank - 1; d.turned && i > 0; i--) {
        int32_t j = (int32_t)one_below(state, i + 1), kept = d.perm[i];
        d.perm[i] = d.perm[j], d.perm[j] = kept;
    }
    return d;
}

/* Writes the input's declaration and the transpose that undoes the permutation. */
static void declare(char *inputs, char *nodes, const char *name, const struct drawn *d) {
    sprintf(inputs + strlen(inputs), "%s%s: {dtype: f32, shape: [", inputs[0] ? ", " : "", name);
    for (int32_t i = 0; i < d->rank; i++) sprintf(inputs + strlen(inputs), "%s%lld", i ? ", " : "", (long long)d->shape[d->perm[i]]);
    strcat(inputs, "]}");
    if (d->rank < 1) {
        sprintf(nodes + strlen(nodes), "  t%s: {op: identity, in: %s}\n", name, name);
        return;
    }
    sprintf(nodes + strlen(nodes), "  t%s: {op: transpose, in: %s, with: {perm: [", name, name);
    for (int32_t i = 0; i < d->rank; i++) {
        int32_t at = 0;
        while (d->perm[at] != i) at++;
        sprintf(nodes + strlen(nodes), "%s%d", i ? ", " : "", at);
    }
    strcat(nodes, "]}}\n");
}

static void feed(struct one *one, const char *name, const struct drawn *d, float *data) {
    int64_t shape[4];
    for (int32_t i = 0; i < d->rank; i++) shape[i] = d->shape[d->perm[i]];
    cr_assert(one_input(one, name, data, FLOW_F32, d->rank, shape) == 0, "%s", one->message);
}

static float a[MOST], b[MOST], c[MOST];

static void try_one(uint64_t *state, int32_t isa, int32_t threads) {
    static const int64_t extents[] = {0, 1, 2, 3, 5, 7, 8, 16, 31, 33, 64};
    int32_t rank = 1 + (int32_t)one_below(state, 4), kind = (int32_t)one_below(state, 4);
    int64_t shape[4], most = 1;
    for (int32_t i = 0; i < rank; i++) {
        do shape[i] = extents[one_below(state, 40) == 0 ? 0 : 1 + one_below(state, 10)];
        while (most * (shape[i] ? shape[i] : 1) > MOST);
        most *= shape[i] ? shape[i] : 1;
    }
    struct drawn da = draw(state, rank, shape), db = draw(state, rank, shape), dc = draw(state, rank, shape);
    char inputs[600] = "", nodes[1200] = "", text[2400];
    static const char *const lines[] = {"sub, in: [ta, tb]", "add, in: [ta, tb, tc]", "minimum, in: [ta, tb, tc]",
                                        "where, in: {cond: less, a: ta, b: tc}"};
    declare(inputs, nodes, "a", &da), declare(inputs, nodes, "b", &db), declare(inputs, nodes, "c", &dc);
    snprintf(text, sizeof text,
             "flow: 1\ninputs: {%s}\nnodes:\n%s  less: {op: lt, in: [ta, tb]}\n  y: {op: %s}\noutputs: {y: y, less: less}\n", inputs, nodes,
             lines[kind]);
    struct one one;
    cr_assert(one_open(&one, text, (struct one_options){.isa = isa, .threads = threads}) == 0, "%s%s", text, one.message);
    feed(&one, "a", &da, a), feed(&one, "b", &db, b), feed(&one, "c", &dc, c);
    cr_assert(one_run(&one) == 0, "%s%s", text, one.message);
    const struct flow_tensor *y = one_output(&one, "y");
    int64_t index[4] = {0};
    for (int64_t i = 0; i < flow_tensor_count(y); i++) {
        int32_t shift = 4 - y->rank;
        for (int64_t rest = i, axis = y->rank - 1; axis >= 0; axis--) index[shift + axis] = rest % y->shape[axis], rest /= y->shape[axis];
        float p = a[offset_of(&da, 4, index)], q = b[offset_of(&db, 4, index)], r = c[offset_of(&dc, 4, index)];
        float expected = kind == 0 ? p - q : kind == 1 ? p + q + r : kind == 2 ? fminf(fminf(p, q), r) : p < q ? p : r;
        cr_assert(((float *)y->data)[i] == expected, "%selement %lld: %g, expected %g", text, (long long)i, ((float *)y->data)[i],
                  expected);
    }
    one_close(&one);
}

Test(broadcast, random_shapes_and_strides) {
    uint64_t state = 11;
    for (int i = 0; i < MOST; i++) {
        a[i] = (float)one_below(&state, 2000) - 1000, b[i] = (float)one_below(&state, 2000) - 1000;
        c[i] = (float)one_below(&state, 2000) - 1000;
    }
    for (int i = 0; i < 900; i++) try_one(&state, i % 3, i % 2 + 1);
}

/* Large enough to be spread over the threads: rows, columns, one value, both layouts; the same bytes for one thread and two. */
Test(broadcast, large) {
    enum { ROWS = 1100, WIDTH = 701 };
    static const char *const shapes[] = {"[701]", "[1100, 1]", "[1, 1]", "[1100, 701]", "[]"};
    static const int64_t extents[][2] = {{WIDTH, 0}, {ROWS, 1}, {1, 1}, {ROWS, WIDTH}, {0, 0}};
    static const int32_t ranks[] = {1, 2, 2, 2, 0};
    float *x = malloc(sizeof *x * ROWS * WIDTH), *z = malloc(sizeof *z * ROWS * WIDTH);
    cr_assert(x && z);
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)(i % 977) - 300, z[i] = (float)(i % 1013) - 500;
    for (int k = 0; k < 5; k++)
        for (int threads = 1; threads <= 2; threads++) {
            char text[400];
            struct one one;
            snprintf(text, sizeof text,
                     "flow: 1\ninputs: {a: {dtype: f32, shape: [1100, 701]}, b: {dtype: f32, shape: %s}}\n"
                     "nodes: {y: {op: sub, in: [a, b]}, z: {op: sub, in: [b, a]}}\noutputs: {y: y, z: z}\n",
                     shapes[k]);
            cr_assert(one_open(&one, text, (struct one_options){.isa = -1, .threads = threads}) == 0, "%s", one.message);
            cr_assert(one_input(&one, "a", x, FLOW_F32, 2, (int64_t[]){ROWS, WIDTH}) == 0);
            cr_assert(one_input(&one, "b", z, FLOW_F32, ranks[k], extents[k]) == 0);
            cr_assert(one_run(&one) == 0, "%s", one.message);
            const float *y = one_output(&one, "y")->data, *w = one_output(&one, "z")->data;
            for (int i = 0; i < ROWS * WIDTH; i++) {
                float q = z[k == 0 ? i % WIDTH : k == 1 ? i / WIDTH : k == 3 ? i : 0];
                cr_assert(y[i] == x[i] - q && w[i] == q - x[i], "shape %s, element %d", shapes[k], i);
            }
            one_close(&one);
        }
    free(x), free(z);
}

Test(broadcast, unequal_extents_are_refused) {
    struct one one;
    int status = one_open(&one,
                          "flow: 1\ninputs: {a: {dtype: f32, shape: [2, 3]}, b: {dtype: f32, shape: [2, 4]}}\n"
                          "nodes: {y: {op: add, in: [a, b]}}\noutputs: {y: y}\n",
                          one_best);
    float x[8] = {0};
    if (status == 0) {
        cr_assert(one_input(&one, "a", x, FLOW_F32, 2, (int64_t[]){2, 3}) == 0 &&
                  one_input(&one, "b", x, FLOW_F32, 2, (int64_t[]){2, 4}) == 0);
        status = one_run(&one);
    }
    cr_assert(status == FLOW_ERROR_SHAPE, "%d", status);
    cr_assert(strstr(one.message, "[2, 3]") && strstr(one.message, "[2, 4]"), "%s", one.message);
    one_close(&one);
}
