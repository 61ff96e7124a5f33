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

#include "device/training.h"

/* `seed`: of the run and stage. Apart from the streams that initialise the parameter of that name. */
uint64_t update_noise_key(uint64_t seed, const char *name);
/* eta / (1 + t)^gamma */
double update_noise_variance(double eta, double gamma, int64_t step);

int64_t update_workspace(uint32_t count, const struct flow_tensor *grad);
void update_prepare(const struct update_pass *pass, struct update_sum *sum);

/* min(1, limit / (sqrt(square) + 1e-6)); 1 where the limit is 0: no clipping. */
double update_clip(double limit, double square);

#endif
