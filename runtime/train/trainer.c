/* SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"
#include "train/stage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_labels(struct trainer *trainer) {
    static const char *const names[TRAINER_PHASES] = {"plan the stage",       "step", "data", "forward and backward", "update", "validate",
                                                      "copy for a checkpoint"};
    struct trace *trace = trainer->options.device->trace;
    for (int i = 0; trace && i < TRAINER_PHASES; i++)
        trainer->labels[i] = trace_label(trace, &(struct trace_about){TRACE_SPAN, names[i], "training", NULL, "step"});
}

int trainer_new(const struct trainer_options *options, struct report *report, struct trainer **out) {
    *out = NULL;
    if (!options->network->training)
        return report_add(report, FLOW_ERROR_USAGE, (struct position){options->reading.path, 0, 0}, "the graph has no `train` section");
    const struct allocator *from = options->reading.from;
    struct trainer *trainer = memory_new(from, sizeof *trainer);
    if (!trainer) return report_memory(report);
    trainer->options = *options, trainer->from = from;
    arena_init(&trainer->arena, from);
    arena_init(&trainer->metrics.arena, from);
    for (int i = 0; i < 2; i++) arena_init(&trainer->snapshots[i].arena, from);
    atomic_init(&trainer->cancelled, 0);
    profile_init(&trainer->gone, from);
    profile_init(&trainer->shown, from);
    make_labels(trainer);
    trainer->began = trainer_clock();
    int code = model_train(options->model) < 0 ? report_memory(report) : stages_list(trainer, report);
    bool found = false;
    if (code == 0 && options->resume) code = checkpoint_open(trainer, &found, report);
    if (code == 0 && found) {
        int64_t at = checkpoint_number(trainer->resumed, "flow.stage", 0);
        if (at < 0 || (size_t)at >= trainer->leaf_count)
            code = report_add(report, FLOW_ERROR_FORMAT, (struct position){trainer->resumed->path, 0, 0},
                              "the checkpoint is of stage %lld, and the graph has %zu", (long long)at, trainer->leaf_count);
        trainer->at = (size_t)at, trainer->total = checkpoint_number(trainer->resumed, "flow.total", 0);
        trainer->runs = (uint64_t)checkpoint_number(trainer->resumed, "flow.runs", 0);
    }
    if (code < 0) trainer_free(trainer);
    else *out = trainer;
    return code;
}

void trainer_free(struct trainer *trainer) {
    if (!trainer) return;
    const struct allocator *from = trainer->from;
    behind_free(trainer->behind);
    stage_free(trainer->now);
    stage_free(trainer->before);
    tensor_file_close(trainer->resumed);
    for (int i = 0; i < 2; i++) {
        struct snapshot *snapshot = &trainer->snapshots[i];
        memory_free(from, snapshot->memory, (size_t)snapshot->room);
        memory_free(from, snapshot->tensors, snapshot->capacity * sizeof *snapshot->tensors);
        arena_free(&snapshot->arena);
    }
    for (struct fixed *f = trainer->fixed; f; f = f->next) memory_free(from, f->value.data, (size_t)f->bytes);
    checkpoint_forget(trainer);
    profile_free(&trainer->gone);
    profile_free(&trainer->shown);
    memory_free(from, trainer->leaves, trainer->leaf_capacity * sizeof *trainer->leaves);
    arena_free(&trainer->metrics.arena);
    arena_free(&trainer->arena);
    memory_free(from, trainer, sizeof *trainer);
}

int trainer_input(struct trainer *trainer, const char *name, const struct flow_tensor *value, struct report *report) {
    const struct network *network = trainer->options.network;
    struct nearest nearest;
    nearest_init(&nearest, name);
    bool known = false;
    for (size_t i = 0; i < network->input_count; i++) {
        nearest_offer(&nearest, network->inputs[i].name);
        known = known || strcmp(network->inputs[i].name, name) == 0;
    }
    const char *meant = nearest_name(&nearest);
    if (!known)
        return report_add(report, FLOW_ERROR_USAGE, (struct position){network->path, 0, 0}, "the graph has no input '%s'%s%s%s", name,
                          meant ? " (did you mean '" : "", meant ? meant : "", meant ? "'?)" : "");
    if (trainer->now) return report_add(report, FLOW_ERROR_USAGE, (struct position){0}, "inputs are given before training begins");
    struct fixed *fixed = arena_new(&trainer->arena, sizeof *fixed);
    if (!fixed || !(fixed->name = arena_text(&trainer->arena, name)) || !plan_bytes(value, &fixed->bytes)) return report_memory(report);
    fixed->value = plan_packed_type(value);
    fixed->bytes = fixed->bytes > 0 ? fixed->bytes : 1;
    if (!(fixed->value.data = memory_new(trainer->from, (size_t)fixed->bytes))) return report_memory(report);
    tensor_copy(fixed->value.data, value);
    fixed->next = trainer->fixed, trainer->fixed = fixed;
    return 0;
}

void trainer_cancel(struct trainer *trainer) { atomic_store(&trainer->cancelled, 1); }

const struct flow_tensor *trainer_parameter(const struct trainer *trainer, size_t index, const char **name) {
    struct model *model = trainer->options.model;
    const char *found;
    if (!name) name = &found;
    return model_at(model, index, name) ? model_host(model, *name) : NULL;
}

const struct plan *trainer_plan(const struct trainer *trainer) {
    return trainer->now && trainer->now->program ? program_planned(trainer->now->program) : NULL;
}

int trainer_times(struct trainer *trainer, const struct context_times **times, size_t *count) {
    *times = NULL, *count = 0;
    const struct stage *stage = trainer->now ? trainer->now : trainer->before;
    return stage && stage->program ? context_profile(program_context(stage->program), times, count) : 0;
}

const struct profile *trainer_profile(struct trainer *trainer, const double **phases) {
    const struct stage *stage = trainer->now ? trainer->now : trainer->before;
    if (!trainer->options.profile) return NULL;
    profile_free(&trainer->shown);
    profile_init(&trainer->shown, trainer->from);
    const struct profile *now = stage && stage->program ? context_profiled(program_context(stage->program)) : NULL;
    if (profile_merge(&trainer->shown, &trainer->gone) < 0 || (now && profile_merge(&trainer->shown, now) < 0))
        trainer->shown.incomplete = true;
    *phases = trainer->phases;
    return &trainer->shown;
}

/* ---- Between steps ---- */

