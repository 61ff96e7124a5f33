/* SPDX-License-Identifier: Apache-2.0 */
/* Prints every row of a plugin's tables as the registry hands them on: the same whatever the ages of host and plugin.
 *   tables FOLDER */
#include "plugin/builtin.h"
#include "plugin/registry.h"

#include <stdio.h>

const flow_entry_function registry_builtin[] = {NULL};

#ifdef TOMORROW /* what an older plugin does not know of is zero; what a newer one gives arrives (it gives nothing yet) */
#define GROWN(row)              \
    for (int i = 0; i < 3; i++) \
        if ((row)->of_tomorrow[i]) printf("    of tomorrow %d is not 0\n", i);
#else
#define GROWN(row) (void)(row);
#endif

static const char *text(const char *t) { return t ? t : "NULL"; }

static void print_ports(const char *table, const struct flow_ports *ports) {
    for (uint32_t n = 0; n < ports->count; n++) {
        const struct flow_port *row = &ports->at[n];
        printf("  %s %s '%s' '%s' types %x flags %x\n", table, row->name, row->summary, text(row->shape), row->types, row->flags);
        GROWN(row)
    }
}
static void print_states(const struct flow_states *states) {
    for (uint32_t n = 0; n < states->count; n++) {
        const struct flow_state *row = &states->at[n];
        printf("  state %s '%s' %s types %x flags %x axis %d\n", row->name, text(row->shape), text(row->init), row->types, row->flags,
               row->axis);
        GROWN(row)
    }
}
static void print_attrs(const struct flow_attrs *attrs) {
    for (uint32_t n = 0; n < attrs->count; n++) {
        const struct flow_attr *row = &attrs->at[n];
        printf("  attr %s '%s' type %d at %u default %s %g..%g\n", row->name, row->summary, row->type, row->offset, text(row->fallback),
               row->min, row->max);
        GROWN(row)
    }
}

static void print_operator(const struct registry_entry *entry) {
    const struct flow_operator *op = entry->op;
    printf("operator %s '%s' flags %x attrs %u infer %d prepare %d\n", op->name, op->summary, op->flags, op->attrs_size, op->infer != NULL,
           op->prepare != NULL);
    print_ports("input", &op->inputs), print_ports("output", &op->outputs);
    for (uint32_t n = 0; n < op->params.count; n++) {
        const struct flow_param *row = &op->params.at[n];
        printf("  param %s '%s' %s types %x flags %x\n", row->name, text(row->shape), text(row->init), row->types, row->flags);
        GROWN(row)
    }
    print_states(&op->states), print_attrs(&op->attrs);
    for (uint32_t n = 0; n < entry->kernel_count; n++) {
        const struct flow_kernel *row = &entry->kernels[n];
        printf("  kernel device %d types %x isa %d priority %d forward %d backward %d\n", row->device, row->types, row->isa, row->priority,
               row->forward != NULL, row->backward != NULL);
        GROWN(row)
    }
    GROWN(op)
}
static void print_optimizer(const struct registry_entry *entry) {
    const struct flow_optimizer *rule = entry->optimizer;
    printf("optimizer %s attrs %u step %d uses %d\n", rule->name, rule->attrs_size, rule->step != NULL, rule->uses != NULL);
    print_states(&rule->states), print_attrs(&rule->attrs);
    GROWN(rule)
}
static void print_source(const struct registry_entry *entry) {
    const struct flow_source *source = entry->source;
    printf("source %s attrs %u open %d fill %d close %d\n", source->name, source->attrs_size, source->open != NULL, source->fill != NULL,
           source->close != NULL);
    print_ports("output", &source->outputs), print_attrs(&source->attrs);
    GROWN(source)
}

int main(int count, char **words) {
    struct registry *registry = NULL;
    struct text failures;
    text_init(&failures, &memory_default);
    const struct registry_options options = {.path = count > 1 ? words[1] : "", .index = "", .only = true};
    typedef int all(struct registry *, const struct registry_entry ***, size_t *, struct text *);
    static all *const lists[] = {registry_all, registry_optimizers, registry_sources};
    static void (*const prints[])(const struct registry_entry *) = {print_operator, print_optimizer, print_source};
    int rc = registry_new(&memory_default, &options, &registry);
    for (size_t kind = 0; rc == 0 && kind < 3; kind++) {
        const struct registry_entry **entries;
        size_t found;
        rc = lists[kind](registry, &entries, &found, &failures);
        for (size_t i = 0; rc == 0 && i < found; i++) prints[kind](entries[i]);
    }
    if (failures.at && *failures.at) rc = -1, fprintf(stderr, "%s\n", failures.at);
    text_free(&failures);
    registry_free(registry);
    return rc < 0;
}
