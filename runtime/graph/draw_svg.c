/* SPDX-License-Identifier: Apache-2.0 */
/* A drawing as SVG. Shown by itself it follows the reader's light or dark setting; in a page, `data-n` (node), `data-f` and `data-t` (ends
 * of a line) tie it to the page's script. All its classes stand under `.fg`. */
#include "graph/draw_layout.h"
#include "graph/draw_words.h"
#include "graph/draw_write.h"

#include "graph/training.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *fill, *line, *ink, *dark_fill, *dark_line, *dark_ink;
} palette[] = {
    {"#ebf3fc", "#84a6cd", "#205188", "#1f2b37", "#49698d", "#9ebfe5"}, {"#ebfcf4", "#84cda8", "#208854", "#1f372b", "#498d6b", "#9ee5c2"},
    {"#fcf3eb", "#cda684", "#885120", "#372b1f", "#8d6949", "#e5bf9e"}, {"#f3ebfc", "#a684cd", "#512088", "#2b1f37", "#69498d", "#bf9ee5"},
    {"#ebfbfc", "#84c7cd", "#208088", "#1f3537", "#49888d", "#9edfe5"}, {"#fcebf1", "#cd849c", "#882043", "#371f27", "#8d4960", "#e59eb6"},
    {"#fcf9eb", "#c1af67", "#705e1a", "#37331f", "#8d8049", "#e5d79e"}, {"#ebedfc", "#848ecd", "#202e88", "#1f2237", "#49528d", "#9ea8e5"},
    {"#f2fceb", "#8cc167", "#3e701a", "#29371f", "#658d49", "#bce59e"}, {"#fcebf9", "#cd84c1", "#882077", "#371f33", "#8d4982", "#e59ed9"},
    {"#fceeeb", "#cd9284", "#883520", "#37241f", "#8d5749", "#e5ad9e"}, {"#ebfcf9", "#84cdbe", "#208873", "#1f3733", "#498d80", "#9ee5d7"},
};
enum { COLORS = sizeof palette / sizeof *palette, MARGIN = 28, STREAM_COLORS = 6, WIDTH_LEAST = 360 };

