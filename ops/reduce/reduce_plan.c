/* SPDX-License-Identifier: Apache-2.0 */
/* From axes to loops: infer and forward of every operator with `axes` and `keep`. */
#include "reduce/reduce.h"
#include "common/extent.h"

static const char *const op_names[] = {"sum",       "mean", "largest",  "smallest",    "product",
                                       "logsumexp", "norm", "variance", "disjunction", "conjunction"};

/* Which axes are reduced, as flags. */
static int axes_read(const struct flow_infer *infer, const struct flow_ints *axes, bool reduced[FLOW_RANK_MAX]) {
    const struct flow_tensor *x = &infer->in[0];
    for (int32_t i = 0; i < x->rank; ++i) reduced[i] = !axes->given;
    for (uint32_t i = 0; axes->given && i < axes->count; ++i) {
        int32_t axis;
        int status = shape_axis(infer, "axes", axes->at[i], x->rank, &axis);
        if (status < 0) return status;
        if (reduced[axis]) return infer->host->fail_at(infer->owner, "axes", FLOW_ERROR_USAGE, "axis %d is named twice", axis);
        reduced[axis] = true;
    }
    return FLOW_OK;
}

static void plan_loops(struct reduce_plan *plan, const struct flow_tensor *x, const bool reduced[FLOW_RANK_MAX]) {
    int64_t extent[FLOW_RANK_MAX], stride[FLOW_RANK_MAX], step = 1;
    bool sums[FLOW_RANK_MAX];
    int32_t rank = 0; /* counted from the last axis */
    for (int32_t i = x->rank - 1; i >= 0; --i) {
        if (x->shape[i] == 1) continue;
        if (rank > 0 && sums[rank - 1] == reduced[i]) {
            extent[rank - 1] *= x->shape[i];
        } else {
            extent[rank] = x->shape[i];
            stride[rank] = step;
            sums[rank++] = reduced[i];
        }
        step *= x->shape[i];
    }
    plan->last = rank > 0 && sums[0];
    plan->walk = (struct reduce_walk){.segments = 1, .run = rank > 0 ? extent[0] : 1};
    plan->kept = 1;
    plan->kept_rank = 0;
    for (int32_t i = rank - 1; i >= 1; --i) {
        if (sums[i]) {
            plan->walk.extent[plan->walk.rank] = extent[i];
            plan->walk.stride[plan->walk.rank++] = stride[i];
            plan->walk.segments *= extent[i];
        } else {
            plan->kept_extent[plan->kept_rank] = extent[i];
            plan->kept_stride[plan->kept_rank++] = stride[i];
            plan->kept *= extent[i];
        }
    }
}

int reduce_infer(struct flow_infer *infer, enum reduce_op op) {
    const struct reduce_attrs *attrs = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct reduce_plan *plan = infer->priv;
    bool reduced[FLOW_RANK_MAX] = {false}, whole = op == REDUCE_MEAN || op == REDUCE_MAX || op == REDUCE_MIN || op == REDUCE_VAR;
    int status = axes_read(infer, &attrs->axes, reduced);
    if (status < 0) return status;
    int64_t shape[FLOW_RANK_MAX];
    int32_t rank = 0, moved[FLOW_RANK_MAX];
    for (int32_t i = 0; i < x->rank; ++i) {
        moved[i] = rank;
        if (reduced[i] && whole && x->shape[i] == 0)
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "axis %d of x is empty: there is no %s of nothing", i, op_names[op]);
        if (!reduced[i] || attrs->keep) shape[rank++] = reduced[i] ? 1 : x->shape[i];
    }
    if ((status = extent_output(infer, 0, x->dtype, rank, shape)) < 0) return status;
    if (infer->streaming && infer->in_axis[0] >= 0) {
        if (reduced[infer->in_axis[0]])
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the %s over axis %d needs the whole sequence", op_names[op],
                                     infer->in_axis[0]);
        infer->out_axis[0] = moved[infer->in_axis[0]];
    }
    plan->op = op;
    plan_loops(plan, x, reduced);
    if (infer->differentiated) {
        bool sums = op == REDUCE_SUM || op == REDUCE_MEAN, alone = op == REDUCE_PRODUCT || op == REDUCE_VAR;
        infer->backward_reads_in = !sums;
        infer->backward_reads_out = !sums && !alone;
        if (op == REDUCE_VAR) infer->workspace_backward = shape_count(&infer->out[0]) * shape_type_bytes(extent_wide(x->dtype));
    }
    infer->flops = (double)shape_count(x);
    infer->bytes = (double)shape_type_bytes(x->dtype) * ((double)shape_count(x) + (double)shape_count(&infer->out[0]));
    return FLOW_OK;
}

enum { REDUCE_SHORT = 16 };

struct reduce_work {
    const struct reduce_plan *plan;
    const struct reduce_table *table;
    struct reduce_option option;
    const char *x;
    char *y;
    int32_t dtype;
    int64_t tiles; /* of REDUCE_TILE results in a row of kept ones */
};

