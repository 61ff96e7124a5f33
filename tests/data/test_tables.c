/* SPDX-License-Identifier: Apache-2.0 */
/* tokens, cifar, edges, events, node_graph, sequences, series, windows: values worked out by hand, damage. */
#include "data/data_test.h"

#include <math.h>

TestSuite(tables, .init = data_start, .fini = data_stop, .timeout = 60);

static const int64_t *ids(const struct flow_tensor *tensors, int output) { return tensors[output].data; }
static const float *reals(const struct flow_tensor *tensors, int output) { return tensors[output].data; }

#define IDS(output, ...) cr_expect_arr_eq(t[output].data, ((const int64_t[]){__VA_ARGS__}), sizeof((const int64_t[]){__VA_ARGS__}))
#define REALS(output, ...) cr_expect_arr_eq(t[output].data, ((const float[]){__VA_ARGS__}), sizeof((const float[]){__VA_ARGS__}))

Test(tables, tokens) {
    static const char *const types[] = {"u8", "u16", "i32", "i64"};
    for (int kind = 0; kind < 4; kind++) {
        uint8_t bytes[8 * 100] = {0};
        const int width = 1 << kind;
        char with[80];
        for (int i = 0; i < 100; i++) {
            bytes[i * width] = (uint8_t)(i * 3 % 200);
            if (width > 1) bytes[i * width + 1] = (uint8_t)(i % 7);
        }
        put_file("t.bin", bytes, (size_t)(100 * width));
        snprintf(with, sizeof with, "{window: 8, stride: 5, type: %s}", types[kind]);
        struct batches_options options = options_of("tokens", "t.bin", with);
        options.batch = 3;
        struct batches *batches = opened(&options);
        cr_expect_eq(batches_rows(batches), (100 - 9) / 5 + 1);
        for (int64_t n = 0; n < 6; n++) {
            const struct flow_tensor *t = next(batches, n);
            for (int64_t b = 0; b < 3; b++)
                for (int64_t i = 0; i < 8; i++) {
                    const int64_t at = (3 * n + b) * 5 + i;
                    cr_expect_eq(ids(t, 0)[b * 8 + i], at * 3 % 200 + (kind ? at % 7 * 256 : 0));
                    cr_expect_eq(ids(t, 1)[b * 8 + i], (at + 1) * 3 % 200 + (kind ? (at + 1) % 7 * 256 : 0));
                }
        }
        batches_close(batches);
        check_resumes(&options, 8);
        if (kind == 0) continue;
        put_file("t.bin", bytes, (size_t)(100 * width - 1));
        refused("tokens", "t.bin", with, FLOW_ERROR_FORMAT, "not a multiple of");
    }
    put_file("t.bin", "\1\2\3\4\5\6", 6);
    refused("tokens", "t.bin", "{window: 6, type: u8}", FLOW_ERROR_FORMAT, "t.bin has 6 numbers: a window of 6 needs 7");
    struct batches_options options = options_of("tokens", "t.bin", "{window: 4, type: u8, vocabulary: 5}");
    struct batches *batches = opened(&options);
    const struct flow_tensor *tensors;
    int64_t number;
    cr_expect_eq(batches_next(batches, &report, &tensors, &number), FLOW_ERROR_RANGE);
    cr_expect(strstr(message(), "number 4 of the file is 5, expected 0 to 4"), "%s", message());
    batches_close(batches);
}

