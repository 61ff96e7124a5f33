/* SPDX-License-Identifier: Apache-2.0 */
/* Learning in stages: tasks in turn, teacher and student, graphs as sources; validation, early stopping, samples; what is kept from batch
 * to batch. */
#include "train/trainer_test.h"

TestSuite(stages, .init = folder_make, .fini = folder_remove);

/* ---- Tasks in turn ---- */

/* Five tasks, each a data set of its own; after each all five are looked at. `anchor` keeps what was learnt before. */
static const char tasks[] =
    "flow: 1\nvars: {task: 0, steps: 6}\n"
    "inputs: {x: {dtype: f32, shape: [B, 4]}, label: {dtype: i64, shape: [B]}}\n"
    "nodes:\n"
    "  body: {op: linear, in: x, with: {units: 8}}\n"
    "  a: {op: relu, in: body}\n"
    "  \"head${task}\": {op: linear, in: a, with: {units: 3}}\n"
    "  fit: {op: cross_entropy, in: {logits: \"head${task}\", target: label}}\n"
    "  right: {op: accuracy, in: {logits: \"head${task}\", target: label}}\n"
    "  now: {op: parameter, tie: {weight: body.weight}}\n"
    "  old: {op: parameter, with: {shape: [8, 4]}}\n"
    "  fixed: {op: stop_gradient, in: old}\n"
    "  anchor: {op: mse, in: {x: now, target: fixed}}\n"
    "outputs: {right: right}\n"
    "data:\n"
    "  train: {source: tensors, path: \"task${task}.safetensors\", with: {tensors: \"x label\", batch: 8, shuffle: true}, feeds: {x: x, "
    "label: label}}\n"
    "  test: {source: tensors, path: \"task${task}.safetensors\", with: {tensors: \"x label\", batch: 16}, feeds: {x: x, label: label}}\n"
    "train:\n"
    "  stages:\n"
    "    - foreach: {task: 5}\n"
    "      stages:\n"
    "        - {name: keep, steps: 0, copy: [{from: body.weight, to: old.weight}], update: [{params: \"*\", optimizer: none}]}\n"
    "        - name: learn\n"
    "          loss: {fit: 1, anchor: 0.5}\n"
    "          data: train\n"
    "          steps: \"${steps}\"\n"
    "          reset: [\"head${task}.*\"]\n"
    "          keep_state: true\n"
    "          update: [{params: \"old.*\", optimizer: none}, {params: \"*\", optimizer: adam, with: {lr: 0.02}}]\n"
    "          validate: [{name: seen, foreach: {task: 5}, data: test, metrics: {right: right, fit: fit}}]\n"
    "          checkpoint: {dir: \"${dir}\", every: 4, keep: 3}\n";

static void put_tasks(void) {
    for (int t = 0; t < 5; t++) {
        char name[32];
        snprintf(name, sizeof name, "task%d.safetensors", t);
        put_data(name, 37, (uint64_t)(1000 * t));
    }
}

/* The texts name a folder for checkpoints. */
static const char *with_dir(const char *text) {
    static char made[8192];
    const char *at = strstr(text, "${dir}");
    if (!at) return text;
    snprintf(made, sizeof made, "%.*s%s/runs%s", (int)(at - text), text, folder, at + strlen("${dir}"));
    return made;
}

Test(stages, five_tasks) {
    struct training_run run, again;
    put_tasks();
    RUN(&run, with_dir(tasks), 0);
    cr_assert_eq(run_events(&run, FLOW_EVENT_STAGE, NULL), 10);
    cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), 30);
    cr_assert_eq(run_events(&run, FLOW_EVENT_VALIDATION, NULL), 25);
    cr_assert_str_eq(run_event(&run, FLOW_EVENT_STAGE, NULL, 7)->stage, "learn[task=3]");
    const struct happened *last = run_event(&run, FLOW_EVENT_VALIDATION, NULL, 24);
    cr_assert_str_eq(last->stage, "learn[task=4]");
    cr_assert_str_eq(last->name, "seen[4]");
    /* A head is learnt in its own stage alone. */
    for (size_t v = 0; v < 5; v++) cr_assert(!isnan(run_metric(run_event(&run, FLOW_EVENT_VALIDATION, NULL, 20 + v), "right", 0)));
    for (int t = 0; t < 5; t++) {
        char name[32];
        snprintf(name, sizeof name, "head%d.weight", t);
        cr_assert_eq(flow_tensor_count(run_param(&run, name)), 24);
    }
    cr_assert_eq(checkpoints_in("runs"), 3);
    RUN(&again, with_dir(tasks), .threads = 2, .streams = 2);
    same_bits(&run, &again, "again");
    run_close(&run), run_close(&again);
}

