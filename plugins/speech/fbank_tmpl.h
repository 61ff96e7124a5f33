/* SPDX-License-Identifier: Apache-2.0 */
/* Template: frames of a wave to log mel energies in REAL. The including file names REAL, FBANK_LOAD, FBANK_WINDOW, FBANK_SUMS,
 * FBANK_MELS, FBANK_FRAMES, FBANK_SPREAD, FBANK_UNWINDOW, FBANK_BACK, LOG, MAX, SQRT and the transforms FFT_FORWARD, FFT_INVERSE. */

/* The samples of frame t, scaled; returns their sum. */
static REAL FBANK_LOAD(const struct fbank_cut *c, int64_t t, REAL *frame) {
    const REAL *x = c->x, *tail = c->tail, scale = (REAL)c->attrs->scale;
    int64_t length = c->sizes->length, first = c->origin + t * c->sizes->hop, all = c->held + c->samples;
    REAL sum = 0;
    int64_t old = first < c->held ? c->held - first : 0; /* samples of the frame that the state holds */
    if (first >= 0 && first + length <= all) {
        if (old > length) old = length;
        const REAL *from = tail ? tail + first : tail, *rest = x + (first + old - c->held);
#pragma omp simd
        for (int64_t n = 0; n < old; n++) frame[n] = from[n] * scale;
        REAL *to = frame + old;
#pragma omp simd
        for (int64_t n = 0; n < length - old; n++) to[n] = rest[n] * scale;
#pragma omp simd reduction(+ : sum)
        for (int64_t n = 0; n < length; n++) sum += frame[n]; /* apart, so that it does not depend on where pieces end */
        return sum;
    }
    for (int64_t n = 0; n < length; n++) {
        int64_t i = (first + n) % (2 * all); /* mirrored as often as it takes: period 2*all */
        if (i < 0) i += 2 * all;
        if (i >= all) i = 2 * all - 1 - i;
        frame[n] = (i < c->held ? tail[i] : x[i - c->held]) * scale;
        sum += frame[n];
    }
    return sum;
}

/* y[n] = w[n] (x[n] - c x[n-1]) with x less its mean, x[-1] = x[0]; zeros up to the transform's size. */
static void FBANK_WINDOW(const struct fbank_cut *c, REAL mean, const REAL *restrict x, REAL *restrict y) {
    const REAL *w = (const REAL *)(const void *)(c->packed + c->sizes->table), emphasis = (REAL)c->attrs->preemphasis;
    int64_t length = c->sizes->length;
    y[0] = w[0] * ((x[0] - mean) - emphasis * (x[0] - mean));
#pragma omp simd
    for (int64_t n = 1; n < length; n++) y[n] = w[n] * ((x[n] - mean) - emphasis * (x[n - 1] - mean));
    for (int64_t n = length; n < c->sizes->size; n++) y[n] = 0;
}

static void FBANK_SUMS(const struct fbank_cut *c, const REAL *energy, REAL *y) {
    const struct fbank_sizes *s = c->sizes;
    const struct fbank_filter *filters = (const struct fbank_filter *)(const void *)(c->packed + s->table + s->window);
    const REAL *weights = (const REAL *)(const void *)(c->packed + s->table + s->window + s->filters);
    for (int64_t m = 0; m < s->mels; m++) {
        const REAL *e = energy + filters[m].first, *w = weights + filters[m].at;
        REAL a = 0, b = 0, d = 0, f = 0;
        for (int32_t k = 0; k < filters[m].count; k += FBANK_STEP)
            a += w[k] * e[k], b += w[k + 1] * e[k + 1], d += w[k + 2] * e[k + 2], f += w[k + 3] * e[k + 3];
        y[m] = (a + b) + (d + f);
    }
}

static void FBANK_MELS(const struct fbank_cut *c, const REAL *energy, REAL *y) {
    FBANK_SUMS(c, energy, y);
    if (!c->attrs->log) return;
#pragma omp simd
    for (int64_t m = 0; m < c->sizes->mels; m++) y[m] = LOG(MAX(y[m], (REAL)1.1920929e-7));
}

static void FBANK_FRAMES(const struct fbank_cut *c, int64_t begin, int64_t end) {
    const struct fbank_sizes *s = c->sizes;
    REAL *re = (REAL *)(void *)((char *)c->scratch + s->work), *im = (REAL *)(void *)((char *)re + s->part);
    REAL *frame = (REAL *)(void *)((char *)im + s->part), *windowed = (REAL *)(void *)((char *)frame + 2 * s->part);
    int64_t bins = s->size / 2;
    for (int64_t t = begin; t < end; t++) {
        REAL sum = FBANK_LOAD(c, t, frame);
        FBANK_WINDOW(c, c->attrs->remove_dc ? sum / (REAL)s->length : 0, frame, windowed);
        s->fft->FFT_FORWARD(c->packed, windowed, re, im, c->scratch);
#pragma omp simd
        for (int64_t k = 0; k < bins; k++) re[k] = re[k] * re[k] + im[k] * im[k];
        if (!c->attrs->power)
#pragma omp simd
            for (int64_t k = 0; k < bins; k++) re[k] = SQRT(re[k]);
        for (int64_t k = bins; k < bins + FBANK_STEP; k++) re[k] = 0;
        FBANK_MELS(c, re, (REAL *)c->y + t * s->mels);
    }
}

