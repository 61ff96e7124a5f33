/* SPDX-License-Identifier: Apache-2.0 */
/* Operators, from their own tables. */
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
    for (uint32_t i = 0; i < op->states.count; i++)
        printf("  %sstate%s   %-12s [%s]  %s\n", DIM, PLAIN, op->states.at[i].name, op->states.at[i].shape ? op->states.at[i].shape : "*",
               or_empty(op->states.at[i].summary));
    for (uint32_t i = 0; i < op->attrs.count; i++) {
        const struct flow_attr *attr = &op->attrs.at[i];
        printf("  %swith%s    %-12s ", DIM, PLAIN, attr->name);
        if (!attr->fallback) printf("(required)");
        else if (!*attr->fallback) printf("(optional)");
        else printf("= %s", attr->fallback);
        if (attr->choices) printf(" of %s", attr->choices);
        printf("  %s\n", or_empty(attr->summary));
    }
    if (op->example) printf("  %sexample%s %s\n", DIM, PLAIN, op->example);
    if (op->reference) printf("  %sfrom%s    %s\n", DIM, PLAIN, op->reference);
    printf("  %splugin%s  %s%s%s%s\n", DIM, PLAIN, info->plugin, info->file ? " (" : ", built in", or_empty(info->file),
           info->file ? ")" : "");
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

static void json_operator(const struct flow_operator_info *info) {
    const struct flow_operator *op = info->op;
    printf("{"), json_field("name", op->name), printf(", "), json_field("plugin", info->plugin), printf(", ");
    json_field("summary", op->summary), printf(", "), json_field("equation", op->equation), printf(", ");
    json_field("reference", op->reference), printf(", "), json_field("example", op->example);
    json_ports("inputs", &op->inputs), json_ports("outputs", &op->outputs);
    printf(", \"params\": [");
    for (uint32_t i = 0; i < op->params.count; i++) {
        const struct flow_param *param = &op->params.at[i];
        printf("%s{", i ? ", " : ""), json_field("name", param->name), printf(", "), json_field("summary", param->summary), printf(", ");
        json_field("shape", param->shape), printf(", "), json_field("when", param->when), printf(", "), json_field("init", param->init),
            printf("}");
    }
    printf("], \"states\": [");
    for (uint32_t i = 0; i < op->states.count; i++)
        printf("%s{", i ? ", " : ""), json_field("name", op->states.at[i].name), printf(", "), json_field("shape", op->states.at[i].shape),
            printf("}");
    printf("], \"attributes\": [");
    for (uint32_t i = 0; i < op->attrs.count; i++) {
        const struct flow_attr *attr = &op->attrs.at[i];
        printf("%s{", i ? ", " : ""), json_field("name", attr->name), printf(", "), json_field("summary", attr->summary), printf(", ");
        json_field("default", attr->fallback), printf(", "), json_field("choices", attr->choices), printf(", \"type\": %d}", attr->type);
    }
    printf("], \"kernels\": [");
    for (uint32_t i = 0; i < info->kernel_count; i++)
        printf("%s{\"device\": %d, \"types\": %u, \"isa\": %d, \"backward\": %s}", i ? ", " : "", info->kernels[i].device,
               info->kernels[i].types, info->kernels[i].isa, info->kernels[i].backward ? "true" : "false");
    printf("]}");
}

static int list_operators(const struct command *command, flow_runtime *runtime) {
    flow_errors *errors = NULL;
    struct flow_operator_info *list;
    size_t count;
    char *failures;
    if (flow_runtime_operators(runtime, &errors, &list, &count, &failures) < 0) return command_fail(errors);
    if (command->json) printf("[\n");
    for (size_t i = 0; i < count; i++) {
        if (command->json) json_operator(&list[i]), printf(i + 1 < count ? ",\n" : "\n]\n");
        else printf("%s%-24s%s %s%-12s%s %s\n", BOLD, list[i].op->name, PLAIN, DIM, list[i].plugin, PLAIN, or_empty(list[i].op->summary));
    }
    if (failures) fputs(failures, stderr);
    flow_text_free(failures);
    flow_runtime_operators_free(runtime, list, count);
    return EXIT_DONE;
}

int command_ops(struct command *command) {
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    int rc = command_runtime(command, &runtime);
    if (rc) return rc;
    struct flow_operator_info info;
    char *schema;
    if (command->schema) {
        if (flow_runtime_schema(runtime, &errors, &schema) < 0) rc = command_fail(errors);
        else fputs(schema, stdout), flow_text_free(schema);
    } else if (!command->graph) rc = list_operators(command, runtime);
    else if (flow_runtime_operator(runtime, command->graph, &errors, &info) < 0) rc = command_fail(errors);
    else if (command->json) json_operator(&info), printf("\n");
    else print_operator(&info);
    flow_runtime_free(runtime);
    return rc;
}
