/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/context.h"

#include <string.h>

int context_new(const struct allocator *from, struct model *model, struct context **out) {
    *out = NULL;
    struct context *context = memory_new(from, sizeof *context);
    if (!context) return FLOW_ERROR_MEMORY;
    context->from = from, context->model = model, context->device = model_device(model);
    context->host = *context->device->host;
    context->apart = context->device->api->apart ? context->device->api : NULL;
    context->host.size = (uint32_t)sizeof context->host;
    context->host.fail = context_fail, context->host.fail_at = context_fail_at;
    context->host.cancelled = context_cancelled, context->host.log = context_log;
    context->cpu_host = context->host;
    if (context->apart) {
        const struct flow_host *cpu = context->device->cpu->host;
        context->cpu_host = *cpu, context->cpu_host.size = (uint32_t)sizeof context->cpu_host;
        context->cpu_host.fail = context_fail, context->cpu_host.fail_at = context_fail_at;
        context->cpu_host.cancelled = context_cancelled, context->cpu_host.log = context_log;
    }
    atomic_init(&context->cancel, 0);
    atomic_init(&context->failed, 0);
    *out = context;
    return 0;
}

void context_room_free(struct context *context, struct buffer *buffer) {
    if (buffer->data)
        context->device->api->memory_free(context->device, (char *)buffer->data - context_guard(context),
                                          buffer->bytes + 2 * context_guard(context));
    *buffer = (struct buffer){0};
}

int context_room(struct context *context, struct buffer *buffer, int64_t bytes) {
    if (buffer->bytes >= bytes && (buffer->data || bytes == 0)) return 0;
    void *data;
    int64_t guard = context_guard(context);
    int code = context->device->api->memory_new(context->device, bytes + 2 * guard, &data);
    if (code < 0) return code;
    context_room_free(context, buffer);
    *buffer = (struct buffer){(char *)data + guard, bytes};
    if (guard) checked_buffer(buffer);
    return 0;
}

void context_free(struct context *context) {
    if (!context) return;
    const struct allocator *from = context->from;
    while (context->bindings) {
        struct binding *binding = context->bindings;
        context->bindings = binding->next;
        binding_free(binding);
    }
    apart_context_free(context);
    context_room_free(context, &context->arena);
    for (size_t o = 0; o < context->output_count; o++) context_room_free(context, &context->outputs[o]);
    for (size_t i = 0; i < context->stage_count; i++) context_room_free(context, &context->stages[i]);
    for (size_t s = 0; s < context->state_count; s++)
        context_room_free(context, &context->states[s].buffers[0]), context_room_free(context, &context->states[s].buffers[1]);
    for (size_t f = 0; f < context->feed_count; f++) context_room_free(context, &context->feeds[f].buffer);
    for (size_t s = 0; s < context->stream_count; s++)
        if (context->streams[s]) context->device->api->stream_free(context->streams[s]);
    for (size_t e = 0; e < context->event_count; e++)
        if (context->events[e]) context->device->api->event_free(context->events[e]);
    memory_free(from, context->outputs, context->output_count * sizeof *context->outputs);
    memory_free(from, context->stages, context->stage_count * sizeof *context->stages);
    memory_free(from, context->given, context->given_count * sizeof *context->given);
    memory_free(from, context->states, context->state_count * sizeof *context->states);
    memory_free(from, context->feeds, context->feed_count * sizeof *context->feeds);
    memory_free(from, context->streams, context->stream_count * sizeof *context->streams);
    memory_free(from, context->events, context->event_count * sizeof *context->events);
    profile_free(&context->profile);
    memory_free(from, context->times, context->times_count * sizeof *context->times);
    memory_free(from, context, sizeof *context);
}

void context_log_to(struct context *context, const struct logger *log) { context->log = log; }

void context_reset(struct context *context) {
    for (size_t s = 0; s < context->state_count; s++) context->states[s].filled = false;
    for (size_t f = 0; f < context->feed_count; f++) context->feeds[f].filled = false;
    context->run = 0, context->broken = false;
    atomic_store(&context->cancel, 0);
}

void context_cancel(struct context *context) { atomic_store_explicit(&context->cancel, 1, memory_order_relaxed); }

void context_uncancel(struct context *context) { atomic_store_explicit(&context->cancel, 0, memory_order_relaxed); }

void context_capture(struct context *context, bool on) { context->uncaptured = !on; }

const char *context_captured(const struct context *context, uint64_t *captures, uint64_t *replays) {
    *captures = context->captures, *replays = context->replays;
    const struct apart *apart = context->current ? context->current->apart : NULL;
    return apart && !apart->capturable ? apart->whole : NULL;
}

void context_check(struct context *context, bool finite) { context->checked = true, context->finite = finite; }

void context_number(struct context *context, uint64_t run) { context->run = run; }

/* ---- What is kept ---- */

static const struct instance_value *feed_value(const struct context *context, size_t index) {
    const struct binding *binding = context->current;
    if (!binding || index >= binding->plan->feed_count || binding->plan->feeds[index] < 0) return NULL;
    return &binding->plan->instance->values[binding->plan->feeds[index]];
}

void context_epoch(struct context *context) {
    for (size_t f = 0; f < context->feed_count; f++) {
        const struct instance_value *value = feed_value(context, f);
        if (!value || !value->never_reset) context->feeds[f].filled = false;
    }
}

size_t context_feeds(const struct context *context) { return context->current ? context->current->plan->feed_count : 0; }

const struct flow_tensor *context_feed(const struct context *context, size_t index, const char **name) {
    const struct instance_value *value = feed_value(context, index);
    if (!value || !context->feeds[index].filled) return NULL;
    if (name) *name = value->name;
    return &context->feeds[index].type;
}

