/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of product_simd.c for one element type: REAL, and the names row_dot, row_add, rows_add, loop. */

/* sum over v of a[v] b[v]. Four partial sums hide the latency of the additions. */
static REAL row_dot(const REAL *a, int64_t sa, const REAL *b, int64_t sb, int64_t n) {
    REAL s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    if (n == 0) return 0;
    if (sa == 1 && sb == 1) {
        int64_t q = n / 4;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (int64_t i = 0; i < q; ++i) {
            s0 += a[i] * b[i];
            s1 += a[q + i] * b[q + i];
            s2 += a[2 * q + i] * b[2 * q + i];
            s3 += a[3 * q + i] * b[3 * q + i];
        }
        for (int64_t i = 4 * q; i < n; ++i) s0 += a[i] * b[i];
        return (s0 + s1) + (s2 + s3);
    }
    if (sa == 1 && sb == 0) {
#pragma omp simd reduction(+ : s0)
        for (int64_t i = 0; i < n; ++i) s0 += a[i];
        return s0 * b[0];
    }
    for (int64_t i = 0; i < n; ++i) s0 += a[i * sa] * b[i * sb];
    return s0;
}

/* c[v] (+)= a[v] b[v]. */
static void row_add(REAL *restrict c, int64_t sc, const REAL *a, int64_t sa, const REAL *b, int64_t sb, int64_t n, bool adds) {
    if (n == 0) return;
    if (sc == 1 && sa == 1 && sb == 1) {
        if (adds) {
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) c[i] += a[i] * b[i];
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) c[i] = a[i] * b[i];
        }
    } else if (sc == 1 && sb == 0 && sa == 1) {
        REAL f = b[0];
        if (adds) {
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) c[i] += a[i] * f;
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) c[i] = a[i] * f;
        }
    } else if (adds) {
        for (int64_t i = 0; i < n; ++i) c[i * sc] += a[i * sa] * b[i * sb];
    } else {
        for (int64_t i = 0; i < n; ++i) c[i * sc] = a[i * sa] * b[i * sb];
    }
}

/* c[v] (+)= sum over k of a[k, v] b[k, v] for v in [0, width). */
static void rows_add(REAL *c, const REAL *a, const REAL *b, const struct product_loop *l, int64_t width) {
    if (l->depth == 0 && !l->adds)
        for (int64_t i = 0; i < width; ++i) c[i * l->c_width] = 0;
    for (int64_t k = 0; k < l->depth; ++k) {
        const REAL *ak = a + k * l->a_depth, *bk = b + k * l->b_depth;
        bool adds = l->adds || k > 0;
        if (l->a_width == 0 && l->b_width == 1) row_add(c, l->c_width, bk, 1, ak, 0, width, adds);
        else row_add(c, l->c_width, ak, l->a_width, bk, l->b_width, width, adds);
    }
}

static void loop(REAL *c, const REAL *a, const REAL *b, const struct product_loop *l) {
    const int64_t block = 2048; /* of c, stays in the first cache over k */
    for (int64_t o = 0; o < l->rows; ++o) {
        REAL *co = c + o * l->c_row;
        const REAL *ao = a + o * l->a_row, *bo = b + o * l->b_row;
        if (l->sums) {
            REAL sum = l->adds ? *co : 0;
            for (int64_t k = 0; k < l->depth; ++k)
                sum += row_dot(ao + k * l->a_depth, l->a_width, bo + k * l->b_depth, l->b_width, l->width);
            *co = sum;
            continue;
        }
        for (int64_t v = 0; v < l->width; v += block)
            rows_add(co + v * l->c_width, ao + v * l->a_width, bo + v * l->b_width, l, l->width - v < block ? l->width - v : block);
    }
}
