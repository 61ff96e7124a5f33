/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of linear, matmul and einsum against central differences: broadcast batch axes, transposes, diagonals, repeated letters. */
#include "harness/backward.h"

#include <criterion/criterion.h>

/* Inputs by shape, "2,3;3,4" (an empty one is a scalar), drawn from [-1, 1). */
static struct trial trial_shaped(const char *node, const char *shapes) {
    static const char *const names[] = {"a", "b", "c"};
    struct trial t = {.inputs = 0};
    uint64_t state = 71;
    snprintf(t.node, sizeof t.node, "%s", node);
    for (const char *at = shapes; at; at = strchr(at, ';') ? strchr(at, ';') + 1 : NULL) {
        int64_t shape[FLOW_RANK_MAX];
        int32_t rank = 0;
        for (const char *p = at; *p >= '0' && *p <= '9'; p += *p == ',') shape[rank++] = strtoll(p, (char **)&p, 10);
        backward_input(&t, names[t.inputs], &state, -1, 1, rank, shape);
    }
    return t;
}

static void check(const char *node, const char *shapes) {
    struct trial t = trial_shaped(node, shapes);
    backward_check(&t, (struct backward_options){.phase = FLOW_PHASE_TRAINING});
    trial_free(&t);
}

Test(backward_product, linear) {
    check("{op: linear, in: a, with: {units: 5}}", "4,3");
    check("{op: linear, in: a, with: {units: 5, bias: false}}", "2,3,7");
    check("{op: linear, in: a, with: {units: 1}}", "19");
    check("{op: linear, in: a, with: {units: 33}}", "70,20");
    check("{op: linear, in: a, with: {units: 3}}", "0,4");
    check("{op: linear, in: a, with: {units: 3}}", "2,0");
}

Test(backward_product, linear_of_inference) {
    struct trial t = trial_shaped("{op: linear, in: a, with: {units: 6}}", "3,5");
    backward_check(&t, (struct backward_options){.phase = FLOW_PHASE_INFERENCE});
    trial_free(&t);
}

Test(backward_product, matmul) {
    static const struct {
        const char *with, *shapes;
    } cases[] = {
        {"", "3,4;4,5"},
        {", with: {transpose_a: true}", "4,3;4,5"},
        {", with: {transpose_b: true}", "3,4;5,4"},
        {", with: {transpose_a: true, transpose_b: true}", "4,3;5,4"},
        {"", "2,3,4,5;5,6"},
        {"", "4,5;2,3,5,6"},
        {"", "2,1,4,5;3,5,6"},
        {"", "1,3,1,5;2,1,5,2"},
        {", with: {transpose_a: true}", "2,3,5,4;5,6"},
        {", with: {transpose_b: true}", "2,3,4,5;3,6,5"},
        {", with: {transpose_a: true, transpose_b: true}", "2,1,5,4;3,6,5"},
        {", with: {transpose_b: true}", "2,3,1,5;6,5"},
        {"", "3,0;0,5"},
        {"", "0,3;3,5"},
        {"", "0,2,3;3,4"},
        {"", "9,17;17,35"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char node[128];
        snprintf(node, sizeof node, "{op: matmul, in: {a: a, b: b}%s}", cases[i].with);
        check(node, cases[i].shapes);
    }
}

Test(backward_product, einsum) {
    static const struct {
        const char *equation, *shapes;
    } cases[] = {
        {"ij,jk->ik", "3,4;4,5"},
        {"bij,bjk->bik", "2,3,4;2,4,5"},
        {"bhqd,bhkd->bhqk", "2,2,3,4;2,2,5,4"},
        {"ii->i", "4,4"},
        {"ii->", "4,4"},
        {"bii->b", "3,4,4"},
        {"iij,jk->ik", "3,3,4;4,2"},
        {"ij->ji", "3,4"},
        {"ij->", "3,4"},
        {"ij->i", "3,4"},
        {"ij,ik->i", "3,4;3,5"},
        {"i,j->ij", "3;5"},
        {"ij,jk,kl->il", "3,4;4,2;2,5"},
        {"ab,ab,b->a", "3,4;3,4;4"},
        {",ij->ij", ";3,4"},
        {"iji,j->i", "3,4,3;4"},
        {"ij,jk->ik", "3,0;0,5"},
        {"ij,jk->k", "0,4;4,5"},
        {"bti,io->bto", "2,9,16;16,8"},
        {"ij,jk->", "20,40;40,30"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char node[128];
        int operands = 1;
        for (const char *p = cases[i].equation; *p && *p != '-'; p++) operands += *p == ',';
        snprintf(node, sizeof node, "{op: einsum, in: [%s], with: {equation: \"%s\"}}",
                 operands == 1   ? "a"
                 : operands == 2 ? "a, b"
                                 : "a, b, c",
                 cases[i].equation);
        check(node, cases[i].shapes);
    }
}
