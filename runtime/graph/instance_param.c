/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters: which a node has, under which name each is stored, what it is
 * tied to, how it starts. */
#include "graph/instance_build.h"

#include <flow/random.h>

#include <stdio.h>
#include <string.h>

/* ---- Initialisers ---- */

static const char *const initialisers[] = {
    "zeros",           "ones",           "constant",   "uniform",  "normal",        "truncated_normal", "xavier_uniform", "xavier_normal",
    "kaiming_uniform", "kaiming_normal", "orthogonal", "identity", "uniform_except"};

static bool known_initialiser(const char *init, const char **near) {
    char word[64];
    struct nearest nearest;
    size_t length = strcspn(init, "( ");
    snprintf(word, sizeof word, "%.*s", (int)(length < 63 ? length : 63), init);
    nearest_init(&nearest, word);
    for (size_t i = 0; i < sizeof initialisers / sizeof initialisers[0]; i++) {
        if (strcmp(initialisers[i], word) == 0) return true;
        nearest_offer(&nearest, initialisers[i]);
    }
    *near = nearest_name(&nearest);
    return false;
}

int build_init(struct build_asking *asking, const char *name, const char *init, const char **out) {
    const struct network_node *source = asking->source;
    struct position at = source->op_at;
    char why[PATTERN_WHY] = "";
    const char *near = NULL;
    bool given = false;
    for (size_t i = 0; i < source->init_count; i++)
        if (strcmp(source->inits[i].name, name) == 0) init = source->inits[i].init, at = source->inits[i].at, given = true;
    int status = pattern_init(asking->bindings, &asking->build->made->arena, init, out, why);
    if (status < 0 && !why[0]) return FLOW_ERROR_MEMORY;
    if (status < 0) return build_fail(asking, FLOW_ERROR_GRAPH, at, "initialiser of '%s': %s", name, why), 0;
    if (given && !known_initialiser(*out, &near))
        build_fail(asking, FLOW_ERROR_GRAPH, at, near ? "'%.60s' is no initialiser (did you mean '%s'?)" : "'%.60s' is no initialiser",
                   *out, near);
    return 0;
}

/* ---- Ties ---- */

static const struct network_tie *find_tie(const struct network_node *node, const char *param) {
    const struct network_tie *all = NULL;
    for (size_t i = 0; i < node->tie_count; i++) {
        if (node->ties[i].param && strcmp(node->ties[i].param, param) == 0) return &node->ties[i];
        if (!node->ties[i].param && node->ties[i].target) all = &node->ties[i];
    }
    return all;
}

static int know_paths(struct build *build) {
    if (build->paths_known) return 0;
    build->paths_known = true;
    for (size_t i = 0; i < build->network->node_count; i++) {
        const struct network_node *node = &build->network->nodes[i];
        if (node->tie_count && map_set(&build->paths, node->param_path, (int64_t)i) < 0) return FLOW_ERROR_MEMORY;
    }
    return 0;
}

/* Follows a tie to where the parameter is stored: *path, or the tie that gives
 * a value. A tie to a tied parameter goes on from there. */
static int follow(struct build *build, const char *param, const struct network_tie **tie, const char **path) {
    enum { HOPS = 64 };
    int status = know_paths(build);
    for (int hop = 0; status == 0; hop++) {
        *path = NULL;
        if (!(*tie)->target) return 0;
        *path = (*tie)->param ? (*tie)->target : build_join(&build->made->arena, (*tie)->target, param);
        if (!*path) return FLOW_ERROR_MEMORY;
        const char *dot = strrchr(*path, '.');
        if (!dot || hop == HOPS) return 0;
        char *node_path = arena_text_n(&build->scratch, *path, (size_t)(dot - *path));
        int64_t node;
        if (!node_path) return FLOW_ERROR_MEMORY;
        if (!map_get(&build->paths, node_path, &node)) return 0;
        param = dot + 1;
        const struct network_tie *next = find_tie(&build->network->nodes[node], param);
        if (!next || next == *tie) return 0;
        *tie = next;
    }
    return status;
}