static bool checkpoints(const struct trainer *trainer) { return checkpoint_dir(trainer, trainer->now->training) != NULL; }

static void describe(const struct trainer *trainer, struct trainer_event *event, enum trainer_kind kind) {
    const struct stage *stage = trainer->now;
    event->kind = kind;
    event->stage = stage ? stage->name : "";
    event->stage_number = (int64_t)trainer->at, event->stage_count = (int64_t)trainer->leaf_count;
    event->step = stage ? stage->step : 0, event->steps = stage ? stage->steps : 0;
    event->total = trainer->total;
    event->seconds = trainer_clock() - trainer->began;
    event->waited = trainer->waited + (stage ? feeding_waited(&stage->feeding) : 0);
    if (kind == TRAINER_STEP) return;
    event->loss = event->grad_norm = event->rate = NAN;
}

/* The validation that is due after this step (or, `end`, at the stage's end; `start`, before the first), from `from` on. */
static struct validation *due_from(const struct stage *stage, struct validation *from, bool start, bool end) {
    for (; from; from = from->next) {
        const struct training_validate *about = from->about;
        bool at_end = about->at_end || (about->every <= 0 && !about->at_start);
        bool passed = about->every > 0 && stage->step > 0 && stage->step % about->every == 0;
        if (start ? about->at_start : end ? at_end && !passed : passed) return from;
    }
    return NULL;
}

