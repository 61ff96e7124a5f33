/* SPDX-License-Identifier: Apache-2.0 */
/* prelu and glu: one input, seen as two that the kernels of arithmetic then combine. */
#include "elementwise/backward.h"
#include "elementwise/elementwise.h"
#include "elementwise/gate.h"

#include "common/extent.h"
#include "common/adjoint.h"

/* ---- prelu ------------------------------------------------------------------------------------------------------- */

static const struct flow_attr prelu_attrs[] = {
    FLOW_ATTR(struct prelu_attrs, axis, "the channels' axis", "1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR(struct prelu_attrs, count, "slopes: 1, or as many as there are channels", "1", 1, FLOW_NO_MAX)};

static int prelu_plan(struct elementwise *e, const struct flow_tensor *x, const struct flow_tensor *y, int64_t count, int64_t axis) {
    struct flow_tensor w = prelu_weight(x, y->dtype, count, (int32_t)(axis < 0 ? axis + x->rank : axis));
    const struct flow_tensor *pair[2] = {x, &w};
    map_plan(&e->map, y, pair, 2, 0.15);
    return FLOW_OK;
}

static int prelu_infer(struct flow_infer *infer) {
    const struct prelu_attrs *a = infer->attrs;
    struct elementwise *e = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    struct flow_tensor *y = &infer->out[0];
    int32_t axis = 0;
    shape_like(y, x);
    y->dtype = x->dtype;
    if (a->count > 1) {
        int status = shape_axis(infer, "axis", a->axis, x->rank, &axis);
        if (status < 0) return status;
        if (x->shape[axis] != a->count)
            return infer->host->fail_at(infer->owner, "count", FLOW_ERROR_SHAPE, "%lld slopes for the %lld channels of axis %d",
                                        (long long)a->count, (long long)x->shape[axis], axis);
        if (infer->streaming && infer->in_axis[0] == axis)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "its slopes lie along the streaming axis");
    }
    e->op = BINARY_PRELU;
    e->narrow = x->dtype == FLOW_F16 || x->dtype == FLOW_BF16;
    e->kernel = ISA_PICK(binary_table, infer->host->isa)->of[e->narrow ? FLOW_F32 : x->dtype];
    if (infer->streaming) infer->out_axis[0] = infer->in_axis[0];
    infer->flops = (double)shape_count(y);
    infer->bytes = 2.0 * (double)(shape_count(y) * shape_type_bytes(y->dtype));
    if (infer->differentiated) {
        struct flow_tensor weight = prelu_weight(x, y->dtype, a->count, axis);
        infer->backward_reads_in = 1, infer->backward_reads_out = 0;
        back_plan(infer, &weight);
    }
    return prelu_plan(e, x, y, a->count, a->axis);
}

static int prelu_forward(const struct flow_call *call) {
    const struct prelu_attrs *a = call->attrs;
    const struct elementwise *e = call->priv;
    const void *in[2] = {call->in[0].data, call->param[0].data};
    if (e->narrow) {
        struct elementwise wide = *e;
        prelu_plan(&wide, &call->in[0], &call->out[0], a->count, a->axis);
        map_run(&wide.map, call, e->kernel, &wide, in, call->out[0].data);
        return FLOW_OK;
    }
    map_run(&e->map, call, e->kernel, e, in, call->out[0].data);
    return FLOW_OK;
}

static int prelu_backward(const struct flow_call *call) {
    const struct prelu_attrs *a = call->attrs;
    const struct flow_tensor *x = &call->in[0];
    int32_t axis = (int32_t)(a->axis < 0 ? a->axis + x->rank : a->axis);
    struct flow_tensor weight = prelu_weight(x, call->param[0].dtype, a->count, axis), slopes = weight;
    weight.data = call->param[0].data, slopes.data = call->grad_param[0].data;
    if (call->grad_param[0].rank < 0) slopes.rank = -1;
    else slopes.dtype = call->grad_param[0].dtype;
    const struct back back[] = {{BACK_PRELU_WEIGHT, &slopes, FLOW_ACCUMULATES(call->accumulate_param, 0)},
                                {BACK_PRELU_X, &call->grad_in[0], FLOW_ACCUMULATES(call->accumulate_in, 0)}};
    back_run(call, x, &weight, back, 2, 0, 0);
    return FLOW_OK;
}

static const struct flow_param prelu_params[] = {{"weight", "slopes below 0", "count", NULL, "constant(0.25)", FLOW_TYPES_FLOAT, 0}};
static const struct flow_kernel prelu_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = prelu_forward, .backward = prelu_backward}};

