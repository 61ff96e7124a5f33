/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin in one file: copy this folder, rename the operator, build it with
 *     cc -shared -fPIC -O2 -I INCLUDE template.c -o my.so
 * and put my.so into a folder `plugins` beside the graph. Nothing else has to be built again.
 */
#include <flow/plugin.h>

#include <math.h>

struct softsign_attrs {
    double scale;
};

/* The port is not FLOW_STRIDED, so the elements lie in a row. */
static int softsign_forward(const struct flow_call *call) {
    const struct softsign_attrs *a = call->attrs;
    const struct flow_tensor *x = &call->in[0];
    int64_t count = 1;
    for (int32_t i = 0; i < x->rank; i++) count *= x->shape[i];
    if (x->dtype == FLOW_F64) {
        const double *from = x->data;
        double *to = call->out[0].data;
        for (int64_t i = 0; i < count; i++) to[i] = a->scale * from[i] / (1 + fabs(from[i]));
    } else {
        const float *from = x->data;
        float *to = call->out[0].data;
        for (int64_t i = 0; i < count; i++) to[i] = (float)a->scale * from[i] / (1 + fabsf(from[i]));
    }
    return FLOW_OK;
}

static const struct flow_port inputs[] = {{"x", "any shape", "...", FLOW_TYPES_FLOAT, 0}};
static const struct flow_port outputs[] = {{"y", "as x", "...", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_attr attrs[] = {FLOW_ATTR_PLAIN(struct softsign_attrs, scale, "largest absolute value", "1")};
static const struct flow_kernel kernels[] = {{NULL, FLOW_DEVICE_CPU, FLOW_TYPES_REAL, FLOW_ISA_BASE, 0, NULL, softsign_forward, NULL}};

static const struct flow_operator softsign = {
    .size = sizeof softsign,
    .flags = FLOW_OP_POINTWISE,
    .name = "softsign",
    .summary = "a squashing function with polynomial tails",
    .equation = "y = scale * x / (1 + abs(x))",
    .reference = "Turian, Bergstra, Bengio, Quadratic features and deep architectures for chunking, 2009",
    .example = "y: {op: softsign, in: x}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct softsign_attrs),
};

static const struct flow_operator *const operators[] = {&softsign};
static const struct flow_plugin plugin = {
    .size = sizeof plugin,
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "template",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "an example to start from",
    .operators = {1, sizeof operators[0], operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
