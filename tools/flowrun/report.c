/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/report.h"

#include "flowrun/command.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* report.css and report.js, put in by the build. */
extern const unsigned char asset_report_css[], asset_report_js[];
extern const size_t asset_report_css_size, asset_report_js_size;

enum { DEEPEST_SETTING = 16 };

/* ---- Settings ---- */

static void value_text(const struct json *value, struct markup *out) {
    bool object = value->kind == JSON_OBJECT;
    switch (value->kind) {
    case JSON_NULL: markup_put(out, "none"); return;
    case JSON_FALSE: markup_put(out, "false"); return;
    case JSON_TRUE: markup_put(out, "true"); return;
    case JSON_NUMBER: markup_put(out, "%.10g", value->number); return;
    case JSON_TEXT: markup_bytes(out, value->text, strlen(value->text)); return;
    case JSON_LIST:
    case JSON_OBJECT: break;
    }
    markup_put(out, object ? "{" : "[");
    for (const struct json *entry = value->first; entry; entry = entry->next) {
        if (object) markup_bytes(out, entry->key, strlen(entry->key)), markup_put(out, ": ");
        value_text(entry, out);
        if (entry->next) markup_put(out, ", ");
    }
    markup_put(out, object ? "}" : "]");
}

static bool holds_objects(const struct json *list) {
    for (const struct json *entry = list->kind == JSON_LIST ? list->first : NULL; entry; entry = entry->next)
        if (entry->kind == JSON_OBJECT) return true;
    return false;
}

/* Parameters by name would fill the page. */
static void count_names(const struct json *list, struct markup *out) {
    int count = 0;
    for (const struct json *entry = list->first; entry; entry = entry->next) count++;
    markup_put(out, "%d parameters", count);
}

static void walk(const struct json *value, const char *key, int depth, void (*each)(void *, const char *, const char *), void *context) {
    char path[512];
    int number = 0;
    bool opens = depth < DEEPEST_SETTING && ((value->kind == JSON_OBJECT && value->first) || holds_objects(value));
    for (const struct json *entry = opens ? value->first : NULL; entry; entry = entry->next) {
        if (value->kind == JSON_OBJECT) snprintf(path, sizeof path, "%.300s%s%.200s", key, *key ? "." : "", entry->key);
        else snprintf(path, sizeof path, "%.300s[%d]", key, number++);
        walk(entry, path, depth + 1, each, context);
    }
    if (opens || ((value->kind == JSON_LIST || value->kind == JSON_OBJECT) && !value->first)) return; /* empty: nothing was set */
    struct markup text = {0};
    if (value->key && (strcmp(value->key, "owns") == 0 || strcmp(value->key, "frozen") == 0)) count_names(value, &text);
    else value_text(value, &text);
    if (!text.failed) each(context, key, text.at ? text.at : "");
    free(text.at);
}

void report_settings(const struct json *about, void (*each)(void *context, const char *key, const char *value), void *context) {
    static const char *const alone[] = {"file", "weights", "inputs", "seed", "precision", "threads", "parameters", "processor", "version"};
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
        const struct json *value = json_get(about, alone[i]);
        if (value && value->kind != JSON_NULL) walk(value, alone[i], 0, each, context);
    }
    const struct json *set = json_get(about, "set"), *train = json_get(about, "train");
    if (set && set->first) walk(set, "set", 0, each, context);
    const struct json *stages = json_get(train, "stages");
    bool plain = stages && stages->kind == JSON_LIST && stages->first && !stages->first->next;
    for (const struct json *entry = train && train->kind == JSON_OBJECT ? train->first : NULL; entry; entry = entry->next) {
        char key[256];
        snprintf(key, sizeof key, "train.%.200s", entry->key);
        if (entry != stages || !plain) walk(entry, key, 0, each, context);
        else walk(stages->first, "train", 0, each, context);
    }
}

