/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands of flowrun share: their options, exit statuses, how errors are shown. */
#ifndef FLOWRUN_COMMAND_H
#define FLOWRUN_COMMAND_H

#include <flow/flow.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* NAME=VALUE pairs in the order given. */
struct pairs {
    const char **at;
    size_t count;
};

struct command {
    const char *name; /* of the subcommand */
    const char *graph;
    const char *file;  /* second operand: verify FILE, ops NAME, compare RUN */
    struct pairs rest; /* more operands: of compare */
    const char *line;  /* as it was typed, for the page of a run */
    struct pairs set, input, output, feedback, extent;
    const char *inputs, *outputs, *weights, *cotangents, *save;
    const char *device, *plugin_path, *format, *stream, *page, *precision, *dir;
    const char *trace;
    const char *written;                                                  /* import: --output NAME.yaml */
    struct pairs state;                                                   /* import: IN=OUT */
    const char *thread_list, *json_file, *baseline, *against, *tolerance; /* of bench */
    int64_t rounds;
    double seconds; /* 0: not given */
    bool train;
    const char *builtin; /* check-plugin: a family of operators in the library, or "all" */
    const char *times;   /* show: a profile */
    int32_t depth;       /* show: 0: not given */
    bool unfold;         /* show */
    int32_t threads, streams;
    int64_t steps;                 /* 0: not given */
    const char *search, *markdown; /* of ops */
    bool names;
    const char *color; /* "auto", "always", "never" */
    double limit;      /* check-plugin: seconds */
    bool cuda;         /* new-op */
    bool checked;      /* run: FLOW_CHECK_* */
    bool spread, uncaptured;
    int64_t runs; /* verify */
    bool seeded, json, quiet, verbose, profile, schema, resume, gradients, help;
    uint64_t seed;
    double rtol, atol; /* < 0: as the file says */
};

struct subcommand; /* see table.h */

/* Parses everything after the subcommand. 0, or EXIT_USAGE after saying what is wrong. */
int command_parse(struct command *command, const struct subcommand *subcommand, int count, char **words);
void command_free(struct command *command);
int command_add(struct pairs *pairs, const char *value); /* 0, or EXIT_FAILED: no memory */

/* Shows a list of errors on standard error, frees it, and gives the exit status for it: 2 for wrong usage and wrong graphs, 1 for runs
 * that failed. */
int command_fail(flow_errors *errors);
int command_fail_graph(const struct command *command, flow_errors *errors); /* while a graph is read or checked */
/* The same for one message of flowrun's own. */
int command_say(int status, const char *format, ...) __attribute__((format(__printf__, 2, 3)));

/* Runtime and graph as the options say. */
int command_runtime(const struct command *command, flow_runtime **runtime);
/* Writes --trace FILE, where it is asked for; `status` or, where that was 0, what went wrong. */
int command_trace(const struct command *command, flow_runtime *runtime, int status);
int command_graph(const struct command *command, flow_runtime *runtime, flow_graph **graph);

/* Colours, when standard output is a terminal (or CLICOLOR_FORCE is set) and NO_COLOR is not: the escape, else "". */
const char *color(const char *escape);
#define BOLD color("\033[1m")
#define DIM color("\033[2m")
#define RED color("\033[31m")
#define GREEN color("\033[32m")
#define PLAIN color("\033[0m")

/* Standard output could not be written: says so, unless nobody reads it any more (`flowrun ops | head`). EXIT_FAILED. */
int output_failed(void);

double seconds_now(void);  /* monotonic */
int64_t peak_memory(void); /* largest resident set so far, bytes */

int command_default(struct command *command); /* flowrun GRAPH */
int command_run(struct command *command);
int command_train(struct command *command);
int command_compare(struct command *command);
int command_grad(struct command *command);
int command_verify(struct command *command);
int command_check(struct command *command);
int command_check_plugin(struct command *command);
int command_new_op(struct command *command);
int command_ops(struct command *command);
int command_show(struct command *command);
int command_import(struct command *command);
int command_bench(struct command *command);
int command_help(struct command *command);
int command_man(struct command *command);
int command_doctor(struct command *command);
int command_completion(struct command *command);
int command_unknown(const char *word); /* there is no subcommand of this name: says which is near */

/* SIGINT and SIGTERM cancel this session, this trainer (NULL: none). */
void interrupt_watch(flow_session *session);
void interrupt_watch_trainer(flow_trainer *trainer);
/* They also end waiting for samples of these. */
void interrupt_watch_wave(flow_wave *wave);
void interrupt_forget_wave(const flow_wave *wave);
bool interrupted(void);

#endif
