/* SPDX-License-Identifier: Apache-2.0 */
/* Streaming: axes, states from piece to piece, alignment of branches of unequal delay, and what cannot stream. */
#include "graph/instance_build.h"
#include "instance/instance_test.h"

/* Gives each step when LATE more have come, all at the end; the steps held are its state. One axis, the first input's streaming one. */
enum { LATE = 2 };

static int late_infer(struct flow_infer *infer) {
    infer->out[0] = infer->in[0];
    if (!infer->streaming) return 0;
    int32_t axis = infer->in_axis[0];
    if (infer->first) {
        infer->state[0] = infer->in[0];
        infer->state[0].shape[axis] = 0;
    }
    int64_t total = infer->state[0].shape[axis] + infer->in[0].shape[axis];
    int64_t held = infer->flush ? 0 : total < LATE ? total : LATE;
    infer->state_out[0] = infer->in[0];
    infer->state_out[0].shape[axis] = held;
    infer->out[0].shape[axis] = total - held;
    infer->out_axis[0] = axis;
    infer->delay = LATE;
    return 0;
}

/* A state, but no delay. */
static int eager_infer(struct flow_infer *infer) {
    infer->out[0] = infer->in[0];
    infer->out_axis[0] = infer->in_axis[0];
    return 0;
}

static int forgetful_infer(struct flow_infer *infer) {
    infer->out[0] = infer->in[0];
    return 0;
}

static int whole_infer(struct flow_infer *infer) {
    infer->out[0] = infer->in[0];
    if (infer->streaming) return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "global norm needs the whole sequence");
    return 0;
}

static const struct flow_port port_x[] = {{"x", "", NULL, FLOW_TYPES_NUMBER, 0}};
static const struct flow_port port_y[] = {{"y", "", NULL, FLOW_TYPES_NUMBER, 0}};
static const struct flow_state state_open[] = {{"held", "", NULL, "zeros", FLOW_TYPES_NUMBER, 0, 0, 0}};
static const struct flow_state state_fixed[] = {{"last", "", "B 4 2", "constant(1)", FLOW_TYPES_NUMBER, 0, 0, 0}};
static const struct flow_port port_btd[] = {{"x", "", "B T D", FLOW_TYPES_NUMBER, 0}};

