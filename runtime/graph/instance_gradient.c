/* SPDX-License-Identifier: Apache-2.0 */
/* {op: gradient}: a node that stands for the derivative of one value by another. Its shape is known here; what computes it comes in with
 * differentiation (grad/). */
#include "graph/instance_build.h"

#include <string.h>

static const struct flow_port gradient_in[] = {
    {"loss", "the value that is differentiated", NULL, FLOW_TYPES_FLOAT, FLOW_NO_GRAD},
    {"of", "by what", NULL, FLOW_TYPES_FLOAT, FLOW_OPTIONAL | FLOW_NO_GRAD},
};
static const struct flow_port gradient_out[] = {
    {"y", "the gradient, in the shape of `of`; or a vector over the parameters", NULL, FLOW_TYPES_FLOAT, 0}};

static const struct flow_operator gradient_operator = {
    .size = sizeof(struct flow_operator),
    .name = "gradient",
    .summary = "the derivative of one node's value by another's, as a value",
    .equation = "y = d (sum of loss) / d of;  0 where the loss does not depend on it. No gradient flows through it",
    .reference = "reverse mode",
    .example = "y: {op: gradient, in: {loss: loss, of: x}}",
    .inputs = FLOW_TABLE(gradient_in),
    .outputs = FLOW_TABLE(gradient_out),
};

const struct registry_entry gradient_entry = {.op = &gradient_operator, .plugin = "flow"};

bool build_wanted(const struct build *build, int32_t index, uint32_t output) {
    for (size_t i = 0; i < build->wanted_count; i++)
        if (build->wanted[i].node == index && build->wanted[i].output == (int32_t)output) return true;
    return false;
}

int build_find_wanted(struct build *build) {
    const struct network *network = build->network;
    size_t count = 0;
    for (size_t i = 0; i < network->node_count; i++) count += network->nodes[i].kind == NETWORK_GRADIENT;
    if (!count) return 0;
    if (!(build->wanted = arena_array(&build->scratch, count, sizeof *build->wanted))) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < network->node_count; i++) {
        const struct network_node *node = &network->nodes[i];
        if (node->kind != NETWORK_GRADIENT) continue;
        build->made->gradients = true;
        for (size_t k = 0; k < node->in_count; k++)
            if (node->in[k].port == 1) build->wanted[build->wanted_count++] = node->in[k].from;
    }
    return 0;
}

/* The gradient of a view is a view of its owner's gradient; one that is asked for by itself gets memory, and so a gradient, of its own. */
int build_apart(struct build *build, int32_t index) {
    struct instance_node *node = &build->made->nodes[build->node_of[index]];
    for (uint32_t k = 0; k < node->out_count; k++) {
        int32_t value = node->out[k], copy;
        bool made;
        if (value < 0 || build->made->values[value].view_of < 0 || !build_wanted(build, index, k)) continue;
        int status = build_inserted(build, &build->network->nodes[index], "apart", &copy_entry, &value, 1, &copy, &made);
        if (status < 0) return status;
        if (made) build->values[value].apart = copy + 1;
        node = &build->made->nodes[build->node_of[index]];
    }
    return 0;
}

static bool is_matched(const struct instance_value *value, const char *match) {
    return value->kind == VALUE_PARAM && dtype_float(value->type.dtype) && !(value->flags & FLOW_RUNNING) &&
           text_matches(match, value->name);
}

/* The shape of the result; rank -1 after an error. */
static struct flow_tensor gradient_type(struct build *build, const struct network_node *source, const int32_t *in) {
    struct instance *made = build->made;
    struct flow_tensor type = {.dtype = build->f32, .rank = 1};
    bool fits = true;
    if (source->match) {
        for (size_t i = 0; i < made->value_count; i++) {
            int64_t elements;
            if (!is_matched(&made->values[i], source->match)) continue;
            fits = fits && extents_count(&made->values[i].type, &elements) && size_add(type.shape[0], elements, &type.shape[0]);
        }
    } else type = made->values[in[1]].type;
    if (fits && extents_contiguous(&type)) return type;
    build_error(build, source, FLOW_ERROR_SHAPE, source->op_at, "the gradient has more elements than can be addressed");
    extents_none(&type);
    return type;
}

int build_gradient(struct build *build, int32_t index) {
    const struct network_node *source = &build->network->nodes[index];
    int32_t in[2] = {-1, -1};
    bool ready = true;
    for (size_t k = 0; k < source->in_count; k++) {
        int32_t port = source->in[k].port;
        if (port < 0 || port > 1) continue;
        int status = build_edge(build, index, &source->in[k], gradient_in[port].name, port == 1, &in[port], &ready);
        if (status < 0) return status;
        if (ready && in[port] >= 0 && !dtype_float(build->made->values[in[port]].type.dtype)) {
            build_error(build, source, FLOW_ERROR_TYPE, source->in[k].at, "input '%s' is %s, expected a floating type",
                        gradient_in[port].name, dtype_name(build->made->values[in[port]].type.dtype));
            ready = false;
        }
    }
    if (!ready || in[0] < 0) return 0;
    if (build->streaming) {
        build_error(build, source, FLOW_ERROR_UNSUPPORTED, source->op_at, "a gradient needs the whole sequence: it cannot be streamed");
        return 0;
    }
    struct instance_node *node = build_node(build, source);
    struct flow_tensor type = gradient_type(build, source, in);
    if (type.rank < 0) return 0;
    if (!node || !(node->in = arena_copy(&build->made->arena, in, sizeof in)) ||
        !(node->out = arena_new(&build->made->arena, sizeof *node->out)))
        return FLOW_ERROR_MEMORY;
    node->in_count = 2, node->out_count = 1, node->dtype = type.dtype;
    int32_t at = (int32_t)build->made->node_count;
    int status = build_output_value(build, node, at, &type, 0, NULL, &node->out[0]);
    if (status < 0) return status;
    build->made->node_count++;
    build->node_of[index] = at;
    return 0;
}
