/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of f32 matrices whose factors are rounded to bf16 (nearest even) on their way into registers, accumulated in f32. With
 * AVX512-BF16 one instruction multiplies two pairs a lane, twice the rate of f32; without it, the same numbers are multiplied as f32.
 *
 * Both factors are packed in pairs along k, (k, k + 1) in one 32-bit word, k the lower half; an odd last one is paired with 0. A by rows,
 * A_STRIDE words apart; B in panels of PANEL columns, each [pairs, PANEL], the last half as wide where half is enough: as packed_b
 * holds them, or DEPTH of k and BLOCK_COLUMNS at a time, which then stay in L2. An element of C is one chain over pairs k = 0, 2, 4..
 * (blocks later in k begin with what is in C), whatever the number of rows, tiles or threads.
 */
#include "base/half.h"
#include "device/cpu/cpu.h"
#include "device/cpu/gemm.h"

#define T float
#define BITS int32_t
#define GEMM_F64 0
#include "device/cpu/gemm_vector.h"
#include "device/cpu/gemm_activation.h"

#if defined(__AVX512F__)
#define HIGH 12
#elif defined(__AVX2__)
#define HIGH 4
#else
#define HIGH 2
#endif

typedef uint32_t words __attribute__((vector_size(VECTOR)));
typedef uint32_t loose_words __attribute__((vector_size(VECTOR), aligned(4), may_alias));

enum {
    DEPTH = 512, /* of k */
    PAIRS = DEPTH / 2,
    BLOCK_COLUMNS = 512,
    A_STRIDE = PAIRS + 16 /* rows do not collide in the cache */
};
_Static_assert(BLOCK_COLUMNS % PANEL == 0 && PAIRS % LANES == 0, "blocks hold whole panels and whole vectors");
_Static_assert((HIGH * A_STRIDE + BLOCK_COLUMNS * PAIRS) * 4 <= CPU_SCRATCH, "both copies fit the scratch buffer");

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t panel_width(int64_t columns) { return columns > LANES ? PANEL : LANES; }
static int64_t pairs_of(int64_t k) { return (k + 1) / 2; }

/* ---- Packing ---- */

/* Rounded, in the upper half; the lower is rubbish. NaN stays NaN. */
INLINE words rounded(vec x) {
    const words u = (words)x, up = u + 0x7fffu + (u >> 16 & 1u);
    return (words)choose(x == x, (vec)up, (vec)(u | 0x400000u));
}
INLINE words joined(vec low, vec high) { return rounded(low) >> 16 | (rounded(high) & 0xffff0000u); }

static uint32_t pair(float low, float high) { return (uint32_t)half_f32_to_bf16(low) | (uint32_t)half_f32_to_bf16(high) << 16; }

/* LANES x LANES words in registers, by exchanging blocks of half the size again and again. */
INLINE void transpose_square(words *row) {
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2) {
        ivec low = {0}, high = {0};
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) low[l] = l & half ? LANES + l - half : l, high[l] = l & half ? LANES + l : l + half;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & half) continue;
            const vec a = (vec)row[i], b = (vec)row[i + half];
            row[i] = (words)lanes_of(a, b, low), row[i + half] = (words)lanes_of(a, b, high);
        }
    }
}

INLINE vec load_some(const float *at, int64_t count) { return count >= LANES ? load(at) : count > 0 ? load_part(at, count) : (vec){0}; }
INLINE void store_words(uint32_t *at, words x) { *(loose_words *)at = x; }

/* LANES words from one run of numbers: pairs of neighbours; `left` numbers are there. */
INLINE words along(const float *at, int64_t left) {
    const vec a = load_some(at, left), b = load_some(at + LANES, left - LANES);
    ivec even = {0}, odd = {0};
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) even[l] = 2 * l, odd[l] = 2 * l + 1;
    return joined(lanes_of(a, b, even), lanes_of(a, b, odd));
}

/* One panel [pairs of k, width]. */
static void pack_panel(uint32_t *to, const float *b, int64_t b_row, int64_t b_col, int64_t k, int64_t columns) {
    const int64_t width = panel_width(columns);
    if (b_col == 1) {
        for (int64_t t = 0; t < k; t += 2, to += width, b += 2 * b_row)
            for (int64_t j = 0; j < width; j += LANES) {
                const vec low = load_some(b + j, columns - j), high = t + 1 < k ? load_some(b + b_row + j, columns - j) : (vec){0};
                store_words(to + j, joined(low, high));
            }
        return;
    }
    if (b_row == 1) {
        for (int64_t j = 0; j < width; j += LANES)
            for (int64_t t = 0; t < k; t += 2 * LANES) {
                words row[LANES];
                for (int q = 0; q < LANES; q++) row[q] = j + q < columns ? along(b + (j + q) * b_col + t, k - t) : (words){0};
                transpose_square(row);
                const int64_t some = least(LANES, pairs_of(k - t));
                for (int q = 0; q < some; q++) store_words(to + (t / 2 + q) * width + j, row[q]);
            }
        return;
    }
    for (int64_t t = 0; t < k; t += 2, to += width)
        for (int64_t j = 0; j < width; j++) {
            const float *at = b + t * b_row + j * b_col;
            to[j] = j < columns ? pair(at[0], t + 1 < k ? at[b_row] : 0) : 0;
        }
}

