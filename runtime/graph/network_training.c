/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of one section of `train`: those that are numbers, words and patterns. */
#include "graph/network_training.h"

#include "graph/attributes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Values ---- */

const struct document *training_own(struct section *section, const char *key) {
    const struct document *value = document_get(section->chain[section->depth - 1], key);
    value = value ? variables_put(section->reader, section->environment, value) : NULL;
    return value && !document_null(value) ? value : NULL;
}

const struct document *training_inherited(struct section *section, const char *key) {
    for (size_t i = section->depth; i-- > 0;) {
        const struct document *value = document_get(section->chain[i], key);
        if (!value) continue;
        value = variables_put(section->reader, section->environment, value);
        return value && !document_null(value) ? value : NULL;
    }
    return NULL;
}

/* "this is 'x'" of a message. */
static const char *found(const struct document *value, char text[80]) {
    if (value->kind == DOCUMENT_SCALAR) snprintf(text, 80, "'%.60s'", value->text);
    else snprintf(text, 80, value->kind == DOCUMENT_LIST ? "a list" : "a mapping");
    return text;
}

bool training_int(struct reader *reader, const struct document *value, const char *key, int64_t least, int64_t *out) {
    int64_t number;
    char text[80];
    if (!value) return true;
    if (document_int(value, &number) && number >= least) {
        *out = number;
        return true;
    }
    reader_fail(reader, value->at, "'%s' is an integer of at least %lld, this is %s", key, (long long)least, found(value, text));
    return false;
}

bool training_real(struct reader *reader, const struct document *value, const char *key, double least, double *out) {
    double number;
    char text[80];
    if (!value) return true;
    if (document_real(value, &number) && isfinite(number) && number >= least) {
        *out = number;
        return true;
    }
    if (least > -INFINITY) reader_fail(reader, value->at, "'%s' is a number of at least %g, this is %s", key, least, found(value, text));
    else reader_fail(reader, value->at, "'%s' is a number, this is %s", key, found(value, text));
    return false;
}

bool training_bool(struct reader *reader, const struct document *value, const char *key, bool *out) {
    char text[80];
    if (!value || document_bool(value, out)) return true;
    reader_fail(reader, value->at, "'%s' is true or false, this is %s", key, found(value, text));
    return false;
}

bool training_text(struct reader *reader, const struct document *value, const char *key, const char **out) {
    if (!value) return true;
    if (value->kind == DOCUMENT_SCALAR && *value->text) {
        *out = value->text;
        return true;
    }
    reader_fail(reader, value->at, "'%s' is a text, this is %s", key,
                value->kind == DOCUMENT_SCALAR ? "empty"
                : value->kind == DOCUMENT_LIST ? "a list"
                                               : "a mapping");
    return false;
}

int32_t training_word(struct reader *reader, const struct document *value, const char *key, const char *const *words) {
    char list[200] = "", text[80];
    struct hint hint;
    for (int32_t i = 0; words[i] && value->kind == DOCUMENT_SCALAR; i++)
        if (strcmp(words[i], value->text) == 0) return i;
    hint_init(reader, &hint, value->kind == DOCUMENT_SCALAR ? value->text : "");
    for (size_t i = 0, length = 0; words[i] && length < sizeof list; i++) {
        hint_offer(&hint, words[i]);
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    }
    reader_fail(reader, value->at, "'%s' is %s, this is %s%s", key, list, found(value, text), hint_text(&hint));
    return -1;
}

bool training_mapping(struct reader *reader, const struct document *value, const char *what) {
    if (value->kind == DOCUMENT_MAPPING) return true;
    reader_fail(reader, value->at, "%s", what);
    return false;
}

struct training_list training_list(const struct document *const *value) {
    if ((*value)->kind != DOCUMENT_LIST) return (struct training_list){value, 1};
    return (struct training_list){(const struct document *const *)(*value)->values, (*value)->count};
}

/* ---- What is named ---- */

struct network_ref training_reference(struct section *section, const char *text, struct position at) {
    struct network_ref ref = {NETWORK_NOTHING, 0};
    const int32_t *final = section->frame ? section->frame->unit->final : NULL;
    if (!section->frame) return ref;
    ref = resolve_reference(section->reader, section->frame, text, at);
    if (ref.node < 0) return ref;
    if (!final) ref.node = NETWORK_NOTHING; /* a cycle, told about */
    else ref.node = final[ref.node];
    return ref;
}

