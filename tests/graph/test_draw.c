/* SPDX-License-Identifier: Apache-2.0 */
/* Drawings: what their layout promises, on graphs made at random; names that try to break out; sizes. */
#include "graph/draw_layout.h"
#include "graph/draw_words.h"
#include "graph/reading.h"

#include <stdlib.h>
#include <time.h>

/* ---- Graphs at random ---- */

static uint64_t drawn;
static uint32_t draw(uint32_t below) {
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(drawn >> 33) % below;
}

static void put_nodes(struct text *text, int count, int graphs, const char *indent) {
    for (int i = 0; i < count; i++) {
        char a[16] = "x", b[16] = "x";
        if (i) snprintf(a, sizeof a, "n%d", i - 1 - (int)draw(i < 5 ? (uint32_t)i : 5));
        if (i) snprintf(b, sizeof b, "n%d", (int)draw((uint32_t)i));
        text_format(text, "%sn%d: ", indent, i);
        uint32_t kind = draw(10);
        if (kind == 0 && graphs)
            text_format(text, "{graph: g%d, in: {x: %s, k: %s}%s}\n", (int)draw((uint32_t)graphs), a, b, draw(2) ? ", repeat: 3" : "");
        else if (kind == 1 && graphs)
            text_format(text, "{graph: g%d, in: {x: %s, k: %s}, loop: {max: 3, carry: {x: y}}}\n", (int)draw((uint32_t)graphs), a, b);
        else if (kind == 2) text_format(text, "{op: linear, in: %s, with: {units: 8}}\n", a);
        else if (kind == 3) text_format(text, "{op: add, in: [%s, %s]}\n", a, b);
        else if (kind < 7) text_format(text, "{op: add, in: [%s, %s]}\n", a, b);
        else text_format(text, "{op: relu, in: %s}\n", a);
    }
}

static void put_graph(struct text *text, uint64_t seed) {
    drawn = seed;
    int graphs = 3;
    text_put(text, "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 1, 1, 1, 1, 8]}}\ngraphs:\n");
    for (int g = 0; g < graphs; g++) {
        int count = 2 + (int)draw(6);
        text_format(
            text,
            "  g%d:\n    inputs: {x: {dtype: f32, shape: [B, 1, 1, 1, 1, 8]}, k: {dtype: f32, shape: [B, 1, 1, 1, 1, 8]}}\n    nodes:\n",
            g);
        put_nodes(text, count, g, "      ");
        text_format(text, "      y: {op: mul, in: [n%d, k]}\n    outputs: {y: y}\n", count - 1);
    }
    int count = 5 + (int)draw(40);
    text_put(text, "nodes:\n");
    put_nodes(text, count, graphs, "  ");
    text_format(text, "outputs: {y: n%d, z: n%d}\n", count - 1, (int)draw((uint32_t)count));
}

/* ---- What holds of a layout ---- */

struct area {
    double x0, y0, x1, y1;
};

static bool apart(struct area a, struct area b) {
    return a.x1 <= b.x0 + 0.01 || b.x1 <= a.x0 + 0.01 || a.y1 <= b.y0 + 0.01 || b.y1 <= a.y0 + 0.01;
}
static bool holds(struct area outer, struct area in) {
    return in.x0 >= outer.x0 - 0.01 && in.y0 >= outer.y0 - 0.01 && in.x1 <= outer.x1 + 0.01 && in.y1 <= outer.y1 + 0.01;
}
static struct area node_area(const struct layout_node *n) { return (struct area){n->x, n->y, n->x + n->width, n->y + n->height}; }
static struct area group_area(const struct layout_group *g) { return (struct area){g->x, g->y, g->x + g->width, g->y + g->height}; }

static bool is_pin(const struct scene_node *node) { return node->kind == SCENE_ENTRY || node->kind == SCENE_EXIT; }

static bool within(const struct scene *scene, int32_t group, int32_t outer) {
    while (group > outer) group = scene->groups[group].parent;
    return group == outer;
}

static void check_boxes(const struct scene *scene, const struct layout *layout) {
    struct area *areas = calloc(scene->node_count, sizeof *areas);
    for (size_t n = 0; n < scene->node_count; n++) {
        if (is_pin(&scene->nodes[n])) continue;
        areas[n] = node_area(&layout->nodes[n]);
        cr_assert(holds(group_area(&layout->groups[scene->nodes[n].group]), areas[n]), "%s leaves its box", scene->nodes[n].path);
        for (size_t m = 0; m < n; m++)
            cr_assert(is_pin(&scene->nodes[m]) || apart(areas[n], areas[m]), "%s lies on %s", scene->nodes[n].path, scene->nodes[m].path);
        for (size_t g = 1; g < scene->group_count; g++)
            cr_assert(within(scene, scene->nodes[n].group, (int32_t)g) || apart(areas[n], group_area(&layout->groups[g])),
                      "%s lies in a strange box", scene->nodes[n].path);
    }
    for (size_t g = 1; g < scene->group_count; g++) {
        cr_assert(holds(group_area(&layout->groups[scene->groups[g].parent]), group_area(&layout->groups[g])));
        for (size_t h = 1; h < g; h++)
            cr_assert(within(scene, (int32_t)g, (int32_t)h) || apart(group_area(&layout->groups[g]), group_area(&layout->groups[h])));
    }
    free(areas);
}