/* What a stage copies is what the parameter was when the stage began; what it resets is what it was at first. */
Test(stages, copy_and_reset) {
    struct training_run run;
    put_tasks();
    cr_assert_eq(
        run_open(&run,
                 "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
                 "nodes:\n"
                 "  a: {op: linear, in: x, with: {units: 2}, init: {weight: \"normal(0, 1)\"}}\n"
                 "  c: {op: linear, in: x, with: {units: 2}}\n"
                 "  s: {op: add, in: [a, c]}\n"
                 "  loss: {op: mse, in: {x: s, target: y}}\n"
                 "outputs: {s: s}\n"
                 "data: {train: {source: tensors, path: task0.safetensors, with: {batch: 8}, feeds: {x: x, y: y}}}\n"
                 "train: {stages: [\n"
                 "  {name: one, loss: loss, data: train, steps: 4, update: [{params: \"a.*\", optimizer: sgd, with: {lr: 0.1}}]},\n"
                 "  {name: two, steps: 0, copy: [{from: \"a.*\", to: \"c.*\"}], reset: [\"a.*\"]}]}\n",
                 (struct run_options){0}),
        0, "%s", run.message);
    struct flow_event event;
    double first[8], learnt[8];
    cr_assert_eq(run_next(&run, &event), 0, "%s", run.message);
    for (int i = 0; i < 8; i++) first[i] = run_value(&run, "a.weight", i);
    cr_assert_eq(run_on(&run, 4), 0, "%s", run.message);
    for (int i = 0; i < 8; i++) learnt[i] = run_value(&run, "a.weight", i);
    cr_assert_eq(run_on(&run, 0), 0, "%s", run.message);
    for (int i = 0; i < 8; i++) {
        cr_assert_neq(first[i], learnt[i]);
        cr_assert_eq(run_value(&run, "a.weight", i), first[i]);
        cr_assert(run_value(&run, "c.weight", i) == learnt[i] || run_value(&run, "c.weight", i) == first[i]);
    }
    run_close(&run);
}

/* An optimiser's state that goes on: two stages of 5 steps are one of 10, where each step has all rows. */
Test(stages, keep_state) {
    static const char form[] =
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
        "nodes:\n"
        "  a: {op: linear, in: x, with: {units: 2}}\n"
        "  loss: {op: mse, in: {x: a, target: y}}\n"
        "outputs: {a: a}\n"
        "data: {train: {source: tensors, path: task0.safetensors, with: {tensors: \"x y\", batch: 37}, feeds: {x: x, y: y}}}\n"
        "train:\n"
        "  loss: loss\n"
        "  data: train\n"
        "  update: [{params: \"*\", optimizer: adam, with: {lr: 0.05}}]\n";
    struct training_run whole, kept, fresh;
    char text[2048];
    put_tasks();
    snprintf(text, sizeof text, "%s  steps: 10\n", form);
    RUN(&whole, text, 0);
    const char *update = "loss: loss, data: train, steps: 5, update: [{params: \"*\", optimizer: adam, with: {lr: 0.05}}]";
    snprintf(text, sizeof text, "%.*s  stages: [{name: a, %s}, {name: b, keep_state: true, %s}]\n",
             (int)(strstr(form, "  loss: loss\n") - form), form, update, update);
    RUN(&kept, text, 0);
    snprintf(text, sizeof text, "%.*s  stages: [{name: a, %s}, {name: b, %s}]\n", (int)(strstr(form, "  loss: loss\n") - form), form,
             update, update);
    RUN(&fresh, text, 0);
    same_bits(&whole, &kept, "kept");
    cr_assert_neq(run_value(&whole, "a.weight", 0), run_value(&fresh, "a.weight", 0));
    run_close(&whole), run_close(&kept), run_close(&fresh);
}

