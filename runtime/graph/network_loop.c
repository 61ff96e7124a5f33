/* SPDX-License-Identifier: Apache-2.0 */
/* Subgraph nodes: what enters each copy, what copies and iterations hand on. */
#include "graph/network_private.h"

#include <string.h>

static int32_t body_input(struct reader *reader, const struct frame *body, const struct document *name) {
    struct item *item = frame_item(body, name->text);
    if (item && item->kind == ITEM_INPUT) return item->input;
    struct hint hint;
    hint_init(reader, &hint, name->text);
    for (size_t i = 0; i < body->input_count; i++) hint_offer(&hint, body->inputs[i].about.name);
    reader_fail(reader, name->at, "subgraph '%.100s' has no input '%.100s'%s", body->definition->name, name->text, hint_text(&hint));
    return -1;
}

static int32_t body_output(struct reader *reader, const struct frame *body, const struct document *name) {
    int64_t index;
    if (name->kind != DOCUMENT_SCALAR) {
        reader_fail(reader, name->at, "the name of an output of subgraph '%.100s' is expected", body->definition->name);
        return -1;
    }
    if (map_get(&body->output_names, name->text, &index)) return (int32_t)index;
    struct hint hint;
    hint_init(reader, &hint, name->text);
    for (size_t i = 0; i < body->output_count; i++) hint_offer(&hint, body->outputs[i].name);
    reader_fail(reader, name->at, "subgraph '%.100s' has no output '%.100s'%s", body->definition->name, name->text, hint_text(&hint));
    return -1;
}

/* {input: output ..}; one output may go to several inputs. */
static bool read_carry(struct reader *reader, const struct frame *body, const struct document *carry, struct network_pair **pairs,
                       size_t *count) {
    if (carry->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, carry->at, "'carry' is a mapping from inputs to outputs of the subgraph");
        return false;
    }
    bool right = true;
    *pairs = reader_new(reader, carry->count, sizeof **pairs);
    for (size_t i = 0; *pairs && i < carry->count && !reader->stopped; i++) {
        int32_t input = body_input(reader, body, carry->keys[i]), output = body_output(reader, body, carry->values[i]);
        right = right && input >= 0 && output >= 0;
        (*pairs)[(*count)++] = (struct network_pair){input, output};
    }
    return right && *pairs && !reader->stopped;
}

/* ---- Copies ---- */

/* By name, or else the first output goes to the first input. */
static bool default_carry(struct reader *reader, const struct frame *body, struct network_pair **pairs, size_t *count) {
    *pairs = reader_new(reader, body->output_count + 1, sizeof **pairs);
    for (size_t i = 0; *pairs && i < body->output_count; i++) {
        struct item *item = frame_item(body, body->outputs[i].name);
        if (item && item->kind == ITEM_INPUT) (*pairs)[(*count)++] = (struct network_pair){item->input, (int32_t)i};
    }
    if (*pairs && *count == 0 && body->output_count && body->input_count) (*pairs)[(*count)++] = (struct network_pair){0, 0};
    return *pairs != NULL;
}

static void enter(struct reader *reader, struct frame *copy, size_t input, struct network_edge edge) {
    struct draft *draft = copy->unit->drafts[copy->inputs[input].ref.node];
    if (edge.from.node == NETWORK_NOTHING) {
        draft->broken = true;
        return;
    }
    draft->node.in = reader_new(reader, 1, sizeof *draft->node.in);
    if (!draft->node.in) return;
    draft->node.in[0] = edge, draft->node.in_count = 1;
}

static bool check_fed(struct reader *reader, struct item *item, const struct frame *body, struct ports *ports) {
    bool right = !ports->broken;
    for (size_t i = 0; i < body->input_count; i++) {
        if (ports->fed[i] || ports->broken || (int32_t)i == ports->skip) continue;
        reader_fail(reader, item->op->at, "subgraph '%.100s' needs the input '%s'", body->definition->name, body->inputs[i].about.name);
        right = false;
    }
    return right;
}