/* Labels of shapes stand free: of all nodes, and of each other. */
static void check_labels(const struct scene *scene, const struct layout *layout) {
    struct area *labels = calloc(4 * scene->node_count, sizeof *labels);
    size_t count = 0;
    for (size_t n = 0; n < scene->node_count; n++)
        for (int32_t k = 0; k < scene->nodes[n].out_count && k < 4; k++) {
            const struct scene_node *node = &scene->nodes[n];
            const char *text = layout_label(scene->arena, &node->out[k]);
            if (!text || node->kind == SCENE_ENTRY) continue;
            double x = layout->nodes[n].x + (node->kind == SCENE_EXIT ? 0 : layout->nodes[n].out[k]) + 6;
            double y = layout->nodes[n].y + (node->kind == SCENE_EXIT ? 16 : layout->nodes[n].height);
            labels[count++] = (struct area){x, y + 4, x + words_width(text, TYPE_SMALL), y + 15};
        }
    for (size_t a = 0; a < count; a++) {
        for (size_t b = 0; b < a; b++) cr_assert(apart(labels[a], labels[b]), "two shapes overlap");
        for (size_t n = 0; n < scene->node_count; n++)
            cr_assert(is_pin(&scene->nodes[n]) || apart(labels[a], node_area(&layout->nodes[n])), "a shape lies on %s",
                      scene->nodes[n].path);
    }
    free(labels);
}

/* Each edge is drawn once, as a line that ends on its port, or as a tag. */
static void check_edges(const struct scene *scene, const struct layout *layout) {
    int *ends = calloc(scene->edge_count + 1, sizeof *ends);
    for (size_t l = 0; l < layout->link_count; l++) {
        const struct layout_link *link = &layout->links[l];
        cr_assert(link->y0 <= link->y1 + 0.01 && link->y1 < link->y2 && link->y2 <= link->y3 + 0.01);
        if (link->edge < 0) continue;
        const struct scene_edge *edge = &scene->edges[link->edge];
        const struct scene_node *to = &scene->nodes[edge->to];
        const struct layout_node *place = &layout->nodes[edge->to];
        double x = place->x + (is_pin(to) ? 0 : place->in[edge->in]);
        cr_assert(x - link->x1 < 0.01 && link->x1 - x < 0.01, "an edge misses %s", to->path);
        if (!is_pin(to)) cr_assert(link->y3 - place->y < 0.01 && place->y - link->y3 < 0.01);
        ends[link->edge]++;
    }
    for (size_t e = 0; e < scene->edge_count; e++) cr_assert(ends[e] == 1, "edge %zu is drawn %d times", e, ends[e]);
    free(ends);
}

static void check_layout(const struct network *network, struct draw_options options) {
    struct arena arena;
    struct scene scene;
    struct layout layout;
    arena_init(&arena, &memory_default);
    cr_assert(scene_new(&arena, network, &options, &scene) == 0);
    cr_assert(layout_scene(&scene, &layout) == 0);
    check_boxes(&scene, &layout);
    check_labels(&scene, &layout);
    check_edges(&scene, &layout);
    arena_free(&arena);
}

static struct instance *infer(const struct network *network) {
    struct report report;
    struct instance *instance = NULL;
    struct flow_tensor inputs[4];
    struct flow_host host = {.size = sizeof host};
    report_init(&report, &memory_default);
    int rc = instance_inputs(network, NULL, 0, 3, FLOW_F32, &report, inputs);
    struct instance_options options = {.host = &host, .phase = FLOW_PHASE_INFERENCE, .precision = FLOW_F32, .inputs = inputs};
    if (rc == 0) rc = instance_new(&memory_default, network, &options, &report, &instance);
    for (const struct report_message *m = report.first; m; m = m->next) fprintf(stderr, "%s\n", m->text);
    cr_assert(rc == 0);
    report_free(&report);
    return instance;
}

Test(draw, layouts_of_random_graphs) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct text text;
        text_init(&text, &memory_default);
        put_graph(&text, seed);
        struct reading r = read_right(text.at);
        struct instance *instance = infer(r.network);
        check_layout(r.network, (struct draw_options){.instance = instance});
        check_layout(r.network, (struct draw_options){.instance = instance, .unfold = true});
        check_layout(r.network, (struct draw_options){.instance = instance, .depth = 1});
        check_layout(r.network, (struct draw_options){.depth = 2});
        instance_free(instance);
        text_free(&text);
        reading_done(&r);
    }
}

