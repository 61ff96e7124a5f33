/* SPDX-License-Identifier: Apache-2.0 */
/* `train` and `data`: what comes out of right sections, what is said about wrong ones, what hostile ones cost. */
#include "graph/training.h"

#include "reading.h"

#include <glob.h>
#include <stdlib.h>
#include <time.h>

/* Seven lines; sections begin on line 8. */
#define G                                                                                                                                  \
    "flow: 1\n"                                                                                                                            \
    "inputs: {x: {shape: [B, 4]}, t: {shape: [B, 4]}, n: {dtype: i64, shape: []}, u: {shape: []}}\n"                                       \
    "graphs: {score: {inputs: {s: {shape: [N]}, l: {shape: [N]}}, nodes: {y: {op: mse, in: [s, l]}}, outputs: {y: y}}}\n"                  \
    "nodes: {fc: {op: linear, in: x, with: {units: 4}}, loss: {op: mse, in: {x: fc, target: t}}, aux: {op: mean, in: fc},\n"               \
    "  old: {op: linear, in: x, with: {units: 4}}, gap: {op: mse, in: {x: fc, target: old}}, row: {op: mean, in: x, with: {axes: [0]}}}\n" \
    "outputs: {y: fc}\n"                                                                                                                   \
    "seed: 1\n"
#define SGD "update: [{params: \"*\", optimizer: sgd, with: {lr: 0.1}}]"
#define D "data: {d: {source: text, path: a.txt, with: {window: 4}}, v: {source: text, path: b.txt, with: {window: 4}}}\n"

static bool is(const struct network *network, struct network_ref ref, const char *source) {
    char text[300];
    return strcmp(source_of(network, ref, text), source) == 0;
}

static const double *real_of(const struct training_update *update, const char *name) {
    const struct flow_attrs *rows = &update->optimizer->optimizer->attrs;
    for (uint32_t i = 0; i < rows->count; i++)
        if (strcmp(rows->at[i].name, name) == 0) return (const double *)((const char *)update->attrs + rows->at[i].offset);
    cr_assert(false, "no attribute %s", name);
    return NULL;
}

Test(training, defaults) {
    struct reading r = read_right(G "train: {loss: loss, steps: 3, " SGD "}\n");
    const struct training *t = r.network->training;
    cr_assert_str_empty(t->name);
    cr_assert(t->at.line == 8 && t->at.column == 8 && !t->stages && !t->stage_count);
    cr_assert(t->loss_count == 1 && is(r.network, t->losses[0].ref, "loss:0") && t->losses[0].weight == 1);
    cr_assert_str_eq(t->losses[0].name, "loss");
    cr_assert(t->losses[0].at.column == 15 && !t->data && t->steps == 3 && t->seconds == 0);
    cr_assert(t->schedule.kind == TRAINING_CONSTANT && t->schedule.warmup == 0 && t->schedule.final == 0 && t->schedule.factor == 0.1);
    cr_assert(t->clip_norm == 0 && !t->noise.given && t->noise.gamma == 0.55 && t->micro_batches == 1 && !t->keep_state);
    cr_assert(t->feed_step == -1 && t->feed_progress == -1 && !t->validate_count && !t->copy_count && !t->reset_count);
    cr_assert(!t->early_stop.metric && !t->checkpoint.dir && t->checkpoint.keep == 1 && !t->samples.file && !t->data_count && !t->missing);
    cr_assert_eq(t->update_count, 1);
    const struct training_update *u = &t->updates[0];
    cr_assert_str_eq(u->params, "*");
    cr_assert_str_eq(u->optimizer->optimizer->name, "sgd");
    cr_assert(*real_of(u, "lr") == 0.1 && *real_of(u, "momentum") == 0 && u->every == 1 && u->clip_norm == 0 && !u->centralize);
    cr_assert(!u->has_loss && u->value.node == NETWORK_NOTHING && !u->of && u->optimizer_at.line == 8);
    reading_done(&r);
    r = read_right(G);
    cr_assert_null(r.network->training);
    reading_done(&r);
    r = read_right(G D);
    cr_assert_null(r.network->training, "data alone is no training");
    reading_done(&r);
}

