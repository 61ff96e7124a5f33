/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU device: memory, and the table of functions that operators get.
 *
 * Memory for packing belongs to the device: one buffer (CPU_SCRATCH bytes) for each thread that is inside a product at the same moment,
 * made when first needed and kept until the device goes. Nothing else is allocated while operators run, except that a stream's ring of
 * launches grows to the longest queue it has held.
 */
#include "device/cpu/cpu.h"

#include <string.h>
#include <sys/mman.h>

enum { LINE = 64, LARGE_PAGE = 2 << 20, LARGE = 8 << 20 };

/* Large blocks begin where large pages do, and ask for them: AdamW over 8M parameters took 4.3 ms so, 6 to 7 ms in blocks one after the
 * other as they come (Zen 4), with and without large pages. What is not touched costs addresses alone. */
static int64_t alignment(int64_t bytes) { return bytes >= LARGE ? LARGE_PAGE : LINE; }

/* The eight bytes before the block say how far it was moved to be aligned. */
void *cpu_memory_new(const struct allocator *from, int64_t bytes) {
    if (bytes < 0 || bytes > PTRDIFF_MAX - LARGE_PAGE) return NULL;
    const int64_t line = alignment(bytes);
    unsigned char *raw = from->resize(from->context, NULL, 0, (size_t)(bytes + line));
    if (!raw) return NULL;
    const int64_t shift = line - (int64_t)((uintptr_t)raw % (uintptr_t)line);
    memcpy(raw + shift - sizeof shift, &shift, sizeof shift);
#ifdef MADV_HUGEPAGE
    if (line == LARGE_PAGE) (void)madvise(raw + shift, (size_t)(bytes / LARGE_PAGE * LARGE_PAGE), MADV_HUGEPAGE); /* a hint */
#endif
    return raw + shift;
}

void cpu_memory_free(const struct allocator *from, void *block, int64_t bytes) {
    if (!block) return;
    int64_t shift;
    unsigned char *at = block;
    memcpy(&shift, at - sizeof shift, sizeof shift);
    from->resize(from->context, at - shift, (size_t)(bytes + alignment(bytes)), 0);
}

static int device_memory_new(struct device *device, int64_t bytes, void **out) {
    *out = cpu_memory_new(((struct cpu *)device)->from, bytes);
    return *out ? FLOW_OK : FLOW_ERROR_MEMORY;
}

static void device_memory_free(struct device *device, void *block, int64_t bytes) {
    cpu_memory_free(((struct cpu *)device)->from, block, bytes);
}

struct cpu_scratch *cpu_scratch_take(struct cpu *cpu) {
    struct cpu_scratch *scratch = NULL;
    for (int i = 0; i < CPU_SPARE && !scratch; i++)
        if (atomic_load_explicit(&cpu->spare[i], memory_order_relaxed)) scratch = atomic_exchange(&cpu->spare[i], NULL);
    if (scratch) return scratch;
    pthread_mutex_lock(&cpu->lock);
    scratch = cpu->scratch;
    if (scratch) cpu->scratch = scratch->next;
    pthread_mutex_unlock(&cpu->lock);
    if (scratch) return scratch;
    scratch = memory_new(cpu->from, sizeof *scratch);
    if (!scratch) return NULL;
    scratch->at = cpu_memory_new(cpu->from, CPU_SCRATCH);
    if (scratch->at) return scratch;
    memory_free(cpu->from, scratch, sizeof *scratch);
    return NULL;
}

void cpu_scratch_give(struct cpu *cpu, struct cpu_scratch *scratch) {
    if (!scratch) return;
    for (int i = 0; i < CPU_SPARE; i++) {
        struct cpu_scratch *none = NULL;
        if (atomic_compare_exchange_strong(&cpu->spare[i], &none, scratch)) return;
    }
    pthread_mutex_lock(&cpu->lock);
    scratch->next = cpu->scratch, cpu->scratch = scratch;
    pthread_mutex_unlock(&cpu->lock);
}

static void host_parallel_for(const struct flow_call *call, int64_t count, int64_t grain, pool_body body, void *context) {
    struct cpu *cpu = call->host->device;
    pool_for(&cpu->pool, count, grain, body, context);
}

static const void *host_extension(const struct flow_host *host, const char *id) {
    (void)host, (void)id;
    return NULL;
}

static void scratch_free(const struct allocator *from, struct cpu_scratch *scratch) {
    if (!scratch) return;
    cpu_memory_free(from, scratch->at, CPU_SCRATCH);
    memory_free(from, scratch, sizeof *scratch);
}

static void device_free(struct device *device) {
    struct cpu *cpu = (struct cpu *)device;
    if (!cpu) return;
    const struct allocator *from = cpu->from;
    pool_free(&cpu->pool);
    for (int i = 0; i < CPU_SPARE; i++) scratch_free(from, atomic_load(&cpu->spare[i]));
    for (struct cpu_scratch *scratch = cpu->scratch, *next; scratch; scratch = next) {
        next = scratch->next;
        scratch_free(from, scratch);
    }
    pthread_mutex_destroy(&cpu->lock);
    cpu_memory_free(from, cpu, sizeof *cpu);
}

static const struct device_api cpu_api = {
    .name = "cpu",
    .kind = FLOW_DEVICE_CPU,
    .memory_new = device_memory_new,
    .memory_free = device_memory_free,
    .stream_new = cpu_stream_new,
    .stream_free = cpu_stream_free,
    .launch = cpu_stream_launch,
    .synchronize = cpu_stream_synchronize,
    .event_new = cpu_event_new,
    .event_free = cpu_event_free,
    .record = cpu_stream_record,
    .wait = cpu_stream_wait,
    .free = device_free,
    .limits = cpu_limits,
};

int device_cpu_new(const struct allocator *from, const struct device_cpu_options *options, struct device **out) {
    *out = NULL;
    if (options->threads < 0) return FLOW_ERROR_USAGE;
    struct cpu *cpu = cpu_memory_new(from, sizeof *cpu);
    if (!cpu) return FLOW_ERROR_MEMORY;
    memset(cpu, 0, sizeof *cpu);
    cpu->from = from;
    if (pthread_mutex_init(&cpu->lock, NULL) != 0) {
        cpu_memory_free(from, cpu, sizeof *cpu);
        return FLOW_ERROR_MEMORY;
    }
    cpu->pool.trace = options->trace;
    int code = pool_init(&cpu->pool, from, options->threads, cpu_stream_serve, cpu);
    if (code) {
        pthread_mutex_destroy(&cpu->lock);
        cpu_memory_free(from, cpu, sizeof *cpu);
        return code;
    }
    cpu->host = (struct flow_host){
        .size = sizeof cpu->host,
        .isa = cpu_isa(options->isa),
        .threads = cpu->pool.threads,
        .parallel_for = host_parallel_for,
        .gemm = cpu_gemm,
        .gemm_packed_bytes = cpu_gemm_packed_bytes,
        .gemm_pack = cpu_gemm_pack,
        .extension = host_extension,
        .device = cpu,
    };
    cpu->bf16 = cpu->host.isa >= FLOW_ISA_AVX512 && cpu_has_bf16();
    cpu->device = (struct device){.api = &cpu_api, .host = &cpu->host, .trace = options->trace, .cpu = &cpu->device};
    *out = &cpu->device;
    return FLOW_OK;
}
