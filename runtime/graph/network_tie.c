/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters that are stored elsewhere (`tie`), and their initial values (`init`). Targets may themselves be tied: what comes out names
 * the place where a parameter is really stored. */
#include "graph/network_private.h"

#include <string.h>

/* Where a path such as "body.0.mix.wq" leads: the last item it names, the instance chosen among copies, and what is left over. */
struct place {
    struct frame *frame, *inner;
    struct item *item;
    const char *rest; /* NULL: nothing */
};

static bool walk(struct frame *frame, const char *path, struct place *place) {
    *place = (struct place){0};
    for (const char *at = path; at && frame;) {
        size_t length = strcspn(at, ".");
        struct item *item = frame_item_n(frame, at, length);
        if (!item) break;
        *place = (struct place){frame, NULL, item, at[length] ? at + length + 1 : NULL};
        at = place->rest;
        if (item->kind != ITEM_GRAPH && item->kind != ITEM_LOOP) break;
        if (item->repeated) {
            size_t number = 0, digits = at ? strspn(at, "0123456789") : 0;
            if (!digits || digits > 7 || (at[digits] && at[digits] != '.')) break;
            for (size_t i = 0; i < digits; i++) number = number * 10 + (size_t)(at[i] - '0');
            if (number >= item->copy_count) break;
            place->inner = item->copies[number];
            place->rest = at = at[digits] ? at + digits + 1 : NULL;
        } else {
            place->inner = item->copies[0];
        }
        frame = place->inner;
    }
    return place->item != NULL;
}

/* ---- Whole nodes and subgraphs ---- */

static bool has_params(const struct draft *draft) { return draft->entry && draft->entry->op->params.count; }

static void tie_items(struct reader *reader, struct frame *frame, struct item *item, const struct place *place, struct position at);

static void tie_frames(struct reader *reader, struct frame *frame, struct frame *target, struct position at) {
    if (frame == target) {
        reader_fail(reader, at, "'%.100s' is tied to itself", frame->path);
        return;
    }
    for (size_t i = 0; i < frame->item_count && reader_spend(reader, at, 1); i++) {
        struct item *item = &frame->items[i], *other = frame_item(target, item->name);
        if (item->kind == ITEM_INPUT || item->kind == ITEM_BROKEN || (other && other->kind == ITEM_BROKEN)) continue;
        if (item->kind == ITEM_NODE && !has_params(frame->unit->drafts[item->node])) continue;
        if (!other || other->kind == ITEM_INPUT || (other->kind == ITEM_NODE) != (item->kind == ITEM_NODE)) {
            reader_fail(reader, at, "'%.100s' has nothing like '%.100s' of '%.100s' to be tied to", target->path, item->name, frame->path);
            continue;
        }
        struct place place = {target, NULL, other, NULL};
        tie_items(reader, frame, item, &place, at);
    }
}

static void tie_copies(struct reader *reader, struct item *item, const struct place *place, struct position at) {
    size_t targets = place->inner ? 1 : place->item->copy_count;
    if (targets != 1 && targets != item->copy_count) {
        reader_fail(reader, at, "'%s' has %zu copies, '%s' %zu: they cannot be tied one to one", item->name, item->copy_count,
                    place->item->name, targets);
        return;
    }
    for (size_t i = 0; i < item->copy_count && !reader->stopped; i++) {
        struct frame *target = place->inner ? place->inner : place->item->copies[targets == 1 ? 0 : i];
        tie_frames(reader, item->copies[i], target, at);
    }
}

static void tie_items(struct reader *reader, struct frame *frame, struct item *item, const struct place *place, struct position at) {
    if (item->kind != ITEM_NODE) {
        tie_copies(reader, item, place, at);
        return;
    }
    struct draft *draft = frame->unit->drafts[item->node];
    if (draft->shares) return; /* an inner tie says it more closely */
    draft->shares = place->frame->unit->drafts[place->item->node];
    draft->shares_at = at, draft->shares_by_path = true;
}

