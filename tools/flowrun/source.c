/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static struct source *find_source(struct sources *sources, const flow_graph *graph, const char *name, size_t length) {
    for (size_t i = 0; i < sources->count; i++) {
        const char *known = flow_graph_input(graph, i).name;
        if (strlen(known) == length && strncmp(known, name, length) == 0) return &sources->at[i];
    }
    char names[256] = "";
    for (size_t i = 0; i < sources->count; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", flow_graph_input(graph, i).name);
    }
    command_say(EXIT_USAGE, "the graph has no input '%.*s'; it has: %s", (int)length, name, names);
    return NULL;
}

/* A tensor with one axis too few gets leading ones; one with leading ones too many loses them: [S] and [1, S] are the same recording. */
static int fit_rank(struct source *source) {
    struct flow_tensor *tensor = &source->tensor;
    int32_t want = source->port.rank;
    while (tensor->rank > want && tensor->rank > 0 && tensor->shape[0] == 1) {
        for (int32_t i = 1; i < tensor->rank; i++) tensor->shape[i - 1] = tensor->shape[i], tensor->strides[i - 1] = tensor->strides[i];
        tensor->rank--;
    }
    while (tensor->rank < want) {
        for (int32_t i = tensor->rank; i > 0; i--) tensor->shape[i] = tensor->shape[i - 1], tensor->strides[i] = tensor->strides[i - 1];
        tensor->shape[0] = 1, tensor->strides[0] = 0;
        tensor->rank++;
    }
    if (tensor->rank == want) return 0;
    return command_say(EXIT_USAGE, "input '%s' has %d axes in the graph, the tensor given has %d", source->name, want, tensor->rank);
}

static int parse_numbers(struct source *source, const char *text) {
    size_t most = strlen(text) / 2 + 1;
    bool real = source->port.dtype == FLOW_F32 || source->port.dtype == FLOW_F64;
    double *reals = malloc(most * sizeof *reals);
    if (!reals) return command_say(EXIT_FAILED, "out of memory");
    int64_t *integers = (int64_t *)reals; /* of one size: one block serves either */
    int64_t count = 0;
    const char *at = text + 1;
    for (;;) {
        while (*at == ' ' || *at == ',') at++;
        if (*at == ']' || !*at) break;
        char *end;
        if (real) reals[count] = strtod(at, &end);
        else integers[count] = strtoll(at, &end, 10);
        if (end == at) {
            free(reals);
            return command_say(EXIT_USAGE, "input '%s': '%s' is not a number", source->name, at);
        }
        count++, at = end;
    }
    source->owned = reals;
    source->tensor = flow_tensor_of(reals, real ? FLOW_F64 : FLOW_I64, 1, &count);
    return fit_rank(source);
}

static int parse_words(struct source *source, const char *text) {
    int64_t length = (int64_t)strlen(text);
    char *copy = strdup(text);
    if (!copy) return command_say(EXIT_FAILED, "out of memory");
    source->owned = copy;
    source->tensor = flow_tensor_of(copy, FLOW_U8, 1, &length);
    return fit_rank(source);
}

static int open_wave(struct source *source, flow_runtime *runtime, const char *path) {
    flow_errors *errors = NULL;
    if (flow_wave_open(runtime, path, &errors, &source->wave) < 0) return command_fail(errors);
    interrupt_watch_wave(source->wave);
    source->rate = flow_wave_rate(source->wave);
    source->tensor.rank = -1;
    return 0;
}

static int open_file(struct source *source, flow_runtime *runtime, const char *value) {
    char path[4096];
    const char *hash = strrchr(value, '#');
    snprintf(path, sizeof path, "%.*s", hash ? (int)(hash - value) : (int)strlen(value), value);
    flow_errors *errors = NULL;
    if (flow_file_open(runtime, path, &errors, &source->file) < 0) return command_fail(errors);
    const struct flow_tensor *tensor = NULL;
    if (hash) tensor = flow_file_get(source->file, hash + 1);
    else if (flow_file_count(source->file) == 1) tensor = flow_file_tensor(source->file, 0);
    else tensor = flow_file_get(source->file, source->name);
    if (!tensor) return command_say(EXIT_USAGE, "%s has no tensor '%s'; say which by %s#NAME", path, hash ? hash + 1 : source->name, path);
    source->tensor = *tensor;
    source->rate = flow_file_rate(source->file);
    return fit_rank(source);
}

