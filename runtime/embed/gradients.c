/* SPDX-License-Identifier: Apache-2.0 */
#include "embed/gradients.h"
#include "grad/grad.h"

static bool is_real(const struct instance_value *v) {
    return (v->type.dtype == FLOW_F32 || v->type.dtype == FLOW_F64) && !(v->flags & FLOW_RUNNING);
}

int32_t gradients_value(const struct instance *instance, size_t index) {
    for (size_t i = 0; i < instance->network->input_count; i++)
        if (is_real(&instance->values[instance->inputs[i]]) && index-- == 0) return instance->inputs[i];
    for (size_t p = 0; p < instance->param_count; p++)
        if (is_real(&instance->values[instance->params[p]]) && index-- == 0) return instance->params[p];
    return -1;
}

static size_t count_gradients(const struct instance *instance) {
    size_t count = 0;
    while (gradients_value(instance, count) >= 0) count++;
    return count;
}

static int add_roots(struct instance *instance, const bool *given, struct grad_root *roots, size_t *count) {
    size_t outputs = instance->network->output_count;
    bool any = false;
    for (size_t o = 0; o < outputs; o++) any = any || given[o];
    for (size_t o = 0; o < outputs; o++) {
        int32_t v = instance->outputs[o];
        struct flow_tensor type = instance->values[v].type;
        if (any ? !given[o] : flow_tensor_count(&type) != 1) continue;
        int32_t cotangent = -1;
        if (any && (cotangent = grad_input(instance, instance->network->outputs[o].name, &type)) < 0) return FLOW_ERROR_MEMORY;
        roots[(*count)++] = (struct grad_root){v, 1, cotangent};
    }
    return 0;
}

int gradients_add(struct instance *instance, const bool *given, struct report *report) {
    size_t count = count_gradients(instance), root_count = 0;
    struct grad_root *roots = arena_array(&instance->arena, instance->network->output_count, sizeof *roots);
    int32_t *wants = arena_array(&instance->arena, count, sizeof *wants), *found = arena_array(&instance->arena, count, sizeof *found);
    if (!roots || !wants || !found || add_roots(instance, given, roots, &root_count) < 0) return report_memory(report);
    for (size_t g = 0; g < count; g++) wants[g] = gradients_value(instance, g);
    struct grad_pass pass = {roots, root_count, wants, count, found};
    int code = grad_differentiate(instance, &pass, 1, report);
    if (code < 0) return code;
    return grad_outputs(instance, found, count) < 0 ? report_memory(report) : 0;
}
