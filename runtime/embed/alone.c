/* SPDX-License-Identifier: Apache-2.0 */
/* A graph taken apart: every operator as a graph of its own, with what it read in one run. Parameters become inputs (by `tie`), so that one
 * session serves for all values of them. Attributes are written from their parsed form: symbols and variables are numbers by then. */
#include "embed/embed.h"
#include "grad/grad.h"

#include <math.h>
#include <string.h>

struct flow_alone {
    struct arena arena;
    struct flow_alone_node *nodes;
    size_t count;
};

/* Where a value's data lies after the run; rank -1: nowhere. */
struct taking {
    flow_alone *alone;
    const struct instance *instance;
    const struct flow_tensor *values; /* by value; NULL: inside a loop, only types are known */
    struct report *report;
};

/* ---- Attributes as text ---- */

static void put_real(struct text *out, double value) {
    if (isnan(value)) text_put(out, ".nan");
    else if (isinf(value)) text_put(out, value > 0 ? ".inf" : "-.inf");
    else text_format(out, "%.17g", value);
}

static void put_choice(struct text *out, const char *choices, int32_t index) {
    for (; choices && index > 0; index--) choices = strchr(choices, '|') ? strchr(choices, '|') + 1 : NULL;
    text_put(out, "\"");
    if (choices) text_add(out, choices, strcspn(choices, "|"));
    text_put(out, "\"");
}

static void put_values(struct text *out, const struct flow_values *values, int32_t axis, int64_t *at) {
    if (axis == values->rank) {
        put_real(out, values->at[(*at)++]);
        return;
    }
    text_put(out, "[");
    for (int64_t i = 0; i < values->shape[axis]; i++) {
        if (i) text_put(out, ", ");
        put_values(out, values, axis + 1, at);
    }
    text_put(out, "]");
}

static void put_ints(struct text *out, const struct flow_attr *row, const struct flow_ints *ints) {
    if (ints->word >= 0) {
        put_choice(out, row->choices, ints->word);
        return;
    }
    if (!ints->scalar) text_put(out, "[");
    for (uint32_t i = 0; i < ints->count; i++) text_format(out, "%s%lld", i ? ", " : "", (long long)ints->at[i]);
    if (!ints->scalar) text_put(out, "]");
}

static bool is_absent(const struct flow_attr *row, const void *field) {
    switch (row->type) {
    case FLOW_ATTR_INT: return *(const int64_t *)field == FLOW_INT_ABSENT;
    case FLOW_ATTR_REAL: return isnan(*(const double *)field);
    case FLOW_ATTR_TEXT: return !*(const char *const *)field;
    case FLOW_ATTR_CHOICE: return *(const int32_t *)field < 0;
    case FLOW_ATTR_INTS: return !((const struct flow_ints *)field)->given && ((const struct flow_ints *)field)->word < 0;
    case FLOW_ATTR_VALUES: return ((const struct flow_values *)field)->rank < 0;
    case FLOW_ATTR_DTYPE: return ((const struct flow_dtype *)field)->type < 0;
    default: return false;
    }
}

static void put_attribute(struct text *out, const struct flow_attr *row, const void *field) {
    int64_t at = 0;
    switch (row->type) {
    case FLOW_ATTR_INT: text_format(out, "%lld", (long long)*(const int64_t *)field); break;
    case FLOW_ATTR_REAL: put_real(out, *(const double *)field); break;
    case FLOW_ATTR_BOOL: text_put(out, *(const bool *)field ? "true" : "false"); break;
    case FLOW_ATTR_TEXT: text_json(out, *(const char *const *)field); break;
    case FLOW_ATTR_CHOICE: put_choice(out, row->choices, *(const int32_t *)field); break;
    case FLOW_ATTR_INTS: put_ints(out, row, field); break;
    case FLOW_ATTR_VALUES: put_values(out, field, 0, &at); break;
    case FLOW_ATTR_DTYPE: text_put(out, dtype_name(((const struct flow_dtype *)field)->type)); break;
    default: break;
    }
}