static const char style[] =
    ".fg text{font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;font-size:13px;fill:#1c2733;"
    "text-anchor:middle}.fg .h1{font:600 20px system-ui,sans-serif;text-anchor:start}.fg .h2{font:13px system-ui,sans-serif;fill:#5b6b7f;"
    "text-anchor:start}.fg .nm{font-weight:600}.fg .op{font-size:11px}.fg .at,.fg .sh,.fg .tg text,.fg .pn{font-size:10px;fill:#5b6b7f}"
    ".fg .sh,.fg .pn,.fg .gt,.fg .lg{text-anchor:start}.fg .po{font-size:9px;fill:#5b6b7f}.fg .ch{font-size:10px;text-anchor:end}"
    ".fg .gt{font-size:12px;font-weight:600}.fg .gm{font-size:10px;font-weight:400;fill:#5b6b7f}.fg .lg{font-size:11px;fill:#5b6b7f}"
    ".fg .bg{fill:#fff}.fg .bx{fill:#1c27330a;stroke:#b6c2d1;stroke-width:1}.fg .bx.lp{fill:#6b4fa00d;stroke:#9d86cf;stroke-dasharray:6 4}"
    ".fg .e path{fill:none;stroke:#8a99ab;stroke-width:1.4}.fg .e .ar{fill:#8a99ab;stroke:none}.fg .n rect{stroke-width:1.2}"
    ".fg .in rect{fill:#1c2733;stroke:#1c2733}.fg .in text{fill:#fff}.fg .in .at{fill:#c6d0dc}.fg .ou rect{fill:#fff;stroke:#1c2733;"
    "stroke-width:1.8}.fg .un rect{fill:#f1f4f8;stroke:#93a1b3}.fg .st rect{fill:#f5f1fc;stroke:#9d86cf;stroke-dasharray:4 3}.fg .st text{"
    "fill:#5a3f96;font-size:11px}.fg .tg rect{fill:#eef2f7;stroke:none}.fg .pi{fill:#8a99ab}.fg .pi.ca{fill:#7d5fc0}.fg "
    ".pn.ca{fill:#5a3f96}"
    ".fg .ls{fill:none;stroke:#c2410c;stroke-width:2}.fg .lst{fill:#c2410c;font-size:10px;text-anchor:start;font-weight:600}"
    ".fg .hot{fill:#dc2626;stroke:none;opacity:0}.fg.heat .hot{opacity:var(--o)}.fg .pc{font-size:10px;fill:#991b1b;text-anchor:end;"
    "font-weight:600;display:none}.fg.heat .pc{display:inline}.fg.heat .ch,.fg.heat .ck{display:none}"
    "@media(prefers-color-scheme:dark){.fg text{fill:#e6edf3}.fg .h2,.fg .at,.fg .sh,.fg .tg text,.fg .pn,.fg .po,.fg .gm,.fg .lg{fill:"
    "#93a1b3}.fg .bg{fill:#0d131a}.fg .bx{fill:#ffffff0a;stroke:#3a4757}.fg .bx.lp{fill:#ab92e012;stroke:#7a63b0}.fg .e "
    "path{stroke:#66758a}"
    ".fg .e .ar,.fg .pi{fill:#66758a;stroke:none}.fg .in rect{fill:#dbe4ee;stroke:#dbe4ee}.fg .in text{fill:#0d131a}.fg .in "
    ".at{fill:#475569}"
    ".fg .ou rect{fill:#0d131a;stroke:#dbe4ee}.fg .un rect{fill:#1a222c;stroke:#4b5a6c}.fg .st rect{fill:#221b33;stroke:#7a63b0}.fg .st "
    "text,"
    ".fg .pn.ca{fill:#c4b2ee}.fg .pi.ca{fill:#9b80dd}.fg .tg rect{fill:#1a222c}.fg .ls{stroke:#fb923c}.fg .lst{fill:#fb923c}.fg .pc{fill:"
    "#fca5a5}}";

static const char *const stream_colors[STREAM_COLORS] = {"#64748b", "#0284c7", "#ea580c", "#16a34a", "#9333ea", "#ca8a04"};

struct drawing {
    const struct scene *scene;
    const struct layout *layout;
    struct text *out;
    double left, top; /* where the layout's corner is */
    double hottest;   /* the longest time of a node */
};

static void number(struct text *out, double value) { /* at most one decimal, "12" rather than "12.0" */
    double rounded = round(value * 10) / 10;
    if (rounded == 0) rounded = 0; /* no "-0" */
    if (rounded == floor(rounded)) text_format(out, "%.0f", rounded);
    else text_format(out, "%.1f", rounded);
}

static void attribute(struct text *out, const char *name, double value) {
    text_format(out, " %s='", name), number(out, value), text_put(out, "'");
}

static void place_text(struct drawing *d, const char *class, double x, double y, const char *words) {
    text_format(d->out, "<text class='%s'", class);
    attribute(d->out, "x", x), attribute(d->out, "y", y);
    text_put(d->out, ">"), words_xml(d->out, words), text_put(d->out, "</text>");
}

static void place_rect(struct drawing *d, const char *class, double x, double y, double width, double height, double round) {
    text_put(d->out, "<rect");
    if (class) text_format(d->out, " class='%s'", class);
    attribute(d->out, "x", x), attribute(d->out, "y", y), attribute(d->out, "width", width), attribute(d->out, "height", height);
    if (round > 0) attribute(d->out, "rx", round);
    text_put(d->out, "/>");
}

static void point(struct text *out, const char *command, double x, double y) {
    text_put(out, command), number(out, x), text_put(out, " "), number(out, y);
}

/* ---- Lines ---- */

