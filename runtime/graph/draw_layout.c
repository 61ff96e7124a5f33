/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/draw_layout.h"

#include "graph/draw_rows.h"
#include "graph/draw_words.h"

#include <math.h>
#include <string.h>

enum { LABEL_ZONE = 17, CURVE_LEAST = 22, CURVE_MORE = 40, GAP = 24, PORT_GAP = 12, ROW_WIDEST = 2600, ARROW = 7 };

/* One level while it is laid out. */
struct level {
    const struct scene *scene;
    struct layout *layout;
    int32_t group;
    struct rows rows;
    int32_t *node_of;   /* by item: scene node, or -1 - group */
    int32_t *node_port; /* by source: where a line comes from: node, port */
    int32_t *edge_of;   /* by rows edge: scene edge */
};

struct laying {
    const struct scene *scene;
    struct layout *layout;
    int32_t *first_node, *nodes, *first_edge, *edges, *first_group, *groups; /* by group: what is in it */
    int32_t *item;                                                           /* by scene node: its item in the level in hand */
    int32_t *group_item;
    int32_t *port_base, *source; /* by node; by port: its number in the level; -1 */
};

const char *layout_label(struct arena *arena, const struct scene_port *port) {
    if (!port->shape || port->silent) return NULL;
    if (!port->type || strcmp(port->type, "f32") == 0) return port->shape;
    return arena_format(arena, "%s %s", port->shape, port->type);
}

const char *layout_chip(const struct scene_node *node, char text[16]) {
    text[0] = 0;
    return node->numbers > 0 ? words_count(text, node->numbers) : text;
}

double layout_mark(const struct scene_node *node) {
    char chip[16];
    double numbers = layout_chip(node, chip)[0] ? words_width(chip, TYPE_SMALL) + 24 : 0;
    double share = node->seconds >= 0 ? words_width("100.0%", TYPE_SMALL) + 12 : 0;
    return fmax(numbers, share);
}

const char *layout_tag_text(const struct scene *scene, const struct scene_edge *edge) {
    const struct scene_node *from = &scene->nodes[edge->from];
    return from->name[0] ? from->name : from->path;
}

const char *layout_title(struct arena *arena, const struct scene_group *group) {
    bool named = group->graph && strcmp(group->graph, group->name) != 0;
    if (group->kind == SCENE_LOOP) return group->note;
    if (group->copies) return arena_format(arena, "%s%s\xc3\x97 %d", named ? group->graph : "", named ? " " : "", (int)group->copies);
    return named ? group->graph : "";
}

/* ---- Nodes ---- */

/* Ports side by side, as far apart as their texts need, in the middle of the node. */
static int place_ports(struct arena *arena, const struct scene_node *node, double *width, double **in, double **out) {
    *in = arena_array(arena, (size_t)node->in_count + 1, sizeof **in), *out = arena_array(arena, (size_t)node->out_count + 1, sizeof **out);
    if (!*in || !*out) return -1;
    for (int side = 0; side < 2; side++) {
        const struct scene_port *ports = side ? node->out : node->in;
        int32_t count = side ? node->out_count : node->in_count;
        double *x = side ? *out : *in, at = 0, last = 0;
        for (int32_t k = 0; k < count; k++) {
            const char *label = side ? layout_label(arena, &ports[k]) : NULL;
            double half = side ? 0 : node->names ? words_width(ports[k].name, TYPE_PORT) / 2 : 0;
            if (k) at += side ? last + PORT_GAP : last + half + (node->names ? PORT_GAP / 2.0 : PORT_GAP);
            x[k] = at;
            last = side ? (label ? words_width(label, TYPE_SMALL) + 6 : 6) : half;
        }
        if (count && at + 28 > *width) *width = at + 28;
    }
    for (int side = 0; side < 2; side++) {
        int32_t count = side ? node->out_count : node->in_count;
        double *x = side ? *out : *in, span = count ? x[count - 1] : 0, stretch = 1;
        if (!side && count > 1 && span < *width * 0.5) stretch = *width * 0.5 / span; /* well apart */
        for (int32_t k = 0; k < count; k++) x[k] = *width / 2 + (x[k] - span / 2) * stretch;
    }
    return 0;
}

