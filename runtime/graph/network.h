/* SPDX-License-Identifier: Apache-2.0 */
/* The graph after parsing, resolving and expanding: variables put in, subgraphs copied, names turned into indices, operators found.
 * No shape is known yet. Nodes stand in an order in which every node follows those it reads. */
#ifndef FLOW_GRAPH_NETWORK_H
#define FLOW_GRAPH_NETWORK_H

#include "base/report.h"
#include "base/text.h"
#include "graph/document.h"
#include "plugin/registry.h"

/* A value: output `output` of node `node`, or (node NETWORK_INPUT) input `output` of the network. */
enum { NETWORK_INPUT = -1, NETWORK_NOTHING = -2 };
struct network_ref {
    int32_t node;
    int32_t output; /* row of the output table; of a variadic last row: row + k for its k-th */
};

struct network_edge {
    int32_t port; /* row of the operator's input table (the last one repeats when variadic); of an enter node: 0; of a loop: body input */
    struct network_ref from;
    struct position at; /* of the reference */
    bool delayed;       /* `state:`: the value of the run before; never part of a cycle */
    bool never_reset;   /* `reset: never`: goes on from epoch to epoch */
    bool run_reset;     /* `reset: run`: each run starts from the reset value */
    const char *init;   /* delayed: initialiser of the first value (default zeros) */
    struct position init_at;
};

/* A parameter computed or shared elsewhere. */
struct network_tie {
    const char *param;  /* this node's parameter; NULL: all of them */
    const char *target; /* NODE.PARAM (param given) or NODE (param NULL): a parameter path; NULL: `value` */
    struct network_ref value;
    struct position at;
};

struct network_init {
    const char *name; /* parameter or state */
    const char *init;
    struct position at;
};

/* The signature of a subgraph's (or the file's) input, checked where a value enters: symbols bind in the scope. */
struct network_input {
    const char *name;
    int32_t dtype;
    int32_t rank;
    const struct document **extents; /* scalars: an integer, a symbol, an expression of symbols */
    struct position at, dtype_at;
    const char *doc;
};

enum network_kind {
    NETWORK_OPERATOR,
    NETWORK_ENTER,      /* a value crosses into a subgraph: passes it on as a view, after checking `input` in `scope` */
    NETWORK_LOOP,       /* repeats `body` */
    NETWORK_PARAMETERS, /* {op: parameters, with: {match}}: all matching parameters as one vector; no inputs */
    NETWORK_GRADIENT    /* {op: gradient, in: {loss, of}}: the derivative of one value by another, or (match) by parameters */
};

struct network_loop {
    struct network_pair {
        int32_t input, output;
    } * carry; /* body input <- body output */
    size_t carry_count;
    struct network_axis {
        int32_t port;
        int32_t axis;
        struct position at;
    } * over, *collect; /* body inputs; body outputs */
    size_t over_count, collect_count;
    int32_t index; /* body input that counts iterations; -1 */
    int32_t until; /* body output that ends the loop; -1 */
    int64_t max;   /* -1: given by `over` */
    bool recompute;
    struct position at, max_at, until_at, index_at;
};

struct network_node {
    enum network_kind kind;
    const char *path;       /* "body.2.mix": unique */
    const char *param_path; /* prefix of its parameters: copies that share have the same */
    struct position at;     /* of the node's key */
    struct position op_at;  /* of the operator's (graph's) name */
    const struct registry_entry
        *entry;              /* operator; NULL for OPERATOR: unknown or wrong, already reported: skip the node and what reads it */
    int32_t scope;           /* shape symbols in `with` are this scope's */
    struct network_edge *in; /* in order of port; variadic ones in order given */
    size_t in_count;
    const struct document *with; /* mapping of attributes, variables put in; NULL */
    struct network_tie *ties;    /* of single parameters first, a whole one (param NULL) last; chains of ties are followed to their end */
    size_t tie_count;
    struct network_init *inits;
    size_t init_count;
    int32_t *after; /* nodes that must be inferred before (enter nodes of its scope, where `with` names symbols) */
    size_t after_count;
    const struct network_input *input; /* ENTER: the signature to check */
    struct network *body;              /* LOOP: owned; its output "count" is not listed there: output body->output_count of the node */
    struct network_loop loop;
    const char *match; /* PARAMETERS; GRADIENT by parameters, else NULL */
    int32_t segment;   /* nodes of one segment (`recompute: true`) are computed again for backward, together; 0: kept */
};

/* An instance of a subgraph, whose nodes have its number; 0: the network itself. In order of the file, those within it after it. */
struct network_scope {
    const char *path;  /* "body.2"; of 0: NULL, of a loop's body the loop's */
    const char *graph; /* name of the subgraph; NULL */
    struct position at;
    int32_t outer;        /* the scope it stands in; -1 of 0 */
    int32_t copy, copies; /* of `repeat`: this one's number, and how many; 0 and 0 without */
};

struct network_output {
    const char *name;
    struct network_ref from; /* NETWORK_NOTHING where an error was told about it */
    struct position at;
};

struct network_rename {
    const char *from, *to;
    struct position at;
};

/* Everything `run:` may say, as text by key; flags of the same name override it. */
struct network_run {
    const char *key;
    const struct document *value;
};

/* A node of the file that no output, loss, metric, value of an optimiser or state depends on; one inside a subgraph that none of its
 * outputs depends on; a subgraph that is not used. Legal: a file may be a library. */
struct network_unused {
    const char *name;
    bool graph;
    struct position at;
};

struct network {
    struct arena arena; /* of the outermost network; a body shares it (arena.from NULL there) */
    const char *path, *name, *doc;
    struct network_input *inputs;
    size_t input_count;
    struct network_node *nodes;
    size_t node_count;
    struct network_output *outputs;
    size_t output_count;
    int32_t segment_count; /* of nodes that are computed again, numbered from 1 */
    int32_t scope_count;   /* scopes are numbered from 0 (the file) */
    struct network_scope *scopes;
    const char *weights; /* path as written, relative to the graph file; NULL */
    struct position weights_at;
    struct network_rename *renames;
    size_t rename_count;
    uint64_t seed;
    struct network_run *run;
    size_t run_count;
    const struct document *vars; /* the file's `vars:`, as written; NULL */
    struct training *training;   /* graph/training.h; NULL: no `train` section */
    struct network_unused *unused;
    size_t unused_count;
};

struct network_options {
    const char *const *set; /* "name=value" each: variables */
    size_t set_count;
    const struct training_var *vars; /* of stages, outermost first: later ones win, over `set` too; need not be declared in the file */
    size_t var_count;
    const size_t *stage; /* places in `stages:`, from the outermost on */
    size_t stage_depth;
    const char *graph; /* the network of one of the file's `graphs`, by itself (its inputs are those of the subgraph); NULL */
};

/* What `op: gradient` is: ports for references; the graph's own kind of node, without a kernel. */
extern const struct registry_entry gradient_entry;

/* Reads a graph file (or text). On errors the report holds all of them; a network may come back all the same (*out not NULL), good for
 * inferring, so that shape errors elsewhere in the file are reported too. */
int must_use network_read(const struct allocator *from, struct registry *registry, const char *path, const char *text, size_t length,
                          const struct network_options *options, struct report *report, struct network **out);
void network_free(struct network *network);

#endif
