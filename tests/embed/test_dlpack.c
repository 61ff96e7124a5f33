/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/trial.h"

#include <criterion/criterion.h>
#include <flow/dlpack.h>

static struct flow_dlpack_tensor tensor_of(void *data, uint8_t kind, uint8_t bits, int32_t rank, int64_t *shape, int64_t *strides) {
    return (struct flow_dlpack_tensor){
        .data = data, .device = {FLOW_DLPACK_CPU, 0}, .rank = rank, .type = {kind, bits, 1}, .shape = shape, .strides = strides};
}

static void refused(const struct flow_dlpack_tensor *t, int code, const char *words) {
    struct flow_dlpack_managed managed = {.tensor = *t};
    struct flow_tensor out;
    flow_errors *errors = NULL;
    cr_assert(flow_tensor_from_dlpack(&managed, &errors, &out) == code);
    cr_assert(strstr(flow_errors_get(errors, 0).text, words), "%s", flow_errors_get(errors, 0).text);
    flow_errors_free(errors);
}

Test(dlpack, types_go_in_and_out) {
    static const struct {
        int32_t dtype;
        uint8_t kind, bits;
    } rows[] = {{FLOW_F64, FLOW_DLPACK_FLOAT, 64},   {FLOW_F32, FLOW_DLPACK_FLOAT, 32}, {FLOW_F16, FLOW_DLPACK_FLOAT, 16},
                {FLOW_BF16, FLOW_DLPACK_BFLOAT, 16}, {FLOW_I64, FLOW_DLPACK_INT, 64},   {FLOW_I32, FLOW_DLPACK_INT, 32},
                {FLOW_U8, FLOW_DLPACK_UINT, 8},      {FLOW_BOOL, FLOW_DLPACK_BOOL, 8}};
    static int64_t data[8];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct flow_dlpack_managed in = {.tensor = tensor_of(data, rows[i].kind, rows[i].bits, 1, (int64_t[]){3}, NULL)};
        struct flow_dlpack_versioned *out;
        struct flow_tensor t;
        cr_assert(flow_tensor_from_dlpack(&in, NULL, &t) == 0 && t.dtype == rows[i].dtype && t.data == data && t.shape[0] == 3);
        cr_assert(flow_tensor_to_dlpack_versioned(&t, FLOW_DLPACK_READ_ONLY, NULL, NULL, NULL, &out) == 0);
        cr_assert(out->version.major == 1 && out->flags == 1 && out->tensor.data == data && out->tensor.type.kind == rows[i].kind);
        cr_assert(out->tensor.type.bits == rows[i].bits && out->tensor.type.lanes == 1 && out->tensor.strides[0] == 1);
        out->deleter(out);
    }
}

Test(dlpack, strides_and_offsets_are_kept) {
    float data[] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct flow_dlpack_versioned in = {.version = {1, 3},
                                       .flags = FLOW_DLPACK_READ_ONLY,
                                       .tensor = tensor_of(data, FLOW_DLPACK_FLOAT, 32, 2, (int64_t[]){2, 3}, (int64_t[]){1, 2})};
    in.tensor.byte_offset = 4;
    struct flow_tensor t;
    cr_assert(flow_tensor_from_dlpack_versioned(&in, NULL, &t) == 0);
    cr_assert(flow_tensor_real(&t, 0) == 1 && flow_tensor_real(&t, 1) == 3 && flow_tensor_real(&t, 5) == 6);
    struct flow_dlpack_managed *copy;
    cr_assert(flow_tensor_to_dlpack(&t, FLOW_DLPACK_COPY, NULL, NULL, NULL, &copy) == 0);
    const float *made = copy->tensor.data;
    cr_assert(made != data && made[1] == 3 && made[5] == 6 && copy->tensor.strides[0] == 3 && (uintptr_t)made % 64 == 0);
    copy->deleter(copy);
    /* backwards, and one number everywhere */
    in.tensor.byte_offset = 20, in.tensor.strides = (int64_t[]){0, -1};
    cr_assert(flow_tensor_from_dlpack_versioned(&in, NULL, &t) == 0);
    cr_assert(flow_tensor_real(&t, 0) == 5 && flow_tensor_real(&t, 2) == 3 && flow_tensor_real(&t, 5) == 3);
    in.version.major = 2;
    flow_errors *errors = NULL;
    cr_assert(flow_tensor_from_dlpack_versioned(&in, &errors, &t) == FLOW_ERROR_UNSUPPORTED && errors);
    flow_errors_free(errors);
}

