/* SPDX-License-Identifier: Apache-2.0 */
#include "index/add_rows.h"

#include "common/adjoint.h"

enum { COLUMNS = 64, LEAST = 64 * 1024 }; /* columns a piece; elements worth a wake-up */

struct add_work {
    const struct add_rows *rows;
    const struct adjoint_table *table;
};

static void add_stretch(const struct add_work *w, int64_t block, int64_t column, int64_t n) {
    const struct add_rows *r = w->rows;
    const int64_t *index = r->index + block / r->shared * r->count;
    const char *from = (const char *)r->from + (block * r->count * r->width + column) * r->bytes;
    char *to = (char *)r->to + (block * r->extent * r->width + column) * r->bytes;
    int64_t row = r->width * r->bytes;
    if (r->width == 1 && r->bytes == 4) {
        for (int64_t e = 0; e < r->count; e++)
            if (index[e] != r->left_out) ((float *)(void *)to)[index[e]] += ((const float *)(const void *)from)[e];
    } else {
        for (int64_t e = 0; e < r->count; e++)
            if (index[e] != r->left_out) adjoint_add(w->table, r->bytes, from + e * row, to + index[e] * row, n);
    }
}

/* Columns of one table, or tables: no row is shared between two pieces, so each sums in its own order. */
static void add_columns(void *context, int64_t begin, int64_t end) {
    const struct add_work *w = context;
    for (int64_t b = 0; b < w->rows->blocks; b++) add_stretch(w, b, begin, end - begin);
}
static void add_blocks(void *context, int64_t begin, int64_t end) {
    const struct add_work *w = context;
    for (int64_t b = begin; b < end; b++) add_stretch(w, b, 0, w->rows->width);
}

void add_rows_run(const struct flow_call *call, const struct add_rows *rows) {
    struct add_work work = {rows, ISA_PICK(adjoint_table, call->host->isa)};
    int64_t each = rows->count * rows->width, total = rows->blocks * each;
    if (total == 0) return;
    if (total < 2 * LEAST || call->host->threads < 2) add_blocks(&work, 0, rows->blocks);
    else if (rows->blocks >= 8) call->host->parallel_for(call, rows->blocks, LEAST / (each + 1) + 1, add_blocks, &work);
    else if (rows->width >= 2 * COLUMNS) call->host->parallel_for(call, rows->width, COLUMNS, add_columns, &work);
    else add_blocks(&work, 0, rows->blocks);
}
