/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes run at all, which give the same in every run, which kernels they use. */
#include "plan/build.h"

#include <string.h>

/* Every output that exists is a view: nothing to compute. */
static bool views_alone(const struct instance *instance, const struct instance_node *node) {
    for (uint32_t k = 0; k < node->out_count; k++)
        if (node->out[k] >= 0 && instance->values[node->out[k]].type.rank >= 0 && instance->values[node->out[k]].view_of < 0) return false;
    return true;
}

/* Marks what `value` needs; nodes newly marked go on the stack. A view needs the node of its owner alone. */
static void need(struct plan_build *build, int32_t value, int32_t *stack, size_t *depth, bool *fed) {
    while (value >= 0) {
        const struct instance_value *owner = plan_owner(build->instance, value);
        if (owner->kind == VALUE_NODE) {
            if (!build->needed[owner->node]) build->needed[owner->node] = true, stack[(*depth)++] = owner->node;
            return;
        }
        if (owner->kind != VALUE_FEED || fed[owner - build->instance->values]) return;
        fed[owner - build->instance->values] = true;
        value = owner->feed;
    }
}

/* A backward node reads outputs of its forward node, and what that, or its repetition, has saved. */
static void need_backward(struct plan_build *build, const struct instance_node *node, int32_t *stack, size_t *depth, bool *fed) {
    const struct instance_backward *backward = node->backward;
    if (!backward) return;
    const struct instance_node *of = &build->instance->nodes[backward->of];
    for (uint32_t k = 0; k < of->out_count; k++) need(build, backward->read[k], stack, depth, fed);
    build->differentiated[backward->of] = build->differentiated[backward->saved_of] = true;
    if ((of->infer.saved <= 0 && of->source->kind != NETWORK_LOOP) || build->needed[backward->saved_of]) return;
    build->needed[backward->saved_of] = true, stack[(*depth)++] = backward->saved_of;
}

static int mark_needed(struct plan_build *build) {
    const struct instance *instance = build->instance;
    int32_t *stack = arena_array(&build->scratch, instance->node_count, sizeof *stack);
    bool *fed = arena_array(&build->scratch, instance->value_count, sizeof *fed);
    if (!stack || !fed) return report_memory(build->report);
    size_t depth = 0;
    for (size_t n = 0; n < instance->node_count; n++)
        if (instance->nodes[n].role > NODE_AGAIN) build->needed[n] = true, stack[depth++] = (int32_t)n;
    for (size_t o = 0; o < instance->output_count; o++) need(build, instance->outputs[o], stack, &depth, fed);
    while (depth) {
        const struct instance_node *node = &instance->nodes[stack[--depth]];
        need_backward(build, node, stack, &depth, fed);
        for (uint32_t i = 0; i < node->in_count; i++) need(build, node->in[i], stack, &depth, fed);
        for (uint32_t i = 0; i < node->param_count; i++) need(build, node->param[i], stack, &depth, fed);
    }
    int32_t number = 0;
    for (size_t v = 0; v < instance->value_count; v++) {
        build->feed[v] = -1;
        if (instance->values[v].kind != VALUE_FEED) continue;
        if (build->body)
            return report_add(build->report, FLOW_ERROR_UNSUPPORTED, (struct position){instance->network->path, 0, 0},
                              "'%s' carries a state from run to run inside a loop: use `carry`", instance->values[v].name);
        build->feed[v] = fed[v] ? number : -1;
        number++;
    }
    return 0;
}

static bool constant_value(const struct plan_build *build, int32_t value) {
    const struct instance_value *owner = plan_owner(build->instance, value);
    return owner->kind == VALUE_PARAM || (owner->kind == VALUE_NODE && build->constant[owner->node]);
}

/* Only the values of parameters and of operators that say so are the same in every run; nodes stand in order, so one pass is enough. */
static void mark_constant(struct plan_build *build) {
    const struct instance *instance = build->instance;
    if (plan_changing(build)) return;
    for (size_t n = 0; n < instance->node_count; n++) {
        const struct instance_node *node = &instance->nodes[n];
        if (!build->needed[n] || node->role != NODE_FORWARD || node->source->kind == NETWORK_LOOP || node->streaming || node->state_count)
            continue;
        uint32_t flags = node->entry ? node->entry->op->flags : 0, inputs = 0;
        bool constant = !(flags & FLOW_OP_RANDOM);
        for (uint32_t i = 0; i < node->in_count; i++)
            if (node->in[i] >= 0) constant = constant && constant_value(build, node->in[i]), inputs++;
        for (uint32_t i = 0; i < node->param_count; i++)
            if (node->param[i] >= 0) constant = constant && constant_value(build, node->param[i]);
        bool source = !inputs && node->source->kind == NETWORK_OPERATOR;
        build->constant[n] = constant && (!source || (flags & FLOW_OP_VALUE));
    }
}

