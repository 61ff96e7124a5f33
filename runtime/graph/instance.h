/* SPDX-License-Identifier: Apache-2.0 */
/* The graph with shapes: attributes parsed, parameters and states known, every operator asked by infer. Immutable once made.
 * Extents are numbers. Where symbols are open, instance_check infers with sample extents and names symbols in its messages. */
#ifndef FLOW_GRAPH_INSTANCE_H
#define FLOW_GRAPH_INSTANCE_H

#include "base/log.h"
#include "graph/network.h"

enum instance_kind {
    VALUE_INPUT, /* fed by the caller (or, in a loop's body, by the loop) */
    VALUE_PARAM, /* stored in the model under `name` */
    VALUE_NODE,  /* computed by node `node`, output `port` */
    VALUE_FEED,  /* what value `feed` was at the end of the run before */
    VALUE_GRAD   /* a gradient: written by one node, then added to by others, in order */
};

/* Nodes beside those of the graph, put in by differentiation (grad/). */
enum instance_role {
    NODE_FORWARD,
    NODE_AGAIN,    /* a forward node once more, for backward (`recompute: true`) */
    NODE_BACKWARD, /* the vector-Jacobian product of node backward->of */
    NODE_FILL,     /* target = fill */
    NODE_PASS,     /* target = in[0]; may take over its memory */
    NODE_ADD,      /* target += in[0]; the target may be any view, also one that overlaps itself */
    NODE_JOIN      /* out[0] = in[0], in[1] .. one after another */
};

struct instance_backward {
    int32_t of;                    /* node whose backward it is */
    int32_t saved_of;              /* node that has saved for it: `of`, or its AGAIN */
    const int32_t *read;           /* outputs of that node, -1: not read */
    const int32_t *grad_out;       /* by output; -1: none arrives */
    int32_t *grad_in, *grad_param; /* -1: not wanted */
    uint64_t accumulate_in, accumulate_param;
    /* LOOP: of one iteration's gradient (the node's body): by body output, the input that takes its cotangent; by body input and
     * parameter, the output that gives its gradient; -1: none. */
    int32_t *cotangent, *of_input, *of_param;
};

struct instance_value {
    enum instance_kind kind;
    const char *name;        /* "x", "body.0.norm", "body.0.mix.k_out", "body.0.norm.weight" */
    struct flow_tensor type; /* no data; a view has its own strides */
    int32_t node, port;      /* NODE */
    int32_t index;           /* INPUT: of the network's inputs */
    int32_t feed;            /* FEED: the value it repeats */
    bool run_reset;          /* FEED */
    bool never_reset;        /* FEED */
    int32_t view_of;         /* value it is a view of (whole chain resolved to an owner), or -1 */
    int64_t view_offset;     /* elements from the owner's first */
    bool dynamic;            /* shape[0] is a bound */
    int32_t stream_axis;     /* -1 */
    const char *init;        /* PARAM, FEED */
    uint32_t flags;          /* PARAM: FLOW_NO_GRAD, FLOW_RUNNING */
    uint64_t seed;           /* PARAM: of its initial value: flow_key(graph seed, name) */
};

/* A state of a streaming node. Numbered over the whole instance; the numbering depends on the network alone. */
struct instance_state {
    int32_t node, row;          /* row of the operator's state table */
    const char *name;           /* "body.0.memory.history" */
    struct flow_tensor in, out; /* extents before and after this piece */
    const struct flow_state *about;
    const char *init;
};

struct instance_node {
    const struct network_node *source;
    const struct registry_entry *entry; /* NULL: loop, parameters */
    const void *attrs;
    void *priv;
    int32_t *in, *out, *param; /* values; -1 where there is none */
    uint32_t in_count, out_count, param_count;
    int32_t state, state_count; /* its states: instance.states[state ..] */
    struct flow_infer infer;    /* as the operator left it; its pointers live in the instance's arena */
    int32_t dtype;              /* the node's type, that kernels are chosen by */
    bool hosted;                /* the device has no kernel for it: it runs on the CPU */
    bool streaming;
    uint64_t seed;
    enum instance_role role;
    struct instance_backward *backward;
    int32_t target; /* FILL, PASS, ADD: a gradient, or a view of one */
    double fill;
    struct instance *body; /* LOOP: shapes of one iteration. Of its BACKWARD: one iteration and its gradient */
    bool borrowed;         /* the body belongs to another node */
    int64_t iterations;    /* LOOP: the most there can be */
};

