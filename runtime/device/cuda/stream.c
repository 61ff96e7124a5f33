/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, events, captured graphs. */
#include "device/cuda/device.h"

#include "base/memory.h"

#include <stddef.h>

static int stream_failed(struct stream *stream, const char *what, cudaError_t error) {
    int code = cuda_failed(stream->device, what, error);
    if (!stream->failed) stream->failed = code;
    return code;
}

int cuda_stream_new(struct device *device, struct stream **out) {
    struct cuda_device *cuda = (struct cuda_device *)device;
    const struct allocator *from = cuda->from;
    *out = NULL;
    struct stream *stream = from->resize(from->context, NULL, 0, sizeof *stream);
    if (!stream) return FLOW_ERROR_MEMORY;
    *stream = (struct stream){.device = cuda};
    cudaError_t error = cudaStreamCreateWithFlags(&stream->native, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaMalloc(&stream->workspace, CUDA_BLAS_WORKSPACE);
    if (error != cudaSuccess) {
        if (stream->native) (void)cudaStreamDestroy(stream->native);
        from->resize(from->context, stream, sizeof *stream, 0);
        return cuda_failed(cuda, "a stream could not be made", error);
    }
    pthread_mutex_lock(&cuda->lock);
    stream->next = cuda->streams, cuda->streams = stream;
    pthread_mutex_unlock(&cuda->lock);
    *out = stream;
    return FLOW_OK;
}

void cuda_stream_free(struct stream *stream) {
    if (!stream) return;
    struct cuda_device *cuda = stream->device;
    pthread_mutex_lock(&cuda->lock);
    struct stream **at = &cuda->streams;
    while (*at != stream) at = &(*at)->next;
    *at = stream->next;
    pthread_mutex_unlock(&cuda->lock);
    (void)cudaStreamSynchronize(stream->native);
    (void)cudaStreamDestroy(stream->native);
    (void)cudaFree(stream->workspace);
    cuda->from->resize(cuda->from->context, stream, sizeof *stream, 0);
}

int cuda_stream_launch(struct stream *stream, device_launch run, void *context) {
    int code = run(context);
    if (code < 0 && !stream->failed) stream->failed = code;
    return code;
}

int cuda_stream_synchronize(struct stream *stream) {
    cudaError_t error = cudaStreamSynchronize(stream->native);
    if (error != cudaSuccess) stream_failed(stream, "what was queued failed", error);
    int failed = stream->failed;
    stream->failed = 0;
    return failed;
}

int cuda_stream_copy(struct stream *stream, void *to, const void *from, int64_t bytes, enum device_way way) {
    static const enum cudaMemcpyKind kinds[] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice};
    if (bytes <= 0) return FLOW_OK;
    cudaError_t error = cudaMemcpyAsync(to, from, (size_t)bytes, kinds[way], stream->native);
    return error == cudaSuccess ? FLOW_OK : stream_failed(stream, "a copy could not be queued", error);
}

int cuda_stream_clear(struct stream *stream, void *to, int64_t bytes) {
    if (bytes <= 0) return FLOW_OK;
    cudaError_t error = cudaMemsetAsync(to, 0, (size_t)bytes, stream->native);
    return error == cudaSuccess ? FLOW_OK : stream_failed(stream, "zeros could not be queued", error);
}

void *cuda_stream_native(struct stream *stream) { return stream->native; }

/* ---- Events ---- */

static int event_new(struct device *device, unsigned flags, struct event **out) {
    struct cuda_device *cuda = (struct cuda_device *)device;
    const struct allocator *from = cuda->from;
    *out = NULL;
    struct event *event = from->resize(from->context, NULL, 0, sizeof *event);
    if (!event) return FLOW_ERROR_MEMORY;
    *event = (struct event){.device = cuda};
    cudaError_t error = cudaEventCreateWithFlags(&event->native, flags);
    if (error != cudaSuccess) {
        from->resize(from->context, event, sizeof *event, 0);
        return cuda_failed(cuda, "an event could not be made", error);
    }
    *out = event;
    return FLOW_OK;
}

int cuda_event_new(struct device *device, struct event **out) { return event_new(device, cudaEventDisableTiming, out); }

int cuda_event_measuring(struct device *device, struct event **out) { return event_new(device, cudaEventDefault, out); }

void cuda_event_free(struct event *event) {
    if (!event) return;
    const struct allocator *from = event->device->from;
    (void)cudaEventDestroy(event->native);
    from->resize(from->context, event, sizeof *event, 0);
}

int cuda_stream_record(struct stream *stream, struct event *event) {
    cudaError_t error = cudaEventRecord(event->native, stream->native);
    return error == cudaSuccess ? FLOW_OK : stream_failed(stream, "an event could not be recorded", error);
}

int cuda_stream_wait(struct stream *stream, struct event *event) {
    cudaError_t error = cudaStreamWaitEvent(stream->native, event->native, 0);
    return error == cudaSuccess ? FLOW_OK : stream_failed(stream, "an event could not be waited for", error);
}

int cuda_event_elapsed(struct event *from, struct event *to, double *seconds) {
    float milliseconds = 0;
    cudaError_t error = cudaEventElapsedTime(&milliseconds, from->native, to->native);
    *seconds = 1e-3 * (double)milliseconds;
    return error == cudaSuccess ? FLOW_OK : cuda_failed(from->device, "a time could not be taken", error);
}

/* ---- Captured graphs ---- */

/* Thread-local: what other threads do meanwhile with other streams is not looked at. */
int cuda_capture_begin(struct stream *stream) {
    cudaError_t error = cudaStreamBeginCapture(stream->native, cudaStreamCaptureModeThreadLocal);
    return error == cudaSuccess ? FLOW_OK : stream_failed(stream, "a capture could not begin", error);
}

int cuda_capture_end(struct stream *stream, struct device_graph **out) {
    struct cuda_device *cuda = stream->device;
    const struct allocator *from = cuda->from;
    cudaGraph_t graph = NULL;
    *out = NULL;
    cudaError_t error = cudaStreamEndCapture(stream->native, &graph);
    struct device_graph *made = error == cudaSuccess ? from->resize(from->context, NULL, 0, sizeof *made) : NULL;
    if (made) {
        *made = (struct device_graph){.device = cuda};
        error = cudaGraphInstantiate(&made->native, graph, 0);
    }
    if (graph) (void)cudaGraphDestroy(graph);
    if (error == cudaSuccess && !made) return FLOW_ERROR_MEMORY;
    if (error != cudaSuccess) {
        if (made) from->resize(from->context, made, sizeof *made, 0);
        return cuda_failed(cuda, "a capture failed", error);
    }
    *out = made;
    return FLOW_OK;
}

int cuda_replay(struct stream *stream, struct device_graph *graph) {
    cudaError_t error = cudaGraphLaunch(graph->native, stream->native);
    return error == cudaSuccess ? FLOW_OK : stream_failed(stream, "a captured graph could not be launched", error);
}

void cuda_graph_free(struct device_graph *graph) {
    if (!graph) return;
    const struct allocator *from = graph->device->from;
    (void)cudaGraphExecDestroy(graph->native);
    from->resize(from->context, graph, sizeof *graph, 0);
}