Test(training, every_key) {
    struct reading r = read_right(
        G D
        "train:\n"
        "  loss: {loss: 1, aux: -0.5}\n"
        "  data: d\n"
        "  seconds: 2.5\n"
        "  update:\n"
        "    - {params: \"fc.*\", optimizer: muon, with: {lr: 0.5, nesterov: false}, loss: aux, every: 2, clip_norm: 3, centralize: true}\n"
        "    - {params: old.weight, optimizer: average, with: {of: fc.weight, rate: 0.25}}\n"
        "    - {params: old.bias, optimizer: assign, with: {value: row}}\n"
        "  schedule: {kind: step, warmup: 5, every: 7, factor: 0.5, final: 0.1}\n"
        "  clip_norm: 1.5\n"
        "  noise: {eta: 0.3, gamma: 0.6, after_clip: true}\n"
        "  micro_batches: 4\n"
        "  keep_state: true\n"
        "  feeds: {step: n, progress: u}\n"
        "  validate: {name: test, data: v, every: 20, at: [start, end], state: keep, metrics: {l: loss, whole: {graph: score, in: {s: "
        "row, l: row.y}}}}\n"
        "  copy: [{from: \"fc.*\", to: \"old.*\"}, {from: fc.bias, to: old.bias}]\n"
        "  reset: [\"old.*\", fc.bias]\n"
        "  early_stop: {metric: test.l, best: max, patience: 10, restore: true}\n"
        "  checkpoint: {dir: runs/a, every: 200, keep: 3}\n"
        "  samples: {file: s.safetensors, every: 10, after: 100}\n");
    const struct network *n = r.network;
    const struct training *t = n->training;
    cr_assert(t->loss_count == 2 && is(n, t->losses[1].ref, "aux:0") && t->losses[1].weight == -0.5);
    cr_assert_str_eq(t->data, "d");
    cr_assert(t->data_at.line == 11 && t->steps == -1 && t->seconds == 2.5 && t->update_count == 3);
    const struct training_update *u = t->updates;
    cr_assert(*real_of(u, "lr") == 0.5 && u->has_loss && is(n, u->loss.ref, "aux:0") && u->every == 2 && u->clip_norm == 3 &&
              u->centralize);
    cr_assert(u->at.line == 14 && u->params_at.column == 16 && u->optimizer_at.column == 35);
    cr_assert_str_eq(u[1].of, "fc.weight");
    cr_assert(*real_of(&u[1], "rate") == 0.25 && u[1].of_at.line == 15 && is(n, u[2].value, "row:0"));
    cr_assert(t->schedule.kind == TRAINING_STEP && t->schedule.warmup == 5 && t->schedule.every == 7 && t->schedule.factor == 0.5);
    cr_assert(t->schedule.final == 0.1 && t->clip_norm == 1.5);
    cr_assert(t->noise.given && t->noise.eta == 0.3 && t->noise.gamma == 0.6 && t->noise.after_clip);
    cr_assert(t->micro_batches == 4 && t->keep_state && t->feed_step == 2 && t->feed_progress == 3);
    cr_assert_eq(t->validate_count, 1);
    const struct training_validate *v = t->validates;
    cr_assert_str_eq(v->name, "test");
    cr_assert_str_eq(v->data, "v");
    cr_assert(v->every == 20 && v->at_start && v->at_end && v->state == TRAINING_STATE_KEEP && v->metric_count == 2);
    cr_assert(is(n, v->metrics[0].ref, "loss:0") && !v->metrics[0].graph && v->metrics[1].ref.node == NETWORK_NOTHING);
    cr_assert_str_eq(v->metrics[1].graph, "score");
    cr_assert(v->metrics[1].pair_count == 2 && is(n, v->metrics[1].pairs[1].ref, "row:0"));
    cr_assert_str_eq(v->metrics[1].pairs[1].input, "l");
    cr_assert(t->copy_count == 2 && t->reset_count == 2 && strcmp(t->copies[0].to, "old.*") == 0 && strcmp(t->resets[1], "fc.bias") == 0);
    cr_assert_str_eq(t->early_stop.metric, "test.l");
    cr_assert(t->early_stop.largest && t->early_stop.restore && t->early_stop.patience == 10);
    cr_assert_str_eq(t->checkpoint.dir, "runs/a");
    cr_assert(t->checkpoint.every == 200 && t->checkpoint.keep == 3);
    cr_assert_str_eq(t->samples.file, "s.safetensors");
    cr_assert(t->samples.every == 10 && t->samples.after == 100);
    cr_assert(n->unused_count == 1 && strcmp(n->unused[0].name, "gap") == 0, "losses, values, metrics and copies use all others");
    reading_done(&r);
}

Test(training, short_forms) {
    struct reading r =
        read_right(G D "train: {loss: [loss, aux], steps: 0, schedule: cosine, checkpoint: runs/b, reset: \"*\", copy: {from: a, to: b},\n"
                       "  update: {params: \"*\", optimizer: adam}, clip_norm: null, validate: [{metrics: {l: loss}}, {name: v, every: "
                       "2, metrics: {l: aux}}]}\n");
    const struct training *t = r.network->training;
    cr_assert(t->loss_count == 2 && t->schedule.kind == TRAINING_COSINE && t->update_count == 1 && t->copy_count == 1 &&
              t->reset_count == 1);
    cr_assert_str_eq(t->checkpoint.dir, "runs/b");
    cr_assert(t->checkpoint.every == 0 && t->validate_count == 2 && !t->validates[0].data);
    cr_assert_str_eq(t->validates[0].name, "valid");
    cr_assert(t->validates[0].at_end && !t->validates[1].at_end && t->validates[0].state == TRAINING_STATE_COPY);
    reading_done(&r);
    r = read_right(G "train: {steps: 2, update: [{params: \"old.*\", optimizer: average, with: {of: \"fc.*\", rate: 1}}]}\n");
    cr_assert(r.network->training->loss_count == 0, "groups without a gradient need no loss");
    reading_done(&r);
}

Test(training, sources) {
    struct reading r = read_right(G "data:\n"
                                    "  d: {source: text, path: a.txt, with: {window: 8, unit: char, batch: 16, shuffle: true, keep_last: "
                                    "true, split: [0.1, 0.9], workers: 3, "
                                    "ahead: 5, rate: 1000, seed: 7}, feeds: {x: tokens, t: next}}\n"
                                    "  all: {source: idx, path: i, with: {batch: all}}\n"
                                    "  roll: {source: graph, path: roll.yaml, with: {n: 3, words: [a, \"b c\", \"5\"]}, weights: "
                                    "w.safetensors, rename: {\"p.*\": \"q.*\"}, "
                                    "lag: 1, reuse: {epochs: 4, batch: 256}, feeds: {x: y}}\n");
    cr_assert_null(r.network->training);
    reading_done(&r);
    r = read_right(
        G "data:\n"
          "  d: {source: text, path: a.txt, with: {window: 8, unit: char, batch: 16, shuffle: true, keep_last: true, split: [0.1, 0.9], "
          "workers: 3, ahead: 5, rate: 1000, seed: 7}, feeds: {x: tokens, t: next}}\n"
          "  all: {source: idx, path: i, with: {batch: all}}\n"
          "  roll: {source: graph, path: roll.yaml, with: {n: 3, words: [a, \"b c\", \"5\"]}, weights: w.safetensors, rename: {\"p.*\": "
          "\"q.*\"}, lag: 1, reuse: {epochs: 4, batch: 256}, feeds: {x: y}}\n"
          "train: {steps: 0}\n");
    const struct training *t = r.network->training;
    cr_assert_eq(t->data_count, 3);
    const struct training_data *d = t->datas;
    cr_assert_str_eq(d->name, "d");
    cr_assert_str_eq(d->source->source->name, "text");
    cr_assert_str_eq(d->path, "a.txt");
    cr_assert_str_eq(d->base, ".");
    cr_assert(d->attrs && d->batch == 16 && d->shuffle && d->keep_last && d->split_from == 0.1 && d->split_to == 0.9);
    cr_assert(d->workers == 3 && d->ahead == 5 && d->rate == 1000 && d->seeded && d->seed == 7 && d->feed_count == 2);
    cr_assert(d->feeds[0].input == 0 && d->feeds[1].input == 1 && strcmp(d->feeds[1].output, "next") == 0 && d->at.line == 9);
    cr_assert(d[1].batch == -1 && !d[1].shuffle && d[1].split_to == 1 && !d[1].seeded && d[1].ahead == 0);
    cr_assert(!d[2].source && d[2].var_count == 2 && d[2].rename_count == 1 && d[2].lag == 1);
    cr_assert(d[2].reuse_epochs == 4 && d[2].reuse_batch == 256 && strcmp(d[2].weights, "w.safetensors") == 0);
    cr_assert_str_eq(d[2].vars[0].value, "3");
    cr_assert_str_eq(d[2].vars[1].value, "[a, \"b c\", \"5\"]");
    reading_done(&r);
}

