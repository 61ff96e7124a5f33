/* SPDX-License-Identifier: Apache-2.0 */
/* Template: frames to spectra and back in REAL. The including file names REAL, STFT_FRAME, STFT_CUT, STFT_LOAD, STFT_SUM, STFT_WRITE,
 * STFT_LOAD_GRADIENT, STFT_SPREAD and the transforms FFT_FORWARD, FFT_INVERSE of struct fft_functions. */

/* Frame t times the window. */
static void STFT_FRAME(const struct stft_cut *c, int64_t t, REAL *frame) {
    const REAL *w = c->window, *x = c->x, *tail = c->tail;
    int64_t size = c->sizes->size, first = c->origin + t * c->sizes->hop, all = c->held + c->samples;
    if (first >= c->held && first + size <= all) {
        const REAL *from = x + (first - c->held);
#pragma omp simd
        for (int64_t n = 0; n < size; n++) frame[n] = w[n] * from[n];
        return;
    }
    for (int64_t n = 0; n < size; n++) {
        int64_t i = first + n;
        if (i < 0) i = -i;
        if (i >= all) i = 2 * (all - 1) - i;
        frame[n] = w[n] * (i < c->held ? tail[i] : x[i - c->held]);
    }
}

static void STFT_CUT(const struct stft_cut *c, int64_t begin, int64_t end) {
    const struct stft_sizes *s = c->sizes;
    int64_t bins = s->bins, frames = c->frames;
    REAL *re = c->re, *im = c->im, *frame = (REAL *)((char *)c->scratch + s->work);
    REAL *block_re = (REAL *)((char *)frame + s->frame), *block_im = (REAL *)((char *)block_re + s->spectra);
    if (frames == 1) { /* nothing to turn over */
        STFT_FRAME(c, 0, frame);
        s->fft->FFT_FORWARD(c->table, frame, re, im, c->scratch);
        return;
    }
    for (int64_t t = begin; t < end; t += STFT_BLOCK) {
        int64_t count = end - t < STFT_BLOCK ? end - t : STFT_BLOCK;
        for (int64_t j = 0; j < count; j++) {
            STFT_FRAME(c, t + j, frame);
            s->fft->FFT_FORWARD(c->table, frame, block_re + j * bins, block_im + j * bins, c->scratch);
        }
        for (int64_t f = 0; f < bins; f++) {
            REAL *to_re = re + f * frames + t, *to_im = im + f * frames + t;
            for (int64_t j = 0; j < count; j++) to_re[j] = block_re[j * bins + f], to_im[j] = block_im[j * bins + f];
        }
    }
}

/* Spectra of frames [t, t + count), one after the other. */
static void STFT_LOAD(const struct stft_sum *s, int64_t t, int64_t count, REAL *block_re, REAL *block_im) {
    const REAL *re = s->re, *im = s->im;
    int64_t bins = s->sizes->bins;
    for (int64_t f = 0; f < bins; f++) {
        const REAL *from_re = re + f * s->frames + t, *from_im = im + f * s->frames + t;
        for (int64_t j = 0; j < count; j++) block_re[j * bins + f] = from_re[j], block_im[j * bins + f] = from_im[j];
    }
}

/* The same where they are gradients of a transform: the inverse counts the bins between the ends twice. A part that does not exist is 0. */
static void STFT_LOAD_GRADIENT(const struct stft_sum *s, int64_t t, int64_t count, REAL *block_re, REAL *block_im) {
    int64_t bins = s->sizes->bins, size = s->sizes->size;
    for (int part = 0; part < 2; part++) {
        const REAL *from = part ? s->im : s->re;
        REAL *to = part ? block_im : block_re;
        for (int64_t f = 0; f < bins; f++) {
            REAL share = f == 0 || 2 * f == size ? (REAL)1 : (REAL)0.5;
            for (int64_t j = 0; j < count; j++) to[j * bins + f] = from ? share * from[f * s->frames + t + j] : 0;
        }
    }
}

/* Sums [at, at + count) go where they belong. */
static void STFT_WRITE(const struct stft_sum *s, int64_t at, int64_t count, const REAL *sum, const REAL *envelope) {
    REAL *y = s->y;
    int64_t from = s->drop > at ? s->drop : at, to = s->drop + s->emitted < at + count ? s->drop + s->emitted : at + count;
    if (s->gradient) {
        REAL scale = (REAL)s->sizes->size; /* the inverse divides by it */
        for (int64_t i = from; i < to; i++) y[i - s->drop] = scale * sum[i - at];
        return;
    }
#pragma omp simd
    for (int64_t i = from; i < to; i++) y[i - s->drop] = sum[i - at] / (envelope[i - at] + (REAL)1e-8);
    if (!s->tail_out) return;
    REAL *tail = s->tail_out, *kept = s->envelope_out;
    for (int64_t i = s->final > at ? s->final : at; i < at + count; i++)
        tail[i - s->final] = sum[i - at], kept[i - s->final] = envelope[i - at];
}

