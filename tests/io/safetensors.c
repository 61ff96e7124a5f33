/* SPDX-License-Identifier: Apache-2.0 */
#include "io/io_test.h"

TestSuite(safetensors, .init = io_start, .fini = io_stop, .timeout = 60);

/* A file of this header and `data` bytes that count up from 0. */
static const char *made(const char *header, size_t data) {
    unsigned char bytes[4096] = {0};
    const size_t length = strlen(header);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(length >> (8 * i));
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data; i++) bytes[8 + length + i] = (unsigned char)i;
    return put_file("a.safetensors", bytes, 8 + length + data);
}

Test(safetensors, reads_entries_by_name) {
    struct tensor_file *file = opened(
        made("{\"b\":{\"dtype\":\"I32\",\"shape\":[2,1],\"data_offsets\":[4,12]},\"__metadata__\":{\"z\":\"last\",\"a\":\"\\u00e9\\n\"},"
             "\"a.w\":{\"shape\":[],\"data_offsets\":[0,4],\"dtype\":\"F32\",\"more\":[1.5e3,{\"x\":null}]},\"e\":{\"dtype\":\"U8\","
             "\"shape\":[0,7],\"data_offsets\":[12,12]}}   ",
             12));
    cr_assert_eq(file->count, 3);
    cr_expect_str_eq(file->entries[0].name, "a.w");
    cr_expect_eq(file->entries[0].tensor.rank, 0);
    const struct flow_tensor *b = tensor_file_get(file, "b"), *e = tensor_file_get(file, "e");
    cr_assert(b && e);
    cr_expect(b->rank == 2 && b->shape[0] == 2 && b->strides[0] == 1 && b->dtype == FLOW_I32);
    cr_expect_eq((uintptr_t)b->data % 4, 0, "aligned, wherever it lay in the file");
    cr_expect_eq(((int32_t *)b->data)[1], 0x0b0a0908);
    cr_expect(e->rank == 2 && e->shape[1] == 7);
    cr_expect_null(tensor_file_get(file, "c"));
    cr_expect_str_eq(tensor_file_metadata(file, "a"), "\xC3\xA9\n");
    cr_expect_str_eq(tensor_file_metadata(file, "z"), "last");
    cr_expect_null(tensor_file_metadata(file, "q"));
    tensor_file_close(file);
}

Test(safetensors, empty_file_of_tensors) {
    struct tensor_file *file = opened(made("{}", 0));
    cr_expect_eq(file->count, 0);
    tensor_file_close(file);
}

#define ONE(type, shape, from, to) "{\"x\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}}"
#define REFUSED(header, data, words) refused(made(header, data), FLOW_ERROR_FORMAT, words)

