/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of convolutions, pools and resizing against central differences: every padding, stride, dilation and grouping; and of larger
 * ones, whose work is cut into shares and tiles, along drawn directions. */
#include "harness/backward.h"

#include <criterion/criterion.h>

struct row {
    const char *node;
    int32_t rank;
    int64_t x[4];
};

static struct trial trial_row(const struct row *row, uint64_t *state) {
    struct trial t = {.inputs = 0};
    snprintf(t.node, sizeof t.node, "%s", row->node);
    backward_input(&t, "x", state, -1, 1, row->rank, row->x);
    return t;
}

static void check(const struct row *rows, size_t count, double tolerance_f32) {
    uint64_t state = 5;
    for (size_t i = 0; i < count; i++) {
        struct trial t = trial_row(&rows[i], &state);
        backward_check(&t, (struct backward_options){.tolerance_f32 = tolerance_f32});
        trial_free(&t);
    }
}
#define CHECK(rows) check(rows, sizeof(rows) / sizeof *(rows), 0)

Test(backward_conv, conv1d) {
    static const struct row rows[] = {
        {"{op: conv1d, in: x, with: {units: 3, kernel: 3}}", 3, {2, 2, 9}},
        {"{op: conv1d, in: x, with: {units: 6, kernel: 5, padding: same}}", 3, {1, 3, 40}},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 4, padding: causal, dilation: 2, bias: false}}", 3, {2, 3, 37}},
        {"{op: conv1d, in: x, with: {units: 5, kernel: 3, stride: 2, padding: [2, 1]}}", 3, {2, 2, 14}},
        {"{op: conv1d, in: x, with: {units: 2, kernel: 2, stride: 5}}", 3, {1, 3, 19}},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 5, stride: 3, dilation: 2, padding: 4, groups: 2}}", 3, {2, 4, 33}},
        {"{op: conv1d, in: x, with: {units: 6, kernel: 3, padding: same, groups: 6}}", 3, {2, 6, 21}},
        {"{op: conv1d, in: x, with: {units: 6, kernel: 3, padding: 1, groups: 3}}", 3, {2, 3, 18}},
        {"{op: conv1d, in: x, with: {units: 5, kernel: 1}}", 3, {3, 4, 11}},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 1, groups: 2}}", 3, {2, 6, 50}},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 1, stride: 2}}", 3, {2, 3, 8}},
        {"{op: conv1d, in: x, with: {units: 5, kernel: 6}}", 3, {3, 4, 6}},
        {"{op: conv1d, in: x, with: {units: 3, kernel: 5, padding: 3, padding_mode: reflect}}", 3, {2, 2, 6}},
        {"{op: conv1d, in: x, with: {units: 3, kernel: 5, padding: [4, 2], stride: 2, padding_mode: replicate}}", 3, {2, 2, 7}},
        {"{op: conv1d, in: x, with: {units: 3, kernel: 3, padding: 2, dilation: 2, padding_mode: circular}}", 3, {2, 2, 6}},
        {"{op: conv1d, in: x, with: {units: 9, kernel: 3, padding: 3, stride: 2, padding_mode: reflect}}", 3, {1, 2, 70}},
        {"{op: conv1d, in: x, with: {units: 3, kernel: 3}}", 3, {0, 2, 9}},
        {"{op: conv1d, in: x, with: {units: 3, kernel: 3}}", 3, {2, 2, 0}},
    };
    CHECK(rows);
}

