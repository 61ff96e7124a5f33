/* SPDX-License-Identifier: Apache-2.0 */
/* A model, and the same with its external data looked for. */
#include "onnx/import.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char *const set[] = {"N=3", "sr=16000"};
    const struct onnx_options options = {.folder = "/nonexistent", .set = set, .set_count = 2};
    struct onnx_result made = {0};
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, bytes, size);
    const int status = onnx_import(exact, size, size % 2 ? &options : NULL, &made);
    if (status == 0 && (!made.yaml || strlen(made.yaml) != made.yaml_size)) abort();
    if (status == FLOW_ERROR_UNSUPPORTED && !made.refusal_count) abort(); /* refused without a word */
    onnx_result_free(&made);
    free(exact);
    return 0;
}
