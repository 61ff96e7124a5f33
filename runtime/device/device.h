/* SPDX-License-Identifier: Apache-2.0 */
/* A device: memory, streams, events. A stream is a FIFO queue of launches; an event orders streams. The CPU's streams are served by the
 * workers of one pool, whose kernels may spread over idle workers: never more running threads than `threads`. A device whose memory lies
 * apart from the host's (`apart`) is given launches by the caller's thread, which is ahead of it; tensors are brought there and back. */
#ifndef FLOW_DEVICE_DEVICE_H
#define FLOW_DEVICE_DEVICE_H

#include "base/report.h"
#include "base/trace.h"
#include "device/training.h"

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

enum device_way { DEVICE_IN, DEVICE_OUT, DEVICE_WITHIN };

struct device_graph; /* launches that were captured, to be replayed in one go */

struct device_api {
    const char *name;                                                    /* "cpu" */
    int32_t kind;                                                        /* FLOW_DEVICE_* */
    bool apart;                                                          /* see above; the members from `put` on exist then alone */
    int (*memory_new)(struct device *device, int64_t bytes, void **out); /* 64-byte aligned */
    void (*memory_free)(struct device *device, void *block, int64_t bytes);
    int (*stream_new)(struct device *device, struct stream **out);
    void (*stream_free)(struct stream *stream);
    int (*launch)(struct stream *stream, device_launch run, void *context); /* apart: `run` queues what it launches, at once */
    int (*synchronize)(struct stream *stream); /* waits until all launches are done; the first error since the last time */
    int (*event_new)(struct device *device, struct event **out);
    void (*event_free)(struct event *event);
    int (*record)(struct stream *stream, struct event *event); /* set when all launches so far are done */
    int (*wait)(struct stream *stream, struct event *event);   /* later launches wait for the last record */
    void (*free)(struct device *device);
    int (*limits)(struct device *device, struct device_limits *out); /* takes tens of milliseconds; nothing may be under way */

    int (*put)(struct device *device, void *to, const void *from, int64_t bytes); /* from the host's memory; done when it returns */
    int (*get)(struct device *device, void *to, const void *from, int64_t bytes);
    int (*stage_new)(struct device *device, int64_t bytes, void **out); /* memory of the host that copies need not stage */
    void (*stage_free)(struct device *device, void *block, int64_t bytes);
    int (*copy)(struct stream *stream, void *to, const void *from, int64_t bytes, enum device_way way); /* queued */
    int (*clear)(struct stream *stream, void *to, int64_t bytes);                                       /* zeros; queued */
    void *(*native)(struct stream *stream);                                                             /* flow_call.stream */
    /* Between begin and end launches, copies, records and waits are kept, not made; other streams that wait for an event of `stream` belong
     * to it, and must be waited for before the end. */
    int (*capture_begin)(struct stream *stream);
    int (*capture_end)(struct stream *stream, struct device_graph **out); /* *out NULL where it failed */
    int (*replay)(struct stream *stream, struct device_graph *graph);
    void (*graph_free)(struct device_graph *graph);
    int (*elapsed)(struct event *from, struct event *to, double *seconds); /* both are over; of events that measure */
    int (*event_measuring)(struct device *device, struct event **out);
    int (*room)(struct device *device, int64_t *free, int64_t *total); /* bytes of its memory */
    const char *(*why)(const struct device *device);                   /* what went wrong last, in the device's own words */
};

/* The runtime's own steps (exec/convert.c, exec/gradient.c) as a device apart has them. */
struct device_steps {
    int (*copy)(const struct flow_call *call);
    int (*widen)(const struct flow_call *call);
    int (*narrow)(const struct flow_call *call);
    int (*gather)(const struct flow_call *call);
    int (*fill)(const struct flow_call *call);
    int (*pass)(const struct flow_call *call);
    int (*add)(const struct flow_call *call);
};

struct device {
    const struct device_api *api;
    const struct flow_host *host;           /* the functions operators get: gemm, parallel_for, isa, threads */
    struct trace *trace;                    /* NULL: nothing is recorded */
    struct device *cpu;                     /* apart: the device whose kernels serve operators that have none here; else itself */
    const struct device_steps *steps;       /* apart */
    const struct device_training *training; /* apart */
    const struct flow_optimizer_kernel *optimizers;
    uint32_t optimizer_count;
};

/* From the host's memory to the device's and back, whichever it is. */
int must_use device_put(struct device *device, void *to, const void *from, int64_t bytes);
int must_use device_get(struct device *device, void *to, const void *from, int64_t bytes);

struct device_cpu_options {
    int threads;         /* 0: the cores this process may use */
    int isa;             /* -1: the best there is; else at most this FLOW_ISA_* */
    struct trace *trace; /* outlives the device; NULL */
};
/* The CPU. `host->fail`, `fail_at`, `param`, `cancelled` and `log` are left NULL: the stages that call operators fill in theirs. */
int must_use device_cpu_new(const struct allocator *from, const struct device_cpu_options *options, struct device **out);

/* A device of another kind lies in an object of its own, plugins/device/NAME.so, a plugin whose extension DEVICE_EXTENSION is this. */
#define DEVICE_EXTENSION "flow.device/1"
struct device_opening {
    const struct allocator *from;
    struct device *cpu; /* outlives the device */
    struct trace *trace;
    char why[512]; /* the reason, where it fails */
};
struct device_entry {
    uint32_t size;
    const char *version; /* FLOW_VERSION_TEXT: the library's own, since what they share is no public interface */
    int (*open)(struct device_opening *opening, struct device **out);
    const char *about; /* what a person is told of before anything runs: that it is an emulation; NULL */
};

#endif
