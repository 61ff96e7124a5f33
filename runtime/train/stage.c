/* SPDX-License-Identifier: Apache-2.0 */
/* One stage: its graph, who updates what, and a step. */
#include "base/element.h"
#include "graph/extents.h"
#include "train/schedule.h"
#include "train/stage.h"

#include <flow/random.h>

#include <math.h>
#include <string.h>
#include <time.h>

double trainer_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- What is wanted from a run ---- */

static size_t add_ref(struct stage *stage, struct network_ref ref) {
    for (size_t r = 0; r < stage->ref_count; r++)
        if (stage->refs[r].node == ref.node && stage->refs[r].output == ref.output) return r;
    stage->refs[stage->ref_count] = ref;
    return stage->ref_count++;
}

static bool same_loss(const struct program_pass *pass, const struct training_loss *loss) {
    return pass->count == 1 && pass->losses[0].ref.node == loss->ref.node && pass->losses[0].ref.output == loss->ref.output &&
           pass->losses[0].weight == loss->weight;
}

/* Pass 0 is the sum of the stage's losses; groups with a loss of their own follow one each. */
static int list_wants(struct stage *stage, struct report *report) {
    const struct training *training = stage->training;
    size_t most = training->loss_count + 2 * training->update_count + 1;
    stage->refs = arena_array(&stage->arena, most, sizeof *stage->refs);
    stage->passes = arena_array(&stage->arena, training->update_count + 1, sizeof *stage->passes);
    stage->losses = arena_array(&stage->arena, training->update_count + 1, sizeof *stage->losses);
    stage->pass_of = arena_array(&stage->arena, training->update_count, sizeof *stage->pass_of);
    stage->ref_of = arena_array(&stage->arena, training->update_count, sizeof *stage->ref_of);
    if (!stage->refs || !stage->passes || !stage->losses || !stage->pass_of || !stage->ref_of) return report_memory(report);
    stage->passes[stage->pass_count++] = (struct program_pass){training->losses, training->loss_count};
    for (size_t l = 0; l < training->loss_count; l++) add_ref(stage, training->losses[l].ref);
    for (size_t g = 0; g < training->update_count; g++) {
        const struct training_update *update = &training->updates[g];
        bool value = update->optimizer && update->optimizer->optimizer->flags & FLOW_OPTIMIZER_VALUE;
        stage->ref_of[g] = value ? add_ref(stage, update->value) : SIZE_MAX;
        stage->pass_of[g] = 0;
        if (!update->has_loss) {
            if (groups_with_gradient(update) && !training->loss_count)
                return report_add(report, FLOW_ERROR_GRAPH, update->at, "the group '%s' follows a loss, and the stage has none",
                                  update->params);
            continue;
        }
        add_ref(stage, update->loss.ref);
        size_t p = 0;
        while (p < stage->pass_count && !same_loss(&stage->passes[p], &update->loss)) p++;
        if (p == stage->pass_count) stage->passes[stage->pass_count++] = (struct program_pass){&update->loss, 1};
        stage->pass_of[g] = p;
    }
    return 0;
}

static int32_t pass_of(void *context, const char *parameter) {
    const struct stage *stage = context;
    int32_t g = groups_owner(stage->training, parameter);
    return g < 0 || !groups_with_gradient(&stage->training->updates[g]) ? -1 : (int32_t)stage->pass_of[g];
}

/* ---- Beginning ---- */

const struct training_data *stage_data(const struct training *training, const char *name) {
    for (size_t d = 0; name && d < training->data_count; d++)
        if (strcmp(training->datas[d].name, name) == 0) return &training->datas[d];
    return NULL;
}

struct program_options stage_program(const struct trainer *trainer, const struct network *network, int32_t phase) {
    const struct trainer_options *options = &trainer->options;
    return (struct program_options){.from = trainer->from,
                                    .network = network,
                                    .model = options->model,
                                    .host = options->host,
                                    .phase = phase,
                                    .precision = options->precision,
                                    .streams = options->streams,
                                    .seeded = options->seeded,
                                    .seed = options->seed};
}

