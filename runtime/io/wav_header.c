/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a RIFF/WAVE stream, taken in byte by byte so that a file and a pipe are read by the same code, and the conversion of samples.
 * Multimedia Programming Interface and Data Specifications 1.0 (1991), ch. 3; WAVE_FORMAT_EXTENSIBLE as in Microsoft's mmreg.h.
 */
#include "io/internal.h"

#include <stdio.h>
#include <string.h>

enum { WANT_RIFF, WANT_CHUNK, WANT_FORMAT, DONE };
enum { TAG_PCM = 1, TAG_FLOAT = 3, TAG_EXTENSIBLE = 0xFFFE, CHANNELS_MOST = 256 };

static uint32_t u16(const uint8_t *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }
static uint32_t u32(const uint8_t *at) { return u16(at) | u16(at + 2) << 16; }

void io_wav_header_init(struct wav_header *header) { *header = (struct wav_header){.state = WANT_RIFF, .wanted = 12}; }

static int printf_like(2, 3) fail(struct wav_header *header, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(header->error, sizeof header->error, format, arguments);
    va_end(arguments);
    return FLOW_ERROR_FORMAT;
}

/* Four characters of a file, made fit to print. */
struct mark {
    char text[5];
};
static struct mark mark(const uint8_t *at) {
    struct mark mark = {{0}};
    for (int i = 0; i < 4; i++) mark.text[i] = (char)(at[i] >= ' ' && at[i] <= '~' ? at[i] : '?');
    return mark;
}

static int take_riff(struct wav_header *h) {
    if (memcmp(h->held, "RIFX", 4) == 0 || memcmp(h->held, "RF64", 4) == 0)
        return fail(h, "begins with '%.4s': only little-endian RIFF of less than 4 GiB is read", (const char *)h->held);
    if (memcmp(h->held, "RIFF", 4) != 0 || memcmp(h->held + 8, "WAVE", 4) != 0)
        return fail(h, "is not a wav file: it begins with '%s....%s', not 'RIFF....WAVE'", mark(h->held).text, mark(h->held + 8).text);
    h->riff_size = u32(h->held + 4);
    h->state = WANT_CHUNK, h->wanted = 8;
    return 0;
}

static const char *tag_name(uint32_t tag) {
    return tag == 2    ? "Microsoft ADPCM"
           : tag == 6  ? "A-law"
           : tag == 7  ? "mu-law"
           : tag == 17 ? "IMA ADPCM"
           : tag == 85 ? "MP3"
                       : "a format";
}

static int take_format(struct wav_header *h) {
    static const uint8_t guid[14] = {0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71};
    uint32_t tag = u16(h->held);
    h->channels = (int32_t)u16(h->held + 2), h->rate = (double)u32(h->held + 4), h->bits = (int32_t)u16(h->held + 14);
    if (tag == TAG_EXTENSIBLE) {
        if (h->chunk_size < 40 || memcmp(h->held + 26, guid, sizeof guid) != 0)
            return fail(h, "its extensible format is of an unknown kind");
        tag = u16(h->held + 24);
    }
    const bool integers = tag == TAG_PCM && (h->bits == 8 || h->bits == 16 || h->bits == 24 || h->bits == 32);
    const bool floats = tag == TAG_FLOAT && (h->bits == 32 || h->bits == 64);
    if (tag != TAG_PCM && tag != TAG_FLOAT)
        return fail(h, "its samples are %s (number %u): only integers (1) and floats (3) are read", tag_name(tag), tag);
    if (!integers && !floats)
        return fail(h, "its samples are %s of %d bits: integers of 8, 16, 24, 32 and floats of 32, 64 are read",
                    tag == TAG_PCM ? "integers" : "floats", h->bits);
    if (h->channels == 0 || h->channels > CHANNELS_MOST)
        return fail(h, "it has %d channels: 1 to %d are possible", h->channels, CHANNELS_MOST);
    if (h->rate < 1) return fail(h, "its sample rate is 0");
    h->tag = (int32_t)tag;
    h->block = (int64_t)h->channels * (h->bits / 8);
    if (u16(h->held + 12) != h->block)
        return fail(h, "its blocks have %u bytes: %d channels of %d bits have %lld", u16(h->held + 12), h->channels, h->bits,
                    (long long)h->block);
    h->has_format = true;
    h->skip = (uint64_t)h->chunk_size + (h->chunk_size & 1) - h->held_count;
    h->state = WANT_CHUNK, h->wanted = 8;
    return 0;
}

