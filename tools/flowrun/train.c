/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun train: one event of the trainer after the other; what it says goes to the screen, to the machine that asked and to the run's
 * folder. */
#include "flowrun/grad.h"
#include "flowrun/print.h"
#include "flowrun/profile.h"
#include "flowrun/progress.h"
#include "flowrun/record.h"
#include "flowrun/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct training {
    const struct command *command;
    flow_runtime *runtime;
    flow_graph *graph;
    flow_trainer *trainer;
    struct record record;
    struct progress progress;
};

/* ---- Opening ---- */

static int give_inputs(struct training *training) {
    struct sources sources;
    int rc = sources_given(&sources, training->command, training->runtime, training->graph, false);
    for (size_t i = 0; rc == 0 && i < sources.count; i++) {
        const struct source *source = &sources.at[i];
        flow_errors *errors = NULL;
        if (source->wave) rc = command_say(EXIT_USAGE, "input '%s': training needs the whole of it, not a stream", source->port.name);
        else if (source->name && flow_trainer_input(training->trainer, source->name, &source->tensor, &errors) < 0)
            rc = command_fail(errors);
    }
    sources_close(&sources);
    return rc;
}

static int open_trainer(struct training *training) {
    const struct command *command = training->command;
    flow_errors *errors = NULL;
    char *json = NULL;
    int rc = grad_graph(command, training->runtime, &training->graph);
    if (rc) return rc;
    if (flow_graph_training(training->graph, &errors, &json) < 0) return command_fail_graph(command, errors);
    if (!json) return command_say(EXIT_USAGE, "%s has no `train` section: flowrun run runs it", command->graph);
    record_open(&training->record, command, training->runtime, training->graph, json);
    struct flow_trainer_options options = {.size = sizeof options,
                                           .streams = command->streams,
                                           .resume = command->resume,
                                           .profile = command->profile,
                                           .steps = command->steps,
                                           .dir = command->dir};
    if (flow_trainer_new(training->graph, &options, &errors, &training->trainer) < 0) return command_fail_graph(command, errors);
    interrupt_watch_trainer(training->trainer);
    return give_inputs(training);
}

/* ---- Telling ---- */

static int print_event(const struct training *training, const struct flow_event *event) {
    struct markup line = {0};
    history_line(&line, event, NAN);
    if (event->kind == FLOW_EVENT_END && !line.failed) {
        line.length--; /* the closing brace */
        markup_put(&line, ", \"parameters\": %lld, \"arena_bytes\": %lld, \"resident_bytes\": %lld, \"folder\": ",
                   (long long)training->record.parameters, (long long)training->record.memory.arena, (long long)peak_memory());
        markup_json(&line, training->record.folder);
        markup_put(&line, "}");
    }
    bool failed = line.failed;
    if (!failed) fwrite(line.at, 1, line.length, stdout), fputc('\n', stdout);
    free(line.at);
    return failed ? command_say(EXIT_FAILED, "out of memory") : fflush(stdout) == 0 ? 0 : output_failed();
}

/* "step 200  valid  loss 1.892  accuracy 0.81  12.3 s" */
static void print_validation(const struct flow_event *event) {
    char time[48];
    printf("%sstep %-7lld%s ", DIM, (long long)event->step, PLAIN);
    if (event->stage[0]) printf("%s  ", event->stage);
    printf("%s%s%s", BOLD, event->name, PLAIN);
    for (size_t m = 0; m < event->metric_count; m++) {
        const struct flow_metric *metric = &event->metrics[m];
        printf("  %s", metric->name);
        for (size_t i = 0; i < metric->count && i < 8; i++) printf(" %.5g", metric->values[i]);
        if (metric->count > 8) fputs(" ..", stdout);
    }
    printf("  %s%s%s\n", DIM, report_clock(event->seconds, time, sizeof time), PLAIN);
    fflush(stdout);
}

static int tell(struct training *training, const struct flow_event *event) {
    const struct command *command = training->command;
    int rc = record_event(&training->record, training->trainer, event);
    if (rc) return rc;
    if (command->json) return print_event(training, event);
    if (command->quiet) return 0;
    progress_event(&training->progress, event);
    if (event->kind == FLOW_EVENT_VALIDATION) progress_clear(&training->progress), print_validation(event);
    return 0;
}

static void print_end(const struct training *training) {
    const struct history *history = &training->record.history;
    const struct series *loss = history_find(history, "loss", false);
    char time[48];
    printf("%lld steps in %s", (long long)history->total, report_clock(history->seconds, time, sizeof time));
    if (loss && loss->count) printf(", %sloss %.4g%s", BOLD, history_recent(loss), PLAIN);
    for (size_t i = 0; i < history->count; i++) {
        const struct series *series = &history->series[i];
        if (!series->valid) continue;
        bool higher = report_higher(series->chart);
        printf(", %s %s %.4g (best %.4g at %.0f)", series->name, series->chart, series->last, higher ? series->high : series->low,
               higher ? series->high_step : series->low_step);
        break;
    }
    double seconds = history->seconds > 0 ? history->seconds : 1e-9;
    printf("\n%s%.3g steps/s, %.1f%% of the time waiting for data; %.1f MiB planned, %.1f MiB resident\n", DIM,
           (double)history->total / seconds, 100 * history->waited / seconds, (double)training->record.memory.arena / 1048576,
           (double)peak_memory() / 1048576);
    if (!training->record.broken) printf("%s/run.html shows it\n", training->record.folder);
    fputs(PLAIN, stdout);
}

