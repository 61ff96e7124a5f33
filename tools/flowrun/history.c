/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/history.h"

#include "flowrun/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SERIES = 256, MOST_METRICS = 64, MOST_VALUES = 256 };

/* ---- Curves ---- */

void history_free(struct history *history) {
    for (size_t i = 0; i < history->count; i++) free(history->series[i].points);
    free(history->series);
    *history = (struct history){0};
}

static struct series *series_of(struct history *history, const char *chart, const char *name, bool valid) {
    for (size_t i = 0; i < history->count; i++) {
        struct series *series = &history->series[i];
        if (series->valid == valid && strcmp(series->chart, chart) == 0 && strcmp(series->name, name) == 0) return series;
    }
    if (history->count == MOST_SERIES) return NULL;
    struct series *grown = realloc(history->series, (history->count + 1) * sizeof *grown);
    if (grown) history->series = grown;
    struct point *points = grown ? malloc(SERIES_POINTS * sizeof *points) : NULL;
    if (!points) {
        history->failed = true;
        return NULL;
    }
    struct series *made = &history->series[history->count++];
    *made = (struct series){.valid = valid, .points = points, .share = 1, .last = NAN, .low = NAN, .high = NAN};
    snprintf(made->chart, sizeof made->chart, "%s", chart);
    snprintf(made->name, sizeof made->name, "%s", name);
    return made;
}

static void halve(struct series *series) {
    for (size_t i = 0; i < SERIES_POINTS / 2; i++) {
        struct point a = series->points[2 * i], b = series->points[2 * i + 1];
        series->points[i] = (struct point){b.step, b.seconds,
                                           isnan(a.value)   ? b.value
                                           : isnan(b.value) ? a.value
                                                            : (a.value + b.value) / 2};
    }
    series->count = SERIES_POINTS / 2;
    series->share *= 2;
}

static void series_add(struct series *series, double step, double seconds, double value) {
    series->last = value;
    if (!(value >= series->low)) series->low = value, series->low_step = step;
    if (!(value <= series->high)) series->high = value, series->high_step = step;
    series->sum.value += value;
    if (++series->pending < series->share) return;
    if (series->count == SERIES_POINTS) {
        halve(series);
        if (series->pending < series->share) return;
    }
    series->points[series->count++] = (struct point){step, seconds, series->sum.value / (double)series->pending};
    series->sum.value = 0, series->pending = 0;
}

static void add(struct history *history, const struct flow_event *event, const char *chart, const char *name, bool valid, double value) {
    struct series *series = isfinite(value) ? series_of(history, chart, name, valid) : NULL;
    if (series) series_add(series, (double)event->total, event->seconds, value);
}

static void note_stage(struct history *history, const struct flow_event *event) {
    if (event->kind > FLOW_EVENT_VALIDATION || history->stages_seen > event->stage_number) return;
    history->stages_seen = event->stage_number + 1;
    if (history->stage_count == HISTORY_STAGES || (event->stage_count <= 1 && !event->stage[0])) return;
    history->stages[history->stage_count].step = (double)history->total;
    history->stages[history->stage_count].seconds = history->seconds;
    snprintf(history->stages[history->stage_count++].name, sizeof history->stages->name, "%s", event->stage);
}

void history_take(struct history *history, const struct flow_event *event) {
    note_stage(history, event);
    history->total = event->total, history->seconds = event->seconds, history->waited = event->waited;
    if (event->kind == FLOW_EVENT_STEP) {
        history->step = event->step, history->steps = event->steps;
        history->stage_number = event->stage_number, history->stage_total = event->stage_count;
        add(history, event, "loss", "training", false, event->loss);
        add(history, event, HISTORY_FACTOR, "rate", false, event->rate);
        add(history, event, "gradient norm", "gradient norm", false, event->grad_norm);
    }
    for (size_t m = 0; event->kind == FLOW_EVENT_VALIDATION && m < event->metric_count; m++) {
        const struct flow_metric *metric = &event->metrics[m];
        char name[96];
        for (size_t i = 0; i < metric->count && i < 16; i++) {
            if (metric->count == 1) snprintf(name, sizeof name, "%s", event->name);
            else snprintf(name, sizeof name, "%.80s %zu", event->name, i);
            add(history, event, metric->name, name, true, metric->values[i]);
        }
    }
}

