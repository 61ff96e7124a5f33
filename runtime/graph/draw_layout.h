/* SPDX-License-Identifier: Apache-2.0 */
/* Where everything of a scene stands. Each box is laid out by itself, the innermost first, and is then one item of the box around it; its
 * inputs are on its upper border, its outputs on the lower one. Pixels, from the upper left corner of the whole. */
#ifndef FLOW_GRAPH_DRAW_LAYOUT_H
#define FLOW_GRAPH_DRAW_LAYOUT_H

#include "graph/draw_scene.h"

/* Sizes of type, and of what stands round it. */
enum { TYPE_NAME = 13, TYPE_OP = 11, TYPE_SMALL = 10, TYPE_PORT = 9, STRIP = 5, TITLE_HEIGHT = 26, PAD = 14, TAG_HEIGHT = 18 };

struct layout_node {
    double x, y, width, height;
    double *in, *out; /* of ports, from the left side */
};

struct layout_group {
    double x, y, width, height, title;
};

/* From the bottom of an item (or a passing point) straight down from (x0, y0) to y1, over to (x1, y2), down to y3. */
struct layout_link {
    int32_t node, port; /* the source */
    int32_t edge;       /* that ends here; -1 */
    int32_t group;
    double x0, y0, y1, x1, y2, y3;
};

struct layout_tag {
    int32_t edge;
    double x, y, width, height;
};

struct layout {
    struct layout_node *nodes;   /* by scene node */
    struct layout_group *groups; /* by scene group; 0: the whole */
    struct layout_link *links;
    struct layout_tag *tags;
    size_t link_count, tag_count, link_room, tag_room;
    double width, height;
};

int must_use layout_scene(const struct scene *scene, struct layout *layout);
/* The text of a shape beside an edge, "[B, T, 80]", with the type where it is not f32; NULL: none. */
const char *layout_label(struct arena *arena, const struct scene_port *port);
const char *layout_chip(const struct scene_node *node, char text[16]); /* "33k" parameters; "" */
double layout_mark(const struct scene_node *node); /* the room right of the operator's name for that, and for its share of time */
const char *layout_tag_text(const struct scene *scene, const struct scene_edge *edge);
const char *layout_title(struct arena *arena, const struct scene_group *group); /* what follows the name */

#endif