/* ---- Stages ---- */

#define STAGED                                                                                                                  \
    "flow: 1\nvars: {width: 4, half: \"${width / 2}\"}\ninputs: {x: {shape: [B, 4]}, t: {shape: [B, 4]}}\n"                     \
    "nodes:\n  \"fc${task}\": {op: linear, in: x, with: {units: \"${width}\"}}\n  loss: {op: mean, in: \"fc${task}\"}\n"        \
    "  h: {op: linear, in: x, with: {units: \"${half}\"}}\n  l2: {op: mean, in: h}\noutputs: {y: \"fc${task}\", l2: l2}\n"      \
    "data: {a: {source: text, path: \"${task}.txt\", with: {window: 4}}, b: {source: text, path: b, with: {window: 4}}}\n"      \
    "train:\n  data: a\n  clip_norm: 2\n  checkpoint: {dir: runs}\n  schedule: cosine\n  noise: {eta: 1}\n  micro_batches: 3\n" \
    "  stages:\n"                                                                                                               \
    "    - foreach: {task: [p, q]}\n      data: b\n      stages:\n"                                                             \
    "        - {name: \"learn-${task}\", vars: {width: 6}, loss: loss, steps: 3, " SGD "}\n"                                    \
    "        - {data: null, clip_norm: null, loss: \"fc${task}\", steps: \"${half}\", " SGD "}\n"                               \
    "    - {name: last, foreach: {k: 3}, vars: {width: \"${2 * k + 4}\", other: \"${half}\"}, loss: l2, steps: 1, " SGD "}\n"

static struct reading read_stage(const char *text, const size_t *stage, size_t depth, const struct training_var *vars, size_t var_count) {
    struct network_options options = {.vars = vars, .var_count = var_count, .stage = stage, .stage_depth = depth};
    struct reading r = read_with(text, &options);
    if (r.rc) reading_show(&r);
    cr_assert(r.rc == 0 && r.report.count == 0 && r.network->training);
    return r;
}

Test(training, stages_are_listed) {
    struct reading r = read_right(STAGED);
    const struct training *t = r.network->training;
    cr_assert(t->stage_count == 2 && !t->losses && !t->updates && t->data_count == 2);
    const struct training_entry *e = t->stages;
    cr_assert(e->nested && e->value_count == 2 && e->var_count == 0 && e->at.line == 19);
    cr_assert(strcmp(e->foreach, "task") == 0 && strcmp(e->values[1], "q") == 0);
    cr_assert(!e[1].nested && e[1].value_count == 3 && e[1].var_count == 2 && strcmp(e[1].values[2], "2") == 0);
    static const char *const widths[] = {"4", "6", "8"};
    for (size_t v = 0; v < 3; v++) {
        cr_assert_str_eq(e[1].vars[2 * v].name, "width");
        cr_assert_str_eq(e[1].vars[2 * v].value, widths[v]);
        cr_assert_str_eq(e[1].vars[2 * v + 1].value, "2");
    }
    node_of(r.network, "fcp"); /* a variable of stages alone has its first value where the graph is read for none */
    reading_done(&r);

    const char *set[] = {"task=other"};
    struct network_options options = {.set = set, .set_count = 1};
    r = read_with(STAGED, &options);
    cr_assert_eq(r.rc, 0);
    node_of(r.network, "fcother");
    reading_done(&r);
}

