/* SPDX-License-Identifier: Apache-2.0 */
/* What a training leaves behind, and that it goes on from there as if it had never stopped, wherever it stopped. */
#include "train/trainer_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

TestSuite(checkpoints, .init = folder_make, .fini = folder_remove);

/* All that has to be kept: dropout, running statistics, adam's moments, noise, a state, a shuffle, two stages, validations that training
 * goes on from, an early stop that restores, samples, an optimiser's state that goes on into the next stage. */
static const char everything[] =
    "flow: 1\nvars: {dir: none, batch: 4}\n"
    "inputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
    "nodes:\n"
    "  h: {op: linear, in: x, with: {units: 8}}\n"
    "  bn: {op: batch_norm, in: h}\n"
    "  a: {op: tanh, in: bn}\n"
    "  d: {op: dropout, in: a, with: {p: 0.3}}\n"
    "  b: {op: linear, in: d, with: {units: 2}}\n"
    "  now: {op: mean, in: a}\n"
    "  mixed: {op: mul, in: now, with: {value: 0.5}}\n"
    "  memory: {op: add, in: {b: mixed}, state: {a: memory.y, reset: never}}\n"
    "  moved: {op: add, in: [b, memory]}\n"
    "  loss: {op: mse, in: {x: moved, target: y}}\n"
    "outputs: {b: b}\n"
    "data:\n"
    "  train: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: \"${batch}\", shuffle: true, keep_last: true}, feeds: "
    "{x: x, y: y}}\n"
    "  valid: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 7}, feeds: {x: x, y: y}}\n"
    "train:\n"
    "  stages:\n"
    "    - name: first\n"
    "      loss: loss\n"
    "      data: train\n"
    "      steps: 9\n"
    "      update: [{params: \"*\", optimizer: adam, with: {lr: 0.02}}]\n"
    "      noise: {eta: 0.001}\n"
    "      samples: {file: s.safetensors, every: 2}\n"
    "      validate: [{data: valid, every: 2, state: keep, metrics: {loss: loss}}, {name: second, data: valid, at: end, metrics: {loss: "
    "loss}}]\n"
    "      checkpoint: {dir: \"${dir}\", every: 3, keep: 2}\n"
    "    - name: second\n"
    "      loss: loss\n"
    "      data: train\n"
    "      steps: 12\n"
    "      micro_batches: 2\n"
    "      keep_state: true\n"
    "      reset: [\"b.*\"]\n"
    "      update: [{params: \"*\", optimizer: adam, with: {lr: 0.05}}]\n"
    "      validate: [{data: valid, every: 1, metrics: {loss: loss}}, {name: last, data: valid, at: [start, end], metrics: {loss: loss}}]\n"
    "      early_stop: {metric: valid.loss, best: min, patience: 2, restore: true}\n"
    "      checkpoint: {dir: \"${dir}\", every: 3, keep: 2}\n";

static const char *dir_of(const char *name) {
    static char text[4][160];
    static int turn;
    char *made = text[turn++ % 4];
    snprintf(made, sizeof text[0], "dir=%s/%s", folder, name);
    return made;
}

static void clear(const char *name) {
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s/%s'", folder, name);
    cr_assert_eq(system(command), 0);
}

/* Stops after `events` events, by the caller's wish; false: it was over before. */
static bool stop_after(const char *text, struct run_options options, size_t events) {
    struct training_run run;
    struct flow_event event = {0};
    cr_assert_eq(run_open(&run, text, options), 0, "%s", run.message);
    for (size_t e = 0; e < events && event.kind != FLOW_EVENT_END; e++) cr_assert_eq(run_next(&run, &event), 0, "%s", run.message);
    bool over = event.kind == FLOW_EVENT_END;
    flow_trainer_cancel(run.trainer);
    int status = run_next(&run, &event);
    cr_assert_eq(status, FLOW_ERROR_CANCELLED, "%d: %s", status, run.message);
    run_close(&run);
    return !over;
}

