/* SPDX-License-Identifier: Apache-2.0 */
/* Claims rows that are shorter than any that were released. */
#include <flow/plugin.h>

static const struct flow_port inputs[] = {{"x", "", "D", FLOW_TYPES_FLOAT, 0}};
static const struct flow_operator only = {.size = sizeof only, .name = "lying", .inputs = {1, 8, inputs}};
static const struct flow_operator *const operators[] = {&only};
static const struct flow_plugin plugin = {
    .size = sizeof plugin, .abi = FLOW_ABI, .api = FLOW_API, .name = "liar", .operators = FLOW_TABLE(operators)};
const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