#define OPERATOR(title, ports, table, ask)                                                      \
    static const struct flow_operator title##_operator = {.size = sizeof(struct flow_operator), \
                                                          .name = #title,                       \
                                                          .inputs = FLOW_TABLE(ports),          \
                                                          .outputs = FLOW_TABLE(port_y),        \
                                                          .states = table,                      \
                                                          .infer = ask};                        \
    static const struct registry_entry title = {.op = &title##_operator, .plugin = "test"};
OPERATOR(late, port_x, FLOW_TABLE(state_open), late_infer)
OPERATOR(eager, port_btd, FLOW_TABLE(state_fixed), eager_infer)
OPERATOR(forgetful, port_x, FLOW_TABLE_EMPTY, forgetful_infer)
OPERATOR(whole, port_x, FLOW_TABLE_EMPTY, whole_infer)

static const char residual[] =
    "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 3]}}\nnodes:\n  a: {op: relu, in: x}\n  b: {op: linear, in: a, with: {units: 3}}\n"
    "  y: {op: add, in: [x, b]}\n  z: {op: mul, in: [y, y]}\noutputs: {y: z}\n";

/* The next piece, of `steps`; what was made before is given back. */
static struct instance *piece(struct graph *g, int64_t steps, bool first, bool flush) {
    struct instance *before = g->made;
    g->inputs[0].shape[1] = steps;
    extents_contiguous(&g->inputs[0]);
    g->options.first = first, g->options.flush = flush, g->options.before = before;
    graph_infer(g);
    for (struct report_message *m = g->report.first; m; m = m->next) printf("%d:%d: %s\n", m->at.line, m->at.column, m->text);
    cr_assert_eq(g->status, 0);
    return before;
}

Test(streams, branches_of_unequal_delay_are_aligned) {
    static const int64_t pieces[] = {3, 0, 1, 7, 2};
    static const int64_t given[] = {1, 0, 1, 7, 4};
    struct graph g;
    graph_read(&g, residual, "B=2");
    graph_swap(&g, "a", &late);
    g.options.stream = "T";
    for (int i = 0; i < 5; i++) {
        struct instance *before = piece(&g, pieces[i], i == 0, i == 4);
        const struct instance_node *align = graph_node(g.made, "y.align"), *y = graph_node(g.made, "y");
        const struct instance_value *out = &g.made->values[g.made->outputs[0]];
        cr_expect_eq(out->type.shape[1], given[i], "piece %d gives %lld", i, (long long)out->type.shape[1]);
        cr_expect_eq(out->stream_axis, 1);
        cr_expect_eq(align->entry, &align_entry);
        cr_expect(y->in[0] == align->out[0] && y->in[1] == align->out[1]);
        cr_assert_eq(g.made->state_count, 3);
        cr_expect_str_eq(g.made->states[0].name, "a.held");
        cr_expect_str_eq(g.made->states[1].name, "y.align.held0");
        cr_expect_eq(g.made->states[2].row, 1);
        cr_expect(g.made->states[1].node == (int32_t)(align - g.made->nodes));
        for (size_t k = 0; before && k < 3; k++) cr_expect(extents_same(&g.made->states[k].in, &before->states[k].out));
        cr_expect(instance_fits(g.made, &g.options) == true || before == NULL || g.options.before == before);
        instance_free(before);
    }
    for (size_t k = 0; k < 3; k++) cr_expect_eq(g.made->states[k].out.shape[1], 0, "nothing is held at the end");
    graph_free(&g);
}

Test(streams, alignment_does_not_depend_on_the_first_piece) {
    static const int64_t firsts[] = {0, 1, 2, 3, 1000};
    for (int i = 0; i < 5; i++) {
        struct graph g;
        graph_read(&g, residual, "B=2");
        graph_swap(&g, "a", &late);
        g.options.stream = "T";
        piece(&g, firsts[i], true, false);
        cr_expect_eq(g.made->node_count, 5);
        cr_expect_eq(g.made->state_count, 3);
        graph_free(&g);
    }
}

Test(streams, branches_in_step_are_not_aligned) {
    struct graph g;
    graph_read(&g, residual, "B=2");
    graph_swap(&g, "a", &eager);
    g.options.stream = "T";
    piece(&g, 5, true, false);
    cr_expect_eq(g.made->node_count, 4, "a state without delay keeps its input's clock");
    cr_assert_eq(g.made->state_count, 1);
    char text[EXTENTS_TEXT];
    cr_expect_str_eq(extents_text(text, g.made->states[0].in.dtype, &g.made->states[0].in), "f32 [2, 4, 2]");
    cr_expect_str_eq(g.made->states[0].init, "constant(1)");
    cr_expect_eq(g.made->states[0].about, state_fixed);
    graph_free(&g);
}

Test(streams, pieces_alike_fit) {
    struct graph g;
    graph_read(&g, residual, "B=2");
    graph_swap(&g, "a", &late);
    g.options.stream = "T";
    piece(&g, 4, true, false);
    struct instance *first = piece(&g, 4, false, false), *second = g.made;
    g.options.before = second;
    cr_expect(instance_fits(second, &g.options), "the states come in as they went out");
    g.options.flush = true;
    cr_expect_not(instance_fits(second, &g.options));
    g.options.flush = false, g.options.first = true;
    cr_expect(instance_fits(first, &g.options));
    cr_expect_not(instance_fits(second, &g.options));
    g.options.stream = NULL;
    cr_expect_not(instance_fits(first, &g.options));
    instance_free(first);
    graph_free(&g);
}

/* ---- The kernel of align ---- */

static void feed(float *at, int64_t batch, int64_t had, int64_t steps, float sign) {
    for (int64_t b = 0; b < batch; b++)
        for (int64_t t = 0; t < steps; t++) at[b * steps + t] = sign * (float)(100 * b + had + t);
}

Test(streams, align_gives_every_step_once_and_in_order) {
    static const int64_t came[2][5] = {{3, 0, 2, 1, 4}, {1, 5, 0, 4, 0}};
    struct registry_entry entry = align_entry;
    float in[2][64], held[2][64], rest[2][64], out[2][64];
    int64_t had[2] = {0, 0}, seen[2] = {0, 0}, done = 0;
    int32_t axes[ALIGN_MOST] = {1, 1};
    for (int p = 0; p < 5; p++) {
        struct flow_tensor x[2], h[2], r[2], y[2];
        int64_t steps = had[0] + came[0][p] < had[1] + came[1][p] ? had[0] + came[0][p] : had[1] + came[1][p];
        for (int i = 0; i < 2; i++) {
            feed(in[i], 2, seen[i], came[i][p], i ? -1.0f : 1.0f);
            x[i] = (struct flow_tensor){in[i], FLOW_F32, 0, 2, 0, {2, came[i][p]}, {came[i][p], 1}};
            h[i] = (struct flow_tensor){held[i], FLOW_F32, 0, 2, 0, {2, had[i]}, {had[i], 1}};
            r[i] = (struct flow_tensor){rest[i], FLOW_F32, 0, 2, 0, {2, had[i] + came[i][p] - steps}, {1, 1}};
            y[i] = (struct flow_tensor){out[i], FLOW_F32, 0, 2, 0, {2, steps}, {steps, 1}};
        }
        struct flow_call call = {.size = sizeof call,
                                 .priv = axes,
                                 .in = x,
                                 .out = y,
                                 .state_in = h,
                                 .state_out = r,
                                 .in_count = 2,
                                 .out_count = 2,
                                 .state_count = 2};
        cr_assert_eq(entry.kernels[0].forward(&call), 0);
        for (int i = 0; i < 2; i++) {
            for (int64_t b = 0; b < 2; b++)
                for (int64_t t = 0; t < steps; t++) cr_expect_eq(out[i][b * steps + t], (i ? -1.0f : 1.0f) * (float)(100 * b + done + t));
            seen[i] += came[i][p], had[i] += came[i][p] - steps;
            memcpy(held[i], rest[i], sizeof rest[i]);
        }
        done += steps;
    }
    cr_expect(done == 10 && had[0] == 0 && had[1] == 0);
}

Test(streams, copy_makes_any_view_row_major) {
    float x[24], y[24] = {0};
    uint8_t bytes[24], copied[24] = {0};
    for (int i = 0; i < 24; i++) x[i] = (float)i, bytes[i] = (uint8_t)i;
    struct flow_tensor in = {x, FLOW_F32, 0, 3, 0, {4, 2, 3}, {1, 12, 4}}, out = {y, FLOW_F32, 0, 3, 0, {4, 2, 3}, {6, 3, 1}};
    struct flow_call call = {.size = sizeof call, .in = &in, .out = &out, .in_count = 1, .out_count = 1};
    cr_assert_eq(copy_entry.kernels[0].forward(&call), 0);
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 2; b++)
            for (int c = 0; c < 3; c++) cr_expect_eq(y[a * 6 + b * 3 + c], (float)(a + 12 * b + 4 * c));
    in = (struct flow_tensor){bytes + 23, FLOW_U8, 0, 1, 0, {24}, {-1}}, out = (struct flow_tensor){copied, FLOW_U8, 0, 1, 0, {24}, {1}};
    cr_assert_eq(copy_entry.kernels[0].forward(&call), 0);
    cr_expect(copied[0] == 23 && copied[23] == 0);
    in = (struct flow_tensor){x + 5, FLOW_F32, 0, 0, 0, {0}, {0}}, out = (struct flow_tensor){y, FLOW_F32, 0, 0, 0, {0}, {0}};
    cr_assert_eq(copy_entry.kernels[0].forward(&call), 0);
    cr_expect_eq(y[0], 5.0f);
}

