/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the trainer share. */
#ifndef FLOW_TRAIN_STAGE_H
#define FLOW_TRAIN_STAGE_H

#include "io/batches.h"
#include "io/behind.h"
#include "train/group.h"
#include "train/program.h"
#include "train/trainer.h"

#include <stdatomic.h>

/* A stage that will be run: where it stands in `stages:` and with which variables. */
struct leaf {
    size_t *path, depth;
    struct training_var *vars;
    size_t var_count;
    const char *label; /* "[task=2]"; "" */
};

/* Where a network's inputs come from. */
struct feeding {
    const struct allocator *from;
    const struct network *network;
    const struct training_data *data; /* NULL: none */
    struct batches *batches;          /* NULL: a graph, or none */
    struct generator *generator;      /* `source: graph`; NULL */
    struct flow_tensor *inputs;       /* by network input */
    int32_t *output;                  /* by network input: of the source; -1 */
    int32_t step_input, progress_input;
    int64_t step_value; /* what they point at */
    float progress_value;
    double progress_wide; /* where the graph computes in f64 */
    void **converted;     /* by network input: of another type than the source gives; NULL */
    int64_t *converted_bytes;
    int32_t precision;
    int64_t number; /* of the batch in hand, over all epochs */
    int64_t rows;
    bool idle; /* no step will be made: inputs may be fed by nothing */
};

/* One entry of `validate:` with its own variables. */
struct validation {
    struct validation *next;
    struct network *network; /* owned; NULL: the stage's */
    const struct training_validate *about;
    const char *name;
    struct program *program;
    struct feeding feeding;
    struct network_ref *refs; /* of the metrics, then of the pairs of those that are graphs */
    size_t ref_count;
    struct pooled *pooled; /* by metric: of those that are graphs */
    bool opened;
};

/* A metric that is a subgraph, run once on the values of all batches together. */
struct pooled {
    struct network *network;
    struct program *program;
    size_t first_ref;        /* of its pairs */
    struct flow_tensor *all; /* by pair: what has been gathered; data grow */
    size_t *capacity;        /* bytes */
    int32_t *input;          /* by pair: of the subgraph */
    struct network_ref output;
};

/* Numbers of one validation, in order of its metrics. */
struct metrics {
    struct arena arena;
    struct trainer_metric *at;
    size_t count;
};

struct stage {
    struct trainer *trainer;
    struct network *network;
    const struct training *training;
    const struct leaf *leaf;
    const char *name;
    struct arena arena;
    struct network_ref *refs;
    size_t ref_count;
    struct program_pass *passes;
    size_t pass_count;
    size_t *pass_of, *ref_of; /* by update */
    double *losses;           /* by pass, of this step */
    struct program *program;
    struct groups *groups;
    struct feeding feeding;
    struct validation *validations;
    int64_t step, steps;
    double began, spent; /* seconds; spent before it was resumed */
    double best;         /* of early stopping; NaN: none yet */
    int64_t bad;         /* validations since */
    bool stopped;
    struct samples *samples;  /* NULL: none taken */
    struct flow_tensor *kept; /* best parameters, by param of the instance; rank -1 */
    struct running *running;  /* running statistics, as they were before the step */
    size_t running_count;
};

double trainer_clock(void);

struct fixed {
    struct fixed *next;
    const char *name;
    struct flow_tensor value;
    int64_t bytes;
};

/* What is written behind: a copy of everything, and the texts. */
struct snapshot {
    struct arena arena;
    void *memory;
    int64_t bytes, room;
    struct tensor_write *tensors;
    struct flow_tensor *types;
    size_t count, capacity;
    char path[4096], remove[4096];
    const char **metadata;
};

enum trainer_state { AT_NEXT_STAGE, AT_START, AT_STEP, AT_VALIDATE, AT_CHECKPOINT, AT_END_VALIDATE, AT_END_STAGE, AT_END };

struct trainer {
    struct trainer_options options;
    const struct allocator *from;
    struct arena arena;
    struct leaf *leaves;
    size_t leaf_count, leaf_capacity;
    size_t at; /* leaf in hand */
    struct stage *now, *before;
    struct fixed *fixed;
    enum trainer_state state;
    struct validation *validating; /* next one to look at */
    bool due;                      /* a checkpoint, after the validations of this step */
    struct metrics metrics;
    char name[4096];
    struct behind *behind;
    struct snapshot snapshots[2];
    int snapshot;
    char **written; /* paths of checkpoints, oldest first */
    size_t written_count, written_capacity;
    struct folder *begun; /* where this training, not resumed, has written */
    int64_t total;
    uint64_t runs;
    double began, waited, paused;
    atomic_int cancelled;
    double phases[TRAINER_PHASES];                    /* seconds, where there is a profile */
    const struct trace_label *labels[TRAINER_PHASES]; /* NULL: no trace */
    struct profile gone, shown;                       /* of stages that are over; of all, as it was asked for last */
    struct tensor_file *resumed;                      /* while the stage it belongs to begins */
};

/* A phase of the training, for the profile and the trace; nothing where there is neither. */
struct phase {
    double start;
    struct trace_span span;
};
static inline struct phase phase_begin(const struct trainer *trainer, enum trainer_phase which) {
    struct phase phase = {0};
    if (trainer->labels[which]) phase.span = trace_begin(trainer->options.device->trace, trainer->labels[which]);
    if (trainer->options.profile) phase.start = trainer_clock();
    return phase;
}
static inline void phase_end(struct trainer *trainer, enum trainer_phase which, const struct phase *phase) {
    if (trainer->options.profile) trainer->phases[which] += trainer_clock() - phase->start;
    if (trainer->labels[which]) trace_end(&phase->span, trainer->total);
}

