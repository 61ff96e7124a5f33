/* SPDX-License-Identifier: Apache-2.0 */
/* Reading by index: gather, embedding, take_along, one_hot. */
#include "common/adjoint.h"
#include "index/add_rows.h"
#include "index/check.h"
#include "index/index.h"

#include <string.h>

/* Rows of `bytes` from a table by index, for each of `blocks` tables of `extent` rows: block k uses `count` indices, those of index block
 * k / shared. */
struct rows {
    const char *from;
    char *to;
    const int64_t *index;
    int64_t blocks, shared, extent, count, bytes;
};

static void take_rows(void *context, int64_t begin, int64_t end) {
    const struct rows *r = context;
    for (int64_t at = begin; at < end;) {
        int64_t block = at / r->count, first = at % r->count, n = r->count - first < end - at ? r->count - first : end - at;
        const int64_t *index = r->index + block / r->shared * r->count + first;
        const char *table = r->from + block * r->extent * r->bytes;
        char *to = r->to + at * r->bytes;
        if (r->bytes == 4)
            for (int64_t i = 0; i < n; i++) ((uint32_t *)(void *)to)[i] = ((const uint32_t *)(const void *)table)[index[i]];
        else if (r->bytes == 8)
            for (int64_t i = 0; i < n; i++) ((uint64_t *)(void *)to)[i] = ((const uint64_t *)(const void *)table)[index[i]];
        else
            for (int64_t i = 0; i < n; i++) memcpy(to + i * r->bytes, table + index[i] * r->bytes, (size_t)r->bytes);
        at += n;
    }
}

static void take(const struct flow_call *call, struct rows *r) {
    enum { PIECE = 64 * 1024, LEAST = 256 * 1024 };
    int64_t total = r->blocks * r->count;
    if (total == 0 || r->bytes == 0) return;
    if (total * r->bytes < LEAST || call->host->threads < 2) take_rows(r, 0, total);
    else call->host->parallel_for(call, total, (PIECE + r->bytes - 1) / r->bytes, take_rows, r);
}

/* ---- gather ------------------------------------------------------------------------------------------------------ */

static const struct flow_attr gather_attrs[] = {
    FLOW_ATTR(struct gather_attrs, axis, "of x, that the index runs along", "0", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
    FLOW_ATTR(struct gather_attrs, batch, "so many leading axes are common to x and index", "0", 0, FLOW_RANK_MAX - 1)};
static const struct flow_port gather_in[] = {
    {"x", "any shape and type", NULL, FLOW_TYPES_ANY, 0},
    {"index", "places along the axis, from 0", NULL, FLOW_TYPE(I64), FLOW_OWN_TYPE | FLOW_NO_GRAD},
};
static const struct flow_port gather_out[] = {{"y", "x's shape with the index's in place of the axis", NULL, FLOW_TYPES_ANY, 0}};

static int gather_stream(struct flow_infer *infer, int32_t axis, int32_t batch) {
    int32_t of_x = infer->in_axis[0], of_index = infer->in_axis[1], more = infer->in[1].rank - batch - 1;
    if (of_x == axis)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "an index may point anywhere along the streaming axis of x");
    if (of_index >= batch && of_x < 0) infer->out_axis[0] = axis + of_index - batch;
    else if (of_x >= 0 && of_x < batch && of_index == of_x) infer->out_axis[0] = of_x;
    else if (of_x >= batch && of_index < 0) infer->out_axis[0] = of_x < axis ? of_x : of_x + more;
    else return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "x and index are not cut into pieces along a common axis");
    return FLOW_OK;
}

