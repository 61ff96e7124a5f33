/* SPDX-License-Identifier: Apache-2.0 */
/* Which plugins there are: the folders that are searched, the files in them, and what the index says they offer. */
#include "plugin/scan.h"

#include "plugin/builtin.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void registry_forget(struct registry *registry) {
    for (enum offer_kind kind = 0; kind < OFFER_KINDS; kind++) map_init(&registry->kinds[kind].found, &registry->arena);
}

/* ---- Folders -------------------------------------------------------------------------------------------------- */

static int folder_add(struct registry *registry, size_t place, const char *path, bool named) {
    char whole[PATH_MAX];
    const char *known = realpath(path, whole) ? whole : path;
    for (size_t i = 0; i < registry->folder_count; i++)
        if (strcmp(registry->folders[i].path, known) == 0) return FLOW_OK;
    if (memory_grow(registry->from, (void **)&registry->folders, &registry->folder_room, registry->folder_count + 1,
                    sizeof *registry->folders) < 0)
        return FLOW_ERROR_MEMORY;
    char *copy = arena_text(&registry->arena, known);
    if (!copy) return FLOW_ERROR_MEMORY;
    struct folder *at = registry->folders + place;
    memmove(at + 1, at, (registry->folder_count - place) * sizeof *at);
    *at = (struct folder){.path = copy, .named = named};
    registry->folder_count++;
    if (place <= registry->installed) registry->installed++;
    registry->scanned = false;
    return FLOW_OK;
}

/* Folders with ':' between them, each added at the end. */
static int folders_add(struct registry *registry, const char *list, bool named) {
    while (list && *list) {
        char path[PATH_MAX];
        const size_t length = strcspn(list, ":");
        if (length > 0 && length < sizeof path) {
            memcpy(path, list, length);
            path[length] = 0;
            if (folder_add(registry, registry->folder_count, path, named) < 0) return FLOW_ERROR_MEMORY;
        }
        list += length + (list[length] == ':');
    }
    return FLOW_OK;
}

int registry_folders_init(struct registry *registry, const struct registry_options *options) {
    if ((registry->only = options->only)) return folders_add(registry, options->path, true);
    char *installed = options->installed ? NULL : plugin_folder_installed(&registry->arena);
    if (!options->installed && !installed) return FLOW_ERROR_MEMORY;
    int status = folders_add(registry, options->path, true);
    if (status == FLOW_OK) status = folders_add(registry, secure_getenv("FLOW_PLUGIN_PATH"), true);
    if (status == FLOW_OK) {
        const size_t named = registry->folder_count;
        status = folders_add(registry, options->installed ? options->installed : installed, false);
        registry->installed = named;
    }
    return status;
}

int registry_beside(struct registry *registry, const char *graph_path) {
    char path[PATH_MAX];
    const char *slash = strrchr(graph_path, '/');
    const int folder = slash ? (int)(slash - graph_path) + 1 : 0;
    struct stat about;
    if (registry->only) return FLOW_OK;
    if (snprintf(path, sizeof path, "%.*splugins", folder, graph_path) >= (int)sizeof path) return FLOW_OK;
    if (stat(path, &about) < 0 || !S_ISDIR(about.st_mode)) return FLOW_OK;
    pthread_mutex_lock(&registry->lock);
    int status = folder_add(registry, registry->installed, path, false);
    if (!registry->scanned) registry_forget(registry);
    pthread_mutex_unlock(&registry->lock);
    return status;
}

/* ---- Sources -------------------------------------------------------------------------------------------------- */

static struct source *source_add(struct registry *registry, const char *path) {
    if (memory_grow(registry->from, (void **)&registry->sources, &registry->source_room, registry->source_count + 1,
                    sizeof *registry->sources) < 0)
        return NULL;
    struct source *source = memory_new(registry->from, sizeof *source);
    if (!source) return NULL;
    arena_init(&source->arena, registry->from);
    source->state = SOURCE_FAILED;
    source->path = path ? arena_text(&registry->arena, path) : NULL;
    if (path && !source->path) {
        memory_free(registry->from, source, sizeof *source);
        return NULL;
    }
    registry->sources[registry->source_count++] = source;
    return source;
}

int registry_builtin_add(struct registry *registry, flow_entry_function entry) {
    struct source *source = source_add(registry, NULL);
    if (!source) return FLOW_ERROR_MEMORY;
    struct text why;
    text_init(&why, registry->from);
    source->plugin = entry();
    int status = plugin_source_tables(source, &why);
    if (status == FLOW_OK) source->state = SOURCE_BUILTIN;
    else if (status == FLOW_ERROR_PLUGIN) {
        source->offer = (struct offer){0};
        source->failure = why.failed ? NULL : arena_text(&source->arena, why.at);
        status = source->failure ? FLOW_OK : FLOW_ERROR_MEMORY;
    }
    text_free(&why);
    return status;
}

