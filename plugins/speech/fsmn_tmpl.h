/* SPDX-License-Identifier: Apache-2.0 */
/* Template: FSMN rows in REAL, vectors VEC of WIDTH units. The including file names REAL, VEC, WIDTH, FSMN_TILE, FSMN_ROW, FSMN_NARROW,
 * FSMN_TILES, FSMN_ROWS and gives the constants TILE (rows of a tile), CHUNK (taps whose weights stay in registers), COLUMNS and
 * STAGE_ROWS. */

/* TILE rows of one vector of units: every input row is loaded once for a chunk of taps and used for all outputs it reaches. x: the row of
 * output 0 and tap 0; x_step, y_step between the rows of neighbouring taps and outputs. skip: x at the present tap, or NULL. */
static inline __attribute__((always_inline)) void FSMN_TILE(const REAL *w, int64_t taps, const REAL *x, int64_t x_step, const REAL *skip,
                                                            REAL *y, int64_t y_step) {
    VEC sum[TILE];
#pragma GCC unroll 16
    for (int j = 0; j < TILE; j++) sum[j] = skip ? *(const VEC *)(skip + j * x_step) : (VEC){0};
    int64_t k = 0;
    for (; k + CHUNK <= taps; k += CHUNK) {
        VEC tap[CHUNK];
#pragma GCC unroll 16
        for (int c = 0; c < CHUNK; c++) tap[c] = *(const VEC *)(w + (k + c) * WIDTH);
#pragma GCC unroll 32
        for (int i = 0; i < TILE + CHUNK - 1; i++) {
            VEC row = *(const VEC *)(x + (k + i) * x_step);
#pragma GCC unroll 16
            for (int j = 0; j < TILE; j++)
                if (i - j >= 0 && i - j < CHUNK) sum[j] += tap[i - j] * row;
        }
    }
    for (; k < taps; k++) {
        VEC tap = *(const VEC *)(w + k * WIDTH);
#pragma GCC unroll 16
        for (int j = 0; j < TILE; j++) sum[j] += tap * *(const VEC *)(x + (k + j) * x_step);
    }
#pragma GCC unroll 16
    for (int j = 0; j < TILE; j++) *(VEC *)(y + j * y_step) = sum[j];
}

/* Row i of the sequence, or NULL where it is zeros. */
static inline const REAL *FSMN_AT(const struct fsmn_rows *r, int64_t i) {
    if (i >= r->before) return i - r->before < r->rows ? (const REAL *)r->x + (i - r->before) * r->units : NULL;
    return r->history ? (const REAL *)r->history + i * r->units : NULL;
}

/* One row where some of its inputs may be history or zeros: up to `COLUMNS` vectors of units at a time. */
static inline __attribute__((always_inline)) void FSMN_COLUMNS(const struct fsmn_rows *r, int64_t t, int64_t group, int columns) {
    VEC sum[COLUMNS];
    int64_t at[COLUMNS];
    const REAL *w = (const REAL *)r->weight + group * r->taps * WIDTH;
    const REAL *skip = r->skip ? FSMN_AT(r, t + r->left * r->dilation) : NULL;
#pragma GCC unroll 8
    for (int c = 0; c < columns; c++) {
        at[c] = fsmn_unit(group + c, r->units, WIDTH);
        sum[c] = skip ? *(const VEC *)(skip + at[c]) : (VEC){0};
    }
    for (int64_t k = 0; k < r->taps; k++) {
        const REAL *row = FSMN_AT(r, t + k * r->dilation);
        if (!row) continue;
#pragma GCC unroll 8
        for (int c = 0; c < columns; c++) sum[c] += *(const VEC *)(w + (c * r->taps + k) * WIDTH) * *(const VEC *)(row + at[c]);
    }
#pragma GCC unroll 8
    for (int c = 0; c < columns; c++) *(VEC *)((REAL *)r->y + t * r->units + at[c]) = sum[c];
}

static void FSMN_ROW(const struct fsmn_rows *r, int64_t t, int64_t groups) {
    int64_t g = 0;
    for (; g + COLUMNS <= groups; g += COLUMNS) FSMN_COLUMNS(r, t, g, COLUMNS);
    for (; g < groups; g++) FSMN_COLUMNS(r, t, g, 1);
}

/* Fewer units than a vector has. */
static void FSMN_NARROW(const struct fsmn_rows *r, int64_t t) {
    const REAL *w = r->weight, *skip = r->skip ? FSMN_AT(r, t + r->left * r->dilation) : NULL;
    REAL *y = (REAL *)r->y + t * r->units;
    for (int64_t d = 0; d < r->units; d++) y[d] = skip ? skip[d] : 0;
    for (int64_t k = 0; k < r->taps; k++) {
        const REAL *row = FSMN_AT(r, t + k * r->dilation);
        if (!row) continue;
        for (int64_t d = 0; d < r->units; d++) y[d] += w[k * WIDTH + d] * row[d];
    }
}

/* `count` rows from t on, whole tiles whose inputs all lie in x. The inputs of one vector of units are first copied side by side where they
 * fit: rows a power of two apart would crowd each other out of the cache, and several tiles read them. */
