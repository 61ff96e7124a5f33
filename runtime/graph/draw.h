/* SPDX-License-Identifier: Apache-2.0 */
/* A network as a drawing. */
#ifndef FLOW_GRAPH_DRAW_H
#define FLOW_GRAPH_DRAW_H

#include "graph/network.h"

enum draw_format { DRAW_SVG, DRAW_DOT, DRAW_MERMAID };

/* What stands on the edges that leave a node: shapes. By network node, then (node_count + i) by network input; NULL: nothing. */
struct draw_labels {
    const char *const *shape;
    size_t count;
};

/* Layers from inputs to outputs; ENTER nodes are drawn through. Cost: nodes and edges times a few sweeps. */
int must_use draw_network(const struct allocator *from, const struct network *network, const struct draw_labels *labels,
                          enum draw_format format, struct text *out);

#endif
