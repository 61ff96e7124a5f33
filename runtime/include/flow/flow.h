/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow/flow.h: load a graph, feed it, run it. What an application embeds; the command `flowrun` uses nothing else.
 *
 *     flow_runtime *runtime;  flow_graph *graph;  flow_session *session;  flow_errors *errors = NULL;
 *     if (flow_runtime_new(NULL, &errors, &runtime) == 0 && flow_graph_open(runtime, "vad.yaml", NULL, &errors, &graph) == 0 &&
 *         flow_session_new(graph, NULL, &errors, &session) == 0) {
 *         struct flow_tensor wave = flow_tensor_of(samples, FLOW_F32, 2, (int64_t[]){1, count});
 *         flow_session_input(session, "wave", &wave, &errors);
 *         flow_session_run(session, &errors);
 *         const struct flow_tensor *p = flow_session_output(session, "speech_probability");
 *     }
 *
 * Functions that can fail return 0 or a negative FLOW_ERROR_* and, where `errors` is not NULL, say why in *errors: there may be several
 * (all errors of a graph file come together). Free it with flow_errors_free; a list that is not freed is added to. Nothing here exits,
 * prints or keeps global state. Objects are used by one thread at a time, except where [any thread] is said, and but for these: several
 * threads may open graphs and files on one runtime at once, and make sessions of one graph, check and describe it; different sessions run
 * at once. docs/embedding.md is the way in.
 */
#ifndef FLOW_FLOW_H
#define FLOW_FLOW_H

#include <flow/plugin.h>
#include <flow/version.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flow_errors flow_errors;
typedef struct flow_runtime flow_runtime;
typedef struct flow_graph flow_graph;
typedef struct flow_session flow_session;
typedef struct flow_file flow_file;
typedef struct flow_wave flow_wave;

/* ---- Errors ------------------------------------------------------------------------------------------------------ */

/* line and column count from 1; 0: none. file NULL: none. */
struct flow_error {
    int32_t code;
    int32_t line, column;
    const char *file;
    const char *text;
};
FLOW_EXPORT int32_t flow_errors_count(const flow_errors *errors); /* NULL is legal: 0 */
FLOW_EXPORT struct flow_error flow_errors_get(const flow_errors *errors, int32_t index);
FLOW_EXPORT void flow_errors_free(flow_errors *errors);
FLOW_EXPORT const char *flow_status_text(int32_t code);
FLOW_EXPORT const char *flow_version(void);

/* Text that a function returned. */
FLOW_EXPORT void flow_text_free(char *text);

/* ---- Runtime: operators, plugins, threads -------------------------------------------------------------------------- */

struct flow_runtime_options {
    uint32_t size;           /* sizeof(struct flow_runtime_options) */
    int32_t threads;         /* most that run at once, the caller's included; 0: as the first graph says, else all cores */
    const char *device;      /* "cpu" (default), "cuda" */
    const char *plugin_path; /* folders or plugin files, ':' between them; searched before FLOW_PLUGIN_PATH */
    /* Where memory comes from: as realloc (block NULL: allocate, new_size 0: free), thread-safe. NULL: the C library. */
    void *(*resize)(void *context, void *block, size_t old_size, size_t new_size);
    void *resize_context;
    int64_t trace_events; /* > 0: what happens is recorded, the last so many events of each thread; see flow_runtime_trace_write */
    bool plugin_only;     /* plugin_path alone is searched: neither the environment's folders nor installed ones nor those beside graphs */
    /* Receives what is worth knowing though nothing failed, a line at a time without its end; NULL: nobody. A plugin file that cannot be
     * used beside those that can, parameters that no weights name, inputs that are copied or converted in every run, what operators log.
     * [any thread, the library's too, several at once] Must not call the library. */
    void (*log)(void *context, int32_t level, const char *text);
    void *log_context;
};
enum { FLOW_LOG_INFO = 1, FLOW_LOG_WARNING = 2 };
FLOW_EXPORT int flow_runtime_new(const struct flow_runtime_options *options, flow_errors **errors, flow_runtime **out);
FLOW_EXPORT void flow_runtime_free(flow_runtime *runtime); /* after its graphs */

