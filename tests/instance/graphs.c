/* SPDX-License-Identifier: Apache-2.0 */
/* Whole graphs: shapes, types, names of parameters, ties, feeds, views, errors and where they stand. */
#include "instance/instance_test.h"

#include <flow/random.h>

static const struct instance_value *param(const struct instance *made, const char *name) {
    for (size_t i = 0; i < made->param_count; i++)
        if (strcmp(made->values[made->params[i]].name, name) == 0) return &made->values[made->params[i]];
    cr_assert_fail("there is no parameter '%s'", name);
    return NULL;
}

Test(graphs, shapes_types_parameters) {
    struct graph g;
    graph_make(&g,
               "flow: 1\nseed: 7\ninputs: {x: {dtype: f32, shape: [B, T, 16]}}\nnodes:\n  a: {op: linear, in: x, with: {units: 3}}\n"
               "  b: {op: relu, in: a}\n  c: {op: gt, in: [a, b]}\noutputs: {y: b, c: c}\n",
               "B=2 T=5");
    graph_expect(g.made, "x", "f32 [2, 5, 16]");
    graph_expect(g.made, "a", "f32 [2, 5, 3]");
    graph_expect(g.made, "b", "f32 [2, 5, 3]");
    graph_expect(g.made, "c", "bool [2, 5, 3]");
    graph_expect(g.made, "a.weight", "f32 [3, 16]");
    cr_assert_eq(g.made->param_count, 2);
    cr_expect_str_eq(g.made->values[g.made->params[0]].name, "a.bias");
    const struct instance_value *weight = param(g.made, "a.weight");
    cr_expect_eq(weight->kind, VALUE_PARAM);
    cr_expect_eq(weight->seed, flow_key(7, "a.weight"));
    cr_expect_str_eq(param(g.made, "a.bias")->init, "uniform(-0.25, 0.25)");
    const struct instance_node *a = graph_node(g.made, "a");
    cr_expect_eq(a->seed, flow_key(7, "a"));
    cr_expect_eq(a->dtype, FLOW_F32);
    cr_expect_eq(a->infer.in_count, 1);
    cr_expect_null(a->infer.owner);
    cr_expect_eq(g.made->values[a->out[0]].type.strides[0], 15);
    cr_expect(instance_fits(g.made, &g.options));
    g.inputs[0].shape[1] = 6;
    cr_expect_not(instance_fits(g.made, &g.options));
    graph_free(&g);
}

Test(graphs, double_precision_is_everywhere) {
    struct graph g;
    graph_read(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, i: {dtype: i64, shape: [B]}}\ngraphs:\n  s:\n    inputs: {x: {dtype: "
               "f32, shape: [B, D]}}\n"
               "    nodes: {y: {op: linear, in: x, with: {units: 2}}}\n    outputs: {y: y}\nnodes:\n  a: {graph: s, in: x}\n"
               "  c: {op: cast, in: i, with: {to: f32}}\n  k: {op: constant, with: {value: 1.5}}\n  e: {op: embedding, in: i, with: "
               "{count: 5, units: 2}}\n"
               "outputs: {a: a, c: c, k: k, e: e}\n",
               "B=2");
    g.options.precision = FLOW_F64;
    cr_assert_eq(instance_inputs(g.network, NULL, 0, 2, FLOW_F64, &g.report, g.inputs), 0);
    graph_infer(&g);
    cr_assert_eq(g.status, 0);
    graph_expect(g.made, "a.y", "f64 [2, 2]");
    graph_expect(g.made, "a.y.weight", "f64 [2, 4]");
    graph_expect(g.made, "c", "f64 [2]");
    graph_expect(g.made, "k", "f64 []");
    graph_expect(g.made, "e", "f64 [2, 2]");
    graph_expect(g.made, "i", "i64 [2]");
    graph_free(&g);
}

Test(graphs, symbols_of_a_scope_in_attributes) {
    struct graph g;
    graph_make(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 6]}}\ngraphs:\n  s:\n    inputs: {x: {dtype: f32, shape: [A, B, C]}}\n"
               "    nodes: {y: {op: reshape, in: x, with: {shape: [A*B, C/2, 2]}}}\n    outputs: {y: y}\n"
               "nodes:\n  r: {op: reshape, in: x, with: {shape: [B*T, 6]}}\n  s: {graph: s, in: x}\noutputs: {r: r, s: s}\n",
               "B=2 T=5");
    graph_expect(g.made, "r", "f32 [10, 6]");
    graph_expect(g.made, "s.y", "f32 [10, 3, 2]");
    graph_free(&g);
}

