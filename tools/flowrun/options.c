/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/help.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int command_say(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("flowrun: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return status;
}

/* "run, train and check": the commands of a set of bits. */
static const char *name_commands(uint32_t bits, char *text, size_t size) {
    size_t used = 0, left = 0;
    for (const struct subcommand *command = table_commands; command->name; command++) left += (command->bit & bits) != 0;
    text[0] = 0;
    for (const struct subcommand *command = table_commands; command->name && used < size; command++) {
        if (!(command->bit & bits)) continue;
        int wrote = snprintf(text + used, size - used, "%s%s", command->name, --left > 1 ? ", " : left == 1 ? " and " : "");
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return text;
}

static int unknown_option(const struct subcommand *subcommand, const char *name, size_t length, uint32_t elsewhere) {
    char word[64], text[256], usage[80] = "";
    snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), name);
    if (subcommand->run != command_default) snprintf(usage, sizeof usage, "%s ", subcommand->name);
    if (elsewhere)
        return command_say(EXIT_USAGE, "%s takes no --%s; it is an option of %s", subcommand->name, word,
                           name_commands(elsewhere, text, sizeof text));
    struct nearest own = {.word = word}, any = {.word = word};
    for (const struct option *option = table_options; option->name; option++) {
        if (option->commands & subcommand->bit) nearest_offer(&own, option->name);
        else nearest_offer(&any, option->name);
    }
    if (own.best) return command_say(EXIT_USAGE, "there is no option --%s (did you mean --%s?)", word, own.best);
    if (any.best) {
        uint32_t unused;
        for (const struct subcommand *other = table_commands; other->name; other++)
            if (table_option(other, any.best, strlen(any.best), &unused)) elsewhere |= other->bit;
        return command_say(EXIT_USAGE, "there is no option --%s (did you mean --%s, of %s?)", word, any.best,
                           name_commands(elsewhere, text, sizeof text));
    }
    return command_say(EXIT_USAGE, "there is no option --%s; flowrun %s--help shows those there are", word, usage);
}

int command_add(struct pairs *pairs, const char *value) {
    const char **grown = realloc(pairs->at, (pairs->count + 1) * sizeof *grown);
    if (!grown) return command_say(EXIT_FAILED, "out of memory");
    pairs->at = grown;
    pairs->at[pairs->count++] = value;
    return 0;
}

static int add_pair(struct pairs *pairs, const char *name, const char *value) {
    if (!strchr(value, '=')) return command_say(EXIT_USAGE, "--%s takes NAME=VALUE, found '%s'", name, value);
    return command_add(pairs, value);
}

static int parse_integer(const char *name, const char *value, long long low, long long high, long long *out) {
    char *end;
    errno = 0;
    *out = strtoll(value, &end, 10);
    if (*end || end == value || errno || *out < low || *out > high)
        return command_say(EXIT_USAGE, "--%s takes an integer from %lld to %lld, found '%s'", name, low, high, value);
    return 0;
}

/* Is `value` one of "f32|f64|bf16"? Says so where not. */
static int check_choice(const struct option *option, const char *value) {
    char text[256];
    size_t length = strlen(value), used = 0;
    for (const char *at = option->choices;;) {
        size_t one = strcspn(at, "|");
        if (one == length && strncmp(at, value, length) == 0) return 0;
        bool last = !at[one], before_last = !last && !strchr(at + one + 1, '|');
        int wrote = snprintf(text + used, sizeof text - used, "%.*s%s", (int)one, at, last ? "" : before_last ? " or " : ", ");
        used += wrote > 0 ? (size_t)wrote : 0;
        if (last || used >= sizeof text) return command_say(EXIT_USAGE, "--%s is %s, found '%s'", option->name, text, value);
        at += one + 1;
    }
}

static int take_value(struct command *command, const struct option *option, const char *value) {
    void *field = (char *)command + option->offset;
    long long number;
    char *end;
    int rc = option->of == VALUE_CHOICE ? check_choice(option, value) : 0;
    if (rc) return rc;
    switch (option->kind) {
    case OPTION_FLAG: *(bool *)field = true; break;
    case OPTION_TEXT: *(const char **)field = value; break;
    case OPTION_NUMBER:
        rc = parse_integer(option->name, value, 1, 1024, &number);
        if (rc == 0) *(int32_t *)field = (int32_t)number;
        break;
    case OPTION_COUNT:
        rc = parse_integer(option->name, value, 1, 1000000000000, &number);
        if (rc == 0) *(int64_t *)field = number;
        break;
    case OPTION_SEED:
        rc = parse_integer(option->name, value, 0, INT64_MAX, &number);
        if (rc == 0) *(uint64_t *)field = (uint64_t)number, command->seeded = true;
        break;
    case OPTION_REAL:
        *(double *)field = strtod(value, &end);
        if (*end || end == value || !(*(double *)field >= 0))
            rc = command_say(EXIT_USAGE, "--%s takes a real number, found '%s'", option->name, value);
        break;
    case OPTION_PAIR: rc = add_pair(field, option->name, value); break;
    }
    return rc;
}

