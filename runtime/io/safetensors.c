/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors: u64 little-endian header length, a JSON object {name: {dtype, shape, data_offsets: [begin, end]}, __metadata__: {key:
 * text}}, then the data. As the format demands, the entries cover the data without overlap or gap, so that nothing hides in a file. A
 * reader checks all of that before it hands out a pointer. https://github.com/huggingface/safetensors#format
 */
#include "io/internal.h"
#include "io/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MOST = 100000000 }; /* as the reference implementation */

static const struct {
    const char *name;
    int32_t dtype;
} type_names[] = {{"F32", FLOW_F32}, {"F16", FLOW_F16}, {"BF16", FLOW_BF16}, {"F64", FLOW_F64},
                  {"I32", FLOW_I32}, {"I64", FLOW_I64}, {"U8", FLOW_U8},     {"BOOL", FLOW_BOOL}};

enum { TYPE_NAMES = sizeof type_names / sizeof type_names[0] };

/* One entry while it is read. */
struct row {
    const char *name, *type;
    int64_t shape[FLOW_RANK_MAX], begin, end;
    int32_t rank, dtype;
    bool has_type, has_shape, has_offsets;
};

struct rows {
    struct row *at;
    size_t count, capacity;
};

struct pair {
    const char *key, *value;
};

struct reading {
    struct tensor_file *file;
    struct report *report;
    struct json json;
    struct rows rows;
    struct pair *pairs;
    size_t pair_count, pair_capacity;
    bool has_metadata;
};

static int printf_like(3, 4) fail(struct reading *r, const char *name, const char *format, ...) {
    struct text text;
    text_init(&text, r->file->arena.from);
    va_list arguments;
    va_start(arguments, format);
    text_vformat(&text, format, arguments);
    va_end(arguments);
    const bool failed = text.failed;
    if (!failed && name) io_fail(r->report, FLOW_ERROR_FORMAT, r->file->path, "tensor '%.200s': %s", name, text.at);
    else if (!failed) io_fail(r->report, FLOW_ERROR_FORMAT, r->file->path, "%s", text.at);
    text_free(&text);
    return failed ? FLOW_ERROR_MEMORY : FLOW_ERROR_FORMAT;
}

static bool parse_shape(struct json *json, struct row *row) {
    bool first = true;
    if (row->has_shape) return io_json_wrong(json, "'shape' is given twice");
    row->has_shape = true;
    if (!io_json_open(json, '[')) return false;
    while (io_json_more(json, ']', &first)) {
        if (row->rank == FLOW_RANK_MAX) return io_json_wrong(json, "more than 8 axes");
        if (!io_json_integer(json, &row->shape[row->rank++])) return false;
    }
    return !json->error;
}

static bool parse_offsets(struct json *json, struct row *row) {
    bool first = true;
    int count = 0;
    if (row->has_offsets) return io_json_wrong(json, "'data_offsets' is given twice");
    row->has_offsets = true;
    if (!io_json_open(json, '[')) return false;
    while (io_json_more(json, ']', &first)) {
        if (count == 2) return io_json_wrong(json, "'data_offsets' has more than two numbers");
        if (!io_json_integer(json, count++ ? &row->end : &row->begin)) return false;
    }
    return !json->error && (count == 2 || io_json_wrong(json, "'data_offsets' has less than two numbers"));
}

static bool parse_row(struct json *json, struct row *row) {
    bool first = true;
    if (!io_json_open(json, '{')) return false;
    while (io_json_more(json, '}', &first)) {
        const char *key = io_json_key(json);
        if (!key) return false;
        if (strcmp(key, "dtype") == 0) {
            if (row->has_type) return io_json_wrong(json, "'dtype' is given twice");
            row->has_type = true;
            if (!(row->type = io_json_string(json))) return false;
        } else if (strcmp(key, "shape") == 0) {
            if (!parse_shape(json, row)) return false;
        } else if (strcmp(key, "data_offsets") == 0) {
            if (!parse_offsets(json, row)) return false;
        } else if (!io_json_skip(json)) return false;
    }
    return !json->error;
}

