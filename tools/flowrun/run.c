/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/collect.h"
#include "flowrun/drive.h"
#include "flowrun/page.h"
#include "flowrun/print.h"
#include "flowrun/profile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What becomes of one output. */
struct target {
    const char *file; /* NULL: none; "-": printed piece by piece */
    bool keep;        /* collected to the end */
    struct collect collect;
    struct flow_tensor whole; /* joined at the end; its data is owned */
};

struct job {
    const struct command *command;
    struct target *targets; /* by graph output */
    size_t count;
    double start, shown;
    double wall; /* seconds of the drive */
    bool bar;
};

static int assign_targets(struct job *job, const flow_graph *graph) {
    const struct command *command = job->command;
    for (size_t i = 0; i < command->output.count; i++) {
        const char *pair = command->output.at[i], *equals = strchr(pair, '=');
        struct target *target = NULL;
        for (size_t k = 0; k < job->count; k++) {
            const char *name = flow_graph_output(graph, k).name;
            if (strlen(name) == (size_t)(equals - pair) && strncmp(name, pair, strlen(name)) == 0) target = &job->targets[k];
        }
        if (!target) {
            char names[256] = "";
            for (size_t k = 0; k < job->count; k++) {
                size_t used = strlen(names);
                snprintf(names + used, sizeof names - used, "%s%s", k ? ", " : "", flow_graph_output(graph, k).name);
            }
            return command_say(EXIT_USAGE, "the graph has no output '%.*s'; it has: %s", (int)(equals - pair), pair, names);
        }
        target->file = equals + 1;
    }
    const char *name, *value;
    for (size_t i = 0; !command->output.count && flow_graph_run_entry(graph, "output", i, &name, &value); i++)
        for (size_t k = 0; k < job->count; k++)
            if (strcmp(flow_graph_output(graph, k).name, name) == 0) job->targets[k].file = strcmp(value, "-") == 0 ? "-" : NULL;
    return 0;
}

/* Everything is kept where something at the end asks for it; a stream that only prints stays at constant memory. */
static void decide_keeping(struct job *job, bool streams) {
    const struct command *command = job->command;
    for (size_t i = 0; i < job->count; i++) {
        struct target *target = &job->targets[i];
        bool to_file = target->file && strcmp(target->file, "-") != 0;
        target->keep = to_file || command->outputs || command->page || (!streams && !target->file);
    }
}

static int print_piece(const struct job *job, const flow_graph *graph, size_t index, const struct flow_tensor *tensor) {
    if (flow_tensor_count(tensor) == 0) return 0;
    if (tensor->dtype == FLOW_U8 && tensor->rank == 1 && !job->command->json) {
        fwrite(tensor->data, 1, (size_t)tensor->shape[0], stdout);
    } else {
        fputc('{', stdout);
        print_string(stdout, flow_graph_output(graph, index).name, strlen(flow_graph_output(graph, index).name));
        fputs(": ", stdout);
        print_json(stdout, tensor);
        fputs("}\n", stdout);
    }
    return fflush(stdout) == 0 ? 0 : output_failed();
}

static void show_progress(struct job *job, const struct drive *drive) {
    double now = seconds_now();
    if (!job->bar || now - job->start < 0.5 || now - job->shown < 0.1) return;
    job->shown = now;
    if (drive->symbol[0])
        fprintf(stderr, "\r%lld pieces, %lld along %s, %.1f s ", (long long)drive->runs, (long long)drive->fed, drive->symbol,
                now - job->start);
    else fprintf(stderr, "\r%lld runs, %.1f s ", (long long)drive->runs, now - job->start);
}

