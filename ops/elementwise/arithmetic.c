/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of two inputs that broadcast; sums, products, minima and maxima of any number of inputs. */
#include "elementwise/backward.h"
#include "elementwise/chain.h"
#include "elementwise/elementwise.h"

#include "common/shape.h"

#include <math.h>

struct value_attrs {
    double value;
};

static const struct flow_attr value_attrs[] = {
    FLOW_ATTR(struct value_attrs, value, "stands in for b", FLOW_ABSENT, FLOW_NO_MIN, FLOW_NO_MAX)};

static const struct flow_port pair_in[] = {
    {"a", "any shape; all broadcast", NULL, FLOW_TYPES_NUMBER, FLOW_STRIDED},
    {"b", "as a; left out where value is given", NULL, FLOW_TYPES_NUMBER, FLOW_STRIDED | FLOW_OPTIONAL},
};
static const struct flow_port many_in[] = {
    {"a", "any shape; all broadcast", NULL, FLOW_TYPES_NUMBER, FLOW_STRIDED},
    {"b", "as a; left out where value is given", NULL, FLOW_TYPES_NUMBER, FLOW_STRIDED | FLOW_OPTIONAL},
    {"c", "more inputs", NULL, FLOW_TYPES_NUMBER, FLOW_STRIDED | FLOW_OPTIONAL | FLOW_VARIADIC},
};
static const struct flow_port pair_out[] = {{"y", "the broadcast shape, the inputs' type", NULL, FLOW_TYPES_NUMBER, FLOW_INPLACE(0)}};

int elementwise_value(struct flow_infer *infer, struct elementwise *e, const char *name, double number, int32_t dtype) {
    double least = 0, beyond = 0;
    switch (dtype) {
    case FLOW_F64: e->value.f64 = number; return FLOW_OK;
    case FLOW_I32: least = -0x1p31, beyond = 0x1p31; break;
    case FLOW_I64: least = -0x1p63, beyond = 0x1p63; break;
    case FLOW_U8: beyond = 256; break;
    case FLOW_BOOL: beyond = 2; break;
    default: e->value.f32 = (float)number; return FLOW_OK;
    }
    if (!(number >= least && number < beyond && number == floor(number)))
        return infer->host->fail_at(infer->owner, name, FLOW_ERROR_RANGE, "%g: the input is %s, which has no such value", number,
                                    shape_type_name(dtype));
    if (dtype == FLOW_I32) e->value.i32 = (int32_t)number;
    else if (dtype == FLOW_I64) e->value.i64 = (int64_t)number;
    else e->value.u8 = (uint8_t)number;
    return FLOW_OK;
}

/* pow with one exponent: the exponents that need no logarithm. */
static int32_t pow_form(double exponent, int32_t dtype) {
    if (dtype == FLOW_I32 || dtype == FLOW_I64 || dtype == FLOW_U8) return BINARY_POW;
    if (exponent == 2) return BINARY_SQUARE;
    if (exponent == 3) return BINARY_CUBE;
    if (exponent == 0.5) return BINARY_ROOT;
    if (exponent == -1) return BINARY_RECIPROCAL;
    return BINARY_POW;
}

/* The number of inputs behind the first; they fill b and what follows without a gap. */
static uint32_t others_of(uint32_t count, const struct flow_tensor *in) {
    uint32_t n = 0;
    while (n + 1 < count && in[n + 1].rank >= 0) n++;
    return n;
}

static void plan_pair(struct elementwise *e, const struct flow_tensor *out, const struct flow_tensor *in, double cost) {
    struct flow_tensor value = {.dtype = out->dtype, .rank = 0};
    const struct flow_tensor *pair[2] = {&in[0], e->constant ? &value : &in[1]};
    map_plan(&e->map, out, pair, 2, cost);
}