static int copy_one(struct stage *stage, const struct training_copy *copy, const char *name, struct report *report) {
    const char *to;
    struct arena scratch;
    arena_init(&scratch, stage->trainer->from);
    int code = 0;
    if (pattern_map(&scratch, copy->from, copy->to, name, &to)) {
        struct model *model = stage->trainer->options.model;
        const struct flow_tensor *source = model_get(model, name), *target = to ? model_get(model, to) : NULL;
        if (!to) code = report_memory(report);
        else if (!target) code = report_add(report, FLOW_ERROR_GRAPH, copy->at, "copy: there is no parameter '%s' for '%s'", to, name);
        else if (!extents_same(source, target))
            code = report_add(report, FLOW_ERROR_SHAPE, copy->at, "copy: '%s' and '%s' have different shapes", name, to);
        else if (model_copy(model, target, source) < 0) code = report_memory(report);
    }
    arena_free(&scratch);
    return code;
}

static int copies_and_resets(struct stage *stage, struct report *report) {
    const struct training *training = stage->training;
    const struct instance *instance = program_instance(stage->program);
    int code = 0;
    for (size_t r = 0; r < training->reset_count && code == 0; r++)
        for (size_t p = 0; p < instance->param_count && code == 0; p++)
            if (text_matches(training->resets[r], instance->values[instance->params[p]].name))
                code = model_reset(stage->trainer->options.model, instance, instance->params[p], report);
    for (size_t c = 0; c < training->copy_count && code == 0; c++) {
        const char *name;
        bool any = false;
        for (size_t i = 0; code == 0 && model_at(stage->trainer->options.model, i, &name); i++) {
            if (!text_matches(training->copies[c].from, name)) continue;
            any = true;
            code = copy_one(stage, &training->copies[c], name, report);
        }
        if (code == 0 && !any)
            code =
                report_add(report, FLOW_ERROR_GRAPH, training->copies[c].at, "copy: no parameter matches '%s'", training->copies[c].from);
    }
    return code;
}

/* No step is made and nothing is fed: parameters have the same shapes for any extents that the graph allows, so some are tried. */
static int plan_idle(struct stage *stage, struct report *report) {
    static const int64_t extents[] = {1, 16, 64, 1024, 16000};
    enum { TRIES = sizeof extents / sizeof *extents };
    const struct network *network = stage->network;
    struct flow_tensor *given = stage->feeding.inputs, *inputs = arena_array(&stage->arena, network->input_count + 1, sizeof *inputs);
    if (!inputs) return report_memory(report);
    int code = FLOW_ERROR_SHAPE;
    for (int t = 0; t < TRIES && code < 0 && code != FLOW_ERROR_MEMORY; t++) {
        struct report quiet;
        report_init(&quiet, stage->trainer->from);
        struct report *told = t == TRIES - 1 ? report : &quiet;
        code = instance_inputs(network, NULL, 0, extents[t], stage->trainer->options.precision, told, inputs);
        for (size_t i = 0; i < network->input_count; i++)
            if (given[i].rank >= 0) inputs[i] = given[i];
        if (code == 0) code = program_plan(stage->program, inputs, told);
        report_free(&quiet);
    }
    return code == FLOW_ERROR_MEMORY ? report_memory(report) : code;
}

static int plan_first(struct stage *stage, struct report *report) {
    struct program_options options = stage_program(stage->trainer, stage->network, FLOW_PHASE_TRAINING);
    options.refs = stage->refs, options.ref_count = stage->ref_count;
    options.passes = stage->passes, options.pass_count = stage->pass_count;
    options.pass_of = pass_of, options.context = stage;
    options.profile = stage->trainer->options.profile;
    int code = program_new(&options, report, &stage->program);
    if (code == 0) code = feeding_types(&stage->feeding, report);
    if (code == 0) code = stage->feeding.idle ? plan_idle(stage, report) : program_plan(stage->program, stage->feeding.inputs, report);
    return code == 0 && stage->feeding.generator ? generator_bind(stage->feeding.generator, report) : code;
}

static int name_stage(struct stage *stage, struct report *report) {
    const char *name = stage->training->name && *stage->training->name ? stage->training->name : NULL;
    bool label = stage->leaf->label[0] != 0;
    stage->name =
        name ? arena_format(&stage->arena, "%s%s", name, stage->leaf->label) : arena_text(&stage->arena, label ? stage->leaf->label : "");
    return stage->name ? 0 : report_memory(report);
}

