/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over the model's nodes, in their order: a node may read only what stands before it, so that there are no cycles. */
#include "onnx/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEEP = 24 }; /* branches within branches */

bool refuse(struct import *m, const struct node *n, const char *format, ...) {
    va_list arguments;
    char why[400];
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    const char *name = n->from->name && *n->from->name ? n->from->name : n->label;
    model_refuse(m, "node '%.120s' (%.60s): %s", name, n->op, why);
    return false;
}

const char *walk_word(struct import *m, const char *text) {
    static const char *const taken[] = {"null", "true", "false", "Null", "NULL", "True", "TRUE", "False", "FALSE"};
    while (*text && !isalnum((unsigned char)*text) && *text != '_') text++;
    size_t length = strlen(text);
    if (length > 120) text += length - 120; /* the end tells nodes apart */
    char *word = store_format(&m->store, "%s%s", *text && !isdigit((unsigned char)*text) ? "" : "n", text), *to = word;
    for (const char *at = word; *at; at++) {
        bool plain = (unsigned char)*at < 128 && (isalnum((unsigned char)*at) || *at == '_');
        if (plain || (to > word && to[-1] != '_')) *to++ = plain ? *at : '_';
    }
    while (to > word + 1 && to[-1] == '_') to--;
    *to = 0;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(word, taken[i]) == 0) return store_format(&m->store, "%s_", word);
    return word;
}

struct value *walk_find(struct import *m, const char *name) {
    for (struct frame *frame = m->frame; frame; frame = frame->up) {
        struct value *v = names_find(&frame->names, name);
        if (v) return v;
    }
    return NULL;
}

bool walk_set(const struct import *m, const char *name, double *number) {
    size_t length = strlen(name);
    for (size_t i = 0; i < m->options->set_count; i++) {
        const char *set = m->options->set[i];
        if (strncmp(set, name, length) != 0 || set[length] != '=') continue;
        char *end;
        *number = strtod(set + length + 1, &end);
        return end != set + length + 1 && !*end;
    }
    return false;
}

/* ---- Nodes ---- */

static const struct map *find_map(const char *op) {
    static const struct map *const families[] = {map_elementwise, map_shape, map_product, map_norm, map_recurrent, map_reduce};
    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        for (const struct map *map = families[f]; map->op; map++)
            if (strcmp(map->op, op) == 0) return map;
    return NULL;
}

static void lose(struct import *m, const struct node *n) {
    for (size_t i = 0; i < n->out_count; i++) {
        n->out[i] = value_new(m, FLOW_F32, -1, NULL);
        n->out[i]->lost = true;
    }
}

/* Weights and numbers among the inputs of nodes made since `from` become nodes. */
static bool write_known(struct import *m, const struct node *n, size_t from) {
    size_t until = m->made.count;
    for (size_t i = from; i < until; i++) {
        struct made *made = m->made.at[i];
        for (size_t k = 0; k < made->in.count; k++)
            if (value_known(made->in.at[k].value) && !make_known(m, n, made->in.at[k].value)) return false;
    }
    return true;
}

static void walk_branch(struct import *m, struct node *n) {
    double condition;
    if (n->in_count < 1 || !value_one(n->in[0], &condition)) {
        if (n->in_count < 1 || !n->in[0] || !n->in[0]->lost)
            refuse(m, n,
                   "its condition is computed when the model runs (where it depends on an input's extent or value, --set fixes that)");
        {
            lose(m, n);
            return;
        }
    }
    const Onnx__Attribute *branch = attr_find(n, condition != 0 ? "then_branch" : "else_branch");
    const Onnx__Graph *graph = branch && branch->has_g ? model_subgraph(m, branch->g) : NULL;
    if (!graph || m->depth >= DEEP || graph->n_output < n->out_count) {
        refuse(m, n, graph ? "its branches are nested too deep or lack an output" : "its branch is damaged");
        {
            lose(m, n);
            return;
        }
    }
    struct frame frame = {.up = m->frame};
    m->frame = &frame, m->depth++;
    walk_graph(m, graph);
    for (size_t i = 0; i < n->out_count; i++) {
        struct value *v = graph->output[i]->name ? walk_find(m, graph->output[i]->name) : NULL;
        if (v) n->out[i] = v;
    }
    m->frame = frame.up, m->depth--;
    for (size_t i = 0; i < n->out_count; i++)
        if (!n->out[i]) {
            refuse(m, n, "its branch does not give output %zu", i);
            {
                lose(m, n);
                return;
            }
        }
}

