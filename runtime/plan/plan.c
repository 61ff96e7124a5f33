/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/build.h"

#include <string.h>

static int32_t *marks(struct plan_build *build, size_t count) {
    int32_t *at = arena_array(&build->scratch, count, sizeof *at);
    if (at) memset(at, 0xFF, count * sizeof *at);
    return at;
}

static int prepare_scratch(struct plan_build *build) {
    size_t nodes = build->instance->node_count, values = build->instance->value_count;
    build->needed = arena_array(&build->scratch, nodes, sizeof *build->needed);
    build->constant = arena_array(&build->scratch, nodes, sizeof *build->constant);
    build->wide = arena_array(&build->scratch, nodes, sizeof *build->wide);
    build->kernels = arena_array(&build->scratch, nodes, sizeof *build->kernels);
    build->bodies = arena_array(&build->scratch, nodes, sizeof *build->bodies);
    build->home = marks(build, values), build->dense = marks(build, values), build->wider = marks(build, values);
    build->differentiated = arena_array(&build->scratch, nodes, sizeof *build->differentiated), build->saved = marks(build, nodes);
    build->claim = marks(build, values), build->param = marks(build, values), build->feed = marks(build, values);
    build->fusion = arena_array(&build->scratch, nodes, sizeof *build->fusion);
    bool all = build->fusion && build->needed && build->constant && build->wide && build->kernels && build->bodies && build->home &&
               build->dense && build->wider && build->claim && build->param && build->feed && build->differentiated && build->saved;
    return all ? 0 : report_memory(build->report);
}

/* An output that is a feed updated in place needs no copy to keep it: those steps, at the end, are dropped. */
static void drop_moves_to_itself(struct plan_build *build) {
    size_t kept = build->plan->once_count;
    for (size_t s = kept; s < build->step_count; s++) {
        struct plan_step *step = &build->steps[s];
        bool idle = step->kind == PLAN_COPY && step->in[0].place == PLACE_FEED && step->out[0].place == PLACE_FEED &&
                    step->in[0].index == step->out[0].index && step->in[0].offset == step->out[0].offset;
        if (!idle) build->steps[kept++] = *step;
    }
    build->step_count = kept;
}

static int list_feeds(struct plan_build *build) {
    struct plan *plan = build->plan;
    const struct instance *instance = build->instance;
    for (size_t v = 0; v < instance->value_count; v++) plan->feed_count += instance->values[v].kind == VALUE_FEED;
    plan->feeds = arena_array(&plan->arena, plan->feed_count, sizeof *plan->feeds);
    if (!plan->feeds) return report_memory(build->report);
    size_t number = 0;
    for (size_t v = 0; v < instance->value_count; v++)
        if (instance->values[v].kind == VALUE_FEED) plan->feeds[number++] = build->feed[v] >= 0 ? (int32_t)v : -1;
    return 0;
}

/* Which step writes the extent of an output that is known after the run only. */
static int find_dynamic(struct plan_build *build, size_t o) {
    const struct instance *instance = build->instance;
    int32_t v = instance->outputs[o], owner = plan_owner_index(instance, v);
    const struct instance_value *base = &instance->values[owner];
    if (!base->dynamic || o >= instance->network->output_count) return 0;
    struct position at = instance->network->outputs[o].at;
    const char *name = instance->network->outputs[o].name;
    if (build->body)
        return report_add(build->report, FLOW_ERROR_UNSUPPORTED, at,
                          "output '%s' of a loop's body has an extent that is known after it ran only", name);
    if (instance->values[v].type.rank != base->type.rank || instance->values[v].type.shape[0] != base->type.shape[0])
        return report_add(build->report, FLOW_ERROR_UNSUPPORTED, at,
                          "output '%s' views '%s', how many rows of which there are is known after the run only", name, base->name);
    for (size_t s = 0; s < build->step_count; s++)
        for (uint32_t k = 0; k < build->steps[s].out_count; k++)
            if (build->steps[s].kind == PLAN_KERNEL && build->steps[s].node == base->node &&
                build->instance->nodes[base->node].out[k] == owner)
                build->plan->dynamic[o] = (int32_t)s + 1, build->plan->dynamic_row[o] = (int32_t)k;
    return 0;
}

