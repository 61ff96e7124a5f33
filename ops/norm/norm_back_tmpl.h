/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of norm_back_simd.c for one element type: REAL, lanes (a vector of them), lanes_tree (their sum), and the names of what stands
 * here. Sums along a row are taken in blocks of 1024 elements in REAL, the blocks in double. */
#define COUNT ((int64_t)(LANES_BYTES / sizeof(REAL)))

/* One row, xh = (x - m) s: sums[0] = sum g, sums[1] = sum g xh with g = dy weight; dw += dy xh, db += dy. */
ALWAYS_INLINE void row_sums(bool weighted, bool params, const REAL *dy, const REAL *x, int64_t n, REAL m, REAL s, const REAL *weight,
                            REAL *dw, REAL *db, double sums[2]) {
    sums[0] = sums[1] = 0;
    for (int64_t begin = 0; begin < n; begin += 1024) {
        const int64_t end = n - begin < 1024 ? n : begin + 1024;
        lanes first[2] = {{0}, {0}}, second[2] = {{0}, {0}};
        REAL a = 0, b = 0;
        int64_t i = begin;
        for (; i + 2 * COUNT <= end; i += 2 * COUNT)
#pragma GCC unroll 2
            for (int j = 0; j < 2; ++j) {
                const int64_t at = i + j * COUNT;
                const lanes d = *(const lanes *)(dy + at), h = (*(const lanes *)(x + at) - m) * s;
                lanes g = d;
                if (weighted) g *= *(const lanes *)(weight + at);
                first[j] += g;
                second[j] += g * h;
                if (params) *(lanes *)(dw + at) += d * h, *(lanes *)(db + at) += d;
            }
        for (; i < end; ++i) {
            const REAL d = dy[i], h = (x[i] - m) * s, g = weighted ? d * weight[i] : d;
            a += g;
            b += g * h;
            if (params) dw[i] += d * h, db[i] += d;
        }
        first[0] += first[1], second[0] += second[1];
        sums[0] += (double)(lanes_tree(&first[0]) + a);
        sums[1] += (double)(lanes_tree(&second[0]) + b);
    }
}

/* dx = scale (g - centre - xh along) */
ALWAYS_INLINE void row_slope(bool weighted, REAL *dx, const REAL *dy, const REAL *x, int64_t n, REAL m, REAL s, const REAL *weight,
                             double scale, double centre, double along, bool adds) {
    const REAL k = (REAL)scale, c = (REAL)centre, a = (REAL)along;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        REAL g = weighted ? dy[i] * weight[i] : dy[i], v = k * (g - c - (x[i] - m) * s * a);
        dx[i] = adds ? dx[i] + v : v;
    }
}

static void layer_back(REAL *dx, const REAL *dy, const REAL *x, const REAL *saved, int64_t rows, int64_t n, const REAL *weight, REAL *dw,
                       REAL *db, bool adds) {
    for (int64_t i = 0; dw && i < n; ++i) dw[i] = db[i] = 0;
    for (int64_t r = 0; r < rows; ++r, dy += n, x += n) {
        const REAL m = saved[2 * r], s = saved[2 * r + 1];
        double sums[2];
        if (weight && dw) row_sums(true, true, dy, x, n, m, s, weight, dw, db, sums);
        else if (weight) row_sums(true, false, dy, x, n, m, s, weight, NULL, NULL, sums);
        else row_sums(false, false, dy, x, n, m, s, NULL, NULL, NULL, sums);
        if (!dx) continue;
        REAL *to = dx + r * n;
        if (weight) row_slope(true, to, dy, x, n, m, s, weight, (double)s, sums[0] / (double)n, sums[1] / (double)n, adds);
        else row_slope(false, to, dy, x, n, m, s, NULL, (double)s, sums[0] / (double)n, sums[1] / (double)n, adds);
    }
}

