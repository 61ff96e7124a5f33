/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime on the emulated device: plans on several streams hold under every order of what no event orders, and each wait that the
 * planner put in is needed: left out, some order gives another result. */
#include "cuda_emulation/hooks.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <flow/flow.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 50, WIDTH = 24 };

/* A diamond, twice: branches that meet, a value read late, memory that is used again. */
static const char graph_text[] = "flow: 1\n"
                                 "inputs: {x: {dtype: f32, shape: [B, 24]}}\n"
                                 "nodes:\n"
                                 "  a: {op: linear, in: x, with: {units: 24}}\n"
                                 "  b: {op: tanh, in: a}\n"
                                 "  c: {op: softmax, in: a}\n"
                                 "  d: {op: mul, in: [b, c]}\n"
                                 "  e: {op: linear, in: d, with: {units: 24}}\n"
                                 "  f: {op: sigmoid, in: e}\n"
                                 "  g: {op: layer_norm, in: e}\n"
                                 "  h: {op: add, in: [f, g]}\n"
                                 "  y: {op: mul, in: [h, a]}\n"
                                 "outputs: {y: y}\n";

struct hooks {
    void *object;
    void (*seed)(uint64_t);
    void (*ignore_wait)(int64_t);
    void (*fail_allocation)(int64_t);
    void (*memory_limit)(int64_t);
    void (*count)(struct cuda_emulation_counts *);
    void (*count_reset)(void);
};

static void *symbol(const struct hooks *hooks, const char *name) {
    void *found = dlsym(hooks->object, name);
    cr_assert_not_null(found, "%s", name);
    return found;
}

static struct hooks hooks_open(void) {
    struct hooks hooks = {.object = dlopen(BUILD_DIR "/plugins/device/cuda.so", RTLD_NOW | RTLD_LOCAL)};
    cr_assert_not_null(hooks.object, "%s", dlerror());
#define HOOK(member)                                             \
    do {                                                         \
        void *found = symbol(&hooks, "cuda_emulation_" #member); \
        memcpy(&hooks.member, &found, sizeof found);             \
    } while (0)
    HOOK(seed);
    HOOK(ignore_wait);
    HOOK(fail_allocation);
    HOOK(memory_limit);
    HOOK(count);
    HOOK(count_reset);
    return hooks;
}

struct runs {
    flow_runtime *runtime;
    flow_graph *graph;
    flow_session *session;
    int turn; /* two inputs take turns, so that what a run left behind is wrong for the next */
    float x[2][2 * WIDTH];
};

static void show(flow_errors *errors) {
    for (int32_t i = 0; i < flow_errors_count(errors); i++) fprintf(stderr, "%s\n", flow_errors_get(errors, i).text);
}
/* `errors` in the call is the list. */
#define GOOD(call)                         \
    do {                                   \
        flow_errors *errors = NULL;        \
        int code = (call);                 \
        if (code < 0) show(errors);        \
        flow_errors_free(errors);          \
        cr_assert(code >= 0, "%s", #call); \
    } while (0)

static struct runs *runs_open(const char *device, const struct flow_session_options *session) {
    struct runs *runs = calloc(1, sizeof *runs);
    struct flow_runtime_options options = {
        .size = sizeof options, .threads = 1, .device = device, .plugin_path = BUILD_DIR "/plugins", .plugin_only = true};
    GOOD(flow_runtime_new(&options, &errors, &runs->runtime));
    GOOD(flow_graph_parse(runs->runtime, "waits.yaml", graph_text, sizeof graph_text - 1, NULL, &errors, &runs->graph));
    GOOD(flow_session_new(runs->graph, session, &errors, &runs->session));
    for (int i = 0; i < 4 * WIDTH; i++) runs->x[i / (2 * WIDTH)][i % (2 * WIDTH)] = sinf((float)i);
    return runs;
}

static void runs_close(struct runs *runs) {
    flow_session_free(runs->session);
    flow_graph_free(runs->graph);
    flow_runtime_free(runs->runtime);
    free(runs);
}

static const float *run(struct runs *runs) {
    const struct flow_tensor x = flow_tensor_of(runs->x[runs->turn], FLOW_F32, 2, (const int64_t[]){2, WIDTH});
    GOOD(flow_session_input(runs->session, "x", &x, &errors));
    GOOD(flow_session_run(runs->session, &errors));
    runs->turn = 1 - runs->turn;
    return flow_session_output(runs->session, "y")->data;
}

/* Runs once; is the output what it should be? */
static bool holds(struct runs *runs, float expected[2][2 * WIDTH]) {
    const float *right = expected[runs->turn], *y = run(runs);
    for (int i = 0; i < 2 * WIDTH; i++)
        if (!(fabsf(y[i] - right[i]) <= 1e-5f)) return false;
    return true;
}

static void expect(float expected[2][2 * WIDTH]) {
    struct runs *cpu = runs_open("cpu", NULL);
    for (int turn = 0; turn < 2; turn++) memcpy(expected[turn], run(cpu), 2 * WIDTH * sizeof(float));
    runs_close(cpu);
}

static const struct flow_session_options one = {.size = sizeof one}, four = {.size = sizeof four, .streams = 4, .spread = true},
                                         one_plain = {.size = sizeof one_plain, .uncaptured = true},
                                         four_plain = {.size = sizeof four_plain, .streams = 4, .spread = true, .uncaptured = true};

Test(waits, every_order_gives_the_result) {
    const struct flow_session_options *const ways[] = {&one, &four, &one_plain, &four_plain};
    struct hooks hooks = hooks_open();
    float expected[2][2 * WIDTH];
    expect(expected);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        struct runs *runs = runs_open("cuda", ways[w]);
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            hooks.seed(seed);
            cr_expect(holds(runs, expected), "way %zu, seed %d", w, (int)seed);
        }
        struct flow_launches launches = {.size = sizeof launches};
        flow_session_launches(runs->session, &launches);
        cr_expect_eq(launches.captures, w < 2 ? 1 : 0);
        cr_expect_eq(launches.replays, w < 2 ? SEEDS - 2 : 0);
        cr_expect_eq(launches.hosted, 0);
        runs_close(runs);
    }
    dlclose(hooks.object);
}

