/* SPDX-License-Identifier: Apache-2.0 */
#include "grad/grad.h"
#include "grad/walk.h"
#include "graph/extents.h"

#include <string.h>

/* ---- Growing ---- */

static int room(struct arena *arena, void **at, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return 0;
    size_t more = *capacity ? 2 * *capacity : 64;
    if (more <= count) more = count + 64;
    void *bigger = arena_array(arena, more, size);
    if (!bigger) return FLOW_ERROR_MEMORY;
    if (count) memcpy(bigger, *at, count * size);
    *at = bigger, *capacity = more;
    return 0;
}

static int32_t append_value(struct instance *instance, size_t *capacity, enum instance_kind kind, const char *name,
                            const struct flow_tensor *type) {
    if (instance->value_count >= INT32_MAX ||
        room(&instance->arena, (void **)&instance->values, instance->value_count, capacity, sizeof *instance->values) < 0)
        return -1;
    int32_t id = (int32_t)instance->value_count++;
    instance->values[id] = (struct instance_value){
        .kind = kind, .name = name, .type = *type, .node = -1, .port = -1, .index = -1, .feed = -1, .view_of = -1, .stream_axis = -1};
    instance->values[id].type.data = NULL;
    return id;
}

int32_t grad_value(struct grad_walk *walk, enum instance_kind kind, const char *name, const struct flow_tensor *type) {
    return append_value(walk->instance, &walk->value_room, kind, name, type);
}

struct instance_node *grad_node(struct grad_walk *walk, enum instance_role role, const struct instance_node *like) {
    if (walk->node_count >= INT32_MAX ||
        room(&walk->instance->arena, (void **)&walk->nodes, walk->node_count, &walk->node_room, sizeof *walk->nodes) < 0)
        return NULL;
    struct instance_node *node = &walk->nodes[walk->node_count++];
    *node = (struct instance_node){.role = role, .target = -1, .dtype = like ? like->dtype : FLOW_F32};
    if (like) node->source = like->source, node->seed = like->seed;
    else if (walk->node_count > 1) node->source = node[-1].source; /* for messages */
    return node;
}

int32_t grad_input(struct instance *instance, const char *name, const struct flow_tensor *type) {
    size_t none = 0; /* the list is copied: rare, and short */
    int32_t *inputs = arena_array(&instance->arena, instance->input_count + 1, sizeof *inputs);
    struct flow_tensor plain = *type;
    (void)extents_contiguous(&plain); /* of a value that exists */
    int32_t id = inputs ? append_value(instance, &none, VALUE_INPUT, name, &plain) : -1;
    if (id < 0) return -1;
    if (instance->input_count) memcpy(inputs, instance->inputs, instance->input_count * sizeof *inputs);
    instance->values[id].index = (int32_t)instance->input_count;
    inputs[instance->input_count++] = id;
    instance->inputs = inputs;
    return id;
}

int grad_outputs(struct instance *instance, const int32_t *values, size_t count) {
    int32_t *outputs = arena_array(&instance->arena, instance->output_count + count, sizeof *outputs);
    if (!outputs) return FLOW_ERROR_MEMORY;
    if (instance->output_count) memcpy(outputs, instance->outputs, instance->output_count * sizeof *outputs);
    if (count) memcpy(outputs + instance->output_count, values, count * sizeof *values);
    instance->outputs = outputs, instance->output_count += count;
    return 0;
}

/* ---- What depends on what is wanted ---- */

int32_t grad_owner(const struct grad_walk *walk, int32_t value) {
    int32_t of = walk->instance->values[value].view_of;
    return of < 0 ? value : of;
}

static bool is_real(int32_t dtype) { return dtype == FLOW_F32 || dtype == FLOW_F64; }

bool grad_wanted(const struct grad_walk *walk, int32_t value) {
    if (value < 0 || (size_t)value >= walk->originals) return false;
    const struct instance_value *v = &walk->instance->values[value];
    return v->type.rank >= 0 && dtype_float(v->type.dtype) && walk->depends[grad_owner(walk, value)];
}

