/* SPDX-License-Identifier: Apache-2.0 */
/* Operators, optimisers and sources, as the registry has them: three lists of the same making. */
#include "embed/embed.h"
#include "embed/text_out.h"

typedef const struct registry_entry *(*find_function)(struct registry *registry, const char *name, struct text *why);
typedef int (*list_function)(struct registry *registry, const struct registry_entry ***out, size_t *count, struct text *failures);
typedef void (*put_function)(void *list, size_t index, const struct registry_entry *entry);

static int find(flow_runtime *runtime, const char *what, const char *name, find_function from, flow_errors **errors, put_function put,
                void *out) {
    struct report report;
    errors_begin(&report, &runtime->from);
    struct text why;
    text_init(&why, &runtime->from);
    const struct registry_entry *entry = from(runtime->registry, name, &why);
    int rc = 0;
    if (entry) put(out, 0, entry);
    else if (why.failed) rc = report_memory(&report);
    else rc = report_add(&report, FLOW_ERROR_USAGE, (struct position){0}, "there is no %s '%s'%s", what, name, why.at ? why.at : "");
    text_free(&why);
    return errors_end(&report, errors, rc);
}

/* *out: `count` rows of `size` bytes. */
static int list(flow_runtime *runtime, list_function from, flow_errors **errors, put_function put, size_t size, void **out, size_t *count,
                char **failures) {
    struct report report;
    errors_begin(&report, &runtime->from);
    const struct registry_entry **all = NULL;
    struct text failed;
    text_init(&failed, &runtime->from);
    *out = NULL, *count = 0;
    if (failures) *failures = NULL;
    size_t n = 0;
    int rc = from(runtime->registry, &all, &n, &failed);
    void *rows = rc == 0 ? memory_array(&runtime->from, n, size) : NULL;
    if (rc == 0 && !rows) rc = report_memory(&report);
    if (rc == 0) {
        for (size_t i = 0; i < n; i++) put(rows, i, all[i]);
        *out = rows, *count = n;
        if (failures && failed.length) *failures = text_out(&failed);
    }
    text_free(&failed);
    return errors_end(&report, errors, rc);
}

static void put_operator(void *rows, size_t index, const struct registry_entry *entry) {
    ((struct flow_operator_info *)rows)[index] =
        (struct flow_operator_info){entry->op, entry->plugin, entry->file, entry->kernels, entry->kernel_count};
}

int flow_runtime_operator(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_operator_info *out) {
    return find(runtime, "operator", name, registry_find, errors, put_operator, out);
}

int flow_runtime_operators(flow_runtime *runtime, flow_errors **errors, struct flow_operator_info **out, size_t *count, char **failures) {
    void *rows;
    int rc = list(runtime, registry_all, errors, put_operator, sizeof **out, &rows, count, failures);
    *out = rows;
    return rc;
}

void flow_runtime_operators_free(flow_runtime *runtime, struct flow_operator_info *rows, size_t count) {
    memory_free(&runtime->from, rows, count * sizeof *rows);
}

static void put_optimizer(void *rows, size_t index, const struct registry_entry *entry) {
    ((struct flow_optimizer_info *)rows)[index] = (struct flow_optimizer_info){entry->optimizer, entry->plugin, entry->file};
}

int flow_runtime_optimizer(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_optimizer_info *out) {
    return find(runtime, "optimizer", name, registry_optimizer, errors, put_optimizer, out);
}

int flow_runtime_optimizers(flow_runtime *runtime, flow_errors **errors, struct flow_optimizer_info **out, size_t *count, char **failures) {
    void *rows;
    int rc = list(runtime, registry_optimizers, errors, put_optimizer, sizeof **out, &rows, count, failures);
    *out = rows;
    return rc;
}

void flow_runtime_optimizers_free(flow_runtime *runtime, struct flow_optimizer_info *rows, size_t count) {
    memory_free(&runtime->from, rows, count * sizeof *rows);
}

static void put_source(void *rows, size_t index, const struct registry_entry *entry) {
    ((struct flow_source_info *)rows)[index] = (struct flow_source_info){entry->source, entry->plugin, entry->file};
}

int flow_runtime_source(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_source_info *out) {
    return find(runtime, "source", name, registry_source, errors, put_source, out);
}

int flow_runtime_sources(flow_runtime *runtime, flow_errors **errors, struct flow_source_info **out, size_t *count, char **failures) {
    void *rows;
    int rc = list(runtime, registry_sources, errors, put_source, sizeof **out, &rows, count, failures);
    *out = rows;
    return rc;
}

void flow_runtime_sources_free(flow_runtime *runtime, struct flow_source_info *rows, size_t count) {
    memory_free(&runtime->from, rows, count * sizeof *rows);
}
