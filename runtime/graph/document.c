/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/document.h"

#include "base/text.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { FILE_MOST = 16 << 20, DEPTH_MOST = 64, SIZE_MOST = 1000000, DUPLICATES_BY_MAP = 16 };

/* Events come from libyaml one by one; the tree is built with a stack of open lists and mappings, never by recursion. Entries of an open
 * collection grow in a block of their own and move into the arena when it closes. */
struct open {
    struct document *node;
    struct document **entries; /* a mapping's keys and values by turns */
    size_t count, capacity;
};

struct builder {
    const struct allocator *from;
    struct arena *arena;
    struct report *report;
    const char *path;
    struct open stack[DEPTH_MOST];
    size_t depth;
    struct map anchors; /* name -> index into anchored */
    struct document **anchored;
    size_t anchored_count, anchored_capacity;
    struct document *root;
    int64_t nodes;
    int documents;
};

static struct position position_of(const struct builder *builder, yaml_mark_t mark) {
    return (struct position){builder->path, (int32_t)mark.line + 1, (int32_t)mark.column + 1};
}

/* ---- Building ---- */

static int check_duplicates(struct builder *builder, const struct document *mapping) {
    struct map seen;
    map_init(&seen, builder->arena);
    int result = 0;
    for (size_t i = 0; i < mapping->count; i++) {
        const char *key = mapping->keys[i]->text;
        int64_t before = -1;
        if (mapping->count > DUPLICATES_BY_MAP) {
            if (!map_get(&seen, key, &before) && map_set(&seen, key, (int64_t)i) < 0) return report_memory(builder->report);
        } else {
            for (size_t j = 0; j < i && before < 0; j++)
                if (strcmp(mapping->keys[j]->text, key) == 0) before = (int64_t)j;
        }
        if (before >= 0)
            result = report_add(builder->report, FLOW_ERROR_GRAPH, mapping->keys[i]->at, "'%s' is given twice: the first is on line %d",
                                key, mapping->keys[before]->at.line);
    }
    return result;
}

static int close_collection(struct builder *builder, struct open *open) {
    struct document *node = open->node;
    bool mapping = node->kind == DOCUMENT_MAPPING;
    size_t count = mapping ? open->count / 2 : open->count;
    int result = 0;
    node->count = count;
    node->values = arena_array(builder->arena, count, sizeof *node->values);
    if (mapping) node->keys = arena_array(builder->arena, count, sizeof *node->keys);
    if (!node->values || (mapping && !node->keys)) result = report_memory(builder->report);
    int64_t size = 1;
    for (size_t i = 0; i < count && result == 0; i++) {
        if (mapping) node->keys[i] = open->entries[2 * i], node->values[i] = open->entries[2 * i + 1];
        else node->values[i] = open->entries[i];
        size += node->values[i]->size + (mapping ? 1 : 0);
        node->varies |= node->values[i]->varies || (mapping && node->keys[i]->varies);
        if (size > SIZE_MOST)
            result = report_add(builder->report, FLOW_ERROR_GRAPH, node->at, "aliases repeat so much that more than %d values stand here",
                                SIZE_MOST);
    }
    node->size = (int32_t)size;
    memory_free(builder->from, open->entries, open->capacity * sizeof *open->entries);
    *open = (struct open){0};
    if (result == 0 && mapping) check_duplicates(builder, node); /* reported; the tree is whole all the same */
    return result;
}

/* Puts a finished or just opened node where it belongs. */
static int attach(struct builder *builder, struct document *node) {
    if (builder->depth == 0) {
        builder->root = node;
        return 0;
    }
    struct open *open = &builder->stack[builder->depth - 1];
    bool key = open->node->kind == DOCUMENT_MAPPING && open->count % 2 == 0;
    if (key && node->kind != DOCUMENT_SCALAR)
        return report_add(builder->report, FLOW_ERROR_GRAPH, node->at, "a key must be a word, not a list or mapping");
    if (memory_grow(builder->from, (void **)&open->entries, &open->capacity, open->count + 1, sizeof *open->entries) < 0)
        return report_memory(builder->report);
    open->entries[open->count++] = node;
    return 0;
}