static bool parse_metadata(struct reading *r) {
    struct json *json = &r->json;
    bool first = true;
    if (r->has_metadata) return io_json_wrong(json, "'__metadata__' is given twice");
    r->has_metadata = true;
    if (!io_json_open(json, '{')) return false;
    while (io_json_more(json, '}', &first)) {
        struct pair pair = {.key = io_json_key(json)};
        if (!pair.key || !(pair.value = io_json_string(json))) return false;
        if (memory_grow(r->file->arena.from, (void **)&r->pairs, &r->pair_capacity, r->pair_count + 1, sizeof pair) < 0) {
            json->no_memory = true;
            return io_json_wrong(json, "out of memory");
        }
        r->pairs[r->pair_count++] = pair;
    }
    return !json->error;
}

static bool parse_header(struct reading *r) {
    struct json *json = &r->json;
    bool first = true;
    if (!io_json_open(json, '{')) return false;
    while (io_json_more(json, '}', &first)) {
        const char *key = io_json_key(json);
        if (!key) return false;
        if (strcmp(key, "__metadata__") == 0) {
            if (!parse_metadata(r)) return false;
            continue;
        }
        if (memory_grow(r->file->arena.from, (void **)&r->rows.at, &r->rows.capacity, r->rows.count + 1, sizeof *r->rows.at) < 0) {
            json->no_memory = true;
            return io_json_wrong(json, "out of memory");
        }
        struct row *row = &r->rows.at[r->rows.count++];
        *row = (struct row){.name = key};
        if (!parse_row(json, row)) return false;
    }
    return io_json_finish(json);
}

static int check_row(struct reading *r, struct row *row, int64_t data_size) {
    int64_t bytes;
    row->dtype = -1;
    if (!row->has_type || !row->has_shape || !row->has_offsets)
        return fail(r, row->name, "has no '%s'", !row->has_type ? "dtype" : !row->has_shape ? "shape" : "data_offsets");
    for (int i = 0; i < TYPE_NAMES; i++)
        if (strcmp(row->type, type_names[i].name) == 0) row->dtype = type_names[i].dtype;
    if (row->dtype < 0) return fail(r, row->name, "is of type '%.40s': F32 F16 BF16 F64 I32 I64 U8 BOOL are known", row->type);
    if (row->begin > row->end || row->end > data_size)
        return fail(r, row->name,
                    "lies at bytes %" PRId64 " to %" PRId64 " of the data, which have %" PRId64 " bytes: the file is damaged or cut short",
                    row->begin, row->end, data_size);
    if (!io_bytes(row->dtype, row->rank, row->shape, &bytes)) return fail(r, row->name, "has more elements than can be counted");
    if (bytes != row->end - row->begin)
        return fail(r, row->name, "has %" PRId64 " bytes, its shape and type say %" PRId64, row->end - row->begin, bytes);
    return FLOW_OK;
}

static int compare_names(const void *a, const void *b) { return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name); }
static int compare_pairs(const void *a, const void *b) { return strcmp(((const struct pair *)a)->key, ((const struct pair *)b)->key); }
static int compare_places(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1; /* empty ones first */
    return strcmp(x->name, y->name);
}

/* In order of place each entry starts where the one before it ends. */
static int check_places(struct reading *r, int64_t data_size) {
    int64_t end = 0;
    if (r->rows.count) qsort(r->rows.at, r->rows.count, sizeof *r->rows.at, compare_places);
    for (size_t i = 0; i < r->rows.count; i++) {
        const struct row *row = &r->rows.at[i];
        if (row->begin < end)
            return fail(r, row->name, "begins at byte %" PRId64 " of the data, inside tensor '%.200s'", row->begin, r->rows.at[i - 1].name);
        if (row->begin > end)
            return fail(r, row->name, "begins at byte %" PRId64 " of the data: bytes from %" PRId64 " on belong to nothing", row->begin,
                        end);
        end = row->end;
    }
    return end == data_size ? FLOW_OK : fail(r, NULL, "%" PRId64 " bytes at the end belong to no tensor", data_size - end);
}

static int fill_entry(struct reading *r, const struct row *row, const uint8_t *data, struct tensor_entry *entry) {
    const uint8_t *at = data + row->begin;
    struct flow_tensor *tensor = &entry->tensor;
    const bool mapped = r->file->mapped;
    if (mapped && (uintptr_t)at % (uintptr_t)dtype_bytes(row->dtype)) return IO_WHOLE;
    const int64_t wrong = row->dtype == FLOW_BOOL && !mapped ? io_bool_wrong(at, row->end - row->begin) : -1;
    if (wrong >= 0) return fail(r, row->name, "holds %u as its element %" PRId64 ": a bool is 0 or 1", at[wrong], wrong);
    entry->name = row->name;
    tensor->dtype = row->dtype, tensor->device = FLOW_DEVICE_CPU, tensor->rank = row->rank;
    memcpy(tensor->shape, row->shape, sizeof tensor->shape);
    io_strides(tensor);
    tensor->data = io_aligned(&r->file->arena, at, row->end - row->begin, row->dtype);
    return tensor->data ? FLOW_OK : FLOW_ERROR_MEMORY;
}

