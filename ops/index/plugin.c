/* SPDX-License-Identifier: Apache-2.0 */
/* The index family. */
#include <flow/plugin.h>

#define OPERATORS(XX) \
    XX(gather) XX(take_along) XX(scatter_add) XX(embedding) XX(one_hot) XX(topk) XX(argmax) XX(argmin) XX(argsort) XX(cumsum) XX(tril_mask)

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
    .name = "index",
    .version = "0.1.0",
    .licence = "Apache-2.0",
    .summary = "reading, adding and ordering by index; running sums",
    .reference = "",
    .operators = {sizeof operators / sizeof *operators, sizeof *operators, operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
