/* SPDX-License-Identifier: Apache-2.0 */
/* A node that the device has no kernel for runs on the CPU: its tensors are brought to memory of the host, the kernel of the CPU is called,
 * its results are brought back. The same call with other addresses, so that whatever an operator may do, it may do here. */
#include "exec/context.h"

#include <string.h>

/* One tensor, there and here. */
struct hosted_tensor {
    const struct flow_tensor *there; /* of the record's call */
    struct flow_tensor *here;
    struct buffer memory;
    bool read, written;
};

struct hosted {
    int (*kernel)(const struct flow_call *call);
    struct flow_call call;
    struct hosted_tensor *tensors;
    size_t count;
    struct buffer workspace, packed, saved;
    int64_t packed_bytes, saved_bytes;
    int (*prepare)(const struct flow_call *call);
};

/* ---- Memory of the host ---- */

static int room(struct context *context, struct buffer *buffer, int64_t bytes) {
    if (buffer->data && buffer->bytes >= bytes) return 0;
    if (buffer->data) context->apart->stage_free(context->device, buffer->data, buffer->bytes);
    *buffer = (struct buffer){0};
    int code = context->apart->stage_new(context->device, bytes > 0 ? bytes : 1, &buffer->data);
    if (code == 0) buffer->bytes = bytes > 0 ? bytes : 1;
    return code;
}

static void drop(struct context *context, struct buffer *buffer) {
    if (buffer->data) context->apart->stage_free(context->device, buffer->data, buffer->bytes);
    *buffer = (struct buffer){0};
}

void hosted_free(struct context *context, struct record *record) {
    struct hosted *hosted = record->hosted;
    if (!hosted) return;
    for (size_t i = 0; i < hosted->count; i++) drop(context, &hosted->tensors[i].memory);
    drop(context, &hosted->workspace), drop(context, &hosted->packed), drop(context, &hosted->saved);
}

/* ---- One call ---- */

/* Bytes from the lowest to the highest element, and how far below the first the lowest lies. */
static int64_t reach(const struct flow_tensor *t, int64_t *below) {
    int64_t low = 0, high = 0, size = dtype_bytes(t->dtype);
    for (int32_t a = 0; a < t->rank; a++) {
        if (t->shape[a] == 0) return *below = 0;
        int64_t last = (t->shape[a] - 1) * t->strides[a];
        if (last < 0) low += last;
        else high += last;
    }
    *below = -low * size;
    return (high - low + 1) * size;
}

/* Extents and strides as they are in this run; what is read is on its way. */
static int bring(struct record *record, struct hosted_tensor *tensor) {
    struct context *context = record->context;
    int64_t below;
    *tensor->here = *tensor->there;
    tensor->here->device = FLOW_DEVICE_CPU;
    if (tensor->there->rank < 0 || !tensor->there->data) return 0;
    int64_t bytes = reach(tensor->there, &below);
    int code = room(context, &tensor->memory, bytes);
    if (code < 0) return code;
    tensor->here->data = (char *)tensor->memory.data + below;
    if (!tensor->read) return 0;
    return context->apart->copy(call_stream(&record->call), tensor->memory.data, (const char *)tensor->there->data - below, bytes,
                                DEVICE_OUT);
}

/* A state that stays where it is: what comes out is what went in, changed. */
static void join_states(struct hosted *hosted, const struct flow_call *call) {
    for (uint32_t s = 0; s < call->state_count; s++)
        if (call->state_in[s].data && call->state_in[s].data == call->state_out[s].data)
            hosted->call.state_out[s].data = hosted->call.state_in[s].data;
}

static int give(struct record *record, const struct hosted_tensor *tensor) {
    int64_t below;
    if (!tensor->written || tensor->there->rank < 0 || !tensor->there->data) return 0;
    int64_t bytes = reach(tensor->there, &below);
    const char *from = (const char *)tensor->here->data - below;
    return record->context->apart->copy(call_stream(&record->call), (char *)tensor->there->data - below, from, bytes, DEVICE_IN);
}

static int bring_all(struct record *record) {
    struct hosted *hosted = record->hosted;
    struct context *context = record->context;
    const struct flow_call *call = &record->call;
    struct stream *stream = call_stream(call);
    int code = 0;
    for (size_t i = 0; i < hosted->count && code == 0; i++) code = bring(record, &hosted->tensors[i]);
    if (code == 0 && call->saved) code = room(context, &hosted->saved, hosted->saved_bytes);
    if (code == 0 && call->saved && record->step->kind == PLAN_BACKWARD)
        code = context->apart->copy(stream, hosted->saved.data, call->saved, hosted->saved_bytes, DEVICE_OUT);
    int waited = context->apart->synchronize(stream);
    return code < 0 ? code : waited;
}

static int give_all(struct record *record) {
    struct hosted *hosted = record->hosted;
    struct context *context = record->context;
    const struct flow_call *call = &record->call;
    struct stream *stream = call_stream(call);
    int code = 0;
    for (size_t i = 0; i < hosted->count && code == 0; i++) code = give(record, &hosted->tensors[i]);
    if (code == 0 && call->saved && record->step->kind == PLAN_KERNEL)
        code = context->apart->copy(stream, call->saved, hosted->saved.data, hosted->saved_bytes, DEVICE_IN);
    int waited = context->apart->synchronize(stream); /* the memory here is used again by the next call */
    return code < 0 ? code : waited;
}

