/* SPDX-License-Identifier: Apache-2.0 */
/* Large files, files that mean harm, memory that runs out. */
#include "harness/failing.h"
#include "reading.h"

#include <stdlib.h>
#include <time.h>

/* Of the processor: others may be busy on it. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct long_text {
    char *at;
    size_t length, room;
};

static void put(struct long_text *text, const char *format, ...) {
    va_list arguments;
    if (text->room - text->length < 1024) text->at = realloc(text->at, text->room = 2 * text->room + 4096);
    va_start(arguments, format);
    text->length += (size_t)vsnprintf(text->at + text->length, 1024, format, arguments);
    va_end(arguments);
}

/* Reads the text and frees it. */
static struct reading read_long(struct long_text *text) {
    struct reading r = read_graph(text->at);
    free(text->at);
    *text = (struct long_text){0};
    return r;
}

static double chain(int count, bool backwards) {
    struct long_text text = {0};
    put(&text, "flow: 1\ninputs: {x: {shape: [B, 4]}}\nnodes:\n");
    if (!backwards) put(&text, "  n0: {op: relu, in: x}\n");
    for (int i = !backwards; i < count; i++) put(&text, "  n%d: {op: relu, in: n%d}\n", i, backwards ? i + 1 : i - 1);
    if (backwards) put(&text, "  n%d: {op: relu, in: x}\n", count);
    double start = seconds();
    struct reading r = read_long(&text);
    double took = seconds() - start;
    if (r.rc) reading_show(&r);
    cr_assert(r.rc == 0 && (int)r.network->node_count == count + backwards);
    in_order(r.network);
    reading_done(&r);
    return took;
}

Test(network_limits, time_grows_with_the_file, .timeout = 300) {
    for (int backwards = 0; backwards < 2; backwards++) {
        double small = 1e9, large = 1e9;
        for (int i = 0; i < 3; i++) {
            double a = chain(4000, backwards), b = chain(32000, backwards);
            if (a < small) small = a;
            if (b < large) large = b;
        }
        cr_assert_lt(large, 8 * 4 * small + 0.02, "4000 nodes: %.3f s, 32000: %.3f s", small, large);
    }
}

Test(network_limits, copies_of_copies_end, .timeout = 120) {
    struct long_text text = {0};
    put(&text, "flow: 1\ninputs: {x: {shape: [B, 4]}}\ngraphs:\n  g0: {inputs: {x: {shape: [B, 4]}}, nodes: {y: {op: relu, in: x}}, "
               "outputs: {y: y}}\n");
    for (int i = 1; i < 30; i++)
        put(&text, "  g%d: {inputs: {x: {shape: [B, 4]}}, nodes: {y: {graph: g%d, in: x, repeat: 10}}, outputs: {y: y}}\n", i, i - 1);
    put(&text, "nodes: {a: {graph: g29, in: x}}\n");
    struct reading r = read_long(&text);
    cr_assert(r.rc < 0 && !r.network && strstr(r.report.last->text, "too large"));
    reading_done(&r);
    r = read_graph("flow: 1\ninputs: {x: {shape: []}}\ngraphs: {g: {inputs: {x: {shape: []}}, outputs: {x: x}}}\nnodes: {a: {graph: g, in: "
                   "x, repeat: 9000000000}}\n");
    cr_assert(r.rc < 0 && strstr(r.report.last->text, "too large"));
    reading_done(&r);
}

Test(network_limits, deep_nesting_ends) {
    struct long_text text = {0};
    put(&text,
        "flow: 1\ninputs: {x: {shape: [B]}}\ngraphs:\n  g0: {inputs: {x: {shape: [B]}}, nodes: {y: {op: relu, in: x}}, outputs: {y: y}}\n");
    for (int i = 1; i < 200; i++)
        put(&text, "  g%d: {inputs: {x: {shape: [B]}}, nodes: {y: {graph: g%d, in: x}}, outputs: {y: y}}\n", i, i - 1);
    put(&text, "nodes: {a: {graph: g199, in: x}}\n");
    struct reading r = read_long(&text);
    cr_assert(r.rc < 0 && strstr(r.report.first->text, "nested more than"));
    reading_done(&r);
}

Test(network_limits, variables_that_grow_end) {
    for (int lists = 0; lists < 2; lists++) {
        struct long_text text = {0};
        put(&text, lists ? "flow: 1\nvars:\n  v0: [1, 1]\n" : "flow: 1\nvars:\n  v0: abcdefgh\n");
        for (int i = 1; i < 60; i++) put(&text, lists ? "  v%d: [\"${v%d}\", \"${v%d}\"]\n" : "  v%d: \"${v%d}${v%d}\"\n", i, i - 1, i - 1);
        struct reading r = read_long(&text);
        cr_assert(r.rc < 0 && r.report.count == 1);
        cr_assert(strstr(r.report.first->text, lists ? "too large" : "longer than"));
        reading_done(&r);
    }
    struct long_text text = {0};
    put(&text, "flow: 1\nvars:\n  v0: [1]\n");
    for (int i = 1; i < 200; i++) put(&text, "  v%d: [\"${v%d}\"]\n", i, i - 1);
    struct reading r = read_long(&text);
    cr_assert(r.rc < 0 && strstr(r.report.first->text, "nested"));
    reading_done(&r);
}

