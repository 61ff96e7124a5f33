/* SPDX-License-Identifier: Apache-2.0 */
/* Recordings, read in pieces from where they lie: shared by `wav` and `mix`. */
#ifndef DATA_WAVE_H
#define DATA_WAVE_H

#include "data.h"

enum { WAVE_CHANNELS_MOST = 32 };

struct wave {
    const char *path;
    void *file;
    int64_t start, frames; /* where the samples begin; of each channel */
    int32_t channels, bits;
    bool is_float;
    double rate; /* samples a second */
};

struct waves {
    struct wave *at;
    int64_t count;
};

/* Opens a folder's recordings (or one file) whose names fit. All must have `channels` and the rate `rate` (absent: one and the same). */
struct wave_choice {
    const char *include, *exclude;
    int64_t channels, rate;
};
int waves_open(const struct flow_source_open *open, const char *path, const struct wave_choice *choice, struct waves *waves);
/* Frames first .. first+count-1 of all channels as real numbers in [-1, 1): to[channel * stride + i]. */
int wave_read(const struct flow_source_fill *fill, const struct wave *wave, int64_t first, int64_t count, float *to, int64_t stride);
/* Part `field` of the file's name where it is cut at `separator`, from 0, without the ending; -1: the name of its folder. */
char *wave_field(const struct flow_source_open *open, const struct wave *wave, int64_t field, const char *separator);
/* The numbers of those parts, over all recordings. */
int waves_label(const struct flow_source_open *open, const struct waves *waves, int64_t field, const char *separator,
                struct data_labels *labels, int64_t **numbers);

#endif
