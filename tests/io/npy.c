/* SPDX-License-Identifier: Apache-2.0 */
#include "io/io_test.h"

TestSuite(npy, .init = io_start, .fini = io_stop, .timeout = 60);

/* A file of this version and header, then `data` bytes. */
static const char *made(int version, const char *header, const void *data, size_t size) {
    unsigned char bytes[2048] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0};
    const size_t length = strlen(header), start = version == 1 ? 10 : 12;
    bytes[8] = (unsigned char)length, bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + start, header, length);
    if (size) memcpy(bytes + start + length, data, size);
    return put_file("a.npy", bytes, start + length + size);
}

static const float six[6] = {1, 2, 3, 4, 5, 6};

Test(npy, reads_all_versions) {
    for (int version = 1; version <= 3; version++) {
        struct tensor_file *file =
            opened(made(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }      \n", six, sizeof six));
        const struct flow_tensor *t = tensor_file_get(file, "");
        cr_assert(t && t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->strides[0] == 3);
        cr_expect_eq((uintptr_t)t->data % 4, 0);
        cr_expect_arr_eq(t->data, six, sizeof six);
        tensor_file_close(file);
    }
}

Test(npy, fortran_order_is_turned) {
    struct tensor_file *file = opened(made(1, "{\"shape\":(3,2),\"descr\":\"<f4\",\"fortran_order\":True}", six, sizeof six));
    const float wanted[6] = {1, 4, 2, 5, 3, 6};
    cr_expect_arr_eq(tensor_file_get(file, "")->data, wanted, sizeof wanted);
    cr_expect_eq(tensor_file_get(file, "")->strides[0], 2);
    tensor_file_close(file);
}

Test(npy, shapes) {
    const struct {
        const char *text;
        int rank;
        int64_t first;
    } shapes[] = {{"()", 0, 0}, {"(1,)", 1, 1}, {"(1L,)", 1, 1}, {"( 1 , 1 )", 2, 1}, {"(1,1,1,)", 3, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char header[128];
        snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': %s}\n", shapes[i].text);
        struct tensor_file *file = opened(made(1, header, six, 4));
        cr_expect_eq(tensor_file_get(file, "")->rank, shapes[i].rank);
        tensor_file_close(file);
    }
}

#define REFUSED(code, header, size, words) refused(made(1, header, six, size), code, words)

Test(npy, refuses) {
    REFUSED(FLOW_ERROR_UNSUPPORTED, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", 4, "'>f4', big-endian");
    REFUSED(FLOW_ERROR_UNSUPPORTED, "{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", 8, "its elements are '<c8'");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': [('a','<f4')], 'fortran_order': False, 'shape': (1,)}", 4, "records");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", 8,
            "need 12 bytes, behind the header there are 8");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 8, "need 4 bytes, behind the header there are 8");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", 4, "expected ','");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 4, "expected an extent");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4, "expected True or False");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'shape': (1,)}", 4, "is missing");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "'descr' is given twice");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 4,
            "expected 'descr', 'fortran_order' or 'shape'");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} import os", 4, "something follows");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 4, "an extent is too large");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296)}", 4,
            "more elements than can be counted");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", 4, "more than 8 axes");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '|b1', 'fortran_order': False, 'shape': (4,)}", 4, "a bool is 0 or 1");
    REFUSED(FLOW_ERROR_FORMAT, "{'descr': '<f4", 4, "a word does not end");
    refused(made(4, "{}", NULL, 0), FLOW_ERROR_FORMAT, "is of npy version 4.0");
    refused(put_file("a.npy", "\x93NUMPY\x01\x00\xFF\x00{}", 12), FLOW_ERROR_FORMAT, "the header claims 255 bytes, the file has 2");
    refused(put_file("a.npy", "hello, world", 12), FLOW_ERROR_FORMAT, "is not an npy file");
}

Test(npy, writes_and_reads_again) {
    const int32_t types[] = {FLOW_F32, FLOW_F16, FLOW_F64, FLOW_I32, FLOW_I64, FLOW_U8, FLOW_BOOL};
    unsigned char bytes[6 * 8];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i % 2);
    for (int rank = 0; rank <= 8; rank++)
        for (size_t i = 0; i < 7; i++) {
            struct flow_tensor t = {.data = bytes, .dtype = types[i], .rank = rank};
            for (int k = 0; k < rank; k++) t.shape[k] = k == rank - 1 ? 6 : 1, t.strides[k] = 1;
            const struct tensor_write write = {NULL, &t};
            cr_assert_eq(tensor_file_write(&memory_default, in_folder("w.npy"), &write, 1, NULL, &report), 0, "%s", message());
            struct tensor_file *file = opened(in_folder("w.npy"));
            const struct flow_tensor *back = tensor_file_get(file, "");
            cr_expect(back->rank == rank && back->dtype == types[i] && (rank == 0 || back->shape[rank - 1] == 6));
            cr_expect_arr_eq(back->data, bytes, (size_t)((rank ? 6 : 1) * dtype_bytes(types[i])));
            cr_expect_eq(((uintptr_t)back->data - (uintptr_t)file->mapping) % 64, 0, "as numpy aligns");
            tensor_file_close(file);
        }
    struct flow_tensor t = tensor_of(FLOW_BF16, bytes, 3, -1);
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("b.npy"), &(struct tensor_write){NULL, &t}, 1, NULL, &report),
                 FLOW_ERROR_UNSUPPORTED);
    cr_expect_str_eq(message(), "npy has no type for bf16");
}
