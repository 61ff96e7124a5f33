/* SPDX-License-Identifier: Apache-2.0 */
#include "reduce/reduce.h"

#include <math.h>

#define TYPES_SUMMED (FLOW_TYPES_FLOAT | FLOW_TYPE(I32) | FLOW_TYPE(I64))

static const struct flow_port number_inputs[] = {{"x", "of any shape", NULL, TYPES_SUMMED, 0}};
static const struct flow_port number_outputs[] = {
    {"y", "one element for all that differ in the reduced axes alone", NULL, TYPES_SUMMED, 0}};
static const struct flow_port float_inputs[] = {{"x", "of any shape", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port float_outputs[] = {
    {"y", "one element for all that differ in the reduced axes alone", NULL, FLOW_TYPES_FLOAT, 0}};
static const struct flow_port logic_inputs[] = {{"x", "of any shape", NULL, FLOW_TYPE(BOOL), 0}};
static const struct flow_port logic_outputs[] = {
    {"y", "one element for all that differ in the reduced axes alone", NULL, FLOW_TYPE(BOOL), 0}};

#define ATTR_AXES \
    FLOW_ATTR(struct reduce_attrs, axes, "axes to reduce, an integer or a list; all where absent", FLOW_ABSENT, FLOW_NO_MIN, FLOW_NO_MAX)
#define ATTR_KEEP FLOW_ATTR_PLAIN(struct reduce_attrs, keep, "keep reduced axes with extent 1", "false")

static const struct flow_attr attributes[] = {ATTR_AXES, ATTR_KEEP};
static const struct flow_attr norm_attributes[] = {
    ATTR_AXES,
    ATTR_KEEP,
    FLOW_ATTR(struct reduce_attrs, p, "power; 1 sums magnitudes, .inf takes the largest, 0 counts what is not 0", "2", 0, (double)INFINITY),
};
static const struct flow_attr var_attributes[] = {
    ATTR_AXES,
    ATTR_KEEP,
    FLOW_ATTR_PLAIN(struct reduce_attrs, unbiased, "divide by the count less 1", "false"),
};

static const struct flow_kernel number_kernels[] = {
    {.device = FLOW_DEVICE_CPU,
     .types = FLOW_TYPES_REAL | FLOW_TYPE(I32) | FLOW_TYPE(I64),
     .forward = reduce_forward,
     .backward = reduce_backward},
};
static const struct flow_kernel float_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = reduce_forward, .backward = reduce_backward},
};
static const struct flow_kernel logic_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(BOOL), .forward = reduce_forward},
};

static int sum_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_SUM); }
static int mean_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_MEAN); }
static int amax_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_MAX); }
static int amin_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_MIN); }
static int prod_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_PRODUCT); }
static int logsumexp_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_LOG_SUM_EXP); }
static int norm_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_NORM); }
static int var_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_VAR); }
static int any_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_ANY); }
static int all_infer(struct flow_infer *infer) { return reduce_infer(infer, REDUCE_ALL); }

