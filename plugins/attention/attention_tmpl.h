/* SPDX-License-Identifier: Apache-2.0 */
/* Included by attention_simd.c once for f32 and once for f64, which spells out: T, BLOCK, ROTATE and the helpers' names, EXP, TANH. */

typedef T VEC __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
enum { LANES = VECTOR_BYTES / sizeof(T) };

/* S[r][j] = sum_d q[r][d] kt[d][j] for ROWS queries and COLUMNS vectors of keys. kt rows are KEYS apart. */
static inline void SCORES(const T *q, int64_t q_row, const T *kt, int64_t width, T *s) {
    VEC sum[ROWS][COLUMNS] = {{{0}}};
    for (int64_t d = 0; d < width; d++) {
        const VEC *k = (const VEC *)(kt + d * KEYS);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < COLUMNS; c++) sum[r][c] += q[r * q_row + d] * k[c];
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int c = 0; c < COLUMNS; c++) *(VEC *)(s + r * KEYS + c * LANES) = sum[r][c];
}

/* out[r][c] = out[r][c] * keep[r] + sum_j p[r][j] v[j][c] for ROWS queries and COLUMNS vectors of the value's width. */
static inline void VALUES(const T *p, const T *v, int64_t v_row, int64_t keys, const T *keep, T *out, int64_t out_row) {
    VEC sum[ROWS][COLUMNS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int c = 0; c < COLUMNS; c++) sum[r][c] = *(const VEC *)(out + r * out_row + c * LANES) * keep[r];
    for (int64_t j = 0; j < keys; j++) {
        const T *row = v + j * v_row;
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < COLUMNS; c++) sum[r][c] += p[r * KEYS + j] * *(const VEC *)(row + c * LANES);
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int c = 0; c < COLUMNS; c++) *(VEC *)(out + r * out_row + c * LANES) = sum[r][c];
}

/* The same for any widths and any number of queries. */
static void VALUES_REST(const T *p, const T *v, int64_t v_row, int64_t keys, const T *keep, T *out, int64_t out_row, int64_t queries,
                        int64_t columns) {
    for (int64_t r = 0; r < queries; r++) {
        T *o = out + r * out_row;
#pragma omp simd
        for (int64_t c = 0; c < columns; c++) o[c] *= keep[r];
        for (int64_t j = 0; j < keys; j++) {
            T weight = p[r * KEYS + j];
            const T *row = v + j * v_row;
#pragma omp simd
            for (int64_t c = 0; c < columns; c++) o[c] += weight * row[c];
        }
    }
}

static T DOT(const T *a, const T *b, int64_t width) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < width; d++) sum += a[d] * b[d];
    return sum;
}

/* The products of all queries with `count` keys. Few queries: dot products on the keys as they lie; many: keys transposed once. */
static void SCORE_TILE(const struct attention_block *block, const T *k, int64_t k_row, int64_t count, T *kt, T *s) {
    const T *q = block->q;
    int64_t width = block->width, r = 0;
    if (block->queries < ROWS || width > WIDEST) {
        for (r = 0; r < block->queries; r++)
            for (int64_t j = 0; j < count; j++) s[r * KEYS + j] = DOT(q + r * block->q_row, k + j * k_row, width);
        return;
    }
    for (int64_t d = 0; d < width; d++) {
        for (int64_t j = 0; j < count; j++) kt[d * KEYS + j] = k[j * k_row + d];
        for (int64_t j = count; j < KEYS; j++) kt[d * KEYS + j] = 0;
    }
    for (; r + ROWS <= block->queries; r += ROWS)
        for (int64_t j = 0; j < count; j += COLUMNS * LANES) SCORES(q + r * block->q_row, block->q_row, kt + j, width, s + r * KEYS + j);
    for (; r < block->queries; r++)
        for (int64_t j = 0; j < count; j++) s[r * KEYS + j] = DOT(q + r * block->q_row, k + j * k_row, width);
}

