/* SPDX-License-Identifier: Apache-2.0 */
/* A network as a drawing: what is drawn is made out first (draw_scene.h), then placed (draw_layout.h) and written (draw_svg.c,
 * draw_text_formats.c, draw_json.c). */
#ifndef FLOW_GRAPH_DRAW_H
#define FLOW_GRAPH_DRAW_H

#include "graph/instance.h"

enum draw_format { DRAW_SVG, DRAW_DOT, DRAW_MERMAID, DRAW_JSON };

struct draw_time {
    const char *node; /* path */
    double seconds;
};

/* Shapes in symbols, of one instance: the network's, or of the body of a loop. */
struct draw_shapes {
    const struct draw_shapes *next;
    const struct instance *instance;
    const char *const *shape; /* by value; NULL: as the instance has it */
};

struct draw_options {
    enum draw_format format;
    const struct instance *instance; /* of the network, for shapes and parameters; NULL: none are shown */
    const struct draw_shapes *shapes;
    const int32_t *stream; /* by node of the network; NULL: none are shown */
    int32_t stream_count;
    const char *device; /* "cpu" */
    const struct draw_time *times;
    size_t time_count;
    int32_t depth; /* boxes this deep are closed; 0: as deep as fits */
    bool unfold;   /* copies made by `repeat` one by one */
};

enum { DRAW_NODES_MOST = 100000 };

/* Cost: about (nodes + edges) log of them. Negative: out of memory, or (FLOW_ERROR_UNSUPPORTED) more than DRAW_NODES_MOST nodes stand in no
 * box that could be closed. Copies that `repeat` made are drawn once; where more than a few thousand nodes were to be drawn, the deepest
 * boxes are closed. */
int must_use draw_network(const struct allocator *from, const struct network *network, const struct draw_options *options,
                          struct text *out);

#endif
