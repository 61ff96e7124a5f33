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

static size_t total_bytes(const device &d) { return d.limit > 0 ? static_cast<size_t>(d.limit) : TOTAL; }

cudaError_t memory_new(device &d, void **out, size_t bytes, place where) {
    *out = nullptr;
    if (bytes == 0) return cudaSuccess;
    d.counts.allocations++;
    if (d.fail > 0 && --d.fail == 0) return cudaErrorMemoryAllocation;
    if (where == place::device && (bytes > total_bytes(d) || d.used > total_bytes(d) - bytes)) return cudaErrorMemoryAllocation;
    const size_t rounded = (bytes + 255) / 256 * 256;
    void *made = rounded < bytes ? nullptr : aligned_alloc(256, rounded);
    if (!made) return cudaErrorMemoryAllocation;
    memset(made, 0xFF, bytes);
    d.blocks[reinterpret_cast<uintptr_t>(made)] = {bytes, where};
    if (where == place::device) d.used += bytes;
    d.counts.live++, d.counts.live_bytes += static_cast<int64_t>(bytes);
    *out = made;
    return cudaSuccess;
}

cudaError_t memory_free(device &d, void *at, place where) {
    const auto found = d.blocks.find(reinterpret_cast<uintptr_t>(at));
    if (found == d.blocks.end() || found->second.where != where) return cudaErrorInvalidValue;
    const size_t bytes = found->second.bytes;
    d.blocks.erase(found);
    if (where == place::registered) return cudaSuccess;
    if (where == place::device) d.used -= bytes;
    d.counts.live--, d.counts.live_bytes -= static_cast<int64_t>(bytes);
    free(at);
    return cudaSuccess;
}

bool memory_find(device &d, const void *at, block_of_memory *found, uintptr_t *first) {
    auto next = d.blocks.upper_bound(reinterpret_cast<uintptr_t>(at));
    if (next == d.blocks.begin()) return false;
    --next;
    if (reinterpret_cast<uintptr_t>(at) - next->first >= next->second.bytes) return false;
    *found = next->second, *first = next->first;
    return true;
}