/* What backward reads, and which inputs just get the gradient that arrives. */
static void pair_differentiated(struct flow_infer *infer, const struct elementwise *e) {
    const struct flow_tensor *y = &infer->out[0];
    bool first = e->op == BINARY_SQUARE || e->op == BINARY_CUBE || (e->constant && e->op != BINARY_MUL && e->op != BINARY_DIV);
    infer->backward_reads_in = first ? 1 : UINT64_MAX, infer->backward_reads_out = 0;
    switch (e->op) {
    case BINARY_ADD:
    case BINARY_SUB: infer->backward_reads_in = 0; break;
    case BINARY_MUL:
    case BINARY_DIV:
    case BINARY_MOD:
        if (e->constant) infer->backward_reads_in = 0;
        break;
    case BINARY_ROOT:
    case BINARY_RECIPROCAL: infer->backward_reads_in = 0, infer->backward_reads_out = 1; break;
    default: break;
    }
    if (e->inputs > 2 && e->op != BINARY_ADD) {
        infer->workspace_backward = chain_workspace(infer->in, e->inputs, y);
        return;
    }
    bool rest = true; /* from the 64th on all pass, or none does */
    for (uint32_t i = 0; i < e->inputs; i++) {
        bool same = shape_same(&infer->in[i], y),
             passes = same && (e->op == BINARY_ADD || (i == 0 && (e->op == BINARY_SUB || e->op == BINARY_MOD)));
        if (passes && i < 63) infer->backward_passes_in |= (uint64_t)1 << i;
        if (i >= 63) rest = rest && passes;
        if (!same) back_plan(infer, &infer->in[i]);
    }
    if (e->inputs > 63 && rest) infer->backward_passes_in |= (uint64_t)1 << 63;
}

static int pair_infer(struct flow_infer *infer, int32_t op, double cost) {
    const struct value_attrs *a = infer->attrs;
    struct elementwise *e = infer->priv;
    struct flow_tensor *y = &infer->out[0];
    int32_t dtype = infer->in[0].dtype;
    uint32_t others = others_of(infer->in_count, infer->in);
    e->op = op, e->constant = !isnan(a->value);
    if (others == 0 && !e->constant)
        return infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "one input and no value: b or value is needed");
    if (others > 0 && e->constant)
        return infer->host->fail_at(infer->owner, "value", FLOW_ERROR_USAGE, "both b and value are given: one of them is needed");
    y->dtype = dtype;
    int status = shape_broadcast(infer, 0, others, y);
    if (status < 0) return status;
    e->narrow = dtype == FLOW_F16 || dtype == FLOW_BF16;
    if (e->constant) {
        status = elementwise_value(infer, e, "value", a->value, e->narrow ? FLOW_F32 : dtype);
        if (status < 0) return status;
        if (op == BINARY_POW) e->op = pow_form(a->value, dtype);
        if (e->op != BINARY_POW && op == BINARY_POW) cost = 0.2;
    }
    e->kernel = ISA_PICK(binary_table, infer->host->isa)->of[e->narrow ? FLOW_F32 : dtype];
    e->inputs = others + 1;
    e->all_flat = others > 1;
    for (uint32_t i = 0; i <= others; i++)
        if (!shape_same(&infer->in[i], y) || !shape_is_dense(&infer->in[i])) e->all_flat = false;
    /* Of more than two inputs the first pair is mapped onto the whole result, then each further one joins. */
    plan_pair(e, y, infer->in, cost);
    if (op == BINARY_ADD && others == 1 && shape_same(&infer->in[0], y) && shape_same(&infer->in[1], y)) infer->is = FLOW_IS_SUM;
    infer->flops = (double)e->map.count * (others > 0 ? others : 1);
    infer->bytes = (double)(e->map.count * e->map.out_bytes) * (2.0 + others);
    if (infer->differentiated) pair_differentiated(infer, e);
    return FLOW_OK;
}

static int wrong_element(const struct flow_call *call, const struct elementwise *e, int64_t index) {
    return call->host->fail(call->owner, FLOW_ERROR_RANGE, "%s at element %lld of the result (counted in row-major order)",
                            e->op == BINARY_POW ? "an integer to a negative power" : "an integer divided by 0", (long long)index);
}

