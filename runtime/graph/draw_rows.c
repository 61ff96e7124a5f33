/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/draw_rows.h"

#include <string.h>

enum { SPAN_MOST = 40, SPAN_LEAST = 3, POINTS_FREE = 4000, POINTS_EACH = 6 };

/* Edges by the item they leave: list[start[i] .. start[i + 1]). */
struct leaving {
    int32_t *start, *list;
};

static bool collect_leaving(const struct rows *rows, bool back, struct leaving *out) {
    out->start = arena_array(rows->arena, (size_t)rows->item_count + 2, sizeof *out->start);
    out->list = arena_array(rows->arena, (size_t)rows->edge_count + 1, sizeof *out->list);
    if (!out->start || !out->list) return false;
    int32_t *next = out->start + 1;
    for (int32_t e = 0; e < rows->edge_count; e++) next[(back ? rows->edges[e].to : rows->edges[e].from) + 1]++;
    for (int32_t i = 0; i < rows->item_count; i++) next[i + 1] += next[i];
    for (int32_t e = 0; e < rows->edge_count; e++) out->list[next[back ? rows->edges[e].to : rows->edges[e].from]++] = e;
    return true;
}

/* Depth first: edges that close a cycle become tags; `order` is filled from its end, so that every other edge goes forward in it. */
static bool topological(struct rows *rows, const struct leaving *leaving, int32_t *order) {
    size_t count = (size_t)rows->item_count;
    int32_t *stack = arena_array(rows->arena, count + 1, sizeof *stack), *next = arena_array(rows->arena, count + 1, sizeof *next);
    char *state = arena_array(rows->arena, count + 1, 1); /* 1: open, 2: done */
    if (!stack || !next || !state) return false;
    int32_t left = rows->item_count;
    /* From the last item on, so that the order is that of the items where nothing else decides. */
    for (int32_t root = rows->item_count - 1; root >= 0; root--) {
        int32_t depth = 0;
        if (state[root]) continue;
        stack[depth++] = root, state[root] = 1, next[root] = leaving->start[root + 1];
        while (depth) {
            int32_t i = stack[depth - 1];
            if (next[i] == leaving->start[i]) {
                state[i] = 2, order[--left] = i, depth--;
                continue;
            }
            struct rows_edge *edge = &rows->edges[leaving->list[--next[i]]];
            if (state[edge->to] == 1) edge->tag = true;
            if (state[edge->to]) continue;
            state[edge->to] = 1, next[edge->to] = leaving->start[edge->to + 1], stack[depth++] = edge->to;
        }
    }
    return true;
}

/* Rows that are full are skipped: the next one with room, found by halving paths. */
static int32_t roomy(int32_t *onward, int32_t row) {
    while (onward[row] != row) onward[row] = onward[onward[row]], row = onward[row];
    return row;
}

static int assign_down(struct rows *rows, const struct leaving *leaving, const int32_t *order) {
    int32_t *onward = arena_array(rows->arena, (size_t)rows->item_count + 3, sizeof *onward);
    double *used = arena_array(rows->arena, (size_t)rows->item_count + 3, sizeof *used);
    if (!onward || !used) return -1;
    for (int32_t r = 0; r < rows->item_count + 3; r++) onward[r] = r;
    int32_t first = 0;
    for (int32_t i = 0; i < rows->item_count; i++)
        if (rows->items[i].kind == ROWS_TOP) first = 1;
    for (int32_t k = 0; k < rows->item_count; k++) {
        struct rows_item *item = &rows->items[order[k]];
        if (item->kind == ROWS_TOP) item->row = 0;
        else if (item->kind == ROWS_ITEM) {
            item->row = roomy(onward, item->row < first ? first : item->row);
            used[item->row] += item->hi - item->lo + rows->gap;
            if (used[item->row] > rows->widest) onward[item->row] = item->row + 1;
        }
        for (int32_t s = leaving->start[order[k]]; s < leaving->start[order[k] + 1]; s++) {
            const struct rows_edge *edge = &rows->edges[leaving->list[s]];
            struct rows_item *to = &rows->items[edge->to];
            if (!edge->tag && to->row < item->row + 1) to->row = item->row + 1;
        }
    }
    return 0;
}

