/* SPDX-License-Identifier: Apache-2.0 */
/* Products of the CUDA device against a plain loop in double precision: by cuBLASLt's stand-in, by our own kernels, by both; strides,
 * batches, epilogues, workspaces; races in our kernels; the same bits every time. */
#include "base/half.h"
#include "base/memory.h"
#include "base/report.h"
#include "cuda_emulation/hooks.h"
#include "device/cuda/blas.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) cr_assert_eq((call), 0, "%s: %s", #call, cudaGetErrorString(cudaPeekAtLastError()))

struct random {
    uint64_t state;
};
static int64_t below(struct random *r, int64_t n) {
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(r->state >> 33) % n;
}

static double activation(double x, int32_t which) {
    switch (which) {
    case FLOW_ACTIVATION_RELU: return x < 0 ? 0 : x;
    case FLOW_ACTIVATION_SIGMOID: return 1 / (1 + exp(-x));
    case FLOW_ACTIVATION_TANH: return tanh(x);
    case FLOW_ACTIVATION_SILU: return x / (1 + exp(-x));
    case FLOW_ACTIVATION_GELU: return 0.5 * x * erfc(-x * 0.70710678118654752);
    default: return x;
    }
}

/* One product; operands in device memory of exactly their size, so that sanitizers see every access beyond them. */
struct product {
    struct flow_gemm g;
    void *a, *b, *c, *bias, *residual, *workspace;
    int64_t workspace_bytes, c_count;
    double *expected;
};

static void *values(int32_t dtype, int64_t count, int64_t shift, struct random *r) {
    void *made = NULL;
    OK(cudaMalloc(&made, (size_t)((count + shift) * dtype_bytes(dtype))));
    for (int64_t i = 0; i < count + shift; i++) half_write(made, dtype, i, (double)(below(r, 2001) - 1000) / 1000); /* the host sees it */
    return made;
}

static const void *shifted(const void *at, int32_t dtype, int64_t elements) { return (const char *)at + elements * dtype_bytes(dtype); }

static double at(const void *data, int32_t dtype, int64_t i) { return half_read(data, dtype, i); }

static void expect(struct product *p) {
    const struct flow_gemm *g = &p->g;
    const int64_t batch = g->batch > 0 ? g->batch : 1;
    p->expected = malloc((size_t)p->c_count * sizeof(double));
    for (int64_t i = 0; i < p->c_count; i++) p->expected[i] = at(g->c, g->dtype, i);
    for (int64_t x = 0; x < batch; x++)
        for (int64_t i = 0; i < g->m; i++)
            for (int64_t j = 0; j < g->n; j++) {
                const int64_t to = x * g->c_batch + i * g->c_row + j;
                double sum = g->bias ? at(g->bias, g->dtype, j) : 0;
                if (g->beta != 0) sum += p->expected[to];
                for (int64_t k = 0; k < g->k; k++)
                    sum += at(g->a, g->dtype, x * g->a_batch + i * g->a_row + k * g->a_col) *
                           at(g->b, g->dtype, x * g->b_batch + k * g->b_row + j * g->b_col);
                p->expected[to] = activation(sum, g->activation) + (g->residual ? at(g->residual, g->dtype, to) : 0);
            }
}

static int64_t span(int64_t rows, int64_t columns, int64_t row, int64_t column) {
    return rows > 0 && columns > 0 ? (rows - 1) * row + (columns - 1) * column + 1 : 1;
}

/* Is element i of C part of the product, or does it lie between rows or matrices? */
static bool inside(const struct flow_gemm *g, int64_t i) { return i % g->c_batch / g->c_row < g->m && i % g->c_batch % g->c_row < g->n; }

