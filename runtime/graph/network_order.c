/* SPDX-License-Identifier: Apache-2.0 */
/* The third pass: nodes sorted after what they read (file order where there is a choice), cycles found, indices renumbered, the result
 * written down. */
#include "graph/network_private.h"

#include <string.h>

/* Vertices are the unit's drafts, and after them one for each frame: "all its inputs have entered". A node whose attributes name shape
 * symbols waits for that one. */
struct sort {
    struct reader *reader;
    struct unit *unit;
    size_t drafts;
    bool wait;      /* keep to those waits */
    uint8_t *state; /* NEW, OPEN, DONE */
    struct visit {
        int32_t vertex, next;
    } * stack;
    size_t depth;
    int32_t *order; /* drafts in order */
    size_t count;
    int32_t cycles;
};
enum { NEW, OPEN, DONE, CYCLES_MOST = 20, NAMES_MOST = 12 };

/* The k-th vertex that `vertex` waits for; -1: none, -2: no more. */
static int32_t dependency(const struct sort *sort, int32_t vertex, int32_t k) {
    if ((size_t)vertex >= sort->drafts) {
        const struct frame *frame = sort->unit->frames[(size_t)vertex - sort->drafts];
        return (size_t)k < frame->input_count ? frame->inputs[k].ref.node : -2;
    }
    const struct draft *draft = sort->unit->drafts[vertex];
    size_t edge = (size_t)k, ties = draft->node.in_count;
    if (edge < ties) return draft->node.in[edge].delayed ? -1 : draft->node.in[edge].from.node;
    if (edge - ties < draft->node.tie_count) {
        const struct network_tie *tie = &draft->node.ties[edge - ties];
        return tie->target ? -1 : tie->value.node;
    }
    if (edge - ties > draft->node.tie_count) return -2;
    return sort->wait && draft->symbols && !draft->frame->root ? (int32_t)sort->drafts + draft->frame->scope : -1;
}

/* ---- Cycles ---- */

static const char *name_of(const struct draft *draft) { return draft->node.path; }

/* The cycle is the stack from `from` to the top; each reads the next. Told in the direction that values flow. */
static void tell_cycle(struct sort *sort, size_t from) {
    struct reader *reader = sort->reader;
    size_t length = sort->depth - from, first = from;
    if (sort->cycles++ >= CYCLES_MOST) return;
    for (size_t i = from; i < sort->depth; i++)
        if (sort->stack[i].vertex < sort->stack[first].vertex) first = i;
    const struct draft *start = sort->unit->drafts[sort->stack[first].vertex];
    struct text names;
    text_init(&names, reader->from);
    for (size_t i = 0; i < length && i < NAMES_MOST; i++) {
        size_t at = from + (first - from + length - i) % length;
        text_format(&names, "%.100s -> ", name_of(sort->unit->drafts[sort->stack[at].vertex]));
    }
    text_format(&names, "%s%.100s", length > NAMES_MOST ? ".. -> " : "", name_of(start));
    reader->node = start->node.path;
    if (names.failed) reader_memory(reader);
    else
        reader_fail(reader, start->node.kind == NETWORK_ENTER ? start->frame->at : start->node.at,
                    "a cycle: %.800s (only `state` and `loop` feed a value back)", names.at);
    reader->node = NULL;
    text_free(&names);
}

/* An open vertex was met again. True when the cycle is one of waits, which need not be kept. */
static bool only_waiting(struct sort *sort, int32_t vertex) {
    size_t from = sort->depth;
    bool waits = false;
    if (sort->cycles >= CYCLES_MOST) return false;
    while (from-- > 0) {
        waits = waits || (size_t)sort->stack[from].vertex >= sort->drafts;
        if (sort->stack[from].vertex == vertex) break;
    }
    if (!waits) tell_cycle(sort, from);
    return waits;
}

/* ---- Sorting ---- */

/* Depth first from `start`; false when the waits have to be given up. */
static bool visit(struct sort *sort, int32_t start) {
    if (sort->state[start] != NEW) return true;
    sort->stack[sort->depth++] = (struct visit){start, 0};
    sort->state[start] = OPEN;
    while (sort->depth) {
        struct visit *top = &sort->stack[sort->depth - 1];
        int32_t next = dependency(sort, top->vertex, top->next++);
        if (next == -2) {
            sort->state[top->vertex] = DONE;
            if ((size_t)top->vertex < sort->drafts) sort->order[sort->count++] = top->vertex;
            sort->depth--;
        } else if (next >= 0 && sort->state[next] == NEW) {
            sort->state[next] = OPEN;
            sort->stack[sort->depth++] = (struct visit){next, 0};
        } else if (next >= 0 && sort->state[next] == OPEN && only_waiting(sort, next)) {
            return false;
        }
    }
    return true;
}

