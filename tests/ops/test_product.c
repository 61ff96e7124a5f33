/* SPDX-License-Identifier: Apache-2.0 */
/* matmul, linear, einsum against sums written out. */
#include "harness/array.h"

static int64_t pick(uint64_t *state, const int64_t *from, int64_t count) { return from[one_below(state, count)]; }

/* ---- einsum ---- */

/* "ab,bc->ac" over given extents of the letters a .. f: every combination of letters is visited once. */
static struct array einsum(const struct trial *t, const char *equation, const int64_t extent[6]) {
    const char *arrow = strstr(equation, "->");
    int64_t shape[FLOW_RANK_MAX], total = 1;
    int32_t rank = 0;
    bool used[6] = {false};
    for (const char *c = equation; c < arrow; c++)
        if (*c != ',') used[*c - 'a'] = true;
    for (const char *c = arrow + 2; *c; c++) shape[rank++] = extent[*c - 'a'];
    for (int i = 0; i < 6; i++)
        if (used[i]) total *= extent[i];
    struct array y = array_new(FLOW_F32, rank, shape);
    for (int64_t n = 0; n < total; n++) {
        int64_t at[6] = {0}, rest = n, to = 0;
        for (int i = 0; i < 6; i++)
            if (used[i]) at[i] = rest % extent[i], rest /= extent[i];
        double product = 1;
        const char *c = equation;
        for (int o = 0; o < t->inputs; o++, c++) {
            int64_t from = 0;
            for (; *c != ',' && *c != '-'; c++) from = from * extent[*c - 'a'] + at[*c - 'a'];
            product *= t->input[o].at[from];
        }
        for (c = arrow + 2; *c; c++) to = to * extent[*c - 'a'] + at[*c - 'a'];
        y.at[to] += product;
    }
    return y;
}

static struct trial einsum_trial(uint64_t *state, const char *equation, const int64_t extent[6]) {
    static const char *const names[] = {"p", "q", "r", "s", "t"};
    struct trial t = {.inputs = 0};
    size_t at = (size_t)snprintf(t.node, sizeof t.node, "{op: einsum, in: [");
    for (const char *c = equation; *c != '-'; c++) {
        int64_t shape[FLOW_RANK_MAX];
        int32_t rank = 0;
        for (; *c != ',' && *c != '-'; c++) shape[rank++] = extent[*c - 'a'];
        t.input_names[t.inputs] = names[t.inputs];
        at += (size_t)snprintf(t.node + at, sizeof t.node - at, "%s%s", t.inputs ? ", " : "", names[t.inputs]);
        t.input[t.inputs++] = array_random(state, rank, shape);
        if (*c == '-') break;
    }
    snprintf(t.node + at, sizeof t.node - at, "], with: {equation: \"%s\"}}", equation);
    return t;
}

Test(einsum, of_all_kinds) {
    static const char *const equations[] = {
        "ab,bc->ac",      "ab,cb->ac",     "ba,bc->ca", "abc,acd->abd", "abd,cd->abc", "abd,ced->abce", "abce,cde->abcd", "abcd,cd->abc",
        "abc,cd->abcd",   "abc,abd->abcd", "abc,ab->c", "ab,abc->ac",   "abc,ac->ab",  "a,b->ab",       "a,b->ba",        "ab->ba",
        "ab->",           "ab->a",         "ab->b",     "abb->ab",      "aa->a",       "aa->",          "aab,ab->b",      "ab,bc,cd->ad",
        "ab,ac,ad->abcd", "ab,b,c->a",     "a,a,a->",   "ab,ab->ab",    "abc,bad->cd", "ab,cd->dbca",   "a,ab,b->",       "abc,cba->b",
        "ab,bc,ca->",     "abcd,dc->ba",   ",ab->ba",   "ab,cb,ab->c",  "ae,bcd->ab",
    };
    static const int64_t sizes[] = {1, 2, 3, 5, 8, 17};
    uint64_t state = 11;
    for (size_t i = 0; i < sizeof equations / sizeof *equations; i++)
        for (int round = 0; round < 3; round++) {
            int64_t extent[6];
            for (int j = 0; j < 6; j++) extent[j] = round == 2 && i % 5 == 0 ? one_below(&state, 3) : pick(&state, sizes, 6);
            struct trial t = einsum_trial(&state, equations[i], extent);
            struct array y = einsum(&t, equations[i], extent);
            trial_expect(&t, &y, 3e-5);
            array_free(&y);
            trial_free(&t);
        }
}

