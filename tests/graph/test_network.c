/* SPDX-License-Identifier: Apache-2.0 */
/* What comes out of right files. */
#include "reading.h"

#define LAYER                                                      \
    "graphs:\n"                                                    \
    "  layer:\n"                                                   \
    "    vars: {units: 6, act: tanh}\n"                            \
    "    inputs: {x: {dtype: f32, shape: [B, D]}}\n"               \
    "    nodes:\n"                                                 \
    "      fc: {op: linear, in: x, with: {units: \"${units}\"}}\n" \
    "      act: {op: \"${act}\", in: fc}\n"                        \
    "      y: {op: add, in: [x, act]}\n"                           \
    "    outputs: {y: y, pre: fc}\n"
#define X "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 6]}}\n"

Test(network, a_file_in_any_order) {
    struct reading r =
        read_right("flow: 1\nname: small\ndoc: words\ninputs:\n  x: {dtype: i32, shape: [B, 2, \"B*2\"], doc: what}\n  s: {shape: []}\n"
                   "nodes:\n  y: {op: add, in: [a, s]}\n  a: {op: tanh, in: {x: x}}\noutputs: {out: y, same: y.y}\n"
                   "weights: {file: w.safetensors, rename: {\"a.*\": \"b.*\"}}\nseed: 12\nrun: {threads: 2, device: cpu}\n"
                   "train: {steps: 0}\ndata: {d: {source: text, with: {window: 4}}}\n");
    const struct network *n = r.network;
    cr_assert_str_eq(n->path, "g.yaml");
    cr_assert_str_eq(n->name, "small");
    cr_assert_str_eq(n->doc, "words");
    cr_assert(n->input_count == 2 && n->inputs[0].dtype == FLOW_I32 && n->inputs[0].rank == 3 && n->inputs[1].dtype == FLOW_F32);
    cr_assert_str_eq(n->inputs[0].extents[2]->text, "B*2");
    cr_assert(n->inputs[0].at.line == 5 && n->inputs[0].dtype_at.column == 14);
    cr_assert_str_eq(n->inputs[0].doc, "what");
    cr_assert_eq(n->inputs[1].rank, 0);
    cr_assert(n->node_count == 2 && n->scope_count == 1);
    cr_assert_str_eq(n->nodes[0].path, "a");
    in_order(n);
    reads(n, "y", 0, 0, "a:0");
    reads(n, "y", 1, 1, "s");
    cr_assert(node_of(n, "y")->at.line == 8 && node_of(n, "y")->at.column == 3 && node_of(n, "y")->op_at.column == 11);
    cr_assert(node_of(n, "y")->in[1].at.column == 24);
    cr_assert_str_eq(node_of(n, "y")->entry->op->name, "add");
    cr_assert(n->output_count == 2 && n->outputs[1].from.node == 1 && n->outputs[1].from.output == 0);
    cr_assert_str_eq(n->weights, "w.safetensors");
    cr_assert(n->rename_count == 1 && strcmp(n->renames[0].to, "b.*") == 0);
    cr_assert(n->seed == 12 && n->run_count == 2 && n->training);
    cr_assert_str_eq(n->run[1].key, "device");
    reading_done(&r);
}

