/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/bench.h"
#include "flowrun/grad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const double STEADY = 0.03, SHORT = 50e-6, WARM_LONGEST = 1.0; /* a share; seconds */
enum { WINDOW = 5, WARM_LEAST = 3, WARM_MOST = 1000, SAMPLES_KEPT = 20000, PIECES_KEPT = 1 << 20 };

static double cpu_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int64_t times_preempted(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_nivcsw : 0;
}

/* ---- Opening ---- */

static int open_trainer(struct candidate *candidate) {
    struct flow_trainer_options options = {
        .size = sizeof options, .streams = candidate->command.streams, .steps = 1000000000, .unsaved = true};
    flow_errors *errors = NULL;
    struct sources sources;
    if (flow_trainer_new(candidate->graph, &options, &errors, &candidate->trainer) < 0)
        return command_fail_graph(&candidate->command, errors);
    interrupt_watch_trainer(candidate->trainer);
    int rc = sources_given(&sources, &candidate->command, candidate->runtime, candidate->graph, false);
    for (size_t i = 0; rc == 0 && i < sources.count; i++) {
        const struct source *source = &sources.at[i];
        if (source->name && flow_trainer_input(candidate->trainer, source->name, &source->tensor, &errors) < 0) rc = command_fail(errors);
    }
    sources_close(&sources);
    snprintf(candidate->unit, sizeof candidate->unit, "row");
    return rc;
}

int bench_open(struct candidate *candidate) {
    const struct command *command = &candidate->command;
    double start = seconds_now();
    int rc = command_runtime(command, &candidate->runtime);
    if (rc == 0) rc = grad_graph(command, candidate->runtime, &candidate->graph);
    candidate->load_seconds = seconds_now() - start;
    candidate->batch = 1, candidate->elements = 1;
    if (rc || command->train) return rc ? rc : open_trainer(candidate);
    candidate->drive.gradients = command->gradients, candidate->drive.again = true;
    rc = drive_open(&candidate->drive, command, candidate->runtime, candidate->graph);
    if (rc == 0 && candidate->drive.symbol[0] && command->gradients)
        rc = command_say(EXIT_USAGE, "a stream is not differentiated: --gradients runs the whole sequence");
    return rc == 0 ? bench_inputs(candidate) : rc;
}

void bench_close(struct candidate *candidate) {
    interrupt_watch_trainer(NULL);
    flow_trainer_free(candidate->trainer);
    drive_close(&candidate->drive);
    flow_graph_free(candidate->graph);
    flow_runtime_free(candidate->runtime);
    free(candidate->wall), free(candidate->cpu), free(candidate->pieces);
}

/* ---- Rounds ---- */

static int train_step(struct candidate *candidate, double *took) {
    struct flow_event event = {.size = sizeof event};
    while (event.kind != FLOW_EVENT_STEP && event.kind != FLOW_EVENT_END) {
        flow_errors *errors = NULL;
        if (flow_trainer_next(candidate->trainer, &event, &errors) < 0) return command_fail(errors);
    }
    candidate->over = event.kind == FLOW_EVENT_END;
    *took = event.step_seconds;
    if (!candidate->over) candidate->elements = (double)event.rows, candidate->trained++;
    return 0;
}

static int add(double **at, size_t *count, size_t *capacity, double value) {
    if (*count == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 64;
        double *grown = realloc(*at, more * sizeof *grown);
        if (!grown) return command_say(EXIT_FAILED, "out of memory");
        *at = grown, *capacity = more;
    }
    (*at)[(*count)++] = value;
    return 0;
}

struct watching {
    struct candidate *candidate;
    double before;
    bool keep;
};

static int each_piece(void *context, struct drive *drive) {
    struct watching *watching = context;
    struct candidate *candidate = watching->candidate;
    double took = drive->seconds - watching->before;
    watching->before = drive->seconds;
    if (!watching->keep) { /* the plans of pieces differ: the largest counts */
        int64_t planned = flow_session_memory(drive->session).arena;
        if (planned > candidate->planned) candidate->planned = planned;
    }
    bool keeps = watching->keep && drive->symbol[0] && candidate->piece_count < PIECES_KEPT;
    return keeps ? add(&candidate->pieces, &candidate->piece_count, &candidate->piece_capacity, took) : 0;
}

