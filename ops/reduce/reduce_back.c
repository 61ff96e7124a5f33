/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of every operator with `axes` and `keep`: each element's from that of the result it is part of. */
#include "reduce/reduce.h"
#include "common/extent.h"
#include "common/gradient.h"

#include <math.h>
#include <string.h>

enum { BACK_PIECE = 1 << 15 }; /* elements of a run at a time */

struct back_work {
    const struct flow_call *call;
    const struct reduce_plan *plan;
    const struct reduce_back_table *table;
    enum reduce_spread kind;
    bool extreme;   /* one element has it all */
    bool magnitude; /* of an extreme: the largest magnitude */
    bool wide, adds;
    double p, count;   /* of norm; elements of a result */
    double correction; /* of var */
    const void *means; /* of var */
    int64_t tiles, pieces;
};

static double value(const struct back_work *work, const void *at, int64_t i) {
    return work->wide ? ((const double *)at)[i] : (double)((const float *)at)[i];
}

/* q and c of result i. */
static void numbers(const struct back_work *work, int64_t i, double *q, double *c) {
    const struct flow_call *call = work->call;
    double g = value(work, call->grad_out[0].data, i), y;
    *q = g, *c = 0;
    switch (work->plan->op) {
    case REDUCE_MEAN: *q = g / work->count; return;
    case REDUCE_VAR: *q = 2 * g / (work->count - work->correction), *c = value(work, work->means, i); return;
    case REDUCE_LOG_SUM_EXP:
        y = value(work, call->out[0].data, i);
        if (y == -(double)INFINITY) *q = 0;
        else *c = y;
        return;
    case REDUCE_MAX:
    case REDUCE_MIN: *c = value(work, call->out[0].data, i); return;
    case REDUCE_NORM:
        y = value(work, call->out[0].data, i);
        if (work->extreme) *c = y;
        if (y == 0 || work->p == 0) *q = 0;
        else if (work->kind == SPREAD_SCALE) *q = g / y;
        else if (work->kind == SPREAD_POWER) *q = g * pow(y, 1 - work->p);
        return;
    default: return;
    }
}

static int64_t kept_offset(const struct reduce_plan *plan, int64_t index) {
    int64_t offset = 0;
    for (int32_t i = plan->kept_rank - 1; i >= 0; --i) {
        offset += index % plan->kept_extent[i] * plan->kept_stride[i];
        index /= plan->kept_extent[i];
    }
    return offset;
}

/* ---- Results made of runs ---- */

/* Units: pieces of the runs of all results. */
static void spread_body(void *context, int64_t begin, int64_t end) {
    const struct back_work *work = context;
    const struct reduce_plan *plan = work->plan;
    const struct flow_call *call = work->call;
    int64_t each = plan->walk.segments * work->pieces;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t result = unit / each, from = unit % work->pieces * BACK_PIECE, left = plan->walk.run - from;
        int64_t at = kept_offset(plan, result) + reduce_segment(&plan->walk, unit % each / work->pieces) + from;
        int64_t n = left < BACK_PIECE ? left : BACK_PIECE;
        const float *x = call->in[0].data;
        const double *x64 = call->in[0].data;
        double q, c;
        numbers(work, result, &q, &c);
        if (work->wide)
            work->table->spread_f64(work->kind, (double *)call->grad_in[0].data + at, x64 ? x64 + at : NULL, n, q, c, work->p, work->adds);
        else
            work->table->spread_f32(work->kind, (float *)call->grad_in[0].data + at, x ? x + at : NULL, n, (float)q, (float)c, work->p,
                                    work->adds);
    }
}

