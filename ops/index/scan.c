/* SPDX-License-Identifier: Apache-2.0 */
/* cumsum and tril_mask. */
#include "common/adjoint.h"
#include "index/index.h"

#include <string.h>

/* ---- cumsum ------------------------------------------------------------------------------------------------------ */

static const struct flow_attr cumsum_attrs[] = {FLOW_ATTR(struct cumsum_attrs, axis, "the axis", "-1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
                                                FLOW_ATTR_PLAIN(struct cumsum_attrs, exclusive, "without the element itself", "false"),
                                                FLOW_ATTR_PLAIN(struct cumsum_attrs, reverse, "from the end", "false")};
static const struct flow_port cumsum_in[] = {{"x", "any shape", "...", FLOW_TYPES_NUMBER, 0}};
static const struct flow_port cumsum_out[] = {{"y", "x's shape and type", "...", FLOW_TYPES_NUMBER, FLOW_INPLACE(0)}};
/* Floats are summed in f64, integers modulo 2^64; so is what is carried. */
static const struct flow_state cumsum_states[] = {{"sum", "of all steps so far", NULL, "zeros", FLOW_TYPES_ANY, 0, 0, 0}};

static int cumsum_infer(struct flow_infer *infer) {
    const struct cumsum_attrs *a = infer->attrs;
    struct cumsum *c = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    int status = shape_axis(infer, "axis", a->axis, x->rank, &c->axis);
    if (status < 0) return status;
    shape_like(&infer->out[0], x);
    infer->out[0].dtype = x->dtype;
    c->outer = shape_span(x, 0, c->axis), c->n = x->shape[c->axis], c->inner = shape_span(x, c->axis + 1, x->rank);
    int32_t wide = x->dtype == FLOW_F16 || x->dtype == FLOW_BF16 ? FLOW_F32 : x->dtype; /* halves come widened */
    c->columns = ISA_PICK(line_table, infer->host->isa)->columns[wide], c->rows = ISA_PICK(line_table, infer->host->isa)->rows[wide];
    c->integer = x->dtype == FLOW_I32 || x->dtype == FLOW_I64 || x->dtype == FLOW_U8;
    infer->flops = (double)shape_count(x);
    infer->bytes = 2.0 * (double)(shape_count(x) * shape_type_bytes(x->dtype));
    infer->backward_reads_in = infer->backward_reads_out = 0;
    if (!infer->streaming) return FLOW_OK;
    infer->out_axis[0] = infer->in_axis[0];
    struct flow_tensor *sum = &infer->state[0];
    if (infer->in_axis[0] != c->axis) {
        sum->rank = infer->state_out[0].rank = -1;
        return FLOW_OK;
    }
    if (a->reverse) return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "a sum from the end needs the whole sequence");
    if (infer->first) {
        *sum = *x;
        sum->shape[c->axis] = 1;
        sum->dtype = c->integer ? FLOW_I64 : FLOW_F64;
        shape_dense(sum);
    }
    infer->state_out[0] = *sum;
    return FLOW_OK;
}

enum { CUMSUM_BLOCK = 128 }; /* columns at a time */

/* Pieces: blocks of columns (block b of outer index o has number o * blocks + b), or, of single columns, groups of rows. */
static int64_t piece_count(const struct cumsum *c) {
    if (c->inner == 1) return (c->outer + SCAN_ROWS - 1) / SCAN_ROWS;
    return c->outer * ((c->inner + CUMSUM_BLOCK - 1) / CUMSUM_BLOCK);
}

/* One direction of x -> y, of the values or of their gradients. */
struct cumsum_work {
    const struct flow_call *call;
    const void *x;
    void *y;
    int64_t bytes;
    bool reverse, add, carried;
};

