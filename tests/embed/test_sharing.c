/* SPDX-License-Identifier: Apache-2.0 */
/* Several graphs, threads and runtimes in one process; one graph's weights in another. */
#include "harness/failing.h"
#include "harness/trial.h"

#include <criterion/criterion.h>
#include <stdatomic.h>

#define HEAD "flow: 1\nseed: 4\ninputs: {x: {dtype: f32, shape: [B, T, 16]}}\nnodes:\n"
static const char long_one[] = HEAD "  l: {op: lstm, in: x, with: {units: 24}}\n  h: {op: linear, in: l, with: {units: 48}}\n"
                                    "  g: {op: gelu, in: h}\n  y: {op: linear, in: g, with: {units: 5}}\noutputs: {y: y, h: h}\n";
/* The same up to h; y is another. */
static const char short_one[] = HEAD "  l: {op: lstm, in: x, with: {units: 24}}\n  h: {op: linear, in: l, with: {units: 48}}\n"
                                     "  y: {op: linear, in: h, with: {units: 7}}\noutputs: {h: h, y: y}\n";

static flow_runtime *runtime_new(int threads, struct failing *failing) {
    struct flow_runtime_options options = {.size = sizeof options, .threads = threads, .plugin_path = BUILD_DIR "/plugins"};
    if (failing) options.resize = failing_resize, options.resize_context = failing;
    flow_runtime *runtime = NULL;
    cr_assert(flow_runtime_new(&options, NULL, &runtime) == 0);
    return runtime;
}

static flow_graph *graph_new(flow_runtime *runtime, const char *text, const flow_graph *share, uint64_t seed) {
    struct flow_graph_options options = {.size = sizeof options, .share = share, .seeded = seed != 0, .seed = seed};
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    int rc = flow_graph_parse(runtime, "test.yaml", text, strlen(text), &options, &errors, &graph);
    trial_show(errors);
    cr_assert(rc == 0);
    return graph;
}

static float wave[2 * 12 * 16];

static flow_session *session_run(flow_graph *graph, const char *stream) {
    struct flow_session_options options = {.size = sizeof options, .stream = stream};
    flow_session *session = NULL;
    for (int i = 0; i < 2 * 12 * 16; i++) wave[i] = (float)(i * 37 % 101) / 50 - 1;
    struct flow_tensor x = flow_tensor_of(wave, FLOW_F32, 3, (int64_t[]){2, 12, 16});
    cr_assert(flow_session_new(graph, &options, NULL, &session) == 0 && flow_session_input(session, "x", &x, NULL) == 0);
    cr_assert(flow_session_run(session, NULL) == 0);
    return session;
}

static const struct flow_tensor *parameter(const flow_graph *graph, const char *wanted) {
    const char *name;
    const struct flow_tensor *value;
    for (size_t i = 0; (value = flow_graph_parameter(graph, i, &name)); i++)
        if (strcmp(name, wanted) == 0) return value;
    return NULL;
}

static bool same(const struct flow_tensor *a, const struct flow_tensor *b) {
    if (!a || !b || flow_tensor_count(a) != flow_tensor_count(b)) return false;
    for (int64_t i = 0; i < flow_tensor_count(a); i++)
        if (flow_tensor_real(a, i) != flow_tensor_real(b, i)) return false;
    return true;
}

