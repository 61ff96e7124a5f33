/* SPDX-License-Identifier: Apache-2.0 */
/* text, tensors, idx, csv: the values of batches against the files' own, damage, wrong wishes. */
#include "data/data_test.h"

TestSuite(files, .init = data_start, .fini = data_stop, .timeout = 60);

static const int64_t *ids(const struct flow_tensor *tensors, int output) { return tensors[output].data; }

Test(files, text_bytes) {
    char text[1000];
    for (int i = 0; i < 1000; i++) text[i] = (char)(i * 7 % 251);
    put_file("t.bin", text, 1000);
    struct batches_options options = options_of("text", "t.bin", "{window: 9, stride: 4}");
    options.batch = 6, options.keep_last = true;
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_rows(batches), (1000 - 10) / 4 + 1);
    cr_expect_eq(batches_outputs(batches), 2);
    cr_expect_str_eq(batches_name(batches, 1), "next");
    cr_expect_eq(batches_type(batches, 0)->shape[0], 6);
    int64_t row = 0;
    for (int64_t n = 0; n < batches_in_epoch(batches); n++) {
        const struct flow_tensor *tensors = next(batches, n);
        for (int64_t b = 0; b < tensors[0].shape[0]; b++, row++)
            for (int64_t i = 0; i < 9; i++) {
                cr_assert_eq(ids(tensors, 0)[b * 9 + i], (row * 4 + i) * 7 % 251);
                cr_assert_eq(ids(tensors, 1)[b * 9 + i], (row * 4 + i + 1) * 7 % 251);
            }
    }
    cr_expect_eq(row, 248);
    batches_close(batches);
    options.shuffle = true, options.seed = 3;
    check_resumes(&options, 100);
}

/* Characters: the vocabulary in order of code point, windows across marks, and the same from a vocabulary file. */
Test(files, text_characters) {
    static const char *const units[] = {"a", "\n", "é", "z", "€", "😀", " "};
    static const int order[] = {2, 0, 4, 3, 5, 6, 1}; /* \n ' ' a z é € 😀 */
    enum { UNITS = 5000 };
    static char text[4 * UNITS + 1];
    static int which[UNITS];
    uint32_t random = 1;
    for (int i = 0; i < UNITS; i++) {
        random = random * 1664525u + 1013904223u;
        which[i] = (int)(random >> 16) % 7;
        strcat(text + (i > 100 ? strlen(text) : 0), units[which[i]]);
    }
    put_text("t.txt", text);
    put_text("v.txt", "z\n\\n\na\n€\n😀\n\\s\né\n");
    static const int listed[] = {2, 1, 6, 0, 3, 4, 5};
    for (int file = 0; file < 2; file++) {
        struct batches_options options =
            options_of("text", "t.txt", file ? "{window: 37, unit: char, vocabulary: v.txt}" : "{window: 37, unit: char}");
        options.batch = 3;
        struct batches *batches = opened(&options);
        cr_expect_eq(batches_rows(batches), (UNITS - 38) / 37 + 1);
        for (int64_t n = 0, row = 0; n < batches_in_epoch(batches); n++) {
            const struct flow_tensor *tensors = next(batches, n);
            for (int64_t b = 0; b < 3; b++, row++)
                for (int64_t i = 0; i < 37; i++) {
                    const int *number = file ? listed : order;
                    cr_assert_eq(ids(tensors, 0)[b * 37 + i], number[which[row * 37 + i]], "row %d unit %d", (int)row, (int)i);
                    cr_assert_eq(ids(tensors, 1)[b * 37 + i], number[which[row * 37 + i + 1]]);
                }
        }
        batches_close(batches);
    }
}

Test(files, text_ascii_characters_are_numbered_by_code_point) {
    put_text("t.txt", "hello world");
    struct batches_options options = options_of("text", "t.txt", "{window: 10, unit: char}");
    struct batches *batches = opened(&options);
    static const int64_t expected[] = {3, 2, 4, 4, 5, 0, 7, 5, 6, 4}; /* ' ' d e h l o r w */
    cr_expect_arr_eq(next(batches, 0)[0].data, expected, sizeof expected);
    batches_close(batches);
}

