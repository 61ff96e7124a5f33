/* SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"
#include "embed/embed.h"

#include <stdlib.h>
#include <string.h>

struct flow_trainer {
    flow_graph *graph;
    struct trainer *trainer;
};

static const struct allocator *from_of(const flow_trainer *trainer) { return &trainer->graph->runtime->from; }

int flow_trainer_new(flow_graph *graph, const struct flow_trainer_options *options, flow_errors **errors, flow_trainer **out) {
    flow_runtime *runtime = graph->runtime;
    struct flow_trainer_options given = {.size = sizeof given};
    if (options) memcpy(&given, options, options->size < sizeof given ? options->size : sizeof given);
    struct report report;
    errors_begin(&report, &runtime->from);
    *out = NULL;
    flow_trainer *trainer = memory_new(&runtime->from, sizeof *trainer);
    if (!trainer) return errors_end(&report, errors, report_memory(&report));
    trainer->graph = graph;
    const char *streams = flow_graph_run_option(graph, "streams");
    int64_t count = given.streams;
    if (count <= 0 && streams) count = strtol(streams, NULL, 10);
    struct trainer_options about = {
        .reading = {&runtime->from, runtime->registry, graph->path, graph->text, graph->text_length, graph->set, graph->set_count},
        .network = graph->network,
        .model = graph->model,
        .host = &graph->host,
        .precision = graph->precision,
        .streams = (int32_t)(count > 0 ? count : 1),
        .seeded = graph->seeded,
        .seed = graph->seed,
        .resume = given.resume,
        .profile = given.profile,
        .steps = given.steps,
        .dir = given.dir,
        .unsaved = given.unsaved};
    int rc = runtime_device(runtime, 0, &report, &about.device);
    if (rc == 0) rc = runtime_loop(runtime, &report, &about.loop);
    if (rc == 0) rc = trainer_new(&about, &report, &trainer->trainer);
    if (rc < 0) flow_trainer_free(trainer);
    else *out = trainer;
    return errors_end(&report, errors, rc);
}

void flow_trainer_free(flow_trainer *trainer) {
    if (!trainer) return;
    trainer_free(trainer->trainer);
    memory_free(from_of(trainer), trainer, sizeof *trainer);
}

int flow_trainer_input(flow_trainer *trainer, const char *name, const struct flow_tensor *value, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(trainer));
    return errors_end(&report, errors, trainer_input(trainer->trainer, name, value, &report));
}

int flow_trainer_next(flow_trainer *trainer, struct flow_event *event, flow_errors **errors) {
    /* The structs are one: train's are declared in the same order. */
    _Static_assert(sizeof(struct flow_metric) == sizeof(struct trainer_metric), "metrics are passed on as they are");
    _Static_assert((int)FLOW_EVENT_END == (int)TRAINER_END, "kinds are passed on as they are");
    struct report report;
    errors_begin(&report, from_of(trainer));
    struct trainer_event found;
    int rc = trainer_next(trainer->trainer, &found, &report);
    struct flow_event made = {.size = event->size,
                              .kind = (int32_t)found.kind,
                              .stage = found.stage,
                              .stage_number = found.stage_number,
                              .stage_count = found.stage_count,
                              .step = found.step,
                              .steps = found.steps,
                              .total = found.total,
                              .loss = found.loss,
                              .grad_norm = found.grad_norm,
                              .rate = found.rate,
                              .seconds = found.seconds,
                              .step_seconds = found.step_seconds,
                              .waited = found.waited,
                              .rows = found.rows,
                              .name = found.name,
                              .metrics = (const struct flow_metric *)(const void *)found.metrics,
                              .metric_count = found.metric_count};
    memcpy(event, &made, event->size < sizeof made ? event->size : sizeof made);
    return errors_end(&report, errors, rc);
}

void flow_trainer_cancel(flow_trainer *trainer) { trainer_cancel(trainer->trainer); }

const struct flow_tensor *flow_trainer_parameter(const flow_trainer *trainer, size_t index, const char **name) {
    return trainer_parameter(trainer->trainer, index, name);
}

int flow_trainer_save(flow_trainer *trainer, const char *path, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(trainer));
    size_t count = 0;
    while (trainer_parameter(trainer->trainer, count, NULL)) count++;
    struct tensor_write *tensors = memory_array(from_of(trainer), count + 1, sizeof *tensors);
    if (!tensors) return errors_end(&report, errors, report_memory(&report));
    for (size_t i = 0; i < count; i++) tensors[i].tensor = trainer_parameter(trainer->trainer, i, &tensors[i].name);
    struct tensor_write_options options = {0};
    int rc = tensor_file_write(from_of(trainer), path, tensors, count, &options, &report);
    memory_free(from_of(trainer), tensors, (count + 1) * sizeof *tensors);
    return errors_end(&report, errors, rc);
}

struct flow_memory flow_trainer_memory(const flow_trainer *trainer) {
    struct flow_memory memory = {0};
    const struct plan *plan = trainer_plan(trainer->trainer);
    const struct flow_tensor *value;
    if (plan) memory.arena = plan->bytes, memory.unshared = plan->unshared;
    for (size_t i = 0; (value = trainer_parameter(trainer->trainer, i, NULL)); i++)
        memory.params += flow_tensor_count(value) * dtype_bytes(value->dtype);
    return memory;
}

int flow_trainer_profile(flow_trainer *trainer, struct flow_profile *out, flow_errors **errors) {
    struct report report;
    errors_begin(&report, from_of(trainer));
    const double *phases = NULL;
    const struct profile *profile = trainer_profile(trainer->trainer, &phases);
    if (!profile)
        return errors_end(&report, errors,
                          report_add(&report, FLOW_ERROR_USAGE, (struct position){0}, "the trainer was made without `profile`"));
    struct flow_profile made = profile_public(trainer->graph, profile);
    const struct plan *plan = trainer_plan(trainer->trainer);
    made.streams = plan ? plan->stream_count : 1;
    made.plan_seconds = phases[TRAINER_PLANS], made.step_seconds = phases[TRAINER_STEPS], made.data_seconds = phases[TRAINER_DATA];
    made.update_seconds = phases[TRAINER_UPDATES], made.run_seconds = phases[TRAINER_RUNS];
    made.validate_seconds = phases[TRAINER_VALIDATES], made.save_seconds = phases[TRAINER_SAVES];
    profile_give(&made, out);
    return errors_end(&report, errors, profile->incomplete ? report_memory(&report) : 0);
}

int flow_trainer_times(flow_trainer *trainer, const struct flow_times **out, size_t *count) {
    const struct context_times *times;
    int rc = trainer_times(trainer->trainer, &times, count);
    *out = (const struct flow_times *)(const void *)times;
    return rc;
}
