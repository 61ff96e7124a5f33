/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisations. */
#include <flow/plugin.h>

extern const struct flow_operator norm_layer, norm_rms, norm_group, norm_instance, norm_batch, norm_scale, norm_l2;

static const struct flow_operator *const operators[] = {
    &norm_layer, &norm_rms, &norm_group, &norm_instance, &norm_batch, &norm_scale, &norm_l2,
};

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "norm",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "Normalisations",
    .operators = FLOW_TABLE(operators),
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
