/* SPDX-License-Identifier: Apache-2.0 */
/* `validate`: data sets looked at now and then, their metrics; `early_stop`, which names one. */
#include "graph/network_training.h"

#include <string.h>

/* ---- Metrics ---- */

/* Inputs of a subgraph as its file or section has them; NULL: none, or their names are not plain. */
static const struct document *graph_inputs(struct reader *reader, struct definition *definition) {
    const struct document *body = definition->body;
    if (document_get(body, "file")) {
        struct source *source = reader_file(reader, definition);
        if (!source) return NULL;
        body = source->root;
    }
    return document_get(body, "inputs");
}

static struct definition *find_graph(struct section *section, const struct document *name) {
    struct reader *reader = section->reader;
    struct source *source = section->source;
    struct hint hint;
    int64_t index;
    const char *text = NULL;
    if (!training_text(reader, name, "graph", &text)) return NULL;
    if (map_get(&source->graphs, text, &index)) {
        struct definition *definition = &source->definitions[index];
        definition->used = true;
        return definition->broken ? NULL : definition;
    }
    hint_init(reader, &hint, text);
    for (size_t i = 0; i < source->definition_count; i++) hint_offer(&hint, source->definitions[i].name);
    reader_fail(reader, name->at, "no subgraph '%.100s' stands under 'graphs'%s", text, hint_text(&hint));
    return NULL;
}

static bool has_input(struct reader *reader, const struct definition *definition, const struct document *inputs,
                      const struct document *key) {
    struct hint hint;
    if (!inputs || inputs->kind != DOCUMENT_MAPPING) inputs = NULL;
    for (size_t i = 0; inputs && i < inputs->count; i++)
        if (inputs->keys[i]->varies || strcmp(inputs->keys[i]->text, key->text) == 0) return true;
    hint_init(reader, &hint, key->text);
    for (size_t i = 0; inputs && i < inputs->count; i++) hint_offer(&hint, inputs->keys[i]->text);
    reader_fail(reader, key->at, "subgraph '%.100s' has no input '%.100s'%s", definition->name, key->text, hint_text(&hint));
    return false;
}

static void check_fed(struct reader *reader, const struct definition *definition, const struct document *inputs, const struct document *in,
                      struct position at) {
    for (size_t i = 0; inputs && inputs->kind == DOCUMENT_MAPPING && i < inputs->count; i++)
        if (!inputs->keys[i]->varies && !document_get(in, inputs->keys[i]->text))
            reader_fail(reader, at, "subgraph '%.100s' needs the input '%.100s'", definition->name, inputs->keys[i]->text);
}

/* {graph: NAME, in: {score: s, label: y}} */
static void read_graph_metric(struct section *section, const struct document *value, struct training_metric *metric) {
    static const char *const keys[] = {"graph", "in", NULL};
    struct reader *reader = section->reader;
    const struct document *name = document_get(value, "graph"), *in = document_get(value, "in");
    bool right = reader_keys(reader, value, keys, "a metric");
    if (!name && right) reader_fail(reader, value->at, "a metric is a reference, or {graph: NAME, in: {INPUT: REFERENCE}}");
    struct definition *definition = name ? find_graph(section, name) : NULL;
    if (!definition) return;
    metric->graph = definition->name;
    if (in && !training_mapping(reader, in, "'in' is a mapping from inputs of the subgraph to references")) return;
    const struct document *inputs = graph_inputs(reader, definition);
    bool named = right;
    metric->pairs = reader_new(reader, in ? in->count : 0, sizeof *metric->pairs);
    for (size_t i = 0; metric->pairs && in && i < in->count && !reader->stopped; i++) {
        const struct document *from = in->values[i];
        if (!has_input(reader, definition, inputs, in->keys[i])) {
            named = false;
            continue;
        }
        if (from->kind != DOCUMENT_SCALAR) {
            reader_fail(reader, from->at, "a reference is expected here: the name of a node or input, or NODE.PORT");
            continue;
        }
        metric->pairs[metric->pair_count].input = in->keys[i]->text;
        metric->pairs[metric->pair_count++].ref = training_reference(section, from->text, from->at);
    }
    if (named) check_fed(reader, definition, inputs, in, in ? in->at : value->at);
}

