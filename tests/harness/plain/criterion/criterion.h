/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for Criterion where its processes do not work (thread sanitizer): runs every test in this process, the first failure ends it.
 * Only what the tests use. Program arguments: parts of names "suite/test" to run; none: all. */
#ifndef TESTS_PLAIN_CRITERION_H
#define TESTS_PLAIN_CRITERION_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plain_test {
    const char *suite, *name;
    void (*run)(void);
    struct plain_test *next;
};
__attribute__((weak)) struct plain_test *plain_tests;

/* What is called before and after each test of a suite. */
struct plain_options {
    void (*init)(void);
    void (*fini)(void);
    double timeout; /* not kept here */
};
struct plain_suite {
    const char *name;
    struct plain_options options;
    struct plain_suite *next;
};
__attribute__((weak)) struct plain_suite *plain_suites;

#define TestSuite(suite_, ...)                                                 \
    static struct plain_suite suite_##_suite = {#suite_, {__VA_ARGS__}, NULL}; \
    __attribute__((constructor)) static void suite_##_suite_add(void) {        \
        suite_##_suite.next = plain_suites;                                    \
        plain_suites = &suite_##_suite;                                        \
    }                                                                          \
    struct plain_suite

#define Test(suite_, name_, ...)                                                                        \
    static void suite_##_##name_##_run(void);                                                           \
    static struct plain_test suite_##_##name_##_test = {#suite_, #name_, suite_##_##name_##_run, NULL}; \
    __attribute__((constructor)) static void suite_##_##name_##_add(void) {                             \
        suite_##_##name_##_test.next = plain_tests;                                                     \
        plain_tests = &suite_##_##name_##_test;                                                         \
    }                                                                                                   \
    static void suite_##_##name_##_run(void)

#define PLAIN_FAIL_(condition, ...) \
    (fprintf(stderr, "%s:%d: %s  ", __FILE__, __LINE__, condition), fprintf(stderr, "" __VA_ARGS__), fputc('\n', stderr), exit(1))
#define cr_assert(condition, ...) ((condition) ? (void)0 : PLAIN_FAIL_(#condition, __VA_ARGS__))
#define cr_assert_not(condition, ...) cr_assert(!(condition), __VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b), __VA_ARGS__)
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b), __VA_ARGS__)
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b), __VA_ARGS__)
#define cr_assert_null(a, ...) cr_assert((a) == NULL, __VA_ARGS__)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL, __VA_ARGS__)
#define cr_skip_test(...) return
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp((a), (b)) == 0, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) cr_assert(memcmp((a), (b), (size)) == 0, __VA_ARGS__)
#define cr_assert_float_eq(a, b, epsilon, ...) cr_assert((a) - (b) <= (epsilon) && (b) - (a) <= (epsilon), __VA_ARGS__)
#define cr_expect(...) cr_assert(__VA_ARGS__)
#define cr_expect_not(...) cr_assert_not(__VA_ARGS__)
#define cr_expect_eq(...) cr_assert_eq(__VA_ARGS__)
#define cr_expect_neq(...) cr_assert_neq(__VA_ARGS__)
#define cr_expect_lt(...) cr_assert_lt(__VA_ARGS__)
#define cr_expect_float_eq(...) cr_assert_float_eq(__VA_ARGS__)
#define cr_expect_not_null(...) cr_assert_not_null(__VA_ARGS__)
#define cr_expect_null(...) cr_assert_null(__VA_ARGS__)
#define cr_expect_str_eq(...) cr_assert_str_eq(__VA_ARGS__)
#define cr_expect_arr_eq(...) cr_assert_arr_eq(__VA_ARGS__)
#define cr_assert_fail(...) PLAIN_FAIL_("failed", __VA_ARGS__)

__attribute__((weak)) int main(int argc, char **argv) {
    int count = 0;
    for (struct plain_test *test = plain_tests; test; test = test->next) {
        char name[200];
        int wanted = argc < 2;
        snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
        for (int i = 1; i < argc; i++) wanted |= argv[i][0] == '-' || strstr(name, argv[i]) != NULL;
        if (!wanted) continue;
        fprintf(stderr, "%s\n", name);
        struct plain_suite *suite = plain_suites;
        while (suite && strcmp(suite->name, test->suite) != 0) suite = suite->next;
        if (suite && suite->options.init) suite->options.init();
        test->run();
        if (suite && suite->options.fini) suite->options.fini();
        count++;
    }
    fprintf(stderr, "%d tests passed\n", count);
    return 0;
}

#endif