/* The ENTER nodes of every copy: those of a carried input read the copy before. */
void resolve_copies(struct reader *reader, struct frame *frame, struct item *item) {
    struct frame *first = item->copies[0];
    struct ports ports = {.frame = first, .skip = -1};
    const struct document *carry = document_get(item->doc, "carry");
    struct position at = item->op->at;
    struct network_pair *pairs = NULL;
    size_t pair_count = 0;
    resolve_feeds(reader, frame, item, &ports);
    if (reader->stopped) return;
    check_fed(reader, item, first, &ports);
    bool right = true;
    if (carry) carry = variables_put(reader, frame->environment, carry), at = document_get(item->doc, "carry")->at;
    if (carry) right = read_carry(reader, first, carry, &pairs, &pair_count);
    else if (item->copy_count > 1) right = default_carry(reader, first, &pairs, &pair_count);
    int32_t *carried = reader_scratch(reader, first->input_count, sizeof *carried);
    struct network_edge *edges = reader_scratch(reader, first->input_count, sizeof *edges);
    if (!carried || !edges) return;
    for (size_t i = 0; i < first->input_count; i++) carried[i] = -1, edges[i].from.node = NETWORK_NOTHING;
    for (size_t i = 0; right && i < pair_count; i++) carried[pairs[i].input] = pairs[i].output;
    for (size_t i = 0; i < ports.feed_count; i++)
        edges[ports.feeds[i].port] = (struct network_edge){.from = ports.feeds[i].ref,
                                                           .at = ports.feeds[i].value->at,
                                                           .delayed = ports.feeds[i].delayed,
                                                           .run_reset = ports.feeds[i].delayed && ports.run_reset};
    for (size_t k = 0; k < item->copy_count && !reader->stopped; k++)
        for (size_t i = 0; i < first->input_count && !reader->stopped; i++) {
            struct frame *copy = item->copies[k];
            if (i >= copy->input_count) break; /* `${index}` in names: told below */
            if (k == 0 || carried[i] < 0) enter(reader, copy, i, edges[i]);
            else if ((size_t)carried[i] < item->copies[k - 1]->output_count)
                enter(reader, copy, i,
                      (struct network_edge){.from = resolve_output(reader, item->copies[k - 1], (size_t)carried[i]), .at = at});
        }
}

/* ---- Loops ---- */

static bool read_axes(struct reader *reader, const struct frame *body, const struct document *axes, bool inputs, struct network_axis **out,
                      size_t *count) {
    if (axes->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, axes->at, "'%s' is a mapping from %s of the subgraph to axes", inputs ? "over" : "collect",
                    inputs ? "inputs" : "outputs");
        return false;
    }
    bool right = true;
    *out = reader_new(reader, axes->count, sizeof **out);
    for (size_t i = 0; *out && i < axes->count && !reader->stopped; i++) {
        int32_t port = inputs ? body_input(reader, body, axes->keys[i]) : body_output(reader, body, axes->keys[i]);
        int64_t axis = 0;
        if (!document_int(axes->values[i], &axis) || axis < -FLOW_RANK_MAX || axis >= FLOW_RANK_MAX) {
            reader_fail(reader, axes->values[i]->at, "an axis is expected: an integer from %d to %d", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1);
            right = false;
        }
        right = right && port >= 0;
        (*out)[(*count)++] = (struct network_axis){port, (int32_t)axis, axes->values[i]->at};
    }
    return right && *out && !reader->stopped;
}

static bool read_max(struct reader *reader, const struct document *max, struct network_loop *loop) {
    loop->max_at = max->at;
    if (document_int(max, &loop->max) && loop->max >= 1) return true;
    reader_fail(reader, max->at, "'max' is a number of iterations, at least 1%s%.60s%s", max->text ? ": this is '" : "",
                max->text ? max->text : "", max->text ? "'" : "");
    loop->max = 1;
    return false;
}

static bool read_loop_keys(struct reader *reader, const struct frame *body, const struct document *doc, struct network_loop *loop) {
    static const char *const keys[] = {"max", "until", "carry", "over", "index", "collect", "recompute", NULL};
    const struct document *max = document_get(doc, "max"), *until = document_get(doc, "until"), *index = document_get(doc, "index");
    const struct document *carry = document_get(doc, "carry"), *over = document_get(doc, "over"), *collect = document_get(doc, "collect");
    const struct document *recompute = document_get(doc, "recompute");
    bool right = reader_keys(reader, doc, keys, "'loop'");
    if (max) right = read_max(reader, max, loop) && right;
    if (until) loop->until_at = until->at, loop->until = body_output(reader, body, until), right = right && loop->until >= 0;
    if (index && index->kind == DOCUMENT_SCALAR) {
        loop->index_at = index->at, loop->index = body_input(reader, body, index), right = right && loop->index >= 0;
    } else if (index) {
        reader_fail(reader, index->at, "'index' names an input of the subgraph");
        right = false;
    }
    if (carry) right = read_carry(reader, body, carry, &loop->carry, &loop->carry_count) && right;
    if (over) right = read_axes(reader, body, over, true, &loop->over, &loop->over_count) && right;
    if (collect) right = read_axes(reader, body, collect, false, &loop->collect, &loop->collect_count) && right;
    if (recompute && !document_bool(recompute, &loop->recompute)) {
        reader_fail(reader, recompute->at, "'recompute' is true or false");
        right = false;
    }
    if (!max && !loop->over_count && right) {
        reader_fail(reader, doc->at, "a loop needs 'max', or 'over', whose extent is then the number of iterations");
        right = false;
    }
    return right;
}

