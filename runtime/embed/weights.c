/* SPDX-License-Identifier: Apache-2.0 */
/* Files of weights: their tensors under the names that the graph gives them (`weights: {file, rename}`), and files in several parts. */
#include "embed/embed.h"
#include "graph/document.h"

#include <string.h>

/* ---- Names ---- */

enum { CAPTURES = 16 };

struct capture {
    const char *at;
    size_t length;
};

/* Fits `name` to `pattern`; each * takes as little as it can. The number of captures, or -1. Linear: a piece between two * is looked for
 * once, behind the one before it. */
static int fit(const char *pattern, const char *name, struct capture *captures) {
    const char *star = strchr(pattern, '*');
    size_t head = star ? (size_t)(star - pattern) : strlen(pattern);
    int count = 0;
    if (strncmp(pattern, name, head) != 0) return -1;
    if (!star) return name[head] ? -1 : 0;
    name += head;
    for (;;) {
        const char *piece = star + 1, *next = strchr(piece, '*'), *found = NULL;
        size_t length = next ? (size_t)(next - piece) : strlen(piece), left = strlen(name);
        if (left < length) return -1;
        if (!next) found = strcmp(name + left - length, piece) == 0 ? name + left - length : NULL;
        else found = memmem(name, left, piece, length);
        if (!found) return -1;
        if (count < CAPTURES) captures[count++] = (struct capture){name, (size_t)(found - name)};
        if (!next) return count;
        name = found + length, star = next;
    }
}

/* `to` with the k-th * replaced by the k-th capture. NULL where there is no memory. */
static const char *filled(struct arena *arena, const char *to, const struct capture *captures, int count) {
    const char *made = "";
    for (int k = 0; made; k++) {
        const char *star = strchr(to, '*');
        if (!star || k >= count) return arena_format(arena, "%s%s", made, to);
        made = arena_format(arena, "%s%.*s%.*s", made, (int)(star - to), to, (int)captures[k].length, captures[k].at);
        to = star + 1;
    }
    return NULL;
}

struct taking {
    flow_graph *graph;
    struct report *report;
    struct map taken; /* name in the graph -> 1 + index into sources */
    const char **sources;
    size_t count, room;
    bool *used; /* of each rename */
    bool strict;
};

/* What the graph calls the tensor that the file calls `name`: the first rename whose pattern fits says. */
static const char *renamed(struct taking *t, const char *name, const struct network_rename **by) {
    const struct network *network = t->graph->network;
    struct capture captures[CAPTURES];
    *by = NULL;
    for (size_t i = 0; i < network->rename_count; i++) {
        int count = fit(network->renames[i].from, name, captures);
        if (count < 0) continue;
        t->used[i] = true, *by = &network->renames[i];
        return filled(&t->graph->network->arena, network->renames[i].to, captures, count);
    }
    return name;
}

static int remember(struct taking *t, const char *name, const char *source, const struct network_rename *by) {
    struct arena *arena = &t->graph->network->arena;
    int64_t before;
    if (map_get(&t->taken, name, &before))
        return report_add(t->report, FLOW_ERROR_GRAPH, by ? by->at : t->graph->network->weights_at,
                          "rename: '%s' and '%s' of the file both become '%s'", t->sources[before - 1], source, name);
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 64;
        const char **grown = arena_array(arena, room, sizeof *grown);
        if (!grown) return FLOW_ERROR_MEMORY;
        if (t->count) memcpy(grown, t->sources, t->count * sizeof *grown);
        t->sources = grown, t->room = room;
    }
    t->sources[t->count++] = source;
    return map_set(&t->taken, name, (int64_t)t->count);
}

/* A name that says which node is meant, where no such node is there: a slip that would leave its weights at their initial values. Nodes of
 * loops have networks of their own: where there are any, nothing is judged. */
static int check_node(struct taking *t, const char *name, const struct network_rename *by) {
    const struct network *network = t->graph->network;
    const char *dot = strrchr(name, '.');
    struct arena *arena = &t->graph->network->arena;
    if (!dot) return report_add(t->report, FLOW_ERROR_GRAPH, by->at, "rename: '%s' is no parameter: NODE.PARAM is expected", name);
    char *path = arena_text_n(arena, name, (size_t)(dot - name));
    if (!path) return FLOW_ERROR_MEMORY;
    struct nearest nearest;
    nearest_init(&nearest, path);
    for (size_t i = 0; i < network->node_count; i++) {
        const struct network_node *node = &network->nodes[i];
        const char *prefix = node->param_path ? node->param_path : node->path;
        if (node->body || !prefix || strcmp(prefix, path) == 0 || strcmp(node->path, path) == 0) return 0;
        nearest_offer(&nearest, prefix);
    }
    const char *best = nearest_name(&nearest);
    return report_add(t->report, FLOW_ERROR_GRAPH, by->at, "rename: it gives '%s', and the graph has no node '%s'%s%s%s", name, path,
                      best ? " (did you mean '" : "", best ? best : "", best ? "'?)" : "");
}

/* The file's names with every number as *, which is how patterns are written. */
static const char *starred(struct arena *arena, const char *name) {
    char *made = arena_text(arena, name), *to = made;
    for (const char *at = made; made && *at;) {
        bool digit = *at >= '0' && *at <= '9';
        if (digit && (at == made || at[-1] == '.')) {
            const char *end = at;
            while (*end >= '0' && *end <= '9') end++;
            if (*end == '.' || !*end) {
                *to++ = '*', at = end;
                continue;
            }
        }
        *to++ = *at++;
    }
    if (made) *to = 0;
    return made;
}