static void put_attributes(struct text *out, const struct flow_attrs *rows, const void *attrs) {
    bool any = false;
    for (uint32_t i = 0; i < rows->count && attrs; i++) {
        const struct flow_attr *row = &rows->at[i];
        const void *field = (const char *)attrs + row->offset;
        if (is_absent(row, field)) continue;
        text_format(out, "%s%s: ", any ? ", " : ", with: {", row->name);
        put_attribute(out, row, field);
        any = true;
    }
    if (any) text_put(out, "}");
}

/* ---- One node ---- */

static bool is_variadic(const struct flow_ports *ports, uint32_t row) {
    return ports->count && row + 1 >= ports->count && (ports->at[ports->count - 1].flags & FLOW_VARIADIC);
}

static const struct flow_port *port_of(const struct flow_ports *ports, uint32_t index) {
    return index < ports->count ? &ports->at[index] : is_variadic(ports, index) ? &ports->at[ports->count - 1] : NULL;
}

/* Is this the value that the reference means, or a copy of it made to stand apart? */
static bool is_value(const struct instance *instance, int32_t value, struct network_ref ref) {
    int32_t meant = -1;
    if (ref.node == NETWORK_INPUT) {
        meant = instance->inputs[ref.output];
    } else {
        for (size_t i = 0; ref.node >= 0 && i < instance->node_count && meant < 0; i++) {
            const struct instance_node *node = &instance->nodes[i];
            bool same = node->role == NODE_FORWARD && node->source == &instance->network->nodes[ref.node];
            if (same && ref.output >= 0 && (uint32_t)ref.output < node->out_count) meant = node->out[ref.output];
        }
    }
    if (meant < 0 || meant == value) return meant >= 0;
    const char *name = instance->values[meant].name;
    size_t length = strlen(name);
    return strncmp(instance->values[value].name, name, length) == 0 && strcmp(instance->values[value].name + length, ".apart") == 0;
}

/* What the operator calls its parameter; NULL where only its declaration would tell. */
static const char *param_name(const struct taking *taking, const struct instance_node *node, uint32_t index) {
    const struct flow_params *rows = &node->entry->op->params;
    if (index < rows->count && !(rows->at[index].flags & FLOW_DECLARED)) return rows->at[index].name;
    const struct network_node *source = node->source;
    const struct instance_value *value = &taking->instance->values[node->param[index]];
    size_t length = strlen(source->param_path);
    if (value->kind == VALUE_PARAM && strncmp(value->name, source->param_path, length) == 0 && value->name[length] == '.')
        return value->name + length + 1;
    for (size_t i = 0; i < source->tie_count; i++) {
        const struct network_tie *tie = &source->ties[i];
        if (tie->param && tie->target ? strcmp(tie->target, value->name) == 0 : is_value(taking->instance, node->param[index], tie->value))
            if (tie->param) return tie->param;
    }
    const char *dot = strrchr(value->name, '.'); /* tied as a whole: of the same name there */
    return value->kind == VALUE_PARAM && dot ? dot + 1 : NULL;
}

static void put_type(struct text *out, const char *name, const struct flow_tensor *type) {
    text_format(out, "  %s: {dtype: %s, shape: [", name, dtype_name(type->dtype));
    for (int32_t a = 0; a < type->rank; a++) text_format(out, "%s%lld", a ? ", " : "", (long long)type->shape[a]);
    text_put(out, "]}\n");
}

