/* SPDX-License-Identifier: Apache-2.0 */
/* What is computed when a plan is bound: values that are the same in every run, and prepared parameters. Steps stand in order, so a
 * prepared block is made right before the first step that reads it. */
#include "exec/context.h"

static int pack(struct binding *binding, size_t s) {
    struct record *record = &binding->records[s];
    const struct plan_step *step = record->step;
    if (step->packed < 0) return 0;
    const struct flow_operator *op = binding->plan->instance->nodes[step->node].entry->op;
    return model_packed(binding->context->model, &binding->plan->packed[step->packed], op->prepare, &record->call);
}

static int compute(struct binding *binding, char *arena, struct record **at) {
    for (size_t g = 0; g < binding->group_count; g++)
        if (binding->groups[g].place == PLACE_ARENA) binding_point(binding, &binding->groups[g], arena);
    for (size_t s = 0; s < binding->count; s++) {
        *at = &binding->records[s];
        int code = pack(binding, s);
        if (code == 0 && s < binding->once_count) code = record_run(*at);
        if (code < 0) return code;
        struct loop_binding *loop = binding->loops[s];
        if (loop && (code = compute(loop->body, binding->records[s].call.workspace, at)) < 0) return code;
    }
    return 0;
}

int binding_once(struct binding *binding, struct report *report) {
    struct context *context = binding->context;
    struct record *record = NULL;
    int code = compute(binding, context->arena.data, &record);
    for (size_t k = 0; context->apart && k < context->stream_count; k++) { /* what was queued is done */
        int stopped = context->apart->synchronize(context->streams[k]);
        if (code == 0) code = stopped;
    }
    if (code == 0) return 0;
    if (code == FLOW_ERROR_MEMORY && !atomic_load(&context->failed)) return report_memory(report);
    if (!context->culprit) context->culprit = record;
    return context_report(context, code, report);
}
