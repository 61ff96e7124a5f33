/* SPDX-License-Identifier: Apache-2.0 */
/* tensors: a file of tensors as a table, rows along axis 0 of each. Rows that follow each other are read at once, straight into the batch.
 */
#include "data.h"

#include <string.h>

struct tensors_attrs {
    const char *tensors;
};

struct column {
    struct flow_tensor tensor;
    int64_t row_bytes;
};

struct tensors {
    int64_t count;
    struct column *columns;
};

static const struct flow_port outputs[] = {
    {"column", "each tensor by its name (a file of one unnamed tensor: `x`), without axis 0", NULL, FLOW_TYPES_ANY, FLOW_VARIADIC},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_PLAIN(struct tensors_attrs, tensors, "names of those that are wanted, apart by spaces; all of them where it is absent",
                    FLOW_ABSENT),
};

static int64_t element_bytes(int32_t dtype) {
#define FLOW_TYPE_ENTRY(name, value, text, bytes) [FLOW_##name] = bytes,
    static const uint8_t sizes[FLOW_TYPE_COUNT] = {FLOW_TYPE_MAP(FLOW_TYPE_ENTRY)};
#undef FLOW_TYPE_ENTRY
    return sizes[dtype];
}

static int add_column(struct flow_source_open *open, struct tensors *tensors, const char *name) {
    struct column *column = &tensors->columns[tensors->count];
    int status = open->host->tensor(open->owner, open->path, name, &column->tensor, NULL);
    if (status < 0) return status;
    const struct flow_tensor *tensor = &column->tensor;
    const char *called = *name ? name : "x";
    if (tensor->rank < 1) return data_wrong(open, FLOW_ERROR_SHAPE, "%s: tensor '%s' is a scalar: it has no rows", open->path, called);
    if (tensors->count && tensor->shape[0] != open->rows)
        return data_wrong(open, FLOW_ERROR_SHAPE, "%s: tensor '%s' has %lld rows, the others have %lld: name those that are wanted",
                          open->path, called, (long long)tensor->shape[0], (long long)open->rows);
    open->rows = tensor->shape[0];
    column->row_bytes = element_bytes(tensor->dtype);
    for (int32_t i = 1; i < tensor->rank; i++) column->row_bytes *= tensor->shape[i];
    tensors->count++;
    return data_output(open, called, tensor->dtype, tensor->rank - 1, tensor->shape + 1);
}

static int open_source(struct flow_source_open *open) {
    const struct tensors_attrs *a = open->attrs;
    struct tensors *tensors = data_memory(open, 1, sizeof *tensors);
    if (!tensors) return FLOW_ERROR_MEMORY;
    open->state = tensors;
    if (!open->path) return data_wrong(open, FLOW_ERROR_USAGE, "a path is needed, and none is given");
    struct flow_tensor first;
    const char *list = a->tensors, *word;
    int status = FLOW_OK;
    size_t length;
    int64_t most = 1;
    const bool lines = !list;
    if (!list) status = open->host->tensor(open->owner, open->path, NULL, &first, &list);
    if (status < 0) return status;
    const size_t ending = strlen(open->path);
    if (lines && ending > 4 && strcmp(open->path + ending - 4, ".csv") == 0) list = ""; /* those are the columns' names */
    for (const char *c = list; *c; c++) most += *c == ' ' || *c == ',' || *c == '\n';
    tensors->columns = data_memory(open, most, sizeof *tensors->columns);
    if (!tensors->columns) return FLOW_ERROR_MEMORY;
    if (!*list) return add_column(open, tensors, "");
    while (status == FLOW_OK && *list) {
        if (lines) { /* names with anything but a newline in them */
            word = list, length = strcspn(list, "\n");
            list += length + (list[length] == '\n');
        } else if (!(word = data_word(&list, &length))) break;
        const char *name = data_copy(open, word, length);
        status = name ? add_column(open, tensors, name) : FLOW_ERROR_MEMORY;
    }
    return status;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct tensors *tensors = fill->state;
    int status = FLOW_OK;
    for (int64_t i = 0, n; status == FLOW_OK && i < fill->count; i += n) {
        n = data_run(fill->rows, i, fill->count);
        for (int64_t c = 0; status == FLOW_OK && c < tensors->count; c++) {
            const struct column *column = &tensors->columns[c];
            status = fill->host->tensor_read(fill->owner, &column->tensor, fill->rows[i] * column->row_bytes, n * column->row_bytes,
                                             (char *)fill->out[c].data + i * column->row_bytes);
        }
    }
    return status;
}

const struct flow_source data_tensors = {
    .size = sizeof data_tensors,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "tensors",
    .summary = "rows of the tensors in a .safetensors, .npy or .csv file",
    .example = "train: {source: tensors, path: train.safetensors, with: {tensors: \"x label\", batch: 32, shuffle: true}, "
               "feeds: {x: x, label: label}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct tensors_attrs),
    .open = open_source,
    .fill = fill_source,
};
