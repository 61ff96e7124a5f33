/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device: memory, the host table that kernels get, and how the object is opened. */
#include "device/cuda/device.h"
#include "device/cuda/kernels.h"
#include "device/cuda/limits.h"
#include "device/cuda/steps.h"
#include "device/cuda/train.h"

#include <flow/version.h>

#include <stdio.h>
#include <string.h>

int cuda_failed(struct cuda_device *device, const char *what, cudaError_t error) {
    (void)cudaGetLastError(); /* it has been told: the next call begins without it */
    snprintf(device->why, sizeof device->why, "%s: %s (CUDA error %d)", what, cudaGetErrorString(error), (int)error);
    return error == cudaErrorMemoryAllocation ? FLOW_ERROR_MEMORY : FLOW_ERROR_INTERNAL;
}

static const char *device_why(const struct device *device) { return ((const struct cuda_device *)device)->why; }

/* ---- Memory ---- */

static int room_new(struct device *device, int64_t bytes, void **out) {
    struct cuda_device *cuda = (struct cuda_device *)device;
    *out = NULL;
    cudaError_t error = cudaMalloc(out, (size_t)(bytes > 0 ? bytes : 1));
    if (error == cudaSuccess) return FLOW_OK;
    size_t free = 0, total = 0;
    int code = cuda_failed(cuda, "memory", error);
    if (cudaMemGetInfo(&free, &total) == cudaSuccess)
        snprintf(cuda->why, sizeof cuda->why, "%.1f MB are asked for on %s, of whose %.1f MB %.1f MB are free", (double)bytes / 1e6,
                 cuda->name, (double)total / 1e6, (double)free / 1e6);
    return code;
}

static void room_free(struct device *device, void *block, int64_t bytes) {
    (void)device, (void)bytes;
    (void)cudaFree(block);
}

static int stage_new(struct device *device, int64_t bytes, void **out) {
    *out = NULL;
    cudaError_t error = cudaMallocHost(out, (size_t)(bytes > 0 ? bytes : 1));
    return error == cudaSuccess ? FLOW_OK : cuda_failed((struct cuda_device *)device, "pinned memory of the host", error);
}

static void stage_free(struct device *device, void *block, int64_t bytes) {
    (void)device, (void)bytes;
    (void)cudaFreeHost(block);
}

static int move(struct device *device, void *to, const void *from, int64_t bytes, enum cudaMemcpyKind kind) {
    struct cuda_device *cuda = (struct cuda_device *)device;
    cudaError_t error = cudaMemcpyAsync(to, from, (size_t)bytes, kind, cuda->service);
    if (error == cudaSuccess) error = cudaStreamSynchronize(cuda->service);
    return error == cudaSuccess ? FLOW_OK : cuda_failed(cuda, "a copy failed", error);
}

static int put(struct device *device, void *to, const void *from, int64_t bytes) {
    return move(device, to, from, bytes, cudaMemcpyHostToDevice);
}

static int get(struct device *device, void *to, const void *from, int64_t bytes) {
    return move(device, to, from, bytes, cudaMemcpyDeviceToHost);
}

static int room(struct device *device, int64_t *free, int64_t *total) {
    size_t here = 0, all = 0;
    cudaError_t error = cudaMemGetInfo(&here, &all);
    *free = (int64_t)here, *total = (int64_t)all;
    return error == cudaSuccess ? FLOW_OK : cuda_failed((struct cuda_device *)device, "its memory", error);
}

static int limits(struct device *device, struct device_limits *out) {
    struct cuda_limits found;
    void *area;
    *out = (struct device_limits){0};
    int code = room_new(device, CUDA_LIMITS_AREA, &area);
    if (code < 0) return code;
    code = cuda_limits_measure(area, &found) == 0 ? FLOW_OK : cuda_failed((struct cuda_device *)device, "measuring", cudaGetLastError());
    room_free(device, area, CUDA_LIMITS_AREA);
    out->threads = found.processors, out->flops = found.flops;
    for (int i = 0; i < DEVICE_LEVELS && i < CUDA_LEVELS; i++) out->reach[i] = found.reach[i], out->rate[i] = found.rate[i];
    return code;
}

