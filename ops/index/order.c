/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operators that compare the elements of an axis: argmax, argmin, topk, argsort. All types are compared by keys: unsigned integers in the
 * elements' order. -0 and 0 are equal. A NaN is greater than all numbers, and argmin, too, takes the first NaN if there is one.
 */
#include "common/adjoint.h"
#include "index/index.h"

#include <string.h>

static uint64_t key_f32(float x) {
    uint32_t u;
    x += 0.0f; /* -0 becomes 0 */
    memcpy(&u, &x, sizeof u);
    return x != x ? UINT32_MAX : u >> 31 ? ~u : u | 0x80000000u;
}
static uint64_t key_f64(double x) {
    uint64_t u;
    x += 0.0;
    memcpy(&u, &x, sizeof u);
    return x != x ? UINT64_MAX : u >> 63 ? ~u : u | 0x8000000000000000u;
}

/* The keys of n elements `step` apart. */
static void keys(int32_t dtype, const void *from, int64_t step, int64_t n, uint64_t *key) {
    switch (dtype) {
    case FLOW_F32:
        for (int64_t i = 0; i < n; i++) key[i] = key_f32(((const float *)from)[i * step]);
        break;
    case FLOW_F64:
        for (int64_t i = 0; i < n; i++) key[i] = key_f64(((const double *)from)[i * step]);
        break;
    case FLOW_I32:
        for (int64_t i = 0; i < n; i++) key[i] = (uint64_t)((const int32_t *)from)[i * step] ^ 0x8000000000000000u;
        break;
    case FLOW_I64:
        for (int64_t i = 0; i < n; i++) key[i] = (uint64_t)((const int64_t *)from)[i * step] ^ 0x8000000000000000u;
        break;
    default:
        for (int64_t i = 0; i < n; i++) key[i] = ((const uint8_t *)from)[i * step];
        break;
    }
}

static int order_infer(struct flow_infer *infer, int64_t axis, const char *why) {
    struct order *o = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    int status = shape_axis(infer, "axis", axis, x->rank, &o->axis);
    if (status < 0) return status;
    if (infer->streaming && infer->in_axis[0] == o->axis) return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "%s", why);
    o->outer = shape_span(x, 0, o->axis), o->n = x->shape[o->axis], o->inner = shape_span(x, o->axis + 1, x->rank);
    infer->flops = (double)shape_count(x);
    infer->bytes = (double)(shape_count(x) * shape_type_bytes(x->dtype));
    return FLOW_OK;
}

/* Runs body over the outer * inner rows; `cost`: of a row, in ns. */
static void each_row(const struct flow_call *call, void (*body)(void *context, int64_t begin, int64_t end), double cost) {
    const struct order *o = call->priv;
    int64_t rows = o->outer * o->inner, grain = (int64_t)(30e3 / cost) + 1;
    void *context = (void *)(uintptr_t)call;
    if (rows < 2 * grain || call->host->threads < 2) body(context, 0, rows);
    else call->host->parallel_for(call, rows, grain, body, context);
}

static const void *row_of(const struct order *o, const struct flow_tensor *x, int64_t row) {
    return (const char *)x->data + (row / o->inner * o->n * o->inner + row % o->inner) * shape_type_bytes(x->dtype);
}

static const struct flow_port order_x[] = {{"x", "any shape", "...", FLOW_TYPES_NUMBER, 0}};
static const struct flow_port order_x_no_grad[] = {{"x", "any shape", "...", FLOW_TYPES_NUMBER, FLOW_NO_GRAD}};
#define ORDER_TYPES (FLOW_TYPES_REAL | FLOW_TYPES_INTEGER)

/* ---- argmax, argmin ---------------------------------------------------------------------------------------------- */

struct axis_attrs {
    int64_t axis;
};

