/* SPDX-License-Identifier: Apache-2.0 */
/* frame_stack: neighbouring frames side by side, at a lower rate. */
#include "frame.h"

#include <string.h>

static const struct flow_port inputs[] = {
    {"x", "frames", "B T D", FLOW_TYPES_ANY, 0},
};
static const struct flow_port outputs[] = {
    {"y", "stacked frames [B, ceil(T/stride), count*D]; when streaming count/2 frames late", NULL, FLOW_TYPES_ANY, 0},
};
static const struct flow_state states[] = {
    {"rows", "rows from the next output's first on; none before the first row came, [B, R, D]", NULL, "zeros", FLOW_TYPES_ANY, 0, 0, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct stack_attrs, count, "frames side by side", FLOW_REQUIRED, 1, 1 << 16),
    FLOW_ATTR(struct stack_attrs, stride, "frames between outputs", "1", 1, 1 << 20),
};

static int infer(struct flow_infer *ctx) {
    const struct stack_attrs *a = ctx->attrs;
    struct stack_priv *priv = ctx->priv;
    const struct flow_tensor *x = &ctx->in[0];
    int64_t rows = x->shape[1], units = x->shape[2], wide;
    int32_t axis = speech_axis(ctx, 0);
    priv->held = priv->after = priv->lead = 0, priv->front = (a->count - 1) / 2;
    priv->steps = rows / a->stride + (rows % a->stride > 0);
    if (axis == 0) (void)speech_pass(ctx, 0, 1);
    if (axis == 2)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED,
                               "streams along axis 1 [B, T, D]; the units of stacked frames are not in their order");
    if (axis == 1) {
        const int64_t first[3] = {x->shape[0], 0, units};
        priv->held = ctx->first ? 0 : ctx->state[0].shape[1], priv->lead = cut_lead(a->count, a->stride) + 1;
        int64_t before = priv->lead + priv->front; /* of a sequence that has begun */
        bool begun = priv->held > 0 || rows > 0;
        int64_t all = !begun ? 0 : priv->held > 0 ? priv->held + rows : before + rows;
        if (!ctx->flush) priv->steps = cut_frames(all - priv->lead, a->count, a->stride);
        else { /* row `front` of what follows the lead is that of the next output itself: one output each stride rows from there */
            int64_t left = speech_most(all - before, 0);
            priv->steps = left / a->stride + (left % a->stride > 0);
        }
        if (priv->held > 0) priv->front = 0;
        priv->after = ctx->flush || !begun ? 0 : all - priv->steps * a->stride;
        ctx->out_axis[0] = 1, ctx->delay = a->count / 2;
        if (!speech_state(ctx, 0, x->dtype, 3, first, 1, priv->after)) return speech_too_large(ctx);
    }
    if (__builtin_mul_overflow(a->count, units, &wide)) return speech_too_large(ctx);
    const int64_t shape[3] = {x->shape[0], priv->steps, wide};
    if (!speech_shape(&ctx->out[0], x->dtype, 3, shape)) return speech_too_large(ctx);
    ctx->backward_reads_in = ctx->backward_reads_out = 0;
    ctx->bytes = 2.0 * (double)shape_type_bytes(x->dtype) * (double)shape[0] * (double)shape[1] * (double)wide;
    return FLOW_OK;
}

/* Row i of [lead][front][held][x] of one sequence; what lies behind the end is the last row. */
static const char *row_at(const struct stack_priv *priv, const char *held, const char *x, int64_t rows, int64_t bytes, int64_t i) {
    int64_t before = priv->held > 0 ? 0 : priv->lead + priv->front;
    i = i < before ? 0 : i - before;
    if (i >= priv->held + rows) i = priv->held + rows - 1;
    return i < priv->held ? held + i * bytes : x + (i - priv->held) * bytes;
}

