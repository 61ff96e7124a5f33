/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NumPy's .npy, versions 1 to 3: "\x93NUMPY", version, header length, a Python dictionary of exactly the keys descr, fortran_order, shape,
 * then the elements. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
#include "io/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int32_t dtype;
} type_names[] = {{"<f4", FLOW_F32}, {"<f2", FLOW_F16}, {"<f8", FLOW_F64}, {"<i4", FLOW_I32},
                  {"<i8", FLOW_I64}, {"|u1", FLOW_U8},  {"|b1", FLOW_BOOL}};

enum { TYPE_NAMES = sizeof type_names / sizeof type_names[0], HEADER_MOST = 1 << 20 };

/* The header while it is read. */
struct reading {
    const char *start, *at, *end;
    int64_t base; /* the file's byte at `start` */
    const char *error;
    int32_t dtype, rank;
    int64_t shape[FLOW_RANK_MAX];
    bool fortran, has_type, has_order, has_shape;
    char type[24];
};

static bool wrong(struct reading *r, const char *error) {
    if (!r->error) r->error = error;
    return false;
}

/* Spaces, then one character. */
static bool accept(struct reading *r, char c) {
    while (r->at < r->end && *r->at == ' ') r->at++;
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

/* A quoted word without escapes, of less than `room` characters. */
static bool parse_word(struct reading *r, char *to, size_t room) {
    const char quote = accept(r, '\'') ? '\'' : accept(r, '"') ? '"' : 0;
    size_t length = 0;
    if (!quote) return wrong(r, "expected a quoted word");
    for (; r->at < r->end && *r->at != quote; r->at++) {
        if (*r->at < ' ' || *r->at > '~' || *r->at == '\\' || length + 1 == room)
            return wrong(r, "a word is too long or has strange characters");
        to[length++] = *r->at;
    }
    to[length] = 0;
    return accept(r, quote) || wrong(r, "a word does not end");
}

static bool parse_type(struct reading *r) {
    if (r->has_type) return wrong(r, "'descr' is given twice");
    r->has_type = true;
    if (accept(r, '[')) return wrong(r, "records ('descr' is a list) are not supported");
    if (!parse_word(r, r->type, sizeof r->type)) return false;
    for (int i = 0; i < TYPE_NAMES; i++)
        if (strcmp(r->type, type_names[i].name) == 0) r->dtype = type_names[i].dtype;
    return true;
}

static bool parse_order(struct reading *r) {
    if (r->has_order) return wrong(r, "'fortran_order' is given twice");
    r->has_order = true;
    while (r->at < r->end && *r->at == ' ') r->at++;
    r->fortran = r->end - r->at >= 4 && memcmp(r->at, "True", 4) == 0;
    if (!r->fortran && (r->end - r->at < 5 || memcmp(r->at, "False", 5) != 0)) return wrong(r, "expected True or False");
    r->at += r->fortran ? 4 : 5;
    return true;
}

static bool parse_extent(struct reading *r, int64_t *extent) {
    while (r->at < r->end && *r->at == ' ') r->at++;
    const char *first = r->at;
    *extent = 0;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
        if (!size_multiply(*extent, 10, extent) || !size_add(*extent, *r->at - '0', extent)) return wrong(r, "an extent is too large");
    if (r->at == first) return wrong(r, "expected an extent");
    if (r->at < r->end && *r->at == 'L') r->at++; /* Python 2 */
    return true;
}

/* (), (3,), (3, 4), (3, 4,) */
static bool parse_shape(struct reading *r) {
    if (r->has_shape) return wrong(r, "'shape' is given twice");
    r->has_shape = true;
    if (!accept(r, '(')) return wrong(r, "expected '('");
    while (!accept(r, ')')) {
        if (r->rank == FLOW_RANK_MAX) return wrong(r, "more than 8 axes");
        if (!parse_extent(r, &r->shape[r->rank++])) return false;
        const bool comma = accept(r, ',');
        if (!comma && (r->rank == 1 || !accept(r, ')'))) return wrong(r, "expected ','");
        if (!comma) return true;
    }
    return true;
}

static bool parse_header(struct reading *r) {
    if (!accept(r, '{')) return wrong(r, "expected '{'");
    while (!accept(r, '}')) {
        char key[20];
        if (!parse_word(r, key, sizeof key)) return false;
        if (!accept(r, ':')) return wrong(r, "expected ':'");
        const bool good = strcmp(key, "descr") == 0           ? parse_type(r)
                          : strcmp(key, "fortran_order") == 0 ? parse_order(r)
                          : strcmp(key, "shape") == 0         ? parse_shape(r)
                                                              : wrong(r, "expected 'descr', 'fortran_order' or 'shape'");
        if (!good) return false;
        if (!accept(r, ',')) {
            if (!accept(r, '}')) return wrong(r, "expected ',' or '}'");
            break;
        }
    }
    while (r->at < r->end && *r->at == ' ') r->at++;
    if (r->at < r->end && *r->at == '\n') r->at++;
    if (r->at < r->end) return wrong(r, "something follows the dictionary");
    return (r->has_type && r->has_order && r->has_shape) || wrong(r, "'descr', 'fortran_order' or 'shape' is missing");
}

/* Magic number, version, length; *data is where the elements begin. */
static int read_header(struct tensor_file *file, struct report *report, struct reading *r, size_t *data) {
    const uint8_t *bytes = io_head(file, 12, report);
    const size_t size = file->mapping_size;
    if (!bytes) return FLOW_ERROR_IO;
    if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return io_fail(report, FLOW_ERROR_FORMAT, file->path, "is not an npy file: it does not begin with \\x93NUMPY");
    const unsigned version = bytes[6], wide = version >= 2;
    if (version < 1 || version > 3 || bytes[7] != 0)
        return io_fail(report, FLOW_ERROR_FORMAT, file->path, "is of npy version %u.%u: 1.0, 2.0 and 3.0 are known", version, bytes[7]);
    const size_t start = wide ? 12 : 10;
    if (size < start) return io_fail(report, FLOW_ERROR_FORMAT, file->path, "ends within its header");
    size_t length = bytes[8] | (size_t)bytes[9] << 8;
    if (wide) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > size - start || length > HEADER_MOST)
        return io_fail(report, FLOW_ERROR_FORMAT, file->path, "the header claims %zu bytes, the file has %zu", length, size - start);
    if (!(bytes = io_head(file, start + length, report))) return FLOW_ERROR_IO;
    r->start = r->at = (const char *)bytes + start, r->end = r->start + length, r->base = (int64_t)start;
    *data = start + length;
    if (!parse_header(r))
        return io_fail(report, FLOW_ERROR_FORMAT, file->path, "the header is wrong at byte %td: %s", r->at - r->start + r->base, r->error);
    return FLOW_OK;
}