static int fill_file(struct reading *r, const uint8_t *data) {
    struct tensor_file *file = r->file;
    if (r->rows.count) qsort(r->rows.at, r->rows.count, sizeof *r->rows.at, compare_names);
    if (r->pair_count) qsort(r->pairs, r->pair_count, sizeof *r->pairs, compare_pairs);
    for (size_t i = 1; i < r->rows.count; i++)
        if (strcmp(r->rows.at[i - 1].name, r->rows.at[i].name) == 0) return fail(r, r->rows.at[i].name, "is there twice");
    for (size_t i = 1; i < r->pair_count; i++)
        if (strcmp(r->pairs[i - 1].key, r->pairs[i].key) == 0) return fail(r, NULL, "metadata '%.200s' is there twice", r->pairs[i].key);
    file->entries = arena_array(&file->arena, r->rows.count, sizeof *file->entries);
    file->metadata = arena_array(&file->arena, r->pair_count, sizeof *file->metadata);
    if (!file->entries || !file->metadata) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; i < r->rows.count; i++) {
        int status = fill_entry(r, &r->rows.at[i], data, &file->entries[i]);
        if (status != FLOW_OK) return status;
        file->count++;
    }
    for (size_t i = 0; i < r->pair_count; i++) file->metadata[i].key = r->pairs[i].key, file->metadata[i].value = r->pairs[i].value;
    file->metadata_count = r->pair_count;
    return FLOW_OK;
}

static int read_header(struct reading *r, int64_t *header) {
    const uint8_t *bytes = io_head(r->file, 8, r->report);
    const uint64_t size = r->file->mapping_size;
    uint64_t length = 0;
    if (!bytes) return FLOW_ERROR_IO;
    if (size < 8)
        return fail(r, NULL, "the file has %" PRIu64 " bytes: a safetensors file begins with the 8 bytes of its header's length", size);
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    if (length > HEADER_MOST)
        return fail(r, NULL, "the header claims %" PRIu64 " bytes, %d are possible: not a safetensors file", length, HEADER_MOST);
    if (length > size - 8)
        return fail(r, NULL, "the header claims %" PRIu64 " bytes, the file has %" PRIu64 ": it is damaged or cut short", length, size - 8);
    if (!(bytes = io_head(r->file, length + 8, r->report))) return FLOW_ERROR_IO;
    io_json_init(&r->json, &r->file->arena, (const char *)bytes + 8, (size_t)length);
    *header = (int64_t)length + 8;
    if (parse_header(r)) return FLOW_OK;
    if (r->json.no_memory) return FLOW_ERROR_MEMORY;
    const char *name = r->json.depth > 1 && r->rows.count ? r->rows.at[r->rows.count - 1].name : NULL;
    return fail(r, name, "the header is wrong at byte %td: %s", r->json.at - r->json.start + 8, r->json.error);
}

int io_safetensors_read(struct tensor_file *file, struct report *report) {
    struct reading r = {.file = file, .report = report};
    const struct allocator *from = file->arena.from;
    int64_t header = 0;
    int status = read_header(&r, &header);
    const int64_t data_size = (int64_t)file->mapping_size - header;
    for (size_t i = 0; status == FLOW_OK && i < r.rows.count; i++) status = check_row(&r, &r.rows.at[i], data_size);
    if (status == FLOW_OK) status = check_places(&r, data_size);
    if (status == FLOW_OK) status = fill_file(&r, (const uint8_t *)file->mapping + header);
    memory_free(from, r.rows.at, r.rows.capacity * sizeof *r.rows.at);
    memory_free(from, r.pairs, r.pair_capacity * sizeof *r.pairs);
    return status;
}

/* ---- Writing ---- */

/* A tensor, and where its data come to lie. */
struct placed {
    const struct tensor_write *write;
    int64_t begin, end;
};

