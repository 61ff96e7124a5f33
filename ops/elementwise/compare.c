/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons, which give bool, and logic on bool. */
#include "elementwise/elementwise.h"

#include "common/shape.h"

#include <math.h>

struct compare_attrs {
    double value;
};

static const struct flow_attr compare_attrs[] = {
    FLOW_ATTR(struct compare_attrs, value, "stands in for b", FLOW_ABSENT, FLOW_NO_MIN, FLOW_NO_MAX)};

static const struct flow_port equal_in[] = {
    {"a", "any shape; both broadcast", NULL, FLOW_TYPES_ANY, FLOW_STRIDED | FLOW_NO_GRAD},
    {"b", "as a; left out where value is given", NULL, FLOW_TYPES_ANY, FLOW_STRIDED | FLOW_NO_GRAD | FLOW_OPTIONAL},
};
static const struct flow_port order_in[] = {
    {"a", "any shape; both broadcast", NULL, FLOW_TYPES_NUMBER, FLOW_STRIDED | FLOW_NO_GRAD},
    {"b", "as a; left out where value is given", NULL, FLOW_TYPES_NUMBER, FLOW_STRIDED | FLOW_NO_GRAD | FLOW_OPTIONAL},
};
static const struct flow_port logic_in[] = {
    {"a", "any shape; both broadcast", NULL, FLOW_TYPE(BOOL), FLOW_STRIDED},
    {"b", "as a", NULL, FLOW_TYPE(BOOL), FLOW_STRIDED},
};
static const struct flow_port not_in[] = {{"x", "any shape", "...", FLOW_TYPE(BOOL), FLOW_STRIDED}};
static const struct flow_port bool_out[] = {{"y", "the broadcast shape", NULL, FLOW_TYPE(BOOL), 0}};
static const struct flow_port bool_out_in_place[] = {{"y", "the broadcast shape", NULL, FLOW_TYPE(BOOL), FLOW_INPLACE(0)}};

static void plan_pair(struct elementwise *e, const struct flow_tensor *out, const struct flow_tensor *in) {
    struct flow_tensor value = {.dtype = in[0].dtype, .rank = 0};
    const struct flow_tensor *pair[2] = {&in[0], e->constant ? &value : &in[1]};
    map_plan(&e->map, out, pair, 2, 0.15);
}

static int binary_infer(struct flow_infer *infer, int32_t op) {
    struct elementwise *e = infer->priv;
    int32_t dtype = infer->in[0].dtype;
    infer->out[0].dtype = FLOW_BOOL;
    int status = shape_broadcast(infer, 0, 1, &infer->out[0]);
    if (status < 0) return status;
    e->op = op;
    e->narrow = dtype == FLOW_F16 || dtype == FLOW_BF16;
    e->kernel = ISA_PICK(compare_table, infer->host->isa)->of[e->narrow ? FLOW_F32 : dtype];
    plan_pair(e, &infer->out[0], infer->in);
    infer->flops = (double)e->map.count;
    infer->bytes = (double)(e->map.count * (2 * e->map.bytes[0] + 1));
    return FLOW_OK;
}

static int compare_infer(struct flow_infer *infer, int32_t op) {
    const struct compare_attrs *a = infer->attrs;
    struct elementwise *e = infer->priv;
    bool pair = infer->in_count > 1 && infer->in[1].rank >= 0;
    e->constant = !isnan(a->value);
    if (!pair && !e->constant) return infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "one input and no value: b or value is needed");
    if (pair && e->constant)
        return infer->host->fail_at(infer->owner, "value", FLOW_ERROR_USAGE, "both b and value are given: one of them is needed");
    int32_t dtype = infer->in[0].dtype;
    if (e->constant) {
        int status = elementwise_value(infer, e, "value", a->value, dtype == FLOW_F16 || dtype == FLOW_BF16 ? FLOW_F32 : dtype);
        if (status < 0) return status;
    }
    return binary_infer(infer, op);
}

static int compare_forward(const struct flow_call *call) {
    const struct elementwise *e = call->priv;
    const void *in[2] = {call->in[0].data, e->constant ? &e->value : call->in[1].data};
    if (e->narrow) {
        struct elementwise wide = *e;
        plan_pair(&wide, &call->out[0], call->in);
        map_run(&wide.map, call, e->kernel, &wide, in, call->out[0].data);
        return FLOW_OK;
    }
    map_run(&e->map, call, e->kernel, e, in, call->out[0].data);
    return FLOW_OK;
}

