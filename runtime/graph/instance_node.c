/* SPDX-License-Identifier: Apache-2.0 */
/* One node: its inputs are checked against the operator's patterns, what the
 * patterns say of outputs, parameters and states is filled in, the operator is
 * asked for the rest, and its answer is checked. */
#include "graph/attributes.h"
#include "graph/instance_build.h"

#include <stdio.h>
#include <string.h>

/* ---- Inputs ---- */

static int feed_value(struct build *build, const struct network_edge *edge, const char *path, const char *port,
                      const struct flow_tensor *type, size_t number, int32_t *value) {
    static const struct flow_operator nothing = {0};
    struct instance *made = build->made;
    struct bindings bindings;
    char why[PATTERN_WHY];
    const char *name = build_join(&made->arena, path, port), *init;
    struct flow_tensor contiguous = *type;
    if (!name) return FLOW_ERROR_MEMORY;
    pattern_begin(&bindings, &nothing, NULL);
    int status = pattern_init(&bindings, &made->arena, edge->init, &init, why);
    if (status < 0 && !why[0]) return FLOW_ERROR_MEMORY;
    if (status < 0) report_add(build->report, FLOW_ERROR_GRAPH, edge->init_at, "node '%s': reset value of '%s': %s", path, port, why);
    if (!extents_contiguous(&contiguous)) return 0;
    if ((*value = build_value(build, VALUE_FEED, name, &contiguous)) < 0) return FLOW_ERROR_MEMORY;
    struct instance_value *feed = &made->values[*value];
    feed->init = status < 0 ? "zeros" : init;
    feed->run_reset = edge->run_reset, feed->never_reset = edge->never_reset;
    feed->index = (int32_t)number;
    build->feeds[number].value = *value;
    return 0;
}

int build_edge(struct build *build, int32_t index, const struct network_edge *edge, const char *port, bool optional, int32_t *value,
               bool *ready) {
    const struct network_node *source = &build->network->nodes[index];
    char name[80];
    bool missing;
    *value = build_ref(build, edge->from, &missing);
    if (!edge->delayed) {
        if (*value >= 0) return 0;
        *ready = false;
        if (missing)
            build_error(build, source, FLOW_ERROR_GRAPH, edge->at, "node '%s' makes no output '%s' here",
                        build->network->nodes[edge->from.node].path, build_output_name(build->network, edge->from, name));
        return 0;
    }
    size_t number = build->feed_next[index]++;
    const struct build_options *how = build->how;
    struct flow_tensor type;
    extents_none(&type);
    if (how->feeds && how->feeds[number].rank >= 0) type = how->feeds[number];
    else if (*value >= 0) type = build->made->values[*value].type;
    *value = -1;
    if (type.rank < 0 && how->found && !optional) type = (struct flow_tensor){.dtype = how->guess};
    if (type.rank >= 0) return feed_value(build, edge, source->path, port, &type, number, value);
    if (how->found) return 0; /* left out for now */
    *ready = false;
    /* Where nothing that it repeats was made, the reason is said there. */
    if (edge->from.node < 0 || (size_t)edge->from.node >= build->network->node_count || !build->network->nodes[edge->from.node].entry)
        return 0;
    build_error(build, source, FLOW_ERROR_SHAPE, edge->at,
                "the shape of '%s' cannot be told: it depends on itself alone, "
                "or on a node that is wrong",
                port);
    return 0;
}

static uint32_t count_inputs(const struct network_node *source, const struct flow_operator *op) {
    uint32_t rows = op->inputs.count, extra = 0;
    if (rows == 0 || !(op->inputs.at[rows - 1].flags & FLOW_VARIADIC)) return rows;
    for (size_t i = 0; i < source->in_count; i++) extra += source->in[i].port >= 0 && (uint32_t)source->in[i].port >= rows - 1;
    return rows - 1 + extra;
}

static const struct flow_port *input_row(const struct flow_operator *op, uint32_t input) {
    return &op->inputs.at[input < op->inputs.count ? input : op->inputs.count - 1];
}

