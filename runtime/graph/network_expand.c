/* SPDX-License-Identifier: Apache-2.0 */
/* The first pass: every subgraph copied out, every node with its path and operator. References stay text. */
#include "graph/expression.h"
#include "graph/network_private.h"

#include <string.h>

struct unit *expand_unit(struct reader *reader) {
    struct unit *unit = reader_scratch(reader, 1, sizeof *unit);
    if (!unit) return NULL;
    unit->network = reader_new(reader, 1, sizeof *unit->network);
    if (!unit->network) return NULL;
    *reader->units_end = unit, reader->units_end = &unit->next;
    return unit;
}

static struct draft *draft_new(struct reader *reader, struct frame *frame, enum network_kind kind, const char *path, const char *param_path,
                               struct position at) {
    struct unit *unit = frame->unit;
    reader->nodes++;
    if (!reader_spend(reader, at, 1 + (int64_t)strlen(path) / 2)) return NULL;
    struct draft *draft = reader_scratch(reader, 1, sizeof *draft);
    if (!draft || !reader_grow(reader, (void **)&unit->drafts, &unit->capacity, unit->count + 1, sizeof(struct draft *))) return NULL;
    unit->drafts[unit->count++] = draft;
    draft->frame = frame;
    draft->node = (struct network_node){.kind = kind, .path = path, .param_path = param_path, .at = at, .op_at = at, .scope = frame->scope};
    draft->node.segment = frame->segment;
    draft->node.loop.index = draft->node.loop.until = -1, draft->node.loop.max = -1;
    return draft;
}

static struct item *item_new(struct reader *reader, struct frame *frame, enum item_kind kind, const char *name, struct position at) {
    struct item *item = &frame->items[frame->item_count];
    *item = (struct item){.kind = kind, .name = name, .at = at};
    return reader_set(reader, &frame->names, name, (int64_t)frame->item_count++) ? item : NULL;
}

/* ---- Inputs ---- */

