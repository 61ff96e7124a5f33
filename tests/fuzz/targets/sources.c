/* SPDX-License-Identifier: Apache-2.0 */
/* Sources that read files: the first byte chooses one and what is asked of it, the others are its file. A host of a few lines stands in for
 * the runtime's: every path is that file. */
#include "graph/attributes.h"
#include "targets/fuzz.h"

#include <flow/plugin.h>

#include <stdarg.h>
#include <stdio.h>

const struct flow_plugin *fuzz_data_entry(void);

static const struct {
    const char *source, *with;
} ways[] = {
    {"idx", "{}"},
    {"idx", "{scale: true, channel: true}"},
    {"idx", "{labels: labels, scale: true}"},
    {"cifar", "{}"},
    {"cifar", "{scale: true}"},
    {"tokens", "{window: 4}"},
    {"tokens", "{window: 3, type: u16, vocabulary: 100}"},
    {"text", "{window: 4}"},
    {"text", "{window: 4, unit: char}"},
    {"text", "{window: 3, unit: word}"},
    {"csv", "{}"},
    {"csv", "{outputs: \"x = [a, b]; y = c\"}"},
    {"tensors", "{}"},
    {"babi", "{}"},
    {"babi", "{sentences: 4}"},
    {"edges", "{}"},
    {"edges", "{nodes: 10}"},
    {"events", "{}"},
    {"node_graph", "{}"},
    {"sequences", "{length: 3}"},
    {"series", "{}"},
    {"wav", "{length: 100, rate: 8000}"},
    {"wav", "{length: 100, rate: 16000, label: 0}"},
    {"windows", "{columns: a b, context: 3, horizon: 2}"},
};
enum { WAYS = sizeof ways / sizeof ways[0], OUTPUTS = 32, OUTPUT_BYTES_MOST = 4 << 20, ROWS = 3 };

struct reading {
    const uint8_t *bytes;
    int64_t size;
    bool told;
    struct arena arena; /* the source's memory */
    struct tensor_file *file;
    struct flow_tensor outputs[OUTPUTS];
    bool whole[OUTPUTS];
    uint32_t count;
};

static int fail(void *owner, int code, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ((struct reading *)owner)->told = true;
    return code < 0 ? code : FLOW_ERROR_PLUGIN;
}
static void *memory(void *owner, size_t bytes) {
    struct reading *r = owner;
    return bytes > FUZZ_BYTES_MOST ? NULL : arena_new(&r->arena, bytes);
}
static int file_open(void *owner, const char *path, void **file, int64_t *bytes) {
    struct reading *r = owner;
    (void)path;
    *file = r, *bytes = r->size;
    return 0;
}
static int file_read(void *owner, void *file, int64_t offset, int64_t bytes, void *into) {
    struct reading *r = file;
    if (offset < 0 || bytes < 0 || offset > r->size || bytes > r->size - offset) return fail(owner, FLOW_ERROR_FORMAT, "cut short");
    if (bytes) memcpy(into, r->bytes + offset, (size_t)bytes);
    return 0;
}
static int folder(void *owner, const char *path, const char *suffix, const char *const **paths, int64_t *count) {
    static const char *const names[] = {"folder/1_a.wav", "folder/2_b.wav"};
    (void)owner, (void)path, (void)suffix;
    *paths = names, *count = 2;
    return 0;
}
static int tensor(void *owner, const char *path, const char *name, struct flow_tensor *out, const char **metadata) {
    struct reading *r = owner;
    struct report report;
    (void)path;
    if (!r->size) return fail(owner, FLOW_ERROR_FORMAT, "empty");
    if (!r->file) {
        r->file = arena_new(&r->arena, sizeof *r->file);
        arena_init(&r->file->arena, &fuzz_memory);
        r->file->path = "fuzz", r->file->mapping = (void *)(uintptr_t)r->bytes, r->file->mapping_size = (size_t)r->size;
        report_init(&report, &fuzz_memory);
        const int status = r->bytes[0] == 0x93 ? io_npy_read(r->file, &report) : io_safetensors_read(r->file, &report);
        report_free(&report);
        if (status < 0) r->file->count = 0;
    }
    if (!r->file->count) return fail(owner, FLOW_ERROR_FORMAT, "no tensors");
    const struct flow_tensor *found = name && *name ? tensor_file_get(r->file, name) : &r->file->entries[0].tensor;
    if (metadata) *metadata = r->file->entries[0].name;
    if (!found) return fail(owner, FLOW_ERROR_USAGE, "none");
    *out = *found;
    return 0;
}
static int tensor_read(void *owner, const struct flow_tensor *from, int64_t offset, int64_t bytes, void *into) {
    (void)owner;
    if (bytes) memcpy(into, (const char *)from->data + offset, (size_t)bytes);
    return 0;
}
static int output(void *owner, const char *name, int32_t dtype, int32_t rank, const int64_t *shape, bool whole) {
    struct reading *r = owner;
    if (!name || r->count == OUTPUTS || rank < 0 || rank + !whole > FLOW_RANK_MAX) return fail(owner, FLOW_ERROR_SHAPE, "output");
    struct flow_tensor *t = &r->outputs[r->count];
    *t = (struct flow_tensor){.dtype = dtype, .rank = rank + !whole};
    for (int32_t i = 0; i < rank; i++) t->shape[i + !whole] = shape[i];
    r->whole[r->count++] = whole;
    return 0;
}
static bool cancelled(void *owner) { return (void)owner, false; }

