/* SPDX-License-Identifier: Apache-2.0 */
/* Draws a graph with the shapes that its symbols give. */
#include "graph/draw.h"

#include "embed/embed.h"
#include "embed/text_out.h"

#include <string.h>

/* The shape of every node's first output and of every input, in the graph's symbols. */
static int fill_labels(flow_graph *graph, const struct instance *instance, struct arena *arena, const char **shape) {
    const struct network *network = graph->network;
    struct instance_options options = graph_instance_options(graph);
    struct text text;
    text_init(&text, &graph->runtime->from);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < network->input_count + instance->node_count; i++) {
        bool input = i < network->input_count;
        const struct instance_node *node = input ? NULL : &instance->nodes[i - network->input_count];
        int32_t value = input ? instance->inputs[i] : node->out_count ? node->out[0] : -1;
        if (value < 0 || (node && !node->source)) continue;
        size_t place = input ? network->node_count + i : (size_t)(node->source - network->nodes);
        text.length = 0;
        rc = instance_symbols(&graph->runtime->from, network, &options, instance, value, &text);
        if (rc == 0 && !text.failed) shape[place] = arena_text_n(arena, text.at, text.length);
    }
    text_free(&text);
    return rc;
}

int flow_graph_draw(flow_graph *graph, const char *format, flow_errors **errors, char **out) {
    static const char *const names[] = {"svg", "dot", "mermaid"};
    const struct allocator *from = &graph->runtime->from;
    struct report report;
    errors_begin(&report, from);
    *out = NULL;
    int chosen = -1;
    for (int i = 0; i < 3; i++)
        if (strcmp(format, names[i]) == 0) chosen = i;
    if (chosen < 0)
        return errors_end(
            &report, errors,
            report_add(&report, FLOW_ERROR_USAGE, (struct position){0}, "there is no format '%s'; there are svg, dot and mermaid", format));
    struct arena arena;
    arena_init(&arena, from);
    struct instance *instance = NULL;
    struct text text;
    text_init(&text, from);
    size_t count = graph->network->node_count + graph->network->input_count;
    const char **shape = arena_array(&arena, count, sizeof *shape);
    int rc = shape ? graph_sample(graph, &(struct flow_describe_options){.size = sizeof(struct flow_describe_options)}, &report, &instance)
                   : report_memory(&report);
    if (rc == 0) rc = fill_labels(graph, instance, &arena, shape);
    if (rc == 0) rc = draw_network(from, graph->network, &(struct draw_labels){shape, count}, (enum draw_format)chosen, &text);
    if (rc == 0 && !(*out = text_out(&text))) rc = FLOW_ERROR_MEMORY;
    text_free(&text);
    instance_free(instance);
    arena_free(&arena);
    return errors_end(&report, errors, rc);
}