static bool read_extent(struct reader *reader, const struct document *extent) {
    int64_t number;
    char why[200];
    if (extent->kind != DOCUMENT_SCALAR) {
        reader_fail(reader, extent->at, "an extent is a number, a symbol or an expression of symbols");
        return false;
    }
    if (document_int(extent, &number)) {
        if (number >= 0) return true;
        reader_fail(reader, extent->at, "an extent is at least 0, this is %s", extent->text);
        return false;
    }
    if (!strpbrk(extent->text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"))
        reader_fail(reader, extent->at, "'%.100s' is not an extent: a number, a symbol or an expression of symbols", extent->text);
    else if (expression_check(extent->text, strlen(extent->text), why, sizeof why) < 0)
        reader_fail(reader, extent->at, "'%.100s' is not an extent: %s", extent->text, why);
    else return true;
    return false;
}

static bool read_shape(struct reader *reader, const struct environment *environment, const struct document *shape, const char *name,
                       struct network_input *about) {
    const struct document *made = variables_put(reader, environment, shape);
    if (!made) return false;
    if (made->kind != DOCUMENT_LIST) {
        reader_fail(reader, made->at, "the shape of '%s' is a list of extents, such as [B, 80]", name);
        return false;
    }
    if (made->count > FLOW_RANK_MAX) {
        reader_fail(reader, made->at, "the shape of '%s' has %zu axes: %d are the most", name, made->count, FLOW_RANK_MAX);
        return false;
    }
    about->rank = (int32_t)made->count;
    about->extents = reader_new(reader, made->count, sizeof *about->extents);
    bool right = about->extents != NULL;
    for (size_t i = 0; about->extents && i < made->count; i++) {
        about->extents[i] = made->values[i];
        right = read_extent(reader, made->values[i]) && right;
    }
    return right;
}

static bool read_dtype(struct reader *reader, const struct environment *environment, const struct document *dtype, const char *name,
                       struct network_input *about) {
    about->dtype = FLOW_F32;
    if (!dtype) return true;
    const char *text = variables_text(reader, environment, dtype, "an element type");
    if (!text) return false;
    about->dtype_at = dtype->at, about->dtype = dtype_parse(text);
    if (about->dtype >= 0) return true;
    struct hint hint;
    hint_init(reader, &hint, text);
    for (int32_t i = 0; i < FLOW_TYPE_COUNT; i++) hint_offer(&hint, dtype_name(i));
    reader_fail(reader, dtype->at, "input '%s': no element type '%.100s'%s", name, text, hint_text(&hint));
    about->dtype = FLOW_F32;
    return false;
}

/* One input's signature. */
static bool read_input(struct reader *reader, struct frame *frame, const struct document *key, const struct document *value,
                       struct network_input *about) {
    static const char *const keys[] = {"dtype", "shape", "doc", NULL};
    const char *name = about->name;
    const struct document *shape = document_get(value, "shape"), *doc = document_get(value, "doc");
    about->at = about->dtype_at = key->at;
    if (value->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, value->at, "input '%s' is described by {dtype: f32, shape: [..]}", name);
        return false;
    }
    bool right = reader_keys(reader, value, keys, "an input");
    if (!shape && right) reader_fail(reader, key->at, "input '%s' has no shape", name);
    if (doc && doc->kind == DOCUMENT_SCALAR) about->doc = doc->text;
    right = read_dtype(reader, frame->environment, document_get(value, "dtype"), name, about) && right;
    return shape && read_shape(reader, frame->environment, shape, name, about) && right;
}

/* An input of a subgraph inside a network is a node of its own, where values enter and are checked. */
static bool place_input(struct reader *reader, struct frame *frame, size_t index) {
    struct frame_input *input = &frame->inputs[index];
    if (frame->root) {
        input->ref = (struct network_ref){NETWORK_INPUT, (int32_t)index};
        return true;
    }
    char *path = reader_join(reader, frame->path, input->about.name);
    struct draft *draft = path ? draft_new(reader, frame, NETWORK_ENTER, path, path, input->about.at) : NULL;
    if (!draft) return false;
    draft->node.input = &input->about;
    input->ref = (struct network_ref){(int32_t)frame->unit->count - 1, 0};
    return true;
}

static bool expand_inputs(struct reader *reader, struct frame *frame, const struct document *inputs) {
    if (!inputs) return true;
    frame->inputs = reader_new(reader, inputs->count, sizeof *frame->inputs);
    for (size_t i = 0; frame->inputs && i < inputs->count && !reader->stopped; i++) {
        const struct document *key = inputs->keys[i];
        const char *name = variables_key(reader, frame->environment, key);
        if (!name || !reader_name(reader, name, key->at, "an input")) continue;
        struct item *before = frame_item(frame, name);
        if (before) {
            reader_fail(reader, key->at, "input '%s' is given twice: the first is on line %d", name, before->at.line);
            continue;
        }
        struct frame_input *input = &frame->inputs[frame->input_count];
        input->about.name = name;
        if (!reader_spend(reader, key->at, inputs->values[i]->size)) return false;
        if (!read_input(reader, frame, key, inputs->values[i], &input->about)) reader->unsound = true;
        struct item *item = item_new(reader, frame, ITEM_INPUT, name, key->at);
        if (!item || !place_input(reader, frame, frame->input_count)) return false;
        item->input = (int32_t)frame->input_count++;
    }
    return !reader->stopped;
}

/* ---- Operators ---- */

static const struct registry_entry *find_operator(struct reader *reader, const char *name, struct position at) {
    int64_t index;
    if (map_get(&reader->operators, name, &index)) {
        if (reader->entries[index]) return reader->entries[index];
    }
    struct text why;
    text_init(&why, reader->from);
    const struct registry_entry *entry = registry_find(reader->registry, name, &why);
    if (why.failed) reader_memory(reader);
    else if (!entry) reader_fail(reader, at, "unknown operator '%.100s'%.600s", name, why.length ? why.at : "");
    text_free(&why);
    if (reader->stopped) return entry;
    if (reader_grow(reader, (void **)&reader->entries, &reader->entry_capacity, reader->entry_count + 1, sizeof(void *))) {
        reader->entries[reader->entry_count] = entry;
        reader_set(reader, &reader->operators, name, (int64_t)reader->entry_count++);
    }
    return entry;
}

static bool may_be_symbol(const struct document *value) {
    if (value->kind == DOCUMENT_SCALAR) return strpbrk(value->text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") != NULL;
    for (size_t i = 0; i < value->count; i++)
        if (may_be_symbol(value->values[i])) return true;
    return false;
}

/* The names of attributes; their values are parsed once shapes are known. */
static bool check_attrs(struct reader *reader, struct draft *draft, const struct flow_operator *op, const struct document *with) {
    for (uint32_t k = 0; with && k < op->attrs.count; k++) {
        const struct document *value = op->attrs.at[k].flags & FLOW_SYMBOLS ? document_get(with, op->attrs.at[k].name) : NULL;
        if (value && may_be_symbol(value)) draft->symbols = true;
    }
    return reader_attrs(reader, "operator", op->name, &op->attrs, with, NULL, draft->node.op_at);
}

static bool only_for_graphs(struct reader *reader, const struct document *node) {
    static const char *const keys[] = {"repeat", "share", "carry", "loop"};
    bool right = true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (document_get(node, keys[i])) {
            reader_fail(reader, document_get(node, keys[i])->at, "'%s' is for subgraphs (graph: ..), this is an operator", keys[i]);
            right = false;
        }
    return right;
}

static bool read_parameters(struct reader *reader, struct draft *draft, const struct document *with) {
    static const char *const keys[] = {"match", NULL};
    const struct document *match = document_get(with, "match");
    if (with && !reader_keys(reader, with, keys, "`with` of 'parameters'")) return false;
    if (!match || match->kind != DOCUMENT_SCALAR) {
        reader_fail(reader, match ? match->at : draft->node.op_at,
                    "operator 'parameters' needs 'match': a pattern of names, such as \"body.*\"");
        return false;
    }
    draft->node.kind = NETWORK_PARAMETERS, draft->node.match = match->text;
    return true;
}

/* `recompute: true`: a segment of its own, unless it lies within one. */
static int32_t read_segment(struct reader *reader, const struct frame *frame, const struct item *item, int32_t outer) {
    const struct document *recompute = document_get(item->doc, "recompute");
    const struct document *made = recompute ? variables_put(reader, frame->environment, recompute) : NULL;
    bool again = false;
    if (made && !document_bool(made, &again)) reader_fail(reader, made->at, "'recompute' is true or false");
    return outer || !again ? outer : ++reader->segments;
}

/* {op: gradient, in: {loss, of}}, or `with: {params: pattern}` in place of `of`. */
static bool read_gradient(struct reader *reader, struct draft *draft, const struct document *with) {
    static const char *const keys[] = {"params", NULL};
    const struct document *params = document_get(with, "params");
    draft->node.kind = NETWORK_GRADIENT;
    draft->entry = &gradient_entry;
    if (with && !reader_keys(reader, with, keys, "`with` of 'gradient'")) return false;
    if (params && params->kind != DOCUMENT_SCALAR) {
        reader_fail(reader, params->at, "'params' is a pattern of names, such as \"net.*\"");
        return false;
    }
    draft->node.match = params ? params->text : NULL;
    return true;
}

static const struct document *read_with(struct reader *reader, struct frame *frame, const struct document *node, bool *right) {
    const struct document *with = document_get(node, "with"), *made = with ? variables_put(reader, frame->environment, with) : NULL;
    if (made && document_null(made)) return NULL;
    if (made && made->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, made->at, "'with' is a mapping from names to values");
        made = NULL;
    }
    *right = !with || made;
    return made;
}

static void expand_operator(struct reader *reader, struct frame *frame, struct item *item, const char *param_path) {
    struct draft *draft = draft_new(reader, frame, NETWORK_OPERATOR, reader->node, param_path, item->at);
    if (!draft) return;
    draft->item = item;
    item->kind = ITEM_NODE, item->node = (int32_t)frame->unit->count - 1;
    draft->node.op_at = item->op->at;
    const char *name = variables_text(reader, frame->environment, item->op, "the name of an operator");
    const struct document *async = document_get(item->doc, "async");
    bool right = only_for_graphs(reader, item->doc), known = true;
    const struct document *with = read_with(reader, frame, item->doc, &known);
    draft->broken = true;
    if (async) reader_fail_as(reader, FLOW_ERROR_UNSUPPORTED, async->at, "'async' is not available yet in this version");
    if (!name) return;
    draft->node.with = with;
    draft->node.segment = read_segment(reader, frame, item, frame->segment);
    if (strcmp(name, "parameters") == 0) {
        right = read_parameters(reader, draft, with) && right;
    } else if (strcmp(name, "gradient") == 0) {
        right = read_gradient(reader, draft, with) && right;
    } else {
        draft->entry = find_operator(reader, name, item->op->at);
        if (!draft->entry || !known) return;
        right = check_attrs(reader, draft, draft->entry->op, with) && right;
    }
    draft->node.entry = draft->entry;
    draft->broken = !right || !known || async;
}

/* ---- Subgraphs ---- */

static struct definition *find_definition(struct reader *reader, struct frame *frame, struct item *item) {
    const char *name = variables_text(reader, frame->environment, item->op, "the name of a subgraph");
    struct source *source = frame->definition->source;
    int64_t index;
    if (!name) return NULL;
    if (!map_get(&source->graphs, name, &index)) {
        struct hint hint;
        hint_init(reader, &hint, name);
        for (size_t i = 0; i < source->definition_count; i++) hint_offer(&hint, source->definitions[i].name);
        reader_fail(reader, item->op->at, "no subgraph '%.100s' stands under 'graphs'%s", name, hint_text(&hint));
        return NULL;
    }
    struct definition *definition = &source->definitions[index];
    definition->used = true;
    return definition->broken ? NULL : definition;
}

/* One instance: the frame is entered into the unit and filled. NULL after an error. */
static struct frame *instance(struct reader *reader, struct frame *outer, struct item *item, struct definition *definition,
                              const struct document *with, const char *path, const char *param_path, const struct document *index,
                              struct unit *body) {
    struct frame *frame = reader_scratch(reader, 1, sizeof *frame);
    const struct document *file = document_get(definition->body, "file");
    const char *name = definition->name;
    if (!frame) return NULL;
    if (file) {
        struct source *source = reader_file(reader, definition);
        if (!source) return NULL;
        definition = source->self;
    }
    if (definition->open) {
        reader_fail(reader, item->op->at, "subgraph '%s' contains itself: use `loop` or `repeat` to do a thing many times", name);
        return NULL;
    }
    if (reader->nesting >= NESTING_MOST) {
        reader_fail(reader, item->op->at, "subgraphs are nested more than %d deep", NESTING_MOST);
        return NULL;
    }
    struct environment *environment =
        variables_new(reader, file ? NULL : outer->file_environment, index, document_get(definition->body, "vars"), with, name);
    if (!environment) return NULL;
    *frame = (struct frame){.unit = body ? body : outer->unit,
                            .definition = definition,
                            .environment = environment,
                            .path = path,
                            .param_path = param_path,
                            .at = item->at,
                            .graph = name,
                            .outer = body ? -1 : outer->scope,
                            .copy = (int32_t)item->copy_count,
                            .root = body != NULL};
    frame->file_environment = file ? environment : outer->file_environment;
    frame->segment = body ? 0 : read_segment(reader, outer, item, outer->segment);
    definition->open = true, reader->nesting++;
    const char *node = reader->node;
    bool right = expand_frame(reader, frame);
    reader->node = node;
    definition->open = false, reader->nesting--;
    return right ? frame : NULL;
}

static bool read_repeat(struct reader *reader, struct frame *frame, const struct document *node, int64_t *count, bool *share) {
    const struct document *repeat = document_get(node, "repeat"), *shared = document_get(node, "share");
    const struct document *made = repeat ? variables_put(reader, frame->environment, repeat) : NULL;
    *count = 1;
    if (repeat && !made) return false;
    if (repeat && (!document_int(made, count) || *count < 1)) {
        reader_fail(reader, repeat->at, "'repeat' is a number of copies, at least 1%s%.60s%s", made->text ? ": this is '" : "",
                    made->text ? made->text : "", made->text ? "'" : "");
        return false;
    }
    if (!shared) return true;
    const struct document *flag = variables_put(reader, frame->environment, shared);
    if (flag && !document_bool(flag, share)) reader_fail(reader, shared->at, "'share' is true or false");
    else if (flag && !repeat) reader_fail(reader, shared->at, "'share' is for copies made by `repeat`");
    else return flag != NULL;
    return false;
}

static bool expand_copies(struct reader *reader, struct frame *frame, struct item *item, struct definition *definition,
                          const struct document *with, const char *param_path) {
    int64_t count = 1;
    bool share = false;
    item->repeated = document_get(item->doc, "repeat") != NULL;
    if (!read_repeat(reader, frame, item->doc, &count, &share)) return false;
    if (document_get(item->doc, "carry") && !item->repeated) {
        reader_fail(reader, document_get(item->doc, "carry")->at, "'carry' is for copies made by `repeat`, or stands inside `loop`");
        return false;
    }
    if (!reader_spend(reader, item->at, count)) return false;
    item->copies = reader_scratch(reader, (size_t)count, sizeof(struct frame *));
    if (!item->copies) return false;
    for (int64_t i = 0; i < count && !reader->stopped; i++) {
        const struct document *index = item->repeated ? variables_number(reader, i, item->at) : frame->environment->index;
        const char *path = reader->node, *params = param_path;
        if (item->repeated) {
            if (!index) return false;
            path = reader_join(reader, path, index->text);
            if (!share) params = reader_join(reader, params, index->text);
            if (!path || !params) return false;
        }
        item->copies[i] = instance(reader, frame, item, definition, with, path, params, index, NULL);
        if (!item->copies[i]) return false;
        item->copy_count++;
    }
    for (size_t i = 0; item->repeated && i < item->copy_count; i++) item->copies[i]->copies = (int32_t)item->copy_count;
    return !reader->stopped;
}

static bool expand_loop(struct reader *reader, struct frame *frame, struct item *item, struct definition *definition,
                        const struct document *with, const char *param_path) {
    static const char *const keys[] = {"repeat", "share", "carry"};
    bool right = true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (document_get(item->doc, keys[i])) {
            reader_fail(reader, document_get(item->doc, keys[i])->at, "'%s' does not go with `loop`%s", keys[i],
                        i == 2 ? ": `carry` stands inside it" : "");
            right = false;
        }
    struct draft *draft = draft_new(reader, frame, NETWORK_LOOP, reader->node, param_path, item->at);
    if (!draft) return false;
    draft->item = item, draft->broken = !right;
    draft->node.op_at = item->op->at;
    item->node = (int32_t)frame->unit->count - 1;
    struct unit *unit = expand_unit(reader);
    item->copies = reader_scratch(reader, 1, sizeof(struct frame *));
    if (!unit || !item->copies) return false;
    unit->depth = frame->unit->depth + 1;
    draft->node.body = unit->network;
    unit->network->path = definition->source->path;
    item->copies[0] = draft->body =
        instance(reader, frame, item, definition, with, reader->node, param_path, frame->environment->index, unit);
    if (!item->copies[0]) {
        draft->broken = true;
        return false;
    }
    item->copy_count = 1, item->kind = ITEM_LOOP;
    return true;
}

static void expand_graph(struct reader *reader, struct frame *frame, struct item *item, const char *param_path) {
    struct definition *definition = find_definition(reader, frame, item);
    bool right = true;
    const struct document *with = read_with(reader, frame, item->doc, &right);
    const struct document *async = document_get(item->doc, "async");
    if (async) reader_fail_as(reader, FLOW_ERROR_UNSUPPORTED, async->at, "'async' is not available yet in this version");
    if (!definition || !right) return;
    if (document_get(item->doc, "loop")) expand_loop(reader, frame, item, definition, with, param_path);
    else if (expand_copies(reader, frame, item, definition, with, param_path)) item->kind = ITEM_GRAPH;
}

/* ---- Nodes ---- */

static bool expand_node(struct reader *reader, struct frame *frame, struct item *item) {
    static const char *const keys[] = {"op",    "graph", "in",   "with", "tie",   "state", "init",      "repeat",
                                       "share", "carry", "loop", "doc",  "async", "lag",   "recompute", NULL};
    const struct document *node = item->doc;
    char *path = reader_join(reader, frame->path, item->name), *param_path = reader_join(reader, frame->param_path, item->name);
    if (!path || !param_path) return false;
    reader->node = path;
    if (node->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, node->at, "a node is a mapping, such as {op: relu, in: x}");
        return true;
    }
    if (!reader_spend(reader, item->at, node->size)) return false;
    const struct document *op = document_get(node, "op"), *graph = document_get(node, "graph");
    bool right = reader_keys(reader, node, keys, "a node");
    item->op = op ? op : graph;
    if (op && graph) reader_fail(reader, graph->at, "a node has either 'op' or 'graph', not both");
    else if (op) expand_operator(reader, frame, item, param_path);
    else if (graph) expand_graph(reader, frame, item, param_path);
    else if (right) reader_fail(reader, item->at, "has neither 'op' nor 'graph'");
    if (!right && (item->kind == ITEM_NODE || item->kind == ITEM_LOOP)) {
        struct draft *draft = frame->unit->drafts[item->node];
        draft->broken = draft->keys_wrong = true;
    }
    return !reader->stopped;
}

