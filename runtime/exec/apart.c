/* SPDX-License-Identifier: Apache-2.0 */
/* Runs on a device whose memory is not the host's. The caller's thread queues everything: inputs, the number of the run, the calls,
 * outputs; then it waits once. Where the same calls come with the same addresses again they are captured into one graph and replayed. */
#include "exec/context.h"

#include <stdio.h>
#include <string.h>

static const struct device_api *api_of(const struct context *context) { return context->device->api; }

static struct context *context_of(const struct flow_call *call) { return ((const struct record *)call->owner)->context; }

struct stream *call_stream(const struct flow_call *call) {
    const struct record *record = call->owner;
    const struct binding *binding = record->binding;
    int32_t k = binding->around ? binding->stream : record->step->stream;
    return record->context->streams[k];
}

/* ---- Moving bytes ---- */

int call_move(const struct flow_call *call, void *to, const void *from, int64_t bytes) {
    if (bytes <= 0 || to == from) return 0;
    if (context_of(call)->apart) return context_of(call)->apart->copy(call_stream(call), to, from, bytes, DEVICE_WITHIN);
    memcpy(to, from, (size_t)bytes);
    return 0;
}

int call_clear(const struct flow_call *call, void *to, int64_t bytes) {
    if (bytes <= 0) return 0;
    if (context_of(call)->apart) return context_of(call)->apart->clear(call_stream(call), to, bytes);
    memset(to, 0, (size_t)bytes);
    return 0;
}

int call_spread(const struct flow_call *call, const struct flow_tensor *to, const struct flow_tensor *from) {
    const struct context *context = context_of(call);
    struct flow_tensor target = *to;
    struct flow_call copy = *call;
    copy.in = from, copy.out = &target, copy.in_count = copy.out_count = 1;
    return context->apart ? context->device->steps->copy(&copy) : exec_copy(&copy);
}

int call_add(const struct flow_call *call, const struct flow_tensor *to, const void *from) {
    const struct context *context = context_of(call);
    if (!context->apart) {
        tensor_add(call, to, from);
        return 0;
    }
    struct flow_tensor target = *to, packed = plan_packed_type(to);
    struct flow_call add = *call;
    packed.data = (void *)(uintptr_t)from;
    add.in = &packed, add.out = &target, add.in_count = add.out_count = 1;
    return context->device->steps->add(&add);
}

int call_read(const struct flow_call *call, void *to, const void *from, int64_t bytes) {
    const struct device_api *apart = context_of(call)->apart;
    if (!apart) {
        memcpy(to, from, (size_t)bytes);
        return 0;
    }
    struct stream *stream = call_stream(call);
    int code = apart->copy(stream, to, from, bytes, DEVICE_OUT);
    int waited = apart->synchronize(stream);
    return code < 0 ? code : waited;
}

int context_move(struct context *context, void *to, const void *from, int64_t bytes) {
    if (bytes <= 0) return 0;
    if (!context->apart) {
        memcpy(to, from, (size_t)bytes);
        return 0;
    }
    int code = context->apart->copy(context->streams[0], to, from, bytes, DEVICE_WITHIN);
    int waited = context->apart->synchronize(context->streams[0]);
    return code < 0 ? code : waited;
}

int context_spread(struct context *context, const struct flow_tensor *to, const struct flow_tensor *from) {
    struct flow_tensor target = *to;
    struct flow_call copy = {.size = sizeof copy, .in = from, .out = &target, .in_count = 1, .out_count = 1};
    if (!context->apart) return exec_copy(&copy);
    copy.host = &context->host, copy.stream = context->apart->native(context->streams[0]);
    int code = context->device->steps->copy(&copy);
    int waited = context->apart->synchronize(context->streams[0]);
    return code < 0 ? code : waited;
}

int context_initialise(struct context *context, const struct flow_tensor *type, const char *init, uint64_t seed, char *why, size_t size) {
    if (!context->apart) return tensor_initialise(context->from, type, init, seed, why, size);
    return device_initialise(context->device, context->from, type, init, seed, why, size);
}