/* What more edges leave than enter goes down as far as it can: inputs and constants stand by what reads them. */
static void pull_down(struct rows *rows, const struct leaving *leaving, const struct leaving *entering, const int32_t *order) {
    for (int32_t k = rows->item_count - 1; k >= 0; k--) {
        int32_t i = order[k], low = INT32_MAX, enter = 0, sources = 0, last = -1;
        if (rows->items[i].kind != ROWS_ITEM) continue;
        for (int32_t s = entering->start[i]; s < entering->start[i + 1]; s++) enter += !rows->edges[entering->list[s]].tag;
        for (int32_t s = leaving->start[i]; s < leaving->start[i + 1]; s++) {
            const struct rows_edge *edge = &rows->edges[leaving->list[s]];
            if (edge->tag || rows->items[edge->to].kind == ROWS_BOTTOM) continue;
            if (rows->items[edge->to].row < low) low = rows->items[edge->to].row;
            sources += edge->source != last, last = edge->source;
        }
        if (low != INT32_MAX && low - 1 > rows->items[i].row && enter < sources) rows->items[i].row = low - 1;
    }
}

static void count_rows(struct rows *rows) {
    int32_t last = -1;
    for (int32_t i = 0; i < rows->item_count; i++)
        if (rows->items[i].kind != ROWS_BOTTOM && rows->items[i].row > last) last = rows->items[i].row;
    rows->row_count = last + 1;
    bool bottom = false;
    for (int32_t i = 0; i < rows->item_count; i++)
        if (rows->items[i].kind == ROWS_BOTTOM) rows->items[i].row = last + 1, bottom = true;
    rows->row_count += bottom;
}

/* The last row that the line of each source must reach with edges up to `span` rows long. Edges are sorted by source. */
static int64_t count_points(const struct rows *rows, const int32_t *sorted, int32_t span) {
    int64_t points = 0;
    for (int32_t k = 0; k < rows->edge_count;) {
        const struct rows_edge *first = &rows->edges[sorted[k]];
        int32_t far = 0, from = rows->items[first->from].row;
        for (; k < rows->edge_count && rows->edges[sorted[k]].source == first->source; k++) {
            int32_t length = rows->items[rows->edges[sorted[k]].to].row - from;
            if (!rows->edges[sorted[k]].tag && length <= span && length > far) far = length;
        }
        points += far > 1 ? far - 1 : 0;
    }
    return points;
}

/* Sorted by source: counting, sources being small numbers. */
static int32_t *by_source(const struct rows *rows) {
    int32_t most = 0;
    for (int32_t e = 0; e < rows->edge_count; e++)
        if (rows->edges[e].source > most) most = rows->edges[e].source;
    int32_t *next = arena_array(rows->arena, (size_t)most + 2, sizeof *next);
    int32_t *sorted = arena_array(rows->arena, (size_t)rows->edge_count + 1, sizeof *sorted);
    if (!next || !sorted) return NULL;
    for (int32_t e = 0; e < rows->edge_count; e++) next[rows->edges[e].source + 1]++;
    for (int32_t s = 0; s <= most; s++) next[s + 1] += next[s];
    for (int32_t e = 0; e < rows->edge_count; e++) sorted[next[rows->edges[e].source]++] = e;
    return sorted;
}