Test(sharing, one_set_of_weights_serves_two_graphs) {
    struct failing failing = FAILING_INIT;
    flow_runtime *runtime = runtime_new(2, &failing);
    flow_graph *base = graph_new(runtime, long_one, NULL, 0);
    flow_session *first = session_run(base, NULL);
    size_t before = failing.bytes;
    flow_graph *other = graph_new(runtime, short_one, base, 99); /* its seed is of no account where it shares */
    flow_session *second = session_run(other, NULL);
    size_t shared = failing.bytes - before;
    before = failing.bytes;
    flow_graph *alone = graph_new(runtime, short_one, NULL, 99);
    flow_session *third = session_run(alone, NULL);
    size_t apart = failing.bytes - before;
    const struct flow_tensor *weight = parameter(base, "h.weight");
    cr_assert(weight && weight->data == parameter(other, "h.weight")->data, "h.weight is copied");
    cr_assert(parameter(base, "y.weight")->data != parameter(other, "y.weight")->data); /* of other shapes */
    cr_assert(weight->data != parameter(alone, "h.weight")->data);
    cr_assert(same(flow_session_output(first, "h"), flow_session_output(second, "h")));
    cr_assert(!same(flow_session_output(first, "h"), flow_session_output(third, "h")));
    /* The parameters and what is packed from them: more than the bytes of the shared parameters are saved. */
    size_t least = sizeof(float) * (4 * 24 * (16 + 24 + 2) + 48 * 25);
    cr_assert(apart > shared && apart - shared > least, "%zu bytes shared, %zu apart: expected %zu less", shared, apart, least);
    flow_session_free(third);
    flow_graph_free(alone);
    flow_session_free(first);
    flow_graph_free(base); /* before the one that shares with it */
    cr_assert(flow_session_run(second, NULL) == 0);
    flow_graph *grandchild = graph_new(runtime, short_one, other, 5);
    cr_assert(parameter(grandchild, "h.weight") == NULL);
    flow_session *fourth = session_run(grandchild, NULL);
    cr_assert(same(flow_session_output(second, "y"), flow_session_output(fourth, "y")));
    flow_session_free(second);
    flow_graph_free(other);
    cr_assert(flow_session_run(fourth, NULL) == 0);
    flow_session_free(fourth);
    flow_graph_free(grandchild);
    flow_runtime_free(runtime);
    cr_assert(failing.blocks == 0 && !failing.wrong_size, "%ld blocks are left", failing.blocks);
}

Test(sharing, sharing_before_the_first_run_gives_the_same) {
    flow_runtime *runtime = runtime_new(1, NULL);
    flow_graph *alone = graph_new(runtime, long_one, NULL, 0), *base = graph_new(runtime, long_one, NULL, 0);
    flow_graph *other = graph_new(runtime, short_one, base, 99);
    flow_session *of_other = session_run(other, NULL), *of_base = session_run(base, NULL), *of_alone = session_run(alone, NULL);
    cr_assert(same(flow_session_output(of_other, "h"), flow_session_output(of_alone, "h")));
    cr_assert(same(flow_session_output(of_base, "y"), flow_session_output(of_alone, "y")));
    flow_session_free(of_other), flow_session_free(of_base), flow_session_free(of_alone);
    flow_graph_free(base), flow_graph_free(other), flow_graph_free(alone);
    flow_runtime_free(runtime);
}

Test(sharing, what_is_set_goes_before_what_is_shared) {
    flow_runtime *runtime = runtime_new(1, NULL), *elsewhere = runtime_new(1, NULL);
    flow_graph *base = graph_new(runtime, long_one, NULL, 0), *other = graph_new(runtime, short_one, base, 0);
    static float zeros[48];
    struct flow_tensor bias = flow_tensor_of(zeros, FLOW_F32, 1, (int64_t[]){48});
    cr_assert(flow_graph_set(other, "h.bias", &bias, NULL) == 0);
    cr_assert(flow_graph_set(base, "h.bias", &bias, NULL) == FLOW_ERROR_USAGE); /* all its parameters have values by now */
    flow_session *session = session_run(other, NULL), *of_base = session_run(base, NULL);
    cr_assert(flow_tensor_real(parameter(other, "h.bias"), 3) == 0 && flow_tensor_real(parameter(base, "h.bias"), 3) != 0);
    cr_assert(parameter(other, "h.weight")->data == parameter(base, "h.weight")->data);
    /* What is packed from weight and bias together is not the base's. */
    cr_assert(!same(flow_session_output(session, "h"), flow_session_output(of_base, "h")));
    struct flow_graph_options options = {.size = sizeof options, .share = base};
    flow_graph *refused = NULL;
    flow_errors *errors = NULL;
    cr_assert(flow_graph_parse(elsewhere, "test.yaml", short_one, strlen(short_one), &options, &errors, &refused) == FLOW_ERROR_USAGE);
    cr_assert(!refused && strstr(flow_errors_get(errors, 0).text, "its own runtime"));
    flow_errors_free(errors);
    flow_session_free(session), flow_session_free(of_base);
    flow_graph_free(base), flow_graph_free(other);
    flow_runtime_free(runtime), flow_runtime_free(elsewhere);
}

