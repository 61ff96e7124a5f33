/* SPDX-License-Identifier: Apache-2.0 */
/* Wav files made by hand. */
#ifndef FLOW_TESTS_WAV_TEST_H
#define FLOW_TESTS_WAV_TEST_H

#include "io/io_test.h"

struct wav_made {
    unsigned char bytes[4096];
    size_t size, last; /* `last`: where the latest chunk begins */
    bool keep_sizes;   /* leave the RIFF's size as it was set */
};

static inline void wav_set(struct wav_made *w, size_t at, uint32_t value) {
    for (int i = 0; i < 4; i++) w->bytes[at + (size_t)i] = (unsigned char)(value >> (8 * i));
}

static inline void wav_riff(struct wav_made *w) {
    memcpy(w->bytes, "RIFF\0\0\0\0WAVE", 12);
    w->size = 12;
}

/* With its byte of padding where it needs one. */
static inline void wav_chunk(struct wav_made *w, const char *name, const void *bytes, size_t size) {
    w->last = w->size;
    memcpy(w->bytes + w->size, name, 4);
    wav_set(w, w->size + 4, (uint32_t)size);
    if (size) memcpy(w->bytes + w->size + 8, bytes, size);
    w->size += 8 + size + size % 2;
}

/* `sub` is the format within an extensible (0xFFFE) one. */
static inline void wav_head(struct wav_made *w, int tag, int channels, uint32_t rate, int bits, int sub) {
    unsigned char format[40] = {(unsigned char)tag, (unsigned char)(tag >> 8), (unsigned char)channels, (unsigned char)(channels >> 8)};
    const int block = channels * (bits / 8);
    for (int i = 0; i < 4; i++) format[4 + i] = (unsigned char)(rate >> (8 * i));
    format[12] = (unsigned char)block, format[13] = (unsigned char)(block >> 8), format[14] = (unsigned char)bits;
    format[16] = 22, format[18] = (unsigned char)bits, format[24] = (unsigned char)sub;
    memcpy(format + 26, "\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71", 14);
    wav_riff(w);
    wav_chunk(w, "fmt ", format, tag == 0xFFFE ? 40 : 16);
}

static inline const char *wav_put(struct wav_made *w, const char *name) {
    if (!w->keep_sizes) wav_set(w, 4, (uint32_t)w->size - 8);
    return put_file(name, w->bytes, w->size);
}

#endif
