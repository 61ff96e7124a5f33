/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mix: speakers that talk at once, and noise. Row r draws `speakers` different speakers, a recording of each and a crop of it; every crop
 * is brought to the same power, then moved by a level drawn in decibels; their sum gets the loudness and the noise its ratio to that sum.
 * All draws are functions of the seed and the row.
 */
#include "wave.h"

#include <math.h>
#include <string.h>

enum { SPEAKERS_MOST = 16, DRAW_LOUDNESS = 1000, DRAW_NOISE = 1001, DRAW_SNR = 1003 };

struct mix_attrs {
    int64_t length, rate, speakers, speaker;
    const char *separator, *include, *exclude;
    struct flow_values level, loudness;
    const char *noise, *noise_include, *noise_exclude;
    struct flow_values snr;
    int64_t rows;
    bool fixed;
};

struct mix {
    struct waves waves, noise;
    int64_t *order;  /* recordings, those of a speaker side by side */
    int64_t *starts; /* [speakers + 1]: where a speaker's begin in it */
    int64_t speaker_count;
    uint64_t seed;
};

static const struct flow_port outputs[] = {
    {"mixture", "all that is heard", "B length", FLOW_TYPE(F32), 0},
    {"sources", "each speaker alone, as loud as in the mixture", "B speakers length", FLOW_TYPE(F32), 0},
    {"speaker", "their numbers, in sorted order of their names", "B speakers", FLOW_TYPE(I64), 0},
    {"noise", "the noise alone, where there is some", "B length", FLOW_TYPE(F32), FLOW_OPTIONAL},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct mix_attrs, length, "samples in a row", FLOW_REQUIRED, 1, 1 << 28),
    FLOW_ATTR(struct mix_attrs, rate, "samples a second that all recordings must have; absent: one and the same", FLOW_ABSENT, 1, 1 << 24),
    FLOW_ATTR(struct mix_attrs, speakers, "that talk at once, all different", "2", 1, SPEAKERS_MOST),
    FLOW_ATTR(struct mix_attrs, speaker, "part of a file's name that is the speaker, from 0; -1: the folder's name", "0", -1, 64),
    FLOW_ATTR_PLAIN(struct mix_attrs, separator, "what parts a file's name", "_"),
    FLOW_ATTR_PLAIN(struct mix_attrs, include, "file names that are taken: * stands for any text, | is or", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct mix_attrs, exclude, "file names that are left out", FLOW_ABSENT),
    FLOW_ATTR(struct mix_attrs, level, "range of the others' level against the first one's, dB", "[0, 0]", -200, 200),
    FLOW_ATTR(struct mix_attrs, loudness, "range of the speech's power, dB against full scale", "[-25, -25]", -200, 0),
    FLOW_ATTR_PLAIN(struct mix_attrs, noise, "folder of noises; absent: none", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct mix_attrs, noise_include, "names of noises that are taken", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct mix_attrs, noise_exclude, "names of noises that are left out", FLOW_ABSENT),
    FLOW_ATTR(struct mix_attrs, snr, "range of the signal-to-noise ratio, dB", "[0, 10]", -200, 200),
    FLOW_ATTR(struct mix_attrs, rows, "rows in an epoch; absent: endless", FLOW_ABSENT, 1, 1LL << 50),
    FLOW_ATTR_PLAIN(struct mix_attrs, fixed, "the same rows in each epoch (validation)", "false"),
};

static int check_range(const struct flow_source_open *open, const char *name, const struct flow_values *range) {
    if (range->rank == 1 && range->count == 2 && range->at[0] <= range->at[1]) return FLOW_OK;
    return data_wrong(open, FLOW_ERROR_USAGE, "%s is not a range [low, high]", name);
}

/* Recordings in order of speaker. */
static int sort_speakers(const struct flow_source_open *open, struct mix *mix, const struct mix_attrs *a) {
    struct data_labels labels;
    int64_t *numbers;
    int status = waves_label(open, &mix->waves, a->speaker, a->separator, &labels, &numbers);
    if (status < 0) return status;
    if (labels.count < a->speakers)
        return data_wrong(open, FLOW_ERROR_RANGE, "%s has recordings of %lld speakers: %lld are to talk at once", open->path,
                          (long long)labels.count, (long long)a->speakers);
    mix->speaker_count = labels.count;
    mix->order = data_memory(open, mix->waves.count, sizeof *mix->order);
    mix->starts = data_memory(open, labels.count + 2, sizeof *mix->starts);
    if (!mix->order || !mix->starts) return FLOW_ERROR_MEMORY;
    for (int64_t i = 0; i < mix->waves.count; i++) mix->starts[numbers[i] + 2]++;
    for (int64_t s = 2; s < labels.count + 2; s++) mix->starts[s] += mix->starts[s - 1];
    for (int64_t i = 0; i < mix->waves.count; i++) mix->order[mix->starts[numbers[i] + 1]++] = i;
    return FLOW_OK;
}