/* The events that a run made after another was stopped are those that the whole one had left. */
static void same_events(const struct training_run *whole, const struct training_run *rest, size_t from) {
    size_t at = from;
    if (whole->events[at - 1].kind == FLOW_EVENT_STAGE_END) at--; /* said once more */
    for (size_t e = 0; e < rest->count; e++) {
        const struct happened *b = &rest->events[e];
        if (b->kind == FLOW_EVENT_STAGE && e == 0) continue;
        while (at < whole->count && whole->events[at].kind == FLOW_EVENT_CHECKPOINT) at++;
        if (b->kind == FLOW_EVENT_CHECKPOINT) continue;
        cr_assert_lt(at, whole->count, "more events than there were");
        const struct happened *a = &whole->events[at++];
        cr_assert(a->kind == b->kind && a->step == b->step && a->total == b->total && strcmp(a->stage, b->stage) == 0 &&
                      strcmp(a->name, b->name) == 0,
                  "event %zu after %zu: %d '%s' '%s' step %lld, not %d '%s' '%s' step %lld", e, from, b->kind, b->stage, b->name,
                  (long long)b->step, a->kind, a->stage, a->name, (long long)a->step);
        cr_assert(memcmp(&a->loss, &b->loss, sizeof a->loss) == 0 || (isnan(a->loss) && isnan(b->loss)));
        for (size_t m = 0; m < a->metric_count; m++)
            cr_assert_eq(a->metrics[m].values[0], b->metrics[m].values[0], "'%s' after step %lld", a->metrics[m].name, (long long)a->step);
    }
}

static void stop_everywhere(const char *text, struct run_options options) {
    struct training_run whole, rest;
    struct run_options first = options;
    first.set[0] = dir_of("whole");
    cr_assert_eq(run_whole(&whole, text, first), 0, "%s", whole.message);
    for (size_t e = 1;; e++) {
        clear("cut");
        options.set[0] = dir_of("cut"), options.resume = false;
        if (!stop_after(text, options, e)) break;
        options.resume = true;
        cr_assert_eq(run_whole(&rest, text, options), 0, "stopped after %zu: %s", e, rest.message);
        char what[64];
        snprintf(what, sizeof what, "stopped after %zu of %zu events", e, whole.count);
        same_bits(&whole, &rest, what);
        same_events(&whole, &rest, e);
        run_close(&rest);
    }
    run_close(&whole);
}

Test(checkpoints, resume_after_every_event) {
    put_data("d.safetensors", 21, 100);
    stop_everywhere(everything, (struct run_options){0});
    struct training_run run; /* it does stop early, and not at once */
    RUN(&run, everything, .set = {dir_of("again")});
    size_t steps = run_events(&run, FLOW_EVENT_STEP, NULL);
    cr_assert(steps > 12 && steps < 21, "%zu steps", steps);
    run_close(&run);
}

/* A graph that makes the batches, with a state of its own; each is given in 2 x 2 parts; it computes with the weights that are trained. */
Test(checkpoints, resume_with_a_graph_as_source) {
    put_text("own.yaml", "flow: 1\nnodes:\n"
                         "  z: {op: random_normal, with: {shape: [8, 4]}}\n"
                         "  x: {op: add, in: {b: z}, state: {a: x.y}}\n"
                         "  b: {op: linear, in: x, with: {units: 2}}\n"
                         "  y: {op: tanh, in: b}\n"
                         "outputs: {x: x, y: y}\n");
    stop_everywhere("flow: 1\nvars: {dir: none}\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
                    "nodes:\n"
                    "  b: {op: linear, in: x, with: {units: 2}}\n"
                    "  loss: {op: mse, in: {x: b, target: y}}\n"
                    "outputs: {b: b}\n"
                    "data: {own: {source: graph, path: own.yaml, feeds: {x: x, y: y}, reuse: {epochs: 2, batch: 4}}}\n"
                    "train: {loss: loss, data: own, steps: 11, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.02}}],\n"
                    "  validate: {data: own, every: 3, metrics: {loss: loss}}, checkpoint: {dir: \"${dir}\", every: 5}}\n",
                    (struct run_options){0});
}

/* ---- Going on from a file ---- */

static const char small[] =
    "flow: 1\nvars: {dir: none, width: 8, extra: h, steps: 10, keep: 2}\n"
    "inputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
    "nodes:\n"
    "  \"${extra}\": {op: linear, in: x, with: {units: \"${width}\"}}\n"
    "  a: {op: tanh, in: \"${extra}\"}\n"
    "  b: {op: linear, in: a, with: {units: 2}}\n"
    "  loss: {op: mse, in: {x: b, target: y}}\n"
    "outputs: {b: b}\n"
    "data: {train: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 4, shuffle: true}, feeds: {x: x, y: y}}}\n"
    "train: {loss: loss, data: train, steps: \"${steps}\", update: [{params: \"*\", optimizer: adam, with: {lr: 0.02}}],\n"
    "  checkpoint: {dir: \"${dir}\", every: 2, keep: \"${keep}\"}}\n";