const struct flow_port *grad_port(const struct flow_ports *ports, uint32_t i) {
    if (ports->count == 0) return NULL;
    const struct flow_port *last = &ports->at[ports->count - 1];
    return i < ports->count ? &ports->at[i] : last->flags & FLOW_VARIADIC ? last : NULL;
}

static bool flows_in(const struct grad_walk *walk, const struct instance_node *node, uint32_t i) {
    if (!grad_wanted(walk, node->in[i])) return false;
    const struct flow_port *row = node->entry ? grad_port(&node->entry->op->inputs, i) : NULL;
    return !row || !(row->flags & FLOW_NO_GRAD);
}

static bool node_depends(const struct grad_walk *walk, const struct instance_node *node) {
    if (node->source->kind == NETWORK_GRADIENT) return false;
    for (uint32_t i = 0; i < node->in_count; i++)
        if (flows_in(walk, node, i)) return true;
    for (uint32_t i = 0; i < node->param_count; i++)
        if (grad_wanted(walk, node->param[i])) return true;
    return false;
}

static void mark_depends(struct grad_walk *walk, const struct grad_pass *pass, int32_t end) {
    const struct instance *instance = walk->instance;
    memset(walk->depends, 0, walk->originals * sizeof *walk->depends);
    for (size_t w = 0; w < pass->want_count; w++) walk->depends[pass->wants[w]] = true;
    for (int32_t n = 0; n < end; n++) {
        const struct instance_node *node = &walk->nodes[n];
        if (node->role != NODE_FORWARD || !node_depends(walk, node)) continue;
        for (uint32_t k = 0; k < node->out_count; k++) {
            int32_t v = node->out[k];
            if (v < 0 || instance->values[v].view_of >= 0) continue;
            const struct flow_port *row = node->entry ? grad_port(&node->entry->op->outputs, k) : NULL;
            if (!row || !(row->flags & FLOW_NO_GRAD)) walk->depends[v] = true;
        }
    }
}

/* ---- The walk ---- */

static bool views_alone(const struct instance *instance, const struct instance_node *node) {
    for (uint32_t k = 0; k < node->out_count; k++)
        if (node->out[k] >= 0 && instance->values[node->out[k]].view_of < 0) return false;
    return true;
}

static bool reached(const struct grad_walk *walk, const struct instance_node *node) {
    for (uint32_t k = 0; k < node->out_count; k++) {
        int32_t v = node->out[k];
        if (v < 0 || walk->instance->values[v].view_of >= 0) continue;
        if (walk->state[v].grad >= 0 || walk->state[v].pending >= 0) return true;
    }
    return false;
}

static int refuse_half(struct grad_walk *walk, const struct instance_node *node) {
    return report_add(
        walk->report, FLOW_ERROR_UNSUPPORTED, node->source->op_at,
        "node '%s' computes in %s: gradients are computed in f32 and f64 (`run: {precision: bf16}` has 16-bit products and f32 "
        "values)",
        node->source->path, dtype_name(node->dtype));
}

