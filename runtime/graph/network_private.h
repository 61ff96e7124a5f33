/* SPDX-License-Identifier: Apache-2.0 */
/* How a file becomes a network. In three passes:
 *   expand   (network_expand.c) walks the file and every subgraph that is used and makes the nodes, each with its path; names are known in
 *            frames, one for each instance of a subgraph
 *   resolve  (network_resolve.c, network_loop.c, network_tie.c) turns references into indices: all nodes exist by then, so order in the
 *            file does not matter
 *   order    (network_order.c) sorts the nodes of each network after what they read, finds cycles, and writes the result down
 * Errors are told as they are found and mark the node as broken; a pass goes on. Each network (the file's, and one for the body of each
 * loop) is a `unit` while it is made. */
#ifndef FLOW_GRAPH_NETWORK_PRIVATE_H
#define FLOW_GRAPH_NETWORK_PRIVATE_H

#include "graph/network.h"

enum {
    NODES_MOST = 1000000,  /* of all networks together */
    WORK_MOST = 100000000, /* values looked at, and memory in units of 4 bytes, while expanding: bounds files that repeat themselves */
    NESTING_MOST = 32,     /* subgraphs in subgraphs */
    FILES_MOST = 256,
    NAME_MOST = 255,             /* bytes of a name */
    TEXT_MOST = 65536,           /* bytes of a scalar after variables are put in */
    NEAREST_WORK_MOST = 30000000 /* steps spent on looking for similar names */
};

/* Variables: a subgraph's own, or the file's. */
struct environment {
    struct map names; /* -> index into values */
    const char **keys;
    const struct document **values; /* NULL: an error was told about it */
    size_t count;
    const struct document *index;    /* ${index}; NULL outside `repeat` */
    const struct environment *outer; /* the file's; NULL */
};

/* A file as it was read. */
struct source {
    const char *path;
    const struct document *root;
    struct map graphs; /* name -> index into definitions */
    struct definition *definitions;
    size_t definition_count;
    struct definition *self; /* the file as a subgraph of others */
};

/* A subgraph as it is written. */
struct definition {
    const char *name;
    struct source *source;
    const struct document *body; /* mapping: vars, inputs, nodes, outputs; or {file} */
    struct position at;
    bool open; /* being expanded: meeting it again is recursion */
    bool used, broken;
};

enum item_kind { ITEM_INPUT, ITEM_NODE, ITEM_GRAPH, ITEM_LOOP, ITEM_BROKEN };

/* What a name stands for in a frame. */
struct item {
    enum item_kind kind;
    const char *name;
    const struct document *doc; /* the node's mapping, as written */
    struct position at;
    int32_t input;         /* INPUT: of the frame's */
    int32_t node;          /* NODE, LOOP: of the unit's */
    struct frame **copies; /* GRAPH: one without `repeat`. LOOP: one, the body */
    size_t copy_count;
    bool repeated;
    const struct document *op; /* name of operator or graph */
};

struct frame_input {
    struct network_input about;
    struct network_ref ref; /* what the name stands for inside: an ENTER node, or an input of the unit */
};

struct frame_output {
    const char *name;
    const struct document *value; /* the reference, variables put in; NULL: broken */
    struct position at;
    struct network_ref ref;
    bool resolved;
};

/* One instance of a subgraph, or the file itself. */
struct frame {
    struct unit *unit;
    struct definition *definition;
    const struct environment *environment, *file_environment;
    const char *path, *param_path; /* NULL: the file */
    struct position at;            /* of the node's key */
    int32_t scope;
    int32_t outer, copy, copies; /* see network_scope */
    const char *graph;
    int32_t segment;  /* of its nodes: see network_node */
    struct map names; /* -> index into items */
    struct item *items;
    size_t item_count;
    struct frame_input *inputs;
    size_t input_count;
    struct frame_output *outputs;
    size_t output_count;
    struct map output_names;
    int32_t *after; /* its ENTER nodes in the final order */
    size_t after_count;
    bool root; /* its inputs are the unit's */
};