/* Of all names, so that a difference is seen when the old ones are gone. */
static uint64_t offer_hash(const struct offer *offer) {
    uint64_t hash = 0;
    for (enum offer_kind kind = 0; kind < OFFER_LISTS; kind++) {
        hash = (hash ^ offer->of[kind].count) * 0x100000001B3u;
        for (uint32_t i = 0; i < offer->of[kind].count; i++)
            for (const char *c = offer->of[kind].at[i];; c++) {
                hash = (hash ^ (uint8_t)*c) * 0x100000001B3u;
                if (!*c) break;
            }
    }
    return hash;
}

static bool lists_equal(const struct offer_list *a, const struct offer_list *b) {
    if (a->count != b->count) return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (strcmp(a->at[i], b->at[i]) != 0) return false;
    return true;
}

static bool offers_equal(const struct offer *a, const struct offer *b) {
    bool equal = strcmp(a->plugin, b->plugin) == 0;
    for (enum offer_kind kind = 0; equal && kind < OFFER_LISTS; kind++) equal = lists_equal(&a->of[kind], &b->of[kind]);
    return equal;
}

/* A reason is logged when it is new. */
static void tell(const struct registry *registry, const char *what, const char *path, const char *why, uint64_t *told) {
    if (!why) return;
    uint64_t hash = 1;
    for (const char *c = why; *c; c++) hash = (hash ^ (uint8_t)*c) * 0x100000001B3u;
    if (hash != *told) log_line(registry->log, LOG_WARNING, "%s %s: %s", what, path, why);
    *told = hash;
}

/* FOLDER/device/NAME.so of the first folder that has one. */
static int device_file(struct registry *registry, const char *name, struct folder_file *found, struct text *why) {
    for (size_t i = 0; i < registry->folder_count; i++) {
        struct folder folder = {.path = arena_format(&registry->scan, "%s/device", registry->folders[i].path)};
        char *path = folder.path ? arena_format(&registry->scan, "%s/%s.so", folder.path, name) : NULL;
        struct folder_file *files;
        size_t count;
        if (!path || plugin_folder_list(&registry->scan, &folder, registry->trust, &files, &count) < 0) return FLOW_ERROR_MEMORY;
        if (folder.refused) text_format(why, "%s%s: %s", why->length ? "; " : "", folder.path, folder.refused);
        for (size_t f = 0; f < count; f++) {
            if (strcmp(files[f].path, path) != 0) continue;
            *found = files[f];
            if (!files[f].refused) return FLOW_OK;
            text_format(why, "%s%s: %s", why->length ? "; " : "", path, files[f].refused);
        }
    }
    if (!why->length) text_format(why, "there is no file device/%s.so in the plugin folders: this build is without it", name);
    return FLOW_ERROR_UNSUPPORTED;
}

int registry_device(struct registry *registry, const char *name, const char *extension, const void **out, struct text *why) {
    struct folder_file file;
    *out = NULL;
    pthread_mutex_lock(&registry->lock);
    int status = device_file(registry, name, &file, why);
    struct source *source = NULL;
    for (size_t i = 0; status == FLOW_OK && i < registry->source_count; i++)
        if (registry->sources[i]->device && strcmp(registry->sources[i]->path, file.path) == 0) source = registry->sources[i];
    if (status == FLOW_OK && !source && !(source = source_add(registry, file.path))) status = FLOW_ERROR_MEMORY;
    if (status == FLOW_OK && source->state != SOURCE_OPEN) {
        source->device = true, source->key = file.key;
        status = registry_file_open(registry, source);
        if (status == FLOW_OK && source->state != SOURCE_OPEN) {
            text_format(why, "plugin %s: %s", source->path, source->failure);
            status = FLOW_ERROR_PLUGIN;
        }
    }
    if (status == FLOW_OK && source->plugin->extension) *out = source->plugin->extension(extension);
    if (status == FLOW_OK && !*out) {
        text_format(why, "plugin %s brings no device", source->path);
        status = FLOW_ERROR_PLUGIN;
    }
    pthread_mutex_unlock(&registry->lock);
    return status;
}

int registry_file_open(struct registry *registry, struct source *source) {
    const bool indexed = source->state == SOURCE_INDEXED;
    const uint64_t before = indexed ? offer_hash(&source->offer) : 0;
    registry_forget(registry);
    int status = plugin_source_open(source);
    const bool behind = indexed && before != offer_hash(&source->offer);
    if (!indexed || behind) registry->dirty = true;
    if (behind && source->state == SOURCE_OPEN)
        log_line(registry->log, LOG_INFO, "plugin %s offers other names than the index %s says", source->path, registry->index);
    tell(registry, "plugin", source->path, source->failure, &source->told);
    return status;
}

