/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one input: y = f(x), element by element. */
#include "elementwise/backward.h"
#include "elementwise/elementwise.h"

#include "common/shape.h"

#include <math.h>

const struct flow_port elementwise_x[1] = {{"x", "any shape", "...", FLOW_TYPES_FLOAT, FLOW_STRIDED}};
const struct flow_port elementwise_y[1] = {{"y", "x's shape and type", "...", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
const struct flow_port elementwise_x_number[1] = {{"x", "any shape; integers, too", "...", FLOW_TYPES_NUMBER, FLOW_STRIDED}};
const struct flow_port elementwise_y_number[1] = {{"y", "x's shape and type", "...", FLOW_TYPES_NUMBER, FLOW_INPLACE(0)}};

const struct flow_kernel elementwise_unary_kernels[1] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = elementwise_unary_forward, .backward = elementwise_unary_backward}};
const struct flow_kernel elementwise_unary_kernels_number[1] = {{.device = FLOW_DEVICE_CPU,
                                                                 .types = ELEMENTWISE_NUMBERS,
                                                                 .forward = elementwise_unary_forward,
                                                                 .backward = elementwise_unary_backward}};

/* The gradient's function, and whether it reads y: then x need not be kept. */
static void unary_function(struct elementwise *e, int32_t op, double k0) {
    static const struct {
        int16_t back;
        bool of_y;
    } table[] = {
        [UNARY_NEG] = {BACK_NEG, false},
        [UNARY_ABS] = {BACK_ABS, false},
        [UNARY_SIGN] = {BACK_ZERO, false},
        [UNARY_SQUARE] = {BACK_SQUARE, false},
        [UNARY_RELU] = {BACK_POSITIVE, true},
        [UNARY_CLAMP] = {BACK_CLAMP, false},
        [UNARY_EXP] = {BACK_MUL_B, true},
        [UNARY_LOG] = {BACK_LOG, false},
        [UNARY_SQRT] = {BACK_SQRT, true},
        [UNARY_RSQRT] = {BACK_RSQRT, true},
        [UNARY_RECIPROCAL] = {BACK_RECIPROCAL, true},
        [UNARY_SIN] = {BACK_SIN, false},
        [UNARY_COS] = {BACK_COS, false},
        [UNARY_ERF] = {BACK_ERF, false},
        [UNARY_FLOOR] = {BACK_ZERO, false},
        [UNARY_ROUND] = {BACK_ZERO, false},
        [UNARY_LEAKY_RELU] = {BACK_LEAKY_RELU, true},
        [UNARY_ELU] = {BACK_ELU, true},
        [UNARY_GELU] = {BACK_GELU, false},
        [UNARY_GELU_TANH] = {BACK_GELU_TANH, false},
        [UNARY_SILU] = {BACK_SILU, false},
        [UNARY_SIGMOID] = {BACK_SIGMOID, true},
        [UNARY_TANH] = {BACK_TANH, true},
        [UNARY_SOFTPLUS] = {BACK_SOFTPLUS, true},
        [UNARY_MISH] = {BACK_MISH, false},
        [UNARY_RELU_SQUARED] = {BACK_RELU_SQUARED, true},
    };
    e->back = table[op].back, e->back_of_y = table[op].of_y;
    /* Where a negative number turns the sign of negative inputs, y does not tell. */
    if (op == UNARY_LEAKY_RELU && k0 < 0) e->back_of_y = false;
    if (op == UNARY_ELU && k0 < 0) e->back = BACK_ELU_OF_X, e->back_of_y = false;
}

int elementwise_unary(struct flow_infer *infer, int32_t op, double k0, double k1, double cost) {
    struct elementwise *e = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    shape_like(&infer->out[0], x);
    infer->out[0].dtype = x->dtype;
    e->op = op, e->k[0] = k0, e->k[1] = k1;
    e->narrow = x->dtype == FLOW_F16 || x->dtype == FLOW_BF16;
    e->kernel = ISA_PICK(unary_table, infer->host->isa)->of[e->narrow ? FLOW_F32 : x->dtype];
    map_plan(&e->map, &infer->out[0], &x, 1, cost);
    infer->flops = (double)e->map.count * (cost > 0.15 ? 20 * cost : 1); /* functions that are polynomials: 20 operations a nanosecond */
    infer->bytes = 2.0 * (double)(e->map.count * e->map.out_bytes);
    unary_function(e, op, k0);
    if (!infer->differentiated) return FLOW_OK;
    infer->backward_reads_in = back_reads(e->back) && !e->back_of_y, infer->backward_reads_out = e->back_of_y;
    return FLOW_OK;
}

int elementwise_unary_forward(const struct flow_call *call) {
    const struct elementwise *e = call->priv;
    const void *in[1] = {call->in[0].data};
    if (e->narrow) {
        struct elementwise wide = *e;
        const struct flow_tensor *x = &call->in[0];
        map_plan(&wide.map, &call->out[0], &x, 1, 0.5);
        map_run(&wide.map, call, e->kernel, &wide, in, call->out[0].data);
        return FLOW_OK;
    }
    map_run(&e->map, call, e->kernel, e, in, call->out[0].data);
    return FLOW_OK;
}