/* The node's outputs once more: the like values, views of the like owners. */
static int repeat_node(struct grad_walk *walk, int32_t n) {
    struct instance *instance = walk->instance;
    const struct instance_node like = walk->nodes[n];
    struct arena *arena = &instance->arena;
    struct instance_node *node = grad_node(walk, NODE_AGAIN, &like);
    int32_t at = (int32_t)walk->node_count - 1;
    if (!node) return FLOW_ERROR_MEMORY;
    *node = like;
    node->role = NODE_AGAIN, node->borrowed = true;
    int32_t *in = arena_copy(arena, like.in, like.in_count * sizeof *in), *out = arena_copy(arena, like.out, like.out_count * sizeof *out);
    int32_t *param = arena_copy(arena, like.param, like.param_count * sizeof *param);
    if (!in || !out || !param) return FLOW_ERROR_MEMORY;
    node->in = in, node->out = out, node->param = param;
    for (uint32_t i = 0; i < like.in_count; i++)
        if (in[i] >= 0 && walk->again[in[i]] >= 0) in[i] = walk->again[in[i]];
    for (uint32_t i = 0; i < like.param_count; i++)
        if (param[i] >= 0 && walk->again[param[i]] >= 0) param[i] = walk->again[param[i]];
    for (uint32_t k = 0; k < like.out_count; k++) {
        if (like.out[k] < 0) continue;
        struct instance_value old = instance->values[like.out[k]];
        int32_t made = grad_value(walk, VALUE_NODE, old.name, &old.type);
        if (made < 0) return FLOW_ERROR_MEMORY;
        struct instance_value *value = &instance->values[made];
        value->node = at, value->port = old.port, value->dynamic = old.dynamic;
        if (old.view_of >= 0) {
            value->view_of =
                (size_t)old.view_of < walk->originals && walk->again[old.view_of] >= 0 ? walk->again[old.view_of] : old.view_of;
            value->view_offset = old.view_offset;
        }
        out[k] = made, walk->again[like.out[k]] = made;
    }
    walk->again_node[n] = at;
    return 0;
}

static int repeat_segment(struct grad_walk *walk, int32_t segment) {
    walk->repeated[segment] = true;
    for (int32_t n = walk->head[segment]; n >= 0; n = walk->next[n]) {
        int code = repeat_node(walk, n);
        if (code < 0) return code;
    }
    return 0;
}

static int visit(struct grad_walk *walk, int32_t n) {
    const struct instance_node *node = &walk->nodes[n];
    if (node->role != NODE_FORWARD || node->source->kind == NETWORK_GRADIENT || views_alone(walk->instance, node)) return 0;
    if (!node_depends(walk, node) || !reached(walk, node)) return 0;
    if (node->streaming)
        return report_add(walk->report, FLOW_ERROR_UNSUPPORTED, node->source->op_at,
                          "node '%s' is streamed: gradients need the whole sequence", node->source->path);
    if (dtype_float(node->dtype) && !is_real(node->dtype)) return refuse_half(walk, node);
    walk->current = n;
    int32_t segment = node->source->segment;
    if (segment && !walk->instance->keep_all && !walk->repeated[segment]) {
        int code = repeat_segment(walk, segment);
        if (code < 0) return code;
    }
    switch (walk->nodes[n].source->kind) {
    case NETWORK_LOOP: return grad_loop(walk, n);
    case NETWORK_PARAMETERS: return grad_parameters(walk, n);
    default: return grad_operator(walk, n);
    }
}

static int seed(struct grad_walk *walk, const struct grad_root *root) {
    const struct instance_value *v = &walk->instance->values[root->value];
    if (!is_real(v->type.dtype) || !grad_wanted(walk, root->value)) return 0;
    if (root->cotangent >= 0) return grad_pass_on(walk, root->value, root->cotangent);
    int32_t target;
    bool accumulate, temporary;
    walk->current = -1;
    int code = grad_begin(walk, root->value, &target, &accumulate, &temporary);
    if (code < 0) return code;
    if (!accumulate) code = grad_fill(walk, target, root->weight);
    else {
        int32_t one = grad_value(walk, VALUE_GRAD, "weight of a loss", &v->type);
        if (one < 0) return FLOW_ERROR_MEMORY;
        code = grad_fill(walk, one, root->weight);
        if (code == 0) code = grad_settle(walk, root->value, one);
    }
    if (code == 0 && temporary) code = grad_settle(walk, root->value, target);
    return code;
}

