/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/network.h"

#include "graph/network_private.h"
#include "graph/network_training.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- Files of subgraphs ---- */

/* `name` beside the file `from`, unless it is absolute. */
static char *beside(struct reader *reader, const char *from, const char *name) {
    const char *slash = strrchr(from, '/');
    size_t folder = *name == '/' || !slash ? 0 : (size_t)(slash - from) + 1, length = strlen(name);
    char *path = reader_new(reader, folder + length + 1, 1);
    if (!path) return NULL;
    memcpy(path, from, folder);
    memcpy(path + folder, name, length);
    return path;
}

static struct source *read_source(struct reader *reader, const struct document *file, const char *path) {
    struct stat about;
    if (reader->source_count >= FILES_MOST) {
        reader_fail(reader, file->at, "subgraphs come from more than %d files", FILES_MOST);
        return NULL;
    }
    /* Regular files alone: opening a pipe would wait for ever. */
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode)) {
        reader_fail_as(reader, FLOW_ERROR_IO, file->at, "the subgraph's file '%.300s' cannot be found", path);
        return NULL;
    }
    if (!reader_spend(reader, file->at, about.st_size / 16)) return NULL;
    const struct document *root = document_read(reader->arena, path, NULL, 0, reader->report);
    if (reader->report->incomplete) reader_memory(reader);
    return root ? reader_source(reader, path, root) : NULL;
}

struct source *reader_file(struct reader *reader, const struct definition *definition) {
    const struct document *file = document_get(definition->body, "file");
    int64_t index;
    if (file->kind != DOCUMENT_SCALAR || !*file->text || file->varies) {
        reader_fail(reader, file->at, "'file' is the path of a graph file, without variables");
        return NULL;
    }
    char *path = beside(reader, definition->source->path, file->text);
    if (!path) return NULL;
    if (map_get(&reader->files, path, &index)) return reader->sources[index];
    const char *node = reader->node;
    reader->node = NULL;
    struct source *source = read_source(reader, file, path);
    reader->node = node;
    if (!reader_grow(reader, (void **)&reader->sources, &reader->source_capacity, reader->source_count + 1, sizeof(void *))) return NULL;
    reader->sources[reader->source_count] = source;
    return reader_set(reader, &reader->files, path, (int64_t)reader->source_count++) ? source : NULL;
}

/* ---- Sections of the file ---- */

static const char *file_text(struct reader *reader, const struct environment *environment, const struct document *root, const char *key) {
    const struct document *value = document_get(root, key);
    return value ? variables_text(reader, environment, value, "a text") : NULL;
}

static void read_renames(struct reader *reader, struct network *network, const struct document *rename) {
    if (rename->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, rename->at, "'rename' is a mapping from names in the file to names in the graph");
        return;
    }
    network->renames = reader_new(reader, rename->count, sizeof *network->renames);
    for (size_t i = 0; network->renames && i < rename->count; i++) {
        const struct document *to = rename->values[i];
        if (to->kind != DOCUMENT_SCALAR) reader_fail(reader, to->at, "a name, or a pattern with '*', is expected here");
        else network->renames[network->rename_count++] = (struct network_rename){rename->keys[i]->text, to->text, rename->keys[i]->at};
    }
}

static void read_weights(struct reader *reader, const struct environment *environment, struct network *network,
                         const struct document *weights) {
    static const char *const keys[] = {"file", "rename", NULL};
    const struct document *made = variables_put(reader, environment, weights);
    if (!made || document_null(made)) return;
    network->weights_at = made->at;
    if (made->kind == DOCUMENT_SCALAR) {
        network->weights = made->text;
        return;
    }
    const struct document *file = document_get(made, "file"), *rename = document_get(made, "rename");
    if (made->kind != DOCUMENT_MAPPING || !file || file->kind != DOCUMENT_SCALAR) {
        reader_fail(reader, made->at, "'weights' is a path, or {file: PATH, rename: {..}}");
        return;
    }
    reader_keys(reader, made, keys, "'weights'");
    network->weights = file->text, network->weights_at = file->at;
    if (rename) read_renames(reader, network, rename);
}

static void read_seed(struct reader *reader, const struct environment *environment, struct network *network, const struct document *seed) {
    const struct document *made = variables_put(reader, environment, seed);
    int64_t number = 0;
    if (!made) return;
    if (!document_int(made, &number) || number < 0) reader_fail(reader, made->at, "'seed' is an integer, at least 0");
    network->seed = (uint64_t)number;
}