/* Large enough for blocked products, in every arrangement of letters. */
Test(einsum, blocked_products) {
    static const char *const equations[] = {"abd,ced->abce", "abce,cde->abcd", "abc,adc->abd",  "bca,bcd->bad",
                                            "ca,cbd->bda",   "abc,dbc->bda",   "cabd,dbec->aec"};
    uint64_t state = 12;
    for (size_t i = 0; i < sizeof equations / sizeof *equations; i++) {
        int64_t extent[6] = {3, 20, 9, 33, 7, 1};
        struct trial t = einsum_trial(&state, equations[i], extent);
        struct array y = einsum(&t, equations[i], extent);
        trial_expect(&t, &y, 3e-5);
        array_free(&y);
        trial_free(&t);
    }
}

Test(einsum, in_pieces) {
    static const struct {
        const char *equation;
        int32_t axes[2];
    } cases[] = {{"abc,acd->abd", {1, -1}}, {"abc,abd->abcd", {1, 1}}, {"abc,cd->dba", {1, -1}}};
    uint64_t state = 13;
    for (size_t i = 0; i < 3; i++) {
        int64_t extent[6] = {2, 11, 5, 6, 1, 1};
        struct trial t = einsum_trial(&state, cases[i].equation, extent);
        struct array y = einsum(&t, cases[i].equation, extent);
        trial_expect_pieces(&t, cases[i].axes, &y, 3e-5);
        array_free(&y);
        trial_free(&t);
    }
}

Test(einsum, other_spellings) {
    static const struct {
        const char *written, *meant;
    } cases[] = {{"ab,bc", "ab,bc->ac"},
                 {"ba", "ba->ab"},
                 {"...b,bc->...c", "ab,bc->ac"},
                 {" a b , b c -> a c ", "ab,bc->ac"},
                 {"ab,cb", "ab,cb->ac"}};
    uint64_t state = 14;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t extent[6] = {4, 5, 6, 1, 1, 1};
        char message[2048];
        struct trial t = einsum_trial(&state, cases[i].meant, extent);
        struct array y = einsum(&t, cases[i].meant, extent), found;
        char *equation = strstr(t.node, "\"");
        snprintf(equation, sizeof t.node - (size_t)(equation - t.node), "\"%s\"}}", cases[i].written);
        cr_assert(trial_run(&t, one_best, &found, message) == 0, "%s: %s", t.node, message);
        array_near(&found, &y, 3e-5, t.node);
        array_free(&y);
        array_free(&found);
        trial_free(&t);
    }
}