Test(checkpoints, keeps_the_newest) {
    struct training_run run;
    put_data("d.safetensors", 21, 101);
    RUN(&run, small, .set = {dir_of("runs"), "keep=3"});
    cr_assert_eq(checkpoints_in("runs"), 3);
    cr_assert_eq(access(in_folder("runs/checkpoint-000000010.safetensors"), R_OK), 0);
    cr_assert_eq(access(in_folder("runs/checkpoint-000000006.safetensors"), R_OK), 0);
    cr_assert_neq(access(in_folder("runs/checkpoint-000000004.safetensors"), R_OK), 0);
    run_close(&run);
    RUN(&run, small, .set = {dir_of("runs"), "keep=1", "steps=14"}, .resume = true);
    cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), 4);
    cr_assert_eq(checkpoints_in("runs"), 1);
    run_close(&run);
}

/* What is longer now goes on as if it had been meant so from the start (no schedule). */
Test(checkpoints, more_steps_later) {
    struct training_run whole, run;
    put_data("d.safetensors", 21, 102);
    RUN(&whole, small, .set = {dir_of("whole"), "steps=17"});
    RUN(&run, small, .set = {dir_of("runs")});
    run_close(&run);
    RUN(&run, small, .set = {dir_of("runs"), "steps=17"}, .resume = true);
    cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), 7);
    same_bits(&whole, &run, "10, then 17 steps");
    run_close(&whole), run_close(&run);
}

Test(checkpoints, of_another_graph) {
    struct training_run run;
    put_data("d.safetensors", 21, 103);
    RUN(&run, small, .set = {dir_of("runs")});
    run_close(&run);
    int status = run_whole(&run, small, (struct run_options){.set = {dir_of("runs"), "extra=other"}, .resume = true});
    cr_assert_lt(status, 0);
    cr_assert(strstr(run.message, "other.weight") && strstr(run.message, "other.bias") && strstr(run.message, "'h.weight'") &&
                  strstr(run.message, "'h.bias'") && !strstr(run.message, "b.weight"),
              "%s", run.message);
    run_close(&run);
    status = run_whole(&run, small, (struct run_options){.set = {dir_of("runs"), "width=5"}, .resume = true});
    cr_assert_lt(status, 0);
    cr_assert(strstr(run.message, "'h.weight'") && strstr(run.message, "[8, 4]") && strstr(run.message, "[5, 4]") &&
                  strstr(run.message, "'b.weight'"),
              "%s", run.message);
    run_close(&run);
    RUN(&run, small, .set = {dir_of("runs")}, .resume = true); /* which is still whole */
    cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), 0);
    run_close(&run);
}

static void cut_file(const char *name, long size) { cr_assert_eq(truncate(in_folder(name), size), 0); }

Test(checkpoints, damaged_one_gives_way) {
    struct training_run whole, run;
    struct stat about;
    put_data("d.safetensors", 21, 104);
    RUN(&whole, small, .set = {dir_of("whole"), "keep=3"});
    for (int how = 0; how < 5; how++) {
        clear("runs");
        RUN(&run, small, .set = {dir_of("runs"), "keep=3"});
        run_close(&run);
        cr_assert_eq(stat(in_folder("runs/checkpoint-000000010.safetensors"), &about), 0);
        static const char *const newest = "runs/checkpoint-000000010.safetensors";
        if (how == 0) cut_file(newest, 0);
        if (how == 1) cut_file(newest, (long)about.st_size - 1);
        if (how == 2) cut_file(newest, 20);
        if (how >= 3) put_text(newest, "what is this?");
        if (how == 4) put_text("runs/checkpoint-000000008.safetensors", "");
        RUN(&run, small, .set = {dir_of("runs"), "keep=3"}, .resume = true);
        cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), how == 4 ? 4 : 2, "damage %d", how);
        same_bits(&whole, &run, "after damage");
        cr_assert_leq(checkpoints_in("runs"), 3);
        run_close(&run);
    }
    clear("runs");
    RUN(&run, small, .set = {dir_of("runs"), "keep=1"});
    run_close(&run);
    cut_file("runs/checkpoint-000000010.safetensors", 99);
    int status = run_whole(&run, small, (struct run_options){.set = {dir_of("runs"), "keep=1"}, .resume = true});
    cr_assert_lt(status, 0); /* nothing whole is left: better told than begun anew */
    cr_assert(strstr(run.message, "checkpoint-000000010"), "%s", run.message);
    run_close(&run);
    run_close(&whole);
}