/* Nodes [0, end) of the new list are forward; what the pass adds follows. */
static int walk_pass(struct grad_walk *walk, const struct grad_pass *pass, int32_t end) {
    mark_depends(walk, pass, end);
    for (size_t v = 0; v < walk->originals; v++) walk->state[v] = (struct grad_state){-1, -1, 0}, walk->again[v] = -1;
    memset(walk->repeated, 0, ((size_t)walk->instance->network->segment_count + 1) * sizeof *walk->repeated);
    int code = 0;
    for (size_t r = 0; r < pass->root_count && code == 0; r++) code = seed(walk, &pass->roots[r]);
    for (int32_t n = end - 1; n >= 0 && code == 0; n--) code = visit(walk, n);
    for (size_t w = 0; w < pass->want_count && code == 0; w++) {
        int32_t owner = pass->wants[w], found = grad_read(walk, owner);
        if (found == -1) {
            struct flow_tensor type = walk->instance->values[owner].type;
            found = grad_value(walk, VALUE_GRAD, walk->instance->values[owner].name, &type);
            code = found < 0 ? FLOW_ERROR_MEMORY : grad_fill(walk, found, 0);
        }
        pass->gradients[w] = found;
        if (found < 0) code = FLOW_ERROR_MEMORY;
    }
    return code;
}

/* ---- Gradient nodes ---- */

/* All that follows from one loss: the gradient nodes that have it, and the pass that is it. */
struct group {
    int32_t loss, first; /* value; the first gradient node, in the old list */
    struct grad_pass pass;
    const struct grad_pass *merged;
};

struct differentiation {
    struct grad_walk walk;
    const struct instance_node *old;
    size_t old_count, taken; /* of the old list: those that stand in the new one */
    struct group *groups;
    size_t group_count;
    int32_t *group_of; /* by old node: of a gradient node; -1 */
    int32_t **found;   /* by old node: gradients of its `of`, or of the parameters it names */
    size_t *found_count;
};

static bool matched(const struct instance_value *value, const char *match) {
    return value->kind == VALUE_PARAM && is_real(value->type.dtype) && !(value->flags & FLOW_RUNNING) && text_matches(match, value->name);
}

static size_t wants_of(const struct instance *instance, const struct instance_node *node, int32_t *wants) {
    if (!node->source->match) {
        if (wants) wants[0] = node->in[1];
        return 1;
    }
    size_t count = 0;
    for (size_t p = 0; p < instance->param_count; p++) {
        if (!matched(&instance->values[instance->params[p]], node->source->match)) continue;
        if (wants) wants[count] = instance->params[p];
        count++;
    }
    return count;
}

static int collect_groups(struct differentiation *d, const struct grad_pass *passes, size_t count) {
    const struct instance *instance = d->walk.instance;
    struct arena *scratch = d->walk.scratch;
    d->group_of = arena_array(scratch, d->old_count, sizeof *d->group_of);
    d->found = arena_array(scratch, d->old_count, sizeof *d->found);
    d->found_count = arena_array(scratch, d->old_count, sizeof *d->found_count);
    d->groups = arena_array(scratch, d->old_count, sizeof *d->groups);
    if (!d->group_of || !d->found || !d->found_count || !d->groups) return FLOW_ERROR_MEMORY;
    for (size_t n = 0; n < d->old_count; n++) {
        const struct instance_node *node = &d->old[n];
        d->group_of[n] = -1;
        if (node->role != NODE_FORWARD || node->source->kind != NETWORK_GRADIENT) continue;
        size_t g = 0;
        while (g < d->group_count && d->groups[g].loss != node->in[0]) g++;
        if (g == d->group_count) d->groups[d->group_count++] = (struct group){.loss = node->in[0], .first = (int32_t)n};
        d->group_of[n] = (int32_t)g;
        d->found_count[n] = wants_of(instance, node, NULL);
        d->groups[g].pass.want_count += d->found_count[n];
    }
    for (size_t p = 0; p < count; p++)
        for (size_t g = 0; g < d->group_count; g++)
            if (passes[p].root_count == 1 && passes[p].roots[0].cotangent < 0 && passes[p].roots[0].weight == 1 &&
                passes[p].roots[0].value == d->groups[g].loss && !d->groups[g].merged)
                d->groups[g].merged = &passes[p], d->groups[g].pass.want_count += passes[p].want_count;
    return 0;
}

