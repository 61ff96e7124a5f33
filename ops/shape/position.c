/* SPDX-License-Identifier: Apache-2.0 */
/* Positions as sines and cosines: sinusoid, and rope, which turns pairs of features by the angle of their position. */
#include "common/adjoint.h"
#include "shape/rotation.h"
#include "shape/shape.h"

#include <math.h>
#include <string.h>

static const struct flow_state position_states[] = {{"position", "steps so far", "", "zeros", FLOW_TYPE(I64), 0, 0, 0}};

/* w_i = base^(-2i/D) */
static void position_waves(const struct flow_call *call, double *w) {
    const struct position_attrs *a = call->attrs;
    const struct position *p = call->priv;
    for (int64_t i = 0; i < p->pairs; i++) w[i] = pow(a->base, -(double)i / (double)p->pairs);
}

/* Once for a plan. */
static int position_prepare(const struct flow_call *call) {
    position_waves(call, call->packed);
    return FLOW_OK;
}

static int position_plan(struct flow_infer *infer, int64_t pairs, int64_t rows, int32_t time, int32_t out_axis) {
    const struct position_attrs *a = infer->attrs;
    struct position *p = infer->priv;
    uint64_t bits;
    p->table = ISA_PICK(rotation_table, infer->host->isa);
    p->pairs = pairs;
    double cost = (double)pairs * (1.0 + 0.3 * (double)rows) + 10; /* ns a position */
    p->grain = (int64_t)(20e3 / cost) + 1;
    infer->packed = pairs * (int64_t)sizeof(double);
    memcpy(&bits, &a->base, sizeof bits);
    infer->packed_key = bits * 0x9E3779B97F4A7C15u + (uint64_t)pairs;
    if (!infer->streaming) return FLOW_OK;
    infer->out_axis[0] = out_axis;
    if (infer->in_axis[0] != time) infer->state[0].rank = infer->state_out[0].rank = -1;
    return FLOW_OK;
}

static int64_t first_position(const struct flow_call *call, int64_t steps) {
    const struct position_attrs *a = call->attrs;
    if (call->state_count == 0 || call->state_in[0].rank < 0) return a->offset;
    int64_t position = *(const int64_t *)call->state_in[0].data;
    *(int64_t *)call->state_out[0].data = position + steps;
    return position + a->offset;
}

static int check_even(const struct flow_infer *infer, const char *what, int64_t extent) {
    if (extent % 2 == 0) return FLOW_OK;
    return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "%s is %lld: pairs need an even number", what, (long long)extent);
}

/* ---- sinusoid ---------------------------------------------------------------------------------------------------- */

static const struct flow_attr sinusoid_attrs[] = {
    FLOW_ATTR(struct position_attrs, base, "the longest wave is 2 pi base", "10000", 1e-300, FLOW_NO_MAX),
    FLOW_ATTR_CHOICES(struct position_attrs, style, "sines then cosines, or in turn", "concat", "concat|interleaved"),
    FLOW_ATTR(struct position_attrs, offset, "position of the first row", "0", -1e15, 1e15)};
static const struct flow_port sinusoid_in[] = {
    {"like", "gives T, D and the type; its values are not read", "... T D", FLOW_TYPES_FLOAT, FLOW_STRIDED | FLOW_NO_GRAD}};
static const struct flow_port sinusoid_out[] = {{"y", "positions", "T D", FLOW_TYPES_FLOAT, 0}};

static int sinusoid_infer(struct flow_infer *infer) {
    const struct flow_tensor *like = &infer->in[0];
    int32_t time = like->rank - 2;
    int status = check_even(infer, "the last axis", like->shape[like->rank - 1]);
    if (status < 0) return status;
    if (infer->streaming && infer->in_axis[0] != time)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED,
                                 "positions are counted along axis %d, the pieces are cut along axis %d", time, infer->in_axis[0]);
    infer->out[0].dtype = like->dtype;
    return position_plan(infer, like->shape[like->rank - 1] / 2, 1, time, 0);
}

struct sinusoid_work {
    const struct flow_call *call;
    int64_t first;
};