/* ---- Teacher and student ---- */

#define STUDENT_HEAD                                                                      \
    "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n" \
    "nodes:\n"                                                                            \
    "  teacher: {op: linear, in: x, with: {units: 2}}\n"                                  \
    "  student: {op: linear, in: x, with: {units: 2}}\n"                                  \
    "  target: {op: stop_gradient, in: teacher}\n"                                        \
    "  teach: {op: mse, in: {x: teacher, target: y}}\n"                                   \
    "  follow: {op: mse, in: {x: student, target: target}}\n"                             \
    "outputs: {student: student}\n"

static const char pupil[] = STUDENT_HEAD
    "data: {train: {source: tensors, path: task0.safetensors, with: {batch: 8, shuffle: true}, feeds: {x: x, y: y}}}\n"
    "train: {stages: [\n"
    "  {name: teacher, loss: teach, data: train, steps: 10, update: [{params: \"teacher.*\", optimizer: sgd, with: {lr: 0.1}}]},\n"
    "  {name: student, loss: follow, data: train, steps: 300, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.3}}]}]}\n";

Test(stages, teacher_and_student) {
    struct training_run run;
    double taught[8];
    put_tasks();
    cr_assert_eq(run_open(&run, pupil, (struct run_options){0}), 0, "%s", run.message);
    cr_assert_eq(run_on(&run, 10), 0, "%s", run.message);
    for (int i = 0; i < 8; i++) taught[i] = run_value(&run, "teacher.weight", i);
    cr_assert_eq(run_on(&run, 0), 0, "%s", run.message);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(run_value(&run, "teacher.weight", i), taught[i], "no gradient reaches the teacher");
        cr_assert_float_eq(run_value(&run, "student.weight", i), taught[i], 1e-3);
    }
    run_close(&run);
}

/* The teacher as a graph that is a source, with the trainer's parameters or its own; the batch is drawn in it. */
static const char teaching[] = "flow: 1\nnodes:\n"
                               "  x: {op: random_normal, with: {shape: [8, 4]}}\n"
                               "  teacher: {op: linear, in: x, with: {units: 2}}\n"
                               "outputs: {x: x, t: teacher}\n";

static const char taught[] = "flow: 1\nvars: {weights: 0}\ninputs: {x: {dtype: f32, shape: [B, 4]}, t: {dtype: f32, shape: [B, 2]}}\n"
                             "nodes:\n"
                             "  student: {op: linear, in: x, with: {units: 2}}\n"
                             "  follow: {op: mse, in: {x: student, target: t}}\n"
                             "outputs: {student: student}\n"
                             "data: {lesson: {source: graph, path: teaching.yaml, weights: teacher.safetensors, feeds: {x: x, t: t}}}\n"
                             "train: {loss: follow, data: lesson, steps: 300, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.2}}],\n"
                             "  validate: {data: lesson, every: 50, metrics: {follow: follow}}}\n";

Test(stages, teacher_with_weights_of_its_own) {
    struct training_run first, run;
    put_tasks();
    RUN(&first, pupil, .steps = 5);
    flow_errors *errors = NULL;
    cr_assert_eq(flow_trainer_save(first.trainer, in_folder("teacher.safetensors"), &errors), 0);
    put_text("teaching.yaml", teaching);
    RUN(&run, taught, 0);
    for (int i = 0; i < 8; i++) cr_assert_float_eq(run_value(&run, "student.weight", i), run_value(&first, "teacher.weight", i), 1e-4);
    cr_assert_eq(run_events(&run, FLOW_EVENT_VALIDATION, NULL), 6);
    run_close(&first), run_close(&run);
}

