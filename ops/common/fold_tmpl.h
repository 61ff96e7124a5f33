/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of rows for one type: REAL, ROWS and FINISH (the functions' names) come from the including file. */

static void ROWS(REAL *sum, const REAL *const *row, int32_t rows, int64_t n) {
    const REAL *a = row[0], *b = rows > 1 ? row[1] : a, *c = rows > 2 ? row[2] : a, *d = rows > 3 ? row[3] : a;
    switch (rows) {
    case 1: LOOP sum[i] += a[i]; break;
    case 2: LOOP sum[i] += a[i] + b[i]; break;
    case 3: LOOP sum[i] += (a[i] + b[i]) + c[i]; break;
    default: LOOP sum[i] += (a[i] + b[i]) + (c[i] + d[i]); break;
    }
}

static void FINISH(const double *sum, REAL *to, int64_t n, bool add) {
    if (add) LOOP to[i] += (REAL)sum[i];
    else LOOP to[i] = (REAL)sum[i];
}
