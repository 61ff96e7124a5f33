/* SPDX-License-Identifier: Apache-2.0 */
/* Places within rows: four times each item is lined up with the middle one of its neighbours (from above or below, from the left or the
 * right), items lined up form blocks, blocks are pushed together; the mean of the two middle results counts. */
#include "graph/draw_rows.h"

#include <math.h>
#include <string.h>

enum { STRAIGHTEN_ROUNDS = 3, WIDE_FACTOR = 3, WIDE_FREE = 1000, KINK = 16 };

struct placing {
    struct rows *rows;
    bool *conflict; /* by link: crosses the line of a long edge, which is to stay straight */
    int32_t *root, *align;
    double *shift; /* from its block's place */
    double *block; /* by root: the block's place */
    double *x[4];
    int32_t *first, *edge_to, *order, *wait; /* blocks side by side: edges between them */
    double *edge_least;
    bool mirrored;
};

static bool is_inner(const struct rows *rows, const struct rows_link *link) {
    return rows->items[link->upper].kind == ROWS_POINT && rows->items[link->lower].kind == ROWS_POINT;
}

/* The gap between two neighbours in a row: lines may run closer than boxes stand. */
static double gap_between(const struct rows *rows, int32_t a, int32_t b) {
    bool thin = rows->items[a].kind != ROWS_ITEM && rows->items[b].kind != ROWS_ITEM;
    bool mixed = rows->items[a].kind != ROWS_ITEM || rows->items[b].kind != ROWS_ITEM;
    return thin ? rows->gap * 0.55 : mixed ? rows->gap * 0.7 : rows->gap;
}

static void mark_conflicts(struct placing *work) {
    const struct rows *rows = work->rows;
    for (int32_t r = 0; r + 1 < rows->row_count; r++) {
        int32_t low = 0, scanned = rows->start[r + 1], above = rows->start[r + 1] - rows->start[r];
        for (int32_t k = rows->start[r + 1]; k < rows->start[r + 2]; k++) {
            int32_t high = -1;
            for (int32_t s = rows->up_start[rows->at[k]]; s < rows->up_start[rows->at[k] + 1]; s++)
                if (is_inner(rows, &rows->links[rows->up[s]])) high = rows->place[rows->links[rows->up[s]].upper];
            if (high < 0 && k + 1 < rows->start[r + 2]) continue;
            int32_t until = high < 0 ? above : high;
            for (; scanned <= k; scanned++)
                for (int32_t s = rows->up_start[rows->at[scanned]]; s < rows->up_start[rows->at[scanned] + 1]; s++) {
                    int32_t l = rows->up[s], place = rows->place[rows->links[l].upper];
                    if ((place < low || place > until) && !is_inner(rows, &rows->links[l])) work->conflict[l] = true;
                }
            low = until;
        }
    }
}

/* Links of item i on one side that may line it up; those of a passing line: the line alone; of an item: those to items, if any, so that
 * what follows one another stands under one another and lines that come from afar bend. */
static int32_t candidates(const struct placing *work, int32_t i, bool upper, int32_t *out) {
    const struct rows *rows = work->rows;
    const int32_t *start = upper ? rows->up_start : rows->down_start, *list = upper ? rows->up : rows->down;
    bool items = false;
    int32_t count = 0;
    for (int32_t s = start[i]; s < start[i + 1]; s++) {
        const struct rows_link *link = &rows->links[list[s]];
        if (is_inner(rows, link)) {
            out[0] = list[s];
            return 1;
        }
        items = items || rows->items[upper ? link->upper : link->lower].kind == ROWS_ITEM;
    }
    items = items && rows->items[i].kind == ROWS_ITEM;
    for (int32_t s = start[i]; s < start[i + 1]; s++) {
        const struct rows_link *link = &rows->links[list[s]];
        if (!items || rows->items[upper ? link->upper : link->lower].kind == ROWS_ITEM) out[count++] = list[s];
    }
    return count;
}

static void sort_links(const struct rows *rows, int32_t *links, int32_t count, bool upper, double *key, int32_t *spare) {
    for (int32_t k = 0; k < count; k++) {
        const struct rows_link *link = &rows->links[links[k]];
        int32_t i = upper ? link->upper : link->lower;
        double width = rows->items[i].width, x = upper ? link->upper_x : link->lower_x;
        key[links[k]] = rows->place[i] + (width > 0 ? 0.9 * (x / width - 0.5) : 0);
    }
    rows_sort(links, count, key, spare);
}

