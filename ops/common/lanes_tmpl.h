/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of lanes_simd.h for one element type: REAL, KEY (an integer of its width), KEY_ABSOLUTE (all its bits but the sign),
 * KEY_LEAST, and the names of what stands here. */

typedef REAL lanes __attribute__((vector_size(LANES_BYTES), aligned(sizeof(REAL)), may_alias));
typedef REAL half __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));
typedef REAL quarter __attribute__((vector_size(16), aligned(sizeof(REAL)), may_alias));
typedef KEY keys __attribute__((vector_size(LANES_BYTES), aligned(sizeof(REAL)), may_alias));
#define COUNT ((int64_t)(LANES_BYTES / sizeof(REAL)))

static inline REAL lanes_tree(const lanes *v) {
    quarter sum;
#if LANES_BYTES == 64
    half low, high;
    memcpy(&low, v, 32);
    memcpy(&high, (const char *)v + 32, 32);
    low += high;
    const half *pair = &low;
#else
    const lanes *pair = v;
#endif
    memcpy(&sum, pair, 16);
#if LANES_BYTES > 16
    quarter other;
    memcpy(&other, (const char *)pair + 16, 16);
    sum += other;
#endif
    return sizeof(REAL) == 8 ? sum[0] + sum[1] : (sum[0] + sum[16 / sizeof(REAL) / 2]) + (sum[1] + sum[16 / sizeof(REAL) - 1]);
}

static inline REAL lanes_sum(const REAL *x, int64_t n) {
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    int64_t i = 0;
    for (; i + 4 * COUNT <= n; i += 4 * COUNT) {
        s0 += *(const lanes *)(x + i);
        s1 += *(const lanes *)(x + i + COUNT);
        s2 += *(const lanes *)(x + i + 2 * COUNT);
        s3 += *(const lanes *)(x + i + 3 * COUNT);
    }
    for (; i + COUNT <= n; i += COUNT) s0 += *(const lanes *)(x + i);
    REAL r0 = 0, r1 = 0;
    for (; i + 2 <= n; i += 2) r0 += x[i], r1 += x[i + 1];
    if (i < n) r0 += x[i];
    s0 = (s0 + s1) + (s2 + s3);
    return lanes_tree(&s0) + (r0 + r1);
}

/* sum of (x - centre)^2 */
static inline REAL lanes_squares(const REAL *x, int64_t n, REAL centre) {
    const lanes c = (lanes){0} + centre;
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    int64_t i = 0;
    for (; i + 4 * COUNT <= n; i += 4 * COUNT) {
        lanes d0 = *(const lanes *)(x + i) - c, d1 = *(const lanes *)(x + i + COUNT) - c;
        lanes d2 = *(const lanes *)(x + i + 2 * COUNT) - c, d3 = *(const lanes *)(x + i + 3 * COUNT) - c;
        s0 += d0 * d0;
        s1 += d1 * d1;
        s2 += d2 * d2;
        s3 += d3 * d3;
    }
    for (; i + COUNT <= n; i += COUNT) {
        lanes d = *(const lanes *)(x + i) - c;
        s0 += d * d;
    }
    REAL r0 = 0, r1 = 0;
    for (; i + 2 <= n; i += 2) r0 += (x[i] - centre) * (x[i] - centre), r1 += (x[i + 1] - centre) * (x[i + 1] - centre);
    if (i < n) r0 += (x[i] - centre) * (x[i] - centre);
    s0 = (s0 + s1) + (s2 + s3);
    return lanes_tree(&s0) + (r0 + r1);
}

/* sum of a b */
static inline REAL lanes_dot(const REAL *a, const REAL *b, int64_t n) {
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    int64_t i = 0;
    for (; i + 4 * COUNT <= n; i += 4 * COUNT) {
        s0 += *(const lanes *)(a + i) * *(const lanes *)(b + i);
        s1 += *(const lanes *)(a + i + COUNT) * *(const lanes *)(b + i + COUNT);
        s2 += *(const lanes *)(a + i + 2 * COUNT) * *(const lanes *)(b + i + 2 * COUNT);
        s3 += *(const lanes *)(a + i + 3 * COUNT) * *(const lanes *)(b + i + 3 * COUNT);
    }
    for (; i + COUNT <= n; i += COUNT) s0 += *(const lanes *)(a + i) * *(const lanes *)(b + i);
    REAL r0 = 0, r1 = 0;
    for (; i + 2 <= n; i += 2) r0 += a[i] * b[i], r1 += a[i + 1] * b[i + 1];
    if (i < n) r0 += a[i] * b[i];
    s0 = (s0 + s1) + (s2 + s3);
    return lanes_tree(&s0) + (r0 + r1);
}

/* As lanes_sum, in blocks of 1024 whose sums are added in double: the error does not grow with the count. */
static inline double lanes_total(const REAL *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i += 1024) sum += (double)lanes_sum(x + i, n - i < 1024 ? n - i : 1024);
    return sum;
}

static inline keys keys_larger(keys best, const REAL *x) {
    keys key = *(const keys *)x;
    key ^= (key >> (8 * sizeof(REAL) - 1)) & KEY_ABSOLUTE;
    keys more = key > best;
    return (key & more) | (best & ~more);
}

/* The largest of n > 0; where there is a NaN, that or the largest of the others. Compared as integers: the bits of a positive number are
 * ordered as an integer's, a negative one's in reverse. */
static inline REAL lanes_max(const REAL *x, int64_t n) {
    keys best[4];
    for (int j = 0; j < 4; ++j) best[j] = (keys){0} + KEY_LEAST;
    int64_t i = 0;
    for (; i + 4 * COUNT <= n; i += 4 * COUNT)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) best[j] = keys_larger(best[j], x + i + j * COUNT);
    for (; i + COUNT <= n; i += COUNT) best[0] = keys_larger(best[0], x + i);
    KEY lane[LANES_BYTES / sizeof(REAL)], most = KEY_LEAST;
    for (int j = 1; j < 4; ++j) best[0] = (best[j] & (best[j] > best[0])) | (best[0] & ~(best[j] > best[0]));
    memcpy(lane, &best[0], sizeof lane);
    for (int64_t j = 0; j < COUNT; ++j) most = lane[j] > most ? lane[j] : most;
    for (; i < n; ++i) {
        KEY key;
        memcpy(&key, &x[i], sizeof key);
        key ^= (key >> (8 * sizeof(REAL) - 1)) & KEY_ABSOLUTE;
        most = key > most ? key : most;
    }
    most ^= (most >> (8 * sizeof(REAL) - 1)) & KEY_ABSOLUTE;
    REAL value;
    memcpy(&value, &most, sizeof value);
    return value;
}

/* Is there a NaN? */
static inline bool lanes_odd(const REAL *x, int64_t n) {
    keys odd = {0};
    int64_t i = 0;
    for (; i + COUNT <= n; i += COUNT) {
        lanes v = *(const lanes *)(x + i);
        odd |= v != v;
    }
    KEY lane[LANES_BYTES / sizeof(REAL)], any = 0;
    memcpy(lane, &odd, sizeof lane);
    for (int64_t j = 0; j < COUNT; ++j) any |= lane[j];
    for (; i < n; ++i) any |= x[i] != x[i];
    return any != 0;
}

#undef COUNT
