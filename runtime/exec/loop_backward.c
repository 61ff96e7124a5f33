/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a loop. The body is one iteration with its gradient (grad/grad_loop.c): it is run for the iterations that were made, from
 * the last to the first, on what the forward loop kept of each. Gradients of what is the same in every iteration add up. */
#include "exec/context.h"

static int64_t bytes_of(const struct flow_tensor *t) {
    int64_t bytes = 0;
    return t->rank >= 0 && plan_bytes(t, &bytes) ? bytes : 0;
}

static int zero(const struct flow_call *call, const struct flow_tensor *t) { return call_clear(call, t->data, bytes_of(t)); }

static char *in_workspace(const struct flow_call *call, int64_t offset) { return offset < 0 ? NULL : (char *)call->workspace + offset; }

static void point(struct binding *body, int32_t group, char *base) {
    if (group >= 0) binding_point(body, &body->groups[group], base);
}

/* What goes into iteration i, as the forward loop had it. */
static int input_at(const struct flow_call *call, const struct plan_loop *plan, size_t p, int64_t i, void **at) {
    if ((int32_t)p == plan->index_input) return loop_index(call, in_workspace(call, plan->index), i, at);
    if (plan->carry[p] < 0 && plan->over[p] >= 0) return loop_slice(call, &call->in[p], plan->over[p], i, plan->stage[p], at);
    *at = plan->carry[p] >= 0 ? (char *)call->saved + 64 + i * plan->kept_bytes + plan->kept[p] : call->in[p].data;
    return 0;
}

/* The cotangent of body output o in iteration i: from outside, and from iteration i + 1 through what is carried. */
static int gather_cotangent(const struct flow_call *call, const struct loop_binding *loop, size_t o, int64_t i, bool last) {
    const struct plan_loop *plan = loop->step->loop;
    const struct instance *body = loop->body->plan->instance;
    const struct flow_tensor *outside = &call->grad_out[o];
    struct flow_tensor cotangent = body->values[body->inputs[loop->backward->cotangent[o]]].type;
    cotangent.data = in_workspace(call, plan->cotangent[o]);
    bool there = outside->rank >= 0 && bytes_of(&cotangent) > 0;
    struct flow_tensor packed = plan_packed_type(&cotangent);
    packed.data = cotangent.data;
    int code;
    if (there && plan->collect[o] >= 0) {
        struct flow_tensor part = exec_slice(outside, plan->collect[o], i);
        code = call_spread(call, &packed, &part);
    } else code = there && last ? call_spread(call, &packed, outside) : zero(call, &cotangent);
    for (uint32_t p = 0; p < call->in_count && !last && code == 0; p++)
        if (plan->carry[p] == (int32_t)o && plan->gradient[p] >= 0)
            code = call_add(call, &cotangent, in_workspace(call, plan->gradient[p]));
    return code;
}

/* The iteration's gradients that are not carried on, into where they belong. */
static int add_gradients(const struct flow_call *call, const struct plan_loop *plan, int64_t i) {
    int code = 0;
    for (uint32_t p = 0; p < call->in_count + call->param_count && code == 0; p++) {
        const struct flow_tensor *to = p < call->in_count ? &call->grad_in[p] : &call->grad_param[p - call->in_count];
        bool input = p < call->in_count;
        if (to->rank < 0 || plan->gradient[p] < 0 || (input && plan->carry[p] >= 0)) continue;
        struct flow_tensor target = input && plan->over[p] >= 0 ? exec_slice(to, plan->over[p], i) : *to;
        code = call_add(call, &target, in_workspace(call, plan->gradient[p]));
    }
    return code;
}

static int iterate(const struct flow_call *call, struct loop_binding *loop, int64_t i, bool last) {
    const struct plan_loop *plan = loop->step->loop;
    struct binding *body = loop->body;
    const struct instance_backward *backward = loop->backward;
    size_t outputs = body->plan->instance->network->output_count;
    int code = 0;
    for (size_t o = 0; o < outputs && code == 0; o++)
        if (backward->cotangent[o] >= 0) code = gather_cotangent(call, loop, o, i, last);
    for (uint32_t p = 0; p < call->in_count && code == 0; p++) {
        void *at = NULL;
        code = input_at(call, plan, p, i, &at);
        point(body, loop->in_group[p], at);
    }
    if (code < 0) return code;
    for (size_t o = 0; o < outputs; o++)
        if (backward->cotangent[o] >= 0) point(body, loop->in_group[backward->cotangent[o]], in_workspace(call, plan->cotangent[o]));
    for (uint32_t p = 0; p < call->in_count + call->param_count; p++) {
        int32_t output = p < call->in_count ? backward->of_input[p] : backward->of_param[p - call->in_count];
        if (output >= 0) point(body, loop->out_group[output], in_workspace(call, plan->gradient[p]));
    }
    code = loop_body_run(call, body, plan->iterations, i);
    return code == 0 ? add_gradients(call, plan, i) : code;
}

/* What was carried into the first iteration came from outside. With no iteration the loop gave it back as it was. */
static int add_first(const struct flow_call *call, const struct plan_loop *plan, int64_t made) {
    int code = 0;
    for (uint32_t p = 0; p < call->in_count && code == 0; p++) {
        int32_t o = plan->carry[p];
        if (o < 0 || call->grad_in[p].rank < 0) continue;
        const char *from = made ? in_workspace(call, plan->gradient[p]) : call->grad_out[o].rank >= 0 ? call->grad_out[o].data : NULL;
        if (from) code = call_add(call, &call->grad_in[p], from);
    }
    return code;
}

int exec_loop_backward(const struct flow_call *call) {
    struct loop_binding *loop = (struct loop_binding *)call->priv;
    const struct plan_loop *plan = loop->step->loop;
    int64_t made = plan->iterations;
    int code = plan->until >= 0 ? call_read(call, &made, call->saved, sizeof made) : 0; /* else all were made */
    point(loop->body, loop->arena_group, call->workspace);
    for (uint32_t p = 0; p < call->in_count && code == 0; p++)
        if (call->grad_in[p].rank >= 0 && !FLOW_ACCUMULATES(call->accumulate_in, p)) code = zero(call, &call->grad_in[p]);
    for (uint32_t p = 0; p < call->param_count && code == 0; p++)
        if (call->grad_param[p].rank >= 0 && !FLOW_ACCUMULATES(call->accumulate_param, p)) code = zero(call, &call->grad_param[p]);
    for (int64_t i = made; i-- > 0 && code == 0;) code = iterate(call, loop, i, i == made - 1);
    return code == 0 ? add_first(call, plan, made) : code;
}
