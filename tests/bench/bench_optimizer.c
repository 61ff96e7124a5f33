/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times the optimisers' passes by themselves: AdamW over 8M parameters beside a loop that moves the same bytes and computes next to nothing
 * (the memory's limit), the cost of one small parameter more in a group, noise and norm over a deep narrow network's gradients, and one
 * step of muon on ten matrices.
 *
 * Build and run: cmake -G Ninja -B build -DFLOW_BENCH=ON && ninja -C build bench_optimizer && build/tests/bench/bench_optimizer [threads]
 * One thread: its processor time, else the wall's; the least of many rounds, taken in turn.
 */
#include "device/device.h"
#include "train/update.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern const struct flow_optimizer adamw_optimizer, muon_optimizer;

enum { MOST = 4096 };

struct group {
    const struct flow_optimizer *rule;
    struct flow_update update;
    struct flow_tensor param[MOST], grad[MOST], state[2 * MOST];
};

static const struct { double lr, beta1, beta2, eps, decay; } adamw_attrs = {1e-3, 0.9, 0.999, 1e-8, 0.01};
static const struct {
    double lr, momentum, decay;
    int64_t steps;
    bool nesterov, stacked;
} muon_attrs = {0.02, 0.95, 0, 5, true, false};

static double now(const struct flow_host *host) {
    struct timespec t;
    clock_gettime(host->threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct device *device;

static void *memory(int64_t bytes) {
    void *at = NULL;
    if (device->api->memory_new(device, bytes, &at) < 0) exit(1);
    return at;
}

static struct flow_tensor tensor(int64_t rows, int64_t columns) {
    struct flow_tensor t = {.dtype = FLOW_F32, .rank = 2, .shape = {rows, columns}, .strides = {columns, 1}};
    float *at = t.data = memory(rows * columns * 4);
    for (int64_t i = 0; i < rows * columns; i++) at[i] = (float)(i * 7919 % 1013) * 1e-3F - 0.5F;
    return t;
}

static void make(struct group *g, const struct flow_call *call, const struct flow_optimizer *rule, const void *attrs, uint32_t count,
                 int64_t rows, int64_t columns) {
    g->rule = rule;
    for (uint32_t i = 0; i < count; i++) {
        g->param[i] = tensor(rows, columns), g->grad[i] = tensor(rows, columns);
        for (uint32_t s = 0; s < rule->states.count; s++) {
            g->state[s * count + i] = tensor(rows, columns);
            memset(g->state[s * count + i].data, 0, (size_t)(rows * columns) * 4);
        }
    }
    g->update = (struct flow_update){.size = sizeof g->update,
                                     .count = count,
                                     .call = call,
                                     .attrs = attrs,
                                     .param = g->param,
                                     .grad = g->grad,
                                     .state = g->state,
                                     .rate = 1,
                                     .scale = 0.5};
    g->update.workspace = memory(rule->workspace(&g->update));
}

static double step(struct group *g) {
    double t = now(g->update.call->host);
    if (g->rule->step(&g->update) < 0) exit(1);
    t = now(g->update.call->host) - t;
    g->update.step++;
    return t;
}

static void forget(const struct flow_tensor *t) { device->api->memory_free(device, t->data, t->shape[0] * t->shape[1] * 4); }

static void drop(struct group *g) {
    for (uint32_t i = 0; i < g->update.count; i++) forget(&g->param[i]), forget(&g->grad[i]);
    for (uint32_t i = 0; i < g->rule->states.count * g->update.count; i++) forget(&g->state[i]);
    device->api->memory_free(device, g->update.workspace, g->rule->workspace(&g->update));
}

/* Four arrays read, three of them written. */
static void move(void *context, int64_t begin, int64_t end) {
    const struct group *g = context;
    float *restrict w = g->param[0].data, *restrict m = g->state[0].data, *restrict v = g->state[1].data;
    const float *restrict d = g->grad[0].data;
    for (int64_t i = begin; i < end; i++) w[i] += d[i], m[i] += d[i], v[i] += d[i];
}

static void adamw(const struct flow_call *call, struct group *g) {
    const int64_t count = 8 << 20;
    double best = 1e9, limit = 1e9;
    make(g, call, &adamw_optimizer, &adamw_attrs, 1, 8, count / 8);
    for (int round = 0; round < 20; round++) {
        double t = step(g);
        if (round && t < best) best = t;
        t = now(call->host);
        call->host->parallel_for(call, count, 65536, move, g);
        t = now(call->host) - t;
        if (round && t < limit) limit = t;
    }
    printf("adamw, 8M parameters: %.2f ms, %.1f GB/s; moving the same bytes %.2f ms\n", best * 1e3, (double)count * 28e-9 / best,
           limit * 1e3);
    drop(g);
    best = 1e9;
    make(g, call, &adamw_optimizer, &adamw_attrs, 2000, 1, 50);
    for (int round = 0; round < 200; round++) {
        const double t = step(g);
        if (t < best) best = t;
    }
    printf("adamw, 2000 parameters of 50: %.0f ns each\n", best * 1e9 / 2000);
    drop(g);
}

static void muon(const struct flow_call *call, struct group *g) {
    double best = 1e9;
    make(g, call, &muon_optimizer, &muon_attrs, 10, 1024, 4096);
    for (int round = 0; round < 3; round++) {
        const double t = step(g);
        if (t < best) best = t;
    }
    drop(g);
    printf("muon, ten matrices 1024 x 4096: %.2f s\n", best);
    best = 1e9;
    make(g, call, &muon_optimizer, &muon_attrs, 16, 128, 512);
    for (int round = 0; round < 5; round++) {
        const double t = step(g);
        if (t < best) best = t;
    }
    printf("muon, 16 matrices 128 x 512: %.1f ms\n", best * 1e3);
    drop(g);
}

/* 784, twenty times 50, 10. */
static void noise(const struct flow_call *call) {
    struct flow_tensor grad[42];
    uint64_t key[42];
    int64_t count = 0;
    double best[2] = {1e9, 1e9};
    struct update_sum sum = {0, 0};
    for (int i = 0; i < 42; i++) {
        grad[i] = i % 2 ? tensor(i == 41 ? 10 : 50, 1) : tensor(i == 40 ? 10 : 50, i ? 50 : 784);
        count += grad[i].shape[0] * grad[i].shape[1], key[i] = (uint64_t)i;
    }
    void *workspace = malloc((size_t)update_workspace(42, grad));
    if (!workspace) exit(1);
    for (int round = 0; round < 500; round++)
        for (int with = 0; with < 2; with++) {
            const struct update_noise drawn = {.variance = 0.01, .step = round, .key = key};
            const struct update_pass pass = {
                .call = call, .count = 42, .grad = grad, .scale = 1, .noise = with ? &drawn : NULL, .workspace = workspace};
            double t = now(call->host);
            update_prepare(&pass, &sum);
            t = now(call->host) - t;
            if (t < best[with]) best[with] = t;
        }
    printf("%d gradients: norm %.1f us, with noise %.1f us (%.2f ns a number)\n", (int)count, best[0] * 1e6, best[1] * 1e6,
           best[1] * 1e9 / (double)count);
    for (int i = 0; i < 42; i++) forget(&grad[i]);
    free(workspace);
}

int main(int argc, char **argv) {
    struct device_cpu_options options = {.threads = argc > 1 ? atoi(argv[1]) : 1, .isa = -1};
    struct group *g = calloc(1, sizeof *g);
    if (!g || device_cpu_new(&memory_default, &options, &device) < 0) return 1;
    const struct flow_call call = {.size = sizeof call, .host = device->host};
    adamw(&call, g);
    noise(&call);
    muon(&call, g);
    free(g);
    device->api->free(device);
    return 0;
}
