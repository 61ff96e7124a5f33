/* SPDX-License-Identifier: Apache-2.0 */
/* Every source over files that are cut short, changed at random places, empty, or not there: an error or batches, never anything else. */
#include "data/data_test.h"

TestSuite(hostile, .init = data_start, .fini = data_stop, .timeout = 120);

/* Source, its file (in a folder of its own for those that take one), its path, attributes, a file that is right. */
static const struct {
    const char *source, *file, *path, *with;
    const char *bytes;
    size_t size;
} samples[] = {
#define SAMPLE(source, file, path, with, bytes) \
    { source, file, path, with, bytes, sizeof bytes - 1 }
    SAMPLE("text", "t.txt", "t.txt", "{window: 5}", "some text that is long enough"),
    SAMPLE("text", "t.txt", "t.txt", "{window: 5, unit: char}", "s\xc3\xb6me t\xe2\x82\xact, \xf0\x9f\x98\x80 long enough"),
    SAMPLE("text", "t.txt", "t.txt", "{window: 3, unit: word, end_of_line: <eos>}", "some words in a row\nand some more\n"),
    SAMPLE("text", "v.txt", "t.txt", "{window: 3, unit: word, vocabulary: v.txt, unknown: some}", "some\nwords\n\\n\\\\\nin\n"),
    SAMPLE("tokens", "t.bin", "t.bin", "{window: 4, type: i32, vocabulary: 9}", "\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5\0\0\0\6\0\0\0"),
    SAMPLE("idx", "i.idx", "i.idx", "{scale: true}",
           "\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02"
           "abcdefgh"),
    SAMPLE("idx", "l.idx", "i.idx", "{labels: l.idx, classes: 10}", "\0\0\x08\x01\0\0\0\x02\1\2"),
    SAMPLE("csv", "t.csv", "t.csv", "{outputs: \"x = [a, c]; b:i64 = b\"}", "a,b,c\n1,2,3\n4,5,\"6\"\n7,8,9.5e1\n"),
    SAMPLE("tensors", "t.csv", "t.csv", "{}", "a,b\n1,2\n3,4\n"),
    SAMPLE("tensors", "t.npy", "t.npy", "{}",
           "\x93NUMPY\x01\0\x37\0{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"
           "abcdefgh"),
    SAMPLE("tensors", "t.safetensors", "t.safetensors", "{}",
           "\x37\0\0\0\0\0\0\0{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}} "
           "abcdefgh"),
    SAMPLE("wav", "w/a_b.wav", "w", "{length: 3, label: 1}",
           "RIFF\x30\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\x0c\0\0\0abcdefghijkl"),
    SAMPLE("mix", "w/a_b.wav", "w", "{length: 3, speakers: 1, noise: w, rows: 4}",
           "RIFF\x30\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\x0c\0\0\0abcdefghijkl"),
    SAMPLE("edges", "e.csv", "e.csv", "{nodes: 5}", "source,target\n0,1\n2,3\n4,0\n"),
    SAMPLE("events", "e.csv", "e.csv", "{features: w}", "source,target,time,w\n0,1,5,0.5\n2,3,6,1\n4,0,6.5,2\n"),
    SAMPLE("babi", "b.txt", "b.txt", "{vocabulary: b.txt, sentences: 2}", "1 A b.\n2 Is it? \tb\t1\n1 C.\n2 D!\n3 Who?\tc,d\n"),
    SAMPLE("sequences", "s.txt", "s.txt", "{length: 3, popularity: true}", "1 2\n1 3\n1 4\n2 4\n2 3\n2 2\n"),
    SAMPLE("series", "s.ts", "s.ts", "{}", "@data\n1,3:0,0:dog\n5:3:cat\n1,2,3:4,5,6:dog\n"),
    SAMPLE("windows", "w.csv", "w.csv", "{columns: a b, context: 2, horizon: 1}", "a,b\n1,2\n3,4\n5,6\n7,8\n"),
    SAMPLE("node_graph", "g/nodes.csv", "g", "{virtual_nodes: true}", "node,label,split\n0,0,train\n1,1,test\n2,0,valid\n"),
    SAMPLE("node_graph", "g/features.csv", "g", "{}", "node,feature,value\n0,0,1\n1,2,0.5\n2,1,3\n"),
    SAMPLE("node_graph", "g/edges.csv", "g", "{}", "source,target\n0,1\n1,2\n"),
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

/* Every sample's file; a later one of the same name replaces it only while it is looked at. */
static void put_all(void) {
    for (int i = 0; i < SAMPLES; i++) put_file(samples[i].file, samples[i].bytes, samples[i].size);
}

static uint32_t random_word;
static uint32_t draw(uint32_t below) {
    random_word = random_word * 1664525u + 1013904223u;
    return (random_word >> 8) % below;
}

/* Opens and reads one epoch; the status. */
static int read_epoch(const struct batches_options *options) {
    struct batches *batches;
    const struct flow_tensor *tensors;
    int64_t number;
    int status = batches_open(loop, options, &report, &batches);
    for (int64_t n = 0; status == 0 && n < 20 && n < batches_in_epoch(batches); n++) {
        status = batches_next(batches, &report, &tensors, &number);
        for (size_t o = 0; status == 0 && o < batches_outputs(batches); o++) {
            const int64_t size = count_of(&tensors[o]) * dtype_bytes(tensors[o].dtype);
            uint8_t all = 0;
            for (int64_t i = 0; i < size; i++) all |= ((const uint8_t *)tensors[o].data)[i]; /* every byte can be read */
            cr_assert(all || !all);
        }
    }
    batches_close(batches);
    return status;
}

Test(hostile, files_that_were_changed) {
    put_all();
    for (int k = 0; k < SAMPLES; k++) {
        struct batches_options options = options_of(samples[k].source, samples[k].path, samples[k].with);
        int good = 0, bad = 0;
        options.batch = 2, options.keep_last = true;
        put_file(samples[k].file, samples[k].bytes, samples[k].size);
        cr_expect_eq(read_epoch(&options), 0, "%d, %s: %s", k, samples[k].source, message());
        random_word = (uint32_t)k;
        for (int round = 0; round < 300; round++) {
            uint8_t bytes[256];
            size_t size = samples[k].size;
            memcpy(bytes, samples[k].bytes, size);
            if (round < (int)size) size = (size_t)round;
            else
                for (uint32_t change = 0; change <= draw(3); change++)
                    bytes[draw((uint32_t)size)] = draw(2) ? (uint8_t)draw(256) : (uint8_t) "0129-,:.\n\" \xff"[draw(12)];
            put_file(samples[k].file, bytes, size);
            report_free(&report), report_init(&report, &memory_default);
            const int status = read_epoch(&options);
            if (status == 0) good++;
            else bad++;
            cr_expect(status <= 0 && status != FLOW_ERROR_INTERNAL && status != FLOW_ERROR_PLUGIN, "%s: %d, %s", samples[k].source, status,
                      message());
            cr_expect_eq(report.count, status < 0, "%s: %d messages", samples[k].source, (int)report.count);
        }
        put_file(samples[k].file, samples[k].bytes, samples[k].size);
        cr_expect(bad > 0, "%s: %d good, %d bad", samples[k].source, good, bad);
    }
}

Test(hostile, no_path) {
    for (int k = 0; k < SAMPLES; k++) {
        struct batches_options options = options_of(samples[k].source, NULL, samples[k].with);
        refused_with(&options, FLOW_ERROR_USAGE, "path");
        options.path = "";
        refused_with(&options, strcmp(samples[k].source, "node_graph") == 0 ? FLOW_ERROR_IO : FLOW_ERROR_USAGE, "");
        options.path = "/dev/null";
        cr_expect(read_epoch(&options) < 0, "%s", samples[k].source);
    }
}
