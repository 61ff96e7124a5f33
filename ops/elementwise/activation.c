/* SPDX-License-Identifier: Apache-2.0 */
/* Activation functions of one input. */
#include "elementwise/elementwise.h"

#include "common/shape.h"

#include <math.h>

struct slope_attrs {
    double slope;
};
struct alpha_attrs {
    double alpha;
};
struct gelu_attrs {
    int32_t approximate;
};
struct clamp_attrs {
    double min, max;
};

static const struct flow_attr leaky_relu_attrs[] = {
    FLOW_ATTR(struct slope_attrs, slope, "factor below 0", "0.01", FLOW_NO_MIN, FLOW_NO_MAX)};
static const struct flow_attr elu_attrs[] = {
    FLOW_ATTR(struct alpha_attrs, alpha, "the limit at minus infinity is -alpha", "1", FLOW_NO_MIN, FLOW_NO_MAX)};
static const struct flow_attr gelu_attrs[] = {
    FLOW_ATTR_CHOICES(struct gelu_attrs, approximate, "exact by erf, or the tanh approximation", "none", "none|tanh")};
static const struct flow_attr clamp_attrs[] = {
    FLOW_ATTR(struct clamp_attrs, min, "least value; absent: none", FLOW_ABSENT, FLOW_NO_MIN, FLOW_NO_MAX),
    FLOW_ATTR(struct clamp_attrs, max, "largest value; absent: none", FLOW_ABSENT, FLOW_NO_MIN, FLOW_NO_MAX)};

static int relu_infer(struct flow_infer *infer) {
    infer->is = FLOW_ACTIVATION_RELU;
    return elementwise_unary(infer, UNARY_RELU, 0, 0, 0.1);
}
static int relu_squared_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_RELU_SQUARED, 0, 0, 0.1); }
static int silu_infer(struct flow_infer *infer) {
    infer->is = FLOW_ACTIVATION_SILU;
    return elementwise_unary(infer, UNARY_SILU, 0, 0, 0.6);
}
static int sigmoid_infer(struct flow_infer *infer) {
    infer->is = FLOW_ACTIVATION_SIGMOID;
    return elementwise_unary(infer, UNARY_SIGMOID, 0, 0, 0.6);
}
static int tanh_infer(struct flow_infer *infer) {
    infer->is = FLOW_ACTIVATION_TANH;
    return elementwise_unary(infer, UNARY_TANH, 0, 0, 0.5);
}
static int softplus_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_SOFTPLUS, 0, 0, 0.9); }
static int mish_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_MISH, 0, 0, 0.7); }

static int leaky_relu_infer(struct flow_infer *infer) {
    const struct slope_attrs *a = infer->attrs;
    return elementwise_unary(infer, UNARY_LEAKY_RELU, a->slope, 0, 0.1);
}

static int elu_infer(struct flow_infer *infer) {
    const struct alpha_attrs *a = infer->attrs;
    return elementwise_unary(infer, UNARY_ELU, a->alpha, 0, 0.5);
}

static int gelu_infer(struct flow_infer *infer) {
    const struct gelu_attrs *a = infer->attrs;
    if (a->approximate == 0) infer->is = FLOW_ACTIVATION_GELU;
    return elementwise_unary(infer, a->approximate == 1 ? UNARY_GELU_TANH : UNARY_GELU, 0, 0, 1.0);
}

static int clamp_infer(struct flow_infer *infer) {
    const struct clamp_attrs *a = infer->attrs;
    double low = isnan(a->min) ? -(double)INFINITY : a->min, high = isnan(a->max) ? (double)INFINITY : a->max;
    if (isnan(a->min) && isnan(a->max))
        return infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "neither min nor max is given: one of them is needed");
    if (low > high) return infer->host->fail_at(infer->owner, "min", FLOW_ERROR_RANGE, "min %g is above max %g", low, high);
    /* Integers: the whole numbers within the bounds, as far as the type reaches. */
    double least = 0, most = 0;
    switch (infer->in[0].dtype) {
    case FLOW_I32: least = -0x1p31, most = 0x1p31 - 1; break;
    case FLOW_I64: least = -0x1p63, most = 0x1p63; break;
    case FLOW_U8: most = 255; break;
    default: return elementwise_unary(infer, UNARY_CLAMP, low, high, 0.1);
    }
    low = ceil(low), high = floor(high);
    if (low > high || low > most || high < least)
        return infer->host->fail_at(infer->owner, isnan(a->min) ? "max" : "min", FLOW_ERROR_RANGE, "no %s lies within [%g, %g]",
                                    shape_type_name(infer->in[0].dtype), low, high);
    return elementwise_unary(infer, UNARY_CLAMP, low < least ? least : low, high > most ? most : high, 0.1);
}