bool report_higher(const char *metric) {
    static const char *const words[] = {"acc",  "precision", "recall", "f1",  "auc",  "score", "hit", "ndcg", "mrr",
                                        "corr", "bleu",      "snr",    "sdr", "pesq", "stoi",  "iou", "map",  "reward"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(metric, words[i])) return true;
    return false;
}

const char *report_clock(double seconds, char *text, size_t size) {
    if (!(seconds >= 0)) snprintf(text, size, "-");
    else if (seconds < 60) snprintf(text, size, seconds < 10 ? "%.2f s" : "%.1f s", seconds);
    else if (seconds < 3600) snprintf(text, size, "%d:%02d min", (int)(seconds / 60), (int)fmod(seconds, 60));
    else snprintf(text, size, "%lld:%02d h", (long long)(seconds / 3600), (int)fmod(seconds / 60, 60));
    return text;
}

/* ---- Parts of pages ---- */

static void begin_page(struct markup *out, const char *title, bool refresh) {
    markup_put(out, "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
                    "<meta name=color-scheme content='light dark'>");
    if (refresh) markup_put(out, "<meta http-equiv=refresh content=5>");
    markup_put(out, "<title>");
    markup_text(out, title);
    markup_put(out, "</title><style>\n");
    markup_bytes(out, (const char *)asset_report_css, asset_report_css_size);
    markup_put(out, "</style><main>\n");
}

static void begin_script(struct markup *out) { markup_put(out, "<script>const DATA = {runs:["); }

static void end_script(struct markup *out) {
    markup_put(out, "]};\n");
    markup_bytes(out, (const char *)asset_report_js, asset_report_js_size);
    markup_put(out, "</script>\n");
}

static void tile(struct markup *out, const char *name, const char *value, const char *small) {
    markup_put(out, "<div><dt>");
    markup_text(out, name);
    markup_put(out, "</dt><dd>");
    markup_text(out, value);
    if (small && *small) {
        markup_put(out, " <small>");
        markup_text(out, small);
        markup_put(out, "</small>");
    }
    markup_put(out, "</dd></div>");
}

static void size_text(double bytes, char *text, size_t size) {
    if (bytes < 1 << 20) snprintf(text, size, "%.1f KiB", bytes / 1024);
    else if (bytes >= 1 << 30) snprintf(text, size, "%.2f GiB", bytes / (1 << 30));
    else snprintf(text, size, "%.1f MiB", bytes / (1 << 20));
}

static const char *count_text(double count, char *text, size_t size) {
    if (!(count >= 0)) snprintf(text, size, "-");
    else if (count >= 1e9) snprintf(text, size, "%.2f billion", count / 1e9);
    else if (count >= 1e6) snprintf(text, size, "%.2f million", count / 1e6);
    else if (count >= 1e4) snprintf(text, size, "%.1f thousand", count / 1e3);
    else snprintf(text, size, "%.0f", count);
    return text;
}

static void put_losses(struct markup *out, const struct history *history) {
    char value[64], small[160];
    const struct series *loss = history_find(history, "loss", false);
    if (loss && loss->count) {
        snprintf(value, sizeof value, "%.4g", history_recent(loss));
        tile(out, "training loss", value, "");
    }
    for (size_t i = 0, shown = 0; i < history->count && shown < 4; i++) {
        const struct series *series = &history->series[i];
        char name[200];
        if (!series->valid) continue;
        bool higher = report_higher(series->chart);
        snprintf(name, sizeof name, "%s %s", series->name, series->chart);
        snprintf(value, sizeof value, "%.4g", series->last);
        snprintf(small, sizeof small, "best %.4g at %.0f", higher ? series->high : series->low,
                 higher ? series->high_step : series->low_step);
        tile(out, name, value, small);
        shown++;
    }
}

