/* SPDX-License-Identifier: Apache-2.0 */
/* Products of the CPU device against a plain loop in double precision: every path, strides, batches, epilogues, instruction sets; the same
 * bytes for any number of threads and rows. */
#include "base/half.h"
#include "device/device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum layout { B_ROWS, B_COLUMNS, B_STRIDED, B_PACKED, B_PACKED_COLUMNS, B_PACKED_F16, B_PACKED_BF16, B_LAYOUTS };

struct shape {
    int64_t m, n, k, batch;
    enum layout b;
    bool a_columns; /* A's columns are contiguous instead of its rows */
    bool a_strided;
    bool bias, residual;
    double beta;
    int32_t activation;
};

/* xorshift: numbers in [-1, 1). */
static double draw(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return (double)(*state >> 11) * 0x1p-52 - 1.0;
}

static double activation(double x, int32_t which) {
    switch (which) {
    case FLOW_ACTIVATION_RELU: return x > 0 ? x : 0;
    case FLOW_ACTIVATION_SIGMOID: return 1 / (1 + exp(-x));
    case FLOW_ACTIVATION_TANH: return tanh(x);
    case FLOW_ACTIVATION_SILU: return x / (1 + exp(-x));
    case FLOW_ACTIVATION_GELU: return 0.5 * x * erfc(-x * sqrt(0.5));
    default: return x;
    }
}

static struct device *device_new(int threads, int isa) {
    struct device_cpu_options options = {.threads = threads, .isa = isa};
    struct device *device = NULL;
    cr_assert_eq(device_cpu_new(&memory_default, &options, &device), FLOW_OK);
    return device;
}

/* Everything about one product; operands in memory of exactly their size, so that sanitizers see every read beyond them. */
struct product {
    struct flow_gemm g;
    void *a, *b, *c, *bias, *residual, *packed;
    int64_t c_count;
};

static void *values(int32_t dtype, int64_t count, uint64_t *state) {
    void *data = malloc((size_t)(count * dtype_bytes(dtype)) + 1);
    for (int64_t i = 0; i < count; i++) half_write(data, dtype, i, draw(state));
    return data;
}

static struct product product_new(const struct shape *s, int32_t dtype, const struct flow_host *host) {
    uint64_t state = 88172645463325252u;
    const int64_t batch = s->batch ? s->batch : 1, pad = s->a_strided ? 3 : 0, step = s->a_strided ? 2 : 1;
    struct product p = {
        .g = {.m = s->m, .n = s->n, .k = s->k, .batch = s->batch, .beta = s->beta, .dtype = dtype, .activation = s->activation}};
    p.g.a_row = s->a_columns ? step : s->k * step + pad, p.g.a_col = s->a_columns ? s->m * step + pad : step;
    p.g.a_batch = (s->a_columns ? s->k : s->m) * ((s->a_columns ? s->m : s->k) * step + pad);
    p.a = values(dtype, batch * p.g.a_batch, &state);
    const bool packed = s->b >= B_PACKED, columns = s->b == B_COLUMNS || s->b == B_PACKED_COLUMNS;
    const int32_t b_dtype = s->b == B_PACKED_F16 ? FLOW_F16 : s->b == B_PACKED_BF16 ? FLOW_BF16 : dtype;
    const int64_t b_step = s->b == B_STRIDED ? 2 : 1;
    p.g.b_row = columns ? 1 : s->n * b_step + (s->b == B_STRIDED), p.g.b_col = columns ? s->k : b_step;
    const int64_t b_count = columns ? s->k * s->n : s->k * p.g.b_row;
    p.g.b_batch = packed ? 0 : b_count;
    p.b = values(b_dtype, (packed ? 1 : batch) * b_count, &state);
    p.g.c_row = s->n + (s->beta != 0 ? 5 : 0), p.g.c_batch = s->m * p.g.c_row + 1;
    p.c_count = batch * p.g.c_batch;
    p.c = values(dtype, p.c_count, &state);
    p.bias = s->bias ? values(dtype, s->n, &state) : NULL;
    p.residual = s->residual ? values(dtype, p.c_count, &state) : NULL;
    if (s->residual) p.g.residual = p.residual, p.g.size = sizeof p.g;
    p.g.a = p.a, p.g.b = p.b, p.g.c = p.c, p.g.bias = p.bias;
    if (packed) {
        int64_t bytes = host->gemm_packed_bytes(host, dtype, s->k, s->n);
        p.packed = aligned_alloc(64, (size_t)bytes);
        host->gemm_pack(host, dtype, s->k, s->n, p.b, b_dtype, p.g.b_row, p.g.b_col, p.packed);
        p.g.b = NULL, p.g.packed_b = bytes ? p.packed : NULL;
    }
    return p;
}

