/* SPDX-License-Identifier: Apache-2.0 */
/* Loops: the body is an instance of its own, with the shapes of one iteration.
 * And the node that gathers parameters into one vector. */
#include "graph/instance_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loop {
    struct build *build;
    const struct network_node *source;
    struct instance_node *node;
    struct flow_tensor *inputs; /* by body input: types of one iteration */
    struct position *at;
    bool failed;
};

static void loop_fail(struct loop *loop, int code, struct position at, const char *format, ...) printf_like(4, 5);
static void loop_fail(struct loop *loop, int code, struct position at, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    loop->failed = true;
    build_error(loop->build, loop->source, code, at, "%s", text);
}

/* ---- What goes in ---- */

static int gather(struct loop *loop, int32_t index) {
    const struct network_node *source = loop->source;
    const struct network *body = source->body;
    for (size_t i = 0; i < body->input_count; i++) {
        loop->node->in[i] = -1;
        loop->at[i] = source->op_at;
        extents_none(&loop->inputs[i]);
    }
    for (size_t i = 0; i < source->in_count; i++) {
        const struct network_edge *edge = &source->in[i];
        bool ready = true;
        int32_t value;
        if (edge->port < 0 || (size_t)edge->port >= body->input_count) continue;
        int status = build_edge(loop->build, index, edge, body->inputs[edge->port].name, false, &value, &ready);
        if (status < 0) return status;
        loop->failed |= !ready;
        if (value < 0) continue;
        loop->node->in[edge->port] = value;
        loop->at[edge->port] = edge->at;
        loop->inputs[edge->port] = loop->build->made->values[value].type;
        if (loop->build->streaming && loop->build->made->values[value].stream_axis >= 0)
            loop_fail(loop, FLOW_ERROR_UNSUPPORTED, edge->at, "a loop needs the whole sequence: its input '%s' does not stream",
                      body->inputs[edge->port].name);
    }
    return 0;
}

static bool normal_axis(int32_t axis, int32_t rank, int32_t *normal) {
    *normal = axis < 0 ? axis + rank : axis;
    return *normal >= 0 && *normal < rank;
}

/* Takes the axis that is gone through out of each `over` input; the number of
 * iterations. */
static void slice_over(struct loop *loop) {
    const struct network_loop *about = &loop->source->loop;
    int64_t extent = -1;
    for (size_t i = 0; i < about->over_count; i++) {
        const struct network_axis *over = &about->over[i];
        if (over->port < 0 || (size_t)over->port >= loop->source->body->input_count) continue;
        struct flow_tensor *type = &loop->inputs[over->port];
        const char *name = loop->source->body->inputs[over->port].name;
        int32_t axis;
        if (type->rank < 0) continue;
        if (!normal_axis(over->axis, type->rank, &axis)) {
            loop_fail(loop, FLOW_ERROR_SHAPE, over->at, "input '%s' has %d axes, no axis %d to go over", name, type->rank, over->axis);
            return;
        }
        int64_t here = type->shape[axis];
        if (extent >= 0 && here != extent) {
            loop_fail(loop, FLOW_ERROR_SHAPE, over->at,
                      "axis %d of input '%s' is %lld, but the loop goes over %lld "
                      "elsewhere",
                      axis, name, (long long)here, (long long)extent);
            return;
        }
        extent = here;
        for (int32_t k = axis; k + 1 < type->rank; k++) type->shape[k] = type->shape[k + 1];
        type->rank--;
    }
    int64_t most = about->max;
    loop->node->iterations = extent < 0 ? (most < 0 ? 0 : most) : most >= 0 && most < extent ? most : extent;
    if (about->index >= 0 && (size_t)about->index < loop->source->body->input_count) {
        loop->inputs[about->index] = (struct flow_tensor){.dtype = FLOW_I64};
        loop->at[about->index] = about->index_at;
    }
}

static void check_given(struct loop *loop) {
    const struct network *body = loop->source->body;
    for (size_t i = 0; i < body->input_count && !loop->failed; i++)
        if (loop->inputs[i].rank < 0)
            loop_fail(loop, FLOW_ERROR_GRAPH, loop->source->op_at, "its input '%s' is not connected", body->inputs[i].name);
}

static int make_body(struct loop *loop) {
    struct build *build = loop->build;
    struct build_outer outer = {loop->source->path, loop->at};
    struct build_options how = {.outer = &outer, .guess = FLOW_F32};
    struct instance_options options = *build->options;
    options.refs = NULL, options.ref_count = 0;
    options.inputs = loop->inputs, options.stream = NULL, options.before = NULL;
    options.seed = build->seed, options.seeded = true;
    options.differentiate |= build->made->gradients;
    for (size_t i = 0; i < loop->source->body->input_count; i++)
        if (!extents_contiguous(&loop->inputs[i])) {
            loop_fail(loop, FLOW_ERROR_SHAPE, loop->at[i], "its input '%s' has more elements than can be addressed",
                      loop->source->body->inputs[i].name);
            return 0;
        }
    int status = build_make(build->from, loop->source->body, &options, &how, build->report, &loop->node->body);
    if (status < 0) loop->failed = true;
    return status == FLOW_ERROR_MEMORY ? status : 0;
}

