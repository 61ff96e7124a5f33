/* SPDX-License-Identifier: Apache-2.0 */
/* Whole uses of the library, files and all, in which the n-th request for memory fails, or all from the n-th on: an error that says so, all
 * memory given back, and every file that was to be written whole or not there. For every n. */
#include "harness/failing.h"

#include <criterion/criterion.h>
#include <flow/flow.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[4][128];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static struct flow_tensor floats(float *data, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows * columns; i++) data[i] = (float)(i % 7) / 7 - 0.4f;
    return flow_tensor_of(data, FLOW_F32, 2, (int64_t[]){rows, columns});
}

static const char plane[] = "flow: 1\n"
                            "inputs: {x: {dtype: f32, shape: [N, 3]}}\n"
                            "nodes: {h: {op: linear, in: x, with: {units: 4}}, t: {op: tanh, in: h}, y: {op: mean, in: t}}\n"
                            "outputs: {t: t, y: y}\n";
static const char loud[] = "flow: 1\ninputs: {wave: {dtype: f32, shape: [1, 1, S]}}\n"
                           "nodes: {y: {op: conv1d, in: wave, with: {units: 2, kernel: 3}}}\noutputs: {y: y}\n";

static void start(void) {
    static float weight[12], bias[4], x[6], samples[400];
    flow_runtime *runtime;
    strcpy(folder, "/tmp/flow-faults-XXXXXX");
    cr_assert(mkdtemp(folder));
    cr_assert_eq(flow_runtime_new(NULL, NULL, &runtime), 0);
    struct flow_tensor w = floats(weight, 4, 3), b = flow_tensor_of(bias, FLOW_F32, 1, (int64_t[]){4}), in = floats(x, 2, 3),
                       wave = floats(samples, 1, 400);
    const struct flow_named weights[] = {{"h.weight", &w}, {"h.bias", &b}};
    cr_assert_eq(flow_file_write(runtime, in_folder("w.safetensors"), weights, 2, 0, NULL), 0);
    cr_assert_eq(flow_file_write(runtime, in_folder("x.npy"), &(struct flow_named){"x", &in}, 1, 0, NULL), 0);
    cr_assert_eq(flow_file_write(runtime, in_folder("a.wav"), &(struct flow_named){"", &wave}, 1, 8000, NULL), 0);
    flow_runtime_free(runtime);
}

static void stop(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(memory, .init = start, .fini = stop, .timeout = 600);

static int give(flow_session *session, flow_file *file, flow_errors **errors) {
    return flow_session_input(session, "x", flow_file_tensor(file, 0), errors);
}

/* Weights and input from files, a run, its outputs to a file. */
static int run(flow_runtime *runtime, bool gradients, flow_errors **errors) {
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    flow_file *file = NULL;
    const struct flow_graph_options options = {.size = sizeof options, .weights = in_folder("w.safetensors")};
    const struct flow_session_options sessions = {.size = sizeof sessions, .gradients = gradients};
    int rc = flow_graph_parse(runtime, "plane.yaml", plane, strlen(plane), &options, errors, &graph);
    if (rc == 0) rc = flow_file_open(runtime, in_folder("x.npy"), errors, &file);
    if (rc == 0) rc = flow_session_new(graph, &sessions, errors, &session);
    if (rc == 0) rc = give(session, file, errors);
    if (rc == 0) rc = flow_session_run(session, errors);
    const char *name;
    const struct flow_tensor *value;
    if (rc == 0 && gradients && !flow_session_gradient(session, 0, &name, &value)) rc = FLOW_ERROR_MEMORY; /* no room for its name */
    const struct flow_named outputs[] = {{"t", rc == 0 ? flow_session_output(session, "t") : NULL},
                                         {"y", rc == 0 ? flow_session_output(session, "y") : NULL}};
    if (rc == 0) rc = flow_file_write(runtime, in_folder("out.safetensors"), outputs, 2, 0, errors);
    flow_session_free(session);
    flow_file_close(file);
    flow_graph_free(graph);
    return rc;
}
static int plain_run(flow_runtime *runtime, flow_errors **errors) { return run(runtime, false, errors); }
static int gradient_run(flow_runtime *runtime, flow_errors **errors) { return run(runtime, true, errors); }

/* A wave through the loop, in pieces. */
static int stream(flow_runtime *runtime, flow_errors **errors) {
    static float samples[150];
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    flow_wave *wave = NULL;
    const struct flow_session_options options = {.size = sizeof options, .stream = "S"};
    int64_t got = 1;
    int rc = flow_graph_parse(runtime, "loud.yaml", loud, strlen(loud), NULL, errors, &graph);
    if (rc == 0) rc = flow_wave_open(runtime, in_folder("a.wav"), errors, &wave);
    if (rc == 0) rc = flow_session_new(graph, &options, errors, &session);
    while (rc == 0 && got) {
        rc = flow_wave_next(wave, 150, 150, samples, 150, &got, errors);
        struct flow_tensor piece = flow_tensor_of(samples, FLOW_F32, 3, (int64_t[]){1, 1, got});
        if (rc == 0) rc = flow_session_input(session, "wave", &piece, errors);
        if (rc == 0) rc = got ? flow_session_run(session, errors) : flow_session_finish(session, errors);
    }
    flow_session_free(session);
    flow_wave_close(wave);
    flow_graph_free(graph);
    return rc;
}

static bool fails_well(int (*use)(flow_runtime *, flow_errors **), long n, bool lasting) {
    struct failing failing = FAILING_INIT;
    failing.fail_at = n, failing.lasting = lasting;
    const struct flow_runtime_options options = {
        .size = sizeof options, .threads = 1, .plugin_path = BUILD_DIR "/plugins", .resize = failing_resize, .resize_context = &failing};
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    unlink(in_folder("out.safetensors"));
    int rc = flow_runtime_new(&options, &errors, &runtime);
    if (rc == 0) rc = use(runtime, &errors);
    const bool reached = failing.requests >= n;
    const char *said = errors && flow_errors_count(errors) ? flow_errors_get(errors, 0).text : "";
    cr_assert(rc == 0 || rc == FLOW_ERROR_MEMORY, "request %ld: code %d, %s", n, rc, said);
    cr_assert(reached || rc == 0, "request %ld: %s", n, said);
    struct stat about;
    cr_assert(rc == 0 || stat(in_folder("out.safetensors"), &about) < 0, "request %ld: a file all the same", n);
    flow_errors_free(errors);
    flow_runtime_free(runtime);
    cr_assert(failing.blocks == 0 && !failing.wrong_size, "request %ld: %ld blocks are left%s", n, failing.blocks,
              failing.wrong_size ? ", one was freed by a wrong size" : "");
    return reached;
}

static void sweep(int (*use)(flow_runtime *, flow_errors **)) {
    long n = 1;
    while (fails_well(use, n, false)) n++;
    cr_assert_gt(n, 50);
    for (long k = 1; k < n; k++) cr_assert(fails_well(use, k, true));
}

Test(memory, run_with_files) { sweep(plain_run); }
Test(memory, gradients) { sweep(gradient_run); }
Test(memory, wave_in_pieces) { sweep(stream); }
