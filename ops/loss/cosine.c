/* SPDX-License-Identifier: Apache-2.0 */
#include "loss/loss.h"
#include "common/extent.h"

#include <math.h>

struct cosine_attrs {
    int64_t axis;
};

/* Axes of the result with the strides that each operand has along them; 0 where it is broadcast. */
struct cosine_plan {
    int32_t rank;
    int64_t n, step[2]; /* the axis that is summed */
    int64_t extent[FLOW_RANK_MAX], stride[2][FLOW_RANK_MAX];
};

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

static void plan_make(struct cosine_plan *plan, const struct flow_tensor *in, const struct flow_tensor *both, int32_t axis) {
    *plan = (struct cosine_plan){.n = both->shape[axis]};
    for (int32_t i = 0; i < both->rank; ++i) {
        for (int j = 0; j < 2; ++j) {
            int32_t at = i - (both->rank - in[j].rank);
            int64_t stride = at >= 0 && in[j].shape[at] != 1 ? in[j].strides[at] : 0;
            if (i == axis) plan->step[j] = stride;
            else plan->stride[j][plan->rank] = stride;
        }
        if (i != axis) plan->extent[plan->rank++] = both->shape[i];
    }
}

static int infer(struct flow_infer *infer) {
    const struct cosine_attrs *attrs = infer->attrs;
    struct flow_tensor both = {.dtype = infer->in[0].dtype};
    struct cosine_plan plan;
    int32_t axis;
    int status = shape_broadcast(infer, 0, 1, &both);
    if (status >= 0) status = shape_axis(infer, "axis", attrs->axis, both.rank, &axis);
    if (status < 0) return status;
    plan_make(&plan, infer->in, &both, axis);
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
    const struct cosine_attrs *attrs = call->attrs;
    const struct flow_tensor *a = &call->in[0], *b = &call->in[1];
    struct flow_tensor both = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int32_t i = 0; i < both.rank; ++i) {
        int32_t ia = i - (both.rank - a->rank), ib = i - (both.rank - b->rank);
        both.shape[i] = ia >= 0 && a->shape[ia] != 1 ? a->shape[ia] : ib >= 0 ? b->shape[ib] : 1;
    }
    struct cosine_work work = {.call = call};
    plan_make(&work.plan, call->in, &both, (int32_t)(attrs->axis < 0 ? attrs->axis + both.rank : attrs->axis));
    call->host->parallel_for(call, shape_count(&call->out[0]), extent_grain(work.plan.n, 1 << 15), body, &work);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward}};

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
