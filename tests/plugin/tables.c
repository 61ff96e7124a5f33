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
    struct flow_optimizer optimizer;
    const struct flow_optimizer *optimizers[1];
    struct flow_port rows[1];
    struct flow_source source;
    const struct flow_source *sources[1];
    struct flow_plugin plugin;
};

static int forward(const struct flow_call *call) { return call ? 0 : -1; }
static int step(const struct flow_update *update) { return update ? 0 : -1; }
static int open(struct flow_source_open *open) { return open ? 0 : -1; }
static int fill(const struct flow_source_fill *fill) { return fill ? 0 : -1; }

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
    s->optimizer = (struct flow_optimizer){.size = sizeof s->optimizer,
                                           .name = "descent",
                                           .states = FLOW_TABLE(s->states),
                                           .attrs = FLOW_TABLE(s->attrs),
                                           .attrs_size = sizeof(struct attrs),
                                           .step = step};
    s->rows[0] = (struct flow_port){"x", "", "T", FLOW_TYPE(I64), 0};
    s->source = (struct flow_source){.size = sizeof s->source,
                                     .name = "rows",
                                     .outputs = FLOW_TABLE(s->rows),
                                     .attrs = FLOW_TABLE(s->attrs),
                                     .attrs_size = sizeof(struct attrs),
                                     .open = open,
                                     .fill = fill};
    s->optimizers[0] = &s->optimizer, s->sources[0] = &s->source;
    s->plugin = (struct flow_plugin){.size = sizeof s->plugin,
                                     .abi = FLOW_ABI,
                                     .api = FLOW_API,
                                     .name = "sample",
                                     .operators = FLOW_TABLE(s->operators),
                                     .kernels = FLOW_TABLE(s->more),
                                     .optimizers = FLOW_TABLE(s->optimizers),
                                     .sources = FLOW_TABLE(s->sources)};
}

static struct arena arena;
static struct text why;

static int check_all(const struct sample *s) {
    struct offer offer;
    struct flow_kernels kernels;
    const void *item;
    text_free(&why);
    int status = plugin_check_head(&arena, &s->plugin, &offer, &why);
    if (status == 0) status = plugin_check_kernels(&arena, &s->plugin, &kernels, &why);
    for (enum offer_kind kind = 0; kind < OFFER_KINDS; kind++)
        for (uint32_t i = 0; status == 0 && i < offer.of[kind].count; i++)
            status = plugin_check_item(&arena, &s->plugin, kind, i, &item, &why);
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

Test(tables, optimizers_and_sources) {
    LIE(s.plugin.optimizers.count = 5000, "table 'optimizers' claims 5000 rows");
    LIE(s.plugin.sources.at = NULL, "table 'sources' claims 1 rows but has no address");
    LIE(s.plugin.sources.size = 4, "rows of 4 bytes");
    LIE(s.optimizers[0] = NULL, "optimizer 0 is NULL");
    LIE(s.sources[0] = NULL, "source 0 is NULL");
    LIE(s.optimizer.name = NULL, "optimizer 0 has no name");
    LIE(s.source.name = "a b", "source 0 is called 'a b'");
    LIE(s.optimizer.size = 100, "optimizer 'descent': its struct has 100 bytes");
    LIE(s.source.size = 5000, "source 'rows': its struct has 5000 bytes");
    LIE(s.optimizer.attrs_size = 2000000000, "optimizer 'descent': attributes of 2000000000 bytes");
    LIE(s.optimizer.attrs_size = 8, "attribute 'slope' (real, 8 bytes) lies at offset 8: the struct has 8 bytes");
    LIE(s.source.attrs_size = 0, "source 'rows': attribute 'count'");
    LIE(s.optimizer.states.size = 16, "optimizer 'descent': table 'states' has rows of 16 bytes");
    LIE(s.optimizer.step = NULL, "optimizer 'descent': it has no function step");
    LIE(s.source.open = NULL, "source 'rows': it has no function open");
    LIE(s.source.fill = NULL, "source 'rows': it has no function fill");
    LIE(s.rows[0].name = NULL, "source 'rows': output 0 has no name");
    LIE(s.source.outputs.count = 1u << 31, "claims 2147483648 rows");
}

/* A plugin from before there were optimisers: what lies behind its struct is not read. */
Test(tables, plugins_that_are_older) {
    struct sample s;
    sample_init(&s);
    s.plugin.size = offsetof(struct flow_plugin, optimizers);
    s.optimizers[0] = NULL, s.plugin.sources.at = NULL;
    cr_expect_eq(check_all(&s), 0, "%s", why.at);
    s.plugin.size = offsetof(struct flow_plugin, sources);
    s.optimizers[0] = &s.optimizer;
    cr_expect_eq(check_all(&s), 0, "%s", why.at);
}
