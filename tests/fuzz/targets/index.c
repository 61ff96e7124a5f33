/* SPDX-License-Identifier: Apache-2.0 */
/* The index of plugins: the bytes are its lines; the first and the last, a hash, are made to fit, or no other line would be looked at. */
#include "plugin/source.h"
#include "targets/fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static char head[256];

static void read_head(void) {
    char path[64];
    const struct index none = {.from = &memory_default};
    snprintf(path, sizeof path, "/tmp/flow-fuzz-%ld.index", (long)getpid());
    plugin_index_write(&none, path);
    FILE *file = fopen(path, "rb");
    if (!file || !fgets(head, sizeof head, file)) abort();
    fclose(file);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static int file = -1;
    char path[64], last[32];
    if (!*head) read_head();
    if (file < 0) file = memfd_create("index", 0);
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; head[i]; i++) hash = (hash ^ (uint8_t)head[i]) * 0x100000001B3u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001B3u;
    snprintf(last, sizeof last, "end %016llx\n", (unsigned long long)hash);
    if (ftruncate(file, 0) < 0 || lseek(file, 0, SEEK_SET) < 0) abort();
    if (write(file, head, strlen(head)) < 0 || write(file, bytes, size) < 0 || write(file, last, 21) < 0) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    struct arena arena;
    struct index index;
    size_t lengths = 0;
    arena_init(&arena, &fuzz_memory);
    if (plugin_index_read(&arena, path, &index) == 0) {
        for (size_t i = 0; i < index.count; i++) {
            const struct file_key key = {.size = index.rows[i].size, .modified = index.rows[i].modified};
            if (!plugin_index_find(&index, index.rows[i].path, &key) && i == 0) abort();
            lengths += strlen(index.rows[i].offer.plugin);
            for (int kind = 0; kind < OFFER_LISTS; kind++)
                for (uint32_t k = 0; k < index.rows[i].offer.of[kind].count; k++) lengths += strlen(index.rows[i].offer.of[kind].at[k]);
        }
        plugin_index_free(&index);
    }
    arena_free(&arena);
    return lengths == 1234567;
}
