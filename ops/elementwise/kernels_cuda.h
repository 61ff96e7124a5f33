/* SPDX-License-Identifier: Apache-2.0 */
/* The elementwise family's kernels for CUDA. */
#ifndef OPS_ELEMENTWISE_KERNELS_CUDA_H
#define OPS_ELEMENTWISE_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_unary_forward(const struct flow_call *call);
int cuda_unary_backward(const struct flow_call *call);
int cuda_pair_forward(const struct flow_call *call);
int cuda_pair_backward(const struct flow_call *call);
int cuda_pair_plan(struct flow_infer *infer);
int cuda_chain_backward(const struct flow_call *call);
bool cuda_chain_supports(const struct flow_infer *infer);
int cuda_prelu_forward(const struct flow_call *call);
int cuda_prelu_backward(const struct flow_call *call);
int cuda_prelu_plan(struct flow_infer *infer);
int cuda_glu_forward(const struct flow_call *call);
int cuda_glu_backward(const struct flow_call *call);
int cuda_glu_plan(struct flow_infer *infer);
int cuda_compare_forward(const struct flow_call *call);
int cuda_not_forward(const struct flow_call *call);
int cuda_where_forward(const struct flow_call *call);
int cuda_where_backward(const struct flow_call *call);
int cuda_where_plan(struct flow_infer *infer);
int cuda_cast_forward(const struct flow_call *call);
int cuda_cast_backward(const struct flow_call *call);
int cuda_dropout_forward(const struct flow_call *call);
int cuda_dropout_backward(const struct flow_call *call);

#ifdef __cplusplus
}
#endif

#define CUDA_ELEMENTWISE_NUMBERS (FLOW_TYPES_REAL | FLOW_TYPES_INTEGER)

/* clang-format off */
#define CUDA_ELEMENTWISE_UNARY(name, set) \
    {.op = name, .device = FLOW_DEVICE_CUDA, .types = set, .forward = cuda_unary_forward, .backward = cuda_unary_backward},
#define CUDA_ELEMENTWISE_PAIR(name) \
    {.op = name, .device = FLOW_DEVICE_CUDA, .types = CUDA_ELEMENTWISE_NUMBERS, .forward = cuda_pair_forward, \
     .backward = cuda_pair_backward, .plan = cuda_pair_plan},
#define CUDA_ELEMENTWISE_MANY(name) \
    {.op = name, .device = FLOW_DEVICE_CUDA, .types = CUDA_ELEMENTWISE_NUMBERS, .supports = cuda_chain_supports, \
     .forward = cuda_pair_forward, .backward = cuda_pair_backward, .plan = cuda_pair_plan},
#define CUDA_ELEMENTWISE_COMPARE(name) \
    {.op = name, .device = FLOW_DEVICE_CUDA, .types = CUDA_ELEMENTWISE_NUMBERS | FLOW_TYPE(BOOL), .forward = cuda_compare_forward},

#define CUDA_KERNELS_ELEMENTWISE \
    CUDA_ELEMENTWISE_UNARY("neg", CUDA_ELEMENTWISE_NUMBERS) CUDA_ELEMENTWISE_UNARY("abs", CUDA_ELEMENTWISE_NUMBERS) \
    CUDA_ELEMENTWISE_UNARY("sign", CUDA_ELEMENTWISE_NUMBERS) CUDA_ELEMENTWISE_UNARY("square", CUDA_ELEMENTWISE_NUMBERS) \
    CUDA_ELEMENTWISE_UNARY("relu", CUDA_ELEMENTWISE_NUMBERS) CUDA_ELEMENTWISE_UNARY("clamp", CUDA_ELEMENTWISE_NUMBERS) \
    CUDA_ELEMENTWISE_UNARY("exp", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("log", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("sqrt", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("rsqrt", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("reciprocal", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("sin", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("cos", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("erf", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("floor", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("round", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("leaky_relu", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("elu", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("gelu", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("silu", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("sigmoid", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("tanh", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("softplus", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_UNARY("mish", FLOW_TYPES_REAL) \
    CUDA_ELEMENTWISE_UNARY("relu_squared", FLOW_TYPES_REAL) CUDA_ELEMENTWISE_PAIR("add") CUDA_ELEMENTWISE_PAIR("sub") \
    CUDA_ELEMENTWISE_PAIR("div") CUDA_ELEMENTWISE_PAIR("mod") CUDA_ELEMENTWISE_PAIR("pow") CUDA_ELEMENTWISE_MANY("mul") \
    CUDA_ELEMENTWISE_MANY("minimum") CUDA_ELEMENTWISE_MANY("maximum") CUDA_ELEMENTWISE_COMPARE("eq") CUDA_ELEMENTWISE_COMPARE("ne") \
    CUDA_ELEMENTWISE_COMPARE("lt") CUDA_ELEMENTWISE_COMPARE("le") CUDA_ELEMENTWISE_COMPARE("gt") CUDA_ELEMENTWISE_COMPARE("ge") \
    CUDA_ELEMENTWISE_COMPARE("and") CUDA_ELEMENTWISE_COMPARE("or") \
    {.op = "not", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPE(BOOL), .forward = cuda_not_forward}, \
    {.op = "prelu", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_prelu_forward, .backward = cuda_prelu_backward, \
     .plan = cuda_prelu_plan}, \
    {.op = "glu", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_glu_forward, .backward = cuda_glu_backward, \
     .plan = cuda_glu_plan}, \
    {.op = "where", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_where_forward, .backward = cuda_where_backward, \
     .plan = cuda_where_plan}, \
    {.op = "cast", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_cast_forward, .backward = cuda_cast_backward}, \
    {.op = "dropout", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_dropout_forward, \
     .backward = cuda_dropout_backward},
/* clang-format on */

#endif
