/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: one safetensors file each, that appears whole or not at all. Parameters stand under their own names, so that any reader of
 * the format has the weights; what else training needs stands under names that begin with ~, numbers in the metadata. */
#include "train/stage.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_PREFIX "checkpoint-"

/* The folder: the caller's, else the graph's, relative to where the program runs. */
const char *checkpoint_dir(const struct trainer *trainer, const struct training *training) {
    if (trainer->options.unsaved) return NULL;
    return trainer->options.dir ? trainer->options.dir : training->checkpoint.dir;
}

/* ---- The copy that is written ---- */

static int add_tensor(struct snapshot *snapshot, const struct trainer *trainer, const struct flow_tensor *value, const char *name) {
    if (memory_grow(trainer->from, (void **)&snapshot->tensors, &snapshot->capacity, snapshot->count + 1, sizeof *snapshot->tensors) < 0)
        return FLOW_ERROR_MEMORY;
    struct flow_tensor *type = arena_copy(&snapshot->arena, value, sizeof *value);
    const char *copy = arena_text(&snapshot->arena, name);
    if (!type || !copy) return FLOW_ERROR_MEMORY;
    snapshot->tensors[snapshot->count++] = (struct tensor_write){copy, type};
    snapshot->bytes += size_align(stage_bytes(value), 64);
    return 0;
}

static int add_named(struct snapshot *snapshot, const struct trainer *trainer, const struct flow_tensor *value, const char *format,
                     size_t number, const char *kind, const char *name) {
    char text[1200];
    int length = snprintf(text, sizeof text, format, number, kind, name);
    return length < 0 || (size_t)length >= sizeof text ? FLOW_ERROR_RANGE : add_tensor(snapshot, trainer, value, text);
}

static int add_states(struct snapshot *snapshot, const struct trainer *trainer, const struct groups *groups) {
    int code = 0;
    for (size_t g = 0; g < groups->count; g++) {
        const struct group *group = &groups->at[g];
        for (uint32_t k = 0; k < group->states * group->count && code == 0; k++)
            if (group->state[k].rank >= 0)
                code = add_named(snapshot, trainer, &group->state[k], "~state.%zu.%s.%s", g,
                                 group->optimizer->states.at[k / group->count].name, group->names[k % group->count]);
    }
    return code;
}

static int add_feeds(struct snapshot *snapshot, const struct trainer *trainer, const struct context *context, const char *kind) {
    int code = 0;
    const char *name;
    for (size_t f = 0; f < context_feeds(context) && code == 0; f++) {
        const struct flow_tensor *value = context_feed(context, f, &name);
        if (value) code = add_named(snapshot, trainer, value, "~feed.%zu.%s.%s", f, kind, name);
    }
    return code;
}

static int add_batch(struct snapshot *snapshot, const struct trainer *trainer, const struct generator *generator) {
    int code = 0;
    for (size_t o = 0; o < generator_outputs(generator) && code == 0; o++) {
        const struct flow_tensor *whole = generator_whole(generator, o);
        if (whole) code = add_named(snapshot, trainer, whole, "~batch.%zu.%s%s", o, "", generator_name(generator, o));
    }
    return code;
}

static int add_best(struct snapshot *snapshot, const struct trainer *trainer, const struct stage *stage) {
    const struct instance *instance = program_instance(stage->program);
    int code = 0;
    for (size_t p = 0; stage->kept && p < instance->param_count && code == 0; p++)
        if (stage->kept[p].rank >= 0)
            code = add_named(snapshot, trainer, &stage->kept[p], "~best.%zu.%s%s", p, "", instance->values[instance->params[p]].name);
    return code;
}

static int add_samples(struct snapshot *snapshot, const struct trainer *trainer, const struct stage *stage) {
    int code = 0;
    for (size_t p = 0; stage->samples && p < program_instance(stage->program)->param_count && code == 0; p++) {
        struct flow_tensor all;
        const char *name;
        if (samples_tensor(stage, p, &all, &name)) code = add_named(snapshot, trainer, &all, "~samples.%zu.%s%s", p, "", name);
    }
    return code;
}

