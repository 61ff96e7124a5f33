/* SPDX-License-Identifier: Apache-2.0 */
/* From a network to what is drawn of it. Copies made by `repeat` that are alike are drawn as the first of them; values that cross the
 * border of a box do so at an ENTRY (the subgraph's input) or an EXIT; loops are boxes of the body's nodes. */
#include "graph/draw_scene.h"
#include "graph/draw_building.h"
#include "graph/training.h"

#include <string.h>

enum { SHOWN_MOST = 500, ATTRIBUTES_MOST = 30, ATTRIBUTES_ALL = 4000 };

/* One network, the file's or a loop's body. */
struct view {
    const struct network *network;
    const struct instance *instance;
    const char *const *shape; /* by value of the instance */
    int32_t root;             /* the box of its nodes */
    int32_t *group;           /* by scope */
    const char **canon;       /* by scope: its path with the numbers of folded copies 0 */
    bool *folded, *shadow;    /* by scope: its copies are alike; it stands within a copy that is not drawn */
    int32_t *node;            /* by node: what is drawn of it; a loop: the first of its EXITs */
    int32_t *input;           /* by input */
    bool *counted;            /* by node: a loop whose `count` is read */
    const struct instance_node **made;
};

/* ---- Values ---- */

static const char *shape_of(struct building *b, const struct view *view, int32_t value) {
    if (!view->instance || value < 0) return NULL;
    if (view->shape && view->shape[value]) return view->shape[value];
    const char *shape = scene_shape(b->scene->arena, &view->instance->values[value].type);
    if (!shape) b->failed = true;
    return shape;
}

static const char *type_of(const struct view *view, int32_t value) {
    return view->instance && value >= 0 ? dtype_name(view->instance->values[value].type.dtype) : NULL;
}

static int32_t value_of(const struct view *view, struct network_ref ref) {
    if (!view->instance) return -1;
    if (ref.node == NETWORK_INPUT) return (size_t)ref.output < view->instance->input_count ? view->instance->inputs[ref.output] : -1;
    const struct instance_node *made = ref.node >= 0 ? view->made[ref.node] : NULL;
    return made && (uint32_t)ref.output < made->out_count ? made->out[ref.output] : -1;
}

/* Where a value is drawn to come from. In closed boxes: a port of the box. */
static struct end end_of(struct building *b, const struct view *view, struct network_ref ref) {
    struct scene *scene = b->scene;
    if (ref.node == NETWORK_NOTHING) return (struct end){-1, 0};
    int32_t node = ref.node == NETWORK_INPUT ? view->input[ref.output] : view->node[ref.node];
    if (node < 0) return (struct end){-1, 0};
    if (ref.node == NETWORK_INPUT) return (struct end){node, 0};
    const struct network_node *source = &view->network->nodes[ref.node];
    if (scene->nodes[node].kind == SCENE_BOX) { /* by its own path: a folded copy's values are the first one's */
        const char *path = view->shadow[source->scope] ? strrchr(source->path, '.') : source->path;
        const char *key = arena_format(scene->arena, "c%d/%s/%d", (int)node, path ? path : source->path, (int)ref.output);
        int64_t known;
        if (key && map_get(&b->crossings, key, &known)) return (struct end){node, (int32_t)known};
        int32_t value = value_of(view, ref), port = key ? draw_add_out(b, node, NULL, shape_of(b, view, value), type_of(view, value)) : -1;
        if (port < 0 || map_set(&b->crossings, key, port) < 0) b->failed = true;
        return (struct end){port < 0 ? -1 : node, port};
    }
    if (source->kind == NETWORK_LOOP) {
        if ((size_t)ref.output >= source->body->output_count + view->counted[ref.node]) return (struct end){-1, 0};
        node += ref.output, ref.output = 0;
    }
    if (ref.output >= scene->nodes[node].out_count) ref.output = scene->nodes[node].out_count - 1;
    return (struct end){ref.output < 0 ? -1 : node, ref.output};
}