/* A copy of the value in row-major order, or its type alone. */
static int copy_value(struct taking *taking, int32_t value, struct flow_tensor *out) {
    const struct flow_tensor *found = taking->values && taking->values[value].rank >= 0 ? &taking->values[value] : NULL;
    const struct flow_tensor *type = found ? found : &taking->instance->values[value].type;
    int64_t bytes, size = dtype_bytes(type->dtype), count = flow_tensor_count(type);
    *out = flow_tensor_of(NULL, type->dtype, type->rank, type->shape);
    if (!found) return 0;
    if (!size_multiply(count, size, &bytes) || !(out->data = arena_new(&taking->alone->arena, bytes > 0 ? (size_t)bytes : 1)))
        return FLOW_ERROR_MEMORY;
    int64_t index[FLOW_RANK_MAX] = {0}, at = 0;
    for (int64_t i = 0; i < count; i++) {
        memcpy((char *)out->data + i * size, (const char *)found->data + at * size, (size_t)size);
        for (int32_t a = type->rank - 1; a >= 0; a--) {
            at += found->strides[a];
            if (++index[a] < type->shape[a]) break;
            at -= found->strides[a] * type->shape[a], index[a] = 0;
        }
    }
    return 0;
}

static int add_input(struct taking *taking, struct flow_alone_node *made, const char *role, int32_t value, bool fixed, bool parameter,
                     struct text *out) {
    struct arena *arena = &taking->alone->arena;
    struct flow_alone_input *input = &made->inputs[made->input_count];
    input->name = arena_format(arena, "i%zu", made->input_count);
    input->role = arena_text(arena, role);
    if (!input->name || !input->role || copy_value(taking, value, &input->value) < 0) return FLOW_ERROR_MEMORY;
    input->differentiable = !fixed && dtype_float(input->value.dtype);
    input->parameter = parameter;
    made->input_count++;
    put_type(out, input->name, &input->value);
    return 0;
}

/* `in: {x: i0, y: [i1, i2]}` and `tie: {weight: i3}`: inputs were added in that order. */
static void put_links(struct text *out, const struct taking *taking, const struct instance_node *node) {
    const struct flow_ports *ports = &node->entry->op->inputs;
    uint32_t number = 0;
    const char *open = ", in: {";
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] < 0) continue;
        bool variadic = is_variadic(ports, i), first = !variadic || i + 1 <= ports->count;
        if (first) text_format(out, "%s%s: %s", open, port_of(ports, i)->name, variadic ? "[" : "");
        text_format(out, "%si%u", first ? "" : ", ", number++);
        if (variadic && i + 1 == node->in_count) text_put(out, "]");
        open = ", ";
    }
    if (number) text_put(out, "}");
    open = ", tie: {";
    uint32_t inputs = number;
    for (uint32_t p = 0; p < node->param_count; p++) {
        if (node->param[p] < 0) continue;
        text_format(out, "%s%s: i%u", open, param_name(taking, node, p), number++);
        open = ", ";
    }
    if (number > inputs) text_put(out, "}");
}

static void put_outputs(struct text *out, const struct taking *taking, const struct instance_node *node) {
    const struct flow_ports *ports = &node->entry->op->outputs;
    uint32_t shown = 0;
    for (uint32_t o = 0; o < node->out_count; o++) {
        if (node->out[o] < 0 || taking->instance->values[node->out[o]].type.rank < 0) continue;
        text_format(out, "%so%u: node.%s", shown++ ? ", " : "outputs: {", o, port_of(ports, o)->name);
        if (is_variadic(ports, o)) text_format(out, "%u", o + 1 - ports->count);
    }
    text_put(out, "}\n");
}

static int write_node(struct taking *taking, const struct instance_node *node, struct flow_alone_node *made, struct text *out) {
    const struct flow_operator *op = node->entry->op;
    text_put(out, "flow: 1\ninputs:\n");
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < node->in_count; i++) {
        const struct flow_port *port = port_of(&op->inputs, i);
        if (node->in[i] >= 0) rc = add_input(taking, made, port->name, node->in[i], port->flags & FLOW_NO_GRAD, false, out);
    }
    for (uint32_t p = 0; rc == 0 && p < node->param_count; p++) {
        if (node->param[p] < 0) continue;
        const char *name = param_name(taking, node, p);
        uint32_t flags = p < op->params.count ? op->params.at[p].flags : 0;
        flags |= taking->instance->values[node->param[p]].flags;
        if (!name) {
            made->why = "its parameters are named by another node";
            return 0;
        }
        rc = add_input(taking, made, name, node->param[p], flags & (FLOW_NO_GRAD | FLOW_RUNNING), true, out);
    }
    if (rc < 0) return rc;
    if (!made->input_count) text_put(out, "  {}\n");
    text_format(out, "nodes:\n  node: {op: %s", op->name);
    put_links(out, taking, node);
    put_attributes(out, &op->attrs, node->attrs);
    text_put(out, "}\n");
    put_outputs(out, taking, node);
    if (out->failed || !(made->text = arena_text(&taking->alone->arena, out->at))) return FLOW_ERROR_MEMORY;
    return 0;
}

