/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fold.h"

#include "common/shape.h"

#include <string.h>

enum {
    WIDE = 2048,    /* so many sums or more are enough to share out; fewer are also cut along what is summed */
    CHUNK = 65536,  /* elements in such a cut */
    LEAST = 64,     /* ... and at least so many of each sum */
    SHORT = 64,     /* elements of a row that is worth joining with others */
    PIECE = 16384,  /* elements worth a wake-up */
    FLUSH_ROWS = 32 /* rows summed in f32 */
};

/* Axes are joined where all tensors cross them in one stride. An axis is kept (the sums lie along it) or summed. */
struct fold {
    const struct fold_table *table;
    map_kernel kernel;
    const void *context;
    const void *in[MAP_INPUTS];
    const struct flow_tensor *to;
    double *partial; /* [chunks, sums] */
    bool add, wide;  /* wide: f64 */
    bool adjacent;   /* short rows lie one behind the other in all inputs: several are computed at once */
    int32_t rank, inputs;
    uint32_t kept_axes, summed_axes; /* but for the last axis */
    int64_t bytes[MAP_INPUTS], extent[FLOW_RANK_MAX], to_stride[FLOW_RANK_MAX], stride[MAP_INPUTS][FLOW_RANK_MAX];
    int64_t sums, each, chunk, chunks; /* `each` elements make one sum */
    int64_t blocks;                    /* blocks of columns, where the last axis is kept */
};

/* How `each` elements of each of `sums` sums are cut: by the counts alone. */
static int64_t chunk_of(int64_t sums, int64_t each) {
    if (sums >= WIDE || sums == 0) return each > 0 ? each : 1;
    int64_t chunk = CHUNK / sums > LEAST ? CHUNK / sums : LEAST;
    return each <= chunk ? (each > 0 ? each : 1) : chunk;
}

int64_t fold_workspace(const struct flow_tensor *like, const struct flow_tensor *to) {
    int64_t sums = shape_count(to), total = shape_count(like);
    if (sums == 0 || total <= sums) return 0;
    int64_t each = total / sums, chunk = chunk_of(sums, each), chunks = (each + chunk - 1) / chunk;
    return chunks > 1 ? chunks * sums * (int64_t)sizeof(double) : 0;
}

static int64_t stride_of(const struct flow_tensor *t, const struct flow_tensor *like, int32_t axis) {
    int32_t own = axis - (like->rank - t->rank);
    return own >= 0 && t->shape[own] != 1 ? t->strides[own] : 0;
}

static void join(struct fold *f, const struct flow_tensor *like, const struct flow_tensor *const *in) {
    for (int32_t axis = 0; axis < like->rank; axis++) {
        int64_t extent = like->shape[axis], to = stride_of(f->to, like, axis), stride[MAP_INPUTS] = {0};
        if (extent == 1) continue;
        int32_t last = f->rank - 1;
        bool joins = f->rank > 0 && f->to_stride[last] == to * extent;
        for (int32_t i = 0; i < f->inputs; i++) {
            stride[i] = stride_of(in[i], like, axis);
            joins = joins && f->stride[i][last] == stride[i] * extent;
        }
        if (!joins) f->extent[f->rank++] = 1;
        last = f->rank - 1;
        f->extent[last] *= extent, f->to_stride[last] = to;
        for (int32_t i = 0; i < f->inputs; i++) f->stride[i][last] = stride[i];
    }
    if (f->rank == 0) {
        f->rank = 1, f->extent[0] = 1, f->to_stride[0] = 1;
        for (int32_t i = 0; i < f->inputs; i++) f->stride[i][0] = 1;
    }
    for (int32_t axis = 0; axis < f->rank - 1; axis++)
        if (f->to_stride[axis] != 0) f->kept_axes |= 1u << axis;
        else f->summed_axes |= 1u << axis;
    int32_t last = f->rank - 1;
    f->adjacent = last > 0 && f->extent[last] <= SHORT && f->kernel;
    for (int32_t i = 0; i < f->inputs && f->adjacent; i++)
        f->adjacent = f->stride[i][last] == 1 && f->stride[i][last - 1] == f->extent[last];
}

/* ---- Places ------------------------------------------------------------------------------------------------------- */

struct place {
    int64_t index[FLOW_RANK_MAX], offset[MAP_INPUTS];
};

/* Number `number`, counted row-major over `axes`. */
static void place_at(const struct fold *f, struct place *p, uint32_t axes, int64_t number) {
    for (int32_t axis = f->rank - 1; axis >= 0; axis--) {
        if (!(axes >> axis & 1u)) continue;
        p->index[axis] = number % f->extent[axis], number /= f->extent[axis];
        for (int32_t i = 0; i < f->inputs; i++) p->offset[i] += p->index[axis] * f->stride[i][axis];
    }
}