/* The half of a value that goes from run to run which is read: one in each box that reads it. */
static struct end remembered(struct building *b, const struct view *view, struct network_ref ref, int32_t group) {
    struct scene *scene = b->scene;
    struct end from = end_of(b, view, ref);
    if (from.node < 0 || b->failed) return (struct end){-1, 0};
    const char *written = draw_crossing_key(b, 'w', 0, from), *read = draw_crossing_key(b, 'r', group, from);
    int64_t write = -1, known;
    if (!written || !read) return (struct end){-1, 0};
    if (map_get(&b->crossings, read, &known)) return (struct end){(int32_t)known, 0};
    const char *path = ref.node == NETWORK_INPUT ? view->network->inputs[ref.output].name : view->network->nodes[ref.node].path;
    if (!map_get(&b->crossings, written, &write)) {
        write = draw_add_node(b, SCENE_WRITE, draw_home_out(scene, &scene->nodes[from.node]), path);
        if (write < 0 || draw_add_in(b, (int32_t)write, NULL) < 0 || map_set(&b->crossings, written, write) < 0) b->failed = true;
        if (b->failed) return (struct end){-1, 0};
        scene->nodes[write].op = "to the next run";
        draw_connect(b, from, (int32_t)write, 0);
    }
    int32_t node = draw_add_node(b, SCENE_READ, group, path), value = value_of(view, ref);
    if (node < 0 || draw_add_out(b, node, NULL, shape_of(b, view, value), type_of(view, value)) < 0 ||
        map_set(&b->crossings, read, node) < 0)
        b->failed = true;
    if (b->failed) return (struct end){-1, 0};
    scene->nodes[node].op = "from the run before", scene->nodes[node].pair = (int32_t)write;
    if (scene->nodes[write].pair < 0) scene->nodes[write].pair = node;
    return (struct end){node, 0};
}

/* ---- Scopes: boxes of subgraphs ---- */

static const char *canonical(struct building *b, const struct view *view, const struct network_node *node) {
    const struct network_scope *scope = &view->network->scopes[node->scope];
    if (!view->shadow[node->scope] || !scope->path) return node->path;
    size_t length = strlen(scope->path);
    if (strncmp(node->path, scope->path, length) != 0) return node->path;
    const char *path = arena_format(b->scene->arena, "%s%s", view->canon[node->scope], node->path + length);
    if (!path) b->failed = true;
    return path ? path : node->path;
}

/* "body.3" -> "body" */
static size_t base_length(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot ? (size_t)(dot - path) : strlen(path);
}

/* Which families of copies are alike: every node of copy k has its like in copy 0, and there are as many. */
static void find_folded(struct building *b, struct view *view) {
    const struct network *network = view->network;
    struct map paths;
    size_t scopes = (size_t)network->scope_count;
    int32_t *first = arena_array(b->scene->arena, scopes + 1, sizeof *first),
            *count = arena_array(b->scene->arena, scopes + 1, sizeof *count);
    map_init(&paths, b->scene->arena);
    if (!first || !count) {
        b->failed = true;
        return;
    }
    for (size_t i = 0; i < network->node_count; i++)
        if (map_set(&paths, network->nodes[i].path, (int64_t)i) < 0) b->failed = true;
    for (size_t s = 0; s < scopes; s++) { /* copies come in order, each with its own scopes between */
        const struct network_scope *scope = &network->scopes[s];
        view->folded[s] = scope->copies > 1, first[s] = (int32_t)s;
        if (scope->copies < 2 || scope->copy == 0 || !scope->path) continue;
        for (int32_t t = (int32_t)s - 1; t >= 0; t--) {
            const struct network_scope *other = &network->scopes[t];
            if (other->outer != scope->outer || other->copies != scope->copies || !other->path ||
                base_length(other->path) != base_length(scope->path) || strncmp(other->path, scope->path, base_length(scope->path)) != 0)
                continue;
            first[s] = first[t];
            break;
        }
    }
    for (size_t i = 0; i < network->node_count && !b->failed; i++) {
        const struct network_node *node = &network->nodes[i];
        for (int32_t s = node->scope; s > 0; s = network->scopes[s].outer) {
            const struct network_scope *scope = &network->scopes[s];
            count[s]++;
            if (scope->copies < 2 || first[s] == s || !view->folded[first[s]]) continue;
            int64_t like;
            const char *path = arena_format(b->scene->arena, "%s%s", network->scopes[first[s]].path, node->path + strlen(scope->path));
            if (!path) b->failed = true;
            if (!path || !map_get(&paths, path, &like) || network->nodes[like].entry != node->entry ||
                network->nodes[like].kind != node->kind || network->nodes[like].in_count != node->in_count)
                view->folded[first[s]] = false;
        }
    }
    for (size_t s = 0; s < scopes; s++)
        if (first[s] != (int32_t)s && count[s] != count[first[s]]) view->folded[first[s]] = false;
    for (size_t s = 0; s < scopes; s++) view->folded[s] = view->folded[first[s]] && !b->scene->options->unfold;
}

static void name_scope(struct building *b, struct view *view, size_t s) {
    const struct network_scope *scope = &view->network->scopes[s], *outer = &view->network->scopes[scope->outer];
    const char *prefix = view->canon[scope->outer]; /* of the outermost: nothing, as paths of a loop's body are whole */
    size_t skip = outer->path && scope->outer ? strlen(outer->path) : 0;
    const char *rest = scope->path + skip;
    bool fold = view->folded[s];
    if (fold) view->canon[s] = arena_format(b->scene->arena, "%s%.*s.0", prefix, (int)base_length(rest), rest);
    else view->canon[s] = arena_format(b->scene->arena, "%s%s", prefix, rest);
    view->shadow[s] = view->shadow[scope->outer] || (fold && scope->copy > 0);
    if (!view->canon[s]) b->failed = true;
}