Test(network, variables) {
    static const char text[] =
        "flow: 1\nvars: {width: 6, half: \"${width / 2}\", rate: \"${1.0 / 4}\", word: tanh, list: [5, 2], flag: true}\n"
        "inputs: {x: {shape: [B, \"${width}\"]}}\nnodes:\n"
        "  \"n${half}\": {op: \"${word}\", in: x}\n"
        "  l: {op: linear, in: \"n${width - half}\", with: {units: \"${half + 1}\", bias: \"${flag}\"}}\n"
        "  a: {op: add, in: l, with: {value: \"${rate * 2}\"}}\n"
        "  b: {op: add, in: a, with: {value: \"${list}\"}}\n"
        "  c: {op: add, in: b, with: {value: \"x${rate}-${half}y\"}}\noutputs: {y: c}\n";
    struct reading r = read_right(text);
    const struct document *units = document_get(node_of(r.network, "l")->with, "units"),
                          *bias = document_get(node_of(r.network, "l")->with, "bias");
    int64_t number;
    double real;
    bool flag;
    cr_assert(document_int(units, &number) && number == 4 && units->at.line == 6 && units->at.column == 57);
    cr_assert(document_bool(bias, &flag) && flag);
    reads(r.network, "l", 0, 0, "n3:0");
    const struct document *value = document_get(node_of(r.network, "a")->with, "value");
    cr_assert(!document_int(value, &number) && document_real(value, &real) && real == 0.5);
    value = document_get(node_of(r.network, "b")->with, "value");
    cr_assert(value->kind == DOCUMENT_LIST && value->count == 2 && value->at.line == 8 && value->values[1]->at.line == 8);
    cr_assert(document_int(value->values[0], &number) && number == 5);
    cr_assert_str_eq(document_get(node_of(r.network, "c")->with, "value")->text, "x0.25-3y");
    cr_assert_str_eq(r.network->inputs[0].extents[1]->text, "6");
    reading_done(&r);

    const char *set[] = {"width=8", "word=relu", "list=[1, 2, 3]", "width=10"};
    struct network_options options = {.set = set, .set_count = 4};
    r = read_with(text, &options);
    cr_assert_eq(r.rc, 0);
    cr_assert_str_eq(node_of(r.network, "n5")->entry->op->name, "relu");
    cr_assert_eq(document_get(node_of(r.network, "b")->with, "value")->count, 3);
    reading_done(&r);
}

Test(network, reals_come_back_as_they_were) {
    static const char *const texts[] = {"0.1", "1e300", "4.0", "1e-320", "-2.5", "123456789.125"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[400];
        snprintf(text, sizeof text,
                 "flow: 1\nvars: {v: %s}\ninputs: {x: {shape: [B]}}\nnodes: {a: {op: add, in: x, with: {value: \"${v * 1}\"}}}\n",
                 texts[i]);
        struct reading r = read_right(text);
        const struct document *value = document_get(node_of(r.network, "a")->with, "value");
        struct document was = {.kind = DOCUMENT_SCALAR, .text = texts[i]};
        double before, after;
        int64_t whole;
        cr_assert(document_real(&was, &before) && document_real(value, &after) && before == after, "%s became %s", texts[i], value->text);
        cr_assert(!document_int(value, &whole), "%s became the integer %s", texts[i], value->text);
        reading_done(&r);
    }
}

Test(network, a_subgraph_enters_and_leaves) {
    struct reading r = read_right(X LAYER "nodes:\n  one: {graph: layer, in: x, with: {act: relu}}\n  two: {graph: layer, in: one.pre}\n"
                                          "outputs: {y: two, p: one.pre}\n");
    const struct network *n = r.network;
    in_order(n);
    cr_assert(n->node_count == 8 && n->scope_count == 3);
    const struct network_node *enter = node_of(n, "one.x");
    cr_assert(enter->kind == NETWORK_ENTER && enter->scope == 1 && enter->input->rank == 2);
    cr_assert_str_eq(enter->input->name, "x");
    reads(n, "one.x", 0, 0, "x");
    reads(n, "one.fc", 0, 0, "one.x:0");
    reads(n, "two.x", 0, 0, "one.fc:0");
    cr_assert_eq(node_of(n, "two.fc")->scope, 2);
    cr_assert_str_eq(node_of(n, "one.act")->entry->op->name, "relu");
    cr_assert_str_eq(node_of(n, "two.act")->entry->op->name, "tanh");
    cr_assert_str_eq(node_of(n, "two.fc")->param_path, "two.fc");
    char text[300];
    cr_assert_str_eq(source_of(n, n->outputs[0].from, text), "two.y:0");
    cr_assert_str_eq(source_of(n, n->outputs[1].from, text), "one.fc:0");
    reading_done(&r);
}

