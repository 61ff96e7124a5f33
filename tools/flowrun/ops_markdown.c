/* SPDX-License-Identifier: Apache-2.0 */
/* The reference as Markdown: a page for each plugin, and README.md with the index and what runs where. */
#include "flowrun/markup.h"
#include "flowrun/ops.h"

#include <stdio.h>
#include <string.h>

/* Text in a cell of a table, or in a line. */
static void put_cell(struct markup *out, const char *text) {
    for (; text && *text; text++) {
        if (*text == '|' || *text == '<' || *text == '*' || *text == '_') markup_bytes(out, "\\", 1);
        markup_bytes(out, *text == '\n' ? " " : text, 1);
    }
}

static void put_code(struct markup *out, const char *text) {
    markup_bytes(out, "`", 1);
    for (; *text; text++) {
        if (*text == '|') markup_bytes(out, "\\", 1);
        markup_bytes(out, text, 1);
    }
    markup_bytes(out, "`", 1);
}

static void put_block(struct markup *out, const char *language, const char *text) {
    markup_put(out, "```%s\n", language);
    markup_bytes(out, text, strlen(text));
    markup_put(out, "\n```\n\n");
}

static void put_ports(struct markup *out, const char *title, const struct flow_ports *ports) {
    char types[64];
    if (!ports->count) return;
    markup_put(out, "| %s | type | shape | |\n| --- | --- | --- | --- |\n", title);
    for (uint32_t i = 0; i < ports->count; i++) {
        const struct flow_port *port = &ports->at[i];
        markup_put(out, "| "), put_code(out, port->name);
        markup_put(out, " | %s | ", entry_types(port->types, types, sizeof types));
        if (port->shape) markup_put(out, "`[%s]`", port->shape);
        markup_put(out, " | "), put_cell(out, port->summary);
        markup_put(out, "%s%s%s |\n", port->flags & FLOW_OPTIONAL ? " (optional)" : "", port->flags & FLOW_VARIADIC ? " (any number)" : "",
                   port->flags & FLOW_DYNAMIC ? " (its extent is known after the run)" : "");
    }
    markup_put(out, "\n");
}

static void put_attrs(struct markup *out, const struct flow_attrs *attrs) {
    char kind[384];
    if (!attrs->count) return;
    markup_put(out, "| attribute | value | default | |\n| --- | --- | --- | --- |\n");
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct flow_attr *attr = &attrs->at[i];
        markup_put(out, "| "), put_code(out, attr->name), markup_put(out, " | ");
        put_cell(out, entry_attr(attr, kind, sizeof kind)), markup_put(out, " | ");
        if (!attr->fallback) markup_put(out, "required");
        else if (*attr->fallback) put_code(out, attr->fallback);
        markup_put(out, " | "), put_cell(out, attr->summary), markup_put(out, " |\n");
    }
    markup_put(out, "\n");
}

static void put_params(struct markup *out, const struct flow_params *params) {
    if (!params->count) return;
    markup_put(out, "| parameter | shape | initially | |\n| --- | --- | --- | --- |\n");
    for (uint32_t i = 0; i < params->count; i++) {
        const struct flow_param *param = &params->at[i];
        markup_put(out, "| "), put_code(out, param->name), markup_put(out, " | ");
        if (param->shape) markup_put(out, "`[%s]`", param->shape);
        markup_put(out, " | "), put_cell(out, param->init), markup_put(out, " | "), put_cell(out, param->summary);
        if (param->when) markup_put(out, " (where "), put_code(out, param->when), markup_put(out, ")");
        markup_put(out, " |\n");
    }
    markup_put(out, "\n");
}

static void put_states(struct markup *out, const struct entry *entry) {
    if (!entry->states.count) return;
    markup_put(out, "| state | shape | |\n| --- | --- | --- |\n");
    for (uint32_t i = 0; i < entry->states.count; i++) {
        const struct flow_state *state = &entry->states.at[i];
        markup_put(out, "| "), put_code(out, state->name), markup_put(out, " | ");
        if (state->shape) markup_put(out, "`[%s]`", state->shape);
        else markup_put(out, entry->kind == ENTRY_OPTIMIZER ? "as the parameter" : "");
        markup_put(out, " | "), put_cell(out, state->summary), markup_put(out, " |\n");
    }
    markup_put(out, "\n");
}

static void put_support(struct markup *out, const struct entry *entry) {
    char forward[64], backward[64];
    if (entry->kind != ENTRY_OPERATOR) return;
    uint32_t types = entry_support(entry, FLOW_DEVICE_CPU, false), back = entry_support(entry, FLOW_DEVICE_CPU, true);
    if (types)
        markup_put(out, "Runs on %s; gradients: %s; in pieces: %s.\n\n", entry_types(types, forward, sizeof forward),
                   back ? entry_types(back, backward, sizeof backward) : "none", entry_streaming(entry));
    else markup_put(out, "Computes nothing of its own; in pieces: %s.\n\n", entry_streaming(entry));
}