static void add_scope(struct building *b, struct view *view, size_t s) {
    struct scene *scene = b->scene;
    const struct network_scope *scope = &view->network->scopes[s];
    int32_t parent = view->group[scope->outer];
    const char *within_outer = scope->path;
    const char *outer = scene->groups[parent].path;
    if (outer && strncmp(outer, scope->path, strlen(outer)) == 0 && scope->path[strlen(outer)] == '.') within_outer += strlen(outer) + 1;
    size_t length = view->folded[s] ? base_length(within_outer) : strlen(within_outer);
    const char *name = arena_text_n(scene->arena, within_outer, length);
    int32_t group = name ? draw_add_group(b, SCENE_GRAPH, parent, scope->path, name) : -1;
    if (group < 0) {
        b->failed = true;
        return;
    }
    view->group[s] = group;
    struct scene_group *made = &scene->groups[group];
    made->graph = scope->graph, made->copies = view->folded[s] ? scope->copies : 0, made->at = scope->at;
    if (made->hidden || (made->depth < b->depth)) return;
    int32_t node = draw_add_node(b, SCENE_BOX, parent, scope->path);
    if (node < 0) return;
    scene->groups[group].closed = node;
    scene->nodes[node].name = name, scene->nodes[node].at = scope->at;
    scene->nodes[node].op = scope->graph ? scope->graph : "subgraph";
}

static bool in_closed(const struct scene *scene, int32_t group) { return scene->groups[group].hidden || scene->groups[group].closed >= 0; }

static int32_t closed_node(const struct scene *scene, int32_t group) {
    while (scene->groups[group].closed < 0 || scene->groups[group].hidden) group = scene->groups[group].parent;
    return scene->groups[group].closed;
}

/* ---- Nodes ---- */

static void add_time(struct building *b, const char *path, int32_t node, int32_t group) {
    struct scene *scene = b->scene;
    int64_t entry;
    if (!scene->options->time_count || !map_get(&b->times, path, &entry)) return;
    double seconds = b->seconds[entry];
    if (node >= 0) scene->nodes[node].seconds = (scene->nodes[node].seconds < 0 ? 0 : scene->nodes[node].seconds) + seconds;
    for (; group > 0; group = scene->groups[group].parent)
        scene->groups[group].seconds = (scene->groups[group].seconds < 0 ? 0 : scene->groups[group].seconds) + seconds;
}

/* Names of ports are worth a place where they say which is which: not for a lone one, not a and b of an element-wise pair. */
static void add_ports(struct building *b, const struct view *view, const struct network_node *source, int32_t node) {
    const struct flow_operator *op = source->entry ? source->entry->op : NULL;
    struct scene *scene = b->scene;
    for (size_t k = 0; k < source->in_count && !b->failed; k++) {
        uint32_t row = (uint32_t)source->in[k].port, most = op && op->inputs.count ? op->inputs.count - 1 : 0;
        const char *name = op && op->inputs.count ? op->inputs.at[row > most ? most : row].name : NULL;
        draw_add_in(b, node, name);
        bool variadic = op && op->inputs.count && (op->inputs.at[row > most ? most : row].flags & FLOW_VARIADIC);
        if (op && op->inputs.count > 1 && source->in_count > 1 && !variadic && !(op->flags & FLOW_OP_POINTWISE))
            scene->nodes[node].names = true;
    }
    const struct instance_node *made = scene->nodes[node].instance;
    uint32_t outs = made ? made->out_count : op ? op->outputs.count : 1;
    for (uint32_t k = 0; k < outs && !b->failed; k++) {
        uint32_t most = op && op->outputs.count ? op->outputs.count - 1 : 0;
        int32_t value = made ? made->out[k] : -1;
        draw_add_out(b, node, op && op->outputs.count ? op->outputs.at[k > most ? most : k].name : NULL, shape_of(b, view, value),
                     type_of(view, value));
    }
}

