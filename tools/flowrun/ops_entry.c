/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *or_empty(const char *text) { return text ? text : ""; }

static void add_operators(struct entries *entries, const struct flow_operator_info *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct flow_operator *op = list[i].op;
        entries->at[entries->count++] = (struct entry){.kind = ENTRY_OPERATOR,
                                                       .name = op->name,
                                                       .plugin = list[i].plugin,
                                                       .file = list[i].file,
                                                       .summary = or_empty(op->summary),
                                                       .equation = or_empty(op->equation),
                                                       .reference = or_empty(op->reference),
                                                       .example = or_empty(op->example),
                                                       .flags = op->flags,
                                                       .inputs = op->inputs,
                                                       .outputs = op->outputs,
                                                       .params = op->params,
                                                       .states = op->states,
                                                       .attrs = op->attrs,
                                                       .kernels = list[i].kernels,
                                                       .kernel_count = list[i].kernel_count};
    }
}

static void add_optimizers(struct entries *entries, const struct flow_optimizer_info *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct flow_optimizer *optimizer = list[i].optimizer;
        entries->at[entries->count++] = (struct entry){.kind = ENTRY_OPTIMIZER,
                                                       .name = optimizer->name,
                                                       .plugin = list[i].plugin,
                                                       .file = list[i].file,
                                                       .summary = or_empty(optimizer->summary),
                                                       .equation = or_empty(optimizer->equation),
                                                       .reference = or_empty(optimizer->reference),
                                                       .example = or_empty(optimizer->example),
                                                       .states = optimizer->states,
                                                       .attrs = optimizer->attrs};
    }
}

static void add_sources(struct entries *entries, const struct flow_source_info *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct flow_source *source = list[i].source;
        entries->at[entries->count++] = (struct entry){.kind = ENTRY_SOURCE,
                                                       .name = source->name,
                                                       .plugin = list[i].plugin,
                                                       .file = list[i].file,
                                                       .summary = or_empty(source->summary),
                                                       .equation = "",
                                                       .reference = or_empty(source->reference),
                                                       .example = or_empty(source->example),
                                                       .outputs = source->outputs,
                                                       .attrs = source->attrs};
    }
}

static int by_plugin(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    int order = strcmp(a->plugin, b->plugin);
    if (!order) order = strcmp(a->name, b->name);
    return order ? order : (int)a->kind - (int)b->kind;
}

int entries_read(flow_runtime *runtime, struct entries *entries) {
    flow_errors *errors = NULL;
    struct flow_operator_info *operators = NULL;
    struct flow_optimizer_info *optimizers = NULL;
    struct flow_source_info *sources = NULL;
    size_t operator_count = 0, optimizer_count = 0, source_count = 0;
    *entries = (struct entries){0};
    int rc = 0;
    if (flow_runtime_operators(runtime, &errors, &operators, &operator_count, &entries->failures) < 0 ||
        flow_runtime_optimizers(runtime, &errors, &optimizers, &optimizer_count, NULL) < 0 ||
        flow_runtime_sources(runtime, &errors, &sources, &source_count, NULL) < 0)
        rc = command_fail(errors);
    if (rc == 0) entries->at = calloc(operator_count + optimizer_count + source_count + 1, sizeof *entries->at);
    if (rc == 0 && !entries->at) rc = command_say(EXIT_FAILED, "out of memory");
    if (rc == 0) {
        add_operators(entries, operators, operator_count);
        add_optimizers(entries, optimizers, optimizer_count);
        add_sources(entries, sources, source_count);
        qsort(entries->at, entries->count, sizeof *entries->at, by_plugin);
    }
    if (operators) flow_runtime_operators_free(runtime, operators, operator_count);
    if (optimizers) flow_runtime_optimizers_free(runtime, optimizers, optimizer_count);
    if (sources) flow_runtime_sources_free(runtime, sources, source_count);
    return rc;
}

void entries_free(struct entries *entries) {
    free(entries->at);
    flow_text_free(entries->failures);
}

const char *entry_kind_name(enum entry_kind kind) {
    return kind == ENTRY_OPERATOR ? "operator" : kind == ENTRY_OPTIMIZER ? "optimizer" : "source";
}

const char *entry_types(uint32_t types, char *text, size_t size) {
    static const struct {
        uint32_t types;
        const char *name;
    } sets[] = {{FLOW_TYPES_ANY, "any"}, {FLOW_TYPES_NUMBER, "number"}, {FLOW_TYPES_FLOAT, "float"}, {FLOW_TYPES_INTEGER, "integer"}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (types == sets[i].types) {
            snprintf(text, size, "%s", sets[i].name);
            return text;
        }
    size_t used = 0;
    text[0] = 0;
    for (int32_t type = 0; type < FLOW_TYPE_COUNT && used < size; type++) {
        if (!(types >> type & 1u)) continue;
        bool last = types >> type == 1u;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? last ? " or " : ", " : "", flow_type_name(type));
    }
    return text;
}

uint32_t entry_support(const struct entry *entry, int32_t device, bool backward) {
    uint32_t types = 0;
    for (uint32_t i = 0; i < entry->kernel_count; i++)
        if (entry->kernels[i].device == device && (!backward || entry->kernels[i].backward)) types |= entry->kernels[i].types;
    if (types & FLOW_TYPE(F32)) types |= FLOW_TYPE(F16) | FLOW_TYPE(BF16);
    return backward ? types & FLOW_TYPES_FLOAT : types;
}

const char *entry_streaming(const struct entry *entry) {
    if (entry->kind != ENTRY_OPERATOR) return "";
    if (entry->flags & FLOW_OP_POINTWISE) return "any axis";
    if (entry->flags & FLOW_OP_VALUE) return "a value";
    return entry->states.count ? "carries state" : "as its axes allow";
}

static int add_range(const struct flow_attr *attr, char *text, size_t size) {
    bool low = isfinite(attr->min) && fabs(attr->min) < 1e9, high = isfinite(attr->max) && fabs(attr->max) < 1e9;
    if (low && high) return snprintf(text, size, " from %.10g to %.10g", attr->min, attr->max);
    if (low) return snprintf(text, size, " from %.10g", attr->min);
    if (high) return snprintf(text, size, " up to %.10g", attr->max);
    return 0;
}

const char *entry_attr(const struct flow_attr *attr, char *text, size_t size) {
    static const char *const names[] = {
        "", "integer", "real", "true or false", "word", "one of", "integer or list", "number or nested lists", "element type"};
    const char *name = attr->type > 0 && attr->type < (int32_t)(sizeof names / sizeof *names) ? names[attr->type] : "";
    size_t used = (size_t)snprintf(text, size, "%s", name);
    if (attr->type == FLOW_ATTR_INT || attr->type == FLOW_ATTR_REAL || attr->type == FLOW_ATTR_INTS || attr->type == FLOW_ATTR_VALUES)
        used += (size_t)add_range(attr, text + used, size - used);
    if (attr->choices && attr->type != FLOW_ATTR_CHOICE && used < size) used += (size_t)snprintf(text + used, size - used, ", or");
    bool first = true;
    for (const char *at = attr->choices; at && *at && used < size; at += strcspn(at, "|"), at += *at == '|') {
        used += (size_t)snprintf(text + used, size - used, "%s %.*s", first ? "" : ",", (int)strcspn(at, "|"), at);
        first = false;
    }
    return text;
}
