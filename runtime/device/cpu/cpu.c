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

enum { LINE = 64, PAGE = 4096, HUGE_FROM = 8 << 20 };

/* Large blocks ask for large pages: passes over several arrays at once are a quarter faster for it. A hint, which may come to nothing. */
static void ask_large_pages(unsigned char *at, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    const size_t skip = (size_t)(-(uintptr_t)at % PAGE);
    if (bytes >= HUGE_FROM) (void)madvise(at + skip, ((size_t)bytes - skip) / PAGE * PAGE, MADV_HUGEPAGE);
#else
    (void)at, (void)bytes;
#endif
}

/* The byte before the block says how far it was moved to be aligned. */
void *cpu_memory_new(const struct allocator *from, int64_t bytes) {
    if (bytes < 0 || bytes > PTRDIFF_MAX - LINE) return NULL;
    unsigned char *raw = from->resize(from->context, NULL, 0, (size_t)bytes + LINE);
    if (!raw) return NULL;
    size_t shift = LINE - (size_t)((uintptr_t)raw % LINE);
    raw[shift - 1] = (unsigned char)shift;
    ask_large_pages(raw + shift, bytes);
    return raw + shift;
}

void cpu_memory_free(const struct allocator *from, void *block, int64_t bytes) {
    if (!block) return;
    unsigned char *at = block;
    from->resize(from->context, at - at[-1], (size_t)bytes + LINE, 0);
}

static int device_memory_new(struct device *device, int64_t bytes, void **out) {
    *out = cpu_memory_new(((struct cpu *)device)->from, bytes);
    return *out ? FLOW_OK : FLOW_ERROR_MEMORY;
}

static void device_memory_free(struct device *device, void *block, int64_t bytes) {
    cpu_memory_free(((struct cpu *)device)->from, block, bytes);
}

struct cpu_scratch *cpu_scratch_take(struct cpu *cpu) {
    pthread_mutex_lock(&cpu->lock);
    struct cpu_scratch *scratch = cpu->scratch;
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

static void device_free(struct device *device) {
    struct cpu *cpu = (struct cpu *)device;
    if (!cpu) return;
    const struct allocator *from = cpu->from;
    pool_free(&cpu->pool);
    for (struct cpu_scratch *scratch = cpu->scratch, *next; scratch; scratch = next) {
        next = scratch->next;
        cpu_memory_free(from, scratch->at, CPU_SCRATCH);
        memory_free(from, scratch, sizeof *scratch);
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
    cpu->device = (struct device){.api = &cpu_api, .host = &cpu->host};
    *out = &cpu->device;
    return FLOW_OK;
}