static int take_outputs(void *context, struct drive *drive) {
    struct job *job = context;
    for (size_t i = 0; i < job->count; i++) {
        struct target *target = &job->targets[i];
        const struct flow_tensor *tensor = flow_session_output_at(drive->session, i);
        int32_t axis = drive->symbol[0] ? flow_session_output_axis(drive->session, i) : -1;
        int rc = 0;
        if (target->file && strcmp(target->file, "-") == 0) rc = print_piece(job, drive->graph, i, tensor);
        if (rc == 0 && target->keep) rc = collect_add(&target->collect, tensor, axis);
        if (rc) return rc;
    }
    show_progress(job, drive);
    return 0;
}

static double sample_rate(const struct drive *drive) {
    for (size_t i = 0; i < drive->sources.count; i++)
        if (drive->sources.at[i].rate > 0) return drive->sources.at[i].rate;
    return 16000;
}

static int write_outputs(struct job *job, const struct drive *drive) {
    int rc = 0;
    size_t named_count = 0;
    struct flow_named *named = calloc(job->count ? job->count : 1, sizeof *named);
    if (!named) return command_say(EXIT_FAILED, "out of memory");
    for (size_t i = 0; rc == 0 && i < job->count; i++) {
        struct target *target = &job->targets[i];
        if (!target->keep || !target->collect.count) continue;
        rc = collect_join(&target->collect, &target->whole);
        named[named_count++] = (struct flow_named){flow_graph_output(drive->graph, i).name, &target->whole};
        if (rc || !target->file || strcmp(target->file, "-") == 0) continue;
        struct flow_named one = named[named_count - 1];
        flow_errors *errors = NULL;
        if (flow_file_write(drive->runtime, target->file, &one, 1, sample_rate(drive), &errors) < 0) rc = command_fail(errors);
    }
    flow_errors *errors = NULL;
    if (rc == 0 && job->command->outputs &&
        flow_file_write(drive->runtime, job->command->outputs, named, named_count, sample_rate(drive), &errors) < 0)
        rc = command_fail(errors);
    free(named);
    return rc;
}

static int profile_of(const struct job *job, const struct drive *drive, struct profiling *profiling) {
    flow_errors *errors = NULL;
    *profiling = (struct profiling){.profile.size = sizeof profiling->profile, .wall = job->wall, .all = job->command->verbose};
    if (flow_session_profile(drive->session, &profiling->profile, &errors) < 0) return command_fail(errors);
    return profile_measure(profiling, drive->runtime);
}

static int report_json(const struct job *job, const struct drive *drive) {
    struct flow_memory memory = flow_session_memory(drive->session);
    printf("{\"outputs\": {");
    for (size_t i = 0, shown = 0; i < job->count; i++) {
        if (!job->targets[i].whole.data) continue;
        fputs(shown++ ? ", " : "", stdout);
        print_string(stdout, flow_graph_output(drive->graph, i).name, strlen(flow_graph_output(drive->graph, i).name));
        fputs(": ", stdout);
        print_json(stdout, &job->targets[i].whole);
    }
    printf("}, \"runs\": %lld, \"seconds\": %.6f, \"first_seconds\": %.6f, \"arena_bytes\": %lld, \"parameter_bytes\": %lld, "
           "\"state_bytes\": %lld, \"resident_bytes\": %lld",
           (long long)drive->runs, drive->seconds, drive->first_seconds, (long long)memory.arena, (long long)memory.params,
           (long long)memory.states, (long long)peak_memory());
    struct profiling profiling;
    int rc = job->command->profile ? profile_of(job, drive, &profiling) : 0;
    if (rc == 0 && job->command->profile) fputs(", \"profile\": ", stdout), profile_json(stdout, &profiling);
    fputs("}\n", stdout);
    return rc;
}