static void line_path(struct drawing *d, const struct layout_link *link) {
    struct text *out = d->out;
    double x0 = link->x0 + d->left, x1 = link->x1 + d->left, y1 = link->y1 + d->top, y2 = link->y2 + d->top;
    bool ends = link->edge >= 0 && d->scene->nodes[d->scene->edges[link->edge].to].in_count > 0;
    const struct scene_node *to = link->edge >= 0 ? &d->scene->nodes[d->scene->edges[link->edge].to] : NULL;
    double y3 = link->y3 + d->top - (ends && to->kind != SCENE_ENTRY && to->kind != SCENE_EXIT ? 4 : 0);
    point(out, "M", x0, link->y0 + d->top);
    if (fabs(x0 - x1) < 0.5) {
        point(out, "L", x0, y1), point(out, "L", x1, y3);
        return;
    }
    double middle = (y2 - y1) / 2;
    if (link->y0 + d->top < y1) point(out, "L", x0, y1);
    point(out, "C", x0, y1 + middle), point(out, " ", x1, y2 - middle), point(out, " ", x1, y2);
    if (y3 > y2) point(out, "L", x1, y3);
}

/* All pieces of one source's line in one box. Links of a source stand one after another. */
static size_t write_line(struct drawing *d, size_t first) {
    const struct layout *layout = d->layout;
    const struct layout_link *at = &layout->links[first];
    size_t end = first;
    while (end < layout->link_count && layout->links[end].node == at->node && layout->links[end].port == at->port &&
           layout->links[end].group == at->group)
        end++;
    text_format(d->out, "<g class='e' data-f='%d' data-t='", (int)at->node);
    bool some = false;
    for (size_t l = first; l < end; l++)
        if (layout->links[l].edge >= 0)
            text_format(d->out, some ? " %d" : "%d", (int)d->scene->edges[layout->links[l].edge].to), some = true;
    text_put(d->out, "'><path d='");
    for (size_t l = first; l < end; l++) line_path(d, &layout->links[l]);
    text_put(d->out, "'/>");
    bool arrows = false;
    for (size_t l = first; l < end; l++) {
        const struct layout_link *link = &layout->links[l];
        if (link->edge < 0) continue;
        enum scene_kind kind = d->scene->nodes[d->scene->edges[link->edge].to].kind;
        if (kind == SCENE_EXIT || kind == SCENE_ENTRY) continue;
        text_put(d->out, arrows ? "" : "<path class='ar' d='"), arrows = true;
        double x = link->x1 + d->left, y = link->y3 + d->top;
        point(d->out, "M", x, y), text_put(d->out, "l-3.5 -7h7z");
    }
    text_put(d->out, arrows ? "'/></g>\n" : "</g>\n");
    return end;
}

/* ---- Boxes and nodes ---- */

static void write_group(struct drawing *d, size_t g) {
    const struct scene_group *group = &d->scene->groups[g];
    const struct layout_group *place = &d->layout->groups[g];
    double x = place->x + d->left, y = place->y + d->top, at = place->title + d->left + 12;
    text_format(d->out, "<g class='g' data-g='%zu'>", g);
    if (group->copies > 1)
        place_rect(d, "bx", x + 5, y + 5, place->width, place->height, 10), place_rect(d, "bg", x, y, place->width, place->height, 10);
    place_rect(d, group->kind == SCENE_LOOP ? "bx lp" : "bx", x, y, place->width, place->height, 10);
    place_text(d, "gt", at, y + 17, group->name);
    const char *more = layout_title(d->scene->arena, group);
    if (!more) d->out->failed = true;
    else if (more[0]) place_text(d, "gt gm", at + words_width(group->name, 12) + 8, y + 17, more);
    text_put(d->out, "</g>\n");
}

