/* SPDX-License-Identifier: Apache-2.0 */
/* What a device does to the gradients of one group between backward and an optimiser's step (train/update.h says how it is used). */
#ifndef FLOW_DEVICE_TRAINING_H
#define FLOW_DEVICE_TRAINING_H

#include <flow/plugin.h>

/* Noise added to every element of every gradient: N(0, variance), independent over elements, steps and parameters.
 * Neelakantan et al. 2015, "Adding gradient noise improves learning for very deep networks": variance = eta / (1 + t)^gamma. */
struct update_noise {
    double variance;     /* 0: none at all; at most 1e37 */
    int64_t step;        /* t, from 0: the run of the Philox stream */
    const uint64_t *key; /* update_noise_key, for each parameter */
};

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

/* On a device apart. Queued on a flow_call.stream; 0, or the device's own error. `pass->workspace` and `sum` are the device's memory,
 * pass->call is not read; `sum` is brought to the host by the caller. */
struct device_training {
    int64_t (*workspace)(uint32_t count, const struct flow_tensor *grad);
    int (*prepare)(void *stream, const struct update_pass *pass, struct update_sum *sum);
    int (*add)(void *stream, uint32_t count, const struct flow_tensor *sum, const struct flow_tensor *grad); /* sum[i] += grad[i] */
};

#endif