Test(network_limits, many_errors_cost_little, .timeout = 200) {
    struct long_text text = {0};
    put(&text, "flow: 1\nnodes:\n");
    for (int i = 0; i < 40000; i++)
        put(&text, "  a_rather_long_name_of_a_node_%07d: {op: relu, in: a_rather_long_name_of_a_nodf_%07d}\n", i, i);
    double start = seconds();
    struct reading r = read_long(&text);
    cr_assert(r.rc < 0 && r.report.count >= REPORT_MOST);
    cr_assert_lt(seconds() - start, 100);
    reading_done(&r);
}

Test(network_limits, long_chains_of_ties_and_outputs) {
    struct long_text text = {0};
    put(&text, "flow: 1\ninputs: {x: {shape: [B, 4]}}\nnodes:\n  n0: {op: linear, in: x, with: {units: 4}}\n");
    for (int i = 1; i < 20000; i++)
        put(&text,
            i % 2 ? "  n%d: {op: linear, in: x, with: {units: 4}, tie: n%d}\n"
                  : "  n%d: {op: linear, in: x, with: {units: 4}, tie: {weight: n%d.weight}}\n",
            i, i - 1);
    double start = seconds();
    struct reading r = read_long(&text);
    if (r.rc) reading_show(&r);
    cr_assert_eq(r.rc, 0);
    cr_assert_str_eq(node_of(r.network, "n19998")->ties[0].target, "n0.weight");
    cr_assert_lt(seconds() - start, 100);
    reading_done(&r);
}

/* ---- One graph with everything ---- */

static const char everything[] =
    "flow: 1\nname: all\ndoc: d\nvars: {width: 8, depth: 2, kernel: [5, 2], half: \"${width / 2}\", act: tanh}\n"
    "inputs:\n  x: {dtype: f32, shape: [B, T, \"${width}\"], doc: an input}\n  \"in${depth}\": {dtype: i64, shape: [B, T + 1]}\n"
    "graphs:\n  cell:\n    inputs: {x: {shape: [B, D]}, h: {dtype: f32, shape: [B, D]}, i: {dtype: i64, shape: []}}\n    nodes:\n"
    "      n: {graph: inner, in: x, repeat: 2}\n      s: {op: add, in: [n, h]}\n      y: {op: \"${act}\", in: s}\n      stop: {op: lt, in: "
    "y, with: {value: 1}}\n"
    "    outputs: {h: y, all: y, stop: stop}\n  inner:\n    vars: {units: 4, act: relu, twice: \"${2 * units}\"}\n"
    "    inputs: {x: {dtype: f32, shape: [N, D]}}\n    nodes:\n      fc: {op: linear, in: x, with: {units: \"${twice}\"}, init: {weight: "
    "zeros}}\n"
    "      re: {op: expand, in: fc, with: {shape: [N, \"2*D\", \"${twice}\"]}}\n      y: {op: \"${act}\", in: re}\n    outputs: {y: y}\n"
    "  unused: {inputs: {x: {shape: []}}, nodes: {y: {op: relu, in: x}}, outputs: {y: y}}\n"
    "nodes:\n  late: {op: relu, in: body}\n  body: {graph: inner, in: x, repeat: \"${depth}\", carry: {x: y}}\n"
    "  shared: {graph: inner, in: x, repeat: 3, share: true, with: {units: 2}}\n  same: {graph: inner, in: x, tie: body.0, repeat: 2}\n"
    "  one: {graph: inner, in: x, tie: {fc.weight: body.1.fc.weight}, init: {fc.bias: ones}}\n"
    "  roll: {graph: cell, in: {x: x, h: x}, loop: {over: {x: 1}, max: \"${depth}\", until: stop, carry: {h: h}, index: i, collect: {all: "
    "-1}}}\n"
    "  \"head${depth}\": {op: linear, in: roll.all, with: {units: 3}, tie: {weight: late, bias: roll.count}}\n"
    "  w: {op: linear, in: x, tie: {weight: roll.n.1.fc.weight}, with: {units: 3}}\n  w2: {op: linear, in: x, tie: {weight: w.weight}, "
    "with: {units: 3}}\n"
    "  a: {op: linear, in: body.0, with: {units: 3}}\n  b: {op: linear, in: a, with: {units: 3}, tie: a}\n"
    "  p: {op: parameters, with: {match: \"body.*\"}}\n  mem: {op: identity, state: {x: mem2, reset: run}, init: {x: ones}}\n"
    "  mem2: {op: einsum, in: [mem, p], with: {equation: \"${width}\"}}\noutputs: {y: head2, \"body.0.z\": body.0.y, count: roll.count}\n"
    "weights: {file: \"w${width}.safetensors\", rename: {\"a.*\": \"b.*\"}}\nseed: 7\nrun: {device: cpu, threads: \"${depth}\"}\n"
    "data: {d: {source: text, path: \"${act}.txt\", with: {window: 4, batch: all, split: [0, 0.5]}, feeds: {x: tokens}}, e: {source: "
    "graph, "
    "path: g.yaml, with: {n: [1, \"a b\"]}, rename: {\"a.*\": \"b.*\"}, reuse: {epochs: 2, batch: 4}}}\n"
    "train:\n  checkpoint: {dir: runs}\n  stages:\n    - foreach: {task: 2}\n      vars: {width: \"${2 * task + 4}\"}\n      stages:\n"
    "        - {name: one, data: d, loss: {late: 1, w: 0.5}, steps: 2, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.1}, loss: w}, "
    "{params: q, optimizer: assign, with: {value: w2}}], copy: [{from: \"a.*\", to: \"b.*\"}], reset: [a], validate: {name: v, foreach: "
    "{width: [6, 8]}, metrics: {m: a, g: {graph: unused, in: {x: late}}}}, early_stop: {metric: v.m, patience: 1}}\n"
    "        - {steps: 0}\n";