/* The source computes with the parameters of the step, not with those that the stage began with: `t` is what `student` itself gives for x,
 * so that the loss is 0 at every step whatever moves the weights. */
static void follows(const char *own, const char *rename) {
    struct training_run run;
    char text[4096], source[1024];
    snprintf(source, sizeof source,
             "flow: 1\nnodes:\n"
             "  x: {op: random_normal, with: {shape: [32, 64]}}\n"
             "  %s: {op: linear, in: x, with: {units: 48}}\n"
             "outputs: {x: x, t: %s}\n",
             own, own);
    put_text("own.yaml", source);
    snprintf(text, sizeof text,
             "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 64]}, t: {dtype: f32, shape: [B, 48]}}\n"
             "nodes:\n"
             "  student: {op: linear, in: x, with: {units: 48}}\n"
             "  same: {op: mse, in: {x: student, target: t}}\n"
             "  push: {op: mean, in: student}\n"
             "outputs: {student: student}\n"
             "data: {own: {source: graph, path: own.yaml%s, feeds: {x: x, t: t}}}\n"
             "train: {loss: {same: 1, push: 1}, data: own, steps: 20, update: [{params: \"*\", optimizer: sgd, with: {lr: 5}}],\n"
             "  validate: {data: own, every: 3, metrics: {same: same, push: push}}}\n",
             rename);
    RUN(&run, text, 0);
    cr_assert_eq(run_events(&run, FLOW_EVENT_VALIDATION, NULL), 6);
    for (size_t v = 0; v < 6; v++) {
        const struct happened *event = run_event(&run, FLOW_EVENT_VALIDATION, NULL, v);
        cr_assert_float_eq(run_metric(event, "same", 0), 0, 1e-8, "after %lld: %g", (long long)event->step, run_metric(event, "same", 0));
    }
    for (size_t t = 0; t < 20; t++) {
        const struct happened *event = run_event(&run, FLOW_EVENT_STEP, NULL, t);
        cr_assert(fabs(event->loss) < 1e3 && !isnan(event->loss), "step %zu: %g", t, event->loss);
    }
    run_close(&run);
}

Test(stages, source_follows_the_trainer) {
    follows("student", "");
    follows("policy", ", rename: {\"policy.*\": \"student.*\"}");
}

/* ---- Validation ---- */

/* 13 rows in batches of 5, 5 and 3: means by rows, a vector, a count, and a subgraph over all rows together. */
Test(stages, means_by_rows) {
    struct training_run run;
    put_data("d.safetensors", 13, 50);
    RUN(&run,
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, label: {dtype: i64, shape: [B]}}\n"
        "graphs:\n"
        "  largest:\n"
        "    inputs: {v: {dtype: f32, shape: [N, 4]}}\n"
        "    nodes: {m: {op: amax, in: v}}\n"
        "    outputs: {m: m}\n"
        "nodes:\n"
        "  a: {op: linear, in: x, with: {units: 3}}\n"
        "  loss: {op: cross_entropy, in: {logits: a, target: label}}\n"
        "  mean: {op: mean, in: x}\n"
        "  each: {op: mean, in: x, with: {axes: [0]}}\n"
        "  ones: {op: one_hot, in: label, with: {count: 3}}\n"
        "  whole: {op: cast, in: ones, with: {to: i64}}\n"
        "  counts: {op: sum, in: whole, with: {axes: [0]}}\n"
        "outputs: {a: a}\n"
        "data:\n"
        "  train: {source: tensors, path: d.safetensors, with: {tensors: \"x label\", batch: 4}, feeds: {x: x, label: label}}\n"
        "  valid: {source: tensors, path: d.safetensors, with: {tensors: \"x label\", batch: 5}, feeds: {x: x, label: label}}\n"
        "train: {loss: loss, data: train, steps: 2, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.1}}],\n"
        "  validate: {data: valid, at: start, metrics: {mean: mean, each: each, counts: counts, most: {graph: largest, in: {v: x}}}}}\n");
    double mean = 0, each[4] = {0}, counts[3] = {0}, most = -2;
    for (int r = 0; r < 13; r++) {
        double sum = 0;
        for (int i = 0; i < 4; i++) {
            double x = (float)number_of((uint64_t)(50 + r * 4 + i));
            mean += x / 52, each[i] += x / 13, sum += x * (i + 1), most = x > most ? x : most;
        }
        counts[sum < -1 ? 0 : sum < 1 ? 1 : 2]++;
    }
    cr_assert_eq(run_events(&run, FLOW_EVENT_VALIDATION, NULL), 1);
    const struct happened *event = run_event(&run, FLOW_EVENT_VALIDATION, NULL, 0);
    cr_assert_str_eq(event->name, "valid");
    cr_assert_eq(event->step, 0);
    cr_assert_float_eq(run_metric(event, "mean", 0), mean, 1e-6);
    for (size_t i = 0; i < 4; i++) cr_assert_float_eq(run_metric(event, "each", i), each[i], 1e-6);
    for (size_t i = 0; i < 3; i++) cr_assert_eq(run_metric(event, "counts", i), counts[i], "%g", run_metric(event, "counts", i));
    cr_assert_float_eq(run_metric(event, "most", 0), most, 1e-6);
    run_close(&run);
}

