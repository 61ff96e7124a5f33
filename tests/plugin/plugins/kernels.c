/* SPDX-License-Identifier: Apache-2.0 */
/* Brings kernels for an operator of another plugin. */
#include <flow/plugin.h>

static int forward(const struct flow_call *call) { return call ? 0 : -1; }
static const struct flow_kernel kernels[] = {
    {"good_one", FLOW_DEVICE_CPU, FLOW_TYPE(F32), FLOW_ISA_BASE, 20, NULL, forward, NULL},
    {"good/good_one", FLOW_DEVICE_CUDA, FLOW_TYPE(F32), FLOW_ISA_BASE, 0, NULL, forward, NULL},
    {"other/good_one", FLOW_DEVICE_CPU, FLOW_TYPE(F32), FLOW_ISA_BASE, 99, NULL, forward, NULL},
};
static const struct flow_plugin plugin = {
    .size = sizeof plugin, .abi = FLOW_ABI, .api = FLOW_API, .name = "more_kernels", .kernels = FLOW_TABLE(kernels)};
const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
