/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of columns for one element type: REAL, and the name sum. */

static void sum(double *total, const REAL *x, int64_t rows, int64_t stride, int64_t width) {
    REAL part[512];
    for (int64_t j = 0; j < width; j += 512) {
        const REAL *tile = x + j;
        double *to = total + j;
        int64_t columns = width - j < 512 ? width - j : 512;
        for (int64_t c = 0; c < columns; ++c) to[c] = 0;
        for (int64_t begin = 0; begin < rows; begin += 64) {
            int64_t end = rows - begin < 64 ? rows : begin + 64, i = begin;
            for (int64_t c = 0; c < columns; ++c) part[c] = 0;
            for (; i + 4 <= end; i += 4) {
                const REAL *x0 = tile + i * stride, *x1 = x0 + stride, *x2 = x1 + stride, *x3 = x2 + stride;
#pragma omp simd
                for (int64_t c = 0; c < columns; ++c) part[c] += (x0[c] + x1[c]) + (x2[c] + x3[c]);
            }
            for (; i < end; ++i) {
                const REAL *x0 = tile + i * stride;
#pragma omp simd
                for (int64_t c = 0; c < columns; ++c) part[c] += x0[c];
            }
#pragma omp simd
            for (int64_t c = 0; c < columns; ++c) to[c] += (double)part[c];
        }
    }
}
