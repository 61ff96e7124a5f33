/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of loss_simd.c for one element type: REAL, the elementary functions exp_of, exp_negative_of, log_of, log1p_of, magnitude_of,
 * and the names of what stands here. Sums are of blocks of 1024 in REAL, the blocks in double. */

ALWAYS_INLINE REAL term(enum loss_kind kind, REAL x, REAL t, REAL delta) {
    REAL d = x - t, size = magnitude_of(d);
    switch (kind) {
    case LOSS_BINARY: return (x < 0 ? 0 : x) - x * t + log1p_of(exp_of(-magnitude_of(x)));
    case LOSS_SQUARED: return d * d;
    case LOSS_ABSOLUTE: return size;
    case LOSS_HUBER: return size <= delta ? d * d / 2 : delta * (size - delta / 2);
    default: return t == 0 ? 0 : t * (log_of(t) - x); /* LOSS_KL */
    }
}

ALWAYS_INLINE double sum_kind(enum loss_kind kind, const REAL *x, const REAL *t, int64_t n, REAL delta) {
    double all = 0;
    REAL terms[1024];
    for (int64_t begin = 0; begin < n; begin += 1024) {
        int64_t count = n - begin < 1024 ? n - begin : 1024;
        const REAL *xi = x + begin, *ti = t + begin;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) terms[i] = term(kind, xi[i], ti[i], delta);
        all += (double)lanes_sum(terms, count);
    }
    return all;
}

ALWAYS_INLINE void each_kind(enum loss_kind kind, REAL *y, const REAL *x, const REAL *t, int64_t n, REAL delta) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = term(kind, x[i], t[i], delta);
}

static double sum(enum loss_kind kind, const REAL *x, const REAL *t, int64_t n, double delta) {
    switch (kind) {
    case LOSS_BINARY: return sum_kind(LOSS_BINARY, x, t, n, 0);
    case LOSS_SQUARED: return sum_kind(LOSS_SQUARED, x, t, n, 0);
    case LOSS_ABSOLUTE: return sum_kind(LOSS_ABSOLUTE, x, t, n, 0);
    case LOSS_HUBER: return sum_kind(LOSS_HUBER, x, t, n, (REAL)delta);
    default: return sum_kind(LOSS_KL, x, t, n, 0);
    }
}

static void each(enum loss_kind kind, REAL *y, const REAL *x, const REAL *t, int64_t n, double delta) {
    switch (kind) {
    case LOSS_BINARY: each_kind(LOSS_BINARY, y, x, t, n, 0); break;
    case LOSS_SQUARED: each_kind(LOSS_SQUARED, y, x, t, n, 0); break;
    case LOSS_ABSOLUTE: each_kind(LOSS_ABSOLUTE, y, x, t, n, 0); break;
    case LOSS_HUBER: each_kind(LOSS_HUBER, y, x, t, n, (REAL)delta); break;
    default: each_kind(LOSS_KL, y, x, t, n, 0); break;
    }
}

static double log_sum(const REAL *x, int64_t n) {
    REAL terms[1024], m = lanes_max(x, n), centre = m == -(REAL)INFINITY ? 0 : m;
    double all = 0;
    for (int64_t begin = 0; begin < n; begin += 1024) {
        int64_t count = n - begin < 1024 ? n - begin : 1024;
        const REAL *at = x + begin;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) terms[i] = exp_negative_of(at[i] - centre);
        all += (double)lanes_sum(terms, count);
    }
    return (double)centre + log(all);
}

/* The first of the largest. */
static int64_t argmax(const REAL *x, int64_t n) {
    REAL m = lanes_max(x, n);
    int64_t i = 0;
    while (i < n && x[i] != m) ++i;
    return i < n ? i : 0;
}

static void products(const REAL *a, int64_t a_step, const REAL *b, int64_t b_step, int64_t n, double out[3]) {
    double ab = 0, aa = 0, bb = 0;
    if (a_step == 1 && b_step == 1) {
        for (int64_t i = 0; i < n; i += 1024) {
            int64_t count = n - i < 1024 ? n - i : 1024;
            ab += (double)lanes_dot(a + i, b + i, count);
            aa += (double)lanes_dot(a + i, a + i, count);
            bb += (double)lanes_dot(b + i, b + i, count);
        }
    } else {
        for (int64_t i = 0; i < n; ++i) {
            double u = (double)a[i * a_step], v = (double)b[i * b_step];
            ab += u * v;
            aa += u * u;
            bb += v * v;
        }
    }
    out[0] = ab, out[1] = aa, out[2] = bb;
}
