/* SPDX-License-Identifier: Apache-2.0 */
/* Validation: the graph in inference mode over a data set; a metric is a node's mean over it, by rows. */
#include "base/element.h"
#include "train/stage.h"

#include <flow/random.h>

#include <math.h>
#include <string.h>

/* ---- Opening ---- */

static int add(struct stage *stage, size_t index, size_t at, struct validation ***end, struct report *report) {
    const struct training_validate *about = &stage->training->validates[index];
    const char *value = about->entry.foreach ? about->entry.values[at] : NULL;
    struct validation *made = arena_new(&stage->arena, sizeof *made);
    if (!made) return report_memory(report);
    **end = made, *end = &made->next;
    made->about = about;
    if (!about->entry.foreach && !about->entry.var_count) {
        made->name = about->name;
        return 0;
    }
    struct training_var *vars = arena_array(&stage->arena, about->entry.var_count + 1, sizeof *vars);
    if (!vars) return report_memory(report);
    size_t count = 0;
    if (about->entry.foreach) vars[count++] = (struct training_var){about->entry.foreach, value};
    for (size_t v = 0; v < about->entry.var_count; v++) vars[count++] = about->entry.vars[at * about->entry.var_count + v];
    int code = stages_read(stage->trainer, stage->leaf, vars, count, report, &made->network);
    if (code < 0) return code;
    if (index >= made->network->training->validate_count)
        return report_add(report, FLOW_ERROR_GRAPH, about->at, "the validation '%s' is not there with its own variables", about->name);
    made->about = &made->network->training->validates[index];
    bool told = !value || about->name_varies;
    made->name = told ? made->about->name : arena_format(&stage->arena, "%s[%s]", made->about->name, value);
    return made->name ? 0 : report_memory(report);
}

int validations_open(struct stage *stage, struct report *report) {
    struct validation **end = &stage->validations;
    int code = 0;
    for (size_t v = 0; v < stage->training->validate_count && code == 0; v++) {
        const struct training_entry *entry = &stage->training->validates[v].entry;
        for (size_t i = 0; i < (entry->foreach ? entry->value_count : 1) && code == 0; i++) code = add(stage, v, i, &end, report);
    }
    return code;
}

void validations_close(struct stage *stage) {
    for (struct validation *v = stage->validations; v; v = v->next) {
        for (size_t m = 0; v->pooled && m < v->about->metric_count; m++)
            if (v->about->metrics[m].graph) pooled_close(stage, &v->pooled[m], v->about->metrics[m].pair_count);
        program_free(v->program);
        feeding_close(&v->feeding, stage->trainer);
        network_free(v->network);
    }
    stage->validations = NULL;
}

static const struct network *network_of(const struct stage *stage, const struct validation *validation) {
    return validation->network ? validation->network : stage->network;
}

static int open_one(struct stage *stage, struct validation *validation, struct report *report) {
    const struct training_validate *about = validation->about;
    const struct network *network = network_of(stage, validation);
    const struct training *training = network->training;
    struct trainer *trainer = stage->trainer;
    const struct trainer_options *options = &trainer->options;
    uint64_t seed = options->seeded ? options->seed : network->seed;
    size_t most = about->metric_count;
    for (size_t m = 0; m < about->metric_count; m++) most += about->metrics[m].pair_count;
    validation->refs = arena_array(&stage->arena, most, sizeof *validation->refs);
    validation->pooled = arena_array(&stage->arena, about->metric_count, sizeof *validation->pooled);
    if (!validation->refs || !validation->pooled) return report_memory(report);
    validation->ref_count = about->metric_count;
    for (size_t m = 0; m < about->metric_count; m++) {
        const struct training_metric *metric = &about->metrics[m];
        validation->refs[m] = metric->graph ? (struct network_ref){NETWORK_NOTHING, 0} : metric->ref;
        if (!metric->graph) continue;
        int code = pooled_open(stage, validation, metric, &validation->pooled[m], report);
        if (code < 0) return code;
        validation->pooled[m].first_ref = validation->ref_count;
        for (size_t p = 0; p < metric->pair_count; p++) validation->refs[validation->ref_count++] = metric->pairs[p].ref;
    }
    struct program_options program = stage_program(trainer, network, FLOW_PHASE_INFERENCE);
    program.refs = validation->refs, program.ref_count = validation->ref_count;
    int code = program_new(&program, report, &validation->program);
    if (code == 0)
        code = feeding_open(&validation->feeding, trainer, network, stage_data(training, about->data), training->feed_step,
                            training->feed_progress, true, 0, flow_key(seed, about->data ? about->data : ""), report);
    validation->opened = code == 0;
    return code;
}

/* ---- Running ---- */

struct total {
    double *sums;
    size_t count;
    bool integer;
};

