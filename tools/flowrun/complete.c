/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun complete WORD...: what the last of these words may become, a line each, `candidate TAB what it is`. Called by the scripts of
 * `flowrun completion`. Errors end it quietly: a half-typed line is no mistake. */
#include "flowrun/complete.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct completing {
    const struct command *command; /* what was typed before */
    const char *prefix;            /* stands before `word` in the candidate: "--output=" */
    size_t prefix_length;
    const char *word; /* its beginning */
};

static void offer(const struct completing *at, const char *name, const char *end, const char *about) {
    if (strncmp(name, at->word, strlen(at->word)) != 0) return;
    printf("%.*s%s%s", (int)at->prefix_length, at->prefix, name, end);
    if (about && *about) printf("\t%.*s", (int)strcspn(about, "\n"), about);
    putchar('\n');
}

static bool has_ending(const char *name, const char *endings) {
    const char *dot = strrchr(name, '.');
    if (!endings) return true;
    for (const char *at = endings; dot && *at; at += strcspn(at, "|"), at += *at == '|')
        if (strlen(dot + 1) == strcspn(at, "|") && strncmp(dot + 1, at, strlen(dot + 1)) == 0) return true;
    return false;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names in the folder, sorted; NULL where there is none. */
static char **list_folder(const char *folder, size_t *count) {
    DIR *listing = opendir(folder);
    char **names = NULL;
    *count = 0;
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        char **grown = realloc(names, (*count + 1) * sizeof *grown), *name = strdup(entry->d_name);
        if (grown) names = grown;
        if (!grown || !name) {
            free(name);
            break;
        }
        names[(*count)++] = name;
    }
    if (listing) closedir(listing);
    if (names) qsort(names, *count, sizeof *names, by_name);
    return names;
}

/* Files of these endings and folders; `endings` "": folders alone. Hidden ones once their dot is typed. */
static void offer_files(const struct completing *at, const char *endings) {
    char folder[4096], path[4096], full[8192];
    const char *slash = strrchr(at->word, '/'), *name = slash ? slash + 1 : at->word, *home = getenv("HOME");
    int length = slash ? (int)(slash + 1 - at->word) : 0;
    bool from_home = strncmp(at->word, "~/", 2) == 0 && home;
    snprintf(folder, sizeof folder, "%s%.*s", from_home ? home : length ? "" : "./", length - from_home, at->word + from_home);
    size_t count;
    char **names = list_folder(folder, &count);
    for (size_t i = 0; i < count; i++) {
        struct stat about;
        bool wanted = strncmp(names[i], name, strlen(name)) == 0 && (names[i][0] != '.' || name[0] == '.') && strcmp(names[i], ".") != 0 &&
                      strcmp(names[i], "..") != 0 && !strchr(names[i], '\n') && !strchr(names[i], '\t');
        snprintf(full, sizeof full, "%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", names[i]);
        if (wanted && stat(full, &about) == 0 && snprintf(path, sizeof path, "%.*s%s", length, at->word, names[i]) < (int)sizeof path) {
            if (S_ISDIR(about.st_mode)) offer(at, path, "/", NULL);
            else if (has_ending(names[i], endings)) offer(at, path, "", NULL);
        }
        free(names[i]);
    }
    free(names);
}

static void offer_operators(const struct completing *at) {
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    struct flow_runtime_options options = {.size = sizeof options, .plugin_path = at->command->plugin_path};
    struct flow_operator_info *operators;
    struct flow_optimizer_info *optimizers;
    struct flow_source_info *sources;
    size_t count;
    if (flow_runtime_new(&options, &errors, &runtime) == 0) {
        if (flow_runtime_operators(runtime, &errors, &operators, &count, NULL) == 0) {
            for (size_t i = 0; i < count; i++) offer(at, operators[i].op->name, "", operators[i].op->summary);
            flow_runtime_operators_free(runtime, operators, count);
        }
        if (flow_runtime_optimizers(runtime, &errors, &optimizers, &count, NULL) == 0) {
            for (size_t i = 0; i < count; i++) offer(at, optimizers[i].optimizer->name, "", optimizers[i].optimizer->summary);
            flow_runtime_optimizers_free(runtime, optimizers, count);
        }
        if (flow_runtime_sources(runtime, &errors, &sources, &count, NULL) == 0) {
            for (size_t i = 0; i < count; i++) offer(at, sources[i].source->name, "", sources[i].source->summary);
            flow_runtime_sources_free(runtime, sources, count);
        }
    }
    flow_errors_free(errors);
    flow_runtime_free(runtime);
}

static void offer_symbols(const struct completing *at, const flow_graph *graph) {
    for (size_t i = 0; i < flow_graph_inputs(graph); i++) {
        struct flow_graph_port port = flow_graph_input(graph, i);
        for (int32_t axis = 0; axis < port.rank; axis++) {
            const char *extent = port.extents[axis];
            bool seen = extent[0] >= '0' && extent[0] <= '9';
            for (size_t j = 0; j <= i; j++) {
                struct flow_graph_port other = flow_graph_input(graph, j);
                for (int32_t k = 0; k < (j < i ? other.rank : axis); k++) seen = seen || strcmp(other.extents[k], extent) == 0;
            }
            if (!seen) offer(at, extent, "=", NULL);
        }
    }
}