static void product_free(struct product *p) { free(p->a), free(p->b), free(p->c), free(p->bias), free(p->residual), free(p->packed); }

/* The reference: also says how large the terms were, which bounds the rounding error. */
static void check(const struct shape *s, int32_t dtype, const struct product *p, const void *before, const char *what) {
    const double eps = dtype == FLOW_F64 ? 0x1p-52 : 0x1p-23;
    const int32_t b_dtype = s->b == B_PACKED_F16 ? FLOW_F16 : s->b == B_PACKED_BF16 ? FLOW_BF16 : dtype;
    const struct flow_gemm *g = &p->g;
    for (int64_t t = 0; t < (s->batch ? s->batch : 1); t++)
        for (int64_t i = 0; i < s->m; i++)
            for (int64_t j = 0; j < g->c_row; j++) {
                const int64_t at = t * g->c_batch + i * g->c_row + j;
                double wanted = 0, size = 1, got = half_read(p->c, dtype, at);
                if (j >= s->n) {
                    cr_assert_eq(got, half_read(before, dtype, at), "%s: wrote beside C", what);
                    continue;
                }
                for (int64_t k = 0; k < s->k; k++) {
                    double term = half_read(p->a, dtype, t * g->a_batch + i * g->a_row + k * g->a_col) *
                                  half_read(p->b, b_dtype, t * g->b_batch + k * g->b_row + j * g->b_col);
                    wanted += term, size += fabs(term);
                }
                if (s->bias) wanted += half_read(p->bias, dtype, j);
                if (s->beta != 0) wanted += half_read(before, dtype, at);
                wanted = activation(wanted, s->activation);
                if (s->residual) wanted += half_read(p->residual, dtype, at), size += 1;
                cr_assert(fabs(got - wanted) <= eps * size * (4 + (double)s->k / 4), "%s: [%ld, %ld, %ld] is %.17g, not %.17g", what,
                          (long)t, (long)i, (long)j, got, wanted);
            }
}

static void run_shape(const struct shape *s, struct device *const *devices, int count) {
    for (int32_t dtype = FLOW_F32; dtype <= FLOW_F64; dtype += FLOW_F64 - FLOW_F32) {
        void *first = NULL;
        for (int d = 0; d < count; d++) {
            const struct flow_host *host = devices[d]->host;
            struct flow_call call = {.size = sizeof call, .host = host};
            struct product p = product_new(s, dtype, host);
            const size_t bytes = (size_t)(p.c_count * dtype_bytes(dtype));
            void *before = malloc(bytes + 1);
            memcpy(before, p.c, bytes);
            char what[200];
            snprintf(what, sizeof what, "%s m %ld n %ld k %ld batch %ld b %d a %d%d bias %d residual %d beta %g act %d isa %d threads %d",
                     dtype_name(dtype), (long)s->m, (long)s->n, (long)s->k, (long)s->batch, s->b, s->a_columns, s->a_strided, s->bias,
                     s->residual, s->beta, s->activation, host->isa, host->threads);
            cr_assert_eq(host->gemm(&call, &p.g), FLOW_OK, "%s", what);
            check(s, dtype, &p, before, what);
            /* Devices come in pairs that differ in threads alone. */
            if (d % 2) cr_assert(memcmp(first, p.c, bytes) == 0, "%s: other bytes with other threads", what);
            free(first), free(before);
            first = malloc(bytes + 1);
            memcpy(first, p.c, bytes);
            product_free(&p);
        }
        free(first);
    }
}

static int all_devices(struct device **devices) {
    struct device *best = device_new(1, -1);
    int count = 0;
    for (int isa = 0; isa <= best->host->isa; isa++)
        for (int threads = 1; threads <= 2; threads++) devices[count++] = device_new(threads, isa);
    best->api->free(best);
    return count;
}

static void free_devices(struct device **devices, int count) {
    for (int i = 0; i < count; i++) devices[i]->api->free(devices[i]);
}

