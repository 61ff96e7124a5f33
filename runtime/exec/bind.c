/* SPDX-License-Identifier: Apache-2.0 */
/* From a plan to calls that are ready to be made. Addresses that are fixed for the binding's life (parameters, what is computed once) are
 * written at once; the others are listed by the buffer they lie in, so that a run only compares one address a buffer. */
#include "exec/context.h"

#include <stdlib.h>
#include <string.h>

/* A patch before it is sorted into its group. */
struct loose {
    enum plan_place place;
    int32_t index;
    int32_t order;
    struct patch patch;
};

struct builder {
    struct binding *binding;
    struct report *report;
    struct loose *loose;
    size_t loose_count, loose_capacity;
    struct state_use *states;
    size_t state_count, state_capacity;
    struct segment *segments;
    size_t segment_count, segment_capacity;
    char **params; /* by index of the plan's parameters */
};

static int add_patch(struct builder *builder, const struct plan_tensor *t, void **at) {
    struct context *context = builder->binding->context;
    if (builder->loose_count >= INT32_MAX || memory_grow(context->from, (void **)&builder->loose, &builder->loose_capacity,
                                                         builder->loose_count + 1, sizeof *builder->loose) < 0)
        return report_memory(builder->report);
    int32_t index = t->place == PLACE_ARENA ? 0 : t->index;
    builder->loose[builder->loose_count] = (struct loose){t->place, index, (int32_t)builder->loose_count, {at, t->offset}};
    builder->loose_count++;
    return 0;
}

/* Where `t` lies: written into *at now, or listed. */
static int point(struct builder *builder, const struct plan_tensor *t, void **at) {
    struct binding *binding = builder->binding;
    const struct instance *instance = binding->plan->instance;
    char *base = NULL;
    switch (t->place) {
    case PLACE_NONE: return 0;
    case PLACE_PARAM: base = builder->params[t->index]; break;
    case PLACE_WIDE:
        base = model_wide(binding->context->model, instance->values[instance->params[t->index]].name);
        if (!base) return report_memory(builder->report);
        break;
    case PLACE_ONCE: base = binding->once; break;
    default: return add_patch(builder, t, at);
    }
    *at = base ? base + t->offset : NULL;
    return 0;
}

static int point_state(struct builder *builder, const struct plan_tensor *t, struct flow_tensor *tensor) {
    if (memory_grow(builder->binding->context->from, (void **)&builder->states, &builder->state_capacity, builder->state_count + 1,
                    sizeof *builder->states) < 0)
        return report_memory(builder->report);
    builder->states[builder->state_count++] = (struct state_use){tensor, t->index, t->place == PLACE_STATE_OUT};
    return 0;
}

/* `rows`: as long as the list in the plan, rank -1 where there is nothing. */
static int tensors(struct builder *builder, const struct plan_tensor *from, uint32_t rows, struct flow_tensor **out) {
    *out = arena_array(&builder->binding->arena, rows, sizeof **out);
    if (!*out) return report_memory(builder->report);
    for (uint32_t i = 0; i < rows; i++) {
        struct flow_tensor *t = &(*out)[i];
        *t = from[i].type, t->data = NULL, t->device = builder->binding->plan->device;
        bool state = from[i].place == PLACE_STATE_IN || from[i].place == PLACE_STATE_OUT;
        int code = state ? point_state(builder, &from[i], t) : point(builder, &from[i], &t->data);
        if (code < 0) return code;
    }
    return 0;
}

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static int bind_loop(struct builder *builder, size_t s, struct flow_call *call);

static const struct device_steps on_host = {.copy = exec_copy,
                                            .widen = exec_widen,
                                            .narrow = exec_narrow,
                                            .gather = exec_gather,
                                            .fill = exec_fill,
                                            .pass = exec_pass,
                                            .add = exec_add};

/* Functions by kind of step; the kernel's, or the operator's prepare, by the node. */
static int (*runner(const struct context *context, const struct plan *plan, const struct plan_step *step))(const struct flow_call *) {
    const struct device_steps *steps = context->apart ? context->device->steps : &on_host;
    switch (step->kind) {
    case PLAN_KERNEL: return step->kernel->forward;
    case PLAN_BACKWARD: return step->kernel->backward;
    case PLAN_LOOP_BACKWARD: return exec_loop_backward;
    case PLAN_FILL: return steps->fill;
    case PLAN_PASS: return steps->pass;
    case PLAN_ADD: return steps->add;
    case PLAN_COPY: return steps->copy;
    case PLAN_WIDEN: return steps->widen;
    case PLAN_NARROW: return steps->narrow;
    case PLAN_LOOP: return exec_loop;
    case PLAN_GATHER: return steps->gather;
    case PLAN_PREPARE: return plan->instance->nodes[step->node].entry->op->prepare;
    }
    return NULL;
}

