/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of norm_simd.c for one element type: REAL, and the names of what stands here. Sums are taken in blocks of 1024 elements in
 * REAL, the blocks in double. */

/* sum of (x - mean)^2 */
static double squares_of(const REAL *x, int64_t n, REAL mean) {
    double sum = 0;
    for (int64_t i = 0; i < n; i += 1024) sum += (double)lanes_squares(x + i, n - i < 1024 ? n - i : 1024, mean);
    return sum;
}

/* Two passes. The squares are taken around the rounded mean; what rounding moved is taken out again. */
static void moments(const REAL *x, int64_t n, double *mean, double *squares) {
    double exact = lanes_total(x, n) / (double)n, off = exact - (double)(REAL)exact;
    *mean = exact;
    double around = squares_of(x, n, (REAL)exact) - (double)n * off * off;
    *squares = around > 0 ? around : around != around ? around : 0;
}

static void affine(REAL *y, const REAL *x, int64_t n, double mean, double scale, double shift) {
    REAL m = (REAL)mean, s = (REAL)scale, b = (REAL)shift;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - m) * s + b;
}

static void affine_each(REAL *y, const REAL *x, int64_t n, const double *mean, const double *scale, const double *shift) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = (REAL)(((double)x[i] - mean[i]) * scale[i] + shift[i]);
}

static void layer(REAL *y, const REAL *x, int64_t rows, int64_t n, double eps, const REAL *weight, const REAL *bias, REAL *saved) {
    for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
        double mean, squares;
        moments(x, n, &mean, &squares);
        double scale = 1 / sqrt(squares / (double)n + eps);
        if (saved) saved[2 * r] = (REAL)mean, saved[2 * r + 1] = (REAL)scale;
        if (!weight) {
            affine(y, x, n, mean, scale, 0);
            continue;
        }
        REAL m = (REAL)mean, s = (REAL)scale;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - m) * s * weight[i] + bias[i];
    }
}

/* bounded: by eps. */
static double scale_of(double squares, int64_t n, double eps, enum norm_kind kind, bool *bounded) {
    *bounded = false;
    if (kind == NORM_RMS) return 1 / sqrt(squares / (double)n + eps);
    double norm = sqrt(kind == NORM_SCALE ? squares / (double)n : squares);
    *bounded = !(norm > eps || norm != norm);
    return 1 / (*bounded ? eps : norm);
}

static void rows(REAL *y, const REAL *x, int64_t count, int64_t n, double eps, const REAL *weight, enum norm_kind kind, REAL *saved) {
    for (int64_t r = 0; r < count; ++r, x += n, y += n) {
        bool bounded;
        REAL s = (REAL)scale_of(squares_of(x, n, 0), n, eps, kind, &bounded);
        if (saved) saved[r] = bounded ? -s : s;
        if (kind == NORM_RMS && weight) {
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) y[i] = x[i] * s * weight[i];
        } else {
            if (weight) s *= weight[0];
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) y[i] = x[i] * s;
        }
    }
}

static void columns(REAL *y, const REAL *x, int64_t n, int64_t inner, int64_t width, double eps, REAL *saved) {
    double squares[NORM_TILE];
    REAL scale[NORM_TILE];
    for (int64_t j = 0; j < width; ++j) squares[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
        const REAL *at = x + i * inner;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) squares[j] += (double)at[j] * (double)at[j];
    }
    for (int64_t j = 0; j < width; ++j) {
        bool bounded;
        scale[j] = (REAL)scale_of(squares[j], n, eps, NORM_L2, &bounded);
        if (saved) saved[j] = bounded ? -scale[j] : scale[j];
    }
    for (int64_t i = 0; i < n; ++i) {
        const REAL *at = x + i * inner;
        REAL *to = y + i * inner;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) to[j] = at[j] * scale[j];
    }
}

static void moment_columns(const REAL *x, int64_t count, int64_t stride, int64_t width, double *mean, double *squares) {
    for (int64_t j = 0; j < width; ++j) mean[j] = squares[j] = 0;
    for (int64_t i = 0; i < count; ++i) {
        const REAL *at = x + i * stride;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) mean[j] += (double)at[j];
    }
    for (int64_t j = 0; j < width; ++j) mean[j] /= (double)count;
    for (int64_t i = 0; i < count; ++i) {
        const REAL *at = x + i * stride;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) squares[j] += ((double)at[j] - mean[j]) * ((double)at[j] - mean[j]);
    }
}