/* More than two inputs laid out alike: each stretch of the result stays in the cache until it is complete. */
struct chain {
    const struct flow_call *call;
    const struct elementwise *e;
};
static void chain_piece(void *context, int64_t begin, int64_t end) {
    enum { STRETCH = 2048 };
    const struct chain *c = context;
    const struct flow_call *call = c->call;
    int64_t bytes = c->e->map.out_bytes;
    for (int64_t i = begin; i < end; i += STRETCH) {
        int64_t n = end - i < STRETCH ? end - i : STRETCH;
        char *y = (char *)call->out[0].data + i * bytes;
        const void *in[2] = {(const char *)call->in[0].data + i * bytes, NULL};
        for (uint32_t k = 1; k < c->e->inputs; k++) {
            in[1] = (const char *)call->in[k].data + i * bytes;
            c->e->kernel(c->e, in, y, n, 0);
            in[0] = y;
        }
    }
}

static int many_forward(const struct flow_call *call, const struct elementwise *e) {
    if (e->all_flat) {
        struct chain chain = {call, e};
        if (e->map.count <= e->map.grain || call->host->threads < 2) chain_piece(&chain, 0, e->map.count);
        else call->host->parallel_for(call, e->map.count, e->map.grain, chain_piece, &chain);
        return FLOW_OK;
    }
    const void *in[2] = {call->in[0].data, call->in[1].data};
    map_run(&e->map, call, e->kernel, e, in, call->out[0].data);
    in[0] = call->out[0].data;
    for (uint32_t k = 2; k < e->inputs; k++) {
        struct map map;
        const struct flow_tensor *pair[2] = {&call->out[0], &call->in[k]};
        in[1] = call->in[k].data;
        map_plan(&map, &call->out[0], pair, 2, 0.2);
        map_run(&map, call, e->kernel, e, in, call->out[0].data);
    }
    return FLOW_OK;
}

static int pair_forward(const struct flow_call *call) {
    const struct elementwise *e = call->priv;
    if (e->narrow) {
        struct elementwise wide = *e;
        plan_pair(&wide, &call->out[0], call->in, 0.5);
        if (e->inputs > 2) return many_forward(call, &wide);
        const void *in[2] = {call->in[0].data, e->constant ? &e->value : call->in[1].data};
        map_run(&wide.map, call, e->kernel, &wide, in, call->out[0].data);
        return FLOW_OK;
    }
    if (e->inputs > 2) return many_forward(call, e);
    const void *in[2] = {call->in[0].data, e->constant ? &e->value : call->in[1].data};
    int64_t wrong = map_run(&e->map, call, e->kernel, e, in, call->out[0].data);
    return wrong < 0 ? FLOW_OK : wrong_element(call, e, wrong);
}

/* The gradients' functions by the forward one; u is a (or y), v is b. */
static void pair_functions(int32_t op, int32_t of[2]) {
    switch (op) {
#define CASE(name) \
    case BINARY_##name: of[0] = BACK_##name##_A, of[1] = BACK_##name##_B; break;
        CASE(MUL)
        CASE(DIV)
        CASE(POW)
        CASE(MINIMUM)
        CASE(MAXIMUM)
#undef CASE
    case BINARY_SUB: of[0] = BACK_COPY, of[1] = BACK_NEG; break;
    case BINARY_MOD: of[0] = BACK_COPY, of[1] = BACK_MOD_B; break;
    case BINARY_SQUARE: of[0] = BACK_SQUARE; break;
    case BINARY_CUBE: of[0] = BACK_CUBE; break;
    case BINARY_ROOT: of[0] = BACK_SQRT; break;
    case BINARY_RECIPROCAL: of[0] = BACK_RECIPROCAL; break;
    default: of[0] = of[1] = BACK_COPY; break;
    }
}

static int pair_backward(const struct flow_call *call) {
    const struct elementwise *e = call->priv;
    const struct flow_tensor value = {.data = (void *)(uintptr_t)&e->value, .dtype = call->grad_in[0].dtype};
    bool of_y = e->op == BINARY_ROOT || e->op == BINARY_RECIPROCAL;
    int32_t of[2];
    if (e->inputs > 2 && e->op != BINARY_ADD) return chain_backward(call, e->op, e->inputs);
    pair_functions(e->op, of);
    for (uint32_t i = 0; i < e->inputs; i += 2) {
        struct back back[2];
        int32_t count = e->constant || i + 1 == e->inputs ? 1 : 2;
        for (int32_t k = 0; k < count; k++) {
            uint32_t input = i + (uint32_t)k;
            back[k] = (struct back){of[k], &call->grad_in[input], FLOW_ACCUMULATES(call->accumulate_in, input)};
        }
        back_run(call, of_y ? &call->out[0] : &call->in[0], e->constant ? &value : &call->in[1], back, count, 0, 0);
    }
    return FLOW_OK;
}

