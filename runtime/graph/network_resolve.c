/* SPDX-License-Identifier: Apache-2.0 */
/* The second pass: references become indices. */
#include "graph/network_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct network_ref nothing = {NETWORK_NOTHING, 0};

struct item *frame_item(const struct frame *frame, const char *name) {
    int64_t index;
    return map_get(&frame->names, name, &index) ? &frame->items[index] : NULL;
}

struct item *frame_item_n(const struct frame *frame, const char *name, size_t length) {
    char copy[NAME_MOST + 1];
    if (length > NAME_MOST) return NULL;
    memcpy(copy, name, length);
    copy[length] = 0;
    return frame_item(frame, copy);
}

/* ---- References ---- */

/* "y12" of the variadic row "y": 12; -1 when it is none. */
static int32_t variadic_number(const char *row, const char *name) {
    size_t length = strlen(row);
    if (strncmp(row, name, length) != 0) return -1;
    const char *digits = name + length;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 6 || digits[count] || (count > 1 && *digits == '0')) return -1;
    return (int32_t)strtol(digits, NULL, 10);
}

bool operator_output(const struct registry_entry *entry, const char *name, int32_t *output) {
    const struct flow_ports *rows = &entry->op->outputs;
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct flow_port *row = &rows->at[i];
        int32_t number = row->flags & FLOW_VARIADIC ? variadic_number(row->name, name) : strcmp(row->name, name) == 0 ? 0 : -1;
        if (number < 0) continue;
        *output = (int32_t)i + number;
        return true;
    }
    return false;
}