static void rows_back(REAL *dx, const REAL *dy, const REAL *x, const REAL *saved, int64_t rows, int64_t n, const REAL *weight, REAL *dw,
                      REAL *unused, double *dw_one, enum norm_kind kind, bool adds) {
    const REAL *each = kind == NORM_RMS ? weight : NULL;
    const double one = kind == NORM_SCALE ? (double)weight[0] : 1;
    for (int64_t i = 0; dw && i < n; ++i) dw[i] = unused[i] = 0;
    if (dw_one) *dw_one = 0;
    for (int64_t r = 0; r < rows; ++r, dy += n, x += n) {
        const bool bounded = saved[r] < 0; /* the scale is a constant */
        const REAL scale = bounded ? -saved[r] : saved[r], s = kind == NORM_L2 ? 1 : scale;
        double sums[2];
        if (each && dw) row_sums(true, true, dy, x, n, 0, s, each, dw, unused, sums);
        else if (each) row_sums(true, false, dy, x, n, 0, s, each, NULL, NULL, sums);
        else row_sums(false, false, dy, x, n, 0, s, NULL, NULL, NULL, sums);
        if (dw_one) *dw_one += sums[1];
        if (!dx) continue;
        const double along = bounded ? 0 : kind == NORM_L2 ? sums[1] : sums[1] / (double)n;
        REAL *to = dx + r * n;
        if (each) row_slope(true, to, dy, x, n, 0, s, each, (double)scale, 0, along, adds);
        else row_slope(false, to, dy, x, n, 0, s, NULL, (double)scale * one, 0, along, adds);
    }
}

static void columns_back(REAL *dx, const REAL *dy, const REAL *y, const REAL *saved, int64_t n, int64_t inner, int64_t width, bool adds) {
    double sum[NORM_TILE];
    REAL along[NORM_TILE], scale[NORM_TILE];
    for (int64_t j = 0; j < width; ++j) sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
        const REAL *d = dy + i * inner, *h = y + i * inner;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) sum[j] += (double)d[j] * (double)h[j];
    }
    for (int64_t j = 0; j < width; ++j) along[j] = saved[j] < 0 ? 0 : (REAL)sum[j], scale[j] = saved[j] < 0 ? -saved[j] : saved[j];
    for (int64_t i = 0; i < n; ++i) {
        const REAL *d = dy + i * inner, *h = y + i * inner;
        REAL *to = dx + i * inner;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) {
            REAL v = scale[j] * (d[j] - h[j] * along[j]);
            to[j] = adds ? to[j] + v : v;
        }
    }
}

static void channel_sums(const REAL *dy, const REAL *x, int64_t n, double mean, double scale, double sums[2]) {
    row_sums(false, false, dy, x, n, (REAL)mean, (REAL)scale, NULL, NULL, NULL, sums);
}

static void channel_columns(const REAL *dy, const REAL *x, int64_t count, int64_t stride, int64_t width, const double *mean,
                            const double *scale, double *sum, double *along) {
    for (int64_t j = 0; j < width; ++j) sum[j] = along[j] = 0;
    for (int64_t i = 0; i < count; ++i) {
        const REAL *d = dy + i * stride, *at = x + i * stride;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) {
            sum[j] += (double)d[j];
            along[j] += (double)d[j] * (((double)at[j] - mean[j]) * scale[j]);
        }
    }
}

static void channel_slope(REAL *dx, const REAL *dy, const REAL *x, int64_t n, double mean, double by_dy, double by_x, double shift,
                          bool adds) {
    const REAL m = (REAL)mean, k = (REAL)by_dy, a = (REAL)by_x, b = (REAL)shift;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        REAL v = k * dy[i] + a * (x[i] - m) + b;
        dx[i] = adds ? dx[i] + v : v;
    }
}

static void channel_slope_each(REAL *dx, const REAL *dy, const REAL *x, int64_t n, const double *mean, const double *by_dy,
                               const double *by_x, const double *shift, bool adds) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        REAL v = (REAL)(by_dy[i] * (double)dy[i] + by_x[i] * ((double)x[i] - mean[i]) + shift[i]);
        dx[i] = adds ? dx[i] + v : v;
    }
}

#undef COUNT