/* in[] by input; where[] the edge that brings it. */
static int gather_inputs(struct build *build, int32_t index, const struct flow_operator *op, int32_t *in, const struct network_edge **where,
                         uint32_t count, bool *ready) {
    const struct network_node *source = &build->network->nodes[index];
    uint32_t rows = op->inputs.count, next = rows ? rows - 1 : 0;
    bool variadic = rows && op->inputs.at[rows - 1].flags & FLOW_VARIADIC;
    for (uint32_t i = 0; i < count; i++) in[i] = -1;
    for (size_t i = 0; i < source->in_count; i++) {
        const struct network_edge *edge = &source->in[i];
        if (edge->port < 0 || (!variadic && (uint32_t)edge->port >= rows)) continue; /* no such port: said already */
        uint32_t input = variadic && (uint32_t)edge->port >= rows - 1 ? next++ : (uint32_t)edge->port;
        const struct flow_port *row = input_row(op, input);
        where[input] = edge;
        int status = build_edge(build, index, edge, row->name, row->flags & FLOW_OPTIONAL, &in[input], ready);
        if (status < 0) return status;
    }
    for (uint32_t i = 0; i < rows; i++) {
        const struct flow_port *row = &op->inputs.at[i];
        if (row->flags & FLOW_OPTIONAL || (i < count && where[i])) continue;
        build_error(build, source, FLOW_ERROR_GRAPH, source->op_at, "its input '%s' is not connected", row->name);
        *ready = false;
    }
    return 0;
}

static uint32_t accepted_types(const struct build *build, uint32_t types) {
    if (types == 0) return FLOW_TYPES_ANY;
    return build->f32 == FLOW_F64 && types & FLOW_TYPE(F32) ? types | FLOW_TYPE(F64) : types;
}

static void check_types(struct build_asking *asking, const struct network_edge *const *where) {
    const struct flow_infer *infer = asking->infer;
    const struct flow_tensor *first = NULL;
    const char *first_name = NULL;
    char words[EXTENTS_TEXT];
    for (uint32_t i = 0; i < infer->in_count; i++) {
        const struct flow_tensor *in = &infer->in[i];
        const struct flow_port *row = input_row(asking->op, i);
        if (in->rank < 0) continue;
        uint32_t types = accepted_types(asking->build, row->types);
        if (!(types >> in->dtype & 1u)) {
            build_fail(asking, FLOW_ERROR_TYPE, where[i]->at, "input '%s' is %s, expected %s", row->name, dtype_name(in->dtype),
                       extents_types(words, types));
            return;
        }
        if (!(types & FLOW_TYPES_FLOAT) || row->flags & FLOW_OWN_TYPE) continue;
        if (!first) {
            first = in, first_name = row->name;
        } else if (in->dtype != first->dtype) {
            build_fail(asking, FLOW_ERROR_TYPE, where[i]->at, "input '%s' is %s, but '%s' is %s: they must be of one type", row->name,
                       dtype_name(in->dtype), first_name, dtype_name(first->dtype));
            return;
        }
    }
}

static void match_inputs(struct build_asking *asking, const struct network_edge *const *where) {
    const struct flow_infer *infer = asking->infer;
    int pending = 0;
    for (int pass = 0; pass == 0 || (pass == 1 && pending); pass++)
        for (uint32_t i = 0; i < infer->in_count; i++) {
            const struct flow_port *row = input_row(asking->op, i);
            char why[PATTERN_WHY], found[EXTENTS_TEXT];
            if (infer->in[i].rank < 0 || !row->shape) continue;
            int status = pattern_match(asking->bindings, row->shape, &infer->in[i], why);
            if (status > 0) pending = 1;
            if (status >= 0) continue;
            build_fail(asking, status, where[i]->at, "input '%s' is %s: %s", row->name, extents_text(found, -1, &infer->in[i]), why);
            return;
        }
}

/* ---- What the tables say ---- */

int32_t build_type(const struct build *build, uint32_t types, int32_t node_type, int32_t float_type) {
    if (types && (types & (types - 1)) == 0) {
        int32_t type = __builtin_ctz(types);
        return type == FLOW_F32 ? build->f32 : type;
    }
    if (types == 0 || types >> node_type & 1u) return node_type;
    return types >> float_type & 1u || !(types & FLOW_TYPES_ANY) ? float_type : __builtin_ctz(types);
}

/* The node's type: of the first floating input, else of the first; float_type:
 * what its floating tensors have. */