Test(gemm, small_shapes_in_every_layout) {
    static const int64_t m[] = {0, 1, 2, 3, 4, 5, 17}, n[] = {0, 1, 3, 4, 5, 16, 33, 79}, k[] = {0, 1, 2, 7, 64, 65};
    struct device *devices[6];
    int count = all_devices(devices);
    uint64_t state = 12345;
    for (size_t i = 0; i < sizeof m / sizeof *m; i++)
        for (size_t j = 0; j < sizeof n / sizeof *n; j++)
            for (size_t l = 0; l < sizeof k / sizeof *k; l++)
                for (int layout = 0; layout < B_LAYOUTS; layout++) {
                    struct shape s = {.m = m[i], .n = n[j], .k = k[l], .b = (enum layout)layout};
                    uint64_t bits = (uint64_t)((draw(&state) + 1) * 2048);
                    s.a_columns = bits & 1, s.a_strided = (bits & 6) == 0, s.bias = bits & 8, s.beta = bits & 16 ? 1 : 0;
                    s.activation = (int32_t)(bits / 32 % 6), s.batch = (int64_t)(bits / 256 % 4);
                    s.residual = bits & 1024;
                    run_shape(&s, devices, count);
                }
    free_devices(devices, count);
}

/* Edges of the blocks: rows of the micro-kernel, panels, depth, blocks of rows and of columns. */
Test(gemm, larger_shapes) {
    static const int64_t shapes[][3] = {{14, 32, 256},  {15, 64, 257}, {28, 31, 300},  {29, 130, 64},   {64, 64, 64}, {225, 65, 130},
                                        {230, 550, 17}, {6, 16, 511},  {12, 512, 40},  {1, 1024, 300},  {2, 300, 70}, {3, 97, 520},
                                        {4, 200, 33},   {600, 4, 40},  {513, 1, 1000}, {100, 33, 1024}, {3, 4, 700},  {40, 1040, 260}};
    struct device *devices[6];
    int count = all_devices(devices);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int layout = 0; layout < B_LAYOUTS; layout++) {
            struct shape s = {.m = shapes[i][0],
                              .n = shapes[i][1],
                              .k = shapes[i][2],
                              .b = (enum layout)layout,
                              .bias = i % 2,
                              .beta = i % 3 == 0,
                              .residual = i % 4 < 2,
                              .activation = (int32_t)(i + (size_t)layout) % 6,
                              .a_columns = (i + (size_t)layout) % 3 == 1};
            run_shape(&s, devices, count);
        }
    free_devices(devices, count);
}

/* Large enough to be spread over threads: two threads must give the bytes of one. */
Test(gemm, spread_shapes) {
    static const struct shape shapes[] = {
        {.m = 170, .n = 180, .k = 190, .b = B_ROWS},
        {.m = 170, .n = 180, .k = 190, .b = B_PACKED, .bias = true, .activation = FLOW_ACTIVATION_GELU},
        {.m = 16, .n = 700, .k = 400, .b = B_PACKED, .beta = 1},
        {.m = 30, .n = 600, .k = 300, .b = B_COLUMNS, .a_columns = true},
        {.m = 130, .n = 170, .k = 1100, .b = B_ROWS, .a_columns = true, .beta = 1}, /* a weight's gradient */
        {.m = 700, .n = 40, .k = 530, .b = B_ROWS, .a_columns = true},
        {.m = 300, .n = 16, .k = 600, .b = B_ROWS, .a_columns = true, .beta = 1}, /* one panel: A is read as it lies */
        {.m = 40, .n = 50, .k = 60, .batch = 40, .b = B_ROWS, .activation = FLOW_ACTIVATION_SILU},
        {.m = 1, .n = 2100, .k = 900, .b = B_PACKED},
        {.m = 2, .n = 2100, .k = 900, .b = B_ROWS},
        {.m = 1, .n = 2100, .k = 900, .b = B_COLUMNS, .bias = true},
        {.m = 3000, .n = 2, .k = 800, .b = B_PACKED},
        {.m = 2000, .n = 33, .k = 100, .b = B_PACKED_BF16},
    };
    struct device *devices[6];
    int count = all_devices(devices);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) run_shape(&shapes[i], devices, count);
    free_devices(devices, count);
}

