/* SPDX-License-Identifier: Apache-2.0 */
/* Control of gradients, and bare parameters. */
#include <flow/plugin.h>

#define OPERATORS(XX) XX(stop_gradient) XX(scale_gradient) XX(inject_gradient) XX(parameter)

#define DECLARE(name) extern const struct flow_operator name##_operator;
OPERATORS(DECLARE)
#undef DECLARE

#define ROW(name) &name##_operator,
static const struct flow_operator *const operators[] = {OPERATORS(ROW)};
#undef ROW

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "control",
    .version = "0.1.0",
    .licence = "Apache-2.0",
    .summary = "stopping, scaling and replacing gradients; bare parameters",
    .reference = "",
    .operators = {sizeof operators / sizeof *operators, sizeof *operators, operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
