/* SPDX-License-Identifier: Apache-2.0 */
/* What the targets share. Each is one function of libFuzzer's: any bytes may come, and nothing may be left behind. */
#ifndef FLOW_FUZZ_H
#define FLOW_FUZZ_H

#include "io/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Memory that ends: what a file may make the library ask for. */
enum { FUZZ_BYTES_MOST = 256 << 20 };
static inline void *fuzz_resize(void *context, void *block, size_t old_size, size_t new_size) {
    (void)context, (void)old_size;
    if (new_size == 0) return free(block), NULL;
    return new_size > FUZZ_BYTES_MOST ? NULL : realloc(block, new_size);
}
static const struct allocator fuzz_memory = {NULL, fuzz_resize};

/* One file of tensors, as a reader sees it; then every byte of its tensors is looked at. */
static inline int fuzz_file(const uint8_t *bytes, size_t size, const char *path, int (*read)(struct tensor_file *, struct report *)) {
    struct tensor_file file = {.path = path};
    struct report report;
    if (!size) return 0;
    report_init(&report, &fuzz_memory);
    arena_init(&file.arena, &fuzz_memory);
    file.mapping = malloc(size), file.mapping_size = size; /* of its exact size: reading beyond it is seen */
    memcpy(file.mapping, bytes, size);
    const int status = read(&file, &report);
    unsigned sum = 0;
    for (size_t i = 0; status == 0 && i < file.count; i++) {
        const struct flow_tensor *t = &file.entries[i].tensor;
        int64_t count;
        if (!io_bytes(t->dtype, t->rank, t->shape, &count) || strlen(file.entries[i].name) > size) abort();
        for (int64_t k = 0; k < count; k++) sum += ((const uint8_t *)t->data)[k];
    }
    if (status < 0 && status != FLOW_ERROR_MEMORY && !report.count) abort(); /* refused without a word */
    free(file.mapping);
    arena_free(&file.arena);
    report_free(&report);
    return sum == 1234567;
}

#endif
