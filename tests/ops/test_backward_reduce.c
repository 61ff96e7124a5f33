/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of reductions and softmax against central differences, over every set of axes; and where a formula has a special case. */
#include "harness/backward.h"

#include <criterion/criterion.h>

/* Numbers apart from each other and from 0, so that no difference crosses a tie or a kink. */
static void input_apart(struct trial *t, uint64_t *state, int32_t rank, const int64_t *shape) {
    struct array a = array_new(FLOW_F32, rank, shape);
    int64_t n = array_count(&a);
    for (int64_t i = 0; i < n; i++) a.at[i] = ((double)i + 0.5) / (double)n;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = one_below(state, i + 1);
        double kept = a.at[i];
        a.at[i] = a.at[j], a.at[j] = kept;
    }
    for (int64_t i = 0; i < n; i++) a.at[i] = (double)(float)(one_below(state, 2) ? a.at[i] : -a.at[i]);
    t->input_names[t->inputs] = "x", t->input[t->inputs++] = a;
}

static const int64_t shapes[][4] = {{2, 3, 4, 5}, {1, 7, 1, 3}, {3, 1, 2, 33}, {2, 20, 1, 1}};
static const char *const axes[] = {
    "", "axes: [-1]", "axes: [0]", "axes: [1]", "axes: [1, 3]", "axes: [0, 2]", "axes: [0, 1]", "axes: [2, 3]"};

static void over_axes(const char *op, const char *more, double tolerance) {
    uint64_t state = 5;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t k = 0; k < sizeof axes / sizeof *axes; k++) {
            struct trial t = {.inputs = 0};
            input_apart(&t, &state, 4, shapes[s]);
            snprintf(t.node, sizeof t.node, "{op: %s, in: x, with: {%s%s%s%skeep: %s}}", op, axes[k], *axes[k] ? ", " : "", more,
                     *more ? ", " : "", k % 2 ? "true" : "false");
            backward_check(&t, (struct backward_options){.step = 1e-6, .tolerance = tolerance});
            trial_free(&t);
        }
}

Test(backward_reduce, sum) { over_axes("sum", "", 1e-7); }
Test(backward_reduce, mean) { over_axes("mean", "", 1e-7); }
Test(backward_reduce, amax) { over_axes("amax", "", 1e-7); }
Test(backward_reduce, amin) { over_axes("amin", "", 1e-7); }
Test(backward_reduce, prod) { over_axes("prod", "", 1e-7); }
Test(backward_reduce, logsumexp) { over_axes("logsumexp", "", 1e-7); }
Test(backward_reduce, var) { over_axes("var", "", 1e-7); }
Test(backward_reduce, norm_1) { over_axes("norm", "p: 1", 1e-7); }
Test(backward_reduce, norm_2) { over_axes("norm", "", 1e-6); }
Test(backward_reduce, norm_3) { over_axes("norm", "p: 3", 1e-6); }
Test(backward_reduce, norm_largest) { over_axes("norm", "p: .inf", 1e-7); }

Test(backward_reduce, unbiased_variance) {
    uint64_t state = 6;
    for (int axis = 0; axis < 2; axis++) {
        struct trial t = {.inputs = 0};
        input_apart(&t, &state, 2, (int64_t[]){6, 7});
        snprintf(t.node, sizeof t.node, "{op: var, in: x, with: {axes: [%d], unbiased: true}}", axis);
        backward_check(&t, (struct backward_options){0});
        trial_free(&t);
    }
}

Test(backward_reduce, softmax) {
    static const int64_t sizes[][3] = {{2, 3, 5}, {4, 17, 1}, {1, 6, 300}, {3, 1, 40}};
    uint64_t state = 8;
    for (int log_ = 0; log_ < 2; log_++)
        for (int s = 0; s < 4; s++)
            for (int axis = 0; axis < 3; axis++) {
                struct trial t = {.inputs = 0};
                if (s == 2 && axis == 2) continue; /* many differences, nothing new */
                backward_input(&t, "x", &state, -3, 3, 3, sizes[s]);
                snprintf(t.node, sizeof t.node, "{op: %s, in: x, with: {axis: %d}}", log_ ? "log_softmax" : "softmax", axis);
                backward_check(&t, (struct backward_options){0});
                trial_free(&t);
            }
}

Test(backward_reduce, nothing) {
    static const char *const nodes[] = {"{op: sum, in: x, with: {axes: [0]}}", "{op: prod, in: x}",
                                        "{op: logsumexp, in: x, with: {axes: [1]}}", "{op: norm, in: x, with: {axes: [0]}}",
                                        "{op: softmax, in: x}"};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        struct trial t = {.inputs = 1, .input_names = {"x"}};
        t.input[0] = array_new(FLOW_F32, 2, (int64_t[]){0, 3});
        snprintf(t.node, sizeof t.node, "%s", nodes[i]);
        backward_check(&t, (struct backward_options){0});
        trial_free(&t);
    }
}

/* The gradient of the sum of y; x and what is expected [3, 2], reduced over the first axis and, turned, over the last. */
static void expect(const char *op, const char *more, const double x[6], const double expected[6]) {
    for (int last = 0; last < 2; last++) {
        struct trial t = {.inputs = 1, .input_names = {"x"}};
        struct backward_options options = {0};
        struct backward b;
        t.input[0] = array_new(FLOW_F32, 2, last ? (int64_t[]){2, 3} : (int64_t[]){3, 2});
        for (int i = 0; i < 6; i++) t.input[0].at[last ? i % 2 * 3 + i / 2 : i] = x[i];
        snprintf(t.node, sizeof t.node, "{op: %s, in: x, with: {axes: [%d]%s}}", op, last, more);
        backward_open(&b, &t, &options, FLOW_F64, -1, 1, false);
        backward_fill(&b.grad_out[0], 1);
        backward_forward(&b);
        backward_run(&b, UINT64_MAX, 0, 0, 0);
        for (int i = 0; i < 6; i++) {
            double found = backward_get(&b.grad_in[0], last ? i % 2 * 3 + i / 2 : i);
            cr_assert(fabs(found - expected[i]) < 1e-12, "%s: element %d: %g, expected %g", t.node, i, found, expected[i]);
        }
        backward_close(&b);
        trial_free(&t);
    }
}

Test(backward_reduce, ties_and_zeros) {
    const double ties[] = {1, 4, 3, 4, 3, 2}, low[] = {1, 2, 1, 2, 3, 4}, zeros[] = {2, 0, 0, 5, 3, 0}, none[6] = {0};
    expect("amax", "", ties, (double[]){0, 1, 1, 0, 0, 0});
    expect("amin", "", low, (double[]){1, 1, 0, 0, 0, 0});
    expect("prod", "", zeros, (double[]){0, 0, 6, 0, 0, 0});
    expect("norm", "", none, none);
    expect("norm", ", p: 1", none, none);
    expect("norm", ", p: 3", none, none);
    expect("norm", ", p: .inf", none, none);
    expect("norm", ", p: .inf", (double[]){-1, 4, -3, -4, 3, 2}, (double[]){0, 1, -1, 0, 0, 0});
    expect("norm", ", p: 0", ties, none);
}