static int names_copy(struct arena *arena, const struct offer_list *from, struct offer_list *to) {
    const char **names = arena_array(arena, from->count, sizeof *names);
    for (uint32_t i = 0; names && i < from->count; i++)
        if (!(names[i] = arena_text(arena, from->at[i]))) return FLOW_ERROR_MEMORY;
    *to = (struct offer_list){names, from->count};
    return names ? FLOW_OK : FLOW_ERROR_MEMORY;
}

/* Takes the index's word for what a file offers. */
static int file_believe(struct source *source, const struct offer *offer) {
    plugin_source_reset(source);
    source->offer.plugin = arena_text(&source->arena, offer->plugin);
    int status = source->offer.plugin ? FLOW_OK : FLOW_ERROR_MEMORY;
    for (enum offer_kind kind = 0; status == FLOW_OK && kind < OFFER_LISTS; kind++)
        status = names_copy(&source->arena, &offer->of[kind], &source->offer.of[kind]);
    if (status == FLOW_OK) source->state = SOURCE_INDEXED;
    else plugin_source_reset(source);
    return status;
}

/* One file of a folder, as it is now. `deep`: open whatever is not open. */
static int file_scan(struct registry *registry, const struct folder_file *file, const struct index *index, bool deep) {
    struct source *source = NULL;
    for (size_t i = 0; i < registry->source_count && !source; i++) {
        struct source *one = registry->sources[i];
        const bool same = one->path && one->key.device == file->key.device && one->key.inode == file->key.inode;
        if (one->path && (same || strcmp(one->path, file->path) == 0)) source = one;
    }
    if (source && source->seen) return FLOW_OK; /* the same file through another folder */
    const bool known = source && source->key.size == file->key.size && source->key.modified == file->key.modified;
    if (!source && !(source = source_add(registry, file->path))) return FLOW_ERROR_MEMORY;
    source->seen = true;
    if (source->state == SOURCE_OPEN) return FLOW_OK;
    if (strcmp(source->path, file->path) != 0) { /* renamed */
        const char *path = arena_text(&registry->arena, file->path);
        if (!path) return FLOW_ERROR_MEMORY;
        source->path = path;
    }
    source->key = file->key;
    if (file->refused) {
        plugin_source_reset(source);
        source->failure = arena_text(&source->arena, file->refused);
        tell(registry, "plugin", source->path, source->failure, &source->told);
        return source->failure ? FLOW_OK : FLOW_ERROR_MEMORY;
    }
    if (!deep && known && source->state == SOURCE_INDEXED) return FLOW_OK;
    const struct index_row *row = deep ? NULL : plugin_index_find(index, file->path, &file->key);
    return row ? file_believe(source, &row->offer) : registry_file_open(registry, source);
}

int registry_scan(struct registry *registry, bool deep) {
    struct index index = {.from = registry->from};
    int status = FLOW_OK;
    arena_free(&registry->scan);
    for (size_t i = 0; i < registry->folder_count; i++) registry->folders[i].refused = NULL;
    for (size_t i = 0; i < registry->source_count; i++) registry->sources[i]->seen = false;
    if (registry->index && !deep) status = plugin_index_read(&registry->scan, registry->index, &index);
    for (size_t i = 0; status == FLOW_OK && i < registry->folder_count; i++) {
        struct folder_file *files;
        size_t count;
        status = plugin_folder_list(&registry->scan, &registry->folders[i], registry->trust, &files, &count);
        tell(registry, "plugin folder", registry->folders[i].path, registry->folders[i].refused, &registry->folders[i].told);
        for (size_t j = 0; status == FLOW_OK && j < count; j++) status = file_scan(registry, &files[j], &index, deep);
    }
    plugin_index_free(&index);
    for (size_t i = 0; i < registry->source_count; i++) { /* files that are gone */
        struct source *source = registry->sources[i];
        if (status == FLOW_OK && source->path && !source->seen && !source->device && source->state != SOURCE_OPEN)
            plugin_source_reset(source);
    }
    registry->scanned = status == FLOW_OK;
    return status;
}

void registry_index_update(struct registry *registry) {
    struct arena arena;
    struct index index;
    bool changed = false;
    registry->dirty = false;
    if (!registry->index) return;
    arena_init(&arena, registry->from);
    bool good = plugin_index_read(&arena, registry->index, &index) == FLOW_OK;
    for (size_t i = 0; good && i < registry->source_count; i++) {
        const struct source *source = registry->sources[i];
        if (source->state != SOURCE_OPEN || source->device) continue;
        const struct index_row *row = plugin_index_find(&index, source->path, &source->key);
        if (row && offers_equal(&row->offer, &source->offer)) continue;
        good = plugin_index_set(&index, source->path, &source->key, &source->offer) == FLOW_OK;
        changed = true;
    }
    if (good && changed) plugin_index_write(&index, registry->index);
    plugin_index_free(&index);
    arena_free(&arena);
}
