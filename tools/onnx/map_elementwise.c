/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/internal.h"

#include <math.h>

/* ---- One input ---- */

static bool map_unary(struct import *m, struct node *n) {
    give(n, 0, make_same(m, n, n->word, n->in[0]));
    return true;
}

static bool map_identity(struct import *m, struct node *n) {
    (void)m;
    give(n, 0, n->in[0]);
    return true;
}

/* One attribute that ours calls otherwise. */
static bool map_slope(struct import *m, struct node *n) {
    bool leaky = strcmp(n->op, "LeakyRelu") == 0;
    struct value *y = make_same(m, n, n->word, n->in[0]);
    make_reals(m, y->from, leaky ? "slope" : "alpha", attr_real(n, "alpha", leaky ? 0.01 : 1));
    give(n, 0, y);
    return true;
}

static bool map_gelu(struct import *m, struct node *n) {
    const char *how = attr_text(m, n, "approximate", "none");
    struct value *y = make_same(m, n, "gelu", n->in[0]);
    if (strcmp(how, "none") != 0) make_with(m, y->from, "approximate: tanh");
    give(n, 0, y);
    return true;
}

static struct value *with_value(struct import *m, const struct node *n, const char *op, struct value *x, double number) {
    struct value *y = make_same(m, n, op, x);
    make_reals(m, y->from, "value", number);
    return y;
}

static struct value *clamped(struct import *m, const struct node *n, struct value *x, double low, double high) {
    struct value *y = make_same(m, n, "clamp", x);
    if (!isinf(low)) make_reals(m, y->from, "min", low);
    if (!isinf(high)) make_reals(m, y->from, "max", high);
    return y;
}

static bool map_clip(struct import *m, struct node *n) {
    double low = -INFINITY, high = INFINITY;
    bool has_low = n->in_count > 1 && n->in[1], has_high = n->in_count > 2 && n->in[2];
    if ((has_low && !value_one(n->in[1], &low)) || (has_high && !value_one(n->in[2], &high)))
        return refuse(m, n, "its bounds are computed when the model runs");
    give(n, 0, has_low || has_high ? clamped(m, n, n->in[0], low, high) : n->in[0]);
    return true;
}

/* max(0, min(1, alpha x + beta)) */
static struct value *hard_sigmoid(struct import *m, const struct node *n, struct value *x, double alpha, double beta) {
    return clamped(m, n, with_value(m, n, "add", with_value(m, n, "mul", x, alpha), beta), 0, 1);
}

static bool map_hard(struct import *m, struct node *n) {
    if (strcmp(n->op, "HardSigmoid") == 0) {
        give(n, 0, hard_sigmoid(m, n, n->in[0], attr_real(n, "alpha", 0.2), attr_real(n, "beta", 0.5)));
    } else {
        struct value *open = hard_sigmoid(m, n, n->in[0], 1.0 / 6, 0.5);
        give(n, 0, make_binary(m, n, "mul", n->in[0], open, n->in[0]->dtype));
    }
    return true;
}

static bool map_ceil(struct import *m, struct node *n) {
    give(n, 0, make_same(m, n, "neg", make_same(m, n, "floor", make_same(m, n, "neg", n->in[0]))));
    return true;
}

static bool map_softsign(struct import *m, struct node *n) { /* x / (1 + |x|) */
    struct value *below = with_value(m, n, "add", make_same(m, n, "abs", n->in[0]), 1);
    give(n, 0, make_binary(m, n, "div", n->in[0], below, n->in[0]->dtype));
    return true;
}

static bool map_selu(struct import *m, struct node *n) { /* gamma elu(x, alpha) */
    struct value *y = make_same(m, n, "elu", n->in[0]);
    make_reals(m, y->from, "alpha", attr_real(n, "alpha", 1.67326319217681884765625));
    give(n, 0, with_value(m, n, "mul", y, attr_real(n, "gamma", 1.05070102214813232421875)));
    return true;
}

static bool map_prelu(struct import *m, struct node *n) {
    const struct value *slope = n->in[1];
    int64_t axis = 1;
    if (!slope->data) return refuse(m, n, "its slope is computed when the model runs");
    if (slope->count != 1) {
        /* [C, 1, ..]: one slope for each entry of one axis */
        for (int32_t i = 0; i < slope->rank; i++)
            if (extent_is(&slope->shape[i], slope->count)) axis = n->in[0]->rank - slope->rank + i;
        if (slope->rank > n->in[0]->rank || !extent_is(&n->in[0]->shape[axis], slope->count))
            return refuse(m, n, "its slope is not one number, nor one for each entry of one axis");
    }
    struct value *y = make_same(m, n, "prelu", n->in[0]);
    make_with(m, y->from, "count: %lld, axis: %lld", (long long)slope->count, slope->count == 1 ? 0LL : (long long)axis);
    struct flow_tensor weight = tensor_of(m, slope);
    weight.rank = 1, weight.shape[0] = slope->count, weight.strides[0] = 1;
    make_weight(m, y->from, "weight", weight);
    give(n, 0, y);
    return true;
}

static bool map_cast(struct import *m, struct node *n) {
    int32_t to = strcmp(n->op, "CastLike") == 0 ? n->in[1]->dtype : model_type((int32_t)attr_int(n, "to", 0));
    if (to < 0) return refuse(m, n, "elements of type %lld (ONNX's number) are not there here", (long long)attr_int(n, "to", 0));
    give(n, 0, make_cast(m, n, n->in[0], to));
    return true;
}

static bool map_dropout(struct import *m, struct node *n) {
    double training;
    if (n->in_count > 2 && n->in[2] && (!value_one(n->in[2], &training) || training != 0)) return refuse(m, n, "it is in training mode");
    give(n, 0, n->in[0]);
    return true;
}

