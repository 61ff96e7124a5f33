/* SPDX-License-Identifier: Apache-2.0 */
/* The optimisers. */
#include <flow/plugin.h>

#define OPTIMIZERS(XX) XX(sgd) XX(adam) XX(adamw) XX(rmsprop) XX(adagrad) XX(muon) XX(none) XX(average) XX(assign) XX(accumulate)

#define DECLARE(name) extern const struct flow_optimizer name##_optimizer;
OPTIMIZERS(DECLARE)
#undef DECLARE

#define ROW(name) &name##_optimizer,
static const struct flow_optimizer *const optimizers[] = {OPTIMIZERS(ROW)};
#undef ROW

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "optimizer",
    .version = "0.1.0",
    .licence = "Apache-2.0",
    .summary = "rules by which parameters change: gradient descent with and without moments, and rules without a gradient",
    .reference = "",
    .optimizers = {sizeof optimizers / sizeof *optimizers, sizeof *optimizers, optimizers},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