struct flow_operator_info {
    const struct flow_operator *op;
    const char *plugin;
    const char *file; /* NULL: built in */
    const struct flow_kernel *kernels;
    uint32_t kernel_count;
};
/* One operator, or all in order of name (opens every plugin; those that fail are described in *failures, a line each, or NULL). */
FLOW_EXPORT int flow_runtime_operator(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_operator_info *out);
FLOW_EXPORT int flow_runtime_operators(flow_runtime *runtime, flow_errors **errors, struct flow_operator_info **out, size_t *count,
                                       char **failures);
FLOW_EXPORT void flow_runtime_operators_free(flow_runtime *runtime, struct flow_operator_info *list, size_t count);
/* The same for optimisers (`train: update`) and sources (`data`), which have names of their own. */
struct flow_optimizer_info {
    const struct flow_optimizer *optimizer;
    const char *plugin;
    const char *file; /* NULL: built in */
};
FLOW_EXPORT int flow_runtime_optimizer(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_optimizer_info *out);
FLOW_EXPORT int flow_runtime_optimizers(flow_runtime *runtime, flow_errors **errors, struct flow_optimizer_info **out, size_t *count,
                                        char **failures);
FLOW_EXPORT void flow_runtime_optimizers_free(flow_runtime *runtime, struct flow_optimizer_info *list, size_t count);
struct flow_source_info {
    const struct flow_source *source;
    const char *plugin;
    const char *file; /* NULL: built in */
};
FLOW_EXPORT int flow_runtime_source(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_source_info *out);
FLOW_EXPORT int flow_runtime_sources(flow_runtime *runtime, flow_errors **errors, struct flow_source_info **out, size_t *count,
                                     char **failures);
FLOW_EXPORT void flow_runtime_sources_free(flow_runtime *runtime, struct flow_source_info *list, size_t count);
/* Where plugins were looked for and what was found there, after a call of flow_runtime_operators; false after the last. Texts stay until
 * the next such call. */
struct flow_plugin_file {
    uint32_t size;                                    /* sizeof(struct flow_plugin_file), set by the caller */
    const char *path, *plugin;                        /* plugin: its own name; NULL: it could not be used */
    const char *why;                                  /* then: the reason */
    uint32_t operators, optimizers, sources, kernels; /* how many it brings */
};
FLOW_EXPORT bool flow_runtime_plugin_folder(flow_runtime *runtime, size_t index, const char **path,
                                            const char **why); /* *why: why its files are not taken; NULL */
FLOW_EXPORT bool flow_runtime_plugin_file(flow_runtime *runtime, size_t index, struct flow_plugin_file *out);
FLOW_EXPORT const char *flow_runtime_plugin_index(flow_runtime *runtime); /* the file that remembers them; NULL: none */
/* What runs will use: threads, and the instruction set (FLOW_ISA_*) after the environment's FLOW_ISA. */
struct flow_machine {
    uint32_t size; /* sizeof(struct flow_machine), set by the caller */
    int32_t threads;
    int32_t isa;
};
FLOW_EXPORT int flow_runtime_machine(flow_runtime *runtime, struct flow_machine *out, flow_errors **errors);
/* A JSON Schema of graph files, from the operators there are. */
FLOW_EXPORT int flow_runtime_schema(flow_runtime *runtime, flow_errors **errors, char **text);

/* ---- Graphs ------------------------------------------------------------------------------------------------------- */

struct flow_graph_options {
    uint32_t size;
    int32_t precision; /* FLOW_F32; FLOW_F64: every f32 of the graph is computed in f64; FLOW_BF16: factors of products are rounded to it */
    const char *const *set; /* "name=value": variables */
    size_t set_count;
    const char *weights; /* in place of the graph's own; "": none */
    bool seeded;         /* `seed` replaces the graph's */
    uint64_t seed;
    /* Weights as a safetensors file's bytes, in place of a file: used where they lie, so they stay until the graph is freed (and graphs
     * that share with it). `weights`, if given, names them in messages. */
    const void *weights_image;
    size_t weights_size;
    /* Another graph of this runtime: its parameters are used, without a copy, for those of the same name, shape and type here, and with
     * them what kernels prepared from them. Goes before `weights`; flow_graph_set goes before it. All its parameters get their values
     * now, so it takes no flow_graph_set afterwards. The two may be freed in any order, and run at once. */
    const flow_graph *share;
};
FLOW_EXPORT int flow_graph_open(flow_runtime *runtime, const char *path, const struct flow_graph_options *options, flow_errors **errors,
                                flow_graph **out);
