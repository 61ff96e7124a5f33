/* SPDX-License-Identifier: Apache-2.0 */
/* What `check` and flow_graph_training say about a graph that learns. */
#include "graph/document.h"
#include "harness/trial.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const char graph_text[] =
    "flow: 1\nvars: {units: 4}\ninputs: {x: {shape: [B, 4]}, t: {shape: [B, \"${units}\"]}}\n"
    "nodes:\n  a: {op: linear, in: x, with: {units: \"${units}\"}}\n  b: {op: linear, in: a, with: {units: \"${units}\"}}\n"
    "  norm: {op: batch_norm, in: b}\n  c: {op: linear, in: norm, with: {units: \"${units}\"}}\n  loss: {op: mse, in: {x: c, target: t}}\n"
    "  idle: {op: relu, in: x}\noutputs: {y: c}\n"
    "data: {d: {source: text, path: a.txt, with: {window: 4, batch: all, shuffle: true}}}\n"
    "train:\n  schedule: {kind: cosine, warmup: 2}\n  stages:\n"
    "    - {name: small, loss: {loss: 0.5}, steps: 3, update: [{params: \"a.*\", optimizer: sgd, with: {lr: 0.1}}, {params: \"*.bias\", "
    "optimizer: "
    "none}]}\n"
    "    - {name: wide, foreach: {units: [5, 6]}, loss: loss, seconds: 1.5, update: [{params: \"*\", optimizer: adam, loss: loss, every: "
    "2}],\n"
    "       validate: {every: 2, metrics: {m: loss}}}\n";

struct told {
    flow_runtime *runtime;
    flow_graph *graph;
    struct arena arena;
    struct report report;
    char *text;
};

static void open_graph(struct told *told, const char *text) {
    struct flow_runtime_options options = {.size = sizeof options, .plugin_path = BUILD_DIR "/plugins"};
    flow_errors *errors = NULL;
    *told = (struct told){0};
    cr_assert(flow_runtime_new(&options, NULL, &told->runtime) == 0);
    int rc = flow_graph_parse(told->runtime, "test.yaml", text, strlen(text), NULL, &errors, &told->graph);
    trial_show(errors);
    cr_assert_eq(rc, 0);
    arena_init(&told->arena, &memory_default);
    report_init(&told->report, &memory_default);
}

static void close_graph(struct told *told) {
    flow_text_free(told->text);
    flow_graph_free(told->graph);
    flow_runtime_free(told->runtime);
    report_free(&told->report);
    arena_free(&told->arena);
}

/* JSON is YAML. */
static const struct document *parse(struct told *told) {
    const struct document *root = document_read(&told->arena, "json", told->text, strlen(told->text), &told->report);
    cr_assert(root != NULL, "%s\n%s", told->report.first ? told->report.first->text : "", told->text);
    return root;
}

static const struct document *at(const struct document *from, const char *key) {
    const struct document *value = document_get(from, key);
    cr_assert(value != NULL, "no '%s'", key);
    return value;
}

static void names(const struct document *list, const char *expected) {
    char all[400] = "";
    for (size_t i = 0; i < list->count; i++) strcat(strcat(all, list->values[i]->text), " ");
    cr_assert_str_eq(all, expected);
}

static void check_stages(const struct document *training) {
    const struct document *stages = at(training, "stages");
    cr_assert_eq(stages->count, 2);
    const struct document *small = stages->values[0], *wide = stages->values[1];
    cr_assert_str_eq(at(small, "name")->text, "small");
    cr_assert_str_eq(at(small, "steps")->text, "3");
    cr_assert_str_eq(at(at(small, "losses")->values[0], "weight")->text, "0.5");
    cr_assert_str_eq(at(at(small, "schedule"), "kind")->text, "cosine");
    const struct document *groups = at(small, "updates");
    cr_assert_eq(groups->count, 2);
    names(at(groups->values[0], "owns"), "a.bias a.weight ");
    names(at(groups->values[1], "owns"), "b.bias c.bias norm.bias ");
    names(at(small, "frozen"), "b.weight c.weight norm.weight ");
    cr_assert_str_eq(at(at(groups->values[0], "with"), "lr")->text, "0.1");
    cr_assert_str_eq(at(at(wide, "foreach")->values[0], "count")->text, "2");
    cr_assert_str_eq(at(at(wide, "foreach")->values[0], "variable")->text, "units");
    cr_assert_str_eq(at(wide, "seconds")->text, "1.5");
    cr_assert_eq(at(wide, "frozen")->count, 0, "statistics are not trained, so they are not frozen either");
    cr_assert_str_eq(at(at(wide, "updates")->values[0], "every")->text, "2");
    cr_assert_str_eq(at(at(wide, "validate")->values[0], "name")->text, "valid");
    const struct document *data = at(at(training, "data"), "d");
    cr_assert_str_eq(at(data, "batch")->text, "all");
    cr_assert_str_eq(at(at(data, "with"), "window")->text, "4");
}