/* Scale, cap, bias, mask and reach of one row of scores; keys are first .. first+count. */
static void SHAPE_ROW(const struct attention_block *block, int64_t query, int64_t first, int64_t count, int64_t low, int64_t high, T *s) {
    T scale = (T)block->scale;
#pragma omp simd
    for (int64_t j = 0; j < count; j++) s[j] *= scale;
    if (block->softcap > 0) {
        T cap = (T)block->softcap;
#pragma omp simd
        for (int64_t j = 0; j < count; j++) s[j] = cap * TANH(s[j] / cap);
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
    for (int64_t j = 0; j < count && first + j < low; j++) s[j] = -(T)INFINITY;
    for (int64_t j = high - first > 0 ? high - first : 0; j < count; j++) s[j] = -(T)INFINITY;
}

/* One row's step of the online softmax: s becomes exp(s - largest); returns by how much what was summed before shrinks. */
static T SOFTMAX_ROW(T *s, int64_t count, T *largest, T *sum) {
    T top = *largest;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < count; j++) top = s[j] > top ? s[j] : top;
    if (top == -(T)INFINITY) {
        for (int64_t j = 0; j < count; j++) s[j] = 0;
        return 1;
    }
    T keep = EXP(*largest - top), total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < count; j++) {
        s[j] = EXP(s[j] - top);
        total += s[j];
    }
    *largest = top, *sum = *sum * keep + total;
    return keep;
}

static void VALUE_TILE(const struct attention_block *block, const T *p, const T *v, int64_t v_row, int64_t count, const T *keep) {
    int64_t step = COLUMNS * LANES, whole = block->value_width / step * step, r = 0;
    T *out = block->out;
    for (; r + ROWS <= block->queries; r += ROWS)
        for (int64_t c = 0; c < whole; c += step)
            VALUES(p + r * KEYS, v + c, v_row, count, keep + r, out + r * block->out_row + c, block->out_row);
    if (r < block->queries)
        VALUES_REST(p + r * KEYS, v, v_row, count, keep + r, out + r * block->out_row, block->out_row, block->queries - r, whole);
    if (whole < block->value_width)
        VALUES_REST(p, v + whole, v_row, count, keep, out + whole, block->out_row, block->queries, block->value_width - whole);
}

static void BLOCK(const struct attention_block *block) {
    T kt[WIDEST * KEYS] __attribute__((aligned(64))), s[ATTENTION_QUERIES * KEYS] __attribute__((aligned(64)));
    T largest[ATTENTION_QUERIES], sum[ATTENTION_QUERIES], keep[ATTENTION_QUERIES];
    int64_t low[ATTENTION_QUERIES], high[ATTENTION_QUERIES], from = INT64_MAX, to = 0;
    T *out = block->out;
    for (int64_t r = 0; r < block->queries; r++) {
        largest[r] = -(T)INFINITY, sum[r] = 0;
        reach_of(&block->reach, block->position + r, &low[r], &high[r]);
        from = low[r] < from ? low[r] : from, to = high[r] > to ? high[r] : to;
        for (int64_t c = 0; c < block->value_width; c++) out[r * block->out_row + c] = 0;
    }
    for (int32_t i = 0; i < block->stretches; i++) {
        const struct attention_keys *keys = &block->keys[i];
        int64_t begin = from > keys->first ? from - keys->first : 0, end = to - keys->first < keys->count ? to - keys->first : keys->count;
        for (int64_t j = begin; j < end; j += KEYS) {
            int64_t count = end - j < KEYS ? end - j : KEYS;
            SCORE_TILE(block, (const T *)keys->k + j * keys->k_row, keys->k_row, count, kt, s);
            for (int64_t r = 0; r < block->queries; r++) {
                SHAPE_ROW(block, r, keys->first + j, count, low[r], high[r], s + r * KEYS);
                keep[r] = SOFTMAX_ROW(s + r * KEYS, count, &largest[r], &sum[r]);
            }
            VALUE_TILE(block, s, (const T *)keys->v + j * keys->v_row, keys->v_row, count, keep);
        }
    }
    for (int64_t r = 0; r < block->queries; r++) {
        T scale = sum[r] > 0 ? 1 / sum[r] : 0;
#pragma omp simd
        for (int64_t c = 0; c < block->value_width; c++) out[r * block->out_row + c] *= scale;
    }
}

static void ROTATE(const struct attention_rotation *rotation) {
    int64_t half = rotation->width / 2, near = rotation->interleaved ? 2 : 1, far = rotation->interleaved ? 1 : half;
    for (int64_t r = 0; r < rotation->rows; r++) {
        const T *c = (const T *)rotation->cos + r * half, *s = (const T *)rotation->sin + r * half;
        for (int64_t h = 0; h < rotation->heads; h++) {
            T *x = (T *)rotation->data + r * rotation->row + h * rotation->width;
            for (int64_t i = 0; i < half; i++) {
                T a = x[i * near], b = x[i * near + far];
                x[i * near] = a * c[i] - b * s[i];
                x[i * near + far] = b * c[i] + a * s[i];
            }
        }
    }
}
