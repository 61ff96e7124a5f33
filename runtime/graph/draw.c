/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/draw.h"

#include "graph/draw_layout.h"

#include <string.h>

enum { ROW_HEIGHT = 84, BOX_HEIGHT = 44, MARGIN = 30 };

/* The network as it is drawn: boxes are inputs, then nodes other than ENTER, then outputs. */
struct picture {
    struct arena arena;
    const struct network *network;
    const struct draw_labels *labels;
    struct layout layout;
    int32_t *box_of_node, *box_of_input;
    const char **name, **kind;
    int32_t *source; /* by box: index among labels, -1 */
};

/* Through ENTER nodes to what really makes the value. */
static struct network_ref origin(const struct network *network, struct network_ref ref) {
    while (ref.node >= 0 && network->nodes[ref.node].kind == NETWORK_ENTER && network->nodes[ref.node].in_count)
        ref = network->nodes[ref.node].in[0].from;
    return ref;
}

static int32_t box_of(const struct picture *picture, struct network_ref ref) {
    ref = origin(picture->network, ref);
    if (ref.node == NETWORK_INPUT) return picture->box_of_input[ref.output];
    return ref.node >= 0 ? picture->box_of_node[ref.node] : -1;
}

static int32_t add_box(struct picture *picture, const char *name, const char *kind, int32_t source) {
    int32_t box = (int32_t)picture->layout.box_count++;
    size_t letters = strlen(name) > strlen(kind) ? strlen(name) : strlen(kind);
    picture->name[box] = name, picture->kind[box] = kind, picture->source[box] = source;
    picture->layout.boxes[box].width = 24 + 7.4 * (double)letters;
    return box;
}

static void add_edge(struct picture *picture, int32_t from, int32_t to) {
    if (from < 0 || to < 0) return;
    picture->layout.edges[picture->layout.edge_count++] = (struct layout_edge){.from = from, .to = to};
}

static const char *kind_of(const struct network_node *node) {
    if (node->kind == NETWORK_LOOP) return "loop";
    if (node->kind == NETWORK_PARAMETERS) return "parameters";
    return node->entry ? node->entry->op->name : "?";
}

static int build_picture(struct picture *picture) {
    const struct network *network = picture->network;
    size_t boxes = network->input_count + network->node_count + network->output_count, edges = network->output_count;
    for (size_t i = 0; i < network->node_count; i++) edges += network->nodes[i].in_count;
    struct layout *layout = &picture->layout;
    layout->boxes = arena_array(&picture->arena, boxes, sizeof *layout->boxes);
    layout->edges = arena_array(&picture->arena, edges, sizeof *layout->edges);
    picture->name = arena_array(&picture->arena, boxes, sizeof *picture->name);
    picture->kind = arena_array(&picture->arena, boxes, sizeof *picture->kind);
    picture->source = arena_array(&picture->arena, boxes, sizeof *picture->source);
    picture->box_of_node = arena_array(&picture->arena, network->node_count, sizeof *picture->box_of_node);
    picture->box_of_input = arena_array(&picture->arena, network->input_count, sizeof *picture->box_of_input);
    if (!layout->boxes || !layout->edges || !picture->name || !picture->kind || !picture->source || !picture->box_of_node ||
        !picture->box_of_input)
        return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < network->input_count; i++)
        picture->box_of_input[i] = add_box(picture, network->inputs[i].name, "input", (int32_t)(network->node_count + i));
    for (size_t i = 0; i < network->node_count; i++) {
        const struct network_node *node = &network->nodes[i];
        picture->box_of_node[i] = node->kind == NETWORK_ENTER ? -1 : add_box(picture, node->path, kind_of(node), (int32_t)i);
        for (size_t k = 0; node->kind != NETWORK_ENTER && k < node->in_count; k++)
            if (!node->in[k].delayed) add_edge(picture, box_of(picture, node->in[k].from), picture->box_of_node[i]);
    }
    for (size_t i = 0; i < network->output_count; i++)
        add_edge(picture, box_of(picture, network->outputs[i].from), add_box(picture, network->outputs[i].name, "output", -1));
    return 0;
}

static const char *label_of(const struct picture *picture, int32_t box) {
    int32_t source = picture->source[box];
    bool known = source >= 0 && picture->labels && (size_t)source < picture->labels->count;
    return known ? picture->labels->shape[source] : NULL;
}

static void write_dot(const struct picture *picture, struct text *out) {
    text_put(out, "digraph flow {\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n");
    for (size_t i = 0; i < picture->layout.box_count; i++) {
        text_format(out, "  n%zu [label=", i);
        struct text label;
        text_init(&label, out->from);
        text_format(&label, "%s\n%s", picture->name[i], picture->kind[i]);
        text_json(out, label.at);
        if (label.failed) out->failed = true;
        text_free(&label);
        text_put(out, "];\n");
    }
    for (size_t e = 0; e < picture->layout.edge_count; e++) {
        const struct layout_edge *edge = &picture->layout.edges[e];
        const char *label = label_of(picture, edge->from);
        text_format(out, "  n%d -> n%d", edge->from, edge->to);
        if (label) text_put(out, " [label="), text_json(out, label), text_put(out, "]");
        text_put(out, ";\n");
    }
    text_put(out, "}\n");
}