static void read_metrics(struct section *section, const struct document *metrics, struct training_validate *validate) {
    struct reader *reader = section->reader;
    if (!training_mapping(reader, metrics, "'metrics' is a mapping from names to references")) return;
    validate->metrics = reader_new(reader, metrics->count, sizeof *validate->metrics);
    for (size_t i = 0; validate->metrics && i < metrics->count && !reader->stopped; i++) {
        struct training_metric *metric = &validate->metrics[validate->metric_count++];
        const struct document *value = metrics->values[i];
        *metric = (struct training_metric){.name = metrics->keys[i]->text, .ref = {NETWORK_NOTHING, 0}, .at = metrics->keys[i]->at};
        if (value->kind == DOCUMENT_MAPPING) read_graph_metric(section, value, metric);
        else if (value->kind == DOCUMENT_SCALAR) metric->ref = training_reference(section, value->text, value->at);
        else reader_fail(reader, value->at, "a metric is a reference, or {graph: NAME, in: {INPUT: REFERENCE}}");
    }
}

/* ---- Entries ---- */

/* start, end, or a list of both. */
static void read_at(struct reader *reader, const struct document *value, struct training_validate *validate) {
    static const char *const words[] = {"start", "end", NULL};
    struct training_list list = training_list(&value);
    for (size_t i = 0; i < list.count; i++) {
        int32_t word = training_word(reader, list.values[i], "at", words);
        if (word == 0) validate->at_start = true;
        if (word == 1) validate->at_end = true;
    }
}

static bool given(const struct section *section, const char *name) {
    const struct network_options *options = section->options;
    for (size_t i = 0; options && i < options->var_count; i++)
        if (strcmp(options->vars[i].name, name) == 0) return true;
    return false;
}

/* The entry's own variables are known in it: those that the graph was not read with, with their first values. */
static const struct environment *entry_environment(struct section *section, const struct training_entry *entry) {
    struct reader *reader = section->reader;
    size_t most = entry->var_count + 1, count = 0;
    struct training_var *vars = reader_new(reader, most, sizeof *vars);
    if (!vars) return NULL;
    if (entry->foreach && entry->value_count && !given(section, entry->foreach))
        vars[count++] = (struct training_var){entry->foreach, entry->values[0]};
    for (size_t i = 0; i < entry->var_count && (!entry->foreach || entry->value_count); i++)
        if (!given(section, entry->vars[i].name)) vars[count++] = entry->vars[i];
    if (count == 0) return section->environment;
    const struct document *own = training_vars(reader, vars, count, entry->at);
    return own ? variables_new(reader, section->environment, NULL, own, NULL, NULL) : NULL;
}

/* What is in the entry beside its variables, put in. NULL after an error. */
static const struct document *entry_value(struct reader *reader, const struct environment *environment, const struct document *doc,
                                          const char *key) {
    const struct document *value = document_get(doc, key);
    value = value ? variables_put(reader, environment, value) : NULL;
    return value && !document_null(value) ? value : NULL;
}

static void read_validate(struct section *section, const struct document *doc, struct training_validate *validate, bool metrics_alone) {
    static const char *const keys[] = {"name", "data", "vars", "foreach", "every", "at", "metrics", "state", "doc", NULL};
    static const char *const states[] = {"copy", "read", "keep", NULL};
    struct reader *reader = section->reader;
    *validate = (struct training_validate){.name = "valid", .at = doc->at};
    if (!training_mapping(reader, doc, "'validate' is a mapping, or a list of them: {data: NAME, every: 200, metrics: {loss: loss}}"))
        return;
    bool right = reader_keys(reader, doc, keys, "'validate'");
    if (!training_entry_read(section, doc, &validate->entry)) return;
    const struct environment *environment = entry_environment(section, &validate->entry);
    if (!environment) return;
    const struct document *every = entry_value(reader, environment, doc, "every"), *at = entry_value(reader, environment, doc, "at");
    const struct document *data = entry_value(reader, environment, doc, "data"), *state = entry_value(reader, environment, doc, "state");
    const struct document *metrics = entry_value(reader, environment, doc, "metrics");
    training_text(reader, entry_value(reader, environment, doc, "name"), "name", &validate->name);
    const struct document *name = document_get(doc, "name");
    validate->name_varies = name && name->varies && validate->entry.foreach && strstr(name->text, validate->entry.foreach);
    const struct training_data *found = data ? training_data_find(section, data) : NULL;
    if (found) validate->data = found->name;
    training_int(reader, every, "every", 1, &validate->every);
    if (at) read_at(reader, at, validate);
    if (!at && !every) validate->at_end = true;
    if (state) {
        int32_t word = training_word(reader, state, "state", states);
        if (word >= 0) validate->state = word;
    }
    if (!document_get(doc, "metrics") && right) reader_fail(reader, doc->at, "'validate' needs 'metrics': what is measured");
    if (!metrics) return;
    /* In a graph of other variables names may be others: they count when the graph is read with them. */
    bool quiet = !metrics_alone && !training_entry_same(section, &validate->entry);
    reader->quiet += quiet;
    read_metrics(section, metrics, validate);
    reader->quiet -= quiet;
}

