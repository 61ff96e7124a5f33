/* SPDX-License-Identifier: Apache-2.0 */
/* A loop: its body is a plan of its own, whose inputs and outputs the loop points elsewhere in every iteration, so that carrying a value
 * costs no copy. Where they point:
 *   carried     iteration i reads what i - 1 wrote; outputs alternate between the node's output and a spare buffer, so that the last
 *               value, when it ends up in the spare one, is copied once;
 *   over        the i-th slice, copied to a staging buffer where it is not contiguous;
 *   collected   straight into the i-th slice along axis 0; along another axis a spare buffer, copied after each iteration. */
#include "plan/build.h"

int plan_loop_body(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    if (!node->body)
        return report_add(build->report, FLOW_ERROR_INTERNAL, node->source->op_at, "loop '%s' has no body", node->source->path);
    struct plan_options options = *build->options;
    options.streams = 1;
    return plan_new_body(build->from, node->body, &options, build->report, true, &build->bodies[n]);
}

static struct plan_loop *loop_new(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    const struct network_loop *source = &node->source->loop;
    size_t inputs = node->source->body->input_count, outputs = node->source->body->output_count;
    struct arena *arena = &build->plan->arena;
    struct plan_loop *loop = arena_new(arena, sizeof *loop);
    if (!loop) return NULL;
    loop->stage = arena_array(arena, inputs, sizeof *loop->stage), loop->spare = arena_array(arena, outputs, sizeof *loop->spare);
    loop->carry = arena_array(arena, inputs, sizeof *loop->carry), loop->over = arena_array(arena, inputs, sizeof *loop->over);
    loop->collect = arena_array(arena, outputs, sizeof *loop->collect);
    loop->kept = arena_array(arena, inputs, sizeof *loop->kept);
    if (!loop->stage || !loop->spare || !loop->carry || !loop->over || !loop->collect || !loop->kept) return NULL;
    loop->iterations = node->iterations, loop->until = source->until, loop->index_input = source->index, loop->index = -1;
    for (size_t i = 0; i < inputs; i++) loop->stage[i] = -1, loop->carry[i] = -1, loop->over[i] = -1;
    for (size_t o = 0; o < outputs; o++) loop->spare[o] = -1, loop->collect[o] = -1;
    for (size_t c = 0; c < source->carry_count; c++) loop->carry[source->carry[c].input] = source->carry[c].output;
    return loop;
}

static int32_t axis_from_end(int32_t axis, int32_t rank) { return axis < 0 ? axis + rank : axis; }

/* Is one slice along the axis contiguous in a row-major tensor? */
static bool slices_lie_together(const struct flow_tensor *type, int32_t axis) {
    for (int32_t a = 0; a < axis; a++)
        if (type->shape[a] > 1) return false;
    return true;
}

static bool reserve(int64_t *bytes, int64_t more, int64_t *at) {
    *at = *bytes;
    return more <= INT64_MAX / 8 && size_add(*bytes, size_align(more, PLAN_ALIGN), bytes) && *bytes <= INT64_MAX / 4;
}

/* Lays out what the loop needs beside the body's arena; false where it is larger than can be addressed. */
static bool lay_out(struct plan_build *build, int32_t n, struct plan_loop *loop, const struct plan_tensor *in,
                    const struct plan_tensor *out, int64_t *bytes) {
    const struct instance_node *node = &build->instance->nodes[n];
    const struct network_loop *source = &node->source->loop;
    const struct instance *body = node->body;
    size_t inputs = node->source->body->input_count;
    int64_t size;
    for (size_t k = 0; k < source->over_count; k++) {
        int32_t port = source->over[k].port, rank = in[port].type.rank;
        loop->over[port] = axis_from_end(source->over[k].axis, rank);
        if (!plan_bytes(&body->values[body->inputs[port]].type, &size)) return false;
        if (!slices_lie_together(&in[port].type, loop->over[port]) && !reserve(bytes, size, &loop->stage[port])) return false;
    }
    for (size_t k = 0; k < source->collect_count; k++) {
        int32_t port = source->collect[k].port, rank = body->values[body->outputs[port]].type.rank + 1;
        loop->collect[port] = axis_from_end(source->collect[k].axis, rank);
        if (!plan_bytes(&body->values[body->outputs[port]].type, &size)) return false;
        if (!slices_lie_together(&out[port].type, loop->collect[port]) && !reserve(bytes, size, &loop->spare[port])) return false;
    }
    for (size_t i = 0; i < inputs; i++) {
        int32_t o = loop->carry[i];
        if (o < 0 || loop->spare[o] >= 0) continue;
        if (!plan_bytes(&body->values[body->outputs[o]].type, &size) || !reserve(bytes, size, &loop->spare[o])) return false;
    }
    return loop->index_input < 0 || reserve(bytes, (int64_t)sizeof(int64_t), &loop->index);
}

