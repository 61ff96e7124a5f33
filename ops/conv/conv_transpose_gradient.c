/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of conv_transpose1d, conv_transpose2d. What an element of x added to is what a window of dy sees: with the columns of those
 * windows, [units of a group * kernel, places of x],
 *     dx = weight columns,  dweight = x columns^T.
 */
#include "conv/conv_transpose.h"
#include "common/extent.h"

#include <string.h>

enum { TRANSPOSE_SLOTS = 8, TRANSPOSE_SUMS = 1 << 21 }; /* most shares; elements of all their sums of weights */

int transpose_gradient_plan(struct flow_infer *infer, struct transpose_plan *plan) {
    int64_t element = shape_type_bytes(extent_wide(infer->in[0].dtype)), tile = (1 << 17) / plan->taps / 16 * 16;
    infer->backward_reads_in = 1, infer->backward_reads_out = 0;
    tile = tile < 128 ? 128 : tile;
    plan->back.tile = tile < plan->places ? tile : plan->places;
    plan->back.slots = 1;
    if (!infer->differentiated) return FLOW_OK;
    double weights = (double)plan->channels * (double)plan->taps, most = TRANSPOSE_SUMS / (weights > 1 ? weights : 1);
    double shares = infer->flops / 2e6, pairs = (double)plan->batch * (double)plan->groups;
    shares = shares < pairs ? shares : pairs;
    shares = shares < most ? shares : most;
    plan->back.slots = shares < 2 ? 1 : shares > TRANSPOSE_SLOTS ? TRANSPOSE_SLOTS : (int64_t)shares;
    if ((double)plan->taps * (double)plan->back.tile > 1e15 || weights > 1e15)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the convolution's gradient needs too much memory");
    plan->back.slot = (plan->taps * plan->back.tile * element + 63) / 64 * 64;
    plan->back.sums = plan->back.slots > 1 ? (plan->channels * plan->taps * element + 63) / 64 * 64 : 0;
    plan->back.bias = (plan->units * (int64_t)sizeof(double) + 63) / 64 * 64;
    infer->workspace_backward = 64 + plan->back.slots * (plan->back.slot + plan->back.sums + plan->back.bias);
    return FLOW_OK;
}

struct work {
    const struct flow_call *call;
    const struct transpose_plan *plan;
    const struct conv_table *table;
    struct conv_plan windows; /* over dy */
    const char *x, *weight, *dy;
    char *dx;
    bool add, sums_wanted, bias_wanted;
    int32_t dtype;
    int64_t size;
    char *bias, *sums, *columns; /* of slot 0; the others' follow */
    int *status;
};

/* The windows of dy that elements of x see. */
static struct conv_plan windows_of(const struct transpose_plan *plan) {
    struct conv_plan windows = {.channels = plan->units, .groups = plan->groups, .mode = MODE_ZERO};
    for (int i = 0; i < 2; ++i) {
        const struct spread *s = &plan->axis[i];
        windows.axis[i] = (struct window){
            .in = s->out, .out = s->in, .kernel = s->kernel, .stride = s->stride, .dilation = s->dilation, .before = -s->shift};
    }
    return windows;
}

static int group_run(const struct work *work, int64_t slot, int64_t sample, int64_t group) {
    const struct transpose_plan *plan = work->plan;
    int64_t channels = plan->channels / plan->groups, units = plan->units / plan->groups, size = work->size;
    int64_t image = plan->axis[0].out * plan->axis[1].out, at = (sample * plan->channels + group * channels) * plan->places * size;
    const char *dy = work->dy + (sample * plan->units + group * units) * image * size;
    char *columns = work->columns + slot * plan->back.slot;
    double *bias = (double *)(void *)(work->bias + slot * plan->back.bias) + group * units;
    for (int64_t u = 0; work->bias_wanted && u < units; ++u)
        bias[u] += work->dtype == FLOW_F64 ? work->table->total_f64((const double *)(const void *)dy + u * image, image)
                                           : work->table->total_f32((const float *)(const void *)dy + u * image, image);
    for (int64_t begin = 0; begin < plan->places && (work->dx || work->sums_wanted); begin += plan->back.tile) {
        int64_t count = plan->places - begin < plan->back.tile ? plan->places - begin : plan->back.tile;
        conv_columns_fill(&work->windows, dy, size, begin, begin + count, columns, count);
        struct flow_gemm product = {.size = sizeof(struct flow_gemm), .dtype = work->dtype, .a_col = 1};
        int status = FLOW_OK;
        if (work->dx) {
            product.m = channels, product.n = count, product.k = plan->taps;
            product.a = work->weight + group * channels * plan->taps * size, product.a_row = plan->taps;
            product.b = columns, product.b_row = count, product.b_col = 1;
            product.c = work->dx + at + begin * size, product.c_row = plan->places, product.beta = work->add ? 1 : 0;
            status = work->call->host->gemm(work->call, &product);
        }
        if (status >= 0 && work->sums_wanted) {
            product.m = channels, product.n = plan->taps, product.k = count;
            product.a = work->x + at + begin * size, product.a_row = plan->places;
            product.b = columns, product.b_row = 1, product.b_col = count;
            product.c = work->sums + slot * plan->back.sums + group * channels * plan->taps * size, product.c_row = plan->taps;
            product.beta = 1;
            status = work->call->host->gemm(work->call, &product);
        }
        if (status < 0) return status;
    }
    return FLOW_OK;
}

