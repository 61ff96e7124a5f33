/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics that are no mean over batches (average precision, correlation): a subgraph of the file, run once on the values of all batches,
 * one after another along axis 0. */
#include "train/stage.h"

#include <string.h>

int pooled_open(struct stage *stage, struct validation *validation, const struct training_metric *metric, struct pooled *pooled,
                struct report *report) {
    struct trainer *trainer = stage->trainer;
    (void)validation;
    int code = stages_read_graph(trainer, stage->leaf, metric->graph, report, &pooled->network);
    if (code < 0) return code;
    const struct network *network = pooled->network;
    if (!network->output_count)
        return report_add(report, FLOW_ERROR_GRAPH, metric->at, "metric '%s': subgraph '%s' has no outputs", metric->name, metric->graph);
    pooled->output = network->outputs[0].from;
    pooled->all = arena_array(&stage->arena, metric->pair_count, sizeof *pooled->all);
    pooled->capacity = arena_array(&stage->arena, metric->pair_count, sizeof *pooled->capacity);
    pooled->input = arena_array(&stage->arena, metric->pair_count, sizeof *pooled->input);
    if (!pooled->all || !pooled->capacity || !pooled->input) return report_memory(report);
    for (size_t p = 0; p < metric->pair_count; p++) {
        pooled->input[p] = -1, pooled->all[p].rank = -1;
        for (size_t i = 0; i < network->input_count; i++)
            if (strcmp(network->inputs[i].name, metric->pairs[p].input) == 0) pooled->input[p] = (int32_t)i;
        if (pooled->input[p] < 0)
            return report_add(report, FLOW_ERROR_GRAPH, metric->at, "metric '%s': subgraph '%s' has no input '%s'", metric->name,
                              metric->graph, metric->pairs[p].input);
    }
    for (size_t i = 0; i < network->input_count; i++) {
        bool fed = false;
        for (size_t p = 0; p < metric->pair_count; p++) fed = fed || pooled->input[p] == (int32_t)i;
        if (!fed)
            return report_add(report, FLOW_ERROR_GRAPH, metric->at, "metric '%s': input '%s' of subgraph '%s' is fed by nothing",
                              metric->name, network->inputs[i].name, metric->graph);
    }
    struct program_options program = stage_program(trainer, network, FLOW_PHASE_INFERENCE);
    program.streams = 1, program.refs = &pooled->output, program.ref_count = 1;
    return program_new(&program, report, &pooled->program);
}

void pooled_close(struct stage *stage, struct pooled *pooled, size_t pairs) {
    for (size_t p = 0; pooled->all && pooled->capacity && p < pairs; p++)
        if (pooled->capacity[p]) memory_free(stage->trainer->from, pooled->all[p].data, pooled->capacity[p]);
    program_free(pooled->program);
    network_free(pooled->network);
}

int pooled_add(struct stage *stage, struct pooled *pooled, size_t pair, const struct flow_tensor *value, bool first,
               const struct training_metric *metric, struct report *report) {
    struct flow_tensor *all = &pooled->all[pair];
    int64_t bytes, held = 0, total;
    if (value->rank < 1)
        return report_add(report, FLOW_ERROR_SHAPE, metric->at, "metric '%s': '%s' is a scalar, expected rows along axis 0", metric->name,
                          metric->pairs[pair].input);
    if (!plan_bytes(value, &bytes)) return report_memory(report);
    if (first) {
        void *data = all->data;
        *all = plan_packed_type(value);
        all->data = data, all->shape[0] = 0;
    }
    for (int32_t a = 1; a < value->rank; a++)
        if (value->rank != all->rank || value->shape[a] != all->shape[a])
            return report_add(report, FLOW_ERROR_SHAPE, metric->at, "metric '%s': '%s' has other extents in one batch than in another",
                              metric->name, metric->pairs[pair].input);
    struct flow_tensor before = *all;
    if (!plan_bytes(&before, &held) || !size_add(held, bytes, &total)) return report_memory(report);
    if (memory_grow(stage->trainer->from, &all->data, &pooled->capacity[pair], (size_t)total + 1, 1) < 0) return report_memory(report);
    if (bytes) memcpy((char *)all->data + held, value->data, (size_t)bytes);
    all->shape[0] += value->shape[0];
    return 0;
}

int pooled_run(struct pooled *pooled, const struct training_metric *metric, struct report *report, const struct flow_tensor **value) {
    struct flow_tensor inputs[64];
    if (metric->pair_count > sizeof inputs / sizeof *inputs)
        return report_add(report, FLOW_ERROR_RANGE, metric->at, "metric '%s' has more than 64 inputs", metric->name);
    for (size_t p = 0; p < metric->pair_count; p++) {
        struct flow_tensor all = pooled->all[p];
        struct flow_tensor packed = plan_packed_type(&all);
        packed.data = all.data;
        inputs[pooled->input[p]] = packed;
    }
    int code = program_run(pooled->program, inputs, 0, report);
    *value = code == 0 ? program_value(pooled->program, 0) : NULL;
    return code;
}
