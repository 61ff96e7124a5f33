/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] = "flowrun runs graphs of operators written in YAML.\n"
                           "\n"
                           "  flowrun GRAPH                 run it\n"
                           "  flowrun run    GRAPH          run it: --input NAME=FILE --output NAME=FILE\n"
                           "  flowrun verify GRAPH FILE     compare with recorded tensors\n"
                           "  flowrun check  GRAPH          shapes, streams, memory plan; runs nothing\n"
                           "  flowrun show   GRAPH          draw it (--format svg, dot or mermaid)\n"
                           "  flowrun ops    [NAME]         operators, or all about one (--schema: a JSON Schema of graph files)\n"
                           "\n"
                           "Input and output of run\n"
                           "  --input NAME=VALUE     a file (.safetensors[#TENSOR] .npy .wav .csv), - for samples from standard input,\n"
                           "                         [1, 2, 3] for numbers, :words for text; may be repeated\n"
                           "  --inputs FILE          every input from one .safetensors\n"
                           "  --output NAME=FILE     writes an output; - prints it (text as text, numbers as lines of JSON)\n"
                           "  --outputs FILE         all outputs into one .safetensors\n"
                           "  --page FILE.html       one self-contained page with the inputs and outputs drawn\n"
                           "  --weights FILE         in place of the graph's own\n"
                           "Streaming\n"
                           "  --stream T=160         feeds the axis T in pieces of 160; the result is that of the whole\n"
                           "  --feedback IN=OUT      output OUT of a piece is input IN of the next\n"
                           "  --steps N              so many pieces where the graph feeds itself\n"
                           "Common\n"
                           "  --set VAR=VALUE        a variable of the graph         --threads N   most threads at once\n"
                           "  --extent T=100         for check: the extent of T      --streams N   most branches at once\n"
                           "  --precision f64        everything in double precision  --seed N      of initial values and draws\n"
                           "  --plugin-path DIRS     where plugins are looked for first\n"
                           "  --profile --json --quiet --verbose --version --help\n"
                           "\n"
                           "Exit status: 0 done, 1 the run failed, 2 wrong usage or graph. A key under `run:` in a graph is the default of "
                           "the flag of its name.\n";

struct subcommand {
    const char *name;
    int (*run)(struct command *command);
};
static const struct subcommand subcommands[] = {
    {"run", command_run},     {"grad", command_grad}, {"verify", command_verify},
    {"check", command_check}, {"ops", command_ops},   {"show", command_show},
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

/* What a signal handler may touch; the one piece of state that has to be global. */
static flow_session *volatile watched;
static volatile sig_atomic_t stopped;

static void on_signal(int number) {
    (void)number;
    stopped = 1;
    flow_session *session = watched;
    if (session) flow_session_cancel(session);
}

void interrupt_watch(flow_session *session) {
    watched = session;
    if (!session) return;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupted(void) { return stopped; }

static bool is_file(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 || strstr(path, ".yaml") || strstr(path, ".yml");
}

static int unknown_command(const char *word) {
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (word[0] == subcommands[i].name[0])
            return command_say(EXIT_USAGE, "there is no command or graph '%s' (did you mean '%s'?)", word, subcommands[i].name);
    return command_say(EXIT_USAGE, "there is no command or graph '%s'; see flowrun --help", word);
}

int main(int count, char **words) {
    if (count < 2) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0 || strcmp(words[1], "help") == 0) {
        fputs(help, stdout);
        return EXIT_DONE;
    }
    if (strcmp(words[1], "--version") == 0) {
        printf("flowrun %s\n", flow_version());
        return EXIT_DONE;
    }
    signal(SIGPIPE, SIG_IGN);
    struct command command = {.name = "run"};
    const struct subcommand *chosen = NULL;
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (strcmp(words[1], subcommands[i].name) == 0) chosen = &subcommands[i];
    int skip = chosen ? 2 : 1;
    if (!chosen && words[1][0] != '-' && !is_file(words[1])) return unknown_command(words[1]);
    if (!chosen) chosen = &subcommands[0];
    command.name = chosen->name;
    int status = command_parse(&command, count - skip, words + skip);
    if (status == 0) status = chosen->run(&command);
    command_free(&command);
    if (fflush(stdout) != 0 && status == 0) status = command_say(EXIT_FAILED, "standard output could not be written");
    return status;
}
