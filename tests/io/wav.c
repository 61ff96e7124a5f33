/* SPDX-License-Identifier: Apache-2.0 */
/* Whole wav files, and the head of one as it comes from a pipe. */
#include "io/io_test.h"
#include "io/wav_test.h"

#include <math.h>

TestSuite(wav, .init = io_start, .fini = io_stop, .timeout = 60);

Test(wav, sample_formats) {
    const struct {
        int tag, bits;
        const char *bytes;
        float first, second;
    } kinds[] = {
        {1, 8, "\x00\xFF", -1.0f, 127.0f / 128},
        {1, 16, "\x00\x80\xFF\x7F", -1.0f, 32767.0f / 32768},
        {1, 24, "\x00\x00\x80\xFF\xFF\x7F", -1.0f, 8388607.0f / 8388608},
        {1, 32, "\x00\x00\x00\x80\x00\x00\x00\x40", -1.0f, 0.5f},
        {3, 32, "\x00\x00\x00\x3F\x00\x00\x80\xBF", 0.5f, -1.0f},
        {3, 64, "\0\0\0\0\0\0\xE0\x3F\0\0\0\0\0\0\xF0\xBF", 0.5f, -1.0f},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int extensible = 0; extensible < 2; extensible++)
            for (int channels = 1; channels <= 2; channels++) {
                struct wav_made w = {0};
                const size_t size = (size_t)kinds[i].bits / 8 * 2;
                wav_head(&w, extensible ? 0xFFFE : kinds[i].tag, channels, 48000, kinds[i].bits, kinds[i].tag);
                wav_chunk(&w, "LIST", "odd", 3);
                wav_chunk(&w, "data", kinds[i].bytes, size);
                wav_chunk(&w, "tail", "ab", 2);
                struct tensor_file *file = opened(wav_put(&w, "a.wav"));
                const struct flow_tensor *t = tensor_file_get(file, "");
                cr_assert(t->rank == 2 && t->shape[0] == channels && t->shape[1] == 2 / channels);
                cr_expect_eq(((float *)t->data)[0], kinds[i].first, "kind %zu", i);
                cr_expect_eq(((float *)t->data)[1], kinds[i].second, "kind %zu", i);
                cr_expect_eq(file->rate, 48000);
                tensor_file_close(file);
            }
}

Test(wav, unknown_length) {
    for (int kind = 0; kind < 4; kind++) { /* as programs write that cannot go back */
        struct wav_made w = {0};
        wav_head(&w, 1, 1, 8000, 16, 1);
        wav_chunk(&w, "data", "\x00\x40\x00\x20\x01", 5);
        wav_set(&w, w.last + 4, kind == 0 ? 0 : kind == 1 ? 0xFFFFFFFFu : kind == 2 ? 0x7FFFF000u : 0);
        wav_set(&w, 4, kind == 0 ? 0 : kind == 3 ? 36 : 0xFFFFFFFFu);
        w.size = w.last + 8 + 5;
        w.keep_sizes = true;
        struct tensor_file *file = opened(wav_put(&w, "a.wav"));
        cr_expect_eq(tensor_file_get(file, "")->shape[1], 2, "kind %d: a last half sample counts for nothing", kind);
        cr_expect_eq(((float *)tensor_file_get(file, "")->data)[1], 0.25f);
        tensor_file_close(file);
    }
    struct wav_made w = {0}; /* truly empty, with a chunk behind it */
    wav_head(&w, 1, 1, 8000, 16, 1);
    wav_chunk(&w, "data", "", 0);
    wav_chunk(&w, "LIST", "abcd", 4);
    struct tensor_file *file = opened(wav_put(&w, "a.wav"));
    cr_expect_eq(tensor_file_get(file, "")->shape[1], 0);
    tensor_file_close(file);
}

/* The head with one thing wrong. */
static const char *wrong_head(int tag, int channels, uint32_t rate, int bits) {
    struct wav_made w = {0};
    wav_head(&w, tag, channels, rate, bits, 1);
    wav_chunk(&w, "data", "12345678", 8);
    return wav_put(&w, "a.wav");
}