static void put_tiles(struct markup *out, const struct json *about, const struct history *history) {
    char value[64], small[64];
    double seconds = json_number(about, "seconds"), total = json_number(about, "total"), waited = json_number(about, "waited");
    double steps = json_number(about, "steps"), stages = json_number(about, "stage_count"), rows = json_number(about, "rows");
    double here = json_number(about, "here_seconds");
    markup_put(out, "<section><dl class=tiles>");
    put_losses(out, history);
    snprintf(value, sizeof value, "%.0f", total);
    if (stages > 1) snprintf(small, sizeof small, "stage %.0f of %.0f", json_number(about, "stage_number") + 1, stages);
    else if (steps > 0) snprintf(small, sizeof small, "of %.0f", steps);
    else small[0] = 0;
    tile(out, "steps", value, small);
    tile(out, "time", report_clock(seconds, value, sizeof value), "");
    if (seconds > 0 && total > 0) {
        snprintf(value, sizeof value, "%.3g", total / seconds);
        if (rows > 0 && here > 0) snprintf(small, sizeof small, "%.4g rows/s", rows / here);
        else small[0] = 0;
        tile(out, "steps a second", value, small);
        snprintf(value, sizeof value, "%.1f %%", 100 * waited / seconds);
        tile(out, "waiting for data", value, "");
    }
    if (json_number(about, "parameters") > 0)
        tile(out, "parameters", count_text(json_number(about, "parameters"), value, sizeof value), "");
    if (json_number(about, "arena_bytes") > 0) {
        char planned[48];
        size_text(json_number(about, "resident_bytes"), value, sizeof value);
        size_text(json_number(about, "arena_bytes"), planned, sizeof planned);
        snprintf(small, sizeof small, "%s planned", planned);
        tile(out, "resident memory", value, small);
    }
    markup_put(out, "</dl></section>\n");
}

static void put_setting(void *context, const char *key, const char *value) {
    struct markup *out = context;
    markup_put(out, "<tr><td>");
    markup_text(out, key);
    markup_put(out, "<td>");
    markup_text(out, value);
    markup_put(out, "</tr>");
}

static void put_about(struct markup *out, const struct json *about, const char *drawing) {
    if (drawing) {
        markup_put(
            out, "<section><details open><summary>Graph</summary><div class=drawing><img style='max-width:100%%;display:block;margin:auto' "
                 "alt='the graph' src='data:image/svg+xml;base64,");
        markup_base64(out, (const unsigned char *)drawing, strlen(drawing));
        markup_put(out, "'></div></details></section>\n");
    }
    markup_put(out, "<section><details open><summary>Settings and environment</summary><table>");
    if (json_text(about, "command")) put_setting(out, "command", json_text(about, "command"));
    if (json_text(about, "started")) put_setting(out, "started", json_text(about, "started"));
    report_settings(about, put_setting, out);
    markup_put(out, "</table></details></section>\n");
}

/* ---- One run ---- */

int report_run(flow_runtime *runtime, const char *path, const struct json *about, const struct history *history, const char *drawing) {
    struct markup out = {0};
    const char *name = json_text(about, "graph"), *status = json_text(about, "status"), *doc = json_text(about, "doc");
    const char *message = json_text(about, "message");
    name = name ? name : "run", status = status ? status : "";
    bool running = strcmp(status, "running") == 0;
    begin_page(&out, name, running);
    markup_put(&out, "<h1>");
    markup_text(&out, name);
    markup_put(&out, " <span class='chip ");
    markup_text(&out, status);
    markup_put(&out, "'>");
    markup_text(&out, status);
    markup_put(&out, "</span></h1><p>");
    markup_text(&out, doc ? doc : "");
    markup_put(&out, "</p>\n");
    if (message && *message) {
        markup_put(&out, "<section class=trouble>");
        markup_text(&out, message);
        markup_put(&out, "</section>\n");
    }
    put_tiles(&out, about, history);
    markup_put(&out, "<div id=charts></div><noscript><p>The curves need JavaScript; curve.svg beside this page does not.</p></noscript>\n");
    put_about(&out, about, drawing);
    begin_script(&out);
    history_script(&out, history, name);
    end_script(&out);
    markup_put(&out, "</main></html>\n");
    return markup_write(&out, runtime, path);
}