Test(training, one_stage) {
    static const size_t outer[] = {0}, learn[] = {0, 0}, second[] = {0, 1}, last[] = {1};
    const struct training_var q = {"task", "q"}, wide[] = {{"task", "q"}, {"width", "6"}},
                              k[] = {{"k", "2"}, {"width", "8"}, {"other", "2"}};
    struct reading r = read_stage(STAGED, outer, 1, &q, 1);
    cr_assert(r.network->training->stage_count == 2 && r.network->training->stages[0].var_count == 1);
    reading_done(&r);

    r = read_stage(STAGED, learn, 2, wide, 2);
    const struct training *t = r.network->training;
    cr_assert_str_eq(t->name, "learn-q");
    cr_assert(t->stage_count == 0 && is(r.network, t->losses[0].ref, "loss:0") && t->steps == 3);
    cr_assert(t->clip_norm == 2 && t->schedule.kind == TRAINING_COSINE && t->noise.eta == 1 && t->micro_batches == 3);
    cr_assert_str_eq(t->data, "b", "the nearest section that gives it");
    cr_assert_str_eq(t->checkpoint.dir, "runs");
    cr_assert_str_eq(t->datas[0].path, "q.txt");
    cr_assert_str_eq(document_get(node_of(r.network, "fcq")->with, "units")->text, "6");
    cr_assert_str_eq(document_get(node_of(r.network, "h")->with, "units")->text, "3", "what is made of a variable changes with it");
    reading_done(&r);

    r = read_stage(STAGED, second, 2, &q, 1);
    t = r.network->training;
    cr_assert_str_eq(t->name, "stage0.1");
    cr_assert(!t->data && t->clip_norm == 0 && t->steps == 2 && is(r.network, t->losses[0].ref, "fcq:0"));
    reading_done(&r);

    r = read_stage(STAGED, last, 1, k, 3);
    cr_assert_str_eq(document_get(node_of(r.network, "h")->with, "units")->text, "4");
    reading_done(&r);

    const char *set[] = {"width=10"};
    struct network_options options = {.set = set, .set_count = 1, .vars = wide, .var_count = 2, .stage = learn, .stage_depth = 2};
    r = read_with(STAGED, &options);
    cr_assert_eq(r.rc, 0);
    cr_assert_str_eq(document_get(node_of(r.network, "fcq")->with, "units")->text, "6", "a stage's variables win over --set");
    reading_done(&r);

    static const size_t none[] = {7};
    options = (struct network_options){.stage = none, .stage_depth = 1};
    r = read_with(STAGED, &options);
    cr_assert_eq(r.rc, FLOW_ERROR_USAGE);
    reading_done(&r);
}

/* Names that exist in a graph of other variables alone. */
#define VALIDATED                                                                                                                       \
    "flow: 1\nvars: {shown: 0}\ninputs: {x: {shape: [B, 4]}}\nnodes: {\"n${shown}\": {op: mean, in: x}, \"m${shown}\": {op: relu, in: " \
    "x}}\n"                                                                                                                             \
    "outputs: {y: \"n${shown}\"}\ntrain:\n  steps: 0\n  validate:\n"                                                                    \
    "    - {name: one, vars: {shown: 5}, metrics: {a: n5}}\n"                                                                           \
    "    - {name: \"each-${shown}\", foreach: {shown: [1, 2]}, metrics: {a: \"n${shown}\"}}\n"

Test(training, validations_with_variables) {
    struct reading r = read_right(VALIDATED);
    const struct training *t = r.network->training;
    cr_assert(t->validate_count == 2 && t->validates[0].entry.var_count == 1 && t->validates[1].entry.value_count == 2);
    cr_assert(t->validates[0].metrics[0].ref.node == NETWORK_NOTHING);
    cr_assert_str_eq(t->validates[1].name, "each-1");
    cr_assert(r.network->unused_count == 1 && strcmp(r.network->unused[0].name, "m0") == 0);
    reading_done(&r);
    const struct training_var five = {"shown", "5"}, two = {"shown", "2"};
    struct network_options options = {.vars = &five, .var_count = 1};
    r = read_with(VALIDATED, &options);
    cr_assert(r.rc == 0 && is(r.network, r.network->training->validates[0].metrics[0].ref, "n5:0"));
    reading_done(&r);
    options.vars = &two;
    r = read_with(VALIDATED, &options);
    cr_assert(r.rc == 0 && is(r.network, r.network->training->validates[1].metrics[0].ref, "n2:0"));
    cr_assert_str_eq(r.network->training->validates[1].name, "each-2");
    cr_assert(r.network->training->validates[1].name_varies && !r.network->training->validates[0].name_varies);
    reading_done(&r);
}

Test(training, what_is_not_installed) {
    static const char text[] =
        G "data: {d: {source: txet, with: {a: 1}}}\n"
          "train: {stages: [{loss: loss, data: d, steps: 1, update: [{params: \"*\", optimizer: adma, with: {b: 2}}]}]}\n";
    struct reading r = read_right(text);
    const struct training_missing *m = r.network->training->missing;
    cr_assert(m && m->next && !m->next->next, "each is told once");
    cr_assert(m->at.line == 8 && m->at.column == 20 && strstr(m->text, "unknown source 'txet'") && strstr(m->text, "text"));
    cr_assert(m->next->at.line == 9 && strstr(m->next->text, "unknown optimizer 'adma'") && strstr(m->next->text, "adam"));
    cr_assert(training_ready(r.network->training, &r.report) < 0 && r.report.count == 2);
    reading_done(&r);
    static const size_t first[] = {0};
    struct network_options options = {.stage = first, .stage_depth = 1};
    r = read_with(text, &options);
    cr_assert(r.rc < 0 && r.report.count == 2, "read for training it is an error");
    reading_done(&r);
}

/* ---- Errors ---- */