/* ---- Running statistics ---- */

/* A run writes them, also one that fails: then they are put back. */
struct running {
    void *live, *before;
    size_t bytes;
};

static int find_running(struct stage *stage, struct report *report) {
    const struct instance *instance = program_instance(stage->program);
    stage->running = arena_array(&stage->arena, instance->param_count, sizeof *stage->running);
    if (!stage->running) return report_memory(report);
    for (size_t p = 0; p < instance->param_count; p++) {
        const struct instance_value *value = &instance->values[instance->params[p]];
        if (!(value->flags & FLOW_RUNNING)) continue;
        const struct flow_tensor *now = model_get(stage->trainer->options.model, value->name);
        struct running *running = &stage->running[stage->running_count];
        *running = (struct running){now->data, NULL, (size_t)stage_bytes(now)};
        if (!(running->before = arena_new(&stage->arena, running->bytes + 1))) return report_memory(report);
        stage->running_count++;
    }
    return 0;
}

static int keep_running(struct stage *stage, bool back) {
    struct device *device = stage->trainer->options.device;
    int code = 0;
    for (size_t r = 0; r < stage->running_count && code == 0; r++) {
        struct running *running = &stage->running[r];
        code = back ? device_put(device, running->live, running->before, (int64_t)running->bytes)
                    : device_get(device, running->before, running->live, (int64_t)running->bytes);
    }
    return code;
}

int stage_begin(struct trainer *trainer, const struct leaf *leaf, struct report *report, struct stage **out) {
    *out = NULL;
    struct stage *stage = memory_new(trainer->from, sizeof *stage);
    if (!stage) return report_memory(report);
    arena_init(&stage->arena, trainer->from);
    stage->trainer = trainer, stage->leaf = leaf, stage->best = NAN;
    int64_t first = trainer->resumed ? checkpoint_number(trainer->resumed, "flow.batch", 0) : 0;
    uint64_t seed = trainer->options.seeded ? trainer->options.seed : trainer->options.network->seed;
    int code = stages_read(trainer, leaf, NULL, 0, report, &stage->network);
    if (code == 0) {
        stage->training = stage->network->training;
        stage->steps = trainer->options.steps > 0 && stage->training->steps != 0 ? trainer->options.steps : stage->training->steps;
        code = name_stage(stage, report);
    }
    if (code == 0) code = list_wants(stage, report);
    if (code == 0) {
        const struct training *training = stage->training;
        const struct training_data *data = stage_data(training, training->data);
        stage->feeding.idle = stage->steps == 0 && !data;
        code = feeding_open(&stage->feeding, trainer, stage->network, data, training->feed_step, training->feed_progress, false, first,
                            flow_key(seed, data ? data->name : ""), report);
    }
    if (code == 0) code = plan_first(stage, report);
    if (code == 0 && !trainer->resumed) code = copies_and_resets(stage, report);
    if (code == 0)
        code = groups_new(trainer->from, trainer->options.device, trainer->options.model, stage->training, stage->program, stage->pass_of,
                          stage->ref_of, flow_key(seed, stage->name), report, &stage->groups);
    if (code == 0 && stage->training->keep_state && trainer->before && trainer->before->groups)
        code = groups_keep(stage->groups, trainer->before->groups) < 0 ? report_memory(report) : 0;
    if (code == 0) code = find_running(stage, report);
    if (code == 0) code = validations_open(stage, report);
    if (code == 0 && trainer->resumed) code = checkpoint_restore(trainer, stage, report);
    stage->began = trainer_clock();
    if (code < 0) stage_free(stage);
    else *out = stage;
    return code;
}

static size_t kept_count(const struct stage *stage) {
    const struct instance *instance = stage->program ? program_instance(stage->program) : NULL;
    return instance ? instance->param_count : 0;
}

