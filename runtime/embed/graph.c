/* SPDX-License-Identifier: Apache-2.0 */
/* A graph file and its weights. */
#include "embed/embed.h"
#include "embed/text_out.h"
#include "graph/training.h"

#include <stdio.h>
#include <string.h>

struct instance_options graph_instance_options(const flow_graph *graph) {
    return (struct instance_options){.host = &graph->host,
                                     .device = graph_device(graph),
                                     .cpu = graph_device(graph) == FLOW_DEVICE_CPU ? NULL : graph->runtime->cpu->host,
                                     .log = &graph->runtime->log,
                                     .phase = FLOW_PHASE_INFERENCE,
                                     .precision = graph->precision,
                                     .seed = graph->seed,
                                     .seeded = graph->seeded};
}

const char *flow_graph_run_option(const flow_graph *graph, const char *key) {
    for (size_t i = 0; i < graph->network->run_count; i++) {
        const struct network_run *run = &graph->network->run[i];
        if (strcmp(run->key, key) == 0) return run->value->kind == DOCUMENT_SCALAR ? run->value->text : NULL;
    }
    return NULL;
}

bool flow_graph_run_entry(const flow_graph *graph, const char *key, size_t index, const char **name, const char **value) {
    for (size_t i = 0; i < graph->network->run_count; i++) {
        const struct document *map = graph->network->run[i].value;
        if (strcmp(graph->network->run[i].key, key) != 0 || map->kind != DOCUMENT_MAPPING || index >= map->count) continue;
        *name = map->keys[index]->text, *value = map->values[index]->text;
        return *value != NULL;
    }
    return false;
}

/* The file that `relative` means, seen from the graph file. */
static char *beside(struct arena *arena, const char *graph_path, const char *relative) {
    const char *slash = strrchr(graph_path, '/');
    if (!slash || relative[0] == '/') return arena_text(arena, relative);
    return arena_format(arena, "%.*s/%s", (int)(slash - graph_path), graph_path, relative);
}

static int graph_weights(flow_graph *graph, const struct flow_graph_options *options, struct report *report) {
    struct network *network = graph->network;
    const struct allocator *from = &graph->runtime->from;
    struct tensor_file *weights = NULL;
    const char *override = options->weights, *path = override ? override : network->weights;
    int rc = 0;
    if (options->weights_image) {
        rc = tensor_file_image(from, override ? override : "weights in memory", options->weights_image, options->weights_size, report,
                               &weights);
        return rc < 0 ? rc : weights_take_image(graph, weights, report);
    }
    if (!path || !*path) return 0;
    if (!override) path = beside(&network->arena, network->path, path);
    if (!path) return report_memory(report);
    int32_t errors = report->count;
    rc = weights_take(graph, path, !override, report);
    /* The file's own message says what is wrong with it; this one where the graph asks for it. */
    if (rc < 0 && rc != FLOW_ERROR_GRAPH && !override && report->count > errors)
        report_add(report, rc, network->weights_at, "these weights cannot be read");
    return rc;
}

/* All of its parameters get their values now, so that it does not matter which graph runs first. A graph that cannot be planned for the
 * usual extents shares what it has by then. */
static int share_from(flow_graph *graph, const flow_graph *base, struct report *report) {
    if (base->runtime != graph->runtime)
        return report_add(report, FLOW_ERROR_USAGE, (struct position){graph->network->path, 0, 0},
                          "a graph shares with graphs of its own runtime only");
    struct flow_describe_options usual = {.size = sizeof usual};
    struct instance *instance = NULL;
    struct report unheard;
    report_init(&unheard, &graph->runtime->from);
    int rc = graph_sample(base, &usual, &unheard, &instance);
    if (rc == 0) rc = model_fill(base->model, instance, &unheard, NULL);
    instance_free(instance);
    report_free(&unheard);
    if (rc == FLOW_ERROR_MEMORY) return report_memory(report);
    model_share(graph->model, base->model);
    return 0;
}

static int run_number(const flow_graph *graph, const char *key, int64_t low, int64_t high, int64_t *value, struct report *report) {
    for (size_t i = 0; i < graph->network->run_count; i++) {
        const struct network_run *run = &graph->network->run[i];
        if (strcmp(run->key, key) != 0) continue;
        if (!document_int(run->value, value) || *value < low || *value > high)
            return report_add(report, FLOW_ERROR_GRAPH, run->value->at, "'%s' must be an integer from %lld to %lld", key, (long long)low,
                              (long long)high);
    }
    return 0;
}