static int gather_infer(struct flow_infer *infer) {
    const struct gather_attrs *a = infer->attrs;
    struct gather *g = infer->priv;
    const struct flow_tensor *x = &infer->in[0], *index = &infer->in[1];
    struct flow_tensor *y = &infer->out[0];
    int32_t batch = (int32_t)a->batch;
    char first[SHAPE_TEXT], second[SHAPE_TEXT];
    int status = shape_axis(infer, "axis", a->axis, x->rank, &g->axis);
    if (status < 0) return status;
    if (batch > g->axis || batch > index->rank)
        return infer->host->fail_at(infer->owner, "batch", FLOW_ERROR_RANGE,
                                    "%d axes in common: the index has %d, and x has %d before axis %d", batch, index->rank, g->axis,
                                    g->axis);
    for (int32_t i = 0; i < batch; i++)
        if (x->shape[i] != index->shape[i])
            return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is %s, index is %s: their first %d axes must agree",
                                     shape_text(x, first), shape_text(index, second), batch);
    if (x->rank - 1 + index->rank - batch > FLOW_RANK_MAX)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the result would have %d axes: at most %d",
                                 x->rank - 1 + index->rank - batch, FLOW_RANK_MAX);
    y->dtype = x->dtype, y->rank = 0;
    for (int32_t i = 0; i < g->axis; i++) y->shape[y->rank++] = x->shape[i];
    for (int32_t i = batch; i < index->rank; i++) y->shape[y->rank++] = index->shape[i];
    for (int32_t i = g->axis + 1; i < x->rank; i++) y->shape[y->rank++] = x->shape[i];
    shape_dense(y);
    status = shape_sound(infer, y);
    if (status == FLOW_OK && infer->streaming) status = gather_stream(infer, g->axis, batch);
    infer->backward_reads_in = 2, infer->backward_reads_out = 0;
    if (status == FLOW_OK) infer->bytes = 2.0 * (double)(shape_count(y) * shape_type_bytes(y->dtype));
    return status;
}

static int gather_forward(const struct flow_call *call) {
    const struct gather_attrs *a = call->attrs;
    const struct gather *g = call->priv;
    const struct flow_tensor *x = &call->in[0], *index = &call->in[1];
    int32_t batch = (int32_t)a->batch;
    int status = index_check(call, index, "index", x->shape[g->axis]);
    if (status < 0) return status;
    struct rows r = {.from = x->data,
                     .to = call->out[0].data,
                     .index = index->data,
                     .blocks = shape_span(x, 0, g->axis),
                     .shared = shape_span(x, batch, g->axis),
                     .extent = x->shape[g->axis],
                     .count = shape_span(index, batch, index->rank),
                     .bytes = shape_span(x, g->axis + 1, x->rank) * shape_type_bytes(x->dtype)};
    take(call, &r);
    return FLOW_OK;
}

static int gather_backward(const struct flow_call *call) {
    const struct gather_attrs *a = call->attrs;
    const struct gather *g = call->priv;
    const struct flow_tensor *to = &call->grad_in[0], *index = &call->in[1];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    adjoint_zero(call, to, add);
    if (to->rank < 0 || call->grad_out[0].rank < 0) return FLOW_OK;
    struct add_rows rows = {.from = call->grad_out[0].data,
                            .to = to->data,
                            .index = index->data,
                            .blocks = shape_span(to, 0, g->axis),
                            .shared = shape_span(to, (int32_t)a->batch, g->axis),
                            .extent = to->shape[g->axis],
                            .count = shape_span(index, (int32_t)a->batch, index->rank),
                            .width = shape_span(to, g->axis + 1, to->rank),
                            .bytes = shape_type_bytes(to->dtype),
                            .left_out = -1};
    add_rows_run(call, &rows);
    return FLOW_OK;
}

static const struct flow_kernel gather_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = gather_forward, .backward = gather_backward}};

const struct flow_operator gather_operator = {
    .size = sizeof(struct flow_operator),
    .name = "gather",
    .summary = "entries of an axis by index",
    .equation = "y[b.., p.., j.., q..] = x[b.., p.., index[b.., j..], q..]; b: the common axes, p: those up to the axis",
    .reference = "NumPy's take; TensorFlow's gather for batch",
    .example = "y: {op: gather, in: {x: x, index: index}, with: {axis: 1}}",
    .inputs = FLOW_TABLE(gather_in),
    .outputs = FLOW_TABLE(gather_out),
    .attrs = FLOW_TABLE(gather_attrs),
    .attrs_size = sizeof(struct gather_attrs),
    .kernels = FLOW_TABLE(gather_kernels),
    .priv_size = sizeof(struct gather),
    .infer = gather_infer,
};

/* ---- embedding --------------------------------------------------------------------------------------------------- */

