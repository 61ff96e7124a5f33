/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles, limits and traces as an application asks for them. */
#include "harness/trial.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char chain[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [T, 64]}}\n"
                            "nodes: {a: {op: linear, in: x, with: {units: 64}}, b: {op: exp, in: a}}\noutputs: {b: b}\n";

static void refused(int rc, flow_errors **errors, const char *words) {
    cr_assert(rc == FLOW_ERROR_USAGE && flow_errors_count(*errors) > 0 && strstr(flow_errors_get(*errors, 0).text, words));
    flow_errors_free(*errors);
    *errors = NULL;
}

static flow_session *open(flow_runtime *runtime, bool profile, flow_graph **graph) {
    struct flow_session_options options = {.size = sizeof options, .profile = profile};
    flow_session *session = NULL;
    cr_assert(flow_graph_parse(runtime, "test.yaml", chain, strlen(chain), NULL, NULL, graph) == 0);
    cr_assert(flow_session_new(*graph, &options, NULL, &session) == 0);
    return session;
}

static void run(flow_session *session, int64_t rows) {
    static float data[64 * 64];
    struct flow_tensor x = flow_tensor_of(data, FLOW_F32, 2, (int64_t[]){rows, 64});
    cr_assert(flow_session_input(session, "x", &x, NULL) == 0 && flow_session_run(session, NULL) == 0);
}

Test(measure, a_profile_adds_up_over_plans_and_is_begun_anew) {
    struct flow_runtime_options one = {.size = sizeof one, .threads = 1};
    flow_runtime *runtime;
    flow_graph *graph;
    cr_assert(flow_runtime_new(&one, NULL, &runtime) == 0);
    flow_session *session = open(runtime, true, &graph);
    struct flow_profile profile = {.size = sizeof profile};
    for (int64_t rows = 1; rows <= 64; rows++) run(session, rows); /* each a plan */
    run(session, 64);
    cr_assert(flow_session_profile(session, &profile, NULL) == 0);
    cr_assert_eq(profile.count, 2);
    cr_assert_eq(profile.runs, 65);
    const struct flow_profile_row *a = profile.rows;
    cr_assert(strcmp(a->node, "a") == 0 && strcmp(a->op, "linear") == 0 && a->calls == 65 && a->pass == FLOW_PASS_FORWARD);
    cr_assert_eq(a->flops, 2.0 * 64 * 64 * (64 * 65 / 2 + 64));
    cr_assert(a->least > 0 && a->least <= a->seconds && profile.run_seconds > 0 && profile.plan_seconds > 0);
    flow_session_profile_reset(session);
    run(session, 3);
    cr_assert(flow_session_profile(session, &profile, NULL) == 0 && profile.count == 2 && profile.rows->calls == 1);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

Test(measure, limits_are_told) {
    struct flow_runtime_options two = {.size = sizeof two, .threads = 2};
    struct flow_limits limits = {.size = sizeof limits};
    flow_runtime *runtime;
    cr_assert(flow_runtime_new(&two, NULL, &runtime) == 0 && flow_runtime_limits(runtime, &limits, NULL) == 0);
    cr_assert(limits.threads == 2 && limits.flops > 1e7);
    for (int i = 0; i < FLOW_LIMIT_LEVELS; i++) cr_assert(limits.rate[i] > 1e6 && limits.reach[i] > (i ? limits.reach[i - 1] : 0));
    flow_runtime_free(runtime);
}

Test(measure, what_was_not_asked_for_is_refused) {
    struct flow_runtime_options wrong = {.size = sizeof wrong, .trace_events = -1};
    struct flow_profile profile = {.size = sizeof profile};
    flow_runtime *runtime;
    flow_graph *graph;
    flow_errors *errors = NULL;
    refused(flow_runtime_new(&wrong, &errors, &runtime), &errors, "trace_events");
    cr_assert(flow_runtime_new(NULL, NULL, &runtime) == 0);
    refused(flow_runtime_trace_write(runtime, "trace.json", NULL, &errors), &errors, "trace_events");
    flow_session *session = open(runtime, false, &graph);
    refused(flow_session_profile(session, &profile, &errors), &errors, "profile");
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

Test(measure, a_trace_has_the_nodes_that_ran) {
    struct flow_runtime_options options = {.size = sizeof options, .threads = 2, .trace_events = 64};
    char path[] = "/tmp/traceXXXXXX", text[1 << 16];
    flow_runtime *runtime;
    flow_graph *graph;
    uint64_t lost = 0;
    int file = mkstemp(path);
    cr_assert(file >= 0 && flow_runtime_new(&options, NULL, &runtime) == 0);
    close(file);
    flow_session *session = open(runtime, false, &graph);
    for (int i = 0; i < 100; i++) run(session, 8);
    flow_session_free(session);
    flow_graph_free(graph); /* names are the trace's own */
    cr_assert(flow_runtime_trace_write(runtime, path, &lost, NULL) == 0 && lost > 100);
    flow_runtime_free(runtime);
    FILE *stream = fopen(path, "re");
    text[stream ? fread(text, 1, sizeof text - 1, stream) : 0] = 0;
    if (stream) fclose(stream);
    unlink(path);
    cr_assert(strstr(text, "\"name\": \"a\"") && strstr(text, "\"op\": \"linear\"") && strstr(text, "f32 [8, 64]"), "%.400s", text);
}
