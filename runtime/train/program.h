/* SPDX-License-Identifier: Apache-2.0 */
/* A network made ready to be run again and again on batches: in training with its gradients, or in inference. Plans are kept by extents. */
#ifndef FLOW_TRAIN_PROGRAM_H
#define FLOW_TRAIN_PROGRAM_H

#include "exec/exec.h"
#include "graph/training.h"

struct program;

/* One walk backward: the weighted sum of losses, and by which parameters. */
struct program_pass {
    const struct training_loss *losses;
    size_t count;
};

struct program_options {
    const struct allocator *from;
    const struct network *network;
    struct model *model;
    const struct flow_host *host;
    int32_t phase, precision, streams;
    bool seeded, profile;
    bool changing; /* inference between the steps of a training, whose parameters it reads */
    uint64_t seed;
    const struct network_ref *refs; /* values wanted from every run */
    size_t ref_count;
    const struct program_pass *passes;
    size_t pass_count;
    const struct network_rename *renames; /* from the network's names of parameters to the model's */
    size_t rename_count;
    /* The pass whose gradient a parameter follows; -1: none. */
    int32_t (*pass_of)(void *context, const char *parameter);
    void *context;
};

int must_use program_new(const struct program_options *options, struct report *report, struct program **out);
void program_free(struct program *program);
/* A plan for inputs of these types and extents, not bound: the instance and its values' types, before parameters have values. */
int must_use program_shape(struct program *program, const struct flow_tensor *inputs, struct report *report);
/* A plan for inputs of these types and extents (data are not looked at), bound; parameters get their values. */
int must_use program_plan(struct program *program, const struct flow_tensor *inputs, struct report *report);
/* One run; `number`: what random operators draw by. */
int must_use program_run(struct program *program, const struct flow_tensor *inputs, uint64_t number, struct report *report);
/* Of the last run. */
const struct flow_tensor *program_value(const struct program *program, size_t ref);       /* in memory of the host; NULL: it ran out */
const struct flow_tensor *program_value_there(const struct program *program, size_t ref); /* where the run left it */
/* By index into the instance's params; NULL: none. */
const struct flow_tensor *program_gradient(const struct program *program, size_t param);
const struct instance *program_instance(const struct program *program); /* of the plan in hand; NULL */
const struct plan *program_planned(const struct program *program);
struct context *program_context(const struct program *program);
/* Lets go of all plans: before the model's packed parameters are forgotten. What is kept from run to run goes too. */
void program_forget(struct program *program);

#endif