static const struct {
    const char *text;
    int32_t line, column;
    const char *words;
} wrong[] = {
    {G "train: 3\n", 8, 8, "'train' is a mapping"},
    {G "train: {los: loss, steps: 0}\n", 8, 9, "unknown key 'los' in 'train' (did you mean 'loss'?)"},
    {G "train: {name: a, steps: 0}\n", 8, 9, "unknown key 'name' in 'train'"},
    {G "train: {loss: lost, steps: 1, " SGD "}\n", 8, 15, "no node or input 'lost' (did you mean 'loss'?)"},
    {G "train: {loss: {loss.z: 1}, steps: 1, " SGD "}\n", 8, 16, "no output 'z'"},
    {G "train: {loss: {loss: x}, steps: 1, " SGD "}\n", 8, 22, "'loss' is a number, this is 'x'"},
    {G "train: {loss: [[loss]], steps: 1, " SGD "}\n", 8, 16, "a loss is a reference"},
    {G "train: {loss: loss, " SGD "}\n", 8, 8, "'train' needs 'steps' or 'seconds'"},
    {G "train: {loss: loss, steps: 1}\n", 8, 8, "'train' needs 'update'"},
    {G "train: {steps: 1, " SGD "}\n", 8, 53, "optimizer 'sgd' follows the gradient of a loss, and there is none"},
    {G "train: {loss: loss, steps: -1, " SGD "}\n", 8, 28, "'steps' is an integer of at least 0, this is '-1'"},
    {G "train: {loss: loss, steps: 1, seconds: 2, " SGD "}\n", 8, 40, "either 'steps' or 'seconds'"},
    {G "train: {loss: loss, seconds: 0, " SGD "}\n", 8, 30, "'seconds' is a number above 0"},
    {G "train: {loss: loss, seconds: .nan, " SGD "}\n", 8, 30, "'seconds' is a number of at least 0"},
    {G "train: {steps: 0, data: e}\n", 8, 25, "no 'e' stands under 'data'"},
    {G D "train: {steps: 0, data: vv}\n", 9, 25, "no 'vv' stands under 'data' (did you mean 'v'?)"},
    {G "train: {loss: loss, steps: 1, update: [{optimizer: sgd, with: {lr: 1}}]}\n", 8, 40, "needs 'params'"},
    {G "train: {loss: loss, steps: 1, update: [{params: \"*\"}]}\n", 8, 40, "needs 'optimizer'"},
    {G "train: {loss: loss, steps: 1, update: [{params: [a], optimizer: none}]}\n", 8, 49, "'params' is a text, this is a list"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: none, evry: 2}]}\n", 8, 69,
     "unknown key 'evry' in 'update' (did you mean 'every'?)"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: none, every: 0}]}\n", 8, 76, "'every' is an integer of at least 1"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: none, loss: aux}]}\n", 8, 75,
     "follows no gradient: 'loss' means nothing"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: sgd, with: {lr: 1}, loss: auxx}]}\n", 8, 89, "(did you mean 'aux'?)"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: sgd, with: {rl: 1}}]}\n", 8, 75,
     "optimizer 'sgd' has no attribute 'rl' (did you mean 'lr'?)"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: sgd}]}\n", 8, 63, "optimizer 'sgd' needs the attribute 'lr'"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: sgd, with: {lr: -1}}]}\n", 8, 79,
     "optimizer 'sgd': attribute 'lr' must be a real number of at least 0, found '-1'"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: sgd, with: {lr: [1]}}]}\n", 8, 79, "found a list"},
    {G "train: {loss: loss, steps: 1, update: [{params: a, optimizer: sgd, with: 3}]}\n", 8, 74, "'with' is a mapping"},
    {G "train: {steps: 1, update: [{params: a, optimizer: assign, with: {value: rwo}}]}\n", 8, 73,
     "no node or input 'rwo' (did you mean 'row'?)"},
    {G "train: {steps: 1, update: [{params: a, optimizer: assign}]}\n", 8, 51, "needs the attribute 'value'"},
    {G "train: {steps: 0, schedule: {kind: cosin}}\n", 8, 36,
     "'kind' is constant, linear, cosine, step or inverse_sqrt, this is 'cosin' (did you mean 'cosine'?)"},
    {G "train: {steps: 0, schedule: {kind: step}}\n", 8, 29, "needs 'every'"},
    {G "train: {steps: 0, schedule: {warmpu: 1}}\n", 8, 30, "unknown key 'warmpu' in 'schedule' (did you mean 'warmup'?)"},
    {G "train: {steps: 0, clip_norm: -1}\n", 8, 30, "'clip_norm' is a number of at least 0"},
    {G "train: {steps: 0, noise: {gamma: 1}}\n", 8, 26, "'noise' needs 'eta'"},
    {G "train: {steps: 0, noise: {eta: -1}}\n", 8, 32, "'eta' is a number of at least 0"},
    {G "train: {steps: 0, micro_batches: 0}\n", 8, 34, "'micro_batches' is an integer of at least 1"},
    {G "train: {steps: 0, keep_state: 1}\n", 8, 31, "'keep_state' is true or false"},
    {G "train: {steps: 0, feeds: {step: m}}\n", 8, 33, "the graph has no input 'm'"},
    {G "train: {steps: 0, feeds: {step: u}}\n", 8, 33, "'step' is a scalar of type i64: input 'u' has 0 axes and type f32"},
    {G "train: {steps: 0, feeds: {progress: x}}\n", 8, 37, "'progress' is a scalar of type f32: input 'x' has 2 axes"},
    {G "train: {steps: 0, feeds: {stp: n}}\n", 8, 27, "unknown key 'stp' in 'feeds' (did you mean 'step'?)"},
    {G "train: {steps: 0, validate: {every: 2}}\n", 8, 29, "'validate' needs 'metrics'"},
    {G "train: {steps: 0, validate: {metrics: {a: axu}}}\n", 8, 43, "(did you mean 'aux'?)"},
    {G "train: {steps: 0, validate: {data: d, metrics: {a: aux}}}\n", 8, 36, "no 'd' stands under 'data'"},
    {G "train: {steps: 0, validate: {at: middle, metrics: {a: aux}}}\n", 8, 34, "'at' is start or end, this is 'middle'"},
    {G "train: {steps: 0, validate: {state: kep, metrics: {a: aux}}}\n", 8, 37,
     "'state' is copy, read or keep, this is 'kep' (did you mean 'keep'?)"},
    {G "train: {steps: 0, validate: {metrics: {a: {graph: scor, in: {}}}}}\n", 8, 51,
     "no subgraph 'scor' stands under 'graphs' (did you mean 'score'?)"},
    {G "train: {steps: 0, validate: {metrics: {a: {graph: score, in: {s: row, m: row}}}}}\n", 8, 71, "subgraph 'score' has no input 'm'"},
    {G "train: {steps: 0, validate: {metrics: {a: {graph: score, in: {s: row}}}}}\n", 8, 62, "subgraph 'score' needs the input 'l'"},
    {G "train: {steps: 0, validate: {metrics: {a: {graph: score, in: {s: rwo, l: row}}}}}\n", 8, 66, "(did you mean 'row'?)"},
    {G "train: {steps: 0, validate: {vars: {fc: 1}, foreach: {a: 2, b: 3}, metrics: {a: aux}}}\n", 8, 54,
     "'foreach' is a mapping of one variable"},
    {G "train: {steps: 0, copy: [{from: a}]}\n", 8, 26, "'copy' needs both 'from' and 'to'"},
    {G "train: {steps: 0, copy: [{from: \"a.*\", to: b}]}\n", 8, 26, "one '*' each"},
    {G "train: {steps: 0, reset: {a: b}}\n", 8, 26, "'reset' is a text, this is a mapping"},
    {G "train: {steps: 0, early_stop: {metric: valid.a, patience: 1}}\n", 8, 40, "no 'validate' measures 'valid.a'"},
    {G "train: {steps: 0, validate: {metrics: {ab: aux}}, early_stop: {metric: valid.ac, patience: 1}}\n", 8, 72,
     "(did you mean 'valid.ab'?)"},
    {G "train: {steps: 0, validate: {metrics: {a: aux}}, early_stop: {metric: \"valid[1].a\", patience: 1}}\n", 8, 71,
     "no 'validate' measures"},
    {G "train: {steps: 0, validate: {metrics: {a: aux}}, early_stop: {metric: valid.a}}\n", 8, 62, "'early_stop' needs 'patience'"},
    {G "train: {steps: 0, checkpoint: {every: 2}}\n", 8, 31, "'checkpoint' needs 'dir'"},
    {G "train: {steps: 0, checkpoint: {dir: a, keep: 0}}\n", 8, 46, "'keep' is an integer of at least 1"},
    {G "train: {steps: 0, samples: {every: 2}}\n", 8, 28, "'samples' needs 'file'"},
    {G "train: {stages: 3}\n", 8, 17, "'stages' is a list"},
    {G "train: {stages: []}\n", 8, 17, "'stages' is a list"},
    {G "train: {stages: [3]}\n", 8, 18, "a stage is a mapping"},
    {G "train: {loss: loss, stages: [{steps: 0}]}\n", 8, 15, "'loss' does not stand beside 'stages'"},
    {G "train: {stages: [{steps: 0}, {lost: a, steps: 0}]}\n", 8, 31, "unknown key 'lost' in a stage (did you mean 'loss'?)"},
    {G "train: {stages: [{stages: [{steps: 0}, {steps: 0, data: d}]}]}\n", 8, 57, "no 'd' stands under 'data'"},
    {G "train: {stages: [{foreach: {i: 2}, loss: \"l${i}\", steps: 1, " SGD "}]}\n", 8, 42, "no node or input 'l0'"},
    {G "train: {stages: [{foreach: {i: 2}, loss: \"l${j}\", steps: 1, " SGD "}]}\n", 8, 42, "unknown variable 'j'"},
    {G "train: {stages: [{foreach: {i: a}, steps: 0}]}\n", 8, 32, "'foreach' gives a variable a number of values"},
    {G "train: {stages: [{foreach: {i: -1}, steps: 0}]}\n", 8, 32, "'foreach' gives a variable a number of values"},
    {G "train: {stages: [{foreach: {i: 100001}, steps: 0}]}\n", 8, 32, "100000 are the most"},
    {G "train: {stages: [{foreach: {\"a b\": 1}, steps: 0}]}\n", 8, 29, "cannot name a variable"},
    {G "train: {stages: [{foreach: {i: [{a: 1}]}, steps: 0}]}\n", 8, 33, "this is a mapping"},
    {G "train: {stages: [{foreach: {i: 2}, vars: {i: 1}, steps: 0}]}\n", 8, 43, "is the variable of 'foreach' already"},
    {G "train: {stages: [{vars: [1], steps: 0}]}\n", 8, 25, "'vars' is a mapping"},
    {G "data: 3\n", 8, 7, "'data' is a mapping"},
    {G "data: {d: 3}\n", 8, 11, "an entry of 'data' is a mapping"},
    {G "data: {d: {path: a}}\n", 8, 8, "data 'd' needs 'source'"},
    {G "data: {d: {source: text, fed: 1, with: {window: 4}}}\n", 8, 26, "unknown key 'fed' in 'data'"},
    {G "data: {d: {source: text}}\n", 8, 20, "source 'text' needs the attribute 'window'"},
    {G "data: {d: {source: text, with: {window: 4, bacth: 3}}}\n", 8, 44, "source 'text' has no attribute 'bacth' (did you mean 'batch'?)"},
    {G "data: {d: {source: text, with: {window: 0}}}\n", 8, 41, "source 'text': attribute 'window' must be an integer between 1"},
    {G "data: {d: {source: text, with: {window: 4, unit: line}}}\n", 8, 50, "must be one of byte|char|word"},
    {G "data: {d: {source: text, with: {window: 4, batch: 0}}}\n", 8, 51, "'batch' is an integer of at least 1"},
    {G "data: {d: {source: text, with: {window: 4, split: [0.5, 0.2]}}}\n", 8, 51, "'split' is a share of the rows"},
    {G "data: {d: {source: text, with: {window: 4, ahead: 99999}}}\n", 8, 51, "'ahead' is at most 1024"},
    {G "data: {d: {source: text, with: {window: 4}, feeds: {y: tokens}}}\n", 8, 53, "the graph has no input 'y'"},
    {G "data: {d: {source: text, with: {window: 4}, feeds: {x: [a]}}}\n", 8, 56, "'x' is a text, this is a list"},
    {G "data: {d: {source: text, with: {window: 4}, lag: 1}}\n", 8, 50, "'lag' is for `source: graph`"},
    {G "data: {d: {source: graph}}\n", 8, 8, "the source 'graph' needs 'path'"},
    {G "data: {d: {source: graph, path: a, lag: 2}}\n", 8, 41, "'lag' is at most 1"},
    {G "data: {d: {source: graph, path: a, reuse: {epochs: 2}}}\n", 8, 43, "'reuse' needs 'batch'"},
};

