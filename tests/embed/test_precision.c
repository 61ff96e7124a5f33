/* SPDX-License-Identifier: Apache-2.0 */
/* `run: {precision: bf16}`: products of rounded factors, everything else f32; with packed weights, with weights fed by a node, in a loop.
 */
#include "harness/trial.h"

#include <criterion/criterion.h>

static const char text[] = "flow: 1\n"
                           "inputs: {x: {dtype: f32, shape: [B, 64]}}\n"
                           "graphs:\n"
                           "  step:\n"
                           "    inputs: {h: {dtype: f32, shape: [B, 64]}}\n"
                           "    nodes: {w: {op: linear, in: h, with: {units: 64}}, t: {op: tanh, in: w}}\n"
                           "    outputs: {h: t}\n"
                           "nodes:\n"
                           "  packed: {op: linear, in: x, with: {units: 96}}\n"
                           "  square: {op: matmul, in: {a: x, b: x}, with: {transpose_b: true}}\n"
                           "  body: {graph: step, in: x, loop: {max: 3, carry: {h: h}}}\n"
                           "  sum: {op: add, in: [x, x]}\n"
                           "outputs: {packed: packed, square: square, body: body, sum: sum}\n"
                           "seed: 3\n";
enum { ROWS = 20, OUTPUTS = 4, MOST = ROWS * 96 };

/* All outputs, one after the other. */
static void outputs_of(const char *run, int32_t precision, double (*to)[MOST]) {
    struct flow_runtime_options options = {.size = sizeof options, .threads = 1, .plugin_path = BUILD_DIR "/plugins"};
    struct flow_graph_options how = {.size = sizeof how, .precision = precision};
    struct flow_session_options session_options = {.size = sizeof session_options};
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    flow_errors *errors = NULL;
    char whole[2048];
    snprintf(whole, sizeof whole, "%s%s", text, run);
    cr_assert(flow_runtime_new(&options, NULL, &runtime) == 0);
    int rc = flow_graph_parse(runtime, "test.yaml", whole, strlen(whole), &how, &errors, &graph);
    trial_show(errors);
    cr_assert(rc == 0 && flow_session_new(graph, &session_options, NULL, &session) == 0);
    float x[ROWS * 64];
    for (int i = 0; i < ROWS * 64; i++) x[i] = (float)((i * 7919 + 13) % 1009) / 1009 - 0.5f;
    struct flow_tensor t = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){ROWS, 64});
    cr_assert(flow_session_input(session, "x", &t, NULL) == 0);
    rc = flow_session_run(session, &errors);
    trial_show(errors);
    cr_assert(rc == 0);
    for (size_t o = 0; o < OUTPUTS; o++) {
        const struct flow_tensor *y = flow_session_output_at(session, o);
        cr_assert(y->dtype == FLOW_F32 && flow_tensor_count(y) <= MOST);
        for (int64_t i = 0; i < flow_tensor_count(y); i++) to[o][i] = flow_tensor_real(y, i);
    }
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

Test(precision, bf16_products) {
    static double exact[OUTPUTS][MOST], half[OUTPUTS][MOST], asked[OUTPUTS][MOST];
    outputs_of("", FLOW_F32, exact);
    outputs_of("", FLOW_BF16, half);
    outputs_of("run: {precision: bf16}\n", FLOW_F32, asked);
    for (int o = 0; o < OUTPUTS; o++) {
        double most = 0, off = 0;
        for (int i = 0; i < MOST; i++) {
            cr_assert(half[o][i] == asked[o][i], "the key in the graph and the option differ");
            if (fabs(exact[o][i]) > most) most = fabs(exact[o][i]);
            if (fabs(exact[o][i] - half[o][i]) > off) off = fabs(exact[o][i] - half[o][i]);
        }
        if (o == 3) cr_expect(off == 0, "a sum is no product");
        else cr_expect(off > 1e-5 * most && off < 1e-2 * most, "output %d: off by %g of %g", o, off, most);
    }
}
