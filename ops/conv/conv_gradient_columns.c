/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients as matrix products. dy times the columns' transpose gives the weights' gradient, the weights' transpose times dy that of the
 * columns, whose rows are then folded back into x. Samples of few places stand side by side. */
#include "conv/conv_gradient.h"

#include <string.h>

enum { COLUMNS_TILE = 256, COLUMNS_CACHE = 1 << 16 }; /* places of a tile, at least; elements of its columns, about */

void gradient_columns_plan(struct conv_plan *plan) {
    struct conv_back *back = &plan->back;
    bool bare = window_trivial(&plan->axis[0]) && window_trivial(&plan->axis[1]);
    int64_t tile = COLUMNS_CACHE / (plan->taps > 0 ? plan->taps : 1) / 16 * 16;
    tile = tile < COLUMNS_TILE ? COLUMNS_TILE : tile;
    back->samples = plan->places * 2 > tile ? 1 : tile / plan->places;
    if (back->samples > plan->batch) back->samples = plan->batch;
    back->tile = bare || plan->places < tile ? plan->places : tile;
    back->tiles = (plan->places + back->tile - 1) / back->tile;
    back->table = 0;
    int64_t count = back->samples * back->tile;
    back->slot = (bare && back->samples == 1 ? 0 : plan->taps * count) + (back->samples == 1 ? 0 : plan->units / plan->groups * count);
}

/* Places [begin, begin + count) of `samples` samples' group. */
struct tile {
    const struct gradient_work *work;
    int64_t slot, sample, samples, group, begin, count;
    bool bare; /* columns are the input itself */
    char *columns;
    const char *dy; /* [units of the group, samples * count], rows dy_row apart */
    int64_t dy_row;
};

static int64_t x_at(const struct tile *t, int64_t sample) {
    const struct conv_plan *plan = t->work->plan;
    return ((t->sample + sample) * plan->channels + t->group * (plan->channels / plan->groups)) * plan->axis[0].in * plan->axis[1].in *
           t->work->size;
}

/* dy as it lies, or copied so that samples stand side by side. */
static void dy_take(struct tile *t, char *copy) {
    const struct gradient_work *work = t->work;
    const struct conv_plan *plan = work->plan;
    int64_t units = plan->units / plan->groups, size = work->size, wide = t->samples * t->count;
    const char *from = work->dy + (t->sample * plan->units + t->group * units) * plan->places * size;
    t->dy = from + t->begin * size, t->dy_row = plan->places;
    if (t->samples == 1) return;
    for (int64_t u = 0; u < units; ++u)
        for (int64_t s = 0; s < t->samples; ++s)
            memcpy(copy + (u * wide + s * t->count) * size, from + (s * plan->units + u) * plan->places * size, (size_t)(t->count * size));
    t->dy = copy, t->dy_row = wide;
}

static int weights_add(const struct tile *t) {
    const struct gradient_work *work = t->work;
    const struct conv_plan *plan = work->plan;
    int64_t units = plan->units / plan->groups, size = work->size, wide = t->samples * t->count;
    for (int64_t u = 0; work->bias_wanted && u < units; ++u)
        gradient_bias(work, t->slot, t->group * units + u, t->dy + u * t->dy_row * size, wide);
    if (!work->sums_wanted) return FLOW_OK;
    for (int64_t s = 0; !t->bare && s < t->samples; ++s)
        conv_columns_fill(plan, work->x + x_at(t, s), size, t->begin, t->begin + t->count, t->columns + s * t->count * size, wide);
    struct flow_gemm product = {
        .size = sizeof(struct flow_gemm),
        .m = units,
        .n = plan->taps,
        .k = wide,
        .a = t->dy,
        .a_row = t->dy_row,
        .a_col = 1,
        .b = t->bare ? work->x + x_at(t, 0) + t->begin * size : t->columns,
        .b_row = 1,
        .b_col = t->bare ? plan->places : wide,
        .c = work->sums + t->slot * work->sums_step + t->group * units * plan->taps * size,
        .c_row = plan->taps,
        .beta = 1,
        .dtype = work->dtype,
    };
    return work->call->host->gemm(work->call, &product);
}

