/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/internal.h"

#include <stdlib.h>

/* ---- Outputs and states ---- */

static bool is_state(const struct import *m, const char *output) {
    for (size_t i = 0; i < m->options->state_count; i++) {
        const char *equals = strchr(m->options->state[i], '=');
        if (equals && strcmp(equals + 1, output) == 0) return true;
    }
    return false;
}

static void take_outputs(struct import *m, const Onnx__Graph *graph) {
    static const Onnx__Node none = ONNX__NODE__INIT;
    for (size_t i = 0; i < graph->n_output; i++) {
        const char *name = graph->output[i]->name ? graph->output[i]->name : "";
        struct value *v = walk_find(m, name);
        if (!v) {
            model_refuse(m, "output '%.120s' is given by no node", name);
            continue;
        }
        if (v->lost || is_state(m, name)) continue;
        struct node n = {.from = &none, .op = "output", .label = walk_word(m, name), .scope = ""};
        if (value_known(v) && !make_known(m, &n, v)) continue;
        struct import_output *output = STORE_PUSH(&m->store, m->outputs);
        output->name = name, output->value = v;
    }
    if (graph->n_output == 0) model_refuse(m, "the model has no output");
}

static bool same_shape(const struct value *a, const struct value *b) {
    if (a->rank != b->rank || a->dtype != b->dtype) return false;
    for (int32_t i = 0; i < a->rank; i++) {
        int64_t n, k;
        if (extent_number(&a->shape[i], &n) && extent_number(&b->shape[i], &k) && n != k) return false;
    }
    return true;
}

static bool symbol_known(const struct import *m, const char *symbol) {
    for (size_t i = 0; i < m->inputs.count; i++) {
        const struct value *v = m->inputs.at[i].value;
        for (int32_t k = 0; k < v->rank; k++)
            if (v->shape[k].terms && strcmp(v->shape[k].at[0].of, symbol) == 0) return true;
    }
    return false;
}

/* `expand` says the state's shape, which nothing else would: a view of what the run before gave. */
static void keep_state(struct import *m, const char *pair, struct value *in, struct value *next) {
    struct text list = {0};
    for (int32_t i = 0; i < in->rank; i++) {
        const char *symbol = in->shape[i].terms ? in->shape[i].at[0].of : NULL;
        if (symbol && !symbol_known(m, symbol)) {
            model_refuse(m, "--state %.120s: its extent '%s' is in no other input: --set %s=N", pair, symbol, symbol);
            return;
        }
        text_add(&m->store, &list, "%s%s", i ? ", " : "", extent_text(&m->store, &in->shape[i]));
    }
    make_with(m, in->from, "shape: [%s]", list.at ? list.at : "");
    in->from->state = next;
}

static void take_states(struct import *m) {
    static const Onnx__Node none = ONNX__NODE__INIT;
    for (size_t i = 0; i < m->options->state_count; i++) {
        const char *pair = m->options->state[i], *equals = strchr(pair, '=');
        char *name = store_format(&m->store, "%.*s", equals ? (int)(equals - pair) : 0, pair);
        struct value *in = walk_find(m, name), *next = equals ? walk_find(m, equals + 1) : NULL;
        if (!in || !in->from || strcmp(in->from->op, "expand") != 0 || in->from->in.count || in->input) {
            model_refuse(m, "--state %.120s: there is no input '%.120s'", pair, name);
            continue;
        }
        if (!next) {
            model_refuse(m, "--state %.120s: there is no output '%.120s'", pair, equals + 1);
            continue;
        }
        if (next->lost || in->lost) continue;
        struct node n = {.from = &none, .op = "state", .label = in->from->name, .scope = ""};
        if (!same_shape(in, next)) model_refuse(m, "--state %.120s: the two differ in type or shape", pair);
        else if (!value_known(next) || make_known(m, &n, next)) keep_state(m, pair, in, next);
    }
}

/* "state" and "stateN", "h" and "hn", "past_x" and "present_x": an output that looks like an input's next value. */
static bool looks_next(const char *input, const char *output) {
    size_t length = strlen(input);
    if (strcmp(input, output) == 0) return false;
    if (strncmp(input, "past", 4) == 0 && strncmp(output, "present", 7) == 0 && strcmp(input + 4, output + 7) == 0) return true;
    if (strncmp(output, input, length) == 0 && strlen(output) <= length + 4) return true;
    const char *in = strstr(input, "in"), *out = strstr(output, "out");
    return in && out && in > input && in - input == out - output && strncmp(input, output, (size_t)(in - input)) == 0 &&
           strcmp(in + 2, out + 3) == 0;
}

