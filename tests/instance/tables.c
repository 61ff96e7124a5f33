/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes and patterns by themselves: every type of row, every kind of word. */
#include "graph/attributes.h"
#include "graph/pattern.h"
#include "instance/instance_test.h"

#include <math.h>

struct everything {
    int64_t units;
    double rate;
    bool bias;
    const char *init;
    int32_t mode;
    struct flow_ints kernel;
    struct flow_ints shape;
    struct flow_values value;
    struct flow_dtype to;
    int64_t padding;
    int32_t bias_kind;
};

static const struct flow_attr rows[] = {
    FLOW_ATTR(struct everything, units, "width", FLOW_REQUIRED, 1, FLOW_NO_MAX),
    FLOW_ATTR(struct everything, rate, "share", "0.5", 0, 1),
    FLOW_ATTR_PLAIN(struct everything, bias, "flag", "true"),
    FLOW_ATTR_PLAIN(struct everything, init, "word", FLOW_ABSENT),
    FLOW_ATTR_CHOICES(struct everything, mode, "one word", "same", "none|same|full"),
    {"kernel", "extents", FLOW_ATTR_INTS, 0, offsetof(struct everything, kernel), 0, "[1, 1]", 0, 64, "same|causal"},
    FLOW_ATTR_SHAPE(struct everything, shape, "extents", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct everything, value, "numbers", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct everything, to, "type", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct everything, padding, "row", FLOW_ABSENT),
    FLOW_ATTR_CHOICES(struct everything, bias_kind, "which", "both", "both|one|none|true|false"),
};

static const struct flow_operator op = {
    .size = sizeof op, .name = "everything", .attrs = FLOW_TABLE(rows), .attrs_size = sizeof(struct everything)};

struct parsed {
    struct arena arena;
    struct report report;
    struct everything a;
    int status;
};

static int symbols(void *context, const char *name, size_t length, struct number *value) {
    (void)context;
    if (length != 1 || (*name != 'B' && *name != 'T')) return 0;
    *value = (struct number){.i = *name == 'B' ? 2 : 5, .r = *name == 'B' ? 2 : 5};
    return 1;
}

static void parse(struct parsed *p, const char *text, bool f64) {
    *p = (struct parsed){0};
    arena_init(&p->arena, &memory_default);
    report_init(&p->report, &memory_default);
    struct document *with = document_read(&p->arena, "w.yaml", text, strlen(text), &p->report);
    cr_assert_not_null(with);
    struct attributes_options options = {"n", "operator", op.name, with, symbols, NULL, f64};
    p->status = attributes_parse(&p->arena, &op.attrs, &options, &p->report, &p->a);
}

static void parsed_free(struct parsed *p) {
    report_free(&p->report);
    arena_free(&p->arena);
}

Test(attributes, defaults) {
    struct parsed p;
    parse(&p, "units: 3\n", false);
    cr_expect_eq(p.status, 0);
    cr_expect_eq(p.a.units, 3);
    cr_expect_eq(p.a.rate, 0.5);
    cr_expect(p.a.bias);
    cr_expect_null(p.a.init);
    cr_expect_eq(p.a.mode, 1);
    cr_expect(p.a.kernel.count == 2 && p.a.kernel.at[1] == 1 && p.a.kernel.word == -1 && !p.a.kernel.scalar);
    cr_expect(p.a.shape.count == 0 && !p.a.shape.given && p.a.shape.word == -1);
    cr_expect_eq(p.a.value.rank, -1);
    cr_expect_eq(p.a.to.type, -1);
    cr_expect_eq(p.a.padding, FLOW_INT_ABSENT);
    parsed_free(&p);
}

