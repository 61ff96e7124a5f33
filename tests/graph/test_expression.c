/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/expression.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int lookup(void *context, const char *name, size_t length, struct number *value) {
    (void)context;
    if (length == 5 && memcmp(name, "width", 5) == 0) *value = (struct number){false, 12, 12};
    else if (length == 4 && memcmp(name, "half", 4) == 0) *value = (struct number){true, 0, 0.5};
    else if (length == 5 && memcmp(name, "wrong", 5) == 0) return -1;
    else return 0;
    return 1;
}

static int evaluate(const char *text, struct number *value, char *why, size_t size) {
    return expression_evaluate(text, strlen(text), lookup, NULL, value, why, size);
}

Test(expression, integers) {
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {{"1 + 2 * 3", 7},
                 {"(1 + 2) * 3", 9},
                 {"width / 4", 3},
                 {"10 - 2 - 3", 5},
                 {"2 ** 3 ** 2", 512},
                 {"-2 ** 2", -4},
                 {"(-2) ** 2", 4},
                 {"7 % 3", 1},
                 {"-7 % 3", 2},
                 {"7 % -3", -2},
                 {"-6 % 3", 0},
                 {"--3", 3},
                 {"+-+3", -3},
                 {" width*width ", 144},
                 {"2**0", 1},
                 {"0**0", 1},
                 {"9223372036854775807", INT64_MAX},
                 {"-9223372036854775807 - 1", INT64_MIN},
                 {"(0 - 9223372036854775807 - 1) % -1", 0},
                 {"100 / 5 / 2", 10},
                 {"2 * 3 % 4", 2},
                 {"3**39", 4052555153018976267}};
    struct number value;
    char why[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert(evaluate(cases[i].text, &value, why, sizeof why) == 0, "%s: %s", cases[i].text, why);
        cr_assert(!value.real && value.i == cases[i].value && value.r == (double)value.i, "%s gives %lld", cases[i].text,
                  (long long)value.i);
    }
}

Test(expression, reals) {
    static const struct {
        const char *text;
        double value;
    } cases[] = {{"1.0 / 4", 0.25}, {"half * 4", 2},      {"2.0 ** -1", 0.5}, {"sqrt(16)", 4},    {"sqrt( width + 4.0 )", 4},
                 {"1e3 + 1", 1001}, {".5", 0.5},          {"-7.5 % 2", 0.5},  {"7.5 % -2", -0.5}, {"4 ** 0.5", 2},
                 {"1.", 1},         {"1 / sqrt(4)", 0.5}, {"2.5e-1", 0.25}};
    struct number value;
    char why[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert(evaluate(cases[i].text, &value, why, sizeof why) == 0, "%s: %s", cases[i].text, why);
        cr_assert(value.real && value.r == cases[i].value, "%s gives %g", cases[i].text, value.r);
    }
}

Test(expression, errors) {
    static const struct {
        const char *text, *words;
    } cases[] = {{"wdith", "unknown name 'wdith'"},
                 {"7 / 2", "does not come out even"},
                 {"1 / 0", "division by zero"},
                 {"1.0 / 0", "division by zero"},
                 {"1 % 0", "division by zero"},
                 {"9223372036854775807 + 1", "too large"},
                 {"3 ** 40", "too large"},
                 {"2 ** -1", "negative power"},
                 {"9223372036854775808", "too large"},
                 {"1e999", "too large"},
                 {"1e300 * 1e300", "too large"},
                 {"-1 - 9223372036854775807 - 1", "too large"},
                 {"", "missing"},
                 {"1 +", "missing"},
                 {"(1", "not closed"},
                 {"1)", "left over"},
                 {"1 2", "left over"},
                 {"* 3", "expected at"},
                 {"a.b", "unknown name 'a'"},
                 {".", "not a number"},
                 {"sqrt(-1)", "root"},
                 {"(-8) ** 0.5", "root"},
                 {"0.0 ** -1", "division by zero"},
                 {"sqrt 4", "unknown name 'sqrt'"},
                 {"$", "expected at '$'"},
                 {"0x10", "left over"}};
    struct number value;
    char why[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert(evaluate(cases[i].text, &value, why, sizeof why) < 0, "%s", cases[i].text);
        cr_assert(strstr(why, cases[i].words), "%s: %s", cases[i].text, why);
    }
    cr_assert_eq(evaluate("1 + wrong", &value, why, sizeof why), -1);
    cr_assert_lt(evaluate("oops", &value, NULL, 0), 0);
}

Test(expression, names_are_free_when_only_the_form_is_checked) {
    char why[200];
    cr_assert_eq(expression_check("B*T/(N-N)", 9, why, sizeof why), 0);
    cr_assert_eq(expression_check("S/160 - 2", 9, why, sizeof why), 0);
    cr_assert_lt(expression_check("B*(", 3, why, sizeof why), 0);
    cr_assert_lt(expression_check("B T", 3, why, sizeof why), 0);
}

Test(expression, length_is_what_is_given) {
    struct number value;
    char why[200];
    cr_assert_eq(expression_evaluate("12345", 2, lookup, NULL, &value, why, sizeof why), 0);
    cr_assert_eq(value.i, 12);
}

Test(expression, long_and_deep_text) {
    size_t length = 2000001;
    char *text = malloc(length + 1), why[200];
    struct number value;
    for (size_t i = 0; i < length; i++) text[i] = i % 2 ? '+' : '1';
    text[length] = 0;
    cr_assert_eq(evaluate(text, &value, why, sizeof why), 0);
    cr_assert_eq(value.i, 1000001);
    memset(text, '-', length - 1);
    cr_assert_eq(evaluate(text, &value, why, sizeof why), 0);
    cr_assert_eq(value.i, 1);
    memset(text, '(', length);
    cr_assert_lt(evaluate(text, &value, why, sizeof why), 0);
    cr_assert(strstr(why, "deep"));
    for (size_t i = 0; i + 3 <= length; i += 3) memcpy(text + i, "1**", 3);
    cr_assert_lt(evaluate(text, &value, why, sizeof why), 0);
    cr_assert(strstr(why, "deep"));
    free(text);
}
