/* SPDX-License-Identifier: Apache-2.0 */
/* The shape family. */
#include <flow/plugin.h>

/* clang-format off */
#define OPERATORS(XX) \
    XX(reshape) XX(transpose) XX(concat) XX(split) XX(slice) XX(pad) XX(expand) XX(squeeze) XX(unsqueeze) XX(repeat_interleave) \
    XX(flip) XX(roll) XX(shift) XX(sinusoid) XX(rope) XX(shape_of) XX(constant) XX(arange) XX(random_normal) XX(random_uniform)
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
    .name = "shape",
    .version = "0.1.0",
    .licence = "Apache-2.0",
    .summary = "views, copies along axes, positions, constants and random numbers",
    .reference = "",
    .operators = {sizeof operators / sizeof *operators, sizeof *operators, operators},
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
