/* SPDX-License-Identifier: Apache-2.0 */
/* How an instance is made: one pass over the network's nodes, each asked for
 * its shapes once all it reads are known. What is needed only while that goes
 * on is in `struct build`; it is shared by the files instance*.c and by nothing
 * else. */
#ifndef FLOW_GRAPH_INSTANCE_BUILD_H
#define FLOW_GRAPH_INSTANCE_BUILD_H

#include "graph/expression.h"
#include "graph/extents.h"
#include "graph/instance.h"
#include "graph/pattern.h"

/* Beside each value of the instance. */
struct build_value {
    int32_t clock;    /* streaming values of one clock have equal extents in every
                         piece; -1: not streaming */
    int32_t declared; /* PARAM: network node that declared it first */
    bool native;      /* PARAM: that node is the one it is named after */
    const char *tied; /* PARAM: path of a node that ties to it, and where */
    struct position tied_at;
    int32_t apart; /* 1 + the copy that stands for it wherever it is read; 0 */
};

/* A `state:` edge. What it repeats may come later in the order, so its type is
 * known before only by asking twice. */
struct build_feed {
    int32_t value;
    struct network_ref from;
    const struct network_edge *edge;
};

/* An extent of a signature that could not be evaluated when its value came by:
 * again at the end. */
struct build_pending {
    struct build_pending *next;
    const struct network_input *input;
    struct position at;
    int32_t scope, axis;
    struct flow_tensor found;
    const char *path;
};

/* What a loop tells its body's build. */
struct build_outer {
    const char *path;          /* of the loop's node */
    const struct position *at; /* by body input: where the reference stands */
};

struct build_options {
    const struct build_outer *outer; /* NULL: the whole graph */
    const struct flow_tensor *feeds; /* by order of delayed edges: their types;
                                        rank -1 or NULL: not known */
    int32_t guess;                   /* element type of unknown feeds */
    const struct instance *like;     /* an instance of the same network whose `align`
                                        nodes are to be repeated; NULL: decide */
    struct flow_tensor *found;       /* not NULL: this build only finds the types of
                                        what feeds repeat; no instance comes of it */
};

struct build {
    struct instance *made;
    const struct allocator *from;
    const struct network *network;
    const struct instance_options *options;
    const struct build_options *how;
    struct report *report;
    struct flow_host *host, *host_cpu; /* with the inferring functions; in the instance's arena */
    struct arena scratch;              /* gone when the instance is done */
    int32_t *node_of;                  /* by network node: the instance's, -1: not made */
    int32_t *used;                     /* by network node: outputs that somebody reads, from 0 */
    bool *late;                        /* by network node: after all parameters are known; NULL: none */
    struct map *symbols;               /* by scope */
    struct map params;                 /* name -> value */
    struct map paths;                  /* parameter path -> network node; filled when a tie asks */
    bool paths_known;
    struct build_value *values; /* beside made->values */
    struct build_feed *feeds;   /* one a delayed edge, in order of nodes */
    size_t feed_count;
    size_t *feed_next; /* by network node: of its next delayed edge; NULL: there
                          are none */
    struct build_pending *pending;
    struct network_ref *wanted; /* what is differentiated by */
    size_t wanted_count;
    size_t node_room, value_room, state_room;
    int32_t clocks;
    size_t like_node; /* the next node of how->like to look at for attributes */
    size_t like_next; /* the next node of how->like to look at for an align */
    int32_t f32;      /* what f32 stands for: FLOW_F32, or FLOW_F64 */
    bool streaming;
    uint64_t seed;
};

/* `owner` of an operator that is being asked. Lives on the stack of the
 * question. */
struct build_asking {
    struct build *build;
    const struct network_node *source;
    const struct registry_entry *entry; /* NULL: no operator */
    const struct flow_operator *op;
    struct bindings *bindings;
    struct flow_infer *infer;
    struct build_param *params; /* table rows, then those declared */
    uint32_t param_count, param_room;
    int32_t node_type, float_type; /* of outputs, parameters and states that follow the node's */
    bool failed, no_memory;
};

enum { BUILD_FOREIGN = 1u << 30 }; /* flag of a body's parameter that is named after a node outside of it */

/* One parameter of a node while it is asked. */
struct build_param {
    const char *name, *init;
    uint32_t flags;
};

/* Functions return 0, or negative when memory ran out (build_make: on any
 * error): all else goes to the report. */

/* instance.c */
int must_use build_make(const struct allocator *from, const struct network *network, const struct instance_options *options,
                        const struct build_options *how, struct report *report, struct instance **out);
int32_t must_use build_value(struct build *build, enum instance_kind kind, const char *name,
                             const struct flow_tensor *type);                             /* -1: memory */
