/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products of one element type and instruction set (see gemm_vector.h, gemm.h).
 *
 * The micro-kernel computes ROWS x PANEL elements in registers: a loop over k loads two vectors of B and multiplies them by ROWS
 * broadcast elements of A. A is read by rows, as it lies or copied (packed) to rows whose stride does not collide in the first-level cache;
 * B in panels, packed or as it lies. Rows are shared out evenly among the calls (16 rows are 8 + 8, not 14 + 2).
 *
 * Blocks: DEPTH of k, shared out evenly too; BLOCK_COLUMNS of B, packed at a time and staying in L2; CHUNK rows of A, which meet all of
 * these panels while they stay in the first-level cache (AVX-512: one micro-kernel's rows, so that the wide panels only pass through;
 * else many, and the narrow panel is what stays). The lines of A and C that come next are fetched early: that is worth 3 to 8% of
 * 4096 x 384 x 384.
 *
 * Where A's columns are contiguous (a weight's gradient, dY^T X: some hundred rows and columns, k in the thousands) both factors are read
 * once and mostly from memory: A is copied for several chunks at a time, blocks of k are shallower, and what the next ones read of A and B
 * comes to L2 during the arithmetic. One thread of a Zen 4, GFLOP/s, before and after: 512x128x4096 80 to 98, 384x128x4096 82 to 99,
 * 128x512x4096 89 to 98, 512x512x4096 99 to 103.
 */
#include "device/cpu/gemm_vector.h"
#include "device/cpu/gemm_activation.h"
#include "device/cpu/gemm_pack.h"
#include "device/cpu/gemm_dots.h"

/* ---- Micro-kernels ---- */

struct span {
    const T *a;
    int64_t a_row, a_col;
    bool grouped; /* a is what pack_groups made */
    const T *b;
    int64_t b_row;   /* from one k to the next */
    int64_t b_panel; /* from one panel to the next */
    T *c;
    int64_t c_row;
    int64_t columns; /* all vectors are full but the last */
    const T *bias;   /* or NULL */
    int64_t k;
    const T *next; /* where in C the next call will begin, to be fetched meanwhile */
    bool load;     /* begin with what is in C */
};

/* rows, vectors, part (B's last vector may not be read in full) and follows (s->next is one) are constants: this is inlined once for each.
 */
INLINE void block(const int rows, const int vectors, const bool part, const bool follows, const struct span *s) {
    const int64_t last = s->columns - (vectors - 1) * LANES, a_row = s->a_row, b_row = s->b_row, b_panel = s->b_panel, k = s->k;
    const int64_t a_col = s->a_col;
    vec sums[ROWS][8];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) {
            const T *c = s->c + i * s->c_row + j * LANES;
            sums[i][j] = !s->load ? (vec){0} : j < vectors - 1 || last == LANES ? load(c) : load_part(c, last);
        }
    if (vectors == 2 && !part && follows && k >= 64) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) fetch(s->next + i * s->c_row), fetch(s->next + i * s->c_row + LANES);
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

/* ---- Any product, by blocks ---- */

/* Memory whose turn comes later, brought nearer in `steps` shares, one with each panel of B. */
struct ahead {
    const T *at;
    int64_t row, rows, width; /* `rows` of `width` elements, `row` apart */
    int64_t done, step, steps;
};

/* (Inlined by force: gcc drops calls of functions that only fetch.) */
INLINE void fetch_ahead(struct ahead *f) {
    if (f->step >= f->steps) return;
    for (const int64_t to = f->rows * ++f->step / f->steps; f->done < to; f->done++) {
        const T *row = f->at + f->done * f->row;
        for (int64_t i = 0; i < f->width; i += LINE) __builtin_prefetch(row + i, 0, 2);
        __builtin_prefetch(row + f->width - 1, 0, 2);
    }
}

/* B in one block of k, and what of A and B comes next. */
struct panels {
    const T *at;    /* the first panel */
    int64_t stride; /* from one to the next */
    int64_t b_row;  /* 0: the panel's width */
    int64_t k0;     /* rows to skip */
    bool part;      /* not padded: the last must not be read beyond its columns */
    int64_t later;  /* how many of k come after this block, as many as this at most */
    struct ahead a, b;
};