static bool sort_unit(struct sort *sort) {
    size_t vertices = sort->drafts + sort->unit->frame_count;
    memset(sort->state, NEW, vertices);
    sort->depth = sort->count = 0, sort->cycles = 0;
    for (size_t i = 0; i < sort->drafts; i++)
        if (!visit(sort, (int32_t)i)) return false;
    return true;
}

/* ---- Writing down ---- */

/* A node about which an error was told stands as one without an operator. */
static void settle(struct draft *draft) {
    struct network_node *node = &draft->node;
    bool whole = node->kind == NETWORK_ENTER ? node->in_count == 1 : true;
    if (!draft->broken && whole) return;
    draft->broken = true;
    *node = (struct network_node){.kind = NETWORK_OPERATOR,
                                  .path = node->path,
                                  .param_path = node->param_path,
                                  .at = node->at,
                                  .op_at = node->op_at,
                                  .scope = node->scope};
    draft->symbols = false;
}

static void renumber(struct network_ref *ref, const int32_t *final) {
    if (ref->node >= 0) ref->node = final[ref->node];
}

static void write_node(struct draft *draft, int32_t index, const int32_t *final) {
    struct network_node *node = &draft->node;
    struct frame *frame = draft->frame;
    for (size_t i = 0; i < node->in_count; i++) renumber(&node->in[i].from, final);
    for (size_t i = 0; i < node->tie_count; i++) renumber(&node->ties[i].value, final);
    if (node->kind == NETWORK_ENTER) frame->after[frame->after_count++] = index;
    if (draft->symbols && !frame->root) node->after = frame->after, node->after_count = frame->after_count;
}

static bool write_inputs(struct reader *reader, struct network *network, const struct frame *root) {
    network->inputs = reader_new(reader, root->input_count, sizeof *network->inputs);
    for (size_t i = 0; network->inputs && i < root->input_count; i++) network->inputs[i] = root->inputs[i].about;
    network->input_count = root->input_count;
    return network->inputs != NULL;
}

static bool write_outputs(struct reader *reader, struct network *network, struct frame *root, const int32_t *final) {
    network->outputs = reader_new(reader, root->output_count, sizeof *network->outputs);
    for (size_t i = 0; network->outputs && i < root->output_count; i++) {
        const struct frame_output *output = &root->outputs[i];
        network->outputs[i] = (struct network_output){output->name, output->ref, output->at};
        renumber(&network->outputs[i].from, final);
    }
    network->output_count = root->output_count;
    return network->outputs != NULL;
}

static bool write_scopes(struct reader *reader, struct network *network, const struct unit *unit) {
    network->scopes = reader_new(reader, unit->frame_count, sizeof *network->scopes);
    for (size_t i = 0; network->scopes && i < unit->frame_count; i++) {
        const struct frame *frame = unit->frames[i];
        network->scopes[frame->scope] =
            (struct network_scope){frame->path, frame->graph, frame->at, frame->outer, frame->copy, frame->copies};
    }
    if (network->scopes) network->scopes[0].outer = -1;
    return network->scopes != NULL;
}

static bool write_network(struct sort *sort) {
    struct reader *reader = sort->reader;
    struct unit *unit = sort->unit;
    struct network *network = unit->network;
    int32_t *final = reader_scratch(reader, unit->count, sizeof *final);
    network->nodes = reader_new(reader, unit->count, sizeof *network->nodes);
    if (!final || !network->nodes) return false;
    for (size_t i = 0; i < unit->frame_count; i++) {
        struct frame *frame = unit->frames[i];
        if (!frame->root && !(frame->after = reader_new(reader, frame->input_count, sizeof *frame->after))) return false;
    }
    for (size_t i = 0; i < sort->count; i++) final[sort->order[i]] = (int32_t)i;
    for (size_t i = 0; i < sort->count; i++) {
        struct draft *draft = unit->drafts[sort->order[i]];
        write_node(draft, (int32_t)i, final);
        network->nodes[i] = draft->node;
    }
    network->node_count = sort->count, unit->final = final;
    return write_scopes(reader, network, unit) && write_inputs(reader, network, unit->frames[0]) &&
           write_outputs(reader, network, unit->frames[0], final);
}

bool order_unit(struct reader *reader, struct unit *unit) {
    struct sort sort = {.reader = reader, .unit = unit, .drafts = unit->count, .wait = true};
    size_t vertices = unit->count + unit->frame_count;
    if (unit->frame_count == 0) return false;
    for (size_t i = 0; i < unit->count; i++) settle(unit->drafts[i]);
    sort.state = reader_scratch(reader, vertices, 1);
    sort.stack = reader_scratch(reader, vertices, sizeof *sort.stack);
    sort.order = reader_scratch(reader, unit->count, sizeof *sort.order);
    if (!sort.state || !sort.stack || !sort.order) return false;
    if (!sort_unit(&sort)) {
        sort.wait = false;
        sort_unit(&sort);
    }
    if (sort.cycles || reader->stopped) return false;
    return write_network(&sort);
}