/* Draws extents, strides and everything else. */
static struct product product_new(struct random *r) {
    static const int64_t extents[] = {1, 2, 3, 4, 5, 7, 16, 31, 64, 65, 100, 129, 140};
    const int64_t shapes = (int64_t)(sizeof extents / sizeof extents[0]);
    struct product p = {.g = {.size = sizeof p.g}};
    struct flow_gemm *g = &p.g;
    g->dtype = below(r, 3) == 0 ? FLOW_F64 : FLOW_F32;
    g->m = extents[below(r, shapes)], g->n = extents[below(r, shapes)], g->k = extents[below(r, shapes)];
    if (below(r, 12) == 0) g->k = 0;
    if (below(r, 8) == 0) g->m = 1 + below(r, 40), g->n = 1 + below(r, 40), g->k = 2000 + below(r, 9); /* K in parts */
    if (below(r, 60) == 0) g->m = 1500, g->n = 1450, g->k = 9, g->dtype = FLOW_F32;                    /* large tiles */
    g->batch = below(r, 3) ? below(r, 2) : 1 + below(r, 3);
    const int64_t batch = g->batch > 0 ? g->batch : 1, apart = below(r, 8) == 0 ? 2 : 1; /* 2: no stride is 1 */
    if (below(r, 2)) g->a_col = apart, g->a_row = apart * g->k + below(r, 5);
    else g->a_row = apart, g->a_col = apart * g->m + below(r, 5);
    if (below(r, 2)) g->b_col = 1, g->b_row = g->n + below(r, 5);
    else g->b_row = 1, g->b_col = g->k + below(r, 5);
    if (below(r, 10) == 0) g->b_row = 0; /* one row, broadcast */
    g->c_row = g->n + below(r, 5);
    const int64_t a = span(g->m, g->k, g->a_row, g->a_col), b = span(g->k, g->n, g->b_row, g->b_col), shift = below(r, 3) ? 0 : below(r, 4);
    g->a_batch = below(r, 4) ? a : 0, g->b_batch = below(r, 4) ? b : 0, g->c_batch = span(g->m, g->n, g->c_row, 1) + below(r, 3);
    p.c_count = (batch - 1) * g->c_batch + span(g->m, g->n, g->c_row, 1);
    p.a = values(g->dtype, (batch - 1) * g->a_batch + a, shift, r), p.b = values(g->dtype, (batch - 1) * g->b_batch + b, shift, r);
    p.c = values(g->dtype, p.c_count, shift, r), p.residual = values(g->dtype, p.c_count, shift, r);
    p.bias = values(g->dtype, g->n, shift, r);
    g->a = shifted(p.a, g->dtype, shift), g->b = shifted(p.b, g->dtype, shift), g->c = (void *)(uintptr_t)shifted(p.c, g->dtype, shift);
    if (g->k == 0) g->a = g->b = NULL;
    if (below(r, 2)) g->bias = shifted(p.bias, g->dtype, shift);
    if (below(r, 3) == 0) g->residual = shifted(p.residual, g->dtype, shift);
    g->beta = (double)below(r, 2);
    g->activation = below(r, 2) ? (int32_t)below(r, 6) : FLOW_ACTIVATION_NONE;
    if (g->beta == 0) /* what is there does not count */
        for (int64_t i = 0; i < p.c_count; i++)
            if (inside(g, i)) half_write(g->c, g->dtype, i, NAN);
    p.workspace_bytes = below(r, 3) == 0 ? 0 : below(r, 2) ? 1 << 20 : 20000;
    if (p.workspace_bytes) OK(cudaMalloc(&p.workspace, (size_t)p.workspace_bytes));
    expect(&p);
    return p;
}

static void product_free(struct product *p) {
    OK(cudaFree(p->a));
    OK(cudaFree(p->b));
    OK(cudaFree(p->c));
    OK(cudaFree(p->bias));
    OK(cudaFree(p->residual));
    OK(cudaFree(p->workspace));
    free(p->expected);
}

static void product_check(const struct product *p, int try) {
    const struct flow_gemm *g = &p->g;
    const double allowed = (g->dtype == FLOW_F64 ? 1e-14 : 4e-7) * (10 + 3 * sqrt((double)g->k) + 0.02 * (double)g->k);
    for (int64_t i = 0; i < p->c_count; i++) {
        const double got = at(g->c, g->dtype, i);
        cr_assert(inside(g, i) || got == p->expected[i], "try %d: element %d lies between rows", try, (int)i);
        cr_assert(fabs(got - p->expected[i]) <= allowed * (1 + fabs(p->expected[i])),
                  "try %d, element %d: %g, expected %g (m %d n %d k %d batch %d dtype %d, a %d %d, b %d %d, activation %d, workspace %d)",
                  try, (int)i, got, p->expected[i], (int)g->m, (int)g->n, (int)g->k, (int)g->batch, (int)g->dtype, (int)g->a_row,
                  (int)g->a_col, (int)g->b_row, (int)g->b_col, (int)g->activation, (int)p->workspace_bytes);
    }
}

static void many(int mode, int tries, uint64_t seed, const char *name) {
    struct cuda_blas *blas = NULL;
    cudaStream_t stream;
    struct random r = {seed};
#ifdef __SANITIZE_THREAD__ /* each switch between a block's threads costs it microseconds */
    tries /= 8;
#endif
    cuda_emulation_reset();
    cuda_emulation_cublas_mode(mode);
    OK(cuda_blas_new(&memory_default, &blas));
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (int i = 0; i < tries; i++) {
        struct product p = product_new(&r);
        int error = 0;
        cuda_emulation_seed((uint64_t)i % 5);
        cr_assert_eq(cuda_gemm(blas, &p.g, stream, p.workspace, p.workspace_bytes, &error), FLOW_OK, "error %d", error);
        OK(cudaStreamSynchronize(stream));
        product_check(&p, i);
        product_free(&p);
    }
    cr_assert_str_eq(cuda_blas_name(blas), name);
    OK(cudaStreamDestroy(stream));
    cuda_blas_free(blas);
    cuda_emulation_cublas_mode(1);
}

