/* SPDX-License-Identifier: Apache-2.0 */
/* Trains a graph that stands in a test as text, in a folder of its own, and remembers what happened: losses, metrics, parameters. */
#ifndef FLOW_TESTS_TRAINER_TEST_H
#define FLOW_TESTS_TRAINER_TEST_H

#include <flow/flow.h>

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

/* In memory where the system has such a folder: every checkpoint is flushed to the disk. */
static inline void folder_make(void) {
    strcpy(folder, "/dev/shm/flow-train-XXXXXX");
    if (mkdtemp(folder)) return;
    strcpy(folder, "/tmp/flow-train-XXXXXX");
    cr_assert(mkdtemp(folder));
}
static inline void folder_remove(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

/* "folder/name" */
static inline const char *in_folder(const char *name) {
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void put_bytes(const char *name, const void *bytes, size_t size) {
    FILE *file = fopen(in_folder(name), "wb");
    cr_assert(file && fwrite(bytes, 1, size, file) == size);
    fclose(file);
}
static inline void put_text(const char *name, const char *text) { put_bytes(name, text, strlen(text)); }

enum { EVENTS_MOST = 4096, METRIC_VALUES = 8 };

struct happened {
    int32_t kind;
    char stage[64], name[256];
    int64_t step, total;
    double loss, norm, rate;
    size_t metric_count;
    struct {
        char name[32];
        double values[METRIC_VALUES];
        size_t count;
    } metrics[4];
};

struct training_run {
    flow_runtime *runtime;
    flow_graph *graph;
    flow_trainer *trainer;
    flow_errors *errors;
    char message[4096]; /* all errors, a line each */
    struct happened *events;
    size_t count;
};

struct run_options {
    int32_t threads, streams, precision;
    bool resume;
    int64_t steps;
    const char *set[4]; /* variables */
    void *(*resize)(void *context, void *block, size_t old_size, size_t new_size);
    void *context;
    const struct flow_named *inputs;
    size_t input_count;
};

static inline void run_close(struct training_run *run) {
    flow_errors_free(run->errors);
    flow_trainer_free(run->trainer);
    flow_graph_free(run->graph);
    flow_runtime_free(run->runtime);
    free(run->events);
    run->errors = NULL, run->trainer = NULL, run->graph = NULL, run->runtime = NULL, run->events = NULL;
}

static inline int run_note(struct training_run *run, int status) {
    size_t at = 0;
    if (status >= 0) return status;
    run->message[0] = 0;
    for (int32_t i = 0; i < flow_errors_count(run->errors) && at < sizeof run->message; i++) {
        struct flow_error error = flow_errors_get(run->errors, i);
        int n = snprintf(run->message + at, sizeof run->message - at, "%s:%d: %s\n", error.file ? error.file : "", error.line, error.text);
        if (n > 0) at += (size_t)n;
    }
    flow_errors_free(run->errors);
    run->errors = NULL;
    return status;
}

static inline int run_open(struct training_run *run, const char *text, struct run_options options) {
    struct flow_runtime_options runtime = {.size = sizeof runtime,
                                           .threads = options.threads ? options.threads : 1,
                                           .plugin_path = BUILD_DIR "/plugins",
                                           .resize = options.resize,
                                           .resize_context = options.context};
    struct flow_graph_options graph = {.size = sizeof graph, .precision = options.precision, .set = options.set};
    while (graph.set_count < 4 && options.set[graph.set_count]) graph.set_count++;
    struct flow_trainer_options trainer = {
        .size = sizeof trainer, .streams = options.streams, .resume = options.resume, .steps = options.steps};
    memset(run, 0, sizeof *run);
    run->events = calloc(EVENTS_MOST, sizeof *run->events);
    int status = flow_runtime_new(&runtime, &run->errors, &run->runtime);
    if (status == 0) status = flow_graph_parse(run->runtime, in_folder("test.yaml"), text, strlen(text), &graph, &run->errors, &run->graph);
    if (status == 0) status = flow_trainer_new(run->graph, &trainer, &run->errors, &run->trainer);
    for (size_t i = 0; i < options.input_count && status == 0; i++)
        status = flow_trainer_input(run->trainer, options.inputs[i].name, options.inputs[i].tensor, &run->errors);
    return run_note(run, status);
}

/* The next event, remembered where there is room. */
static inline int run_next(struct training_run *run, struct flow_event *event) {
    event->size = sizeof *event;
    int status = flow_trainer_next(run->trainer, event, &run->errors);
    if (status < 0 || run->count == EVENTS_MOST) return run_note(run, status);
    struct happened *h = &run->events[run->count++];
    *h = (struct happened){.kind = event->kind,
                           .step = event->step,
                           .total = event->total,
                           .loss = event->loss,
                           .norm = event->grad_norm,
                           .rate = event->rate,
                           .metric_count = event->metric_count < 4 ? event->metric_count : 4};
    snprintf(h->stage, sizeof h->stage, "%s", event->stage);
    snprintf(h->name, sizeof h->name, "%s", event->name ? event->name : "");
    for (size_t m = 0; m < h->metric_count; m++) {
        snprintf(h->metrics[m].name, sizeof h->metrics[m].name, "%s", event->metrics[m].name);
        h->metrics[m].count = event->metrics[m].count;
        for (size_t i = 0; i < event->metrics[m].count && i < METRIC_VALUES; i++) h->metrics[m].values[i] = event->metrics[m].values[i];
    }
    return 0;
}

/* Up to `steps` steps (0: to the end). */
static inline int run_on(struct training_run *run, int64_t steps) {
    struct flow_event event;
    for (int64_t made = 0;;) {
        int status = run_next(run, &event);
        if (status < 0 || event.kind == FLOW_EVENT_END) return status;
        if (event.kind == FLOW_EVENT_STEP && ++made == steps) return 0;
    }
}

static inline int run_whole(struct training_run *run, const char *text, struct run_options options) {
    int status = run_open(run, text, options);
    return status == 0 ? run_on(run, 0) : status;
}

#define RUN(run, text, ...)                                                       \
    do {                                                                          \
        int run_status = run_whole(run, text, (struct run_options){__VA_ARGS__}); \
        cr_assert_eq(run_status, 0, "%d: %s", run_status, (run)->message);        \
    } while (0)

static inline const struct flow_tensor *run_param(const struct training_run *run, const char *name) {
    const char *found;
    const struct flow_tensor *value;
    for (size_t i = 0; (value = flow_trainer_parameter(run->trainer, i, &found)); i++)
        if (strcmp(found, name) == 0) return value;
    cr_assert_fail("there is no parameter '%s'", name);
    return NULL;
}

static inline double run_value(const struct training_run *run, const char *name, int64_t index) {
    return flow_tensor_real(run_param(run, name), index);
}

/* The same parameters, bit for bit. */
static inline void same_bits(const struct training_run *a, const struct training_run *b, const char *what) {
    const char *name;
    const struct flow_tensor *x;
    size_t count = 0;
    for (; (x = flow_trainer_parameter(a->trainer, count, &name)); count++) {
        const struct flow_tensor *y = run_param(b, name);
        cr_assert_eq(flow_tensor_count(x), flow_tensor_count(y));
        size_t bytes = (size_t)(flow_tensor_count(x) * flow_type_bytes(x->dtype));
        cr_assert(memcmp(x->data, y->data, bytes) == 0, "%s: '%s' differs (%.9g, %.9g)", what, name, flow_tensor_real(x, 0),
                  flow_tensor_real(y, 0));
    }
    cr_assert(count > 0);
}

static inline void near_values(const struct training_run *a, const struct training_run *b, double tolerance, const char *what) {
    const char *name;
    const struct flow_tensor *x;
    for (size_t i = 0; (x = flow_trainer_parameter(a->trainer, i, &name)); i++) {
        const struct flow_tensor *y = run_param(b, name);
        for (int64_t k = 0; k < flow_tensor_count(x); k++)
            cr_assert_float_eq(flow_tensor_real(x, k), flow_tensor_real(y, k), tolerance, "%s: '%s'[%lld]: %.9g, %.9g", what, name,
                               (long long)k, flow_tensor_real(x, k), flow_tensor_real(y, k));
    }
}

/* The n-th event of the kind (and, where not NULL, of that validation), from 0. */
static inline const struct happened *run_event(const struct training_run *run, int32_t kind, const char *name, size_t n) {
    for (size_t i = 0; i < run->count; i++)
        if (run->events[i].kind == kind && (!name || strcmp(run->events[i].name, name) == 0) && n-- == 0) return &run->events[i];
    return NULL;
}
static inline size_t run_events(const struct training_run *run, int32_t kind, const char *name) {
    size_t n = 0;
    while (run_event(run, kind, name, n)) n++;
    return n;
}
static inline double run_metric(const struct happened *event, const char *name, size_t index) {
    for (size_t m = 0; event && m < event->metric_count; m++)
        if (strcmp(event->metrics[m].name, name) == 0 && index < event->metrics[m].count) return event->metrics[m].values[index];
    return NAN;
}

/* How many checkpoints lie in folder/dir. */
static inline int checkpoints_in(const char *dir) {
    DIR *d = opendir(in_folder(dir));
    int count = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        count += strncmp(e->d_name, "checkpoint-", 11) == 0 && strstr(e->d_name, ".safetensors") && !strstr(e->d_name, ".part");
    if (d) closedir(d);
    return count;
}

/* Numbers that look like chance, in [-1, 1), and a rows x width table of them with labels, for the tests' data sets. */
static inline double number_of(uint64_t i) {
    uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u, z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
}

/* name: x [rows, 4], y [rows, 2] = a fixed map of x and its square, label i64 [rows] in 0..2. */
enum { DATA_IN = 4, DATA_OUT = 2, DATA_CLASSES = 3 };
static inline void put_data(const char *name, int64_t rows, uint64_t start) {
    float *x = calloc((size_t)rows * DATA_IN + 1, sizeof *x), *y = calloc((size_t)rows * DATA_OUT + 1, sizeof *y);
    int64_t *label = calloc((size_t)rows + 1, sizeof *label);
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = 0; i < DATA_IN; i++) {
            x[r * DATA_IN + i] = (float)number_of(start + (uint64_t)(r * DATA_IN + i));
            sum += x[r * DATA_IN + i] * (double)(i + 1);
        }
        y[r * DATA_OUT] = (float)(0.3 * sum), y[r * DATA_OUT + 1] = (float)(0.1 * sum * sum);
        label[r] = sum < -1 ? 0 : sum < 1 ? 1 : 2;
    }
    struct flow_tensor tx = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){rows, DATA_IN});
    struct flow_tensor ty = flow_tensor_of(y, FLOW_F32, 2, (int64_t[]){rows, DATA_OUT});
    struct flow_tensor tl = flow_tensor_of(label, FLOW_I64, 1, (int64_t[]){rows});
    struct flow_named named[] = {{"label", &tl}, {"x", &tx}, {"y", &ty}};
    flow_errors *errors = NULL;
    flow_runtime *runtime;
    cr_assert_eq(flow_runtime_new(NULL, &errors, &runtime), 0);
    cr_assert_eq(flow_file_write(runtime, in_folder(name), named, 3, 0, &errors), 0);
    flow_runtime_free(runtime);
    free(x), free(y), free(label);
}

#endif
