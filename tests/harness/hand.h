/* SPDX-License-Identifier: Apache-2.0 */
/* Instances made by hand, of a few integer operators whose results are exact, for tests of the planner and the executor alone; and what
 * such an instance should compute, worked out value by value without a plan. */
#ifndef FLOW_TESTS_HAND_H
#define FLOW_TESTS_HAND_H

#include "plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HAND_MOST = 512, HAND_PORTS = 3 };
enum hand_op { HAND_ADD, HAND_NEGATE, HAND_SCALE, HAND_BOTH, HAND_PICK, HAND_COUNT, HAND_VIEW };

/* ---- Kernels (i32, wrapping). `add` and `both` read contiguous inputs; `negate` any strides. ---- */

static inline int64_t hand_elements(const struct flow_tensor *t) {
    int64_t n = 1;
    for (int32_t a = 0; a < t->rank; a++) n *= t->shape[a];
    return n;
}
static inline uint32_t *hand_at(const struct flow_tensor *t, int64_t i) {
    int64_t offset = 0;
    for (int32_t a = t->rank - 1; a >= 0; a--) offset += i % t->shape[a] * t->strides[a], i /= t->shape[a];
    return (uint32_t *)t->data + offset;
}
static int hand_add(const struct flow_call *call) {
    const uint32_t *a = call->in[0].data, *b = call->in[1].data;
    uint32_t *y = call->out[0].data;
    for (int64_t i = 0, n = hand_elements(&call->out[0]); i < n; i++) y[i] = a[i] + b[i];
    return 0;
}
static int hand_negate(const struct flow_call *call) {
    for (int64_t i = 0, n = hand_elements(&call->out[0]); i < n; i++) *hand_at(&call->out[0], i) = 0u - *hand_at(&call->in[0], i);
    return 0;
}
static int hand_scale(const struct flow_call *call) { /* through the workspace, filled backwards */
    const uint32_t *x = call->in[0].data;
    uint32_t *y = call->out[0].data, *w = call->workspace;
    int64_t n = hand_elements(&call->out[0]);
    for (int64_t i = n; i-- > 0;) w[i] = 3 * x[i];
    for (int64_t i = 0; i < n; i++) y[i] = w[i];
    return 0;
}
static int hand_both(const struct flow_call *call) { /* sum, difference; the difference may lie over b */
    const uint32_t *a = call->in[0].data, *b = call->in[1].data;
    uint32_t *s = call->out[0].data, *d = call->out[1].data;
    for (int64_t i = 0, n = hand_elements(&call->out[0]); i < n; i++) {
        uint32_t x = a[i], y = b[i];
        s[i] = x + y, d[i] = x - y;
    }
    return 0;
}
static int hand_pick(const struct flow_call *call) { /* mixes with a parameter; on its way out a sum */
    const uint32_t *x = call->in[0].data, *w = call->param[0].data, *r = call->residual;
    uint32_t *y = call->out[0].data;
    for (int64_t i = 0, n = hand_elements(&call->out[0]); i < n; i++) y[i] = (x[i] ^ w[i]) + (r ? r[i] : 0);
    return 0;
}
static int hand_count(const struct flow_call *call) { /* no inputs */
    uint32_t *y = call->out[0].data;
    for (int64_t i = 0, n = hand_elements(&call->out[0]); i < n; i++) y[i] = (uint32_t)i * 7u + (uint32_t)call->seed;
    return 0;
}

static const struct flow_port hand_two[] = {{"a", "", NULL, FLOW_TYPE(I32), 0}, {"b", "", NULL, FLOW_TYPE(I32), 0}};
static const struct flow_port hand_any[] = {{"x", "", NULL, FLOW_TYPE(I32), FLOW_STRIDED}};
static const struct flow_port hand_one[] = {{"x", "", NULL, FLOW_TYPE(I32), 0}};
static const struct flow_port hand_over0[] = {{"y", "", NULL, FLOW_TYPE(I32), FLOW_INPLACE(0)}};
static const struct flow_port hand_over1[] = {{"s", "", NULL, FLOW_TYPE(I32), FLOW_INPLACE(0)},
                                              {"d", "", NULL, FLOW_TYPE(I32), FLOW_INPLACE(1)}};
static const struct flow_port hand_plain[] = {{"y", "", NULL, FLOW_TYPE(I32), 0}};
static const struct flow_param hand_weight[] = {{"w", "", NULL, NULL, "zeros", FLOW_TYPE(I32), 0}};