/* ---- What cannot stream ---- */

static void wrong(const char *text, const char *swapped, const struct registry_entry *entry, const char *symbol, int line, int column,
                  const char *words) {
    struct graph g;
    graph_read(&g, text, "T=5");
    if (swapped) graph_swap(&g, swapped, entry);
    g.options.stream = symbol, g.options.first = true;
    graph_infer(&g);
    cr_expect_lt(g.status, 0);
    graph_message(&g.report, 0, line, column, words);
    graph_free(&g);
}

Test(streams, what_cannot_stream_says_so) {
    wrong(residual, "a", &forgetful, "T", 4, 11, "node 'a'|operator 'forgetful'|'y' does not stream along axis 1");
    wrong(residual, "a", &whole, "T", 4, 11, "node 'a'|global norm needs the whole sequence");
    wrong(residual, NULL, NULL, "t", 0, 0, "no input has an axis 't'|B, T");
    wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [T, T]}}\nnodes: {a: {op: relu, in: x}}\noutputs: {a: a}\n", NULL, NULL, "T", 2, 37,
          "input 'x'|another of its axes");
    wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [T, 4]}, y: {dtype: f32, shape: [2*T]}}\nnodes: {a: {op: relu, in: x}}\noutputs: {a: "
          "a}\n",
          NULL, NULL, "T", 2, 66, "input 'y'|2*T");
    wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 1]}}\nnodes:\n  t: {op: transpose, in: x}\n  y: {op: add, in: [x, t]}\noutputs: "
          "{y: y}\n",
          NULL, NULL, "T", 5, 11, "different axes");
    wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 3]}, w: {dtype: f32, shape: [5, 3]}}\nnodes:\n  y: {op: add, in: [x, "
          "w]}\noutputs: {y: y}\n",
          NULL, NULL, "T", 4, 11, "is whole|extent 5");
    wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 3]}}\ngraphs:\n  s:\n    inputs: {x: {dtype: f32, shape: [B, 3]}}\n    nodes: "
          "{y: {op: relu, in: x}}\n"
          "    outputs: {y: y}\nnodes:\n  l: {graph: s, in: {x: x}, loop: {over: {x: 1}, collect: {y: 1}}}\noutputs: {y: l}\n",
          NULL, NULL, "T", 9, 25, "node 'l'|loop|does not stream");
}