int device_initialise(struct device *device, const struct allocator *from, const struct flow_tensor *type, const char *init, uint64_t seed,
                      char *why, size_t size) {
    int64_t bytes;
    struct flow_tensor made = *type;
    if (!device->api->apart) return tensor_initialise(from, type, init, seed, why, size);
    struct device *cpu = device->cpu;
    if (!plan_bytes(type, &bytes) || cpu->api->memory_new(cpu, bytes > 0 ? bytes : 1, &made.data) < 0) return FLOW_ERROR_MEMORY;
    int code = tensor_initialise(from, &made, init, seed, why, size);
    if (code == 0 && (code = device_put(device, type->data, made.data, bytes)) < 0) snprintf(why, size, "%s", device->api->why(device));
    cpu->api->memory_free(cpu, made.data, bytes > 0 ? bytes : 1);
    return code;
}

/* ---- Binding ---- */

static size_t count_loops(const struct plan *plan) {
    size_t count = 1;
    for (size_t s = 0; s < plan->step_count; s++)
        if (plan->steps[s].loop) count += count_loops(plan->steps[s].loop->body);
    return count;
}

static struct binding *root_of(struct binding *binding) {
    while (binding->around) binding = binding->around;
    return binding;
}

int apart_bind(struct binding *binding) {
    struct context *context = binding->context;
    if (!context->apart) return 0;
    struct apart *apart = arena_new(&binding->arena, sizeof *apart);
    if (!apart) return FLOW_ERROR_MEMORY;
    binding->apart = apart;
    apart->capturable = true;
    struct apart *root = root_of(binding)->apart;
    if (!binding->around) {
        size_t count = count_loops(binding->plan);
        apart->by_slot = arena_array(&binding->arena, count, sizeof *apart->by_slot);
        if (!apart->by_slot || count > INT32_MAX) return FLOW_ERROR_MEMORY;
        int64_t bytes = (int64_t)(count * sizeof *apart->fault);
        void *fault = NULL, *stage = NULL;
        int code = context->apart->memory_new(context->device, bytes, &fault);
        apart->fault = fault, apart->fault_count = (int32_t)count;
        if (code == 0) code = context->apart->stage_new(context->device, bytes, &stage);
        apart->fault_stage = stage;
        if (code < 0) return code;
        memset(stage, 0, (size_t)bytes);
        code = device_put(context->device, fault, stage, bytes);
        if (code < 0) return code;
    } else apart->fault = root->fault + root->slots;
    root->by_slot[root->slots++] = binding;
    return 0;
}

static void forget_captures(struct binding *binding) {
    struct apart *apart = binding->apart;
    for (int i = 0; i < CAPTURES; i++) {
        if (apart->captured[i].graph) binding->context->apart->graph_free(apart->captured[i].graph);
        apart->captured[i].graph = NULL, apart->captured[i].key = apart->seen[i] = 0;
    }
}

void apart_free(struct binding *binding) {
    struct apart *apart = binding->apart;
    struct context *context = binding->context;
    if (!apart) return;
    for (size_t s = 0; binding->records && s < binding->count; s++) hosted_free(context, &binding->records[s]);
    for (int m = 0; m < 2; m++)
        if (apart->marks[m]) context->apart->event_free(apart->marks[m]);
    if (binding->around) return;
    forget_captures(binding);
    int64_t bytes = (int64_t)((size_t)apart->fault_count * sizeof *apart->fault);
    if (apart->fault) context->apart->memory_free(context->device, apart->fault, bytes);
    if (apart->fault_stage) context->apart->stage_free(context->device, apart->fault_stage, bytes);
}

void apart_call(struct binding *binding, struct record *record) {
    struct context *context = binding->context;
    if (!context->apart) return;
    struct flow_call *call = &record->call;
    call->stream = context->apart->native(call_stream(call));
    call->fault = binding->apart->fault, call->fault_node = (int32_t)(record - binding->records);
    call->run_at = context->number.data, call->run_scale = 1;
}

static void refuse_capture(struct binding *binding, const char *why) {
    struct apart *root = root_of(binding)->apart;
    root->capturable = false;
    if (!root->whole) root->whole = why;
}

static int list_ends(struct binding *binding) {
    struct apart *apart = binding->apart;
    size_t streams = (size_t)binding->plan->stream_count;
    apart->forks = arena_array(&binding->arena, streams, sizeof *apart->forks);
    apart->joins = arena_array(&binding->arena, streams, sizeof *apart->joins);
    bool *begun = arena_array(&binding->arena, streams, sizeof *begun);
    if (!apart->forks || !apart->joins || !begun) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < binding->segment_count; i++) {
        const struct segment *segment = &binding->segments[i];
        if (!begun[segment->stream]) apart->forks[segment->stream] = segment->kind != QUEUE_WAIT;
        begun[segment->stream] = true;
        apart->joins[segment->stream] = segment->kind != QUEUE_RECORD;
    }
    return 0;
}

