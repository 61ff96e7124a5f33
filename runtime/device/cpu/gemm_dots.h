/* SPDX-License-Identifier: Apache-2.0 */
/* Products as dot products, where both factors are contiguous along k: few rows by a transposed B, or a B of few columns. LANES sums are
 * under way at once: 1, 2 or 4 rows of the shorter side by LANES, LANES / 2 or LANES / 4 of the longer. */

struct dots {
    const T *x, *y; /* rows of A and columns of B, or the other way round */
    int64_t x_step, y_step, k;
    T *c;
    int64_t c_x, c_y;
    const T *bias;
    int64_t bias_x, bias_y;
    bool load;
};

/* The sums of `count` (a power of two, at most LANES) vectors' lanes: that of vector i in lane i * LANES / count. Lanes half a vector
 * apart are added first, then a quarter apart, and so on, whatever the count. */
INLINE vec sum_lanes(vec *v, int count) {
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2) {
        ivec low = {0}, high = {0}, other = {0};
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) {
            low[l] = l & half ? LANES + l - half : l, high[l] = l & half ? LANES + l : l + half;
            other[l] = l ^ half;
        }
        if (count == 1) {
            v[0] += lanes_of(v[0], v[0], other);
            continue;
        }
        count /= 2;
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) v[i] = lanes_of(v[i], v[i + count], low) + lanes_of(v[i], v[i + count], high);
    }
    return v[0];
}

/* xs by ys elements of C; both constants, their product a power of two and at most LANES. */
INLINE void dot_block(const int xs, const int ys, const struct dots *d) {
    vec sums[LANES];
    const int64_t whole = d->k / LANES * LANES, rest = d->k - whole;
#pragma GCC unroll 16
    for (int i = 0; i < xs * ys; i++) sums[i] = (vec){0};
    for (int64_t t = 0; t < whole; t += LANES) {
        vec x[4];
#pragma GCC unroll 4
        for (int i = 0; i < xs; i++) x[i] = load(d->x + i * d->x_step + t);
#pragma GCC unroll 16
        for (int j = 0; j < ys; j++) {
            const vec y = load(d->y + j * d->y_step + t);
#pragma GCC unroll 4
            for (int i = 0; i < xs; i++) sums[i * ys + j] += x[i] * y;
        }
    }
    if (rest) {
#pragma GCC unroll 16
        for (int j = 0; j < ys; j++) {
            const vec y = load_part(d->y + j * d->y_step + whole, rest);
#pragma GCC unroll 4
            for (int i = 0; i < xs; i++) sums[i * ys + j] += load_part(d->x + i * d->x_step + whole, rest) * y;
        }
    }
    T lane[LANES];
    store(lane, sum_lanes(sums, xs * ys));
    for (int i = 0; i < xs; i++)
        for (int j = 0; j < ys; j++) {
            T *c = d->c + i * d->c_x + j * d->c_y, value = lane[(i * ys + j) * (LANES / (xs * ys))];
            if (d->load) value += *c;
            if (d->bias) value += d->bias[i * d->bias_x + j * d->bias_y];
            *c = value;
        }
}

static void dots_1(const struct dots *d) { dot_block(1, LANES, d); }
static void dots_2(const struct dots *d) { dot_block(2 < LANES ? 2 : LANES, LANES > 2 ? LANES / 2 : 1, d); }
static void dots_4(const struct dots *d) { dot_block(4 < LANES ? 4 : LANES, LANES > 4 ? LANES / 4 : 1, d); }
static void single_1(const struct dots *d) { dot_block(1, 1, d); }
static void single_2(const struct dots *d) { dot_block(2, 1, d); }
static void single_4(const struct dots *d) { dot_block(4 < LANES ? 4 : LANES, 1, d); }

static void dots(const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    const T *a = (const T *)g->a + m0 * g->a_row, *bias = g->bias ? (const T *)g->bias + n0 : NULL;
    const int64_t b_step = g->packed_b ? g->k : g->b_col, m = m1 - m0, n = n1 - n0;
    const T *b = (const T *)(g->packed_b ? g->packed_b : g->b) + n0 * b_step;
    T *const c = (T *)g->c + m0 * g->c_row + n0;
    const bool low = m <= n; /* the shorter side is x */
    struct dots d = low ? (struct dots){.x = a, .y = b, .x_step = g->a_row, .y_step = b_step, .c_x = g->c_row, .c_y = 1, .bias_y = 1}
                        : (struct dots){.x = b, .y = a, .x_step = b_step, .y_step = g->a_row, .c_x = 1, .c_y = g->c_row, .bias_x = 1};
    d.k = g->k, d.load = g->beta != 0;
    const int64_t x_count = low ? m : n, y_count = low ? n : m;
    const T *const y = d.y;
    for (int64_t i = 0, xs; i < x_count; i += xs) {
        xs = x_count - i >= 4 && LANES >= 4 ? 4 : x_count - i >= 2 ? 2 : 1;
        const int64_t side = LANES / xs;
        void (*const many)(const struct dots *) = xs == 4 ? dots_4 : xs == 2 ? dots_2 : dots_1;
        void (*const one)(const struct dots *) = xs == 4 ? single_4 : xs == 2 ? single_2 : single_1;
        d.c = c + i * d.c_x, d.bias = bias ? bias + i * d.bias_x : NULL, d.y = y;
        for (int64_t j = 0, ys; j < y_count; j += ys) {
            ys = y_count - j >= side ? side : 1;
            (ys == side ? many : one)(&d);
            d.c += ys * d.c_y, d.y += ys * d.y_step;
            if (d.bias) d.bias += ys * d.bias_y;
        }
        d.x += xs * d.x_step;
    }
    const struct epilogue epilogue = epilogue_of(g);
    if (epilogue_exists(&epilogue)) finish(&epilogue, c, g->c_row, m, n);
}