Test(wav, refuses) {
    struct wav_made w = {0};
    wav_head(&w, 1, 1, 8000, 16, 1);
    wav_chunk(&w, "data", "12345678", 8);
    w.size -= 3, w.keep_sizes = true;
    refused(wav_put(&w, "a.wav"), FLOW_ERROR_FORMAT, "is cut short: its samples should have 8 bytes, 3 are missing");
    w.size = 30;
    refused(wav_put(&w, "a.wav"), FLOW_ERROR_FORMAT, "it ends after 30 bytes, before its samples begin");
    w.size = 7;
    refused(wav_put(&w, "a.wav"), FLOW_ERROR_FORMAT, "it ends after 7 bytes, within the head");
    memcpy(w.bytes, "RIFX", 4), w.size = 40;
    refused(wav_put(&w, "a.wav"), FLOW_ERROR_FORMAT, "begins with 'RIFX'");
    memcpy(w.bytes, "FO\nM", 4);
    refused(wav_put(&w, "a.wav"), FLOW_ERROR_FORMAT, "it begins with 'FO?M....WAVE'");
    refused(wrong_head(6, 1, 8000, 8), FLOW_ERROR_FORMAT, "its samples are A-law (number 6)");
    refused(wrong_head(1, 1, 8000, 12), FLOW_ERROR_FORMAT, "its samples are integers of 12 bits");
    refused(wrong_head(3, 1, 8000, 16), FLOW_ERROR_FORMAT, "its samples are floats of 16 bits");
    refused(wrong_head(1, 0, 8000, 16), FLOW_ERROR_FORMAT, "it has 0 channels");
    refused(wrong_head(1, 257, 8000, 16), FLOW_ERROR_FORMAT, "it has 257 channels");
    refused(wrong_head(1, 1, 0, 16), FLOW_ERROR_FORMAT, "its sample rate is 0");
    refused(wrong_head(1, 3, 8000, 16), FLOW_ERROR_FORMAT, "its samples have 8 bytes: not a multiple of 6");
    w = (struct wav_made){0};
    wav_riff(&w);
    wav_chunk(&w, "data", "12345678", 8);
    refused(wav_put(&w, "a.wav"), FLOW_ERROR_FORMAT, "its samples come before their format");
}

Test(wav, writes_and_reads_again) {
    float samples[8] = {-1.0f, 1.0f, 0.5f, -2.0f, 0.25f, 3.0f, 1.0f / 65536, 0};
    struct flow_tensor t = {.data = samples, .dtype = FLOW_F32, .rank = 2, .shape = {2, 4}, .strides = {1, 2}};
    const struct tensor_write write = {NULL, &t};
    struct tensor_write_options options = {.rate = 16000};
    cr_assert_eq(tensor_file_write(&memory_default, in_folder("w.wav"), &write, 1, &options, &report), 0, "%s", message());
    struct tensor_file *file = opened(in_folder("w.wav"));
    const float clipped[8] = {-1.0f, 0.5f, 0.25f, 0, 32767.0f / 32768, -1.0f, 32767.0f / 32768, 0};
    cr_expect_arr_eq(tensor_file_get(file, "")->data, clipped, sizeof clipped);
    cr_expect_eq(file->rate, 16000);
    /* what was read is written as it was */
    const struct tensor_write again = {NULL, tensor_file_get(file, "")};
    cr_assert_eq(tensor_file_write(&memory_default, in_folder("v.wav"), &again, 1, &options, &report), 0);
    size_t first_size, second_size;
    static unsigned char first[256];
    memcpy(first, get_file(in_folder("w.wav"), &first_size), sizeof first);
    cr_expect_arr_eq(first, get_file(in_folder("v.wav"), &second_size), first_size);
    cr_expect_eq(first_size, second_size);
    tensor_file_close(file);
    options.float32 = true;
    cr_assert_eq(tensor_file_write(&memory_default, in_folder("f.wav"), &write, 1, &options, &report), 0);
    file = opened(in_folder("f.wav"));
    for (int i = 0; i < 4; i++) cr_expect_eq(((float *)tensor_file_get(file, "")->data)[i], samples[2 * i]);
    tensor_file_close(file);
}

Test(wav, refuses_to_write) {
    float samples[2] = {0, NAN};
    struct flow_tensor t = tensor_of(FLOW_F32, samples, 2, -1);
    const struct tensor_write write = {NULL, &t};
    struct tensor_write_options options = {.rate = 16000};
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("w.wav"), &write, 1, &options, &report), FLOW_ERROR_RANGE);
    cr_expect_str_eq(message(), "sample 1 of channel 0 is not a number");
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("w.wav"), &write, 1, NULL, &report), FLOW_ERROR_RANGE, "no rate");
    t.rank = 3, t.shape[1] = t.shape[2] = 1;
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("w.wav"), &write, 1, &options, &report), FLOW_ERROR_SHAPE);
    t.rank = 1, t.dtype = FLOW_I32;
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("w.wav"), &write, 1, &options, &report), FLOW_ERROR_TYPE);
    cr_expect_eq(tensor_file_write(&memory_default, in_folder("w.wav"), &write, 2, &options, &report), FLOW_ERROR_USAGE, "two tensors");
    cr_expect_neq(access(in_folder("w.wav"), F_OK), 0, "nothing is left");
}