/* Lists are as long as the operator's tables at least: the plan made them so. */
static uint32_t rows_of(const struct flow_operator *op, uint32_t table, uint32_t count) { return op ? larger(table, count) : count; }

/* Gradients by input and parameter stand one after another in the step's outputs. */
static int bind_backward(struct builder *builder, const struct plan_step *step, struct flow_call *call) {
    const struct instance_node *node = &builder->binding->plan->instance->nodes[step->node];
    struct flow_tensor *grad_out;
    int code = tensors(builder, step->read, step->read_count, &call->out);
    if (code == 0) code = tensors(builder, step->grad_out, step->read_count, &grad_out);
    if (code == 0) code = tensors(builder, step->out, step->out_count, &call->grad_in);
    if (code < 0) return code;
    uint32_t ins = step->kind == PLAN_BACKWARD ? larger(node->in_count, node->entry->op->inputs.count) : node->in_count;
    call->grad_out = grad_out, call->grad_param = call->grad_in + ins;
    call->accumulate_in = node->backward->accumulate_in, call->accumulate_param = node->backward->accumulate_param;
    return 0;
}

static int bind_step(struct builder *builder, size_t s) {
    struct binding *binding = builder->binding;
    const struct plan_step *step = &binding->plan->steps[s];
    const struct instance *instance = binding->plan->instance;
    const struct instance_node *node = step->node >= 0 ? &instance->nodes[step->node] : NULL;
    bool backward = step->kind == PLAN_BACKWARD || step->kind == PLAN_LOOP_BACKWARD;
    bool kernel = step->kind == PLAN_KERNEL || step->kind == PLAN_BACKWARD, prepare = step->kind == PLAN_PREPARE;
    const struct flow_operator *op = kernel ? node->entry->op : NULL;
    struct record *record = &binding->records[s];
    struct flow_call *call = &record->call;
    *record = (struct record){
        .run = runner(binding->context, binding->plan, step), .context = binding->context, .binding = binding, .step = step};
    call->size = sizeof *call;
    call->host = &binding->context->host, call->owner = record;
    struct flow_tensor *in, *param, *state_in;
    int code = tensors(builder, step->in, rows_of(op, op ? op->inputs.count : 0, step->in_count), &in);
    if (code == 0 && backward) code = bind_backward(builder, step, call);
    else if (code == 0) code = tensors(builder, step->out, rows_of(op, op ? op->outputs.count : 0, step->out_count), &call->out);
    uint32_t params = kernel || prepare ? larger(node->entry->op->params.count, step->param_count) : step->param_count;
    if (code == 0) code = tensors(builder, step->param, params, &param);
    uint32_t states = step->kind == PLAN_KERNEL ? larger(op->states.count, step->state_count) : 0;
    if (code == 0) code = tensors(builder, step->state_in, states, &state_in);
    if (code == 0) code = tensors(builder, step->state_out, states, &call->state_out);
    if (code < 0) return code;
    call->in = in, call->param = param, call->state_in = state_in;
    call->in_count = step->in_count, call->out_count = backward ? step->read_count : step->out_count;
    call->param_count = step->kind == PLAN_LOOP_BACKWARD ? node->param_count : step->param_count;
    call->state_count = step->state_count;
    if (step->kind == PLAN_FILL) call->attrs = &node->fill;
    if (kernel || prepare) {
        call->phase = node->infer.phase, call->attrs = node->attrs, call->priv = node->priv, call->seed = node->seed;
        call->streaming = node->streaming, call->first = instance->first, call->flush = instance->flush;
        call->again = node->role == NODE_AGAIN;
    }
    if (step->workspace >= 0) {
        struct plan_tensor workspace = {.place = PLACE_ARENA, .offset = step->workspace};
        code = add_patch(builder, &workspace, &call->workspace);
    }
    if (code == 0) code = point(builder, prepare ? &step->out[0] : &step->prepared, &call->packed);
    if (code == 0) code = point(builder, &step->saved, &call->saved);
    if (code == 0) code = point(builder, &step->residual, (void **)&call->residual);
    call->activation = step->activation;
    if (code == 0 && step->loop) code = bind_loop(builder, s, call);
    apart_call(binding, record);
    if (code == 0 && node && node->hosted && kernel && hosted_bind(binding, record) < 0) code = report_memory(builder->report);
    if (code == 0 && record->context->checked && checked_bind(binding, record) < 0) code = report_memory(builder->report);
    return code;
}

static int32_t group_of(const struct binding *binding, enum plan_place place, int32_t index) {
    for (size_t g = 0; g < binding->group_count; g++)
        if (binding->groups[g].place == place && binding->groups[g].index == index) return (int32_t)g;
    return -1;
}