const struct series *history_find(const struct history *history, const char *chart, bool valid) {
    for (size_t i = 0; i < history->count; i++)
        if (history->series[i].valid == valid && strcmp(history->series[i].chart, chart) == 0) return &history->series[i];
    return NULL;
}

double history_recent(const struct series *series) {
    size_t from = series->count - series->count / 20;
    double sum = 0;
    if (from == series->count && from) from--;
    for (size_t i = from; i < series->count; i++) sum += series->points[i].value;
    return series->count > from ? sum / (double)(series->count - from) : series->last;
}

/* ---- Lines ---- */

static const char *const kinds[] = {"", "stage", "step", "validation", "checkpoint", "stage_end", "end"};

static void put_key(struct markup *out, const char *key, double value) {
    if (!isfinite(value)) return;
    markup_put(out, ", \"%s\": ", key);
    markup_real(out, value);
}

static void put_metrics(struct markup *out, const struct flow_event *event) {
    markup_put(out, ", \"metrics\": {");
    for (size_t m = 0; m < event->metric_count; m++) {
        const struct flow_metric *metric = &event->metrics[m];
        if (m) markup_put(out, ", ");
        markup_json(out, metric->name);
        markup_put(out, metric->count == 1 ? ": " : ": [");
        for (size_t i = 0; i < metric->count; i++) {
            if (i) markup_put(out, ", ");
            markup_real(out, metric->values[i]);
        }
        if (metric->count != 1) markup_put(out, "]");
    }
    markup_put(out, "}");
}

void history_line(struct markup *out, const struct flow_event *event, double mean_loss) {
    bool step = event->kind == FLOW_EVENT_STEP;
    markup_put(out, "{\"event\": \"%s\", \"stage\": ", event->kind > 0 && event->kind <= FLOW_EVENT_END ? kinds[event->kind] : "");
    markup_json(out, event->stage ? event->stage : "");
    markup_put(out, ", \"stage_number\": %lld, \"stage_count\": %lld, \"step\": %lld, \"steps\": %lld, \"total\": %lld",
               (long long)event->stage_number, (long long)event->stage_count, (long long)event->step, (long long)event->steps,
               (long long)event->total);
    if (step) {
        markup_put(out, ", \"loss\": ");
        markup_real(out, event->loss);
        put_key(out, "mean_loss", mean_loss), put_key(out, "grad_norm", event->grad_norm), put_key(out, "rate", event->rate);
        put_key(out, "step_seconds", event->step_seconds);
        if (event->rows > 0) markup_put(out, ", \"rows\": %lld", (long long)event->rows);
    }
    put_key(out, "seconds", event->seconds), put_key(out, "waited", event->waited);
    if (event->kind == FLOW_EVENT_CHECKPOINT || event->kind == FLOW_EVENT_VALIDATION) {
        markup_put(out, event->kind == FLOW_EVENT_CHECKPOINT ? ", \"path\": " : ", \"name\": ");
        markup_json(out, event->name);
    }
    if (event->kind == FLOW_EVENT_VALIDATION) put_metrics(out, event);
    markup_put(out, "}");
}

static int64_t integer(const struct json *object, const char *key) {
    double value = json_number(object, key);
    return value >= -1 && value < 9e15 ? (int64_t)value : -2;
}

/* Metrics of a line; `metrics` and `values` are the caller's room. */
static void read_metrics(const struct json *object, struct flow_event *event, struct flow_metric *metrics, double *values) {
    const struct json *entry = json_get(object, "metrics");
    size_t used = 0;
    for (entry = entry && entry->kind == JSON_OBJECT ? entry->first : NULL; entry && event->metric_count < MOST_METRICS;
         entry = entry->next) {
        size_t begin = used;
        if (entry->kind == JSON_NUMBER && used < MOST_VALUES) values[used++] = entry->number;
        for (const struct json *one = entry->kind == JSON_LIST ? entry->first : NULL; one && used < MOST_VALUES; one = one->next)
            values[used++] = one->number;
        metrics[event->metric_count++] = (struct flow_metric){entry->key, values + begin, used - begin};
    }
    event->metrics = metrics;
}

