/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, the first form: each operation runs when it is queued. */
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "block.h"
#include "device_state.h"

struct CUstream_st {
    int priority;
};
struct CUevent_st {
    double time;
};

namespace cuda_emulation {

static thread_local cudaError_t last = cudaSuccess;
static cudaError_t sticky = cudaSuccess;
static std::string fault_text;

cudaError_t tell(cudaError_t error) {
    if (sticky != cudaSuccess) error = sticky;
    if (error != cudaSuccess && error != cudaErrorNotReady) last = error;
    return error;
}

int launch_queue(const char *name, const void *, dim3 grid, dim3 block, size_t shared, cudaStream_t, void (*call)(const void *),
                 void *arguments, void (*forget)(void *));
int launch_queue(const char *name, const void *, dim3 grid, dim3 block, size_t shared, cudaStream_t, void (*call)(const void *),
                 void *arguments, void (*forget)(void *)) {
    cudaError_t error = cudaSuccess;
    const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
    if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFu ||
        grid.y > 65535 || grid.z > 65535 || shared > SHARED_MOST)
        error = cudaErrorInvalidConfiguration;
    if (error == cudaSuccess && sticky == cudaSuccess) {
        static const bool check = getenv("FLOW_CUDA_EMULATION_CHECK") && atoi(getenv("FLOW_CUDA_EMULATION_CHECK"));
        const launch l = {name, grid, block, shared, call, arguments};
        if (!launch_run(l, 0, check, &fault_text)) {
            fprintf(stderr, "CUDA emulation: %s\n", fault_text.c_str());
            sticky = cudaErrorLaunchFailure;
        }
    }
    forget(arguments);
    return static_cast<int>(tell(error));
}

} // namespace cuda_emulation

using namespace cuda_emulation;

extern "C" {

cudaError_t cudaGetLastError() {
    const cudaError_t error = sticky != cudaSuccess ? sticky : last;
    last = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError() { return sticky != cudaSuccess ? sticky : last; }
cudaError_t cudaDeviceSynchronize() { return tell(cudaSuccess); }
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0, *greatest = -5;
    return cudaSuccess;
}
cudaError_t cudaMalloc(void **out, size_t bytes) { return tell(memory_new(out, bytes, place::device)); }
cudaError_t cudaFree(void *at) { return at ? tell(memory_free(at, place::device)) : cudaSuccess; }
cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t) { return cudaMalloc(out, bytes); }
cudaError_t cudaFreeAsync(void *at, cudaStream_t) { return cudaFree(at); }
cudaError_t cudaMallocHost(void **out, size_t bytes) { return tell(memory_new(out, bytes, place::pinned)); }
cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned int) { return cudaMallocHost(out, bytes); }
cudaError_t cudaFreeHost(void *at) { return at ? tell(memory_free(at, place::pinned)) : cudaSuccess; }
cudaError_t cudaHostUnregister(void *at) { return tell(memory_free(at, place::registered)); }
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              enum cudaMemcpyKind kind, cudaStream_t) {
    if (width == 0 || height == 0) return tell(cudaSuccess);
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    if (width > to_pitch || width > from_pitch) return tell(cudaErrorInvalidPitchValue);
    if ((from_device && !memory_device(from, from_pitch * (height - 1) + width)) ||
        (to_device && !memory_device(to, to_pitch * (height - 1) + width)))
        return tell(cudaErrorInvalidValue);
    for (size_t i = 0; i < height; i++)
        memmove(static_cast<char *>(to) + i * to_pitch, static_cast<const char *>(from) + i * from_pitch, width);
    return tell(cudaSuccess);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemset2DAsync(void *at, size_t pitch, int value, size_t width, size_t height, cudaStream_t) {
    if (width == 0 || height == 0) return tell(cudaSuccess);
    if (!memory_device(at, pitch * (height - 1) + width)) return tell(cudaErrorInvalidValue);
    for (size_t i = 0; i < height; i++) memset(static_cast<char *>(at) + i * pitch, value, width);
    return tell(cudaSuccess);
}
cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream) {
    return cudaMemset2DAsync(at, bytes, value, bytes, 1, stream);
}
cudaError_t cudaMemset(void *at, int value, size_t bytes) { return cudaMemsetAsync(at, value, bytes, nullptr); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned int, int priority) {
    *out = new CUstream_st{priority};
    return tell(cudaSuccess);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned int flags) { return cudaStreamCreateWithPriority(out, flags, 0); }
cudaError_t cudaStreamCreate(cudaStream_t *out) { return cudaStreamCreateWithPriority(out, 0, 0); }
cudaError_t cudaStreamGetPriority(cudaStream_t s, int *priority) {
    *priority = s ? s->priority : 0;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    delete s;
    return tell(cudaSuccess);
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return tell(cudaSuccess); }
cudaError_t cudaStreamQuery(cudaStream_t) { return tell(cudaSuccess); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned int) { return tell(cudaSuccess); }
cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t run, void *data) {
    run(data);
    return tell(cudaSuccess);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int) {
    *out = new CUevent_st{0};
    return tell(cudaSuccess);
}
cudaError_t cudaEventCreate(cudaEvent_t *out) { return cudaEventCreateWithFlags(out, 0); }
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t) {
    e->time = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    return tell(cudaSuccess);
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned int) { return cudaEventRecord(e, s); }
cudaError_t cudaEventQuery(cudaEvent_t) { return tell(cudaSuccess); }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return tell(cudaSuccess); }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) {
    *ms = static_cast<float>((b->time - a->time) * 1e3);
    return tell(cudaSuccess);
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    delete e;
    return tell(cudaSuccess);
}
cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    *mode = cudaStreamCaptureModeGlobal;
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t, enum cudaStreamCaptureMode) { return tell(cudaErrorNotSupported); }
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph) {
    *graph = nullptr;
    return tell(cudaErrorNotSupported);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, enum cudaStreamCaptureStatus *status) {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t, cudaGraphNode_t *, size_t *) { return tell(cudaErrorNotSupported); }
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *, cudaGraph_t, unsigned long long) { return tell(cudaErrorNotSupported); }
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return tell(cudaErrorNotSupported); }
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { return tell(cudaErrorNotSupported); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return cudaSuccess; }
cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaSuccess; }
cudaError_t cudaFuncSetAttribute(const void *, enum cudaFuncAttribute, int) { return tell(cudaSuccess); }

} // extern "C"