Test(network, copies_in_a_chain) {
    struct reading r = read_right(
        "flow: 1\nvars: {depth: 3}\ninputs: {x: {shape: [B, 6]}, m: {shape: [B]}}\ngraphs:\n  step:\n    vars: {units: \"${2 ** index}\"}\n"
        "    inputs: {x: {shape: [B, D]}, m: {shape: [B]}}\n    nodes:\n      y: {op: linear, in: x, with: {units: \"${units}\"}}\n"
        "      z: {op: add, in: [m, y]}\n    outputs: {y: y, z: z}\nnodes:\n"
        "  body: {graph: step, in: {x: x, m: m}, repeat: \"${depth}\"}\n"
        "  once: {graph: step, in: [body, m], repeat: 1}\n  other: {graph: step, in: [x, m], repeat: 2, carry: {m: z}}\n"
        "  shared: {graph: step, in: [x, m], repeat: 2, share: true}\n  early: {op: relu, in: body.0.z}\n"
        "  late: {op: relu, in: body.z}\n  first: {op: relu, in: body.1}\noutputs: {y: late}\n");
    const struct network *n = r.network;
    in_order(n);
    int64_t units;
    reads(n, "body.0.x", 0, 0, "x");
    reads(n, "body.1.x", 0, 0, "body.0.y:0");
    reads(n, "body.2.x", 0, 0, "body.1.y:0");
    reads(n, "body.2.m", 0, 0, "m");
    cr_assert(document_int(document_get(node_of(n, "body.2.y")->with, "units"), &units) && units == 4);
    cr_assert_str_eq(node_of(n, "body.2.y")->param_path, "body.2.y");
    cr_assert_str_eq(node_of(n, "once.0.y")->param_path, "once.0.y");
    reads(n, "once.0.x", 0, 0, "body.2.y:0");
    reads(n, "other.1.x", 0, 0, "x");
    reads(n, "other.1.m", 0, 0, "other.0.z:0");
    cr_assert_str_eq(node_of(n, "shared.1.y")->path, "shared.1.y");
    cr_assert_str_eq(node_of(n, "shared.1.y")->param_path, "shared.y");
    reads(n, "early", 0, 0, "body.0.z:0");
    reads(n, "late", 0, 0, "body.2.z:0");
    reads(n, "first", 0, 0, "body.1.y:0");
    reading_done(&r);
}

Test(network, a_loop_has_a_network_of_its_own) {
    struct reading r = read_right(
        "flow: 1\nvars: {most: 7}\ninputs: {x: {shape: [B, 5, 3]}, h: {shape: [B, 3]}}\ngraphs:\n  turn:\n"
        "    inputs: {x: {shape: [B, D]}, h: {shape: [B, D]}, i: {dtype: i64, shape: []}}\n    nodes:\n      s: {op: add, in: [x, h]}\n"
        "      fc: {op: linear, in: s, with: {units: 3}}\n      stop: {op: lt, in: fc, with: {value: 0.5}}\n"
        "    outputs: {h: fc, all: fc, stop: stop}\n"
        "nodes:\n  go:\n    graph: turn\n    in: [x, h]\n    loop: {max: \"${most}\", over: {x: 1}, carry: {h: h}, index: i, until: stop, "
        "collect: {all: -1}}\n"
        "outputs: {h: go, all: go.all, n: go.count}\n");
    const struct network *n = r.network;
    const struct network_node *go = node_of(n, "go");
    const struct network_loop *loop = &go->loop;
    cr_assert(go->kind == NETWORK_LOOP && go->body && n->node_count == 1 && n->scope_count == 1);
    cr_assert(go->body->arena.from == NULL && go->body->node_count == 3 && go->body->input_count == 3 && go->body->scope_count == 1);
    reads(n, "go", 0, 0, "x");
    reads(n, "go", 1, 1, "h");
    cr_assert_eq(go->in_count, 2);
    cr_assert(loop->max == 7 && loop->max_at.line == 16 && loop->max_at.column == 17);
    cr_assert(loop->carry_count == 1 && loop->carry[0].input == 1 && loop->carry[0].output == 0);
    cr_assert(loop->over_count == 1 && loop->over[0].port == 0 && loop->over[0].axis == 1 && loop->index == 2);
    cr_assert(loop->until == 2 && loop->collect_count == 1 && loop->collect[0].port == 1 && loop->collect[0].axis == -1);
    cr_assert_str_eq(node_of(go->body, "go.fc")->param_path, "go.fc");
    cr_assert_eq(node_of(go->body, "go.fc")->scope, 0);
    reads(go->body, "go.s", 0, 0, "x");
    cr_assert_eq(n->outputs[1].from.output, 1);
    cr_assert_eq(n->outputs[2].from.output, 3);
    reading_done(&r);
}

