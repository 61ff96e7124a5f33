/* SPDX-License-Identifier: Apache-2.0 */
/* flow.h as an application uses it, through small graphs written here. */
#include "harness/trial.h"

#include <criterion/criterion.h>
#include <unistd.h>

static flow_runtime *runtime_of(int threads) {
    struct flow_runtime_options options = {.size = sizeof options, .threads = threads, .plugin_path = BUILD_DIR "/plugins"};
    flow_runtime *runtime = NULL;
    cr_assert(flow_runtime_new(&options, NULL, &runtime) == 0);
    return runtime;
}

static flow_graph *graph_of(flow_runtime *runtime, const char *text) {
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    int rc = flow_graph_parse(runtime, "test.yaml", text, strlen(text), NULL, &errors, &graph);
    trial_show(errors);
    cr_assert(rc == 0 && !errors);
    return graph;
}

static flow_session *session_of(flow_graph *graph, const char *stream) {
    struct flow_session_options options = {.size = sizeof options, .stream = stream};
    flow_session *session = NULL;
    cr_assert(flow_session_new(graph, &options, NULL, &session) == 0);
    return session;
}

/* The call must fail with this code and say these words. */
static void refused(int rc, int code, flow_errors **errors, const char *words) {
    cr_assert(rc == code, "code %d, expected %d", rc, code);
    cr_assert(flow_errors_count(*errors) > 0 && strstr(flow_errors_get(*errors, 0).text, words), "%s",
              flow_errors_count(*errors) ? flow_errors_get(*errors, 0).text : "nothing said");
    flow_errors_free(*errors);
    *errors = NULL;
}

static const char plain[] = "flow: 1\ninputs: {wave: {dtype: f32, shape: [B, T]}, count: {dtype: i64, shape: [B]}}\n"
                            "nodes: {y: {op: mul, in: [wave, wave]}, n: {op: add, in: [count, count]}}\noutputs: {power: y, n: n}\n";