struct instance {
    struct arena arena;
    const struct network *network;
    struct instance_node *nodes;
    struct instance_value *values;
    struct instance_state *states;
    int32_t *inputs;  /* by network input; of the body too */
    int32_t *outputs; /* by network output; then what differentiation adds */
    int32_t *params;  /* values of kind PARAM, in order of name */
    int32_t *refs;    /* by options.refs */
    size_t node_count, value_count, state_count, param_count, input_count, output_count;
    int32_t phase;    /* FLOW_PHASE_* */
    int32_t products; /* the host's, by which packed bytes were measured */
    bool streaming, first, flush;
    bool keep_all;
    bool gradients; /* has nodes {op: gradient}, still to be made out */
};

struct instance_options {
    const struct flow_host *host;     /* its fail, fail_at, param are replaced by the inferring ones */
    int32_t device;                   /* FLOW_DEVICE_*: of whose kernels the needs are told */
    const struct flow_host *cpu;      /* another device than the CPU: the host of nodes that have no kernel there */
    int32_t phase;                    /* FLOW_PHASE_* */
    int32_t precision;                /* FLOW_F32, or FLOW_F64: every f32 of the graph is then f64 */
    const struct flow_tensor *inputs; /* by network input: type and extents of what is fed */
    const char *stream;               /* the symbol whose axis is cut into pieces; NULL */
    bool first, flush;
    const struct instance *before; /* streaming, not first: the piece before, whose states go on */
    uint64_t seed;                 /* in place of the network's when `seeded` */
    bool seeded;
    bool differentiate;             /* operators are asked what their backward needs */
    bool keep_all;                  /* `recompute: true` is passed over: for telling what it saves */
    const struct logger *log;       /* receives what operators log; NULL */
    const struct network_ref *refs; /* values that are wanted beside the outputs: instance.refs */
    size_t ref_count;
};

/* One shape. All errors go to the report; *out is NULL on any. */
int must_use instance_new(const struct allocator *from, const struct network *network, const struct instance_options *options,
                          struct report *report, struct instance **out);
void instance_free(struct instance *instance);

/* Checks the graph for every extent its symbols may take, by inferring with several sets of sample extents: an error that all sets give is
 * an error of the graph, reported with symbols' names. inputs in `options` are ignored. */
int must_use instance_check(const struct allocator *from, const struct network *network, const struct instance_options *options,
                            struct report *report);
/* Types for the graph's inputs with given extents for symbols: `extents` "T=100" each, other symbols `otherwise`. */
int must_use instance_inputs(const struct network *network, const char *const *extents, size_t count, int64_t otherwise, int32_t precision,
                             struct report *report, struct flow_tensor *inputs);
/* The shape of a value in terms of the graph's symbols, "[B, S/160 - 2, 80]", as far as samples can tell. For printing. */
int must_use instance_symbols(const struct allocator *from, const struct network *network, const struct instance_options *options,
                              const struct instance *instance, int32_t value, struct text *out);

/* The same for many values: the samples are inferred once. */
struct instance_samples;
int must_use instance_samples_new(const struct allocator *from, const struct network *network, const struct instance_options *options,
                                  struct instance_samples **out);
void instance_samples_free(struct instance_samples *samples);
/* Of the body of a loop, node `node`; to be freed before `all`. */
int must_use instance_samples_body(const struct instance_samples *all, size_t node, struct instance_samples **out);
void instance_samples_shape(const struct instance_samples *samples, const struct instance *instance, int32_t value, struct text *out);

/* Are two pieces planned alike? (extents of inputs and incoming states, flush) */
bool instance_fits(const struct instance *instance, const struct instance_options *options);

#endif
