/* SPDX-License-Identifier: Apache-2.0 */
/* dropout and identity. */
#include "elementwise/elementwise.h"

#include "common/shape.h"

#include <flow/random.h>

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

struct dropout_attrs {
    double p;
};

struct dropout {
    int64_t count;
};

static const struct flow_attr dropout_attrs[] = {FLOW_ATTR(struct dropout_attrs, p, "probability of 0", "0.5", 0, 1)};

static int dropout_infer(struct flow_infer *infer) {
    const struct dropout_attrs *a = infer->attrs;
    struct dropout *d = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    struct flow_tensor *y = &infer->out[0];
    if (infer->phase != FLOW_PHASE_TRAINING || a->p == 0) return identity_infer(infer);
    shape_like(y, x);
    y->dtype = x->dtype;
    d->count = shape_count(x);
    infer->bytes = 2.0 * (double)(d->count * shape_type_bytes(x->dtype));
    return FLOW_OK;
}

/* Elements 4c to 4c+3 take the four words of block c of the node's stream: the same whatever the pieces. */
struct dropout_work {
    const struct flow_call *call;
    const void *x;  /* laid out like y */
    uint64_t least; /* a word below it drops its element */
    double scale;
};

static void dropout_piece(void *context, int64_t begin, int64_t end) {
    const struct dropout_work *w = context;
    const struct flow_call *call = w->call;
    uint32_t words[4];
    if (call->out[0].dtype == FLOW_F64) {
        const double *x = w->x;
        double *y = call->out[0].data;
        for (int64_t i = begin; i < end; i++) {
            if (i % 4 == 0 || i == begin) flow_philox(call->seed, call->run, (uint64_t)i / 4, words);
            y[i] = words[i % 4] < w->least ? 0.0 : x[i] * w->scale;
        }
        return;
    }
    const float *x = w->x, scale = (float)w->scale;
    float *y = call->out[0].data;
    for (int64_t i = begin; i < end; i++) {
        if (i % 4 == 0 || i == begin) flow_philox(call->seed, call->run, (uint64_t)i / 4, words);
        y[i] = words[i % 4] < w->least ? 0.0f : x[i] * scale;
    }
}

static int dropout_forward(const struct flow_call *call) {
    const struct dropout_attrs *a = call->attrs;
    const struct dropout *d = call->priv;
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    struct dropout_work work = {call, x->data, (uint64_t)(a->p * 0x1p32), a->p < 1 ? 1 / (1 - a->p) : 0};
    if (!shape_is_dense(x)) {
        shape_copy(call, x->rank, x->shape, shape_type_bytes(x->dtype), x->data, x->strides, y->data, y->strides);
        work.x = y->data;
    }
    if (d->count < 2 * 8192 || call->host->threads < 2) dropout_piece(&work, 0, d->count);
    else call->host->parallel_for(call, d->count, 8192, dropout_piece, &work);
    return FLOW_OK;
}

static const struct flow_port dropout_in[] = {{"x", "any shape", "...", FLOW_TYPES_FLOAT, FLOW_STRIDED}};
static const struct flow_port dropout_out[] = {
    {"y", "x's shape and type; a view outside training", "...", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_kernel dropout_kernels[] = {{.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = dropout_forward}};

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
    .priv_size = sizeof(struct dropout),
    .infer = dropout_infer,
};