static void slots_body(void *context, int64_t begin, int64_t end) {
    const struct work *work = context;
    const struct transpose_plan *plan = work->plan;
    int64_t pairs = plan->batch * plan->groups, slots = plan->back.slots;
    for (int64_t slot = begin; slot < end; ++slot) {
        memset(work->bias + slot * plan->back.bias, 0, (size_t)plan->back.bias);
        if (slots > 1) memset(work->sums + slot * plan->back.sums, 0, (size_t)plan->back.sums);
        work->status[slot] = FLOW_OK;
        for (int64_t i = pairs * slot / slots; i < pairs * (slot + 1) / slots && work->status[slot] >= 0; ++i)
            work->status[slot] = group_run(work, slot, i / plan->groups, i % plan->groups);
    }
}

/* What the shares give, in their order. */
static void results(const struct work *work, struct flow_tensor *dw, struct flow_tensor *db, bool add) {
    const struct transpose_plan *plan = work->plan;
    for (int64_t slot = 0; work->sums_wanted && plan->back.slots > 1 && slot < plan->back.slots; ++slot) {
        const char *from = work->sums + slot * plan->back.sums;
        if (work->dtype == FLOW_F64) work->table->add_f64(dw->data, 1, (const double *)(const void *)from, plan->channels * plan->taps);
        else work->table->add_f32(dw->data, 1, (const float *)(const void *)from, plan->channels * plan->taps);
    }
    for (int64_t u = 0; work->bias_wanted && u < plan->units; ++u) {
        double sum = 0;
        for (int64_t slot = 0; slot < plan->back.slots; ++slot)
            sum += ((const double *)(const void *)(work->bias + slot * plan->back.bias))[u];
        if (work->dtype == FLOW_F64) ((double *)db->data)[u] = (add ? ((double *)db->data)[u] : 0) + sum;
        else ((float *)db->data)[u] = (float)((add ? (double)((float *)db->data)[u] : 0) + sum);
    }
}

static void zero(struct flow_tensor *t, bool add) {
    if (!add && shape_exists(t) && shape_count(t) > 0) memset(t->data, 0, (size_t)(shape_count(t) * shape_type_bytes(t->dtype)));
}

int transpose_gradient(const struct flow_call *call) {
    const struct conv_attrs *attrs = call->attrs;
    const struct transpose_plan *plan = call->priv;
    struct flow_tensor none = {.rank = -1}, *dx = &call->grad_in[0], *dw = &call->grad_param[plan->weight];
    struct flow_tensor *db = attrs->bias ? &call->grad_param[plan->bias] : &none;
    bool add_b = attrs->bias && FLOW_ACCUMULATES(call->accumulate_param, plan->bias);
    zero(dw, FLOW_ACCUMULATES(call->accumulate_param, plan->weight)); /* what the shares give is added */
    if (!shape_exists(&call->grad_out[0]) || plan->batch == 0 || shape_count(&call->grad_out[0]) == 0) {
        zero(dx, FLOW_ACCUMULATES(call->accumulate_in, 0)), zero(db, add_b);
        return FLOW_OK;
    }
    char *slots = (char *)call->workspace + 64;
    struct work work = {
        .call = call,
        .plan = plan,
        .table = ISA_PICK(conv_table, call->host->isa),
        .windows = windows_of(plan),
        .x = call->in[0].data,
        .weight = call->param[plan->weight].data,
        .dy = call->grad_out[0].data,
        .dx = shape_exists(dx) ? dx->data : NULL,
        .add = FLOW_ACCUMULATES(call->accumulate_in, 0),
        .sums_wanted = shape_exists(dw),
        .bias_wanted = shape_exists(db),
        .dtype = call->grad_out[0].dtype,
        .size = shape_type_bytes(call->grad_out[0].dtype),
        .bias = slots,
        .sums = slots + plan->back.slots * plan->back.bias,
        .columns = slots + plan->back.slots * (plan->back.bias + plan->back.sums),
        .status = call->workspace,
    };
    if (plan->back.slots == 1 && work.sums_wanted) work.sums = dw->data;
    if (plan->back.slots == 1) slots_body(&work, 0, 1);
    else call->host->parallel_for(call, plan->back.slots, 1, slots_body, &work);
    for (int64_t slot = 0; slot < plan->back.slots; ++slot)
        if (work.status[slot] < 0) return work.status[slot];
    results(&work, dw, db, add_b);
    return FLOW_OK;
}