/* `seen` adds up the rows of all batches: of training 4 a step, of validation 5, 5 and 3. */
#define COUNTING                                                                                             \
    "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\n"                                                    \
    "nodes:\n"                                                                                               \
    "  p: {op: parameter, with: {shape: [1]}}\n"                                                             \
    "  one: {op: mean, in: x, with: {axes: [1]}}\n"                                                          \
    "  flat: {op: mul, in: one, with: {value: 0}}\n"                                                         \
    "  ones: {op: add, in: flat, with: {value: 1}}\n"                                                        \
    "  rows: {op: sum, in: ones}\n"                                                                          \
    "  seen: {op: add, in: {b: rows}, state: {a: seen.y%s}}\n"                                               \
    "  loss: {op: add, in: [p, seen]}\n"                                                                     \
    "outputs: {seen: seen}\n"                                                                                \
    "data:\n"                                                                                                \
    "  train: {source: tensors, path: d.safetensors, with: {tensors: x, batch: 4}, feeds: {x: x}}\n"         \
    "  valid: {source: tensors, path: d.safetensors, with: {tensors: x, batch: 5}, feeds: {x: x}}\n"         \
    "train: {loss: loss, data: train, steps: 7, update: [{params: \"*\", optimizer: sgd, with: {lr: 0}}],\n" \
    "  validate: {data: valid, every: 2, state: %s, metrics: {seen: seen}}}\n"

static void count_rows(const char *reset, const char *state, const double *steps, double first, double second) {
    struct training_run run;
    char text[4096];
    put_data("d.safetensors", 13, 60);
    snprintf(text, sizeof text, COUNTING, reset, state);
    RUN(&run, text, 0);
    for (size_t t = 0; t < 7; t++)
        cr_assert_eq(run_event(&run, FLOW_EVENT_STEP, NULL, t)->loss, steps[t], "step %zu of '%s', %s: %g, not %g", t, reset, state,
                     run_event(&run, FLOW_EVENT_STEP, NULL, t)->loss, steps[t]);
    double found = run_metric(run_event(&run, FLOW_EVENT_VALIDATION, NULL, 0), "seen", 0);
    cr_assert_float_eq(found, first, 1e-5, "%s, %s: %g, not %g", reset, state, found, first);
    found = run_metric(run_event(&run, FLOW_EVENT_VALIDATION, NULL, 1), "seen", 0);
    cr_assert_float_eq(found, second, 1e-5, "%s, %s: %g, not %g", reset, state, found, second);
    run_close(&run);
}

/* The mean by rows of what a sum is after each of the batches of 5, 5 and 3 that follow `start`. */
static double after_batches(double start) { return (5 * (start + 5) + 5 * (start + 10) + 3 * (start + 13)) / 13; }