/* ---- What comes out ---- */

static const struct flow_tensor *body_output(const struct loop *loop, int32_t output) {
    const struct instance *body = loop->node->body;
    return output >= 0 && (size_t)output < loop->source->body->output_count ? &body->values[body->outputs[output]].type : NULL;
}

static void check_carried(struct loop *loop) {
    const struct network_loop *about = &loop->source->loop;
    const struct network *body = loop->source->body;
    char in[EXTENTS_TEXT], out[EXTENTS_TEXT];
    for (size_t i = 0; i < about->carry_count; i++) {
        const struct flow_tensor *back = body_output(loop, about->carry[i].output);
        if (!back || about->carry[i].input < 0 || (size_t)about->carry[i].input >= body->input_count) continue;
        const struct flow_tensor *start = &loop->inputs[about->carry[i].input];
        if (!extents_same(back, start))
            loop_fail(loop, FLOW_ERROR_SHAPE, loop->at[about->carry[i].input],
                      "'%s' starts as %s, but '%s', which is carried back to it, is %s", body->inputs[about->carry[i].input].name,
                      extents_text(in, start->dtype, start), body->outputs[about->carry[i].output].name,
                      extents_text(out, back->dtype, back));
    }
    const struct flow_tensor *until = body_output(loop, about->until);
    if (until && (until->dtype != FLOW_BOOL || until->rank != 0))
        loop_fail(loop, FLOW_ERROR_TYPE, about->until_at, "'until' must be a bool scalar, found '%s', %s", body->outputs[about->until].name,
                  extents_text(out, until->dtype, until));
}

/* Stacks along a new axis what every iteration gives. */
static void collect(struct loop *loop, const struct network_axis *collected, struct flow_tensor *type) {
    const char *name = loop->source->body->outputs[collected->port].name;
    int32_t axis;
    if (type->rank == FLOW_RANK_MAX || !normal_axis(collected->axis, type->rank + 1, &axis)) {
        loop_fail(loop, FLOW_ERROR_SHAPE, collected->at, "output '%s' has %d axes, a new axis %d cannot be made", name, type->rank,
                  collected->axis);
        return;
    }
    for (int32_t k = type->rank; k > axis; k--) type->shape[k] = type->shape[k - 1];
    type->shape[axis] = loop->node->iterations;
    type->rank++;
}

static int make_outputs(struct loop *loop, int32_t index) {
    const struct network *body = loop->source->body;
    struct instance_node *node = loop->node;
    struct instance *made = loop->build->made;
    node->out_count = (uint32_t)body->output_count + 1;
    const struct network_axis **collected = arena_array(&loop->build->scratch, body->output_count, sizeof *collected);
    if (!collected || !(node->out = arena_array(&made->arena, node->out_count, sizeof *node->out))) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < loop->source->loop.collect_count; i++) {
        const struct network_axis *axis = &loop->source->loop.collect[i];
        if (axis->port >= 0 && (size_t)axis->port < body->output_count) collected[axis->port] = axis;
    }
    for (uint32_t i = 0; i < node->out_count && !loop->failed; i++) {
        bool count = i == body->output_count;
        struct flow_tensor type = count ? (struct flow_tensor){.dtype = FLOW_I64} : *body_output(loop, (int32_t)i);
        if (!count && collected[i]) collect(loop, collected[i], &type);
        if (loop->failed) return 0;
        if (!extents_contiguous(&type)) {
            char text[EXTENTS_TEXT];
            loop_fail(loop, FLOW_ERROR_SHAPE, loop->source->op_at, "the tensor %s has more elements than can be addressed",
                      extents_text(text, type.dtype, &type));
            return 0;
        }
        const char *name =
            i == 0 ? loop->source->path : build_join(&made->arena, loop->source->path, count ? "count" : body->outputs[i].name);
        if (!name || (node->out[i] = build_value(loop->build, VALUE_NODE, name, &type)) < 0) return FLOW_ERROR_MEMORY;
        made->values[node->out[i]].node = index, made->values[node->out[i]].port = (int32_t)i;
    }
    return 0;
}

/* The body's parameters are the model's, under the same names. */
static int share_params(struct loop *loop, int32_t index) {
    const struct instance *body = loop->node->body;
    struct build *build = loop->build;
    if (!(loop->node->param = arena_array(&build->made->arena, body->param_count, sizeof *loop->node->param))) return FLOW_ERROR_MEMORY;
    loop->node->param_count = (uint32_t)body->param_count;
    for (size_t i = 0; i < body->param_count; i++) {
        const struct instance_value *inner = &body->values[body->params[i]];
        bool native = !(inner->flags & BUILD_FOREIGN);
        const char *name = arena_text(&build->made->arena, inner->name), *init = arena_text(&build->made->arena, inner->init);
        if (!name || (inner->init && !init)) return FLOW_ERROR_MEMORY;
        int status = build_param_named(build, index, name, &inner->type, init, inner->flags & ~(uint32_t)BUILD_FOREIGN, native,
                                       loop->source->op_at, &loop->node->param[i]);
        if (status < 0) return status;
        if (loop->node->param[i] < 0) loop->failed = true;
    }
    return 0;
}