/* Once through the inputs, or the steps of a graph that feeds itself; *took: in the library. */
static int round_once(struct candidate *candidate, bool keep, double *took) {
    struct drive *drive = &candidate->drive;
    if (candidate->trainer) return train_step(candidate, took);
    if (interrupted()) return command_say(EXIT_FAILED, "interrupted");
    drive->runs = drive->fed = 0, drive->seconds = 0;
    if (drive->feeds_itself) flow_session_reset(drive->session);
    struct watching watching = {candidate, 0, keep};
    int rc = drive_run(drive, each_piece, &watching);
    *took = drive->seconds;
    if (drive->feeds_itself) candidate->elements = (double)drive->runs;
    return rc;
}

static bool steady(const double *times, int64_t count) {
    struct summary before, now;
    if (count < 2 * WINDOW) return false;
    return statistics_summary(times + count - 2 * WINDOW, WINDOW, &before) && statistics_summary(times + count - WINDOW, WINDOW, &now) &&
           fabs(now.median - before.median) <= STEADY * before.median;
}

static void look_at_memory(struct candidate *candidate) {
    struct flow_memory memory =
        candidate->trainer ? flow_trainer_memory(candidate->trainer) : flow_session_memory(candidate->drive.session);
    if (memory.arena > candidate->planned) candidate->planned = memory.arena;
    candidate->params = memory.params, candidate->resident = peak_memory();
}

int bench_warm_up(struct candidate *candidate) {
    double times[WARM_MOST], start = seconds_now(), spent = 0;
    int64_t count = 0;
    while (count < WARM_MOST && !candidate->over) {
        int rc = round_once(candidate, false, &times[count]);
        if (rc) return rc;
        spent = seconds_now() - start;
        if (count++ == 0) candidate->first_seconds = times[0], look_at_memory(candidate);
        if (steady(times, count) || (spent > WARM_LONGEST && count >= WARM_LEAST)) break;
    }
    struct summary last;
    int64_t window = count < WINDOW ? count : WINDOW;
    if (!candidate->trainer && statistics_summary(times + count - window, (size_t)window, &last) && last.median > 0)
        candidate->batch = (int64_t)ceil(SHORT / last.median);
    if (candidate->batch < 1 || candidate->drive.symbol[0]) candidate->batch = 1;
    candidate->warm_up = count;
    return 0;
}

int bench_machine(struct candidate *candidate) {
    flow_errors *errors = NULL;
    struct flow_limits limits = {.size = sizeof limits};
    if (flow_runtime_limits(candidate->runtime, &limits, &errors) < 0) return command_fail(errors);
    candidate->machine[0] = limits.flops, candidate->machine[1] = limits.rate[1], candidate->threads = limits.threads;
    return 0;
}

int bench_sample(struct candidate *candidate) {
    if (candidate->over || candidate->count == SAMPLES_KEPT) return 0;
    int64_t lost = times_preempted();
    double wall = 0, cpu = cpu_seconds(), start = seconds_now();
    for (int64_t i = 0; i < candidate->batch; i++) {
        double took;
        int rc = round_once(candidate, true, &took);
        if (rc || candidate->over) return rc;
        wall += took;
    }
    double spent = seconds_now() - start, busy = cpu_seconds() - cpu;
    candidate->preempted += times_preempted() - lost;
    candidate->wall_sum += spent, candidate->cpu_sum += busy;
    size_t count = candidate->count, capacity = candidate->capacity;
    int rc = add(&candidate->wall, &candidate->count, &candidate->capacity, wall / (double)candidate->batch);
    if (rc == 0) rc = add(&candidate->cpu, &count, &capacity, busy / (double)candidate->batch);
    return rc;
}