static void write_tip(struct drawing *d, const struct scene_node *node) {
    struct text *out = d->out;
    text_put(out, "<title>"), words_xml(out, node->path);
    if (node->op && strcmp(node->op, node->name) != 0) text_put(out, ": "), words_xml(out, node->op);
    if (node->source && node->source->entry && node->source->entry->op->summary)
        text_put(out, "\n"), words_xml(out, node->source->entry->op->summary);
    if (node->more) text_put(out, "\n"), words_xml(out, node->more);
    for (int32_t k = 0; k < node->out_count; k++) {
        const struct scene_port *port = &node->out[k];
        if (!port->shape) continue;
        text_put(out, "\nout "), words_xml(out, port->name ? port->name : "");
        text_format(out, " %s ", port->type ? port->type : ""), words_xml(out, port->shape);
    }
    for (int32_t p = 0; p < node->param_count; p++) {
        const struct scene_param *param = &node->params[p];
        char bytes[24];
        const char *shape = scene_shape(d->scene->arena, param->type);
        text_put(out, "\nparameter "), words_xml(out, param->name);
        text_format(out, " %s %s, %s%s", dtype_name(param->type->dtype), shape ? shape : "?", words_bytes(bytes, param->bytes),
                    param->tied ? ", shared: " : "");
        if (param->tied) words_xml(out, param->value);
        if (param->update >= 0)
            text_put(out, ", updated by "),
                words_xml(out, d->scene->network->training->updates[param->update].optimizer
                                   ? d->scene->network->training->updates[param->update].optimizer->optimizer->name
                                   : "?");
    }
    if (node->seconds >= 0)
        text_format(out, "\n%.3f ms, %.1f%%", 1e3 * node->seconds, d->scene->seconds > 0 ? 100 * node->seconds / d->scene->seconds : 0);
    if (node->at.line) text_format(out, "\nline %d", (int)node->at.line);
    text_put(out, "</title>");
}

static void write_small(struct drawing *d, const struct scene_node *node, double x, double y, const struct layout_node *place) {
    place_rect(d, NULL, x, y, place->width, place->height, 7);
    struct text label;
    text_init(&label, d->out->from);
    text_format(&label, "%s %s", node->kind == SCENE_READ ? "\xe2\x86\xbb" : "\xe2\x86\xba", node->name);
    place_text(d, "", x + place->width / 2, y + 16, label.failed ? "" : label.at);
    if (label.failed) d->out->failed = true;
    text_free(&label);
}

/* Time on a node: a red veil by its share, and the share in place of its parameters' number. */
static void write_heat(struct drawing *d, const struct scene_node *node, double x, double y, const struct layout_node *place, double line) {
    if (node->seconds < 0 || d->scene->seconds <= 0) return;
    double share = node->seconds / d->scene->seconds, most = d->hottest;
    text_format(d->out, "<rect class='hot' style='--o:%.3f'", most > 0 ? 0.55 * sqrt(node->seconds / most) : 0);
    attribute(d->out, "x", x), attribute(d->out, "y", y), attribute(d->out, "width", place->width);
    attribute(d->out, "height", place->height), text_put(d->out, " rx='7'/>");
    char words[24];
    snprintf(words, sizeof words, "%.1f%%", 100 * share);
    place_text(d, "pc", x + place->width - 8, line, words);
}

static void write_box(struct drawing *d, const struct scene_node *node, double x, double y, const struct layout_node *place) {
    bool same = node->op && strcmp(node->op, node->name) == 0;
    double middle = x + STRIP + (place->width - STRIP) / 2, line = y + (node->names ? 10 : 0);
    char chip[16];
    layout_chip(node, chip);
    if (node->kind == SCENE_BOX) {
        place_rect(d, NULL, x + 3, y + 3, place->width, place->height, 9);
        line += 2;
    }
    place_rect(d, NULL, x, y, place->width, place->height, 7);
    if (node->loss) place_rect(d, "ls", x - 3, y - 3, place->width + 6, place->height + 6, 10);
    if (node->stream >= 0)
        text_format(d->out, "<path style='fill:%s' d='M%.1f %.1fh5v%.1fh-5z'/>", stream_colors[node->stream % STREAM_COLORS], x + 0.6,
                    y + 6, place->height - 12);
    for (int32_t k = 0; node->names && k < node->in_count; k++)
        if (node->in[k].name) place_text(d, "po", x + place->in[k], y + 11, node->in[k].name);
    double mark = layout_mark(node);
    place_text(d, "nm", same ? middle - mark / 2 : middle, line + 19, node->name);
    double op_line = same ? line + 19 : line + 34;
    if (!same) place_text(d, "op", middle - mark / 2, op_line, node->op);
    write_heat(d, node, x, y, place, op_line);
    if (chip[0]) {
        double at = x + place->width - 10;
        place_text(d, "ch", at, op_line, chip);
        place_rect(d, "ck", at - words_width(chip, TYPE_SMALL) - 9, op_line - 7.5, 5.5, 5.5, 1);
    }
    if (node->about) place_text(d, "at", middle, op_line + 13, node->about);
}

