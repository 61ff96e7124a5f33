/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin of another age, its rows made by hand: with NEWER they are longer than this host's, else as short as ever was released. The
 * operator has two rows of each kind, so that a host that steps wrongly reads nonsense. */
#include <flow/plugin.h>

#ifdef NEWER
#define EXTRA char more[24];
#define MORE , "not known to this host"
#define NAME "newer"
#else
#define EXTRA
#define MORE
#define NAME "older"
#endif

struct kernel_row {
    const char *op;
    int32_t device;
    uint32_t types;
    int32_t isa, priority;
    bool (*supports)(const struct flow_infer *infer);
    int (*forward)(const struct flow_call *call);
#ifdef NEWER
    int (*backward)(const struct flow_call *call);
#endif
    EXTRA
};
struct state_row {
    const char *name, *summary, *shape, *init;
    uint32_t types, flags;
#ifdef NEWER
    int32_t axis, reserved;
#endif
    EXTRA
};
struct port_row {
    const char *name, *summary, *shape;
    uint32_t types, flags;
    EXTRA
};
struct operator_row {
    uint32_t size, flags;
    const char *name, *summary, *equation, *reference, *example;
    struct flow_ports inputs, outputs;
    struct flow_params params;
    struct flow_states states;
    struct flow_attrs attrs;
    struct flow_kernels kernels;
    uint32_t attrs_size, priv_size;
    int (*infer)(struct flow_infer *infer);
#ifdef NEWER
    int (*prepare)(const struct flow_call *call);
    int (*describe)(const struct flow_infer *infer, char *text, size_t size);
#endif
    EXTRA
};
struct plugin_row {
    uint32_t size, abi, api, reserved;
    const char *name, *version, *licence, *summary, *reference;
    struct flow_operators operators;
#ifdef NEWER
    struct flow_kernels kernels;
    const void *(*extension)(const char *id);
    struct flow_optimizers optimizers;
    struct flow_sources sources;
#endif
    EXTRA
};

#define ROWS(array) \
    { 2, sizeof(array)[0], (const void *)(array) }
static int infer(struct flow_infer *node) { return node ? 0 : -1; }
static int first(const struct flow_call *call) { return call ? 11 : -1; }
static int second(const struct flow_call *call) { return call ? 22 : -1; }
#ifdef NEWER
static const struct kernel_row kernels[] = {{NULL, 0, FLOW_TYPE(F32), 0, 1, NULL, first, NULL MORE},
                                            {NULL, 0, FLOW_TYPE(F64), 0, 2, NULL, second, NULL MORE}};
static const struct state_row states[] = {{"s", "", "A", "zeros", FLOW_TYPES_FLOAT, 0, 0, 0 MORE},
                                          {"t", "", "B", "constant(1)", FLOW_TYPES_FLOAT, 0, 0, 0 MORE}};
#else
static const struct kernel_row kernels[] = {{NULL, 0, FLOW_TYPE(F32), 0, 1, NULL, first}, {NULL, 0, FLOW_TYPE(F64), 0, 2, NULL, second}};
static const struct state_row states[] = {{"s", "", "A", "zeros", FLOW_TYPES_FLOAT, 0}, {"t", "", "B", "constant(1)", FLOW_TYPES_FLOAT, 0}};
#endif
static const struct port_row inputs[] = {{"x", "first", "A", FLOW_TYPES_FLOAT, 0 MORE},
                                         {"y", "second", "B", FLOW_TYPES_FLOAT, FLOW_OPTIONAL MORE}};
static const struct operator_row only = {.size = sizeof only,
                                         .name = NAME "_op",
                                         .summary = "of another age",
                                         .inputs = ROWS(inputs),
                                         .states = ROWS(states),
                                         .kernels = ROWS(kernels),
                                         .infer = infer};
static const struct operator_row *const operators[] = {&only};
static const struct plugin_row plugin = {
    .size = sizeof plugin, .abi = 1, .api = 99, .name = NAME, .operators = {1, sizeof operators[0], (const void *)operators}};
const struct flow_plugin *FLOW_ENTRY(void) { return (const void *)&plugin; }
