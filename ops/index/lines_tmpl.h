/* SPDX-License-Identifier: Apache-2.0 */
/* One element type: TYPE, SUM (what it is summed in), COLUMNS, ROWS, BEST (the kernels' names) come from the including file. */

static void COLUMNS(const void *from, void *to, int64_t steps, int64_t n, int64_t inner, bool exclusive, bool reverse, bool add,
                    void *sums) {
    SUM *sum = sums;
    for (int64_t t = 0; t < steps; t++) {
        int64_t at = (reverse ? steps - 1 - t : t) * inner;
        const TYPE *x = (const TYPE *)from + at;
        TYPE *y = (TYPE *)to + at;
        if (add) LOOP {
                SUM before = sum[i];
                sum[i] = before + (SUM)x[i];
                y[i] = (TYPE)(y[i] + (TYPE)(exclusive ? before : sum[i]));
            }
        else if (exclusive) LOOP {
                SUM before = sum[i];
                sum[i] = before + (SUM)x[i];
                y[i] = (TYPE)before;
            }
        else LOOP {
                sum[i] += (SUM)x[i];
                y[i] = (TYPE)sum[i];
            }
    }
}

static void ROWS(const void *from, void *to, int64_t steps, int64_t rows, bool exclusive, bool reverse, bool add, void *sums) {
    const TYPE *x = from;
    TYPE *y = to;
    SUM *all = sums;
    if (rows == SCAN_ROWS) {
        SUM sum[SCAN_ROWS];
        for (int r = 0; r < SCAN_ROWS; r++) sum[r] = all[r];
        for (int64_t t = 0; t < steps; t++) {
            int64_t at = reverse ? steps - 1 - t : t;
            for (int r = 0; r < SCAN_ROWS; r++) {
                SUM before = sum[r];
                sum[r] = before + (SUM)x[r * steps + at];
                TYPE value = (TYPE)(exclusive ? before : sum[r]);
                y[r * steps + at] = add ? (TYPE)(y[r * steps + at] + value) : value;
            }
        }
        for (int r = 0; r < SCAN_ROWS; r++) all[r] = sum[r];
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        SUM sum = all[r];
        for (int64_t t = 0; t < steps; t++) {
            int64_t at = r * steps + (reverse ? steps - 1 - t : t);
            SUM before = sum;
            sum = before + (SUM)x[at];
            TYPE value = (TYPE)(exclusive ? before : sum);
            y[at] = add ? (TYPE)(y[at] + value) : value;
        }
        all[r] = sum;
    }
}

/* Block by block the extreme alone; then the place within the first block that has it. */
static int64_t BEST(const void *from, int64_t count, bool least) {
    enum { BLOCK = 1024 };
    const TYPE *x = from;
    TYPE best = x[0];
    int64_t place = 0;
    for (int64_t begin = 0; begin < count; begin += BLOCK) {
        int64_t n = count - begin < BLOCK ? count - begin : BLOCK;
        const TYPE *block = x + begin;
        TYPE extreme = block[0];
        int nan = 0;
        if (least) {
#pragma omp simd reduction(min : extreme) reduction(| : nan)
            for (int64_t i = 0; i < n; i++) {
                extreme = block[i] < extreme ? block[i] : extreme;
                nan |= block[i] != block[i];
            }
        } else {
#pragma omp simd reduction(max : extreme) reduction(| : nan)
            for (int64_t i = 0; i < n; i++) {
                extreme = block[i] > extreme ? block[i] : extreme;
                nan |= block[i] != block[i];
            }
        }
        if (nan) {
            while (*block == *block) block++;
            return block - x;
        }
        if (begin == 0 || (least ? extreme < best : extreme > best)) best = extreme, place = begin;
    }
    while (x[place] != best) place++;
    return place;
}
