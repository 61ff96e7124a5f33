/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of reduce_simd.c for one element type. The including file defines REAL, the elementary functions exp_of, log_of, max_of,
 * root_of, and the names of what stands here.
 *
 * Sums: blocks of 1024 elements are summed in REAL, the blocks in double: the error does not grow with the length, and the order depends
 * on the shape alone. */

/* What is summed: `c` is a centre or a divisor. `op` is a constant wherever this is called. */
ALWAYS_INLINE REAL term(enum term_op op, REAL x, REAL c) {
    switch (op) {
    case TERM_ABS: return magnitude_of(x);
    case TERM_SQUARE: return x * x;
    case TERM_SQUARE_SCALED: return (x / c) * (x / c);
    case TERM_DEVIATION: return (x - c) * (x - c);
    case TERM_EXP: return exp_of(x - c);
    default: return x;
    }
}

ALWAYS_INLINE double sum_run(enum term_op op, const REAL *x, int64_t n, REAL c) {
    if (op == TERM_SELF) return lanes_total(x, n);
    double sum = 0;
    REAL terms[1024];
    for (int64_t begin = 0; begin < n; begin += 1024) {
        const REAL *at = x + begin;
        int64_t count = n - begin < 1024 ? n - begin : 1024;
        if (op == TERM_SQUARE || op == TERM_DEVIATION) {
            sum += (double)lanes_squares(at, count, op == TERM_SQUARE ? 0 : c);
            continue;
        }
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) terms[i] = term(op, at[i], c);
        sum += (double)lanes_sum(terms, count);
    }
    return sum;
}

ALWAYS_INLINE double sum_of(enum term_op op, const REAL *x, const struct reduce_walk *walk, REAL c) {
    double sum = 0;
    for (int64_t s = 0; s < walk->segments; ++s) sum += sum_run(op, x + reduce_segment(walk, s), walk->run, c);
    return sum;
}

/* The largest, NaN if there is one; of magnitudes or, for the smallest, of the negated. */
ALWAYS_INLINE REAL largest_run(enum largest_op op, const REAL *x, int64_t n) {
    REAL terms[1024], largest = op == LARGEST_MAGNITUDE ? 0 : -(REAL)INFINITY;
    if (lanes_odd(x, n)) return (REAL)NAN;
    for (int64_t begin = 0; begin < n; begin += 1024) {
        int64_t count = n - begin < 1024 ? n - begin : 1024;
        const REAL *at = x + begin;
        if (op != LARGEST) {
#pragma omp simd
            for (int64_t i = 0; i < count; ++i) terms[i] = op == LARGEST_MAGNITUDE ? magnitude_of(at[i]) : -at[i];
            at = terms;
        }
        REAL m = lanes_max(at, count);
        largest = m > largest ? m : largest;
    }
    return largest;
}

ALWAYS_INLINE REAL largest_of(enum largest_op op, const REAL *x, const struct reduce_walk *walk) {
    REAL largest = op == LARGEST_MAGNITUDE ? 0 : -(REAL)INFINITY;
    for (int64_t s = 0; s < walk->segments; ++s) {
        REAL m = largest_run(op, x + reduce_segment(walk, s), walk->run);
        if (m != m) return m;
        largest = m > largest ? m : largest;
    }
    return largest;
}

/* sqrt of the sum of squares; where that over- or underflows, of squares of the elements over their largest. */
static REAL norm_euclidean(const REAL *x, const struct reduce_walk *walk) {
    double sum = sum_of(TERM_SQUARE, x, walk, 0);
    if (sum >= SQUARE_LEAST && sum <= SQUARE_MOST) return (REAL)sqrt(sum);
    REAL largest = largest_of(LARGEST_MAGNITUDE, x, walk);
    if (!(largest > 0) || largest - largest != 0) return largest;
    return (REAL)((double)largest * sqrt(sum_of(TERM_SQUARE_SCALED, x, walk, largest)));
}

static REAL norm_general(const REAL *x, const struct reduce_walk *walk, double p) {
    if (p == 1) return (REAL)sum_of(TERM_ABS, x, walk, 0);
    if (p == 2) return norm_euclidean(x, walk);
    if (p == (double)INFINITY) return largest_of(LARGEST_MAGNITUDE, x, walk);
    double sum = 0;
    for (int64_t s = 0; s < walk->segments; ++s) {
        const REAL *at = x + reduce_segment(walk, s);
        for (int64_t i = 0; i < walk->run; ++i) sum += p == 0 ? (double)(at[i] != 0) : pow(fabs((double)at[i]), p);
    }
    return (REAL)(p == 0 ? sum : pow(sum, 1 / p));
}