static const struct flow_source_host host = {.size = sizeof host,
                                             .fail = fail,
                                             .memory = memory,
                                             .file_open = file_open,
                                             .file_read = file_read,
                                             .folder = folder,
                                             .tensor = tensor,
                                             .output = output,
                                             .cancelled = cancelled,
                                             .tensor_read = tensor_read};

/* Some rows: the first, one amidst, the last. */
static void fill(struct reading *r, const struct flow_source *source, const struct flow_source_open *open) {
    const int64_t last = open->rows == INT64_MAX ? INT64_C(1) << 40 : open->rows - 1;
    const int64_t rows[ROWS] = {0, last / 2, last};
    bool fits = open->rows > 0;
    for (uint32_t o = 0; o < r->count; o++) {
        struct flow_tensor *t = &r->outputs[o];
        int64_t bytes;
        if (!r->whole[o]) t->shape[0] = ROWS;
        io_strides(t);
        if (!io_bytes(t->dtype, t->rank, t->shape, &bytes) || bytes > OUTPUT_BYTES_MOST) fits = false;
        else t->data = malloc(bytes ? (size_t)bytes : 1);
    }
    const struct flow_source_fill call = {.size = sizeof call,
                                          .out_count = r->count,
                                          .host = &host,
                                          .owner = r,
                                          .state = open->state,
                                          .attrs = open->attrs,
                                          .rows = rows,
                                          .count = ROWS,
                                          .seed = 1,
                                          .out = r->outputs};
    r->told = false;
    if (fits && source->fill(&call) < 0 && !r->told) abort(); /* without a word */
    for (uint32_t o = 0; o < r->count; o++) free(r->outputs[o].data);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (!size) return 0;
    const char *name = ways[bytes[0] % WAYS].source, *with = ways[bytes[0] % WAYS].with;
    const struct flow_plugin *plugin = fuzz_data_entry();
    const struct flow_source *source = NULL;
    for (uint32_t i = 0; i < plugin->sources.count; i++)
        if (strcmp(plugin->sources.at[i]->name, name) == 0) source = plugin->sources.at[i];
    if (!source) abort();
    struct reading r = {.size = (int64_t)size - 1};
    struct report report;
    uint8_t *copy = malloc(size - 1 ? size - 1 : 1);
    memcpy(copy, bytes + 1, size - 1);
    r.bytes = copy;
    report_init(&report, &fuzz_memory);
    arena_init(&r.arena, &fuzz_memory);
    void *attrs = arena_new(&r.arena, source->attrs_size);
    const struct document *document = document_read(&r.arena, "with", with, strlen(with), &report);
    const struct attributes_options parse = {.node = name, .with = document};
    if (!document || attributes_parse(&r.arena, &source->attrs, &parse, &report, attrs) != 0) abort(); /* this file is wrong */
    {
        struct flow_source_open open = {
            .size = sizeof open, .host = &host, .owner = &r, .path = "file", .attrs = attrs, .batch = ROWS, .seed = 1};
        const int status = source->open(&open);
        if (status < 0 && !r.told && status != FLOW_ERROR_MEMORY) abort(); /* without a word */
        if (status == 0) fill(&r, source, &open);
        if (open.state && source->close) source->close(open.state);
    }
    if (r.file) arena_free(&r.file->arena);
    arena_free(&r.arena);
    report_free(&report);
    free(copy);
    return 0;
}
