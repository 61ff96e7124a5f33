/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The discrete Fourier transform of real sequences of any size n, X[k] = sum_j x[j] exp(-2 pi i j k / n), k = 0 .. n/2, and its inverse.
 *
 * Everything that depends on the size alone (factors, twiddles, all computed in f64) lies in a table that the caller holds: an operator
 * fills it in `prepare` and finds it in `packed`. It holds no pointers, may be copied, and is read-only in use, by any number of threads.
 * Real and imaginary parts are arrays of their own. An even size is one complex transform of half the size; complex transforms are
 * Stockham's (self-sorting, decimation in frequency: Van Loan, "Computational Frameworks for the FFT", 1992, section 1.7), radices 4, 2, 3,
 * 5 and any prime up to FFT_PRIME_MOST; sizes with a larger prime go through a cyclic convolution of a power of two (Bluestein, 1970).
 */
#ifndef OPS_COMMON_FFT_H
#define OPS_COMMON_FFT_H

#include "common/simd.h"

enum { FFT_SIZE_MOST = 1 << 24, FFT_PRIME_MOST = 31, FFT_STAGES_MOST = 32 };

/* At the head of a table. Offsets count elements of the table's type from the table's start. */
struct fft_table {
    int64_t size;   /* n, real */
    int64_t points; /* of the complex transform: n/2 where n is even, else n */
    int64_t length; /* that the stages below transform: points, or Bluestein's power of two */
    int64_t unpack; /* exp(-2 pi i k / n), k < points; n even */
    int64_t chirp;  /* exp(-pi i k^2 / points); Bluestein, else 0 */
    int64_t kernel; /* transform of the conjugated chirp, over `length`; Bluestein */
    int32_t stages;
    int32_t radix[FFT_STAGES_MOST];
    int64_t twiddle[FFT_STAGES_MOST]; /* [radix - 1][real, imaginary][length / radices so far] */
    int64_t roots[FFT_STAGES_MOST];   /* of a radix above 5: exp(-2 pi i k / radix), [real, imaginary][radix] */
};

int64_t fft_table_bytes(int64_t size, int32_t dtype);          /* FLOW_F32 or FLOW_F64; 0: the size is not in [1, FFT_SIZE_MOST] */
void fft_table_fill(int64_t size, int32_t dtype, void *table); /* `table` 64-byte aligned, as the memory of the host is */
int64_t fft_work_bytes(int64_t size, int32_t dtype);           /* scratch of one transform, the same alignment */

/* x[size], re[size/2 + 1], im[size/2 + 1]. The inverse divides by the size and ignores im[0] and, for an even size, im[size/2]. */
struct fft_functions {
    void (*forward_f32)(const void *table, const float *x, float *re, float *im, void *work);
    void (*inverse_f32)(const void *table, const float *re, const float *im, float *x, void *work);
    void (*forward_f64)(const void *table, const double *x, double *re, double *im, void *work);
    void (*inverse_f64)(const void *table, const double *re, const double *im, double *x, void *work);
};
ISA_DECLARE(struct fft_functions, fft_functions);

#endif
