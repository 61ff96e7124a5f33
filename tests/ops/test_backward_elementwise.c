/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of the elementwise operators against central differences. */
#include "harness/backward.h"

#include <criterion/criterion.h>

static const struct unary {
    const char *node;
    double low, high; /* drawn from there; kinks lie elsewhere */
} unary[] = {
    {"neg, in: x", -2, 2},
    {"abs, in: x", -2, -0.1},
    {"abs, in: x", 0.1, 2},
    {"sign, in: x", 0.1, 2},
    {"square, in: x", -2, 2},
    {"exp, in: x", -3, 3},
    {"log, in: x", 0.2, 3},
    {"sqrt, in: x", 0.2, 3},
    {"rsqrt, in: x", 0.2, 3},
    {"reciprocal, in: x", 0.2, 3},
    {"sin, in: x", -5, 5},
    {"cos, in: x", -5, 5},
    {"erf, in: x", -3, 3},
    {"floor, in: x", 0.1, 0.9},
    {"round, in: x", 0.6, 1.4},
    {"relu, in: x", 0.1, 2},
    {"relu, in: x", -2, -0.1},
    {"leaky_relu, in: x, with: {slope: 0.2}", -2, -0.1},
    {"leaky_relu, in: x, with: {slope: -0.5}", -2, -0.1},
    {"leaky_relu, in: x, with: {slope: -0.5}", 0.1, 2},
    {"elu, in: x", -3, 3},
    {"elu, in: x, with: {alpha: 0.5}", -3, -0.1},
    {"elu, in: x, with: {alpha: -0.5}", -3, -0.1},
    {"gelu, in: x", -6, 6},
    {"gelu, in: x, with: {approximate: tanh}", -6, 6},
    {"silu, in: x", -20, 20},
    {"sigmoid, in: x", -10, 10},
    {"tanh, in: x", -5, 5},
    {"softplus, in: x", -20, 20},
    {"mish, in: x", -20, 20},
    {"relu_squared, in: x", -2, 2},
    {"clamp, in: x, with: {min: -1, max: 1}", -0.9, 0.9},
    {"clamp, in: x, with: {min: -1}", 1.1, 3},
    {"clamp, in: x, with: {max: 1}", 1.1, 3},
    {"add, in: x, with: {value: 2}", -2, 2},
    {"sub, in: x, with: {value: 2}", -2, 2},
    {"mul, in: x, with: {value: -2}", -2, 2},
    {"div, in: x, with: {value: 3}", -2, 2},
    {"mod, in: x, with: {value: 3}", 0.1, 2.9},
    {"pow, in: x, with: {value: 2}", -2, 2},
    {"pow, in: x, with: {value: 3}", -2, 2},
    {"pow, in: x, with: {value: 0.5}", 0.2, 2},
    {"pow, in: x, with: {value: -1}", 0.2, 2},
    {"pow, in: x, with: {value: 0}", -2, 2},
    {"pow, in: x, with: {value: -1.7}", 0.5, 2},
    {"minimum, in: x, with: {value: 0}", 0.1, 2},
    {"maximum, in: x, with: {value: 0}", 0.1, 2},
};

Test(backward_elementwise, one_input) {
    for (size_t k = 0; k < sizeof unary / sizeof *unary; k++) {
        struct trial t = {.inputs = 0};
        uint64_t state = k + 1;
        snprintf(t.node, sizeof t.node, "{op: %s}", unary[k].node);
        backward_input(&t, "x", &state, unary[k].low, unary[k].high, 3, (int64_t[]){3, 5, 7});
        backward_check(&t, (struct backward_options){.tolerance = 1e-8});
        trial_free(&t);
    }
}