static const struct flow_attr embedding_attrs[] = {
    FLOW_ATTR(struct embedding_attrs, count, "rows of the table", FLOW_REQUIRED, 1, FLOW_NO_MAX),
    FLOW_ATTR(struct embedding_attrs, units, "features of a row", FLOW_REQUIRED, 1, FLOW_NO_MAX),
    FLOW_ATTR(struct embedding_attrs, padding, "a row that keeps its value in training", FLOW_ABSENT, 0, FLOW_NO_MAX)};
static const struct flow_port embedding_in[] = {{"index", "rows, from 0", "...", FLOW_TYPE(I64), FLOW_NO_GRAD}};
static const struct flow_port embedding_out[] = {{"y", "the rows", "... units", FLOW_TYPES_FLOAT, 0}};
static const struct flow_param embedding_params[] = {{"weight", "the table", "count units", NULL, "normal(0, 1)", FLOW_TYPES_FLOAT, 0}};

static int embedding_infer(struct flow_infer *infer) {
    const struct embedding_attrs *a = infer->attrs;
    const struct flow_tensor *index = &infer->in[0];
    struct flow_tensor *y = &infer->out[0];
    if (index->rank == FLOW_RANK_MAX)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "index has %d axes: the result would have one more than there can be",
                                 index->rank);
    if (a->padding != FLOW_INT_ABSENT && a->padding >= a->count)
        return infer->host->fail_at(infer->owner, "padding", FLOW_ERROR_RANGE, "row %lld of %lld", (long long)a->padding,
                                    (long long)a->count);
    if (infer->param_count > 0 && infer->param[0].rank >= 0) y->dtype = infer->param[0].dtype;
    y->rank = index->rank + 1;
    for (int32_t i = 0; i < index->rank; i++) y->shape[i] = index->shape[i];
    y->shape[index->rank] = a->units;
    shape_dense(y);
    int status = shape_sound(infer, y);
    if (infer->streaming) infer->out_axis[0] = infer->in_axis[0];
    infer->backward_reads_in = 1, infer->backward_reads_out = 0;
    if (status == FLOW_OK) infer->bytes = 2.0 * (double)(shape_count(y) * shape_type_bytes(y->dtype));
    return status;
}

static int embedding_forward(const struct flow_call *call) {
    const struct embedding_attrs *a = call->attrs;
    const struct flow_tensor *index = &call->in[0], *weight = &call->param[0];
    int status = index_check(call, index, "index", a->count);
    if (status < 0) return status;
    struct rows r = {.from = weight->data,
                     .to = call->out[0].data,
                     .index = index->data,
                     .blocks = 1,
                     .shared = 1,
                     .extent = a->count,
                     .count = shape_count(index),
                     .bytes = a->units * shape_type_bytes(weight->dtype)};
    take(call, &r);
    return FLOW_OK;
}

/* Rows that an index names more than once get all its gradients, in the order of the indices. */
static int embedding_backward(const struct flow_call *call) {
    const struct embedding_attrs *a = call->attrs;
    const struct flow_tensor *to = &call->grad_param[0];
    adjoint_zero(call, to, FLOW_ACCUMULATES(call->accumulate_param, 0));
    if (to->rank < 0 || call->grad_out[0].rank < 0) return FLOW_OK;
    struct add_rows rows = {.from = call->grad_out[0].data,
                            .to = to->data,
                            .index = call->in[0].data,
                            .blocks = 1,
                            .shared = 1,
                            .extent = a->count,
                            .count = shape_count(&call->in[0]),
                            .width = a->units,
                            .bytes = shape_type_bytes(to->dtype),
                            .left_out = a->padding == FLOW_INT_ABSENT ? -1 : a->padding};
    add_rows_run(call, &rows);
    return FLOW_OK;
}

static const struct flow_kernel embedding_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_FLOAT, .forward = embedding_forward, .backward = embedding_backward}};

const struct flow_operator embedding_operator = {
    .size = sizeof(struct flow_operator),
    .name = "embedding",
    .summary = "rows of a learned table",
    .equation = "y[.., u] = weight[index[..], u]; row `padding` gets no gradient",
    .reference = "Bengio et al., \"A neural probabilistic language model\" (JMLR 2003)",
    .example = "y: {op: embedding, in: tokens, with: {count: 256, units: 64}}",
    .inputs = FLOW_TABLE(embedding_in),
    .outputs = FLOW_TABLE(embedding_out),
    .params = FLOW_TABLE(embedding_params),
    .attrs = FLOW_TABLE(embedding_attrs),
    .attrs_size = sizeof(struct embedding_attrs),
    .kernels = FLOW_TABLE(embedding_kernels),
    .infer = embedding_infer,
};