int32_t training_input(struct section *section, const struct document *name, struct position at) {
    const struct frame *frame = section->frame;
    char text[80];
    struct hint hint;
    if (!frame) return -1;
    if (name->kind != DOCUMENT_SCALAR) {
        reader_fail(section->reader, at, "the name of an input is expected here, this is %s", found(name, text));
        return -1;
    }
    const struct item *item = frame_item(frame, name->text);
    if (item && item->kind == ITEM_INPUT) return item->input;
    hint_init(section->reader, &hint, name->text);
    for (size_t i = 0; i < frame->input_count; i++) hint_offer(&hint, frame->inputs[i].about.name);
    reader_fail(section->reader, at, "the graph has no input '%.100s'%s", name->text, hint_text(&hint));
    return -1;
}

/* The messages of a report of its own, told as the reader tells: once for each place. */
static void retell(struct reader *reader, struct report *report) {
    for (const struct report_message *m = report->first; m; m = m->next) reader_fail_as(reader, m->code, m->at, "%s", m->text);
    if (report->incomplete) reader_memory(reader);
    report_free(report);
}

const void *training_attrs(struct reader *reader, const char *kind, const char *name, const struct flow_attrs *rows, size_t size,
                           const struct document *with, const char *const *also, struct position at) {
    struct report report;
    if (with && !training_mapping(reader, with, "'with' is a mapping from names to values")) return NULL;
    bool named = reader_attrs(reader, kind, name, rows, with, also, at);
    void *attrs = reader_new(reader, 1, size + 1);
    if (!attrs) return NULL;
    struct attributes_options options = {.kind = kind, .name = name, .with = with};
    report_init(&report, reader->from);
    int status = attributes_parse(reader->arena, rows, &options, &report, attrs);
    retell(reader, &report);
    return named && status == 0 ? attrs : NULL;
}

void training_missing(struct section *section, struct position at, const char *what, const char *name, const struct text *why) {
    struct reader *reader = section->reader;
    struct training_missing **end = reader->training ? &reader->training->missing : NULL;
    char key[80];
    size_t count = 0;
    if (why->failed) {
        reader_memory(reader);
        return;
    }
    if (!end) {
        reader_fail(reader, at, "unknown %s '%.100s'%.600s", what, name, why->length ? why->at : "");
        return;
    }
    snprintf(key, sizeof key, "missing:%d:%d", at.line, at.column);
    while (*end) end = &(*end)->next, count++;
    if (count >= REPORT_MOST || map_get(&reader->told, key, NULL)) return;
    char *kept = arena_text(&reader->scratch, key);
    struct training_missing *missing = arena_new(reader->keep, sizeof *missing);
    if (missing) missing->text = arena_format(reader->keep, "unknown %s '%.100s'%.600s", what, name, why->length ? why->at : "");
    if (!kept || !missing || !missing->text) {
        reader_memory(reader);
        return;
    }
    missing->at = at;
    *end = missing;
    reader_set(reader, &reader->told, kept, 1);
}

int training_ready(const struct training *training, struct report *report) {
    for (const struct training_missing *m = training->missing; m; m = m->next) report_add(report, FLOW_ERROR_GRAPH, m->at, "%s", m->text);
    return training->missing ? FLOW_ERROR_GRAPH : FLOW_OK;
}

/* ---- Keys ---- */

static void read_length(struct section *section) {
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *steps = training_own(section, "steps"), *seconds = training_own(section, "seconds");
    training_int(reader, steps, "steps", 0, &made->steps);
    if (training_real(reader, seconds, "seconds", 0, &made->seconds) && seconds && made->seconds <= 0)
        reader_fail(reader, seconds->at, "'seconds' is a number above 0");
    if (steps && seconds) reader_fail(reader, seconds->at, "either 'steps' or 'seconds' is the length of a stage, not both");
    const struct document *top = section->chain[section->depth - 1];
    if (!document_get(top, "steps") && !document_get(top, "seconds"))
        reader_fail(reader, made->at, "%s needs 'steps' or 'seconds': its length", section->depth > 1 ? "a stage" : "'train'");
}