Test(attributes, values) {
    struct parsed p;
    parse(&p,
          "{units: '0x10', rate: 1, bias: false, init: zeros, mode: full, kernel: 3, shape: [B*T, 'T', 0, -1, 7], "
          "value: [[1, 2, 3], [4, 5.5, 6]], to: f32, padding: none, bias_kind: true}",
          true);
    cr_assert_eq(p.status, 0);
    cr_expect_eq(p.a.units, 16, "quoted text may hold a variable's number");
    cr_expect_eq(p.a.rate, 1.0);
    cr_expect_not(p.a.bias);
    cr_expect_str_eq(p.a.init, "zeros");
    cr_expect_eq(p.a.mode, 2);
    cr_expect(p.a.kernel.count == 1 && p.a.kernel.at[0] == 3 && p.a.kernel.scalar && p.a.kernel.given);
    cr_assert_eq(p.a.shape.count, 5);
    const int64_t shape[] = {10, 5, 0, -1, 7};
    cr_expect_arr_eq(p.a.shape.at, shape, sizeof shape);
    cr_expect(p.a.value.rank == 2 && p.a.value.shape[0] == 2 && p.a.value.shape[1] == 3 && p.a.value.count == 6 && !p.a.value.integer);
    cr_expect_eq(p.a.value.at[4], 5.5);
    cr_expect_eq(p.a.to.type, FLOW_F64, "every f32 is f64");
    cr_expect_eq(p.a.padding, FLOW_INT_ABSENT);
    cr_expect_eq(p.a.bias_kind, 3);

    struct everything again = {0};
    struct attributes_options options = {"n", "operator", op.name, NULL, symbols, NULL, true};
    cr_assert_eq(attributes_again(&p.arena, &op.attrs, &options, &p.report, &p.a, sizeof again, &again), 0);
    cr_expect(again.value.at != p.a.value.at && again.value.at[5] == 6 && again.kernel.at != p.a.kernel.at && again.kernel.at[0] == 3);
    parsed_free(&p);
}

Test(attributes, scalars_and_words_in_place_of_lists) {
    struct parsed p;
    parse(&p, "{units: 1, kernel: causal, value: 2, shape: T}", false);
    cr_expect_eq(p.status, 0);
    cr_expect(p.a.kernel.word == 1 && p.a.kernel.count == 0 && p.a.kernel.given);
    cr_expect(p.a.value.rank == 0 && p.a.value.count == 1 && p.a.value.at[0] == 2 && p.a.value.integer);
    cr_expect(p.a.shape.count == 1 && p.a.shape.at[0] == 5 && p.a.shape.scalar);
    parsed_free(&p);
}

static void refused(const char *with, int line, int column, const char *words) {
    struct parsed p;
    parse(&p, with, false);
    cr_expect_lt(p.status, 0, "%s", with);
    graph_message(&p.report, 0, line, column, words);
    parsed_free(&p);
}

Test(attributes, errors_say_what_is_accepted_where_it_stands) {
    refused("{units: three}", 1, 9, "node 'n'|operator 'everything'|attribute 'units' must be an integer of at least 1, found 'three'");
    refused("{units: -3}", 1, 9, "units|-3|at least 1");
    refused("{units: 2.5}", 1, 9, "units|integer|2.5");
    refused("{units: 99999999999999999999}", 1, 9, "units|integer");
    refused("{units: [1]}", 1, 9, "units|integer|a list");
    refused("units: 1\nrate: 1.5\n", 2, 7, "'rate' must be a real number between 0 and 1, found '1.5'");
    refused("{units: 1, rate: .nan}", 1, 18, "rate|real number");
    refused("{units: 1, bias: yes}", 1, 18, "bias|true or false|'yes'");
    refused("{units: 1, mode: fulll}", 1, 18, "mode|one of none|same|full|fulll");
    refused("{units: 1, kernel: [1, x]}", 1, 24, "kernel|integer|'x'");
    refused("{units: 1, kernel: 65}", 1, 20, "kernel|between 0 and 64|65");
    refused("{units: 1, kernel: {a: 1}}", 1, 20, "kernel|a mapping");
    refused("{units: 1, shape: [B*Q]}", 1, 20, "shape|shape symbols|B*Q|Q");
    refused("{units: 1, shape: [B/T]}", 1, 20, "shape|B/T");
    refused("{units: 1, value: [[1, 2], [3]]}", 1, 28, "value|equal lengths (2 here)|a list");
    refused("{units: 1, value: [1, x]}", 1, 23, "value|real number|'x'");
    refused("{units: 1, value: [[[[[[[[[1]]]]]]]]]}", 1, 19, "value|8 deep");
    refused("{units: 1, to: f31}", 1, 16, "to|one of f32|'f31'");
}

