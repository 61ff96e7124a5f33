/* SPDX-License-Identifier: Apache-2.0 */
/* idx: the format of MNIST (LeCun, Cortes, Burges). A file is two zeros, a type, a count of axes, each axis as a big-endian 32-bit number,
 * then the elements. Rows lie along axis 0. */
#include "data.h"

#include <string.h>

struct idx_attrs {
    const char *labels;
    bool scale, channel;
    int64_t classes;
};

struct idx_file {
    const char *path;
    void *file;
    int64_t start, rows, row_bytes;
    int32_t rank;
    int64_t shape[FLOW_RANK_MAX];
};

struct idx {
    struct idx_file images, labels;
    bool has_labels;
    int64_t elements; /* of an image */
};

static const struct flow_port outputs[] = {
    {"x", "one image: bytes 0 .. 255, or with `scale` real numbers 0 .. 1; with `channel` [1, H, W]", "B H W",
     FLOW_TYPE(U8) | FLOW_TYPE(F32), 0},
    {"label", "its class, where `labels` names a file", "B", FLOW_TYPE(I64), FLOW_OPTIONAL},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_PLAIN(struct idx_attrs, labels, "path of the idx file with the labels", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct idx_attrs, scale, "give f32, divided by 255, not u8", "false"),
    FLOW_ATTR_PLAIN(struct idx_attrs, channel, "put an axis of one channel in front: [B, 1, H, W]", "false"),
    FLOW_ATTR(struct idx_attrs, classes, "labels are 0 .. classes-1, another one is an error; 0: not checked", "0", 0, 256),
};

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

/* Opens a file and checks that its head and its length agree. */
static int idx_open(const struct flow_source_open *open, const char *path, struct idx_file *idx) {
    uint8_t head[4 + 4 * FLOW_RANK_MAX];
    int64_t bytes, wanted = 1;
    idx->path = path;
    int status = open->host->file_open(open->owner, path, &idx->file, &bytes);
    if (status < 0) return status;
    if (bytes < 4) return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %lld bytes: no idx file is so short", path, (long long)bytes);
    status = open->host->file_read(open->owner, idx->file, 0, 4, head);
    if (status == FLOW_OK) status = data_check_packed(open, path, head, 4);
    if (status < 0) return status;
    if (head[0] || head[1])
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s is not an idx file: it begins with %02x %02x, expected 00 00", path, head[0],
                          head[1]);
    if (head[2] != 8)
        return data_wrong(open, FLOW_ERROR_UNSUPPORTED, "%s holds elements of type %02x: unsigned bytes (08) are read", path, head[2]);
    idx->rank = head[3];
    if (idx->rank < 1 || idx->rank > 4) return data_wrong(open, FLOW_ERROR_UNSUPPORTED, "%s has %d axes: 1 to 4 are read", path, idx->rank);
    idx->start = 4 + 4 * idx->rank;
    if (bytes < idx->start)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s is cut short: its head has %lld bytes, the file %lld", path, (long long)idx->start,
                          (long long)bytes);
    status = open->host->file_read(open->owner, idx->file, 4, 4 * (int64_t)idx->rank, head + 4);
    if (status < 0) return status;
    for (int32_t i = 0; i < idx->rank; i++) {
        idx->shape[i] = big_endian(head + 4 + 4 * i);
        if (__builtin_mul_overflow(wanted, idx->shape[i], &wanted))
            return data_wrong(open, FLOW_ERROR_FORMAT, "%s claims more elements than can be counted", path);
    }
    if (bytes - idx->start != wanted)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %lld bytes behind its head, which claims %lld: it is %s", path,
                          (long long)(bytes - idx->start), (long long)wanted,
                          bytes - idx->start < wanted ? "cut short" : "of another size than it says");
    idx->rows = idx->shape[0];
    idx->row_bytes = idx->rows ? wanted / idx->rows : 0;
    return FLOW_OK;
}

