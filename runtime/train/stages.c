/* SPDX-License-Identifier: Apache-2.0 */
/* All stages that will be run, in order: `stages:` walked down, `foreach` written out. */
#include "train/stage.h"

#include <string.h>

enum { LEAVES_MOST = 100000 };

static int read_file(struct trainer *trainer, const struct leaf *leaf, const struct training_var *more, size_t more_count,
                     const char *graph, struct report *report, struct network **out) {
    const struct trainer_reading *reading = &trainer->options.reading;
    struct training_var *vars = memory_array(trainer->from, leaf->var_count + more_count + 1, sizeof *vars);
    *out = NULL;
    if (!vars) return report_memory(report);
    for (size_t i = 0; i < leaf->var_count; i++) vars[i] = leaf->vars[i];
    for (size_t i = 0; i < more_count; i++) vars[leaf->var_count + i] = more[i];
    struct network_options options = {.set = reading->set,
                                      .set_count = reading->set_count,
                                      .vars = vars,
                                      .var_count = leaf->var_count + more_count,
                                      .stage = leaf->path,
                                      .stage_depth = leaf->depth,
                                      .graph = graph};
    int32_t errors = report->count;
    int code = network_read(reading->from, reading->registry, reading->path, reading->text, reading->length, &options, report, out);
    memory_free(trainer->from, vars, (leaf->var_count + more_count + 1) * sizeof *vars);
    if (code == 0 && report->count > errors) code = report_code(report);
    if (code == 0 && (!*out || (!graph && !(*out)->training)))
        code = report_add(report, FLOW_ERROR_INTERNAL, (struct position){0}, "a stage is empty");
    if (code == 0 && !graph) code = training_ready((*out)->training, report);
    if (code < 0) {
        network_free(*out);
        *out = NULL;
    }
    return code;
}

int stages_read(struct trainer *trainer, const struct leaf *leaf, const struct training_var *more, size_t more_count, struct report *report,
                struct network **out) {
    return read_file(trainer, leaf, more, more_count, NULL, report, out);
}

int stages_read_graph(struct trainer *trainer, const struct leaf *leaf, const char *graph, struct report *report, struct network **out) {
    return read_file(trainer, leaf, NULL, 0, graph, report, out);
}

static bool copy_vars(struct arena *arena, const struct training_var *from, size_t count, struct training_var *to) {
    for (size_t i = 0; i < count; i++) {
        to[i] = (struct training_var){arena_text(arena, from[i].name), arena_text(arena, from[i].value)};
        if (!to[i].name || !to[i].value) return false;
    }
    return true;
}

/* The leaf below `outer`: entry `number`, with value `v` of its foreach. */
static int descend(struct trainer *trainer, const struct leaf *outer, const struct training_entry *entry, size_t number, size_t v,
                   struct leaf *leaf) {
    struct arena *arena = &trainer->arena;
    bool each = entry->foreach != NULL;
    *leaf = (struct leaf){.depth = outer->depth + 1, .var_count = outer->var_count + entry->var_count + each};
    leaf->path = arena_array(arena, leaf->depth, sizeof *leaf->path);
    leaf->vars = arena_array(arena, leaf->var_count, sizeof *leaf->vars);
    if (!leaf->path || !leaf->vars) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < outer->depth; i++) leaf->path[i] = outer->path[i];
    leaf->path[outer->depth] = number;
    struct training_var loop = {entry->foreach, each ? entry->values[v] : NULL};
    if (!copy_vars(arena, outer->vars, outer->var_count, leaf->vars) ||
        (each && !copy_vars(arena, &loop, 1, leaf->vars + outer->var_count)) ||
        !copy_vars(arena, entry->vars + v * entry->var_count, entry->var_count, leaf->vars + outer->var_count + each))
        return FLOW_ERROR_MEMORY;
    const char *label = outer->label ? outer->label : "";
    leaf->label = each ? arena_format(arena, "%s[%s=%s]", label, loop.name, loop.value) : arena_text(arena, label);
    return leaf->label ? 0 : FLOW_ERROR_MEMORY;
}

static int add_leaf(struct trainer *trainer, const struct leaf *leaf, struct report *report) {
    if (trainer->leaf_count >= LEAVES_MOST)
        return report_add(report, FLOW_ERROR_RANGE, (struct position){trainer->options.reading.path, 0, 0}, "more than %d stages",
                          LEAVES_MOST);
    if (memory_grow(trainer->from, (void **)&trainer->leaves, &trainer->leaf_capacity, trainer->leaf_count + 1, sizeof *trainer->leaves) <
        0)
        return report_memory(report);
    trainer->leaves[trainer->leaf_count++] = *leaf;
    return 0;
}

static int list(struct trainer *trainer, const struct leaf *outer, const struct training *training, struct report *report) {
    if (!training->stage_count) return add_leaf(trainer, outer, report);
    for (size_t s = 0; s < training->stage_count; s++) {
        const struct training_entry *entry = &training->stages[s];
        for (size_t v = 0; v < (entry->foreach ? entry->value_count : 1); v++) {
            struct leaf leaf;
            if (descend(trainer, outer, entry, s, v, &leaf) < 0) return report_memory(report);
            if (!entry->nested) {
                int code = add_leaf(trainer, &leaf, report);
                if (code < 0) return code;
                continue;
            }
            struct network *network;
            int code = stages_read(trainer, &leaf, NULL, 0, report, &network);
            if (code == 0) code = list(trainer, &leaf, network->training, report);
            network_free(network);
            if (code < 0) return code;
        }
    }
    return 0;
}

int stages_list(struct trainer *trainer, struct report *report) {
    struct leaf whole = {.label = ""};
    return list(trainer, &whole, trainer->options.network->training, report);
}
