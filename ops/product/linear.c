/* SPDX-License-Identifier: Apache-2.0 */
#include "common/columns.h"
#include "common/extent.h"
#include "common/gradient.h"

struct linear_attrs {
    int64_t units;
    bool bias;
};

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
    const struct linear_attrs *a = call->attrs;
    const struct flow_tensor *x = &call->in[0], *w = &call->param[0];
    int64_t width = x->shape[x->rank - 1];
    struct flow_gemm product = {
        .size = sizeof(struct flow_gemm),
        .m = shape_span(x, 0, x->rank - 1),
        .n = a->units,
        .k = width,
        .a = x->data,
        .a_row = width,
        .a_col = 1,
        .c = call->out[0].data,
        .c_row = a->units,
        .bias = a->bias ? call->param[1].data : NULL,
        .dtype = x->dtype,
        .activation = call->activation,
        .residual = call->residual,
    };
    if (product.m == 0) return FLOW_OK;
    if (call->packed) {
        product.packed_b = call->packed;
    } else {
        product.b = w->data;
        product.b_row = w->strides[1];
        product.b_col = w->strides[0];
    }
    return call->host->gemm(call, &product);
}

/* dx = dy W, dW = dy^T x, db = sum of dy's rows. */
static int backward(const struct flow_call *call) {
    const struct linear_attrs *attrs = call->attrs;
    const struct flow_tensor *x = &call->in[0], *w = &call->param[0], *dy = &call->grad_out[0];
    const struct flow_tensor *dx = &call->grad_in[0], *dw = &call->grad_param[0];
    if (!shape_exists(dy)) return gradient_none(call);
    int64_t width = x->shape[x->rank - 1], rows = shape_span(x, 0, x->rank - 1), units = attrs->units;
    int status = FLOW_OK;
    if (shape_exists(dx) && rows > 0) {
        const struct flow_gemm product = {.size = sizeof(struct flow_gemm),
                                          .m = rows,
                                          .n = width,
                                          .k = units,
                                          .a = dy->data,
                                          .a_row = units,
                                          .a_col = 1,
                                          .b = w->data,
                                          .b_row = w->strides[0],
                                          .b_col = w->strides[1],
                                          .c = dx->data,
                                          .c_row = width,
                                          .beta = gradient_adds_in(call, 0) ? 1 : 0,
                                          .dtype = dy->dtype};
        status = call->host->gemm(call, &product);
    }
    if (status >= 0 && shape_exists(dw)) {
        const struct flow_gemm product = {.size = sizeof(struct flow_gemm),
                                          .m = units,
                                          .n = width,
                                          .k = rows,
                                          .a = dy->data,
                                          .a_row = 1,
                                          .a_col = units,
                                          .b = x->data,
                                          .b_row = width,
                                          .b_col = 1,
                                          .c = dw->data,
                                          .c_row = width,
                                          .beta = gradient_adds_param(call, 0) ? 1 : 0,
                                          .dtype = dy->dtype};
        status = call->host->gemm(call, &product);
    }
    if (status >= 0 && attrs->bias && shape_exists(&call->grad_param[1]))
        columns_sum(call, dy->dtype, call->grad_param[1].data, dy->data, rows, units, units, gradient_adds_param(call, 1), call->workspace);
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
