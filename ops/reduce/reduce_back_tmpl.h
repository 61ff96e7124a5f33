/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of reduce_back_simd.c for one element type: REAL, the elementary functions exp_of (of x <= 0), magnitude_of, power_of, and the
 * names of what stands here. */

ALWAYS_INLINE REAL spread_term(enum reduce_spread kind, REAL x, REAL q, REAL c, REAL p) {
    switch (kind) {
    case SPREAD_EXP: return q * exp_of(x - c);
    case SPREAD_SIGN: return x > 0 ? q : x < 0 ? -q : x * 0;
    case SPREAD_SCALE: return q * (x - c);
    case SPREAD_POWER: return x == 0 ? 0 : (x > 0 ? q : -q) * power_of(magnitude_of(x), p - 1);
    default: return q;
    }
}

ALWAYS_INLINE void spread_run(enum reduce_spread kind, REAL *dx, const REAL *x, int64_t n, REAL q, REAL c, REAL p, bool adds) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        REAL v = spread_term(kind, kind == SPREAD_PLAIN ? 0 : x[i], q, c, p);
        dx[i] = adds ? dx[i] + v : v;
    }
}

ALWAYS_INLINE void spread_row(enum reduce_spread kind, REAL *dx, const REAL *x, int64_t n, const REAL *q, const REAL *c, REAL p,
                              bool adds) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        REAL v = spread_term(kind, kind == SPREAD_PLAIN ? 0 : x[i], q[i], c[i], p);
        dx[i] = adds ? dx[i] + v : v;
    }
}

#define SPREAD_CASES(function, ...)                                                                                          \
    switch (kind) {                                                                                                          \
    case SPREAD_EXP: adds ? function(SPREAD_EXP, __VA_ARGS__, true) : function(SPREAD_EXP, __VA_ARGS__, false); break;       \
    case SPREAD_SIGN: adds ? function(SPREAD_SIGN, __VA_ARGS__, true) : function(SPREAD_SIGN, __VA_ARGS__, false); break;    \
    case SPREAD_SCALE: adds ? function(SPREAD_SCALE, __VA_ARGS__, true) : function(SPREAD_SCALE, __VA_ARGS__, false); break; \
    case SPREAD_POWER: adds ? function(SPREAD_POWER, __VA_ARGS__, true) : function(SPREAD_POWER, __VA_ARGS__, false); break; \
    default: adds ? function(SPREAD_PLAIN, __VA_ARGS__, true) : function(SPREAD_PLAIN, __VA_ARGS__, false); break;           \
    }

static void spread(enum reduce_spread kind, REAL *dx, const REAL *x, int64_t n, REAL q, REAL c, double p, bool adds) {
    SPREAD_CASES(spread_run, dx, x, n, q, c, (REAL)p)
}
static void spread_each(enum reduce_spread kind, REAL *dx, const REAL *x, int64_t n, const REAL *q, const REAL *c, double p, bool adds) {
    SPREAD_CASES(spread_row, dx, x, n, q, c, (REAL)p)
}
#undef SPREAD_CASES

/* Is x the extreme y? A NaN is where y is one. */
ALWAYS_INLINE bool same(REAL x, REAL y, bool magnitude) {
    REAL v = magnitude ? magnitude_of(x) : x;
    return v == y || (y != y && v != v);
}

static int64_t find(const REAL *x, int64_t n, REAL y, bool magnitude) {
    for (int64_t begin = 0; begin < n; begin += 256) {
        int64_t end = n - begin < 256 ? n : begin + 256, hits = 0;
#pragma omp simd reduction(+ : hits)
        for (int64_t i = begin; i < end; ++i) hits += same(x[i], y, magnitude);
        if (hits == 0) continue;
        for (int64_t i = begin; i < end; ++i)
            if (same(x[i], y, magnitude)) return i;
    }
    return -1;
}

static void find_each(REAL *dx, const REAL *x, int64_t n, const REAL *y, const REAL *q, unsigned char *found, bool magnitude, bool adds) {
    for (int64_t i = 0; i < n; ++i) {
        bool here = !found[i] && same(x[i], y[i], magnitude);
        REAL v = !here ? 0 : magnitude && x[i] < 0 ? -q[i] : q[i];
        found[i] |= here;
        dx[i] = adds ? dx[i] + v : v;
    }
}

/* The product of those that are not 0, and the number of zeros. */
static void factors(const REAL *x, int64_t n, double *product, int64_t *zeros) {
    double p = *product;
    for (int64_t i = 0; i < n; ++i) {
        p *= x[i] == 0 ? 1 : (double)x[i];
        *zeros += x[i] == 0;
    }
    *product = p;
}
static void factors_each(const REAL *x, int64_t n, double *product, int64_t *zeros) {
    for (int64_t i = 0; i < n; ++i) {
        product[i] *= x[i] == 0 ? 1 : (double)x[i];
        zeros[i] += x[i] == 0;
    }
}
/* q times the product of the others. */
static inline REAL others(REAL x, double q, double product, int64_t zeros) {
    return (REAL)(zeros == 0 ? q * product / (double)x : zeros == 1 && x == 0 ? q * product : 0);
}
static void cofactors(REAL *dx, const REAL *x, int64_t n, double q, double product, int64_t zeros, bool adds) {
    for (int64_t i = 0; i < n; ++i) dx[i] = others(x[i], q, product, zeros) + (adds ? dx[i] : 0);
}
static void cofactors_each(REAL *dx, const REAL *x, int64_t n, const REAL *q, const double *product, const int64_t *zeros, bool adds) {
    for (int64_t i = 0; i < n; ++i) dx[i] = others(x[i], (double)q[i], product[i], zeros[i]) + (adds ? dx[i] : 0);
}
