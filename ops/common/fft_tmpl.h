/* SPDX-License-Identifier: Apache-2.0 */
/* Template: transforms in REAL. The including file names REAL, FFT_FORWARD, FFT_INVERSE and the static functions between. */

/* One stage of the complex transform: n = radix * m points of stride s. With a_k = x[q + s (p + m k)], q < s, p < m:
 *   y[q + s (radix p + j)] = w^(j p) sum_k a_k exp(-2 pi i j k / radix),  w = exp(-2 pi i / n).
 * The point functions do one (p, q): x and y at k = j = 0, `in` and `out` the steps of k and j, w_j the twiddles. */
static inline void FFT_POINT2(const REAL *xr, const REAL *xi, int64_t in, REAL *yr, REAL *yi, int64_t out, REAL w1r, REAL w1i) {
    REAL ar = xr[0], ai = xi[0], br = xr[in], bi = xi[in], dr = ar - br, di = ai - bi;
    yr[0] = ar + br, yi[0] = ai + bi;
    yr[out] = dr * w1r - di * w1i, yi[out] = dr * w1i + di * w1r;
}

static inline void FFT_POINT3(const REAL *xr, const REAL *xi, int64_t in, REAL *yr, REAL *yi, int64_t out, REAL w1r, REAL w1i, REAL w2r,
                              REAL w2i) {
    const REAL s = (REAL)0.86602540378443864676; /* sin(2 pi / 3) */
    REAL ar = xr[0], ai = xi[0], sr = xr[in] + xr[2 * in], si = xi[in] + xi[2 * in];
    REAL dr = s * (xr[in] - xr[2 * in]), di = s * (xi[in] - xi[2 * in]);
    REAL mr = ar - (REAL)0.5 * sr, mi = ai - (REAL)0.5 * si;
    REAL b1r = mr + di, b1i = mi - dr, b2r = mr - di, b2i = mi + dr;
    yr[0] = ar + sr, yi[0] = ai + si;
    yr[out] = b1r * w1r - b1i * w1i, yi[out] = b1r * w1i + b1i * w1r;
    yr[2 * out] = b2r * w2r - b2i * w2i, yi[2 * out] = b2r * w2i + b2i * w2r;
}

static inline void FFT_POINT4(const REAL *xr, const REAL *xi, int64_t in, REAL *yr, REAL *yi, int64_t out, REAL w1r, REAL w1i, REAL w2r,
                              REAL w2i, REAL w3r, REAL w3i) {
    REAL s02r = xr[0] + xr[2 * in], s02i = xi[0] + xi[2 * in], d02r = xr[0] - xr[2 * in], d02i = xi[0] - xi[2 * in];
    REAL s13r = xr[in] + xr[3 * in], s13i = xi[in] + xi[3 * in], d13r = xr[in] - xr[3 * in], d13i = xi[in] - xi[3 * in];
    REAL b1r = d02r + d13i, b1i = d02i - d13r, b2r = s02r - s13r, b2i = s02i - s13i, b3r = d02r - d13i, b3i = d02i + d13r;
    yr[0] = s02r + s13r, yi[0] = s02i + s13i;
    yr[out] = b1r * w1r - b1i * w1i, yi[out] = b1r * w1i + b1i * w1r;
    yr[2 * out] = b2r * w2r - b2i * w2i, yi[2 * out] = b2r * w2i + b2i * w2r;
    yr[3 * out] = b3r * w3r - b3i * w3i, yi[3 * out] = b3r * w3i + b3i * w3r;
}

