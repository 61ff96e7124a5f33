/* SPDX-License-Identifier: Apache-2.0 */
/* From an operator's example, one line of a graph, to inputs that it runs on: names from the line, axes from the patterns of its ports, and
 * extents by trying. */
#include "flowrun/trial.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The line ---- */

static const char *skip(const char *at) {
    while (*at == ' ') at++;
    return at;
}

/* A name of letters, digits and '_'; the end of it. */
static const char *take_name(const char *at, char *name) {
    size_t length = 0;
    at = skip(at);
    while (isalnum((unsigned char)at[length]) || at[length] == '_') length++;
    if (length == 0 || length >= TRIAL_NAME - 2) return NULL;
    memcpy(name, at, length), name[length] = 0;
    return at + length;
}

static const struct flow_port *port_at(const struct flow_operator *op, uint32_t i) {
    const struct flow_ports *ports = &op->inputs;
    if (i < ports->count) return &ports->at[i];
    return ports->count && ports->at[ports->count - 1].flags & FLOW_VARIADIC ? &ports->at[ports->count - 1] : NULL;
}

static const struct flow_port *port_named(const struct flow_operator *op, const char *name) {
    for (uint32_t i = 0; i < op->inputs.count; i++)
        if (strcmp(op->inputs.at[i].name, name) == 0) return &op->inputs.at[i];
    return NULL;
}

static bool add_input(struct trial *trial, const char *name, const struct flow_port *port) {
    if (!port) return false;
    for (size_t i = 0; i < trial->in_count; i++)
        if (strcmp(trial->in[i].name, name) == 0) return true;
    if (trial->in_count == TRIAL_INPUTS) return false;
    struct trial_input *input = &trial->in[trial->in_count++];
    *input = (struct trial_input){.port = port};
    strcpy(input->name, name);
    return true;
}

/* A name, or a list of them. */
static const char *take_list(struct trial *trial, const char *at, uint32_t first, const struct flow_port *port) {
    char name[TRIAL_NAME];
    at = skip(at);
    bool list = *at == '[';
    if (list) at++;
    for (uint32_t i = first;; i++) {
        at = take_name(at, name);
        if (!at || !add_input(trial, name, port ? port : port_at(trial->op, i))) return NULL;
        at = skip(at);
        if (!list) return at;
        if (*at == ']') return at + 1;
        if (*at++ != ',') return NULL;
    }
}

static bool take_inputs(struct trial *trial, const char *at) {
    char name[TRIAL_NAME];
    at = skip(at);
    if (*at != '{') return take_list(trial, at, 0, NULL) != NULL;
    for (at++;; at++) {
        at = take_name(at, name);
        if (!at || *(at = skip(at)) != ':') return false;
        const struct flow_port *port = port_named(trial->op, name);
        if (!port || !(at = take_list(trial, at + 1, 0, port))) return false;
        at = skip(at);
        if (*at == '}') return true;
        if (*at != ',') return false;
    }
}

static bool read_example(struct trial *trial) {
    const char *line = trial->op->example, *at = line ? take_name(line, trial->node) : NULL;
    if (!at || *skip(at) != ':') return false;
    const char *in = strstr(at, " in: ");
    return !in || take_inputs(trial, in + 5);
}

/* ---- Axes ---- */

static int32_t symbol(struct trial *trial, const char *name, size_t length) {
    char text[TRIAL_NAME];
    snprintf(text, sizeof text, "%.*s", (int)(length < TRIAL_NAME - 8 ? length : TRIAL_NAME - 8), name);
    bool fixed = strspn(text, "0123456789") == strlen(text);
    for (char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c)) *c = '_'; /* an expression: an axis of its own */
    for (size_t i = 0; i < trial->symbol_count; i++)
        if (strcmp(trial->symbols[i].name, text) == 0) return (int32_t)i;
    if (trial->symbol_count == TRIAL_SYMBOLS) return -1;
    struct trial_symbol *made = &trial->symbols[trial->symbol_count];
    *made = (struct trial_symbol){.fixed = fixed, .extent = fixed ? strtoll(text, NULL, 10) : 0};
    strcpy(made->name, text);
    return (int32_t)trial->symbol_count++;
}

