/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: finds the plugin that offers a name. The folders are listed once, when a name is first looked for, and again whenever a
 * name is looked for in vain; each plugin file is then a source (plugin/source.h). A name is resolved over all sources, so that two that
 * offer it are seen; only those that offer it, or bring kernels for it, are opened. Entries handed out never change: when more kernels
 * become known for an operator, later calls get a new entry.
 */
#include "plugin/registry.h"

#include "plugin/builtin.h"
#include "plugin/scan.h"

#include <stdlib.h>
#include <string.h>

struct match {
    struct source *source;
    enum offer_kind kind;
    uint32_t index;
};

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

static size_t folder_length(const char *path) { return (size_t)(strrchr(path, '/') - path); }

/* Of a plugin that lies in two folders, the one found first counts, as with programs: the one just built, though an older one is installed.
 * Two files in one folder are a mistake. */
static bool is_shadowed(const struct registry *registry, size_t index) {
    const struct source *source = registry->sources[index];
    if (!source->path || !source->offer.plugin) return false;
    for (size_t i = 0; i < index; i++) {
        const struct source *other = registry->sources[i];
        if (!other->path || !other->offer.plugin || strcmp(other->offer.plugin, source->offer.plugin) != 0) continue;
        if (other->state != SOURCE_OPEN && other->state != SOURCE_INDEXED) continue;
        const size_t length = folder_length(other->path);
        if (length != folder_length(source->path) || memcmp(other->path, source->path, length) != 0) return true;
    }
    return false;
}

/* All that offer `name`, at most `most` of them kept; the number found, or negative. */
static int resolve(struct registry *registry, enum offer_kind kind, const char *name, struct match *matches, int most) {
    int count = 0;
    for (size_t i = 0; i < registry->source_count; i++) {
        struct source *source = registry->sources[i];
        if (source->state == SOURCE_INDEXED && concerns(source, kind, name) && registry_file_open(registry, source) < 0)
            return FLOW_ERROR_MEMORY;
        if (source->state != SOURCE_OPEN && source->state != SOURCE_BUILTIN) continue;
        for (uint32_t j = 0; j < source->offer.of[kind].count; j++) {
            if (!names(name, source->offer.plugin, source->offer.of[kind].at[j])) continue;
            if (is_shadowed(registry, i)) continue;
            if (count < most) matches[count] = (struct match){source, kind, j};
            count++;
        }
    }
    return count;
}

/* A device's kernels are for what is built in and for the plugins of the folder that the device belongs to: another plugin's operator may
 * have the same name. */
static bool serves(const struct source *kernels, const struct source *operators) {
    if (!kernels->device || !operators->path) return true;
    const size_t length = folder_length(operators->path);
    return strncmp(kernels->path, operators->path, length) == 0 && strncmp(kernels->path + length, "/device/", 8) == 0;
}

/* The operator's own kernels, then those of other plugins in order of search: their number; copied to `to` when given. */
static uint32_t kernels_gather(const struct registry *registry, const struct match *match, struct flow_kernel *to) {
    const struct flow_operator *op = match->source->tables[OFFER_OPERATOR][match->index];
    uint32_t count = op->kernels.count;
    if (to && count) memcpy(to, op->kernels.at, count * sizeof *to);
    for (size_t i = 0; i < registry->source_count; i++) {
        const struct source *source = registry->sources[i];
        if ((source->state != SOURCE_OPEN && source->state != SOURCE_BUILTIN) || !serves(source, match->source)) continue;
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
    int count = registry->scanned ? 0 : registry_scan(registry, false);
    if (count == FLOW_OK) count = resolve(registry, kind, name, matches, 2);
    if (count == 0) { /* in vain: look again, and into everything */
        int status = registry_scan(registry, true);
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
    if (registry->dirty) registry_index_update(registry);
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
    int status = registry_scan(registry, true);
    size_t room = 0, count = 0;
    for (size_t i = 0; i < registry->source_count; i++) room += registry->sources[i]->offer.of[kind].count;
    const struct registry_entry **entries = memory_array(registry->from, room, sizeof *entries);
    if (!entries) return FLOW_ERROR_MEMORY;
    for (size_t i = 0; status == FLOW_OK && i < registry->source_count; i++) {
        struct source *source = registry->sources[i];
        if (is_shadowed(registry, i)) continue;
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
    if (registry->dirty) registry_index_update(registry);
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
    registry->from = from, registry->log = options->log;
    arena_init(&registry->arena, from), arena_init(&registry->scan, from);
    registry_forget(registry);
    if (pthread_mutex_init(&registry->lock, NULL) != 0) {
        memory_free(from, registry, sizeof *registry);
        return FLOW_ERROR_MEMORY;
    }
    const char *trust = secure_getenv("FLOW_PLUGIN_TRUST");
    registry->trust = options->trust || (trust && strcmp(trust, "1") == 0);
    int status = registry_folders_init(registry, options);
    if (status == FLOW_OK && !options->index) registry->index = plugin_folder_index(&registry->arena);
    else if (status == FLOW_OK && *options->index && !(registry->index = arena_text(&registry->arena, options->index)))
        status = FLOW_ERROR_MEMORY;
    for (size_t i = 0; status == FLOW_OK && registry_builtin[i]; i++) status = registry_builtin_add(registry, registry_builtin[i]);
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
