/* SPDX-License-Identifier: Apache-2.0 */
#include "common/columns.h"

struct columns_work {
    const struct columns_table *table;
    const void *x;
    double *sums; /* [blocks, width] */
    int64_t rows, stride, width, block;
    bool wide;
};

/* Rows of a block: worth a thread's while, and not so few that the sums are a second matrix. */
static int64_t block_rows(int64_t rows, int64_t width) {
    int64_t block = width > 0 ? (1 << 17) / width : rows;
    if (block < 64) block = 64;
    return block < rows / 64 ? rows / 64 : block;
}
static int64_t block_count(int64_t rows, int64_t width) {
    int64_t block = block_rows(rows, width);
    return (rows + block - 1) / block;
}

int64_t columns_workspace(int64_t rows, int64_t width) {
    int64_t bytes;
    if (__builtin_mul_overflow(block_count(rows, width) * (int64_t)sizeof(double), width, &bytes)) return INT64_MAX;
    return bytes;
}

static void body(void *context, int64_t begin, int64_t end) {
    const struct columns_work *work = context;
    for (int64_t i = begin; i < end; ++i) {
        int64_t from = i * work->block, rows = work->rows - from < work->block ? work->rows - from : work->block;
        double *sum = work->sums + i * work->width;
        if (work->wide) work->table->sum_f64(sum, (const double *)work->x + from * work->stride, rows, work->stride, work->width);
        else work->table->sum_f32(sum, (const float *)work->x + from * work->stride, rows, work->stride, work->width);
    }
}

void columns_sum(const struct flow_call *call, int32_t dtype, void *y, const void *x, int64_t rows, int64_t stride, int64_t width,
                 bool adds, void *workspace) {
    struct columns_work work = {.table = ISA_PICK(columns_table, call->host->isa),
                                .x = x,
                                .sums = workspace,
                                .rows = rows,
                                .stride = stride,
                                .width = width,
                                .block = block_rows(rows, width),
                                .wide = dtype == FLOW_F64};
    if (width == 0) return;
    int64_t blocks = block_count(rows, width);
    call->host->parallel_for(call, blocks, 1, body, &work);
    for (int64_t i = 1; i < blocks; ++i)
        for (int64_t j = 0; j < width; ++j) work.sums[j] += work.sums[i * width + j];
    for (int64_t j = 0; j < width; ++j) {
        double sum = blocks > 0 ? work.sums[j] : 0;
        if (work.wide) ((double *)y)[j] = sum + (adds ? ((double *)y)[j] : 0);
        else ((float *)y)[j] = (float)(sum + (adds ? (double)((float *)y)[j] : 0));
    }
}