/* ---- Backward ---- */

/* Gradient of the spectrum's energies (or their roots) from that of the filters' outputs, whose sums are in `mels`. */
static void FBANK_SPREAD(const struct fbank_cut *c, const REAL *dy, const REAL *mels, REAL *energy) {
    const struct fbank_sizes *s = c->sizes;
    const struct fbank_filter *filters = (const struct fbank_filter *)(const void *)(c->packed + s->table + s->window);
    const REAL *weights = (const REAL *)(const void *)(c->packed + s->table + s->window + s->filters);
    for (int64_t k = 0; k < s->size / 2 + FBANK_STEP; k++) energy[k] = 0;
    for (int64_t m = 0; m < s->mels; m++) {
        REAL *e = energy + filters[m].first, share = dy[m];
        const REAL *w = weights + filters[m].at;
        if (c->attrs->log) share = mels[m] > (REAL)1.1920929e-7 ? share / mels[m] : 0;
#pragma omp simd
        for (int32_t k = 0; k < filters[m].count; k++) e[k] += w[k] * share;
    }
}

/* The transpose of load and window: gradient of the frame's samples from that of what was transformed. */
static void FBANK_UNWINDOW(const struct fbank_cut *c, REAL *restrict y, REAL *restrict x) {
    const REAL *w = (const REAL *)(const void *)(c->packed + c->sizes->table);
    const REAL emphasis = (REAL)c->attrs->preemphasis, scale = (REAL)c->attrs->scale * (REAL)c->sizes->size;
    int64_t length = c->sizes->length;
#pragma omp simd
    for (int64_t n = 0; n < length; n++) y[n] *= w[n];
#pragma omp simd
    for (int64_t n = 0; n < length - 1; n++) x[n] = y[n] - emphasis * y[n + 1];
    x[length - 1] = y[length - 1];
    x[0] -= emphasis * y[0];
    REAL sum = 0, mean = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t n = 0; n < length; n++) sum += x[n];
    if (c->attrs->remove_dc) mean = sum / (REAL)length;
#pragma omp simd
    for (int64_t n = 0; n < length; n++) x[n] = (x[n] - mean) * scale;
}

static void FBANK_BACK(const struct fbank_cut *c, int64_t frames, int64_t begin, int64_t end) {
    const struct fbank_sizes *s = c->sizes;
    REAL *re = (REAL *)(void *)((char *)c->scratch + s->work), *im = (REAL *)(void *)((char *)re + s->part);
    REAL *frame = (REAL *)(void *)((char *)im + s->part), *windowed = (REAL *)(void *)((char *)frame + 2 * s->part);
    REAL *energy = (REAL *)(void *)((char *)windowed + 2 * s->part), *mels = (REAL *)(void *)((char *)energy + s->part);
    REAL *reached = c->reached;
    int64_t bins = s->size / 2, t = begin < s->length ? 0 : (begin - s->length) / s->hop + 1;
    for (int64_t i = begin; i < end; i++) reached[i] = 0;
    for (; t < frames && t * s->hop < end; t++) {
        REAL sum = FBANK_LOAD(c, t, frame);
        FBANK_WINDOW(c, c->attrs->remove_dc ? sum / (REAL)s->length : 0, frame, windowed);
        s->fft->FFT_FORWARD(c->packed, windowed, re, im, c->scratch);
        if (c->attrs->log) {
#pragma omp simd
            for (int64_t k = 0; k < bins; k++) energy[k] = re[k] * re[k] + im[k] * im[k];
            if (!c->attrs->power)
#pragma omp simd
                for (int64_t k = 0; k < bins; k++) energy[k] = SQRT(energy[k]);
            for (int64_t k = bins; k < bins + FBANK_STEP; k++) energy[k] = 0;
            FBANK_SUMS(c, energy, mels);
        }
        FBANK_SPREAD(c, (const REAL *)c->dy + t * s->mels, mels, energy);
        /* d|X|^2 = 2 X dX, d|X| = X / |X| dX (0 at 0); the inverse counts the bins between the ends twice */
        re[bins] = im[bins] = 0;
        for (int64_t k = 0; k < bins; k++) {
            REAL size = SQRT(re[k] * re[k] + im[k] * im[k]), share = energy[k];
            share = c->attrs->power ? share : size > 0 ? share / (2 * size) : 0;
            share *= k == 0 ? 2 : 1;
            re[k] *= share, im[k] *= share;
        }
        s->fft->FFT_INVERSE(c->packed, re, im, windowed, c->scratch);
        FBANK_UNWINDOW(c, windowed, frame);
        int64_t start = t * s->hop, from = start < begin ? begin : start, to = start + s->length < end ? start + s->length : end;
#pragma omp simd
        for (int64_t i = from; i < to; i++) reached[i] += frame[i - start];
    }
}
