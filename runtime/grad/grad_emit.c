/* SPDX-License-Identifier: Apache-2.0 */
/* Contributions to gradients, and the nodes that make them. */
#include "graph/extents.h"
#include "grad/walk.h"

static int64_t elements(const struct flow_tensor *type) {
    int64_t count = 1;
    for (int32_t a = 0; a < type->rank; a++) count *= type->shape[a];
    return count;
}

static struct flow_tensor packed(const struct flow_tensor *type) {
    struct flow_tensor plain = *type;
    (void)extents_contiguous(&plain); /* what exists can be addressed */
    return plain;
}

static bool row_major(const struct flow_tensor *type) {
    struct flow_tensor plain = packed(type);
    for (int32_t a = 0; a < type->rank; a++)
        if (type->shape[a] > 1 && type->strides[a] != plain.strides[a]) return false;
    return true;
}

int32_t grad_view(struct grad_walk *walk, int32_t gradient, const struct flow_tensor *type, int64_t offset) {
    const struct instance *instance = walk->instance;
    const struct instance_value base = instance->values[gradient];
    int32_t view = grad_value(walk, VALUE_GRAD, base.name, type);
    if (view < 0) return -1;
    walk->instance->values[view].view_of = base.view_of >= 0 ? base.view_of : gradient;
    walk->instance->values[view].view_offset = (base.view_of >= 0 ? base.view_offset : 0) + offset;
    return view;
}

int grad_fill(struct grad_walk *walk, int32_t target, double value) {
    struct instance_node *node = grad_node(walk, NODE_FILL, walk->current >= 0 ? &walk->nodes[walk->current] : NULL);
    if (!node) return FLOW_ERROR_MEMORY;
    node->dtype = walk->instance->values[target].type.dtype, node->target = target, node->fill = value;
    return 0;
}

static int move(struct grad_walk *walk, enum instance_role role, int32_t from, int32_t target) {
    int32_t *in = arena_new(&walk->instance->arena, sizeof *in);
    struct instance_node *node = in ? grad_node(walk, role, walk->current >= 0 ? &walk->nodes[walk->current] : NULL) : NULL;
    if (!node) return FLOW_ERROR_MEMORY;
    *in = from;
    node->dtype = walk->instance->values[target].type.dtype, node->target = target, node->in = in, node->in_count = 1;
    return 0;
}

/* The owner's gradient as a value of its own; what was pending is copied, or its memory taken over, now. */
static int own(struct grad_walk *walk, int32_t owner, bool *begun) {
    struct grad_state *state = &walk->state[owner];
    *begun = state->grad >= 0;
    if (*begun) return 0;
    struct flow_tensor type = packed(&walk->instance->values[owner].type);
    int32_t grad = grad_value(walk, VALUE_GRAD, walk->instance->values[owner].name, &type);
    if (grad < 0) return FLOW_ERROR_MEMORY;
    state = &walk->state[owner];
    state->grad = grad;
    if (state->pending < 0) return 0;
    int32_t from = grad_view(walk, state->pending, &type, 0); /* in the owner's shape */
    if (from < 0) return FLOW_ERROR_MEMORY;
    state = &walk->state[owner];
    state->pending = -1, *begun = true;
    return move(walk, NODE_PASS, from, grad);
}

/* Does the value hold all of its owner's elements, in their order? */
static bool is_whole(const struct grad_walk *walk, int32_t value) {
    const struct instance_value *v = &walk->instance->values[value];
    const struct instance_value *owner = &walk->instance->values[grad_owner(walk, value)];
    return row_major(&v->type) && (v->view_of < 0 || v->view_offset == 0) && elements(&v->type) == elements(&owner->type);
}

int32_t grad_read(struct grad_walk *walk, int32_t owner) {
    const struct grad_state *state = &walk->state[owner];
    if (state->grad >= 0) return state->grad;
    if (state->pending < 0) return -1;
    struct flow_tensor type = packed(&walk->instance->values[owner].type);
    int32_t view = grad_view(walk, state->pending, &type, 0);
    return view < 0 ? -2 : view;
}

int grad_begin(struct grad_walk *walk, int32_t value, int32_t *target, bool *accumulate, bool *temporary) {
    int32_t owner = grad_owner(walk, value);
    struct flow_tensor type = packed(&walk->instance->values[value].type);
    bool begun, again = walk->current >= 0 && walk->state[owner].node == walk->current + 1;
    bool plain = row_major(&walk->instance->values[value].type), whole = is_whole(walk, value);
    *temporary = again || !plain;
    int code = own(walk, owner, &begun);
    if (code < 0) return code;
    if (!begun && (*temporary || !whole)) {
        code = grad_fill(walk, walk->state[owner].grad, 0);
        if (code < 0) return code;
        begun = true;
    }
    if (*temporary) {
        *accumulate = false;
        *target = grad_value(walk, VALUE_GRAD, walk->instance->values[value].name, &type);
    } else {
        *accumulate = begun;
        walk->state[owner].node = walk->current + 1;
        *target = grad_view(walk, walk->state[owner].grad, &type, whole ? 0 : walk->instance->values[value].view_offset);
    }
    return *target < 0 ? FLOW_ERROR_MEMORY : 0;
}

