/* SPDX-License-Identifier: Apache-2.0 */
/* Included by cells_simd.c for f32 and f64, which spells out T, SIGMOID, TANH, EXP, EXPM1, ABS and the functions' names. */

/* v of gate row r: the recurrent product, or for a diagonal recurrence weight * h. */
#define RECURRENT(r, j) (diagonal ? diagonal[r] * h[j] + (v ? v[r] : 0) : v[r])

static void RNN(const struct recurrent_step *step) {
    const T *u = step->u, *v = step->v, *diagonal = step->diagonal;
    T *h = step->h, *keep = step->keep;
    int64_t units = step->units;
    if (step->relu) {
#pragma omp simd
        for (int64_t j = 0; j < units; j++) {
            T a = u[j] + RECURRENT(j, j);
            h[j] = a > 0 ? a : 0;
        }
    } else {
#pragma omp simd
        for (int64_t j = 0; j < units; j++) h[j] = TANH(u[j] + RECURRENT(j, j));
    }
    for (int64_t j = 0; keep && j < units; j++) keep[j] = h[j];
}

/* s(a) = (a < 0 ? e : 1) / (1 + e) with e = exp(-|a|), tanh|a| = -m / (m + 2) with m = exp(-2|a|) - 1: all denominators are between 1 and
 * 2, so that the quotients of a step may share theirs. */
static void LSTM_PLAIN(const struct recurrent_step *step) {
    const T *u = step->u, *v = step->v;
    T *h = step->h, *c = step->c;
    int64_t units = step->units;
#pragma omp simd
    for (int64_t j = 0; j < units; j++) {
        T i = u[j] + v[j], f = u[units + j] + v[units + j], g = u[2 * units + j] + v[2 * units + j],
          o = u[3 * units + j] + v[3 * units + j];
        T e_i = EXP(-ABS(i)), e_f = EXP(-ABS(f)), e_o = EXP(-ABS(o)), m_g = EXPM1(-2 * ABS(g));
        T of_f = c[j] * (f < 0 ? e_f : 1) * (1 + e_i) * (m_g + 2), of_i = (i < 0 ? e_i : 1) * (g < 0 ? m_g : -m_g) * (1 + e_f);
        T next = (of_f + of_i) / ((1 + e_f) * ((1 + e_i) * (m_g + 2))), m_c = EXPM1(-2 * ABS(next));
        c[j] = next;
        h[j] = (o < 0 ? e_o : 1) * (next < 0 ? m_c : -m_c) / ((1 + e_o) * (m_c + 2));
    }
}

/* The same with each gate's own quotient, all of one reciprocal, for backward: i f g o. */
static void LSTM_KEPT(const struct recurrent_step *step) {
    const T *u = step->u, *v = step->v;
    T *h = step->h, *c = step->c, *keep = step->keep;
    int64_t units = step->units;
#pragma omp simd
    for (int64_t j = 0; j < units; j++) {
        T a_i = u[j] + v[j], a_f = u[units + j] + v[units + j], a_g = u[2 * units + j] + v[2 * units + j],
          a_o = u[3 * units + j] + v[3 * units + j];
        T e_i = EXP(-ABS(a_i)), e_f = EXP(-ABS(a_f)), e_o = EXP(-ABS(a_o)), m_g = EXPM1(-2 * ABS(a_g));
        T i_f = (1 + e_i) * (1 + e_f), o_g = (1 + e_o) * (m_g + 2), one = 1 / (i_f * o_g), of_i_f = one * o_g, of_o_g = one * i_f;
        T i = (a_i < 0 ? e_i : 1) * (of_i_f * (1 + e_f)), f = (a_f < 0 ? e_f : 1) * (of_i_f * (1 + e_i));
        T g = (a_g < 0 ? m_g : -m_g) * (of_o_g * (1 + e_o)), o = (a_o < 0 ? e_o : 1) * (of_o_g * (m_g + 2));
        T next = f * c[j] + i * g;
        keep[j] = i, keep[units + j] = f, keep[2 * units + j] = g, keep[3 * units + j] = o;
        c[j] = next;
        h[j] = o * TANH(next);
    }
}

/* Peepholes, coupled gates, diagonal recurrences. */
static void LSTM_ANY(const struct recurrent_step *step) {
    const T *u = step->u, *v = step->v, *diagonal = step->diagonal, *peephole = step->peephole;
    T *h = step->h, *c = step->c, *keep = step->keep;
    int64_t units = step->units, first = step->coupled ? 0 : units; /* row of the forget gate */
#pragma omp simd
    for (int64_t j = 0; j < units; j++) {
        int64_t rf = first + j, rg = rf + units, ro = rg + units, p_f = step->coupled ? j : units + j;
        T old = c[j], a_i = step->coupled ? 0 : u[j] + RECURRENT(j, j), a_f = u[rf] + RECURRENT(rf, j);
        T a_g = u[rg] + RECURRENT(rg, j), a_o = u[ro] + RECURRENT(ro, j);
        if (peephole) {
            a_i += step->coupled ? 0 : peephole[j] * old;
            a_f += peephole[p_f] * old;
        }
        T f = SIGMOID(a_f), i = step->coupled ? 1 - f : SIGMOID(a_i), g = TANH(a_g), next = f * old + i * g;
        if (peephole) a_o += peephole[p_f + units] * next;
        T o = SIGMOID(a_o);
        if (keep) {
            if (!step->coupled) keep[j] = i;
            keep[rf] = f, keep[rg] = g, keep[ro] = o;
        }
        c[j] = next;
        h[j] = o * TANH(next);
    }
}

static void LSTM(const struct recurrent_step *step) {
    if (step->diagonal || step->peephole || step->coupled) LSTM_ANY(step);
    else if (step->keep) LSTM_KEPT(step);
    else LSTM_PLAIN(step);
}

static void GRU(const struct recurrent_step *step) {
    const T *u = step->u, *v = step->v, *diagonal = step->diagonal;
    T *h = step->h, *keep = step->keep;
    int64_t units = step->units;
#pragma omp simd
    for (int64_t j = 0; j < units; j++) {
        T r = SIGMOID(u[j] + RECURRENT(j, j)), z = SIGMOID(u[units + j] + RECURRENT(units + j, j)), v_n = RECURRENT(2 * units + j, j);
        T n = TANH(u[2 * units + j] + r * v_n);
        if (keep) keep[j] = r, keep[units + j] = z, keep[2 * units + j] = n, keep[3 * units + j] = v_n;
        h[j] = (1 - z) * n + z * h[j];
    }
}
#undef RECURRENT