/* From text; `path` names it in messages and is where relative files are looked for. */
FLOW_EXPORT int flow_graph_parse(flow_runtime *runtime, const char *path, const char *text, size_t length,
                                 const struct flow_graph_options *options, flow_errors **errors, flow_graph **out);
FLOW_EXPORT void flow_graph_free(flow_graph *graph); /* after its sessions */

struct flow_graph_port {
    const char *name;
    int32_t dtype;                      /* inputs; -1 for outputs */
    int32_t rank;                       /* inputs; -1 for outputs */
    const char *extents[FLOW_RANK_MAX]; /* inputs: "B", "160" */
};
FLOW_EXPORT const char *flow_graph_name(const flow_graph *graph);
FLOW_EXPORT const char *flow_graph_doc(const flow_graph *graph);
FLOW_EXPORT size_t flow_graph_inputs(const flow_graph *graph);
FLOW_EXPORT size_t flow_graph_outputs(const flow_graph *graph);
FLOW_EXPORT struct flow_graph_port flow_graph_input(const flow_graph *graph, size_t index);
FLOW_EXPORT struct flow_graph_port flow_graph_output(const flow_graph *graph, size_t index);
/* What `run:` says under a key (NULL: nothing); of a mapping under `key`, entry by entry (false after the last). */
FLOW_EXPORT const char *flow_graph_run_option(const flow_graph *graph, const char *key);
FLOW_EXPORT bool flow_graph_run_entry(const flow_graph *graph, const char *key, size_t index, const char **name, const char **value);
/* The variables of the file's `vars:` in its order, with the defaults as written (*value NULL: one without a default, or a list); false
 * after the last. Lives as long as the graph. */
FLOW_EXPORT bool flow_graph_variable(const flow_graph *graph, size_t index, const char **name, const char **value);

/* Gives a parameter its value, copied; before the first session. */
FLOW_EXPORT int flow_graph_set(flow_graph *graph, const char *param, const struct flow_tensor *value, flow_errors **errors);

/* Parameters that have a value: those that files or flow_graph_set gave, and, once a session has run, all; NULL after the last. */
FLOW_EXPORT const struct flow_tensor *flow_graph_parameter(const flow_graph *graph, size_t index, const char **name);

/* Checks the graph for all extents of its symbols (streaming along `stream` if not NULL), runs nothing. */
FLOW_EXPORT int flow_graph_check(flow_graph *graph, const char *stream, flow_errors **errors);
struct flow_describe_options {
    uint32_t size;
    bool json;
    bool verbose;
    const char *stream;         /* a symbol: also states and delays */
    const char *const *extents; /* "T=100": of symbols, for the memory plan */
    size_t extent_count;
    int32_t streams;
};
/* Shapes, streams, kernels, memory plan and its peak, as text or JSON. */
FLOW_EXPORT int flow_graph_describe(flow_graph *graph, const struct flow_describe_options *options, flow_errors **errors, char **text);
/* A drawing: format "svg", "dot" or "mermaid". */
FLOW_EXPORT int flow_graph_draw(flow_graph *graph, const char *format, flow_errors **errors, char **text);
/* The same with more to say. Copies that `repeat` made are drawn once, "x 6"; where there are thousands of nodes, the deepest boxes
 * are drawn closed. The same graph gives the same bytes. */
struct flow_draw_time {
    const char *node; /* as struct flow_times has it */
    double seconds;
};
struct flow_draw_options {
    uint32_t size;
    const char *format; /* "svg" (NULL: that), "dot", "mermaid"; "json": boxes, nodes with ports, shapes, parameters and places in the file,
                           edges, operators; by the numbers that the svg has in data-n, data-f, data-t and data-g */
    const char *stream; /* a symbol: what its streaming keeps is told */
    const char *const *extents; /* "T=100": shapes are then numbers; otherwise they are given in the graph's symbols */
    size_t extent_count;
    int32_t streams;                    /* most independent branches at once: above 1, each node is marked with its stream */
    const struct flow_draw_time *times; /* laid over the nodes as warmth */
    size_t time_count;
    int32_t depth; /* boxes within so many others are drawn closed: 1 the outermost already; 0: as deep as fits */
    bool unfold;   /* copies that `repeat` made one by one */
};
FLOW_EXPORT int flow_graph_draw_as(flow_graph *graph, const struct flow_draw_options *options, flow_errors **errors, char **text);