static int print_profile(const struct training *training) {
    flow_errors *errors = NULL;
    struct profiling profiling = {.profile.size = sizeof profiling.profile,
                                  .wall = training->record.history.seconds,
                                  .training = true,
                                  .all = training->command->verbose};
    if (flow_trainer_profile(training->trainer, &profiling.profile, &errors) < 0) return command_fail(errors);
    int rc = profile_measure(&profiling, training->runtime);
    if (rc) return rc;
    if (training->command->json)
        fputs("{\"event\": \"profile\", \"profile\": ", stdout), profile_json(stdout, &profiling), fputs("}\n", stdout);
    else profile_print(stderr, &profiling);
    return 0;
}

/* ---- The loop ---- */

/* Why it ended, for the page; shown and freed. */
static int stop(struct training *training, flow_errors *errors) {
    bool cancelled = interrupted();
    training->record.status = cancelled ? "interrupted" : "failed";
    if (!cancelled && flow_errors_count(errors))
        snprintf(training->record.message, sizeof training->record.message, "%s", flow_errors_get(errors, 0).text);
    progress_clear(&training->progress);
    int rc = command_fail(errors);
    return cancelled ? EXIT_FAILED : rc;
}

static int loop(struct training *training) {
    struct flow_event event = {.size = sizeof event};
    while (event.kind != FLOW_EVENT_END) {
        flow_errors *errors = NULL;
        if (flow_trainer_next(training->trainer, &event, &errors) < 0) return stop(training, errors);
        int rc = tell(training, &event);
        if (rc) return rc;
    }
    progress_clear(&training->progress);
    training->record.status = "done";
    return 0;
}

static int save(const struct training *training) {
    flow_errors *errors = NULL;
    if (!training->command->save) return 0;
    return flow_trainer_save(training->trainer, training->command->save, &errors) < 0 ? command_fail(errors) : 0;
}

int command_train(struct command *command) {
    struct training training = {.command = command, .record.lines = -1};
    if (command->file) return command_say(EXIT_USAGE, "'%s' is one word too many: inputs are given as --inputs FILE", command->file);
    if (command->stream) return command_say(EXIT_USAGE, "a stream is not trained on: see `data` in the graph");
    const char *ending = command->save ? strrchr(command->save, '.') : ".safetensors";
    if (!ending || strcmp(ending, ".safetensors") != 0) /* told before the training, not after it */
        return command_say(EXIT_USAGE, "--save %s: parameters are written as .safetensors", command->save);
    int rc = command_runtime(command, &training.runtime);
    if (rc == 0) rc = open_trainer(&training);
    progress_begin(&training.progress, command->quiet || command->json, training.graph ? flow_graph_name(training.graph) : NULL);
    if (rc == 0) rc = loop(&training);
    if (rc == 0) rc = save(&training);
    interrupt_watch_trainer(NULL);
    if (training.record.begun && strcmp(training.record.status, "running") == 0) training.record.status = "failed";
    if (rc == 0 && !command->json && !command->quiet) print_end(&training);
    if (rc == 0 && command->profile) rc = print_profile(&training);
    rc = command_trace(command, training.runtime, rc);
    record_close(&training.record);
    flow_trainer_free(training.trainer);
    flow_graph_free(training.graph);
    flow_runtime_free(training.runtime);
    return rc;
}

/* ---- flowrun GRAPH ---- */

/* Cheap and sure to find it where it is: most graphs that are run do not hold the word. */
static bool may_train(const char *path) {
    char piece[4096 + 8] = "";
    size_t kept = 0, got;
    bool found = false;
    FILE *file = fopen(path, "re");
    while (file && !found && (got = fread(piece + kept, 1, 4096, file)) > 0) {
        piece[kept + got] = 0;
        found = memmem(piece, kept + got, "train", 5) != NULL;
        size_t keep = kept + got < 4 ? kept + got : 4;
        memmove(piece, piece + kept + got - keep, keep);
        kept = keep;
    }
    if (file) fclose(file);
    return found;
}

/* Trains where the graph says how and no input is given; else runs. */
int command_default(struct command *command) {
    bool fed = command->input.count || command->inputs || command->stream || command->outputs || command->output.count ||
               command->feedback.count || command->page;
    if (command->resume || command->save || command->dir) fed = false;
    command->name = "run";
    if (fed || !command->graph || !may_train(command->graph)) return command_run(command);
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    char *json = NULL;
    int rc = command_runtime(command, &runtime);
    if (rc == 0) rc = grad_graph(command, runtime, &graph);
    if (rc == 0 && flow_graph_training(graph, &errors, &json) < 0) rc = command_fail_graph(command, errors);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    bool trains = json != NULL;
    flow_text_free(json);
    if (rc) return rc;
    if (trains) command->name = "train";
    return trains ? command_train(command) : command_run(command);
}