Test(embed, inputs_are_converted_or_refused) {
    flow_runtime *runtime = runtime_of(1);
    flow_graph *graph = graph_of(runtime, plain);
    flow_session *session = session_of(graph, NULL);
    flow_errors *errors = NULL;
    double wave[] = {1, 2, 3, 4};
    int32_t count[] = {5, -6};
    int64_t wide[] = {5, -6};
    float real[] = {1, 2};
    struct flow_tensor w = flow_tensor_of(wave, FLOW_F64, 2, (int64_t[]){2, 2}), c = flow_tensor_of(count, FLOW_I32, 1, (int64_t[]){2});
    struct flow_tensor l = flow_tensor_of(wide, FLOW_I64, 1, (int64_t[]){2}), r = flow_tensor_of(real, FLOW_F32, 1, (int64_t[]){2});
    refused(flow_session_run(session, &errors), FLOW_ERROR_USAGE, &errors, "'wave' is not given");
    refused(flow_session_input(session, "wav", &w, &errors), FLOW_ERROR_USAGE, &errors, "did you mean 'wave'");
    refused(flow_session_input(session, "wave", &c, &errors), FLOW_ERROR_SHAPE, &errors, "2 axes");
    refused(flow_session_feedback(session, "wave", "powr", &errors), FLOW_ERROR_USAGE, &errors, "did you mean 'power'");
    refused(flow_session_finish(session, &errors), FLOW_ERROR_USAGE, &errors, "does not stream");
    cr_assert(flow_session_output(session, "power") == NULL && flow_session_output_at(session, 0) == NULL);
    cr_assert(flow_session_input(session, "wave", &w, NULL) == 0 && flow_session_input(session, "count", &c, NULL) == 0);
    cr_assert(flow_session_run(session, NULL) == 0);
    const struct flow_tensor *power = flow_session_output(session, "power"), *n = flow_session_output(session, "n");
    cr_assert(power->dtype == FLOW_F32 && flow_tensor_real(power, 3) == 16 && n->dtype == FLOW_I64 && flow_tensor_real(n, 1) == -12);
    cr_assert(flow_session_output(session, "nothing") == NULL && flow_session_output_axis(session, 0) == -1);
    cr_assert(flow_session_input(session, "count", &r, NULL) == 0);
    refused(flow_session_run(session, &errors), FLOW_ERROR_TYPE, &errors, "'count' is i64");
    l.shape[0] = 1; /* B is 2 in the other */
    cr_assert(flow_session_input(session, "count", &l, NULL) == 0);
    cr_assert(flow_session_run(session, &errors) == FLOW_ERROR_SHAPE && flow_errors_count(errors) > 0);
    flow_errors_free(errors);
    w.strides[0] = 1, w.strides[1] = 2, l.shape[0] = 2; /* columns as rows */
    cr_assert(flow_session_input(session, "wave", &w, NULL) == 0 && flow_session_input(session, "count", &l, NULL) == 0);
    cr_assert(flow_session_run(session, NULL) == 0 && flow_tensor_real(flow_session_output(session, "power"), 1) == 9);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

Test(embed, errors_of_a_file_come_together) {
    static const char text[] =
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\nnodes:\n  a: {op: rellu, in: x}\n  b: {op: relu, in: z}\n"
        "  c: {op: linear, in: x, with: {unit: 3}}\noutputs: {c: c}\n";
    flow_runtime *runtime = runtime_of(1);
    flow_errors *errors = NULL;
    flow_graph *graph;
    cr_assert(flow_graph_parse(runtime, "bad.yaml", text, strlen(text), NULL, &errors, &graph) < 0 && !graph);
    int32_t count = flow_errors_count(errors);
    cr_assert(count >= 3, "%d errors are told", (int)count);
    for (int32_t i = 0; i < count; i++) cr_assert(flow_errors_get(errors, i).line >= 4 && flow_errors_get(errors, i).code < 0);
    cr_assert(flow_graph_parse(runtime, "bad.yaml", text, strlen(text), NULL, &errors, &graph) < 0);
    cr_assert(flow_errors_count(errors) == 2 * count); /* added to */
    flow_errors_free(errors);
    flow_runtime_free(runtime);
}

/* ---- Threads ---- */

static const char network[] = "flow: 1\nseed: 3\ninputs: {x: {dtype: f32, shape: [B, T, 6]}}\nnodes:\n"
                              "  l: {op: lstm, in: x, with: {units: 8}}\n  h: {op: linear, in: l, with: {units: 5}}\n"
                              "  y: {op: softmax, in: h}\noutputs: {y: y, l: l}\n";

struct caller {
    flow_graph *graph;
    const float *x;
    int turns, wrong;
    uint64_t sum;
};

static uint64_t mix(uint64_t sum, const struct flow_tensor *t) {
    for (int64_t i = 0; i < flow_tensor_count(t); i++) {
        double value = flow_tensor_real(t, i);
        uint64_t bits;
        memcpy(&bits, &value, 8);
        sum = (sum ^ bits) * 0x100000001b3u;
    }
    return sum;
}

static void *call(void *argument) {
    struct caller *c = argument;
    flow_session *session = NULL;
    if (flow_session_new(c->graph, NULL, NULL, &session) < 0) return c->wrong++, NULL;
    for (int turn = 0; turn < c->turns; turn++) {
        struct flow_tensor x = flow_tensor_of((void *)(uintptr_t)c->x, FLOW_F32, 3, (int64_t[]){2, 3 + turn % 5, 6});
        if (flow_session_input(session, "x", &x, NULL) < 0 || flow_session_run(session, NULL) < 0) {
            c->wrong++;
            break;
        }
        c->sum = mix(mix(c->sum, flow_session_output_at(session, 0)), flow_session_output_at(session, 1));
    }
    flow_session_free(session);
    return NULL;
}

static void fill(float *x, int count) {
    for (int i = 0; i < count; i++) x[i] = (float)(i * 37 % 101) / 50 - 1;
}

Test(embed, sessions_in_threads_give_what_one_gives) {
    enum { CALLERS = 4 };
    static float x[2 * 8 * 6];
    fill(x, 2 * 8 * 6);
    flow_runtime *runtime = runtime_of(2);
    flow_graph *graph = graph_of(runtime, network), *other = graph_of(runtime, network);
    struct caller alone = {graph, x, 20, 0, 0}, many[CALLERS];
    call(&alone);
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        many[i] = (struct caller){i % 2 ? other : graph, x, 20, 0, 0};
        cr_assert(pthread_create(&threads[i], NULL, call, &many[i]) == 0);
    }
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < CALLERS; i++) cr_assert(!many[i].wrong && many[i].sum == alone.sum && alone.sum);
    flow_graph_free(other);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

static void *cancel_soon(void *session) {
    usleep(20000);
    flow_session_cancel(session);
    return NULL;
}

