/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shorter pieces of docs/embedding.md, each a function: weights from memory, DLPack, an allocator, training. As a program it runs them:
 *
 *     cc pieces.c $(pkg-config --cflags --libs flow) -o pieces && ./pieces
 */
#include <flow/dlpack.h>
#include <flow/flow.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char scale[] = "flow: 1\n"
                            "vars: {by: 2}\n"
                            "inputs: {x: {dtype: f32, shape: [N, 3]}}\n"
                            "nodes: {y: {op: mul, in: x, with: {value: \"${by}\"}}}\n"
                            "outputs: {y: y}\n";

/* A graph from text, a variable set, an output in memory of ours. */
static int graph_from_text(flow_runtime *runtime, flow_errors **errors) {
    const char *set[] = {"by=10"};
    struct flow_graph_options options = {.size = sizeof options, .set = set, .set_count = 1};
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    float x[6] = {1, 2, 3, 4, 5, 6}, y[6];
    struct flow_tensor input = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){2, 3});

    int rc = flow_graph_parse(runtime, "scale.yaml", scale, strlen(scale), &options, errors, &graph);
    if (rc == 0) rc = flow_session_new(graph, NULL, errors, &session);
    if (rc == 0) rc = flow_session_input(session, "x", &input, errors);
    if (rc == 0) rc = flow_session_bind_output(session, "y", y, sizeof y, errors);
    if (rc == 0) rc = flow_session_run(session, errors);
    if (rc == 0) printf("%g %g\n", y[0], y[5]);
    flow_session_free(session);
    flow_graph_free(graph);
    return rc;
}

/* A tensor of another library goes in as it lies there, a result goes out as a copy that outlives the session. */
static int through_dlpack(flow_session *session, struct flow_dlpack_versioned *from, struct flow_dlpack_versioned **to,
                          flow_errors **errors) {
    struct flow_tensor x;
    int rc = flow_tensor_from_dlpack_versioned(from, errors, &x);
    if (rc == 0) rc = flow_session_input(session, "x", &x, errors);
    if (rc == 0) rc = flow_session_run(session, errors);
    if (rc == 0) rc = flow_tensor_to_dlpack_versioned(flow_session_output(session, "y"), FLOW_DLPACK_COPY, NULL, NULL, errors, to);
    if (from->deleter) from->deleter(from); /* no run reads x any more */
    return rc;
}

/* As realloc, and told the sizes. From any thread. */
static void *count_bytes(void *context, void *block, size_t old_size, size_t new_size) {
    (void)context, (void)old_size;
    if (new_size == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, new_size);
}

static int with_an_allocator(flow_errors **errors, flow_runtime **runtime) {
    struct flow_runtime_options options = {.size = sizeof options, .threads = 1, .resize = count_bytes};
    return flow_runtime_new(&options, errors, runtime);
}

static const char fit[] = "flow: 1\n"
                          "inputs: {x: {dtype: f32, shape: [N, 1]}, target: {dtype: f32, shape: [N, 1]}}\n"
                          "nodes:\n"
                          "  y: {op: linear, in: x, with: {units: 1}, init: {weight: zeros, bias: zeros}}\n"
                          "  loss: {op: mse, in: [y, target]}\n"
                          "outputs: {y: y}\n"
                          "train:\n"
                          "  loss: loss\n"
                          "  steps: 300\n"
                          "  update: [{params: \"*\", optimizer: sgd, with: {lr: 0.1}}]\n";

/* Steps until the end; the application draws, logs, asks for other work in between. */
static int train(flow_graph *graph, const struct flow_tensor *x, const struct flow_tensor *target, flow_errors **errors) {
    flow_trainer *trainer = NULL;
    struct flow_event event = {.size = sizeof event};
    int rc = flow_trainer_new(graph, NULL, errors, &trainer);
    if (rc == 0) rc = flow_trainer_input(trainer, "x", x, errors);
    if (rc == 0) rc = flow_trainer_input(trainer, "target", target, errors);
    while (rc == 0 && event.kind != FLOW_EVENT_END) {
        rc = flow_trainer_next(trainer, &event, errors);
        if (rc == 0 && event.kind == FLOW_EVENT_STEP && event.step == event.steps) printf("loss %.3f\n", event.loss);
    }
    const char *name;
    const struct flow_tensor *value;
    for (size_t i = 0; rc == 0 && (value = flow_trainer_parameter(trainer, i, &name)); i++)
        printf("%s %.2f\n", name, flow_tensor_real(value, 0));
    flow_trainer_free(trainer);
    return rc;
}

static int train_a_line(flow_runtime *runtime, flow_errors **errors) {
    float x[4] = {0, 1, 2, 3}, target[4] = {1, 3, 5, 7}; /* 2 x + 1 */
    struct flow_tensor from = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){4, 1}),
                       to = flow_tensor_of(target, FLOW_F32, 2, (int64_t[]){4, 1});
    flow_graph *graph = NULL;
    int rc = flow_graph_parse(runtime, "line.yaml", fit, strlen(fit), NULL, errors, &graph);
    if (rc == 0) rc = train(graph, &from, &to, errors);
    flow_graph_free(graph);
    return rc;
}

static int dlpack_round(flow_runtime *runtime, flow_errors **errors) {
    float x[6] = {1, 2, 3, 4, 5, 6};
    struct flow_tensor tensor = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){2, 3});
    struct flow_dlpack_versioned *in = NULL, *out = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    int rc = flow_graph_parse(runtime, "scale.yaml", scale, strlen(scale), NULL, errors, &graph);
    if (rc == 0) rc = flow_session_new(graph, NULL, errors, &session);
    if (rc == 0) rc = flow_tensor_to_dlpack_versioned(&tensor, 0, NULL, NULL, errors, &in); /* stands for another library's */
    if (rc == 0) rc = through_dlpack(session, in, &out, errors);
    flow_session_free(session);
    flow_graph_free(graph);
    if (rc < 0) return rc;
    printf("%g\n", ((float *)out->tensor.data)[5]);
    out->deleter(out);
    return 0;
}

int main(void) {
    flow_errors *errors = NULL;
    flow_runtime *runtime = NULL;
    int rc = with_an_allocator(&errors, &runtime);
    if (rc == 0) rc = graph_from_text(runtime, &errors);
    if (rc == 0) rc = dlpack_round(runtime, &errors);
    if (rc == 0) rc = train_a_line(runtime, &errors);
    for (int32_t i = 0; i < flow_errors_count(errors); i++) fprintf(stderr, "%s\n", flow_errors_get(errors, i).text);
    flow_errors_free(errors);
    flow_runtime_free(runtime);
    return rc < 0;
}