Test(files, text_words) {
    put_text("t.txt", "the cat saw the dog  \n the end\n");
    struct batches_options options = options_of("text", "t.txt", "{window: 8, unit: word, end_of_line: <eos>}");
    struct batches *batches = opened(&options);
    /* by how often: the 3, <eos> 2, cat 1, dog 1, end 1, saw 1 */
    static const int64_t expected[] = {0, 2, 5, 0, 3, 1, 0, 4};
    const struct flow_tensor *tensors = next(batches, 0);
    cr_expect_arr_eq(tensors[0].data, expected, sizeof expected);
    cr_expect_eq(ids(tensors, 1)[7], 1);
    batches_close(batches);
    options = options_of("text", "t.txt", "{window: 6, unit: word, max_vocabulary: 3, unknown: <unk>}");
    batches = opened(&options);
    static const int64_t rare[] = {1, 2, 0, 1, 0, 1}; /* <unk> the cat; the commonest first, <unk> always */
    cr_expect_arr_eq(next(batches, 0)[0].data, rare, sizeof rare);
    batches_close(batches);
    refused("text", "t.txt", "{window: 6, unit: word, max_vocabulary: 3}", FLOW_ERROR_RANGE, "5 different units, the vocabulary holds 3");
    put_text("v.txt", "the\ncat\n");
    refused("text", "t.txt", "{window: 6, unit: word, vocabulary: v.txt}", FLOW_ERROR_RANGE, "'saw' at byte 7 is not in the vocabulary");
    put_text("v.txt", "the\ncat\nthe\n");
    refused("text", "t.txt", "{window: 6, unit: word, vocabulary: v.txt}", FLOW_ERROR_FORMAT, "v.txt:3: 'the' stands there twice");
    put_text("v.txt", "");
    refused("text", "t.txt", "{window: 6, unit: word, vocabulary: v.txt}", FLOW_ERROR_FORMAT, "no vocabulary");
}

/* White space longer than any buffer, and words at buffers' borders. */
Test(files, text_words_far_apart) {
    enum { WORDS = 40, GAP = 20000 };
    char *text = malloc((GAP + 3) * WORDS + 1);
    memset(text, ' ', (GAP + 3) * WORDS);
    for (int i = 0; i < WORDS; i++) memcpy(text + i * (GAP + 3) + i * 37 % 100, i % 2 ? "odd" : "evn", 3);
    put_file("t.txt", text, (GAP + 3) * WORDS);
    free(text);
    struct batches_options options = options_of("text", "t.txt", "{window: 39, unit: word}");
    struct batches *batches = opened(&options);
    const struct flow_tensor *tensors = next(batches, 0);
    for (int i = 0; i < 39; i++) cr_expect_eq(ids(tensors, 0)[i], i % 2);
    batches_close(batches);
}

Test(files, text_damage) {
    refused("text", "none.txt", "{window: 4}", FLOW_ERROR_IO, "none.txt cannot be opened: No such file");
    put_text("t.txt", "");
    refused("text", "t.txt", "{window: 4}", FLOW_ERROR_FORMAT, "t.txt has 0 units: a window of 4 needs 5");
    put_text("t.txt", "four");
    refused("text", "t.txt", "{window: 4}", FLOW_ERROR_FORMAT, "has 4 units");
    put_text("t.txt", "ab\xff"
                      "cdefg");
    refused("text", "t.txt", "{window: 4, unit: char}", FLOW_ERROR_FORMAT, "from byte 2 on there is no unit: the text is not UTF-8");
    put_text("t.txt", "abcdefg\xe2\x82");
    refused("text", "t.txt", "{window: 4, unit: char}", FLOW_ERROR_FORMAT, "from byte 7 on");
    put_file("t.gz", "\x1f\x8b\x08\0abcdefgh", 12);
    refused("text", "t.gz", "{window: 4}", FLOW_ERROR_FORMAT, "t.gz is compressed with gzip: unpack it first");
    mkdir(strcat(strcpy((char[100]){0}, folder), "/sub"), 0700);
    refused("text", "sub", "{window: 4}", FLOW_ERROR_IO, "sub is a folder, not a file");
    put_text("t.txt", "abcdefg");
    refused("text", "t.txt", "{window: 4, vocabulary: v.txt}", FLOW_ERROR_USAGE, "bytes are their own numbers");
}