static void walk_tensors(struct import *m, struct node *n) {
    const struct map *map = find_map(n->op);
    size_t before = m->made.count, told = m->refusals.count;
    bool lost = false;
    for (size_t i = 0; i < n->in_count; i++) lost |= n->in[i] && n->in[i]->lost;
    if (!lost && fold_node(m, n)) {
        if (!n->out[0] || shape_possible(n->out[0])) return;
        refuse(m, n, "the shape of its result is impossible");
    }
    if (m->refusals.count > told) {
        lose(m, n);
        return;
    }
    const char *domain = n->from->domain;
    if (domain && *domain && strcmp(domain, "ai.onnx") != 0) refuse(m, n, "operators of '%.80s' are not covered", domain), lost = true;
    else if (!map) refuse(m, n, "there is no operator here for it"), lost = true;
    if (lost) {
        lose(m, n);
        return;
    }
    for (int32_t i = 0; i < map->inputs; i++)
        if ((int32_t)n->in_count <= i || !n->in[i]) {
            refuse(m, n, "input %d is missing", i);
            {
                lose(m, n);
                return;
            }
        }
    n->word = map->word;
    if (!map->run(m, n) || !write_known(m, n, before)) lose(m, n);
    for (size_t i = 0; i < n->out_count; i++) {
        if (n->out[i] && !n->out[i]->lost && !shape_possible(n->out[i]))
            refuse(m, n, "the shape of its result is impossible"), n->out[i] = NULL;
        if (n->out[i]) continue;
        if (m->refusals.count == told && n->from->output[i] && *n->from->output[i]) refuse(m, n, "its output %zu is not covered", i);
        n->out[i] = value_new(m, FLOW_F32, -1, NULL);
        n->out[i]->lost = true;
    }
}

/* "/encoder/layer.0/query/MatMul": the scope is what stands before the last part. */
static const char *scope_of(struct import *m, const char *name) {
    const char *end = strrchr(name, '/');
    while (*name == '/') name++;
    if (!end || end <= name) return "";
    return store_format(&m->store, "%.*s", (int)(end - name), name);
}

static void walk_node(struct import *m, const Onnx__Node *from) {
    struct node n = {.from = from, .op = from->op_type ? from->op_type : "", .in_count = from->n_input, .out_count = from->n_output};
    const char *name = from->name ? from->name : "";
    if (strncmp(name, "node_", 5) == 0 && name[5]) name += 5;
    if (!*name && from->n_output && from->output[0]) name = from->output[0];
    n.label = walk_word(m, *name ? name : n.op), n.scope = scope_of(m, name);
    n.in = store_take(&m->store, n.in_count + 1, sizeof *n.in), n.out = store_take(&m->store, n.out_count + 1, sizeof *n.out);
    m->source_count++;
    bool missing = false;
    for (size_t i = 0; i < n.in_count; i++) {
        const char *input = from->input[i];
        if (!input || !*input) continue;
        n.in[i] = walk_find(m, input);
        if (!n.in[i] && !missing) {
            refuse(m, &n, "it reads '%.120s', which nothing before it gives", input);
            missing = true;
        }
    }
    while (n.in_count && !n.in[n.in_count - 1]) n.in_count--; /* inputs left out at the end */
    if (missing) lose(m, &n);
    else if (strcmp(n.op, "If") == 0) walk_branch(m, &n);
    else walk_tensors(m, &n);
    for (size_t i = 0; i < n.out_count; i++)
        if (from->output[i] && *from->output[i]) names_set(&m->store, &m->frame->names, from->output[i], n.out[i]);
}

/* ---- Graphs ---- */

