/* SPDX-License-Identifier: Apache-2.0 */
/* What the public objects are made of. */
#ifndef FLOW_EMBED_EMBED_H
#define FLOW_EMBED_EMBED_H

#include "device/device.h"
#include "exec/exec.h"
#include "graph/instance.h"
#include "io/io.h"
#include "plan/plan.h"

#include <flow/flow.h>
#include <pthread.h>

struct flow_errors {
    struct allocator from;
    struct report report;
};

struct flow_runtime {
    struct allocator from;
    struct logger log;
    struct registry *registry;
    pthread_mutex_t lock;             /* guards device and loop, which are made when first needed */
    const struct device_entry *apart; /* of a device that is not the CPU; NULL */
    struct device *device, *cpu;      /* the same where graphs run on the CPU */
    struct io_loop *loop;
    struct trace *trace; /* NULL */
    int threads;
};

struct flow_graph {
    flow_runtime *runtime;
    struct network *network;
    struct model *model;
    struct flow_host host; /* the device's */
    int32_t precision;
    bool seeded;
    uint64_t seed;
    const char *path, *text; /* how it was read (text NULL: from the file): a trainer reads it again for each stage */
    size_t text_length;
    const char **set;
    size_t set_count;
};

/* A message list under way: functions report into it and end with errors_end, which hands it to the caller. */
void errors_begin(struct report *report, const struct allocator *from);
int errors_end(struct report *report, flow_errors **errors, int code);
void errors_again(struct report *report); /* what was reported is forgotten */

/* measure.c: from now on events are recorded; before device and loop are made. */
int must_use runtime_trace(flow_runtime *runtime, int64_t events, struct report *report);
int must_use runtime_device(flow_runtime *runtime, int threads_of_graph, struct report *report, struct device **out);
int must_use runtime_loop(flow_runtime *runtime, struct report *report, struct io_loop **out);

/* weights.c: parameters from a file, or from the parts that an index (.json) names, under the graph's names. `strict`: renames that fit
 * nothing are errors. The image's file goes with the graph, or now where this fails early. */
int must_use weights_take(flow_graph *graph, const char *path, bool strict, struct report *report);
int must_use weights_take_image(flow_graph *graph, struct tensor_file *file, struct report *report);

/* The kind of device that its runtime has: FLOW_DEVICE_*. */
static inline int32_t graph_device(const flow_graph *graph) { return graph->runtime->device->api->kind; }
/* The options every instance of this graph is made with; streaming fields are left zero. */
struct instance_options graph_instance_options(const flow_graph *graph);
/* An instance with the extents that the options name and usual ones for the other symbols; the report is begun anew for each attempt. */
int must_use graph_sample(const flow_graph *graph, const struct flow_describe_options *options, struct report *report,
                          struct instance **out);
/* The same for the graph as it is read for a stage. */
int must_use graph_sample_of(const flow_graph *graph, const struct network *network, const struct flow_describe_options *options,
                             struct report *report, struct instance **out);
/* measure.c: a profile as the public struct; into a caller's of perhaps another size. */
struct flow_profile profile_public(const flow_graph *graph, const struct profile *profile);
void profile_give(const struct flow_profile *made, struct flow_profile *out);
/* What `train` says, as lines or (options->json) one JSON object. */
/* Bytes of the planned arena of a training step on inputs like those of `like`; keep_all: as if nothing was computed again. */
int must_use training_peak(flow_graph *graph, const struct instance *like, bool keep_all, struct report *report, int64_t *bytes);
int must_use training_describe(flow_graph *graph, const struct flow_describe_options *options, struct report *report, struct text *out);

#endif
