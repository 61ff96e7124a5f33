/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of conv_simd.c for one element type: REAL, vector (VECTOR_BYTES of it), and the names of what stands here. */

/* `count` vectors of results from i on; count is a constant: the sums stay in registers. */
ALWAYS_INLINE void taps_block(const int count, REAL *y, const REAL *x, const int64_t *offset, const REAL *w, int64_t taps_count,
                              REAL bias) {
    vector sum[8];
    for (int v = 0; v < count; ++v) sum[v] = (vector){0} + bias;
    for (int64_t j = 0; j < taps_count; ++j) {
        const REAL *at = x + offset[j];
        const vector weight = (vector){0} + w[j];
#pragma GCC unroll 8
        for (int v = 0; v < count; ++v) sum[v] += weight * *(const vector *)(at + v * LANES);
    }
    for (int v = 0; v < count; ++v) *(vector *)(y + v * LANES) = sum[v];
}

static void taps(REAL *y, int64_t n, const REAL *x, const int64_t *offset, const REAL *w, int64_t count, REAL bias) {
    int64_t i = 0;
    for (; i + 8 * LANES <= n; i += 8 * LANES) taps_block(8, y + i, x + i, offset, w, count, bias);
    if (i + 4 * LANES <= n) taps_block(4, y + i, x + i, offset, w, count, bias), i += 4 * LANES;
    if (i + 2 * LANES <= n) taps_block(2, y + i, x + i, offset, w, count, bias), i += 2 * LANES;
    if (i + LANES <= n) taps_block(1, y + i, x + i, offset, w, count, bias), i += LANES;
    if (i < n && n >= LANES) { /* the last vector once more, moved back: the same sums again */
        i = n - LANES;
        taps_block(1, y + i, x + i, offset, w, count, bias);
        return;
    }
    bool adjacent =
        i < n && count > 0 && offset[count - 1] - offset[0] == count - 1; /* with strides they need not grow: each is looked at */
    for (int64_t j = 1; adjacent && j < count; ++j) adjacent = offset[j] == offset[0] + j;
    for (; i < n; ++i) {
        if (adjacent) {
            y[i] = bias + lanes_dot(w, x + offset[0] + i, count);
            continue;
        }
        REAL s0 = bias, s1 = 0, s2 = 0, s3 = 0;
        int64_t j = 0;
        for (; j + 4 <= count; j += 4) {
            s0 += w[j] * x[offset[j] + i];
            s1 += w[j + 1] * x[offset[j + 1] + i];
            s2 += w[j + 2] * x[offset[j + 2] + i];
            s3 += w[j + 3] * x[offset[j + 3] + i];
        }
        for (; j < count; ++j) s0 += w[j] * x[offset[j] + i];
        y[i] = (s0 + s1) + (s2 + s3);
    }
}

/* Units `units` together, each over `count` vectors; both are constants. */
ALWAYS_INLINE void units_block(const int units, const int count, REAL *y, int64_t y_step, const REAL *x, const int64_t *offset,
                               const REAL *w, int64_t w_step, int64_t taps_count, const REAL *bias) {
    vector sum[UNITS_MOST][UNITS_VECTORS];
#pragma GCC unroll 8
    for (int u = 0; u < units; ++u)
#pragma GCC unroll 4
        for (int v = 0; v < count; ++v) sum[u][v] = (vector){0} + (bias ? bias[u] : 0);
    for (int64_t j = 0; j < taps_count; ++j) {
        vector at[UNITS_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < count; ++v) at[v] = *(const vector *)(x + offset[j] + v * LANES);
#pragma GCC unroll 8
        for (int u = 0; u < units; ++u) {
            const vector weight = (vector){0} + w[u * w_step + j];
#pragma GCC unroll 4
            for (int v = 0; v < count; ++v) sum[u][v] += weight * at[v];
        }
    }
#pragma GCC unroll 8
    for (int u = 0; u < units; ++u)
#pragma GCC unroll 4
        for (int v = 0; v < count; ++v) *(vector *)(y + u * y_step + v * LANES) = sum[u][v];
}

/* n is at least a vector. */
ALWAYS_INLINE void units_row(const int units, REAL *y, int64_t n, const REAL *x, const REAL *w, const REAL *bias,
                             const struct conv_taps *t) {
    int64_t i = 0;
    for (; i + UNITS_VECTORS * LANES <= n; i += UNITS_VECTORS * LANES)
        units_block(units, UNITS_VECTORS, y + i, t->y_step, x + i, t->offset, w, t->w_step, t->count, bias);
    for (; i < n; i += LANES) {
        if (i + LANES > n) i = n - LANES; /* the last vector once more, moved back: the same sums again */
        units_block(units, 1, y + i, t->y_step, x + i, t->offset, w, t->w_step, t->count, bias);
    }
}