/* The first element that is the result has the gradient. */
static void extreme_last(const struct back_work *work, int64_t result) {
    const struct reduce_plan *plan = work->plan;
    const struct flow_call *call = work->call;
    int64_t start = kept_offset(plan, result), size = work->wide ? 8 : 4, found = -1;
    double q, c;
    numbers(work, result, &q, &c);
    for (int64_t s = 0; s < plan->walk.segments; ++s) {
        int64_t at = start + reduce_segment(&plan->walk, s), n = plan->walk.run, here = -1;
        if (!work->adds) memset((char *)call->grad_in[0].data + at * size, 0, (size_t)(n * size));
        if (found >= 0) continue;
        if (work->wide) here = work->table->find_f64((const double *)call->in[0].data + at, n, c, work->magnitude);
        else here = work->table->find_f32((const float *)call->in[0].data + at, n, (float)c, work->magnitude);
        if (here >= 0) found = at + here;
    }
    if (found < 0) return;
    double x = value(work, call->in[0].data, found);
    gradient_put(&call->grad_in[0], found, work->magnitude && x < 0 ? -q : q, true);
}

static void product_last(const struct back_work *work, int64_t result) {
    const struct reduce_plan *plan = work->plan;
    const struct flow_call *call = work->call;
    const struct reduce_back_table *table = work->table;
    int64_t start = kept_offset(plan, result), n = plan->walk.run, zeros = 0;
    double product = 1, q = value(work, call->grad_out[0].data, result);
    for (int pass = 0; pass < 2; ++pass)
        for (int64_t s = 0; s < plan->walk.segments; ++s) {
            int64_t at = start + reduce_segment(&plan->walk, s);
            const double *x64 = (const double *)call->in[0].data + (work->wide ? at : 0);
            const float *x = (const float *)call->in[0].data + (work->wide ? 0 : at);
            if (pass == 0 && work->wide) table->factors_f64(x64, n, &product, &zeros);
            else if (pass == 0) table->factors_f32(x, n, &product, &zeros);
            else if (work->wide) table->cofactors_f64((double *)call->grad_in[0].data + at, x64, n, q, product, zeros, work->adds);
            else table->cofactors_f32((float *)call->grad_in[0].data + at, x, n, q, product, zeros, work->adds);
        }
}

static void last_body(void *context, int64_t begin, int64_t end) {
    const struct back_work *work = context;
    for (int64_t result = begin; result < end; ++result) {
        if (work->extreme) extreme_last(work, result);
        else product_last(work, result);
    }
}

/* ---- Results side by side ---- */

/* What a tile of results needs, in f64 and in f32. */
struct back_tile {
    double q64[REDUCE_TILE], c64[REDUCE_TILE], product[REDUCE_TILE];
    float q[REDUCE_TILE], c[REDUCE_TILE];
    int64_t zeros[REDUCE_TILE];
    unsigned char found[REDUCE_TILE];
};

static void tile_row(const struct back_work *work, struct back_tile *tile, int64_t at, int64_t width) {
    const struct reduce_back_table *table = work->table;
    bool product = work->plan->op == REDUCE_PRODUCT;
    if (work->wide) {
        double *dx = (double *)work->call->grad_in[0].data + at;
        const double *x = work->call->in[0].data;
        if (x) x += at;
        if (work->extreme) table->find_each_f64(dx, x, width, tile->c64, tile->q64, tile->found, work->magnitude, work->adds);
        else if (product) table->cofactors_each_f64(dx, x, width, tile->q64, tile->product, tile->zeros, work->adds);
        else table->spread_each_f64(work->kind, dx, x, width, tile->q64, tile->c64, work->p, work->adds);
    } else {
        float *dx = (float *)work->call->grad_in[0].data + at;
        const float *x = work->call->in[0].data;
        if (x) x += at;
        if (work->extreme) table->find_each_f32(dx, x, width, tile->c, tile->q, tile->found, work->magnitude, work->adds);
        else if (product) table->cofactors_each_f32(dx, x, width, tile->q, tile->product, tile->zeros, work->adds);
        else table->spread_each_f32(work->kind, dx, x, width, tile->q, tile->c, work->p, work->adds);
    }
}

