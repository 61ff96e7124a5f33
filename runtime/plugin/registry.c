/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: finds the plugin that offers a name. The folders are listed once, when a name is first looked for, and again whenever a
 * name is looked for in vain; each plugin file is then a source (plugin/source.h). A name is resolved over all sources, so that two that
 * offer it are seen; only those that offer it, or bring kernels for it, are opened. Entries handed out never change: when more kernels
 * become known for an operator, later calls get a new entry.
 */
#include "plugin/registry.h"

#include "plugin/builtin.h"
#include "plugin/source.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct registry {
    const struct allocator *from;
    struct arena arena; /* entries, folders: until registry_free */
    struct arena scan;  /* reasons of the latest listing */
    pthread_mutex_t lock;
    struct source **sources; /* built-in ones, then files in order of search */
    size_t source_count, source_room;
    struct folder *folders;
    size_t folder_count, folder_room;
    size_t installed;           /* folders from here on are searched last */
    const char *index;          /* NULL: none */
    bool trust, scanned, dirty; /* dirty: the index lacks something */
    struct {
        struct map found; /* name -> entry */
        const struct registry_entry **all;
        size_t all_count;
    } kinds[OFFER_KINDS];
};

struct match {
    struct source *source;
    enum offer_kind kind;
    uint32_t index;
};

/* What was found may be another plugin's by now. */
static void forget(struct registry *registry) {
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
    *at = (struct folder){copy, NULL, named};
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

static int folders_init(struct registry *registry, const struct registry_options *options) {
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
    if (snprintf(path, sizeof path, "%.*splugins", folder, graph_path) >= (int)sizeof path) return FLOW_OK;
    if (stat(path, &about) < 0 || !S_ISDIR(about.st_mode)) return FLOW_OK;
    pthread_mutex_lock(&registry->lock);
    int status = folder_add(registry, registry->installed, path, false);
    if (!registry->scanned) forget(registry);
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

static int builtin_add(struct registry *registry, flow_entry_function entry) {
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

/* Opens a file; what the registry knew of names may be wrong afterwards. */
static int file_open(struct registry *registry, struct source *source) {
    const bool indexed = source->state == SOURCE_INDEXED;
    const uint64_t before = indexed ? offer_hash(&source->offer) : 0;
    forget(registry);
    int status = plugin_source_open(source);
    if (!indexed || before != offer_hash(&source->offer)) registry->dirty = true;
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
        return source->failure ? FLOW_OK : FLOW_ERROR_MEMORY;
    }
    if (!deep && known && source->state == SOURCE_INDEXED) return FLOW_OK;
    const struct index_row *row = deep ? NULL : plugin_index_find(index, file->path, &file->key);
    return row ? file_believe(source, &row->offer) : file_open(registry, source);
}

/* Lists the folders. Files that the index does not know are opened, and with `deep` all. */
static int scan(struct registry *registry, bool deep) {
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
        for (size_t j = 0; status == FLOW_OK && j < count; j++) status = file_scan(registry, &files[j], &index, deep);
    }
    plugin_index_free(&index);
    for (size_t i = 0; i < registry->source_count; i++) { /* files that are gone */
        struct source *source = registry->sources[i];
        if (status == FLOW_OK && source->path && !source->seen && source->state != SOURCE_OPEN) plugin_source_reset(source);
    }
    registry->scanned = status == FLOW_OK;
    return status;
}

/* Brings the index up to date with the files that are open. Failing costs time at the next start, nothing else. */
static void index_update(struct registry *registry) {
    struct arena arena;
    struct index index;
    bool changed = false;
    registry->dirty = false;
    if (!registry->index) return;
    arena_init(&arena, registry->from);
    bool good = plugin_index_read(&arena, registry->index, &index) == FLOW_OK;
    for (size_t i = 0; good && i < registry->source_count; i++) {
        const struct source *source = registry->sources[i];
        if (source->state != SOURCE_OPEN) continue;
        const struct index_row *row = plugin_index_find(&index, source->path, &source->key);
        if (row && offers_equal(&row->offer, &source->offer)) continue;
        good = plugin_index_set(&index, source->path, &source->key, &source->offer) == FLOW_OK;
        changed = true;
    }
    if (good && changed) plugin_index_write(&index, registry->index);
    plugin_index_free(&index);
    arena_free(&arena);
}

/* ---- Names ---------------------------------------------------------------------------------------------------- */

/* Is `name` ("operator" or "plugin/operator") the operator (or optimiser, or source) `op` of `plugin`? */
static bool names(const char *name, const char *plugin, const char *op) {
    const char *slash = strchr(name, '/');
    if (!slash) return strcmp(name, op) == 0;
    return strlen(plugin) == (size_t)(slash - name) && memcmp(name, plugin, (size_t)(slash - name)) == 0 && strcmp(slash + 1, op) == 0;
}

static const char *last_part(const char *name) {
    const char *slash = strchr(name, '/');
    return slash ? slash + 1 : name;
}

/* Does a file, going by the index, have to do with the name? */
static bool concerns(const struct source *source, enum offer_kind kind, const char *name) {
    const char *op = last_part(name);
    const struct offer_list *list = &source->offer.of[kind], *kernels = &source->offer.of[OFFER_KERNEL];
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->at[i], op) == 0) return true;
    for (uint32_t i = 0; kind == OFFER_OPERATOR && i < kernels->count; i++)
        if (strcmp(last_part(kernels->at[i]), op) == 0) return true;
    return false;
}

