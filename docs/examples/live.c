/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speech as it is heard: one thread brings ten milliseconds of samples at a time, as a sound card's callback does; this one runs the graph
 * on them and prints each segment as it ends. Ctrl-C ends it.
 *
 *     cc -pthread live.c $(pkg-config --cflags --libs flow) -o live
 *     ./live fsmn-vad.yaml recording.wav               as fast as it goes
 *     ./live --real-time fsmn-vad.yaml recording.wav   a piece every 10 ms
 *     arecord -t raw -f S16_LE -r 16000 | ./live fsmn-vad.yaml -
 */
#define _POSIX_C_SOURCE 200809L
#include <flow/flow.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { RATE = 16000, PIECE = RATE / 100, PIECES = 64 };

/* ---- A ring between the two threads ----
 * One writes, one reads, so two counters are enough: pieces written and pieces read so far. The writer publishes a piece by raising
 * `written` after its samples, the reader gives its room back by raising `read`. */
struct ring {
    float samples[PIECES][PIECE];
    int count[PIECES]; /* samples in the piece; less than PIECE: the last */
    atomic_uint written, read;
    atomic_uint lost; /* pieces that found no room */
};

static void ring_put(struct ring *ring, const float *samples, int count, bool wait) {
    unsigned at = atomic_load_explicit(&ring->written, memory_order_relaxed);
    while (at - atomic_load_explicit(&ring->read, memory_order_acquire) == PIECES) {
        if (!wait) { /* a microphone does not wait */
            atomic_fetch_add(&ring->lost, 1);
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    memcpy(ring->samples[at % PIECES], samples, (size_t)count * sizeof *samples);
    ring->count[at % PIECES] = count;
    atomic_store_explicit(&ring->written, at + 1, memory_order_release);
}

/* The oldest piece; NULL: none yet. It stays in the ring until ring_done. */
static float *ring_get(struct ring *ring, int *count) {
    unsigned at = atomic_load_explicit(&ring->read, memory_order_relaxed);
    if (at == atomic_load_explicit(&ring->written, memory_order_acquire)) return NULL;
    *count = ring->count[at % PIECES];
    return ring->samples[at % PIECES];
}

static void ring_done(struct ring *ring) { atomic_fetch_add_explicit(&ring->read, 1, memory_order_release); }

/* ---- Ctrl-C ---- */

static atomic_bool stopped;
static flow_session *running; /* set before the handler is */

static void on_signal(int number) {
    (void)number;
    atomic_store(&stopped, true);
    flow_session_cancel(running); /* the one function that a signal handler may call: a run under way ends with FLOW_ERROR_CANCELLED */
}

/* ---- The microphone ---- */

struct microphone {
    struct ring *ring;
    flow_wave *wave;
    bool real_time;
    flow_errors *errors; /* of this thread: a list belongs to whoever passes it */
};

static void *listen_to(void *context) {
    struct microphone *microphone = context;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int64_t got = PIECE; got == PIECE && !atomic_load(&stopped);) {
        float samples[PIECE];
        if (flow_wave_next(microphone->wave, PIECE, PIECE, samples, PIECE, &got, &microphone->errors) < 0) got = 0;
        if (microphone->real_time) {
            next.tv_nsec += 10000000;
            if (next.tv_nsec >= 1000000000) next.tv_sec++, next.tv_nsec -= 1000000000;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        }
        ring_put(microphone->ring, samples, (int)got, !microphone->real_time);
    }
    return NULL;
}

/* ---- The graph ---- */

static void print_segments(const flow_session *session) {
    const struct flow_tensor *segments = flow_session_output(session, "segments"); /* [0 or more, 2], milliseconds */
    for (int64_t i = 0; i < segments->shape[0]; i++)
        printf("%.2f s .. %.2f s\n", 1e-3 * flow_tensor_real(segments, 2 * i), 1e-3 * flow_tensor_real(segments, 2 * i + 1));
    fflush(stdout);
}

static int hear(flow_session *session, struct ring *ring, flow_errors **errors) {
    for (bool last = false; !last && !atomic_load(&stopped);) {
        int count;
        float *samples = ring_get(ring, &count);
        if (!samples) { /* nothing yet: what a real-time thread would do with a semaphore */
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            continue;
        }
        last = count < PIECE;
        struct flow_tensor wave = flow_tensor_of(samples, FLOW_F32, 2, (int64_t[]){1, count});
        int rc = flow_session_input(session, "wave", &wave, errors); /* the ring's own memory */
        if (rc == 0) rc = last ? flow_session_finish(session, errors) : flow_session_run(session, errors);
        ring_done(ring);
        if (rc < 0) return rc;
        print_segments(session);
    }
    return 0;
}

/* Both threads, until the sound ends or Ctrl-C. */
static int converse(flow_session *session, flow_wave *wave, bool real_time, flow_errors **errors) {
    static struct ring ring;
    struct microphone microphone = {&ring, wave, real_time, NULL};
    struct sigaction action = {.sa_handler = on_signal};
    pthread_t thread;
    running = session;
    if (sigaction(SIGINT, &action, NULL) < 0 || pthread_create(&thread, NULL, listen_to, &microphone) != 0) {
        fprintf(stderr, "no thread for the microphone\n");
        return FLOW_ERROR_INTERNAL;
    }
    int rc = hear(session, &ring, errors);
    atomic_store(&stopped, true); /* after an error: the other thread ends, too */
    pthread_join(thread, NULL);
    signal(SIGINT, SIG_DFL); /* the session will go */
    if (atomic_load(&ring.lost)) fprintf(stderr, "%u pieces were lost\n", atomic_load(&ring.lost));
    for (int32_t i = 0; i < flow_errors_count(microphone.errors); i++)
        fprintf(stderr, "microphone: %s\n", flow_errors_get(microphone.errors, i).text);
    if (flow_errors_count(microphone.errors)) rc = FLOW_ERROR_IO;
    flow_errors_free(microphone.errors);
    return rc == FLOW_ERROR_CANCELLED ? 0 : rc;
}

int main(int count, char **words) {
    bool real_time = count > 1 && strcmp(words[1], "--real-time") == 0;
    if (count != 3 + real_time) {
        fprintf(stderr, "usage: live [--real-time] GRAPH RECORDING\n");
        return 2;
    }
    flow_errors *errors = NULL;
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    flow_wave *wave = NULL;
    struct flow_runtime_options options = {.size = sizeof options, .threads = 1};      /* 10 ms are too little work for two */
    struct flow_session_options streaming = {.size = sizeof streaming, .stream = "S"}; /* the axis of the samples comes in pieces */
    int rc = flow_runtime_new(&options, &errors, &runtime);
    if (rc == 0) rc = flow_graph_open(runtime, words[1 + real_time], NULL, &errors, &graph);
    if (rc == 0) rc = flow_session_new(graph, &streaming, &errors, &session);
    if (rc == 0) rc = flow_wave_open(runtime, words[2 + real_time], &errors, &wave);
    if (rc == 0 && flow_wave_channels(wave) != 1) rc = FLOW_ERROR_USAGE, fprintf(stderr, "expected one channel\n");
    if (rc == 0) rc = converse(session, wave, real_time, &errors);
    for (int32_t i = 0; i < flow_errors_count(errors) && rc < 0; i++) fprintf(stderr, "%s\n", flow_errors_get(errors, i).text);
    flow_errors_free(errors);
    flow_wave_close(wave);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return rc < 0;
}
