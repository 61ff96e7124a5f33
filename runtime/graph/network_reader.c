/* SPDX-License-Identifier: Apache-2.0 */
/* What the passes share: errors told once for each place, memory that remembers failure, limits, hints, checks of keys and names. */
#include "graph/network_private.h"

#include <stdio.h>
#include <string.h>

/* A subgraph used many times would tell its errors as often: the same words about the same place are told once. */
static bool told_before(struct reader *reader, struct position at, const char *words) {
    char *key = arena_format(&reader->scratch, "%s:%d:%d:%s", at.file ? at.file : "", at.line, at.column, words);
    if (!key) {
        reader_memory(reader);
        return true;
    }
    if (map_get(&reader->told, key, NULL)) return true;
    reader_set(reader, &reader->told, key, 1);
    return false;
}

static int fail(struct reader *reader, int code, struct position at, const char *format, va_list arguments) {
    char words[1024];
    if (reader->stopped || reader->quiet) return code;
    vsnprintf(words, sizeof words, format, arguments);
    if (told_before(reader, at, words)) return code;
    if (reader->node) report_add(reader->report, code, at, "node '%.300s': %s", reader->node, words);
    else report_add(reader->report, code, at, "%s", words);
    if (reader->report->incomplete) reader_memory(reader);
    if (reader->report->count - reader->errors >= REPORT_MOST) reader->stopped = true;
    return code;
}

int reader_fail(struct reader *reader, struct position at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(reader, FLOW_ERROR_GRAPH, at, format, arguments);
    va_end(arguments);
    return FLOW_ERROR_GRAPH;
}

int reader_fail_as(struct reader *reader, int code, struct position at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(reader, code, at, format, arguments);
    va_end(arguments);
    return code;
}

void reader_memory(struct reader *reader) {
    if (!reader->memory) report_memory(reader->report);
    reader->memory = reader->stopped = true;
}

void *reader_new(struct reader *reader, size_t count, size_t size) {
    void *block = reader->memory ? NULL : arena_array(reader->arena, count, size);
    if (!block) reader_memory(reader);
    return block;
}

void *reader_scratch(struct reader *reader, size_t count, size_t size) {
    void *block = reader->memory ? NULL : arena_array(&reader->scratch, count, size);
    if (!block) reader_memory(reader);
    return block;
}

char *reader_join(struct reader *reader, const char *prefix, const char *name) {
    size_t before = prefix ? strlen(prefix) : 0, length = strlen(name);
    char *joined = reader_new(reader, before + length + 2, 1);
    if (!joined) return NULL;
    if (prefix) {
        memcpy(joined, prefix, before);
        joined[before++] = '.';
    }
    memcpy(joined + before, name, length);
    return joined;
}

bool reader_set(struct reader *reader, struct map *map, const char *key, int64_t value) {
    if (map_set(map, key, value) == 0) return true;
    reader_memory(reader);
    return false;
}

bool reader_spend(struct reader *reader, struct position at, int64_t units) {
    if (reader->stopped) return false;
    if (__builtin_add_overflow(reader->work, units, &reader->work)) reader->work = INT64_MAX;
    if (reader->work <= WORK_MOST && reader->nodes <= NODES_MOST) return true;
    reader->quiet = 0;
    reader_fail(reader, at, "the graph is too large: %s",
                reader->nodes > NODES_MOST ? "its subgraphs, copied out, make more than 1000000 nodes" : "it repeats itself without end");
    reader->stopped = true;
    return false;
}

bool reader_grow(struct reader *reader, void **at, size_t *capacity, size_t need, size_t element) {
    if (memory_grow(reader->from, at, capacity, need, element) == 0) return true;
    reader_memory(reader);
    return false;
}

/* ---- Names that are near ---- */

void hint_init(struct reader *reader, struct hint *hint, const char *wanted) {
    hint->reader = reader, hint->length = strlen(wanted), hint->text[0] = 0;
    nearest_init(&hint->nearest, wanted);
}

void hint_offer(struct hint *hint, const char *name) {
    size_t length = strlen(name), wanted = hint->length;
    size_t apart = length > wanted ? length - wanted : wanted - length;
    if (length > 64 || wanted > 64 || apart > wanted / 3 + 1) return;
    if (hint->reader->nearest_work > NEAREST_WORK_MOST) return;
    hint->reader->nearest_work += (int64_t)((length + 1) * (wanted + 1));
    nearest_offer(&hint->nearest, name);
}

const char *hint_text(struct hint *hint) {
    /* Of one letter every other is one slip away. */
    const char *near = hint->nearest.best && hint->length > 1 ? nearest_name(&hint->nearest) : NULL;
    if (near) snprintf(hint->text, sizeof hint->text, " (did you mean '%s'?)", near);
    return hint->text;
}

/* ---- Checks ---- */

bool reader_keys(struct reader *reader, const struct document *mapping, const char *const *known, const char *what) {
    bool right = true;
    for (size_t i = 0; i < mapping->count && !reader->stopped; i++) {
        const char *key = mapping->keys[i]->text;
        bool found = false;
        for (const char *const *name = known; *name && !found; name++) found = strcmp(*name, key) == 0;
        if (found) continue;
        struct hint hint;
        hint_init(reader, &hint, key);
        for (const char *const *name = known; *name; name++) hint_offer(&hint, *name);
        reader_fail(reader, mapping->keys[i]->at, "unknown key '%.100s' in %s%s", key, what, hint_text(&hint));
        right = false;
    }
    return right;
}