/* One use for each input, and for each output either carried or collected. */
static bool check_uses(struct reader *reader, const struct frame *body, const struct network_loop *loop, const struct document *doc) {
    bool *carried = reader_scratch(reader, body->input_count, 1), *handed = reader_scratch(reader, body->output_count, 1);
    const struct document *carry = document_get(doc, "carry"), *over = document_get(doc, "over"), *collect = document_get(doc, "collect");
    bool right = carried && handed;
    for (size_t i = 0; right && i < loop->carry_count; i++) {
        const struct network_pair *pair = &loop->carry[i];
        carried[pair->input] = handed[pair->output] = true;
        if (pair->input != loop->index) continue;
        reader_fail(reader, carry->keys[i]->at, "'%s' counts the iterations: it cannot be carried", carry->keys[i]->text);
        right = false;
    }
    for (size_t i = 0; right && i < loop->over_count; i++) {
        int32_t port = loop->over[i].port;
        if (!carried[port] && port != loop->index) continue;
        reader_fail(reader, over->keys[i]->at, "'%s' is %s already", over->keys[i]->text, carried[port] ? "carried" : "the index");
        right = false;
    }
    for (size_t i = 0; right && i < loop->collect_count; i++) {
        if (!handed[loop->collect[i].port]) continue;
        reader_fail(reader, collect->keys[i]->at, "'%s' is carried too: declare the output under a second name to collect it",
                    collect->keys[i]->text);
        right = false;
    }
    if (map_get(&body->output_names, "count", NULL)) {
        reader_fail(reader, doc->at, "output 'count' of subgraph '%.100s' hides the loop's own, the number of iterations made",
                    body->definition->name);
        right = false;
    }
    return right;
}

static const struct document *read_loop(struct reader *reader, struct frame *frame, struct item *item, struct draft *draft) {
    const struct document *written = document_get(item->doc, "loop"), *doc = variables_put(reader, frame->environment, written);
    draft->node.loop.at = written->at;
    if (doc && doc->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, doc->at, "'loop' is a mapping: max, until, carry, over, index, collect");
        doc = NULL;
    }
    if (!doc || !read_loop_keys(reader, item->copies[0], doc, &draft->node.loop) || reader->stopped) return NULL;
    return check_uses(reader, item->copies[0], &draft->node.loop, doc) ? doc : NULL;
}

void resolve_loop(struct reader *reader, struct frame *frame, struct item *item) {
    struct draft *draft = frame->unit->drafts[item->node];
    struct frame *body = item->copies[0];
    const struct document *doc = read_loop(reader, frame, item, draft);
    struct ports ports = {.frame = body, .skip = draft->node.loop.index};
    if (!doc) draft->broken = true;
    if (reader->stopped) return;
    resolve_feeds(reader, frame, item, &ports);
    if (reader->stopped) return;
    if (ports.skip >= 0 && ports.fed[ports.skip]) {
        reader_fail(reader, item->op->at, "input '%s' counts the iterations: it is not fed", body->inputs[ports.skip].about.name);
        ports.broken = true;
    }
    if (!check_fed(reader, item, body, &ports)) draft->broken = true;
    if (draft->broken) return;
    draft->node.in = reader_new(reader, ports.feed_count, sizeof *draft->node.in);
    for (size_t i = 0; draft->node.in && i < ports.feed_count; i++) {
        const struct feed *feed = &ports.feeds[i];
        draft->node.in[i] = (struct network_edge){.port = feed->port,
                                                  .from = feed->ref,
                                                  .at = feed->value->at,
                                                  .delayed = feed->delayed,
                                                  .run_reset = feed->delayed && ports.run_reset};
        draft->node.in_count = i + 1;
    }
}
