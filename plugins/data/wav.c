/* SPDX-License-Identifier: Apache-2.0 */
/* wav: a folder of recordings, a row each: a crop of fixed length, drawn anew in each epoch, with silence behind what is shorter. */
#include "wave.h"

#include <string.h>

enum { CROP_RANDOM, CROP_START, CROP_CENTER };

struct wav_attrs {
    int64_t length, rate, channels;
    int32_t crop;
    const char *include, *exclude;
    int64_t label;
    const char *separator;
};

struct wav {
    struct waves waves;
    int64_t *labels; /* NULL: none */
};

static const struct flow_port outputs[] = {
    {"wave", "samples in [-1, 1); of several channels [C, length]", "B ... length", FLOW_TYPE(F32), 0},
    {"length", "samples that are the recording's, the rest is silence", "B", FLOW_TYPE(I64), 0},
    {"label", "number of the recording's label, where `label` is given: labels are numbered in sorted order", "B", FLOW_TYPE(I64),
     FLOW_OPTIONAL},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct wav_attrs, length, "samples in a row", FLOW_REQUIRED, 1, 1 << 28),
    FLOW_ATTR(struct wav_attrs, rate, "samples a second that all recordings must have; absent: one and the same", FLOW_ABSENT, 1, 1 << 24),
    FLOW_ATTR(struct wav_attrs, channels, "channels that all recordings must have", "1", 1, WAVE_CHANNELS_MOST),
    FLOW_ATTR_CHOICES(struct wav_attrs, crop, "which part of a recording that is longer than a row", "random", "random|start|center"),
    FLOW_ATTR_PLAIN(struct wav_attrs, include, "file names that are taken: * stands for any text, | is or", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct wav_attrs, exclude, "file names that are left out", FLOW_ABSENT),
    FLOW_ATTR(struct wav_attrs, label, "part of the file's name that is the label, from 0; -1: its folder's name", FLOW_ABSENT, -1, 64),
    FLOW_ATTR_PLAIN(struct wav_attrs, separator, "what parts a file's name", "_"),
};

static int open_source(struct flow_source_open *open) {
    const struct wav_attrs *a = open->attrs;
    const struct wave_choice choice = {a->include, a->exclude, a->channels, a->rate};
    struct wav *wav = data_memory(open, 1, sizeof *wav);
    if (!wav) return FLOW_ERROR_MEMORY;
    open->state = wav;
    int status = waves_open(open, open->path, &choice, &wav->waves);
    struct data_labels labels;
    if (status == FLOW_OK && a->label != FLOW_INT_ABSENT)
        status = waves_label(open, &wav->waves, a->label, a->separator, &labels, &wav->labels);
    if (status < 0) return status;
    const int64_t shape[] = {a->channels, a->length};
    const bool several = a->channels > 1;
    status = data_output(open, "wave", FLOW_F32, several ? 2 : 1, several ? shape : shape + 1);
    if (status == FLOW_OK) status = data_output(open, "length", FLOW_I64, 0, NULL);
    if (status == FLOW_OK && wav->labels) status = data_output(open, "label", FLOW_I64, 0, NULL);
    open->rows = wav->waves.count;
    return status;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct wav_attrs *a = fill->attrs;
    const struct wav *wav = fill->state;
    for (int64_t i = 0; i < fill->count; i++) {
        const struct wave *wave = &wav->waves.at[fill->rows[i]];
        float *to = (float *)fill->out[0].data + i * a->channels * a->length;
        const int64_t spare = wave->frames - a->length, count = spare < 0 ? wave->frames : a->length;
        int64_t first = 0;
        if (spare > 0 && a->crop == CROP_CENTER) first = spare / 2;
        if (spare > 0 && a->crop == CROP_RANDOM) first = (int64_t)(data_uniform(fill->seed, fill->rows[i], 0) * (double)(spare + 1));
        int status = wave_read(fill, wave, first, count, to, a->length);
        if (status < 0) return status;
        for (int64_t c = 0; c < a->channels; c++) memset(to + c * a->length + count, 0, (size_t)(a->length - count) * sizeof *to);
        ((int64_t *)fill->out[1].data)[i] = count;
        if (wav->labels) ((int64_t *)fill->out[2].data)[i] = wav->labels[fill->rows[i]];
    }
    return FLOW_OK;
}

const struct flow_source data_wav = {
    .size = sizeof data_wav,
    .name = "wav",
    .summary = "recordings of a folder, cut to one length, with labels from their names",
    .reference = "Multimedia Programming Interface and Data Specifications 1.0 (1991), chapter 3",
    .example = "train: {source: wav, path: digits, with: {length: 8000, rate: 8000, label: 0, exclude: \"*_8.wav|*_9.wav\", batch: 16, "
               "shuffle: true}, feeds: {wave: wave, label: label}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct wav_attrs),
    .open = open_source,
    .fill = fill_source,
};
