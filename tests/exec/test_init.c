/* SPDX-License-Identifier: Apache-2.0 */
/* Initial values: distributions beyond their first two moments, fans of convolutions, independence of elements and of parameters. */
#include "base/half.h"
#include "exec/context.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 1 << 18 };
static double x[COUNT], y[COUNT];

static void make(double *to, int32_t rank, const int64_t *shape, const char *init, uint64_t seed) {
    struct flow_tensor t = {.data = to, .dtype = FLOW_F64, .rank = rank};
    int64_t step = 1;
    for (int32_t a = rank - 1; a >= 0; a--) t.shape[a] = shape[a], t.strides[a] = step, step *= shape[a];
    char why[256] = "";
    cr_assert_eq(tensor_initialise(&memory_default, &t, init, seed, why, sizeof why), 0, "%s", why);
}

static double moment(const double *v, int64_t count, double mean, int power) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += pow(v[i] - mean, power);
    return sum / (double)count;
}

/* Each distribution's skewness and kurtosis, and where its middle half lies. */
Test(init, distributions) {
    static const struct {
        const char *init;
        double mean, deviation, kurtosis, quarter; /* the third quartile, in deviations from the mean */
    } cases[] = {{"uniform(-1, 3)", 1, 1.1547005384, 1.8, 0.8660254},
                 {"normal(0.5)", 0, 0.5, 3, 0.6744898},
                 {"normal(-3, 2)", -3, 2, 3, 0.6744898},
                 {"truncated_normal(1)", 0, 0.8796257, 2.3655, 0.7305},
                 {"xavier_normal", 0, 0.04419417, 3, 0.6744898},
                 {"kaiming_normal", 0, 0.0625, 3, 0.6744898},
                 {"xavier_uniform", 0, 0.04419417, 1.8, 0.8660254},
                 {"kaiming_uniform(sqrt(5))", 0, 0.025515518, 1.8, 0.8660254},
                 {"kaiming_uniform", 0, 0.0625, 1.8, 0.8660254}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        make(x, 2, (int64_t[]){512, 512}, cases[c].init, 11);
        const double mean = moment(x, COUNT, 0, 1), square = moment(x, COUNT, mean, 2), deviation = sqrt(square);
        int64_t inside = 0;
        for (int64_t i = 0; i < COUNT; i++) inside += fabs(x[i] - cases[c].mean) < cases[c].quarter * cases[c].deviation;
        cr_expect(fabs(mean - cases[c].mean) < 0.01 * cases[c].deviation, "%s: mean %g", cases[c].init, mean);
        cr_expect(fabs(deviation / cases[c].deviation - 1) < 0.006, "%s: deviation %g", cases[c].init, deviation);
        cr_expect(fabs(moment(x, COUNT, mean, 3) / pow(deviation, 3)) < 0.025, "%s: skewness", cases[c].init);
        cr_expect(fabs(moment(x, COUNT, mean, 4) / (square * square) - cases[c].kurtosis) < 0.05, "%s: kurtosis %g", cases[c].init,
                  moment(x, COUNT, mean, 4) / (square * square));
        cr_expect(fabs((double)inside / COUNT - 0.5) < 0.005, "%s: %g of the numbers in the middle half", cases[c].init,
                  (double)inside / COUNT);
    }
}

/* [out, in, kh, kw]: fan-in is in * kh * kw, fan-out out * kh * kw. */
Test(init, fans_of_convolutions) {
    static const struct {
        const char *init;
        double deviation;
    } cases[] = {{"kaiming_normal", 0.0589255651}, /* sqrt(2 / (64 * 9)) */
                 {"xavier_normal", 0.0340206909},  /* sqrt(2 / ((64 + 128) * 9)) */
                 {"xavier_uniform", 0.0340206909},
                 {"kaiming_uniform(1)", 0.0416666667}}; /* sqrt(1 / (64 * 9)) */
    const int64_t count = 128 * 64 * 9;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        make(x, 4, (int64_t[]){128, 64, 3, 3}, cases[c].init, 3);
        cr_expect(fabs(sqrt(moment(x, count, 0, 2)) / cases[c].deviation - 1) < 0.015, "%s: %g", cases[c].init,
                  sqrt(moment(x, count, 0, 2)));
    }
    make(x, 1, (int64_t[]){4096}, "kaiming_normal", 3); /* a vector: its length */
    cr_expect(fabs(sqrt(moment(x, 4096, 0, 2)) / sqrt(2.0 / 4096) - 1) < 0.06);
}

