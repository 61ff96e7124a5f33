/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution as a matrix product. The columns of a place are the K elements that its window sees; where the kernel is one element they
 * are the input itself. With many places weights times columns gives the result as it lies in memory; with few, the transposed
 * product reads weights that were packed once. */
#include "conv/conv.h"
#include "common/extent.h"

#include <string.h>

/* Elements i, i + step, ... of a row to adjacent places. */
static void gather(char *to, const char *from, int64_t step, int64_t count, int64_t size) {
    if (step == 1) {
        memcpy(to, from, (size_t)(count * size));
    } else if (size == 4) {
        for (int64_t i = 0; i < count; ++i) memcpy(to + i * 4, from + i * step * 4, 4);
    } else {
        for (int64_t i = 0; i < count; ++i) memcpy(to + i * 8, from + i * step * 8, 8);
    }
}

/* Places [begin, end) along the width for one tap: `row` NULL is a row of zeros. */
static void row_fill(char *to, const char *row, const struct window *w, int64_t tap, int64_t begin, int64_t end, int32_t mode,
                     int64_t size) {
    int64_t first = tap * w->dilation - w->before; /* element that place 0 sees */
    int64_t low = first >= 0 ? 0 : (-first + w->stride - 1) / w->stride;
    int64_t high = w->in - first <= 0 ? 0 : (w->in - first - 1) / w->stride + 1; /* places [low, high) see elements of the row */
    low = low < begin ? begin : low > end ? end : low;
    high = high < low ? low : high > end ? end : high;
    if (!row || (mode == MODE_ZERO && low == high)) {
        memset(to, 0, (size_t)((end - begin) * size));
        return;
    }
    if (high > low) gather(to + (low - begin) * size, row + (first + low * w->stride) * size, w->stride, high - low, size);
    if (mode == MODE_ZERO) {
        memset(to, 0, (size_t)((low - begin) * size));
        memset(to + (high - begin) * size, 0, (size_t)((end - high) * size));
        return;
    }
    for (int64_t i = begin; i < end; ++i) {
        if (i == low && high > low) i = high;
        if (i < end) memcpy(to + (i - begin) * size, row + window_source(first + i * w->stride, w->in, mode) * size, (size_t)size);
    }
}

void conv_columns_fill(const struct conv_plan *plan, const void *x, int64_t size, int64_t begin, int64_t end, void *columns,
                       int64_t columns_row) {
    const struct window *h = &plan->axis[0], *w = &plan->axis[1];
    int64_t channels = plan->channels / plan->groups;
    char *to = columns;
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t k = 0; k < h->kernel; ++k)
            for (int64_t l = 0; l < w->kernel; ++l, to += columns_row * size) {
                for (int64_t at = begin; at < end;) {
                    int64_t i = at / w->out, j = at % w->out, stop = w->out - j < end - at ? w->out : j + end - at;
                    int64_t source = window_source(i * h->stride + k * h->dilation - h->before, h->in, plan->mode);
                    const char *row = source < 0 ? NULL : (const char *)x + (c * h->in + source) * w->in * size;
                    row_fill(to + (at - begin) * size, row, w, l, j, stop, plan->mode, size);
                    at += stop - j;
                }
            }
}

static const char *input_of(const struct conv_work *work, int64_t sample, int64_t group) {
    const struct conv_plan *plan = work->plan;
    return (const char *)work->x +
           (sample * plan->channels + group * (plan->channels / plan->groups)) * plan->axis[0].in * plan->axis[1].in * work->size;
}
static char *result_of(const struct conv_work *work, int64_t sample, int64_t unit) {
    return (char *)work->y + (sample * work->plan->units + unit) * work->plan->places * work->size;
}

/* Channels of the result start as their bias: `count` places from `begin` on. */
static void bias_fill(const struct conv_work *work, int64_t sample, int64_t unit, int64_t units, int64_t begin, int64_t count) {
    if (!work->bias) return;
    for (int64_t u = unit; u < unit + units; ++u) {
        if (work->dtype == FLOW_F64) {
            double *y = (double *)result_of(work, sample, u) + begin, value = ((const double *)work->bias)[u];
            for (int64_t i = 0; i < count; ++i) y[i] = value;
        } else {
            float *y = (float *)result_of(work, sample, u) + begin, value = ((const float *)work->bias)[u];
            for (int64_t i = 0; i < count; ++i) y[i] = value;
        }
    }
}