static int compare_placed_names(const void *a, const void *b) {
    return strcmp(((const struct placed *)a)->write->name, ((const struct placed *)b)->write->name);
}
/* Wider types first: all data are then aligned without gaps. */
static int compare_placed_data(const void *a, const void *b) {
    const int64_t x = dtype_bytes(((const struct placed *)a)->write->tensor->dtype),
                  y = dtype_bytes(((const struct placed *)b)->write->tensor->dtype);
    return x != y ? (x > y ? -1 : 1) : compare_placed_names(a, b);
}

static const char *type_name(int32_t dtype) {
    for (int i = 0; i < TYPE_NAMES; i++)
        if (type_names[i].dtype == dtype) return type_names[i].name;
    return "?";
}

static void put_metadata(struct text *text, const char *const *metadata) {
    text_put(text, "\"__metadata__\":{");
    for (size_t i = 0; metadata[i] && metadata[i + 1]; i += 2) {
        if (i) text_put(text, ",");
        text_json(text, metadata[i]);
        text_put(text, ":");
        text_json(text, metadata[i + 1]);
    }
    text_put(text, "}");
}

static void put_header(struct text *text, const struct placed *placed, size_t count, const char *const *metadata) {
    const bool has_metadata = metadata && metadata[0];
    text_put(text, "{");
    if (has_metadata) put_metadata(text, metadata);
    for (size_t i = 0; i < count; i++) {
        const struct flow_tensor *tensor = placed[i].write->tensor;
        if (i || has_metadata) text_put(text, ",");
        text_json(text, placed[i].write->name);
        text_format(text, ":{\"dtype\":\"%s\",\"shape\":[", type_name(tensor->dtype));
        for (int32_t k = 0; k < tensor->rank; k++) text_format(text, k ? ",%" PRId64 : "%" PRId64, tensor->shape[k]);
        text_format(text, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", placed[i].begin, placed[i].end);
    }
    text_put(text, "}");
    while (text->length % 8 && !text->failed) text_put(text, " ");
}

static int place(struct placed *placed, size_t count, const char *path, struct report *report) {
    int64_t end = 0;
    if (count) qsort(placed, count, sizeof *placed, compare_placed_data);
    for (size_t i = 0; i < count; i++) {
        const struct flow_tensor *tensor = placed[i].write->tensor;
        int64_t bytes;
        placed[i].begin = end;
        if (!io_bytes(tensor->dtype, tensor->rank, tensor->shape, &bytes) || !size_add(end, bytes, &end))
            return io_fail(report, FLOW_ERROR_RANGE, path, "the tensors have more bytes than can be counted");
        placed[i].end = end;
    }
    return FLOW_OK;
}

int io_safetensors_write(const struct allocator *from, struct out *out, const struct tensor_write *tensors, size_t count,
                         const struct tensor_write_options *options, struct report *report) {
    struct text header;
    struct placed *placed = memory_array(from, count, sizeof *placed);
    if (!placed) return report_memory(report);
    text_init(&header, from);
    int status = FLOW_OK;
    for (size_t i = 0; i < count; i++) {
        placed[i].write = &tensors[i];
        if (!tensors[i].name || strcmp(tensors[i].name, "__metadata__") == 0)
            status = io_fail(report, FLOW_ERROR_USAGE, out->path, "a tensor is called '%s'", tensors[i].name ? tensors[i].name : "(null)");
    }
    if (status == FLOW_OK) status = place(placed, count, out->path, report);
    if (status == FLOW_OK && count) qsort(placed, count, sizeof *placed, compare_placed_names);
    for (size_t i = 1; status == FLOW_OK && i < count; i++)
        if (strcmp(placed[i - 1].write->name, placed[i].write->name) == 0)
            status = io_fail(report, FLOW_ERROR_USAGE, out->path, "two tensors are called '%s'", placed[i].write->name);
    if (status == FLOW_OK) {
        put_header(&header, placed, count, options->metadata);
        if (header.failed) status = report_memory(report);
        else if (header.length > HEADER_MOST)
            status = io_fail(report, FLOW_ERROR_RANGE, out->path, "the header would have %zu bytes: %d are possible", header.length,
                             HEADER_MOST);
    }
    if (status == FLOW_OK) {
        uint8_t length[8];
        for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header.length >> (8 * i));
        io_out_put(out, length, sizeof length);
        io_out_put(out, header.at, header.length);
        if (count) qsort(placed, count, sizeof *placed, compare_placed_data);
        for (size_t i = 0; i < count; i++) io_out_tensor(out, placed[i].write->tensor);
    }
    text_free(&header);
    memory_free(from, placed, count * sizeof *placed);
    return status;
}
