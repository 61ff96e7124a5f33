/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEECH_STFT_H
#define SPEECH_STFT_H

#include "common/fft.h"
#include "speech.h"

enum { STFT_BLOCK = 16 }; /* frames whose spectra are turned over together: the tensors have time as their last axis */

struct stft_attrs {
    int64_t size, hop, length, samples;
    int32_t window;
    bool periodic, center;
};

/* What both transforms know of their size. Packed: the table of the Fourier transform, then the window in the type computed in. */
struct stft_sizes {
    const struct fft_functions *fft;
    int32_t dtype; /* computed in */
    int64_t size, hop, bins;
    int64_t table;   /* bytes */
    int64_t work;    /* bytes of scratch for one transform */
    int64_t frame;   /* bytes of one frame of samples */
    int64_t spectra; /* bytes of STFT_BLOCK spectra, one part */
};

/* One sequence [held + samples] that frames are cut from; frame 0 begins at `origin`. Samples beyond it are its mirror image. */
struct stft_cut {
    const struct stft_sizes *sizes;
    const void *table, *window;
    const void *tail, *x;
    int64_t held, samples, origin, frames;
    void *re, *im;       /* [bins, frames] */
    void *scratch;       /* stft_scratch bytes */
    bool add_re, add_im; /* spread: to what is there; re, im NULL: not wanted */
};

/* One sequence that frames are added up to. Sums 0 .. held come from the stream's state. Sums [drop, final) are divided by the envelope and
 * go to y, those from `final` on to the state that goes out. */
struct stft_sum {
    const struct stft_sizes *sizes;
    const void *table, *window;
    const void *re, *im; /* [bins, frames] */
    int64_t frames, held, offset, total, final, drop, emitted;
    const void *tail, *envelope;
    void *tail_out, *envelope_out;
    void *y;
    void *scratch; /* istft_scratch bytes */
    bool gradient; /* re, im are gradients of spectra (NULL: 0), y that of the windowed frames' sum, not divided */
};

struct stft_functions {
    void (*cut_f32)(const struct stft_cut *cut, int64_t begin, int64_t end); /* frames */
    void (*cut_f64)(const struct stft_cut *cut, int64_t begin, int64_t end);
    void (*sum_f32)(const struct stft_sum *sum, int64_t begin, int64_t end); /* sums */
    void (*sum_f64)(const struct stft_sum *sum, int64_t begin, int64_t end);
    void (*spread_f32)(const struct stft_cut *cut, int64_t begin, int64_t end); /* frames: the inverse's gradient */
    void (*spread_f64)(const struct stft_cut *cut, int64_t begin, int64_t end);
};
ISA_DECLARE(struct stft_functions, stft_functions);

int stft_prepare_sizes(struct flow_infer *ctx, struct stft_sizes *sizes, int32_t dtype); /* sets packed and its key */
void stft_fill(const struct flow_call *call, const struct stft_sizes *sizes, void *packed);
static inline int64_t stft_packed_bytes(const struct stft_sizes *s) { return s->table + s->frame; }
static inline int64_t stft_scratch(const struct stft_sizes *s) { return s->work + s->frame + 2 * s->spectra; }
/* One hop and one frame more than a round of sums, of sums and of envelope. */
static inline int64_t istft_round(const struct stft_sizes *s) { return speech_most(16 * s->hop, s->size); }
int64_t istft_scratch(const struct stft_sizes *sizes);

struct stft_priv {
    struct stft_sizes sizes;
    const struct stft_functions *functions;
    int64_t held, lead, after, parts, scratch;
    int64_t back, reach; /* backward: scratch of a part; samples that frames reach, those before the first included */
    bool tail;
};

struct istft_priv {
    struct stft_sizes sizes;
    const struct stft_functions *functions;
    struct overlap overlap;
    int64_t held, parts, scratch;
    int64_t line; /* backward: bytes of the sums' gradients, and of the envelope */
    bool streams;
};

#define STFT_ATTRS                                                                                                                 \
    FLOW_ATTR(struct stft_attrs, size, "samples that are transformed; need not be a power of two", FLOW_REQUIRED, 1, 1 << 24),     \
        FLOW_ATTR(struct stft_attrs, hop, "samples between frames", FLOW_REQUIRED, 1, 1 << 24),                                    \
        FLOW_ATTR_CHOICES(struct stft_attrs, window, "window over a frame", "hann", "hann|sqrt_hann|hamming|rect"),                \
        FLOW_ATTR_PLAIN(struct stft_attrs, periodic, "window n/N; else n/(N-1)", "true"),                                          \
        FLOW_ATTR(struct stft_attrs, length, "samples of the window, zeros around it; size when absent", FLOW_ABSENT, 1, 1 << 24), \
        FLOW_ATTR_PLAIN(struct stft_attrs, center, "frames are centred: size/2 samples more at either end, mirrored", "true")

#endif
