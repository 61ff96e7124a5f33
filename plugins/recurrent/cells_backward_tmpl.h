/* SPDX-License-Identifier: Apache-2.0 */
/* Included by cells_simd.c after cells_tmpl.h, for f32 and f64: a step of the cells backward, some rows at once. d_h, the gradient of the
 * step's h, becomes what of the gradient of the h before does not come through a matrix; d_c, that of c, becomes that of the c before. */

/* What a diagonal recurrence passes on: sum over the gates of weight * d_v. */
static inline void DIAGONAL_BACK(const T *diagonal, const T *d_v, int64_t gates, int64_t units, T *d_h) {
    for (int64_t g = 0; g < gates; g++)
#pragma omp simd
        for (int64_t j = 0; j < units; j++) d_h[j] += diagonal[g * units + j] * d_v[g * units + j];
}

static void RNN_BACK(const struct recurrent_back *back) {
    int64_t units = back->units;
    for (int64_t r = 0; r < back->rows; r++) {
        const T *keep = (const T *)back->keep + r * units;
        T *d_h = (T *)back->d_h + r * units, *d_u = (T *)back->d_u + r * units;
#pragma omp simd
        for (int64_t j = 0; j < units; j++) {
            T h = keep[j], slope = back->relu ? (h > 0 ? 1 : 0) : 1 - h * h;
            d_u[j] = d_h[j] * slope;
            d_h[j] = 0;
        }
        if (back->diagonal) DIAGONAL_BACK(back->diagonal, d_u, 1, units, d_h);
    }
}

static void LSTM_BACK_PLAIN(const struct recurrent_back *back) {
    int64_t units = back->units;
    for (int64_t r = 0; r < back->rows; r++) {
        const T *keep = (const T *)back->keep + r * 4 * units, *c = (const T *)back->c + r * units;
        T *d_h = (T *)back->d_h + r * units, *d_c = (T *)back->d_c + r * units, *d_u = (T *)back->d_u + r * 4 * units;
#pragma omp simd
        for (int64_t j = 0; j < units; j++) {
            T i = keep[j], f = keep[units + j], g = keep[2 * units + j], o = keep[3 * units + j], old = c[j];
            T t = TANH(f * old + i * g), dh = d_h[j], dc = d_c[j] + dh * o * (1 - t * t);
            d_u[j] = dc * g * i * (1 - i);
            d_u[units + j] = dc * old * f * (1 - f);
            d_u[2 * units + j] = dc * i * (1 - g * g);
            d_u[3 * units + j] = dh * t * o * (1 - o);
            d_c[j] = dc * f;
        }
    }
}

/* Peepholes (their gradients are added to d_peephole), coupled gates, diagonal recurrences. */
static void LSTM_BACK_ANY(const struct recurrent_back *back) {
    int64_t units = back->units, gates = back->coupled ? 3 : 4, first = back->coupled ? 0 : units;
    const T *peephole = back->peephole;
    T *d_peephole = back->d_peephole;
    for (int64_t r = 0; r < back->rows; r++) {
        const T *keep = (const T *)back->keep + r * gates * units, *c = (const T *)back->c + r * units;
        T *d_h = (T *)back->d_h + r * units, *d_c = (T *)back->d_c + r * units, *d_u = (T *)back->d_u + r * gates * units;
#pragma omp simd
        for (int64_t j = 0; j < units; j++) {
            int64_t rf = first + j, rg = rf + units, ro = rg + units;
            T f = keep[rf], g = keep[rg], o = keep[ro], i = back->coupled ? 1 - f : keep[j], old = c[j], next = f * old + i * g;
            T t = TANH(next), dh = d_h[j], a_o = dh * t * o * (1 - o), dc = d_c[j] + dh * o * (1 - t * t);
            if (peephole) dc += a_o * peephole[rf + units];
            T a_i = back->coupled ? 0 : dc * g * i * (1 - i), a_f = dc * (back->coupled ? old - g : old) * f * (1 - f), before = dc * f;
            if (peephole) before += a_f * peephole[rf] + (back->coupled ? 0 : a_i * peephole[j]);
            if (peephole && d_peephole) {
                if (!back->coupled) d_peephole[j] += a_i * old;
                d_peephole[rf] += a_f * old;
                d_peephole[rf + units] += a_o * next;
            }
            if (!back->coupled) d_u[j] = a_i;
            d_u[rf] = a_f, d_u[rg] = dc * i * (1 - g * g), d_u[ro] = a_o;
            d_c[j] = before;
            d_h[j] = 0;
        }
        if (back->diagonal) DIAGONAL_BACK(back->diagonal, d_u, gates, units, d_h);
    }
}

static void LSTM_BACK(const struct recurrent_back *back) {
    if (back->diagonal || back->peephole || back->coupled) LSTM_BACK_ANY(back);
    else LSTM_BACK_PLAIN(back);
}

static void GRU_BACK(const struct recurrent_back *back) {
    int64_t units = back->units;
    for (int64_t r = 0; r < back->rows; r++) {
        const T *keep = (const T *)back->keep + r * 4 * units, *h = (const T *)back->h + r * units;
        T *d_h = (T *)back->d_h + r * units, *d_u = (T *)back->d_u + r * 3 * units, *d_v = (T *)back->d_v + r * 3 * units;
#pragma omp simd
        for (int64_t j = 0; j < units; j++) {
            T reset = keep[j], z = keep[units + j], n = keep[2 * units + j], v_n = keep[3 * units + j], dh = d_h[j];
            T a_n = dh * (1 - z) * (1 - n * n), a_r = a_n * v_n * reset * (1 - reset), a_z = dh * (h[j] - n) * z * (1 - z);
            d_u[j] = d_v[j] = a_r, d_u[units + j] = d_v[units + j] = a_z;
            d_u[2 * units + j] = a_n, d_v[2 * units + j] = a_n * reset;
            d_h[j] = dh * z;
        }
        if (back->diagonal) DIAGONAL_BACK(back->diagonal, d_v, 3, units, d_h);
    }
}

/* sums[c] += sum_r x[r][c] y[r][c] (y NULL: of x alone). Sums of sums, lest rounding grows with the rows. */
static void SUMS(const struct recurrent_sums *s) {
    enum { RUN = 128, WIDE = 64 };
    T *sums = s->sums;
    for (int64_t c = 0; c < s->columns; c += WIDE) {
        int64_t wide = s->columns - c < WIDE ? s->columns - c : WIDE;
        for (int64_t from = 0; from < s->rows; from += RUN) {
            T part[WIDE] = {0};
            int64_t to = from + RUN < s->rows ? from + RUN : s->rows;
            for (int64_t r = from; r < to; r++) {
                const T *x = (const T *)s->x + r * s->x_row + c, *y = s->y ? (const T *)s->y + r * s->y_row + c : NULL;
                if (wide == WIDE && !y) {
#pragma omp simd
                    for (int64_t j = 0; j < WIDE; j++) part[j] += x[j];
                } else {
#pragma omp simd
                    for (int64_t j = 0; j < wide; j++) part[j] += y ? x[j] * y[j] : x[j];
                }
            }
            for (int64_t j = 0; j < wide; j++) sums[c + j] += part[j];
        }
    }
}

static void ADD(void *to, const void *from, int64_t count) {
    T *y = to;
    const T *x = from;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) y[i] += x[i];
}
