/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine gives at this moment: multiply-adds, and reads of areas that lie in the first, second, third cache and in memory. All
 * threads work at once, each on an area of its own; the best of a few tries counts, since a try may be interrupted. Tens of milliseconds.
 */
#include "device/cpu/limits.h"
#include "device/cpu/cpu.h"
#include "device/cpu/gemm.h"

#include <string.h>
#include <time.h>

enum { TRIES = 5, MEMORY_TRIES = 3 };
static const int64_t MEMORY = 64 << 20; /* of all threads together: more than a core's share of the last cache */
static const int64_t AREAS[DEVICE_LEVELS - 1] = {16 << 10, 256 << 10, 4 << 20}; /* of each thread */
static const double TRY = 1e-3;                                                 /* seconds, about */

#ifdef FLOW_ISA_ALL
extern const struct limits_kernels limits_base, limits_avx2, limits_avx512;
static const struct limits_kernels *kernels_of(int32_t isa) {
    return isa >= FLOW_ISA_AVX512 ? &limits_avx512 : isa >= FLOW_ISA_AVX2 ? &limits_avx2 : &limits_base;
}
#else
extern const struct limits_kernels limits_base;
static const struct limits_kernels *kernels_of(int32_t isa) {
    (void)isa;
    return &limits_base;
}
#endif

struct probe {
    const struct limits_kernels *kernels;
    const char *area;
    int64_t bytes, times; /* bytes 0: multiply-adds, `times` rounds */
    int64_t operations;
    _Atomic double kept; /* so that no loop is left out */
};

static void work(void *context, int64_t begin, int64_t end) {
    struct probe *probe = context;
    for (int64_t i = begin; i < end; i++) {
        int64_t operations = 0;
        double kept = probe->bytes ? probe->kernels->read(probe->area + i * probe->bytes, probe->bytes, probe->times)
                                   : probe->kernels->multiply_add(probe->times, &operations);
        if (i == 0) probe->operations = probe->bytes ? probe->bytes * probe->times : operations;
        atomic_store_explicit(&probe->kept, kept, memory_order_relaxed);
    }
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Units a second of all threads. */
static double measure(struct cpu *cpu, struct probe *probe, int tries) {
    const int32_t threads = cpu->pool.threads;
    double best = 0;
    for (int t = 0; t < tries; t++) {
        double start = seconds();
        pool_for(&cpu->pool, threads, 1, work, probe);
        double took = seconds() - start, rate = took > 0 ? (double)probe->operations * (double)threads / took : 0;
        if (rate > best) best = rate;
        if (t == 0 && took > 0 && took < TRY / 2) { /* how much takes about a millisecond is known only now */
            double more = TRY / took;
            probe->times = (int64_t)((double)probe->times * (more < 4096 ? more : 4096)) + 1;
        }
    }
    return best;
}

int cpu_limits(struct device *device, struct device_limits *out) {
    struct cpu *cpu = (struct cpu *)device;
    const int64_t threads = cpu->pool.threads, most = size_align(MEMORY / threads, 1024);
    *out = (struct device_limits){.threads = cpu->pool.threads};
    char *area = cpu_memory_new(cpu->from, most * threads);
    if (!area) return FLOW_ERROR_MEMORY;
    memset(area, 1, (size_t)(most * threads)); /* the pages are there */
    struct probe probe = {.kernels = kernels_of(cpu->host.isa), .area = area, .times = 1000};
    out->flops = measure(cpu, &probe, TRIES);
    for (int level = 0; level < DEVICE_LEVELS; level++) {
        bool memory = level == DEVICE_LEVELS - 1;
        probe.bytes = memory || AREAS[level] > most ? most : AREAS[level], probe.times = 1;
        out->reach[level] = (double)(probe.bytes * threads);
        out->rate[level] = measure(cpu, &probe, memory ? MEMORY_TRIES : TRIES);
    }
    cpu_memory_free(cpu->from, area, most * threads);
    return 0;
}
