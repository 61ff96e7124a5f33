/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions over axes and softmax. */
#include <flow/plugin.h>

extern const struct flow_operator reduce_sum, reduce_mean, reduce_amax, reduce_amin, reduce_prod, reduce_logsumexp, reduce_norm, reduce_var,
    reduce_any, reduce_all, reduce_softmax, reduce_log_softmax;

static const struct flow_operator *const operators[] = {
    &reduce_sum,  &reduce_mean, &reduce_amax, &reduce_amin, &reduce_prod,    &reduce_logsumexp,
    &reduce_norm, &reduce_var,  &reduce_any,  &reduce_all,  &reduce_softmax, &reduce_log_softmax,
};

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "reduce",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "Reductions over axes and softmax",
    .operators = FLOW_TABLE(operators),
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
