/* SPDX-License-Identifier: Apache-2.0 */
/* Training: stages in turn, each a loop of steps with validations and checkpoints between them. The caller asks for the next event; nothing
 * happens on its own but reading ahead and writing behind. */
#ifndef FLOW_TRAIN_TRAINER_H
#define FLOW_TRAIN_TRAINER_H

#include "device/device.h"
#include "exec/exec.h"
#include "graph/training.h"
#include "io/io.h"

struct trainer;

/* How the graph file is read, again for each stage. All of it must stay. */
struct trainer_reading {
    const struct allocator *from;
    struct registry *registry;
    const char *path, *text;
    size_t length;
    const char *const *set;
    size_t set_count;
};

struct trainer_options {
    struct trainer_reading reading;
    const struct network *network; /* the file read without a stage */
    struct device *device;
    struct io_loop *loop;
    struct model *model; /* nothing filled yet; weights given */
    const struct flow_host *host;
    int32_t precision, streams;
    bool seeded, resume, profile;
    uint64_t seed;
    int64_t steps;   /* in place of each stage's; 0 */
    const char *dir; /* in place of the graph's; NULL */
    bool unsaved;    /* no checkpoints */
};

/* Where the time goes, for profiles and traces. */
enum trainer_phase {
    TRAINER_PLANS,
    TRAINER_STEPS, /* the three that follow, and what lies between them */
    TRAINER_DATA,
    TRAINER_RUNS,
    TRAINER_UPDATES,
    TRAINER_VALIDATES,
    TRAINER_SAVES,
    TRAINER_PHASES
};

enum trainer_kind { TRAINER_STAGE = 1, TRAINER_STEP, TRAINER_VALIDATION, TRAINER_CHECKPOINT, TRAINER_STAGE_END, TRAINER_END };
struct trainer_metric {
    const char *name;
    const double *values;
    size_t count;
};
struct trainer_event {
    enum trainer_kind kind;
    const char *stage;
    int64_t stage_number, stage_count, step, steps, total;
    double loss, grad_norm, rate, seconds, step_seconds, waited;
    int64_t rows;
    const char *name;
    const struct trainer_metric *metrics;
    size_t metric_count;
};

int must_use trainer_new(const struct trainer_options *options, struct report *report, struct trainer **out);
void trainer_free(struct trainer *trainer);
int must_use trainer_input(struct trainer *trainer, const char *name, const struct flow_tensor *value, struct report *report);
int must_use trainer_next(struct trainer *trainer, struct trainer_event *event, struct report *report);
/* With options.profile: the nodes of all stages so far, and seconds by phase; NULL: not profiled. Valid until the next call. */
const struct profile *trainer_profile(struct trainer *trainer, const double **phases);
void trainer_cancel(struct trainer *trainer); /* [any thread, signal handlers] */
const struct flow_tensor *trainer_parameter(const struct trainer *trainer, size_t index, const char **name);
const struct plan *trainer_plan(const struct trainer *trainer); /* of the last training step; NULL */
int must_use trainer_times(struct trainer *trainer, const struct context_times **times, size_t *count);

#endif
