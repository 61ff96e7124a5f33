/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs in the caller's memory, weights from memory, what is logged, numbers under another locale. */
#include "harness/trial.h"

#include <criterion/criterion.h>
#include <locale.h>
#include <unistd.h>

struct told {
    char lines[16][512];
    int32_t levels[16];
    int count;
};

static void listen(void *context, int32_t level, const char *text) {
    struct told *told = context;
    if (told->count >= 16) return;
    snprintf(told->lines[told->count], sizeof *told->lines, "%s", text);
    told->levels[told->count++] = level;
}

static const char *heard(const struct told *told, const char *words) {
    for (int i = 0; i < told->count; i++)
        if (strstr(told->lines[i], words)) return told->lines[i];
    return NULL;
}

static flow_runtime *runtime_new(struct told *told, const char *plugins) {
    struct flow_runtime_options options = {
        .size = sizeof options, .threads = 1, .plugin_path = plugins, .log = told ? listen : NULL, .log_context = told};
    flow_runtime *runtime = NULL;
    cr_assert(flow_runtime_new(&options, NULL, &runtime) == 0);
    return runtime;
}

static flow_session *open(flow_runtime *runtime, const char *text, const char *stream, flow_graph **graph) {
    struct flow_session_options options = {.size = sizeof options, .stream = stream};
    flow_session *session = NULL;
    flow_errors *errors = NULL;
    int rc = flow_graph_parse(runtime, "test.yaml", text, strlen(text), NULL, &errors, graph);
    trial_show(errors);
    cr_assert(rc == 0 && flow_session_new(*graph, &options, NULL, &session) == 0);
    return session;
}

static void close_all(flow_session *session, flow_graph *graph, flow_runtime *runtime) {
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

static void refused(int rc, int code, flow_errors **errors, const char *words) {
    cr_assert(rc == code && flow_errors_count(*errors) > 0 && strstr(flow_errors_get(*errors, 0).text, words), "%d: %s", rc,
              flow_errors_count(*errors) ? flow_errors_get(*errors, 0).text : "nothing said");
    flow_errors_free(*errors);
    *errors = NULL;
}

static const char two[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [N, 2]}}\n"
                          "nodes: {s: {op: square, in: x}, t: {op: transpose, in: s}}\noutputs: {s: s, t: t}\n";

Test(binding, an_output_is_written_where_it_is_wanted) {
    flow_graph *graph;
    flow_runtime *runtime = runtime_new(NULL, NULL);
    flow_session *session = open(runtime, two, NULL, &graph);
    flow_errors *errors = NULL;
    float x[] = {1, 2, 3, 4, 5, 6}, s[7] = {0}, t[6];
    struct flow_tensor in = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){3, 2});
    cr_assert(flow_session_input(session, "x", &in, NULL) == 0);
    refused(flow_session_bind_output(session, "u", s, sizeof s, &errors), FLOW_ERROR_USAGE, &errors, "'u'");
    cr_assert(flow_session_bind_output(session, "s", s, sizeof s, NULL) == 0 && flow_session_run(session, NULL) == 0);
    cr_assert(flow_session_output(session, "s")->data == s && s[5] == 36 && s[6] == 0);
    cr_assert(flow_session_bind_output(session, "t", t, sizeof t, NULL) == 0 && flow_session_run(session, NULL) == 0);
    cr_assert(flow_session_output(session, "t")->data == t && t[1] == 9 && t[3] == 4);
    cr_assert(flow_session_bind_output(session, "s", s, 20, NULL) == 0);
    refused(flow_session_run(session, &errors), FLOW_ERROR_RANGE, &errors, "takes 24 bytes");
    cr_assert(flow_session_bind_output(session, "s", (char *)s + 1, 26, NULL) == 0);
    refused(flow_session_run(session, &errors), FLOW_ERROR_USAGE, &errors, "aligned");
    cr_assert(flow_session_bind_output(session, "s", x + 5, 100, NULL) == 0);
    refused(flow_session_run(session, &errors), FLOW_ERROR_USAGE, &errors, "overlaps input 'x'");
    cr_assert(flow_session_bind_output(session, "s", t, sizeof t, NULL) == 0);
    refused(flow_session_run(session, &errors), FLOW_ERROR_USAGE, &errors, "overlaps that of output");
    cr_assert(flow_session_bind_output(session, "s", NULL, 0, NULL) == 0 && flow_session_run(session, NULL) == 0);
    cr_assert(flow_session_output(session, "s")->data != s && flow_tensor_real(flow_session_output(session, "s"), 5) == 36);
    close_all(session, graph, runtime);
}

