/* SPDX-License-Identifier: Apache-2.0 */
/* What `check` prints: shapes of inputs and outputs, parameters, states and delays, the plan. */
#include "embed/embed.h"
#include "graph/training.h"
#include "embed/text_out.h"

#include <string.h>

/* Extents for a memory plan where the caller named none: one row, and lengths that most front ends accept. */
static const int64_t usual_lengths[] = {1000, 16000, 960, 64, 7};

static bool symbol_named(const struct flow_describe_options *options, const char *symbol) {
    size_t length = strlen(symbol);
    for (size_t i = 0; i < options->extent_count; i++)
        if (strncmp(options->extents[i], symbol, length) == 0 && options->extents[i][length] == '=') return true;
    return false;
}

static bool input_has_symbol(const struct network *network, const char *symbol) {
    for (size_t i = 0; i < network->input_count; i++)
        for (int32_t axis = 0; axis < network->inputs[i].rank; axis++)
            if (strcmp(network->inputs[i].extents[axis]->text, symbol) == 0) return true;
    return false;
}

static int describe_instance(const flow_graph *graph, const struct network *network, const struct flow_describe_options *options,
                             int64_t length, struct report *report, struct instance **out) {
    const struct allocator *from = &graph->runtime->from;
    size_t count = options->extent_count;
    const char **extents = memory_array(from, count + 1, sizeof *extents);
    struct flow_tensor *inputs = memory_array(from, network->input_count, sizeof *inputs);
    int rc = extents && inputs ? 0 : report_memory(report);
    if (rc == 0) {
        for (size_t i = 0; i < count; i++) extents[i] = options->extents[i];
        if (!symbol_named(options, "B") && input_has_symbol(network, "B")) extents[count++] = "B=1";
        rc = instance_inputs(network, extents, count, length, graph->precision, report, inputs);
    }
    if (rc == 0) {
        struct instance_options instance = graph_instance_options(graph);
        instance.inputs = inputs, instance.stream = options->stream, instance.first = options->stream != NULL;
        rc = instance_new(from, network, &instance, report, out);
    }
    memory_free(from, inputs, network->input_count * sizeof *inputs);
    memory_free(from, extents, (options->extent_count + 1) * sizeof *extents);
    return rc;
}

int graph_sample_of(const flow_graph *graph, const struct network *network, const struct flow_describe_options *options,
                    struct report *report, struct instance **out) {
    int rc = -1;
    for (size_t i = 0; rc < 0 && i < sizeof usual_lengths / sizeof *usual_lengths; i++) {
        errors_again(report);
        rc = describe_instance(graph, network, options, usual_lengths[i], report, out);
    }
    return rc;
}

int graph_sample(const flow_graph *graph, const struct flow_describe_options *options, struct report *report, struct instance **out) {
    return graph_sample_of(graph, graph->network, options, report, out);
}

static void print_shape(struct text *text, const struct flow_tensor *type) {
    text_format(text, "%s [", dtype_name(type->dtype));
    for (int32_t i = 0; i < type->rank; i++) text_format(text, "%s%lld", i ? ", " : "", (long long)type->shape[i]);
    text_put(text, "]");
}

static void describe_ports(const flow_graph *graph, const struct instance *instance, const struct instance_options *options,
                           struct text *text) {
    const struct network *network = graph->network;
    for (size_t side = 0; side < 2; side++) {
        size_t count = side ? network->output_count : network->input_count;
        const int32_t *values = side ? instance->outputs : instance->inputs;
        for (size_t i = 0; i < count; i++) {
            const struct instance_value *value = &instance->values[values[i]];
            text_format(text, "%-7s %-24s ", side ? "output" : "input", side ? network->outputs[i].name : network->inputs[i].name);
            print_shape(text, &value->type);
            text_put(text, "  ");
            if (instance_symbols(&graph->runtime->from, network, options, instance, values[i], text) < 0) text->failed = true;
            text_put(text, value->dynamic ? "  (axis 0 at most)\n" : "\n");
        }
    }
}

static void describe_stream(const struct instance *instance, const char *stream, struct text *text) {
    int64_t bytes = 0;
    text_format(text, "streams along %s:\n", stream);
    for (size_t i = 0; i < instance->node_count; i++) {
        const struct instance_node *node = &instance->nodes[i];
        if (!node->streaming || (!node->state_count && !node->infer.delay)) continue;
        text_format(text, "  %-28s", node->source ? node->source->path : "(align)");
        for (int32_t s = node->state; s < node->state + node->state_count; s++) {
            const struct instance_state *state = &instance->states[s];
            int64_t size = flow_tensor_count(&state->out) * dtype_bytes(state->out.dtype);
            bytes += size;
            text_format(text, " %s ", state->about ? state->about->name : state->name);
            print_shape(text, &state->out);
            text_format(text, " %lld bytes", (long long)size);
        }
        if (node->infer.delay) text_format(text, "  delay %lld", (long long)node->infer.delay);
        text_put(text, "\n");
    }
    text_format(text, "  state after the first piece: %lld bytes\n", (long long)bytes);
}