/* The entries as written: one, or a list, in which variables are not put in yet. */
static struct training_list written(struct section *section) {
    const struct document *value = NULL;
    struct training_list list = {NULL, 0};
    for (size_t i = section->depth; i-- > 0 && !value;) value = document_get(section->chain[i], "validate");
    if (value && value->kind == DOCUMENT_SCALAR && value->varies) value = variables_put(section->reader, section->environment, value);
    if (!value || document_null(value)) return list;
    const struct document **kept = reader_scratch(section->reader, 1, sizeof *kept);
    if (!kept) return list;
    *kept = value;
    return training_list(kept);
}

void training_validates(struct section *section) {
    struct training *made = section->made;
    struct training_list list = written(section);
    made->validates = reader_new(section->reader, list.count, sizeof *made->validates);
    for (size_t i = 0; made->validates && i < list.count && !section->reader->stopped; i++)
        read_validate(section, list.values[i], &made->validates[made->validate_count++], false);
}

void training_validate_check(struct section *section, size_t index, struct training_validate *validate) {
    struct training_list list = written(section);
    if (index < list.count) read_validate(section, list.values[index], validate, true);
}

/* ---- Early stop ---- */

/* A validation with `foreach` is called by its value: "name[value]", or as its name says. */
static bool metric_is(const struct training_validate *validate, const struct training_metric *metric, const char *name) {
    size_t length = strlen(validate->name), measured = strlen(metric->name), whole = strlen(name);
    if (whole <= measured || name[whole - measured - 1] != '.' || strcmp(name + whole - measured, metric->name) != 0) return false;
    if (validate->name_varies) return true;
    if (strncmp(name, validate->name, length) != 0) return false;
    return length == whole - measured - 1 || (validate->entry.foreach && name[length] == '[' && name[whole - measured - 2] == ']');
}

static void check_metric(struct section *section, const struct document *name) {
    struct reader *reader = section->reader;
    const struct training *made = section->made;
    struct hint hint;
    hint_init(reader, &hint, name->text);
    for (size_t v = 0; v < made->validate_count; v++)
        for (size_t m = 0; m < made->validates[v].metric_count; m++) {
            const struct training_validate *validate = &made->validates[v];
            if (metric_is(validate, &validate->metrics[m], name->text)) return;
            char *whole = reader_scratch(reader, strlen(validate->name) + strlen(validate->metrics[m].name) + 2, 1);
            if (!whole) return;
            strcat(strcat(strcpy(whole, validate->name), "."), validate->metrics[m].name);
            hint_offer(&hint, whole);
        }
    reader_fail(reader, name->at, "no 'validate' measures '%.100s'%s: a metric is named VALIDATE.METRIC, such as valid.loss", name->text,
                hint_text(&hint));
}

void training_early_stop(struct section *section) {
    static const char *const keys[] = {"metric", "best", "patience", "restore", NULL}, *const best[] = {"min", "max", NULL};
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *value = training_own(section, "early_stop");
    if (!value || !training_mapping(reader, value, "'early_stop' is a mapping, such as {metric: valid.loss, best: min, patience: 10}"))
        return;
    bool right = reader_keys(reader, value, keys, "'early_stop'");
    const struct document *metric = document_get(value, "metric"), *order = document_get(value, "best");
    made->early_stop.at = value->at;
    if (!metric && right) reader_fail(reader, value->at, "'early_stop' needs 'metric': VALIDATE.METRIC, such as valid.loss");
    if (!document_get(value, "patience") && right)
        reader_fail(reader, value->at, "'early_stop' needs 'patience': how many validations without a better value end the stage");
    if (training_text(reader, metric, "metric", &made->early_stop.metric) && metric) check_metric(section, metric);
    if (order) made->early_stop.largest = training_word(reader, order, "best", best) == 1;
    training_int(reader, document_get(value, "patience"), "patience", 1, &made->early_stop.patience);
    training_bool(reader, document_get(value, "restore"), "restore", &made->early_stop.restore);
}