/* " (it has y, state)" for a message. */
static const char *list_ports(const struct flow_ports *rows, char *text, size_t size) {
    size_t length = 0;
    text[0] = 0;
    if (rows->count == 0 || rows->count > 12) return text;
    for (uint32_t i = 0; i < rows->count && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s%s", i ? ", " : " (it has ", rows->at[i].name,
                                   rows->at[i].flags & FLOW_VARIADIC ? "0, .." : "");
    if (length < size) snprintf(text + length, size - length, ")");
    return text;
}

static struct network_ref operator_value(struct reader *reader, struct frame *frame, struct item *item, const char *port,
                                         struct position at) {
    struct draft *draft = frame->unit->drafts[item->node];
    struct network_ref ref = {item->node, 0};
    if (!draft->entry) { /* unknown and told so, or `parameters`, which gives y */
        if (draft->node.kind != NETWORK_PARAMETERS || !port || strcmp(port, "y") == 0) return ref;
        reader_fail(reader, at, "operator 'parameters' has no output '%.100s' (it has y)", port);
        return nothing;
    }
    const struct flow_operator *op = draft->entry->op;
    if (!port && op->outputs.count) return ref;
    if (!port) {
        reader_fail(reader, at, "operator '%s' has no outputs", op->name);
        return nothing;
    }
    if (operator_output(draft->entry, port, &ref.output)) return ref;
    char ports[300];
    struct hint hint;
    hint_init(reader, &hint, port);
    for (uint32_t i = 0; i < op->outputs.count; i++)
        if (!(op->outputs.at[i].flags & FLOW_VARIADIC)) hint_offer(&hint, op->outputs.at[i].name);
    const char *near = hint_text(&hint);
    reader_fail(reader, at, "operator '%s' has no output '%.100s'%s", op->name, port,
                *near ? near : list_ports(&op->outputs, ports, sizeof ports));
    return nothing;
}

static const char *graph_name(const struct item *item) { return item->copies[0]->definition->name; }

static struct network_ref no_output(struct reader *reader, struct item *item, const char *port, struct position at) {
    const struct frame *frame = item->copies[0];
    struct hint hint;
    if (!port) {
        reader_fail(reader, at, "subgraph '%.100s' has no outputs", graph_name(item));
        return nothing;
    }
    hint_init(reader, &hint, port);
    for (size_t i = 0; i < frame->output_count; i++) hint_offer(&hint, frame->outputs[i].name);
    reader_fail(reader, at, "subgraph '%.100s' has no output '%.100s'%s", graph_name(item), port, hint_text(&hint));
    return nothing;
}

static struct network_ref graph_value(struct reader *reader, struct item *item, const char *port, struct position at) {
    struct frame *last = item->copies[item->copy_count - 1];
    int64_t index = 0;
    if (!port && last->output_count) return resolve_output(reader, last, 0);
    if (port && map_get(&last->output_names, port, &index)) return resolve_output(reader, last, (size_t)index);
    size_t digits = port ? strspn(port, "0123456789") : 0;
    if (item->repeated && digits && digits < 8 && (port[digits] == 0 || port[digits] == '.')) {
        long number = strtol(port, NULL, 10);
        if ((size_t)number < item->copy_count) {
            struct item copy = *item;
            copy.copies = &item->copies[number], copy.copy_count = 1, copy.repeated = false;
            return graph_value(reader, &copy, port[digits] ? port + digits + 1 : NULL, at);
        }
        reader_fail(reader, at, "'%s' has the copies 0 to %zu, not %ld", item->name, item->copy_count - 1, number);
        return nothing;
    }
    return no_output(reader, item, port, at);
}

static struct network_ref loop_value(struct reader *reader, struct item *item, const char *port, struct position at) {
    struct frame *body = item->copies[0];
    int64_t index = 0;
    if (port && strcmp(port, "count") == 0) return (struct network_ref){item->node, (int32_t)body->output_count};
    if (port ? !map_get(&body->output_names, port, &index) : body->output_count == 0) return no_output(reader, item, port, at);
    return (struct network_ref){item->node, (int32_t)index};
}

/* An item's value, or the one of its output `port`. */
static struct network_ref item_value(struct reader *reader, struct frame *frame, struct item *item, const char *port, struct position at) {
    switch (item->kind) {
    case ITEM_INPUT:
        if (!port) return frame->inputs[item->input].ref;
        reader_fail(reader, at, "'%s' is an input: it has no output '%.100s'", item->name, port);
        return nothing;
    case ITEM_NODE: return operator_value(reader, frame, item, port, at);
    case ITEM_GRAPH: return graph_value(reader, item, port, at);
    case ITEM_LOOP: return loop_value(reader, item, port, at);
    default: return nothing;
    }
}

static struct network_ref unknown_reference(struct reader *reader, struct frame *frame, const char *text, struct position at) {
    char head[NAME_MOST + 1];
    size_t length = strcspn(text, ".");
    if (length > NAME_MOST) length = NAME_MOST;
    memcpy(head, text, length);
    head[length] = 0;
    struct hint hint;
    hint_init(reader, &hint, head);
    for (size_t i = 0; i < frame->item_count; i++) hint_offer(&hint, frame->items[i].name);
    if (!*text) reader_fail(reader, at, "a reference is missing");
    else if (frame->path)
        reader_fail(reader, at, "no node or input '%s' in subgraph '%.100s'%s", head, frame->definition->name, hint_text(&hint));
    else reader_fail(reader, at, "no node or input '%s'%s", head, hint_text(&hint));
    return nothing;
}

struct network_ref resolve_reference(struct reader *reader, struct frame *frame, const char *text, struct position at) {
    const char *dot = strchr(text, '.');
    struct item *item = dot ? frame_item_n(frame, text, (size_t)(dot - text)) : frame_item(frame, text);
    if (!item) return unknown_reference(reader, frame, text, at);
    return item_value(reader, frame, item, dot ? dot + 1 : NULL, at);
}

/* Goes down only: an output names a node of its own frame, or an output of a frame inside that. */
struct network_ref resolve_output(struct reader *reader, struct frame *frame, size_t index) {
    struct frame_output *output = &frame->outputs[index];
    if (output->resolved) return output->ref;
    output->resolved = true;
    if (!output->value) return output->ref;
    const char *node = reader->node;
    reader->node = NULL;
    output->ref = resolve_reference(reader, frame, output->value->text, output->at);
    reader->node = node;
    return output->ref;
}

/* ---- What a node is fed with ---- */

static size_t port_count(const struct ports *ports) { return ports->frame ? ports->frame->input_count : ports->op->inputs.count; }

static const char *port_name(const struct ports *ports, size_t port) {
    return ports->frame ? ports->frame->inputs[port].about.name : ports->op->inputs.at[port].name;
}

static bool port_variadic(const struct ports *ports, size_t port) {
    return !ports->frame && (ports->op->inputs.at[port].flags & FLOW_VARIADIC);
}

static const char *ports_kind(const struct ports *ports) { return ports->frame ? "subgraph" : "operator"; }
static const char *ports_owner(const struct ports *ports) { return ports->frame ? ports->frame->definition->name : ports->op->name; }

static void feed_add(struct reader *reader, struct ports *ports, int32_t port, const struct document *value, bool delayed) {
    if (value->kind != DOCUMENT_SCALAR || document_null(value)) {
        reader_fail(reader, value->at, "a reference is expected here: the name of a node or input, or NODE.PORT");
        ports->broken = true;
        return;
    }
    if (ports->fed[port] && !port_variadic(ports, (size_t)port)) {
        reader_fail(reader, value->at, "input '%s' is fed twice", port_name(ports, (size_t)port));
        ports->broken = true;
        return;
    }
    ports->fed[port]++;
    ports->feeds[ports->feed_count++] = (struct feed){port, value, resolve_reference(reader, ports->from, value->text, value->at), delayed};
    if (ports->feeds[ports->feed_count - 1].ref.node == NETWORK_NOTHING) ports->broken = true;
}

static int32_t find_port(struct reader *reader, struct ports *ports, const struct document *key) {
    char list[300];
    struct hint hint;
    if (ports->frame) {
        struct item *item = frame_item(ports->frame, key->text);
        if (item && item->kind == ITEM_INPUT) return item->input;
    }
    for (size_t i = 0; !ports->frame && i < port_count(ports); i++)
        if (strcmp(port_name(ports, i), key->text) == 0) return (int32_t)i;
    hint_init(reader, &hint, key->text);
    for (size_t i = 0; i < port_count(ports); i++) hint_offer(&hint, port_name(ports, i));
    const char *near = hint_text(&hint);
    reader_fail(reader, key->at, "%s '%.100s' has no input '%.100s'%s", ports_kind(ports), ports_owner(ports), key->text,
                *near || ports->frame ? near : list_ports(&ports->op->inputs, list, sizeof list));
    ports->broken = true;
    return -1;
}

static void feed_list(struct reader *reader, struct ports *ports, const struct document *list) {
    size_t port = 0, count = port_count(ports);
    for (size_t i = 0; i < list->count && !reader->stopped; i++) {
        if ((int32_t)port == ports->skip) port++;
        if (port >= count) {
            size_t room = count - (ports->skip >= 0);
            reader_fail(reader, list->values[i]->at, "%s '%.100s' has %zu input%s, this is one more", ports_kind(ports), ports_owner(ports),
                        room, room == 1 ? "" : "s");
            ports->broken = true;
            return;
        }
        feed_add(reader, ports, (int32_t)port, list->values[i], false);
        if (!port_variadic(ports, port)) port++;
    }
}

static void feed_mapping(struct reader *reader, struct ports *ports, const struct document *mapping, bool delayed) {
    for (size_t i = 0; i < mapping->count && !reader->stopped; i++) {
        const struct document *value = mapping->values[i];
        if (delayed && strcmp(mapping->keys[i]->text, "reset") == 0) continue;
        int32_t port = find_port(reader, ports, mapping->keys[i]);
        if (port < 0) continue;
        if (value->kind != DOCUMENT_LIST || !port_variadic(ports, (size_t)port)) {
            feed_add(reader, ports, port, value, delayed);
            continue;
        }
        for (size_t k = 0; k < value->count; k++) feed_add(reader, ports, port, value->values[k], delayed);
    }
}

/* epoch and never differ for training alone: outside both go on. */
static void read_reset(struct reader *reader, struct ports *ports, const struct document *state) {
    const struct document *reset = document_get(state, "reset");
    if (!reset) return;
    bool known = reset->kind == DOCUMENT_SCALAR;
    ports->run_reset = known && strcmp(reset->text, "run") == 0;
    ports->never_reset = known && strcmp(reset->text, "never") == 0;
    if (known && (ports->run_reset || strcmp(reset->text, "epoch") == 0 || strcmp(reset->text, "never") == 0)) return;
    reader_fail(reader, reset->at, "'reset' is epoch, never or run");
    ports->broken = true;
}

static void read_state(struct reader *reader, struct ports *ports, const struct document *state) {
    if (state->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, state->at, "'state' is a mapping from ports to references");
        ports->broken = true;
    } else if (ports->from->unit->depth) {
        reader_fail(reader, state->at, "'state' cannot stand in a loop's body: use the loop's `carry`");
        ports->broken = true;
    } else {
        read_reset(reader, ports, state);
        feed_mapping(reader, ports, state, true);
    }
}

