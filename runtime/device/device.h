/* SPDX-License-Identifier: Apache-2.0 */
/* A device: memory, streams, events. A stream is a FIFO queue of launches; an event orders streams. The CPU's streams are served by the
 * workers of one pool, whose kernels may spread over idle workers: never more running threads than `threads`. */
#ifndef FLOW_DEVICE_DEVICE_H
#define FLOW_DEVICE_DEVICE_H

#include "base/report.h"
#include "base/trace.h"

struct device;
struct stream;
struct event;

/* [run] on the stream's thread; 0 or an error, which stays the stream's until the next synchronisation. */
typedef int (*device_launch)(void *context);

/* What the machine gives at this moment with all threads. */
enum { DEVICE_LEVELS = 4 };
struct device_limits {
    int32_t threads;
    double flops;                                     /* f32 a second; a multiply-add counts two */
    double reach[DEVICE_LEVELS], rate[DEVICE_LEVELS]; /* bytes that all threads read over and over, growing; bytes a second then */
};

struct device_api {
    const char *name;                                                    /* "cpu" */
    int32_t kind;                                                        /* FLOW_DEVICE_* */
    int (*memory_new)(struct device *device, int64_t bytes, void **out); /* 64-byte aligned */
    void (*memory_free)(struct device *device, void *block, int64_t bytes);
    int (*stream_new)(struct device *device, struct stream **out);
    void (*stream_free)(struct stream *stream);
    int (*launch)(struct stream *stream, device_launch run, void *context);
    int (*synchronize)(struct stream *stream); /* waits until all launches are done; the first error since the last time */
    int (*event_new)(struct device *device, struct event **out);
    void (*event_free)(struct event *event);
    int (*record)(struct stream *stream, struct event *event); /* set when all launches so far are done */
    int (*wait)(struct stream *stream, struct event *event);   /* later launches wait for the last record */
    void (*free)(struct device *device);
    int (*limits)(struct device *device, struct device_limits *out); /* takes tens of milliseconds; nothing may be under way */
};

struct device {
    const struct device_api *api;
    const struct flow_host *host; /* the functions operators get: gemm, parallel_for, isa, threads */
    struct trace *trace;          /* NULL: nothing is recorded */
};

struct device_cpu_options {
    int threads;         /* 0: the cores this process may use */
    int isa;             /* -1: the best there is; else at most this FLOW_ISA_* */
    struct trace *trace; /* outlives the device; NULL */
};
/* The CPU. `host->fail`, `fail_at`, `param`, `cancelled` and `log` are left NULL: the stages that call operators fill in theirs. */
int must_use device_cpu_new(const struct allocator *from, const struct device_cpu_options *options, struct device **out);

#endif
