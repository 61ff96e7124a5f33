/* SPDX-License-Identifier: Apache-2.0 */
/* Every n-th allocation fails once, from the runtime's making to the last piece, for graphs of every kind. */
#include "harness/failing.h"

#include <criterion/criterion.h>
#include <flow/flow.h>
#include <stdio.h>

#define INPUT "flow: 1\nseed: 2\ninputs: {x: {dtype: f32, shape: [B, T, 4]}}\n"

static const struct {
    const char *name, *text, *stream;
} graphs[] = {
    {"weights", INPUT "nodes: {h: {op: linear, in: x, with: {units: 3}}, y: {op: softmax, in: h}}\noutputs: {y: y}\n", NULL},
    {"loop",
     INPUT
     "graphs: {g: {inputs: {x: {dtype: f32, shape: [B, T, 4]}}, nodes: {y: {op: linear, in: x, with: {units: 4}}}, outputs: {x: y}}}\n"
     "nodes: {y: {graph: g, in: x, loop: {max: 3, carry: {x: x}}}}\noutputs: {y: y}\n",
     NULL},
    {"subgraph",
     INPUT "graphs: {g: {inputs: {x: {dtype: f32, shape: [B, T, 4]}}, nodes: {y: {op: relu, in: x}}, outputs: {x: y}}}\n"
           "nodes: {y: {graph: g, in: x, repeat: 3}}\noutputs: {y: y}\n",
     NULL},
    {"plugin", INPUT "nodes: {y: {op: lstm, in: x, with: {units: 3}}}\noutputs: {y: y}\n", NULL},
    {"stream", INPUT "nodes: {f: {op: fsmn, in: x, with: {left: 2, right: 1}}, y: {op: gru, in: f, with: {units: 2}}}\noutputs: {y: y}\n",
     "T"},
};

static int step(flow_session *session, int64_t steps, bool last, flow_errors **errors) {
    static float x[2 * 5 * 4] = {1, -1, 2};
    struct flow_tensor t = flow_tensor_of(x, FLOW_F32, 3, (int64_t[]){2, steps, 4});
    int rc = flow_session_input(session, "x", &t, errors);
    if (rc < 0) return rc;
    return last ? flow_session_finish(session, errors) : flow_session_run(session, errors);
}

static int all_of_it(flow_runtime *runtime, size_t which, flow_errors **errors) {
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    char *text = NULL;
    const char *stream = graphs[which].stream;
    int rc = flow_graph_parse(runtime, "test.yaml", graphs[which].text, strlen(graphs[which].text), NULL, errors, &graph);
    if (rc == 0) rc = flow_graph_check(graph, stream, errors);
    struct flow_describe_options describe = {.size = sizeof describe, .stream = stream};
    if (rc == 0) rc = flow_graph_describe(graph, &describe, errors, &text);
    flow_text_free(text);
    text = NULL;
    if (rc == 0) rc = flow_graph_draw(graph, "svg", errors, &text);
    flow_text_free(text);
    struct flow_session_options options = {.size = sizeof options, .stream = stream, .profile = which == 0};
    if (rc == 0) rc = flow_session_new(graph, &options, errors, &session);
    if (rc == 0) rc = step(session, 5, false, errors);
    if (rc == 0) rc = step(session, 2, stream != NULL, errors);
    flow_session_free(session);
    flow_graph_free(graph);
    return rc;
}

/* One try with the n-th request failing; true while there was an n-th. */
static bool fails_well(size_t which, long n) {
    struct failing failing = FAILING_INIT;
    failing.fail_at = n;
    struct flow_runtime_options options = {
        .size = sizeof options, .threads = 1, .plugin_path = BUILD_DIR "/plugins", .resize = failing_resize, .resize_context = &failing};
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    int rc = flow_runtime_new(&options, &errors, &runtime);
    if (rc == 0) rc = all_of_it(runtime, which, &errors);
    bool reached = failing.requests >= n;
    cr_assert(rc == 0 || rc == FLOW_ERROR_MEMORY, "%s, request %ld: code %d, %s", graphs[which].name, n, rc,
              errors ? flow_errors_get(errors, 0).text : "");
    cr_assert(reached || rc == 0, "%s", errors ? flow_errors_get(errors, 0).text : "");
    flow_errors_free(errors);
    flow_runtime_free(runtime);
    cr_assert(failing.blocks == 0 && !failing.wrong_size, "%s, request %ld: %ld blocks are left%s", graphs[which].name, n, failing.blocks,
              failing.wrong_size ? ", one was freed by a wrong size" : "");
    return reached;
}

static void sweep(size_t which) {
    long n = 1;
    while (fails_well(which, n)) n++;
    cr_assert(n > 20, "only %ld requests", n);
}

Test(memory, weights, .timeout = 300) { sweep(0); }
Test(memory, loop, .timeout = 300) { sweep(1); }
Test(memory, subgraph, .timeout = 300) { sweep(2); }
Test(memory, plugin, .timeout = 300) { sweep(3); }
Test(memory, stream, .timeout = 300) { sweep(4); }
