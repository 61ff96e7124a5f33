/* SPDX-License-Identifier: Apache-2.0 */
/* A drawing as text for other tools: Graphviz, Mermaid, and JSON for pages and programs. */
#include "graph/draw_words.h"
#include "graph/draw_write.h"
#include "graph/training.h"

#include <string.h>

static bool is_open(const struct scene_group *group) { return !group->hidden && group->closed < 0; }

/* Through entries and exits to the node that makes the value, by the edge that ends there: index by node, -1. */
static int32_t *find_feeding(const struct scene *scene) {
    int32_t *feeding = arena_array(scene->arena, scene->node_count + 1, sizeof *feeding);
    for (size_t n = 0; feeding && n < scene->node_count; n++) feeding[n] = -1;
    for (size_t e = 0; feeding && e < scene->edge_count; e++) feeding[scene->edges[e].to] = (int32_t)e;
    return feeding;
}

static bool is_pin(const struct scene_node *node) { return node->kind == SCENE_ENTRY || node->kind == SCENE_EXIT; }

/* The first edge of the way that this one ends; NULL: an entry that nothing feeds, which then stands for itself. */
static const struct scene_edge *begin(const struct scene *scene, const int32_t *feeding, const struct scene_edge *edge) {
    for (size_t steps = 0; is_pin(&scene->nodes[edge->from]) && steps < 256; steps++) {
        if (feeding[edge->from] < 0) return edge;
        edge = &scene->edges[feeding[edge->from]];
    }
    return edge;
}

/* Of the value that the edge carries; NULL: not known. */
static const char *shape_at(const struct scene *scene, const struct scene_edge *edge) {
    const struct scene_node *source = &scene->nodes[edge->from];
    return edge->out < source->out_count ? source->out[edge->out].shape : NULL;
}

static bool stands_alone(const struct scene *scene, const int32_t *feeding, size_t n) {
    return !is_pin(&scene->nodes[n]) || (feeding[n] < 0 && scene->nodes[n].kind == SCENE_ENTRY);
}

static void put_group_name(const struct scene_group *group, struct text *out, bool html) {
    struct text title;
    text_init(&title, out->from);
    text_put(&title, group->name);
    if (group->kind == SCENE_LOOP) text_format(&title, ": %s", group->note);
    else if (group->graph) text_format(&title, ": %s", group->graph);
    if (group->copies) text_format(&title, " \xc3\x97 %d", (int)group->copies);
    if (title.failed) out->failed = true;
    else if (html) text_html(out, title.at);
    else text_json(out, title.at);
    text_free(&title);
}

/* ---- Graphviz ---- */

static void dot_nodes(const struct scene *scene, const int32_t *feeding, const int32_t *first, const int32_t *list, int32_t group,
                      struct text *out) {
    for (int32_t k = first[group]; k < first[group + 1]; k++) {
        size_t n = (size_t)list[k];
        const struct scene_node *node = &scene->nodes[n];
        if (!stands_alone(scene, feeding, n)) continue;
        struct text label;
        text_init(&label, out->from);
        text_put(&label, node->name[0] ? node->name : node->path);
        if (node->op && strcmp(node->op, node->name) != 0) text_format(&label, "\n%s", node->op);
        if (node->about) text_format(&label, "\n%s", node->about);
        text_format(out, "  n%zu [label=", n);
        if (label.failed) out->failed = true;
        else text_json(out, label.at);
        text_free(&label);
        if (node->family)
            text_format(out, ", fillcolor=\"%.3f 0.10 1.0\", color=\"%.3f 0.6 0.7\"", (double)scene_color(scene, node->family, 12) / 12,
                        (double)scene_color(scene, node->family, 12) / 12);
        if (node->kind == SCENE_INPUT) text_put(out, ", shape=oval, fillcolor=\"#1c2733\", fontcolor=white");
        if (node->kind == SCENE_OUTPUT) text_put(out, ", shape=oval, penwidth=2");
        if (node->kind == SCENE_READ || node->kind == SCENE_WRITE) text_put(out, ", style=\"rounded,dashed\"");
        if (node->kind == SCENE_BOX) text_put(out, ", peripheries=2");
        if (node->loss) text_put(out, ", penwidth=3");
        text_put(out, "];\n");
    }
}

