/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every .cu file starts with. One source compiles twice: by nvcc for the device, and (FLOW_CUDA_EMULATION) as C++ for the emulation
 * in tests/cuda_emulation. So kernels keep to these forms:
 *   CUDA_LAUNCH((kernel<float>), grid, block, shared_bytes, stream, arguments...)   0, or a cudaError_t; grid, block: integers or dim3
 *   CUDA_SHARED(float, tile, 32 * 33);         a block's memory, one-dimensional; index it, hand it on as CUDA_SHARED_AT(float)
 *   CUDA_DYNAMIC_SHARED(float, rows, count);   the same, of the launch's shared_bytes; once in a kernel
 *   CUDA_SHARED_AS(int, rows + n)              that memory as elements of another type: several arrays in one launch's bytes
 *   CUDA_EACH(i, count) { ... }                i over [0, count), the grid striding
 * and to __syncthreads, __syncwarp, the _sync shuffles, votes and match, atomics, CUDA's mathematical functions. No textures, no inline
 * PTX, no cooperative groups, no device-side new, printf or recursion. A kernel's arguments are plain values and structs of them. Nothing
 * in a launcher waits for the device or allocates: memory comes from the call (outputs, workspace, saved).
 */
#ifndef OPS_COMMON_CUDA_H
#define OPS_COMMON_CUDA_H

#include <flow/plugin.h>

#ifdef FLOW_CUDA_EMULATION
#include "cuda_emulation/cuda.h"
#else
#include <cuda_runtime.h>
#define CUDA_LAUNCH(kernel, grid, block, shared, stream, ...) \
    (kernel<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__), static_cast<int>(cudaGetLastError()))
#define CUDA_SHARED(type, name, count) __shared__ type name[count]
#define CUDA_SHARED_AT(type) type *
#define CUDA_SHARED_AS(type, pointer) reinterpret_cast<type *>(pointer)
#define CUDA_DYNAMIC_SHARED(type, name, count)                           \
    extern __shared__ __align__(16) unsigned char cuda_dynamic_shared[]; \
    type *const name = reinterpret_cast<type *>(cuda_dynamic_shared)
#endif

#define CUDA_EACH(i, count)                                                                    \
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < (count); \
         i += static_cast<int64_t>(gridDim.x) * blockDim.x)

static const int CUDA_WARP = 32, CUDA_BLOCK = 256;
static const int64_t CUDA_BLOCKS_MOST = 132 * 16; /* 16 blocks for each multiprocessor of an H100 */
#define CUDA_WHOLE_WARP 0xFFFFFFFFu

/* Blocks for `count` elements, one a thread and step: enough to fill a device, the rest by striding. */
static inline unsigned cuda_blocks(int64_t count, int64_t block) {
    int64_t blocks = (count + block - 1) / block;
    return static_cast<unsigned>(blocks < 1 ? 1 : blocks < CUDA_BLOCKS_MOST ? blocks : CUDA_BLOCKS_MOST);
}

static inline cudaStream_t cuda_stream(const struct flow_call *call) { return static_cast<cudaStream_t>(call->stream); }

/* A launch's result as a kernel function's: `return cuda_status(call, CUDA_LAUNCH(...));` */
static inline int cuda_status(const struct flow_call *call, int error) {
    if (error == 0) return FLOW_OK;
    return call->host->fail(call->owner, error == cudaErrorMemoryAllocation ? FLOW_ERROR_MEMORY : FLOW_ERROR_INTERNAL, "CUDA: %s",
                            cudaGetErrorString(static_cast<cudaError_t>(error)));
}

/* The number of the run, for random kernels: handed to the kernel, read there. */
struct cuda_run_number {
    const uint64_t *at;
    uint64_t scale, offset;
#ifdef __CUDACC__
    __device__
#endif
        uint64_t
        number() const {
        return *at * scale + offset;
    }
};
static inline struct cuda_run_number cuda_run(const struct flow_call *call) { return {call->run_at, call->run_scale, call->run_offset}; }

/* What a kernel found wrong in the data (see flow_call.fault). */
struct cuda_fault_place {
    struct flow_fault *at;
    int32_t node;
};
static inline struct cuda_fault_place cuda_fault(const struct flow_call *call) { return {call->fault, call->fault_node}; }
static __device__ inline void cuda_tell(const struct cuda_fault_place &fault, int32_t code, int64_t value, int64_t limit) {
    if (atomicCAS(&fault.at->code, 0, code) != 0) return;
    fault.at->node = fault.node, fault.at->value = value, fault.at->limit = limit;
}

/* A tensor in a kernel's arguments. */
template <typename T> struct cuda_tensor {
    T *data;
    int32_t rank;
    int64_t shape[FLOW_RANK_MAX], strides[FLOW_RANK_MAX];
};
template <typename T> static inline cuda_tensor<T> cuda_tensor_of(const struct flow_tensor &t) {
    cuda_tensor<T> made = {static_cast<T *>(t.data), t.rank, {}, {}};
    for (int32_t a = 0; a < t.rank; a++) made.shape[a] = t.shape[a], made.strides[a] = t.strides[a];
    return made;
}

#endif
