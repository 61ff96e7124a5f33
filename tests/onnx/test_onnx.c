/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged models: whatever the bytes are, onnx_import answers in time, and what it says it read is a graph. */
#include <criterion/criterion.h>

#ifdef FLOWRUN_ONNX
#include "onnx/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef ROUNDS
#define ROUNDS 400 /* of each model; more by hand */
#endif

static const char *const models[] = {"elementwise_21", "gru_17",        "norms_13",  "products_17",
                                     "recurrent_13",   "reductions_21", "shapes_17", "shapes_21"};
enum { MODELS = sizeof models / sizeof *models };

static uint8_t *read_model(const char *name, size_t *size) {
    char path[600];
    snprintf(path, sizeof path, "%s/tests/onnx/%s.onnx", SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    cr_assert(file, "%s", path);
    uint8_t *bytes = malloc(1 << 16);
    cr_assert(bytes);
    *size = fread(bytes, 1, 1 << 16, file);
    fclose(file);
    return bytes;
}

/* The bytes in a block of exactly their size, so that a sanitizer sees any read beyond. */
static int attempt(const uint8_t *bytes, size_t size) {
    struct onnx_result made;
    uint8_t *exact = malloc(size ? size : 1);
    cr_assert(exact);
    memcpy(exact, bytes, size);
    int rc = onnx_import(exact, size, NULL, &made);
    cr_assert(rc == 0 || rc == FLOW_ERROR_FORMAT || rc == FLOW_ERROR_UNSUPPORTED || rc == FLOW_ERROR_MEMORY, "%d", rc);
    cr_assert((rc == 0) == (made.yaml != NULL));
    cr_assert(rc == 0 || made.refusal_count > 0);
    onnx_result_free(&made);
    free(exact);
    return rc;
}

Test(onnx, whole_models_are_read) {
    for (int i = 0; i < MODELS; i++) {
        size_t size;
        uint8_t *bytes = read_model(models[i], &size);
        cr_assert_eq(attempt(bytes, size), 0, "%s", models[i]);
        free(bytes);
    }
}

Test(onnx, truncated_models_are_answered) {
    for (int i = 0; i < MODELS; i++) {
        size_t size;
        uint8_t *bytes = read_model(models[i], &size);
        for (size_t length = 0; length < size; length += 1 + length / 16) cr_assert(attempt(bytes, length) < 0);
        free(bytes);
    }
}

static uint64_t draw(uint64_t *state) { /* xorshift64 */
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

/* Bits flipped, bytes set to what lengths and numbers are dangerous at, stretches copied over others. */
Test(onnx, changed_models_are_answered) {
    static const uint8_t sharp[] = {0, 1, 0x7f, 0x80, 0xff, 8, 0x12, 0x1a};
    uint64_t state = 88172645463325252u;
    int read = 0;
    for (int i = 0; i < MODELS; i++) {
        size_t size;
        uint8_t *bytes = read_model(models[i], &size), *changed = malloc(size);
        cr_assert(changed);
        for (int round = 0; round < ROUNDS; round++) {
            memcpy(changed, bytes, size);
            for (uint64_t n = 1 + draw(&state) % 4; n > 0; n--) {
                size_t at = draw(&state) % size, from = draw(&state) % size, length = 1 + draw(&state) % 24;
                switch (draw(&state) % 3) {
                case 0: changed[at] = (uint8_t)(changed[at] ^ 1u << draw(&state) % 8); break;
                case 1: changed[at] = sharp[draw(&state) % sizeof sharp]; break;
                default:
                    if (at + length <= size && from + length <= size) memmove(changed + at, changed + from, length);
                }
            }
            read += attempt(changed, size) == 0;
        }
        free(changed);
        free(bytes);
    }
    cr_assert(read > 100, "only %d changed models were read at all: the changes find nothing", read);
}
#else
Test(onnx, built_without) { cr_assert(1); }
#endif