Test(attributes, all_errors_of_a_node_and_a_missing_one) {
    struct parsed p;
    parse(&p, "{units: x, rate: y, to: z}", false);
    cr_expect_eq(p.report.count, 3);
    parsed_free(&p);
    parse(&p, "{rate: 0.25}", false);
    cr_expect_eq(p.status, 1, "a required attribute that is missing is said elsewhere");
    cr_expect_eq(p.report.count, 0);
    parsed_free(&p);
}

/* ---- Patterns ---- */

static struct flow_tensor tensor(int32_t rank, const int64_t *shape) {
    struct flow_tensor t = {.dtype = FLOW_F32, .rank = rank};
    for (int32_t i = 0; i < rank; i++) t.shape[i] = shape[i];
    return t;
}
#define TENSOR(...) tensor((int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static void fills(const struct bindings *b, const char *pattern, const char *expected) {
    struct flow_tensor out = {.rank = -1};
    char why[PATTERN_WHY], text[EXTENTS_TEXT];
    int status = pattern_fill(b, pattern, &out, why);
    cr_assert_eq(status, 1, "%s: %d %s", pattern, status, why);
    cr_expect_str_eq(extents_text(text, -1, &out), expected);
}

static const struct everything four = {
    .units = 4, .rate = NAN, .bias = true, .mode = -1, .padding = FLOW_INT_ABSENT, .to = {-1}, .init = "ones"};

Test(pattern, names_bind_and_must_agree) {
    struct bindings b;
    char why[PATTERN_WHY];
    pattern_begin(&b, &op, &four);
    struct flow_tensor x = TENSOR(2, 5, 12), k = TENSOR(2, 7, 12), bad = TENSOR(2, 7, 11), flat = TENSOR(2, 12);
    cr_expect_eq(pattern_match(&b, "B T D", &x, why), 0);
    cr_expect_eq(pattern_match(&b, "B S D", &k, why), 0);
    cr_expect_lt(pattern_match(&b, "B S D", &bad, why), 0);
    cr_expect_str_eq(why, "axis 2 is 11, expected D = 12");
    cr_expect_lt(pattern_match(&b, "B S D", &flat, why), 0);
    cr_expect_str_eq(why, "expected 3 axes, [B S D]");
    cr_expect_lt(pattern_match(&b, "2 12 1", &k, why), 0);
    cr_expect_str_eq(why, "axis 1 is 7, expected 12");
    cr_expect_lt(pattern_match(&b, "", &flat, why), 0);
    cr_expect_str_eq(why, "expected a scalar");
    fills(&b, "B S units", "[2, 7, 4]");
    fills(&b, "units*D D/units (T+S)%8", "[48, 3, 4]");
    fills(&b, "", "[]");
    struct flow_tensor out = {.rank = -1};
    cr_expect_eq(pattern_fill(&b, "B Q", &out, why), 0);
    cr_expect_eq(out.rank, -1);
    cr_expect_lt(pattern_fill(&b, "T/units", &out, why), 0, "5/4 does not come out even");
    cr_expect_lt(pattern_fill(&b, "T-D", &out, why), 0, "an extent below 0");
    cr_expect_eq(pattern_fill(&b, "padding", &out, why), 0, "an integer that was left out binds nothing");
}