static bool expand_nodes(struct reader *reader, struct frame *frame, const struct document *nodes) {
    for (size_t i = 0; nodes && i < nodes->count && !reader->stopped; i++) {
        const struct document *key = nodes->keys[i];
        reader->node = NULL;
        const char *name = variables_key(reader, frame->environment, key);
        if (!name || !reader_name(reader, name, key->at, "a node")) continue;
        struct item *before = frame_item(frame, name);
        if (before) {
            reader_fail(reader, key->at, "node '%s' is given twice: the first is %s line %d", name,
                        before->kind == ITEM_INPUT ? "an input, on" : "on", before->at.line);
            continue;
        }
        struct item *item = item_new(reader, frame, ITEM_BROKEN, name, key->at);
        if (!item) return false;
        item->doc = nodes->values[i];
        if (!expand_node(reader, frame, item)) return false;
    }
    reader->node = NULL;
    return !reader->stopped;
}

static bool expand_outputs(struct reader *reader, struct frame *frame, const struct document *outputs) {
    if (!outputs) return true;
    frame->outputs = reader_scratch(reader, outputs->count, sizeof *frame->outputs);
    for (size_t i = 0; frame->outputs && i < outputs->count && !reader->stopped; i++) {
        const struct document *key = outputs->keys[i], *value = outputs->values[i];
        if (!reader_spend(reader, key->at, 1)) return false;
        const char *name = variables_key(reader, frame->environment, key);
        if (!name) continue;
        if (map_get(&frame->output_names, name, NULL)) {
            reader_fail(reader, key->at, "output '%.100s' is given twice", name);
            continue;
        }
        if (strlen(name) > NAME_MOST || !*name) {
            reader_fail(reader, key->at, "the name of an output has %s", *name ? "more than 255 bytes" : "no letters");
            continue;
        }
        struct frame_output *output = &frame->outputs[frame->output_count];
        *output = (struct frame_output){.name = name, .at = value->at, .ref = {NETWORK_NOTHING, 0}};
        if (value->kind == DOCUMENT_SCALAR) output->value = variables_put(reader, frame->environment, value);
        else reader_fail(reader, value->at, "output '%s' is a reference: the name of a node, or NODE.PORT", name);
        if (!reader_set(reader, &frame->output_names, name, (int64_t)frame->output_count++)) return false;
    }
    return !reader->stopped;
}

