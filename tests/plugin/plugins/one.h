/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin with one operator that does nothing, for those whose point lies elsewhere. */
#include <flow/plugin.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#ifndef ABI
#define ABI FLOW_ABI
#endif

static const struct flow_operator only = {.size = sizeof only, .name = TEXT(OPERATOR)};
static const struct flow_operator *const operators[] = {&only};
static const struct flow_plugin plugin = {
    .size = sizeof plugin, .abi = ABI, .api = FLOW_API, .name = TEXT(PLUGIN), .operators = FLOW_TABLE(operators)};
const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
