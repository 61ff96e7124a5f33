/* SPDX-License-Identifier: Apache-2.0 */
/* Captured graphs of the emulation. */
#include "cuda/kernels.h"

#include <criterion/criterion.h>
#include <string.h>

enum { COUNT = 100, SEEDS = 50 };
#define OK(call) cr_assert_eq((call), 0, "%s: %s", #call, cudaGetErrorString(cudaPeekAtLastError()))

/* Two streams, two events, values x and y. */
struct scene {
    float *x, *y;
    cudaStream_t a, b;
    cudaEvent_t fork, join;
};

static struct scene scene_new(void) {
    struct scene s;
    void *x = NULL, *y = NULL;
    cuda_emulation_reset();
    OK(cudaMalloc(&x, COUNT * sizeof(float)));
    OK(cudaMalloc(&y, COUNT * sizeof(float)));
    OK(cudaMemset(x, 0, COUNT * sizeof(float)));
    OK(cudaMemset(y, 0, COUNT * sizeof(float)));
    OK(cudaDeviceSynchronize()); /* the streams below do not wait for the legacy one */
    s.x = x, s.y = y;
    OK(cudaStreamCreateWithFlags(&s.a, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&s.b, cudaStreamNonBlocking));
    OK(cudaEventCreateWithFlags(&s.fork, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&s.join, cudaEventDisableTiming));
    return s;
}

static void scene_free(struct scene *s) {
    cuda_emulation_reset();
    OK(cudaEventDestroy(s->fork));
    OK(cudaEventDestroy(s->join));
    OK(cudaStreamDestroy(s->a));
    OK(cudaStreamDestroy(s->b));
    OK(cudaFree(s->x));
    OK(cudaFree(s->y));
}

static float first_of(const float *device) {
    float x = 0;
    OK(cudaMemcpy(&x, device, sizeof x, cudaMemcpyDeviceToHost));
    return x;
}

/* a: x += 1; b: y = 10 y + x; a, after b: x += 1. `join` false leaves the last edge out. */
static void queue_steps(const struct scene *s, bool join) {
    OK(kernel_add(s->x, s->x, COUNT, 1, s->a));
    OK(cudaEventRecord(s->fork, s->a));
    OK(cudaStreamWaitEvent(s->b, s->fork, 0));
    OK(kernel_append(s->x, s->y, COUNT, s->b));
    OK(cudaEventRecord(s->join, s->b));
    if (join) OK(cudaStreamWaitEvent(s->a, s->join, 0));
    OK(kernel_add(s->x, s->x, COUNT, 1, s->a));
    if (!join) OK(cudaStreamWaitEvent(s->a, s->join, 0));
}

static cudaGraphExec_t captured(const struct scene *s, bool join, size_t *nodes) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    OK(cudaStreamBeginCapture(s->a, cudaStreamCaptureModeThreadLocal));
    queue_steps(s, join);
    OK(cudaStreamEndCapture(s->a, &graph));
    OK(cudaGraphGetNodes(graph, NULL, nodes));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    return exec;
}

Test(capture, a_graph_is_replayed) {
    for (uint64_t seed = 0; seed <= SEEDS; seed++) {
        struct scene s = scene_new();
        size_t nodes = 0;
        cuda_emulation_seed(seed);
        cudaGraphExec_t exec = captured(&s, true, &nodes);
        cr_assert_eq(nodes, 3);
        cr_assert_eq(first_of(s.x), 0); /* nothing has run */
        for (int i = 0; i < 3; i++) OK(cudaGraphLaunch(exec, s.b));
        OK(cudaGraphExecDestroy(exec)); /* under way: that is allowed */
        OK(cudaStreamSynchronize(s.b));
        cr_assert_eq(first_of(s.x), 6);
        cr_assert_eq(first_of(s.y), 135);
        scene_free(&s);
    }
}

Test(capture, a_missing_edge_is_seen) {
    int wrong = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct scene s = scene_new();
        size_t nodes = 0;
        cuda_emulation_seed(seed);
        cudaGraphExec_t exec = captured(&s, false, &nodes);
        for (int i = 0; i < 3; i++) OK(cudaGraphLaunch(exec, s.a));
        OK(cudaStreamSynchronize(s.a));
        wrong += first_of(s.y) != 135;
        OK(cudaGraphExecDestroy(exec));
        scene_free(&s);
    }
    cr_assert_gt(wrong, SEEDS / 4);
}