/* All that offer `name`, at most `most` of them kept; the number found, or negative. */
static int resolve(struct registry *registry, enum offer_kind kind, const char *name, struct match *matches, int most) {
    int count = 0;
    for (size_t i = 0; i < registry->source_count; i++) {
        struct source *source = registry->sources[i];
        if (source->state == SOURCE_INDEXED && concerns(source, kind, name) && file_open(registry, source) < 0) return FLOW_ERROR_MEMORY;
        if (source->state != SOURCE_OPEN && source->state != SOURCE_BUILTIN) continue;
        for (uint32_t j = 0; j < source->offer.of[kind].count; j++) {
            if (!names(name, source->offer.plugin, source->offer.of[kind].at[j])) continue;
            if (count < most) matches[count] = (struct match){source, kind, j};
            count++;
        }
    }
    return count;
}

/* The operator's own kernels, then those of other plugins in order of search: their number; copied to `to` when given. */
static uint32_t kernels_gather(const struct registry *registry, const struct match *match, struct flow_kernel *to) {
    const struct flow_operator *op = match->source->tables[OFFER_OPERATOR][match->index];
    uint32_t count = op->kernels.count;
    if (to && count) memcpy(to, op->kernels.at, count * sizeof *to);
    for (size_t i = 0; i < registry->source_count; i++) {
        const struct source *source = registry->sources[i];
        if (source->state != SOURCE_OPEN && source->state != SOURCE_BUILTIN) continue;
        for (uint32_t j = 0; j < source->kernels.count; j++) {
            if (!names(source->kernels.at[j].op, match->source->offer.plugin, op->name)) continue;
            if (to) to[count] = source->kernels.at[j];
            count++;
        }
    }
    return count;
}

static int entry_make(struct registry *registry, const struct match *match, const struct registry_entry **out, struct text *why) {
    struct source *source = match->source;
    const void **item = &source->tables[match->kind][match->index];
    const struct registry_entry **made = &source->entries[match->kind][match->index];
    if (!*item) {
        text_format(why, "; plugin '%s' (built in): ", source->offer.plugin); /* only read on failure */
        int status = plugin_check_item(&source->arena, source->plugin, match->kind, match->index, item, why);
        if (status < 0) return status;
    }
    const bool is_operator = match->kind == OFFER_OPERATOR;
    const uint32_t count = is_operator ? kernels_gather(registry, match, NULL) : 0;
    if (!*made || (*made)->kernel_count != count) {
        struct registry_entry *entry = arena_new(&registry->arena, sizeof *entry);
        struct flow_kernel *kernels = entry ? arena_array(&registry->arena, count, sizeof *kernels) : NULL;
        if (!kernels) return FLOW_ERROR_MEMORY;
        if (is_operator) kernels_gather(registry, match, kernels);
        *entry = (struct registry_entry){.plugin = source->offer.plugin, .file = source->path, .kernels = kernels, .kernel_count = count};
        if (is_operator) entry->op = *item;
        else if (match->kind == OFFER_OPTIMIZER) entry->optimizer = *item;
        else entry->source = *item;
        *made = entry;
    }
    *out = *made;
    return FLOW_OK;
}