Test(training, errors_one_by_one, .timeout = 120) {
    int failed = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct reading r = read_graph(wrong[i].text);
        const struct report_message *m = r.report.first;
        bool right = r.rc < 0 && r.report.count == 1 && m->at.line == wrong[i].line && m->at.column == wrong[i].column &&
                     strstr(m->text, wrong[i].words) && strcmp(m->at.file, "g.yaml") == 0;
        if (!right) {
            fprintf(stderr, "%s\nexpected one error at %d:%d with '%s', found %d:\n", wrong[i].text + sizeof G - 1, wrong[i].line,
                    wrong[i].column, wrong[i].words, r.report.count);
            reading_show(&r);
        }
        failed += !right;
        /* Where there is a graph, it can be looked at further; a training is there where the file has one. */
        if (r.network && strstr(wrong[i].text, "train:")) cr_assert_not_null(r.network->training);
        reading_done(&r);
    }
    cr_assert_eq(failed, 0);
}

Test(training, errors_of_all_stages_at_once) {
    struct reading r =
        read_graph(G "train:\n  schedule: {kind: wave}\n  stages:\n    - {loss: a1, steps: 1, " SGD "}\n    - foreach: {k: 3}\n"
                     "      stages:\n        - {loss: a2, steps: 1, " SGD "}\n        - {steps: x, validate: {metrics: {m: a3}}}\n"
                     "    - {vars: {w: 1}, loss: a4, steps: 1, " SGD "}\n");
    static const int32_t lines[] = {9, 11, 14, 15, 15, 16};
    cr_assert_eq(r.report.count, 6, "%d errors", r.report.count);
    int32_t seen[20] = {0};
    for (const struct report_message *m = r.report.first; m; m = m->next) seen[m->at.line]++;
    for (size_t i = 0; i < 6; i++) seen[lines[i]]--;
    for (size_t i = 0; i < 20; i++) cr_assert_eq(seen[i], 0, "line %zu", i);
    reading_done(&r);
}