/* rows x columns of C from `rows` rows of A (a_col is 1, or grouped) and the panels of B. */
static void multiply(const struct span *base, struct panels *panels, int64_t rows, int64_t columns, const struct epilogue *epilogue) {
    const int64_t groups = (rows + ROWS - 1) / ROWS, each_rows = rows / groups, longer = rows % groups;
    struct span s = *base;
    for (int64_t j = 0; j < columns; j += PANEL) {
        s.columns = columns - j < PANEL ? columns - j : PANEL;
        s.b_row = panels->b_row ? panels->b_row : panel_width(s.columns);
        s.b = panels->at + j / PANEL * panels->stride + panels->k0 * s.b_row;
        s.bias = base->bias ? base->bias + j : NULL;
        s.a = base->a, s.c = base->c + j;
        fetch_ahead(&panels->a), fetch_ahead(&panels->b);
        const int which = panels->part && s.columns < PANEL ? KERNEL_PART : s.columns > LANES ? KERNEL_TWO : KERNEL_ONE;
        for (int64_t g = 0; g < groups; g++) {
            const int64_t count = each_rows + (g < longer);
            s.next = g + 1 < groups ? s.c + count * s.c_row : base->c + j + PANEL;
            kernels[count][which](&s);
            if (epilogue) finish(epilogue, s.c, s.c_row, count, s.columns);
            s.a += s.grouped ? A_WIDTH * s.k : count * s.a_row, s.c += count * s.c_row;
        }
    }
}

/* Strides near a multiple of 2 KiB put more rows into one set of the first-level cache than it holds. */
static bool collides(int64_t stride) {
    const int64_t bytes = stride * (int64_t)sizeof(T), off = ((bytes % 2048) + 2048) % 2048;
    return off < 128 || off > 2048 - 128;
}

static int64_t chunk_start(int64_t m, int64_t chunks, int64_t chunk) {
    chunk = least(chunk, chunks);
    return chunk * (m / chunks) + least(chunk, m % chunks);
}

/* Copies the rows of chunks `first`, `first` + 1, ... as far as there is room, by groups. Returns the chunk to go on with. */
static int64_t pack_chunks(T *to, const T *a, int64_t a_col, int64_t m, int64_t chunks, int64_t first, int64_t k) {
    int64_t count[A_GROUPS], groups = 0;
    for (; first < chunks; first++) {
        const int64_t rows = m / chunks + (first < m % chunks), parts = (rows + ROWS - 1) / ROWS;
        if (groups + parts > A_GROUPS) break;
        for (int64_t g = 0; g < parts; g++) count[groups++] = rows / parts + (g < rows % parts);
    }
    pack_groups(to, a, a_col, count, groups, k);
    return first;
}

/* All rows [m0, m1) by some columns of B and some of k. */
static void run_chunks(const struct flow_gemm *g, struct panels *panels, const struct span *base, int64_t m0, int64_t m1, bool copy_a,
                       bool grouped, int64_t columns, const struct epilogue *epilogue, T *a_copy) {
    const int64_t m = m1 - m0, chunks = m <= LOW ? 1 : (m + CHUNK - 1) / CHUNK, across = (columns + PANEL - 1) / PANEL;
    int64_t copied = 0;
    panels->b.steps = panels->b.at ? chunks * across : 0;
    struct span s = *base;
    s.grouped = grouped;
    for (int64_t chunk = 0, rows; chunk < chunks; chunk++, m0 += rows) {
        rows = m / chunks + (chunk < m % chunks);
        const T *a = base->a + m0 * g->a_row;
        s.c = base->c + m0 * g->c_row;
        if (!s.grouped) {
            s.a = a, s.a_row = g->a_row, s.a_col = copy_a ? 1 : g->a_col;
            if (copy_a) pack_a(a_copy, a, g->a_row, g->a_col, rows, s.k), s.a = a_copy, s.a_row = A_STRIDE;
        } else if (chunk == copied) {
            copied = pack_chunks(a_copy, a, g->a_col, m, chunks, chunk, s.k);
            s.a = a_copy, s.a_row = 1, s.a_col = A_WIDTH;
            const int64_t done = chunk_start(m, chunks, copied), width = chunk_start(m, chunks, 2 * copied - chunk) - done;
            if (width > 0)
                panels->a =
                    (struct ahead){.at = base->a + done, .row = g->a_col, .rows = s.k, .width = width, .steps = (copied - chunk) * across};
            else if (panels->later > 0)
                panels->a = (struct ahead){.at = base->a + s.k * g->a_col,
                                           .row = g->a_col,
                                           .rows = panels->later,
                                           .width = chunk_start(m, chunks, copied - chunk),
                                           .steps = (copied - chunk) * across};
        }
        if (!s.grouped && chunk + 1 < chunks && g->a_col == 1)
            panels->a = (struct ahead){.at = a + rows * g->a_row, .row = g->a_row, .rows = rows, .width = s.k, .steps = across};
        multiply(&s, panels, rows, columns, epilogue);
        if (s.grouped) s.a += (rows + ROWS - 1) / ROWS * A_WIDTH * s.k;
    }
}