/* Sums [begin, end), in rounds: every sum takes what the state holds, then its frames in order, whatever the rounds and parts are. */
static void STFT_SUM(const struct stft_sum *s, int64_t begin, int64_t end) {
    const struct stft_sizes *z = s->sizes;
    const REAL *w = s->window, *tail = s->tail, *kept = s->envelope;
    int64_t size = z->size, hop = z->hop, round = istft_round(z), length = round + size;
    REAL *frame = (REAL *)((char *)s->scratch + z->work), *block_re = (REAL *)((char *)frame + z->frame);
    REAL *block_im = (REAL *)((char *)block_re + z->spectra), *sum = (REAL *)((char *)block_im + z->spectra), *envelope = sum + length;
    int64_t t = begin - size < s->offset ? 0 : (begin - size - s->offset) / hop + 1; /* the first frame that reaches beyond `begin` */
    int64_t loaded = t, ready = t, filled = 0;
    for (int64_t at = begin; at < end; at += round) {
        for (int64_t i = filled; i < length; i++) sum[i] = envelope[i] = 0;
        for (int64_t i = filled; i < length && at + i < s->held; i++) sum[i] = tail[at + i], envelope[i] = kept[at + i];
        int64_t count = end - at < round ? end - at : round;
        for (; t < s->frames && s->offset + t * hop < at + count; t++) {
            if (t >= ready) {
                int64_t more = s->frames - t < STFT_BLOCK ? s->frames - t : STFT_BLOCK;
                if (s->gradient) STFT_LOAD_GRADIENT(s, t, more, block_re, block_im);
                else STFT_LOAD(s, t, more, block_re, block_im);
                loaded = t, ready = t + more;
            }
            z->fft->FFT_INVERSE(s->table, block_re + (t - loaded) * z->bins, block_im + (t - loaded) * z->bins, frame, s->scratch);
            int64_t start = s->offset + t * hop - at, skip = start < 0 ? -start : 0;
#pragma omp simd
            for (int64_t n = skip; n < size; n++) sum[start + n] += w[n] * frame[n], envelope[start + n] += w[n] * w[n];
        }
        STFT_WRITE(s, at, count, sum, envelope);
        filled = length - round;
        for (int64_t i = 0; i < filled; i++) sum[i] = sum[i + round], envelope[i] = envelope[i + round];
    }
}

/* ---- The inverse's gradient ---- */

/* Spectra of windowed frames of x: gradients of what the inverse read, set or added. It counts the bins between the ends twice, and reads
 * no imaginary part of the ends. */
static void STFT_SPREAD(const struct stft_cut *c, int64_t begin, int64_t end) {
    const struct stft_sizes *s = c->sizes;
    int64_t bins = s->bins, frames = c->frames;
    REAL *frame = (REAL *)((char *)c->scratch + s->work);
    REAL *block_re = (REAL *)((char *)frame + s->frame), *block_im = (REAL *)((char *)block_re + s->spectra);
    for (int64_t t = begin; t < end; t += STFT_BLOCK) {
        int64_t count = end - t < STFT_BLOCK ? end - t : STFT_BLOCK;
        for (int64_t j = 0; j < count; j++) {
            STFT_FRAME(c, t + j, frame);
            s->fft->FFT_FORWARD(c->table, frame, block_re + j * bins, block_im + j * bins, c->scratch);
        }
        for (int part = 0; part < 2; part++) {
            REAL *out = part ? c->im : c->re;
            const REAL *block = part ? block_im : block_re;
            bool add = part ? c->add_im : c->add_re;
            for (int64_t f = 0; out && f < bins; f++) {
                bool edge = f == 0 || 2 * f == s->size;
                REAL scale = edge ? (part ? 0 : (REAL)1) : (REAL)2, *to = out + f * frames + t;
                scale /= (REAL)s->size;
                for (int64_t j = 0; j < count; j++) to[j] = (add ? to[j] : 0) + scale * block[j * bins + f];
            }
        }
    }
}
