/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of elementwise operators. Each is a function of the arriving gradient g and at most two more tensors u, v (inputs or the
 * output), all broadcast to g's shape; where the input was broadcast, it is summed. Those that keep g's shape are written in one pass over
 * memory, in which g is read before it is overwritten.
 */
#ifndef OPS_ELEMENTWISE_BACKWARD_H
#define OPS_ELEMENTWISE_BACKWARD_H

#include "common/fold.h"

/* XX(name, tensors that it reads: 1 u, 2 v, value). p = u[i], q = v[i], d = g[i]; k0, k1: the operator's numbers. */
/* clang-format off */
#define BACK_LIST(XX) \
    XX(COPY, 0, d) \
    XX(NEG, 0, -d) \
    XX(MUL_A, 2, d * q) \
    XX(MUL_B, 1, d * p) \
    XX(DIV_A, 2, d / q) \
    XX(DIV_B, 3, -(d / q) * (p / q)) \
    XX(MOD_B, 3, -d * FLOOR(p / q)) \
    XX(POW_A, 3, q == 0 ? (REAL)0 : d * q * POW(p, q - 1)) \
    XX(POW_B, 3, p == 0 && q >= 0 ? (REAL)0 : d * POW(p, q) * LOG(p)) \
    XX(MINIMUM_A, 3, p < q ? d : p == q ? (REAL)0.5 * d : (REAL)0) \
    XX(MINIMUM_B, 3, q < p ? d : p == q ? (REAL)0.5 * d : (REAL)0) \
    XX(MAXIMUM_A, 3, p > q ? d : p == q ? (REAL)0.5 * d : (REAL)0) \
    XX(MAXIMUM_B, 3, q > p ? d : p == q ? (REAL)0.5 * d : (REAL)0) \
    XX(PRELU_X, 3, p > 0 ? d : d * q) \
    XX(PRELU_WEIGHT, 1, p > 0 ? (REAL)0 : d * p) \
    XX(GLU_SIGMOID_A, 2, d * SIGMOID(q)) \
    XX(GLU_SIGMOID_B, 3, d * p * SIGMOID_SLOPE(q)) \
    XX(GLU_SILU_A, 2, d * SILU(q)) \
    XX(GLU_SILU_B, 3, d * p * SILU_SLOPE(q)) \
    XX(GLU_GELU_A, 2, d * GELU(q)) \
    XX(GLU_GELU_B, 3, d * p * GELU_SLOPE(q)) \
    XX(GLU_RELU_A, 2, q > 0 ? d * q : (REAL)0) \
    XX(GLU_RELU_B, 3, q > 0 ? d * p : (REAL)0) \
    XX(GLU_TANH_A, 2, d * TANH(q)) \
    XX(GLU_TANH_B, 3, d * p * (1 - TANH(q) * TANH(q))) \
    XX(ZERO, 0, (REAL)0) \
    XX(ABS, 1, p > 0 ? d : p < 0 ? -d : (REAL)0) \
    XX(SQUARE, 1, 2 * d * p) \
    XX(CUBE, 1, 3 * d * p * p) \
    XX(POSITIVE, 1, p > 0 ? d : (REAL)0) /* relu, of y */ \
    XX(CLAMP, 1, p >= k0 && p <= k1 ? d : (REAL)0) \
    XX(LOG, 1, d / p) \
    XX(SQRT, 1, (REAL)0.5 * d / p) /* of y */ \
    XX(RSQRT, 1, (REAL)-0.5 * d * p * p * p) /* of y */ \
    XX(RECIPROCAL, 1, -d * p * p) /* of y */ \
    XX(ERF, 1, d * ERF_SLOPE(p)) \
    XX(LEAKY_RELU, 1, p > 0 ? d : k0 * d) /* of x or y */ \
    XX(ELU, 1, p > 0 ? d : d * (p + k0)) /* of y */ \
    XX(ELU_OF_X, 1, p > 0 ? d : d * k0 * EXP(p)) \
    XX(GELU, 1, d * GELU_SLOPE(p)) \
    XX(GELU_TANH, 1, d * GELU_TANH_SLOPE(p)) \
    XX(SILU, 1, d * SILU_SLOPE(p)) \
    XX(SIGMOID, 1, d * p * (1 - p)) /* of y */ \
    XX(TANH, 1, d * (1 - p * p)) /* of y */ \
    XX(SOFTPLUS, 1, -d * EXPM1(-p)) /* of y */ \
    XX(MISH, 1, d * MISH_SLOPE(p)) \
    XX(RELU_SQUARED, 1, p > 0 ? 2 * d * SQRT(p) : (REAL)0) /* of y */
/* clang-format on */

#define BACK_ENTRY(name, reads, value) BACK_##name,
enum {
    BACK_LIST(BACK_ENTRY)
    /* By code of their own. */
    BACK_WHERE_A, /* u is bool */
    BACK_WHERE_B,
    BACK_SIN, /* d cos p */
    BACK_COS, /* -d sin p */
    BACK_COUNT
};
#undef BACK_ENTRY

/* One gradient. to->rank -1: not wanted. */
struct back {
    int32_t op; /* BACK_* */
    const struct flow_tensor *to;
    bool add;
};

enum { BACK_MOST = 2 };

/* The kernels' context. */
struct back_work {
    int32_t jobs;
    bool held;        /* g's memory is overwritten by one of several: kept aside, block by block */
    const char *base; /* what `out` counts from: the offset is the same in all results. NULL: out is the result */
    double k[2];
    struct {
        int32_t op;
        bool add;
        char *to;
    } job[BACK_MOST];
};

struct back_table {
    map_kernel of[FLOW_TYPE_COUNT]; /* in: g, u, v */
};
ISA_DECLARE(struct back_table, back_table);

/* u and v may be NULL where none of the `count` functions reads them. Wants fold_workspace of the largest sum as workspace_backward. */
void back_run(const struct flow_call *call, const struct flow_tensor *u, const struct flow_tensor *v, const struct back *back,
              int32_t count, double k0, double k1);
/* Asks for what back_run needs to sum onto `to`. [plan] */
void back_plan(struct flow_infer *infer, const struct flow_tensor *to);

/* 1: u is read, 2: v is read. */
uint32_t back_reads(int32_t op);

#endif