static void reduce_at(const struct reduce_work *work, const struct reduce_walk *walk, const void *x, void *y, int64_t width) {
    bool last = work->plan->last;
    if (work->dtype == FLOW_F32) {
        if (last) work->table->last_f32(y, x, walk, &work->option);
        else work->table->first_f32(y, x, walk, width, &work->option);
    } else if (work->dtype == FLOW_F64) {
        if (last) work->table->last_f64(y, x, walk, &work->option);
        else work->table->first_f64(y, x, walk, width, &work->option);
    } else {
        reduce_integer(y, x, work->dtype, work->plan, walk, width);
    }
}

/* Results of short runs: `count` <= REDUCE_TILE of them are turned into columns first. */
static void short_runs(const struct reduce_work *work, int64_t begin, int64_t count) {
    const struct reduce_plan *plan = work->plan;
    _Alignas(64) char columns[REDUCE_SHORT * REDUCE_TILE * sizeof(double)];
    int64_t run = plan->walk.run;
    for (int64_t i = 0; i < run; ++i)
        for (int64_t j = 0; j < count; ++j)
            if (work->dtype == FLOW_F64)
                ((double *)(void *)columns)[i * REDUCE_TILE + j] = ((const double *)(const void *)work->x)[(begin + j) * run + i];
            else ((float *)(void *)columns)[i * REDUCE_TILE + j] = ((const float *)(const void *)work->x)[(begin + j) * run + i];
    struct reduce_walk walk = {.segments = run, .run = count, .rank = 1, .extent = {run}, .stride = {REDUCE_TILE}};
    if (work->dtype == FLOW_F64)
        work->table->first_f64((double *)(void *)work->y + begin, (const double *)(const void *)columns, &walk, count, &work->option);
    else work->table->first_f32((float *)(void *)work->y + begin, (const float *)(const void *)columns, &walk, count, &work->option);
}

/* Units: tiles of REDUCE_TILE results. */
static void short_body(void *context, int64_t begin, int64_t end) {
    const struct reduce_work *work = context;
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t start = unit * REDUCE_TILE, left = work->plan->kept - start;
        short_runs(work, start, left < REDUCE_TILE ? left : REDUCE_TILE);
    }
}

/* Units: results where the last axis is reduced, else tiles of results. */
static void body(void *context, int64_t begin, int64_t end) {
    const struct reduce_work *work = context;
    const struct reduce_plan *plan = work->plan;
    int64_t size = shape_type_bytes(work->dtype);
    for (int64_t unit = begin; unit < end; ++unit) {
        int64_t index = unit / work->tiles, start = unit % work->tiles * REDUCE_TILE, offset = 0, rest = index;
        for (int32_t i = plan->kept_rank - 1; i >= 0; --i) {
            offset += rest % plan->kept_extent[i] * plan->kept_stride[i];
            rest /= plan->kept_extent[i];
        }
        if (plan->last) {
            reduce_at(work, &plan->walk, work->x + offset * size, work->y + index * size, 1);
        } else {
            int64_t width = plan->walk.run - start < REDUCE_TILE ? plan->walk.run - start : REDUCE_TILE;
            reduce_at(work, &plan->walk, work->x + (offset + start) * size, work->y + (index * plan->walk.run + start) * size, width);
        }
    }
}

/* The results of `count` sets of elements, in y. */
static void results(const struct flow_call *call, struct reduce_option option, void *y, int64_t count) {
    const struct reduce_plan *plan = call->priv;
    struct reduce_work work = {
        .plan = plan,
        .table = ISA_PICK(reduce_table, call->host->isa),
        .option = option,
        .x = call->in[0].data,
        .y = y,
        .dtype = call->in[0].dtype,
        .tiles = plan->last ? 1 : (plan->walk.run + REDUCE_TILE - 1) / REDUCE_TILE,
    };
    if (count == 0) return;
    bool real = work.dtype == FLOW_F32 || work.dtype == FLOW_F64;
    if (plan->last && real && plan->walk.segments == 1 && plan->walk.run <= REDUCE_SHORT && plan->kept_rank == 1) {
        int64_t tiles = (plan->kept + REDUCE_TILE - 1) / REDUCE_TILE;
        call->host->parallel_for(call, tiles, extent_grain(REDUCE_TILE * plan->walk.run, 1 << 15), short_body, &work);
        return;
    }
    int64_t each = plan->walk.segments * (plan->last ? plan->walk.run : REDUCE_TILE);
    call->host->parallel_for(call, plan->kept * work.tiles, extent_grain(each, 1 << 17), body, &work);
}

int reduce_forward(const struct flow_call *call) {
    const struct reduce_attrs *attrs = call->attrs;
    const struct reduce_plan *plan = call->priv;
    results(call, (struct reduce_option){plan->op, attrs->p, attrs->unbiased}, call->out[0].data, shape_count(&call->out[0]));
    return FLOW_OK;
}

void reduce_means(const struct flow_call *call, void *means) {
    results(call, (struct reduce_option){.op = REDUCE_MEAN}, means, shape_count(&call->out[0]));
}