static int open_source(struct flow_source_open *open) {
    const struct mix_attrs *a = open->attrs;
    struct mix *mix = data_memory(open, 1, sizeof *mix);
    if (!mix) return FLOW_ERROR_MEMORY;
    open->state = mix;
    mix->seed = open->seed;
    const struct wave_choice choice = {a->include, a->exclude, 1, a->rate};
    int status = waves_open(open, open->path, &choice, &mix->waves);
    if (status == FLOW_OK) status = sort_speakers(open, mix, a);
    if (status == FLOW_OK) status = check_range(open, "level", &a->level);
    if (status == FLOW_OK) status = check_range(open, "loudness", &a->loudness);
    if (status == FLOW_OK) status = check_range(open, "snr", &a->snr);
    if (status == FLOW_OK && a->noise) {
        const struct wave_choice noises = {a->noise_include, a->noise_exclude, 1, (int64_t)mix->waves.at[0].rate};
        status = waves_open(open, a->noise, &noises, &mix->noise);
    }
    for (int64_t i = 0; status == FLOW_OK && i < mix->noise.count; i++)
        if (mix->noise.at[i].frames == 0) status = data_wrong(open, FLOW_ERROR_FORMAT, "%s has no samples", mix->noise.at[i].path);
    const int64_t shape[] = {a->speakers, a->length};
    if (status == FLOW_OK) status = data_output(open, "mixture", FLOW_F32, 1, shape + 1);
    if (status == FLOW_OK) status = data_output(open, "sources", FLOW_F32, 2, shape);
    if (status == FLOW_OK) status = data_output(open, "speaker", FLOW_I64, 1, shape);
    if (status == FLOW_OK && a->noise) status = data_output(open, "noise", FLOW_F32, 1, shape + 1);
    open->rows = a->rows == FLOW_INT_ABSENT ? INT64_MAX : a->rows;
    return status;
}

/* What is drawn for one row. */
struct draws {
    uint64_t seed;
    int64_t row;
};

static double draw(const struct draws *draws, uint64_t number) { return data_uniform(draws->seed, draws->row, number); }

static int64_t draw_below(const struct draws *draws, uint64_t number, int64_t count) {
    const int64_t drawn = (int64_t)(draw(draws, number) * (double)count);
    return drawn < count ? drawn : count - 1;
}

static double draw_decibels(const struct draws *draws, uint64_t number, const struct flow_values *range) {
    return range->at[0] + draw(draws, number) * (range->at[1] - range->at[0]);
}

static double power(const float *x, int64_t count, int64_t of) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return of > 0 ? sum / (double)of : 0;
}

static void scale(float *x, int64_t count, double by) {
    for (int64_t i = 0; i < count; i++) x[i] = (float)((double)x[i] * by);
}

/* `count` different speakers of all, in the order in which they are drawn: each time one of those that are left, counted past the
 * others. */
static void draw_speakers(const struct draws *draws, int64_t all, int64_t count, int64_t *speakers) {
    int64_t sorted[SPEAKERS_MOST];
    for (int64_t s = 0; s < count; s++) {
        int64_t place = draw_below(draws, (uint64_t)s, all - s), at = 0;
        for (; at < s && sorted[at] <= place; at++) place++;
        for (int64_t i = s; i > at; i--) sorted[i] = sorted[i - 1];
        sorted[at] = speakers[s] = place;
    }
}

/* One speaker: a crop, or the whole of a shorter recording somewhere in the row; of power 1 over what is there, times the level. */
static int fill_speaker(const struct flow_source_fill *fill, const struct mix *mix, const struct mix_attrs *a, const struct draws *draws,
                        int64_t s, int64_t speaker, float *to) {
    const uint64_t number = 16 + 4 * (uint64_t)s;
    const int64_t first = mix->starts[speaker], count = mix->starts[speaker + 1] - first;
    const struct wave *wave = &mix->waves.at[mix->order[first + draw_below(draws, number, count)]];
    const int64_t spare = wave->frames - a->length, there = spare < 0 ? wave->frames : a->length;
    const int64_t at = draw_below(draws, number + 1, (spare < 0 ? -spare : spare) + 1);
    memset(to, 0, (size_t)a->length * sizeof *to);
    int status = wave_read(fill, wave, spare > 0 ? at : 0, there, to + (spare < 0 ? at : 0), a->length);
    const double had = status == FLOW_OK ? power(to, a->length, there) : 0;
    const double level = s ? draw_decibels(draws, number + 2, &a->level) : 0;
    if (had > 0) scale(to, a->length, pow(10, level / 20) / sqrt(had));
    return status;
}

