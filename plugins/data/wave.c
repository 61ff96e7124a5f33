/* SPDX-License-Identifier: Apache-2.0 */
/* RIFF/WAVE files: integers of 8, 16, 24 and 32 bits, and 32-bit floats. Multimedia Programming Interface and Data Specifications 1.0
 * (1991), chapter 3. The head is read when the file is opened, the samples when they are wanted. */
#include "wave.h"

#include <string.h>

enum { PIECE_BYTES = 1 << 14, CHUNKS_MOST = 1000 };

static uint32_t u16(const uint8_t *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }
static uint32_t u32(const uint8_t *at) { return u16(at) | u16(at + 2) << 16; }

static int take_format(const struct flow_source_open *open, struct wave *wave, const uint8_t *head, uint32_t size) {
    if (size < 16) return data_wrong(open, FLOW_ERROR_FORMAT, "%s: its format chunk has %u bytes, 16 are needed", wave->path, size);
    uint32_t tag = u16(head);
    wave->channels = (int32_t)u16(head + 2), wave->rate = u32(head + 4), wave->bits = (int32_t)u16(head + 14);
    if (tag == 0xFFFE && size >= 26) tag = u16(head + 24); /* the extensible form */
    wave->is_float = tag == 3;
    const bool good = tag == 1 ? wave->bits == 8 || wave->bits == 16 || wave->bits == 24 || wave->bits == 32 : tag == 3 && wave->bits == 32;
    if (!good)
        return data_wrong(open, FLOW_ERROR_UNSUPPORTED,
                          "%s holds samples of format %u with %d bits: integers (1) of 8 to 32 bits and floats (3) of 32 are read",
                          wave->path, tag, wave->bits);
    if (wave->channels < 1 || wave->channels > WAVE_CHANNELS_MOST)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %d channels: 1 to %d are read", wave->path, wave->channels, WAVE_CHANNELS_MOST);
    return FLOW_OK;
}

/* Finds the format and the samples. */
static int wave_open(const struct flow_source_open *open, const char *path, struct wave *wave) {
    uint8_t head[40];
    int64_t bytes, at = 12;
    *wave = (struct wave){.path = path};
    int status = open->host->file_open(open->owner, path, &wave->file, &bytes);
    if (status < 0) return status;
    if (bytes < 12) return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %lld bytes: no wav file is so short", path, (long long)bytes);
    status = open->host->file_read(open->owner, wave->file, 0, 12, head);
    if (status < 0) return status;
    if (memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s is not a wav file: it does not begin with RIFF....WAVE", path);
    for (int chunks = 0; chunks < CHUNKS_MOST && bytes - at >= 8; chunks++) {
        status = open->host->file_read(open->owner, wave->file, at, 8, head);
        if (status < 0) return status;
        const uint32_t size = u32(head + 4);
        const bool samples = memcmp(head, "data", 4) == 0, format = memcmp(head, "fmt ", 4) == 0;
        if (size > bytes - at - 8)
            return data_wrong(open, FLOW_ERROR_FORMAT, "%s is cut short: a chunk at byte %lld claims %u bytes, %lld are left", path,
                              (long long)at, size, (long long)(bytes - at - 8));
        if (samples && !wave->channels) return data_wrong(open, FLOW_ERROR_FORMAT, "%s has samples before their format", path);
        if (samples) {
            const int64_t block = (int64_t)wave->channels * wave->bits / 8;
            if (size % block)
                return data_wrong(open, FLOW_ERROR_FORMAT, "%s has %u bytes of samples: not a multiple of %lld", path, size,
                                  (long long)block);
            wave->start = at + 8, wave->frames = size / block;
            return FLOW_OK;
        }
        if (format) {
            const uint32_t few = size < sizeof head ? size : (uint32_t)sizeof head;
            status = open->host->file_read(open->owner, wave->file, at + 8, few, head);
            if (status == FLOW_OK) status = take_format(open, wave, head, size);
            if (status < 0) return status;
        }
        at += 8 + (int64_t)size + (size & 1);
    }
    return data_wrong(open, FLOW_ERROR_FORMAT, "%s has no samples: there is no chunk 'data'", path);
}

static int check_wave(const struct flow_source_open *open, const struct wave_choice *choice, const struct wave *wave,
                      const struct wave *first) {
    if (choice->rate != FLOW_INT_ABSENT && wave->rate != (double)choice->rate)
        return data_wrong(open, FLOW_ERROR_RANGE, "%s has %g samples a second, expected %lld", wave->path, wave->rate,
                          (long long)choice->rate);
    if (wave->rate != first->rate)
        return data_wrong(open, FLOW_ERROR_RANGE, "%s has %g samples a second, %s has %g", wave->path, wave->rate, first->path,
                          first->rate);
    if (wave->channels != choice->channels)
        return data_wrong(open, FLOW_ERROR_SHAPE, "%s has %d channels, expected %lld", wave->path, wave->channels,
                          (long long)choice->channels);
    return FLOW_OK;
}

int waves_open(const struct flow_source_open *open, const char *path, const struct wave_choice *choice, struct waves *waves) {
    const char *const *paths;
    int64_t count;
    int status = open->host->folder(open->owner, path, ".wav", &paths, &count);
    if (status < 0) return status;
    *waves = (struct waves){data_memory(open, count, sizeof *waves->at), 0};
    if (!waves->at) return FLOW_ERROR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        const char *name = data_base_name(paths[i]);
        if (!data_matches(choice->include, name, true) || data_matches(choice->exclude, name, false)) continue;
        if (open->host->cancelled(open->owner)) return FLOW_ERROR_CANCELLED;
        struct wave *wave = &waves->at[waves->count++];
        status = wave_open(open, paths[i], wave);
        if (status == FLOW_OK) status = check_wave(open, choice, wave, waves->at);
        if (status < 0) return status;
    }
    if (waves->count == 0)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s holds %lld wav files, none of which is wanted: an empty data set", path,
                          (long long)count);
    return FLOW_OK;
}

