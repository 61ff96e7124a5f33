/* SPDX-License-Identifier: Apache-2.0 */
/* Operators, optimisers and sources, from their own tables. */
#include "flowrun/command.h"
#include "flowrun/print.h"

#include <string.h>

static const char *or_empty(const char *text) { return text ? text : ""; }

static void print_types(uint32_t types) {
    static const char *const names[FLOW_TYPE_COUNT] = {"f32", "f16", "bf16", "f64", "i32", "i64", "u8", "bool"};
    if (types == FLOW_TYPES_ANY) fputs("any", stdout);
    else if (types == FLOW_TYPES_FLOAT) fputs("float", stdout);
    else if (types == FLOW_TYPES_NUMBER) fputs("number", stdout);
    else
        for (int i = 0, shown = 0; i < FLOW_TYPE_COUNT; i++)
            if (types >> i & 1u) printf("%s%s", shown++ ? " or " : "", names[i]);
}

static void print_ports(const char *title, const struct flow_ports *ports) {
    for (uint32_t i = 0; i < ports->count; i++) {
        const struct flow_port *port = &ports->at[i];
        printf("  %s%-7s%s %-12s [%s] ", DIM, title, PLAIN, port->name, port->shape ? port->shape : "*");
        print_types(port->types);
        printf("%s%s%s  %s\n", port->flags & FLOW_OPTIONAL ? ", optional" : "", port->flags & FLOW_VARIADIC ? ", any number" : "",
               port->flags & FLOW_DYNAMIC ? ", extent known after the run" : "", or_empty(port->summary));
    }
}

static void print_attrs(const struct flow_attrs *attrs) {
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct flow_attr *attr = &attrs->at[i];
        printf("  %swith%s    %-12s ", DIM, PLAIN, attr->name);
        if (!attr->fallback) printf("(required)");
        else if (!*attr->fallback) printf("(optional)");
        else printf("= %s", attr->fallback);
        if (attr->choices) printf(" of %s", attr->choices);
        printf("  %s\n", or_empty(attr->summary));
    }
}

static void print_states(const struct flow_states *states, const char *own) {
    for (uint32_t i = 0; i < states->count; i++)
        printf("  %sstate%s   %-12s [%s]  %s\n", DIM, PLAIN, states->at[i].name, states->at[i].shape ? states->at[i].shape : own,
               or_empty(states->at[i].summary));
}

static void print_end(const char *example, const char *reference, const char *plugin, const char *file) {
    if (example && *example) printf("  %sexample%s %s\n", DIM, PLAIN, example);
    if (reference && *reference) printf("  %sfrom%s    %s\n", DIM, PLAIN, reference);
    printf("  %splugin%s  %s%s%s%s\n", DIM, PLAIN, plugin, file ? " (" : ", built in", or_empty(file), file ? ")" : "");
}

static void print_optimizer(const struct flow_optimizer_info *info) {
    const struct flow_optimizer *optimizer = info->optimizer;
    printf("%s%s%s, an optimiser: %s\n", BOLD, optimizer->name, PLAIN, or_empty(optimizer->summary));
    if (*or_empty(optimizer->equation)) printf("  %s\n", optimizer->equation);
    print_states(&optimizer->states, "as the parameter");
    print_attrs(&optimizer->attrs);
    print_end(optimizer->example, optimizer->reference, info->plugin, info->file);
}

static void print_source(const struct flow_source_info *info) {
    const struct flow_source *source = info->source;
    printf("%s%s%s, a source of data: %s\n", BOLD, source->name, PLAIN, or_empty(source->summary));
    print_ports("output", &source->outputs);
    print_attrs(&source->attrs);
    print_end(source->example, source->reference, info->plugin, info->file);
}

static void print_operator(const struct flow_operator_info *info) {
    const struct flow_operator *op = info->op;
    printf("%s%s%s: %s\n", BOLD, op->name, PLAIN, or_empty(op->summary));
    if (op->equation) printf("  %s\n", op->equation);
    print_ports("input", &op->inputs);
    print_ports("output", &op->outputs);
    for (uint32_t i = 0; i < op->params.count; i++) {
        const struct flow_param *param = &op->params.at[i];
        printf("  %sparam%s   %-12s [%s] initially %s%s%s  %s\n", DIM, PLAIN, param->name, or_empty(param->shape), or_empty(param->init),
               param->when ? ", where " : "", or_empty(param->when), or_empty(param->summary));
    }
    print_states(&op->states, "*");
    print_attrs(&op->attrs);
    print_end(op->example, op->reference, info->plugin, info->file);
}

