/* SPDX-License-Identifier: Apache-2.0 */
/* Traces: lanes of threads, rings that keep the newest, labels, what is written. */
#include "base/text.h"
#include "base/trace.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static void put(void *text, const void *bytes, size_t size) { text_add(text, bytes, size); }

static size_t count_words(const char *text, const char *word) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)); at += strlen(word)) count++;
    return count;
}

static char *written(struct trace *trace, struct text *text) {
    text_init(text, &memory_default);
    cr_assert_eq(trace_write(trace, put, text), 0);
    cr_assert(!text->failed);
    return text->at;
}

Test(trace, spans_carry_arguments_and_values) {
    struct trace *trace;
    struct text text;
    cr_assert_eq(trace_new(&memory_default, 16, 2, &trace), 0);
    trace_thread(trace, "me");
    const struct trace_about about = {TRACE_SPAN, "a \"b\"", "node", "\"op\": \"relu\"", "run"};
    const struct trace_label *label = trace_label(trace, &about);
    cr_assert_eq(trace_label(trace, &about), label, "equal ones are one");
    cr_assert_null(trace_pieces(trace));
    struct trace_span outer = trace_begin(trace, label);
    cr_assert_not_null(trace_pieces(trace));
    struct trace_span inner = trace_begin(trace, trace_pieces(trace));
    trace_end(&inner, 3);
    trace_end(&outer, 7);
    cr_assert_null(trace_pieces(trace));
    trace_record(trace, trace_label(trace, &(struct trace_about){TRACE_COUNTER, "held", "memory", NULL, "bytes"}), 0, 42);
    trace_record(trace, trace_label(trace, &(struct trace_about){TRACE_APART, "read", "input", NULL, "bytes"}), trace_now(), 5);
    const char *json = written(trace, &text);
    cr_assert(strstr(json, "\"a \\\"b\\\"\""), "%s", json);
    cr_assert(strstr(json, "{\"op\": \"relu\", \"run\": 7}}"), "%s", json);
    cr_assert(strstr(json, "{\"piece\": 3}}"), "%s", json);
    cr_assert(strstr(json, "{\"bytes\": 42}}") && strstr(json, "\"args\": {\"name\": \"me\"}"), "%s", json);
    cr_assert_eq(count_words(json, "\"ph\": \"b\""), 1);
    cr_assert_eq(count_words(json, "\"ph\": \"e\""), 1);
    cr_assert(strstr(json, "{\"op\"") < strstr(json, "{\"piece\""), "what encloses comes first");
    text_free(&text);
    trace_free(trace);
}

Test(trace, a_full_ring_keeps_the_newest) {
    struct trace *trace;
    struct text text;
    cr_assert_eq(trace_new(&memory_default, 8, 1, &trace), 0);
    const struct trace_label *label = trace_label(trace, &(struct trace_about){TRACE_COUNTER, "n", "test", NULL, "n"});
    for (int64_t i = 0; i < 21; i++) trace_record(trace, label, 0, i);
    cr_assert_eq(trace_lost(trace), 13);
    const char *json = written(trace, &text);
    cr_assert_eq(count_words(json, "\"ph\": \"C\""), 8);
    cr_assert(strstr(json, "{\"n\": 13}}") && strstr(json, "{\"n\": 20}}") && !strstr(json, "{\"n\": 12}}"), "%s", json);
    cr_assert(strstr(json, "\"lost_events\": 13"));
    text_free(&text);
    trace_free(trace);
}

struct shared {
    struct trace *trace;
    const struct trace_label *label;
    atomic_int going;
};

static void *record(void *context) {
    struct shared *shared = context;
    trace_thread(shared->trace, "other");
    for (int i = 0; i < 20000; i++) {
        struct trace_span span = trace_begin(shared->trace, shared->label);
        trace_end(&span, i);
    }
    atomic_fetch_sub(&shared->going, 1);
    return NULL;
}

/* Written while it is written to: what is there is whole. One thread more than there are lanes is counted. */
Test(trace, threads_record_while_it_is_written) {
    struct shared shared = {0};
    pthread_t threads[3];
    cr_assert_eq(trace_new(&memory_default, 64, 2, &shared.trace), 0);
    shared.label = trace_label(shared.trace, &(struct trace_about){TRACE_SPAN, "work", "test", NULL, "i"});
    atomic_init(&shared.going, 3);
    for (int i = 0; i < 3; i++) cr_assert_eq(pthread_create(&threads[i], NULL, record, &shared), 0);
    do {
        struct text text;
        const char *json = written(shared.trace, &text);
        cr_assert_eq(count_words(json, "\"ph\": \"X\""), count_words(json, "\"dur\""));
        cr_assert(!strstr(json, "-"), "no time is negative");
        text_free(&text);
    } while (atomic_load(&shared.going) > 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    cr_assert_eq(trace_lost(shared.trace), 3 * 20000 - 2 * 64);
    trace_free(shared.trace);
}

Test(trace, no_memory_is_said) {
    struct trace *trace;
    cr_assert_lt(trace_new(&memory_default, 0, 1, &trace), 0);
    cr_assert_null(trace);
    cr_assert_lt(trace_new(&memory_default, 1, 0, &trace), 0);
}