int build_loop(struct build *build, int32_t index) {
    const struct network_node *source = &build->network->nodes[index];
    const struct network *body = source->body;
    struct instance_node *node = build_node(build, source);
    struct loop loop = {.build = build, .source = source, .node = node};
    if (!node || !(node->in = arena_array(&build->made->arena, body->input_count, sizeof *node->in)) ||
        !(loop.inputs = arena_array(&build->scratch, body->input_count, sizeof *loop.inputs)) ||
        !(loop.at = arena_array(&build->scratch, body->input_count, sizeof *loop.at)))
        return FLOW_ERROR_MEMORY;
    node->in_count = (uint32_t)body->input_count;
    int status = gather(&loop, index);
    if (status == 0 && !loop.failed) slice_over(&loop);
    if (status == 0 && !loop.failed) check_given(&loop);
    if (status == 0 && !loop.failed) status = make_body(&loop);
    if (status == 0 && !loop.failed) check_carried(&loop);
    if (status == 0 && !loop.failed) status = make_outputs(&loop, (int32_t)build->made->node_count);
    if (status == 0 && !loop.failed) status = share_params(&loop, index);
    if (status < 0 || loop.failed) {
        instance_free(node->body);
        node->body = NULL;
        return status;
    }
    node->dtype = node->out_count > 1 ? build->made->values[node->out[0]].type.dtype : build->f32;
    build->node_of[index] = (int32_t)build->made->node_count++;
    return 0;
}

/* ---- {op: parameters} ---- */

struct gathered {
    const char *name;
    int32_t value;
};

static int by_name(const void *a, const void *b) { return strcmp(((const struct gathered *)a)->name, ((const struct gathered *)b)->name); }

static bool is_gathered(const struct instance_value *value, const char *match) {
    return value->kind == VALUE_PARAM && dtype_float(value->type.dtype) && !(value->flags & FLOW_RUNNING) &&
           text_matches(match, value->name);
}

static size_t count_gathered(const struct instance *made, const char *match) {
    size_t count = 0;
    for (size_t i = 0; i < made->value_count; i++) count += is_gathered(&made->values[i], match);
    return count;
}

int build_parameters(struct build *build, int32_t index) {
    const struct network_node *source = &build->network->nodes[index];
    struct instance *made = build->made;
    const char *match = source->match ? source->match : "*";
    if (build->how->outer) {
        build_error(build, source, FLOW_ERROR_UNSUPPORTED, source->op_at,
                    "'parameters' cannot stand inside a loop: gather them outside "
                    "and feed them in");
        return 0;
    }
    struct instance_node *node = build_node(build, source);
    size_t count = count_gathered(made, match);
    struct gathered *gathered = arena_array(&build->scratch, count, sizeof *gathered);
    if (!node || !gathered || !(node->in = arena_array(&made->arena, count, sizeof *node->in)) ||
        !(node->out = arena_new(&made->arena, sizeof *node->out)))
        return FLOW_ERROR_MEMORY;
    for (size_t i = 0, k = 0; i < made->value_count; i++)
        if (is_gathered(&made->values[i], match)) gathered[k++] = (struct gathered){made->values[i].name, (int32_t)i};
    if (count) qsort(gathered, count, sizeof *gathered, by_name);
    struct flow_tensor type = {.dtype = build->f32, .rank = 1};
    bool fits = true;
    for (size_t i = 0; i < count; i++) {
        int64_t elements;
        node->in[i] = gathered[i].value;
        fits = fits && extents_count(&made->values[gathered[i].value].type, &elements) && size_add(type.shape[0], elements, &type.shape[0]);
    }
    if (!fits || !extents_contiguous(&type)) {
        build_error(build, source, FLOW_ERROR_SHAPE, source->op_at, "the parameters have more elements than can be addressed");
        return 0;
    }
    if ((node->out[0] = build_value(build, VALUE_NODE, source->path, &type)) < 0) return FLOW_ERROR_MEMORY;
    made->values[node->out[0]].node = (int32_t)made->node_count, made->values[node->out[0]].port = 0;
    node->in_count = (uint32_t)count, node->out_count = 1, node->dtype = build->f32;
    build->node_of[index] = (int32_t)made->node_count++;
    return 0;
}

/* A parameter whose shape depends on the vector that it is part of was not
 * there when it was gathered. */
int build_parameters_check(struct build *build) {
    const struct network *network = build->network;
    for (size_t i = 0; build->late && i < network->node_count; i++) {
        const struct network_node *source = &network->nodes[i];
        if (source->kind != NETWORK_PARAMETERS || build->node_of[i] < 0) continue;
        if (count_gathered(build->made, source->match ? source->match : "*") != build->made->nodes[build->node_of[i]].in_count)
            build_error(build, source, FLOW_ERROR_GRAPH, source->op_at,
                        "a node that depends on this vector has a parameter that "
                        "belongs into it: narrow 'match' down");
    }
    return 0;
}