/* ---- Sessions: one caller's runs ------------------------------------------------------------------------------------ */

/* Looking over every operator's shoulder: slower by about two times, for finding one that does wrong. An operator that breaks a rule ends
 * the run with FLOW_ERROR_PLUGIN (memory) or FLOW_ERROR_RANGE (finite), naming node, operator and buffer. */
enum {
    FLOW_CHECK_MEMORY = 1 << 0, /* writes beyond a buffer or into an input or parameter; outputs not wholly written; outputs, workspace and
                                 * states-to-be hold rubbish first, another in every run */
    FLOW_CHECK_FINITE = 1 << 1  /* NaN from finite inputs */
};

struct flow_session_options {
    uint32_t size;
    int32_t streams;    /* most independent branches at once; 0: as the graph says, else 1 */
    const char *stream; /* the symbol along which the sequence comes in pieces; NULL: whole */
    bool profile;
    bool gradients;  /* each run also gives the gradients by the graph's floating inputs and parameters */
    int32_t checked; /* FLOW_CHECK_*; 0: nothing, at no cost */
    bool spread;     /* every step on another stream than the one before, whatever that costs: for tests of what orders them */
    bool uncaptured; /* cuda: launches that come again are not captured into a graph and replayed */
};
FLOW_EXPORT int flow_session_new(flow_graph *graph, const struct flow_session_options *options, flow_errors **errors, flow_session **out);
FLOW_EXPORT void flow_session_free(flow_session *session);

/* Binds an input without copying: the memory must stay until the run is over. Any strides. Stays bound for later runs. */
FLOW_EXPORT int flow_session_input(flow_session *session, const char *name, const struct flow_tensor *value, flow_errors **errors);
/* Binds an input to what an output was in the last run (copied): a graph that feeds itself. */
FLOW_EXPORT int flow_session_feedback(flow_session *session, const char *input, const char *output, flow_errors **errors);
/* One run; when streaming one piece, the bound inputs being the piece. */
FLOW_EXPORT int flow_session_run(flow_session *session, flow_errors **errors);
/* The output is written to the caller's memory, from its first byte in row-major order (data NULL: to the session's again). It must be
 * aligned for the type, overlap no input and no other output, and hold the output of every run: one that is too small is an error of the
 * run before anything is computed. Stays bound; flow_session_output then points there. */
FLOW_EXPORT int flow_session_bind_output(flow_session *session, const char *output, void *data, size_t bytes, flow_errors **errors);
/* Streaming: the last piece (it may be of extent 0): what is held back comes out. The next run starts a new sequence. */
FLOW_EXPORT int flow_session_finish(flow_session *session, flow_errors **errors);
/* An output of the last run, valid until the next; NULL: no such output. */
FLOW_EXPORT const struct flow_tensor *flow_session_output(const flow_session *session, const char *name);
FLOW_EXPORT const struct flow_tensor *flow_session_output_at(const flow_session *session, size_t index);
/* Streaming: the axis of an output along which its pieces follow each other; -1: none. Of the last run. */
FLOW_EXPORT int32_t flow_session_output_axis(const flow_session *session, size_t index);
/* Sessions with gradients. The cotangent that an output receives, of its shape (bound as inputs are); all before the first run. Outputs
 * without one receive none; where none has any, each output of one element receives 1. */
FLOW_EXPORT int flow_session_cotangent(flow_session *session, const char *output, const struct flow_tensor *value, flow_errors **errors);
/* After a run: gradients, named "in.NAME" and "param.NODE.PARAM"; false after the last. Valid until the next run. */
FLOW_EXPORT bool flow_session_gradient(const flow_session *session, size_t index, const char **name, const struct flow_tensor **value);
FLOW_EXPORT void flow_session_reset(flow_session *session);  /* states as at the start */
FLOW_EXPORT void flow_session_cancel(flow_session *session); /* [any thread, signal handlers] the run ends with FLOW_ERROR_CANCELLED */

