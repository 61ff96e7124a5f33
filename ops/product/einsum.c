/* SPDX-License-Identifier: Apache-2.0 */
#include "product/product.h"
#include "common/extent.h"

#include <string.h>

struct einsum_attrs {
    const char *equation;
};

static const struct flow_port inputs[] = {
    {"x", "operands, in the order of the equation", NULL, FLOW_TYPES_FLOAT, FLOW_VARIADIC | FLOW_STRIDED},
};
static const struct flow_port outputs[] = {
    {"y", "the sum of products", NULL, FLOW_TYPES_FLOAT, 0},
};
static const struct flow_attr attributes[] = {
    FLOW_ATTR_PLAIN(struct einsum_attrs, equation, "a letter for each axis, \"bij,bjk->bik\"; letters missing after -> are summed",
                    FLOW_REQUIRED),
};

/* The axis that streams, as a letter; all operands that have the letter must stream along it, and the result must keep it. */
static int stream(struct flow_infer *infer, const struct einsum_plan *plan) {
    int32_t letter = -1;
    for (uint32_t i = 0; i < infer->in_count; ++i) {
        if (infer->in_axis[i] < 0) continue;
        int32_t found = plan->in[i].letter[infer->in_axis[i]];
        if (letter >= 0 && letter != found)
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED,
                                     "the product of every step with every other needs the whole sequence");
        letter = found;
    }
    if (letter < 0) return FLOW_OK;
    for (uint32_t i = 0; i < infer->in_count; ++i) {
        int32_t count = 0;
        for (int32_t j = 0; j < plan->in[i].rank; ++j) count += plan->in[i].letter[j] == letter;
        if (count > 1 || (count == 1 && infer->in_axis[i] < 0))
            return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED,
                                     "operand %u has the streamed axis, but not in pieces: it needs the whole sequence", i);
    }
    for (int32_t j = 0; j < plan->out.rank; ++j)
        if (plan->out.letter[j] == letter) {
            infer->out_axis[0] = j;
            return FLOW_OK;
        }
    return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "the sum over the streamed axis needs the whole sequence");
}

static int infer(struct flow_infer *infer) {
    const struct einsum_attrs *attrs = infer->attrs;
    struct einsum_plan *plan = infer->priv;
    int status = einsum_parse(infer, attrs->equation, plan);
    if (status < 0) return status;
    int64_t extent[EINSUM_LETTERS], shape[FLOW_RANK_MAX];
    int32_t first[EINSUM_LETTERS];
    memset(first, -1, sizeof first);
    for (uint32_t i = 0; i < infer->in_count; ++i)
        for (int32_t j = 0; j < plan->in[i].rank; ++j) {
            int32_t letter = plan->in[i].letter[j];
            int64_t found = infer->in[i].shape[j];
            if (first[letter] >= 0 && extent[letter] != found)
                return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE,
                                         "axis %d of operand %u has extent %lld, but the same letter has %lld in operand %d of \"%s\"", j,
                                         i, (long long)found, (long long)extent[letter], first[letter], attrs->equation);
            if (first[letter] < 0) first[letter] = (int32_t)i;
            extent[letter] = found;
        }
    for (int32_t j = 0; j < plan->out.rank; ++j) shape[j] = extent[plan->out.letter[j]];
    if ((status = extent_output(infer, 0, infer->in[0].dtype, plan->out.rank, shape)) < 0) return status;
    if (infer->streaming && (status = stream(infer, plan)) < 0) return status;
    infer->workspace = einsum_workspace(plan, infer->in, &infer->out[0], &infer->flops);
    if (infer->workspace < 0)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the products on the way to the result of \"%s\" are too large",
                                 attrs->equation);
    if (!infer->differentiated) return FLOW_OK;
    infer->backward_reads_out = 0;
    if (plan->operands == 1) infer->backward_reads_in = 0;
    infer->workspace_backward = einsum_gradient_workspace(plan, infer->in, &infer->out[0]);
    if (infer->workspace_backward < 0)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the products on the way to the gradients of \"%s\" are too large",
                                 attrs->equation);
    return FLOW_OK;
}

static int forward(const struct flow_call *call) { return einsum_run(call, call->priv); }
static int backward(const struct flow_call *call) { return einsum_gradients(call, call->priv); }

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward, .backward = backward},
};

extern const struct flow_operator product_einsum;
const struct flow_operator product_einsum = {
    .size = sizeof(struct flow_operator),
    .name = "einsum",
    .summary = "Sums of products over named axes",
    .equation = "y[kept] = sum over the other letters of x0[..] x1[..] ...; a letter twice in one operand takes its diagonal",
    .reference = "A. Einstein, Die Grundlage der allgemeinen Relativitaetstheorie, 1916, section 5",
    .example = "y: {op: einsum, in: [a, b], with: {equation: \"bij,bjk->bik\"}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attributes),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct einsum_attrs),
    .priv_size = sizeof(struct einsum_plan),
    .infer = infer,
};