struct scratch {
    int32_t *links, *spare;
    double *key;
};

static void line_up(struct placing *work, bool upper, struct scratch *scratch) {
    const struct rows *rows = work->rows;
    for (int32_t i = 0; i < rows->item_count; i++) work->root[i] = work->align[i] = i, work->shift[i] = 0;
    for (int32_t step = 1; step < rows->row_count; step++) {
        int32_t r = upper ? step : rows->row_count - 1 - step, count = rows->start[r + 1] - rows->start[r];
        int32_t limit = work->mirrored ? INT32_MAX : -1;
        for (int32_t k = 0; k < count; k++) {
            int32_t i = rows->at[work->mirrored ? rows->start[r + 1] - 1 - k : rows->start[r] + k];
            int32_t near = candidates(work, i, upper, scratch->links);
            if (!near) continue;
            sort_links(rows, scratch->links, near, upper, scratch->key, scratch->spare);
            int32_t low = (near - 1) / 2, high = near / 2;
            for (int32_t m = 0; m < (low == high ? 1 : 2) && work->align[i] == i; m++) {
                int32_t l = scratch->links[(m == 0) != work->mirrored ? low : high];
                const struct rows_link *link = &rows->links[l];
                int32_t other = upper ? link->upper : link->lower, place = rows->place[other];
                if (work->conflict[l] || (work->mirrored ? place >= limit : place <= limit)) continue;
                double own = upper ? link->lower_x : link->upper_x, its = upper ? link->upper_x : link->lower_x;
                work->align[i] = other, work->root[i] = work->root[other];
                work->shift[i] = work->shift[other] + its - own;
                limit = place;
            }
        }
    }
}

/* Blocks as far left as they can go, then right again towards what holds them. Mirrored: the row is read from its right. */
static void push_together(struct placing *work, double *x) {
    const struct rows *rows = work->rows;
    int32_t edges = 0, done = 0;
    memset(work->first, 0, ((size_t)rows->item_count + 2) * sizeof *work->first);
    memset(work->wait, 0, ((size_t)rows->item_count + 1) * sizeof *work->wait);
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t r = 0; r < rows->row_count; r++)
            for (int32_t k = rows->start[r]; k + 1 < rows->start[r + 1]; k++) {
                int32_t a = rows->at[k], b = rows->at[k + 1];
                int32_t from = work->root[work->mirrored ? b : a], to = work->root[work->mirrored ? a : b];
                if (pass == 0) {
                    work->first[from + 2]++, work->wait[to]++, edges++;
                    continue;
                }
                /* x[b] + lo[b] >= x[a] + hi[a] + gap, with x = block + shift (mirrored: -x = -(block) ..) */
                double least = rows->items[a].hi + gap_between(rows, a, b) - rows->items[b].lo + work->shift[a] - work->shift[b];
                int32_t place = work->first[from + 1]++;
                work->edge_to[place] = to, work->edge_least[place] = least;
            }
        for (int32_t i = 0; pass == 0 && i < rows->item_count; i++) work->first[i + 2] += work->first[i + 1];
    }
    double sign = work->mirrored ? -1 : 1;
    for (int32_t i = 0; i < rows->item_count; i++) {
        work->block[i] = 0;
        if (work->root[i] == i && !work->wait[i]) work->order[done++] = i;
    }
    for (int32_t k = 0; k < done; k++) {
        int32_t from = work->order[k];
        for (int32_t e = work->first[from]; e < work->first[from + 1]; e++) {
            double least = sign * work->block[from] + work->edge_least[e];
            if (sign * work->block[work->edge_to[e]] < least) work->block[work->edge_to[e]] = sign * least;
            if (--work->wait[work->edge_to[e]] == 0) work->order[done++] = work->edge_to[e];
        }
    }
    for (int32_t k = done - 1; k >= 0; k--) {
        int32_t from = work->order[k];
        double room = INFINITY;
        for (int32_t e = work->first[from]; e < work->first[from + 1]; e++) {
            double may = sign * work->block[work->edge_to[e]] - work->edge_least[e];
            if (may < room) room = may;
        }
        if (room < INFINITY && room > sign * work->block[from]) work->block[from] = sign * room;
    }
    for (int32_t i = 0; i < rows->item_count; i++) x[i] = work->block[work->root[i]] + work->shift[i];
}

static void extent(const struct rows *rows, const double *x, double *low, double *high) {
    *low = INFINITY, *high = -INFINITY;
    for (int32_t i = 0; i < rows->item_count; i++) {
        if (x[i] + rows->items[i].lo < *low) *low = x[i] + rows->items[i].lo;
        if (x[i] + rows->items[i].hi > *high) *high = x[i] + rows->items[i].hi;
    }
}