static bool by_group(const struct scene *scene, int32_t **first, int32_t **list) {
    *first = arena_array(scene->arena, scene->group_count + 2, sizeof **first);
    *list = arena_array(scene->arena, scene->node_count + 1, sizeof **list);
    if (!*first || !*list) return false;
    for (size_t n = 0; n < scene->node_count; n++) (*first)[scene->nodes[n].group + 2 - 1]++;
    int32_t sum = 0;
    for (size_t g = 0; g <= scene->group_count; g++) {
        int32_t count = (*first)[g + 1];
        (*first)[g + 1] = sum, sum += count;
    }
    for (size_t n = 0; n < scene->node_count; n++) (*list)[(*first)[scene->nodes[n].group + 1]++] = (int32_t)n;
    return true;
}

void draw_dot(const struct scene *scene, struct text *out) {
    int32_t *feeding = find_feeding(scene), *first, *list, open = 0;
    if (!feeding || !by_group(scene, &first, &list)) {
        out->failed = true;
        return;
    }
    text_put(out, "digraph flow {\n  rankdir=TB; compound=true;\n  graph [fontname=\"Helvetica\", style=rounded, color=\"#94a3b8\"];\n"
                  "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"Helvetica\"];\n"
                  "  edge [fontname=\"Helvetica\", fontsize=10, color=\"#64748b\"];\n");
    dot_nodes(scene, feeding, first, list, 0, out);
    for (size_t g = 1; g < scene->group_count; g++) {
        const struct scene_group *group = &scene->groups[g];
        if (!is_open(group)) continue;
        for (; open >= group->depth; open--) text_put(out, "  }\n"); /* children follow their parent */
        text_format(out, "  subgraph cluster_%zu {\n  label=", g), put_group_name(group, out, false), text_put(out, ";\n");
        if (group->kind == SCENE_LOOP) text_put(out, "  style=\"rounded,dashed\";\n");
        open = group->depth;
        dot_nodes(scene, feeding, first, list, (int32_t)g, out);
    }
    for (; open > 0; open--) text_put(out, "  }\n");
    for (size_t e = 0; e < scene->edge_count; e++) {
        const struct scene_edge *edge = &scene->edges[e];
        if (is_pin(&scene->nodes[edge->to])) continue;
        const struct scene_edge *from = begin(scene, feeding, edge);
        const char *shape = shape_at(scene, from);
        text_format(out, "  n%d -> n%d", (int)from->from, (int)edge->to);
        if (shape) text_put(out, " [label="), text_json(out, shape), text_put(out, "]");
        text_put(out, ";\n");
    }
    for (size_t n = 0; n < scene->node_count; n++)
        if (scene->nodes[n].kind == SCENE_WRITE && scene->nodes[n].pair >= 0)
            text_format(out, "  n%zu -> n%d [style=dashed, constraint=false];\n", n, (int)scene->nodes[n].pair);
    text_put(out, "}\n");
}

/* ---- Mermaid ---- */

static void mermaid_text(struct text *out, const char *words) { /* entities as Mermaid has them */
    for (const char *c = words ? words : ""; *c; c++) {
        if (strchr("<>&\"#`", *c)) text_format(out, "#%d;", *c);
        else if (*c == '\n') text_put(out, "<br/>");
        else if ((unsigned char)*c >= 0x20) text_add(out, c, 1);
    }
}

static void mermaid_nodes(const struct scene *scene, const int32_t *feeding, const int32_t *first, const int32_t *list, int32_t group,
                          struct text *out) {
    for (int32_t k = first[group]; k < first[group + 1]; k++) {
        size_t n = (size_t)list[k];
        const struct scene_node *node = &scene->nodes[n];
        if (!stands_alone(scene, feeding, n)) continue;
        bool round = node->kind == SCENE_INPUT || node->kind == SCENE_OUTPUT;
        text_format(out, "  n%zu%s\"", n, round ? "([" : node->kind == SCENE_BOX ? "[[" : "[");
        mermaid_text(out, node->name[0] ? node->name : node->path);
        if (node->op && !round && strcmp(node->op, node->name) != 0) text_put(out, "<br/>"), mermaid_text(out, node->op);
        if (node->about) text_put(out, "<br/>"), mermaid_text(out, node->about);
        text_put(out, round ? "\"])\n" : node->kind == SCENE_BOX ? "\"]]\n" : "\"]\n");
    }
}

