/* SPDX-License-Identifier: Apache-2.0 */
/* cifar: the binary files of CIFAR-10 and CIFAR-100 (Krizhevsky 2009). A record is one label byte (CIFAR-100: a coarse and a fine one),
 * then 1,024 red, 1,024 green and 1,024 blue values of a picture of 32 x 32. */
#include "data.h"

#include <string.h>

enum { PICTURE_BYTES = 3072, RECORDS_AT_ONCE = 8 };

struct cifar_attrs {
    int64_t classes;
    bool scale;
    const char *include, *exclude;
};

struct cifar_file {
    const char *path;
    void *file;
    int64_t first; /* row */
};

struct cifar {
    struct cifar_file *files;
    int64_t count;
    int64_t record; /* bytes */
};

static const struct flow_port outputs[] = {
    {"x", "a picture: bytes, or with `scale` real numbers 0 .. 1", "B 3 32 32", FLOW_TYPE(U8) | FLOW_TYPE(F32), 0},
    {"label", "its class", "B", FLOW_TYPE(I64), 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct cifar_attrs, classes, "10, or 100: records of CIFAR-100, the fine label", "10", 1, 100),
    FLOW_ATTR_PLAIN(struct cifar_attrs, scale, "give f32, divided by 255, not u8", "true"),
    FLOW_ATTR_PLAIN(struct cifar_attrs, include, "of a folder, the names of the files that are taken: * stands for any text, | is or",
                    FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct cifar_attrs, exclude, "names that are left out, such as test_batch.bin", FLOW_ABSENT),
};

static int open_source(struct flow_source_open *open) {
    const struct cifar_attrs *a = open->attrs;
    struct cifar *cifar = data_memory(open, 1, sizeof *cifar);
    const char *const *paths;
    int64_t count;
    if (!cifar) return FLOW_ERROR_MEMORY;
    open->state = cifar;
    cifar->record = PICTURE_BYTES + (a->classes > 10 ? 2 : 1);
    int status = open->host->folder(open->owner, open->path, ".bin", &paths, &count);
    if (status < 0) return status;
    cifar->files = data_memory(open, count + 1, sizeof *cifar->files);
    if (!cifar->files) return FLOW_ERROR_MEMORY;
    open->rows = 0;
    for (int64_t i = 0; status == FLOW_OK && i < count; i++) {
        struct cifar_file *file = &cifar->files[cifar->count];
        int64_t bytes;
        if (!data_matches(a->include, data_base_name(paths[i]), true) || data_matches(a->exclude, data_base_name(paths[i]), false))
            continue;
        *file = (struct cifar_file){.path = paths[i], .first = open->rows};
        status = open->host->file_open(open->owner, paths[i], &file->file, &bytes);
        if (status == FLOW_OK && bytes % cifar->record)
            status = data_wrong(open, FLOW_ERROR_FORMAT, "%s has %lld bytes: not a multiple of a record's %lld", paths[i], (long long)bytes,
                                (long long)cifar->record);
        open->rows += status == FLOW_OK ? bytes / cifar->record : 0;
        cifar->count++;
    }
    static const int64_t shape[] = {3, 32, 32};
    if (status == FLOW_OK) status = data_output(open, "x", a->scale ? FLOW_F32 : FLOW_U8, 3, shape);
    return status < 0 ? status : data_output(open, "label", FLOW_I64, 0, NULL);
}

static int place(const struct flow_source_fill *fill, const struct cifar_file *file, int64_t row, const uint8_t *record, int64_t i) {
    const struct cifar_attrs *a = fill->attrs;
    const uint8_t label = record[a->classes > 10 ? 1 : 0], *pixels = record + (a->classes > 10 ? 2 : 1);
    if (label >= a->classes)
        return data_wrong(fill, FLOW_ERROR_RANGE, "%s: label %lld is %d, expected 0 to %lld", file->path, (long long)(row - file->first),
                          label, (long long)a->classes - 1);
    ((int64_t *)fill->out[1].data)[i] = label;
    if (!a->scale) memcpy((uint8_t *)fill->out[0].data + i * PICTURE_BYTES, pixels, PICTURE_BYTES);
    float *to = (float *)fill->out[0].data + i * PICTURE_BYTES;
    for (int64_t k = 0; a->scale && k < PICTURE_BYTES; k++) to[k] = (float)pixels[k] / 255.0f;
    return FLOW_OK;
}

static int fill_source(const struct flow_source_fill *fill) {
    uint8_t records[RECORDS_AT_ONCE * (PICTURE_BYTES + 2)];
    const struct cifar *cifar = fill->state;
    int status = FLOW_OK;
    for (int64_t i = 0, n; status == FLOW_OK && i < fill->count; i += n) {
        int64_t f = cifar->count - 1;
        while (cifar->files[f].first > fill->rows[i]) f--;
        const struct cifar_file *file = &cifar->files[f];
        n = data_run(fill->rows, i, fill->count);
        if (n > RECORDS_AT_ONCE) n = RECORDS_AT_ONCE;
        if (f + 1 < cifar->count && cifar->files[f + 1].first - fill->rows[i] < n) n = cifar->files[f + 1].first - fill->rows[i];
        status = fill->host->file_read(fill->owner, file->file, (fill->rows[i] - file->first) * cifar->record, n * cifar->record, records);
        for (int64_t k = 0; status == FLOW_OK && k < n; k++)
            status = place(fill, file, fill->rows[i] + k, records + k * cifar->record, i + k);
    }
    return status;
}

const struct flow_source data_cifar = {
    .size = sizeof data_cifar,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "cifar",
    .summary = "pictures and labels in the binary format of CIFAR-10 and CIFAR-100",
    .reference = "Krizhevsky, Learning multiple layers of features from tiny images (2009), the data sets' page",
    .example = "train: {source: cifar, path: cifar-10-batches-bin, with: {include: \"data_batch_*\", batch: 64, shuffle: true}, "
               "feeds: {x: x, label: label}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct cifar_attrs),
    .open = open_source,
    .fill = fill_source,
};
