/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products of one element type and instruction set (see gemm_vector.h, gemm.h).
 *
 * The micro-kernel computes ROWS x PANEL elements in registers: a loop over k loads two vectors of B and multiplies them by ROWS
 * broadcast elements of A. A is read by rows, as it lies or copied (packed) to rows whose stride does not collide in the first-level cache;
 * B in panels, packed or as it lies. Rows are shared out evenly among the calls (16 rows are 8 + 8, not 14 + 2).
 *
 * Blocks: DEPTH of k, so that a panel of B (DEPTH x PANEL) stays in L1 while it meets BLOCK_ROWS rows of A (in L2); BLOCK_COLUMNS columns
 * of B are packed at a time.
 */
#include "device/cpu/gemm_vector.h"
#include "device/cpu/gemm_activation.h"

enum {
    DEPTH = 256,
    BLOCK_ROWS = 16 * ROWS < 224 ? 16 * ROWS : 224,
    BLOCK_COLUMNS = 2048 / (int)sizeof(T),
    A_STRIDE = DEPTH + 64 / (int)sizeof(T)
};
_Static_assert(BLOCK_COLUMNS % PANEL == 0, "blocks hold whole panels");
_Static_assert((BLOCK_ROWS * A_STRIDE + BLOCK_COLUMNS * DEPTH) * (int)sizeof(T) <= CPU_SCRATCH, "both blocks fit the scratch buffer");

/* ---- Micro-kernels ---- */

struct span {
    const T *a;
    int64_t a_row, a_col;
    const T *b;
    int64_t b_row;   /* from one k to the next */
    int64_t b_panel; /* from one panel to the next */
    T *c;
    int64_t c_row;
    int64_t columns; /* all vectors are full but the last */
    const T *bias;   /* or NULL */
    int64_t k;
    bool load; /* begin with what is in C */
};

/* rows, vectors, part (B's last vector may not be read in full) and unit (a_col is 1) are constants: this is inlined once for each. */
INLINE void block(const int rows, const int vectors, const bool part, const bool unit, const struct span *s) {
    const int64_t last = s->columns - (vectors - 1) * LANES, a_row = s->a_row, b_row = s->b_row, b_panel = s->b_panel, k = s->k;
    const int64_t a_col = unit ? 1 : s->a_col;
    vec sums[ROWS][8];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) {
            const T *c = s->c + i * s->c_row + j * LANES;
            sums[i][j] = !s->load ? (vec){0} : j < vectors - 1 || last == LANES ? load(c) : load_part(c, last);
        }
    /* Four base pointers and the strides 0..3 address up to 16 rows; the compiler must not make a pointer of each. */
    const T *b = s->b, *a0 = s->a, *a4 = a0 + 4 * a_row, *a8 = a0 + 8 * a_row, *a12 = a0 + 12 * a_row;
    __asm__("" : "+r"(a4), "+r"(a8), "+r"(a12));
    for (int64_t t = 0; t < k; t++, b += b_row) {
        vec panel[8];
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) {
            const T *at = b + j / 2 * b_panel + j % 2 * LANES;
            panel[j] = part && j == vectors - 1 ? load_part(at, last) : load(at);
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const T x = (i < 4 ? a0 : i < 8 ? a4 : i < 12 ? a8 : a12)[t * a_col + i % 4 * a_row];
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++) sums[i][j] += x * panel[j];
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < vectors; j++) {
        const bool full = j < vectors - 1 || last == LANES;
        vec bias = !s->bias ? (vec){0} : full ? load(s->bias + j * LANES) : load_part(s->bias + j * LANES, last);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            T *c = s->c + i * s->c_row + j * LANES;
            vec x = s->bias ? sums[i][j] + bias : sums[i][j];
            if (full) store(c, x);
            else store_part(c, x, last);
        }
    }
}

/* One function for each number of rows: two vectors of packed B; one; B as it lies, its last vector in part. */
typedef void (*kernel)(const struct span *s);
#define KERNELS(rows, two, one, part)                                         \
    static void two(const struct span *s) { block(rows, 2, false, true, s); } \
    static void one(const struct span *s) { block(rows, 1, false, true, s); } \
    static void part(const struct span *s) { s->columns > LANES ? block(rows, 2, true, true, s) : block(rows, 1, true, true, s); }