/* Stable, by port. */
static void sort_feeds(struct reader *reader, struct ports *ports) {
    size_t count = port_count(ports);
    struct feed *sorted = reader_scratch(reader, ports->feed_count, sizeof *sorted);
    size_t *start = reader_scratch(reader, count + 1, sizeof *start);
    if (!sorted || !start) return;
    for (size_t i = 0; i < ports->feed_count; i++) start[ports->feeds[i].port + 1]++;
    for (size_t i = 0; i < count; i++) start[i + 1] += start[i];
    for (size_t i = 0; i < ports->feed_count; i++) sorted[start[ports->feeds[i].port]++] = ports->feeds[i];
    ports->feeds = sorted;
}

bool resolve_feeds(struct reader *reader, struct frame *frame, struct item *item, struct ports *ports) {
    const struct document *in = document_get(item->doc, "in"), *state = document_get(item->doc, "state");
    if (in) in = variables_put(reader, frame->environment, in);
    if (state) state = variables_put(reader, frame->environment, state);
    ports->from = frame;
    ports->broken = (document_get(item->doc, "in") && !in) || (document_get(item->doc, "state") && !state);
    size_t room = (size_t)(in ? in->size : 0) + (size_t)(state ? state->size : 0) + 1;
    ports->feeds = reader_scratch(reader, room, sizeof *ports->feeds);
    ports->fed = reader_scratch(reader, port_count(ports) + 1, sizeof *ports->fed);
    if (!ports->feeds || !ports->fed) return false;
    if (in && in->kind == DOCUMENT_MAPPING) {
        feed_mapping(reader, ports, in, false);
    } else if (in && !document_null(in)) {
        struct document one = {.kind = DOCUMENT_LIST, .count = 1, .values = (struct document *[]){(struct document *)in}};
        feed_list(reader, ports, in->kind == DOCUMENT_LIST ? in : &one);
    }
    if (state) read_state(reader, ports, state);
    sort_feeds(reader, ports);
    return !ports->broken && !reader->stopped;
}