static int take_node(struct taking *taking, const struct instance_node *node) {
    struct arena *arena = &taking->alone->arena;
    struct flow_alone_node *made = &taking->alone->nodes[taking->alone->count++];
    struct text out;
    made->node = arena_text(arena, node->source->path), made->op = arena_text(arena, node->entry->op->name);
    made->inputs = arena_array(arena, (size_t)node->in_count + node->param_count + 1, sizeof *made->inputs);
    if (!made->node || !made->op || !made->inputs) return FLOW_ERROR_MEMORY;
    text_init(&out, arena->from);
    int rc = write_node(taking, node, made, &out);
    text_free(&out);
    return rc;
}

/* The graph's own operators; not the copies that the runtime puts in. */
static bool is_operator(const struct instance_node *node) {
    return node->role == NODE_FORWARD && node->source && node->source->kind == NETWORK_OPERATOR && node->entry && node->entry->op &&
           strcmp(node->entry->plugin, "flow") != 0;
}

static size_t count_nodes(const struct instance *instance) {
    size_t count = 0;
    for (size_t i = 0; i < instance->node_count; i++) {
        const struct instance_node *node = &instance->nodes[i];
        if (is_operator(node)) count++;
        else if (node->role == NODE_FORWARD && node->body) count += count_nodes(node->body);
    }
    return count + instance->network->node_count; /* its gradient nodes at most */
}

/* {op: gradient} has become other nodes: it is told that it was there. */
static int take_gradients(struct taking *taking) {
    const struct network *network = taking->instance->network;
    struct arena *arena = &taking->alone->arena;
    for (size_t i = 0; i < network->node_count; i++) {
        if (network->nodes[i].kind != NETWORK_GRADIENT) continue;
        struct flow_alone_node *made = &taking->alone->nodes[taking->alone->count++];
        made->node = arena_text(arena, network->nodes[i].path), made->op = "gradient";
        made->why = "no gradient flows through it";
        if (!made->node) return FLOW_ERROR_MEMORY;
    }
    return 0;
}

static int take_nodes(struct taking *taking) {
    int rc = take_gradients(taking);
    for (size_t i = 0; rc == 0 && i < taking->instance->node_count; i++) {
        const struct instance_node *node = &taking->instance->nodes[i];
        struct taking inside = {taking->alone, node->body, NULL, taking->report};
        if (is_operator(node)) rc = take_node(taking, node);
        else if (node->role == NODE_FORWARD && node->body) rc = take_nodes(&inside);
    }
    return rc;
}

/* ---- The run ---- */

/* Everything that operators read is kept to the end of the run, as outputs beyond the graph's own: `wanted`, by value their number. */
static int want_values(struct instance *instance, size_t outputs, int32_t *wanted) {
    int32_t *list = arena_array(&instance->arena, instance->value_count, sizeof *list);
    size_t count = 0;
    if (!list) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < instance->value_count; i++) wanted[i] = -1;
    for (size_t i = 0; i < instance->node_count; i++) {
        const struct instance_node *node = &instance->nodes[i];
        for (uint32_t k = 0; is_operator(node) && k < node->in_count + node->param_count; k++) {
            int32_t value = k < node->in_count ? node->in[k] : node->param[k - node->in_count];
            if (value < 0 || wanted[value] >= 0 || instance->values[value].kind == VALUE_PARAM) continue;
            wanted[value] = (int32_t)(outputs + count);
            list[count++] = value;
        }
    }
    return grad_outputs(instance, list, count);
}

