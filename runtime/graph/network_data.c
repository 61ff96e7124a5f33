/* SPDX-License-Identifier: Apache-2.0 */
/* `data`: sources, what every source may be told, what each one has of its own. */
#include "graph/network_training.h"

#include <string.h>

/* Keys of `with` that every source has, unless it has an attribute of that name itself. */
static const char *const common[] = {"batch", "shuffle", "keep_last", "split", "workers", "ahead", "rate", "seed", NULL};

const struct training_data *training_data_find(const struct section *section, const struct document *name) {
    const struct training *made = section->made;
    struct reader *reader = section->reader;
    struct hint hint;
    const char *text = NULL;
    if (!training_text(reader, name, "data", &text)) return NULL;
    for (size_t i = 0; i < made->data_count; i++)
        if (strcmp(made->datas[i].name, text) == 0) return &made->datas[i];
    hint_init(reader, &hint, text);
    for (size_t i = 0; i < made->data_count; i++) hint_offer(&hint, made->datas[i].name);
    reader_fail(reader, name->at, "no '%.100s' stands under 'data'%s", text, hint_text(&hint));
    return NULL;
}

/* ---- What all sources have ---- */

static bool own_attribute(const struct flow_source *source, const char *name) {
    for (uint32_t i = 0; i < source->attrs.count; i++)
        if (strcmp(source->attrs.at[i].name, name) == 0) return true;
    return false;
}

static const struct document *common_value(const struct training_data *data, const struct document *with, const char *key) {
    const struct document *value = document_get(with, key);
    return value && !document_null(value) && !own_attribute(data->source->source, key) ? value : NULL;
}

static void read_split(struct reader *reader, const struct document *split, struct training_data *data) {
    double from = 0, to = 0;
    bool pair = split->kind == DOCUMENT_LIST && split->count == 2 && document_real(split->values[0], &from) &&
                document_real(split->values[1], &to) && from >= 0 && from < to && to <= 1;
    if (pair) data->split_from = from, data->split_to = to;
    else reader_fail(reader, split->at, "'split' is a share of the rows, [from, to) between 0 and 1, such as [0, 0.9]");
}

static void read_small(struct reader *reader, const struct document *value, const char *key, int64_t most, int32_t *out) {
    int64_t number = *out;
    if (!training_int(reader, value, key, 0, &number)) return;
    if (number > most) reader_fail(reader, value->at, "'%s' is at most %lld, this is '%.60s'", key, (long long)most, value->text);
    else *out = (int32_t)number;
}

static void read_common(struct section *section, const struct document *with, struct training_data *data) {
    struct reader *reader = section->reader;
    const struct document *batch = common_value(data, with, "batch"), *shuffle = common_value(data, with, "shuffle");
    const struct document *split = common_value(data, with, "split"), *seed = common_value(data, with, "seed");
    int64_t number = 0;
    if (batch && batch->kind == DOCUMENT_SCALAR && strcmp(batch->text, "all") == 0) data->batch = -1;
    else training_int(reader, batch, "batch", 1, &data->batch);
    training_bool(reader, shuffle, "shuffle", &data->shuffle);
    training_bool(reader, common_value(data, with, "keep_last"), "keep_last", &data->keep_last);
    if (split) read_split(reader, split, data);
    read_small(reader, common_value(data, with, "workers"), "workers", 64, &data->workers);
    read_small(reader, common_value(data, with, "ahead"), "ahead", 1024, &data->ahead);
    training_real(reader, common_value(data, with, "rate"), "rate", 0, &data->rate);
    data->seeded = seed && training_int(reader, seed, "seed", 0, &number);
    data->seed = (uint64_t)number;
    if (data->shuffle && (data->source->source->flags & FLOW_SOURCE_ORDERED))
        reader_fail(reader, shuffle->at, "rows of the source '%s' follow each other in time: they cannot be shuffled",
                    data->source->source->name);
}

/* ---- {source: graph} ---- */

static void read_vars(struct section *section, const struct document *with, struct training_data *data) {
    struct reader *reader = section->reader;
    if (!with || !training_mapping(reader, with, "'with' is a mapping from variables of the graph to values")) return;
    data->vars = reader_new(reader, with->count, sizeof *data->vars);
    for (size_t i = 0; data->vars && i < with->count && !reader->stopped; i++) {
        const char *text = training_value_text(reader, with->values[i]);
        if (text) data->vars[data->var_count++] = (struct training_var){with->keys[i]->text, text};
    }
}

static void read_reuse(struct reader *reader, const struct document *reuse, struct training_data *data) {
    static const char *const keys[] = {"epochs", "batch", NULL};
    if (!training_mapping(reader, reuse, "'reuse' is a mapping: {epochs: 4, batch: 256}")) return;
    bool right = reader_keys(reader, reuse, keys, "'reuse'");
    for (size_t i = 0; i < 2; i++) {
        const struct document *value = document_get(reuse, keys[i]);
        if (!value && right) reader_fail(reader, reuse->at, "'reuse' needs '%s'", keys[i]);
        training_int(reader, value, keys[i], 1, i ? &data->reuse_batch : &data->reuse_epochs);
    }
}

