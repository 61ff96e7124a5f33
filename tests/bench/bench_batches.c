/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times the data path alone: batches of packed tensors and windows of text, taken as fast as they come, beside read(2) of the same bytes
 * from the page cache into as many buffers, in one process, in turn, the best of several rounds.
 *
 * Build and run: cmake -G Ninja -B build -DFLOW_BENCH=ON && ninja -C build bench_batches plugin_data && build/tests/bench/bench_batches
 * [MiB] The file is made in the working folder and removed. Columns: GiB/s of read, of batches, their ratio.
 */
#include "graph/attributes.h"
#include "io/batches.h"
#include "plugin/registry.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 5, BUFFERS = 5 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fail(const char *what, const struct report *report) {
    fprintf(stderr, "%s: %s\n", what, report && report->last ? report->last->text : "failed");
    return 1;
}

/* read(2) of the whole file in pieces, going round some buffers; seconds. */
static double read_file(const char *path, size_t piece) {
    char *buffers[BUFFERS];
    const int file = open(path, O_RDONLY);
    for (int i = 0; i < BUFFERS; i++) buffers[i] = aligned_alloc(64, piece), memset(buffers[i], 1, piece);
    const double start = now();
    ssize_t got = 1;
    for (int i = 0; got > 0; i++) got = read(file, buffers[i % BUFFERS], piece);
    const double seconds = now() - start;
    for (int i = 0; i < BUFFERS; i++) free(buffers[i]);
    close(file);
    return seconds;
}

/* One epoch; seconds, negative on failure. The batches before the first are not counted: buffers are touched there. */
static double take_epoch(struct io_loop *loop, const struct batches_options *options, struct report *report) {
    struct batches *batches;
    const struct flow_tensor *tensors;
    int64_t number;
    if (batches_open(loop, options, report, &batches) < 0) return -1;
    int status = 0;
    for (int64_t n = 0; status == 0 && n < 2 * BUFFERS; n++) status = batches_next(batches, report, &tensors, &number);
    const double start = now();
    for (int64_t n = 0; status == 0 && n < batches_in_epoch(batches); n++) status = batches_next(batches, report, &tensors, &number);
    const double seconds = now() - start;
    batches_close(batches);
    return status < 0 ? -1 : seconds;
}

struct bench {
    const char *source, *path, *with, *title;
    int64_t batch, batch_bytes; /* rows; of the file */
    bool shuffle;
};

static int run(struct registry *registry, struct io_loop *loop, const struct bench *b, double bytes) {
    struct report report;
    struct arena arena;
    struct text why;
    report_init(&report, &memory_default), arena_init(&arena, &memory_default), text_init(&why, &memory_default);
    const struct registry_entry *entry = registry_source(registry, b->source, &why);
    if (!entry) return fail(why.at ? why.at : "no source", NULL);
    void *attrs = arena_new(&arena, entry->source->attrs_size);
    const struct attributes_options parse = {.node = b->source, .with = document_read(&arena, "with", b->with, strlen(b->with), &report)};
    if (!attrs || attributes_parse(&arena, &entry->source->attrs, &parse, &report, attrs) < 0) return fail("attributes", &report);
    const struct batches_options options = {.source = entry->source,
                                            .attrs = attrs,
                                            .path = b->path,
                                            .base = ".",
                                            .batch = b->batch,
                                            .shuffle = b->shuffle,
                                            .split_to = 1,
                                            .seed = 1};
    double best_read = 1e9, best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        const double plain = read_file(b->path, (size_t)b->batch_bytes), ours = take_epoch(loop, &options, &report);
        if (ours < 0) return fail(b->title, &report);
        best_read = plain < best_read ? plain : best_read, best = ours < best ? ours : best;
    }
    printf("%-44s %8.2f %8.2f %8.2f\n", b->title, bytes / best_read / (1 << 30), bytes / best / (1 << 30), best_read / best);
    arena_free(&arena), report_free(&report), text_free(&why);
    return 0;
}

int main(int argc, char **argv) {
    const int64_t mib = argc > 1 ? atoll(argv[1]) : 256, floats = mib << 18;
    static const char path[] = "bench_batches.npy";
    struct report report;
    struct registry *registry;
    struct io_loop *loop;
    report_init(&report, &memory_default);
    const struct registry_options options = {.index = ""};
    if (registry_new(&memory_default, &options, &registry) < 0 || io_loop_new(&memory_default, &loop) < 0) return fail("start", NULL);
    float *values = malloc((size_t)floats * 4);
    for (int64_t i = 0; values && i < floats; i++) values[i] = (float)i;
    const struct flow_tensor tensor = {.data = values, .dtype = FLOW_F32, .rank = 2, .shape = {floats / 256, 256}, .strides = {256, 1}};
    const struct tensor_write all[] = {{"", &tensor}};
    if (!values || tensor_file_write(&memory_default, path, all, 1, NULL, &report) < 0) return fail("the file", &report);
    free(values);
    static const struct bench benches[] = {
        {"tensors", path, "{}", "tensors, rows of 1 KiB, batch 1024 (1 MiB)", 1024, 1 << 20, false},
        {"tensors", path, "{}", "tensors, rows of 1 KiB, batch 64 (64 KiB)", 64, 1 << 16, false},
        {"tensors", path, "{}", "tensors, batch 1024, shuffled", 1024, 1 << 20, true},
        {"text", path, "{window: 256}", "text, windows of 256 bytes, batch 16", 16, 16 * 256, false},
        {"text", path, "{window: 256}", "text, windows of 256 bytes, batch 16, shuffled", 16, 16 * 256, true},
    };
    printf("%-44s %8s %8s %8s\n", "GiB/s of the file", "read", "batches", "ratio");
    int failed = 0;
    for (size_t i = 0; !failed && i < sizeof benches / sizeof benches[0]; i++)
        failed = run(registry, loop, &benches[i], (double)(mib << 20));
    io_loop_free(loop), registry_free(registry), report_free(&report);
    unlink(path);
    return failed;
}
