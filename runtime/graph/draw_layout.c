/* SPDX-License-Identifier: Apache-2.0 */
/* Sugiyama, Tagawa, Toda: "Methods for visual understanding of hierarchical system structures" (1981): layers, crossings by barycentres,
 * places. */
#include "graph/draw_layout.h"

#include <stdlib.h>
#include <string.h>

enum { GAP = 26, SWEEPS = 4 };

/* Working state: boxes of row r are at[start[r] .. start[r + 1]); neighbours above (0) and below (1) of box i are
 * to[side][first[side][i] .. first[side][i + 1]). */
struct work {
    struct layout *layout;
    int32_t *at, *start;
    int32_t *first[2], *to[2];
    int32_t *sorted; /* one row while it is sorted */
};

static void assign_rows(struct layout *layout) {
    /* Edges are sorted by their target, and sources stand before targets: one pass is enough. */
    for (size_t e = 0; e < layout->edge_count; e++) {
        struct layout_box *from = &layout->boxes[layout->edges[e].from], *to = &layout->boxes[layout->edges[e].to];
        if (to->row < from->row + 1) to->row = from->row + 1;
    }
    for (size_t i = 0; i < layout->box_count; i++)
        if (layout->boxes[i].row >= layout->rows) layout->rows = layout->boxes[i].row + 1;
}

/* Points where edges longer than one row pass. */
static int add_points(struct arena *arena, struct layout *layout) {
    size_t points = 0;
    for (size_t e = 0; e < layout->edge_count; e++)
        points += (size_t)(layout->boxes[layout->edges[e].to].row - layout->boxes[layout->edges[e].from].row - 1);
    struct layout_box *boxes = arena_array(arena, layout->box_count + points, sizeof *boxes);
    if (!boxes) return -1;
    memcpy(boxes, layout->boxes, layout->box_count * sizeof *boxes);
    for (size_t e = 0; e < layout->edge_count; e++) {
        struct layout_edge *edge = &layout->edges[e];
        int32_t span = boxes[edge->to].row - boxes[edge->from].row;
        edge->points = arena_array(arena, (size_t)span + 1, sizeof *edge->points);
        if (!edge->points) return -1;
        edge->points[edge->point_count++] = edge->from;
        for (int32_t k = 1; k < span; k++) {
            boxes[layout->box_count] = (struct layout_box){.row = boxes[edge->from].row + k, .point = true};
            edge->points[edge->point_count++] = (int32_t)layout->box_count++;
        }
        edge->points[edge->point_count++] = edge->to;
    }
    layout->boxes = boxes;
    return 0;
}

static int collect_rows(struct arena *arena, struct work *work) {
    const struct layout *layout = work->layout;
    work->at = arena_array(arena, layout->box_count, sizeof *work->at);
    work->start = arena_array(arena, (size_t)layout->rows + 1, sizeof *work->start);
    work->sorted = arena_array(arena, layout->box_count, sizeof *work->sorted);
    int32_t *next = arena_array(arena, (size_t)layout->rows, sizeof *next);
    if (!work->at || !work->start || !work->sorted || !next) return -1;
    for (size_t i = 0; i < layout->box_count; i++) work->start[layout->boxes[i].row + 1]++;
    for (int32_t r = 0; r < layout->rows; r++) work->start[r + 1] += work->start[r], next[r] = work->start[r];
    for (size_t i = 0; i < layout->box_count; i++) work->at[next[layout->boxes[i].row]++] = (int32_t)i;
    return 0;
}

static int collect_neighbours(struct arena *arena, struct work *work) {
    const struct layout *layout = work->layout;
    size_t links = 0;
    for (size_t e = 0; e < layout->edge_count; e++) links += (size_t)layout->edges[e].point_count - 1;
    for (int side = 0; side < 2; side++) {
        int32_t *first = work->first[side] = arena_array(arena, layout->box_count + 2, sizeof *first);
        int32_t *to = work->to[side] = arena_array(arena, links, sizeof *to);
        if (!first || !to) return -1;
        for (int pass = 0; pass < 2; pass++) {
            for (size_t e = 0; e < layout->edge_count; e++)
                for (int32_t k = 0; k + 1 < layout->edges[e].point_count; k++) {
                    int32_t a = layout->edges[e].points[k + !side], b = layout->edges[e].points[k + side];
                    if (pass == 0) first[a + 2]++;
                    else to[first[a + 1]++] = b;
                }
            /* After the counts, first[i + 1] is where box i's list starts; filling moves it to where the list ends. */
            for (size_t i = 0; pass == 0 && i < layout->box_count; i++) first[i + 2] += first[i + 1];
        }
    }
    return 0;
}

