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

static char *input_at(const struct flow_call *call, struct loop_binding *loop, size_t p, int64_t i) {
    const struct plan_loop *plan = loop->step->loop;
    char *workspace = call->workspace;
    if ((int32_t)p == plan->index_input) {
        memcpy(workspace + plan->index, &i, sizeof i);
        return workspace + plan->index;
    }
    if (plan->over[p] >= 0) {
        struct flow_tensor part = exec_slice(&call->in[p], plan->over[p], i);
        if (plan->stage[p] < 0) return part.data;
        tensor_copy(workspace + plan->stage[p], &part);
        return workspace + plan->stage[p];
    }
    if (plan->carry[p] >= 0 && i > 0) return loop->now[plan->carry[p]];
    return call->in[p].data;
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

static void put_slice(const struct flow_tensor *out, int32_t axis, int64_t i, const char *from) {
    int64_t outer = 1, inner = dtype_bytes(out->dtype);
    for (int32_t a = 0; a < axis; a++) outer *= out->shape[a];
    for (int32_t a = axis + 1; a < out->rank; a++) inner *= out->shape[a];
    if (!inner) return;
    char *to = (char *)out->data + i * inner;
    for (int64_t k = 0; k < outer; k++) memcpy(to + k * out->shape[axis] * inner, from + k * inner, (size_t)inner);
}

static void zero(const struct flow_tensor *t) {
    int64_t bytes;
    if (t->data && plan_bytes(t, &bytes)) memset(t->data, 0, (size_t)bytes);
}

/* What no iteration writes is zero; a carried value that nothing replaced is the first one. */
static void start_values(const struct flow_call *call, const struct plan_loop *plan, size_t inputs, size_t outputs) {
    for (size_t o = 0; o < outputs; o++)
        if ((plan->collect[o] >= 0 && plan->until >= 0) || plan->iterations == 0) zero(&call->out[o]);
    for (size_t i = 0; i < inputs && plan->iterations == 0; i++)
        if (plan->carry[i] >= 0 && call->in[i].data) tensor_copy(call->out[plan->carry[i]].data, &call->in[i]);
}

static int iterate(const struct flow_call *call, struct loop_binding *loop, size_t inputs, size_t outputs, int64_t i) {
    const struct plan_loop *plan = loop->step->loop;
    struct binding *body = loop->body;
    char *kept = call->saved ? (char *)call->saved + 64 + i * plan->kept_bytes : NULL;
    for (size_t p = 0; p < inputs; p++) {
        char *at = input_at(call, loop, p, i);
        int64_t bytes;
        point(body, loop->in_group[p], at);
        if (kept && plan->kept[p] >= 0 && plan_bytes(&call->in[p], &bytes) && bytes) memcpy(kept + plan->kept[p], at, (size_t)bytes);
    }
    for (size_t o = 0; o < outputs; o++) {
        loop->now[o] = output_at(call, loop, o, i);
        point(body, loop->out_group[o], loop->now[o]);
    }
    int code = binding_run(body, call->run * (uint64_t)plan->iterations + (uint64_t)i);
    if (code < 0) return code;
    for (size_t o = 0; o < outputs; o++)
        if (plan->collect[o] >= 0 && plan->spare[o] >= 0) put_slice(&call->out[o], plan->collect[o], i, loop->now[o]);
    return 0;
}

int exec_loop(const struct flow_call *call) {
    struct loop_binding *loop = (struct loop_binding *)call->priv;
    const struct plan_loop *plan = loop->step->loop;
    const struct network *network = plan->body->instance->network;
    size_t inputs = network->input_count, outputs = network->output_count;
    point(loop->body, loop->arena_group, call->workspace);
    start_values(call, plan, inputs, outputs);
    int64_t made = 0;
    while (made < plan->iterations) {
        int code = iterate(call, loop, inputs, outputs, made);
        if (code < 0) return code;
        made++;
        if (plan->until >= 0 && *(const uint8_t *)loop->now[plan->until]) break;
    }
    for (size_t o = 0; o < outputs && made > 0; o++) {
        int64_t bytes;
        if (plan->collect[o] >= 0 || !is_carried(plan, inputs, (int32_t)o) || loop->now[o] == call->out[o].data) continue;
        if (plan_bytes(&call->out[o], &bytes) && bytes) memcpy(call->out[o].data, loop->now[o], (size_t)bytes);
    }
    if (call->saved) memcpy(call->saved, &made, sizeof made);
    if (call->out_count > outputs && call->out[outputs].data) *(int64_t *)call->out[outputs].data = made;
    return 0;
}
