/* SPDX-License-Identifier: Apache-2.0 */
/* How `train` and `data` are read. The file's frame exists by then and its nodes are numbered, so references are resolved at once.
 *   network_stages.c    which section is meant, its variables; network_training.c  its keys; network_update.c  losses and `update`
 *   network_validate.c  `validate` and its metrics; network_data.c  `data` */
#ifndef FLOW_GRAPH_NETWORK_TRAINING_H
#define FLOW_GRAPH_NETWORK_TRAINING_H

#include "graph/network_private.h"
#include "graph/training.h"

enum { STAGES_DEEP = 32, FOREACH_MOST = 100000 };

/* The section in hand. */
struct section {
    struct reader *reader;
    struct source *source;
    struct frame *frame; /* the file's; NULL: references are not asked for (a list of stages) */
    const struct environment *environment;
    const struct document *chain[STAGES_DEEP + 1]; /* `train`, then the stages in stages down to the one in hand, as written */
    size_t depth;                                  /* of the chain */
    const struct network_options *options;         /* how the file is read: which stage, its variables; NULL */
    struct training *made;
};

/* ---- network_stages.c ---- */

/* What the file's variables are, for a stage or for none. */
const struct environment *training_environment(struct reader *reader, const struct source *source, const struct network_options *options);
/* Reads `train` and `data`; NULL where there is no `train`, or after running out of memory. */
struct training *training_read(struct reader *reader, struct source *source, struct frame *frame, const struct environment *environment,
                               const struct network_options *options);
/* A value as text that reads back as it is: how variables of stages are handed on. NULL after an error. */
const char *training_value_text(struct reader *reader, const struct document *value);
/* Variables as a mapping; later ones win. */
const struct document *training_vars(struct reader *reader, const struct training_var *vars, size_t count, struct position at);
/* Looks through all stages of what was read for none, each once. */
void training_check(struct reader *reader, struct source *source, struct frame *frame, const struct training *training,
                    const struct network_options *options);
bool training_entry_read(struct section *section, const struct document *doc, struct training_entry *entry);
/* Does the entry leave the section's variables as they are (foreach: its first value)? */
bool training_entry_same(const struct section *section, const struct training_entry *entry);

/* ---- network_training.c ---- */

void training_section(struct section *section);
/* A key of the section itself, with variables put in; NULL: not given, null, or an error was told. */
const struct document *training_own(struct section *section, const char *key);
/* The same, of the nearest section around that gives it. */
const struct document *training_inherited(struct section *section, const char *key);
struct network_ref training_reference(struct section *section, const char *text, struct position at);
/* Scalars: false after an error; NULL values leave *out alone. */
bool training_int(struct reader *reader, const struct document *value, const char *key, int64_t least, int64_t *out);
bool training_real(struct reader *reader, const struct document *value, const char *key, double least, double *out);
bool training_bool(struct reader *reader, const struct document *value, const char *key, bool *out);
bool training_text(struct reader *reader, const struct document *value, const char *key, const char **out);
/* One of `words`; -1 after an error. */
int32_t training_word(struct reader *reader, const struct document *value, const char *key, const char *const *words);
bool training_mapping(struct reader *reader, const struct document *value, const char *what);
/* A list as it is; another value as a list of one. */
struct training_list {
    const struct document *const *values;
    size_t count;
};
struct training_list training_list(const struct document *const *value);
int32_t training_input(struct section *section, const struct document *name, struct position at);
/* Attributes, parsed; NULL after an error. `also`: keys of `with` that are not the rows', ended by NULL; or NULL. */
const void *training_attrs(struct reader *reader, const char *kind, const char *name, const struct flow_attrs *rows, size_t size,
                           const struct document *with, const char *const *also, struct position at);
/* What only training needs and is not there. */
void training_missing(struct section *section, struct position at, const char *what, const char *name, const struct text *why);

/* ---- network_unused.c ---- */

/* What a stage makes use of in its frame. */
void unused_mark(struct reader *reader, const struct frame *frame, const struct training *training);
/* Writes down what nothing uses, once all stages were looked through. */
void unused_write(struct reader *reader, struct source *source, struct frame *file, struct network *network);

/* ---- network_update.c, network_validate.c, network_data.c ---- */

void training_losses(struct section *section);
void training_updates(struct section *section);
void training_validates(struct section *section);
/* One entry, for whose variables the frame was made. */
void training_validate_check(struct section *section, size_t index, struct training_validate *validate);
void training_early_stop(struct section *section);
void training_datas(struct section *section, const struct document *data);
const struct training_data *training_data_find(const struct section *section, const struct document *name);

#endif