Test(einsum, refusals_say_why) {
    static const char *const cases[][2] = {
        {"ab,cd,ef->a", "has 3 operands, the node has 2 inputs"},
        {"abc,bc->a", "names 3 axes, the tensor has 2"},
        {"ab,cd->ae", "no operand has the result's letter e"},
        {"ab,cd->aa", "the result has a letter twice: a"},
        {"ab,bd->ad", "axis 0 of operand 1 has extent 4, but the same letter has 5 in operand 0"},
        {"a1,cd->a", "expected letters and \"...\", found 1"},
        {"......ab,cd->a", "\"...\" more than once"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial t = {.inputs = 2, .input_names = {"p", "q"}};
        snprintf(t.node, sizeof t.node, "{op: einsum, in: [p, q], with: {equation: '%s'}}", cases[i][0]);
        t.input[0] = array_new(FLOW_F32, 2, (int64_t[]){3, 5});
        t.input[1] = array_new(FLOW_F32, 2, (int64_t[]){4, 6});
        trial_refused(&t, NULL, cases[i][1]);
        trial_free(&t);
    }
}

/* ---- matmul ---- */

/* Batch axes of a and b, aligned from the right, 1 or the same; the last two as written. */
static struct array matmul(const struct array *a, const struct array *b, bool ta, bool tb) {
    int32_t rank = a->rank > b->rank ? a->rank : b->rank;
    int64_t shape[FLOW_RANK_MAX], m = a->shape[a->rank - (ta ? 1 : 2)], k = a->shape[a->rank - (ta ? 2 : 1)],
                                  n = b->shape[b->rank - (tb ? 2 : 1)];
    for (int32_t i = 0; i < rank - 2; i++) {
        int32_t ia = i - rank + a->rank, ib = i - rank + b->rank;
        int64_t ea = ia < 0 ? 1 : a->shape[ia], eb = ib < 0 ? 1 : b->shape[ib];
        shape[i] = ea == 1 ? eb : ea;
    }
    shape[rank - 2] = m, shape[rank - 1] = n;
    struct array y = array_new(FLOW_F32, rank, shape);
    for (int64_t i = 0; i < array_count(&y); i++) {
        int64_t index[FLOW_RANK_MAX], rest = i, pa = 0, pb = 0;
        for (int32_t j = rank - 1; j >= 0; j--) index[j] = rest % shape[j], rest /= shape[j];
        for (int32_t j = 0; j < a->rank - 2; j++) pa = pa * a->shape[j] + (a->shape[j] == 1 ? 0 : index[rank - a->rank + j]);
        for (int32_t j = 0; j < b->rank - 2; j++) pb = pb * b->shape[j] + (b->shape[j] == 1 ? 0 : index[rank - b->rank + j]);
        for (int64_t l = 0; l < k; l++)
            y.at[i] += a->at[pa * m * k + (ta ? l * m + index[rank - 2] : index[rank - 2] * k + l)] *
                       b->at[pb * k * n + (tb ? index[rank - 1] * k + l : l * n + index[rank - 1])];
    }
    return y;
}

Test(matmul, shapes_and_transposes) {
    static const int64_t sizes[] = {0, 1, 2, 5, 16, 33, 70};
    uint64_t state = 15;
    for (int i = 0; i < 60; i++) {
        int64_t batch[3], a[5], b[5], m = pick(&state, sizes, 7), k = pick(&state, sizes, 7), n = pick(&state, sizes, 7);
        int32_t axes = (int32_t)one_below(&state, 4), ra = 0, rb = 0;
        bool ta = one_below(&state, 2), tb = one_below(&state, 2);
        int32_t fa = (int32_t)one_below(&state, axes + 1), fb = fa > 0 ? 0 : (int32_t)one_below(&state, axes + 1);
        for (int32_t j = 0; j < axes; j++) {
            batch[j] = 1 + one_below(&state, 3);
            if (j >= fa) a[ra++] = one_below(&state, 4) ? batch[j] : 1;
            if (j >= fb) b[rb++] = j >= fa && a[ra - 1] != batch[j] ? batch[j] : one_below(&state, 4) ? batch[j] : 1;
        }
        a[ra++] = ta ? k : m, a[ra++] = ta ? m : k, b[rb++] = tb ? n : k, b[rb++] = tb ? k : n;
        struct trial t = {.inputs = 2, .input_names = {"a", "b"}};
        snprintf(t.node, sizeof t.node, "{op: matmul, in: {a: a, b: b}, with: {transpose_a: %s, transpose_b: %s}}", ta ? "true" : "false",
                 tb ? "true" : "false");
        t.input[0] = array_random(&state, ra, a);
        t.input[1] = array_random(&state, rb, b);
        struct array y = matmul(&t.input[0], &t.input[1], ta, tb);
        trial_expect(&t, &y, 3e-5);
        array_free(&y);
        trial_free(&t);
    }
}

/* Heads of an attention: products of views, no copies. */
Test(matmul, of_views) {
    uint64_t state = 16;
    char message[2048];
    struct trial t = {.inputs = 1, .input_names = {"x"}};
    snprintf(t.node, sizeof t.node,
             "{op: matmul, in: {a: q, b: q}, with: {transpose_b: true}}\n"
             "  r: {op: reshape, in: x, with: {shape: [2, 7, 3, 4]}}\n  q: {op: transpose, in: r, with: {perm: [0, 2, 1, 3]}}");
    t.input[0] = array_random(&state, 3, (int64_t[]){2, 7, 12});
    struct array y = array_new(FLOW_F32, 4, (int64_t[]){2, 3, 7, 7}), found;
    for (int64_t i = 0; i < array_count(&y); i++)
        for (int64_t k = 0; k < 4; k++) {
            int64_t v = i % 7, u = i / 7 % 7, h = i / 49 % 3, b = i / 147;
            y.at[i] += t.input[0].at[(b * 7 + u) * 12 + h * 4 + k] * t.input[0].at[(b * 7 + v) * 12 + h * 4 + k];
        }
    cr_assert(trial_run(&t, one_best, &found, message) == 0, "%s", message);
    array_near(&found, &y, 1e-5, "heads");
    array_free(&y);
    array_free(&found);
    trial_free(&t);
}

Test(matmul, in_pieces) {
    static const int32_t axes[][2] = {{1, -1}, {-1, 2}, {0, 0}, {0, -1}};
    uint64_t state = 17;
    for (size_t i = 0; i < 4; i++) {
        struct trial t = {.inputs = 2, .input_names = {"a", "b"}, .node = "{op: matmul, in: {a: a, b: b}}"};
        t.input[0] = array_random(&state, 3, (int64_t[]){5, 8, 4});
        t.input[1] = array_random(&state, 3, (int64_t[]){i == 3 ? 1 : 5, 4, 9});
        struct array y = matmul(&t.input[0], &t.input[1], false, false);
        trial_expect_pieces(&t, axes[i], &y, 1e-5);
        array_free(&y);
        trial_free(&t);
    }
}

Test(matmul, refusals_say_why) {
    static const struct {
        int64_t a[3], b[3];
        const char *with, *words;
    } cases[] = {
        {{2, 4, 5}, {2, 6, 3}, "", "a has 5 columns, b has 6 rows"},
        {{2, 5, 4}, {2, 6, 3}, ", with: {transpose_a: true}", "a has 5 rows (it is transposed), b has 6 rows"},
        {{2, 4, 5}, {2, 3, 6}, ", with: {transpose_b: true}", "a has 5 columns, b has 6 columns (it is transposed)"},
        {{2, 4, 5}, {3, 5, 3}, "", "axis 0 of a has extent 2, axis 0 of b 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial t = {.inputs = 2, .input_names = {"a", "b"}};
        snprintf(t.node, sizeof t.node, "{op: matmul, in: {a: a, b: b}%s}", cases[i].with);
        t.input[0] = array_new(FLOW_F32, 3, cases[i].a);
        t.input[1] = array_new(FLOW_F32, 3, cases[i].b);
        trial_refused(&t, NULL, cases[i].words);
        trial_free(&t);
    }
    struct trial t = {.inputs = 2, .input_names = {"a", "b"}, .node = "{op: matmul, in: {a: a, b: b}}"};
    t.input[0] = array_new(FLOW_F32, 3, (int64_t[]){2, 4, 5});
    t.input[1] = array_new(FLOW_F32, 3, (int64_t[]){2, 5, 6});
    trial_refused(&t, (int32_t[]){2, 1}, "the sum over the streamed axis needs the whole sequence");
    trial_refused(&t, (int32_t[]){0, -1}, "b has the streamed axis, but not in pieces");
    trial_free(&t);
}

/* ---- linear ---- */

Test(linear, rows_of_any_number) {
    static const int64_t sizes[] = {0, 1, 2, 5, 20}, widths[] = {1, 2, 7, 64};
    uint64_t state = 18;
    for (int i = 0; i < 30; i++) {
        int32_t rank = 1 + (int32_t)one_below(&state, 3);
        int64_t shape[3], units = pick(&state, (int64_t[]){1, 3, 16, 65}, 4), in = pick(&state, widths, 4), out[3];
        for (int32_t j = 0; j < rank - 1; j++) shape[j] = out[j] = pick(&state, sizes, 5);
        shape[rank - 1] = in, out[rank - 1] = units;
        bool bias = one_below(&state, 2);
        struct trial t = {.inputs = 1, .params = bias ? 2 : 1, .input_names = {"x"}, .param_names = {"weight", "bias"}};
        snprintf(t.node, sizeof t.node, "{op: linear, in: x, with: {units: %lld, bias: %s}}", (long long)units, bias ? "true" : "false");
        t.input[0] = array_random(&state, rank, shape);
        t.param[0] = array_random(&state, 2, (int64_t[]){units, in});
        if (bias) t.param[1] = array_random(&state, 1, &units);
        struct array y = array_new(FLOW_F32, rank, out);
        for (int64_t j = 0; j < array_count(&y); j++) {
            y.at[j] = bias ? t.param[1].at[j % units] : 0;
            for (int64_t k = 0; k < in; k++) y.at[j] += t.input[0].at[j / units * in + k] * t.param[0].at[j % units * in + k];
        }
        trial_expect(&t, &y, 1e-5);
        if (rank == 3 && shape[1] > 0) trial_expect_pieces(&t, &(int32_t){1}, &y, 1e-5);
        array_free(&y);
        trial_free(&t);
    }
}

/* A weight that another node computes is not packed: x (W x' + b) with W from the graph. */
Test(linear, with_a_computed_weight) {
    uint64_t state = 19;
    struct trial t = {.inputs = 3, .input_names = {"x", "w", "v"}};
    snprintf(t.node, sizeof t.node, "{op: linear, in: x, with: {units: 6}, tie: {weight: d, bias: v}}\n  d: {op: add, in: [w, w]}");
    t.input[0] = array_random(&state, 2, (int64_t[]){9, 5});
    t.input[1] = array_random(&state, 2, (int64_t[]){6, 5});
    t.input[2] = array_random(&state, 1, (int64_t[]){6});
    struct array y = array_new(FLOW_F32, 2, (int64_t[]){9, 6});
    for (int64_t j = 0; j < 54; j++) {
        y.at[j] = t.input[2].at[j % 6];
        for (int64_t k = 0; k < 5; k++) y.at[j] += t.input[0].at[j / 6 * 5 + k] * 2 * t.input[1].at[j % 6 * 5 + k];
    }
    trial_expect(&t, &y, 1e-5);
    array_free(&y);
    trial_free(&t);
}

Test(linear, along_its_last_axis_does_not_stream) {
    struct trial t = {.inputs = 1, .input_names = {"x"}, .node = "{op: linear, in: x, with: {units: 6}}"};
    t.input[0] = array_new(FLOW_F32, 2, (int64_t[]){9, 5});
    trial_refused(&t, &(int32_t){1}, "needs the whole sequence");
    trial_free(&t);
}