static void first_body(void *context, int64_t begin, int64_t end) {
    const struct back_work *work = context;
    const struct reduce_plan *plan = work->plan;
    struct back_tile tile;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t index = unit / work->tiles, start = unit % work->tiles * REDUCE_TILE, at = kept_offset(plan, index) + start;
        int64_t width = plan->walk.run - start < REDUCE_TILE ? plan->walk.run - start : REDUCE_TILE;
        for (int64_t j = 0; j < width; ++j) {
            numbers(work, index * plan->walk.run + start + j, &tile.q64[j], &tile.c64[j]);
            tile.q[j] = (float)tile.q64[j], tile.c[j] = (float)tile.c64[j];
            tile.product[j] = 1, tile.zeros[j] = 0, tile.found[j] = 0;
        }
        for (int64_t s = 0; plan->op == REDUCE_PRODUCT && s < plan->walk.segments; ++s) {
            int64_t row = at + reduce_segment(&plan->walk, s);
            if (work->wide) work->table->factors_each_f64((const double *)work->call->in[0].data + row, width, tile.product, tile.zeros);
            else work->table->factors_each_f32((const float *)work->call->in[0].data + row, width, tile.product, tile.zeros);
        }
        for (int64_t s = 0; s < plan->walk.segments; ++s) tile_row(work, &tile, at + reduce_segment(&plan->walk, s), width);
    }
}

/* ---- All ---- */

static enum reduce_spread kind_of(enum reduce_op op, double p) {
    switch (op) {
    case REDUCE_LOG_SUM_EXP: return SPREAD_EXP;
    case REDUCE_VAR: return SPREAD_SCALE;
    case REDUCE_NORM: return p == 1 ? SPREAD_SIGN : p == 2 ? SPREAD_SCALE : p == 0 || p == (double)INFINITY ? SPREAD_PLAIN : SPREAD_POWER;
    default: return SPREAD_PLAIN;
    }
}

int reduce_backward(const struct flow_call *call) {
    const struct reduce_attrs *attrs = call->attrs;
    const struct reduce_plan *plan = call->priv;
    if (!shape_exists(&call->grad_out[0]) || shape_count(&call->grad_out[0]) == 0) return gradient_none(call);
    if (!shape_exists(&call->grad_in[0]) || shape_count(&call->grad_in[0]) == 0) return FLOW_OK;
    double p = plan->op == REDUCE_NORM ? attrs->p : 0;
    bool largest = plan->op == REDUCE_NORM && p == (double)INFINITY;
    struct back_work work = {.call = call,
                             .plan = plan,
                             .table = ISA_PICK(reduce_back_table, call->host->isa),
                             .kind = kind_of(plan->op, p),
                             .extreme = plan->op == REDUCE_MAX || plan->op == REDUCE_MIN || largest,
                             .magnitude = largest,
                             .wide = call->grad_out[0].dtype == FLOW_F64,
                             .adds = gradient_adds_in(call, 0),
                             .p = p,
                             .count = (double)shape_count(&call->grad_in[0]) / (double)shape_count(&call->grad_out[0]),
                             .correction = attrs->unbiased,
                             .means = call->workspace,
                             .tiles = (plan->walk.run + REDUCE_TILE - 1) / REDUCE_TILE,
                             .pieces = (plan->walk.run + BACK_PIECE - 1) / BACK_PIECE};
    if (plan->op == REDUCE_VAR) reduce_means(call, call->workspace);
    int64_t segments = plan->walk.segments, run = plan->walk.run;
    if (!plan->last)
        call->host->parallel_for(call, plan->kept * work.tiles, extent_grain(segments * REDUCE_TILE, 1 << 16), first_body, &work);
    else if (work.extreme || plan->op == REDUCE_PRODUCT)
        call->host->parallel_for(call, plan->kept, extent_grain(segments * run, 1 << 16), last_body, &work);
    else
        call->host->parallel_for(call, plan->kept * segments * work.pieces, extent_grain(run < BACK_PIECE ? run : BACK_PIECE, 1 << 16),
                                 spread_body, &work);
    return FLOW_OK;
}