/* What differs between these operators: ports' types, attributes, words. */
#define REDUCE_TABLES(kind, rows)                                                                                     \
    .size = sizeof(struct flow_operator), .inputs = FLOW_TABLE(kind##_inputs), .outputs = FLOW_TABLE(kind##_outputs), \
    .attrs = FLOW_TABLE(rows), .kernels = FLOW_TABLE(kind##_kernels), .attrs_size = sizeof(struct reduce_attrs),      \
    .priv_size = sizeof(struct reduce_plan)

extern const struct flow_operator reduce_sum, reduce_mean, reduce_amax, reduce_amin, reduce_prod, reduce_logsumexp, reduce_norm, reduce_var,
    reduce_any, reduce_all;

const struct flow_operator reduce_sum = {
    REDUCE_TABLES(number, attributes),
    .name = "sum",
    .summary = "Sums over axes; of nothing 0",
    .equation = "y = sum x",
    .reference = "Higham, The Accuracy of Floating Point Summation, 1993, section 3",
    .example = "y: {op: sum, in: x, with: {axes: [-1]}}",
    .infer = sum_infer,
};
const struct flow_operator reduce_mean = {
    REDUCE_TABLES(float, attributes),
    .name = "mean",
    .summary = "Means over axes",
    .equation = "y = sum x / n, n the number of elements summed",
    .reference = "Higham, The Accuracy of Floating Point Summation, 1993, section 3",
    .example = "y: {op: mean, in: x, with: {axes: [-1], keep: true}}",
    .infer = mean_infer,
};
const struct flow_operator reduce_amax = {
    REDUCE_TABLES(number, attributes),
    .name = "amax",
    .summary = "The largest over axes; NaN where there is one",
    .equation = "y = max x; its gradient goes to the first of equals",
    .reference = "IEEE 754-2019, section 9.6, maximum",
    .example = "y: {op: amax, in: x, with: {axes: [0]}}",
    .infer = amax_infer,
};
const struct flow_operator reduce_amin = {
    REDUCE_TABLES(number, attributes),
    .name = "amin",
    .summary = "The smallest over axes; NaN where there is one",
    .equation = "y = min x; its gradient goes to the first of equals",
    .reference = "IEEE 754-2019, section 9.6, minimum",
    .example = "y: {op: amin, in: x, with: {axes: [0]}}",
    .infer = amin_infer,
};
const struct flow_operator reduce_prod = {
    REDUCE_TABLES(number, attributes),
    .name = "prod",
    .summary = "Products over axes; of nothing 1",
    .equation = "y = prod x",
    .reference = "Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1",
    .example = "y: {op: prod, in: x, with: {axes: [-1]}}",
    .infer = prod_infer,
};
const struct flow_operator reduce_logsumexp = {
    REDUCE_TABLES(float, attributes),
    .name = "logsumexp",
    .summary = "Logarithms of sums of exponentials over axes, without overflow; of nothing -inf",
    .equation = "y = m + log sum exp(x - m), m = max x",
    .reference = "Blanchard, Higham, Higham, Accurately Computing the Log-Sum-Exp and Softmax Functions, 2021, equation 1.3",
    .example = "y: {op: logsumexp, in: x, with: {axes: [-1]}}",
    .infer = logsumexp_infer,
};
const struct flow_operator reduce_norm = {
    REDUCE_TABLES(float, norm_attributes),
    .name = "norm",
    .summary = "p-norms over axes; of nothing 0",
    .equation = "y = (sum |x|^p)^(1/p); its gradient is 0 where y is, and with p = .inf goes to the first of equals",
    .reference = "Golub, Van Loan, Matrix Computations, 4th edition, section 2.2",
    .example = "y: {op: norm, in: x, with: {axes: [-1]}}",
    .infer = norm_infer,
};
const struct flow_operator reduce_var = {
    REDUCE_TABLES(float, var_attributes),
    .name = "var",
    .summary = "Variances over axes, in two passes",
    .equation = "y = sum (x - mean x)^2 / n; unbiased: / (n - 1)",
    .reference = "Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance, 1983, equation 1.1",
    .example = "y: {op: var, in: x, with: {axes: [-1]}}",
    .infer = var_infer,
};
const struct flow_operator reduce_any = {
    REDUCE_TABLES(logic, attributes),
    .name = "any",
    .summary = "True where one is true; of nothing false",
    .equation = "y = x0 or x1 or ...",
    .reference = "NumPy, numpy.any",
    .example = "y: {op: any, in: mask, with: {axes: [-1]}}",
    .infer = any_infer,
};
const struct flow_operator reduce_all = {
    REDUCE_TABLES(logic, attributes),
    .name = "all",
    .summary = "True where every one is true; of nothing true",
    .equation = "y = x0 and x1 and ...",
    .reference = "NumPy, numpy.all",
    .example = "y: {op: all, in: mask, with: {axes: [-1]}}",
    .infer = all_infer,
};