static int anchor(struct builder *builder, const yaml_char_t *name, struct document *node) {
    if (!name) return 0;
    char *copy = arena_text(builder->arena, (const char *)name);
    if (!copy || memory_grow(builder->from, (void **)&builder->anchored, &builder->anchored_capacity, builder->anchored_count + 1,
                             sizeof *builder->anchored) < 0)
        return report_memory(builder->report);
    builder->anchored[builder->anchored_count] = node;
    if (map_set(&builder->anchors, copy, (int64_t)builder->anchored_count++) < 0) return report_memory(builder->report);
    return 0;
}

static struct document *node_new(struct builder *builder, enum document_kind kind, yaml_mark_t mark) {
    struct position at = position_of(builder, mark);
    if (++builder->nodes > SIZE_MOST) {
        report_add(builder->report, FLOW_ERROR_GRAPH, at, "the file holds more than %d values", SIZE_MOST);
        return NULL;
    }
    struct document *node = arena_new(builder->arena, sizeof *node);
    if (!node) {
        report_memory(builder->report);
        return NULL;
    }
    node->kind = kind, node->at = at, node->size = 1;
    return node;
}

/* Of tags only the core schema's are known: !!str makes text of anything. */
static int check_tag(struct builder *builder, const yaml_char_t *tag, struct document *node) {
    static const char core[] = "tag:yaml.org,2002:";
    if (!tag) return 0;
    const char *text = (const char *)tag;
    if (strcmp(text, "!") == 0) {
        node->quoted = true;
        return 0;
    }
    if (strncmp(text, core, sizeof core - 1) == 0) {
        const char *kind = text + sizeof core - 1;
        if (strcmp(kind, "str") == 0) node->quoted = true;
        if (strcmp(kind, "str") == 0 || strcmp(kind, "int") == 0 || strcmp(kind, "float") == 0 || strcmp(kind, "bool") == 0 ||
            strcmp(kind, "null") == 0 || strcmp(kind, "map") == 0 || strcmp(kind, "seq") == 0)
            return 0;
    }
    return report_add(builder->report, FLOW_ERROR_GRAPH, node->at, "tag '%.100s' has no meaning in a graph", text);
}

static int on_scalar(struct builder *builder, const yaml_event_t *event) {
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    struct document *node = node_new(builder, DOCUMENT_SCALAR, event->start_mark);
    if (!node) return -1;
    if (memchr(text, 0, length)) return report_add(builder->report, FLOW_ERROR_GRAPH, node->at, "a zero byte inside text");
    node->text = arena_text_n(builder->arena, text, length);
    if (!node->text) return report_memory(builder->report);
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->varies = strstr(node->text, "${") != NULL;
    if (check_tag(builder, event->data.scalar.tag, node) < 0 || attach(builder, node) < 0) return -1;
    return anchor(builder, event->data.scalar.anchor, node);
}

static int on_open(struct builder *builder, enum document_kind kind, const yaml_event_t *event, const yaml_char_t *name,
                   const yaml_char_t *tag) {
    struct document *node = node_new(builder, kind, event->start_mark);
    if (!node) return -1;
    if (builder->depth == DEPTH_MOST)
        return report_add(builder->report, FLOW_ERROR_GRAPH, node->at, "lists and mappings are nested more than %d deep", DEPTH_MOST);
    node->size = 0; /* open: an alias to it would be a circle */
    if (check_tag(builder, tag, node) < 0 || attach(builder, node) < 0 || anchor(builder, name, node) < 0) return -1;
    builder->stack[builder->depth++] = (struct open){.node = node};
    return 0;
}

static int on_alias(struct builder *builder, const yaml_event_t *event) {
    const char *name = (const char *)event->data.alias.anchor;
    struct position at = position_of(builder, event->start_mark);
    int64_t index;
    if (!map_get(&builder->anchors, name, &index)) {
        const char *near = map_nearest(&builder->anchors, name);
        return report_add(builder->report, FLOW_ERROR_GRAPH, at,
                          near ? "no anchor '&%.100s' stands before (did you mean '&%s'?)" : "no anchor '&%.100s' stands before", name,
                          near);
    }
    if (builder->anchored[index]->size == 0)
        return report_add(builder->report, FLOW_ERROR_GRAPH, at, "'*%.100s' stands inside what it names", name);
    if (++builder->nodes > SIZE_MOST)
        return report_add(builder->report, FLOW_ERROR_GRAPH, at, "the file holds more than %d values", SIZE_MOST);
    return attach(builder, builder->anchored[index]);
}

