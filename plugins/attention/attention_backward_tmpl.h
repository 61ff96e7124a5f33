/* SPDX-License-Identifier: Apache-2.0 */
/* Included by attention_backward_simd.c once for f32 and once for f64, which spells out T and the names below, after
 * attention_tiles_tmpl.h. */

/* c[j][at..] += sum_i a[i][j] b[i][at..] for `keys` keys and `columns` vectors; rows of a are KEYS apart. */
static inline __attribute__((always_inline)) void COLLECT(const T *a, int64_t rows, const T *b, int64_t b_row, T *c, int64_t c_row,
                                                          int keys, int columns) {
    VEC sum[KEYS_SIDE][COLUMNS_SIDE];
#pragma GCC unroll 8
    for (int j = 0; j < keys; j++)
#pragma GCC unroll 8
        for (int x = 0; x < columns; x++) sum[j][x] = *(const VEC *)(c + j * c_row + x * LANES);
    for (int64_t i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < keys; j++)
#pragma GCC unroll 8
            for (int x = 0; x < columns; x++) sum[j][x] += a[i * KEYS + j] * *(const VEC *)(b + i * b_row + x * LANES);
#pragma GCC unroll 8
    for (int j = 0; j < keys; j++)
#pragma GCC unroll 8
        for (int x = 0; x < columns; x++) *(VEC *)(c + j * c_row + x * LANES) = sum[j][x];
}

/* What is left of the columns: in eights, then one by one. */
static void COLLECT_REST(const T *a, int64_t rows, const T *b, int64_t b_row, T *c, int64_t c_row, int64_t keys, int64_t columns) {
    for (int64_t j = 0; j < keys; j++) {
        int64_t at = 0;
        for (; at + 8 <= columns; at += 8) {
            EIGHT sum[2] = {*(const EIGHT *)(c + j * c_row + at)};
            int64_t i = 0;
            for (; i + 2 <= rows; i += 2)
                for (int half = 0; half < 2; half++) sum[half] += a[(i + half) * KEYS + j] * *(const EIGHT *)(b + (i + half) * b_row + at);
            if (i < rows) sum[0] += a[i * KEYS + j] * *(const EIGHT *)(b + i * b_row + at);
            *(EIGHT *)(c + j * c_row + at) = sum[0] + sum[1];
        }
        for (; at < columns; at++) {
            T sum = c[j * c_row + at];
            for (int64_t i = 0; i < rows; i++) sum += a[i * KEYS + j] * b[i * b_row + at];
            c[j * c_row + at] = sum;
        }
    }
}

/* c[j] += sum_i a[i][j] b[i] for keys 0 .. count of a tile, of the rows [low, high) that some key of a group can be seen from. */
static void COLLECT_TILE(const struct gradient_rows *rows, const T *a, int64_t count, const T *b, int64_t b_row, T *c, int64_t c_row,
                         int64_t width) {
    int64_t j = 0;
    while (j < count) {
        int64_t keys = count - j >= KEYS_SIDE ? KEYS_SIDE : 1, low, high, at = 0;
        rows_that_see(rows, j, keys, &low, &high);
        const T *from = a + low * KEYS + j, *with = b + low * b_row;
        T *to = c + j * c_row;
        if (high > low) {
            if (keys == KEYS_SIDE) {
                for (; at + COLUMNS_SIDE * LANES <= width; at += COLUMNS_SIDE * LANES)
                    COLLECT(from, high - low, with + at, b_row, to + at, c_row, KEYS_SIDE, COLUMNS_SIDE);
                for (; at + LANES <= width; at += LANES) COLLECT(from, high - low, with + at, b_row, to + at, c_row, KEYS_SIDE, 1);
            } else
                for (; at + LANES <= width; at += LANES) COLLECT(from, high - low, with + at, b_row, to + at, c_row, 1, 1);
            if (at < width) COLLECT_REST(from, high - low, with + at, b_row, to + at, c_row, keys, width - at);
        }
        j += keys;
    }
}

/* out[r] += sum_j s[r][j] k[j] for ROWS queries. */
static void SPREAD(const T *s, const T *k, int64_t k_row, int64_t keys, T *const out[ROWS], int64_t real, int64_t width) {
    T whole[ROWS];
    int64_t c = 0;
    for (int r = 0; r < ROWS; r++) whole[r] = 1;
    for (; c + COLUMNS * LANES <= width; c += COLUMNS * LANES) VALUES(s, k, k_row, keys, whole, out, c, COLUMNS);
    for (; COLUMNS > 2 && c + 2 * LANES <= width; c += 2 * LANES) VALUES(s, k, k_row, keys, whole, out, c, 2);
    for (; c + LANES <= width; c += LANES) VALUES(s, k, k_row, keys, whole, out, c, 1);
    if (c < width)
        for (int64_t r = 0; r < real; r++) VALUES_ONE(s + r * KEYS, k, k_row, keys, 1, out[r], c, width);
}

