/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of conv1d, conv2d: which way they are computed, shares of the work, and the sum of what the shares give. */
#include "conv/conv_gradient.h"
#include "common/extent.h"

#include <string.h>

enum {
    GRADIENT_SLOTS = 16,        /* most shares */
    GRADIENT_STATUS = 64,       /* bytes of a status for each */
    GRADIENT_WEIGHTS = 1 << 17, /* more weights than these are left to products */
    GRADIENT_SUMS = 1 << 21     /* most elements of all the shares' sums of weights */
};

/* Sums of taps read each weight once for a few vectors of places: for small kernels, without much padding. */
static bool direct_choose(const struct conv_plan *plan) {
    const struct window *h = &plan->axis[0], *w = &plan->axis[1];
    int64_t units = plan->units / plan->groups, channels = plan->channels / plan->groups;
    if (plan->taps == 0 || channels == 1 || units == 1) return true;
    if (window_trivial(h) && window_trivial(w)) return false;
    double laid = (double)(h->in + h->before + h->after) * (double)(w->in + w->before + w->after), reach = (double)window_reach(w);
    laid += reach * (double)window_reach(h);
    return units * plan->taps <= GRADIENT_WEIGHTS && plan->places >= 32 &&
           laid < 2.5 * (double)plan->places * (double)h->stride * (double)w->stride;
}

int conv_gradient_plan(struct flow_infer *infer, struct conv_plan *plan) {
    struct conv_back *back = &plan->back;
    int64_t element = shape_type_bytes(extent_wide(infer->in[0].dtype));
    infer->backward_reads_in = 1, infer->backward_reads_out = 0;
    *back = (struct conv_back){.direct = direct_choose(plan), .slots = 1};
    if (!infer->differentiated || plan->batch == 0 || plan->places == 0) return FLOW_OK;
    if (back->direct) gradient_direct_plan(plan);
    else gradient_columns_plan(plan);
    int64_t weights = plan->units * plan->taps, most = GRADIENT_SUMS / (weights > 0 ? weights : 1);
    double shares = infer->flops / 2e6, units = (double)plan->batch * (double)plan->groups / (double)back->samples;
    shares = shares < units ? shares : units;
    shares = shares < (double)most ? shares : (double)most;
    back->slots = shares < 2 ? 1 : shares > GRADIENT_SLOTS ? GRADIENT_SLOTS : (int64_t)shares;
    if (back->slot > INT64_MAX / 64 / GRADIENT_SLOTS || back->table > INT64_MAX / 64)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the convolution's gradient needs too much memory");
    int64_t pad = CONV_VECTOR * 8;
    back->slot = (back->slot * element + pad + 63) / 64 * 64;
    back->table = GRADIENT_STATUS + (back->table + 63) / 64 * 64;
    back->turned = back->direct ? (weights * element + 63) / 64 * 64 : 0;
    back->sums = back->slots > 1 ? (weights * element + 63) / 64 * 64 : 0;
    back->bias = (plan->units * (int64_t)sizeof(double) + 63) / 64 * 64;
    infer->workspace_backward = back->table + back->turned + back->slots * (back->slot + back->sums + back->bias);
    return FLOW_OK;
}

void gradient_fold_line(const struct gradient_work *work, char *to, int64_t in, const char *from, int64_t first, int64_t count,
                        int64_t stride, bool set) {
    int64_t size = work->size, low = first >= 0 ? 0 : (-first + stride - 1) / stride;
    int64_t high = in - first <= 0 ? 0 : (in - first - 1) / stride + 1;
    low = low > count ? count : low;
    high = high < low ? low : high > count ? count : high;
    char *at = to + (first + low * stride) * size;
    if (high > low && set && stride == 1) {
        memcpy(at, from + low * size, (size_t)((high - low) * size));
    } else if (high > low && set) {
        for (int64_t i = 0; i < high - low; ++i) memcpy(at + i * stride * size, from + (low + i) * size, (size_t)size);
    } else if (high > low) {
        if (work->dtype == FLOW_F64)
            work->table->add_f64((double *)(void *)at, stride, (const double *)(const void *)(from + low * size), high - low);
        else work->table->add_f32((float *)(void *)at, stride, (const float *)(const void *)(from + low * size), high - low);
    }
    if (work->plan->mode == MODE_ZERO) return;
    for (int64_t i = 0; i < count; ++i) {
        if (i == low && high > low) i = high;
        if (i == count) break;
        int64_t source = window_source(first + i * stride, in, work->plan->mode);
        if (work->dtype == FLOW_F64) ((double *)(void *)to)[source] += ((const double *)(const void *)from)[i];
        else ((float *)(void *)to)[source] += ((const float *)(const void *)from)[i];
    }
}

void gradient_bias(const struct gradient_work *work, int64_t slot, int64_t unit, const char *from, int64_t n) {
    double *to = (double *)(void *)(work->bias + slot * work->bias_step);
    to[unit] += work->dtype == FLOW_F64 ? work->table->total_f64((const double *)(const void *)from, n)
                                        : work->table->total_f32((const float *)(const void *)from, n);
}