/* Correlations between neighbours, rows, and parameters of other seeds; the same seed gives the same numbers in f32 as in f64. */
Test(init, independence) {
    static const char *const inits[] = {"normal(1)", "uniform(-1.7320508, 1.7320508)", "truncated_normal(1.136847)"};
    for (int k = 0; k < 3; k++) {
        make(x, 2, (int64_t[]){512, 512}, inits[k], 1), make(y, 2, (int64_t[]){512, 512}, inits[k], 2);
        static const int lags[] = {1, 2, 4, 512};
        for (int l = 0; l < 4; l++) {
            double sum = 0;
            for (int64_t i = lags[l]; i < COUNT; i++) sum += x[i] * x[i - lags[l]] / COUNT;
            cr_expect(fabs(sum) < 0.01, "%s, lag %d: %g", inits[k], lags[l], sum);
        }
        double sum = 0;
        for (int64_t i = 0; i < COUNT; i++) sum += x[i] * y[i] / COUNT;
        cr_expect(fabs(sum) < 0.01, "%s, another seed: %g", inits[k], sum);
    }
    static float narrow[1000];
    struct flow_tensor t = {.data = narrow, .dtype = FLOW_F32, .rank = 1, .shape = {1000}, .strides = {1}};
    char why[64];
    cr_assert_eq(tensor_initialise(&memory_default, &t, "normal(1)", 5, why, sizeof why), 0);
    make(x, 1, (int64_t[]){1000}, "normal(1)", 5);
    for (int i = 0; i < 1000; i++) cr_assert(narrow[i] == (float)x[i]);
}

/* Orthonormal rows of [out, rest], whatever the rank; signs and directions without preference. */
Test(init, orthogonal) {
    make(x, 4, (int64_t[]){20, 5, 3, 3}, "orthogonal", 9);
    for (int a = 0; a < 20; a++)
        for (int b = 0; b < 20; b++) {
            double dot = 0;
            for (int i = 0; i < 45; i++) dot += x[a * 45 + i] * x[b * 45 + i];
            cr_assert(fabs(dot - (a == b)) < 1e-12);
        }
    double sum = 0, square = 0, diagonal = 0;
    enum { DRAWS = 2000, SIDE = 4 };
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        make(x, 2, (int64_t[]){SIDE, SIDE}, "orthogonal", seed);
        for (int i = 0; i < SIDE * SIDE; i++) sum += x[i] / (SIDE * SIDE), square += x[i] * x[i] / (SIDE * SIDE);
        for (int i = 0; i < SIDE; i++) diagonal += x[i * SIDE + i] / SIDE;
    }
    cr_expect(fabs(sum / DRAWS) < 0.015, "%g", sum / DRAWS);
    cr_expect(fabs(diagonal / DRAWS) < 0.03, "%g", diagonal / DRAWS);
    cr_expect(fabs(square / DRAWS - 1.0 / SIDE) < 1e-9);
}

Test(init, gates) {
    make(x, 1, (int64_t[]){300}, "uniform_except(-0.5, 0.5, 100, 200, 1)", 4);
    double square = 0;
    for (int i = 0; i < 300; i++) {
        cr_assert((x[i] == 1) == (i >= 100 && i < 200));
        if (x[i] != 1) square += x[i] * x[i] / 200;
    }
    cr_expect(fabs(square - 1.0 / 12) < 0.02);
}