static void add_operator(struct building *b, struct view *view, size_t i, int32_t group) {
    struct scene *scene = b->scene;
    const struct network_node *source = &view->network->nodes[i];
    int32_t node = draw_add_node(b, SCENE_OPERATOR, group, source->path);
    view->node[i] = node;
    if (node < 0) return;
    struct scene_node *at = &scene->nodes[node];
    at->source = source, at->instance = view->made[i], at->at = source->at;
    at->op = source->kind == NETWORK_PARAMETERS ? "parameters" : source->entry ? source->entry->op->name : "unknown";
    at->family = source->entry ? source->entry->plugin : NULL;
    at->about = source->match ? source->match : scene_attributes(scene->arena, source->with, ATTRIBUTES_MOST);
    at->more = scene_attributes(scene->arena, source->with, ATTRIBUTES_ALL);
    if (view->root == 0 && scene->options->stream) at->stream = scene->options->stream[i];
    const struct instance_node *made = at->instance;
    for (int32_t s = made && made->streaming ? made->state : 0; made && made->streaming && s < made->state + made->state_count; s++)
        at->state_bytes += scene_numbers(&view->instance->states[s].out) * dtype_bytes(view->instance->states[s].out.dtype);
    if (scene_params(scene, at, view->instance) < 0) b->failed = true;
    add_ports(b, view, source, node);
    /* A parameter that another node computes is one input more. */
    for (size_t t = 0; t < source->tie_count && !b->failed; t++)
        if (!source->ties[t].target && source->ties[t].param) draw_add_in(b, node, source->ties[t].param), scene->nodes[node].names = true;
}

static void add_entry(struct building *b, struct view *view, size_t i, int32_t group) {
    struct scene *scene = b->scene;
    const struct network_node *source = &view->network->nodes[i];
    int32_t value = view->made[i] && view->made[i]->out_count ? view->made[i]->out[0] : -1;
    int32_t node = draw_add_node(b, SCENE_ENTRY, group, source->path);
    view->node[i] = node;
    if (node < 0) return;
    scene->nodes[node].source = source, scene->nodes[node].at = source->at;
    if (draw_add_in(b, node, NULL) < 0 || draw_add_out(b, node, NULL, shape_of(b, view, value), type_of(view, value)) < 0) b->failed = true;
}

static void add_network(struct building *b, struct view *view, const struct view *outer, const struct network_node *loop);

static const char *loop_note(struct building *b, const struct network_node *source) {
    const struct network_loop *loop = &source->loop;
    const char *until =
        loop->until >= 0 && (size_t)loop->until < source->body->output_count ? source->body->outputs[loop->until].name : NULL;
    const char *most = loop->max >= 0 ? arena_format(b->scene->arena, "%lld", (long long)loop->max) : NULL, *note;
    if (most && until) note = arena_format(b->scene->arena, "loop, at most %s times, until %s", most, until);
    else if (most) note = arena_format(b->scene->arena, "loop, %s times", most);
    else if (loop->over_count)
        note = arena_format(b->scene->arena, "loop over axis %d of %s", (int)loop->over[0].axis,
                            source->body->inputs[loop->over[0].port].name);
    else note = until ? arena_format(b->scene->arena, "loop until %s", until) : "loop";
    if (!note) b->failed = true;
    return note ? note : "loop";
}

static const char *const *shapes_of(const struct building *b, const struct instance *instance) {
    const struct draw_shapes *shapes = b->scene->options->shapes;
    while (shapes && shapes->instance != instance) shapes = shapes->next;
    return shapes ? shapes->shape : NULL;
}

static void add_loop(struct building *b, struct view *view, size_t i, int32_t parent) {
    struct scene *scene = b->scene;
    const struct network_node *source = &view->network->nodes[i];
    const struct instance_node *made = view->made[i];
    const char *dot = strrchr(source->path, '.');
    int32_t group = draw_add_group(b, SCENE_LOOP, parent, source->path, dot ? dot + 1 : source->path);
    if (group < 0) return;
    scene->groups[group].at = source->at, scene->groups[group].note = loop_note(b, source);
    scene->groups[group].graph = source->body->scopes ? source->body->scopes[0].graph : NULL;
    struct view body = {.network = source->body, .instance = made ? made->body : NULL, .root = group};
    body.shape = body.instance ? shapes_of(b, body.instance) : NULL;
    if (scene->groups[group].hidden) { /* only counted */
        add_network(b, &body, view, source);
        return;
    }
    if (scene->groups[group].depth >= b->depth) { /* closed: the box is a node with the loop's ports */
        int32_t node = draw_add_node(b, SCENE_BOX, parent, source->path);
        view->node[i] = node;
        if (node < 0) return;
        scene->groups[group].closed = node;
        scene->nodes[node].op = scene->groups[group].note, scene->nodes[node].at = source->at, scene->nodes[node].source = source;
        for (size_t k = 0; k < source->in_count; k++) draw_add_in(b, node, source->body->inputs[source->in[k].port].name);
        scene->nodes[node].names = source->in_count > 1;
        add_network(b, &body, view, source);
        return;
    }
    /* The EXITs stand side by side, so that the first one's number gives all: one for each output of the body, and for the count. */
    int32_t first = -1;
    for (size_t o = 0; o < source->body->output_count + view->counted[i] && !b->failed; o++) {
        bool counts = o == source->body->output_count;
        int32_t exit = draw_add_node(b, SCENE_EXIT, group, counts ? "count" : source->body->outputs[o].name);
        if (exit < 0) return;
        if (o == 0) first = exit;
        int32_t value = made && o < made->out_count ? made->out[o] : -1;
        if (draw_add_in(b, exit, NULL) < 0 || draw_add_out(b, exit, NULL, shape_of(b, view, value), type_of(view, value)) < 0)
            b->failed = true;
    }
    view->node[i] = first;
    add_network(b, &body, view, source);
    for (size_t o = 0; o < source->body->output_count && !b->failed; o++)
        draw_connect(b, end_of(b, &body, source->body->outputs[o].from), first + (int32_t)o, 0);
    for (size_t k = 0; k < source->loop.carry_count && !b->failed; k++) {
        const struct network_pair *pair = &source->loop.carry[k];
        int32_t entry = body.input[pair->input], exit = first + pair->output;
        scene->nodes[entry].pair = exit;
        if (scene->nodes[exit].pair < 0) scene->nodes[exit].pair = entry;
    }
}

