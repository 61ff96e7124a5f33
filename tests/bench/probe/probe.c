/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine gives at this moment, by the processor time of one thread: multiply-adds in f32, and reads from memory. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX2__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
typedef float vector __attribute__((vector_size(BYTES)));
enum { LANES = BYTES / sizeof(float), CHAINS = 12, ROUNDS = 2000000, AREA = 128 << 20 };

double probe_gflops(void);
double probe_read(void);

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile float sink;

double probe_gflops(void) {
    vector sum[CHAINS], x, y;
    for (int i = 0; i < LANES; i++) x[i] = 0.999F, y[i] = 0.001F;
    for (int i = 0; i < CHAINS; i++) sum[i] = x;
    double start = seconds();
    for (int s = 0; s < ROUNDS; s++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * x + y;
    double took = seconds() - start;
    for (int i = 0; i < CHAINS; i++) sink += sum[i][0];
    return 2.0 * LANES * CHAINS * ROUNDS / took * 1e-9;
}

double probe_read(void) {
    static char *area;
    if (!area) area = aligned_alloc(4096, AREA), memset(area, 1, AREA);
    vector sum[4] = {{0}};
    double start = seconds();
    for (size_t i = 0; i < AREA; i += 4 * BYTES)
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; k++) sum[k] += *(const vector *)(const void *)(area + i + k * BYTES);
    double took = seconds() - start;
    sink += (sum[0] + sum[1] + sum[2] + sum[3])[0];
    return (double)AREA / took * 1e-9;
}
