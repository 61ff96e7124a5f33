/* SPDX-License-Identifier: Apache-2.0 */
/* Losses and metrics. */
#include <flow/plugin.h>

extern const struct flow_operator loss_cross_entropy, loss_binary, loss_mse, loss_l1, loss_huber, loss_kl, loss_cosine, loss_accuracy;

static const struct flow_operator *const operators[] = {
    &loss_cross_entropy, &loss_binary, &loss_mse, &loss_l1, &loss_huber, &loss_kl, &loss_cosine, &loss_accuracy,
};

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "loss",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "Losses and metrics",
    .operators = FLOW_TABLE(operators),
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
