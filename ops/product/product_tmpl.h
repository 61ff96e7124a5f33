/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of product_simd.c for one element type: REAL, lanes_dot, lanes_sum, and the names loop_sum, row_add, loop_add, loop. What is
 * summed is not empty. */

/* c[o] (+)= sum over k, v of a b. */
ALWAYS_INLINE void loop_sum(enum pattern pattern, REAL *c, const REAL *a, const REAL *b, const struct product_loop *l) {
    for (int64_t o = 0; o < l->rows; ++o) {
        REAL sum = l->adds ? c[o * l->c_row] : 0;
        for (int64_t k = 0; k < l->depth; ++k) {
            const REAL *ak = a + o * l->a_row + k * l->a_depth, *bk = b + o * l->b_row + k * l->b_depth;
            if (pattern == ADJACENT) {
                sum += lanes_dot(ak, bk, l->width);
            } else if (pattern == REPEATED) {
                sum += lanes_sum(ak, l->width) * *bk;
            } else {
                REAL s = 0;
                for (int64_t i = 0; i < l->width; ++i) s += ak[i * l->a_width] * bk[i * l->b_width];
                sum += s;
            }
        }
        c[o * l->c_row] = sum;
    }
}

/* c[v] (+)= a[v] b[v]. */
ALWAYS_INLINE void row_add(enum pattern pattern, bool adds, REAL *restrict c, const REAL *a, const REAL *b, const struct product_loop *l,
                           int64_t width) {
    if (pattern == ADJACENT) {
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) c[i] = adds ? c[i] + a[i] * b[i] : a[i] * b[i];
    } else if (pattern == REPEATED) {
        const REAL f = *b;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) c[i] = adds ? c[i] + a[i] * f : a[i] * f;
    } else {
        for (int64_t i = 0; i < width; ++i) {
            REAL *to = c + i * l->c_width, product = a[i * l->a_width] * b[i * l->b_width];
            *to = adds ? *to + product : product;
        }
    }
}

/* c[o, v] (+)= sum over k of a b, in blocks of v: c stays in the first cache over k, and what lies across v is read by whole lines. */
ALWAYS_INLINE void loop_add(enum pattern pattern, REAL *c, const REAL *a, const REAL *b, const struct product_loop *l) {
    const int64_t block = pattern == STRIDED ? 16 : 2048;
    for (int64_t v = 0; v < l->width; v += block) {
        int64_t width = l->width - v < block ? l->width - v : block;
        for (int64_t o = 0; o < l->rows; ++o) {
            REAL *cv = c + o * l->c_row + v * l->c_width;
            const REAL *av = a + o * l->a_row + v * l->a_width, *bv = b + o * l->b_row + v * l->b_width;
            if (l->adds) row_add(pattern, true, cv, av, bv, l, width);
            else row_add(pattern, false, cv, av, bv, l, width);
            for (int64_t k = 1; k < l->depth; ++k) row_add(pattern, true, cv, av + k * l->a_depth, bv + k * l->b_depth, l, width);
        }
    }
}

static void loop(REAL *c, const REAL *a, const REAL *b, const struct product_loop *given) {
    struct product_loop l = *given;
    if (l.a_width == 0 && l.b_width == 1) { /* the repeated one is the second */
        const REAL *other = a;
        a = b, b = other;
        l.a_row = given->b_row, l.a_depth = given->b_depth, l.a_width = 1;
        l.b_row = given->a_row, l.b_depth = given->a_depth, l.b_width = 0;
    }
    enum pattern pattern = l.a_width != 1 || (!l.sums && l.c_width != 1) ? STRIDED
                           : l.b_width == 1                              ? ADJACENT
                           : l.b_width == 0                              ? REPEATED
                                                                         : STRIDED;
    if (l.sums) {
        switch (pattern) {
        case ADJACENT: loop_sum(ADJACENT, c, a, b, &l); break;
        case REPEATED: loop_sum(REPEATED, c, a, b, &l); break;
        default: loop_sum(STRIDED, c, a, b, &l); break;
        }
    } else {
        switch (pattern) {
        case ADJACENT: loop_add(ADJACENT, c, a, b, &l); break;
        case REPEATED: loop_add(REPEATED, c, a, b, &l); break;
        default: loop_add(STRIDED, c, a, b, &l); break;
        }
    }
}
