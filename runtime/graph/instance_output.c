/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator answered: its outputs are checked and become values; views are traced to who owns the memory. */
#include "graph/instance_build.h"

#include <stdio.h>

const struct flow_port *build_output_row(const struct flow_operator *op, uint32_t output) {
    return op->outputs.count == 0 ? NULL : &op->outputs.at[output < op->outputs.count ? output : op->outputs.count - 1];
}

/* How far a tensor's elements reach on both sides of its first one. */
static bool reach(const struct flow_tensor *tensor, int64_t *low, int64_t *high) {
    *low = *high = 0;
    for (int32_t i = 0; i < tensor->rank; i++) {
        int64_t span;
        if (!size_multiply(tensor->shape[i] - 1, tensor->strides[i], &span)) return false;
        if (!(span < 0 ? size_add(*low, span, low) : size_add(*high, span, high))) return false;
    }
    return true;
}

/* A view must stay within the tensor that it looks into. */
static bool view_inside(const struct flow_tensor *of, const struct flow_tensor *view, int64_t offset) {
    int64_t low, high, first, last, count;
    if (!extents_count(view, &count)) return false;
    if (count == 0) return true;
    if (!extents_count(of, &count) || count == 0 || !reach(of, &first, &last) || !reach(view, &low, &high)) return false;
    return size_add(low, offset, &low) && size_add(high, offset, &high) && low >= first && high <= last;
}

void build_output_check(struct build_asking *asking, uint32_t i) {
    struct flow_infer *infer = asking->infer;
    struct flow_tensor *out = &infer->out[i];
    const struct flow_port *row = build_output_row(asking->op, i);
    struct position at = asking->source->op_at;
    char text[EXTENTS_TEXT];
    if (out->rank < 0) {
        if (row && i < asking->op->outputs.count && !(row->flags & (FLOW_OPTIONAL | FLOW_VARIADIC)))
            build_fail(asking, FLOW_ERROR_PLUGIN, at, "the operator did not say the shape of its output '%s'", row->name);
        return;
    }
    if (out->dtype == FLOW_F32) out->dtype = asking->build->f32;
    if (out->rank > FLOW_RANK_MAX || out->dtype < 0 || out->dtype >= FLOW_TYPE_COUNT) {
        build_fail(asking, FLOW_ERROR_PLUGIN, at, "the operator gave an output rank %d and type number %d", out->rank, out->dtype);
        return;
    }
    struct flow_tensor contiguous = *out;
    if (!extents_contiguous(&contiguous)) {
        build_fail(asking, FLOW_ERROR_SHAPE, at, "the tensor %s has more elements than can be addressed",
                   extents_text(text, out->dtype, out));
        return;
    }
    int32_t of = infer->view_of[i];
    if (of < 0) {
        *out = contiguous;
    } else if ((uint32_t)of >= infer->in_count || infer->in[of].rank < 0 || infer->in[of].dtype != out->dtype ||
               !view_inside(&infer->in[of], out, infer->view_offset[i])) {
        build_fail(asking, FLOW_ERROR_PLUGIN, at, "the operator gave a view %s that is not inside its input",
                   extents_text(text, out->dtype, out));
    }
    out->data = NULL, out->device = 0;
}

int build_output_value(struct build *build, struct instance_node *node, int32_t index, const struct flow_tensor *type, uint32_t port,
                       const char *name, int32_t *value) {
    struct instance *made = build->made;
    if (port > 0 && !(name = build_join(&made->arena, node->source->path, name))) return FLOW_ERROR_MEMORY;
    if ((*value = build_value(build, VALUE_NODE, port > 0 ? name : node->source->path, type)) < 0) return FLOW_ERROR_MEMORY;
    made->values[*value].node = index, made->values[*value].port = (int32_t)port;
    return 0;
}

void build_view(struct build *build, int32_t value, int32_t of, int64_t offset) {
    struct instance_value *view = &build->made->values[value];
    const struct instance_value *owner = &build->made->values[of];
    view->view_of = owner->view_of >= 0 ? owner->view_of : of;
    view->view_offset = owner->view_offset + offset;
}

int build_output_values(struct build_asking *asking, struct instance_node *node, int32_t index) {
    struct build *build = asking->build;
    const struct flow_infer *infer = &node->infer;
    node->out_count = infer->out_count;
    if (!(node->out = arena_array(&build->made->arena, infer->out_count, sizeof *node->out))) return FLOW_ERROR_MEMORY;
    for (uint32_t i = 0; i < infer->out_count; i++) {
        const struct flow_port *row = build_output_row(asking->op, i);
        char number[80];
        const char *name = row ? row->name : "y";
        node->out[i] = -1;
        if (infer->out[i].rank < 0) continue;
        if (row && row->flags & FLOW_VARIADIC) {
            snprintf(number, sizeof number, "%.60s%u", row->name, i + 1 - asking->op->outputs.count);
            name = number;
        }
        int status = build_output_value(build, node, index, &infer->out[i], i, name, &node->out[i]);
        if (status < 0) return status;
        if (row && row->flags & FLOW_DYNAMIC) build->made->values[node->out[i]].dynamic = true;
        if (infer->view_of[i] >= 0) build_view(build, node->out[i], node->in[infer->view_of[i]], infer->view_offset[i]);
    }
    return 0;
}

/* The type that kernels are chosen by: the first floating input, else output or
 * parameter; else the first input. */
int32_t build_kernel_type(const struct flow_infer *infer, int32_t otherwise) {
    for (uint32_t i = 0; i < infer->in_count; i++)
        if (infer->in[i].rank >= 0 && dtype_float(infer->in[i].dtype)) return infer->in[i].dtype;
    for (uint32_t i = 0; i < infer->out_count; i++)
        if (infer->out[i].rank >= 0 && dtype_float(infer->out[i].dtype)) return infer->out[i].dtype;
    for (uint32_t i = 0; i < infer->param_count; i++)
        if (infer->param[i].rank >= 0 && dtype_float(infer->param[i].dtype)) return infer->param[i].dtype;
    return otherwise;
}