/* One word that begins with --; `*used` counts the words taken. */
static int parse_option(struct command *command, const struct subcommand *subcommand, const char *word, const char *next, int *used) {
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    uint32_t elsewhere;
    const struct option *option = table_option(subcommand, name, length, &elsewhere);
    if (!option) return unknown_option(subcommand, name, length, elsewhere);
    *used = 1;
    if (option->kind == OPTION_FLAG) {
        if (equals) return command_say(EXIT_USAGE, "--%s takes no value", option->name);
        return take_value(command, option, NULL);
    }
    if (equals) return take_value(command, option, equals + 1);
    if (!next) return command_say(EXIT_USAGE, "--%s needs a value: --%s %s", option->name, option->name, option->value);
    *used = 2;
    return take_value(command, option, next);
}

static int take_operand(struct command *command, const struct subcommand *subcommand, const char *word, int32_t count) {
    if (count >= subcommand->most) {
        char usage[128];
        help_usage(subcommand, usage, sizeof usage);
        return command_say(EXIT_USAGE, "'%s' is one word too many: %s%s", word, usage,
                           subcommand->bit & GRAPHS ? " (inputs are given as --input or --inputs)" : "");
    }
    if (count == 0) command->graph = word;
    else if (count == 1) command->file = word;
    else return command_add(&command->rest, word);
    return 0;
}

int command_parse(struct command *command, const struct subcommand *subcommand, int count, char **words) {
    bool ended = false; /* by --: what follows is no option */
    int32_t operands = 0;
    command->rtol = command->atol = -1;
    for (int i = 0; i < count;) {
        int used = 1, rc = 0;
        const char *word = words[i];
        if (ended || word[0] != '-' || !word[1]) rc = take_operand(command, subcommand, word, operands++);
        else if (strcmp(word, "--") == 0) ended = true;
        else if (strcmp(word, "-h") == 0) command->help = true;
        else if (word[1] == '-') rc = parse_option(command, subcommand, word, i + 1 < count ? words[i + 1] : NULL, &used);
        else rc = command_say(EXIT_USAGE, "there is no option %s: options begin with -- (-- alone ends them)", word);
        if (rc) return rc;
        i += used;
    }
    if (command->color) {
        if (strcmp(command->color, "never") == 0) setenv("NO_COLOR", "1", 1);
        if (strcmp(command->color, "always") == 0) setenv("CLICOLOR_FORCE", "1", 1), unsetenv("NO_COLOR");
    }
    return 0;
}

void command_free(struct command *command) {
    free(command->set.at), free(command->input.at), free(command->output.at), free(command->feedback.at), free(command->extent.at),
        free(command->rest.at);
}

/* Wrong usage and wrong graphs, as against runs and files that failed. `graph`: the one that is being read, which is wrong whatever the
 * code. */
static bool is_wrong(struct flow_error error, const char *graph) {
    if (graph && (error.line || (error.file && strcmp(error.file, graph) == 0))) return true;
    if (error.code == FLOW_ERROR_UNSUPPORTED) return error.line || !error.file;
    return error.code == FLOW_ERROR_USAGE || error.code == FLOW_ERROR_GRAPH || error.code == FLOW_ERROR_SHAPE ||
           error.code == FLOW_ERROR_TYPE;
}

static int show_errors(flow_errors *errors, const char *graph) {
    int status = EXIT_FAILED;
    int32_t count = flow_errors_count(errors);
    for (int32_t i = 0; i < count; i++) {
        struct flow_error error = flow_errors_get(errors, i);
        if (error.file) fprintf(stderr, "%s:", error.file);
        if (error.line) fprintf(stderr, "%d:%d:", error.line, error.column);
        fprintf(stderr, "%s%s\n", error.file ? " " : "flowrun: ", error.text);
        if (i == 0 && is_wrong(error, graph)) status = EXIT_USAGE;
    }
    if (!count) fputs("flowrun: out of memory\n", stderr);
    flow_errors_free(errors);
    return status;
}

int command_fail(flow_errors *errors) { return show_errors(errors, NULL); }
int command_fail_graph(const struct command *command, flow_errors *errors) { return show_errors(errors, command->graph); }

/* Of each thread, 32 bytes each: a minute of a small model's steps. */
enum { TRACE_EVENTS = 1 << 16 };

/* What a device has to say of itself before anything runs on it. */
static void show_warning(void *context, int32_t level, const char *text) {
    (void)context;
    if (level >= FLOW_LOG_WARNING) fprintf(stderr, "flowrun: %s\n", text);
}