static REAL product_of(const REAL *x, const struct reduce_walk *walk) {
    double p0 = 1, p1 = 1;
    for (int64_t s = 0; s < walk->segments; ++s) {
        const REAL *at = x + reduce_segment(walk, s);
        int64_t half = walk->run / 2;
#pragma omp simd reduction(* : p0, p1)
        for (int64_t i = 0; i < half; ++i) {
            p0 *= (double)at[i];
            p1 *= (double)at[half + i];
        }
        if (walk->run & 1) p0 *= (double)at[walk->run - 1];
    }
    return (REAL)(p0 * p1);
}

static REAL log_sum_exp(const REAL *x, const struct reduce_walk *walk) {
    REAL largest = largest_of(LARGEST, x, walk);
    if (largest - largest != 0) return largest; /* infinite or NaN: so is the result */
    return largest + (REAL)log(sum_of(TERM_EXP, x, walk, largest));
}

static void last(REAL *y, const REAL *x, const struct reduce_walk *walk, const struct reduce_option *option) {
    double count = (double)walk->segments * (double)walk->run;
    switch (option->op) {
    case REDUCE_SUM: *y = (REAL)sum_of(TERM_SELF, x, walk, 0); break;
    case REDUCE_MEAN: *y = (REAL)(sum_of(TERM_SELF, x, walk, 0) / count); break;
    case REDUCE_MAX: *y = largest_of(LARGEST, x, walk); break;
    case REDUCE_MIN: *y = -largest_of(LARGEST_NEGATED, x, walk); break;
    case REDUCE_PRODUCT: *y = product_of(x, walk); break;
    case REDUCE_LOG_SUM_EXP: *y = log_sum_exp(x, walk); break;
    case REDUCE_NORM: *y = norm_general(x, walk, option->p); break;
    default: { /* REDUCE_VAR */
        REAL mean = (REAL)(sum_of(TERM_SELF, x, walk, 0) / count);
        *y = (REAL)(sum_of(TERM_DEVIATION, x, walk, mean) / (count - (double)option->correction));
    }
    }
}

/* ---- Columns: results side by side ---- */

/* sum[j] over rows of term(x[row, j], c[j]): 64 rows in REAL, those sums in double. */
ALWAYS_INLINE void sum_columns(enum term_op op, double *restrict sum, const REAL *x, const struct reduce_walk *walk, int64_t width,
                               const REAL *restrict c) {
    REAL part[REDUCE_TILE];
    for (int64_t j = 0; j < width; ++j) sum[j] = 0;
    for (int64_t begin = 0; begin < walk->segments; begin += 64) {
        int64_t end = walk->segments - begin < 64 ? walk->segments : begin + 64, s = begin;
        for (int64_t j = 0; j < width; ++j) part[j] = 0;
        for (; s + 4 <= end; s += 4) {
            const REAL *x0 = x + reduce_segment(walk, s), *x1 = x + reduce_segment(walk, s + 1);
            const REAL *x2 = x + reduce_segment(walk, s + 2), *x3 = x + reduce_segment(walk, s + 3);
#pragma omp simd
            for (int64_t j = 0; j < width; ++j)
                part[j] += (term(op, x0[j], c[j]) + term(op, x1[j], c[j])) + (term(op, x2[j], c[j]) + term(op, x3[j], c[j]));
        }
        for (; s < end; ++s) {
            const REAL *x0 = x + reduce_segment(walk, s);
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) part[j] += term(op, x0[j], c[j]);
        }
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) sum[j] += (double)part[j];
    }
}

ALWAYS_INLINE void largest_columns(enum largest_op op, REAL *restrict m, const REAL *x, const struct reduce_walk *walk, int64_t width) {
    for (int64_t j = 0; j < width; ++j) m[j] = op == LARGEST_MAGNITUDE ? 0 : -(REAL)INFINITY;
    for (int64_t s = 0; s < walk->segments; ++s) {
        const REAL *at = x + reduce_segment(walk, s);
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) {
            REAL v = op == LARGEST_MAGNITUDE ? magnitude_of(at[j]) : op == LARGEST_NEGATED ? -at[j] : at[j];
            m[j] = max_of(m[j], v);
        }
    }
}

