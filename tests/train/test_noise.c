/* SPDX-License-Identifier: Apache-2.0 */
/* Annealed gradient noise as a training sees it: parameters whose gradient is 0 are moved by noise alone, so that their statistics are
 * those of the noise. Neelakantan et al. 2015: at step t from 0, N(0, eta / (1 + t)^0.55). */
#include "train/trainer_test.h"

TestSuite(noise, .init = folder_make, .fini = folder_remove, .timeout = 300);

enum { COUNT = 500000, STEPS = 100 };

static const char still[] = "flow: 1\n"
                            "vars: {eta: 0.1}\n"
                            "nodes:\n"
                            "  a: {op: parameter, with: {shape: [500000]}}\n"
                            "  b: {op: parameter, with: {shape: [500000]}}\n"
                            "  both: {op: add, in: [a, b]}\n"
                            "  sum: {op: sum, in: both}\n"
                            "  loss: {op: mul, in: sum, with: {value: 0}}\n"
                            "outputs: {loss: loss}\n"
                            "train: {loss: loss, steps: 100, noise: {eta: \"${eta}\"}, checkpoint: {dir: %s/runs, every: %d},\n"
                            "  update: [{params: \"*\", optimizer: sgd, with: {lr: 1}}]}\n";

/* The graph, with checkpoints in the test's folder. */
static const char *graph(int checkpoints) {
    static char text[2048];
    snprintf(text, sizeof text, still, folder, checkpoints);
    return text;
}

static const float *numbers_of(const struct training_run *run, const char *name) { return run_param(run, name)->data; }

static double variance_of_steps(double eta, int steps) {
    double sum = 0;
    for (int t = 0; t < steps; t++) sum += eta / pow(1 + t, 0.55);
    return sum;
}

static double correlation(const float *x, const float *y) {
    double sx = 0, sy = 0, xx = 0, yy = 0, xy = 0;
    for (int i = 0; i < COUNT; i++) {
        const double a = x[i], b = y[i];
        sx += a, sy += b, xx += a * a, yy += b * b, xy += a * b;
    }
    return (xy - sx * sy / COUNT) / sqrt((xx - sx * sx / COUNT) * (yy - sy * sy / COUNT));
}

static void check_moments(const float *w, double variance) {
    double mean = 0, second = 0, fourth = 0;
    for (int i = 0; i < COUNT; i++) mean += w[i] / (double)COUNT;
    for (int i = 0; i < COUNT; i++) {
        const double square = (w[i] - mean) * (w[i] - mean);
        second += square / COUNT, fourth += square * square / COUNT;
    }
    cr_expect(fabs(mean) < 0.01, "mean %g", mean);
    cr_expect(fabs(second - variance) < 0.01 * variance, "variance %g, expected %g", second, variance);
    cr_expect(fabs(fourth / (second * second) - 3) < 0.03, "fourth moment over variance squared: %g", fourth / (second * second));
}

Test(noise, moments_and_independence) {
    static const int kept[] = {0, 1, 2, 3, 7, 8, 49, 50, 98, 99};
    enum { KEPT = sizeof kept / sizeof *kept };
    static float *moved[KEPT];
    float *before = calloc(COUNT, sizeof *before);
    struct training_run run;
    struct flow_event event;
    cr_assert_float_eq(variance_of_steps(0.1, STEPS), 1.60127, 1e-5);
    cr_assert_eq(run_open(&run, graph(1000), (struct run_options){0}), 0, "%s", run.message);
    for (int t = 0, k = 0; t < STEPS;) {
        cr_assert_eq(run_next(&run, &event), 0, "%s", run.message);
        if (event.kind != FLOW_EVENT_STEP) continue;
        const float *now = numbers_of(&run, "a.weight");
        cr_assert_eq(event.loss, 0);
        if (k < KEPT && kept[k] == t) {
            moved[k] = malloc(COUNT * sizeof *moved[k]);
            for (int i = 0; i < COUNT; i++) moved[k][i] = now[i] - before[i];
            check_moments(moved[k++], 0.1 / pow(1 + t, 0.55));
        }
        memcpy(before, now, COUNT * sizeof *before);
        t++;
    }
    for (int j = 0; j < KEPT; j++)
        for (int k = 0; k < j; k++) {
            const double r = correlation(moved[j], moved[k]);
            cr_expect(fabs(r) < 0.01, "steps %d and %d: correlation %g", kept[j], kept[k], r);
        }
    check_moments(numbers_of(&run, "a.weight"), variance_of_steps(0.1, STEPS));
    check_moments(numbers_of(&run, "b.weight"), variance_of_steps(0.1, STEPS));
    const double r = correlation(numbers_of(&run, "a.weight"), numbers_of(&run, "b.weight"));
    cr_expect(fabs(r) < 0.01, "the two parameters: correlation %g", r);
    for (int k = 0; k < KEPT; k++) free(moved[k]);
    free(before);
    run_close(&run);
}

