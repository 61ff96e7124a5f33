/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients in one pass: scaled, with normal noise, and the sum of their squares.
 *
 * Noise. Elements come in blocks of 32; block b takes the Philox counters 8b .. 8b+7 of (key, step), four words each. Word 0 or 1 of a
 * counter makes a radius, word 2 or 3 an angle; the cosine goes to element 2i + h of the block (i the counter's number, h the word's), the
 * sine to element 16 + 2i + h: so whatever the vectors' length, an element's noise is a function of (key, step, its index).
 *
 * Box and Muller 1958: sqrt(-2 v ln u) (cos a, sin a). u has 31 bits and is never 0: numbers reach to 6.6 deviations. a is uniform on
 * [-pi/2, pi/2), and one bit more turns the cosine's sign. Polynomials are minimax fits: ln to 2e-7 of itself, sine 8e-7, cosine 5e-8.
 *
 * The squares of four numbers are added in f32 before they go on in f64; a caller looks again where that gives infinity.
 *
 * Philox multiplies 32-bit words to 64 bits: each word therefore lies in a lane of 64, whose upper half is rubbish that the next
 * multiplication ignores. In the first two rounds the products of what no counter changes are the compiler's to take out of the loop.
 */
#include "train/update.h"
#include "train/update_kernels.h"

#include <common/simd.h>

#include <math.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
enum { VECTOR = 64 };
#elif defined(__AVX2__)
enum { VECTOR = 32 };
#else
enum { VECTOR = 16 };
#endif
enum { LANES = VECTOR / 4, WIDE = VECTOR / 8, BLOCK = 32 };

typedef uint64_t words __attribute__((vector_size(VECTOR)));
typedef uint32_t bits __attribute__((vector_size(VECTOR)));
typedef int32_t whole __attribute__((vector_size(VECTOR)));
typedef float real __attribute__((vector_size(VECTOR)));
typedef double doubles __attribute__((vector_size(VECTOR)));
typedef float loose __attribute__((vector_size(VECTOR), aligned(4), may_alias));

INLINE words multiply(words a, uint64_t b) {
#if defined(__AVX512F__)
    return (words)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64((long long)b));
#elif defined(__AVX2__)
    return (words)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x((long long)b));
#elif defined(__SSE2__)
    return (words)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x((long long)b));
#else
    return (a & 0xffffffffu) * b;
#endif
}

