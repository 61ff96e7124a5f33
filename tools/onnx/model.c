/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes to messages and tensors. protobuf-c checks the encoding; how much memory the messages may take is bounded here. */
#include "onnx/internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Blocks know their size, so that what is freed can be counted. */
enum { HEAD = 16 };

static void *take(void *context, size_t size) {
    struct import *m = context;
    bool fits = size <= m->messages_limit && m->messages_used <= m->messages_limit - size;
    size_t *block = fits ? malloc(size + HEAD) : NULL;
    m->messages_full |= !block;
    if (!block) return NULL;
    *block = size;
    m->messages_used += size;
    return (char *)block + HEAD;
}

static void give_back(void *context, void *at) {
    struct import *m = context;
    if (!at) return;
    size_t *block = (size_t *)(void *)((char *)at - HEAD);
    m->messages_used -= *block;
    free(block);
}

void model_refuse(struct import *m, const char *format, ...) {
    va_list arguments;
    char text[600];
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at; at++) /* names are the file's: nothing of them steers a terminal */
        if ((unsigned char)*at < 32 || *at == 127) *at = '?';
    if (m->refusals.count < 1000) *STORE_PUSH(&m->store, m->refusals) = store_text(&m->store, text);
}

int model_read(struct import *m, const uint8_t *bytes, size_t size) {
    m->messages = (ProtobufCAllocator){take, give_back, m};
    m->messages_limit = 160 * size + (1u << 20); /* the smallest message is 2 bytes in the file */
    Onnx__Model *model = onnx__model__unpack(&m->messages, size, bytes);
    m->model = model;
    if (m->messages_full) longjmp(m->store.full, 1);
    if (!model || !model->graph) {
        model_refuse(m, model ? "this is no ONNX model: it holds no graph" : "this is no ONNX model, or it is damaged");
        m->format = true;
        return FLOW_ERROR_FORMAT;
    }
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const Onnx__OperatorSet *set = model->opset_import[i];
        if (!set->domain || !*set->domain || strcmp(set->domain, "ai.onnx") == 0) m->opset = set->version;
    }
    if (m->opset < 13 || m->opset > 21)
        model_refuse(m, "the model is of opset %lld; 13 to 21 are read (onnx.version_converter converts)", (long long)m->opset);
    return 0;
}

const Onnx__Graph *model_subgraph(struct import *m, ProtobufCBinaryData bytes) {
    const void **slot = STORE_PUSH(&m->store, m->opened);
    Onnx__Graph *graph = onnx__graph__unpack(&m->messages, bytes.len, bytes.data);
    *slot = graph;
    if (m->messages_full) longjmp(m->store.full, 1);
    return graph;
}

void model_close(struct import *m) {
    for (size_t i = 0; i < m->opened.count; i++) onnx__graph__free_unpacked((Onnx__Graph *)(uintptr_t)m->opened.at[i], &m->messages);
    if (m->model) onnx__model__free_unpacked((Onnx__Model *)(uintptr_t)m->model, &m->messages);
    for (size_t i = 0; i < m->files.count; i++)
        if (m->files.at[i].size) munmap(m->files.at[i].at, m->files.at[i].size);
}

/* ---- Tensors ---- */

int32_t model_type(int32_t elem_type) {
    switch (elem_type) {
    case 1: return FLOW_F32;
    case 2: return FLOW_U8;
    case 6: return FLOW_I32;
    case 7: return FLOW_I64;
    case 9: return FLOW_BOOL;
    case 10: return FLOW_F16;
    case 11: return FLOW_F64;
    case 16: return FLOW_BF16;
    default: return -1;
    }
}

static bool number_of(const char *text, int64_t *number) {
    char *end;
    *number = strtoll(text, &end, 10);
    return end != text && !*end && *number >= 0;
}

/* Only a file in the model's folder or below: no absolute path, no "..", nothing that a link leads out of it. */
static int open_inside(const char *folder, const char *name) {
    char inside[PATH_MAX], path[PATH_MAX], real[PATH_MAX];
    if (name[0] == '/' || !*name || strstr(name, "..")) return -1;
    if (!realpath(*folder ? folder : ".", inside)) return -1;
    if (snprintf(path, sizeof path, "%s/%s", inside, name) >= (int)sizeof path || !realpath(path, real)) return -1;
    size_t length = strlen(inside);
    if (strncmp(real, inside, length) != 0 || (real[length] != '/' && length > 1)) return -1;
    return open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

static const struct mapping_file *open_file(struct import *m, const char *name, const char **why) {
    for (size_t i = 0; i < m->files.count; i++)
        if (strcmp(m->files.at[i].name, name) == 0) return &m->files.at[i];
    *why = "its data lies in another file, which is not read here";
    if (!m->options->folder) return NULL;
    *why = store_format(&m->store, "its data lies in '%s', which is no file in the model's folder", name);
    int file = open_inside(m->options->folder, name);
    struct stat about;
    if (file < 0) return NULL;
    void *at = MAP_FAILED;
    if (fstat(file, &about) == 0 && S_ISREG(about.st_mode))
        at = about.st_size ? mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0) : NULL;
    close(file);
    if (at == MAP_FAILED) return NULL;
    struct mapping_file *made = STORE_PUSH(&m->store, m->files);
    *made = (struct mapping_file){at, at ? (size_t)about.st_size : 0, name};
    return made;
}

