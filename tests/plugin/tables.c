/* SPDX-License-Identifier: Apache-2.0 */
/* Tables that lie, one lie at a time: each is refused with words that name it. */
#include "plugin/source.h"

#include <criterion/criterion.h>
#include <string.h>

struct attrs {
    int64_t count;
    double slope;
    bool flag;
    int32_t mode;
};

/* A plugin that is right, to be made wrong in one place. */
struct sample {
    struct flow_attr attrs[4];
    struct flow_port inputs[2], outputs[1];
    struct flow_param params[2];
    struct flow_state states[1];
    struct flow_kernel kernels[1], more[1];
    struct flow_operator op, second;
    const struct flow_operator *operators[2];
    struct flow_plugin plugin;
};

static int forward(const struct flow_call *call) { return call ? 0 : -1; }

static void sample_init(struct sample *s) {
    *s = (struct sample){
        .attrs = {FLOW_ATTR(struct attrs, count, "", "3", 1, 9), FLOW_ATTR(struct attrs, slope, "", "0.5", 0, 1),
                  FLOW_ATTR_PLAIN(struct attrs, flag, "", "true"), FLOW_ATTR_CHOICES(struct attrs, mode, "", "b", "a|b")},
        .inputs = {{"x", "", "B D", FLOW_TYPES_FLOAT, 0}, {"y", "", "B D", FLOW_TYPES_FLOAT, FLOW_VARIADIC}},
        .outputs = {{"out", "", "B D", 0, 0}},
        .params = {{"weight", "", "D", NULL, "ones", FLOW_TYPES_FLOAT, 0},
                   {"cell.{i}.weight", "", NULL, NULL, NULL, FLOW_TYPES_FLOAT, FLOW_DECLARED}},
        .states = {{"held", "", "D", "zeros", FLOW_TYPES_FLOAT, 0, 0, 0}},
        .kernels = {{NULL, 0, FLOW_TYPES_REAL, 0, 0, NULL, forward, NULL}},
        .more = {{"other", 0, FLOW_TYPES_REAL, 0, 0, NULL, forward, NULL}},
    };
    s->op = (struct flow_operator){.size = sizeof s->op,
                                   .name = "op",
                                   .inputs = FLOW_TABLE(s->inputs),
                                   .outputs = FLOW_TABLE(s->outputs),
                                   .params = {1, sizeof s->params[0], s->params + 0},
                                   .states = FLOW_TABLE(s->states),
                                   .attrs = FLOW_TABLE(s->attrs),
                                   .kernels = FLOW_TABLE(s->kernels),
                                   .attrs_size = sizeof(struct attrs)};
    s->op.infer = NULL;
    s->second = (struct flow_operator){.size = sizeof s->second, .name = "second"};
    s->operators[0] = &s->op, s->operators[1] = &s->second;
    s->plugin = (struct flow_plugin){.size = sizeof s->plugin,
                                     .abi = FLOW_ABI,
                                     .api = FLOW_API,
                                     .name = "sample",
                                     .operators = FLOW_TABLE(s->operators),
                                     .kernels = FLOW_TABLE(s->more)};
}

static struct arena arena;
static struct text why;

static int check_all(const struct sample *s) {
    struct offer offer;
    struct flow_kernels kernels;
    const struct flow_operator *op;
    text_free(&why);
    int status = plugin_check_head(&arena, &s->plugin, &offer, &why);
    if (status == 0) status = plugin_check_kernels(&arena, &s->plugin, &kernels, &why);
    for (uint32_t i = 0; status == 0 && i < offer.operator_count; i++) status = plugin_check_operator(&arena, &s->plugin, i, &op, &why);
    return status;
}

static void start(void) { arena_init(&arena, &memory_default), text_init(&why, &memory_default); }
static void stop(void) { arena_free(&arena), text_free(&why); }
TestSuite(tables, .init = start, .fini = stop, .timeout = 30);

Test(tables, the_sample_is_right) {
    struct sample s;
    sample_init(&s);
    cr_expect_eq(check_all(&s), 0, "%s", why.at);
    s.op.params.count = 2; /* a declared family, of any name, left to infer */
    s.op.infer = (int (*)(struct flow_infer *))(void (*)(void))forward;
    cr_expect_eq(check_all(&s), 0, "%s", why.at);
}

