/* SPDX-License-Identifier: Apache-2.0 */
/* What a training step needs in memory, with `recompute` and without, for `check`. */
#include "embed/embed.h"
#include "grad/grad.h"
#include "train/group.h"

static bool trained(const struct training *training, const struct instance_value *value) {
    int32_t group = groups_owner(training, value->name);
    bool real = value->type.dtype == FLOW_F32 || value->type.dtype == FLOW_F64;
    return real && !(value->flags & FLOW_RUNNING) && group >= 0 && groups_with_gradient(&training->updates[group]);
}

static int differentiate(const struct training *training, struct instance *instance, struct report *report) {
    struct arena *arena = &instance->arena;
    struct grad_root *roots = arena_array(arena, training->loss_count, sizeof *roots);
    int32_t *wants = arena_array(arena, instance->param_count, sizeof *wants);
    int32_t *found = arena_array(arena, instance->param_count, sizeof *found);
    size_t root_count = 0, count = 0;
    if (!roots || !wants || !found) return report_memory(report);
    for (size_t l = 0; l < training->loss_count; l++)
        if (instance->refs[l] >= 0) roots[root_count++] = (struct grad_root){instance->refs[l], training->losses[l].weight, -1};
    for (size_t p = 0; p < instance->param_count; p++)
        if (trained(training, &instance->values[instance->params[p]])) wants[count++] = instance->params[p];
    struct grad_pass pass = {roots, root_count, wants, count, found};
    int rc = grad_differentiate(instance, &pass, 1, report);
    for (size_t o = 0; rc == 0 && o < instance->output_count; o++) instance->outputs[o] = -1;
    if (rc == 0 && (grad_outputs(instance, found, count) < 0 || grad_outputs(instance, instance->refs, training->loss_count) < 0))
        rc = report_memory(report);
    return rc;
}

int training_peak(flow_graph *graph, const struct instance *like, bool keep_all, struct report *report, int64_t *bytes) {
    const struct network *network = graph->network;
    const struct training *training = network->training;
    const struct allocator *from = &graph->runtime->from;
    struct flow_tensor *inputs = memory_array(from, network->input_count + 1, sizeof *inputs);
    struct network_ref *refs = memory_array(from, training->loss_count + 1, sizeof *refs);
    struct instance *instance = NULL;
    struct plan *plan = NULL;
    int rc = inputs && refs ? 0 : report_memory(report);
    if (rc == 0) {
        for (size_t i = 0; i < network->input_count; i++) inputs[i] = like->values[like->inputs[i]].type;
        for (size_t l = 0; l < training->loss_count; l++) refs[l] = training->losses[l].ref;
        struct instance_options options = graph_instance_options(graph);
        options.phase = FLOW_PHASE_TRAINING, options.differentiate = true, options.keep_all = keep_all;
        options.inputs = inputs, options.refs = refs, options.ref_count = training->loss_count;
        rc = instance_new(from, network, &options, report, &instance);
    }
    if (rc == 0) rc = differentiate(training, instance, report);
    struct plan_options options = {.streams = 1, .device = graph_device(graph), .host = &graph->host};
    if (rc == 0) rc = plan_new(from, instance, &options, report, &plan);
    if (rc == 0) *bytes = plan->bytes;
    plan_free(plan);
    instance_free(instance);
    memory_free(from, inputs, (network->input_count + 1) * sizeof *inputs);
    memory_free(from, refs, (training->loss_count + 1) * sizeof *refs);
    return rc;
}