Test(graphs, an_input_is_a_view_inside_a_subgraph) {
    struct graph g;
    graph_make(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\ngraphs:\n  s:\n    inputs: {x: {dtype: f32, shape: [B, D]}}\n"
               "    nodes: {y: {op: relu, in: x}}\n    outputs: {y: y}\nnodes:\n  t: {op: transpose, in: x}\n  s: {graph: s, in: "
               "t}\noutputs: {y: s}\n",
               "B=2");
    const struct instance_value *t = &g.made->values[graph_value(g.made, "t")], *x = &g.made->values[graph_value(g.made, "s.x")];
    cr_expect_eq(t->view_of, graph_value(g.made, "x"));
    cr_expect_eq(x->view_of, graph_value(g.made, "x"), "the chain ends at who owns the memory");
    cr_expect(x->type.strides[0] == 1 && x->type.strides[1] == 4);
    graph_free(&g);
}

Test(graphs, a_view_of_a_view_that_is_not_row_major_gets_a_copy) {
    struct graph g;
    graph_make(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [2, 3, 4]}}\nnodes:\n  t: {op: transpose, in: x}\n  r: {op: reshape, in: t, with: "
               "{shape: [-1]}}\n"
               "  s: {op: reshape, in: x, with: {shape: [-1]}}\noutputs: {r: r, s: s}\n",
               "");
    graph_expect(g.made, "r", "f32 [24]");
    const struct instance_value *r = &g.made->values[graph_value(g.made, "r")], *s = &g.made->values[graph_value(g.made, "s")];
    cr_expect_eq(s->view_of, graph_value(g.made, "x"));
    cr_expect_neq(r->view_of, graph_value(g.made, "x"), "element 1 of r is element 4 of x");
    if (r->view_of >= 0) cr_expect_str_eq(g.made->values[r->view_of].name, "r.copy");
    graph_free(&g);
}

Test(graphs, parameters_of_copies_and_shared_ones) {
    struct graph g;
    const char *text = "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\ngraphs:\n  s:\n    inputs: {x: {dtype: f32, shape: [B, D]}}\n"
                       "    nodes: {y: {op: linear, in: x, with: {units: 4}}}\n    outputs: {y: y}\n"
                       "nodes:\n  s: {graph: s, in: x, repeat: 3%s}\noutputs: {y: s}\n";
    char graph[600];
    snprintf(graph, sizeof graph, text, "");
    graph_make(&g, graph, "B=2");
    cr_expect_eq(g.made->param_count, 6);
    param(g.made, "s.2.y.weight");
    graph_free(&g);
    snprintf(graph, sizeof graph, text, ", share: true");
    graph_make(&g, graph, "B=2");
    cr_expect_eq(g.made->param_count, 2);
    param(g.made, "s.y.weight");
    graph_free(&g);
}

Test(graphs, ties) {
    struct graph g;
    graph_make(&g,
               "flow: 1\ninputs: {i: {dtype: i64, shape: [B]}, w: {dtype: f32, shape: [2, 4]}}\nnodes:\n"
               "  head: {op: linear, in: e, with: {units: 9, bias: false}, tie: {weight: e.weight}}\n"
               "  e: {op: embedding, in: i, with: {count: 9, units: 4}, init: {weight: ones}}\n"
               "  a: {op: linear, in: e, with: {units: 2}, tie: {weight: w}}\n  b: {op: linear, in: e, with: {units: 2}, tie: a}\n"
               "  p: {op: parameter, with: {shape: [9, 4]}, tie: {weight: head.weight}}\noutputs: {h: head, a: a, b: b, p: p}\n",
               "B=3");
    cr_expect_eq(g.made->param_count, 2);
    int32_t weight = graph_value(g.made, "e.weight");
    cr_expect_str_eq(g.made->values[weight].init, "ones", "the node that a parameter is named after says how it starts");
    cr_expect_eq(graph_node(g.made, "head")->param[0], weight);
    cr_expect_eq(graph_node(g.made, "p")->param[0], weight, "through head to e");
    cr_expect_eq(graph_node(g.made, "a")->param[0], graph_value(g.made, "w"));
    cr_expect_eq(graph_node(g.made, "b")->param[0], graph_value(g.made, "w"));
    cr_expect_eq(graph_node(g.made, "b")->param[1], graph_value(g.made, "a.bias"));
    graph_free(&g);
}

