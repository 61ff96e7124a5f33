/* SPDX-License-Identifier: Apache-2.0 */
/* fsmn: the memory block of feedforward sequential memory networks, a learnable FIR filter for each channel. */
#include "fsmn.h"

#include <stdio.h>
#include <string.h>

static const struct flow_port inputs[] = {
    {"x", "sequence", "B T D", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_port outputs[] = {
    {"y", "filtered sequence; when streaming with `right` > 0 that many dilated steps late", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_param params[] = {
    {"weight", "taps, the oldest first; tap `left` is the present", "D left+right+1", NULL,
     "uniform(-1/sqrt(left+right+1), 1/sqrt(left+right+1))", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_state states[] = {
    {"history", "the rows that coming outputs look back to, [B, left*dilation or more, D]", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct fsmn_attrs, left, "taps that look back, the present not counted", "19", 0, 1 << 20),
    FLOW_ATTR(struct fsmn_attrs, right, "taps that look ahead", "0", 0, 1 << 20),
    FLOW_ATTR(struct fsmn_attrs, dilation, "steps between taps", "1", 1, 1 << 20),
    FLOW_ATTR_PLAIN(struct fsmn_attrs, skip, "add the input itself", "true"),
};

/* Extents when the rows arrive in pieces: what is held begins left*dilation rows before the next output. */
static int infer_stream(struct flow_infer *ctx, int64_t *steps) {
    const struct fsmn_attrs *a = ctx->attrs;
    struct fsmn_priv *priv = ctx->priv;
    const struct flow_tensor *x = &ctx->in[0];
    int64_t back = a->left * a->dilation, ahead = a->right * a->dilation;
    const int64_t first[3] = {x->shape[0], back, x->shape[2]};
    if (ctx->first && !speech_shape(&ctx->state[0], x->dtype, 3, first)) return speech_too_large(ctx);
    priv->before = ctx->state[0].shape[1], priv->history = true;
    int64_t total = priv->before + x->shape[1];
    *steps = speech_most(0, total - back - (ctx->flush ? 0 : ahead));
    priv->after = ctx->flush ? 0 : total - *steps;
    ctx->out_axis[0] = 1, ctx->delay = ahead;
    return speech_state(ctx, 0, x->dtype, 3, first, 1, priv->after) ? FLOW_OK : speech_too_large(ctx);
}

static int infer(struct flow_infer *ctx) {
    const struct fsmn_attrs *a = ctx->attrs;
    struct fsmn_priv *priv = ctx->priv;
    const struct flow_tensor *x = &ctx->in[0];
    int64_t units = x->shape[2], steps = x->shape[1], taps = a->left + a->right + 1;
    int32_t axis = speech_axis(ctx, 0), status = FLOW_OK, real = speech_real(x->dtype);
    priv->functions = ISA_PICK(fsmn_functions, ctx->host->isa);
    priv->before = a->left * a->dilation, priv->history = false;
    if (axis == 1) status = infer_stream(ctx, &steps);
    else if (axis == 0) status = speech_pass(ctx, 0, 1);
    else if (axis == 2)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED,
                               "streams along axis 1 [B, T, D], not along the units: there is one weight row for each");
    if (status < 0) return status;
    const int64_t shape[3] = {x->shape[0], steps, units};
    if (!speech_shape(&ctx->out[0], x->dtype, 3, shape)) return speech_too_large(ctx);

    int64_t width = real == FLOW_F64 ? priv->functions->width_f64 : priv->functions->width_f32, tile = priv->functions->tile * a->dilation;
    int64_t packed = fsmn_groups(units, width) * width, bytes = shape_type_bytes(real);
    if (__builtin_mul_overflow(packed, taps * bytes, &packed)) return speech_too_large(ctx);
    ctx->packed = speech_align(packed), ctx->workspace = ctx->packed;
    ctx->packed_key = speech_mix(speech_mix(speech_mix(speech_mix(0x66736D6E, taps), units), width), bytes);
    /* a task is worth about 4 MFLOP, and several times the rows it looks around for, in whole tiles */
    double work = 2.0 * (double)taps * (double)units;
    int64_t least = speech_most((int64_t)(4e6 / (work < 1 ? 1 : work)), 4 * (taps - 1) * a->dilation);
    priv->grain = (least / tile + 1) * tile;
    priv->tasks = (steps + priv->grain - 1) / priv->grain;
    ctx->flops = work * (double)shape[0] * (double)steps;
    ctx->backward_reads_in = 1, ctx->backward_reads_out = 0;
    priv->parts = speech_parts(ctx->host, shape[0] * priv->tasks, 1);
    double slots = ctx->flops / 4e6, blocks = (double)shape[0] * (double)(steps / FSMN_BLOCK + 1);
    slots = slots < blocks ? slots : blocks;
    priv->slots = slots < 2 ? 1 : slots > 8 ? 8 : (int64_t)slots, priv->sums = ctx->packed;
    priv->scratch = speech_align(speech_least(priv->grain, steps) * units * bytes);
    ctx->workspace_backward = ctx->packed + priv->slots * priv->sums + priv->parts * priv->scratch;
    ctx->bytes = (double)bytes * (double)units * (2.0 * (double)shape[0] * (double)steps + (double)taps);
    return FLOW_OK;
}

static double element(const struct flow_tensor *t, int64_t i) {
    if (t->dtype == FLOW_F64) return ((const double *)t->data)[i];
    return (double)((const float *)t->data)[i];
}

/* `turned`: the last tap first. */
static void pack(const struct flow_tensor *weight, const struct fsmn_functions *functions, int32_t dtype, bool turned, void *packed) {
    int64_t units = weight->shape[0], taps = weight->shape[1], width = dtype == FLOW_F64 ? functions->width_f64 : functions->width_f32;
    for (int64_t g = 0, at = 0; g < fsmn_groups(units, width); g++)
        for (int64_t k = 0; k < taps; k++)
            for (int64_t v = 0; v < width; v++, at++) {
                int64_t unit = fsmn_unit(g, units, width) + v;
                double value = unit < units ? element(weight, unit * taps + (turned ? taps - 1 - k : k)) : 0;
                if (dtype == FLOW_F64) ((double *)packed)[at] = value;
                else ((float *)packed)[at] = (float)value;
            }
}

static int prepare(const struct flow_call *call) {
    const struct fsmn_priv *priv = call->priv;
    pack(&call->param[0], priv->functions, speech_real(call->param[0].dtype), false, call->packed);
    return FLOW_OK;
}

struct job {
    const struct flow_call *call;
    const void *weight;
};

static void run(void *context, int64_t begin, int64_t end) {
    const struct job *job = context;
    const struct flow_call *call = job->call;
    const struct fsmn_attrs *a = call->attrs;
    const struct fsmn_priv *priv = call->priv;
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    bool wide = x->dtype == FLOW_F64;
    int64_t bytes = shape_type_bytes(x->dtype), steps = y->shape[1];
    struct fsmn_rows rows = {.weight = job->weight,
                             .before = priv->before,
                             .rows = x->shape[1],
                             .units = x->shape[2],
                             .taps = a->left + a->right + 1,
                             .left = a->left,
                             .dilation = a->dilation,
                             .skip = a->skip};
    for (int64_t i = begin; i < end; i++) {
        int64_t b = i / priv->tasks, from = i % priv->tasks * priv->grain, to = speech_least(from + priv->grain, steps);
        rows.x = (const char *)x->data + b * rows.rows * rows.units * bytes;
        rows.y = (char *)y->data + b * steps * rows.units * bytes;
        if (priv->history) rows.history = (const char *)call->state_in[0].data + b * rows.before * rows.units * bytes;
        (wide ? priv->functions->rows_f64 : priv->functions->rows_f32)(&rows, from, to);
    }
}

static int forward(const struct flow_call *call) {
    const struct fsmn_priv *priv = call->priv;
    struct job job = {call, call->packed};
    if (!job.weight) {
        pack(&call->param[0], priv->functions, call->in[0].dtype, false, call->workspace);
        job.weight = call->workspace;
    }
    int64_t count = call->out[0].shape[2] == 0 ? 0 : call->in[0].shape[0] * priv->tasks;
    if (count > 1) call->host->parallel_for(call, count, 1, run, &job);
    else if (count == 1) run(&job, 0, 1);
    int64_t row = call->in[0].shape[2] * shape_type_bytes(call->in[0].dtype);
    for (int64_t b = 0; b < call->in[0].shape[0] && priv->after * row > 0; b++)
        speech_keep((const char *)call->state_in[0].data + b * priv->before * row, priv->before,
                    (const char *)call->in[0].data + b * call->in[0].shape[1] * row, call->in[0].shape[1], row,
                    (char *)call->state_out[0].data + b * priv->after * row, priv->after);
    return FLOW_OK;
}

/* ---- Backward: the input's gradient is dy filtered by the taps in reverse; the weights' are products of dy and x ---- */

struct back {
    const struct flow_call *call;
    char *weight, *sums, *rows; /* taps in reverse; of slot 0; of part 0 */
};

static void back_rows(void *context, int64_t begin, int64_t end) {
    const struct back *back = context;
    const struct flow_call *call = back->call;
    const struct fsmn_attrs *a = call->attrs;
    const struct fsmn_priv *priv = call->priv;
    const struct flow_tensor *dx = &call->grad_in[0];
    bool wide = dx->dtype == FLOW_F64, add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    int64_t bytes = shape_type_bytes(dx->dtype), steps = dx->shape[1], units = dx->shape[2], count = dx->shape[0] * priv->tasks;
    struct fsmn_rows rows = {.weight = back->weight,
                             .before = a->right * a->dilation,
                             .rows = steps,
                             .units = units,
                             .taps = a->left + a->right + 1,
                             .left = a->right,
                             .dilation = a->dilation,
                             .skip = a->skip};
    for (int64_t part = begin; part < end; part++) {
        char *scratch = back->rows + part * priv->scratch;
        for (int64_t i = count * part / priv->parts; i < count * (part + 1) / priv->parts; i++) {
            int64_t b = i / priv->tasks, from = i % priv->tasks * priv->grain, to = speech_least(from + priv->grain, steps);
            char *at = (char *)dx->data + (b * steps + from) * units * bytes;
            rows.x = (const char *)call->grad_out[0].data + b * steps * units * bytes;
            rows.y = (char *)((uintptr_t)(add ? scratch : at) - (uintptr_t)(from * units * bytes)); /* of row 0 */
            (wide ? priv->functions->rows_f64 : priv->functions->rows_f32)(&rows, from, to);
            if (add && wide) priv->functions->add_f64((double *)(void *)at, (const double *)(const void *)scratch, (to - from) * units);
            else if (add) priv->functions->add_f32((float *)(void *)at, (const float *)(const void *)scratch, (to - from) * units);
        }
    }
}

static void back_sums(void *context, int64_t begin, int64_t end) {
    const struct back *back = context;
    const struct flow_call *call = back->call;
    const struct fsmn_attrs *a = call->attrs;
    const struct fsmn_priv *priv = call->priv;
    const struct flow_tensor *dy = &call->grad_out[0];
    int64_t steps = dy->shape[1], bytes = shape_type_bytes(dy->dtype), blocks = (steps + FSMN_BLOCK - 1) / FSMN_BLOCK;
    struct fsmn_products products = {
        .rows = steps, .units = dy->shape[2], .taps = a->left + a->right + 1, .left = a->left, .dilation = a->dilation};
    for (int64_t slot = begin; slot < end; slot++) {
        products.sums = back->sums + slot * priv->sums;
        memset(products.sums, 0, (size_t)priv->sums);
        int64_t count = dy->shape[0] * blocks;
        for (int64_t i = count * slot / priv->slots; i < count * (slot + 1) / priv->slots; i++) {
            int64_t b = i / blocks, from = i % blocks * FSMN_BLOCK, to = speech_least(from + FSMN_BLOCK, steps);
            products.x = (const char *)call->in[0].data + b * steps * products.units * bytes;
            products.dy = (const char *)dy->data + b * steps * products.units * bytes;
            (dy->dtype == FLOW_F64 ? priv->functions->products_f64 : priv->functions->products_f32)(&products, from, to);
        }
    }
}

/* The slots' sums in their order, each unit from the group that begins with it or before. */
static void back_weights(const struct back *back, struct flow_tensor *dw, bool add) {
    const struct fsmn_priv *priv = back->call->priv;
    bool wide = dw->dtype == FLOW_F64;
    int64_t units = dw->shape[0], taps = dw->shape[1], width = wide ? priv->functions->width_f64 : priv->functions->width_f32;
    for (int64_t slot = 1; slot < priv->slots; slot++) {
        char *to = back->sums, *from = back->sums + slot * priv->sums;
        int64_t count = fsmn_groups(units, width) * taps * width;
        if (wide) priv->functions->add_f64((double *)(void *)to, (const double *)(const void *)from, count);
        else priv->functions->add_f32((float *)(void *)to, (const float *)(const void *)from, count);
    }
    for (int64_t d = 0; d < units; d++) {
        int64_t g = d / width, at = g * taps * width + d - fsmn_unit(g, units, width);
        for (int64_t k = 0; k < taps; k++, at += width)
            if (wide)
                ((double *)dw->data)[d * taps + k] = (add ? ((double *)dw->data)[d * taps + k] : 0) + ((double *)(void *)back->sums)[at];
            else ((float *)dw->data)[d * taps + k] = (add ? ((float *)dw->data)[d * taps + k] : 0) + ((float *)(void *)back->sums)[at];
    }
}

static int backward(const struct flow_call *call) {
    const struct fsmn_priv *priv = call->priv;
    struct flow_tensor *dx = &call->grad_in[0], *dw = &call->grad_param[0];
    char *workspace = call->workspace;
    struct back back = {call, workspace, workspace + priv->sums, workspace + (1 + priv->slots) * priv->sums};
    bool some = shape_exists(&call->grad_out[0]) && shape_count(&call->grad_out[0]) > 0, add = FLOW_ACCUMULATES(call->accumulate_param, 0);
    if (shape_exists(dx) && some) {
        pack(&call->param[0], priv->functions, dx->dtype, true, back.weight);
        speech_parallel(call, priv->parts, back_rows, &back);
    } else speech_zero(dx, FLOW_ACCUMULATES(call->accumulate_in, 0));
    if (shape_exists(dw) && some) {
        speech_parallel(call, priv->slots, back_sums, &back);
        back_weights(&back, dw, add);
    } else speech_zero(dw, add);
    return FLOW_OK;
}

static int describe(const struct flow_infer *ctx, char *text, size_t size) {
    const struct fsmn_priv *priv = ctx->priv;
    int64_t width = ctx->in[0].dtype == FLOW_F64 ? priv->functions->width_f64 : priv->functions->width_f32;
    return snprintf(text, size, "tiles of %lld rows x %lld units, %lld rows a task", (long long)priv->functions->tile, (long long)width,
                    (long long)priv->grain);
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward},
};

const struct flow_operator fsmn_operator = {
    .size = sizeof(struct flow_operator),
    .name = "fsmn",
    .summary = "memory block: a learnable FIR filter over time for each channel",
    .equation = "y[t, d] = skip*x[t, d] + sum_{k=0}^{left+right} weight[d, k] * x[t + (k - left)*dilation, d], x outside [0, T) is 0",
    .reference = "Zhang et al., Feedforward Sequential Memory Networks (2015), equation 2; Zhang et al., Deep-FSMN (2018), equation 7",
    .example = "y: {op: fsmn, in: x, with: {left: 19, right: 0}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .states = FLOW_TABLE(states),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct fsmn_attrs),
    .priv_size = sizeof(struct fsmn_priv),
    .infer = infer,
    .prepare = prepare,
    .describe = describe,
};