static void taps_units(REAL *y, int64_t n, const REAL *x, const REAL *w, const REAL *bias, const struct conv_taps *t) {
    int64_t u = 0;
    if (n >= LANES) {
#if UNITS_MOST >= 8
        for (; u + 8 <= t->units; u += 8) units_row(8, y + u * t->y_step, n, x, w + u * t->w_step, bias ? bias + u : NULL, t);
#endif
        for (; u + 4 <= t->units; u += 4) units_row(4, y + u * t->y_step, n, x, w + u * t->w_step, bias ? bias + u : NULL, t);
        for (; u + 2 <= t->units; u += 2) units_row(2, y + u * t->y_step, n, x, w + u * t->w_step, bias ? bias + u : NULL, t);
    }
    for (; u < t->units; ++u) taps(y + u * t->y_step, n, x, t->offset, w + u * t->w_step, t->count, bias ? bias[u] : 0);
}

/* to[u, j] += sum over i of dy[u, i] x[offset[j] + i]: n whole vectors of `units` rows of dy with `count` stretches of x. */
ALWAYS_INLINE void dots_block(const int units, const int count, REAL *to, int64_t to_step, const REAL *dy, int64_t dy_step, int64_t n,
                              const REAL *x, const int64_t *offset) {
    vector sum[DOTS_UNITS][DOTS_TAPS];
    const REAL *at[DOTS_TAPS];
#pragma GCC unroll 8
    for (int j = 0; j < count; ++j) at[j] = x + offset[j];
#pragma GCC unroll 4
    for (int u = 0; u < units; ++u)
#pragma GCC unroll 8
        for (int j = 0; j < count; ++j) sum[u][j] = (vector){0};
    for (int64_t i = 0; i < n; i += LANES) {
        vector of[DOTS_UNITS];
#pragma GCC unroll 4
        for (int u = 0; u < units; ++u) of[u] = *(const vector *)(dy + u * dy_step + i);
#pragma GCC unroll 8
        for (int j = 0; j < count; ++j) {
            const vector other = *(const vector *)(at[j] + i);
#pragma GCC unroll 4
            for (int u = 0; u < units; ++u) sum[u][j] += of[u] * other;
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < count; ++j) {
        REAL total[DOTS_UNITS];
        if (units == 4) {
            const vector four[4] = {sum[0][j], sum[1][j], sum[2][j], sum[3][j]};
            lanes_four(four, total);
        } else {
#pragma GCC unroll 4
            for (int u = 0; u < units; ++u) {
                const vector one = sum[u][j];
                total[u] = lanes_tree(&one);
            }
        }
#pragma GCC unroll 4
        for (int u = 0; u < units; ++u) to[u * to_step + j] += total[u];
    }
}

ALWAYS_INLINE void dots_rows(const int units, REAL *to, int64_t to_step, const REAL *dy, int64_t dy_step, int64_t n, const REAL *x,
                             const int64_t *offset, int64_t count) {
    int64_t j = 0;
    for (; j + DOTS_TAPS <= count; j += DOTS_TAPS) dots_block(units, DOTS_TAPS, to + j, to_step, dy, dy_step, n, x, offset + j);
#if DOTS_TAPS > 3
    if (j + 3 <= count) dots_block(units, 3, to + j, to_step, dy, dy_step, n, x, offset + j), j += 3;
#endif
    for (; j < count; ++j) dots_block(units, 1, to + j, to_step, dy, dy_step, n, x, offset + j);
}

static void dots(REAL *to, int64_t to_step, int64_t units, const REAL *dy, int64_t dy_step, int64_t n, const REAL *x, const int64_t *offset,
                 int64_t count) {
    int64_t u = 0;
    for (; u + DOTS_UNITS <= units; u += DOTS_UNITS)
        dots_rows(DOTS_UNITS, to + u * to_step, to_step, dy + u * dy_step, dy_step, n, x, offset, count);
    if (u + 2 <= units) dots_rows(2, to + u * to_step, to_step, dy + u * dy_step, dy_step, n, x, offset, count), u += 2;
    if (u < units) dots_rows(1, to + u * to_step, to_step, dy + u * dy_step, dy_step, n, x, offset, count);
}

static void add(REAL *y, int64_t step, const REAL *x, int64_t n) {
    if (step == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] += x[i];
    } else {
        for (int64_t i = 0; i < n; ++i) y[i * step] += x[i];
    }
}