Test(products, by_the_library) { many(1, 250, 1, "cuBLASLt 13.0.0"); }
Test(products, by_our_own_kernels) { many(0, 250, 2, "own kernels"); }
Test(products, where_the_library_lacks_some) { many(2, 150, 3, "cuBLASLt 13.0.0"); }
Test(products, our_kernels_have_no_races) {
    cuda_emulation_check(1);
    many(0, 60, 4, "own kernels");
    cuda_emulation_check(0);
}

/* More shapes than are kept, twice over. */
Test(products, many_shapes) {
    struct cuda_blas *blas = NULL;
    void *data = NULL;
    cuda_emulation_reset();
    OK(cuda_blas_new(&memory_default, &blas));
    OK(cudaMalloc(&data, 3 * 40 * 40 * 4));
    float *a = data, *b = a + 1600, *c = b + 1600;
    for (int i = 0; i < 3200; i++) a[i] = 1;
    for (int64_t i = 0; i < 2600; i++) {
        const int64_t m = 2 + i % 37, n = 2 + i / 37 % 35;
        struct flow_gemm g = {sizeof g, m, n, 2, 1, a, 2, 1, 0, b, n, 1, 0, NULL, c, n, 0, NULL, 0, FLOW_F32, FLOW_ACTIVATION_NONE, NULL};
        int error = 0;
        cr_assert_eq(cuda_gemm(blas, &g, NULL, NULL, 0, &error), FLOW_OK);
        OK(cudaDeviceSynchronize());
        cr_assert(c[0] == 2 && c[m * n - 1] == 2);
    }
    OK(cudaFree(data));
    cuda_blas_free(blas);
}

Test(products, the_same_bits_every_time) {
    struct cuda_blas *blas = NULL;
    struct random r = {9};
    cuda_emulation_reset();
    cuda_emulation_cublas_mode(0);
    OK(cuda_blas_new(&memory_default, &blas));
    for (int64_t k = 100; k <= 6000; k += 1475)
        for (int64_t n = 1; n <= 40; n += 13) {
            const int64_t m = 33;
            void *a = values(FLOW_F32, m * k, 0, &r), *b = values(FLOW_F32, k * n, 0, &r), *c = values(FLOW_F32, m * n, 0, &r),
                 *workspace = NULL;
            float first[33 * 40];
            OK(cudaMalloc(&workspace, 1 << 20));
            struct flow_gemm g = {sizeof g, m, n, k, 1, a, k, 1, 0, b, n, 1, 0, NULL, c, n, 0, NULL, 0, FLOW_F32, FLOW_ACTIVATION_GELU,
                                  NULL};
            for (uint64_t seed = 0; seed < 5; seed++) {
                int error = 0;
                cuda_emulation_seed(seed);
                cr_assert_eq(cuda_gemm(blas, &g, NULL, workspace, 1 << 20, &error), FLOW_OK);
                OK(cudaDeviceSynchronize());
                if (seed == 0) memcpy(first, c, (size_t)(m * n) * 4);
                cr_assert_eq(memcmp(first, c, (size_t)(m * n) * 4), 0);
            }
            OK(cudaFree(a));
            OK(cudaFree(b));
            OK(cudaFree(c));
            OK(cudaFree(workspace));
        }
    cuda_blas_free(blas);
    cuda_emulation_cublas_mode(1);
}

Test(products, what_is_not_a_product_is_refused) {
    struct cuda_blas *blas = NULL;
    float x = 0;
    int error = 0;
    cuda_emulation_reset();
    OK(cuda_blas_new(&memory_default, &blas));
    struct flow_gemm g = {sizeof g, 1, 1, 1, 1, &x, 1, 1, 0, NULL, 1, 1, 0, &x, &x, 1, 0, NULL, 0, FLOW_F32, FLOW_ACTIVATION_NONE, NULL};
    cr_assert_eq(cuda_gemm(blas, &g, NULL, NULL, 0, &error), FLOW_ERROR_UNSUPPORTED);
    g.packed_b = NULL, g.b = &x, g.dtype = FLOW_I32;
    cr_assert_eq(cuda_gemm(blas, &g, NULL, NULL, 0, &error), FLOW_ERROR_UNSUPPORTED);
    g.dtype = FLOW_F32, g.m = 0;
    cr_assert_eq(cuda_gemm(blas, &g, NULL, NULL, 0, &error), FLOW_OK);
    cuda_blas_free(blas);
    cuda_blas_free(NULL);
}
