/* SPDX-License-Identifier: Apache-2.0 */
/* Every recorded graph on numbers that nobody would record: NaN, infinities, what overflows, indices far outside. Each must end, with a
 * result or with an error; under the sanitizers nothing is read or written out of bounds. */
#include "harness/trial.h"

#include <criterion/criterion.h>
#include <glob.h>

enum { KINDS = 6, INPUTS_MOST = 32 };

static void fill(struct flow_tensor *t, int kind, struct draw *draw) {
    static const double reals[] = {NAN, INFINITY, -INFINITY, 3e38, 0};
    static const int64_t integers[] = {INT64_MAX, INT64_MIN, -1, 1000003, 0};
    for (int64_t i = 0, n = flow_tensor_count(t); i < n; i++)
        trial_put(t, i, kind < 5 ? reals[kind] : trial_wild_real(draw), kind < 5 ? integers[kind] : trial_wild_integer(draw));
}

/* 1: it ran, 0: it was refused, -1: neither. */
static int run_kind(flow_graph *graph, const flow_file *file, int kind, struct draw *draw) {
    struct flow_tensor made[INPUTS_MOST] = {{0}};
    flow_session *session = NULL;
    flow_errors *errors = NULL;
    int rc = flow_session_new(graph, NULL, &errors, &session);
    for (size_t i = 0; rc == 0 && i < flow_graph_inputs(graph) && i < INPUTS_MOST; i++) {
        struct flow_graph_port port = flow_graph_input(graph, i);
        char name[256];
        snprintf(name, sizeof name, "in.%s", port.name);
        const struct flow_tensor *like = flow_file_get(file, name);
        cr_assert(like != NULL);
        made[i] = trial_tensor(port.dtype, like->rank, like->shape);
        cr_assert(made[i].data != NULL);
        fill(&made[i], kind, draw);
        rc = flow_session_input(session, port.name, &made[i], &errors);
    }
    if (rc == 0) rc = flow_session_run(session, &errors);
    int result = rc == 0 ? 1 : flow_errors_count(errors) > 0 && rc != FLOW_ERROR_INTERNAL ? 0 : -1;
    flow_errors_free(errors);
    flow_session_free(session);
    for (size_t i = 0; i < INPUTS_MOST; i++) free(made[i].data);
    return result;
}

Test(values, nothing_is_out_of_bounds, .timeout = 600) {
    glob_t cases;
    int ran = 0, refused = 0;
    struct draw draw = {11};
    cr_assert(glob(SOURCE_DIR "/tests/golden/cases/*/*.yaml", 0, NULL, &cases) == 0);
    struct flow_runtime_options options = {.size = sizeof options, .threads = 2, .plugin_path = BUILD_DIR "/plugins"};
    flow_runtime *runtime = NULL;
    cr_assert(flow_runtime_new(&options, NULL, &runtime) == 0);
    for (size_t i = 0; i < cases.gl_pathc; i++) {
        char recorded[1024];
        const char *path = cases.gl_pathv[i];
        flow_graph *graph = NULL;
        flow_file *file = NULL;
        snprintf(recorded, sizeof recorded, "%.*s.safetensors", (int)strlen(path) - 5, path);
        cr_assert(flow_graph_open(runtime, path, NULL, NULL, &graph) == 0 && flow_file_open(runtime, recorded, NULL, &file) == 0, "%s",
                  path);
        for (int kind = 0; kind < KINDS; kind++) {
            int result = run_kind(graph, file, kind, &draw);
            cr_assert(result >= 0, "%s, kind %d", path, kind);
            ran += result, refused += !result;
        }
        flow_graph_free(graph);
        flow_file_close(file);
    }
    fprintf(stderr, "%d ran, %d refused\n", ran, refused);
    cr_assert(ran > 1000 && refused > 20);
    flow_runtime_free(runtime);
    globfree(&cases);
}
