/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a file of tensors: read into memory, then handed to its format. Reading a mapping of a file that somebody makes shorter would end
 * the program (SIGBUS); here that is an error. */
#include "io/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *ending;
    int (*read)(struct tensor_file *file, struct report *report);
    bool by_header; /* its header says where everything lies */
} formats[] = {
    {".safetensors", io_safetensors_read, true}, {".npy", io_npy_read, true}, {".wav", io_wav_read, false}, {".csv", io_csv_read, false}};

enum { FORMATS = sizeof formats / sizeof formats[0], LINE = 64 };

int io_fail(struct report *report, int code, const char *path, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report_vadd(report, code, (struct position){path, 0, 0}, format, arguments);
    va_end(arguments);
    return code;
}

bool io_elements(int32_t rank, const int64_t *shape, int64_t *count) {
    int64_t product = 1;
    bool empty = false;
    for (int32_t i = 0; i < rank; i++) {
        if (shape[i] < 0) return false;
        if (shape[i] == 0) empty = true;
        else if (!size_multiply(product, shape[i], &product)) return false;
    }
    *count = empty ? 0 : product;
    return true;
}

bool io_bytes(int32_t dtype, int32_t rank, const int64_t *shape, int64_t *bytes) {
    int64_t count;
    return io_elements(rank, shape, &count) && size_multiply(count, dtype_bytes(dtype), bytes);
}

void io_strides(struct flow_tensor *tensor) {
    int64_t stride = 1;
    for (int32_t i = tensor->rank - 1; i >= 0; i--) {
        tensor->strides[i] = stride;
        stride *= tensor->shape[i] ? tensor->shape[i] : 1;
    }
}

int io_single(struct tensor_file *file, int32_t dtype, int32_t rank, const int64_t *shape) {
    file->entries = arena_array(&file->arena, 1, sizeof *file->entries);
    if (!file->entries) return FLOW_ERROR_MEMORY;
    struct flow_tensor *tensor = &file->entries[0].tensor;
    file->entries[0].name = "";
    file->count = 1;
    tensor->dtype = dtype, tensor->device = FLOW_DEVICE_CPU, tensor->rank = rank;
    for (int32_t i = 0; i < rank; i++) tensor->shape[i] = shape[i];
    io_strides(tensor);
    return FLOW_OK;
}

void *io_aligned(struct arena *arena, const uint8_t *at, int64_t bytes, int32_t dtype) {
    if ((uintptr_t)at % (uintptr_t)dtype_bytes(dtype) == 0) return (void *)(uintptr_t)at;
    return arena_copy(arena, at, (size_t)bytes);
}

int64_t io_bool_wrong(const uint8_t *at, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (at[i] > 1) return i;
    return -1;
}

/* A regular file that is not empty: its descriptor and size. */
static int open_regular(const char *path, struct report *report, int *descriptor, size_t *size) {
    struct stat about;
    int status = FLOW_OK;
    const int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (opened < 0) return io_fail(report, FLOW_ERROR_IO, path, "cannot be opened: %s", strerror(errno));
    if (fstat(opened, &about) < 0) status = io_fail(report, FLOW_ERROR_IO, path, "cannot be read: %s", strerror(errno));
    else if (S_ISDIR(about.st_mode)) status = io_fail(report, FLOW_ERROR_IO, path, "is a folder, not a file");
    else if (!S_ISREG(about.st_mode)) status = io_fail(report, FLOW_ERROR_IO, path, "is not a regular file");
    else if (about.st_size == 0) status = io_fail(report, FLOW_ERROR_FORMAT, path, "the file is empty");
    if (status < 0) close(opened);
    else *descriptor = opened, *size = (size_t)about.st_size;
    return status;
}