static int open_source(struct flow_source_open *open) {
    const struct idx_attrs *a = open->attrs;
    struct idx *idx = data_memory(open, 1, sizeof *idx);
    if (!idx) return FLOW_ERROR_MEMORY;
    open->state = idx;
    int status = idx_open(open, open->path, &idx->images);
    if (status < 0) return status;
    idx->elements = idx->images.row_bytes;
    idx->has_labels = a->labels != NULL;
    if (idx->has_labels) status = idx_open(open, a->labels, &idx->labels);
    if (status < 0) return status;
    if (idx->has_labels && idx->labels.rank != 1)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %d axes: labels have one", a->labels, idx->labels.rank);
    if (idx->has_labels && idx->labels.rows != idx->images.rows)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s holds %lld labels, %s %lld images", a->labels, (long long)idx->labels.rows,
                          open->path, (long long)idx->images.rows);
    int64_t shape[FLOW_RANK_MAX] = {1};
    const int32_t rank = idx->images.rank - 1;
    for (int32_t i = 0; i < rank; i++) shape[i + a->channel] = idx->images.shape[i + 1];
    status = data_output(open, "x", a->scale ? FLOW_F32 : FLOW_U8, rank + a->channel, shape);
    if (status == FLOW_OK && idx->has_labels) status = data_output(open, "label", FLOW_I64, 0, NULL);
    open->rows = idx->images.rows;
    return status;
}

/* Bytes are read into the end of the row's room and widened from its beginning: byte i is read before element i can reach it. */
static int read_images(const struct flow_source_fill *fill, const struct idx *idx, bool scale, int64_t i, int64_t n) {
    const int64_t count = n * idx->elements;
    uint8_t *to = (uint8_t *)fill->out[0].data + i * idx->elements * (scale ? 4 : 1), *bytes = scale ? to + 3 * count : to;
    int status = fill->host->file_read(fill->owner, idx->images.file, idx->images.start + fill->rows[i] * idx->elements, count, bytes);
    if (status < 0 || !scale) return status;
    float *real = (float *)(void *)to;
    for (int64_t k = 0; k < count; k++) {
        const float value = (float)bytes[k] / 255.0f;
        real[k] = value;
    }
    return FLOW_OK;
}

static int read_labels(const struct flow_source_fill *fill, const struct idx *idx, int64_t classes, int64_t i, int64_t n) {
    int64_t *to = (int64_t *)fill->out[1].data + i;
    const uint8_t *bytes = (const uint8_t *)to + 7 * n;
    int status = fill->host->file_read(fill->owner, idx->labels.file, idx->labels.start + fill->rows[i], n, (uint8_t *)to + 7 * n);
    for (int64_t k = 0; status == FLOW_OK && k < n; k++) {
        const uint8_t label = bytes[k];
        if (classes && label >= classes)
            return data_wrong(fill, FLOW_ERROR_RANGE, "%s: label %lld is %d, expected 0 to %lld", idx->labels.path,
                              (long long)(fill->rows[i] + k), label, (long long)classes - 1);
        to[k] = label;
    }
    return status;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct idx_attrs *a = fill->attrs;
    const struct idx *idx = fill->state;
    int status = FLOW_OK;
    for (int64_t i = 0, n; status == FLOW_OK && i < fill->count; i += n) {
        n = data_run(fill->rows, i, fill->count);
        status = read_images(fill, idx, a->scale, i, n);
        if (status == FLOW_OK && idx->has_labels) status = read_labels(fill, idx, a->classes, i, n);
    }
    return status;
}

const struct flow_source data_idx = {
    .size = sizeof data_idx,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "idx",
    .summary = "images and labels in the format of MNIST",
    .reference = "LeCun, Cortes, Burges, the MNIST database of handwritten digits, file formats",
    .example = "train: {source: idx, path: train-images.idx3, with: {labels: train-labels.idx1, scale: true, channel: true, batch: 64, "
               "shuffle: true}, feeds: {x: x, label: label}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct idx_attrs),
    .open = open_source,
    .fill = fill_source,
};