static void read_run(struct reader *reader, const struct environment *environment, struct network *network, const struct document *run) {
    const struct document *made = variables_put(reader, environment, run);
    if (!made || document_null(made)) return;
    if (made->kind != DOCUMENT_MAPPING) {
        reader_fail(reader, made->at, "'run' is a mapping, such as {device: cpu, threads: 2}");
        return;
    }
    network->run = reader_new(reader, made->count, sizeof *network->run);
    for (size_t i = 0; network->run && i < made->count; i++)
        network->run[network->run_count++] = (struct network_run){made->keys[i]->text, made->values[i]};
}

static void read_sections(struct reader *reader, const struct environment *environment, struct network *network,
                          const struct document *root) {
    const struct document *doc = document_get(root, "doc"), *weights = document_get(root, "weights"), *seed = document_get(root, "seed");
    const struct document *run = document_get(root, "run"), *vars = document_get(root, "vars");
    network->vars = vars && vars->kind == DOCUMENT_MAPPING ? vars : NULL;
    network->name = file_text(reader, environment, root, "name");
    network->doc = doc && doc->kind == DOCUMENT_SCALAR ? doc->text : NULL;
    if (weights) read_weights(reader, environment, network, weights);
    if (seed) read_seed(reader, environment, network, seed);
    if (run) read_run(reader, environment, network, run);
}

/* ---- The passes ---- */

static struct frame *expand_file(struct reader *reader, struct unit *unit, struct source *source, const struct network_options *options) {
    struct frame *frame = reader_scratch(reader, 1, sizeof *frame);
    const struct environment *environment = training_environment(reader, source, options);
    if (!frame || !environment) return NULL;
    *frame =
        (struct frame){.unit = unit, .definition = source->self, .environment = environment, .file_environment = environment, .root = true};
    frame->at = source->root->at;
    source->self->open = true;
    bool right = expand_frame(reader, frame);
    source->self->open = false;
    if (right) read_sections(reader, environment, unit->network, source->root);
    return right && !reader->stopped ? frame : NULL;
}

static void resolve(struct reader *reader, struct unit *from) {
    reader->pass = from;
    for (struct unit *unit = from; unit; unit = unit->next)
        for (size_t i = 0; i < unit->frame_count && !reader->stopped; i++) resolve_frame(reader, unit->frames[i]);
    if (!reader->stopped) resolve_ties(reader);
}

static void order(struct reader *reader, struct unit *from) {
    for (struct unit *unit = from; unit && !reader->stopped; unit = unit->next)
        if (unit->frame_count && !order_unit(reader, unit)) reader->unsound = true;
}

struct frame *reader_again(struct reader *reader, struct source *source, const struct network_options *options) {
    struct unit *unit = expand_unit(reader);
    if (!unit) return NULL;
    unit->network->path = source->path;
    reader->tie_count = 0;
    struct frame *frame = expand_file(reader, unit, source, options);
    if (frame) resolve(reader, unit);
    if (frame) order(reader, unit);
    return reader->stopped ? NULL : frame;
}

/* `train` and `data`: for the stage that is asked for, or for none; then all stages are looked through. */
static void read_training(struct reader *reader, struct source *source, struct frame *file, struct network *network,
                          const struct network_options *options) {
    struct training unused = {0};
    bool stage = options && (options->stage_depth || options->var_count);
    reader->training = stage ? NULL : &unused;
    network->training = training_read(reader, source, file, file->environment, options);
    if (stage || !network->training) return;
    network->training->missing = unused.missing;
    reader->training = network->training;
    if (!reader->stopped) training_check(reader, source, file, network->training, options);
}

/* A subgraph that nothing uses is looked at once, with its variables' defaults: a file may be a library. */
/* A subgraph by itself, with its variables' defaults. */
static struct frame *expand_alone(struct reader *reader, struct frame *file, struct definition *definition, struct unit *unit) {
    const struct document *zero = variables_number(reader, 0, definition->at);
    struct frame *frame = reader_scratch(reader, 1, sizeof *frame);
    const struct document *vars = document_get(definition->body, "vars");
    struct environment *environment = variables_new(reader, file->environment, zero, vars, NULL, definition->name);
    if (!frame || !environment) return NULL;
    *frame = (struct frame){.unit = unit,
                            .definition = definition,
                            .environment = environment,
                            .root = true,
                            .file_environment = file->environment,
                            .path = definition->name,
                            .param_path = definition->name};
    definition->open = true;
    bool right = expand_frame(reader, frame);
    definition->open = false;
    reader->tie_count = 0;
    return right ? frame : NULL;
}