/* LIE(what is made wrong, words that must be said) */
#define LIE(change, words)                                                                         \
    do {                                                                                           \
        struct sample s;                                                                           \
        sample_init(&s);                                                                           \
        change;                                                                                    \
        cr_expect_eq(check_all(&s), FLOW_ERROR_PLUGIN, "%s", #change);                             \
        cr_expect(why.at &&strstr(why.at, words), "%s: said '%s'", #change, why.at ? why.at : ""); \
    } while (0)

Test(tables, heads) {
    LIE(s.plugin.abi = 2, "abi) 2, this program has 1");
    LIE(s.plugin.size = 16, "its struct has 16 bytes");
    LIE(s.plugin.size = 1u << 30, "its struct has 1073741824 bytes");
    LIE(s.plugin.name = NULL, "the plugin has no name");
    LIE(s.plugin.name = "Big Name", "the plugin is called 'Big Name'");
    LIE(s.plugin.name = "", "the plugin is called ''");
    LIE(s.plugin.operators.count = 5000, "table 'operators' claims 5000 rows");
    LIE(s.plugin.operators.at = NULL, "has no address");
    LIE(s.plugin.operators.size = 4, "rows of 4 bytes");
    LIE(s.plugin.operators.size = 12, "not a multiple of");
    LIE(s.operators[1] = NULL, "operator 1 is NULL");
    LIE(s.op.name = NULL, "operator 0 has no name");
    LIE(s.op.name = "a\nb", "operator 0 is called 'a?b'");
    LIE(s.second.name = "op", "two operators are called 'op'");
    LIE(s.op.name = "a_name_that_is_longer_than_any_name_that_a_sane_person_would_give_to_it", "...'");
    LIE(s.op.size = 60, "operator 'op': its struct has 60 bytes");
    LIE(s.op.size = 5000, "its struct has 5000 bytes");
    LIE(s.second.attrs_size = 2000000000, "operator 'second': attributes of 2000000000 bytes");
}

Test(tables, ports) {
    LIE(s.op.inputs.size = 24, "table 'inputs' has rows of 24 bytes");
    LIE(s.op.outputs.size = 4104, "table 'outputs' has rows of 4104 bytes");
    LIE(s.op.inputs.count = 4097, "claims 4097 rows");
    LIE(s.op.inputs.at = NULL, "table 'inputs' claims 2 rows but has no address");
    LIE(s.inputs[1].name = NULL, "input 1 has no name");
    LIE(s.inputs[1].name = "x", "two rows are called input 'x'");
    LIE(s.inputs[0].name = "x y", "input 0 is called 'x y'");
    LIE(s.inputs[0].flags = FLOW_VARIADIC, "input 'x' is variadic but not the last");
    LIE(s.inputs[0].types = 0, "input 'x' takes no element type");
    LIE(s.inputs[0].shape = "A B C D E F G H I J", "has 10 axes");
    LIE(s.outputs[0].shape = NULL, "output 'out' leaves its shape to infer, and there is none");
    LIE(s.outputs[0].flags = FLOW_OPTIONAL, "output 'out' leaves its shape to infer");
    LIE((s.op.inputs.count = 1, s.outputs[0].flags = FLOW_INPLACE(3)), "may overwrite input 3: there are 1");
}

Test(tables, parameters_and_states) {
    LIE(s.op.params.size = 40, "table 'params' has rows of 40 bytes");
    LIE(s.params[0].name = NULL, "parameter 0 has no name");
    LIE(s.params[0].init = NULL, "parameter 'weight' has no initialiser");
    LIE(s.params[0].shape = NULL, "parameter 'weight' leaves its shape to infer");
    LIE(s.params[0].name = "a.b", "parameter 0 is called 'a.b'");
    LIE((s.op.params.count = 2, s.params[1].name = "a b"), "parameter 1 is called 'a b'");
    LIE(s.op.states.size = 16, "table 'states' has rows of 16 bytes");
    LIE((s.states[0].flags = FLOW_APPENDED, s.states[0].axis = 8), "state 'held' grows along axis 8");
    LIE(s.states[0].shape = NULL, "state 'held' leaves its shape to infer");
}

Test(tables, attributes) {
    LIE(s.op.attrs.size = 56, "table 'attrs' has rows of 56 bytes");
    LIE(s.attrs[1].name = "count", "two rows are called attribute 'count'");
    LIE(s.attrs[0].offset = 4, "attribute 'count' (int) lies at offset 4: not a multiple of 8");
    LIE(s.attrs[0].offset = 24, "attribute 'count' (int, 8 bytes) lies at offset 24: the struct has 24 bytes");
    LIE(s.attrs[0].offset = 0xFFFFFFF8u, "lies at offset 4294967288");
    LIE(s.attrs[0].type = 0, "attribute 'count' is of type 0");
    LIE(s.attrs[0].type = 9, "attribute 'count' is of type 9");
    LIE(s.attrs[0].min = 10, "the range 10 to 9 is empty");
    LIE(s.attrs[0].max = __builtin_nan(""), "is empty");
    LIE(s.attrs[0].fallback = "0", "the default '0' is not a legal int");
    LIE(s.attrs[0].fallback = "many", "the default 'many' is not a legal int");
    LIE(s.attrs[1].fallback = "half", "the default 'half' is not a legal real");
    LIE(s.attrs[2].fallback = "", "a bool cannot be absent: its default is missing");
    LIE(s.attrs[2].fallback = "yes", "the default 'yes' is not a legal bool");
    LIE(s.attrs[3].choices = NULL, "attribute 'mode' is a choice without choices");
    LIE(s.attrs[3].choices = "a||b", "an empty word in the choices 'a||b'");
    LIE(s.attrs[3].fallback = "c", "the default 'c' is not a legal choice");
}

Test(tables, kernels) {
    LIE(s.op.kernels.size = 32, "table 'kernels' has rows of 32 bytes");
    LIE(s.kernels[0].forward = NULL, "operator 'op': kernel 0 has no forward function");
    LIE(s.kernels[0].types = 0, "kernel 0 takes no element type");
    LIE(s.kernels[0].op = "other", "kernel 0 is for operator 'other'");
    LIE(s.kernels[0].device = -1, "kernel 0 is for device -1");
    LIE(s.more[0].op = NULL, "kernel 0 does not say which operator it is for");
    LIE(s.more[0].op = "a/b/c", "kernel 0 is for operator 'a/b/c': not a name");
    LIE(s.plugin.kernels.count = 1u << 31, "claims 2147483648 rows");
}