Test(waits, each_of_the_planner_s_is_needed) {
    struct hooks hooks = hooks_open();
    struct cuda_emulation_counts counts;
    float expected[2][2 * WIDTH];
    expect(expected);
    struct runs *runs = runs_open("cuda", &four_plain);
    cr_assert(holds(runs, expected));
    hooks.count_reset();
    cr_assert(holds(runs, expected));
    hooks.count(&counts);
    cr_assert(counts.waits > 8, "%d waits", (int)counts.waits);
    for (int64_t wait = 1; wait <= counts.waits; wait++) {
        int seen = 0;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            hooks.seed(seed);
            hooks.ignore_wait(wait);
            seen += !holds(runs, expected);
            hooks.ignore_wait(0);
            cr_assert(holds(runs, expected), "what comes after a run that went wrong is right again");
        }
        cr_expect(seen > 0, "wait %d of %d was left out, and nothing showed it", (int)wait, (int)counts.waits);
    }
    runs_close(runs);
    dlclose(hooks.object);
}

/* Whatever allocation fails: an error that says so, nothing lost, and the next attempt is well. */
Test(memory, each_allocation_may_fail) {
    struct hooks hooks = hooks_open();
    for (int64_t n = 1; n < 64; n++) {
        struct flow_runtime_options options = {
            .size = sizeof options, .threads = 1, .device = "cuda", .plugin_path = BUILD_DIR "/plugins", .plugin_only = true};
        flow_errors *errors = NULL;
        flow_runtime *runtime = NULL;
        flow_graph *graph = NULL;
        flow_session *session = NULL;
        float x[2 * WIDTH] = {0};
        const struct flow_tensor in = flow_tensor_of(x, FLOW_F32, 2, (const int64_t[]){2, WIDTH});
        hooks.fail_allocation(n);
        int code = flow_runtime_new(&options, &errors, &runtime);
        if (code >= 0) code = flow_graph_parse(runtime, "waits.yaml", graph_text, sizeof graph_text - 1, NULL, &errors, &graph);
        if (code >= 0) code = flow_session_new(graph, &four, &errors, &session);
        if (code >= 0) code = flow_session_input(session, "x", &in, &errors);
        for (int run = 0; run < 3 && code >= 0; run++) code = flow_session_run(session, &errors);
        hooks.fail_allocation(0);
        cr_expect(code >= 0 || code == FLOW_ERROR_MEMORY || code == FLOW_ERROR_UNSUPPORTED, "allocation %d: %d", (int)n, code);
        cr_expect(code >= 0 || flow_errors_count(errors) > 0, "allocation %d fails without a word", (int)n);
        flow_errors_free(errors);
        flow_session_free(session);
        flow_graph_free(graph);
        flow_runtime_free(runtime);
        struct cuda_emulation_counts counts;
        hooks.count(&counts);
        cr_expect_eq(counts.live, 0, "allocation %d: %d blocks are left", (int)n, (int)counts.live);
        if (code >= 0) return; /* there were no more */
    }
    cr_assert_fail("allocations without end");
}

Test(memory, what_is_asked_for_and_what_is_free_is_told) {
    struct hooks hooks = hooks_open();
    struct runs *runs = runs_open("cuda", &one);
    hooks.memory_limit(1); /* nothing more */
    flow_errors *told = NULL;
    const struct flow_tensor x = flow_tensor_of(runs->x[0], FLOW_F32, 2, (const int64_t[]){2, WIDTH});
    GOOD(flow_session_input(runs->session, "x", &x, &errors));
    int code = flow_session_run(runs->session, &told);
    hooks.memory_limit(0);
    cr_assert_eq(code, FLOW_ERROR_MEMORY);
    cr_assert(flow_errors_count(told) > 0);
    cr_expect_not_null(strstr(flow_errors_get(told, 0).text, "are free"), "%s", flow_errors_get(told, 0).text);
    flow_errors_free(told);
    runs_close(runs);
}