Test(graphs, wrong_ties) {
    graph_wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\nnodes:\n  a: {op: linear, in: x, with: {units: 3}}\n"
                "  b: {op: linear, in: x, with: {units: 5}, tie: {weight: a.weight}}\noutputs: {a: a, b: b}\n",
                "", 1, 5, 58, "node 'b'|a.weight|f32 [5, 4]|f32 [3, 4]|node 'a'");
    graph_wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, w: {dtype: f32, shape: [4, 5]}}\nnodes:\n"
                "  b: {op: linear, in: x, with: {units: 5}, tie: {weight: w}}\noutputs: {b: b}\n",
                "", 1, 4, 58, "node 'b'|'weight' must be f32 [5, 4]|f32 [4, 5]");
}

Test(graphs, initialisers_given_by_the_graph) {
    struct graph g;
    graph_make(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\nnodes:\n"
               "  a: {op: linear, in: x, with: {units: 2}, init: {weight: zeros, bias: \"uniform(-1, 1)\"}}\noutputs: {a: a}\n",
               "");
    cr_expect_str_eq(param(g.made, "a.weight")->init, "zeros");
    cr_expect_str_eq(param(g.made, "a.bias")->init, "uniform(-1, 1)");
    graph_free(&g);
    graph_wrong(
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\nnodes:\n  a: {op: linear, in: x, with: {units: 2}, init: {weight: zeroes}}\n"
        "outputs: {a: a}\n",
        "", 1, 4, 59, "'zeroes' is no initialiser (did you mean 'zeros'?)");
}

Test(graphs, gathered_parameters) {
    struct graph g;
    graph_make(
        &g,
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\nnodes:\n  p: {op: parameters, with: {match: \"fast.*\"}}\n  n: {op: norm, in: "
        "p}\n"
        "  fast: {op: linear, in: x, with: {units: 3}}\n  slow: {op: linear, in: x, with: {units: 3}}\n  y: {op: add, in: [fast, n]}\n"
        "outputs: {y: y, p: p, s: slow}\n",
        "");
    graph_expect(g.made, "p", "f32 [15]");
    const struct instance_node *p = graph_node(g.made, "p");
    cr_assert_eq(p->in_count, 2);
    cr_expect_str_eq(g.made->values[p->in[0]].name, "fast.bias");
    cr_expect_null(p->entry);
    graph_free(&g);
    graph_wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [4]}}\nnodes:\n  p: {op: parameters, with: {match: \"*\"}}\n"
                "  a: {op: linear, in: p, with: {units: 3}}\n  b: {op: linear, in: x, with: {units: 3}}\noutputs: {a: a, b: b}\n",
                "", 1, 4, 11, "node 'p'|match");
}

/* ---- Feeds ---- */

Test(graphs, feeds_take_the_shape_of_what_they_repeat) {
    struct graph g;
    graph_make(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, n: {dtype: i64, shape: [B]}}\nnodes:\n"
               "  was: {op: identity, state: {x: new}, init: {x: ones}}\n  old: {op: mul, in: was, with: {value: 0.9}}\n"
               "  new: {op: add, in: [old, x]}\n  seen: {op: add, in: {b: n}, state: {a: seen}}\noutputs: {y: new, s: seen}\n",
               "B=2");
    const struct instance_value *feed = &g.made->values[graph_value(g.made, "was.x")];
    cr_expect_eq(feed->kind, VALUE_FEED);
    cr_expect_eq(feed->feed, graph_value(g.made, "new"));
    cr_expect_str_eq(feed->init, "ones");
    graph_expect(g.made, "was.x", "f32 [2, 4]");
    graph_expect(g.made, "seen.a", "i64 [2]");
    graph_free(&g);
}