Test(backward_conv, conv2d) {
    static const struct row rows[] = {
        {"{op: conv2d, in: x, with: {units: 3, kernel: 3, padding: 1}}", 4, {2, 2, 5, 6}},
        {"{op: conv2d, in: x, with: {units: 9, kernel: 3, padding: same}}", 4, {1, 2, 7, 8}},
        {"{op: conv2d, in: x, with: {units: 2, kernel: [5, 2], stride: [2, 1], padding: [2, 1]}}", 4, {1, 2, 11, 6}},
        {"{op: conv2d, in: x, with: {units: 7, kernel: 3, stride: 2, padding: 1}}", 4, {2, 2, 9, 12}},
        {"{op: conv2d, in: x, with: {units: 3, kernel: [2, 3], stride: [3, 2], dilation: [2, 1], bias: false}}", 4, {1, 2, 11, 10}},
        {"{op: conv2d, in: x, with: {units: 4, kernel: 3, groups: 2, padding: 2, dilation: 2}}", 4, {1, 4, 8, 7}},
        {"{op: conv2d, in: x, with: {units: 4, kernel: 3, groups: 4, padding: 1}}", 4, {2, 4, 6, 7}},
        {"{op: conv2d, in: x, with: {units: 4, kernel: [3, 5], groups: 4, padding: [1, 2], stride: [2, 3]}}", 4, {1, 4, 9, 14}},
        {"{op: conv2d, in: x, with: {units: 4, kernel: 1}}", 4, {2, 3, 4, 5}},
        {"{op: conv2d, in: x, with: {units: 4, kernel: [4, 5]}}", 4, {3, 2, 4, 5}},
        {"{op: conv2d, in: x, with: {units: 3, kernel: 3, padding: 2, padding_mode: reflect}}", 4, {1, 2, 4, 5}},
        {"{op: conv2d, in: x, with: {units: 5, kernel: 3, padding: [1, 2], stride: 2, padding_mode: replicate}}", 4, {1, 2, 8, 9}},
        {"{op: conv2d, in: x, with: {units: 3, kernel: 3, padding: [2, 1], dilation: [2, 1], padding_mode: circular}}", 4, {2, 2, 7, 8}},
        {"{op: conv2d, in: x, with: {units: 6, kernel: 3, padding: 1, stride: 4}}", 4, {1, 2, 17, 18}},
        {"{op: conv2d, in: x, with: {units: 2, kernel: 3}}", 4, {0, 2, 5, 5}},
    };
    CHECK(rows);
}

Test(backward_conv, transposes) {
    static const struct row rows[] = {
        {"{op: conv_transpose1d, in: x, with: {units: 3, kernel: 4, stride: 2}}", 3, {2, 2, 7}},
        {"{op: conv_transpose1d, in: x, with: {units: 4, kernel: 3, stride: 3, dilation: 2, padding: [2, 1], output_padding: 1, bias: "
         "false}}",
         3,
         {2, 3, 6}},
        {"{op: conv_transpose1d, in: x, with: {units: 4, kernel: 2, stride: 5, groups: 2}}", 3, {2, 6, 5}},
        {"{op: conv_transpose1d, in: x, with: {units: 1, kernel: 8, stride: 4, padding: 3}}", 3, {1, 5, 150}},
        {"{op: conv_transpose2d, in: x, with: {units: 3, kernel: 4, stride: 2, padding: 1}}", 4, {2, 2, 4, 5}},
        {"{op: conv_transpose2d, in: x, with: {units: 4, kernel: [3, 2], stride: [1, 3], padding: [2, 0], groups: 2}}", 4, {1, 4, 5, 3}},
        {"{op: conv_transpose2d, in: x, with: {units: 2, kernel: 3}}", 4, {0, 2, 5, 5}},
        {"{op: conv_transpose2d, in: x, with: {units: 2, kernel: 3}}", 4, {2, 2, 5, 0}},
    };
    CHECK(rows);
}