static void add_nodes(struct building *b, struct view *view) {
    struct scene *scene = b->scene;
    for (size_t i = 0; i < view->network->node_count && !b->failed; i++) {
        const struct network_node *source = &view->network->nodes[i];
        int32_t group = view->group[source->scope];
        if (view->shadow[source->scope]) {
            view->node[i] = -1;
            continue;
        }
        if (in_closed(scene, group)) {
            view->node[i] = closed_node(scene, group);
            if (source->kind == NETWORK_ENTER) continue;
            struct scene_node *box = &scene->nodes[view->node[i]];
            box->inside++;
            add_time(b, source->path, view->node[i], group);
            struct scene_node inner = {.instance = view->made[i], .source = source};
            if (scene_params(scene, &inner, view->instance) < 0) b->failed = true;
            box = &scene->nodes[view->node[i]];
            box->numbers += inner.numbers, box->bytes += inner.bytes;
            if (source->kind == NETWORK_LOOP) {
                int32_t node = view->node[i];
                add_loop(b, view, i, group);
                view->node[i] = node;
            }
            continue;
        }
        if (source->kind == NETWORK_ENTER) add_entry(b, view, i, group);
        else if (source->kind == NETWORK_LOOP) add_loop(b, view, i, group);
        else add_operator(b, view, i, group);
        add_time(b, source->path, source->kind == NETWORK_OPERATOR || source->kind == NETWORK_PARAMETERS ? view->node[i] : -1, group);
        for (int32_t g = group; g > 0; g = scene->groups[g].parent) scene->groups[g].inside += source->kind != NETWORK_ENTER;
    }
}

/* Copies that are not drawn: their times and parameters go to the first. */
static void add_shadows(struct building *b, struct view *view) {
    struct scene *scene = b->scene;
    struct map paths;
    map_init(&paths, scene->arena);
    for (size_t i = 0; i < view->network->node_count && !b->failed; i++)
        if (!view->shadow[view->network->nodes[i].scope] && map_set(&paths, view->network->nodes[i].path, (int64_t)i) < 0) b->failed = true;
    for (size_t i = 0; i < view->network->node_count && !b->failed; i++) {
        const struct network_node *source = &view->network->nodes[i];
        int64_t like;
        if (!view->shadow[source->scope] || !map_get(&paths, canonical(b, view, source), &like)) continue;
        view->node[i] = view->node[like];
        if (source->kind == NETWORK_ENTER || view->node[i] < 0) continue;
        struct scene_node inner = {.instance = view->made[i], .source = source};
        if (scene_params(scene, &inner, view->instance) < 0) b->failed = true;
        if (source->kind != NETWORK_LOOP)
            scene->nodes[view->node[i]].numbers += inner.numbers, scene->nodes[view->node[i]].bytes += inner.bytes;
        add_time(b, source->path, source->kind == NETWORK_LOOP ? -1 : view->node[i], view->group[view->network->nodes[like].scope]);
    }
}

/* ---- Edges ---- */

static struct end source_of(struct building *b, const struct view *view, const struct network_edge *edge, int32_t reader) {
    if (edge->delayed) return remembered(b, view, edge->from, draw_home_in(b->scene, &b->scene->nodes[reader]));
    return end_of(b, view, edge->from);
}