static int prepare(struct record *record) {
    struct hosted *hosted = record->hosted;
    if (!hosted->prepare) return 0;
    int code = room(record->context, &hosted->packed, hosted->packed_bytes);
    hosted->call.packed = hosted->packed.data;
    return code == 0 ? hosted->prepare(&hosted->call) : code;
}

static int hosted_run(const struct flow_call *call) {
    struct record *record = call->owner;
    struct hosted *hosted = record->hosted;
    struct flow_call *here = &hosted->call;
    int code = bring_all(record);
    if (code < 0) return code;
    here->run = call->run, here->saved = call->saved ? hosted->saved.data : NULL;
    if (record->step->kind == PLAN_KERNEL) join_states(hosted, call);
    code = prepare(record);
    if (code == 0) code = hosted->kernel(here);
    if (code < 0) return code;
    for (uint32_t k = 0; record->step->kind == PLAN_KERNEL && k < call->out_count; k++) /* extents known only now */
        if (call->out[k].rank > 0) call->out[k].shape[0] = here->out[k].shape[0];
    return give_all(record);
}

/* ---- Binding ---- */

struct list {
    const struct flow_tensor *there;
    uint32_t count;
    bool read, written;
};

/* Copies of one list of tensors. */
static struct flow_tensor *adopt(struct binding *binding, struct hosted *hosted, const struct list *list) {
    struct flow_tensor *here = arena_array(&binding->arena, list->count, sizeof *here);
    for (uint32_t i = 0; here && i < list->count; i++)
        hosted->tensors[hosted->count++] = (struct hosted_tensor){&list->there[i], &here[i], {0}, list->read, list->written};
    return here;
}

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* Gradients that are added to are read, too. */
static void read_sums(struct hosted_tensor *tensors, uint32_t count, uint64_t mask) {
    for (uint32_t i = 0; i < count; i++) tensors[i].read = FLOW_ACCUMULATES(mask, i);
}

/* Statistics are written. */
static void write_running(const struct instance *instance, const struct instance_node *node, struct hosted_tensor *tensors) {
    for (uint32_t i = 0; i < node->param_count; i++)
        if (node->param[i] >= 0 && instance->values[node->param[i]].flags & FLOW_RUNNING) tensors[i].written = true;
}

int hosted_bind(struct binding *binding, struct record *record) {
    const struct plan_step *step = record->step;
    const struct instance_node *node = &binding->plan->instance->nodes[step->node];
    const struct flow_operator *op = node->entry->op;
    struct flow_call *call = &record->call;
    bool backward = step->kind == PLAN_BACKWARD;
    uint32_t ins = larger(call->in_count, op->inputs.count), params = larger(call->param_count, op->params.count);
    uint32_t outs = backward ? call->out_count : larger(call->out_count, op->outputs.count);
    uint32_t states = backward ? 0 : larger(call->state_count, op->states.count);
    size_t most = 2 * (size_t)ins + 2 * (size_t)params + 2 * (size_t)outs + 2 * (size_t)states;
    struct hosted *hosted = arena_new(&binding->arena, sizeof *hosted);
    if (!hosted || !(hosted->tensors = arena_array(&binding->arena, most, sizeof *hosted->tensors))) return FLOW_ERROR_MEMORY;
    record->hosted = hosted;
    hosted->kernel = record->run, record->run = hosted_run;
    struct flow_call *here = &hosted->call;
    *here = *call;
    here->host = &binding->context->cpu_host;
    here->in = adopt(binding, hosted, &(struct list){call->in, ins, true, false});
    here->param = adopt(binding, hosted, &(struct list){call->param, params, true, false});
    here->out = adopt(binding, hosted, &(struct list){call->out, outs, backward, !backward});
    here->state_in = adopt(binding, hosted, &(struct list){call->state_in, states, true, false});
    here->state_out = adopt(binding, hosted, &(struct list){call->state_out, states, false, true});
    if (!here->in || !here->param || !here->out || !here->state_in || !here->state_out) return FLOW_ERROR_MEMORY;
    if (backward) {
        here->grad_out = adopt(binding, hosted, &(struct list){call->grad_out, outs, true, false});
        here->grad_in = adopt(binding, hosted, &(struct list){call->grad_in, ins, false, true});
        here->grad_param = adopt(binding, hosted, &(struct list){call->grad_param, params, false, true});
        if (!here->grad_out || !here->grad_in || !here->grad_param) return FLOW_ERROR_MEMORY;
        struct hosted_tensor *sums = hosted->tensors + hosted->count - ins - params;
        read_sums(sums, ins, call->accumulate_in);
        read_sums(sums + ins, params, call->accumulate_param);
    } else if (node->infer.packed > 0) hosted->prepare = op->prepare, hosted->packed_bytes = node->infer.packed;
    if (!backward) write_running(binding->plan->instance, node, hosted->tensors + ins);
    if (step->saved.type.rank == 1) hosted->saved_bytes = step->saved.type.shape[0];
    int code = step->workspace_bytes > 0 ? room(binding->context, &hosted->workspace, step->workspace_bytes) : 0;
    here->workspace = hosted->workspace.data;
    return code;
}
