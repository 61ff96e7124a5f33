/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun compare: the curves of several runs over each other, and what they were trained with. */
#include "flowrun/print.h"
#include "flowrun/record.h"
#include "flowrun/report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct run {
    char folder[4096], name[256];
    struct history history;
    struct json_document about;
};

/* The folder; metrics.jsonl or run.html of it mean it, too. */
static void folder_of(const char *word, char *folder, size_t size) {
    snprintf(folder, size, "%s", word);
    char *slash = strrchr(folder, '/');
    const char *file = slash ? slash + 1 : folder;
    if (strcmp(file, "metrics.jsonl") == 0 || strcmp(file, "run.html") == 0 || strcmp(file, "run.json") == 0) {
        if (slash) *slash = 0;
        else snprintf(folder, size, ".");
    }
    for (size_t length = strlen(folder); length > 1 && folder[length - 1] == '/';) folder[--length] = 0;
}

static int read_run(struct run *run, const char *word) {
    char path[4200];
    folder_of(word, run->folder, sizeof run->folder);
    struct stat about;
    if (stat(run->folder, &about) < 0) return command_say(EXIT_FAILED, "run %s: %s", run->folder, strerror(errno));
    snprintf(path, sizeof path, "%s/metrics.jsonl", run->folder);
    if (!history_read(&run->history, path, INT64_MAX, NULL, NULL))
        return command_say(EXIT_FAILED, "%s: %s; a run's folder holds it", path, strerror(errno));
    if (run->history.failed) return command_say(EXIT_FAILED, "out of memory");
    if (!run->history.count) return command_say(EXIT_FAILED, "%s holds no step and no validation", path);
    if (run->history.damaged > 1)
        fprintf(stderr, "flowrun: %s: %lld lines are damaged and left out\n", path, (long long)run->history.damaged);
    run->about = record_about(run->folder);
    if (!run->about.root) fprintf(stderr, "flowrun: %s has no run.json that can be read: its settings are not known\n", run->folder);
    return 0;
}

/* The last part of the folder, and as much before it as tells it from the others. */
static void name_runs(struct run *runs, size_t count) {
    for (int parts = 1; parts < 8; parts++) {
        bool same = false;
        for (size_t i = 0; i < count; i++) {
            const char *at = runs[i].folder + strlen(runs[i].folder);
            for (int left = parts; at > runs[i].folder; at--)
                if (at[-1] == '/' && --left == 0) break;
            snprintf(runs[i].name, sizeof runs[i].name, "%s", at);
            for (size_t k = 0; k < i; k++) same = same || strcmp(runs[i].name, runs[k].name) == 0;
        }
        if (!same) return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(runs[i].name);
        snprintf(runs[i].name + used, sizeof runs[i].name - used, " (%zu)", i + 1);
    }
}

static double best_of(const struct series *series) { return report_higher(series->chart) ? series->high : series->low; }

static void json_run(const struct run *run) {
    printf("{\"run\": ");
    print_string(stdout, run->folder, strlen(run->folder));
    printf(", \"steps\": %lld, \"seconds\": %.6g, \"curves\": [", (long long)run->history.total, run->history.seconds);
    for (size_t i = 0; i < run->history.count; i++) {
        const struct series *series = &run->history.series[i];
        fputs(i ? ", {\"metric\": " : "{\"metric\": ", stdout);
        print_string(stdout, series->chart, strlen(series->chart));
        fputs(", \"of\": ", stdout);
        print_string(stdout, series->name, strlen(series->name));
        printf(", \"last\": %.9g, \"best\": %.9g, \"at\": %.0f}", series->last, best_of(series),
               report_higher(series->chart) ? series->high_step : series->low_step);
    }
    fputs("]}", stdout);
}

static void print_table(const struct run *runs, size_t count) {
    size_t widest = 4;
    for (size_t i = 0; i < count; i++)
        if (strlen(runs[i].name) > widest) widest = strlen(runs[i].name);
    printf("%s%-*s %8s %10s  metrics: last (best at step)%s\n", DIM, (int)widest, "run", "steps", "time", PLAIN);
    for (size_t i = 0; i < count; i++) {
        char time[48];
        const struct history *history = &runs[i].history;
        printf("%s%-*s%s %8lld %10s ", BOLD, (int)widest, runs[i].name, PLAIN, (long long)history->total,
               report_clock(history->seconds, time, sizeof time));
        for (size_t k = 0; k < history->count; k++) {
            const struct series *series = &history->series[k];
            bool loss = !series->valid && strcmp(series->chart, "loss") == 0;
            if (!series->valid && !loss) continue;
            printf(" %s%s%s %.5g", series->valid ? series->name : "", series->valid ? " " : "", series->chart,
                   series->valid ? series->last : history_recent(series));
            if (series->valid)
                printf(" (%.5g at %.0f)", best_of(series), report_higher(series->chart) ? series->high_step : series->low_step);
        }
        putchar('\n');
    }
}

static int write_page(const struct command *command, const struct run *runs, size_t count) {
    char path[4200];
    const char *slash = strrchr(runs[0].folder, '/');
    if (command->page) snprintf(path, sizeof path, "%s", command->page);
    else snprintf(path, sizeof path, "%.*scompare.html", slash ? (int)(slash + 1 - runs[0].folder) : 0, runs[0].folder);
    struct report_one *ones = calloc(count, sizeof *ones);
    if (!ones) return command_say(EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < count; i++) ones[i] = (struct report_one){runs[i].name, runs[i].about.root, &runs[i].history};
    flow_runtime *runtime = NULL;
    int rc = command_runtime(command, &runtime);
    if (rc == 0) rc = report_compare(runtime, path, ones, count);
    if (rc == 0 && !command->quiet && !command->json) printf("%s%s shows it%s\n", DIM, path, PLAIN);
    flow_runtime_free(runtime);
    free(ones);
    return rc;
}

int command_compare(struct command *command) {
    if (!command->graph || !command->file) return command_say(EXIT_USAGE, "compare needs two runs or more: flowrun compare RUN RUN");
    size_t count = 2 + command->rest.count;
    struct run *runs = calloc(count, sizeof *runs);
    if (!runs) return command_say(EXIT_FAILED, "out of memory");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = read_run(&runs[i], i == 0 ? command->graph : i == 1 ? command->file : command->rest.at[i - 2]);
    if (rc == 0) name_runs(runs, count);
    if (rc == 0 && command->json) {
        fputs("{\"runs\": [", stdout);
        for (size_t i = 0; i < count; i++) fputs(i ? ", " : "", stdout), json_run(&runs[i]);
        puts("]}");
    } else if (rc == 0 && !command->quiet) {
        print_table(runs, count);
    }
    if (rc == 0) rc = write_page(command, runs, count);
    for (size_t i = 0; i < count; i++) history_free(&runs[i].history), json_free(&runs[i].about);
    free(runs);
    return rc;
}