Test(binding, a_checked_session_writes_there_too) {
    flow_runtime *runtime = runtime_new(NULL, NULL);
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    struct flow_session_options options = {.size = sizeof options, .checked = FLOW_CHECK_MEMORY};
    float x[] = {1, 2, 3, 4, 5, 6}, s[6] = {0};
    struct flow_tensor in = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){3, 2});
    cr_assert(flow_graph_parse(runtime, "test.yaml", two, strlen(two), NULL, NULL, &graph) == 0);
    cr_assert(flow_session_new(graph, &options, NULL, &session) == 0 && flow_session_input(session, "x", &in, NULL) == 0);
    cr_assert(flow_session_bind_output(session, "s", s, sizeof s, NULL) == 0 && flow_session_run(session, NULL) == 0);
    cr_assert(flow_session_output(session, "s")->data == s && s[5] == 36 && s[0] == 1);
    close_all(session, graph, runtime);
}

Test(binding, pieces_of_many_sizes_fill_one_buffer) {
    flow_graph *graph;
    flow_runtime *runtime = runtime_new(NULL, BUILD_DIR "/plugins");
    flow_session *session =
        open(runtime,
             "flow: 1\nseed: 5\ninputs: {x: {dtype: f32, shape: [1, T, 4]}}\nnodes:\n"
             "  f: {op: fsmn, in: x, with: {left: 3, right: 2}}\n  y: {op: gru, in: f, with: {units: 3}}\noutputs: {y: y}\n",
             "T", &graph);
    float x[40 * 4], y[40 * 3], whole[40 * 3];
    for (int i = 0; i < 160; i++) x[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int turn = 0; turn < 2; turn++) {
        int64_t at = 0, out = 0, size = turn ? 40 : 1;
        while (at < 40) {
            int64_t take = size < 40 - at ? size : 40 - at;
            struct flow_tensor in = flow_tensor_of(x + 4 * at, FLOW_F32, 3, (int64_t[]){1, take, 4});
            float *to = turn ? whole : y;
            cr_assert(flow_session_bind_output(session, "y", to + 3 * out, sizeof y - (size_t)(12 * out), NULL) == 0);
            cr_assert(flow_session_input(session, "x", &in, NULL) == 0);
            at += take, size += 2;
            cr_assert((at < 40 ? flow_session_run(session, NULL) : flow_session_finish(session, NULL)) == 0);
            out += flow_session_output(session, "y")->shape[1];
        }
        cr_assert(out == 40);
    }
    cr_assert(memcmp(y, whole, sizeof y) == 0);
    close_all(session, graph, runtime);
}

/* ---- Weights from memory, and what is logged ---- */

static const char layer[] =
    "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 2]}}\nnodes: {y: {op: linear, in: x, with: {units: 1}}}\noutputs: {y: y}\n";

/* The smallest safetensors file: a header's length, the header, the numbers. */
static size_t image_of(char *image, const char *header, const float *numbers, size_t count) {
    uint64_t length = strlen(header);
    memcpy(image, &length, 8);
    memcpy(image + 8, header, length);
    memcpy(image + 8 + length, numbers, count * sizeof *numbers);
    return 8 + length + count * sizeof *numbers;
}

