/* SPDX-License-Identifier: Apache-2.0 */
/* One operator under trial (`flowrun check-plugin`): a graph around its example, inputs of extents that it takes, runs and their results.
 */
#ifndef FLOWRUN_TRIAL_H
#define FLOWRUN_TRIAL_H

#include "flowrun/command.h"
#include "flowrun/difference.h"

#include <stdio.h>

enum { TRIAL_INPUTS = 16, TRIAL_OUTPUTS = 16, TRIAL_SYMBOLS = 24, TRIAL_NAME = 64 };

/* ---- What is told: lines to whoever counts them ---- */

struct teller {
    FILE *out;
    const char *item, *check; /* "softsign", "threads" */
    bool failed;              /* this check has */
};
/* From now on a crash or an endless loop is told as one of this trial: "extent T = 0". */
void tell_trial(struct teller *teller, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
enum tell_kind { TELL_HOLDS = 'O', TELL_FAILS = 'F', TELL_NOTHING = 'N' }; /* NOTHING: does not apply, and why */
void tell(struct teller *teller, enum tell_kind kind, const char *format, ...) __attribute__((format(__printf__, 3, 4)));

/* ---- The example ---- */

struct trial_input {
    char name[TRIAL_NAME];
    const struct flow_port *port;
    int32_t dtype, rank;
    int32_t axes[FLOW_RANK_MAX]; /* symbols */
};

struct trial_symbol {
    char name[TRIAL_NAME];
    int64_t extent;
    bool fixed; /* a number in the pattern */
};

struct trial {
    struct teller *teller;
    const char *plugin_path; /* NULL: built in */
    const struct flow_operator_info *about;
    const struct flow_operator *op;
    flow_runtime *runtime;
    char node[TRIAL_NAME]; /* its name in the example */
    struct trial_input in[TRIAL_INPUTS];
    size_t in_count;
    struct trial_symbol symbols[TRIAL_SYMBOLS];
    size_t symbol_count;
    char out[TRIAL_OUTPUTS][2 * TRIAL_NAME]; /* "y", "y.index" */
    size_t out_count;
    int attempt;          /* how inputs are filled: see trial_fill */
    bool backward;        /* a kernel has one */
    bool random, integer; /* it draws; no output is real */
};

/* Reads the example and finds extents on which it runs. 0, or negative with the reason in why. */
int trial_find(struct trial *trial, char *why, size_t size);

/* How the graph is written. */
enum trial_form {
    TRIAL_PLAIN,
    TRIAL_TURNED, /* inputs are views: transposed, of one axis a slice of a longer one */
    TRIAL_PASSED  /* inputs are values of a node before, which nothing else reads: their memory may be taken over */
};
/* The graph as text, for free(). NULL: no memory. */
char *trial_text(const struct trial *trial, enum trial_form form);
int trial_graph(const struct trial *trial, flow_runtime *runtime, enum trial_form form, int32_t precision, flow_graph **out, char *why,
                size_t size);
int trial_runtime(const struct trial *trial, int32_t threads, flow_runtime **out, char *why, size_t size);

/* Inputs of the trial's extents, as the form wants them, the same at each call; their data is owned. false: no memory, or too large. */
struct tensors {
    struct flow_tensor at[TRIAL_INPUTS];
    size_t count;
};
bool trial_inputs(const struct trial *trial, enum trial_form form, bool doubled, struct tensors *out);
void tensors_free(struct tensors *tensors);

/* Outputs of a run, row-major copies. */
struct trial_result {
    int rc;
    char why[512];
    struct flow_tensor out[TRIAL_OUTPUTS];
    size_t count;
};
void result_free(struct trial_result *result);
/* One session, `runs` times, the outputs of the last; checked. rc says how it went. */
void trial_run(const struct trial *trial, flow_graph *graph, const struct tensors *inputs, int runs, struct trial_result *result);
int trial_bind(const struct trial *trial, flow_session *session, const struct tensors *inputs, flow_errors **errors);
void trial_take(const struct trial *trial, flow_session *session, struct trial_result *result);
/* Graph, inputs and run in one. */
void trial_whole(const struct trial *trial, flow_runtime *runtime, enum trial_form form, int runs, struct trial_result *result);

/* Are two results the same: byte by byte (tolerance 0), or, for real ones, within tolerance times the largest. `why` says where not. */
bool results_agree(const struct trial *trial, const struct trial_result *a, const struct trial_result *b, double tolerance, char *why,
                   size_t size);
double trial_tolerance(const struct trial *trial);
/* "x f32 [2, 6], y f32 [2]" */
const char *trial_types(const struct trial *trial, const struct trial_result *result, char *text, size_t size);
/* The first message, freed. */
void errors_text(flow_errors *errors, int rc, char *why, size_t size);

/* trial_checks.c, trial_runs.c: one after the other; NULL ends them. */
struct trial_check {
    const char *name;
    void (*run)(struct trial *trial);
};
extern const struct trial_check trial_checks[];
/* trial_rules.c: an optimiser, a source, by name. */
void try_optimizer(struct trial *trial, const char *name);
void try_source(struct trial *trial, const char *name);
void check_extents(struct trial *trial);
void check_memory(struct trial *trial);
void check_views(struct trial *trial);
void check_in_place(struct trial *trial);
void check_threads(struct trial *trial);
void check_instructions(struct trial *trial);
void check_sessions(struct trial *trial);
void check_allocations(struct trial *trial);
void check_streaming(struct trial *trial);
void check_gradients(struct trial *trial);

#endif