static void find_types(struct build_asking *asking) {
    const struct flow_infer *infer = asking->infer;
    int32_t first = -1;
    asking->node_type = asking->float_type = -1;
    for (uint32_t i = 0; i < infer->in_count && asking->float_type < 0; i++) {
        if (infer->in[i].rank < 0) continue;
        if (first < 0) first = infer->in[i].dtype;
        if (dtype_float(infer->in[i].dtype)) asking->float_type = infer->in[i].dtype;
    }
    if (asking->float_type >= 0) asking->node_type = asking->float_type;
    else asking->float_type = asking->build->f32, asking->node_type = first >= 0 ? first : asking->build->f32;
}

static void fill_outputs(struct build_asking *asking) {
    struct flow_infer *infer = asking->infer;
    for (uint32_t i = 0; i < infer->out_count; i++) {
        const struct flow_port *row = build_output_row(asking->op, i);
        char why[PATTERN_WHY];
        extents_none(&infer->out[i]);
        infer->view_of[i] = -1, infer->out_axis[i] = -1;
        if (!row || (i >= asking->op->outputs.count && !(row->flags & FLOW_VARIADIC))) continue;
        infer->out[i].dtype = build_type(asking->build, row->types, asking->node_type, asking->float_type);
        if (!row->shape || (row->flags & FLOW_OPTIONAL && asking->op->infer)) continue;
        int status = pattern_fill(asking->bindings, row->shape, &infer->out[i], why);
        if (status < 0) build_fail(asking, status, asking->source->op_at, "output '%s': %s", row->name, why);
        if (status > 0 && !extents_contiguous(&infer->out[i])) infer->out[i].rank = -1; /* said after infer, which may know better */
    }
}

/* All of infer's arrays. */
static int make_arrays(struct build *build, struct flow_infer *infer, const struct instance_node *node, uint32_t out_count) {
    struct arena *arena = &build->made->arena;
    struct flow_tensor *in = arena_array(arena, (size_t)node->in_count + 1, sizeof *in);
    int32_t *in_axis = arena_array(arena, (size_t)node->in_count + 1, sizeof *in_axis);
    infer->in = in, infer->in_axis = in_axis;
    infer->out = arena_array(arena, out_count, sizeof *infer->out);
    infer->out_axis = arena_array(arena, out_count, sizeof *infer->out_axis);
    infer->view_of = arena_array(arena, out_count, sizeof *infer->view_of);
    infer->view_offset = arena_array(arena, out_count, sizeof *infer->view_offset);
    if (!in || !in_axis || !infer->out || !infer->out_axis || !infer->view_of || !infer->view_offset) return FLOW_ERROR_MEMORY;
    infer->in_count = node->in_count, infer->out_count = out_count;
    for (uint32_t i = 0; i <= node->in_count; i++) {
        in_axis[i] = -1;
        extents_none(&in[i]); /* one more than there are: an optional variadic port
                                 that has none reads as absent */
        if (i < node->in_count && node->in[i] >= 0) in[i] = build->made->values[node->in[i]].type;
    }
    return 0;
}

/* Ports that want row-major tensors see them so: the planner copies. */
static void flatten_inputs(struct build_asking *asking, const struct network_edge *const *where) {
    struct flow_tensor *in = (struct flow_tensor *)asking->infer->in;
    char text[EXTENTS_TEXT];
    for (uint32_t i = 0; i < asking->infer->in_count; i++) {
        if (in[i].rank < 0 || input_row(asking->op, i)->flags & FLOW_STRIDED) continue;
        if (!extents_contiguous(&in[i]))
            build_fail(asking, FLOW_ERROR_SHAPE, where[i]->at, "the tensor %s has more elements than can be addressed",
                       extents_text(text, in[i].dtype, &in[i]));
    }
}

/* ---- The whole of it ---- */

static void ask(struct build_asking *asking) {
    struct flow_infer *infer = asking->infer;
    int status = asking->op->infer ? asking->op->infer(infer) : 0;
    if (status < 0 && !asking->failed && !asking->no_memory) build_fail(asking, status, asking->source->op_at, "%s", status_text(status));
    for (uint32_t i = 0; i < infer->out_count && !asking->failed; i++) build_output_check(asking, i);
    if (!asking->failed && (infer->workspace < 0 || infer->packed < 0 || infer->workspace_backward < 0 || infer->saved < 0))
        build_fail(asking, FLOW_ERROR_SHAPE, asking->source->op_at, "it would need more working memory than can be addressed");
}

