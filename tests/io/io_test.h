/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this room share: a folder of their own, files made of bytes, the last message. */
#ifndef FLOW_TESTS_IO_TEST_H
#define FLOW_TESTS_IO_TEST_H

#include "io/io.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct report report;

static inline const char *in_folder(const char *name) {
    static char path[8][512];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static inline void io_start(void) {
    strcpy(folder, "/tmp/flow-io-XXXXXX");
    cr_assert(mkdtemp(folder));
    report_init(&report, &memory_default);
}

static inline void io_stop(void) {
    char command[128];
    report_free(&report);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

static inline const char *put_file(const char *name, const void *bytes, size_t size) {
    const char *path = in_folder(name);
    remove(path);
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(bytes, 1, size, file) == size);
    fclose(file);
    return path;
}

/* The whole file; its size in *size. */
static inline unsigned char *get_file(const char *path, size_t *size) {
    static unsigned char bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    *size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file) fclose(file);
    return bytes;
}

static inline const char *message(void) { return report.last ? report.last->text : ""; }

/* Opening fails with `code` and says `words`. */
static inline void refused(const char *path, int code, const char *words) {
    struct tensor_file *file;
    const int32_t before = report.count;
    const int status = tensor_file_open(&memory_default, path, &report, &file);
    cr_expect_eq(status, code, "%s: status %d, expected %d", words, status, code);
    cr_expect_null(file);
    cr_expect_eq(report.count, before + 1, "%s: %d messages", words, (int)(report.count - before));
    cr_expect(strstr(message(), words), "said '%s', expected '%s'", message(), words);
    cr_expect(report.last && report.last->at.file && strcmp(report.last->at.file, path) == 0, "the message names the file");
}

static inline struct tensor_file *opened(const char *path) {
    struct tensor_file *file;
    const int status = tensor_file_open(&memory_default, path, &report, &file);
    cr_assert_eq(status, 0, "%s: %s", path, message());
    return file;
}

/* A contiguous tensor of up to two axes (-1: no second one) over some data. */
static inline struct flow_tensor tensor_of(int32_t dtype, void *data, int64_t rows, int64_t columns) {
    struct flow_tensor t = {
        .data = data, .dtype = dtype, .rank = columns < 0 ? 1 : 2, .shape = {rows, columns}, .strides = {columns < 0 ? 1 : columns, 1}};
    return t;
}

#endif
