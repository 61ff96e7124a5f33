/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of a scene: attributes, shapes, parameters. */
#include "graph/draw_scene.h"
#include "graph/training.h"

#include <string.h>

static void put_value(struct text *text, const struct document *value, int depth) {
    if (value->kind == DOCUMENT_SCALAR) {
        text_put(text, value->text);
        return;
    }
    text_put(text, value->kind == DOCUMENT_LIST ? "[" : "{");
    for (size_t i = 0; i < value->count && i < 8 && depth < 3; i++) {
        if (i) text_put(text, ", ");
        if (value->kind == DOCUMENT_MAPPING) text_put(text, value->keys[i]->text), text_put(text, ": ");
        put_value(text, value->values[i], depth + 1);
    }
    if (value->count > 8 || depth >= 3) text_put(text, ", ..");
    text_put(text, value->kind == DOCUMENT_LIST ? "]" : "}");
}

/* "heads 4, causal true": whole entries as long as they fit. "" where memory ran out. */
const char *scene_attributes(struct arena *arena, const struct document *with, size_t most) {
    struct text text;
    text_init(&text, arena->from);
    for (size_t i = 0; with && with->kind == DOCUMENT_MAPPING && i < with->count; i++) {
        size_t before = text.length;
        if (i) text_put(&text, ", ");
        text_put(&text, with->keys[i]->text), text_put(&text, " ");
        put_value(&text, with->values[i], 0);
        if (text.length <= most || text.failed) continue;
        text.length = before;
        text_put(&text, before ? ", .." : "..");
        break;
    }
    const char *made = text.failed || !text.at ? NULL : arena_text_n(arena, text.at, text.length);
    text_free(&text);
    return made;
}

const char *scene_shape(struct arena *arena, const struct flow_tensor *type) {
    struct text text;
    text_init(&text, arena->from);
    text_put(&text, "[");
    for (int32_t a = 0; a < type->rank; a++) text_format(&text, a ? ", %lld" : "%lld", (long long)type->shape[a]);
    text_put(&text, "]");
    const char *made = text.failed ? NULL : arena_text_n(arena, text.at, text.length);
    text_free(&text);
    return made;
}

int64_t scene_numbers(const struct flow_tensor *type) {
    int64_t count = 1;
    for (int32_t a = 0; a < type->rank; a++)
        if (!size_multiply(count, type->shape[a], &count)) return 0;
    return count;
}

static int32_t update_of(const struct training *training, const char *param) {
    for (size_t u = 0; training && u < training->update_count; u++)
        if (text_matches(training->updates[u].params, param)) return (int32_t)u;
    return -1;
}

/* Does a parameter's name belong to the node? */
static bool is_own(const char *prefix, const char *name) {
    size_t length = prefix ? strlen(prefix) : 0;
    return prefix && strncmp(name, prefix, length) == 0 && name[length] == '.' && !strchr(name + length + 1, '.');
}

int scene_params(struct scene *scene, struct scene_node *node, const struct instance *instance) {
    const struct instance_node *made = node->instance;
    if (!made || !instance || !made->entry || !made->param_count) return 0;
    node->params = arena_array(scene->arena, made->param_count, sizeof *node->params);
    if (!node->params) return FLOW_ERROR_MEMORY;
    for (uint32_t p = 0; p < made->param_count; p++) {
        if (made->param[p] < 0) continue;
        const struct instance_value *value = &instance->values[made->param[p]];
        struct scene_param *param = &node->params[node->param_count++];
        param->name = p < made->entry->op->params.count ? made->entry->op->params.at[p].name : "";
        param->value = value->name, param->type = &value->type;
        param->tied = value->kind != VALUE_PARAM || !is_own(node->source->param_path, value->name);
        param->update = value->kind == VALUE_PARAM ? update_of(scene->network->training, value->name) : -1;
        param->numbers = scene_numbers(&value->type);
        if (!size_multiply(param->numbers, dtype_bytes(value->type.dtype), &param->bytes)) param->bytes = 0;
        if (param->tied) continue;
        if (!size_add(node->numbers, param->numbers, &node->numbers)) node->numbers = 0;
        if (!size_add(node->bytes, param->bytes, &node->bytes)) node->bytes = 0;
    }
    return 0;
}
