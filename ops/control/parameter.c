/* SPDX-License-Identifier: Apache-2.0 */
/* parameter: a bare trainable tensor. */
#include "common/adjoint.h"

#include <string.h>

struct parameter_attrs {
    struct flow_ints shape;
    const char *init;
};

static const struct flow_attr parameter_attrs[] = {
    FLOW_ATTR_SHAPE(struct parameter_attrs, shape, "the shape; may be left out where weight is tied", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct parameter_attrs, init, "initialiser, as `init: zeros` or `init: normal(0, 0.02)`", "zeros")};
static const struct flow_port parameter_out[] = {{"y", "the tensor", NULL, FLOW_TYPES_ANY, 0}};
static const struct flow_param parameter_params[] = {{"weight", "the tensor", NULL, NULL, "@init", FLOW_TYPES_FLOAT, 0}};

static int parameter_infer(struct flow_infer *infer) {
    const struct parameter_attrs *a = infer->attrs;
    struct flow_tensor *y = &infer->out[0];
    if (a->shape.given) {
        struct flow_tensor weight = {.dtype = infer->param[0].dtype, .rank = (int32_t)a->shape.count};
        if (a->shape.count > FLOW_RANK_MAX)
            return infer->host->fail_at(infer->owner, "shape", FLOW_ERROR_RANGE, "%u axes: at most %d", a->shape.count, FLOW_RANK_MAX);
        for (int32_t i = 0; i < weight.rank; i++) weight.shape[i] = a->shape.at[i];
        int status = shape_sound(infer, &weight);
        if (status == FLOW_OK) status = infer->host->param(infer, "weight", weight.dtype, weight.rank, weight.shape, a->init, 0, NULL);
        if (status < 0) return status;
    } else if (infer->param_count == 0 || infer->param[0].rank < 0) {
        return infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "shape is missing, and weight is not tied to anything that has one");
    }
    shape_like(y, &infer->param[0]);
    y->dtype = infer->param[0].dtype;
    infer->backward_reads_out = 0;
    return shape_sound(infer, y);
}

/* Computed once where the weight is constant: a plan for inference keeps the copy. */
static int parameter_forward(const struct flow_call *call) {
    const struct flow_tensor *weight = &call->param[0], *y = &call->out[0];
    shape_copy(call, y->rank, y->shape, shape_type_bytes(y->dtype), weight->data, weight->strides, y->data, y->strides);
    return FLOW_OK;
}

static int parameter_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_param[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_param, 0);
    if (g->rank < 0) adjoint_zero(call, to, add);
    else adjoint_pass(call, g, to, add);
    return FLOW_OK;
}

static const struct flow_kernel parameter_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = parameter_forward, .backward = parameter_backward}};

const struct flow_operator parameter_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_VALUE,
    .name = "parameter",
    .summary = "a trainable tensor, or (tied) a parameter of another node read as a value",
    .equation = "y = weight",
    .reference = "elementary",
    .example = "y: {op: parameter, with: {shape: [4, 8], init: \"normal(0, 0.02)\"}}",
    .outputs = FLOW_TABLE(parameter_out),
    .params = FLOW_TABLE(parameter_params),
    .attrs = FLOW_TABLE(parameter_attrs),
    .attrs_size = sizeof(struct parameter_attrs),
    .kernels = FLOW_TABLE(parameter_kernels),
    .infer = parameter_infer,
};