/* Is this validation's metric the one that early stopping looks at? Notes the best, and when to stop. */
static int look_for_stop(struct stage *stage, const struct validation *validation, const struct metrics *metrics, struct report *report) {
    const char *wanted = stage->training->early_stop.metric;
    size_t length = strlen(validation->name);
    if (!wanted || strncmp(wanted, validation->name, length) != 0 || wanted[length] != '.') return 0;
    for (size_t m = 0; m < metrics->count; m++) {
        if (strcmp(metrics->at[m].name, wanted + length + 1) != 0 || !metrics->at[m].count) continue;
        double value = metrics->at[m].values[0];
        bool better = isnan(stage->best) || (stage->training->early_stop.largest ? value > stage->best : value < stage->best);
        if (!better) {
            if (++stage->bad >= stage->training->early_stop.patience) stage->stopped = true;
            return 0;
        }
        stage->best = value, stage->bad = 0;
        return stage->training->early_stop.restore ? stage_keep_best(stage, report) : 0;
    }
    return 0;
}

static int validate(struct trainer *trainer, struct trainer_event *event, struct report *report) {
    struct stage *stage = trainer->now;
    struct validation *validation = trainer->validating;
    struct phase phase = phase_begin(trainer, TRAINER_VALIDATES);
    int code = validation_run(stage, validation, &trainer->metrics, report);
    phase_end(trainer, TRAINER_VALIDATES, &phase);
    if (code < 0) return code;
    describe(trainer, event, TRAINER_VALIDATION);
    event->name = validation->name, event->metrics = trainer->metrics.at, event->metric_count = trainer->metrics.count;
    return look_for_stop(stage, validation, &trainer->metrics, report);
}

/* Where the checkpoint was written. One from a stage's end goes on with the steps where there are to be more of them now. */
static void go_on(struct trainer *trainer) {
    struct stage *stage = trainer->now;
    int64_t state = checkpoint_number(trainer->resumed, "flow.state", AT_STEP);
    int64_t place = checkpoint_number(trainer->resumed, "flow.validating", 0);
    stage->stopped = checkpoint_number(trainer->resumed, "flow.stopped", 0) != 0;
    trainer->state = state >= AT_START && state <= AT_END_STAGE ? (enum trainer_state)state : AT_STEP;
    if (trainer->state >= AT_END_VALIDATE && !stage_over(stage)) trainer->state = AT_STEP;
    while (place-- > 0 && trainer->validating) trainer->validating = trainer->validating->next;
}

static int begin(struct trainer *trainer, struct trainer_event *event, struct report *report) {
    stage_free(trainer->before);
    trainer->before = trainer->now, trainer->now = NULL;
    struct phase phase = phase_begin(trainer, TRAINER_PLANS);
    int code = stage_begin(trainer, &trainer->leaves[trainer->at], report, &trainer->now);
    phase_end(trainer, TRAINER_PLANS, &phase);
    if (code == 0) {
        trainer->state = AT_START, trainer->validating = trainer->now->validations;
        if (trainer->resumed) go_on(trainer);
    }
    tensor_file_close(trainer->resumed);
    trainer->resumed = NULL;
    if (code < 0) return code;
    stage_free(trainer->before);
    trainer->before = NULL;
    describe(trainer, event, TRAINER_STAGE);
    return 0;
}

static int step(struct trainer *trainer, struct trainer_event *event, struct report *report) {
    struct stage *stage = trainer->now;
    struct phase phase = phase_begin(trainer, TRAINER_STEPS);
    int code = stage_step(stage, event, report);
    phase_end(trainer, TRAINER_STEPS, &phase);
    if (code < 0) return code;
    describe(trainer, event, TRAINER_STEP);
    int64_t every = stage->training->checkpoint.every;
    trainer->due = checkpoints(trainer) && every > 0 && stage->step % every == 0;
    trainer->validating = stage->validations;
    trainer->state = AT_VALIDATE;
    return 0;
}