/* The file is made shorter while it is being read: the batches before are whole, then comes the error, again and again. */
Test(files, text_that_is_cut_short) {
    char text[4000];
    memset(text, 'x', sizeof text);
    const char *path = put_file("t.txt", text, sizeof text);
    struct batches_options options = options_of("text", "t.txt", "{window: 99}");
    options.ahead = 2;
    struct batches *batches = opened(&options);
    next(batches, 0);
    cr_assert_eq(truncate(path, 2000), 0);
    int status = 0;
    int64_t number, count = 1;
    const struct flow_tensor *tensors;
    while ((status = batches_next(batches, &report, &tensors, &number)) == 0) cr_assert_eq(number, count++);
    cr_expect_eq(status, FLOW_ERROR_FORMAT);
    cr_expect(count >= 20 && count <= 24, "%d", (int)count);
    cr_expect(strstr(message(), "t.txt is cut short: it ends at byte 2000"), "%s", message());
    cr_expect_eq(batches_next(batches, &report, &tensors, &number), FLOW_ERROR_FORMAT);
    batches_close(batches);
}

/* ---- Tensors ---------------------------------------------------------------------------------------------------- */

static void put_tensors(const char *name, int64_t rows) {
    char path[256];
    float *x = malloc((size_t)rows * 6 * sizeof *x);
    int64_t *label = malloc((size_t)rows * sizeof *label);
    for (int64_t i = 0; i < 6 * rows; i++) x[i] = (float)i * 0.5f;
    for (int64_t i = 0; i < rows; i++) label[i] = i * i;
    const struct flow_tensor a = {.data = x, .dtype = FLOW_F32, .rank = 3, .shape = {rows, 2, 3}, .strides = {6, 3, 1}},
                             b = {.data = label, .dtype = FLOW_I64, .rank = 1, .shape = {rows}, .strides = {1}},
                             c = {.data = x, .dtype = FLOW_F32, .rank = 1, .shape = {2}, .strides = {1}};
    const struct tensor_write all[] = {{"x", &a}, {"label", &b}, {"other", &c}};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(tensor_file_write(&memory_default, path, all, strstr(name, ".npy") ? 1 : 3, NULL, &report), 0);
    free(x), free(label);
}

static void check_tensors(const struct flow_tensor *x, const struct flow_tensor *label, const int64_t *rows, int64_t count) {
    cr_assert_eq(x->shape[0], count);
    for (int64_t b = 0; b < count; b++) {
        for (int64_t i = 0; i < 6; i++) cr_expect_eq(((float *)x->data)[6 * b + i], (float)(6 * rows[b] + i) * 0.5f);
        if (label) cr_expect_eq(((int64_t *)label->data)[b], rows[b] * rows[b]);
    }
}

Test(files, tensors_by_name) {
    put_tensors("t.safetensors", 50);
    refused("tensors", "t.safetensors", "{}", FLOW_ERROR_SHAPE, "tensor 'other' has 2 rows, the others have 50");
    refused("tensors", "t.safetensors", "{tensors: lable}", FLOW_ERROR_USAGE, "has no tensor 'lable' (did you mean 'label'?)");
    struct batches_options options = options_of("tensors", "t.safetensors", "{tensors: \"label, x\"}");
    options.batch = 7, options.split_from = 0.2;
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_rows(batches), 40);
    cr_expect_eq(batches_in_epoch(batches), 5);
    cr_expect_str_eq(batches_name(batches, 0), "label");
    cr_expect_eq(batches_type(batches, 1)->rank, 3);
    for (int64_t n = 0; n < 12; n++) {
        const struct flow_tensor *tensors = next(batches, n);
        int64_t rows[7];
        for (int64_t i = 0; i < 7; i++) rows[i] = 10 + n % 5 * 7 + i;
        check_tensors(&tensors[1], &tensors[0], rows, 7);
    }
    batches_close(batches);
    options.shuffle = true;
    check_resumes(&options, 17);
}

Test(files, tensors_of_one_file) {
    put_tensors("t.npy", 5);
    struct batches_options options = options_of("tensors", "t.npy", "{}");
    options.batch = -1;
    struct batches *batches = opened(&options);
    cr_expect_str_eq(batches_name(batches, 0), "x");
    const struct flow_tensor *first = next(batches, 0);
    check_tensors(first, NULL, (const int64_t[]){0, 1, 2, 3, 4}, 5);
    const void *data = first->data;
    cr_expect_eq(next(batches, 1)->data, data, "one batch for ever: it is made once");
    cr_expect_eq(next(batches, 2)->data, data);
    batches_close(batches);
    put_text("t.csv", "a,b\n1,2\n3,4\n5,6\n");
    options = options_of("tensors", "t.csv", "{}");
    options.batch = 2;
    batches = opened(&options);
    cr_expect_arr_eq(next(batches, 0)->data, ((const float[]){1, 2, 3, 4}), 16);
    batches_close(batches);
}

