/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles, the machine's limits, traces. */
#include "embed/embed.h"

#include <string.h>
#include <unistd.h>

/* ---- Profiles ---- */

/* The rows are one struct: exec's is declared in the same order. */
_Static_assert(sizeof(struct flow_profile_row) == sizeof(struct profile_row) &&
                   offsetof(struct flow_profile_row, seconds) == offsetof(struct profile_row, seconds) &&
                   offsetof(struct flow_profile_row, bytes) == offsetof(struct profile_row, bytes),
               "rows are passed on as they are");
_Static_assert((int)FLOW_PASS_AGAIN == (int)PROFILE_AGAIN && (int)FLOW_ROW_GRADIENT == (int)PROFILE_GRADIENT, "so are kinds");

struct flow_profile profile_public(const flow_graph *graph, const struct profile *profile) {
    return (struct flow_profile){.row_size = sizeof(struct flow_profile_row),
                                 .rows = (const struct flow_profile_row *)(const void *)profile->rows,
                                 .count = profile->count,
                                 .runs = profile->runs,
                                 .threads = graph->host.threads,
                                 .streams = 1,
                                 .run_seconds = profile->run_seconds,
                                 .plan_seconds = profile->plan_seconds};
}

void profile_give(const struct flow_profile *made, struct flow_profile *out) {
    const uint32_t size = out->size;
    memcpy(out, made, size < sizeof *made ? size : sizeof *made);
    out->size = size;
}

/* ---- Limits ---- */

int flow_runtime_limits(flow_runtime *runtime, struct flow_limits *out, flow_errors **errors) {
    _Static_assert((int)FLOW_LIMIT_LEVELS == (int)DEVICE_LEVELS, "levels are passed on as they are");
    struct report report;
    errors_begin(&report, &runtime->from);
    struct device *device;
    struct device_limits limits = {0};
    int rc = runtime_device(runtime, 0, &report, &device);
    if (rc == 0 && device->api->limits(device, &limits) < 0) rc = report_memory(&report);
    struct flow_limits made = {.size = out->size, .threads = limits.threads, .flops = limits.flops};
    memcpy(made.reach, limits.reach, sizeof made.reach);
    memcpy(made.rate, limits.rate, sizeof made.rate);
    memcpy(out, &made, out->size < sizeof made ? out->size : sizeof made);
    return errors_end(&report, errors, rc);
}

/* ---- Traces ---- */

/* The threads that there can be: the pool's, the loop's, those that read files, and the application's own. */
enum { OTHERS = 16, EVENTS_MOST = 1 << 24 };

int runtime_trace(flow_runtime *runtime, int64_t events, struct report *report) {
    if (events < 0 || events > EVENTS_MOST)
        return report_add(report, FLOW_ERROR_USAGE, (struct position){0}, "trace_events is %lld, expected 1 to %d", (long long)events,
                          (int)EVENTS_MOST);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int32_t threads = runtime->threads ? runtime->threads : cores > 0 && cores < 1024 ? (int32_t)cores : 1;
    int code = trace_new(&runtime->from, events, threads + OTHERS, &runtime->trace);
    if (code < 0) return report_memory(report);
    trace_thread(runtime->trace, "caller");
    return 0;
}

static void put(void *file, const void *bytes, size_t size) { file_stream_put(file, bytes, size); }

int flow_runtime_trace_write(flow_runtime *runtime, const char *path, uint64_t *lost, flow_errors **errors) {
    struct report report;
    errors_begin(&report, &runtime->from);
    if (lost) *lost = runtime->trace ? trace_lost(runtime->trace) : 0;
    if (!runtime->trace)
        return errors_end(&report, errors,
                          report_add(&report, FLOW_ERROR_USAGE, (struct position){0}, "the runtime was made without trace_events"));
    struct file_stream *file;
    int rc = file_stream_open(&runtime->from, path, &report, &file);
    if (rc == 0) {
        int code = trace_write(runtime->trace, put, file);
        if (code < 0) report_memory(&report);
        rc = file_stream_close(file, code, &report);
    }
    return errors_end(&report, errors, rc);
}