int apart_bound(struct binding *binding) {
    const struct context *context = binding->context;
    if (!context->apart) return 0;
    for (size_t s = 0; s < binding->count; s++) {
        const struct plan_step *step = &binding->plan->steps[s];
        if (binding->records[s].hosted && s >= binding->once_count) refuse_capture(binding, "a node runs on the CPU");
        if (step->loop && step->loop->until >= 0) refuse_capture(binding, "a loop ends by what it computes");
    }
    if (binding->plan->instance->streaming) refuse_capture(binding, "it is streamed");
    return list_ends(binding);
}

/* ---- The context ---- */

static int count_on(struct context *context, int64_t count) {
    if (context->counted >= count) return 0;
    int64_t most = context->counted < 64 ? 64 : context->counted;
    while (most < count)
        if (!size_multiply(most, 2, &most)) return FLOW_ERROR_MEMORY;
    int64_t *numbers = memory_array(context->from, (size_t)most, sizeof *numbers);
    if (!numbers) return FLOW_ERROR_MEMORY;
    /* The table moves: what was captured reads the old one. */
    for (struct binding *binding = context->bindings; binding; binding = binding->next) forget_captures(binding);
    for (int64_t i = 0; i < most; i++) numbers[i] = i;
    int code = context_room(context, &context->counting, most * 8);
    if (code == 0) code = device_put(context->device, context->counting.data, numbers, most * 8);
    memory_free(context->from, numbers, (size_t)most * sizeof *numbers);
    if (code == 0) context->counted = most;
    return code;
}

static int64_t most_iterations(const struct plan *plan) {
    int64_t most = 0;
    for (size_t s = 0; s < plan->step_count; s++) {
        const struct plan_loop *loop = plan->steps[s].loop;
        if (!loop) continue;
        int64_t inside = most_iterations(loop->body);
        if (loop->iterations > most) most = loop->iterations;
        if (inside > most) most = inside;
    }
    return most;
}

int apart_prepare(struct context *context, const struct plan *plan) {
    if (!context->apart) return 0;
    int code = 0;
    int64_t iterations = most_iterations(plan);
    if (!context->fork) code = context->apart->event_new(context->device, &context->fork);
    if (code == 0 && !context->join) code = context->apart->event_new(context->device, &context->join);
    if (code == 0) code = context_room(context, &context->number, 8);
    if (code == 0 && !context->number_stage.data) {
        code = context->apart->stage_new(context->device, 8, &context->number_stage.data);
        context->number_stage.bytes = code == 0 ? 8 : 0;
    }
    if (code == 0 && iterations > 0) code = count_on(context, iterations + 1);
    return code;
}

int apart_mirror(struct context *context, size_t output, int64_t bytes) {
    if (output >= context->mirror_count) {
        struct mirror *longer = memory_array(context->from, output + 1, sizeof *longer);
        if (!longer) return FLOW_ERROR_MEMORY;
        if (context->mirror_count) memcpy(longer, context->mirrors, context->mirror_count * sizeof *longer);
        memory_free(context->from, context->mirrors, context->mirror_count * sizeof *longer);
        context->mirrors = longer, context->mirror_count = output + 1;
    }
    struct mirror *mirror = &context->mirrors[output];
    if (mirror->bytes >= bytes && mirror->data) return 0;
    if (mirror->data) context->apart->stage_free(context->device, mirror->data, mirror->bytes);
    *mirror = (struct mirror){0};
    int code = context->apart->stage_new(context->device, bytes > 0 ? bytes : 1, &mirror->data);
    if (code == 0) mirror->bytes = bytes > 0 ? bytes : 1;
    return code;
}

const struct flow_tensor *context_host(struct context *context, size_t output) {
    const struct binding *binding = context->current;
    if (!binding || output >= binding->plan->instance->output_count) return NULL;
    const struct flow_tensor *there = &binding->outputs[output];
    int64_t bytes;
    if (there->device == FLOW_DEVICE_CPU || there->rank < 0) return there;
    if (!plan_bytes(there, &bytes) || apart_mirror(context, output, bytes) < 0) return NULL;
    struct mirror *mirror = &context->mirrors[output];
    mirror->tensor = *there, mirror->tensor.data = mirror->data, mirror->tensor.device = FLOW_DEVICE_CPU;
    return device_get(context->device, mirror->data, there->data, bytes) < 0 ? NULL : &mirror->tensor;
}