/* ---- What there is to say -------------------------------------------------------------------------------------- */

static void tell_failures(const struct registry *registry, struct text *why, const char *before, const char *after) {
    for (size_t i = 0; i < registry->folder_count; i++)
        if (registry->folders[i].refused)
            text_format(why, "%splugin folder %s: %s%s", before, registry->folders[i].path, registry->folders[i].refused, after);
    for (size_t i = 0; i < registry->source_count; i++) {
        const struct source *source = registry->sources[i];
        if (!source->failure) continue;
        text_format(why, "%splugin %s: %s%s", before, source->path ? source->path : "(built in)", source->failure, after);
    }
}

static void tell_ambiguous(const struct match *matches, const char *name, struct text *why) {
    const char *op = matches[0].source->offer.of[matches[0].kind].at[matches[0].index];
    const char *plugin[2];
    for (int i = 0; i < 2; i++) {
        const struct source *source = matches[i].source;
        plugin[i] = source->offer.plugin;
        text_format(why, "%splugin '%s' (%s)", i ? " and " : "; it is offered by both ", plugin[i],
                    source->path ? source->path : "built in");
    }
    if (strcmp(plugin[0], plugin[1]) == 0) text_put(why, ": one of the two must go");
    else if (!strchr(name, '/')) text_format(why, ": write '%s/%s' or '%s/%s'", plugin[0], op, plugin[1], op);
}

static void tell_missing(const struct registry *registry, enum offer_kind kind, const char *name, struct text *why) {
    const char *slash = strchr(name, '/');
    struct nearest nearest;
    nearest_init(&nearest, slash ? slash + 1 : name);
    const char *owner = NULL; /* plugin of the nearest name */
    for (size_t i = 0; i < registry->source_count; i++) {
        const struct source *source = registry->sources[i];
        for (uint32_t j = 0; j < source->offer.of[kind].count; j++) {
            const char *before = nearest.best;
            nearest_offer(&nearest, source->offer.of[kind].at[j]);
            if (nearest.best != before) owner = source->offer.plugin;
        }
    }
    const char *best = nearest_name(&nearest);
    if (best && slash) text_format(why, " (did you mean '%s/%s'?)", owner, best);
    else if (best) text_format(why, " (did you mean '%s'?)", best);
    tell_failures(registry, why, "; ", "");
}

/* ---- The registry ---------------------------------------------------------------------------------------------- */

static int find(struct registry *registry, enum offer_kind kind, const char *name, const struct registry_entry **out, struct text *why) {
    struct match matches[2];
    int64_t known;
    if (registry->scanned && map_get(&registry->kinds[kind].found, name, &known)) {
        *out = (const struct registry_entry *)(intptr_t)known;
        return FLOW_OK;
    }
    int count = registry->scanned ? 0 : scan(registry, false);
    if (count == FLOW_OK) count = resolve(registry, kind, name, matches, 2);
    if (count == 0) { /* in vain: look again, and into everything */
        int status = scan(registry, true);
        count = status < 0 ? status : resolve(registry, kind, name, matches, 2);
    }
    if (count < 0) return FLOW_ERROR_MEMORY;
    if (count == 0) tell_missing(registry, kind, name, why);
    if (count > 1) tell_ambiguous(matches, name, why);
    if (count != 1) return FLOW_ERROR_PLUGIN;
    int status = entry_make(registry, &matches[0], out, why);
    const char *key = status == FLOW_OK ? arena_text(&registry->arena, name) : NULL;
    if (status == FLOW_OK && (!key || map_set(&registry->kinds[kind].found, key, (int64_t)(intptr_t)*out) < 0)) status = FLOW_ERROR_MEMORY;
    return status;
}