static void place_next(const struct fold *f, struct place *p, uint32_t axes) {
    for (int32_t axis = f->rank - 1; axis >= 0; axis--) {
        if (!(axes >> axis & 1u)) continue;
        for (int32_t i = 0; i < f->inputs; i++) p->offset[i] += f->stride[i][axis];
        if (++p->index[axis] < f->extent[axis]) return;
        for (int32_t i = 0; i < f->inputs; i++) p->offset[i] -= f->stride[i][axis] * f->extent[axis];
        p->index[axis] = 0;
    }
}

static void gather(const char *from, int64_t stride, int64_t bytes, int64_t n, void *to) {
    switch (bytes) {
#define CASE(size, type)                                                                                  \
    case size:                                                                                            \
        for (int64_t k = 0; k < n; k++) ((type *)to)[k] = ((const type *)(const void *)from)[k * stride]; \
        break;
        CASE(1, uint8_t)
        CASE(4, uint32_t)
        CASE(8, uint64_t)
#undef CASE
    }
}

/* n <= FOLD_BLOCK values along the last axis, from `column` on: where they lie. `room`: for as many. */
static const void *values(const struct fold *f, const struct place *p, int64_t column, int64_t n, void *room) {
    _Alignas(64) char held[MAP_INPUTS][FOLD_BLOCK * 8];
    const void *in[MAP_INPUTS];
    uint32_t single = 0;
    for (int32_t i = 0; i < f->inputs; i++) {
        int64_t stride = f->stride[i][f->rank - 1];
        in[i] = (const char *)f->in[i] + (p->offset[i] + column * stride) * f->bytes[i];
        if (stride == 0 && n > 1) single |= 1u << i;
        else if (stride != 1 && n > 1) gather(in[i], stride, f->bytes[i], n, held[i]), in[i] = held[i];
    }
    if (!f->kernel) return in[0];
    f->kernel(f->context, in, room, n, single);
    return room;
}

/* ---- Sums along the last axis: one place of `to` after the other ---------------------------------------------------- */

static void finish(const struct fold *f, int64_t sum, int64_t chunk, double value) {
    if (f->chunks > 1) f->partial[chunk * f->sums + sum] = value;
    else if (f->wide) f->table->finish_f64(&value, (double *)f->to->data + sum, 1, f->add);
    else f->table->finish_f32(&value, (float *)f->to->data + sum, 1, f->add);
}

static double read_one(const struct fold *f, const void *v, int64_t i) {
    return f->wide ? ((const double *)v)[i] : (double)((const float *)v)[i];
}

/* Short rows side by side, each one sum; from `sum` on, as many as fit: how many. */
static int64_t sum_short_rows(const struct fold *f, int64_t sum, int64_t end) {
    _Alignas(64) double room[FOLD_BLOCK];
    struct place p = {{0}, {0}};
    int32_t last = f->rank - 1;
    place_at(f, &p, f->kept_axes, sum);
    int64_t width = f->extent[last], rows = FOLD_BLOCK / width, left = f->extent[last - 1] - p.index[last - 1];
    if (rows > left) rows = left;
    if (rows > end - sum) rows = end - sum;
    const void *v = values(f, &p, 0, rows * width, room);
    for (int64_t r = 0; r < rows; r++) {
        double value = 0;
        for (int64_t i = 0; i < width; i++) value += read_one(f, v, r * width + i);
        finish(f, sum + r, 0, value);
    }
    return rows;
}

static void sum_rows(void *context, int64_t begin, int64_t end) {
    const struct fold *f = context;
    if (f->adjacent && f->summed_axes == 0 && f->chunks == 1) {
        for (int64_t sum = begin; sum < end;) sum += sum_short_rows(f, sum, end);
        return;
    }
    _Alignas(64) double room[FOLD_BLOCK];
    int64_t width = f->extent[f->rank - 1];
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t sum = unit / f->chunks, chunk = unit % f->chunks, at = chunk * f->chunk;
        int64_t stop = at + f->chunk < f->each ? at + f->chunk : f->each;
        struct place p = {{0}, {0}};
        double value = 0;
        place_at(f, &p, f->kept_axes, sum);
        place_at(f, &p, f->summed_axes, at / width);
        for (int64_t column = at % width; at < stop;) {
            int64_t n = width - column < stop - at ? width - column : stop - at;
            if (f->kernel && n > FOLD_BLOCK) n = FOLD_BLOCK;
            const void *v = values(f, &p, column, n, room);
            value += f->wide ? f->table->total_f64(v, n) : f->table->total_f32(v, n);
            at += n, column += n;
            if (column == width) column = 0, place_next(f, &p, f->summed_axes);
        }
        finish(f, sum, chunk, value);
    }
}

/* ---- Sums of rows: stretches of `to` side by side -------------------------------------------------------------------- */

/* As many of the short rows [row, stop) as fit, onto `sum`; p moves on behind them: how many. */
static int64_t sum_short_columns(const struct fold *f, struct place *p, int64_t row, int64_t stop, double *sum) {
    _Alignas(64) double room[FOLD_BLOCK];
    int32_t last = f->rank - 1;
    int64_t width = f->extent[last], rows = FOLD_BLOCK / width, left = f->extent[last - 1] - p->index[last - 1];
    if (rows > left) rows = left;
    if (rows > stop - row) rows = stop - row;
    const void *v = values(f, p, 0, rows * width, room);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++) sum[i] += read_one(f, v, r * width + i);
    p->index[last - 1] += rows - 1;
    for (int32_t i = 0; i < f->inputs; i++) p->offset[i] += (rows - 1) * f->stride[i][last - 1];
    place_next(f, p, f->summed_axes);
    return rows;
}

