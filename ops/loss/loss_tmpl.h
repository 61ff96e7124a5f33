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

/* ---- Gradients ---- */

/* Derivative of a term by x or by the target. */
ALWAYS_INLINE REAL slope(enum loss_kind kind, bool target, REAL x, REAL t, REAL delta) {
    REAL d = x - t, one = d > 0 ? 1 : d < 0 ? -1 : d; /* 0 at 0 */
    REAL by_x = kind == LOSS_SQUARED ? 2 * d : kind == LOSS_ABSOLUTE ? one : magnitude_of(d) <= delta ? d : one * delta;
    if (kind == LOSS_BINARY) return target ? -x : sigmoid_of(x) - t;
    if (kind == LOSS_KL) return -t;
    return target ? -by_x : by_x;
}

ALWAYS_INLINE void slopes_kind(enum loss_kind kind, bool target, REAL *to, const REAL *x, const REAL *t, int64_t n, const REAL *g,
                               REAL scale, REAL delta, bool adds) {
    if (g) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            REAL v = scale * g[i] * slope(kind, target, kind == LOSS_KL ? 0 : x[i], t[i], delta);
            to[i] = adds ? to[i] + v : v;
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            REAL v = scale * slope(kind, target, kind == LOSS_KL ? 0 : x[i], t[i], delta);
            to[i] = adds ? to[i] + v : v;
        }
    }
}

static void slopes(enum loss_kind kind, bool target, REAL *to, const REAL *x, const REAL *t, int64_t n, const REAL *g, double scale,
                   double delta, bool adds) {
    const REAL s = (REAL)scale, d = (REAL)delta;
    switch (kind) {
    case LOSS_BINARY:
        if (target) slopes_kind(LOSS_BINARY, true, to, x, t, n, g, s, 0, adds);
        else slopes_kind(LOSS_BINARY, false, to, x, t, n, g, s, 0, adds);
        break;
    case LOSS_SQUARED: slopes_kind(LOSS_SQUARED, false, to, x, t, n, g, target ? -s : s, 0, adds); break;
    case LOSS_ABSOLUTE: slopes_kind(LOSS_ABSOLUTE, false, to, x, t, n, g, target ? -s : s, 0, adds); break;
    case LOSS_HUBER: slopes_kind(LOSS_HUBER, false, to, x, t, n, g, target ? -s : s, d, adds); break;
    default: slopes_kind(LOSS_KL, false, to, x, t, n, g, s, 0, adds); break;
    }
}

static void probabilities(REAL *dx, const REAL *x, int64_t n, double log_sum_, double scale, double shift, bool adds) {
    const REAL centre = (REAL)log_sum_, rest = (REAL)((double)centre - log_sum_), s = (REAL)scale, b = (REAL)shift;
    if (adds) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) dx[i] += s * exp_negative_of((x[i] - centre) + rest) - b;
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) dx[i] = s * exp_negative_of((x[i] - centre) + rest) - b;
    }
}

static double total(const REAL *x, int64_t n) { return lanes_total(x, n); }

static void blend(REAL *to, int64_t step, const REAL *a, int64_t a_step, const REAL *b, int64_t b_step, int64_t n, double by_a, double by_b,
                  bool adds) {
    const REAL s = (REAL)by_a, r = (REAL)by_b;
    if (step == 1 && a_step == 1 && b_step == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            REAL v = s * a[i] + r * b[i];
            to[i] = adds ? to[i] + v : v;
        }
    } else {
        for (int64_t i = 0; i < n; ++i) {
            REAL v = s * a[i * a_step] + r * b[i * b_step];
            to[i * step] = adds ? to[i * step] + v : v;
        }
    }
}