/* A row's bytes do not depend on the rows beside it: pieces of a sequence give what the whole gives. */
Test(gemm, rows_are_independent) {
    struct device *device = device_new(1, -1);
    const struct flow_host *host = device->host;
    struct flow_call call = {.size = sizeof call, .host = host};
    static const int64_t columns[] = {1, 3, 20, 100};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        struct shape s = {.m = 40, .n = columns[i], .k = 600, .b = B_PACKED, .bias = true, .activation = FLOW_ACTIVATION_TANH};
        struct product p = product_new(&s, FLOW_F32, host);
        float *whole = malloc((size_t)(s.m * s.n) * sizeof *whole);
        cr_assert_eq(host->gemm(&call, &p.g), FLOW_OK);
        memcpy(whole, p.c, (size_t)(s.m * s.n) * sizeof *whole);
        for (int64_t at = 0, rows = 1; at < s.m; at += rows, rows = rows % 7 + 1) {
            struct flow_gemm g = p.g;
            g.m = s.m - at < rows ? s.m - at : rows;
            g.a = (float *)p.a + at * g.a_row, g.c = (float *)p.c + at * g.c_row;
            cr_assert_eq(host->gemm(&call, &g), FLOW_OK);
        }
        cr_assert(memcmp(whole, p.c, (size_t)(s.m * s.n) * sizeof *whole) == 0, "n %ld", (long)s.n);
        free(whole);
        product_free(&p);
    }
    device->api->free(device);
}

/* Activations over their whole range, including infinities and NaN, as 1 x n products with k = 1. */
Test(gemm, activations) {
    struct device *devices[6];
    int count = all_devices(devices);
    enum { COUNT = 4001 };
    for (int32_t dtype = FLOW_F32; dtype <= FLOW_F64; dtype += FLOW_F64 - FLOW_F32)
        for (int d = 0; d < count; d += 2)
            for (int32_t which = FLOW_ACTIVATION_RELU; which <= FLOW_ACTIVATION_GELU; which++) {
                double x[COUNT + 3] = {0};
                for (int i = 0; i < COUNT; i++) x[i] = pow(fabs(i - 2000.0) / 2000.0, 3) * (i < 2000 ? -120 : 120);
                x[3] = -1e37, x[COUNT - 3] = 1e37, x[COUNT] = INFINITY, x[COUNT + 1] = -INFINITY, x[COUNT + 2] = NAN;
                void *b = malloc(sizeof x), *c = malloc(sizeof x);
                for (int i = 0; i < COUNT + 3; i++) half_write(b, dtype, i, x[i]);
                double one = 1;
                float one_f32 = 1;
                struct flow_gemm g = {.m = 1,
                                      .n = COUNT + 3,
                                      .k = 1,
                                      .a = dtype == FLOW_F64 ? (void *)&one : (void *)&one_f32,
                                      .a_row = 1,
                                      .a_col = 1,
                                      .b = b,
                                      .b_row = COUNT + 3,
                                      .b_col = 1,
                                      .c = c,
                                      .c_row = COUNT + 3,
                                      .dtype = dtype,
                                      .activation = which};
                struct flow_call call = {.size = sizeof call, .host = devices[d]->host};
                cr_assert_eq(call.host->gemm(&call, &g), FLOW_OK);
                for (int i = 0; i < COUNT + 3; i++) {
                    const double in = half_read(b, dtype, i), got = half_read(c, dtype, i), wanted = activation(in, which);
                    const double error = dtype == FLOW_F64 ? 4e-16 : 2.5e-7;
                    if (i == COUNT + 2) cr_assert(isnan(got), "NaN is lost by %d", which);
                    else if (i < COUNT)
                        cr_assert(fabs(got - wanted) <= error * (fabs(wanted) + (which == FLOW_ACTIVATION_RELU ? 0 : 0.1)),
                                  "activation %d of %g: %.17g, not %.17g (isa %d)", which, in, got, wanted, call.host->isa);
                    else if (which < FLOW_ACTIVATION_SILU) /* x sigmoid(x) at -infinity is 0 times infinity */
                        cr_assert(fabs(got - wanted) <= 1e-30 || got == wanted, "activation %d of %g: %g", which, in, got);
                }
                free(b), free(c);
            }
    free_devices(devices, count);
}

Test(gemm, packed_bytes) {
    struct device *device = device_new(1, -1);
    const struct flow_host *host = device->host;
    cr_assert_eq(host->gemm_packed_bytes(host, FLOW_F32, 0, 10), 0);
    cr_assert_eq(host->gemm_packed_bytes(host, FLOW_F32, 10, 0), 0);
    cr_assert_geq(host->gemm_packed_bytes(host, FLOW_F64, 100, 70), 100 * 70 * 8);
    cr_assert_eq(host->gemm_packed_bytes(host, FLOW_F32, INT64_MAX / 8, INT64_MAX / 8), INT64_MAX);
    device->api->free(device);
}
