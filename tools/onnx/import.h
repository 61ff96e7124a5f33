/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ONNX model as a graph of this language: bytes in, YAML and weights out. Uses flow.h and protobuf-c alone; touches no file but
 * external data inside `folder`.
 *
 * Bytes may be anything: whatever they are, the answer comes in time and memory in proportion to them (a target for fuzzing calls
 * onnx_import(bytes, size, NULL, &made) and then onnx_result_free(&made)).
 */
#ifndef TOOLS_ONNX_IMPORT_H
#define TOOLS_ONNX_IMPORT_H

#include <flow/flow.h>

struct onnx_options {
    const char *title;        /* the graph's name; NULL: "model" */
    const char *weights_file; /* as the graph names it; NULL: "model.safetensors" */
    const char *folder;       /* of the model, where its external data lies; NULL: external data is refused */
    const char *const *set;   /* "NAME=VALUE": a number for a symbol of a shape or for a scalar input */
    size_t set_count;
    const char *const *state; /* "IN=OUT": output OUT of a run is input IN of the next */
    size_t state_count;
};

struct onnx_weight {
    const char *name; /* NODE.PARAM */
    struct flow_tensor tensor;
};

/* Everything lies in `room`, freed by onnx_result_free. */
struct onnx_result {
    char *yaml; /* NULL where the import failed */
    size_t yaml_size;
    struct onnx_weight *weights;
    size_t weight_count;
    const char *const *refusals; /* why not: of a node "name (Op): reason" */
    size_t refusal_count;
    const char *const *hints; /* what a person may want to do next */
    size_t hint_count;
    size_t node_count, source_count; /* nodes written, nodes of the model */
    void *room;
};

/* 0; FLOW_ERROR_FORMAT: no ONNX model, or damaged; FLOW_ERROR_UNSUPPORTED: the refusals say what is not covered; FLOW_ERROR_MEMORY. */
int onnx_import(const uint8_t *bytes, size_t size, const struct onnx_options *options, struct onnx_result *out);
void onnx_result_free(struct onnx_result *result);

#endif