/* ---- Several ---- */

struct table {
    struct markup *out;
    const struct report_one *runs;
    size_t count;
    size_t run;         /* whose settings are walked */
    const char *wanted; /* the setting looked for */
    char *found;        /* its value, a copy */
    size_t shown;
};

static void look_for(void *context, const char *key, const char *value) {
    struct table *table = context;
    if (strcmp(key, table->wanted) == 0 && !table->found) table->found = strdup(value);
}

static char *setting_of(struct table *table, const struct json *about, const char *key) {
    table->wanted = key, table->found = NULL;
    report_settings(about, look_for, table);
    return table->found;
}

/* A row where the runs differ. Keys that only later runs have come when those are walked. */
static void put_difference(void *context, const char *key, const char *value) {
    struct table *table = context;
    struct table other = *table;
    bool differs = false;
    (void)value;
    for (size_t i = 0; i < table->run; i++) {
        char *before = setting_of(&other, table->runs[i].about, key);
        free(before);
        if (before) return;
    }
    char *first = setting_of(&other, table->runs[0].about, key);
    for (size_t i = 1; i < table->count; i++) {
        char *found = setting_of(&other, table->runs[i].about, key);
        differs = differs || !found != !first || (found && strcmp(found, first) != 0);
        free(found);
    }
    free(first);
    if (!differs) return;
    table->shown++;
    markup_put(table->out, "<tr><td>");
    markup_text(table->out, key);
    for (size_t i = 0; i < table->count; i++) {
        char *found = setting_of(&other, table->runs[i].about, key);
        markup_put(table->out, "<td>");
        markup_text(table->out, found ? found : "");
        free(found);
    }
    markup_put(table->out, "</tr>");
}

static void put_heads(struct markup *out, const struct report_one *runs, size_t count) {
    markup_put(out, "<tr><th>");
    for (size_t i = 0; i < count; i++) {
        markup_put(out, "<th><i class=dot style='background:var(--c%zu)'></i>", i % 8);
        markup_text(out, runs[i].name);
    }
    markup_put(out, "</tr>");
}

static void put_numbers_of(struct markup *out, const char *name, const struct report_one *runs, size_t count, const char *key) {
    char text[64];
    markup_put(out, "<tr><td>");
    markup_text(out, name);
    for (size_t i = 0; i < count; i++) {
        double value = json_number(runs[i].about, key), seconds = json_number(runs[i].about, "seconds");
        if (strcmp(key, "speed") == 0) value = json_number(runs[i].about, "total") / seconds;
        if (strcmp(key, "seconds") == 0) report_clock(value, text, sizeof text);
        else if (!isfinite(value)) snprintf(text, sizeof text, "-");
        else if (strcmp(key, "speed") == 0) snprintf(text, sizeof text, "%.3g", value);
        else if (strcmp(key, "parameters") == 0) count_text(value, text, sizeof text);
        else if (strstr(key, "bytes")) size_text(value, text, sizeof text);
        else snprintf(text, sizeof text, "%.6g", value);
        markup_put(out, "<td>%s", text);
    }
    markup_put(out, "</tr>");
}

static double figure(const struct series *series) {
    return !series->valid ? history_recent(series) : report_higher(series->chart) ? series->high : series->low;
}