struct flow_memory {
    int64_t arena, unshared; /* bytes of the planned arena; without reuse */
    int64_t params, packed, states;
    int64_t initialised; /* parameters that no file gave */
};
FLOW_EXPORT struct flow_memory flow_session_memory(const flow_session *session);
/* What a session did on a device that is not the CPU. */
struct flow_launches {
    uint32_t size;
    int32_t device;             /* FLOW_DEVICE_*; of the CPU the rest is 0 */
    int64_t hosted;             /* nodes that run on the CPU, between two copies: the device has no kernel for them */
    const char *first_hosted;   /* the first of them; NULL */
    uint64_t captures, replays; /* plans whose launches were captured into a graph; runs that replayed one */
    const char *uncaptured;     /* why the plan's launches cannot be captured; NULL: they can */
};
FLOW_EXPORT void flow_session_launches(const flow_session *session, struct flow_launches *out);
struct flow_times {
    const char *node, *op;
    double seconds;
    uint64_t calls;
    double flops, bytes;
};
/* Times by node since the session's start (profile: true); valid until the next run. */
FLOW_EXPORT int flow_session_times(flow_session *session, const struct flow_times **out, size_t *count);

/* ---- Measuring -------------------------------------------------------------------------------------------------------- */

enum { FLOW_PASS_FORWARD = 0, FLOW_PASS_BACKWARD = 1, FLOW_PASS_AGAIN = 2 /* forward once more, for backward (`recompute`) */ };
enum {
    FLOW_ROW_NODE = 0,
    FLOW_ROW_COPY = 1,    /* copies and conversions that planning put in, by the node or value they are for */
    FLOW_ROW_GRADIENT = 2 /* gradients passed on and added up, all together */
};
/* What a node did in all runs. Operations and bytes are what its operator says (backward: once or twice the forward's operations; bytes
 * there: each tensor once), whatever the caches spare. */
struct flow_profile_row {
    const char *node, *op;
    const char *choice; /* what the operator chose for these shapes, in its words; "" */
    int32_t pass, kind; /* FLOW_PASS_*, FLOW_ROW_* */
    int32_t dtype;
    int32_t reserved;
    double seconds, least; /* in all calls, and were each as short as the shortest on the same shapes; a loop's without its body's nodes */
    uint64_t calls;
    double flops, bytes; /* of all calls */
};
struct flow_profile {
    uint32_t size; /* sizeof(struct flow_profile), set by the caller */
    uint32_t row_size;
    const struct flow_profile_row *rows; /* row i: (const char *)rows + i * row_size */
    size_t count;
    uint64_t runs;
    int32_t threads, streams;
    double run_seconds;  /* in runs; with one stream the rows' seconds and what lies between nodes */
    double plan_seconds; /* on planning and packing */
    /* Of trainers: run_seconds is a part of these three's sum step_seconds; what is left is between them. */
    double data_seconds, update_seconds, step_seconds;
    double validate_seconds, save_seconds; /* validations; copying for checkpoints, which are written behind the training */
};
/* Since the session's start or flow_session_profile_reset. The session was made with `profile`. Valid until the next call or run. */
FLOW_EXPORT int flow_session_profile(flow_session *session, struct flow_profile *out, flow_errors **errors);
FLOW_EXPORT void flow_session_profile_reset(flow_session *session);

enum { FLOW_LIMIT_LEVELS = 4 };
/* What the machine gives at this moment to all the runtime's threads together: f32 operations a second (a multiply-add is two), and bytes
 * read a second from areas that lie in the first, second and third cache and in memory; reach[i]: bytes of all threads' areas. */
struct flow_limits {
    uint32_t size;
    int32_t threads;
    double flops;
    double reach[FLOW_LIMIT_LEVELS], rate[FLOW_LIMIT_LEVELS];
};
/* Measures them, in some 50 ms; nothing else may be under way in the runtime. Takes 64 MiB meanwhile. */
FLOW_EXPORT int flow_runtime_limits(flow_runtime *runtime, struct flow_limits *out, flow_errors **errors);

/* What happened so far, of a runtime made with trace_events: a JSON file in the Chrome trace event format, which Perfetto and
 * chrome://tracing open. A track a thread; nodes, pieces of a node on the workers, runs, input read ahead, steps of training. What other
 * threads record meanwhile may be missing. The file is whole or as it was. *lost (NULL is legal): events that gave way to later ones. */
FLOW_EXPORT int flow_runtime_trace_write(flow_runtime *runtime, const char *path, uint64_t *lost, flow_errors **errors);

/* ---- A graph taken apart --------------------------------------------------------------------------------------------- */