static int add_value(struct arena *arena, struct total *total, const struct flow_tensor *value, double weight, const char *name,
                     struct position at, struct report *report) {
    int64_t count = 1;
    for (int32_t a = 0; a < value->rank; a++) count *= value->shape[a];
    total->integer = !dtype_float(value->dtype) && value->dtype != FLOW_BOOL;
    if (!total->sums) {
        total->count = (size_t)count;
        if (!(total->sums = arena_array(arena, total->count + 1, sizeof *total->sums))) return report_memory(report);
    }
    if ((size_t)count != total->count)
        return report_add(report, FLOW_ERROR_SHAPE, at, "metric '%s' has %lld numbers in one batch and %zu in another", name,
                          (long long)count, total->count);
    for (int64_t i = 0; i < count; i++) total->sums[i] += (total->integer ? 1 : weight) * element_read(value->data, value->dtype, i);
    return 0;
}

/* Brings what one context keeps into another, by the values' names. */
static void copy_feeds(const struct context *from, struct context *to) {
    const char *name, *other;
    for (size_t i = 0; i < context_feeds(to); i++)
        for (size_t k = 0; k < context_feeds(from); k++) {
            const struct flow_tensor *value = context_feed(from, k, &name);
            other = context_feed_name(to, i);
            if (value && other && strcmp(name, other) == 0) (void)!context_set_feed(to, i, value);
        }
}

static int run_all(struct stage *stage, struct validation *validation, struct total *totals, double *weight, struct arena *arena,
                   struct report *report) {
    const struct training_validate *about = validation->about;
    struct feeding *feeding = &validation->feeding;
    struct context *context = program_context(validation->program), *training = program_context(stage->program);
    int64_t batches = feeding_in_epoch(feeding);
    if (batches == INT64_MAX) batches = 1;
    feeding_restart(feeding);
    int code = feeding_types(feeding, report);
    for (int64_t b = 0; b < batches && code == 0; b++) {
        code = feeding_next(feeding, stage->trainer, stage->step, stage_progress(stage), report);
        if (code == 0) code = program_plan(validation->program, feeding->inputs, report);
        if (code < 0) return code;
        if (b == 0 || about->state == TRAINING_STATE_READ) copy_feeds(training, context);
        code = program_run(validation->program, feeding->inputs, (uint64_t)b, report);
        for (size_t m = 0; m < about->metric_count && code == 0; m++) {
            struct pooled *pooled = about->metrics[m].graph ? &validation->pooled[m] : NULL;
            for (size_t p = 0; pooled && p < about->metrics[m].pair_count && code == 0; p++)
                code = pooled_add(stage, pooled, p, program_value(validation->program, pooled->first_ref + p), b == 0, &about->metrics[m],
                                  report);
            if (pooled) continue;
            code = add_value(arena, &totals[m], program_value(validation->program, m), (double)feeding->rows, about->metrics[m].name,
                             about->metrics[m].at, report);
        }
        *weight += (double)feeding->rows;
        if (code == 0 && atomic_load(&stage->trainer->cancelled)) code = FLOW_ERROR_CANCELLED;
    }
    if (code == 0 && about->state == TRAINING_STATE_KEEP) copy_feeds(context, training);
    return code;
}

int validation_run(struct stage *stage, struct validation *validation, struct metrics *metrics, struct report *report) {
    const struct training_validate *about = validation->about;
    arena_free(&metrics->arena);
    arena_init(&metrics->arena, stage->trainer->from);
    metrics->count = 0;
    metrics->at = arena_array(&metrics->arena, about->metric_count, sizeof *metrics->at);
    struct total *totals = arena_array(&metrics->arena, about->metric_count, sizeof *totals);
    if (!metrics->at || !totals) return report_memory(report);
    if (!validation->opened) {
        int code = open_one(stage, validation, report);
        if (code < 0) return code;
    }
    /* Parameters have changed since: what was packed from them goes. */
    for (struct validation *v = stage->validations; v; v = v->next) {
        program_forget(v->program);
        for (size_t m = 0; v->pooled && m < v->about->metric_count; m++) program_forget(v->pooled[m].program);
    }
    model_changed(stage->trainer->options.model);
    double weight = 0;
    int code = run_all(stage, validation, totals, &weight, &metrics->arena, report);
    for (size_t m = 0; m < about->metric_count && code == 0; m++) {
        const struct flow_tensor *value = NULL;
        if (about->metrics[m].graph) {
            code = pooled_run(&validation->pooled[m], &about->metrics[m], report, &value);
            if (code == 0)
                code = add_value(&metrics->arena, &totals[m], value, weight, about->metrics[m].name, about->metrics[m].at, report);
            if (code < 0) return code;
        }
        for (size_t i = 0; i < totals[m].count && !totals[m].integer; i++) totals[m].sums[i] /= weight;
        metrics->at[metrics->count++] = (struct trainer_metric){about->metrics[m].name, totals[m].sums, totals[m].count};
    }
    return code;
}
