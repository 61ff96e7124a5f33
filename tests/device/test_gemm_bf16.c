/* SPDX-License-Identifier: Apache-2.0 */
/* Products of f32 matrices in bf16 against a plain loop over rounded factors in double precision: layouts, odd extents, batches, epilogues,
 * instruction sets; the same bytes for any number of threads and rows. */
#include "base/half.h"
#include "device/device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum layout { ROWS, COLUMNS, STRIDED, PACKED, PACKED_BF16, LAYOUTS };

struct shape {
    int64_t m, n, k, batch;
    enum layout b;
    int a; /* 0: rows contiguous, 1: columns, 2: neither */
    bool bias, residual;
    double beta;
    int32_t activation;
};

static double draw(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return (double)(*state >> 11) * 0x1p-52 - 1.0;
}

static float *values(int64_t count, uint64_t *state) {
    float *x = malloc((size_t)count * sizeof *x + 1);
    for (int64_t i = 0; i < count; i++) x[i] = (float)draw(state);
    return x;
}

struct product {
    struct flow_gemm g;
    float *a, *b, *c, *bias, *residual;
    void *packed;
    int64_t c_count;
};

static void make(struct product *p, const struct flow_host *host, const struct shape *s, uint64_t seed) {
    uint64_t state = seed * 7919 + 1;
    const int64_t batch = s->batch ? s->batch : 1, gap = s->a == 2 ? 2 : 1, b_gap = s->b == STRIDED ? 3 : 1;
    const int64_t a_count = s->m * s->k * gap, b_count = s->k * s->n * b_gap;
    p->a = values(a_count * batch, &state), p->b = values(b_count * batch, &state), p->bias = values(s->n, &state);
    p->c_count = s->m * (s->n + 3) * batch, p->c = values(p->c_count, &state), p->packed = NULL;
    p->residual = values(p->c_count, &state);
    p->g = (struct flow_gemm){.m = s->m,
                              .n = s->n,
                              .k = s->k,
                              .batch = s->batch,
                              .a = p->a,
                              .a_row = s->a == 1 ? 1 : s->k * gap,
                              .a_col = s->a == 1 ? s->m : gap,
                              .a_batch = a_count,
                              .b = p->b,
                              .b_row = s->b == COLUMNS ? 1 : s->n * b_gap,
                              .b_col = s->b == COLUMNS ? s->k : b_gap,
                              .b_batch = b_count,
                              .c = p->c,
                              .c_row = s->n + 3,
                              .c_batch = s->m * (s->n + 3),
                              .bias = s->bias ? p->bias : NULL,
                              .beta = s->beta,
                              .activation = s->activation,
                              .residual = s->residual ? p->residual : NULL,
                              .size = sizeof p->g,
                              .dtype = FLOW_F32};
    if (s->b < PACKED) return;
    p->packed = malloc((size_t)host->gemm_packed_bytes(host, FLOW_F32, s->k, s->n) + 1);
    uint16_t *half = malloc((size_t)b_count * 2 + 1);
    for (int64_t i = 0; i < b_count; i++) half[i] = half_f32_to_bf16(p->b[i]);
    const bool halves = s->b == PACKED_BF16;
    host->gemm_pack(host, FLOW_F32, s->k, s->n, halves ? (void *)half : p->b, halves ? FLOW_BF16 : FLOW_F32, p->g.b_row, p->g.b_col,
                    p->packed);
    free(half);
    p->g.packed_b = p->packed, p->g.b = NULL, p->g.b_batch = 0;
}

static void drop(struct product *p) { free(p->a), free(p->b), free(p->c), free(p->bias), free(p->residual), free(p->packed); }

static double rounded(float x) { return (double)half_bf16_to_f32(half_f32_to_bf16(x)); }

static void check(const struct flow_host *host, const struct shape *s, uint64_t seed) {
    struct product p;
    make(&p, host, s, seed);
    const struct flow_call call = {.size = sizeof call, .host = host};
    float *before = malloc((size_t)p.c_count * sizeof *before + 1);
    memcpy(before, p.c, (size_t)p.c_count * sizeof *before);
    cr_assert(host->gemm(&call, &p.g) == 0);
    for (int64_t batch = 0; batch < (s->batch ? s->batch : 1); batch++)
        for (int64_t i = 0; i < s->m; i++)
            for (int64_t j = 0; j < s->n + 3; j++) {
                const int64_t at = batch * p.g.c_batch + i * p.g.c_row + j;
                if (j >= s->n) {
                    cr_assert(p.c[at] == before[at], "a gap was written to");
                    continue;
                }
                double sum = s->beta != 0 ? (double)before[at] : 0, size = fabs(sum) + 1;
                for (int64_t t = 0; t < s->k; t++) {
                    const double product = rounded(p.a[batch * p.g.a_batch + i * p.g.a_row + t * p.g.a_col]) *
                                           rounded(p.b[(p.g.b ? batch : 0) * p.g.b_batch + t * p.g.b_row + j * p.g.b_col]);
                    sum += product, size += fabs(product);
                }
                if (s->bias) sum += (double)p.bias[j];
                if (s->activation == FLOW_ACTIVATION_RELU) sum = sum > 0 ? sum : 0;
                if (s->residual) sum += (double)p.residual[at], size += 1;
                cr_assert(fabs((double)p.c[at] - sum) <= 2e-7 * size, "%dx%dx%d, a %d, b %d, isa %d: C[%d,%d] is %.9g, expected %.9g",
                          (int)s->m, (int)s->n, (int)s->k, s->a, (int)s->b, host->isa, (int)i, (int)j, (double)p.c[at], sum);
            }
    free(before);
    drop(&p);
}