/* network_options.graph */
static void read_graph(struct reader *reader, struct frame *file, struct source *source, struct network *network, const char *name) {
    int64_t index;
    struct unit *unit = map_get(&source->graphs, name, &index) ? expand_unit(reader) : NULL;
    struct definition *definition = unit ? &source->definitions[index] : NULL;
    if (!unit || definition->broken || document_get(definition->body, "file")) {
        reader_fail(reader, source->root->at, "no subgraph '%.100s' is written under 'graphs' of this file", name);
        reader->unsound = true;
        return;
    }
    unit->network = network;
    network->path = source->path, network->name = definition->name;
    if (!expand_alone(reader, file, definition, unit)) reader->unsound = true;
    else resolve(reader, unit), order(reader, unit);
}

static void check_unused(struct reader *reader, struct frame *file, struct source *source) {
    for (size_t i = 0; i < source->definition_count && !reader->stopped; i++) {
        struct definition *definition = &source->definitions[i];
        if (definition->used || definition->broken || document_get(definition->body, "file")) continue;
        struct unit *unit = expand_unit(reader);
        if (!unit || !expand_alone(reader, file, definition, unit)) continue;
        resolve(reader, unit);
        order(reader, unit);
    }
}

static void read(struct reader *reader, struct network *network, const char *path, const char *text, size_t length,
                 const struct network_options *options) {
    const struct document *root = document_read(reader->arena, path, text, length, reader->report);
    if (!root) {
        reader->unsound = true;
        return;
    }
    struct source *source = reader_source(reader, root->at.file, root);
    struct unit *unit = source ? expand_unit(reader) : NULL;
    reader->unsound = !unit;
    if (!unit) return;
    const char *graph = options ? options->graph : NULL;
    if (!graph) unit->network = network;
    unit->network->path = root->at.file;
    struct frame *file = expand_file(reader, unit, source, options);
    if (!file) reader->unsound = true;
    if (!file || reader->stopped) return;
    resolve(reader, unit);
    order(reader, unit);
    if (graph) {
        if (!reader->stopped) read_graph(reader, file, source, network, graph);
        return;
    }
    if (!reader->stopped) read_training(reader, source, file, network, options);
    bool unsound = reader->unsound;
    if (!reader->stopped) check_unused(reader, file, source);
    if (!reader->stopped && !unsound && unit->final) unused_write(reader, source, file, network);
    reader->unsound = unsound;
}

static void reader_free(struct reader *reader) {
    for (struct unit *unit = reader->units; unit; unit = unit->next) {
        memory_free(reader->from, unit->drafts, unit->capacity * sizeof *unit->drafts);
        memory_free(reader->from, unit->frames, unit->frame_capacity * sizeof *unit->frames);
    }
    memory_free(reader->from, reader->entries, reader->entry_capacity * sizeof *reader->entries);
    memory_free(reader->from, reader->sources, reader->source_capacity * sizeof *reader->sources);
    memory_free(reader->from, reader->ties, reader->tie_capacity * sizeof *reader->ties);
    arena_free(&reader->scratch);
}

int network_read(const struct allocator *from, struct registry *registry, const char *path, const char *text, size_t length,
                 const struct network_options *options, struct report *report, struct network **out) {
    *out = NULL;
    struct network *network = memory_new(from, sizeof *network);
    if (!network) return report_memory(report);
    arena_init(&network->arena, from);
    struct reader reader = {.from = from, .arena = &network->arena, .registry = registry, .report = report, .errors = report->count};
    reader.keep = &network->arena;
    arena_init(&reader.scratch, from);
    map_init(&reader.told, &reader.scratch);
    map_init(&reader.operators, &reader.scratch);
    map_init(&reader.files, &reader.scratch);
    map_init(&reader.used, &reader.scratch);
    reader.units_end = &reader.units;
    read(&reader, network, path, text, length, options);
    for (struct unit *unit = reader.units; unit; unit = unit->next) unit->network->segment_count = reader.segments;
    reader_free(&reader);
    bool failed = report->count != reader.errors;
    int code = report->incomplete ? FLOW_ERROR_MEMORY : failed ? report_code(report) : FLOW_OK;
    if (code >= 0) code = reader.unsound || reader.stopped ? FLOW_ERROR_INTERNAL : FLOW_OK;
    if (reader.unsound || reader.stopped || report->incomplete) network_free(network);
    else *out = network;
    return code;
}

void network_free(struct network *network) {
    if (!network) return;
    struct arena arena = network->arena;
    arena_free(&arena);
    memory_free(arena.from, network, sizeof *network);
}