static int write_checkpoint(struct trainer *trainer, struct trainer_event *event, struct report *report) {
    trainer->due = false;
    struct phase phase = phase_begin(trainer, TRAINER_SAVES);
    int code = checkpoint_write(trainer, report);
    phase_end(trainer, TRAINER_SAVES, &phase);
    if (code < 0) return code;
    describe(trainer, event, TRAINER_CHECKPOINT);
    event->name = trainer->name;
    return 0;
}

/* The last checkpoint before the caller is told that it was cancelled. */
static int stop(struct trainer *trainer, struct report *report) {
    int code = 0;
    if (trainer->now && checkpoints(trainer) && trainer->now->groups && trainer->state != AT_NEXT_STAGE && trainer->state != AT_END) {
        code = checkpoint_write(trainer, report);
        if (code == 0) code = behind_wait(trainer->behind, report);
    }
    if (code < 0) return code;
    return report_add(report, FLOW_ERROR_CANCELLED, (struct position){0},
                      trainer->now && checkpoints(trainer) ? "training was stopped; `--resume` goes on from %s" : "training was stopped%s",
                      trainer->now && checkpoints(trainer) ? trainer->name : "");
}

/* One move of the machine: 1 when the event is filled in. */
static int move(struct trainer *trainer, struct trainer_event *event, struct report *report) {
    struct stage *stage = trainer->now;
    int code = 0;
    switch (trainer->state) {
    case AT_NEXT_STAGE:
        if (trainer->at >= trainer->leaf_count) {
            code = trainer->behind ? behind_wait(trainer->behind, report) : 0;
            trainer->state = AT_END;
            return code;
        }
        code = begin(trainer, event, report);
        return code < 0 ? code : 1;
    case AT_START:
        if ((trainer->validating = due_from(stage, trainer->validating, true, false))) {
            code = validate(trainer, event, report);
            if (code == 0) trainer->validating = trainer->validating->next;
            return code < 0 ? code : 1;
        }
        trainer->state = AT_STEP;
        return 0;
    case AT_STEP:
        if (stage_over(stage)) {
            trainer->validating = stage->validations, trainer->state = AT_END_VALIDATE;
            if (stage->stopped && stage->training->early_stop.restore && stage_restore_best(stage) < 0) return report_memory(report);
            return 0;
        }
        code = step(trainer, event, report);
        return code < 0 ? code : 1;
    case AT_VALIDATE:
        if ((trainer->validating = due_from(stage, trainer->validating, false, false))) {
            code = validate(trainer, event, report);
            if (code == 0) trainer->validating = trainer->validating->next;
            return code < 0 ? code : 1;
        }
        trainer->state = AT_CHECKPOINT;
        return 0;
    case AT_CHECKPOINT:
        trainer->state = AT_STEP;
        if (!trainer->due || stage_over(stage)) return 0;
        code = write_checkpoint(trainer, event, report);
        return code < 0 ? code : 1;
    case AT_END_VALIDATE:
        if ((trainer->validating = due_from(stage, trainer->validating, false, true))) {
            code = validate(trainer, event, report);
            if (code == 0) trainer->validating = trainer->validating->next;
            return code < 0 ? code : 1;
        }
        trainer->state = AT_END_STAGE;
        if ((code = samples_write(stage, report)) < 0 || !checkpoints(trainer)) return code;
        code = write_checkpoint(trainer, event, report);
        return code < 0 ? code : 1;
    case AT_END_STAGE:
        describe(trainer, event, TRAINER_STAGE_END);
        trainer->at++, trainer->state = AT_NEXT_STAGE;
        return 1;
    case AT_END: describe(trainer, event, TRAINER_END); return 1;
    }
    return FLOW_ERROR_INTERNAL;
}

int trainer_next(struct trainer *trainer, struct trainer_event *event, struct report *report) {
    for (;;) {
        *event = (struct trainer_event){0};
        if (atomic_load(&trainer->cancelled)) return stop(trainer, report);
        int code = move(trainer, event, report);
        if (code == FLOW_ERROR_CANCELLED && atomic_load(&trainer->cancelled)) continue;
        if (code != 0) return code < 0 ? code : 0;
    }
}
