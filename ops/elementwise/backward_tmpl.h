/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of elementwise functions for one type: REAL, BACK_ONE and BACK_RUN (the functions' names) and those of the elementary functions
 * come from the including file. */

/* to[i] = what `op` says; to may be g's memory. */
static void BACK_ONE(int32_t op, const REAL *g, const void *of_u, const REAL *v, REAL *to, int64_t n, REAL k0, REAL k1) {
    const REAL *u = of_u;
    const uint8_t *condition = of_u;
    (void)k0, (void)k1;
    switch (op) {
#define CASE(name, reads, value)                                                     \
    case BACK_##name:                                                                \
        LOOP {                                                                       \
            const REAL d = g[i], p = (reads)&1 ? u[i] : d, q = (reads)&2 ? v[i] : d; \
            (void)d, (void)p, (void)q;                                               \
            to[i] = value;                                                           \
        }                                                                            \
        break;
        BACK_LIST(CASE)
#undef CASE
    case BACK_WHERE_A: LOOP to[i] = condition[i] ? g[i] : (REAL)0; break;
    case BACK_WHERE_B: LOOP to[i] = condition[i] ? (REAL)0 : g[i]; break;
    default: {
        REAL turned[BACK_BLOCK];
        for (int64_t begin = 0; begin < n; begin += BACK_BLOCK) {
            int64_t count = n - begin < BACK_BLOCK ? n - begin : BACK_BLOCK;
            const REAL *from = g + begin, sign = op == BACK_SIN ? (REAL)1 : (REAL)-1;
            REAL *y = to + begin;
            CIRCLE(u + begin, turned, count, op == BACK_SIN);
#pragma omp simd
            for (int64_t i = 0; i < count; i++) y[i] = sign * from[i] * turned[i];
        }
    }
    }
}

static int64_t BACK_RUN(const void *context, const void *const *in, void *out, int64_t count, uint32_t single) {
    const struct back_work *w = context;
    const REAL *g = in[0], k0 = (REAL)w->k[0], k1 = (REAL)w->k[1];
    REAL value[2][BACK_BLOCK], held[BACK_BLOCK], sum[BACK_BLOCK];
    int64_t offset = w->base ? (const char *)out - w->base : 0,
            bytes = w->job[0].op >= BACK_WHERE_A && w->job[0].op <= BACK_WHERE_B ? 1 : (int64_t)sizeof(REAL);
    bool blocks = single || w->held || w->job[0].add || w->jobs > 1;
    if (!blocks) {
        BACK_ONE(w->job[0].op, g, in[1], in[2], w->base ? (REAL *)(void *)(w->job[0].to + offset) : out, count, k0, k1);
        return -1;
    }
    for (int32_t k = 0; k < 2; k++)
        if (single >> (k + 1) & 1u) {
            int64_t n = count < BACK_BLOCK ? count : BACK_BLOCK;
            if (bytes == 1 && k == 0) memset(value[k], *(const uint8_t *)in[1] ? 1 : 0, (size_t)n);
            else LOOP value[k][i] = *(const REAL *)in[k + 1];
        }
    for (int64_t begin = 0; begin < count; begin += BACK_BLOCK) {
        int64_t n = count - begin < BACK_BLOCK ? count - begin : BACK_BLOCK;
        const REAL *from = g + begin;
        const void *u = single & 2u ? (const void *)value[0] : (const char *)in[1] + begin * bytes;
        const REAL *v = single & 4u ? value[1] : (const REAL *)in[2] + begin;
        if (w->held) {
            memcpy(held, from, (size_t)n * sizeof(REAL));
            from = held;
        }
        for (int32_t j = 0; j < w->jobs; j++) {
            REAL *to = (w->base ? (REAL *)(void *)(w->job[j].to + offset) : (REAL *)out) + begin;
            if (!w->job[j].add) {
                BACK_ONE(w->job[j].op, from, u, v, to, n, k0, k1);
                continue;
            }
            BACK_ONE(w->job[j].op, from, u, v, sum, n, k0, k1);
            LOOP to[i] += sum[i];
        }
    }
    return -1;
}