Test(network, ties) {
    struct reading r = read_right(
        X LAYER "  pair:\n    inputs: {x: {shape: [B, D]}}\n    nodes:\n      a: {graph: layer, in: x}\n      b: {graph: layer, in: a, "
                "tie: a}\n    outputs: {y: b}\n"
                "nodes:\n  w: {op: linear, in: x, with: {units: 6}}\n  body: {graph: layer, in: x, repeat: 2}\n"
                "  whole: {op: linear, in: x, with: {units: 6}, tie: w}\n  chain: {op: linear, in: x, with: {units: 6}, tie: whole}\n"
                "  deep: {op: linear, in: x, with: {units: 6}, tie: {weight: body.1.fc.weight}}\n"
                "  again: {op: linear, in: x, with: {units: 6}, tie: {weight: deep.weight, bias: chain.bias}}\n"
                "  value: {op: linear, in: x, with: {units: 6}, tie: {weight: w, bias: x}}\n"
                "  copy: {op: linear, in: x, with: {units: 6}, tie: {weight: value.weight}}\n"
                "  same: {graph: layer, in: x, repeat: 2, tie: body}\n  last: {graph: layer, in: x, tie: same.1}\n"
                "  p: {graph: pair, in: x}\n  q: {graph: pair, in: x, tie: p}\n  roll: {graph: layer, in: x, loop: {max: 2, carry: {x: "
                "y}}, tie: p.a}\n"
                "  from: {op: linear, in: x, with: {units: 6}, tie: roll.fc}\n  inner: {graph: pair, in: x, tie: {a.fc.weight: "
                "w.weight}}\noutputs: {y: q}\n");
    const struct network *n = r.network;
    in_order(n);
    const struct network_node *again = node_of(n, "again"), *value = node_of(n, "value"), *copy = node_of(n, "copy");
    char text[300];
    cr_assert(node_of(n, "whole")->tie_count == 1 && !node_of(n, "whole")->ties[0].param);
    cr_assert_str_eq(node_of(n, "whole")->ties[0].target, "w");
    cr_assert_str_eq(node_of(n, "chain")->ties[0].target, "w");
    cr_assert_str_eq(node_of(n, "deep")->ties[0].target, "body.1.fc.weight");
    cr_assert_eq(again->tie_count, 2);
    cr_assert_str_eq(again->ties[0].param, "weight");
    cr_assert_str_eq(again->ties[0].target, "body.1.fc.weight");
    cr_assert_str_eq(again->ties[1].target, "w.bias");
    cr_assert(!value->ties[0].target && !value->ties[1].target);
    cr_assert_str_eq(source_of(n, value->ties[0].value, text), "w:0");
    cr_assert_str_eq(source_of(n, value->ties[1].value, text), "x");
    cr_assert_null(copy->ties[0].target);
    cr_assert_str_eq(source_of(n, copy->ties[0].value, text), "w:0");
    cr_assert_str_eq(node_of(n, "same.1.fc")->param_path, "body.1.fc");
    cr_assert_str_eq(node_of(n, "last.fc")->param_path, "body.1.fc");
    cr_assert_str_eq(node_of(n, "p.b.fc")->param_path, "p.a.fc");
    cr_assert_str_eq(node_of(n, "q.a.fc")->param_path, "p.a.fc");
    cr_assert_str_eq(node_of(n, "q.b.fc")->param_path, "p.a.fc");
    cr_assert_str_eq(node_of(node_of(n, "roll")->body, "roll.fc")->param_path, "p.a.fc");
    cr_assert_str_eq(node_of(n, "from")->ties[0].target, "p.a.fc");
    cr_assert_str_eq(node_of(n, "inner.a.fc")->ties[0].target, "w.weight");
    cr_assert_str_eq(node_of(n, "inner.b.fc")->ties[0].target, "w.weight");
    reading_done(&r);
}