/* Every operator as a graph of its own, parameters being inputs of it, with what it read in one run: for tests of one operator after the
 * other (`flowrun check --gradients`). */
typedef struct flow_alone flow_alone;
struct flow_alone_input {
    const char *name, *role;  /* in the text; what the operator calls it: "x", "weight" */
    struct flow_tensor value; /* contiguous; data NULL: the node stands in a loop, only the type is known */
    bool differentiable;
    bool parameter;
};
struct flow_alone_node {
    const char *node, *op; /* "body.0.mix", "attention" */
    const char *text;      /* a graph, see flow_graph_parse; NULL: it cannot be written so */
    const char *why;       /* then: the reason */
    struct flow_alone_input *inputs;
    size_t input_count;
};
/* Runs the graph once on these inputs, by flow_graph_input, of the declared types (f32 as f64 where the graph was read so). */
FLOW_EXPORT int flow_alone_new(flow_graph *graph, const struct flow_tensor *inputs, flow_errors **errors, flow_alone **out);
FLOW_EXPORT void flow_alone_free(flow_alone *alone); /* before its graph's runtime */
FLOW_EXPORT size_t flow_alone_count(const flow_alone *alone);
FLOW_EXPORT const struct flow_alone_node *flow_alone_at(const flow_alone *alone, size_t index);

/* ---- Training ------------------------------------------------------------------------------------------------------ */

typedef struct flow_trainer flow_trainer;

struct flow_trainer_options {
    uint32_t size;
    int32_t streams;
    bool resume;     /* go on from the newest whole checkpoint in the graph's `checkpoint: {dir}` (none there: from the start) */
    bool profile;    /* times by node, see flow_trainer_times */
    int64_t steps;   /* in place of each stage's own; 0: as the graph says */
    const char *dir; /* in place of `checkpoint: {dir}`; NULL */
    bool unsaved;    /* no checkpoints are written */
};
/* The graph must have a `train` section. */
FLOW_EXPORT int flow_trainer_new(flow_graph *graph, const struct flow_trainer_options *options, flow_errors **errors, flow_trainer **out);
FLOW_EXPORT void flow_trainer_free(flow_trainer *trainer);
/* An input that no source feeds: the same tensor (copied) at every step. */
FLOW_EXPORT int flow_trainer_input(flow_trainer *trainer, const char *name, const struct flow_tensor *value, flow_errors **errors);

enum {
    FLOW_EVENT_STAGE = 1,      /* a stage begins */
    FLOW_EVENT_STEP = 2,       /* a step was made */
    FLOW_EVENT_VALIDATION = 3, /* `metrics` of the validation `name` */
    FLOW_EVENT_CHECKPOINT = 4, /* one is being written behind the training: `name` is its path; whole when the next comes, or END */
    FLOW_EVENT_STAGE_END = 5,
    FLOW_EVENT_END = 6
};
struct flow_metric {
    const char *name;
    const double *values; /* one; several where the node's value is a vector */
    size_t count;
};
struct flow_event {
    uint32_t size;
    int32_t kind;                      /* FLOW_EVENT_* */
    const char *stage;                 /* name with its variables, "learn[task=2]"; "" for a plain `train` */
    int64_t stage_number, stage_count; /* from 0; of all that will be run */
    int64_t step, steps;               /* steps made in the stage; of how many (-1: by time) */
    int64_t total;                     /* steps made in all stages */
    double loss, grad_norm;            /* of the step; NaN where there is none */
    double rate;                       /* what the schedule multiplies learning rates by */
    double seconds, step_seconds;      /* since the start of this run of the trainer; of this step */
    double waited;                     /* seconds spent waiting for data, in all */
    int64_t rows;                      /* axis 0 of the first input that the source feeds */
    const char *name;
    const struct flow_metric *metrics;
    size_t metric_count;
};
/* Goes on until the next event. After END: END again. Pointers in the event are valid until the next call. A failed step leaves the
 * parameters as they were before it. */
