/* SPDX-License-Identifier: Apache-2.0 */
#include "embed/embed.h"
#include "embed/text_out.h"
#include "graph/schema.h"

#include <flow/version.h>

#include <string.h>

/* The object of a device; what it says when it cannot be used. The device itself is made when the first graph is read. */
static int open_device(flow_runtime *runtime, const char *name, struct report *report) {
    struct text why;
    const void *extension = NULL;
    text_init(&why, &runtime->from);
    int rc = registry_device(runtime->registry, name, DEVICE_EXTENSION, &extension, &why);
    const struct device_entry *entry = extension;
    if (rc == 0 && (entry->size < sizeof *entry || strcmp(entry->version, FLOW_VERSION_TEXT) != 0)) {
        text_format(&why, "its object is of libflow %s, this is %s", entry->size < sizeof *entry ? "another version" : entry->version,
                    FLOW_VERSION_TEXT);
        rc = FLOW_ERROR_PLUGIN;
    }
    if (rc < 0) report_add(report, rc, (struct position){0}, "device '%s': %s", name, why.failed || !why.at ? status_text(rc) : why.at);
    else {
        runtime->apart = entry;
        if (entry->about) log_line(&runtime->log, LOG_WARNING, "%s", entry->about);
    }
    text_free(&why);
    if (rc < 0) return rc;
    struct device *unused;
    return runtime_device(runtime, 0, report, &unused);
}

int flow_runtime_new(const struct flow_runtime_options *options, flow_errors **errors, flow_runtime **out) {
    struct flow_runtime_options given = {.size = sizeof given};
    if (options) memcpy(&given, options, options->size < sizeof given ? options->size : sizeof given);
    struct allocator from = given.resize ? (struct allocator){given.resize_context, given.resize} : memory_default;
    struct report report;
    errors_begin(&report, &from);
    *out = NULL;
    bool cuda = given.device && strcmp(given.device, "cuda") == 0;
    if (given.device && strcmp(given.device, "cpu") != 0 && !cuda)
        return errors_end(&report, errors,
                          report_add(&report, FLOW_ERROR_UNSUPPORTED, (struct position){0},
                                     "there is no device '%s'; there are 'cpu' and 'cuda'", given.device));
    if (given.threads < 0 || given.threads > 1024)
        return errors_end(&report, errors,
                          report_add(&report, FLOW_ERROR_USAGE, (struct position){0},
                                     "threads is %d, expected 1 to 1024, or 0 for all cores", given.threads));
    flow_runtime *runtime = memory_new(&from, sizeof *runtime);
    if (!runtime) return errors_end(&report, errors, report_memory(&report));
    runtime->from = from, runtime->threads = given.threads;
    runtime->log = (struct logger){given.log_context, given.log};
    int rc = pthread_mutex_init(&runtime->lock, NULL) ? report_memory(&report) : 0;
    if (rc == 0) {
        struct registry_options registry = {.path = given.plugin_path, .only = given.plugin_only, .log = &runtime->log};
        rc = registry_new(&runtime->from, &registry, &runtime->registry);
        if (rc < 0) {
            report_add(&report, rc, (struct position){0}, "the operators could not be set up: %s", status_text(rc));
            pthread_mutex_destroy(&runtime->lock);
        }
    }
    if (rc == 0) {
        if (given.trace_events) rc = runtime_trace(runtime, given.trace_events, &report);
        if (rc == 0 && cuda) rc = open_device(runtime, "cuda", &report);
        if (rc < 0) flow_runtime_free(runtime), runtime = NULL;
    }
    if (rc < 0 && runtime) memory_free(&from, runtime, sizeof *runtime);
    else *out = runtime;
    /* The report's allocator is `from`, on this stack: errors_end copies it. */
    return errors_end(&report, errors, rc);
}

void flow_runtime_free(flow_runtime *runtime) {
    if (!runtime) return;
    if (runtime->loop) io_loop_free(runtime->loop);
    if (runtime->device && runtime->device != runtime->cpu) runtime->device->api->free(runtime->device);
    if (runtime->cpu) runtime->cpu->api->free(runtime->cpu);
    trace_free(runtime->trace);
    registry_free(runtime->registry);
    pthread_mutex_destroy(&runtime->lock);
    struct allocator from = runtime->from;
    memory_free(&from, runtime, sizeof *runtime);
}

static int make_apart(flow_runtime *runtime, struct report *report) {
    struct device_opening opening = {.from = &runtime->from, .cpu = runtime->cpu, .trace = runtime->trace};
    int rc = runtime->apart->open(&opening, &runtime->device);
    if (rc < 0) report_add(report, rc, (struct position){0}, "device 'cuda': %s", opening.why[0] ? opening.why : status_text(rc));
    if (rc < 0) runtime->cpu->api->free(runtime->cpu), runtime->cpu = NULL;
    return rc;
}

int runtime_device(flow_runtime *runtime, int threads_of_graph, struct report *report, struct device **out) {
    int rc = 0;
    pthread_mutex_lock(&runtime->lock);
    if (!runtime->device) {
        struct device_cpu_options options = {
            .threads = runtime->threads ? runtime->threads : threads_of_graph, .isa = -1, .trace = runtime->trace};
        rc = device_cpu_new(&runtime->from, &options, &runtime->cpu);
        if (rc < 0) report_add(report, rc, (struct position){0}, "the CPU device could not be set up: %s", status_text(rc));
        else if (runtime->apart) rc = make_apart(runtime, report);
        else runtime->device = runtime->cpu;
    }
    *out = runtime->device;
    pthread_mutex_unlock(&runtime->lock);
    return rc;
}

int runtime_loop(flow_runtime *runtime, struct report *report, struct io_loop **out) {
    int rc = 0;
    pthread_mutex_lock(&runtime->lock);
    if (!runtime->loop) {
        rc = io_loop_traced(&runtime->from, runtime->trace, &runtime->loop);
        if (rc < 0) report_add(report, rc, (struct position){0}, "the input loop could not be started: %s", status_text(rc));
    }
    *out = runtime->loop;
    pthread_mutex_unlock(&runtime->lock);
    return rc;
}

int flow_runtime_schema(flow_runtime *runtime, flow_errors **errors, char **text) {
    struct report report;
    errors_begin(&report, &runtime->from);
    struct text schema;
    text_init(&schema, &runtime->from);
    int rc = schema_write(runtime->registry, &schema);
    *text = rc == 0 ? text_out(&schema) : NULL;
    if (rc == 0 && !*text) rc = report_memory(&report);
    text_free(&schema);
    return errors_end(&report, errors, rc);
}
