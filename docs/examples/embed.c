/* SPDX-License-Identifier: Apache-2.0 */
/* Voice activity as it is heard: samples come ten milliseconds at a time, segments are printed when they end. */
#include <flow/flow.h>

#include <stdio.h>

enum { PIECE = 160 };

static int fail(flow_errors *errors) {
    for (int32_t i = 0; i < flow_errors_count(errors); i++) {
        struct flow_error error = flow_errors_get(errors, i);
        fprintf(stderr, "%s:%d:%d: %s\n", error.file ? error.file : "", error.line, error.column, error.text);
    }
    flow_errors_free(errors);
    return 1;
}

static void print_segments(const flow_session *session) {
    const struct flow_tensor *segments = flow_session_output(session, "segments");
    for (int64_t i = 0; segments && i < segments->shape[0]; i++)
        printf("%.2f s .. %.2f s\n", 1e-3 * flow_tensor_real(segments, 2 * i), 1e-3 * flow_tensor_real(segments, 2 * i + 1));
}

static int listen_to(flow_session *session, flow_wave *microphone, flow_errors **errors) {
    float samples[PIECE];
    for (int64_t got = 1; got > 0;) {
        int rc = flow_wave_next(microphone, PIECE, PIECE, samples, PIECE, &got, errors);
        struct flow_tensor wave = flow_tensor_of(samples, FLOW_F32, 2, (int64_t[]){1, got});
        if (rc == 0) rc = flow_session_input(session, "wave", &wave, errors);
        if (rc == 0) rc = got > 0 ? flow_session_run(session, errors) : flow_session_finish(session, errors);
        if (rc < 0) return rc;
        print_segments(session);
    }
    return 0;
}

int main(int count, char **words) {
    if (count != 3) {
        fprintf(stderr, "usage: embed GRAPH RECORDING\n");
        return 2;
    }
    flow_errors *errors = NULL;
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    flow_wave *microphone = NULL;
    struct flow_session_options options = {.size = sizeof options, .stream = "S"};
    int rc = flow_runtime_new(NULL, &errors, &runtime);
    if (rc == 0) rc = flow_graph_open(runtime, words[1], NULL, &errors, &graph);
    if (rc == 0) rc = flow_session_new(graph, &options, &errors, &session);
    if (rc == 0) rc = flow_wave_open(runtime, words[2], &errors, &microphone);
    if (rc == 0) rc = listen_to(session, microphone, &errors);
    flow_wave_close(microphone);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return rc < 0 ? fail(errors) : 0;
}