static int on_event(struct builder *builder, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (builder->documents++ == 0) return 0;
        return report_add(builder->report, FLOW_ERROR_GRAPH, position_of(builder, event->start_mark),
                          "a second document: a file holds one");
    case YAML_SCALAR_EVENT: return on_scalar(builder, event);
    case YAML_ALIAS_EVENT: return on_alias(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(builder, DOCUMENT_LIST, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return on_open(builder, DOCUMENT_MAPPING, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return close_collection(builder, &builder->stack[--builder->depth]);
    default: return 0;
    }
}

/* ---- Syntax errors ---- */

static bool tab_at(const char *text, size_t length, size_t line, size_t column) {
    const char *at = text, *end = text + length;
    for (; line && at; line--) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at) at++;
    }
    if (!at) return false;
    for (size_t i = 0; i <= column && at + i < end; i++) {
        if (at[i] == '\t') return true;
        if (at[i] != ' ') return false;
    }
    return false;
}

static int syntax_error(struct builder *builder, const yaml_parser_t *parser, const char *text, size_t length) {
    if (parser->error == YAML_MEMORY_ERROR) return report_memory(builder->report);
    const char *problem = parser->problem ? parser->problem : "not YAML";
    if (parser->error == YAML_READER_ERROR) {
        size_t line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < length; i++) line += text[i] == '\n';
        return report_add(builder->report, FLOW_ERROR_GRAPH, (struct position){builder->path, (int32_t)line, 0}, "not text: %s (byte %zu)",
                          problem, parser->problem_offset);
    }
    struct position at = position_of(builder, parser->problem_mark);
    if (tab_at(text, length, parser->problem_mark.line, parser->problem_mark.column))
        return report_add(builder->report, FLOW_ERROR_GRAPH, at, "a tab indents this line: YAML takes spaces alone");
    if (parser->context)
        return report_add(builder->report, FLOW_ERROR_GRAPH, at, "not YAML: %s, %s that began on line %zu", problem, parser->context,
                          parser->context_mark.line + 1);
    return report_add(builder->report, FLOW_ERROR_GRAPH, at, "not YAML: %s", problem);
}

