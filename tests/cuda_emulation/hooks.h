/* SPDX-License-Identifier: Apache-2.0 */
/* What tests may ask of the emulated device. A test that links it calls these; one that opens cuda.so finds them by dlsym. */
#ifndef CUDA_EMULATION_HOOKS_H
#define CUDA_EMULATION_HOOKS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#define CUDA_EMULATION_EXPORT __attribute__((visibility("default")))

/* The order of operations that no stream or event orders, and that of a launch's blocks. 0: as they were queued. At the start: of the
 * environment's FLOW_CUDA_EMULATION_SEED. */
CUDA_EMULATION_EXPORT void cuda_emulation_seed(uint64_t seed);
/* Allocation number n from now on fails (1: the next); 0: none. */
CUDA_EMULATION_EXPORT void cuda_emulation_fail_allocation(int64_t n);
/* Bytes of device memory; 0: what the machine has. At the start: of FLOW_CUDA_EMULATION_MEMORY. */
CUDA_EMULATION_EXPORT void cuda_emulation_memory_limit(int64_t bytes);
/* cudaStreamWaitEvent number k from now on does nothing (1: the next); 0: all are kept. */
CUDA_EMULATION_EXPORT void cuda_emulation_ignore_wait(int64_t k);
/* Races on shared memory are looked for. At the start: FLOW_CUDA_EMULATION_CHECK=1. */
CUDA_EMULATION_EXPORT void cuda_emulation_check(int on);

/* 1: cuBLASLt is there; 0: the machine has none; 2: one without algorithms for epilogues and f64. Before the device is opened. */
CUDA_EMULATION_EXPORT void cuda_emulation_cublas_mode(int mode);

struct cuda_emulation_counts {
    int64_t launches, copies, sets, records, waits, host_functions, graph_launches, allocations;
    int64_t live, live_bytes; /* device memory that is not freed; pinned host memory too */
};
CUDA_EMULATION_EXPORT void cuda_emulation_count(struct cuda_emulation_counts *out);
CUDA_EMULATION_EXPORT void cuda_emulation_count_reset(void);

/* What went wrong in a kernel, as it was written to the standard error; "" when nothing did. Valid until the next reset. */
CUDA_EMULATION_EXPORT const char *cuda_emulation_fault(void);
/* Waits for all streams, then forgets the fault, the hooks and the counts. Memory and streams stay. */
CUDA_EMULATION_EXPORT void cuda_emulation_reset(void);

#ifdef __cplusplus
}
#endif

#endif