/* ---- take_along -------------------------------------------------------------------------------------------------- */

struct take_along_attrs {
    int64_t axis;
};

static const struct flow_attr take_along_attrs[] = {
    FLOW_ATTR(struct take_along_attrs, axis, "that the index runs along", "-1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1)};
static const struct flow_port take_along_in[] = {
    {"x", "any shape and type", NULL, FLOW_TYPES_ANY, FLOW_STRIDED},
    {"index", "as many axes as x; elsewhere than along the axis at most its extents", NULL, FLOW_TYPE(I64), FLOW_OWN_TYPE | FLOW_NO_GRAD},
};
static const struct flow_port take_along_out[] = {{"y", "the index's shape, x's type", NULL, FLOW_TYPES_ANY, 0}};

static int take_along_infer(struct flow_infer *infer) {
    const struct take_along_attrs *a = infer->attrs;
    struct gather *g = infer->priv;
    const struct flow_tensor *x = &infer->in[0], *index = &infer->in[1];
    struct flow_tensor *y = &infer->out[0];
    char first[SHAPE_TEXT], second[SHAPE_TEXT];
    int status = shape_axis(infer, "axis", a->axis, x->rank, &g->axis);
    if (status < 0) return status;
    bool fits = x->rank == index->rank;
    for (int32_t i = 0; fits && i < x->rank; i++) fits = i == g->axis || index->shape[i] <= x->shape[i];
    if (!fits)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "x is %s, index is %s: they must agree but along axis %d",
                                 shape_text(x, first), shape_text(index, second), g->axis);
    shape_like(y, index);
    y->dtype = x->dtype;
    infer->backward_reads_in = 2, infer->backward_reads_out = 0;
    if (infer->streaming) {
        int32_t of_x = infer->in_axis[0], of_index = infer->in_axis[1];
        if (of_x == g->axis)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "an index may point anywhere along the streaming axis of x");
        if (of_x != of_index && !(of_x < 0 && of_index == g->axis))
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "x and index are not cut into pieces along a common axis");
        infer->out_axis[0] = of_index;
    }
    return FLOW_OK;
}

static int take_along_forward(const struct flow_call *call) {
    const struct gather *g = call->priv;
    const struct flow_tensor *x = &call->in[0], *index = &call->in[1];
    int32_t last = index->rank - 1;
    int64_t bytes = shape_type_bytes(x->dtype), width = index->shape[last], rows = shape_span(index, 0, last);
    const int64_t *at = index->data;
    char *to = call->out[0].data;
    int status = index_check(call, index, "index", x->shape[g->axis]);
    if (status < 0) return status;
    int64_t along = x->strides[g->axis], step = g->axis == last ? 0 : x->strides[last], place[FLOW_RANK_MAX] = {0}, offset = 0;
    for (int64_t row = 0; row < rows; row++, at += width, to += width * bytes) {
        const char *from = (const char *)x->data + offset * bytes;
        switch (bytes) {
#define CASE(size, type)                                                                                                            \
    case size:                                                                                                                      \
        for (int64_t i = 0; i < width; i++) ((type *)(void *)to)[i] = ((const type *)(const void *)from)[i * step + at[i] * along]; \
        break;
            CASE(1, uint8_t)
            CASE(2, uint16_t)
            CASE(4, uint32_t)
            CASE(8, uint64_t)
#undef CASE
        }
        for (int32_t axis = last - 1; axis >= 0; axis--) {
            int64_t stride = axis == g->axis ? 0 : x->strides[axis];
            offset += stride;
            if (++place[axis] < index->shape[axis]) break;
            offset -= stride * place[axis], place[axis] = 0;
        }
    }
    return FLOW_OK;
}