static int size_node(struct arena *arena, const struct scene_node *node, struct layout_node *out) {
    double name = words_width(node->name, TYPE_NAME), op = words_width(node->op, TYPE_OP), about = words_width(node->about, TYPE_SMALL);
    bool same = node->op && strcmp(node->op, node->name) == 0;
    double mark = layout_mark(node);
    switch (node->kind) {
    case SCENE_ENTRY:
    case SCENE_EXIT: out->width = 0, out->height = 0; break;
    case SCENE_READ:
    case SCENE_WRITE: out->width = words_width(node->name, TYPE_OP) + 40, out->height = 24; break;
    case SCENE_INPUT:
    case SCENE_OUTPUT: out->width = fmax(name, about) + 36, out->height = node->about ? 40 : 28; break;
    default:
        out->width = fmax(fmax(name + (same ? mark : 0), same ? 0 : op + mark), about) + 2 * 13 + STRIP;
        out->height = 30 + (same ? 0 : 14) + (node->about ? 13 : 0) + (node->names ? 10 : 0);
        if (node->kind == SCENE_BOX) out->height += 4, out->width += 12;
        if (node->loss) out->width += 6;
    }
    if (node->kind == SCENE_ENTRY || node->kind == SCENE_EXIT) {
        out->in = arena_array(arena, (size_t)node->in_count + 1, sizeof *out->in);
        out->out = arena_array(arena, (size_t)node->out_count + 1, sizeof *out->out);
        return out->in && out->out ? 0 : -1;
    }
    return place_ports(arena, node, &out->width, &out->in, &out->out);
}

/* Room that labels of outputs need to the right. */
static double reach(struct arena *arena, const struct scene_node *node, const struct layout_node *place) {
    double far = place->width;
    for (int32_t k = 0; k < node->out_count; k++) {
        const char *label = layout_label(arena, &node->out[k]);
        if (label && place->out[k] + 8 + words_width(label, TYPE_SMALL) > far) far = place->out[k] + 8 + words_width(label, TYPE_SMALL);
    }
    return far;
}

/* ---- One level ---- */

static const char *pin_text(const struct scene_node *node) {
    return node->source || node->input || node->kind == SCENE_EXIT ? node->name : "";
}

static void fill_items(struct laying *laying, struct level *level) {
    const struct scene *scene = laying->scene;
    struct layout *layout = laying->layout;
    struct rows *rows = &level->rows;
    for (int32_t k = laying->first_node[level->group]; k < laying->first_node[level->group + 1]; k++) {
        int32_t n = laying->nodes[k];
        const struct scene_node *node = &scene->nodes[n];
        struct rows_item *item = &rows->items[rows->item_count];
        const struct layout_node *place = &layout->nodes[n];
        *item = (struct rows_item){.width = place->width, .height = place->height, .hi = reach(scene->arena, node, place)};
        if (node->kind == SCENE_ENTRY || node->kind == SCENE_EXIT) {
            item->kind = node->kind == SCENE_ENTRY ? ROWS_TOP : ROWS_BOTTOM, item->height = node->kind == SCENE_ENTRY ? TITLE_HEIGHT : 16;
            double text = pin_text(node)[0] ? 20 + words_width(pin_text(node), TYPE_SMALL) : 6;
            item->lo = -7, item->hi = node->kind == SCENE_EXIT ? fmax(item->hi, text) : text;
        }
        level->node_of[rows->item_count] = n, laying->item[n] = rows->item_count++;
    }
    for (int32_t k = laying->first_group[level->group]; k < laying->first_group[level->group + 1]; k++) {
        int32_t g = laying->groups[k];
        const struct layout_group *place = &layout->groups[g];
        double far = place->width;
        for (int32_t m = laying->first_node[g]; m < laying->first_node[g + 1]; m++) { /* labels of its outputs */
            int32_t n = laying->nodes[m];
            if (scene->nodes[n].kind != SCENE_EXIT) continue;
            double right = layout->nodes[n].x + reach(scene->arena, &scene->nodes[n], &layout->nodes[n]);
            if (right > far) far = right;
        }
        rows->items[rows->item_count] = (struct rows_item){.width = place->width, .height = place->height, .hi = far};
        level->node_of[rows->item_count] = -1 - g, laying->group_item[g] = rows->item_count++;
    }
}