/* What is known of the type of a tied parameter before its node is asked. */
static int tied_type(struct build_asking *asking, const char *param, struct flow_tensor *type) {
    struct build *build = asking->build;
    const struct network_tie *tie = find_tie(asking->source, param);
    const char *path;
    int64_t value = -1;
    bool missing;
    if (!tie) return 0;
    int status = follow(build, param, &tie, &path);
    if (status < 0) return status;
    if (!path) value = build_ref(build, tie->value, &missing);
    else if (!map_get(&build->params, path, &value)) value = -1;
    if (value >= 0) {
        int32_t dtype = type->dtype;
        *type = build->made->values[value].type;
        type->dtype = dtype;
    }
    return 0;
}

/* ---- Rows of the table ---- */

static int make_room(struct build_asking *asking, uint32_t need) {
    if (need <= asking->param_room) return 0;
    struct arena *arena = &asking->build->made->arena;
    uint32_t room = asking->param_room ? 2 * asking->param_room : need < 4 ? 4 : need;
    struct build_param *params = arena_array(&asking->build->scratch, room, sizeof *params);
    struct flow_tensor *types = arena_array(arena, room, sizeof *types);
    if (!params || !types) return FLOW_ERROR_MEMORY;
    if (asking->param_count) {
        memcpy(params, asking->params, asking->param_count * sizeof *params);
        memcpy(types, asking->infer->param, asking->param_count * sizeof *types);
    }
    asking->params = params, asking->infer->param = types, asking->param_room = room;
    return 0;
}

int build_param_rows(struct build_asking *asking) {
    const struct flow_params *rows = &asking->op->params;
    char why[PATTERN_WHY];
    if (rows->count == 0) return 0;
    int status = make_room(asking, rows->count);
    if (status < 0) return status;
    struct flow_tensor *types = (struct flow_tensor *)asking->infer->param;
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct flow_param *row = &rows->at[i];
        asking->params[i] = (struct build_param){row->name, row->init, row->flags};
        extents_none(&types[i]);
        types[i].dtype = build_type(asking->build, row->types, asking->node_type, asking->float_type);
        if (row->flags & FLOW_DECLARED) continue;
        int exists = pattern_when(asking->bindings, row->when, why);
        if (exists > 0 && row->shape) exists = pattern_fill(asking->bindings, row->shape, &types[i], why);
        if (exists < 0) return build_fail(asking, exists, asking->source->op_at, "parameter '%s': %s", row->name, why), 0;
        if (types[i].rank < 0 && pattern_when(asking->bindings, row->when, why) > 0) {
            status = tied_type(asking, row->name, &types[i]);
            if (status < 0) return status;
        }
        if (types[i].rank >= 0 && !extents_contiguous(&types[i])) {
            char text[EXTENTS_TEXT];
            return build_fail(asking, FLOW_ERROR_SHAPE, asking->source->op_at,
                              "parameter '%s': the tensor %s has more elements than "
                              "can be addressed",
                              row->name, extents_text(text, types[i].dtype, &types[i])),
                   0;
        }
    }
    asking->param_count = asking->infer->param_count = rows->count;
    return 0;
}

/* A row that the table leaves open is filled in; any other name is added
 * behind. */
static uint32_t place_for(const struct build_asking *asking, const char *name) {
    const struct flow_params *rows = &asking->op->params;
    for (uint32_t i = 0; i < asking->param_count; i++)
        if (strcmp(asking->params[i].name, name) == 0 && (i >= rows->count || !(rows->at[i].flags & FLOW_DECLARED))) return i;
    return asking->param_count;
}

int build_param_declare(struct flow_infer *infer, const char *name, int32_t dtype, int32_t rank, const int64_t *shape, const char *init,
                        uint32_t flags, uint32_t *index) {
    struct build_asking *asking = infer->owner;
    if (!asking) return FLOW_ERROR_USAGE;
    struct arena *arena = &asking->build->made->arena;
    uint32_t place = place_for(asking, name);
    struct flow_tensor type = {.dtype = dtype == FLOW_F32 ? asking->build->f32 : dtype, .rank = rank};
    char text[EXTENTS_TEXT];
    if (rank < 0 || rank > FLOW_RANK_MAX)
        return build_fail(asking, FLOW_ERROR_PLUGIN, asking->source->op_at, "parameter '%s' has rank %d", name, rank);
    for (int32_t i = 0; i < rank; i++) type.shape[i] = shape[i];
    if (!extents_contiguous(&type))
        return build_fail(asking, FLOW_ERROR_SHAPE, asking->source->op_at,
                          "parameter '%s': the tensor %s has more elements than can be addressed", name,
                          extents_text(text, type.dtype, &type));
    struct build_param param = {arena_text(&asking->build->scratch, name), arena_text(arena, init), flags};
    if (make_room(asking, place + 1) < 0 || !param.name || (init && !param.init)) {
        asking->no_memory = true;
        return FLOW_ERROR_MEMORY;
    }
    asking->params[place] = param;
    ((struct flow_tensor *)infer->param)[place] = type;
    if (place == asking->param_count) infer->param_count = ++asking->param_count;
    if (index) *index = place;
    return 0;
}