static const struct flow_attr axis_attrs[] = {FLOW_ATTR(struct axis_attrs, axis, "the axis", "-1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1)};
static const struct flow_port place_out[] = {{"y", "places along the axis; x's other axes", NULL, FLOW_TYPE(I64), FLOW_NO_GRAD}};

static int best_infer(struct flow_infer *infer) {
    const struct axis_attrs *a = infer->attrs;
    const struct order *o = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    struct flow_tensor *y = &infer->out[0];
    int status = order_infer(infer, a->axis, "an extreme along the streaming axis needs the whole sequence");
    if (status < 0) return status;
    if (o->n == 0) return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "axis %d is empty: it has no extreme", o->axis);
    ((struct order *)infer->priv)->best =
        ISA_PICK(line_table, infer->host->isa)->best[x->dtype == FLOW_F16 || x->dtype == FLOW_BF16 ? FLOW_F32 : x->dtype];
    y->dtype = FLOW_I64, y->rank = x->rank - 1;
    for (int32_t i = 0; i < y->rank; i++) y->shape[i] = x->shape[i + (i >= o->axis)];
    shape_dense(y);
    if (infer->streaming) infer->out_axis[0] = infer->in_axis[0] - (infer->in_axis[0] > o->axis);
    return FLOW_OK;
}

/* `flip` turns the order round for argmin; NaN stays ahead of all. */
static void best_rows(const struct flow_call *call, int64_t begin, int64_t end, uint64_t flip) {
    enum { BLOCK = 256 };
    const struct order *o = call->priv;
    const struct flow_tensor *x = &call->in[0];
    uint64_t key[BLOCK], nan = x->dtype == FLOW_F32 ? UINT32_MAX : UINT64_MAX;
    bool floating = x->dtype == FLOW_F32 || x->dtype == FLOW_F64;
    int64_t bytes = shape_type_bytes(x->dtype), *y = call->out[0].data;
    for (int64_t row = begin; row < end; row++) {
        const char *from = row_of(o, x, row);
        if (o->inner == 1) {
            y[row] = o->best(from, o->n, flip != 0);
            continue;
        }
        uint64_t best = 0;
        int64_t place = -1;
        for (int64_t i = 0; i < o->n; i += BLOCK) {
            int64_t n = o->n - i < BLOCK ? o->n - i : BLOCK;
            keys(x->dtype, from + i * o->inner * bytes, o->inner, n, key);
            for (int64_t k = 0; k < n; k++) {
                uint64_t mine = floating && key[k] == nan ? UINT64_MAX : key[k] ^ flip;
                if (place < 0 || mine > best) best = mine, place = i + k;
            }
        }
        y[row] = place;
    }
}
static void argmax_rows(void *context, int64_t begin, int64_t end) { best_rows(context, begin, end, 0); }
static void argmin_rows(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    /* Within 32 bits for f32, so that no number reaches the key of NaN. */
    best_rows(call, begin, end, call->in[0].dtype == FLOW_F32 ? UINT32_MAX : UINT64_MAX);
}
static int argmax_forward(const struct flow_call *call) {
    const struct order *o = call->priv;
    each_row(call, argmax_rows, 1.0 * (double)o->n + 5);
    return FLOW_OK;
}
static int argmin_forward(const struct flow_call *call) {
    const struct order *o = call->priv;
    each_row(call, argmin_rows, 1.0 * (double)o->n + 5);
    return FLOW_OK;
}

static const struct flow_kernel argmax_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = ORDER_TYPES, .forward = argmax_forward}};
static const struct flow_kernel argmin_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = ORDER_TYPES, .forward = argmin_forward}};

const struct flow_operator argmax_operator = {
    .size = sizeof(struct flow_operator),
    .name = "argmax",
    .summary = "where the greatest element stands",
    .equation = "y = min {i: x[i] >= x[j] for all j}; the first NaN if there is one",
    .reference = "NumPy's argmax",
    .example = "y: {op: argmax, in: x, with: {axis: -1}}",
    .inputs = FLOW_TABLE(order_x_no_grad),
    .outputs = FLOW_TABLE(place_out),
    .attrs = FLOW_TABLE(axis_attrs),
    .attrs_size = sizeof(struct axis_attrs),
    .kernels = FLOW_TABLE(argmax_kernels),
    .priv_size = sizeof(struct order),
    .infer = best_infer,
};

const struct flow_operator argmin_operator = {
    .size = sizeof(struct flow_operator),
    .name = "argmin",
    .summary = "where the least element stands",
    .equation = "y = min {i: x[i] <= x[j] for all j}; the first NaN if there is one",
    .reference = "NumPy's argmin",
    .example = "y: {op: argmin, in: x, with: {axis: -1}}",
    .inputs = FLOW_TABLE(order_x_no_grad),
    .outputs = FLOW_TABLE(place_out),
    .attrs = FLOW_TABLE(axis_attrs),
    .attrs_size = sizeof(struct axis_attrs),
    .kernels = FLOW_TABLE(argmin_kernels),
    .priv_size = sizeof(struct order),
    .infer = best_infer,
};

/* ---- topk -------------------------------------------------------------------------------------------------------- */

static const struct flow_attr topk_attrs[] = {FLOW_ATTR(struct topk_attrs, k, "how many", FLOW_REQUIRED, 0, FLOW_NO_MAX),
                                              FLOW_ATTR(struct topk_attrs, axis, "the axis", "-1", -FLOW_RANK_MAX, FLOW_RANK_MAX - 1),
                                              FLOW_ATTR_PLAIN(struct topk_attrs, largest, "the greatest, or (false) the least", "true")};
static const struct flow_port topk_out[] = {
    {"values", "the chosen elements, the best first", NULL, FLOW_TYPES_NUMBER, 0},
    {"indices", "their places along the axis", NULL, FLOW_TYPE(I64), FLOW_NO_GRAD},
};

