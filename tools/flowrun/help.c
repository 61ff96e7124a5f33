/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/help.h"

#include "flowrun/terminal.h"

#include <string.h>

void help_usage(const struct subcommand *subcommand, char *text, size_t size) {
    snprintf(text, size, "flowrun %s%s%s", subcommand->name, *subcommand->operands ? " " : "", subcommand->operands);
}

void help_option(const struct option *option, char *text, size_t size) {
    const char *value = option->of == VALUE_CHOICE ? option->choices : option->value;
    snprintf(text, size, "--%s%s%s", option->name, value ? " " : "", value ? value : "");
}

/* `left` in a column, `right` wrapped beside it; below it where there is no room. */
static void print_row(FILE *out, const char *left, const char *right, size_t indent, size_t width) {
    size_t at = 2 + terminal_columns(left);
    fprintf(out, "  %s", left);
    if (at + 2 > indent) putc('\n', out), at = 0;
    terminal_wrap(out, right, at, indent, width);
}

static void print_command_line(FILE *out, const char *about, const char *line) { fprintf(out, "  # %s\n  %s\n", about, line); }

void help_all(FILE *out) {
    size_t width = terminal_width(out, 80);
    terminal_wrap(out, "flowrun runs and trains graphs of operators written in YAML.", 0, 0, width);
    fputs("\n  flowrun COMMAND [options]      see flowrun COMMAND --help\n"
          "  flowrun GRAPH [options]        train it if it says how and no input is given, else run it\n"
          "\nTo begin with\n",
          out);
    print_command_line(out, "numbers in, numbers out", "flowrun run docs/examples/smooth.yaml --input x='[4, 0, 0, 8, 4]'");
    print_command_line(out, "the same piece by piece",
                       "flowrun run docs/examples/smooth.yaml --input x='[4, 0, 0, 8]' --stream T=2 --output y=-");
    print_command_line(out, "what is in a graph", "flowrun check graphs/fsmn-vad/fsmn-vad.yaml");
    print_command_line(out, "what there is to build one from", "flowrun ops linear");
    print_command_line(out, "learn", "flowrun train graphs/char-lm/char-lm.yaml --set context=32 --set batch=8 --steps 40");
    fputs("\nCommands\n", out);
    size_t widest = 0;
    for (const struct subcommand *command = table_commands; command->name; command++)
        if (strlen(command->name) > widest) widest = strlen(command->name);
    for (const struct subcommand *command = table_commands; command->name; command++)
        print_row(out, command->name, command->summary, widest + 4, width);
    fputs("\n", out);
    terminal_wrap(
        out,
        "flowrun --version prints the version. Exit status: 0 done, 1 the run failed, 2 wrong usage or graph. A key under `run:` in "
        "a graph is the default of the option of its name.",
        0, 0, width);
}

void help_of(FILE *out, const struct subcommand *subcommand) {
    enum { COLUMN = 24 };
    char text[256];
    size_t width = terminal_width(out, 80);
    help_usage(subcommand, text, sizeof text);
    fprintf(out, "%s [options]\n\n", text);
    terminal_wrap(out, subcommand->description, 0, 0, width);
    const char *group = NULL;
    for (const struct option *option = table_options; option->name; option++) {
        if (!(option->commands & subcommand->bit)) continue;
        if (option->group != group) fprintf(out, "\n%s\n", group = option->group);
        help_option(option, text, sizeof text);
        print_row(out, text, option->summary, COLUMN, width);
    }
    fputs("\nExamples\n", out);
    for (const char *const *example = subcommand->examples; *example; example += 2) print_command_line(out, example[0], example[1]);
}

int command_help(struct command *command) {
    if (!command->graph) {
        help_all(stdout);
        return EXIT_DONE;
    }
    const struct subcommand *subcommand = table_command(command->graph);
    if (!subcommand) return command_unknown(command->graph);
    help_of(stdout, subcommand);
    return EXIT_DONE;
}