/* Every n-th request for memory fails once, from the runtime to a run of the graph that shares. */
static bool fails_well(long n) {
    struct failing failing = FAILING_INIT;
    failing.fail_at = n;
    struct flow_runtime_options options = {
        .size = sizeof options, .threads = 1, .plugin_path = BUILD_DIR "/plugins", .resize = failing_resize, .resize_context = &failing};
    flow_runtime *runtime = NULL;
    flow_graph *base = NULL, *other = NULL;
    flow_session *session = NULL;
    static float y[2 * 12 * 7];
    struct flow_tensor x = flow_tensor_of(wave, FLOW_F32, 3, (int64_t[]){2, 12, 16});
    flow_errors *errors = NULL;
    int rc = flow_runtime_new(&options, &errors, &runtime);
    if (rc == 0) rc = flow_graph_parse(runtime, "base.yaml", long_one, strlen(long_one), NULL, &errors, &base);
    struct flow_graph_options sharing = {.size = sizeof sharing, .share = base};
    if (rc == 0) rc = flow_graph_parse(runtime, "other.yaml", short_one, strlen(short_one), &sharing, &errors, &other);
    if (base) flow_graph_free(base);
    if (rc == 0) rc = flow_session_new(other, NULL, &errors, &session);
    if (rc == 0) rc = flow_session_input(session, "x", &x, &errors);
    if (rc == 0) rc = flow_session_bind_output(session, "y", y, sizeof y, &errors);
    if (rc == 0) rc = flow_session_run(session, &errors);
    bool reached = failing.requests >= n;
    cr_assert(rc == 0 || rc == FLOW_ERROR_MEMORY, "request %ld: code %d, %s", n, rc, errors ? flow_errors_get(errors, 0).text : "");
    cr_assert(reached || rc == 0);
    flow_errors_free(errors);
    flow_session_free(session);
    if (other) flow_graph_free(other);
    flow_runtime_free(runtime);
    cr_assert(failing.blocks == 0 && !failing.wrong_size, "request %ld: %ld blocks are left", n, failing.blocks);
    return reached;
}

Test(sharing, memory_may_run_out_anywhere, .timeout = 300) {
    long n = 1;
    while (fails_well(n)) n++;
    cr_assert(n > 100, "only %ld requests", n);
}

/* ---- Threads ---- */

struct worker {
    flow_runtime *runtime;
    const flow_graph *base;
    flow_graph *graph; /* NULL: each opens its own, sharing */
    double expected;
    int wrong;
};

static double sum_of(const struct flow_tensor *t) {
    double sum = 0;
    for (int64_t i = 0; i < flow_tensor_count(t); i++) sum += flow_tensor_real(t, i) * (double)(i % 7 + 1);
    return sum;
}

static void *work(void *argument) {
    struct worker *w = argument;
    for (int turn = 0; turn < 6; turn++) {
        struct flow_graph_options options = {.size = sizeof options, .share = w->base};
        flow_graph *graph = w->graph;
        flow_session *session = NULL;
        struct flow_tensor x = flow_tensor_of(wave, FLOW_F32, 3, (int64_t[]){2, 12, 16});
        if (!graph && flow_graph_parse(w->runtime, "test.yaml", short_one, strlen(short_one), &options, NULL, &graph) < 0) w->wrong++;
        if (!graph || flow_session_new(graph, NULL, NULL, &session) < 0) return w->wrong++, NULL;
        for (int run = 0; run < 5; run++)
            if (flow_session_input(session, "x", &x, NULL) < 0 || flow_session_run(session, NULL) < 0 ||
                sum_of(flow_session_output(session, "h")) != w->expected)
                w->wrong++;
        flow_session_free(session);
        if (!w->graph) flow_graph_free(graph);
    }
    return NULL;
}