/* One sample as it lies in the file. */
static float sample_at(const struct wave *wave, const uint8_t *at) {
    uint32_t bits;
    float real;
    switch (wave->bits) {
    case 8: return (float)(at[0] - 128) * 0x1p-7f;
    case 16: return (float)(int16_t)u16(at) * 0x1p-15f;
    case 24: return (float)((int32_t)(u16(at) << 8 | (uint32_t)at[2] << 24) >> 8) * 0x1p-23f;
    default: break;
    }
    bits = u32(at);
    if (!wave->is_float) return (float)(int32_t)bits * 0x1p-31f;
    memcpy(&real, &bits, sizeof real);
    return real;
}

int wave_read(const struct flow_source_fill *fill, const struct wave *wave, int64_t first, int64_t count, float *to, int64_t stride) {
    uint8_t piece[PIECE_BYTES];
    const int64_t width = wave->bits / 8, block = width * wave->channels, most = PIECE_BYTES / block;
    for (int64_t done = 0; done < count;) {
        const int64_t frames = count - done < most ? count - done : most;
        int status = fill->host->file_read(fill->owner, wave->file, wave->start + (first + done) * block, frames * block, piece);
        if (status < 0) return status;
        for (int64_t c = 0; c < wave->channels; c++)
            for (int64_t i = 0; i < frames; i++) to[c * stride + done + i] = sample_at(wave, piece + i * block + c * width);
        done += frames;
    }
    return FLOW_OK;
}

char *wave_field(const struct flow_source_open *open, const struct wave *wave, int64_t field, const char *separator) {
    const char *name = data_base_name(wave->path), *end = strrchr(name, '.');
    if (field < 0) {
        const char *start = name > wave->path ? name - 1 : name;
        end = start;
        while (start > wave->path && start[-1] != '/') start--;
        return data_copy(open, start, (size_t)(end - start));
    }
    if (!end) end = name + strlen(name);
    const size_t width = strlen(separator);
    const char *at = name;
    for (;;) {
        const char *stop = width ? strstr(at, separator) : NULL;
        if (!stop || stop > end) stop = end;
        if (field-- == 0) return data_copy(open, at, (size_t)(stop - at));
        if (stop == end) break;
        at = stop + width;
    }
    data_wrong(open, FLOW_ERROR_USAGE, "the name %s has too few parts, cut at '%s'", wave->path, separator);
    return NULL;
}

int waves_label(const struct flow_source_open *open, const struct waves *waves, int64_t field, const char *separator,
                struct data_labels *labels, int64_t **numbers) {
    const char **texts = data_memory(open, waves->count, sizeof *texts);
    *numbers = data_memory(open, waves->count, sizeof **numbers);
    if (!texts || !*numbers) return FLOW_ERROR_MEMORY;
    for (int64_t i = 0; i < waves->count; i++)
        if (!(texts[i] = wave_field(open, &waves->at[i], field, separator))) return FLOW_ERROR_USAGE;
    return data_labels_of(open, texts, waves->count, labels, *numbers);
}
