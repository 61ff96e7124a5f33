/* SPDX-License-Identifier: Apache-2.0 */
/* An application compiled against the headers of a release, running against the library of today.
 *   application GRAPH PLUGINS */
#include <flow/flow.h>

#include <stdio.h>
#include <string.h>

static int fail(flow_errors *errors, const char *what) {
    fprintf(stderr, "application: %s\n", what);
    for (int32_t i = 0; i < flow_errors_count(errors); i++) fprintf(stderr, "  %s\n", flow_errors_get(errors, i).text);
    flow_errors_free(errors);
    return 1;
}

int main(int count, char **words) {
    if (count != 3) return fail(NULL, "usage: application GRAPH PLUGINS");
    flow_errors *errors = NULL;
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    struct flow_runtime_options options = {.size = sizeof options, .threads = 2, .plugin_path = words[2]};
    struct flow_session_options run = {.size = sizeof run, .streams = 2};
    float x[6] = {1, 2, 3, 4, 5, 6};
    struct flow_tensor input = flow_tensor_of(x, FLOW_F32, 2, (const int64_t[]){2, 3});
    if (flow_runtime_new(&options, &errors, &runtime) < 0) return fail(errors, "runtime");
    if (flow_graph_open(runtime, words[1], NULL, &errors, &graph) < 0) return fail(errors, "graph");
    if (flow_session_new(graph, &run, &errors, &session) < 0) return fail(errors, "session");
    if (flow_session_input(session, "x", &input, &errors) < 0) return fail(errors, "input");
    if (flow_session_run(session, &errors) < 0) return fail(errors, "run");
    const struct flow_tensor *z = flow_session_output(session, "z");
    if (!z || z->rank != 2 || z->dtype != FLOW_F32) return fail(NULL, "output");
    /* scale 0.5, 3 times, weight 2, bias 1, y = x + 100 */
    for (int i = 0; i < 6; i++)
        if (flow_tensor_real(z, i) != 3 * (double)x[i] + (double)x[i] + 100 + 1) return fail(NULL, "value");
    struct flow_operator_info info;
    if (flow_runtime_operator(runtime, "aged", &errors, &info) < 0 || strcmp(info.plugin, "aged") != 0) return fail(errors, "operator");
    if (info.op->inputs.count != 2 || strcmp(info.op->inputs.at[1].name, "y") != 0) return fail(NULL, "rows");
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return 0;
}