static inline void FFT_POINT5(const REAL *xr, const REAL *xi, int64_t in, REAL *yr, REAL *yi, int64_t out, REAL w1r, REAL w1i, REAL w2r,
                              REAL w2i, REAL w3r, REAL w3i, REAL w4r, REAL w4i) {
    const REAL c1 = (REAL)0.30901699437494742410, c2 = (REAL)-0.80901699437494742410; /* cos(2 pi / 5), cos(4 pi / 5) */
    const REAL s1 = (REAL)0.95105651629515357212, s2 = (REAL)0.58778525229247312917;  /* sin(2 pi / 5), sin(4 pi / 5) */
    REAL ar = xr[0], ai = xi[0];
    REAL s14r = xr[in] + xr[4 * in], s14i = xi[in] + xi[4 * in], d14r = xr[in] - xr[4 * in], d14i = xi[in] - xi[4 * in];
    REAL s23r = xr[2 * in] + xr[3 * in], s23i = xi[2 * in] + xi[3 * in], d23r = xr[2 * in] - xr[3 * in], d23i = xi[2 * in] - xi[3 * in];
    REAL m1r = ar + c1 * s14r + c2 * s23r, m1i = ai + c1 * s14i + c2 * s23i;
    REAL m2r = ar + c2 * s14r + c1 * s23r, m2i = ai + c2 * s14i + c1 * s23i;
    REAL n1r = s1 * d14r + s2 * d23r, n1i = s1 * d14i + s2 * d23i, n2r = s2 * d14r - s1 * d23r, n2i = s2 * d14i - s1 * d23i;
    REAL b1r = m1r + n1i, b1i = m1i - n1r, b4r = m1r - n1i, b4i = m1i + n1r;
    REAL b2r = m2r + n2i, b2i = m2i - n2r, b3r = m2r - n2i, b3i = m2i + n2r;
    yr[0] = ar + s14r + s23r, yi[0] = ai + s14i + s23i;
    yr[out] = b1r * w1r - b1i * w1i, yi[out] = b1r * w1i + b1i * w1r;
    yr[2 * out] = b2r * w2r - b2i * w2i, yi[2 * out] = b2r * w2i + b2i * w2r;
    yr[3 * out] = b3r * w3r - b3i * w3i, yi[3 * out] = b3r * w3i + b3i * w3r;
    yr[4 * out] = b4r * w4r - b4i * w4i, yi[4 * out] = b4r * w4i + b4i * w4r;
}

/* Where s is 1 the vectors run over p, else over q; 4 is the second stage of most sizes and worth a loop of fixed length. */
static void FFT_STAGE2(const REAL *w, int64_t m, int64_t s, const REAL *xr, const REAL *xi, REAL *yr, REAL *yi) {
    for (int64_t p = 0; p < m; p++) {
        const REAL *ar = xr + s * p, *ai = xi + s * p;
        REAL *br = yr + 2 * s * p, *bi = yi + 2 * s * p, w1r = w[p], w1i = w[m + p];
#pragma omp simd
        for (int64_t q = 0; q < s; q++) FFT_POINT2(ar + q, ai + q, s * m, br + q, bi + q, s, w1r, w1i);
    }
}

static void FFT_STAGE3(const REAL *w, int64_t m, int64_t s, const REAL *xr, const REAL *xi, REAL *yr, REAL *yi) {
    for (int64_t p = 0; p < m; p++) {
        const REAL *ar = xr + s * p, *ai = xi + s * p;
        REAL *br = yr + 3 * s * p, *bi = yi + 3 * s * p, w1r = w[p], w1i = w[m + p], w2r = w[2 * m + p], w2i = w[3 * m + p];
#pragma omp simd
        for (int64_t q = 0; q < s; q++) FFT_POINT3(ar + q, ai + q, s * m, br + q, bi + q, s, w1r, w1i, w2r, w2i);
    }
}

static void FFT_STAGE4(const REAL *w, int64_t m, int64_t s, const REAL *xr, const REAL *xi, REAL *yr, REAL *yi) {
    if (s == 1) {
#pragma omp simd
        for (int64_t p = 0; p < m; p++)
            FFT_POINT4(xr + p, xi + p, m, yr + 4 * p, yi + 4 * p, 1, w[p], w[m + p], w[2 * m + p], w[3 * m + p], w[4 * m + p],
                       w[5 * m + p]);
        return;
    }
    for (int64_t p = 0; p < m; p++) {
        const REAL *ar = xr + s * p, *ai = xi + s * p;
        REAL *br = yr + 4 * s * p, *bi = yi + 4 * s * p;
        REAL w1r = w[p], w1i = w[m + p], w2r = w[2 * m + p], w2i = w[3 * m + p], w3r = w[4 * m + p], w3i = w[5 * m + p];
        if (s == 4) {
#pragma omp simd
            for (int64_t q = 0; q < 4; q++) FFT_POINT4(ar + q, ai + q, 4 * m, br + q, bi + q, 4, w1r, w1i, w2r, w2i, w3r, w3i);
        } else {
#pragma omp simd
            for (int64_t q = 0; q < s; q++) FFT_POINT4(ar + q, ai + q, s * m, br + q, bi + q, s, w1r, w1i, w2r, w2i, w3r, w3i);
        }
    }
}

