/* SPDX-License-Identifier: Apache-2.0 */
#include "io/json.h"
#include "targets/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct arena arena;
    struct json json;
    char *text = malloc(size + 1);
    memcpy(text, bytes, size);
    char *exact = realloc(text, size ? size : 1);
    arena_init(&arena, &fuzz_memory);
    io_json_init(&json, &arena, exact, size);
    if (!(io_json_skip(&json) && io_json_finish(&json)) && !json.error && !json.no_memory) abort();
    io_json_init(&json, &arena, exact, size);
    bool first = true;
    int64_t number;
    if (io_json_open(&json, '['))
        while (io_json_more(&json, ']', &first))
            if (!io_json_integer(&json, &number)) break;
    arena_free(&arena);
    free(exact);
    return 0;
}
