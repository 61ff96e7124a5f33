/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions, pools, resizing. */
#include <flow/plugin.h>

extern const struct flow_operator conv_1d, conv_2d, conv_transpose_1d, conv_transpose_2d, pool_max_1d, pool_max_2d, pool_avg_1d,
    pool_avg_2d, pool_global_avg, resize_upsample;

static const struct flow_operator *const operators[] = {
    &conv_1d,     &conv_2d,     &conv_transpose_1d, &conv_transpose_2d, &pool_max_1d,
    &pool_max_2d, &pool_avg_1d, &pool_avg_2d,       &pool_global_avg,   &resize_upsample,
};

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "conv",
    .version = "1.0.0",
    .licence = "Apache-2.0",
    .summary = "Convolutions, pools, resizing",
    .operators = FLOW_TABLE(operators),
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