static void write_pin(struct drawing *d, const struct scene_node *node, double x, double y) {
    bool carried = node->pair >= 0;
    text_format(d->out, "<circle class='pi%s' r='3'", carried ? " ca" : "");
    attribute(d->out, "cx", x), attribute(d->out, "cy", y), text_put(d->out, "/>");
    if (!node->name[0]) return;
    struct text label;
    text_init(&label, d->out->from);
    text_format(&label, "%s%s", carried ? "\xe2\x86\xbb " : "", node->name);
    place_text(d, carried ? "pn ca" : "pn", x + 7, node->kind == SCENE_ENTRY ? y + 13 : y - 5, label.failed ? "" : label.at);
    if (label.failed) d->out->failed = true;
    text_free(&label);
}

static const char *class_of(const struct drawing *d, const struct scene_node *node, char text[16]) {
    switch (node->kind) {
    case SCENE_INPUT: return "in";
    case SCENE_OUTPUT: return "ou";
    case SCENE_READ:
    case SCENE_WRITE: return "st";
    default: break;
    }
    if (!node->family) return "un";
    snprintf(text, 16, "c%d", (int)scene_color(d->scene, node->family, COLORS));
    return text;
}

static void write_node(struct drawing *d, size_t n) {
    const struct scene_node *node = &d->scene->nodes[n];
    const struct layout_node *place = &d->layout->nodes[n];
    double x = place->x + d->left, y = place->y + d->top;
    char class[16];
    if (node->kind == SCENE_ENTRY || node->kind == SCENE_EXIT) {
        if (node->kind == SCENE_EXIT) y += 16;
        text_format(d->out, "<g class='p' data-n='%zu'>", n);
        write_pin(d, node, x, y);
    } else {
        text_format(d->out, "<g class='n %s' data-n='%zu'>", class_of(d, node, class), n);
        write_tip(d, node);
        if (node->kind == SCENE_READ || node->kind == SCENE_WRITE) write_small(d, node, x, y, place);
        else if (node->kind == SCENE_INPUT || node->kind == SCENE_OUTPUT) {
            place_rect(d, NULL, x, y, place->width, place->height, 14);
            place_text(d, "nm", x + place->width / 2, y + 18.5, node->name);
            if (node->about) place_text(d, "at", x + place->width / 2, y + 32, node->about);
        } else write_box(d, node, x, y, place);
    }
    double bottom = node->kind == SCENE_EXIT ? y : y + place->height;
    for (int32_t k = 0; k < node->out_count && node->kind != SCENE_ENTRY; k++) {
        const char *label = layout_label(d->scene->arena, &node->out[k]);
        double port = node->kind == SCENE_EXIT ? 0 : place->out[k];
        if (label) place_text(d, "sh", x + port + 6, bottom + 13, label);
    }
    text_put(d->out, "</g>\n");
}