/* Item and place of an edge's end in the level: a node's port, or where the border of an inner box is crossed. */
static int32_t end_item(const struct laying *laying, const struct level *level, int32_t n, int32_t port, bool out, double *x) {
    const struct scene_node *node = &laying->scene->nodes[n];
    const struct layout_node *place = &laying->layout->nodes[n];
    bool border = node->kind == (out ? SCENE_EXIT : SCENE_ENTRY);
    if (border && node->group != level->group) {
        *x = place->x;
        return laying->group_item[node->group];
    }
    *x = place->width == 0 ? 0 : out ? place->out[port] : place->in[port];
    return laying->item[n];
}

static void fill_edges(struct laying *laying, struct level *level) {
    const struct scene *scene = laying->scene;
    struct rows *rows = &level->rows;
    int32_t sources = 0;
    for (int32_t k = laying->first_edge[level->group]; k < laying->first_edge[level->group + 1]; k++) {
        int32_t e = laying->edges[k];
        const struct scene_edge *edge = &scene->edges[e];
        struct rows_edge *made = &rows->edges[rows->edge_count];
        int32_t *source = &laying->source[laying->port_base[edge->from] + edge->out];
        if (*source < 0) {
            level->node_port[2 * sources] = edge->from, level->node_port[2 * sources + 1] = edge->out;
            *source = sources++;
        }
        made->source = *source;
        made->from = end_item(laying, level, edge->from, edge->out, true, &made->from_x);
        made->to = end_item(laying, level, edge->to, edge->in, false, &made->to_x);
        made->tag_width = words_width(layout_tag_text(scene, edge), TYPE_SMALL) + 26;
        level->edge_of[rows->edge_count++] = e;
    }
}

/* Of several inputs without names, the one that comes from right above enters in the middle: chains stay straight, the others come in from
 * the sides. */
static void centre_ports(struct level *level) {
    struct rows *rows = &level->rows;
    for (int32_t i = 0; i < rows->given; i++) {
        const struct scene_node *node = level->node_of[i] >= 0 ? &level->scene->nodes[level->node_of[i]] : NULL;
        int32_t main = -1, near = 0;
        if (!node || node->names || node->in_count < 2) continue;
        for (int32_t s = rows->up_start[i]; s < rows->up_start[i + 1]; s++) {
            const struct rows_link *link = &rows->links[rows->up[s]];
            if (link->edge >= 0 && rows->items[link->upper].kind == ROWS_ITEM)
                main = level->scene->edges[level->edge_of[link->edge]].in, near++;
        }
        if (near != 1) continue;
        struct layout_node *place = &level->layout->nodes[level->node_of[i]];
        double half = place->width / 2 - 12;
        for (int32_t k = 0; k < node->in_count; k++) {
            int32_t others = k < main ? main : node->in_count - 1 - main;
            place->in[k] = place->width / 2 + (others ? half * (k - main) / others : 0);
        }
        for (int32_t s = rows->up_start[i]; s < rows->up_start[i + 1]; s++) {
            struct rows_link *link = &rows->links[rows->up[s]];
            if (link->edge >= 0) link->lower_x = place->in[level->scene->edges[level->edge_of[link->edge]].in];
        }
    }
}

static bool has_labels(const struct level *level, int32_t item) {
    if (level->rows.items[item].kind != ROWS_ITEM) return level->rows.items[item].kind == ROWS_BOTTOM;
    int32_t n = level->node_of[item];
    if (n < 0) return true;
    const struct scene_node *node = &level->scene->nodes[n];
    for (int32_t k = 0; k < node->out_count; k++)
        if (node->out[k].shape && !node->out[k].silent) return true;
    return false;
}