static const struct registry_entry *find_locked(struct registry *registry, enum offer_kind kind, const char *name, struct text *why) {
    const struct registry_entry *entry = NULL;
    struct text words;
    text_init(&words, registry->from);
    pthread_mutex_lock(&registry->lock);
    int status = find(registry, kind, name, &entry, &words);
    if (registry->dirty) index_update(registry);
    pthread_mutex_unlock(&registry->lock);
    if (status < 0 && why) text_put(why, status == FLOW_ERROR_MEMORY || words.failed || !words.at ? "" : words.at);
    if (status < 0 && why && (status == FLOW_ERROR_MEMORY || words.failed)) text_put(why, "; out of memory"), why->failed = true;
    text_free(&words);
    return status < 0 ? NULL : entry;
}

const struct registry_entry *registry_find(struct registry *registry, const char *name, struct text *why) {
    return find_locked(registry, OFFER_OPERATOR, name, why);
}

const struct registry_entry *registry_optimizer(struct registry *registry, const char *name, struct text *why) {
    return find_locked(registry, OFFER_OPTIMIZER, name, why);
}

const struct registry_entry *registry_source(struct registry *registry, const char *name, struct text *why) {
    return find_locked(registry, OFFER_SOURCE, name, why);
}

static const char *entry_name(const struct registry_entry *entry) {
    return entry->op ? entry->op->name : entry->optimizer ? entry->optimizer->name : entry->source->name;
}

static int compare_entries(const void *a, const void *b) {
    const struct registry_entry *x = *(const struct registry_entry *const *)a, *y = *(const struct registry_entry *const *)b;
    int order = strcmp(entry_name(x), entry_name(y));
    if (order == 0) order = strcmp(x->plugin, y->plugin);
    return order ? order : strcmp(x->file ? x->file : "", y->file ? y->file : "");
}

static int all(struct registry *registry, enum offer_kind kind, struct text *failures) {
    int status = scan(registry, true);
    size_t room = 0, count = 0;
    for (size_t i = 0; i < registry->source_count; i++) room += registry->sources[i]->offer.of[kind].count;
    const struct registry_entry **entries = memory_array(registry->from, room, sizeof *entries);
    if (!entries) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; status == FLOW_OK && i < registry->source_count; i++) {
        struct source *source = registry->sources[i];
        for (uint32_t j = 0; status == FLOW_OK && j < source->offer.of[kind].count; j++) {
            const struct match match = {source, kind, j};
            struct text why;
            text_init(&why, registry->from);
            status = entry_make(registry, &match, &entries[count], &why);
            if (status == FLOW_OK) count++;
            else if (status == FLOW_ERROR_PLUGIN) {
                if (failures && why.at) text_format(failures, "%s\n", why.at + 2);
                status = FLOW_OK;
            }
            text_free(&why);
        }
    }
    if (status == FLOW_OK && failures) tell_failures(registry, failures, "", "\n");
    if (count) qsort(entries, count, sizeof *entries, compare_entries);
    /* The same list as before needs no new memory. */
    const struct registry_entry ***known = &registry->kinds[kind].all;
    size_t *known_count = &registry->kinds[kind].all_count;
    if (status == FLOW_OK && (!*known || *known_count != count || memcmp(*known, entries, count * sizeof *entries) != 0)) {
        *known = arena_copy(&registry->arena, entries, count * sizeof *entries);
        *known_count = count;
        if (!*known) status = FLOW_ERROR_MEMORY;
    }
    memory_free(registry->from, entries, room * sizeof *entries);
    return status;
}

static int all_locked(struct registry *registry, enum offer_kind kind, const struct registry_entry ***out, size_t *count,
                      struct text *failures) {
    pthread_mutex_lock(&registry->lock);
    int status = all(registry, kind, failures);
    if (registry->dirty) index_update(registry);
    *out = status < 0 ? NULL : registry->kinds[kind].all;
    *count = status < 0 ? 0 : registry->kinds[kind].all_count;
    pthread_mutex_unlock(&registry->lock);
    return status;
}

