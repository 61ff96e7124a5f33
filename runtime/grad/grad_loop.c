/* SPDX-License-Identifier: Apache-2.0 */
/* Reverse mode through a loop. The forward loop keeps what it carried into each iteration; backward goes over the iterations that were made
 * from the last to the first, computes each anew from what was kept, and walks it back. So the memory of one iteration is enough. */
#include "grad/walk.h"

#include <string.h>

/* The same instance, to which nodes can be added; what its nodes point at is shared. */
static struct instance *clone(const struct instance *body) {
    struct instance *copy = memory_new(body->arena.from, sizeof *copy);
    if (!copy) return NULL;
    struct arena arena;
    arena_init(&arena, body->arena.from);
    *copy = *body;
    copy->arena = arena;
    copy->nodes = arena_copy(&copy->arena, body->nodes, body->node_count * sizeof *body->nodes);
    copy->values = arena_copy(&copy->arena, body->values, body->value_count * sizeof *body->values);
    copy->states = arena_copy(&copy->arena, body->states, body->state_count * sizeof *body->states);
    copy->inputs = arena_copy(&copy->arena, body->inputs, body->input_count * sizeof *body->inputs);
    copy->outputs = arena_copy(&copy->arena, body->outputs, body->output_count * sizeof *body->outputs);
    copy->params = arena_copy(&copy->arena, body->params, body->param_count * sizeof *body->params);
    bool whole = copy->nodes && copy->values && copy->states && copy->inputs && copy->outputs && copy->params;
    for (size_t n = 0; copy->nodes && n < copy->node_count; n++) copy->nodes[n].borrowed = true;
    if (!copy->nodes) copy->node_count = 0;
    if (whole) return copy;
    instance_free(copy);
    return NULL;
}

static bool is_real(const struct flow_tensor *type) { return type->rank >= 0 && (type->dtype == FLOW_F32 || type->dtype == FLOW_F64); }

struct one {
    struct instance *body;
    struct grad_root *roots;
    int32_t *wants, *gradients;
    size_t root_count, want_count;
};

/* Which outputs of the body get a cotangent: those that something outside flows into, and those that are carried. */
static int list_roots(struct grad_walk *walk, const struct instance_node *node, struct one *one, struct instance_backward *backward) {
    const struct network_loop *loop = &node->source->loop;
    struct instance *body = one->body;
    size_t outputs = body->network->output_count;
    for (size_t o = 0; o < outputs; o++) {
        int32_t v = body->outputs[o];
        bool carried = false;
        for (size_t c = 0; c < loop->carry_count; c++) carried = carried || loop->carry[c].output == (int32_t)o;
        backward->cotangent[o] = -1;
        if (v < 0 || !is_real(&body->values[v].type) || (!carried && backward->grad_out[o] < 0)) continue;
        int32_t input = grad_input(body, body->network->outputs[o].name, &body->values[v].type);
        if (input < 0) return FLOW_ERROR_MEMORY;
        backward->cotangent[o] = body->values[input].index;
        one->roots[one->root_count++] = (struct grad_root){v, 1, input};
    }
    (void)walk;
    return 0;
}

static void want(struct one *one, int32_t value, int32_t *number) {
    *number = (int32_t)(one->body->network->output_count + one->want_count);
    one->wants[one->want_count++] = value;
}

static void list_wants(struct grad_walk *walk, const struct instance_node *node, struct one *one, struct instance_backward *backward) {
    const struct network_loop *loop = &node->source->loop;
    struct instance *body = one->body;
    for (uint32_t i = 0; i < node->in_count; i++) {
        bool carried = false;
        for (size_t c = 0; c < loop->carry_count; c++) carried = carried || loop->carry[c].input == (int32_t)i;
        backward->of_input[i] = -1;
        int32_t v = body->inputs[i];
        if (v < 0 || !is_real(&body->values[v].type) || (!carried && !grad_wanted(walk, node->in[i]))) continue;
        want(one, v, &backward->of_input[i]);
    }
    for (uint32_t p = 0; p < node->param_count; p++) {
        backward->of_param[p] = -1;
        if (grad_wanted(walk, node->param[p])) want(one, body->params[p], &backward->of_param[p]);
    }
}

/* One iteration and its gradient: inputs are the body's and a cotangent for each root; outputs, after the body's own, which are left out,
 * the gradients. */
static int make_body(struct grad_walk *walk, const struct instance_node *node, struct one *one, struct instance_backward *backward) {
    struct arena *arena = &walk->instance->arena;
    struct instance *body = one->body = clone(node->body);
    if (!body) return FLOW_ERROR_MEMORY;
    size_t outputs = body->network->output_count;
    one->roots = arena_array(walk->scratch, outputs, sizeof *one->roots);
    one->wants = arena_array(walk->scratch, node->in_count + node->param_count, sizeof *one->wants);
    one->gradients = arena_array(walk->scratch, node->in_count + node->param_count, sizeof *one->gradients);
    backward->cotangent = arena_array(arena, outputs, sizeof *backward->cotangent);
    backward->of_input = arena_array(arena, node->in_count, sizeof *backward->of_input);
    backward->of_param = arena_array(arena, node->param_count, sizeof *backward->of_param);
    if (!one->roots || !one->wants || !one->gradients || !backward->cotangent || !backward->of_input || !backward->of_param)
        return FLOW_ERROR_MEMORY;
    int code = list_roots(walk, node, one, backward);
    if (code < 0) return code;
    list_wants(walk, node, one, backward);
    struct grad_pass pass = {one->roots, one->root_count, one->wants, one->want_count, one->gradients};
    code = grad_differentiate(body, &pass, 1, walk->report);
    if (code < 0) return code;
    for (size_t o = 0; o < outputs; o++) body->outputs[o] = -1;
    return grad_outputs(body, one->gradients, one->want_count);
}

int grad_loop(struct grad_walk *walk, int32_t n) {
    struct instance_node node = walk->nodes[n];
    struct instance_backward *backward = arena_new(&walk->instance->arena, sizeof *backward);
    int32_t *grad_out = backward ? grad_arriving(walk, n) : NULL;
    if (!grad_out) return FLOW_ERROR_MEMORY;
    backward->grad_out = grad_out;
    struct one one = {0};
    int code = make_body(walk, &node, &one, backward);
    if (code < 0) {
        instance_free(one.body);
        return code;
    }
    return grad_loop_node(walk, n, one.body, backward);
}