/* ---- Images ----------------------------------------------------------------------------------------------------- */

static uint8_t pixel(int64_t image, int64_t place) { return (uint8_t)(image * 31 + place * 5); }

static void put_idx(int64_t images, int64_t labels, int64_t bytes_less) {
    uint8_t bytes[16 + 100 * 12] = {0, 0, 8, 3, 0, 0, 0, (uint8_t)images, 0, 0, 0, 3, 0, 0, 0, 4};
    for (int64_t i = 0; i < images * 12; i++) bytes[16 + i] = pixel(i / 12, i % 12);
    put_file("images.idx3", bytes, (size_t)(16 + images * 12 - bytes_less));
    uint8_t some[8 + 100] = {0, 0, 8, 1, 0, 0, 0, (uint8_t)labels};
    for (int64_t i = 0; i < labels; i++) some[8 + i] = (uint8_t)(i % 10);
    put_file("labels.idx1", some, (size_t)(8 + labels));
}

Test(files, idx) {
    put_idx(50, 50, 0);
    for (int kind = 0; kind < 2; kind++) {
        struct batches_options options = options_of(
            "idx", "images.idx3", kind ? "{labels: labels.idx1, scale: true, channel: true, classes: 10}" : "{labels: labels.idx1}");
        options.batch = 8, options.shuffle = kind, options.seed = 5;
        struct batches *batches = opened(&options);
        cr_expect_eq(batches_type(batches, 0)->rank, kind ? 4 : 3);
        cr_expect_eq(batches_type(batches, 0)->dtype, kind ? FLOW_F32 : FLOW_U8);
        for (int64_t n = 0; n < 20; n++) {
            const struct flow_tensor *tensors = next(batches, n);
            for (int64_t b = 0; b < 8; b++) {
                const uint8_t first =
                    kind ? (uint8_t)(((float *)tensors[0].data)[12 * b] * 255.0f + 0.5f) : ((uint8_t *)tensors[0].data)[12 * b];
                int64_t image = -1; /* which it is, by its first pixel: 31 is odd, so all differ */
                for (int64_t i = 0; i < 50; i++)
                    if (pixel(i, 0) == first) image = i;
                if (!kind) cr_expect_eq(image, n % 6 * 8 + b);
                cr_expect_eq(ids(tensors, 1)[b], image % 10);
                for (int64_t p = 0; p < 12; p++) {
                    if (kind) cr_expect_eq(((float *)tensors[0].data)[12 * b + p], (float)pixel(image, p) / 255.0f);
                    else cr_expect_eq(((uint8_t *)tensors[0].data)[12 * b + p], pixel(image, p));
                }
            }
        }
        batches_close(batches);
        check_resumes(&options, 14);
    }
}

