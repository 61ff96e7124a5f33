/* SPDX-License-Identifier: Apache-2.0 */
/* Products of tiles that forward and backward share. Included for f32 and for f64 by a file that spells out T and the names below;
 * constants are attention_tiles.h's. */

typedef T VEC __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
typedef T EIGHT __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
enum { LANES = VECTOR_BYTES / sizeof(T) };

/* s[r][j] = sum_d q[r][d] kt[d][j] for ROWS queries and `columns` vectors of keys. Rows of kt and s are KEYS apart. */
static inline __attribute__((always_inline)) void SCORES(const T *const q[ROWS], const T *kt, int64_t width, T *s, int columns) {
    VEC sum[ROWS][COLUMNS] = {{{0}}};
    for (int64_t d = 0; d < width; d++) {
        const VEC *k = (const VEC *)(kt + d * KEYS);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < columns; c++) sum[r][c] += q[r][d] * k[c];
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int c = 0; c < columns; c++) *(VEC *)(s + r * KEYS + c * LANES) = sum[r][c];
}

/* out[r][c] = out[r][c] * keep[r] + sum_j p[r][j] v[j][c] for ROWS queries and `columns` vectors of the value's width. */
static inline __attribute__((always_inline)) void VALUES(const T *p, const T *v, int64_t v_row, int64_t keys, const T *keep,
                                                         T *const out[ROWS], int64_t at, int columns) {
    VEC sum[ROWS][COLUMNS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int c = 0; c < columns; c++) sum[r][c] = *(const VEC *)(out[r] + at + c * LANES) * keep[r];
    for (int64_t j = 0; j < keys; j++) {
        const T *row = v + j * v_row + at;
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < columns; c++) sum[r][c] += p[r * KEYS + j] * *(const VEC *)(row + c * LANES);
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int c = 0; c < columns; c++) *(VEC *)(out[r] + at + c * LANES) = sum[r][c];
}

/* The same for one query: columns in eights, eight of them at once where there are so many; keys in fours for the rest. */
static inline void VALUES_ONE(const T *p, const T *v, int64_t v_row, int64_t keys, T keep, T *out, int64_t from, int64_t to) {
    int64_t c = from;
    for (; c + 64 <= to; c += 64) {
        EIGHT sum[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) sum[i] = *(const EIGHT *)(out + c + 8 * i) * keep;
        for (int64_t j = 0; j < keys; j++)
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) sum[i] += p[j] * *(const EIGHT *)(v + j * v_row + c + 8 * i);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) *(EIGHT *)(out + c + 8 * i) = sum[i];
    }
    for (; c + 8 <= to; c += 8) {
        EIGHT sum[4] = {*(const EIGHT *)(out + c) * keep};
        int64_t j = 0;
        for (; j + 4 <= keys; j += 4)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) sum[i] += p[j + i] * *(const EIGHT *)(v + (j + i) * v_row + c);
        for (; j < keys; j++) sum[0] += p[j] * *(const EIGHT *)(v + j * v_row + c);
        *(EIGHT *)(out + c) = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    for (; c < to; c++) {
        T sum = out[c] * keep;
        for (int64_t j = 0; j < keys; j++) sum += p[j] * v[j * v_row + c];
        out[c] = sum;
    }
}

/* Keys [count, width] to kt [width, KEYS], what is beyond them 0. */
static inline void TRANSPOSE(const T *k, int64_t k_row, int64_t count, int64_t width, T *kt) {
    int64_t whole = width / 8 * 8, j = 0;
    for (; j + 8 <= count; j += 8)
        for (int64_t d = 0; d < whole; d += 8) {
            EIGHT a[8], b[8];
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) a[i] = *(const EIGHT *)(k + (j + i) * k_row + d);
#pragma GCC unroll 4
            for (int i = 0; i < 8; i += 2) {
                b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
                b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
            }
#pragma GCC unroll 2
            for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) {
                    a[i + h] = __builtin_shufflevector(b[i + h], b[i + h + 2], 0, 1, 8, 9, 4, 5, 12, 13);
                    a[i + h + 2] = __builtin_shufflevector(b[i + h], b[i + h + 2], 2, 3, 10, 11, 6, 7, 14, 15);
                }
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                *(EIGHT *)(kt + (d + i) * KEYS + j) = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
                *(EIGHT *)(kt + (d + i + 4) * KEYS + j) = __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
            }
        }
    for (int64_t i = 0; i < j; i++)
        for (int64_t d = whole; d < width; d++) kt[d * KEYS + i] = k[i * k_row + d];
    for (int64_t d = 0; d < width; d++) {
        for (int64_t i = j; i < count; i++) kt[d * KEYS + i] = k[i * k_row + d];
        for (int64_t i = count; i < KEYS; i++) kt[d * KEYS + i] = 0;
    }
}

/* keep[j]: what the weight of row `row` and key first+j is multiplied by, 0 or 1 / (1 - p). `first` is a multiple of 4. */
static inline void DROP_ROW(const struct attention_dropout *dropout, int64_t row, int64_t first, T *keep) {
    uint32_t words[KEYS];
    T scale = (T)dropout->scale;
    drop_words(dropout, row * dropout->blocks + first / 4, words);
#pragma omp simd
    for (int64_t j = 0; j < KEYS; j++) keep[j] = words[j] < dropout->below ? 0 : scale;
}