static void take_weights(struct import *m, const Onnx__Graph *graph) {
    if (graph->n_sparse_initializer) model_refuse(m, "the model has sparse weights, which are not read");
    for (size_t i = 0; i < graph->n_initializer; i++) {
        const Onnx__Tensor *tensor = graph->initializer[i];
        const char *why = "", *name = tensor->name ? tensor->name : "";
        struct value *v = value_new(m, FLOW_F32, 0, NULL);
        v->tensor_name = name;
        if (!model_tensor(m, tensor, v, &why)) {
            model_refuse(m, "weight '%.120s': %s", name, why);
            v->lost = true, v->rank = -1, v->data = NULL;
        }
        names_set(&m->store, &m->frame->names, name, v);
    }
}

static const char *state_of(const struct import *m, const char *input) {
    size_t length = strlen(input);
    for (size_t i = 0; i < m->options->state_count; i++)
        if (strncmp(m->options->state[i], input, length) == 0 && m->options->state[i][length] == '=')
            return m->options->state[i] + length + 1;
    return NULL;
}

static struct extent axis_extent(struct import *m, const Onnx__Dimension *dim, const char *input, int32_t axis) {
    double number;
    if (dim->has_dim_value && dim->dim_value >= 0 && !dim->dim_param) return extent_of(dim->dim_value);
    const char *symbol = walk_word(m, dim->dim_param && *dim->dim_param ? dim->dim_param : store_format(&m->store, "%s_%d", input, axis));
    if (walk_set(m, symbol, &number) || (dim->dim_param && walk_set(m, dim->dim_param, &number)))
        if (number >= 0 && number < 1e15) return extent_of((int64_t)number);
    return extent_symbol(symbol);
}

static void take_input(struct import *m, const Onnx__ValueInfo *info) {
    const Onnx__TensorType *type = info->type ? info->type->tensor_type : NULL;
    const char *theirs = info->name ? info->name : "", *name;
    struct extent shape[RANK];
    double number;
    if (names_find(&m->frame->names, theirs)) return; /* a weight that may be replaced: it is not */
    struct value *v = value_new(m, FLOW_F32, -1, NULL);
    names_set(&m->store, &m->frame->names, theirs, v);
    v->lost = true;
    if (!type || !type->shape) {
        model_refuse(m, "input '%.120s' is no tensor of a known number of axes", theirs);
        return;
    }
    if ((v->dtype = model_type(type->elem_type)) < 0) {
        model_refuse(m, "input '%.120s': elements of type %d (ONNX's number) are not read", theirs, type->elem_type);
        return;
    }
    if (type->shape->n_dim > RANK) {
        model_refuse(m, "input '%.120s' has more than %d axes", theirs, RANK);
        return;
    }
    name = walk_word(m, theirs);
    if (names_find(&m->labels, name)) name = store_format(&m->store, "%s_input", name);
    v->rank = (int32_t)type->shape->n_dim;
    for (int32_t i = 0; i < v->rank; i++) v->shape[i] = shape[i] = axis_extent(m, type->shape->dim[i], name, i);
    if (!shape_possible(v)) {
        model_refuse(m, "input '%.120s': its shape is impossible", theirs);
        return;
    }
    v->lost = false;
    if (walk_set(m, theirs, &number) || walk_set(m, name, &number)) {
        if (v->rank > 1 || (v->rank == 1 && !extent_is(&shape[0], 1))) {
            model_refuse(m, "--set gives input '%.120s' one number, and it is no scalar", theirs);
            return;
        }
        struct value *one = value_scalar(m, v->dtype, number);
        one->rank = v->rank, one->shape[0] = shape[0];
        {
            names_set(&m->store, &m->frame->names, theirs, one);
            return;
        }
    }
    const char *output = state_of(m, theirs);
    if (output) {
        struct node none = {.from = NULL, .op = "", .label = name, .scope = ""};
        v->from = make_named(m, &none, "expand", name);
        v->from->out = v;
        return;
    }
    names_set(&m->store, &m->labels, name, (void *)(uintptr_t)1);
    v->input = name;
    struct import_input *input = STORE_PUSH(&m->store, m->inputs);
    input->name = name, input->theirs = theirs, input->value = v;
}

void walk_graph(struct import *m, const Onnx__Graph *graph) {
    take_weights(m, graph);
    if (m->depth == 0)
        for (size_t i = 0; i < graph->n_input; i++) take_input(m, graph->input[i]);
    for (size_t i = 0; i < graph->n_node; i++) walk_node(m, graph->node[i]);
}
