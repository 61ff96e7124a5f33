/* SPDX-License-Identifier: Apache-2.0 */
/* A layered drawing of one level: items in rows from top to bottom, lines between neighbouring rows.
 * Sugiyama, Tagawa, Toda: "Methods for visual understanding of hierarchical system structures" (1981). In three steps:
 *   rows_assign (draw_rows.c)   rows by the longest way; points where longer edges pass a row; what goes too far becomes a tag
 *   rows_order  (draw_order.c)  the order within rows, by sweeps of means and swaps of neighbours, few crossings kept
 *   rows_place  (draw_place.c)  places: Brandes, Koepf: "Fast and simple horizontal coordinate assignment" (2001), with ports and widths */
#ifndef FLOW_GRAPH_DRAW_ROWS_H
#define FLOW_GRAPH_DRAW_ROWS_H

#include "base/memory.h"

enum rows_kind {
    ROWS_ITEM,
    ROWS_TOP,    /* stands in the first row: where an edge enters the level */
    ROWS_BOTTOM, /* in the last one: where it leaves */
    ROWS_POINT,  /* added: an edge passes */
    ROWS_TAG     /* added: the far end of an edge that is not drawn as a line */
};

/* Lengths in pixels. lo <= 0 and hi >= width: the room it needs, counted from its left side, labels of its ports included. */
struct rows_item {
    enum rows_kind kind;
    double width, height, lo, hi;
    double x, y; /* of its upper left corner: filled in */
    int32_t row;
    int32_t edge; /* TAG: the edge it stands for */
};

/* Ends are given from the item's left side. Edges of one `source` leave one port and share their line. */
struct rows_edge {
    int32_t from, to, source;
    double from_x, to_x;
    double tag_width; /* of the tag, if it becomes one */
    bool tag;         /* filled in */
};

/* A piece of a line, from the bottom of `upper` to the top of `lower`, which stands one row below. */
struct rows_link {
    int32_t upper, lower, source;
    double upper_x, lower_x;
    int32_t edge; /* that ends here; -1: the line goes on */
};

struct rows {
    struct arena *arena;
    struct rows_item *items; /* those given, then points and tags */
    int32_t item_count, given;
    struct rows_edge *edges;
    int32_t edge_count;
    struct rows_link *links; /* filled in */
    int32_t link_count;
    double gap;    /* between items */
    double widest; /* of a row; more items go into later rows */
    double tag_height;
    int32_t row_count;
    int32_t *at, *start;    /* items of row r from left to right: at[start[r] .. start[r + 1]) */
    int32_t *place;         /* by item: its number in the row */
    int32_t *up, *up_start; /* by item: links that end on it */
    int32_t *down, *down_start;
};

/* Items and edges are given, the rest is zero. Cycles are cut: an edge that closes one becomes a tag. Negative: out of memory. */
int must_use rows_assign(struct rows *rows);
int must_use rows_order(struct rows *rows);
int must_use rows_place(struct rows *rows); /* x of all items, the leftmost lo at 0 */
double rows_width(const struct rows *rows);

/* Stable, by `key` of the index: merges of runs, `spare` as long as `at`. */
void rows_sort(int32_t *at, int32_t count, const double *key, int32_t *spare);

#endif
