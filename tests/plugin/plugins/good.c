/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin with two operators and all kinds of rows. */
#include <flow/plugin.h>

struct one_attrs {
    int64_t width;
    double slope;
    bool flag;
    const char *word;
    int32_t mode;
    struct flow_ints axes;
    struct flow_values table;
    struct flow_dtype type;
};

static const struct flow_attr one_rows[] = {
    FLOW_ATTR(struct one_attrs, width, "number of things", "4", 1, 100),
    FLOW_ATTR(struct one_attrs, slope, "a slope", "0.5", FLOW_NO_MIN, FLOW_NO_MAX),
    FLOW_ATTR_PLAIN(struct one_attrs, flag, "a flag", "false"),
    FLOW_ATTR_PLAIN(struct one_attrs, word, "a word", FLOW_ABSENT),
    FLOW_ATTR_CHOICES(struct one_attrs, mode, "a choice", "fast", "slow|fast"),
    FLOW_ATTR_SHAPE(struct one_attrs, axes, "some axes", FLOW_ABSENT),
    FLOW_ATTR_PLAIN(struct one_attrs, table, "numbers", FLOW_REQUIRED),
    FLOW_ATTR_PLAIN(struct one_attrs, type, "a type", "f32"),
};
static const struct flow_port one_inputs[] = {{"x", "any", "... D", FLOW_TYPES_FLOAT, 0},
                                              {"y", "any", "... D", FLOW_TYPES_FLOAT, FLOW_OPTIONAL | FLOW_VARIADIC}};
static const struct flow_port one_outputs[] = {{"out", "the same", "... D", FLOW_TYPES_FLOAT, FLOW_INPLACE(0)}};
static const struct flow_param one_params[] = {{"weight", "factors", "D", NULL, "ones", FLOW_TYPES_FLOAT, 0}};
static const struct flow_state one_states[] = {{"held", "what is held", "D", "zeros", FLOW_TYPES_FLOAT, 0, 0, 0}};

static int one_forward(const struct flow_call *call) { return call ? 0 : -1; }
static bool only_f64(const struct flow_infer *infer) { return infer->in_count == 7; }

static const struct flow_kernel one_kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = one_forward},
    {.device = FLOW_DEVICE_CPU,
     .types = FLOW_TYPE(F32),
     .isa = FLOW_ISA_AVX2,
     .priority = 5,
     .forward = one_forward,
     .backward = one_forward},
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(F32), .priority = 5, .forward = one_forward},
    {.device = FLOW_DEVICE_CPU,
     .types = FLOW_TYPE(F32),
     .isa = FLOW_ISA_AVX512,
     .priority = 9,
     .supports = only_f64,
     .forward = one_forward},
};

static const struct flow_operator one = {
    .size = sizeof one,
    .name = "good_one",
    .summary = "An operator with all kinds of rows.",
    .inputs = FLOW_TABLE(one_inputs),
    .outputs = FLOW_TABLE(one_outputs),
    .params = FLOW_TABLE(one_params),
    .states = FLOW_TABLE(one_states),
    .attrs = FLOW_TABLE(one_rows),
    .kernels = FLOW_TABLE(one_kernels),
    .attrs_size = sizeof(struct one_attrs),
};
static const struct flow_operator two = {.size = sizeof two, .name = "good_two"};

static const struct flow_operator *const operators[] = {&one, &two};

/* Names are names of one kind: an optimiser may be called as an operator is. */
static int step(const struct flow_update *update) { return update ? 0 : -1; }
static const struct flow_optimizer optimizer = {.size = sizeof optimizer, .name = "good_one", .step = step};
static const struct flow_optimizer *const optimizers[] = {&optimizer};

static int open(struct flow_source_open *open) { return open ? 0 : -1; }
static int fill(const struct flow_source_fill *fill) { return fill ? 0 : -1; }
static const struct flow_source source = {.size = sizeof source, .name = "good_rows", .open = open, .fill = fill};
static const struct flow_source *const sources[] = {&source};
static const struct flow_plugin plugin = {.size = sizeof plugin,
                                          .abi = FLOW_ABI,
                                          .api = FLOW_API,
                                          .name = "good",
                                          .version = "1",
                                          .licence = "Apache-2.0",
                                          .operators = FLOW_TABLE(operators),
                                          .optimizers = FLOW_TABLE(optimizers),
                                          .sources = FLOW_TABLE(sources)};
const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
