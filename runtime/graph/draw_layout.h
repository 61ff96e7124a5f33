/* SPDX-License-Identifier: Apache-2.0 */
/* The layered picture of a graph: boxes in rows, edges as chains of points from row to row. */
#ifndef FLOW_GRAPH_DRAW_LAYOUT_H
#define FLOW_GRAPH_DRAW_LAYOUT_H

#include "base/memory.h"

#include <stdbool.h>

/* A box, or a point where an edge passes a row (width 0). Indices of `edges` refer to boxes. */
struct layout_box {
    double width, x; /* x: of the middle */
    int32_t row;
    double order; /* sort key within the row, while it is worked out */
    bool point;
};

struct layout_edge {
    int32_t from, to;
    int32_t *points; /* from, passing points, to: filled in */
    int32_t point_count;
};

struct layout {
    struct layout_box *boxes;
    size_t box_count, room; /* boxes given; passing points are added after them */
    struct layout_edge *edges;
    size_t edge_count;
    int32_t rows;
    double width;
};

/* Rows by the longest way from a source, order by barycentres (4 sweeps each way), then places without overlap. Boxes must come in an order
 * in which every edge goes forward. */
int must_use layout_place(struct arena *arena, struct layout *layout);

#endif
