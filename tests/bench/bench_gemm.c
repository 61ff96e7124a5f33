/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times the CPU device's matrix products beside oneDNN's dnnl_sgemm (if the library is there), in one process, in turn, minimum of many
 * rounds: on a shared machine only such pairs can be compared. One thread each; with an argument of 2 or more, ours alone on that many.
 *
 * Build and run: cmake -G Ninja -B build -DFLOW_BENCH=ON && ninja -C build bench_gemm && build/tests/bench/bench_gemm [threads] [m n k]
 * Columns: GFLOP/s of oneDNN, ours with B as it lies, ours with B packed beforehand, ours with B transposed ([N, K], as linear has it).
 */
#include "device/device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int (*sgemm)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                     int64_t ldb, float beta, float *c, int64_t ldc);

struct bench {
    const struct flow_host *host;
    sgemm onednn;
    int64_t m, n, k;
    float *a, *b, *transposed, *packed, *c;
};

enum { ONEDNN, PLAIN, PACKED, TRANSPOSED, WAYS };

/* One thread: its processor time, which other programs disturb least. More: the wall's. */
static double now(const struct flow_host *host) {
    struct timespec t;
    clock_gettime(host->threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void once(const struct bench *b, int way) {
    if (way == ONEDNN) {
        b->onednn('N', 'N', b->m, b->n, b->k, 1, b->a, b->k, b->b, b->n, 0, b->c, b->n);
        return;
    }
    struct flow_call call = {.size = sizeof call, .host = b->host};
    struct flow_gemm g = {
        .m = b->m, .n = b->n, .k = b->k, .a = b->a, .a_row = b->k, .a_col = 1, .c = b->c, .c_row = b->n, .dtype = FLOW_F32};
    if (way == PACKED) g.packed_b = b->packed;
    else if (way == PLAIN) g.b = b->b, g.b_row = b->n, g.b_col = 1;
    else g.b = b->transposed, g.b_row = 1, g.b_col = b->k;
    (void)b->host->gemm(&call, &g);
}

static float *values(int64_t count) {
    float *x = aligned_alloc(64, ((size_t)count * 4 + 127) / 64 * 64);
    for (int64_t i = 0; x && i < count; i++) x[i] = (float)(i % 17) * 0.01F;
    return x;
}

static void run(const struct flow_host *host, sgemm onednn, int64_t m, int64_t n, int64_t k, const char *note) {
    struct bench b = {.host = host,
                      .onednn = onednn,
                      .m = m,
                      .n = n,
                      .k = k,
                      .a = values(m * k),
                      .b = values(k * n),
                      .transposed = values(k * n),
                      .packed = values(host->gemm_packed_bytes(host, FLOW_F32, k, n) / 4 + 1),
                      .c = values(m * n)};
    if (!b.a || !b.b || !b.transposed || !b.packed || !b.c) exit(1);
    host->gemm_pack(host, FLOW_F32, k, n, b.b, FLOW_F32, n, 1, b.packed);
    const double flops = 2.0 * (double)m * (double)n * (double)k;
    const int inner = (int)(1e7 / flops) + 1, rounds = flops > 1e9 ? 12 : flops > 1e8 ? 40 : 200;
    double best[WAYS] = {1e9, 1e9, 1e9, 1e9};
    for (int round = 0; round < rounds; round++)
        for (int way = onednn ? ONEDNN : PLAIN; way < WAYS; way++) {
            once(&b, way);
            double start = now(host);
            for (int i = 0; i < inner; i++) once(&b, way);
            double time = (now(host) - start) / inner;
            if (time < best[way]) best[way] = time;
        }
    printf("%5ld x %5ld x %5ld ", (long)m, (long)n, (long)k);
    for (int way = 0; way < WAYS; way++) printf(" %8.1f", best[way] < 1e9 ? flops / best[way] * 1e-9 : 0.0);
    printf("   %9.2f us %s\n", best[PACKED] * 1e6, note);
    fflush(stdout);
    free(b.a), free(b.b), free(b.transposed), free(b.packed), free(b.c);
}

static int empty(void *context) { return context != NULL; }

static void overheads(struct device *device) {
    const struct flow_host *host = device->host;
    struct stream *stream = NULL;
    if (device->api->stream_new(device, &stream)) return;
    double best = 1e9;
    for (int round = 0; round < 50; round++) {
        double start = now(host);
        for (int i = 0; i < 1000; i++) (void)device->api->launch(stream, empty, NULL);
        double time = (now(host) - start) / 1000;
        (void)device->api->synchronize(stream);
        if (time < best) best = time;
    }
    printf("launch %.1f ns\n", best * 1e9);
    device->api->stream_free(stream);
}

int main(int argc, char **argv) {
    static const int shapes[][3] = {
        {64, 64, 64},     {128, 128, 128},  {256, 256, 256}, {512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}, {16, 1024, 256},
        {128, 1536, 384}, {4096, 384, 384}, {1, 1024, 256},  {1, 64, 64},     {4, 64, 64},        {1, 384, 384},      {1, 4096, 1024},
        {2, 1024, 256},   {4, 1024, 256},   {8, 512, 512},   {16, 256, 64},   {16, 3072, 768},    {128, 384, 384},    {2708, 128, 1433},
        {1000, 1, 512},   {1000, 2, 512},   {1000, 4, 512},  {1000, 8, 512},  {512, 512, 8},      {33, 100, 77},      {100, 400, 140}};
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    struct device_cpu_options options = {.threads = threads, .isa = -1};
    struct device *device = NULL;
    setenv("OMP_NUM_THREADS", "1", 1);
    void *library = threads == 1 ? dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL) : NULL;
    sgemm onednn = NULL;
    if (library) *(void **)&onednn = dlsym(library, "dnnl_sgemm");
    if (device_cpu_new(&memory_default, &options, &device)) return 1;
    printf("# %d thread(s), isa %d\n# %-19s %8s %8s %8s %8s   time of packed\n", threads, device->host->isa, "m x n x k", "oneDNN", "plain",
           "packed", "transp.");
    overheads(device);
    if (argc > 4) run(device->host, onednn, atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), "");
    else
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) run(device->host, onednn, shapes[i][0], shapes[i][1], shapes[i][2], "");
    device->api->free(device);
    return 0;
}
