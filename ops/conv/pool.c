/* SPDX-License-Identifier: Apache-2.0 */
/* max_pool1d, max_pool2d, avg_pool1d, avg_pool2d: the largest and the mean of what a window sees. */
#include "conv/pool.h"
#include "common/extent.h"

#include <math.h>
#include <string.h>

static const struct flow_port inputs_1d[] = {{"x", "channels along time", "B C T", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port inputs_2d[] = {{"x", "images", "B C H W", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs_1d[] = {{"y", "[B, C, places of the window]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs_2d[] = {{"y", "[B, C, places of the window along height, along width]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_state states[] = {
    {"history", "elements that windows have yet to see: x with another extent along the streamed axis", NULL, "zeros", FLOW_TYPES_FLOAT, 0,
     0, 0},
};
static const struct flow_attr attributes[] = {
    FLOW_ATTR(struct pool_attrs, kernel, "extent of the window; 2d: an integer or [height, width]", FLOW_REQUIRED, 1, CONV_MOST),
    FLOW_ATTR(struct pool_attrs, stride, "steps from place to place; as the kernel where absent", FLOW_ABSENT, 1, CONV_MOST),
    FLOW_ATTR(struct pool_attrs, padding, "less than the kernel, on both sides; an integer, 1d [before, after], 2d [height, width]", "0", 0,
              CONV_MOST),
};

static int infer_axes(struct flow_infer *infer, int32_t axes, bool mean) {
    const struct pool_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct pool_plan *plan = infer->priv;
    int64_t kernel[2], stride[2];
    *plan = (struct pool_plan){.mean = mean, .stream = {.axis = -1}, .channels = x->shape[0] * x->shape[1]};
    int status = window_integers(infer, "kernel", &attrs->kernel, axes, NULL, kernel);
    if (status >= 0) status = window_integers(infer, "stride", &attrs->stride, axes, kernel, stride);
    if (status < 0) return status;
    struct window *windows = plan->axis + (2 - axes);
    plan->axis[0] = (struct window){.in = 1, .out = 1, .kernel = 1, .stride = 1, .dilation = 1};
    for (int32_t i = 0; i < axes; ++i)
        windows[i] = (struct window){.in = x->shape[2 + i], .kernel = kernel[i], .stride = stride[i], .dilation = 1};
    status = window_padding(infer, &attrs->padding, axes, windows);
    for (int32_t i = 0; status >= 0 && i < axes; ++i)
        if (windows[i].before >= kernel[i] || windows[i].after >= kernel[i])
            status = infer->host->fail_at(infer->owner, "padding", FLOW_ERROR_RANGE,
                                          "padding of %lld and %lld: a window of %lld would see nothing else", (long long)windows[i].before,
                                          (long long)windows[i].after, (long long)kernel[i]);
    if (status < 0) return status;
    int32_t streamed = infer->streaming ? infer->in_axis[0] : -1;
    for (int32_t i = 0; i < axes && status >= 0; ++i)
        if (streamed == 2 + i) status = window_stream(infer, streamed, &windows[i], mean, &plan->stream);
        else status = window_fit(infer, 2 + i, 1, &windows[i]);
    if (status < 0) return status;
    if (streamed >= 0 && streamed < 2) {
        infer->out_axis[0] = streamed;
        infer->state[0] = infer->state_out[0] = (struct flow_tensor){.rank = 1, .strides = {1}, .dtype = x->dtype};
    }
    int64_t shape[4] = {x->shape[0], x->shape[1], windows[0].out, windows[axes - 1].out};
    status = extent_output(infer, 0, x->dtype, 2 + axes, shape);
    if (status < 0) return status;
    infer->workspace = window_stream_bytes(x, &plan->stream, shape_type_bytes(extent_wide(x->dtype)));
    if (infer->workspace < 0) return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is too large");
    infer->backward_reads_in = infer->backward_reads_out = mean ? 0 : 1;
    infer->flops = (double)shape_count(&infer->out[0]) * (double)plan->axis[0].kernel * (double)plan->axis[1].kernel;
    infer->bytes = (double)shape_type_bytes(x->dtype) * ((double)shape_count(x) + (double)shape_count(&infer->out[0]));
    return FLOW_OK;
}

static int max_infer_1d(struct flow_infer *infer) { return infer_axes(infer, 1, false); }
static int max_infer_2d(struct flow_infer *infer) { return infer_axes(infer, 2, false); }
static int avg_infer_1d(struct flow_infer *infer) { return infer_axes(infer, 1, true); }
static int avg_infer_2d(struct flow_infer *infer) { return infer_axes(infer, 2, true); }

enum { POOL_ROW = 2048 }; /* elements of a row that is kept on the stack */

struct pool_work {
    const struct pool_plan *plan;
    const struct conv_table *table;
    const char *x;
    char *y;
    bool wide;
    int64_t size;
};

static void take(const struct pool_work *work, char *y, const char *x, int64_t step, int64_t count) {
    bool mean = work->plan->mean;
    if (work->wide)
        (mean ? work->table->sum_f64 : work->table->most_f64)((double *)(void *)y, (const double *)(const void *)x, step, count);
    else (mean ? work->table->sum_f32 : work->table->most_f32)((float *)(void *)y, (const float *)(const void *)x, step, count);
}

/* One row of the input into one row of places, all taps of the width. */
static void row_take(const struct pool_work *work, char *y, const char *x) {
    const struct window *w = &work->plan->axis[1];
    for (int64_t l = 0; l < w->kernel; ++l) {
        int64_t first = l - w->before, low = first >= 0 ? 0 : (-first + w->stride - 1) / w->stride;
        int64_t high = first >= w->in ? 0 : (w->in - first - 1) / w->stride + 1;
        high = high > w->out ? w->out : high;
        if (low < high) take(work, y + low * work->size, x + (first + low * w->stride) * work->size, w->stride, high - low);
    }
}

static void row_start(const struct pool_work *work, char *y, int64_t count) {
    double value = work->plan->mean ? 0 : -(double)INFINITY;
    for (int64_t i = 0; i < count; ++i)
        if (work->wide) ((double *)y)[i] = value;
        else ((float *)y)[i] = (float)value;
}

static void row_end(const struct pool_work *work, char *y) {
    int64_t count = work->plan->axis[1].out;
    double scale = 1 / ((double)work->plan->axis[0].kernel * (double)work->plan->axis[1].kernel);
    for (int64_t i = 0; i < count; ++i)
        if (work->wide) ((double *)y)[i] *= scale;
        else ((float *)y)[i] *= (float)scale;
}

/* Windows of two by two elements that lie side by side: each element of x is seen once. */
static bool pairs(const struct pool_plan *plan) {
    for (int i = 0; i < 2; ++i) {
        const struct window *w = &plan->axis[i];
        if (w->kernel != 2 || w->stride != 2 || w->before > 0 || w->after > 0) return false;
    }
    return !plan->mean && 2 * plan->axis[1].out <= POOL_ROW / 4;
}

/* Rows of a channel whose windows' halves stand side by side in `row`, so that vectors are whole whatever the width is. */
static void channel_pairs(const struct pool_work *work, int64_t c, char *row) {
    const struct window *h = &work->plan->axis[0], *w = &work->plan->axis[1];
    int64_t wide = 2 * w->out, rows = POOL_ROW / wide, size = work->size;
    for (int64_t i = 0; i < h->out; i += rows) {
        int64_t some = h->out - i < rows ? h->out - i : rows;
        for (int64_t r = 0; r < some; ++r) {
            const char *x = work->x + (c * h->in + 2 * (i + r)) * w->in * size;
            memcpy(row + r * wide * size, x, (size_t)(wide * size));
            take(work, row + r * wide * size, x + w->in * size, 1, wide);
        }
        char *y = work->y + (c * h->out + i) * w->out * size;
        if (work->wide) work->table->most_pairs_f64((double *)(void *)y, (const double *)(const void *)row, some * w->out);
        else work->table->most_pairs_f32((float *)(void *)y, (const float *)(const void *)row, some * w->out);
    }
}

static void body(void *context, int64_t begin, int64_t end) {
    const struct pool_work *work = context;
    const struct window *h = &work->plan->axis[0], *w = &work->plan->axis[1];
    _Alignas(64) char row[POOL_ROW * sizeof(double)];
    bool side = pairs(work->plan);
    for (int64_t c = begin; c < end && side; ++c) channel_pairs(work, c, row);
    for (int64_t c = begin; c < end && !side; ++c)
        for (int64_t i = 0; i < h->out; ++i) {
            char *y = work->y + (c * h->out + i) * w->out * work->size;
            int64_t top = i * h->stride - h->before, low = top < 0 ? 0 : top, high = top + h->kernel < h->in ? top + h->kernel : h->in;
            const char *x = work->x + (c * h->in + low) * w->in * work->size;
            row_start(work, y, w->out);
            if (high - low > 1 && w->in <= POOL_ROW) { /* rows first, all their elements adjacent; then along the width once */
                memcpy(row, x, (size_t)(w->in * work->size));
                for (int64_t k = low + 1; k < high; ++k) take(work, row, x + (k - low) * w->in * work->size, 1, w->in);
                row_take(work, y, (const char *)row);
            } else {
                for (int64_t k = low; k < high; ++k) row_take(work, y, x + (k - low) * w->in * work->size);
            }
            if (work->plan->mean) row_end(work, y);
        }
}

static int forward(const struct flow_call *call) {
    const struct pool_plan *plan = call->priv;
    const struct window *h = &plan->axis[0], *w = &plan->axis[1];
    struct pool_work work = {
        .plan = plan,
        .table = ISA_PICK(conv_table, call->host->isa),
        .x = window_stream_join(call, &plan->stream, call->workspace),
        .y = call->out[0].data,
        .wide = call->in[0].dtype == FLOW_F64,
        .size = shape_type_bytes(call->in[0].dtype),
    };
    int64_t places = h->out * w->out;
    if (places == 0) return FLOW_OK;
    double each = (double)places * (double)h->kernel * (double)w->kernel;
    call->host->parallel_for(call, plan->channels, extent_grain(each > 1e9 ? (int64_t)1e9 : (int64_t)each, 1 << 17), body, &work);
    return FLOW_OK;
}

/* ---- Backward ---- */

struct pool_gradient {
    const struct pool_plan *plan;
    const struct conv_table *table;
    const char *x, *y, *dy;
    char *dx;
    bool wide, add;
    int64_t size;
};

/* Places [begin, end) of one row, one row of x: what is `left` of their gradients to what they saw. y: places from `begin` on. */
static void row_back(const struct pool_gradient *work, char *dx, const char *x, const char *y, char *left, int64_t begin, int64_t end) {
    const struct window *w = &work->plan->axis[1];
    int64_t size = work->size;
    for (int64_t l = 0; l < w->kernel; ++l) {
        int64_t first = l - w->before, low = first >= 0 ? 0 : (-first + w->stride - 1) / w->stride;
        int64_t high = first >= w->in ? 0 : (w->in - first - 1) / w->stride + 1;
        low = low < begin ? begin : low, high = high > end ? end : high;
        if (low >= high) continue;
        int64_t at = (first + low * w->stride) * size, from = (low - begin) * size;
        if (work->plan->mean && work->wide)
            work->table->add_f64((double *)(void *)(dx + at), w->stride, (const double *)(const void *)(left + from), high - low);
        else if (work->plan->mean)
            work->table->add_f32((float *)(void *)(dx + at), w->stride, (const float *)(const void *)(left + from), high - low);
        else if (work->wide)
            work->table->hit_f64((double *)(void *)(dx + at), (const double *)(const void *)(x + at), w->stride,
                                 (const double *)(const void *)(y + from), (double *)(void *)(left + from), high - low);
        else
            work->table->hit_f32((float *)(void *)(dx + at), (const float *)(const void *)(x + at), w->stride,
                                 (const float *)(const void *)(y + from), (float *)(void *)(left + from), high - low);
    }
}

/* The gradient of some places; a mean's is already its share for each element. */
static void left_start(const struct pool_gradient *work, char *left, const char *dy, int64_t count) {
    double scale = 1 / ((double)work->plan->axis[0].kernel * (double)work->plan->axis[1].kernel);
    memcpy(left, dy, (size_t)(count * work->size));
    for (int64_t i = 0; work->plan->mean && i < count; ++i)
        if (work->wide) ((double *)(void *)left)[i] *= scale;
        else ((float *)(void *)left)[i] *= (float)scale;
}

static void channel_back(const struct pool_gradient *work, int64_t c) {
    const struct window *h = &work->plan->axis[0], *w = &work->plan->axis[1];
    int64_t size = work->size, image = c * h->in * w->in * size;
    _Alignas(64) char left[POOL_ROW * sizeof(double)];
    if (!work->add) memset(work->dx + image, 0, (size_t)(h->in * w->in * size));
    for (int64_t i = 0; i < h->out; ++i) {
        int64_t top = i * h->stride - h->before, low = top < 0 ? 0 : top, high = top + h->kernel < h->in ? top + h->kernel : h->in;
        for (int64_t j = 0; j < w->out; j += POOL_ROW) {
            int64_t end = j + POOL_ROW < w->out ? j + POOL_ROW : w->out, at = ((c * h->out + i) * w->out + j) * size;
            left_start(work, left, work->dy + at, end - j);
            for (int64_t k = low; k < high; ++k) {
                int64_t row = image + k * w->in * size;
                row_back(work, work->dx + row, work->x + row, work->y + at, left, j, end);
            }
        }
    }
}

static void channel_back_pairs(const struct pool_gradient *work, int64_t c) {
    const struct window *h = &work->plan->axis[0], *w = &work->plan->axis[1];
    _Alignas(64) char buffer[POOL_ROW * sizeof(double)];
    int64_t wide = 2 * w->out, rows = POOL_ROW / 4 / wide, size = work->size, bytes = wide * size;
    char *part[4] = {buffer, buffer + rows * bytes, buffer + 2 * rows * bytes, buffer + 3 * rows * bytes}; /* x and dx, upper and lower */
    for (int64_t i = 0; i < h->out; i += rows) {
        int64_t some = h->out - i < rows ? h->out - i : rows, at = (c * h->in + 2 * i) * w->in * size, y = (c * h->out + i) * w->out * size;
        for (int64_t r = 0; r < 2 * some; ++r) memcpy(part[r % 2] + r / 2 * bytes, work->x + at + r * w->in * size, (size_t)bytes);
        if (work->wide)
            work->table->hit_pairs_f64((double *)(void *)part[2], (double *)(void *)part[3], (const double *)(void *)part[0],
                                       (const double *)(void *)part[1], (const double *)(const void *)(work->y + y),
                                       (const double *)(const void *)(work->dy + y), some * w->out);
        else
            work->table->hit_pairs_f32((float *)(void *)part[2], (float *)(void *)part[3], (const float *)(void *)part[0],
                                       (const float *)(void *)part[1], (const float *)(const void *)(work->y + y),
                                       (const float *)(const void *)(work->dy + y), some * w->out);
        for (int64_t r = 0; r < 2 * some; ++r) {
            char *to = work->dx + at + r * w->in * size, *from = part[2 + r % 2] + r / 2 * bytes;
            if (!work->add) {
                memcpy(to, from, (size_t)bytes);
                if (wide < w->in) memset(to + bytes, 0, (size_t)size); /* the odd column, that no window sees */
            } else if (work->wide) {
                work->table->add_f64((double *)(void *)to, 1, (const double *)(const void *)from, wide);
            } else {
                work->table->add_f32((float *)(void *)to, 1, (const float *)(const void *)from, wide);
            }
        }
    }
    if (!work->add && h->in % 2 == 1) memset(work->dx + ((c + 1) * h->in - 1) * w->in * size, 0, (size_t)(w->in * size));
}

static void back_body(void *context, int64_t begin, int64_t end) {
    const struct pool_gradient *work = context;
    bool side = pairs(work->plan);
    for (int64_t c = begin; c < end; ++c)
        if (side) channel_back_pairs(work, c);
        else channel_back(work, c);
}

static int backward(const struct flow_call *call) {
    const struct pool_plan *plan = call->priv;
    const struct window *h = &plan->axis[0], *w = &plan->axis[1];
    struct flow_tensor *dx = &call->grad_in[0];
    struct pool_gradient work = {
        .plan = plan,
        .table = ISA_PICK(conv_table, call->host->isa),
        .x = call->in[0].data,
        .y = call->out[0].data,
        .dy = call->grad_out[0].data,
        .add = FLOW_ACCUMULATES(call->accumulate_in, 0),
    };
    if (!shape_exists(dx) || shape_count(dx) == 0) return FLOW_OK;
    work.dx = dx->data, work.wide = dx->dtype == FLOW_F64, work.size = shape_type_bytes(dx->dtype);
    if (h->out * w->out == 0 || !shape_exists(&call->grad_out[0])) {
        if (!work.add) memset(dx->data, 0, (size_t)(shape_count(dx) * work.size));
        return FLOW_OK;
    }
    double each = (double)(h->in * w->in) + (double)(h->out * w->out) * (double)h->kernel * (double)w->kernel;
    call->host->parallel_for(call, plan->channels, extent_grain(each > 1e9 ? (int64_t)1e9 : (int64_t)each, 1 << 16), back_body, &work);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward}};

#define POOL_TABLES(which)                                                                                              \
    .size = sizeof(struct flow_operator), .inputs = FLOW_TABLE(inputs_##which), .outputs = FLOW_TABLE(outputs_##which), \
    .states = FLOW_TABLE(states), .attrs = FLOW_TABLE(attributes), .kernels = FLOW_TABLE(kernels),                      \
    .attrs_size = sizeof(struct pool_attrs), .priv_size = sizeof(struct pool_plan)

extern const struct flow_operator pool_max_1d, pool_max_2d, pool_avg_1d, pool_avg_2d;
const struct flow_operator pool_max_1d = {
    POOL_TABLES(1d),
    .name = "max_pool1d",
    .summary = "The largest element of each window along time; padding is never the largest",
    .equation = "y[b, c, t] = max over k of x[b, c, t stride + k - before]; its gradient goes to the first of equals",
    .reference = "Goodfellow, Bengio, Courville, Deep Learning, 2016, section 9.3",
    .example = "y: {op: max_pool1d, in: x, with: {kernel: 2}}",
    .infer = max_infer_1d,
};
const struct flow_operator pool_max_2d = {
    POOL_TABLES(2d),
    .name = "max_pool2d",
    .summary = "The largest element of each window of an image; padding is never the largest",
    .equation =
        "y[b, c, i, j] = max over k, l of x[b, c, i stride + k - before, j stride + l - before]; its gradient goes to the first of equals",
    .reference = "Goodfellow, Bengio, Courville, Deep Learning, 2016, section 9.3",
    .example = "y: {op: max_pool2d, in: x, with: {kernel: 2}}",
    .infer = max_infer_2d,
};
const struct flow_operator pool_avg_1d = {
    POOL_TABLES(1d),
    .name = "avg_pool1d",
    .summary = "The mean of each window along time, padding counted as zeros",
    .equation = "y[b, c, t] = sum over k of x[b, c, t stride + k - before] / kernel",
    .reference = "Goodfellow, Bengio, Courville, Deep Learning, 2016, section 9.3",
    .example = "y: {op: avg_pool1d, in: x, with: {kernel: 2}}",
    .infer = avg_infer_1d,
};
const struct flow_operator pool_avg_2d = {
    POOL_TABLES(2d),
    .name = "avg_pool2d",
    .summary = "The mean of each window of an image, padding counted as zeros",
    .equation = "y[b, c, i, j] = sum over k, l of x[b, c, i stride + k - before, j stride + l - before] / (kernel height * width)",
    .reference = "Goodfellow, Bengio, Courville, Deep Learning, 2016, section 9.3",
    .example = "y: {op: avg_pool2d, in: x, with: {kernel: 2}}",
    .infer = avg_infer_2d,
};