#define HAND_KERNEL(function)                                                        \
    {                                                                                \
        {                                                                            \
            .device = FLOW_DEVICE_CPU, .types = FLOW_TYPE(I32), .forward = function, \
            .epilogues = function == hand_pick ? FLOW_EPILOGUE_RESIDUAL : 0          \
        }                                                                            \
    }
static const struct flow_kernel hand_kernels[][1] = {HAND_KERNEL(hand_add),  HAND_KERNEL(hand_negate), HAND_KERNEL(hand_scale),
                                                     HAND_KERNEL(hand_both), HAND_KERNEL(hand_pick),   HAND_KERNEL(hand_count)};
#define HAND_OPERATOR(id, title, ins, outs)                                                               \
    {                                                                                                     \
        .size = sizeof(struct flow_operator), .name = title, .inputs = ins, .outputs = outs, .kernels = { \
            1,                                                                                            \
            sizeof(struct flow_kernel),                                                                   \
            hand_kernels[id]                                                                              \
        }                                                                                                 \
    }
static const struct flow_operator hand_operators[] = {
    HAND_OPERATOR(HAND_ADD, "add", FLOW_TABLE(hand_two), FLOW_TABLE(hand_over0)),
    HAND_OPERATOR(HAND_NEGATE, "negate", FLOW_TABLE(hand_any), FLOW_TABLE(hand_over0)),
    HAND_OPERATOR(HAND_SCALE, "scale", FLOW_TABLE(hand_one), FLOW_TABLE(hand_over0)),
    HAND_OPERATOR(HAND_BOTH, "both", FLOW_TABLE(hand_two), FLOW_TABLE(hand_over1)),
    {.size = sizeof(struct flow_operator),
     .name = "pick",
     .inputs = FLOW_TABLE(hand_one),
     .outputs = FLOW_TABLE(hand_over0),
     .params = FLOW_TABLE(hand_weight),
     .kernels = {1, sizeof(struct flow_kernel), hand_kernels[HAND_PICK]}},
    {.size = sizeof(struct flow_operator),
     .flags = FLOW_OP_VALUE,
     .name = "count",
     .outputs = FLOW_TABLE(hand_plain),
     .kernels = {1, sizeof(struct flow_kernel), hand_kernels[HAND_COUNT]}},
};
#define HAND_ENTRY(i) \
    { .op = &hand_operators[i], .plugin = "test", .kernels = hand_kernels[i], .kernel_count = 1 }
static const struct registry_entry hand_entries[] = {HAND_ENTRY(0), HAND_ENTRY(1), HAND_ENTRY(2),
                                                     HAND_ENTRY(3), HAND_ENTRY(4), HAND_ENTRY(5)};
#undef HAND_ENTRY

/* ---- The instance ---- */

struct hand {
    struct network network;
    struct instance instance;
    struct network_node sources[HAND_MOST];
    struct instance_node nodes[HAND_MOST];
    struct instance_value values[HAND_MOST];
    struct network_input network_inputs[HAND_MOST];
    struct network_output network_outputs[HAND_MOST];
    int32_t inputs[HAND_MOST], outputs[HAND_MOST], params[HAND_MOST];
    int32_t ports[HAND_MOST][3][HAND_PORTS];
    enum hand_op ops[HAND_MOST];
    char names[HAND_MOST][16], value_names[HAND_MOST][16];
};

static inline void hand_init(struct hand *h) {
    memset(h, 0, sizeof *h);
    h->network = (struct network){
        .path = "hand.yaml", .name = "hand", .inputs = h->network_inputs, .nodes = h->sources, .outputs = h->network_outputs};
    h->instance = (struct instance){
        .network = &h->network, .nodes = h->nodes, .values = h->values, .inputs = h->inputs, .outputs = h->outputs, .params = h->params};
}

static inline struct flow_tensor hand_type(int64_t rows, int64_t columns) {
    return (struct flow_tensor){.dtype = FLOW_I32, .rank = 2, .shape = {rows, columns}, .strides = {columns, 1}};
}

static inline int32_t hand_value(struct hand *h, enum instance_kind kind, struct flow_tensor type) {
    int32_t v = (int32_t)h->instance.value_count++;
    snprintf(h->value_names[v], sizeof h->value_names[v], "v%d", (int)v);
    h->values[v] = (struct instance_value){.kind = kind,
                                           .name = h->value_names[v],
                                           .type = type,
                                           .node = -1,
                                           .index = -1,
                                           .feed = -1,
                                           .view_of = -1,
                                           .stream_axis = -1,
                                           .init = "zeros",
                                           .seed = (uint64_t)v};
    return v;
}

