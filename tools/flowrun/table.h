/* SPDX-License-Identifier: Apache-2.0 */
/* What flowrun can be told: its subcommands and options as data. Parsing, --help, man pages and completion all read these two tables; a new
 * option is a row, a new subcommand a bit, a row and a function. */
#ifndef FLOWRUN_TABLE_H
#define FLOWRUN_TABLE_H

#include "flowrun/command.h"

/* The subcommands as bits, for the options that they take. */
enum {
    RUN = 1 << 0,
    TRAIN = 1 << 1,
    COMPARE = 1 << 2,
    GRAD = 1 << 3,
    VERIFY = 1 << 4,
    CHECK = 1 << 5,
    SHOW = 1 << 6,
    OPS = 1 << 7,
    HELP = 1 << 8,
    MAN = 1 << 9,
    COMPLETION = 1 << 10,
    DOCTOR = 1 << 11,
    CHECK_PLUGIN = 1 << 20,
    NEW_OP = 1 << 21,
    IMPORT = 1 << 23,
    BENCH = 1 << 22,

    GRAPHS = RUN | TRAIN | GRAD | VERIFY | CHECK | SHOW | BENCH, /* read a graph */
    TEXTS = HELP | MAN | COMPLETION,                             /* print what is in these tables */
    ALL = 0x7fffffff
};

/* How a value is stored. */
enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER, OPTION_COUNT, OPTION_SEED, OPTION_REAL, OPTION_PAIR };

/* What a value or operand is, for completion and for what is said about a wrong one. */
enum value_kind {
    VALUE_NONE,
    VALUE_ANY,
    VALUE_NUMBER,
    VALUE_CHOICE, /* one of `choices`, '|' between them: others are refused */
    VALUE_FILE,   /* `choices`: endings, '|' between them; NULL: any */
    VALUE_FOLDER,
    VALUE_GRAPH,    /* a graph file */
    VALUE_RUN,      /* the folder of a training */
    VALUE_OPERATOR, /* name of an operator, optimiser or source */
    VALUE_COMMAND,  /* name of a subcommand */
    VALUE_VARIABLE, /* NAME=VALUE, NAME a variable of the graph */
    VALUE_INPUT,    /* NAME=FILE, NAME an input of the graph */
    VALUE_OUTPUT,   /* NAME=FILE, NAME an output of the graph */
    VALUE_FEEDBACK, /* INPUT=OUTPUT */
    VALUE_SYMBOL    /* SYMBOL=N, a symbol in the shapes of the graph's inputs */
};

struct subcommand {
    uint32_t bit;
    const char *name;
    int (*run)(struct command *command);
    const char *operands;        /* as usage shows them: "GRAPH FILE" */
    enum value_kind operand[2];  /* what the first and the others are */
    const char *operand_choices; /* of its values, as `choices` below; NULL */
    int32_t most;                /* operands; INT32_MAX: any number */
    const char *summary;         /* a line without a full stop */
    const char *description;     /* paragraphs, an empty line between them */
    const char *const *examples; /* a line of what it does, the command line, ...; NULL at the end; each runs in the root of the tree */
};
/* In the order of --help; a row without name ends them. */
extern const struct subcommand table_commands[];

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;     /* of the field of struct command */
    const char *value; /* its name in help: "FILE"; NULL: a flag */
    enum value_kind of;
    const char *choices;
    uint32_t commands; /* bits of those that take it */
    const char *group; /* title in help */
    const char *summary;
};
/* By group, in the order of --help; a row without name ends them. Several rows may share a name where commands mean different things. */
extern const struct option table_options[];

const struct subcommand *table_command(const char *name); /* NULL: none */
/* The option that a subcommand knows by this name; `length` of it. *elsewhere: whether others take it. NULL: none. */
const struct option *table_option(const struct subcommand *command, const char *name, size_t length, uint32_t *elsewhere);

/* The word of a list that is nearest to `word`, if it is near enough to be meant. Give each to nearest_offer; `best` NULL: none was near.
 * `best` points at the word offered. */
struct nearest {
    const char *word, *best;
    size_t distance;
};
void nearest_offer(struct nearest *nearest, const char *candidate);

#endif