/* Those of the same node in the instance that this one is like. Nodes come in the same order. */
static const void *attributes_before(struct build *build, const struct network_node *source) {
    const struct instance *like = build->how->like;
    if (!like) return NULL;
    for (size_t i = build->like_node; i < like->node_count; i++) {
        if (like->nodes[i].source != source) continue;
        build->like_node = i + 1;
        return like->nodes[i].attrs;
    }
    return NULL;
}

static int parse_attributes(struct build *build, const struct network_node *source, const struct flow_operator *op,
                            struct instance_node *node, bool *ready) {
    void *attrs = arena_new(&build->made->arena, op->attrs_size);
    int32_t scope = source->scope >= 0 && source->scope < build->network->scope_count ? source->scope : 0;
    struct attributes_options options = {source->path,          "operator", op->name, source->with, build_symbol, &build->symbols[scope],
                                         build->f32 == FLOW_F64};
    node->attrs = attrs;
    if (!attrs || !(node->priv = arena_new(&build->made->arena, op->priv_size))) return FLOW_ERROR_MEMORY;
    const void *before = attributes_before(build, source);
    int status = before ? attributes_again(&build->made->arena, &op->attrs, &options, build->report, before, op->attrs_size, attrs)
                        : attributes_parse(&build->made->arena, &op->attrs, &options, build->report, attrs);
    if (status != 0) *ready = false;
    return status == FLOW_ERROR_MEMORY ? status : 0;
}

static bool has_kernels(const struct build *build, const struct registry_entry *entry) {
    if (build->options->device == FLOW_DEVICE_CPU) return true;
    for (uint32_t k = 0; k < entry->kernel_count; k++)
        if (entry->kernels[k].device == build->options->device) return true;
    return false;
}

/* Which kernel of the device it will be, and what that one needs. A node that is differentiated wants one that has a backward, unless
 * nobody has one. */
static int choose_kernel(struct build_asking *asking, struct instance_node *node) {
    const struct build *build = asking->build;
    const struct registry_entry *entry = asking->entry;
    const int32_t device = build->options->device, isa = node->infer.host->isa;
    if (!entry || !entry->kernel_count) return 0;
    const struct flow_kernel *kernel = NULL;
    bool back = node->infer.differentiated && registry_kernel_backward(entry, FLOW_DEVICE_CPU, node->dtype, isa, &node->infer);
    if (back) kernel = registry_kernel_backward(entry, device, node->dtype, isa, &node->infer);
    else kernel = registry_kernel(entry, device, node->dtype, isa, &node->infer);
    node->hosted = !kernel && device != FLOW_DEVICE_CPU;
    if (!kernel) return 0;
    if (device != FLOW_DEVICE_CPU) node->infer.packed = 0; /* what is packed is packed by the CPU, for the CPU */
    if (!kernel->plan) return 0;
    node->infer.owner = asking;
    int status = kernel->plan(&node->infer);
    node->infer.owner = NULL;
    if (status < 0 && !asking->failed && !asking->no_memory) build_fail(asking, status, asking->source->op_at, "%s", status_text(status));
    return asking->no_memory ? FLOW_ERROR_MEMORY : 0;
}

static void begin_infer(struct build_asking *asking, struct instance_node *node) {
    struct flow_infer *infer = &node->infer;
    asking->infer = infer;
    infer->size = sizeof *infer, infer->phase = asking->build->options->phase;
    infer->host = asking->entry && !has_kernels(asking->build, asking->entry) ? asking->build->host_cpu : asking->build->host;
    infer->owner = asking;
    infer->attrs = node->attrs, infer->priv = node->priv;
    infer->differentiated = asking->build->options->differentiate || asking->build->made->gradients;
    infer->backward_reads_in = infer->backward_reads_out = UINT64_MAX;
    infer->epilogues = UINT32_MAX;
}

/* Everything between the inputs' values and the node's; node->infer is complete
 * when asking->failed is not set. */