/* Tops of rows and what is between them: room for labels, then for lines to swing over. */
static int place_rows(struct level *level, double *top, double *label_end, double *height) {
    struct rows *rows = &level->rows;
    bool entered = false;
    for (int32_t i = 0; i < rows->given; i++) entered = entered || rows->items[i].kind == ROWS_TOP;
    double y = level->group == 0 ? 0 : entered ? 0 : TITLE_HEIGHT + 4;
    double *swing = arena_array(rows->arena, (size_t)rows->row_count + 1, sizeof *swing);
    if (!swing) return -1;
    for (int32_t l = 0; l < rows->link_count; l++) {
        const struct rows_link *link = &rows->links[l];
        double over = fabs(rows->items[link->upper].x + link->upper_x - rows->items[link->lower].x - link->lower_x);
        if (over > swing[rows->items[link->upper].row]) swing[rows->items[link->upper].row] = over;
    }
    for (int32_t r = 0; r < rows->row_count; r++) {
        double tall = 0;
        bool labels = false, pins = false, bottom = false;
        for (int32_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
            const struct rows_item *item = &rows->items[rows->at[k]];
            if (item->height > tall) tall = item->height;
            labels = labels || (rows->at[k] < rows->given && has_labels(level, rows->at[k]));
            pins = pins || item->kind == ROWS_TOP, bottom = bottom || item->kind == ROWS_BOTTOM;
        }
        top[r] = y;
        for (int32_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
            struct rows_item *item = &rows->items[rows->at[k]];
            int32_t n = rows->at[k] < rows->given ? level->node_of[rows->at[k]] : -1;
            enum scene_kind kind = n >= 0 ? level->scene->nodes[n].kind : SCENE_OPERATOR;
            bool low = item->kind == ROWS_TAG || kind == SCENE_INPUT || kind == SCENE_READ;
            bool high = kind == SCENE_OUTPUT || kind == SCENE_WRITE;
            item->y = y + (low ? tall - item->height : high ? 0 : (tall - item->height) / 2);
        }
        label_end[r] = y + tall + (bottom ? 0 : labels ? LABEL_ZONE : 4);
        y = label_end[r];
        if (r + 1 < rows->row_count) y += (pins ? 10 : CURVE_LEAST) + fmin(CURVE_MORE, 0.09 * swing[r]);
    }
    bool exits = rows->row_count && rows->start[rows->row_count] > rows->start[rows->row_count - 1] &&
                 rows->items[rows->at[rows->start[rows->row_count - 1]]].kind == ROWS_BOTTOM;
    *height = y + (exits || level->group == 0 ? 0 : PAD);
    return 0;
}

/* The title stands where no line enters: before the first, between two, or after the last; the box is widened where it fits nowhere. */
static double place_title(struct laying *laying, struct level *level, double *shift, double *width) {
    const struct scene_group *group = &laying->scene->groups[level->group];
    struct rows *rows = &level->rows;
    const char *more = layout_title(laying->scene->arena, group);
    double need = words_width(group->name, 12) + 2 * 12 + (more && more[0] ? words_width(more, TYPE_SMALL) + 8 : 0), at = 0;
    double first = -1;
    int32_t count = 0;
    for (int32_t k = rows->start[0]; rows->row_count && k < rows->start[1]; k++) {
        const struct rows_item *pin = &rows->items[rows->at[k]];
        if (pin->kind != ROWS_TOP) continue;
        double left = *shift + pin->x + pin->lo;
        if (count == 0) first = left;
        if (left - at >= need) return at;
        at = *shift + pin->x + pin->hi, count++;
    }
    if (*width - at >= need) return at;
    double right = need - (*width - at), left = count ? need - first : right;
    if (count && left <= right) {
        *shift += left, *width += left;
        return 0;
    }
    *width += right;
    return at;
}

static void *grow(struct arena *arena, void *at, size_t count, size_t more, size_t *room, size_t element) {
    if (count + more <= *room) return at;
    size_t next = 2 * (count + more) + 64;
    void *grown = arena_array(arena, next, element);
    if (!grown) return NULL;
    if (count) memcpy(grown, at, count * element);
    *room = next;
    return grown;
}

static int keep_lines(struct laying *laying, struct level *level, const double *top, const double *label_end, double shift) {
    struct rows *rows = &level->rows;
    struct layout *layout = laying->layout;
    struct arena *arena = laying->scene->arena;
    size_t tags = 0;
    for (int32_t i = rows->given; i < rows->item_count; i++) tags += rows->items[i].kind == ROWS_TAG;
    struct layout_link *links = grow(arena, layout->links, layout->link_count, (size_t)rows->link_count, &layout->link_room, sizeof *links);
    struct layout_tag *made = grow(arena, layout->tags, layout->tag_count, tags, &layout->tag_room, sizeof *made);
    if ((!links && rows->link_count) || (!made && tags)) return -1;
    layout->links = links, layout->tags = made;
    for (int32_t i = rows->given; i < rows->item_count; i++) {
        const struct rows_item *item = &rows->items[i];
        if (item->kind == ROWS_TAG)
            layout->tags[layout->tag_count++] =
                (struct layout_tag){level->edge_of[item->edge], item->x + shift, item->y, item->width, item->height};
    }
    for (int32_t l = 0; l < rows->link_count; l++) {
        const struct rows_link *link = &rows->links[l];
        const struct rows_item *upper = &rows->items[link->upper], *lower = &rows->items[link->lower];
        double below = lower->kind == ROWS_POINT ? top[lower->row] : lower->kind == ROWS_BOTTOM ? lower->y + lower->height : lower->y;
        double above = upper->kind == ROWS_POINT || upper->kind == ROWS_TOP ? top[upper->row] : upper->y + upper->height;
        layout->links[layout->link_count++] = (struct layout_link){.node = level->node_port[2 * link->source],
                                                                   .port = level->node_port[2 * link->source + 1],
                                                                   .edge = link->edge >= 0 ? level->edge_of[link->edge] : -1,
                                                                   .group = level->group,
                                                                   .x0 = upper->x + link->upper_x + shift,
                                                                   .y0 = above,
                                                                   .y1 = label_end[upper->row],
                                                                   .x1 = lower->x + link->lower_x + shift,
                                                                   .y2 = top[lower->row],
                                                                   .y3 = below};
    }
    return 0;
}