/* The four over each other: left ones meet the narrowest at its left side, right ones at its right side. */
static void balance(struct placing *work) {
    struct rows *rows = work->rows;
    double low[4], high[4];
    int narrow = 0;
    for (int a = 0; a < 4; a++) {
        extent(rows, work->x[a], &low[a], &high[a]);
        if (high[a] - low[a] < high[narrow] - low[narrow]) narrow = a;
    }
    for (int32_t i = 0; i < rows->item_count; i++) {
        double v[4];
        for (int a = 0; a < 4; a++) v[a] = work->x[a][i] + (a % 2 ? high[narrow] - high[a] : low[narrow] - low[a]);
        for (int a = 1; a < 4; a++)
            for (int b = a; b > 0 && v[b] < v[b - 1]; b--) {
                double t = v[b];
                v[b] = v[b - 1], v[b - 1] = t;
            }
        rows->items[i].x = (v[1] + v[2]) / 2;
    }
}

/* Lining up may drift: a source with thousands of readers in many rows. Then each row is packed round one middle, and the drawing is as
 * wide as its widest row. */
static void pack_if_wide(struct rows *rows) {
    double widest = 0, low = INFINITY, high = -INFINITY;
    for (int32_t r = 0; r < rows->row_count; r++) {
        double width = 0;
        for (int32_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
            const struct rows_item *item = &rows->items[rows->at[k]];
            width += item->hi - item->lo + rows->gap;
            low = fmin(low, item->x + item->lo), high = fmax(high, item->x + item->hi);
        }
        widest = fmax(widest, width);
    }
    if (high - low <= WIDE_FACTOR * widest + WIDE_FREE) return;
    for (int32_t r = 0; r < rows->row_count; r++) {
        double width = 0, x;
        for (int32_t k = rows->start[r]; k < rows->start[r + 1]; k++)
            width += rows->items[rows->at[k]].hi - rows->items[rows->at[k]].lo + rows->gap;
        x = -width / 2;
        for (int32_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
            struct rows_item *item = &rows->items[rows->at[k]];
            item->x = x - item->lo, x += item->hi - item->lo + rows->gap;
        }
    }
}

/* Whatever came before: no two items of a row overlap. */
static void keep_apart(struct rows *rows) {
    for (int32_t r = 0; r < rows->row_count; r++)
        for (int32_t k = rows->start[r]; k + 1 < rows->start[r + 1]; k++) {
            struct rows_item *a = &rows->items[rows->at[k]], *b = &rows->items[rows->at[k + 1]];
            double least = a->x + a->hi + gap_between(rows, rows->at[k], rows->at[k + 1]) - b->lo;
            if (b->x < least) b->x = least;
        }
}

/* How far an item would have to go for its links to be straight: of the two middle wishes the smaller. */
static double wish(const struct rows *rows, int32_t i, double *wishes, int32_t *index, int32_t *spare) {
    int32_t count = 0;
    bool items = false; /* others do not count where there are any */
    for (int32_t s = rows->up_start[i]; s < rows->up_start[i + 1]; s++)
        items = items || rows->items[rows->links[rows->up[s]].upper].kind == ROWS_ITEM;
    for (int32_t s = rows->down_start[i]; s < rows->down_start[i + 1]; s++)
        items = items || rows->items[rows->links[rows->down[s]].lower].kind == ROWS_ITEM;
    for (int side = 0; side < 2; side++) {
        const int32_t *start = side ? rows->down_start : rows->up_start, *list = side ? rows->down : rows->up;
        for (int32_t s = start[i]; s < start[i + 1]; s++) {
            const struct rows_link *link = &rows->links[list[s]];
            if (items && rows->items[side ? link->lower : link->upper].kind != ROWS_ITEM) continue;
            double up = rows->items[link->upper].x + link->upper_x, down = rows->items[link->lower].x + link->lower_x;
            index[count] = count, wishes[count] = side ? down - up : up - down, count++;
        }
    }
    if (!count) return 0;
    rows_sort(index, count, wishes, spare);
    double low = wishes[index[(count - 1) / 2]], high = wishes[index[count / 2]];
    return low * high <= 0 ? 0 : fabs(low) < fabs(high) ? low : high;
}

