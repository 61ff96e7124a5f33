/* SPDX-License-Identifier: Apache-2.0 */
#include "product/linear.h"
#include "common/columns.h"
#include "common/extent.h"
#include "common/gradient.h"

static const struct flow_port inputs[] = {
    {"x", "features along the last axis", "... I", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_port outputs[] = {
    {"y", "x W^T + b", "... units", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_param params[] = {
    {"weight", "W, a row for each unit", "units I", NULL, "kaiming_uniform(sqrt(5))", FLOW_TYPES_FLOAT, 0},
    {"bias", "b", "units", "bias", "uniform(-1/sqrt(I), 1/sqrt(I))", FLOW_TYPES_FLOAT, 0},
};
static const struct flow_attr attributes[] = {
    FLOW_ATTR(struct linear_attrs, units, "width of the result", FLOW_REQUIRED, 1, FLOW_NO_MAX),
    FLOW_ATTR_PLAIN(struct linear_attrs, bias, "add b", "true"),
};

static int infer(struct flow_infer *infer) {
    const struct linear_attrs *a = infer->attrs;
    const struct flow_tensor *x = &infer->in[0];
    int64_t width = x->shape[x->rank - 1], rows = shape_span(x, 0, x->rank - 1);
    if (infer->streaming && infer->in_axis[0] >= 0) {
        if (infer->in_axis[0] == x->rank - 1)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the product over axis %d needs the whole sequence",
                                     x->rank - 1);
        infer->out_axis[0] = infer->in_axis[0];
    }
    if (infer->phase == FLOW_PHASE_INFERENCE) {
        /* b_row = 1, b_col = I: the transposed weight. */
        infer->packed = infer->host->gemm_packed_bytes(infer->host, extent_wide(x->dtype), width, a->units);
        infer->packed_key = 1;
    }
    if (infer->differentiated) {
        infer->backward_reads_in = 1;
        infer->backward_reads_out = 0;
        infer->workspace_backward = a->bias ? columns_workspace(rows, a->units) : 0;
    }
    infer->flops = 2.0 * (double)rows * (double)width * (double)a->units;
    infer->bytes = (double)shape_type_bytes(x->dtype) * ((double)rows * (double)(width + a->units) + (double)width * (double)a->units);
    return FLOW_OK;
}

static int prepare(const struct flow_call *call) {
    const struct flow_tensor *w = &call->param[0];
    call->host->gemm_pack(call->host, extent_wide(w->dtype), w->shape[1], w->shape[0], w->data, w->dtype, w->strides[1], w->strides[0],
                          call->packed);
    return FLOW_OK;
}

static int forward(const struct flow_call *call) {
    struct flow_gemm product = linear_product(call);
    if (product.m == 0) return FLOW_OK;
    if (call->packed) product.b = NULL, product.packed_b = call->packed;
    return call->host->gemm(call, &product);
}

static int backward(const struct flow_call *call) {
    const struct linear_attrs *attrs = call->attrs;
    const struct flow_tensor *dy = &call->grad_out[0];
    if (!shape_exists(dy)) return gradient_none(call);
    int status = linear_gradients(call);
    if (status >= 0 && attrs->bias && shape_exists(&call->grad_param[1]))
        columns_sum(call, dy->dtype, call->grad_param[1].data, dy->data, linear_rows(&call->in[0]), attrs->units, attrs->units,
                    gradient_adds_param(call, 1), call->workspace);
    return status;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU,
     .types = FLOW_TYPES_REAL,
     .forward = forward,
     .backward = backward,
     .epilogues = FLOW_EPILOGUE_ACTIVATION | FLOW_EPILOGUE_RESIDUAL},
};

extern const struct flow_operator product_linear;
const struct flow_operator product_linear = {
    .size = sizeof(struct flow_operator),
    .name = "linear",
    .summary = "An affine map of the last axis",
    .equation = "y = x W^T + b; dx = dy W, dW = dy^T x, db = the sum of dy's rows",
    .reference = "initial values: He et al., Delving Deep into Rectifiers, 2015, section 2.2",
    .example = "y: {op: linear, in: x, with: {units: 8}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE(params),
    .attrs = FLOW_TABLE(attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct linear_attrs),
    .infer = infer,
    .prepare = prepare,
};
