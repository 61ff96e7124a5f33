/* SPDX-License-Identifier: Apache-2.0 */
/* last: the newest position of a sequence, or of the piece that came; the one way to look at "now" in a stream. */
#include "text.h"

struct last_attrs {
    int64_t axis;
};

static const struct flow_port inputs[] = {
    {"x", "a sequence", NULL, FLOW_TYPES_ANY, FLOW_STRIDED},
};
static const struct flow_port outputs[] = {
    {"y", "its last position, the axis kept with extent 1; when streaming, of each piece that is not empty", NULL, FLOW_TYPES_ANY, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct last_attrs, axis, "the axis of time", "-2", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
};

static int infer(struct flow_infer *ctx) {
    const struct last_attrs *a = ctx->attrs;
    const struct flow_tensor *x = &ctx->in[0];
    int32_t axis;
    int status = shape_axis(ctx, "axis", a->axis, x->rank, &axis);
    if (status < 0) return status;
    bool streams = ctx->streaming && ctx->in_axis[0] >= 0;
    if (x->shape[axis] == 0 && !streams)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "axis %d of x has extent 0: there is no last position", axis);
    int32_t dtype = x->dtype;
    ctx->out[0] = *x, ctx->out[0].data = NULL, ctx->out[0].dtype = dtype;
    if (streams) ctx->out_axis[0] = ctx->in_axis[0];
    if (x->shape[axis] == 0) { /* nothing came: nothing to look at */
        shape_dense(&ctx->out[0]);
        return FLOW_OK;
    }
    ctx->out[0].shape[axis] = 1;
    ctx->view_of[0] = 0, ctx->view_offset[0] = (x->shape[axis] - 1) * x->strides[axis];
    return FLOW_OK;
}

/* Called where the result is empty; else it is a view. */
static int forward(const struct flow_call *call) {
    (void)call;
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = forward},
};

const struct flow_operator last_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_BY_PIECE,
    .name = "last",
    .summary = "the newest position of a sequence, or of each piece of a stream; a view",
    .equation = "y = x[..., T - 1 : T, ...]; a piece of extent 0 gives extent 0",
    .reference = "this runtime: generation reads the last position's logits",
    .example = "y: {op: last, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE_EMPTY,
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct last_attrs),
    .infer = infer,
};