static int infer_node(struct build_asking *asking, struct instance_node *node, const struct network_edge *const *where,
                      uint32_t out_count) {
    int status = make_arrays(asking->build, asking->infer, node, out_count);
    if (status < 0) return status;
    flatten_inputs(asking, where);
    if (!asking->failed) check_types(asking, where);
    if (!asking->failed) match_inputs(asking, where);
    if (asking->failed) return 0;
    find_types(asking);
    fill_outputs(asking);
    status = asking->failed ? 0 : build_param_rows(asking);
    if (status == 0 && !asking->failed) status = stream_begin(asking, node);
    if (status < 0 || asking->failed) return status;
    ask(asking);
    if (asking->no_memory) return FLOW_ERROR_MEMORY;
    return asking->failed ? 0 : stream_end(asking, node);
}

/* A node of the runtime's own before another: in[] gives way to its outputs.
 * Its states, if any, are like an operator's. */
int build_inserted(struct build *build, const struct network_node *before, const char *suffix, const struct registry_entry *entry,
                   const int32_t *in, uint32_t count, int32_t *out, bool *made) {
    struct arena *arena = &build->made->arena;
    struct network_node *source = arena_new(arena, sizeof *source);
    struct network_edge edge = {.at = before->op_at};
    const struct network_edge **where = arena_array(&build->scratch, count, sizeof *where);
    struct bindings bindings;
    *made = false;
    if (!source || !where) return FLOW_ERROR_MEMORY;
    for (uint32_t i = 0; i < count; i++) where[i] = &edge;
    *source = (struct network_node){.kind = NETWORK_OPERATOR,
                                    .param_path = before->path,
                                    .at = before->at,
                                    .op_at = before->op_at,
                                    .entry = entry,
                                    .scope = before->scope,
                                    .path = build_join(arena, before->path, suffix)};
    if (!source->path) return FLOW_ERROR_MEMORY;
    struct instance_node *node = build_node(build, source);
    struct build_asking asking = {.build = build, .source = source, .entry = entry, .op = entry->op, .bindings = &bindings};
    if (!node || !(node->in = arena_copy(arena, in, count * sizeof *in)) || !(node->priv = arena_new(arena, entry->op->priv_size)))
        return FLOW_ERROR_MEMORY;
    node->in_count = count, node->attrs = node->priv;
    pattern_begin(&bindings, entry->op, node->attrs);
    begin_infer(&asking, node);
    int status = infer_node(&asking, node, where, count);
    if (status == 0 && !asking.failed) status = build_output_values(&asking, node, (int32_t)build->made->node_count);
    node->infer.owner = NULL;
    if (status < 0 || asking.failed) return status;
    node->dtype = build_kernel_type(&node->infer, asking.node_type);
    status = choose_kernel(&asking, node);
    if (status < 0 || asking.failed) return status;
    stream_outputs(build, node);
    build->made->node_count++;
    for (uint32_t i = 0; i < count; i++) out[i] = node->out[i];
    *made = true;
    return 0;
}

static bool row_major(const struct flow_tensor *tensor) {
    struct flow_tensor contiguous = *tensor;
    if (!extents_contiguous(&contiguous)) return false;
    for (int32_t i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] != 1 && tensor->strides[i] != contiguous.strides[i]) return false;
    return true;
}

/* A view of an input that the operator knows to be row-major, but whose value
 * is itself a view that is not: of a copy, then. The node moves one place on;
 * *node follows it. */
static int copy_viewed(struct build_asking *asking, struct instance_node **node) {
    struct build *build = asking->build;
    for (uint32_t i = 0; i < asking->infer->out_count && !asking->failed; i++) {
        int32_t of = asking->infer->view_of[i], copy;
        bool made;
        if (asking->infer->out[i].rank < 0 || of < 0 || input_row(asking->op, (uint32_t)of)->flags & FLOW_STRIDED) continue;
        if (row_major(&build->made->values[(*node)->in[of]].type)) continue;
        struct instance_node saved = **node;
        int status = build_inserted(build, asking->source, "copy", &copy_entry, &saved.in[of], 1, &copy, &made);
        if (status == 0 && !(*node = build_node(build, asking->source))) status = FLOW_ERROR_MEMORY;
        if (status < 0) return status;
        **node = saved;
        for (int32_t k = 0; k < saved.state_count; k++) build->made->states[saved.state + k].node = (int32_t)build->made->node_count;
        asking->infer = &(*node)->infer;
        if (made) (*node)->in[of] = copy;
        else asking->failed = true;
    }
    return 0;
}

