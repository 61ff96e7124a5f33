/* SPDX-License-Identifier: Apache-2.0 */
/* where: choice between two inputs, element by element. */
#include "elementwise/backward.h"
#include "elementwise/elementwise.h"

#include "common/shape.h"

static int where_infer(struct flow_infer *infer) {
    struct elementwise *e = infer->priv;
    struct flow_tensor *y = &infer->out[0];
    const struct flow_tensor *in[3] = {&infer->in[0], &infer->in[1], &infer->in[2]};
    if (in[1]->dtype != in[2]->dtype)
        return infer->host->fail(infer->owner, FLOW_ERROR_TYPE, "a is %s, b is %s: they must be of one type", shape_type_name(in[1]->dtype),
                                 shape_type_name(in[2]->dtype));
    y->dtype = in[1]->dtype;
    int status = shape_broadcast(infer, 0, 2, y);
    if (status < 0) return status;
    e->kernel = ISA_PICK(where_table, infer->host->isa)->of[y->dtype];
    map_plan(&e->map, y, in, 3, 0.2);
    infer->bytes = (double)(e->map.count * (3 * e->map.out_bytes + 1));
    if (infer->differentiated) {
        infer->backward_reads_in = 1, infer->backward_reads_out = 0;
        back_plan(infer, in[1]);
        back_plan(infer, in[2]);
    }
    return FLOW_OK;
}

static int where_forward(const struct flow_call *call) {
    const struct elementwise *e = call->priv;
    const void *in[3] = {call->in[0].data, call->in[1].data, call->in[2].data};
    map_run(&e->map, call, e->kernel, e, in, call->out[0].data);
    return FLOW_OK;
}

static int where_backward(const struct flow_call *call) {
    const struct back back[] = {{BACK_WHERE_A, &call->grad_in[1], FLOW_ACCUMULATES(call->accumulate_in, 1)},
                                {BACK_WHERE_B, &call->grad_in[2], FLOW_ACCUMULATES(call->accumulate_in, 2)}};
    back_run(call, &call->in[0], NULL, back, 2, 0, 0);
    return FLOW_OK;
}

static const struct flow_port where_in[] = {
    {"cond", "any shape; all broadcast", NULL, FLOW_TYPE(BOOL), FLOW_STRIDED | FLOW_OWN_TYPE | FLOW_NO_GRAD},
    {"a", "taken where cond is true", NULL, FLOW_TYPES_ANY, FLOW_STRIDED},
    {"b", "taken elsewhere", NULL, FLOW_TYPES_ANY, FLOW_STRIDED},
};
static const struct flow_port where_out[] = {{"y", "the broadcast shape, a's type", NULL, FLOW_TYPES_ANY, FLOW_INPLACE(1)}};
static const struct flow_kernel where_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_ANY, .forward = where_forward, .backward = where_backward}};

const struct flow_operator where_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_POINTWISE,
    .name = "where",
    .summary = "choice between two inputs",
    .equation = "y = cond ? a : b",
    .reference = "elementary; broadcasting: NumPy's rule",
    .example = "y: {op: where, in: {cond: mask, a: a, b: b}}",
    .inputs = FLOW_TABLE(where_in),
    .outputs = FLOW_TABLE(where_out),
    .kernels = FLOW_TABLE(where_kernels),
    .priv_size = sizeof(struct elementwise),
    .infer = where_infer,
};
