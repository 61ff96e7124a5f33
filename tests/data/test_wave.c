/* SPDX-License-Identifier: Apache-2.0 */
/* wav and mix: crops, labels, levels and ratios against their definitions; damage. */
#include "data/data_test.h"

#include <math.h>

TestSuite(wave, .init = data_start, .fini = data_stop, .timeout = 60);

static void put_u32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}

/* 16-bit samples, `channels` interleaved; an odd chunk in front of them. */
static void put_wav(const char *name, const int16_t *samples, int64_t frames, int channels, uint32_t rate) {
    const size_t data = (size_t)frames * (size_t)channels * 2;
    uint8_t *bytes = calloc(1, 56 + data);
    memcpy(bytes, "RIFF....WAVELIST", 16), put_u32(bytes + 4, (uint32_t)(48 + data));
    put_u32(bytes + 16, 3);
    memcpy(bytes + 24, "fmt ", 4), put_u32(bytes + 28, 16);
    bytes[32] = 1, bytes[34] = (uint8_t)channels, put_u32(bytes + 36, rate), bytes[44] = (uint8_t)(2 * channels), bytes[46] = 16;
    memcpy(bytes + 48, "data", 4), put_u32(bytes + 52, (uint32_t)data);
    memcpy(bytes + 56, samples, data);
    put_file(name, bytes, 56 + data);
    free(bytes);
}

/* Sample i of recording k: all values differ, so a crop tells where it was. */
static void put_speech(const char *name, int k, int64_t frames) {
    int16_t samples[4000];
    for (int64_t i = 0; i < frames; i++) samples[i] = (int16_t)(k * 4000 + i - 16000);
    put_wav(name, samples, frames, 1, 8000);
}

Test(wave, crops_and_labels) {
    put_speech("a/one_ann_0.wav", 0, 3000);
    put_speech("a/one_bob_0.wav", 1, 50);
    put_speech("b/two_ann_1.wav", 2, 100);
    put_speech("b/two_bob_9.wav", 3, 100);
    put_text("b/notes.txt", "no recording");
    struct batches_options options = options_of("wav", ".", "{length: 100, rate: 8000, label: 1, exclude: \"*_9.wav\"}");
    options.batch = 3;
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_rows(batches), 3);
    int64_t before = -1;
    for (int64_t n = 0; n < 20; n++) {
        const struct flow_tensor *tensors = next(batches, n);
        const float *wave = tensors[0].data;
        cr_expect_arr_eq(tensors[1].data, ((const int64_t[]){100, 50, 100}), 24);
        cr_expect_arr_eq(tensors[2].data, ((const int64_t[]){0, 1, 0}), 24);
        const int64_t first = (int64_t)lrintf(wave[0] * 32768) + 16000;
        cr_expect(first >= 0 && first <= 2900 && first != before);
        before = first;
        for (int i = 0; i < 100; i++) {
            cr_expect_eq(wave[i], (float)(first + i - 16000) / 32768);
            cr_expect_eq(wave[100 + i], i < 50 ? (float)(4000 + i - 16000) / 32768 : 0);
            cr_expect_eq(wave[200 + i], (float)(8000 + i - 16000) / 32768);
        }
    }
    batches_close(batches);
    check_resumes(&options, 9);
    options = options_of("wav", ".", "{length: 100, label: -1, crop: center}");
    options.batch = 4;
    batches = opened(&options);
    const struct flow_tensor *tensors = next(batches, 0);
    cr_expect_eq(((float *)tensors[0].data)[0], (float)(1450 - 16000) / 32768);
    cr_expect_arr_eq(tensors[2].data, ((const int64_t[]){0, 0, 1, 1}), 32);
    batches_close(batches);
}