static struct device *device_new(int threads, int isa, struct flow_host *host) {
    struct device_cpu_options options = {.threads = threads, .isa = isa};
    struct device *device = NULL;
    cr_assert_eq(device_cpu_new(&memory_default, &options, &device), FLOW_OK);
    *host = *device->host;
    host->products = FLOW_BF16;
    return device;
}

Test(gemm_bf16, against_plain_loops) {
    static const int64_t sizes[][3] = {{1, 8, 1},     {1, 5, 7}, {3, 33, 16},  {12, 32, 64},   {13, 48, 31},  {25, 17, 65},
                                       {40, 70, 129}, {7, 9, 0}, {2, 600, 33}, {26, 40, 1100}, {100, 37, 515}};
    for (int isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++) {
        struct flow_host host;
        struct device *device = device_new(1, isa, &host);
        uint64_t seed = 1;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int b = 0; b < LAYOUTS; b++)
                for (int a = 0; a < 3; a++, seed++) {
                    struct shape s = {.m = sizes[i][0], .n = sizes[i][1], .k = sizes[i][2], .b = (enum layout)b, .a = a};
                    s.bias = seed % 2, s.beta = seed % 3 == 0, s.activation = seed % 5 == 0 ? FLOW_ACTIVATION_RELU : FLOW_ACTIVATION_NONE;
                    s.batch = seed % 4 == 0 ? 3 : 0, s.residual = seed % 7 < 3;
                    check(&host, &s, seed);
                }
        device->api->free(device);
    }
}

/* Narrow products and those of f64 are not touched by the mode. */
Test(gemm_bf16, others_stay_exact) {
    struct flow_host host;
    struct device *device = device_new(1, -1, &host);
    const struct flow_call call = {.size = sizeof call, .host = &host};
    const float a[2] = {1.0009765625f, 1}, b[2] = {1, 1};
    float c = 0;
    cr_assert(host.gemm(&call, &(struct flow_gemm){.m = 1, .n = 1, .k = 2, .a = a, .a_col = 1, .b = b, .b_row = 1, .b_col = 2, .c = &c}) ==
              0);
    cr_expect(c == 2.0009765625f);
    double wide[16], one[16], result[16];
    for (int i = 0; i < 16; i++) wide[i] = i % 5 == 0 ? 1 + 0x1p-40 : 0, one[i] = i + 0x1p-30;
    const struct flow_gemm g = {.m = 4,
                                .n = 4,
                                .k = 4,
                                .a = wide,
                                .a_row = 4,
                                .a_col = 1,
                                .b = one,
                                .b_row = 4,
                                .b_col = 1,
                                .c = result,
                                .c_row = 4,
                                .dtype = FLOW_F64};
    cr_assert(host.gemm(&call, &g) == 0);
    for (int i = 0; i < 16; i++) cr_expect(fabs(result[i] - one[i] * (1 + 0x1p-40)) < 1e-14);
    device->api->free(device);
}

/* NaN and infinity go through, whatever their bits. */
Test(gemm_bf16, special_values) {
    for (int isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++) {
        struct flow_host host;
        struct device *device = device_new(1, isa, &host);
        const struct flow_call call = {.size = sizeof call, .host = &host};
        float a[8] = {0}, b[64], c[64];
        for (int i = 0; i < 64; i++) b[i] = 1;
        const uint32_t bits = 0x7fffffffu;
        memcpy(&a[0], &bits, sizeof bits);
        a[1] = INFINITY, a[2] = 3.4e38f, a[3] = 2;
        cr_assert(
            host.gemm(&call,
                      &(struct flow_gemm){
                          .m = 4, .n = 16, .k = 1, .a = a, .a_row = 1, .a_col = 1, .b = b, .b_row = 16, .b_col = 1, .c = c, .c_row = 16}) ==
            0);
        cr_expect(isnan(c[0]) && isinf(c[16]) && isinf(c[32]) && c[48] == 2, "%g %g %g %g", (double)c[0], (double)c[16], (double)c[32],
                  (double)c[48]);
        device->api->free(device);
    }
}

Test(gemm_bf16, threads_and_rows) {
    for (int layout = 0; layout < LAYOUTS; layout++) {
        struct shape s = {.m = 300, .n = 260, .k = 700, .b = (enum layout)layout, .a = layout % 2};
        struct flow_host one, many;
        struct device *first = device_new(1, -1, &one), *second = device_new(5, -1, &many);
        struct product p, q, few;
        make(&p, &one, &s, 5), make(&q, &many, &s, 5), make(&few, &one, &s, 5);
        few.g.m = 3;
        const struct flow_call by_one = {.size = sizeof by_one, .host = &one}, by_many = {.size = sizeof by_many, .host = &many};
        cr_assert(one.gemm(&by_one, &p.g) == 0 && many.gemm(&by_many, &q.g) == 0 && one.gemm(&by_one, &few.g) == 0);
        cr_expect(memcmp(p.c, q.c, (size_t)p.c_count * sizeof *p.c) == 0, "threads change the product");
        cr_expect(memcmp(p.c, few.c, (size_t)(3 * p.g.c_row) * sizeof *p.c) == 0, "rows change the product");
        drop(&p), drop(&q), drop(&few);
        first->api->free(first), second->api->free(second);
    }
}
