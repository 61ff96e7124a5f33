/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of the speech operators against central differences. */
#include "harness/backward.h"

#include <criterion/criterion.h>

struct row {
    const char *node;
    int inputs;
    int32_t rank;
    int64_t shape[4];
    const char *names[2];
};

static void check(const struct row *rows, size_t count, double tolerance, double tolerance_f32) {
    uint64_t state = 5;
    for (size_t i = 0; i < count; i++) {
        struct trial t = {.inputs = 0};
        snprintf(t.node, sizeof t.node, "%s", rows[i].node);
        for (int k = 0; k < (rows[i].inputs ? rows[i].inputs : 1); k++)
            backward_input(&t, rows[i].names[k] ? rows[i].names[k] : "x", &state, -1, 1, rows[i].rank, rows[i].shape);
        backward_check(&t,
                       (struct backward_options){.plugins = BUILD_DIR "/plugins", .tolerance = tolerance, .tolerance_f32 = tolerance_f32});
        trial_free(&t);
    }
}
#define CHECK(rows) check(rows, sizeof(rows) / sizeof *(rows), 0, 0)

Test(backward_speech, fsmn) {
    static const struct row rows[] = {
        {"{op: fsmn, in: x, with: {left: 3, right: 0}}", 1, 3, {2, 9, 4}, {0}},
        {"{op: fsmn, in: x, with: {left: 3, right: 2, dilation: 2}}", 1, 3, {2, 11, 19}, {0}},
        {"{op: fsmn, in: x, with: {left: 5, right: 3, skip: false}}", 1, 3, {1, 40, 33}, {0}},
        {"{op: fsmn, in: x, with: {left: 10, right: 9, dilation: 3}}", 1, 3, {1, 70, 17}, {0}},
        {"{op: fsmn, in: x, with: {left: 1, right: 1, dilation: 500}}", 1, 3, {1, 20, 3}, {0}},
        {"{op: fsmn, in: x, with: {left: 0, right: 0}}", 1, 3, {1, 300, 2}, {0}},
        {"{op: fsmn, in: x, with: {left: 9, right: 0}}", 1, 3, {2, 0, 4}, {0}},
        {"{op: fsmn, in: x, with: {left: 9, right: 0}}", 1, 3, {0, 5, 4}, {0}},
    };
    CHECK(rows);
}

Test(backward_speech, frames) {
    static const struct row rows[] = {
        {"{op: frame, in: x, with: {size: 6, hop: 3}}", 1, 2, {2, 20}, {0}},
        {"{op: frame, in: x, with: {size: 4, hop: 7, before: 2}}", 1, 3, {2, 25, 2}, {0}},
        {"{op: frame, in: x, with: {size: 8, hop: 4, tail: drop, before: 3}}", 1, 2, {1, 30}, {0}},
        {"{op: frame, in: x, with: {size: 10, hop: 5}}", 1, 2, {2, 3}, {0}},
        {"{op: frame, in: x, with: {size: 10, hop: 5, tail: drop}}", 1, 2, {2, 3}, {0}},
        {"{op: frame_stack, in: x, with: {count: 5, stride: 2}}", 1, 3, {2, 9, 3}, {0}},
        {"{op: frame_stack, in: x, with: {count: 4, stride: 3}}", 1, 3, {1, 2, 3}, {0}},
        {"{op: frame_stack, in: x, with: {count: 3}}", 1, 3, {1, 0, 3}, {0}},
        {"{op: overlap_add, in: x, with: {hop: 2, window: triangle}}", 1, 3, {2, 4, 6}, {0}},
        {"{op: overlap_add, in: x, with: {hop: 3, normalize: false}}", 1, 4, {2, 4, 6, 3}, {0}},
        {"{op: overlap_add, in: x, with: {hop: 3, window: hann, samples: 11}}", 1, 4, {1, 4, 6, 2}, {0}},
        {"{op: overlap_add, in: x, with: {hop: 5, samples: 40}}", 1, 3, {2, 3, 4}, {0}},
    };
    CHECK(rows);
}