/* ---- Values ---- */

/* What the piece before computed for the same parameter need not be computed
 * again. */
static const char *init_before(const struct build *build, int32_t id, const char *name, const struct flow_tensor *type) {
    const struct instance *before = build->how->like;
    if (!before || (size_t)id >= before->value_count) return NULL;
    const struct instance_value *value = &before->values[id];
    return value->kind == VALUE_PARAM && strcmp(value->name, name) == 0 && extents_same(&value->type, type) ? value->init : NULL;
}

int build_param_named(struct build *build, int32_t index, const char *name, const struct flow_tensor *type, const char *init,
                      uint32_t flags, bool native, struct position at, int32_t *value) {
    const struct network_node *source = &build->network->nodes[index];
    int64_t known;
    if (!map_get(&build->params, name, &known)) {
        int32_t id = *value = build_value(build, VALUE_PARAM, name, type);
        if (id < 0 || map_set(&build->params, name, id) < 0) return FLOW_ERROR_MEMORY;
        struct instance_value *made = &build->made->values[id];
        made->init = init, made->flags = flags | (native ? 0u : BUILD_FOREIGN);
        made->seed = flow_key(build->seed, name);
        build->values[id] = (struct build_value){-1, index, native, native ? NULL : source->path, at, 0};
        return 0;
    }
    *value = (int32_t)known;
    struct instance_value *made = &build->made->values[known];
    struct build_value *note = &build->values[known];
    if (!extents_same(&made->type, type)) {
        char here[EXTENTS_TEXT], there[EXTENTS_TEXT];
        build_error(build, source, FLOW_ERROR_SHAPE, at, "parameter '%s' is %s here, but %s in node '%s'", name,
                    extents_text(here, type->dtype, type), extents_text(there, made->type.dtype, &made->type),
                    build->network->nodes[note->declared].path);
        *value = -1;
        return 0;
    }
    if (native && !note->native) {
        made->init = init, made->flags = flags;
        note->declared = index, note->native = true;
    }
    return 0;
}

static int tie_to_value(struct build_asking *asking, const struct network_tie *tie, const char *name, const struct flow_tensor *type,
                        int32_t *value) {
    struct build *build = asking->build;
    char wanted[EXTENTS_TEXT], found[EXTENTS_TEXT], port[80];
    bool missing;
    *value = build_ref(build, tie->value, &missing);
    if (*value < 0) {
        if (missing)
            build_fail(asking, FLOW_ERROR_GRAPH, tie->at, "node '%s' makes no output '%s' here",
                       build->network->nodes[tie->value.node].path, build_output_name(build->network, tie->value, port));
        asking->failed = true;
        return 0;
    }
    const struct flow_tensor *is = &build->made->values[*value].type;
    if (!extents_same(is, type))
        build_fail(asking, FLOW_ERROR_SHAPE, tie->at, "parameter '%s' must be %s, but the value it is tied to is %s", name,
                   extents_text(wanted, type->dtype, type), extents_text(found, is->dtype, is));
    return 0;
}