/* ---- Two and more ---- */

static bool map_binary(struct import *m, struct node *n) {
    bool compares = n->word[0] == 'e' || n->word[0] == 'g' || n->word[0] == 'l';
    struct value *a = n->in[0], *b = n->in[1];
    if (a->dtype != b->dtype) {
        if (strcmp(n->op, "Pow") != 0)
            return refuse(m, n, "its inputs are of types %s and %s", flow_type_name(a->dtype), flow_type_name(b->dtype));
        if (!b->data || b->count != 1) b = make_cast(m, n, b, a->dtype);
    }
    if (strcmp(n->op, "Div") == 0 && !value_is_float(a->dtype)) {
        /* here the quotient is rounded down, there toward zero: the same for extents and counts, not for what may be negative */
        double by;
        if (!value_one(b, &by) || by <= 0 || a->dtype != FLOW_U8)
            return refuse(m, n, "whole numbers computed when the model runs are divided");
    }
    if (strcmp(n->op, "Mod") == 0 && attr_int(n, "fmod", 0)) return refuse(m, n, "fmod: 1 is not there here");
    double power;
    if (strcmp(n->op, "Pow") == 0 && value_one(b, &power) && power == 2 && b->rank <= a->rank) {
        give(n, 0, make_same(m, n, "square", a));
        return true;
    }
    struct value *y = make_binary(m, n, n->word, a, b, compares ? FLOW_BOOL : a->dtype);
    give(n, 0, y);
    return y != NULL;
}

static bool map_xor(struct import *m, struct node *n) {
    struct value *y = make_binary(m, n, "ne", n->in[0], n->in[1], FLOW_BOOL);
    give(n, 0, y);
    return y != NULL;
}

static bool map_several(struct import *m, struct node *n) {
    struct value *y = n->in[0];
    for (size_t i = 1; i < n->in_count && y; i++) {
        if (!n->in[i] || n->in[i]->dtype != y->dtype) return refuse(m, n, "its inputs are of different types");
        y = make_binary(m, n, n->word, y, n->in[i], y->dtype);
    }
    if (y && strcmp(n->op, "Mean") == 0) y = with_value(m, n, "mul", y, 1 / (double)n->in_count);
    give(n, 0, y);
    return y != NULL;
}

static bool map_where(struct import *m, struct node *n) {
    static const char *const ports[] = {"cond", "a", "b"};
    struct extent shape[RANK];
    int32_t rank = n->in[0]->rank;
    for (int32_t i = 0; i < rank; i++) shape[i] = n->in[0]->shape[i];
    if (!shape_join(shape, &rank, n->in[1]) || !shape_join(shape, &rank, n->in[2])) return refuse(m, n, "its shapes do not go together");
    struct made *made = make_node(m, n, "where");
    for (int i = 0; i < 3; i++) make_in(m, made, ports[i], n->in[i]);
    give(n, 0, make_out(m, made, NULL, n->in[1]->dtype, rank, shape));
    return true;
}

const struct map map_elementwise[] = {
    {"Relu", map_unary, "relu", 1},
    {"Sigmoid", map_unary, "sigmoid", 1},
    {"Tanh", map_unary, "tanh", 1},
    {"Sqrt", map_unary, "sqrt", 1},
    {"Exp", map_unary, "exp", 1},
    {"Log", map_unary, "log", 1},
    {"Neg", map_unary, "neg", 1},
    {"Abs", map_unary, "abs", 1},
    {"Floor", map_unary, "floor", 1},
    {"Round", map_unary, "round", 1},
    {"Sign", map_unary, "sign", 1},
    {"Sin", map_unary, "sin", 1},
    {"Cos", map_unary, "cos", 1},
    {"Erf", map_unary, "erf", 1},
    {"Reciprocal", map_unary, "reciprocal", 1},
    {"Not", map_unary, "not", 1},
    {"Softplus", map_unary, "softplus", 1},
    {"Mish", map_unary, "mish", 1},
    {"Ceil", map_ceil, NULL, 1},
    {"Softsign", map_softsign, NULL, 1},
    {"Selu", map_selu, NULL, 1},
    {"Elu", map_slope, "elu", 1},
    {"LeakyRelu", map_slope, "leaky_relu", 1},
    {"PRelu", map_prelu, NULL, 2},
    {"Gelu", map_gelu, NULL, 1},
    {"HardSigmoid", map_hard, NULL, 1},
    {"HardSwish", map_hard, NULL, 1},
    {"Clip", map_clip, NULL, 1},
    {"Identity", map_identity, NULL, 1},
    {"Dropout", map_dropout, NULL, 1},
    {"Cast", map_cast, NULL, 1},
    {"CastLike", map_cast, NULL, 2},
    {"Add", map_binary, "add", 2},
    {"Sub", map_binary, "sub", 2},
    {"Mul", map_binary, "mul", 2},
    {"Div", map_binary, "div", 2},
    {"Mod", map_binary, "mod", 2},
    {"Pow", map_binary, "pow", 2},
    {"Equal", map_binary, "eq", 2},
    {"Greater", map_binary, "gt", 2},
    {"Less", map_binary, "lt", 2},
    {"GreaterOrEqual", map_binary, "ge", 2},
    {"LessOrEqual", map_binary, "le", 2},
    {"And", map_binary, "and", 2},
    {"Or", map_binary, "or", 2},
    {"Xor", map_xor, NULL, 2},
    {"Min", map_several, "minimum", 1},
    {"Max", map_several, "maximum", 1},
    {"Sum", map_several, "add", 1},
    {"Mean", map_several, "add", 1},
    {"Where", map_where, NULL, 3},
    {NULL, NULL, NULL, 0},
};