static char *draw_as(const struct network *network, struct draw_options options) {
    struct text out;
    text_init(&out, &memory_default);
    cr_assert(draw_network(&memory_default, network, &options, &out) == 0 && !out.failed);
    char *copy = strdup(out.at);
    text_free(&out);
    return copy;
}

Test(draw, the_same_bytes_each_time) {
    struct text text;
    text_init(&text, &memory_default);
    put_graph(&text, 7);
    struct reading r = read_right(text.at), again = read_right(text.at);
    for (int format = DRAW_SVG; format <= DRAW_JSON; format++) {
        char *one = draw_as(r.network, (struct draw_options){.format = (enum draw_format)format});
        char *two = draw_as(again.network, (struct draw_options){.format = (enum draw_format)format});
        cr_assert_str_eq(one, two);
        free(one), free(two);
    }
    text_free(&text), reading_done(&r), reading_done(&again);
}

static int count_of(const char *text, const char *word) {
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)); at += strlen(word)) count++;
    return count;
}

Test(draw, copies_are_drawn_once) {
    struct reading r =
        read_right("flow: 1\ninputs: {x: {dtype: f32, shape: [B, 8]}}\n"
                   "graphs: {g: {inputs: {x: {dtype: f32, shape: [B, 8]}}, nodes: {y: {op: relu, in: x}}, outputs: {y: y}}}\n"
                   "nodes: {body: {graph: g, in: x, repeat: 6}}\noutputs: {y: body}\n");
    char *folded = draw_as(r.network, (struct draw_options){.format = DRAW_SVG});
    char *unfolded = draw_as(r.network, (struct draw_options){.format = DRAW_SVG, .unfold = true});
    char *closed = draw_as(r.network, (struct draw_options){.format = DRAW_SVG, .depth = 1});
    cr_assert(strstr(folded, "g \xc3\x97 6") && !strstr(unfolded, "\xc3\x97 6"));
    cr_assert(count_of(folded, "body.0.y") == 1 && !strstr(folded, "body.1.y"));
    cr_assert(strstr(unfolded, "body.5.y") && count_of(unfolded, "class='g'") == 6);
    cr_assert(count_of(closed, "class='g'") == 0);
    free(folded), free(unfolded), free(closed);
    reading_done(&r);
}

Test(draw, words_that_try_to_break_out) {
    struct reading r =
        read_right("flow: 1\nname: \"</svg><script>alert(1)</script>&amp;\\u0001\"\ndoc: \"]]>\"\n"
                   "inputs: {x: {dtype: f32, shape: [B, 8], doc: \"'\\\"<b>\"}}\n"
                   "nodes: {p: {op: parameters, with: {match: \"<i>'\\\"&*\"}}, y: {op: relu, in: x}}\noutputs: {\"a<b>\\\"'\": y}\n");
    char *svg = draw_as(r.network, (struct draw_options){.format = DRAW_SVG});
    cr_assert(!strstr(svg, "<script>") && !strstr(svg, "<b>") && !strstr(svg, "<i>") && !strchr(svg, 1));
    cr_assert(strstr(svg, "&lt;/svg&gt;&lt;script&gt;") && strstr(svg, "a&lt;b&gt;&quot;&#39;"));
    cr_assert(count_of(svg, "</svg>") == 1);
    char *mermaid = draw_as(r.network, (struct draw_options){.format = DRAW_MERMAID});
    cr_assert(!strstr(mermaid, "<b>") && !strstr(mermaid, "<i>"));
    char *dot = draw_as(r.network, (struct draw_options){.format = DRAW_DOT});
    cr_assert(strstr(dot, "a<b>\\\"'"));
    free(svg), free(mermaid), free(dot);
    reading_done(&r);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Ten times the nodes take about ten times as long: far from a hundred times. */
Test(draw, time_grows_with_size) {
    double taken[3];
    for (int s = 0, count = 300; s < 3; s++, count *= 10) {
        struct text text;
        text_init(&text, &memory_default);
        drawn = 5;
        text_put(&text, "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 8]}}\nnodes:\n");
        put_nodes(&text, count, 0, "  ");
        text_format(&text, "outputs: {y: n%d}\n", count - 1);
        struct reading r = read_right(text.at);
        double start = seconds();
        free(draw_as(r.network, (struct draw_options){.format = DRAW_SVG}));
        taken[s] = seconds() - start;
        printf("a drawing of %d nodes: %.3f s\n", count, taken[s]);
        text_free(&text), reading_done(&r);
    }
    cr_assert(taken[2] < 40 * taken[1] + 0.2, "30000 nodes take %.2f s, 3000 take %.2f s", taken[2], taken[1]);
}
