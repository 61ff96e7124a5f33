/* SPDX-License-Identifier: Apache-2.0 */
/* conv_transpose1d, conv_transpose2d: each element of x adds the kernel, times itself, at its place of the result (overlap-add).
 * The weights, transposed, times x give what every element adds, [units of a group * kernel, places of x]; those rows are then added in. */
#include "conv/conv_transpose.h"
#include "common/extent.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct flow_port inputs_1d[] = {{"x", "channels along time", "B C T", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port inputs_2d[] = {{"x", "images", "B C H W", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs_1d[] = {
    {"y", "[B, units, (T - 1) stride + dilation (kernel - 1) + 1 - before - after + output_padding]", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs_2d[] = {{"y", "[B, units, ...], along both axes as for conv_transpose1d", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_param params[] = {
    {"weight", "[C, units / groups, kernel...]", NULL, NULL, "kaiming_uniform(sqrt(5))", FLOW_TYPES_FLOAT, FLOW_DECLARED},
    {"bias", "[units], uniform in +-1/sqrt(units / groups * kernel)", NULL, "bias", "uniform(-1/sqrt(K), 1/sqrt(K))", FLOW_TYPES_FLOAT,
     FLOW_DECLARED},
};
static const struct flow_state states[] = {
    {"tail", "elements of the result that more may be added to", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
    {"crop", "as many elements as are still to be cropped at the start", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
};

#define ATTR_NUMBERS(field, help, fallback, least) FLOW_ATTR(struct conv_attrs, field, help, fallback, least, CONV_MOST)
#define ATTR_COMMON(padding_help)                                                                                                      \
    FLOW_ATTR(struct conv_attrs, units, "channels of the result", FLOW_REQUIRED, 1, CONV_MOST),                                        \
        ATTR_NUMBERS(kernel, "extent of the kernel; 2d: an integer or [height, width]", FLOW_REQUIRED, 1),                             \
        ATTR_NUMBERS(stride, "steps of the result from element to element of x", "1", 1), ATTR_NUMBERS(padding, padding_help, "0", 0), \
        ATTR_NUMBERS(dilation, "steps from tap to tap", "1", 1),                                                                       \
        ATTR_NUMBERS(output_padding, "elements that the result is longer at the end", "0", 0),                                         \
        FLOW_ATTR(struct conv_attrs, groups, "sets of channels that see each other alone", "1", 1, CONV_MOST),                         \
        FLOW_ATTR_PLAIN(struct conv_attrs, bias, "add a number to each channel", "true")

static const struct flow_attr attributes_1d[] = {ATTR_COMMON("elements cropped from the result: an integer or [before, after]")};
static const struct flow_attr attributes_2d[] = {ATTR_COMMON("elements cropped from the result's sides: an integer or [height, width]")};

static int64_t spread_reach(const struct spread *s) { return s->dilation * (s->kernel - 1) + 1; }

static int spreads_read(struct flow_infer *infer, int32_t axes, struct transpose_plan *plan) {
    const struct conv_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int64_t kernel[2], stride[2], dilation[2], padding[2], extra[2];
    int status = window_integers(infer, "kernel", &attrs->kernel, axes, NULL, kernel);
    if (status >= 0) status = window_integers(infer, "stride", &attrs->stride, axes, NULL, stride);
    if (status >= 0) status = window_integers(infer, "dilation", &attrs->dilation, axes, NULL, dilation);
    if (status >= 0) status = window_integers(infer, "padding", &attrs->padding, 2, NULL, padding);
    if (status >= 0) status = window_integers(infer, "output_padding", &attrs->output_padding, axes, NULL, extra);
    if (status < 0) return status;
    plan->axis[0] = (struct spread){.in = 1, .out = 1, .kernel = 1, .stride = 1, .dilation = 1};
    for (int32_t i = 0; i < axes; ++i) {
        struct spread *s = &plan->axis[2 - axes + i];
        *s = (struct spread){.in = x->shape[2 + i], .kernel = kernel[i], .stride = stride[i], .dilation = dilation[i], .extra = extra[i]};
        s->before = padding[axes == 1 ? 0 : i];
        s->after = padding[axes == 1 ? 1 : i];
        if (s->extra >= s->stride && s->extra >= s->dilation)
            return infer->host->fail_at(infer->owner, "output_padding", FLOW_ERROR_RANGE,
                                        "output_padding %lld: expected less than the stride %lld or the dilation %lld", (long long)s->extra,
                                        (long long)s->stride, (long long)s->dilation);
        int64_t whole;
        if (__builtin_mul_overflow(s->in > 0 ? s->in - 1 : 0, s->stride, &whole) || whole > INT64_MAX / 4)
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the result is too large");
        whole += spread_reach(s);
        s->out = s->in == 0 ? 0 : whole - s->before - s->after + s->extra;
        s->shift = -s->before;
        bool streams = infer->streaming && infer->in_axis[0] == 2 + i;
        if (s->out < 0 && !streams)
            return infer->host->fail_at(infer->owner, "padding", FLOW_ERROR_SHAPE,
                                        "axis %d of the result has %lld elements, cropped are %lld and %lld", 2 + i, (long long)whole,
                                        (long long)s->before, (long long)s->after);
    }
    return FLOW_OK;
}

/* What goes out of a piece. An element is held back while later ones of x may add to it, and while it may turn out to be among those
 * cropped at the end. */
static int spread_piece(struct flow_infer *infer, struct transpose_plan *plan, struct spread *s) {
    struct spread_stream *stream = &plan->stream;
    struct flow_tensor *tail = &infer->state[0], *crop = &infer->state[1];
    int64_t reach = spread_reach(s), overlap = reach - s->stride, hold = overlap > s->after ? overlap : s->after;
    if (overlap < 0)
        return infer->host->fail_at(infer->owner, "kernel", FLOW_ERROR_UNSUPPORTED,
                                    "a kernel that spans less than the stride does not stream");
    if (hold == 0 && s->extra > 0) hold = 1; /* so that the end knows that there was something */
    int64_t kept = infer->first ? 0 : tail->shape[stream->axis], cropped = infer->first ? s->before : crop->shape[0];
    bool under_way = kept > 0 || hold == 0;
    int64_t total = under_way ? kept + s->in * s->stride : s->in > 0 ? (s->in - 1) * s->stride + reach : 0;
    int64_t end = total - s->after + s->extra, ready = total - hold;
    stream->kept = kept;
    stream->emit = infer->flush ? (total > 0 && end > 0 ? end : 0) : ready > 0 ? ready : 0;
    stream->drop = cropped < stream->emit ? cropped : stream->emit;
    stream->left = infer->flush ? 0 : total - stream->emit;
    s->shift = under_way ? kept - overlap : 0;
    s->out = total > stream->emit ? total : stream->emit;
    struct flow_tensor *next = &infer->state_out[0], *next_crop = &infer->state_out[1];
    if (infer->first) *crop = (struct flow_tensor){.rank = 1, .shape = {cropped}, .strides = {1}, .dtype = infer->in[0].dtype};
    *next_crop = (struct flow_tensor){.rank = 1, .shape = {cropped - stream->drop}, .strides = {1}, .dtype = infer->in[0].dtype};
    *next = (struct flow_tensor){.rank = 2 + plan->axes, .shape = {plan->batch, plan->units}, .dtype = infer->in[0].dtype};
    for (int32_t i = 0; i < plan->axes; ++i) next->shape[2 + i] = plan->axis[2 - plan->axes + i].out;
    if (infer->first) {
        *tail = *next;
        tail->shape[stream->axis] = 0;
        shape_dense(tail);
    }
    next->shape[stream->axis] = stream->left;
    shape_dense(next);
    infer->out_axis[0] = stream->axis;
    infer->delay = hold > overlap ? (hold - overlap + s->stride - 1) / s->stride : 0;
    return FLOW_OK;
}

static int stream_plan(struct flow_infer *infer, struct transpose_plan *plan) {
    plan->stream.axis = -1;
    if (!infer->streaming || infer->in_axis[0] < 0) return FLOW_OK;
    int32_t axis = infer->in_axis[0];
    if (axis == 1)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the sum over channels (axis 1) needs the whole sequence");
    if (axis >= 2) {
        plan->stream.axis = axis;
        return spread_piece(infer, plan, &plan->axis[axis - plan->axes]);
    }
    infer->out_axis[0] = 0;
    for (int i = 0; i < 2; ++i)
        infer->state[i] = infer->state_out[i] = (struct flow_tensor){.rank = 1, .strides = {1}, .dtype = infer->in[0].dtype};
    return FLOW_OK;
}

static int declare(struct flow_infer *infer, struct transpose_plan *plan) {
    const struct conv_attrs *attrs = infer->attrs;
    int64_t shape[4] = {plan->channels, plan->units / plan->groups};
    for (int32_t i = 0; i < plan->axes; ++i) shape[2 + i] = plan->axis[2 - plan->axes + i].kernel;
    char init[96];
    double bound = 1 / sqrt((double)plan->taps);
    snprintf(init, sizeof init, "uniform(%.17g, %.17g)", -bound, bound);
    int32_t dtype = infer->in[0].dtype;
    int status = infer->host->param(infer, "weight", dtype, 2 + plan->axes, shape, "kaiming_uniform(sqrt(5))", 0, &plan->weight);
    if (status >= 0 && attrs->bias) status = infer->host->param(infer, "bias", dtype, 1, &plan->units, init, 0, &plan->bias);
    return status;
}

static int memory_plan(struct flow_infer *infer, struct transpose_plan *plan) {
    int64_t element = shape_type_bytes(extent_wide(infer->in[0].dtype)), tile = (1 << 18) / plan->taps;
    plan->tile = tile < 64 ? 64 : tile;
    if (plan->tile > plan->places) plan->tile = plan->places > 0 ? plan->places : 1;
    double shares = infer->flops / 4e6, pairs = (double)plan->batch * (double)plan->groups;
    shares = shares < pairs ? shares : pairs;
    plan->slots = shares < 2 ? 1 : shares > 8 ? 8 : (int64_t)shares;
    plan->slot = (plan->taps * plan->tile * element + 63) / 64 * 64;
    plan->line = 0;
    if (plan->stream.axis >= 0) {
        struct flow_tensor line = {
            .rank = 4, .dtype = extent_wide(infer->in[0].dtype), .shape = {plan->batch, plan->units, plan->axis[0].out, plan->axis[1].out}};
        int status = shape_sound(infer, &line);
        if (status < 0) return status;
        plan->line = (shape_count(&line) * element + 63) / 64 * 64;
    }
    infer->workspace = plan->line + plan->slot * plan->slots + 64;
    return FLOW_OK;
}

static int infer_axes(struct flow_infer *infer, int32_t axes) {
    const struct conv_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct transpose_plan *plan = infer->priv;
    *plan = (struct transpose_plan){.axes = axes,
                                    .batch = x->shape[0],
                                    .channels = x->shape[1],
                                    .units = attrs->units,
                                    .groups = attrs->groups,
                                    .stream = {.axis = -1}};
    if (plan->channels % plan->groups != 0 || plan->units % plan->groups != 0)
        return infer->host->fail_at(infer->owner, "groups", FLOW_ERROR_SHAPE,
                                    "%lld channels and %lld units do not both divide into %lld groups", (long long)plan->channels,
                                    (long long)plan->units, (long long)plan->groups);
    int status = spreads_read(infer, axes, plan);
    if (status >= 0) status = stream_plan(infer, plan);
    if (status < 0) return status;
    int64_t shape[4] = {plan->batch, plan->units};
    for (int32_t i = 0; i < axes; ++i)
        shape[2 + i] = plan->stream.axis == 2 + i ? plan->stream.emit - plan->stream.drop : plan->axis[2 - axes + i].out;
    status = extent_output(infer, 0, x->dtype, 2 + axes, shape);
    plan->taps = plan->units / plan->groups;
    plan->places = plan->axis[0].in * plan->axis[1].in;
    if (status >= 0 && (__builtin_mul_overflow(plan->taps, plan->axis[0].kernel, &plan->taps) ||
                        __builtin_mul_overflow(plan->taps, plan->axis[1].kernel, &plan->taps) || plan->taps > (int64_t)1 << 40))
        status = infer->host->fail_at(infer->owner, "kernel", FLOW_ERROR_SHAPE, "the kernel is too large");
    if (status >= 0) status = declare(infer, plan);
    if (status < 0) return status;
    infer->flops = 2.0 * (double)plan->batch * (double)plan->channels * (double)plan->taps * (double)plan->places;
    infer->bytes = (double)shape_type_bytes(x->dtype) *
                   ((double)shape_count(x) + (double)shape_count(&infer->out[0]) + (double)plan->channels * (double)plan->taps);
    status = transpose_gradient_plan(infer, plan);
    return status < 0 ? status : memory_plan(infer, plan);
}

static int infer_1d(struct flow_infer *infer) { return infer_axes(infer, 1); }
static int infer_2d(struct flow_infer *infer) { return infer_axes(infer, 2); }

/* ---- Running ---- */

struct transpose_work {
    const struct flow_call *call;
    const struct transpose_plan *plan;
    const struct conv_table *table;
    const char *x, *weight;
    char *y; /* the result, or the line */
    int32_t dtype;
    int64_t size;
    char *scratch;
    int *status; /* of each slot */
};

/* Rows of one product, to be added in: `added` [taps, count] of places from `begin` on. */
struct added {
    const struct transpose_work *work;
    const char *from;
    char *y; /* of the group's first unit */
    int64_t begin, count;
};

/* Places from `at` on, `count` of them in one row of x, of one tap. */
static void row_add(const struct transpose_work *work, char *y, const char *from, int64_t at, int64_t count, int64_t k, int64_t l) {
    const struct spread *h = &work->plan->axis[0], *w = &work->plan->axis[1];
    int64_t i = at / w->in * h->stride + k * h->dilation + h->shift, j = at % w->in, first = l * w->dilation + w->shift;
    if (i < 0 || i >= h->out) return;
    int64_t low = first >= 0 ? 0 : (-first + w->stride - 1) / w->stride, high = first >= w->out ? 0 : (w->out - first - 1) / w->stride + 1;
    low = low < j ? j : low;
    high = high > j + count ? j + count : high;
    if (low >= high) return;
    char *to = y + (i * w->out + first + low * w->stride) * work->size;
    from += (low - j) * work->size;
    if (work->dtype == FLOW_F64) work->table->add_f64((double *)to, w->stride, (const double *)from, high - low);
    else work->table->add_f32((float *)to, w->stride, (const float *)from, high - low);
}

static void units_add(void *context, int64_t begin, int64_t end) {
    const struct added *added = context;
    const struct transpose_work *work = added->work;
    const struct spread *h = &work->plan->axis[0], *w = &work->plan->axis[1];
    for (int64_t u = begin; u < end; ++u) {
        char *y = added->y + u * h->out * w->out * work->size;
        const char *from = added->from + u * h->kernel * w->kernel * added->count * work->size;
        for (int64_t k = 0; k < h->kernel; ++k)
            for (int64_t l = 0; l < w->kernel; ++l, from += added->count * work->size)
                for (int64_t i = 0; i < added->count;) {
                    int64_t at = added->begin + i, left = w->in - at % w->in, run = left < added->count - i ? left : added->count - i;
                    row_add(work, y, from + i * work->size, at, run, k, l);
                    i += run;
                }
    }
}

static int group_run(const struct transpose_work *work, int64_t sample, int64_t group, char *scratch) {
    const struct transpose_plan *plan = work->plan;
    int64_t channels = plan->channels / plan->groups, units = plan->units / plan->groups;
    const char *x = work->x + (sample * plan->channels + group * channels) * plan->places * work->size;
    for (int64_t begin = 0; begin < plan->places; begin += plan->tile) {
        int64_t count = plan->places - begin < plan->tile ? plan->places - begin : plan->tile;
        struct flow_gemm product = {
            .size = sizeof(struct flow_gemm),
            .m = plan->taps,
            .n = count,
            .k = channels,
            .a = work->weight + group * channels * plan->taps * work->size,
            .a_row = 1,
            .a_col = plan->taps,
            .b = x + begin * work->size,
            .b_row = plan->places,
            .b_col = 1,
            .c = scratch,
            .c_row = count,
            .dtype = work->dtype,
        };
        int status = work->call->host->gemm(work->call, &product);
        if (status < 0) return status;
        struct added added = {.work = work, .from = scratch, .begin = begin, .count = count};
        added.y = work->y + (sample * plan->units + group * units) * plan->axis[0].out * plan->axis[1].out * work->size;
        work->call->host->parallel_for(work->call, units, extent_grain(plan->taps / units * count, 1 << 16), units_add, &added);
    }
    return FLOW_OK;
}

static void slots_body(void *context, int64_t begin, int64_t end) {
    const struct transpose_work *work = context;
    const struct transpose_plan *plan = work->plan;
    int64_t pairs = plan->batch * plan->groups;
    for (int64_t slot = begin; slot < end; ++slot) {
        work->status[slot] = FLOW_OK;
        for (int64_t i = pairs * slot / plan->slots; i < pairs * (slot + 1) / plan->slots && work->status[slot] >= 0; ++i)
            work->status[slot] = group_run(work, i / plan->groups, i % plan->groups, work->scratch + slot * plan->slot);
    }
}

static void fill(const struct transpose_work *work, char *to, int64_t count, int64_t unit) {
    const struct conv_attrs *attrs = work->call->attrs;
    const void *bias = attrs->bias ? work->call->param[work->plan->bias].data : NULL;
    if (work->dtype == FLOW_F64)
        for (int64_t i = 0; i < count; ++i) ((double *)to)[i] = bias ? ((const double *)bias)[unit] : 0;
    else
        for (int64_t i = 0; i < count; ++i) ((float *)to)[i] = bias ? ((const float *)bias)[unit] : 0;
}

/* Rows of the line along the streamed axis: [outer, extent, inner]. */
struct rows {
    int64_t outer, inner;
};

static struct rows rows_of(const struct transpose_plan *plan) {
    bool height = plan->axes == 2 && plan->stream.axis == 2;
    return (struct rows){plan->batch * plan->units * (height ? 1 : plan->axis[0].out), height ? plan->axis[1].out : 1};
}

/* What the piece before left, then zeros. */
static void line_start(const struct transpose_work *work) {
    const struct transpose_plan *plan = work->plan;
    const struct spread *s = &plan->axis[plan->stream.axis - plan->axes];
    struct rows rows = rows_of(plan);
    size_t kept = (size_t)(plan->stream.kept * rows.inner * work->size), all = (size_t)(s->out * rows.inner * work->size);
    const char *tail = work->call->state_in[0].data;
    for (int64_t i = 0; i < rows.outer; ++i) {
        if (kept > 0) memcpy(work->y + (size_t)i * all, tail + (size_t)i * kept, kept);
        memset(work->y + (size_t)i * all + kept, 0, all - kept);
    }
}

/* Elements that are complete go out, with the bias; the others wait. */
static void line_end(const struct transpose_work *work) {
    const struct transpose_plan *plan = work->plan;
    const struct spread *s = &plan->axis[plan->stream.axis - plan->axes];
    struct rows rows = rows_of(plan);
    int64_t all = s->out * rows.inner, out = (plan->stream.emit - plan->stream.drop) * rows.inner, left = plan->stream.left * rows.inner;
    int64_t of_unit = rows.outer > 0 ? rows.outer / (plan->batch * plan->units) : 1; /* no samples: no rows */
    char *y = work->call->out[0].data, *tail = work->call->state_out[0].data, *crop = work->call->state_out[1].data;
    for (int64_t i = 0; i < rows.outer; ++i) {
        const char *from = work->y + i * all * work->size;
        char *to = y + i * out * work->size;
        if (out > 0) {
            fill(work, to, out, i / of_unit % plan->units);
            if (work->dtype == FLOW_F64) work->table->add_f64((double *)to, 1, (const double *)from + plan->stream.drop * rows.inner, out);
            else work->table->add_f32((float *)to, 1, (const float *)from + plan->stream.drop * rows.inner, out);
        }
        if (left > 0) memcpy(tail + i * left * work->size, from + plan->stream.emit * rows.inner * work->size, (size_t)(left * work->size));
    }
    int64_t cropped = work->call->state_out[1].shape[0];
    if (cropped > 0) memset(crop, 0, (size_t)(cropped * work->size));
}

static int forward(const struct flow_call *call) {
    const struct transpose_plan *plan = call->priv;
    struct transpose_work work = {
        .call = call,
        .plan = plan,
        .table = ISA_PICK(conv_table, call->host->isa),
        .x = call->in[0].data,
        .weight = call->param[plan->weight].data,
        .y = call->out[0].data,
        .dtype = call->in[0].dtype,
        .size = shape_type_bytes(call->in[0].dtype),
        .status = call->workspace,
        .scratch = (char *)call->workspace + 64 + plan->line,
    };
    bool streams = plan->stream.axis >= 0;
    if (streams) {
        work.y = (char *)call->workspace + 64;
        line_start(&work);
    } else {
        int64_t count = plan->axis[0].out * plan->axis[1].out;
        for (int64_t i = 0; i < plan->batch * plan->units && count > 0; ++i)
            fill(&work, work.y + i * count * work.size, count, i % plan->units);
    }
    if (plan->batch > 0 && plan->places > 0 && plan->axis[0].out > 0 && plan->axis[1].out > 0) {
        if (plan->slots == 1) slots_body(&work, 0, 1);
        else call->host->parallel_for(call, plan->slots, 1, slots_body, &work);
        for (int64_t i = 0; i < plan->slots; ++i)
            if (work.status[i] < 0) return work.status[i];
    }
    if (streams) line_end(&work);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = transpose_gradient}};

#define REFERENCE "Dumoulin, Visin, A guide to convolution arithmetic for deep learning, 2016, section 4"

extern const struct flow_operator conv_transpose_1d, conv_transpose_2d;
const struct flow_operator conv_transpose_1d = {
    .size = sizeof(struct flow_operator),
    .name = "conv_transpose1d",
    .summary = "Every step adds a kernel to the result (overlap-add)",
    .equation = "y[b, u, t stride + k dilation - before] += weight[c, u, k] x[b, c, t], then + bias[u]",
    .reference = REFERENCE,
    .example = "y: {op: conv_transpose1d, in: x, with: {units: 1, kernel: 16, stride: 8}}",
    .inputs = FLOW_TABLE(inputs_1d),
    .outputs = FLOW_TABLE(outputs_1d),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attributes_1d),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct conv_attrs),
    .priv_size = sizeof(struct transpose_plan),
    .infer = infer_1d,
};
const struct flow_operator conv_transpose_2d = {
    .size = sizeof(struct flow_operator),
    .name = "conv_transpose2d",
    .summary = "Every pixel adds a kernel to the result",
    .equation = "y[b, u, i stride + k dilation - before, j ...] += weight[c, u, k, l] x[b, c, i, j], then + bias[u]",
    .reference = REFERENCE,
    .example = "y: {op: conv_transpose2d, in: x, with: {units: 3, kernel: 4, stride: 2, padding: 1}}",
    .inputs = FLOW_TABLE(inputs_2d),
    .outputs = FLOW_TABLE(outputs_2d),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attributes_2d),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct conv_attrs),
    .priv_size = sizeof(struct transpose_plan),
    .infer = infer_2d,
};