static void json_field(const char *key, const char *value) {
    printf("\"%s\": ", key);
    if (value) print_string(stdout, value, strlen(value));
    else fputs("null", stdout);
}

static void json_ports(const char *key, const struct flow_ports *ports) {
    printf(", \"%s\": [", key);
    for (uint32_t i = 0; i < ports->count; i++) {
        const struct flow_port *port = &ports->at[i];
        printf("%s{", i ? ", " : "");
        json_field("name", port->name), printf(", "), json_field("summary", port->summary), printf(", ");
        json_field("shape", port->shape), printf(", \"types\": %u, \"flags\": %u}", port->types, port->flags);
    }
    printf("]");
}

static void json_attrs(const struct flow_attrs *attrs) {
    printf(", \"attributes\": [");
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct flow_attr *attr = &attrs->at[i];
        printf("%s{", i ? ", " : ""), json_field("name", attr->name), printf(", "), json_field("summary", attr->summary), printf(", ");
        json_field("default", attr->fallback), printf(", "), json_field("choices", attr->choices), printf(", \"type\": %d}", attr->type);
    }
    printf("]");
}

static void json_states(const struct flow_states *states) {
    printf(", \"states\": [");
    for (uint32_t i = 0; i < states->count; i++)
        printf("%s{", i ? ", " : ""), json_field("name", states->at[i].name), printf(", "), json_field("shape", states->at[i].shape),
            printf("}");
    printf("]");
}

/* What the three kinds begin with; `kind` NULL: an operator. */
static void json_head(const char *kind, const char *name, const char *plugin, const char *summary, const char *reference,
                      const char *example) {
    printf("{");
    if (kind) json_field("kind", kind), printf(", ");
    json_field("name", name), printf(", "), json_field("plugin", plugin), printf(", "), json_field("summary", summary), printf(", ");
    json_field("reference", reference), printf(", "), json_field("example", example);
}

static void json_optimizer(const struct flow_optimizer_info *info) {
    const struct flow_optimizer *optimizer = info->optimizer;
    json_head("optimizer", optimizer->name, info->plugin, optimizer->summary, optimizer->reference, optimizer->example);
    printf(", "), json_field("equation", optimizer->equation);
    json_states(&optimizer->states), json_attrs(&optimizer->attrs), printf("}");
}

static void json_source(const struct flow_source_info *info) {
    const struct flow_source *source = info->source;
    json_head("source", source->name, info->plugin, source->summary, source->reference, source->example);
    json_ports("outputs", &source->outputs), json_attrs(&source->attrs), printf("}");
}

static void json_operator(const struct flow_operator_info *info) {
    const struct flow_operator *op = info->op;
    json_head(NULL, op->name, info->plugin, op->summary, op->reference, op->example);
    printf(", "), json_field("equation", op->equation);
    json_ports("inputs", &op->inputs), json_ports("outputs", &op->outputs);
    printf(", \"params\": [");
    for (uint32_t i = 0; i < op->params.count; i++) {
        const struct flow_param *param = &op->params.at[i];
        printf("%s{", i ? ", " : ""), json_field("name", param->name), printf(", "), json_field("summary", param->summary), printf(", ");
        json_field("shape", param->shape), printf(", "), json_field("when", param->when), printf(", "), json_field("init", param->init),
            printf("}");
    }
    printf("]");
    json_states(&op->states), json_attrs(&op->attrs);
    printf(", \"kernels\": [");
    for (uint32_t i = 0; i < info->kernel_count; i++)
        printf("%s{\"device\": %d, \"types\": %u, \"isa\": %d, \"backward\": %s}", i ? ", " : "", info->kernels[i].device,
               info->kernels[i].types, info->kernels[i].isa, info->kernels[i].backward ? "true" : "false");
    printf("]}");
}