Test(embed, a_run_is_cancelled) {
    static const char text[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [N]}}\ngraphs:\n  g:\n    inputs: {x: {dtype: f32, shape: [N]}}\n"
                               "    nodes: {y: {op: tanh, in: x}}\n    outputs: {x: y}\n"
                               "nodes: {y: {graph: g, in: x, loop: {max: 100000000, carry: {x: x}}}}\noutputs: {y: y}\n";
    static float x[1000];
    flow_runtime *runtime = runtime_of(1);
    flow_graph *graph = graph_of(runtime, text), *quick = graph_of(runtime, network);
    flow_session *session = session_of(graph, NULL), *before = session_of(quick, NULL);
    struct flow_tensor t = flow_tensor_of(x, FLOW_F32, 1, (int64_t[]){1000}), q = flow_tensor_of(x, FLOW_F32, 3, (int64_t[]){1, 4, 6});
    flow_errors *errors = NULL;
    pthread_t thread;
    cr_assert(flow_session_input(session, "x", &t, NULL) == 0);
    cr_assert(pthread_create(&thread, NULL, cancel_soon, session) == 0);
    refused(flow_session_run(session, &errors), FLOW_ERROR_CANCELLED, &errors, "cancelled");
    pthread_join(thread, NULL);
    cr_assert(flow_session_output_at(session, 0) == NULL);
    flow_session_cancel(before);
    cr_assert(flow_session_input(before, "x", &q, NULL) == 0);
    refused(flow_session_run(before, &errors), FLOW_ERROR_CANCELLED, &errors, "cancelled");
    flow_session_reset(before);
    cr_assert(flow_session_run(before, NULL) == 0); /* one cancel ends one run */
    flow_session_free(before);
    flow_session_free(session);
    flow_graph_free(quick);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

/* ---- Feedback, streams ---- */

Test(embed, an_output_is_fed_back) {
    flow_runtime *runtime = runtime_of(1);
    flow_graph *graph = graph_of(runtime, "flow: 1\ninputs: {x: {dtype: f32, shape: [2, N]}}\nnodes: {s: {op: add, in: [x, x]}, t: {op: "
                                          "transpose, in: s}, y: {op: transpose, in: t}}\noutputs: {y: y}\n");
    flow_session *session = session_of(graph, NULL);
    float x[] = {1, 2, 3, 4, 5, 6};
    struct flow_tensor t = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){2, 3});
    cr_assert(flow_session_input(session, "x", &t, NULL) == 0 && flow_session_feedback(session, "x", "y", NULL) == 0);
    for (int run = 0; run < 5; run++) cr_assert(flow_session_run(session, NULL) == 0);
    for (int i = 0; i < 6; i++) cr_assert(flow_tensor_real(flow_session_output_at(session, 0), i) == 32 * x[i]);
    flow_session_reset(session); /* from the bound input again */
    cr_assert(flow_session_run(session, NULL) == 0 && flow_tensor_real(flow_session_output_at(session, 0), 5) == 12);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

static const char stream[] = "flow: 1\nseed: 5\ninputs: {x: {dtype: f32, shape: [B, T, 4]}}\nnodes:\n"
                             "  f: {op: fsmn, in: x, with: {left: 3, right: 2}}\n  g: {op: gru, in: f, with: {units: 3}}\n"
                             "  y: {op: add, in: [g, g]}\noutputs: {y: y}\n";

/* A sequence of `steps` in pieces of sizes that grow by one; the sum over everything that came out, and how much. */
static uint64_t sequence(flow_session *session, const float *x, int64_t steps, int64_t first, int64_t *out) {
    uint64_t sum = 1;
    *out = 0;
    for (int64_t at = 0, n = first;; n++) {
        int64_t take = n < steps - at ? n : steps - at;
        struct flow_tensor t = flow_tensor_of((void *)(uintptr_t)(x + 4 * at), FLOW_F32, 3, (int64_t[]){1, take, 4});
        at += take;
        cr_assert(flow_session_input(session, "x", &t, NULL) == 0);
        cr_assert((at == steps ? flow_session_finish(session, NULL) : flow_session_run(session, NULL)) == 0);
        cr_assert(flow_session_output_axis(session, 0) == 1);
        const struct flow_tensor *y = flow_session_output_at(session, 0);
        *out += y->shape[1], sum = mix(sum, y);
        if (at == steps) return sum;
    }
}

Test(embed, sequences_follow_each_other_and_plans_give_way) {
    enum { STEPS = 4000 }; /* pieces of 1, 2 .. 88: more than a session keeps plans for */
    static float x[STEPS * 4];
    fill(x, STEPS * 4);
    flow_runtime *runtime = runtime_of(1);
    flow_graph *graph = graph_of(runtime, stream);
    flow_session *session = session_of(graph, "T");
    int64_t made, again;
    uint64_t sum = sequence(session, x, STEPS, 1, &made);
    cr_assert(made == STEPS, "%lld steps come out", (long long)made);
    cr_assert(sequence(session, x, STEPS, 1, &again) == sum && again == made); /* after finish: a new sequence */
    struct flow_tensor some = flow_tensor_of(x + 40, FLOW_F32, 3, (int64_t[]){1, 9, 4});
    cr_assert(flow_session_input(session, "x", &some, NULL) == 0 && flow_session_run(session, NULL) == 0);
    flow_session_reset(session); /* what was begun is forgotten */
    cr_assert(sequence(session, x, STEPS, 1, &again) == sum && again == made);
    cr_assert(sequence(session, x, STEPS, 500, &again) != 0 && again == made);
    cr_assert(sequence(session, x, 0, 1, &again) != 0 && again == 0);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}