KERNELS(1, two_1, one_1, part_1)
KERNELS(2, two_2, one_2, part_2)
KERNELS(3, two_3, one_3, part_3)
KERNELS(4, two_4, one_4, part_4)
#if GEMM_ROWS >= 6
KERNELS(5, two_5, one_5, part_5)
KERNELS(6, two_6, one_6, part_6)
#endif
#if GEMM_ROWS >= 12
KERNELS(7, two_7, one_7, part_7)
KERNELS(8, two_8, one_8, part_8)
KERNELS(9, two_9, one_9, part_9)
KERNELS(10, two_10, one_10, part_10)
KERNELS(11, two_11, one_11, part_11)
KERNELS(12, two_12, one_12, part_12)
#endif
#if GEMM_ROWS >= 14
KERNELS(13, two_13, one_13, part_13)
KERNELS(14, two_14, one_14, part_14)
#endif

static const kernel kernels[][3] = {
    {NULL, NULL, NULL},        {two_1, one_1, part_1},    {two_2, one_2, part_2}, {two_3, one_3, part_3},    {two_4, one_4, part_4},
#if GEMM_ROWS >= 6
    {two_5, one_5, part_5},    {two_6, one_6, part_6},
#endif
#if GEMM_ROWS >= 12
    {two_7, one_7, part_7},    {two_8, one_8, part_8},    {two_9, one_9, part_9}, {two_10, one_10, part_10}, {two_11, one_11, part_11},
    {two_12, one_12, part_12},
#endif
#if GEMM_ROWS >= 14
    {two_13, one_13, part_13}, {two_14, one_14, part_14},
#endif
};
enum { KERNEL_TWO, KERNEL_ONE, KERNEL_PART };

/* ---- Packing ---- */

static int64_t panel_width(int64_t columns) { return columns > LANES ? PANEL : LANES; }

/* to[j * to_row + i] = from[i * from_row + j] */
static void transpose(T *to, int64_t to_row, const T *from, int64_t from_row, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[j * to_row + i] = from[i * from_row + j];
}

/* Rows of A one after the other, A_STRIDE apart. */
static void pack_a(T *to, const T *a, int64_t a_row, int64_t a_col, int64_t rows, int64_t k) {
    if (a_col == 1)
        for (int64_t i = 0; i < rows; i++) memcpy(to + i * A_STRIDE, a + i * a_row, (size_t)k * sizeof(T));
    else if (a_row == 1) transpose(to, A_STRIDE, a, a_col, k, rows);
    else
        for (int64_t i = 0; i < rows; i++)
            for (int64_t t = 0; t < k; t++) to[i * A_STRIDE + t] = a[i * a_row + t * a_col];
}

/* One panel: [k, panel_width(columns)]. */
static void pack_panel(T *to, const T *b, int64_t b_row, int64_t b_col, int64_t k, int64_t columns) {
    const int64_t width = panel_width(columns);
    if (b_col == 1 && columns == width) {
        for (int64_t t = 0; t < k; t++, to += width, b += b_row)
            for (int64_t j = 0; j < width; j += LANES) store(to + j, load(b + j));
    } else if (b_col == 1) {
        const int64_t full = columns > LANES ? LANES : 0;
        for (int64_t t = 0; t < k; t++, to += width, b += b_row) {
            if (full) store(to, load(b));
            store(to + full, load_part(b + full, columns - full));
        }
    } else {
        if (columns < width) memset(to, 0, (size_t)(k * width) * sizeof(T));
        if (b_row == 1) transpose(to, width, b, b_col, columns, k);
        else
            for (int64_t t = 0; t < k; t++)
                for (int64_t j = 0; j < columns; j++) to[t * width + j] = b[t * b_row + j * b_col];
    }
}

/* Part of B in whatever floating type, converted to T: [rows, columns], rows PANEL apart. */
static void convert(T *to, const void *b, int32_t dtype, int64_t at, int64_t b_row, int64_t b_col, int64_t rows, int64_t columns) {
    const float *f32 = b;
    const double *f64 = b;
    const uint16_t *half = b;
    for (int64_t t = 0; t < rows; t++, at += b_row, to += PANEL) {
        int64_t i = at;
        if (dtype == FLOW_F32)
            for (int64_t j = 0; j < columns; j++, i += b_col) to[j] = (T)f32[i];
        else if (dtype == FLOW_F64)
            for (int64_t j = 0; j < columns; j++, i += b_col) to[j] = (T)f64[i];
        else if (dtype == FLOW_F16)
            for (int64_t j = 0; j < columns; j++, i += b_col) to[j] = (T)half_f16_to_f32(half[i]);
        else
            for (int64_t j = 0; j < columns; j++, i += b_col) to[j] = (T)half_bf16_to_f32(half[i]);
    }
}

