/* SPDX-License-Identifier: Apache-2.0 */
/* The Fourier transform against its definition: sizes of every radix, of large primes (Bluestein), 1, odd; in each instruction set. */
#include <criterion/criterion.h>

#include "common/fft.h"

#include <math.h>
#include <stdlib.h>

#if defined(__x86_64__)
#define CAN(feature) __builtin_cpu_supports(feature)
#endif

struct set {
    const char *name;
    const struct fft_functions *functions;
};

static int sets(struct set out[3]) {
    int count = 0;
    out[count++] = (struct set){"base", ISA_PICK(fft_functions, FLOW_ISA_BASE)};
#ifdef CAN
    if (CAN("avx2") && CAN("fma") && CAN("f16c")) out[count++] = (struct set){"avx2", ISA_PICK(fft_functions, FLOW_ISA_AVX2)};
    if (CAN("avx512f") && CAN("avx512bw") && CAN("avx512dq") && CAN("avx512vl"))
        out[count++] = (struct set){"avx512", ISA_PICK(fft_functions, FLOW_ISA_AVX512)};
#endif
    return count;
}

struct reference {
    int64_t size;
    double *x, *re, *im, largest;
};

static struct reference reference_new(int64_t size) {
    struct reference r = {.size = size};
    r.x = calloc((size_t)size, sizeof *r.x);
    r.re = calloc((size_t)size, sizeof *r.re), r.im = calloc((size_t)size, sizeof *r.im);
    uint32_t seed = (uint32_t)size;
    for (int64_t n = 0; n < size; n++) seed = seed * 1664525u + 1013904223u, r.x[n] = (float)(seed >> 8) / (float)(1 << 24) - 0.5f;
    for (int64_t k = 0; k <= size / 2; k++) {
        for (int64_t n = 0; n < size; n++) {
            double angle = -2 * 3.14159265358979323846 * (double)(k * n % size) / (double)size;
            r.re[k] += r.x[n] * cos(angle), r.im[k] += r.x[n] * sin(angle);
        }
        r.largest = fmax(r.largest, hypot(r.re[k], r.im[k]));
    }
    return r;
}

static void reference_free(struct reference *r) { free(r->x), free(r->re), free(r->im); }

/* The largest error of the spectrum, and of the samples that come back, over the largest bin. */
static double error_f64(const struct reference *r, const struct fft_functions *f, const void *table, void *work) {
    size_t n = (size_t)r->size, bins = n / 2 + 1;
    double *re = calloc(bins, 8), *im = calloc(bins, 8), *x = calloc(n, 8), worst = 0;
    f->forward_f64(table, r->x, re, im, work);
    for (size_t k = 0; k < bins; k++) worst = fmax(worst, fmax(fabs(re[k] - r->re[k]), fabs(im[k] - r->im[k])));
    im[0] = 7; /* not read */
    if (n % 2 == 0) im[n / 2] = -3;
    f->inverse_f64(table, re, im, x, work);
    for (size_t k = 0; k < n; k++) worst = fmax(worst, fabs(x[k] - r->x[k]));
    free(re), free(im), free(x);
    return worst / r->largest;
}

static double error_f32(const struct reference *r, const struct fft_functions *f, const void *table, void *work) {
    size_t n = (size_t)r->size, bins = n / 2 + 1;
    float *re = calloc(bins, 4), *im = calloc(bins, 4), *x = calloc(n, 4);
    double worst = 0;
    for (size_t k = 0; k < n; k++) x[k] = (float)r->x[k];
    f->forward_f32(table, x, re, im, work);
    for (size_t k = 0; k < bins; k++) worst = fmax(worst, fmax(fabs(re[k] - r->re[k]), fabs(im[k] - r->im[k])));
    im[0] = 7;
    if (n % 2 == 0) im[n / 2] = -3;
    f->inverse_f32(table, re, im, x, work);
    for (size_t k = 0; k < n; k++) worst = fmax(worst, fabs(x[k] - r->x[k]));
    free(re), free(im), free(x);
    return worst / r->largest;
}

static void check_size(int64_t size) {
    struct reference r = reference_new(size);
    struct set set[3];
    int count = sets(set);
    for (int wide = 0; wide < 2; wide++) {
        int32_t dtype = wide ? FLOW_F64 : FLOW_F32;
        void *table = aligned_alloc(64, (size_t)fft_table_bytes(size, dtype)),
             *work = aligned_alloc(64, (size_t)fft_work_bytes(size, dtype));
        fft_table_fill(size, dtype, table);
        for (int i = 0; i < count; i++) {
            double error = wide ? error_f64(&r, set[i].functions, table, work) : error_f32(&r, set[i].functions, table, work);
            cr_expect(error < (wide ? 1e-14 : 2e-6), "size %d, %s, %s: off by %g", (int)size, wide ? "f64" : "f32", set[i].name, error);
        }
        free(table), free(work);
    }
    reference_free(&r);
}

Test(fft, every_small_size) {
    for (int64_t size = 1; size <= 130; size++) check_size(size);
}

Test(fft, sizes_of_speech_and_large_primes) {
    static const int64_t sizes[] = {256, 320, 400, 512, 640, 960, 1009, 1024, 2 * 1009, 1331};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) check_size(sizes[i]);
}

Test(fft, sizes_that_cannot_be) {
    cr_expect(fft_table_bytes(0, FLOW_F32) == 0);
    cr_expect(fft_table_bytes(-4, FLOW_F32) == 0);
    cr_expect(fft_table_bytes((int64_t)FFT_SIZE_MOST + 1, FLOW_F64) == 0);
}