/* ---- Recorded trainings ---- */

Test(training, recorded_cases, .timeout = 120) {
    glob_t cases;
    struct registry *registry = open_registry();
    size_t read = 0, missing = 0;
    cr_assert(glob(SOURCE_DIR "/tests/golden/cases/*/*.yaml", 0, NULL, &cases) == 0);
    for (size_t i = 0; i < cases.gl_pathc; i++) {
        struct report report;
        struct network *network;
        report_init(&report, &memory_default);
        int rc = network_read(&memory_default, registry, cases.gl_pathv[i], NULL, 0, NULL, &report, &network);
        cr_assert(rc == 0, "%s: %s", cases.gl_pathv[i], report.first ? report.first->text : "");
        const struct training *t = network->training;
        if (t) {
            read++, missing += t->missing != NULL;
            cr_assert(t->stage_count > 0 || (t->steps > 0 && t->update_count > 0), "%s", cases.gl_pathv[i]);
            for (size_t s = 0; s < t->stage_count; s++) cr_assert(t->stages[s].nested || t->stages[s].at.line > 0);
            if (t->missing) cr_assert(strstr(t->missing->text, "'hmc'"), "%s: %s", cases.gl_pathv[i], t->missing->text);
        }
        network_free(network);
        report_free(&report);
    }
    cr_assert(read >= 30 && missing * 4 < read, "%zu trainings, %zu lack something", read, missing);
    globfree(&cases);
    registry_free(registry);
}

/* ---- Hostile sections ---- */