/* 13 rows are three batches of 4; where nothing is said, a state begins anew with each epoch. */
Test(stages, states_in_validation) {
    count_rows("", "copy", (double[]){4, 8, 12, 4, 8, 12, 4}, after_batches(8), after_batches(4));
    count_rows("", "read", (double[]){4, 8, 12, 4, 8, 12, 4}, 8 + 59 / 13.0, 4 + 59 / 13.0);
    count_rows(", reset: never", "copy", (double[]){4, 8, 12, 16, 20, 24, 28}, after_batches(8), after_batches(16));
    count_rows(", reset: never", "keep", (double[]){4, 8, 25, 29, 46, 50, 67}, after_batches(8), after_batches(29));
}

Test(stages, states_reset) {
    count_rows(", reset: epoch", "copy", (double[]){4, 8, 12, 4, 8, 12, 4}, after_batches(8), after_batches(4));
    count_rows(", reset: run", "copy", (double[]){4, 4, 4, 4, 4, 4, 4}, 59 / 13.0, 59 / 13.0);
}

/* ---- Early stopping and samples ---- */

/* `p` moves by 1 a step, the metric is (p - 4)^2: the best is at 4, two more and it stops, and goes back. */
#define STOPPING                                                                                              \
    "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\n"                                                     \
    "nodes:\n"                                                                                                \
    "  p: {op: parameter, with: {shape: [1]}}\n"                                                              \
    "  loss: {op: neg, in: p}\n"                                                                              \
    "  off: {op: sub, in: {a: p}, with: {value: 4}}\n"                                                        \
    "  far: {op: square, in: off}\n"                                                                          \
    "outputs: {p: p}\n"                                                                                       \
    "data: {train: {source: tensors, path: d.safetensors, with: {tensors: x, batch: 4}, feeds: {x: x}}}\n"    \
    "train: {loss: loss, data: train, steps: 20, update: [{params: \"*\", optimizer: sgd, with: {lr: 1}}],\n" \
    "  validate: {data: train, every: 1, metrics: {far: far}}%s}\n"

Test(stages, early_stop) {
    struct training_run run;
    char text[4096];
    put_data("d.safetensors", 8, 70);
    snprintf(text, sizeof text, STOPPING, ", early_stop: {metric: valid.far, best: min, patience: 2, restore: true}");
    RUN(&run, text, 0);
    cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), 6);
    cr_assert_eq(run_value(&run, "p.weight", 0), 4);
    run_close(&run);
    snprintf(text, sizeof text, STOPPING, ", early_stop: {metric: valid.far, best: min, patience: 3}");
    RUN(&run, text, 0);
    cr_assert_eq(run_value(&run, "p.weight", 0), 7);
    run_close(&run);
    snprintf(text, sizeof text, STOPPING, ", early_stop: {metric: valid.far, best: max, patience: 3, restore: true}");
    RUN(&run, text, 0); /* 9 at first, then less, until 16 at 8: that is too late */
    cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), 4);
    cr_assert_eq(run_value(&run, "p.weight", 0), 1);
    run_close(&run);
}

Test(stages, samples) {
    struct training_run run;
    char text[4096];
    flow_errors *errors = NULL;
    flow_file *file;
    put_data("d.safetensors", 8, 71);
    snprintf(text, sizeof text, STOPPING, ", samples: {file: out/samples.safetensors, every: 3, after: 5}");
    RUN(&run, text, 0);
    cr_assert_eq(flow_file_open(run.runtime, in_folder("out/samples.safetensors"), &errors, &file), 0);
    const struct flow_tensor *all = flow_file_get(file, "p.weight");
    cr_assert(all && all->rank == 2 && all->shape[0] == 5 && all->shape[1] == 1);
    for (int64_t i = 0; i < 5; i++) cr_assert_eq(flow_tensor_real(all, i), (double)(8 + 3 * i));
    flow_file_close(file);
    run_close(&run);
}
