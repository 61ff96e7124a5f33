/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies between backward and an optimiser's step, over the gradients of one group, in one pass over memory: the mean over
 * micro-batches, gradients without their means, annealed normal noise, the norm for clipping, and whether any number is not one.
 *
 *   update_prepare(&pass, &sum);  clip = update_clip(limit, sum.square);  flow_update.scale = clip
 * and with noise after clipping
 *   update_prepare(without noise, &sum);  again with noise and .scale = clip, .centralize = false;  flow_update.scale = 1
 *
 * The norm of several groups: the sum of their `square`. All of it is the same for any number of threads.
 */
#ifndef FLOW_TRAIN_UPDATE_H
#define FLOW_TRAIN_UPDATE_H

#include <flow/plugin.h>

/* Noise added to every element of every gradient: N(0, variance), independent over elements, steps and parameters.
 * Neelakantan et al. 2015, "Adding gradient noise improves learning for very deep networks": variance = eta / (1 + t)^gamma. */
struct update_noise {
    double variance;     /* 0: none at all; at most 1e37 */
    int64_t step;        /* t, from 0: the run of the Philox stream */
    const uint64_t *key; /* update_noise_key, for each parameter */
};
/* `seed`: of the run and stage. Apart from the streams that initialise the parameter of that name. */
uint64_t update_noise_key(uint64_t seed, const char *name);
/* eta / (1 + t)^gamma */
double update_noise_variance(double eta, double gamma, int64_t step);

struct update_pass {
    const struct flow_call *call; /* whose host's threads do it */
    uint32_t count;
    bool centralize;                  /* of gradients of 2 axes and more the mean over all axes but the first is taken away, before noise */
    const struct flow_tensor *grad;   /* f32 or f64, contiguous, changed in place; rank -1: passed over */
    double scale;                     /* multiplied first: 1 / micro-batches */
    const struct update_noise *noise; /* or NULL */
    void *workspace;                  /* update_workspace bytes, 64-byte aligned */
};

struct update_sum {
    double square;  /* sum of squares of what the gradients are now, in f64 */
    int64_t broken; /* the first gradient with a number that is NaN or infinite, -1: none */
};

int64_t update_workspace(uint32_t count, const struct flow_tensor *grad);
void update_prepare(const struct update_pass *pass, struct update_sum *sum);

/* min(1, limit / (sqrt(square) + 1e-6)); 1 where the limit is 0: no clipping. */
double update_clip(double limit, double square);

#endif