/* ---- Operators ---- */

static void check_fed(struct reader *reader, struct draft *draft, const struct ports *ports) {
    for (size_t i = 0; i < port_count(ports); i++) {
        const struct flow_port *row = &ports->op->inputs.at[i];
        if (ports->fed[i] || (row->flags & FLOW_OPTIONAL)) continue;
        reader_fail(reader, draft->node.op_at, "operator '%s' needs the input '%s'%s%s", ports->op->name, row->name,
                    row->summary ? ": " : "", row->summary ? row->summary : "");
        draft->broken = true;
    }
}

/* A node whose operator is unknown: its references are checked all the same. */
static void check_references(struct reader *reader, struct frame *frame, const struct document *in) {
    if (in && in->kind == DOCUMENT_SCALAR && !document_null(in)) resolve_reference(reader, frame, in->text, in->at);
    for (size_t i = 0; in && in->kind != DOCUMENT_SCALAR && i < in->count && !reader->stopped; i++)
        check_references(reader, frame, in->values[i]);
}

static void resolve_operator(struct reader *reader, struct frame *frame, struct item *item) {
    struct draft *draft = frame->unit->drafts[item->node];
    const struct document *in = document_get(item->doc, "in");
    if (draft->node.kind == NETWORK_PARAMETERS && (in || document_get(item->doc, "state"))) {
        reader_fail(reader, draft->node.op_at, "operator 'parameters' takes no inputs");
        draft->broken = true;
    }
    if (!draft->entry) {
        if (in && (in = variables_put(reader, frame->environment, in))) check_references(reader, frame, in);
        return;
    }
    struct ports ports = {.op = draft->entry->op, .skip = -1};
    bool fed = resolve_feeds(reader, frame, item, &ports);
    if (!fed) draft->broken = true;
    else if (!draft->keys_wrong) check_fed(reader, draft, &ports);
    if (fed && draft->node.kind == NETWORK_GRADIENT && (ports.fed[1] != 0) == (draft->node.match != NULL)) {
        reader_fail(reader, draft->node.op_at,
                    "operator 'gradient' takes the derivative by either 'of' (a value) or, in `with`, 'params' (a pattern of names)");
        draft->broken = true;
    }
    if (reader->stopped || draft->broken) return;
    draft->node.in = reader_new(reader, ports.feed_count, sizeof *draft->node.in);
    for (size_t i = 0; draft->node.in && i < ports.feed_count; i++) {
        const struct feed *feed = &ports.feeds[i];
        draft->node.in[i] = (struct network_edge){.port = feed->port,
                                                  .from = feed->ref,
                                                  .at = feed->value->at,
                                                  .delayed = feed->delayed,
                                                  .run_reset = feed->delayed && ports.run_reset,
                                                  .never_reset = feed->delayed && ports.never_reset};
        draft->node.in_count = i + 1;
    }
}

void resolve_frame(struct reader *reader, struct frame *frame) {
    for (size_t i = 0; i < frame->item_count && !reader->stopped; i++) {
        struct item *item = &frame->items[i];
        if (!item->doc || item->doc->kind != DOCUMENT_MAPPING) continue;
        reader->node = reader_join(reader, frame->path, item->name);
        if (!reader_spend(reader, item->at, item->doc->size)) break;
        if (item->kind == ITEM_NODE) resolve_operator(reader, frame, item);
        else if (item->kind == ITEM_GRAPH) resolve_copies(reader, frame, item);
        else if (item->kind == ITEM_LOOP) resolve_loop(reader, frame, item);
        else continue;
        resolve_inits(reader, frame, item);
        const struct document *tie = document_get(item->doc, "tie");
        if (!tie || !reader_grow(reader, (void **)&reader->ties, &reader->tie_capacity, reader->tie_count + 1, sizeof *reader->ties))
            continue;
        reader->ties[reader->tie_count++] = (struct tie_job){frame, item, tie};
    }
    reader->node = NULL;
    for (size_t i = 0; i < frame->output_count && !reader->stopped; i++) resolve_output(reader, frame, i);
}