static int take_along_backward(const struct flow_call *call) {
    const struct gather *t = call->priv;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    adjoint_zero(call, to, FLOW_ACCUMULATES(call->accumulate_in, 0));
    if (to->rank < 0 || g->rank < 0) return FLOW_OK;
    int32_t last = g->rank - 1;
    int64_t width = g->shape[last], rows = shape_span(g, 0, last), place[FLOW_RANK_MAX] = {0}, offset = 0;
    int64_t along = to->strides[t->axis], step = t->axis == last ? 0 : to->strides[last];
    const int64_t *at = call->in[1].data;
    for (int64_t row = 0; row < rows; row++, at += width) {
        if (g->dtype == FLOW_F64) {
            const double *from = (const double *)g->data + row * width;
            double *y = (double *)to->data + offset;
            for (int64_t i = 0; i < width; i++) y[i * step + at[i] * along] += from[i];
        } else {
            const float *from = (const float *)g->data + row * width;
            float *y = (float *)to->data + offset;
            for (int64_t i = 0; i < width; i++) y[i * step + at[i] * along] += from[i];
        }
        for (int32_t axis = last - 1; axis >= 0; axis--) {
            int64_t stride = axis == t->axis ? 0 : to->strides[axis];
            offset += stride;
            if (++place[axis] < g->shape[axis]) break;
            offset -= stride * place[axis], place[axis] = 0;
        }
    }
    return FLOW_OK;
}

static const struct flow_kernel take_along_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = take_along_forward, .backward = take_along_backward}};

const struct flow_operator take_along_operator = {
    .size = sizeof(struct flow_operator),
    .name = "take_along",
    .summary = "one element of an axis for each index",
    .equation = "y[i, j, k] = x[i, index[i, j, k], k]   (axis 1 of 3)",
    .reference = "PyTorch's gather",
    .example = "y: {op: take_along, in: {x: x, index: index}, with: {axis: -1}}",
    .inputs = FLOW_TABLE(take_along_in),
    .outputs = FLOW_TABLE(take_along_out),
    .attrs = FLOW_TABLE(take_along_attrs),
    .attrs_size = sizeof(struct take_along_attrs),
    .kernels = FLOW_TABLE(take_along_kernels),
    .priv_size = sizeof(struct gather),
    .infer = take_along_infer,
};

/* ---- one_hot ----------------------------------------------------------------------------------------------------- */

static const struct flow_attr one_hot_attrs[] = {FLOW_ATTR(struct one_hot_attrs, count, "classes", FLOW_REQUIRED, 1, FLOW_NO_MAX)};
static const struct flow_port one_hot_in[] = {{"index", "classes, from 0", "...", FLOW_TYPE(I64), FLOW_NO_GRAD}};
static const struct flow_port one_hot_out[] = {{"y", "1 at the class, else 0", "... count", FLOW_TYPE(F32), FLOW_NO_GRAD}};

static int one_hot_infer(struct flow_infer *infer) {
    if (infer->in[0].rank == FLOW_RANK_MAX)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "index has %d axes: the result would have one more than there can be",
                                 infer->in[0].rank);
    if (infer->streaming) infer->out_axis[0] = infer->in_axis[0];
    return shape_sound(infer, &infer->out[0]);
}

static int one_hot_forward(const struct flow_call *call) {
    const struct one_hot_attrs *a = call->attrs;
    const struct flow_tensor *index = &call->in[0], *y = &call->out[0];
    const int64_t *at = index->data, rows = shape_count(index);
    int status = index_check(call, index, "index", a->count);
    if (status < 0 || rows == 0) return status;
    memset(y->data, 0, (size_t)(shape_count(y) * shape_type_bytes(y->dtype)));
    for (int64_t i = 0; i < rows; i++)
        if (y->dtype == FLOW_F64) ((double *)y->data)[i * a->count + at[i]] = 1;
        else ((float *)y->data)[i * a->count + at[i]] = 1;
    return FLOW_OK;
}

static const struct flow_kernel one_hot_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = one_hot_forward}};

const struct flow_operator one_hot_operator = {
    .size = sizeof(struct flow_operator),
    .name = "one_hot",
    .summary = "a class as a vector of 0 with one 1",
    .equation = "y[.., c] = index[..] == c ? 1 : 0",
    .reference = "elementary",
    .example = "y: {op: one_hot, in: index, with: {count: 10}}",
    .inputs = FLOW_TABLE(one_hot_in),
    .outputs = FLOW_TABLE(one_hot_out),
    .attrs = FLOW_TABLE(one_hot_attrs),
    .attrs_size = sizeof(struct one_hot_attrs),
    .kernels = FLOW_TABLE(one_hot_kernels),
    .infer = one_hot_infer,
};
