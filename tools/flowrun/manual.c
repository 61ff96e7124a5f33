/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun man: manual pages in roff (man macros) from the tables that parsing and --help read. */
#include "flowrun/help.h"

#include <ctype.h>
#include <string.h>

/* Text as roff: what would begin a request or an escape does not. */
static void put_text(const char *text) {
    bool begins = true; /* a line */
    for (const char *at = text; *at; at++) {
        if (begins && (*at == '.' || *at == '\'')) fputs("\\&", stdout);
        begins = *at == '\n';
        if (*at == '\\') fputs("\\e", stdout);
        else if (*at == '-') fputs("\\-", stdout);
        else if (*at == '`') fputs("\\(ga", stdout);
        else if (*at == '\'') fputs("\\(aq", stdout);
        else if (*at == '~') fputs("\\(ti", stdout);
        else if (*at == '^') fputs("\\(ha", stdout);
        else if (*at == '\n' && at[1] == '\n') fputs("\n.PP\n", stdout), at++;
        else putchar(*at);
    }
}

static void put_line(const char *macro, const char *text) {
    printf("%s\n", macro);
    put_text(text);
    putchar('\n');
}

static void put_title(const char *name, const char *summary) {
    char upper[64];
    size_t length = 0;
    for (; name[length] && length < sizeof upper - 1; length++) upper[length] = (char)toupper((unsigned char)name[length]);
    upper[length] = 0;
    printf(".\\\" SPDX-License-Identifier: Apache-2.0\n.TH \"%s\" 1 \"\" \"flow %s\" \"flow\"\n.SH NAME\n", upper, flow_version());
    put_text(name);
    fputs(" \\- ", stdout);
    put_text(summary);
    putchar('\n');
}

static void put_bold(const char *text) {
    fputs("\\fB", stdout);
    put_text(text);
    fputs("\\fR", stdout);
}

static void put_italic(const char *text) {
    fputs("\\fI", stdout);
    put_text(text);
    fputs("\\fR", stdout);
}

static void put_option(const struct option *option) {
    char name[64];
    fputs(".TP\n", stdout);
    snprintf(name, sizeof name, "--%s", option->name);
    put_bold(name);
    if (option->value) putchar(' '), put_italic(option->of == VALUE_CHOICE ? option->choices : option->value);
    putchar('\n');
    put_text(option->summary);
    putchar('\n');
}

static void put_examples(const char *const *examples) {
    fputs(".SH EXAMPLES\nThese run in the root of a clone.\n", stdout);
    for (; *examples; examples += 2) {
        put_line(".PP", examples[0]);
        fputs(".PP\n.RS 4\n.EX\n", stdout);
        put_text(examples[1]);
        fputs("\n.EE\n.RE\n", stdout);
    }
}

static void put_status(void) {
    fputs(".SH EXIT STATUS\n"
          ".TP\n0\nit is done\n"
          ".TP\n1\nthe run failed: a file, a value, memory, an interruption\n"
          ".TP\n2\nthe command line or the graph is wrong; nothing was run\n",
          stdout);
}

static void put_environment(void) {
    fputs(".SH ENVIRONMENT\n"
          ".TP\nFLOW_PLUGIN_PATH\nfolders of plugins, \\(aq:\\(aq between them, searched after those of \\-\\-plugin\\-path\n"
          ".TP\nFLOW_ISA\nthe best instruction set that may be used: base, avx2 or avx512\n"
          ".TP\nNO_COLOR, CLICOLOR_FORCE\nno colours; colours where standard output is no terminal, too\n",
          stdout);
}

static void put_see_also(const struct subcommand *but) {
    fputs(".SH SEE ALSO\n", stdout);
    bool first = true;
    if (but) fputs("\\fBflowrun\\fR(1)", stdout), first = false;
    for (const struct subcommand *command = table_commands; command->name; command++) {
        if (command == but) continue;
        printf("%s\\fBflowrun\\-", first ? "" : ",\n"), put_text(command->name), fputs("\\fR(1)", stdout);
        first = false;
    }
    putchar('\n');
}

static void put_page(const struct subcommand *command) {
    char name[64];
    snprintf(name, sizeof name, "flowrun-%s", command->name);
    put_title(name, command->summary);
    fputs(".SH SYNOPSIS\n", stdout);
    put_bold("flowrun"), putchar(' '), put_bold(command->name);
    if (*command->operands) putchar(' '), put_italic(command->operands);
    fputs(" [options]\n", stdout);
    put_line(".SH DESCRIPTION", command->description);
    const char *group = NULL;
    fputs(".SH OPTIONS\n", stdout);
    for (const struct option *option = table_options; option->name; option++) {
        if (!(option->commands & command->bit)) continue;
        if (option->group != group) fputs(".SS ", stdout), put_text(group = option->group), putchar('\n');
        put_option(option);
    }
    put_examples(command->examples);
    put_status();
    put_see_also(command);
}

static void put_overview(void) {
    put_title("flowrun", "run and train graphs of operators written in YAML");
    fputs(".SH SYNOPSIS\n\\fBflowrun\\fR \\fICOMMAND\\fR [options]\n.br\n\\fBflowrun\\fR \\fIGRAPH\\fR [options]\n.br\n\\fBflowrun\\fR "
          "\\fB\\-\\-version\\fR\n",
          stdout);
    put_line(
        ".SH DESCRIPTION",
        "A graph is a YAML file that names operators and what flows between them. flowrun runs it, trains it, checks it and draws it.\n\n"
        "With a graph and no command it trains where the graph has a section `train` and no input is given, else it runs. A key under "
        "`run:` in a graph is the default of the option of its name. The graph - is read from standard input. -- ends the options.");
    fputs(".SH COMMANDS\n", stdout);
    for (const struct subcommand *command = table_commands; command->name; command++) {
        fputs(".TP\n", stdout);
        put_bold(command->name);
        if (*command->operands) putchar(' '), put_italic(command->operands);
        putchar('\n');
        put_text(command->summary);
        putchar('\n');
    }
    put_status();
    put_environment();
    put_see_also(NULL);
}

int command_man(struct command *command) {
    if (!command->graph) {
        put_overview();
        return EXIT_DONE;
    }
    const struct subcommand *subcommand = table_command(command->graph);
    if (!subcommand) return command_unknown(command->graph);
    put_page(subcommand);
    return EXIT_DONE;
}
