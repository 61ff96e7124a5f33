/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of losses against central differences: every reduction, ignored rows, weights, smoothing, broadcasting. */
#include "harness/backward.h"

#include <criterion/criterion.h>

static const char *const reductions[] = {"mean", "sum", "none"};

Test(backward_loss, elements) {
    static const char *const ops[] = {"binary_cross_entropy", "mse", "l1", "huber"};
    uint64_t state = 41;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (int r = 0; r < 3; r++)
            for (int large = 0; large < 2; large++) {
                struct trial t = {.inputs = 0};
                int64_t shape[] = {large ? 41 : 3, large ? 23 : 5};
                backward_input(&t, i == 0 ? "logits" : "x", &state, -3, 3, 2, shape);
                backward_input(&t, "target", &state, 0, 1, 2, shape);
                snprintf(t.node, sizeof t.node, "{op: %s, in: {%s: %s, target: target}, with: {reduction: %s%s}}", ops[i], t.input_names[0],
                         t.input_names[0], reductions[r], i == 3 ? ", delta: 0.7" : "");
                if (!large || r == 0) backward_check(&t, (struct backward_options){.tolerance = 1e-6});
                trial_free(&t);
            }
}

Test(backward_loss, kl_div) {
    uint64_t state = 42;
    for (int r = 0; r < 3; r++) {
        struct trial t = {.inputs = 0};
        backward_input(&t, "x", &state, -3, 0, 3, (int64_t[]){2, 3, 6});
        backward_input(&t, "target", &state, 0, 1, 3, (int64_t[]){2, 3, 6});
        t.input[1].at[4] = 0;
        snprintf(t.node, sizeof t.node, "{op: kl_div, in: {log_p: x, target: target}, with: {reduction: %s}}", reductions[r]);
        backward_check(&t, (struct backward_options){0});
        trial_free(&t);
    }
}

Test(backward_loss, cross_entropy) {
    static const char *const more[] = {"", ", smoothing: 0.2", ", weight: [1, 0.5, 2, 0.25, 3]",
                                       ", ignore: 2, smoothing: 0.1, weight: [1, 0.5, 2, 0.25, 3]"};
    uint64_t state = 43;
    for (int r = 0; r < 3; r++)
        for (size_t m = 0; m < sizeof more / sizeof *more; m++) {
            struct trial t = {.inputs = 0};
            backward_input(&t, "x", &state, -4, 4, 3, (int64_t[]){2, 4, 5});
            backward_index(&t, "target", &state, 5, 2, (int64_t[]){2, 4});
            t.input[1].at[1] = m == 3 ? 2 : -100;
            snprintf(t.node, sizeof t.node, "{op: cross_entropy, in: {logits: x, target: target}, with: {reduction: %s%s}}", reductions[r],
                     more[m]);
            backward_check(&t, (struct backward_options){0});
            trial_free(&t);
        }
}

Test(backward_loss, cross_entropy_of_many_classes) {
    uint64_t state = 44;
    struct trial t = {.inputs = 0};
    backward_input(&t, "x", &state, -4, 4, 2, (int64_t[]){2, 1500});
    backward_index(&t, "target", &state, 1500, 1, (int64_t[]){2});
    snprintf(t.node, sizeof t.node, "{op: cross_entropy, in: {logits: x, target: target}}");
    backward_check(&t, (struct backward_options){0});
    trial_free(&t);
}

/* No row counts: no gradient, and not 0 / 0. */
Test(backward_loss, cross_entropy_of_nothing) {
    uint64_t state = 45;
    for (int rows = 0; rows < 3; rows += 2)
        for (int r = 0; r < 3; r++) {
            struct trial t = {.inputs = 0};
            backward_input(&t, "x", &state, -4, 4, 2, (int64_t[]){rows, 3});
            backward_index(&t, "target", &state, 3, 1, (int64_t[]){rows});
            for (int i = 0; i < rows; i++) t.input[1].at[i] = -100;
            snprintf(t.node, sizeof t.node, "{op: cross_entropy, in: {logits: x, target: target}, with: {reduction: %s}}", reductions[r]);
            backward_check(&t, (struct backward_options){0});
            trial_free(&t);
        }
}

Test(backward_loss, cosine_similarity) {
    static const struct {
        int32_t rank[2];
        int64_t shape[2][3];
        int axis;
    } cases[] = {
        {{2, 2}, {{3, 5}, {3, 5}}, -1}, {{2, 2}, {{3, 5}, {3, 5}}, 0},     {{3, 3}, {{2, 1, 4}, {1, 3, 4}}, -1},
        {{3, 1}, {{2, 3, 4}, {4}}, 2},  {{2, 3}, {{3, 1}, {2, 3, 4}}, -1}, {{3, 3}, {{2, 5, 3}, {2, 5, 1}}, 1},
        {{2, 2}, {{0, 5}, {0, 5}}, -1}, {{1, 1}, {{70}, {70}}, 0},
    };
    uint64_t state = 46;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial t = {.inputs = 0};
        backward_input(&t, "a", &state, 0.25, 2, cases[i].rank[0], cases[i].shape[0]);
        backward_input(&t, "b", &state, -2, 2, cases[i].rank[1], cases[i].shape[1]);
        snprintf(t.node, sizeof t.node, "{op: cosine_similarity, in: {a: a, b: b}, with: {axis: %d}}", cases[i].axis);
        backward_check(&t, (struct backward_options){0});
        trial_free(&t);
    }
}