/* Scores of ROWS queries on the first `count` keys; s[..][count ..] is defined up to a whole vector. */
static void SCORES_TILE(const T *const q[ROWS], const T *kt, int64_t width, int64_t count, T *s) {
    int64_t j = 0;
    for (; j + (COLUMNS - 1) * LANES < count; j += COLUMNS * LANES) SCORES(q, kt + j, width, s + j, COLUMNS);
    for (; COLUMNS > 2 && j + LANES < count; j += 2 * LANES) SCORES(q, kt + j, width, s + j, 2);
    for (; j < count; j += LANES) SCORES(q, kt + j, width, s + j, 1);
}

/* Rows row .. row+ROWS of x, the last standing in for those that are missing. */
static inline void GROUP_ROWS(const T *x, int64_t x_row, int64_t row, int64_t rows, const T *group[ROWS]) {
    for (int64_t r = 0; r < ROWS; r++) group[r] = x + (row + r < rows ? row + r : rows - 1) * x_row;
}

/* Scores of all rows of a block on heads wider than what is kept transposed: a slice of the width at a time. */
static void SCORES_WIDE(const T *q, int64_t q_row, int64_t rows, const struct attention_keys *tile, const T *k, int64_t k_row,
                        int64_t width, T *kt, T *s) {
    T part[ROWS * KEYS] __attribute__((aligned(64)));
    const T *group[ROWS];
    for (int64_t at = 0; at < width; at += WIDEST) {
        int64_t some = width - at < WIDEST ? width - at : WIDEST;
        TRANSPOSE(k + at, k_row, tile->count, some, kt);
        for (int64_t row = 0; row < rows; row += ROWS) {
            T *to = s + row * KEYS;
            GROUP_ROWS(q + at, q_row, row, rows, group);
            SCORES_TILE(group, kt, some, KEYS, at ? part : to);
            if (at == 0) continue;
#pragma omp simd
            for (int64_t i = 0; i < ROWS * KEYS; i++) to[i] += part[i];
        }
    }
}

/* One row: scores s become weights p = exp(s - log_sum), products x = d_out v become gradients of the scores p (x - delta). */
static inline void PLAIN_ROW(T *s, T *x, int64_t columns, T scale, T log_sum, T delta) {
    T shift = delta * scale, factor = scale * (T)LOG2_E, top = log_sum * (T)LOG2_E;
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) {
        T p = WEIGHT(s[j] * factor - top);
        s[j] = p;
        x[j] = p * (x[j] * scale - shift);
    }
}

/* Adds the gradient of a row of scores to that of the bias, which may be the same for all keys. */
static void BIAS_ROW(const struct attention_gradient *g, int64_t head, int64_t query, int64_t first, int64_t count, const T *x) {
    T *to = (T *)g->d_bias + head * g->d_bias_head + query * g->d_bias_row + first * g->d_bias_column;
    if (g->d_bias_column == 1) {
#pragma omp simd
        for (int64_t j = 0; j < count; j++) to[j] += x[j];
        return;
    }
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < KEYS; j++) sum += x[j];
    *to += sum;
}

/* The same with all that can be between a product and its weight; keys low .. high of the tile are seen. The weight of the values may be
 * dropped, that in the gradient of the softmax is not. */
static void SHAPED_ROW(const struct attention_gradient *g, const struct gradient_rows *rows, int64_t head, int64_t query, int64_t low,
                       int64_t high, T *s, T *x, T log_sum, T delta) {
    T slope[KEYS] __attribute__((aligned(64))), keep[KEYS] __attribute__((aligned(64)));
    T scale = (T)g->scale, cap = (T)g->softcap;
    for (int64_t j = 0; j < KEYS; j++) slope[j] = scale, keep[j] = 1;
#pragma omp simd
    for (int64_t j = 0; j < KEYS; j++) s[j] *= scale;
    if (cap > 0) {
#pragma omp simd
        for (int64_t j = 0; j < KEYS; j++) {
            T t = TANH(s[j] / cap);
            s[j] = cap * t, slope[j] = scale * (1 - t * t);
        }
    }
    if (g->bias) {
        const T *bias = (const T *)g->bias + head * g->bias_head + query * g->bias_row + rows->first * g->bias_column;
        for (int64_t j = 0; j < rows->count; j++) s[j] += bias[j * g->bias_column];
    }
    if (g->mask) {
        const uint8_t *mask = g->mask + head * g->mask_head + query * g->mask_row + rows->first * g->mask_column;
        for (int64_t j = 0; j < rows->count; j++)
            if (!mask[j * g->mask_column]) s[j] = -(T)INFINITY;
    }
    for (int64_t j = 0; j < low; j++) s[j] = -(T)INFINITY;
    for (int64_t j = high; j < KEYS; j++) s[j] = -(T)INFINITY;
    if (g->dropout.below) DROP_ROW(&g->dropout, g->dropout.row + head * g->dropout.row_head + query, rows->first, keep);
#pragma omp simd
    for (int64_t j = 0; j < KEYS; j++) {
        T p = WEIGHT(s[j] * (T)LOG2_E - log_sum * (T)LOG2_E);
        s[j] = p * keep[j];
        x[j] = p * (x[j] * keep[j] - delta);
    }
    if (g->d_bias) BIAS_ROW(g, head, query, rows->first, rows->count, x);
#pragma omp simd
    for (int64_t j = 0; j < KEYS; j++) x[j] *= slope[j];
}