Test(wave, more_files_than_descriptors) {
    char name[32];
    for (int k = 0; k < 300; k++) {
        int16_t samples[2] = {(int16_t)k, (int16_t)-k};
        snprintf(name, sizeof name, "many/%03d.wav", k);
        put_wav(name, samples, 1, 2, 8000);
    }
    struct batches_options options = options_of("wav", "many", "{length: 1, channels: 2}");
    options.batch = 300;
    struct batches *batches = opened(&options);
    const struct flow_tensor *tensors = next(batches, 0);
    cr_expect_eq(tensors[0].rank, 3);
    for (int k = 0; k < 300; k++) {
        cr_expect_eq(((float *)tensors[0].data)[2 * k], (float)k / 32768);
        cr_expect_eq(((float *)tensors[0].data)[2 * k + 1], (float)-k / 32768);
    }
    batches_close(batches);
}

static void put_noise(const char *name, int seed, int64_t frames, double amplitude) {
    int16_t samples[4000];
    uint32_t random = (uint32_t)seed;
    for (int64_t i = 0; i < frames; i++) {
        random = random * 1664525u + 1013904223u;
        samples[i] = (int16_t)(((double)(random >> 8) / (1 << 24) - 0.5) * 2 * amplitude * 32767);
    }
    put_wav(name, samples, frames, 1, 8000);
}

static double power(const float *x, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sum / (double)count;
}

static void put_people(void) {
    put_noise("speech/1_ann_0.wav", 1, 3000, 0.9), put_noise("speech/2_ann_1.wav", 2, 2000, 0.1);
    put_noise("speech/1_bob_0.wav", 3, 4000, 0.3), put_noise("speech/1_cyd_0.wav", 4, 1500, 0.01);
    put_noise("noises/rain.wav", 5, 700, 0.2), put_noise("noises/sea.wav", 6, 3000, 0.5);
}

Test(wave, mixtures) {
    put_people();
    struct batches_options options =
        options_of("mix", "speech",
                   "{length: 1000, speakers: 2, speaker: 1, level: [-6, 3], loudness: [-30, -20], noise: noises, snr: [2, 8], rows: 64}");
    options.batch = 4;
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_in_epoch(batches), 16);
    int pairs[3][3] = {{0}};
    double level_low = 99, level_high = -99, snr_low = 99, snr_high = -99;
    for (int64_t n = 0; n < 32; n++) {
        const struct flow_tensor *t = next(batches, n);
        for (int64_t b = 0; b < 4; b++) {
            const float *mixture = (float *)t[0].data + b * 1000, *a = (float *)t[1].data + b * 2000, *c = a + 1000,
                        *noise = (float *)t[3].data + b * 1000;
            const int64_t *speaker = (int64_t *)t[2].data + 2 * b;
            float speech[1000];
            for (int i = 0; i < 1000; i++) {
                speech[i] = a[i] + c[i];
                cr_expect(fabsf(speech[i] + noise[i] - mixture[i]) < 1e-6f);
                cr_expect(fabsf(mixture[i]) < 1);
            }
            cr_expect(speaker[0] >= 0 && speaker[0] < 3 && speaker[1] >= 0 && speaker[1] < 3 && speaker[0] != speaker[1]);
            pairs[speaker[0]][speaker[1]]++;
            const double level = 10 * log10(power(c, 1000) / power(a, 1000)), snr = 10 * log10(power(speech, 1000) / power(noise, 1000)),
                         loudness = 10 * log10(power(speech, 1000));
            cr_expect(level > -6.001 && level < 3.001, "%g", level);
            cr_expect(snr > 1.999 && snr < 8.001, "%g", snr);
            cr_expect(loudness > -30.001 && loudness < -19.999, "%g", loudness);
            level_low = fmin(level, level_low), level_high = fmax(level, level_high);
            snr_low = fmin(snr, snr_low), snr_high = fmax(snr, snr_high);
        }
    }
    for (int i = 0; i < 9; i++)
        if (i % 4) cr_expect(pairs[i / 3][i % 3] > 8, "speakers %d and %d: %d times", i / 3, i % 3, pairs[i / 3][i % 3]);
    cr_expect(level_low < -5 && level_high > 2 && snr_low < 2.5 && snr_high > 7.5);
    batches_close(batches);
    check_resumes(&options, 20);
    cr_expect_neq(hash_batches(&options, 0, 16, 2), hash_batches(&options, 16, 16, 2), "drawn anew in each epoch");
    options.seed = 1;
    const uint64_t seeded = hash_batches(&options, 0, 4, 2);
    options.seed = 0;
    cr_expect_neq(hash_batches(&options, 0, 4, 2), seeded);
}