static void pack(int64_t k, int64_t n, const void *b, int32_t b_dtype, int64_t b_row, int64_t b_col, void *packed) {
    T *to = packed, rows[16 * PANEL];
    if (n <= GEMM_DOT_COLUMNS) {
        for (int64_t j = 0; j < n; j++)
            for (int64_t t = 0; t < k; t++) convert(to++, b, b_dtype, j * b_col + t * b_row, 0, 0, 1, 1);
        return;
    }
    for (int64_t j = 0; j < n; j += PANEL) {
        const int64_t columns = n - j < PANEL ? n - j : PANEL, width = panel_width(columns);
        for (int64_t t = 0; t < k; t += 16) {
            const int64_t some = k - t < 16 ? k - t : 16;
            if (b_dtype == GEMM_DTYPE) {
                pack_panel(to + t * width, (const T *)b + t * b_row + j * b_col, b_row, b_col, some, columns);
            } else {
                convert(rows, b, b_dtype, t * b_row + j * b_col, b_row, b_col, some, columns);
                pack_panel(to + t * width, rows, PANEL, 1, some, columns);
            }
        }
        to += k * width;
    }
}

/* ---- Any product, by blocks ---- */

/* Where the panels of B are in one block of k. */
struct panels {
    const T *at;    /* the first */
    int64_t stride; /* from one to the next */
    int64_t b_row;  /* 0: the panel's width */
    int64_t k0;     /* rows to skip */
    bool part;      /* not padded: the last must not be read beyond its columns */
};

/* rows x columns of C from `rows` rows of A (a_col is 1) and the panels of B. */
static void multiply(const struct span *base, const struct panels *panels, int64_t rows, int64_t columns, int32_t activation) {
    const int64_t groups = (rows + ROWS - 1) / ROWS, each_rows = rows / groups, longer = rows % groups;
    struct span s = *base;
    for (int64_t j = 0, p = 0; j < columns; j += PANEL, p++) {
        s.columns = columns - j < PANEL ? columns - j : PANEL;
        s.b_row = panels->b_row ? panels->b_row : panel_width(s.columns);
        s.b = panels->at + p * panels->stride + panels->k0 * s.b_row;
        s.bias = base->bias ? base->bias + j : NULL;
        s.a = base->a, s.c = base->c + j;
        const int which = panels->part && s.columns < PANEL ? KERNEL_PART : s.columns > LANES ? KERNEL_TWO : KERNEL_ONE;
        for (int64_t g = 0; g < groups; g++) {
            const int64_t count = each_rows + (g < longer);
            kernels[count][which](&s);
            if (activation) activate(s.c, s.c_row, count, s.columns, activation);
            s.a += count * s.a_row, s.c += count * s.c_row;
        }
    }
}

/* Strides near a multiple of 2 KiB put more rows into one set of the first-level cache than it holds. */
static bool collides(int64_t stride) {
    const int64_t bytes = stride * (int64_t)sizeof(T), off = ((bytes % 2048) + 2048) % 2048;
    return off < 128 || off > 2048 - 128;
}

static void tile(const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch) {
    T *a_block = scratch, *b_block = a_block + BLOCK_ROWS * A_STRIDE;
    const bool packed = g->packed_b && g->n > GEMM_DOT_COLUMNS;
    const T *b = g->packed_b ? g->packed_b : g->b;
    const int64_t b_row = g->packed_b ? 1 : g->b_row, b_col = g->packed_b ? g->k : g->b_col;
    const bool direct = !packed && b_col == 1 && (m1 - m0 <= 2 * ROWS || (n1 - n0) * DEPTH * (int64_t)sizeof(T) <= 32768);
    const int64_t step = packed || direct ? n1 - n0 : BLOCK_COLUMNS;
    const bool copy_a = g->a_col != 1 || (m1 - m0 > 8 && collides(g->a_row)) || (m1 - m0 > 2 * ROWS && n1 - n0 > 4 * PANEL);
    int64_t k0 = 0;
    do {
        const int64_t k = g->k - k0 < DEPTH ? g->k - k0 : DEPTH;
        const bool last = k0 + k == g->k;
        for (int64_t j = n0; j < n1; j += step) {
            const int64_t columns = n1 - j < step ? n1 - j : step;
            struct panels panels =
                packed ? (struct panels){b + j * g->k, PANEL * g->k, 0, k0, false} : (struct panels){b + j, PANEL, b_row, k0, true};
            if (!packed && !direct) {
                for (int64_t p = 0; p < columns; p += PANEL)
                    pack_panel(b_block + p * DEPTH, b + k0 * b_row + (j + p) * b_col, b_row, b_col, k,
                               columns - p < PANEL ? columns - p : PANEL);
                panels = (struct panels){b_block, PANEL * DEPTH, 0, 0, false};
            }
            for (int64_t i = m0; i < m1; i += BLOCK_ROWS) {
                const int64_t rows = m1 - i < BLOCK_ROWS ? m1 - i : BLOCK_ROWS;
                const T *a = (const T *)g->a + i * g->a_row + k0 * g->a_col;
                if (copy_a) pack_a(a_block, a, g->a_row, g->a_col, rows, k);
                struct span s = {.a = copy_a ? a_block : a,
                                 .a_row = copy_a ? A_STRIDE : g->a_row,
                                 .a_col = 1,
                                 .k = k,
                                 .c = (T *)g->c + i * g->c_row + j,
                                 .c_row = g->c_row,
                                 .load = k0 > 0 || g->beta != 0,
                                 .bias = last && g->bias ? (const T *)g->bias + j : NULL};
                multiply(&s, &panels, rows, columns, last ? g->activation : FLOW_ACTIVATION_NONE);
            }
        }
        k0 += k;
    } while (k0 < g->k);
}