static int read_all(const struct tensor_file *file, int descriptor, void *into, size_t size, struct report *report) {
    for (size_t done = 0; done < size;) {
        const size_t piece = size - done < (1u << 30) ? size - done : 1u << 30;
        const ssize_t got = pread(descriptor, (char *)into + done, piece, (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_fail(report, FLOW_ERROR_IO, file->path, "cannot be read at byte %zu: %s", done, strerror(errno));
        if (got == 0)
            return io_fail(report, FLOW_ERROR_FORMAT, file->path, "became shorter while it was read: it had %zu bytes, now it ends at %zu",
                           file->mapping_size, done);
        done += (size_t)got;
    }
    return FLOW_OK;
}

static int read_file(struct tensor_file *file, struct report *report) {
    const struct allocator *from = file->arena.from;
    int descriptor;
    int status = open_regular(file->path, report, &descriptor, &file->mapping_size);
    if (status < 0) return status;
    const size_t size = file->mapping_size;
    file->block_size = size < SIZE_MAX - LINE ? size + LINE : 0;
    file->block = file->block_size ? from->resize(from->context, NULL, 0, file->block_size) : NULL;
    if (!file->block) status = io_fail(report, FLOW_ERROR_MEMORY, file->path, "its %zu bytes do not fit into memory", size);
    else {
        file->mapping = (void *)(((uintptr_t)file->block + LINE - 1) / LINE * LINE);
        status = read_all(file, descriptor, file->mapping, size, report);
    }
    close(descriptor);
    return status;
}

static int map_file(struct tensor_file *file, struct report *report) {
    int descriptor;
    int status = open_regular(file->path, report, &descriptor, &file->mapping_size);
    if (status < 0) return status;
    void *mapping = mmap(NULL, file->mapping_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (mapping == MAP_FAILED) status = io_fail(report, FLOW_ERROR_IO, file->path, "cannot be mapped: %s", strerror(errno));
    else file->mapping = mapping, file->mapped = true;
    close(descriptor);
    return status;
}

static void let_go(struct tensor_file *file) {
    const struct allocator *from = file->arena.from;
    if (file->mapped) munmap(file->mapping, file->mapping_size);
    if (file->block) from->resize(from->context, file->block, file->block_size, 0);
    file->mapping = file->block = NULL, file->mapped = false;
}

const uint8_t *io_head(struct tensor_file *file, uint64_t size, struct report *report) {
    int descriptor;
    size_t there;
    if (!file->mapped) return file->mapping;
    if (size > file->mapping_size) size = file->mapping_size;
    uint8_t *head = arena_new(&file->arena, (size_t)size);
    if (!head) {
        report_memory(report);
        return NULL;
    }
    int status = open_regular(file->path, report, &descriptor, &there);
    if (status < 0) return NULL;
    if (there != file->mapping_size) status = io_fail(report, FLOW_ERROR_FORMAT, file->path, "changed while it was opened");
    else status = read_all(file, descriptor, head, (size_t)size, report);
    close(descriptor);
    return status < 0 ? NULL : head;
}

/* Which format the ending says, or -1. */
static int format_of(const char *path) {
    const size_t length = strlen(path);
    for (int i = 0; i < FORMATS; i++) {
        const size_t n = strlen(formats[i].ending);
        if (length >= n && strcmp(path + length - n, formats[i].ending) == 0) return i;
    }
    return -1;
}

static int unknown_ending(const char *path, struct report *report) {
    return io_fail(report, FLOW_ERROR_USAGE, path, "the name's ending says no format: .safetensors, .npy, .wav and .csv are known");
}

static int file_open(const struct allocator *from, const char *path, bool map, struct report *report, struct tensor_file **out) {
    const int format = format_of(path);
    *out = NULL;
    if (format < 0) return unknown_ending(path, report);
    struct tensor_file *file = memory_new(from, sizeof *file);
    const int32_t errors = report->count;
    if (!file) return report_memory(report);
    arena_init(&file->arena, from);
    file->path = arena_text(&file->arena, path);
    map = map && formats[format].by_header;
    int status = !file->path ? report_memory(report) : map ? map_file(file, report) : read_file(file, report);
    if (status == FLOW_OK) status = formats[format].read(file, report);
    if (status == IO_WHOLE) {
        let_go(file);
        file->entries = NULL, file->count = 0;
        status = read_file(file, report);
        if (status == FLOW_OK) status = formats[format].read(file, report);
    }
    if (status == FLOW_ERROR_MEMORY && report->count == errors) status = report_memory(report);
    if (status < 0) tensor_file_close(file);
    else *out = file;
    return status;
}

int tensor_file_open(const struct allocator *from, const char *path, struct report *report, struct tensor_file **out) {
    return file_open(from, path, false, report, out);
}

int tensor_file_map(const struct allocator *from, const char *path, struct report *report, struct tensor_file **out) {
    return file_open(from, path, true, report, out);
}

int tensor_file_image(const struct allocator *from, const char *name, const void *bytes, size_t size, struct report *report,
                      struct tensor_file **out) {
    *out = NULL;
    struct tensor_file *file = memory_new(from, sizeof *file);
    if (!file) return report_memory(report);
    arena_init(&file->arena, from);
    file->mapping = (void *)(uintptr_t)bytes, file->mapping_size = size;
    file->path = arena_text(&file->arena, name);
    int status = !file->path ? report_memory(report) : size == 0 ? io_fail(report, FLOW_ERROR_FORMAT, name, "there are no bytes") : 0;
    if (status == FLOW_OK && (status = io_safetensors_read(file, report)) == FLOW_ERROR_MEMORY) status = report_memory(report);
    if (status < 0) tensor_file_close(file);
    else *out = file;
    return status;
}

void tensor_file_close(struct tensor_file *file) {
    if (!file) return;
    const struct allocator *from = file->arena.from;
    let_go(file);
    arena_free(&file->arena);
    memory_free(from, file, sizeof *file);
}

/* Entries and metadata are in order of name: halving. */
const struct flow_tensor *tensor_file_get(const struct tensor_file *file, const char *name) {
    size_t low = 0, high = file->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, file->entries[middle].name);
        if (order == 0) return &file->entries[middle].tensor;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

const char *tensor_file_metadata(const struct tensor_file *file, const char *key) {
    size_t low = 0, high = file->metadata_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(key, file->metadata[middle].key);
        if (order == 0) return file->metadata[middle].value;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

/* ---- Writing ---- */

static int check_tensors(const char *path, int format, const struct tensor_write *tensors, size_t count, struct report *report) {
    if (format != 0 && count != 1)
        return io_fail(report, FLOW_ERROR_USAGE, path, "%zu tensors given: a %s file holds one", count, formats[format].ending + 1);
    for (size_t i = 0; i < count; i++) {
        const struct flow_tensor *t = tensors[i].tensor;
        const char *name = tensors[i].name ? tensors[i].name : "";
        int64_t bytes;
        if (t->rank < 0 || t->rank > FLOW_RANK_MAX || t->dtype < 0 || t->dtype >= FLOW_TYPE_COUNT)
            return io_fail(report, FLOW_ERROR_USAGE, path, "tensor '%s' has rank %d and type %d", name, t->rank, t->dtype);
        if (t->device != FLOW_DEVICE_CPU) return io_fail(report, FLOW_ERROR_USAGE, path, "tensor '%s' is not in the CPU's memory", name);
        if (!io_bytes(t->dtype, t->rank, t->shape, &bytes) || (bytes && !t->data))
            return io_fail(report, FLOW_ERROR_USAGE, path, "tensor '%s' has impossible extents or no data", name);
    }
    return FLOW_OK;
}

int tensor_file_write(const struct allocator *from, const char *path, const struct tensor_write *tensors, size_t count,
                      const struct tensor_write_options *options, struct report *report) {
    static const struct tensor_write_options none = {0};
    const int format = format_of(path);
    struct out out;
    if (format < 0) return unknown_ending(path, report);
    if (!options) options = &none;
    int status = check_tensors(path, format, tensors, count, report);
    if (status == FLOW_OK) status = io_out_open(&out, path, report);
    if (status < 0) return status;
    if (format == 0) status = io_safetensors_write(from, &out, tensors, count, options, report);
    else if (format == 1) status = io_npy_write(&out, tensors[0].tensor, report);
    else if (format == 2) status = io_wav_write(&out, tensors[0].tensor, options, report);
    else status = io_csv_write(&out, tensors[0].tensor, report);
    return io_out_close(&out, status, report);
}

int file_write(const char *path, const void *bytes, size_t size, struct report *report) {
    struct out out;
    int status = io_out_open(&out, path, report);
    if (status < 0) return status;
    io_out_put(&out, bytes, size);
    return io_out_close(&out, FLOW_OK, report);
}

/* ---- Piece by piece ---- */

struct file_stream {
    const struct allocator *from;
    struct out out;
};

int file_stream_open(const struct allocator *from, const char *path, struct report *report, struct file_stream **out) {
    *out = NULL;
    struct file_stream *stream = memory_new(from, sizeof *stream);
    if (!stream) return report_memory(report);
    stream->from = from;
    const int status = io_out_open(&stream->out, path, report);
    if (status < 0) memory_free(from, stream, sizeof *stream);
    else *out = stream;
    return status;
}

void file_stream_put(struct file_stream *stream, const void *bytes, size_t size) { io_out_put(&stream->out, bytes, size); }

int file_stream_close(struct file_stream *stream, int status, struct report *report) {
    status = io_out_close(&stream->out, status, report);
    memory_free(stream->from, stream, sizeof *stream);
    return status;
}