Test(graphs, feeds_that_cannot_be_told) {
    struct graph g;
    graph_read(
        &g,
        "flow: 1\ninputs: {x: {dtype: f32, shape: [4]}}\nnodes:\n  a: {op: matmul, state: {a: b, b: b}}\n  b: {op: matmul, in: [a, a]}\n"
        "outputs: {y: b, x: x}\n",
        "");
    graph_infer(&g);
    cr_expect_lt(g.status, 0);
    graph_message(&g.report, 0, 4, 30, "node 'a'|'a'|cannot be told");
    graph_free(&g);
    graph_wrong(
        "flow: 1\ninputs: {x: {dtype: f32, shape: [4]}}\nnodes:\n  a: {op: concat, in: [x, x]}\n  y: {op: concat, in: [a], state: {x: y}}\n"
        "outputs: {y: y}\n",
        "", 1, 5, 39, "");
}

/* ---- Errors ---- */

Test(graphs, errors_stand_where_they_come_from) {
    graph_wrong("flow: 1\ninputs:\n  x: {dtype: i64, shape: [B, 4]}\nnodes:\n  a: {op: linear, in: x, with: {units: 3}}\noutputs: {y: a}\n",
                "", 1, 5, 23, "node 'a'|operator 'linear'|input 'x' is i64, expected f32, f16, bf16 or f64");
    graph_wrong(
        "flow: 1\ninputs:\n  x: {dtype: f32, shape: [B, 4]}\nnodes:\n  a: {op: linear, in: x, with: {units: three}}\noutputs: {y: a}\n", "",
        1, 5, 40, "attribute 'units' must be an integer of at least 1, found 'three'");
    graph_wrong("flow: 1\ninputs:\n  x: {dtype: f32, shape: [2, 4]}\n  y: {dtype: f64, shape: [2, 4]}\nnodes:\n  a: {op: add, in: [x, "
                "y]}\noutputs: {y: a}\n",
                "", 1, 6, 24, "f64|f32|one type");
    graph_wrong("flow: 1\ninputs:\n  x: {dtype: f32, shape: [2, 4]}\nnodes:\n  a: {op: where, in: {cond: x}}\noutputs: {y: a}\n", "", 2, 5,
                11, "node 'a'|input 'a'");
}

Test(graphs, all_errors_in_one_go_and_none_that_follow_from_another) {
    struct graph g;
    graph_read(
        &g,
        "flow: 1\ninputs: {x: {dtype: f32, shape: [2, 4]}}\nnodes:\n  a: {op: linear, in: x, with: {units: 0}}\n  b: {op: relu, in: a}\n"
        "  c: {op: reshape, in: x, with: {shape: [3, 3]}}\n  d: {op: add, in: [c, b]}\n  e: {op: linear, in: x, with: {units: "
        "-1}}\noutputs: {y: d, e: e}\n",
        "");
    graph_infer(&g);
    cr_expect_eq(g.report.count, 3);
    graph_message(&g.report, 0, 4, 40, "'a'|units");
    graph_message(&g.report, 1, 6, 41, "'c'|reshape");
    graph_message(&g.report, 2, 8, 40, "'e'|-1");
    graph_free(&g);
}

