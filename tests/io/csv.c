/* SPDX-License-Identifier: Apache-2.0 */
#include "io/io_test.h"

#include <locale.h>
#include <math.h>

TestSuite(csv, .init = io_start, .fini = io_stop, .timeout = 60);

static const char *made(const char *text) { return put_file("a.csv", text, strlen(text)); }

Test(csv, reads_numbers) {
    const char *texts[] = {"1,2.5\n-3e2,.25\n", "1,2.5\r\n-3e2,.25", "\xEF\xBB\xBF\n1, 2.5 \n\n\"-3e2\",\"0.25\"\n\n", "1,2.5\r-3e2,.25\r"};
    const float wanted[] = {1, 2.5f, -300, 0.25f};
    for (int i = 0; i < 4; i++) {
        struct tensor_file *file = opened(made(texts[i]));
        const struct flow_tensor *t = tensor_file_get(file, "");
        cr_assert(t && t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 2 && t->dtype == FLOW_F32, "text %d", i);
        cr_expect_arr_eq(t->data, wanted, sizeof wanted, "text %d", i);
        cr_expect_eq(file->metadata_count, 0);
        tensor_file_close(file);
    }
}

Test(csv, names_of_columns) {
    struct tensor_file *file = opened(
        made("time,\"a \"\"b\"\", c\",\"two\nlines\",1,5,6,7,8,9,10,ten\n1,2,3,4,5,6,7,8,9,10,11\nnan,-inf,+inf,4,5,6,7,8,9,10,11\n"));
    const struct flow_tensor *t = tensor_file_get(file, "");
    cr_expect(t->shape[0] == 2 && t->shape[1] == 11);
    cr_expect_str_eq(tensor_file_metadata(file, "0"), "time");
    cr_expect_str_eq(tensor_file_metadata(file, "1"), "a \"b\", c");
    cr_expect_str_eq(tensor_file_metadata(file, "2"), "two\nlines");
    cr_expect_str_eq(tensor_file_metadata(file, "10"), "ten");
    const float *second = (const float *)t->data + 11;
    cr_expect(isnan(second[0]) && isinf(second[1]) && second[1] < 0 && isinf(second[2]));
    tensor_file_close(file);
    file = opened(made("only,names\n"));
    cr_expect(tensor_file_get(file, "")->shape[0] == 0 && tensor_file_get(file, "")->shape[1] == 2);
    tensor_file_close(file);
}

static void wrong_at(const char *text, int line, const char *words) {
    refused(made(text), FLOW_ERROR_FORMAT, words);
    cr_expect_eq(report.last->at.line, line, "%s: line %d, expected %d", words, (int)report.last->at.line, line);
}

Test(csv, refuses) {
    wrong_at("1,2\n3\n", 2, "the row has 1 fields, the first one has 2");
    wrong_at("1,2\n\n3,4,5\n", 3, "the row has 3 fields, the first one has 2");
    wrong_at("a,b\n\"1\n\",2\n3,x\n", 2, "field 1 is '1\n': expected a number");
    wrong_at("a,b\n1,2\n3,x\n", 3, "field 2 is 'x': expected a number");
    wrong_at("1\n0x10\n", 2, "field 1 is '0x10'");
    wrong_at("1,2\n3,\n", 2, "field 2 is '': expected a number");
    wrong_at("1\n1e99\n", 2, "field 1 is '1e99'");
    wrong_at("1\n\"2\n3\n", 2, "a quoted field does not end");
    wrong_at("1\n\"2\"3\n", 2, "something follows the closing quote");
    wrong_at("\n\r\n\n", 0, "the file has no rows");
    refused(made(""), FLOW_ERROR_FORMAT, "the file is empty");
}

Test(csv, writes_and_reads_again) {
    float values[6] = {1.0f / 3, -0.0f, 1e-42f, 3.4028235e38f, NAN, -INFINITY};
    struct flow_tensor t = {.data = values, .dtype = FLOW_F32, .rank = 2, .shape = {3, 2}, .strides = {1, 3}};
    const struct tensor_write write = {NULL, &t};
    cr_assert_eq(tensor_file_write(&memory_default, in_folder("w.csv"), &write, 1, NULL, &report), 0, "%s", message());
    struct tensor_file *file = opened(in_folder("w.csv"));
    const float *back = tensor_file_get(file, "")->data;
    const int order[6] = {0, 3, 1, 4, 2, 5};
    for (int i = 0; i < 6; i++)
        cr_expect(isnan(values[order[i]]) ? isnan(back[i]) : memcmp(&values[order[i]], &back[i], 4) == 0, "element %d", i);
    tensor_file_close(file);
    int64_t big[2] = {INT64_MIN, 9007199254740993};
    t = tensor_of(FLOW_I64, big, 2, -1);
    cr_assert_eq(tensor_file_write(&memory_default, in_folder("i.csv"), &write, 1, NULL, &report), 0);
    size_t size;
    cr_expect_arr_eq(get_file(in_folder("i.csv"), &size), "-9223372036854775808\n9007199254740993\n", 38);
    uint16_t halves[3] = {0x3C00, 0xC000, 0x0001};
    t = tensor_of(FLOW_F16, halves, 1, 3);
    cr_assert_eq(tensor_file_write(&memory_default, in_folder("h.csv"), &write, 1, NULL, &report), 0);
    cr_expect_arr_eq(get_file(in_folder("h.csv"), &size), "1,-2,5.96046448e-08\n", 20);
    t.rank = 3;
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("r.csv"), &write, 1, NULL, &report), FLOW_ERROR_SHAPE);
}

/* Where a comma is the decimal point for the rest of the program (if such a locale is installed). */
Test(csv, locale_does_not_matter) {
    setlocale(LC_ALL, "de_DE.UTF-8");
    float values[2] = {0.5f, 1.25f};
    struct flow_tensor t = tensor_of(FLOW_F32, values, 1, 2);
    cr_assert_eq(tensor_file_write(&memory_default, in_folder("w.csv"), &(struct tensor_write){NULL, &t}, 1, NULL, &report), 0);
    struct tensor_file *file = opened(in_folder("w.csv"));
    cr_expect_arr_eq(tensor_file_get(file, "")->data, values, sizeof values);
    tensor_file_close(file);
}
