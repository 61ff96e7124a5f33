/* SPDX-License-Identifier: Apache-2.0 */
/* What the learning rate is multiplied by, step by step. */
#ifndef FLOW_TRAIN_SCHEDULE_H
#define FLOW_TRAIN_SCHEDULE_H

#include <stdint.h>

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_STEP, SCHEDULE_INVERSE_SQRT, SCHEDULE_KINDS };
extern const char *const schedule_words[SCHEDULE_KINDS]; /* as a graph writes them */

struct schedule {
    enum schedule_kind kind;
    int64_t warmup; /* steps of (t + 1)/warmup that come first */
    double final;   /* linear, cosine: where the last step would arrive */
    int64_t every;  /* step: steps, after the warm-up, from one change to the next */
    double factor;  /* step: what each change multiplies by */
};

/* At step t of the stage, from 0. `steps`: the stage's length; 0 where it is a time: then `progress` is the share of it that has passed,
 * which linear and cosine follow after the warm-up. */
double schedule_rate(const struct schedule *schedule, int64_t t, int64_t steps, double progress);

#endif