static void sinusoid_piece(void *context, int64_t begin, int64_t end) {
    const struct sinusoid_work *work = context;
    const struct flow_call *call = work->call;
    const struct position_attrs *a = call->attrs;
    const struct position *p = call->priv;
    const double *w = call->packed;
    int64_t width = 2 * p->pairs, step = a->style == 1 ? 2 : 1, apart = a->style == 1 ? 1 : p->pairs;
    for (int64_t t = begin; t < end; t++)
        for (int64_t i = 0; i < p->pairs; i += ROTATION_BLOCK) {
            int64_t n = p->pairs - i < ROTATION_BLOCK ? p->pairs - i : ROTATION_BLOCK;
            if (call->out[0].dtype == FLOW_F64) {
                double sine[ROTATION_BLOCK], cosine[ROTATION_BLOCK], *y = (double *)call->out[0].data + t * width + i * step;
                p->table->angles_f64((double)(work->first + t), w + i, n, sine, cosine);
                for (int64_t k = 0; k < n; k++) y[k * step] = sine[k], y[k * step + apart] = cosine[k];
            } else {
                float sine[ROTATION_BLOCK], cosine[ROTATION_BLOCK], *y = (float *)call->out[0].data + t * width + i * step;
                p->table->angles_f32((double)(work->first + t), w + i, n, sine, cosine);
                for (int64_t k = 0; k < n; k++) y[k * step] = sine[k], y[k * step + apart] = cosine[k];
            }
        }
}

static int sinusoid_forward(const struct flow_call *call) {
    const struct position *p = call->priv;
    int64_t steps = call->out[0].shape[0];
    struct sinusoid_work work = {call, first_position(call, steps)};
    if (steps == 0 || p->pairs == 0) return FLOW_OK;
    if (steps < 2 * p->grain || call->host->threads < 2) sinusoid_piece(&work, 0, steps);
    else call->host->parallel_for(call, steps, p->grain, sinusoid_piece, &work);
    return FLOW_OK;
}

static const struct flow_kernel sinusoid_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = sinusoid_forward}};

const struct flow_operator sinusoid_operator = {
    .size = sizeof(struct flow_operator),
    .name = "sinusoid",
    .summary = "sinusoidal position signal; goes on from piece to piece when streamed",
    .equation = "w_i = base^(-2i/D), i < D/2\nconcat:      y[t, i] = sin((t + offset) w_i), y[t, D/2 + i] = cos((t + offset) w_i)\n"
                "interleaved: y[t, 2i] = sin(...), y[t, 2i + 1] = cos(...)",
    .reference = "Vaswani et al., arXiv:1706.03762, section 3.5",
    .example = "y: {op: sinusoid, in: x, with: {style: interleaved}}",
    .inputs = FLOW_TABLE(sinusoid_in),
    .outputs = FLOW_TABLE(sinusoid_out),
    .states = FLOW_TABLE(position_states),
    .attrs = FLOW_TABLE(sinusoid_attrs),
    .attrs_size = sizeof(struct position_attrs),
    .kernels = FLOW_TABLE(sinusoid_kernels),
    .priv_size = sizeof(struct position),
    .infer = sinusoid_infer,
    .prepare = position_prepare,
};

/* ---- rope -------------------------------------------------------------------------------------------------------- */

static const struct flow_attr rope_attrs[] = {
    FLOW_ATTR(struct position_attrs, dims, "features that are turned, from the first; default all", FLOW_ABSENT, 0, FLOW_NO_MAX),
    FLOW_ATTR(struct position_attrs, base, "the longest wave is 2 pi base", "10000", 1e-300, FLOW_NO_MAX),
    FLOW_ATTR_CHOICES(struct position_attrs, style, "pairs (i, i + dims/2), or (2i, 2i + 1)", "half", "half|interleaved"),
    FLOW_ATTR(struct position_attrs, offset, "position of the first row", "0", -1e15, 1e15)};