/* Pairs of shapes that broadcast in every way: rows, columns, both, single ones, in the middle, nothing at all. */
static const struct pair {
    int32_t rank[2];
    int64_t shape[2][4];
} pairs[] = {
    {{2, 2}, {{3, 5}, {3, 5}}},
    {{3, 1}, {{2, 3, 5}, {5}}},
    {{1, 3}, {{5}, {2, 3, 5}}},
    {{3, 3}, {{2, 3, 1}, {2, 3, 5}}},
    {{3, 3}, {{2, 1, 5}, {1, 3, 5}}},
    {{3, 0}, {{2, 3, 5}, {0}}},
    {{0, 2}, {{0}, {2, 3}}},
    {{0, 0}, {{0}, {0}}},
    {{4, 4}, {{2, 3, 1, 4}, {1, 3, 2, 1}}},
    {{3, 2}, {{1, 3, 4}, {3, 4}}},
    {{2, 2}, {{0, 3}, {1, 3}}},
    {{2, 1}, {{6, 1}, {6}}},
};
static const struct {
    const char *op;
    double low[2], high[2];
} binary[] = {
    {"add", {-2, -2}, {2, 2}},      {"sub", {-2, -2}, {2, 2}},      {"mul", {-2, -2}, {2, 2}},  {"div", {-2, 0.5}, {2, 2}},
    {"mod", {0.1, 1.1}, {0.9, 2}},  {"mod", {2.1, 1}, {2.9, 1.03}}, {"pow", {0.5, -2}, {2, 2}}, {"minimum", {-2, 0.1}, {0, 2}},
    {"minimum", {0.1, -2}, {2, 0}}, {"maximum", {-2, -2}, {2, 2}},
};

Test(backward_elementwise, two_inputs) {
    for (size_t k = 0; k < sizeof binary / sizeof *binary; k++)
        for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
            struct trial t = {.inputs = 0};
            uint64_t state = 100 * k + p + 1;
            snprintf(t.node, sizeof t.node, "{op: %s, in: [a, b]}", binary[k].op);
            backward_input(&t, "a", &state, binary[k].low[0], binary[k].high[0], pairs[p].rank[0], pairs[p].shape[0]);
            backward_input(&t, "b", &state, binary[k].low[1], binary[k].high[1], pairs[p].rank[1], pairs[p].shape[1]);
            backward_check(&t, (struct backward_options){.tolerance = 2e-8});
            trial_free(&t);
        }
}

/* Sums that are cut into chunks, blocks of columns and pieces. */
Test(backward_elementwise, large_sums) {
    static const struct pair large[] = {
        {{2, 1}, {{1500, 70}, {70}}},          {{2, 2}, {{700, 1100}, {700, 1}}},       {{2, 1}, {{3, 90000}, {1}}},
        {{3, 3}, {{40, 30, 600}, {1, 30, 1}}}, {{3, 3}, {{40, 30, 700}, {40, 1, 700}}}, {{2, 1}, {{50, 2500}, {2500}}},
        {{2, 1}, {{40000, 3}, {3}}},           {{2, 2}, {{9000, 4}, {9000, 1}}},        {{3, 2}, {{300, 70, 4}, {70, 1}}},
    };
    for (size_t p = 0; p < sizeof large / sizeof *large; p++)
        for (int wide = 0; wide < 2; wide++)
            for (int32_t isa = 0; isa < 3; isa++) {
                struct trial t = {.node = "{op: mul, in: [a, b]}"};
                struct backward b;
                uint64_t state = p + 1;
                backward_input(&t, "a", &state, -1, 1, large[p].rank[0], large[p].shape[0]);
                backward_input(&t, "b", &state, -1, 1, large[p].rank[1], large[p].shape[1]);
                backward_open(&b, &t, &(struct backward_options){0}, wide ? FLOW_F64 : FLOW_F32, isa, 4, false);
                int64_t n = backward_count(&b.in[1]), rank = b.out[0].rank;
                double *sum = calloc((size_t)n, sizeof *sum);
                for (int64_t i = 0; i < backward_count(&b.out[0]); i++) {
                    int64_t at = 0, step = 1;
                    for (int64_t axis = rank - 1, rest = i; axis >= 0; axis--) {
                        int64_t own = axis - (rank - b.in[1].rank), extent = own >= 0 ? b.in[1].shape[own] : 1;
                        if (extent > 1) at += rest % b.out[0].shape[axis] * step;
                        step *= extent, rest /= b.out[0].shape[axis];
                    }
                    sum[at] += backward_get(&b.grad_out[0], i) * backward_get(&b.in[0], i);
                }
                backward_run(&b, 2, 0, 0, 0);
                backward_near(&b, &b.grad_in[1], sum, 0, wide ? 1e-13 : 1e-6, "input", 1);
                backward_threads(&b);
                free(sum);
                backward_close(&b);
                trial_free(&t);
            }
}