/* Weights are plain: a graph is served from the checkpoint itself. */
Test(checkpoints, are_weights) {
    struct training_run run;
    put_data("d.safetensors", 21, 105);
    RUN(&run, small, .set = {dir_of("runs")});
    flow_graph *graph;
    flow_session *session;
    struct flow_graph_options options = {.size = sizeof options, .weights = in_folder("runs/checkpoint-000000010.safetensors")};
    static const char serve[] =
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\n"
        "nodes: {h: {op: linear, in: x, with: {units: 8}}, a: {op: tanh, in: h}, b: {op: linear, in: a, with: {units: 2}}}\n"
        "outputs: {b: b}\n";
    int status = flow_graph_parse(run.runtime, in_folder("serve.yaml"), serve, strlen(serve), &options, &run.errors, &graph);
    cr_assert_eq(status, 0, "%s", flow_errors_get(run.errors, 0).text);
    cr_assert_eq(flow_session_new(graph, NULL, &run.errors, &session), 0);
    float x[4] = {0.1f, -0.2f, 0.3f, 0.9f};
    struct flow_tensor input = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){1, 4});
    cr_assert_eq(flow_session_input(session, "x", &input, &run.errors), 0);
    cr_assert_eq(flow_session_run(session, &run.errors), 0);
    for (int o = 0; o < 2; o++) {
        double sum = run_value(&run, "b.bias", o);
        for (int k = 0; k < 8; k++) {
            double h = run_value(&run, "h.bias", k);
            for (int i = 0; i < 4; i++) h += run_value(&run, "h.weight", k * 4 + i) * x[i];
            sum += run_value(&run, "b.weight", o * 8 + k) * tanh(h);
        }
        cr_assert_float_eq(flow_tensor_real(flow_session_output(session, "b"), o), sum, 1e-5);
    }
    flow_session_free(session);
    flow_graph_free(graph);
    run_close(&run);
}

/* Stages may write into folders of their own: the newest of all is resumed, and what earlier stages wrote stays. */
Test(checkpoints, folders_of_stages) {
    static const char text[] =
        "flow: 1\nvars: {dir: none, task: 0}\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
        "nodes:\n"
        "  a: {op: linear, in: x, with: {units: 2}}\n"
        "  loss: {op: mse, in: {x: a, target: y}}\n"
        "outputs: {a: a}\n"
        "data: {train: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 4, shuffle: true}, feeds: {x: x, y: y}}}\n"
        "train: {stages: [{name: learn, foreach: {task: [b, a, c]}, loss: loss, data: train, steps: 5,\n"
        "  update: [{params: \"*\", optimizer: adam, with: {lr: 0.02}}], checkpoint: {dir: \"${dir}/${task}\", every: 2, keep: 2}}]}\n";
    put_data("d.safetensors", 21, 109);
    stop_everywhere(text, (struct run_options){0});
    cr_assert_eq(checkpoints_in("whole/b"), 2);
    cr_assert_eq(checkpoints_in("whole/a"), 2);
    cr_assert_eq(checkpoints_in("whole/c"), 2);
    struct training_run run; /* anew: what was there is put aside, in each folder */
    RUN(&run, text, .set = {dir_of("whole")});
    cr_assert_eq(checkpoints_in("whole/a"), 2);
    cr_assert_eq(access(in_folder("whole/a/previous-checkpoint-000000010.safetensors"), R_OK), 0);
    run_close(&run);
}

/* A graph that has run, with weights that lie in a file, is trained, and resumed as the same object. */
Test(checkpoints, graph_that_has_run) {
    struct training_run first, run;
    char text[4096];
    put_data("d.safetensors", 21, 110);
    RUN(&first, small, .set = {dir_of("runs")});
    flow_errors *errors = NULL;
    cr_assert_eq(flow_trainer_save(first.trainer, in_folder("w.safetensors"), &errors), 0);
    snprintf(text, sizeof text, "%sweights: w.safetensors\n", small);
    clear("runs");
    memset(&run, 0, sizeof run);
    const char *set = dir_of("runs");
    struct flow_runtime_options runtime = {.size = sizeof runtime, .plugin_path = BUILD_DIR "/plugins"};
    struct flow_graph_options graph = {.size = sizeof graph, .set = &set, .set_count = 1};
    struct flow_trainer_options trainer = {.size = sizeof trainer};
    flow_session *session;
    float x[4] = {0.1f, -0.2f, 0.3f, 0.9f}, y[2] = {0};
    struct flow_tensor input = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){1, 4}),
                       target = flow_tensor_of(y, FLOW_F32, 2, (int64_t[]){1, 2});
    cr_assert_eq(flow_runtime_new(&runtime, &run.errors, &run.runtime), 0);
    cr_assert_eq(flow_graph_parse(run.runtime, in_folder("test.yaml"), text, strlen(text), &graph, &run.errors, &run.graph), 0);
    cr_assert_eq(flow_session_new(run.graph, NULL, &run.errors, &session), 0);
    cr_assert_eq(flow_session_input(session, "x", &input, &run.errors), 0);
    cr_assert_eq(flow_session_input(session, "y", &target, &run.errors), 0);
    cr_assert_eq(flow_session_run(session, &run.errors), 0);
    double before = flow_tensor_real(flow_session_output(session, "b"), 0);
    cr_assert_eq(flow_trainer_new(run.graph, &trainer, &run.errors, &run.trainer), 0);
    struct flow_event event = {.size = sizeof event};
    while (event.kind != FLOW_EVENT_END) cr_assert_eq(flow_trainer_next(run.trainer, &event, &run.errors), 0);
    double trained = flow_tensor_real(flow_trainer_parameter(run.trainer, 0, NULL), 0);
    flow_trainer_free(run.trainer);
    cr_assert(!isnan(before));
    flow_session_free(session);
    trainer.resume = true;
    cr_assert_eq(flow_trainer_new(run.graph, &trainer, &run.errors, &run.trainer), 0);
    event.kind = 0;
    while (event.kind != FLOW_EVENT_END) cr_assert_eq(flow_trainer_next(run.trainer, &event, &run.errors), 0);
    cr_assert_eq(flow_tensor_real(flow_trainer_parameter(run.trainer, 0, NULL), 0), trained);
    run_close(&first), run_close(&run);
}