static const char *number_text(struct arena *arena, int64_t value) { return arena_format(arena, "%" PRId64, value); }

/* Which validation is looked at next. */
static int64_t validating(const struct trainer *trainer) {
    int64_t place = 0;
    for (const struct validation *v = trainer->now->validations; v && v != trainer->validating; v = v->next) place++;
    return place;
}

static int add_metadata(struct snapshot *snapshot, const struct trainer *trainer) {
    const struct stage *stage = trainer->now;
    struct arena *arena = &snapshot->arena;
    enum { KEYS = 16 };
    size_t at = 0;
    const char **list = arena_array(arena, 2 * KEYS + 2 * stage->groups->count + 1, sizeof *list);
    if (!list) return FLOW_ERROR_MEMORY;
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"flow.checkpoint", 1},
                   {"flow.stage", (int64_t)trainer->at},
                   {"flow.step", stage->step},
                   {"flow.total", trainer->total},
                   {"flow.runs", (int64_t)trainer->runs},
                   {"flow.batch", stage->feeding.number + 1},
                   {"flow.bad", stage->bad},
                   {"flow.stopped", stage->stopped},
                   {"flow.state", (int64_t)trainer->state},
                   {"flow.validating", validating(trainer)}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        list[at++] = numbers[i].key, list[at++] = number_text(arena, numbers[i].value);
    list[at++] = "flow.spent", list[at++] = arena_format(arena, "%.9g", stage->spent + trainer_clock() - stage->began);
    list[at++] = "flow.best", list[at++] = arena_format(arena, "%.17g", stage->best);
    list[at++] = "flow.graph", list[at++] = trainer->options.network->name ? trainer->options.network->name : "";
    for (size_t g = 0; g < stage->groups->count; g++)
        list[at++] = arena_format(arena, "flow.group.%zu", g), list[at++] = number_text(arena, stage->groups->at[g].steps);
    for (size_t i = 0; i < at; i++)
        if (!list[i]) return FLOW_ERROR_MEMORY;
    snapshot->metadata = list;
    return 0;
}

/* Tensors point at what is live: copied into one block, so that training may go on. */
static int copy_all(struct snapshot *snapshot, const struct trainer *trainer) {
    if (snapshot->room < snapshot->bytes) {
        memory_free(trainer->from, snapshot->memory, (size_t)snapshot->room);
        snapshot->room = 0;
        snapshot->memory = memory_new(trainer->from, (size_t)snapshot->bytes);
        if (!snapshot->memory) return FLOW_ERROR_MEMORY;
        snapshot->room = snapshot->bytes;
    }
    char *at = snapshot->memory;
    for (size_t i = 0; i < snapshot->count; i++) {
        struct flow_tensor *tensor = (struct flow_tensor *)snapshot->tensors[i].tensor;
        int64_t bytes = stage_bytes(tensor);
        if (tensor->device == FLOW_DEVICE_CPU && bytes) memcpy(at, tensor->data, (size_t)bytes);
        else if (device_get(trainer->options.device, at, tensor->data, bytes) < 0) return FLOW_ERROR_MEMORY;
        tensor->data = at, tensor->device = FLOW_DEVICE_CPU;
        at += size_align(bytes, 64);
    }
    return 0;
}

static int take(struct snapshot *snapshot, struct trainer *trainer) {
    struct stage *stage = trainer->now;
    arena_free(&snapshot->arena);
    arena_init(&snapshot->arena, trainer->from);
    snapshot->count = 0, snapshot->bytes = 64;
    const char *name;
    const struct flow_tensor *value;
    int code = 0;
    for (size_t i = 0; code == 0 && (value = model_at(trainer->options.model, i, &name)); i++)
        code = add_tensor(snapshot, trainer, value, name);
    if (code == 0) code = add_states(snapshot, trainer, stage->groups);
    if (code == 0) code = add_feeds(snapshot, trainer, program_context(stage->program), "train");
    if (code == 0 && stage->feeding.generator) code = add_feeds(snapshot, trainer, generator_context(stage->feeding.generator), "data");
    if (code == 0 && stage->feeding.generator) code = add_batch(snapshot, trainer, stage->feeding.generator);
    if (code == 0) code = add_best(snapshot, trainer, stage);
    if (code == 0) code = add_samples(snapshot, trainer, stage);
    if (code == 0) code = add_metadata(snapshot, trainer);
    return code == 0 ? copy_all(snapshot, trainer) : code;
}