static int run_graph(flow_graph *graph, struct instance *instance, const struct flow_tensor *inputs, struct taking *taking,
                     struct report *report) {
    const struct allocator *from = &graph->runtime->from;
    struct plan_options options = {.streams = 1, .device = graph_device(graph), .host = &graph->host};
    struct plan *plan = NULL;
    struct context *context = NULL;
    const struct flow_tensor *outputs = NULL;
    size_t initialised = 0, before = instance->output_count, values = instance->value_count;
    int32_t *wanted = memory_array(from, values, sizeof *wanted);
    struct flow_tensor *found = memory_array(from, values, sizeof *found);
    int rc = wanted && found && want_values(instance, before, wanted) == 0 ? 0 : report_memory(report);
    if (rc == 0) rc = plan_new(from, instance, &options, report, &plan);
    if (rc == 0) rc = model_fill(graph->model, instance, report, &initialised);
    if (rc == 0 && context_new(from, graph->model, &context) < 0) rc = report_memory(report);
    if (rc == 0) rc = context_bind(context, plan, report);
    if (rc == 0) rc = context_run(context, inputs, report, &outputs);
    for (size_t i = 0; rc == 0 && i < values; i++) {
        const struct instance_value *value = &instance->values[i];
        const struct flow_tensor *kept = value->kind == VALUE_PARAM ? model_host(graph->model, value->name) : NULL;
        found[i].rank = -1;
        const struct flow_tensor *made = wanted[i] >= 0 ? context_host(context, (size_t)wanted[i]) : NULL;
        if (made) found[i] = *made;
        else if (kept) found[i] = *kept;
    }
    taking->values = found;
    if (rc == 0 && take_nodes(taking) < 0) rc = report_memory(report);
    context_free(context);
    plan_free(plan);
    memory_free(from, wanted, values * sizeof *wanted);
    memory_free(from, found, values * sizeof *found);
    return rc;
}

int flow_alone_new(flow_graph *graph, const struct flow_tensor *inputs, flow_errors **errors, flow_alone **out) {
    const struct allocator *from = &graph->runtime->from;
    struct report report;
    errors_begin(&report, from);
    *out = NULL;
    flow_alone *alone = memory_new(from, sizeof *alone);
    if (!alone) return errors_end(&report, errors, report_memory(&report));
    arena_init(&alone->arena, from);
    struct instance *instance = NULL;
    struct instance_options options = graph_instance_options(graph);
    options.inputs = inputs;
    int rc = instance_new(from, graph->network, &options, &report, &instance);
    if (rc == 0) rc = grad_differentiate(instance, NULL, 0, &report);
    if (rc == 0 && !(alone->nodes = arena_array(&alone->arena, count_nodes(instance) + 1, sizeof *alone->nodes)))
        rc = report_memory(&report);
    struct taking taking = {alone, instance, NULL, &report};
    if (rc == 0) rc = run_graph(graph, instance, inputs, &taking, &report);
    instance_free(instance);
    if (rc < 0) flow_alone_free(alone);
    else *out = alone;
    return errors_end(&report, errors, rc);
}

void flow_alone_free(flow_alone *alone) {
    if (!alone) return;
    const struct allocator *from = alone->arena.from;
    arena_free(&alone->arena);
    memory_free(from, alone, sizeof *alone);
}

size_t flow_alone_count(const flow_alone *alone) { return alone->count; }

const struct flow_alone_node *flow_alone_at(const flow_alone *alone, size_t index) {
    return index < alone->count ? &alone->nodes[index] : NULL;
}

const struct flow_tensor *flow_graph_parameter(const flow_graph *graph, size_t index, const char **name) {
    const char *unused;
    const char **found = name ? name : &unused;
    return model_at(graph->model, index, found) ? model_host(graph->model, *found) : NULL;
}
