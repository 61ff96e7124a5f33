/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of reading and adding by index. */
#include "harness/backward.h"

#include <criterion/criterion.h>

struct indexed {
    const char *node;
    int32_t x_rank, index_rank;
    int64_t x[4], index[4], below;
};

static void check(const struct indexed *c) {
    struct trial t = {.inputs = 0};
    uint64_t state = 3;
    snprintf(t.node, sizeof t.node, "%s", c->node);
    if (c->x_rank >= 0) backward_input(&t, "x", &state, -2, 2, c->x_rank, c->x);
    backward_index(&t, "i", &state, c->below, c->index_rank, c->index);
    backward_check(&t, (struct backward_options){.tolerance = 1e-8});
    trial_free(&t);
}

Test(backward_index, all) {
    static const struct indexed cases[] = {
        {"{op: gather, in: {x: x, index: i}}", 2, 1, {5, 3}, {9}, 5},
        {"{op: gather, in: {x: x, index: i}}", 1, 2, {5}, {3, 4}, 5},
        {"{op: gather, in: {x: x, index: i}}", 1, 0, {5}, {0}, 5},
        {"{op: gather, in: {x: x, index: i}}", 2, 1, {5, 3}, {0}, 5},
        {"{op: gather, in: {x: x, index: i}, with: {axis: 1}}", 3, 2, {2, 5, 3}, {3, 2}, 5},
        {"{op: gather, in: {x: x, index: i}, with: {axis: 2, batch: 1}}", 4, 2, {2, 3, 5, 2}, {2, 4}, 5},
        {"{op: gather, in: {x: x, index: i}, with: {axis: 1, batch: 1}}", 2, 2, {2, 5}, {2, 7}, 5},
        {"{op: take_along, in: {x: x, index: i}}", 2, 2, {3, 5}, {3, 7}, 5},
        {"{op: take_along, in: {x: x, index: i}, with: {axis: 0}}", 2, 2, {5, 3}, {7, 2}, 5},
        {"{op: take_along, in: {x: x, index: i}, with: {axis: 1}}", 3, 3, {2, 5, 3}, {2, 4, 3}, 5},
        {"{op: scatter_add, in: {src: x, index: i}, with: {count: 6}}", 2, 1, {9, 3}, {9}, 6},
        {"{op: scatter_add, in: {src: x, index: i}, with: {count: 6}}", 1, 1, {9}, {9}, 6},
        {"{op: scatter_add, in: {src: x, index: i}, with: {count: 6}}", 2, 1, {0, 3}, {0}, 6},
        {"{op: embedding, in: i, with: {count: 6, units: 3}}", -1, 2, {0}, {3, 4}, 6},
        {"{op: embedding, in: i, with: {count: 6, units: 1}}", -1, 1, {0}, {20}, 6},
        {"{op: embedding, in: i, with: {count: 6, units: 4}}", -1, 1, {0}, {0}, 6},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) check(&cases[k]);
}

/* Tables large enough to be shared out, against sums made one by one. The padding row gets nothing. */
Test(backward_index, large_tables) {
    static const struct {
        int64_t count, units, tokens, padding;
    } cases[] = {{50, 300, 900, -1}, {3, 130, 2000, 1}, {5000, 64, 4000, 7}, {2000, 1, 9000, 0}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int wide = 0; wide < 2; wide++)
            for (int added = 0; added < 2; added++) {
                struct trial t = {.inputs = 0};
                struct backward b;
                uint64_t state = 3;
                int64_t count = cases[k].count, units = cases[k].units;
                int n = snprintf(t.node, sizeof t.node, "{op: embedding, in: i, with: {count: %d, units: %d", (int)count, (int)units);
                if (cases[k].padding >= 0) n += snprintf(t.node + n, sizeof t.node - (size_t)n, ", padding: %d", (int)cases[k].padding);
                snprintf(t.node + n, sizeof t.node - (size_t)n, "}}");
                backward_index(&t, "i", &state, count, 1, &cases[k].tokens);
                backward_open(&b, &t, &(struct backward_options){0}, wide ? FLOW_F64 : FLOW_F32, -1, 4, false);
                double *expected = calloc((size_t)(count * units), sizeof *expected);
                for (int64_t e = 0; e < cases[k].tokens; e++)
                    for (int64_t u = 0; u < units && (int64_t)t.input[0].at[e] != cases[k].padding; u++)
                        expected[(int64_t)t.input[0].at[e] * units + u] += backward_get(&b.grad_out[0], e * units + u);
                backward_fill(&b.grad_param[0], added ? 2 : NAN);
                backward_run(&b, 0, 1, 0, (uint64_t)added);
                backward_near(&b, &b.grad_param[0], expected, added ? 2 : 0, wide ? 1e-13 : 1e-6, "parameter", 0);
                backward_threads(&b);
                free(expected);
                backward_close(&b);
                trial_free(&t);
            }
}