Test(tables, cifar) {
    static uint8_t bytes[20 * 3073];
    for (int k = 0; k < 20; k++) {
        bytes[k * 3073] = (uint8_t)(k % 10);
        for (int i = 0; i < 3072; i++) bytes[k * 3073 + 1 + i] = (uint8_t)(k * 13 + i);
    }
    put_file("c/a.bin", bytes, 12 * 3073);
    put_file("c/b.bin", bytes + 12 * 3073, 8 * 3073);
    put_file("c/test.bin", bytes, 3073);
    struct batches_options options = options_of("cifar", "c", "{exclude: test.bin}");
    options.batch = 10;
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_rows(batches), 20);
    for (int64_t n = 0; n < 4; n++) {
        const struct flow_tensor *t = next(batches, n);
        cr_expect_eq(t[0].rank, 4);
        for (int64_t b = 0; b < 10; b++) {
            const int64_t k = (n * 10 + b) % 20;
            cr_expect_eq(ids(t, 1)[b], k % 10);
            for (int64_t i = 0; i < 3072; i += 61) cr_expect_eq(reals(t, 0)[b * 3072 + i], (float)(uint8_t)(k * 13 + i) / 255.0f);
        }
    }
    batches_close(batches);
    options.shuffle = true;
    check_resumes(&options, 6);
    put_file("c/b.bin", bytes, 3000);
    refused("cifar", "c", "{}", FLOW_ERROR_FORMAT, "c/b.bin has 3000 bytes: not a multiple of a record's 3073");
    refused("cifar", "c", "{include: none}", FLOW_ERROR_FORMAT, "empty data set");
    bytes[5 * 3073] = 10;
    put_file("c/a.bin", bytes, 12 * 3073);
    options = options_of("cifar", "c/a.bin", "{scale: false}");
    options.batch = 12;
    batches = opened(&options);
    const struct flow_tensor *tensors;
    int64_t number;
    cr_expect_eq(batches_next(batches, &report, &tensors, &number), FLOW_ERROR_RANGE);
    cr_expect(strstr(message(), "c/a.bin: label 5 is 10, expected 0 to 9"), "%s", message());
    batches_close(batches);
}

Test(tables, edges) {
    put_text("e.csv", "source,target,w\n0,1,0.5\n2,0,1\n1,2,-2\n");
    struct batches_options options = options_of("edges", "e.csv", "{weight: w, both: true, nodes: 3}");
    struct batches *batches = opened(&options);
    const struct flow_tensor *t = next(batches, 0);
    IDS(0, 0, 2, 1, 1, 0, 2, 1, 0, 2, 0, 2, 1);
    REALS(1, 0.5f, 1, -2, 0.5f, 1, -2);
    cr_expect_eq(t[0].shape[1], 6);
    const void *before = t[0].data;
    cr_expect_eq(next(batches, 1)[0].data, before, "the one batch is made once");
    batches_close(batches);
    refused("edges", "e.csv", "{nodes: 2}", FLOW_ERROR_RANGE, "e.csv:3: node 2, expected 0 to 1");
    put_text("e.csv", "source,target\n0,-1\n");
    refused("edges", "e.csv", "{}", FLOW_ERROR_RANGE, "e.csv:2: node -1");
    put_text("e.csv", "from,to\n0,1\n");
    refused("edges", "e.csv", "{}", FLOW_ERROR_USAGE, "e.csv has no column 'source': there are from, to");
}

Test(tables, events) {
    put_text(
        "e.csv",
        "source,target,rating,time\n6,2,4,1289241911.75\n6,5,-2,1289241941.5\n1,15,1,1289243140\n4,3,7,1289243140\n0,1,2,1289243141\n");
    struct batches_options options = options_of("events", "e.csv", "{features: rating}");
    options.batch = 2;
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_rows(batches), 6);
    for (int epoch = 0; epoch < 2; epoch++) {
        const struct flow_tensor *t = next(batches, 3 * epoch);
        IDS(0, 6, 6);
        IDS(2, 0, 29);
        REALS(4, 4, -2);
        t = next(batches, 3 * epoch + 1);
        IDS(1, 15, 3);
        IDS(2, 1228, 1228);
        cr_expect_arr_eq(t[3].data, ((const uint8_t[]){1, 1}), 2);
        t = next(batches, 3 * epoch + 2);
        IDS(0, 0, 0);
        IDS(1, 1, 0);
        IDS(2, 1229, 1229);
        cr_expect_arr_eq(t[3].data, ((const uint8_t[]){1, 0}), 2);
        REALS(4, 2, 0);
    }
    batches_close(batches);
    check_resumes(&options, 7);
    options.shuffle = true;
    refused_with(&options, FLOW_ERROR_USAGE, "cannot be shuffled");
    refused("events", "e.csv", "{nodes: 10}", FLOW_ERROR_RANGE, "e.csv:4: node 15, expected 0 to 9");
    refused("events", "e.csv", "{features: rating stars}", FLOW_ERROR_USAGE, "no column 'stars'");
    put_text("e.csv", "source,target,time\n1,2,5\n1,2,4\n");
    refused("events", "e.csv", "{}", FLOW_ERROR_RANGE, "e.csv:3: time 4 comes before that of an earlier line");
}