static void most(REAL *m, const REAL *x, int64_t step, int64_t n) {
    if (step == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) m[i] = max_of(m[i], x[i]);
    } else if (step == 2) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) m[i] = max_of(m[i], x[2 * i]);
    } else {
        for (int64_t i = 0; i < n; ++i) m[i] = max_of(m[i], x[i * step]);
    }
}

/* y[i] = the larger of two neighbours */
static void most_pairs(REAL *restrict y, const REAL *restrict x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = max_of(x[2 * i], x[2 * i + 1]);
}

static void sum(REAL *m, const REAL *x, int64_t step, int64_t n) {
    if (step == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) m[i] += x[i];
    } else if (step == 2) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) m[i] += x[2 * i];
    } else {
        for (int64_t i = 0; i < n; ++i) m[i] += x[i * step];
    }
}

static REAL blend_one(const REAL *upper, const REAL *lower, const struct conv_blend *b, int64_t q) {
    int64_t low = q + b->low < 0 ? 0 : q + b->low, high = q + b->high < b->n ? q + b->high : b->n - 1;
    REAL across = (REAL)b->across, down = (REAL)b->down;
    REAL u = upper[low] + (upper[high] - upper[low]) * across, l = lower[low] + (lower[high] - lower[low]) * across;
    return u + (l - u) * down;
}

static void blend(REAL *y, const REAL *upper, const REAL *lower, const struct conv_blend *b) {
    int64_t begin = b->low < 0 ? -b->low : 0, end = b->n - (b->high > 0 ? b->high : 0), step = b->step;
    const REAL *u0 = upper + b->low, *u1 = upper + b->high, *l0 = lower + b->low, *l1 = lower + b->high;
    REAL across = (REAL)b->across, down = (REAL)b->down;
    begin = begin > b->n ? b->n : begin;
    end = end < begin ? begin : end;
    for (int64_t q = 0; q < begin; ++q) y[q * step] = blend_one(upper, lower, b, q);
    if (across == 0 && down == 0) {
#pragma omp simd
        for (int64_t q = begin; q < end; ++q) y[q * step] = u0[q];
    } else {
#pragma omp simd
        for (int64_t q = begin; q < end; ++q) {
            REAL u = u0[q] + (u1[q] - u0[q]) * across, l = l0[q] + (l1[q] - l0[q]) * across;
            y[q * step] = u + (l - u) * down;
        }
    }
    for (int64_t q = end; q < b->n; ++q) y[q * step] = blend_one(upper, lower, b, q);
}

/* ---- Gradients of pools and of resizing ---- */

/* x[q] += weight y[q * step] */
static void collect(REAL *x, const REAL *y, int64_t step, double weight, int64_t n) {
    const REAL w = (REAL)weight;
    if (step == 1) {
#pragma omp simd
        for (int64_t q = 0; q < n; ++q) x[q] += w * y[q];
    } else if (step == 2) {
#pragma omp simd
        for (int64_t q = 0; q < n; ++q) x[q] += w * y[2 * q];
    } else {
        for (int64_t q = 0; q < n; ++q) x[q] += w * y[q * step];
    }
}

/* What is left of y's gradient goes to those elements of x that are y. */
static void hit(REAL *restrict dx, const REAL *restrict x, int64_t step, const REAL *restrict y, REAL *restrict left, int64_t n) {
    if (step == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            const REAL share = x[i] == y[i] ? left[i] : 0;
            dx[i] += share;
            left[i] = x[i] == y[i] ? 0 : left[i];
        }
    } else {
        for (int64_t i = 0; i < n; ++i) {
            const REAL share = x[i * step] == y[i] ? left[i] : 0;
            dx[i * step] += share;
            left[i] = x[i * step] == y[i] ? 0 : left[i];
        }
    }
}

/* Windows of two by two, side by side: their upper and lower rows. */
static void hit_pairs(REAL *restrict upper, REAL *restrict lower, const REAL *restrict x_upper, const REAL *restrict x_lower,
                      const REAL *restrict y, const REAL *restrict dy, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        const REAL m = y[i], g = dy[i], a = x_upper[2 * i] == m ? g : 0, left = x_upper[2 * i] == m ? 0 : g;
        const REAL b = x_upper[2 * i + 1] == m ? left : 0, rest = x_upper[2 * i + 1] == m ? 0 : left;
        const REAL c = x_lower[2 * i] == m ? rest : 0, last = x_lower[2 * i] == m ? 0 : rest;
        upper[2 * i] = a, upper[2 * i + 1] = b, lower[2 * i] = c, lower[2 * i + 1] = x_lower[2 * i + 1] == m ? last : 0;
    }
}
