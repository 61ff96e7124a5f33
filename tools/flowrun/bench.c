/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun bench: times a graph, or several settings of it in turn, so that what disturbs the machine disturbs all alike. */
#include "flowrun/bench.h"

#include <stdlib.h>
#include <string.h>

static const double SECONDS = 2; /* of each candidate */
enum { ROUNDS_LEAST = 10, ROUNDS_FEW = 3 };

struct bench {
    const struct command *command;
    struct candidate *candidates[CANDIDATES_MOST];
    size_t count;
};

/* ---- Which ---- */

static struct candidate *add_candidate(struct bench *bench, int32_t threads, const char *words) {
    if (bench->count == CANDIDATES_MOST) return NULL;
    struct candidate *candidate = calloc(1, sizeof *candidate);
    if (!candidate) return NULL;
    bench->candidates[bench->count++] = candidate;
    candidate->command = *bench->command;
    candidate->command.threads = threads;
    if (words && strncmp(words, "threads=", 8) == 0) {
        snprintf(candidate->label, sizeof candidate->label, "%s", words);
        return candidate;
    }
    if (threads) snprintf(candidate->label, sizeof candidate->label, "threads=%d", (int)threads);
    else snprintf(candidate->label, sizeof candidate->label, "all threads");
    size_t used = strlen(candidate->label);
    if (words) snprintf(candidate->label + used, sizeof candidate->label - used, " %s", words);
    return candidate;
}

/* Another graph, or a setting: threads=, streams=, capture=, precision=, or a variable of the graph. */
static int set_against(struct candidate *candidate, const char *words) {
    struct command *command = &candidate->command;
    const char *equals = strchr(words, '=');
    if (!equals) {
        command->graph = words, command->weights = NULL;
        return 0;
    }
    size_t length = (size_t)(equals - words);
    char *end;
    long number = strtol(equals + 1, &end, 10);
    bool threads = strncmp(words, "threads", length) == 0 && length == 7, streams = strncmp(words, "streams", length) == 0 && length == 7;
    if (strncmp(words, "precision", length) == 0 && length == 9) {
        command->precision = equals + 1;
        return 0;
    }
    if (strncmp(words, "capture", length) == 0 && length == 7) {
        bool off = strcmp(equals + 1, "off") == 0;
        if (!off && strcmp(equals + 1, "on") != 0) return command_say(EXIT_USAGE, "--against %s: expected on or off", words);
        command->uncaptured = off;
        return 0;
    }
    if ((threads || streams) && (*end || number < 1 || number > 1024))
        return command_say(EXIT_USAGE, "--against %s: expected a number from 1 to 1024", words);
    if (threads) command->threads = (int32_t)number;
    if (streams) command->streams = (int32_t)number;
    if (threads || streams) return 0;
    const char **set = calloc(command->set.count + 1, sizeof *set); /* freed with the candidate */
    if (!set) return command_say(EXIT_FAILED, "out of memory");
    if (command->set.count) memcpy(set, command->set.at, command->set.count * sizeof *set);
    set[command->set.count] = words;
    command->set.at = set, command->set.count++;
    return 0;
}

static int list_one(struct bench *bench, int32_t threads) {
    const char *against = bench->command->against;
    struct candidate *other = NULL;
    if (!add_candidate(bench, threads, NULL) || (against && !(other = add_candidate(bench, threads, against))))
        return command_say(EXIT_FAILED, "too many settings, or no memory");
    return other ? set_against(other, against) : 0;
}

/* "1,2" */
static int list_candidates(struct bench *bench) {
    const char *text = bench->command->thread_list;
    if (!text) return list_one(bench, 0);
    for (const char *at = text;; at++) {
        char *end;
        long threads = strtol(at, &end, 10);
        if (end == at || threads < 1 || threads > 1024 || (*end && *end != ','))
            return command_say(EXIT_USAGE, "--threads takes numbers from 1 to 1024, ',' between them, found '%s'", text);
        int rc = list_one(bench, (int32_t)threads);
        if (rc) return rc;
        at = end;
        if (!*at) return 0;
    }
}

/* ---- Timing ---- */

/* A B C C B A A B C ..: a slow drift of the machine falls on all alike. */
static int one_turn(struct bench *bench, int64_t turn) {
    int rc = 0;
    for (size_t i = 0; i < bench->count && rc == 0; i++) rc = bench_sample(bench->candidates[turn % 2 ? bench->count - 1 - i : i]);
    return rc;
}

static bool all_over(const struct bench *bench) {
    for (size_t i = 0; i < bench->count; i++)
        if (!bench->candidates[i]->over) return false;
    return true;
}

static int measure(struct bench *bench) {
    const struct command *command = bench->command;
    double budget = (command->seconds > 0 ? command->seconds : SECONDS) * (double)bench->count, start = seconds_now();
    int64_t least = command->rounds ? command->rounds : command->seconds > 0 ? ROUNDS_FEW : ROUNDS_LEAST;
    int64_t most = command->rounds ? command->rounds : INT64_MAX;
    int rc = 0;
    for (int64_t turn = 0; turn < most && rc == 0 && !all_over(bench); turn++) {
        if (turn >= least && seconds_now() - start > budget) break;
        rc = one_turn(bench, turn);
        if (bench->candidates[0]->count < (size_t)turn) break; /* as many as are kept */
    }
    return rc;
}

int command_bench(struct command *command) {
    struct bench bench = {.command = command};
    bool slower = false;
    if (command->train && (command->stream || command->gradients))
        return command_say(EXIT_USAGE, "--train times training steps: it goes with neither --stream nor --gradients");
    int rc = list_candidates(&bench);
    for (size_t i = 0; rc == 0 && i < bench.count; i++) rc = bench_open(bench.candidates[i]);
    for (size_t i = 0; rc == 0 && i < bench.count; i++) rc = bench_warm_up(bench.candidates[i]);
    for (size_t i = 0; rc == 0 && i < bench.count; i++) rc = bench_machine(bench.candidates[i]);
    if (rc == 0) rc = measure(&bench);
    if (rc == 0) rc = bench_report(bench.candidates, bench.count, command, &slower);
    for (size_t i = 0; i < bench.count; i++) {
        if (bench.candidates[i]->command.set.at != command->set.at) free(bench.candidates[i]->command.set.at);
        bench_close(bench.candidates[i]);
        free(bench.candidates[i]);
    }
    return rc ? rc : slower ? EXIT_FAILED : EXIT_DONE;
}