/* What each iteration keeps for backward: the carried inputs. The number of iterations made comes before all of them. */
static bool keep(const struct plan_build *build, int32_t n, struct plan_loop *loop, int64_t *saved) {
    const struct instance_node *node = &build->instance->nodes[n];
    const struct instance *body = node->body;
    size_t inputs = node->source->body->input_count;
    int64_t size, all;
    for (size_t i = 0; i < inputs; i++) {
        loop->kept[i] = -1;
        if (loop->carry[i] < 0) continue;
        if (!plan_bytes(&body->values[body->inputs[i]].type, &size) || !reserve(&loop->kept_bytes, size, &loop->kept[i])) return false;
    }
    if (!size_multiply(loop->kept_bytes, loop->iterations, &all)) return false;
    *saved = PLAN_ALIGN;
    return all <= INT64_MAX / 8 && size_add(*saved, all, saved);
}

static int too_large(struct plan_build *build, const struct instance_node *node) {
    return report_add(build->report, FLOW_ERROR_RANGE, node->source->op_at, "loop '%s' needs more memory than can be addressed",
                      node->source->path);
}

int plan_loop_step(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    struct plan_loop *loop = loop_new(build, n);
    size_t inputs = node->source->body->input_count;
    struct plan_tensor *in = plan_tensors(build, inputs), *out = plan_tensors(build, node->out_count);
    if (!loop || !in || !out) return report_memory(build->report);
    int code = 0;
    for (uint32_t i = 0; i < node->in_count && i < inputs && code == 0; i++)
        if (node->in[i] >= 0) code = plan_dense(build, node->in[i], n, &in[i]);
    if (code == 0) code = plan_produce(build, node, out);
    if (code < 0) return code;
    int64_t bytes = size_align(build->bodies[n]->bytes, PLAN_ALIGN);
    int64_t keeps = 0;
    struct plan_tensor saved = {.index = -1, .value = -1, .type = {.rank = -1}};
    if (!lay_out(build, n, loop, in, out, &bytes) || (build->differentiated[n] && !keep(build, n, loop, &keeps)))
        return too_large(build, node);
    if ((code = plan_saved(build, n, keeps, &saved)) < 0) return code;
    struct plan_step *step = plan_step_add(build, PLAN_LOOP, n);
    if (!step) return report_memory(build->report);
    step->in = in, step->out = out, step->in_count = (uint32_t)inputs, step->out_count = node->out_count;
    step->loop = loop, step->workspace_bytes = bytes, step->saved = saved;
    loop->body = build->bodies[n];
    build->bodies[n] = NULL; /* the step's now */
    int32_t block;
    code = plan_block_new(build, PLACE_ARENA, -1, bytes, -1, &block);
    step->workspace = block;
    return code;
}

/* ---- Backward ---- */

