/* SPDX-License-Identifier: Apache-2.0 */
/* softmax and log_softmax for one element type: REAL, exp_of (of x <= 0), max_of, and the names rows,
 * columns. */

/* Adjacent elements. x and y may be the same. */
static void rows(REAL *y, const REAL *x, int64_t count, int64_t n, bool log_) {
    REAL terms[1024];
    for (int64_t r = 0; r < count; ++r, x += n, y += n) {
        REAL m = lanes_max(x, n), centre = m == -(REAL)INFINITY ? 0 : m; /* a row of -inf: all exponentials are 0 */
        double sum = 0;
        for (int64_t begin = 0; begin < n; begin += 1024) {
            int64_t block = n - begin < 1024 ? n - begin : 1024;
            const REAL *from = x + begin;
            REAL *to = log_ ? terms : y + begin;
#pragma omp simd
            for (int64_t i = 0; i < block; ++i) to[i] = exp_of(from[i] - centre);
            sum += (double)lanes_sum(to, block);
        }
        if (log_) {
            REAL shift = sum == 0 ? 0 : (REAL)log(sum);
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - centre) - shift;
        } else {
            REAL scale = sum == 0 ? 0 : (REAL)(1 / sum);
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) y[i] *= scale;
        }
    }
}

/* Columns of [n, inner], `width` of them. x and y may be the same. */
static void columns(REAL *y, const REAL *x, int64_t n, int64_t inner, int64_t width, bool log_) {
    REAL centre[REDUCE_TILE], scale[REDUCE_TILE];
    double sum[REDUCE_TILE];
    for (int64_t j = 0; j < width; ++j) centre[j] = -(REAL)INFINITY, sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
        const REAL *xi = x + i * inner;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) centre[j] = max_of(centre[j], xi[j]);
    }
    for (int64_t j = 0; j < width; ++j) centre[j] = centre[j] == -(REAL)INFINITY ? 0 : centre[j];
    for (int64_t i = 0; i < n; ++i) {
        const REAL *xi = x + i * inner;
        REAL *yi = y + i * inner;
        if (log_) {
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) sum[j] += (double)exp_of(xi[j] - centre[j]);
        } else {
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) {
                REAL e = exp_of(xi[j] - centre[j]);
                yi[j] = e;
                sum[j] += (double)e;
            }
        }
    }
    for (int64_t j = 0; j < width; ++j) scale[j] = sum[j] == 0 ? 0 : log_ ? (REAL)log(sum[j]) : (REAL)(1 / sum[j]);
    for (int64_t i = 0; i < n; ++i) {
        const REAL *xi = x + i * inner;
        REAL *yi = y + i * inner;
        if (log_) {
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) yi[j] = (xi[j] - centre[j]) - scale[j];
        } else {
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) yi[j] *= scale[j];
        }
    }
}

/* ---- Gradients: softmax dx = y (dy - sum dy y), log_softmax dx = dy - exp(y) sum dy ---- */

ALWAYS_INLINE void row_back(REAL *dx, const REAL *dy, const REAL *y, int64_t n, bool log_, bool adds) {
    double total = 0;
    for (int64_t i = 0; i < n; i += 1024) {
        int64_t block = n - i < 1024 ? n - i : 1024;
        total += (double)(log_ ? lanes_sum(dy + i, block) : lanes_dot(dy + i, y + i, block));
    }
    const REAL sum = (REAL)total;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        REAL v = log_ ? dy[i] - exp_of(y[i]) * sum : y[i] * (dy[i] - sum);
        dx[i] = adds ? dx[i] + v : v;
    }
}

static void rows_back(REAL *dx, const REAL *dy, const REAL *y, int64_t count, int64_t n, bool log_, bool adds) {
    for (int64_t r = 0; r < count; ++r, dx += n, dy += n, y += n) {
        if (log_ && adds) row_back(dx, dy, y, n, true, true);
        else if (log_) row_back(dx, dy, y, n, true, false);
        else if (adds) row_back(dx, dy, y, n, false, true);
        else row_back(dx, dy, y, n, false, false);
    }
}

ALWAYS_INLINE void tile_back(REAL *dx, const REAL *dy, const REAL *y, int64_t n, int64_t inner, int64_t width, bool log_, bool adds) {
    double total[REDUCE_TILE];
    REAL sum[REDUCE_TILE];
    for (int64_t j = 0; j < width; ++j) total[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
        const REAL *gi = dy + i * inner, *yi = y + i * inner;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) total[j] += log_ ? (double)gi[j] : (double)gi[j] * (double)yi[j];
    }
    for (int64_t j = 0; j < width; ++j) sum[j] = (REAL)total[j];
    for (int64_t i = 0; i < n; ++i) {
        const REAL *gi = dy + i * inner, *yi = y + i * inner;
        REAL *di = dx + i * inner;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) {
            REAL v = log_ ? gi[j] - exp_of(yi[j]) * sum[j] : yi[j] * (gi[j] - sum[j]);
            di[j] = adds ? di[j] + v : v;
        }
    }
}

static void columns_back(REAL *dx, const REAL *dy, const REAL *y, int64_t n, int64_t inner, int64_t width, bool log_, bool adds) {
    if (log_ && adds) tile_back(dx, dy, y, n, inner, width, true, true);
    else if (log_) tile_back(dx, dy, y, n, inner, width, true, false);
    else if (adds) tile_back(dx, dy, y, n, inner, width, false, true);
    else tile_back(dx, dy, y, n, inner, width, false, false);
}