Test(sharing, threads_open_share_run_and_free_at_once) {
    enum { WORKERS = 6 };
    flow_runtime *runtime = runtime_new(2, NULL);
    flow_graph *base = graph_new(runtime, long_one, NULL, 0);
    flow_session *session = session_run(base, NULL);
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){runtime, base, i % 2 ? base : NULL, sum_of(flow_session_output(session, "h")), 0};
        cr_assert(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert(workers[i].wrong == 0, "worker %d: %d wrong", i, workers[i].wrong);
    }
    flow_session_free(session);
    flow_graph_free(base);
    flow_runtime_free(runtime);
}

static void *whole_runtime(void *argument) {
    atomic_int *wrong = argument;
    for (int turn = 0; turn < 4; turn++) {
        flow_runtime *runtime = NULL;
        struct flow_runtime_options options = {.size = sizeof options, .threads = 2, .plugin_path = BUILD_DIR "/plugins"};
        flow_graph *graph = NULL;
        flow_session *session = NULL;
        struct flow_tensor x = flow_tensor_of(wave, FLOW_F32, 3, (int64_t[]){2, 12, 16});
        int rc = flow_runtime_new(&options, NULL, &runtime);
        if (rc == 0) rc = flow_graph_parse(runtime, "test.yaml", short_one, strlen(short_one), NULL, NULL, &graph);
        if (rc == 0) rc = flow_session_new(graph, NULL, NULL, &session);
        if (rc == 0) rc = flow_session_input(session, "x", &x, NULL);
        if (rc == 0) rc = flow_session_run(session, NULL);
        if (rc < 0) atomic_fetch_add(wrong, 1);
        flow_session_free(session);
        if (graph) flow_graph_free(graph);
        flow_runtime_free(runtime);
    }
    return NULL;
}

Test(sharing, runtimes_live_side_by_side) {
    pthread_t threads[3];
    atomic_int wrong = 0;
    flow_runtime *open = NULL;
#ifdef __SANITIZE_THREAD__ /* which does not see the loader's own lock: nothing is unloaded here */
    struct flow_operator_info info;
    open = runtime_new(1, NULL);
    cr_assert(flow_runtime_operator(open, "lstm", NULL, &info) == 0);
#endif
    for (int i = 0; i < 3; i++) cr_assert(pthread_create(&threads[i], NULL, whole_runtime, &wrong) == 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    cr_assert(atomic_load(&wrong) == 0);
    flow_runtime_free(open);
}

static long resident(void) { /* pages */
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2) pages = 0;
    if (file) fclose(file);
    return pages;
}

Test(sharing, a_thousand_runtimes_leave_nothing, .timeout = 120) {
    enum { COUNT = 1000, WARM = 100 };
    struct failing failing = FAILING_INIT;
    long before = 0;
    for (int i = 0; i < COUNT; i++) {
        flow_runtime *runtime = runtime_new(1 + i % 3, &failing);
        flow_graph *graph = graph_new(runtime,
                                      "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 16]}}\nnodes: {y: {op: relu, in: x}}\n"
                                      "outputs: {y: y}\n",
                                      NULL, 0);
        flow_session_free(session_run(graph, NULL));
        flow_graph_free(graph);
        flow_runtime_free(runtime);
        cr_assert(failing.blocks == 0 && failing.bytes == 0);
        if (i == WARM) before = resident();
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    cr_assert(resident() - before < 256, "%ld pages more after %d runtimes", resident() - before, COUNT - WARM);
#endif
    (void)before;
}
