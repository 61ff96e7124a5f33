/* SPDX-License-Identifier: Apache-2.0 */
/* Which way a convolution is computed, how its work is cut, how much memory that takes. */
#include "conv/conv.h"
#include "common/extent.h"

enum {
    CONV_SLOTS = 4,               /* most shares of the work; each has scratch of its own */
    CONV_TILE = 256,              /* places of a tile, at least: its product packs the weights anew */
    CONV_ROWS_MOST = 32,          /* so few places are rows of a product with packed weights */
    CONV_DIRECT_UNITS = 4,        /* units of a group, at most, whose taps are summed whatever the kernel is */
    CONV_DIRECT_WEIGHTS = 1 << 18 /* weights of a group, at most, that are read again for a few vectors of places */
};

/* A group that reads one channel, or makes few, gains nothing from a blocked product unless its places are too few for vectors of them
 * (the 258 filters of silero's transform at 4 places: 81 us by taps, 8 as rows); nor do small kernels, whose columns would be many
 * times the input, where rows are not much wider for their padding. */
static enum conv_path path_choose(const struct conv_plan *plan) {
    const struct window *h = &plan->axis[0], *w = &plan->axis[1];
    int64_t units = plan->units / plan->groups, channels = plan->channels / plan->groups;
    if (units <= CONV_DIRECT_UNITS && (channels == 1 || plan->places >= 16)) return CONV_DIRECT;
    if (channels == 1 && plan->places > CONV_ROWS_MOST) return CONV_DIRECT;
    double row = (double)(w->in + w->before + w->after) / (double)w->stride;
    if (h->kernel * w->kernel > 1 && units * plan->taps <= CONV_DIRECT_WEIGHTS && plan->places >= 64 && row < 1.5 * (double)w->out)
        return CONV_DIRECT;
    return plan->places <= CONV_ROWS_MOST ? CONV_ROWS : CONV_COLUMNS;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* COLUMNS: tiles of places whose columns fit the second cache, unless that makes them too narrow. ROWS: samples side by side where each has
 * but one place. */
static void columns_plan(struct conv_plan *plan) {
    int64_t k = plan->taps, units = plan->units / plan->groups;
    if (plan->path == CONV_COLUMNS) {
        plan->tile = plan->bare ? plan->places : least(plan->places, most(CONV_TILE, (1 << 16) / k / 16 * 16));
        plan->tiles = (plan->places + plan->tile - 1) / plan->tile;
        plan->slot = plan->bare ? 0 : k * plan->tile;
    } else {
        plan->tile = plan->places == 1 ? least(plan->batch, 64) : 1;
        plan->tiles = 1;
        plan->slot = (plan->bare ? 0 : plan->tile * k * plan->places) + (plan->places == 1 ? 0 : units * plan->places);
    }
    plan->table = CONV_SLOTS * (int64_t)sizeof(int); /* a status for each */
}

int conv_plan_make(struct flow_infer *infer, struct conv_plan *plan) {
    const struct flow_tensor *x = &infer->in[0];
    int64_t element = shape_type_bytes(extent_wide(x->dtype));
    if (plan->places == 0 || plan->batch == 0) {
        plan->joined = window_stream_bytes(x, &plan->stream, element);
        infer->workspace = plan->joined;
        return plan->joined < 0 ? infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large") : FLOW_OK;
    }
    double padded = (double)(plan->channels / plan->groups);
    for (int i = 0; i < 2; ++i) padded *= (double)(plan->axis[i].in + plan->axis[i].before + plan->axis[i].after);
    if (padded > 1e15 || plan->taps > (int64_t)1 << 40)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the convolution needs too much memory");
    plan->path = plan->taps == 0 ? CONV_DIRECT : path_choose(plan);
    plan->bare = plan->path != CONV_DIRECT && window_trivial(&plan->axis[0]) && window_trivial(&plan->axis[1]);
    if (plan->path == CONV_DIRECT) conv_direct_plan(plan);
    else columns_plan(plan);
    /* Shares of about 30 us or more: 2 FLOP a tap at some 50 GFLOP/s. */
    double units = (double)plan->batch * (double)plan->groups * (double)plan->tiles;
    double shares = infer->flops / 2 / 1e6;
    shares = shares < units ? shares : units;
    plan->slots = plan->path == CONV_ROWS || shares < 2 ? 1 : shares > CONV_SLOTS ? CONV_SLOTS : (int64_t)shares;
    plan->joined = window_stream_bytes(x, &plan->stream, element);
    if (plan->joined < 0 || __builtin_mul_overflow(plan->slot, element, &plan->slot) || plan->slot > INT64_MAX / 4 / CONV_SLOTS ||
        plan->table > INT64_MAX / 4 || plan->joined > INT64_MAX / 4)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the convolution needs too much memory");
    plan->slot = (plan->slot + 63) / 64 * 64;
    plan->table = (plan->table + 63) / 64 * 64;
    infer->workspace = plan->joined + plan->table + plan->slot * plan->slots;
    if (plan->path == CONV_ROWS && infer->phase == FLOW_PHASE_INFERENCE) {
        int64_t bytes = infer->host->gemm_packed_bytes(infer->host, extent_wide(x->dtype), plan->taps, plan->units / plan->groups);
        if (__builtin_mul_overflow(bytes, plan->groups, &infer->packed))
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the weights are too large");
        infer->packed_key = 2;
    }
    return FLOW_OK;
}

struct slots {
    const struct conv_work *work;
    void (*body)(const struct conv_work *work, int64_t slot);
};

static void slots_body(void *context, int64_t begin, int64_t end) {
    const struct slots *slots = context;
    for (int64_t slot = begin; slot < end; ++slot) slots->body(slots->work, slot);
}

void conv_slots(const struct conv_work *work, void (*body)(const struct conv_work *work, int64_t slot)) {
    struct slots slots = {work, body};
    if (work->plan->slots == 1) body(work, 0);
    else work->call->host->parallel_for(work->call, work->plan->slots, 1, slots_body, &slots);
}