struct instance_node *build_node(struct build *build, const struct network_node *source); /* NULL: memory; counted by its caller */
/* The value a reference stands for; -1: its node failed or makes no such
 * output, which `missing` tells apart. */
int32_t build_ref(const struct build *build, struct network_ref ref, bool *missing);
char *build_join(struct arena *arena, const char *path, const char *name); /* "path.name" */
const char *build_output_name(const struct network *network, struct network_ref ref, char buffer[80]);
int build_error(struct build *build, const struct network_node *source, int code, struct position at, const char *format, ...)
    printf_like(5, 6);

/* instance_host.c */
struct flow_host *build_host(struct arena *arena, const struct flow_host *of); /* NULL: memory */

/* instance_scope.c */
int must_use build_signature(struct build *build, const struct network_input *input, int32_t scope, const struct flow_tensor *found,
                             struct position at, const char *path, bool *fits);
int must_use build_pending_check(struct build *build);
int build_symbol(void *context, const char *name, size_t length, struct number *value); /* expression_lookup; context: a scope's map */
bool build_scalar_int(const struct document *scalar, int64_t *value);
bool build_is_symbol(const char *text);

/* instance_node.c */
int must_use build_operator(struct build *build, int32_t index);
int must_use build_enter(struct build *build, int32_t index);
/* A node of the runtime's own before another. out[i] is its i-th output; *made
 * false: an error was reported. */
int must_use build_inserted(struct build *build, const struct network_node *before, const char *suffix, const struct registry_entry *entry,
                            const int32_t *in, uint32_t count, int32_t *out, bool *made);
/* The value an edge brings. *ready becomes false when there is none because
 * something failed; a port left out gives -1 alone. */
int must_use build_edge(struct build *build, int32_t index, const struct network_edge *edge, const char *port, bool optional,
                        int32_t *value, bool *ready);
int32_t build_type(const struct build *build, uint32_t types, int32_t node_type, int32_t float_type);
/* An error about the node that is asked; only its first one is kept. */
int build_fail(struct build_asking *asking, int code, struct position at, const char *format, ...) printf_like(4, 5);

/* instance_output.c */
const struct flow_port *build_output_row(const struct flow_operator *op, uint32_t output); /* NULL: the table has none */
void build_output_check(struct build_asking *asking, uint32_t output);
int must_use build_output_values(struct build_asking *asking, struct instance_node *node, int32_t index);
int must_use build_output_value(struct build *build, struct instance_node *node, int32_t index, const struct flow_tensor *type,
                                uint32_t port, const char *name, int32_t *value);
void build_view(struct build *build, int32_t value, int32_t of, int64_t offset); /* elements from the first of `of` */
/* The type that kernels are chosen by. */
int32_t build_kernel_type(const struct flow_infer *infer, int32_t otherwise);

/* instance_param.c */
int must_use build_param_rows(struct build_asking *asking);
int build_param_declare(struct flow_infer *infer, const char *name, int32_t dtype, int32_t rank, const int64_t *shape, const char *init,
                        uint32_t flags, uint32_t *index);
int must_use build_param_values(struct build_asking *asking, struct instance_node *node);
int must_use build_param_named(struct build *build, int32_t index, const char *name, const struct flow_tensor *type, const char *init,
                               uint32_t flags, bool native, struct position at, int32_t *value);
int must_use build_init(struct build_asking *asking, const char *name, const char *init, const char **out);
int must_use build_ties_check(struct build *build);

/* instance_loop.c */
int must_use build_loop(struct build *build, int32_t index);
int must_use build_parameters(struct build *build, int32_t index);
int must_use build_parameters_check(struct build *build);

/* instance_gradient.c */
int must_use build_find_wanted(struct build *build);
bool build_wanted(const struct build *build, int32_t index, uint32_t output);
int must_use build_apart(struct build *build, int32_t index);
int must_use build_gradient(struct build *build, int32_t index);

/* instance_stream.c */
int must_use stream_probe(const struct allocator *from, const struct network *network, const struct instance_options *options,
                          struct instance **out); /* negative: memory; *out NULL
                                                     when it cannot be told */
int must_use stream_inputs(struct build *build);
int must_use stream_align(struct build *build, const struct network_node *source, int32_t *in, uint32_t count);
/* Before the operator is asked: axes and states that come in. After: states
 * that go out, the axis of each output. */
int must_use stream_begin(struct build_asking *asking, struct instance_node *node);
int must_use stream_end(struct build_asking *asking, struct instance_node *node);
void stream_outputs(struct build *build, const struct instance_node *node); /* once its values exist */

/* align.c */
extern const struct registry_entry align_entry; /* makes streams of unequal delay go in step */
extern const struct registry_entry copy_entry;  /* makes a view row-major */
enum { ALIGN_MOST = 16 };                       /* inputs */

#endif
