/* SPDX-License-Identifier: Apache-2.0 */
/* One operator, optimiser or source as a page for a terminal. */
#include "flowrun/ops.h"
#include "flowrun/terminal.h"

#include <stdio.h>
#include <string.h>

enum { NAMES = 16 }; /* columns of a name, after two spaces */

struct page {
    size_t width;
    const char *section; /* the last title printed */
};

static void print_title(struct page *page, const char *title) {
    if (page->section != title) printf("\n%s%s%s\n", DIM, title, PLAIN);
    page->section = title;
}

static void print_row(struct page *page, const char *title, const char *name, const char *what, const char *summary) {
    enum { INDENT = NAMES + 3 };
    print_title(page, title);
    size_t columns = terminal_columns(name);
    printf("  %s%s%s", BOLD, name, PLAIN);
    size_t at = columns + 2;
    if (at >= INDENT) putchar('\n'), at = 0;
    char line[1024];
    snprintf(line, sizeof line, "%s%s%s", what, *what && *summary ? "; " : "", summary);
    terminal_wrap(stdout, *line ? line : "-", at, INDENT, page->width);
}

static void print_ports(struct page *page, const char *title, const struct flow_ports *ports) {
    for (uint32_t i = 0; i < ports->count; i++) {
        const struct flow_port *port = &ports->at[i];
        char what[256], types[64];
        snprintf(what, sizeof what, "%s %s%s%s%s%s", entry_types(port->types, types, sizeof types), port->shape ? "[" : "",
                 port->shape ? port->shape : "", port->shape ? "]" : "", port->flags & FLOW_OPTIONAL ? ", optional" : "",
                 port->flags & FLOW_VARIADIC  ? ", any number"
                 : port->flags & FLOW_DYNAMIC ? ", its extent known after the run"
                                              : "");
        print_row(page, title, port->name, what, port->summary ? port->summary : "");
    }
}

static void print_params(struct page *page, const struct flow_params *params) {
    for (uint32_t i = 0; i < params->count; i++) {
        const struct flow_param *param = &params->at[i];
        char what[512];
        snprintf(what, sizeof what, "%s%s%sinitially %s%s%s", param->shape ? "[" : "", param->shape ? param->shape : "",
                 param->shape ? "] " : "", param->init ? param->init : "given", param->when ? ", where " : "",
                 param->when ? param->when : "");
        print_row(page, "Parameters", param->name, what, param->summary ? param->summary : "");
    }
}

static void print_states(struct page *page, const struct entry *entry) {
    for (uint32_t i = 0; i < entry->states.count; i++) {
        const struct flow_state *state = &entry->states.at[i];
        char what[256];
        if (state->shape) snprintf(what, sizeof what, "[%s]", state->shape);
        else snprintf(what, sizeof what, "%s", entry->kind == ENTRY_OPTIMIZER ? "as the parameter" : "");
        print_row(page, "State", state->name, what, state->summary ? state->summary : "");
    }
}

static void print_attrs(struct page *page, const struct flow_attrs *attrs) {
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct flow_attr *attr = &attrs->at[i];
        char what[512], kind[384];
        const char *fallback = !attr->fallback ? ", required" : !*attr->fallback ? ", optional" : ", default ";
        snprintf(what, sizeof what, "%s%s%s", entry_attr(attr, kind, sizeof kind), fallback, attr->fallback ? attr->fallback : "");
        print_row(page, "Attributes (with:)", attr->name, what, attr->summary ? attr->summary : "");
    }
}

static void print_support(struct page *page, const struct entry *entry) {
    static const struct {
        int32_t device;
        const char *name;
    } devices[] = {{FLOW_DEVICE_CPU, "cpu"}, {FLOW_DEVICE_CUDA, "cuda"}};
    if (entry->kind != ENTRY_OPERATOR) return;
    char forward[64], backward[64], line[192];
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        uint32_t types = entry_support(entry, devices[i].device, false), back = entry_support(entry, devices[i].device, true);
        if (!types) continue;
        snprintf(line, sizeof line, "%s; gradients %s", entry_types(types, forward, sizeof forward),
                 back ? entry_types(back, backward, sizeof backward) : "none");
        print_row(page, "Support", devices[i].name, line, "");
    }
    print_row(page, "Support", "in pieces", entry_streaming(entry), "");
}

static void print_end(struct page *page, const struct entry *entry) {
    if (*entry->example) {
        print_title(page, "Example");
        for (const char *at = entry->example; *at; at += strcspn(at, "\n"), at += *at == '\n')
            printf("  %.*s\n", (int)strcspn(at, "\n"), at);
    }
    if (*entry->reference) print_title(page, "Reference"), fputs("  ", stdout), terminal_wrap(stdout, entry->reference, 2, 2, page->width);
    printf("\n%s%s%s%s\n", DIM, entry->file ? "plugin " : "built in: ", entry->plugin, PLAIN);
    if (entry->file) printf("%s%s%s\n", DIM, entry->file, PLAIN);
}

void ops_page(const struct entry *entry) {
    static const char *const kinds[] = {"", " (an optimiser)", " (a source of data)"};
    struct page page = {.width = terminal_width(stdout, 80)};
    char title[512];
    printf("%s%s%s", BOLD, entry->name, PLAIN);
    snprintf(title, sizeof title, "%s: %s", kinds[entry->kind], entry->summary);
    size_t at = terminal_columns(entry->name);
    /* The colon stands at the name. */
    if (entry->kind == ENTRY_OPERATOR) printf(": "), terminal_wrap(stdout, entry->summary, at + 2, 2, page.width);
    else terminal_wrap(stdout, title, at, 2, page.width);
    for (const char *line = entry->equation; *line; line += strcspn(line, "\n"), line += *line == '\n')
        printf("%s    %.*s\n", line == entry->equation ? "\n" : "", (int)strcspn(line, "\n"), line);
    print_ports(&page, "Inputs", &entry->inputs);
    print_ports(&page, "Outputs", &entry->outputs);
    print_attrs(&page, &entry->attrs);
    print_params(&page, &entry->params);
    print_states(&page, entry);
    print_support(&page, entry);
    print_end(&page, entry);
}