/* Where a pattern leaves them open, axes are called B, T, D, W. */
static bool add_axes(struct trial *trial, struct trial_input *input, int32_t count) {
    static const char *const names[] = {"B", "T", "D", "W"};
    for (int32_t a = 0; a < count; a++) {
        int32_t at = input->rank < FLOW_RANK_MAX ? symbol(trial, names[a], 1) : -1;
        if (at < 0) return false;
        input->axes[input->rank++] = at;
    }
    return true;
}

/* Axes that a pattern names beside "...". */
static int32_t named_axes(const char *pattern) {
    int32_t named = 0;
    for (const char *at = skip(pattern); *at; at = skip(at + strcspn(at, " "))) named += strncmp(at, "...", 3) != 0;
    return named;
}

/* "..." is the same axes wherever it is written: so many that the longest pattern has `rank`. */
static int32_t open_axes(const struct trial *trial, int32_t rank) {
    int32_t most = 0;
    for (size_t i = 0; i < trial->in_count; i++) {
        const char *pattern = trial->in[i].port->shape;
        if (pattern && strstr(pattern, "...") && named_axes(pattern) > most) most = named_axes(pattern);
    }
    return rank > most ? rank - most : 0;
}

static bool lay_out(struct trial *trial, int32_t rank) {
    const int32_t open = open_axes(trial, rank);
    trial->symbol_count = 0;
    for (size_t i = 0; i < trial->in_count; i++) {
        struct trial_input *input = &trial->in[i];
        const char *pattern = input->port->shape;
        input->rank = 0;
        if (!pattern) {
            if (!add_axes(trial, input, rank)) return false;
            continue;
        }
        for (const char *at = skip(pattern); *at; at = skip(at + strcspn(at, " "))) {
            size_t length = strcspn(at, " ");
            if (strncmp(at, "...", 3) == 0) {
                if (!add_axes(trial, input, open)) return false;
                continue;
            }
            int32_t one = input->rank < FLOW_RANK_MAX ? symbol(trial, at, length) : -1;
            if (one < 0) return false;
            input->axes[input->rank++] = one;
        }
    }
    return true;
}

static void choose_types(struct trial *trial) {
    static const int32_t order[] = {FLOW_F32, FLOW_I64, FLOW_BOOL, FLOW_U8, FLOW_I32, FLOW_F64, FLOW_F16, FLOW_BF16};
    for (size_t i = 0; i < trial->in_count; i++)
        for (size_t k = sizeof order / sizeof *order; k-- > 0;)
            if (trial->in[i].port->types >> order[k] & 1) trial->in[i].dtype = order[k];
}

/* Outputs that exist without being asked for; of a variadic one the first, whose name ends in 0. */
static void choose_outputs(struct trial *trial, bool all) {
    const struct flow_ports *ports = &trial->op->outputs;
    trial->out_count = 0;
    for (uint32_t o = 0; o < ports->count && trial->out_count < TRIAL_OUTPUTS; o++) {
        bool variadic = ports->at[o].flags & FLOW_VARIADIC;
        if (ports->at[o].flags & FLOW_OPTIONAL && !all) continue;
        snprintf(trial->out[trial->out_count++], sizeof *trial->out, "%s.%s%s", trial->node, ports->at[o].name, variadic ? "0" : "");
    }
}

/* ---- Extents ---- */

enum { CANDIDATES = 400 };

static void choose_extents(struct trial *trial, int candidate) {
    static const int64_t usual[] = {6, 8, 4, 16, 64, 9, 3, 400, 2, 12, 1, 5};
    enum { USUAL = sizeof usual / sizeof *usual };
    struct draw draw = {.key = 5, .count = 64 * (uint64_t)candidate};
    for (size_t i = 0; i < trial->symbol_count; i++) {
        struct trial_symbol *one = &trial->symbols[i];
        if (one->fixed) continue;
        if (candidate < USUAL) one->extent = strcmp(one->name, "B") == 0 ? 2 : usual[candidate];
        else if (candidate < 2 * USUAL) one->extent = usual[candidate - USUAL];
        else one->extent = usual[draw_below(&draw, USUAL)];
    }
}

