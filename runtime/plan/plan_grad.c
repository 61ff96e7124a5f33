/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of the nodes that differentiation put in. A gradient's block is written by several steps, in the order of the nodes. */
#include "plan/build.h"

int plan_saved(struct plan_build *build, int32_t n, int64_t bytes, struct plan_tensor *out) {
    if (bytes <= 0) return 0;
    *out = (struct plan_tensor){.place = PLACE_ARENA, .value = -1, .index = build->saved[n], .type = {.dtype = FLOW_U8, .rank = 1}};
    out->type.shape[0] = bytes, out->type.strides[0] = 1;
    if (out->index >= 0) return 0;
    if (bytes > INT64_MAX / 4)
        return report_add(build->report, FLOW_ERROR_RANGE, build->instance->nodes[n].source->op_at,
                          "node '%s' keeps more for its gradient than can be addressed", build->instance->nodes[n].source->path);
    int code = plan_block_new(build, PLACE_ARENA, -1, bytes, -1, &build->saved[n]);
    out->index = build->saved[n];
    return code;
}

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static bool reads_strided(const struct instance_node *node, uint32_t i) {
    const struct flow_ports *ports = &node->entry->op->inputs;
    if (!ports->count) return false;
    return ports->at[i < ports->count ? i : ports->count - 1].flags & FLOW_STRIDED;
}

/* Types of what is there but not read: backward may look at shapes. */
static void describe(const struct plan_build *build, int32_t value, struct plan_tensor *out) {
    if (value >= 0 && out->place == PLACE_NONE) out->type = build->instance->values[value].type, out->type.data = NULL;
}

int plan_locate_all(struct plan_build *build, const int32_t *values, uint32_t count, struct plan_tensor *out) {
    int code = 0;
    for (uint32_t i = 0; i < count && code == 0; i++)
        if (values[i] >= 0) code = plan_locate(build, values[i], &out[i]);
    return code;
}

/* Lists are as long as the operator's tables: rows without a tensor have rank -1. */
static int add_backward(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    const struct instance_backward *backward = node->backward;
    const struct instance_node *of = &build->instance->nodes[backward->of];
    const struct flow_operator *op = node->entry->op;
    uint32_t ins = larger(node->in_count, op->inputs.count), params = larger(node->param_count, op->params.count);
    uint32_t outs = larger(of->out_count, op->outputs.count);
    struct plan_tensor *in = plan_tensors(build, ins), *param = plan_tensors(build, params), *out = plan_tensors(build, ins + params);
    struct plan_tensor *read = plan_tensors(build, outs), *grad_out = plan_tensors(build, outs);
    if (!in || !param || !out || !read || !grad_out) return report_memory(build->report);
    int code = 0;
    for (uint32_t i = 0; i < node->in_count && code == 0; i++) {
        code = plan_operand(build, node->in[i], n, reads_strided(node, i), &in[i]);
        describe(build, of->in[i], &in[i]);
    }
    for (uint32_t i = 0; i < node->param_count && code == 0; i++) code = plan_operand(build, node->param[i], n, false, &param[i]);
    for (uint32_t k = 0; k < of->out_count && code == 0; k++) {
        if (backward->read[k] >= 0) code = plan_dense(build, backward->read[k], n, &read[k]);
        describe(build, of->out[k], &read[k]);
    }
    if (code == 0) code = plan_locate_all(build, backward->grad_out, of->out_count, grad_out);
    if (code == 0) code = plan_locate_all(build, backward->grad_in, node->in_count, out);
    if (code == 0) code = plan_locate_all(build, backward->grad_param, node->param_count, out + ins);
    struct plan_step *step = code == 0 ? plan_step_add(build, PLAN_BACKWARD, n) : NULL;
    if (!step) return code < 0 ? code : report_memory(build->report);
    step->kernel = build->kernels[n];
    step->in = in, step->param = param, step->out = out, step->read = read, step->grad_out = grad_out;
    step->in_count = node->in_count, step->param_count = node->param_count, step->out_count = ins + params, step->read_count = outs;
    if (of->infer.saved > 0) code = plan_saved(build, backward->saved_of, of->infer.saved, &step->saved);
    return code == 0 ? plan_workspace(build, step, node->infer.workspace_backward) : code;
}

/* The target of a FILL, PASS or ADD: the node's own value, or a gradient. */
static int locate_target(struct plan_build *build, const struct instance_node *node, struct plan_tensor *out) {
    return node->out_count ? plan_produce(build, node, out) : plan_locate(build, node->target, out);
}

static int add_simple(struct plan_build *build, int32_t n, enum plan_step_kind kind) {
    const struct instance_node *node = &build->instance->nodes[n];
    struct plan_tensor *in = plan_tensors(build, 1), *out = plan_tensors(build, larger(node->out_count, 1));
    if (!in || !out) return report_memory(build->report);
    int code = node->in_count ? plan_dense(build, node->in[0], n, &in[0]) : 0;
    if (code == 0) code = locate_target(build, node, out);
    struct plan_step *step = code == 0 ? plan_step_add(build, kind, n) : NULL;
    if (!step) return code < 0 ? code : report_memory(build->report);
    step->in = in, step->out = out, step->in_count = node->in_count, step->out_count = 1;
    return 0;
}

int plan_grad_step(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    switch (node->role) {
    case NODE_BACKWARD: return node->source->kind == NETWORK_LOOP ? plan_loop_backward(build, n) : add_backward(build, n);
    case NODE_FILL: return add_simple(build, n, PLAN_FILL);
    case NODE_PASS: return add_simple(build, n, PLAN_PASS);
    case NODE_ADD: return add_simple(build, n, PLAN_ADD);
    case NODE_JOIN: return plan_gather(build, n);
    default: return report_add(build->report, FLOW_ERROR_INTERNAL, node->source->op_at, "node '%s' has no steps", node->source->path);
    }
}