Test(safetensors, refuses_what_does_not_fit) {
    REFUSED(ONE("F32", "[2]", "0", "8"), 7, "tensor 'x': lies at bytes 0 to 8 of the data, which have 7 bytes");
    REFUSED(ONE("F32", "[2]", "8", "0"), 8, "lies at bytes 8 to 0");
    REFUSED(ONE("F32", "[3]", "0", "8"), 8, "tensor 'x': has 8 bytes, its shape and type say 12");
    REFUSED(ONE("F8_E4M3", "[8]", "0", "8"), 8, "tensor 'x': is of type 'F8_E4M3': F32 F16");
    REFUSED(ONE("F32", "[2]", "0", "8"), 9, "1 bytes at the end belong to no tensor");
    REFUSED(ONE("F32", "[1]", "4", "8"), 8, "begins at byte 4 of the data: bytes from 0 on belong to nothing");
    REFUSED(ONE("F32", "[4294967296,4294967296,2]", "0", "8"), 8, "more elements than can be counted");
    REFUSED(ONE("F32", "[0,4611686018427387904,4611686018427387904]", "0", "0"), 0, "more elements than can be counted");
    REFUSED(ONE("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4"), 4, "more than 8 axes");
    REFUSED(ONE("F32", "[-1]", "0", "4"), 4, "expected a whole number that is not negative");
    REFUSED(ONE("F32", "[1.0]", "0", "4"), 4, "expected a whole number");
    REFUSED(ONE("F32", "[99999999999999999999]", "0", "4"), 4, "a number is too large");
    REFUSED(ONE("BOOL", "[3]", "0", "3"), 3, "holds 2 as its element 2: a bool is 0 or 1");
    REFUSED("{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,7]}}",
            7, "begins at byte 3 of the data, inside tensor 'x'");
    REFUSED("{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
            2, "tensor 'x': is there twice");
    REFUSED("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "metadata 'a' is there twice");
    REFUSED("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "'__metadata__' is given twice");
    REFUSED("{\"__metadata__\":{\"a\":1}}", 0, "expected a string");
    REFUSED("{\"x\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
            "tensor 'x': the header is wrong at byte 35: 'dtype' is given twice");
    REFUSED("{\"x\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "tensor 'x': has no 'data_offsets'");
    REFUSED("{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "more than two");
    REFUSED("{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "less than two");
}

Test(safetensors, refuses_what_is_not_json) {
    REFUSED("", 0, "the header is wrong at byte 8: expected an object");
    REFUSED("[]", 0, "expected an object");
    REFUSED("{", 0, "expected a string");
    REFUSED("{\"x\":1}", 0, "expected an object");
    REFUSED("{,}", 0, "expected a string");
    REFUSED("{} x", 0, "something follows the end");
    REFUSED("{\"a\\ud800\":{}}", 0, "a wrong escape");
    REFUSED("{\"a\\u0000\":{}}", 0, "a string holds a zero character");
    REFUSED("{\"\xC0\x80\":{}}", 0, "a string is not UTF-8");
    REFUSED("{\"a\tb\":{}}", 0, "a control character");
    REFUSED("{\"a", 0, "a string does not end");
    REFUSED("{\"x\":{\"q\":01}}", 0, "expected a value");
    REFUSED("{\"x\":{\"q\":1.}}", 0, "a number ends with its point");
    REFUSED("{\"x\":{\"q\":tru}}", 0, "expected a value");
    REFUSED("{\"x\":{\"q\":[1 2]}}", 0, "expected ',' or ']'");
    REFUSED("{\"x\":{},}", 0, "expected a string");
    char deep[2048] = "{\"x\":{\"q\":";
    memset(deep + strlen(deep), '[', 1000);
    REFUSED(deep, 0, "nested too deeply");
}

Test(safetensors, refuses_what_is_no_file_of_this_kind) {
    refused(put_file("a.safetensors", "1234", 4), FLOW_ERROR_FORMAT, "the file has 4 bytes");
    refused(put_file("a.safetensors", "", 0), FLOW_ERROR_FORMAT, "the file is empty");
    refused(put_file("a.safetensors", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10), FLOW_ERROR_FORMAT,
            "the header claims 18446744073709551615 bytes");
    refused(put_file("a.safetensors", "\x20\0\0\0\0\0\0\0{}", 10), FLOW_ERROR_FORMAT, "the header claims 32 bytes, the file has 2");
    refused(in_folder("none.safetensors"), FLOW_ERROR_IO, "cannot be opened: No such file or directory");
    refused(put_file("a.onnx", "x", 1), FLOW_ERROR_USAGE, ".safetensors, .npy, .wav and .csv are known");
    char under[128];
    snprintf(under, sizeof under, "%s/x.npy", folder);
    cr_assert_eq(mkdir(under, 0700), 0);
    refused(under, FLOW_ERROR_IO, "is a folder");
}

Test(safetensors, writes_and_reads_again) {
    float f[6] = {1, 2, 3, 4, 5, 6};
    int64_t i = -7;
    uint8_t bools[3] = {1, 0, 1};
    struct flow_tensor turned = {.data = f, .dtype = FLOW_F32, .rank = 2, .shape = {3, 2}, .strides = {1, 3}}; /* [2, 3] transposed */
    struct flow_tensor number = {.data = &i, .dtype = FLOW_I64, .rank = 0}, flags = tensor_of(FLOW_BOOL, bools, 3, -1),
                       none = tensor_of(FLOW_F64, NULL, 0, 4);
    const struct tensor_write writes[] = {{"z \"odd\" \xC3\xA9", &turned}, {"flags", &flags}, {"number", &number}, {"a.none", &none}};
    const struct tensor_write_options options = {.metadata = (const char *const[]){"rtol", "1e-5", "who", "me \\ \"you\"", NULL}};
    cr_assert_eq(tensor_file_write(&memory_default, in_folder("w.safetensors"), writes, 4, &options, &report), 0, "%s", message());
    size_t size;
    const unsigned char *bytes = get_file(in_folder("w.safetensors"), &size);
    cr_expect_eq(bytes[0] % 8, 0, "the header is padded");
    struct tensor_file *file = opened(in_folder("w.safetensors"));
    cr_assert_eq(file->count, 4);
    const char *names[] = {"a.none", "flags", "number", "z \"odd\" \xC3\xA9"};
    for (int k = 0; k < 4; k++) cr_expect_str_eq(file->entries[k].name, names[k]);
    for (int k = 0; k < 4; k++)
        cr_expect_eq((uintptr_t)file->entries[k].tensor.data % 8 % (uintptr_t)dtype_bytes(file->entries[k].tensor.dtype), 0);
    const float wanted[6] = {1, 4, 2, 5, 3, 6};
    cr_expect_arr_eq(tensor_file_get(file, names[3])->data, wanted, sizeof wanted);
    cr_expect_eq(*(int64_t *)tensor_file_get(file, "number")->data, -7);
    cr_expect_arr_eq(tensor_file_get(file, "flags")->data, bools, 3);
    cr_expect_eq(tensor_file_get(file, "a.none")->shape[1], 4);
    cr_expect_str_eq(tensor_file_metadata(file, "who"), "me \\ \"you\"");
    tensor_file_close(file);
    const struct tensor_write twice[] = {{"x", &number}, {"x", &number}};
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("t.safetensors"), twice, 2, NULL, &report), FLOW_ERROR_USAGE);
    cr_expect_str_eq(message(), "two tensors are called 'x'");
    cr_expect_neq(access(in_folder("t.safetensors"), F_OK), 0);
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("n.safetensors"), NULL, 0, NULL, &report), 0);
    tensor_file_close(opened(in_folder("n.safetensors")));
}