static void unknown_target(struct reader *reader, struct frame *frame, const struct place *place, const char *text, struct position at) {
    struct hint hint;
    const struct frame *in = place->item ? place->inner : frame;
    const char *rest = place->item ? place->rest : text;
    char word[NAME_MOST + 1];
    size_t length = rest ? strcspn(rest, ".") : 0;
    if (length > NAME_MOST) length = NAME_MOST;
    if (rest) memcpy(word, rest, length);
    word[length] = 0;
    hint_init(reader, &hint, word);
    for (size_t i = 0; in && i < in->item_count; i++) hint_offer(&hint, in->items[i].name);
    reader_fail(reader, at, "no node '%.100s' to be tied to%s", text, hint_text(&hint));
}

static void tie_whole(struct reader *reader, const struct tie_job *job, const struct document *target) {
    struct place place;
    if (!walk(job->frame, target->text, &place) || place.rest) {
        unknown_target(reader, job->frame, &place, target->text, target->at);
        return;
    }
    if (place.item->kind == ITEM_BROKEN) return;
    bool node = job->item->kind == ITEM_NODE;
    if (place.item->kind == ITEM_INPUT || (place.item->kind == ITEM_NODE) != node) {
        reader_fail(reader, target->at, "'%.100s' is %s: %s is tied to another of its kind, or parameter by parameter", target->text,
                    place.item->kind == ITEM_INPUT  ? "an input"
                    : place.item->kind == ITEM_NODE ? "an operator"
                                                    : "a subgraph",
                    node ? "an operator" : "a subgraph");
        return;
    }
    if (!node) {
        tie_copies(reader, job->item, &place, target->at);
        return;
    }
    struct draft *draft = job->frame->unit->drafts[job->item->node];
    draft->shares = place.frame->unit->drafts[place.item->node];
    draft->shares_at = target->at, draft->shares_by_path = false;
}

/* ---- Single parameters ---- */

static bool declares(const struct flow_operator *op) {
    for (uint32_t i = 0; i < op->params.count; i++)
        if (op->params.at[i].flags & FLOW_DECLARED) return true;
    return false;
}

static bool has_param(const struct flow_operator *op, const char *name) {
    for (uint32_t i = 0; i < op->params.count; i++)
        if (!(op->params.at[i].flags & FLOW_DECLARED) && strcmp(op->params.at[i].name, name) == 0) return true;
    return false;
}

static bool check_param(struct reader *reader, const struct draft *draft, const char *name, struct position at) {
    const struct flow_operator *op = draft->entry ? draft->entry->op : NULL;
    if (op && (has_param(op, name) || declares(op))) return true;
    struct hint hint;
    hint_init(reader, &hint, name);
    for (uint32_t i = 0; op && i < op->params.count; i++) hint_offer(&hint, op->params.at[i].name);
    if (op) reader_fail(reader, at, "operator '%s' has no parameter '%.100s'%s", op->name, name, hint_text(&hint));
    else if (draft->node.kind != NETWORK_OPERATOR) reader_fail(reader, at, "'%.100s' has no parameters of its own", draft->node.path);
    return false;
}

/* NODE.PARAM before a value: the parameter, where the text names one. */
static bool names_param(struct frame *frame, const char *text, struct place *place) {
    int32_t output;
    if (!walk(frame, text, place) || !place->rest || place->item->kind != ITEM_NODE || strchr(place->rest, '.')) return false;
    const struct draft *draft = place->frame->unit->drafts[place->item->node];
    if (!draft->entry) return draft->node.kind == NETWORK_OPERATOR; /* unknown operator: nothing more is said */
    if (has_param(draft->entry->op, place->rest)) return true;
    return declares(draft->entry->op) && !operator_output(draft->entry, place->rest, &output);
}

/* A path that leads into subgraphs can only mean a parameter. */
static bool leads_inside(struct frame *frame, const struct place *place) { return place->item && place->frame != frame; }

static bool tie_target(struct reader *reader, struct frame *frame, const struct document *target, struct tie *tie) {
    struct place place;
    if (target->kind != DOCUMENT_SCALAR) {
        reader_fail(reader, target->at, "a parameter is tied to NODE.PARAM, or to a value: NODE, NODE.PORT or an input");
        return false;
    }
    tie->at = target->at, tie->unit = frame->unit;
    if (names_param(frame, target->text, &place)) {
        tie->target = place.frame->unit->drafts[place.item->node];
        tie->target_param = place.rest;
        return true;
    }
    if (place.item && place.item->kind == ITEM_BROKEN) return false;
    if (leads_inside(frame, &place) && place.item->kind == ITEM_NODE && place.rest)
        return check_param(reader, place.frame->unit->drafts[place.item->node], place.rest, target->at);
    tie->value = resolve_reference(reader, frame, target->text, target->at);
    return tie->value.node != NETWORK_NOTHING;
}