/* `folder`: what relative files are relative to ("" or ending in a slash). */
static int open_value(struct source *source, flow_runtime *runtime, const char *folder, const char *value, bool live) {
    if (value[0] == '[') return parse_numbers(source, value);
    if (value[0] == ':') return parse_words(source, value + 1);
    if (strcmp(value, "-") == 0) return open_wave(source, runtime, value);
    char path[4096];
    snprintf(path, sizeof path, "%s%s", value[0] == '/' ? "" : folder, value);
    if (live && ends_with(value, ".wav")) return open_wave(source, runtime, path);
    return open_file(source, runtime, path);
}

static int open_named(struct sources *sources, const struct command *command, flow_runtime *runtime, const flow_graph *graph, bool live) {
    for (size_t i = 0; i < command->input.count; i++) {
        const char *pair = command->input.at[i], *value = strchr(pair, '=') + 1;
        size_t length = (size_t)(value - 1 - pair);
        struct source *source = find_source(sources, graph, pair, length);
        if (!source) return EXIT_USAGE;
        if (source->name) return command_say(EXIT_USAGE, "--input %s is given twice", source->name);
        source->name = source->port.name;
        int rc = open_value(source, runtime, "", value, live);
        if (rc) return rc;
    }
    return 0;
}

static int open_all(struct sources *sources, const struct command *command, flow_runtime *runtime) {
    flow_errors *errors = NULL;
    if (!command->inputs) return 0;
    if (flow_file_open(runtime, command->inputs, &errors, &sources->all) < 0) return command_fail(errors);
    for (size_t i = 0; i < sources->count; i++) {
        struct source *source = &sources->at[i];
        char recorded[512];
        snprintf(recorded, sizeof recorded, "in.%s", source->port.name);
        const struct flow_tensor *tensor = source->name ? NULL : flow_file_get(sources->all, source->port.name);
        if (!tensor && !source->name) tensor = flow_file_get(sources->all, recorded);
        if (!tensor) continue;
        source->name = source->port.name, source->tensor = *tensor;
    }
    return 0;
}

/* What the graph names itself, files beside it. */
static int open_defaults(struct sources *sources, const struct command *command, flow_runtime *runtime, const flow_graph *graph,
                         bool live) {
    char folder[4096];
    const char *slash = strrchr(command->graph, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash + 1 - command->graph) : 0, command->graph);
    const char *name, *value;
    for (size_t i = 0; flow_graph_run_entry(graph, "input", i, &name, &value); i++) {
        struct source *source = find_source(sources, graph, name, strlen(name));
        if (!source) return EXIT_USAGE;
        if (source->name) continue;
        source->name = source->port.name;
        int rc = open_value(source, runtime, folder, value, live);
        if (rc) return rc;
    }
    return 0;
}

int sources_given(struct sources *sources, const struct command *command, flow_runtime *runtime, const flow_graph *graph, bool live) {
    *sources = (struct sources){.count = flow_graph_inputs(graph)};
    sources->at = calloc(sources->count ? sources->count : 1, sizeof *sources->at);
    if (!sources->at) return command_say(EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < sources->count; i++) sources->at[i].port = flow_graph_input(graph, i), sources->at[i].tensor.rank = -1;
    int rc = open_named(sources, command, runtime, graph, live);
    return rc == 0 ? open_all(sources, command, runtime) : rc;
}

int sources_open(struct sources *sources, const struct command *command, flow_runtime *runtime, const flow_graph *graph, bool live) {
    int rc = sources_given(sources, command, runtime, graph, live);
    return rc == 0 ? open_defaults(sources, command, runtime, graph, live) : rc;
}

int sources_give(struct sources *sources, const char *name, const struct flow_tensor *tensor) {
    for (size_t i = 0; i < sources->count; i++) {
        if (strcmp(sources->at[i].port.name, name) != 0) continue;
        sources->at[i].name = sources->at[i].port.name;
        sources->at[i].tensor = *tensor;
        return 0;
    }
    return command_say(EXIT_USAGE, "the graph has no input '%s', which the file records", name);
}

void sources_close(struct sources *sources) {
    for (size_t i = 0; sources->at && i < sources->count; i++) {
        flow_file_close(sources->at[i].file);
        if (sources->at[i].wave) interrupt_forget_wave(sources->at[i].wave);
        flow_wave_close(sources->at[i].wave);
        free(sources->at[i].owned);
    }
    flow_file_close(sources->all);
    free(sources->at);
}
