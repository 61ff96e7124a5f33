/* SPDX-License-Identifier: Apache-2.0 */
/* One self-contained page: drawings in templates, their JSON, style and script. It loads nothing and sends nothing. */
#include "flowrun/show.h"

#include "flowrun/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const unsigned char asset_show_css[], asset_show_js[];
extern const size_t asset_show_css_size, asset_show_js_size;

enum { VIEWS_MOST = 6 };

struct view {
    char *svg, *json;
    char name[24];
};

static int draw(flow_graph *graph, struct flow_draw_options options, struct view *view) {
    flow_errors *errors = NULL;
    options.format = "svg";
    if (flow_graph_draw_as(graph, &options, &errors, &view->svg) < 0) return command_fail(errors);
    options.format = "json";
    return flow_graph_draw_as(graph, &options, &errors, &view->json) < 0 ? command_fail(errors) : 0;
}

static void forget(struct view *view) {
    flow_text_free(view->svg), flow_text_free(view->json);
    *view = (struct view){0};
}

/* Boxes closed at depth 1, 2 .. until nothing changes any more, which is the view that the page begins with; copies one by one where that
 * makes a difference. */
static int draw_views(flow_graph *graph, const struct flow_draw_options *options, struct view *views, size_t *count, size_t *first) {
    struct view whole = {0};
    int rc = draw(graph, *options, &whole);
    for (int32_t depth = 1; rc == 0 && !options->depth && *count + 2 < VIEWS_MOST; depth++) {
        struct flow_draw_options closed = *options;
        struct view *view = &views[*count];
        closed.depth = depth;
        rc = draw(graph, closed, view);
        if (rc == 0 && strcmp(view->svg, whole.svg) == 0) {
            forget(view);
            break;
        }
        if (rc == 0) snprintf(view->name, sizeof view->name, depth == 1 ? "closed" : "%d deep", (int)depth - 1), ++*count;
    }
    snprintf(whole.name, sizeof whole.name, "open");
    *first = *count;
    views[(*count)++] = whole;
    if (rc == 0 && !options->unfold) {
        struct flow_draw_options all = *options;
        struct view *view = &views[*count];
        all.unfold = true;
        rc = draw(graph, all, view);
        snprintf(view->name, sizeof view->name, "every copy");
        if (rc == 0 && strcmp(view->svg, whole.svg) != 0) ++*count;
        else forget(view);
    }
    return rc;
}

/* JSON inside a script element: `<` occurs in its strings alone. */
static void put_script_json(struct markup *out, const char *json) {
    for (const char *at = json, *next; *at; at = next) {
        size_t length = strcspn(at, "<");
        markup_bytes(out, at, length);
        next = at + length;
        if (*next) markup_bytes(out, "\\u003c", 6), next++;
    }
}

static void put_page(const flow_graph *graph, const struct view *views, size_t count, size_t first, bool timed, struct markup *out) {
    const char *name = flow_graph_name(graph) ? flow_graph_name(graph) : "graph";
    markup_put(out, "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
                    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; script-src "
                    "'unsafe-inline'\"><title>");
    markup_text(out, name), markup_put(out, "</title><style>\n");
    markup_bytes(out, (const char *)asset_show_css, asset_show_css_size);
    markup_put(out, "</style><header><h1>"), markup_text(out, name);
    markup_put(out, "</h1><input type=search id=search placeholder='search: name, operator, shape' aria-label='search for nodes' "
                    "autocomplete=off spellcheck=false><span class=found id=found aria-live=polite></span><span class=pick id=views "
                    "role=group aria-label='boxes'></span>");
    if (timed)
        markup_put(out,
                   "<span class=pick id=heat role=group aria-label='colour'><button data-heat=1>by time</button><button data-heat=0>by "
                   "plugin</button></span>");
    markup_put(out,
               "<span class=pick role=group aria-label='zoom'><button id=out aria-label='smaller'>&minus;</button><button id=fit>fit"
               "</button><button id=in aria-label='larger'>+</button></span></header><div id=canvas aria-label='drawing: arrows move it, "
               "plus and minus zoom, slash searches'></div><aside><div id=panel></div></aside>\n");
    for (size_t i = 0; i < count; i++) {
        markup_put(out, "<template data-view=%zu>", i);
        markup_bytes(out, views[i].svg, strlen(views[i].svg));
        markup_put(out, "</template>\n");
    }
    markup_put(out, "<script>\nconst FIRST = %zu, VIEWS = [", first);
    for (size_t i = 0; i < count; i++) {
        markup_put(out, "%s{name: \"%s\", data: ", i ? ",\n" : "", views[i].name);
        put_script_json(out, views[i].json), markup_put(out, "}");
    }
    markup_put(out, "];\n");
    markup_bytes(out, (const char *)asset_show_js, asset_show_js_size);
    markup_put(out, "</script></html>\n");
}

int show_page(flow_graph *graph, const struct flow_draw_options *options, struct markup *out) {
    struct view views[VIEWS_MOST + 1] = {0};
    size_t count = 0, first = 0;
    int rc = draw_views(graph, options, views, &count, &first);
    if (rc == 0) put_page(graph, views, count, first, options->time_count > 0, out);
    for (size_t i = 0; i <= VIEWS_MOST; i++) forget(&views[i]);
    return rc;
}
