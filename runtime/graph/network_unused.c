/* SPDX-License-Identifier: Apache-2.0 */
/* What nothing uses. A file's nodes are reached from its outputs and from what the stages of its training name; a node inside a subgraph
 * from the subgraph's outputs, so that an output which this file leaves alone is no fault of the subgraph. */
#include "graph/network_training.h"

#include <string.h>

struct walk {
    struct reader *reader;
    struct unit *unit;
    const struct network *network;
    bool *reached;
    int32_t *stack;
    size_t depth;
};

static void reach(struct walk *walk, struct network_ref ref) {
    if (ref.node < 0 || walk->reached[ref.node]) return;
    walk->reached[ref.node] = true;
    walk->stack[walk->depth++] = ref.node;
}

static bool find_owners(struct reader *reader, struct unit *unit) {
    const struct network *network = unit->network;
    map_init(&unit->owners, &reader->scratch);
    unit->owned = true;
    for (size_t i = network->node_count; i-- > 0;)
        if (!reader_set(reader, &unit->owners, network->nodes[i].param_path, (int64_t)i)) return false;
    return true;
}

/* The node whose parameter, or all of whose parameters, `target` names. */
static void reach_owner(struct walk *walk, const char *target) {
    char path[(NAME_MOST + 1) * (NESTING_MOST + 2)];
    size_t length = strlen(target);
    int64_t node;
    if (length >= sizeof path || (!walk->unit->owned && !find_owners(walk->reader, walk->unit))) return;
    memcpy(path, target, length + 1);
    for (char *dot = path + length; dot; dot = strrchr(path, '.')) {
        *dot = 0;
        if (map_get(&walk->unit->owners, path, &node)) reach(walk, (struct network_ref){(int32_t)node, 0});
    }
}

static void spread(struct walk *walk) {
    while (walk->depth) {
        const struct network_node *node = &walk->network->nodes[walk->stack[--walk->depth]];
        for (size_t i = 0; i < node->in_count; i++) reach(walk, node->in[i].from);
        for (size_t i = 0; i < node->tie_count; i++)
            if (node->ties[i].target) reach_owner(walk, node->ties[i].target);
            else reach(walk, node->ties[i].value);
    }
}

static bool walk_begin(struct reader *reader, struct unit *unit, struct walk *walk) {
    size_t count = unit->network->node_count;
    *walk = (struct walk){.reader = reader, .unit = unit, .network = unit->network};
    if (!unit->reached) unit->reached = reader_scratch(reader, count, sizeof *unit->reached);
    walk->reached = unit->reached;
    walk->stack = reader_scratch(reader, count, sizeof *walk->stack);
    return walk->reached && walk->stack;
}

/* Could a parameter below `path` match? Said yes to too often rather than too seldom. */
static bool may_match(const char *pattern, const char *path) {
    size_t fixed = strcspn(pattern, "*"), length = strlen(path);
    return strncmp(pattern, path, fixed < length ? fixed : length) == 0;
}

enum { PATTERNS_MOST = 64 };

static void reach_patterns(struct walk *walk, const char *const *patterns, size_t count) {
    const struct network *network = walk->network;
    for (size_t i = 0; count && i < network->node_count; i++)
        for (size_t k = 0; k < count && !walk->reached[i]; k++)
            if (may_match(patterns[k], network->nodes[i].param_path)) reach(walk, (struct network_ref){(int32_t)i, 0});
    if (count) walk->reader->work += (int64_t)(network->node_count * count / 16);
    spread(walk);
}

/* Nodes whose parameters a used node takes by a pattern. */
static void reach_matches(struct walk *walk) {
    const struct network *network = walk->network;
    const char *patterns[PATTERNS_MOST];
    size_t count = 0;
    for (size_t i = 0; i < network->node_count; i++)
        if (walk->reached[i] && network->nodes[i].match && count < PATTERNS_MOST) patterns[count++] = network->nodes[i].match;
    reach_patterns(walk, patterns, count);
}

/* Parameters that are copied, or moved without a gradient, may be all that a node is for. */
static void mark_kept(struct walk *walk, const struct training *training) {
    const char *patterns[PATTERNS_MOST];
    size_t count = 0;
    for (size_t i = 0; i < training->copy_count && count + 2 <= PATTERNS_MOST; i++)
        patterns[count++] = training->copies[i].from, patterns[count++] = training->copies[i].to;
    for (size_t i = 0; i < training->update_count && count + 2 <= PATTERNS_MOST; i++) {
        const struct training_update *update = &training->updates[i];
        if (!update->optimizer || !(update->optimizer->optimizer->flags & (FLOW_OPTIMIZER_VALUE | FLOW_OPTIMIZER_OF))) continue;
        patterns[count++] = update->params;
        if (update->of) patterns[count++] = update->of;
    }
    reach_patterns(walk, patterns, count);
}

