/* SPDX-License-Identifier: Apache-2.0 */
/* What is told about wrong files, and where. */
#include "reading.h"

#define X "flow: 1\ninputs: {x: {shape: [B, 4]}}\n"
#define G                                                                                                                                  \
    "graphs: {g: {vars: {units: 3}, inputs: {x: {shape: [B, D]}, h: {shape: [B, D]}}, nodes: {y: {op: add, in: [x, h]}}, outputs: {y: y, " \
    "h: y}}}\n"

/* One error each: text, line, column, words (| between them). The first node stands on line 4 after X and G, 3 after X. */
static const struct wrong {
    const char *text;
    int line, column;
    const char *words;
} cases[] = {
    {"", 1, 1, "empty"},
    {"hello\n", 1, 1, "mapping"},
    {"- a\n", 1, 1, "mapping"},
    {"nodes: {}\n", 1, 1, "flow: 1"},
    {"flow: 2\n", 1, 7, "version 2"},
    {"flow: \"1\"\n", 1, 7, "version"},
    {X "outptus: {}\n", 3, 1, "outptus|outputs"},
    {X "nodes: [a]\n", 3, 8, "'nodes' is a mapping"},
    {X "train: 3\n", 3, 8, "'train' is a mapping"},
    {X "seed: -1\n", 3, 7, "seed"},
    {X "weights: {rename: {}}\n", 3, 10, "weights"},
    {X "run: cpu\n", 3, 6, "'run' is a mapping"},
    /* inputs */
    {"flow: 1\ninputs: {x: {dtype: f23, shape: []}}\n", 2, 21, "f23|f32"},
    {"flow: 1\ninputs: {x: {dtype: f32}}\n", 2, 10, "no shape"},
    {"flow: 1\ninputs: {x: {shap: []}}\n", 2, 14, "shap|shape"},
    {"flow: 1\ninputs: {x: f32}\n", 2, 13, "described by"},
    {"flow: 1\ninputs: {x: {shape: 3}}\n", 2, 21, "list of extents"},
    {"flow: 1\ninputs: {x: {shape: [B, -3]}}\n", 2, 25, "-3"},
    {"flow: 1\ninputs: {x: {shape: [B, 1.5]}}\n", 2, 25, "1.5"},
    {"flow: 1\ninputs: {x: {shape: [B, \"B*\"]}}\n", 2, 25, "B*"},
    {"flow: 1\ninputs: {x: {shape: [[B]]}}\n", 2, 22, "extent"},
    {"flow: 1\ninputs: {x: {shape: [1, 1, 1, 1, 1, 1, 1, 1, 1]}}\n", 2, 21, "9 axes"},
    {"flow: 1\ninputs: {a.b: {shape: []}}\n", 2, 10, "'a.b'"},
    /* nodes */
    {X "nodes:\n  a: 3\n", 4, 6, "'a'|mapping"},
    {X "nodes:\n  a: {in: x}\n", 4, 3, "neither 'op' nor 'graph'"},
    {X "nodes:\n  a: {op: relu, grahp: g, in: x}\n", 4, 17, "grahp|graph"},
    {X "nodes:\n  a: {op: relu, graph: g, in: x}\n", 4, 24, "not both"},
    {X "nodes:\n  \"a b\": {op: relu, in: x}\n", 4, 3, "'a b'"},
    {X "nodes:\n  x: {op: relu, in: x}\n", 4, 3, "an input, on line 2"},
    {X "nodes:\n  a: {op: reul, in: x}\n", 4, 11, "reul|relu"},
    {X "nodes:\n  a: {op: [relu], in: x}\n", 4, 11, "operator"},
    {X "nodes:\n  a: {op: linear, in: x, with: {unit: 3}}\n", 4, 33, "unit|units"},
    {X "nodes:\n  a: {op: linear, in: x}\n", 4, 11, "units"},
    {X "nodes:\n  a: {op: linear, in: x, with: [3]}\n", 4, 32, "'with' is a mapping"},
    {X "nodes:\n  a: {op: relu, in: {xx: x}}\n", 4, 22, "xx|relu"},
    {X "nodes:\n  a: {op: relu}\n", 4, 11, "relu|'x'"},
    {X "nodes:\n  a: {op: relu, in: [x, x]}\n", 4, 25, "1 input"},
    {X "nodes:\n  a: {op: relu, in: {x: [x]}}\n", 4, 25, "reference"},
    {X "nodes:\n  a: {op: relu, in: {x: }}\n", 4, 25, "reference"},
    {X "nodes:\n  abc: {op: relu, in: x}\n  b: {op: relu, in: abd}\n", 5, 21, "'abd'|'abc'"},
    {X "nodes:\n  a: {op: relu, in: x}\n  b: {op: relu, in: a.z}\n", 5, 21, "z|relu|has y"},
    {X "nodes:\n  a: {op: relu, in: x.y}\n", 4, 21, "'x' is an input"},
    {X "nodes:\n  a: {op: relu, in: x, async: true}\n", 4, 31, "not available yet in this version"},
    {X "nodes:\n  a: {op: relu, in: x, repeat: 2}\n", 4, 32, "'repeat' is for subgraphs"},
    {X "nodes:\n  a: {op: parameters}\n", 4, 11, "match"},
    {X "nodes:\n  a: {op: parameters, with: {match: \"*\"}, in: x}\n", 4, 11, "no inputs"},
    {X "nodes: {a: {op: relu, in: x}}\noutputs: {y: aa}\n", 4, 14, "aa"},
    {X "nodes: {a: {op: relu, in: x}}\noutputs: {y: [a]}\n", 4, 14, "reference"},
    /* variables */
    {X "vars: {width: 3}\nnodes:\n  a: {op: linear, in: x, with: {units: \"${wdith}\"}}\n", 5, 40, "wdith|width"},
    {X "vars: {width: 3}\nnodes:\n  a: {op: linear, in: x, with: {units: \"${width / 2}\"}}\n", 5, 40, "width / 2|even"},
    {X "vars: {width: a}\nnodes:\n  a: {op: linear, in: x, with: {units: \"${width + 2}\"}}\n", 5, 40, "'width' is 'a'"},
    {X "vars: {l: [1]}\nnodes:\n  a: {op: linear, in: x, with: {units: \"a${l}\"}}\n", 5, 40, "list"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: \"${3\"}}\n", 4, 40, "'}'"},
    {X "vars: {a: {b: 3}}\n", 3, 11, "mapping"},
    {X "vars: {a b: 3}\n", 3, 8, "'a b'"},
    {X "vars: [3]\n", 3, 7, "'vars'"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: \"${index}\"}}\n", 4, 40, "index"},
    /* cycles */
    {X "nodes:\n  a: {op: relu, in: b}\n  b: {op: relu, in: a}\n", 4, 3, "cycle|a -> b -> a"},
    {X "nodes:\n  z: {op: relu, in: x}\n  a: {op: relu, in: c}\n  b: {op: add, in: [z, a]}\n  c: {op: relu, in: b}\n", 5, 3,
     "a -> b -> c -> a"},
    {X "nodes:\n  a: {op: relu, in: a}\n", 4, 3, "a -> a"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: 4}, tie: {weight: b}}\n  b: {op: relu, in: a}\n", 4, 3, "cycle"},
    {X G "nodes:\n  s: {graph: g, in: {x: x, h: r}}\n  r: {op: relu, in: s}\n", 5, 3, "cycle|s.h -> s.y -> r"},
    /* subgraphs */
    {X G "nodes:\n  a: {graph: gg, in: x}\n", 5, 14, "gg|'g'"},
    {X G "nodes:\n  a: {graph: g, in: x}\n", 5, 14, "needs the input 'h'"},
    {X G "nodes:\n  a: {graph: g, in: [x, x, x]}\n", 5, 28, "2 inputs"},
    {X G "nodes:\n  a: {graph: g, in: {x: x, hh: x}}\n", 5, 28, "hh"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], with: {unit: 3}}\n", 5, 36, "unit|units"},
    {X G "nodes:\n  a: {graph: g, in: [x, x]}\n  b: {op: relu, in: a.zz}\n", 6, 21, "no output 'zz'"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], repeat: 0}\n", 5, 37, "repeat|0"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], repeat: two}\n", 5, 37, "two"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], share: true}\n", 5, 36, "share"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], carry: {x: y}}\n", 5, 36, "carry"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], repeat: 2, carry: {z: y}}\n", 5, 48, "no input 'z'"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], repeat: 2, carry: {x: z}}\n", 5, 51, "no output 'z'"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], repeat: 2}\n  b: {op: relu, in: a.2}\n", 6, 21, "copies 0 to 1"},
    {X "graphs: {g: {inputs: {x: {shape: []}}, nodes: {y: {graph: g, in: x}}, outputs: {y: y}}}\nnodes: {a: {graph: g, in: x}}\n", 3, 59,
     "'g' contains itself"},
    {X "graphs: {g: {node: {}}}\n", 3, 14, "node"},
    {X "graphs: {g: 3}\n", 3, 13, "'g' is a mapping"},
    {X "graphs: {g: {file: a.yaml, nodes: {}}}\n", 3, 10, "not both"},
    {X "graphs: {g: {nodes: {y: {op: reluu}}, outputs: {y: y}}}\n", 3, 30, "g.y|reluu"}, /* though nothing uses it */
    /* loops */
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {max: 0, carry: {x: y}}}\n", 5, 41, "max|0"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {carry: {x: y}}}\n", 5, 35, "max|over"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: 3}\n", 5, 35, "mapping"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {max: 3, untill: y}}\n", 5, 44, "untill|until"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {max: 3, until: z}}\n", 5, 51, "'z'"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {over: {z: 1}}}\n", 5, 43, "no input 'z'"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {over: {x: one}}}\n", 5, 46, "axis"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {over: {x: 1}, carry: {x: y}}}\n", 5, 43, "already"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {max: 3, carry: {x: y}, collect: {y: 0}}}\n", 5, 69, "second name"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {max: 3, index: h, carry: {x: y}}}\n", 5, 25, "1 input"},
    {X G "nodes:\n  a: {graph: g, in: x, loop: {max: 3, carry: {x: y}}}\n", 5, 14, "needs the input 'h'"},
    {X G "nodes:\n  a: {graph: g, in: [x, x], loop: {max: 3}, repeat: 2}\n", 5, 53, "'repeat' does not go with"},
    {X "graphs: {g: {inputs: {x: {shape: []}}, nodes: {y: {op: relu, in: x}}, outputs: {count: y}}}\n"
       "nodes:\n  a: {graph: g, in: x, loop: {max: 2}}\n",
     5, 30, "count"},
    {X "graphs: {g: {inputs: {x: {shape: []}}, nodes: {y: {op: identity, state: {x: y}}}, outputs: {y: y}}}\n"
       "nodes:\n  a: {graph: g, in: x, loop: {max: 2}}\n",
     3, 73, "carry"},
    /* ties, states, initial values */
    {X "nodes:\n  a: {op: linear, in: x, with: {units: 4}, tie: b}\n", 4, 49, "'b'"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: 4}, tie: b}\n  b: {op: linear, in: x, with: {units: 4}, tie: a}\n", 0, 49, "circle"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: 4}, tie: {weigth: b.weight}}\n  b: {op: linear, in: x, with: {units: 4}}\n", 4, 50,
     "weigth|weight"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: 4}, tie: {weight: b.wieght}}\n  b: {op: linear, in: x, with: {units: 4}}\n", 4, 58,
     "wieght"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: 4}, tie: {weight: a.weight}}\n", 4, 58, "circle"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: 4}, init: {weigth: zeros}}\n", 4, 51, "weigth|weight"},
    {X "nodes:\n  a: {op: linear, in: x, with: {units: 4}, init: {weight: [1]}}\n", 4, 59, "initialiser"},
    {X "nodes:\n  a: {op: relu, in: x, state: {x: a}}\n", 4, 35, "fed twice"},
    {X "nodes:\n  a: {op: relu, state: {x: a, reset: often}}\n", 4, 38, "epoch, never or run"},
    {X "nodes:\n  a: {op: relu, state: a}\n", 4, 24, "'state' is a mapping"},
};