static inline int32_t hand_input(struct hand *h, int64_t rows, int64_t columns) {
    int32_t v = hand_value(h, VALUE_INPUT, hand_type(rows, columns)), i = (int32_t)h->network.input_count++;
    h->instance.input_count++;
    h->values[v].index = i, h->inputs[i] = v;
    h->network_inputs[i] = (struct network_input){.name = h->value_names[v], .dtype = FLOW_I32, .rank = 2};
    return v;
}

static inline int32_t hand_param(struct hand *h, int64_t rows, int64_t columns) {
    int32_t v = hand_value(h, VALUE_PARAM, hand_type(rows, columns));
    h->params[h->instance.param_count++] = v;
    return v;
}

static inline void hand_output(struct hand *h, int32_t value) {
    size_t o = h->network.output_count++;
    h->instance.output_count++;
    h->outputs[o] = value;
    h->network_outputs[o] = (struct network_output){.name = h->value_names[value]};
}

/* A node; its first output. The second of `both` is the next value. */
static inline int32_t hand_node(struct hand *h, enum hand_op op, int32_t a, int32_t b, struct flow_tensor type) {
    int32_t n = (int32_t)h->instance.node_count++, outs = op == HAND_BOTH ? 2 : 1, first = -1;
    h->network.node_count++;
    snprintf(h->names[n], sizeof h->names[n], "n%d", (int)n);
    h->ops[n] = op;
    h->sources[n] = (struct network_node){.kind = op == HAND_VIEW ? NETWORK_ENTER : NETWORK_OPERATOR,
                                          .path = h->names[n],
                                          .param_path = h->names[n],
                                          .at = {"hand.yaml", n + 1, 1},
                                          .op_at = {"hand.yaml", n + 1, 5},
                                          .entry = op == HAND_VIEW ? NULL : &hand_entries[op]};
    struct instance_node *node = &h->nodes[n];
    *node = (struct instance_node){.source = &h->sources[n], .entry = h->sources[n].entry, .dtype = FLOW_I32, .seed = (uint64_t)n};
    node->in = h->ports[n][0], node->out = h->ports[n][1], node->param = h->ports[n][2];
    if (op != HAND_COUNT) node->in[node->in_count++] = a;
    if (op == HAND_PICK) node->param[node->param_count++] = b;
    else if (op == HAND_ADD || op == HAND_BOTH) node->in[node->in_count++] = b;
    node->infer.epilogues = UINT32_MAX, node->infer.is = op == HAND_ADD ? FLOW_IS_SUM : 0;
    if (op == HAND_SCALE) node->infer.workspace = 4 * hand_elements(&type);
    for (int32_t k = 0; k < outs; k++) {
        int32_t v = hand_value(h, VALUE_NODE, type);
        h->values[v].node = n, h->values[v].port = k;
        node->out[node->out_count++] = v;
        if (k == 0) first = v;
    }
    return first;
}

/* A view of `of`, given strides and an offset within it. */
static inline int32_t hand_view(struct hand *h, int32_t of, struct flow_tensor type, int64_t offset) {
    int32_t v = hand_node(h, HAND_VIEW, of, -1, type);
    const struct instance_value *base = &h->values[of];
    h->values[v].view_of = base->view_of >= 0 ? base->view_of : of;
    h->values[v].view_offset = base->view_offset + offset;
    return v;
}
static inline int32_t hand_transpose(struct hand *h, int32_t of) {
    struct flow_tensor t = h->values[of].type, turned = t;
    turned.shape[0] = t.shape[1], turned.shape[1] = t.shape[0], turned.strides[0] = t.strides[1], turned.strides[1] = t.strides[0];
    return hand_view(h, of, turned, 0);
}
static inline int32_t hand_feed(struct hand *h, int64_t rows, int64_t columns) {
    return hand_value(h, VALUE_FEED, hand_type(rows, columns));
}

/* ---- What it should give: dense[v] holds every value in row-major order ---- */

struct hand_result {
    uint32_t *dense[HAND_MOST];
};

static inline uint32_t hand_read(const struct hand *h, const struct hand_result *r, int32_t v, int64_t i) {
    (void)h;
    return r->dense[v][i];
}