static void read_schedule(struct section *section) {
    static const char *const kinds[] = {"constant", "linear", "cosine", "step", "inverse_sqrt", NULL};
    static const char *const keys[] = {"kind", "warmup", "final", "every", "factor", NULL};
    struct reader *reader = section->reader;
    struct training_schedule *schedule = &section->made->schedule;
    const struct document *value = training_inherited(section, "schedule");
    if (!value) return;
    if (value->kind == DOCUMENT_SCALAR) {
        schedule->kind = training_word(reader, value, "schedule", kinds);
        return;
    }
    if (!training_mapping(reader, value, "'schedule' is a mapping, such as {kind: cosine, warmup: 100}")) return;
    const struct document *kind = document_get(value, "kind"), *every = document_get(value, "every");
    bool right = reader_keys(reader, value, keys, "'schedule'");
    if (kind) schedule->kind = training_word(reader, kind, "kind", kinds);
    training_int(reader, document_get(value, "warmup"), "warmup", 0, &schedule->warmup);
    training_real(reader, document_get(value, "final"), "final", 0, &schedule->final);
    training_real(reader, document_get(value, "factor"), "factor", 0, &schedule->factor);
    training_int(reader, every, "every", 1, &schedule->every);
    if (schedule->kind == TRAINING_STEP && !every && right)
        reader_fail(reader, value->at, "a schedule of kind 'step' needs 'every': how many steps the rate stays");
}

static void read_noise(struct section *section) {
    static const char *const keys[] = {"eta", "gamma", "after_clip", NULL};
    struct reader *reader = section->reader;
    struct training_noise *noise = &section->made->noise;
    const struct document *value = training_inherited(section, "noise");
    if (!value || !training_mapping(reader, value, "'noise' is a mapping, such as {eta: 0.01, gamma: 0.55}")) return;
    bool right = reader_keys(reader, value, keys, "'noise'");
    const struct document *eta = document_get(value, "eta");
    if (!eta && right) reader_fail(reader, value->at, "'noise' needs 'eta': its variance at the first step");
    noise->given = true;
    training_real(reader, eta, "eta", 0, &noise->eta);
    training_real(reader, document_get(value, "gamma"), "gamma", 0, &noise->gamma);
    training_bool(reader, document_get(value, "after_clip"), "after_clip", &noise->after_clip);
}

/* {step: t, progress: u}: scalars that the trainer feeds. */
static void read_feeds(struct section *section) {
    static const char *const keys[] = {"step", "progress", NULL};
    struct reader *reader = section->reader;
    const struct document *value = training_inherited(section, "feeds");
    if (!value || !training_mapping(reader, value, "'feeds' is a mapping: {step: INPUT, progress: INPUT}")) return;
    reader_keys(reader, value, keys, "'feeds'");
    for (int32_t i = 0; i < 2; i++) {
        const struct document *name = document_get(value, keys[i]);
        int32_t input = name ? training_input(section, name, name->at) : -1;
        *(i ? &section->made->feed_progress : &section->made->feed_step) = input;
        if (input < 0) continue;
        const struct network_input *about = &section->frame->inputs[input].about;
        int32_t dtype = i ? FLOW_F32 : FLOW_I64;
        if (about->rank == 0 && about->dtype == dtype) continue;
        reader_fail(reader, name->at, "'%s' is a scalar of type %s: input '%s' has %d ax%ss and type %s", keys[i], dtype_name(dtype),
                    about->name, about->rank, about->rank == 1 ? "i" : "e", dtype_name(about->dtype));
    }
}

static size_t stars(const char *pattern) {
    size_t count = 0;
    for (; *pattern; pattern++) count += *pattern == '*';
    return count;
}

