/* SPDX-License-Identifier: Apache-2.0 */
/* What `train` says: its stages, and in each which group of `update` owns which parameters. */
#include "embed/embed.h"
#include "embed/text_out.h"
#include "graph/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STAGES_DEEP = 64, VALUES_SHOWN = 100, NAMES_SHOWN = 6 };

/* The way to a stage: what `foreach` and `vars` say on it, foreach with its first value. */
struct way {
    flow_graph *graph;
    const struct flow_describe_options *options;
    struct report *report;
    struct text *out;
    size_t stage[STAGES_DEEP], depth;
    const struct training_entry *entries[STAGES_DEEP];
    struct training_var *vars;
    size_t var_count, var_room;
    size_t shown; /* stages told so far */
};

/* ---- Values ---- */

/* With a point whatever the locale; the fewest digits that give the number back. */
static void put_real(struct text *out, double value) {
    char words[64];
    if (!isfinite(value)) {
        text_put(out, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(words, sizeof words, "%.*g", digits, value);
        if (strtod(words, NULL) == value) break;
    }
    for (char *c = words; *c; c++)
        if (*c == ',') *c = '.';
    text_put(out, words);
}

static void put_choice(struct text *out, const char *choices, int32_t place) {
    for (; choices && place > 0; place--) choices = strchr(choices, '|') ? strchr(choices, '|') + 1 : NULL;
    char word[128];
    snprintf(word, sizeof word, "%.*s", choices ? (int)strcspn(choices, "|") : 0, choices ? choices : "");
    if (choices && place == 0) text_json(out, word);
    else text_put(out, "null");
}

static void put_ints(struct text *out, const struct flow_attr *row, const struct flow_ints *ints) {
    if (ints->word >= 0) {
        put_choice(out, row->choices, ints->word);
        return;
    }
    if (!ints->scalar) text_put(out, "[");
    for (uint32_t i = 0; i < ints->count; i++) text_format(out, "%s%lld", i ? ", " : "", (long long)ints->at[i]);
    if (!ints->scalar) text_put(out, "]");
}

static void put_attr(struct text *out, const struct flow_attr *row, const void *attrs) {
    const void *field = (const char *)attrs + row->offset;
    int64_t integer = 0;
    switch (row->type) {
    case FLOW_ATTR_INT:
        integer = *(const int64_t *)field;
        if (integer == FLOW_INT_ABSENT) text_put(out, "null");
        else text_format(out, "%lld", (long long)integer);
        break;
    case FLOW_ATTR_REAL: put_real(out, *(const double *)field); break;
    case FLOW_ATTR_BOOL: text_put(out, *(const bool *)field ? "true" : "false"); break;
    case FLOW_ATTR_TEXT: text_json(out, *(const char *const *)field); break;
    case FLOW_ATTR_CHOICE: put_choice(out, row->choices, *(const int32_t *)field); break;
    case FLOW_ATTR_INTS: put_ints(out, row, field); break;
    case FLOW_ATTR_DTYPE: text_json(out, dtype_name(((const struct flow_dtype *)field)->type)); break;
    default: text_put(out, "null"); break;
    }
}

/* {"lr": 0.1, ..} or "lr 0.1, ..": those that have a value. */
static void put_attrs(struct text *out, const struct flow_attrs *rows, const void *attrs, bool json) {
    bool first = true;
    if (json) text_put(out, "{");
    for (uint32_t i = 0; attrs && i < rows->count; i++) {
        size_t before = out->length;
        if (!first) text_put(out, ", ");
        if (json) text_json(out, rows->at[i].name);
        else text_put(out, rows->at[i].name);
        text_put(out, json ? ": " : " ");
        size_t value = out->length;
        put_attr(out, &rows->at[i], attrs);
        bool none = !out->failed && out->length == value + 4 && memcmp(out->at + value, "null", 4) == 0;
        if (none) out->length = before;
        else first = false;
    }
    if (json) text_put(out, "}");
}

/* ---- Parameters of groups ---- */

static int32_t owner(const struct training *training, const char *parameter) {
    for (size_t g = 0; g < training->update_count; g++)
        if (text_matches(training->updates[g].params, parameter)) return (int32_t)g;
    return -1;
}

/* Is it a number that optimisers move? Statistics and vocabularies are not. */
static bool trained(const struct instance_value *value) { return dtype_float(value->type.dtype) && !(value->flags & FLOW_RUNNING); }

/* The names of a group's parameters (-1: of none). Gives how many. */
static size_t put_names(const struct way *way, const struct training *training, const struct instance *instance, int32_t group) {
    struct text *out = way->out;
    bool json = way->options->json;
    size_t count = 0, most = json || way->options->verbose ? SIZE_MAX : NAMES_SHOWN;
    for (size_t p = 0; p < instance->param_count; p++) {
        const struct instance_value *value = &instance->values[instance->params[p]];
        if (!trained(value) || owner(training, value->name) != group) continue;
        if (count < most) {
            if (count) text_put(out, ", ");
            if (json) text_json(out, value->name);
            else text_put(out, value->name);
        }
        count++;
    }
    if (count > most) text_format(out, ", .. (%zu)", count);
    return count;
}

static bool frozen(const struct training *training, const struct instance *instance) {
    for (size_t p = 0; p < instance->param_count; p++) {
        const struct instance_value *value = &instance->values[instance->params[p]];
        if (trained(value) && owner(training, value->name) < 0) return true;
    }
    return false;
}

/* ---- Lines ---- */

static const char *const schedules[] = {"constant", "linear", "cosine", "step", "inverse_sqrt"};
static const char *const states[] = {"copy", "read", "keep"};

static void text_head(const struct way *way, const struct training *training) {
    struct text *out = way->out;
    text_format(out, "train%s%s:", *training->name ? " " : "", training->name);
    for (size_t i = 0; i < way->depth; i++)
        if (way->entries[i]->foreach) text_format(out, " for each of %zu %s:", way->entries[i]->value_count, way->entries[i]->foreach);
    if (training->steps >= 0) text_format(out, " %lld steps", (long long)training->steps);
    if (training->seconds > 0) text_put(out, " "), put_real(out, training->seconds), text_put(out, " seconds");
    for (size_t i = 0; i < training->loss_count; i++) {
        text_put(out, i ? " + " : ", loss ");
        if (training->losses[i].weight != 1) put_real(out, training->losses[i].weight), text_put(out, " * ");
        text_put(out, training->losses[i].name);
    }
    if (training->data) text_format(out, ", data %s", training->data);
    if (training->schedule.kind != TRAINING_CONSTANT || training->schedule.warmup)
        text_format(out, ", schedule %s", schedules[training->schedule.kind]);
    if (training->schedule.warmup) text_format(out, " (warmup %lld)", (long long)training->schedule.warmup);
    if (training->clip_norm > 0) text_put(out, ", clip_norm "), put_real(out, training->clip_norm);
    if (training->noise.given) text_put(out, ", noise "), put_real(out, training->noise.eta);
    if (training->micro_batches > 1) text_format(out, ", micro_batches %lld", (long long)training->micro_batches);
    text_put(out, "\n");
}

static void text_stage(const struct way *way, const struct training *training, const struct instance *instance) {
    struct text *out = way->out;
    text_head(way, training);
    for (size_t g = 0; g < training->update_count; g++) {
        const struct training_update *update = &training->updates[g];
        const struct flow_optimizer *optimizer = update->optimizer->optimizer;
        text_format(out, "  update  %s: %s", update->params, optimizer->name);
        size_t before = out->length;
        text_put(out, " (");
        put_attrs(out, &optimizer->attrs, update->attrs, false);
        if (out->length == before + 2) out->length = before;
        else text_put(out, ")");
        if (update->has_loss) text_format(out, ", loss %s", update->loss.name);
        if (update->every > 1) text_format(out, ", every %lld steps", (long long)update->every);
        text_put(out, ": ");
        if (!put_names(way, training, instance, (int32_t)g)) text_put(out, "no parameter");
        text_put(out, "\n");
    }
    if (frozen(training, instance)) {
        text_put(out, "  frozen (no group owns them): ");
        put_names(way, training, instance, -1);
        text_put(out, "\n");
    }
    for (size_t v = 0; v < training->validate_count; v++) {
        const struct training_validate *validate = &training->validates[v];
        text_format(out, "  validate %s%s%s:", validate->name, validate->data ? " on " : "", validate->data ? validate->data : "");
        for (size_t m = 0; m < validate->metric_count; m++) text_format(out, "%s %s", m ? "," : "", validate->metrics[m].name);
        if (validate->every) text_format(out, ", every %lld steps", (long long)validate->every);
        if (validate->at_start) text_put(out, ", at the start");
        if (validate->at_end) text_put(out, ", at the end");
        text_put(out, "\n");
    }
}

/* ---- JSON ---- */

static void json_pair(struct text *out, const char *name, const char *value) {
    text_format(out, ", \"%s\": ", name);
    text_json(out, value);
}

static void json_int(struct text *out, const char *name, int64_t value) { text_format(out, ", \"%s\": %lld", name, (long long)value); }

static void json_real(struct text *out, const char *name, double value) {
    text_format(out, ", \"%s\": ", name);
    put_real(out, value);
}

static void json_ways(const struct way *way) {
    struct text *out = way->out;
    bool first = true;
    text_put(out, ", \"foreach\": [");
    for (size_t i = 0; i < way->depth; i++) {
        const struct training_entry *entry = way->entries[i];
        if (!entry->foreach) continue;
        text_put(out, first ? "{\"variable\": " : ", {\"variable\": ");
        text_json(out, entry->foreach);
        text_format(out, ", \"count\": %zu, \"values\": [", entry->value_count);
        for (size_t v = 0; v < entry->value_count && v < VALUES_SHOWN; v++) text_put(out, v ? ", " : ""), text_json(out, entry->values[v]);
        text_put(out, "]}");
        first = false;
    }
    text_put(out, "], \"vars\": {");
    first = true;
    for (size_t i = 0; i < way->depth; i++)
        for (size_t v = 0; v < way->entries[i]->var_count; v++) {
            if (!first) text_put(out, ", ");
            text_json(out, way->entries[i]->vars[v].name);
            text_put(out, ": ");
            text_json(out, way->entries[i]->vars[v].value);
            first = false;
        }
    text_put(out, "}");
}

static void json_updates(const struct way *way, const struct training *training, const struct instance *instance) {
    struct text *out = way->out;
    text_put(out, ", \"updates\": [");
    for (size_t g = 0; g < training->update_count; g++) {
        const struct training_update *update = &training->updates[g];
        const struct flow_optimizer *optimizer = update->optimizer->optimizer;
        text_put(out, g ? ",\n{\"params\": " : "{\"params\": ");
        text_json(out, update->params);
        json_pair(out, "optimizer", optimizer->name);
        text_put(out, ", \"with\": ");
        put_attrs(out, &optimizer->attrs, update->attrs, true);
        if (update->has_loss) json_pair(out, "loss", update->loss.name);
        json_int(out, "every", update->every);
        json_real(out, "clip_norm", update->clip_norm);
        text_format(out, ", \"centralize\": %s, \"owns\": [", update->centralize ? "true" : "false");
        put_names(way, training, instance, (int32_t)g);
        text_put(out, "]}");
    }
    text_put(out, "], \"frozen\": [");
    put_names(way, training, instance, -1);
    text_put(out, "]");
}

static void json_validates(struct text *out, const struct training *training) {
    text_put(out, ", \"validate\": [");
    for (size_t v = 0; v < training->validate_count; v++) {
        const struct training_validate *validate = &training->validates[v];
        text_put(out, v ? ", {\"name\": " : "{\"name\": ");
        text_json(out, validate->name);
        json_pair(out, "data", validate->data);
        json_int(out, "every", validate->every);
        text_format(out, ", \"start\": %s, \"end\": %s, \"times\": %zu", validate->at_start ? "true" : "false",
                    validate->at_end ? "true" : "false", validate->entry.foreach ? validate->entry.value_count : 1);
        json_pair(out, "state", states[validate->state]);
        text_put(out, ", \"metrics\": [");
        for (size_t m = 0; m < validate->metric_count; m++) text_put(out, m ? ", " : ""), text_json(out, validate->metrics[m].name);
        text_put(out, "]}");
    }
    text_put(out, "]");
}

/* What a stage has beside losses, groups and validations. */
static void json_settings(struct text *out, const struct training *training) {
    if (training->steps >= 0) json_int(out, "steps", training->steps);
    if (training->seconds > 0) json_real(out, "seconds", training->seconds);
    text_put(out, ", \"schedule\": {\"kind\": ");
    text_json(out, schedules[training->schedule.kind]);
    json_int(out, "warmup", training->schedule.warmup);
    json_real(out, "final", training->schedule.final);
    if (training->schedule.kind == TRAINING_STEP) {
        json_int(out, "every", training->schedule.every);
        json_real(out, "factor", training->schedule.factor);
    }
    text_put(out, "}");
    json_real(out, "clip_norm", training->clip_norm);
    if (training->noise.given) {
        text_put(out, ", \"noise\": {\"eta\": ");
        put_real(out, training->noise.eta);
        json_real(out, "gamma", training->noise.gamma);
        text_format(out, ", \"after_clip\": %s}", training->noise.after_clip ? "true" : "false");
    }
    json_int(out, "micro_batches", training->micro_batches);
    if (training->early_stop.metric) {
        text_put(out, ", \"early_stop\": {\"metric\": ");
        text_json(out, training->early_stop.metric);
        json_pair(out, "best", training->early_stop.largest ? "max" : "min");
        json_int(out, "patience", training->early_stop.patience);
        text_format(out, ", \"restore\": %s}", training->early_stop.restore ? "true" : "false");
    }
    if (training->checkpoint.dir) {
        text_put(out, ", \"checkpoint\": {\"dir\": ");
        text_json(out, training->checkpoint.dir);
        json_int(out, "every", training->checkpoint.every);
        json_int(out, "keep", training->checkpoint.keep);
        text_put(out, "}");
    }
    if (training->samples.file) {
        text_put(out, ", \"samples\": {\"file\": ");
        text_json(out, training->samples.file);
        json_int(out, "every", training->samples.every);
        json_int(out, "after", training->samples.after);
        text_put(out, "}");
    }
}

static void json_stage(const struct way *way, const struct training *training, const struct instance *instance) {
    struct text *out = way->out;
    text_put(out, way->shown ? ",\n{\"name\": " : "{\"name\": ");
    text_json(out, training->name);
    json_ways(way);
    text_put(out, ", \"losses\": [");
    for (size_t i = 0; i < training->loss_count; i++) {
        text_put(out, i ? ", {\"loss\": " : "{\"loss\": ");
        text_json(out, training->losses[i].name);
        json_real(out, "weight", training->losses[i].weight);
        text_put(out, "}");
    }
    text_put(out, "]");
    json_pair(out, "data", training->data);
    json_settings(out, training);
    json_updates(way, training, instance);
    json_validates(out, training);
    text_put(out, ", \"copy\": [");
    for (size_t i = 0; i < training->copy_count; i++) {
        text_put(out, i ? ", {\"from\": " : "{\"from\": ");
        text_json(out, training->copies[i].from);
        json_pair(out, "to", training->copies[i].to);
        text_put(out, "}");
    }
    text_put(out, "], \"reset\": [");
    for (size_t i = 0; i < training->reset_count; i++) text_put(out, i ? ", " : ""), text_json(out, training->resets[i]);
    text_put(out, "]}");
}

static void json_datas(struct text *out, const struct training *training) {
    text_put(out, "{\"data\": {");
    for (size_t i = 0; i < training->data_count; i++) {
        const struct training_data *data = &training->datas[i];
        if (i) text_put(out, ",\n");
        text_json(out, data->name);
        text_put(out, ": {\"source\": ");
        text_json(out, data->source ? data->source->source->name : "graph");
        json_pair(out, "path", data->path);
        if (data->source) {
            text_put(out, ", \"with\": ");
            put_attrs(out, &data->source->source->attrs, data->attrs, true);
            if (data->batch < 0) json_pair(out, "batch", "all");
            else json_int(out, "batch", data->batch);
            text_format(out, ", \"shuffle\": %s, \"keep_last\": %s", data->shuffle ? "true" : "false", data->keep_last ? "true" : "false");
            json_real(out, "from", data->split_from);
            json_real(out, "to", data->split_to);
        }
        text_put(out, "}");
    }
    text_put(out, "}, \"stages\": [\n");
}

/* ---- All stages ---- */

static int tell(struct way *way, const struct network *network) {
    struct instance *instance = NULL;
    struct report report;
    report_init(&report, &way->graph->runtime->from);
    int rc = graph_sample_of(way->graph, network, way->options, &report, &instance);
    for (const struct report_message *m = report.first; rc < 0 && m; m = m->next) report_add(way->report, m->code, m->at, "%s", m->text);
    if (rc == 0 && way->options->json) json_stage(way, network->training, instance);
    else if (rc == 0) text_stage(way, network->training, instance);
    way->shown++;
    instance_free(instance);
    report_free(&report);
    return rc;
}

static int walk(struct way *way, const struct training *training);

static int enter(struct way *way, const struct training_entry *entry, size_t place) {
    flow_graph *graph = way->graph;
    const struct allocator *from = &graph->runtime->from;
    size_t more = entry->var_count + (entry->foreach != NULL), before = way->var_count;
    if (memory_grow(from, (void **)&way->vars, &way->var_room, before + more, sizeof *way->vars) < 0) return report_memory(way->report);
    if (entry->foreach) way->vars[way->var_count++] = (struct training_var){entry->foreach, entry->values[0]};
    for (size_t i = 0; i < entry->var_count; i++) way->vars[way->var_count++] = entry->vars[i];
    way->entries[way->depth] = entry, way->stage[way->depth++] = place;
    struct network_options options = {.set = graph->set,
                                      .set_count = graph->set_count,
                                      .vars = way->vars,
                                      .var_count = way->var_count,
                                      .stage = way->stage,
                                      .stage_depth = way->depth};
    struct network *network = NULL;
    int rc = network_read(from, graph->runtime->registry, graph->path, graph->text, graph->text_length, &options, way->report, &network);
    if (rc == 0) rc = network->training->stage_count ? walk(way, network->training) : tell(way, network);
    network_free(network);
    way->depth--, way->var_count = before;
    return rc;
}

static int walk(struct way *way, const struct training *training) {
    int rc = 0;
    for (size_t i = 0; i < training->stage_count && rc == 0 && way->depth < STAGES_DEEP; i++)
        if (!training->stages[i].foreach || training->stages[i].value_count) rc = enter(way, &training->stages[i], i);
    return rc;
}

int training_describe(flow_graph *graph, const struct flow_describe_options *options, struct report *report, struct text *out) {
    struct way way = {.graph = graph, .options = options, .report = report, .out = out};
    const struct training *training = graph->network->training;
    int rc = training_ready(training, report);
    if (rc < 0) return rc;
    if (options->json) json_datas(out, training);
    rc = training->stage_count ? walk(&way, training) : tell(&way, graph->network);
    if (options->json) text_put(out, "]}");
    memory_free(&graph->runtime->from, way.vars, way.var_room * sizeof *way.vars);
    return rc;
}

int flow_graph_training(flow_graph *graph, flow_errors **errors, char **json) {
    struct flow_describe_options options = {.size = sizeof options, .json = true};
    struct report report;
    struct text text;
    *json = NULL;
    if (!graph->network->training) return 0;
    errors_begin(&report, &graph->runtime->from);
    text_init(&text, &graph->runtime->from);
    int rc = training_describe(graph, &options, &report, &text);
    if (rc == 0) text_put(&text, "\n");
    if (rc == 0 && !(*json = text_out(&text))) rc = report_memory(&report);
    text_free(&text);
    return errors_end(&report, errors, rc);
}
