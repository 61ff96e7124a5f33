/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of the Fourier transform: factors, twiddles, the chirp of sizes with a large prime. */
#include "common/fft.h"

#include <math.h>

static int64_t align_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Factors of n: fours first, since the first stage writes with the radix as stride, then 2, 3, 5 and primes. Returns how many, or -1 when a
 * prime is above FFT_PRIME_MOST. */
static int32_t factor(int64_t n, int32_t radix[FFT_STAGES_MOST]) {
    int32_t count = 0;
    while (n % 4 == 0) radix[count++] = 4, n /= 4;
    for (int32_t p = 2; p <= FFT_PRIME_MOST; p += p == 2 ? 1 : 2)
        while (n % p == 0) radix[count++] = p, n /= p;
    return n == 1 ? count : -1;
}

/* Fills in the head but for nothing that needs memory; returns the elements of the whole table (offsets on 64-byte borders). */
static int64_t layout(int64_t size, int64_t element, struct fft_table *t) {
    int64_t per_line = 64 / element, at = align_up((int64_t)sizeof *t, 64) / element;
    *t = (struct fft_table){.size = size, .points = size % 2 ? size : size / 2};
    t->length = t->points;
    t->stages = factor(t->length, t->radix);
    bool bluestein = t->stages < 0;
    if (bluestein) {
        t->length = 1;
        while (t->length < 2 * t->points - 1) t->length *= 2;
        t->stages = factor(t->length, t->radix);
    }
    int64_t left = t->length;
    for (int32_t i = 0; i < t->stages; i++) {
        int64_t r = t->radix[i];
        left /= r;
        t->twiddle[i] = at, at += align_up(2 * (r - 1) * left, per_line);
        if (r > 5) t->roots[i] = at, at += align_up(2 * r, per_line);
    }
    if (size % 2 == 0) t->unpack = at, at += align_up(2 * t->points, per_line);
    if (bluestein) {
        t->chirp = at, at += align_up(2 * t->points, per_line);
        t->kernel = at, at += align_up(2 * t->length, per_line);
        at += 2 * t->length * 8 / element; /* where the kernel is computed, in f64 */
    }
    return at;
}

int64_t fft_table_bytes(int64_t size, int32_t dtype) {
    if (size < 1 || size > FFT_SIZE_MOST) return 0;
    struct fft_table t;
    int64_t element = dtype == FLOW_F64 ? 8 : 4;
    return align_up(layout(size, element, &t) * element, 64);
}

int64_t fft_work_bytes(int64_t size, int32_t dtype) {
    if (size < 1 || size > FFT_SIZE_MOST) return 0;
    struct fft_table t;
    int64_t element = dtype == FLOW_F64 ? 8 : 4;
    (void)layout(size, element, &t);
    return 4 * align_up(t.length * element, 64);
}

static void put(void *table, int32_t dtype, int64_t at, double value) {
    if (dtype == FLOW_F64) ((double *)table)[at] = value;
    else ((float *)table)[at] = (float)value;
}

/* exp(-2 pi i k / n) with k < n, both parts exact to rounding: the angle is taken from the nearest multiple of a quarter turn. */
static void root(int64_t k, int64_t n, double *re, double *im) {
    int64_t quarter = (4 * k + n / 2) / n;
    double angle = -2.0 * 3.14159265358979323846 * (double)(4 * k - quarter * n) / (4.0 * (double)n);
    double c = cos(angle), s = sin(angle);
    switch (quarter % 4) {
    case 0: *re = c, *im = s; break;
    case 1: *re = s, *im = -c; break;
    case 2: *re = -c, *im = -s; break;
    default: *re = -s, *im = c; break;
    }
}

static void fill_roots(void *table, int32_t dtype, int64_t at, int64_t count, int64_t n) {
    for (int64_t k = 0; k < count; k++) {
        double re, im;
        root(k % n, n, &re, &im);
        put(table, dtype, at + k, re), put(table, dtype, at + count + k, im);
    }
}

/* exp(-pi i k^2 / n). */
static void chirp(int64_t k, int64_t n, double *re, double *im) {
    root((int64_t)((uint64_t)k * (uint64_t)k % (uint64_t)(2 * n)), 2 * n, re, im);
}

/* In place, n a power of two: bit reversal, then butterflies. Plain and in f64: it runs once for a table. */
static void plain_transform(int64_t n, double *re, double *im) {
    for (int64_t i = 1, j = 0; i < n; i++) {
        int64_t bit = n >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i >= j) continue;
        double a = re[i], b = im[i];
        re[i] = re[j], im[i] = im[j], re[j] = a, im[j] = b;
    }
    for (int64_t half = 1; half < n; half *= 2)
        for (int64_t k = 0; k < half; k++) {
            double wr, wi;
            root(k, 2 * half, &wr, &wi);
            for (int64_t i = k; i < n; i += 2 * half) {
                int64_t j = i + half;
                double a = re[j] * wr - im[j] * wi, b = re[j] * wi + im[j] * wr;
                re[j] = re[i] - a, im[j] = im[i] - b, re[i] += a, im[i] += b;
            }
        }
}

static void fill_bluestein(const struct fft_table *t, int32_t dtype, void *table) {
    int64_t n = t->points, m = t->length, element = dtype == FLOW_F64 ? 8 : 4;
    double *re = (double *)((char *)table + (t->kernel + align_up(2 * m, 64 / element)) * element), *im = re + m;
    for (int64_t k = 0; k < m; k++) re[k] = im[k] = 0;
    for (int64_t k = 0; k < n; k++) {
        double c, s;
        chirp(k, n, &c, &s);
        put(table, dtype, t->chirp + k, c), put(table, dtype, t->chirp + n + k, s);
        re[k] = c, im[k] = -s;
        if (k) re[m - k] = c, im[m - k] = -s;
    }
    plain_transform(m, re, im);
    for (int64_t k = 0; k < m; k++) {
        put(table, dtype, t->kernel + k, re[k] / (double)m);
        put(table, dtype, t->kernel + m + k, im[k] / (double)m);
    }
}

void fft_table_fill(int64_t size, int32_t dtype, void *table) {
    struct fft_table *t = table;
    (void)layout(size, dtype == FLOW_F64 ? 8 : 4, t);
    int64_t n = t->length;
    for (int32_t i = 0; i < t->stages; i++) {
        int64_t r = t->radix[i], m = n / r;
        for (int64_t j = 1; j < r; j++)
            for (int64_t p = 0; p < m; p++) {
                double re, im;
                root(j * p % n, n, &re, &im);
                int64_t at = t->twiddle[i] + 2 * (j - 1) * m + p;
                put(table, dtype, at, re), put(table, dtype, at + m, im);
            }
        if (r > 5) fill_roots(table, dtype, t->roots[i], r, r);
        n = m;
    }
    if (size % 2 == 0) fill_roots(table, dtype, t->unpack, t->points, size);
    if (t->chirp) fill_bluestein(t, dtype, table);
}