static void cumsum_piece(void *context, int64_t begin, int64_t end) {
    const struct cumsum_work *w = context;
    const struct flow_call *call = w->call;
    const struct cumsum *c = call->priv;
    const struct cumsum_attrs *a = call->attrs;
    int64_t blocks = (c->inner + CUMSUM_BLOCK - 1) / CUMSUM_BLOCK;
    for (int64_t piece = begin; piece < end; piece++) {
        int64_t outer = c->inner == 1 ? piece * SCAN_ROWS : piece / blocks, column = c->inner == 1 ? 0 : piece % blocks * CUMSUM_BLOCK;
        int64_t left = c->inner == 1 ? c->outer - outer : c->inner - column, most = c->inner == 1 ? SCAN_ROWS : CUMSUM_BLOCK;
        int64_t n = left < most ? left : most, first = (outer * c->n * c->inner + column) * w->bytes,
                state = (outer * c->inner + column) * 8;
        union {
            double f64[CUMSUM_BLOCK];
            uint64_t u64[CUMSUM_BLOCK];
        } sum;
        const void *from = (const char *)w->x + first;
        void *to = (char *)w->y + first;
        if (w->carried) memcpy(&sum, (const char *)call->state_in[0].data + state, (size_t)n * 8);
        else memset(&sum, 0, (size_t)n * 8);
        if (c->inner == 1) c->rows(from, to, c->n, n, a->exclusive, w->reverse, w->add, &sum);
        else c->columns(from, to, c->n, n, c->inner, a->exclusive, w->reverse, w->add, &sum);
        if (w->carried) memcpy((char *)call->state_out[0].data + state, &sum, (size_t)n * 8);
    }
}

static void cumsum_run(struct cumsum_work *w) {
    const struct flow_call *call = w->call;
    const struct cumsum *c = call->priv;
    int64_t pieces = piece_count(c), width = c->inner == 1 ? SCAN_ROWS : c->inner < CUMSUM_BLOCK ? c->inner : CUMSUM_BLOCK;
    double cost = (double)c->n * (1.0 + 0.3 * (double)width) + 10; /* ns a piece */
    int64_t grain = (int64_t)(30e3 / cost) + 1;
    if (pieces < 2 * grain || call->host->threads < 2) cumsum_piece(w, 0, pieces);
    else call->host->parallel_for(call, pieces, grain, cumsum_piece, w);
}

static int cumsum_forward(const struct flow_call *call) {
    const struct cumsum_attrs *a = call->attrs;
    const struct flow_tensor *x = &call->in[0];
    struct cumsum_work work = {.call = call,
                               .x = x->data,
                               .y = call->out[0].data,
                               .bytes = shape_type_bytes(x->dtype),
                               .reverse = a->reverse,
                               .carried = call->state_count > 0 && call->state_in[0].rank >= 0};
    cumsum_run(&work);
    return FLOW_OK;
}

/* An element is in all sums behind it: the running sum from the other end. */
static int cumsum_backward(const struct flow_call *call) {
    const struct cumsum_attrs *a = call->attrs;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (g->rank < 0) adjoint_zero(call, to, add);
    if (g->rank < 0 || to->rank < 0) return FLOW_OK;
    struct cumsum_work work = {
        .call = call, .x = g->data, .y = to->data, .bytes = shape_type_bytes(g->dtype), .reverse = !a->reverse, .add = add};
    cumsum_run(&work);
    return FLOW_OK;
}

static const struct flow_kernel cumsum_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL | FLOW_TYPES_INTEGER, .forward = cumsum_forward, .backward = cumsum_backward}};

const struct flow_operator cumsum_operator = {
    .size = sizeof(struct flow_operator),
    .name = "cumsum",
    .summary = "running sums along an axis; carried on when streamed",
    .equation = "y[t] = sum of x[s] over s <= t   (exclusive: s < t; reverse: s >= t, s > t)",
    .reference = "NumPy's cumsum; floats are summed in f64",
    .example = "y: {op: cumsum, in: x, with: {axis: 1}}",
    .inputs = FLOW_TABLE(cumsum_in),
    .outputs = FLOW_TABLE(cumsum_out),
    .states = FLOW_TABLE(cumsum_states),
    .attrs = FLOW_TABLE(cumsum_attrs),
    .attrs_size = sizeof(struct cumsum_attrs),
    .kernels = FLOW_TABLE(cumsum_kernels),
    .priv_size = sizeof(struct cumsum),
    .infer = cumsum_infer,
};