static int columns_product(const struct conv_work *work, int64_t unit, char *scratch) {
    const struct conv_plan *plan = work->plan;
    int64_t units = plan->units / plan->groups, k = plan->taps;
    int64_t sample = unit / (plan->groups * plan->tiles), group = unit / plan->tiles % plan->groups,
            begin = unit % plan->tiles * plan->tile;
    int64_t end = plan->places - begin < plan->tile ? plan->places : begin + plan->tile;
    const char *x = input_of(work, sample, group);
    bias_fill(work, sample, group * units, units, begin, end - begin);
    if (!plan->bare) conv_columns_fill(plan, x, work->size, begin, end, scratch, end - begin);
    struct flow_gemm product = {
        .size = sizeof(struct flow_gemm),
        .m = units,
        .n = end - begin,
        .k = k,
        .a = (const char *)work->weight + group * units * k * work->size,
        .a_row = k,
        .a_col = 1,
        .b = plan->bare ? x : scratch,
        .b_row = plan->bare ? plan->places : end - begin,
        .b_col = 1,
        .c = result_of(work, sample, group * units) + begin * work->size,
        .c_row = plan->places,
        .beta = work->bias ? 1 : 0,
        .dtype = work->dtype,
    };
    return work->call->host->gemm(work->call, &product);
}

/* ---- Few places ---- */

/* [places, units] -> [units, places] */
static void result_transpose(const struct conv_work *work, char *to, const char *from, int64_t units) {
    int64_t places = work->plan->places;
    for (int64_t u = 0; u < units; ++u) gather(to + u * places * work->size, from + u * work->size, units, places, work->size);
}

static int rows_product(const struct conv_work *work, int64_t sample, int64_t samples, int64_t group) {
    const struct conv_plan *plan = work->plan;
    int64_t units = plan->units / plan->groups, k = plan->taps, places = plan->places;
    bool single = places == 1; /* rows are samples, else places of one sample */
    char *columns = work->scratch, *result = work->scratch + (plan->bare ? 0 : plan->tile * k * places * work->size);
    for (int64_t i = 0; !plan->bare && i < samples; ++i)
        conv_columns_fill(plan, input_of(work, sample + i, group), work->size, 0, places, columns + i * k * places * work->size, places);
    struct flow_gemm product = {
        .size = sizeof(struct flow_gemm),
        .m = single ? samples : places,
        .n = units,
        .k = k,
        .a = plan->bare ? input_of(work, sample, group) : columns,
        .a_row = !single      ? 1
                 : plan->bare ? plan->channels
                              : k,
        .a_col = places,
        .c = single ? result_of(work, sample, group * units) : result,
        .c_row = single ? plan->units : units,
        .bias = work->bias ? (const char *)work->bias + group * units * work->size : NULL,
        .dtype = work->dtype,
    };
    if (work->call->packed) {
        product.packed_b =
            (const char *)work->call->packed + group * work->call->host->gemm_packed_bytes(work->call->host, work->dtype, k, units);
    } else {
        product.b = (const char *)work->weight + group * units * k * work->size;
        product.b_row = 1;
        product.b_col = k;
    }
    int status = work->call->host->gemm(work->call, &product);
    if (status >= 0 && !single) result_transpose(work, result_of(work, sample, group * units), result, units);
    return status;
}

/* A thread's share; it stops at the first product that fails. The statuses stand in the table, one a slot. */
static void slot_body(const struct conv_work *work, int64_t slot) {
    const struct conv_plan *plan = work->plan;
    int64_t units = plan->batch * plan->groups * plan->tiles;
    int *status = (int *)work->table + slot;
    *status = FLOW_OK;
    for (int64_t unit = units * slot / plan->slots; unit < units * (slot + 1) / plan->slots && *status >= 0; ++unit)
        *status = columns_product(work, unit, work->scratch + slot * plan->slot);
}

/* Kernels of one element and one group: one product a sample, all in one call. */
static int bare_product(const struct conv_work *work) {
    const struct conv_plan *plan = work->plan;
    for (int64_t sample = 0; sample < plan->batch; ++sample) bias_fill(work, sample, 0, plan->units, 0, plan->places);
    struct flow_gemm product = {
        .size = sizeof(struct flow_gemm),
        .m = plan->units,
        .n = plan->places,
        .k = plan->taps,
        .batch = plan->batch,
        .a = work->weight,
        .a_row = plan->taps,
        .a_col = 1,
        .b = work->x,
        .b_row = plan->places,
        .b_col = 1,
        .b_batch = plan->channels * plan->places,
        .c = work->y,
        .c_row = plan->places,
        .c_batch = plan->units * plan->places,
        .beta = work->bias ? 1 : 0,
        .dtype = work->dtype,
    };
    return work->call->host->gemm(work->call, &product);
}

int conv_columns_run(const struct conv_work *work) {
    const struct conv_plan *plan = work->plan;
    int status = FLOW_OK;
    if (plan->path == CONV_ROWS) {
        for (int64_t sample = 0; sample < plan->batch; sample += plan->tile) {
            int64_t samples = plan->batch - sample < plan->tile ? plan->batch - sample : plan->tile;
            for (int64_t group = 0; group < plan->groups && status >= 0; ++group) status = rows_product(work, sample, samples, group);
        }
        return status;
    }
    if (plan->bare && plan->groups == 1) return bare_product(work);
    conv_slots(work, slot_body);
    for (int64_t slot = 0; slot < plan->slots; ++slot)
        if (((const int *)work->table)[slot] < 0) return ((const int *)work->table)[slot];
    return FLOW_OK;
}
