/* SPDX-License-Identifier: Apache-2.0 */
/* Random operators: the same for any number of threads, anew in every run, distributed as they say. */
#include "harness/one.h"

#include <criterion/criterion.h>
#include <math.h>

enum { N = 200000 };

/* Two runs of a node, one behind the other, into out [2 N]. */
static void draw(const char *line, int threads, int32_t precision, double *out) {
    char text[400];
    struct one one;
    snprintf(text, sizeof text, "flow: 1\nseed: 5\nnodes: {y: {op: %s}}\noutputs: {y: y}\n", line);
    cr_assert(one_open(&one, text, (struct one_options){.isa = -1, .threads = threads, .precision = precision}) == 0, "%s", one.message);
    for (int run = 0; run < 2; run++) {
        cr_assert(one_run(&one) == 0, "%s", one.message);
        const struct flow_tensor *y = one_output(&one, "y");
        cr_assert(flow_tensor_count(y) == N && y->dtype == precision);
        for (int i = 0; i < N; i++) out[run * N + i] = flow_tensor_real(y, i);
    }
    one_close(&one);
}

static double a[2 * N], b[2 * N];

static void moments(const double *v, double *mean, double *variance, double *fourth) {
    double m = 0, s = 0, f = 0;
    for (int i = 0; i < N; i++) m += v[i] / N;
    for (int i = 0; i < N; i++) s += (v[i] - m) * (v[i] - m) / N;
    for (int i = 0; i < N; i++) f += pow(v[i] - m, 4) / N;
    *mean = m, *variance = s, *fourth = f / (s * s);
}

Test(random_numbers, threads_runs_seeds) {
    static const char *const lines[] = {"random_uniform, with: {shape: [2, 100000]}", "random_normal, with: {shape: [200000]}"};
    for (int k = 0; k < 2; k++)
        for (int wide = 0; wide < 2; wide++) {
            draw(lines[k], 1, wide ? FLOW_F64 : FLOW_F32, a);
            draw(lines[k], 2, wide ? FLOW_F64 : FLOW_F32, b);
            cr_assert(memcmp(a, b, sizeof a) == 0, "%s: threads change the numbers", lines[k]);
            int same = 0;
            for (int i = 0; i < N; i++) same += a[i] == a[N + i];
            cr_assert(same < 40, "%s: %d numbers are the same in the second run", lines[k], same);
        }
    draw("random_uniform, with: {shape: [200000], seed: 3}", 1, FLOW_F32, a);
    draw("random_uniform, with: {shape: [200000], seed: 4}", 1, FLOW_F32, b);
    cr_assert(memcmp(a, b, sizeof a) != 0);
}

Test(random_numbers, distributions) {
    double mean, variance, fourth;
    for (int wide = 0; wide < 2; wide++) {
        draw("random_uniform, with: {shape: [200000], low: -1, high: 3}", 1, wide ? FLOW_F64 : FLOW_F32, a);
        moments(a, &mean, &variance, &fourth);
        /* Five standard errors. */
        cr_assert(fabs(mean - 1) < 5 * sqrt(16 / 12.0 / N) && fabs(variance - 16 / 12.0) < 0.02 && fabs(fourth - 1.8) < 0.03, "%g %g %g",
                  mean, variance, fourth);
        for (int i = 0; i < 2 * N; i++) cr_assert(a[i] >= -1 && a[i] < 3, "%.17g", a[i]);
        draw("random_normal, with: {shape: [200000], mean: 2, std: 3}", 1, wide ? FLOW_F64 : FLOW_F32, a);
        moments(a, &mean, &variance, &fourth);
        cr_assert(fabs(mean - 2) < 5 * 3 / sqrt(N) && fabs(variance - 9) < 0.15 && fabs(fourth - 3) < 0.06, "%g %g %g", mean, variance,
                  fourth);
        int beyond = 0;
        for (int i = 0; i < N; i++) beyond += fabs(a[i] - 2) > 9;
        cr_assert(beyond > 420 && beyond < 660, "%d of %d beyond three deviations, 540 expected", beyond, N);
    }
}
