/* SPDX-License-Identifier: Apache-2.0 */
/* A loop inside a run. The body is bound like any plan; each iteration points its inputs and outputs elsewhere (plan/plan_loop.c says
 * where) and makes its calls. */
#include "exec/context.h"

#include <string.h>

static int64_t slice_bytes(const struct flow_tensor *t, int32_t axis) {
    int64_t bytes = dtype_bytes(t->dtype);
    for (int32_t a = 0; a < t->rank; a++)
        if (a != axis) bytes *= t->shape[a];
    return bytes;
}

struct flow_tensor exec_slice(const struct flow_tensor *t, int32_t axis, int64_t i) {
    struct flow_tensor part = *t;
    part.rank--;
    for (int32_t a = axis; a < part.rank; a++) part.shape[a] = t->shape[a + 1], part.strides[a] = t->strides[a + 1];
    part.data = t->data ? (char *)t->data + i * t->strides[axis] * dtype_bytes(t->dtype) : NULL;
    return part;
}

static bool is_carried(const struct plan_loop *plan, size_t inputs, int32_t output) {
    for (size_t i = 0; i < inputs; i++)
        if (plan->carry[i] == output) return true;
    return false;
}

int loop_index(const struct flow_call *call, void *room, int64_t i, void **at) {
    const struct context *context = ((const struct record *)call->owner)->context;
    if (context->apart) *at = (char *)context->counting.data + i * 8;
    else *at = memcpy(room, &i, sizeof i);
    return 0;
}

int loop_slice(const struct flow_call *call, const struct flow_tensor *of, int32_t axis, int64_t i, int64_t stage, void **at) {
    struct flow_tensor part = exec_slice(of, axis, i);
    *at = part.data;
    if (stage < 0) return 0;
    struct flow_tensor packed = plan_packed_type(&part);
    *at = packed.data = (char *)call->workspace + stage;
    return call_spread(call, &packed, &part);
}

static int input_at(const struct flow_call *call, struct loop_binding *loop, size_t p, int64_t i, void **at) {
    const struct plan_loop *plan = loop->step->loop;
    if ((int32_t)p == plan->index_input) return loop_index(call, (char *)call->workspace + plan->index, i, at);
    if (plan->over[p] >= 0) return loop_slice(call, &call->in[p], plan->over[p], i, plan->stage[p], at);
    *at = plan->carry[p] >= 0 && i > 0 ? loop->now[plan->carry[p]] : call->in[p].data;
    return 0;
}

/* Even iterations from the end write the node's own output, so that a loop that is not ended early copies nothing. */
static char *output_at(const struct flow_call *call, const struct loop_binding *loop, size_t o, int64_t i) {
    const struct plan_loop *plan = loop->step->loop;
    const struct flow_tensor *out = &call->out[o];
    char *workspace = call->workspace;
    if (plan->collect[o] >= 0) {
        if (plan->spare[o] >= 0) return workspace + plan->spare[o];
        return out->data ? (char *)out->data + i * slice_bytes(out, plan->collect[o]) : NULL;
    }
    if (plan->spare[o] >= 0 && (plan->iterations - 1 - i) % 2 != 0) return workspace + plan->spare[o];
    return out->data;
}

static void point(struct binding *body, int32_t group, char *base) {
    if (group >= 0) binding_point(body, &body->groups[group], base);
}

static int put_slice(const struct flow_call *call, const struct flow_tensor *out, int32_t axis, int64_t i, char *from) {
    struct flow_tensor part = exec_slice(out, axis, i), packed = plan_packed_type(&part);
    packed.data = from;
    return call_spread(call, &part, &packed);
}

static int zero(const struct flow_call *call, const struct flow_tensor *t) {
    int64_t bytes;
    return t->data && plan_bytes(t, &bytes) ? call_clear(call, t->data, bytes) : 0;
}

/* What no iteration writes is zero; a carried value that nothing replaced is the first one. */
static int start_values(const struct flow_call *call, const struct plan_loop *plan, size_t inputs, size_t outputs) {
    int code = 0;
    for (size_t o = 0; o < outputs && code == 0; o++)
        if ((plan->collect[o] >= 0 && plan->until >= 0) || plan->iterations == 0) code = zero(call, &call->out[o]);
    for (size_t i = 0; i < inputs && plan->iterations == 0 && code == 0; i++) {
        if (plan->carry[i] < 0 || !call->in[i].data) continue;
        struct flow_tensor packed = plan_packed_type(&call->in[i]);
        packed.data = call->out[plan->carry[i]].data;
        code = call_spread(call, &packed, &call->in[i]);
    }
    return code;
}

int loop_body_run(const struct flow_call *call, struct binding *body, int64_t iterations, int64_t i) {
    uint64_t most = (uint64_t)iterations, now = (uint64_t)i;
    return binding_run(body, call->run * most + now, call->run_scale * most, call->run_offset * most + now);
}

static int iterate(const struct flow_call *call, struct loop_binding *loop, size_t inputs, size_t outputs, int64_t i) {
    const struct plan_loop *plan = loop->step->loop;
    struct binding *body = loop->body;
    char *kept = call->saved ? (char *)call->saved + 64 + i * plan->kept_bytes : NULL;
    for (size_t p = 0; p < inputs; p++) {
        void *at;
        int64_t bytes;
        int code = input_at(call, loop, p, i, &at);
        point(body, loop->in_group[p], at);
        if (code == 0 && kept && plan->kept[p] >= 0 && plan_bytes(&call->in[p], &bytes))
            code = call_move(call, kept + plan->kept[p], at, bytes);
        if (code < 0) return code;
    }
    for (size_t o = 0; o < outputs; o++) {
        loop->now[o] = output_at(call, loop, o, i);
        point(body, loop->out_group[o], loop->now[o]);
    }
    int code = loop_body_run(call, body, plan->iterations, i);
    for (size_t o = 0; o < outputs && code == 0; o++)
        if (plan->collect[o] >= 0 && plan->spare[o] >= 0) code = put_slice(call, &call->out[o], plan->collect[o], i, loop->now[o]);
    return code;
}

int exec_loop(const struct flow_call *call) {
    struct loop_binding *loop = (struct loop_binding *)call->priv;
    const struct plan_loop *plan = loop->step->loop;
    const struct network *network = plan->body->instance->network;
    size_t inputs = network->input_count, outputs = network->output_count;
    point(loop->body, loop->arena_group, call->workspace);
    int code = start_values(call, plan, inputs, outputs);
    int64_t made = 0;
    while (made < plan->iterations && code == 0) {
        code = iterate(call, loop, inputs, outputs, made);
        if (code < 0) return code;
        made++;
        uint8_t over = 0;
        if (plan->until >= 0) code = call_read(call, &over, loop->now[plan->until], 1);
        if (over) break;
    }
    for (size_t o = 0; o < outputs && made > 0 && code == 0; o++) {
        int64_t bytes;
        if (plan->collect[o] >= 0 || !is_carried(plan, inputs, (int32_t)o) || loop->now[o] == call->out[o].data) continue;
        if (plan_bytes(&call->out[o], &bytes)) code = call_move(call, call->out[o].data, loop->now[o], bytes);
    }
    void *at;
    if (code == 0) code = loop_index(call, &made, made, &at);
    if (code == 0 && call->saved) code = call_move(call, call->saved, at, sizeof made);
    if (code == 0 && call->out_count > outputs && call->out[outputs].data) code = call_move(call, call->out[outputs].data, at, sizeof made);
    return code;
}