static int graph_build(flow_graph *graph, const char *path, const char *text, size_t length, const struct flow_graph_options *options,
                       struct report *report) {
    flow_runtime *runtime = graph->runtime;
    int rc = registry_beside(runtime->registry, path);
    if (rc < 0) return report_memory(report);
    struct network_options network = {.set = options->set, .set_count = options->set_count};
    rc = network_read(&runtime->from, runtime->registry, path, text, length, &network, report, &graph->network);
    if (!graph->network) return rc < 0 ? rc : report_memory(report);
    int64_t threads = 0;
    struct device *device;
    int code = run_number(graph, "threads", 0, 1024, &threads, report);
    if (code < 0 || (code = runtime_device(runtime, (int)threads, report, &device)) < 0) return code;
    graph->host = *device->host;
    const char *precision = flow_graph_run_option(graph, "precision");
    graph->precision = options->precision;
    if (!options->precision && precision) {
        if (strcmp(precision, "f64") == 0) graph->precision = FLOW_F64;
        if (strcmp(precision, "bf16") == 0) graph->precision = FLOW_BF16;
    }
    if (graph->precision == FLOW_BF16) graph->host.products = FLOW_BF16;
    graph->seeded = options->seeded, graph->seed = options->seed;
    if (rc < 0) {
        /* The rest of the file may hold other errors: all are told at once. */
        struct instance_options instance = graph_instance_options(graph);
        (void)!instance_check(&runtime->from, graph->network, &instance, report);
        return rc;
    }
    if (model_new(&runtime->from, device, &graph->model) < 0) return report_memory(report);
    code = options->share ? share_from(graph, options->share, report) : 0;
    return code < 0 ? code : graph_weights(graph, options, report);
}

/* What a trainer needs to read the file again. In the network's arena. */
static int keep_reading(flow_graph *graph, const char *path, const char *text, size_t length, const struct flow_graph_options *options) {
    struct arena *arena = &graph->network->arena;
    graph->path = arena_text(arena, path);
    if (text) graph->text = arena_text_n(arena, text, length), graph->text_length = length;
    graph->set = arena_array(arena, options->set_count + 1, sizeof *graph->set);
    if (!graph->path || (text && !graph->text) || !graph->set) return FLOW_ERROR_MEMORY;
    for (; graph->set_count < options->set_count; graph->set_count++)
        if (!(graph->set[graph->set_count] = arena_text(arena, options->set[graph->set_count]))) return FLOW_ERROR_MEMORY;
    return 0;
}

int flow_graph_parse(flow_runtime *runtime, const char *path, const char *text, size_t length, const struct flow_graph_options *options,
                     flow_errors **errors, flow_graph **out) {
    struct flow_graph_options given = {.size = sizeof given};
    if (options) memcpy(&given, options, options->size < sizeof given ? options->size : sizeof given);
    struct report report;
    errors_begin(&report, &runtime->from);
    *out = NULL;
    flow_graph *graph = memory_new(&runtime->from, sizeof *graph);
    if (!graph) return errors_end(&report, errors, report_memory(&report));
    graph->runtime = runtime;
    int rc = graph_build(graph, path, text, length, &given, &report);
    if (rc == 0 && graph->network->training && keep_reading(graph, path, text, length, &given) < 0) rc = report_memory(&report);
    if (rc < 0) flow_graph_free(graph);
    else *out = graph;
    return errors_end(&report, errors, rc);
}

int flow_graph_open(flow_runtime *runtime, const char *path, const struct flow_graph_options *options, flow_errors **errors,
                    flow_graph **out) {
    return flow_graph_parse(runtime, path, NULL, 0, options, errors, out);
}

void flow_graph_free(flow_graph *graph) {
    if (!graph) return;
    model_free(graph->model);
    network_free(graph->network);
    memory_free(&graph->runtime->from, graph, sizeof *graph);
}

const char *flow_graph_name(const flow_graph *graph) { return graph->network->name; }
const char *flow_graph_doc(const flow_graph *graph) { return graph->network->doc; }
size_t flow_graph_inputs(const flow_graph *graph) { return graph->network->input_count; }
size_t flow_graph_outputs(const flow_graph *graph) { return graph->network->output_count; }

struct flow_graph_port flow_graph_input(const flow_graph *graph, size_t index) {
    const struct network_input *input = &graph->network->inputs[index];
    struct flow_graph_port port = {.name = input->name, .dtype = input->dtype, .rank = input->rank};
    for (int32_t i = 0; i < input->rank && i < FLOW_RANK_MAX; i++) port.extents[i] = input->extents[i]->text;
    return port;
}

struct flow_graph_port flow_graph_output(const flow_graph *graph, size_t index) {
    return (struct flow_graph_port){.name = graph->network->outputs[index].name, .dtype = -1, .rank = -1};
}

int flow_graph_set(flow_graph *graph, const char *param, const struct flow_tensor *value, flow_errors **errors) {
    struct report report;
    errors_begin(&report, &graph->runtime->from);
    const char *name = arena_text(&graph->network->arena, param);
    int rc = name ? model_set(graph->model, name, value, false) : FLOW_ERROR_MEMORY;
    return errors_end(&report, errors, rc);
}

int flow_graph_check(flow_graph *graph, const char *stream, flow_errors **errors) {
    struct report report;
    errors_begin(&report, &graph->runtime->from);
    struct instance_options options = graph_instance_options(graph);
    options.stream = stream, options.first = stream != NULL;
    int rc = instance_check(&graph->runtime->from, graph->network, &options, &report);
    if (graph->network->training && training_ready(graph->network->training, &report) < 0 && rc == 0) rc = FLOW_ERROR_GRAPH;
    return errors_end(&report, errors, rc);
}
