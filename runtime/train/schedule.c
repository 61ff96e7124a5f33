/* SPDX-License-Identifier: Apache-2.0 */
#include "train/schedule.h"

#include <math.h>

const char *const schedule_words[SCHEDULE_KINDS] = {"constant", "linear", "cosine", "step", "inverse_sqrt"};

static double share(const struct schedule *s, int64_t t, int64_t steps, double progress) {
    double u = steps > s->warmup ? (double)(t - s->warmup) / (double)(steps - s->warmup) : steps > 0 ? 1 : progress;
    return u < 0 ? 0 : u > 1 ? 1 : u;
}

double schedule_rate(const struct schedule *s, int64_t t, int64_t steps, double progress) {
    if (t < s->warmup) return (double)(t + 1) / (double)s->warmup;
    switch (s->kind) {
    case SCHEDULE_LINEAR: return 1 - share(s, t, steps, progress) * (1 - s->final);
    case SCHEDULE_COSINE: return s->final + (1 - s->final) * (1 + cos(3.14159265358979323846 * share(s, t, steps, progress))) / 2;
    case SCHEDULE_STEP: return pow(s->factor, s->every > 0 ? (double)((t - s->warmup) / s->every) : 0);
    /* 1 at the end of the warm-up, then as 1/sqrt(t): Vaswani et al. 2017, "Attention is all you need", equation 3. */
    case SCHEDULE_INVERSE_SQRT: return sqrt((double)(s->warmup > 1 ? s->warmup : 1) / (double)(t + 1));
    default: return 1;
    }
}