static void put_graph(const char *nodes) {
    put_text("g/nodes.csv", nodes);
    put_text("g/features.csv", "node,feature\n0,0\n0,3\n1,1\n2,0\n2,1\n2,3\n");
    put_text("g/edges.csv", "source,target\n0,1\n1,0\n2,1\n");
}

Test(tables, node_graph) {
    put_graph("node,label,split\n2,1,train\n0,0,train\n1,2,test\n3,1,\n");
    struct batches_options options = options_of("node_graph", "g", "{normalize: rows}");
    struct batches *batches = opened(&options);
    const struct flow_tensor *t = next(batches, 0);
    REALS(0, 0.5f, 0, 0, 0.5f, 0, 1, 0, 0, 1.0f / 3, 1.0f / 3, 0, 1.0f / 3, 0, 0, 0, 0);
    IDS(1, 0, 1, 2, 1, 0, 1);
    IDS(2, 0, 2, 1, 1);
    IDS(3, 0, -100, 1, -100);
    IDS(4, -100, -100, -100, -100);
    IDS(5, -100, 2, -100, -100);
    IDS(6, 0, 2);
    batches_close(batches);
    options = options_of("node_graph", "g", "{virtual_nodes: true, classes: 3}");
    batches = opened(&options);
    t = next(batches, 0);
    cr_expect_eq(t[0].shape[0], 7);
    IDS(1, 0, 1, 2, 0, 4, 2, 5, 1, 0, 1, 4, 0, 5, 2);
    for (int i = 16; i < 28; i++) cr_expect(reals(t, 0)[i] != 0 && fabsf(reals(t, 0)[i]) < 6);
    batches_close(batches);
    refused("node_graph", "g", "{classes: 2}", FLOW_ERROR_RANGE, "g/nodes.csv:4: label 2, expected 0 to 1");
    put_graph("node,label,split\n0,0,train\n0,0,train\n");
    refused("node_graph", "g", "{}", FLOW_ERROR_FORMAT, "g/nodes.csv:3: node 0 stands there twice");
    put_graph("node,label,split\n0,0,train\n1,0,train\n");
    refused("node_graph", "g", "{}", FLOW_ERROR_RANGE, "g/features.csv:5: node 2, expected 0 to 1");
    refused("node_graph", "none", "{}", FLOW_ERROR_IO, "none/nodes.csv cannot be opened");
}

Test(tables, sequences) {
    /* Items 30 and 40 have one event, and then user 9 two: left out, one after the other. */
    put_text("s.txt", "7 10\n7 20\n7 10\n7 50\n8 20\n8 10\n8 50\n8 20\n8 30\n9 10\n9 40\n9 50\n");
    struct batches_options options = options_of("sequences", "s.txt", "{length: 3, min_events: 3, min_item_events: 2, popularity: true}");
    options.batch = 2;
    struct batches *batches = opened(&options);
    const struct flow_tensor *t = next(batches, 0);
    cr_expect_eq(batches_rows(batches), 2);
    IDS(0, 1, 2, 0, 2, 1, 0); /* training: without the last two */
    IDS(1, 0, 2, 2, 0, 0);
    batches_close(batches);
    options = options_of("sequences", "s.txt", "{length: 3, min_events: 3, min_item_events: 2, split: valid}");
    options.batch = 2;
    batches = opened(&options);
    t = next(batches, 0);
    IDS(0, 1, 2, 4, 2, 1, 4);
    IDS(1, 2, 2);
    IDS(2, 1, 3);
    batches_close(batches);
    options = options_of("sequences", "s.txt", "{length: 3, split: test, renumber: false, mask_id: 0}");
    options.batch = 3;
    batches = opened(&options);
    t = next(batches, 0);
    IDS(0, 20, 10, 0, 50, 20, 0, 10, 40, 0); /* the latest of the history, then the mask */
    IDS(1, 2, 2, 2);
    IDS(2, 50, 30, 50);
    batches_close(batches);
    check_resumes(&options, 4);
    put_text("s.txt", "1 2\n1 x\n");
    refused("sequences", "s.txt", "{length: 3}", FLOW_ERROR_FORMAT, "s.txt:2: '1 x': expected `user item`");
    put_text("s.txt", "1 2\n1\n2 3\n");
    refused("sequences", "s.txt", "{length: 3}", FLOW_ERROR_FORMAT, "s.txt:2: '1'");
    put_text("s.txt", "1 2\n1 3\n");
    refused("sequences", "s.txt", "{length: 3, min_events: 3}", FLOW_ERROR_FORMAT, "empty data set");
    refused("sequences", "s.txt", "{length: 3, split: test}", FLOW_ERROR_FORMAT, "empty data set");
    put_file("s.txt", "1 2\n\0\0\n", 7);
    refused("sequences", "s.txt", "{length: 3}", FLOW_ERROR_FORMAT, "expected `user item`");
}