static const struct document *section(struct reader *reader, const struct frame *frame, const char *name) {
    const struct document *value = document_get(frame->definition->body, name);
    if (!value || document_null(value)) return NULL;
    if (value->kind == DOCUMENT_MAPPING) return value;
    reader_fail(reader, value->at, "'%s' is a mapping", name);
    return NULL;
}

bool expand_frame(struct reader *reader, struct frame *frame) {
    struct unit *unit = frame->unit;
    reader->node = NULL;
    const struct document *inputs = section(reader, frame, "inputs"), *nodes = section(reader, frame, "nodes");
    const struct document *outputs = section(reader, frame, "outputs");
    frame->scope = unit->network->scope_count++;
    map_init(&frame->names, &reader->scratch);
    map_init(&frame->output_names, &reader->scratch);
    if (!reader_grow(reader, (void **)&unit->frames, &unit->frame_capacity, unit->frame_count + 1, sizeof(struct frame *))) return false;
    unit->frames[unit->frame_count++] = frame;
    frame->items = reader_scratch(reader, (inputs ? inputs->count : 0) + (nodes ? nodes->count : 0), sizeof *frame->items);
    if (!frame->items) return false;
    return expand_inputs(reader, frame, inputs) && expand_nodes(reader, frame, nodes) && expand_outputs(reader, frame, outputs);
}
