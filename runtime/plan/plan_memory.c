/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets. A block lives from its first step to its last; blocks that never live at one time may share memory. Two placements are tried,
 * each deterministic, and the smaller kept: in order of time, each block into the smallest gap that holds it; and in order of size, each
 * at the lowest place where nothing that lives with it lies. (The second comes closer to the bound more often, but costs the square.)
 *
 * With several streams "later" is not one order. A block's life then ends where every step from there on, on any stream, comes after all
 * its uses: found by the suffix minimum of the clocks, which only grows. */
#include "plan/build.h"

#include <stdlib.h>
#include <string.h>

enum { SQUARE_MOST = 2048 };

struct life {
    int32_t block, first, last;
    int64_t bytes, offset;
};

/* ---- Lifetimes ---- */

/* latest[s * streams + k]: what every step from s on knows to be done of stream k. */
static int32_t *suffix_clocks(struct plan_build *build) {
    size_t streams = (size_t)build->streams;
    int32_t *suffix = arena_array(&build->scratch, (build->step_count + 1) * streams, sizeof *suffix);
    if (!suffix) return NULL;
    for (size_t k = 0; k < streams; k++) suffix[build->step_count * streams + k] = INT32_MAX;
    for (size_t s = build->step_count; s-- > 0;)
        for (size_t k = 0; k < streams; k++) {
            int32_t here = build->clock[s * streams + k], later = suffix[(s + 1) * streams + k];
            suffix[s * streams + k] = here < later ? here : later;
        }
    return suffix;
}

static int32_t last_step(const struct plan_build *build, const int32_t *suffix, int32_t block) {
    const int32_t *uses = &build->uses[block * build->streams];
    if (build->streams == 1) return uses[0];
    int32_t low = build->blocks[block].first, high = (int32_t)build->step_count; /* the first step after its life lies in (low, high] */
    while (high - low > 1) {
        int32_t middle = low + (high - low) / 2;
        bool done = true;
        for (int32_t k = 0; k < build->streams; k++) done = done && uses[k] <= suffix[middle * build->streams + k];
        if (done) high = middle;
        else low = middle;
    }
    return high - 1;
}

static void find_lives(struct plan_build *build, const int32_t *suffix) {
    for (size_t b = 0; b < build->block_count; b++) {
        int32_t root = plan_root(build, (int32_t)b);
        struct plan_block *block = &build->blocks[root];
        if (root != (int32_t)b && build->blocks[b].first >= 0 && (block->first < 0 || build->blocks[b].first < block->first))
            block->first = build->blocks[b].first;
    }
    int32_t once = (int32_t)build->plan->once_count;
    for (size_t b = 0; b < build->block_count; b++) {
        struct plan_block *block = &build->blocks[b];
        if (block->into != (int32_t)b || block->first < 0) continue;
        block->last = last_step(build, suffix, (int32_t)b);
        block->lasting = block->place == PLACE_ARENA && block->first < once && block->last >= once;
    }
    for (size_t b = 0; b < build->block_count; b++) { /* those taken over are told of as they were used themselves */
        struct plan_block *block = &build->blocks[b];
        if (block->into != (int32_t)b && block->first >= 0)
            block->last = last_step(build, suffix, (int32_t)b), block->lasting = build->blocks[plan_root(build, (int32_t)b)].lasting;
    }
}

/* ---- Placement in order of time ---- */

struct gap {
    int64_t offset, bytes;
};

struct sweep {
    struct gap *gaps; /* in order of offset, none touching another */
    size_t gap_count;
    int64_t top;
};

