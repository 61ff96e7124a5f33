/* SPDX-License-Identifier: Apache-2.0 */
/* cast: from any element type to any other. */
#include "elementwise/cast.h"

#include "common/extent.h"
#include "common/adjoint.h"

struct cast_attrs {
    struct flow_dtype to;
};

static const struct flow_attr cast_attrs[] = {FLOW_ATTR_PLAIN(struct cast_attrs, to, "the element type of the result", FLOW_REQUIRED)};

static int cast_infer(struct flow_infer *infer) {
    const struct cast_attrs *a = infer->attrs;
    struct cast *c = infer->priv;
    const struct flow_tensor *x = &infer->in[0];
    struct flow_tensor *y = &infer->out[0];
    shape_like(y, x);
    y->dtype = a->to.type;
    if (y->dtype == x->dtype) {
        for (int32_t i = 0; i < x->rank; i++) y->strides[i] = x->strides[i];
        infer->view_of[0] = 0;
        return FLOW_OK;
    }
    int status = shape_sound(infer, y);
    if (status < 0) return status;
    c->from = x->dtype, c->to = y->dtype;
    c->kernel = ISA_PICK(cast_table, infer->host->isa)->any;
    map_plan(&c->map, y, &x, 1, 0.3);
    infer->bytes = (double)(c->map.count * (c->map.bytes[0] + c->map.out_bytes));
    if (infer->differentiated) {
        infer->backward_reads_in = infer->backward_reads_out = 0;
        infer->backward_passes_in = extent_wide(x->dtype) == extent_wide(y->dtype); /* gradients of halves are f32 */
    }
    return FLOW_OK;
}

static int cast_forward(const struct flow_call *call) {
    const struct cast *c = call->priv;
    const void *in[1] = {call->in[0].data};
    map_run(&c->map, call, c->kernel, c, in, call->out[0].data);
    return FLOW_OK;
}

/* Between the two types that gradients have. */
struct cast_back {
    const struct flow_tensor *from, *to;
    bool add;
};

static void cast_piece(void *context, int64_t begin, int64_t end) {
    const struct cast_back *c = context;
    if (c->to->dtype == FLOW_F64) {
        const float *from = c->from->data;
        double *to = c->to->data;
        for (int64_t i = begin; i < end; i++) to[i] = c->add ? to[i] + (double)from[i] : (double)from[i];
    } else {
        const double *from = c->from->data;
        float *to = c->to->data;
        for (int64_t i = begin; i < end; i++) to[i] = c->add ? to[i] + (float)from[i] : (float)from[i];
    }
}

static int cast_backward(const struct flow_call *call) {
    const struct flow_tensor *g = &call->grad_out[0], *to = &call->grad_in[0];
    struct cast_back c = {g, to, FLOW_ACCUMULATES(call->accumulate_in, 0)};
    if (to->rank < 0) return FLOW_OK;
    if (g->rank < 0) adjoint_zero(call, to, c.add);
    else if (g->dtype == to->dtype) adjoint_pass(call, g, to, c.add);
    else if (shape_count(g) < 4 * 16384 || call->host->threads < 2) cast_piece(&c, 0, shape_count(g));
    else call->host->parallel_for(call, shape_count(g), 16384, cast_piece, &c);
    return FLOW_OK;
}

static const struct flow_port cast_in[] = {{"x", "any shape", "...", FLOW_TYPES_ANY, FLOW_STRIDED}};
static const struct flow_port cast_out[] = {{"y", "x's shape; a view where the type is the same", "...", FLOW_TYPES_ANY, 0}};
static const struct flow_kernel cast_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = cast_forward, .backward = cast_backward}};

const struct flow_operator cast_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "cast",
    .summary = "the same values in another element type",
    .equation =
        "y = x, to the nearest (ties to even) between floats; float to integer truncates, beyond its range gives the nearest end, NaN "
        "gives 0;\ninteger to a narrower one keeps the low bits; to bool: x != 0; bool gives 0 and 1",
    .reference = "IEEE 754-2008, section 5.4",
    .example = "y: {op: cast, in: x, with: {to: i64}}",
    .inputs = FLOW_TABLE(cast_in),
    .outputs = FLOW_TABLE(cast_out),
    .attrs = FLOW_TABLE(cast_attrs),
    .attrs_size = sizeof(struct cast_attrs),
    .kernels = FLOW_TABLE(cast_kernels),
    .priv_size = sizeof(struct cast),
    .infer = cast_infer,
};