/* A node while it is made. Its references are indices into the unit's nodes. */
struct draft {
    struct network_node node;
    const struct registry_entry *entry; /* also when broken: ports can still be looked up */
    struct frame *frame;
    struct item *item;
    bool broken;     /* an error was told about it */
    bool keys_wrong; /* a key of it is misspelt: what seems to be missing may be there */
    bool symbols;    /* its `with` may name shape symbols */
    struct frame *body;
    /* whole ties, by node: the node whose parameters it uses */
    struct draft *shares;
    struct position shares_at;
    bool shares_by_path; /* as part of a tied subgraph: it takes the parameter path itself */
    int32_t mark;
    struct tie *ties; /* of single parameters */
    size_t tie_count;
};

/* One parameter that is another node's, or a value. */
struct tie {
    struct tie *next;
    const char *param;
    struct draft *target; /* NULL: `value` */
    const char *target_param;
    struct network_ref value;
    struct unit *unit; /* whose node `value` is */
    struct position at;
    int32_t mark;
};

struct unit {
    struct network *network;
    struct draft **drafts;
    size_t count, capacity;
    struct frame **frames;
    size_t frame_count, frame_capacity;
    int32_t depth;     /* bodies of loops around it */
    int32_t *final;    /* places of the drafts in the network, once it is written down; NULL: it has a cycle */
    bool *reached;     /* nodes of the network that something uses */
    struct map owners; /* of parameters, by path: the first node */
    bool owned;        /* that map is made */
    struct unit *next;
};

/* What stands under `in` and `state` of a node, by port: an operator's, or a subgraph's inputs. */
struct ports {
    const struct flow_operator *op; /* or */
    const struct frame *frame;
    int32_t skip;       /* an input that is not fed (a loop's index); -1 */
    struct frame *from; /* where the references are */
    struct feed {
        int32_t port;
        const struct document *value;
        struct network_ref ref;
        bool delayed;
    } * feeds;
    size_t feed_count;
    uint32_t *fed; /* by port: how often */
    bool never_reset;
    bool run_reset, broken;
};

struct tie_job {
    struct frame *frame;
    struct item *item;
    const struct document *tie;
};

struct reader {
    const struct allocator *from;
    struct arena *arena; /* the network's */
    struct arena scratch;
    struct registry *registry;
    struct report *report;
    const char *node; /* path of the node in hand: begins messages */
    struct map told;
    struct map operators; /* name -> index into entries */
    const struct registry_entry **entries;
    size_t entry_count, entry_capacity;
    struct map files; /* path -> index into sources */
    struct source **sources;
    size_t source_count, source_capacity;
    struct unit *units, **units_end; /* outermost first */
    struct unit *pass;               /* the first one of the pass in hand */
    struct tie_job *ties;
    size_t tie_count, tie_capacity;
    int64_t nodes, work, nearest_work;
    int32_t segments; /* that are computed again */
    int32_t nesting;
    struct arena *keep;        /* the network's, also while stages are looked through and `arena` is another */
    struct training *training; /* of the reading for no stage: takes what is missing; NULL: that is an error */
    struct map used;           /* paths of nodes that a stage uses in a graph of other variables */
    int32_t quiet;             /* errors are not told */
    bool stopped;              /* out of memory, too large, or too many errors: give up */
    bool memory;
    bool unsound;   /* what was found wrong leaves nothing that could be inferred */
    int32_t errors; /* in the report before */
};

/* ---- network.c ---- */

/* Tells an error once for each place, the node in hand named. Returns FLOW_ERROR_GRAPH. */
int reader_fail(struct reader *reader, struct position at, const char *format, ...) printf_like(3, 4);
int reader_fail_as(struct reader *reader, int code, struct position at, const char *format, ...) printf_like(4, 5);
void reader_memory(struct reader *reader);
void *reader_new(struct reader *reader, size_t count, size_t size);             /* result memory; NULL: reader_memory was told */
void *reader_scratch(struct reader *reader, size_t count, size_t size);         /* gone with the reader */
char *reader_join(struct reader *reader, const char *prefix, const char *name); /* "prefix.name" */
bool reader_set(struct reader *reader, struct map *map, const char *key, int64_t value);
/* Counts work done for an expansion; false once there is too much of it. */
bool reader_spend(struct reader *reader, struct position at, int64_t units);
bool reader_grow(struct reader *reader, void **at, size_t *capacity, size_t need, size_t element);

