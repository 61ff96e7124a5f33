/* SPDX-License-Identifier: Apache-2.0 */
/* A target is whole or as it was. */
#include "io/io_test.h"

#include "harness/failing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

TestSuite(write, .init = io_start, .fini = io_stop, .timeout = 60);

static int files_in_folder(void) {
    int count = 0;
    DIR *stream = opendir(folder);
    for (struct dirent *row; (row = readdir(stream));) count += row->d_name[0] != '.';
    closedir(stream);
    return count;
}

Test(write, replaces_and_keeps_the_mode) {
    const char *path = put_file("a.json", "old", 3);
    size_t size;
    cr_assert_eq(chmod(path, 0640), 0);
    cr_assert_eq(file_write(path, "new text", 8, &report), 0, "%s", message());
    cr_expect_arr_eq(get_file(path, &size), "new text", 8);
    cr_expect_eq(size, 8);
    struct stat about;
    cr_assert_eq(stat(path, &about), 0);
    cr_expect_eq(about.st_mode & 0777, 0640);
    umask(027);
    cr_assert_eq(file_write(in_folder("b"), NULL, 0, &report), 0);
    cr_assert_eq(stat(in_folder("b"), &about), 0);
    cr_expect(about.st_size == 0 && (about.st_mode & 0777) == 0640);
    cr_expect_eq(files_in_folder(), 2);
}

Test(write, follows_links_and_writes_to_devices) {
    size_t size;
    cr_assert_eq(mkdir(in_folder("d"), 0755), 0);
    const char *target = put_file("d/target", "old", 3);
    cr_assert_eq(symlink("d/target", in_folder("link")), 0);
    cr_assert_eq(file_write(in_folder("link"), "new", 3, &report), 0);
    cr_expect_arr_eq(get_file(target, &size), "new", 3);
    struct stat about;
    cr_expect(lstat(in_folder("link"), &about) == 0 && S_ISLNK(about.st_mode));
    cr_expect_eq(file_write("/dev/null", "x", 1, &report), 0);
    cr_expect_eq(file_write("/dev/full", "x", 1, &report), FLOW_ERROR_IO);
    cr_expect_str_eq(message(), "cannot be written: No space left on device");
}

Test(write, says_why_not) {
    cr_expect_eq(file_write(in_folder("no/such/folder"), "x", 1, &report), FLOW_ERROR_IO);
    cr_expect_str_eq(message(), "cannot be written: No such file or directory");
    cr_expect_eq(file_write(folder, "x", 1, &report), FLOW_ERROR_IO);
    cr_expect_str_eq(message(), "cannot be written: it is a folder");
    char lengthy[5000];
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = 0;
    cr_expect_eq(file_write(lengthy, "x", 1, &report), FLOW_ERROR_IO);
    lengthy[250] = 0; /* the name fits, with its ending it would not */
    char path[512];
    snprintf(path, sizeof path, "%s/%.250s", folder, lengthy);
    cr_expect_eq(file_write(path, "x", 1, &report), FLOW_ERROR_IO);
    cr_expect_str_eq(message(), "cannot be written: File name too long");
}

/* The disk is full after so many bytes: at every stage of every format. */
Test(write, nothing_happens_when_the_disk_is_full) {
    static float values[20000];
    struct flow_tensor t = tensor_of(FLOW_F32, values, 100, 200), turned = t;
    turned.strides[0] = 1, turned.strides[1] = 100;
    const char *names[] = {"a.safetensors", "a.npy", "a.wav", "a.csv"};
    for (int i = 0; i < 4; i++) put_file(names[i], "as it was", 9);
    signal(SIGXFSZ, SIG_IGN);
    const rlim_t limits[] = {0, 5, 100, 20000, 39990};
    for (size_t k = 0; k < sizeof limits / sizeof *limits; k++)
        for (int i = 0; i < 8; i++) {
            struct rlimit before, now;
            cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
            now = before, now.rlim_cur = limits[k];
            const struct tensor_write write = {"x", i < 4 ? &t : &turned};
            const struct tensor_write_options options = {.rate = 8000};
            const char *path = in_folder(names[i % 4]);
            cr_assert_eq(setrlimit(RLIMIT_FSIZE, &now), 0);
            const int status = tensor_file_write(&memory_default, path, &write, 1, &options, &report);
            cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
            cr_expect_eq(status, FLOW_ERROR_IO, "%s at %d bytes", path, (int)limits[k]);
            cr_expect_str_eq(message(), "cannot be written: File too large");
            size_t size;
            cr_expect_arr_eq(get_file(path, &size), "as it was", 9);
            cr_expect_eq(size, 9);
            cr_expect_eq(files_in_folder(), 4, "no temporary file is left");
        }
}

/* Many writers of one file: always one of theirs, whole. */
Test(write, at_the_same_time) {
    static char bytes[50000];
    const char *path = put_file("a", "0", 1);
    for (int child = 0; child < 4; child++)
        if (fork() == 0) {
            memset(bytes, 'a' + child, sizeof bytes);
            for (int i = 0; i < 50; i++)
                if (file_write(path, bytes, sizeof bytes, &report) < 0) _exit(1);
            _exit(0);
        }
    for (int i = 0; i < 200; i++) {
        size_t size;
        const unsigned char *got = get_file(path, &size);
        cr_assert(size == 1 || size == sizeof bytes);
        cr_assert(size == 1 || (got[0] == got[size - 1] && got[0] == got[size / 2]));
    }
    for (int child = 0; child < 4; child++) {
        int status;
        wait(&status);
        cr_expect_eq(status, 0);
    }
    cr_expect_eq(files_in_folder(), 1);
}

/* Every request for memory fails once, in reading and writing each format. */
Test(write, memory_runs_out) {
    float values[6] = {1, 2, 3, 4, 5, 6};
    struct flow_tensor t = {.data = values, .dtype = FLOW_F32, .rank = 2, .shape = {2, 3}, .strides = {3, 1}};
    const struct tensor_write writes[] = {{"x", &t}, {"y", &t}};
    const struct tensor_write_options options = {.rate = 8000, .metadata = (const char *const[]){"a", "b", NULL}};
    const char *names[] = {"a.safetensors", "a.npy", "a.wav", "a.csv"};
    put_file("b.csv", "a,b\n1,2\n", 8);
    put_file("f.npy", "\x93NUMPY\x01\0\x3e\0{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }    abcd", 76);
    for (int i = 0; i < 6; i++) {
        const char *path = in_folder(i < 4 ? names[i] : i == 4 ? "b.csv" : "f.npy");
        for (long at = 1;; at++) {
            struct failing counted = FAILING_INIT;
            counted.fail_at = at;
            const struct allocator from = failing_allocator(&counted);
            struct report mine;
            report_init(&mine, &from);
            int status = i < 4 ? tensor_file_write(&from, path, writes, i == 0 ? 2 : 1, &options, &mine) : 0;
            struct tensor_file *file = NULL;
            if (status == 0) status = tensor_file_open(&from, path, &mine, &file);
            cr_assert(status == 0 || status == FLOW_ERROR_MEMORY, "%s, request %ld: %d", path, at, status);
            cr_assert(status == 0 || counted.requests >= at);
            tensor_file_close(file);
            report_free(&mine);
            cr_assert_eq(counted.blocks, 0, "%s, request %ld", path, at);
            cr_assert_not(counted.wrong_size);
            if (counted.requests < at) break;
        }
    }
    cr_expect_eq(files_in_folder(), 6);
}