static int list_outputs(struct plan_build *build) {
    struct plan *plan = build->plan;
    size_t count = build->instance->output_count;
    plan->outputs = plan_tensors(build, count);
    plan->dynamic = arena_array(&plan->arena, count, sizeof *plan->dynamic);
    plan->dynamic_row = arena_array(&plan->arena, count, sizeof *plan->dynamic_row);
    if (!plan->outputs || !plan->dynamic || !plan->dynamic_row) return report_memory(build->report);
    for (size_t o = 0; o < count; o++) {
        int32_t v = build->instance->outputs[o];
        if (v < 0) continue;
        plan->outputs[o] = (struct plan_tensor){.place = PLACE_OUTPUT, .index = (int32_t)o, .value = v};
        plan->outputs[o].type = plan_packed_type(&build->instance->values[v].type);
        int code = find_dynamic(build, o);
        if (code < 0) return code;
    }
    return 0;
}

static int finish(struct plan_build *build) {
    struct plan *plan = build->plan;
    drop_moves_to_itself(build);
    int code = list_feeds(build);
    if (code == 0) code = list_outputs(build);
    if (code < 0) return code;
    plan->steps = arena_copy(&plan->arena, build->steps, build->step_count * sizeof *build->steps);
    plan->packed = arena_copy(&plan->arena, build->packed, build->packed_count * sizeof *build->packed);
    plan->blocks = arena_copy(&plan->arena, build->blocks, build->block_count * sizeof *build->blocks);
    if (!plan->steps || !plan->packed || !plan->blocks) return report_memory(build->report);
    plan->step_count = build->step_count, plan->packed_count = build->packed_count, plan->block_count = build->block_count;
    return 0;
}

/* Loop bodies belong to the steps; until a plan is whole, to the building of it. */
static void free_build(struct plan_build *build, bool failed) {
    for (size_t n = 0; build->bodies && n < build->instance->node_count; n++) plan_free(build->bodies[n]);
    for (size_t s = 0; failed && s < build->step_count; s++)
        if (build->steps[s].loop) plan_free(build->steps[s].loop->body);
    memory_free(build->from, build->steps, build->step_capacity * sizeof *build->steps);
    memory_free(build->from, build->blocks, build->block_capacity * sizeof *build->blocks);
    memory_free(build->from, build->packed, build->packed_capacity * sizeof *build->packed);
    arena_free(&build->scratch);
}

int plan_new_body(const struct allocator *from, const struct instance *instance, const struct plan_options *options, struct report *report,
                  bool body, struct plan **out) {
    *out = NULL;
    struct plan *plan = memory_new(from, sizeof *plan);
    if (!plan) return report_memory(report);
    arena_init(&plan->arena, from);
    plan->instance = instance, plan->host = options->host, plan->device = options->device;
    struct plan_build build = {.from = from, .instance = instance, .options = options, .report = report, .plan = plan, .body = body};
    arena_init(&build.scratch, from);
    int code = prepare_scratch(&build);
    if (code == 0) code = plan_select(&build);
    if (code == 0) code = plan_fuse(&build);
    if (code == 0) code = plan_steps(&build);
    if (code == 0) code = plan_stream(&build);
    if (code == 0) plan_takeover(&build);
    if (code == 0) code = plan_memory(&build);
    if (code == 0) code = finish(&build);
    free_build(&build, code < 0);
    if (code < 0) {
        plan->step_count = 0;
        plan_free(plan);
        return code;
    }
    *out = plan;
    return 0;
}

int plan_new(const struct allocator *from, const struct instance *instance, const struct plan_options *options, struct report *report,
             struct plan **out) {
    return plan_new_body(from, instance, options, report, false, out);
}

void plan_free(struct plan *plan) {
    if (!plan) return;
    for (size_t s = 0; s < plan->step_count; s++)
        if (plan->steps[s].loop) plan_free(plan->steps[s].loop->body);
    const struct allocator *from = plan->arena.from;
    arena_free(&plan->arena);
    memory_free(from, plan, sizeof *plan);
}