/* A closed box has one port for each input of its subgraph, made when it is first fed. */
static void feed_closed(struct building *b, const struct view *view, const struct network_node *source, int32_t box) {
    struct network_ref ref = source->in[0].from;
    if (!source->in[0].delayed && ref.node >= 0 && view->node[ref.node] == box) return; /* from within */
    const struct end from = source_of(b, view, &source->in[0], box);
    const char *name = strrchr(source->path, '.');
    if (from.node < 0 || from.node == box) return;
    const char *key = draw_crossing_key(b, 'f', box, from);
    int64_t known;
    if (!key || map_get(&b->crossings, key, &known)) return;
    int32_t port = draw_add_in(b, box, name ? name + 1 : source->path);
    if (port < 0 || map_set(&b->crossings, key, port) < 0) b->failed = true;
    b->scene->nodes[box].names = b->scene->nodes[box].in_count > 1;
    draw_connect(b, from, box, port);
}

static void add_edges(struct building *b, struct view *view) {
    struct scene *scene = b->scene;
    for (size_t i = 0; i < view->network->node_count && !b->failed; i++) {
        const struct network_node *source = &view->network->nodes[i];
        int32_t node = view->node[i];
        if (node < 0 || view->shadow[source->scope]) continue;
        int32_t group = view->group[source->scope];
        if (in_closed(scene, group)) {
            for (size_t k = 0; source->kind == NETWORK_ENTER && k < source->in_count && k < 1; k++) feed_closed(b, view, source, node);
            continue;
        }
        if (source->kind == NETWORK_LOOP && scene->nodes[node].kind == SCENE_EXIT) {
            for (size_t k = 0; k < source->in_count; k++) {
                int32_t entry = -1; /* of the body's input, made when the body was drawn */
                int64_t known;
                const char *key = arena_format(scene->arena, "l%d/%d", (int)node, (int)source->in[k].port);
                if (!key) b->failed = true;
                else if (map_get(&b->crossings, key, &known)) entry = (int32_t)known;
                if (entry >= 0) draw_connect(b, source_of(b, view, &source->in[k], entry), entry, 0);
            }
            continue;
        }
        for (size_t k = 0; k < source->in_count && !b->failed; k++)
            draw_connect(b, source_of(b, view, &source->in[k], node), node, (int32_t)k);
        int32_t port = (int32_t)source->in_count;
        for (size_t t = 0; t < source->tie_count && scene->nodes[node].kind == SCENE_OPERATOR && !b->failed; t++)
            if (!source->ties[t].target && source->ties[t].param) draw_connect(b, end_of(b, view, source->ties[t].value), node, port++);
    }
}

/* ---- Networks ---- */

static const char *fed_by(struct building *b, size_t input) {
    const struct training *training = b->scene->network->training;
    const char *text = NULL;
    for (size_t d = 0; training && d < training->data_count && !text; d++)
        for (size_t k = 0; k < training->datas[d].feed_count && !text; k++)
            if (training->datas[d].feeds[k].input == (int32_t)input) {
                const struct training_data *data = &training->datas[d];
                text = arena_format(b->scene->arena, "%s.%s (%s)", data->name, data->feeds[k].output,
                                    data->source ? data->source->source->name : "graph");
                if (!text) b->failed = true;
            }
    return text;
}

static void add_inputs(struct building *b, struct view *view, const struct network_node *loop, int32_t loop_node) {
    struct scene *scene = b->scene;
    for (size_t i = 0; i < view->network->input_count && !b->failed; i++) {
        const struct network_input *input = &view->network->inputs[i];
        int32_t value = view->instance ? view->instance->inputs[i] : -1;
        bool closed = loop && in_closed(scene, view->root);
        if (closed) {
            view->input[i] = closed_node(scene, view->root);
            continue;
        }
        int32_t node = draw_add_node(b, loop ? SCENE_ENTRY : SCENE_INPUT, view->root, input->name);
        view->input[i] = node;
        if (node < 0) return;
        scene->nodes[node].input = input, scene->nodes[node].at = input->at;
        if (loop) {
            if (draw_add_in(b, node, NULL) < 0) return;
            const char *key = arena_format(scene->arena, "l%d/%d", (int)loop_node, (int)i);
            if (!key || map_set(&b->crossings, key, node) < 0) b->failed = true;
            scene->nodes[node].about = loop->loop.index == (int32_t)i ? "counts" : NULL;
        } else {
            scene->nodes[node].op = "input", scene->nodes[node].about = fed_by(b, i);
        }
        draw_add_out(b, node, NULL, shape_of(b, view, value), type_of(view, value));
    }
}

static void add_outputs(struct building *b, struct view *view) {
    for (size_t i = 0; i < view->network->output_count && !b->failed; i++) {
        const struct network_output *output = &view->network->outputs[i];
        int32_t node = draw_add_node(b, SCENE_OUTPUT, 0, output->name);
        if (node < 0 || draw_add_in(b, node, NULL) < 0) return;
        b->scene->nodes[node].op = "output", b->scene->nodes[node].at = output->at;
        struct end from = end_of(b, view, output->from);
        draw_connect(b, from, node, 0);
    }
}