/* ---- Where writing fails ---- */

/* The disk is full from the second checkpoint on: files may not grow as long as one is. */
Test(checkpoints, full_disk) {
    struct training_run run;
    struct stat about;
    struct flow_event event = {0};
    put_data("d.safetensors", 21, 106);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(run_open(&run, small, (struct run_options){.set = {dir_of("runs")}}), 0);
    while (event.kind != FLOW_EVENT_CHECKPOINT) cr_assert_eq(run_next(&run, &event), 0, "%s", run.message);
    while (checkpoints_in("runs") == 0) usleep(1000);
    cr_assert_eq(stat(in_folder("runs/checkpoint-000000002.safetensors"), &about), 0);
    struct rlimit was, limit;
    getrlimit(RLIMIT_FSIZE, &was);
    limit = was, limit.rlim_cur = (rlim_t)about.st_size / 2;
    setrlimit(RLIMIT_FSIZE, &limit);
    int status = 0;
    while (status == 0 && event.kind != FLOW_EVENT_END) status = run_next(&run, &event);
    setrlimit(RLIMIT_FSIZE, &was);
    cr_assert_eq(status, FLOW_ERROR_IO, "%d %s", status, run.message);
    cr_assert(strstr(run.message, "checkpoint-"), "%s", run.message);
    cr_assert_eq(checkpoints_in("runs"), 1);
    run_close(&run);
    RUN(&run, small, .set = {dir_of("runs")}, .resume = true);
    cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), 8);
    run_close(&run);
}

Test(checkpoints, folder_that_cannot_be) {
    struct training_run run;
    put_data("d.safetensors", 21, 107);
    put_text("file", "not a folder");
    int status = run_whole(&run, small, (struct run_options){.set = {dir_of("file/runs")}});
    cr_assert_eq(status, FLOW_ERROR_IO);
    cr_assert(strstr(run.message, "file"), "%s", run.message);
    run_close(&run);
}

/* ---- Stopping ---- */

struct stopping {
    flow_trainer *trainer;
    int microseconds;
};

static void *stop_soon(void *argument) {
    struct stopping *stopping = argument;
    usleep((useconds_t)stopping->microseconds);
    flow_trainer_cancel(stopping->trainer);
    return NULL;
}

Test(checkpoints, stopped_by_another_thread) {
    struct training_run whole, run;
    put_data("d.safetensors", 21, 108);
    RUN(&whole, small, .set = {dir_of("whole"), "steps=3000"});
    for (int k = 0; k < 5; k++) {
        clear("runs");
        cr_assert_eq(run_open(&run, small, (struct run_options){.set = {dir_of("runs"), "steps=3000"}, .threads = 2}), 0);
        struct stopping stopping = {run.trainer, 500 + 1700 * k};
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, stop_soon, &stopping), 0);
        int status = run_on(&run, 0);
        pthread_join(thread, NULL);
        cr_assert(status == FLOW_ERROR_CANCELLED || status == 0, "%d %s", status, run.message);
        if (status == FLOW_ERROR_CANCELLED && run.count) cr_assert(strstr(run.message, "--resume"), "%s", run.message);
        run_close(&run);
        RUN(&run, small, .set = {dir_of("runs"), "steps=3000"}, .resume = true);
        same_bits(&whole, &run, "stopped by a thread");
        run_close(&run);
    }
    run_close(&whole);
}
