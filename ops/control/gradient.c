/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that act on gradients alone: forward they are the identity, as views where nothing is differentiated. */
#include "common/adjoint.h"
#include "control/control.h"

static int same_infer(struct flow_infer *infer) {
    shape_view(infer, 0, 0);
    return FLOW_OK;
}

/* The gradient of a view is the runtime's: where another one is to take its place y is a tensor of its own, in x's memory if that is free.
 */
static int own_infer(struct flow_infer *infer, uint64_t reads) {
    struct flow_tensor *y = &infer->out[0];
    if (!infer->differentiated || infer->streaming) return same_infer(infer);
    shape_like(y, &infer->in[0]);
    y->dtype = infer->in[0].dtype;
    infer->backward_reads_in = reads, infer->backward_reads_out = 0;
    infer->bytes = 2.0 * (double)(shape_count(y) * shape_type_bytes(y->dtype));
    return FLOW_OK;
}

static int same_forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    if (x->data != y->data) shape_copy(call, y->rank, y->shape, shape_type_bytes(y->dtype), x->data, x->strides, y->data, y->strides);
    return FLOW_OK;
}

static const struct flow_port same_x[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, FLOW_STRIDED}};
static const struct flow_port same_x_no_grad[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, FLOW_STRIDED | FLOW_NO_GRAD}};
static const struct flow_port own_y[] = {{"y", "x itself; a view where nothing is differentiated", "...", FLOW_TYPES_ANY, FLOW_INPLACE(0)}};

static int stop_infer(struct flow_infer *infer) { return own_infer(infer, 0); }

#define SAME_TYPES (FLOW_TYPES_REAL | FLOW_TYPES_INTEGER | FLOW_TYPE(BOOL))
static const struct flow_kernel stop_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = SAME_TYPES, .forward = same_forward}};

const struct flow_operator stop_gradient_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "stop_gradient",
    .summary = "the identity, through which no gradient flows",
    .equation = "y = x;  dx = 0",
    .reference = "elementary",
    .example = "y: {op: stop_gradient, in: x}",
    .inputs = FLOW_TABLE(same_x_no_grad),
    .outputs = FLOW_TABLE(own_y),
    .kernels = FLOW_TABLE(stop_kernels),
    .infer = stop_infer,
};

static const struct flow_attr scale_attrs[] = {
    FLOW_ATTR(struct scale_attrs, factor, "of the gradient", FLOW_REQUIRED, FLOW_NO_MIN, FLOW_NO_MAX)};

static int scale_infer(struct flow_infer *infer) { return own_infer(infer, 0); }

static int scale_backward(const struct flow_call *call) {
    const struct scale_attrs *a = call->attrs;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (g->rank < 0) adjoint_zero(call, to, add);
    if (g->rank < 0 || to->rank < 0) return FLOW_OK;
    int64_t count = shape_count(g);
    if (g->dtype == FLOW_F64) {
        const double *from = g->data;
        double *y = to->data;
        for (int64_t i = 0; i < count; i++) y[i] = (add ? y[i] : 0) + a->factor * from[i];
    } else {
        const float *from = g->data, factor = (float)a->factor;
        float *y = to->data;
        for (int64_t i = 0; i < count; i++) y[i] = (add ? y[i] : 0) + factor * from[i];
    }
    return FLOW_OK;
}

static const struct flow_kernel scale_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = SAME_TYPES, .forward = same_forward, .backward = scale_backward}};

const struct flow_operator scale_gradient_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "scale_gradient",
    .summary = "the identity; the gradient is multiplied",
    .equation = "y = x;  dx = factor * dy",
    .reference = "Ganin, Lempitsky, \"Unsupervised domain adaptation by backpropagation\", arXiv:1409.7495, equation 12 (factor < 0)",
    .example = "y: {op: scale_gradient, in: x, with: {factor: -1}}",
    .inputs = FLOW_TABLE(same_x),
    .outputs = FLOW_TABLE(own_y),
    .attrs = FLOW_TABLE(scale_attrs),
    .attrs_size = sizeof(struct scale_attrs),
    .kernels = FLOW_TABLE(scale_kernels),
    .infer = scale_infer,
};

static int inject_infer(struct flow_infer *infer) {
    char x[SHAPE_TEXT], g[SHAPE_TEXT];
    if (!shape_same(&infer->in[0], &infer->in[1]))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is %s, g is %s: a gradient has the shape of its value",
                                 shape_text(&infer->in[0], x), shape_text(&infer->in[1], g));
    return own_infer(infer, 2);
}

/* What arrives is not read. */
static int inject_backward(const struct flow_call *call) {
    adjoint_pass(call, &call->in[1], &call->grad_in[0], FLOW_ACCUMULATES(call->accumulate_in, 0));
    return FLOW_OK;
}

static const struct flow_port inject_in[] = {
    {"x", "any shape", "...", FLOW_TYPES_FLOAT, FLOW_STRIDED},
    {"g", "the gradient that x is to receive", "...", FLOW_TYPES_FLOAT, FLOW_STRIDED | FLOW_NO_GRAD},
};
static const struct flow_port inject_out[] = {
    {"y", "x itself; a view where nothing is differentiated", "...", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_kernel inject_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = same_forward, .backward = inject_backward}};

const struct flow_operator inject_gradient_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "inject_gradient",
    .summary = "the identity in x; backward, g takes the place of the gradient that arrives",
    .equation = "y = x;  dx = g, whatever dy is;  dg = 0",
    .reference = "Jaderberg et al., \"Decoupled neural interfaces using synthetic gradients\", arXiv:1608.05343, section 2",
    .example = "y: {op: inject_gradient, in: {x: x, g: g}}",
    .inputs = FLOW_TABLE(inject_in),
    .outputs = FLOW_TABLE(inject_out),
    .kernels = FLOW_TABLE(inject_kernels),
    .infer = inject_infer,
};
