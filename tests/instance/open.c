/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs with open symbols, and memory that runs out at every point. */
#include "instance/instance_test.h"

static void check(const char *text, const char *symbol, int count, int line, int column, const char *words) {
    struct graph g;
    graph_read(&g, text, "");
    g.options.stream = symbol, g.options.inputs = NULL;
    int status = instance_check(&memory_default, g.network, &g.options, &g.report);
    cr_expect_eq(status<0, count> 0);
    for (struct report_message *m = g.report.first; m && !count; m = m->next) printf("%d:%d: %s\n", m->at.line, m->at.column, m->text);
    cr_expect_eq(g.report.count, count);
    if (count) graph_message(&g.report, 0, line, column, words);
    graph_free(&g);
}

Test(open, errors_for_every_extent) {
    check("flow: 1\ninputs: {q: {dtype: f32, shape: [B, T, 8]}, p: {dtype: f32, shape: [B, 5]}}\nnodes:\n  m: {op: matmul, in: {a: p, b: "
          "q}}\noutputs: {m: m}\n",
          NULL, 1, 4, 11, "node 'm'|5|T");
    check("flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\nnodes:\n  a: {op: linear, in: x, with: {units: 3}}\n  b: {op: add, in: [a, "
          "x]}\noutputs: {y: b}\n",
          NULL, 1, 5, 11, "[B, 3]|[B, 4]");
    check("flow: 1\ninputs: {x: {dtype: f32, shape: [3, 4]}}\nnodes:\n  a: {op: linear, in: x, with: {units: x}}\noutputs: {y: a}\n", NULL,
          1, 4, 40, "units");
}

Test(open, errors_for_some_extents_are_no_errors) {
    check("flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 8]}}\nnodes:\n  r: {op: reshape, in: x, with: {shape: [B, T/4, 32]}}\noutputs: "
          "{y: r}\n",
          NULL, 0, 0, 0, NULL);
    check("flow: 1\ninputs: {x: {dtype: f32, shape: [A, B, C, D]}, y: {dtype: f32, shape: [E, F]}}\nnodes:\n  r: {op: reshape, in: x, "
          "with: {shape: [-1, 1]}}\n"
          "  s: {op: reshape, in: y, with: {shape: [1, -1]}}\n  p: {op: matmul, in: [r, s]}\noutputs: {y: p}\n",
          NULL, 0, 0, 0, NULL);
}

Test(open, streams_are_checked_too) {
    const char *text =
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 8]}}\nnodes:\n  c: {op: cumsum, in: x, with: {axis: %s}}\noutputs: {y: c}\n";
    char graph[300];
    snprintf(graph, sizeof graph, text, "2");
    check(graph, "T", 0, 0, 0, NULL);
    snprintf(graph, sizeof graph, text, "1, reverse: true");
    check(graph, NULL, 0, 0, 0, NULL);
    check(graph, "T", 1, 4, 11, "node 'c'|operator 'cumsum'");
}

Test(open, shapes_in_terms_of_symbols) {
    struct graph g;
    struct text out;
    graph_make(&g,
               "flow: 1\ninputs: {x: {dtype: f32, shape: [B, S, 6]}, k: {dtype: f32, shape: [B, U, 6]}}\nnodes:\n  r: {op: reshape, in: x, "
               "with: {shape: [B*S, 2, 3]}}\n"
               "  s: {op: slice, in: x, with: {axis: 1, start: 0, step: 160}}\n  p: {op: pad, in: x, with: {axis: 1, before: 2, after: "
               "3}}\n  c: {op: concat, in: [x, k], with: {axis: 1}}\n"
               "  t: {op: slice, in: x, with: {axis: 1, start: 5}}\noutputs: {r: r, s: s, p: p, c: c, t: t}\n",
               "S=480");
    static const char *expected[][2] = {{"r", "[B*S, 2, 3]"},   {"s", "[B, S/160, 6]"}, {"p", "[B, S + 5, 6]"},
                                        {"c", "[B, S + U, 6]"}, {"t", "[B, S - 5, 6]"}, {"x", "[B, S, 6]"}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        text_init(&out, &memory_default);
        cr_assert_eq(instance_symbols(&memory_default, g.network, &g.options, g.made, graph_value(g.made, expected[i][0]), &out), 0);
        cr_expect_str_eq(out.at, expected[i][1]);
        text_free(&out);
    }
    graph_free(&g);
}

