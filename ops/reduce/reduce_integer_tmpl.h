/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of reduce_integer.c for one type: INTEGER, UNSIGNED (of its width), LEAST, MOST, and the names fold, results. */

/* One more element. */
static inline INTEGER fold(enum reduce_op op, INTEGER so_far, INTEGER x) {
    switch (op) {
    case REDUCE_SUM: return (INTEGER)((UNSIGNED)so_far + (UNSIGNED)x);
    case REDUCE_PRODUCT: return (INTEGER)((uint64_t)so_far * (uint64_t)x);
    case REDUCE_MAX: return x > so_far ? x : so_far;
    case REDUCE_MIN: return x < so_far ? x : so_far;
    case REDUCE_ANY: return (INTEGER)(so_far != 0 || x != 0);
    default: return (INTEGER)(so_far != 0 && x != 0); /* REDUCE_ALL */
    }
}

static void results(INTEGER *y, const INTEGER *x, enum reduce_op op, bool last, const struct reduce_walk *walk, int64_t width) {
    INTEGER start = op == REDUCE_MAX ? LEAST : op == REDUCE_MIN ? MOST : op == REDUCE_PRODUCT || op == REDUCE_ALL ? 1 : 0;
    if (last) {
        INTEGER result = start;
        for (int64_t s = 0; s < walk->segments; ++s) {
            const INTEGER *at = x + reduce_segment(walk, s);
            for (int64_t i = 0; i < walk->run; ++i) result = fold(op, result, at[i]);
        }
        *y = result;
        return;
    }
    for (int64_t j = 0; j < width; ++j) y[j] = start;
    for (int64_t s = 0; s < walk->segments; ++s) {
        const INTEGER *at = x + reduce_segment(walk, s);
        for (int64_t j = 0; j < width; ++j) y[j] = fold(op, y[j], at[j]);
    }
}
