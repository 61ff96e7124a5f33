/* SPDX-License-Identifier: Apache-2.0 */
/* What moves gradients between kernels: filling, passing on, adding. All in f32 or f64. */
#include "exec/context.h"
#include "exec/convert.h"

#include <common/simd.h>

#include <string.h>

ISA_DECLARE(struct convert_table, convert_table);

static int64_t elements(const struct flow_tensor *t) {
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    return count;
}

/* A large tensor is spread over the threads in parts of this many elements. */
enum { PART = 1 << 17 };

struct work {
    const struct convert_table *table;
    char *to;
    const char *from;
    double fill;
    bool wide;
};

static void fill_part(void *context, int64_t begin, int64_t end) {
    const struct work *work = context;
    if (work->fill == 0) {
        size_t size = work->wide ? sizeof(double) : sizeof(float);
        memset(work->to + (size_t)begin * size, 0, (size_t)(end - begin) * size);
    } else if (work->wide)
        for (int64_t i = begin; i < end; i++) ((double *)(void *)work->to)[i] = work->fill;
    else
        for (int64_t i = begin; i < end; i++) ((float *)(void *)work->to)[i] = (float)work->fill;
}

static void add_part(void *context, int64_t begin, int64_t end) {
    const struct work *work = context;
    if (work->wide) work->table->add_f64((double *)(void *)work->to + begin, (const double *)(const void *)work->from + begin, end - begin);
    else work->table->add_f32((float *)(void *)work->to + begin, (const float *)(const void *)work->from + begin, end - begin);
}

static void spread(const struct flow_call *call, int64_t count, void (*part)(void *, int64_t, int64_t), struct work *work) {
    if (count >= 2 * PART) call->host->parallel_for(call, count, PART, part, work);
    else if (count) part(work, 0, count);
}

/* Any strides, also such that elements of the target lie upon each other: one after another, in order. */
static void add_strided(const struct flow_tensor *to, const char *from, bool wide) {
    int64_t index[FLOW_RANK_MAX] = {0}, at = 0, count = elements(to);
    for (int64_t i = 0; i < count; i++) {
        if (wide) ((double *)to->data)[at] += ((const double *)(const void *)from)[i];
        else ((float *)to->data)[at] += ((const float *)(const void *)from)[i];
        for (int32_t a = to->rank - 1; a >= 0; a--) {
            at += to->strides[a];
            if (++index[a] < to->shape[a]) break;
            at -= to->strides[a] * to->shape[a], index[a] = 0;
        }
    }
}

/* The last axis in one go where it lies together in the target; or, where it lies upon itself, summed. */
static void add_rows(const struct convert_table *table, const struct flow_tensor *to, const char *from, bool wide) {
    int32_t last = to->rank - 1;
    int64_t inner = to->shape[last], rows = elements(to) / inner, size = wide ? 8 : 4, index[FLOW_RANK_MAX] = {0}, at = 0;
    for (int64_t r = 0; r < rows; r++, from += inner * size) {
        char *row = (char *)to->data + at * size;
        if (wide) table->add_f64((double *)(void *)row, (const double *)(const void *)from, inner);
        else table->add_f32((float *)(void *)row, (const float *)(const void *)from, inner);
        for (int32_t a = last - 1; a >= 0; a--) {
            at += to->strides[a];
            if (++index[a] < to->shape[a]) break;
            at -= to->strides[a] * to->shape[a], index[a] = 0;
        }
    }
}

void tensor_add(const struct flow_call *call, const struct flow_tensor *to, const void *from) {
    int64_t count = elements(to);
    struct work work = {ISA_PICK(convert_table, call->host->isa), to->data, from, 0, to->dtype == FLOW_F64};
    if (!count) return;
    if (plan_contiguous(to)) spread(call, count, add_part, &work);
    else if (to->strides[to->rank - 1] == 1 && to->shape[to->rank - 1] > 1) add_rows(work.table, to, from, work.wide);
    else add_strided(to, from, work.wide);
}

int exec_fill(const struct flow_call *call) {
    struct work work = {.to = call->out[0].data, .fill = *(const double *)call->attrs, .wide = call->out[0].dtype == FLOW_F64};
    spread(call, elements(&call->out[0]), fill_part, &work);
    return 0;
}

int exec_pass(const struct flow_call *call) { return call->out[0].data == call->in[0].data ? 0 : exec_copy(call); }

int exec_add(const struct flow_call *call) {
    tensor_add(call, &call->out[0], call->in[0].data);
    return 0;
}