static void sum_columns(void *context, int64_t begin, int64_t end) {
    const struct fold *f = context;
    _Alignas(64) double sum[FOLD_BLOCK], room[4][FOLD_BLOCK];
    _Alignas(64) float part[FOLD_BLOCK];
    int64_t width = f->extent[f->rank - 1];
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t block = unit % f->blocks, chunk = unit / f->blocks % f->chunks, outer = unit / f->blocks / f->chunks;
        int64_t column = block * FOLD_BLOCK, n = width - column < FOLD_BLOCK ? width - column : FOLD_BLOCK;
        int64_t row = chunk * f->chunk, stop = row + f->chunk < f->each ? row + f->chunk : f->each;
        struct place p = {{0}, {0}};
        place_at(f, &p, f->kept_axes, outer);
        place_at(f, &p, f->summed_axes, row);
        for (int64_t i = 0; i < n; i++) sum[i] = 0, part[i] = 0;
        bool together = f->adjacent && f->summed_axes >> (f->rank - 2) & 1u;
        while (together && row < stop) row += sum_short_columns(f, &p, row, stop, sum);
        for (int64_t waiting = 0; row < stop;) {
            int32_t rows = stop - row < 4 ? (int32_t)(stop - row) : 4;
            const void *v[4] = {NULL};
            for (int32_t k = 0; k < rows; k++) {
                v[k] = values(f, &p, column, n, room[k]);
                place_next(f, &p, f->summed_axes);
            }
            row += rows, waiting += rows;
            if (f->wide) {
                const double *of[4] = {v[0], v[1], v[2], v[3]};
                f->table->rows_f64(sum, of, rows, n);
                continue;
            }
            const float *of[4] = {v[0], v[1], v[2], v[3]};
            f->table->rows_f32(part, of, rows, n);
            if (waiting >= FLUSH_ROWS || row == stop) f->table->flush(sum, part, n), waiting = 0;
        }
        int64_t to = outer * width + column;
        if (f->chunks > 1) memcpy(f->partial + chunk * f->sums + to, sum, (size_t)n * sizeof *sum);
        else if (f->wide) f->table->finish_f64(sum, (double *)f->to->data + to, n, f->add);
        else f->table->finish_f32(sum, (float *)f->to->data + to, n, f->add);
    }
}

/* ---- The whole ------------------------------------------------------------------------------------------------------ */

static void join_chunks(const struct fold *f) {
    double *sum = f->partial;
    for (int64_t c = 1; c < f->chunks; c++) {
        const double *row[1] = {f->partial + c * f->sums};
        f->table->rows_f64(sum, row, 1, f->sums);
    }
    if (f->wide) f->table->finish_f64(sum, f->to->data, f->sums, f->add);
    else f->table->finish_f32(sum, f->to->data, f->sums, f->add);
}

void fold_run(const struct flow_call *call, const struct flow_tensor *like, const struct flow_tensor *to,
              const struct flow_tensor *const *in, int32_t inputs, map_kernel kernel, const void *context, bool add, void *workspace) {
    int64_t total = shape_count(like), bytes = shape_type_bytes(to->dtype);
    struct fold f = {.table = ISA_PICK(fold_table, call->host->isa),
                     .kernel = kernel,
                     .context = context,
                     .to = to,
                     .partial = workspace,
                     .add = add,
                     .wide = to->dtype == FLOW_F64,
                     .inputs = inputs,
                     .sums = shape_count(to)};
    if (f.sums == 0) return;
    if (total == 0) {
        if (!add) memset(to->data, 0, (size_t)(f.sums * bytes));
        return;
    }
    for (int32_t i = 0; i < inputs; i++) f.in[i] = in[i]->data, f.bytes[i] = shape_type_bytes(in[i]->dtype);
    join(&f, like, in);
    f.each = total / f.sums;
    f.chunk = chunk_of(f.sums, f.each), f.chunks = (f.each + f.chunk - 1) / f.chunk;
    bool rows = f.to_stride[f.rank - 1] == 0;
    f.blocks = rows ? 1 : (f.extent[f.rank - 1] + FOLD_BLOCK - 1) / FOLD_BLOCK;
    int64_t units = f.chunks * (rows ? f.sums : f.sums / f.extent[f.rank - 1] * f.blocks);
    int64_t grain = PIECE / (total / units + 1) + 1;
    void (*body)(void *, int64_t, int64_t) = rows ? sum_rows : sum_columns;
    if (total < 4 * PIECE || units < 2 || call->host->threads < 2) body(&f, 0, units);
    else call->host->parallel_for(call, units, grain, body, &f);
    if (f.chunks > 1) join_chunks(&f);
}