static bool take_line(struct history *history, const struct json *object, int64_t last, bool *beyond) {
    struct flow_metric metrics[MOST_METRICS];
    double values[MOST_VALUES];
    const char *kind = json_text(object, "event"), *stage = json_text(object, "stage"), *name = json_text(object, "name");
    struct flow_event event = {.kind = kind && strcmp(kind, "step") == 0         ? FLOW_EVENT_STEP
                                       : kind && strcmp(kind, "validation") == 0 ? FLOW_EVENT_VALIDATION
                                                                                 : 0,
                               .stage = stage ? stage : "",
                               .stage_number = integer(object, "stage_number"),
                               .stage_count = integer(object, "stage_count"),
                               .step = integer(object, "step"),
                               .steps = integer(object, "steps"),
                               .total = integer(object, "total"),
                               .loss = json_number(object, "mean_loss"),
                               .grad_norm = json_number(object, "grad_norm"),
                               .rate = json_number(object, "rate"),
                               .seconds = json_number(object, "seconds"),
                               .waited = json_number(object, "waited"),
                               .name = name ? name : "valid"};
    if (isnan(event.loss)) event.loss = json_number(object, "loss");
    if (!event.kind || event.total < 0 || event.stage_number < 0 || !(event.seconds >= 0)) return false;
    if (event.total > last) {
        *beyond = true;
        return true;
    }
    read_metrics(object, &event, metrics, values);
    history_take(history, &event);
    return true;
}

/* A line of any length: what does not fit is read past. false: the end. */
static bool next_line(FILE *file, char *line, size_t *length, bool *whole) {
    if (!fgets(line, HISTORY_LINE, file)) return false;
    *length = strlen(line);
    *whole = *length && line[*length - 1] == '\n';
    if (*whole) line[--*length] = 0;
    else if (*length == HISTORY_LINE - 1)
        for (int c; (c = getc(file)) != EOF && c != '\n';) {}
    return true;
}

bool history_read(struct history *history, const char *path, int64_t last, void (*each)(void *context, const char *line), void *context) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    char *line = malloc(HISTORY_LINE);
    size_t length;
    bool whole;
    history->failed = history->failed || !line;
    while (line && next_line(file, line, &length, &whole)) {
        bool beyond = false;
        struct json_document document = whole ? json_read(line, length) : (struct json_document){0};
        if (!document.root || !take_line(history, document.root, last, &beyond)) history->damaged++;
        else if (!beyond && each) each(context, line);
        json_free(&document);
    }
    free(line);
    fclose(file);
    return true;
}

/* ---- For the page ---- */

static void put_numbers(struct markup *out, const struct series *series, int which) {
    for (size_t i = 0; i < series->count; i++) {
        const struct point *point = &series->points[i];
        if (i) markup_bytes(out, ",", 1);
        if (which == 0) markup_put(out, "%.0f", point->step);
        else if (which == 1) markup_put(out, "%.3f", point->seconds);
        else if (isfinite(point->value)) markup_put(out, "%.5g", point->value);
        else markup_bytes(out, "null", 4);
    }
}

void history_script(struct markup *out, const struct history *history, const char *name) {
    markup_put(out, "{name:");
    markup_json(out, name);
    markup_put(out, ",stages:[");
    for (size_t i = 0; i < history->stage_count; i++) {
        markup_put(out, "%s[%.0f,%.3f,", i ? "," : "", history->stages[i].step, history->stages[i].seconds);
        markup_json(out, history->stages[i].name);
        markup_put(out, "]");
    }
    markup_put(out, "],series:[");
    for (size_t i = 0; i < history->count; i++) {
        const struct series *series = &history->series[i];
        markup_put(out, "%s{chart:", i ? ",\n" : "\n");
        markup_json(out, series->chart);
        markup_put(out, ",name:");
        markup_json(out, series->name);
        markup_put(out, ",kind:\"%s\",x:[", series->valid ? "valid" : "train");
        put_numbers(out, series, 0);
        markup_put(out, "],t:[");
        put_numbers(out, series, 1);
        markup_put(out, "],y:[");
        put_numbers(out, series, 2);
        markup_put(out, "]}");
    }
    markup_put(out, "]}");
}
