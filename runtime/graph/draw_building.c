/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/draw_building.h"

#include <string.h>

static void *grow(struct building *b, void *at, size_t count, size_t *room, size_t element) {
    if (count < *room) return at;
    size_t more = *room ? 2 * *room : 64;
    void *grown = arena_array(b->scene->arena, more, element);
    if (!grown) {
        b->failed = true;
        return NULL;
    }
    if (count) memcpy(grown, at, count * element);
    *room = more;
    return grown;
}

/* -1 where memory ran out. */
int32_t draw_add_node(struct building *b, enum scene_kind kind, int32_t group, const char *path) {
    struct scene *scene = b->scene;
    struct scene_node *grown = grow(b, scene->nodes, scene->node_count, &scene->node_room, sizeof *scene->nodes);
    if (!grown) return -1;
    scene->nodes = grown;
    const char *dot = strrchr(path, '.');
    scene->nodes[scene->node_count] = (struct scene_node){
        .kind = kind, .group = group, .path = path, .name = dot ? dot + 1 : path, .stream = -1, .pair = -1, .seconds = -1};
    return (int32_t)scene->node_count++;
}

int32_t draw_add_group(struct building *b, enum scene_group_kind kind, int32_t parent, const char *path, const char *name) {
    struct scene *scene = b->scene;
    struct scene_group *grown = grow(b, scene->groups, scene->group_count, &scene->group_room, sizeof *scene->groups);
    if (!grown) return -1;
    scene->groups = grown;
    struct scene_group *above = parent >= 0 ? &scene->groups[parent] : NULL;
    scene->groups[scene->group_count] = (struct scene_group){.kind = kind,
                                                             .parent = parent,
                                                             .path = path,
                                                             .name = name,
                                                             .depth = above ? above->depth + 1 : 0,
                                                             .hidden = above && (above->hidden || above->closed >= 0),
                                                             .closed = -1,
                                                             .seconds = -1};
    return (int32_t)scene->group_count++;
}

int32_t draw_add_out(struct building *b, int32_t node, const char *name, const char *shape, const char *type) {
    struct scene_node *at = &b->scene->nodes[node];
    size_t room = (size_t)at->out_room;
    struct scene_port *grown = grow(b, at->out, (size_t)at->out_count, &room, sizeof *at->out);
    if (!grown) return -1;
    at->out = grown, at->out_room = (int32_t)room;
    at->out[at->out_count] = (struct scene_port){.name = name, .shape = shape, .type = type};
    return at->out_count++;
}

int32_t draw_add_in(struct building *b, int32_t node, const char *name) {
    struct scene_node *at = &b->scene->nodes[node];
    size_t room = (size_t)at->in_room;
    struct scene_port *grown = grow(b, at->in, (size_t)at->in_count, &room, sizeof *at->in);
    if (!grown) return -1;
    at->in = grown, at->in_room = (int32_t)room;
    at->in[at->in_count] = (struct scene_port){.name = name};
    return at->in_count++;
}

static void push_edge(struct building *b, struct end from, int32_t to, int32_t in, int32_t group) {
    struct scene *scene = b->scene;
    struct scene_edge *grown = grow(b, scene->edges, scene->edge_count, &scene->edge_room, sizeof *scene->edges);
    if (!grown) return;
    scene->edges = grown;
    scene->edges[scene->edge_count++] = (struct scene_edge){from.node, from.port, to, in, group};
}

/* ---- Crossing borders ---- */

static bool within(const struct scene *scene, int32_t group, int32_t outer) {
    while (group > outer) group = scene->groups[group].parent;
    return group == outer;
}

const char *draw_crossing_key(struct building *b, char kind, int32_t group, struct end value) {
    const char *key = arena_format(b->scene->arena, "%c%d/%d/%d", kind, (int)group, (int)value.node, (int)value.port);
    if (!key) b->failed = true;
    return key;
}

/* The value as it is seen on the other side of the border of `group`. */
static struct end cross(struct building *b, int32_t group, struct end value, bool out) {
    struct scene *scene = b->scene;
    const char *key = draw_crossing_key(b, out ? 'o' : 'i', group, value);
    int64_t known;
    if (!key) return (struct end){-1, 0};
    if (map_get(&b->crossings, key, &known)) return (struct end){(int32_t)known, 0};
    const struct scene_node *from = &scene->nodes[value.node];
    int32_t node = draw_add_node(b, out ? SCENE_EXIT : SCENE_ENTRY, group, from->path);
    if (node < 0) return (struct end){-1, 0};
    from = &scene->nodes[value.node];
    const struct scene_port *port = value.port < from->out_count ? &from->out[value.port] : NULL;
    scene->nodes[node].name = "", scene->nodes[node].at = from->at;
    if (draw_add_in(b, node, NULL) < 0 || draw_add_out(b, node, NULL, out && port ? port->shape : NULL, port ? port->type : NULL) < 0 ||
        map_set(&b->crossings, key, node) < 0)
        b->failed = true;
    if (b->failed) return (struct end){-1, 0};
    push_edge(b, value, node, 0, out ? group : scene->groups[group].parent);
    return (struct end){node, 0};
}

/* The box in which a node's outputs are at hand, and the one from which its inputs come. */
int32_t draw_home_out(const struct scene *scene, const struct scene_node *node) {
    return node->kind == SCENE_EXIT ? scene->groups[node->group].parent : node->group;
}
int32_t draw_home_in(const struct scene *scene, const struct scene_node *node) {
    return node->kind == SCENE_ENTRY ? scene->groups[node->group].parent : node->group;
}

void draw_connect(struct building *b, struct end from, int32_t to, int32_t in) {
    struct scene *scene = b->scene;
    if (from.node < 0 || to < 0 || in < 0 || b->failed) return;
    int32_t here = draw_home_out(scene, &scene->nodes[from.node]), there = draw_home_in(scene, &scene->nodes[to]), down[64];
    int depth = 0;
    while (!within(scene, there, here)) {
        from = cross(b, here, from, true), here = scene->groups[here].parent;
        if (from.node < 0) return;
    }
    for (int32_t g = there; g != here && depth < 64; g = scene->groups[g].parent) down[depth++] = g;
    while (depth-- > 0) {
        from = cross(b, down[depth], from, false);
        if (from.node < 0) return;
    }
    push_edge(b, from, to, in, there);
}