static void tile(const struct flow_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch) {
    T *a_copy = scratch, *b_block = a_copy + A_COPY;
    const struct epilogue epilogue = epilogue_of(g);
    const bool packed = g->packed_b && g->n > GEMM_DOT_COLUMNS;
    const T *b = g->packed_b ? g->packed_b : g->b;
    const int64_t b_row = g->packed_b ? 1 : g->b_row, b_col = g->packed_b ? g->k : g->b_col;
    const bool direct = !packed && b_col == 1 && (m1 - m0 <= LOW || (n1 - n0) * g->k * (int64_t)sizeof(T) <= 32768);
    /* A's columns contiguous: copied by groups, but read as they lie where each element is used once. */
    const bool columns_of_a = g->a_row == 1 && g->a_col != 1, once = columns_of_a && n1 - n0 <= PANEL && !collides(g->a_col);
    const bool grouped = columns_of_a && !once, copy_a = !once && (g->a_col != 1 || (m1 - m0 > 8 && collides(g->a_row)));
    for (int64_t j = n0; j < n1; j += BLOCK_COLUMNS) {
        const int64_t columns = n1 - j < BLOCK_COLUMNS ? n1 - j : BLOCK_COLUMNS;
        const int64_t depth = grouped && !packed && !direct ? most(least(DEPTH, B_BLOCK / columns), DEPTH / 4) : DEPTH;
        const int64_t blocks = g->k > depth ? (g->k + depth - 1) / depth : 1;
        for (int64_t block = 0, k0 = 0, k; block < blocks; block++, k0 += k) {
            k = g->k / blocks + (block < g->k % blocks);
            const bool last = block + 1 == blocks;
            const int64_t later = last ? 0 : g->k / blocks + (block + 1 < g->k % blocks);
            struct panels panels = {.at = b + j, .stride = PANEL, .b_row = b_row, .k0 = k0, .part = true, .later = later};
            if (packed) panels = (struct panels){.at = b + j * g->k, .stride = PANEL * g->k, .k0 = k0, .later = later};
            if (!packed && !direct) {
                pack_block(b_block, b + k0 * b_row + j * b_col, b_row, b_col, k, columns);
                panels = (struct panels){.at = b_block, .stride = PANEL * DEPTH, .later = later};
                if (!last && grouped && b_col == 1)
                    panels.b = (struct ahead){.at = b + (k0 + k) * b_row + j, .row = b_row, .rows = later, .width = columns};
            }
            const struct span s = {.a = (const T *)g->a + k0 * g->a_col,
                                   .a_col = 1,
                                   .k = k,
                                   .c = (T *)g->c + j,
                                   .c_row = g->c_row,
                                   .load = block > 0 || g->beta != 0,
                                   .bias = last && g->bias ? (const T *)g->bias + j : NULL};
            run_chunks(g, &panels, &s, m0, m1, copy_a, grouped, columns, last && epilogue_exists(&epilogue) ? &epilogue : NULL, a_copy);
        }
    }
}

/* ---- Few rows: B is read once, several panels side by side so that enough sums are under way ---- */

#define WIDE(name, rows, vectors, part) \
    static void name(const struct span *s) { block(rows, vectors, part, false, s); }
WIDE(wide_1_8, 1, 8, false)
WIDE(wide_1_4, 1, 4, false)
WIDE(wide_2_4, 2, 4, false)
#if GEMM_ROWS >= 12
WIDE(wide_2_8, 2, 8, false)
WIDE(wide_3_4, 3, 4, false)
WIDE(wide_4_4, 4, 4, false)
enum { LOW_PANELS = 2 }; /* side by side for 3 or 4 rows */
static const kernel wide_4[] = {NULL, wide_1_4, wide_2_4, wide_3_4, wide_4_4}, wide_8[] = {NULL, wide_1_8, wide_2_8};
#else
enum { LOW_PANELS = 1 };
static const kernel wide_4[] = {NULL, wide_1_4, wide_2_4}, wide_8[] = {NULL, wide_1_8};
#endif
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
        if (left >= 4 * PANEL && g->m <= LOW_PANELS) panels = 4, run = wide_8[g->m];
        else if (left >= 2 * PANEL && g->m <= 2 * LOW_PANELS) panels = 2, run = wide_4[g->m];
        else if (left < PANEL && packed) s.b_row = panel_width(left), run = left > LANES ? run : half[g->m];
        else if (left < PANEL) run = left > LANES ? row_part[g->m] : half_part[g->m];
        s.columns = left < panels * PANEL ? left : panels * PANEL;
        run(&s);
        s.b += panels * s.b_panel, s.c += s.columns;
        if (s.bias) s.bias += s.columns;
    }
    const struct epilogue epilogue = epilogue_of(g);
    if (epilogue_exists(&epilogue)) finish(&epilogue, (T *)g->c + n0, g->c_row, g->m, n1 - n0);
}