Test(files, idx_damage) {
    put_idx(50, 49, 0);
    refused("idx", "images.idx3", "{labels: labels.idx1}", FLOW_ERROR_FORMAT, "labels.idx1 holds 49 labels, images.idx3 50 images");
    put_idx(50, 50, 3);
    refused("idx", "images.idx3", "{}", FLOW_ERROR_FORMAT, "has 597 bytes behind its head, which claims 600: it is cut short");
    put_idx(0, 0, 0);
    refused("idx", "images.idx3", "{}", FLOW_ERROR_FORMAT, "has no rows: an empty data set");
    put_file("images.idx3", "\x1f\x8b\x08\x08", 4);
    refused("idx", "images.idx3", "{}", FLOW_ERROR_FORMAT, "is compressed with gzip");
    put_file("images.idx3", "\0\0\x0d\x01\0\0\0\0", 8);
    refused("idx", "images.idx3", "{}", FLOW_ERROR_UNSUPPORTED, "holds elements of type 0d");
    put_file("images.idx3", "\0\0\x08\x03\0\0", 6);
    refused("idx", "images.idx3", "{}", FLOW_ERROR_FORMAT, "is cut short: its head has 16 bytes");
    put_file("images.idx3", "\0\0\x08\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 20);
    refused("idx", "images.idx3", "{}", FLOW_ERROR_FORMAT, "claims more elements than can be counted");
    put_file("images.idx3", "\0", 1);
    refused("idx", "images.idx3", "{}", FLOW_ERROR_FORMAT, "no idx file is so short");
    put_idx(50, 50, 0);
    struct batches_options options = options_of("idx", "images.idx3", "{labels: labels.idx1, classes: 7}");
    options.batch = 4;
    struct batches *batches = opened(&options);
    const struct flow_tensor *tensors;
    int64_t number;
    next(batches, 0);
    cr_expect_eq(batches_next(batches, &report, &tensors, &number), FLOW_ERROR_RANGE);
    cr_expect(strstr(message(), "labels.idx1: label 7 is 7, expected 0 to 6"), "%s", message());
    batches_close(batches);
}

/* ---- Tables ----------------------------------------------------------------------------------------------------- */

Test(files, csv_columns) {
    put_text("t.csv", "date,\"a, b\",c,class\n2016-07-01,1.5,2,3\n2016-07-02,-1e3,4,9007199254740993\n\"x\"\"y\",7,8,-1\n");
    struct batches_options options = options_of("csv", "t.csv", "{outputs: \"x = [c, #1]; k:i64 = class; one = [c]; wide:f64 = c\"}");
    options.batch = 3;
    struct batches *batches = opened(&options);
    const struct flow_tensor *tensors = next(batches, 0);
    cr_expect_eq(batches_outputs(batches), 4);
    cr_expect_arr_eq(tensors[0].data, ((const float[]){2, 1.5f, 4, -1000, 8, 7}), 24);
    cr_expect_arr_eq(tensors[1].data, ((const int64_t[]){3, 9007199254740993, -1}), 24);
    cr_expect_eq(tensors[1].rank, 1);
    cr_expect_eq(tensors[2].rank, 2);
    cr_expect_arr_eq(tensors[3].data, ((const double[]){2, 4, 8}), 24);
    batches_close(batches);
    refused("csv", "t.csv", "{outputs: \"x = d\"}", FLOW_ERROR_USAGE, "t.csv has no column 'd': there are date, a, b, c, class");
    refused("csv", "t.csv", "{outputs: \"x = date\"}", FLOW_ERROR_FORMAT, "t.csv:2: field 1 is '2016-07-01': expected a number");
    refused("csv", "t.csv", "{outputs: \"x:i64 = #1\"}", FLOW_ERROR_FORMAT, "t.csv:2: field 2 is '1.5': expected an integer");
    refused("csv", "t.csv", "{outputs: \"x:u7 = c\"}", FLOW_ERROR_USAGE, "'x' is of type 'u7'");
    refused("csv", "t.csv", "{outputs: \"x = c, class\"}", FLOW_ERROR_USAGE, "'x' has several columns");
    refused("csv", "t.csv", "{outputs: \"x\"}", FLOW_ERROR_USAGE, "'x' is not NAME = COLUMN");
    refused("csv", "t.csv", "{outputs: \"x = [c\"}", FLOW_ERROR_USAGE, "lacks its ']'");
    refused("csv", "t.csv", "{outputs: \"x = c; x = class\"}", FLOW_ERROR_USAGE, "two outputs are called 'x'");
    refused("csv", "t.csv", "{outputs: \";\"}", FLOW_ERROR_USAGE, "the list is empty");
    put_text("t.csv", "a,b\n1,2\n3\n");
    refused("csv", "t.csv", "{}", FLOW_ERROR_FORMAT, "t.csv:3: the row has 1 fields, the first one has 2");
    put_text("t.csv", "1,2\n3,\"4\n");
    refused("csv", "t.csv", "{}", FLOW_ERROR_FORMAT, "t.csv:2: a quoted field does not end");
    put_text("t.csv", "a,b\n");
    refused("csv", "t.csv", "{}", FLOW_ERROR_FORMAT, "has no rows");
    put_text("t.csv", "\n\n");
    refused("csv", "t.csv", "{}", FLOW_ERROR_FORMAT, "has no rows: an empty data set");
    put_text("t.csv", "a,b\r\n1,2\r\n\r\n3,4");
    options = options_of("csv", "t.csv", "{}");
    options.batch = 2;
    batches = opened(&options);
    tensors = next(batches, 0);
    cr_expect_arr_eq(tensors[1].data, ((const float[]){2, 4}), 8);
    batches_close(batches);
    check_resumes(&options, 5);
}