/* Noise of any length, from a place that is drawn on, going round. */
static int fill_noise(const struct flow_source_fill *fill, const struct mix *mix, const struct mix_attrs *a, const struct draws *draws,
                      float *to) {
    const struct wave *wave = &mix->noise.at[draw_below(draws, DRAW_NOISE, mix->noise.count)];
    int64_t at = draw_below(draws, DRAW_NOISE + 1, wave->frames);
    int status = FLOW_OK;
    for (int64_t done = 0, piece; status == FLOW_OK && done < a->length; done += piece, at = 0) {
        piece = wave->frames - at < a->length - done ? wave->frames - at : a->length - done;
        status = wave_read(fill, wave, at, piece, to + done, a->length);
    }
    return status;
}

static void add(float *to, const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] += x[i];
}

static int fill_row(const struct flow_source_fill *fill, const struct mix *mix, const struct mix_attrs *a, int64_t i) {
    const struct draws draws = {a->fixed ? mix->seed : fill->seed, fill->rows[i]};
    const int64_t n = a->length;
    float *mixture = (float *)fill->out[0].data + i * n, *sources = (float *)fill->out[1].data + i * a->speakers * n;
    int64_t *speakers = (int64_t *)fill->out[2].data + i * a->speakers;
    float *noise = a->noise ? (float *)fill->out[3].data + i * n : NULL;
    int status = FLOW_OK;
    draw_speakers(&draws, mix->speaker_count, a->speakers, speakers);
    for (int64_t s = 0; status == FLOW_OK && s < a->speakers; s++)
        status = fill_speaker(fill, mix, a, &draws, s, speakers[s], sources + s * n);
    if (status == FLOW_OK && noise) status = fill_noise(fill, mix, a, &draws, noise);
    if (status < 0) return status;
    memset(mixture, 0, (size_t)n * sizeof *mixture);
    for (int64_t s = 0; s < a->speakers; s++) add(mixture, sources + s * n, n);
    const double loudness = pow(10, draw_decibels(&draws, DRAW_LOUDNESS, &a->loudness) / 20), had = power(mixture, n, n);
    double by = had > 0 ? loudness / sqrt(had) : 1, peak = 0;
    scale(sources, a->speakers * n, by), scale(mixture, n, by);
    if (noise) {
        const double noisy = power(noise, n, n), ratio = draw_decibels(&draws, DRAW_SNR, &a->snr);
        if (noisy > 0) scale(noise, n, (had > 0 ? loudness : 1) * pow(10, -ratio / 20) / sqrt(noisy));
        add(mixture, noise, n);
    }
    for (int64_t k = 0; k < n; k++) peak = fmax(peak, fabs((double)mixture[k]));
    if (peak < 1) return FLOW_OK;
    by = 0.99 / peak; /* what would not fit into a wav file is made quieter, all of it alike */
    scale(mixture, n, by), scale(sources, a->speakers * n, by);
    if (noise) scale(noise, n, by);
    return FLOW_OK;
}

static int fill_source(const struct flow_source_fill *fill) {
    int status = FLOW_OK;
    for (int64_t i = 0; status == FLOW_OK && i < fill->count; i++) status = fill_row(fill, fill->state, fill->attrs, i);
    return status;
}

const struct flow_source data_mix = {
    .size = sizeof data_mix,
    .name = "mix",
    .summary = "mixtures of several speakers and noise, drawn from folders of recordings",
    .reference = "Hershey, Chen, Le Roux, Watanabe, Deep clustering (ICASSP 2016), section 4.1: mixtures at drawn levels",
    .example =
        "train: {source: mix, path: digits, with: {length: 16000, rate: 8000, speakers: 2, speaker: 1, level: [-5, 5], noise: noises, "
        "snr: [0, 10], batch: 4}, feeds: {wave: mixture, target: sources}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct mix_attrs),
    .open = open_source,
    .fill = fill_source,
};