/* ---- Writing ---- */

/* The folder and those above it. */
int checkpoint_folder(const char *path, struct report *report) {
    char text[4096];
    if (strlen(path) >= sizeof text)
        return report_add(report, FLOW_ERROR_IO, (struct position){0}, "'%.200s..': the path is too long", path);
    strcpy(text, path);
    for (char *c = text + 1;; c++) {
        if (*c && *c != '/') continue;
        char kept = *c;
        *c = 0;
        if (mkdir(text, 0777) < 0 && errno != EEXIST)
            return report_add(report, FLOW_ERROR_IO, (struct position){0}, "folder '%s' cannot be made: %s", text, strerror(errno));
        *c = kept;
        if (!kept) return 0;
    }
}

static int remember(struct trainer *trainer, const char *path) {
    size_t size = strlen(path) + 1;
    if (memory_grow(trainer->from, (void **)&trainer->written, &trainer->written_capacity, trainer->written_count + 1,
                    sizeof *trainer->written) < 0)
        return FLOW_ERROR_MEMORY;
    char *copy = memory_new(trainer->from, size);
    if (!copy) return FLOW_ERROR_MEMORY;
    memcpy(copy, path, size);
    trainer->written[trainer->written_count++] = copy;
    return 0;
}

static void forget(struct trainer *trainer, size_t index) {
    memory_free(trainer->from, trainer->written[index], strlen(trainer->written[index]) + 1);
    memmove(trainer->written + index, trainer->written + index + 1, (--trainer->written_count - index) * sizeof *trainer->written);
}

void checkpoint_forget(struct trainer *trainer) {
    while (trainer->written_count) forget(trainer, trainer->written_count - 1);
    memory_free(trainer->from, trainer->written, trainer->written_capacity * sizeof *trainer->written);
    trainer->written = NULL, trainer->written_capacity = 0;
}

