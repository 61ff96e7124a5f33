/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution as sums of taps. A share of the work is some rows of places of one sample's group. The rows of input that they see are laid
 * out once, padded and split by stride: row and column u of the padded input become row u / stride of plane u % stride. Then
 * one channel of the result is, place by place in memory,
 *     y[i] = bias + sum over j of w[j] buffer[offset[j] + i],
 * whatever stride, dilation and padding are: loads and stores of adjacent elements alone. A row of places is as wide as a row of the
 * buffer; where that is more than the result has, the surplus is dropped as rows are copied out. One axis (conv1d) is taken as the
 * height, with a width of 1. Without padding and strides the buffer is the input itself.
 */
#include "conv/conv_direct.h"
#include "common/extent.h"

#include <string.h>

enum {
    DIRECT_PLACES = 2048,
    DIRECT_BUFFER = 1 << 16,
    DIRECT_UNITS = 8
}; /* places of a share; elements of its buffer, about; units at a time */

void direct_of(const struct conv_plan *plan, int64_t rows, struct direct *d) {
    *d = (struct direct){.h = plan->axis[0], .w = plan->axis[1], .rows = rows};
    if (d->h.in == 1 && d->h.out == 1 && window_trivial(&d->h)) {
        struct window time = d->w;
        d->w = d->h;
        d->h = time;
    }
    if (d->h.out == 1) d->h.stride = 1; /* never used; planes for it would be */
    if (d->w.out == 1) d->w.stride = 1;
    d->channels = plan->channels / plan->groups;
    d->units = plan->units / plan->groups;
    d->plain = d->h.stride == 1 && d->w.stride == 1 && d->h.before + d->h.after + d->w.before + d->w.after == 0;
    d->row = (d->w.in + d->w.before + d->w.after + d->w.stride - 1) / d->w.stride;
    d->planes_h = rows - 1 + (window_reach(&d->h) + d->h.stride - 1) / d->h.stride;
    d->channel = d->plain ? d->h.in * d->w.in : d->h.stride * d->w.stride * d->planes_h * d->row;
    d->dense = d->row == d->w.out;
}

void conv_direct_plan(struct conv_plan *plan) {
    struct direct d;
    direct_of(plan, 1, &d);
    int64_t rows = DIRECT_PLACES / (d.row > 0 ? d.row : 1), each = d.channels * d.row * d.w.stride * d.h.stride;
    int64_t room = DIRECT_BUFFER / (each > 0 ? each : 1) - window_reach(&d.h) / d.h.stride;
    rows = !d.plain && rows > room ? room : rows;
    int64_t reach = window_reach(&d.h) / d.h.stride + 1; /* rows seen twice should not outweigh those that are new */
    rows = rows < reach ? reach : rows;
    rows = rows > d.h.out ? d.h.out : rows;
    direct_of(plan, rows, &d);
    int64_t units = d.units < DIRECT_UNITS ? d.units : DIRECT_UNITS;
    plan->tile = rows;
    plan->tiles = (d.h.out + rows - 1) / rows;
    plan->slot = (d.plain ? 0 : d.channels * d.channel) + (d.dense ? 0 : units * rows * d.row);
    plan->table = plan->taps * (int64_t)sizeof(int64_t);
}

void direct_offsets(const struct direct *d, int64_t *offset) {
    int64_t plane = d->planes_h * d->row;
    for (int64_t c = 0; c < d->channels; ++c)
        for (int64_t k = 0; k < d->h.kernel; ++k)
            for (int64_t l = 0; l < d->w.kernel; ++l) {
                int64_t i = k * d->h.dilation, j = l * d->w.dilation;
                *offset++ =
                    c * d->channel + (i % d->h.stride * d->w.stride + j % d->w.stride) * plane + i / d->h.stride * d->row + j / d->w.stride;
            }
}

/* Padded elements first, first + stride, ... of a line: none of them lies in it. */
static void padding_fill(char *to, const char *line, int64_t in, int64_t first, int64_t count, int64_t stride, int32_t mode, int64_t size) {
    if (mode == MODE_ZERO) {
        if (count > 0) memset(to, 0, (size_t)(count * size));
        return;
    }
    for (int64_t i = 0; i < count; ++i) memcpy(to + i * size, line + window_source(first + i * stride, in, mode) * size, (size_t)size);
}

/* Elements begin .. begin + count of a padded line, those of like remainder side by side, `plane` apart. */
static void line_fill(char *to, int64_t plane, const char *line, int64_t in, int64_t begin, int64_t count, int64_t stride, int32_t mode,
                      int64_t size) {
    for (int64_t phase = 0; phase < stride && phase < count; ++phase) {
        char *at = to + phase * plane * size;
        int64_t places = (count - phase + stride - 1) / stride, first = begin + phase;
        int64_t low = first >= 0 ? 0 : (-first + stride - 1) / stride, high = in - first <= 0 ? 0 : (in - first - 1) / stride + 1;
        low = low > places ? places : low;
        high = high < low ? low : high > places ? places : high;
        padding_fill(at, line, in, first, low, stride, mode, size);
        if (stride == 1 && high > low) memcpy(at + low * size, line + (first + low) * size, (size_t)((high - low) * size));
        else if (size == 4)
            for (int64_t i = low; i < high; ++i) memcpy(at + i * 4, line + (first + i * stride) * 4, 4);
        else
            for (int64_t i = low; i < high; ++i) memcpy(at + i * 8, line + (first + i * stride) * 8, 8);
        padding_fill(at + high * size, line, in, first + high * stride, places - high, stride, mode, size);
    }
}

