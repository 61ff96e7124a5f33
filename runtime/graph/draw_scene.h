/* SPDX-License-Identifier: Apache-2.0 */
/* What a drawing shows, before any place is known: nodes in boxes within boxes, and edges that each lie in one box. */
#ifndef FLOW_GRAPH_DRAW_SCENE_H
#define FLOW_GRAPH_DRAW_SCENE_H

#include "graph/draw.h"

enum scene_kind {
    SCENE_OPERATOR,
    SCENE_INPUT,
    SCENE_OUTPUT,
    SCENE_READ,  /* what a value was in the run before */
    SCENE_WRITE, /* the value that the next run reads there */
    SCENE_BOX,   /* a closed box */
    SCENE_ENTRY, /* where a value enters its box */
    SCENE_EXIT   /* where one leaves it */
};

struct scene_port {
    const char *name;  /* NULL: of no interest */
    const char *shape; /* of an output; NULL: not known */
    const char *type;  /* "f32"; NULL */
    bool silent;       /* the shape stands elsewhere */
};

struct scene_param {
    const char *name, *value; /* of the operator; "body.0.mix.weight" */
    const struct flow_tensor *type;
    int64_t numbers, bytes;
    bool tied;
    int32_t update; /* entry of `train: update` that owns it; -1 none */
};

struct scene_node {
    enum scene_kind kind;
    int32_t group;           /* the box it stands in, or (ENTRY, EXIT) on whose border */
    const char *path, *name; /* "body.0.mix", "mix" */
    const char *op;          /* second line */
    const char *about;       /* attributes, a line; NULL */
    const char *more;        /* all of them */
    const char *family;      /* plugin; NULL */
    const struct network_node *source;
    const struct network_input *input;
    const struct instance_node *instance;
    struct position at;
    struct scene_port *in, *out;
    int32_t in_count, out_count, out_room, in_room;
    struct scene_param *params;
    int32_t param_count;
    int64_t numbers, bytes; /* of its parameters, all copies */
    int32_t stream;         /* -1 */
    double seconds;         /* < 0: not known */
    int32_t inside;         /* BOX: nodes in it */
    int32_t pair;           /* READ, WRITE, ENTRY, EXIT: the other half; -1 */
    bool loss, delays;      /* streams late */
    bool names;             /* its ports are worth naming */
    int64_t state_bytes;
};

enum scene_group_kind { SCENE_GRAPH, SCENE_LOOP };
struct scene_group {
    enum scene_group_kind kind;
    int32_t parent; /* -1: the whole */
    const char *path, *name, *graph, *note;
    int32_t copies; /* drawn as one; 0: not repeated */
    int32_t depth;
    struct position at;
    int32_t closed; /* the node that stands for it; -1 */
    bool hidden;    /* within a closed one */
    const struct network_scope *scope;
    double seconds;
    int32_t inside;
};

struct scene_edge {
    int32_t from, out, to, in;
    int32_t group; /* it lies in */
};

struct scene {
    struct arena *arena;
    const struct network *network;
    const struct draw_options *options;
    struct scene_node *nodes;
    struct scene_group *groups; /* parents before children; 0: the whole */
    struct scene_edge *edges;
    size_t node_count, node_room, group_count, group_room, edge_count, edge_room;
    const char **families; /* by name */
    size_t family_count;
    int64_t numbers, bytes; /* of all parameters */
    int32_t operators;      /* nodes of the network, copies and bodies counted */
    double seconds;         /* of all nodes; 0: no times */
    int32_t closed;         /* boxes closed because there was too much */
};

int must_use scene_new(struct arena *arena, const struct network *network, const struct draw_options *options, struct scene *scene);
/* Place of a family in a palette of `count`: by name, those that would meet moved on. */
int32_t scene_color(const struct scene *scene, const char *family, int32_t count);
/* draw_scene_text.c */
const char *scene_attributes(struct arena *arena, const struct document *with, size_t most);
const char *scene_shape(struct arena *arena, const struct flow_tensor *type);
int64_t scene_numbers(const struct flow_tensor *type); /* elements; 0 where there are too many to count */
int must_use scene_params(struct scene *scene, struct scene_node *node, const struct instance *instance);

#endif