/* Weights and gradients of the scores of a group of rows, 0 where a query does not look. Of s and x, `columns` are filled in. */
static void WEIGHTS(const struct attention_gradient *g, const struct gradient_rows *rows, int64_t head, int64_t row, int64_t real,
                    int64_t columns, T *s, T *x) {
    const T *log_sum = (const T *)g->log_sum + head * g->queries + rows->query + row;
    const T *delta = (const T *)g->delta + head * g->queries + rows->query + row;
    for (int64_t r = 0; r < real; r++, s += KEYS, x += KEYS) {
        int64_t low = rows->low[row + r] - rows->first, high = rows->high[row + r] - rows->first;
        low = low < 0 ? 0 : low > KEYS ? KEYS : low;
        high = high > rows->count ? rows->count : high < low ? low : high;
        if (rows->plain) {
            PLAIN_ROW(s, x, columns, (T)g->scale, log_sum[r], delta[r]);
        } else {
            for (int64_t j = columns; j < KEYS; j++) s[j] = x[j] = 0;
            SHAPED_ROW(g, rows, head, rows->query + row + r, low, high, s, x, log_sum[r], delta[r]);
        }
        for (int64_t j = 0; j < low; j++) s[j] = x[j] = 0;
        for (int64_t j = high; j < KEYS; j++) s[j] = x[j] = 0;
    }
}

/* The queries of one block, of one head, on one tile of keys, whose keys and values are transposed where they are not too wide. */
static void GRADIENT_BLOCK(const struct attention_gradient *g, const struct gradient_rows *rows, int64_t head,
                           const struct attention_keys *tile, T *kt, T *vt) {
    T p[GROUPED * KEYS] __attribute__((aligned(64))), d[GROUPED * KEYS] __attribute__((aligned(64)));
    const T *q = (const T *)g->q + head * g->width + rows->query * g->q_row;
    const T *d_out = (const T *)g->d_out + head * g->value_width + rows->query * g->d_out_row;
    bool scores = g->d_q || g->d_k || g->d_bias;
    if (g->width > WIDEST) SCORES_WIDE(q, g->q_row, rows->queries, tile, tile->k, tile->k_row, g->width, kt, p);
    if (!scores) memset(d, 0, sizeof d);
    else if (g->value_width > WIDEST) SCORES_WIDE(d_out, g->d_out_row, rows->queries, tile, tile->v, tile->v_row, g->value_width, vt, d);
    for (int64_t row = 0; row < rows->queries; row += ROWS) {
        const T *group[ROWS];
        T *s = p + row * KEYS, *x = d + row * KEYS, *d_q[ROWS];
        int64_t real = rows->queries - row < ROWS ? rows->queries - row : ROWS, last = row + real - 1;
        int64_t count = rows->high[last] - tile->first < tile->count ? rows->high[last] - tile->first : tile->count;
        if (count <= 0 || rows->low[row] >= tile->first + tile->count) continue;
        GROUP_ROWS(q, g->q_row, row, rows->queries, group);
        if (g->width <= WIDEST) SCORES_TILE(group, kt, g->width, count, s);
        GROUP_ROWS(d_out, g->d_out_row, row, rows->queries, group);
        if (scores && g->value_width <= WIDEST) SCORES_TILE(group, vt, g->value_width, count, x);
        WEIGHTS(g, rows, head, row, real, (count + LANES - 1) / LANES * LANES, s, x);
        if (!g->d_q) continue;
        for (int64_t r = real; r < ROWS; r++) memcpy(x + r * KEYS, x + (real - 1) * KEYS, KEYS * sizeof(T));
        for (int64_t r = 0; r < ROWS; r++)
            d_q[r] = (T *)g->d_q + head * g->width + (rows->query + (row + r < last ? row + r : last)) * g->d_q_row;
        SPREAD(x, tile->k, tile->k_row, count, d_q, real, g->width);
    }
    if (g->d_v) COLLECT_TILE(rows, p, tile->count, d_out, g->d_out_row, (T *)g->d_v + tile->first * g->d_v_row, g->d_v_row, g->value_width);
    if (g->d_k) COLLECT_TILE(rows, d, tile->count, q, g->q_row, (T *)g->d_k + tile->first * g->d_k_row, g->d_k_row, g->width);
}