/* ---- What kernels call ---- */

static void *workspace_of(struct cuda_device *cuda, cudaStream_t native) {
    void *workspace = NULL;
    pthread_mutex_lock(&cuda->lock);
    for (struct stream *stream = cuda->streams; stream && !workspace; stream = stream->next)
        if (stream->native == native) workspace = stream->workspace;
    pthread_mutex_unlock(&cuda->lock);
    return workspace;
}

static int host_gemm(const struct flow_call *call, const struct flow_gemm *product) {
    struct cuda_device *cuda = call->host->device;
    cudaStream_t stream = call->stream;
    void *workspace = workspace_of(cuda, stream);
    int error = 0;
    int code = cuda_gemm(cuda->blas, product, stream, workspace, workspace ? CUDA_BLAS_WORKSPACE : 0, &error);
    if (code == 0) return FLOW_OK;
    return call->host->fail(call->owner, code, "the matrix product failed: %s",
                            error ? cudaGetErrorString((cudaError_t)error) : "no way to compute it");
}

/* Products read their factors where they lie. */
static int64_t host_packed_bytes(const struct flow_host *host, int32_t dtype, int64_t k, int64_t n) {
    (void)host, (void)dtype, (void)k, (void)n;
    return 0;
}

static const void *host_extension(const struct flow_host *host, const char *id) { return (void)host, (void)id, NULL; }

/* ---- Opening ---- */

static void device_free(struct device *device) {
    struct cuda_device *cuda = (struct cuda_device *)device;
    if (!cuda) return;
    cuda_blas_free(cuda->blas);
    if (cuda->service) (void)cudaStreamDestroy(cuda->service);
    pthread_mutex_destroy(&cuda->lock);
    cuda->from->resize(cuda->from->context, cuda, sizeof *cuda, 0);
}

static const struct device_api cuda_api = {
    .name = "cuda",
    .kind = FLOW_DEVICE_CUDA,
    .apart = true,
    .memory_new = room_new,
    .memory_free = room_free,
    .stream_new = cuda_stream_new,
    .stream_free = cuda_stream_free,
    .launch = cuda_stream_launch,
    .synchronize = cuda_stream_synchronize,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .record = cuda_stream_record,
    .wait = cuda_stream_wait,
    .free = device_free,
    .limits = limits,
    .put = put,
    .get = get,
    .stage_new = stage_new,
    .stage_free = stage_free,
    .copy = cuda_stream_copy,
    .clear = cuda_stream_clear,
    .native = cuda_stream_native,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .replay = cuda_replay,
    .graph_free = cuda_graph_free,
    .elapsed = cuda_event_elapsed,
    .event_measuring = cuda_event_measuring,
    .room = room,
    .why = device_why,
};

static const struct device_steps cuda_steps = {
    .copy = cuda_step_copy,
    .widen = cuda_step_widen,
    .narrow = cuda_step_narrow,
    .gather = cuda_step_gather,
    .fill = cuda_step_fill,
    .pass = cuda_step_pass,
    .add = cuda_step_add,
};

static const struct device_training cuda_training = {
    .workspace = cuda_train_workspace, .prepare = cuda_train_prepare, .add = cuda_train_add};

/* Why there is no GPU to be had, so that a person knows what to do. */
static int refuse(struct device_opening *opening, cudaError_t error) {
    int driver = 0, runtime = 0;
    (void)cudaGetLastError();
    (void)cudaDriverGetVersion(&driver), (void)cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        snprintf(opening->why, sizeof opening->why, "there is no NVIDIA driver on this machine (libcuda.so.1); use --device cpu");
    else if (error == cudaErrorInsufficientDriver || driver < runtime / 1000 * 1000)
        snprintf(opening->why, sizeof opening->why,
                 "the NVIDIA driver is for CUDA %d.%d, this build needs %d.0 or later: update the driver", driver / 1000,
                 driver % 1000 / 10, runtime / 1000);
    else if (error == cudaErrorNoDevice)
        snprintf(opening->why, sizeof opening->why, "the NVIDIA driver sees no GPU (CUDA_VISIBLE_DEVICES?)");
    else snprintf(opening->why, sizeof opening->why, "%s (CUDA error %d)", cudaGetErrorString(error), (int)error);
    return FLOW_ERROR_UNSUPPORTED;
}