static void report_launches(FILE *out, const struct drive *drive) {
    struct flow_launches launches = {.size = sizeof launches};
    flow_session_launches(drive->session, &launches);
    if (launches.device == FLOW_DEVICE_CPU) return;
    fprintf(out, "%son cuda: ", DIM);
    if (launches.hosted)
        fprintf(out, "%lld node%s on the CPU ('%s'%s); ", (long long)launches.hosted, launches.hosted == 1 ? "" : "s",
                launches.first_hosted, launches.hosted == 1 ? "" : " first");
    if (launches.uncaptured) fprintf(out, "launched call by call: %s%s\n", launches.uncaptured, PLAIN);
    else
        fprintf(out, "%llu graph%s captured, replayed %llu time%s%s\n", (unsigned long long)launches.captures,
                launches.captures == 1 ? "" : "s", (unsigned long long)launches.replays, launches.replays == 1 ? "" : "s", PLAIN);
}

static void report_text(const struct job *job, const struct drive *drive) {
    struct flow_memory memory = flow_session_memory(drive->session);
    bool printed = false;
    for (size_t i = 0; i < job->count; i++) printed |= job->targets[i].file && strcmp(job->targets[i].file, "-") == 0;
    FILE *out = printed ? stderr : stdout;
    if (printed) fputc('\n', out); /* text on standard output may end within a line */
    for (size_t i = 0; i < job->count; i++)
        if (job->targets[i].whole.data) print_summary(out, flow_graph_output(drive->graph, i).name, &job->targets[i].whole);
    if (memory.initialised)
        fprintf(out, "%s%lld parameters are in no file: initialised from the seed%s\n", DIM, (long long)memory.initialised, PLAIN);
    fprintf(out, "%s%lld %s in %.1f ms (the first, planning included, %.1f ms); %.2f MiB planned, %.1f MiB resident%s\n",
            printed ? "" : DIM, (long long)drive->runs, drive->runs == 1 ? "run" : "runs", 1e3 * drive->seconds, 1e3 * drive->first_seconds,
            (double)memory.arena / 1048576, (double)peak_memory() / 1048576, printed ? "" : PLAIN);
    report_launches(out, drive);
}

static int finish(struct job *job, struct drive *drive) {
    if (job->bar && job->shown > 0) fprintf(stderr, "\r%70s\r", "");
    int rc = write_outputs(job, drive);
    if (rc == 0 && job->command->page) {
        const struct flow_tensor *wholes[64];
        for (size_t i = 0; i < job->count && i < 64; i++) wholes[i] = job->targets[i].whole.data ? &job->targets[i].whole : NULL;
        rc = page_write(job->command->page, drive, wholes, job->count < 64 ? job->count : 64);
    }
    if (rc) return rc;
    if (job->command->json) return report_json(job, drive);
    if (!job->command->quiet) report_text(job, drive);
    struct profiling profiling;
    if (job->command->profile && (rc = profile_of(job, drive, &profiling)) == 0) profile_print(stderr, &profiling);
    return rc;
}

int command_run(struct command *command) {
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    struct drive drive = {0};
    struct job job = {.command = command, .start = seconds_now(), .bar = isatty(STDERR_FILENO) && !command->quiet && !command->json};
    if (command->file) return command_say(EXIT_USAGE, "'%s' is one word too many: inputs are given as --input NAME=FILE", command->file);
    int rc = command_runtime(command, &runtime);
    if (rc == 0) rc = command_graph(command, runtime, &graph);
    if (rc == 0) {
        job.count = flow_graph_outputs(graph);
        job.targets = calloc(job.count ? job.count : 1, sizeof *job.targets);
        rc = job.targets ? assign_targets(&job, graph) : command_say(EXIT_FAILED, "out of memory");
        if (rc == 0) rc = drive_open(&drive, command, runtime, graph);
        if (rc == 0) decide_keeping(&job, drive.symbol[0]);
        double before = seconds_now();
        if (rc == 0) rc = drive_run(&drive, take_outputs, &job);
        job.wall = seconds_now() - before;
        if (rc == 0) rc = finish(&job, &drive);
        for (size_t i = 0; job.targets && i < job.count; i++) collect_free(&job.targets[i].collect), free(job.targets[i].whole.data);
        free(job.targets);
        drive_close(&drive);
    }
    rc = command_trace(command, runtime, rc);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    return rc;
}
