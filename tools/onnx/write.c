/* SPDX-License-Identifier: Apache-2.0 */
/* The graph as YAML, and its weights. */
#include "onnx/internal.h"

#include <ctype.h>

struct writing {
    struct import *m;
    struct text text;
    struct onnx_result *out;
    struct {
        struct onnx_weight *at;
        size_t count, room;
    } weights;
    struct names owners; /* of weights that several nodes share, by their place in memory: "NODE.PARAM" */
    struct names written;
    const char *scope;
};

#define PUT(w, ...) text_add(&(w)->m->store, &(w)->text, __VA_ARGS__)

static bool plain(const char *name) {
    if (!isalpha((unsigned char)*name) && *name != '_') return false;
    for (const char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && *at != '_') return false;
    return true;
}

/* In quotes where it needs them; what is not ASCII becomes "?". */
static const char *quoted(struct import *m, const char *name) {
    struct text text = {0};
    if (plain(name)) return name;
    text_add(&m->store, &text, "\"");
    for (const char *at = name; *at; at++) {
        bool escape = *at == '"' || *at == '\\', shown = (unsigned char)*at >= 32 && (unsigned char)*at < 127;
        text_add(&m->store, &text, "%s%c", escape ? "\\" : "", shown ? *at : '?');
    }
    text_add(&m->store, &text, "\"");
    return text.at;
}

/* Beside a # there may be anything but the end of the line. */
static const char *remark(struct import *m, const char *text) {
    char *copy = store_text(&m->store, text);
    for (char *at = copy; *at; at++)
        if ((unsigned char)*at < 32 || (unsigned char)*at > 126) *at = '?';
    return copy;
}

static const char *reference(struct import *m, const struct value *v) {
    if (v->input) return v->input;
    return v->port ? store_format(&m->store, "%s.%s", v->from->name, v->port) : v->from->name;
}

static void write_inputs(struct writing *w, const struct made *made) {
    bool ports = false;
    size_t count = made->in.count;
    for (size_t i = 0; i < count; i++) ports |= made->in.at[i].port != NULL;
    if (count == 0) return;
    if (count == 1) {
        PUT(w, ", in: %s", reference(w->m, made->in.at[0].value));
        return;
    }
    PUT(w, ports ? ", in: {" : ", in: [");
    for (size_t i = 0; i < count; i++) {
        const struct made_in *in = &made->in.at[i];
        if (ports) PUT(w, "%s%s: %s", i ? ", " : "", in->port, reference(w->m, in->value));
        else PUT(w, "%s%s", i ? ", " : "", reference(w->m, in->value));
    }
    PUT(w, ports ? "}" : "]");
}

static void write_weights(struct writing *w, const struct made *made) {
    bool tied = false;
    for (size_t i = 0; i < made->weights.count; i++) {
        const struct flow_tensor *tensor = &made->weights.at[i].tensor;
        struct store *store = &w->m->store;
        struct text key = {0};
        text_add(store, &key, "%p %d", tensor->data, tensor->dtype);
        for (int32_t k = 0; k < tensor->rank; k++) text_add(store, &key, " %lld", (long long)tensor->shape[k]);
        const char *owner = flow_tensor_count(tensor) > 0 ? names_find(&w->owners, key.at) : NULL;
        if (owner) {
            PUT(w, "%s%s: %s", tied ? ", " : ", tie: {", made->weights.at[i].param, owner);
            tied = true;
            continue;
        }
        char *name = store_format(store, "%s.%s", made->name, made->weights.at[i].param);
        names_set(store, &w->owners, key.at, name);
        struct onnx_weight *weight = STORE_PUSH(store, w->weights);
        weight->name = name, weight->tensor = *tensor;
    }
    if (tied) PUT(w, "}");
}

