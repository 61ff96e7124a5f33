/* SPDX-License-Identifier: Apache-2.0 */
/* Brings kernels for an operator of another plugin. */
#include <flow/plugin.h>

static int forward(const struct flow_call *call) { return call ? 0 : -1; }
static const struct flow_kernel kernels[] = {
    {.op = "good_one", .device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(F32), .priority = 20, .forward = forward},
    {.op = "good/good_one", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPE(F32), .forward = forward},
    {.op = "other/good_one", .device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(F32), .priority = 99, .forward = forward},
};
static const struct flow_plugin plugin = {
    .size = sizeof plugin, .abi = FLOW_ABI, .api = FLOW_API, .name = "more_kernels", .kernels = FLOW_TABLE(kernels)};
const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