static void write_tag(struct drawing *d, const struct layout_tag *tag) {
    const struct scene_edge *edge = &d->scene->edges[tag->edge];
    double x = tag->x + d->left, y = tag->y + d->top;
    text_format(d->out, "<g class='tg' data-f='%d'>", (int)edge->from);
    place_rect(d, NULL, x, y, tag->width, tag->height, 9);
    struct text label;
    text_init(&label, d->out->from);
    text_format(&label, "\xe2\x86\xb3 %s", layout_tag_text(d->scene, edge));
    place_text(d, "", x + tag->width / 2, y + 12.5, label.failed ? "" : label.at);
    if (label.failed) d->out->failed = true;
    text_free(&label);
    text_put(d->out, "</g>\n");
}

/* ---- Head ---- */

static void write_style(struct drawing *d) {
    text_put(d->out, "<style>"), text_put(d->out, style);
    for (int dark = 0; dark < 2; dark++) {
        if (dark) text_put(d->out, "@media(prefers-color-scheme:dark){");
        for (size_t f = 0; f < d->scene->family_count; f++) {
            int32_t c = scene_color(d->scene, d->scene->families[f], COLORS);
            const char *fill = dark ? palette[c].dark_fill : palette[c].fill, *line = dark ? palette[c].dark_line : palette[c].line;
            const char *ink = dark ? palette[c].dark_ink : palette[c].ink;
            text_format(d->out, ".fg .c%d rect{fill:%s;stroke:%s}.fg .c%d .op,.fg .c%d .ch{fill:%s}.fg .c%d .ck{fill:%s;stroke:none}",
                        (int)c, fill, line, (int)c, (int)c, ink, (int)c, line);
        }
        if (dark) text_put(d->out, "}");
    }
    text_put(d->out, ".fg .n .sh{fill:#5b6b7f;font-size:10px}@media(prefers-color-scheme:dark){.fg .n .sh{fill:#93a1b3}}.fg .n "
                     ".hot{fill:#dc2626;stroke:none}.fg .n .ls{fill:none;stroke:#ea580c;stroke-width:2}</style>\n");
}

/* Entries of the legend side by side, in as many lines as they need; `write` false only measures. */
struct legend {
    struct drawing *d;
    double x, y, width;
    bool write;
};

static void legend_entry(struct legend *legend, const char *class, const char *fill, const char *words) {
    double need = 22 + words_width(words, 11) + 18;
    if (legend->x > 0 && legend->x + need > legend->width) legend->x = 0, legend->y += 19;
    if (legend->write) {
        struct drawing *d = legend->d;
        double x = MARGIN + legend->x, y = legend->y;
        if (fill) {
            text_format(d->out, "<rect style='fill:%s'", fill);
            attribute(d->out, "x", x + 4), attribute(d->out, "y", y - 10), text_put(d->out, " width='5' height='13'/>");
        } else {
            text_format(d->out, "<g class='n %s'>", class);
            place_rect(d, NULL, x, y - 10, 15, 13, strcmp(class, "in") == 0 || strcmp(class, "ou") == 0 ? 6 : 3);
            text_put(d->out, "</g>");
        }
        place_text(d, "lg", x + 22, y, words);
    }
    legend->x += need;
}

static void put_legend(struct legend *legend) {
    const struct scene *scene = legend->d->scene;
    char words[64], class[16];
    bool kinds[SCENE_EXIT + 1] = {0}, loss = false, params = false;
    for (size_t n = 0; n < scene->node_count; n++)
        kinds[scene->nodes[n].kind] = true, loss = loss || scene->nodes[n].loss, params = params || scene->nodes[n].numbers > 0;
    if (kinds[SCENE_INPUT]) legend_entry(legend, "in", NULL, "input");
    if (kinds[SCENE_OUTPUT]) legend_entry(legend, "ou", NULL, "output");
    for (size_t f = 0; f < scene->family_count; f++) {
        snprintf(class, sizeof class, "c%d", (int)scene_color(scene, scene->families[f], COLORS));
        legend_entry(legend, class, NULL, scene->families[f]);
    }
    if (kinds[SCENE_READ]) legend_entry(legend, "st", NULL, "value kept from run to run");
    if (loss) legend_entry(legend, NULL, "#ea580c", "loss");
    if (!scene->options->stream) return;
    for (int32_t s = 0; s < scene->options->stream_count && s < STREAM_COLORS; s++) {
        snprintf(words, sizeof words, "%.40s, stream %d", scene->options->device ? scene->options->device : "device", (int)s);
        legend_entry(legend, NULL, stream_colors[s], words);
    }
}