/* Edges become lines of links; what is too long, or would close a cycle, a tag above its target. */
static int make_links(struct rows *rows, const int32_t *sorted) {
    int32_t span = SPAN_MOST;
    while (span > SPAN_LEAST && count_points(rows, sorted, span) > POINTS_FREE + (int64_t)POINTS_EACH * rows->item_count) span /= 2;
    int64_t points = count_points(rows, sorted, span);
    int32_t tags = 0, shift = 0;
    for (int32_t e = 0; e < rows->edge_count; e++) {
        struct rows_edge *edge = &rows->edges[e];
        if (rows->items[edge->to].row - rows->items[edge->from].row > span) edge->tag = true;
        tags += edge->tag;
        if (edge->tag && rows->items[edge->to].row == 0) shift = 1;
    }
    size_t total = (size_t)rows->item_count + (size_t)points + (size_t)tags;
    struct rows_item *items = arena_array(rows->arena, total + 1, sizeof *items);
    rows->links = arena_array(rows->arena, (size_t)points + (size_t)rows->edge_count + 1, sizeof *rows->links);
    int32_t *line = arena_array(rows->arena, (size_t)rows->row_count + 2, sizeof *line); /* by row: the point of the line in hand */
    if (!items || !rows->links || !line) return -1;
    memcpy(items, rows->items, (size_t)rows->item_count * sizeof *items);
    rows->items = items;
    for (int32_t i = 0; shift && i < rows->item_count; i++) items[i].row++;
    rows->row_count += shift;
    int32_t reached = 0;
    double line_x = 0;
    for (int32_t k = 0; k < rows->edge_count; k++) {
        struct rows_edge *edge = &rows->edges[sorted[k]];
        struct rows_link link = {.source = edge->source, .lower = edge->to, .lower_x = edge->to_x, .edge = sorted[k]};
        bool begins = k == 0 || rows->edges[sorted[k - 1]].source != edge->source;
        int32_t from = items[edge->from].row, to = items[edge->to].row;
        if (begins) reached = from, line[from] = edge->from, line_x = edge->from_x;
        if (edge->tag) {
            items[rows->item_count] = (struct rows_item){.kind = ROWS_TAG,
                                                         .width = edge->tag_width,
                                                         .hi = edge->tag_width,
                                                         .height = rows->tag_height,
                                                         .row = to - 1,
                                                         .edge = sorted[k]};
            link.upper = rows->item_count++, link.upper_x = edge->tag_width / 2;
            rows->links[rows->link_count++] = link;
            continue;
        }
        for (; reached < to - 1; reached++) {
            items[rows->item_count] = (struct rows_item){.kind = ROWS_POINT, .row = reached + 1};
            rows->links[rows->link_count++] = (struct rows_link){.source = edge->source,
                                                                 .upper = line[reached],
                                                                 .upper_x = reached == from ? line_x : 0,
                                                                 .lower = rows->item_count,
                                                                 .edge = -1};
            line[reached + 1] = rows->item_count++;
        }
        link.upper = line[to - 1], link.upper_x = to - 1 == from ? line_x : 0;
        rows->links[rows->link_count++] = link;
    }
    return 0;
}

static int collect_links(struct rows *rows) {
    size_t count = (size_t)rows->item_count;
    for (int side = 0; side < 2; side++) {
        int32_t *start = arena_array(rows->arena, count + 2, sizeof *start);
        int32_t *list = arena_array(rows->arena, (size_t)rows->link_count + 1, sizeof *list), *next = start + 1;
        if (!start || !list) return -1;
        for (int32_t l = 0; l < rows->link_count; l++) next[(side ? rows->links[l].upper : rows->links[l].lower) + 1]++;
        for (size_t i = 0; i < count; i++) next[i + 1] += next[i];
        for (int32_t l = 0; l < rows->link_count; l++) list[next[side ? rows->links[l].upper : rows->links[l].lower]++] = l;
        if (side) rows->down = list, rows->down_start = start;
        else rows->up = list, rows->up_start = start;
    }
    return 0;
}

int rows_assign(struct rows *rows) {
    struct leaving leaving, entering;
    rows->given = rows->item_count;
    int32_t *order = arena_array(rows->arena, (size_t)rows->item_count + 1, sizeof *order);
    int32_t *sorted = by_source(rows);
    if (!order || !sorted || !collect_leaving(rows, false, &leaving) || !collect_leaving(rows, true, &entering)) return -1;
    if (!topological(rows, &leaving, order) || assign_down(rows, &leaving, order) < 0) return -1;
    pull_down(rows, &leaving, &entering, order);
    count_rows(rows);
    return make_links(rows, sorted) < 0 || collect_links(rows) < 0 ? -1 : 0;
}