static void tie_add(struct reader *reader, struct draft *draft, const char *param, const struct tie *made) {
    if (!reader_spend(reader, made->at, 1)) return;
    if (!made->target && made->unit != draft->frame->unit) {
        reader_fail(reader, made->at, "a value cannot be tied into a loop's body: make it an input of the subgraph");
        return;
    }
    struct tie *tie = reader_scratch(reader, 1, sizeof *tie);
    if (!tie) return;
    *tie = *made, tie->param = param, tie->mark = 0, tie->next = draft->ties;
    draft->ties = tie, draft->tie_count++;
}

/* Calls for the node that "inner.name" means in every copy of a subgraph. */
static void each_inner(struct reader *reader, struct item *item, const struct document *key,
                       void (*body)(struct reader *, struct draft *, const char *, void *), void *context) {
    bool found = false;
    for (size_t i = 0; i < item->copy_count && !reader->stopped; i++) {
        struct place place;
        if (!walk(item->copies[i], key->text, &place) || !place.rest || place.item->kind != ITEM_NODE || strchr(place.rest, '.')) continue;
        found = true;
        body(reader, place.frame->unit->drafts[place.item->node], place.rest, context);
    }
    if (!found && !reader->stopped)
        reader_fail(reader, key->at, "no parameter '%.100s' in subgraph '%.100s': it is named as NODE.PARAM", key->text,
                    item->copies[0]->definition->name);
}

struct tie_context {
    const struct tie *made;
    struct position at;
};

static void tie_inner(struct reader *reader, struct draft *draft, const char *param, void *context) {
    const struct tie_context *tie = context;
    if (check_param(reader, draft, param, tie->at)) tie_add(reader, draft, param, tie->made);
}

static void tie_params(struct reader *reader, const struct tie_job *job, const struct document *ties) {
    for (size_t i = 0; i < ties->count && !reader->stopped; i++) {
        const struct document *key = ties->keys[i];
        struct tie made = {0};
        bool node = job->item->kind == ITEM_NODE;
        struct draft *draft = node ? job->frame->unit->drafts[job->item->node] : NULL;
        if (draft && !check_param(reader, draft, key->text, key->at)) continue;
        if (!tie_target(reader, job->frame, ties->values[i], &made)) continue;
        struct tie_context context = {&made, key->at};
        if (node) tie_add(reader, draft, key->text, &made);
        else each_inner(reader, job->item, key, tie_inner, &context);
    }
}

/* ---- Chains ---- */

/* Follows whole ties to the node that stores the parameters; every node on the way then knows it. */
static void find_root(struct reader *reader, struct draft *draft) {
    enum { NEW, ON_THE_WAY, DONE };
    struct draft *at = draft, *root;
    for (; at->shares && at->mark == NEW; at = at->shares) at->mark = ON_THE_WAY;
    if (at->mark == ON_THE_WAY && at->shares) {
        reader->node = at->node.path;
        reader_fail(reader, at->shares_at, "'tie' goes in a circle: no node is left to store the parameters");
        reader->node = NULL;
        root = NULL;
    } else {
        root = at->shares ? at->shares : at;
    }
    for (at = draft; at && at->mark == ON_THE_WAY;) {
        struct draft *next = at->shares;
        at->mark = DONE, at->shares = root;
        if (!root) reader->unsound = true;
        at = next;
    }
}

static struct tie *tie_of(struct reader *reader, struct draft *draft, const char *param) {
    if (!reader_spend(reader, draft->node.at, (int64_t)draft->tie_count)) return NULL;
    for (struct tie *tie = draft->ties; tie; tie = tie->next)
        if (strcmp(tie->param, param) == 0) return tie;
    return NULL;
}