static void put_entry(struct markup *out, const struct entry *entry) {
    static const char *const kinds[] = {"", " (an optimiser)", " (a source of data)"};
    markup_put(out, "## %s%s\n\n", entry->name, kinds[entry->kind]);
    put_cell(out, entry->summary);
    markup_put(out, "\n\n");
    if (*entry->equation) put_block(out, "", entry->equation);
    put_ports(out, "input", &entry->inputs);
    put_ports(out, "output", &entry->outputs);
    put_attrs(out, &entry->attrs);
    put_params(out, &entry->params);
    put_states(out, entry);
    put_support(out, entry);
    if (*entry->example) put_block(out, "yaml", entry->example);
    if (*entry->reference) markup_put(out, "From: "), put_cell(out, entry->reference), markup_put(out, "\n\n");
}

static const char generated[] = "<!-- Written by `flowrun ops --markdown`, from the operators' own tables: change those. -->\n\n";

static int write_page(flow_runtime *runtime, const char *folder, const char *name, struct markup *out) {
    char path[4096];
    while (out->length > 1 && out->at[out->length - 1] == '\n' && out->at[out->length - 2] == '\n') out->length--;
    if (snprintf(path, sizeof path, "%s/%s.md", folder, name) >= (int)sizeof path)
        return command_say(EXIT_USAGE, "'%s' is too long", folder);
    return markup_write(out, runtime, path);
}

/* The entries from `first` on that belong to one plugin. */
static size_t same_plugin(const struct entries *entries, size_t first) {
    size_t end = first;
    while (end < entries->count && strcmp(entries->at[end].plugin, entries->at[first].plugin) == 0) end++;
    return end;
}

static void put_link(struct markup *out, const struct entry *entry) {
    static const char *const anchors[] = {"", "-an-optimiser", "-a-source-of-data"};
    markup_put(out, "[%s](%s.md#%s%s)", entry->name, entry->plugin, entry->name, anchors[entry->kind]);
}

static void put_matrix(struct markup *out, const struct entries *entries) {
    char forward[64], backward[64];
    markup_put(out,
               "## What runs where\n\n"
               "Forward and gradients: the element types for which there are kernels on the CPU; f16 and bf16 are widened to f32 around a "
               "kernel. In pieces: what `--stream` needs. Along \"any axis\": each element is on its own; \"carries state\": the operator "
               "keeps what it needs from piece to piece; \"as its axes allow\": along axes that it treats row by row, and "
               "`flowrun check GRAPH --stream AXIS` says which.\n\n"
               "| operator | forward | gradients | in pieces |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->at[i];
        if (entry->kind != ENTRY_OPERATOR) continue;
        uint32_t types = entry_support(entry, FLOW_DEVICE_CPU, false), back = entry_support(entry, FLOW_DEVICE_CPU, true);
        markup_put(out, "| "), put_link(out, entry);
        markup_put(out, " | %s | %s | %s |\n", types ? entry_types(types, forward, sizeof forward) : "computes nothing",
                   back    ? entry_types(back, backward, sizeof backward)
                   : types ? "none"
                           : "pass through",
                   entry_streaming(entry));
    }
}

static int write_index(flow_runtime *runtime, const struct entries *entries, const char *folder) {
    struct markup out = {0};
    markup_put(&out, "# Operators\n\n%s", generated);
    for (size_t first = 0, end; first < entries->count; first = end) {
        end = same_plugin(entries, first);
        markup_put(&out, "[**%s**](%s.md)%s: ", entries->at[first].plugin, entries->at[first].plugin,
                   entries->at[first].file ? " (a plugin)" : "");
        for (size_t i = first; i < end; i++) {
            if (i > first) markup_put(&out, ", ");
            put_link(&out, &entries->at[i]);
        }
        markup_put(&out, "\n\n");
    }
    put_matrix(&out, entries);
    return write_page(runtime, folder, "README", &out);
}

int ops_markdown(flow_runtime *runtime, const struct entries *entries, const char *folder) {
    int rc = write_index(runtime, entries, folder);
    for (size_t first = 0, end; rc == 0 && first < entries->count; first = end) {
        struct markup out = {0};
        end = same_plugin(entries, first);
        markup_put(&out, "# %s\n\n%s", entries->at[first].plugin, generated);
        for (size_t i = first; i < end; i++) put_entry(&out, &entries->at[i]);
        rc = write_page(runtime, folder, entries->at[first].plugin, &out);
    }
    return rc;
}