static int bind_loop(struct builder *builder, size_t s, struct flow_call *call) {
    struct binding *binding = builder->binding;
    const struct plan_step *step = &binding->plan->steps[s];
    const struct instance *body = step->loop->body->instance;
    struct loop_binding *loop = arena_new(&binding->arena, sizeof *loop);
    if (!loop) return report_memory(builder->report);
    loop->step = step;
    binding->loops[s] = loop;
    int32_t stream = binding->around ? binding->stream : step->stream;
    int code = binding_new(binding->context, step->loop->body, binding, stream, builder->report, &loop->body);
    if (code < 0) return code;
    loop->backward = binding->plan->instance->nodes[step->node].backward;
    loop->in_group = arena_array(&binding->arena, body->input_count, sizeof *loop->in_group);
    loop->out_group = arena_array(&binding->arena, body->output_count, sizeof *loop->out_group);
    loop->now = arena_array(&binding->arena, body->output_count, sizeof *loop->now);
    if (!loop->in_group || !loop->out_group || !loop->now) return report_memory(builder->report);
    for (size_t i = 0; i < body->input_count; i++) loop->in_group[i] = group_of(loop->body, PLACE_INPUT, (int32_t)i);
    for (size_t o = 0; o < body->output_count; o++) loop->out_group[o] = group_of(loop->body, PLACE_OUTPUT, (int32_t)o);
    loop->arena_group = group_of(loop->body, PLACE_ARENA, 0);
    call->priv = loop;
    return 0;
}

/* ---- Groups ---- */