void stage_free(struct stage *stage) {
    if (!stage) return;
    const struct allocator *from = stage->trainer->from;
    const struct profile *profile = stage->program ? context_profiled(program_context(stage->program)) : NULL;
    if (profile && profile_merge(&stage->trainer->gone, profile) < 0) stage->trainer->gone.incomplete = true;
    for (size_t p = 0; stage->kept && p < kept_count(stage); p++)
        if (stage->kept[p].rank >= 0) memory_free(from, stage->kept[p].data, (size_t)stage_bytes(&stage->kept[p]) + 1);
    samples_free(stage);
    validations_close(stage);
    groups_free(stage->groups);
    program_free(stage->program);
    feeding_close(&stage->feeding, stage->trainer);
    arena_free(&stage->arena);
    network_free(stage->network);
    memory_free(from, stage, sizeof *stage);
}

/* ---- Steps ---- */

static double elapsed(const struct stage *stage) { return stage->spent + trainer_clock() - stage->began; }

bool stage_over(const struct stage *stage) {
    if (stage->stopped) return true;
    if (stage->steps >= 0 && stage->step >= stage->steps) return true;
    return stage->training->seconds > 0 && elapsed(stage) >= stage->training->seconds;
}

double stage_progress(const struct stage *stage) {
    double share = stage->steps > 0 ? (double)stage->step / (double)stage->steps : 0;
    if (stage->steps <= 0 && stage->training->seconds > 0) share = elapsed(stage) / stage->training->seconds;
    return share > 1 ? 1 : share;
}

static double sum_of(const struct flow_tensor *t) {
    double sum = 0;
    int64_t count = t->rank < 0 ? 0 : 1;
    for (int32_t a = 0; a < t->rank; a++) count *= t->shape[a];
    for (int64_t i = 0; i < count; i++) sum += element_read(t->data, t->dtype, i);
    return sum;
}

static size_t ref_index(const struct stage *stage, struct network_ref ref) {
    for (size_t r = 0; r < stage->ref_count; r++)
        if (stage->refs[r].node == ref.node && stage->refs[r].output == ref.output) return r;
    return 0;
}

/* Adds the run's losses; false where one is not finite. */
static bool add_losses(struct stage *stage, double share) {
    bool finite = true;
    for (size_t p = 0; p < stage->pass_count; p++)
        for (size_t l = 0; l < stage->passes[p].count; l++) {
            const struct training_loss *loss = &stage->passes[p].losses[l];
            const struct flow_tensor *lost = program_value(stage->program, ref_index(stage, loss->ref));
            double value = lost ? sum_of(lost) : NAN;
            stage->losses[p] += share * loss->weight * value;
            finite = finite && isfinite(value);
        }
    return finite;
}

/* Where did it go wrong? The run once more, looking at every node. */
static int not_finite(struct stage *stage, struct report *report) {
    struct context *context = program_context(stage->program);
    if (keep_running(stage, true) < 0) return report_memory(report);
    context_number(context, stage->trainer->runs - 1);
    int32_t before = report->count;
    const bool apart = stage->trainer->options.device->api->apart; /* there nodes are not looked at one by one */
    int code = apart ? 0 : context_trace(context, stage->feeding.inputs, report);
    if (report->count == before)
        code = report_add(report, FLOW_ERROR_RANGE, stage->training->at, "the loss is not finite at step %lld", (long long)stage->step);
    report_add(report, FLOW_ERROR_RANGE, stage->training->at,
               "training stopped before step %lld was applied: the parameters are those of the step before", (long long)stage->step + 1);
    return code < 0 ? code : FLOW_ERROR_RANGE;
}

static int run_batches(struct stage *stage, int64_t *rows, struct report *report) {
    struct trainer *trainer = stage->trainer;
    int64_t micro = stage->training->micro_batches > 1 ? stage->training->micro_batches : 1;
    for (size_t p = 0; p < stage->pass_count; p++) stage->losses[p] = 0;
    for (int64_t m = 0; m < micro; m++) {
        struct phase phase = phase_begin(trainer, TRAINER_DATA);
        int code = feeding_next(&stage->feeding, trainer, stage->step, stage_progress(stage), report);
        phase_end(trainer, TRAINER_DATA, &phase);
        if (code < 0) return code;
        int64_t epoch = feeding_in_epoch(&stage->feeding), number = stage->feeding.number;
        if (number > 0 && epoch != INT64_MAX && epoch > 0 && number % epoch == 0) context_epoch(program_context(stage->program));
        phase = phase_begin(trainer, TRAINER_RUNS);
        code = program_run(stage->program, stage->feeding.inputs, trainer->runs++, report);
        phase_end(trainer, TRAINER_RUNS, &phase);
        if (code < 0) return code;
        *rows += stage->feeding.rows;
        if (!add_losses(stage, 1.0 / (double)micro)) return not_finite(stage, report);
        if (micro > 1 && groups_add(stage->groups, stage->program, m == 0) < 0) return report_memory(report);
    }
    return 0;
}