static void sweep_free(struct sweep *sweep, int64_t offset, int64_t bytes) {
    size_t at = 0;
    while (at < sweep->gap_count && sweep->gaps[at].offset < offset) at++;
    bool joins_before = at > 0 && sweep->gaps[at - 1].offset + sweep->gaps[at - 1].bytes == offset;
    bool joins_after = at < sweep->gap_count && offset + bytes == sweep->gaps[at].offset;
    if (joins_before && joins_after) {
        sweep->gaps[at - 1].bytes += bytes + sweep->gaps[at].bytes;
        memmove(&sweep->gaps[at], &sweep->gaps[at + 1], (sweep->gap_count - at - 1) * sizeof *sweep->gaps);
        sweep->gap_count--;
    } else if (joins_before) sweep->gaps[at - 1].bytes += bytes;
    else if (joins_after) sweep->gaps[at].offset = offset, sweep->gaps[at].bytes += bytes;
    else {
        memmove(&sweep->gaps[at + 1], &sweep->gaps[at], (sweep->gap_count - at) * sizeof *sweep->gaps);
        sweep->gaps[at] = (struct gap){offset, bytes};
        sweep->gap_count++;
    }
}

static int64_t sweep_take(struct sweep *sweep, int64_t bytes) {
    size_t best = sweep->gap_count;
    for (size_t g = 0; g < sweep->gap_count; g++)
        if (sweep->gaps[g].bytes >= bytes && (best == sweep->gap_count || sweep->gaps[g].bytes < sweep->gaps[best].bytes)) best = g;
    int64_t offset;
    if (best < sweep->gap_count) {
        struct gap *gap = &sweep->gaps[best];
        offset = gap->offset;
        gap->offset += bytes, gap->bytes -= bytes;
        if (gap->bytes == 0) {
            memmove(gap, gap + 1, (sweep->gap_count - best - 1) * sizeof *gap);
            sweep->gap_count--;
        }
        return offset;
    }
    /* The last gap may touch the top: grow from there. */
    struct gap *last = sweep->gap_count ? &sweep->gaps[sweep->gap_count - 1] : NULL;
    bool touches = last && last->offset + last->bytes == sweep->top;
    offset = touches ? last->offset : sweep->top;
    if (touches) sweep->gap_count--;
    sweep->top = offset + bytes;
    return offset;
}

static int by_first(const void *a, const void *b) {
    const struct life *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->block < y->block ? -1 : 1;
}