/* stages.c */
int must_use stages_list(struct trainer *trainer, struct report *report);
int must_use stages_read(struct trainer *trainer, const struct leaf *leaf, const struct training_var *more, size_t more_count,
                         struct report *report, struct network **out);
/* The network of one of the file's subgraphs, with the leaf's variables. */
int must_use stages_read_graph(struct trainer *trainer, const struct leaf *leaf, const char *graph, struct report *report,
                               struct network **out);

/* feeding.c */
int must_use feeding_open(struct feeding *feeding, struct trainer *trainer, const struct network *network, const struct training_data *data,
                          int32_t step_input, int32_t progress_input, bool validation, int64_t first, uint64_t seed, struct report *report);
/* Validation looks at the same rows each time. */
void feeding_restart(struct feeding *feeding);
void feeding_close(struct feeding *feeding, struct trainer *trainer);
/* Types of all inputs, before the first batch. */
int must_use feeding_types(struct feeding *feeding, struct report *report);
/* The next batch into `inputs`. */
int must_use feeding_next(struct feeding *feeding, struct trainer *trainer, int64_t step, double progress, struct report *report);
double feeding_waited(const struct feeding *feeding);
int64_t feeding_in_epoch(const struct feeding *feeding); /* batches; INT64_MAX */

/* generator.c: `source: graph` */
int must_use generator_new(struct trainer *trainer, const struct training_data *data, int64_t first, uint64_t seed, struct report *report,
                           struct generator **out);
void generator_free(struct generator *generator);
int must_use generator_next(struct generator *generator, struct report *report);
size_t generator_outputs(const struct generator *generator);
const char *generator_name(const struct generator *generator, size_t output);
const struct flow_tensor *generator_tensor(const struct generator *generator, size_t output);
int64_t generator_number(const struct generator *generator);
struct context *generator_context(const struct generator *generator);
int must_use generator_bind(struct generator *generator, struct report *report); /* once the trainer's parameters have their values */
void generator_restart(struct generator *generator);                             /* from its first batch, states as at the start */
/* `reuse`: the whole batch of which parts are still to be given; NULL: none. A checkpoint keeps it. */
const struct flow_tensor *generator_whole(const struct generator *generator, size_t output);
int must_use generator_restore(struct generator *generator, size_t output, const struct flow_tensor *value, struct report *report);

/* stage.c */
const struct training_data *stage_data(const struct training *training, const char *name); /* NULL: none of that name */
/* How every program of the trainer is made: what it computes is still to be said. */
struct program_options stage_program(const struct trainer *trainer, const struct network *network, int32_t phase);
static inline int64_t stage_bytes(const struct flow_tensor *t) {
    int64_t bytes = 0;
    return t->rank >= 0 && plan_bytes(t, &bytes) ? bytes : 0;
}
int must_use stage_begin(struct trainer *trainer, const struct leaf *leaf, struct report *report, struct stage **out);
void stage_free(struct stage *stage);
bool stage_over(const struct stage *stage);
double stage_progress(const struct stage *stage);
int must_use stage_step(struct stage *stage, struct trainer_event *event, struct report *report);
int must_use stage_keep_best(struct stage *stage, struct report *report);
int must_use stage_restore_best(struct stage *stage);

/* samples.c */
int must_use samples_take(struct stage *stage, struct report *report);  /* after a step */
int must_use samples_write(struct stage *stage, struct report *report); /* at the stage's end */
int must_use samples_restore(struct stage *stage, const struct tensor_file *file, struct report *report);
bool samples_tensor(const struct stage *stage, size_t param, struct flow_tensor *all, const char **name); /* false: none */
void samples_free(struct stage *stage);

/* validate.c */
int must_use validations_open(struct stage *stage, struct report *report);
void validations_close(struct stage *stage);
/* pooled.c */
int must_use pooled_open(struct stage *stage, struct validation *validation, const struct training_metric *metric, struct pooled *pooled,
                         struct report *report);
void pooled_close(struct stage *stage, struct pooled *pooled, size_t pairs);
int must_use pooled_add(struct stage *stage, struct pooled *pooled, size_t pair, const struct flow_tensor *value, bool first,
                        const struct training_metric *metric, struct report *report);
int must_use pooled_run(struct pooled *pooled, const struct training_metric *metric, struct report *report,
                        const struct flow_tensor **value);
int must_use validation_run(struct stage *stage, struct validation *validation, struct metrics *metrics, struct report *report);

/* checkpoint.c */
int must_use checkpoint_write(struct trainer *trainer, struct report *report);
/* Opens the newest whole one; *found false: there is none. */
int must_use checkpoint_open(struct trainer *trainer, bool *found, struct report *report);
int must_use checkpoint_restore(struct trainer *trainer, struct stage *stage, struct report *report);
void checkpoint_forget(struct trainer *trainer);                         /* the paths of those that were written */
int must_use checkpoint_folder(const char *path, struct report *report); /* makes it, and those above it */
const char *checkpoint_dir(const struct trainer *trainer, const struct training *training);
int64_t checkpoint_number(const struct tensor_file *file, const char *key, int64_t otherwise);

#endif
