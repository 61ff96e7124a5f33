/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library where it is least at home: descriptors 0, 1 and 2 are closed, and everything is called from a thread with little stack, of
 * which is measured how much was used. `place FOLDER_OF_GRAPHS PLUGIN_FOLDER` reports on a copy of its standard output.
 */
#include <fcntl.h>
#include <flow/flow.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* 128 KiB are enough, as docs/embedding.md says, with what a thread uses by itself. The regions are larger: what is too much is measured.
 */
enum { REGION = 1 << 20, MAKING = 112 << 10, RUNNING = 112 << 10, UNTOUCHED = 0xA5 };

static const struct {
    const char *file, *stream, *input;
    int32_t dtype;
    int64_t length;
} cases[] = {{"fsmn-vad/fsmn-vad.yaml", "S", "wave", FLOW_F32, 160},
             {"silero-vad/silero-vad.yaml", "S", "wave", FLOW_F32, 512},
             {"stories260k/stories260k.yaml", "T", "tokens", FLOW_I64, 1},
             {"stories260k/logits.yaml", NULL, "tokens", FLOW_I64, 64},
             {"char-lm/write.yaml", "T", "tokens", FLOW_I64, 1}};
enum { CASES = sizeof cases / sizeof *cases };

static struct {
    const char *graphs, *plugins;
    int which, rc;
    flow_runtime *runtime;
    flow_graph *graph;
    flow_session *session;
    flow_errors *errors;
} state;
static int64_t data[1024];

static void *make(void *unused) {
    (void)unused;
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", state.graphs, cases[state.which].file);
    struct flow_runtime_options options = {.size = sizeof options, .threads = 1, .plugin_path = state.plugins};
    struct flow_session_options how = {.size = sizeof how, .stream = cases[state.which].stream};
    int rc = flow_runtime_new(&options, &state.errors, &state.runtime);
    if (rc == 0) rc = flow_graph_open(state.runtime, path, NULL, &state.errors, &state.graph);
    if (rc == 0) rc = flow_session_new(state.graph, &how, &state.errors, &state.session);
    for (int i = 0; i < 1024; i++) data[i] = cases[state.which].dtype == FLOW_I64 ? 1 + i % 50 : 0;
    struct flow_tensor t = flow_tensor_of(data, cases[state.which].dtype, 2, (int64_t[]){1, cases[state.which].length});
    if (rc == 0) rc = flow_session_input(state.session, cases[state.which].input, &t, &state.errors);
    for (int i = 0; rc == 0 && i < 40; i++) rc = flow_session_run(state.session, &state.errors);
    state.rc = rc;
    return NULL;
}

static void *run(void *unused) {
    (void)unused;
    for (int i = 0; state.rc == 0 && i < 20; i++) state.rc = flow_session_run(state.session, &state.errors);
    return NULL;
}

/* Runs `body` on a stack of our own; the bytes of it that were touched, -1: it could not be started. */
static long on_stack(void *(*body)(void *), unsigned char *region) {
    pthread_attr_t attributes;
    pthread_t thread;
    memset(region, UNTOUCHED, REGION);
    pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, region, REGION) != 0 || pthread_create(&thread, &attributes, body, NULL) != 0) return -1;
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    long low = 0;
    while (low < REGION && region[low] == UNTOUCHED) low++;
    return REGION - low;
}

static void *nothing(void *unused) { return unused; }

int main(int count, char **words) {
    if (count != 3) return 2;
    int copy = fcntl(1, F_DUPFD, 10);
    FILE *out = fdopen(copy, "w");
    unsigned char *region = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!out || region == MAP_FAILED) return 2;
    close(0), close(1), close(2);
    int failed = 0;
    long bare = on_stack(nothing, region); /* what a thread uses by itself */
    for (state.which = 0; state.which < CASES; state.which++) {
        state.graphs = words[1], state.plugins = words[2], state.errors = NULL;
        long making = on_stack(make, region) - bare, running = on_stack(run, region) - bare;
        bool good = state.rc == 0 && making < MAKING && running < RUNNING;
        fprintf(out, "%s  %-30s stack: %ld KiB to open and plan, %ld KiB to run\n", good ? "ok  " : "FAIL", cases[state.which].file,
                (making + 1023) / 1024, (running + 1023) / 1024);
        if (state.errors) fprintf(out, "      %s\n", flow_errors_get(state.errors, 0).text);
        failed += !good;
        flow_errors_free(state.errors);
        flow_session_free(state.session);
        flow_graph_free(state.graph);
        flow_runtime_free(state.runtime);
    }
    /* Files that were opened meanwhile took the free descriptors: none may be left. */
    for (int descriptor = 0; descriptor < 10; descriptor++)
        if (fcntl(descriptor, F_GETFD) != -1) fprintf(out, "FAIL  descriptor %d is left open\n", descriptor), failed++;
    fclose(out);
    return failed > 0;
}