static int check_used(struct taking *t) {
    const struct network *network = t->graph->network;
    struct arena *arena = &t->graph->network->arena;
    int status = 0;
    for (size_t i = 0; i < network->rename_count; i++) {
        if (t->used[i]) continue;
        struct nearest nearest;
        nearest_init(&nearest, network->renames[i].from);
        for (size_t k = 0; k < t->count; k++) {
            const char *pattern = starred(arena, t->sources[k]);
            if (!pattern) return FLOW_ERROR_MEMORY;
            nearest_offer(&nearest, t->sources[k]);
            nearest_offer(&nearest, pattern);
        }
        const char *best = nearest_name(&nearest);
        status = report_add(t->report, FLOW_ERROR_GRAPH, network->renames[i].at,
                            "rename: no tensor of the file that no pattern above takes is called '%s'%s%s%s", network->renames[i].from,
                            best ? " (did you mean '" : "", best ? best : "", best ? "'?)" : "");
    }
    return status;
}

static void release_file(void *file) { tensor_file_close(file); }

/* Parameters lie in the file's bytes: it goes when the model does. */
static int take_file(struct taking *t, struct tensor_file *file) {
    int status = 0;
    model_keep(t->graph->model, file, release_file);
    for (size_t i = 0; i < file->count; i++) {
        const struct network_rename *by;
        const struct tensor_entry *entry = &file->entries[i];
        const char *name = renamed(t, entry->name, &by);
        if (!name) return FLOW_ERROR_MEMORY;
        int rc = remember(t, name, entry->name, by);
        if (rc == 0 && by && t->strict) rc = check_node(t, name, by);
        if (rc == 0) rc = model_set(t->graph->model, name, &entry->tensor, true);
        if (rc == FLOW_ERROR_MEMORY) return rc;
        if (rc < 0) status = rc;
    }
    return status;
}

static int begin(struct taking *t, flow_graph *graph, bool strict, struct report *report) {
    struct arena *arena = &graph->network->arena;
    *t = (struct taking){.graph = graph, .report = report, .strict = strict};
    map_init(&t->taken, arena);
    t->used = arena_array(arena, graph->network->rename_count + 1, sizeof *t->used);
    if (!t->used) return FLOW_ERROR_MEMORY;
    memset(t->used, 0, (graph->network->rename_count + 1) * sizeof *t->used);
    return 0;
}

/* ---- Files ---- */

/* NAME.safetensors.index.json: {"weight_map": {"tensor": "part.safetensors"}}, the parts in the same folder. JSON is YAML. */
static int take_parts(struct taking *t, const char *path) {
    struct arena *arena = &t->graph->network->arena;
    int rc = 0;
    const struct document *index = document_read(arena, path, NULL, 0, t->report);
    if (!index) return t->report->count ? FLOW_ERROR_FORMAT : FLOW_ERROR_MEMORY;
    const struct document *parts = document_get(index, "weight_map");
    const char *slash = strrchr(path, '/');
    struct map opened;
    map_init(&opened, arena);
    if (!parts || parts->kind != DOCUMENT_MAPPING)
        return report_add(t->report, FLOW_ERROR_FORMAT, index->at, "an index of weights has a mapping 'weight_map' from tensors to files");
    for (size_t i = 0; i < parts->count; i++) {
        const struct document *part = parts->values[i];
        int64_t before;
        if (part->kind != DOCUMENT_SCALAR || !*part->text || strchr(part->text, '/'))
            return report_add(t->report, FLOW_ERROR_FORMAT, part->at, "the name of a file in the index's own folder is expected");
        if (map_get(&opened, part->text, &before)) continue;
        if (map_set(&opened, part->text, 1) < 0) return FLOW_ERROR_MEMORY;
        const char *name = arena_format(arena, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, part->text);
        struct tensor_file *file;
        if (!name) return FLOW_ERROR_MEMORY;
        if ((rc = tensor_file_open(&t->graph->runtime->from, name, t->report, &file)) < 0) return rc;
        if ((rc = take_file(t, file)) < 0) return rc;
    }
    return 0;
}

static bool is_index(const char *path) {
    size_t length = strlen(path);
    return length > 5 && strcmp(path + length - 5, ".json") == 0;
}

int weights_take(flow_graph *graph, const char *path, bool strict, struct report *report) {
    struct taking t;
    struct tensor_file *file = NULL;
    int rc = begin(&t, graph, strict, report);
    if (rc == 0 && is_index(path)) rc = take_parts(&t, path);
    else if (rc == 0 && (rc = tensor_file_open(&graph->runtime->from, path, report, &file)) == 0) rc = take_file(&t, file);
    if (rc == 0 && strict) rc = check_used(&t);
    return rc == FLOW_ERROR_MEMORY ? report_memory(report) : rc;
}

int weights_take_image(flow_graph *graph, struct tensor_file *file, struct report *report) {
    struct taking t;
    int rc = begin(&t, graph, false, report);
    if (rc < 0) tensor_file_close(file);
    else rc = take_file(&t, file);
    return rc == FLOW_ERROR_MEMORY ? report_memory(report) : rc;
}