/* graph/ reads the words, schedule.h knows the curves: one order. */
_Static_assert((int)TRAINING_CONSTANT == (int)SCHEDULE_CONSTANT && (int)TRAINING_LINEAR == (int)SCHEDULE_LINEAR &&
                   (int)TRAINING_COSINE == (int)SCHEDULE_COSINE && (int)TRAINING_STEP == (int)SCHEDULE_STEP &&
                   (int)TRAINING_INVERSE_SQRT == (int)SCHEDULE_INVERSE_SQRT,
               "kinds of schedules are passed on as they are");

static double rate_of(const struct stage *stage) {
    const struct training_schedule *about = &stage->training->schedule;
    struct schedule schedule = {(enum schedule_kind)about->kind, about->warmup, about->final, about->every, about->factor};
    return schedule_rate(&schedule, stage->step, stage->steps > 0 ? stage->steps : 0, stage_progress(stage));
}

static int make_step(struct stage *stage, struct trainer_event *event, struct report *report) {
    int64_t rows = 0;
    int code = run_batches(stage, &rows, report);
    if (code < 0) return code;
    struct groups_step step = {.step = stage->step, .rate = rate_of(stage), .loss = stage->losses, .norm = NAN};
    int32_t errors = report->count;
    struct phase phase = phase_begin(stage->trainer, TRAINER_UPDATES);
    code = groups_update(stage->groups, stage->program, &step, report);
    phase_end(stage->trainer, TRAINER_UPDATES, &phase);
    if (code == FLOW_ERROR_RANGE && report->count > errors) (void)!not_finite(stage, report);
    if (code < 0) return code;
    event->loss = stage->training->loss_count ? stage->losses[0] : NAN;
    event->grad_norm = step.norm, event->rate = step.rate, event->rows = rows;
    return 0;
}

int stage_step(struct stage *stage, struct trainer_event *event, struct report *report) {
    double start = trainer_clock();
    if (keep_running(stage, false) < 0) return report_memory(report);
    int code = make_step(stage, event, report);
    if (code < 0) return keep_running(stage, true) < 0 ? report_memory(report) : code;
    stage->step++, stage->trainer->total++;
    code = samples_take(stage, report);
    event->step_seconds = trainer_clock() - start;
    return code;
}

/* ---- The best parameters ---- */

int stage_keep_best(struct stage *stage, struct report *report) {
    const struct instance *instance = program_instance(stage->program);
    if (!stage->kept) {
        if (!(stage->kept = arena_array(&stage->arena, instance->param_count, sizeof *stage->kept))) return report_memory(report);
        for (size_t p = 0; p < instance->param_count; p++) stage->kept[p].rank = -1;
    }
    for (size_t p = 0; p < instance->param_count; p++) {
        const struct flow_tensor *now = model_get(stage->trainer->options.model, instance->values[instance->params[p]].name);
        struct flow_tensor *kept = &stage->kept[p];
        if (kept->rank < 0) {
            void *data = memory_new(stage->trainer->from, (size_t)stage_bytes(now) + 1);
            if (!data) return report_memory(report);
            *kept = *now, kept->data = data, kept->device = FLOW_DEVICE_CPU;
        }
        if (device_get(stage->trainer->options.device, kept->data, now->data, stage_bytes(now)) < 0) return report_memory(report);
    }
    return 0;
}

int stage_restore_best(struct stage *stage) {
    const struct instance *instance = program_instance(stage->program);
    int code = 0;
    for (size_t p = 0; stage->kept && p < instance->param_count && code == 0; p++) {
        const struct flow_tensor *now = model_get(stage->trainer->options.model, instance->values[instance->params[p]].name);
        if (stage->kept[p].rank >= 0) code = device_put(stage->trainer->options.device, now->data, stage->kept[p].data, stage_bytes(now));
    }
    return code;
}
