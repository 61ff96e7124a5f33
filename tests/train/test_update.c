/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients before the step: means, noise and its statistics, norms, clipping, broken numbers; schedules. */
#include "train/hand_group.h"
#include "train/schedule.h"
#include "train/update.h"

#include <flow/random.h>

static struct update_sum prepare(struct group *group, double scale, bool centralize, const struct update_noise *noise) {
    void *workspace = aligned_alloc(64, ((size_t)update_workspace(group->count, group->grad) + 64) / 64 * 64);
    struct update_sum sum;
    update_prepare(&(struct update_pass){.call = &group->call,
                                         .count = group->count,
                                         .centralize = centralize,
                                         .grad = group->grad,
                                         .scale = scale,
                                         .noise = noise,
                                         .workspace = workspace},
                   &sum);
    free(workspace);
    return sum;
}

/* ---- Without noise ---- */

static const int64_t shapes[][3] = {{1, 1, 1}, {0, 3, 1}, {3, 5, 1}, {63, 1, 1}, {2, 9, 7}, {301, 1003, 1}, {64, 1, 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void check_mean_and_norm(int32_t dtype, int isa, bool centralize) {
    struct group group;
    group_init(&group, NULL, "", 1, isa);
    for (int s = 0; s < SHAPES; s++) group_add(&group, dtype, s == 3 ? 1 : 3, shapes[s], (uint64_t)(s + 1));
    group.grad[SHAPES - 1].rank = -1;
    double square = 0, *expected[SHAPES] = {0};
    for (int s = 0; s < SHAPES; s++) {
        const struct flow_tensor *g = &group.grad[s];
        const int64_t count = group_elements(g), width = count && g->rank > 1 ? count / g->shape[0] : 1;
        expected[s] = calloc((size_t)count + 1, 8);
        for (int64_t k = 0; k < count; k++) expected[s][k] = group_get(g, k) * 0.25;
        for (int64_t row = 0; centralize && g->rank > 1 && row * width < count; row++) {
            double mean = 0;
            for (int64_t k = 0; k < width; k++) mean += expected[s][row * width + k] / (double)width;
            for (int64_t k = 0; k < width; k++) expected[s][row * width + k] -= mean;
        }
        for (int64_t k = 0; k < count; k++) square += expected[s][k] * expected[s][k];
    }
    struct update_sum sum = prepare(&group, 0.25, centralize, NULL);
    cr_expect(sum.broken == -1);
    cr_expect(fabs(sum.square - square) <= (dtype == FLOW_F64 ? 1e-12 : 1e-6) * square, "%.17g, expected %.17g", sum.square, square);
    for (int s = 0; s < SHAPES; s++) {
        for (int64_t k = 0; k < group_elements(&group.grad[s]); k++)
            cr_assert(fabs(group_get(&group.grad[s], k) - expected[s][k]) <= (dtype == FLOW_F64 ? 1e-15 : 1e-7));
        free(expected[s]);
    }
    const double again = prepare(&group, 1, false, NULL).square;
    cr_expect(fabs(again - sum.square) <= 1e-14 * again);
    group_end(&group);
}

Test(update, means_and_norms) {
    for (int isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++)
        for (int centralize = 0; centralize < 2; centralize++)
            check_mean_and_norm(FLOW_F32, isa, centralize), check_mean_and_norm(FLOW_F64, isa, centralize);
}

Test(update, broken_numbers) {
    static const struct {
        int32_t dtype;
        double value;
        bool broken;
    } cases[] = {{FLOW_F32, (double)NAN, true}, {FLOW_F32, (double)INFINITY, true}, {FLOW_F32, -(double)INFINITY, true},
                 {FLOW_F32, 3e38, false},       {FLOW_F64, (double)NAN, true},      {FLOW_F64, (double)INFINITY, true},
                 {FLOW_F64, 1e300, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int noisy = 0; noisy < 2; noisy++) {
            struct group group;
            uint64_t keys[3] = {1, 2, 3};
            const struct update_noise noise = {.variance = 1, .key = keys};
            group_init(&group, NULL, "", 1, -1);
            for (uint64_t k = 0; k < 3; k++) group_add(&group, cases[i].dtype, 1, (int64_t[]){200}, k);
            group_put(&group.grad[1], 77, cases[i].value), group_put(&group.grad[2], 3, cases[i].value);
            struct update_sum sum = prepare(&group, 1, false, noisy ? &noise : NULL);
            cr_expect(sum.broken == (cases[i].broken ? 1 : -1), "%g: %d", cases[i].value, (int)sum.broken);
            if (isnan(cases[i].value)) cr_expect(isnan(group_get(&group.grad[1], 77)), "NaN stays NaN");
            cr_expect(update_clip(1, sum.square) < 1e-30 || cases[i].broken);
            group_end(&group);
        }
}

Test(update, clip) {
    cr_expect(update_clip(1, 0.25) == 1);
    cr_expect(update_clip(0, 100) == 1, "no limit");
    cr_expect(fabs(update_clip(2, 16) - 2 / (4 + 1e-6)) < 1e-15);
    cr_expect(fabs(update_clip(1, 1) - 1 / (1 + 1e-6)) < 1e-15);
}

/* ---- Noise ---- */

/* The numbers of one gradient as the stream's definition has them, in f64. */
static double drawn(uint64_t key, int64_t step, int64_t i, double variance) {
    const int64_t block = i / 32, pair = i % 16;
    uint32_t words[4];
    flow_philox(key, (uint64_t)step, (uint64_t)(block * 8 + pair / 2), words);
    const uint32_t radius = words[pair % 2], angle = words[2 + pair % 2];
    const double u = ((double)(radius >> 1) + 0.5) * 0x1p-31, a = 3.14159265358979323846 / 2 * (double)(int32_t)angle * 0x1p-31;
    const double r = sqrt(-2 * variance * log(u > 1 ? 1 : u));
    return i % 32 < 16 ? (angle & 1 ? -1 : 1) * r * cos(a) : r * sin(a);
}

Test(update, noise_is_the_streams) {
    for (int isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++)
        for (int type = 0; type < 2; type++)
            for (int64_t step = 0; step < 5000000000; step += 4999999999) {
                static const int64_t counts[] = {1, 31, 32, 50, 64, 100, 40000, 0, 200};
                struct group group;
                uint64_t key[9];
                group_init(&group, NULL, "", 1, isa);
                for (int i = 0; i < 9; i++) {
                    char name[32];
                    snprintf(name, sizeof name, "p%d.weight", i);
                    key[i] = update_noise_key(42, name);
                    group_add(&group, type ? FLOW_F64 : FLOW_F32, 1, &counts[i], (uint64_t)i);
                    memcpy(group.param[i].data, group.grad[i].data, (size_t)counts[i] * (type ? 8 : 4));
                }
                const struct update_noise noise = {.variance = 0.3, .step = step, .key = key};
                struct update_sum sum = prepare(&group, 0.5, false, &noise);
                double square = 0;
                for (int i = 0; i < 9; i++)
                    for (int64_t k = 0; k < counts[i]; k++) {
                        const double expected = 0.5 * group_get(&group.param[i], k) + drawn(key[i], step, k, 0.3);
                        const double found = group_get(&group.grad[i], k);
                        cr_assert(fabs(found - expected) <= 3e-6, "isa %d, gradient %d, element %d: %.9g, expected %.9g", isa, i, (int)k,
                                  found, expected);
                        square += found * found;
                    }
                cr_expect(fabs(sum.square - square) <= 1e-6 * square);
                group_end(&group);
            }
}

static const struct update_noise *noise_at(struct update_noise *noise, double eta, double gamma, int64_t step) {
    noise->variance = update_noise_variance(eta, gamma, step), noise->step = step;
    return noise;
}

/* Specification of gradient noise, acceptance 1: 100 steps of eta 0.1 on two parameters of 500,000 numbers with gradient 0. */
Test(update, noise_statistics, .timeout = 120) {
    enum { COUNT = 500000, STEPS = 100 };
    static float sum[2][COUNT], early[COUNT], late[COUNT];
    struct group group;
    uint64_t key[2] = {update_noise_key(7, "a.weight"), update_noise_key(7, "b.weight")};
    struct update_noise noise = {.key = key};
    group_init(&group, NULL, "", 2, -1);
    for (int p = 0; p < 2; p++) group_add(&group, FLOW_F32, 1, (int64_t[]){COUNT}, 0);
    double variance = 0;
    memset(sum, 0, sizeof sum);
    for (int t = 0; t < STEPS; t++) {
        noise_at(&noise, 0.1, 0.55, t), variance += noise.variance;
        for (int p = 0; p < 2; p++) memset(group.grad[p].data, 0, COUNT * sizeof(float));
        cr_assert(prepare(&group, 1, false, &noise).broken == -1);
        for (int p = 0; p < 2; p++)
            for (int i = 0; i < COUNT; i++) sum[p][i] += ((float *)group.grad[p].data)[i];
        if (t == 3) memcpy(early, group.grad[0].data, sizeof early);
        if (t == 4) memcpy(late, group.grad[0].data, sizeof late);
    }
    cr_expect(fabs(variance - 1.60127) < 1e-5, "%.6f", variance);
    double between = 0, increments = 0, neighbours = 0;
    for (int p = 0; p < 2; p++) {
        double mean = 0, square = 0, fourth = 0, third = 0;
        for (int i = 0; i < COUNT; i++) mean += (double)sum[p][i] / COUNT;
        for (int i = 0; i < COUNT; i++) {
            const double d = (double)sum[p][i] - mean;
            square += d * d / COUNT, third += d * d * d / COUNT, fourth += d * d * d * d / COUNT;
        }
        cr_expect(fabs(mean) < 0.01, "mean %g", mean);
        cr_expect(fabs(square / variance - 1) < 0.01, "variance %g, expected %g", square, variance);
        cr_expect(fabs(fourth / (square * square) - 3) < 0.03, "kurtosis %g", fourth / (square * square));
        cr_expect(fabs(third / pow(square, 1.5)) < 0.02, "skewness %g", third / pow(square, 1.5));
    }
    double single = 0, kurtosis = 0, extreme = 0;
    for (int i = 0; i < COUNT; i++) {
        between += (double)sum[0][i] * (double)sum[1][i] / COUNT / variance;
        increments += (double)early[i] * (double)late[i] / COUNT;
        if (i) neighbours += (double)early[i] * (double)early[i - 1] / COUNT;
        const double square = (double)early[i] * (double)early[i];
        single += square / COUNT, kurtosis += square * square / COUNT;
        if (sqrt(square) > extreme) extreme = sqrt(square);
    }
    cr_expect(fabs(between) < 0.01, "correlation between parameters %g", between);
    cr_expect(fabs(increments / single) < 0.01, "correlation between steps %g", increments / single);
    cr_expect(fabs(neighbours / single) < 0.01, "correlation between neighbours %g", neighbours / single);
    cr_expect(fabs(kurtosis / (single * single) - 3) < 0.03, "kurtosis of one step %g", kurtosis / (single * single));
    cr_expect(extreme / sqrt(single) > 4 && extreme / sqrt(single) < 6.7, "largest %g deviations", extreme / sqrt(single));
    group_end(&group);
}

/* A sine and a cosine of one angle, and the halves of a Philox block, are uncorrelated in their squares too. */
Test(update, noise_is_independent) {
    enum { COUNT = 1 << 20 };
    struct group group;
    uint64_t key = update_noise_key(3, "w");
    const struct update_noise noise = {.variance = 1, .key = &key};
    group_init(&group, NULL, "", 1, -1);
    group_add(&group, FLOW_F32, 1, (int64_t[]){COUNT}, 0);
    memset(group.grad[0].data, 0, COUNT * sizeof(float));
    prepare(&group, 1, false, &noise);
    const float *g = group.grad[0].data;
    static const int lags[] = {1, 2, 15, 16, 17, 31, 32, 64};
    for (size_t l = 0; l < sizeof lags / sizeof *lags; l++) {
        double product = 0, squares = 0;
        for (int i = lags[l]; i < COUNT; i++) {
            const double a = (double)g[i], b = (double)g[i - lags[l]];
            product += a * b / COUNT, squares += (a * a - 1) * (b * b - 1) / COUNT;
        }
        cr_expect(fabs(product) < 5e-3, "lag %d: %g", lags[l], product);
        cr_expect(fabs(squares) < 1e-2, "lag %d, squares: %g", lags[l], squares);
    }
    int inside = 0;
    for (int i = 0; i < COUNT; i++) inside += fabsf(g[i]) < 0.67448975f;
    cr_expect(fabs((double)inside / COUNT - 0.5) < 3e-3);
    group_end(&group);
}

Test(update, threads_and_repetition) {
    static const int64_t counts[] = {100000, 7, 50, 300000, 1000, 64, 200001};
    enum { COUNT = sizeof counts / sizeof *counts };
    static struct group groups[2];
    struct update_sum sums[2][2];
    uint64_t key[COUNT];
    for (int i = 0; i < COUNT; i++) key[i] = update_noise_key((uint64_t)i, "w");
    for (int k = 0; k < 2; k++) {
        group_init(&groups[k], NULL, "", k ? 5 : 1, -1);
        for (int i = 0; i < COUNT; i++) group_add(&groups[k], FLOW_F32, 2, (int64_t[]){1, counts[i]}, (uint64_t)i);
        const struct update_noise noise = {.variance = 0.5, .step = 3, .key = key};
        sums[k][0] = prepare(&groups[k], 0.5, true, &noise), sums[k][1] = prepare(&groups[k], 0.5, false, NULL);
    }
    cr_expect(memcmp(&sums[0], &sums[1], sizeof sums[0]) == 0, "threads change the norm");
    for (int i = 0; i < COUNT; i++)
        cr_expect(memcmp(groups[0].grad[i].data, groups[1].grad[i].data, (size_t)counts[i] * 4) == 0, "threads change gradient %d", i);
    group_end(&groups[0]), group_end(&groups[1]);
}

/* Another seed, name or step is another stream; variance 0 is exactly none. */
Test(update, streams_differ) {
    struct group group;
    uint64_t keys[4] = {update_noise_key(1, "a"), update_noise_key(2, "a"), update_noise_key(1, "b"), update_noise_key(1, "a")};
    struct update_noise noise = {.variance = 1, .key = keys};
    group_init(&group, NULL, "", 1, -1);
    for (int i = 0; i < 4; i++) group_add(&group, FLOW_F32, 1, (int64_t[]){4}, 1), memset(group.grad[i].data, 0, 16);
    prepare(&group, 1, false, &noise);
    cr_expect(memcmp(group.grad[0].data, group.grad[3].data, 16) == 0);
    cr_expect(memcmp(group.grad[0].data, group.grad[1].data, 16) != 0 && memcmp(group.grad[0].data, group.grad[2].data, 16) != 0);
    uint32_t words[4];
    flow_philox(flow_key(1, "a"), 0, 0, words); /* what initialises a parameter of that name */
    cr_expect(fabs(drawn(flow_key(1, "a"), 0, 0, 1) - group_get(&group.grad[0], 0)) > 1e-3);
    noise.step = 1;
    memcpy(group.grad[1].data, group.grad[0].data, 16);
    memset(group.grad[0].data, 0, 16);
    prepare(&group, 1, false, &noise);
    cr_expect(memcmp(group.grad[0].data, group.grad[1].data, 16) != 0);
    memcpy(group.grad[1].data, group.grad[0].data, 16);
    noise.variance = update_noise_variance(0, 0.55, 9);
    prepare(&group, 1, false, &noise);
    cr_expect(memcmp(group.grad[0].data, group.grad[1].data, 16) == 0);
    group_end(&group);
}

/* ---- Schedules ---- */

static double rate(const struct schedule *s, int64_t t) { return schedule_rate(s, t, 10, 0); }

Test(schedule, kinds) {
    const struct schedule constant = {.kind = SCHEDULE_CONSTANT, .warmup = 4};
    cr_expect(rate(&constant, 0) == 0.25 && rate(&constant, 3) == 1 && rate(&constant, 4) == 1 && rate(&constant, 9) == 1);
    const struct schedule linear = {.kind = SCHEDULE_LINEAR, .final = 0.1};
    cr_expect(rate(&linear, 0) == 1 && fabs(rate(&linear, 5) - 0.55) < 1e-15 && fabs(rate(&linear, 9) - 0.19) < 1e-15);
    const struct schedule cosine = {.kind = SCHEDULE_COSINE, .warmup = 2, .final = 0.2};
    cr_expect(rate(&cosine, 0) == 0.5 && rate(&cosine, 1) == 1 && rate(&cosine, 2) == 1);
    cr_expect(fabs(rate(&cosine, 6) - 0.6) < 1e-15, "half way");
    cr_expect(fabs(rate(&cosine, 4) - (0.2 + 0.8 * (1 + cos(3.14159265358979323846 / 4)) / 2)) < 1e-15);
    cr_expect(fabs(rate(&cosine, 100) - 0.2) < 1e-15, "beyond the end it stays");
    const struct schedule step = {.kind = SCHEDULE_STEP, .warmup = 1, .every = 3, .factor = 0.5};
    cr_expect(rate(&step, 0) == 1 && rate(&step, 1) == 1 && rate(&step, 3) == 1 && rate(&step, 4) == 0.5 && rate(&step, 7) == 0.25);
    const struct schedule root = {.kind = SCHEDULE_INVERSE_SQRT, .warmup = 4};
    cr_expect(rate(&root, 1) == 0.5 && rate(&root, 3) == 1 && rate(&root, 15) == 0.5);
    const struct schedule bare = {.kind = SCHEDULE_INVERSE_SQRT};
    cr_expect(rate(&bare, 0) == 1 && rate(&bare, 3) == 0.5);
}

/* A stage of so many seconds: linear and cosine follow the share of time; a warm-up as long as the stage divides by nothing. */
Test(schedule, lengths) {
    const struct schedule linear = {.kind = SCHEDULE_LINEAR, .warmup = 2};
    cr_expect(schedule_rate(&linear, 0, 0, 0.1) == 0.5 && schedule_rate(&linear, 7, 0, 0.25) == 0.75 &&
              schedule_rate(&linear, 7, 0, 2) == 0);
    cr_expect(schedule_rate(&linear, 2, 2, 0) == 0 && schedule_rate(&linear, 1, 2, 0) == 1);
    cr_expect(strcmp(schedule_words[SCHEDULE_INVERSE_SQRT], "inverse_sqrt") == 0 &&
              strcmp(schedule_words[SCHEDULE_CONSTANT], "constant") == 0);
}
