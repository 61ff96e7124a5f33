/* SPDX-License-Identifier: Apache-2.0 */
/* Draws a graph with the shapes that its symbols give and the streams that its plan has. */
#include "graph/draw.h"

#include "embed/embed.h"
#include "embed/text_out.h"

#include <string.h>

static int fill_shapes(const struct instance_samples *samples, const struct instance *instance, struct arena *arena,
                       struct draw_shapes **list) {
    const char **shape = arena_array(arena, instance->value_count + 1, sizeof *shape);
    struct draw_shapes *shapes = arena_new(arena, sizeof *shapes);
    if (!shape || !shapes) return FLOW_ERROR_MEMORY;
    *shapes = (struct draw_shapes){*list, instance, shape};
    *list = shapes;
    struct text text;
    text_init(&text, arena->from);
    int rc = 0;
    for (size_t v = 0; rc == 0 && v < instance->value_count; v++) {
        text.length = 0;
        instance_samples_shape(samples, instance, (int32_t)v, &text);
        if (!text.failed && text.length) shape[v] = arena_text_n(arena, text.at, text.length);
        if (text.failed || (text.length && !shape[v])) rc = FLOW_ERROR_MEMORY;
    }
    text_free(&text);
    for (size_t i = 0; rc == 0 && i < instance->node_count; i++) {
        if (!instance->nodes[i].body || instance->nodes[i].role != NODE_FORWARD) continue;
        struct instance_samples *body;
        rc = instance_samples_body(samples, i, &body);
        if (rc == 0) rc = fill_shapes(body, instance->nodes[i].body, arena, list);
        instance_samples_free(body);
    }
    return rc;
}

/* The stream of each node's step; -1: it has none (a view). */
static int fill_streams(flow_graph *graph, const struct instance *instance, int32_t streams, struct report *report, struct arena *arena,
                        struct draw_options *options) {
    struct plan *plan = NULL;
    struct plan_options of_plan = {.streams = streams > 0 ? streams : 1, .device = graph_device(graph), .host = &graph->host};
    int32_t *stream = arena_array(arena, graph->network->node_count + 1, sizeof *stream);
    int rc = stream ? plan_new(&graph->runtime->from, instance, &of_plan, report, &plan) : report_memory(report);
    if (rc < 0) return rc;
    for (size_t i = 0; i < graph->network->node_count; i++) stream[i] = -1;
    for (size_t s = 0; s < plan->step_count; s++) {
        const struct plan_step *step = &plan->steps[s];
        const struct network_node *source = step->node >= 0 ? instance->nodes[step->node].source : NULL;
        bool known = source && source >= graph->network->nodes && source < graph->network->nodes + graph->network->node_count;
        if (known && (step->kind == PLAN_KERNEL || step->kind == PLAN_LOOP || step->kind == PLAN_GATHER))
            stream[source - graph->network->nodes] = step->stream;
    }
    options->stream = stream, options->stream_count = plan->stream_count, options->device = "cpu";
    plan_free(plan);
    return 0;
}

static int fill(flow_graph *graph, const struct flow_draw_options *given, struct report *report, struct arena *arena,
                struct draw_options *options, struct instance **out) {
    struct flow_describe_options describe = {
        .size = sizeof describe, .stream = given->stream, .extents = given->extents, .extent_count = given->extent_count};
    struct instance_samples *samples = NULL;
    struct draw_shapes *shapes = NULL;
    int rc = graph_sample(graph, &describe, report, out);
    if (rc < 0) return rc;
    options->instance = *out;
    struct instance_options sampled = graph_instance_options(graph);
    sampled.stream = given->stream, sampled.first = given->stream != NULL;
    /* Named extents are shown as they are: the plan is one of these numbers. */
    if (!given->extent_count) rc = instance_samples_new(&graph->runtime->from, graph->network, &sampled, &samples);
    if (rc == 0 && samples) rc = fill_shapes(samples, *out, arena, &shapes);
    instance_samples_free(samples);
    options->shapes = shapes;
    /* With one there is nothing to tell apart, and a drawing does not depend on the machine's kernels. */
    if (rc == 0 && given->streams > 1) rc = fill_streams(graph, *out, given->streams, report, arena, options);
    struct draw_time *times = arena_array(arena, given->time_count + 1, sizeof *times);
    if (rc == 0 && !times) rc = FLOW_ERROR_MEMORY;
    for (size_t t = 0; rc == 0 && t < given->time_count; t++) times[t] = (struct draw_time){given->times[t].node, given->times[t].seconds};
    options->times = times, options->time_count = given->time_count;
    return rc == FLOW_ERROR_MEMORY && !report->count ? report_memory(report) : rc;
}

int flow_graph_draw_as(flow_graph *graph, const struct flow_draw_options *asked, flow_errors **errors, char **out) {
    static const char *const names[] = {"svg", "dot", "mermaid", "json"};
    const struct allocator *from = &graph->runtime->from;
    struct flow_draw_options given = {.size = sizeof given};
    if (asked) memcpy(&given, asked, asked->size < sizeof given ? asked->size : sizeof given);
    const char *format = given.format ? given.format : "svg";
    struct report report;
    errors_begin(&report, from);
    *out = NULL;
    int chosen = -1;
    for (int i = 0; i < 4; i++)
        if (strcmp(format, names[i]) == 0) chosen = i;
    if (chosen < 0)
        return errors_end(&report, errors,
                          report_add(&report, FLOW_ERROR_USAGE, (struct position){0},
                                     "there is no format '%.60s'; there are svg, dot, mermaid and json", format));
    struct arena arena;
    struct instance *instance = NULL;
    struct text text;
    struct draw_options options = {.format = (enum draw_format)chosen, .depth = given.depth, .unfold = given.unfold};
    arena_init(&arena, from);
    text_init(&text, from);
    int rc = fill(graph, &given, &report, &arena, &options, &instance);
    if (rc == 0) {
        rc = draw_network(from, graph->network, &options, &text);
        if (rc == FLOW_ERROR_UNSUPPORTED)
            report_add(&report, rc, (struct position){0},
                       "the graph is too large to draw: more than %d nodes stand in no subgraph that could be drawn closed",
                       DRAW_NODES_MOST);
        else if (rc < 0 || !(*out = text_out(&text))) rc = report_memory(&report);
    }
    text_free(&text);
    instance_free(instance);
    arena_free(&arena);
    return errors_end(&report, errors, rc);
}

int flow_graph_draw(flow_graph *graph, const char *format, flow_errors **errors, char **out) {
    return flow_graph_draw_as(graph, &(struct flow_draw_options){.size = sizeof(struct flow_draw_options), .format = format}, errors, out);
}