Test(pattern, leading_axes_are_the_same_everywhere) {
    struct bindings b;
    char why[PATTERN_WHY];
    pattern_begin(&b, &op, &four);
    struct flow_tensor x = TENSOR(2, 3, 4, 5), y = TENSOR(2, 3, 7, 8), z = TENSOR(2, 9, 7, 8), small = TENSOR(5), none = TENSOR(7, 8);
    cr_expect_eq(pattern_match(&b, "... M K", &x, why), 0);
    cr_expect_eq(pattern_match(&b, "... P Q", &y, why), 0);
    cr_expect_lt(pattern_match(&b, "... P Q", &z, why), 0);
    cr_expect_str_eq(why, "axis 1 is 9, expected 3 as in the other inputs");
    cr_expect_lt(pattern_match(&b, "... P Q", &none, why), 0);
    cr_expect_lt(pattern_match(&b, "... M K", &small, why), 0);
    fills(&b, "... M Q", "[2, 3, 4, 8]");
    fills(&b, "1 ... 1", "[1, 2, 3, 1]");
    struct flow_tensor out;
    cr_expect_lt(pattern_fill(&b, "1 1 1 1 1 1 1 ...", &out, why), 0, "nine axes");
    cr_expect_lt(pattern_fill(&b, "1 1 1 1 1 1 1 1 1 1", &out, why), 0, "ten words");
}

Test(pattern, expressions_wait_for_later_inputs) {
    struct bindings b;
    char why[PATTERN_WHY];
    pattern_begin(&b, &op, &four);
    struct flow_tensor h = TENSOR(2, 12), x = TENSOR(2, 3);
    cr_expect_eq(pattern_match(&b, "B units*U", &h, why), 1);
    cr_expect_eq(pattern_match(&b, "B U", &x, why), 0);
    cr_expect_eq(pattern_match(&b, "B units*U", &h, why), 0);
    struct flow_tensor bad = TENSOR(2, 13);
    cr_expect_lt(pattern_match(&b, "B units*U", &bad, why), 0);
    cr_expect_str_eq(why, "axis 1 is 13, expected units*U = 12");
}

Test(pattern, conditions) {
    struct bindings b;
    char why[PATTERN_WHY];
    pattern_begin(&b, &op, &four);
    cr_expect_eq(pattern_when(&b, NULL, why), 1);
    cr_expect_eq(pattern_when(&b, "bias", why), 1);
    cr_expect_eq(pattern_when(&b, "1-bias", why), 0);
    cr_expect_eq(pattern_when(&b, "units-4", why), 0);
    cr_expect_eq(pattern_when(&b, "padding", why), 0);
    cr_expect_eq(pattern_when(&b, "init", why), 1);
    cr_expect_lt(pattern_when(&b, "unheard_of", why), 0);
}

static void starts(struct bindings *b, const char *init, const char *expected) {
    struct arena arena;
    const char *out = NULL;
    char why[PATTERN_WHY];
    arena_init(&arena, &memory_default);
    int status = pattern_init(b, &arena, init, &out, why);
    if (expected) {
        cr_assert_eq(status, 0, "%s: %s", init, why);
        cr_expect_str_eq(out, expected);
    } else {
        cr_expect_lt(status, 0, "%s", init);
        cr_expect(why[0]);
    }
    arena_free(&arena);
}

Test(pattern, initialisers) {
    struct bindings b;
    char why[PATTERN_WHY];
    pattern_begin(&b, &op, &four);
    struct flow_tensor x = TENSOR(2, 0, 16);
    cr_assert_eq(pattern_match(&b, "B Z I", &x, why), 0);
    starts(&b, "zeros", "zeros");
    starts(&b, NULL, "zeros");
    starts(&b, "uniform(-1, 1)", "uniform(-1, 1)");
    starts(&b, "uniform(-1/sqrt(I), 1/sqrt(I))", "uniform(-0.25, 0.25)");
    starts(&b, "constant(0.1)", "constant(0.1)");
    starts(&b, "normal(0, 2.0/(units*3))", "normal(0, 0.16666666666666666)");
    starts(&b, "constant((units+1)*2)", "constant(10)");
    starts(&b, "@init", "ones");
    starts(&b, "@nothing", "zeros");
    starts(&b, "uniform(-1/sqrt(Z), 1/sqrt(Z))", "zeros");
    starts(&b, "constant(who)", NULL);
    starts(&b, "constant(units", NULL);
    starts(&b, "constant(units) twice", NULL);
    starts(&b, "a_word_much_longer_than_any_initialiser_has(units)", NULL);
}