/* ---- Memory ---- */

static const char everything[] =
    "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 4]}, h: {dtype: f32, shape: [B, 4]}, i: {dtype: i64, shape: [B]}}\ngraphs:\n  cell:\n "
    "   inputs: {x: {dtype: f32, shape: [B, D]}, h: {dtype: f32, shape: [B, D]}}\n"
    "    nodes:\n      a: {op: linear, in: x, with: {units: 4}}\n      s: {op: add, in: [a, h]}\n    outputs: {h: s, all: s}\n  two:\n    "
    "inputs: {x: {dtype: f32, shape: [B, T*1, D]}, k: {dtype: f32, shape: [B, T, D]}}\n"
    "    nodes: {y: {op: linear, in: x, with: {units: 4}, init: {weight: \"normal(0, 1/2.0)\"}}, r: {op: reshape, in: k, with: {shape: "
    "[B*T, D]}}}\n    outputs: {y: y}\nnodes:\n"
    "  p: {op: parameters, with: {match: \"*\"}}\n  two: {graph: two, in: {x: x, k: x}}\n  l: {graph: cell, in: {x: two, h: h}, loop: "
    "{over: {x: 1}, carry: {h: h}, collect: {all: 1}}}\n"
    "  tied: {op: linear, in: x, with: {units: 4}, tie: {weight: two.y.weight}}\n  was: {op: identity, state: {x: new}}\n  new: {op: add, "
    "in: [was, h]}\n  t: {op: transpose, in: x}\n"
    "  f: {op: reshape, in: t, with: {shape: [-1]}}\noutputs: {y: l.all, p: p, t: tied, n: new, f: f}\n";

static const char streamed[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [B, T, 4]}}\nnodes:\n  a: {op: transpose, in: x}\n  c: {op: "
                               "conv1d, in: a, with: {units: 4, kernel: 5, padding: same}}\n"
                               "  y: {op: add, in: [a, c]}\noutputs: {y: y}\n";

/* Fails each request once, until all goes well; nothing may be left behind. */
static void starve(const char *text, const char *symbol, int what) {
    struct graph g;
    graph_read(&g, text, "B=2 T=5");
    g.options.stream = symbol, g.options.first = symbol != NULL;
    struct instance *first = NULL, *made;
    if (symbol) cr_assert_eq(instance_new(&memory_default, g.network, &g.options, &g.report, &first), 0);
    long tries = 0;
    for (int status = -1; status < 0; tries++) {
        struct failing failing = FAILING_INIT;
        struct allocator from = failing_allocator(&failing);
        struct report report;
        failing.fail_at = tries + 1;
        report_init(&report, &from);
        made = NULL;
        if (what == 1) {
            status = instance_check(&from, g.network, &g.options, &report);
        } else {
            g.options.before = first, g.options.first = symbol && what == 0;
            status = instance_new(&from, g.network, &g.options, &report, &made);
        }
        cr_assert_eq(status < 0, failing.requests >= failing.fail_at, "request %ld of %ld, status %d", failing.fail_at, failing.requests,
                     status);
        cr_expect_eq(made != NULL, status == 0 && what != 1);
        if (status < 0) cr_expect_eq(report_code(&report), FLOW_ERROR_MEMORY);
        instance_free(made);
        report_free(&report);
        cr_assert_eq(failing.blocks, 0);
        cr_assert_not(failing.wrong_size);
    }
    cr_expect_gt(tries, 2);
    instance_free(first);
    graph_free(&g);
}

Test(open, memory_may_run_out_at_any_point) {
    starve(everything, NULL, 0);
    starve(streamed, "T", 0);
    starve(streamed, "T", 2);
}

Test(open, memory_may_run_out_while_checking) {
    starve(everything, NULL, 1);
    starve(streamed, "T", 1);
}