/* ---- tril_mask --------------------------------------------------------------------------------------------------- */

static const struct flow_port tril_in[] = {{"x", "any type", "... M N", FLOW_TYPES_ANY, 0}};
static const struct flow_port tril_out[] = {{"y", "x's shape and type", "... M N", FLOW_TYPES_ANY, FLOW_INPLACE(0)}};

static int tril_infer(struct flow_infer *infer) {
    const struct flow_tensor *x = &infer->in[0];
    if (infer->streaming) {
        if (infer->in_axis[0] >= x->rank - 2)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the streaming axis is a side of the triangle");
        infer->out_axis[0] = infer->in_axis[0];
    }
    infer->out[0].dtype = x->dtype;
    infer->backward_reads_in = infer->backward_reads_out = 0;
    infer->bytes = 2.0 * (double)(shape_count(x) * shape_type_bytes(x->dtype));
    return FLOW_OK;
}

struct tril_work {
    const struct flow_tensor *x; /* shape and type, not the data */
    const char *from;
    char *to;
    const struct adjoint_table *table;
    bool add;
};

static void tril_rows(void *context, int64_t begin, int64_t end) {
    const struct tril_work *w = context;
    const struct flow_tensor *x = w->x;
    int64_t m = x->shape[x->rank - 2], n = x->shape[x->rank - 1], bytes = shape_type_bytes(x->dtype);
    for (int64_t row = begin; row < end; row++) {
        int64_t kept = row % m + 1 < n ? row % m + 1 : n;
        const char *from = w->from + row * n * bytes;
        char *to = w->to + row * n * bytes;
        if (w->add) {
            adjoint_add(w->table, bytes, from, to, kept);
            continue;
        }
        if (to != from) memcpy(to, from, (size_t)(kept * bytes));
        memset(to + kept * bytes, 0, (size_t)((n - kept) * bytes));
    }
}

static int tril_run(const struct flow_call *call, const struct flow_tensor *x, const void *from, void *to, bool add) {
    struct tril_work work = {x, from, to, ISA_PICK(adjoint_table, call->host->isa), add};
    int64_t n = x->shape[x->rank - 1], rows = shape_span(x, 0, x->rank - 1), bytes = n * shape_type_bytes(x->dtype);
    enum { PIECE = 64 * 1024, LEAST = 512 * 1024 };
    if (rows * bytes == 0) return FLOW_OK;
    if (rows * bytes < LEAST || call->host->threads < 2) tril_rows(&work, 0, rows);
    else call->host->parallel_for(call, rows, (PIECE + bytes - 1) / bytes, tril_rows, &work);
    return FLOW_OK;
}

static int tril_forward(const struct flow_call *call) { return tril_run(call, &call->in[0], call->in[0].data, call->out[0].data, false); }

static int tril_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (g->rank < 0) adjoint_zero(call, to, add);
    if (g->rank < 0 || to->rank < 0) return FLOW_OK;
    return tril_run(call, g, g->data, to->data, add);
}

static const struct flow_kernel tril_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = tril_forward, .backward = tril_backward}};

const struct flow_operator tril_mask_operator = {
    .size = sizeof(struct flow_operator),
    .name = "tril_mask",
    .summary = "zeros above the diagonal of the last two axes",
    .equation = "y[.., i, j] = j <= i ? x[.., i, j] : 0",
    .reference = "NumPy's tril",
    .example = "y: {op: tril_mask, in: x}",
    .inputs = FLOW_TABLE(tril_in),
    .outputs = FLOW_TABLE(tril_out),
    .kernels = FLOW_TABLE(tril_kernels),
    .infer = tril_infer,
};