/* Rows of A; words up to a whole vector may be written. */
static void pack_a(uint32_t *to, const float *a, int64_t a_row, int64_t a_col, int64_t rows, int64_t k) {
    if (a_col == 1) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t t = 0; t < k; t += 2 * LANES) store_words(to + i * A_STRIDE + t / 2, along(a + i * a_row + t, k - t));
        return;
    }
    if (a_row == 1) {
        for (int64_t i = 0; i < rows; i += LANES)
            for (int64_t t = 0; t < k; t += 2 * LANES) {
                words row[LANES];
                for (int q = 0; q < LANES; q++) {
                    const float *at = a + (t + 2 * q) * a_col + i;
                    const vec low = t + 2 * q < k ? load_some(at, rows - i) : (vec){0};
                    row[q] = joined(low, t + 2 * q + 1 < k ? load_some(at + a_col, rows - i) : (vec){0});
                }
                transpose_square(row);
                for (int64_t q = 0; q < least(LANES, rows - i); q++) store_words(to + (i + q) * A_STRIDE + t / 2, row[q]);
            }
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t t = 0; t < k; t += 2) {
            const float *at = a + i * a_row + t * a_col;
            to[i * A_STRIDE + t / 2] = pair(at[0], t + 1 < k ? at[a_col] : 0);
        }
}

static void pack(int64_t k, int64_t n, const void *b, int32_t b_dtype, int64_t b_row, int64_t b_col, void *packed) {
    uint32_t *to = packed;
    float some[16 * PANEL];
    for (int64_t j = 0; j < n; j += PANEL) {
        const int64_t columns = least(n - j, PANEL), width = panel_width(columns);
        if (b_dtype == FLOW_F32) pack_panel(to, (const float *)b + j * b_col, b_row, b_col, k, columns);
        else
            for (int64_t t = 0; t < k; t += 16) {
                const int64_t rows = least(k - t, 16);
                for (int64_t i = 0; i < rows; i++)
                    for (int64_t q = 0; q < columns; q++)
                        some[i * PANEL + q] = (float)half_read(b, b_dtype, (t + i) * b_row + (j + q) * b_col);
                pack_panel(to + t / 2 * width, some, PANEL, 1, rows, columns);
            }
        to += pairs_of(k) * width;
    }
}

/* ---- Micro-kernels ---- */

struct span {
    const uint32_t *a, *b; /* rows A_STRIDE apart; a panel, b_row words from pair to pair */
    int64_t b_row, pairs;
    float *c;
    int64_t c_row, columns;
    const float *bias; /* or NULL */
    bool load;         /* begin with what is in C */
};

#if defined(__AVX512F__)
/* sum += the products of both halves. */
INLINE vec dot_pairs(vec sum, words a, words b) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}
#else
INLINE vec dot_pairs(vec sum, words a, words b) { return (void)a, (void)b, sum; }
#endif

/* rows, vectors and native are constants: this is inlined once for each. */
INLINE void block(const int rows, const int vectors, const bool native, const struct span *s) {
    const int64_t last = s->columns - (vectors - 1) * LANES, b_row = s->b_row;
    vec sums[HIGH][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            const float *c = s->c + i * s->c_row + j * LANES;
            sums[i][j] = !s->load ? (vec){0} : j < vectors - 1 || last == LANES ? load(c) : load_part(c, last);
        }
    const uint32_t *a = s->a, *b = s->b;
    for (int64_t t = 0; t < s->pairs; t++, b += b_row) {
        words panel[2];
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) panel[j] = *(const loose_words *)(b + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const words x = (words){0} + a[i * A_STRIDE + t];
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++) {
                if (native) sums[i][j] = dot_pairs(sums[i][j], x, panel[j]);
                else {
                    sums[i][j] += (vec)(x << 16) * (vec)(panel[j] << 16);
                    sums[i][j] += (vec)(x & 0xffff0000u) * (vec)(panel[j] & 0xffff0000u);
                }
            }
        }
    }
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) {
        const bool full = j < vectors - 1 || last == LANES;
        const vec bias = !s->bias ? (vec){0} : full ? load(s->bias + j * LANES) : load_part(s->bias + j * LANES, last);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            float *c = s->c + i * s->c_row + j * LANES;
            const vec x = s->bias ? sums[i][j] + bias : sums[i][j];
            if (full) store(c, x);
            else store_part(c, x, last);
        }
    }
}

/* One function for each number of rows and vectors. */
typedef void (*kernel)(const struct span *s);
#define KERNEL(name, rows, native)                         \
    static void name(const struct span *s) {               \
        if (s->columns > LANES) block(rows, 2, native, s); \
        else block(rows, 1, native, s);                    \
    }