/* As far as its neighbours let it. */
static void move_item(struct rows *rows, int32_t row, int32_t k, double move) {
    int32_t i = rows->at[k];
    struct rows_item *item = &rows->items[i];
    double low = -INFINITY, high = INFINITY;
    if (k > rows->start[row]) {
        const struct rows_item *a = &rows->items[rows->at[k - 1]];
        low = a->x + a->hi + gap_between(rows, rows->at[k - 1], i) - item->lo - item->x;
    }
    if (k + 1 < rows->start[row + 1]) {
        const struct rows_item *b = &rows->items[rows->at[k + 1]];
        high = b->x + b->lo - gap_between(rows, i, rows->at[k + 1]) - item->hi - item->x;
    }
    if (low <= high) item->x += fmin(fmax(move, low), high);
}

static void straighten(struct rows *rows, double *wishes, int32_t *index, int32_t *spare) {
    for (int round = 0; round < 2 * STRAIGHTEN_ROUNDS; round++)
        for (int32_t n = 0; n < rows->row_count; n++) {
            int32_t r = round % 2 ? rows->row_count - 1 - n : n;
            for (int32_t k = rows->start[r]; k < rows->start[r + 1]; k++)
                if (rows->items[rows->at[k]].kind != ROWS_POINT) move_item(rows, r, k, wish(rows, rows->at[k], wishes, index, spare));
        }
}

/* Small kinks in chains are pushed down to where the chain ends. */
static void settle(struct rows *rows) {
    for (int32_t r = 1; r < rows->row_count; r++)
        for (int32_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
            int32_t i = rows->at[k], items = 0;
            double move = 0;
            if (rows->items[i].kind == ROWS_POINT) continue;
            for (int32_t s = rows->up_start[i]; s < rows->up_start[i + 1]; s++) {
                const struct rows_link *link = &rows->links[rows->up[s]];
                if (rows->items[link->upper].kind == ROWS_POINT) continue;
                move = rows->items[link->upper].x + link->upper_x - rows->items[i].x - link->lower_x, items++;
            }
            if (items == 1 && fabs(move) < KINK) move_item(rows, r, k, move);
        }
}

double rows_width(const struct rows *rows) {
    double width = 0;
    for (int32_t i = 0; i < rows->item_count; i++)
        if (rows->items[i].x + rows->items[i].hi > width) width = rows->items[i].x + rows->items[i].hi;
    return width;
}

int rows_place(struct rows *rows) {
    struct placing work = {.rows = rows};
    struct arena *arena = rows->arena;
    size_t items = (size_t)rows->item_count + 2, links = (size_t)rows->link_count + 2, most = items > links ? items : links;
    struct scratch scratch = {arena_array(arena, most, sizeof(int32_t)), arena_array(arena, most, sizeof(int32_t)),
                              arena_array(arena, most, sizeof(double))};
    work.conflict = arena_array(arena, links, sizeof *work.conflict);
    work.root = arena_array(arena, items, sizeof *work.root), work.align = arena_array(arena, items, sizeof *work.align);
    work.shift = arena_array(arena, items, sizeof *work.shift), work.block = arena_array(arena, items, sizeof *work.block);
    work.first = arena_array(arena, items + 1, sizeof *work.first), work.edge_to = arena_array(arena, items, sizeof *work.edge_to);
    work.order = arena_array(arena, items, sizeof *work.order), work.wait = arena_array(arena, items, sizeof *work.wait);
    work.edge_least = arena_array(arena, items, sizeof *work.edge_least);
    for (int a = 0; a < 4; a++)
        if (!(work.x[a] = arena_array(arena, items, sizeof(double)))) return -1;
    if (!scratch.links || !scratch.spare || !scratch.key || !work.conflict || !work.root || !work.align || !work.shift || !work.block ||
        !work.first || !work.edge_to || !work.order || !work.wait || !work.edge_least)
        return -1;
    if (!rows->item_count) return 0;
    mark_conflicts(&work);
    for (int a = 0; a < 4; a++) {
        work.mirrored = a % 2;
        line_up(&work, a < 2, &scratch);
        push_together(&work, work.x[a]);
    }
    balance(&work);
    pack_if_wide(rows);
    keep_apart(rows);
    straighten(rows, scratch.key, scratch.links, scratch.spare);
    settle(rows);
    double low = INFINITY;
    for (int32_t i = 0; i < rows->item_count; i++)
        if (rows->items[i].x + rows->items[i].lo < low) low = rows->items[i].x + rows->items[i].lo;
    for (int32_t i = 0; i < rows->item_count; i++) rows->items[i].x -= low;
    return 0;
}