Test(tables, babi) {
    /* alone: a=1 b=2 c=3 c,d=4 d=5 is=6 it=7 who=8 */
    put_text("b.txt", "1 A b.\n2 Is it? \tb\t1\n3 B a?\n\n4 is it it\r\n5 Who?\tC,d \t1 3\r\n1 c d\n2 who\ta");
    struct batches_options options = options_of("babi", "b.txt", "{sentences: 2}");
    options.batch = 3;
    struct batches *batches = opened(&options);
    const struct flow_tensor *t = next(batches, 0);
    cr_expect_eq(batches_rows(batches), 3);
    IDS(0, 1, 2, 0, 0, 0, 0, /* the newest first; before it nothing */
        6, 7, 7, 2, 1, 0,    /* only the two newest */
        3, 5, 0, 0, 0, 0);   /* a new story */
    IDS(1, 6, 7, 0, 8, 0, 0, 8, 0, 0);
    IDS(2, 2, 4, 1);
    REALS(3, 0, -1e4F, 0, 0, 0, -1e4F);
    batches_close(batches);
    check_resumes(&options, 4);
    /* with another file: its words get numbers (a=1 b=2 bb=3 c=4 ..), its questions are none of this one's */
    put_text("o.txt", "1 bb a b c d e\n2 zoo\tf\n");
    options = options_of("babi", "b.txt", "{sentences: 1, vocabulary: o.txt|b.txt, count: 13}");
    options.batch = 3;
    batches = opened(&options);
    t = next(batches, 0);
    cr_expect_eq(batches_rows(batches), 3);
    IDS(0, 1, 2, 0, 0, 0, 0, 9, 10, 10, 0, 0, 0, 4, 6, 0, 0, 0, 0);
    IDS(2, 2, 5, 1);
    batches_close(batches);
    refused("babi", "b.txt", "{vocabulary: o.txt, count: 12}", FLOW_ERROR_RANGE,
            "12 different words and the padding need `count` to be 13");
    refused("babi", "b.txt", "{words: 2}", FLOW_ERROR_RANGE, "the longest sentence has 3 words, and `words` is 2");
    refused("babi", "b.txt", "{vocabulary: none.txt}", FLOW_ERROR_IO, "none.txt cannot be opened");
    put_text("b.txt", "1 a\nb c\n");
    refused("babi", "b.txt", "{}", FLOW_ERROR_FORMAT, "b.txt:2: expected `number sentence` or `number question TAB answer`");
    put_text("b.txt", "1 a\n2 what?\t \t1\n");
    refused("babi", "b.txt", "{}", FLOW_ERROR_FORMAT, "b.txt:2: no answer after the question");
    put_text("b.txt", "1 a\n2 ?!\n");
    refused("babi", "b.txt", "{}", FLOW_ERROR_FORMAT, "b.txt:2: no words after the number");
    put_text("b.txt", "1 a\n2 b\n");
    refused("babi", "b.txt", "{}", FLOW_ERROR_FORMAT, "empty data set");
}

