/* SPDX-License-Identifier: Apache-2.0 */
/* scatter_add: rows added where an index says. */
#include "common/adjoint.h"
#include "index/check.h"

#include <string.h>

struct scatter_attrs {
    struct flow_ints count;
};

static const struct flow_attr scatter_attrs[] = {
    FLOW_ATTR_SHAPE(struct scatter_attrs, count, "rows of y; default: those of like", FLOW_ABSENT)};
static const struct flow_port scatter_in[] = {
    {"src", "rows", "E ...", FLOW_TYPES_NUMBER, 0},
    {"index", "row of y that each is added to, from 0", "E", FLOW_TYPE(I64), FLOW_OWN_TYPE | FLOW_NO_GRAD},
    {"like", "gives the number of rows of y; its values are not read", NULL, FLOW_TYPES_ANY,
     FLOW_OPTIONAL | FLOW_OWN_TYPE | FLOW_STRIDED | FLOW_NO_GRAD},
};
static const struct flow_port scatter_out[] = {{"y", "sums", NULL, FLOW_TYPES_NUMBER, 0}};

static int scatter_infer(struct flow_infer *infer) {
    const struct scatter_attrs *a = infer->attrs;
    const struct flow_tensor *src = &infer->in[0], *index = &infer->in[1];
    struct flow_tensor *y = &infer->out[0];
    bool like = infer->in_count > 2 && infer->in[2].rank >= 0;
    char first[SHAPE_TEXT], second[SHAPE_TEXT];
    if (like == a->count.given) return infer->host->fail(infer->owner, FLOW_ERROR_USAGE, "one of count and like is needed");
    if (!like && (a->count.count != 1 || a->count.at[0] < 0))
        return infer->host->fail_at(infer->owner, "count", FLOW_ERROR_RANGE, "count is one number of at least 0");
    if (like && infer->in[2].rank < 1) return infer->host->fail_at(infer->owner, "like", FLOW_ERROR_SHAPE, "a scalar has no rows");
    if (src->rank < 1 || index->rank != 1 || src->shape[0] != index->shape[0])
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "src is %s, index is %s: an index for each row is needed",
                                 shape_text(src, first), shape_text(index, second));
    shape_like(y, src);
    y->dtype = src->dtype;
    y->shape[0] = like ? infer->in[2].shape[0] : a->count.at[0];
    shape_dense(y);
    if (infer->streaming) {
        if (infer->in_axis[0] <= 0 || infer->in_axis[1] >= 0)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the sums need the whole sequence of rows");
        infer->out_axis[0] = infer->in_axis[0];
    }
    infer->backward_reads_in = 2, infer->backward_reads_out = 0;
    infer->flops = (double)shape_count(src);
    infer->bytes = 3.0 * (double)(shape_count(src) * shape_type_bytes(src->dtype));
    return shape_sound(infer, y);
}

/* Columns [begin, end) of all rows, in the rows' order: sums do not depend on how columns are shared out. */
struct scatter {
    const struct flow_tensor *src, *y;
    const int64_t *index;
    int64_t rows, width;
};

static void scatter_columns(void *context, int64_t begin, int64_t end) {
    const struct scatter *s = context;
    switch (s->y->dtype) {
#define CASE(number, type, unsigned_type)                                                                   \
    case number: {                                                                                          \
        const type *from = s->src->data;                                                                    \
        type *to = s->y->data;                                                                              \
        for (int64_t e = 0; e < s->rows; e++) {                                                             \
            const type *x = from + e * s->width;                                                            \
            type *y = to + s->index[e] * s->width;                                                          \
            for (int64_t i = begin; i < end; i++) y[i] = (type)((unsigned_type)y[i] + (unsigned_type)x[i]); \
        }                                                                                                   \
        break;                                                                                              \
    }
        CASE(FLOW_F32, float, float)
        CASE(FLOW_F64, double, double)
        CASE(FLOW_I32, int32_t, uint32_t)
        CASE(FLOW_I64, int64_t, uint64_t)
        CASE(FLOW_U8, uint8_t, uint32_t)
#undef CASE
    default: break;
    }
}

static int scatter_forward(const struct flow_call *call) {
    const struct flow_tensor *src = &call->in[0], *y = &call->out[0];
    int status = index_check(call, &call->in[1], "index", y->shape[0]);
    int64_t bytes = shape_count(y) * shape_type_bytes(y->dtype);
    if (status < 0 || bytes == 0) return status;
    struct scatter s = {src, y, call->in[1].data, src->shape[0], shape_span(src, 1, src->rank)};
    memset(y->data, 0, (size_t)bytes);
    enum { COLUMNS = 64 };
    if (s.rows * s.width < 200000 || s.width < 2 * COLUMNS || call->host->threads < 2) scatter_columns(&s, 0, s.width);
    else call->host->parallel_for(call, s.width, COLUMNS, scatter_columns, &s);
    return FLOW_OK;
}

/* Each row reads the gradient of the row that it was added to. */
struct scatter_back {
    const struct adjoint_table *table;
    const char *from;
    char *to;
    const int64_t *index;
    int64_t width, bytes;
    bool add;
};

static void scatter_back_rows(void *context, int64_t begin, int64_t end) {
    const struct scatter_back *s = context;
    int64_t row = s->width * s->bytes;
    for (int64_t e = begin; e < end; e++)
        if (s->add) adjoint_add(s->table, s->bytes, s->from + s->index[e] * row, s->to + e * row, s->width);
        else memcpy(s->to + e * row, s->from + s->index[e] * row, (size_t)row);
}

static int scatter_backward(const struct flow_call *call) {
    enum { PIECE = 64 * 1024, LARGE = 256 * 1024 };
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (g->rank < 0) adjoint_zero(call, to, add);
    if (g->rank < 0 || to->rank < 0 || shape_count(to) == 0) return FLOW_OK;
    struct scatter_back s = {.table = ISA_PICK(adjoint_table, call->host->isa),
                             .from = g->data,
                             .to = to->data,
                             .index = call->in[1].data,
                             .width = shape_span(to, 1, to->rank),
                             .bytes = shape_type_bytes(to->dtype),
                             .add = add};
    int64_t rows = to->shape[0], row = s.width * s.bytes;
    if (rows * row < LARGE || call->host->threads < 2) scatter_back_rows(&s, 0, rows);
    else call->host->parallel_for(call, rows, (PIECE + row - 1) / row, scatter_back_rows, &s);
    return FLOW_OK;
}

static const struct flow_kernel scatter_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL | FLOW_TYPES_INTEGER, .forward = scatter_forward, .backward = scatter_backward}};

const struct flow_operator scatter_add_operator = {
    .size = sizeof(struct flow_operator),
    .name = "scatter_add",
    .summary = "rows added where an index says",
    .equation = "y[n, ..] = sum of src[e, ..] over all e with index[e] == n",
    .reference = "PyTorch's index_add, from zeros",
    .example = "y: {op: scatter_add, in: {src: rows, index: index}, with: {count: 6}}",
    .inputs = FLOW_TABLE(scatter_in),
    .outputs = FLOW_TABLE(scatter_out),
    .attrs = FLOW_TABLE(scatter_attrs),
    .attrs_size = sizeof(struct scatter_attrs),
    .kernels = FLOW_TABLE(scatter_kernels),
    .infer = scatter_infer,
};
