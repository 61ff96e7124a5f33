/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file in, a file out: finds the speech in a recording.
 *
 *     cc file.c $(pkg-config --cflags --libs flow) -o file
 *     ./file fsmn-vad.yaml recording.wav segments.csv
 *
 * The four objects of the library, in the order in which they are made: a runtime (operators, threads), a graph (a file and its weights), a
 * session (one caller's runs), and files of tensors.
 */
#include <flow/flow.h>

#include <stdio.h>

/* Functions that can fail return a negative code and say why in a list: one message for each thing that is wrong, with its place. */
static void print_errors(const flow_errors *errors) {
    for (int32_t i = 0; i < flow_errors_count(errors); i++) {
        struct flow_error error = flow_errors_get(errors, i);
        if (error.file && error.line) fprintf(stderr, "%s:%d:%d: %s\n", error.file, error.line, error.column, error.text);
        else fprintf(stderr, "%s%s%s\n", error.file ? error.file : "", error.file ? ": " : "", error.text);
    }
}

/* The library is silent unless it is given a place to speak. It may call this from any thread. */
static void print_log(void *context, int32_t level, const char *text) {
    (void)context;
    fprintf(stderr, "%s: %s\n", level == FLOW_LOG_WARNING ? "warning" : "note", text);
}

static int segment(flow_runtime *runtime, flow_session *session, const flow_file *recording, const char *to, flow_errors **errors) {
    /* A wav file holds one tensor without a name, [channels, samples] in [-1, 1). */
    const struct flow_tensor *wave = flow_file_get(recording, "");
    if (!wave) {
        fprintf(stderr, "the recording holds several tensors\n");
        return FLOW_ERROR_USAGE;
    }
    int rc = flow_session_input(session, "wave", wave, errors); /* not copied: the file stays open until the run is over */
    if (rc == 0) rc = flow_session_run(session, errors);
    if (rc < 0) return rc;
    /* [segments, 2]: begin and end in milliseconds. The session's memory, good until its next run. */
    const struct flow_tensor *segments = flow_session_output(session, "segments");
    printf("%.1f s at %.0f Hz, %lld segments of speech\n", (double)wave->shape[1] / flow_file_rate(recording), flow_file_rate(recording),
           (long long)segments->shape[0]);
    /* By the name's ending: .csv, .npy, .safetensors, .wav. The file appears whole, or not at all. */
    struct flow_named named = {"segments", segments};
    return flow_file_write(runtime, to, &named, 1, 0, errors);
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: file GRAPH RECORDING.wav SEGMENTS.csv\n");
        return 2;
    }
    flow_errors *errors = NULL; /* must be NULL at first; functions add to what is there */
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    flow_file *recording = NULL;
    /* Options structs carry their size, so that a program built today works with a library that knows more options. */
    struct flow_runtime_options options = {.size = sizeof options, .log = print_log};
    int rc = flow_runtime_new(&options, &errors, &runtime);
    if (rc == 0) rc = flow_graph_open(runtime, words[1], NULL, &errors, &graph);
    if (rc == 0) rc = flow_session_new(graph, NULL, &errors, &session);
    if (rc == 0) rc = flow_file_open(runtime, words[2], &errors, &recording);
    if (rc == 0) rc = segment(runtime, session, recording, words[3], &errors);
    print_errors(errors);
    /* What was made last goes first. All of these take NULL. */
    flow_errors_free(errors);
    flow_file_close(recording);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return rc < 0;
}
