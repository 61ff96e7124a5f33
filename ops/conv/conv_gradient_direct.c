/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients as sums of taps and dot products, with the rows of conv_direct.c. For some rows of planes (row m of plane (a, b) holds the
 * padded input's row m * stride + a) dy is laid out in rows as wide as the planes', with zeros beyond its last place and around it. Then
 *     dw[u, j] += sum over i of dy[u, i] x[offset[j] + i],
 *     plane[c, i] = sum over u, taps j of that plane, of w[u, c, j] dy[u, i - place of j in the plane],
 * loads of adjacent elements alone, whatever stride, dilation and padding are; the planes are folded back into rows of x.
 */
#include "conv/conv_direct.h"
#include "conv/conv_gradient.h"

#include <string.h>

enum { LAYOUT_BUFFER = 3 << 15 }; /* elements of a share's buffers, about */

struct layout {
    struct direct d;     /* of the places in a tile */
    int64_t all;         /* rows of a plane, for all places */
    int64_t rows;        /* of them in a tile */
    int64_t above, lead; /* rows of dy before those of the tile, and elements before those */
    int64_t planes, kernel;
    int64_t dy, x; /* elements of the buffers: of one unit; of the tile's input or of its gradient */
};

static struct layout layout_of(const struct conv_plan *plan, int64_t rows) {
    struct layout l = {.rows = rows};
    direct_of(plan, 1, &l.d);
    direct_of(plan, rows < l.d.h.out ? rows : l.d.h.out, &l.d);
    const struct window *h = &l.d.h, *w = &l.d.w;
    l.all = h->out - 1 + (window_reach(h) + h->stride - 1) / h->stride;
    l.above = (window_reach(h) - 1) / h->stride;
    l.lead = (window_reach(w) - 1) / w->stride;
    l.planes = h->stride * w->stride;
    l.kernel = h->kernel * w->kernel;
    l.d.channel = l.planes * l.d.planes_h * l.d.row;
    l.lead += (CONV_VECTOR - (l.lead + l.above * l.d.row) % CONV_VECTOR) % CONV_VECTOR; /* the tile's rows begin on a vector */
    l.dy = (l.lead + (l.above + rows) * l.d.row + 2 * CONV_VECTOR - 1) / CONV_VECTOR * CONV_VECTOR;
    int64_t dx = l.planes * rows * l.d.row;
    l.x = l.d.channels * (l.d.channel > dx ? l.d.channel : dx) + l.d.row + CONV_VECTOR;
    return l;
}

void gradient_direct_plan(struct conv_plan *plan) {
    struct conv_back *back = &plan->back;
    struct layout l = layout_of(plan, 1);
    int64_t of_row = (l.d.units + l.planes * l.d.channels) * l.d.row, rows = LAYOUT_BUFFER / (of_row > 0 ? of_row : 1) - l.above;
    rows = rows < 2 * l.above + 1 ? 2 * l.above + 1 : rows; /* rows laid out twice should not outweigh those that are new */
    rows = rows > l.all ? l.all : rows;
    l = layout_of(plan, rows);
    back->samples = 1;
    back->tile = rows;
    back->tiles = (l.all + rows - 1) / rows;
    back->slot = l.d.units * l.dy + l.x;
    back->table = (int64_t)sizeof(int64_t) * (plan->taps + l.d.units * l.kernel + l.planes + 1);
}

/* The table: offsets of taps in the input; of (unit, tap) in dy, plane by plane; where each plane's begin. */
struct table {
    int64_t *taps, *of, *start;
};
static struct table table_of(const struct gradient_work *work, const struct layout *l) {
    int64_t *taps = (int64_t *)(void *)work->offsets;
    return (struct table){taps, taps + work->plan->taps, taps + work->plan->taps + l->d.units * l->kernel};
}

void gradient_direct_start(const struct gradient_work *work) {
    const struct conv_plan *plan = work->plan;
    struct layout l = layout_of(plan, plan->back.tile);
    struct table table = table_of(work, &l);
    const struct window *h = &l.d.h, *w = &l.d.w;
    direct_offsets(&l.d, table.taps);
    int64_t entries = l.d.units * l.kernel, at = 0;
    for (int64_t plane = 0; plane < l.planes; ++plane) {
        table.start[plane] = at;
        for (int64_t u = 0; u < l.d.units; ++u)
            for (int64_t k = 0; k < h->kernel; ++k)
                for (int64_t j = 0; j < w->kernel; ++j) {
                    int64_t down = k * h->dilation, across = j * w->dilation;
                    if (down % h->stride * w->stride + across % w->stride != plane) continue;
                    table.of[at] = u * l.dy + (l.above - down / h->stride) * l.d.row + l.lead - across / w->stride;
                    for (int64_t g = 0; g < plan->groups; ++g) {
                        const char *from = work->weight + ((g * l.d.units + u) * plan->taps + k * w->kernel + j) * work->size;
                        char *to = work->turned + (g * l.d.channels * entries + at) * work->size;
                        for (int64_t c = 0; c < l.d.channels; ++c)
                            memcpy(to + c * entries * work->size, from + c * l.kernel * work->size, (size_t)work->size);
                    }
                    ++at;
                }
    }
    table.start[l.planes] = at;
}

/* One tile of one sample's group: rows [begin, end) of planes, of which the first `places` are rows of places. */
struct tile {
    const struct gradient_work *work;
    const struct layout *l;
    int64_t slot, sample, group, begin, end, places;
    char *dy, *x; /* buffers */
};

static void dy_fill(const struct tile *t, bool clear) {
    const struct layout *l = t->l;
    int64_t size = t->work->size, out = l->d.h.out, width = l->d.w.out, first = t->begin - l->above < 0 ? 0 : t->begin - l->above;
    int64_t last = t->end < out ? t->end : out;
    if (clear) memset(t->dy, 0, (size_t)(l->d.units * l->dy * size));
    const char *from = t->work->dy + (t->sample * t->work->plan->units + t->group * l->d.units) * out * width * size;
    for (int64_t u = 0; u < l->d.units; ++u, from += out * width * size) {
        char *to = t->dy + (u * l->dy + l->lead + (first - (t->begin - l->above)) * l->d.row) * size;
        if (l->d.dense && last > first) memcpy(to, from + first * width * size, (size_t)((last - first) * width * size));
        for (int64_t i = first; i < last && !l->d.dense; ++i, to += l->d.row * size)
            memcpy(to, from + i * width * size, (size_t)(width * size));
    }
}

static void weights_add(const struct tile *t) {
    const struct gradient_work *work = t->work;
    const struct layout *l = t->l;
    int64_t size = work->size, n = t->places * l->d.row, at = l->lead + l->above * l->d.row, taps = work->plan->taps;
    const char *dy = t->dy + at * size;
    for (int64_t u = 0; work->bias_wanted && u < l->d.units; ++u)
        gradient_bias(work, t->slot, t->group * l->d.units + u, dy + u * l->dy * size, n);
    if (!work->sums_wanted) return;
    int64_t image = l->d.h.in * l->d.w.in;
    const char *x = work->x + (t->sample * work->plan->channels + t->group * l->d.channels) * image * size;
    for (int64_t c = 0; c < l->d.channels; ++c)
        direct_fill(&l->d, t->x + c * l->d.channel * size, x + c * image * size, t->begin, t->places, work->plan->mode, size);
    char *sums = work->sums + t->slot * work->sums_step + t->group * l->d.units * taps * size;
    struct table table = table_of(work, l);
    if (work->dtype == FLOW_F64)
        work->table->dots_f64((double *)(void *)sums, taps, l->d.units, (const double *)(const void *)dy, l->dy, n,
                              (const double *)(const void *)t->x, table.taps, taps);
    else
        work->table->dots_f32((float *)(void *)sums, taps, l->d.units, (const float *)(const void *)dy, l->dy, n,
                              (const float *)(const void *)t->x, table.taps, taps);
}

/* Planes' rows [begin, end) of one channel back into x. */
static void fold(const struct tile *t, int64_t begin, int64_t end, const char *planes, char *x) {
    const struct gradient_work *work = t->work;
    const struct layout *l = t->l;
    const struct window *h = &l->d.h, *w = &l->d.w;
    int64_t size = work->size, rows = end - begin, mode = work->plan->mode;
    bool set = mode == MODE_ZERO && !work->add, line = w->in == 1 && l->d.row == 1;
    int64_t height = h->in + h->before + h->after, width = w->in + w->before + w->after;
    if (mode != MODE_ZERO && !work->add && t->begin == 0) memset(x, 0, (size_t)(h->in * w->in * size));
    for (int64_t a = 0; a < h->stride; ++a) {
        for (int64_t b = 0; b < w->stride; ++b, planes += rows * l->d.row * size) {
            if (line) { /* a width of 1: the height is the line */
                int64_t first = begin * h->stride + a, places = first < height ? (height - first + h->stride - 1) / h->stride : 0;
                gradient_fold_line(work, x, h->in, planes, first - h->before, places < rows ? places : rows, h->stride, set);
                continue;
            }
            int64_t places = b < width ? (width - b + w->stride - 1) / w->stride : 0;
            for (int64_t m = 0; m < rows; ++m) {
                int64_t p = (begin + m) * h->stride + a;
                int64_t source = p < height ? window_source(p - h->before, h->in, work->plan->mode) : -1;
                if (source >= 0)
                    gradient_fold_line(work, x + source * w->in * size, w->in, planes + m * l->d.row * size, b - w->before, places,
                                       w->stride, set);
            }
        }
    }
    int64_t unseen = l->all * h->stride - h->before; /* rows that no window reaches */
    unseen = unseen < 0 ? 0 : unseen;
    if (set && t->end == l->all && unseen < h->in) memset(x + unseen * w->in * size, 0, (size_t)((h->in - unseen) * w->in * size));
}

static void input_add(const struct tile *t) {
    const struct gradient_work *work = t->work;
    const struct layout *l = t->l;
    struct table table = table_of(work, l);
    int64_t begin = t->begin, end = t->end, size = work->size, entries = l->d.units * l->kernel;
    if (work->plan->mode == MODE_ZERO) { /* rows that are all padding need not be known */
        int64_t low = l->d.h.before / l->d.h.stride, high = (l->d.h.before + l->d.h.in + l->d.h.stride - 1) / l->d.h.stride;
        begin = begin < low ? low : begin, end = end > high ? high : end;
        end = end < begin ? begin : end;
    }
    const char *dy = t->dy + (begin - t->begin) * l->d.row * size;
    int64_t n = (end - begin) * l->d.row;
    const char *turned = work->turned + t->group * l->d.channels * entries * size;
    struct conv_taps taps = {.units = l->d.channels, .y_step = l->planes * n, .w_step = entries};
    for (int64_t plane = 0; plane < l->planes && n > 0; ++plane) {
        char *to = t->x + plane * n * size;
        const char *w = turned + table.start[plane] * size;
        taps.count = table.start[plane + 1] - table.start[plane], taps.offset = table.of + table.start[plane];
        if (taps.count == 0)
            for (int64_t c = 0; c < l->d.channels; ++c) memset(to + c * l->planes * n * size, 0, (size_t)(n * size));
        else if (work->dtype == FLOW_F64)
            work->table->taps_f64((double *)(void *)to, n, (const double *)(const void *)dy, (const double *)(const void *)w, NULL, &taps);
        else work->table->taps_f32((float *)(void *)to, n, (const float *)(const void *)dy, (const float *)(const void *)w, NULL, &taps);
    }
    int64_t image = l->d.h.in * l->d.w.in;
    char *x = work->dx + (t->sample * work->plan->channels + t->group * l->d.channels) * image * size;
    for (int64_t c = 0; c < l->d.channels; ++c) fold(t, begin, end, t->x + c * l->planes * n * size, x + c * image * size);
}

void gradient_direct_run(const struct gradient_work *work, int64_t slot) {
    const struct conv_plan *plan = work->plan;
    const struct conv_back *back = &plan->back;
    struct layout l = layout_of(plan, back->tile);
    struct tile t = {.work = work, .l = &l, .slot = slot, .dy = work->scratch + slot * back->slot};
    t.x = t.dy + l.d.units * l.dy * work->size;
    memset(t.x, 0, (size_t)(l.x * work->size)); /* what lies between the rows is multiplied by zeros: it must be numbers */
    int64_t pairs = plan->batch * plan->groups, first = pairs * slot / back->slots, last = pairs * (slot + 1) / back->slots;
    for (int64_t pair = first; pair < last; ++pair)
        for (int64_t i = 0; i < back->tiles; ++i) {
            t.sample = pair / plan->groups, t.group = pair % plan->groups;
            t.begin = i * back->tile, t.end = t.begin + back->tile < l.all ? t.begin + back->tile : l.all;
            t.places = (t.end < l.d.h.out ? t.end : l.d.h.out) - t.begin;
            dy_fill(&t, back->tiles > 1 || pair == first);
            if (t.places > 0) weights_add(&t);
            if (work->dx) input_add(&t);
        }
}