static int topk_infer(struct flow_infer *infer) {
    const struct topk_attrs *a = infer->attrs;
    const struct order *o = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    int status = order_infer(infer, a->axis, "the best along the streaming axis need the whole sequence");
    if (status < 0) return status;
    if (a->k > o->n)
        return infer->host->fail_at(infer->owner, "k", FLOW_ERROR_RANGE, "k is %lld, axis %d has %lld elements", (long long)a->k, o->axis,
                                    (long long)o->n);
    for (uint32_t i = 0; i < 2 && i < infer->out_count; i++) {
        struct flow_tensor *y = &infer->out[i];
        shape_like(y, x);
        y->dtype = i == 0 ? x->dtype : FLOW_I64;
        y->shape[o->axis] = a->k;
        shape_dense(y);
        if (infer->streaming) infer->out_axis[i] = infer->in_axis[0];
    }
    infer->workspace = shape_count(x) * (int64_t)sizeof(uint64_t);
    infer->backward_reads_in = 0, infer->backward_reads_out = 2;
    return FLOW_OK;
}

/* Does i stand before j: a greater key, or an equal one further in front. */
static bool ahead(const uint64_t *key, int64_t i, int64_t j) { return key[i] > key[j] || (key[i] == key[j] && i < j); }

/* A heap of indices `step` apart in memory whose root is the last in order: put `index` in at `at` and let it sink among `count`. */
static void sink(const uint64_t *key, int64_t *heap, int64_t step, int64_t at, int64_t count, int64_t index) {
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && ahead(key, heap[child * step], heap[(child + 1) * step])) child++;
        if (ahead(key, heap[child * step], index)) break;
        heap[at * step] = heap[child * step];
        at = child;
    }
    heap[at * step] = index;
}

/* The k best of a row, in order, by a heap of the k best so far, which is then sorted: O(n log k), in the output's own memory. */
static void select_best(const uint64_t *key, int64_t n, int64_t k, int64_t *heap, int64_t step) {
    for (int64_t i = 0; i < k; i++) heap[i * step] = i;
    for (int64_t i = k / 2 - 1; i >= 0; i--) sink(key, heap, step, i, k, heap[i * step]);
    for (int64_t i = k; k > 0 && i < n; i++)
        if (key[i] > key[heap[0]]) sink(key, heap, step, 0, k, i);
    for (int64_t i = k - 1; i > 0; i--) {
        int64_t last = heap[0], moved = heap[i * step];
        sink(key, heap, step, 0, i, moved);
        heap[i * step] = last;
    }
}

static void topk_rows(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct topk_attrs *a = call->attrs;
    const struct order *o = call->priv;
    const struct flow_tensor *x = &call->in[0];
    int64_t bytes = shape_type_bytes(x->dtype);
    for (int64_t row = begin; row < end; row++) {
        const char *from = row_of(o, x, row);
        uint64_t *key = (uint64_t *)call->workspace + row * o->n;
        int64_t first = row / o->inner * a->k * o->inner + row % o->inner, *indices = (int64_t *)call->out[1].data + first;
        char *values = (char *)call->out[0].data + first * bytes;
        keys(x->dtype, from, o->inner, o->n, key);
        if (!a->largest)
            for (int64_t i = 0; i < o->n; i++) key[i] = ~key[i];
        select_best(key, o->n, a->k, indices, o->inner);
        for (int64_t i = 0; i < a->k; i++)
            memcpy(values + i * o->inner * bytes, from + indices[i * o->inner] * o->inner * bytes, (size_t)bytes);
    }
}

static int topk_forward(const struct flow_call *call) {
    const struct topk_attrs *a = call->attrs;
    const struct order *o = call->priv;
    if (a->k > 0) each_row(call, topk_rows, 1.5 * (double)o->n + 10.0 * (double)a->k + 5);
    return FLOW_OK;
}

/* Back to where they came from; of a row each place was chosen once at most. */
static int topk_backward(const struct flow_call *call) {
    const struct topk_attrs *a = call->attrs;
    const struct order *o = call->priv;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    adjoint_zero(call, to, FLOW_ACCUMULATES(call->accumulate_in, 0));
    if (to->rank < 0 || g->rank < 0) return FLOW_OK;
    const int64_t *indices = call->out[1].data;
    for (int64_t row = 0; row < o->outer * o->inner; row++) {
        int64_t first = row / o->inner * a->k * o->inner + row % o->inner, base = row / o->inner * o->n * o->inner + row % o->inner;
        for (int64_t i = 0; i < a->k; i++) {
            int64_t from = first + i * o->inner, at = base + indices[from] * o->inner;
            if (g->dtype == FLOW_F64) ((double *)to->data)[at] += ((const double *)g->data)[from];
            else ((float *)to->data)[at] += ((const float *)g->data)[from];
        }
    }
    return FLOW_OK;
}