Test(network_limits, every_allocation_may_fail, .timeout = 300) {
    struct registry *registry = open_registry();
    const char *set[] = {"width=16", "kernel=[1]"};
    struct network_options options = {.set = set, .set_count = 2};
    bool whole = false;
    for (long at = 1; !whole; at++) {
        struct failing failing = FAILING_INIT;
        struct allocator from = failing_allocator(&failing);
        struct report report;
        struct network *network;
        failing.fail_at = at;
        report_init(&report, &from);
        int rc = network_read(&from, registry, "g.yaml", everything, strlen(everything), &options, &report, &network);
        whole = rc == 0;
        if (whole) cr_assert(network && report.count == 0 && failing.requests < at, "allocation %ld", at);
        else
            cr_assert(rc == FLOW_ERROR_MEMORY && !network && report.count > 0, "allocation %ld: %s", at,
                      report.first ? report.first->text : "");
        network_free(network);
        report_free(&report);
        cr_assert(failing.blocks == 0 && !failing.wrong_size, "allocation %ld: %ld blocks left", at, failing.blocks);
        cr_assert_lt(at, 100000);
    }
    registry_free(registry);
}

/* Errors need memory too. */
Test(network_limits, every_allocation_may_fail_while_complaining, .timeout = 300) {
    static const char wrong[] =
        "flow: 1\nvars: {a: 3}\ninputs: {x: {shape: [B]}}\nnodes:\n  a: {op: reul, in: y}\n  b: {op: relu, in: c}\n  c: {op: relu, in: b}\n"
        "  d: {op: linear, in: x, with: {units: \"${b}\", uints: 3}}\noutputs: {y: z}\n";
    struct registry *registry = open_registry();
    bool whole = false;
    for (long at = 1; !whole; at++) {
        struct failing failing = FAILING_INIT;
        struct allocator from = failing_allocator(&failing);
        struct report report;
        struct network *network;
        failing.fail_at = at;
        report_init(&report, &from);
        int rc = network_read(&from, registry, "g.yaml", wrong, strlen(wrong), NULL, &report, &network);
        whole = failing.requests < at;
        cr_assert(rc < 0 && report.count > 0, "allocation %ld", at);
        network_free(network);
        report_free(&report);
        cr_assert(failing.blocks == 0 && !failing.wrong_size, "allocation %ld: %ld blocks left", at, failing.blocks);
    }
    registry_free(registry);
}

/* Bytes changed, put in, taken out, parts doubled: never a crash, a leak or a network out of order. */
Test(network_limits, damaged_files, .timeout = 300) {
    struct registry *registry = open_registry();
    uint64_t random = 88172645463325252u;
    static const char likely[] = "{}[]:,&*!|>\"'#%@`- \n.${}x0";
    for (int turn = 0; turn < 3000; turn++) {
        size_t length = strlen(everything);
        char *text = malloc(2 * length + 64);
        memcpy(text, everything, length);
        for (int change = 0; change < 1 + turn % 6; change++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            size_t at = (size_t)(random % length);
            char byte = random >> 60 ? likely[(random >> 32) % (sizeof likely - 1)] : (char)(random >> 40);
            switch ((random >> 20) % 5) {
            case 0: length = at + 1; break;
            case 1: memmove(text + at, text + at + 1, length - at - 1), length--; break;
            case 2: memmove(text + at + 1, text + at, length - at), text[at] = byte, length++; break;
            default: text[at] = byte;
            }
        }
        struct report report;
        struct network *network;
        report_init(&report, &memory_default);
        int rc = network_read(&memory_default, registry, "g.yaml", text, length, NULL, &report, &network);
        cr_assert((rc == 0) == (report.count == 0));
        if (network) in_order(network);
        network_free(network);
        report_free(&report);
        free(text);
    }
    registry_free(registry);
}
