/* SPDX-License-Identifier: Apache-2.0 */
/* What the registry found, for those who ask why a plugin is not there. */
#include "plugin/scan.h"

bool registry_folder_at(struct registry *registry, size_t index, const char **path, const char **refused) {
    pthread_mutex_lock(&registry->lock);
    bool there = index < registry->folder_count;
    if (there) *path = registry->folders[index].path, *refused = registry->folders[index].refused;
    pthread_mutex_unlock(&registry->lock);
    return there;
}

static void describe(const struct source *source, struct registry_file *out) {
    bool used = source->state == SOURCE_OPEN || source->state == SOURCE_INDEXED;
    *out = (struct registry_file){.path = source->path, .plugin = used ? source->offer.plugin : NULL, .why = used ? NULL : source->failure};
    if (!used && !out->why) out->why = "it is gone, or memory ran out";
    if (!used) return;
    out->operators = source->offer.of[OFFER_OPERATOR].count, out->optimizers = source->offer.of[OFFER_OPTIMIZER].count;
    out->sources = source->offer.of[OFFER_SOURCE].count, out->kernels = source->offer.of[OFFER_KERNEL].count;
}

bool registry_file_at(struct registry *registry, size_t index, struct registry_file *out) {
    bool there = false;
    pthread_mutex_lock(&registry->lock);
    for (size_t i = 0; i < registry->source_count && !there; i++) {
        const struct source *source = registry->sources[i];
        if (!source->path || (!source->seen && source->state != SOURCE_OPEN) || index-- > 0) continue;
        describe(source, out);
        there = true;
    }
    pthread_mutex_unlock(&registry->lock);
    return there;
}

const char *registry_index_path(const struct registry *registry) { return registry->index; }