static bool external(struct import *m, const Onnx__Tensor *tensor, size_t bytes, const void **data, const char **why) {
    const char *location = NULL;
    int64_t offset = 0, length = (int64_t)bytes;
    for (size_t i = 0; i < tensor->n_external_data; i++) {
        const Onnx__Entry *entry = tensor->external_data[i];
        if (!entry->key || !entry->value) continue;
        if (strcmp(entry->key, "location") == 0) location = entry->value;
        bool good = true;
        if (strcmp(entry->key, "offset") == 0) good = number_of(entry->value, &offset);
        if (strcmp(entry->key, "length") == 0) good = number_of(entry->value, &length);
        if (!good) return *why = "its external data has a place that is no number", false;
    }
    if (!location) return *why = "its external data names no file", false;
    const struct mapping_file *file = open_file(m, location, why);
    if (!file) return false;
    if ((size_t)length != bytes || (size_t)offset > file->size || bytes > file->size - (size_t)offset)
        return *why = store_format(&m->store, "'%s' does not hold the %zu bytes at %lld that it needs", location, bytes, (long long)offset),
               false;
    *data = (const char *)file->at + offset;
    return true;
}

/* Elements that the message lists one by one; half types come as bits in int32_data. */
static bool listed(struct import *m, const Onnx__Tensor *t, int32_t dtype, size_t count, const void **data) {
    if ((dtype == FLOW_F32 && t->n_float_data == count) || (dtype == FLOW_F64 && t->n_double_data == count) ||
        (dtype == FLOW_I64 && t->n_int64_data == count) || (dtype == FLOW_I32 && t->n_int32_data == count)) {
        *data = dtype == FLOW_F32   ? (const void *)t->float_data
                : dtype == FLOW_F64 ? (const void *)t->double_data
                : dtype == FLOW_I64 ? (const void *)t->int64_data
                                    : (const void *)t->int32_data;
        return true;
    }
    if (t->n_int32_data != count || (dtype != FLOW_F16 && dtype != FLOW_BF16 && dtype != FLOW_U8 && dtype != FLOW_BOOL)) return false;
    size_t size = (size_t)flow_type_bytes(dtype);
    char *copy = store_take(&m->store, count ? count : 1, size);
    for (size_t i = 0; i < count; i++) {
        if (size == 2) {
            uint16_t bits = (uint16_t)t->int32_data[i];
            memcpy(copy + 2 * i, &bits, 2);
        } else {
            copy[i] = dtype == FLOW_BOOL ? (char)(t->int32_data[i] != 0) : (char)t->int32_data[i];
        }
    }
    *data = copy;
    return true;
}

bool model_tensor(struct import *m, const Onnx__Tensor *tensor, struct value *v, const char **why) {
    int64_t count, bytes;
    v->dtype = model_type(tensor->data_type);
    if (v->dtype < 0) return *why = store_format(&m->store, "elements of type %d (ONNX's number) are not read", tensor->data_type), false;
    if (tensor->n_dims > RANK)
        return *why = store_format(&m->store, "it has %zu axes, at most %d are possible", tensor->n_dims, RANK), false;
    v->rank = (int32_t)tensor->n_dims;
    for (int32_t i = 0; i < v->rank; i++) v->shape[i] = extent_of(tensor->dims[i]);
    if (!shape_possible(v) || !value_count(v, &count) || __builtin_mul_overflow(count, flow_type_bytes(v->dtype), &bytes))
        return *why = "its shape is impossible", false;
    v->count = count;
    const void *data = NULL;
    if (tensor->data_location == 1) {
        if (!external(m, tensor, (size_t)bytes, &data, why)) return false;
    } else if (tensor->has_raw_data && (size_t)bytes == tensor->raw_data.len) {
        data = tensor->raw_data.data;
    } else if (tensor->has_raw_data || !listed(m, tensor, v->dtype, (size_t)count, &data)) {
        return *why = store_format(&m->store, "its shape has %lld elements, its data another number", (long long)count), false;
    }
    if ((uintptr_t)data % 8 != 0 && bytes) { /* external data may start anywhere */
        void *copy = store_take(&m->store, (size_t)bytes, 1);
        data = memcpy(copy, data, (size_t)bytes);
    }
    static const uint64_t nothing;
    v->data = data ? data : &nothing;
    return true;
}