int grad_settle(struct grad_walk *walk, int32_t value, int32_t temporary) {
    int32_t owner = grad_owner(walk, value);
    struct flow_tensor type = walk->instance->values[value].type;
    if (walk->instance->values[value].view_of < 0) type = packed(&type);
    bool begun;
    int code = own(walk, owner, &begun);
    if (code == 0 && !begun) code = grad_fill(walk, walk->state[owner].grad, 0);
    if (code < 0) return code;
    int64_t offset = walk->instance->values[value].view_of < 0 ? 0 : walk->instance->values[value].view_offset;
    int32_t target = grad_view(walk, walk->state[owner].grad, &type, offset);
    return target < 0 ? FLOW_ERROR_MEMORY : move(walk, NODE_ADD, temporary, target);
}

int grad_pass_on(struct grad_walk *walk, int32_t value, int32_t gradient) {
    int32_t owner = grad_owner(walk, value);
    struct grad_state *state = &walk->state[owner];
    if (state->grad < 0 && state->pending < 0 && is_whole(walk, value)) {
        state->pending = gradient;
        return 0;
    }
    return grad_settle(walk, value, gradient);
}

/* ---- Operators ---- */

static bool bit(uint64_t mask, uint32_t i) { return mask >> (i < 63 ? i : 63) & 1u; }

static int32_t repeated(const struct grad_walk *walk, int32_t value) {
    return value >= 0 && (size_t)value < walk->originals && walk->again[value] >= 0 ? walk->again[value] : value;
}

/* What flows to input i without a kernel. */
static bool passes(const struct grad_walk *walk, const struct instance_node *node, uint32_t i) {
    return i < 63 && node->infer.backward_passes_in >> i & 1u && node->out_count && node->out[0] >= 0 &&
           extents_equal(&walk->instance->values[node->in[i]].type, &walk->instance->values[node->out[0]].type);
}

static bool wants_input(const struct grad_walk *walk, const struct instance_node *node, uint32_t i) {
    const struct flow_port *row = node->entry ? grad_port(&node->entry->op->inputs, i) : NULL;
    return grad_wanted(walk, node->in[i]) && !(row && row->flags & FLOW_NO_GRAD);
}

struct targets {
    int32_t *of; /* by input, then parameter: -1 not wanted */
    bool *temporary;
};

static int begin_target(struct grad_walk *walk, int32_t value, struct targets *targets, uint32_t at, uint32_t i, uint64_t *mask) {
    bool accumulate;
    int code = grad_begin(walk, value, &targets->of[at], &accumulate, &targets->temporary[at]);
    if (accumulate) *mask |= UINT64_C(1) << (i < 63 ? i : 63);
    return code;
}

/* Bit 63 stands for all inputs from the 64th on: they must agree. Gradients of those are all added to, after filling with zeros. */
static int begin_far(struct grad_walk *walk, int32_t value, struct targets *targets, uint32_t at, uint64_t *mask) {
    bool accumulate;
    int code = grad_begin(walk, value, &targets->of[at], &accumulate, &targets->temporary[at]);
    if (code == 0 && !accumulate) code = grad_fill(walk, targets->of[at], 0);
    *mask |= UINT64_C(1) << 63;
    return code;
}

static int begin_targets(struct grad_walk *walk, const struct instance_node *node, struct instance_backward *backward,
                         struct targets *targets, bool *any) {
    int code = 0;
    for (uint32_t i = 0; i < node->in_count + node->param_count && code == 0; i++) {
        bool input = i < node->in_count;
        uint32_t row = input ? i : i - node->in_count;
        int32_t value = input ? node->in[row] : node->param[row];
        targets->of[i] = -1;
        if (input ? !wants_input(walk, node, row) || passes(walk, node, row) : !grad_wanted(walk, value)) continue;
        uint64_t *mask = input ? &backward->accumulate_in : &backward->accumulate_param;
        *any = true;
        code = row < 63 ? begin_target(walk, value, targets, i, row, mask) : begin_far(walk, value, targets, i, mask);
    }
    return code;
}

static int settle_targets(struct grad_walk *walk, const struct instance_node *node, const struct targets *targets) {
    int code = 0;
    for (uint32_t i = 0; i < node->in_count + node->param_count && code == 0; i++)
        if (targets->of[i] >= 0 && targets->temporary[i])
            code = grad_settle(walk, i < node->in_count ? node->in[i] : node->param[i - node->in_count], targets->of[i]);
    return code;
}

/* Gradients that arrive, by output. *first: of output 0. */
static int32_t *arriving(struct grad_walk *walk, const struct instance_node *node) {
    int32_t *grad_out = arena_array(&walk->instance->arena, node->out_count, sizeof *grad_out);
    for (uint32_t k = 0; grad_out && k < node->out_count; k++) {
        int32_t v = node->out[k];
        grad_out[k] = v < 0 || walk->instance->values[v].view_of >= 0 ? -1 : grad_read(walk, v);
        if (grad_out[k] == -2) return NULL;
    }
    return grad_out;
}