static int prepare_group(struct differentiation *d, struct group *group, int32_t number) {
    struct arena *scratch = d->walk.scratch;
    struct grad_root *root = arena_new(scratch, sizeof *root);
    int32_t *wants = arena_array(scratch, group->pass.want_count, sizeof *wants),
            *gradients = arena_array(scratch, group->pass.want_count, sizeof *gradients);
    if (!root || !wants || !gradients) return FLOW_ERROR_MEMORY;
    *root = (struct grad_root){group->loss, 1, -1};
    size_t at = 0;
    for (size_t n = 0; n < d->old_count; n++) {
        if (d->group_of[n] != number) continue;
        wants_of(d->walk.instance, &d->old[n], wants + at);
        d->found[n] = gradients + at, at += d->found_count[n];
    }
    for (size_t w = 0; group->merged && w < group->merged->want_count; w++) wants[at++] = group->merged->wants[w];
    group->pass.roots = root, group->pass.root_count = 1, group->pass.wants = wants, group->pass.gradients = gradients;
    return 0;
}

/* An owner's own value where `of` names a view: instances made with gradient nodes give such a value memory of its own. */
static int check_wants(struct differentiation *d, const struct grad_pass *pass) {
    for (size_t w = 0; w < pass->want_count; w++)
        if (d->walk.instance->values[pass->wants[w]].view_of >= 0)
            return report_add(d->walk.report, FLOW_ERROR_INTERNAL, (struct position){0}, "the gradient by '%s', a view, is asked for",
                              d->walk.instance->values[pass->wants[w]].name);
    return 0;
}

/* The node's value: the gradient under its name, or the parameters' gradients one after another. */
static int finish_gradient(struct differentiation *d, size_t n) {
    struct grad_walk *walk = &d->walk;
    const struct instance_node like = d->old[n];
    struct instance *instance = walk->instance;
    bool join = like.source->match != NULL;
    size_t count = d->found_count[n];
    struct instance_node *node = grad_node(walk, join ? NODE_JOIN : NODE_PASS, &like);
    int32_t *in = arena_copy(&instance->arena, d->found[n], count * sizeof *in);
    if (!node || !in) return FLOW_ERROR_MEMORY;
    node->in = in, node->in_count = (uint32_t)count, node->out = like.out, node->out_count = like.out_count;
    instance->values[like.out[0]].node = (int32_t)walk->node_count - 1;
    if (!join) node->target = like.out[0];
    return 0;
}

static int begin_walk(struct differentiation *d) {
    struct grad_walk *walk = &d->walk;
    struct instance *instance = walk->instance;
    size_t segments = (size_t)instance->network->segment_count + 1;
    walk->originals = instance->value_count;
    walk->depends = arena_array(walk->scratch, walk->originals, sizeof *walk->depends);
    walk->state = arena_array(walk->scratch, walk->originals, sizeof *walk->state);
    walk->again = arena_array(walk->scratch, walk->originals, sizeof *walk->again);
    walk->repeated = arena_array(walk->scratch, segments, sizeof *walk->repeated);
    walk->head = arena_array(walk->scratch, segments, sizeof *walk->head);
    return walk->depends && walk->state && walk->again && walk->repeated && walk->head ? 0 : FLOW_ERROR_MEMORY;
}

/* Lists of the forward nodes of each segment, by place in the new list; made anew before each pass. */
static int list_segments(struct grad_walk *walk) {
    size_t segments = (size_t)walk->instance->network->segment_count + 1;
    walk->next = arena_array(walk->scratch, walk->node_count, sizeof *walk->next);
    walk->again_node = arena_array(walk->scratch, walk->node_count, sizeof *walk->again_node);
    if (!walk->next || !walk->again_node) return FLOW_ERROR_MEMORY;
    for (size_t s = 0; s < segments; s++) walk->head[s] = -1;
    for (size_t n = walk->node_count; n-- > 0;) {
        const struct instance_node *node = &walk->nodes[n];
        walk->again_node[n] = walk->next[n] = -1;
        if (node->role != NODE_FORWARD || !node->source->segment) continue;
        walk->next[n] = walk->head[node->source->segment], walk->head[node->source->segment] = (int32_t)n;
    }
    return 0;
}

