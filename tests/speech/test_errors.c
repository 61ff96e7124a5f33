/* SPDX-License-Identifier: Apache-2.0 */
/* What cannot be is refused, with what was found and what was expected. */
#include <criterion/criterion.h>

#include <flow/flow.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wrong {
    const char *input;  /* "name: {...}" */
    const char *node;   /* of y */
    const char *stream; /* symbol, or NULL: whole */
    const char *words;  /* of the message */
};

static const struct wrong cases[] = {
    {"x: {dtype: f32, shape: [2, 8]}", "{op: stft, in: x, with: {size: 16, hop: 4}}", NULL, "x has 8 samples|size/2 = 8|more than that"},
    {"x: {dtype: f32, shape: [2, S]}", "{op: stft, in: x, with: {size: 16, hop: 4}}", "S",
     "center: true|whole sequence|center: false streams"},
    {"x: {dtype: f32, shape: [2, 80]}", "{op: stft, in: x, with: {size: 16, hop: 4, length: 17}}", NULL, "length is 17, size is 16"},
    {"x: {dtype: f32, shape: [2, 80]}", "{op: stft, in: x, with: {hop: 4}}", NULL, "size"},
    {"x: {dtype: f32, shape: [2, 9, 5]}", "{op: istft, in: [x, x], with: {size: 20, hop: 4}}", NULL, "re has 9 bins|size 20|11"},
    {"x: {dtype: f32, shape: [2, 9, T]}", "{op: istft, in: [x, x], with: {size: 16, hop: 4, samples: 99}}", "T", "samples|stream"},
    {"x: {dtype: f32, shape: [2, F, 4]}", "{op: istft, in: [x, x], with: {size: 16, hop: 4}}", "F", "not along the bins"},
    {"x: {dtype: f32, shape: [2, S]}", "{op: fbank, in: x, with: {snip_edges: false}}", "S", "snip_edges: false|snip_edges: true streams"},
    {"x: {dtype: f32, shape: [2, 900]}", "{op: fbank, in: x, with: {high: 9000}}", NULL, "9000 Hz|8000 Hz"},
    {"x: {dtype: f32, shape: [2, 900]}", "{op: fbank, in: x, with: {low: 900, high: 300}}", NULL, "900 to 300 Hz"},
    {"x: {dtype: f32, shape: [2, 900]}", "{op: fbank, in: x, with: {window_ms: 0}}", NULL, "0 ms is 0 samples"},
    {"x: {dtype: f32, shape: [2, 9, D]}", "{op: fsmn, in: x, with: {left: 3}}", "D", "not along the units"},
    {"x: {dtype: f32, shape: [2, 9]}", "{op: fsmn, in: x, with: {left: 3}}", NULL, "x|B T D"},
    {"x: {dtype: f32, shape: [2, 9, 4]}", "{op: fsmn, in: x, with: {left: -1}}", NULL, "left|-1"},
    {"x: {dtype: f32, shape: [2, 9, D]}", "{op: frame_stack, in: x, with: {count: 3}}", "D", "streams along axis 1"},
    {"x: {dtype: f32, shape: [9]}", "{op: frame, in: x, with: {size: 3, hop: 1}}", NULL, "1 axes|expected 2"},
    {"x: {dtype: f32, shape: [9, 2]}", "{op: overlap_add, in: x, with: {hop: 1}}", NULL, "2 axes|at least 3"},
    {"x: {dtype: f32, shape: [1, 9, 0]}", "{op: overlap_add, in: x, with: {hop: 1}}", NULL, "0 steps"},
    {"x: {dtype: f32, shape: [1, 9, L]}", "{op: overlap_add, in: x, with: {hop: 1}}", "L", "not along the steps"},
    {"x: {dtype: f32, shape: [2, 9]}", "{op: vad_segments, in: x}", NULL, "x|[2, 9]"},
};

static int attempt(flow_runtime *runtime, const struct wrong *wrong, flow_errors **errors) {
    char text[512];
    snprintf(text, sizeof text, "flow: 1\ninputs:\n  %s\nnodes:\n  y: %s\noutputs: {y: y}\n", wrong->input, wrong->node);
    flow_graph *graph = NULL;
    int rc = flow_graph_parse(runtime, "wrong.yaml", text, strlen(text), NULL, errors, &graph);
    if (rc == 0) rc = flow_graph_check(graph, wrong->stream, errors);
    flow_graph_free(graph);
    return rc;
}

Test(errors, are_told) {
    flow_errors *errors = NULL;
    flow_runtime *runtime;
    struct flow_runtime_options options = {.size = sizeof options, .plugin_path = BUILD_DIR "/plugins"};
    cr_assert(flow_runtime_new(&options, &errors, &runtime) == 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char all[4096] = "", words[256];
        int rc = attempt(runtime, &cases[i], &errors);
        cr_expect(rc < 0, "%s on %s was accepted", cases[i].node, cases[i].input);
        for (int32_t k = 0; k < flow_errors_count(errors); k++)
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s\n", flow_errors_get(errors, k).text);
        snprintf(words, sizeof words, "%s", cases[i].words);
        for (char *word = strtok(words, "|"); word; word = strtok(NULL, "|"))
            cr_expect(strstr(all, word), "%s on %s: no '%s' in\n%s", cases[i].node, cases[i].input, word, all);
        flow_errors_free(errors), errors = NULL;
    }
    flow_runtime_free(runtime);
}