Test(network, states_and_initial_values) {
    struct reading r = read_right(X "nodes:\n  a: {op: add, in: x, state: {b: c, reset: run}, init: {b: ones}}\n"
                                    "  b: {op: linear, in: a, with: {units: 3}, init: {weight: zeros, bias: \"uniform(-1, 1)\"}}\n"
                                    "  c: {op: identity, state: {x: b, reset: never}}\noutputs: {y: b}\n");
    const struct network *n = r.network;
    in_order(n);
    const struct network_node *a = node_of(n, "a"), *b = node_of(n, "b"), *c = node_of(n, "c");
    cr_assert(a->in_count == 2 && !a->in[0].delayed && a->in[1].delayed && a->in[1].run_reset && a->in[1].port == 1);
    cr_assert_str_eq(a->in[1].init, "ones");
    cr_assert_eq(a->init_count, 0);
    reads(n, "a", 1, 1, "c:0");
    cr_assert(c->in_count == 1 && c->in[0].delayed && !c->in[0].run_reset && !c->in[0].init);
    cr_assert(b->init_count == 2 && strcmp(b->inits[1].init, "uniform(-1, 1)") == 0 && b->inits[1].at.line == 5);
    reading_done(&r);
}

Test(network, a_subgraph_with_state_is_no_cycle) {
    struct reading r = read_right(X LAYER "nodes:\n  m: {graph: layer, state: {x: m}, init: {x: ones, fc.bias: zeros}}\noutputs: {y: m}\n");
    const struct network_node *enter = node_of(r.network, "m.x");
    cr_assert(enter->kind == NETWORK_ENTER && enter->in_count == 1 && enter->in[0].delayed);
    cr_assert_str_eq(enter->in[0].init, "ones");
    cr_assert_str_eq(node_of(r.network, "m.fc")->inits[0].name, "bias");
    reads(r.network, "m.x", 0, 0, "m.y:0");
    in_order(r.network);
    reading_done(&r);
}

Test(network, lists_fill_ports_in_order) {
    struct reading r = read_right(X "nodes:\n  s: {op: einsum, in: [x, y, x], with: {equation: \"ij,ij,ij->ij\"}}\n  y: {op: relu, in: x}\n"
                                    "  t: {op: einsum, in: {x: [s, y]}, with: {equation: \"ij,ij->ij\"}}\n"
                                    "  m: {op: matmul, in: {b: y, a: x}, with: {transpose_b: true}}\noutputs: {y: m}\n");
    const struct network_node *s = node_of(r.network, "s");
    cr_assert(s->in_count == 3 && s->in[2].port == s->in[0].port);
    reads(r.network, "s", 1, 0, "y:0");
    reads(r.network, "t", 0, 0, "s:0");
    reads(r.network, "m", 0, 0, "x"); /* by port, however it was written */
    reads(r.network, "m", 1, 1, "y:0");
    in_order(r.network);
    reading_done(&r);
}

Test(network, parameters_by_pattern) {
    struct reading r = read_right(X "nodes:\n  a: {op: linear, in: x, with: {units: 2}}\n  p: {op: parameters, with: {match: \"a.*\"}}\n"
                                    "  n: {op: square, in: p.y}\noutputs: {y: n}\n");
    const struct network_node *p = node_of(r.network, "p");
    cr_assert(p->kind == NETWORK_PARAMETERS && p->in_count == 0 && !p->entry);
    cr_assert_str_eq(p->match, "a.*");
    reads(r.network, "n", 0, 0, "p:0");
    reading_done(&r);
}

Test(network, symbols_wait_for_all_that_enters) {
    static const char text[] =
        "flow: 1\ninputs: {x: {shape: [B, 6]}, z: {shape: [6, C]}}\ngraphs:\n  g:\n    inputs: {a: {shape: [B, D]}, b: {shape: [D, C]}}\n"
        "    nodes:\n      e: {op: expand, in: a, with: {shape: [C, B, D]}}\n      f: {op: relu, in: b}\n"
        "      k: {op: expand, in: a, with: {shape: [3, 4, 6]}}\n    outputs: {e: e, f: f}\n"
        "nodes:\n  g: {graph: g, in: {a: x, b: %s}}\noutputs: {y: g}\n";
    char both[800], itself[800];
    snprintf(both, sizeof both, text, "z");
    struct reading r = read_right(both);
    const struct network_node *e = node_of(r.network, "g.e");
    cr_assert(e->after_count == 2 && node_of(r.network, "g.k")->after_count == 0);
    for (size_t i = 0; i < 2; i++) cr_assert_eq(r.network->nodes[e->after[i]].kind, NETWORK_ENTER);
    in_order(r.network);
    reading_done(&r);
    snprintf(itself, sizeof itself, text, "g.e"); /* b enters after e: e can only wait for a */
    r = read_right(itself);
    cr_assert_eq(node_of(r.network, "g.e")->after_count, 1);
    in_order(r.network);
    reading_done(&r);
}