static void read_renames(struct reader *reader, const struct document *rename, struct training_data *data) {
    if (!training_mapping(reader, rename, "'rename' is a mapping from parameters of that graph to the trainer's")) return;
    data->renames = reader_new(reader, rename->count, sizeof *data->renames);
    for (size_t i = 0; data->renames && i < rename->count; i++) {
        const char *to = NULL;
        if (training_text(reader, rename->values[i], "rename", &to))
            data->renames[data->rename_count++] = (struct network_rename){rename->keys[i]->text, to, rename->keys[i]->at};
    }
}

static void read_graph(struct section *section, const struct document *doc, struct training_data *data) {
    struct reader *reader = section->reader;
    const struct document *weights = document_get(doc, "weights"), *rename = document_get(doc, "rename");
    const struct document *reuse = document_get(doc, "reuse");
    if (!data->path) reader_fail(reader, data->at, "the source 'graph' needs 'path': the graph whose outputs are the batches");
    read_vars(section, document_get(doc, "with"), data);
    training_text(reader, weights, "weights", &data->weights);
    if (rename) read_renames(reader, rename, data);
    read_small(reader, document_get(doc, "lag"), "lag", 1, &data->lag);
    if (reuse) read_reuse(reader, reuse, data);
}

/* ---- Entries ---- */

static void read_source(struct section *section, const struct document *doc, const struct document *name, struct training_data *data) {
    static const char *const graph_alone[] = {"weights", "rename", "lag", "reuse"};
    struct reader *reader = section->reader;
    struct text why;
    for (size_t i = 0; i < sizeof graph_alone / sizeof *graph_alone; i++) {
        const struct document *value = document_get(doc, graph_alone[i]);
        if (value) reader_fail(reader, value->at, "'%s' is for `source: graph`, this is '%.100s'", graph_alone[i], name->text);
    }
    text_init(&why, reader->from);
    data->source = registry_source(reader->registry, name->text, &why);
    if (!data->source) training_missing(section, name->at, "source", name->text, &why);
    text_free(&why);
    if (!data->source) return;
    const struct flow_source *source = data->source->source;
    const struct document *with = document_get(doc, "with");
    data->attrs = training_attrs(reader, "source", source->name, &source->attrs, source->attrs_size, with, common, name->at);
    if (with && with->kind == DOCUMENT_MAPPING) read_common(section, with, data);
}

/* {input: output of the source} */
static void read_pairs(struct section *section, const struct document *feeds, struct training_data *data) {
    struct reader *reader = section->reader;
    if (!training_mapping(reader, feeds, "'feeds' is a mapping from inputs of the graph to outputs of the source")) return;
    data->feeds = reader_new(reader, feeds->count, sizeof *data->feeds);
    for (size_t i = 0; data->feeds && i < feeds->count && !reader->stopped; i++) {
        struct training_pair pair = {.at = feeds->keys[i]->at};
        bool named = training_text(reader, feeds->values[i], feeds->keys[i]->text, &pair.output);
        pair.input = training_input(section, feeds->keys[i], pair.at);
        if (named && pair.input >= 0) data->feeds[data->feed_count++] = pair;
    }
}

static const char *folder_of(struct reader *reader, const char *path) {
    const char *slash = strrchr(path, '/');
    size_t length = slash == path ? 1 : slash ? (size_t)(slash - path) : 1;
    char *folder = reader_new(reader, length + 1, 1);
    if (folder) memcpy(folder, slash ? path : ".", length);
    return folder;
}

static void read_data(struct section *section, const struct document *doc, struct training_data *data) {
    static const char *const keys[] = {"source", "path", "with", "feeds", "weights", "rename", "lag", "reuse", "doc", NULL};
    struct reader *reader = section->reader;
    if (!training_mapping(reader, doc, "an entry of 'data' is a mapping: {source: NAME, path: FILE, with: {..}, feeds: {..}}")) return;
    bool right = reader_keys(reader, doc, keys, "'data'");
    const struct document *source = document_get(doc, "source"), *path = document_get(doc, "path"), *feeds = document_get(doc, "feeds");
    const char *name = NULL;
    if (!source && right)
        reader_fail(reader, data->at, "data '%.100s' needs 'source': the name of one (`flowrun ops` lists them)", data->name);
    if (path) data->path_at = path->at;
    training_text(reader, path, "path", &data->path);
    if (source && training_text(reader, source, "source", &name)) {
        if (strcmp(name, "graph") == 0) read_graph(section, doc, data);
        else read_source(section, doc, source, data);
    }
    if (feeds && section->frame) read_pairs(section, feeds, data);
}

void training_datas(struct section *section, const struct document *value) {
    struct reader *reader = section->reader;
    struct training *made = section->made;
    if (document_null(value) || !training_mapping(reader, value, "'data' is a mapping from names to sources")) return;
    const char *base = folder_of(reader, section->source->path);
    made->datas = reader_new(reader, value->count, sizeof *made->datas);
    for (size_t i = 0; base && made->datas && i < value->count && !reader->stopped; i++) {
        const char *name = variables_key(reader, section->environment, value->keys[i]);
        const struct document *doc = variables_put(reader, section->environment, value->values[i]);
        if (!name) continue;
        struct training_data *data = &made->datas[made->data_count++];
        *data = (struct training_data){.name = name, .base = base, .batch = 1, .split_to = 1, .at = value->keys[i]->at};
        data->path_at = data->at;
        if (doc) read_data(section, doc, data);
    }
}