int build_operator(struct build *build, int32_t index) {
    const struct network_node *source = &build->network->nodes[index];
    const struct flow_operator *op = source->entry->op;
    uint32_t count = count_inputs(source, op);
    int32_t *in = arena_array(&build->made->arena, (size_t)count + 1, sizeof *in);
    const struct network_edge **where = arena_array(&build->scratch, (size_t)count + 1, sizeof *where);
    bool ready = true;
    if (!in || !where) return FLOW_ERROR_MEMORY;
    int status = gather_inputs(build, index, op, in, where, count, &ready);
    if (status == 0 && ready && build->streaming) status = stream_align(build, source, in, count);
    if (status < 0 || !ready) return status;

    struct instance_node *node = build_node(build, source);
    struct bindings bindings;
    struct build_asking asking = {.build = build, .source = source, .entry = source->entry, .op = op, .bindings = &bindings};
    if (!node) return FLOW_ERROR_MEMORY;
    node->in = in, node->in_count = count;
    status = parse_attributes(build, source, op, node, &ready);
    if (status < 0 || !ready) return status;
    pattern_begin(&bindings, op, node->attrs);
    begin_infer(&asking, node);
    status = infer_node(&asking, node, where, (uint32_t)build->used[index]);
    if (status == 0 && !asking.failed) status = copy_viewed(&asking, &node);
    if (status == 0 && !asking.failed) status = build_param_values(&asking, node);
    if (!node) return status;
    int32_t at = (int32_t)build->made->node_count;
    if (status == 0 && !asking.failed) status = build_output_values(&asking, node, at);
    node->infer.owner = NULL;
    if (status < 0 || asking.failed) return status;
    node->dtype = build_kernel_type(&node->infer, asking.node_type);
    status = choose_kernel(&asking, node);
    if (status < 0 || asking.failed) return status;
    stream_outputs(build, node);
    build->made->node_count++;
    build->node_of[index] = at;
    return 0;
}

/* A value crosses into a subgraph: the same memory under another name, once it
 * fits the signature. */
int build_enter(struct build *build, int32_t index) {
    const struct network_node *source = &build->network->nodes[index];
    bool ready = source->in_count == 1, fits = false;
    int32_t value = -1;
    if (!ready || !source->input) return 0;
    const struct network_edge *edge = &source->in[0];
    int status = build_edge(build, index, edge, source->input->name, false, &value, &ready);
    if (status < 0 || !ready || value < 0) return status;
    size_t length = strlen(source->path), name = strlen(source->input->name);
    bool prefixed = length > name + 1 && source->path[length - name - 1] == '.';
    const char *path = prefixed ? arena_text_n(&build->scratch, source->path, length - name - 1) : source->path;
    if (!path) return FLOW_ERROR_MEMORY;
    status = build_signature(build, source->input, source->scope, &build->made->values[value].type, edge->at, path, &fits);
    if (status < 0 || !fits) return status;

    struct instance_node *node = build_node(build, source);
    int32_t at = (int32_t)build->made->node_count;
    if (!node || !(node->in = arena_new(&build->made->arena, sizeof *node->in)) ||
        !(node->out = arena_new(&build->made->arena, sizeof *node->out)))
        return FLOW_ERROR_MEMORY;
    node->in[0] = value, node->in_count = node->out_count = 1;
    struct flow_tensor type = build->made->values[value].type;
    node->dtype = type.dtype;
    status = build_output_value(build, node, at, &type, 0, NULL, &node->out[0]);
    if (status < 0) return status;
    build_view(build, node->out[0], value, 0);
    struct instance_value *made = &build->made->values[node->out[0]];
    made->dynamic = build->made->values[value].dynamic;
    made->stream_axis = build->made->values[value].stream_axis;
    node->streaming = made->stream_axis >= 0;
    build->values[node->out[0]].clock = build->values[value].clock;
    build->made->node_count++;
    build->node_of[index] = at;
    return 0;
}
