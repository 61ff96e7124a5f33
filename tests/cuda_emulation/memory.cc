/* SPDX-License-Identifier: Apache-2.0 */
/* The device, its memory and pinned host memory. Device memory is the C library's, so that the address sanitizer sees its borders; what
 * is not written is NaN. */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "device_state.h"

namespace cuda_emulation {

static const size_t TOTAL = size_t(16) << 30;

memory_table &memory() {
    static memory_table *table = [] {
        memory_table *made = new memory_table;
        const char *limit = getenv("FLOW_CUDA_EMULATION_MEMORY");
        if (limit) made->limit = strtoll(limit, nullptr, 10);
        return made;
    }();
    return *table;
}

static size_t total_bytes(const memory_table &m) { return m.limit > 0 ? static_cast<size_t>(m.limit) : TOTAL; }

cudaError_t memory_new(void **out, size_t bytes, place where) {
    memory_table &m = memory();
    *out = nullptr;
    if (bytes == 0) return cudaSuccess;
    const std::lock_guard<std::mutex> hold(m.lock);
    m.allocations++;
    if (m.fail > 0 && --m.fail == 0) return cudaErrorMemoryAllocation;
    if (where == place::device && (bytes > total_bytes(m) || m.used > total_bytes(m) - bytes)) return cudaErrorMemoryAllocation;
    const size_t rounded = (bytes + 255) / 256 * 256;
    void *made = rounded < bytes ? nullptr : aligned_alloc(256, rounded);
    if (!made) return cudaErrorMemoryAllocation;
    memset(made, 0xFF, bytes);
    m.blocks[reinterpret_cast<uintptr_t>(made)] = {bytes, where};
    if (where == place::device) m.used += bytes;
    *out = made;
    return cudaSuccess;
}

cudaError_t memory_free(void *at, place where) {
    memory_table &m = memory();
    const std::lock_guard<std::mutex> hold(m.lock);
    const auto found = m.blocks.find(reinterpret_cast<uintptr_t>(at));
    if (found == m.blocks.end() || found->second.where != where) return cudaErrorInvalidValue;
    if (where == place::device) m.used -= found->second.bytes;
    m.blocks.erase(found);
    if (where != place::registered) free(at);
    return cudaSuccess;
}

bool memory_find(const void *at, block_of_memory *found, uintptr_t *first) {
    memory_table &m = memory();
    const std::lock_guard<std::mutex> hold(m.lock);
    auto next = m.blocks.upper_bound(reinterpret_cast<uintptr_t>(at));
    if (next == m.blocks.begin()) return false;
    --next;
    if (reinterpret_cast<uintptr_t>(at) - next->first >= next->second.bytes) return false;
    *found = next->second, *first = next->first;
    return true;
}

bool memory_device(const void *at, size_t bytes) {
    block_of_memory b;
    uintptr_t first;
    return memory_find(at, &b, &first) && b.where == place::device && bytes <= b.bytes - (reinterpret_cast<uintptr_t>(at) - first);
}

} // namespace cuda_emulation

using namespace cuda_emulation;

extern "C" {

const char *cudaGetErrorString(cudaError_t error) {
#define ENTRY(name, value, text) \
    if (static_cast<int>(error) == value) return text;
    CUDA_EMULATION_ERROR_MAP(ENTRY)
#undef ENTRY
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error) {
#define ENTRY(name, value, text) \
    if (static_cast<int>(error) == value) return "cuda" #name;
    CUDA_EMULATION_ERROR_MAP(ENTRY)
#undef ENTRY
    return "unrecognized error code";
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return tell(device == 0 ? cudaSuccess : cudaErrorInvalidDevice); }
cudaError_t cudaInitDevice(int device, unsigned int, unsigned int) { return cudaSetDevice(device); }

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
    if (device != 0) return tell(cudaErrorInvalidDevice);
    *p = {};
    snprintf(p->name, sizeof p->name, "emulated");
    {
        memory_table &m = memory();
        const std::lock_guard<std::mutex> hold(m.lock);
        p->totalGlobalMem = total_bytes(m);
    }
    p->sharedMemPerBlock = 48 << 10, p->sharedMemPerBlockOptin = 227 << 10, p->sharedMemPerMultiprocessor = 228 << 10;
    p->totalConstMem = 64 << 10, p->memPitch = 0x7FFFFFFF;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536, p->warpSize = 32, p->maxThreadsPerBlock = 1024;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024, p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7FFFFFFF, p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->major = 9, p->minor = 0, p->multiProcessorCount = 2, p->maxThreadsPerMultiProcessor = 2048, p->maxBlocksPerMultiProcessor = 32;
    p->canMapHostMemory = p->concurrentKernels = p->asyncEngineCount = p->unifiedAddressing = 1;
    p->memoryBusWidth = 64, p->l2CacheSize = 1 << 20;
    p->streamPrioritiesSupported = p->memoryPoolsSupported = p->hostRegisterSupported = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    struct cudaDeviceProp p;
    const cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess) return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrClockRate: *value = 1000000; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrIntegrated: *value = p.integrated; break;
    case cudaDevAttrCanMapHostMemory: *value = p.canMapHostMemory; break;
    case cudaDevAttrConcurrentKernels: *value = p.concurrentKernels; break;
    case cudaDevAttrMemoryClockRate: *value = 1000000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrAsyncEngineCount: *value = p.asyncEngineCount; break;
    case cudaDevAttrUnifiedAddressing: *value = p.unifiedAddressing; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrStreamPrioritiesSupported: *value = p.streamPrioritiesSupported; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = static_cast<int>(p.sharedMemPerMultiprocessor); break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
    case cudaDevAttrMemoryPoolsSupported: *value = p.memoryPoolsSupported; break;
    default: return tell(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    memory_table &m = memory();
    const std::lock_guard<std::mutex> hold(m.lock);
    *total = total_bytes(m);
    *free = m.used < *total ? *total - m.used : 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device) {
    *pool = reinterpret_cast<cudaMemPool_t>(&memory());
    return tell(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, enum cudaMemPoolAttr attribute, void *) {
    return tell(attribute == cudaMemPoolAttrReleaseThreshold ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, enum cudaMemPoolAttr attribute, void *value) {
    memory_table &m = memory();
    const std::lock_guard<std::mutex> hold(m.lock);
    const uint64_t used = attribute == cudaMemPoolAttrReleaseThreshold ? 0 : m.used;
    memcpy(value, &used, sizeof used);
    return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaHostRegister(void *at, size_t bytes, unsigned int) {
    if (!at || bytes == 0) return tell(cudaErrorInvalidValue);
    memory_table &m = memory();
    const std::lock_guard<std::mutex> hold(m.lock);
    m.blocks[reinterpret_cast<uintptr_t>(at)] = {bytes, place::registered};
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *at) {
    block_of_memory b;
    uintptr_t first;
    *a = {cudaMemoryTypeUnregistered, 0, nullptr, const_cast<void *>(at)};
    if (!memory_find(at, &b, &first)) return cudaSuccess;
    a->type = b.where == place::device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    a->devicePointer = const_cast<void *>(at);
    if (b.where == place::device) a->hostPointer = nullptr;
    return cudaSuccess;
}

} // extern "C"
