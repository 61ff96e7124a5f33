/* SPDX-License-Identifier: Apache-2.0 */
/* What the elementwise operators share: the numbers of their functions, and how a node of one or two inputs is planned and run. */
#ifndef OPS_ELEMENTWISE_ELEMENTWISE_H
#define OPS_ELEMENTWISE_ELEMENTWISE_H

#include "common/map.h"
#include "common/simd.h"

enum {
    UNARY_NEG,
    UNARY_ABS,
    UNARY_SIGN,
    UNARY_SQUARE,
    UNARY_RELU,
    UNARY_CLAMP, /* k[0], k[1]: bounds. So far integers, too */
    UNARY_EXP,
    UNARY_LOG,
    UNARY_SQRT,
    UNARY_RSQRT,
    UNARY_RECIPROCAL,
    UNARY_SIN,
    UNARY_COS,
    UNARY_ERF,
    UNARY_FLOOR,
    UNARY_ROUND,
    UNARY_LEAKY_RELU, /* k[0]: slope */
    UNARY_ELU,        /* k[0]: alpha */
    UNARY_GELU,
    UNARY_GELU_TANH,
    UNARY_SILU,
    UNARY_SIGMOID,
    UNARY_TANH,
    UNARY_SOFTPLUS,
    UNARY_MISH,
    UNARY_RELU_SQUARED
};

enum {
    BINARY_ADD,
    BINARY_SUB,
    BINARY_MUL,
    BINARY_MINIMUM,
    BINARY_MAXIMUM,
    BINARY_DIV,
    BINARY_MOD,
    BINARY_POW,
    /* Forms of pow with one exponent: a alone is read. */
    BINARY_SQUARE,
    BINARY_CUBE,
    BINARY_ROOT,
    BINARY_RECIPROCAL,
    /* Of two inputs within other operators. */
    BINARY_PRELU, /* a > 0 ? a : b a */
    BINARY_GLU_SIGMOID,
    BINARY_GLU_SILU,
    BINARY_GLU_GELU,
    BINARY_GLU_RELU,
    BINARY_GLU_TANH
};

enum { COMPARE_EQ, COMPARE_NE, COMPARE_LT, COMPARE_LE, COMPARE_GT, COMPARE_GE, LOGIC_AND, LOGIC_OR, LOGIC_NOT };

/* Kernels of one instruction set by element type; NULL: the type has none. Their context is a struct elementwise. */
struct elementwise_table {
    map_kernel of[FLOW_TYPE_COUNT];
};
ISA_DECLARE(struct elementwise_table, unary_table);
ISA_DECLARE(struct elementwise_table, binary_table);
ISA_DECLARE(struct elementwise_table, compare_table);
ISA_DECLARE(struct elementwise_table, where_table); /* by type, though only its bytes count */

/* A planned node. */
struct elementwise {
    struct map map;
    map_kernel kernel;
    int32_t op;
    uint32_t inputs; /* of sums, products, minima, maxima */
    bool narrow;     /* f16 or bf16: the runtime hands over widened copies, so that the case is sorted out in the call */
    bool constant;   /* `value` stands in for b */
    bool all_flat;   /* more than two inputs, all laid out like the output */
    double k[2];     /* a unary function's parameters */
    int32_t back;    /* BACK_*: a unary function's gradient */
    bool back_of_y;  /* ... which reads the output, not the input */
    union {
        float f32;
        double f64;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
    } value;
};

/* x of any strides -> y of its shape and type. [plan] */
int elementwise_unary(struct flow_infer *infer, int32_t op, double k0, double k1, double cost);
/* Writes `number` into e->value as `dtype`; fails where the type cannot hold it. [plan] */
int elementwise_value(struct flow_infer *infer, struct elementwise *e, const char *name, double number, int32_t dtype);

int elementwise_unary_forward(const struct flow_call *call);
int elementwise_unary_backward(const struct flow_call *call);

/* The rows of tables that most have in common. */
extern const struct flow_port elementwise_x[1], elementwise_y[1], elementwise_x_number[1], elementwise_y_number[1];
extern const struct flow_kernel elementwise_unary_kernels[1], elementwise_unary_kernels_number[1];
#define ELEMENTWISE_NUMBERS (FLOW_TYPES_REAL | FLOW_TYPES_INTEGER) /* what kernels are written for */

#define ELEMENTWISE_COMMON                                                                                                     \
    .size = sizeof(struct flow_operator), .flags = FLOW_OP_POINTWISE, .outputs = {1, sizeof(struct flow_port), elementwise_y}, \
    .priv_size = sizeof(struct elementwise)

#endif