static void print_row(const char *name, const char *plugin, const char *kind, const char *summary) {
    printf("%s%-24s%s %s%-12s%s %s%s%s\n", BOLD, name, PLAIN, DIM, plugin, PLAIN, kind, *kind ? ": " : "", or_empty(summary));
}

/* `shown`: rows of the JSON array so far. */
static int list_operators(const struct command *command, flow_runtime *runtime, size_t *shown) {
    flow_errors *errors = NULL;
    struct flow_operator_info *list;
    size_t count;
    char *failures;
    if (flow_runtime_operators(runtime, &errors, &list, &count, &failures) < 0) return command_fail(errors);
    for (size_t i = 0; i < count; i++) {
        if (command->json) fputs((*shown)++ ? ",\n" : "", stdout), json_operator(&list[i]);
        else print_row(list[i].op->name, list[i].plugin, "", list[i].op->summary);
    }
    if (failures) fputs(failures, stderr);
    flow_text_free(failures);
    flow_runtime_operators_free(runtime, list, count);
    return EXIT_DONE;
}

static int list_optimizers(const struct command *command, flow_runtime *runtime, size_t *shown) {
    flow_errors *errors = NULL;
    struct flow_optimizer_info *list;
    size_t count;
    if (flow_runtime_optimizers(runtime, &errors, &list, &count, NULL) < 0) return command_fail(errors);
    for (size_t i = 0; i < count; i++) {
        if (command->json) fputs((*shown)++ ? ",\n" : "", stdout), json_optimizer(&list[i]);
        else print_row(list[i].optimizer->name, list[i].plugin, "optimiser", list[i].optimizer->summary);
    }
    flow_runtime_optimizers_free(runtime, list, count);
    return EXIT_DONE;
}

static int list_sources(const struct command *command, flow_runtime *runtime, size_t *shown) {
    flow_errors *errors = NULL;
    struct flow_source_info *list;
    size_t count;
    if (flow_runtime_sources(runtime, &errors, &list, &count, NULL) < 0) return command_fail(errors);
    for (size_t i = 0; i < count; i++) {
        if (command->json) fputs((*shown)++ ? ",\n" : "", stdout), json_source(&list[i]);
        else print_row(list[i].source->name, list[i].plugin, "source", list[i].source->summary);
    }
    flow_runtime_sources_free(runtime, list, count);
    return EXIT_DONE;
}

static int list_all(const struct command *command, flow_runtime *runtime) {
    size_t shown = 0;
    if (command->json) printf("[\n");
    int rc = list_operators(command, runtime, &shown);
    if (rc == EXIT_DONE) rc = list_optimizers(command, runtime, &shown);
    if (rc == EXIT_DONE) rc = list_sources(command, runtime, &shown);
    if (command->json) printf("\n]\n");
    return rc;
}

/* All that have the name: an operator, an optimiser and a source may share it. */
static int show_named(const struct command *command, flow_runtime *runtime) {
    flow_errors *errors = NULL;
    struct flow_operator_info operator;
    struct flow_optimizer_info optimizer;
    struct flow_source_info source;
    int shown = 0;
    if (flow_runtime_operator(runtime, command->graph, &errors, &operator) == 0) {
        if (command->json) json_operator(&operator), printf("\n");
        else print_operator(&operator);
        shown++;
    }
    if (flow_runtime_optimizer(runtime, command->graph, &errors, &optimizer) == 0) {
        if (command->json) json_optimizer(&optimizer), printf("\n");
        else print_optimizer(&optimizer);
        shown++;
    }
    if (flow_runtime_source(runtime, command->graph, &errors, &source) == 0) {
        if (command->json) json_source(&source), printf("\n");
        else print_source(&source);
        shown++;
    }
    if (!shown) return command_fail(errors);
    flow_errors_free(errors);
    return EXIT_DONE;
}

int command_ops(struct command *command) {
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    int rc = command_runtime(command, &runtime);
    if (rc) return rc;
    char *schema;
    if (command->schema) {
        if (flow_runtime_schema(runtime, &errors, &schema) < 0) rc = command_fail(errors);
        else fputs(schema, stdout), flow_text_free(schema);
    } else if (!command->graph) rc = list_all(command, runtime);
    else rc = show_named(command, runtime);
    flow_runtime_free(runtime);
    return rc;
}