void unused_mark(struct reader *reader, const struct frame *frame, const struct training *training) {
    struct walk walk;
    struct unit *unit = frame ? frame->unit : NULL;
    if (!unit || !unit->final || !walk_begin(reader, unit, &walk)) return;
    for (size_t i = 0; i < training->loss_count; i++) reach(&walk, training->losses[i].ref);
    for (size_t i = 0; i < training->update_count; i++) {
        reach(&walk, training->updates[i].value);
        if (training->updates[i].has_loss) reach(&walk, training->updates[i].loss.ref);
    }
    for (size_t v = 0; v < training->validate_count; v++)
        for (size_t m = 0; m < training->validates[v].metric_count; m++) {
            const struct training_metric *metric = &training->validates[v].metrics[m];
            reach(&walk, metric->ref);
            for (size_t i = 0; i < metric->pair_count; i++) reach(&walk, metric->pairs[i].ref);
        }
    spread(&walk);
    mark_kept(&walk, training);
    if (unit == reader->units) return;
    for (size_t i = 0; i < unit->network->node_count; i++)
        if (unit->reached[i]) reader_set(reader, &reader->used, unit->network->nodes[i].path, 1);
}

static bool add(struct reader *reader, struct network *network, size_t *room, struct network_unused unused) {
    if (network->unused_count >= *room) return false;
    network->unused[network->unused_count++] = unused;
    return !reader->stopped;
}

/* Items of the file: one is used where any of its nodes is. */
static void file_nodes(struct reader *reader, const struct frame *file, const bool *reached, struct network *network, size_t *room) {
    struct map used;
    map_init(&used, &reader->scratch);
    for (size_t i = 0; i < network->node_count; i++) {
        const char *path = network->nodes[i].path;
        if (!reached[i] && !map_get(&reader->used, path, NULL)) continue;
        char *name = arena_text_n(&reader->scratch, path, strcspn(path, "."));
        if (!name) reader_memory(reader);
        else if (!map_get(&used, name, NULL)) reader_set(reader, &used, name, 1);
    }
    for (size_t i = 0; i < file->item_count && !reader->stopped; i++) {
        const struct item *item = &file->items[i];
        if (item->kind == ITEM_INPUT || item->kind == ITEM_BROKEN || map_get(&used, item->name, NULL)) continue;
        add(reader, network, room, (struct network_unused){item->name, false, item->at});
    }
}

/* Nodes inside subgraphs, once for each place in the file. */
static void inner_nodes(struct reader *reader, const bool *reached, struct network *network, size_t *room) {
    struct map told;
    map_init(&told, &reader->scratch);
    for (size_t i = 0; i < network->node_count && !reader->stopped; i++) {
        const struct network_node *node = &network->nodes[i];
        if (reached[i] || node->kind == NETWORK_ENTER || !strchr(node->path, '.') || map_get(&reader->used, node->path, NULL)) continue;
        char *place = arena_format(&reader->scratch, "%s:%d:%d", node->at.file ? node->at.file : "", node->at.line, node->at.column);
        if (!place) reader_memory(reader);
        else if (!map_get(&told, place, NULL) && reader_set(reader, &told, place, 1))
            add(reader, network, room, (struct network_unused){node->path, false, node->at});
    }
}

void unused_write(struct reader *reader, struct source *source, struct frame *file, struct network *network) {
    struct walk walk;
    struct unit *unit = file->unit;
    size_t room = network->node_count + source->definition_count + file->item_count;
    if (!walk_begin(reader, unit, &walk)) return;
    network->unused = reader_new(reader, room, sizeof *network->unused);
    if (!network->unused) return;
    for (size_t i = 0; i < network->output_count; i++) reach(&walk, network->outputs[i].from);
    spread(&walk);
    reach_matches(&walk);
    file_nodes(reader, file, walk.reached, network, &room);
    for (size_t f = 0; f < unit->frame_count; f++)
        for (size_t o = 0; unit->frames[f] != file && o < unit->frames[f]->output_count; o++) {
            struct network_ref ref = unit->frames[f]->outputs[o].ref;
            if (ref.node >= 0) ref.node = unit->final[ref.node];
            reach(&walk, ref);
        }
    spread(&walk);
    inner_nodes(reader, walk.reached, network, &room);
    for (size_t i = 0; i < source->definition_count; i++) {
        const struct definition *definition = &source->definitions[i];
        if (!definition->used && !definition->broken)
            add(reader, network, &room, (struct network_unused){definition->name, true, definition->at});
    }
}