static void slots_body(void *context, int64_t begin, int64_t end) {
    const struct gradient_work *work = context;
    const struct conv_plan *plan = work->plan;
    for (int64_t slot = begin; slot < end; ++slot) {
        if (work->bias_wanted) memset(work->bias + slot * work->bias_step, 0, (size_t)plan->units * sizeof(double));
        if (work->sums_wanted && plan->back.slots > 1)
            memset(work->sums + slot * work->sums_step, 0, (size_t)(plan->units * plan->taps * work->size));
        work->status[slot] = FLOW_OK;
        if (plan->back.direct) gradient_direct_run(work, slot);
        else gradient_columns_run(work, slot);
    }
}

/* ---- What the shares give, in their order ---- */

struct sums {
    const struct gradient_work *work;
    char *to;
};

static void sums_body(void *context, int64_t begin, int64_t end) {
    const struct sums *sums = context;
    const struct gradient_work *work = sums->work;
    for (int64_t slot = 0; slot < work->plan->back.slots; ++slot) {
        const char *from = work->sums + slot * work->sums_step + begin * work->size;
        char *to = sums->to + begin * work->size;
        if (work->dtype == FLOW_F64) work->table->add_f64((double *)(void *)to, 1, (const double *)(const void *)from, end - begin);
        else work->table->add_f32((float *)(void *)to, 1, (const float *)(const void *)from, end - begin);
    }
}

static void bias_sum(const struct gradient_work *work, struct flow_tensor *to, bool add) {
    for (int64_t u = 0; u < work->plan->units; ++u) {
        double sum = 0;
        for (int64_t slot = 0; slot < work->plan->back.slots; ++slot)
            sum += ((const double *)(const void *)(work->bias + slot * work->bias_step))[u];
        if (to->dtype == FLOW_F64) ((double *)to->data)[u] = (add ? ((double *)to->data)[u] : 0) + sum;
        else ((float *)to->data)[u] = (float)((add ? (double)((float *)to->data)[u] : 0) + sum);
    }
}

static void zero(struct flow_tensor *t, bool add) {
    if (!add && shape_exists(t) && shape_count(t) > 0) memset(t->data, 0, (size_t)(shape_count(t) * shape_type_bytes(t->dtype)));
}

int conv_gradient(const struct flow_call *call) {
    const struct conv_attrs *attrs = call->attrs;
    const struct conv_plan *plan = call->priv;
    const struct conv_back *back = &plan->back;
    struct flow_tensor *dx = &call->grad_in[0], *dw = &call->grad_param[plan->weight],
                       *db = attrs->bias ? &call->grad_param[plan->bias] : NULL;
    bool add_x = FLOW_ACCUMULATES(call->accumulate_in, 0), add_w = FLOW_ACCUMULATES(call->accumulate_param, plan->weight);
    bool add_b = db && FLOW_ACCUMULATES(call->accumulate_param, plan->bias);
    if (plan->batch == 0 || plan->places == 0 || call->grad_out[0].rank < 0) {
        zero(dx, add_x), zero(dw, add_w);
        if (db) zero(db, add_b);
        return FLOW_OK;
    }
    char *workspace = call->workspace, *slots = workspace + back->table + back->turned;
    struct gradient_work work = {
        .call = call,
        .plan = plan,
        .table = ISA_PICK(conv_table, call->host->isa),
        .x = call->in[0].data,
        .weight = call->param[plan->weight].data,
        .dy = call->grad_out[0].data,
        .dx = shape_exists(dx) ? dx->data : NULL,
        .add = add_x,
        .dtype = call->grad_out[0].dtype,
        .size = shape_type_bytes(call->grad_out[0].dtype),
        .sums_wanted = shape_exists(dw),
        .bias_wanted = db && shape_exists(db),
        .bias = slots,
        .bias_step = back->bias,
        .sums = slots + back->slots * back->bias,
        .sums_step = back->sums,
        .scratch = slots + back->slots * (back->bias + back->sums),
        .status = (int *)(void *)workspace,
        .offsets = workspace + GRADIENT_STATUS,
        .turned = workspace + back->table,
    };
    if (back->direct) gradient_direct_start(&work);
    zero(dw, add_w); /* what the shares give is added */
    if (back->slots == 1 && work.sums_wanted) work.sums = dw->data;
    if (back->slots == 1) slots_body(&work, 0, 1);
    else call->host->parallel_for(call, back->slots, 1, slots_body, &work);
    for (int64_t slot = 0; slot < back->slots; ++slot)
        if (work.status[slot] < 0) return work.status[slot];
    struct sums sums = {&work, shape_exists(dw) ? dw->data : NULL};
    if (work.sums_wanted && back->slots > 1)
        call->host->parallel_for(call, plan->units * plan->taps, extent_grain(back->slots, 1 << 17), sums_body, &sums);
    if (work.bias_wanted) bias_sum(&work, db, add_b);
    return FLOW_OK;
}