const struct flow_operator prelu_operator = {
    .size = sizeof(struct flow_operator),
    .name = "prelu",
    .summary = "rectified linear unit with a learned slope below 0",
    .equation = "y = x > 0 ? x : weight[channel] * x; derivative weight at 0",
    .reference = "He, Zhang, Ren, Sun, arXiv:1502.01852, equation 1",
    .example = "y: {op: prelu, in: x, with: {count: 64}}",
    .inputs = FLOW_TABLE(elementwise_x),
    .outputs = FLOW_TABLE(elementwise_y),
    .params = FLOW_TABLE(prelu_params),
    .attrs = FLOW_TABLE(prelu_attrs),
    .attrs_size = sizeof(struct prelu_attrs),
    .kernels = FLOW_TABLE(prelu_kernels),
    .priv_size = sizeof(struct elementwise),
    .infer = prelu_infer,
};

/* ---- glu --------------------------------------------------------------------------------------------------------- */

static const struct flow_attr glu_attrs[] = {
    FLOW_ATTR(struct glu_attrs, axis, "the axis that is halved", "-1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR_CHOICES(struct glu_attrs, activation, "of the second half", "sigmoid", "sigmoid|silu|gelu|relu|tanh|none")};

/* Both halves as inputs of their own: the second begins half an axis later. */
static void glu_plan(struct elementwise *e, const struct flow_tensor *x, const struct flow_tensor *y) {
    struct flow_tensor half = *y;
    half.dtype = y->dtype;
    for (int32_t i = 0; i < x->rank; i++) half.strides[i] = x->strides[i];
    const struct flow_tensor *pair[2] = {&half, &half};
    map_plan(&e->map, y, pair, 2, e->op == BINARY_MUL || e->op == BINARY_GLU_RELU ? 0.2 : 0.8);
}

static int glu_infer(struct flow_infer *infer) {
    static const int32_t functions[] = {BINARY_GLU_SIGMOID, BINARY_GLU_SILU, BINARY_GLU_GELU, BINARY_GLU_RELU, BINARY_GLU_TANH, BINARY_MUL};
    const struct glu_attrs *a = infer->attrs;
    struct elementwise *e = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    struct flow_tensor *y = &infer->out[0];
    int32_t axis;
    int status = shape_axis(infer, "axis", a->axis, x->rank, &axis);
    if (status < 0) return status;
    if (x->shape[axis] % 2)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "axis %d has %lld elements: halves need an even number", axis,
                                 (long long)x->shape[axis]);
    status = shape_stream_past(infer, axis, "halving the streaming axis needs the whole sequence");
    if (status < 0) return status;
    y->rank = x->rank, y->dtype = x->dtype;
    for (int32_t i = 0; i < x->rank; i++) y->shape[i] = x->shape[i];
    y->shape[axis] /= 2;
    shape_dense(y);
    e->op = functions[a->activation];
    e->narrow = x->dtype == FLOW_F16 || x->dtype == FLOW_BF16;
    e->kernel = ISA_PICK(binary_table, infer->host->isa)->of[e->narrow ? FLOW_F32 : x->dtype];
    glu_plan(e, x, y);
    infer->flops = 2.0 * (double)e->map.count;
    infer->bytes = 3.0 * (double)(e->map.count * e->map.out_bytes);
    if (infer->differentiated) {
        infer->backward_reads_in = 1, infer->backward_reads_out = 0;
        if (!shape_is_dense(x)) infer->workspace_backward = shape_count(x) * shape_type_bytes(extent_wide(x->dtype));
    }
    return FLOW_OK;
}

static int glu_forward(const struct flow_call *call) {
    const struct glu_attrs *a = call->attrs;
    const struct elementwise *e = call->priv;
    const struct flow_tensor *x = &call->in[0];
    int64_t axis = a->axis < 0 ? a->axis + x->rank : a->axis;
    int64_t half = e->map.count ? x->shape[axis] / 2 * x->strides[axis] * shape_type_bytes(x->dtype) : 0;
    const void *in[2] = {x->data, (const char *)x->data + half};
    if (e->narrow) {
        struct elementwise wide = *e;
        glu_plan(&wide, x, &call->out[0]);
        map_run(&wide.map, call, e->kernel, &wide, in, call->out[0].data);
        return FLOW_OK;
    }
    map_run(&e->map, call, e->kernel, e, in, call->out[0].data);
    return FLOW_OK;
}

/* x and its gradient as rows [outer, 2, run], y and its as [outer, run]; rows are cut into blocks for the threads. */
struct glu_back {
    map_kernel kernel;
    int32_t of[2];
    bool add;
    const char *x, *g;
    char *to;
    int64_t run, blocks, bytes;
};

enum { GLU_BLOCK = 4096 };

static void glu_piece(void *context, int64_t begin, int64_t end) {
    const struct glu_back *b = context;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t row = unit / b->blocks, at = unit % b->blocks * GLU_BLOCK, n = b->run - at < GLU_BLOCK ? b->run - at : GLU_BLOCK;
        int64_t first = (2 * row * b->run + at) * b->bytes, second = first + b->run * b->bytes;
        const void *in[3] = {b->g + (row * b->run + at) * b->bytes, b->x + first, b->x + second};
        struct back_work work = {
            .jobs = 2, .base = b->to + first, .job = {{b->of[0], b->add, b->to + first}, {b->of[1], b->add, b->to + second}}};
        b->kernel(&work, in, b->to + first, n, 0);
    }
}