static double seconds_of(const char *text, int32_t *errors) {
    clock_t start = clock();
    struct reading r = read_graph(text);
    *errors = r.report.count;
    cr_assert((r.rc < 0) == (r.report.count > 0));
    reading_done(&r);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

Test(training, many_and_deep, .timeout = 300) {
    char *text = malloc(1 << 22);
    int32_t errors;
    cr_assert(seconds_of(G "train: {stages: [{foreach: {i: 100000}, vars: {j: \"${i + 1}\"}, steps: 0}]}\n", &errors) < 20 && errors == 0);
    cr_assert(seconds_of(G "train: {stages: [{foreach: {i: 9223372036854775807}, steps: 0}]}\n", &errors) < 5 && errors == 1);
    /* nested as deep as YAML may be */
    size_t length = (size_t)sprintf(text, G "train: ");
    for (int i = 0; i < 26; i++) length += (size_t)sprintf(text + length, "{stages: [");
    length += (size_t)sprintf(text + length, "{steps: 0}");
    for (int i = 0; i < 26; i++) length += (size_t)sprintf(text + length, "]}");
    sprintf(text + length, "\n");
    cr_assert(seconds_of(text, &errors) < 5);
    cr_assert_eq(errors, 0);
    /* each level holds the next ten times over, each with its own 100 values */
    length = (size_t)sprintf(text, G "data:\n  s0: &s0 {steps: 0, feeds: {}}\n");
    for (int i = 1; i < 20; i++) {
        length += (size_t)sprintf(text + length, "  s%d: &s%d {foreach: {i%d: 100}, stages: [", i, i, i);
        for (int k = 0; k < 10; k++) length += (size_t)sprintf(text + length, "%s*s%d", k ? ", " : "", i - 1);
        length += (size_t)sprintf(text + length, "]}\n");
    }
    sprintf(text + length, "train: *s19\n");
    cr_assert(seconds_of(text, &errors) < 60);
    cr_assert(errors > 0);
    /* many stages, each a graph of its own */
    length = (size_t)sprintf(
        text, "flow: 1\nvars: {n: 1}\ninputs: {x: {shape: [4]}}\ngraphs: {g: {inputs: {x: {shape: [4]}}, nodes: {y: {op: relu, in: x}}, "
              "outputs: {y: y}}}\nnodes: {a: {graph: g, in: x, repeat: \"${n}\"}}\noutputs: {y: a}\ntrain:\n  stages:\n");
    for (int i = 0; i < 3000; i++) length += (size_t)sprintf(text + length, "    - {vars: {n: %d}, steps: 0}\n", 2000 + i);
    cr_assert(seconds_of(text, &errors) < 60);
    cr_assert_eq(errors, 0, "what it would cost to look at all of them is not spent");
    free(text);
}

static const char *const sections[] = {
    STAGED,
    VALIDATED,
    G D
    "train:\n  loss: {loss: 1, aux: -0.5}\n  data: d\n  seconds: 2.5\n  update:\n"
    "    - {params: \"fc.*\", optimizer: muon, with: {lr: 0.5}, loss: aux, every: 2, clip_norm: 3, centralize: true}\n"
    "    - {params: old.weight, optimizer: average, with: {of: fc.weight, rate: 0.25}}\n"
    "    - {params: old.bias, optimizer: assign, with: {value: row}}\n"
    "  schedule: {kind: step, warmup: 5, every: 7, factor: 0.5}\n  noise: {eta: 0.3, gamma: 0.6, after_clip: true}\n  micro_batches: 4\n"
    "  feeds: {step: n, progress: u}\n  validate: {name: test, data: v, every: 20, at: [start, end], state: keep, metrics: {l: loss, "
    "whole: "
    "{graph: score, in: {s: row, l: row.y}}}}\n  copy: [{from: \"fc.*\", to: \"old.*\"}]\n  reset: [\"old.*\"]\n"
    "  early_stop: {metric: test.l, best: max, patience: 10, restore: true}\n  checkpoint: {dir: runs/a, every: 200, keep: 3}\n"
    "  samples: {file: s, every: 10, after: 100}\n",
    G "data:\n  d: {source: text, path: a.txt, with: {window: 8, unit: char, batch: 16, shuffle: true, split: [0.1, 0.9], rate: 1000}, "
      "feeds: {x: "
      "tokens}}\n  roll: {source: graph, path: r, with: {n: 3, words: [a, \"b c\"]}, rename: {\"p.*\": \"q.*\"}, lag: 1, reuse: {epochs: "
      "4, batch: "
      "256}, feeds: {x: y}}\n",
};

/* Bytes changed, put in, taken out: never a crash, a leak, or a failure that nothing is said about. */
Test(training, damaged_sections, .timeout = 300) {
    static const char likely[] = "{}[]:,&*!|>\"'#%@`- \n.${}x0";
    struct registry *registry = open_registry();
    uint64_t random = 88172645463325252u;
    for (int turn = 0; turn < 2000; turn++) {
        const char *from = sections[(size_t)turn % (sizeof sections / sizeof *sections)];
        size_t length = strlen(from), start = (size_t)(strstr(from, "data:") ? strstr(from, "data:") - from : 200);
        char *text = malloc(length + 64);
        memcpy(text, from, length);
        for (int change = 0; change < 1 + turn % 4; change++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            size_t at = start + (size_t)(random % (length - start));
            char byte = random >> 60 ? likely[(random >> 32) % (sizeof likely - 1)] : (char)(random >> 40);
            switch ((random >> 20) % 4) {
            case 0: memmove(text + at, text + at + 1, length - at - 1), length--; break;
            case 1: memmove(text + at + 1, text + at, length - at), text[at] = byte, length++; break;
            default: text[at] = byte;
            }
        }
        struct report report;
        struct network *network;
        report_init(&report, &memory_default);
        int rc = network_read(&memory_default, registry, "g.yaml", text, length, NULL, &report, &network);
        cr_assert((rc < 0) == (report.count > 0), "turn %d: code %d, %d messages\n%.*s", turn, rc, report.count, (int)length, text);
        network_free(network);
        report_free(&report);
        free(text);
    }
    registry_free(registry);
}

/* ---- What nothing uses ---- */

Test(training, unused_names) {
    struct reading r =
        read_right("flow: 1\ninputs: {x: {shape: [B, 4]}}\ngraphs:\n  g: {inputs: {x: {shape: [B, 4]}}, nodes: {y: {op: relu, in: x}, z: "
                   "{op: tanh, in: x}, w: "
                   "{op: tanh, in: z}}, outputs: {y: y, z: z}}\n  lib: {inputs: {x: {shape: [B, 4]}}, nodes: {y: {op: relu, in: x}}, "
                   "outputs: {y: y}}\n"
                   "nodes:\n  a: {graph: g, in: x, repeat: 2}\n  b: {op: relu, in: a}\n  idle: {graph: g, in: x}\n  held: {op: linear, in: "
                   "x, with: {units: 4}}\n"
                   "  uses: {op: linear, in: x, with: {units: 4}, tie: held}\n  p: {op: parameters, with: {match: \"kept.*\"}}\n  kept: "
                   "{op: linear, in: x, with: "
                   "{units: 4}}\n  mem: {op: identity, state: {x: next}}\n  next: {op: relu, in: x}\n  m: {op: mean, in: mem}\n"
                   "outputs: {y: b, u: uses, p: p}\ntrain: {steps: 0, validate: {metrics: {m: m}}}\n");
    const struct network *n = r.network;
    cr_assert_eq(n->unused_count, 3, "%zu", n->unused_count);
    cr_assert(strcmp(n->unused[0].name, "idle") == 0 && !n->unused[0].graph && n->unused[0].at.line == 9);
    cr_assert(strcmp(n->unused[1].name, "a.0.w") == 0 && n->unused[1].at.line == 4, "%s", n->unused[1].name);
    cr_assert(strcmp(n->unused[2].name, "lib") == 0 && n->unused[2].graph && n->unused[2].at.line == 5);
    reading_done(&r);
}