static const struct flow_kernel topk_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = ORDER_TYPES, .forward = topk_forward, .backward = topk_backward}};

const struct flow_operator topk_operator = {
    .size = sizeof(struct flow_operator),
    .name = "topk",
    .summary = "the k greatest or least elements of an axis, in order",
    .equation =
        "values[j] = x[indices[j]], the j-th greatest (least); of equals the lower index comes first; NaN counts as the greatest; the "
        "gradient goes to the chosen",
    .reference = "PyTorch's topk",
    .example = "y: {op: topk, in: x, with: {k: 2}}",
    .inputs = FLOW_TABLE(order_x),
    .outputs = FLOW_TABLE(topk_out),
    .attrs = FLOW_TABLE(topk_attrs),
    .attrs_size = sizeof(struct topk_attrs),
    .kernels = FLOW_TABLE(topk_kernels),
    .priv_size = sizeof(struct order),
    .infer = topk_infer,
};

/* ---- argsort ----------------------------------------------------------------------------------------------------- */

static const struct flow_port sort_out[] = {
    {"y", "the place that the i-th in order comes from; x's shape", "...", FLOW_TYPE(I64), FLOW_NO_GRAD}};

static int argsort_infer(struct flow_infer *infer) {
    const struct axis_attrs *a = infer->attrs;
    int status = order_infer(infer, a->axis, "sorting the streaming axis needs the whole sequence");
    if (status < 0) return status;
    shape_like(&infer->out[0], &infer->in[0]);
    infer->out[0].dtype = FLOW_I64;
    if (infer->streaming) infer->out_axis[0] = infer->in_axis[0];
    /* Keys, indices, and indices of the other half of each merge. */
    if (__builtin_mul_overflow(shape_count(&infer->in[0]), 24, &infer->workspace))
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the input is too large to be sorted");
    return FLOW_OK;
}

/* Merge sort from short runs up; stable. Returns the one of the two buffers that holds the result. */
static int64_t *merge_sort(const uint64_t *key, int64_t n, int64_t *from, int64_t *to) {
    enum { RUN = 8 };
    for (int64_t begin = 0; begin < n; begin += RUN)
        for (int64_t i = begin; i < n && i < begin + RUN; i++) {
            int64_t j = i;
            for (; j > begin && key[from[j - 1]] > key[i]; j--) from[j] = from[j - 1];
            from[j] = i;
        }
    for (int64_t width = RUN; width < n; width *= 2) {
        for (int64_t begin = 0; begin < n; begin += 2 * width) {
            int64_t middle = begin + width < n ? begin + width : n, end = begin + 2 * width < n ? begin + 2 * width : n;
            int64_t i = begin, j = middle;
            for (int64_t k = begin; k < end; k++) to[k] = i < middle && (j == end || key[from[i]] <= key[from[j]]) ? from[i++] : from[j++];
        }
        int64_t *other = from;
        from = to, to = other;
    }
    return from;
}

static void argsort_rows(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct order *o = call->priv;
    const struct flow_tensor *x = &call->in[0];
    for (int64_t row = begin; row < end; row++) {
        uint64_t *key = (uint64_t *)call->workspace + 3 * row * o->n;
        int64_t *first = (int64_t *)(void *)(key + o->n), *second = first + o->n;
        int64_t *y = (int64_t *)call->out[0].data + row / o->inner * o->n * o->inner + row % o->inner;
        keys(x->dtype, row_of(o, x, row), o->inner, o->n, key);
        const int64_t *sorted = merge_sort(key, o->n, first, second);
        for (int64_t i = 0; i < o->n; i++) y[i * o->inner] = sorted[i];
    }
}

static int argsort_forward(const struct flow_call *call) {
    const struct order *o = call->priv;
    if (shape_count(&call->in[0]) > 0) each_row(call, argsort_rows, 20.0 * (double)o->n + 10);
    return FLOW_OK;
}

static const struct flow_kernel argsort_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = ORDER_TYPES, .forward = argsort_forward}};

const struct flow_operator argsort_operator = {
    .size = sizeof(struct flow_operator),
    .name = "argsort",
    .summary = "the order of the elements of an axis, ascending and stable",
    .equation = "x[y[0]] <= x[y[1]] <= ...; of equals the lower index comes first; NaN last",
    .reference = "NumPy's argsort, stable",
    .example = "y: {op: argsort, in: x}",
    .inputs = FLOW_TABLE(order_x_no_grad),
    .outputs = FLOW_TABLE(sort_out),
    .attrs = FLOW_TABLE(axis_attrs),
    .attrs_size = sizeof(struct axis_attrs),
    .kernels = FLOW_TABLE(argsort_kernels),
    .priv_size = sizeof(struct order),
    .infer = argsort_infer,
};