static void FFT_STAGE5(const REAL *w, int64_t m, int64_t s, const REAL *xr, const REAL *xi, REAL *yr, REAL *yi) {
    for (int64_t p = 0; p < m; p++) {
        const REAL *ar = xr + s * p, *ai = xi + s * p;
        REAL *br = yr + 5 * s * p, *bi = yi + 5 * s * p;
        REAL w1r = w[p], w1i = w[m + p], w2r = w[2 * m + p], w2i = w[3 * m + p];
        REAL w3r = w[4 * m + p], w3i = w[5 * m + p], w4r = w[6 * m + p], w4i = w[7 * m + p];
#pragma omp simd
        for (int64_t q = 0; q < s; q++) FFT_POINT5(ar + q, ai + q, s * m, br + q, bi + q, s, w1r, w1i, w2r, w2i, w3r, w3i, w4r, w4i);
    }
}

/* Any radix r: r^2 products a point; u = exp(-2 pi i k / r). */
static void FFT_STAGE_ANY(const REAL *w, const REAL *u, int64_t r, int64_t m, int64_t s, const REAL *xr, const REAL *xi, REAL *yr,
                          REAL *yi) {
    for (int64_t p = 0; p < m; p++)
        for (int64_t j = 0; j < r; j++) {
            const REAL *ar = xr + s * p, *ai = xi + s * p;
            REAL *br = yr + s * (r * p + j), *bi = yi + s * (r * p + j);
            REAL wr = j ? w[2 * (j - 1) * m + p] : 1, wi = j ? w[(2 * (j - 1) + 1) * m + p] : 0;
            for (int64_t q = 0; q < s; q++) br[q] = ar[q], bi[q] = ai[q];
            for (int64_t k = 1, jk = j; k < r; k++, jk = (jk + j) % r) {
                REAL ur = u[jk], ui = u[r + jk];
                const REAL *cr = ar + s * m * k, *ci = ai + s * m * k;
#pragma omp simd
                for (int64_t q = 0; q < s; q++) br[q] += cr[q] * ur - ci[q] * ui, bi[q] += cr[q] * ui + ci[q] * ur;
            }
#pragma omp simd
            for (int64_t q = 0; q < s; q++) {
                REAL re = br[q] * wr - bi[q] * wi, im = br[q] * wi + bi[q] * wr;
                br[q] = re, bi[q] = im;
            }
        }
}

/* All stages: a is transformed, b is scratch; both are [re][im] of length t->length (padded to lines). Says where the result is. */
static void FFT_STAGES(const struct fft_table *t, REAL **re, REAL **im, REAL *other_re, REAL *other_im) {
    const REAL *table = (const REAL *)(const void *)t;
    REAL *xr = *re, *xi = *im, *yr = other_re, *yi = other_im;
    int64_t m = t->length, s = 1;
    for (int32_t i = 0; i < t->stages; i++) {
        int64_t r = t->radix[i];
        const REAL *w = table + t->twiddle[i];
        m /= r;
        switch (r) {
        case 2: FFT_STAGE2(w, m, s, xr, xi, yr, yi); break;
        case 3: FFT_STAGE3(w, m, s, xr, xi, yr, yi); break;
        case 4: FFT_STAGE4(w, m, s, xr, xi, yr, yi); break;
        case 5: FFT_STAGE5(w, m, s, xr, xi, yr, yi); break;
        default: FFT_STAGE_ANY(w, table + t->roots[i], r, m, s, xr, xi, yr, yi); break;
        }
        s *= r;
        REAL *swap = xr;
        xr = yr, yr = swap;
        swap = xi, xi = yi, yi = swap;
    }
    *re = xr, *im = xi;
}

