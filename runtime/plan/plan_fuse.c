/* SPDX-License-Identifier: Apache-2.0 */
/* Fusion: an activation, a sum, or one after the other, whose only input from a kernel nobody else reads is done by that kernel on its way
 * out, where it can: what it wrote is still in the nearest cache, and the value between them needs no memory. */
#include "plan/build.h"

#include <string.h>

static void count(const struct plan_build *build, const int32_t *values, size_t many, int32_t *uses) {
    for (size_t i = 0; i < many; i++)
        if (values[i] >= 0) uses[plan_owner_index(build->instance, values[i])]++;
}

/* How often each value, or a view of it, is read. */
static int32_t *count_uses(const struct plan_build *build, struct arena *arena) {
    const struct instance *instance = build->instance;
    int32_t *uses = arena_array(arena, instance->value_count, sizeof *uses);
    if (!uses) return NULL;
    for (size_t n = 0; n < instance->node_count; n++) {
        const struct instance_node *node = &instance->nodes[n];
        count(build, node->in, node->in_count, uses), count(build, node->param, node->param_count, uses);
    }
    count(build, instance->outputs, instance->output_count, uses);
    for (size_t v = 0; v < instance->value_count; v++)
        if (instance->values[v].kind == VALUE_FEED && instance->values[v].feed >= 0) count(build, &instance->values[v].feed, 1, uses);
    return uses;
}

static bool alike(const struct flow_tensor *a, const struct flow_tensor *b) {
    bool same = a->dtype == b->dtype && a->rank == b->rank && plan_contiguous(a) && plan_contiguous(b);
    for (int32_t i = 0; same && i < a->rank; i++) same = a->shape[i] == b->shape[i];
    return same;
}

/* An ordinary node with one output that is not a view, computed in every run, and not read by a backward. */
static bool plain(const struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    if (!build->needed[n] || build->constant[n] || build->differentiated[n] || build->wide[n] || build->fusion[n].done) return false;
    if (node->hosted || node->role != NODE_FORWARD || node->source->kind != NETWORK_OPERATOR || !build->kernels[n] || node->out_count != 1)
        return false;
    const struct instance_value *out = node->out[0] < 0 ? NULL : &build->instance->values[node->out[0]];
    return out && out->type.rank >= 0 && out->view_of < 0 && !out->dynamic;
}

/* Is the value there when node `n` runs? */
static bool before(const struct plan_build *build, int32_t value, int32_t n) {
    const struct instance_value *owner = plan_owner(build->instance, value);
    return owner->kind != VALUE_NODE || build->constant[owner->node] || owner->node < n;
}

/* The node that computes `value`, or does so for another one; -1 where its kernel cannot also do `epilogue`. */
static int32_t maker(const struct plan_build *build, int32_t value, uint32_t epilogue, const int32_t *uses, const int32_t *by) {
    const struct instance_value *v = &build->instance->values[value];
    if (v->kind != VALUE_NODE || v->view_of >= 0 || uses[value] != 1) return -1;
    int32_t n = by[v->node];
    if (!plain(build, n) || build->fusion[n].residual >= 0) return -1;
    if (epilogue == FLOW_EPILOGUE_ACTIVATION && build->fusion[n].activation) return -1;
    return build->kernels[n]->epilogues & build->instance->nodes[n].infer.epilogues & epilogue ? n : -1;
}

static void take(struct plan_build *build, int32_t maker, int32_t n, int32_t *by) {
    build->fusion[maker].last = n, build->fusion[n].done = true, by[n] = maker;
}

/* A sum of two, either of which may be what the other is added to. */
static void fuse_sum(struct plan_build *build, int32_t n, const int32_t *uses, int32_t *by) {
    const struct instance *instance = build->instance;
    const struct instance_node *node = &instance->nodes[n];
    for (uint32_t i = 0; i < 2; i++) {
        int32_t value = node->in[i], other = node->in[1 - i];
        int32_t m = value == other ? -1 : maker(build, value, FLOW_EPILOGUE_RESIDUAL, uses, by);
        if (m < 0 || !before(build, other, m)) continue;
        if (!alike(&instance->values[value].type, &instance->values[node->out[0]].type)) continue;
        if (!alike(&instance->values[other].type, &instance->values[node->out[0]].type)) continue;
        build->fusion[m].residual = other;
        take(build, m, n, by);
        return;
    }
}

static void fuse_activation(struct plan_build *build, int32_t n, const int32_t *uses, int32_t *by) {
    const struct instance_node *node = &build->instance->nodes[n];
    int32_t m = maker(build, node->in[0], FLOW_EPILOGUE_ACTIVATION, uses, by);
    if (m < 0 || !alike(&build->instance->values[node->in[0]].type, &build->instance->values[node->out[0]].type)) return;
    build->fusion[m].activation = node->infer.is;
    take(build, m, n, by);
}

int plan_fuse(struct plan_build *build) {
    const struct instance *instance = build->instance;
    int32_t *uses = count_uses(build, &build->scratch), *by = arena_array(&build->scratch, instance->node_count, sizeof *by);
    if (!uses || !by) return report_memory(build->report);
    for (size_t n = 0; n < instance->node_count; n++)
        build->fusion[n] = (struct plan_fusion){.last = -1, .residual = -1}, by[n] = (int32_t)n;
    for (size_t n = 0; n < instance->node_count; n++) {
        const struct instance_node *node = &instance->nodes[n];
        if (!node->infer.is || !plain(build, (int32_t)n)) continue;
        if (node->infer.is == FLOW_IS_SUM && node->in_count >= 2 && node->in[0] >= 0 && node->in[1] >= 0)
            fuse_sum(build, (int32_t)n, uses, by);
        else if (node->infer.is <= FLOW_ACTIVATION_GELU && node->in[0] >= 0) fuse_activation(build, (int32_t)n, uses, by);
    }
    return 0;
}