/* The iteration's gradients and cotangents lie in the workspace, after the body's arena, in buffers of their own. */
static bool lay_out_backward(struct plan_build *build, int32_t n, struct plan_loop *loop, const struct plan_tensor *in, int64_t *bytes) {
    const struct instance_node *node = &build->instance->nodes[n];
    const struct instance_backward *backward = node->backward;
    const struct network_loop *source = &node->source->loop;
    const struct instance *body = node->body;
    size_t outputs = node->source->body->output_count;
    int64_t size;
    for (size_t k = 0; k < source->over_count; k++) {
        int32_t port = source->over[k].port;
        loop->over[port] = axis_from_end(source->over[k].axis, in[port].type.rank);
        if (!plan_bytes(&body->values[body->inputs[port]].type, &size)) return false;
        if (!slices_lie_together(&in[port].type, loop->over[port]) && !reserve(bytes, size, &loop->stage[port])) return false;
    }
    for (size_t k = 0; k < source->collect_count; k++) {
        int32_t port = source->collect[k].port, rank = build->instance->values[build->instance->nodes[backward->of].out[port]].type.rank;
        loop->collect[port] = axis_from_end(source->collect[k].axis, rank);
    }
    for (uint32_t i = 0; i < node->in_count + node->param_count; i++) {
        int32_t output = i < node->in_count ? backward->of_input[i] : backward->of_param[i - node->in_count];
        loop->gradient[i] = -1;
        if (output < 0) continue;
        if (!plan_bytes(&body->values[body->outputs[output]].type, &size) || !reserve(bytes, size, &loop->gradient[i])) return false;
    }
    for (size_t o = 0; o < outputs; o++) {
        loop->cotangent[o] = -1;
        if (backward->cotangent[o] < 0) continue;
        if (!plan_bytes(&body->values[body->inputs[backward->cotangent[o]]].type, &size) || !reserve(bytes, size, &loop->cotangent[o]))
            return false;
    }
    return loop->index_input < 0 || reserve(bytes, (int64_t)sizeof(int64_t), &loop->index);
}

int plan_loop_backward(struct plan_build *build, int32_t n) {
    const struct instance_node *node = &build->instance->nodes[n];
    const struct instance_backward *backward = node->backward;
    uint32_t outputs = build->instance->nodes[backward->of].out_count, rows = node->in_count + node->param_count;
    struct plan_loop *loop = loop_new(build, n);
    struct plan_tensor *in = plan_tensors(build, node->in_count), *out = plan_tensors(build, rows);
    struct plan_tensor *read = plan_tensors(build, outputs), *grad_out = plan_tensors(build, outputs);
    if (!loop || !in || !out || !read || !grad_out) return report_memory(build->report);
    loop->gradient = arena_array(&build->plan->arena, rows, sizeof *loop->gradient);
    loop->cotangent = arena_array(&build->plan->arena, node->source->body->output_count, sizeof *loop->cotangent);
    if (!loop->gradient || !loop->cotangent) return report_memory(build->report);
    int code = 0;
    for (uint32_t i = 0; i < node->in_count && code == 0; i++)
        if (node->in[i] >= 0) code = plan_dense(build, node->in[i], n, &in[i]);
    if (code == 0) code = plan_locate_all(build, backward->grad_out, outputs, grad_out);
    if (code == 0) code = plan_locate_all(build, backward->grad_in, node->in_count, out);
    if (code == 0) code = plan_locate_all(build, backward->grad_param, node->param_count, out + node->in_count);
    if (code < 0) return code;
    int64_t bytes = size_align(build->bodies[n]->bytes, PLAN_ALIGN), keeps = 0;
    struct plan_tensor saved = {.index = -1, .value = -1, .type = {.rank = -1}};
    if (!lay_out_backward(build, n, loop, in, &bytes) || !keep(build, n, loop, &keeps)) return too_large(build, node);
    if ((code = plan_saved(build, backward->saved_of, keeps, &saved)) < 0) return code;
    struct plan_step *step = plan_step_add(build, PLAN_LOOP_BACKWARD, n);
    if (!step) return report_memory(build->report);
    step->in = in, step->out = out, step->read = read, step->grad_out = grad_out;
    step->in_count = node->in_count, step->out_count = rows, step->read_count = outputs;
    step->loop = loop, step->workspace_bytes = bytes, step->saved = saved;
    loop->body = build->bodies[n];
    build->bodies[n] = NULL; /* the step's now */
    int32_t block;
    code = plan_block_new(build, PLACE_ARENA, -1, bytes, -1, &block);
    step->workspace = block;
    return code;
}