static double mean_place(const struct work *work, int side, int32_t box, double otherwise) {
    double sum = 0;
    int32_t from = work->first[side][box], to = work->first[side][box + 1];
    for (int32_t k = from; k < to; k++) sum += work->layout->boxes[work->to[side][k]].x;
    return to > from ? sum / (to - from) : otherwise;
}

/* Stable merge sort of one row by `order`: rows may be long. */
static void sort_row(struct work *work, int32_t *row, int32_t count) {
    const struct layout_box *boxes = work->layout->boxes;
    for (int32_t width = 1; width < count; width *= 2) {
        for (int32_t low = 0; low < count; low += 2 * width) {
            int32_t middle = low + width < count ? low + width : count, high = low + 2 * width < count ? low + 2 * width : count;
            int32_t a = low, b = middle;
            for (int32_t k = low; k < high; k++) {
                bool left = a < middle && (b >= high || boxes[row[a]].order <= boxes[row[b]].order);
                work->sorted[k] = left ? row[a++] : row[b++];
            }
        }
        memcpy(row, work->sorted, (size_t)count * sizeof *row);
    }
}

/* Puts a row's boxes as near to their wish (`order`) as their widths allow: pushed right, then back left. */
static void spread_row(struct work *work, const int32_t *row, int32_t count) {
    struct layout_box *boxes = work->layout->boxes;
    double edge = -1e300;
    for (int32_t k = 0; k < count; k++) {
        struct layout_box *box = &boxes[row[k]];
        double least = edge + box->width / 2 + GAP;
        box->x = box->order > least ? box->order : least;
        edge = box->x + box->width / 2;
    }
    /* Half of what was pushed goes back, so that a crowd stays around its middle. */
    double moved = 0;
    for (int32_t k = 0; k < count; k++) moved += boxes[row[k]].x - boxes[row[k]].order;
    for (int32_t k = 0; k < count; k++) boxes[row[k]].x -= moved / count;
}

static void sweep(struct work *work, int side) {
    struct layout *layout = work->layout;
    for (int32_t i = 0; i < layout->rows; i++) {
        int32_t r = side == 0 ? i : layout->rows - 1 - i;
        int32_t *row = work->at + work->start[r], count = work->start[r + 1] - work->start[r];
        for (int32_t k = 0; k < count; k++) layout->boxes[row[k]].order = mean_place(work, side, row[k], layout->boxes[row[k]].x);
        sort_row(work, row, count);
        spread_row(work, row, count);
    }
}

int layout_place(struct arena *arena, struct layout *layout) {
    struct work work = {.layout = layout};
    assign_rows(layout);
    if (add_points(arena, layout) < 0 || collect_rows(arena, &work) < 0 || collect_neighbours(arena, &work) < 0) return -1;
    for (int32_t r = 0; r < layout->rows; r++)
        for (int32_t k = work.start[r]; k < work.start[r + 1]; k++) layout->boxes[work.at[k]].x = 140.0 * (k - work.start[r]);
    for (int turn = 0; turn < SWEEPS; turn++) sweep(&work, 0), sweep(&work, 1);
    sweep(&work, 0);
    double low = 0, high = 0;
    for (size_t i = 0; i < layout->box_count; i++) {
        const struct layout_box *box = &layout->boxes[i];
        if (i == 0 || box->x - box->width / 2 < low) low = box->x - box->width / 2;
        if (i == 0 || box->x + box->width / 2 > high) high = box->x + box->width / 2;
    }
    for (size_t i = 0; i < layout->box_count; i++) layout->boxes[i].x += GAP - low;
    layout->width = high - low + 2 * GAP;
    return 0;
}
