/* SPDX-License-Identifier: Apache-2.0 */
/* Block sizes (see gemm_tmpl.h), and copies of A and B in the order in which they are read. */
enum {
    DEPTH = 2048 / (int)sizeof(T),
    BLOCK_COLUMNS = 2048 / (int)sizeof(T),
    CHUNK = CHUNKS * ROWS,
    B_BLOCK = 131072 / (int)sizeof(T),  /* of B where k takes several blocks: the next one comes to L2 meanwhile */
    LOW = 2 * ROWS,                     /* no more rows than this: one chunk, and B is used too little to be copied */
    A_GROUPS = CHUNKS > 4 ? CHUNKS : 4, /* of ROWS rows, that are copied at a time */
    A_ROWS = A_GROUPS * ROWS,
    A_WIDTH = (ROWS + LANES - 1) / LANES * LANES,
    A_STRIDE = DEPTH + LINE,
    A_COPY = A_GROUPS * A_WIDTH * DEPTH > A_ROWS *A_STRIDE ? A_GROUPS *A_WIDTH *DEPTH : A_ROWS *A_STRIDE
};
_Static_assert(A_ROWS >= CHUNK && A_ROWS >= LOW, "a chunk fits the copy");
_Static_assert(BLOCK_COLUMNS % PANEL == 0, "blocks hold whole panels");
_Static_assert((A_COPY + BLOCK_COLUMNS * DEPTH) * (int)sizeof(T) <= CPU_SCRATCH, "both copies fit the scratch buffer");

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t panel_width(int64_t columns) { return columns > LANES ? PANEL : LANES; }

/* LANES x LANES in registers, by exchanging blocks of half the size again and again. */
INLINE void transpose_square(vec *row) {
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2) {
        ivec low = {0}, high = {0};
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) low[l] = l & half ? LANES + l - half : l, high[l] = l & half ? LANES + l : l + half;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & half) continue;
            const vec a = row[i], b = row[i + half];
            row[i] = lanes_of(a, b, low), row[i + half] = lanes_of(a, b, high);
        }
    }
}

/* to[j * to_row + i] = from[i * from_row + j]; the rows of `to` are filled up with zeros to whole vectors. */
static void transpose(T *to, int64_t to_row, const T *from, int64_t from_row, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i += LANES)
        for (int64_t j = 0; j < columns; j += LANES) {
            const int64_t high = least(rows - i, LANES), wide = least(columns - j, LANES);
            vec row[LANES];
            if (high == LANES && wide == LANES) {
#pragma GCC unroll 16
                for (int q = 0; q < LANES; q++) row[q] = load(from + (i + q) * from_row + j);
                transpose_square(row);
#pragma GCC unroll 16
                for (int q = 0; q < LANES; q++) store(to + (j + q) * to_row + i, row[q]);
                continue;
            }
            for (int q = 0; q < LANES; q++) row[q] = q < high ? load_part(from + (i + q) * from_row + j, wide) : (vec){0};
            transpose_square(row);
            for (int q = 0; q < wide; q++) store(to + (j + q) * to_row + i, row[q]);
        }
}

/* Rows of A one after the other, A_STRIDE apart. */
static void pack_a(T *to, const T *a, int64_t a_row, int64_t a_col, int64_t rows, int64_t k) {
    if (a_col == 1)
        for (int64_t i = 0; i < rows; i++) memcpy(to + i * A_STRIDE, a + i * a_row, (size_t)k * sizeof(T));
    else
        for (int64_t i = 0; i < rows; i++)
            for (int64_t t = 0; t < k; t++) to[i * A_STRIDE + t] = a[i * a_row + t * a_col];
}

/* A's columns, where they are contiguous, by groups of rows, each [k, A_WIDTH] as one run of the micro-kernel reads it: nothing is
 * transposed. Few rows of k at a time: what lies 2 KiB or 4 KiB apart shares a set of the cache. */
static void pack_groups(T *to, const T *a, int64_t a_col, const int64_t *count, int64_t groups, int64_t k) {
    for (int64_t from = 0; from < k; from += 8) {
        const int64_t rows = least(k - from, 8);
        const T *column = a + from * a_col;
        T *group = to + from * A_WIDTH;
        for (int64_t g = 0; g < groups; column += count[g], group += A_WIDTH * k, g++)
            for (int64_t i = 0; i < count[g]; i += LANES) {
                const int64_t width = least(count[g] - i, LANES);
                for (int64_t t = 0; t < rows; t++) store(group + t * A_WIDTH + i, load_part(column + t * a_col + i, width));
            }
    }
}

/* One panel: [k, panel_width(columns)]. */
static void pack_panel(T *to, const T *b, int64_t b_row, int64_t b_col, int64_t k, int64_t columns) {
    const int64_t width = panel_width(columns);
    if (b_col == 1 && columns == width) {
        for (int64_t t = 0; t < k; t++, to += width, b += b_row) {
            for (int64_t j = 0; j < width; j += LINE) __builtin_prefetch(b + 16 * b_row + j);
            for (int64_t j = 0; j < width; j += LANES) store(to + j, load(b + j));
        }
    } else if (b_col == 1) {
        const int64_t full = columns > LANES ? LANES : 0;
        for (int64_t t = 0; t < k; t++, to += width, b += b_row) {
            if (full) store(to, load(b));
            store(to + full, load_part(b + full, columns - full));
        }
    } else if (b_row == 1) {
        transpose(to, width, b, b_col, columns, k);
    } else {
        if (columns < width) memset(to, 0, (size_t)(k * width) * sizeof(T));
        for (int64_t t = 0; t < k; t++)
            for (int64_t j = 0; j < columns; j++) to[t * width + j] = b[t * b_row + j * b_col];
    }
}

/* Panels DEPTH rows apart of one block of k, few rows at a time: what lies 2 KiB or 4 KiB apart shares a set of the cache. */
static void pack_block(T *to, const T *b, int64_t b_row, int64_t b_col, int64_t k, int64_t columns) {
    for (int64_t t = 0; t < k; t += 16)
        for (int64_t p = 0; p < columns; p += PANEL) {
            const int64_t some = least(columns - p, PANEL);
            pack_panel(to + p * DEPTH + t * panel_width(some), b + t * b_row + p * b_col, b_row, b_col, least(k - t, 16), some);
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
            for (int64_t t = 0; t < k; t++)
                if (b_dtype == GEMM_DTYPE) *to++ = ((const T *)b)[j * b_col + t * b_row];
                else convert(to++, b, b_dtype, j * b_col + t * b_row, 0, 0, 1, 1);
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