Test(noise, same_bits) {
    struct training_run once, again, threads, other;
    RUN(&once, graph(1000), 0);
    RUN(&again, graph(1000), 0);
    same_bits(&once, &again, "the same again");
    RUN(&threads, graph(1000), .threads = 2);
    same_bits(&once, &threads, "two threads");
    run_close(&again), run_close(&threads);
    RUN(&other, graph(1000), .set = {"eta=0.05"});
    cr_expect(numbers_of(&other, "a.weight")[0] != numbers_of(&once, "a.weight")[0]);
    run_close(&other);
    /* stopped after step 50 of 100, and gone on with by another process's trainer */
    struct training_run first, rest;
    cr_assert_eq(run_open(&first, graph(50), (struct run_options){0}), 0, "%s", first.message);
    cr_assert_eq(run_on(&first, 50), 0, "%s", first.message);
    struct flow_event event;
    do cr_assert_eq(run_next(&first, &event), 0, "%s", first.message);
    while (event.kind != FLOW_EVENT_CHECKPOINT);
    cr_assert_eq(event.step, 50);
    run_close(&first);
    RUN(&rest, graph(50), .resume = true);
    cr_assert_eq(run_event(&rest, FLOW_EVENT_STEP, NULL, 0)->step, 51);
    same_bits(&once, &rest, "gone on with at step 50");
    run_close(&once), run_close(&rest);
}

/* ---- What gets noise, and when ---- */

/* `a` of 1000 numbers, `rest` beside it. */
static const char *small(const char *rest, const char *update, const char *train) {
    static char text[2048];
    snprintf(text, sizeof text,
             "flow: 1\n"
             "nodes:\n"
             "  a: {op: parameter, with: {shape: [1000]}}\n"
             "  %s\n"
             "  sum: {op: sum, in: a}\n"
             "  loss: {op: mul, in: sum, with: {value: 0}}\n"
             "outputs: {loss: loss}\n"
             "train: {loss: loss, steps: 1, checkpoint: {dir: %s/runs}, update: [%s{params: \"*\", optimizer: sgd, with: {lr: 1}}], %s}\n",
             rest, folder, update, train);
    return text;
}

static double norm_of(const struct training_run *run, const char *name) {
    double square = 0;
    for (int i = 0; i < 1000; i++) square += run_value(run, name, i) * run_value(run, name, i);
    return sqrt(square);
}

Test(noise, none) {
    struct training_run run;
    RUN(&run, small("", "", "noise: {eta: 0}"), 0);
    cr_expect_eq(norm_of(&run, "a.weight"), 0);
    run_close(&run);
}

/* Neither what else is trained nor what is frozen changes a parameter's noise. */
Test(noise, a_parameters_own) {
    struct training_run alone, beside;
    RUN(&alone, small("", "", "noise: {eta: 0.1}"), 0);
    RUN(&beside,
        small("aa: {op: parameter, with: {shape: [7]}}\n  c: {op: parameter, with: {shape: [1000], init: ones}}",
              "{params: \"c.*\", optimizer: none}, ", "noise: {eta: 0.1}"),
        0);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(run_value(&alone, "a.weight", i), run_value(&beside, "a.weight", i));
        cr_assert_eq(run_value(&beside, "c.weight", i), 1);
    }
    run_close(&alone), run_close(&beside);
}

/* Noise, then clipping: the step is as long as the limit. The other way round the clipped gradient of 0 gets the whole noise. */
Test(noise, before_and_after_clipping) {
    struct training_run run, after;
    RUN(&run, small("", "", "clip_norm: 0.5, noise: {eta: 0.1}"), 0);
    cr_expect_float_eq(norm_of(&run, "a.weight"), 0.5, 1e-6);
    cr_expect_float_eq(run_event(&run, FLOW_EVENT_STEP, NULL, 0)->norm, sqrt(100), 0.3);
    RUN(&after, small("", "", "clip_norm: 0.5, noise: {eta: 0.1, after_clip: true}"), 0);
    cr_expect_float_eq(norm_of(&after, "a.weight"), sqrt(100), 0.3);
    const double share = run_value(&run, "a.weight", 3) / run_value(&after, "a.weight", 3);
    for (int i = 0; i < 1000; i++) cr_assert_float_eq(run_value(&run, "a.weight", i), share * run_value(&after, "a.weight", i), 1e-6);
    run_close(&run), run_close(&after);
}