Test(dlpack, what_cannot_be_read_is_refused) {
    float data[4];
    int64_t shape[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    struct flow_dlpack_tensor good = tensor_of(data, FLOW_DLPACK_FLOAT, 32, 1, shape, NULL), t = good;
    t.device.kind = 2;
    refused(&t, FLOW_ERROR_UNSUPPORTED, "device kind 2");
    t = good, t.type.bits = 8;
    refused(&t, FLOW_ERROR_TYPE, "8 bits");
    t = good, t.type.lanes = 4;
    refused(&t, FLOW_ERROR_TYPE, "4 lanes");
    t = good, t.type.kind = 5, t.type.bits = 64;
    refused(&t, FLOW_ERROR_TYPE, "complex");
    t = good, t.type.kind = 200;
    refused(&t, FLOW_ERROR_TYPE, "unknown");
    t = good, t.rank = 9;
    refused(&t, FLOW_ERROR_SHAPE, "9 axes");
    t = good, t.rank = -1;
    refused(&t, FLOW_ERROR_SHAPE, "-1 axes");
    t = good, t.shape = (int64_t[]){-4};
    refused(&t, FLOW_ERROR_SHAPE, "extent -4");
    t = good, t.rank = 2, t.shape = (int64_t[]){INT64_MAX / 2, 3};
    refused(&t, FLOW_ERROR_SHAPE, "overflow");
    t = good, t.data = NULL;
    refused(&t, FLOW_ERROR_USAGE, "no data");
    struct flow_dlpack_managed empty = {.tensor = tensor_of(NULL, FLOW_DLPACK_FLOAT, 32, 1, (int64_t[]){0}, NULL)}, *out;
    struct flow_tensor taken;
    cr_assert(flow_tensor_from_dlpack(&empty, NULL, &taken) == 0 && flow_tensor_count(&taken) == 0);
    cr_assert(flow_tensor_to_dlpack(&taken, FLOW_DLPACK_READ_ONLY, NULL, NULL, NULL, &out) == FLOW_ERROR_USAGE && !out);
    cr_assert(flow_tensor_to_dlpack(&taken, FLOW_DLPACK_COPY, NULL, NULL, NULL, &out) == 0 && out->tensor.shape[0] == 0);
    out->deleter(out);
    taken.device = FLOW_DEVICE_CUDA;
    cr_assert(flow_tensor_to_dlpack(&taken, 0, NULL, NULL, NULL, &out) == FLOW_ERROR_UNSUPPORTED);
}

static void release(void *owner) { ++*(int *)owner; }

Test(dlpack, a_session_takes_and_gives_them) {
    static const char text[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [A, B]}}\nnodes: {y: {op: square, in: x}}\noutputs: {y: y}\n";
    flow_runtime *runtime;
    flow_graph *graph;
    flow_session *session;
    float data[] = {1, 2, 3, 4, 5, 6};
    int released = 0;
    struct flow_dlpack_managed in = {.tensor = tensor_of(data, FLOW_DLPACK_FLOAT, 32, 2, (int64_t[]){2, 3}, (int64_t[]){1, 2})}, *shown,
                               *kept;
    struct flow_tensor x;
    cr_assert(flow_runtime_new(NULL, NULL, &runtime) == 0 && flow_graph_parse(runtime, "t", text, strlen(text), NULL, NULL, &graph) == 0);
    cr_assert(flow_session_new(graph, NULL, NULL, &session) == 0 && flow_tensor_from_dlpack(&in, NULL, &x) == 0);
    cr_assert(flow_session_input(session, "x", &x, NULL) == 0 && flow_session_run(session, NULL) == 0);
    const struct flow_tensor *y = flow_session_output(session, "y");
    cr_assert(flow_tensor_to_dlpack(y, 0, &released, release, NULL, &shown) == 0 && released == 0);
    cr_assert(flow_tensor_to_dlpack(y, FLOW_DLPACK_COPY, &released, release, NULL, &kept) == 0 && released == 1);
    cr_assert(shown->tensor.data == y->data && ((float *)shown->tensor.data)[1] == 9);
    shown->deleter(shown);
    cr_assert(released == 2);
    flow_session_free(session), flow_graph_free(graph), flow_runtime_free(runtime);
    cr_assert(((float *)kept->tensor.data)[5] == 36);
    kept->deleter(kept); /* after the runtime is gone */
    cr_assert(released == 2);
}