static int begin(struct cuda_device *cuda, struct device_opening *opening, const struct cudaDeviceProp *about) {
    snprintf(cuda->name, sizeof cuda->name, "%s", about->name);
    cuda->processors = about->multiProcessorCount;
    cudaError_t error = cudaStreamCreateWithFlags(&cuda->service, cudaStreamNonBlocking);
    if (error != cudaSuccess) return refuse(opening, error);
    int code = cuda_blas_new(cuda->from, &cuda->blas);
    if (code < 0) return code;
    cuda->host = *opening->cpu->host;
    cuda->host.size = (uint32_t)sizeof cuda->host;
    cuda->host.parallel_for = NULL;
    cuda->host.gemm = host_gemm, cuda->host.gemm_packed_bytes = host_packed_bytes, cuda->host.gemm_pack = NULL;
    cuda->host.extension = host_extension, cuda->host.device = cuda;
    cuda->device = (struct device){.api = &cuda_api,
                                   .host = &cuda->host,
                                   .trace = opening->trace,
                                   .cpu = opening->cpu,
                                   .steps = &cuda_steps,
                                   .training = &cuda_training,
                                   .optimizers = cuda_optimizer_kernels,
                                   .optimizer_count = cuda_optimizer_kernel_count};
    return FLOW_OK;
}

static int device_open(struct device_opening *opening, struct device **out) {
    int count = 0;
    struct cudaDeviceProp about;
    *out = NULL, opening->why[0] = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
    if (error == cudaSuccess) error = cudaGetDeviceProperties(&about, 0);
    if (error != cudaSuccess) return refuse(opening, error);
    if (about.major < 8) {
        snprintf(opening->why, sizeof opening->why, "%s has compute capability %d.%d, this build needs 8.0 or later", about.name,
                 about.major, about.minor);
        return FLOW_ERROR_UNSUPPORTED;
    }
    const struct allocator *from = opening->from;
    struct cuda_device *cuda = from->resize(from->context, NULL, 0, sizeof *cuda);
    if (!cuda) return FLOW_ERROR_MEMORY;
    memset(cuda, 0, sizeof *cuda);
    cuda->from = from;
    if (pthread_mutex_init(&cuda->lock, NULL) != 0) {
        from->resize(from->context, cuda, sizeof *cuda, 0);
        return FLOW_ERROR_MEMORY;
    }
    int code = begin(cuda, opening, &about);
    if (code < 0) device_free(&cuda->device);
    else *out = &cuda->device;
    return code;
}

/* ---- The plugin ---- */

static const void *extension(const char *id) {
#ifdef FLOW_CUDA_EMULATION
#define ABOUT "device 'cuda' is emulated on the CPU, for tests: nothing here says how fast a GPU is"
#else
#define ABOUT NULL
#endif
    static const struct device_entry entry = {sizeof entry, FLOW_VERSION_TEXT, device_open, ABOUT};
    return strcmp(id, DEVICE_EXTENSION) == 0 ? &entry : NULL;
}

FLOW_EXPORT const struct flow_plugin *flow_plugin_entry(void) {
    static struct flow_plugin plugin; /* the table's length is known to the linker alone: filled in once, always with the same */
    plugin = (struct flow_plugin){
        .size = sizeof plugin,
        .abi = FLOW_ABI,
        .api = FLOW_API,
        .name = "cuda",
        .version = FLOW_VERSION_TEXT,
        .licence = "Apache-2.0",
        .summary = "kernels for NVIDIA GPUs",
        .reference = "CUDA C++ Programming Guide",
        .kernels = {cuda_kernel_count, sizeof *cuda_kernels, cuda_kernels},
        .extension = extension,
    };
    return &plugin;
}