/* Sizes that programs write who cannot go back: 0 (and the RIFF's size then claims nothing more either), all ones, and sox's. */
static bool unknown_size(const struct wav_header *h) {
    const uint32_t size = h->chunk_size, sox = 0x7FFFF000u;
    if (size == 0) return h->riff_size == UINT32_MAX || (uint64_t)h->riff_size + 8 <= h->position;
    return size == UINT32_MAX || (size <= sox && size + (uint64_t)h->block > sox);
}

static int take_chunk(struct wav_header *h) {
    h->chunk_size = u32(h->held + 4);
    if (memcmp(h->held, "data", 4) == 0) {
        if (!h->has_format) return fail(h, "its samples come before their format");
        h->data_size = h->chunk_size, h->to_the_end = unknown_size(h);
        if (!h->to_the_end && h->chunk_size % h->block)
            return fail(h, "its samples have %u bytes: not a multiple of %lld, a sample of all channels", h->chunk_size,
                        (long long)h->block);
        h->state = DONE;
        return 1;
    }
    if (memcmp(h->held, "fmt ", 4) == 0) {
        if (h->has_format) return fail(h, "it has two formats");
        if (h->chunk_size < 16) return fail(h, "its format has %u bytes: 16 or more are needed", h->chunk_size);
        h->state = WANT_FORMAT, h->wanted = h->chunk_size < 40 ? 16 : 40;
        return 0;
    }
    h->skip = (uint64_t)h->chunk_size + (h->chunk_size & 1);
    h->wanted = 8;
    return 0;
}

int io_wav_header_feed(struct wav_header *h, const uint8_t *bytes, size_t size, size_t *used) {
    *used = 0;
    while (h->state != DONE && *used < size) {
        const size_t left = size - *used;
        if (h->skip) {
            const size_t n = h->skip < left ? (size_t)h->skip : left;
            h->skip -= n, *used += n, h->position += n;
            continue;
        }
        const size_t n = h->wanted - h->held_count < left ? h->wanted - h->held_count : left;
        memcpy(h->held + h->held_count, bytes + *used, n);
        h->held_count += n, *used += n, h->position += n;
        if (h->held_count < h->wanted) break;
        const int status = h->state == WANT_RIFF ? take_riff(h) : h->state == WANT_CHUNK ? take_chunk(h) : take_format(h);
        if (status != 0) return status;
        h->held_count = 0;
    }
    return h->state == DONE;
}

void io_wav_header_short(struct wav_header *h) {
    if (h->position == 0) fail(h, "the file is empty");
    else if (h->state == WANT_RIFF) fail(h, "it ends after %llu bytes, within the head of a wav file", (unsigned long long)h->position);
    else fail(h, "it ends after %llu bytes, before its samples begin", (unsigned long long)h->position);
}

void io_wav_header_raw(struct wav_header *h) {
    *h = (struct wav_header){.state = DONE, .tag = TAG_PCM, .channels = 1, .bits = 16, .block = 2, .to_the_end = true};
}

/* One channel; `step` bytes from sample to sample. */
static void convert_channel(const struct wav_header *h, const uint8_t *at, int64_t frames, float *to) {
    const int64_t step = h->block;
    if (h->tag == TAG_FLOAT && h->bits == 32)
        for (int64_t i = 0; i < frames; i++, at += step) {
            const uint32_t bits = u32(at);
            memcpy(&to[i], &bits, sizeof bits);
        }
    else if (h->tag == TAG_FLOAT)
        for (int64_t i = 0; i < frames; i++, at += step) {
            const uint64_t bits = u32(at) | (uint64_t)u32(at + 4) << 32;
            double value;
            memcpy(&value, &bits, sizeof bits);
            to[i] = (float)value;
        }
    else if (h->bits == 8)
        for (int64_t i = 0; i < frames; i++, at += step) to[i] = (float)(at[0] - 128) / 128.0f;
    else if (h->bits == 16)
        for (int64_t i = 0; i < frames; i++, at += step) to[i] = (float)(int16_t)u16(at) / 32768.0f;
    else if (h->bits == 24)
        for (int64_t i = 0; i < frames; i++, at += step) to[i] = (float)((int32_t)(u16(at) << 8 | (uint32_t)at[2] << 24) >> 8) / 8388608.0f;
    else
        for (int64_t i = 0; i < frames; i++, at += step) to[i] = (float)(int32_t)u32(at) / 2147483648.0f;
}

void io_wav_convert(const struct wav_header *h, const uint8_t *bytes, int64_t frames, float *samples, int64_t stride) {
    for (int32_t channel = 0; channel < h->channels; channel++)
        convert_channel(h, bytes + channel * (h->bits / 8), frames, samples + channel * stride);
}
