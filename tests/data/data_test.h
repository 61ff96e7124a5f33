/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of sources share: a folder of their own, a loop, a registry with the built plugins, batches opened from a line of YAML. */
#ifndef FLOW_TESTS_DATA_TEST_H
#define FLOW_TESTS_DATA_TEST_H

#include "graph/attributes.h"
#include "io/batches.h"
#include "plugin/registry.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct report report;
static struct arena arena;
static struct io_loop *loop;
static struct registry *registry;

static inline void data_start(void) {
    strcpy(folder, "/tmp/flow-data-XXXXXX");
    cr_assert(mkdtemp(folder));
    report_init(&report, &memory_default);
    arena_init(&arena, &memory_default);
    cr_assert_eq(io_loop_new(&memory_default, &loop), 0);
    const struct registry_options options = {.path = BUILD_DIR "/plugins", .index = "", .trust = true};
    cr_assert_eq(registry_new(&memory_default, &options, &registry), 0);
}

static inline void data_stop(void) {
    char command[128];
    io_loop_free(loop);
    registry_free(registry);
    arena_free(&arena);
    report_free(&report);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

static inline const char *put_file(const char *name, const void *bytes, size_t size) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    remove(path);
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(bytes, 1, size, file) == size);
    fclose(file);
    return path;
}

static inline void put_text(const char *name, const char *text) { put_file(name, text, strlen(text)); }

static inline const char *message(void) { return report.last ? report.last->text : ""; }

/* Options for source `name` over the file `path` in the test's folder, with the attributes of the YAML mapping `with`. */
static inline struct batches_options options_of(const char *name, const char *path, const char *with) {
    struct text why;
    text_init(&why, &memory_default);
    const struct registry_entry *entry = registry_source(registry, name, &why);
    cr_assert(entry, "%s: %s", name, why.at);
    text_free(&why);
    void *attrs = arena_new(&arena, entry->source->attrs_size);
    const struct document *document = document_read(&arena, "with", with, strlen(with), &report);
    const struct attributes_options parse = {.node = name, .with = document};
    cr_assert(document, "%s: %s", with, message());
    cr_assert_eq(attributes_parse(&arena, &entry->source->attrs, &parse, &report, attrs), 0, "%s: %s", with, message());
    return (struct batches_options){.source = entry->source, .attrs = attrs, .path = path, .base = folder, .batch = 1, .split_to = 1};
}

static inline struct batches *opened(const struct batches_options *options) {
    struct batches *batches;
    cr_assert_eq(batches_open(loop, options, &report, &batches), 0, "%s", message());
    return batches;
}

/* Opening fails with `code` and says `words`. */
static inline void refused_with(const struct batches_options *options, int code, const char *words) {
    struct batches *batches;
    const int32_t before = report.count;
    const int status = batches_open(loop, options, &report, &batches);
    cr_expect_eq(status, code, "%s: status %d, expected %d", words, status, code);
    cr_expect_null(batches);
    cr_expect_eq(report.count, before + 1);
    cr_expect(strstr(message(), words), "said '%s', expected '%s'", message(), words);
    if (status == 0) batches_close(batches);
}

static inline void refused(const char *name, const char *path, const char *with, int code, const char *words) {
    const struct batches_options options = options_of(name, path, with);
    refused_with(&options, code, words);
}

/* The next batch, which must come and have number `expected` (-1: any). */
static inline const struct flow_tensor *next(struct batches *batches, int64_t expected) {
    const struct flow_tensor *tensors;
    int64_t number;
    cr_assert_eq(batches_next(batches, &report, &tensors, &number), 0, "%s", message());
    if (expected >= 0) cr_expect_eq(number, expected, "batch %lld, expected %lld", (long long)number, (long long)expected);
    return tensors;
}

static inline int64_t count_of(const struct flow_tensor *tensor) {
    int64_t count = 1;
    for (int32_t i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
    return count;
}

/* FNV-1a of `count` batches, all outputs, from number `first` on. */
static inline uint64_t hash_batches(const struct batches_options *given, int64_t first, int64_t count, int32_t workers) {
    struct batches_options options = *given;
    options.first = first, options.workers = workers;
    struct batches *batches = opened(&options);
    uint64_t hash = 0xCBF29CE484222325u;
    for (int64_t n = 0; n < count; n++) {
        const struct flow_tensor *tensors = next(batches, first + n);
        for (size_t o = 0; o < batches_outputs(batches); o++) {
            const uint8_t *bytes = tensors[o].data;
            const int64_t size = count_of(&tensors[o]) * dtype_bytes(tensors[o].dtype);
            for (int64_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001B3u;
        }
    }
    batches_close(batches);
    return hash;
}

/* Batches are the same for 1 and 4 workers, and from any number on. */
static inline void check_resumes(const struct batches_options *options, int64_t count) {
    cr_expect_eq(hash_batches(options, 0, count, 1), hash_batches(options, 0, count, 4), "1 and 4 workers");
    for (int64_t from = 1; from < count; from += 1 + count / 3)
        cr_expect_eq(hash_batches(options, from, count - from, 1), hash_batches(options, from, count - from, 3), "from %lld",
                     (long long)from);
    struct batches_options later = *options;
    struct batches *all = opened(options);
    for (int64_t n = 0; n < count; n++) {
        later.first = n;
        struct batches *one = opened(&later);
        const struct flow_tensor *a = next(all, n), *b = next(one, n);
        for (size_t o = 0; o < batches_outputs(all); o++) {
            cr_expect_eq(count_of(&a[o]), count_of(&b[o]));
            cr_expect_arr_eq(a[o].data, b[o].data, (size_t)(count_of(&a[o]) * dtype_bytes(a[o].dtype)), "batch %lld", (long long)n);
        }
        batches_close(one);
    }
    batches_close(all);
}

#endif
