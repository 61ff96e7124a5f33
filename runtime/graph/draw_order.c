/* SPDX-License-Identifier: Apache-2.0 */
/* The order within rows. */
#include "graph/draw_rows.h"

#include <string.h>

enum { SWEEPS_MOST = 16, SWEEPS_LEAST = 3, PATIENCE = 4, LINKS_SMALL = 4000, SWAP_ROUNDS = 4, SWAP_LINKS = 40 };

struct sweeping {
    struct rows *rows;
    double *key;                    /* by item, or by link */
    int32_t *spare, *best, *sorted; /* as long as items or links */
    double *ends;
    bool changed;
};

void rows_sort(int32_t *at, int32_t count, const double *key, int32_t *spare) {
    for (int32_t width = 1; width < count; width *= 2) {
        for (int32_t low = 0; low < count; low += 2 * width) {
            int32_t middle = low + width < count ? low + width : count, high = low + 2 * width < count ? low + 2 * width : count;
            int32_t a = low, b = middle;
            for (int32_t k = low; k < high; k++) spare[k] = a < middle && (b >= high || key[at[a]] <= key[at[b]]) ? at[a++] : at[b++];
        }
        memcpy(at, spare, (size_t)count * sizeof *at);
    }
}

static void renumber(struct rows *rows, int32_t row) {
    for (int32_t k = rows->start[row]; k < rows->start[row + 1]; k++) rows->place[rows->at[k]] = k - rows->start[row];
}

/* Where a link meets an item, in units of places in its row. */
static double end_of(const struct rows *rows, const struct rows_link *link, bool upper) {
    int32_t i = upper ? link->upper : link->lower;
    double width = rows->items[i].width, x = upper ? link->upper_x : link->lower_x;
    return rows->place[i] + (width > 0 ? 0.9 * (x / width - 0.5) : 0);
}

/* Depth first from the first row down: what belongs together starts side by side. */
static int first_order(struct rows *rows) {
    size_t count = (size_t)rows->item_count;
    rows->at = arena_array(rows->arena, count + 1, sizeof *rows->at);
    rows->place = arena_array(rows->arena, count + 1, sizeof *rows->place);
    rows->start = arena_array(rows->arena, (size_t)rows->row_count + 2, sizeof *rows->start);
    int32_t *next = arena_array(rows->arena, (size_t)rows->row_count + 2, sizeof *next);
    int32_t *stack = arena_array(rows->arena, count + (size_t)rows->link_count + 1, sizeof *stack);
    bool *seen = arena_array(rows->arena, count + 1, sizeof *seen);
    if (!rows->at || !rows->place || !rows->start || !next || !stack || !seen) return -1;
    for (int32_t i = 0; i < rows->item_count; i++) rows->start[rows->items[i].row + 1]++;
    for (int32_t r = 0; r < rows->row_count; r++) rows->start[r + 1] += rows->start[r], next[r] = rows->start[r];
    for (int32_t root = 0; root < rows->item_count; root++) {
        int32_t depth = 0;
        if (rows->up_start[root] < rows->up_start[root + 1]) continue; /* reached from what stands above it */
        stack[depth++] = root;
        while (depth) {
            int32_t i = stack[--depth];
            if (seen[i]) continue;
            seen[i] = true;
            rows->at[next[rows->items[i].row]++] = i;
            for (int32_t k = rows->down_start[i + 1] - 1; k >= rows->down_start[i]; k--) stack[depth++] = rows->links[rows->down[k]].lower;
        }
    }
    for (int32_t r = 0; r < rows->row_count; r++) renumber(rows, r);
    return 0;
}

/* One row by the mean of where its links come from; what has none stays where it is. */
static void order_row(struct sweeping *work, int32_t row, bool upper) {
    struct rows *rows = work->rows;
    const int32_t *start = upper ? rows->up_start : rows->down_start, *list = upper ? rows->up : rows->down;
    int32_t first = rows->start[row], count = rows->start[row + 1] - first, loose = 0;
    for (int32_t k = 0; k < count; k++) {
        int32_t i = rows->at[first + k];
        double sum = 0;
        for (int32_t s = start[i]; s < start[i + 1]; s++) {
            const struct rows_link *link = &rows->links[list[s]];
            /* The item's own port counts too: a line to its left port wants the item further right. */
            double own = upper ? link->lower_x : link->upper_x, width = rows->items[i].width;
            sum += end_of(rows, link, upper) - (width > 0 ? 0.45 * (own / width - 0.5) : 0);
        }
        if (start[i + 1] > start[i]) work->key[i] = sum / (start[i + 1] - start[i]);
        else loose++, work->key[i] = -1;
    }
    if (loose == count) return;
    if (loose) { /* those stand still, the others go round them */
        int32_t fixed = 0, bound = 0;
        for (int32_t k = 0; k < count; k++) {
            int32_t i = rows->at[first + k];
            if (start[i + 1] > start[i]) work->best[bound++] = i;
        }
        rows_sort(work->best, bound, work->key, work->spare);
        for (int32_t k = 0; k < count; k++) {
            int32_t i = rows->at[first + k];
            if (start[i + 1] > start[i]) rows->at[first + k] = work->best[fixed++];
        }
    } else {
        rows_sort(rows->at + first, count, work->key, work->spare);
    }
    renumber(rows, row);
}