/* ---- Files ---- */

static void write_file(const char *folder, const char *name, const char *text) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    cr_assert(file != NULL);
    fputs(text, file);
    fclose(file);
}

Test(network, subgraphs_from_files) {
    char folder[] = "/tmp/flow-network-XXXXXX", path[600];
    cr_assert(mkdtemp(folder) != NULL);
    write_file(folder, "block.yaml",
               "flow: 1\nvars: {units: 6}\ninputs: {x: {shape: [B, D]}}\ngraphs: {leaf: {file: leaf.yaml}}\nnodes:\n"
               "  a: {op: linear, in: x, with: {units: \"${units}\"}}\n  b: {graph: leaf, in: a}\noutputs: {\"odd.name\": b}\n");
    write_file(folder, "leaf.yaml", "flow: 1\ninputs: {x: {shape: [B, D]}}\nnodes: {r: {op: relu, in: x}}\noutputs: {y: r}\n");
    write_file(folder, "self.yaml",
               "flow: 1\ninputs: {x: {shape: [B]}}\ngraphs: {me: {file: self.yaml}}\nnodes: {r: {graph: me, in: x}}\noutputs: {y: r}\n");
    write_file(folder, "bad.yaml", "flow: 1\ninputs: {x: {shape: [B]}}\nnodes: {r: {op: reluu, in: x}}\noutputs: {y: r}\n");
    write_file(folder, "main.yaml",
               X "graphs: {block: {file: block.yaml}}\nnodes:\n  one: {graph: block, in: x, with: {units: 3}}\n"
                 "  two: {graph: block, in: one.odd.name, repeat: 2}\noutputs: {y: two.1.odd.name}\n");
    write_file(folder, "wrong.yaml",
               X "graphs: {a: {file: bad.yaml}, b: {file: self.yaml}, c: {file: nowhere.yaml}, d: {file: .}}\nnodes:\n"
                 "  a: {graph: a, in: x}\n  b: {graph: b, in: x}\n  c: {graph: c, in: x}\n  d: {graph: d, in: x}\noutputs: {y: a}\n");
    struct reading r = {.registry = open_registry()};
    report_init(&r.report, &memory_default);
    snprintf(path, sizeof path, "%s/main.yaml", folder);
    r.rc = network_read(&memory_default, r.registry, path, NULL, 0, NULL, &r.report, &r.network);
    if (r.rc) reading_show(&r);
    cr_assert_eq(r.rc, 0);
    int64_t units;
    cr_assert(document_int(document_get(node_of(r.network, "one.a")->with, "units"), &units) && units == 3);
    cr_assert(document_int(document_get(node_of(r.network, "two.1.a")->with, "units"), &units) && units == 6);
    reads(r.network, "two.0.x", 0, 0, "one.b.r:0");
    cr_assert(strstr(node_of(r.network, "two.0.b.r")->at.file, "leaf.yaml"));
    reading_done(&r);

    r = (struct reading){.registry = open_registry()};
    report_init(&r.report, &memory_default);
    snprintf(path, sizeof path, "%s/wrong.yaml", folder);
    r.rc = network_read(&memory_default, r.registry, path, NULL, 0, NULL, &r.report, &r.network);
    cr_assert(r.rc < 0 && r.report.count == 4);
    const struct report_message *m = r.report.first;
    cr_assert(strstr(m->at.file, "bad.yaml") && m->at.line == 3 && strstr(m->text, "reluu"));
    m = m->next;
    cr_assert(strstr(m->at.file, "self.yaml") && m->at.line == 4 && strstr(m->text, "contains itself"));
    cr_assert(strstr(m->next->text, "nowhere.yaml") && m->next->at.line == 3 && strstr(m->next->next->text, "cannot be found"));
    reading_done(&r);
    static const char *const names[] = {"block", "leaf", "self", "bad", "main", "wrong"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s.yaml", folder, names[i]);
        remove(path);
    }
    remove(folder);
}
