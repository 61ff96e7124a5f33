/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the CUDA device. One device a runtime, on the process's current GPU; the object links neither libcuda (the runtime library opens
 * it) nor cuBLAS (blas.c opens it), so that it loads anywhere and then says what is missing. */
#ifndef FLOW_DEVICE_CUDA_DEVICE_H
#define FLOW_DEVICE_CUDA_DEVICE_H

#include "device/cuda/api.h"
#include "device/cuda/blas.h"
#include "device/device.h"

#include <pthread.h>

/* Bytes for products that a stream may have under way: what cuBLAS asks for on Hopper. */
enum { CUDA_BLAS_WORKSPACE = 32 << 20 };

struct cuda_device {
    struct device device;
    const struct allocator *from;
    struct flow_host host;
    struct cuda_blas *blas;
    cudaStream_t service; /* for put and get */
    pthread_mutex_t lock; /* guards `streams`: who multiplies finds the workspace of its stream there */
    struct stream *streams;
    char name[256];
    char why[512];
    int processors; /* multiprocessors */
};

struct stream {
    struct cuda_device *device;
    struct stream *next;
    cudaStream_t native;
    void *workspace; /* CUDA_BLAS_WORKSPACE bytes, made when first needed */
    int failed;      /* the first error since the last synchronize */
};

struct event {
    struct cuda_device *device;
    cudaEvent_t native;
};

struct device_graph {
    struct cuda_device *device;
    cudaGraphExec_t native;
};

/* Notes what went wrong, and what it means to the runtime. */
int cuda_failed(struct cuda_device *device, const char *what, cudaError_t error);

/* stream.c */
int cuda_stream_new(struct device *device, struct stream **out);
void cuda_stream_free(struct stream *stream);
int cuda_stream_launch(struct stream *stream, device_launch run, void *context);
int cuda_stream_synchronize(struct stream *stream);
int cuda_stream_copy(struct stream *stream, void *to, const void *from, int64_t bytes, enum device_way way);
int cuda_stream_clear(struct stream *stream, void *to, int64_t bytes);
void *cuda_stream_native(struct stream *stream);
int cuda_event_new(struct device *device, struct event **out);
int cuda_event_measuring(struct device *device, struct event **out);
void cuda_event_free(struct event *event);
int cuda_stream_record(struct stream *stream, struct event *event);
int cuda_stream_wait(struct stream *stream, struct event *event);
int cuda_event_elapsed(struct event *from, struct event *to, double *seconds);
int cuda_capture_begin(struct stream *stream);
int cuda_capture_end(struct stream *stream, struct device_graph **out);
int cuda_replay(struct stream *stream, struct device_graph *graph);
void cuda_graph_free(struct device_graph *graph);

#endif