Test(backward_elementwise, many_inputs) {
    static const char *const ops[] = {"add", "mul", "minimum", "maximum"};
    for (int k = 0; k < 4; k++)
        for (int form = 0; form < 3; form++) {
            struct trial t = {.inputs = 0};
            uint64_t state = (uint64_t)k + 11;
            snprintf(t.node, sizeof t.node, "{op: %s, in: [a, b, c, d]}", ops[k]);
            backward_input(&t, "a", &state, -2, 2, 2, (int64_t[]){3, 70});
            backward_input(&t, "b", &state, -2, 2, form ? 1 : 2, form ? (int64_t[]){70} : (int64_t[]){3, 70});
            backward_input(&t, "c", &state, -2, 2, 2, form == 1 ? (int64_t[]){3, 1} : (int64_t[]){3, 70});
            backward_input(&t, "d", &state, -2, 2, form == 2 ? 0 : 2, (int64_t[]){3, 70});
            backward_check(&t, (struct backward_options){.tolerance = 2e-8, .step = 1e-6});
            trial_free(&t);
        }
}

/* A tie gives each half; at 0 abs and relu give nothing; clamp lets through at its bounds. */
Test(backward_elementwise, kinks) {
    static const struct {
        const char *node;
        double x, expected[2];
        int inputs;
    } kinks[] = {
        {"{op: minimum, in: [a, b]}", 1, {0.5, 0.5}, 2},
        {"{op: maximum, in: [a, b]}", 1, {0.5, 0.5}, 2},
        {"{op: abs, in: a}", 0, {0, 0}, 1},
        {"{op: relu, in: a}", 0, {0, 0}, 1},
        {"{op: relu_squared, in: a}", 0, {0, 0}, 1},
        {"{op: clamp, in: a, with: {min: 1}}", 1, {1, 0}, 1},
        {"{op: clamp, in: a, with: {max: 1}}", 1, {1, 0}, 1},
        {"{op: pow, in: [a, b]}", 0, {0, 0}, 2},
    };
    for (size_t k = 0; k < sizeof kinks / sizeof *kinks; k++)
        for (int wide = 0; wide < 2; wide++) {
            struct trial t = {.inputs = 0};
            struct backward b;
            uint64_t state = 1;
            snprintf(t.node, sizeof t.node, "%s", kinks[k].node);
            backward_input(&t, "a", &state, kinks[k].x, kinks[k].x, 1, (int64_t[]){3});
            if (kinks[k].inputs > 1) backward_input(&t, "b", &state, kinks[k].x, kinks[k].x, 1, (int64_t[]){3});
            backward_open(&b, &t, &(struct backward_options){0}, wide ? FLOW_F64 : FLOW_F32, -1, 1, false);
            backward_forward(&b);
            backward_fill(&b.grad_out[0], 1);
            backward_run(&b, 3, 0, 0, 0);
            for (int i = 0; i < kinks[k].inputs; i++)
                for (int j = 0; j < 3; j++)
                    cr_assert(backward_get(&b.grad_in[i], j) == kinks[k].expected[i], "%s: input %d: %g", t.node, i,
                              backward_get(&b.grad_in[i], j));
            backward_close(&b);
            trial_free(&t);
        }
}

/* One tensor as both inputs, its gradients gathered in one place. */
Test(backward_elementwise, twice_the_same) {
    static const char *const ops[] = {"add", "sub", "mul", "div"};
    static const double expected[] = {2, 0, 3, 0}; /* at 1.5 */
    for (int k = 0; k < 4; k++) {
        struct trial t = {.inputs = 0};
        struct backward b;
        uint64_t state = 1;
        snprintf(t.node, sizeof t.node, "{op: %s, in: [a, b]}", ops[k]);
        backward_input(&t, "a", &state, 1.5, 1.5, 1, (int64_t[]){1300});
        backward_input(&t, "b", &state, 1.5, 1.5, 1, (int64_t[]){1300});
        backward_open(&b, &t, &(struct backward_options){0}, FLOW_F64, -1, 1, false);
        backward_forward(&b);
        backward_fill(&b.grad_out[0], 1);
        b.infer.backward_passes_in = 0;
        void *own = b.grad_in[1].data;
        b.grad_in[1].data = b.grad_in[0].data;
        backward_run(&b, 3, 0, 2, 0);
        for (int j = 0; j < 1300; j++)
            cr_assert(fabs(backward_get(&b.grad_in[0], j) - expected[k]) < 1e-12, "%s: %g", ops[k], backward_get(&b.grad_in[0], j));
        b.grad_in[1].data = own;
        backward_close(&b);
        trial_free(&t);
    }
}