bool reader_name(struct reader *reader, const char *name, struct position at, const char *what) {
    size_t length = strlen(name);
    if (length == 0 || length > NAME_MOST) {
        reader_fail(reader, at, "the name of %s has %s", what, length ? "more than 255 bytes" : "no letters");
        return false;
    }
    for (const char *c = name; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_' || *c == '-';
        if (letter || (unsigned char)*c >= 0x80) continue;
        reader_fail(reader, at, "'%.100s' cannot name %s: names are made of letters, digits, '_' and '-'", name, what);
        return false;
    }
    return true;
}

bool reader_attrs(struct reader *reader, const char *kind, const char *name, const struct flow_attrs *rows, const struct document *with,
                  const char *const *also, struct position at) {
    bool right = true;
    const char *meant = NULL; /* one misspelt attribute is one error, not a missing one besides */
    for (size_t i = 0; with && i < with->count && !reader->stopped; i++) {
        const char *key = with->keys[i]->text;
        bool known = false;
        struct hint hint;
        for (uint32_t k = 0; k < rows->count && !known; k++) known = strcmp(rows->at[k].name, key) == 0;
        for (const char *const *other = also; other && *other && !known; other++) known = strcmp(*other, key) == 0;
        if (known) continue;
        hint_init(reader, &hint, key);
        for (uint32_t k = 0; k < rows->count; k++) hint_offer(&hint, rows->at[k].name);
        for (const char *const *other = also; other && *other; other++) hint_offer(&hint, *other);
        reader_fail(reader, with->keys[i]->at, "%s '%s' has no attribute '%.100s'%s", kind, name, key, hint_text(&hint));
        if (hint.text[0]) meant = hint.nearest.best;
        right = false;
    }
    for (uint32_t k = 0; k < rows->count && !reader->stopped; k++) {
        const struct flow_attr *attr = &rows->at[k];
        if (attr->fallback || document_get(with, attr->name) || (meant && strcmp(meant, attr->name) == 0)) continue;
        reader_fail(reader, at, "%s '%s' needs the attribute '%s'%s%s", kind, name, attr->name, attr->summary ? ": " : "",
                    attr->summary ? attr->summary : "");
        right = false;
    }
    return right;
}

/* ---- Files ---- */

static bool collect_definitions(struct reader *reader, struct source *source) {
    static const char *const keys[] = {"doc", "vars", "inputs", "nodes", "outputs", "file", NULL};
    const struct document *graphs = document_get(source->root, "graphs");
    map_init(&source->graphs, &reader->scratch);
    if (!graphs) return true;
    if (graphs->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, graphs->at, "'graphs' is a mapping from names to subgraphs");
        return false;
    }
    source->definitions = reader_scratch(reader, graphs->count, sizeof *source->definitions);
    if (!source->definitions) return false;
    for (size_t i = 0; i < graphs->count && !reader->stopped; i++) {
        struct definition *definition = &source->definitions[source->definition_count];
        const struct document *body = graphs->values[i];
        *definition = (struct definition){.name = graphs->keys[i]->text, .source = source, .body = body, .at = graphs->keys[i]->at};
        if (!reader_name(reader, definition->name, definition->at, "a subgraph")) definition->broken = true;
        if (body->kind != DOCUMENT_MAPPING) {
            reader_fail(reader, body->at, "subgraph '%s' is a mapping with nodes and outputs, or {file: PATH}", definition->name);
            definition->broken = true;
        } else if (!reader_keys(reader, body, keys, "a subgraph")) {
            definition->broken = true;
        } else if (document_get(body, "file") && body->count > (document_get(body, "doc") ? 2u : 1u)) {
            reader_fail(reader, definition->at, "subgraph '%s' is either a file or written here, not both", definition->name);
            definition->broken = true;
        }
        if (!reader_set(reader, &source->graphs, definition->name, (int64_t)source->definition_count++)) return false;
    }
    return true;
}

static bool check_version(struct reader *reader, const struct document *root) {
    struct position start = {root->at.file, 1, 1};
    const struct document *version = document_get(root, "flow");
    int64_t number = 0;
    if (!version) reader_fail(reader, start, "no language version: a graph file begins with 'flow: 1'");
    else if (!document_int(version, &number) || number != 1)
        reader_fail(reader, version->at, "version %.20s of the language is not known: this is version 1",
                    version->text ? version->text : "?");
    return version && number == 1;
}

struct source *reader_source(struct reader *reader, const char *path, const struct document *root) {
    static const char *const keys[] = {"flow",    "name",    "doc",  "vars", "inputs", "graphs", "nodes",
                                       "outputs", "weights", "seed", "data", "train",  "run",    NULL};
    if (root->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, root->at, "a graph file is a mapping ('flow: 1', 'nodes: ..'), this one is %s",
                    root->kind == DOCUMENT_LIST ? "a list" : "one word");
        return NULL;
    }
    if (!check_version(reader, root)) return NULL;
    reader_keys(reader, root, keys, "a graph file");
    struct source *source = reader_scratch(reader, 1, sizeof *source);
    struct definition *self = reader_scratch(reader, 1, sizeof *self);
    if (!source || !self) return NULL;
    *source = (struct source){.path = path, .root = root, .self = self};
    *self = (struct definition){.name = path, .source = source, .body = root, .at = root->at};
    return collect_definitions(reader, source) ? source : NULL;
}