/* aside: it is part of a known value, and stands before the node that reads it */
static void write_node(struct writing *w, struct made *made, bool aside) {
    if (!made->live || names_find(&w->written, made->name)) return;
    names_set(&w->m->store, &w->written, made->name, made);
    for (size_t i = 0; i < made->in.count; i++) { /* numbers, tables and what is made of them in front of who reads them */
        struct made *from = made->in.at[i].value->from;
        if (from && !from->state && (aside || from->in.count == 0 || value_known(made->in.at[i].value))) write_node(w, from, true);
    }
    if (strcmp(made->scope, w->scope) != 0 && *made->scope) PUT(w, "  # %s\n", remark(w->m, made->scope));
    w->scope = made->scope;
    PUT(w, "  %s: {op: %s", made->name, made->op);
    write_inputs(w, made);
    if (made->with.count) PUT(w, ", with: {%.*s}", (int)made->with.count, made->with.at);
    if (made->state) PUT(w, ", state: {x: %s}", reference(w->m, made->state));
    write_weights(w, made);
    PUT(w, "}\n");
    w->out->node_count++;
}

static void write_input(struct writing *w, const struct import_input *input) {
    PUT(w, "  %s: {dtype: %s, shape: [", input->name, flow_type_name(input->value->dtype));
    for (int32_t i = 0; i < input->value->rank; i++) PUT(w, "%s%s", i ? ", " : "", extent_text(&w->m->store, &input->value->shape[i]));
    PUT(w, "]}\n");
}

/* What all scopes begin with ("model/", "If_0_then/") says nothing: it is left out of them and of the names, where these stay apart. */
static void shorten(struct import *m) {
    for (;;) {
        const char *first = NULL;
        size_t length = 0, scopes = 0;
        for (size_t i = 0; i < m->made.count; i++) {
            const struct made *made = m->made.at[i];
            if (!made->live || !*made->scope) continue;
            if (!first) first = made->scope, length = strcspn(first, "/");
            if (strncmp(made->scope, first, length) != 0 || (made->scope[length] && made->scope[length] != '/')) return;
            scopes++;
        }
        if (scopes < 2) return;
        const char *word = walk_word(m, store_format(&m->store, "%.*s", (int)length, first));
        size_t letters = strlen(word);
        for (size_t i = 0; i < m->made.count; i++) {
            struct made *made = m->made.at[i];
            if (*made->scope) made->scope += strcspn(made->scope, "/"), made->scope += *made->scope == '/';
            if (strncmp(made->name, word, letters) != 0 || made->name[letters] != '_' || !made->name[letters + 1]) continue;
            const char *name = walk_word(m, made->name + letters + 1);
            if (names_find(&m->labels, name)) continue;
            names_set(&m->store, &m->labels, name, made);
            made->name = name;
        }
    }
}

void write_graph(struct import *m, struct onnx_result *out) {
    struct writing w = {.m = m, .out = out, .scope = ""};
    shorten(m);
    const char *producer = m->model->producer_name ? m->model->producer_name : "",
               *version = m->model->producer_version ? m->model->producer_version : "";
    PUT(&w, "flow: 1\nname: %s\n", quoted(m, m->options->title ? m->options->title : "model"));
    PUT(&w, "doc: %s\n",
        quoted(m, store_format(&m->store, "Imported from ONNX, opset %lld%s%.80s%s%.40s.", (long long)m->opset,
                               *producer ? ", written by " : "", producer, *version ? " " : "", version)));
    PUT(&w, "\ninputs:%s\n", m->inputs.count ? "" : " {}");
    for (size_t i = 0; i < m->inputs.count; i++) write_input(&w, &m->inputs.at[i]);
    PUT(&w, "\nnodes:\n");
    for (size_t i = 0; i < m->made.count; i++) write_node(&w, m->made.at[i], false);
    if (out->node_count == 0) w.text.count -= strlen("\nnodes:\n"), PUT(&w, "\nnodes: {}\n");
    PUT(&w, "\noutputs:\n");
    for (size_t i = 0; i < m->outputs.count; i++)
        PUT(&w, "  %s: %s\n", quoted(m, m->outputs.at[i].name), reference(m, m->outputs.at[i].value));
    if (w.weights.count) PUT(&w, "\nweights: %s\n", quoted(m, m->options->weights_file ? m->options->weights_file : "model.safetensors"));
    out->yaml = w.text.at, out->yaml_size = w.text.count;
    out->weights = w.weights.at, out->weight_count = w.weights.count;
}