/* NULL: out of memory. */
static const char *summary(struct drawing *d) {
    const struct scene *scene = d->scene;
    char numbers[16], bytes[24];
    struct text line;
    text_init(&line, d->out->from);
    text_format(&line, "%d node%s", (int)scene->operators, scene->operators == 1 ? "" : "s");
    if (scene->numbers > 0)
        text_format(&line, ", %s parameters (%s)", words_count(numbers, scene->numbers), words_bytes(bytes, scene->bytes));
    if (scene->seconds > 0) text_format(&line, ", %.3f ms", 1e3 * scene->seconds);
    const struct training *training = scene->network->training;
    if (training && training->stage_count)
        text_format(&line, ", trained in %zu stage%s", training->stage_count, training->stage_count == 1 ? "" : "s");
    else if (training && training->update_count) {
        text_put(&line, ", trained by");
        for (size_t u = 0; u < training->update_count && u < 6; u++) {
            const struct training_update *update = &training->updates[u];
            text_format(&line, "%s %.40s (%.40s)", u ? "," : "", update->optimizer ? update->optimizer->optimizer->name : "?",
                        update->params);
        }
    }
    if (scene->closed) text_put(&line, "; the deepest boxes are closed: there is too much in them");
    const char *made = line.failed ? NULL : arena_text_n(scene->arena, line.at, line.length);
    text_free(&line);
    return made ? words_cut(scene->arena, made, 96) : NULL;
}

int draw_svg(const struct scene *scene, struct text *out) {
    struct layout layout;
    struct drawing d = {.scene = scene, .layout = &layout, .out = out};
    if (layout_scene(scene, &layout) < 0) return FLOW_ERROR_MEMORY;
    const char *title = scene->network->name ? scene->network->name : scene->network->path ? scene->network->path : "graph";
    for (size_t n = 0; n < scene->node_count; n++) d.hottest = fmax(d.hottest, scene->nodes[n].seconds);
    const char *about = summary(&d);
    if (!about) return FLOW_ERROR_MEMORY;
    double width = fmax(fmax(layout.width, words_width(about, 12)), fmax(WIDTH_LEAST, words_width(title, 20)));
    struct legend legend = {.d = &d, .width = width, .y = 82};
    put_legend(&legend);
    d.left = MARGIN + (width - layout.width) / 2, d.top = legend.y + 30;
    double full = width + 2 * MARGIN, height = d.top + layout.height + MARGIN;
    text_format(out,
                "<svg xmlns='http://www.w3.org/2000/svg' class='fg%s' viewBox='0 0 %.0f %.0f' width='%.0f' height='%.0f' role='img'>\n",
                scene->seconds > 0 ? " heat" : "", ceil(full), ceil(height), ceil(full), ceil(height));
    text_put(out, "<title>"), words_xml(out, title), text_put(out, "</title>\n");
    write_style(&d);
    place_rect(&d, "bg", 0, 0, ceil(full), ceil(height), 0);
    place_text(&d, "h1", MARGIN, 36, title);
    place_text(&d, "h2", MARGIN, 56, about);
    legend = (struct legend){.d = &d, .width = width, .y = 82, .write = true};
    put_legend(&legend);
    text_put(out, "\n");
    for (size_t g = 1; g < scene->group_count; g++)
        if (!scene->groups[g].hidden && scene->groups[g].closed < 0) write_group(&d, g);
    for (size_t l = 0; l < layout.link_count;) l = write_line(&d, l);
    for (size_t n = 0; n < scene->node_count; n++) write_node(&d, n);
    for (size_t t = 0; t < layout.tag_count; t++) write_tag(&d, &layout.tags[t]);
    text_put(out, "</svg>\n");
    return 0;
}