Test(training_told, settings_as_json) {
    struct told told;
    open_graph(&told, graph_text);
    cr_assert_eq(flow_graph_training(told.graph, NULL, &told.text), 0);
    check_stages(parse(&told));
    close_graph(&told);
    open_graph(&told, "flow: 1\ninputs: {x: {shape: [B]}}\nnodes: {y: {op: relu, in: x}}\noutputs: {y: y}\n");
    cr_assert(flow_graph_training(told.graph, NULL, &told.text) == 0 && told.text == NULL);
    close_graph(&told);
}

Test(training_told, check_says_who_owns_what) {
    struct told told;
    struct flow_describe_options options = {.size = sizeof options, .json = true};
    open_graph(&told, graph_text);
    cr_assert_eq(flow_graph_check(told.graph, NULL, NULL), 0);
    cr_assert_eq(flow_graph_describe(told.graph, &options, NULL, &told.text), 0);
    const struct document *root = parse(&told), *unused = at(root, "unused");
    check_stages(at(root, "training"));
    cr_assert_eq(unused->count, 1);
    cr_assert_str_eq(at(unused->values[0], "node")->text, "idle");
    flow_text_free(told.text);
    options.json = false;
    cr_assert_eq(flow_graph_describe(told.graph, &options, NULL, &told.text), 0);
    static const char *const lines[] = {"unused: node idle, line 10\n",
                                        "train small: 3 steps, loss 0.5 * loss, schedule cosine (warmup 2)\n",
                                        "  update  a.*: sgd (lr 0.1, momentum 0, nesterov false, weight_decay 0): a.bias, a.weight\n",
                                        "  update  *.bias: none: b.bias, c.bias, norm.bias\n",
                                        "  frozen (no group owns them): b.weight, c.weight, norm.weight\n",
                                        "train wide: for each of 2 units: 1.5 seconds, loss loss",
                                        "  validate valid: m, every 2 steps\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) cr_assert(strstr(told.text, lines[i]), "no '%s' in\n%s", lines[i], told.text);
    close_graph(&told);
}

Test(training_told, what_is_missing_is_an_error_of_check_alone) {
    struct told told;
    flow_errors *errors = NULL;
    open_graph(
        &told,
        "flow: 1\ninputs: {x: {shape: [4]}}\nnodes: {w: {op: parameter, with: {shape: [4]}}, y: {op: mse, in: [x, w]}}\noutputs: {y: y}\n"
        "train: {loss: y, steps: 1, update: [{params: \"*\", optimizer: smd}]}\n");
    flow_session *session = NULL;
    cr_assert_eq(flow_session_new(told.graph, NULL, NULL, &session), 0);
    flow_session_free(session);
    cr_assert(flow_graph_check(told.graph, NULL, &errors) == FLOW_ERROR_GRAPH && flow_errors_count(errors) == 1);
    cr_assert_str_eq(flow_errors_get(errors, 0).text, "unknown optimizer 'smd' (did you mean 'sgd'?)");
    cr_assert_eq(flow_errors_get(errors, 0).line, 5);
    flow_errors_free(errors);
    errors = NULL;
    cr_assert(flow_graph_training(told.graph, &errors, &told.text) < 0 && !told.text);
    flow_errors_free(errors);
    close_graph(&told);
}
