/* SPDX-License-Identifier: Apache-2.0 */
/* dropout and identity. */
#include "elementwise/dropout.h"

#include "common/adjoint.h"

/* ---- identity ---------------------------------------------------------------------------------------------------- */

static int identity_infer(struct flow_infer *infer) {
    const struct flow_tensor *x = &infer->in[0];
    struct flow_tensor *y = &infer->out[0];
    shape_like(y, x);
    y->dtype = x->dtype;
    for (int32_t i = 0; i < x->rank; i++) y->strides[i] = x->strides[i];
    infer->view_of[0] = 0;
    return FLOW_OK;
}

static const struct flow_port any_x[] = {{"x", "any shape and type", "...", FLOW_TYPES_ANY, FLOW_STRIDED}};
static const struct flow_port any_y[] = {{"y", "x itself, as a view", "...", FLOW_TYPES_ANY, 0}};

const struct flow_operator identity_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "identity",
    .summary = "the input as it is: a name for it, or (with `state`) what it was in the run before",
    .equation = "y = x",
    .reference = "elementary",
    .example = "y: {op: identity, in: x}",
    .inputs = FLOW_TABLE(any_x),
    .outputs = FLOW_TABLE(any_y),
    .infer = identity_infer,
};

/* ---- dropout ----------------------------------------------------------------------------------------------------- */

static const struct flow_attr dropout_attrs[] = {FLOW_ATTR(struct dropout_attrs, p, "probability of 0", "0.5", 0, 1)};

static int dropout_infer(struct flow_infer *infer) {
    const struct dropout_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    struct flow_tensor *y = &infer->out[0];
    if (infer->phase != FLOW_PHASE_TRAINING || a->p == 0) return identity_infer(infer);
    shape_like(y, x);
    y->dtype = x->dtype;
    infer->bytes = 2.0 * (double)(shape_count(x) * shape_type_bytes(x->dtype));
    infer->backward_reads_in = infer->backward_reads_out = 0;
    return FLOW_OK;
}

/* Elements 4c to 4c+3 take the four words of block c of the node's stream: the same whatever the pieces. */
struct dropout_work {
    const struct flow_call *call;
    const void *x; /* laid out like y */
    void *y;
    struct dropout_mask mask;
    const struct dropout_table *table;
    bool wide;
};

static void dropout_piece(void *context, int64_t begin, int64_t end) {
    const struct dropout_work *w = context;
    if (w->wide) w->table->drop_f64(&w->mask, (const double *)w->x + begin, (double *)w->y + begin, begin, end - begin);
    else w->table->drop_f32(&w->mask, (const float *)w->x + begin, (float *)w->y + begin, begin, end - begin);
}

/* y (+)= x * mask / (1 - p); both row-major. */
static void dropout_apply(const struct flow_call *call, const void *x, const struct flow_tensor *y, bool add) {
    enum { PIECE = 16384 };
    const struct dropout_attrs *a = call->attrs;
    int64_t count = shape_count(y);
    struct dropout_work work = {.call = call,
                                .x = x,
                                .y = y->data,
                                .mask = {call->seed, call->run, (uint64_t)(a->p * 0x1p32), a->p < 1 ? 1 / (1 - a->p) : 0, add},
                                .table = ISA_PICK(dropout_table, call->host->isa),
                                .wide = y->dtype == FLOW_F64};
    if (count < 2 * PIECE || call->host->threads < 2) dropout_piece(&work, 0, count);
    else call->host->parallel_for(call, count, PIECE, dropout_piece, &work);
}

static int dropout_forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    const void *from = x->data;
    if (!shape_is_dense(x)) {
        shape_copy(call, x->rank, x->shape, shape_type_bytes(x->dtype), x->data, x->strides, y->data, y->strides);
        from = y->data;
    }
    dropout_apply(call, from, y, false);
    return FLOW_OK;
}

/* The mask is drawn again: seed, run and places are those of forward. */
static int dropout_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (g->rank < 0) adjoint_zero(call, to, add);
    else if (to->rank >= 0) dropout_apply(call, g->data, to, add);
    return FLOW_OK;
}

static const struct flow_port dropout_in[] = {{"x", "any shape", "...", FLOW_TYPES_FLOAT, FLOW_STRIDED}};
static const struct flow_port dropout_out[] = {
    {"y", "x's shape and type; a view outside training", "...", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_kernel dropout_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = dropout_forward, .backward = dropout_backward}};

const struct flow_operator dropout_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE | FLOW_OP_RANDOM,
    .name = "dropout",
    .summary = "in training zeroes elements at random; else the identity",
    .equation = "training: y = x * mask / (1 - p), mask 0 with probability p, drawn anew in every run;  else y = x",
    .reference = "Srivastava et al., \"Dropout\" (JMLR 2014); mask: Philox4x32-10 keyed by seed, node and run",
    .example = "y: {op: dropout, in: x, with: {p: 0.1}}",
    .inputs = FLOW_TABLE(dropout_in),
    .outputs = FLOW_TABLE(dropout_out),
    .attrs = FLOW_TABLE(dropout_attrs),
    .attrs_size = sizeof(struct dropout_attrs),
    .kernels = FLOW_TABLE(dropout_kernels),
    .infer = dropout_infer,
};