static bool has_words(const char *text, const char *words) {
    char copy[200];
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok(copy, "|"); word; word = strtok(NULL, "|"))
        if (!strstr(text, word)) return false;
    return true;
}

Test(network_errors, each_by_itself) {
    int failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reading r = read_graph(cases[i].text);
        const struct report_message *m = r.report.first;
        bool good = r.rc < 0 && r.report.count == 1 && m && has_words(m->text, cases[i].words);
        good = good && (!cases[i].line || m->at.line == cases[i].line) && (!cases[i].column || m->at.column == cases[i].column);
        if (!good) {
            fprintf(stderr, "%sexpected one error at %d:%d with '%s', found %d:\n", cases[i].text, cases[i].line, cases[i].column,
                    cases[i].words, r.report.count);
            reading_show(&r);
            failed++;
        }
        reading_done(&r);
    }
    cr_assert_eq(failed, 0);
}

Test(network_errors, all_in_one_go) {
    struct reading r = read_graph(X G "nodes:\n  a: {op: lineer, in: x}\n  b: {op: rulu, in: nothing}\n  c: {graph: g, in: [x, b.what]}\n"
                                      "  d: {op: linear, in: [x, y], tie: {weight: no}}\noutputs: {y: c.yy}\n");
    cr_assert(r.rc < 0);
    if (r.report.count != 7) reading_show(&r);
    cr_assert_eq(r.report.count, 7);
    cr_assert(r.network != NULL, "what is whole can still be inferred");
    for (size_t i = 0; i < r.network->node_count; i++)
        if (r.network->nodes[i].kind == NETWORK_OPERATOR && !r.network->nodes[i].entry) cr_assert_eq(r.network->nodes[i].in_count, 0);
    reading_done(&r);
}