Test(tables, series) {
    put_text("a.ts", "# head\n@data\n1,3:0,0:dog\n5:3:cat\n");
    put_text("b.ts", "@data\n3,1,5:1,1,1:dog\n");
    struct batches_options options = options_of("series", "a.ts", "{}");
    options.batch = 2;
    struct batches *batches = opened(&options);
    const struct flow_tensor *t = next(batches, 0);
    /* channel 0: 1 3 5, mean 3, variance 8/3; channel 1: 0 0 3, mean 1, variance 2 */
    const float d = (float)(2 / sqrt(8.0 / 3)), e = (float)(1 / sqrt(2.0)), f = (float)(2 / sqrt(2.0));
    const float expected[] = {-d, -e, 0, -e, d, f, 0, 0};
    for (int i = 0; i < 8; i++) cr_expect(fabsf(reals(t, 0)[i] - expected[i]) < 1e-6f, "%d: %g", i, (double)reals(t, 0)[i]);
    cr_expect_arr_eq(t[1].data, ((const uint8_t[]){1, 1, 1, 0}), 4);
    IDS(2, 2, 1);
    IDS(3, 1, 0);
    batches_close(batches);
    options = options_of("series", "b.ts", "{training: a.ts}");
    batches = opened(&options);
    t = next(batches, 0);
    cr_expect_eq(t[0].shape[1], 3);
    for (int i = 0; i < 3; i++) cr_expect(fabsf(reals(t, 0)[2 * i] - ((const float[]){0, -d, d})[i]) < 1e-6f);
    IDS(3, 1);
    batches_close(batches);
    options = options_of("series", "b.ts", "{length: 2, standardize: false}");
    batches = opened(&options);
    t = next(batches, 0);
    REALS(0, 3, 1, 1, 1);
    batches_close(batches);
    refused("series", "a.ts", "{training: b.ts}", FLOW_ERROR_RANGE, "a.ts:4: label 'cat' does not come in b.ts");
    put_text("c.ts", "1,2:1:x\n");
    refused("series", "c.ts", "{}", FLOW_ERROR_FORMAT, "c.ts:1: channel 2 has 1 values, the first one has 2");
    put_text("c.ts", "1,2:1,2:x\n1:x\n");
    refused("series", "c.ts", "{}", FLOW_ERROR_FORMAT, "c.ts:2: 1 channels, the first case has 2");
    put_text("c.ts", "1,?:x\n");
    refused("series", "c.ts", "{}", FLOW_ERROR_FORMAT, "c.ts:1: value 2 of channel 1 is '?'");
    put_text("c.ts", "1,2\n");
    refused("series", "c.ts", "{}", FLOW_ERROR_FORMAT, "c.ts:1: no label");
    put_text("c.ts", "@data\n");
    refused("series", "c.ts", "{}", FLOW_ERROR_FORMAT, "c.ts holds no cases");
}

Test(tables, windows) {
    put_text("w.csv", "date,a,b\nx,0,5\nx,2,5\nx,4,5\nx,6,5\nx,8,5\nx,100,5\n");
    struct batches_options options = options_of("windows", "w.csv", "{columns: b a, context: 2, horizon: 1, end: 5, fit_end: 3}");
    options.batch = 3;
    struct batches *batches = opened(&options);
    const struct flow_tensor *t = next(batches, 0);
    const float s = (float)(2 / sqrt(8.0 / 3)); /* a: mean 2, variance 8/3 over 0 2 4; b does not change */
    const float known[] = {0, -s, 0, 0, 0, 0, 0, s, 0, s, 0, 2 * s}, follows[] = {0, s, 0, 2 * s, 0, 3 * s};
    for (int i = 0; i < 12; i++) cr_expect(fabsf(reals(t, 0)[i] - known[i]) < 1e-6f);
    for (int i = 0; i < 6; i++) cr_expect(fabsf(reals(t, 1)[i] - follows[i]) < 1e-6f);
    batches_close(batches);
    refused("windows", "w.csv", "{columns: a, context: 5, horizon: 2}", FLOW_ERROR_FORMAT, "6 lines are fewer than a piece's 7");
    refused("windows", "w.csv", "{columns: a, context: 1, horizon: 1, end: 7}", FLOW_ERROR_RANGE, "w.csv has 6 lines");
    refused("windows", "w.csv", "{columns: date, context: 1, horizon: 1}", FLOW_ERROR_FORMAT, "expected a number");
    refused("windows", "w.csv", "{columns: \" \", context: 1, horizon: 1}", FLOW_ERROR_USAGE, "the list is empty");
}