const char *context_feed_name(const struct context *context, size_t index) {
    const struct instance_value *value = feed_value(context, index);
    return value ? value->name : NULL;
}

int context_set_feed(struct context *context, size_t index, const struct flow_tensor *value) {
    struct exec_feed *feed = &context->feeds[index];
    int64_t bytes, room;
    if (!feed_value(context, index) || !plan_bytes(&feed->type, &bytes) || !plan_bytes(value, &room) || bytes != room ||
        feed->type.dtype != value->dtype)
        return FLOW_ERROR_SHAPE;
    int code = value->device == FLOW_DEVICE_CPU ? device_put(context->device, feed->buffer.data, value->data, bytes)
                                                : context_move(context, feed->buffer.data, value->data, bytes);
    feed->filled = code == 0;
    return code;
}

/* ---- Binding ---- */

/* An array as long as `need`, new rows zeroed; what is there stays. */
static int lengthen(const struct allocator *from, void **at, size_t *count, size_t need, size_t size) {
    if (need <= *count) return 0;
    void *longer = memory_array(from, need, size);
    if (!longer) return FLOW_ERROR_MEMORY;
    if (*count) memcpy(longer, *at, *count * size);
    memory_free(from, *at, *count * size);
    *at = longer, *count = need;
    return 0;
}

int context_output(struct context *context, size_t output, void *data, int64_t bytes) {
    if (!data && output >= context->given_count) return 0;
    int code = lengthen(context->from, (void **)&context->given, &context->given_count, output + 1, sizeof *context->given);
    if (code == 0) context->given[output] = (struct exec_given){data, bytes};
    return code;
}

static int make_queues(struct context *context, const struct plan *plan) {
    size_t streams = (size_t)plan->stream_count, events = (size_t)plan->event_count;
    if (streams < 2 && !context->apart) return 0;
    if (streams < 1) streams = 1;
    const struct device_api *api = context->device->api;
    int code = lengthen(context->from, (void **)&context->streams, &context->stream_count, streams, sizeof *context->streams);
    if (code == 0) code = lengthen(context->from, (void **)&context->events, &context->event_count, events, sizeof *context->events);
    for (size_t s = 0; s < streams && code == 0; s++)
        if (!context->streams[s]) code = api->stream_new(context->device, &context->streams[s]);
    for (size_t e = 0; e < events && code == 0; e++)
        if (!context->events[e]) code = api->event_new(context->device, &context->events[e]);
    return code;
}

/* Buffers as large as this plan needs them. Growing may move them: pointers are set again when a run finds that. */
static int make_room(struct context *context, const struct plan *plan) {
    const struct instance *instance = plan->instance;
    int code =
        lengthen(context->from, (void **)&context->outputs, &context->output_count, instance->output_count, sizeof *context->outputs);
    if (code == 0)
        code = lengthen(context->from, (void **)&context->stages, &context->stage_count, instance->input_count, sizeof *context->stages);
    if (code == 0)
        code =
            lengthen(context->from, (void **)&context->states, &context->state_count, plan->instance->state_count, sizeof *context->states);
    if (code == 0) code = lengthen(context->from, (void **)&context->feeds, &context->feed_count, plan->feed_count, sizeof *context->feeds);
    if (code == 0) code = context_room(context, &context->arena, plan->bytes);
    for (size_t o = 0; o < instance->output_count && code == 0; o++) {
        int64_t bytes;
        bool given = o < context->given_count && context->given[o].data && !context->checked && !context->apart;
        if (!given && plan->outputs[o].place != PLACE_NONE && plan_bytes(&plan->outputs[o].type, &bytes))
            code = context_room(context, &context->outputs[o], bytes);
    }
    if (code == 0) code = make_queues(context, plan);
    return code == 0 ? apart_prepare(context, plan) : code;
}

static void drop_oldest(struct context *context) {
    struct binding *oldest = NULL;
    for (struct binding *b = context->bindings; b; b = b->next)
        if (b != context->current && (!oldest || b->used < oldest->used)) oldest = b;
    if (oldest) context_forget(context, oldest->plan);
}

void context_forget(struct context *context, const struct plan *plan) {
    for (struct binding **at = &context->bindings; *at; at = &(*at)->next) {
        struct binding *binding = *at;
        if (binding->plan != plan) continue;
        *at = binding->next;
        if (context->current == binding) context->current = NULL;
        context->binding_count--;
        profile_take(binding);
        binding_free(binding);
        return;
    }
}

int context_bind(struct context *context, const struct plan *plan, struct report *report) {
    struct binding *binding = context->current;
    context->host.products = plan->instance->products;
    context->guarded = false;
    if (!binding || binding->plan != plan)
        for (binding = context->bindings; binding && binding->plan != plan;) binding = binding->next;
    if (binding) {
        context->current = binding;
        binding->used = ++context->clock;
        return states_bind(binding, report);
    }
    int code = model_fill(context->model, plan->instance, report, NULL);
    if (code < 0) return code;
    if (make_room(context, plan) < 0) {
        if (!context->apart) return report_memory(report);
        return report_add(report, FLOW_ERROR_MEMORY, (struct position){plan->instance->network->path, 0, 0},
                          "the plan needs %.1f MB on the device beside the parameters: %s", (double)plan->bytes / 1e6,
                          context->apart->why(context->device));
    }
    code = binding_new(context, plan, NULL, 0, report, &binding);
    if (code < 0) return code;
    code = states_bind(binding, report);
    if (code == 0) code = binding_once(binding, report);
    if (code < 0) {
        binding_free(binding);
        return code;
    }
    binding->used = ++context->clock;
    binding->next = context->bindings, context->bindings = binding;
    context->current = binding;
    if (++context->binding_count > BINDINGS_MOST) drop_oldest(context);
    return 0;
}