static int run_pass(struct differentiation *d, const struct grad_pass *pass) {
    int code = check_wants(d, pass);
    if (code == 0) code = list_segments(&d->walk);
    return code == 0 ? walk_pass(&d->walk, pass, (int32_t)d->walk.node_count) : code;
}

static int copy_forward(struct differentiation *d, size_t n) {
    struct grad_walk *walk = &d->walk;
    struct instance *instance = walk->instance;
    struct instance_node *node = grad_node(walk, NODE_FORWARD, NULL);
    if (!node) return FLOW_ERROR_MEMORY;
    *node = d->old[n]; /* in a loop's body, differentiated before, also what gradient nodes there became */
    if (node->role == NODE_FORWARD) node->target = -1;
    for (uint32_t k = 0; k < node->out_count; k++)
        if (node->out[k] >= 0) instance->values[node->out[k]].node = (int32_t)walk->node_count - 1;
    for (int32_t s = 0; s < node->state_count; s++) instance->states[node->state + s].node = (int32_t)walk->node_count - 1;
    return 0;
}

static int make_all(struct differentiation *d, const struct grad_pass *passes, size_t count) {
    int code = begin_walk(d);
    if (code == 0) code = collect_groups(d, passes, count);
    for (size_t n = 0; n < d->old_count && code == 0; n++) {
        int32_t g = d->group_of[n];
        if (g >= 0 && d->groups[g].first == (int32_t)n) {
            code = prepare_group(d, &d->groups[g], g);
            if (code == 0) code = run_pass(d, &d->groups[g].pass);
        }
        if (code == 0) code = g >= 0 ? finish_gradient(d, n) : copy_forward(d, n);
        if (code == 0) d->taken = n + 1;
    }
    for (size_t g = 0; g < d->group_count && code == 0; g++) {
        const struct grad_pass *merged = d->groups[g].merged;
        size_t first = merged ? d->groups[g].pass.want_count - merged->want_count : 0;
        for (size_t w = 0; merged && w < merged->want_count; w++) merged->gradients[w] = d->groups[g].pass.gradients[first + w];
    }
    for (size_t p = 0; p < count && code == 0; p++) {
        bool done = false;
        for (size_t g = 0; g < d->group_count; g++) done = done || d->groups[g].merged == &passes[p];
        if (!done) code = run_pass(d, &passes[p]);
    }
    return code;
}

/* Loops' bodies first: what is inside them is theirs alone. */
static int expand_bodies(struct instance *instance, struct report *report) {
    for (size_t n = 0; n < instance->node_count; n++) {
        struct instance *body = instance->nodes[n].body;
        int code = body ? expand_bodies(body, report) : 0;
        if (code == 0 && body && body->gradients) code = grad_differentiate(body, NULL, 0, report);
        if (code < 0) return code;
    }
    return 0;
}

int grad_differentiate(struct instance *instance, const struct grad_pass *passes, size_t count, struct report *report) {
    int code = expand_bodies(instance, report);
    if (code < 0 || (!instance->gradients && count == 0)) return code;
    struct arena scratch;
    arena_init(&scratch, instance->arena.from);
    struct differentiation d = {.walk = {.instance = instance, .report = report, .scratch = &scratch, .current = -1}};
    d.old = instance->nodes, d.old_count = instance->node_count;
    code = make_all(&d, passes, count);
    arena_free(&scratch);
    for (size_t n = d.taken; n < d.old_count; n++) /* nobody would free them */
        if (d.old[n].body && !d.old[n].borrowed) instance_free(d.old[n].body);
    instance->nodes = d.walk.nodes, instance->node_count = d.walk.node_count;
    instance->gradients = false;
    return code == FLOW_ERROR_MEMORY ? report_memory(report) : code;
}