/* The same for single parameters. A chain that ends in a value makes that the value of all. */
static void follow(struct reader *reader, struct draft *draft, struct tie *tie) {
    enum { NEW, ON_THE_WAY, DONE };
    struct tie *at = tie, *last = NULL;
    for (; at && at->mark == NEW; last = at, at = at->target ? tie_of(reader, at->target, at->target_param) : NULL) {
        at->mark = ON_THE_WAY;
        if (at->target && at->target->shares) at->target = at->target->shares;
    }
    if (reader->stopped) return;
    if (at && at->mark == ON_THE_WAY) {
        reader->node = draft->node.path;
        reader_fail(reader, tie->at, "'tie' goes in a circle: no parameter is left to be stored");
        reader->node = NULL;
        reader->unsound = true;
    }
    if (at) last = at; /* done before: it holds the end of its chain */
    for (at = tie; at && at->mark == ON_THE_WAY;) {
        struct tie *next = at->target && at != last ? tie_of(reader, at->target, at->target_param) : NULL;
        at->mark = DONE;
        if (at != last && last) {
            if (!last->target && last->unit != at->unit) {
                reader_fail(reader, at->at, "this leads to a value in another part of the graph: tie the value itself");
                reader->unsound = true;
            }
            at->target = last->target, at->target_param = last->target_param, at->value = last->value;
        }
        at = next;
    }
}

/* Single parameters first: they say more than the whole tie after them. */
static void write_ties(struct reader *reader, struct draft *draft) {
    bool whole = draft->shares && !draft->shares_by_path;
    size_t count = draft->tie_count + whole;
    if (!count) return;
    struct network_tie *out = reader_new(reader, count, sizeof *out);
    if (!out) return;
    draft->node.ties = out, draft->node.tie_count = count;
    if (whole) out[draft->tie_count] = (struct network_tie){NULL, draft->shares->node.param_path, {NETWORK_NOTHING, 0}, draft->shares_at};
    out += draft->tie_count; /* the list is the last one first */
    for (const struct tie *tie = draft->ties; tie; tie = tie->next) {
        *--out = (struct network_tie){tie->param, NULL, tie->value, tie->at};
        if (!tie->target) continue;
        out->value = (struct network_ref){NETWORK_NOTHING, 0};
        out->target = reader_join(reader, tie->target->node.param_path, tie->target_param);
    }
}

static void each_draft(struct reader *reader, void (*body)(struct reader *, struct draft *)) {
    for (struct unit *unit = reader->pass; unit; unit = unit->next)
        for (size_t i = 0; i < unit->count && !reader->stopped; i++) body(reader, unit->drafts[i]);
}

static void roots(struct reader *reader, struct draft *draft) {
    if (draft->shares) find_root(reader, draft);
}

/* What a node shares may itself be tied. */
static void inherit(struct reader *reader, struct draft *draft) {
    for (const struct tie *tie = draft->shares ? draft->shares->ties : NULL; tie && !reader->stopped; tie = tie->next)
        if (!tie_of(reader, draft, tie->param)) tie_add(reader, draft, tie->param, tie);
}

/* Roots keep their own path, so the order does not matter. */
static void paths(struct reader *reader, struct draft *draft) {
    (void)reader;
    if (draft->shares && draft->shares_by_path) draft->node.param_path = draft->shares->node.param_path;
}

static void chains(struct reader *reader, struct draft *draft) {
    for (struct tie *tie = draft->ties; tie && !reader->stopped; tie = tie->next) follow(reader, draft, tie);
}

void resolve_ties(struct reader *reader) {
    for (size_t i = reader->tie_count; i-- > 0 && !reader->stopped;) {
        const struct tie_job *job = &reader->ties[i]; /* inner ones first: a job's subgraphs come after it */
        reader->node = reader_join(reader, job->frame->path, job->item->name);
        const struct document *tie = variables_put(reader, job->frame->environment, job->tie);
        if (!tie) continue;
        if (tie->kind == DOCUMENT_SCALAR) tie_whole(reader, job, tie);
        else if (tie->kind == DOCUMENT_MAPPING) tie_params(reader, job, tie);
        else reader_fail(reader, tie->at, "'tie' is a node's name, or a mapping from parameters to NODE.PARAM or values");
    }
    reader->node = NULL;
    each_draft(reader, roots);
    each_draft(reader, inherit);
    each_draft(reader, paths);
    each_draft(reader, chains);
    each_draft(reader, write_ties);
}

