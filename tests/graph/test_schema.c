/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/schema.h"

#include "reading.h"

Test(schema, is_json_and_knows_the_operators) {
    struct registry *registry = open_registry();
    struct text schema;
    struct report report;
    struct arena arena;
    text_init(&schema, &memory_default);
    arena_init(&arena, &memory_default);
    report_init(&report, &memory_default);
    cr_assert_eq(schema_write(registry, &schema), FLOW_OK);
    /* JSON is YAML: what reads graphs reads this, and finds keys given twice. */
    struct document *root = document_read(&arena, "schema", schema.at, schema.length, &report);
    cr_assert(root != NULL, "%s", report.first ? report.first->text : "");
    const struct document *node = document_get(document_get(root, "$defs"), "node");
    const struct document *rules = document_get(node, "allOf"),
                          *names = document_get(document_get(document_get(root, "$defs"), "operator"), "oneOf");
    cr_assert(rules && names && rules->count == names->count);
    bool found = false;
    for (size_t i = 0; i < rules->count && !found; i++) {
        const struct document *then = document_get(rules->values[i], "then");
        const struct document *op = document_get(document_get(document_get(rules->values[i], "if"), "properties"), "op");
        if (strcmp(document_get(op, "const")->text, "linear") != 0) continue;
        const struct document *with = document_get(document_get(then, "properties"), "with");
        found = document_get(document_get(with, "properties"), "units") != NULL;
        cr_assert_str_eq(document_get(with, "required")->values[0]->text, "units");
    }
    cr_assert(found, "no rule for 'linear'");
    report_free(&report);
    arena_free(&arena);
    text_free(&schema);
    registry_free(registry);
}