/* Names out of the graph that the command line gave. */
static void offer_names(const struct completing *at, enum value_kind kind) {
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    struct flow_runtime_options options = {.size = sizeof options, .plugin_path = at->command->plugin_path};
    struct flow_graph_options graph_options = {
        .size = sizeof graph_options, .set = at->command->set.at, .set_count = at->command->set.count, .weights = ""};
    const char *name, *value;
    if (!at->command->graph || flow_runtime_new(&options, &errors, &runtime) < 0) goto done;
    if (flow_graph_open(runtime, at->command->graph, &graph_options, &errors, &graph) < 0) goto done;
    if (kind == VALUE_VARIABLE)
        for (size_t i = 0; flow_graph_variable(graph, i, &name, &value); i++) offer(at, name, "=", value);
    if (kind == VALUE_INPUT || kind == VALUE_FEEDBACK)
        for (size_t i = 0; i < flow_graph_inputs(graph); i++) offer(at, flow_graph_input(graph, i).name, "=", NULL);
    if (kind == VALUE_OUTPUT)
        for (size_t i = 0; i < flow_graph_outputs(graph); i++) offer(at, flow_graph_output(graph, i).name, "=", NULL);
    if (kind == VALUE_SYMBOL) offer_symbols(at, graph);
done:
    flow_graph_free(graph);
    flow_errors_free(errors);
    flow_runtime_free(runtime);
}

static void offer_choices(const struct completing *at, const char *choices) {
    char one[64];
    for (; *choices; choices += strcspn(choices, "|"), choices += *choices == '|')
        if (snprintf(one, sizeof one, "%.*s", (int)strcspn(choices, "|"), choices) < (int)sizeof one) offer(at, one, "", NULL);
}

static void offer_commands(const struct completing *at) {
    for (const struct subcommand *command = table_commands; command->name; command++) offer(at, command->name, "", command->summary);
}

static void offer_value(struct completing at, enum value_kind kind, const char *choices) {
    const char *equals = strchr(at.word, '=');
    switch (kind) {
    case VALUE_CHOICE: offer_choices(&at, choices); break;
    case VALUE_FILE: offer_files(&at, choices); break;
    case VALUE_FOLDER:
    case VALUE_RUN: offer_files(&at, ""); break;
    case VALUE_GRAPH: offer_files(&at, "yaml|yml"); break;
    case VALUE_OPERATOR: offer_operators(&at); break;
    case VALUE_COMMAND: offer_commands(&at); break;
    case VALUE_VARIABLE:
    case VALUE_SYMBOL:
    case VALUE_FEEDBACK:
        if (!equals) offer_names(&at, kind);
        break;
    case VALUE_INPUT:
    case VALUE_OUTPUT: {
        char whole[4096];
        if (!equals) {
            offer_names(&at, kind);
            break;
        }
        snprintf(whole, sizeof whole, "%.*s%.*s", (int)at.prefix_length, at.prefix, (int)(equals + 1 - at.word), at.word);
        at.prefix = whole, at.prefix_length = strlen(whole), at.word = equals + 1;
        offer_files(&at, choices);
        break;
    }
    case VALUE_NONE:
    case VALUE_ANY:
    case VALUE_NUMBER: break;
    }
}

static void offer_options(const struct completing *at, const struct subcommand *subcommand) {
    char name[64];
    for (const struct option *option = table_options; option->name; option++) {
        if (!(option->commands & subcommand->bit)) continue;
        snprintf(name, sizeof name, "--%s", option->name);
        offer(at, name, "", option->summary);
    }
}

/* What was typed before the last word: the graph, the variables, how many operands; the option that waits for its value. */
static const struct option *read_line(struct command *command, const struct subcommand *subcommand, int count, char **words,
                                      size_t *operands) {
    uint32_t elsewhere;
    for (int i = 0; i < count; i++) {
        const char *word = words[i], *equals = strchr(word, '=');
        if (strncmp(word, "--", 2) != 0) {
            if ((*operands)++ == 0) command->graph = word;
            continue;
        }
        const struct option *option =
            table_option(subcommand, word + 2, equals ? (size_t)(equals - word - 2) : strlen(word + 2), &elsewhere);
        if (!option || option->kind == OPTION_FLAG) continue;
        if (!equals && i + 1 == count) return option;
        const char *value = equals ? equals + 1 : words[++i];
        if (strcmp(option->name, "set") == 0 && strchr(value, '=')) command_add(&command->set, value);
        if (strcmp(option->name, "plugin-path") == 0) command->plugin_path = value;
    }
    return NULL;
}

int complete_words(int count, char **words, const struct subcommand *of_graph) {
    struct command command = {0};
    struct completing at = {.command = &command, .prefix = "", .word = count ? words[count - 1] : ""};
    const struct subcommand *subcommand = count > 1 ? table_command(words[0]) : NULL;
    if (count <= 1 && at.word[0] != '-') {
        offer_commands(&at);
        offer_files(&at, "yaml|yml");
        return EXIT_DONE;
    }
    int first = subcommand ? 1 : 0;
    if (!subcommand) subcommand = of_graph;
    size_t operands = 0;
    const struct option *waiting = read_line(&command, subcommand, count - 1 - first, words + first, &operands);
    const char *equals = strchr(at.word, '=');
    uint32_t elsewhere;
    if (waiting) {
        offer_value(at, waiting->of, waiting->choices);
    } else if (strncmp(at.word, "--", 2) == 0 && equals) {
        const struct option *option = table_option(subcommand, at.word + 2, (size_t)(equals - at.word - 2), &elsewhere);
        at.prefix = at.word, at.prefix_length = (size_t)(equals + 1 - at.word), at.word = equals + 1;
        if (option) offer_value(at, option->of, option->choices);
    } else if (at.word[0] == '-') {
        offer_options(&at, subcommand);
        if (count == 1) offer(&at, "--version", "", "the version");
    } else if (operands < (size_t)subcommand->most) {
        offer_value(at, subcommand->operand[operands > 0], subcommand->operand_choices);
    }
    command_free(&command);
    return EXIT_DONE;
}