/* ---- Few rows: B is read once, several panels side by side so that enough sums are under way ---- */

#define WIDE(name, rows, vectors, part) \
    static void name(const struct span *s) { block(rows, vectors, part, false, s); }
WIDE(wide_1_8, 1, 8, false)
WIDE(wide_1_4, 1, 4, false)
WIDE(wide_2_4, 2, 4, false)
WIDE(row_1, 1, 2, false)
WIDE(row_2, 2, 2, false)
WIDE(row_3, 3, 2, false)
WIDE(row_4, 4, 2, false)
WIDE(half_1, 1, 1, false)
WIDE(half_2, 2, 1, false)
WIDE(half_3, 3, 1, false)
WIDE(half_4, 4, 1, false)
WIDE(row_part_1, 1, 2, true)
WIDE(row_part_2, 2, 2, true)
WIDE(row_part_3, 3, 2, true)
WIDE(row_part_4, 4, 2, true)
WIDE(half_part_1, 1, 1, true)
WIDE(half_part_2, 2, 1, true)
WIDE(half_part_3, 3, 1, true)
WIDE(half_part_4, 4, 1, true)

static void few_rows(const struct flow_gemm *g, int64_t n0, int64_t n1) {
    static const kernel row[] = {NULL, row_1, row_2, row_3, row_4}, half[] = {NULL, half_1, half_2, half_3, half_4},
                        row_part[] = {NULL, row_part_1, row_part_2, row_part_3, row_part_4},
                        half_part[] = {NULL, half_part_1, half_part_2, half_part_3, half_part_4};
    const bool packed = g->packed_b != NULL;
    struct span s = {.a = g->a,
                     .a_row = g->a_row,
                     .a_col = g->a_col,
                     .b = packed ? (const T *)g->packed_b + n0 * g->k : (const T *)g->b + n0,
                     .b_row = packed ? PANEL : g->b_row,
                     .b_panel = packed ? PANEL * g->k : PANEL,
                     .c = (T *)g->c + n0,
                     .c_row = g->c_row,
                     .bias = g->bias ? (const T *)g->bias + n0 : NULL,
                     .k = g->k,
                     .load = g->beta != 0};
    for (int64_t left = n1 - n0, panels; left > 0; left -= panels * PANEL) {
        kernel run = row[g->m];
        panels = 1;
        if (left >= 4 * PANEL && g->m == 1) panels = 4, run = wide_1_8;
        else if (left >= 2 * PANEL && g->m <= 2) panels = 2, run = g->m == 1 ? wide_1_4 : wide_2_4;
        else if (left < PANEL && packed) s.b_row = panel_width(left), run = left > LANES ? run : half[g->m];
        else if (left < PANEL) run = left > LANES ? row_part[g->m] : half_part[g->m];
        s.columns = left < panels * PANEL ? left : panels * PANEL;
        run(&s);
        s.b += panels * s.b_panel, s.c += s.columns;
        if (s.bias) s.bias += s.columns;
    }
    if (g->activation) activate((T *)g->c + n0, g->c_row, g->m, n1 - n0, g->activation);
}

/* ---- Dot products: both factors contiguous along k ---- */