static void read_copies(struct section *section) {
    static const char *const keys[] = {"from", "to", NULL};
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *value = training_own(section, "copy");
    if (!value) return;
    struct training_list list = training_list(&value);
    made->copies = reader_new(reader, list.count, sizeof *made->copies);
    for (size_t i = 0; made->copies && i < list.count && !reader->stopped; i++) {
        const struct document *entry = list.values[i];
        struct training_copy copy = {.at = entry->at};
        if (!training_mapping(reader, entry, "'copy' is a list of {from: PATTERN, to: PATTERN}")) continue;
        if (!reader_keys(reader, entry, keys, "'copy'")) continue;
        if (!document_get(entry, "from") || !document_get(entry, "to")) {
            reader_fail(reader, entry->at, "'copy' needs both 'from' and 'to'");
            continue;
        }
        if (!training_text(reader, document_get(entry, "from"), "from", &copy.from)) continue;
        if (!training_text(reader, document_get(entry, "to"), "to", &copy.to)) continue;
        if (stars(copy.from) > 1 || stars(copy.from) != stars(copy.to))
            reader_fail(reader, entry->at, "'from' and 'to' have one '*' each, for the same text, or none: these are '%.60s' and '%.60s'",
                        copy.from, copy.to);
        else made->copies[made->copy_count++] = copy;
    }
}

static void read_resets(struct section *section) {
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *value = training_own(section, "reset");
    if (!value) return;
    struct training_list list = training_list(&value);
    made->resets = reader_new(reader, list.count, sizeof *made->resets);
    for (size_t i = 0; made->resets && i < list.count && !reader->stopped; i++) {
        const char *pattern = NULL;
        if (training_text(reader, list.values[i], "reset", &pattern)) made->resets[made->reset_count++] = pattern;
    }
}

static void read_checkpoint(struct section *section) {
    static const char *const keys[] = {"dir", "every", "keep", NULL};
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *value = training_inherited(section, "checkpoint");
    if (!value) return;
    made->checkpoint.at = value->at;
    if (value->kind == DOCUMENT_SCALAR) {
        training_text(reader, value, "checkpoint", &made->checkpoint.dir);
        return;
    }
    if (!training_mapping(reader, value, "'checkpoint' is a mapping, such as {dir: runs/name, every: 200, keep: 3}")) return;
    bool right = reader_keys(reader, value, keys, "'checkpoint'");
    const struct document *dir = document_get(value, "dir");
    if (!dir && right) reader_fail(reader, value->at, "'checkpoint' needs 'dir': the folder to write to");
    training_text(reader, dir, "dir", &made->checkpoint.dir);
    training_int(reader, document_get(value, "every"), "every", 0, &made->checkpoint.every);
    training_int(reader, document_get(value, "keep"), "keep", 1, &made->checkpoint.keep);
}

static void read_samples(struct section *section) {
    static const char *const keys[] = {"file", "every", "after", NULL};
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *value = training_own(section, "samples");
    if (!value || !training_mapping(reader, value, "'samples' is a mapping, such as {file: samples.safetensors, every: 10, after: 100}"))
        return;
    made->samples.at = value->at;
    bool right = reader_keys(reader, value, keys, "'samples'");
    const struct document *file = document_get(value, "file");
    if (!file && right) reader_fail(reader, value->at, "'samples' needs 'file': the file to write to");
    training_text(reader, file, "file", &made->samples.file);
    training_int(reader, document_get(value, "every"), "every", 1, &made->samples.every);
    training_int(reader, document_get(value, "after"), "after", 0, &made->samples.after);
}

static void read_data(struct section *section) {
    const struct document *value = training_inherited(section, "data");
    if (!value) return;
    const struct training_data *data = training_data_find(section, value);
    section->made->data_at = value->at;
    if (data) section->made->data = data->name;
}

void training_section(struct section *section) {
    struct reader *reader = section->reader;
    struct training *made = section->made;
    training_losses(section);
    read_data(section);
    read_length(section);
    read_schedule(section);
    training_real(reader, training_inherited(section, "clip_norm"), "clip_norm", 0, &made->clip_norm);
    read_noise(section);
    training_int(reader, training_inherited(section, "micro_batches"), "micro_batches", 1, &made->micro_batches);
    training_bool(reader, training_own(section, "keep_state"), "keep_state", &made->keep_state);
    read_feeds(section);
    training_updates(section);
    training_validates(section);
    read_copies(section);
    read_resets(section);
    training_early_stop(section);
    read_checkpoint(section);
    read_samples(section);
}