static int forward(const struct flow_call *call) {
    const struct stack_attrs *a = call->attrs;
    const struct stack_priv *priv = call->priv;
    const struct flow_tensor *x = &call->in[0];
    int64_t rows = x->shape[1], bytes = x->shape[2] * shape_type_bytes(x->dtype);
    if (bytes == 0) return FLOW_OK;
    for (int64_t b = 0; b < x->shape[0]; b++) {
        const char *from = (const char *)x->data + b * rows * bytes;
        const char *held = priv->held ? (const char *)call->state_in[0].data + b * priv->held * bytes : NULL;
        char *y = (char *)call->out[0].data + b * priv->steps * a->count * bytes;
        for (int64_t t = 0; t < priv->steps; t++) {
            int64_t first = priv->lead + t * a->stride, before = priv->held > 0 ? 0 : priv->lead + priv->front;
            int64_t in_x = first - before - priv->held; /* mostly the rows lie side by side */
            if (in_x >= 0 && in_x + a->count <= rows) memcpy(y + t * a->count * bytes, from + in_x * bytes, (size_t)(a->count * bytes));
            else
                for (int64_t i = 0; i < a->count; i++)
                    memcpy(y + (t * a->count + i) * bytes, row_at(priv, held, from, rows, bytes, first + i), (size_t)bytes);
        }
        int64_t all = (priv->held > 0 ? priv->held : priv->lead + priv->front) + rows;
        for (int64_t i = 0; i < priv->after; i++)
            memcpy((char *)call->state_out[0].data + (b * priv->after + i) * bytes,
                   row_at(priv, held, from, rows, bytes, all - priv->after + i), (size_t)bytes);
    }
    return FLOW_OK;
}

/* Backward: a row's gradient is the sum over all its places. Sequences [begin, end). */
static void back_run(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct stack_attrs *a = call->attrs;
    const struct stack_priv *priv = call->priv;
    const struct flow_tensor *dx = &call->grad_in[0];
    int64_t rows = dx->shape[1], units = dx->shape[2], bytes = units * shape_type_bytes(dx->dtype);
    for (int64_t b = begin; b < end; b++) {
        char *to = (char *)dx->data + b * rows * bytes;
        const char *from = (const char *)call->grad_out[0].data + b * priv->steps * a->count * bytes;
        for (int64_t t = 0; t < priv->steps; t++) {
            int64_t first = t * a->stride - priv->front;
            if (first >= 0 && first + a->count <= rows) {
                speech_add(dx->dtype, to + first * bytes, from + t * a->count * bytes, a->count * units);
                continue;
            }
            for (int64_t i = 0; i < a->count; i++) {
                int64_t row = speech_least(speech_most(first + i, 0), rows - 1);
                speech_add(dx->dtype, to + row * bytes, from + (t * a->count + i) * bytes, units);
            }
        }
    }
}

static int backward(const struct flow_call *call) {
    struct flow_tensor *dx = &call->grad_in[0];
    if (!shape_exists(dx)) return FLOW_OK;
    speech_zero(dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
    if (!shape_exists(&call->grad_out[0]) || shape_count(dx) == 0) return FLOW_OK;
    struct flow_call copy = *call;
    int64_t each = shape_count(&call->grad_out[0]) / dx->shape[0], grain = (1 << 17) / speech_most(1, each) + 1;
    if (dx->shape[0] > grain) call->host->parallel_for(call, dx->shape[0], grain, back_run, &copy);
    else back_run(&copy, 0, dx->shape[0]);
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = forward, .backward = backward},
};

const struct flow_operator frame_stack_operator = {
    .size = sizeof(struct flow_operator),
    .name = "frame_stack",
    .summary = "neighbouring frames side by side, every `stride` frames (low frame rate features)",
    .equation = "y[t] = concat_{i < count} x[clamp(t*stride + i - (count - 1)/2, 0, T - 1)], (count - 1)/2 rounded down",
    .reference = "Pundak and Sainath, Lower frame rate neural network acoustic models (2016), section 3",
    .example = "y: {op: frame_stack, in: x, with: {count: 5}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct stack_attrs),
    .priv_size = sizeof(struct stack_priv),
    .infer = infer,
};
