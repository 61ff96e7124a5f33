/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/command.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "flowrun runs and trains graphs of operators written in YAML.\n"
    "\n"
    "  flowrun GRAPH                 run it; train it where it has a `train` section and no input is given\n"
    "  flowrun run     GRAPH         run it: --input NAME=FILE --output NAME=FILE\n"
    "  flowrun train   GRAPH         train it: --resume --steps N --save FILE\n"
    "  flowrun compare RUN RUN ..    one page with the curves of several runs (--page FILE.html)\n"
    "  flowrun grad    GRAPH         gradients of one run: --inputs FILE --weights FILE --cotangents FILE --outputs FILE\n"
    "  flowrun verify  GRAPH FILE    compare with recorded tensors\n"
    "  flowrun check   GRAPH         shapes, streams, memory plan; runs nothing (--gradients: against central differences)\n"
    "  flowrun show    GRAPH         draw it (--format svg, dot or mermaid)\n"
    "  flowrun ops     [NAME]        operators, or all about one (--schema: a JSON Schema of graph files)\n"
    "\n"
    "Input and output of run\n"
    "  --input NAME=VALUE     a file (.safetensors[#TENSOR] .npy .wav .csv), - for samples from standard input,\n"
    "                         [1, 2, 3] for numbers, :words for text; may be repeated\n"
    "  --inputs FILE          every input from one .safetensors\n"
    "  --output NAME=FILE     writes an output; - prints it (text as text, numbers as lines of JSON)\n"
    "  --outputs FILE         all outputs into one .safetensors; of grad: grad.in.NAME, grad.param.NODE.PARAM\n"
    "  --page FILE.html       one self-contained page with the inputs and outputs drawn\n"
    "  --weights FILE         in place of the graph's own\n"
    "  --cotangents FILE      of grad: what each output receives; without it outputs of one number receive 1\n"
    "Training\n"
    "  --resume               goes on from the newest checkpoint, as if it had never stopped\n"
    "  --steps N              in place of what the graph says, of each stage\n"
    "  --inputs FILE          the same tensors at every step, where no data source feeds them\n"
    "  --save FILE            writes the parameters at the end, a .safetensors\n"
    "  --dir DIR              folder of checkpoints, metrics.jsonl, run.html, curve.svg; in place of the graph's own or runs/NAME\n"
    "  --profile              times by node and the share of time spent waiting for data\n"
    "  Ctrl-C ends a training after a last checkpoint.\n"
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
    {"run", command_run},       {"train", command_train}, {"compare", command_compare}, {"grad", command_grad},
    {"verify", command_verify}, {"check", command_check}, {"ops", command_ops},         {"show", command_show},
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

/* What a signal handler may touch; the one piece of state that has to be global. */
static flow_session *volatile watched;
static flow_trainer *volatile watched_trainer;
static volatile sig_atomic_t stopped;

static void on_signal(int number) {
    (void)number;
    stopped = 1;
    flow_session *session = watched;
    flow_trainer *trainer = watched_trainer;
    if (session) flow_session_cancel(session);
    if (trainer) flow_trainer_cancel(trainer);
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
    for (int i = 2; i < count; i++)
        if (strcmp(words[i], "--help") == 0) {
            fputs(help, stdout);
            return EXIT_DONE;
        }
    signal(SIGPIPE, SIG_IGN);
    struct command command = {.name = "run"};
    const struct subcommand *chosen = NULL;
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (strcmp(words[1], subcommands[i].name) == 0) chosen = &subcommands[i];
    int skip = chosen ? 2 : 1;
    if (!chosen && words[1][0] != '-' && !is_file(words[1])) return unknown_command(words[1]);
    command.name = chosen ? chosen->name : "run";
    char *line = join(words, count);
    command.line = line;
    int status = command_parse(&command, count - skip, words + skip);
    if (status == 0) status = chosen ? chosen->run(&command) : command_default(&command);
    command_free(&command);
    free(line);
    if (fflush(stdout) != 0 && status == 0) status = command_say(EXIT_FAILED, "standard output could not be written");
    return status;
}
