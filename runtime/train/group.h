/* SPDX-License-Identifier: Apache-2.0 */
/* The groups of `update:`: who owns which parameter, and what happens to it at a step. */
#ifndef FLOW_TRAIN_GROUP_H
#define FLOW_TRAIN_GROUP_H

#include "device/device.h"
#include "graph/training.h"
#include "train/program.h"

struct group {
    const struct training_update *update;
    const struct flow_optimizer *optimizer;        /* NULL: none */
    int (*step)(const struct flow_update *update); /* where the device is */
    int64_t (*workspace)(const struct flow_update *update);
    uint32_t count;
    size_t *params; /* of the instance */
    const char **names;
    uint64_t *keys;                                   /* of gradient noise */
    struct flow_tensor *param, *grad, *value, *state; /* state[s * count + i] */
    uint32_t states;
    int64_t steps; /* updates made */
    size_t pass;   /* whose gradients it follows */
    size_t ref;    /* of `value`; SIZE_MAX */
    uint64_t seed;
    double square; /* of this step's gradients */
};

struct groups {
    const struct allocator *from;
    struct arena arena;
    struct device *device;
    struct model *model;
    const struct training *training;
    struct group *at;
    size_t count;
    void *memory; /* states and what micro-batches add up in */
    int64_t memory_bytes;
    struct flow_tensor *sums; /* by param of the instance: sums over micro-batches; rank -1 */
    void *workspace;
    int64_t workspace_bytes;
    struct stream *stream; /* a device apart; NULL */
    struct flow_host host;
    struct flow_call call;
    char message[512];
    int failed;
    uint64_t seed; /* of noise */
};

/* Which group of `training` owns the parameter: index, or -1. */
int32_t groups_owner(const struct training *training, const char *parameter);
bool groups_with_gradient(const struct training_update *update);

/* Groups over the parameters of the program's instance. `refs`: index, by update, of its `value` among the program's refs. */
int must_use groups_new(const struct allocator *from, struct device *device, struct model *model, const struct training *training,
                        const struct program *program, const size_t *passes, const size_t *refs, uint64_t seed, struct report *report,
                        struct groups **out);
void groups_free(struct groups *groups);
/* Optimisers' states of `before` go on in the groups that have the like optimiser and parameter. */
int must_use groups_keep(struct groups *groups, const struct groups *before);

/* Adds the program's gradients to the sums, where a step has several micro-batches. `first`: overwrites. */
int must_use groups_add(struct groups *groups, const struct program *program, bool first);
/* One update. step: of the stage, from 0. rate: of the schedule. loss: by pass. *norm receives the gradients' norm before clipping. Fails
 * before anything was changed where a gradient is not finite. */
struct groups_step {
    int64_t step;
    double rate;
    const double *loss;
    double norm; /* result; NaN: no gradients */
};
int must_use groups_update(struct groups *groups, const struct program *program, struct groups_step *step, struct report *report);

/* `*` in `from` stands for the same text in `to`. False: `name` does not match `from`; *out is the arena's, NULL without memory. */
bool pattern_map(struct arena *arena, const char *from, const char *to, const char *name, const char **out);

#endif