/* The complex transform of `points` values at *re, *im. */
static void FFT_COMPLEX(const struct fft_table *t, REAL **re, REAL **im, REAL *other_re, REAL *other_im) {
    if (!t->chirp) {
        FFT_STAGES(t, re, im, other_re, other_im);
        return;
    }
    const REAL *table = (const REAL *)(const void *)t, *cr = table + t->chirp, *ci = cr + t->points;
    const REAL *kr = table + t->kernel, *ki = kr + t->length;
    REAL *ar = *re, *ai = *im;
    for (int64_t k = 0; k < t->points; k++) {
        REAL x = ar[k], y = ai[k];
        ar[k] = x * cr[k] - y * ci[k], ai[k] = x * ci[k] + y * cr[k];
    }
    for (int64_t k = t->points; k < t->length; k++) ar[k] = ai[k] = 0;
    FFT_STAGES(t, &ar, &ai, other_re, other_im);
    REAL *br = ar == *re ? other_re : *re, *bi = ar == *re ? other_im : *im;
    for (int64_t k = 0; k < t->length; k++) {
        REAL x = ar[k], y = ai[k];
        ar[k] = x * kr[k] - y * ki[k], ai[k] = x * ki[k] + y * kr[k];
    }
    FFT_STAGES(t, &ai, &ar, bi, br); /* parts exchanged: the inverse, but for the division, which the kernel holds */
    for (int64_t k = 0; k < t->points; k++) {
        REAL x = ar[k], y = ai[k];
        ar[k] = x * cr[k] - y * ci[k], ai[k] = x * ci[k] + y * cr[k];
    }
    *re = ar, *im = ai;
}

static int64_t FFT_LINES(const struct fft_table *t) {
    const int64_t line = 64 / (int64_t)sizeof(REAL);
    return (t->length + line - 1) / line * line;
}

static void FFT_FORWARD(const void *table, const REAL *x, REAL *re, REAL *im, void *work) {
    const struct fft_table *t = table;
    int64_t m = t->points, lines = FFT_LINES(t);
    REAL *zr = work, *zi = zr + lines, *or_ = zi + lines, *oi = or_ + lines;
    if (t->size % 2) {
        for (int64_t k = 0; k < m; k++) zr[k] = x[k], zi[k] = 0;
        FFT_COMPLEX(t, &zr, &zi, or_, oi);
        for (int64_t k = 0; k <= m / 2; k++) re[k] = zr[k], im[k] = zi[k];
        return;
    }
#pragma omp simd
    for (int64_t k = 0; k < m; k++) zr[k] = x[2 * k], zi[k] = x[2 * k + 1];
    FFT_COMPLEX(t, &zr, &zi, or_, oi);
    /* z = even + i odd: X[k] = E[k] + w^k O[k] */
    const REAL *wr = (const REAL *)table + t->unpack, *wi = wr + m, half = (REAL)0.5;
    re[0] = zr[0] + zi[0], im[0] = 0;
    re[m] = zr[0] - zi[0], im[m] = 0;
#pragma omp simd
    for (int64_t k = 1; k < m; k++) {
        REAL er = half * (zr[k] + zr[m - k]), ei = half * (zi[k] - zi[m - k]);
        REAL dr = half * (zi[k] + zi[m - k]), di = half * (zr[m - k] - zr[k]);
        re[k] = er + wr[k] * dr - wi[k] * di, im[k] = ei + wr[k] * di + wi[k] * dr;
    }
}

static void FFT_INVERSE(const void *table, const REAL *re, const REAL *im, REAL *x, void *work) {
    const struct fft_table *t = table;
    int64_t m = t->points, lines = FFT_LINES(t);
    REAL *zr = work, *zi = zr + lines, *or_ = zi + lines, *oi = or_ + lines, scale = (REAL)1 / (REAL)m;
    if (t->size % 2) {
        zr[0] = re[0], zi[0] = 0;
        for (int64_t k = 1; k <= m / 2; k++) zr[k] = zr[m - k] = re[k], zi[k] = im[k], zi[m - k] = -im[k];
        FFT_COMPLEX(t, &zi, &zr, oi, or_);
        for (int64_t k = 0; k < m; k++) x[k] = zr[k] * scale;
        return;
    }
    const REAL *wr = (const REAL *)table + t->unpack, *wi = wr + m, half = (REAL)0.5;
    zr[0] = half * (re[0] + re[m]), zi[0] = half * (re[0] - re[m]);
#pragma omp simd
    for (int64_t k = 1; k < m; k++) {
        REAL er = half * (re[k] + re[m - k]), ei = half * (im[k] - im[m - k]);
        REAL dr = half * (re[k] - re[m - k]), di = half * (im[k] + im[m - k]);
        zr[k] = er - (di * wr[k] - dr * wi[k]), zi[k] = ei + (dr * wr[k] + di * wi[k]);
    }
    FFT_COMPLEX(t, &zi, &zr, oi, or_);
#pragma omp simd
    for (int64_t k = 0; k < m; k++) x[2 * k] = zr[k] * scale, x[2 * k + 1] = zi[k] * scale;
}