struct dots {
    const T *x, *y; /* rows of A and columns of B, or the other way round */
    int64_t x_step, y_step, k;
    T *c;
    int64_t c_x, c_y;
    const T *bias;
    int64_t bias_x, bias_y;
    bool load;
};

INLINE void dot_block(const int xs, const int ys, const struct dots *d) {
    vec sums[4][8];
#pragma GCC unroll 4
    for (int i = 0; i < xs; i++)
#pragma GCC unroll 8
        for (int j = 0; j < ys; j++) sums[i][j] = (vec){0};
    int64_t t = 0;
    for (; t + LANES <= d->k; t += LANES) {
        vec x[4];
#pragma GCC unroll 4
        for (int i = 0; i < xs; i++) x[i] = load(d->x + i * d->x_step + t);
#pragma GCC unroll 8
        for (int j = 0; j < ys; j++) {
            const vec y = load(d->y + j * d->y_step + t);
#pragma GCC unroll 4
            for (int i = 0; i < xs; i++) sums[i][j] += x[i] * y;
        }
    }
    if (t < d->k) {
        const int64_t rest = d->k - t;
#pragma GCC unroll 8
        for (int j = 0; j < ys; j++) {
            const vec y = load_part(d->y + j * d->y_step + t, rest);
#pragma GCC unroll 4
            for (int i = 0; i < xs; i++) sums[i][j] += load_part(d->x + i * d->x_step + t, rest) * y;
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < xs; i++)
#pragma GCC unroll 8
        for (int j = 0; j < ys; j++) {
            T *c = d->c + i * d->c_x + j * d->c_y, value = sum(sums[i][j]);
            if (d->load) value += *c;
            if (d->bias) value += d->bias[i * d->bias_x + j * d->bias_y];
            *c = value;
        }
}

static void dots_1_8(const struct dots *d) { dot_block(1, 8, d); }
static void dots_1_1(const struct dots *d) { dot_block(1, 1, d); }
static void dots_2_4(const struct dots *d) { dot_block(2, 4, d); }
static void dots_2_1(const struct dots *d) { dot_block(2, 1, d); }
static void dots_3_2(const struct dots *d) { dot_block(3, 2, d); }
static void dots_3_1(const struct dots *d) { dot_block(3, 1, d); }
static void dots_4_2(const struct dots *d) { dot_block(4, 2, d); }
static void dots_4_1(const struct dots *d) { dot_block(4, 1, d); }

static void dots(const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    static void (*const many[])(const struct dots *) = {NULL, dots_1_8, dots_2_4, dots_3_2, dots_4_2};
    static void (*const one[])(const struct dots *) = {NULL, dots_1_1, dots_2_1, dots_3_1, dots_4_1};
    static const int64_t count[] = {0, 8, 4, 2, 2};
    const T *a = (const T *)g->a + m0 * g->a_row, *bias = g->bias ? (const T *)g->bias + n0 : NULL;
    const int64_t b_step = g->packed_b ? g->k : g->b_col, m = m1 - m0, n = n1 - n0;
    const T *b = (const T *)(g->packed_b ? g->packed_b : g->b) + n0 * b_step;
    T *const c = (T *)g->c + m0 * g->c_row + n0;
    const bool low = m <= n; /* the shorter side is x */
    struct dots d = low ? (struct dots){.x = a, .y = b, .x_step = g->a_row, .y_step = b_step, .c_x = g->c_row, .c_y = 1, .bias_y = 1}
                        : (struct dots){.x = b, .y = a, .x_step = b_step, .y_step = g->a_row, .c_x = 1, .c_y = g->c_row, .bias_x = 1};
    d.k = g->k, d.load = g->beta != 0;
    const int64_t x_count = low ? m : n, y_count = low ? n : m;
    const T *const y = d.y;
    for (int64_t i = 0, xs; i < x_count; i += xs) {
        xs = x_count - i < 4 ? x_count - i : 4;
        d.c = c + i * d.c_x, d.bias = bias ? bias + i * d.bias_x : NULL, d.y = y;
        for (int64_t j = 0, ys; j < y_count; j += ys) {
            ys = y_count - j >= count[xs] ? count[xs] : 1;
            (ys > 1 ? many : one)[xs](&d);
            d.c += ys * d.c_y, d.y += ys * d.y_step;
            if (d.bias) d.bias += ys * d.bias_y;
        }
        d.x += xs * d.x_step;
    }
    if (g->activation) activate(c, g->c_row, m, n, g->activation);
}