static int add_infer(struct flow_infer *infer) { return pair_infer(infer, BINARY_ADD, 0.15); }
static int sub_infer(struct flow_infer *infer) { return pair_infer(infer, BINARY_SUB, 0.15); }
static int mul_infer(struct flow_infer *infer) { return pair_infer(infer, BINARY_MUL, 0.15); }
static int div_infer(struct flow_infer *infer) { return pair_infer(infer, BINARY_DIV, 0.2); }
static int mod_infer(struct flow_infer *infer) { return pair_infer(infer, BINARY_MOD, 10); }
static int pow_infer(struct flow_infer *infer) { return pair_infer(infer, BINARY_POW, 4); }
static int minimum_infer(struct flow_infer *infer) { return pair_infer(infer, BINARY_MINIMUM, 0.15); }
static int maximum_infer(struct flow_infer *infer) { return pair_infer(infer, BINARY_MAXIMUM, 0.15); }

static const struct flow_kernel pair_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = ELEMENTWISE_NUMBERS, .forward = pair_forward, .backward = pair_backward}};

#define PAIR_OPERATOR(text, about, formula, ports, function)                                                               \
    .size = sizeof(struct flow_operator), .flags = FLOW_OP_POINTWISE, .name = text, .summary = about, .equation = formula, \
    .reference = "elementary; broadcasting: NumPy's rule", .inputs = FLOW_TABLE(ports), .outputs = FLOW_TABLE(pair_out),   \
    .attrs = FLOW_TABLE(value_attrs), .attrs_size = sizeof(struct value_attrs), .kernels = FLOW_TABLE(pair_kernels),       \
    .priv_size = sizeof(struct elementwise), .infer = function

const struct flow_operator add_operator = {
    PAIR_OPERATOR("add", "the sum of two or more", "y = a + b + ...   (integers modulo 2^bits)", many_in, add_infer),
    .example = "sum: {op: add, in: [x, y, z]}"};
const struct flow_operator mul_operator = {
    PAIR_OPERATOR("mul", "the product of two or more", "y = a * b * ...   (integers modulo 2^bits)", many_in, mul_infer),
    .example = "y: {op: mul, in: x, with: {value: 0.5}}"};
const struct flow_operator minimum_operator = {PAIR_OPERATOR("minimum", "the least of two or more",
                                                             "y = min(a, b, ...); NaN where any is; gradient half to each at a tie",
                                                             many_in, minimum_infer),
                                               .example = "y: {op: minimum, in: [a, b]}"};
const struct flow_operator maximum_operator = {PAIR_OPERATOR("maximum", "the greatest of two or more",
                                                             "y = max(a, b, ...); NaN where any is; gradient half to each at a tie",
                                                             many_in, maximum_infer),
                                               .example = "y: {op: maximum, in: [a, b]}"};
const struct flow_operator sub_operator = {
    PAIR_OPERATOR("sub", "the difference", "y = a - b   (integers modulo 2^bits)", pair_in, sub_infer),
    .example = "y: {op: sub, in: [a, b]}"};
const struct flow_operator div_operator = {
    PAIR_OPERATOR("div", "the quotient", "y = a / b;  integers: floor(a / b), division by 0 an error", pair_in, div_infer),
    .example = "y: {op: div, in: [a, b]}"};
const struct flow_operator mod_operator = {
    PAIR_OPERATOR("mod", "the remainder, of the divisor's sign",
                  "y = a - b * floor(a / b);  integers: division by 0 an error; db = -floor(a / b) dy", pair_in, mod_infer),
    .example = "y: {op: mod, in: x, with: {value: 3}}"};
const struct flow_operator pow_operator = {
    PAIR_OPERATOR("pow", "the power",
                  "y = a^b, as C's pow;  integers: modulo 2^bits, negative b an error; da = 0 for b = 0, db = 0 for a = 0, b >= 0", pair_in,
                  pow_infer),
    .example = "y: {op: pow, in: x, with: {value: 2}}"};