static int eq_infer(struct flow_infer *infer) { return compare_infer(infer, COMPARE_EQ); }
static int ne_infer(struct flow_infer *infer) { return compare_infer(infer, COMPARE_NE); }
static int lt_infer(struct flow_infer *infer) { return compare_infer(infer, COMPARE_LT); }
static int le_infer(struct flow_infer *infer) { return compare_infer(infer, COMPARE_LE); }
static int gt_infer(struct flow_infer *infer) { return compare_infer(infer, COMPARE_GT); }
static int ge_infer(struct flow_infer *infer) { return compare_infer(infer, COMPARE_GE); }
static int and_infer(struct flow_infer *infer) { return binary_infer(infer, LOGIC_AND); }
static int or_infer(struct flow_infer *infer) { return binary_infer(infer, LOGIC_OR); }

static int not_infer(struct flow_infer *infer) {
    struct elementwise *e = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    infer->out[0].dtype = FLOW_BOOL;
    shape_like(&infer->out[0], x);
    e->op = LOGIC_NOT;
    e->kernel = ISA_PICK(compare_table, infer->host->isa)->of[FLOW_BOOL];
    map_plan(&e->map, &infer->out[0], &x, 1, 0.1);
    infer->bytes = 2.0 * (double)e->map.count;
    return FLOW_OK;
}

static int not_forward(const struct flow_call *call) {
    const struct elementwise *e = call->priv;
    const void *in[2] = {call->in[0].data, call->in[0].data};
    map_run(&e->map, call, e->kernel, e, in, call->out[0].data);
    return FLOW_OK;
}

static const struct flow_kernel compare_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = ELEMENTWISE_NUMBERS | FLOW_TYPE(BOOL), .forward = compare_forward}};
static const struct flow_kernel not_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(BOOL), .forward = not_forward}};

#define COMPARE_OPERATOR(text, about, formula, ports, function)                                                                  \
    .size = sizeof(struct flow_operator), .flags = FLOW_OP_POINTWISE, .name = text, .summary = about, .equation = formula,       \
    .reference = "elementary; IEEE 754: NaN equals nothing and is in no order", .example = "y: {op: " text ", in: [a, b]}",      \
    .inputs = FLOW_TABLE(ports), .outputs = FLOW_TABLE(bool_out), .attrs = FLOW_TABLE(compare_attrs),                            \
    .attrs_size = sizeof(struct compare_attrs), .kernels = FLOW_TABLE(compare_kernels), .priv_size = sizeof(struct elementwise), \
    .infer = function
#define LOGIC_OPERATOR(text, about, formula, function)                                                                         \
    .size = sizeof(struct flow_operator), .flags = FLOW_OP_POINTWISE, .name = text, .summary = about, .equation = formula,     \
    .reference = "elementary", .example = "y: {op: " text ", in: [a, b]}", .inputs = FLOW_TABLE(logic_in),                     \
    .outputs = FLOW_TABLE(bool_out_in_place), .kernels = FLOW_TABLE(compare_kernels), .priv_size = sizeof(struct elementwise), \
    .infer = function

const struct flow_operator eq_operator = {COMPARE_OPERATOR("eq", "equal", "y = a == b", equal_in, eq_infer)};
const struct flow_operator ne_operator = {COMPARE_OPERATOR("ne", "not equal", "y = a != b", equal_in, ne_infer)};
const struct flow_operator lt_operator = {COMPARE_OPERATOR("lt", "less", "y = a < b", order_in, lt_infer)};
const struct flow_operator le_operator = {COMPARE_OPERATOR("le", "less or equal", "y = a <= b", order_in, le_infer)};
const struct flow_operator gt_operator = {COMPARE_OPERATOR("gt", "greater", "y = a > b", order_in, gt_infer)};
const struct flow_operator ge_operator = {COMPARE_OPERATOR("ge", "greater or equal", "y = a >= b", order_in, ge_infer)};
const struct flow_operator and_operator = {LOGIC_OPERATOR("and", "both true", "y = a and b", and_infer)};
const struct flow_operator or_operator = {LOGIC_OPERATOR("or", "either true", "y = a or b", or_infer)};
const struct flow_operator not_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "not",
    .summary = "true where x is false",
    .equation = "y = not x",
    .reference = "elementary",
    .example = "y: {op: not, in: x}",
    .inputs = FLOW_TABLE(not_in),
    .outputs = FLOW_TABLE(bool_out_in_place),
    .kernels = FLOW_TABLE(not_kernels),
    .priv_size = sizeof(struct elementwise),
    .infer = not_infer,
};