int registry_all(struct registry *registry, const struct registry_entry ***out, size_t *count, struct text *failures) {
    return all_locked(registry, OFFER_OPERATOR, out, count, failures);
}

int registry_optimizers(struct registry *registry, const struct registry_entry ***out, size_t *count, struct text *failures) {
    return all_locked(registry, OFFER_OPTIMIZER, out, count, failures);
}

int registry_sources(struct registry *registry, const struct registry_entry ***out, size_t *count, struct text *failures) {
    return all_locked(registry, OFFER_SOURCE, out, count, failures);
}

static const struct flow_kernel *best_kernel(const struct registry_entry *entry, int32_t device, uint32_t type, int32_t isa,
                                             const struct flow_infer *infer, bool backward) {
    const struct flow_kernel *best = NULL;
    for (uint32_t i = 0; i < entry->kernel_count; i++) {
        const struct flow_kernel *kernel = &entry->kernels[i];
        if (kernel->device != device || kernel->isa > isa || !(kernel->types & type) || (backward && !kernel->backward)) continue;
        if (best && kernel->priority <= best->priority) continue;
        if (kernel->supports && infer && !kernel->supports(infer)) continue;
        best = kernel;
    }
    return best;
}

const struct flow_kernel *registry_kernel(const struct registry_entry *entry, int32_t device, int32_t dtype, int32_t isa,
                                          const struct flow_infer *infer) {
    if (dtype < 0 || dtype >= FLOW_TYPE_COUNT) return NULL;
    const struct flow_kernel *kernel = best_kernel(entry, device, 1u << dtype, isa, infer, false);
    if (!kernel && (dtype == FLOW_F16 || dtype == FLOW_BF16)) kernel = best_kernel(entry, device, FLOW_TYPE(F32), isa, infer, false);
    return kernel;
}

const struct flow_kernel *registry_kernel_backward(const struct registry_entry *entry, int32_t device, int32_t dtype, int32_t isa,
                                                   const struct flow_infer *infer) {
    return dtype < 0 || dtype >= FLOW_TYPE_COUNT ? NULL : best_kernel(entry, device, 1u << dtype, isa, infer, true);
}

int registry_new(const struct allocator *from, const struct registry_options *options, struct registry **out) {
    static const struct registry_options none = {0};
    if (!options) options = &none;
    *out = NULL;
    struct registry *registry = memory_new(from, sizeof *registry);
    if (!registry) return FLOW_ERROR_MEMORY;
    registry->from = from;
    arena_init(&registry->arena, from), arena_init(&registry->scan, from);
    forget(registry);
    if (pthread_mutex_init(&registry->lock, NULL) != 0) {
        memory_free(from, registry, sizeof *registry);
        return FLOW_ERROR_MEMORY;
    }
    const char *trust = secure_getenv("FLOW_PLUGIN_TRUST");
    registry->trust = options->trust || (trust && strcmp(trust, "1") == 0);
    int status = folders_init(registry, options);
    if (status == FLOW_OK && !options->index) registry->index = plugin_folder_index(&registry->arena);
    else if (status == FLOW_OK && *options->index && !(registry->index = arena_text(&registry->arena, options->index)))
        status = FLOW_ERROR_MEMORY;
    for (size_t i = 0; status == FLOW_OK && registry_builtin[i]; i++) status = builtin_add(registry, registry_builtin[i]);
    if (status < 0) registry_free(registry);
    else *out = registry;
    return status;
}

void registry_free(struct registry *registry) {
    if (!registry) return;
    for (size_t i = 0; i < registry->source_count; i++) {
        plugin_source_close(registry->sources[i]);
        memory_free(registry->from, registry->sources[i], sizeof **registry->sources);
    }
    const struct allocator *from = registry->from;
    memory_free(from, registry->sources, registry->source_room * sizeof *registry->sources);
    memory_free(from, registry->folders, registry->folder_room * sizeof *registry->folders);
    arena_free(&registry->scan);
    arena_free(&registry->arena);
    pthread_mutex_destroy(&registry->lock);
    memory_free(from, registry, sizeof *registry);
}
