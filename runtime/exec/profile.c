/* SPDX-License-Identifier: Apache-2.0 */
/* Times of nodes, added up over the plans that were bound and over the steps that belong to a node. */
#include "exec/context.h"

#include <string.h>

static void forget_times(struct binding *binding) {
    for (size_t s = 0; s < binding->count; s++) {
        binding->seconds[s] = 0, binding->calls[s] = 0;
        if (binding->loops[s]) forget_times(binding->loops[s]->body);
    }
    binding->within = 0;
}

int context_profile_start(struct context *context) {
    for (struct binding *b = context->bindings; b; b = b->next) forget_times(b);
    context->profiling = true;
    return 0;
}

struct gathering {
    struct context_times *times;
    size_t count, capacity;
    struct arena arena;
    struct map places;
};

static int add(const struct allocator *from, struct gathering *all, const struct binding *binding, size_t s) {
    const struct plan_step *step = &binding->plan->steps[s];
    if (!binding->calls[s]) return 0;
    const struct instance_node *node = step->node >= 0 ? &binding->plan->instance->nodes[step->node] : NULL;
    const bool between = node && node->role >= NODE_FILL; /* gradients set to a number, passed on, added up, joined */
    const char *name = between ? "(gradients)" : node ? node->source->path : "(copies)";
    int64_t place;
    if (!map_get(&all->places, name, &place)) {
        if (memory_grow(from, (void **)&all->times, &all->capacity, all->count + 1, sizeof *all->times) < 0) return FLOW_ERROR_MEMORY;
        if (map_set(&all->places, name, (int64_t)all->count) < 0) return FLOW_ERROR_MEMORY;
        place = (int64_t)all->count++;
        const char *op = between               ? "sum"
                         : node && node->entry ? node->entry->op->name
                         : node && node->body  ? "loop"
                         : node                ? "parameters"
                                               : "copy";
        all->times[place] = (struct context_times){.node = name, .op = op};
    }
    struct context_times *times = &all->times[place];
    times->seconds += binding->seconds[s];
    if (step->kind == PLAN_KERNEL) {
        double calls = (double)binding->calls[s];
        times->calls += binding->calls[s], times->flops += calls * node->infer.flops, times->bytes += calls * node->infer.bytes;
    } else if (step->kind == PLAN_LOOP || !node || !node->entry) times->calls += binding->calls[s];
    return 0;
}

static int gather(const struct allocator *from, struct gathering *all, const struct binding *binding) {
    int code = 0;
    for (size_t s = 0; s < binding->count && code == 0; s++) {
        code = add(from, all, binding, s);
        if (code == 0 && binding->loops[s]) code = gather(from, all, binding->loops[s]->body);
    }
    return code;
}

int context_profile(struct context *context, const struct context_times **times, size_t *count) {
    struct gathering all = {0};
    arena_init(&all.arena, context->from);
    map_init(&all.places, &all.arena);
    int code = 0;
    for (struct binding *b = context->bindings; b && code == 0; b = b->next) code = gather(context->from, &all, b);
    arena_free(&all.arena);
    if (code < 0) {
        memory_free(context->from, all.times, all.capacity * sizeof *all.times);
        return code;
    }
    memory_free(context->from, context->times, context->times_count * sizeof *context->times);
    context->times = all.times, context->times_count = all.capacity;
    *times = all.times, *count = all.count;
    return 0;
}