/* `heap`: places of living blocks, the one that ends first on top. */
static void heap_push(const struct life *lives, size_t *heap, size_t *count, size_t item) {
    size_t at = (*count)++;
    for (; at > 0 && lives[heap[(at - 1) / 2]].last > lives[item].last; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = item;
}

static size_t heap_pop(const struct life *lives, size_t *heap, size_t *count) {
    size_t top = heap[0], item = heap[--(*count)], at = 0;
    for (size_t child = 1; child < *count; child = 2 * at + 1) {
        if (child + 1 < *count && lives[heap[child + 1]].last < lives[heap[child]].last) child++;
        if (lives[heap[child]].last >= lives[item].last) break;
        heap[at] = heap[child], at = child;
    }
    heap[at] = item;
    return top;
}

/* Gives the peak, or -1 without memory; `bound` receives the most that lives at one time. */
static int64_t place_by_time(struct plan_build *build, struct life *lives, size_t count, int64_t *bound) {
    struct sweep sweep = {.gaps = arena_array(&build->scratch, count + 1, sizeof(struct gap))};
    size_t *heap = arena_array(&build->scratch, count + 1, sizeof *heap), living = 0;
    if (!sweep.gaps || !heap) return -1;
    int64_t now = 0, peak = 0;
    *bound = 0;
    qsort(lives, count, sizeof *lives, by_first);
    for (size_t i = 0; i < count; i++) {
        while (living && lives[heap[0]].last < lives[i].first) {
            const struct life *dead = &lives[heap_pop(lives, heap, &living)];
            sweep_free(&sweep, dead->offset, dead->bytes);
            now -= dead->bytes;
        }
        lives[i].offset = sweep_take(&sweep, lives[i].bytes);
        heap_push(lives, heap, &living, i);
        now += lives[i].bytes;
        if (now > *bound) *bound = now;
        if (sweep.top > peak) peak = sweep.top;
    }
    return peak;
}

/* ---- Placement in order of size ---- */

static int by_size(const void *a, const void *b) {
    const struct life *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->block < y->block ? -1 : 1;
}

static int64_t place_by_size(struct plan_build *build, struct life *lives, size_t count) {
    const struct life **placed = arena_array(&build->scratch, count, sizeof *placed); /* in order of offset */
    if (!placed) return -1;
    int64_t peak = 0;
    qsort(lives, count, sizeof *lives, by_size);
    for (size_t i = 0; i < count; i++) {
        struct life *life = &lives[i];
        int64_t offset = 0;
        for (size_t p = 0; p < i; p++) {
            if (placed[p]->last < life->first || life->last < placed[p]->first) continue;
            if (offset + life->bytes <= placed[p]->offset) break;
            int64_t end = placed[p]->offset + placed[p]->bytes;
            if (end > offset) offset = end;
        }
        life->offset = offset;
        if (offset + life->bytes > peak) peak = offset + life->bytes;
        size_t at = i;
        for (; at > 0 && placed[at - 1]->offset > offset; at--) placed[at] = placed[at - 1];
        placed[at] = life;
    }
    return peak;
}

/* ---- All of it ---- */

static void settle(struct plan_build *build, struct plan_tensor *t) {
    if (t->place == PLACE_NONE) return;
    const struct plan_block *block = &build->blocks[plan_root(build, t->index)];
    t->place = block->lasting ? PLACE_ONCE : block->place;
    t->offset += block->offset;
    if (block->place != PLACE_ARENA) t->index = block->index;
}

static int place_blocks(struct plan_build *build, struct life *lives, size_t count) {
    struct plan *plan = build->plan;
    plan->bytes = place_by_time(build, lives, count, &plan->bound);
    if (plan->bytes < 0) return report_memory(build->report);
    for (size_t i = 0; i < count; i++) build->blocks[lives[i].block].offset = lives[i].offset + plan_guard(build);
    if (plan->bytes == plan->bound || count > SQUARE_MOST) return 0;
    int64_t other = place_by_size(build, lives, count);
    if (other < 0) return report_memory(build->report);
    if (other >= plan->bytes) return 0;
    plan->bytes = other;
    for (size_t i = 0; i < count; i++) build->blocks[lives[i].block].offset = lives[i].offset + plan_guard(build);
    return 0;
}

int plan_memory(struct plan_build *build) {
    struct plan *plan = build->plan;
    int32_t *suffix = build->streams > 1 ? suffix_clocks(build) : NULL;
    struct life *lives = arena_array(&build->scratch, build->block_count, sizeof *lives);
    if (!lives || (build->streams > 1 && !suffix)) return report_memory(build->report);
    find_lives(build, suffix);
    size_t count = 0;
    bool fits = true;
    for (size_t b = 0; b < build->block_count; b++) {
        struct plan_block *block = &build->blocks[b];
        if (block->place != PLACE_ARENA || block->first < 0) continue;
        int64_t bytes = size_align(block->bytes, PLAN_ALIGN) + 2 * plan_guard(build);
        if (!block->lasting) fits = size_add(plan->unshared, bytes, &plan->unshared) && plan->unshared <= INT64_MAX / 4 && fits;
        if (block->into != (int32_t)b) continue;
        if (block->lasting) {
            block->offset = plan->once_bytes + plan_guard(build);
            fits = size_add(plan->once_bytes, bytes, &plan->once_bytes) && plan->once_bytes <= INT64_MAX / 4 && fits;
        } else if (bytes > 0) lives[count++] = (struct life){(int32_t)b, block->first, block->last, bytes, 0};
        if (!fits)
            return report_add(build->report, FLOW_ERROR_RANGE, (struct position){build->instance->network->path, 0, 0},
                              "the graph needs more memory than can be addressed");
    }
    int code = place_blocks(build, lives, count);
    if (code < 0) return code;
    for (size_t s = 0; s < build->step_count; s++) {
        struct plan_step *step = &build->steps[s];
        for (uint32_t i = 0; i < plan_step_tensor_count(step); i++) {
            bool written;
            settle(build, plan_step_tensor(step, i, &written));
        }
        if (step->workspace >= 0) step->workspace = build->blocks[step->workspace].offset;
    }
    return 0;
}