static void norm_euclidean_columns(REAL *y, const REAL *x, const struct reduce_walk *walk, int64_t width) {
    double sum[REDUCE_TILE];
    REAL largest[REDUCE_TILE];
    bool fits = true;
    sum_columns(TERM_SQUARE, sum, x, walk, width, y);
    for (int64_t j = 0; j < width; ++j) fits = fits && sum[j] >= SQUARE_LEAST && sum[j] <= SQUARE_MOST;
    if (fits) {
        for (int64_t j = 0; j < width; ++j) y[j] = (REAL)sqrt(sum[j]);
        return;
    }
    largest_columns(LARGEST_MAGNITUDE, largest, x, walk, width);
    sum_columns(TERM_SQUARE_SCALED, sum, x, walk, width, largest);
    for (int64_t j = 0; j < width; ++j)
        y[j] = !(largest[j] > 0) || largest[j] - largest[j] != 0 ? largest[j] : (REAL)((double)largest[j] * sqrt(sum[j]));
}

static void norm_columns(REAL *y, const REAL *x, const struct reduce_walk *walk, int64_t width, double p) {
    double sum[REDUCE_TILE] = {0};
    if (p == 2) {
        norm_euclidean_columns(y, x, walk, width);
    } else if (p == (double)INFINITY) {
        largest_columns(LARGEST_MAGNITUDE, y, x, walk, width);
    } else if (p == 1) {
        sum_columns(TERM_ABS, sum, x, walk, width, y);
        for (int64_t j = 0; j < width; ++j) y[j] = (REAL)sum[j];
    } else {
        for (int64_t s = 0; s < walk->segments; ++s) {
            const REAL *at = x + reduce_segment(walk, s);
            for (int64_t j = 0; j < width; ++j) sum[j] += p == 0 ? (double)(at[j] != 0) : pow(fabs((double)at[j]), p);
        }
        for (int64_t j = 0; j < width; ++j) y[j] = (REAL)(p == 0 ? sum[j] : pow(sum[j], 1 / p));
    }
}

static void product_columns(REAL *y, const REAL *x, const struct reduce_walk *walk, int64_t width) {
    double product[REDUCE_TILE];
    for (int64_t j = 0; j < width; ++j) product[j] = 1;
    for (int64_t s = 0; s < walk->segments; ++s) {
        const REAL *at = x + reduce_segment(walk, s);
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) product[j] *= (double)at[j];
    }
    for (int64_t j = 0; j < width; ++j) y[j] = (REAL)product[j];
}

static void log_sum_exp_columns(REAL *y, const REAL *x, const struct reduce_walk *walk, int64_t width) {
    double sum[REDUCE_TILE];
    REAL largest[REDUCE_TILE], centre[REDUCE_TILE];
    largest_columns(LARGEST, largest, x, walk, width);
    for (int64_t j = 0; j < width; ++j) centre[j] = largest[j] - largest[j] == 0 ? largest[j] : 0;
    sum_columns(TERM_EXP, sum, x, walk, width, centre);
    for (int64_t j = 0; j < width; ++j) y[j] = largest[j] - largest[j] != 0 ? largest[j] : largest[j] + (REAL)log(sum[j]);
}

static void first(REAL *y, const REAL *x, const struct reduce_walk *walk, int64_t width, const struct reduce_option *option) {
    double sum[REDUCE_TILE], count = (double)walk->segments;
    REAL mean[REDUCE_TILE] = {0};
    switch (option->op) {
    case REDUCE_MAX: largest_columns(LARGEST, y, x, walk, width); return;
    case REDUCE_MIN:
        largest_columns(LARGEST_NEGATED, y, x, walk, width);
        for (int64_t j = 0; j < width; ++j) y[j] = -y[j];
        return;
    case REDUCE_PRODUCT: product_columns(y, x, walk, width); return;
    case REDUCE_LOG_SUM_EXP: log_sum_exp_columns(y, x, walk, width); return;
    case REDUCE_NORM: norm_columns(y, x, walk, width, option->p); return;
    default: break;
    }
    sum_columns(TERM_SELF, sum, x, walk, width, mean);
    if (option->op != REDUCE_SUM)
        for (int64_t j = 0; j < width; ++j) sum[j] /= count;
    if (option->op == REDUCE_VAR) {
        for (int64_t j = 0; j < width; ++j) mean[j] = (REAL)sum[j];
        sum_columns(TERM_DEVIATION, sum, x, walk, width, mean);
        for (int64_t j = 0; j < width; ++j) sum[j] /= count - (double)option->correction;
    }
    for (int64_t j = 0; j < width; ++j) y[j] = (REAL)sum[j];
}