void draw_mermaid(const struct scene *scene, struct text *out) {
    int32_t *feeding = find_feeding(scene), *first, *list, open = 0;
    if (!feeding || !by_group(scene, &first, &list)) {
        out->failed = true;
        return;
    }
    text_put(out, "flowchart TD\n");
    mermaid_nodes(scene, feeding, first, list, 0, out);
    for (size_t g = 1; g < scene->group_count; g++) {
        const struct scene_group *group = &scene->groups[g];
        if (!is_open(group)) continue;
        for (; open >= group->depth; open--) text_put(out, "  end\n");
        struct text title;
        text_init(&title, out->from);
        put_group_name(group, &title, true);
        text_format(out, "  subgraph g%zu[\"%s\"]\n", g, title.failed ? "" : title.at);
        if (title.failed) out->failed = true;
        text_free(&title);
        open = group->depth;
        mermaid_nodes(scene, feeding, first, list, (int32_t)g, out);
    }
    for (; open > 0; open--) text_put(out, "  end\n");
    for (size_t e = 0; e < scene->edge_count; e++) {
        const struct scene_edge *edge = &scene->edges[e];
        if (is_pin(&scene->nodes[edge->to])) continue;
        const struct scene_edge *from = begin(scene, feeding, edge);
        const char *shape = shape_at(scene, from);
        text_format(out, "  n%d -->", (int)from->from);
        if (shape) text_put(out, "|\""), mermaid_text(out, shape), text_put(out, "\"|");
        text_format(out, " n%d\n", (int)edge->to);
    }
    for (size_t n = 0; n < scene->node_count; n++)
        if (scene->nodes[n].kind == SCENE_WRITE && scene->nodes[n].pair >= 0)
            text_format(out, "  n%zu -.-> n%d\n", n, (int)scene->nodes[n].pair);
}

/* ---- JSON ---- */

static void json_ports(struct text *out, const char *key, const struct scene_port *ports, int32_t count) {
    text_format(out, ", \"%s\": [", key);
    for (int32_t k = 0; k < count; k++) {
        text_put(out, k ? ", {\"name\": " : "{\"name\": "), text_json(out, ports[k].name);
        if (ports[k].shape) text_put(out, ", \"shape\": "), text_json(out, ports[k].shape);
        if (ports[k].type) text_put(out, ", \"type\": "), text_json(out, ports[k].type);
        text_put(out, "}");
    }
    text_put(out, "]");
}

static void json_params(const struct scene *scene, const struct scene_node *node, struct text *out) {
    if (!node->param_count) return;
    text_put(out, ", \"parameters\": [");
    for (int32_t p = 0; p < node->param_count; p++) {
        const struct scene_param *param = &node->params[p];
        const struct training *training = scene->network->training;
        const struct training_update *update = training && param->update >= 0 ? &training->updates[param->update] : NULL;
        const char *shape = scene_shape(scene->arena, param->type);
        text_put(out, p ? ", {\"name\": " : "{\"name\": "), text_json(out, param->name);
        text_put(out, ", \"value\": "), text_json(out, param->value);
        text_format(out, ", \"type\": \"%s\", \"shape\": \"%s\", \"bytes\": %lld, \"shared\": %s", dtype_name(param->type->dtype),
                    shape ? shape : "?", (long long)param->bytes, param->tied ? "true" : "false");
        if (training && training->update_count)
            text_put(out, ", \"optimizer\": "), text_json(out, update && update->optimizer ? update->optimizer->optimizer->name : NULL);
        text_put(out, "}");
    }
    text_put(out, "]");
}