Test(binding, weights_come_from_memory) {
    static _Alignas(8) char image[512];
    const float numbers[] = {10, 100, 7, 1};
    size_t size = image_of(image,
                           "{\"y.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
                           "\"z\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}   ",
                           numbers, 4);
    struct told told = {.count = 0};
    flow_runtime *runtime = runtime_new(&told, NULL);
    struct flow_graph_options options = {.size = sizeof options, .weights = "the image", .weights_image = image, .weights_size = size};
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    flow_errors *errors = NULL;
    double x[] = {1, 2};
    struct flow_tensor in = flow_tensor_of(x, FLOW_F64, 2, (int64_t[]){1, 2});
    cr_assert(flow_graph_parse(runtime, "test.yaml", layer, strlen(layer), &options, NULL, &graph) == 0);
    cr_assert(flow_session_new(graph, NULL, NULL, &session) == 0 && flow_session_input(session, "x", &in, NULL) == 0);
    cr_assert(flow_session_run(session, NULL) == 0 && flow_session_run(session, NULL) == 0);
    double bias = flow_tensor_real(flow_session_output(session, "y"), 0) - 210;
    cr_assert(fabs(bias) < 1, "%g", bias); /* the bias is drawn */
    const char *missing = heard(&told, "1 of 2 parameters are in no weights"), *unused = heard(&told, "1 tensors that are no parameters");
    cr_assert(missing && strstr(missing, "'y.bias'") && unused && strstr(unused, "'z'"));
    cr_assert(heard(&told, "the f64 given are converted") && told.count == 3, "%d lines", told.count);
    close_all(session, graph, runtime);
    runtime = runtime_new(NULL, NULL);
    options.weights_size = size - 1;
    cr_assert(flow_graph_parse(runtime, "test.yaml", layer, strlen(layer), &options, &errors, &graph) == FLOW_ERROR_FORMAT);
    cr_assert_str_eq(flow_errors_get(errors, 0).file, "the image");
    flow_errors_free(errors);
    flow_file *file = NULL;
    cr_assert(flow_file_image(runtime, "image", image, size, NULL, &file) == 0 && flow_file_count(file) == 2);
    cr_assert(flow_tensor_real(flow_file_get(file, "z"), 0) == 7);
    flow_file_close(file);
    flow_runtime_free(runtime);
}

Test(binding, a_plugin_that_cannot_be_used_is_told_once) {
    char folder[] = "/tmp/flow-plugins-XXXXXX", path[64];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/broken.so", folder);
    FILE *file = fopen(path, "w");
    cr_assert(file && fputs("no shared object", file) >= 0 && fclose(file) == 0);
    struct told told = {.count = 0};
    flow_runtime *runtime = runtime_new(&told, folder);
    struct flow_operator_info info;
    for (int i = 0; i < 3; i++) cr_assert(flow_runtime_operator(runtime, "no_such_operator", NULL, &info) < 0);
    cr_assert(flow_runtime_operator(runtime, "relu", NULL, &info) == 0);
    cr_assert(told.count == 1 && told.levels[0] == FLOW_LOG_WARNING && strstr(told.lines[0], "broken.so: is not a shared object"), "%d: %s",
              told.count, told.lines[0]);
    flow_runtime_free(runtime);
    unlink(path), rmdir(folder);
}

Test(binding, numbers_have_a_point_under_a_locale_with_a_comma) {
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "nl_NL.UTF-8", "comma"};
    const char *set = NULL;
    for (size_t i = 0; !set && i < sizeof names / sizeof *names; i++) set = setlocale(LC_ALL, names[i]);
    if (!set) cr_skip_test("this machine has no locale with a comma");
    char half[8];
    snprintf(half, sizeof half, "%.1f", 0.5);
    flow_graph *graph;
    flow_runtime *runtime = runtime_new(NULL, NULL);
    flow_session *session =
        open(runtime,
             "flow: 1\nvars: {half: 0.5}\ninputs: {x: {dtype: f32, shape: [B, 3]}}\nnodes:\n"
             "  l: {op: linear, in: x, with: {units: 4}, init: {weight: \"constant(1.5)\", bias: \"uniform(-0.25, 0.25)\"}}\n"
             "  c: {op: unsqueeze, in: l, with: {axis: 1}}\n  d: {op: conv1d, in: c, with: {units: 2, kernel: 3}}\n"
             "  y: {op: add, in: l, with: {value: \"${half / 2}\"}}\noutputs: {y: y, d: d}\n",
             NULL, &graph);
    float x[] = {1, 2, 3};
    struct flow_tensor in = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){1, 3});
    char *text = NULL;
    cr_assert(flow_session_input(session, "x", &in, NULL) == 0 && flow_session_run(session, NULL) == 0);
    cr_assert(fabs(flow_tensor_real(flow_session_output(session, "y"), 0) - 9.25) < 0.26);
    struct flow_describe_options describe = {.size = sizeof describe, .json = true};
    cr_assert(flow_graph_describe(graph, &describe, NULL, &text) == 0);
    for (const char *c = strchr(text, ','); c; c = strchr(c + 1, ',')) cr_assert(c[1] < '0' || c[1] > '9', "%.20s", c - 1);
    flow_text_free(text);
    char again[8];
    snprintf(again, sizeof again, "%.1f", 0.5);
    cr_assert_str_eq(half, again); /* the application's own numbers are as they were */
    cr_assert(strcmp(half, "0,5") == 0);
    close_all(session, graph, runtime);
}