FLOW_EXPORT int flow_trainer_next(flow_trainer *trainer, struct flow_event *event, flow_errors **errors);
FLOW_EXPORT void
flow_trainer_cancel(flow_trainer *trainer); /* [any thread, signal handlers] next ends with FLOW_ERROR_CANCELLED after a last checkpoint */
/* Parameters (running statistics too), in order of name; NULL after the last. */
FLOW_EXPORT const struct flow_tensor *flow_trainer_parameter(const flow_trainer *trainer, size_t index, const char **name);
FLOW_EXPORT int flow_trainer_save(flow_trainer *trainer, const char *path, flow_errors **errors); /* all of them, a safetensors file */
FLOW_EXPORT struct flow_memory flow_trainer_memory(const flow_trainer *trainer);
FLOW_EXPORT int flow_trainer_profile(flow_trainer *trainer, struct flow_profile *out, flow_errors **errors); /* of all stages so far */
FLOW_EXPORT int flow_trainer_times(flow_trainer *trainer, const struct flow_times **out, size_t *count);     /* of the training steps */
/* What `train` says, for titles and settings of a report: JSON. */
FLOW_EXPORT int flow_graph_training(flow_graph *graph, flow_errors **errors,
                                    char **json); /* *json NULL: the graph has no `train` section */

/* ---- Tensors and files ---------------------------------------------------------------------------------------------- */

/* A contiguous tensor around memory of the caller's. */
FLOW_EXPORT struct flow_tensor flow_tensor_of(void *data, int32_t dtype, int32_t rank, const int64_t *shape);
FLOW_EXPORT int64_t flow_tensor_count(const struct flow_tensor *tensor); /* elements */
FLOW_EXPORT const char *flow_type_name(int32_t dtype);
FLOW_EXPORT int64_t flow_type_bytes(int32_t dtype);
/* Element `index` in row-major order, whatever the type, as a real. */
FLOW_EXPORT double flow_tensor_real(const struct flow_tensor *tensor, int64_t index);

/* A file of tensors (.safetensors .npy .wav .csv), read without copying where the format allows. */
FLOW_EXPORT int flow_file_open(flow_runtime *runtime, const char *path, flow_errors **errors, flow_file **out);
/* A safetensors file's bytes in memory, which stay there until flow_file_close; `name` stands in messages. */
FLOW_EXPORT int flow_file_image(flow_runtime *runtime, const char *name, const void *bytes, size_t size, flow_errors **errors,
                                flow_file **out);
FLOW_EXPORT void flow_file_close(flow_file *file);
FLOW_EXPORT size_t flow_file_count(const flow_file *file);
FLOW_EXPORT const char *flow_file_name(const flow_file *file, size_t index);
FLOW_EXPORT const struct flow_tensor *flow_file_tensor(const flow_file *file, size_t index);
FLOW_EXPORT const struct flow_tensor *flow_file_get(const flow_file *file, const char *name); /* NULL */
FLOW_EXPORT const char *flow_file_metadata(const flow_file *file, const char *key);           /* NULL */
FLOW_EXPORT double flow_file_rate(const flow_file *file);                                     /* samples a second; 0 */

struct flow_named {
    const char *name;
    const struct flow_tensor *tensor;
};
/* Written beside the target, flushed, renamed: the target is whole or as it was. `rate`: of wav files. */
FLOW_EXPORT int flow_file_write(flow_runtime *runtime, const char *path, const struct flow_named *tensors, size_t count, double rate,
                                flow_errors **errors);
FLOW_EXPORT int flow_file_write_bytes(flow_runtime *runtime, const char *path, const void *bytes, size_t size, flow_errors **errors);

/* Samples as they come, from a wav file or, "-", standard input (wav, or raw 16-bit little-endian mono). */
FLOW_EXPORT int flow_wave_open(flow_runtime *runtime, const char *path, flow_errors **errors, flow_wave **out);
FLOW_EXPORT void flow_wave_close(flow_wave *wave);
FLOW_EXPORT void
flow_wave_cancel(flow_wave *wave); /* [any thread, signal handlers] waiting ends with FLOW_ERROR_CANCELLED, now and later */
FLOW_EXPORT int32_t flow_wave_channels(const flow_wave *wave);
FLOW_EXPORT double flow_wave_rate(const flow_wave *wave); /* 0: raw */
/* Waits for `least` samples of each channel or the end; at most `count` go to samples[channel*stride + i]; *got 0: the end. */
FLOW_EXPORT int flow_wave_next(flow_wave *wave, int64_t least, int64_t count, float *samples, int64_t stride, int64_t *got,
                               flow_errors **errors);

#ifdef __cplusplus
}
#endif

#endif