static void json_node(const struct scene *scene, size_t n, const int32_t *feeding, struct text *out) {
    static const char *const kinds[] = {"operator", "input", "output", "state read", "state write", "box", "entry", "exit"};
    const struct scene_node *node = &scene->nodes[n];
    text_format(out, "{\"id\": %zu, \"kind\": \"%s\", \"box\": %d, \"node\": ", n, kinds[node->kind], (int)node->group);
    text_json(out, node->path);
    text_put(out, ", \"op\": "), text_json(out, node->op);
    if (node->family) text_put(out, ", \"plugin\": "), text_json(out, node->family);
    if (node->more) text_put(out, ", \"with\": "), text_json(out, node->more);
    if (node->kind == SCENE_INPUT && node->about) text_put(out, ", \"data\": "), text_json(out, node->about);
    if (node->input && node->input->doc) text_put(out, ", \"doc\": "), text_json(out, node->input->doc);
    if (node->at.file) text_put(out, ", \"file\": "), text_json(out, node->at.file);
    text_format(out, ", \"line\": %d", (int)node->at.line);
    if (node->stream >= 0) text_format(out, ", \"stream\": %d", (int)node->stream);
    if (node->seconds >= 0) text_format(out, ", \"seconds\": %.9g", node->seconds);
    if (node->pair >= 0) text_format(out, ", \"pair\": %d", (int)node->pair);
    if (node->loss) text_put(out, ", \"loss\": true");
    if (node->state_bytes) text_format(out, ", \"state_bytes\": %lld", (long long)node->state_bytes);
    if (node->kind == SCENE_BOX) text_format(out, ", \"inside\": %d", (int)node->inside);
    if (node->numbers) text_format(out, ", \"numbers\": %lld, \"bytes\": %lld", (long long)node->numbers, (long long)node->bytes);
    json_ports(out, "inputs", node->in, node->in_count), json_ports(out, "outputs", node->out, node->out_count);
    if (is_pin(node) && feeding[n] >= 0) text_format(out, ", \"from\": %d", (int)scene->edges[feeding[n]].from);
    json_params(scene, node, out);
    text_put(out, "}");
}

static void json_operators(const struct scene *scene, struct text *out) {
    struct map told;
    bool some = false;
    map_init(&told, scene->arena);
    text_put(out, "],\n\"operators\": {");
    for (size_t n = 0; n < scene->node_count; n++) {
        const struct network_node *source = scene->nodes[n].source;
        const struct flow_operator *op = source && source->entry ? source->entry->op : NULL;
        int64_t known;
        if (!op || scene->nodes[n].kind != SCENE_OPERATOR || map_get(&told, op->name, &known)) continue;
        if (map_set(&told, op->name, 1) < 0) out->failed = true;
        text_put(out, some ? ",\n" : "\n"), some = true;
        text_json(out, op->name), text_put(out, ": {\"summary\": "), text_json(out, op->summary);
        text_put(out, ", \"equation\": "), text_json(out, op->equation);
        text_put(out, ", \"reference\": "), text_json(out, op->reference), text_put(out, "}");
    }
    text_put(out, "}");
}

void draw_json(const struct scene *scene, struct text *out) {
    int32_t *feeding = find_feeding(scene);
    if (!feeding) {
        out->failed = true;
        return;
    }
    text_put(out, "{\"name\": "), text_json(out, scene->network->name);
    text_put(out, ", \"file\": "), text_json(out, scene->network->path);
    text_put(out, ", \"doc\": "), text_json(out, scene->network->doc);
    text_format(out, ", \"operators_in_all\": %d, \"numbers\": %lld, \"bytes\": %lld, \"seconds\": %.9g,\n\"boxes\": [",
                (int)scene->operators, (long long)scene->numbers, (long long)scene->bytes, scene->seconds);
    for (size_t g = 0; g < scene->group_count; g++) {
        const struct scene_group *group = &scene->groups[g];
        text_format(out, g ? ",\n{\"id\": %zu, \"outer\": %d, \"path\": " : "\n{\"id\": %zu, \"outer\": %d, \"path\": ", g,
                    (int)group->parent);
        text_json(out, group->path), text_put(out, ", \"graph\": "), text_json(out, group->graph);
        text_format(out, ", \"copies\": %d, \"line\": %d", (int)group->copies, (int)group->at.line);
        if (group->note) text_put(out, ", \"loop\": "), text_json(out, group->note);
        if (group->seconds >= 0) text_format(out, ", \"seconds\": %.9g", group->seconds);
        text_put(out, "}");
    }
    text_put(out, "],\n\"nodes\": [");
    for (size_t n = 0; n < scene->node_count; n++) text_put(out, n ? ",\n" : "\n"), json_node(scene, n, feeding, out);
    text_put(out, "],\n\"edges\": [");
    for (size_t e = 0; e < scene->edge_count; e++) {
        const struct scene_edge *edge = &scene->edges[e];
        text_format(out, e ? ", [%d, %d, %d, %d]" : "[%d, %d, %d, %d]", (int)edge->from, (int)edge->out, (int)edge->to, (int)edge->in);
    }
    json_operators(scene, out);
    text_put(out, "}\n");
}