static int parse(struct builder *builder, const char *text, size_t length) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return report_memory(builder->report);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    int result = 0;
    for (bool end = false; !end && result == 0;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            result = syntax_error(builder, &parser, text, length);
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        result = on_event(builder, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return result;
}

/* ---- Files ---- */

/* The whole file; *text is from the allocator, *capacity bytes. */
static int read_file(const struct allocator *from, const char *path, char **text, size_t *length, size_t *capacity, struct report *report) {
    struct position at = {path, 0, 0};
    FILE *file = fopen(path, "rb");
    if (!file) return report_add(report, FLOW_ERROR_IO, at, "cannot be opened: %s", strerror(errno));
    int result = 0;
    for (bool end = false; !end && result == 0;) {
        if (memory_grow(from, (void **)text, capacity, *length + 65536, 1) < 0) {
            result = report_memory(report);
            break;
        }
        size_t got = fread(*text + *length, 1, *capacity - *length, file);
        *length += got, end = got == 0;
        if (*length > FILE_MOST) result = report_add(report, FLOW_ERROR_IO, at, "is larger than %d MiB", FILE_MOST >> 20);
        else if (end && ferror(file)) result = report_add(report, FLOW_ERROR_IO, at, "cannot be read: %s", strerror(errno));
    }
    fclose(file);
    return result;
}

struct document *document_read(struct arena *arena, const char *path, const char *text, size_t length, struct report *report) {
    char *bytes = NULL;
    size_t read = 0, capacity = 0;
    int32_t errors = report->count;
    struct builder builder = {.from = arena->from, .arena = arena, .report = report};
    map_init(&builder.anchors, arena);
    builder.path = arena_text(arena, path);
    if (!builder.path) report_memory(report);
    else if (!text && read_file(arena->from, path, &bytes, &read, &capacity, report) == 0) text = bytes, length = read;
    if (report->count != errors || !text) goto done;
    struct position start = {builder.path, 1, 1};
    if (length > FILE_MOST) report_add(report, FLOW_ERROR_IO, start, "is larger than %d MiB", FILE_MOST >> 20);
    else if (parse(&builder, text, length) == 0 && !builder.root) report_add(report, FLOW_ERROR_GRAPH, start, "the file is empty");
done:
    for (size_t i = 0; i < builder.depth; i++)
        memory_free(arena->from, builder.stack[i].entries, builder.stack[i].capacity * sizeof *builder.stack[i].entries);
    memory_free(arena->from, builder.anchored, builder.anchored_capacity * sizeof *builder.anchored);
    memory_free(arena->from, bytes, capacity);
    return report->count == errors ? builder.root : NULL;
}

struct document *document_get(const struct document *mapping, const char *key) {
    if (!mapping || mapping->kind != DOCUMENT_MAPPING) return NULL;
    for (size_t i = 0; i < mapping->count; i++)
        if (strcmp(mapping->keys[i]->text, key) == 0) return mapping->values[i];
    return NULL;
}

/* ---- Scalars of the core schema ---- */

static bool plain(const struct document *scalar) { return scalar && scalar->kind == DOCUMENT_SCALAR && !scalar->quoted; }

static size_t digits(const char *text) { return strspn(text, "0123456789"); }

bool document_int(const struct document *scalar, int64_t *value) {
    if (!plain(scalar)) return false;
    const char *text = scalar->text;
    int base = 10;
    if (text[0] == '0' && text[1] == 'x') base = 16;
    else if (text[0] == '0' && text[1] == 'o') base = 8;
    const char *first = base == 10 ? text + (*text == '-' || *text == '+') : text + 2;
    const char *set = base == 16 ? "0123456789abcdefABCDEF" : base == 8 ? "01234567" : "0123456789";
    if (!*first || first[strspn(first, set)]) return false;
    errno = 0;
    long long parsed = strtoll(base == 10 ? text : first, NULL, base);
    if (errno == ERANGE) return false;
    *value = parsed;
    return true;
}

static bool one_of(const char *text, const char *a, const char *b, const char *c) {
    return strcmp(text, a) == 0 || strcmp(text, b) == 0 || strcmp(text, c) == 0;
}

bool document_real(const struct document *scalar, double *value) {
    int64_t whole;
    if (document_int(scalar, &whole)) {
        *value = (double)whole;
        return true;
    }
    if (!plain(scalar)) return false;
    const char *text = scalar->text, *at = text + (*text == '-' || *text == '+');
    if (one_of(at, ".inf", ".Inf", ".INF")) {
        *value = *text == '-' ? -__builtin_inf() : __builtin_inf();
        return true;
    }
    if (one_of(text, ".nan", ".NaN", ".NAN")) {
        *value = __builtin_nan("");
        return true;
    }
    size_t before = digits(at), after = 0;
    at += before;
    if (*at == '.') after = digits(++at), at += after;
    if (before + after == 0) return false;
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '-' || *at == '+';
        if (!digits(at)) return false;
        at += digits(at);
    }
    if (*at) return false;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* a decimal point whatever the program's locale */
    if (!c) return false;
    *value = strtod_l(text, NULL, c);
    freelocale(c);
    return true;
}

bool document_bool(const struct document *scalar, bool *value) {
    if (!plain(scalar)) return false;
    bool yes = one_of(scalar->text, "true", "True", "TRUE");
    if (!yes && !one_of(scalar->text, "false", "False", "FALSE")) return false;
    *value = yes;
    return true;
}

bool document_null(const struct document *scalar) {
    return plain(scalar) && (one_of(scalar->text, "null", "Null", "NULL") || strcmp(scalar->text, "~") == 0 || !*scalar->text);
}