/* delta = sum_j p_j d p_j = sum_c d_out_c out_c of every query. */
static void DELTA(const struct attention_gradient *g) {
    T *delta = g->delta;
    for (int64_t h = 0; h < g->shared; h++)
        for (int64_t i = 0; i < g->queries; i++) {
            const T *a = (const T *)g->out + i * g->out_row + h * g->value_width;
            const T *b = (const T *)g->d_out + i * g->d_out_row + h * g->value_width;
            T sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t c = 0; c < g->value_width; c++) sum += a[c] * b[c];
            delta[h * g->queries + i] = sum;
        }
}

/* Rows of zeros. */
static void CLEAR(void *data, int64_t rows, int64_t row, int64_t width) {
    T *x = data;
    for (int64_t r = 0; x && r < rows; r++) {
        int64_t c = 0;
        for (; c + LANES <= width; c += LANES) *(VEC *)(x + r * row + c) = (VEC){0};
        for (; c < width; c++) x[r * row + c] = 0;
    }
}

static void GRADIENT(const struct attention_gradient *g) {
    T kt[WIDEST * KEYS] __attribute__((aligned(64))), vt[WIDEST * KEYS] __attribute__((aligned(64)));
    int64_t low[GROUPED], high[GROUPED];
    struct gradient_rows rows = {.low = low, .high = high};
    rows.plain = !(g->softcap > 0) && !g->bias && !g->mask && !g->dropout.below;
    DELTA(g);
    if (g->clear_q) CLEAR(g->d_q, g->queries, g->d_q_row, g->shared * g->width);
    if (g->clear_k) CLEAR(g->d_k, g->keys, g->d_k_row, g->width);
    if (g->clear_v) CLEAR(g->d_v, g->keys, g->d_v_row, g->value_width);
    for (int64_t first = 0; first < g->keys; first += KEYS) {
        struct attention_keys tile = {(const T *)g->k + first * g->k_row,
                                      (const T *)g->v + first * g->v_row,
                                      g->k_row,
                                      g->v_row,
                                      first,
                                      g->keys - first < KEYS ? g->keys - first : KEYS};
        if (g->width <= WIDEST) TRANSPOSE(tile.k, tile.k_row, tile.count, g->width, kt);
        if (g->value_width <= WIDEST) TRANSPOSE(tile.v, tile.v_row, tile.count, g->value_width, vt);
        rows.first = first, rows.count = tile.count;
        for (int64_t h = 0; h < g->shared; h++)
            for (int64_t query = first_block(g, first); query < g->queries; query += GROUPED) {
                rows.query = query, rows.queries = g->queries - query < GROUPED ? g->queries - query : GROUPED;
                for (int64_t r = 0; r < rows.queries; r++) reach_of(&g->reach, g->position + query + r, &low[r], &high[r]);
                if (low[0] >= first + tile.count) break;
                if (high[rows.queries - 1] > first) GRADIENT_BLOCK(g, &rows, h, &tile, kt, vt);
            }
    }
}

static void SUMS(const void *data, int64_t rows, int64_t columns, void *sums) {
    enum { RUN = 128, WIDE = 4 * LANES };
    const T *x = data;
    T *to = sums;
    int64_t c = 0;
    for (; c + WIDE <= columns; c += WIDE)
        for (int64_t from = 0; from < rows; from += RUN) { /* sums of sums, lest rounding grows with the rows */
            VEC sum[4] = {{0}};
            int64_t end = from + RUN < rows ? from + RUN : rows;
            for (int64_t r = from; r < end; r++)
                for (int i = 0; i < 4; i++) sum[i] += *(const VEC *)(x + r * columns + c + i * LANES);
            for (int i = 0; i < 4; i++) *(VEC *)(to + c + i * LANES) += sum[i];
        }
    for (; c < columns; c++)
        for (int64_t from = 0; from < rows; from += RUN) {
            T sum = 0;
            int64_t end = from + RUN < rows ? from + RUN : rows;
            for (int64_t r = from; r < end; r++) sum += x[r * columns + c];
            to[c] += sum;
        }
}
