/* SPDX-License-Identifier: Apache-2.0 */
/* `stages`: which section of `train` is meant, and the variables that the graph has for it.
 *
 * A file is read for one stage at a time; read for none, its stages are listed. They are then looked through all the same, each as it will
 * be read later, with the first value of each `foreach`, so that errors in any of them are told with all others. */
#include "graph/network_training.h"

#include <stdio.h>
#include <string.h>

/* ---- Values as text ---- */

/* Plain words stand as they are; what YAML might take for something else, and text that looks like a number, in quotes. */
static bool plain(const struct document *scalar) {
    struct document bare = *scalar;
    int64_t i;
    double r;
    bool b;
    bare.quoted = false;
    if (strspn(scalar->text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./+-") != strlen(scalar->text)) return false;
    if (!*scalar->text || strspn(scalar->text, "-.") == strlen(scalar->text)) return false;
    return !scalar->quoted || !(document_int(&bare, &i) || document_real(&bare, &r) || document_bool(&bare, &b) || document_null(&bare));
}

static void write_value(struct text *out, const struct document *value) {
    if (value->kind == DOCUMENT_SCALAR) {
        if (document_null(value)) text_put(out, "~");
        else if (plain(value)) text_put(out, value->text);
        else text_json(out, value->text);
        return;
    }
    text_put(out, value->keys ? "{" : "[");
    for (size_t i = 0; i < value->count && !out->failed; i++) {
        if (i) text_put(out, ", ");
        if (value->keys) text_json(out, value->keys[i]->text), text_put(out, ": ");
        write_value(out, value->values[i]);
    }
    text_put(out, value->keys ? "}" : "]");
}

const char *training_value_text(struct reader *reader, const struct document *value) {
    struct text text;
    const char *made = NULL;
    if (!reader_spend(reader, value->at, value->size)) return NULL;
    text_init(&text, reader->from);
    write_value(&text, value);
    if (text.length > TEXT_MOST) reader_fail(reader, value->at, "as text this is longer than %d bytes", TEXT_MOST);
    else if (reader_spend(reader, value->at, 4 + (int64_t)text.length / 4) && !(made = arena_text(reader->arena, text.at)))
        reader_memory(reader);
    if (text.failed) reader_memory(reader);
    text_free(&text);
    return made;
}

/* ---- Mappings made here ---- */

static struct document *mapping_new(struct reader *reader, size_t room, struct position at) {
    struct document *made = reader_new(reader, 1, sizeof *made);
    if (!made) return NULL;
    *made = (struct document){.kind = DOCUMENT_MAPPING, .size = 1, .at = at};
    made->keys = reader_new(reader, room, sizeof *made->keys);
    made->values = reader_new(reader, room, sizeof *made->values);
    return made->keys && made->values ? made : NULL;
}

static bool mapping_add(struct reader *reader, struct document *mapping, const char *name, struct position at,
                        const struct document *value) {
    struct document *key = reader_new(reader, 1, sizeof *key);
    if (!key) return false;
    *key = (struct document){.kind = DOCUMENT_SCALAR, .size = 1, .at = at, .text = name};
    mapping->keys[mapping->count] = key;
    mapping->values[mapping->count++] = (struct document *)value;
    return true;
}

const struct document *training_vars(struct reader *reader, const struct training_var *vars, size_t count, struct position at) {
    struct document *made = mapping_new(reader, count, at);
    struct map places;
    map_init(&places, &reader->scratch);
    for (size_t i = 0; made && i < count; i++) {
        int64_t place;
        struct document *value = document_read(reader->arena, "vars", vars[i].value, strlen(vars[i].value), reader->report);
        if (!value) return NULL;
        if (map_get(&places, vars[i].name, &place)) made->values[place] = value;
        else if (!reader_set(reader, &places, vars[i].name, (int64_t)made->count) || !mapping_add(reader, made, vars[i].name, at, value))
            return NULL;
    }
    return made;
}

/* ---- Variables of the file ---- */

/* Variables that stages set and the file does not declare: outside the stage that sets them they have the first value that any stage
 * gives, so that the graph can be read without one. */
struct gathering {
    struct reader *reader;
    const struct document *vars; /* the file's */
    struct map known;            /* declared, or gathered */
    struct document *made;
    size_t room;
    int32_t depth;
};

static void gather_one(struct gathering *g, const struct document *key, const struct document *value) {
    struct reader *reader = g->reader;
    const struct document *first = value;
    if (key->varies || map_get(&g->known, key->text, NULL) || !reader_spend(reader, key->at, 16)) return;
    if (first->varies || first->kind == DOCUMENT_MAPPING || g->made->count >= g->room) return;
    if (reader_set(reader, &g->known, key->text, 1)) mapping_add(reader, g->made, key->text, key->at, first);
}

static const struct document *first_value(struct gathering *g, const struct document *values) {
    int64_t count;
    char name[NAME_MOST + 1];
    if (values->kind == DOCUMENT_SCALAR && sscanf(values->text, "${%255[A-Za-z0-9_]}", name) == 1 && document_get(g->vars, name))
        values = document_get(g->vars, name);
    if (values->kind == DOCUMENT_LIST) return values->count ? values->values[0] : NULL;
    if (!document_int(values, &count) || count < 1) return NULL;
    return variables_number(g->reader, 0, values->at);
}

static void gather(struct gathering *g, const struct document *section) {
    static const char *const lists[] = {"stages", "validate"};
    struct reader *reader = g->reader;
    if (section->kind != DOCUMENT_MAPPING || g->depth > STAGES_DEEP || !reader_spend(reader, section->at, 16)) return;
    const struct document *each = document_get(section, "foreach"), *vars = document_get(section, "vars");
    g->depth++;
    if (each && each->kind == DOCUMENT_MAPPING && each->count == 1) {
        const struct document *first = first_value(g, each->values[0]);
        if (first) gather_one(g, each->keys[0], first);
    }
    for (size_t i = 0; vars && vars->kind == DOCUMENT_MAPPING && i < vars->count; i++) gather_one(g, vars->keys[i], vars->values[i]);
    for (size_t k = 0; k < 2; k++) {
        const struct document *value = document_get(section, lists[k]);
        if (!value || value->kind == DOCUMENT_SCALAR) continue;
        struct training_list list = training_list(&value);
        for (size_t i = 0; i < list.count && !reader->stopped; i++) gather(g, list.values[i]);
    }
    g->depth--;
}

/* The mapping `vars` of the file, with what stages bring put before. */
static const struct document *declared(struct reader *reader, const struct source *source, const struct document *given) {
    const struct document *vars = document_get(source->root, "vars"), *train = document_get(source->root, "train");
    if (vars && (document_null(vars) || vars->kind != DOCUMENT_MAPPING)) return vars;
    size_t own = vars ? vars->count : 0, extra = (train ? (size_t)train->size : 0) + (given ? given->count : 0);
    if (extra == 0 || (!given && train->kind != DOCUMENT_MAPPING)) return vars;
    if (extra > 4096 + (given ? given->count : 0)) extra = 4096 + (given ? given->count : 0);
    struct gathering g = {.reader = reader, .vars = vars, .room = extra};
    struct document *made = mapping_new(reader, own + extra, vars ? vars->at : source->root->at);
    if (!made) return NULL;
    map_init(&g.known, &reader->scratch);
    for (size_t i = 0; i < own; i++)
        if (!reader_set(reader, &g.known, vars->keys[i]->text, 1)) return NULL;
    g.made = made;
    for (size_t i = 0; given && i < given->count; i++) gather_one(&g, given->keys[i], given->values[i]);
    if (train) gather(&g, train);
    if (made->count == 0) return vars;
    for (size_t i = 0; i < own; i++) made->keys[made->count] = vars->keys[i], made->values[made->count++] = vars->values[i];
    made->size = INT32_MAX;
    return made;
}

const struct environment *training_environment(struct reader *reader, const struct source *source, const struct network_options *options) {
    const struct document *settings = variables_settings(reader, options);
    size_t count = options ? options->var_count : 0;
    if (!settings) return NULL;
    const struct document *given = count ? training_vars(reader, options->vars, count, source->root->at) : NULL;
    if (count && !given) return NULL;
    const struct document *vars = declared(reader, source, given);
    struct document *with = mapping_new(reader, settings->count + count, settings->at);
    if (!with || reader->stopped) return NULL;
    for (size_t i = 0; i < settings->count; i++) with->keys[i] = settings->keys[i], with->values[i] = settings->values[i];
    with->count = settings->count;
    for (size_t i = 0; given && i < given->count; i++)
        with->keys[with->count] = given->keys[i], with->values[with->count++] = given->values[i];
    return variables_new(reader, NULL, NULL, vars, with, NULL);
}

/* ---- Entries of `stages` ---- */

static bool variable_name(struct reader *reader, const struct document *key) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    size_t length = strlen(key->text);
    if (length && length <= NAME_MOST && strspn(key->text, letters) == length && !strchr("0123456789", key->text[0])) return true;
    reader_fail(reader, key->at, "'%.100s' cannot name a variable: names are made of letters, digits and '_'", key->text);
    return false;
}

static bool count_values(struct reader *reader, const struct document *values, size_t *count) {
    int64_t number = 0;
    bool list = values->kind == DOCUMENT_LIST;
    if (!list && (!document_int(values, &number) || number < 0)) {
        reader_fail(reader, values->at, "'foreach' gives a variable a number of values (5: 0 to 4), or a list of them");
        return false;
    }
    *count = list ? values->count : (size_t)number;
    if (*count <= FOREACH_MOST) return reader_spend(reader, values->at, 16 * (int64_t)*count);
    reader_fail(reader, values->at, "'foreach' has %zu values: %d are the most", *count, FOREACH_MOST);
    return false;
}

/* {task: 5}: 0 to 4; {task: [a, b]} */
static bool read_foreach(struct section *section, const struct document *each, struct training_entry *entry) {
    struct reader *reader = section->reader;
    const struct document *made = variables_put(reader, section->environment, each);
    char text[32];
    size_t count;
    if (!made) return false;
    if (made->kind != DOCUMENT_MAPPING || made->count != 1) {
        reader_fail(reader, made->at, "'foreach' is a mapping of one variable: {task: 5} or {task: [a, b]}");
        return false;
    }
    const struct document *values = made->values[0];
    if (!variable_name(reader, made->keys[0]) || !count_values(reader, values, &count)) return false;
    entry->foreach = made->keys[0]->text;
    entry->values = reader_new(reader, count, sizeof *entry->values);
    for (size_t i = 0; entry->values && i < count && !reader->stopped; i++) {
        snprintf(text, sizeof text, "%zu", i);
        const struct document *item = values->kind == DOCUMENT_LIST ? values->values[i] : NULL;
        if (item && item->kind == DOCUMENT_MAPPING) {
            reader_fail(reader, item->at, "a variable is a number, text or a list, this is a mapping");
            return false;
        }
        entry->values[i] = item ? training_value_text(reader, item) : arena_text(reader->arena, text);
        if (!entry->values[i] && !item) reader_memory(reader);
        entry->value_count = i + 1;
    }
    return !reader->stopped;
}

/* The entry's `vars` for its value `at`: later ones may be made of earlier ones. */
static bool read_vars(struct section *section, const struct document *vars, struct training_entry *entry, size_t at) {
    struct reader *reader = section->reader;
    struct document *defaults = mapping_new(reader, vars->count + 1, vars->at);
    if (!defaults) return false;
    if (entry->foreach) {
        const char *text = entry->values[at];
        struct document *value = text ? document_read(reader->arena, "vars", text, strlen(text), reader->report) : NULL;
        if (!value || !mapping_add(reader, defaults, entry->foreach, vars->at, value)) return false;
    }
    for (size_t i = 0; i < vars->count; i++) {
        if (entry->foreach && strcmp(vars->keys[i]->text, entry->foreach) == 0) {
            reader_fail(reader, vars->keys[i]->at, "'%s' is the variable of 'foreach' already", entry->foreach);
            return false;
        }
        defaults->keys[defaults->count] = vars->keys[i], defaults->values[defaults->count++] = vars->values[i];
    }
    struct environment *made = variables_new(reader, section->environment, NULL, defaults, NULL, NULL);
    size_t first = entry->foreach != NULL;
    if (!made || made->count != vars->count + first) return false;
    for (size_t i = 0; i < vars->count && !reader->stopped; i++) {
        const struct document *value = made->values[i + first];
        const char *text = value ? training_value_text(reader, value) : NULL;
        if (!text) return false;
        entry->vars[at * vars->count + i] = (struct training_var){made->keys[i + first], text};
    }
    return !reader->stopped;
}

bool training_entry_read(struct section *section, const struct document *doc, struct training_entry *entry) {
    struct reader *reader = section->reader;
    const struct document *each = document_get(doc, "foreach"), *vars = document_get(doc, "vars");
    *entry = (struct training_entry){.at = doc->at, .nested = document_get(doc, "stages") != NULL};
    if (each && !document_null(each) && !read_foreach(section, each, entry)) return false;
    if (!vars || document_null(vars)) return true;
    if (!training_mapping(reader, vars, "'vars' is a mapping from names to values")) return false;
    size_t sets = !entry->foreach ? 1
                  : vars->varies  ? entry->value_count
                                  : entry->value_count > 0,
           copies = entry->foreach ? entry->value_count : 1;
    if (!reader_spend(reader, vars->at, 8 * (int64_t)vars->size * (int64_t)copies)) return false;
    entry->vars = reader_new(reader, vars->count * copies + 1, sizeof *entry->vars);
    for (size_t at = 0; entry->vars && at < sets; at++)
        if (!read_vars(section, vars, entry, at)) return false;
    for (size_t at = sets; entry->vars && at < copies; at++) /* none depends on the value */
        memcpy(entry->vars + at * vars->count, entry->vars, vars->count * sizeof *entry->vars);
    entry->var_count = vars->count;
    return entry->vars != NULL;
}

static bool same(const struct section *section, const char *name, const char *value) {
    for (const struct environment *e = section->environment; e; e = e->outer) {
        int64_t index;
        if (!map_get(&e->names, name, &index)) continue;
        const char *text = e->values[index] ? training_value_text(section->reader, e->values[index]) : NULL;
        return text && strcmp(text, value) == 0;
    }
    return false;
}

bool training_entry_same(const struct section *section, const struct training_entry *entry) {
    if (entry->foreach && entry->value_count && !same(section, entry->foreach, entry->values[0])) return false;
    for (size_t i = 0; i < entry->var_count; i++)
        if (!same(section, entry->vars[i].name, entry->vars[i].value)) return false;
    return true;
}

static void read_stages(struct section *section, const struct document *stages) {
    static const char *const stage_alone[] = {"loss", "steps", "seconds", "update", "keep_state", "copy", "reset", "early_stop", "samples"};
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *doc = section->chain[section->depth - 1];
    for (size_t i = 0; i < sizeof stage_alone / sizeof *stage_alone; i++) {
        const struct document *value = document_get(doc, stage_alone[i]);
        if (value) reader_fail(reader, value->at, "'%s' does not stand beside 'stages': each stage has its own", stage_alone[i]);
    }
    if (stages->kind != DOCUMENT_LIST || stages->count == 0) {
        reader_fail(reader, stages->at, "'stages' is a list of sections as 'train' is one, run in order");
        return;
    }
    made->stages = reader_new(reader, stages->count, sizeof *made->stages);
    for (size_t i = 0; made->stages && i < stages->count && !reader->stopped; i++) {
        made->stages[made->stage_count++].at = stages->values[i]->at;
        if (training_mapping(reader, stages->values[i], "a stage is a mapping as 'train' is one: {loss: .., steps: .., update: ..}"))
            training_entry_read(section, stages->values[i], &made->stages[i]);
    }
}

/* ---- The section that is meant ---- */

static void set_defaults(struct training *made, struct position at) {
    *made = (struct training){.name = "", .at = at, .data_at = at, .steps = -1, .micro_batches = 1, .feed_step = -1, .feed_progress = -1};
    made->schedule.factor = 0.1;
    made->noise.gamma = 0.55;
    made->checkpoint.keep = 1;
    made->samples.every = 1;
}

/* Follows the places in `stages`; false when there is none. */
static bool find_section(struct section *section, const struct document *train, const struct network_options *options) {
    size_t depth = options ? options->stage_depth : 0;
    section->chain[0] = train, section->depth = 1;
    for (size_t i = 0; i < depth; i++) {
        const struct document *stages = document_get(section->chain[i], "stages");
        bool there = i < STAGES_DEEP && stages && stages->kind == DOCUMENT_LIST && options->stage[i] < stages->count;
        if (there && stages->values[options->stage[i]]->kind != DOCUMENT_MAPPING) return false; /* told where they are listed */
        if (!there) {
            if (i >= STAGES_DEEP) reader_fail(section->reader, section->chain[i]->at, "stages are nested more than %d deep", STAGES_DEEP);
            else reader_fail_as(section->reader, FLOW_ERROR_USAGE, section->chain[i]->at, "there is no such stage");
            return false;
        }
        section->chain[section->depth++] = stages->values[options->stage[i]];
    }
    section->options = options;
    return true;
}

/* "stage2", "stage0.1": one without a name has its place. */
static void read_name(struct section *section) {
    struct reader *reader = section->reader;
    const struct document *name = training_own(section, "name");
    struct text text;
    if (section->depth < 2) return;
    if (name) {
        training_text(reader, name, "name", &section->made->name);
        return;
    }
    text_init(&text, reader->from);
    for (size_t i = 0; i + 1 < section->depth; i++) text_format(&text, "%s%zu", i ? "." : "stage", section->options->stage[i]);
    const char *made = text.failed ? NULL : arena_text(reader->arena, text.at);
    if (made) section->made->name = made;
    else reader_memory(reader);
    text_free(&text);
}

struct training *training_read(struct reader *reader, struct source *source, struct frame *frame, const struct environment *environment,
                               const struct network_options *options) {
    static const char *const keys[] = {"name",   "vars",     "foreach",    "stages",     "loss",          "data",       "steps", "seconds",
                                       "update", "schedule", "clip_norm",  "noise",      "micro_batches", "keep_state", "feeds", "validate",
                                       "copy",   "reset",    "early_stop", "checkpoint", "samples",       "doc",        NULL};
    const struct document *train = document_get(source->root, "train"), *data = document_get(source->root, "data");
    if (!train && !data) return NULL;
    struct training *made = reader_new(reader, 1, sizeof *made);
    if (!made) return NULL;
    struct section section = {.reader = reader, .source = source, .frame = frame, .environment = environment, .made = made};
    set_defaults(made, train ? train->at : data->at);
    if (data) training_datas(&section, data);
    if (!train) return NULL;
    if (!training_mapping(reader, train, "'train' is a mapping, such as {loss: loss, steps: 100, update: [..]}")) return made;
    if (!find_section(&section, train, options)) return made;
    const struct document *doc = section.chain[section.depth - 1], *stages = document_get(doc, "stages");
    made->at = doc->at;
    reader_keys(reader, doc, section.depth > 1 ? keys : keys + 3, section.depth > 1 ? "a stage" : "'train'");
    read_name(&section);
    if (stages) read_stages(&section, stages);
    else if (frame) training_section(&section);
    return made;
}

/* ---- Looking through ---- */

struct check {
    struct reader *reader;
    struct source *source;
    struct frame *frame; /* of the reading for no stage */
    const struct network_options *options;
    struct training_var *vars;
    size_t var_count, var_room, stage[STAGES_DEEP + 1], depth;
    int64_t work; /* spent so far */
};
enum { CHECK_WORK_MOST = 20000000 };

static bool push_var(struct check *check, struct training_var var) {
    if (!reader_grow(check->reader, (void **)&check->vars, &check->var_room, check->var_count + 1, sizeof *check->vars)) return false;
    check->vars[check->var_count++] = var;
    return true;
}

static bool push_entry(struct check *check, const struct training_entry *entry) {
    if (entry->foreach && !push_var(check, (struct training_var){entry->foreach, entry->values[0]})) return false;
    for (size_t i = 0; i < entry->var_count; i++)
        if (!push_var(check, entry->vars[i])) return false;
    return true;
}

/* The frame for the variables in hand: the file's own where they change nothing. NULL: an error was told. */
static struct frame *frame_for(struct check *check, const struct network_options *options) {
    struct section section = {.reader = check->reader, .environment = check->frame->environment};
    bool unchanged = true;
    for (size_t i = 0; i < check->var_count && unchanged; i++) unchanged = same(&section, check->vars[i].name, check->vars[i].value);
    return unchanged ? check->frame : reader_again(check->reader, check->source, options);
}

static void check_section(struct check *check, bool nested);

/* Metrics of validations that have variables of their own. */
static void check_validates(struct check *check, const struct training *training) {
    for (size_t v = 0; v < training->validate_count && !check->reader->stopped; v++) {
        const struct training_entry *entry = &training->validates[v].entry;
        size_t before = check->var_count;
        if ((!entry->foreach && !entry->var_count) || (entry->foreach && !entry->value_count) || !push_entry(check, entry)) continue;
        struct network_options options = {.set = check->options ? check->options->set : NULL,
                                          .set_count = check->options ? check->options->set_count : 0,
                                          .vars = check->vars,
                                          .var_count = check->var_count,
                                          .stage = check->stage,
                                          .stage_depth = check->depth};
        struct frame *frame = frame_for(check, &options);
        struct training unused;
        struct training_validate validate = {0};
        struct section section = {.reader = check->reader, .source = check->source, .frame = frame, .made = &unused};
        set_defaults(&unused, training->at);
        unused.datas = training->datas, unused.data_count = training->data_count;
        if (frame) section.environment = frame->environment;
        if (frame && find_section(&section, document_get(check->source->root, "train"), &options)) {
            training_validate_check(&section, v, &validate);
            unused.validates = &validate, unused.validate_count = 1;
            unused_mark(check->reader, frame, &unused);
        }
        check->var_count = before;
    }
}

static void check_entries(struct check *check, const struct training *training) {
    for (size_t i = 0; i < training->stage_count && check->depth < STAGES_DEEP && !check->reader->stopped; i++) {
        const struct training_entry *entry = &training->stages[i];
        size_t before = check->var_count;
        if ((entry->foreach && !entry->value_count) || check->work > CHECK_WORK_MOST || !push_entry(check, entry)) continue;
        check->stage[check->depth++] = i;
        check_section(check, entry->nested);
        check->depth--, check->var_count = before;
    }
}

/* As it will be read for training. What is made goes with the reader. */
static void check_section(struct check *check, bool nested) {
    struct reader *reader = check->reader;
    struct network_options options = {.set = check->options ? check->options->set : NULL,
                                      .set_count = check->options ? check->options->set_count : 0,
                                      .vars = check->vars,
                                      .var_count = check->var_count,
                                      .stage = check->stage,
                                      .stage_depth = check->depth};
    reader->work = reader->nodes = 0;
    struct frame *frame = nested ? NULL : frame_for(check, &options);
    const struct environment *environment = frame    ? frame->environment
                                            : nested ? training_environment(reader, check->source, &options)
                                                     : NULL;
    struct training *training = environment ? training_read(reader, check->source, frame, environment, &options) : NULL;
    check->work += reader->work + 1000;
    if (!training || reader->stopped) return;
    if (training->stages) {
        check_entries(check, training);
    } else {
        unused_mark(reader, frame, training);
        check_validates(check, training);
    }
}

void training_check(struct reader *reader, struct source *source, struct frame *frame, const struct training *training,
                    const struct network_options *options) {
    struct check check = {.reader = reader, .source = source, .frame = frame, .options = options};
    struct arena *arena = reader->arena;
    int64_t work = reader->work, nodes = reader->nodes;
    int32_t segments = reader->segments;
    bool unsound = reader->unsound;
    reader->arena = &reader->scratch;
    unused_mark(reader, frame, training);
    if (training->stages) check_entries(&check, training);
    else check_validates(&check, training);
    memory_free(reader->from, check.vars, check.var_room * sizeof *check.vars);
    reader->arena = arena, reader->work = work, reader->nodes = nodes, reader->segments = segments, reader->unsound = unsound;
}
