/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a loop. The body is one iteration with its gradient (grad/grad_loop.c): it is run for the iterations that were made, from
 * the last to the first, on what the forward loop kept of each. Gradients of what is the same in every iteration add up. */
#include "exec/context.h"

#include <string.h>

static int64_t bytes_of(const struct flow_tensor *t) {
    int64_t bytes = 0;
    return t->rank >= 0 && plan_bytes(t, &bytes) ? bytes : 0;
}

static void zero(const struct flow_tensor *t) {
    int64_t bytes = bytes_of(t);
    if (bytes) memset(t->data, 0, (size_t)bytes);
}

static char *in_workspace(const struct flow_call *call, int64_t offset) { return offset < 0 ? NULL : (char *)call->workspace + offset; }

static void point(struct binding *body, int32_t group, char *base) {
    if (group >= 0) binding_point(body, &body->groups[group], base);
}

/* What goes into iteration i, as the forward loop had it. */
static char *input_at(const struct flow_call *call, const struct plan_loop *plan, size_t p, int64_t i) {
    if ((int32_t)p == plan->index_input) {
        memcpy(in_workspace(call, plan->index), &i, sizeof i);
        return in_workspace(call, plan->index);
    }
    if (plan->carry[p] >= 0) return (char *)call->saved + 64 + i * plan->kept_bytes + plan->kept[p];
    if (plan->over[p] < 0) return call->in[p].data;
    struct flow_tensor part = exec_slice(&call->in[p], plan->over[p], i);
    if (plan->stage[p] < 0) return part.data;
    tensor_copy(in_workspace(call, plan->stage[p]), &part);
    return in_workspace(call, plan->stage[p]);
}

/* The cotangent of body output o in iteration i: from outside, and from iteration i + 1 through what is carried. */
static void gather_cotangent(const struct flow_call *call, const struct loop_binding *loop, size_t o, int64_t i, bool last) {
    const struct plan_loop *plan = loop->step->loop;
    const struct instance *body = loop->body->plan->instance;
    const struct flow_tensor *outside = &call->grad_out[o];
    struct flow_tensor cotangent = body->values[body->inputs[loop->backward->cotangent[o]]].type;
    cotangent.data = in_workspace(call, plan->cotangent[o]);
    bool there = outside->rank >= 0 && bytes_of(&cotangent) > 0;
    if (there && plan->collect[o] >= 0) {
        struct flow_tensor part = exec_slice(outside, plan->collect[o], i);
        tensor_copy(cotangent.data, &part);
    } else if (there && last) tensor_copy(cotangent.data, outside);
    else zero(&cotangent);
    for (uint32_t p = 0; p < call->in_count && !last; p++)
        if (plan->carry[p] == (int32_t)o && plan->gradient[p] >= 0) tensor_add(call, &cotangent, in_workspace(call, plan->gradient[p]));
}

/* The iteration's gradients that are not carried on, into where they belong. */
static void add_gradients(const struct flow_call *call, const struct plan_loop *plan, int64_t i) {
    for (uint32_t p = 0; p < call->in_count + call->param_count; p++) {
        const struct flow_tensor *to = p < call->in_count ? &call->grad_in[p] : &call->grad_param[p - call->in_count];
        bool input = p < call->in_count;
        if (to->rank < 0 || plan->gradient[p] < 0 || (input && plan->carry[p] >= 0)) continue;
        struct flow_tensor target = input && plan->over[p] >= 0 ? exec_slice(to, plan->over[p], i) : *to;
        tensor_add(call, &target, in_workspace(call, plan->gradient[p]));
    }
}

static int iterate(const struct flow_call *call, struct loop_binding *loop, int64_t i, bool last) {
    const struct plan_loop *plan = loop->step->loop;
    struct binding *body = loop->body;
    const struct instance_backward *backward = loop->backward;
    size_t outputs = body->plan->instance->network->output_count;
    for (size_t o = 0; o < outputs; o++)
        if (backward->cotangent[o] >= 0) gather_cotangent(call, loop, o, i, last);
    for (uint32_t p = 0; p < call->in_count; p++) point(body, loop->in_group[p], input_at(call, plan, p, i));
    for (size_t o = 0; o < outputs; o++)
        if (backward->cotangent[o] >= 0) point(body, loop->in_group[backward->cotangent[o]], in_workspace(call, plan->cotangent[o]));
    for (uint32_t p = 0; p < call->in_count + call->param_count; p++) {
        int32_t output = p < call->in_count ? backward->of_input[p] : backward->of_param[p - call->in_count];
        if (output >= 0) point(body, loop->out_group[output], in_workspace(call, plan->gradient[p]));
    }
    int code = binding_run(body, call->run * (uint64_t)plan->iterations + (uint64_t)i);
    if (code == 0) add_gradients(call, plan, i);
    return code;
}

/* What was carried into the first iteration came from outside. With no iteration the loop gave it back as it was. */
static void add_first(const struct flow_call *call, const struct plan_loop *plan, int64_t made) {
    for (uint32_t p = 0; p < call->in_count; p++) {
        int32_t o = plan->carry[p];
        if (o < 0 || call->grad_in[p].rank < 0) continue;
        const char *from = made ? in_workspace(call, plan->gradient[p]) : call->grad_out[o].rank >= 0 ? call->grad_out[o].data : NULL;
        if (from) tensor_add(call, &call->grad_in[p], from);
    }
}

int exec_loop_backward(const struct flow_call *call) {
    struct loop_binding *loop = (struct loop_binding *)call->priv;
    const struct plan_loop *plan = loop->step->loop;
    int64_t made;
    memcpy(&made, call->saved, sizeof made);
    point(loop->body, loop->arena_group, call->workspace);
    for (uint32_t p = 0; p < call->in_count; p++)
        if (call->grad_in[p].rank >= 0 && !FLOW_ACCUMULATES(call->accumulate_in, p)) zero(&call->grad_in[p]);
    for (uint32_t p = 0; p < call->param_count; p++)
        if (call->grad_param[p].rank >= 0 && !FLOW_ACCUMULATES(call->accumulate_param, p)) zero(&call->grad_param[p]);
    for (int64_t i = made; i-- > 0;) {
        int code = iterate(call, loop, i, i == made - 1);
        if (code < 0) return code;
    }
    add_first(call, plan, made);
    return 0;
}