Test(backward_conv, pools) {
    static const struct row rows[] = {
        {"{op: max_pool1d, in: x, with: {kernel: 2}}", 3, {2, 3, 9}},
        {"{op: max_pool1d, in: x, with: {kernel: 5, stride: 2, padding: [3, 4]}}", 3, {2, 2, 41}},
        {"{op: max_pool2d, in: x, with: {kernel: 2}}", 4, {2, 3, 6, 8}},
        {"{op: max_pool2d, in: x, with: {kernel: 2}}", 4, {2, 1, 7, 45}},
        {"{op: max_pool2d, in: x, with: {kernel: 3, stride: 2, padding: 1}}", 4, {1, 2, 9, 8}},
        {"{op: max_pool2d, in: x, with: {kernel: [3, 2], stride: 1}}", 4, {1, 2, 6, 37}},
        {"{op: max_pool2d, in: x, with: {kernel: 2}}", 4, {2, 0, 6, 8}},
        {"{op: avg_pool1d, in: x, with: {kernel: 3, stride: 2, padding: 1}}", 3, {2, 2, 10}},
        {"{op: avg_pool2d, in: x, with: {kernel: [2, 3], stride: [2, 1], padding: [1, 0]}}", 4, {1, 2, 7, 9}},
        {"{op: avg_pool2d, in: x, with: {kernel: 2}}", 4, {1, 2, 7, 9}},
        {"{op: global_avg_pool, in: x}", 4, {2, 3, 4, 5}},
        {"{op: global_avg_pool, in: x}", 3, {2, 3, 7}},
        {"{op: upsample, in: x, with: {factor: 2}}", 3, {2, 3, 20}},
        {"{op: upsample, in: x, with: {factor: [3, 2]}}", 4, {1, 2, 4, 5}},
        {"{op: upsample, in: x, with: {factor: 3, mode: linear}}", 3, {2, 2, 21}},
        {"{op: upsample, in: x, with: {factor: [2, 4], mode: linear}}", 4, {1, 2, 4, 5}},
        {"{op: upsample, in: x, with: {factor: [2, 1], mode: linear}}", 4, {1, 1, 1, 1}},
    };
    CHECK(rows);
}

/* Among equals the first gets it all, whichever kernel runs. */
Test(backward_conv, first_of_equals) {
    static const struct row rows[] = {{"{op: max_pool2d, in: x, with: {kernel: 2}}", 4, {1, 1, 4, 6}},
                                      {"{op: max_pool2d, in: x, with: {kernel: 2, stride: 2, padding: 1}}", 4, {1, 1, 4, 6}}};
    static const int first[2][4] = {{0, 2, 4, 12}, {0, 1, 3, 5}}; /* elements of the first places' windows */
    for (int r = 0; r < 2; r++)
        for (int32_t isa = 2; isa >= 0; isa--) {
            uint64_t state = 3;
            struct trial t = trial_row(&rows[r], &state);
            for (int i = 0; i < 24; i++) t.input[0].at[i] = 0.5;
            struct backward b;
            struct backward_options options = {.phase = FLOW_PHASE_TRAINING};
            backward_open(&b, &t, &options, FLOW_F32, isa, 1, false);
            backward_forward(&b);
            backward_run(&b, UINT64_MAX, 0, 0, 0);
            for (int i = 0; i < 4; i++)
                cr_assert(backward_get(&b.grad_in[0], first[r][i]) == backward_get(&b.grad_out[0], i), "%s: place %d", t.node, i);
            double sum = 0, all = 0;
            for (int i = 0; i < 24; i++) sum += backward_get(&b.grad_in[0], i) != 0;
            for (int64_t i = 0; i < backward_count(&b.out[0]); i++) all += 1;
            cr_assert(sum == all, "%s: %g elements have a gradient, there are %g places", t.node, sum, all);
            backward_close(&b);
            trial_free(&t);
        }
}

/* A sum over elements of t along `direction` is what the loss changes by. */
static void along(struct backward *b, const struct flow_tensor *t, const struct flow_tensor *grad, uint64_t *state, int64_t single,
                  const char *what) {
    int64_t n = backward_count(t);
    double h = 1e-4, sum = 0, scale = 0, *d = calloc((size_t)n + 1, sizeof *d);
    cr_assert(d != NULL);
    for (int64_t i = 0; i < n; i++) d[i] = single < 0 || i == single ? one_uniform(state, -1, 1) : 0;
    for (int64_t i = 0; i < n; i++) sum += d[i] * backward_get(grad, i), scale += fabs(d[i] * backward_get(grad, i));
    double change[2];
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++) backward_put(t, i, backward_get(t, i) + (side ? -2 : 1) * h * d[i]);
        change[side] = backward_loss(b);
    }
    for (int64_t i = 0; i < n; i++) backward_put(t, i, backward_get(t, i) + h * d[i]);
    double expected = (change[0] - change[1]) / (2 * h);
    cr_assert(fabs(sum - expected) < 1e-7 * (1 + scale), "%s, set %d: %s, element %lld: %.12g, expected %.12g", b->trial->node, b->host.isa,
              what, (long long)single, sum, expected);
    free(d);
}