INLINE real root(real x) {
#if defined(__AVX512F__)
    return (real)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (real)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (real)_mm_sqrt_ps((__m128)x);
#else
    for (int i = 0; i < LANES; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* A lane's sum goes on in f64. */
INLINE doubles add_wide(doubles sum, real x) {
#if defined(__AVX512F__)
    const __m512 v = (__m512)x;
    return sum + (doubles)(_mm512_cvtps_pd(_mm512_castps512_ps256(v)) + _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
#elif defined(__AVX2__)
    const __m256 v = (__m256)x;
    return sum + (doubles)(_mm256_cvtps_pd(_mm256_castps256_ps128(v)) + _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
#else
    for (int i = 0; i < LANES; i++) sum[i % WIDE] += (double)x[i];
    return sum;
#endif
}

/* ---- Normal numbers, two vectors of pairs at a time ---- */

/* Philox and what becomes of its words are both one long chain: each alone leaves the processor waiting. So rounds for the words to come
 * alternate with stages of the numbers in hand, one vector's in the first half of the rounds, the other's in the second; PIN keeps the
 * compiler from moving them together again. */
#if defined(__SSE2__)
#define PIN(a, b) __asm__ volatile("" : "+v"(a), "+v"(b))
#else
#define PIN(a, b) ((void)0)
#endif
enum { PAIR = 2, ROUNDS = 10, STAGES = ROUNDS / PAIR };

/* Counters first, first + 1 ..: words 0 and 1 of each side by side, and words 2 and 3. */
struct drawn {
    bits radius[PAIR], angle[PAIR];
};
/* LANES pairs of numbers on their way: u = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2); a is the angle, z its square. */
struct normals {
    real k, f, series, a, z, sine, cosine, first, second;
};

INLINE void normals_stage(int stage, struct normals *n, bits radius, bits angle, float factor) {
    if (stage == 0) {
        const real u = __builtin_convertvector((whole)(radius >> 1), real) + 0.5f;
        const bits shifted = (bits)u - 0x3F3504F3u;
        n->k = __builtin_convertvector((whole)shifted >> 23, real) - 31.0f;
        n->f = (real)((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
        n->a = __builtin_convertvector((whole)angle, real) * 7.3145906e-10f; /* pi/2 * 2^-31 */
        n->z = n->a * n->a;
    } else if (stage == 1) {
        n->series = 0.19884235f + n->f * (-0.17212426f + n->f * (0.16338146f + n->f * -0.10378716f));
        n->sine = 8.31325871e-3f + n->z * -1.85243573e-4f, n->cosine = -1.38537043e-3f + n->z * 2.31539316e-5f;
    } else if (stage == 2) {
        n->series = 0.99999992f + n->f * (-0.50000344f + n->f * (0.33335608f + n->f * (-0.2497156f + n->f * n->series)));
        n->sine = 0.999999246f + n->z * (-0.166656827f + n->z * n->sine);
        n->cosine = -0.499999053f + n->z * (4.16635847e-2f + n->z * n->cosine);
    } else if (stage == 3) {
        n->series = root((n->k * 0.69314718f + n->f * n->series) * factor);
        n->sine = n->a * n->sine, n->cosine = (real)((bits)(0.999999953f + n->z * n->cosine) ^ angle << 31);
    } else {
        n->first = n->series * n->cosine, n->second = n->series * n->sine;
    }
}

INLINE struct drawn philox(const struct update_draw *draw, uint64_t counter, struct normals *n, const struct drawn *hand) {
    words c0[PAIR], c1[PAIR], c2[PAIR], c3[PAIR], count = {0};
    for (int i = 0; i < WIDE; i++) count[i] = (uint64_t)i;
#pragma GCC unroll 2
    for (int j = 0; j < PAIR; j++)
        c0[j] = count + (counter + (uint64_t)(j * WIDE)), c1[j] = c0[j] >> 32, c2[j] = (words){0} + (draw->step & 0xffffffffu),
        c3[j] = (words){0} + (draw->step >> 32);
    uint32_t k0 = (uint32_t)draw->key, k1 = (uint32_t)(draw->key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++) {
#pragma GCC unroll 2
        for (int j = 0; j < PAIR; j++) {
            const words p0 = multiply(c0[j], 0xD2511F53u), p1 = multiply(c2[j], 0xCD9E8D57u);
            c0[j] = (p1 >> 32) ^ c1[j] ^ (uint64_t)k0, c2[j] = (p0 >> 32) ^ c3[j] ^ (uint64_t)k1;
            c1[j] = p1, c3[j] = p0;
        }
        if (hand) {
            const int j = round / STAGES, stage = round % STAGES;
            normals_stage(stage, &n[j], hand->radius[j], hand->angle[j], draw->factor);
            if (stage == 0) PIN(n[j].f, n[j].z);
            else if (stage < 3) PIN(n[j].series, n[j].cosine);
            else if (stage == 3) PIN(n[j].series, n[j].sine);
        }
        if (round > 1) PIN(c0[0], c2[0]);
        if (round > 1) PIN(c0[1], c2[1]);
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    struct drawn drawn;
#pragma GCC unroll 2
    for (int j = 0; j < PAIR; j++) {
        drawn.radius[j] = (bits)((c0[j] & 0xffffffffu) | c1[j] << 32);
        drawn.angle[j] = (bits)((c2[j] & 0xffffffffu) | c3[j] << 32);
    }
    return drawn;
}

/* Where vector `part` of a span's numbers goes: the cosines; the sines lie half a block further. */
INLINE int64_t place(int64_t part) { return part * WIDE / 8 * BLOCK + part * WIDE % 8 * 2; }

/* The noise of two blocks. */
static void noise_blocks(const struct update_draw *draw, uint64_t block, float *to) {
    for (int part = 0; part < 2 * 8 / WIDE; part += PAIR) {
        const struct drawn drawn = philox(draw, block * 8 + (uint64_t)(part * WIDE), NULL, NULL);
        for (int j = 0; j < PAIR; j++) {
            struct normals n = {0};
            for (int stage = 0; stage < STAGES; stage++) normals_stage(stage, &n, drawn.radius[j], drawn.angle[j], draw->factor);
            *(loose *)(to + place(part + j)) = n.first, *(loose *)(to + place(part + j) + BLOCK / 2) = n.second;
        }
    }
}

static double total(doubles sum) {
    double all = 0;
    for (int i = 0; i < WIDE; i++) all += sum[i];
    return all;
}

/* g = scale g + noise over two blocks at a time; `parts` vectors. */
static double noise_whole(const struct update_draw *draw, float scale, int64_t parts, float *g) {
    const struct update_draw d = *draw;
    const uint64_t counter = d.block * 8;
    doubles sum = {0};
    struct drawn hand = philox(&d, counter, NULL, NULL);
    for (int64_t part = 0; part < parts; part += PAIR) {
        struct normals n[PAIR] = {0};
        const struct drawn next = philox(&d, counter + (uint64_t)((part + PAIR) * WIDE), n, &hand);
        real square = {0};
#pragma GCC unroll 2
        for (int j = 0; j < PAIR; j++) {
            loose *const at = (loose *)(g + place(part + j)), *const beside = (loose *)(g + place(part + j) + BLOCK / 2);
            const real a = n[j].first + *at * scale, b = n[j].second + *beside * scale;
            *at = a, *beside = b;
            square += a * a + b * b;
        }
        sum = add_wide(sum, square);
        hand = next;
    }
    return total(sum);
}

static double noise_f32(int64_t count, void *gradient, double scale, const struct update_draw *draw) {
    float *g = gradient, part[2 * BLOCK];
    const int64_t whole_count = count / (2 * BLOCK) * (2 * BLOCK);
    double sum = whole_count ? noise_whole(draw, (float)scale, whole_count / (2 * LANES), g) : 0;
    if (whole_count < count) noise_blocks(draw, draw->block + (uint64_t)(whole_count / BLOCK), part);
    for (int64_t i = whole_count; i < count; i++) {
        g[i] = g[i] * (float)scale + part[i - whole_count];
        sum += (double)g[i] * (double)g[i];
    }
    return sum;
}

static double noise_f64(int64_t count, void *gradient, double scale, const struct update_draw *draw) {
    double *g = gradient, sum = 0;
    float part[2 * BLOCK];
    for (int64_t i = 0; i < count; i += 2 * BLOCK) {
        noise_blocks(draw, draw->block + (uint64_t)(i / BLOCK), part);
        const int64_t some = count - i < 2 * BLOCK ? count - i : 2 * BLOCK;
        for (int64_t j = 0; j < some; j++) {
            g[i + j] = g[i + j] * scale + (double)part[j];
            sum += g[i + j] * g[i + j];
        }
    }
    return sum;
}

static double scale_f32(int64_t count, void *gradient, double scale_) {
    float *restrict g = gradient;
    const float scale = (float)scale_;
    double sum = 0;
    if (scale == 1.0f) { /* nothing to write */
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < count; i++) sum += (double)g[i] * (double)g[i];
        return sum;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) {
        const float x = g[i] * scale;
        g[i] = x;
        sum += (double)x * (double)x;
    }
    return sum;
}

static double scale_f64(int64_t count, void *gradient, double scale) {
    double *restrict g = gradient, sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) {
        const double x = g[i] * scale;
        g[i] = x;
        sum += x * x;
    }
    return sum;
}

/* Each row less its mean. */
static void centre_f32(int64_t rows, int64_t width, void *gradient) {
    for (float *restrict g = gradient; rows > 0; rows--, g += width) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++) sum += (double)g[i];
        const float mean = (float)(sum / (double)width);
#pragma omp simd
        for (int64_t i = 0; i < width; i++) g[i] -= mean;
    }
}

static void centre_f64(int64_t rows, int64_t width, void *gradient) {
    for (double *restrict g = gradient; rows > 0; rows--, g += width) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++) sum += g[i];
        const double mean = sum / (double)width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) g[i] -= mean;
    }
}

static bool finite_f64(int64_t count, const void *gradient) {
    const double *g = gradient;
    bool finite = true;
    for (int64_t i = 0; i < count; i++) finite &= g[i] - g[i] == 0;
    return finite;
}

const struct update_kernels ISA(update_kernels) = {{noise_f32, noise_f64}, {scale_f32, scale_f64}, {centre_f32, centre_f64}, finite_f64};