/* " (did you mean 'x'?)" or "" in `hint`. Offer names, then ask. */
struct hint {
    struct reader *reader;
    struct nearest nearest;
    size_t length;
    char text[NAME_MOST + 32];
};
void hint_init(struct reader *reader, struct hint *hint, const char *wanted);
void hint_offer(struct hint *hint, const char *name);
const char *hint_text(struct hint *hint);

/* Checks a mapping's keys against NULL-terminated `known`; `what` names its kind. False after an error. */
bool reader_keys(struct reader *reader, const struct document *mapping, const char *const *known, const char *what);
/* A name of a node, input or variable: letters, digits, _ and -. */
bool reader_name(struct reader *reader, const char *name, struct position at, const char *what);
/* Names of attributes: each must be a row (or one of `also`, ended by NULL), and each row without a default must be given, told at `at`. */
bool reader_attrs(struct reader *reader, const char *kind, const char *name, const struct flow_attrs *rows, const struct document *with,
                  const char *const *also, struct position at);
/* The file once more, with other variables: a frame of a unit of its own, whole. NULL after an error. */
struct frame *reader_again(struct reader *reader, struct source *source, const struct network_options *options);
/* A file as source of subgraphs; NULL after an error. */
struct source *reader_source(struct reader *reader, const char *path, const struct document *root);
/* A subgraph's file, read when first needed. */
struct source *reader_file(struct reader *reader, const struct definition *definition);

/* ---- network_variables.c ---- */

/* The value with variables put in (the same one when there are none); NULL after an error. */
const struct document *variables_put(struct reader *reader, const struct environment *environment, const struct document *value);
/* The same for a scalar that must be text in the end. */
const char *variables_text(struct reader *reader, const struct environment *environment, const struct document *scalar, const char *what);
const char *variables_key(struct reader *reader, const struct environment *environment, const struct document *key);
/* `defaults` (mapping or NULL), overridden by `with` (its values already put in; NULL). */
struct environment *variables_new(struct reader *reader, const struct environment *outer, const struct document *index,
                                  const struct document *defaults, const struct document *with, const char *graph);
/* The settings of the command line as such a `with`. */
const struct document *variables_settings(struct reader *reader, const struct network_options *options);
const struct document *variables_number(struct reader *reader, int64_t value, struct position at);

/* ---- network_expand.c ---- */

struct unit *expand_unit(struct reader *reader);
/* Fills a frame; false when it is not whole. */
bool expand_frame(struct reader *reader, struct frame *frame);

/* ---- network_resolve.c ---- */

void resolve_frame(struct reader *reader, struct frame *frame);
/* What a reference stands for; NOTHING after an error. */
struct network_ref resolve_reference(struct reader *reader, struct frame *frame, const char *text, struct position at);
struct network_ref resolve_output(struct reader *reader, struct frame *frame, size_t output);
struct item *frame_item(const struct frame *frame, const char *name);
struct item *frame_item_n(const struct frame *frame, const char *name, size_t length);
bool operator_output(const struct registry_entry *entry, const char *name, int32_t *output);
/* Reads a node's `in` and `state`. False when something was told. */
bool resolve_feeds(struct reader *reader, struct frame *frame, struct item *item, struct ports *ports);

/* ---- network_loop.c ---- */

void resolve_loop(struct reader *reader, struct frame *frame, struct item *item);
void resolve_copies(struct reader *reader, struct frame *frame, struct item *item);

/* ---- network_tie.c ---- */

void resolve_ties(struct reader *reader);
void resolve_inits(struct reader *reader, struct frame *frame, struct item *item);

/* ---- network_order.c ---- */

/* Writes the unit's network down; false when it has a cycle. */
bool order_unit(struct reader *reader, struct unit *unit);

#endif