static void keep_places(struct laying *laying, struct level *level, double shift) {
    for (int32_t i = 0; i < level->rows.given; i++) {
        const struct rows_item *item = &level->rows.items[i];
        int32_t n = level->node_of[i];
        if (n < 0) laying->layout->groups[-1 - n].x = item->x + shift, laying->layout->groups[-1 - n].y = item->y;
        else laying->layout->nodes[n].x = item->x + shift, laying->layout->nodes[n].y = item->y;
    }
}

static int lay_level(struct laying *laying, int32_t group) {
    struct arena *arena = laying->scene->arena;
    struct level level = {.scene = laying->scene, .layout = laying->layout, .group = group};
    struct rows *rows = &level.rows;
    size_t items =
        (size_t)(laying->first_node[group + 1] - laying->first_node[group] + laying->first_group[group + 1] - laying->first_group[group]);
    size_t edges = (size_t)(laying->first_edge[group + 1] - laying->first_edge[group]);
    *rows = (struct rows){.arena = arena, .gap = GAP, .tag_height = TAG_HEIGHT};
    rows->items = arena_array(arena, items + 1, sizeof *rows->items), rows->edges = arena_array(arena, edges + 1, sizeof *rows->edges);
    level.node_of = arena_array(arena, items + 1, sizeof *level.node_of),
    level.edge_of = arena_array(arena, edges + 1, sizeof *level.edge_of);
    level.node_port = arena_array(arena, 2 * edges + 2, sizeof *level.node_port);
    if (!rows->items || !rows->edges || !level.node_of || !level.edge_of || !level.node_port) return -1;
    fill_items(laying, &level), fill_edges(laying, &level);
    double area = 0;
    for (int32_t i = 0; i < rows->item_count; i++) area += (rows->items[i].hi + GAP) * (rows->items[i].height + 60);
    rows->widest = fmax(ROW_WIDEST, 1.6 * sqrt(area));
    if (rows_assign(rows) < 0) return -1;
    centre_ports(&level);
    if (rows_order(rows) < 0 || rows_place(rows) < 0) return -1;
    double *top = arena_array(arena, (size_t)rows->row_count + 1, sizeof *top);
    double *label_end = arena_array(arena, (size_t)rows->row_count + 1, sizeof *label_end), height;
    if (!top || !label_end || place_rows(&level, top, label_end, &height) < 0) return -1;
    struct layout_group *place = &laying->layout->groups[group];
    double shift = group ? PAD : 0, width = rows_width(rows) + 2 * shift;
    if (group) place->title = place_title(laying, &level, &shift, &width);
    place->width = width, place->height = height;
    keep_places(laying, &level, shift);
    return keep_lines(laying, &level, top, label_end, shift);
}

/* ---- The whole ---- */

static bool share_out(struct arena *arena, size_t count, size_t groups, int32_t **first, int32_t **list) {
    *first = arena_array(arena, groups + 2, sizeof **first), *list = arena_array(arena, count + 1, sizeof **list);
    return *first && *list;
}