Test(backward_speech, transforms) {
    static const struct row rows[] = {
        {"{op: stft, in: x, with: {size: 8, hop: 4}}", 1, 2, {2, 30}, {0}},
        {"{op: stft, in: x, with: {size: 9, hop: 4, window: hamming}}", 1, 2, {1, 31}, {0}},
        {"{op: stft, in: x, with: {size: 12, hop: 5, length: 8, center: false, window: sqrt_hann}}", 1, 2, {2, 33}, {0}},
        {"{op: stft, in: x, with: {size: 4, hop: 7, center: false, window: rect}}", 1, 2, {1, 33}, {0}},
        {"{op: stft, in: x, with: {size: 16, hop: 8, center: false}}", 1, 2, {2, 9}, {0}},
        {"{op: stft, in: x, with: {size: 6, hop: 1}}", 1, 2, {1, 40}, {0}},
        {"{op: istft, in: {re: re, im: im}, with: {size: 8, hop: 4, window: hamming}}", 2, 3, {2, 5, 6}, {"re", "im"}},
        {"{op: istft, in: {re: re, im: im}, with: {size: 9, hop: 3, center: false, window: rect}}", 2, 3, {1, 5, 5}, {"re", "im"}},
        {"{op: istft, in: {re: re, im: im}, with: {size: 8, hop: 2, samples: 17, window: hamming}}", 2, 3, {1, 5, 7}, {"re", "im"}},
        {"{op: istft, in: {re: re, im: im}, with: {size: 8, hop: 4, samples: 60, window: hamming}}", 2, 3, {1, 5, 20}, {"re", "im"}},
    };
    CHECK(rows);
}

Test(backward_speech, fbank) {
    static const struct row rows[] = {
        {"{op: fbank, in: x, with: {rate: 1000, mels: 5}}", 1, 2, {2, 60}, {0}},
        {"{op: fbank, in: x, with: {rate: 1000, mels: 4, power: false, window: hamming, remove_dc: false}}", 1, 2, {1, 70}, {0}},
        {"{op: fbank, in: x, with: {rate: 1000, mels: 4, snip_edges: false, window: hann}}", 1, 2, {1, 33}, {0}},
        {"{op: fbank, in: x, with: {rate: 1000, mels: 4, log: false, scale: 2, window: rect, preemphasis: 0}}", 1, 2, {1, 50}, {0}},
        {"{op: fbank, in: x, with: {rate: 1000, mels: 4, log: false, scale: 1, power: false, hop_ms: 40}}", 1, 2, {1, 90}, {0}},
        {"{op: fbank, in: x, with: {rate: 1000, mels: 4, snip_edges: false}}", 1, 2, {1, 7}, {0}},
        {"{op: fbank, in: x, with: {rate: 1000, mels: 4}}", 1, 2, {1, 7}, {0}},
    };
    check(rows, sizeof rows / sizeof *rows, 1e-6, 2e-4);
}

/* Several shares of the work: along drawn directions the loss changes as the gradients say. */
Test(backward_speech, large) {
    static const struct row rows[] = {
        {"{op: fsmn, in: x, with: {left: 19, right: 5}}", 1, 3, {3, 700, 130}, {0}},
        {"{op: fsmn, in: x, with: {left: 6, right: 3, dilation: 4}}", 1, 3, {1, 3000, 64}, {0}},
        {"{op: stft, in: x, with: {size: 256, hop: 64}}", 1, 2, {2, 20000}, {0}},
        {"{op: frame, in: x, with: {size: 256, hop: 64}}", 1, 2, {2, 40000}, {0}},
        {"{op: fbank, in: x}", 1, 2, {2, 20000}, {0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t state = 5;
        struct trial t = {.inputs = 0};
        snprintf(t.node, sizeof t.node, "%s", rows[i].node);
        backward_input(&t, "x", &state, -1, 1, rows[i].rank, rows[i].shape);
        struct backward_options options = {.plugins = BUILD_DIR "/plugins"};
        for (int32_t isa = 2; isa >= 0; isa--) {
            struct backward b;
            backward_open(&b, &t, &options, FLOW_F64, isa, 4, false);
            backward_forward(&b);
            backward_threads(&b);
            for (int k = -1; k < (int)b.param_count; k++) {
                struct flow_tensor *x = k < 0 ? &b.in[0] : &b.param[k], *grad = k < 0 ? &b.grad_in[0] : &b.grad_param[k];
                int64_t n = backward_count(x);
                double *d = calloc((size_t)n, sizeof *d), h = 1e-6, sum = 0, scale = 0, up, down;
                cr_assert(d != NULL);
                for (int64_t e = 0; e < n; e++) {
                    d[e] = one_uniform(&state, -1, 1);
                    sum += d[e] * backward_get(grad, e), scale += fabs(d[e] * backward_get(grad, e));
                }
                for (int64_t e = 0; e < n; e++) backward_put(x, e, backward_get(x, e) + h * d[e]);
                up = backward_loss(&b);
                for (int64_t e = 0; e < n; e++) backward_put(x, e, backward_get(x, e) - 2 * h * d[e]);
                down = backward_loss(&b);
                for (int64_t e = 0; e < n; e++) backward_put(x, e, backward_get(x, e) + h * d[e]);
                cr_assert(fabs((up - down) / (2 * h) - sum) < 1e-6 * (1 + scale), "%s: %g, expected %g", t.node, sum,
                          (up - down) / (2 * h));
                free(d);
            }
            backward_close(&b);
        }
        trial_free(&t);
    }
}
