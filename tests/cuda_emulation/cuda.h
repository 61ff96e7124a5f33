/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA's language for kernels, as ops/common/cuda.h and what includes it use it, in C++17: qualifiers, built-in variables, barriers, warp
 * functions, atomics, mathematical functions, launches. */
#ifndef CUDA_EMULATION_CUDA_H
#define CUDA_EMULATION_CUDA_H

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <math.h>
#include <tuple>
#include <type_traits>
#include <utility>

#include "api.h"
#include "vectors.h"
#include "block.h"
#include "shared.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static_assert(false, "write CUDA_SHARED(type, name, count)")
#define __constant__ static const
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#ifndef __restrict__
#define __restrict__ __restrict
#endif
#define __align__(n) alignas(n)

#define threadIdx (::cuda_emulation::now.thread)
#define blockIdx (::cuda_emulation::now.block)
#define blockDim (::cuda_emulation::now.block_size)
#define gridDim (::cuda_emulation::now.grid_size)
static const int warpSize = 32;

#define CUDA_SHARED(type, name, count) \
    static const char name##_key_ = 0; \
    const ::cuda_emulation::shared_pointer<type> name = ::cuda_emulation::shared_declared<type>(&name##_key_, #name, (count))
#define CUDA_SHARED_AT(type) ::cuda_emulation::shared_pointer<type>
#define CUDA_SHARED_AS(type, pointer) ::cuda_emulation::shared_as<type>(pointer)
#define CUDA_DYNAMIC_SHARED(type, name, count) \
    const ::cuda_emulation::shared_pointer<type> name = ::cuda_emulation::shared_dynamically<type>(#name, static_cast<size_t>(count))

/* ---- Launches ---- */
namespace cuda_emulation {
/* The launch is queued on the stream with a copy of its arguments: 0, or what CUDA says of a configuration that it does not take. */
int launch_queue(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                 void (*call)(const void *), void *arguments, void (*forget)(void *));

template <typename... P> struct arguments_of {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> values;
    static void call(const void *at) {
        const arguments_of *a = static_cast<const arguments_of *>(at);
        std::apply(a->kernel, a->values);
    }
    static void forget(void *at) { delete static_cast<arguments_of *>(at); }
};
template <typename... P, typename... A>
static int launch_kernel(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, void (*kernel)(P...), A &&...given) {
    using arguments = arguments_of<P...>;
    arguments *copy = new arguments{kernel, std::tuple<std::decay_t<P>...>(static_cast<std::decay_t<P>>(std::forward<A>(given))...)};
    return launch_queue(name, reinterpret_cast<const void *>(kernel), grid, block, shared, stream, arguments::call, copy,
                        arguments::forget);
}
} // namespace cuda_emulation
#define CUDA_LAUNCH(kernel, grid, block, shared, stream, ...) \
    ::cuda_emulation::launch_kernel(#kernel, (grid), (block), static_cast<size_t>(shared), (stream), kernel, __VA_ARGS__)

template <typename... P> static inline cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), enum cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}
template <typename T> static inline cudaError_t cudaMalloc(T **at, size_t bytes) {
    return cudaMalloc(reinterpret_cast<void **>(at), bytes);
}
template <typename T> static inline cudaError_t cudaMallocHost(T **at, size_t bytes) {
    return cudaMallocHost(reinterpret_cast<void **>(at), bytes);
}

#include "warp.h"
#include "atomics.h"
#include "functions.h"

#endif
