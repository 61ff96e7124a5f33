/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that act on gradients alone: forward they are the identity, as views. */
#include "common/shape.h"

static int same_infer(struct flow_infer *infer) {
    shape_view(infer, 0, 0);
    return FLOW_OK;
}

static const struct flow_port same_x[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, FLOW_STRIDED}};
static const struct flow_port same_x_no_grad[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, FLOW_STRIDED | FLOW_NO_GRAD}};
static const struct flow_port same_y[] = {{"y", "x itself, as a view", "...", FLOW_TYPES_ANY, 0}};

const struct flow_operator stop_gradient_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "stop_gradient",
    .summary = "the identity, through which no gradient flows",
    .equation = "y = x;  dx = 0",
    .reference = "elementary",
    .example = "y: {op: stop_gradient, in: x}",
    .inputs = FLOW_TABLE(same_x_no_grad),
    .outputs = FLOW_TABLE(same_y),
    .infer = same_infer,
};

struct scale_attrs {
    double factor;
};
static const struct flow_attr scale_attrs[] = {
    FLOW_ATTR(struct scale_attrs, factor, "of the gradient", FLOW_REQUIRED, FLOW_NO_MIN, FLOW_NO_MAX)};

const struct flow_operator scale_gradient_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "scale_gradient",
    .summary = "the identity; the gradient is multiplied",
    .equation = "y = x;  dx = factor * dy",
    .reference = "Ganin, Lempitsky, \"Unsupervised domain adaptation by backpropagation\", arXiv:1409.7495, equation 12 (factor < 0)",
    .example = "y: {op: scale_gradient, in: x, with: {factor: -1}}",
    .inputs = FLOW_TABLE(same_x),
    .outputs = FLOW_TABLE(same_y),
    .attrs = FLOW_TABLE(scale_attrs),
    .attrs_size = sizeof(struct scale_attrs),
    .infer = same_infer,
};

static int inject_infer(struct flow_infer *infer) {
    char x[SHAPE_TEXT], g[SHAPE_TEXT];
    if (!shape_same(&infer->in[0], &infer->in[1]))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is %s, g is %s: a gradient has the shape of its value",
                                 shape_text(&infer->in[0], x), shape_text(&infer->in[1], g));
    return same_infer(infer);
}

static const struct flow_port inject_in[] = {
    {"x", "any shape", "...", FLOW_TYPES_FLOAT, FLOW_STRIDED},
    {"g", "the gradient that x is to receive", "...", FLOW_TYPES_FLOAT, FLOW_STRIDED | FLOW_NO_GRAD},
};
static const struct flow_port inject_out[] = {{"y", "x itself, as a view", "...", FLOW_TYPES_FLOAT, 0}};

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
    .infer = inject_infer,
};