Test(graphs, signatures_are_checked_where_a_value_enters) {
    const char *text = "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 16]}, m: {dtype: f32, shape: [B, U, 16]}}\ngraphs:\n  layer:\n"
                       "    inputs: {x: {dtype: f32, shape: [B, T, 8]}}\n    nodes: {y: {op: relu, in: x}}\n    outputs: {y: y}\n"
                       "  two:\n    inputs: {a: {dtype: f32, shape: [B, T, D]}, b: {dtype: f32, shape: [B, T*2, D]}}\n    nodes: {y: {op: "
                       "relu, in: a}, z: {op: relu, in: b}}\n"
                       "    outputs: {y: y}\nnodes:\n%soutputs: {y: l}\n";
    char graph[900];
    snprintf(graph, sizeof graph, text, "  l: {graph: layer, in: x}\n");
    graph_wrong(graph, "B=4 T=5", 1, 13, 25, "graph 'l' expects x as f32 [B, T, 8], found f32 [4, 5, 16]: axis 2 is 16, expected 8");
    snprintf(graph, sizeof graph, text, "  i: {op: argmax, in: x}\n  l: {graph: layer, in: i}\n");
    graph_wrong(graph, "B=4 T=5", 1, 14, 25, "expects x as f32 [B, T, 8], found i64 [4, 5]");
    snprintf(graph, sizeof graph, text, "  l: {graph: two, in: {a: x, b: m}}\n");
    graph_wrong(graph, "B=4 T=5 U=11", 1, 13, 33, "axis 1 is 11, expected T*2 = 10");
    struct graph g;
    graph_make(&g, graph, "B=4 T=5 U=10");
    graph_free(&g);
    snprintf(graph, sizeof graph, text, "  l: {graph: two, in: {b: x, a: m}}\n");
    graph_make(&g, graph, "B=4 T=10 U=5");
    graph_free(&g);
}

Test(graphs, inputs_that_do_not_fit_their_signature) {
    struct graph g;
    graph_read(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, B+1]}}\nnodes: {a: {op: relu, in: "
               "x}}\noutputs: {a: a}\n",
               "B=2");
    cr_expect_eq(g.inputs[1].shape[1], 3);
    g.inputs[1].shape[0] = 5, g.inputs[0].dtype = FLOW_F64;
    graph_infer(&g);
    cr_expect_eq(g.report.count, 2, "the second binds B, for the first could not");
    graph_message(&g.report, 0, 2, 10, "input 'x' must be f32 [B, 4], found f64 [2, 4]");
    graph_free(&g);
    graph_read(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, B+1]}}\nnodes: {a: {op: relu, in: "
               "x}}\noutputs: {a: a}\n",
               "B=2");
    g.inputs[1].shape[1] = 4;
    graph_infer(&g);
    graph_message(&g.report, 0, 2, 42, "input 'y'|axis 1 is 4, expected B+1 = 3");
    graph_free(&g);
}

Test(graphs, extents_for_symbols) {
    struct graph g;
    graph_read(&g, "flow: 1\ninputs: {x: {dtype: f32, shape: [batch, T, 2*T]}}\nnodes: {a: {op: relu, in: x}}\noutputs: {a: a}\n",
               "T=4 batch=0");
    cr_expect(g.inputs[0].shape[0] == 0 && g.inputs[0].shape[1] == 4 && g.inputs[0].shape[2] == 8 && g.inputs[0].strides[0] == 32);
    const char *wrong[] = {"btch=3"}, *bad[] = {"T=x"}, *negative[] = {"T=-1"};
    struct flow_tensor inputs[1];
    cr_expect_lt(instance_inputs(g.network, wrong, 1, 3, FLOW_F32, &g.report, inputs), 0);
    graph_message(&g.report, 0, 0, 0, "btch|did you mean 'batch'");
    cr_expect_lt(instance_inputs(g.network, bad, 1, 3, FLOW_F32, &g.report, inputs), 0);
    cr_expect_lt(instance_inputs(g.network, negative, 1, 3, FLOW_F32, &g.report, inputs), 0);
    graph_free(&g);
}

Test(graphs, sizes_that_cannot_be_addressed) {
    graph_wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [B, 1]}}\nnodes:\n  a: {op: linear, in: x, with: {units: 9000000000}}\n"
                "  b: {op: linear, in: a, with: {units: 9000000000}}\noutputs: {y: b}\n",
                "B=2", 1, 5, 11, "parameter 'weight'|[9000000000, 9000000000] has more elements than can be addressed");
    graph_wrong("flow: 1\ninputs: {x: {dtype: f32, shape: [1]}}\nnodes:\n  a: {op: expand, in: x, with: {shape: [4000000000, "
                "4000000000]}}\noutputs: {y: a}\n",
                "", 1, 4, 11, "[4000000000, 4000000000]");
}