static int by_group(const void *a, const void *b) {
    const struct loose *x = a, *y = b;
    if (x->place != y->place) return x->place < y->place ? -1 : 1;
    if (x->index != y->index) return x->index < y->index ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int make_groups(struct builder *builder) {
    struct binding *binding = builder->binding;
    size_t count = builder->loose_count, groups = 0;
    if (count) qsort(builder->loose, count, sizeof *builder->loose, by_group);
    for (size_t i = 0; i < count; i++)
        groups +=
            i == 0 || builder->loose[i].place != builder->loose[i - 1].place || builder->loose[i].index != builder->loose[i - 1].index;
    binding->patches = arena_array(&binding->arena, count, sizeof *binding->patches);
    binding->groups = arena_array(&binding->arena, groups, sizeof *binding->groups);
    if (!binding->patches || !binding->groups) return report_memory(builder->report);
    for (size_t i = 0; i < count; i++) {
        const struct loose *loose = &builder->loose[i];
        struct group *last = binding->group_count ? &binding->groups[binding->group_count - 1] : NULL;
        if (!last || last->place != loose->place || last->index != loose->index) {
            last = &binding->groups[binding->group_count++];
            *last = (struct group){loose->place, loose->index, (uint32_t)i, 0, NULL};
        }
        last->count++;
        binding->patches[i] = loose->patch;
    }
    return 0;
}

/* ---- Queues of several streams ---- */

static int add_segment(struct builder *builder, enum queue_kind kind, int32_t stream, int32_t event, size_t first, size_t last) {
    if (memory_grow(builder->binding->context->from, (void **)&builder->segments, &builder->segment_capacity, builder->segment_count + 1,
                    sizeof *builder->segments) < 0)
        return report_memory(builder->report);
    builder->segments[builder->segment_count++] = (struct segment){kind, stream, event, first, last, builder->binding, NULL};
    return 0;
}

/* Steps of a stream between two of its events are one launch. */
static int make_segments(struct builder *builder) {
    struct binding *binding = builder->binding;
    const struct plan *plan = binding->plan;
    if (plan->stream_count < 2) return 0;
    size_t *open = arena_array(&binding->arena, (size_t)plan->stream_count, sizeof *open); /* 1 + first record */
    if (!open) return report_memory(builder->report);
    int code = 0;
    for (size_t s = plan->once_count; s < plan->step_count && code == 0; s++) {
        const struct plan_step *step = &plan->steps[s];
        size_t *first = &open[step->stream];
        if (step->wait_count && *first) code = add_segment(builder, QUEUE_LAUNCH, step->stream, -1, *first - 1, s), *first = 0;
        for (uint32_t w = 0; w < step->wait_count && code == 0; w++)
            code = add_segment(builder, QUEUE_WAIT, step->stream, step->waits[w], 0, 0);
        if (!*first) *first = s + 1;
        if (step->event < 0 || code < 0) continue;
        code = add_segment(builder, QUEUE_LAUNCH, step->stream, -1, *first - 1, s + 1), *first = 0;
        if (code == 0) code = add_segment(builder, QUEUE_RECORD, step->stream, step->event, 0, 0);
    }
    for (int32_t k = 0; k < plan->stream_count && code == 0; k++)
        if (open[k]) code = add_segment(builder, QUEUE_LAUNCH, k, -1, open[k] - 1, plan->step_count);
    return code;
}

/* ---- All of it ---- */

static int find_params(struct builder *builder) {
    struct binding *binding = builder->binding;
    const struct instance *instance = binding->plan->instance;
    builder->params = arena_array(&binding->arena, instance->param_count, sizeof *builder->params);
    if (!builder->params) return report_memory(builder->report);
    for (size_t p = 0; p < instance->param_count; p++) {
        const struct flow_tensor *value = model_get(binding->context->model, instance->values[instance->params[p]].name);
        builder->params[p] = value ? value->data : NULL;
    }
    return 0;
}

static int make_outputs(struct builder *builder) {
    struct binding *binding = builder->binding;
    const struct plan *plan = binding->plan;
    size_t count = plan->instance->output_count;
    binding->outputs = arena_array(&binding->arena, count, sizeof *binding->outputs);
    binding->dynamics = arena_array(&binding->arena, count, sizeof *binding->dynamics);
    if (!binding->outputs || !binding->dynamics) return report_memory(builder->report);
    for (size_t o = 0; o < count; o++) {
        binding->outputs[o] = plan->outputs[o].type;
        if (!plan->dynamic[o]) continue;
        struct flow_tensor *tensor = &binding->records[plan->dynamic[o] - 1].call.out[plan->dynamic_row[o]];
        binding->dynamics[binding->dynamic_count++] = (struct dynamic){tensor, tensor->shape[0]};
    }
    return 0;
}

static int fill(struct builder *builder) {
    struct binding *binding = builder->binding;
    const struct plan *plan = binding->plan;
    struct arena *arena = &binding->arena;
    binding->records = arena_array(arena, plan->step_count, sizeof *binding->records);
    binding->loops = arena_array(arena, plan->step_count, sizeof *binding->loops);
    binding->seconds = arena_array(arena, plan->step_count, sizeof *binding->seconds);
    binding->least = arena_array(arena, plan->step_count, sizeof *binding->least);
    binding->grown = arena_array(arena, plan->step_count, sizeof *binding->grown);
    binding->calls = arena_array(arena, plan->step_count, sizeof *binding->calls);
    if (!binding->records || !binding->loops || !binding->seconds || !binding->least || !binding->grown || !binding->calls)
        return report_memory(builder->report);
    if (plan->once_bytes) {
        struct device *device = binding->context->device;
        if (device->api->memory_new(device, plan->once_bytes, &binding->once) < 0) return report_memory(builder->report);
    }
    binding->count = plan->step_count, binding->once_count = plan->once_count;
    int code = apart_bind(binding);
    if (code < 0) return report_add(builder->report, code, (struct position){0}, "%s", status_text(code));
    code = find_params(builder);
    for (size_t s = 0; s < plan->step_count && code == 0; s++) code = bind_step(builder, s);
    if (code == 0) code = make_groups(builder);
    if (code == 0) code = make_segments(builder);
    if (code == 0) code = make_outputs(builder);
    if (code < 0) return code;
    binding->states = arena_copy(arena, builder->states, builder->state_count * sizeof *builder->states);
    binding->segments = arena_copy(arena, builder->segments, builder->segment_count * sizeof *builder->segments);
    binding->state_count = builder->state_count, binding->segment_count = builder->segment_count;
    if (!binding->states || !binding->segments) return report_memory(builder->report);
    if (apart_bound(binding) < 0) return report_memory(builder->report);
    return binding_label(binding) < 0 ? report_memory(builder->report) : 0;
}

int binding_new(struct context *context, const struct plan *plan, struct binding *around, int32_t stream, struct report *report,
                struct binding **out) {
    *out = NULL;
    const struct allocator *from = context->from;
    struct binding *binding = memory_new(from, sizeof *binding);
    if (!binding) return report_memory(report);
    binding->plan = plan, binding->context = context, binding->around = around, binding->stream = stream;
    arena_init(&binding->arena, from);
    struct builder builder = {.binding = binding, .report = report};
    int code = fill(&builder);
    memory_free(from, builder.loose, builder.loose_capacity * sizeof *builder.loose);
    memory_free(from, builder.states, builder.state_capacity * sizeof *builder.states);
    memory_free(from, builder.segments, builder.segment_capacity * sizeof *builder.segments);
    if (code < 0) binding_free(binding);
    else *out = binding;
    return code;
}

void binding_free(struct binding *binding) {
    if (!binding) return;
    for (size_t s = 0; binding->loops && s < binding->plan->step_count; s++)
        if (binding->loops[s]) binding_free(binding->loops[s]->body);
    apart_free(binding);
    struct device *device = binding->context->device;
    if (binding->once) device->api->memory_free(device, binding->once, binding->plan->once_bytes);
    const struct allocator *from = binding->context->from;
    arena_free(&binding->arena);
    memory_free(from, binding, sizeof *binding);
}