/* Places from `at` on, `count` of them in one row, of one tap. */
static void row_fold(const struct tile *t, char *x, const char *from, int64_t at, int64_t count, int64_t k, int64_t l) {
    const struct conv_plan *plan = t->work->plan;
    const struct window *h = &plan->axis[0], *w = &plan->axis[1];
    int64_t source = window_source(at / w->out * h->stride + k * h->dilation - h->before, h->in, plan->mode), j = at % w->out;
    if (source < 0) return;
    gradient_fold_line(t->work, x + source * w->in * t->work->size, w->in, from, j * w->stride + l * w->dilation - w->before, count,
                       w->stride, false);
}

static void fold(const struct tile *t, int64_t sample) {
    const struct gradient_work *work = t->work;
    const struct conv_plan *plan = work->plan;
    const struct window *h = &plan->axis[0], *w = &plan->axis[1];
    int64_t channels = plan->channels / plan->groups, image = h->in * w->in, size = work->size;
    char *x = work->dx + x_at(t, sample);
    if (t->begin == 0 && !work->add) memset(x, 0, (size_t)(channels * image * size));
    const char *from = t->columns + sample * t->count * size;
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t k = 0; k < h->kernel; ++k)
            for (int64_t l = 0; l < w->kernel; ++l, from += t->samples * t->count * size)
                for (int64_t i = 0; i < t->count;) {
                    int64_t at = t->begin + i, left = w->out - at % w->out, run = left < t->count - i ? left : t->count - i;
                    row_fold(t, x + c * image * size, from + i * size, at, run, k, l);
                    i += run;
                }
}

static int input_add(const struct tile *t) {
    const struct gradient_work *work = t->work;
    const struct conv_plan *plan = work->plan;
    int64_t units = plan->units / plan->groups, wide = t->samples * t->count;
    struct flow_gemm product = {
        .size = sizeof(struct flow_gemm),
        .m = plan->taps,
        .n = wide,
        .k = units,
        .a = work->weight + t->group * units * plan->taps * work->size,
        .a_row = 1,
        .a_col = plan->taps,
        .b = t->dy,
        .b_row = t->dy_row,
        .b_col = 1,
        .c = t->bare ? work->dx + x_at(t, 0) + t->begin * work->size : t->columns,
        .c_row = t->bare ? plan->places : wide,
        .beta = t->bare && work->add ? 1 : 0,
        .dtype = work->dtype,
    };
    int status = work->call->host->gemm(work->call, &product);
    for (int64_t s = 0; status >= 0 && !t->bare && s < t->samples; ++s) fold(t, s);
    return status;
}

void gradient_columns_run(const struct gradient_work *work, int64_t slot) {
    const struct conv_plan *plan = work->plan;
    const struct conv_back *back = &plan->back;
    bool bare = window_trivial(&plan->axis[0]) && window_trivial(&plan->axis[1]) && back->samples == 1;
    char *scratch = work->scratch + slot * back->slot, *copy = scratch + (bare ? 0 : plan->taps * back->samples * back->tile * work->size);
    int64_t blocks = (plan->batch + back->samples - 1) / back->samples * plan->groups;
    int status = FLOW_OK;
    for (int64_t i = blocks * slot / back->slots; i < blocks * (slot + 1) / back->slots; ++i)
        for (int64_t tile = 0; tile < back->tiles && status >= 0; ++tile) {
            struct tile t = {.work = work, .slot = slot, .bare = bare, .columns = scratch};
            t.sample = i / plan->groups * back->samples, t.group = i % plan->groups, t.begin = tile * back->tile;
            t.samples = plan->batch - t.sample < back->samples ? plan->batch - t.sample : back->samples;
            t.count = plan->places - t.begin < back->tile ? plan->places - t.begin : back->tile;
            dy_take(&t, copy);
            status = weights_add(&t);
            if (status >= 0 && work->dx) status = input_add(&t);
        }
    work->status[slot] = status;
}
