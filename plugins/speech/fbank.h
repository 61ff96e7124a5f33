/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEECH_FBANK_H
#define SPEECH_FBANK_H

#include "common/fft.h"
#include "speech.h"

struct fbank_attrs {
    int64_t rate, mels;
    double window_ms, hop_ms, low, high, preemphasis, scale;
    int32_t window;
    bool remove_dc, snip_edges, power, log;
};

/* A filter's weights stand at `at` in the list of weights, for bins first .. first + count; count is a multiple of FBANK_STEP (the weights
 * past its end are 0), so that sums need no rest. */
enum { FBANK_STEP = 4 };
struct fbank_filter {
    int32_t first, count;
    int64_t at;
};

/* Packed: the Fourier transform's table, the window, the filters, their weights. */
struct fbank_sizes {
    const struct fft_functions *fft;
    int32_t dtype; /* computed in */
    int64_t length, hop, size, mels;
    int64_t table, window, filters, weights; /* bytes of each */
    int64_t work, part;                      /* bytes of scratch: the transform's, a spectrum's part */
};
int64_t fbank_scratch(const struct fbank_sizes *sizes);
int64_t fbank_back_scratch(const struct fbank_sizes *sizes); /* of backward: a part of energies and one of filters more */

/* One sequence [held + samples]; frame t begins at origin + t*hop; beyond the ends it is mirrored (snip_edges: false). */
struct fbank_cut {
    const struct fbank_attrs *attrs;
    const struct fbank_sizes *sizes;
    const char *packed;
    const void *tail, *x;
    int64_t held, samples, origin;
    void *y; /* [frames, mels] */
    void *scratch;
    const void *dy; /* backward: gradient of y */
    void *reached;  /* of the sequence's samples from `origin` on */
};

struct fbank_functions {
    void (*frames_f32)(const struct fbank_cut *cut, int64_t begin, int64_t end);
    void (*frames_f64)(const struct fbank_cut *cut, int64_t begin, int64_t end);
    /* Elements [begin, end) of `reached` from all frames that hold them. */
    void (*back_f32)(const struct fbank_cut *cut, int64_t frames, int64_t begin, int64_t end);
    void (*back_f64)(const struct fbank_cut *cut, int64_t frames, int64_t begin, int64_t end);
};
ISA_DECLARE(struct fbank_functions, fbank_functions);

struct fbank_priv {
    struct fbank_sizes sizes;
    const struct fbank_functions *functions;
    int64_t held, origin, after, parts;
    int64_t scratch;     /* bytes a part */
    int64_t back, reach; /* backward: bytes a part; samples from the first frame's start to the last one's end */
};

#endif