static const struct flow_port rope_in[] = {{"x", "features of each position", "... T D", FLOW_TYPES_FLOAT, FLOW_STRIDED}};
static const struct flow_port rope_out[] = {{"y", "turned", "... T D", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};

static int rope_infer(struct flow_infer *infer) {
    const struct position_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int32_t last = x->rank - 1;
    int64_t dims = a->dims == FLOW_INT_ABSENT ? x->shape[last] : a->dims;
    int status = check_even(infer, "dims", dims);
    if (status < 0) return status;
    if (dims > x->shape[last])
        return infer->host->fail_at(infer->owner, "dims", FLOW_ERROR_RANGE, "%lld features are to be turned, there are %lld",
                                    (long long)dims, (long long)x->shape[last]);
    if (infer->streaming && infer->in_axis[0] == last)
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the pieces are cut along the features");
    shape_like(&infer->out[0], x);
    infer->out[0].dtype = x->dtype;
    infer->flops = 3.0 * (double)shape_count(x);
    infer->bytes = 2.0 * (double)(shape_count(x) * shape_type_bytes(x->dtype));
    infer->backward_reads_in = infer->backward_reads_out = 0;
    infer->workspace_backward = dims / 2 * (int64_t)sizeof(double);
    return position_plan(infer, dims / 2, shape_span(x, 0, x->rank - 2), x->rank - 2, infer->streaming ? infer->in_axis[0] : -1);
}

struct rope_work {
    const struct flow_call *call;
    struct flow_tensor x; /* of rows without gaps */
    int64_t first, rows;  /* rows: product of the axes before T */
};

/* Element offset of row (l, t) in a tensor [.., T, D]. */
static int64_t row_offset(const struct flow_tensor *x, int64_t l, int64_t t) {
    int64_t offset = t * x->strides[x->rank - 2];
    for (int32_t axis = x->rank - 3; axis >= 0; axis--) offset += l % x->shape[axis] * x->strides[axis], l /= x->shape[axis];
    return offset;
}

static void rope_piece(void *context, int64_t begin, int64_t end) {
    const struct rope_work *work = context;
    const struct flow_call *call = work->call;
    const struct position_attrs *a = call->attrs;
    const struct position *p = call->priv;
    const struct flow_tensor *x = &work->x, *y = &call->out[0];
    const double *w = call->packed;
    int64_t width = x->shape[x->rank - 1], turned = 2 * p->pairs, bytes = shape_type_bytes(y->dtype);
    int64_t step = a->style == 1 ? 2 : 1, apart = a->style == 1 ? 1 : p->pairs;
    for (int64_t t = begin; t < end; t++) {
        for (int64_t i = 0; i < p->pairs; i += ROTATION_BLOCK) {
            int64_t n = p->pairs - i < ROTATION_BLOCK ? p->pairs - i : ROTATION_BLOCK;
            union {
                float f32[ROTATION_BLOCK];
                double f64[ROTATION_BLOCK];
            } sine, cosine;
            if (y->dtype == FLOW_F64) p->table->angles_f64((double)(work->first + t), w + i, n, sine.f64, cosine.f64);
            else p->table->angles_f32((double)(work->first + t), w + i, n, sine.f32, cosine.f32);
            for (int64_t l = 0; l < work->rows; l++) {
                int64_t from = row_offset(x, l, t) + i * step, to = row_offset(y, l, t) + i * step;
                if (y->dtype == FLOW_F64)
                    p->table->turn_f64((const double *)x->data + from, (double *)y->data + to, n, step, apart, sine.f64, cosine.f64);
                else p->table->turn_f32((const float *)x->data + from, (float *)y->data + to, n, step, apart, sine.f32, cosine.f32);
            }
        }
        if (turned == width || x->data == y->data) continue;
        for (int64_t l = 0; l < work->rows; l++)
            memcpy((char *)y->data + (row_offset(y, l, t) + turned) * bytes, (const char *)x->data + (row_offset(x, l, t) + turned) * bytes,
                   (size_t)((width - turned) * bytes));
    }
}

static int rope_forward(const struct flow_call *call) {
    const struct position *p = call->priv;
    const struct flow_tensor *y = &call->out[0];
    int64_t steps = y->shape[y->rank - 2];
    struct rope_work work = {call, call->in[0], 0, shape_span(y, 0, y->rank - 2)};
    bool counts = call->state_count > 0 && call->state_in[0].rank >= 0;
    work.first = first_position(call, counts ? steps : 0);
    if (shape_count(y) == 0) return FLOW_OK;
    if (work.x.strides[y->rank - 1] != 1 && y->shape[y->rank - 1] > 1) {
        shape_copy(call, y->rank, y->shape, shape_type_bytes(y->dtype), work.x.data, work.x.strides, y->data, y->strides);
        work.x = *y;
    }
    if (steps < 2 * p->grain || call->host->threads < 2) rope_piece(&work, 0, steps);
    else call->host->parallel_for(call, steps, p->grain, rope_piece, &work);
    return FLOW_OK;
}

/* The gradient turned back, position by position; both sides are row-major. */
static void rope_back_piece(void *context, int64_t begin, int64_t end) {
    const struct flow_call *call = context;
    const struct position_attrs *a = call->attrs;
    const struct position *p = call->priv;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    const double *w = call->workspace;
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0), wide = g->dtype == FLOW_F64;
    int64_t rows = shape_span(g, 0, g->rank - 2), steps = g->shape[g->rank - 2], width = g->shape[g->rank - 1], turned = 2 * p->pairs;
    int64_t step = a->style == 1 ? 2 : 1, apart = a->style == 1 ? 1 : p->pairs, bytes = shape_type_bytes(g->dtype);
    for (int64_t t = begin; t < end; t++) {
        for (int64_t i = 0; i < p->pairs; i += ROTATION_BLOCK) {
            int64_t n = p->pairs - i < ROTATION_BLOCK ? p->pairs - i : ROTATION_BLOCK;
            union {
                float f32[ROTATION_BLOCK];
                double f64[ROTATION_BLOCK];
            } sine, cosine;
            if (wide) p->table->angles_f64((double)(a->offset + t), w + i, n, sine.f64, cosine.f64);
            else p->table->angles_f32((double)(a->offset + t), w + i, n, sine.f32, cosine.f32);
            for (int64_t l = 0; l < rows; l++) {
                int64_t at = (l * steps + t) * width + i * step;
                if (wide)
                    p->table->back_f64((const double *)g->data + at, (double *)to->data + at, n, step, apart, sine.f64, cosine.f64, add);
                else p->table->back_f32((const float *)g->data + at, (float *)to->data + at, n, step, apart, sine.f32, cosine.f32, add);
            }
        }
        for (int64_t l = 0; l < rows && turned < width; l++) {
            int64_t at = ((l * steps + t) * width + turned) * bytes, n = width - turned;
            if (add) adjoint_add(ISA_PICK(adjoint_table, call->host->isa), bytes, (const char *)g->data + at, (char *)to->data + at, n);
            else memcpy((char *)to->data + at, (const char *)g->data + at, (size_t)(n * bytes));
        }
    }
}

