/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/document.h"

#include "harness/failing.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

struct reading {
    struct arena arena;
    struct report report;
    struct document *root;
};

static struct reading read_from(const struct allocator *from, const char *text, size_t length) {
    struct reading reading = {0};
    arena_init(&reading.arena, from);
    report_init(&reading.report, from);
    reading.root = document_read(&reading.arena, "a.yaml", text, length, &reading.report);
    return reading;
}

static struct reading read_text(const char *text) { return read_from(&memory_default, text, strlen(text)); }

static void done(struct reading *reading) {
    arena_free(&reading->arena);
    report_free(&reading->report);
}

static void stands_at(const struct document *node, int line, int column) {
    cr_assert(node != NULL);
    cr_assert(node->at.line == line && node->at.column == column, "found at %d:%d, expected %d:%d", node->at.line, node->at.column, line,
              column);
    cr_assert_str_eq(node->at.file, "a.yaml");
}

Test(document, tree_and_positions) {
    struct reading r = read_text("flow: 1\n# words\nnodes:\n  a: {op: \"relu\", in: [x,\n       'y z']}\n  \xC3\xA9\xC3\xA9: b\n");
    cr_assert(r.root && r.root->kind == DOCUMENT_MAPPING && r.root->count == 2);
    stands_at(r.root, 1, 1);
    stands_at(document_get(r.root, "flow"), 1, 7);
    const struct document *nodes = document_get(r.root, "nodes"), *a = document_get(nodes, "a"), *in = document_get(a, "in");
    stands_at(nodes->keys[0], 4, 3);
    stands_at(a, 4, 6);
    stands_at(document_get(a, "op"), 4, 11);
    cr_assert(document_get(a, "op")->quoted && !document_get(r.root, "flow")->quoted);
    cr_assert(in->kind == DOCUMENT_LIST && in->count == 2);
    stands_at(in->values[1], 5, 8);
    cr_assert_str_eq(in->values[1]->text, "y z");
    stands_at(nodes->values[1], 6, 7); /* columns count characters */
    cr_assert_null(document_get(nodes, "b"));
    cr_assert_null(document_get(in, "a"));
    done(&r);
}

Test(document, sizes_and_variables) {
    struct reading r = read_text("a: &a [1, 2, 3]\nb: [*a, *a]\nc: {\"${d}\": 1}\n");
    cr_assert(r.root != NULL);
    cr_assert_eq(document_get(r.root, "a")->size, 4);
    cr_assert_eq(document_get(r.root, "b")->size, 9);
    cr_assert_eq(document_get(r.root, "b")->values[0], document_get(r.root, "a"));
    cr_assert_eq(r.root->size, 1 + 3 + 4 + 9 + 3);
    cr_assert(r.root->varies && document_get(r.root, "c")->varies && !document_get(r.root, "b")->varies);
    done(&r);
}

/* text, line and column (0: any), words of the message */
static const struct {
    const char *text;
    int line, column;
    const char *words;
} wrong[] = {
    {"", 0, 0, "empty"},
    {"# nothing\n", 0, 0, "empty"},
    {"a: 1\nb: 2\na: 3\n", 3, 1, "'a' is given twice: the first is on line 1"},
    {"a: {x: 1, x: 2}", 1, 11, "'x' is given twice"},
    {"a: [1, 2\nb: 3\n", 0, 0, "not YAML"},
    {"a:\n\tb: 1\n", 2, 1, "tab"},
    {"a: *b\n", 1, 4, "no anchor '&b'"},
    {"block: &block 1\na: *blokc\n", 2, 4, "did you mean '&block'"},
    {"a: &a [1, *a]\n", 1, 11, "inside what it names"},
    {"a: &a {b: *a}\n", 1, 11, "inside what it names"},
    {"a: 1\n---\nb: 1\n", 2, 1, "second document"},
    {"? [1, 2]\n: 3\n", 1, 3, "a key must be a word"},
    {"? {a: 1}\n: 3\n", 1, 3, "a key must be a word"},
    {"a: !thing 3\n", 1, 4, "'!thing'"},
    {"a: !!set {b, c}\n", 1, 4, "tag"},
    {"a: \"x\\0y\"\n", 1, 4, "zero byte"},
    {"a: \xFF\xFE\n", 1, 0, "not text"},
};

Test(document, errors) {
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct reading r = read_text(wrong[i].text);
        const struct report_message *message = r.report.first;
        cr_assert_null(r.root, "%s", wrong[i].text);
        cr_assert(message && strstr(message->text, wrong[i].words), "%s: %s", wrong[i].text, message ? message->text : "no message");
        cr_assert(!wrong[i].line || message->at.line == wrong[i].line, "%s: line %d", wrong[i].text, message->at.line);
        cr_assert(!wrong[i].column || message->at.column == wrong[i].column, "%s: column %d", wrong[i].text, message->at.column);
        done(&r);
    }
}

Test(document, all_duplicates_are_told) {
    char text[4096];
    size_t length = 0;
    for (int i = 0; i < 100; i++) length += (size_t)snprintf(text + length, sizeof text - length, "k%d: 1\n", i % 50);
    struct reading r = read_text(text);
    cr_assert_null(r.root);
    cr_assert_eq(r.report.count, 50);
    cr_assert_eq(r.report.last->at.line, 100);
    done(&r);
}