/* What may not happen in a capture, what it is told as, and what ending the capture then gives. */
static cudaError_t unjoined(const struct scene *s) {
    if (kernel_add(s->x, s->x, COUNT, 1, s->a)) return cudaErrorUnknown;
    if (cudaEventRecord(s->fork, s->a)) return cudaErrorUnknown;
    if (cudaStreamWaitEvent(s->b, s->fork, 0)) return cudaErrorUnknown;
    return (cudaError_t)kernel_append(s->x, s->y, COUNT, s->b);
}
static cudaError_t allocates(const struct scene *s) {
    void *made;
    return (void)s, cudaMalloc(&made, 64);
}
static cudaError_t frees(const struct scene *s) { return cudaFree(s->y); }
static cudaError_t synchronizes(const struct scene *s) { return cudaStreamSynchronize(s->a); }
static cudaError_t synchronizes_all(const struct scene *s) { return (void)s, cudaDeviceSynchronize(); }
static cudaError_t asks(const struct scene *s) { return cudaStreamQuery(s->a); }
static cudaError_t copies_pageable(const struct scene *s) {
    float host[4] = {0};
    return cudaMemcpyAsync(s->x, host, sizeof host, cudaMemcpyHostToDevice, s->a);
}
static cudaError_t waits_outside(const struct scene *s) {
    (void)kernel_add(s->y, s->y, COUNT, 1, s->b);
    (void)cudaEventRecord(s->fork, s->b);
    return cudaStreamWaitEvent(s->a, s->fork, 0);
}
static cudaError_t waits_for_captured(const struct scene *s) {
    (void)cudaEventRecord(s->fork, s->a);
    return cudaEventSynchronize(s->fork);
}
static cudaError_t merges(const struct scene *s) {
    (void)cudaStreamBeginCapture(s->b, cudaStreamCaptureModeThreadLocal);
    (void)cudaEventRecord(s->fork, s->b);
    const cudaError_t error = cudaStreamWaitEvent(s->a, s->fork, 0);
    cudaGraph_t graph = NULL;
    cr_assert_eq(cudaStreamEndCapture(s->b, &graph), cudaErrorStreamCaptureInvalidated);
    return error;
}
static cudaError_t legacy_meets(const struct scene *s) {
    (void)cudaEventRecord(s->fork, s->a);
    return cudaStreamWaitEvent(NULL, s->fork, 0);
}
static cudaError_t begins_again(const struct scene *s) { return cudaStreamBeginCapture(s->a, cudaStreamCaptureModeThreadLocal); }

static const struct {
    const char *name;
    cudaError_t (*act)(const struct scene *s);
    cudaError_t told, ended;
} WRONG[] = {
    {"unjoined", unjoined, cudaSuccess, cudaErrorStreamCaptureUnjoined},
    {"allocates", allocates, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
    {"frees", frees, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
    {"synchronizes", synchronizes, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
    {"synchronizes_all", synchronizes_all, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
    {"asks", asks, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
    {"copies_pageable", copies_pageable, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
    {"waits_outside", waits_outside, cudaErrorStreamCaptureIsolation, cudaErrorStreamCaptureInvalidated},
    {"waits_for_captured", waits_for_captured, cudaErrorCapturedEvent, cudaErrorStreamCaptureInvalidated},
    {"merges", merges, cudaErrorStreamCaptureMerge, cudaErrorStreamCaptureInvalidated},
    {"legacy_meets", legacy_meets, cudaErrorStreamCaptureImplicit, cudaErrorStreamCaptureInvalidated},
    {"begins_again", begins_again, cudaErrorIllegalState, cudaSuccess},
};

Test(capture, what_a_capture_does_not_bear_is_told) {
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        struct scene s = scene_new();
        cudaGraph_t graph = NULL;
        OK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeThreadLocal));
        cr_assert_eq(WRONG[i].act(&s), WRONG[i].told, "%s", WRONG[i].name);
        cr_assert_eq(cudaStreamEndCapture(s.a, &graph), WRONG[i].ended, "%s", WRONG[i].name);
        cr_assert((graph != NULL) == (WRONG[i].ended == cudaSuccess), "%s", WRONG[i].name);
        if (graph) OK(cudaGraphDestroy(graph));
        (void)cudaGetLastError();
        /* The streams are free again. */
        OK(kernel_add(s.x, s.x, COUNT, 1, s.a));
        OK(kernel_add(s.y, s.y, COUNT, 1, s.b));
        OK(cudaDeviceSynchronize());
        scene_free(&s);
    }
}

Test(capture, an_allocation_in_relaxed_mode_is_borne) {
    struct scene s = scene_new();
    void *made = NULL;
    cudaGraph_t graph = NULL;
    enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    OK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeGlobal));
    OK(cudaThreadExchangeStreamCaptureMode(&mode));
    OK(cudaMalloc(&made, 64));
    OK(cudaThreadExchangeStreamCaptureMode(&mode));
    OK(cudaStreamEndCapture(s.a, &graph));
    OK(cudaGraphDestroy(graph));
    OK(cudaFree(made));
    scene_free(&s);
}