static void write_mermaid(const struct picture *picture, struct text *out) {
    text_put(out, "flowchart TD\n");
    for (size_t i = 0; i < picture->layout.box_count; i++) {
        text_format(out, "  n%zu[\"", i);
        text_html(out, picture->name[i]), text_put(out, "<br/>"), text_html(out, picture->kind[i]);
        text_put(out, "\"]\n");
    }
    for (size_t e = 0; e < picture->layout.edge_count; e++) {
        const struct layout_edge *edge = &picture->layout.edges[e];
        const char *label = label_of(picture, edge->from);
        text_format(out, "  n%d -->", edge->from);
        if (label) text_put(out, "|\""), text_html(out, label), text_put(out, "\"|");
        text_format(out, " n%d\n", edge->to);
    }
}

static const char svg_style[] =
    "<style>text{font:13px system-ui,sans-serif;fill:#1c2733;text-anchor:middle}.kind{font-size:11px;fill:#64748b}"
    ".shape{font-size:10px;fill:#64748b;text-anchor:start}rect{stroke:#94a3b8;fill:#fff}.input{fill:#e8f1fd;stroke:#3b6fb6}"
    ".output{fill:#e6f7f0;stroke:#0f9d76}.plugin{fill:#fff7e8;stroke:#d98b10}path{fill:none;stroke:#94a3b8;stroke-width:1.3}</style>\n";

static double row_middle(int32_t row) { return MARGIN + BOX_HEIGHT / 2.0 + (double)row * ROW_HEIGHT; }

static void write_edge(const struct picture *picture, const struct layout_edge *edge, struct text *out) {
    const struct layout_box *boxes = picture->layout.boxes;
    text_put(out, "<path marker-end='url(#tip)' d='");
    for (int32_t k = 0; k + 1 < edge->point_count; k++) {
        const struct layout_box *a = &boxes[edge->points[k]], *b = &boxes[edge->points[k + 1]];
        double y0 = row_middle(a->row) + (a->point ? 0 : BOX_HEIGHT / 2.0), y1 = row_middle(b->row) - (b->point ? 0 : BOX_HEIGHT / 2.0 + 5);
        double middle = (y0 + y1) / 2;
        if (k == 0) text_format(out, "M%.1f %.1f", a->x, y0);
        text_format(out, "C%.1f %.1f %.1f %.1f %.1f %.1f", a->x, middle, b->x, middle, b->x, y1);
    }
    text_put(out, "'/>\n");
}

static void write_box(const struct picture *picture, size_t i, struct text *out) {
    const struct layout_box *box = &picture->layout.boxes[i];
    int32_t source = picture->source[i];
    bool node = source >= 0 && (size_t)source < picture->network->node_count;
    bool plugin = node && picture->network->nodes[source].entry && picture->network->nodes[source].entry->file;
    const char *class = plugin ? "plugin" : node ? "node" : source < 0 ? "output" : "input";
    double y = row_middle(box->row);
    text_format(out, "<rect class='%s' x='%.1f' y='%.1f' width='%.1f' height='%d' rx='7'/><text x='%.1f' y='%.1f'>", class,
                box->x - box->width / 2, y - BOX_HEIGHT / 2.0, box->width, BOX_HEIGHT, box->x, y - 3);
    text_html(out, picture->name[i]);
    text_format(out, "</text><text class='kind' x='%.1f' y='%.1f'>", box->x, y + 14);
    text_html(out, picture->kind[i]);
    text_put(out, "</text>\n");
    const char *label = label_of(picture, (int32_t)i);
    if (!label) return;
    text_format(out, "<text class='shape' x='%.1f' y='%.1f'>", box->x + 6, y + BOX_HEIGHT / 2.0 + 13);
    text_html(out, label);
    text_put(out, "</text>\n");
}

static int write_svg(struct picture *picture, struct text *out) {
    size_t real = picture->layout.box_count;
    if (layout_place(&picture->arena, &picture->layout) < 0) return FLOW_ERROR_MEMORY;
    double height = row_middle(picture->layout.rows - 1) + BOX_HEIGHT / 2.0 + MARGIN, width = picture->layout.width + 2 * MARGIN;
    if (picture->layout.rows == 0) height = 2 * MARGIN;
    text_format(out, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='%d 0 %.0f %.0f' width='%.0f' height='%.0f'>\n", -MARGIN, width,
                height, width, height);
    text_put(out, svg_style);
    text_format(out, "<rect x='%d' y='0' width='%.0f' height='%.0f' style='fill:#f6f8fb;stroke:none'/>\n", -MARGIN, width, height);
    text_put(out, "<defs><marker id='tip' viewBox='0 0 8 8' refX='4' refY='4' markerWidth='6' markerHeight='6' orient='auto'>"
                  "<path d='M0 0L8 4L0 8z' style='fill:#94a3b8;stroke:none'/></marker></defs>\n");
    for (size_t e = 0; e < picture->layout.edge_count; e++) write_edge(picture, &picture->layout.edges[e], out);
    for (size_t i = 0; i < real; i++) write_box(picture, i, out);
    text_put(out, "</svg>\n");
    return 0;
}

int draw_network(const struct allocator *from, const struct network *network, const struct draw_labels *labels, enum draw_format format,
                 struct text *out) {
    struct picture picture = {.network = network, .labels = labels};
    arena_init(&picture.arena, from);
    int rc = build_picture(&picture);
    if (rc == 0 && format == DRAW_SVG) rc = write_svg(&picture, out);
    else if (rc == 0 && format == DRAW_DOT) write_dot(&picture, out);
    else if (rc == 0) write_mermaid(&picture, out);
    arena_free(&picture.arena);
    return rc < 0 ? rc : out->failed ? FLOW_ERROR_MEMORY : 0;
}