Test(document, depth_is_limited) {
    char text[512];
    for (int depth = 64; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        struct reading r = read_from(&memory_default, text, 2 * (size_t)depth);
        cr_assert((r.root != NULL) == (depth == 64), "%d levels", depth);
        cr_assert(depth == 64 || strstr(r.report.first->text, "nested"));
        done(&r);
    }
}

Test(document, a_million_levels_end_at_once) {
    size_t length = 1000000;
    char *text = malloc(length);
    memset(text, '[', length);
    struct reading r = read_from(&memory_default, text, length);
    cr_assert(!r.root && r.report.count == 1);
    done(&r);
    free(text);
}

Test(document, aliases_that_explode_are_refused) {
    char text[4096];
    size_t length = (size_t)snprintf(text, sizeof text, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 12; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i,
                                   i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    struct reading r = read_text(text);
    cr_assert(!r.root && strstr(r.report.first->text, "aliases"));
    done(&r);
}

Test(document, a_file_that_is_missing) {
    struct arena arena;
    struct report report;
    arena_init(&arena, &memory_default);
    report_init(&report, &memory_default);
    cr_assert_null(document_read(&arena, "/no/such/file.yaml", NULL, 0, &report));
    cr_assert(report.first && report.first->code == FLOW_ERROR_IO);
    cr_assert_str_eq(report.first->at.file, "/no/such/file.yaml");
    cr_assert_null(document_read(&arena, "/", NULL, 0, &report));
    cr_assert_eq(report.count, 2);
    arena_free(&arena);
    report_free(&report);
}

/* ---- Scalars ---- */

static const struct document *scalar(struct reading *r, const char *text) {
    char all[128];
    snprintf(all, sizeof all, "a: %s\n", text);
    *r = read_text(all);
    cr_assert(r->root, "%s", text);
    return document_get(r->root, "a");
}

Test(document, integers) {
    static const struct {
        const char *text;
        int64_t value;
    } right[] = {{"0", 0},
                 {"-12", -12},
                 {"+7", 7},
                 {"007", 7},
                 {"0x1F", 31},
                 {"0o17", 15},
                 {"9223372036854775807", INT64_MAX},
                 {"-9223372036854775808", INT64_MIN}};
    static const char *const others[] = {"1.0", "0b1", "1_000", "9223372036854775808", "0x", "\"3\"", "1e3", "-0x1", "[1]", "0o8", "12a"};
    struct reading r;
    int64_t value;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        cr_assert(document_int(scalar(&r, right[i].text), &value) && value == right[i].value, "%s", right[i].text);
        done(&r);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cr_assert(!document_int(scalar(&r, others[i]), &value), "%s", others[i]);
        done(&r);
    }
}

Test(document, reals) {
    static const struct {
        const char *text;
        double value;
    } right[] = {{"1.5", 1.5},       {"-.5", -0.5},
                 {"1.", 1},          {"1e-5", 1e-5},
                 {"+2E+3", 2000},    {"3", 3},
                 {".inf", INFINITY}, {"-.Inf", -INFINITY},
                 {"0x10", 16},       {"9223372036854775808", 9223372036854775808.0},
                 {"0.1", 0.1}};
    static const char *const others[] = {".", "e5", "1e", "1.5.2", "inf", "nan", "'1.5'", "1,5", "1.5f", "-.nan", "--1"};
    struct reading r;
    double value;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        cr_assert(document_real(scalar(&r, right[i].text), &value) && value == right[i].value, "%s", right[i].text);
        done(&r);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cr_assert(!document_real(scalar(&r, others[i]), &value), "%s", others[i]);
        done(&r);
    }
    cr_assert(document_real(scalar(&r, ".nan"), &value) && isnan(value));
    done(&r);
}

Test(document, words_of_yaml_1_1_are_text) {
    static const char *const others[] = {"yes", "no", "on", "off", "y", "n", "tRUE", "\"true\""};
    struct reading r;
    bool value;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cr_assert(!document_bool(scalar(&r, others[i]), &value), "%s", others[i]);
        done(&r);
    }
    cr_assert(document_bool(scalar(&r, "True"), &value) && value);
    done(&r);
    cr_assert(document_bool(scalar(&r, "false"), &value) && !value);
    done(&r);
    cr_assert(document_null(scalar(&r, "~")));
    done(&r);
    cr_assert(document_null(scalar(&r, "")));
    done(&r);
    cr_assert(!document_null(scalar(&r, "\"\"")));
    done(&r);
    cr_assert(!document_int(scalar(&r, "!!str 5"), &(int64_t){0}));
    done(&r);
}

Test(document, every_allocation_may_fail) {
    static const char text[] =
        "a: &a [1, {b: c}, [], [[]]]\nd: *a\nx: {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9, j: 10, k: 11, "
        "l: 12, m: 13, n: 14, o: 15, p: 16, q: 17, r: 18}\n";
    bool whole = false;
    for (long at = 1; !whole; at++) {
        struct failing failing = FAILING_INIT;
        struct allocator from = failing_allocator(&failing);
        failing.fail_at = at;
        struct reading r = read_from(&from, text, strlen(text));
        whole = r.root != NULL;
        cr_assert(whole ? r.report.count == 0 : r.report.count > 0, "allocation %ld", at);
        cr_assert(whole || report_code(&r.report) == FLOW_ERROR_MEMORY);
        done(&r);
        cr_assert(failing.blocks == 0 && !failing.wrong_size, "allocation %ld: %ld blocks left", at, failing.blocks);
        cr_assert_lt(at, 1000);
    }
}