static bool any_empty(const struct trial_result *result) {
    for (size_t o = 0; o < result->count; o++)
        if (flow_tensor_count(&result->out[o]) == 0) return true;
    return false;
}

static bool any_nan(const struct trial_result *result) {
    for (size_t o = 0; o < result->count; o++)
        for (int64_t i = 0; i < flow_tensor_count(&result->out[o]); i++)
            if (isnan(flow_tensor_real(&result->out[o], i))) return true;
    return false;
}

/* Runs on some extents with some values? 2: with elements and numbers in all outputs; 1: somehow. */
static int try_extents(struct trial *trial, flow_graph *graph, char *why, size_t size, int *rc) {
    int best = 0, kept = 0;
    for (int attempt = 0; attempt < 4 && best < 2; attempt++) {
        struct tensors inputs;
        struct trial_result result;
        trial->attempt = attempt;
        if (!trial_inputs(trial, TRIAL_PLAIN, false, &inputs)) return 0;
        trial_run(trial, graph, &inputs, 1, &result);
        tensors_free(&inputs);
        int good = result.rc < 0 ? 0 : any_empty(&result) || any_nan(&result) ? 1 : 2;
        if (result.rc < 0 && why && !why[0]) snprintf(why, size, "%s", result.why);
        if (result.rc == FLOW_ERROR_PLUGIN) *rc = result.rc, snprintf(why, size, "%s", result.why);
        if (good > best) best = good, kept = attempt;
        bool other = result.rc < 0 ? result.rc == FLOW_ERROR_RANGE : any_nan(&result);
        result_free(&result);
        if (!other || *rc) break;
    }
    trial->attempt = kept;
    return best;
}

static void note_result(struct trial *trial) {
    for (uint32_t k = 0; k < trial->about->kernel_count; k++) trial->backward = trial->backward || trial->about->kernels[k].backward;
    trial->random = trial->op->flags & FLOW_OP_RANDOM;
}

int trial_find(struct trial *trial, char *why, size_t size) {
    static const int32_t ranks[] = {3, 2, 4, 1};
    why[0] = 0;
    if (!read_example(trial)) {
        snprintf(why, size, "the example '%s' is not one node 'NAME: {op: %s, in: ...}'", trial->op->example ? trial->op->example : "",
                 trial->op->name);
        return FLOW_ERROR_PLUGIN;
    }
    choose_types(trial);
    note_result(trial);
    int32_t fallback_rank = 0;
    int fallback = 0, rc = 0;
    for (int r = 0; r < 4; r++)
        for (int all = 1; all >= 0; all--) {
            flow_graph *graph = NULL;
            if (!lay_out(trial, ranks[r])) continue;
            choose_outputs(trial, all);
            char unread[512] = "";
            if (trial_graph(trial, trial->runtime, TRIAL_PLAIN, FLOW_F32, &graph, unread, sizeof unread) < 0) {
                if (!why[0] && !all) snprintf(why, size, "%s", unread);
                continue;
            }
            bool open = false;
            for (size_t i = 0; i < trial->symbol_count; i++) open = open || !trial->symbols[i].fixed;
            for (int k = 0; k < (open ? CANDIDATES : 1); k++) {
                choose_extents(trial, k);
                int good = try_extents(trial, graph, why, size, &rc);
                if (good == 1 && !fallback_rank) fallback_rank = ranks[r], fallback = 2 * k + all;
                if (good < 2 && !rc) continue;
                flow_graph_free(graph);
                return rc;
            }
            flow_graph_free(graph);
        }
    if (fallback_rank) {
        lay_out(trial, fallback_rank);
        choose_outputs(trial, fallback & 1);
        choose_extents(trial, fallback / 2);
        return 0;
    }
    return FLOW_ERROR_SHAPE;
}
