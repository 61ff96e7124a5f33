/* SPDX-License-Identifier: Apache-2.0 */
/* Products of matrices and tensors. */
#include <flow/plugin.h>

extern const struct flow_operator product_matmul, product_linear, product_einsum;

static const struct flow_operator *const operators[] = {&product_matmul, &product_linear, &product_einsum};

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "product",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "Products of matrices and tensors",
    .operators = FLOW_TABLE(operators),
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