static void check_large(const struct row *row) {
    uint64_t state = 11;
    struct trial t = trial_row(row, &state);
    double *first[BACKWARD_PORTS] = {NULL};
    for (int32_t isa = 2; isa >= 0; isa--)
        for (int precise = 1; precise >= 0; precise--) {
            struct backward b;
            struct backward_options options = {.phase = FLOW_PHASE_TRAINING};
            backward_open(&b, &t, &options, precise ? FLOW_F64 : FLOW_F32, isa, 1, false);
            backward_forward(&b);
            backward_threads(&b);
            for (int k = 0; k < 5 && precise; k++) {
                int64_t single = k < 2 ? -1 : one_below(&state, backward_count(&b.in[0]));
                along(&b, &b.in[0], &b.grad_in[0], &state, single, "x");
                for (uint32_t p = 0; p < b.param_count; p++)
                    if (b.grad_param[p].rank >= 0)
                        along(&b, &b.param[p], &b.grad_param[p], &state, k < 2 ? -1 : one_below(&state, backward_count(&b.param[p])),
                              "parameter");
            }
            for (uint32_t p = 0; p <= b.param_count; p++) {
                const struct flow_tensor *grad = p ? &b.grad_param[p - 1] : &b.grad_in[0];
                if (grad->rank < 0) continue;
                if (!first[p]) first[p] = backward_copy(grad);
                backward_near(&b, grad, first[p], 0, precise ? 1e-12 : 3e-6, p ? "large: parameter" : "large: x", p);
            }
            backward_close(&b);
        }
    for (int p = 0; p < BACKWARD_PORTS; p++) free(first[p]);
    trial_free(&t);
}

Test(backward_conv, large) {
    static const struct row rows[] = {
        {"{op: conv2d, in: x, with: {units: 16, kernel: 5, padding: 2}}", 4, {21, 1, 28, 28}},
        {"{op: conv2d, in: x, with: {units: 21, kernel: 3, padding: 1}}", 4, {19, 16, 14, 14}},
        {"{op: conv2d, in: x, with: {units: 24, kernel: 3, padding: 1, padding_mode: reflect}}", 4, {3, 10, 61, 57}},
        {"{op: conv2d, in: x, with: {units: 24, kernel: 3, padding: 1, stride: 2, groups: 2}}", 4, {5, 10, 61, 57}},
        {"{op: conv2d, in: x, with: {units: 70, kernel: 5, padding: 2, stride: 2}}", 4, {9, 40, 13, 13}},
        {"{op: conv2d, in: x, with: {units: 64, kernel: 3, padding: 1, padding_mode: circular}}", 4, {3, 300, 14, 14}},
        {"{op: conv2d, in: x, with: {units: 40, kernel: 3, padding: 1}}", 4, {33, 30, 4, 4}},
        {"{op: conv2d, in: x, with: {units: 64, kernel: 1}}", 4, {17, 48, 7, 9}},
        {"{op: conv1d, in: x, with: {units: 32, kernel: 9, padding: same, groups: 32}}", 3, {3, 32, 5000}},
        {"{op: conv1d, in: x, with: {units: 64, kernel: 16, stride: 8}}", 3, {2, 1, 16000}},
        {"{op: conv1d, in: x, with: {units: 20, kernel: 3, padding: causal, dilation: 512}}", 3, {2, 16, 9000}},
        {"{op: conv1d, in: x, with: {units: 300, kernel: 7, padding: same}}", 3, {3, 200, 150}},
        {"{op: conv_transpose1d, in: x, with: {units: 1, kernel: 16, stride: 8}}", 3, {3, 128, 4000}},
        {"{op: conv_transpose2d, in: x, with: {units: 16, kernel: 4, stride: 2, padding: 1}}", 4, {5, 32, 14, 14}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_large(&rows[i]);
}
