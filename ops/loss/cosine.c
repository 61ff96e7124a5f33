/* SPDX-License-Identifier: Apache-2.0 */
#include "loss/loss.h"
#include "common/extent.h"
#include "common/gradient.h"

#include <math.h>
#include <string.h>

static const struct flow_port inputs[] = {
    {"a", "vectors along the axis", NULL, FLOW_TYPES_FLOAT, FLOW_STRIDED},
    {"b", "broadcasts with a", NULL, FLOW_TYPES_FLOAT, FLOW_STRIDED},
};
static const struct flow_port outputs[] = {{"y", "without the axis", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_attr attributes[] = {
    FLOW_ATTR(struct cosine_attrs, axis, "of the vectors", "-1", FLOW_NO_MIN, FLOW_NO_MAX),
};

static int stream(struct flow_infer *infer, int32_t axis, int32_t rank) {
    for (int i = 0; infer->streaming && i < 2; ++i) {
        if (infer->in_axis[i] < 0) continue;
        int32_t at = rank - infer->in[i].rank + infer->in_axis[i];
        if (at == axis) return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the sum over axis %d needs the whole sequence", at);
        const struct flow_tensor *other = &infer->in[1 - i];
        int32_t same = at - (rank - other->rank);
        if (infer->in_axis[1 - i] < 0 && same >= 0 && other->shape[same] != 1)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED,
                                     "%s has the streamed axis, but not in pieces: it needs the whole sequence", i == 0 ? "b" : "a");
        at -= at > axis;
        if (infer->out_axis[0] >= 0 && infer->out_axis[0] != at)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED,
                                     "every step of a meets every step of b: that needs the whole sequence");
        infer->out_axis[0] = at;
    }
    return FLOW_OK;
}

static int infer(struct flow_infer *infer) {
    const struct cosine_attrs *attrs = infer->attrs;
    struct flow_tensor both = {.dtype = infer->in[0].dtype};
    struct cosine_plan plan;
    int32_t axis;
    int status = shape_broadcast(infer, 0, 1, &both);
    if (status >= 0) status = shape_axis(infer, "axis", attrs->axis, both.rank, &axis);
    if (status < 0) return status;
    cosine_plan_make(&plan, infer->in, &both, axis);
    if (infer->differentiated) infer->backward_reads_out = 0;
    infer->flops = 6.0 * (double)shape_count(&both);
    status = extent_output(infer, 0, both.dtype, plan.rank, plan.extent);
    return status < 0 ? status : stream(infer, axis, both.rank);
}

struct cosine_work {
    const struct flow_call *call;
    struct cosine_plan plan;
};

static void body(void *context, int64_t begin, int64_t end) {
    const struct cosine_work *work = context;
    const struct flow_call *call = work->call;
    const struct cosine_plan *plan = &work->plan;
    const struct loss_table *table = ISA_PICK(loss_table, call->host->isa);
    for (int64_t i = begin; i < end; ++i) {
        int64_t a = 0, b = 0, rest = i;
        for (int32_t j = plan->rank - 1; j >= 0; --j) {
            a += rest % plan->extent[j] * plan->stride[0][j];
            b += rest % plan->extent[j] * plan->stride[1][j];
            rest /= plan->extent[j];
        }
        double sums[3];
        bool wide = call->in[0].dtype == FLOW_F64;
        if (wide)
            table->products_f64((const double *)call->in[0].data + a, plan->step[0], (const double *)call->in[1].data + b, plan->step[1],
                                plan->n, sums);
        else
            table->products_f32((const float *)call->in[0].data + a, plan->step[0], (const float *)call->in[1].data + b, plan->step[1],
                                plan->n, sums);
        double norms = sqrt(sums[1]) * sqrt(sums[2]), value = sums[0] / (norms > 1e-8 || norms != norms ? norms : 1e-8);
        if (wide) ((double *)call->out[0].data)[i] = value;
        else ((float *)call->out[0].data)[i] = (float)value;
    }
}

static int forward(const struct flow_call *call) {
    struct flow_tensor both;
    struct cosine_work work = {.call = call};
    int32_t axis = cosine_both(call, &both);
    cosine_plan_make(&work.plan, call->in, &both, axis);
    call->host->parallel_for(call, shape_count(&call->out[0]), extent_grain(work.plan.n, 1 << 15), body, &work);
    return FLOW_OK;
}

/* The gradient of one input: places of its own along the axes that it has, and for each the places that it was repeated over. */
struct cosine_back {
    const struct flow_call *call;
    const struct loss_table *table;
    uint32_t which;
    int64_t n, step[3]; /* of this input, of the other, of the gradient */
    int32_t own, repeated;
    /* strides: of this input, of the other, of the gradient, of the result */
    int64_t own_extent[FLOW_RANK_MAX], own_stride[FLOW_RANK_MAX][4];
    int64_t repeated_extent[FLOW_RANK_MAX], repeated_stride[FLOW_RANK_MAX][4];
    int64_t count, repeats;
};