/* Pairs of links between a row and the next that cross: inversions, counted while merging. */
static int64_t inversions(int32_t *at, int32_t count, const double *key, int32_t *spare) {
    int64_t sum = 0;
    for (int32_t width = 1; width < count; width *= 2) {
        for (int32_t low = 0; low < count; low += 2 * width) {
            int32_t middle = low + width < count ? low + width : count, high = low + 2 * width < count ? low + 2 * width : count;
            int32_t a = low, b = middle;
            for (int32_t k = low; k < high; k++) {
                bool left = a < middle && (b >= high || key[at[a]] <= key[at[b]]);
                if (!left) sum += middle - a;
                spare[k] = left ? at[a++] : at[b++];
            }
        }
        memcpy(at, spare, (size_t)count * sizeof *at);
    }
    return sum;
}

static int64_t crossings(struct sweeping *work) {
    struct rows *rows = work->rows;
    int64_t sum = 0;
    for (int32_t r = 0; r + 1 < rows->row_count; r++) {
        int32_t count = 0;
        for (int32_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
            int32_t i = rows->at[k], from = count;
            for (int32_t s = rows->down_start[i]; s < rows->down_start[i + 1]; s++) {
                int32_t l = rows->down[s];
                work->ends[l] = end_of(rows, &rows->links[l], true), work->key[l] = end_of(rows, &rows->links[l], false);
                work->sorted[count++] = l;
            }
            rows_sort(work->sorted + from, count - from, work->key, work->spare);
            rows_sort(work->sorted + from, count - from, work->ends, work->spare);
        }
        sum += inversions(work->sorted, count, work->key, work->spare);
    }
    return sum;
}

/* Crossings of the links of two neighbours, the first standing left. */
static int64_t pair_crossings(const struct rows *rows, int32_t a, int32_t b, bool upper) {
    const int32_t *start = upper ? rows->up_start : rows->down_start, *list = upper ? rows->up : rows->down;
    int64_t sum = 0;
    if ((start[a + 1] - start[a]) > SWAP_LINKS || (start[b + 1] - start[b]) > SWAP_LINKS) return 0;
    for (int32_t s = start[a]; s < start[a + 1]; s++)
        for (int32_t t = start[b]; t < start[b + 1]; t++)
            sum += end_of(rows, &rows->links[list[s]], upper) > end_of(rows, &rows->links[list[t]], upper);
    return sum;
}

static void swap_neighbours(struct rows *rows) {
    for (int round = 0, better = 1; better && round < SWAP_ROUNDS; round++) {
        better = 0;
        for (int32_t r = 0; r < rows->row_count; r++)
            for (int32_t k = rows->start[r]; k + 1 < rows->start[r + 1]; k++) {
                int32_t a = rows->at[k], b = rows->at[k + 1];
                int64_t now = pair_crossings(rows, a, b, true) + pair_crossings(rows, a, b, false);
                if (!now || pair_crossings(rows, b, a, true) + pair_crossings(rows, b, a, false) >= now) continue;
                rows->at[k] = b, rows->at[k + 1] = a, better = 1;
                rows->place[a]++, rows->place[b]--;
            }
    }
}

int rows_order(struct rows *rows) {
    size_t most = (size_t)(rows->item_count > rows->link_count ? rows->item_count : rows->link_count) + 1;
    struct sweeping work = {.rows = rows};
    work.key = arena_array(rows->arena, most, sizeof *work.key), work.ends = arena_array(rows->arena, most, sizeof *work.ends);
    work.spare = arena_array(rows->arena, most, sizeof *work.spare), work.best = arena_array(rows->arena, most, sizeof *work.best);
    work.sorted = arena_array(rows->arena, most, sizeof *work.sorted);
    int32_t *kept = arena_array(rows->arena, (size_t)rows->item_count + 1, sizeof *kept);
    if (!work.key || !work.ends || !work.spare || !work.best || !work.sorted || !kept || first_order(rows) < 0) return -1;
    bool small = rows->link_count <= LINKS_SMALL;
    int64_t least = crossings(&work);
    memcpy(kept, rows->at, (size_t)rows->item_count * sizeof *kept);
    for (int turn = 0, idle = 0; least && turn < (small ? SWEEPS_MOST : SWEEPS_LEAST) && idle < PATIENCE; turn++) {
        for (int32_t r = 1; r < rows->row_count; r++) order_row(&work, turn % 2 ? rows->row_count - 1 - r : r, turn % 2 == 0);
        if (small) swap_neighbours(rows);
        int64_t now = crossings(&work);
        idle = now < least ? 0 : idle + 1;
        if (now >= least) continue;
        least = now;
        memcpy(kept, rows->at, (size_t)rows->item_count * sizeof *kept);
    }
    memcpy(rows->at, kept, (size_t)rows->item_count * sizeof *kept);
    for (int32_t r = 0; r < rows->row_count; r++) renumber(rows, r);
    return 0;
}