void direct_fill(const struct direct *d, char *to, const char *x, int64_t begin, int64_t rows, int32_t mode, int64_t size) {
    int64_t first = begin * d->h.stride - d->h.before, count = (rows - 1) * d->h.stride + window_reach(&d->h);
    int64_t plane = d->planes_h * d->row;
    if (d->w.in == 1 && d->row == 1) { /* a width of 1: the height is the line */
        line_fill(to, plane, x, d->h.in, first, count, d->h.stride, mode, size);
        return;
    }
    int64_t width = d->w.in + d->w.before + d->w.after;
    for (int64_t i = 0; i < count; ++i) {
        char *row = to + (i % d->h.stride * d->w.stride * plane + i / d->h.stride * d->row) * size;
        int64_t source = window_source(first + i, d->h.in, mode);
        if (source >= 0) {
            line_fill(row, plane, x + source * d->w.in * size, d->w.in, -d->w.before, width, d->w.stride, mode, size);
            continue;
        }
        for (int64_t phase = 0; phase < d->w.stride; ++phase) memset(row + phase * plane * size, 0, (size_t)(d->row * size));
    }
}

struct share {
    const struct conv_work *work;
    const struct conv_table *table;
    const char *buffer; /* of the group's first channel, at the share's first row */
    char *rows;         /* places before the surplus is dropped */
    int64_t n, row_count;
};

/* Places of some units of a share. */
static void units_run(const struct direct *d, const struct share *share, int64_t unit, int64_t units, char *y) {
    const struct conv_work *work = share->work;
    int64_t size = work->size, places = work->plan->places;
    struct conv_taps taps = {.units = units,
                             .count = work->plan->taps,
                             .offset = work->table,
                             .y_step = d->dense ? places : share->n,
                             .w_step = work->plan->taps};
    char *to = d->dense ? y : share->rows;
    const char *w = (const char *)work->weight + unit * taps.count * size,
               *bias = work->bias ? (const char *)work->bias + unit * size : NULL;
    if (work->dtype == FLOW_F64)
        share->table->taps_f64((double *)(void *)to, share->n, (const double *)(const void *)share->buffer, (const double *)(const void *)w,
                               (const double *)(const void *)bias, &taps);
    else
        share->table->taps_f32((float *)(void *)to, share->n, (const float *)(const void *)share->buffer, (const float *)(const void *)w,
                               (const float *)(const void *)bias, &taps);
    for (int64_t u = 0; !d->dense && u < units; ++u)
        for (int64_t i = 0; i < share->row_count; ++i)
            memcpy(y + (u * places + i * d->w.out) * size, to + (u * share->n + i * d->row) * size, (size_t)(d->w.out * size));
}

static void slot_body(const struct conv_work *work, int64_t slot) {
    const struct conv_plan *plan = work->plan;
    struct direct d;
    direct_of(plan, plan->tile, &d);
    int64_t size = work->size, shares = plan->batch * plan->groups * plan->tiles;
    char *scratch = work->scratch + slot * plan->slot;
    struct share share = {.work = work, .table = ISA_PICK(conv_table, work->call->host->isa)};
    share.rows = scratch + (d.plain ? 0 : d.channels * d.channel * size);
    for (int64_t i = shares * slot / plan->slots; i < shares * (slot + 1) / plan->slots; ++i) {
        int64_t tile = i % plan->tiles, group = i / plan->tiles % plan->groups, sample = i / plan->tiles / plan->groups,
                begin = tile * d.rows;
        share.row_count = d.h.out - begin < d.rows ? d.h.out - begin : d.rows;
        share.n = (share.row_count - 1) * d.row + d.w.out;
        const char *x = (const char *)work->x + (sample * plan->channels + group * d.channels) * d.h.in * d.w.in * size;
        share.buffer = d.plain ? x + begin * d.row * size : scratch;
        for (int64_t c = 0; !d.plain && c < d.channels; ++c)
            direct_fill(&d, scratch + c * d.channel * size, x + c * d.h.in * d.w.in * size, begin, share.row_count, plan->mode, size);
        for (int64_t u = 0; u < d.units; u += DIRECT_UNITS) {
            int64_t unit = group * d.units + u, units = d.units - u < DIRECT_UNITS ? d.units - u : DIRECT_UNITS;
            units_run(&d, &share, unit, units, (char *)work->y + ((sample * plan->units + unit) * plan->places + begin * d.w.out) * size);
        }
    }
}

int conv_direct_run(const struct conv_work *work) {
    struct direct d;
    direct_of(work->plan, work->plan->tile, &d);
    direct_offsets(&d, work->table);
    conv_slots(work, slot_body);
    return FLOW_OK;
}
