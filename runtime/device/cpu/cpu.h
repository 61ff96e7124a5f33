/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU device: what its files share. */
#ifndef FLOW_DEVICE_CPU_CPU_H
#define FLOW_DEVICE_CPU_CPU_H

#include "device/cpu/pool.h"
#include "device/device.h"

struct cpu_scratch;

/* The device comes first: a struct device * of this kind is a struct cpu *. */
enum { CPU_SPARE = 16 };
struct cpu {
    struct device device;
    struct flow_host host; /* host.device points back here */
    const struct allocator *from;
    pthread_mutex_t lock;                           /* streams, events, the ready list, the scratch list */
    _Atomic(struct cpu_scratch *) spare[CPU_SPARE]; /* packing buffers that nobody uses: taken and given without the lock */
    struct stream *ready, *ready_last;
    int32_t synchronizing;       /* threads in cpu_stream_synchronize */
    struct cpu_scratch *scratch; /* those that found no place there */
    bool bf16;                   /* the processor multiplies pairs of bf16 numbers */
    struct pool pool;
};

/* isa.c: the best FLOW_ISA_* of this processor, at most `most` (-1: no limit) and what the environment's FLOW_ISA says. */
int32_t cpu_isa(int most);
bool cpu_has_bf16(void); /* AVX512-BF16; to be used where the instruction set is FLOW_ISA_AVX512 */

/* stream.c */
int cpu_stream_new(struct device *device, struct stream **out);
void cpu_stream_free(struct stream *stream);
int cpu_stream_launch(struct stream *stream, device_launch run, void *context);
int cpu_stream_synchronize(struct stream *stream);
int cpu_event_new(struct device *device, struct event **out);
void cpu_event_free(struct event *event);
int cpu_stream_record(struct stream *stream, struct event *event);
int cpu_stream_wait(struct stream *stream, struct event *event);
bool cpu_stream_serve(void *cpu); /* runs one ready stream; for idle workers */

/* cpu.c: memory aligned to 64 bytes, contents undefined; a buffer for packing, one a thread that computes, kept for the next one. */
void *cpu_memory_new(const struct allocator *from, int64_t bytes);
void cpu_memory_free(const struct allocator *from, void *block, int64_t bytes);
struct cpu_scratch {
    struct cpu_scratch *next;
    unsigned char *at; /* CPU_SCRATCH bytes, 64-byte aligned */
};
enum { CPU_SCRATCH = 1280 * 1024 };
struct cpu_scratch *cpu_scratch_take(struct cpu *cpu); /* NULL: no memory */
void cpu_scratch_give(struct cpu *cpu, struct cpu_scratch *scratch);

/* limits.c */
int cpu_limits(struct device *device, struct device_limits *out);

/* gemm.c: the host's functions. */
int cpu_gemm(const struct flow_call *call, const struct flow_gemm *product);
int64_t cpu_gemm_packed_bytes(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n);
void cpu_gemm_pack(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n, const void *b, int32_t b_dtype, int64_t b_row,
                   int64_t b_col, void *packed);

#endif
