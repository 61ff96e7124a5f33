/* SPDX-License-Identifier: Apache-2.0 */
/* `loss` and `update`: what is made smaller, and which optimiser owns which parameters. */
#include "graph/network_training.h"

#include <math.h>
#include <string.h>

/* ---- Losses ---- */

static bool read_loss(struct section *section, const struct document *name, const struct document *weight, struct training_loss *loss) {
    struct reader *reader = section->reader;
    *loss = (struct training_loss){.ref = {NETWORK_NOTHING, 0}, .weight = 1, .at = name->at};
    if (name->kind != DOCUMENT_SCALAR || !*name->text) {
        reader_fail(reader, name->at, "a loss is a reference: the name of a node, or NODE.PORT");
        return false;
    }
    loss->name = name->text;
    loss->ref = training_reference(section, name->text, name->at);
    if (weight && !training_real(reader, weight, name->text, -INFINITY, &loss->weight)) return false;
    return loss->ref.node != NETWORK_NOTHING;
}

/* One reference, a list of them, or a mapping reference: weight. */
void training_losses(struct section *section) {
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *value = training_own(section, "loss");
    if (!value) return;
    struct training_list list = training_list(&value);
    bool weighed = value->kind == DOCUMENT_MAPPING;
    size_t count = weighed ? value->count : list.count;
    made->losses = reader_new(reader, count, sizeof *made->losses);
    for (size_t i = 0; made->losses && i < count && !reader->stopped; i++)
        if (read_loss(section, weighed ? value->keys[i] : list.values[i], weighed ? value->values[i] : NULL,
                      &made->losses[made->loss_count]))
            made->loss_count++;
}

/* ---- Groups ---- */

static const struct registry_entry *find_optimizer(struct section *section, const struct document *name) {
    struct text why;
    text_init(&why, section->reader->from);
    const struct registry_entry *entry = registry_optimizer(section->reader->registry, name->text, &why);
    if (!entry) training_missing(section, name->at, "optimizer", name->text, &why);
    text_free(&why);
    return entry;
}

/* What an optimiser without a gradient cannot have. */
static void check_gradient(struct section *section, const struct document *entry, const struct flow_optimizer *optimizer) {
    static const char *const keys[] = {"loss", "clip_norm", "centralize"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct document *value = document_get(entry, keys[i]);
        if (value)
            reader_fail(section->reader, value->at, "optimizer '%s' follows no gradient: '%s' means nothing", optimizer->name, keys[i]);
    }
}

static void read_optimizer(struct section *section, const struct document *entry, struct training_update *update) {
    struct reader *reader = section->reader;
    const struct document *name = document_get(entry, "optimizer"), *with = document_get(entry, "with");
    const char *text = NULL;
    if (!name || !training_text(reader, name, "optimizer", &text)) return;
    update->optimizer_at = name->at;
    update->optimizer = find_optimizer(section, name);
    if (!update->optimizer) return;
    const struct flow_optimizer *optimizer = update->optimizer->optimizer;
    if (with && document_null(with)) with = NULL;
    update->attrs = training_attrs(reader, "optimizer", optimizer->name, &optimizer->attrs, optimizer->attrs_size, with, NULL, name->at);
    const struct document *value = document_get(with, "value"), *of = document_get(with, "of");
    if ((optimizer->flags & FLOW_OPTIMIZER_VALUE) && value && value->kind == DOCUMENT_SCALAR)
        update->value = training_reference(section, value->text, value->at);
    if ((optimizer->flags & FLOW_OPTIMIZER_OF) && of && of->kind == DOCUMENT_SCALAR) update->of = of->text, update->of_at = of->at;
    if (optimizer->flags & FLOW_OPTIMIZER_NO_GRADIENT) check_gradient(section, entry, optimizer);
}

static bool read_update(struct section *section, const struct document *entry, struct training_update *update) {
    static const char *const keys[] = {"params", "optimizer", "with", "loss", "every", "clip_norm", "centralize", "doc", NULL};
    struct reader *reader = section->reader;
    *update = (struct training_update){.every = 1, .value = {NETWORK_NOTHING, 0}, .at = entry->at};
    if (!training_mapping(reader, entry, "'update' is a list of {params: PATTERN, optimizer: NAME, with: {..}}")) return false;
    bool right = reader_keys(reader, entry, keys, "'update'");
    const struct document *params = document_get(entry, "params"), *loss = document_get(entry, "loss");
    if (!params && right) reader_fail(reader, entry->at, "a group of 'update' needs 'params': a pattern of parameters, such as \"body.*\"");
    if (!document_get(entry, "optimizer") && right)
        reader_fail(reader, entry->at, "a group of 'update' needs 'optimizer': its name (`flowrun ops` lists them)");
    if (params) update->params_at = params->at;
    training_text(reader, params, "params", &update->params);
    read_optimizer(section, entry, update);
    if (loss && !document_null(loss)) update->has_loss = read_loss(section, loss, NULL, &update->loss);
    training_int(reader, document_get(entry, "every"), "every", 1, &update->every);
    training_real(reader, document_get(entry, "clip_norm"), "clip_norm", 0, &update->clip_norm);
    training_bool(reader, document_get(entry, "centralize"), "centralize", &update->centralize);
    if (!update->params) update->params = "";
    return true;
}

/* A stage of no steps needs none; where no group follows a gradient, it needs no loss. */
static void check_updates(struct section *section, bool given) {
    const struct training *made = section->made;
    struct reader *reader = section->reader;
    if (made->steps <= 0 && made->seconds <= 0) return; /* not given: told already */
    if (!given) {
        reader_fail(reader, made->at, "%s needs 'update': which optimizer owns which parameters",
                    section->depth > 1 ? "a stage" : "'train'");
        return;
    }
    if (document_get(section->chain[section->depth - 1], "loss")) return;
    for (size_t i = 0; i < made->update_count; i++) {
        const struct training_update *update = &made->updates[i];
        if (!update->optimizer || update->has_loss || (update->optimizer->optimizer->flags & FLOW_OPTIMIZER_NO_GRADIENT)) continue;
        reader_fail(reader, update->optimizer_at, "optimizer '%s' follows the gradient of a loss, and there is none: `loss: REFERENCE`",
                    update->optimizer->optimizer->name);
    }
}

void training_updates(struct section *section) {
    struct reader *reader = section->reader;
    struct training *made = section->made;
    const struct document *value = training_own(section, "update");
    if (value) {
        struct training_list list = training_list(&value);
        made->updates = reader_new(reader, list.count, sizeof *made->updates);
        for (size_t i = 0; made->updates && i < list.count && !reader->stopped; i++)
            if (read_update(section, list.values[i], &made->updates[made->update_count])) made->update_count++;
    }
    check_updates(section, document_get(section->chain[section->depth - 1], "update") != NULL);
}