static bool ends_in(const char *name, const char *end) {
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

struct folder {
    struct folder *next;
    const char *path;
};

static bool lies_in(const char *path, const char *dir) {
    size_t length = strlen(dir);
    return strncmp(path, dir, length) == 0 && path[length] == '/' && !strchr(path + length + 1, '/');
}

/* Training starts anew where another has been: its checkpoints are kept under names that are not resumed from. */
static int put_aside(const char *dir, struct report *report) {
    DIR *folder = opendir(dir);
    int code = 0;
    for (struct dirent *entry; folder && code == 0 && (entry = readdir(folder));) {
        char from[4096], to[4096];
        if (strncmp(entry->d_name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0 || !ends_in(entry->d_name, ".safetensors")) continue;
        snprintf(from, sizeof from, "%.3000s/%.1000s", dir, entry->d_name);
        snprintf(to, sizeof to, "%.3000s/previous-%.1000s", dir, entry->d_name);
        if (rename(from, to) < 0)
            code = report_add(report, FLOW_ERROR_IO, (struct position){0}, "'%s' cannot be put aside: %s", from, strerror(errno));
    }
    if (folder) closedir(folder);
    return code;
}

/* The first checkpoint in a folder. A stage may have one of its own: then what earlier stages wrote in theirs stays. */
static int begin_folder(struct trainer *trainer, const char *dir, struct report *report) {
    if (trainer->written_count && !lies_in(trainer->written[trainer->written_count - 1], dir)) checkpoint_forget(trainer);
    for (const struct folder *f = trainer->begun; f; f = f->next)
        if (strcmp(f->path, dir) == 0) return 0;
    struct folder *made = arena_new(&trainer->arena, sizeof *made);
    if (!made || !(made->path = arena_text(&trainer->arena, dir))) return report_memory(report);
    made->next = trainer->begun, trainer->begun = made;
    int code = checkpoint_folder(dir, report);
    return code == 0 && !trainer->options.resume ? put_aside(dir, report) : code;
}

int checkpoint_write(struct trainer *trainer, struct report *report) {
    struct stage *stage = trainer->now;
    const char *dir = checkpoint_dir(trainer, stage->training);
    int64_t keep = stage->training->checkpoint.keep > 0 ? stage->training->checkpoint.keep : 1;
    struct snapshot *snapshot = &trainer->snapshots[trainer->snapshot];
    if (!trainer->behind && behind_new(trainer->options.loop, &trainer->behind) < 0) return report_memory(report);
    int code = begin_folder(trainer, dir, report);
    if (code < 0) return code;
    int length = snprintf(snapshot->path, sizeof snapshot->path, "%s/" NAME_PREFIX "%09" PRId64 ".safetensors", dir, trainer->total);
    if (length < 0 || (size_t)length >= sizeof snapshot->path)
        return report_add(report, FLOW_ERROR_IO, (struct position){0}, "'%.200s..': the path is too long", dir);
    if (take(snapshot, trainer) < 0) return report_memory(report);
    bool again = trainer->written_count && strcmp(trainer->written[trainer->written_count - 1], snapshot->path) == 0;
    if (!again && remember(trainer, snapshot->path) < 0) return report_memory(report);
    /* A whole one stands until the new one is whole. */
    for (; (int64_t)trainer->written_count > keep + 1; forget(trainer, 0)) unlink(trainer->written[0]);
    bool full = (int64_t)trainer->written_count > keep;
    if (full) {
        snprintf(snapshot->remove, sizeof snapshot->remove, "%s", trainer->written[0]);
        forget(trainer, 0);
    }
    trainer->snapshot = 1 - trainer->snapshot;
    snprintf(trainer->name, sizeof trainer->name, "%s", snapshot->path);
    return behind_start(trainer->behind, snapshot->path, snapshot->tensors, snapshot->count, snapshot->metadata,
                        full ? snapshot->remove : NULL, report);
}

/* ---- Reading ---- */

int64_t checkpoint_number(const struct tensor_file *file, const char *key, int64_t otherwise) {
    const char *text = tensor_file_metadata(file, key);
    char *end;
    if (!text) return otherwise;
    long long value = strtoll(text, &end, 10);
    return *end || end == text ? otherwise : value;
}

static double real_of(const struct tensor_file *file, const char *key, double otherwise) {
    const char *text = tensor_file_metadata(file, key);
    return text ? strtod(text, NULL) : otherwise;
}

static int by_number(const void *a, const void *b) {
    const char *left = strrchr(*(const char *const *)a, '/'), *right = strrchr(*(const char *const *)b, '/');
    return strcmp(left, right);
}

/* Paths of checkpoints in the folder, oldest first (their numbers have one width). What a write that was killed left behind goes. */
static int list_files(struct trainer *trainer, const char *dir, struct report *report) {
    DIR *folder = opendir(dir);
    if (!folder && errno == ENOENT) return 0;
    if (!folder) return report_add(report, FLOW_ERROR_IO, (struct position){0}, "folder '%s' cannot be read: %s", dir, strerror(errno));
    int code = 0;
    for (struct dirent *entry; code == 0 && (entry = readdir(folder));) {
        if (strncmp(entry->d_name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0) continue;
        char path[4096];
        snprintf(path, sizeof path, "%.3000s/%.1000s", dir, entry->d_name);
        if (ends_in(entry->d_name, ".part")) unlink(path);
        if (!ends_in(entry->d_name, ".safetensors")) continue;
        if (remember(trainer, path) < 0) code = report_memory(report);
    }
    closedir(folder);
    if (trainer->written_count > 1) qsort(trainer->written, trainer->written_count, sizeof *trainer->written, by_number);
    return code;
}

static int fill(struct device *device, const struct tensor_file *file, const struct flow_tensor *to, const struct flow_tensor *from,
                const char *what, struct report *report) {
    if (!from || stage_bytes(from) != stage_bytes(to) || from->dtype != to->dtype)
        return report_add(report, FLOW_ERROR_FORMAT, (struct position){file->path, 0, 0}, "the checkpoint %s for '%s'",
                          from ? "has another shape" : "has nothing", what);
    if (to->device == FLOW_DEVICE_CPU) {
        if (stage_bytes(to)) memcpy(to->data, from->data, (size_t)stage_bytes(to));
    } else if (device_put(device, to->data, from->data, stage_bytes(to)) < 0) return report_memory(report);
    return 0;
}

/* Where the graph has trained or run before, the parameter has a value already. */
static int take_parameter(struct model *model, const struct tensor_file *file, const struct tensor_entry *entry, struct report *report) {
    int code = model_set(model, entry->name, &entry->tensor, false);
    if (code != FLOW_ERROR_USAGE) return code < 0 ? report_memory(report) : 0;
    return fill(model_device(model), file, model_get(model, entry->name), &entry->tensor, entry->name, report);
}

/* Of the newest one's folder alone. */
static void keep_folder(struct trainer *trainer) {
    const char *newest = trainer->written[trainer->written_count - 1];
    size_t length = (size_t)(strrchr(newest, '/') - newest);
    for (size_t i = trainer->written_count; i-- > 0;) {
        const char *slash = strrchr(trainer->written[i], '/');
        if ((size_t)(slash - trainer->written[i]) != length || strncmp(trainer->written[i], newest, length) != 0) forget(trainer, i);
    }
}

/* All that lie in the folders of the stages. */
static int list_all(struct trainer *trainer, struct report *report) {
    if (trainer->options.dir) return list_files(trainer, trainer->options.dir, report);
    struct arena scratch;
    arena_init(&scratch, trainer->from);
    struct map seen;
    map_init(&seen, &scratch);
    int code = 0;
    size_t folders = 0;
    for (size_t l = 0; l < trainer->leaf_count && code == 0; l++) {
        struct network *network;
        int64_t at;
        code = stages_read(trainer, &trainer->leaves[l], NULL, 0, report, &network);
        const char *dir = code == 0 ? network->training->checkpoint.dir : NULL;
        if (dir && !map_get(&seen, dir, &at)) {
            const char *kept = arena_text(&scratch, dir);
            code = !kept || map_set(&seen, kept, 1) < 0 ? report_memory(report) : list_files(trainer, dir, report);
            folders++;
        }
        network_free(network);
    }
    if (code == 0 && !folders)
        code = report_add(report, FLOW_ERROR_USAGE, (struct position){trainer->options.reading.path, 0, 0},
                          "there is nothing to resume from: `train` has no `checkpoint: {dir: ..}`");
    arena_free(&scratch);
    return code;
}

int checkpoint_open(struct trainer *trainer, bool *found, struct report *report) {
    *found = false;
    int code = list_all(trainer, report);
    /* A file that is damaged (by whatever came after it was whole) gives way to the one before. */
    for (size_t i = trainer->written_count; code == 0 && i-- > 0;) {
        struct report quiet;
        report_init(&quiet, trainer->from);
        struct tensor_file *file = NULL;
        int opened = tensor_file_open(trainer->from, trainer->written[i], &quiet, &file);
        bool right = opened == 0 && checkpoint_number(file, "flow.checkpoint", 0) == 1;
        if (opened == 0 && !right) tensor_file_close(file);
        if (!right && i == 0 && opened < 0)
            for (const struct report_message *m = quiet.first; m; m = m->next) code = report_add(report, m->code, m->at, "%s", m->text);
        report_free(&quiet);
        if (!right) continue;
        trainer->resumed = file, *found = true;
        while (trainer->written_count > i + 1) forget(trainer, i + 1); /* damaged: they will be written over */
        keep_folder(trainer);
        break;
    }
    for (size_t t = 0; code == 0 && *found && t < trainer->resumed->count; t++) {
        const struct tensor_entry *entry = &trainer->resumed->entries[t];
        if (entry->name[0] == '~') continue;
        code = take_parameter(trainer->options.model, trainer->resumed, entry, report);
    }
    return code;
}

static const struct flow_tensor *find(const struct tensor_file *file, const char *format, size_t number, const char *kind,
                                      const char *name) {
    char text[1200];
    int length = snprintf(text, sizeof text, format, number, kind, name);
    return length < 0 || (size_t)length >= sizeof text ? NULL : tensor_file_get(file, text);
}

/* Parameters that the graph has and the checkpoint has not: another graph's. All of them are told. */
static int compare(const struct stage *stage, const struct tensor_file *file, struct report *report) {
    const struct instance *instance = program_instance(stage->program);
    int code = 0;
    for (size_t p = 0; p < instance->param_count; p++) {
        const char *name = instance->values[instance->params[p]].name;
        if (!tensor_file_get(file, name))
            code = report_add(report, FLOW_ERROR_FORMAT, (struct position){file->path, 0, 0},
                              "the checkpoint is of another graph: it has no parameter '%s'", name);
    }
    for (size_t t = 0; t < file->count && code < 0; t++) {
        bool known = file->entries[t].name[0] == '~';
        for (size_t p = 0; p < instance->param_count && !known; p++)
            known = strcmp(instance->values[instance->params[p]].name, file->entries[t].name) == 0;
        if (!known)
            report_add(report, FLOW_ERROR_FORMAT, (struct position){file->path, 0, 0}, "it has a parameter '%s' that the graph has not",
                       file->entries[t].name);
    }
    return code;
}

static int restore_groups(struct stage *stage, const struct tensor_file *file, struct report *report) {
    int code = 0;
    for (size_t g = 0; g < stage->groups->count; g++) {
        struct group *group = &stage->groups->at[g];
        char key[64];
        snprintf(key, sizeof key, "flow.group.%zu", g);
        group->steps = checkpoint_number(file, key, 0);
        for (uint32_t k = 0; k < group->states * group->count && code == 0; k++) {
            if (group->state[k].rank < 0) continue;
            const char *name = group->names[k % group->count];
            code = fill(stage->groups->device, file, &group->state[k],
                        find(file, "~state.%zu.%s.%s", g, group->optimizer->states.at[k / group->count].name, name), name, report);
        }
    }
    return code;
}

static void restore_feeds(struct context *context, const struct tensor_file *file, const char *kind) {
    for (size_t f = 0; f < context_feeds(context); f++) {
        const char *name = context_feed_name(context, f);
        const struct flow_tensor *value = name ? find(file, "~feed.%zu.%s.%s", f, kind, name) : NULL;
        if (value) (void)!context_set_feed(context, f, value);
    }
}

int checkpoint_restore(struct trainer *trainer, struct stage *stage, struct report *report) {
    const struct tensor_file *file = trainer->resumed;
    const struct instance *instance = program_instance(stage->program);
    int code = compare(stage, file, report);
    if (code == 0) code = restore_groups(stage, file, report);
    if (code < 0) return code;
    stage->step = checkpoint_number(file, "flow.step", 0);
    stage->bad = checkpoint_number(file, "flow.bad", 0);
    stage->best = real_of(file, "flow.best", NAN), stage->spent = real_of(file, "flow.spent", 0);
    restore_feeds(program_context(stage->program), file, "train");
    struct generator *generator = stage->feeding.generator;
    if (generator) restore_feeds(generator_context(generator), file, "data");
    for (size_t o = 0; generator && o < generator_outputs(generator) && code == 0; o++) {
        const struct flow_tensor *whole = find(file, "~batch.%zu.%s%s", o, "", generator_name(generator, o));
        if (whole) code = generator_restore(generator, o, whole, report);
    }
    if (code < 0) return code;
    if ((code = samples_restore(stage, file, report)) < 0) return code;
    bool best = false;
    for (size_t t = 0; t < file->count; t++) best = best || strncmp(file->entries[t].name, "~best.", 6) == 0;
    if (best) code = stage_keep_best(stage, report);
    for (size_t p = 0; best && p < instance->param_count && code == 0; p++) {
        const char *name = instance->values[instance->params[p]].name;
        code = fill(trainer->options.device, file, &stage->kept[p], find(file, "~best.%zu.%s%s", p, "", name), name, report);
    }
    return code;
}