static int one_value(struct build_asking *asking, uint32_t i, int32_t *value) {
    struct build *build = asking->build;
    const struct build_param *param = &asking->params[i];
    const struct flow_tensor *type = &asking->infer->param[i];
    const struct network_tie *tie = find_tie(asking->source, param->name);
    const char *path = NULL, *init = NULL;
    bool native = tie == NULL;
    struct position at = tie ? tie->at : asking->source->op_at;
    int status = 0;
    if (tie) status = follow(build, param->name, &tie, &path);
    if (status < 0) return status;
    if (tie && !path) return tie_to_value(asking, tie, param->name, type, value);
    if (!path && !(path = build_join(&build->made->arena, asking->source->param_path, param->name))) return FLOW_ERROR_MEMORY;
    const char *before = init_before(build, (int32_t)build->made->value_count, path, type);
    if (before) {
        if (!(init = arena_text(&build->made->arena, before))) return FLOW_ERROR_MEMORY;
    } else {
        status = build_init(asking, param->name, param->init, &init);
        if (status < 0 || asking->failed) return status;
    }
    int32_t index = (int32_t)(asking->source - build->network->nodes);
    status = build_param_named(build, index, path, type, init, param->flags & (FLOW_NO_GRAD | FLOW_RUNNING), native, at, value);
    if (*value < 0) asking->failed = true;
    return status;
}

/* `tie` and `init` name parameters (or, init, states and ports) that exist.
 * Where the table has them all, that was checked before. */
static void check_names(struct build_asking *asking) {
    const struct network_node *source = asking->source;
    const struct flow_operator *op = asking->op;
    bool declares = false;
    for (uint32_t i = 0; i < op->params.count; i++) declares |= (op->params.at[i].flags & FLOW_DECLARED) != 0;
    if (!declares) return;
    for (size_t k = 0; k < source->tie_count + source->init_count; k++) {
        bool tie = k < source->tie_count, found = false;
        const char *name = tie ? source->ties[k].param : source->inits[k - source->tie_count].name;
        struct position at = tie ? source->ties[k].at : source->inits[k - source->tie_count].at;
        struct nearest nearest;
        if (!name) continue;
        nearest_init(&nearest, name);
        for (uint32_t i = 0; i < asking->param_count && !found; i++) {
            found = strcmp(asking->params[i].name, name) == 0;
            nearest_offer(&nearest, asking->params[i].name);
        }
        for (uint32_t i = 0; !tie && i < op->states.count && !found; i++) {
            found = strcmp(op->states.at[i].name, name) == 0;
            nearest_offer(&nearest, op->states.at[i].name);
        }
        for (uint32_t i = 0; !tie && i < op->inputs.count && !found; i++) found = strcmp(op->inputs.at[i].name, name) == 0;
        const char *near = nearest_name(&nearest);
        if (!found)
            build_fail(asking, FLOW_ERROR_GRAPH, at,
                       near ? "there is no parameter '%s' (did you mean '%s'?)" : "there is no parameter '%s'", name, near);
    }
}

int build_param_values(struct build_asking *asking, struct instance_node *node) {
    node->param_count = asking->param_count;
    if (asking->source->tie_count + asking->source->init_count) check_names(asking);
    if (!(node->param = arena_array(&asking->build->made->arena, asking->param_count, sizeof *node->param))) return FLOW_ERROR_MEMORY;
    for (uint32_t i = 0; i < asking->param_count; i++) {
        node->param[i] = -1;
        if (asking->infer->param[i].rank < 0 || asking->failed) continue;
        int status = one_value(asking, i, &node->param[i]);
        if (status < 0) return status;
    }
    return 0;
}

/* Every name that something is tied to must be the name of a parameter. A
 * body's names may be those of nodes outside. */
int build_ties_check(struct build *build) {
    enum { SUGGESTIONS = 20 }; /* each looks at all names */
    const struct instance *made = build->made;
    int told = 0;
    if (build->how->outer) return 0;
    for (size_t i = 0; i < build->network->node_count; i++)
        if (build->node_of[i] < 0) return 0; /* whatever is missing may have been its */
    for (size_t i = 0; i < made->value_count; i++) {
        const struct build_value *note = &build->values[i];
        if (made->values[i].kind != VALUE_PARAM || note->native) continue;
        struct nearest nearest;
        nearest_init(&nearest, made->values[i].name);
        for (size_t k = 0; k < made->value_count && told < SUGGESTIONS; k++)
            if (made->values[k].kind == VALUE_PARAM && build->values[k].native) nearest_offer(&nearest, made->values[k].name);
        const char *near = nearest_name(&nearest);
        told++;
        report_add(build->report, FLOW_ERROR_GRAPH, note->tied_at,
                   near ? "node '%s': there is no parameter '%s' to tie to (did "
                          "you mean '%s'?)"
                        : "node '%s': there is no parameter '%s' to tie to",
                   note->tied, made->values[i].name, near);
    }
    return 0;
}