int elementwise_unary_backward(const struct flow_call *call) {
    const struct elementwise *e = call->priv;
    struct back back = {e->back, &call->grad_in[0], FLOW_ACCUMULATES(call->accumulate_in, 0)};
    back_run(call, e->back_of_y ? &call->out[0] : &call->in[0], NULL, &back, 1, e->k[0], e->k[1]);
    return FLOW_OK;
}

/* Costs are ns an element, f32 with AVX2: what a piece for another thread is measured by. */
static int neg_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_NEG, 0, 0, 0.1); }
static int exp_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_EXP, 0, 0, 0.4); }
static int log_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_LOG, 0, 0, 0.6); }
static int sqrt_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_SQRT, 0, 0, 0.3); }
static int rsqrt_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_RSQRT, 0, 0, 0.5); }
static int abs_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_ABS, 0, 0, 0.1); }
static int sign_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_SIGN, 0, 0, 0.1); }
static int square_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_SQUARE, 0, 0, 0.1); }
static int reciprocal_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_RECIPROCAL, 0, 0, 0.2); }
static int sin_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_SIN, 0, 0, 0.5); }
static int cos_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_COS, 0, 0, 0.5); }
static int erf_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_ERF, 0, 0, 1.0); }
static int floor_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_FLOOR, 0, 0, 0.1); }
static int round_infer(struct flow_infer *infer) { return elementwise_unary(infer, UNARY_ROUND, 0, 0, 0.1); }

#define UNARY_OPERATOR(text, about, formula, function)                                                                   \
    ELEMENTWISE_COMMON, .name = text, .summary = about, .equation = formula, .example = "y: {op: " text ", in: x}",      \
                        .reference = "elementary; IEEE 754 for infinities and NaN", .inputs = FLOW_TABLE(elementwise_x), \
                        .kernels = FLOW_TABLE(elementwise_unary_kernels), .infer = function
#define UNARY_OPERATOR_NUMBER(text, about, formula, function)                                                              \
    .size = sizeof(struct flow_operator), .flags = FLOW_OP_POINTWISE, .name = text, .summary = about, .equation = formula, \
    .example = "y: {op: " text ", in: x}", .reference = "elementary; IEEE 754 for infinities and NaN",                     \
    .inputs = FLOW_TABLE(elementwise_x_number), .outputs = FLOW_TABLE(elementwise_y_number),                               \
    .kernels = FLOW_TABLE(elementwise_unary_kernels_number), .priv_size = sizeof(struct elementwise), .infer = function

const struct flow_operator neg_operator = {UNARY_OPERATOR_NUMBER("neg", "the negative", "y = -x   (integers modulo 2^bits)", neg_infer)};
const struct flow_operator abs_operator = {UNARY_OPERATOR_NUMBER("abs", "the absolute value", "y = |x|; derivative 0 at 0", abs_infer)};
const struct flow_operator sign_operator = {UNARY_OPERATOR_NUMBER("sign", "-1, 0 or 1", "y = x > 0 ? 1 : x < 0 ? -1 : x", sign_infer)};
const struct flow_operator square_operator = {
    UNARY_OPERATOR_NUMBER("square", "the square", "y = x^2   (integers modulo 2^bits)", square_infer)};
const struct flow_operator exp_operator = {UNARY_OPERATOR("exp", "the exponential", "y = e^x", exp_infer)};
const struct flow_operator log_operator = {UNARY_OPERATOR("log", "the natural logarithm", "y = ln x; -inf at 0, NaN below", log_infer)};
const struct flow_operator sqrt_operator = {UNARY_OPERATOR("sqrt", "the square root", "y = x^(1/2); NaN below 0", sqrt_infer)};
const struct flow_operator rsqrt_operator = {UNARY_OPERATOR("rsqrt", "one over the square root", "y = x^(-1/2)", rsqrt_infer)};
const struct flow_operator reciprocal_operator = {UNARY_OPERATOR("reciprocal", "one over x", "y = 1 / x", reciprocal_infer)};
const struct flow_operator sin_operator = {UNARY_OPERATOR("sin", "the sine of an angle in radians", "y = sin x", sin_infer)};
const struct flow_operator cos_operator = {UNARY_OPERATOR("cos", "the cosine of an angle in radians", "y = cos x", cos_infer)};
const struct flow_operator erf_operator = {
    UNARY_OPERATOR("erf", "the error function", "y = 2/sqrt(pi) * integral of exp(-t^2) over [0, x]", erf_infer)};
const struct flow_operator floor_operator = {
    UNARY_OPERATOR("floor", "the next whole number below", "y = max {k whole: k <= x}; derivative 0", floor_infer)};
const struct flow_operator round_operator = {UNARY_OPERATOR("round", "the nearest whole number, halves to the even one",
                                                            "y = x to the nearest, ties to even; derivative 0", round_infer)};