#define ACTIVATION(text, about, formula, paper, function)                                                                             \
    ELEMENTWISE_COMMON, .name = text, .summary = about, .equation = formula, .reference = paper, .inputs = FLOW_TABLE(elementwise_x), \
                        .kernels = FLOW_TABLE(elementwise_unary_kernels), .infer = function

const struct flow_operator relu_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "relu",
    .summary = "rectified linear unit",
    .equation = "y = max(x, 0); derivative 0 at 0",
    .reference = "Nair, Hinton, \"Rectified linear units improve restricted Boltzmann machines\" (ICML 2010)",
    .example = "y: {op: relu, in: x}",
    .inputs = FLOW_TABLE(elementwise_x_number),
    .outputs = FLOW_TABLE(elementwise_y_number),
    .kernels = FLOW_TABLE(elementwise_unary_kernels_number),
    .priv_size = sizeof(struct elementwise),
    .infer = relu_infer,
};

const struct flow_operator clamp_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "clamp",
    .summary = "values held within bounds",
    .equation = "y = min(max(x, min), max); derivative 0 outside",
    .reference = "elementary",
    .example = "y: {op: clamp, in: x, with: {min: -1, max: 1}}",
    .inputs = FLOW_TABLE(elementwise_x_number),
    .outputs = FLOW_TABLE(elementwise_y_number),
    .attrs = FLOW_TABLE(clamp_attrs),
    .attrs_size = sizeof(struct clamp_attrs),
    .kernels = FLOW_TABLE(elementwise_unary_kernels_number),
    .priv_size = sizeof(struct elementwise),
    .infer = clamp_infer,
};

const struct flow_operator leaky_relu_operator = {
    ACTIVATION("leaky_relu", "rectified linear unit that leaks below 0", "y = x > 0 ? x : slope * x",
               "Maas, Hannun, Ng, \"Rectifier nonlinearities improve neural network acoustic models\" (2013)", leaky_relu_infer),
    .example = "y: {op: leaky_relu, in: x, with: {slope: 0.2}}",
    .attrs = FLOW_TABLE(leaky_relu_attrs),
    .attrs_size = sizeof(struct slope_attrs),
};

const struct flow_operator elu_operator = {
    ACTIVATION("elu", "exponential linear unit", "y = x > 0 ? x : alpha * (e^x - 1)",
               "Clevert, Unterthiner, Hochreiter, arXiv:1511.07289, equation 15", elu_infer),
    .example = "y: {op: elu, in: x}",
    .attrs = FLOW_TABLE(elu_attrs),
    .attrs_size = sizeof(struct alpha_attrs),
};

const struct flow_operator gelu_operator = {
    ACTIVATION("gelu", "Gaussian error linear unit",
               "y = x/2 * (1 + erf(x / sqrt 2));  approximate tanh: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))",
               "Hendrycks, Gimpel, arXiv:1606.08415, section 2", gelu_infer),
    .example = "y: {op: gelu, in: x, with: {approximate: tanh}}",
    .attrs = FLOW_TABLE(gelu_attrs),
    .attrs_size = sizeof(struct gelu_attrs),
};

const struct flow_operator silu_operator = {
    ACTIVATION("silu", "sigmoid linear unit (swish)", "y = x * sigmoid(x)", "Elfwing, Uchibe, Doya, arXiv:1702.03118, equation 5",
               silu_infer),
    .example = "y: {op: silu, in: x}",
};

const struct flow_operator sigmoid_operator = {
    ACTIVATION("sigmoid", "logistic function", "y = 1 / (1 + e^-x), split by sign: no overflow at any x", "elementary", sigmoid_infer),
    .example = "y: {op: sigmoid, in: x}",
};

const struct flow_operator tanh_operator = {
    ACTIVATION("tanh", "hyperbolic tangent", "y = (e^x - e^-x) / (e^x + e^-x)", "elementary", tanh_infer),
    .example = "y: {op: tanh, in: x}",
};

const struct flow_operator softplus_operator = {
    ACTIVATION("softplus", "smooth rectifier", "y = ln(1 + e^x) = max(x, 0) + log1p(e^-|x|)",
               "Dugas et al., \"Incorporating second-order functional knowledge\" (NIPS 2000)", softplus_infer),
    .example = "y: {op: softplus, in: x}",
};

const struct flow_operator mish_operator = {
    ACTIVATION("mish", "self-regularised smooth activation", "y = x * tanh(softplus(x))", "Misra, arXiv:1908.08681, equation 1",
               mish_infer),
    .example = "y: {op: mish, in: x}",
};

const struct flow_operator relu_squared_operator = {
    ACTIVATION("relu_squared", "squared rectifier", "y = max(x, 0)^2", "So et al., \"Primer\", arXiv:2109.08668, section 4",
               relu_squared_infer),
    .example = "y: {op: relu_squared, in: x}",
};