/* Best and last of one validated metric; the best of all runs stands out. */
static void put_metric(struct markup *out, const struct report_one *runs, size_t count, const struct series *of) {
    bool higher = report_higher(of->chart);
    double best = NAN;
    const struct series *found[64] = {0};
    for (size_t i = 0; i < count && i < 64; i++) {
        for (size_t k = 0; k < runs[i].history->count; k++) {
            const struct series *series = &runs[i].history->series[k];
            if (series->valid == of->valid && strcmp(series->chart, of->chart) == 0 && strcmp(series->name, of->name) == 0)
                found[i] = series;
        }
        double value = !found[i] ? NAN : figure(found[i]);
        if (!isnan(value) && (isnan(best) || (higher ? value > best : value < best))) best = value;
    }
    markup_put(out, "<tr><td>");
    markup_text(out, of->name);
    markup_put(out, " ");
    markup_text(out, of->chart);
    for (size_t i = 0; i < count && i < 64; i++) {
        double value = !found[i] ? NAN : higher ? found[i]->high : found[i]->low;
        if (!found[i]) markup_put(out, "<td>-");
        else
            markup_put(out, "<td%s>%.5g <small>at %.0f, last %.5g</small>", value == best ? " class=best" : "", value,
                       higher ? found[i]->high_step : found[i]->low_step, found[i]->last);
    }
    markup_put(out, "</tr>");
}

static void put_results(struct markup *out, const struct report_one *runs, size_t count) {
    markup_put(out, "<section><h2>Results</h2><table>");
    put_heads(out, runs, count);
    for (size_t r = 0; r < count; r++)
        for (size_t k = 0; k < runs[r].history->count; k++) {
            const struct series *series = &runs[r].history->series[k];
            bool seen = strcmp(series->chart, HISTORY_FACTOR) == 0 || strcmp(series->chart, "gradient norm") == 0;
            for (size_t before = 0; before < r && !seen; before++)
                for (size_t i = 0; i < runs[before].history->count && !seen; i++) {
                    const struct series *other = &runs[before].history->series[i];
                    seen =
                        other->valid == series->valid && strcmp(other->chart, series->chart) == 0 && strcmp(other->name, series->name) == 0;
                }
            if (!seen) put_metric(out, runs, count, series);
        }
    put_numbers_of(out, "steps", runs, count, "total");
    put_numbers_of(out, "time", runs, count, "seconds");
    put_numbers_of(out, "steps a second", runs, count, "speed");
    put_numbers_of(out, "parameters", runs, count, "parameters");
    put_numbers_of(out, "resident memory", runs, count, "resident_bytes");
    markup_put(out, "</table></section>\n");
}

int report_compare(flow_runtime *runtime, const char *path, const struct report_one *runs, size_t count) {
    struct markup out = {0}, rows = {0};
    bool running = false;
    for (size_t i = 0; i < count; i++) {
        const char *status = json_text(runs[i].about, "status");
        running = running || (status && strcmp(status, "running") == 0);
    }
    begin_page(&out, "comparison", false);
    markup_put(&out, "<h1>%zu runs <span class='chip %s'>%s</span></h1><p>", count, running ? "running" : "done",
               running ? "not all have ended" : "all have ended");
    for (size_t i = 0; i < count; i++) markup_put(&out, i ? ", " : ""), markup_text(&out, runs[i].name);
    markup_put(&out, "</p>\n<div id=charts></div>\n");
    put_results(&out, runs, count);
    struct table table = {.out = &rows, .runs = runs, .count = count};
    for (table.run = 0; table.run < count; table.run++) report_settings(runs[table.run].about, put_difference, &table);
    markup_put(&out, "<section><h2>Settings that differ</h2><table>");
    put_heads(&out, runs, count);
    if (rows.at) markup_bytes(&out, rows.at, rows.length);
    if (!table.shown) markup_put(&out, "<tr><td>none</tr>");
    markup_put(&out, "</table></section>\n");
    out.failed = out.failed || rows.failed;
    free(rows.at);
    begin_script(&out);
    for (size_t i = 0; i < count; i++) {
        if (i) markup_put(&out, ",\n");
        history_script(&out, runs[i].history, runs[i].name);
    }
    end_script(&out);
    markup_put(&out, "</main></html>\n");
    return markup_write(&out, runtime, path);
}