static int no_kernel(struct plan_build *build, const struct instance_node *node) {
    struct text types;
    text_init(&types, &memory_default);
    for (int32_t t = 0; t < FLOW_TYPE_COUNT; t++)
        for (uint32_t k = 0; k < node->entry->kernel_count; k++)
            if (node->entry->kernels[k].device == build->options->device && node->entry->kernels[k].types >> t & 1u) {
                text_format(&types, "%s%s", types.length ? ", " : "", dtype_name(t));
                break;
            }
    const char *device = build->options->device == FLOW_DEVICE_CPU ? "the CPU" : "CUDA";
    int code = report_add(build->report, FLOW_ERROR_UNSUPPORTED, node->source->op_at,
                          "node '%s': operator '%s' has no kernel for %s and this shape on %s (types it has there: %s)", node->source->path,
                          node->entry->op->name, dtype_name(node->dtype), device, types.length ? types.at : "none");
    text_free(&types);
    return code;
}

/* An extent that a kernel writes is known after the run only: no node may compute with it. */
static int check_dynamic(struct plan_build *build, const struct instance_node *node) {
    const struct instance *instance = build->instance;
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] < 0 || !plan_owner(instance, node->in[i])->dynamic) continue;
        struct position at = i < node->source->in_count ? node->source->in[i].at : node->source->op_at;
        return report_add(
            build->report, FLOW_ERROR_UNSUPPORTED, at,
            "node '%s': how many rows '%s' has is known after the run only, so it can be an output of the graph, not an input",
            node->source->path, instance->values[node->in[i]].name);
    }
    return 0;
}

static int select_node(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    int code = check_dynamic(build, node);
    if (code < 0 || node->role > NODE_BACKWARD) return code;
    if (node->source->kind == NETWORK_LOOP) return plan_loop_body(build, n);
    if (node->source->kind == NETWORK_PARAMETERS) return 0;
    bool backward = build->differentiated[n] || node->role == NODE_BACKWARD;
    if (build->body && node->state_count)
        return report_add(build->report, FLOW_ERROR_UNSUPPORTED, node->source->op_at, "node '%s': a loop's body cannot be streamed",
                          node->source->path);
    if (!node->entry)
        return report_add(build->report, FLOW_ERROR_INTERNAL, node->source->op_at, "node '%s' is neither a view nor an operator",
                          node->source->path);
    const int32_t device = node->hosted ? FLOW_DEVICE_CPU : build->options->device, isa = build->options->host->isa;
    const struct flow_kernel *kernel =
        (backward ? registry_kernel_backward : registry_kernel)(node->entry, device, node->dtype, isa, &node->infer);
    if (!kernel && backward && registry_kernel(node->entry, device, node->dtype, isa, &node->infer))
        return report_add(build->report, FLOW_ERROR_UNSUPPORTED, node->source->op_at,
                          "node '%s': operator '%s' has no backward: no gradient can flow through it (cut it off with stop_gradient, or "
                          "freeze what lies before it)",
                          node->source->path, node->entry->op->name);
    if (!kernel) return no_kernel(build, node);
    build->kernels[n] = kernel;
    build->wide[n] = plan_half(node->dtype) && !(kernel->types >> node->dtype & 1u);
    return 0;
}

int plan_select(struct plan_build *build) {
    const struct instance *instance = build->instance;
    int code = mark_needed(build), failed = 0;
    if (code < 0) return code;
    for (size_t p = 0; p < instance->param_count; p++) build->param[instance->params[p]] = (int32_t)p;
    mark_constant(build);
    for (size_t n = 0; n < instance->node_count; n++) {
        if (!build->needed[n]) continue;
        if (instance->nodes[n].role <= NODE_AGAIN && views_alone(instance, &instance->nodes[n])) {
            build->needed[n] = false;
            continue;
        }
        code = select_node(build, (int32_t)n);
        if (code == FLOW_ERROR_MEMORY) return code;
        if (code < 0 && !failed) failed = code; /* the others' errors are worth telling, too */
    }
    return failed;
}
