/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER, OPTION_COUNT, OPTION_SEED, OPTION_REAL, OPTION_PAIR };

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
};

#define OPTION(name, kind, field) \
    { name, kind, offsetof(struct command, field) }
static const struct option options[] = {
    OPTION("set", OPTION_PAIR, set),           OPTION("input", OPTION_PAIR, input),
    OPTION("output", OPTION_PAIR, output),     OPTION("feedback", OPTION_PAIR, feedback),
    OPTION("extent", OPTION_PAIR, extent),     OPTION("inputs", OPTION_TEXT, inputs),
    OPTION("outputs", OPTION_TEXT, outputs),   OPTION("weights", OPTION_TEXT, weights),
    OPTION("device", OPTION_TEXT, device),     OPTION("plugin-path", OPTION_TEXT, plugin_path),
    OPTION("format", OPTION_TEXT, format),     OPTION("stream", OPTION_TEXT, stream),
    OPTION("page", OPTION_TEXT, page),         OPTION("precision", OPTION_TEXT, precision),
    OPTION("threads", OPTION_NUMBER, threads), OPTION("streams", OPTION_NUMBER, streams),
    OPTION("steps", OPTION_COUNT, steps),      OPTION("seed", OPTION_SEED, seed),
    OPTION("rtol", OPTION_REAL, rtol),         OPTION("atol", OPTION_REAL, atol),
    OPTION("json", OPTION_FLAG, json),         OPTION("quiet", OPTION_FLAG, quiet),
    OPTION("verbose", OPTION_FLAG, verbose),   OPTION("profile", OPTION_FLAG, profile),
    OPTION("schema", OPTION_FLAG, schema),     OPTION("cotangents", OPTION_TEXT, cotangents),
    OPTION("save", OPTION_TEXT, save),         OPTION("dir", OPTION_TEXT, dir),
    OPTION("resume", OPTION_FLAG, resume),     OPTION("gradients", OPTION_FLAG, gradients),
};
enum { OPTION_TOTAL = sizeof options / sizeof *options };

int command_say(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("flowrun: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return status;
}

/* A cheap likeness of two words: length of common beginning and end. Enough to guess a misspelt flag. */
static size_t likeness(const char *a, const char *b) {
    size_t head = 0, tail = 0, la = strlen(a), lb = strlen(b);
    while (head < la && head < lb && a[head] == b[head]) head++;
    while (tail < la - head && tail < lb - head && a[la - 1 - tail] == b[lb - 1 - tail]) tail++;
    return head + tail;
}

static int unknown_option(const char *name, size_t length) {
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), name);
    const char *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < OPTION_TOTAL; i++) {
        size_t like = likeness(word, options[i].name);
        if (like > most && 3 * like >= 2 * strlen(options[i].name)) most = like, best = options[i].name;
    }
    if (best) return command_say(EXIT_USAGE, "there is no option --%s (did you mean --%s?)", word, best);
    return command_say(EXIT_USAGE, "there is no option --%s; see flowrun --help", word);
}

static int add_word(struct pairs *pairs, const char *value) {
    const char **grown = realloc(pairs->at, (pairs->count + 1) * sizeof *grown);
    if (!grown) return command_say(EXIT_FAILED, "out of memory");
    pairs->at = grown;
    pairs->at[pairs->count++] = value;
    return 0;
}

static int add_pair(struct pairs *pairs, const char *name, const char *value) {
    if (!strchr(value, '=')) return command_say(EXIT_USAGE, "--%s takes NAME=VALUE, found '%s'", name, value);
    return add_word(pairs, value);
}

static int parse_integer(const char *name, const char *value, long long low, long long high, long long *out) {
    char *end;
    errno = 0;
    *out = strtoll(value, &end, 10);
    if (*end || end == value || errno || *out < low || *out > high)
        return command_say(EXIT_USAGE, "--%s takes an integer from %lld to %lld, found '%s'", name, low, high, value);
    return 0;
}

static int take_value(struct command *command, const struct option *option, const char *value) {
    void *field = (char *)command + option->offset;
    long long number;
    char *end;
    int rc = 0;
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
static int parse_option(struct command *command, const char *word, const char *next, int *used) {
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    for (size_t i = 0; i < OPTION_TOTAL; i++) {
        const struct option *option = &options[i];
        if (strlen(option->name) != length || strncmp(option->name, name, length) != 0) continue;
        *used = 1;
        if (option->kind == OPTION_FLAG) {
            if (equals) return command_say(EXIT_USAGE, "--%s takes no value", option->name);
            return take_value(command, option, NULL);
        }
        if (equals) return take_value(command, option, equals + 1);
        if (!next) return command_say(EXIT_USAGE, "--%s needs a value", option->name);
        *used = 2;
        return take_value(command, option, next);
    }
    return unknown_option(name, length);
}

int command_parse(struct command *command, int count, char **words) {
    command->rtol = command->atol = -1;
    for (int i = 0; i < count;) {
        int used = 1, rc = 0;
        if (strncmp(words[i], "--", 2) == 0 && words[i][2])
            rc = parse_option(command, words[i], i + 1 < count ? words[i + 1] : NULL, &used);
        else if (!command->graph) command->graph = words[i];
        else if (!command->file) command->file = words[i];
        else if (strcmp(command->name, "compare") == 0) rc = add_word(&command->rest, words[i]);
        else rc = command_say(EXIT_USAGE, "'%s' is one word too many; see flowrun --help", words[i]);
        if (rc) return rc;
        i += used;
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

int command_runtime(const struct command *command, flow_runtime **runtime) {
    struct flow_runtime_options options_of_runtime = {
        .size = sizeof options_of_runtime, .threads = command->threads, .device = command->device, .plugin_path = command->plugin_path};
    flow_errors *errors = NULL;
    return flow_runtime_new(&options_of_runtime, &errors, runtime) < 0 ? command_fail(errors) : 0;
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
    else if (command->precision && strcmp(command->precision, "bf16") == 0) options_of_graph.precision = FLOW_BF16;
    else if (command->precision && strcmp(command->precision, "f32") != 0)
        return command_say(EXIT_USAGE, "--precision is f32, f64 or bf16, found '%s'", command->precision);
    flow_errors *errors = NULL;
    return flow_graph_open(runtime, command->graph, &options_of_graph, &errors, graph) < 0 ? command_fail_graph(command, errors) : 0;
}

const char *color(const char *escape) { return isatty(STDOUT_FILENO) && !getenv("NO_COLOR") ? escape : ""; }

double seconds_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

int64_t peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}