static void back_make(struct cosine_back *back, const struct cosine_plan *forward_plan, const struct cosine_plan *gradient) {
    uint32_t k = back->which;
    int64_t result = 1;
    back->n = forward_plan->n;
    back->step[0] = forward_plan->step[k], back->step[1] = forward_plan->step[1 - k], back->step[2] = gradient->step[k];
    back->count = back->repeats = 1;
    for (int32_t i = forward_plan->rank - 1; i >= 0; --i) {
        int64_t extent = forward_plan->extent[i];
        const int64_t stride[4] = {forward_plan->stride[k][i], forward_plan->stride[1 - k][i], gradient->stride[k][i], result};
        bool repeats = stride[2] == 0;
        int32_t at = repeats ? back->repeated++ : back->own++;
        (repeats ? back->repeated_extent : back->own_extent)[at] = extent;
        memcpy((repeats ? back->repeated_stride : back->own_stride)[at], stride, sizeof stride);
        if (repeats) back->repeats *= extent;
        else back->count *= extent;
        result *= extent;
    }
}

static void back_offset(int32_t rank, const int64_t *extent, int64_t stride[][4], int64_t index, int64_t offset[4]) {
    for (int32_t i = 0; i < rank; ++i, index /= extent[i - 1])
        for (int j = 0; j < 4; ++j) offset[j] += index % extent[i] * stride[i][j];
}

static double element(const char *at, bool wide, int64_t i) {
    return wide ? ((const double *)(const void *)at)[i] : (double)((const float *)(const void *)at)[i];
}

/* One pair of vectors: g (other / (|a| |b|) - y own / |own|^2); where the norms are too small g other / 1e-8. */
static void back_pair(const struct cosine_back *back, const int64_t offset[4], bool adds) {
    const struct flow_call *call = back->call;
    const struct flow_tensor *to = &call->grad_in[back->which];
    bool wide = to->dtype == FLOW_F64;
    int64_t n = back->n, size = wide ? 8 : 4;
    const char *own = (const char *)call->in[back->which].data + offset[0] * size;
    const char *other = (const char *)call->in[1 - back->which].data + offset[1] * size;
    char *into = (char *)to->data + offset[2] * size;
    double sums[3], g = gradient_value(&call->grad_out[0], offset[3]);
    if (wide)
        back->table->products_f64((const double *)(const void *)own, back->step[0], (const double *)(const void *)other, back->step[1], n,
                                  sums);
    else
        back->table->products_f32((const float *)(const void *)own, back->step[0], (const float *)(const void *)other, back->step[1], n,
                                  sums);
    double norms = sqrt(sums[1]) * sqrt(sums[2]), by_other = g / 1e-8, by_own = 0;
    if (norms > 1e-8 || norms != norms) by_other = g / norms, by_own = -g * sums[0] / norms / sums[1];
    if (back->step[2] == 0 && n != 1) { /* one element of it meets all of the other's */
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += by_own * element(own, wide, 0) + by_other * element(other, wide, i * back->step[1]);
        gradient_put(to, offset[2], sum, adds);
    } else if (wide) {
        back->table->blend_f64((double *)(void *)into, back->step[2], (const double *)(const void *)own, back->step[0],
                               (const double *)(const void *)other, back->step[1], n, by_own, by_other, adds);
    } else {
        back->table->blend_f32((float *)(void *)into, back->step[2], (const float *)(const void *)own, back->step[0],
                               (const float *)(const void *)other, back->step[1], n, by_own, by_other, adds);
    }
}

static void body_back(void *context, int64_t begin, int64_t end) {
    struct cosine_back *back = context;
    bool adds = gradient_adds_in(back->call, back->which);
    for (int64_t i = begin; i < end; ++i) {
        int64_t start[4] = {0};
        back_offset(back->own, back->own_extent, back->own_stride, i, start);
        for (int64_t r = 0; r < back->repeats; ++r) {
            int64_t offset[4] = {start[0], start[1], start[2], start[3]};
            back_offset(back->repeated, back->repeated_extent, back->repeated_stride, r, offset);
            back_pair(back, offset, adds || r > 0);
        }
    }
}

static int backward(const struct flow_call *call) {
    const struct flow_tensor *dy = &call->grad_out[0];
    struct flow_tensor both;
    struct cosine_plan plan, gradient;
    int32_t axis = cosine_both(call, &both);
    if (!shape_exists(dy) || shape_count(dy) == 0) return gradient_none(call);
    cosine_plan_make(&plan, call->in, &both, axis);
    for (uint32_t k = 0; k < 2; ++k) {
        if (!shape_exists(&call->grad_in[k])) continue;
        struct flow_tensor dense[2] = {call->in[0], call->in[1]};
        struct cosine_back back = {.call = call, .table = ISA_PICK(loss_table, call->host->isa), .which = k};
        shape_dense(&dense[k]);
        cosine_plan_make(&gradient, dense, &both, axis);
        back_make(&back, &plan, &gradient);
        call->host->parallel_for(call, back.count, extent_grain(back.repeats * plan.n, 1 << 15), body_back, &back);
    }
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward}};

extern const struct flow_operator loss_cosine;
const struct flow_operator loss_cosine = {
    .size = sizeof(struct flow_operator),
    .name = "cosine_similarity",
    .summary = "Cosine of the angle between vectors along one axis; not reduced",
    .equation = "y = a b / max(|a| |b|, 1e-8)",
    .reference = "Salton, Wong, Yang, A Vector Space Model for Automatic Indexing, 1975, section 1",
    .example = "y: {op: cosine_similarity, in: {a: a, b: b}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct cosine_attrs),
    .infer = infer,
};