static void describe_unused(const struct network *network, struct text *text) {
    for (size_t i = 0; i < network->unused_count; i++) {
        const struct network_unused *unused = &network->unused[i];
        text_format(text, "unused: %s %s, line %d\n", unused->graph ? "subgraph" : "node", unused->name, unused->at.line);
    }
}

static void describe_text(const flow_graph *graph, const struct instance *instance, const struct plan *plan,
                          const struct flow_describe_options *options, struct text *text) {
    struct instance_options symbols = graph_instance_options(graph);
    symbols.stream = options->stream, symbols.first = options->stream != NULL;
    int64_t params = 0;
    for (size_t i = 0; i < instance->param_count; i++) params += flow_tensor_count(&instance->values[instance->params[i]].type);
    text_format(text, "graph %s: %zu nodes, %zu parameters (%lld numbers)\n",
                graph->network->name ? graph->network->name : graph->network->path, instance->node_count, instance->param_count,
                (long long)params);
    describe_ports(graph, instance, &symbols, text);
    if (options->stream) describe_stream(instance, options->stream, text);
    plan_describe(plan, options->verbose ? PLAN_VERBOSE : PLAN_TEXT, text);
    describe_unused(graph->network, text);
}

/* A training that is one stage; streamed pieces are not trained on. */
static int describe_peak(flow_graph *graph, const struct instance *instance, const struct flow_describe_options *options,
                         struct report *report, struct text *text) {
    const struct training *training = graph->network->training;
    if (!training || training->stage_count || !training->loss_count || training->missing || options->stream) return 0;
    int64_t bytes = 0, all = 0;
    int rc = training_peak(graph, instance, false, report, &bytes);
    bool again = graph->network->segment_count > 0;
    if (rc == 0 && again) rc = training_peak(graph, instance, true, report, &all);
    if (rc < 0) return rc;
    if (options->json) text_format(text, ", \"training_arena\": %lld", (long long)bytes);
    else text_format(text, "arena of a training step on these extents: %lld bytes", (long long)bytes);
    if (again && options->json) text_format(text, ", \"training_arena_without_recompute\": %lld", (long long)all);
    else if (again) text_format(text, "; without `recompute` %lld bytes", (long long)all);
    if (!options->json) text_put(text, "\n");
    return 0;
}

/* The plan's object with two members more. */
static int describe_json(flow_graph *graph, const struct instance *instance, const struct plan *plan,
                         const struct flow_describe_options *options, struct report *report, struct text *text) {
    plan_describe(plan, PLAN_JSON, text);
    while (text->length && text->at[text->length - 1] != '}') text->length--;
    if (text->length) text->length--;
    text_put(text, ", \"unused\": [");
    for (size_t i = 0; i < graph->network->unused_count; i++) {
        const struct network_unused *unused = &graph->network->unused[i];
        text_put(text, i ? ", {\"" : "{\"");
        text_put(text, unused->graph ? "graph\": " : "node\": ");
        text_json(text, unused->name);
        text_format(text, ", \"line\": %d, \"column\": %d}", unused->at.line, unused->at.column);
    }
    text_put(text, "]");
    int rc = 0;
    if (graph->network->training) {
        text_put(text, ", \"training\": ");
        rc = training_describe(graph, options, report, text);
        if (rc == 0) rc = describe_peak(graph, instance, options, report, text);
    }
    text_put(text, "}\n");
    return rc;
}

int flow_graph_describe(flow_graph *graph, const struct flow_describe_options *options, flow_errors **errors, char **out) {
    struct flow_describe_options given = {.size = sizeof given};
    if (options) memcpy(&given, options, options->size < sizeof given ? options->size : sizeof given);
    const struct allocator *from = &graph->runtime->from;
    struct report report;
    errors_begin(&report, from);
    *out = NULL;
    struct instance *instance = NULL;
    int rc = graph_sample(graph, &given, &report, &instance);
    if (rc < 0) return errors_end(&report, errors, rc);
    struct plan_options options_of_plan = {
        .streams = given.streams > 0 ? given.streams : 1, .device = graph_device(graph), .host = &graph->host};
    struct plan *plan = NULL;
    rc = plan_new(from, instance, &options_of_plan, &report, &plan);
    if (rc == 0) {
        struct text text;
        text_init(&text, from);
        if (given.json) {
            rc = describe_json(graph, instance, plan, &given, &report, &text);
        } else {
            describe_text(graph, instance, plan, &given, &text);
            if (graph->network->training) rc = training_describe(graph, &given, &report, &text);
            if (rc == 0) rc = describe_peak(graph, instance, &given, &report, &text);
        }
        if (rc == 0) *out = text_out(&text);
        if (rc == 0 && !*out) rc = report_memory(&report);
        text_free(&text);
    }
    plan_free(plan);
    instance_free(instance);
    return errors_end(&report, errors, rc);
}