Test(backward_elementwise, choice) {
    for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
        struct trial t = {.node = "{op: where, in: {cond: c, a: a, b: b}}"};
        uint64_t state = p + 1;
        backward_index(&t, "c", &state, 2, pairs[p].rank[p % 2], pairs[p].shape[p % 2]);
        t.input[0].dtype = FLOW_BOOL;
        backward_input(&t, "a", &state, -1, 1, pairs[p].rank[0], pairs[p].shape[0]);
        backward_input(&t, "b", &state, -1, 1, pairs[p].rank[1], pairs[p].shape[1]);
        backward_check(&t, (struct backward_options){.tolerance = 1e-8});
        trial_free(&t);
    }
}

Test(backward_elementwise, gates) {
    static const char *const activations[] = {"sigmoid", "silu", "gelu", "relu", "tanh", "none"};
    for (int k = 0; k < 6; k++)
        for (int axis = 0; axis < 3; axis++) {
            struct trial t = {.inputs = 0};
            uint64_t state = (uint64_t)k + 1;
            snprintf(t.node, sizeof t.node, "{op: glu, in: x, with: {axis: %d, activation: %s}}", axis, activations[k]);
            backward_input(&t, "x", &state, -3, 3, 3, (int64_t[]){2, 4, 6});
            backward_check(&t, (struct backward_options){.tolerance = 1e-8});
            trial_free(&t);
        }
    for (int form = 0; form < 4; form++) {
        static const char *const with[] = {"count: 1", "count: 4", "count: 5, axis: -1", "count: 3, axis: 0"};
        static const int64_t count[] = {1, 4, 5, 3};
        struct trial t = {.inputs = 0};
        uint64_t state = 5;
        snprintf(t.node, sizeof t.node, "{op: prelu, in: x, with: {%s}}", with[form]);
        backward_input(&t, "x", &state, -3, 3, 3, (int64_t[]){3, 4, 5});
        backward_param_drawn(&t, "weight", &state, 0.1, 0.5, 1, &count[form]);
        backward_check(&t, (struct backward_options){.tolerance = 1e-8});
        trial_free(&t);
    }
}

Test(backward_elementwise, dropout_and_cast) {
    static const double chances[] = {0.1, 0.5, 1};
    for (int k = 0; k < 3; k++) {
        struct trial t = {.inputs = 0};
        uint64_t state = 5;
        snprintf(t.node, sizeof t.node, "{op: dropout, in: x, with: {p: %g}}", chances[k]);
        backward_input(&t, "x", &state, -3, 3, 2, (int64_t[]){7, 83});
        backward_check(&t, (struct backward_options){.tolerance = 1e-8, .phase = FLOW_PHASE_TRAINING});
        trial_free(&t);
    }
    struct trial t = {.node = "{op: cast, in: x, with: {to: f64}}"};
    uint64_t state = 5;
    backward_input(&t, "x", &state, -3, 3, 2, (int64_t[]){3, 5});
    struct backward b;
    backward_open(&b, &t, &(struct backward_options){0}, FLOW_F32, -1, 1, false);
    cr_assert(b.out[0].dtype == FLOW_F64 && b.grad_in[0].dtype == FLOW_F32);
    double *expected = backward_copy(&b.grad_out[0]);
    backward_run(&b, 1, 0, 0, 0);
    backward_near(&b, &b.grad_in[0], expected, 0, 1e-7, "input", 0);
    backward_fill(&b.grad_in[0], 3);
    backward_run(&b, 1, 0, 1, 0);
    backward_near(&b, &b.grad_in[0], expected, 3, 1e-6, "input", 0);
    free(expected);
    backward_close(&b);
    trial_free(&t);
}