static void FSMN_TILES(const struct fsmn_rows *r, int64_t t, int64_t count) {
    VEC side[STAGE_ROWS];
    int64_t groups = fsmn_groups(r->units, WIDTH), rows = count + (r->taps - 1) * r->dilation;
    bool staged = rows <= STAGE_ROWS;
    int64_t row = staged ? WIDTH : r->units, step = row * r->dilation, y_step = r->units * r->dilation;
    for (int64_t g = 0; g < groups; g++) {
        int64_t unit = fsmn_unit(g, r->units, WIDTH);
        const REAL *x = (const REAL *)r->x + (t - r->before) * r->units + unit;
        REAL *y = (REAL *)r->y + t * r->units + unit;
        if (staged) {
            for (int64_t i = 0; i < rows; i++) side[i] = *(const VEC *)(x + i * r->units);
            x = (const REAL *)side;
        }
        for (int64_t first = 0; first < r->dilation; first++)
            for (int64_t i = first; i < count; i += TILE * r->dilation) {
                const REAL *from = x + i * row;
                FSMN_TILE((const REAL *)r->weight + g * r->taps * WIDTH, r->taps, from, step, r->skip ? from + r->left * step : NULL,
                          y + i * r->units, y_step);
            }
    }
}

static void FSMN_ROWS(const struct fsmn_rows *r, int64_t begin, int64_t end) {
    int64_t groups = fsmn_groups(r->units, WIDTH), tile = TILE * r->dilation, span = (r->taps - 1) * r->dilation;
    if (r->units < WIDTH) {
        for (int64_t t = begin; t < end; t++) FSMN_NARROW(r, t);
        return;
    }
    /* as many rows at a time as fit on the stage, and with all their units into half of the second-level cache */
    int64_t most = CACHE_BYTES / (r->units * (int64_t)sizeof(REAL)) - span;
    if (most < 4 * tile) most = 4 * tile;
    if (most > STAGE_ROWS - span) most = STAGE_ROWS - span;
    for (int64_t t = begin; t < end;) {
        int64_t inside = r->before + r->rows - span, count = (end < inside ? end : inside) - t; /* rows before `inside` look into x alone */
        if (span + tile <= STAGE_ROWS && count > most) count = most;
        count -= count % tile;
        if (t >= r->before && count > 0) FSMN_TILES(r, t, count), t += count;
        else FSMN_ROW(r, t++, groups);
    }
}

/* ---- Gradient of the weights ---- */

/* One vector of units of row i; zeros beyond the ends. */
static inline __attribute__((always_inline)) VEC FSMN_TAKE(const REAL *x, int64_t i, int64_t rows, int64_t units, int64_t unit) {
    VEC v = {0};
    if (i < 0 || i >= rows) return v;
    if (units >= WIDTH) return *(const VEC *)(x + i * units + unit);
    for (int64_t d = 0; d < units; d++) v[d] = x[i * units + d];
    return v;
}

/* sums[k] += sum_t dy[t] x[t + (k - left)*dilation]. As in a tile of rows, each row of x is loaded once for a chunk of taps and used with
 * all rows of dy that meet it there. Both are first copied side by side, zeros around them, where they fit. */
static void FSMN_PRODUCTS(const struct fsmn_products *p, int64_t begin, int64_t end) {
    VEC dy[STAGE_ROWS], x[STAGE_ROWS];
    int64_t n = end - begin, span = (p->taps - 1) * p->dilation, step = p->dilation, tile = TILE * step;
    int64_t first = begin - p->left * step, whole = (n + tile - 1) / tile * tile;
    bool staged = span <= STAGE_ROWS - whole && tile <= STAGE_ROWS / 2;
    for (int64_t g = 0; g < fsmn_groups(p->units, WIDTH); g++) {
        int64_t unit = fsmn_unit(g, p->units, WIDTH), k = 0;
        REAL *sums = (REAL *)p->sums + g * p->taps * WIDTH;
        for (int64_t i = 0; staged && i < whole; i++) dy[i] = i < n ? FSMN_TAKE(p->dy, begin + i, p->rows, p->units, unit) : (VEC){0};
        for (int64_t i = 0; staged && i < whole + span; i++) x[i] = FSMN_TAKE(p->x, first + i, p->rows, p->units, unit);
        for (; staged && k + CHUNK <= p->taps; k += CHUNK) {
            VEC sum[CHUNK];
#pragma GCC unroll 16
            for (int c = 0; c < CHUNK; c++) sum[c] = (VEC){0};
            for (int64_t phase = 0; phase < step; phase++)
                for (int64_t i = phase; i < whole; i += tile) {
                    VEC of[TILE];
#pragma GCC unroll 16
                    for (int j = 0; j < TILE; j++) of[j] = dy[i + j * step];
#pragma GCC unroll 32
                    for (int r = 0; r < TILE + CHUNK - 1; r++) {
                        VEC row = x[i + (k + r) * step];
#pragma GCC unroll 16
                        for (int j = 0; j < TILE; j++)
                            if (r - j >= 0 && r - j < CHUNK) sum[r - j] += of[j] * row;
                    }
                }
#pragma GCC unroll 16
            for (int c = 0; c < CHUNK; c++) *(VEC *)(sums + (k + c) * WIDTH) += sum[c];
        }
        for (; k < p->taps; k++) {
            VEC sum = {0};
            for (int64_t i = 0; i < n; i++)
                sum += staged ? dy[i] * x[i + k * step]
                              : FSMN_TAKE(p->dy, begin + i, p->rows, p->units, unit) *
                                    FSMN_TAKE(p->x, first + i + k * step, p->rows, p->units, unit);
            *(VEC *)(sums + k * WIDTH) += sum;
        }
    }
}

static void FSMN_ADD(REAL *to, const REAL *from, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
}