static int fill_backward(struct grad_walk *walk, int32_t n, struct instance_backward *backward, struct instance_node *node) {
    const struct instance_node like = walk->nodes[n];
    struct arena *arena = &walk->instance->arena;
    int32_t *in = arena_array(arena, like.in_count, sizeof *in), *read = arena_array(arena, like.out_count, sizeof *read);
    int32_t *param = arena_array(arena, like.param_count, sizeof *param);
    if (!in || !read || !param) return FLOW_ERROR_MEMORY;
    bool loop = like.source->kind == NETWORK_LOOP;
    for (uint32_t i = 0; i < like.in_count; i++) in[i] = loop || bit(like.infer.backward_reads_in, i) ? repeated(walk, like.in[i]) : -1;
    for (uint32_t k = 0; k < like.out_count; k++)
        read[k] = !loop && bit(like.infer.backward_reads_out, k) ? repeated(walk, like.out[k]) : -1;
    for (uint32_t p = 0; p < like.param_count; p++) param[p] = repeated(walk, like.param[p]);
    backward->of = n, backward->saved_of = walk->again_node[n] >= 0 ? walk->again_node[n] : n, backward->read = read;
    struct instance *body = node->body;
    *node = like;
    node->role = NODE_BACKWARD, node->target = -1, node->backward = backward, node->body = body, node->borrowed = false;
    node->in = in, node->param = param, node->out = NULL, node->out_count = 0;
    return 0;
}

int grad_operator(struct grad_walk *walk, int32_t n) {
    struct arena *arena = &walk->instance->arena;
    const struct instance_node node = walk->nodes[n];
    uint32_t rows = node.in_count + node.param_count;
    struct targets targets = {arena_array(arena, rows, sizeof *targets.of), arena_array(walk->scratch, rows, sizeof *targets.temporary)};
    struct instance_backward *backward = arena_new(arena, sizeof *backward);
    int32_t *grad_out = arriving(walk, &node);
    bool any = false;
    if (!targets.of || !targets.temporary || !backward || !grad_out) return FLOW_ERROR_MEMORY;
    backward->grad_out = grad_out, backward->grad_in = targets.of, backward->grad_param = targets.of + node.in_count;
    int code = begin_targets(walk, &node, backward, &targets, &any);
    if (code == 0 && any) {
        struct instance_node *made = grad_node(walk, NODE_BACKWARD, &node);
        code = made ? fill_backward(walk, n, backward, made) : FLOW_ERROR_MEMORY;
    }
    if (code == 0) code = settle_targets(walk, &node, &targets);
    for (uint32_t i = 0; i < node.in_count && code == 0; i++)
        if (grad_out[0] >= 0 && wants_input(walk, &node, i) && passes(walk, &node, i)) code = grad_pass_on(walk, node.in[i], grad_out[0]);
    return code;
}

int grad_parameters(struct grad_walk *walk, int32_t n) {
    const struct instance_node node = walk->nodes[n];
    int32_t *arrives = arriving(walk, &node);
    if (!arrives) return FLOW_ERROR_MEMORY;
    int64_t offset = 0;
    int code = 0;
    for (uint32_t i = 0; i < node.in_count && code == 0; i++) {
        struct flow_tensor type = packed(&walk->instance->values[node.in[i]].type);
        if (grad_wanted(walk, node.in[i])) {
            int32_t part = grad_view(walk, arrives[0], &type, offset);
            code = part < 0 ? FLOW_ERROR_MEMORY : grad_settle(walk, node.in[i], part);
        }
        offset += elements(&type);
    }
    return code;
}

/* ---- Loops ---- */

int grad_loop_node(struct grad_walk *walk, int32_t n, struct instance *body, struct instance_backward *backward) {
    struct arena *arena = &walk->instance->arena;
    const struct instance_node node = walk->nodes[n];
    uint32_t rows = node.in_count + node.param_count;
    struct targets targets = {arena_array(arena, rows, sizeof *targets.of), arena_array(walk->scratch, rows, sizeof *targets.temporary)};
    bool any = false;
    if (!targets.of || !targets.temporary) {
        instance_free(body);
        return FLOW_ERROR_MEMORY;
    }
    backward->grad_in = targets.of, backward->grad_param = targets.of + node.in_count;
    int code = begin_targets(walk, &node, backward, &targets, &any);
    struct instance_node *made = code == 0 ? grad_node(walk, NODE_BACKWARD, &node) : NULL;
    if (!made) {
        instance_free(body);
        return code < 0 ? code : FLOW_ERROR_MEMORY;
    }
    made->body = body; /* freed with the instance from here on */
    code = fill_backward(walk, n, backward, made);
    return code == 0 ? settle_targets(walk, &node, &targets) : code;
}

int32_t *grad_arriving(struct grad_walk *walk, int32_t n) {
    const struct instance_node node = walk->nodes[n];
    return arriving(walk, &node);
}