static int glu_backward(const struct flow_call *call) {
    static const int32_t functions[][2] = {{BACK_GLU_SIGMOID_A, BACK_GLU_SIGMOID_B}, {BACK_GLU_SILU_A, BACK_GLU_SILU_B},
                                           {BACK_GLU_GELU_A, BACK_GLU_GELU_B},       {BACK_GLU_RELU_A, BACK_GLU_RELU_B},
                                           {BACK_GLU_TANH_A, BACK_GLU_TANH_B},       {BACK_MUL_A, BACK_MUL_B}};
    const struct glu_attrs *a = call->attrs;
    const struct flow_tensor *x = &call->in[0], *g = &call->grad_out[0], *to = &call->grad_in[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    int32_t axis = (int32_t)(a->axis < 0 ? a->axis + x->rank : a->axis);
    if (g->rank < 0) adjoint_zero(call, to, add);
    if (to->rank < 0 || g->rank < 0 || shape_count(g) == 0) return FLOW_OK;
    struct glu_back b = {.kernel = ISA_PICK(back_table, call->host->isa)->of[g->dtype],
                         .of = {functions[a->activation][0], functions[a->activation][1]},
                         .add = add,
                         .x = x->data,
                         .g = g->data,
                         .to = to->data,
                         .run = shape_span(g, axis, g->rank),
                         .bytes = shape_type_bytes(g->dtype)};
    if (!shape_is_dense(x)) {
        shape_copy(call, x->rank, x->shape, b.bytes, x->data, x->strides, call->workspace, to->strides);
        b.x = call->workspace;
    }
    b.blocks = (b.run + GLU_BLOCK - 1) / GLU_BLOCK;
    int64_t units = shape_span(g, 0, axis) * b.blocks, grain = 8192 / (b.run < GLU_BLOCK ? b.run : GLU_BLOCK) + 1;
    if (units < 2 * grain || call->host->threads < 2) glu_piece(&b, 0, units);
    else call->host->parallel_for(call, units, grain, glu_piece, &b);
    return FLOW_OK;
}

static const struct flow_port glu_out[] = {{"y", "x's shape with half the axis", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_kernel glu_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = glu_forward, .backward = glu_backward}};

const struct flow_operator glu_operator = {
    .size = sizeof(struct flow_operator),
    .name = "glu",
    .summary = "gated linear unit: one half of an axis gates the other",
    .equation = "a, b = halves of x along axis;  y = a * activation(b)",
    .reference = "Dauphin, Fan, Auli, Grangier, arXiv:1612.08083, equation 1; Shazeer, arXiv:2002.05202 for other activations",
    .example = "y: {op: glu, in: x, with: {axis: -1, activation: silu}}",
    .inputs = FLOW_TABLE(elementwise_x),
    .outputs = FLOW_TABLE(glu_out),
    .attrs = FLOW_TABLE(glu_attrs),
    .attrs_size = sizeof(struct glu_attrs),
    .kernels = FLOW_TABLE(glu_kernels),
    .priv_size = sizeof(struct elementwise),
    .infer = glu_infer,
};