/* Loops whose number of iterations something reads. */
static void find_counted(struct view *view) {
    const struct network *network = view->network;
    for (size_t i = 0; i < network->node_count + network->output_count; i++) {
        bool output = i >= network->node_count;
        size_t count = output ? 1 : network->nodes[i].in_count;
        for (size_t k = 0; k < count; k++) {
            struct network_ref ref = output ? network->outputs[i - network->node_count].from : network->nodes[i].in[k].from;
            const struct network_node *from = ref.node >= 0 ? &network->nodes[ref.node] : NULL;
            if (from && from->kind == NETWORK_LOOP && (size_t)ref.output == from->body->output_count) view->counted[ref.node] = true;
        }
    }
}

static void find_made(struct view *view) {
    if (!view->instance) return;
    for (size_t k = 0; k < view->instance->node_count; k++) {
        const struct instance_node *made = &view->instance->nodes[k];
        if (made->role == NODE_FORWARD && made->source >= view->network->nodes &&
            made->source < view->network->nodes + view->network->node_count)
            view->made[made->source - view->network->nodes] = made;
    }
}

static void add_network(struct building *b, struct view *view, const struct view *outer, const struct network_node *loop) {
    struct scene *scene = b->scene;
    const struct network *network = view->network;
    size_t scopes = (size_t)(network->scope_count > 0 ? network->scope_count : 1);
    view->group = arena_array(scene->arena, scopes, sizeof *view->group);
    view->canon = arena_array(scene->arena, scopes, sizeof *view->canon);
    view->folded = arena_array(scene->arena, scopes, sizeof *view->folded);
    view->shadow = arena_array(scene->arena, scopes, sizeof *view->shadow);
    view->node = arena_array(scene->arena, network->node_count + 1, sizeof *view->node);
    view->made = arena_array(scene->arena, network->node_count + 1, sizeof *view->made);
    view->input = arena_array(scene->arena, network->input_count + 1, sizeof *view->input);
    view->counted = arena_array(scene->arena, network->node_count + 1, sizeof *view->counted);
    if (!view->group || !view->canon || !view->folded || !view->shadow || !view->node || !view->made || !view->input || !view->counted ||
        !network->scopes) {
        b->failed = true;
        return;
    }
    view->group[0] = view->root, view->canon[0] = "";
    find_made(view), find_counted(view);
    find_folded(b, view);
    for (size_t s = 1; s < scopes && !b->failed; s++) {
        name_scope(b, view, s);
        if (!b->failed && !view->shadow[s]) add_scope(b, view, s);
        else view->group[s] = view->group[network->scopes[s].outer];
    }
    int32_t loop_node = loop && outer ? outer->node[loop - outer->network->nodes] : -1;
    if (!b->failed) add_inputs(b, view, loop, loop_node);
    if (!b->failed) add_nodes(b, view);
    if (!b->failed) add_shadows(b, view);
    if (!b->failed) add_edges(b, view);
    if (!b->failed && !loop) add_outputs(b, view);
}

static void mark_losses(struct scene *scene) {
    const struct training *training = scene->network->training;
    for (size_t n = 0; training && n < scene->node_count; n++) {
        struct scene_node *node = &scene->nodes[n];
        if (node->kind != SCENE_OPERATOR || !node->source) continue;
        for (size_t l = 0; l < training->loss_count; l++) {
            int32_t ref = training->losses[l].ref.node;
            if (ref >= 0 && &scene->network->nodes[ref] == node->source) node->loss = true;
        }
        for (size_t u = 0; u < training->update_count; u++) {
            int32_t ref = training->updates[u].has_loss ? training->updates[u].loss.ref.node : -1;
            if (ref >= 0 && &scene->network->nodes[ref] == node->source) node->loss = true;
        }
    }
}

/* A shape that only leaves its box stands outside alone. */
static int drop_inner_shapes(struct scene *scene) {
    size_t ports = 0;
    int32_t *base = arena_array(scene->arena, scene->node_count + 1, sizeof *base);
    if (!base) return FLOW_ERROR_MEMORY;
    for (size_t n = 0; n < scene->node_count; n++) base[n] = (int32_t)ports, ports += (size_t)scene->nodes[n].out_count;
    char *read = arena_array(scene->arena, ports + 1, 1); /* 1: leaves, 2: is read within */
    if (!read) return FLOW_ERROR_MEMORY;
    for (size_t e = 0; e < scene->edge_count; e++) {
        const struct scene_edge *edge = &scene->edges[e];
        const struct scene_node *to = &scene->nodes[edge->to];
        bool leaves = to->kind == SCENE_EXIT && to->in_count && edge->group == to->group && to->out_count && to->out[0].shape;
        read[base[edge->from] + edge->out] |= leaves ? 1 : 2;
    }
    for (size_t n = 0; n < scene->node_count; n++)
        for (int32_t k = 0; k < scene->nodes[n].out_count; k++) scene->nodes[n].out[k].silent = read[base[n] + k] == 1;
    return 0;
}

