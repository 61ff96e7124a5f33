/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs go to buffers of the context, or straight to memory that the caller bound: kernels write either in row-major order. A checked
 * context keeps its guarded buffers and copies. */
#include "exec/context.h"

#include <string.h>

static const struct exec_given *given_of(const struct context *context, size_t output) {
    return output < context->given_count && context->given[output].data ? &context->given[output] : NULL;
}

void *outputs_data(const struct context *context, int32_t output) {
    const struct exec_given *given = context->checked || context->apart ? NULL : given_of(context, (size_t)output);
    return given ? given->data : context->outputs[output].data;
}

static bool overlap(const void *a, int64_t a_bytes, const void *b, int64_t b_bytes) {
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return a_bytes > 0 && b_bytes > 0 && x < y + (uintptr_t)b_bytes && y < x + (uintptr_t)a_bytes;
}

/* The bytes between the lowest and the highest element of a tensor of any strides. */
static void reach(const struct flow_tensor *t, const char **from, int64_t *bytes) {
    int64_t low = 0, high = 0, size = dtype_bytes(t->dtype);
    bool empty = false;
    for (int32_t a = 0; a < t->rank; a++) {
        int64_t last = (t->shape[a] - 1) * t->strides[a];
        if (t->shape[a] == 0) empty = true;
        else if (last < 0) low += last;
        else high += last;
    }
    *from = (const char *)t->data + low * size;
    *bytes = empty ? 0 : (high - low + 1) * size;
}

/* An output is written while inputs and other outputs are still read. */
static int check_apart(const struct binding *binding, size_t output, int64_t bytes, const struct flow_tensor *inputs,
                       struct report *report) {
    const struct context *context = binding->context;
    const struct instance *instance = binding->plan->instance;
    const struct network_output *about = &instance->network->outputs[output];
    const struct exec_given *given = given_of(context, output);
    for (size_t i = 0; i < instance->input_count; i++) {
        const char *from;
        int64_t reached;
        reach(&inputs[i], &from, &reached);
        if (overlap(given->data, bytes, from, reached))
            return report_add(report, FLOW_ERROR_USAGE, about->at, "output '%s': the memory bound to it overlaps input '%s'", about->name,
                              instance->values[instance->inputs[i]].name);
    }
    for (size_t o = 0; o < output; o++) {
        const struct exec_given *other = given_of(context, o);
        int64_t others;
        if (other && plan_bytes(&binding->plan->outputs[o].type, &others) && overlap(given->data, bytes, other->data, others))
            return report_add(report, FLOW_ERROR_USAGE, about->at, "output '%s': the memory bound to it overlaps that of output '%s'",
                              about->name, instance->network->outputs[o].name);
    }
    return 0;
}

static int check_given(const struct binding *binding, size_t output, int64_t bytes, const struct flow_tensor *inputs,
                       struct report *report) {
    const struct exec_given *given = given_of(binding->context, output);
    const struct network_output *about = &binding->plan->instance->network->outputs[output];
    int32_t dtype = binding->plan->outputs[output].type.dtype;
    if (given->bytes < bytes)
        return report_add(report, FLOW_ERROR_RANGE, about->at, "output '%s' takes %lld bytes, the memory bound to it has %lld", about->name,
                          (long long)bytes, (long long)given->bytes);
    if ((uintptr_t)given->data % (uintptr_t)dtype_bytes(dtype) != 0)
        return report_add(report, FLOW_ERROR_USAGE, about->at, "output '%s': the memory bound to it is not aligned for %s", about->name,
                          dtype_name(dtype));
    return check_apart(binding, output, bytes, inputs, report);
}

int outputs_begin(struct binding *binding, const struct flow_tensor *inputs, struct report *report) {
    struct context *context = binding->context;
    const struct plan *plan = binding->plan;
    if (context->given_count == 0) return 0;
    for (size_t o = 0; o < plan->instance->network->output_count; o++) {
        int64_t bytes;
        int code = 0;
        if (plan->outputs[o].place == PLACE_NONE || !plan_bytes(&plan->outputs[o].type, &bytes)) continue;
        if (given_of(context, o)) code = check_given(binding, o, bytes, inputs, report);
        else if (context_room(context, &context->outputs[o], bytes) < 0) code = report_memory(report); /* it was bound before */
        if (code < 0) return code;
    }
    return 0;
}

void outputs_end(struct binding *binding) {
    const struct plan *plan = binding->plan;
    const struct context *context = binding->context;
    for (size_t o = 0; o < plan->instance->output_count; o++) {
        struct flow_tensor *output = &binding->outputs[o];
        output->data = outputs_data(context, (int32_t)o);
        output->device = context->device->api->kind;
        if (plan->dynamic[o]) output->shape[0] = binding->records[plan->dynamic[o] - 1].call.out[plan->dynamic_row[o]].shape[0];
        if (context->apart && o < plan->instance->network->output_count) { /* brought: apart.c */
            const struct exec_given *bound = given_of(context, o);
            output->data = bound ? bound->data : o < context->mirror_count ? context->mirrors[o].data : NULL;
            output->device = FLOW_DEVICE_CPU;
            continue;
        }
        const struct exec_given *given = context->checked ? given_of(context, o) : NULL;
        int64_t bytes;
        if (!given || !plan_bytes(output, &bytes)) continue;
        if (bytes) memcpy(given->data, output->data, (size_t)bytes);
        output->data = given->data;
    }
}