Test(wave, mixtures_that_stay) {
    put_people();
    struct batches_options options = options_of("mix", "speech", "{length: 2500, speakers: 3, speaker: 1, rows: 6, fixed: true}");
    options.batch = 2;
    cr_expect_eq(hash_batches(&options, 0, 3, 2), hash_batches(&options, 3, 3, 2), "each epoch is the same");
    struct batches *batches = opened(&options);
    const struct flow_tensor *t = next(batches, 0);
    cr_expect_eq(batches_outputs(batches), 3);
    cr_expect(fabs(10 * log10(power(t[0].data, 2500)) + 25) < 1e-3);
    batches_close(batches);
    options = options_of("mix", "speech", "{length: 100, speakers: 1, speaker: 1}");
    batches = opened(&options);
    cr_expect_eq(batches_in_epoch(batches), INT64_MAX);
    cr_expect_neq(((float *)next(batches, 0)[0].data)[0], ((float *)next(batches, 1)[0].data)[0]);
    batches_close(batches);
}

Test(wave, damage) {
    refused("wav", "none", "{length: 9}", FLOW_ERROR_IO, "none cannot be read: No such file");
    put_text("e/a.txt", "");
    refused("wav", "e", "{length: 9}", FLOW_ERROR_FORMAT, "e holds 0 wav files, none of which is wanted: an empty data set");
    put_speech("f/a.wav", 0, 20);
    refused("wav", "f", "{length: 9, rate: 16000}", FLOW_ERROR_RANGE, "f/a.wav has 8000 samples a second, expected 16000");
    refused("wav", "f", "{length: 9, channels: 2}", FLOW_ERROR_SHAPE, "has 1 channels, expected 2");
    refused("wav", "f", "{length: 9, label: 3}", FLOW_ERROR_USAGE, "the name f/a.wav has too few parts");
    refused("wav", "f", "{length: 9, exclude: \"*\"}", FLOW_ERROR_FORMAT, "holds 1 wav files, none of which is wanted");
    refused("mix", "f", "{length: 9}", FLOW_ERROR_RANGE, "f has recordings of 1 speakers: 2 are to talk at once");
    refused("mix", "f", "{length: 9, speakers: 1, level: [1]}", FLOW_ERROR_USAGE, "level is not a range");
    refused("mix", "f", "{length: 9, speakers: 1, snr: [3, 1]}", FLOW_ERROR_USAGE, "snr is not a range");
    put_text("f/b.wav", "RIFF....WAVEfmt ");
    refused("wav", "f", "{length: 9}", FLOW_ERROR_FORMAT, "f/b.wav has no samples");
    put_text("f/b.wav", "RIFF....WAVEfmt \x10\0\0\0");
    put_text("f/b.wav", "RIFX....WAVEfmt ....");
    refused("wav", "f", "{length: 9}", FLOW_ERROR_FORMAT, "f/b.wav is not a wav file");
    put_file("f/b.wav", "RIFF....WAVEfmt \x10\0\0\0", 20);
    refused("wav", "f", "{length: 9}", FLOW_ERROR_FORMAT, "is cut short: a chunk at byte 12 claims 16 bytes, 0 are left");
    put_file("f/b.wav", "RIFF....WAVEdata\0\0\0\0", 20);
    refused("wav", "f", "{length: 9}", FLOW_ERROR_FORMAT, "has samples before their format");
    int16_t samples[4] = {0};
    put_wav("f/b.wav", samples, 4, 1, 44100);
    refused("wav", "f", "{length: 9}", FLOW_ERROR_RANGE, "f/b.wav has 44100 samples a second, f/a.wav has 8000");
    put_wav("f/b.wav", samples, 0, 1, 8000);
    refused("mix", "f", "{length: 9, speakers: 1, noise: f/b.wav}", FLOW_ERROR_FORMAT, "b.wav has no samples");
}