static void give_hints(struct import *m) {
    enum { MANY = 256 }; /* each is held against each */
    if (m->inputs.count > MANY || m->outputs.count > MANY) return;
    for (size_t i = 0; i < m->inputs.count; i++)
        for (size_t k = 0; k < m->outputs.count; k++) {
            const struct import_input *in = &m->inputs.at[i];
            const struct import_output *out = &m->outputs.at[k];
            if (looks_next(in->theirs, out->name) && same_shape(in->value, out->value))
                *STORE_PUSH(&m->store, m->hints) = store_format(
                    &m->store, "output '%s' looks like the next value of input '%s': --state %s=%s keeps it in the graph from run to run",
                    out->name, in->theirs, in->theirs, out->name);
        }
}

/* A `--set` that nothing took is a mistake. */
static void check_sets(struct import *m, const Onnx__Graph *graph) {
    for (size_t s = 0; s < m->options->set_count; s++) {
        const char *set = m->options->set[s];
        size_t length = strcspn(set, "=");
        bool found = false;
        char *end;
        struct text have = {0};
        if (!set[length] || (strtod(set + length + 1, &end), *end || end == set + length + 1)) {
            model_refuse(m, "--set %.120s: a number is expected after '='", set);
            continue;
        }
        for (size_t i = 0; i < graph->n_input && !found; i++) {
            const Onnx__ValueInfo *info = graph->input[i];
            const char *theirs = info->name ? info->name : "";
            const Onnx__TensorType *type = info->type ? info->type->tensor_type : NULL;
            const char *name = walk_word(m, theirs);
            if (names_find(&m->labels, name) == NULL && walk_find(m, theirs) == NULL) continue;
            found = (strlen(theirs) == length && strncmp(set, theirs, length) == 0) ||
                    (strlen(name) == length && strncmp(set, name, length) == 0);
            for (size_t k = 0; type && type->shape && k < type->shape->n_dim && k < RANK; k++) {
                const Onnx__Dimension *dim = type->shape->dim[k];
                if (dim->has_dim_value && dim->dim_value >= 0 && !dim->dim_param) continue;
                const char *symbol =
                    dim->dim_param && *dim->dim_param ? walk_word(m, dim->dim_param) : store_format(&m->store, "%s_%zu", name, k);
                found |= (strlen(symbol) == length && strncmp(set, symbol, length) == 0) ||
                         (dim->dim_param && strlen(dim->dim_param) == length && strncmp(set, dim->dim_param, length) == 0);
                text_add(&m->store, &have, "%s%s", have.count ? ", " : "", symbol);
            }
            if (!type || !type->shape || type->shape->n_dim == 0) text_add(&m->store, &have, "%s%s", have.count ? ", " : "", theirs);
        }
        if (!found)
            model_refuse(m, "--set %.120s: the model has no such symbol or scalar input (there are: %.300s)", set,
                         have.at ? have.at : "none");
    }
}

/* ---- The whole ---- */

static int import(struct import *m, const uint8_t *bytes, size_t size, struct onnx_result *out) {
    struct frame frame = {.up = NULL};
    int rc = model_read(m, bytes, size);
    if (rc < 0 || m->refusals.count) return rc < 0 ? rc : FLOW_ERROR_UNSUPPORTED;
    m->frame = &frame;
    walk_graph(m, m->model->graph);
    take_outputs(m, m->model->graph);
    take_states(m);
    check_sets(m, m->model->graph);
    give_hints(m);
    out->source_count = m->source_count;
    if (m->refusals.count) return FLOW_ERROR_UNSUPPORTED;
    join_nodes(m);
    write_graph(m, out);
    return 0;
}

int onnx_import(const uint8_t *bytes, size_t size, const struct onnx_options *options, struct onnx_result *out) {
    static const struct onnx_options usual = {0};
    memset(out, 0, sizeof *out);
    struct import *m = calloc(1, sizeof *m);
    if (!m) return FLOW_ERROR_MEMORY;
    out->room = m;
    m->options = options ? options : &usual;
    /* Values, names and nodes cost some hundred bytes for each byte of a message at most; values computed now may be larger than the file.
     */
    m->store.limit = size > SIZE_MAX / 1024 ? SIZE_MAX : 512 * size + ((size_t)64 << 20);
    if (setjmp(m->store.full)) {
        static const char *const why[] = {"the model asks for more memory than its size justifies, or there is no more"};
        out->yaml = NULL, out->refusals = why, out->refusal_count = 1;
        return FLOW_ERROR_MEMORY;
    }
    int rc = import(m, bytes, size, out);
    if (rc < 0) out->yaml = NULL;
    out->refusals = m->refusals.at, out->refusal_count = m->refusals.count;
    out->hints = m->hints.at, out->hint_count = m->hints.count;
    return rc;
}

void onnx_result_free(struct onnx_result *result) {
    struct import *m = result->room;
    if (!m) return;
    model_close(m);
    store_free(&m->store);
    free(m);
    memset(result, 0, sizeof *result);
}
