/* SPDX-License-Identifier: Apache-2.0 */
/* The elementwise family. */
#include <flow/plugin.h>

/* clang-format off */
#define OPERATORS(XX) \
    XX(add) XX(sub) XX(mul) XX(div) XX(mod) XX(pow) XX(minimum) XX(maximum) \
    XX(eq) XX(ne) XX(lt) XX(le) XX(gt) XX(ge) XX(and) XX(or) XX(not) \
    XX(neg) XX(exp) XX(log) XX(sqrt) XX(rsqrt) XX(abs) XX(sign) XX(square) XX(reciprocal) XX(sin) XX(cos) XX(erf) XX(floor) XX(round) \
    XX(relu) XX(leaky_relu) XX(elu) XX(gelu) XX(silu) XX(sigmoid) XX(tanh) XX(softplus) XX(mish) XX(relu_squared) \
    XX(prelu) XX(glu) XX(clamp) XX(where) XX(dropout) XX(cast) XX(identity)
/* clang-format on */

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
    .name = "elementwise",
    .version = "0.1.0",
    .licence = "Apache-2.0",
    .summary = "arithmetic, comparisons, elementary and activation functions",
    .reference = "",
    .operators = {sizeof operators / sizeof *operators, sizeof *operators, operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