static int collect_families(struct scene *scene) {
    struct map known;
    map_init(&known, scene->arena);
    scene->families = arena_array(scene->arena, scene->node_count + 1, sizeof *scene->families);
    if (!scene->families) return FLOW_ERROR_MEMORY;
    for (size_t n = 0; n < scene->node_count; n++) {
        const char *family = scene->nodes[n].family;
        int64_t place;
        if (!family || map_get(&known, family, &place)) continue;
        if (map_set(&known, family, 1) < 0) return FLOW_ERROR_MEMORY;
        size_t at = scene->family_count++;
        for (; at > 0 && strcmp(scene->families[at - 1], family) > 0; at--) scene->families[at] = scene->families[at - 1];
        scene->families[at] = family;
    }
    return 0;
}

int32_t scene_color(const struct scene *scene, const char *family, int32_t count) {
    uint64_t used = 0;
    int32_t color = 0;
    for (size_t f = 0; f < scene->family_count; f++) {
        uint32_t hash = 2166136261u;
        for (const char *c = scene->families[f]; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
        color = (int32_t)(hash % (uint32_t)count);
        for (int32_t k = 0; k < count && (used >> color & 1); k++) color = (color + 1) % count;
        used |= 1ull << color;
        if (strcmp(scene->families[f], family) == 0) return color;
    }
    return 0;
}

/* Boxes are closed from the deepest on until not too much is to be drawn; copies count once. */
static int32_t fitting_depth(const struct network *network, const struct draw_options *options) {
    enum { DEEPEST = 40 };
    int64_t by_depth[DEEPEST] = {0}, sum = 0;
    if (options->depth > 0) return options->depth;
    if (network->node_count <= SHOWN_MOST || !network->scopes) return INT32_MAX;
    for (size_t i = 0; i < network->node_count; i++) {
        int32_t deep = 0;
        bool copy = false;
        for (int32_t s = network->nodes[i].scope; s > 0; s = network->scopes[s].outer) deep++, copy = copy || network->scopes[s].copy > 0;
        if (network->nodes[i].kind != NETWORK_ENTER && (options->unfold || !copy)) by_depth[deep < DEEPEST ? deep : DEEPEST - 1]++;
    }
    for (int32_t d = 0; d < DEEPEST; d++) {
        sum += by_depth[d];
        if (sum > SHOWN_MOST) return d > 0 ? d : 1;
    }
    return INT32_MAX;
}

int scene_new(struct arena *arena, const struct network *network, const struct draw_options *options, struct scene *scene) {
    struct building b = {.scene = scene};
    *scene = (struct scene){.arena = arena, .network = network, .options = options};
    map_init(&b.crossings, arena), map_init(&b.times, arena);
    b.seconds = arena_array(arena, options->time_count + 1, sizeof *b.seconds);
    if (!b.seconds) return FLOW_ERROR_MEMORY;
    for (size_t t = 0; t < options->time_count; t++) {
        int64_t entry = (int64_t)t;
        if (!map_get(&b.times, options->times[t].node, &entry) && map_set(&b.times, options->times[t].node, entry) < 0)
            return FLOW_ERROR_MEMORY;
        b.seconds[entry] += options->times[t].seconds;
        scene->seconds += options->times[t].seconds;
    }
    b.depth = fitting_depth(network, options);
    scene->closed = options->depth <= 0 && b.depth < INT32_MAX;
    if (draw_add_group(&b, SCENE_GRAPH, -1, NULL, network->name) < 0) return FLOW_ERROR_MEMORY;
    struct view view = {.network = network, .instance = options->instance};
    view.shape = options->instance ? shapes_of(&b, options->instance) : NULL;
    add_network(&b, &view, NULL, NULL);
    if (b.failed) return FLOW_ERROR_MEMORY;
    for (size_t p = 0; options->instance && p < options->instance->param_count; p++) {
        const struct flow_tensor *type = &options->instance->values[options->instance->params[p]].type;
        scene->numbers += scene_numbers(type), scene->bytes += scene_numbers(type) * dtype_bytes(type->dtype);
    }
    for (size_t i = 0; i < network->node_count; i++) scene->operators += network->nodes[i].kind != NETWORK_ENTER;
    mark_losses(scene);
    if (drop_inner_shapes(scene) < 0) return FLOW_ERROR_MEMORY;
    return collect_families(scene);
}