/* Fills in all values; inputs, parameters and feeds must be there. */
static inline void hand_evaluate(const struct hand *h, struct hand_result *r) {
    for (size_t n = 0; n < h->instance.node_count; n++) {
        const struct instance_node *node = &h->nodes[n];
        int32_t y = node->out[0], a = node->in[0], b = h->ops[n] == HAND_PICK ? node->param[0] : node->in[1];
        int64_t count = hand_elements(&h->values[y].type);
        if (h->ops[n] == HAND_VIEW) { /* by element of its owner */
            const struct instance_value *v = &h->values[y];
            struct flow_tensor t = v->type;
            t.data = r->dense[v->view_of] + v->view_offset;
            for (int64_t i = 0; i < count; i++) r->dense[y][i] = *hand_at(&t, i);
            continue;
        }
        for (int64_t i = 0; i < count; i++) {
            uint32_t p = h->ops[n] == HAND_COUNT ? 0 : hand_read(h, r, a, i);
            uint32_t q = h->ops[n] == HAND_ADD || h->ops[n] == HAND_BOTH || h->ops[n] == HAND_PICK ? hand_read(h, r, b, i) : 0;
            uint32_t value = 0;
            switch (h->ops[n]) {
            case HAND_ADD:
            case HAND_BOTH: value = p + q; break;
            case HAND_NEGATE: value = 0u - p; break;
            case HAND_SCALE: value = 3 * p; break;
            case HAND_PICK: value = p ^ q; break;
            case HAND_COUNT: value = (uint32_t)i * 7u + (uint32_t)node->seed; break;
            case HAND_VIEW: break;
            }
            r->dense[y][i] = value;
            if (h->ops[n] == HAND_BOTH) r->dense[node->out[1]][i] = p - q;
        }
    }
}

static inline void hand_result_init(const struct hand *h, struct hand_result *r) {
    memset(r, 0, sizeof *r);
    for (size_t v = 0; v < h->instance.value_count; v++)
        r->dense[v] = calloc((size_t)hand_elements(&h->values[v].type) + 1, sizeof(uint32_t));
}
static inline void hand_result_free(const struct hand *h, struct hand_result *r) {
    for (size_t v = 0; v < h->instance.value_count; v++) free(r->dense[v]);
}

/* ---- Random graphs ---- */

static inline uint32_t hand_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static inline int32_t hand_pick_like(const struct hand *h, uint64_t *state, const struct flow_tensor *type) {
    int32_t found = -1;
    uint32_t seen = 0;
    for (int32_t v = 0; v < (int32_t)h->instance.value_count; v++) {
        const struct flow_tensor *t = &h->values[v].type;
        if (h->values[v].kind == VALUE_PARAM || t->shape[0] != type->shape[0] || t->shape[1] != type->shape[1]) continue;
        if (hand_random(state) % ++seen == 0 || (v > (int32_t)h->instance.value_count - 4 && hand_random(state) % 2)) found = v;
    }
    return found;
}

/* Inputs, a parameter, feeds, `nodes` nodes of all kinds, views of views among them, some outputs. Costs that make streams worth while. */
static inline void hand_make_random(struct hand *h, uint64_t seed, int nodes) {
    uint64_t state = seed;
    hand_init(h);
    int64_t rows = 1 + hand_random(&state) % 5, columns = 1 + hand_random(&state) % 7;
    hand_input(h, rows, columns), hand_input(h, columns, rows);
    int32_t weight = hand_param(h, rows, columns);
    int32_t feeds[2] = {hand_feed(h, rows, columns), hand_feed(h, rows, columns)};
    for (int k = 0; k < nodes; k++) {
        struct flow_tensor type = hand_random(&state) % 4 ? hand_type(rows, columns) : hand_type(columns, rows);
        int32_t a = hand_pick_like(h, &state, &type), b = hand_pick_like(h, &state, &type), v = -1;
        switch (hand_random(&state) % 9) {
        case 0: v = hand_transpose(h, a); break;
        case 1: v = hand_node(h, HAND_COUNT, -1, -1, type); break;
        case 2:
            v = type.shape[0] == rows && rows != columns ? hand_node(h, HAND_PICK, a, weight, type)
                                                         : hand_node(h, HAND_NEGATE, a, -1, type);
            break;
        case 3: v = hand_node(h, HAND_BOTH, a, b, type); break;
        case 4: v = hand_node(h, HAND_SCALE, a, -1, type); break;
        case 5: v = hand_node(h, HAND_NEGATE, a, -1, type); break;
        default: v = hand_node(h, HAND_ADD, a, b, type);
        }
        h->nodes[h->values[v].node].infer.flops = 1e4 * (double)(1 + hand_random(&state) % 200);
        if (hand_random(&state) % 6 == 0 || k == nodes - 1) hand_output(h, v);
    }
    struct flow_tensor type = hand_type(rows, columns);
    for (int f = 0; f < 2; f++) {
        int32_t from;
        do from = hand_pick_like(h, &state, &type);
        while (h->values[from].kind == VALUE_INPUT);
        h->values[feeds[f]].feed = from;
    }
}

#endif
