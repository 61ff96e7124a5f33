/* SPDX-License-Identifier: Apache-2.0 */
/* Operators as JSON: everything that their tables say, nothing that depends on the machine, so that the file can be kept and compared. */
#include "flowrun/ops.h"
#include "flowrun/print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void put_field(const char *key, const char *value) {
    printf("\"%s\": ", key);
    if (value) print_string(stdout, value, strlen(value));
    else fputs("null", stdout);
}

static void put_types(const char *key, uint32_t types) {
    printf("\"%s\": [", key);
    for (int32_t type = 0, shown = 0; type < FLOW_TYPE_COUNT; type++)
        if (types >> type & 1u) printf("%s\"%s\"", shown++ ? ", " : "", flow_type_name(type));
    fputs("]", stdout);
}

struct flag_name {
    uint32_t flag;
    const char *name;
};

static void put_flags(uint32_t flags, const struct flag_name *names, size_t count) {
    fputs(", \"flags\": [", stdout);
    for (size_t i = 0, shown = 0; i < count; i++)
        if (flags & names[i].flag) printf("%s\"%s\"", shown++ ? ", " : "", names[i].name);
    fputs("]", stdout);
}

static void put_ports(const char *key, const struct flow_ports *ports) {
    static const struct flag_name names[] = {{FLOW_OPTIONAL, "optional"}, {FLOW_VARIADIC, "variadic"},   {FLOW_STRIDED, "strided"},
                                             {FLOW_OWN_TYPE, "own type"}, {FLOW_NO_GRAD, "no gradient"}, {FLOW_DYNAMIC, "dynamic"},
                                             {FLOW_WHOLE, "whole"}};
    printf(",\n \"%s\": [", key);
    for (uint32_t i = 0; i < ports->count; i++) {
        const struct flow_port *port = &ports->at[i];
        printf("%s\n  {", i ? "," : "");
        put_field("name", port->name), fputs(", ", stdout), put_field("summary", port->summary), fputs(", ", stdout);
        put_field("shape", port->shape), fputs(", ", stdout), put_types("types", port->types);
        put_flags(port->flags, names, sizeof names / sizeof *names);
        fputs("}", stdout);
    }
    fputs("]", stdout);
}

static void put_params(const struct flow_params *params) {
    static const struct flag_name names[] = {{FLOW_DECLARED, "by attributes"}, {FLOW_RUNNING, "not trained"}};
    fputs(",\n \"params\": [", stdout);
    for (uint32_t i = 0; i < params->count; i++) {
        const struct flow_param *param = &params->at[i];
        printf("%s\n  {", i ? "," : "");
        put_field("name", param->name), fputs(", ", stdout), put_field("summary", param->summary), fputs(", ", stdout);
        put_field("shape", param->shape), fputs(", ", stdout), put_field("when", param->when), fputs(", ", stdout);
        put_field("init", param->init);
        put_flags(param->flags, names, sizeof names / sizeof *names);
        fputs("}", stdout);
    }
    fputs("]", stdout);
}

static void put_states(const struct flow_states *states) {
    fputs(",\n \"states\": [", stdout);
    for (uint32_t i = 0; i < states->count; i++) {
        printf("%s\n  {", i ? "," : "");
        put_field("name", states->at[i].name), fputs(", ", stdout), put_field("summary", states->at[i].summary), fputs(", ", stdout);
        put_field("shape", states->at[i].shape), fputs("}", stdout);
    }
    fputs("]", stdout);
}

static void put_bound(const char *key, double bound) {
    if (isfinite(bound) && fabs(bound) < 1e9) printf(", \"%s\": %.17g", key, bound);
}

static void put_attrs(const struct flow_attrs *attrs) {
    static const char *const types[] = {"", "integer", "real", "boolean", "text", "choice", "integers", "numbers", "dtype"};
    fputs(",\n \"attributes\": [", stdout);
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct flow_attr *attr = &attrs->at[i];
        bool known = attr->type > 0 && attr->type < (int32_t)(sizeof types / sizeof *types);
        bool ranged =
            attr->type == FLOW_ATTR_INT || attr->type == FLOW_ATTR_REAL || attr->type == FLOW_ATTR_INTS || attr->type == FLOW_ATTR_VALUES;
        printf("%s\n  {", i ? "," : "");
        put_field("name", attr->name), fputs(", ", stdout), put_field("summary", attr->summary), fputs(", ", stdout);
        put_field("type", known ? types[attr->type] : NULL), fputs(", ", stdout), put_field("default", attr->fallback);
        if (ranged) put_bound("min", attr->min), put_bound("max", attr->max);
        if (attr->choices) {
            fputs(", \"choices\": [", stdout);
            for (const char *at = attr->choices; *at; at += strcspn(at, "|"), at += *at == '|')
                printf("%s", at == attr->choices ? "" : ", "), print_string(stdout, at, strcspn(at, "|"));
            fputs("]", stdout);
        }
        fputs("}", stdout);
    }
    fputs("]", stdout);
}

static void put_support(const struct entry *entry) {
    static const struct flag_name names[] = {{FLOW_OP_POINTWISE, "pointwise"}, {FLOW_OP_RANDOM, "random"}, {FLOW_OP_VALUE, "value"}};
    static const char *const devices[] = {"cpu", "cuda"};
    put_flags(entry->flags, names, sizeof names / sizeof *names);
    fputs(",\n \"streaming\": ", stdout), print_string(stdout, entry_streaming(entry), strlen(entry_streaming(entry)));
    fputs(", \"kernels\": [", stdout);
    for (int32_t device = 0, shown = 0; device < 2; device++) {
        uint32_t forward = entry_support(entry, device, false);
        if (!forward) continue;
        printf("%s{\"device\": \"%s\", ", shown++ ? ", " : "", devices[device]);
        put_types("forward", forward), fputs(", ", stdout), put_types("backward", entry_support(entry, device, true));
        fputs("}", stdout);
    }
    fputs("]", stdout);
}

void ops_json_one(const struct entry *entry) {
    fputs("{", stdout);
    put_field("kind", entry_kind_name(entry->kind)), fputs(", ", stdout), put_field("name", entry->name), fputs(", ", stdout);
    put_field("plugin", entry->plugin), fputs(",\n ", stdout), put_field("summary", entry->summary), fputs(",\n ", stdout);
    put_field("equation", entry->equation), fputs(",\n ", stdout), put_field("reference", entry->reference), fputs(",\n ", stdout);
    put_field("example", entry->example);
    if (entry->kind == ENTRY_OPERATOR) put_ports("inputs", &entry->inputs);
    if (entry->kind != ENTRY_OPTIMIZER) put_ports("outputs", &entry->outputs);
    put_attrs(&entry->attrs);
    if (entry->kind == ENTRY_OPERATOR) put_params(&entry->params);
    if (entry->kind != ENTRY_SOURCE) put_states(&entry->states);
    if (entry->kind == ENTRY_OPERATOR) put_support(entry);
    fputs("}", stdout);
}

void ops_json(const struct entry *entries, size_t count) {
    fputs("[", stdout);
    for (size_t i = 0; i < count; i++) fputs(i ? ",\n" : "\n", stdout), ops_json_one(&entries[i]);
    fputs("\n]\n", stdout);
}