/* ---- Initial values ---- */

struct init_context {
    const struct document *value;
    struct position at;
};

static void init_add(struct reader *reader, struct draft *draft, const char *name, void *context) {
    const struct init_context *init = context;
    if (draft->broken) return;
    for (size_t i = 0; i < draft->node.init_count; i++)
        if (strcmp(draft->node.inits[i].name, name) == 0) return; /* said further out */
    for (size_t i = 0; i < draft->node.in_count && draft->entry; i++) {
        struct network_edge *edge = &draft->node.in[i];
        if (!edge->delayed || strcmp(draft->entry->op->inputs.at[edge->port].name, name) != 0) continue;
        edge->init = init->value->text, edge->init_at = init->value->at;
        return;
    }
    const struct flow_operator *op = draft->entry ? draft->entry->op : NULL;
    bool known = op && (has_param(op, name) || declares(op));
    for (uint32_t i = 0; op && i < op->states.count && !known; i++) known = strcmp(op->states.at[i].name, name) == 0;
    if (!op) return;
    if (!known) {
        struct hint hint;
        hint_init(reader, &hint, name);
        for (uint32_t i = 0; i < op->params.count; i++) hint_offer(&hint, op->params.at[i].name);
        for (uint32_t i = 0; i < op->states.count; i++) hint_offer(&hint, op->states.at[i].name);
        reader_fail(reader, init->at, "operator '%s' has no parameter or state '%.100s'%s", op->name, name, hint_text(&hint));
        return;
    }
    if (!reader_spend(reader, init->at, 1 + (int64_t)draft->node.init_count)) return;
    struct network_init *grown = reader_new(reader, draft->node.init_count + 1, sizeof *grown);
    if (!grown) return;
    if (draft->node.init_count) memcpy(grown, draft->node.inits, draft->node.init_count * sizeof *grown);
    grown[draft->node.init_count++] = (struct network_init){name, init->value->text, init->value->at};
    draft->node.inits = grown;
}

/* The first value of a subgraph's input that the run before feeds. */
static bool init_input(struct item *item, const char *name, const struct document *value) {
    bool found = false;
    for (size_t k = 0; k < item->copy_count; k++) {
        struct frame *copy = item->copies[k];
        struct item *input = frame_item(copy, name);
        if (!input || input->kind != ITEM_INPUT || copy->root) continue;
        struct draft *draft = copy->unit->drafts[copy->inputs[input->input].ref.node];
        if (!draft->node.in_count || !draft->node.in[0].delayed) continue;
        draft->node.in[0].init = value->text, draft->node.in[0].init_at = value->at;
        found = true;
    }
    return found;
}

static bool init_loop(struct draft *draft, struct item *item, const char *name, const struct document *value) {
    bool found = false;
    struct item *input = frame_item(item->copies[0], name);
    for (size_t i = 0; input && input->kind == ITEM_INPUT && i < draft->node.in_count; i++) {
        struct network_edge *edge = &draft->node.in[i];
        if (edge->port != input->input || !edge->delayed) continue;
        edge->init = value->text, edge->init_at = value->at;
        found = true;
    }
    return found;
}

void resolve_inits(struct reader *reader, struct frame *frame, struct item *item) {
    const struct document *inits = document_get(item->doc, "init");
    if (!inits || !(inits = variables_put(reader, frame->environment, inits))) return;
    if (inits->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, inits->at, "'init' is a mapping from parameters and states to initialisers");
        return;
    }
    for (size_t i = 0; i < inits->count && !reader->stopped; i++) {
        const struct document *key = inits->keys[i], *value = inits->values[i];
        struct init_context context = {value, key->at};
        if (value->kind != DOCUMENT_SCALAR) {
            reader_fail(reader, value->at, "an initialiser is a word, or a word with arguments: zeros, \"uniform(-1, 1)\"");
            continue;
        }
        if (item->kind == ITEM_NODE) init_add(reader, frame->unit->drafts[item->node], key->text, &context);
        else if (item->kind == ITEM_GRAPH && init_input(item, key->text, value)) continue;
        else if (item->kind == ITEM_LOOP && init_loop(frame->unit->drafts[item->node], item, key->text, value)) continue;
        else each_inner(reader, item, key, init_add, &context);
    }
}
