/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbours that are one operator here: a product and its bias, a layer norm and a gelu written out, as exporters do where the opset has
 * no operator for them. What is joined is left to nobody and so not written. */
#include "onnx/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct made *giver(const struct value *v, const char *op) {
    return v->from && !v->port && strcmp(v->from->op, op) == 0 ? v->from : NULL;
}

static struct value *input(const struct made *made, size_t i) { return i < made->in.count ? made->in.at[i].value : NULL; }

/* The number that stands in for an input. */
static bool number_of(const struct made *made, double *number) {
    if (made->in.count != 1 || !made->with.at || strncmp(made->with.at, "value: ", 7) != 0) return false;
    *number = strtod(made->with.at + 7, NULL);
    return true;
}

static bool near(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

/* Takes `made`'s place: whoever read it reads `instead`. */
static void replace(struct made *made, struct made *instead) {
    struct value *out = made->out;
    out->from = instead, out->port = NULL;
    instead->out = out, instead->uses = made->uses;
}

/* ---- linear, then add ---- */

static void join_bias(struct import *m, struct made *add) {
    for (size_t i = 0; i < 2 && add->in.count == 2; i++) {
        struct value *bias = input(add, 1 - i);
        struct made *linear = giver(input(add, i), "linear");
        if (!linear || linear->uses != 1 || linear->weights.count != 1 || !bias->data || bias->rank < 1) continue;
        const struct made_weight *weight = &linear->weights.at[0];
        int64_t units = weight->tensor.shape[0];
        if (bias->count != units || !extent_is(&bias->shape[bias->rank - 1], units) || bias->rank > linear->out->rank ||
            bias->dtype != weight->tensor.dtype)
            continue;
        linear->with.count = 0;
        make_with(m, linear, "units: %lld", (long long)units);
        make_weight(m, linear, "bias", flow_tensor_of((void *)(uintptr_t)bias->data, bias->dtype, 1, &units));
        replace(add, linear);
        return;
    }
}

/* ---- gelu: x * 0.5 * (1 + erf(x / sqrt 2)), in any order ---- */

static void factors(const struct value *v, struct value **at, int *count, double *scale, bool outermost, int depth) {
    struct made *mul = giver(v, "mul");
    double number;
    if (*count > 2) return;
    if (!mul || depth > 4 || (!outermost && mul->uses != 1)) {
        at[(*count)++] = (struct value *)(uintptr_t)v;
        return;
    }
    if (number_of(mul, &number)) {
        *scale *= number;
        factors(input(mul, 0), at, count, scale, false, depth + 1);
        return;
    }
    if (mul->in.count != 2) {
        at[(*count)++] = (struct value *)(uintptr_t)v;
        return;
    }
    factors(input(mul, 0), at, count, scale, false, depth + 1);
    factors(input(mul, 1), at, count, scale, false, depth + 1);
}

/* 1 + erf(x / sqrt 2): x. */
static struct value *erf_of(const struct value *v) {
    double number;
    struct made *add = giver(v, "add");
    if (!add || add->uses != 1 || !number_of(add, &number) || number != 1) return NULL;
    struct made *erf = giver(input(add, 0), "erf");
    if (!erf || erf->uses != 1) return NULL;
    struct made *div = giver(input(erf, 0), "div"), *mul = giver(input(erf, 0), "mul"), *scaled = div ? div : mul;
    if (!scaled || scaled->uses != 1 || !number_of(scaled, &number)) return NULL;
    return near(number, div ? sqrt(2) : sqrt(0.5)) ? input(scaled, 0) : NULL;
}

static void join_gelu(struct import *m, struct made *mul) {
    struct value *at[4], *x = NULL;
    int count = 0;
    double scale = 1;
    factors(mul->out, at, &count, &scale, true, 0);
    if (count != 2 || !near(scale, 0.5)) return;
    for (int i = 0; i < 2; i++)
        if (erf_of(at[i]) == at[1 - i]) x = at[1 - i];
    if (!x) return;
    mul->op = "gelu";
    mul->in.count = 0, mul->with.count = 0;
    make_in(m, mul, NULL, x);
}

/* ---- layer_norm: (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias ---- */

static bool last_mean(const struct made *mean, int32_t rank) {
    if (!mean || !mean->with.at) return false;
    char wanted[40], other[] = "axes: [-1], keep: true";
    snprintf(wanted, sizeof wanted, "axes: [%d], keep: true", rank - 1);
    return strcmp(mean->with.at, wanted) == 0 || strcmp(mean->with.at, other) == 0;
}

/* The value normalised by `div`, and eps. */
static struct value *normalised(const struct made *div, double *eps) {
    if (div->in.count != 2) return NULL;
    struct made *sub = giver(input(div, 0), "sub"), *root = giver(input(div, 1), "sqrt");
    if (!sub || !root || root->uses != 1 || sub->in.count != 2) return NULL;
    struct value *x = input(sub, 0);
    struct made *mean = giver(input(sub, 1), "mean"), *add = giver(input(root, 0), "add");
    if (!last_mean(mean, x->rank) || input(mean, 0) != x || !add || !number_of(add, eps)) return NULL;
    struct made *var = giver(input(add, 0), "mean");
    struct made *square = last_mean(var, x->rank) ? giver(input(var, 0), "square") : NULL;
    struct made *product = last_mean(var, x->rank) ? giver(input(var, 0), "mul") : NULL;
    if (square && giver(input(square, 0), "sub") == sub) return x;
    return product && product->in.count == 2 && giver(input(product, 0), "sub") == sub && giver(input(product, 1), "sub") == sub ? x : NULL;
}

/* A weight for the last axis: [D], or with axes of 1 in front. */
static bool for_last_axis(const struct value *v, const struct value *x) {
    return v && v->data && v->rank >= 1 && v->rank <= x->rank && extent_is(&x->shape[x->rank - 1], v->count) &&
           extent_is(&v->shape[v->rank - 1], v->count);
}

static struct made *weighted(const struct made *made, const struct value *x, struct value **weight) {
    for (size_t i = 0; i < 2 && made->in.count == 2; i++)
        if (for_last_axis(input(made, 1 - i), x)) {
            *weight = input(made, 1 - i);
            return input(made, i)->port ? NULL : input(made, i)->from;
        }
    return NULL;
}

static void join_norm(struct import *m, struct made *add) {
    struct value *bias = NULL, *weight = NULL, *x = add->out;
    struct made *mul = weighted(add, x, &bias);
    if (!mul || strcmp(mul->op, "mul") != 0 || mul->uses != 1) return;
    struct made *div = weighted(mul, x, &weight);
    double eps;
    if (!div || strcmp(div->op, "div") != 0 || div->uses != 1 || !(x = normalised(div, &eps))) return;
    if (!for_last_axis(weight, x) || !for_last_axis(bias, x) || weight->dtype != x->dtype) return;
    add->op = "layer_norm";
    add->in.count = 0, add->with.count = 0;
    make_in(m, add, NULL, x);
    make_reals(m, add, "eps", eps);
    make_weight(m, add, "weight", flow_tensor_of((void *)(uintptr_t)weight->data, weight->dtype, 1, &weight->count));
    make_weight(m, add, "bias", flow_tensor_of((void *)(uintptr_t)bias->data, bias->dtype, 1, &bias->count));
}

/* ---- All of them ---- */

static void count_use(const struct value *v) {
    if (v->from && !v->port) v->from->uses++;
}

static void mark_live(struct import *m) {
    struct {
        struct made **at;
        size_t count, room;
    } stack = {0};
    for (size_t i = 0; i < m->outputs.count; i++)
        if (m->outputs.at[i].value->from) *STORE_PUSH(&m->store, stack) = m->outputs.at[i].value->from;
    while (stack.count) {
        struct made *made = stack.at[--stack.count];
        if (made->live) continue;
        made->live = true;
        for (size_t i = 0; i < made->in.count; i++)
            if (made->in.at[i].value->from) *STORE_PUSH(&m->store, stack) = made->in.at[i].value->from;
        if (made->state && made->state->from) *STORE_PUSH(&m->store, stack) = made->state->from;
    }
}

void join_nodes(struct import *m) {
    size_t count = m->made.count;
    for (size_t i = 0; i < count; i++) {
        const struct made *made = m->made.at[i];
        for (size_t k = 0; k < made->in.count; k++) count_use(made->in.at[k].value);
        if (made->state) count_use(made->state);
    }
    for (size_t i = 0; i < m->outputs.count; i++) count_use(m->outputs.at[i].value);
    for (size_t i = 0; i < count; i++) {
        struct made *made = m->made.at[i];
        if (strcmp(made->op, "add") == 0) join_norm(m, made);
        if (strcmp(made->op, "add") == 0) join_bias(m, made);
        if (strcmp(made->op, "mul") == 0) join_gelu(m, made);
    }
    mark_live(m);
}