void apart_context_free(struct context *context) {
    if (!context->apart) return;
    for (size_t o = 0; o < context->mirror_count; o++)
        if (context->mirrors[o].data) context->apart->stage_free(context->device, context->mirrors[o].data, context->mirrors[o].bytes);
    memory_free(context->from, context->mirrors, context->mirror_count * sizeof *context->mirrors);
    if (context->number_stage.data) context->apart->stage_free(context->device, context->number_stage.data, 8);
    context_room_free(context, &context->number);
    context_room_free(context, &context->counting);
    if (context->fork) context->apart->event_free(context->fork);
    if (context->join) context->apart->event_free(context->join);
}

/* ---- A run ---- */

static uint64_t mix(uint64_t hash, uint64_t word) { return (hash ^ word) * 0x9E3779B97F4A7C15u ^ (hash >> 29); }

/* Of every address and extent that may differ from run to run. */
static uint64_t key_of(const struct binding *binding) {
    uint64_t key = 1;
    for (size_t g = 0; g < binding->group_count; g++) key = mix(key, (uint64_t)(uintptr_t)binding->groups[g].base);
    for (size_t u = 0; u < binding->state_count; u++) {
        const struct flow_tensor *t = binding->states[u].tensor;
        key = mix(key, (uint64_t)(uintptr_t)t->data);
        for (int32_t a = 0; a < t->rank; a++) key = mix(mix(key, (uint64_t)t->shape[a]), (uint64_t)t->strides[a]);
    }
    return key ? key : 1;
}

int apart_timed(struct binding *binding, struct record *record, double *seconds) {
    struct context *context = binding->context;
    const struct device_api *api = api_of(context);
    struct event **marks = binding->apart->marks;
    struct stream *stream = call_stream(&record->call);
    int code = 0;
    for (int m = 0; m < 2 && code == 0; m++)
        if (!marks[m]) code = api->event_measuring(context->device, &marks[m]);
    if (code == 0) code = api->record(stream, marks[0]);
    if (code == 0) code = record_run(record);
    if (code == 0) code = api->record(stream, marks[1]);
    if (code == 0) code = api->synchronize(stream);
    return code == 0 ? api->elapsed(marks[0], marks[1], seconds) : code;
}

static int queue_segments(struct binding *binding) {
    struct context *context = binding->context;
    const struct device_api *api = api_of(context);
    int code = 0;
    for (size_t i = 0; i < binding->segment_count && code == 0; i++) {
        struct segment *segment = &binding->segments[i];
        struct stream *stream = context->streams[segment->stream];
        if (segment->kind == QUEUE_LAUNCH) code = api->launch(stream, run_segment, segment);
        else if (segment->kind == QUEUE_RECORD) code = api->record(stream, context->events[segment->event]);
        else code = api->wait(stream, context->events[segment->event]);
    }
    return code;
}

/* The first stream goes before all others, and after them: by itself where a stream waits for another at first, or is waited for at last.
 */
static int queue_all(struct binding *binding) {
    struct context *context = binding->context;
    const struct device_api *api = api_of(context);
    if (!binding->segment_count) return binding_run(binding, context->run, 1, 0);
    const struct apart *apart = binding->apart;
    int code = api->record(context->streams[0], context->fork);
    for (int32_t k = 1; k < binding->plan->stream_count && code == 0; k++)
        if (apart->forks[k]) code = api->wait(context->streams[k], context->fork);
    int queued = code == 0 ? queue_segments(binding) : code;
    for (int32_t k = 1; k < binding->plan->stream_count; k++) {
        if (!apart->joins[k] && queued == 0) continue; /* after an error all: a capture must end on its first stream */
        int joined = api->record(context->streams[k], context->join);
        if (joined == 0) joined = api->wait(context->streams[0], context->join);
        if (queued == 0) queued = joined;
    }
    return queued;
}