Test(network_errors, a_wrong_variable_is_told_once) {
    struct reading r =
        read_graph(X "vars: {a: \"${b}\", c: \"${a + 1}\", d: \"${c}\"}\nnodes:\n  n: {op: linear, in: x, with: {units: \"${d}\"}}\n"
                     "  m: {op: reul, in: x}\n");
    if (r.report.count != 2) reading_show(&r);
    cr_assert_eq(r.report.count, 2);
    cr_assert(strstr(r.report.first->text, "'b'") && strstr(r.report.last->text, "reul"));
    reading_done(&r);
}

Test(network_errors, once_for_all_copies) {
    struct reading r = read_graph(X "graphs: {g: {inputs: {x: {shape: [B, D]}}, nodes: {y: {op: rleu, in: z}}, outputs: {y: y}}}\n"
                                    "nodes:\n  a: {graph: g, in: x, repeat: 50}\n  b: {graph: g, in: a}\n");
    cr_assert_eq(r.report.count, 2);
    reading_done(&r);
}

Test(network_errors, settings) {
    static const char text[] = "flow: 1\nvars: {width: 3}\n";
    const char *wrong[] = {"widht=3", "width", "=3", "width=", "width=[1", "width={a: 1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct network_options options = {.set = &wrong[i], .set_count = 1};
        struct reading r = read_with(text, &options);
        cr_assert(r.rc < 0 && r.report.first, "%s", wrong[i]);
        cr_assert_str_eq(r.report.first->at.file, "--set");
        cr_assert(i || strstr(r.report.first->text, "'width'"));
        reading_done(&r);
    }
}
