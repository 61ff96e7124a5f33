/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/statistics.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 1000, SAMPLES_MOST = 1000 /* for the bootstrap: more are thinned */ };

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Linear between neighbours. */
static double quantile(const double *sorted, size_t count, double q) {
    double at = q * (double)(count - 1);
    size_t i = (size_t)at;
    return i + 1 < count ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[count - 1];
}

bool statistics_summary(const double *samples, size_t count, struct summary *out) {
    *out = (struct summary){0};
    double *sorted = count ? malloc(count * sizeof *sorted) : NULL;
    if (!sorted) return false;
    memcpy(sorted, samples, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_value);
    out->median = quantile(sorted, count, 0.5), out->least = sorted[0], out->most = sorted[count - 1];
    out->p90 = quantile(sorted, count, 0.9), out->p99 = quantile(sorted, count, 0.99);
    for (size_t i = 0; i < count; i++) out->mean += sorted[i], out->deviation += fabs(sorted[i] - out->median);
    out->mean /= (double)count, out->deviation /= (double)count;
    free(sorted);
    return true;
}

/* ---- Comparing ---- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The median of a sample of `count` values in blocks; `room` holds it. */
static double resampled_median(const double *values, size_t count, double *room, uint64_t *state) {
    size_t block = (size_t)cbrt((double)count);
    if (block < 1) block = 1;
    for (size_t i = 0; i < count;) {
        size_t from = (size_t)(next_random(state) % count);
        for (size_t k = 0; k < block && i < count; k++) room[i++] = values[(from + k) % count];
    }
    qsort(room, count, sizeof *room, by_value);
    return quantile(room, count, 0.5);
}

static double two_sided(double z) { return erfc(fabs(z) / sqrt(2)); }

struct ranked {
    double value;
    bool second;
};

static int by_rank(const void *a, const void *b) {
    return by_value(&((const struct ranked *)a)->value, &((const struct ranked *)b)->value);
}

/* Normal approximation, ties corrected. -1: no memory. */
static double mann_whitney(const double *first, size_t m, const double *second, size_t n) {
    struct ranked *all = malloc((m + n) * sizeof *all);
    if (!all) return -1;
    for (size_t i = 0; i < m; i++) all[i] = (struct ranked){first[i], false};
    for (size_t i = 0; i < n; i++) all[m + i] = (struct ranked){second[i], true};
    qsort(all, m + n, sizeof *all, by_rank);
    double sum = 0, ties = 0, total = (double)(m + n);
    for (size_t i = 0; i < m + n;) {
        size_t j = i;
        while (j < m + n && all[j].value <= all[i].value) j++;
        double rank = 0.5 * (double)(i + 1 + j), same = (double)(j - i);
        for (size_t k = i; k < j; k++) sum += all[k].second ? rank : 0;
        ties += same * same * same - same;
        i = j;
    }
    free(all);
    double u = sum - 0.5 * (double)n * (double)(n + 1), mean = 0.5 * (double)m * (double)n;
    double variance = (double)m * (double)n / 12 * (total + 1 - ties / (total * (total - 1)));
    return variance > 0 ? two_sided((u - mean) / sqrt(variance)) : 1;
}

static double sign_test(const double *ratios, size_t count) {
    double above = 0, used = 0;
    for (size_t i = 0; i < count; i++)
        if (ratios[i] < 1 || ratios[i] > 1) used++, above += ratios[i] > 1;
    return used > 0 ? two_sided((above - used / 2) / sqrt(used / 4)) : 1;
}

/* At most SAMPLES_MOST of them, evenly spread, in order. */
static size_t thin(const double *samples, size_t count, double *out) {
    size_t kept = count < SAMPLES_MOST ? count : SAMPLES_MOST;
    for (size_t i = 0; i < kept; i++) out[i] = samples[i * count / kept];
    return kept;
}

static void interval(double ratios[RESAMPLES], struct comparison *out) {
    qsort(ratios, RESAMPLES, sizeof *ratios, by_value);
    out->low = quantile(ratios, RESAMPLES, 0.025), out->high = quantile(ratios, RESAMPLES, 0.975);
}

static void compare_pairs(const double *first, const double *second, size_t count, double *work, struct comparison *out) {
    double ratios[RESAMPLES], *pairs = work, *room = work + SAMPLES_MOST;
    uint64_t state = 1;
    for (size_t i = 0; i < count; i++) pairs[i] = first[i] > 0 ? second[i] / first[i] : 1;
    memcpy(room, pairs, count * sizeof *pairs);
    qsort(room, count, sizeof *room, by_value);
    out->ratio = quantile(room, count, 0.5), out->p = sign_test(pairs, count);
    for (int r = 0; r < RESAMPLES; r++) ratios[r] = resampled_median(pairs, count, room, &state);
    interval(ratios, out);
}

bool statistics_compare(const double *first, size_t first_count, const double *second, size_t second_count, bool paired,
                        struct comparison *out) {
    *out = (struct comparison){1, 1, 1, 1};
    if (!first_count || !second_count) return false;
    double *work = malloc(4 * SAMPLES_MOST * sizeof *work);
    if (!work) return false;
    double *a = work, *b = work + SAMPLES_MOST, *rest = work + 2 * SAMPLES_MOST, ratios[RESAMPLES];
    if (paired) {
        size_t count = first_count < second_count ? first_count : second_count;
        size_t kept = thin(first, count, a);
        thin(second, count, b);
        compare_pairs(a, b, kept, rest, out);
        free(work);
        return true;
    }
    size_t m = thin(first, first_count, a), n = thin(second, second_count, b);
    struct summary one, two;
    uint64_t state = 1;
    out->p = mann_whitney(a, m, b, n);
    bool good = out->p >= 0 && statistics_summary(a, m, &one) && statistics_summary(b, n, &two);
    if (good && one.median > 0) out->ratio = two.median / one.median;
    for (int r = 0; r < RESAMPLES && good; r++) {
        double before = resampled_median(a, m, rest, &state), after = resampled_median(b, n, rest, &state);
        ratios[r] = before > 0 ? after / before : 1;
    }
    if (good) interval(ratios, out);
    free(work);
    return good;
}
