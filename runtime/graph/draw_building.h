/* SPDX-License-Identifier: Apache-2.0 */
/* A scene while it is made: nodes, boxes and edges are added; values that cross the border of a box do so at an ENTRY or an EXIT. */
#ifndef FLOW_GRAPH_DRAW_BUILDING_H
#define FLOW_GRAPH_DRAW_BUILDING_H

#include "graph/draw_scene.h"

/* A value as it is drawn: output `port` of node `node`; node -1: not drawn. */
struct end {
    int32_t node, port;
};

struct building {
    struct scene *scene;
    struct map crossings; /* "group/node/port" of an exit or entry -> node; "c.." ports of closed boxes */
    struct map times;     /* path -> entry of `seconds` */
    double *seconds;      /* of a node: it may have several times, by pass and kind */
    int32_t depth;        /* boxes this deep are closed */
    bool failed;
};

int32_t draw_add_node(struct building *b, enum scene_kind kind, int32_t group, const char *path);
int32_t draw_add_group(struct building *b, enum scene_group_kind kind, int32_t parent, const char *path, const char *name);
int32_t draw_add_out(struct building *b, int32_t node, const char *name, const char *shape, const char *type);
int32_t draw_add_in(struct building *b, int32_t node, const char *name);
const char *draw_crossing_key(struct building *b, char kind, int32_t group, struct end value);
int32_t draw_home_out(const struct scene *scene, const struct scene_node *node);
int32_t draw_home_in(const struct scene *scene, const struct scene_node *node);
void draw_connect(struct building *b, struct end from, int32_t to, int32_t in);

#endif
