/* SPDX-License-Identifier: Apache-2.0 */
/* Files that become shorter while they are open: an error or what was read, never a signal. */
#include "io/io_test.h"

#include <sys/wait.h>

TestSuite(shrinking, .init = io_start, .fini = io_stop, .timeout = 60);

/* [1 << 20] f32 that count up, in `name`. */
static const char *large(const char *name) {
    static float numbers[1 << 20];
    for (int i = 0; i < 1 << 20; i++) numbers[i] = (float)i;
    const struct flow_tensor t = tensor_of(FLOW_F32, numbers, 1 << 20, -1);
    const struct tensor_write write = {"x", &t};
    cr_assert_eq(tensor_file_write(&memory_default, in_folder(name), &write, 1, NULL, &report), 0, "%s", message());
    return in_folder(name);
}

Test(shrinking, what_was_read_stays) {
    const char *const names[] = {"x.safetensors", "x.npy"};
    for (int i = 0; i < 2; i++) {
        struct tensor_file *file = opened(large(names[i]));
        cr_assert_eq(truncate(in_folder(names[i]), 100), 0);
        const struct flow_tensor *x = &file->entries[0].tensor;
        cr_expect_eq(((const float *)x->data)[(1 << 20) - 1], (float)((1 << 20) - 1));
        tensor_file_close(file);
        refused(in_folder(names[i]), FLOW_ERROR_FORMAT, "");
    }
}

/* Another process cuts and restores the file all the time. */
Test(shrinking, while_it_is_read) {
    const char *path = large("x.npy");
    const pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0)
        for (;;)
            if (truncate(path, 5000) < 0 || truncate(path, 128 + (4 << 20)) < 0) _exit(1);
    for (int i = 0; i < 300; i++) {
        struct tensor_file *file;
        const int status = tensor_file_open(&memory_default, path, &report, &file);
        cr_expect(status == 0 || status == FLOW_ERROR_FORMAT, "status %d: %s", status, message());
        float sum = 0;
        for (int k = 0; status == 0 && k < 1 << 20; k += 512) sum += ((const float *)file->entries[0].tensor.data)[k];
        cr_expect(sum >= 0);
        tensor_file_close(file);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* Of a table only the header is read: where the rest is gone by then, opening it does not care. */
Test(shrinking, a_table_is_only_a_place) {
    struct tensor_file *file;
    const char *path = large("x.npy");
    cr_assert_eq(tensor_file_map(&memory_default, path, &report, &file), 0, "%s", message());
    cr_assert_eq(truncate(path, 128), 0);
    cr_expect(file->mapped);
    cr_expect_eq((const char *)file->entries[0].tensor.data - (const char *)file->mapping, 128);
    cr_expect_eq(file->entries[0].tensor.shape[0], 1 << 20);
    tensor_file_close(file);
}

/* What a place cannot tell is read: columns first, and numbers that are not aligned. */
Test(shrinking, tables_that_are_read) {
    const char fortran[] = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }";
    unsigned char bytes[10 + sizeof fortran - 1 + 16] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, sizeof fortran - 1, 0};
    const float numbers[] = {1, 2, 3, 4};
    memcpy(bytes + 10, fortran, sizeof fortran - 1);
    memcpy(bytes + 10 + sizeof fortran - 1, numbers, sizeof numbers);
    struct tensor_file *file;
    cr_assert_eq(tensor_file_map(&memory_default, put_file("f.npy", bytes, sizeof bytes), &report, &file), 0, "%s", message());
    cr_expect(!file->mapped);
    cr_expect_eq(((const float *)file->entries[0].tensor.data)[1], 3);
    tensor_file_close(file);

    const char header[] = "{\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}"; /* of odd length */
    unsigned char odd[8 + sizeof header - 1 + 16] = {sizeof header - 1};
    cr_assert((8 + sizeof header - 1) % 4 != 0);
    memcpy(odd + 8, header, sizeof header - 1);
    memcpy(odd + 8 + sizeof header - 1, numbers, sizeof numbers);
    cr_assert_eq(tensor_file_map(&memory_default, put_file("o.safetensors", odd, sizeof odd), &report, &file), 0, "%s", message());
    cr_expect(!file->mapped);
    cr_expect_eq(((const float *)tensor_file_get(file, "x")->data)[3], 4);
    tensor_file_close(file);
}
