/* SPDX-License-Identifier: Apache-2.0 */
/* Template: segments added up in REAL. The including file names REAL, OVERLAP_RUN, OVERLAP_SUM, OVERLAP_SEGMENT. */

/* Sums [at, at + count) of one stretch, count*inner at most OVERLAP_STRETCH elements (or one sum): what is held first, then the segments in
 * order; the result goes to y or to the state. */
static void OVERLAP_RUN(const struct overlap_sum *s, int64_t at, int64_t count, int64_t column, int64_t columns) {
    REAL sum[OVERLAP_STRETCH], weight[OVERLAP_STRETCH];
    const REAL *tail = s->tail, *weights = s->weights, *window = s->window;
    for (int64_t i = 0; i < count; i++) weight[i] = 0;
    for (int64_t i = 0; i < count * columns; i++) sum[i] = 0;
    for (int64_t i = 0; i < count && at + i < s->held; i++) {
        weight[i] = weights[at + i];
        for (int64_t d = 0; d < columns; d++) sum[i * columns + d] = tail[(at + i) * s->inner + column + d];
    }
    int64_t t = at - s->size < s->offset ? 0 : (at - s->size - s->offset) / s->hop + 1;
    for (; t < s->frames && s->offset + t * s->hop < at + count; t++) {
        int64_t start = s->offset + t * s->hop - at; /* of the segment, from `at` */
        int64_t from = start > 0 ? start : 0, to = start + s->size < count ? start + s->size : count;
        const REAL *x = (const REAL *)s->x + (t * s->size - start) * s->inner + column, *w = window - start;
        if (columns == 1 && s->inner == 1) {
#pragma omp simd
            for (int64_t i = from; i < to; i++) sum[i] += w[i] * x[i], weight[i] += w[i];
            continue;
        }
        for (int64_t i = from; i < to; i++) {
            REAL share = w[i];
            weight[i] += share;
#pragma omp simd
            for (int64_t d = 0; d < columns; d++) sum[i * columns + d] += share * x[i * s->inner + d];
        }
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t p = at + i;
        REAL divisor = !s->normalize ? 1 : weight[i] > (REAL)1e-8 ? weight[i] : (REAL)1e-8;
        if (p >= s->drop && p < s->drop + s->emitted) {
            REAL *y = (REAL *)s->y + (p - s->drop) * s->inner + column;
            for (int64_t d = 0; d < columns; d++) y[d] = sum[i * columns + d] / divisor;
        }
        if (p >= s->final && s->tail_out) {
            REAL *kept = (REAL *)s->tail_out + (p - s->final) * s->inner + column;
            for (int64_t d = 0; d < columns; d++) kept[d] = sum[i * columns + d];
            ((REAL *)s->weights_out)[p - s->final] = weight[i];
        }
    }
}

static void OVERLAP_SUM(const struct overlap_sum *s, int64_t begin, int64_t end) {
    int64_t columns = s->inner < OVERLAP_STRETCH ? s->inner : OVERLAP_STRETCH;
    for (int64_t column = 0; column < s->inner; column += columns) {
        int64_t some = s->inner - column < columns ? s->inner - column : columns, rows = OVERLAP_STRETCH / some;
        for (int64_t at = begin; at < end; at += rows) OVERLAP_RUN(s, at, end - at < rows ? end - at : rows, column, some);
    }
}

static void OVERLAP_SEGMENT(const struct overlap_segment *s) {
    const REAL *dy = s->dy, *w = s->window, *divisor = s->divisor;
    REAL *dx = s->dx;
    if (s->inner == 1 && divisor && !s->add) {
#pragma omp simd
        for (int64_t i = 0; i < s->count; i++) dx[i] = w[i] * divisor[i] * dy[i];
        return;
    }
    for (int64_t i = 0; i < s->count; i++, dx += s->inner, dy += s->inner) {
        REAL share = divisor ? w[i] * divisor[i] : w[i];
        if (s->add)
#pragma omp simd
            for (int64_t d = 0; d < s->inner; d++) dx[d] += share * dy[d];
        else
#pragma omp simd
            for (int64_t d = 0; d < s->inner; d++) dx[d] = share * dy[d];
    }
}
