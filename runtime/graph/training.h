/* SPDX-License-Identifier: Apache-2.0 */
/* The `train` and `data` sections as read: variables put in, references resolved, optimisers and sources found, their attributes parsed.
 * All of it lies in the network's arena.
 *
 * A network is read for one stage: network_options.stage says which, as places in `stages:` from the outermost on, with that stage's
 * variables in network_options.vars. Without it `stages` lists what there is to choose from, each to be read in turn. */
#ifndef FLOW_GRAPH_TRAINING_H
#define FLOW_GRAPH_TRAINING_H

#include "graph/network.h"

/* `${name}` = text, as a stage's `vars` or `foreach` gives it. */
struct training_var {
    const char *name, *value;
};

/* One entry of `stages:` (or `validate:` with foreach): once for each value of `foreach`, or, where that is NULL, once. */
struct training_entry {
    const char *foreach; /* variable; NULL */
    const char **values; /* its values, as text */
    size_t value_count;
    struct training_var *vars; /* for value v of `foreach`: vars[v * var_count ..] (they may be made of it) */
    size_t var_count;
    bool nested; /* holds `stages` itself */
    struct position at;
};

/* reference: weight */
struct training_loss {
    struct network_ref ref;
    const char *name; /* as written */
    double weight;
    struct position at;
};

enum { TRAINING_CONSTANT, TRAINING_LINEAR, TRAINING_COSINE, TRAINING_STEP, TRAINING_INVERSE_SQRT };
struct training_schedule {
    int32_t kind;
    int64_t warmup, every; /* steps; `every`: of kind step */
    double final, factor;  /* 0; 0.1 */
};

struct training_noise {
    bool given, after_clip;
    double eta, gamma; /* 0.55 */
};

/* One entry of `update:`. */
struct training_update {
    const char *params; /* pattern */
    const struct registry_entry *optimizer;
    const void *attrs;        /* of the optimiser, parsed */
    struct network_ref value; /* FLOW_OPTIMIZER_VALUE; else NETWORK_NOTHING */
    const char *of;           /* FLOW_OPTIMIZER_OF: pattern; NULL */
    bool has_loss;            /* follows `loss` alone, in place of the stage's sum */
    struct training_loss loss;
    int64_t every;    /* 1 */
    double clip_norm; /* 0: as the stage says */
    bool centralize;
    struct position at, params_at, optimizer_at, of_at;
};

struct training_pair {
    int32_t input;      /* of the network */
    const char *output; /* of the source */
    struct position at;
};

/* One entry of `data:`. Keys of `with` that every source has are taken out before the source's own are parsed: batch, shuffle, keep_last,
 * split ([from, to), shares of the rows), workers, ahead, rate, seed; for `source: graph` all of `with` is variables of that graph. */
struct training_data {
    const char *name;
    const struct registry_entry *source; /* NULL: `source: graph` */
    const void *attrs;
    const char *path;
    const char *base; /* folder of the file that says so */
    int64_t batch;    /* 1; `all`: -1 */
    bool shuffle, keep_last;
    double split_from, split_to; /* 0, 1 */
    int32_t workers, ahead;      /* 0: as usual */
    double rate;                 /* 0 */
    bool seeded;
    uint64_t seed;
    struct training_pair *feeds;
    size_t feed_count;
    /* source: graph */
    struct training_var *vars;
    size_t var_count;
    const char *weights; /* NULL: the trainer's parameters, by name or by `renames` */
    struct network_rename *renames;
    size_t rename_count;
    int32_t lag;                       /* 0 */
    int64_t reuse_epochs, reuse_batch; /* 0: none */
    struct position at, path_at;
};

enum { TRAINING_STATE_COPY, TRAINING_STATE_READ, TRAINING_STATE_KEEP };
struct training_metric {
    const char *name;
    struct network_ref ref; /* a node's value; graph: NETWORK_NOTHING */
    const char *graph;      /* a subgraph run once on the values of all batches together; NULL */
    struct {
        const char *input; /* of the subgraph */
        struct network_ref ref;
    } * pairs;
    size_t pair_count;
    struct position at;
};

struct training_validate {
    struct training_entry entry; /* its foreach and vars: where there are any, the graph is read anew for it */
    const char *name;            /* "valid" where not given */
    bool name_varies;            /* it holds the variable of its `foreach` */
    const char *data;            /* NULL: none, the graph's inputs are fed as in training */
    int64_t every;               /* steps; 0: at the stage's end alone */
    bool at_start, at_end;
    struct training_metric *metrics;
    size_t metric_count;
    int32_t state; /* TRAINING_STATE_* */
    struct position at;
};

struct training_copy {
    const char *from, *to; /* patterns: `*` stands for the same text on both sides */
    struct position at;
};

/* An optimiser or source that no plugin here brings. The graph runs without it; it cannot be trained. */
struct training_missing {
    struct training_missing *next;
    const char *text;
    struct position at;
};

struct training {
    const char *name; /* of the stage; "" for a plain `train` */
    struct position at;
    struct training_entry *stages; /* what is in `stages:`; then nothing below is given */
    size_t stage_count;
    struct training_loss *losses;
    size_t loss_count;
    const char *data; /* name under `data:`; NULL: inputs are given from outside, or there are none */
    struct position data_at;
    int64_t steps;  /* -1: not given */
    double seconds; /* 0: not given */
    struct training_update *updates;
    size_t update_count;
    struct training_schedule schedule;
    double clip_norm; /* 0: none */
    struct training_noise noise;
    int64_t micro_batches;            /* 1 */
    bool keep_state;                  /* optimisers' states go on */
    int32_t feed_step, feed_progress; /* network inputs; -1 */
    struct training_validate *validates;
    size_t validate_count;
    struct training_copy *copies;
    size_t copy_count;
    const char **resets;
    size_t reset_count;
    struct {
        const char *metric; /* "valid.accuracy"; NULL: none */
        bool largest, restore;
        int64_t patience;
        struct position at;
    } early_stop;
    struct {
        const char *dir; /* NULL: none */
        int64_t every;   /* steps; 0: at the end alone */
        int64_t keep;    /* 1 */
        struct position at;
    } checkpoint;
    struct {
        const char *file; /* NULL: none */
        int64_t every, after;
        struct position at;
    } samples;
    struct training_data *datas; /* all of `data:` */
    size_t data_count;
    /* Of a reading for no stage, of all its stages; what it is of is NULL there. Read for a stage, it is an error. */
    struct training_missing *missing;
};

/* Tells what is missing: negative where anything is. */
int must_use training_ready(const struct training *training, struct report *report);

#endif