static int rope_backward(const struct flow_call *call) {
    const struct position *p = call->priv;
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    void *context = (void *)(uintptr_t)call;
    if (g->rank < 0) adjoint_zero(call, to, FLOW_ACCUMULATES(call->accumulate_in, 0));
    if (g->rank < 0 || to->rank < 0 || shape_count(g) == 0) return FLOW_OK;
    int64_t steps = g->shape[g->rank - 2];
    position_waves(call, call->workspace);
    if (steps < 2 * p->grain || call->host->threads < 2) rope_back_piece(context, 0, steps);
    else call->host->parallel_for(call, steps, p->grain, rope_back_piece, context);
    return FLOW_OK;
}

static const struct flow_kernel rope_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = rope_forward, .backward = rope_backward}};

const struct flow_operator rope_operator = {
    .size = sizeof(struct flow_operator),
    .name = "rope",
    .summary = "rotary position embedding; goes on from piece to piece when streamed",
    .equation = "w_i = base^(-2i/dims), i < dims/2; the pair (a, b) of position t becomes\n"
                "(a cos((t + offset) w_i) - b sin(...), b cos(...) + a sin(...)); features from dims on stay",
    .reference = "Su et al., \"RoFormer\", arXiv:2104.09864, equation 34",
    .example = "y: {op: rope, in: x, with: {style: interleaved}}",
    .inputs = FLOW_TABLE(rope_in),
    .outputs = FLOW_TABLE(rope_out),
    .states = FLOW_TABLE(position_states),
    .attrs = FLOW_TABLE(rope_attrs),
    .attrs_size = sizeof(struct position_attrs),
    .kernels = FLOW_TABLE(rope_kernels),
    .priv_size = sizeof(struct position),
    .infer = rope_infer,
    .prepare = position_prepare,
};