static int collect(struct laying *laying) {
    const struct scene *scene = laying->scene;
    struct arena *arena = scene->arena;
    size_t ports = 0;
    if (!share_out(arena, scene->node_count, scene->group_count + 1, &laying->first_node, &laying->nodes) ||
        !share_out(arena, scene->edge_count, scene->group_count + 1, &laying->first_edge, &laying->edges) ||
        !share_out(arena, scene->group_count, scene->group_count + 1, &laying->first_group, &laying->groups))
        return -1;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t n = 0; n < scene->node_count; n++) {
            int32_t *next = &laying->first_node[scene->nodes[n].group + (pass ? 1 : 2)];
            if (pass) laying->nodes[*next] = (int32_t)n;
            ++*next;
        }
        for (size_t e = 0; e < scene->edge_count; e++) {
            int32_t *next = &laying->first_edge[scene->edges[e].group + (pass ? 1 : 2)];
            if (pass) laying->edges[*next] = (int32_t)e;
            ++*next;
        }
        for (size_t g = 1; g < scene->group_count; g++) {
            if (scene->groups[g].hidden || scene->groups[g].closed >= 0) continue;
            int32_t *next = &laying->first_group[scene->groups[g].parent + (pass ? 1 : 2)];
            if (pass) laying->groups[*next] = (int32_t)g;
            ++*next;
        }
        for (size_t g = 0; pass == 0 && g < scene->group_count; g++) {
            laying->first_node[g + 2] += laying->first_node[g + 1], laying->first_edge[g + 2] += laying->first_edge[g + 1];
            laying->first_group[g + 2] += laying->first_group[g + 1];
        }
    }
    laying->port_base = arena_array(arena, scene->node_count + 1, sizeof *laying->port_base);
    laying->item = arena_array(arena, scene->node_count + 1, sizeof *laying->item);
    laying->group_item = arena_array(arena, scene->group_count + 1, sizeof *laying->group_item);
    if (!laying->port_base || !laying->item || !laying->group_item) return -1;
    for (size_t n = 0; n < scene->node_count; n++) laying->port_base[n] = (int32_t)ports, ports += (size_t)scene->nodes[n].out_count;
    laying->source = arena_array(arena, ports + 1, sizeof *laying->source);
    if (!laying->source) return -1;
    for (size_t p = 0; p < ports; p++) laying->source[p] = -1;
    return 0;
}

/* From places within boxes to places in the whole. */
static void make_absolute(const struct scene *scene, struct layout *layout) {
    for (size_t g = 1; g < scene->group_count; g++) { /* parents stand before their children */
        const struct layout_group *outer = &layout->groups[scene->groups[g].parent];
        layout->groups[g].x += outer->x, layout->groups[g].y += outer->y, layout->groups[g].title += layout->groups[g].x;
    }
    for (size_t n = 0; n < scene->node_count; n++) {
        const struct layout_group *outer = &layout->groups[scene->nodes[n].group];
        layout->nodes[n].x += outer->x, layout->nodes[n].y += outer->y;
    }
    for (size_t l = 0; l < layout->link_count; l++) {
        struct layout_link *link = &layout->links[l];
        const struct layout_group *outer = &layout->groups[link->group];
        link->x0 += outer->x, link->x1 += outer->x, link->y0 += outer->y, link->y1 += outer->y, link->y2 += outer->y, link->y3 += outer->y;
    }
    for (size_t t = 0; t < layout->tag_count; t++) {
        const struct layout_group *outer = &layout->groups[scene->edges[layout->tags[t].edge].group];
        layout->tags[t].x += outer->x, layout->tags[t].y += outer->y;
    }
}

int layout_scene(const struct scene *scene, struct layout *layout) {
    struct laying laying = {.scene = scene, .layout = layout};
    *layout = (struct layout){0};
    layout->nodes = arena_array(scene->arena, scene->node_count + 1, sizeof *layout->nodes);
    layout->groups = arena_array(scene->arena, scene->group_count + 1, sizeof *layout->groups);
    if (!layout->nodes || !layout->groups || collect(&laying) < 0) return FLOW_ERROR_MEMORY;
    for (size_t n = 0; n < scene->node_count; n++)
        if (size_node(scene->arena, &scene->nodes[n], &layout->nodes[n]) < 0) return FLOW_ERROR_MEMORY;
    for (size_t g = scene->group_count; g-- > 0;)
        if (!scene->groups[g].hidden && scene->groups[g].closed < 0 && lay_level(&laying, (int32_t)g) < 0) return FLOW_ERROR_MEMORY;
    layout->width = layout->groups[0].width, layout->height = layout->groups[0].height;
    make_absolute(scene, layout);
    return 0;
}
