/* SPDX-License-Identifier: Apache-2.0 */
/* Included by attention_simd.c once for f32 and once for f64, which spells out: T, BLOCK, ROTATE and the helpers' names, EXP, LOG, TANH. */

/* ---- Few queries: dot products on the keys as they lie ---- */

/* s[j] = sum_d q[d] k[j][d]. Eight keys share the additions across lanes. */
static void SCORES_ONE(const T *q, const T *k, int64_t k_row, int64_t count, int64_t width, T *s) {
    int64_t whole = width / 8 * 8, j = 0;
    for (; j + 8 <= count; j += 8) {
        EIGHT a[8] = {{0}};
        for (int64_t d = 0; d < whole; d += 8) {
            EIGHT x = *(const EIGHT *)(q + d);
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) a[i] += x * *(const EIGHT *)(k + (j + i) * k_row + d);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 8; i += 2)
            a[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
                   __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
#pragma GCC unroll 2
        for (int i = 0; i < 8; i += 4)
            a[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13) +
                   __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        a[0] =
            __builtin_shufflevector(a[0], a[4], 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(a[0], a[4], 4, 5, 6, 7, 12, 13, 14, 15);
        *(EIGHT *)(s + j) = a[0];
        for (int64_t d = whole; d < width; d++)
            for (int i = 0; i < 8; i++) s[j + i] += q[d] * k[(j + i) * k_row + d];
    }
    for (; j < count; j++) {
        T sum = 0;
        for (int64_t d = 0; d < width; d++) sum += q[d] * k[j * k_row + d];
        s[j] = sum;
    }
}

/* ---- One row of scores ---- */

/* Scale, cap, bias, mask and reach; keys are first .. first+count, and none are behind them. */
static void SHAPE_ROW(const struct attention_block *block, int64_t query, int64_t first, int64_t count, int64_t low, int64_t high, T *s) {
    T scale = (T)block->scale;
#pragma omp simd
    for (int64_t j = 0; j < KEYS; j++) s[j] *= scale;
    if (block->softcap > 0) {
        T cap = (T)block->softcap;
#pragma omp simd
        for (int64_t j = 0; j < KEYS; j++) s[j] = cap * TANH(s[j] / cap);
    }
    if (block->bias) {
        const T *bias = (const T *)block->bias + query * block->bias_row + first * block->bias_column;
        for (int64_t j = 0; j < count; j++) s[j] += bias[j * block->bias_column];
    }
    if (block->mask) {
        const uint8_t *mask = block->mask + query * block->mask_row + first * block->mask_column;
        for (int64_t j = 0; j < count; j++)
            if (!mask[j * block->mask_column]) s[j] = -(T)INFINITY;
    }
    if (high > first + count) high = first + count;
    for (int64_t j = 0; j < KEYS && first + j < low; j++) s[j] = -(T)INFINITY;
    for (int64_t j = high > first ? high - first : 0; j < KEYS; j++) s[j] = -(T)INFINITY;
}

/* A step of the online softmax of some rows, of which the first `columns` (whole vectors) are filled in: s becomes 2^(factor (s -
 * largest)); keep says by how much what was summed before shrinks. Sums stay spread over the lanes of a vector. */
static inline __attribute__((always_inline)) void SOFTMAX_ROWS(T *s, int64_t rows, int64_t columns, T factor, T *largest, VEC *sum,
                                                               T *keep) {
    T top[8] = {0}, before[8] = {0};
    for (int64_t r = 0; r < rows; r++) {
        T most = largest[r];
#pragma omp simd reduction(max : most)
        for (int64_t j = 0; j < columns; j++) most = s[r * KEYS + j] > most ? s[r * KEYS + j] : most;
        before[r] = largest[r] * factor, largest[r] = most;
        top[r] = most == -(T)INFINITY ? 0 : most * factor; /* nothing seen so far: all exponentials are 0 */
    }
#pragma omp simd
    for (int64_t r = 0; r < 8; r++) keep[r] = WEIGHT(before[r] - top[r]);
    for (int64_t r = 0; r < rows; r++) {
        T *row = s + r * KEYS;
        VEC total = {0};
        for (int64_t j = 0; j < columns; j += LANES) {
#pragma omp simd
            for (int64_t i = j; i < j + LANES; i++) row[i] = WEIGHT(row[i] * factor - top[r]);
            total += *(const VEC *)(row + j);
        }
        sum[r] = sum[r] * keep[r] + total;
    }
}

/* Scores of one query that were filled in up to `count` as softmax takes them: minus infinity where it does not look, up to a whole vector.
 * That many columns. */
static inline int64_t SEEN(const struct attention_block *block, const struct attention_rows *rows, int64_t row,
                           const struct attention_keys *tile, int64_t count, T *s) {
    int64_t columns = (count + LANES - 1) / LANES * LANES, low = rows->low[row] - tile->first, high = rows->high[row] - tile->first;
    if (!rows->plain) {
        for (int64_t j = columns; j < KEYS; j++) s[j] = 0;
        SHAPE_ROW(block, row, tile->first, tile->count, rows->low[row], rows->high[row], s);
        return columns;
    }
    if (high > tile->count) high = tile->count;
    for (int64_t j = 0; j < low && j < columns; j++) s[j] = -(T)INFINITY;
    for (int64_t j = high > 0 ? high : 0; j < columns; j++) s[j] = -(T)INFINITY;
    return columns;
}

/* Weights that dropout takes away are missing in the mean, not in the sum of exponentials. */
static void DROP(const struct attention_block *block, int64_t query, int64_t first, T *s) {
    T keep[KEYS];
    DROP_ROW(&block->dropout, block->dropout.row + query, first, keep);
#pragma omp simd
    for (int64_t j = 0; j < KEYS; j++) s[j] *= keep[j];
}

/* ---- A block of queries ---- */

/* Queries row .. row+ROWS of a block; where fewer are left, the last stands in for those that are missing. */
static void GROUP(const struct attention_block *block, struct attention_rows *rows, int64_t row, const struct attention_keys *tile,
                  const T *kt) {
    T s[ROWS * KEYS] __attribute__((aligned(64))), keep[8];
    const T *q[ROWS];
    T *out[ROWS];
    int64_t real = block->queries - row < ROWS ? block->queries - row : ROWS, to = 0, from = INT64_MAX;
    for (int64_t r = 0; r < ROWS; r++) {
        int64_t at = row + (r < real ? r : real - 1);
        q[r] = (const T *)block->q + at * block->q_row, out[r] = (T *)block->out + at * block->out_row;
        to = rows->high[at] > to ? rows->high[at] : to, from = rows->low[at] < from ? rows->low[at] : from;
    }
    int64_t count = to - tile->first < tile->count ? to - tile->first : tile->count, j = 0, c = 0;
    if (count <= 0 || from >= tile->first + tile->count) return;
    for (; j + (COLUMNS - 1) * LANES < count; j += COLUMNS * LANES) SCORES(q, kt + j, block->width, s + j, COLUMNS);
    for (; j < count; j += LANES) SCORES(q, kt + j, block->width, s + j, 1);
    for (int64_t r = 0; r < real; r++) SEEN(block, rows, row + r, tile, count, s + r * KEYS);
    SOFTMAX_ROWS(s, real, (count + LANES - 1) / LANES * LANES, (T)rows->factor, (T *)rows->largest + row, (VEC *)rows->sum + row, keep);
    if (block->dropout.below)
        for (int64_t r = 0; r < real; r++) DROP(block, row + r, tile->first, s + r * KEYS);
    for (int64_t r = real; r < ROWS; r++) {
        memcpy(s + r * KEYS, s + (real - 1) * KEYS, KEYS * sizeof(T));
        keep[r] = keep[real - 1];
    }
    const T *v = tile->v;
    for (; c + COLUMNS * LANES <= block->value_width; c += COLUMNS * LANES) VALUES(s, v, tile->v_row, count, keep, out, c, COLUMNS);
    for (; COLUMNS > 2 && c + 2 * LANES <= block->value_width; c += 2 * LANES) VALUES(s, v, tile->v_row, count, keep, out, c, 2);
    for (; c + LANES <= block->value_width; c += LANES) VALUES(s, v, tile->v_row, count, keep, out, c, 1);
    if (c < block->value_width)
        for (int64_t r = 0; r < real; r++) VALUES_ONE(s + r * KEYS, v, tile->v_row, count, keep[r], out[r], c, block->value_width);
}

/* The block of its head number h alone. */
static struct attention_block HEAD_OF(const struct attention_block *block, int64_t h) {
    struct attention_block head = *block;
    head.q = (const T *)block->q + h * block->width, head.out = (T *)block->out + h * block->value_width;
    if (block->tiles) head.tiles = (const T *)block->tiles + (block->head + h) / block->shared * block->tiles_head;
    if (block->mask) head.mask = block->mask + h * block->mask_head;
    if (block->bias) head.bias = (const T *)block->bias + h * block->bias_head;
    head.dropout.row += h * block->dropout.row_head;
    return head;
}

/* ---- Few queries: rows of keys and values, all heads side by side, are read once and in the order in which they lie ---- */

/* One query of one head on one tile. */
struct SINGLE {
    const T *q, *k, *v;
    T *out, keep;
    int64_t count; /* keys that it sees, from the tile's first on */
};

static void SINGLE_SCORES(const struct attention_block *block, const struct attention_keys *tile, const struct SINGLE *one, int64_t ones,
                          T (*s)[KEYS]) {
    for (int64_t j = 0; j < tile->count; j += STRIP)
        for (int64_t i = 0; i < ones; i++) {
            int64_t left = one[i].count - j;
            if (left > 0)
                SCORES_ONE(one[i].q, one[i].k + j * tile->k_row, tile->k_row, left < STRIP ? left : STRIP, block->width, s[i] + j);
        }
}

static void SINGLE_VALUES(const struct attention_block *block, const struct attention_keys *tile, const struct SINGLE *one, int64_t ones,
                          T (*s)[KEYS]) {
    for (int64_t j = 0; j < tile->count; j += STRIP)
        for (int64_t i = 0; i < ones; i++) {
            int64_t left = one[i].count - j;
            if (left > 0)
                VALUES_ONE(s[i] + j, one[i].v + j * tile->v_row, tile->v_row, left < STRIP ? left : STRIP, j ? 1 : one[i].keep, one[i].out,
                           0, block->value_width);
        }
}

/* `ones` pairs of head and query from number `first` on, counted head by head. */
static void SINGLES(const struct attention_block *block, struct attention_rows *rows, const struct attention_keys *tile, int64_t first,
                    int64_t ones) {
    T s[SINGLES_MOST][KEYS] __attribute__((aligned(64))), keep[8];
    struct SINGLE one[SINGLES_MOST];
    for (int64_t i = 0; i < ones; i++) {
        int64_t h = (first + i) / block->queries, r = (first + i) % block->queries, kv = (block->head + h) / block->shared;
        int64_t end = rows->high[r] - tile->first, count = end < tile->count ? end : tile->count;
        one[i] = (struct SINGLE){(const T *)block->q + r * block->q_row + h * block->width,
                                 (const T *)tile->k + kv * block->width,
                                 (const T *)tile->v + kv * block->value_width,
                                 (T *)block->out + r * block->out_row + h * block->value_width,
                                 1,
                                 rows->low[r] < tile->first + tile->count ? count : 0};
    }
    SINGLE_SCORES(block, tile, one, ones, s);
    for (int64_t i = 0; i < ones; i++) {
        int64_t r = (first + i) % block->queries, columns = (one[i].count + LANES - 1) / LANES * LANES;
        if (one[i].count <= 0) continue;
        for (int64_t j = one[i].count; j < KEYS; j++) s[i][j] = 0;
        if (rows->plain) SEEN(block, rows, r, tile, one[i].count, s[i]);
        else {
            struct attention_block head = HEAD_OF(block, (first + i) / block->queries);
            SEEN(&head, rows, r, tile, one[i].count, s[i]);
        }
        SOFTMAX_ROWS(s[i], 1, columns, (T)rows->factor, (T *)rows->largest + first + i, (VEC *)rows->sum + first + i, keep);
        one[i].keep = keep[0];
        if (!block->dropout.below) continue;
        struct attention_block head = HEAD_OF(block, (first + i) / block->queries);
        DROP(&head, r, tile->first, s[i]);
    }
    SINGLE_VALUES(block, tile, one, ones, s);
}

/* ---- A tile ---- */

static void TILE(const struct attention_block *block, struct attention_rows *rows, const struct attention_keys *tile, T *kt) {
    if (block->queries < ATTENTION_FEW || block->width > WIDEST) {
        int64_t all = block->heads * block->queries;
        for (int64_t i = 0; i < all; i += SINGLES_MOST) SINGLES(block, rows, tile, i, all - i < SINGLES_MOST ? all - i : SINGLES_MOST);
        return;
    }
    for (int64_t h = 0; h < block->heads; h++) {
        struct attention_block head = HEAD_OF(block, h);
        struct attention_rows own = {(T *)rows->largest + h * block->queries,
                                     (VEC *)rows->sum + h * block->queries,
                                     rows->low,
                                     rows->high,
                                     rows->factor,
                                     rows->plain};
        struct attention_keys keys = *tile;
        int64_t kv = (block->head + h) / block->shared;
        keys.k = (const T *)tile->k + kv * block->width, keys.v = (const T *)tile->v + kv * block->value_width;
        const T *turned = block->tiles ? (const T *)head.tiles + tile->first * block->width : kt;
        if (!block->tiles) TRANSPOSE(keys.k, keys.k_row, keys.count, block->width, kt);
        for (int64_t r = 0; r < block->queries; r += ROWS) GROUP(&head, &own, r, &keys, turned);
    }
}

static void BLOCK(const struct attention_block *block) {
    T kt[WIDEST * KEYS] __attribute__((aligned(64))), largest[ATTENTION_QUERIES];
    VEC sum[ATTENTION_QUERIES];
    int64_t low[ATTENTION_QUERIES], high[ATTENTION_QUERIES], from = INT64_MAX, to = 0;
    bool plain = !(block->softcap > 0) && !block->bias && !block->mask && block->scale > 0;
    struct attention_rows rows = {largest, sum, low, high, (plain ? block->scale : 1) * LOG2_E, plain};
    T *out = block->out;
    int64_t columns = block->heads * block->value_width;
    for (int64_t i = 0; i < block->heads * block->queries; i++) largest[i] = -(T)INFINITY, sum[i] = (VEC){0};
    for (int64_t r = 0; r < block->queries; r++) {
        reach_of(&block->reach, block->position + r, &low[r], &high[r]);
        from = low[r] < from ? low[r] : from, to = high[r] > to ? high[r] : to;
        for (int64_t c = 0; c < columns; c++) out[r * block->out_row + c] = 0;
    }
    for (int32_t i = 0; i < block->stretches; i++) {
        const struct attention_keys *keys = &block->keys[i];
        int64_t begin = from > keys->first ? from - keys->first : 0, end = to - keys->first < keys->count ? to - keys->first : keys->count;
        if (block->tiles) begin -= begin % KEYS;
        else if (block->dropout.below) begin -= begin % 4; /* random words come in fours */
        for (int64_t j = begin; j < end; j += KEYS) {
            int64_t count = end - j < KEYS ? end - j : KEYS;
            struct attention_keys tile = {(const T *)keys->k + j * keys->k_row,
                                          (const T *)keys->v + j * keys->v_row,
                                          keys->k_row,
                                          keys->v_row,
                                          keys->first + j,
                                          count};
            TILE(block, &rows, &tile, kt);
        }
    }
    for (int64_t i = 0; i < block->heads * block->queries; i++) {
        T all = 0;
        for (int lane = 0; lane < LANES; lane++) all += sum[i][lane];
        T scale = all > 0 ? 1 / all : 0, *row = out + i % block->queries * block->out_row + i / block->queries * block->value_width;
#pragma omp simd
        for (int64_t c = 0; c < block->value_width; c++) row[c] *= scale;
        if (block->log_sum)
            ((T *)block->log_sum)[i / block->queries * block->log_sum_head + i % block->queries] =
                all > 0 ? largest[i] * (plain ? (T)block->scale : 1) + LOG(all) : (T)INFINITY;
    }
}

static void TURN_TILE(const void *k, int64_t k_row, int64_t count, int64_t width, void *tile) { TRANSPOSE(k, k_row, count, width, tile); }

static void ROTATE(const struct attention_rotation *rotation) {
    int64_t half = rotation->width / 2;
    for (int64_t r = 0; r < rotation->rows; r++) {
        const T *c = (const T *)rotation->cos + r * half, *s = (const T *)rotation->sin + r * half;
        for (int64_t h = 0; h < rotation->heads; h++) {
            T *x = (T *)rotation->data + r * rotation->row + h * rotation->width;
            if (!rotation->interleaved) {
#pragma omp simd
                for (int64_t i = 0; i < half; i++) {
                    T a = x[i], b = x[i + half];
                    x[i] = a * c[i] - b * s[i];
                    x[i + half] = b * c[i] + a * s[i];
                }
                continue;
            }
            for (int64_t i = 0; i < half; i++) {
                T a = x[2 * i], b = x[2 * i + 1];
                x[2 * i] = a * c[i] - b * s[i];
                x[2 * i + 1] = b * c[i] + a * s[i];
            }
        }
    }
}