KERNEL(rows_1, 1, false)
KERNEL(rows_2, 2, false)
#if HIGH >= 4
KERNEL(rows_3, 3, false)
KERNEL(rows_4, 4, false)
#endif
#if HIGH >= 12
KERNEL(rows_5, 5, false)
KERNEL(rows_6, 6, false)
KERNEL(rows_7, 7, false)
KERNEL(rows_8, 8, false)
KERNEL(rows_9, 9, false)
KERNEL(rows_10, 10, false)
KERNEL(rows_11, 11, false)
KERNEL(rows_12, 12, false)
KERNEL(native_1, 1, true)
KERNEL(native_2, 2, true)
KERNEL(native_3, 3, true)
KERNEL(native_4, 4, true)
KERNEL(native_5, 5, true)
KERNEL(native_6, 6, true)
KERNEL(native_7, 7, true)
KERNEL(native_8, 8, true)
KERNEL(native_9, 9, true)
KERNEL(native_10, 10, true)
KERNEL(native_11, 11, true)
KERNEL(native_12, 12, true)
static const kernel native[] = {NULL,     native_1, native_2, native_3,  native_4,  native_5, native_6,
                                native_7, native_8, native_9, native_10, native_11, native_12};
#endif
static const kernel plain[] = {
    NULL,   rows_1, rows_2,
#if HIGH >= 4
    rows_3, rows_4,
#endif
#if HIGH >= 12
    rows_5, rows_6, rows_7, rows_8, rows_9, rows_10, rows_11, rows_12,
#endif
};

/* ---- Any product, by blocks ---- */

/* Some columns of C, all rows [m0, m1), one block of k. */
static void run_block(const struct flow_gemm *g, const kernel *kernels, const struct span *base, int64_t panel_stride, const float *a,
                      int64_t m0, int64_t m1, int64_t k, int64_t columns, const struct epilogue *epilogue, uint32_t *a_copy) {
    const int64_t groups = (m1 - m0 + HIGH - 1) / HIGH;
    struct span s = *base;
    for (int64_t group = 0, row = m0, rows; group < groups; group++, row += rows) {
        rows = (m1 - m0) / groups + (group < (m1 - m0) % groups);
        pack_a(a_copy, a + row * g->a_row, g->a_row, g->a_col, rows, k);
        s.a = a_copy;
        for (int64_t j = 0; j < columns; j += PANEL) {
            s.columns = least(columns - j, PANEL), s.b_row = panel_width(s.columns);
            s.b = base->b + j / PANEL * panel_stride + base->b_row * s.b_row;
            s.c = base->c + row * g->c_row + j;
            s.bias = base->bias ? base->bias + j : NULL;
            kernels[rows](&s);
            if (epilogue) finish(epilogue, s.c, s.c_row, rows, s.columns);
        }
    }
}

INLINE void tile(const struct flow_gemm *g, const kernel *kernels, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch) {
    uint32_t *a_copy = scratch, *b_copy = a_copy + HIGH * A_STRIDE;
    const struct epilogue epilogue = epilogue_of(g);
    for (int64_t j = n0; j < n1; j += BLOCK_COLUMNS) {
        const int64_t columns = least(n1 - j, BLOCK_COLUMNS);
        for (int64_t k0 = 0; k0 == 0 || k0 < g->k; k0 += DEPTH) {
            const int64_t k = least(g->k - k0, DEPTH);
            const bool last = k0 + DEPTH >= g->k;
            /* b_row: pairs to skip in each panel */
            struct span s = {.pairs = pairs_of(k), .c = (float *)g->c + j, .c_row = g->c_row, .load = k0 > 0 || g->beta != 0};
            if (last && g->bias) s.bias = (const float *)g->bias + j;
            int64_t stride = PANEL * PAIRS;
            if (g->packed_b) s.b = (const uint32_t *)g->packed_b + j * pairs_of(g->k), s.b_row = k0 / 2, stride = PANEL * pairs_of(g->k);
            else {
                const float *b = (const float *)g->b + k0 * g->b_row + j * g->b_col;
                for (int64_t p = 0; p < columns; p += PANEL)
                    pack_panel(b_copy + p * PAIRS, b + p * g->b_col, g->b_row, g->b_col, k, least(columns - p, PANEL));
                s.b = b_copy;
            }
            run_block(g, kernels, &s, stride, (const float *)g->a + k0 * g->a_col, m0, m1, k, columns,
                      last && epilogue_exists(&epilogue) ? &epilogue : NULL, a_copy);
        }
    }
}

static void tile_plain(const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch) {
    tile(g, plain, m0, m1, n0, n1, scratch);
}
extern const struct gemm_kernels ISA(gemm_bf16);
const struct gemm_kernels ISA(gemm_bf16) = {.rows = HIGH, .panel = PANEL, .tile = tile_plain, .pack = pack};

#if defined(__AVX512F__)
static void tile_native(const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch) {
    tile(g, native, m0, m1, n0, n1, scratch);
}
extern const struct gemm_kernels gemm_bf16_native;
const struct gemm_kernels gemm_bf16_native = {.rows = HIGH, .panel = PANEL, .tile = tile_native, .pack = pack};
#endif