int command_runtime(const struct command *command, flow_runtime **runtime) {
    struct flow_runtime_options options_of_runtime = {
        .size = sizeof options_of_runtime, .threads = command->threads, .device = command->device, .plugin_path = command->plugin_path};
    if (command->device && strcmp(command->device, "cpu") != 0 && !command->quiet) options_of_runtime.log = show_warning;
    if (command->trace) options_of_runtime.trace_events = TRACE_EVENTS;
    flow_errors *errors = NULL;
    int rc = flow_runtime_new(&options_of_runtime, &errors, runtime), status = rc < 0 ? command_fail(errors) : 0;
    return rc == FLOW_ERROR_UNSUPPORTED ? EXIT_FAILED : status; /* the command is right, the machine has no such device */
}

int command_trace(const struct command *command, flow_runtime *runtime, int status) {
    flow_errors *errors = NULL;
    uint64_t lost = 0;
    if (!command->trace || !runtime || status == EXIT_USAGE) return status;
    int rc = flow_runtime_trace_write(runtime, command->trace, &lost, &errors) < 0 ? command_fail(errors) : 0;
    if (rc == 0 && lost && !command->quiet)
        fprintf(stderr, "flowrun: %s holds the last %d events of each thread; %llu earlier ones are gone\n", command->trace,
                (int)TRACE_EVENTS, (unsigned long long)lost);
    return status ? status : rc;
}

/* A graph that is written to standard input. Files it names are looked for from here. */
static int graph_of_input(flow_runtime *runtime, const struct flow_graph_options *options, flow_graph **graph) {
    enum { MOST = 64 << 20 };
    char *text = NULL, piece[65536];
    size_t length = 0, got;
    int rc = 0;
    while (rc == 0 && (got = fread(piece, 1, sizeof piece, stdin)) > 0) {
        char *grown = length + got > MOST ? NULL : realloc(text, length + got);
        if (!grown) rc = command_say(EXIT_USAGE, "the graph on standard input is larger than %d MiB", MOST >> 20);
        else memcpy(grown + length, piece, got), text = grown, length += got;
    }
    flow_errors *errors = NULL;
    const char *name = "standard input";
    if (rc == 0 && flow_graph_parse(runtime, name, text ? text : "", length, options, &errors, graph) < 0) rc = show_errors(errors, name);
    free(text);
    return rc;
}

/* Says that there is no such file, and which graph of its folder has nearly that name. */
static int no_file(const char *path) {
    char folder[4096], found[256] = "";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    struct nearest nearest = {.word = name};
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || (strcmp(dot, ".yaml") != 0 && strcmp(dot, ".yml") != 0)) continue;
        nearest_offer(&nearest, entry->d_name);
        if (nearest.best == entry->d_name) snprintf(found, sizeof found, "%s", entry->d_name), nearest.best = found;
    }
    if (listing) closedir(listing);
    if (!*found) return command_say(EXIT_USAGE, "%s: there is no such file", path);
    return command_say(EXIT_USAGE, "%s: there is no such file (did you mean %.*s%s?)", path, slash ? (int)(slash - path + 1) : 0, path,
                       found);
}

int command_graph(const struct command *command, flow_runtime *runtime, flow_graph **graph) {
    if (!command->graph) return command_say(EXIT_USAGE, "%s needs a graph; see flowrun --help", command->name);
    struct flow_graph_options options_of_graph = {.size = sizeof options_of_graph,
                                                  .set = command->set.at,
                                                  .set_count = command->set.count,
                                                  .weights = command->weights,
                                                  .seeded = command->seeded,
                                                  .seed = command->seed};
    if (command->precision && strcmp(command->precision, "f64") == 0) options_of_graph.precision = FLOW_F64;
    if (command->precision && strcmp(command->precision, "bf16") == 0) options_of_graph.precision = FLOW_BF16;
    flow_errors *errors = NULL;
    if (strcmp(command->graph, "-") == 0) return graph_of_input(runtime, &options_of_graph, graph);
    if (access(command->graph, F_OK) != 0) return no_file(command->graph);
    return flow_graph_open(runtime, command->graph, &options_of_graph, &errors, graph) < 0 ? command_fail_graph(command, errors) : 0;
}

static bool is_set(const char *variable) {
    const char *value = getenv(variable);
    return value && *value;
}

const char *color(const char *escape) {
    if (is_set("NO_COLOR")) return "";
    return is_set("CLICOLOR_FORCE") || isatty(STDOUT_FILENO) ? escape : "";
}

static bool output_closed(void) {
    struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&output, 1, 0) == 1 && (output.revents & POLLERR);
}

int output_failed(void) { return output_closed() ? EXIT_FAILED : command_say(EXIT_FAILED, "standard output could not be written"); }

double seconds_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

int64_t peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}