Test(streams, a_whole_input_beside_a_stream) {
    struct graph g;
    graph_read(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 3]}, w: {dtype: f32, shape: [B, 1, 3]}}\ngraphs:\n  s:\n    inputs: {x: "
               "{dtype: f32, shape: [N, K]}}\n"
               "    nodes: {y: {op: relu, in: x}}\n    outputs: {y: y}\nnodes:\n  f: {op: reshape, in: w, with: {shape: [B, 3]}}\n  l: "
               "{graph: s, in: {x: f}, loop: {max: 2, carry: {x: y}}}\n"
               "  u: {op: unsqueeze, in: l, with: {axis: 1}}\n  y: {op: add, in: [x, u]}\noutputs: {y: y}\n",
               "B=2");
    g.options.stream = "T";
    piece(&g, 5, true, false);
    cr_expect_not(graph_node(g.made, "l")->streaming);
    cr_expect(graph_node(g.made, "y")->streaming);
    cr_expect_eq(graph_node(g.made, "y")->infer.in_axis[1], -1);
    graph_free(&g);
}

Test(streams, a_later_piece_needs_the_one_before) {
    struct graph g;
    graph_read(&g, residual, "B=2");
    g.options.stream = "T";
    graph_infer(&g);
    cr_expect_eq(g.status, FLOW_ERROR_USAGE);
    graph_free(&g);
}