bool memory_within(device &d, const void *at, size_t bytes, bool of_device) {
    block_of_memory b;
    uintptr_t first;
    return memory_find(d, at, &b, &first) && (b.where == place::device) == of_device &&
           bytes <= b.bytes - (reinterpret_cast<uintptr_t>(at) - first);
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
cudaError_t cudaGetDeviceCount(int *count) { /* who opens the device asks this first */
    device &d = the_device();
    const holding hold(d.lock);
    environment_read(d);
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
static cudaError_t told(cudaError_t error) {
    device &d = the_device();
    const holding hold(d.lock);
    return tell(d, error);
}

cudaError_t cudaSetDevice(int number) { return told(number == 0 ? cudaSuccess : cudaErrorInvalidDevice); }
cudaError_t cudaInitDevice(int number, unsigned int, unsigned int) { return cudaSetDevice(number); }

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int number) {
    if (number != 0) return told(cudaErrorInvalidDevice);
    *p = {};
    snprintf(p->name, sizeof p->name, "emulated");
    {
        device &d = the_device();
        const holding hold(d.lock);
        p->totalGlobalMem = total_bytes(d);
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

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int number) {
    struct cudaDeviceProp p;
    const cudaError_t error = cudaGetDeviceProperties(&p, number);
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
    default: return told(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    device &d = the_device();
    const holding hold(d.lock);
    *total = total_bytes(d);
    *free = d.used < *total ? *total - d.used : 0;
    return tell(d, cudaSuccess);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int number) {
    *pool = reinterpret_cast<cudaMemPool_t>(&the_device());
    return told(number == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, enum cudaMemPoolAttr attribute, void *) {
    return told(attribute == cudaMemPoolAttrReleaseThreshold ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, enum cudaMemPoolAttr attribute, void *value) {
    device &d = the_device();
    const holding hold(d.lock);
    const uint64_t used = attribute == cudaMemPoolAttrReleaseThreshold ? 0 : d.used;
    memcpy(value, &used, sizeof used);
    return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value) {
    device &d = the_device();
    const holding hold(d.lock);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return tell(d, cudaSuccess);
    if (value < 0 || value > 227 * 1024) return tell(d, cudaErrorInvalidValue);
    d.shared_most[kernel] = value;
    return tell(d, cudaSuccess);
}

/* ---- Memory ---- */

static cudaError_t allocate(void **out, size_t bytes, place where) {
    device &d = the_device();
    const holding hold(d.lock);
    *out = nullptr;
    if (capture_breaks_unsafe(d)) return tell(d, cudaErrorStreamCaptureUnsupported);
    return tell(d, d.sticky != cudaSuccess ? d.sticky : memory_new(d, out, bytes, where));
}

/* Nothing that was queued before may still use it: freeing waits. */
static cudaError_t release(void *at, place where) {
    device &d = the_device();
    holding hold(d.lock);
    if (!at) return tell(d, cudaSuccess);
    if (capture_breaks_unsafe(d)) return tell(d, cudaErrorStreamCaptureUnsupported);
    wait_all(d, hold);
    const cudaError_t error = memory_free(d, at, where);
    return tell(d, error);
}

cudaError_t cudaMalloc(void **out, size_t bytes) { return allocate(out, bytes, place::device); }
cudaError_t cudaFree(void *at) { return release(at, place::device); }
cudaError_t cudaMallocHost(void **out, size_t bytes) { return allocate(out, bytes, place::pinned); }
cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned int) { return allocate(out, bytes, place::pinned); }
cudaError_t cudaFreeHost(void *at) { return release(at, place::pinned); }
cudaError_t cudaHostUnregister(void *at) { return release(at, place::registered); }

cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t s) {
    device &d = the_device();
    const holding hold(d.lock);
    *out = nullptr;
    if (capture_breaks(stream_of(d, s))) return tell(d, cudaErrorStreamCaptureUnsupported);
    return tell(d, d.sticky != cudaSuccess ? d.sticky : memory_new(d, out, bytes, place::device));
}

cudaError_t cudaFreeAsync(void *at, cudaStream_t s) {
    device &d = the_device();
    const holding hold(d.lock);
    block_of_memory b;
    uintptr_t first;
    if (!at) return tell(d, cudaSuccess);
    if (capture_breaks(stream_of(d, s))) return tell(d, cudaErrorStreamCaptureUnsupported);
    if (!memory_find(d, at, &b, &first) || b.where != place::device || first != reinterpret_cast<uintptr_t>(at))
        return tell(d, cudaErrorInvalidValue);
    const auto run = [&d, at](uint64_t) {
        const holding again(d.lock);
        (void)memory_free(d, at, place::device);
    };
    return tell(d, queue(d, stream_of(d, s), run, true));
}

cudaError_t cudaHostRegister(void *at, size_t bytes, unsigned int) {
    device &d = the_device();
    const holding hold(d.lock);
    if (!at || bytes == 0 || d.blocks.count(reinterpret_cast<uintptr_t>(at))) return tell(d, cudaErrorInvalidValue);
    if (capture_breaks_unsafe(d)) return tell(d, cudaErrorStreamCaptureUnsupported);
    d.blocks[reinterpret_cast<uintptr_t>(at)] = {bytes, place::registered};
    return tell(d, cudaSuccess);
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *at) {
    device &d = the_device();
    const holding hold(d.lock);
    block_of_memory b;
    uintptr_t first;
    *a = {cudaMemoryTypeUnregistered, 0, nullptr, const_cast<void *>(at)};
    if (!memory_find(d, at, &b, &first)) return tell(d, cudaSuccess);
    a->type = b.where == place::device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    a->devicePointer = const_cast<void *>(at);
    if (b.where == place::device) a->hostPointer = nullptr;
    return tell(d, cudaSuccess);
}

} // extern "C"
