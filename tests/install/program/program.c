/* SPDX-License-Identifier: Apache-2.0 */
/* An application outside the tree: runs a graph on [1, 2, .. 6] and prints what comes out.
 *   program GRAPH */
#include <flow/flow.h>

#include <stdio.h>
#include <string.h>

/* Names that the library uses for itself: an application may have its own. */
int arena_init(void);
int text_format(void);
int map_init(void);
int arena_init(void) { return 1; }
int text_format(void) { return 2; }
int map_init(void) { return 3; }

static int fail(flow_errors *errors) {
    for (int32_t i = 0; i < flow_errors_count(errors); i++) fprintf(stderr, "%s\n", flow_errors_get(errors, i).text);
    flow_errors_free(errors);
    return 1;
}

int main(int count, char **words) {
    if (count != 2 || arena_init() + text_format() + map_init() != 6) return 2;
    if (strcmp(flow_version(), FLOW_VERSION_TEXT) != 0) {
        fprintf(stderr, "header of %s, library of %s\n", FLOW_VERSION_TEXT, flow_version());
        return 2;
    }
    flow_errors *errors = NULL;
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    float x[6] = {1, 2, 3, 4, 5, 6};
    const int64_t shape[] = {1, 6};
    struct flow_tensor input = flow_tensor_of(x, FLOW_F32, 2, shape);
    int rc = flow_runtime_new(NULL, &errors, &runtime);
    if (rc == 0) rc = flow_graph_open(runtime, words[1], NULL, &errors, &graph);
    if (rc == 0) rc = flow_session_new(graph, NULL, &errors, &session);
    if (rc == 0) rc = flow_session_input(session, "x", &input, &errors);
    if (rc == 0) rc = flow_session_run(session, &errors);
    const struct flow_tensor *y = rc == 0 ? flow_session_output(session, "y") : NULL;
    for (int64_t i = 0; y && i < flow_tensor_count(y); i++) printf("%g ", flow_tensor_real(y, i));
    printf("\n");
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return rc < 0 ? fail(errors) : 0;
}