static int capture(struct binding *binding, uint64_t key) {
    struct context *context = binding->context;
    struct apart *apart = binding->apart;
    const struct device_api *api = api_of(context);
    struct device_graph *graph = NULL;
    int code = api->capture_begin(context->streams[0]);
    if (code < 0) return code;
    code = queue_all(binding);
    int ended = api->capture_end(context->streams[0], &graph);
    if (code == 0) code = ended;
    if (code < 0) {
        if (graph) api->graph_free(graph);
        return code;
    }
    int place = apart->next++ % CAPTURES;
    if (apart->captured[place].graph) api->graph_free(apart->captured[place].graph);
    apart->captured[place].key = key, apart->captured[place].graph = graph;
    context->captures++;
    return api->replay(context->streams[0], graph);
}

/* What has run once as it is, and comes again, is worth capturing. */
static int queue_or_replay(struct binding *binding) {
    struct context *context = binding->context;
    struct apart *apart = binding->apart;
    if (!apart->capturable || context->uncaptured || context->profiling || binding->labels) return queue_all(binding);
    uint64_t key = key_of(binding);
    for (int i = 0; i < CAPTURES; i++) {
        if (!apart->captured[i].graph || apart->captured[i].key != key) continue;
        context->replays++;
        return api_of(context)->replay(context->streams[0], apart->captured[i].graph);
    }
    for (int i = 0; i < CAPTURES; i++)
        if (apart->seen[i] == key) return capture(binding, key);
    apart->seen[apart->seen_next++ % CAPTURES] = key;
    return queue_all(binding);
}

/* The first that a kernel found wrong. */
static int take_faults(struct binding *binding) {
    struct apart *apart = binding->apart;
    struct context *context = binding->context;
    for (int32_t i = 0; i < apart->slots; i++) {
        struct flow_fault fault = apart->fault_stage[i];
        if (fault.code == FLOW_FAULT_NONE) continue;
        const struct binding *inside = apart->by_slot[i];
        struct record *record = &inside->records[fault.node >= 0 && (size_t)fault.node < inside->count ? (size_t)fault.node : 0];
        memset(apart->fault_stage, 0, (size_t)apart->slots * sizeof *apart->fault_stage);
        int code = device_put(context->device, apart->fault, apart->fault_stage, (int64_t)((size_t)apart->slots * sizeof *apart->fault));
        if (code < 0) return code;
        if (fault.code == FLOW_FAULT_INDEX)
            return context_fail(record, FLOW_ERROR_RANGE, "index %lld is outside [0, %lld)", (long long)fault.value,
                                (long long)fault.limit);
        return context_fail(record, FLOW_ERROR_RANGE, "the value %lld is not allowed", (long long)fault.value);
    }
    return 0;
}

/* Outputs that the caller reads. What differentiation adds stays there. */
static int bring_outputs(struct binding *binding) {
    struct context *context = binding->context;
    const struct plan *plan = binding->plan;
    int code = 0;
    for (size_t o = 0; o < plan->instance->network->output_count && code == 0; o++) {
        int64_t bytes;
        if (plan->outputs[o].place == PLACE_NONE || !plan_bytes(&plan->outputs[o].type, &bytes) || !bytes) continue;
        void *to = context->given_count > o && context->given[o].data ? context->given[o].data : NULL;
        if (!to) {
            code = apart_mirror(context, o, bytes);
            to = context->mirrors[o].data;
        }
        if (code == 0) code = api_of(context)->copy(context->streams[0], to, outputs_data(context, (int32_t)o), bytes, DEVICE_OUT);
    }
    return code;
}

int apart_run(struct binding *binding) {
    struct context *context = binding->context;
    const struct device_api *api = api_of(context);
    struct apart *apart = binding->apart;
    memcpy(context->number_stage.data, &context->run, 8);
    int code = api->copy(context->streams[0], context->number.data, context->number_stage.data, 8, DEVICE_IN);
    if (code == 0) code = queue_or_replay(binding);
    int64_t bytes = (int64_t)((size_t)apart->slots * sizeof *apart->fault);
    if (code == 0) code = api->copy(context->streams[0], apart->fault_stage, apart->fault, bytes, DEVICE_OUT);
    if (code == 0) code = bring_outputs(binding);
    for (size_t k = 0; k < context->stream_count; k++) {
        int stopped = context->streams[k] ? api->synchronize(context->streams[k]) : 0;
        if (code == 0) code = stopped;
    }
    if (code == 0) code = take_faults(binding);
    if (code < 0 && !atomic_load(&context->failed) && code != FLOW_ERROR_CANCELLED)
        code = context_fail(&binding->records[binding->once_count < binding->count ? binding->once_count : 0], code, "%s",
                            api->why(context->device));
    return code;
}
