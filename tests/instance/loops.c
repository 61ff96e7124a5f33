/* SPDX-License-Identifier: Apache-2.0 */
/* Loops: shapes of one iteration, what is carried, sliced, counted and collected, and the parameters of the body. */
#include "instance/instance_test.h"

static const char over[] =
    "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 3]}, h0: {dtype: f32, shape: [B, 4]}}\ngraphs:\n  cell:\n"
    "    inputs: {x: {dtype: f32, shape: [B, D]}, h: {dtype: f32, shape: [B, H]}}\n    nodes:\n      a: {op: linear, in: x, with: {units: "
    "4}}\n"
    "      b: {op: linear, in: h, with: {units: 4, bias: false}}\n      s: {op: add, in: [a, b]}\n      n: {op: tanh, in: s}\n"
    "    outputs: {h: n, all: n, first: a}\nnodes:\n"
    "  cell: {graph: cell, in: {x: x, h: h0}, loop: {over: {x: %d}, carry: {h: h}, collect: {all: %d, first: -1}%s}}\n"
    "outputs: {last: cell.h, all: cell.all, count: cell.count}\n";

Test(loops, over_and_collect) {
    struct graph g;
    char text[1024];
    snprintf(text, sizeof text, over, -2, 1, "");
    graph_make(&g, text, "B=2 T=5");
    const struct instance_node *cell = graph_node(g.made, "cell");
    cr_expect_eq(cell->iterations, 5);
    graph_expect(g.made, "cell", "f32 [2, 4]");
    graph_expect(g.made, "cell.all", "f32 [2, 5, 4]");
    graph_expect(g.made, "cell.first", "f32 [2, 4, 5]");
    graph_expect(g.made, "cell.count", "i64 []");
    cr_assert_not_null(cell->body);
    graph_expect(cell->body, "x", "f32 [2, 3]");
    cr_assert_eq(cell->param_count, 3);
    for (uint32_t i = 0; i < 3; i++) cr_expect_str_eq(g.made->values[cell->param[i]].name, cell->body->values[cell->body->params[i]].name);
    cr_expect_str_eq(g.made->values[g.made->params[0]].name, "cell.a.bias");
    graph_free(&g);

    snprintf(text, sizeof text, over, 1, 1, ", max: 3");
    graph_make(&g, text, "B=2 T=5");
    cr_expect_eq(graph_node(g.made, "cell")->iterations, 3);
    graph_expect(g.made, "cell.all", "f32 [2, 3, 4]");
    graph_free(&g);
    snprintf(text, sizeof text, over, 1, 1, "");
    graph_make(&g, text, "B=2 T=0");
    graph_expect(g.made, "cell.all", "f32 [2, 0, 4]");
    graph_free(&g);
}

Test(loops, axes_that_do_not_exist) {
    char text[1024];
    snprintf(text, sizeof text, over, 3, 1, "");
    graph_wrong(text, "", 1, 13, 59, "node 'cell'|'x'|no axis 3");
    snprintf(text, sizeof text, over, 1, 4, "");
    graph_wrong(text, "", 1, 13, 93, "node 'cell'|'all'|axis 4");
}

static const char until[] =
    "flow: 1\ninputs: {x: {dtype: f32, shape: [3, 4]}, k: {dtype: i64, shape: []}}\ngraphs:\n  step:\n    inputs: {x: {dtype: f32, shape: "
    "[B, 4]}, i: {dtype: i64, shape: []}}\n    nodes:\n"
    "      w: {op: parameter, with: {shape: [4]}}\n      m: {op: mul, in: [x, w]}\n      f: {op: cast, in: i, with: {to: f32}}\n      y: "
    "{op: add, in: [m, f]}\n"
    "      top: {op: amax, in: y%s}\n      stop: {op: lt, in: top, with: {value: 1.0}}\n    outputs: {y: %s, stop: stop}\nnodes:\n"
    "  it: {graph: step, in: {x: x}, loop: {max: 12, until: stop, carry: {x: y}, index: i}%s}\n  out: {graph: step, in: {x: x, i: "
    "k}%s}\noutputs: {y: it.y, z: out.y}\n";

Test(loops, index_until_and_parameters_inside_and_outside) {
    static const char *const ties[][3] = {{"", "", "it.w.weight"}, {", tie: out", "", "out.w.weight"}, {"", ", tie: it", "it.w.weight"}};
    for (int i = 0; i < 3; i++) {
        struct graph g;
        char text[1024];
        snprintf(text, sizeof text, until, "", "y", ties[i][0], ties[i][1]);
        graph_make(&g, text, "");
        const struct instance_node *it = graph_node(g.made, "it");
        cr_expect_eq(it->iterations, 12);
        cr_assert_eq(it->param_count, 1);
        cr_expect_str_eq(g.made->values[it->param[0]].name, ties[i][2]);
        cr_expect_eq(g.made->param_count, i ? 1 : 2);
        cr_expect_eq(graph_node(g.made, "out.w")->param[0] == it->param[0], i > 0);
        cr_expect_eq(g.made->values[it->param[0]].flags, 0);
        cr_expect_eq(it->in[1], -1, "the count comes from nowhere");
        graph_expect(it->body, "i", "i64 []");
        graph_free(&g);
    }
}

Test(loops, what_does_not_come_round) {
    char text[1024];
    snprintf(text, sizeof text, until, ", with: {axes: [0]}", "y", "", "");
    graph_wrong(text, "", 1, 15, 56, "'until' must be a bool scalar|bool [4]");
    snprintf(text, sizeof text, until, "", "top", "", "");
    graph_wrong(text, "", 1, 15, 29, "'x' starts as f32 [3, 4]|'y'|f32 []");
}

Test(loops, a_signature_that_does_not_fit_points_at_the_reference) {
    char text[1024];
    snprintf(text, sizeof text, until, "", "y", "", "");
    char *at = strstr(text, "[3, 4]");
    memcpy(at, "[3, 5]", 6);
    graph_wrong(text, "", 2, 15, 29, "graph 'it' expects x as f32 [B, 4], found f32 [3, 5]: axis 1 is 5, expected 4");
}

Test(loops, errors_in_a_body_are_told_once) {
    struct graph g;
    graph_read(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [3, 4]}}\ngraphs:\n  s:\n    inputs: {x: {dtype: f32, shape: [B, D]}}\n    "
               "nodes:\n      a: {op: linear, in: x, with: {units: 0}}\n"
               "      b: {op: linear, in: x, with: {units: -1}}\n    outputs: {x: a}\nnodes:\n  l: {graph: s, in: x, loop: {max: 3, carry: "
               "{x: x}}}\n  r: {op: relu, in: l}\noutputs: {y: r}\n",
               "");
    graph_infer(&g);
    cr_expect_eq(g.report.count, 2);
    graph_message(&g.report, 0, 7, 44, "node 'l.a'|units");
    graph_free(&g);
}
