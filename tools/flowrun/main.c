/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/complete.h"
#include "flowrun/help.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a signal handler may touch; the one piece of state that has to be global. */
static flow_session *volatile watched;
static flow_trainer *volatile watched_trainer;
enum { WAVES = 8 };
static flow_wave *volatile watched_waves[WAVES];
static volatile sig_atomic_t stopped;

static void on_signal(int number) {
    (void)number;
    stopped = 1;
    flow_session *session = watched;
    flow_trainer *trainer = watched_trainer;
    if (session) flow_session_cancel(session);
    if (trainer) flow_trainer_cancel(trainer);
    for (int i = 0; i < WAVES; i++) {
        flow_wave *wave = watched_waves[i];
        if (wave) flow_wave_cancel(wave);
    }
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void interrupt_watch(flow_session *session) {
    watched = session;
    if (session) catch_signals();
}

void interrupt_watch_trainer(flow_trainer *trainer) {
    watched_trainer = trainer;
    if (trainer) catch_signals();
}

void interrupt_watch_wave(flow_wave *wave) {
    for (int i = 0; i < WAVES; i++)
        if (!watched_waves[i]) {
            watched_waves[i] = wave;
            return;
        }
}

void interrupt_forget_wave(const flow_wave *wave) {
    for (int i = 0; i < WAVES; i++)
        if (watched_waves[i] == wave) watched_waves[i] = NULL;
}

bool interrupted(void) { return stopped; }

static bool is_file(const char *path) {
    struct stat about;
    return strcmp(path, "-") == 0 || stat(path, &about) == 0 || strchr(path, '/') || strstr(path, ".yaml") || strstr(path, ".yml");
}

int command_unknown(const char *word) {
    struct nearest nearest = {.word = word};
    for (const struct subcommand *subcommand = table_commands; subcommand->name; subcommand++) nearest_offer(&nearest, subcommand->name);
    if (nearest.best) return command_say(EXIT_USAGE, "there is no command or graph '%s' (did you mean '%s'?)", word, nearest.best);
    return command_say(EXIT_USAGE, "there is no command or graph '%s'; flowrun --help shows the commands", word);
}

/* The command line in one piece; words with spaces in quotes. NULL where there is no memory. */
static char *join(char **words, int count) {
    size_t length = 1;
    for (int i = 0; i < count; i++) length += strlen(words[i]) + 3;
    char *line = malloc(length), *at = line;
    for (int i = 0; line && i < count; i++) {
        bool quoted = strpbrk(words[i], " \t*$") != NULL;
        at += sprintf(at, "%s%s%s%s", i ? " " : "", quoted ? "'" : "", words[i], quoted ? "'" : "");
    }
    return line;
}

/* flowrun GRAPH: takes what run and train take. */
static const struct subcommand of_graph = {
    .bit = RUN | TRAIN, .name = "a graph", .run = command_default, .operands = "GRAPH", .operand = {VALUE_GRAPH}, .most = 1};

static int close_output(int status) {
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    return failed && status == EXIT_DONE ? output_failed() : status;
}

/* flowrun COMMAND --help, flowrun --help [COMMAND] */
static void show_help(const struct subcommand *chosen, const char *operand) {
    if (!chosen && operand) chosen = table_command(operand);
    if (chosen) help_of(stdout, chosen);
    else help_all(stdout);
}

static int run_command(int count, char **words) {
    if (strcmp(words[1], "complete") == 0) return complete_words(count - 2, words + 2, &of_graph);
    const struct subcommand *chosen = table_command(words[1]);
    struct command command = {.name = chosen ? chosen->name : "run"};
    if (!chosen && words[1][0] != '-' && !is_file(words[1])) return command_unknown(words[1]);
    char *line = join(words, count);
    command.line = line;
    int skip = chosen ? 2 : 1, status = command_parse(&command, chosen ? chosen : &of_graph, count - skip, words + skip);
    if (status == 0 && command.help) show_help(chosen, command.graph);
    else if (status == 0) status = chosen ? chosen->run(&command) : command_default(&command);
    command_free(&command);
    free(line);
    return status;
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    if (count < 2) {
        help_all(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(words[1], "--version") == 0) {
        printf("flowrun %s\n", flow_version());
        return close_output(EXIT_DONE);
    }
    return close_output(run_command(count, words));
}