/* First index fastest in the file, last index fastest in memory. */
static void *from_fortran(struct tensor_file *file, const struct reading *r, const uint8_t *data, int64_t bytes) {
    uint8_t *to = arena_new(&file->arena, (size_t)bytes);
    const int64_t size = dtype_bytes(r->dtype);
    struct flow_tensor tensor = {.data = (void *)(uintptr_t)data, .dtype = r->dtype, .rank = r->rank};
    int64_t stride = 1;
    for (int32_t i = 0; i < r->rank; i++) {
        tensor.shape[i] = r->shape[i], tensor.strides[i] = stride;
        stride *= r->shape[i] ? r->shape[i] : 1;
    }
    struct walk walk;
    if (!to || !io_walk_init(&walk, &tensor)) return NULL;
    uint8_t *next = to;
    for (const void *at; (at = io_walk_next(&walk)); next += size) memcpy(next, at, (size_t)size);
    return to;
}

int io_npy_read(struct tensor_file *file, struct report *report) {
    struct reading r = {.dtype = -1};
    size_t start = 0;
    int64_t bytes;
    int status = read_header(file, report, &r, &start);
    if (status < 0) return status;
    if (r.dtype < 0 && r.type[0] == '>')
        return io_fail(report, FLOW_ERROR_UNSUPPORTED, file->path, "its elements are '%s', big-endian: only little-endian ones are read",
                       r.type);
    if (r.dtype < 0)
        return io_fail(report, FLOW_ERROR_UNSUPPORTED, file->path, "its elements are '%s': <f2 <f4 <f8 <i4 <i8 |u1 |b1 are known", r.type);
    const int64_t there = (int64_t)(file->mapping_size - start);
    if (!io_bytes(r.dtype, r.rank, r.shape, &bytes))
        return io_fail(report, FLOW_ERROR_FORMAT, file->path, "it claims more elements than can be counted");
    if (bytes != there)
        return io_fail(report, FLOW_ERROR_FORMAT, file->path,
                       "its shape and type need %" PRId64 " bytes, behind the header there are %" PRId64, bytes, there);
    status = io_single(file, r.dtype, r.rank, r.shape);
    if (status < 0) return status;
    const uint8_t *data = (const uint8_t *)file->mapping + start;
    if (file->mapped && ((r.fortran && r.rank > 1) || (uintptr_t)data % (uintptr_t)dtype_bytes(r.dtype))) return IO_WHOLE;
    const int64_t odd = r.dtype == FLOW_BOOL && !file->mapped ? io_bool_wrong(data, bytes) : -1;
    if (odd >= 0)
        return io_fail(report, FLOW_ERROR_FORMAT, file->path, "holds %u as its element %" PRId64 ": a bool is 0 or 1", data[odd], odd);
    struct flow_tensor *tensor = &file->entries[0].tensor;
    tensor->data = r.fortran && r.rank > 1 ? from_fortran(file, &r, data, bytes) : io_aligned(&file->arena, data, bytes, r.dtype);
    return tensor->data ? FLOW_OK : FLOW_ERROR_MEMORY;
}

int io_npy_write(struct out *out, const struct flow_tensor *tensor, struct report *report) {
    const char *type = NULL;
    char header[512];
    for (int i = 0; i < TYPE_NAMES; i++)
        if (type_names[i].dtype == tensor->dtype) type = type_names[i].name;
    if (!type) return io_fail(report, FLOW_ERROR_UNSUPPORTED, out->path, "npy has no type for %s", dtype_name(tensor->dtype));
    size_t n = (size_t)snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
    for (int32_t i = 0; i < tensor->rank; i++) /* at most 8 numbers of 21 characters */
        n += (size_t)snprintf(header + n, sizeof header - n, i + 1 < tensor->rank || tensor->rank == 1 ? "%" PRId64 ", " : "%" PRId64,
                              tensor->shape[i]);
    n += (size_t)snprintf(header + n, sizeof header - n, "), }");
    while ((n + 11) % 64) header[n++] = ' ';
    header[n++] = '\n';
    const uint8_t head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)n, (uint8_t)(n >> 8)};
    io_out_put(out, head, sizeof head);
    io_out_put(out, header, n);
    io_out_tensor(out, tensor);
    return FLOW_OK;
}
